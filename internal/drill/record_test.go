package drill_test

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
	"github.com/companyos/helmproof/internal/probe"
)

const folder = "artifacts/chaos/"

func figures(t *testing.T, files drilltest.Files) drill.Figures {
	t.Helper()
	r, err := drill.ReadRecord(files, "chaos")
	if err != nil {
		t.Fatal(err)
	}
	return r.Figures()
}

func TestFigures(t *testing.T) {
	t.Parallel()
	d := drilltest.New(drill.PodKill)
	d.Fail(10, 10.2, probe.Reset) // 4 requests
	d.Fail(12, 12.05, "503")      // 1
	next := d.Sample
	d.Sample = func(name string, due time.Duration) probe.Sample {
		if due >= drilltest.Second(15) {
			return drilltest.Good((due - drilltest.Second(14.9)) / 20) // 5 ms and more
		}
		return next(name, due)
	}
	f := figures(t, d.Files("chaos"))
	if len(f.Problems) > 0 {
		t.Fatal(f.Problems)
	}
	p := f.Probes[0]
	if p.Due != 500 || p.Failed != 5 || p.Unsent != 0 || p.Outcomes["reset"] != 4 || p.Outcomes["503"] != 1 || p.Availability != 0.99 {
		t.Errorf("%+v", p)
	}
	if p.Downtime != 200*time.Millisecond || p.Longest != 200*time.Millisecond {
		t.Errorf("downtime %s, longest %s", p.Downtime, p.Longest)
	}
	if p.Before != (drill.Latency{Good: 200, P50: 2e6, P99: 2e6, Max: 2e6}) || p.During.Good != 95 || p.After.Good != 200 {
		t.Errorf("before %+v during %+v after %+v", p.Before, p.During, p.After)
	}
	// 200 values from 5 ms on, 2.5 ms apart: the 100th and the 198th.
	if p.After.P50 != 252_500*time.Microsecond || p.After.P99 != 497_500*time.Microsecond {
		t.Errorf("after %+v", p.After)
	}
	if s := p.Seconds[10]; s.Due != 20 || s.Good != 16 || len(p.Seconds) != 25 {
		t.Errorf("second 10: %+v of %d", s, len(p.Seconds))
	}
	if math.Abs(f.Budget.Seconds-3.6) > 1e-9 || f.Budget.Allowed != f.Budget.Seconds || f.Budget.Spent != 0.25 || f.Budget.Over() {
		t.Errorf("%+v", f.Budget)
	}
	if f.Recover == nil || *f.Recover != drilltest.Second(4.1) {
		t.Errorf("recovered in %v", f.Recover)
	}
	if len(f.Pods) != 1 || f.Pods[0].Name != "shop/web-d" || *f.Pods[0].Scheduled != 0 || *f.Pods[0].Pulled != time.Second || *f.Pods[0].Ready != 4*time.Second {
		t.Errorf("%+v", f.Pods)
	}
	if want := []drill.ReadyPoint{{0, 3}, {drilltest.Second(10.1), 2}, {drilltest.Second(14), 3}}; !slices.Equal(f.Ready, want) {
		t.Errorf("%+v", f.Ready)
	}
	if len(f.Violations) != 0 || f.Refused != 0 || len(f.Marks) != 1 || f.Marks[0].Label != "delete shop/web-a" {
		t.Errorf("%+v %+v", f.Violations, f.Marks)
	}
	if want := "0.2 of 3.6 s of the error budget spent; recovered in 4.1 s"; f.Conclusion != want {
		t.Errorf("%q, want %q", f.Conclusion, want)
	}
}

// A latency objective makes slow requests failed ones, and the worst probe counts.
func TestBudget(t *testing.T) {
	t.Parallel()
	d := drilltest.New(drill.PodKill)
	d.Plan.Probes = append(d.Plan.Probes, drill.Probe{Name: "slow", Kind: probe.TCP, Address: "tcp://10.96.0.10:80", Rate: 10, Timeout: evidence.Duration(time.Second)})
	d.Plan.SLO.Latency = evidence.Duration(100 * time.Millisecond)
	d.Plan.SLO.Share = 0.5
	d.Sample = func(name string, due time.Duration) probe.Sample {
		if name == "slow" && due >= drilltest.Second(10) && due < drilltest.Second(13) {
			return drilltest.Good(101 * time.Millisecond)
		}
		return drilltest.Good(100 * time.Millisecond)
	}
	f := figures(t, d.Files("chaos"))
	if len(f.Problems) > 0 || f.Probes[0].Failed != 0 || f.Probes[1].Failed != 30 || f.Probes[1].Outcomes["slow"] != 30 || f.Budget.Spent != 3 || !f.Budget.Over() {
		t.Errorf("%v %+v %+v", f.Problems, f.Probes, f.Budget)
	}
	if *f.Recover != drilltest.Second(4.1) {
		t.Errorf("recovered in %s", *f.Recover)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	d := drilltest.New(drill.PodKill)
	d.Plan.Prometheus = &drill.Prometheus{URL: "http://prometheus:9090", Query: "good"}
	for s := range 25 {
		v := drill.Sampled{Value: 1}
		if s == 10 || s == 11 {
			v.Value = 0.25
		}
		d.Add(float64(s), v)
	}
	if f := figures(t, d.Files("chaos")); len(f.Problems) > 0 || f.Budget.Spent != 1.5 {
		t.Errorf("%v %+v", f.Problems, f.Budget)
	}
}

// Answers that come seldom count for the time between them.
func TestSlowQuery(t *testing.T) {
	t.Parallel()
	d := drilltest.New(drill.PodKill)
	d.Plan.Prometheus = &drill.Prometheus{URL: "http://prometheus:9090", Query: "good"}
	for s := 0.0; s < 25; s += 4 {
		d.Add(s, drill.Sampled{Value: 0.75})
	}
	if f := figures(t, d.Files("chaos")); len(f.Problems) > 0 || f.Budget.Spent != 6 || !f.Budget.Over() {
		t.Errorf("%v %+v", f.Problems, f.Budget)
	}
}

// Not recovered is what is not whole at the end, or does not answer for a second.
func TestRecovery(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		touch func(d *drilltest.Drill)
		want  float64 // -1: it did not
	}{
		{"workload not whole", func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool { return e.Workload != nil && e.At > drilltest.Second(14) })
		}, -1},
		{"old generation", func(d *drilltest.Drill) {
			d.Add(20, drill.Workload{Name: "shop/Deployment/web", Want: 3, Ready: 3, Updated: 3})
		}, -1},
		{"answers later", func(d *drilltest.Drill) { d.Fail(10, 17, probe.Refused) }, 7},
		{"answers for half a second", func(d *drilltest.Drill) { d.Fail(10, 16, probe.Refused); d.Fail(16.5, 18, probe.Refused) }, 8},
		{"one answer lost later on", func(d *drilltest.Drill) { d.Fail(20, 20.05, probe.Timeout) }, 4.1},
		{"never answers", func(d *drilltest.Drill) { d.Fail(10, 25, probe.Refused) }, -1},
		{"answers at the last moment", func(d *drilltest.Drill) { d.Fail(10, 24.5, probe.Refused) }, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := drilltest.New(drill.PodKill)
			tt.touch(d)
			f := figures(t, d.Files("chaos"))
			got := -1.0
			if f.Recover != nil {
				got = f.Recover.Seconds()
			}
			if len(f.Problems) > 0 || math.Abs(got-tt.want) > 1e-6 {
				t.Errorf("recovered in %v, want %v; %v", got, tt.want, f.Problems)
			}
		})
	}
}

func TestPodsThatDoNotStart(t *testing.T) {
	t.Parallel()
	d := drilltest.New(drill.PodKill)
	d.Drop(func(e drill.Event) bool { return e.Pod != nil && e.Pod.UID == "uid-d" && e.At > drilltest.Second(13) })
	p := drilltest.Pod("d")
	p.Ready, p.Phase, p.Reason = false, "Pending", "Unschedulable"
	d.Add(11, p)
	f := figures(t, d.Files("chaos"))
	if len(f.Pods) != 1 || f.Pods[0].Ready != nil || f.Pods[0].Scheduled != nil || f.Pods[0].Reason != "Unschedulable" {
		t.Errorf("%+v", f.Pods)
	}
}

// TestProblems holds that whatever could not be measured says so, and why.
func TestProblems(t *testing.T) {
	t.Parallel()
	edit := func(name string, f func([]byte) []byte) func(drilltest.Files) {
		return func(files drilltest.Files) { files[folder+name] = f(files[folder+name]) }
	}
	replace := func(name, old, with string) func(drilltest.Files) {
		return edit(name, func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(with), 1) })
	}
	drop := func(name string) func(drilltest.Files) {
		return func(files drilltest.Files) { delete(files, folder+name) }
	}
	sample := func(second float64, s probe.Sample) func(*drilltest.Drill) {
		return func(d *drilltest.Drill) {
			d.Sample = func(_ string, due time.Duration) probe.Sample {
				if due == drilltest.Second(second) {
					return s
				}
				return drilltest.Good(time.Millisecond)
			}
		}
	}
	tests := []struct {
		name  string
		drill func(*drilltest.Drill)
		files func(drilltest.Files)
		want  string
	}{
		{"samples missing", nil, drop("probe-web.csv"), "probe-web.csv is missing"},
		{"samples cut", nil, replace("probe-web.csv", "end,500\n", ""), "probe-web.csv: the file is cut: it ends after 500 requests"},
		{"samples of another number", nil, replace("probe-web.csv", "end,500\n", "end,499\n"), "it says that there are 499 requests, and there are 500"},
		{"sample garbled", nil, replace("probe-web.csv", "0,2000,\n", "0,NaN,\n"), `"NaN" is not a number`},
		{"samples of another rate", nil, replace("probe-web.csv", `"rate":20`, `"rate":40`), "its samples are of another probe than the plan's"},
		{"samples of another address", nil, replace("probe-web.csv", "10.96.0.10", "10.96.0.11"), "its samples are of another probe than the plan's"},
		{"samples dropped at the end", nil, func(files drilltest.Files) {
			d := drilltest.New(drill.PodKill)
			files[folder+"probe-web.csv"] = d.Samples(d.Plan.Probes[0], 20*time.Second)
		}, "its samples end at 20.0 s, 5.0 s before the drill did"},
		{"samples begin late", func(d *drilltest.Drill) { d.End.Began = drilltest.Began }, replace("probe-web.csv", "10:00:00Z", "10:00:05Z"), "its first request was due at 5.0 s, 5.0 s after the drill began to measure"},
		{"no samples", nil, func(files drilltest.Files) {
			d := drilltest.New(drill.PodKill)
			files[folder+"probe-web.csv"] = d.Samples(d.Plan.Probes[0], 0)
		}, "probe web: no samples at all"},
		{"no samples in a phase", nil, func(files drilltest.Files) {
			d := drilltest.New(drill.PodKill)
			files[folder+"probe-web.csv"] = d.Samples(d.Plan.Probes[0], 15*time.Second)
		}, "no samples in the phase after"},
		{"unsent", sample(12, probe.Sample{Late: time.Millisecond, Outcome: probe.Unsent}), nil, "1 requests were due and not sent, from 12.0 s on"},
		{"prober stalled", sample(12, probe.Sample{Late: 600 * time.Millisecond}), nil, "the prober itself was held up 1 times, by up to 0.6 s, from 12.0 s on"},
		{"clock set", nil, replace("probe-web.csv", "end,", "clock,-3000000\nend,"), "the prober's clock was set by -3.0 s"},
		{"clocks moved apart", func(d *drilltest.Drill) { d.End.SkewEnd = 5 * time.Second }, nil, "our clock and the API server's moved apart by 5.0 s"},
		{"watch lost", func(d *drilltest.Drill) {
			d.End.Lost = []drill.Gap{{What: "watch of pods", From: drilltest.Second(11), To: drilltest.Second(13)}}
		}, nil, "watch of pods: not seen from 11.0 s to 13.0 s"},
		{"prober lost", func(d *drilltest.Drill) {
			d.End.Lost = []drill.Gap{{What: "probe web", From: drilltest.Second(1), To: drilltest.Second(2)}}
		}, nil, "probe web: not seen from 1.0 s to 2.0 s"},
		{"gap backwards", func(d *drilltest.Drill) { d.End.Lost = []drill.Gap{{What: "x", From: 2, To: 1}} }, nil, "a gap from 2ns to 1ns"},
		{"timeline missing", nil, drop("timeline.jsonl"), "timeline.jsonl is missing"},
		{"timeline empty", nil, edit("timeline.jsonl", func([]byte) []byte { return nil }), "timeline.jsonl is empty"},
		{"timeline cut", nil, edit("timeline.jsonl", func(b []byte) []byte { return b[:len(b)-10] }), "it is cut"},
		{"timeline cut at a line", func(d *drilltest.Drill) { d.Drop(func(e drill.Event) bool { return e.At >= drilltest.Second(12) }) }, nil, "the phase recover is not in the timeline"},
		{"event out of order", nil, edit("timeline.jsonl", func(b []byte) []byte {
			i := bytes.IndexByte(b, '\n') + 1
			return slices.Concat(b[i:], b[:i])
		}), "an event at 0s after one at 25s"},
		{"unknown key", nil, replace("timeline.jsonl", `{"at":0,`, `{"at":0,"more":1,`), `unknown field "more"`},
		{"two things in an event", nil, replace("timeline.jsonl", `"mark":"fault"`, `"mark":"fault","node":{"name":"n","ready":true}`), "2 things in one event"},
		{"event of nothing", nil, replace("timeline.jsonl", `"mark":"fault"`, `"mark":""`), "0 things in one event"},
		{"mark twice", func(d *drilltest.Drill) {
			d.Events = append(d.Events, drill.Event{At: drilltest.Second(13), Mark: drill.MarkFault})
		}, nil, `mark "fault" is not known, or out of order`},
		{"pod without UID", func(d *drilltest.Drill) { d.Add(13, drill.Pod{Name: "shop/x"}) }, nil, "a pod without a name or a UID"},
		{"event after the end", func(d *drilltest.Drill) { d.Add(400, drilltest.Pod("z")) }, nil, "its last event is 6m15s after the end"},
		{"end missing", nil, drop("end.json"), "end.json is missing"},
		{"end cut", nil, edit("end.json", func(b []byte) []byte { return b[:len(b)/2] }), "end.json: unexpected EOF"},
		{"end twice", nil, edit("end.json", func(b []byte) []byte { return slices.Concat(b, b) }), "something stands after the value"},
		{"end of no time", func(d *drilltest.Drill) { d.End.Length = 0 }, nil, "a drill that began at 2026-11-02T10:00:00Z and took 0s"},
		{"preflight missing", nil, drop("preflight.json"), "preflight.json is missing"},
		{"preflight not passed", func(d *drilltest.Drill) { d.Checks[0].OK = false }, nil, "the preflight was not passed: steady"},
		{"no workload", func(d *drilltest.Drill) { d.Drop(func(e drill.Event) bool { return e.Workload != nil }) }, nil, "no workload was watched"},
		{"selector", func(d *drilltest.Drill) { d.Add(1, drill.Budget{Name: "shop/x", Expression: "<error>"}) }, nil, "PodDisruptionBudget shop/x: its selector"},
		{"query not asked", func(d *drilltest.Drill) { d.Plan.Prometheus = &drill.Prometheus{URL: "http://p:1", Query: "q"} }, nil, "the query has no answer: it was never asked"},
		{"query failed", func(d *drilltest.Drill) {
			d.Plan.Prometheus = &drill.Prometheus{URL: "http://p:1", Query: "q"}
			d.Add(1, drill.Sampled{Value: 1})
			d.Add(9, drill.Sampled{Error: "NaN"})
			d.Add(20, drill.Sampled{Value: 1})
		}, nil, "the query has no answer for 19.0 s (1 failed: NaN)"},
		{"query above one", func(d *drilltest.Drill) { d.Add(1, drill.Sampled{Value: 1.5}) }, nil, "the query's answer is 1.5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := drilltest.New(drill.PodKill)
			if tt.drill != nil {
				tt.drill(d)
			}
			files := d.Files("chaos")
			if tt.files != nil {
				tt.files(files)
			}
			f := figures(t, files)
			if !slices.ContainsFunc(f.Problems, func(p string) bool { return strings.Contains(p, tt.want) }) {
				t.Errorf("no problem %q in %q", tt.want, f.Problems)
			}
			if !strings.HasPrefix(f.Conclusion, "not measured: ") {
				t.Errorf("conclusion %q", f.Conclusion)
			}
		})
	}
}

// A plan by which nothing could have failed, and a record that contradicts itself, are
// no evidence, whoever signed them.
func TestNothingToldByIt(t *testing.T) {
	t.Parallel()
	act := func(e drill.Event) bool { return e.Action != nil }
	for name, tt := range map[string]struct {
		touch func(*drilltest.Drill)
		want  string
	}{
		"a budget that nothing spends": {func(d *drilltest.Drill) {
			d.Plan.SLO.Objective, d.Plan.SLO.Window = 0.01, evidence.Duration(90*24*time.Hour)
		}, "nothing that fails for all of its 140 s would"},
		"a budget of a month":    {func(d *drilltest.Drill) { d.Plan.SLO.Window = evidence.Duration(30 * 24 * time.Hour) }, "lets the drill spend 2592 s"},
		"requests that are rare": {func(d *drilltest.Drill) { d.Plan.Probes[0].Rate = 0.1 }, "a request every 10.0 s does not see an outage"},
		"requests that wait":     {func(d *drilltest.Drill) { d.Plan.Probes[0].Timeout = evidence.Duration(30 * time.Second) }, "requests that wait for 30s count as good"},
		"gone, and there": {func(d *drilltest.Drill) {
			d.Add(10, drill.Action{Verb: "delete", Object: "Pod shop/web-b", UID: "uid-b", Code: 404})
		}, "it was gone, says the API server, and the watch did not"},
		"no preflight":            {func(d *drilltest.Drill) { d.Checks = nil }, "the preflight asked nothing"},
		"nobody saw the pod go":   {func(d *drilltest.Drill) { d.Drop(func(e drill.Event) bool { return e.Pod != nil && e.At > 0 }) }, "delete Pod shop/web-a: the watch did not see it go"},
		"a fault before its time": {func(d *drilltest.Drill) { d.Events[slices.IndexFunc(d.Events, act)].At = drilltest.Second(1) }, "before the phase fault"},
		"the end cut off": {func(d *drilltest.Drill) {
			d.Drop(func(e drill.Event) bool { return e.Mark == drill.MarkEnd })
			d.End.Length = drilltest.Second(15.5)
		}, "the phase after took 0.5 s, and 10.0 s is planned"},
		"a budget taken away": {func(d *drilltest.Drill) { d.Add(9, drill.Budget{Name: "shop/web", Gone: true}) }, "PodDisruptionBudget shop/web was deleted at 9.0 s"},
	} {
		d := drilltest.New(drill.PodKill)
		tt.touch(d)
		if f := figures(t, d.Files("chaos")); !slices.ContainsFunc(f.Problems, func(p string) bool { return strings.Contains(p, tt.want) }) {
			t.Errorf("%s: %q", name, f.Problems)
		}
	}
}

func TestNoPlan(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ plan, want string }{
		"missing": {"", "plan.json is missing"},
		"cut":     {`{"experiment":`, "plan.json: unexpected EOF"},
		"unknown": {`{"more":1}`, `unknown field "more"`},
		"hollow":  {`{"experiment":"pod-kill"}`, "slo.objective"},
	} {
		files := drilltest.New(drill.PodKill).Files("chaos")
		if files[folder+"plan.json"] = []byte(tt.plan); tt.plan == "" {
			delete(files, folder+"plan.json")
		}
		if _, err := drill.ReadRecord(files, "chaos"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func FuzzTimeline(f *testing.F) {
	d := drilltest.New(drill.NodeDrain)
	f.Add(d.Timeline())
	f.Add([]byte("{\"at\":1,\"mark\":\"before\"}\n"))
	f.Add([]byte("{\"at\":-1,\"budget\":{\"name\":\"a/b\",\"expression\":\"a in (b)\",\"desired\":1}}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		files := d.Files("chaos")
		files[folder+"timeline.jsonl"] = raw
		r, err := drill.ReadRecord(files, "chaos")
		if err != nil {
			t.Fatal(err)
		}
		got := r.Figures()
		if b := got.Budget; math.IsNaN(b.Spent) || math.IsInf(b.Share, 0) {
			t.Errorf("%+v", b)
		}
	})
}
