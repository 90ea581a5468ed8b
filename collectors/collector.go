// Package collectors defines what a collector is: it looks at the world once
// (Collect), and derives findings from what was sealed as often as anybody likes
// (Findings).
package collectors

import (
	"context"
	"errors"
	"time"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

// Collector is one kind of evidence.
type Collector interface {
	// Name is the collector's name in the catalog, and its folder under artifacts/.
	Name() string
	// Rules lists the rules that its findings may have, each of them the catalog's;
	// * at the end stands for every rule that starts so.
	Rules() []string
	// Collect looks at the world and writes what it saw, unaltered. All effects
	// are here. An error is recorded as the collector's run; it never stops others.
	Collect(ctx context.Context, in Input, out evidence.ArtifactWriter) error
	// Findings derives findings from sealed artifacts alone: no I/O, no clock, no
	// randomness. It returns at least one finding (pass, not-applicable, …) for
	// each rule that it owns, without the controls that the catalog gives to the
	// rule (see the function Findings). verify calls it again.
	Findings(in *Sealed) ([]evidence.Finding, error)
}

// Lasting is a collector that works longer than the others, or that makes
// things in the world which it must remove again.
type Lasting interface {
	Collector
	// TimeLimit is how long Collect may take, instead of RunOptions.Timeout.
	TimeLimit() time.Duration
	// CleanupLimit is how long Run waits for Collect to return after its context
	// has ended, also when the whole run was interrupted.
	CleanupLimit() time.Duration
}

// ErrNoCluster is what a collector says that was given no cluster and needs one.
var ErrNoCluster = errors.New("no cluster to ask: name one with --context or --kubeconfig")

// Input is what Collect may look at.
type Input struct {
	// Release is the loaded release with its true, unredacted content; nil where
	// the cluster itself is looked at (scope cluster).
	Release *chart.Release
	// Cluster is the cluster that the release runs on; nil where none was named.
	Cluster *cluster.Cluster
	// Now is the clock; Run sets it. Nothing else may be asked for the time.
	Now func() time.Time
}
