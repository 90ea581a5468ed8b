package chart

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Of the optional APIs and the objects that a chart asks for, a cluster may have some
// and not others. None of them and all of one sort are rendered; a chart that asks for
// two or three is rendered with each choice of them.

// modeSome is a mode of rendering.
const modeSome = "where some of the APIs and objects are there that it asks for"

// maxChosen bounds what is tried in each choice.
const maxChosen = 3

// optional are the APIs and objects that were asked for, and that a cluster may have.
func (m *comparison) optional() []string {
	out := slices.Collect(maps.Keys(m.seen.lookups))
	for version := range m.t.asked {
		if (servedSomewhere(version) || servedByProvider(version)) && !m.caps.APIVersions.Has(version) {
			out = append(out, version)
		}
	}
	slices.Sort(out)
	return out
}

// some compares with clusters that have some of what was asked for. Where something
// is not checked anyway, they are not rendered.
func (m *comparison) some(ctx context.Context) error {
	defer func() { m.t.chosen = nil }()
	tried := map[string]bool{}
	for again := true; again; {
		again = false
		asked := m.optional()
		if len(asked) < 2 || len(m.t.depends) > 0 || len(m.seen.lookups) > 0 && len(m.t.reads) > 0 {
			return nil
		}
		if len(asked) > maxChosen {
			m.t.depend(fmt.Sprintf("it asks for %d optional APIs and objects of the cluster (%s): not all choices of them were rendered", len(asked), strings.Join(asked[:maxChosen], ", ")+", …"))
			return nil
		}
		for choice := range 1 << len(asked) {
			chosen := map[string]bool{}
			for i, a := range asked {
				chosen[a] = choice&(1<<i) != 0
			}
			key := fmt.Sprint(chosen)
			if choice == 0 || tried[key] {
				continue
			}
			tried[key] = true
			m.t.chosen = chosen
			if err := m.each(ctx, map[way]bool{}, func(way) string { return modeSome }, ofUnknownKind); err != nil {
				return err
			}
			if len(m.optional()) != len(asked) { // it asked for more on its way
				again = true
				break
			}
		}
	}
	return nil
}

// serving reports whether an API is there besides those of .Capabilities. Who serves a
// kind serves its version.
func (r *rendering) serving(version string) bool {
	if r.chosen == nil {
		return r.serves != nil && r.serves(version)
	}
	for name, there := range r.chosen {
		if there && (name == version || strings.HasPrefix(name, version+"/")) {
			return true
		}
	}
	return false
}
