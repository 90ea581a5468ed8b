package drill

import (
	"fmt"
	"slices"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// SuiteRelease is the suite of drills that controls RSL-1 to RSL-4 need.
const SuiteRelease = "release"

// Suites lists the suites by name.
func Suites() []string { return []string{SuiteRelease} }

// Suite returns the plans of a suite, in the order in which they are run: what
// disturbs least comes first. base has what they share; what a plan says of one
// experiment alone (rollback, load, the node) is given to that one.
func Suite(name string, base Plan) ([]Plan, error) {
	if !slices.Contains(Suites(), name) {
		return nil, fmt.Errorf("suite %q: want %s", name, list(Suites()))
	}
	var out []Plan
	for _, e := range []Experiment{PodKill, Eviction, NodeDrain, Load, Rollback} {
		p := base
		p.Experiment = e
		p.Probes, p.AllowNamespaces = slices.Clone(base.Probes), slices.Clone(base.AllowNamespaces)
		p.Target.Zone, p.Target.Container, p.Rollback, p.Load = "", "", nil, nil
		switch e {
		case NodeDrain:
			p.Target.Count, p.Target.Percent = 0, 0
		case Load:
			p.Target, p.Load = Target{Workload: base.Target.Workload, Seed: base.Target.Seed}, base.Load
			if p.Load == nil {
				p.Load = DefaultLoad()
			}
		case Rollback:
			p.Target, p.Rollback = Target{Workload: base.Target.Workload, Seed: base.Target.Seed}, base.Rollback
			if p.Rollback == nil {
				p.Rollback = DefaultRollback()
			}
		}
		if e != NodeDrain {
			p.Target.Node = ""
		}
		if e == Load || e == Rollback {
			p.Target.GraceSeconds = nil
		}
		out = append(out, p)
	}
	return out, nil
}

// DefaultLoad is the load of a plan that states none: 50 requests a second for a
// minute.
func DefaultLoad() *LoadPlan {
	return &LoadPlan{Rate: 50, Ramp: evidence.Duration(15 * time.Second), Hold: evidence.Duration(time.Minute), Headroom: 0.1}
}

// DefaultRollback is the failing upgrade of a plan that states none.
func DefaultRollback() *RollbackPlan {
	return &RollbackPlan{Fault: "bad-image", Detect: evidence.Duration(2 * time.Minute), Back: evidence.Duration(3 * time.Minute)}
}
