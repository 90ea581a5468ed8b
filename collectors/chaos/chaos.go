// Package chaos disturbs a release on purpose and sees what comes of it: pods are
// deleted or evicted, nodes and zones drained, workloads restarted, containers killed.
// One run does one experiment; package drill derives the figures.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/forecast"
	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
)

// Name is the collector's name in the catalog.
const Name = "chaos"

// Questions of the preflight whose no is the release's own fault.
const (
	checkBudget   = "budget"   // do PodDisruptionBudgets let pods go
	checkForecast = "forecast" // would the drain come to its end
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

// Does reports whether an experiment is one of this collector's.
func Does(e drill.Experiment) bool { return faults[e] != nil }

func (*collector) Name() string { return Name }

func (*collector) Rules() []string { return rules.Names() }

// TimeLimit is the plan's deadline, and what comes before it: the preflight, another
// drill's Lease that has to run out, and what that left behind.
func (c *collector) TimeLimit() time.Duration {
	if c.o.Plan == nil {
		return time.Minute
	}
	return time.Duration(c.o.Plan.Phases.Deadline) + time.Duration(c.o.Plan.Phases.Recover) + 3*time.Minute
}

// CleanupLimit is how long restoring may take.
func (*collector) CleanupLimit() time.Duration { return drillrun.CleanupLimit + 10*time.Second }

// Collect does the experiment and seals what was seen.
func (c *collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	s, err := c.session(in)
	if err != nil {
		return err
	}
	return drillrun.Run(ctx, *s, out)
}

// Preflight asks what Collect would ask first, and changes nothing.
func Preflight(ctx context.Context, o Options, in collectors.Input) ([]drill.Check, error) {
	s, err := (&collector{o}).session(in)
	if err != nil {
		return nil, err
	}
	return drillrun.Preflight(ctx, *s)
}

// Restore puts back what a drill of any collector left behind that did not end by
// itself, and says what that was. While that drill lives it refuses, unless forced.
func Restore(ctx context.Context, c *cluster.Cluster, now func() time.Time, force bool) ([]string, error) {
	return drillrun.Clean(ctx, c, now, nil, force)
}

func (c *collector) session(in collectors.Input) (*drillrun.Session, error) {
	switch {
	case in.Cluster == nil:
		return nil, collectors.ErrNoCluster
	case in.Release == nil:
		return nil, errors.New("a drill is about a release, and none is given")
	case c.o.Plan == nil:
		return nil, errors.New("no drill was asked for")
	}
	fault := faults[c.o.Plan.Experiment]
	if fault == nil {
		return nil, fmt.Errorf("experiment %q is none of this collector's", c.o.Plan.Experiment)
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
		Fault: fault, Probe: drillrun.Probing, Ask: drillrun.AskOnce,
	}
	if e := c.o.Plan.Experiment; e == drill.NodeDrain || e == drill.ZoneDrain {
		for group, resources := range map[string][]string{
			"":     {"namespaces", "persistentvolumeclaims", "persistentvolumes", "resourcequotas"},
			"apps": {"daemonsets", "deployments", "replicasets", "statefulsets"}, "storage.k8s.io": {"csinodes"},
			"admissionregistration.k8s.io": {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"},
		} {
			for _, r := range resources {
				s.Rights = append(s.Rights, drillrun.Right{Verb: "list", Group: group, Resource: r})
			}
		}
		s.Rights = append(s.Rights, drillrun.Right{Verb: "get", Resource: "configmaps", Namespace: metav1.NamespaceSystem, Name: "cluster-autoscaler-status"})
		s.Checks = append(s.Checks, drillrun.Question{Name: checkForecast, Ask: func(ctx context.Context, w *drillrun.World) (bool, string, error) {
			return wouldDrain(ctx, in, w.Drain)
		}})
	}
	return s, nil
}

// wouldDrain forecasts the drain. Where the forecast cannot tell, the drill will.
func wouldDrain(ctx context.Context, in collectors.Input, nodes []string) (bool, string, error) {
	snapshot, err := forecast.Take(ctx, in.Cluster, in.Now())
	if err != nil {
		return false, "", err
	}
	f := snapshot.Drain(nodes...)
	reason := string(f.Outcome)
	if why := f.Why(); why != "" {
		reason += ": " + why
	}
	if f.Outcome == forecast.Unknown {
		reason = "cannot tell, so that the drill is what shows it: " + f.Why()
	}
	return f.Outcome == forecast.Drains || f.Outcome == forecast.Unknown, reason, nil
}
