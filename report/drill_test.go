package report_test

import (
	"math"
	"time"

	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/report/reporttest"
)

// drillFigures are drills of every kind that a plot must survive.
func drillFigures() map[string]*drill.Figures {
	always := func(good int) func(int) int { return func(int) int { return good } }
	out := map[string]*drill.Figures{
		"eviction": reporttest.Figures(90, func(i int) int {
			switch {
			case i == 25:
				return 62
			case i == 33:
				return 0
			case i == 34:
				return 88
			case i == 42:
				return 99
			}
			return 100
		}),
		"all good":   reporttest.Figures(60, always(100)),
		"all bad":    reporttest.Figures(60, always(0)),
		"one second": reporttest.Figures(1, always(97)),
		"half an hour": reporttest.Figures(1800, func(i int) int {
			if i == 777 {
				return 3
			}
			return 100
		}),
		"many actions": reporttest.Figures(120, always(100)),
		"no numbers":   reporttest.Figures(10, always(100)),
		"out of range": reporttest.Figures(10, always(100)),
		"empty":        {Plan: drill.Plan{Experiment: drill.PodKill}},
		"many probes":  reporttest.Figures(30, always(99)),
	}
	for i := range 300 {
		f := out["many actions"]
		f.Marks = append(f.Marks, drill.Mark{At: 40*time.Second + time.Duration(i)*time.Second/30, Label: "evict shop/web-7c9-many", Bad: i%100 == 3})
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		f := out["no numbers"]
		p := f.Probes[0]
		p.Rate, p.Availability = v, v
		f.Probes = append(f.Probes, p)
		f.Budget = drill.BudgetFigures{Seconds: v, Allowed: v, Spent: v, Share: v}
	}
	f := out["out of range"]
	f.Length = -time.Hour
	f.Phases = []drill.Span{{Name: "fault", From: math.MaxInt64, To: math.MinInt64}, {Name: "fault", From: -time.Hour, To: time.Hour}}
	f.Marks = []drill.Mark{{At: math.MinInt64}, {At: math.MaxInt64}, {At: time.Hour}}
	f.Ready = []drill.ReadyPoint{{At: time.Hour, Ready: -5}, {At: -time.Hour, Ready: math.MaxInt}, {At: time.Second, Ready: 3}}
	f.Probes[0].Seconds = []drill.Second{{Due: -1, Good: 5, P99: -time.Hour}, {Due: 3, Good: 9, P99: math.MaxInt64}, {Due: 3, Good: -9}, {}}
	f.Budget = drill.BudgetFigures{Seconds: -1, Allowed: -2, Spent: 1e300, Share: 1e300}
	long := time.Duration(math.MaxInt64)
	f.Recover = &long
	f = out["many probes"]
	for i := range 20 {
		p := f.Probes[0]
		p.Name = string(rune('a' + i))
		p.Availability = 1
		f.Probes = append(f.Probes, p)
	}
	return out
}
