package pipeline

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
	"github.com/companyos/helmproof/internal/helmlog"
)

func TestMain(m *testing.M) {
	helmlog.Route()
	m.Run()
}

// TestForgedVersion seals a chart that fails as one that passes, with the trusted
// key. Claiming this version's rules it is refused; claiming others gains nothing,
// at verify or at the gate.
func TestForgedVersion(t *testing.T) {
	t.Parallel()
	signer, trust := testSigner(t)
	rules, err := LoadRules(RulesOptions{Profile: "chart"})
	if err != nil {
		t.Fatal(err)
	}
	rel, err := chart.Load(t.Context(), filepath.Join("..", "..", "test", "charts", "weak"), chart.LoadOptions{KubeVersion: "1.37"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rel.Close() })
	for name, claimed := range map[string]int{"these": evidence.RulesVersion, "the first": 0, "later": 99} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &Pipeline{Rules: rules, Tool: "helmproof test", Timeout: time.Minute, Signer: signer, Now: time.Now, Formats: []string{"md"}}
			p.Repo = repository.New(dir.Open(t.TempDir()))
			honest, err := p.Release(t.Context(), rel)
			if err != nil || honest.Verdict.Outcome != evidence.VerdictFail {
				t.Fatalf("%+v, %v", honest, err)
			}
			forged := forge(t, p, honest, claimed)
			p.Repo = repository.New(dir.Open(t.TempDir())) // with the forged bundle alone
			if err := p.seal(t.Context(), forged, honest); err != nil {
				t.Fatal(err)
			}
			v := NewVerifier(trust, p.Repo, bundle.DefaultLimits(), "helmproof test")
			b, err := stored(t.Context(), v, p.Repo, honest.Bundle)
			done, gateErr := Gate(t.Context(), p.Repo, v, rules, GateRequest{Chart: "weak", At: time.Now()})
			if claimed == evidence.RulesVersion {
				var broken *IntegrityError
				if !errors.As(err, &broken) || !strings.Contains(err.Error(), "findings: the artifacts show another outcome or text for a finding") || !errors.As(gateErr, &broken) {
					t.Errorf("verify: %v, gate: %v", err, gateErr)
				}
				return
			}
			if err != nil || gateErr != nil {
				t.Fatalf("verify: %v, gate: %v", err, gateErr)
			}
			if got := b.Result.Counts().Outcome; b.Verdict().Outcome != evidence.VerdictPass || got != evidence.VerdictFail || len(b.Result.Worse) < 20 {
				t.Errorf("sealed as %s, counts %s, worse in %d controls", b.Verdict().Outcome, got, len(b.Result.Worse))
			}
			if done[0].Verdict.Outcome != evidence.VerdictFail {
				t.Errorf("gate: %s: %s", done[0].Verdict.Outcome, done[0].Verdict.Reason)
			}
		})
	}
}

// forge makes all findings of a stored bundle pass.
func forge(t *testing.T, p *Pipeline, honest *Judged, claimed int) map[string][]byte {
	t.Helper()
	files, err := p.Repo.Get(t.Context(), honest.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(files[bundle.EvidenceFile], bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	honest.Findings = slices.Clone(honest.Findings)
	for i := range honest.Findings {
		honest.Findings[i].Outcome = evidence.OutcomePass
	}
	honest.Findings = evidence.NormalizeFindings(honest.Findings)
	honest.Runs.Rules, honest.Runs.Reports = claimed, claimed
	honest.Verdict = gate.Evaluate(gate.Input{
		Profile: p.Rules.Profile, ProfileDigest: evidence.DigestOf(p.Rules.ProfileRaw), Catalog: p.Rules.Catalog, CatalogDigest: evidence.DigestOf(p.Rules.CatalogRaw),
		Findings: honest.Findings, Runs: honest.Runs.Collectors, At: honest.Verdict.EvaluatedAt,
	})
	files = p.Rules.files()
	for _, name := range b.Names() {
		if files[name], err = b.Read(name); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func testSigner(t *testing.T) (attest.Signer, *attest.Trust) {
	t.Helper()
	priv, pub, err := attest.GeneratePlainKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	trust := &attest.Trust{}
	if err := trust.Add(pub); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "test.key")
	if err := writeFile(key, priv); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSigner(context.Background(), key, "", func() ([]byte, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	return s, trust
}

func writeFile(name string, data []byte) error { return os.WriteFile(name, data, 0o600) }
