package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/loadrecord"
	"github.com/companyos/helmproof/internal/probe"
)

const manifests = `---
# Source: templates/web.yaml:1
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec: {containers: [{name: main}]}
`

// record is what a drill of a minute left behind, as values.
type record struct {
	plan    drill.Plan
	checks  []drill.Check
	end     drill.End
	run     loadrecord.Run
	samples []probe.Sample
	ramp    []loadcount.Second
	usage   []loadrecord.Seen
	edit    map[string]func([]byte) []byte // of files; nil leaves it out
}

const mi = 1 << 20

// good is one of which nothing is to be said: a container that requests 100m and 64Mi,
// is limited to 500m and 128Mi, and uses 80m and 50Mi.
func good() *record {
	second := evidence.Duration(time.Second)
	r := &record{
		plan: drill.Plan{
			Experiment: drill.Load, AllowNamespaces: []string{"shop"}, SLO: drill.SLO{Objective: 0.99},
			Probes: []drill.Probe{{Name: "web", Address: "http://10.0.0.1:80/", Rate: 1}},
			Phases: drill.Phases{Before: second, After: second, Deadline: 300 * second},
			Load:   &drill.LoadPlan{Rate: 10, Hold: 60 * second, P99: second, Headroom: 0.1},
		},
		checks: []drill.Check{{Name: "steady", OK: true, Reason: "all is well"}},
		end:    drill.End{Began: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), Length: 90 * time.Second, Restored: []string{}},
		run: loadrecord.Run{
			Address: "http://10.0.0.1:80/", Dialled: "10.0.0.1:80", Rate: 10, Hold: time.Minute, Timeout: time.Second, From: 2 * time.Second, To: 62 * time.Second,
			Generator: loadcount.Generator{Busy: 3, MaxBusy: 21, Procs: 2, Wait: time.Millisecond},
		},
		samples: slices.Repeat([]probe.Sample{{Late: time.Millisecond, Took: 20 * time.Millisecond}}, 600),
		edit:    map[string]func([]byte) []byte{},
	}
	r.plan.Complete()
	r.pod(0, loadrecord.Container{})
	for i := range 14 {
		r.counter(i, 0.08, 50*mi, 0)
	}
	return r
}

func (r *record) pod(at time.Duration, c loadrecord.Container) {
	c.Name = "main"
	c.Requests, c.Limits = map[string]string{"cpu": "100m", "memory": "64Mi"}, map[string]string{"cpu": "500m", "memory": "128Mi"}
	r.usage = append(r.usage, loadrecord.Seen{At: at, Pod: &loadrecord.Pod{Namespace: "shop", Name: "web-1", UID: "1", Workload: "Deployment/web", Node: "a", Containers: []loadrecord.Container{c}}})
}

// counter is look i, one every five seconds.
func (r *record) counter(i int, cores, memory, throttled float64) {
	cpu, periods := cores*float64(5*i), float64(50*i)
	throttled *= periods
	r.usage = append(r.usage, loadrecord.Seen{At: time.Duration(2+5*i) * time.Second, Counter: &loadrecord.Counter{
		Source: loadrecord.Cadvisor, Pod: "shop/web-1", Container: "main", ID: id1, Time: int64(5000 * i), CPU: &cpu, Memory: &memory, Periods: &periods, Throttled: &throttled,
	}})
}

func (r *record) counters(cores, memory, throttled float64) {
	r.usage = r.usage[:1]
	for i := range 14 {
		r.counter(i, cores, memory, throttled)
	}
}

func (r *record) seal(tb testing.TB) *collectors.Sealed {
	tb.Helper()
	jsonOf := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	must := func(b []byte, err error) []byte {
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	var timeline, usage bytes.Buffer
	for i, m := range []string{drill.MarkBefore, drill.MarkFault, drill.MarkRecover, drill.MarkAfter, drill.MarkEnd} {
		fmt.Fprintf(&timeline, "%s\n", jsonOf(drill.Event{At: time.Duration(i) * 22 * time.Second, Mark: m}))
	}
	for i := range r.usage {
		usage.Write(must(loadrecord.EncodeSeen(&r.usage[i])))
	}
	usage.WriteString("end\n")
	kind := probe.HTTP
	if r.run.Method != "" {
		kind = probe.GRPC
	}
	head := probe.Header{Version: 1, Name: "load", Kind: kind, Address: r.run.Address, Rate: r.run.Rate, Timeout: r.run.Timeout, Start: r.end.Began, From: "outside"}
	files := map[string][]byte{
		drill.PlanFile: jsonOf(r.plan), drill.PreflightFile: jsonOf(r.checks), drill.EndFile: jsonOf(r.end), drill.TimelineFile: timeline.Bytes(),
		loadrecord.RunFile: jsonOf(r.run), loadrecord.RampFile: must(loadcount.EncodeSeconds(r.ramp)), loadrecord.UsageFile: usage.Bytes(),
		loadrecord.SamplesFile: must(loadrecord.EncodeSamples(head, r.samples)),
	}
	head.Name, head.Kind, head.Address, head.Rate = "web", probe.HTTP, "http://10.0.0.1:80/", 1
	files[drill.ProbeFile("web")] = must(loadrecord.EncodeSamples(head, make([]probe.Sample, 90)))
	art := collectors.NewArtifacts(nil)
	for name, edit := range r.edit {
		files[name] = edit(files[name])
		if files[name] == nil {
			delete(files, name)
		}
	}
	for name, b := range files {
		if _, err := art.Put(collectors.Artifact(Name, name), b); err != nil {
			tb.Fatal(err)
		}
	}
	for name, text := range map[string]string{collectors.ManifestsFile: manifests, collectors.ReleaseFile: `{"chart":"test","namespace":"shop"}`} {
		if _, err := art.Put(name, []byte(text)); err != nil {
			tb.Fatal(err)
		}
	}
	return collectors.NewSealed(art, config.RuleControls())
}

// grpcOf makes the record one of gRPC's calls.
func grpcOf(r *record, address, method string) { r.run.Address, r.run.Method = address, method }

func TestFindings(t *testing.T) {
	t.Parallel()
	ended := func(reason string, code int32) *loadrecord.Ended {
		return &loadrecord.Ended{Reason: reason, Code: code, At: time.Date(2026, 11, 1, 12, 0, 30, 0, time.UTC)}
	}
	failing := func(n int, outcome string) func(*record) {
		return func(r *record) {
			for i := range n {
				r.samples[i] = probe.Sample{Outcome: outcome}
			}
		}
	}
	const none = "the load was not what it should be"
	for _, tt := range []struct {
		name string
		edit func(*record)
		want []string // findings that are not passes, by outcome, rule and beginning of the message
	}{
		{"all is well", func(*record) {}, nil},
		{"six of 600 may fail", failing(6, "503"), nil},
		{"seven may not", failing(7, "503"), []string{
			"fail load/errors 7 of 600 requests failed (1.167 %, 1.000 % may): 7 503", "fail load/latency more than one in a hundred requests failed"}},
		{"too slow", func(r *record) {
			r.plan.Load.P99 = evidence.Duration(500 * time.Millisecond)
			for i := range 7 {
				r.samples[i].Took = 502 * time.Millisecond
			}
		}, []string{"fail load/latency the 99th percentile is 502ms"}},
		{"slower than the SLO's latency", func(r *record) { r.plan.SLO.Latency = evidence.Duration(10 * time.Millisecond) },
			[]string{"fail load/errors 600 of 600 requests failed (100.000 %, 1.000 % may): 600 slower than 10ms"}},
		{"slow for the generator alone", func(r *record) {
			r.plan.Load.P99 = evidence.Duration(30 * time.Millisecond)
			for i := range r.samples {
				r.samples[i] = probe.Sample{Late: 20 * time.Millisecond, Took: 40 * time.Millisecond}
			}
		}, []string{"error load/latency the 99th percentile is 40ms, counted from when a request was due; the objective is 30ms, and counted from when it was sent it is 20ms: the generator was late"}},
		{"loopback", func(r *record) { r.run.Address = "http://127.0.0.1:80/" }, []string{
			"not-checked load/rate the load was sent to http://127.0.0.1:80/, which is no Service", "not-checked load/baseline the load was sent to"}},
		{"gRPC", func(r *record) { grpcOf(r, "grpc://10.0.0.1:80", probe.HealthCheck) }, nil},
		{"from a pod", func(r *record) {
			r.plan.Load.FromPod, r.plan.Prober.Image, r.run.Sender = true, "prober:1", "pod p on node a"
		}, nil},
		{"statuses of gRPC", func(r *record) {
			grpcOf(r, "grpc://10.0.0.1:80", "shop.Cart/Get")
			r.plan.Load.Method = "shop.Cart/Get"
			failing(10, "UNAVAILABLE")(r)
			r.samples[0].Outcome = "INTERNAL"
		}, []string{
			"fail load/errors 10 of 600 requests failed (1.667 %, 1.000 % may): 1 INTERNAL, 9 UNAVAILABLE", "fail load/latency more than one in a hundred requests failed"}},
		{"gRPC of loopback", func(r *record) { grpcOf(r, "grpc://127.0.0.1:80", probe.HealthCheck) }, []string{
			"not-checked load/rate the load was sent to grpc://127.0.0.1:80, which is no Service", "not-checked load/baseline the load was sent to"}},
		{"calls that were not sent", func(r *record) {
			grpcOf(r, "grpc://10.0.0.1:80", probe.HealthCheck)
			failing(1, "unsent")(r)
		}, []string{
			"error load/rate 10 requests a second to grpc.health.v1.Health/Check were not sustained by the generator: 1 of 600 requests were not sent",
			"not-checked load/throttled " + none, "not-checked load/oom " + none, "not-checked load/restarts " + none, "not-checked load/headroom " + none, "not-checked load/baseline " + none}},
		{"an objective that is none", func(r *record) { r.plan.SLO.Objective = 0.01; failing(590, "503")(r); r.plan.Load.P99 = 0 }, []string{
			"not-checked load/rate an objective of 0.01", "not-checked load/baseline an objective of 0.01", "not-applicable load/latency"}},
		{"held for a moment", func(r *record) {
			r.plan.Load.Hold, r.run.Hold, r.run.To, r.samples = evidence.Duration(time.Second), time.Second, 3*time.Second, r.samples[:10]
		}, []string{"not-checked load/rate the load was held for 1s", "not-checked load/baseline the load was held for 1s"}},
		{"a container that was not seen", func(r *record) {
			for i := range r.usage {
				if p := r.usage[i].Pod; p != nil {
					p.Workload = "Deployment/other"
				}
			}
		}, []string{"not-checked load/restarts no pod of it was seen", "not-checked load/baseline no pod of it was seen"}},
		{"no preflight", func(r *record) { r.checks = nil }, []string{"error load/rate the preflight asked nothing", "error load/baseline the preflight asked nothing",
			"not-checked load/throttled " + none, "not-checked load/oom " + none, "not-checked load/restarts " + none, "not-checked load/headroom " + none, "not-checked load/baseline " + none}},
		{"no objective of latency", func(r *record) { r.plan.Load.P99 = 0 }, []string{"not-applicable load/latency"}},

		{"not sent", failing(1, "unsent"), []string{
			"error load/rate 10 requests a second were not sustained by the generator: 1 of 600 requests were not sent",
			"not-checked load/throttled " + none, "not-checked load/oom " + none, "not-checked load/restarts " + none, "not-checked load/headroom " + none, "not-checked load/baseline " + none}},
		{"sent late", func(r *record) {
			for i := range 7 {
				r.samples[i] = probe.Sample{Late: 51 * time.Millisecond, Took: 60 * time.Millisecond}
			}
		}, []string{"error load/rate 10 requests a second were not sustained by the generator: 7 of 600 requests were sent more than 50ms late",
			"not-checked load/throttled", "not-checked load/oom", "not-checked load/restarts", "not-checked load/headroom", "not-checked load/baseline"}},
		{"the generator's processors, and a container that was killed all the same", func(r *record) {
			r.run.Generator.Wait = 21 * time.Millisecond
			r.pod(70*time.Second, loadrecord.Container{Ended: ended("OOMKilled", 137), Restarts: 1})
		}, []string{"error load/rate 10 requests a second were not sustained by the generator: its processors were saturated", "not-checked load/throttled",
			"not-checked load/oom " + none + ", and nothing is concluded from what was seen: OOMKilled 1 times", "not-checked load/restarts " + none,
			"not-checked load/headroom", "not-checked load/baseline"}},
		{"the budget was spent", func(r *record) {
			r.end.Aborted, r.run.Stopped = "error budget exhausted: probe web has spent 40 of 36 s", "error budget exhausted"
			r.samples[599].Outcome = probe.Unsent
			r.samples[599].Took = r.samples[599].Late
		}, []string{"fail load/errors the drill was aborted under load: error budget exhausted", "error load/rate the drill was aborted: error budget exhausted",
			"not-checked load/throttled", "not-checked load/oom", "not-checked load/restarts", "not-checked load/headroom", "not-checked load/baseline"}},
		{"aborted when it had failed already", func(r *record) {
			r.end.Aborted, r.run.Stopped = "interrupted", "interrupted"
			failing(7, "503")(r)
			r.pod(70*time.Second, loadrecord.Container{Ended: ended("OOMKilled", 137), Restarts: 1})
		}, []string{"error load/rate the drill was aborted: interrupted", "fail load/errors 7 of 600", "not-checked load/throttled", "fail load/oom", "fail load/restarts", "not-checked load/headroom", "fail load/baseline"}},
		{"refused", func(r *record) {
			r.checks = append(r.checks, drill.Check{Name: "load", Reason: "not there"})
			r.end = drill.End{Began: r.end.Began, Aborted: "refused"}
			r.edit[drill.TimelineFile] = func([]byte) []byte { return nil }
			r.edit[loadrecord.RunFile] = r.edit[drill.TimelineFile]
		}, []string{"not-checked load/rate the drill was refused: load: not there", "not-checked load/baseline the drill was refused: load: not there"}},

		{"throttled", func(r *record) { r.counters(0.08, 50*mi, 0.06) }, []string{
			"fail load/throttled its CPU limit of 500m was reached in 6.0 % of 650 periods (5 % may)", "fail load/baseline it needs more than its CPU limit of 500m"}},
		{"throttled a little", func(r *record) { r.counters(0.08, 50*mi, 0.04) }, nil},
		{"killed and started again before the first look", func(r *record) { r.usage[0].Pod.Containers[0].Ended = ended("OOMKilled", 137) }, nil},
		{"ended otherwise", func(r *record) {
			r.pod(40*time.Second, loadrecord.Container{Ended: ended("Error", 2), Restarts: 1})
			slices.SortStableFunc(r.usage, func(a, b loadrecord.Seen) int { return int(a.At - b.At) })
		}, []string{"fail load/restarts restarted 1 times under load; ended: Error (exit code 2)"}},
		{"pods unread after the load", func(r *record) {
			r.usage = append(r.usage, loadrecord.Seen{At: 80 * time.Second, Failed: &loadrecord.Failed{What: loadrecord.Pods, Error: "too many requests"}})
		}, []string{"error load/rate whether containers were killed or restarted is not known", "error load/baseline whether", "not-checked load/throttled " + none,
			"not-checked load/oom " + none, "not-checked load/restarts " + none, "not-checked load/headroom " + none, "not-checked load/baseline " + none}},
		{"its pod went away", func(r *record) {
			r.pod(70*time.Second, loadrecord.Container{})
			r.usage[len(r.usage)-1].Pod.Gone = true
		}, []string{"fail load/restarts its pods went away under load: shop/web-1"}},
		{"a process in it was killed", func(r *record) {
			for i, n := range []float64{0, 1} {
				r.usage[1+i*5].Counter.OOM = &n
			}
		}, []string{"fail load/oom OOMKilled 1 times under load", "fail load/baseline it needs more memory than its limit of 128Mi"}},
		{"no headroom", func(r *record) { r.counters(0.08, 60*mi, 0); r.usage[3].Counter.Memory = ptr(116 * mi) }, []string{
			"fail load/headroom less than 10 % of its limits is left at the peak: memory 116Mi of 128Mi (91 %)", "fail load/baseline it requests 64Mi of memory, and uses 116Mi"}},
		{"uses more than it requests", func(r *record) { r.counters(0.12, 50*mi, 0) }, []string{"fail load/baseline it requests 100m of CPU, and uses 120m"}},
		{"requests much more than it uses", func(r *record) {
			r.counters(0.02, 50*mi, 0)
			r.usage[0].Pod.Containers[0].Requests["cpu"] = "400m"
		}, []string{"fail load/baseline it requests 400m of CPU, more than 4 times the 20m that it uses"}},
		{"requests little, and uses less", func(r *record) { r.counters(0.001, 1*mi, 0) }, nil},
		{"requests nothing", func(r *record) { r.usage[0].Pod.Containers[0].Requests = nil }, []string{"fail load/baseline it requests no CPU, and uses 80m; it requests no memory, and uses 50Mi"}},
		{"no limits", func(r *record) { r.usage[0].Pod.Containers[0].Limits = nil }, []string{"not-applicable load/throttled", "not-applicable load/headroom"}},
		{"not measured", func(r *record) {
			r.usage = append(r.usage[:1], loadrecord.Seen{At: 3 * time.Second, Failed: &loadrecord.Failed{What: "kubelet a, metrics/cadvisor", Error: "forbidden"}})
		}, []string{"not-checked load/throttled how often its CPU limit was reached was not counted for half of the hold in shop/web-1: kubelet a, metrics/cadvisor: forbidden (1 times)",
			"not-checked load/headroom its use was not measured for half of the hold in shop/web-1", "not-checked load/baseline its use was not measured for half of the hold in shop/web-1"}},
		{"measured for a third of the hold", func(r *record) { r.usage = r.usage[:6] }, []string{"not-checked load/throttled", "not-checked load/headroom", "not-checked load/baseline"}},
		{"the metrics API alone", func(r *record) {
			r.usage = r.usage[:1]
			for i := range 4 {
				r.usage = append(r.usage, loadrecord.Seen{At: time.Duration(10+15*i) * time.Second, Metric: &loadrecord.Metric{
					Pod: "shop/web-1", Container: "main", Time: int64(1000 * (i + 1)), Window: 15 * time.Second, CPU: "90m", Memory: "51Mi"}})
			}
		}, []string{"not-checked load/throttled"}},
		{"no pods", func(r *record) { r.usage = nil }, []string{"not-checked load/throttled no container", "not-checked load/oom", "not-checked load/restarts", "not-checked load/headroom", "not-checked load/baseline"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := good()
			tt.edit(r)
			found, err := collectors.Findings(r.seal(t), New(Options{}))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				if f.Outcome != evidence.OutcomePass {
					got = append(got, fmt.Sprintf("%s %s %s", f.Outcome, f.Rule, f.Message))
				}
				if f.Outcome == evidence.OutcomeFail && f.Remediation == "" {
					t.Errorf("nothing to do about %s", f.Message)
				}
			}
			if len(got) != len(tt.want) {
				t.Fatalf("findings:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for _, w := range tt.want {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
					t.Errorf("no %q in\n%s", w, strings.Join(got, "\n"))
				}
			}
		})
	}
}

func ptr(v float64) *float64 { return &v }

// What is missing, cut or another's is an error, and nothing passes.
func TestFindingsOfBrokenRecords(t *testing.T) {
	t.Parallel()
	gone := func([]byte) []byte { return nil }
	cut := func(b []byte) []byte { return b[:len(b)-5] }
	without := func(line int) func([]byte) []byte {
		return func(b []byte) []byte {
			lines := bytes.SplitAfter(b, []byte{'\n'})
			return bytes.Join(slices.Delete(lines, line, line+1), nil)
		}
	}
	for _, tt := range []struct {
		file string
		edit func([]byte) []byte
		want string
	}{
		{loadrecord.RunFile, gone, "load.json is missing"},
		{loadrecord.RunFile, func(b []byte) []byte { return bytes.Replace(b, []byte(`"rate":10`), []byte(`"rate":9`), 1) }, "it is of another plan"},
		{loadrecord.RunFile, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"rate":10`), []byte(`"rate":10,"method":"shop.Cart/Get"`), 1)
		}, "it called another method than the plan's"},
		{loadrecord.RunFile, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"rate":10`), []byte(`"rate":10,"method":"grpc.health.v1.Health/Check"`), 1)
		}, "it called another method than the plan's"},
		{loadrecord.RunFile, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"rate":10`), []byte(`"rate":10,"sender":"pod p on node a"`), 1)
		}, "it was not sent from where the plan says"},
		{drill.PlanFile, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"load":{`), []byte(`"load":{"method":"shop.Cart/Get",`), 1)
		}, "it called another method than the plan's"},
		{loadrecord.RunFile, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"to":62000000000`), []byte(`"to":61000000000`), 1)
		}, "a hold from 2s to 1m1s"},
		{loadrecord.RunFile, func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"rate":10`), []byte(`"rate":10,"stopped":"tired"`), 1)
		}, "it was stopped (tired), and the drill was not aborted"},
		{loadrecord.SamplesFile, gone, "neither hold.csv nor hold.jsonl is there"},
		{loadrecord.SamplesFile, cut, "hold.csv: the file is cut"},
		{loadrecord.SamplesFile, without(5), "it says that there are 600 requests, and there are 599"},
		{loadrecord.SamplesFile, func(b []byte) []byte {
			return bytes.Replace(without(5)(b), []byte("end,600"), []byte("end,599"), 1)
		}, "599 requests, where 600 were due"},
		{loadrecord.SamplesFile, func(b []byte) []byte { return bytes.Replace(b, []byte("10.0.0.1"), []byte("10.0.0.2"), 1) }, "it is of another run"},
		{loadrecord.SecondsFile, func([]byte) []byte { return []byte("end\n") }, "both hold.csv and hold.jsonl are there"},
		{loadrecord.RampFile, gone, "ramp.jsonl: the file is cut"},
		{loadrecord.RampFile, func([]byte) []byte { return []byte(`{"due":0,"good":0,"took":[],"served":[]}` + "\nend\n") }, "1 seconds, of a ramp of 0s"},
		{loadrecord.UsageFile, gone, "usage.jsonl: the file is cut"},
		{loadrecord.UsageFile, cut, "usage.jsonl: the file is cut"},
		{loadrecord.UsageFile, func(b []byte) []byte { return append(without(1)(b)[:0:0], append(b[:0:0], "{}\nend\n"...)...) }, "want one thing that was seen"},
		{drill.EndFile, gone, "end.json is missing"},
		{drill.TimelineFile, gone, "timeline.jsonl is missing"},
		{drill.ProbeFile("web"), gone, "probe-web.csv is missing"},
	} {
		r := good()
		r.edit[tt.file] = tt.edit
		found, err := collectors.Findings(r.seal(t), New(Options{}))
		if err != nil {
			t.Fatalf("%s: %v", tt.file, err)
		}
		said := map[string]bool{}
		for _, f := range found {
			if f.Outcome == evidence.OutcomePass {
				t.Errorf("%s, %s: %s passes", tt.file, tt.want, f.Rule)
			}
			if f.Outcome == evidence.OutcomeError && strings.Contains(f.Message, tt.want) {
				said[f.Rule] = true
			}
		}
		if !said[RuleRate] || !said[RuleBaseline] {
			t.Errorf("%s: no error %q of both controls: %+v", tt.file, tt.want, found)
		}
	}
	r := good()
	r.edit[drill.PlanFile] = gone
	if _, err := collectors.Findings(r.seal(t), New(Options{})); err == nil || !strings.Contains(err.Error(), "plan.json is missing") {
		t.Errorf("without a plan: %v", err)
	}
}

func TestSuggestions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		edit func(*record)
		want string
	}{
		{"more than was seen", func(r *record) { r.counters(0.2, 100*mi, 0) },
			"Set requests.cpu 240m, limits.cpu 300m, requests.memory 125Mi, limits.memory 125Mi"},
		{"the limit goes up from the limit where it was killed, not from use", func(r *record) {
			r.counters(0.2, 20*mi, 0)
			r.pod(70*time.Second, loadrecord.Container{Restarts: 1, Ended: &loadrecord.Ended{Reason: "OOMKilled", Code: 137, At: time.Unix(1, 0)}})
		}, "requests.memory 192Mi, limits.memory 192Mi"},
		{"likewise where it was throttled", func(r *record) { r.counters(0.2, 50*mi, 0.5) },
			"Set requests.cpu 500m, limits.cpu 750m"},
	} {
		r := good()
		tt.edit(r)
		found, err := collectors.Findings(r.seal(t), New(Options{}))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(found, func(f evidence.Finding) bool { return strings.Contains(f.Remediation, tt.want) }) {
			t.Errorf("%s: no %q: %+v", tt.name, tt.want, found)
		}
	}
}
