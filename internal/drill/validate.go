package drill

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/probe"
	"github.com/companyos/helmproof/internal/strictyaml"
)

// maxPlan bounds a plan file, in bytes.
const maxPlan = 64 << 10

// Bounds of a plan: what a drill of them seals stays small, and it ends.
const (
	maxProbes   = 8
	maxRate     = 200.0
	maxDeadline = 2 * time.Hour
	// maxSamples bounds a probe's samples: half an hour at 200 a second.
	maxSamples = 360_000
)

// ParsePlan reads a plan file as it was written: Complete and Validate come when
// flags have had their say.
func ParsePlan(raw []byte) (Plan, error) {
	var p Plan
	if err := strictyaml.Unmarshal(raw, maxPlan, &p); err != nil {
		return Plan{}, fmt.Errorf("drill plan: %w", err)
	}
	return p, nil
}

// Complete fills in the defaults of what the plan leaves out.
func (p *Plan) Complete() {
	fill := func(d *evidence.Duration, v time.Duration) {
		if *d == 0 {
			*d = evidence.Duration(v)
		}
	}
	if p.Target.Count == 0 && p.Target.Percent == 0 {
		p.Target.Count = 1
	}
	if p.SLO.Objective == 0 {
		p.SLO.Objective = 0.999
	}
	fill(&p.SLO.Window, time.Hour)
	if p.SLO.Share == 0 {
		p.SLO.Share = 1
	}
	for i := range p.Probes {
		b := &p.Probes[i]
		if b.Kind == "" {
			scheme, _, _ := strings.Cut(b.Address, "://")
			b.Kind = strings.TrimSuffix(scheme, "s") // https and grpcs are kinds http and grpc
		}
		if b.Name == "" {
			b.Name = fmt.Sprintf("%s-%d", b.Kind, i+1)
		}
		if b.Rate == 0 {
			b.Rate = 20
		}
		fill(&b.Timeout, time.Second)
	}
	fill(&p.Phases.Before, 10*time.Second)
	fill(&p.Phases.After, 10*time.Second)
	fill(&p.Phases.Recover, 2*time.Minute)
	fill(&p.Phases.Deadline, 15*time.Minute)
	p.Limits.Pods = cmp.Or(p.Limits.Pods, 10)
	p.Limits.Percent = cmp.Or(p.Limits.Percent, 50)
	p.Limits.Nodes = cmp.Or(p.Limits.Nodes, 1)
}

// ProbeName is the name of a probe of a Service: the Service's, as far as a probe may
// be called so, and none that another probe has.
func ProbeName(service string, others []Probe) string {
	const most = 40
	name := service[:min(len(service), most)]
	for i := 2; slices.ContainsFunc(others, func(b Probe) bool { return b.Name == name }); i++ {
		end := fmt.Sprintf("-%d", i)
		name = service[:min(len(service), most-len(end))] + end
	}
	return name
}

var (
	workloadPattern  = regexp.MustCompile(`^(Deployment|StatefulSet)/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	probePattern     = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	namespacePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// Validate says all that is wrong with a complete plan.
func (p *Plan) Validate() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("drill plan: "+key+": "+format, args...))
	}
	if !slices.Contains(Experiments(), p.Experiment) {
		wrong("experiment", "%q: want one of %s", p.Experiment, list(Experiments()))
	}
	p.validateTarget(wrong)
	share := func(v float64) bool { return v > 0 && v <= 1 } // false for NaN
	if !share(p.SLO.Objective) || p.SLO.Objective == 1 {
		wrong("slo.objective", "%v: want a share of good requests between 0 and 1, like 0.999", p.SLO.Objective)
	}
	if w := time.Duration(p.SLO.Window); w < time.Minute || w > 90*24*time.Hour {
		wrong("slo.window", "%s: want 1m to 2160h", w)
	}
	if !share(p.SLO.Share) {
		wrong("slo.share", "%v: want the share of the error budget that the drill may spend, above 0 and at most 1", p.SLO.Share)
	}
	p.validateProbes(wrong)
	p.validatePhases(wrong)
	for _, l := range []struct {
		key      string
		have, to int
	}{{"limits.pods", p.Limits.Pods, 10_000}, {"limits.percent", p.Limits.Percent, 100}, {"limits.nodes", p.Limits.Nodes, 1000}} {
		if l.have < 1 || l.have > l.to {
			wrong(l.key, "%d: want 1 to %d", l.have, l.to)
		}
	}
	if len(p.AllowNamespaces) == 0 {
		wrong("allowNamespaces", "a drill touches only namespaces that are named: name those whose pods it may touch (--allow-namespace)")
	}
	for _, n := range p.AllowNamespaces {
		if !namespacePattern.MatchString(n) {
			wrong("allowNamespaces", "%q: want the name of a namespace", n)
		}
	}
	if q := p.Prometheus; q != nil {
		if u, err := url.Parse(q.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			wrong("prometheus.url", "want an address like http://prometheus:9090, without a password")
		}
		if q.Query == "" {
			wrong("prometheus.query", "want a query that gives the share of good requests, 0 to 1")
		}
	}
	p.validateKind(wrong)
	return errors.Join(errs...)
}

func list[T ~string](all []T) string {
	var out []string
	for _, v := range all {
		out = append(out, string(v))
	}
	return strings.Join(out, ", ")
}

type wrongFunc func(key, format string, args ...any)

func (p *Plan) validateTarget(wrong wrongFunc) {
	t := p.Target
	if t.Workload != "" && !workloadPattern.MatchString(t.Workload) {
		wrong("target.workload", "%q: want Deployment/NAME or StatefulSet/NAME", t.Workload)
	}
	switch {
	case t.Count < 0 || t.Percent < 0 || t.Percent > 100:
		wrong("target", "want a count of at least 1, or 1 to 100 percent")
	case t.Count > 0 && t.Percent > 0:
		wrong("target", "count and percent are both given: want one of them")
	case t.Count > p.Limits.Pods:
		wrong("target.count", "%d pods are more than limits.pods allows (%d)", t.Count, p.Limits.Pods)
	case t.Percent > p.Limits.Percent:
		wrong("target.percent", "%d is more than limits.percent allows (%d)", t.Percent, p.Limits.Percent)
	}
	if t.GraceSeconds != nil && (*t.GraceSeconds < 0 || *t.GraceSeconds > 3600) {
		wrong("target.graceSeconds", "%d: want 0 to 3600", *t.GraceSeconds)
	}
	for _, only := range []struct {
		key, value string
		of         Experiment
	}{{"target.node", t.Node, NodeDrain}, {"target.zone", t.Zone, ZoneDrain}, {"target.container", t.Container, ContainerKill}} {
		if only.value != "" && p.Experiment != only.of {
			wrong(only.key, "is for the experiment %s alone", only.of)
		}
	}
	if t.GraceSeconds != nil && !slices.Contains([]Experiment{PodKill, Eviction, NodeDrain, ZoneDrain}, p.Experiment) {
		wrong("target.graceSeconds", "is for experiments that delete or evict pods")
	}
}

func (p *Plan) validateProbes(wrong wrongFunc) {
	if len(p.Probes) == 0 {
		wrong("probes", "want at least one: without requests nobody can say whether the service level held")
	}
	if len(p.Probes) > maxProbes {
		wrong("probes", "%d of them: want at most %d", len(p.Probes), maxProbes)
	}
	seen := map[string]bool{}
	for i, b := range p.Probes {
		at := fmt.Sprintf("probes[%d].", i)
		if !probePattern.MatchString(b.Name) {
			wrong(at+"name", "%q: want a-z, 0-9 and -, at most 40", b.Name)
		}
		if seen[b.Name] {
			wrong(at+"name", "%q is given twice", b.Name)
		}
		seen[b.Name] = true
		if !(b.Rate >= 0.1 && b.Rate <= maxRate) { // so written for NaN
			wrong(at+"rate", "%v: want 0.1 to %v requests a second", b.Rate, maxRate)
		} else if b.Rate*time.Duration(p.Phases.Deadline).Seconds() > maxSamples {
			wrong(at+"rate", "%v a second until the deadline of %s are more than %d requests", b.Rate, time.Duration(p.Phases.Deadline), maxSamples)
		}
		if d := time.Duration(b.Timeout); d < 10*time.Millisecond || d > 30*time.Second {
			wrong(at+"timeout", "%s: want 10ms to 30s", d)
		}
		c := probe.Config{Name: "probe", Kind: b.Kind, Address: b.Address, Rate: 1, Timeout: time.Second}
		if err := c.Validate(); err != nil {
			wrong(at+"address", "%v", errors.Unwrap(err))
		}
	}
}

func (p *Plan) validatePhases(wrong wrongFunc) {
	f := p.Phases
	before, after, back, all := time.Duration(f.Before), time.Duration(f.After), time.Duration(f.Recover), time.Duration(f.Deadline)
	for _, d := range []struct {
		key  string
		have time.Duration
		from time.Duration
	}{{"phases.before", before, time.Second}, {"phases.after", after, time.Second}, {"phases.recover", back, time.Second}, {"phases.deadline", all, 10 * time.Second}} {
		if d.have < d.from || d.have > maxDeadline {
			wrong(d.key, "%s: want %s to %s", d.have, d.from, maxDeadline)
		}
	}
	if before+after >= all {
		wrong("phases.deadline", "%s leaves no time between before (%s) and after (%s)", all, before, after)
	}
}

// validateKind checks what belongs to one experiment alone.
func (p *Plan) validateKind(wrong wrongFunc) {
	switch {
	case p.Experiment == Rollback && p.Rollback == nil:
		wrong("rollback", "want what is wrong with the upgrade, and the times within which it must be found and undone")
	case p.Experiment != Rollback && p.Rollback != nil:
		wrong("rollback", "is for the experiment rollback alone")
	case p.Rollback != nil && !slices.Contains([]string{"bad-image", "failing-readiness", "crash-loop"}, p.Rollback.Fault):
		wrong("rollback.fault", "%q: want bad-image, failing-readiness or crash-loop", p.Rollback.Fault)
	case p.Rollback != nil && (p.Rollback.Detect <= 0 || p.Rollback.Back <= 0):
		wrong("rollback", "want detect and back, like 2m")
	}
	p.validateLoad(wrong)
}

func (p *Plan) validateLoad(wrong wrongFunc) {
	l := p.Load
	switch {
	case p.Experiment == Load && l == nil:
		wrong("load", "want a rate and how long to hold it")
	case p.Experiment != Load && l != nil:
		wrong("load", "is for the experiment load alone")
	case l == nil:
	case !(l.Rate > 0) || math.IsInf(l.Rate, 0):
		wrong("load.rate", "%v: want requests a second", l.Rate)
	case l.Hold <= 0:
		wrong("load.hold", "want how long the rate is held, like 1m")
	case !(l.Headroom >= 0 && l.Headroom < 1):
		wrong("load.headroom", "%v: want a share of the limits, like 0.1", l.Headroom)
	case l.FromPod && p.Prober.Image == "":
		wrong("load.fromPod", "want prober.image, the image of that pod")
	}
	if l == nil || l.Method == "" && l.Request == "" {
		return
	}
	if raw, err := l.Message(); err != nil {
		wrong("load.request", "want the bytes of the method's message as base64")
	} else if _, err := probe.NewCall("grpc://of-the-service:1", l.Method, raw, time.Second, ""); err != nil {
		wrong("load.method", "%v", err)
	}
}
