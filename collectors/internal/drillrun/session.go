// Package drillrun is what drills do to a cluster in common: they look whether they
// may begin (preflight), say in the cluster who drills and what has to be restored
// (guard), write down what is seen meanwhile (recorder), abort, and restore.
package drillrun

import (
	"context"
	"time"

	"github.com/companyos/helmproof/collectors/internal/helmop"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
)

const (
	// restoreLimit is how long restoring may take, each time; stopLimit is what stopping
	// the probes may: a request's longest timeout, the reading of their log, and the
	// removal of their pod.
	restoreLimit = 45 * time.Second
	stopLimit    = 30*time.Second + 20*time.Second + 45*time.Second
	// CleanupLimit is how long all that may take after a drill has ended, also when it
	// was interrupted.
	CleanupLimit = 3*restoreLimit + stopLimit
)

// Session is one drill on one release.
type Session struct {
	Cluster *cluster.Cluster
	Plan    drill.Plan
	Release evidence.Release
	Objects *manifest.ObjectSet // the release's own
	Now     func() time.Time
	// Progress is told what the drill does, a line each; nil: nobody is.
	Progress func(string)
	// Rights are those that the experiment needs besides those of Rights.
	Rights []Right
	// Checks are questions of the experiment's own. They are asked last, of what the
	// preflight has read.
	Checks []Question
	// Fault is the experiment. It returns as soon as ctx ends; what it touched is
	// restored by what it told Live.Before.
	Fault func(ctx context.Context, l *Live) error
	// Probe starts the plan's probes. Pods that it makes are told to Live.Before first,
	// and must not run on the nodes of World.Drain.
	Probe func(ctx context.Context, l *Live) (Prober, error)
	// Ask sends one request of a probe, for the preflight: an error says what was
	// wrong with the answer.
	Ask func(ctx context.Context, p drill.Probe) error
}

// Question is a check of the preflight. An error means that it could not be
// answered, which refuses the drill as a no does.
type Question struct {
	Name string
	Ask  func(ctx context.Context, w *World) (ok bool, reason string, err error)
}

// Prober sends the probes of a plan.
type Prober interface {
	// Live counts the requests so far, for each probe.
	Live() []Count
	// Err says that the prober is lost, and why; nil while it is at work.
	Err() error
	// Stop ends the probes and returns their samples by the probe's name, whole or
	// cut: an error says of which not all came. It is called once.
	Stop(ctx context.Context) (map[string][]byte, error)
}

// Count is what came of a probe's requests so far.
type Count struct {
	Probe  string
	Due    int // that have been answered, or were not sent
	Failed int // of them, also those that took longer than the SLO's latency
}

// Restore is what has to be put back, also by somebody else after a crash.
type Restore struct {
	// Nodes that the drill cordons. They are uncordoned only if they bear the drill's
	// own annotation, which Live.Cordon gives them.
	Nodes []string `json:"nodes,omitempty"`
	// Pods that the drill makes for itself, "namespace/name", with the label
	// app.kubernetes.io/managed-by: helmproof.
	Pods []string `json:"pods,omitempty"`
	// Releases that the drill upgrades, with the revision that each goes back to.
	Releases []helmop.Back `json:"releases,omitempty"`
}

// Right is a verb that the drill needs.
type Right struct {
	Verb, Group, Resource, Subresource string
	Namespace                          string // empty: all
	Name                               string // empty: any
}

func (s *Session) say(what string) {
	if s.Progress != nil {
		s.Progress(what)
	}
}
