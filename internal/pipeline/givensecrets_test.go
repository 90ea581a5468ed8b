package pipeline

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
)

// TestGateSecrets holds that the gate's own rotation interval decides about a release
// whose Secret passed by that of its evidence, unless the gate takes that one.
func TestGateSecrets(t *testing.T) {
	t.Parallel()
	repo, v := openGolden(t, own, "live")
	ids, err := repo.Bundles(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	judged := func(req GateRequest) (failed []string, ignored, taken []string) {
		t.Helper()
		g, err := req.given()
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			files, err := repo.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			b := v.Verify(t.Context(), files, id).Verified()
			if b == nil {
				t.Fatalf("%s does not verify", id)
			}
			d, err := g.decide(b, gate.Evidence{Findings: b.Findings(), Runs: b.Runs().Collectors})
			if err != nil {
				t.Fatal(err)
			}
			ignored, taken = union(ignored, d.ignored), union(taken, d.taken)
			for _, f := range d.Findings {
				if f.Rule == "externalsecrets/rotated" && f.Outcome == evidence.OutcomeFail {
					failed = append(failed, f.Message)
				}
			}
		}
		return failed, ignored, taken
	}
	strict := GateSecrets{Rotation: evidence.Duration(5 * time.Minute)}
	if failed, ignored, _ := judged(GateRequest{}); len(failed)+len(ignored) > 0 {
		t.Errorf("with the defaults: %q, ignored %q", failed, ignored)
	}
	failed, ignored, _ := judged(GateRequest{Secrets: strict})
	if len(failed) == 0 || !strings.Contains(failed[0], "has not changed since") || !slices.Contains(ignored, "a rotation interval of 2160h0m0s") {
		t.Errorf("by the gate's own: %q, ignored %q", failed, ignored)
	}
	failed, _, taken := judged(GateRequest{Secrets: strict, EvidenceLists: []string{EvidenceSecrets}})
	if len(failed) > 0 || !slices.Contains(taken, "a rotation interval of 2160h0m0s") {
		t.Errorf("by the evidence's: %q, taken %q", failed, taken)
	}
}
