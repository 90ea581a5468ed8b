// Package apicases holds objects of every built-in kind, and of some custom kinds,
// that an API server accepts and refuses, for tests alone: each is one right object
// with a small change, so that a wrong one is wrong for one reason.
package apicases

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed cases.yaml
var text []byte

//go:embed crds.yaml
var crds []byte

// Case is an object, and what an API server of a default cluster says of it.
type Case struct {
	Name   string // the kind, and the change
	Kind   string
	Right  bool
	Object map[string]any
}

// kind is a right object and changes of it, one a line: "path=value", "-path" for
// what is taken away, several with " & " between them. The parts of a path stand
// between slashes; ~1 is a slash, and a number is an item of a list.
type kind struct {
	Object map[string]any `json:"object"`
	Pod    string         `json:"pod"` // where a pod's spec is, for the changes of all pods
	Right  string         `json:"right"`
	Wrong  string         `json:"wrong"`
}

// CRDs are the definitions of the custom kinds, as YAML.
func CRDs() []byte { return bytes.Clone(crds) }

// All returns the cases, in a fixed order.
func All() ([]Case, error) {
	var out []Case
	var pods kind
	for i, doc := range strings.Split(string(text), "\n---\n") {
		var k kind
		if err := yaml.UnmarshalStrict([]byte(doc), &k); err != nil {
			return nil, fmt.Errorf("document %d: %w", i, err)
		}
		if i == 0 { // changes of all pods
			pods = k
			continue
		}
		name := fmt.Sprint(k.Object["kind"])
		if v := fmt.Sprint(k.Object["apiVersion"]); strings.Contains(v, "/") {
			name = v + " " + name
		}
		out = append(out, Case{name, name, true, k.Object})
		for _, set := range []struct {
			right bool
			pod   bool
			lines string
		}{{true, false, k.Right}, {false, false, k.Wrong}, {true, true, pods.Right}, {false, true, pods.Wrong}} {
			if set.pod && k.Pod == "" {
				continue
			}
			for _, line := range strings.Split(strings.TrimSpace(set.lines), "\n") {
				if line == "" {
					continue
				}
				object, err := change(k.Object, line, set.pod, k.Pod)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", name, line, err)
				}
				out = append(out, Case{name + ": " + line, name, set.right, object})
			}
		}
	}
	return out, nil
}

func change(object map[string]any, line string, pod bool, at string) (map[string]any, error) {
	changed := any(deepCopy(object))
	for _, edit := range strings.Split(line, " & ") {
		path, value, set := strings.Cut(edit, "=")
		if rest, ok := strings.CutPrefix(path, "-"); ok {
			path, set = rest, false
		}
		parts := strings.Split(path, "/")
		if pod {
			parts = append(strings.Split(at, "/"), parts...)
		}
		for i := range parts {
			parts[i] = strings.ReplaceAll(parts[i], "~1", "/")
		}
		var v any
		if err := yaml.Unmarshal([]byte(value), &v); err != nil {
			return nil, err
		}
		if err := edited(changed, parts, v, set); err != nil {
			return nil, err
		}
	}
	return changed.(map[string]any), nil
}

// edited sets or takes away what is at a path, and makes mappings on the way.
func edited(x any, path []string, v any, set bool) error {
	last := len(path) == 1
	switch t := x.(type) {
	case map[string]any:
		switch {
		case last && set:
			t[path[0]] = v
		case last:
			if _, ok := t[path[0]]; !ok {
				return fmt.Errorf("no %q", path[0])
			}
			delete(t, path[0])
		default:
			if t[path[0]] == nil {
				t[path[0]] = map[string]any{}
			}
			return edited(t[path[0]], path[1:], v, set)
		}
		return nil
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(t) {
			return fmt.Errorf("no item %q", path[0])
		}
		if last {
			t[i] = v
			return nil
		}
		return edited(t[i], path[1:], v, set)
	}
	return fmt.Errorf("nothing to go into at %q", path[0])
}

func deepCopy(x any) any {
	switch t := x.(type) {
	case map[string]any:
		m := maps.Clone(t)
		for k := range m {
			m[k] = deepCopy(m[k])
		}
		return m
	case []any:
		l := slices.Clone(t)
		for i := range l {
			l[i] = deepCopy(l[i])
		}
		return l
	}
	return x
}
