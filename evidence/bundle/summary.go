package bundle

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

// Summary is what the signed statement of a bundle says: what the bundle is about,
// known without reading the evidence.
type Summary struct {
	// Release has the scope, the names, the cluster, the images that are pinned, and
	// the digests of chart and manifests; of all else the statement says nothing.
	Release       evidence.Release
	Profile       string
	ProfileDigest evidence.Digest
	EvaluatedAt   time.Time
	Repository    string // the id of the repository that it was sealed for; empty: none is named
}

// Summary verifies a bundle's signature, evidence.sigstore.json, and returns what
// its statement says. That the statement agrees with the evidence, and that the
// evidence is there, is for Verify to say.
func (v *Verifier) Summary(signature []byte, id evidence.Digest) (*Summary, error) {
	s := &verification{Verifier: v, result: &Result{signatures: Files{SignatureFile: signature}}}
	st, _, err := s.signed(SignatureFile, attest.EvidenceType, id)
	if err != nil {
		return nil, err
	}
	var p evidencePredicate
	if err := json.Unmarshal(st.Predicate, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", SignatureFile, err)
	}
	out := &Summary{
		Release: evidence.Release{
			Scope: p.Scope, Chart: p.Chart, Version: p.Version, ReleaseName: p.Release, Namespace: p.Namespace, Cluster: p.Cluster,
		},
		Profile: p.Profile.Name, ProfileDigest: p.Profile.Digest, EvaluatedAt: p.EvaluatedAt, Repository: p.Repository,
	}
	for _, x := range st.Subjects[1:] {
		switch {
		case x.Name == manifestsSubject:
			out.Release.ManifestsDigest = x.Digest
		case x.Name == chartSubject+p.Chart:
			out.Release.ChartDigest = x.Digest
		case strings.HasSuffix(x.Name, "@"+string(x.Digest)):
			out.Release.Images = append(out.Release.Images, x.Name)
		}
	}
	return out, nil
}
