package report

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/companyos/helmproof/internal/drill"
)

// DrillDiff is the figures of two drills side by side.
type DrillDiff struct {
	// Differs names what was not the same in both plans, so that a reader knows what
	// better and worse are worth.
	Differs []string `json:"differs"`
	// Unread says why figures are missing, where a record could not be read.
	Unread  []string     `json:"unread,omitempty"`
	Figures []FigureDiff `json:"figures"`
}

// FigureDiff is one figure. A number is absent where there is none; the text then says why.
type FigureDiff struct {
	Figure string   `json:"figure"` // "availability", "spent budget", …
	Unit   string   `json:"unit"`   // "share", "seconds", "count"
	A      *float64 `json:"a,omitempty"`
	B      *float64 `json:"b,omitempty"`
	AText  string   `json:"aText"`
	BText  string   `json:"bText"`
	Change Change   `json:"change"`
}

// Change says what became of a figure from A to B.
type Change string

// The changes.
const (
	Better  Change = "better"
	Worse   Change = "worse"
	Same    Change = "same"
	Unknown Change = "unknown" // one of the two was not measured
)

// Mark is how a change looks.
func (c Change) Mark() Mark {
	switch c {
	case Better:
		return Mark{MarkPass.Key, "better", MarkPass.Shape, MarkPass.Color, MarkPass.ANSI}
	case Worse:
		return Mark{MarkFail.Key, "worse", MarkFail.Shape, MarkFail.Color, MarkFail.ANSI}
	case Same:
		return Mark{MarkNotApplicable.Key, "same", MarkNotApplicable.Shape, MarkNotApplicable.Color, MarkNotApplicable.ANSI}
	}
	return Mark{MarkIncomplete.Key, "unknown", MarkIncomplete.Shape, MarkIncomplete.Color, MarkIncomplete.ANSI}
}

// noise is how much the times of two drills may differ and be called the same.
const noise = .05

// figure is one value of a drill, to compare: less is better, +Inf is never, NaN
// is not measured.
type figure struct {
	value float64
	text  string
}

func none(text string) figure { return figure{math.NaN(), text} }

func took(d time.Duration) figure { return figure{d.Seconds(), Took(d)} }

func count(n int) figure { return figure{float64(n), strconv.Itoa(n)} }

// diffDrills compares two drills; nil where there are not two.
func diffDrills(a, b *Input) *DrillDiff {
	drilled := func(in *Input) bool { return in.Drill != nil || in.DrillUnread != "" }
	if !drilled(a) || !drilled(b) {
		return nil
	}
	d := &DrillDiff{Differs: []string{}, Figures: []FigureDiff{}}
	for _, s := range []struct {
		name string
		in   *Input
	}{{"a", a}, {"b", b}} {
		if s.in.DrillUnread != "" {
			d.Unread = append(d.Unread, s.name+": "+s.in.DrillUnread)
		}
	}
	if len(d.Unread) > 0 {
		return d
	}
	x, y := a.Drill, b.Drill
	d.Differs = append(d.Differs, plansDiffer(&x.Plan, &y.Plan)...)
	for _, k := range []struct {
		name, unit string
		of         func(*drill.Figures) figure
		noise      float64
	}{
		{"availability", "share", availabilityOf, 0},
		{"spent budget", "seconds", spentOf, 0},
		{"downtime", "seconds", worstOf(func(p *drill.ProbeFigures) figure { return took(p.Downtime) }), 0},
		{"recovery", "seconds", recoveryOf, noise},
		{"p99 during", "seconds", worstOf(func(p *drill.ProbeFigures) figure {
			if p.During.Good == 0 {
				return figure{math.Inf(1), "none good"}
			}
			return took(p.During.P99)
		}), noise},
		{"violations", "count", func(f *drill.Figures) figure { return count(len(f.Violations)) }, 0},
		{"pods lost in violations", "count", func(f *drill.Figures) figure { return count(lost(f.Violations)) }, 0},
		{"worst ready time", "seconds", readyOf, noise},
		{"not measured", "count", func(f *drill.Figures) figure { return count(len(drillProblems(f))) }, 0},
	} {
		d.Figures = append(d.Figures, compare(k.name, k.unit, k.of(x), k.of(y), k.noise))
	}
	return d
}

func compare(name, unit string, a, b figure, noise float64) FigureDiff {
	f := FigureDiff{Figure: name, Unit: unit, AText: a.text, BText: b.text, A: known(a.value), B: known(b.value), Change: Same}
	better, worse := Better, Worse
	if unit == "share" { // more of it is better
		better, worse = worse, better
	}
	switch x, y := a.value, b.value; {
	case math.IsNaN(x) || math.IsNaN(y):
		f.Change = Unknown
		if math.IsNaN(x) && math.IsNaN(y) && a.text == b.text && a.text != notMeasured {
			f.Change = Same
		}
	case x == y, math.Abs(x-y) <= noise*max(math.Abs(x), math.Abs(y)) && !math.IsInf(x-y, 0):
	case y < x:
		f.Change = better
	default:
		f.Change = worse
	}
	return f
}

func availabilityOf(f *drill.Figures) figure {
	i := worstProbe(f)
	if i < 0 || !finite(f.Probes[i].Availability) {
		return none(notMeasured)
	}
	v := f.Probes[i].Availability
	return figure{v, Percent(v)}
}

func spentOf(f *drill.Figures) figure {
	if len(f.Probes) == 0 || !finite(f.Budget.Spent) {
		return none(notMeasured)
	}
	return figure{f.Budget.Spent, seconds(f.Budget.Spent) + " of " + seconds(f.Budget.Allowed)}
}

// worstOf is the worst of all probes.
func worstOf(of func(*drill.ProbeFigures) figure) func(*drill.Figures) figure {
	return func(f *drill.Figures) figure {
		worst := none(notMeasured)
		for i := range f.Probes {
			if v := of(&f.Probes[i]); math.IsNaN(worst.value) || v.value > worst.value {
				worst = v
			}
		}
		return worst
	}
}

func recoveryOf(f *drill.Figures) figure {
	switch {
	case len(f.Probes) == 0:
		return none(notMeasured)
	case f.Recover == nil && f.Plan.Experiment == drill.Load:
		return none("nothing to recover from")
	case f.Recover == nil:
		return figure{math.Inf(1), "not within the drill"}
	}
	return took(*f.Recover)
}

func readyOf(f *drill.Figures) figure {
	if len(f.Pods) == 0 {
		return none("no new pod")
	}
	d, never := slowest(f.Pods, podReady)
	if never > 0 {
		return figure{math.Inf(1), fmt.Sprintf("%d never", never)}
	}
	return took(*d)
}

// plansDiffer names the parts of two plans that are not the same.
func plansDiffer(a, b *drill.Plan) []string {
	var out []string
	if a.Experiment != b.Experiment {
		out = append(out, fmt.Sprintf("experiment: %s and %s", a.Experiment, b.Experiment))
	}
	for _, k := range []struct {
		name string
		same bool
	}{
		{"target", reflect.DeepEqual(a.Target, b.Target)}, {"objective", a.SLO == b.SLO}, {"probes", reflect.DeepEqual(a.Probes, b.Probes)},
		{"prober", a.Prober == b.Prober}, {"phases", a.Phases == b.Phases},
		{"rollback", reflect.DeepEqual(a.Rollback, b.Rollback)}, {"load", reflect.DeepEqual(a.Load, b.Load)},
	} {
		if !k.same {
			out = append(out, k.name)
		}
	}
	return out
}

// Count is how many figures changed so.
func (d *DrillDiff) Count(c Change) int {
	n := 0
	for _, f := range d.Figures {
		if f.Change == c {
			n++
		}
	}
	return n
}
