package release

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

// The provenance of a release, and its signed form (a Sigstore bundle).
const (
	ProvenanceFile = "provenance.json"
	SignedFile     = "provenance.sigstore.json"
	// ProvenanceType is that of SLSA (https://slsa.dev/spec/v1.0/provenance).
	ProvenanceType = "https://slsa.dev/provenance/v1"

	buildType = source + "/release/v1"
)

// predicate is SLSA's, as far as it can be said by what builds: who runs it, and on
// what, is said by the signature alone.
type predicate struct {
	Build buildDefinition `json:"buildDefinition"`
	Run   runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	Type     string       `json:"buildType"`
	External parameters   `json:"externalParameters"`
	Internal internals    `json:"internalParameters"`
	Resolved []dependence `json:"resolvedDependencies"`
}

type parameters struct {
	Version   string   `json:"version"`
	Platforms []string `json:"platforms"`
}

type internals struct {
	Go              string `json:"go"`
	SourceDateEpoch int64  `json:"sourceDateEpoch"`
}

type dependence struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

type runDetails struct {
	Builder struct {
		ID string `json:"id"`
	} `json:"builder"`
	Metadata struct {
		Started string `json:"startedOn"` // the commit's time: a build has no time of its own
	} `json:"metadata"`
}

// statement says what the release is, by digest: its sums first, then every file and
// the image.
func (r *Release) statement(sums map[string]string, image string) (*attest.Statement, error) {
	list, err := os.ReadFile(filepath.Join(r.Dist, SumsFile))
	if err != nil {
		return nil, err
	}
	p := predicate{Build: buildDefinition{
		Type: buildType, External: parameters{Version: r.Version}, Internal: internals{runtime.Version(), r.When.Unix()},
		Resolved: []dependence{{"git+" + source + "@refs/tags/" + r.Version, map[string]string{"gitCommit": r.Commit}}},
	}}
	for _, platform := range r.Platforms {
		p.Build.External.Platforms = append(p.Build.External.Platforms, platform.String())
	}
	p.Run.Builder.ID = source + "/cmd/release"
	p.Run.Metadata.Started = r.When.UTC().Format(time.RFC3339)
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	out := &attest.Statement{PredicateType: ProvenanceType, Predicate: raw, Subjects: []attest.Subject{{Name: SumsFile, Digest: evidence.DigestOf(list)}}}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		out.Subjects = append(out.Subjects, attest.Subject{Name: name, Digest: evidence.Digest("sha256:" + sums[name])})
	}
	if image != "" {
		out.Subjects = append(out.Subjects, attest.Subject{Name: strings.TrimPrefix(source, "https://"), Digest: evidence.Digest(image)})
	}
	return out, nil
}

// provenance writes the statement and, where there is a key, the signed one.
func (r *Release) provenance(ctx context.Context, sums map[string]string, image string) error {
	st, err := r.statement(sums, image)
	if err != nil {
		return fmt.Errorf("provenance: %w", err)
	}
	raw, err := st.Marshal()
	if err == nil {
		err = os.WriteFile(filepath.Join(r.Dist, ProvenanceFile), raw, 0o644)
	}
	if err != nil || r.Signer == nil {
		return err
	}
	signed, err := r.Signer.Sign(ctx, st)
	if err != nil {
		return fmt.Errorf("sign the provenance: %w", err)
	}
	return os.WriteFile(filepath.Join(r.Dist, SignedFile), signed, 0o644)
}
