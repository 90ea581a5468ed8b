package reporttest

import (
	"fmt"
	"math"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/report"
)

func span(seconds float64) *time.Duration {
	d := time.Duration(seconds * 1e9)
	return &d
}

// Figures are those of an eviction of two pods in a drill of n seconds: good
// gives the good ones of the hundred requests of each second.
func Figures(n int, good func(second int) int) *drill.Figures {
	at := func(share float64) time.Duration { return time.Duration(share * float64(n) * 1e9) }
	f := &drill.Figures{
		Plan: drill.Plan{
			Experiment: drill.Eviction, Target: drill.Target{Workload: "Deployment/web", Count: 2},
			SLO:             drill.SLO{Objective: .999, Window: evidence.Duration(time.Hour), Share: 1, Latency: evidence.Duration(500 * time.Millisecond)},
			Probes:          []drill.Probe{{Name: "web", Kind: "http", Address: "http://web.shop:80/", Rate: 100, Timeout: evidence.Duration(time.Second)}},
			AllowNamespaces: []string{"shop"},
		},
		Began: evaluated.Add(-10 * time.Minute), Length: at(1),
		Phases: []drill.Span{{Name: "before", To: at(.25)}, {Name: "fault", From: at(.25), To: at(.5)}, {Name: "recover", From: at(.5), To: at(.7)}, {Name: "after", From: at(.7), To: at(1)}},
		Marks:  []drill.Mark{{At: at(.26), Label: "evict shop/web-7c9-abcde"}, {At: at(.36), Label: "evict shop/web-7c9-fghij", Bad: true}, {At: at(.46), Label: "evict shop/web-7c9-fghij"}},
		Ready:  []drill.ReadyPoint{{Ready: 3}, {At: at(.27), Ready: 2}, {At: at(.4), Ready: 3}, {At: at(.47), Ready: 2}, {At: at(.68), Ready: 3}},
		Budget: drill.BudgetFigures{Seconds: 3.6, Allowed: 3.6}, Recover: span(.42 * float64(n)), RecoveredAt: span(.68 * float64(n)), Refused: 1,
		Pods: []drill.PodFigures{
			{Name: "shop/web-7c9-klmno", Scheduled: span(.02), Pulled: span(1.21), Ready: span(4.4)},
			{Name: "shop/web-7c9-pqrst", Scheduled: span(.31), Pulled: span(.9), Ready: span(8.21)},
		},
	}
	p := drill.ProbeFigures{Name: "web", Address: "http://web.shop:80/", Rate: 100, Outcomes: map[string]int{}}
	run := time.Duration(0)
	for i := range n {
		s := drill.Second{Due: 100, Good: good(i), P99: time.Duration(8+i%5) * time.Millisecond}
		if float64(i) >= .25*float64(n) && float64(i) < .7*float64(n) {
			s.P99 *= 9
		}
		p.Due += s.Due
		p.Failed += s.Due - s.Good
		p.Seconds = append(p.Seconds, s)
		if s.Good == 0 {
			run += time.Second
			p.Downtime += time.Second
			p.Longest = max(p.Longest, run)
		} else {
			run = 0
		}
	}
	if p.Failed > 0 {
		p.Outcomes["refused"] = p.Failed
	}
	p.Availability = float64(p.Due-p.Failed) / float64(p.Due)
	p.Before = drill.Latency{Good: n * 25, P50: 4 * time.Millisecond, P99: 12 * time.Millisecond, Max: 20 * time.Millisecond}
	p.During = drill.Latency{Good: n * 45, P50: 6 * time.Millisecond, P99: 108 * time.Millisecond, Max: 300 * time.Millisecond}
	p.After = drill.Latency{Good: n * 30, P50: 4 * time.Millisecond, P99: 12 * time.Millisecond, Max: 21 * time.Millisecond}
	f.Probes = []drill.ProbeFigures{p}
	f.Budget.Spent = float64(p.Failed) / 100
	f.Budget.Share = f.Budget.Spent / f.Budget.Seconds
	f.Conclusion = fmt.Sprintf("%.2f of 3.60 s of the error budget spent; recovered in %.1f s", f.Budget.Spent, f.Recover.Seconds())
	return f
}

// Drill is a drill with the given figures.
func Drill(f *drill.Figures) report.Input {
	b := newBuilder("shop", "1.4.2")
	b.in.Release.Scope = evidence.ScopeDrill
	b.in.Release.Cluster = "kubernetes/sha256:0a1b2c3d4e5f"
	c := evidence.Control{ID: "RSL-1", Group: "RSL", Title: "Pods lost within the error budget", Statement: "Kills and evictions of pods stay within the error budget.",
		Severity: evidence.SeverityHigh, Collector: "chaos", Rules: []string{"chaos/budget"}, Remediation: "Run more replicas, and set a preStop hook."}
	b.in.Catalog = &evidence.Catalog{Groups: []evidence.Group{{ID: "RSL", Title: "Resilience"}}, Controls: []evidence.Control{c}}
	b.in.Profile = &evidence.Profile{Name: "drill", Title: "One drill", Scope: evidence.ScopeDrill, FailOn: evidence.SeverityMedium}
	o, m := evidence.OutcomePass, "The error budget holds."
	if f.Budget.Spent > f.Budget.Allowed {
		o, m = evidence.OutcomeFail, "More of the error budget was spent than the drill may spend."
	}
	b.add(c, o, evidence.Target{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "shop", Name: "web"}, m)
	b.in.Drill = f
	return b.finish([]evidence.Control{c}, nil)
}

// HostileFigures are figures whose every text is s.
func HostileFigures(s string) *drill.Figures {
	f := Figures(20, func(i int) int { return 100 - 20*(i%3) })
	f.Aborted, f.Conclusion, f.Problems = s, s, []string{s}
	f.Plan.Experiment = drill.Experiment(s)
	f.Plan.Target = drill.Target{Workload: s, Container: s}
	f.Plan.Rollback = &drill.RollbackPlan{Fault: s}
	f.Phases = append(f.Phases, drill.Span{Name: s, To: time.Second})
	for i := range f.Marks {
		f.Marks[i].Label = s
	}
	p := f.Probes[0]
	p.Name, p.Address, p.Outcomes = s, s, map[string]int{s: 2}
	f.Probes = append(f.Probes, p, p)
	f.Violations = []drill.Violation{{Budget: s, Pods: []string{s, s}}}
	f.Pods = append(f.Pods, drill.PodFigures{Name: s, Reason: s})
	return f
}

// Drills are drills of every kind that a plot must survive.
func Drills() map[string]*drill.Figures {
	always := func(good int) func(int) int { return func(int) int { return good } }
	out := map[string]*drill.Figures{
		"eviction": Figures(90, func(i int) int {
			switch i {
			case 25:
				return 62
			case 33:
				return 0
			case 34:
				return 88
			case 42:
				return 99
			}
			return 100
		}),
		"all good":   Figures(60, always(100)),
		"all bad":    Figures(60, always(0)),
		"one second": Figures(1, always(97)),
		"half an hour": Figures(1800, func(i int) int {
			if i == 777 {
				return 3
			}
			return 100
		}),
		"many actions": Figures(120, always(100)),
		"no numbers":   Figures(10, always(100)),
		"out of range": Figures(10, always(100)),
		"empty":        {Plan: drill.Plan{Experiment: drill.PodKill}},
		"many probes":  Figures(30, always(99)),
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
	f.Recover, f.RecoveredAt = &long, &long
	f = out["many probes"]
	for i := range 20 {
		p := f.Probes[0]
		p.Name = string(rune('a' + i))
		p.Availability = 1
		f.Probes = append(f.Probes, p)
	}
	return out
}
