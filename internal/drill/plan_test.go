package drill

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
)

const smallPlan = `
experiment: node-drain
target: {node: node-a, graceSeconds: 5}
probes: [{address: "https://shop.example/healthz"}, {address: "tcp://10.0.0.1:5432", rate: 2.5, timeout: 3s}]
allowNamespaces: [shop]
`

func TestPlanDefaults(t *testing.T) {
	t.Parallel()
	p, err := ParsePlan([]byte(smallPlan))
	if err != nil {
		t.Fatal(err)
	}
	p.Complete()
	grace := int64(5)
	want := Plan{
		Experiment: NodeDrain, Target: Target{Node: "node-a", Count: 1, GraceSeconds: &grace}, AllowNamespaces: []string{"shop"},
		SLO: SLO{Objective: 0.999, Window: evidence.Duration(time.Hour), Share: 1},
		Probes: []Probe{
			{"http-1", "http", "https://shop.example/healthz", 20, evidence.Duration(time.Second), ""},
			{"tcp-2", "tcp", "tcp://10.0.0.1:5432", 2.5, evidence.Duration(3 * time.Second), ""},
		},
		Phases: Phases{evidence.Duration(10 * time.Second), evidence.Duration(10 * time.Second), evidence.Duration(2 * time.Minute), evidence.Duration(15 * time.Minute)},
		Limits: Limits{10, 50, 1},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	again := p
	if again.Complete(); !cmp.Equal(p, again) {
		t.Error("Complete changes a complete plan")
	}
}

func TestPlanRefusals(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"experimental: x":             "line 1: experimental: unknown key",
		"target: {pods: 1}":           "line 1: target.pods: unknown key",
		"slo: {objective: .nan}":      "want a number",
		"phases: {before: soon}":      `duration "soon"`,
		"prometheus: {secret: x}":     "prometheus.secret: unknown key",
		"probes: [{rate: '20'}]":      "probes[0].rate: \"20\": want a number",
		"target: {graceSeconds: 1.5}": "want a whole number",
		strings.Repeat("#", 1<<17):    "at most",
	} {
		if _, err := ParsePlan([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", in, err, want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	seconds := func(n int64) *int64 { return &n }
	tests := []struct {
		touch func(p *Plan)
		want  string
	}{
		{func(p *Plan) { p.Experiment = "reboot" }, `experiment: "reboot": want one of pod-kill, eviction`},
		{func(p *Plan) { p.Target.Workload = "web" }, `target.workload: "web": want Deployment/NAME`},
		{func(p *Plan) { p.Target.Percent = 10 }, "count and percent are both given"},
		{func(p *Plan) { p.Target.Count = 11 }, "11 pods are more than limits.pods allows (10)"},
		{func(p *Plan) { p.Target.Count, p.Target.Percent = 0, 60 }, "60 is more than limits.percent allows (50)"},
		{func(p *Plan) { p.Target.Count = -1 }, "want a count of at least 1"},
		{func(p *Plan) { p.Target.GraceSeconds = seconds(-1) }, "target.graceSeconds: -1"},
		{func(p *Plan) { p.Target.Zone = "z" }, "target.zone: is for the experiment zone-drain alone"},
		{func(p *Plan) { p.Experiment = RollingRestart }, "target.node: is for the experiment node-drain alone"},
		{func(p *Plan) { p.SLO.Objective = 1 }, "slo.objective: 1"},
		{func(p *Plan) { p.SLO.Objective = math.NaN() }, "slo.objective: NaN"},
		{func(p *Plan) { p.SLO.Window = 1 }, "slo.window: 1ns"},
		{func(p *Plan) { p.SLO.Share = 1.5 }, "slo.share: 1.5"},
		{func(p *Plan) { p.SLO.Share = math.Inf(1) }, "slo.share: +Inf"},
		{func(p *Plan) { p.Probes = nil }, "probes: want at least one"},
		{func(p *Plan) { p.Probes = make([]Probe, 9) }, "probes: 9 of them"},
		{func(p *Plan) { p.Probes[0].Name = "A/b" }, `probes[0].name: "A/b"`},
		{func(p *Plan) { p.Probes[1].Name = p.Probes[0].Name }, `probes[1].name: "http-1" is given twice`},
		{func(p *Plan) { p.Probes[0].Address = "http://user:pw@shop/" }, "probes[0].address: address with credentials"},
		{func(p *Plan) { p.Probes[1].Address = "tcp://10.0.0.1" }, "probes[1].address: address without a port"},
		{func(p *Plan) { p.Probes[0].Kind = "icmp" }, `probes[0].address: kind "icmp"`},
		{func(p *Plan) { p.Probes[0].Rate = 1000 }, "probes[0].rate: 1000"},
		{func(p *Plan) { p.Probes[0].Rate = math.NaN() }, "probes[0].rate: NaN"},
		{func(p *Plan) { p.Probes[0].Rate, p.Phases.Deadline = 200, evidence.Duration(time.Hour) }, "are more than 360000 requests"},
		{func(p *Plan) { p.Probes[0].Timeout = 1 }, "probes[0].timeout: 1ns"},
		{func(p *Plan) { p.Phases.Deadline = evidence.Duration(15 * time.Second) }, "phases.deadline: 15s leaves no time"},
		{func(p *Plan) { p.Phases.Deadline = evidence.Duration(3 * time.Hour) }, "phases.deadline: 3h0m0s: want 10s to 2h0m0s"},
		{func(p *Plan) { p.Limits.Percent = 101 }, "limits.percent: 101: want 1 to 100"},
		{func(p *Plan) { p.AllowNamespaces = nil }, "allowNamespaces: a drill touches only namespaces that are named"},
		{func(p *Plan) { p.AllowNamespaces = []string{"*"} }, `allowNamespaces: "*"`},
		{func(p *Plan) { p.Prometheus = &Prometheus{"ftp://x", "q"} }, "prometheus.url: want an address"},
		{func(p *Plan) { p.Prometheus = &Prometheus{"http://u:p@x", "q"} }, "without a password"},
		{func(p *Plan) { p.Prometheus = &Prometheus{"http://x", ""} }, "prometheus.query"},
		{func(p *Plan) { p.Rollback = &RollbackPlan{} }, "rollback: is for the experiment rollback alone"},
		{func(p *Plan) { p.Load = &LoadPlan{} }, "load: is for the experiment load alone"},
		{func(p *Plan) { p.Experiment = Load }, "load: want a rate"},
		{func(p *Plan) { p.Experiment, p.Load = Load, &LoadPlan{Rate: math.NaN(), Hold: 1} }, "load.rate: NaN"},
		{func(p *Plan) { p.Experiment, p.Load = Load, &LoadPlan{Rate: 1, Hold: 1, FromPod: true} }, "load.fromPod: want prober.image"},
		{func(p *Plan) { p.Experiment, p.Load = Load, &LoadPlan{Rate: 1, Hold: 1, Method: "Get"} }, `load.method: method "Get" is not package.Service/Method`},
		{func(p *Plan) { p.Experiment, p.Load = Load, &LoadPlan{Rate: 1, Hold: 1, Request: "AQ=="} }, "load.method: a request without the method that it is of"},
		{func(p *Plan) {
			p.Experiment, p.Load = Load, &LoadPlan{Rate: 1, Hold: 1, Method: "shop.Cart/Get", Request: "0a01"[:3]}
		}, "load.request: want the bytes of the method's message as base64"},
		{func(p *Plan) {
			p.Experiment, p.Load = Load, &LoadPlan{Rate: 1, Hold: 1, Method: "shop.Cart/Get", Request: strings.Repeat("AAAA", 5462)}
		}, "load.method: a request of 16386 bytes: at most 16384"},
		{func(p *Plan) { p.Experiment, p.Rollback = Rollback, &RollbackPlan{Fault: "typo"} }, `rollback.fault: "typo"`},
	}
	for _, tt := range tests {
		p, err := ParsePlan([]byte(smallPlan))
		if err != nil {
			t.Fatal(err)
		}
		p.Complete()
		tt.touch(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte(smallPlan))
	f.Add([]byte("slo: {objective: 1e400}"))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		p, err := ParsePlan(raw)
		if err != nil {
			return
		}
		p.Complete()
		_ = p.Validate() //nolint:errcheck // it must not panic
	})
}

// A Service's name may be longer than a probe's.
func TestProbeName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("payments-", 7)[:62]
	first := ProbeName(long, nil)
	second := ProbeName(long, []Probe{{Name: first}})
	if ProbeName("web", []Probe{{Name: "api"}}) != "web" || first == second {
		t.Errorf("%q, then %q", first, second)
	}
	for _, n := range []string{first, second} {
		if !probePattern.MatchString(n) {
			t.Errorf("%q is no name of a probe", n)
		}
	}
}
