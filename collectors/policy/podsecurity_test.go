package policy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
)

// TestAgreesWithPodSecurity judges the fixtures of Pod Security's level
// restricted by the policies on the same matters: what it refuses for a reason,
// the policy for that reason refuses; what it accepts, those policies do that ask
// for no more.
func TestAgreesWithPodSecurity(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	pattern := filepath.Join(strings.TrimSpace(string(out)), "test", "testdata", "restricted", "v1.3[0-9]", "*", "*.yaml")
	fixtures, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	refuses := map[string]string{ // start of the fixture's name → policy
		"allowprivilegeescalation": "privilege-escalation", "capabilities_": "privilege-escalation", "privileged": "privilege-escalation",
		"seccompprofile_": "seccomp", "runasnonroot": "run-as-non-root", "runasuser": "run-as-non-root",
	}
	refused, accepted := 0, 0
	raw := builtin(t)
	for _, file := range fixtures {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		outcomes := map[string]evidence.Outcome{}
		for _, f := range findings(t, raw, string(content)) {
			if _, seen := outcomes[f.Rule]; !seen { // the worst is first
				outcomes[f.Rule] = f.Outcome
			}
		}
		switch filepath.Base(filepath.Dir(file)) {
		case "pass":
			for _, slug := range []string{"privilege-escalation", "seccomp"} {
				accepted++
				if o := outcomes["policy/"+slug]; o != evidence.OutcomePass && o != evidence.OutcomeNotApplicable {
					t.Errorf("%s: %s: %s", file, slug, o)
				}
			}
		case "fail":
			for start, slug := range refuses {
				if !strings.HasPrefix(filepath.Base(file), start) {
					continue
				}
				refused++
				if o := outcomes["policy/"+slug]; o != evidence.OutcomeFail {
					t.Errorf("%s: %s: %s", file, slug, o)
				}
			}
		}
	}
	if refused < 100 || accepted < 200 {
		t.Errorf("%d refusals and %d acceptances compared in %s", refused, accepted, pattern)
	}
}
