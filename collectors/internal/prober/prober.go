// Package prober probes a release while a drill goes on: from this process, or from
// a pod that it makes in the release's namespace. What was measured is a file for
// each probe; what was not, because a prober was lost, is a gap and an error.
package prober

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/probe"
)

// Options say what is probed, and from where.
type Options struct {
	Probes []drill.Probe
	// Slow is the latency objective, for the live view; 0: any time is good.
	Slow time.Duration
	// Began is what the times of gaps count from.
	Began time.Time
	Now   func() time.Time
	// Silence is after how long without a sign of life a prober counts as lost; 0: 15
	// seconds.
	Silence     time.Duration
	KeepAlive   bool // see probe.Config
	InsecureTLS bool // likewise

	// Image of the prober's pod (cmd/prober); empty: this process probes, and what
	// follows does not matter.
	Image     string
	Kube      kubernetes.Interface
	Namespace string
	// Before is told the pod's name before it is made, for it to be removed should this
	// process die; nil: nobody is.
	Before func(ctx context.Context, pod string) error
	// AvoidNodes are those on which the pod must not run, since they will be drained.
	AvoidNodes []string
	// Life is after how long the pod ends whatever became of us; 0: an hour.
	Life time.Duration
	// StartLimit is how long it may take until all probes run; 0: two minutes.
	StartLimit time.Duration
	// Poll is how often the pod is looked at while it starts and ends; 0: half a second.
	Poll time.Duration
}

// State is what is known of one probe while it runs.
type State struct {
	Name string
	probe.Counts
	// Lost says why nothing more is to be expected of it, or that nothing was heard
	// for too long; empty: it is alive.
	Lost string
}

// Running are probes that were started. Stop has to be called, also when the
// context that they were started with has ended.
type Running struct {
	o       *Options
	configs []probe.Config // as o.Probes, with Live set
	source  source
}

// source is where probes run.
type source interface {
	// lost says why probe i is lost; empty: it is not.
	lost(i int) string
	// stop ends the probes, and returns what there is of their files and why each
	// that is not whole is not.
	stop(ctx context.Context) ([]outcome, error)
	// skew is how far the clock of the files is ahead of o.Now, and how sure that is.
	skew() (ahead, within time.Duration)
}

// outcome is what became of one probe.
type outcome struct {
	raw    []byte
	series *probe.Series // as far as it goes; nil: it did not begin
	lost   string        // empty: the file is whole
}

func (o *Options) complete() {
	o.Silence = cmp.Or(o.Silence, 15*time.Second)
	o.Life = cmp.Or(o.Life, time.Hour)
	o.StartLimit = cmp.Or(o.StartLimit, 2*time.Minute)
	o.Poll = cmp.Or(o.Poll, 500*time.Millisecond)
}

// Start starts the probes, and returns when all of them are at work.
func Start(ctx context.Context, o Options) (*Running, error) {
	o.complete()
	r := &Running{o: &o}
	if len(o.Probes) == 0 {
		return nil, errors.New("there is no probe")
	}
	names := map[string]bool{}
	for _, p := range o.Probes {
		c := probe.Config{
			Name: p.Name, Kind: p.Kind, Address: p.Address, Rate: p.Rate, Timeout: time.Duration(p.Timeout), Slow: o.Slow,
			From: "outside", KeepAlive: o.KeepAlive, InsecureTLS: o.InsecureTLS, Live: new(probe.Live),
		}
		if err := c.Validate(); err != nil {
			return nil, err
		}
		if names[p.Name] {
			return nil, fmt.Errorf("two probes have the name %q", p.Name)
		}
		names[p.Name] = true
		r.configs = append(r.configs, c)
	}
	if o.Image == "" {
		r.source = startOutside(ctx, r)
		return r, nil
	}
	pod, err := startPod(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("prober in namespace %s: %w", o.Namespace, err)
	}
	r.source = pod
	return r, nil
}

// Live says where the probes stand, in the order of Options.Probes. It does not wait
// for anything.
func (r *Running) Live() []State {
	out := make([]State, len(r.configs))
	for i := range r.configs {
		out[i] = State{r.configs[i].Name, r.configs[i].Live.Counts(), r.source.lost(i)}
	}
	return out
}

// Skew is how far the clock that the files' Start is of is ahead of Options.Now; it
// may be off by within, either way.
func (r *Running) Skew() (ahead, within time.Duration) { return r.source.skew() }

// Stop ends the probes and returns their files by name, those that are cut as well.
// For each that is not whole there is a gap, and the error says why. The pod is
// removed; that it could not be is an error too.
func (r *Running) Stop(ctx context.Context) (files map[string][]byte, gaps []drill.Gap, err error) {
	outcomes, err := r.source.stop(ctx)
	until := r.o.Now().Sub(r.o.Began)
	files = map[string][]byte{}
	errs := []error{err}
	for i, out := range outcomes {
		name := r.configs[i].Name
		if len(out.raw) > 0 {
			files[name] = out.raw
		}
		if out.lost == "" {
			continue
		}
		var from time.Duration
		if out.series != nil {
			from = out.series.Header.Start.Sub(r.o.Began) + out.series.Header.Due(len(out.series.Samples))
		}
		gaps = append(gaps, drill.Gap{What: "probe " + name + ": " + out.lost, From: min(max(from, 0), until), To: until})
		errs = append(errs, fmt.Errorf("probe %s is lost: %s", name, out.lost))
	}
	return files, gaps, errors.Join(errs...)
}
