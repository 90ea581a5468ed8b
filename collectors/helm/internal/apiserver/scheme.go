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
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	admissionregistrationv1 "k8s.io/kubernetes/pkg/apis/admissionregistration/v1"
	"k8s.io/kubernetes/pkg/apis/apps"
	appsv1 "k8s.io/kubernetes/pkg/apis/apps/v1"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingv1 "k8s.io/kubernetes/pkg/apis/autoscaling/v1"
	autoscalingv2 "k8s.io/kubernetes/pkg/apis/autoscaling/v2"
	"k8s.io/kubernetes/pkg/apis/batch"
	batchv1 "k8s.io/kubernetes/pkg/apis/batch/v1"
	"k8s.io/kubernetes/pkg/apis/certificates"
	certificatesv1 "k8s.io/kubernetes/pkg/apis/certificates/v1"
	"k8s.io/kubernetes/pkg/apis/coordination"
	coordinationv1 "k8s.io/kubernetes/pkg/apis/coordination/v1"
	"k8s.io/kubernetes/pkg/apis/core"
	corev1 "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/discovery"
	discoveryv1 "k8s.io/kubernetes/pkg/apis/discovery/v1"
	"k8s.io/kubernetes/pkg/apis/events"
	eventsv1 "k8s.io/kubernetes/pkg/apis/events/v1"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
	flowcontrolv1 "k8s.io/kubernetes/pkg/apis/flowcontrol/v1"
	"k8s.io/kubernetes/pkg/apis/networking"
	networkingv1 "k8s.io/kubernetes/pkg/apis/networking/v1"
	"k8s.io/kubernetes/pkg/apis/node"
	nodev1 "k8s.io/kubernetes/pkg/apis/node/v1"
	"k8s.io/kubernetes/pkg/apis/policy"
	policyv1 "k8s.io/kubernetes/pkg/apis/policy/v1"
	"k8s.io/kubernetes/pkg/apis/rbac"
	rbacv1 "k8s.io/kubernetes/pkg/apis/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/resource"
	resourcev1 "k8s.io/kubernetes/pkg/apis/resource/v1"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/apis/storage"
	storagev1 "k8s.io/kubernetes/pkg/apis/storage/v1"
	"k8s.io/kubernetes/pkg/apis/storagemigration"
	storagemigrationv1 "k8s.io/kubernetes/pkg/apis/storagemigration/v1"
)

type adders map[string]func(*runtime.Scheme) error

// groups are the API groups whose objects are validated: what adds the types that
// validation takes to a scheme, and, for each version, its types with their
// conversions, defaults and declarative rules.
var groups = map[string]struct {
	internal func(*runtime.Scheme) error
	versions adders
}{
	"":                             {core.AddToScheme, adders{"v1": corev1.AddToScheme}},
	"admissionregistration.k8s.io": {admissionregistration.AddToScheme, adders{"v1": admissionregistrationv1.AddToScheme}},
	"apiextensions.k8s.io":         {apiextensions.AddToScheme, adders{"v1": apiextensionsv1.AddToScheme}},
	"apiregistration.k8s.io":       {apiregistration.AddToScheme, adders{"v1": apiregistrationv1.AddToScheme}},
	"apps":                         {apps.AddToScheme, adders{"v1": appsv1.AddToScheme}},
	"autoscaling":                  {autoscaling.AddToScheme, adders{"v1": autoscalingv1.AddToScheme, "v2": autoscalingv2.AddToScheme}},
	"batch":                        {batch.AddToScheme, adders{"v1": batchv1.AddToScheme}},
	"certificates.k8s.io":          {certificates.AddToScheme, adders{"v1": certificatesv1.AddToScheme}},
	"coordination.k8s.io":          {coordination.AddToScheme, adders{"v1": coordinationv1.AddToScheme}},
	"discovery.k8s.io":             {discovery.AddToScheme, adders{"v1": discoveryv1.AddToScheme}},
	"events.k8s.io":                {events.AddToScheme, adders{"v1": eventsv1.AddToScheme}},
	"flowcontrol.apiserver.k8s.io": {flowcontrol.AddToScheme, adders{"v1": flowcontrolv1.AddToScheme}},
	"networking.k8s.io":            {networking.AddToScheme, adders{"v1": networkingv1.AddToScheme}},
	"node.k8s.io":                  {node.AddToScheme, adders{"v1": nodev1.AddToScheme}},
	"policy":                       {policy.AddToScheme, adders{"v1": policyv1.AddToScheme}},
	"rbac.authorization.k8s.io":    {rbac.AddToScheme, adders{"v1": rbacv1.AddToScheme}},
	"resource.k8s.io":              {resource.AddToScheme, adders{"v1": resourcev1.AddToScheme}},
	"scheduling.k8s.io":            {scheduling.AddToScheme, adders{"v1": schedulingv1.AddToScheme}},
	"storage.k8s.io":               {storage.AddToScheme, adders{"v1": storagev1.AddToScheme}},
	"storagemigration.k8s.io":      {storagemigration.AddToScheme, adders{"v1": storagemigrationv1.AddToScheme}},
}

// schemes holds one scheme per group, made when it is first asked for: most
// releases have objects of few groups.
var schemes = func() map[string]func() (*runtime.Scheme, error) {
	m := map[string]func() (*runtime.Scheme, error){}
	for name, group := range groups {
		m[name] = sync.OnceValues(func() (*runtime.Scheme, error) {
			s := runtime.NewScheme()
			err := group.internal(s)
			for _, add := range group.versions {
				err = errors.Join(err, add(s))
			}
			if err != nil {
				return nil, fmt.Errorf("scheme of API group %q: %w", name, err)
			}
			return s, nil
		})
	}
	return m
}()

// Has reports whether objects of the kind can be validated.
func Has(gvk schema.GroupVersionKind) bool {
	_, known := strategies[gvk.GroupKind()]
	return known && groups[gvk.Group].versions[gvk.Version] != nil
}
