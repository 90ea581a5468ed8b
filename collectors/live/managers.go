package live

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	autoscaling "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/collectors"
)

// manager is one entry of an object's managedFields.
type manager struct {
	name, subresource string
	fields            map[string]any // FieldsV1
}

type managers []manager

func newManagers(entries []metav1.ManagedFieldsEntry) managers {
	var out managers
	for _, e := range entries {
		if e.FieldsV1 == nil {
			continue
		}
		m := manager{name: e.Manager, subresource: e.Subresource}
		// An entry that cannot be read names nobody.
		if err := json.Unmarshal(e.FieldsV1.GetRawBytes(), &m.fields); err == nil {
			out = append(out, m)
		}
	}
	return out
}

// String is the manager's name, with the subresource that it wrote through.
func (m manager) String() string {
	if m.subresource != "" {
		return m.name + " (" + m.subresource + ")"
	}
	return m.name
}

// of names who owns the field, sorted.
func (ms managers) of(path []step) []string {
	var out []string
	for _, m := range ms {
		if owns(m.fields, path) {
			out = append(out, m.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// owns walks a FieldsV1 set: "f:name" is a field, `k:{"name":"x"}` an element of
// a list by its keys, `v:"x"` one by its value. A set that ends above the field
// owns all below it.
func owns(set map[string]any, path []step) bool {
	for _, s := range path {
		if len(set) == 0 {
			return true
		}
		next, ok := set["f:"+s.field]
		if s.index >= 0 {
			next, ok = element(set, s)
		}
		if !ok {
			return false
		}
		set = asMap(next)
	}
	return true
}

func element(set map[string]any, s step) (any, bool) {
	for k, v := range set {
		if raw, ok := strings.CutPrefix(k, "k:"); ok {
			var keys map[string]any
			if json.Unmarshal([]byte(raw), &keys) != nil {
				continue
			}
			e := asMap(s.element)
			same := len(e) > 0
			for name, want := range keys {
				same = same && fmt.Sprint(e[name]) == fmt.Sprint(want)
			}
			if same {
				return v, true
			}
		}
		if raw, ok := strings.CutPrefix(k, "v:"); ok {
			var value any
			if json.Unmarshal([]byte(raw), &value) == nil && fmt.Sprint(value) == fmt.Sprint(s.element) {
				return v, true
			}
		}
	}
	return nil, false
}

// scaler is a HorizontalPodAutoscaler of the release.
type scaler struct {
	name, namespace, kind, target string
	min, max                      int64
}

func scalers(set *collectors.ObjectSet, namespace string) []scaler {
	var out []scaler
	for i := range set.Objects {
		o := &set.Objects[i]
		if o.GroupVersionKind().Group != autoscaling.GroupName || o.GetKind() != "HorizontalPodAutoscaler" {
			continue
		}
		spec := asMap(o.Object["spec"])
		ref := asMap(spec["scaleTargetRef"])
		s := scaler{name: o.GetName(), namespace: cmp.Or(o.GetNamespace(), namespace), min: 1}
		s.kind, _ = ref["kind"].(string)
		s.target, _ = ref["name"].(string)
		if n, ok := number(spec["minReplicas"]); ok {
			s.min = int64(n)
		}
		if n, ok := number(spec["maxReplicas"]); ok {
			s.max = int64(n)
		}
		out = append(out, s)
	}
	return out
}

// scaledBy names the release's autoscaler that set the live object's replicas:
// they are within its bounds, and no person wrote them.
func (l *looker) scaledBy(o *collectors.Object, namespace string, before *unstructured.Unstructured, owners managers) string {
	replicas, found, err := unstructured.NestedInt64(before.Object, "spec", "replicas")
	if err != nil || !found {
		return ""
	}
	i := slices.IndexFunc(l.scalers, func(s scaler) bool {
		return s.namespace == namespace && s.kind == o.GetKind() && s.target == o.GetName() && s.min <= replicas && replicas <= s.max
	})
	if i < 0 {
		return ""
	}
	path := []step{{field: "spec", index: -1}, {field: "replicas", index: -1}}
	by := ""
	for _, m := range owners {
		if !owns(m.fields, path) {
			continue
		}
		if m.subresource != "scale" || strings.HasPrefix(m.name, "kubectl") {
			return ""
		}
		by = l.scalers[i].name
	}
	return by
}
