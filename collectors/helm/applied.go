package helm

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/companyos/helmproof/internal/manifest"
)

// applyFix and nameFix are what to do about an object that is created, but not applied.
const (
	applyFix = "Name each item once."
	nameFix  = "Give it a name: Helm looks an object up by it before it makes it."
)

// nameless says that an object has no name until it is created; empty: it has one.
func nameless(o *manifest.Object) string {
	if o.GetName() == "" && o.GetGenerateName() != "" {
		return "metadata.name: name is required, metadata.generateName is not enough"
	}
	return ""
}

// typed reads objects as server-side apply does. Making it takes a good part of a
// second, so that only what mayRepeat pays for it.
var typed = sync.OnceValue(func() managedfields.TypeConverter { return applyconfigurations.NewTypeConverter(scheme.Scheme) })

// applyProblem says why server-side apply, by which Helm 4 installs, refuses an object
// that the API server creates, as Helm 3 and kubectl create ask it to: a list whose items
// are told by their keys has one twice, or it has no name yet; and what to do then. Empty:
// it does not.
func applyProblem(o *manifest.Object) (problem, fix string) {
	if problem := nameless(o); problem != "" {
		return problem, nameFix
	}
	if !scheme.Scheme.Recognizes(o.GroupVersionKind()) || !mayRepeat(o.Object, "") { // a CustomResourceDefinition is none of these
		return "", ""
	}
	_, err := typed().ObjectToTyped(&unstructured.Unstructured{Object: o.Object})
	if err != nil && strings.Contains(err.Error(), "duplicate entries") { // of anything else, validation says more
		return clean(err.Error()), applyFix
	}
	return "", ""
}

// itemKeys are the fields that tell the items of lists in Kubernetes' own kinds; of a
// list of the name on the left, those on the right. Many workloads mount one volume
// at two paths, and would make the converter for it.
var itemKeys = map[string][]string{
	"ports": {"containerPort", "port", "protocol"}, "hostAliases": {"ip"}, "ownerReferences": {"uid"},
	"volumeMounts": {"name", "mountPath"}, "volumeDevices": {"name", "devicePath"},
}

// mayRepeat reports whether some list has an item twice. It knows no schema: what a
// list is told by, the converter says.
func mayRepeat(v any, name string) bool {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if mayRepeat(e, k) {
				return true
			}
		}
	case []any:
		keys := itemKeys[name]
		if keys == nil {
			keys = []string{"name"}
		}
		seen := map[string]bool{}
		for _, e := range v {
			id := ""
			switch e := e.(type) {
			case map[string]any:
				for _, k := range keys {
					if e[k] != nil {
						id += fmt.Sprintf("%s=%v ", k, e[k])
					}
				}
				if id == "" {
					break
				}
				if name == "ports" && e["protocol"] == nil {
					id += "protocol=TCP "
				}
			case string:
				if name == "finalizers" {
					id = e
				}
			}
			if id != "" && seen[id] {
				return true
			}
			seen[id] = true
		}
		return slices.ContainsFunc(v, func(e any) bool { return mayRepeat(e, "") })
	}
	return false
}
