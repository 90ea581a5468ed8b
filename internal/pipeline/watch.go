package pipeline

import (
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
)

// WithObjects is what a verified bundle is about, with the digest of its objects where
// they can be compared.
func WithObjects(b *bundle.Bundle) evidence.Release { return withObjects(b) }

// IsOf reports whether evidence of have is evidence of the live release want, as the gate
// compares them; which version of Kubernetes it was rendered for does not matter.
func IsOf(want, have evidence.Release) bool {
	want.KubeVersion = ""
	return have.Scope == evidence.ScopeRelease && len(differences(want, have)) == 0
}

// LiveRelease is what the gate compares of a loaded live release.
func LiveRelease(rel *chart.Release) (evidence.Release, error) {
	out := rel.Info
	var err error
	out.ObjectsDigest, err = chart.ObjectsDigest(rel.Manifests)
	return out, err
}
