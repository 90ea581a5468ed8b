package manifest

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// templatePaths is where each built-in workload kind of apps, batch and core
// keeps its pod template; nil means that the object is a Pod itself.
var templatePaths = map[string][]string{
	"Pod":                   nil,
	"PodTemplate":           {"template"},
	"Deployment":            {"spec", "template"},
	"StatefulSet":           {"spec", "template"},
	"DaemonSet":             {"spec", "template"},
	"ReplicaSet":            {"spec", "template"},
	"ReplicationController": {"spec", "template"},
	"Job":                   {"spec", "template"},
	"CronJob":               {"spec", "jobTemplate", "spec", "template"},
}

// IsWorkload reports whether the object is a Pod or a built-in kind with a pod template.
func (o *Object) IsWorkload() bool {
	gv := o.GroupVersionKind()
	if _, ok := templatePaths[gv.Kind]; !ok {
		return false
	}
	switch gv.Group {
	case "", "apps", "batch", "extensions":
		return true
	}
	return false
}

// PodTemplatePath returns where the object keeps its pod template; it is empty
// for a Pod. ok is false when the object is not a workload.
func (o *Object) PodTemplatePath() (path []string, ok bool) {
	if !o.IsWorkload() {
		return nil, false
	}
	return slices.Clone(templatePaths[o.GetKind()]), true
}

// PodTemplate returns the object's pod (metadata and spec). ok is false when
// the object is not a workload. err says that the template does not decode:
// callers report that as an error, never as a pass.
func (o *Object) PodTemplate() (tpl *corev1.PodTemplateSpec, ok bool, err error) {
	if !o.IsWorkload() {
		return nil, false, nil
	}
	content, named := o.Object, o
	if o.standsFor != nil {
		named = o.standsFor
	}
	if path := templatePaths[o.GetKind()]; path != nil {
		m, found, err := unstructured.NestedMap(o.Object, path...)
		if err != nil || !found {
			return nil, true, fmt.Errorf("%s: no pod template", named.Target("").Object())
		}
		content = m
	}
	var t struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     corev1.PodSpec    `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &t); err != nil {
		return nil, true, fmt.Errorf("%s: pod template: %w", named.Target("").Object(), err)
	}
	for i := range t.Spec.Volumes {
		// The API server makes a volume without a source an emptyDir, before admission.
		if v := &t.Spec.Volumes[i]; v.VolumeSource == (corev1.VolumeSource{}) {
			v.EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
	return &corev1.PodTemplateSpec{ObjectMeta: t.Metadata, Spec: t.Spec}, true, nil
}

// Containers lists the containers of a pod of every kind, init and ephemeral ones too.
func Containers(spec *corev1.PodSpec) []corev1.Container {
	out := slices.Concat(spec.InitContainers, spec.Containers)
	for _, c := range spec.EphemeralContainers {
		out = append(out, corev1.Container(c.EphemeralContainerCommon))
	}
	return out
}
