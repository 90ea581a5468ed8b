package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
	"github.com/companyos/helmproof/internal/probe"
)

func find(t *testing.T, files drilltest.Files) []evidence.Finding {
	t.Helper()
	files["release.json"] = []byte(`{"chart":"shop","version":"1.0.0","namespace":"shop","scope":"drill"}`)
	found, err := collectors.Findings(collectors.NewSealed(files, config.RuleControls()), New(Options{}))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// outcomeOf are the outcomes of a rule, and what its findings say.
func outcomeOf(found []evidence.Finding, rule string) (outcomes []evidence.Outcome, text string) {
	for _, f := range found {
		if f.Rule == rule {
			outcomes = append(outcomes, f.Outcome)
			text += f.Target.Object() + ": " + f.Message + "\n" + f.Remediation + "\n"
		}
	}
	return outcomes, text
}

// An experiment that went well passes every rule of its own, and has no finding of another's.
func TestPass(t *testing.T) {
	t.Parallel()
	for _, e := range experiments {
		found := find(t, drilltest.New(e).Files(Name))
		if len(found) != 5 {
			t.Errorf("%s: %d findings", e, len(found))
		}
		for _, f := range found {
			if f.Outcome != evidence.OutcomePass || f.Remediation != "" || !strings.HasPrefix(f.Rule, "chaos/"+string(e)) || f.Target.Object() != "Deployment shop/web" || len(f.Evidence) == 0 {
				t.Errorf("%s: %s %s %s: %s", e, f.Rule, f.Outcome, f.Target.Object(), f.Message)
			}
		}
	}
}

// oneReplica is a workload with a single pod, which goes at 10 s and is back at 14 s.
func oneReplica(d *drilltest.Drill) {
	for i := range d.Events {
		if w := d.Events[i].Workload; w != nil {
			w.Want, w.Updated = 1, 1
			w.Ready, w.Available = max(w.Ready-2, 0), max(w.Available-2, 0)
		}
		if e := d.Events[i].Endpoints; e != nil {
			e.Ready = max(e.Ready-2, 0)
		}
	}
	d.Drop(func(e drill.Event) bool {
		return e.Pod != nil && (e.Pod.UID == "uid-b" || e.Pod.UID == "uid-c") || e.Budget != nil
	})
	d.Fail(10.1, 14.2, probe.Refused)
}

func evictAgain(d *drilltest.Drill, from, to float64) {
	d.Drop(func(e drill.Event) bool {
		return e.Action != nil && e.Action.Verb == verbEvict || e.Pod != nil && e.At > 0
	})
	for s := from; s < to; s++ {
		d.Add(s, drill.Action{Verb: verbEvict, Object: "Pod shop/web-a", UID: "uid-a", Code: 429, Budget: "shop/web"})
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	const pass, fail, problem, none, unchecked = evidence.OutcomePass, evidence.OutcomeFail, evidence.OutcomeError, evidence.OutcomeNotApplicable, evidence.OutcomeNotChecked
	type want struct {
		about   string
		outcome evidence.Outcome
		text    string
	}
	tests := []struct {
		name       string
		experiment drill.Experiment
		touch      func(*drilltest.Drill)
		files      func(drilltest.Files)
		want       []want
	}{
		{"one workload of two", drill.PodKill, func(d *drilltest.Drill) {
			d.Add(0, drill.Workload{Name: "shop/StatefulSet/db", Want: 3, Ready: 3, Updated: 3, Current: true})
		}, nil, []want{{aboutAll, pass, "1 of 3 pods deleted"}, {aboutAll, unchecked, "StatefulSet shop/db: the drill was about Deployment/web alone"}}},
		{"a workload that the drill did not see", drill.Eviction, func(d *drilltest.Drill) { d.Plan.Target.Workload = "" }, func(f drilltest.Files) {
			f[collectors.ManifestsFile] = []byte("---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api}\n")
		}, []want{{aboutAll, pass, "1 of 3 pods evicted"}, {aboutAll, unchecked, "Deployment shop/api: the drill did not see it"}}},
		{"fewer than planned", drill.PodKill, func(d *drilltest.Drill) { d.Plan.Target.Count = 2 }, nil, []want{{aboutAll, problem, "1 of its pods were deleted, and 2 are planned"}}},
		{"probes of something else", drill.PodKill, func(d *drilltest.Drill) { d.Plan.Probes[0].Service = "" }, nil, []want{{aboutAvailability, unchecked, "no probe sends its requests to a Service of the release"}, {aboutAvailability, unchecked, fixWeak}}},
		{"a lax objective", drill.PodKill, func(d *drilltest.Drill) { d.Plan.SLO.Objective = 0.98 }, nil, []want{{aboutAvailability, unchecked, "the plan lets 72 s of requests fail"}}},
		{"single replica", drill.PodKill, oneReplica, nil, []want{
			{aboutAll, fail, "4.1 of 3.6 s of the error budget spent"}, {aboutAll, fail, fixSingle},
			{aboutAvailability, fail, "failed: refused 82; likely since it has a single replica"}, {aboutDisruption, none, "no PodDisruptionBudget"}, {aboutRecovery, pass, "4.2s after the first action"}}},
		{"a budget that blocks", drill.Eviction, func(d *drilltest.Drill) { evictAgain(d, 10, 12) }, nil, []want{
			{aboutAll, fail, "PodDisruptionBudget shop/web refused the eviction of shop/web-a until the end, 2 times"}, {aboutAll, fail, fixBlocked}, {aboutAvailability, pass, ""}}},
		{"a budget that let it go at last", drill.Eviction, func(d *drilltest.Drill) {
			d.Add(9.99, drill.Action{Verb: verbEvict, Object: "Pod shop/web-a", UID: "uid-a", Code: 429, Budget: "web"})
		}, nil, []want{{aboutAll, pass, "1 evictions refused"}, {aboutDisruption, pass, "1 evictions refused"}}},
		{"an eviction that failed", drill.Eviction, func(d *drilltest.Drill) {
			evictAgain(d, 10, 11)
			d.Add(11, drill.Action{Verb: verbEvict, Object: "Pod shop/web-a", UID: "uid-a", Code: 500, Error: "more than one PodDisruptionBudget"})
		}, nil, []want{{aboutAll, problem, "shop/web-a: more than one PodDisruptionBudget"}}},
		{"a drain that blocks", drill.NodeDrain, func(d *drilltest.Drill) { evictAgain(d, 10, 12) }, nil, []want{{aboutAll, fail, "refused the eviction of shop/web-a until the end"}, {aboutRestored, pass, "put back: uncordoned node-a"}}},
		{"a pod that comes back to a node that is drained", drill.NodeDrain, func(d *drilltest.Drill) {
			for i := range d.Events {
				if p := d.Events[i].Pod; p != nil && p.UID == "uid-d" {
					p.Node = "node-a"
				}
			}
		}, nil, []want{{aboutAll, fail, "shop/web-d was put on node-a again, which was drained"}}},
		{"a drain of a node without the release", drill.NodeDrain, func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool { return e.Action != nil && e.Action.Verb == verbEvict })
		}, nil, []want{{aboutAll, none, "no pod of it was on the nodes"}, {aboutAll, problem, "1 nodes were drained, and none of the release's pods was on them"}}},
		{"a drain that another's budget blocks", drill.NodeDrain, func(d *drilltest.Drill) {
			d.Add(11, drill.Action{Verb: verbEvict, Object: "Pod other/x", UID: "x", Code: 429, Budget: "x"})
		}, nil, []want{{aboutAll, fail, "the drain did not get to its end: PodDisruptionBudget other/x refused the eviction of other/x"}}},
		{"a node left cordoned", drill.NodeDrain, func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool { return e.Action != nil && e.Action.Verb == "uncordon" })
			d.End.Restored = nil
		}, nil, []want{{aboutRestored, fail, "Node node-a: it was cordoned by the drill, and nothing says that it was uncordoned"}}},
		{"not restored", drill.NodeDrain, func(d *drilltest.Drill) { d.End.NotRestored = []string{"uncordon node node-a: timeout"} }, nil, []want{{aboutRestored, fail, "not put back: uncordon node node-a: timeout"}}},
		{"connections lost at termination", drill.PodKill, func(d *drilltest.Drill) { d.Fail(10.05, 13.9, probe.Reset) }, nil, []want{
			{aboutAvailability, fail, "likely since connections are lost when a pod ends"}, {aboutAvailability, fail, "preStop"}, {aboutAll, fail, fixTermination}}},
		{"a readiness probe that lies", drill.PodKill, func(d *drilltest.Drill) { d.Fail(14.05, 18, probe.Refused) }, nil, []want{
			{aboutAvailability, fail, "likely since new pods were Ready before they served"}, {aboutAvailability, fail, fixReadiness}}},
		{"a new pod that is Ready just after one ended", drill.PodKill, func(d *drilltest.Drill) {
			d.Plan.SLO.Objective = 0.9999
			d.Drop(func(e drill.Event) bool { return e.Pod != nil && e.Pod.UID == "uid-d" })
			d.Add(10.2, drilltest.Pod("d"))
			d.Fail(10.4, 12.9, probe.Timeout)
		}, nil, []want{
			{aboutAvailability, fail, "likely since connections are lost when a pod ends, or since new pods were Ready before they served"}, {aboutAvailability, fail, fixTermination + " " + fixReadiness}}},
		{"all away at once", drill.PodKill, func(d *drilltest.Drill) {
			for i := range d.Events {
				if e := d.Events[i].Endpoints; e != nil && e.Ready == 2 {
					e.Ready = 0
				}
			}
			d.Fail(10.1, 14, "503")
		}, nil, []want{{aboutAvailability, fail, "likely since no endpoint was ready"}, {aboutAvailability, fail, fixAllAway}}},
		{"failures of no known reason", drill.PodKill, func(d *drilltest.Drill) { d.Fail(1, 5, "500") }, nil, []want{{aboutAvailability, fail, fixUnspecific}}},
		{"aborted since the budget is spent", drill.PodKill, func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool {
				return e.Mark == drill.MarkRecover || e.Mark == drill.MarkAfter || e.At > drilltest.Second(13.8) && e.Mark == ""
			})
			d.End.Length, d.End.Aborted = drilltest.Second(14), "error budget exhausted: probe web has spent 3.65 of 3.60 s"
			d.Events[slices.IndexFunc(d.Events, func(e drill.Event) bool { return e.Mark == drill.MarkEnd })].At = d.End.Length
			d.Fail(10, 14, probe.Reset)
		}, nil, []want{{aboutAll, fail, "aborted: error budget exhausted"}, {aboutAvailability, fail, "4.0 of 3.6 s"}, {aboutDisruption, problem, "aborted"}, {aboutRecovery, problem, "aborted"}, {aboutRestored, pass, ""}}},
		{"aborted since the prober was lost", drill.PodKill, func(d *drilltest.Drill) { d.End.Aborted = "the prober was lost" }, nil, []want{{aboutAll, problem, "aborted: the prober was lost"}, {aboutAvailability, problem, "aborted"}}},
		{"the drill's own deletes beyond the budget", drill.PodKill, func(d *drilltest.Drill) {
			d.Add(10, drill.Action{Verb: verbDelete, Object: "Pod shop/web-b", UID: "uid-b", Code: 200})
			b := drilltest.Pod("b")
			b.Labels, b.Gone = nil, true
			d.Add(10.5, b)
		}, nil, []want{{aboutDisruption, fail, "overrun: the drill's own deletes took 1 pods beyond the budget: shop/web: 1 healthy of 2 desired from 10.5 to 14.0 s, without shop/web-b"}, {aboutAll, pass, "1 pods lost beyond a PodDisruptionBudget"}}},
		{"a violation by an eviction", drill.Eviction, func(d *drilltest.Drill) {
			b := drilltest.Pod("b")
			b.Ready = false
			d.Add(10.5, b)
			b.Ready = true
			d.Add(11.5, b)
		}, nil, []want{{aboutDisruption, fail, "violated by 1 pods"}}},
		{"another's budget", drill.NodeDrain, func(d *drilltest.Drill) {
			x := drill.Pod{Name: "other/x", UID: "x", Owner: "Deployment/x", Labels: map[string]string{"app": "x"}, Ready: true}
			d.Add(0, drill.Budget{Name: "other/x", Selector: map[string]string{"app": "x"}, Desired: 1})
			d.Add(0, x)
			x.Gone = true
			d.Add(11, x)
		}, nil, []want{{aboutDisruption, pass, ""}, {aboutDisruption, fail, "PodDisruptionBudget other/x: violated by 1 pods"}}},
		{"no room for the replacement", drill.PodKill, func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool { return e.At >= drilltest.Second(14) && e.Mark == "" })
			p := drilltest.Pod("d")
			p.Ready, p.Phase, p.Reason = false, "Pending", "Unschedulable"
			d.Add(10.3, p)
		}, nil, []want{{aboutRecovery, fail, "not ready are shop/web-d (Unschedulable)"}, {aboutRecovery, fail, fixSchedule}, {aboutAll, pass, "not recovered"}}},
		{"a slow pull", drill.PodKill, func(d *drilltest.Drill) {
			d.Plan.Phases.Recover = evidence.Duration(time.Second)
			at := drilltest.Began.Add(drilltest.Second(23))
			for i := range d.Events {
				if p := d.Events[i].Pod; p != nil && p.Pulled != nil {
					p.Pulled, p.ReadyAt = &at, &at
				}
			}
		}, nil, []want{{aboutRecovery, fail, "2.1s after the last, at most 1s is allowed"}, {aboutRecovery, fail, "13s of it for images"}, {aboutRecovery, fail, fixPull}}},
		{"a rollout that does not end", drill.RollingRestart, func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool { return e.Pod != nil && e.At > 0 })
		}, nil, []want{{aboutAll, fail, "the rollout did not get to its end: shop/web-a, shop/web-b, shop/web-c still runs"}}},
		{"a restart that is refused", drill.RollingRestart, func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool { return e.Action != nil })
			d.Add(10, drill.Action{Verb: verbRestart, Object: "Deployment shop/web", Code: 403, Error: "forbidden"})
		}, nil, []want{{aboutAll, problem, "it could not be restarted: forbidden"}}},
		{"a container that cannot be killed", drill.ContainerKill, func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool { return e.Action != nil || e.Pod != nil && e.At > 0 })
			d.Add(10, drill.Action{Verb: verbKill, Object: "Pod shop/web-a", UID: "uid-a", Error: "executable file not found"})
		}, nil, []want{{aboutAll, unchecked, "not possible here: 0 of 1 containers ended: executable file not found"}, {aboutRecovery, unchecked, "nothing was disturbed"}}},
		{"nothing done", drill.PodKill, func(d *drilltest.Drill) { d.Drop(func(e drill.Event) bool { return e.Action != nil }) }, nil, []want{{aboutAll, problem, "no pod of it was deleted"}}},
		{"samples missing", drill.PodKill, nil, func(f drilltest.Files) { delete(f, "artifacts/chaos/probe-web.csv") }, []want{
			{aboutAll, problem, "not measured: probe-web.csv is missing"}, {aboutAvailability, problem, "not measured"}, {aboutDisruption, problem, ""}, {aboutRecovery, problem, ""}, {aboutRestored, pass, ""}}},
		{"end missing", drill.PodKill, nil, func(f drilltest.Files) { delete(f, "artifacts/chaos/end.json") }, []want{{aboutRestored, problem, "how the drill ended is not known"}, {aboutAll, problem, "end.json is missing"}}},
		{"refused", drill.PodKill, func(d *drilltest.Drill) {
			d.Checks = []drill.Check{{Name: "rights", OK: true}, {Name: "limits", Reason: "1 of 1 pods would be hit, at most 50 % may be"}}
			d.End.Aborted = "refused: limits"
		}, refused, []want{{aboutAll, unchecked, "Deployment web: the drill did not begin: limits: 1 of 1 pods"}, {aboutAvailability, unchecked, ""}, {aboutDisruption, unchecked, ""}, {aboutRecovery, unchecked, ""}, {aboutRestored, none, "nothing was touched"}}},
		{"refused since the budget blocks", drill.Eviction, func(d *drilltest.Drill) {
			d.Checks = []drill.Check{{Name: checkBudget, Reason: "budget shop/web allows no disruption"}}
		}, refused, []want{{aboutAll, fail, "budget shop/web allows no disruption"}, {aboutAll, fail, fixBlocked}, {aboutAvailability, unchecked, ""}}},
		{"refused since it would not drain", drill.NodeDrain, func(d *drilltest.Drill) {
			d.Checks = []drill.Check{{Name: checkBudget, OK: true}, {Name: checkForecast, Reason: "cannot reschedule: pod shop/web-a fits no node"}}
		}, refused, []want{{aboutAll, fail, "forecast: cannot reschedule: pod shop/web-a"}, {aboutAll, fail, fixForecast}, {aboutAvailability, unchecked, ""}}},
		{"the query says no", drill.PodKill, func(d *drilltest.Drill) {
			d.Plan.Prometheus = &drill.Prometheus{URL: "http://p:1", Query: "q"}
			for s := range 25 {
				d.Add(float64(s), drill.Sampled{Value: 0.5})
			}
		}, nil, []want{{aboutAll, fail, "12.0 of 3.6 s"}, {aboutAvailability, fail, "by the query and the probes together: 12.0"}, {aboutAvailability, pass, "probe web"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := drilltest.New(tt.experiment)
			if tt.touch != nil {
				tt.touch(d)
			}
			files := d.Files(Name)
			if tt.files != nil {
				tt.files(files)
			}
			found := find(t, files)
			for _, w := range tt.want {
				outcomes, text := outcomeOf(found, ruleOf(tt.experiment)+w.about)
				if !slices.Contains(outcomes, w.outcome) || !strings.Contains(text, w.text) {
					t.Errorf("%q: %v, want %s with %q in\n%s", w.about, outcomes, w.outcome, w.text, text)
				}
				if w.outcome != pass && w.outcome != none && w.text != "" && strings.HasSuffix(strings.TrimSpace(text), ":") {
					t.Errorf("%q: no remediation in\n%s", w.about, text)
				}
			}
			for _, about := range []string{aboutAll, aboutAvailability, aboutDisruption, aboutRecovery, aboutRestored} {
				if outcomes, _ := outcomeOf(found, ruleOf(tt.experiment)+about); len(outcomes) == 0 {
					t.Errorf("no finding of %q", about)
				}
			}
		})
	}
}

// refused leaves what a drill leaves that did not begin.
func refused(f drilltest.Files) {
	delete(f, "artifacts/chaos/timeline.jsonl")
	delete(f, "artifacts/chaos/probe-web.csv")
}

func TestOtherExperiment(t *testing.T) {
	t.Parallel()
	d := drilltest.New(drill.Load)
	d.Plan.Load = &drill.LoadPlan{Rate: 1, Hold: 1}
	files := d.Files(Name)
	files["release.json"] = []byte(`{"chart":"shop"}`)
	if _, err := New(Options{}).Findings(collectors.NewSealed(files, config.RuleControls())); err == nil || !strings.Contains(err.Error(), "experiment load is another collector's") {
		t.Error(err)
	}
}

// A pod that was gone before it was deleted was not killed by the drill.
func TestGoneBefore(t *testing.T) {
	t.Parallel()
	d := drilltest.New(drill.PodKill)
	for i := range d.Events {
		if a := d.Events[i].Action; a != nil {
			a.Code, a.Error = 404, "not found"
		}
	}
	outcomes, text := outcomeOf(find(t, d.Files(Name)), "chaos/pod-kill")
	if !slices.Equal(outcomes, []evidence.Outcome{evidence.OutcomeError}) {
		t.Errorf("%v %s", outcomes, text)
	}
}

// A drill of one workload says nothing about the release's others, and the verdict says so.
func TestOneOfSeveral(t *testing.T) {
	t.Parallel()
	d := drilltest.New(drill.PodKill)
	for _, s := range []float64{0, 13} {
		d.Add(s, drill.Workload{Name: "shop/StatefulSet/db", Want: 2, Ready: 2, Updated: 2, Available: 2, Current: true})
	}
	outcomes, text := outcomeOf(find(t, d.Files(Name)), "chaos/pod-kill")
	slices.Sort(outcomes)
	if !slices.Equal(outcomes, []evidence.Outcome{evidence.OutcomeNotChecked, evidence.OutcomePass}) || !strings.Contains(text, "StatefulSet shop/db: the drill was about Deployment/web alone") {
		t.Errorf("%v %s", outcomes, text)
	}
}
