package bundle_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
)

// laterRules is a verifier of another version, whose rules change what replay finds.
func laterRules(v *bundle.Verifier, version int, change func([]evidence.Finding, []evidence.CollectorRun) []evidence.Finding) *bundle.Verifier {
	v.Rules, v.Reports = version, version
	v.Render = nil // reports of another version are not rendered again
	v.Replay = func(in evidence.ArtifactReader, of *evidence.Runs) ([]evidence.Finding, []evidence.CollectorRun, error) {
		found, runs, err := replay(in, of)
		return evidence.NormalizeFindings(change(slices.Clone(found), runs)), runs, err
	}
	return v
}

func setOutcome(rule string, o evidence.Outcome) func([]evidence.Finding, []evidence.CollectorRun) []evidence.Finding {
	return func(list []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding {
		for i := range list {
			if list[i].Rule == rule {
				list[i].Outcome = o
			}
		}
		return list
	}
}

// TestOtherRules verifies a bundle by rules that are not those that sealed it. In
// it RES-1 fails, SEC-1 warns, and the optional IMG-1 is incomplete.
func TestOtherRules(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	p := seal(t, contents(t, "api"), s)
	for name, tt := range map[string]struct {
		version int
		change  func([]evidence.Finding, []evidence.CollectorRun) []evidence.Finding
		worse   string // "control sealed→now", comma-separated
		says    string
	}{
		"no rule changed": {9, func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding { return l }, "", "judged again by rules 9: no control is worse"},
		"older rules":     {1, func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding { return l }, "", "rules 1, which are older: a newer helmproof can say more: no control is worse"},
		"other text, line and severity": {9, func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding {
			for i := range l {
				l[i].Message, l[i].Remediation, l[i].Severity, l[i].Target.Line = "put in other words", "Do so.", evidence.SeverityCritical, 7
			}
			return l
		}, "", "no control is worse"},
		"other rule names": {9, func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding {
			for i := range l {
				l[i].Rule += "-renamed"
			}
			return l
		}, "", "no control is worse"},
		"a rule is loosened":  {9, setOutcome("lines/res-1", evidence.OutcomePass), "", "no control is worse"},
		"a rule is tightened": {9, setOutcome("lines/sec-1", evidence.OutcomeFail), "SEC-1 warn→fail", "intact, but worse in SEC-1 (fail, sealed as warn)"},
		"not applicable now":  {9, setOutcome("lines/res-1", evidence.OutcomeNotApplicable), "", "no control is worse"},
		"cannot be answered":  {9, setOutcome("lines/sec-1", evidence.OutcomeNotChecked), "SEC-1 warn→incomplete", "SEC-1 (incomplete, sealed as warn)"},
		"fails at another target": {9, func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding {
			return append(l, evidence.Finding{Rule: "lines/res-1", Controls: []evidence.ControlID{"RES-1"}, Outcome: evidence.OutcomeFail, Severity: evidence.SeverityHigh,
				Target: evidence.Target{Kind: "Deployment", Name: "api"}, Message: "no limits either"})
		}, "RES-1 fail→fail", "RES-1 (worse at 1 target: Deployment api)"},
		"nothing is derived any more": {9, func([]evidence.Finding, []evidence.CollectorRun) []evidence.Finding { return nil }, "SEC-1 warn→incomplete", "SEC-1 (incomplete, sealed as warn)"},
		"a collector is gone": {9, func(_ []evidence.Finding, runs []evidence.CollectorRun) []evidence.Finding {
			for i := range runs {
				runs[i].Outcome, runs[i].Error = evidence.OutcomeError, "unknown collector"
			}
			return nil
		}, "SEC-1 warn→incomplete", "SEC-1 (incomplete, sealed as warn)"},
		"a control is added": {9, func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding {
			return append(l, evidence.Finding{Rule: "lines/sec-9", Controls: []evidence.ControlID{"SEC-9"}, Outcome: evidence.OutcomeFail, Severity: evidence.SeverityHigh, Target: evidence.Target{Kind: "Role", Name: "r"}})
		}, "", "no control is worse"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := laterRules(verifier(t, s), tt.version, tt.change).Verify(t.Context(), p.Files, p.ID)
			if !r.OK() || r.Verified() == nil || r.Rules == nil || *r.Rules != (bundle.Versions{Sealed: evidence.RulesVersion, This: tt.version}) {
				t.Fatalf("%s %+v", r.Reason(), r.Rules)
			}
			var worse []string
			for _, w := range r.Worse {
				worse = append(worse, string(w.Control)+" "+string(w.Sealed)+"→"+string(w.Now))
			}
			if got := strings.Join(worse, ","); got != tt.worse {
				t.Errorf("worse %q, want %q", got, tt.worse)
			}
			c := r.Checks[slices.Index(checkNames, "findings")]
			if want := map[bool]evidence.Outcome{false: evidence.OutcomePass, true: evidence.OutcomeWarn}[tt.worse != ""]; c.Outcome != want || !strings.Contains(c.Reason, tt.says) {
				t.Errorf("check findings %s: %s; want %s and %q", c.Outcome, c.Reason, want, tt.says)
			}
			if c := r.Checks[slices.Index(checkNames, "reports")]; c.Outcome != evidence.OutcomeNotChecked || !strings.Contains(c.Reason, "what they say is not compared") {
				t.Errorf("check reports: %s", c.Reason)
			}
			// RES-1 failed when it was sealed: that counts for ever.
			if got := r.Counts(); got.Outcome != evidence.VerdictFail {
				t.Errorf("counts %s: %s", got.Outcome, got.Reason)
			}
		})
	}

	// The same rules are still held to every byte.
	v := laterRules(verifier(t, s), evidence.RulesVersion, func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding {
		l[0].Message += " now"
		return l
	})
	v.Render = render
	wantRefused(t, v.Verify(t.Context(), p.Files, p.ID), "findings", "the artifacts show a finding that is not in the bundle")
}

// TestForgedRules seals, with the trusted key, what the artifacts do not show, and
// claims rules by which nobody could tell.
func TestForgedRules(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	allPass := func(c *bundle.Contents) {
		for i := range c.Findings {
			c.Findings[i].Outcome = evidence.OutcomePass
		}
		c.Findings = evidence.NormalizeFindings(c.Findings)
	}
	for name, tt := range map[string]struct {
		forge   func(*testing.T, *bundle.Contents)
		worse   string
		refused string
	}{
		"findings and verdict": {forge: func(t *testing.T, c *bundle.Contents) {
			allPass(c)
			decide(t, c)
		}, worse: "RES-1,SEC-1"},
		"findings removed": {forge: func(t *testing.T, c *bundle.Contents) {
			c.Findings = slices.DeleteFunc(c.Findings, func(f evidence.Finding) bool { return f.Outcome == evidence.OutcomeFail })
			decide(t, c)
		}, worse: "RES-1"},
		"results of the verdict": {forge: func(_ *testing.T, c *bundle.Contents) {
			for i := range c.Verdict.Results {
				c.Verdict.Results[i].Outcome = evidence.ControlPass
			}
			c.Verdict.Outcome = evidence.VerdictPass
		}, worse: "IMG-1,RES-1,SEC-1"},
		"outcome alone":      {forge: func(_ *testing.T, c *bundle.Contents) { c.Verdict.Outcome = evidence.VerdictPass }, refused: "the verdict says PASS, its own results give FAIL"},
		"a control left out": {forge: func(_ *testing.T, c *bundle.Contents) { c.Verdict.Results = c.Verdict.Results[1:] }, refused: "the verdict judges 2 controls, the profile has 3"},
		"a control made optional": {forge: func(_ *testing.T, c *bundle.Contents) {
			for i := range c.Verdict.Results {
				c.Verdict.Results[i].Required = false
			}
		}, refused: "disagree whether RES-1 is required"},
		"another profile's digest": {forge: func(_ *testing.T, c *bundle.Contents) { c.Verdict.ProfileDigest = evidence.DigestOf([]byte("chart")) }, refused: "the verdict is by profile small"},
		"another catalog's digest": {forge: func(_ *testing.T, c *bundle.Contents) { c.Verdict.CatalogDigest = evidence.DigestOf([]byte("x")) }, refused: "the verdict is by the catalog"},
		"a waiver from nowhere": {forge: func(_ *testing.T, c *bundle.Contents) {
			c.Verdict.Waivers = []evidence.WaiverResult{{Waiver: evidence.Waiver{Control: "RES-1", Reason: "r", ApprovedBy: "a", ExpiresAt: evaluatedAt}, Status: "applied"}}
		}, refused: "the verdict shows a waiver for RES-1 that was not sealed with it"},
	} {
		for _, claimed := range []int{0, 1, 99} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := contents(t, "api")
				c.Runs.Rules, c.Runs.Reports = claimed, claimed
				tt.forge(t, c)
				p := seal(t, c, s)
				r := verifier(t, s).Verify(t.Context(), p.Files, p.ID)
				if tt.refused != "" {
					wantRefused(t, r, "findings", tt.refused)
					return
				}
				var worse []string
				for _, w := range r.Worse {
					worse = append(worse, string(w.Control))
				}
				if got := strings.Join(worse, ","); !r.OK() || got != tt.worse {
					t.Errorf("%s, worse in %s, want %s", r.Reason(), got, tt.worse)
				}
				if got := r.Counts(); got.Outcome != evidence.VerdictFail {
					t.Errorf("counts %s: %s", got.Outcome, got.Reason)
				}
			})
		}
	}
}

// TestGateTakesTheWorse composes evidence that other rules sealed.
func TestGateTakesTheWorse(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	c := contents(t, "api")
	c.Files[artifactOf("lines")] = []byte("RES-1 pass api requests are set\nSEC-1 pass api is restricted\n")
	judge(t, c)
	p := seal(t, c, s)
	profile, err := gate.ParseProfile([]byte(strings.ReplaceAll(profileYAML, "  - id: IMG-1\n", "  - id: SEC-9\n  - id: IMG-1\n")))
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(catalogYAML, "controls:\n", "controls:\n  - {id: SEC-9, group: SEC, title: Rights, statement: No wildcard., severity: high, collector: lines, rules: [\"lines/*\"], remediation: Name them.}\n", 1)
	catalog, err := gate.ParseCatalog([]byte(newer))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := gate.ParseCatalog([]byte(catalogYAML))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func([]evidence.Finding, []evidence.CollectorRun) []evidence.Finding
		want   map[evidence.ControlID]evidence.ControlOutcome
	}{
		"tightened": {setOutcome("lines/sec-1", evidence.OutcomeFail), map[evidence.ControlID]evidence.ControlOutcome{"RES-1": "pass", "SEC-1": "fail", "SEC-9": "incomplete"}},
		"a control that old evidence answers": {func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding {
			return append(l, evidence.Finding{Rule: "lines/sec-9", Controls: []evidence.ControlID{"SEC-9"}, Outcome: evidence.OutcomePass, Severity: evidence.SeverityHigh, Target: evidence.Target{Kind: "Chart", Name: "api"}})
		}, map[evidence.ControlID]evidence.ControlOutcome{"RES-1": "pass", "SEC-1": "pass", "SEC-9": "pass"}},
		"a control that it does not": {func(l []evidence.Finding, _ []evidence.CollectorRun) []evidence.Finding { return l },
			map[evidence.ControlID]evidence.ControlOutcome{"RES-1": "pass", "SEC-1": "pass", "SEC-9": "incomplete"}},
		"nothing": {func([]evidence.Finding, []evidence.CollectorRun) []evidence.Finding { return nil },
			map[evidence.ControlID]evidence.ControlOutcome{"RES-1": "incomplete", "SEC-1": "incomplete", "SEC-9": "incomplete"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := laterRules(verifier(t, s), 9, tt.change).Verify(t.Context(), p.Files, p.ID)
			b := r.Verified()
			if b == nil || r.Replayed() == nil {
				t.Fatal(r.Reason())
			}
			v := gate.Compose(gate.ComposeInput{Profile: profile, Catalog: catalog, At: evaluatedAt, Evidence: []gate.Evidence{{
				Bundle: b.ID(), Scope: b.Release().Scope, Release: *b.Release(), Findings: b.Findings(), Runs: b.Runs().Collectors,
				Replayed: r.Replayed(), Rules: b.Runs().RulesVersion(), Catalog: sealed, Verdict: *b.Verdict(), EvaluatedAt: evaluatedAt,
			}}})
			for _, x := range v.Results {
				if want, ok := tt.want[x.Control]; ok && x.Outcome != want {
					t.Errorf("%s is %s (%s), want %s", x.Control, x.Outcome, x.Reason, want)
				}
			}
		})
	}
}
