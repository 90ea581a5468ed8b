package chart

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/companyos/helmproof/internal/manifest"
)

// A template can ask for a generated value and use none of it, where another one is
// given. Only values that something depends on are recorded. Most stand in what is
// rendered for all to see; what remains is rendered with other values, at another time
// and in another zone, and compared, with what conditions were given.

// sameElsewhere are functions whose result is not another one in the other rendering, so
// that it shows nothing: the order of maps is tried elsewhere.
var sameElsewhere = setOf(append(slices.Clone(OrderFunctions), "shuffle", printsAddress)...)

// view is a way of rendering the chart.
type view struct {
	render func(values any, rec *recorder) (map[string]string, error)
	set    func() // prepares for it
}

// dependsOn takes out of seen the generated values that nothing depends on in any of
// the views, and notes what depends on the machine's time zone. The templates are good
// for nothing else afterwards. What cannot be found out stays recorded.
func (t *templates) dependsOn(ctx context.Context, views []view, values any, rendered map[string]string, seen *recorder) error {
	open, shown := map[GeneratedValue]bool{}, map[string]bool{}
	for g := range seen.generated {
		shown[g.Template] = shown[g.Template] || shows(rendered[g.Template], seen.texts[g])
	}
	for g := range seen.generated {
		if !shown[g.Template] && !sameElsewhere[g.Function] {
			open[g] = true
		}
	}
	if len(open) == 0 && len(seen.zones) == 0 {
		return nil
	}
	t.startTrace()
	defer func() { t.variant, t.zone, t.trace, t.chosen = 0, 0, nil, nil }()
	changed, byZone := map[string]bool{}, map[string]bool{}
	unknown := false
	all := func() bool { // all of them count
		for g := range open {
			if !changed[g.Template] {
				return false
			}
		}
		return true
	}
	for i, v := range views {
		if i > 0 && len(seen.zones) == 0 && all() {
			break
		}
		v.set()
		as := func(variant, zone int) (*traced, error) {
			t.variant, t.zone, t.trace = variant, zone, map[string]uint64{}
			files, err := v.render(copyValue(values), new(recorder))
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
			return &traced{files, t.trace, err}, nil
		}
		var first *traced
		compare := func(variant, zone int, into map[string]bool) error {
			other, err := as(variant, zone)
			if err != nil {
				return err
			}
			if i == 0 { // that is rendered already
				(&traced{files: rendered, trace: other.trace}).compare(other, into)
				if zone == 0 && len(seen.zones) == 0 && all() {
					return nil
				}
			}
			if first == nil {
				if first, err = as(0, 0); err != nil {
					return err
				}
			}
			unknown = unknown || exceeded(first.err) || exceeded(other.err)
			first.compare(other, into)
			return nil
		}
		if len(open) > 0 {
			if err := compare(1, 0, changed); err != nil {
				return err
			}
		}
		for z := range otherZones {
			if len(seen.zones) > 0 {
				if err := compare(0, z+1, byZone); err != nil {
					return err
				}
			}
		}
	}
	// A value may have been kept for another template, or for an error.
	own := false
	for g := range open {
		own = own || changed[g.Template]
	}
	for g := range open {
		if !unknown && !changed[g.Template] && (own || len(changed) == 0) {
			delete(seen.generated, g)
		}
	}
	own = false
	for g := range seen.zones {
		own = own || byZone[g.Template]
	}
	for g := range seen.zones {
		if unknown || byZone[g.Template] || !own && len(byZone) > 0 {
			t.depend(g.Template + " calls " + g.Function + ": what is rendered depends on the time zone of the machine")
		}
	}
	return nil
}

// exceeded reports whether a rendering ended for another reason than the chart's: its
// share of the budget was used up by those before.
func exceeded(err error) bool {
	return errors.Is(err, errBudget) || errors.Is(err, errSteps)
}

// traced is what a rendering came to, and what its conditions were given.
type traced struct {
	files map[string]string
	trace map[string]uint64
	err   error
}

// compare notes the files that differ; "" where one of the renderings ends.
func (a *traced) compare(b *traced, into map[string]bool) {
	if (a.err == nil) != (b.err == nil) {
		into[""] = true
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(a.trace)), slices.Collect(maps.Keys(b.trace))) {
		if a.trace[name] != b.trace[name] && !strings.HasSuffix(name, "NOTES.txt") {
			into[name] = true
		}
	}
	for name, text := range a.files {
		if other := b.files[name]; text != other && !into[name] && !slices.EqualFunc(contents(text), contents(other), reflect.DeepEqual) {
			into[name] = true
		}
	}
}

// contents are the documents of a rendered template without their comments.
func contents(text string) []any {
	var out []any
	for d := range helmDocuments(text) {
		v, err := manifest.Decode(d.Text)
		if err != nil {
			v = string(d.Text)
		}
		out = append(out, v)
	}
	return out
}

// shows reports whether one of the texts stands in what is rendered, as it is or as
// base64, where no comment can be.
func shows(rendered string, texts []string) bool {
	for _, text := range texts {
		for _, s := range []string{text, base64.StdEncoding.EncodeToString([]byte(text))} {
			for rest := rendered; ; {
				at := strings.Index(rest, s)
				if at < 0 {
					break
				}
				if !strings.Contains(rest[strings.LastIndexByte(rest[:at], '\n')+1:at], "#") {
					return true
				}
				rest = rest[at+len(s):]
			}
		}
	}
	return false
}

// views are the ways in which the templates could tell that they are rendered.
func (m *comparison) views(ctx context.Context) []view {
	out := []view{{set: func() { m.t.serves, m.t.present, m.t.chosen = nil, false, nil }, render: m.onCluster(ctx, m.caps)}}
	return append(out, m.done...)
}
