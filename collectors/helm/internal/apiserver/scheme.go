package apiserver

import (
	"errors"
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsv1 "k8s.io/kubernetes/pkg/apis/apps/v1"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingv1 "k8s.io/kubernetes/pkg/apis/autoscaling/v1"
	autoscalingv2 "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchv1 "k8s.io/kubernetes/pkg/apis/batch/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
)

// groups are the API groups whose objects are validated, each with the functions
// that add its types, conversions, defaults and declarative rules to a scheme.
var groups = map[string][]func(*runtime.Scheme) error{
	"":                       {core.AddToScheme, corev1.AddToScheme},
	"apps":                   {apps.AddToScheme, appsv1.AddToScheme},
	"autoscaling":            {autoscaling.AddToScheme, autoscalingv1.AddToScheme, autoscalingv2.AddToScheme},
	"apiextensions.k8s.io":   {apiextensions.AddToScheme, apiextensionsv1.AddToScheme},
	"apiregistration.k8s.io": {apiregistration.AddToScheme, apiregistrationv1.AddToScheme},
	"batch":                  {batch.AddToScheme, batchv1.AddToScheme},
}

// schemes holds one scheme per group, made when it is first asked for: most
// releases have objects of few groups, and one scheme of all costs a process more
// than judging a chart.
var schemes = func() map[string]func() (*runtime.Scheme, error) {
	m := map[string]func() (*runtime.Scheme, error){}
	for group, add := range groups {
		m[group] = sync.OnceValues(func() (*runtime.Scheme, error) {
			s := runtime.NewScheme()
			var errs []error
			for _, f := range add {
				errs = append(errs, f(s))
			}
			if err := errors.Join(errs...); err != nil {
				return nil, fmt.Errorf("scheme of API group %q: %w", group, err)
			}
			return s, nil
		})
	}
	return m
}()

// scheme returns the scheme of a group; nil where none is known.
func scheme(gv schema.GroupVersion) (*runtime.Scheme, error) {
	make, ok := schemes[gv.Group]
	if !ok {
		return nil, nil
	}
	return make()
}
