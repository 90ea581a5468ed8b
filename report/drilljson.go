package report

import (
	"slices"

	"github.com/companyos/helmproof/internal/drill"
)

// DrillJSON is what a drill measured, as the JSON report holds it: the figures,
// with null for what is not a number and no list that is null.
type DrillJSON struct {
	drill.Figures
	Probes []probeJSON     `json:"probes"`
	Budget drillBudgetJSON `json:"budget"`
}

type probeJSON struct {
	drill.ProbeFigures
	Rate         *float64 `json:"rate"`
	Availability *float64 `json:"availability"`
}

type drillBudgetJSON struct {
	Seconds *float64 `json:"seconds"`
	Allowed *float64 `json:"allowed"`
	Spent   *float64 `json:"spent"`
	Share   *float64 `json:"share"`
}

func newDrillJSON(f *drill.Figures) *DrillJSON {
	if f == nil {
		return nil
	}
	d := &DrillJSON{Figures: *f, Probes: make([]probeJSON, 0, len(f.Probes))}
	d.Phases, d.Marks, d.Violations, d.Pods = list(f.Phases), list(f.Marks), slices.Clone(list(f.Violations)), list(f.Pods)
	d.Problems = list(drillProblems(f))
	d.Plan.Probes, d.Plan.AllowNamespaces = list(f.Plan.Probes), list(f.Plan.AllowNamespaces)
	d.Began = f.Began.UTC()
	for i := range d.Violations {
		d.Violations[i].Pods = list(d.Violations[i].Pods)
	}
	for _, p := range f.Probes {
		p.Seconds = list(p.Seconds)
		if p.Outcomes == nil {
			p.Outcomes = map[string]int{}
		}
		d.Probes = append(d.Probes, probeJSON{p, known(p.Rate), known(p.Availability)})
	}
	b := f.Budget
	d.Budget = drillBudgetJSON{known(b.Seconds), known(b.Allowed), known(b.Spent), known(b.Share)}
	return d
}

// known is nil where v is not a number.
func known(v float64) *float64 {
	if !finite(v) {
		return nil
	}
	return &v
}

func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
