package pipeline

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
)

// Golden bundles of every version of the rules are in testdata/golden/VERSION, a
// repository for each kind with the public keys beside it; `make golden` makes those
// of this version. Every later version verifies them: those of its own version to
// the byte, with their reports, the others by outcome.
// Where a later version means to judge one worse, that is written down here.
var judgedWorse = map[string]map[string]string{ // version/kind → control → why
	"1/chart-fail": {"CHT-3": "the API server refuses requests above limits, and CHT-3 says so, too"},
	"1/live":       {"SCR-4": "the evidence does not say when its Secrets last changed"},
	"2/live":       {"SCR-4": "the evidence does not say when its Secrets last changed"},
}

// own is this version, and the name of its golden bundles' folder.
var own = strconv.Itoa(evidence.RulesVersion)

func goldenKinds(t *testing.T, version string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", "golden", version))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range entries {
		if e.IsDir() {
			kinds = append(kinds, e.Name())
		}
	}
	return kinds
}

// openGolden returns a kind's repository and a verifier that trusts its keys.
func openGolden(t *testing.T, version, kind string) (*repository.Repository, *bundle.Verifier) {
	t.Helper()
	root := filepath.Join("testdata", "golden", version, kind)
	trust, err := attest.LoadTrust([]string{root})
	if err != nil {
		t.Fatalf("%v (`make golden` makes those of rules %s)", err, own)
	}
	repo := repository.New(dir.Open(root))
	return repo, NewVerifier(trust, repo, bundle.DefaultLimits(), "helmproof test")
}

func TestGolden(t *testing.T) {
	t.Parallel()
	versions, err := os.ReadDir(filepath.Join("testdata", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(versions, func(e os.DirEntry) bool { return e.Name() == own }) {
		t.Errorf("no golden bundles of rules %s: make them with `make golden`", own)
	}
	for _, v := range versions {
		kinds := goldenKinds(t, v.Name())
		if len(kinds) < 19 {
			t.Errorf("version %s: only %d kinds", v.Name(), len(kinds))
		}
		for _, kind := range kinds {
			t.Run(v.Name()+"/"+kind, func(t *testing.T) {
				t.Parallel()
				verifyGolden(t, v.Name(), kind)
			})
		}
	}
}

func verifyGolden(t *testing.T, version, kind string) {
	repo, v := openGolden(t, version, kind)
	ids, err := repo.Bundles(t.Context())
	if err != nil || len(ids) == 0 {
		t.Fatalf("%d bundles, %v", len(ids), err)
	}
	expected := judgedWorse[version+"/"+kind]
	met := map[string]bool{}
	for _, id := range ids {
		files, err := repo.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		r := v.Verify(t.Context(), files, id)
		if !r.OK() {
			t.Errorf("%s: %s", id.Short(), r.Reason())
			if version == own {
				t.Error("a finding, a verdict or a report changed: raise evidence.RulesVersion or evidence.ReportsVersion, and make golden bundles with `make golden`")
			}
			continue
		}
		if version == own {
			if r.Rules != nil || len(r.Worse) > 0 {
				t.Errorf("%s: sealed by these rules, and judged again: %+v, %+v", id.Short(), r.Rules, r.Worse)
			}
			for _, c := range r.Checks {
				if c.Outcome != evidence.OutcomePass || c.Name == "reports" && !strings.Contains(c.Reason, "are what this evidence renders to") {
					t.Errorf("%s: %s %s, %s: make golden bundles of these reports with `make golden`", id.Short(), c.Name, c.Outcome, c.Reason)
				}
			}
			continue
		}
		if r.Rules == nil {
			t.Errorf("%s is said to be sealed by these rules, %s", id.Short(), own)
		}
		for _, w := range r.Worse {
			met[string(w.Control)] = true
			if expected[string(w.Control)] == "" {
				t.Errorf("%s: %s is judged worse than when it was sealed: %s, sealed as %s: %s", id.Short(), w.Control, w.Now, w.Sealed, w.Reason)
			}
		}
	}
	for id := range expected {
		if !met[id] {
			t.Errorf("%s is not judged worse any more", id)
		}
	}
}

// TestGoldenAltered changes a byte of each file of a golden bundle.
func TestGoldenAltered(t *testing.T) {
	t.Parallel()
	repo, v := openGolden(t, own, "chart-pass")
	ids, err := repo.Bundles(t.Context())
	if err != nil || len(ids) != 1 {
		t.Fatalf("%d bundles, %v", len(ids), err)
	}
	files, err := repo.Get(t.Context(), ids[0])
	if err != nil || len(files) != 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for name, raw := range files {
		altered := maps.Clone(files)
		altered[name] = bytes.Clone(raw)
		altered[name][len(raw)/2] ^= 1
		if v.Verify(t.Context(), altered, ids[0]).OK() {
			t.Errorf("%s: a changed byte is not refused", name)
		}
	}
}

// TestGoldenGate gates on evidence that the first version sealed.
func TestGoldenGate(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct {
		chart   string
		outcome evidence.VerdictOutcome
	}{
		"chart-pass": {"service", evidence.VerdictPass},
		"chart-fail": {"weak", evidence.VerdictFail},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			repo, v := openGolden(t, "1", kind)
			rules := goldenRules(t, repo)
			done, err := Gate(t.Context(), repo, v, rules, GateRequest{AnyRepository: true, Chart: want.chart, At: goldenTime.Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			if len(done) != 1 || done[0].Verdict.Outcome != want.outcome {
				t.Errorf("%d verdicts, the first %s: %s", len(done), done[0].Verdict.Outcome, done[0].Verdict.Reason)
			}
			for _, r := range done[0].Verdict.Results {
				if strings.Contains(r.Reason, "which are not these") {
					t.Errorf("%s: %s", r.Control, r.Reason)
				}
			}
		})
	}
}

// goldenRules are this version's, with the profile that the newest bundle was
// sealed by: profiles of later versions may ask for more.
func goldenRules(t *testing.T, repo *repository.Repository) Rules {
	t.Helper()
	id, err := repo.Resolve(t.Context(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	files, err := repo.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(files[bundle.EvidenceFile], bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "profile.yaml")
	if err := os.WriteFile(name, b.Profile(), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := LoadRules(RulesOptions{Profile: name})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// goldenTime is when the golden bundles of the first version were made.
var goldenTime = time.Date(2026, 11, 28, 16, 30, 0, 0, time.UTC)
