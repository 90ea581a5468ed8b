// Package collectors loads Helm releases and defines what a collector is: it
// looks at the world once (Collect), and derives findings from what was sealed
// as often as anybody likes (Findings).
package collectors

import (
	"context"

	"github.com/companyos/helmproof/evidence"
)

// Collector is one kind of evidence.
type Collector interface {
	// Name is the collector's name in the catalog, and its folder under artifacts/.
	Name() string
	// Collect looks at the world and writes what it saw, unaltered. All effects
	// are here. An error is recorded as the collector's run; it never stops others.
	Collect(ctx context.Context, in Input, out evidence.ArtifactWriter) error
	// Findings derives findings from sealed artifacts alone: no I/O, no clock, no
	// randomness. It returns at least one finding (pass, not-applicable, …) for
	// each rule that it owns. verify calls it again.
	Findings(in *Sealed) ([]evidence.Finding, error)
}

// Input is what Collect may look at.
type Input struct {
	// Release is the loaded release with its true, unredacted content; nil where
	// the cluster itself is looked at (scope cluster).
	Release *Release
	// Cluster is the cluster that the release runs on; nil where none was named.
	Cluster *Cluster
}
