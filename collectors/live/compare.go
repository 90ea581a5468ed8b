package live

import (
	"encoding/base64"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Limits on what is sealed of one object.
const (
	maxDifferences = 100
	maxShown       = 200 // bytes of one value
	maxReason      = 200
)

// step is one step into an object: a field, or an element of a list.
type step struct {
	field   string
	index   int // of the element in the live list; -1 for a field
	element any // the live element
}

// difference is a Difference with its way into the live object.
type difference struct {
	Difference
	path []step
}

// comparison finds what differs in fields that the manifest sets.
type comparison struct {
	secret bool // values are never shown
	// strict compares the manifest itself with the live object: a list must hold
	// nothing else, and so must a selector.
	strict bool
	found  []difference
}

// object compares whole objects. Of the metadata, only what a manifest decides counts.
func (c *comparison) object(manifest, want, live map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(manifest)) {
		path := []step{{field: key, index: -1}}
		switch key {
		case "apiVersion", "kind", "status":
		case "metadata":
			m, w, l := asMap(manifest[key]), asMap(want[key]), asMap(live[key])
			for _, part := range []string{"annotations", "finalizers", "labels", "ownerReferences"} {
				if v, ok := m[part]; ok {
					c.value(append(path, step{field: part, index: -1}), v, w[part], l[part])
				}
			}
		default:
			c.value(path, manifest[key], want[key], live[key])
		}
	}
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// value compares what is wanted with what is live, where the manifest sets something.
func (c *comparison) value(path []step, manifest, want, live any) {
	if reflect.DeepEqual(want, live) {
		return
	}
	switch m := manifest.(type) {
	case map[string]any:
		w, isMap := want.(map[string]any)
		l, liveMap := live.(map[string]any)
		if !isMap || !liveMap && live != nil {
			break
		}
		if live == nil && len(m) > 0 {
			break
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			// What the API server dropped from the manifest is no difference.
			if _, kept := w[key]; kept || c.strict {
				c.value(extend(path, step{field: key, index: -1}), m[key], w[key], l[key])
			}
		}
		if c.atomic(path) {
			for _, key := range slices.Sorted(maps.Keys(l)) {
				if _, wanted := w[key]; !wanted {
					c.add(extend(path, step{field: key, index: -1}), nil, l[key])
				}
			}
		}
		return
	case []any:
		w, isList := want.([]any)
		l, liveList := live.([]any)
		if !isList || !liveList {
			break
		}
		c.list(path, m, w, l)
		return
	}
	if !c.equal(path, want, live) {
		c.add(path, want, live)
	}
}

// atomic reports whether what else is live in the map counts. What a dry-run has
// no more would go; compared by reading, what else is there may be a default,
// except in selectors, which belong to one manager as a whole.
func (c *comparison) atomic(path []step) bool {
	switch path[len(path)-1].field {
	case "selector", "matchLabels", "nodeSelector":
		return true
	}
	return !c.strict
}

// identities are the fields by which the elements of lists are told apart, the
// first that all elements have, each with another value.
var identities = []string{"name", "key", "mountPath", "containerPort", "port", "type", "topologyKey", "ip", "uid", "devicePath"}

func identity(lists ...[]any) string {
next:
	for _, field := range identities {
		for _, list := range lists {
			seen := map[string]bool{}
			for _, e := range list {
				v, ok := asMap(e)[field]
				id := fmt.Sprint(v)
				if !ok || seen[id] {
					continue next
				}
				seen[id] = true
			}
		}
		return field
	}
	return ""
}

func (c *comparison) list(path []step, manifest, want, live []any) {
	field := identity(manifest, want, live)
	if field == "" || len(manifest)+len(want)+len(live) == 0 {
		if len(want) != len(live) {
			c.add(path, want, live)
			return
		}
		for i := range want {
			m := want[i]
			if c.strict && i < len(manifest) {
				m = manifest[i]
			}
			c.value(extend(path, step{index: i, element: live[i]}), m, want[i], live[i])
		}
		return
	}
	find := func(list []any, id string) int {
		return slices.IndexFunc(list, func(e any) bool { return fmt.Sprint(asMap(e)[field]) == id })
	}
	for _, e := range manifest {
		id := fmt.Sprint(asMap(e)[field])
		w, l := find(want, id), find(live, id)
		switch {
		case w < 0:
		case l < 0:
			c.add(extend(path, step{index: len(live), element: want[w]}), want[w], nil)
		default:
			c.value(extend(path, step{index: l, element: live[l]}), e, want[w], live[l])
		}
	}
	for i, e := range live {
		if find(want, fmt.Sprint(asMap(e)[field])) < 0 {
			c.add(extend(path, step{index: i, element: e}), nil, e)
		}
	}
}

func extend(path []step, s step) []step { return append(slices.Clip(path), s) }

// equal compares scalars as the API server does: absent is the zero value, and a
// quantity may be written in several ways.
func (c *comparison) equal(path []step, want, live any) bool {
	if isZero(want) && isZero(live) {
		return true
	}
	if a, ok := number(want); ok {
		if b, ok := number(live); ok {
			return a == b
		}
	}
	if !c.strict || !isQuantity(path) {
		return false
	}
	a, err := resource.ParseQuantity(fmt.Sprint(want))
	if err != nil {
		return false
	}
	b, err := resource.ParseQuantity(fmt.Sprint(live))
	return err == nil && a.Cmp(b) == 0
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func isZero(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case int64:
		return v == 0
	case float64:
		return v == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		for _, e := range v {
			if !isZero(e) {
				return false
			}
		}
		return true
	}
	return false
}

// isQuantity reports whether the field is a quantity of the core API.
func isQuantity(path []step) bool {
	switch path[len(path)-1].field {
	case "sizeLimit", "divisor", "averageValue":
		return true
	}
	if len(path) < 2 {
		return false
	}
	switch path[len(path)-2].field {
	case "limits", "requests", "capacity", "hard", "min", "max", "default", "defaultRequest", "overhead", "podFixed":
		return true
	}
	return false
}

func (c *comparison) add(path []step, want, live any) {
	d := difference{Difference: Difference{Pointer: pointer(path)}, path: path}
	if c.secret || sensitive(path) {
		d.Withheld = true
	} else {
		d.Release, d.Live = show(want), show(live)
	}
	c.found = append(c.found, d)
}

// pointer is a JSON pointer (RFC 6901).
func pointer(path []step) string {
	var b strings.Builder
	for _, s := range path {
		b.WriteByte('/')
		if s.index >= 0 && s.field == "" {
			b.WriteString(strconv.Itoa(s.index))
			continue
		}
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(s.field))
	}
	return b.String()
}

var sensitiveName = regexp.MustCompile(`(?i)pass|secret|token|credential|private|cert|auth|key$`)

// sensitive reports whether somebody may have put a secret there: what is edited
// in the cluster has been seen by no scan of the release.
func sensitive(path []step) bool {
	for i, s := range path {
		switch s.field {
		case "data", "binaryData", "stringData", "annotations", "args", "command", "env", "exec", "httpHeaders":
			return true
		}
		if i == len(path)-1 && sensitiveName.MatchString(s.field) {
			return true
		}
	}
	return false
}

// show is a value for people: scalars themselves, of others only what they are.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return cut(strconv.Quote(v), maxShown)
	case []any:
		return fmt.Sprintf("a list of %d", len(v))
	case map[string]any:
		return fmt.Sprintf("a mapping of %d", len(v))
	}
	return fmt.Sprint(v)
}

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// withoutNull removes null from mappings: to the API server it is absent.
func withoutNull(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
			} else {
				withoutNull(e)
			}
		}
	case []any:
		for _, e := range v {
			withoutNull(e)
		}
	}
}

// encodeStringData does what the API server does with a Secret.
func encodeStringData(secret map[string]any) {
	plain := asMap(secret["stringData"])
	if len(plain) == 0 {
		return
	}
	data := asMap(secret["data"])
	if data == nil {
		data = map[string]any{}
	}
	for k, v := range plain {
		if s, ok := v.(string); ok {
			data[k] = base64.StdEncoding.EncodeToString([]byte(s))
		}
	}
	secret["data"] = data
	delete(secret, "stringData")
}
