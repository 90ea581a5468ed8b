package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

// Package is a sealed bundle: its id and its files by name.
type Package struct {
	ID    evidence.Digest
	Files map[string][]byte
}

// RenderFunc renders the reports of a bundle: it calls emit for each with what writes
// it, so that none has to be held. Several may be emitted at once. keyID is the key that
// signed. The same arguments must give the same bytes. It returns emit's error.
type RenderFunc func(b *Bundle, keyID string, emit func(name string, write func(io.Writer) error) error) error

// Seal packs the contents, renders the reports, and signs evidence, reports and verdict.
func Seal(ctx context.Context, c *Contents, signer attest.Signer, render RenderFunc) (*Package, error) {
	reports := map[string]*bytes.Buffer{}
	var mu sync.Mutex
	p, err := SealTo(ctx, c, signer, render, func(name string) (io.WriteCloser, error) {
		mu.Lock()
		defer mu.Unlock()
		reports[name] = new(bytes.Buffer)
		return nopCloser{reports[name]}, nil
	})
	if err != nil {
		return nil, err
	}
	for name, b := range reports {
		p.Files[name] = b.Bytes()
	}
	return p, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// SealTo is Seal for reports that are kept elsewhere than in the package, which has the
// other files: each is written to what keep returns. It may be called concurrently.
func SealTo(ctx context.Context, c *Contents, signer attest.Signer, render RenderFunc, keep func(name string) (io.WriteCloser, error)) (*Package, error) {
	sealed := *c
	sealed.Runs.LowS = true // as a Signer signs
	zip, err := Pack(&sealed)
	if err != nil {
		return nil, err
	}
	// What is signed is what a verifier will read: the reports and the statements
	// come from the unpacked zip, and what could not be opened again is not sealed.
	b, err := Open(zip, DefaultLimits())
	if err != nil {
		return nil, fmt.Errorf("seal what could not be opened again: %w", err)
	}
	b.files[findingsFile] = nil // they are parsed, and can be more than all else
	p := &Package{ID: b.id, Files: map[string][]byte{EvidenceFile: zip}}
	digests, err := digestReports(b, signer.KeyID(), render, keep)
	if err != nil {
		return nil, err
	}
	statements := map[string]func() (*attest.Statement, error){
		SignatureFile: func() (*attest.Statement, error) { return evidenceStatement(b) },
		VSAFile:       func() (*attest.Statement, error) { return vsaStatement(b) },
	}
	if len(digests) > 0 {
		statements[ReportsFile] = func() (*attest.Statement, error) { return reportsStatement(b, digests) }
	}
	var g errgroup.Group
	var mu sync.Mutex
	for name, statement := range statements {
		g.Go(func() error {
			st, err := statement()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			raw, err := signer.Sign(ctx, st)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			p.Files[name] = raw
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return p, nil
}

// digestReports renders the reports, each to what keep returns, and returns their
// digests by name.
func digestReports(b *Bundle, keyID string, render RenderFunc, keep func(name string) (io.WriteCloser, error)) (map[string]evidence.Digest, error) {
	digests := map[string]evidence.Digest{}
	var mu sync.Mutex
	err := render(b, keyID, func(name string, write func(io.Writer) error) error {
		if !reportName(name) {
			return fmt.Errorf("a report cannot be named %q", name)
		}
		to, err := keep(name)
		if err != nil {
			return err
		}
		w := &reportWriter{name: name, hash: sha256.New(), to: to}
		if err := errors.Join(write(w), to.Close()); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		digests[name] = evidence.DigestOfHash(w.hash)
		return nil
	})
	return digests, err
}

// nowhere keeps no report: only its digest is asked for.
func nowhere(string) (io.WriteCloser, error) { return nopCloser{io.Discard}, nil }

// reportWriter digests a report on its way, and ends one that would not be read again.
type reportWriter struct {
	name string
	hash hash.Hash
	to   io.Writer
	size int64
}

func (w *reportWriter) Write(p []byte) (int, error) {
	if w.size += int64(len(p)); w.size > MaxReport {
		return 0, fmt.Errorf("%s would have more than the %d MiB that are read again: leave its format out with --formats", w.name, MaxReport>>20)
	}
	w.hash.Write(p)
	return w.to.Write(p)
}

// evidencePredicate says in short what is in evidence.zip, for consumers that
// look a verdict up without unpacking. Its form may only grow.
type evidencePredicate struct {
	Scope       evidence.Scope          `json:"scope"`
	Chart       string                  `json:"chart"`
	Version     string                  `json:"version,omitempty"`
	Release     string                  `json:"release"`
	Namespace   string                  `json:"namespace"`
	Cluster     string                  `json:"cluster,omitempty"`
	Profile     digested                `json:"profile"`
	Catalog     digested                `json:"catalog"`
	Outcome     evidence.VerdictOutcome `json:"outcome"`
	EvaluatedAt time.Time               `json:"evaluatedAt"`
	Rules       int                     `json:"rules,omitempty"`           // the version of the rules that it was judged by
	Sealed      evidence.Digest         `json:"sealedManifests,omitempty"` // the manifests inside, where secrets were redacted
	Inputs      []evidence.BundleRef    `json:"inputs,omitempty"`
	Bound       evidence.Bound          `json:"bound,omitempty"`      // of a composed verdict
	Repository  string                  `json:"repository,omitempty"` // the id of the repository that it was sealed for
}

type digested struct {
	Name   string          `json:"name"`
	Digest evidence.Digest `json:"digest"`
}

func evidenceStatement(b *Bundle) (*attest.Statement, error) {
	v, r := b.verdict, b.release
	pred, err := json.Marshal(evidencePredicate{
		Scope: r.Scope, Chart: r.Chart, Version: r.Version, Release: r.ReleaseName, Namespace: r.Namespace, Cluster: r.Cluster,
		Profile: digested{b.runs.ProfileName(v.Profile, v.ProfileDigest), v.ProfileDigest}, Catalog: digested{"catalog", v.CatalogDigest},
		Outcome: v.Outcome, EvaluatedAt: v.EvaluatedAt, Rules: b.runs.Rules, Sealed: r.SealedManifestsDigest, Inputs: b.inputs, Bound: r.Bound,
		Repository: b.runs.Repository,
	})
	if err != nil {
		return nil, err
	}
	return &attest.Statement{
		PredicateType: attest.EvidenceType, Predicate: pred,
		Subjects: append([]attest.Subject{{Name: EvidenceFile, Digest: b.id}}, releaseSubjects(&r)...),
	}, nil
}

// The names of the subjects that are no image.
const (
	manifestsSubject = "manifests.yaml"
	chartSubject     = "chart:" // and its name
)

// releaseSubjects are what somebody may look a verdict up by: the chart, the
// true rendered manifests, and every image that is pinned by digest.
func releaseSubjects(r *evidence.Release) []attest.Subject {
	var out []attest.Subject
	seen := map[evidence.Digest]bool{}
	add := func(name string, d evidence.Digest) {
		if d != "" && !seen[d] {
			seen[d] = true
			out = append(out, attest.Subject{Name: name, Digest: d})
		}
	}
	add(manifestsSubject, r.ManifestsDigest)
	add(chartSubject+r.Chart, r.ChartDigest)
	add(r.Chart+"-"+r.Version+".tgz", r.ArchiveDigest)
	for _, image := range r.Images {
		if _, hex, ok := strings.Cut(image, "@sha256:"); ok {
			if d, err := evidence.ParseDigest(hex); err == nil {
				add(image, d)
			}
		}
	}
	return out
}

// reportsStatement is about the reports, by name, in the order of their names.
func reportsStatement(b *Bundle, reports map[string]evidence.Digest) (*attest.Statement, error) {
	pred, err := json.Marshal(map[string]evidence.Digest{"evidence": b.id})
	if err != nil {
		return nil, err
	}
	st := &attest.Statement{PredicateType: attest.ReportsType, Predicate: pred}
	for _, name := range slices.Sorted(maps.Keys(reports)) {
		st.Subjects = append(st.Subjects, attest.Subject{Name: name, Digest: reports[name]})
	}
	return st, nil
}

// reportName reports whether a report can be named so.
func reportName(name string) bool {
	return checkName(name) == nil && !isOwnFile(name) && !strings.Contains(name, "/")
}

// vsaPredicate is a SLSA verification summary (https://slsa.dev/spec/v1.0/verification_summary).
type vsaPredicate struct {
	Verifier struct {
		ID string `json:"id"`
	} `json:"verifier"`
	TimeVerified       time.Time     `json:"timeVerified"`
	ResourceURI        string        `json:"resourceUri"`
	Policy             vsaResource   `json:"policy"`
	InputAttestations  []vsaResource `json:"inputAttestations"`
	VerificationResult string        `json:"verificationResult"`
	VerifiedLevels     []string      `json:"verifiedLevels"`
}

type vsaResource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

// verifiedLevel names the profile that a release passed.
func verifiedLevel(b *Bundle) string {
	const prefix = "HELMPROOF_PROFILE_"
	if b.runs.OwnProfile {
		return prefix + "FILE_" + b.verdict.ProfileDigest.Hex()
	}
	return prefix + strings.ToUpper(b.verdict.Profile)
}

// vsaStatement is PASSED for a passing verdict only. A release that has no
// digest of its own (composed, cluster) is summarized about evidence.zip.
func vsaStatement(b *Bundle) (*attest.Statement, error) {
	v, r := b.verdict, b.release
	p := vsaPredicate{
		TimeVerified: v.EvaluatedAt, ResourceURI: "helm:" + r.Chart + "@" + r.Version,
		Policy:             vsaResource{"helmproof:profile/" + b.runs.ProfileName(v.Profile, v.ProfileDigest), map[string]string{"sha256": v.ProfileDigest.Hex()}},
		InputAttestations:  []vsaResource{{"helmproof:bundle/" + b.id.Hex(), map[string]string{"sha256": b.id.Hex()}}},
		VerificationResult: "FAILED", VerifiedLevels: []string{},
	}
	if r.Scope == evidence.ScopeCluster {
		p.ResourceURI = "kubernetes:cluster/" + r.Cluster
	}
	p.Verifier.ID = "https://github.com/companyos/helmproof"
	if v.Outcome == evidence.VerdictPass {
		p.VerificationResult, p.VerifiedLevels = "PASSED", []string{verifiedLevel(b)}
	}
	pred, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	subjects := releaseSubjects(&r)
	if len(subjects) == 0 {
		subjects = []attest.Subject{{Name: EvidenceFile, Digest: b.id}}
	}
	return &attest.Statement{PredicateType: attest.VSAType, Subjects: subjects, Predicate: pred}, nil
}
