package apiserver

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestSay holds that values which may be secret are not repeated, and others are.
func TestSay(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxValue+1)
	for _, tt := range []struct {
		kind string
		err  *field.Error
		want string
	}{
		{"Service", field.NotSupported(field.NewPath("spec", "type"), "Loadbalancer", []string{"ClusterIP"}), `spec.type: Unsupported value: "Loadbalancer": supported values: "ClusterIP"`},
		{"Pod", field.Invalid(field.NewPath("spec", "priority"), int32(7), "no"), "spec.priority: Invalid value: 7: no"},
		{"Pod", field.Required(field.NewPath("spec", "containers"), ""), "spec.containers: Required value"},
		{"Pod", field.Invalid(field.NewPath("spec", "containers").Index(0).Child("env").Index(0).Child("value"), "hunter2", "no"), "spec.containers[0].env[0].value: Invalid value: no"},
		{"Pod", field.Invalid(field.NewPath("spec", "containers").Index(0).Child("args").Index(0), "hunter2", "no"), "spec.containers[0].args[0]: Invalid value: no"},
		{"Pod", field.Invalid(field.NewPath("metadata", "annotations").Key("a"), "hunter2", "no"), "metadata.annotations[a]: Invalid value: no"},
		{"Secret", field.Invalid(field.NewPath("data").Key("a"), "hunter2", "no"), "data[a]: Invalid value: no"},
		{"Secret", field.Invalid(field.NewPath("metadata", "name"), "A", "no"), `metadata.name: Invalid value: "A": no`},
		{"Secret", field.Invalid(field.NewPath("data").Key("a"), "", "invalid character 'h' looking for beginning of value"), "data[a]: Invalid value: not JSON"},
		{"Thing", field.Invalid(field.NewPath("spec"), map[string]any{"password": "hunter2"}, "no"), "spec: Invalid value: no"},
		{"Thing", field.Duplicate(field.NewPath("spec", "list").Index(1), []any{"hunter2"}), "spec.list[1]: Duplicate value"},
		{"Thing", field.Invalid(field.NewPath("spec", "note"), long, "no"), "spec.note: Invalid value: no"},
	} {
		if got := Say(tt.kind, tt.err); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.kind, got, tt.want)
		}
	}
}

// TestKinds holds that every strategy has a scheme that knows its kind, so that a
// bad name of each is refused.
func TestKinds(t *testing.T) {
	t.Parallel()
	for gk := range strategies {
		for version := range groups[gk.Group].versions {
			gvk := gk.WithVersion(version)
			s, err := schemes[gk.Group]()
			if err != nil {
				t.Fatal(err)
			}
			if !s.Recognizes(gvk) {
				continue // of another version of the group
			}
			problems, err := Validate(gvk, map[string]any{"apiVersion": gvk.GroupVersion().String(), "kind": gvk.Kind, "metadata": map[string]any{"name": "a/b"}}, "default")
			if err != nil || len(problems) == 0 {
				t.Errorf("%s with a bad name: %v, %v", gvk, problems, err)
			}
		}
		if len(groups[gk.Group].versions) == 0 {
			t.Errorf("%s: no version", gk)
		}
	}
	if Has(schema.GroupVersionKind{Group: "apps", Version: "v2", Kind: "Deployment"}) || Has(schema.GroupVersionKind{Version: "v1", Kind: "Binding"}) {
		t.Error("a kind is known that there are no rules for")
	}
}
