package gate

import (
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
)

// failing is a finding that fails SEC-1 or what else is named.
func failing(change ...func(*evidence.Finding)) evidence.Finding {
	f := evidence.Finding{
		Rule: "policy/x", Controls: []evidence.ControlID{"SEC-1"}, Outcome: evidence.OutcomeFail, Severity: evidence.SeverityHigh,
		Target:  evidence.Target{Kind: "Deployment", Name: "web", Namespace: "shop", Container: "app", File: "templates/web.yaml", Line: 3},
		Message: "image web:1.2 adds capability NET_ADMIN",
	}
	for _, c := range change {
		c(&f)
	}
	f.ID = evidence.FindingID(f)
	return f
}

var baselineCatalog = &evidence.Catalog{Controls: []evidence.Control{
	{ID: "SEC-1", Group: "SEC", Collector: "policy", Rules: []string{"policy/*"}},
	{ID: "SCR-1", Group: "SCR", Collector: "policy", Rules: []string{"secret/*"}},
}}

func baselineInput(b *evidence.BaselineRelease, allowed bool, found ...evidence.Finding) Input {
	return Input{
		Profile: &evidence.Profile{Name: "p", Scope: evidence.ScopeRelease, FailOn: evidence.SeverityLow, Baseline: allowed, Controls: []evidence.ProfileControl{{ID: "SEC-1"}}},
		Catalog: baselineCatalog, Findings: found, Runs: []evidence.CollectorRun{{Collector: "policy", Outcome: evidence.OutcomePass}}, Baseline: b, Namespace: "shop",
	}
}

// What moves or is rendered anew is known; whatever is more, worse or something else is new.
func TestBaselineKnows(t *testing.T) {
	t.Parallel()
	rel := &evidence.Release{Chart: "web", ReleaseName: "web", Namespace: "shop"}
	was := []evidence.Finding{failing()}
	b := NewBaseline(rel, baselineInput(nil, false).Profile, was, baselineInput(nil, false).At)
	for _, tc := range []struct {
		name        string
		found       []evidence.Finding
		want        evidence.VerdictOutcome
		fresh, gone int
	}{
		{"the same", was, evidence.VerdictPass, 0, 0},
		{"another line and file", []evidence.Finding{failing(func(f *evidence.Finding) { f.Target.Line, f.Target.File = 99, "templates/other.yaml" })}, evidence.VerdictPass, 0, 0},
		{"the release's namespace left out", []evidence.Finding{failing(func(f *evidence.Finding) { f.Target.Namespace = "" })}, evidence.VerdictPass, 0, 0},
		{"another tag", []evidence.Finding{failing(func(f *evidence.Finding) { f.Message = "image web:2.0 adds capability NET_ADMIN" })}, evidence.VerdictPass, 0, 0},
		{"mended", []evidence.Finding{failing(func(f *evidence.Finding) { f.Outcome = evidence.OutcomePass })}, evidence.VerdictPass, 0, 1},
		{"one more", []evidence.Finding{failing(), failing(func(f *evidence.Finding) { f.Message = "image web:3.0 adds capability NET_ADMIN" })}, evidence.VerdictFail, 1, 0},
		{"something else", []evidence.Finding{failing(func(f *evidence.Finding) { f.Message = "image web:1.2 adds capability SYS_ADMIN" })}, evidence.VerdictFail, 1, 1},
		{"worse", []evidence.Finding{failing(func(f *evidence.Finding) { f.Severity = evidence.SeverityCritical })}, evidence.VerdictFail, 1, 1},
		{"another rule", []evidence.Finding{failing(func(f *evidence.Finding) { f.Rule = "policy/y" })}, evidence.VerdictFail, 1, 1},
		{"another object", []evidence.Finding{failing(func(f *evidence.Finding) { f.Target.Name = "api" })}, evidence.VerdictFail, 1, 1},
		{"another container", []evidence.Finding{failing(func(f *evidence.Finding) { f.Target.Container = "init" })}, evidence.VerdictFail, 1, 1},
		{"another namespace", []evidence.Finding{failing(func(f *evidence.Finding) { f.Target.Namespace = "kube-system" })}, evidence.VerdictFail, 1, 1},
		{"not checked any more", []evidence.Finding{failing(func(f *evidence.Finding) { f.Outcome = evidence.OutcomeNotChecked })}, evidence.VerdictIncomplete, 1, 1},
		{"an error", []evidence.Finding{failing(func(f *evidence.Finding) { f.Outcome = evidence.OutcomeError })}, evidence.VerdictIncomplete, 1, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := Evaluate(baselineInput(&b, true, tc.found...))
			if v.Outcome != tc.want || v.Baseline.New != tc.fresh || v.Baseline.Gone != tc.gone {
				t.Errorf("%s, %d new, %d gone; want %s, %d, %d: %s", v.Outcome, v.Baseline.New, v.Baseline.Gone, tc.want, tc.fresh, tc.gone, v.Reason)
			}
			// Without the profile's leave it decides nothing, and is said all the same.
			plain, without := Evaluate(baselineInput(nil, false, tc.found...)), Evaluate(baselineInput(&b, false, tc.found...))
			if without.Outcome != plain.Outcome || without.Baseline.Outcome != tc.want || without.Baseline.Allowed {
				t.Errorf("not allowed: %s, want %s; by the baseline %+v", without.Outcome, plain.Outcome, without.Baseline)
			}
			counted := Counting{Baseline: true}.Count(baselineInput(&b, false, tc.found...), without)
			if counted.Outcome != tc.want || len(counted.New) != tc.fresh {
				t.Errorf("counted %s, new %v; want %s, %d", counted.Outcome, counted.New, tc.want, tc.fresh)
			}
			if !strings.Contains(without.Reason, "which the profile does not take") {
				t.Errorf("the reason does not tell: %s", without.Reason)
			}
		})
	}
}

// A collector that failed is not made good by what is known.
// A mistake in one field does not stand for one in another field of the same container.
func TestBaselineKnowsFields(t *testing.T) {
	t.Parallel()
	at := func(message string) evidence.Finding {
		return failing(func(f *evidence.Finding) { f.Message = message })
	}
	b := NewBaseline(&evidence.Release{Chart: "web", ReleaseName: "web", Namespace: "shop"}, baselineInput(nil, false).Profile,
		[]evidence.Finding{at("spec.containers[0].imagePullPolicyy: unknown field")}, baselineInput(nil, false).At)
	for message, want := range map[string]evidence.VerdictOutcome{
		"spec.containers[0].imagePullPolicyy: unknown field": evidence.VerdictPass,
		"spec.containers[3].imagePullPolicyy: unknown field": evidence.VerdictPass,
		"spec.containers[0].securityContxt: unknown field":   evidence.VerdictFail,
	} {
		if v := Evaluate(baselineInput(&b, true, at(message))); v.Outcome != want {
			t.Errorf("%s: %s, want %s", message, v.Outcome, want)
		}
	}
}

func TestBaselineNeedsTheCollector(t *testing.T) {
	t.Parallel()
	b := evidence.BaselineRelease{Known: []evidence.KnownFailure{fingerprint("SEC-1", failing(), "shop")}}
	in := baselineInput(&b, true, failing())
	in.Runs[0].Outcome = evidence.OutcomeError
	if v := Evaluate(in); v.Outcome != evidence.VerdictIncomplete {
		t.Errorf("%s, want INCOMPLETE: %s", v.Outcome, v.Reason)
	}
}

// No baseline has secrets, or what is critical; one that says so is refused.
func TestBaselineNever(t *testing.T) {
	t.Parallel()
	p := &evidence.Profile{Controls: []evidence.ProfileControl{{ID: "SEC-1"}, {ID: "SCR-1"}}}
	found := []evidence.Finding{
		failing(func(f *evidence.Finding) { f.Severity = evidence.SeverityCritical }),
		failing(func(f *evidence.Finding) {
			f.Controls, f.Severity = []evidence.ControlID{"SCR-1"}, evidence.SeverityLow
		}),
		failing(func(f *evidence.Finding) { f.Outcome = evidence.OutcomeError }),
	}
	if b := NewBaseline(&evidence.Release{}, p, found, baselineInput(nil, false).At); len(b.Known) > 0 {
		t.Errorf("knows %+v", b.Known)
	}
	const head = "version: 1\nreleases:\n  - {chart: web, release: web, at: \"2026-01-01T00:00:00Z\", known: ["
	for text, want := range map[string]string{
		head + "{control: SCR-1, rule: secret/x, outcome: fail, severity: low, count: 1}]}":      "no baseline may know",
		head + "{control: SEC-1, rule: policy/x, outcome: fail, severity: critical, count: 1}]}": "no baseline may know",
		head + "{control: SEC-1, rule: policy/x, outcome: error, severity: low, count: 1}]}":     "want fail or not-checked",
		head + "{control: SEC-1, rule: policy/x, outcome: fail, severity: low, count: 0}]}":      "want how many",
		head + "{control: SEC-1, outcome: fail, severity: low, count: 1}]}":                      "rule: missing",
		head + "{control: SEC-1, line: 4}]}":                                                     "unknown key",
		"version: 2\n":                                                                           "want 1",
	} {
		if _, err := ParseBaseline([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

// A baseline that is written again only ever shrinks.
func TestBaselineShrinks(t *testing.T) {
	t.Parallel()
	one := fingerprint("SEC-1", failing(), "shop")
	two, other := one, one
	two.Count, two.Severity = 2, evidence.SeverityMedium
	other.Name = "api"
	got := Shrink(evidence.BaselineRelease{Known: []evidence.KnownFailure{one, other}}, evidence.BaselineRelease{Known: []evidence.KnownFailure{two}}, evidence.Verdict{})
	if len(got.Known) != 1 || got.Known[0].Name != "web" || got.Known[0].Count != 1 || got.Known[0].Severity != evidence.SeverityMedium {
		t.Errorf("shrunk to %+v", got.Known)
	}
	broken := evidence.Verdict{Results: []evidence.ControlResult{{Control: "SEC-1", Outcome: evidence.ControlIncomplete}}}
	got = Shrink(evidence.BaselineRelease{Known: []evidence.KnownFailure{one, other}}, evidence.BaselineRelease{}, broken)
	if len(got.Known) != 2 {
		t.Errorf("where SEC-1 was not checked: %+v", got.Known)
	}
}

// What is left out for the exit code changes no verdict but that of a part, which never passes.
func TestCounting(t *testing.T) {
	t.Parallel()
	low := failing(func(f *evidence.Finding) { f.Severity = evidence.SeverityLow })
	ok := failing(func(f *evidence.Finding) {
		f.Rule, f.Controls, f.Outcome = "secret/x", []evidence.ControlID{"SCR-1"}, evidence.OutcomePass
	})
	in := baselineInput(nil, false, low, ok)
	in.Profile.Controls = append(in.Profile.Controls, evidence.ProfileControl{ID: "SCR-1"})
	for _, tc := range []struct {
		name    string
		by      Counting
		counted evidence.VerdictOutcome
		part    evidence.VerdictOutcome
		not     int
	}{
		{"severity above", Counting{FailOn: evidence.SeverityHigh}, evidence.VerdictPass, evidence.VerdictFail, 1},
		{"severity met", Counting{FailOn: evidence.SeverityLow}, evidence.VerdictFail, evidence.VerdictFail, 0},
		{"the one that passes", Counting{Only: []evidence.ControlID{"SCR-1"}}, evidence.VerdictPass, evidence.VerdictIncomplete, 1},
		{"the one that fails", Counting{Only: []evidence.ControlID{"SEC-1"}}, evidence.VerdictFail, evidence.VerdictFail, 0},
		{"without the one that fails", Counting{Skip: []evidence.ControlID{"SEC-1"}}, evidence.VerdictPass, evidence.VerdictIncomplete, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := Evaluate(in)
			c := tc.by.Count(in, v)
			if c.Outcome != tc.counted || len(c.NotCounted) != tc.not {
				t.Errorf("counted %+v, want %s with %d left out", c, tc.counted, tc.not)
			}
			if got := tc.by.Part(v); got.Outcome != tc.part || v.Outcome != evidence.VerdictFail {
				t.Errorf("part %s, want %s: %s", got.Outcome, tc.part, got.Reason)
			}
		})
	}
	for want, c := range map[string]Counting{
		"has no such control":         {Only: []evidence.ControlID{"IMG-9"}},
		"leaves no required control":  {Skip: []evidence.ControlID{"SEC-1", "SCR-1"}},
		"want critical, high, medium": {FailOn: "hgh"},
	} {
		if err := c.Check(in.Profile); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", c, err, want)
		}
	}
}

// A name with digits is not a number: another one is another failure.
func TestSteady(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"image web:1.2 adds NET_ADMIN":                           "image web:# adds NET_ADMIN",
		"image r.example/web@sha256:0a1b is old":                 "image r.example/web:# is old",
		"cpu limit 100m is below the request 500m, memory 1.5Gi": "cpu limit # is below the request #, memory #",
		"spec.containers[0].envFrm: unknown field":               "spec.containers[#].envFrm: unknown field",
		"sysctl net.ipv4.ip_forward is not allowed":              "sysctl net.ipv4.ip_forward is not allowed",
		"batch/v1beta1 CronJob is not served":                    "batch/v1beta1 CronJob is not served",
		"ports 80 443 8080":                                      "ports # # #",
	} {
		if got := steady(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}
