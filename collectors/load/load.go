// Package load sends requests to a release at a constant rate of arrival, and looks
// at what its containers do meanwhile: what they use, whether they reach their
// limits, are killed or restarted. What was measured is a baseline for their requests.
package load

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/collectors/internal/prober"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/loadgen"
	"github.com/companyos/helmproof/internal/loadrecord"
	"github.com/companyos/helmproof/internal/probe"
)

// Name is the collector's name in the catalog.
const Name = "load"

// The rules.
const (
	RuleRate      = "load/rate"      // the stated rate was sent
	RuleErrors    = "load/errors"    // the error objective held
	RuleLatency   = "load/latency"   // the latency objective held
	RuleThrottled = "load/throttled" // no CPU limit was reached
	RuleOOM       = "load/oom"       // nothing was killed for want of memory
	RuleRestarts  = "load/restarts"  // nothing ended otherwise
	RuleHeadroom  = "load/headroom"  // what is left of the limits at the peak
	RuleBaseline  = "load/baseline"  // requests are what is used
)

// Options are what a drill is asked for.
type Options struct {
	// Plan is what to do, complete and valid; nil: nothing. Findings need none.
	Plan *drill.Plan
	// Progress is told what the drill does, a line each; nil: nobody is.
	Progress func(string)
}

type collector struct{ o Options }

// New returns the collector.
func New(o Options) collectors.Lasting { return &collector{o} }

func (*collector) Name() string { return Name }

func (*collector) Rules() []string { return rules.Names() }

// TimeLimit is the plan's deadline, and what comes before it.
func (c *collector) TimeLimit() time.Duration {
	if c.o.Plan == nil {
		return time.Minute
	}
	return time.Duration(c.o.Plan.Phases.Deadline) + time.Duration(c.o.Plan.Phases.Recover) + 3*time.Minute
}

// CleanupLimit is how long the last requests and restoring may take.
func (*collector) CleanupLimit() time.Duration {
	return drillrun.CleanupLimit + prober.LoadCleanup + loadgen.MaxTimeout
}

// Collect sends the load and seals what was seen.
func (c *collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	s, err := c.session(in, out)
	if err != nil {
		return err
	}
	return drillrun.Run(ctx, *s, out)
}

// Preflight asks what Collect would ask first, and changes nothing.
func Preflight(ctx context.Context, o Options, in collectors.Input) ([]drill.Check, error) {
	s, err := (&collector{o}).session(in, nil)
	if err != nil {
		return nil, err
	}
	return drillrun.Preflight(ctx, *s)
}

func (c *collector) session(in collectors.Input, out evidence.ArtifactWriter) (*drillrun.Session, error) {
	switch {
	case in.Cluster == nil:
		return nil, collectors.ErrNoCluster
	case in.Release == nil:
		return nil, errors.New("a drill is about a release, and none is given")
	case c.o.Plan == nil || c.o.Plan.Experiment != drill.Load:
		return nil, errors.New("no load drill was asked for")
	}
	if err := c.o.Plan.Validate(); err != nil {
		return nil, err
	}
	set, err := in.Release.Objects()
	if err != nil {
		return nil, err
	}
	s := &drillrun.Session{
		Cluster: in.Cluster, Plan: *c.o.Plan, Release: in.Release.Info, Objects: set, Now: in.Now, Progress: c.o.Progress,
		Probe: drillrun.Probing, Ask: drillrun.AskOnce,
		Rights: []drillrun.Right{{Verb: "get", Resource: "nodes", Subresource: "proxy"}}, // kubelets' metrics: nothing else counts throttling
	}
	for _, ns := range s.Plan.AllowNamespaces {
		s.Rights = append(s.Rights, drillrun.Right{Verb: "get", Resource: "services", Namespace: ns})
	}
	x := &experiment{s: s, out: out}
	s.Checks = []drillrun.Question{{Name: "load", Ask: x.ask}}
	s.Fault = x.run
	return s, nil
}

// podStart is how long the pod that sends the load may well take to start.
const podStart = 30 * time.Second

// experiment is the load itself.
type experiment struct {
	s       *drillrun.Session
	out     evidence.ArtifactWriter
	options loadgen.Options
}

// ask says whether the load may be sent to where it should be.
func (x *experiment) ask(ctx context.Context, _ *drillrun.World) (bool, string, error) {
	l := x.s.Plan.Load
	address, timeout := target(&x.s.Plan)
	request, err := l.Message()
	if err != nil {
		return false, "", err
	}
	phases, start := x.s.Plan.Phases, time.Duration(0)
	if l.FromPod {
		start = podStart
	}
	if need, limit := time.Duration(phases.Before+l.Ramp+l.Hold+phases.After)+settle+start, time.Duration(phases.Deadline); need >= limit {
		return false, fmt.Sprintf("it takes %s, and has to be done within %s: raise phases.deadline", need, limit), nil
	}
	if address == "" {
		return false, "no address to send the load to: it is sent by HTTP and gRPC; name one in load.address, or an HTTP or gRPC probe", nil
	}
	addresses, err := addressesOf(ctx, x.s)
	if err != nil {
		return false, "", err
	}
	x.options = loadgen.Options{
		URL: address, Method: l.Method, Request: request, Addresses: addresses, Rate: l.Rate, Ramp: time.Duration(l.Ramp), Hold: time.Duration(l.Hold), Timeout: cmp.Or(timeout, 5*time.Second),
	}
	to, err := x.options.Dialled()
	if err != nil {
		return false, err.Error() + ": a Service of the release in an allowed namespace may be, by its name, its cluster address or its load balancer's, and loopback", nil //nolint:nilerr // it is the answer
	}
	of := ""
	if m := x.options.Called(); m != "" {
		of = ", method " + m
	}
	if l.FromPod {
		of += ", from a pod of " + x.s.Plan.Prober.Image
	}
	return true, fmt.Sprintf("%g requests a second to %s (%s)%s", l.Rate, address, to, of), nil
}

// target is where the load is sent to, and how long a request of it may take: what the
// plan says, or what its first probe does that is of a kind that can be loaded; empty:
// there is none.
func target(p *drill.Plan) (address string, timeout time.Duration) {
	l := p.Load
	if l.Address != "" {
		return l.Address, time.Duration(l.Timeout)
	}
	for _, kind := range []string{probe.HTTP, probe.GRPC} {
		for i := range p.Probes {
			b := &p.Probes[i]
			if b.Kind != kind || l.Method != "" && kind != probe.GRPC {
				continue
			}
			address, timeout = b.Address, cmp.Or(time.Duration(l.Timeout), time.Duration(b.Timeout))
			if u, err := url.Parse(address); err == nil && l.Method != "" {
				u.Path = "" // the service whose health the probe asks for
				address = u.String()
			}
			return address, timeout
		}
	}
	return "", 0
}

// run sends the load and watches. It seals what there is, also where it was stopped.
func (x *experiment) run(ctx context.Context, l *drillrun.Live) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	w := newWatcher(x.s, l)
	w.look(ctx) // before anything is sent
	done := make(chan struct{})
	go func() { defer close(done); w.watch(watching) }()

	began := l.Elapsed()
	result, sender, stopped := x.send(ctx, l, func() { began = l.Elapsed() })
	if result == nil {
		stop()
		<-done
		return stopped
	}
	from := began + result.Start.Sub(result.Began)
	to := min(from+x.options.Hold, l.Elapsed())
	if stopped == nil {
		to = from + x.options.Hold // the last request is due before
		stopped = pause(ctx, to-l.Elapsed())
	}
	if stopped == nil {
		// Kubelets look every 10 to 15 seconds: the end of the hold shows late.
		x.say("the load is over; waiting for what kubelets have to say of it")
		stopped = pause(ctx, settle)
	}
	stop()
	<-done
	w.look(context.WithoutCancel(ctx)) // what was killed last
	run := loadrecord.Run{From: from, To: max(from, to), Sender: sender}
	if stopped != nil {
		run.Stopped = stopped.Error()
	}
	return errors.Join(x.seal(result, w, run), stopped)
}

// send sends the load from here or from a pod; the sender is that pod. began is called
// when the ramp begins.
func (x *experiment) send(ctx context.Context, l *drillrun.Live, began func()) (result *loadgen.Result, sender string, err error) {
	if !l.Plan.Load.FromPod {
		result, err = loadgen.Run(ctx, x.options)
		return result, "", err
	}
	report, err := prober.Load(ctx, prober.Options{
		Image: l.Plan.Prober.Image, Kube: l.Cluster.Kube, Namespace: l.Release.Namespace, Now: l.Now,
		Before: func(ctx context.Context, pod string) error {
			return l.Before(ctx, drillrun.Restore{Pods: []string{l.Release.Namespace + "/" + pod}})
		},
		Life: time.Duration(l.Plan.Phases.Deadline) + 5*time.Minute,
	}, x.options, func() {
		began()
		x.say("the load is being sent from a pod")
	})
	if report == nil {
		return nil, "", err
	}
	if err == nil && report.Stopped != "" {
		err = fmt.Errorf("%s was stopped, and not by the drill: %s", report.From, report.Stopped)
	}
	return &report.Result, report.From, err
}

func (x *experiment) say(what string) {
	if x.s.Progress != nil {
		x.s.Progress(what)
	}
}

// seal seals the run, of which sender, times and what stopped it are known, and what was
// seen.
func (x *experiment) seal(r *loadgen.Result, w *watcher, run loadrecord.Run) error {
	o := &x.options
	dialled, err := o.Dialled()
	if err != nil {
		return err
	}
	run.Address, run.Dialled, run.Method, run.Generator = o.URL, dialled, o.Called(), r.Generator
	run.Rate, run.Ramp, run.Hold, run.Timeout = o.Rate, o.Ramp, o.Hold, o.Timeout
	ramp, err := loadcount.EncodeSeconds(r.Ramp)
	if err != nil {
		return err
	}
	var hold []byte
	name := loadrecord.SamplesFile
	if r.Samples != nil {
		hold, err = loadrecord.EncodeSamples(probe.Header{
			Version: 1, Name: "load", Kind: o.Kind(), Address: o.URL, Rate: o.Rate, Timeout: o.Timeout, Start: r.Start.UTC(), From: cmp.Or(run.Sender, "outside"),
		}, r.Samples)
	} else {
		name = loadrecord.SecondsFile
		hold, err = loadcount.EncodeSeconds(r.Seconds)
	}
	if err != nil {
		return err
	}
	return errors.Join(collectors.WriteJSON(x.out, loadrecord.RunFile, run), x.out.Write(loadrecord.RampFile, ramp),
		x.out.Write(name, hold), x.out.Write(loadrecord.UsageFile, append(bytes.Clone(w.text.Bytes()), "end\n"...)))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
