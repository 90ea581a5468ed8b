package chart

import (
	"context"
	"maps"
	"slices"

	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
)

// The keys and values of a map, as sprig's functions list them, have the order in
// which Go goes over a map: another one each time. They are sorted here, so that a
// rendering can be repeated. Where a rendering in another order gives other objects,
// each of Helm's renderings may, and that is recorded as a generated value.

// OrderFunctions are the template functions whose result has a random order.
var OrderFunctions = []string{"keys", "values"}

// keys is sprig's.
func (r *rendering) keys(dicts ...map[string]any) []string {
	keys := []string{}
	random := false
	for _, d := range dicts {
		random = random || len(d) > 1
		keys = append(keys, r.inOrder(d)...)
	}
	if random {
		r.rec.order("keys", r.current)
	}
	return keys
}

// values is sprig's.
func (r *rendering) values(dict map[string]any) []any {
	values := []any{}
	for _, k := range r.inOrder(dict) {
		values = append(values, dict[k])
	}
	if len(dict) > 1 {
		r.rec.order("values", r.current)
	}
	return values
}

// inOrder lists the keys sorted or, for comparison, backwards, the middle one of an
// odd number changed with its neighbour, so that each has another place.
func (r *rendering) inOrder(dict map[string]any) []string {
	keys := slices.Sorted(maps.Keys(dict))
	if n := len(keys); r.other && n > 1 {
		slices.Reverse(keys)
		if n%2 == 1 {
			keys[n/2], keys[n/2-1] = keys[n/2-1], keys[n/2]
		}
	}
	return keys
}

// tryOrder renders the same again with maps in the other order, if a template asked
// for their order, and takes down in seen what gives other objects than rendered by it. It
// leaves the order as it was at first.
func (t *templates) tryOrder(ctx context.Context, c *chartv2.Chart, scope common.Values, values any, rendered map[string]string, seen *recorder) error {
	defer func() { t.other = false }()
	if len(seen.ordered) == 0 {
		return nil
	}
	release := map[string]any{}
	if r, ok := scope["Release"].(map[string]any); ok {
		maps.Copy(release, r)
	}
	top := common.Values{"Chart": scope["Chart"], "Release": release, "Capabilities": scope["Capabilities"], "Values": common.Values(copyValue(values).(map[string]any))}
	sources, err := inScope(ctx, c, t.sources, top)
	if err != nil {
		return err
	}
	t.other = true
	got, err := t.render(sources, new(recorder))
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	changed := map[string]bool{}
	if err == nil {
		for name, text := range got {
			changed[name] = len(differences(map[string]string{name: rendered[name]}, map[string]string{name: text}, nil)) > 0
		}
		if !slices.Contains(slices.Collect(maps.Values(changed)), true) {
			return nil
		}
	}
	// A template may have kept the order for another one, or for an error.
	own := false
	for g := range seen.ordered {
		own = own || changed[g.Template]
	}
	if seen.generated == nil {
		seen.generated = map[GeneratedValue]int{}
	}
	for g, n := range seen.ordered {
		if changed[g.Template] || !own {
			seen.generated[g] = n
		}
	}
	return nil //nolint:nilerr // that it does not render in this order is what is recorded
}
