package drillrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/companyos/helmproof/collectors/internal/prober"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/probe"
)

// skewLimit is how far the clock of the prober's pod may be from ours: times of its
// samples and of the timeline would not fit together.
const skewLimit = 500 * time.Millisecond

// Probing is a Session's Probe: it starts the plan's probes, from here or from a pod.
func Probing(ctx context.Context, l *Live) (Prober, error) {
	r, err := prober.Start(ctx, prober.Options{
		Probes: l.Plan.Probes, Slow: time.Duration(l.Plan.SLO.Latency), Began: l.began, Now: l.Now,
		Image: l.Plan.Prober.Image, Kube: l.Cluster.Kube, Namespace: l.Release.Namespace, AvoidNodes: l.World.Drain,
		Before: func(ctx context.Context, pod string) error {
			return l.Before(ctx, Restore{Pods: []string{l.Release.Namespace + "/" + pod}})
		},
		Life: time.Duration(l.Plan.Phases.Deadline) + 5*time.Minute,
	})
	if err != nil {
		return nil, err
	}
	return probing{r}, nil
}

type probing struct{ r *prober.Running }

func (p probing) Live() []Count {
	var out []Count
	for _, s := range p.r.Live() {
		out = append(out, countOf(s))
	}
	return out
}

// countOf is what came of a probe's requests. What was not sent is the prober's fault, and
// is none of those that failed.
func countOf(s prober.State) Count {
	return Count{Probe: s.Name, Due: int(s.Done), Failed: int(s.Failed)}
}

func (p probing) Err() error {
	for _, s := range p.r.Live() {
		if s.Lost != "" {
			return fmt.Errorf("probe %s: %s", s.Name, s.Lost)
		}
	}
	return nil
}

func (p probing) Stop(ctx context.Context) (map[string][]byte, error) {
	files, gaps, err := p.r.Stop(ctx)
	ahead, within := p.r.Skew() // which its end makes surer
	if ahead.Abs() > skewLimit+within {
		err = errors.Join(err, fmt.Errorf("the prober's clock is %s ahead of ours", ahead))
	}
	if err == nil && len(gaps) > 0 {
		err = fmt.Errorf("%s is not whole", gaps[0].What)
	}
	return files, err
}

// AskOnce is a Session's Ask: one request from here.
func AskOnce(ctx context.Context, p drill.Probe) error {
	c := probe.Config{
		Name: p.Name, Kind: p.Kind, Address: p.Address, Rate: 100, Timeout: time.Duration(p.Timeout), Length: 10 * time.Millisecond, From: "outside",
	}
	var b bytes.Buffer
	if err := probe.Run(ctx, c, &b); err != nil {
		return err
	}
	s, err := probe.Read(b.Bytes())
	switch {
	case err != nil:
		return err
	case len(s.Samples) == 0:
		return errors.New("nothing was sent")
	case !s.Samples[0].OK(0):
		return errors.New(s.Samples[0].Outcome)
	}
	return nil
}
