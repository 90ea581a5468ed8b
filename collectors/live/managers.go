package live

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	autoscaling "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/internal/manifest"
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

// byHand reports whether a person's tool wrote those fields. What kubectl created
// it owns with all defaults, so that nothing follows from it.
func (m manager) byHand() bool {
	return strings.HasPrefix(m.name, "kubectl") && m.subresource == "" && m.name != "kubectl-create"
}

// added finds what a person added beside what the manifest sets: applying the
// manifest would leave it. Metadata and status are left out.
func (c *comparison) added(ms managers, manifest, live map[string]any) {
	for _, m := range ms {
		if !m.byHand() {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(m.fields)) {
			field, ok := strings.CutPrefix(key, "f:")
			if !ok || field == "metadata" || field == "status" {
				continue
			}
			if l, ok := live[field]; ok {
				c.extras([]step{{field: field, index: -1}}, asMap(m.fields[key]), manifest[field], l)
			}
		}
	}
}

// extras walks what a manager owns beside manifest and live object.
func (c *comparison) extras(path []step, owned map[string]any, manifest, live any) {
	if _, isMap := live.(map[string]any); manifest == nil && isMap && path[len(path)-1].index < 0 && len(owned) > 0 {
		manifest = map[string]any{} // a mapping that the manifest leaves out: what is in it counts
	}
	if manifest == nil {
		if last := path[len(path)-1].field; last != restartedAt {
			c.add(path, nil, live)
		}
		return
	}
	for _, key := range slices.Sorted(maps.Keys(owned)) {
		if field, ok := strings.CutPrefix(key, "f:"); ok {
			if l, ok := asMap(live)[field]; ok {
				c.extras(extend(path, step{field: field, index: -1}), asMap(owned[key]), asMap(manifest)[field], l)
			}
			continue
		}
		list, _ := live.([]any)
		i := slices.IndexFunc(list, func(e any) bool { _, ok := element(map[string]any{key: nil}, step{element: e}); return ok })
		if i < 0 {
			continue
		}
		var have any
		ours, _ := manifest.([]any)
		if k := slices.IndexFunc(ours, func(e any) bool { return alike(key, list[i], e) }); k >= 0 {
			have = ours[k]
		}
		c.extras(extend(path, step{index: i, element: list[i]}), asMap(owned[key]), have, list[i])
	}
}

// restartedAt is what kubectl rollout restart writes.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// alike reports whether the manifest's element is the live one, by the keys that
// both have: the manifest may leave out keys that have a default.
func alike(key string, live, manifest any) bool {
	raw, ok := strings.CutPrefix(key, "k:")
	if !ok {
		return fmt.Sprint(live) == fmt.Sprint(manifest)
	}
	var keys map[string]any
	if json.Unmarshal([]byte(raw), &keys) != nil {
		return false
	}
	m, l := asMap(manifest), asMap(live)
	same := false
	for name := range keys {
		v, ok := m[name]
		if !ok {
			continue
		}
		if fmt.Sprint(v) != fmt.Sprint(l[name]) {
			return false
		}
		same = true
	}
	return same
}

// scaler is a HorizontalPodAutoscaler of the release.
type scaler struct {
	name, namespace, kind, target string
	min, max                      int64
}

func scalers(set *manifest.ObjectSet, namespace string) []scaler {
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
func (l *looker) scaledBy(o *manifest.Object, namespace string, before *unstructured.Unstructured, owners managers) string {
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
