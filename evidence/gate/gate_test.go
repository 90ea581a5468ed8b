package gate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
)

var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func testCatalog() *evidence.Catalog {
	return &evidence.Catalog{
		Version: "1", // finding makes findings of one rule, for any control
		Groups:  []evidence.Group{{ID: "AAA", Title: "A"}, {ID: "BBB", Title: "B"}},
		Controls: []evidence.Control{
			{ID: "BBB-1", Group: "BBB", Collector: "second", Rules: []string{"first/rule"}},
			{ID: "AAA-1", Group: "AAA", Collector: "first", Rules: []string{"first/rule"}},
			{ID: "AAA-2", Group: "AAA", Collector: "first", Rules: []string{"first/rule"}},
		},
	}
}

func testProfile(ids ...evidence.ControlID) *evidence.Profile {
	p := &evidence.Profile{Name: "test", Title: "Test", Scope: evidence.ScopeRelease, FailOn: evidence.SeverityMedium, MaxAge: evidence.Duration(24 * time.Hour)}
	for _, id := range ids {
		p.Controls = append(p.Controls, evidence.ProfileControl{ID: id})
	}
	return p
}

func ran(names ...string) []evidence.CollectorRun {
	var out []evidence.CollectorRun
	for _, n := range names {
		out = append(out, evidence.CollectorRun{Collector: n, Outcome: evidence.OutcomePass})
	}
	return out
}

func finding(o evidence.Outcome, s evidence.Severity, name string, ids ...evidence.ControlID) evidence.Finding {
	f := evidence.Finding{
		Rule: "first/rule", Controls: ids, Outcome: o, Severity: s, Message: string(o) + " " + name,
		Target: evidence.Target{Kind: "Deployment", Name: name, Namespace: "payments"},
	}
	f.ID = evidence.FindingID(f)
	return f
}

func waiver(id evidence.ControlID, name string, until time.Time) evidence.Waiver {
	return evidence.Waiver{Control: id, Target: evidence.Selector{Name: name}, Reason: "accepted", ApprovedBy: "Ada", ExpiresAt: until}
}

func TestEvaluateControl(t *testing.T) {
	t.Parallel()
	const (
		pass  = evidence.OutcomePass
		fail  = evidence.OutcomeFail
		warn  = evidence.OutcomeWarn
		na    = evidence.OutcomeNotApplicable
		notCh = evidence.OutcomeNotChecked
		errd  = evidence.OutcomeError
	)
	high, low := evidence.SeverityHigh, evidence.SeverityLow
	f := func(o evidence.Outcome, s evidence.Severity, name string) evidence.Finding {
		return finding(o, s, name, "AAA-1")
	}
	foreign := func(o evidence.Outcome, s evidence.Severity) evidence.Finding {
		x := f(o, s, "a")
		x.Rule = "policy/own"
		return x
	}
	later := at.Add(time.Hour)
	tests := []struct {
		name     string
		findings []evidence.Finding
		runs     []evidence.CollectorRun
		waivers  []evidence.Waiver
		edit     func(*evidence.Profile)
		want     evidence.ControlOutcome
		verdict  evidence.VerdictOutcome
		reason   string
	}{
		{"pass", []evidence.Finding{f(pass, high, "a"), f(na, high, "b")}, ran("first"), nil, nil,
			evidence.ControlPass, evidence.VerdictPass, "1 check passes"},
		{"not applicable", []evidence.Finding{f(na, high, "a")}, ran("first"), nil, nil,
			evidence.ControlNotApplicable, evidence.VerdictPass, "nothing to check: 1 finding, not applicable"},
		{"fail at the threshold", []evidence.Finding{f(fail, evidence.SeverityMedium, "a"), f(pass, high, "b")}, ran("first"), nil, nil,
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 medium)"},
		{"fail below the threshold", []evidence.Finding{f(fail, low, "a")}, ran("first"), nil, nil,
			evidence.ControlWarn, evidence.VerdictPass, "1 finding fails below the threshold medium (1 low)"},
		{"the control's own threshold", []evidence.Finding{f(fail, low, "a")}, ran("first"), nil,
			func(p *evidence.Profile) { p.Controls[0].FailOn = low },
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 low)"},
		{"no threshold is the strictest", []evidence.Finding{f(fail, evidence.SeverityInfo, "a")}, ran("first"), nil,
			func(p *evidence.Profile) { p.FailOn = "" },
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 info)"},
		{"an unknown severity is critical", []evidence.Finding{f(fail, "hihg", "a")}, ran("first"), nil, nil,
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 critical)"},
		{"warning", []evidence.Finding{f(warn, high, "a"), f(warn, high, "b"), f(pass, high, "c")}, ran("first"), nil, nil,
			evidence.ControlWarn, evidence.VerdictPass, "2 warnings"},
		{"not checked", []evidence.Finding{f(notCh, low, "a"), f(pass, high, "b")}, ran("first"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "1 check could not be made: not-checked a"},
		{"error", []evidence.Finding{f(errd, low, "a"), f(pass, high, "b")}, ran("first"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "1 check could not be made: error a"},
		{"an unknown outcome is an error", []evidence.Finding{f("psas", low, "a")}, ran("first"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "1 check could not be made: psas a"},
		{"fail wins over not checked", []evidence.Finding{f(notCh, low, "a"), f(fail, high, "b")}, ran("first"), nil, nil,
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 high); 1 could not be checked"},
		{"no finding", nil, ran("first", "second"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "no evidence: no finding names this control"},
		{"a foreign rule passes", []evidence.Finding{foreign(pass, high)}, ran("first"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "no evidence: no finding is of a rule of this control"},
		{"a foreign rule warns", []evidence.Finding{foreign(warn, high)}, ran("first"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "no evidence: no finding is of a rule of this control"},
		{"a foreign rule fails below the threshold", []evidence.Finding{foreign(fail, low)}, ran("first"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "no evidence: no finding is of a rule of this control"},
		{"a foreign rule fails, waived", []evidence.Finding{foreign(fail, high)}, ran("first"), []evidence.Waiver{waiver("AAA-1", "a", later)}, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "no evidence: no finding is of a rule of this control"},
		{"a foreign rule fails", []evidence.Finding{foreign(fail, high), f(pass, high, "a")}, ran("first"), nil, nil,
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 high)"},
		{"a foreign rule was not checked", []evidence.Finding{foreign(notCh, high), f(pass, high, "a")}, ran("first"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "1 check could not be made: not-checked a"},
		{"collector missing", nil, ran("second"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "collector first did not run"},
		{"collector missing though findings exist", []evidence.Finding{f(pass, high, "a")}, ran("second"), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "collector first did not run"},
		{"collector failed", []evidence.Finding{f(pass, high, "a")},
			[]evidence.CollectorRun{{Collector: "first", Outcome: errd, Error: "no result\nwithin 2m"}}, nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "collector first failed: no result within 2m"},
		{"one of two runs failed", []evidence.Finding{f(pass, high, "a")},
			append(ran("first"), evidence.CollectorRun{Collector: "first", Outcome: errd}), nil, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "collector first failed: no reason given"},
		{"waived", []evidence.Finding{f(fail, high, "a"), f(pass, high, "b")}, ran("first"), []evidence.Waiver{waiver("AAA-1", "a", later)}, nil,
			evidence.ControlWaived, evidence.VerdictPass, "1 failing finding, accepted by Ada until 2026-11-01T13:00:00Z"},
		{"waived, and a warning", []evidence.Finding{f(fail, high, "a"), f(warn, high, "b"), f(fail, low, "c")}, ran("first"), []evidence.Waiver{waiver("AAA-1", "a", later)}, nil,
			evidence.ControlWaived, evidence.VerdictPass, "1 failing finding, accepted by Ada until 2026-11-01T13:00:00Z; 2 warnings more"},
		{"not every failing finding is waived", []evidence.Finding{f(fail, high, "a"), f(fail, high, "b")}, ran("first"), []evidence.Waiver{waiver("AAA-1", "a", later)}, nil,
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 high); 1 more waived"},
		{"not checked, waived", []evidence.Finding{f(notCh, high, "a")}, ran("first"), []evidence.Waiver{waiver("AAA-1", "a", later)}, nil,
			evidence.ControlWaived, evidence.VerdictPass, "1 finding not checked, accepted by Ada until 2026-11-01T13:00:00Z"},
		{"an error cannot be waived", []evidence.Finding{f(errd, high, "a")}, ran("first"), []evidence.Waiver{waiver("AAA-1", "a", later)}, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "1 check could not be made: error a"},
		{"a failed collector cannot be waived", []evidence.Finding{f(fail, high, "a")}, nil, []evidence.Waiver{waiver("AAA-1", "*", later)}, nil,
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "collector first did not run"},
		{"a waiver of another control", []evidence.Finding{f(fail, high, "a")}, ran("first"), []evidence.Waiver{waiver("AAA-2", "a", later)}, nil,
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 high)"},
		{"a waiver that expires now", []evidence.Finding{f(fail, high, "a")}, ran("first"), []evidence.Waiver{waiver("AAA-1", "a", at)}, nil,
			evidence.ControlFail, evidence.VerdictFail, "1 finding fails (1 high)"},
		{"an optional control decides nothing, so the profile requires nothing", []evidence.Finding{f(pass, high, "a")}, ran("first"), nil,
			func(p *evidence.Profile) { p.Controls[0].Optional = true },
			evidence.ControlPass, evidence.VerdictIncomplete, "1 check passes"},
		{"a control that the catalog lacks", []evidence.Finding{finding(pass, high, "a", "ZZZ-1")}, ran("first"), nil,
			func(p *evidence.Profile) { p.Controls[0].ID = "ZZZ-1" },
			evidence.ControlIncomplete, evidence.VerdictIncomplete, "control ZZZ-1 is not in the catalog"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := testProfile("AAA-1")
			if tt.edit != nil {
				tt.edit(p)
			}
			v := Evaluate(Input{Profile: p, Catalog: testCatalog(), Findings: tt.findings, Runs: tt.runs, Waivers: tt.waivers, At: at})
			r := v.Results[0]
			if r.Outcome != tt.want || r.Reason != tt.reason {
				t.Errorf("control is %s, %q; want %s, %q", r.Outcome, r.Reason, tt.want, tt.reason)
			}
			if v.Outcome != tt.verdict {
				t.Errorf("verdict is %s (%s), want %s", v.Outcome, v.Reason, tt.verdict)
			}
			for _, id := range r.Findings {
				if !slices.ContainsFunc(tt.findings, func(f evidence.Finding) bool { return f.ID == id }) {
					t.Errorf("result names finding %q, which does not exist", id)
				}
			}
		})
	}
}

func TestEvaluateVerdict(t *testing.T) {
	t.Parallel()
	high := evidence.SeverityHigh
	in := Input{
		Profile: testProfile("AAA-2", "BBB-1", "AAA-1"), ProfileDigest: evidence.DigestOf([]byte("p")),
		Catalog: testCatalog(), CatalogDigest: evidence.DigestOf([]byte("c")), At: at.In(time.FixedZone("", 3600)),
		Findings: []evidence.Finding{
			finding(evidence.OutcomeFail, high, "a", "AAA-1", "AAA-2"),
			finding(evidence.OutcomePass, high, "b", "AAA-1"),
		},
		Runs: ran("first"),
	}
	v := Evaluate(in)
	var order []evidence.ControlID
	for _, r := range v.Results {
		order = append(order, r.Control)
	}
	if diff := cmp.Diff([]evidence.ControlID{"BBB-1", "AAA-1", "AAA-2"}, order); diff != "" {
		t.Errorf("results are not in the catalog's order:\n%s", diff)
	}
	if want := "2 of 3 required controls failed: AAA-1, AAA-2; 1 incomplete: BBB-1"; v.Reason != want {
		t.Errorf("reason %q, want %q", v.Reason, want)
	}
	if want := (evidence.Counts{Pass: 1, Fail: 1}); v.Results[1].Counts != want {
		t.Errorf("counts %+v, want %+v", v.Results[1].Counts, want)
	}
	if v.Profile != "test" || v.ProfileDigest != in.ProfileDigest || v.CatalogDigest != in.CatalogDigest || v.EvaluatedAt != at {
		t.Errorf("verdict does not say what it rests on: %+v", v)
	}
	in.Findings[0].Outcome = evidence.OutcomeWarn
	in.Findings = append(in.Findings, finding(evidence.OutcomeNotApplicable, high, "c", "BBB-1"))
	in.Runs = ran("first", "second")
	v = Evaluate(in)
	if want := "3 required controls satisfied: 2 with warnings, 1 not applicable"; v.Outcome != evidence.VerdictPass || v.Reason != want {
		t.Errorf("got %s, %q, want %q", v.Outcome, v.Reason, want)
	}
	for _, empty := range []Input{{}, {Profile: testProfile("AAA-1")}, {Catalog: testCatalog()}, {Catalog: testCatalog(), Profile: testProfile()}} {
		if v := Evaluate(empty); v.Outcome != evidence.VerdictIncomplete {
			t.Errorf("nothing to judge by gives %s (%s)", v.Outcome, v.Reason)
		}
	}
}

func TestWaiverResults(t *testing.T) {
	t.Parallel()
	soon := time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	past := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	failing := finding(evidence.OutcomeFail, evidence.SeverityHigh, "a", "AAA-1")
	v := Evaluate(Input{
		Profile: testProfile("AAA-1"), Catalog: testCatalog(), At: at, Runs: ran("first"),
		Findings: []evidence.Finding{failing},
		Waivers: []evidence.Waiver{
			waiver("BBB-1", "a", soon), waiver("AAA-1", "other", soon), waiver("AAA-1", "[ab]", soon), waiver("AAA-1", "a", past),
		},
	})
	type row struct{ Control, Status, Reason, Findings string }
	var got []row
	for _, w := range v.Waivers {
		got = append(got, row{string(w.Waiver.Control), w.Status, w.Reason, strings.Join(w.Findings, ",")})
	}
	want := []row{
		{"AAA-1", WaiverExpired, "expired on 2026-10-01, no effect; it would cover 1 finding", failing.ID},
		{"AAA-1", WaiverApplied, "accepts 1 finding until 2026-12-31", failing.ID},
		{"AAA-1", WaiverUnused, "no failing or unchecked finding matches its target", ""},
		{"BBB-1", WaiverUnused, "control BBB-1 is not in profile test", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	f := evidence.Finding{Rule: "policy/image-digest", Target: evidence.Target{Kind: "Deployment", Name: "api", Namespace: "payments", Container: "web"}}
	tests := []struct {
		selector evidence.Selector
		want     bool
	}{
		{evidence.Selector{}, true},
		{evidence.Selector{Rule: "*"}, true},
		{evidence.Selector{Rule: "policy/*", Kind: "Deployment", Name: "a*", Namespace: "payments", Container: "w?b"}, true},
		{evidence.Selector{Rule: "polic*"}, false}, // * ends at a slash
		{evidence.Selector{Rule: "helm/*"}, false},
		{evidence.Selector{Kind: "deployment"}, false},
		{evidence.Selector{Name: "ap"}, false},
		{evidence.Selector{Namespace: "pay"}, false},
		{evidence.Selector{Container: "[a-c]eb"}, false},
		{evidence.Selector{Name: "[api"}, false}, // malformed
	}
	for _, tt := range tests {
		if got := Matches(tt.selector, f); got != tt.want {
			t.Errorf("%+v: %t, want %t", tt.selector, got, tt.want)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	in := Input{Profile: testProfile(controlIDs...), Catalog: testCatalog(), Runs: ran("first", "second"), At: at}
	for i := range 5000 {
		o := evidence.OutcomePass
		if i%2 == 0 {
			o = evidence.OutcomeFail
		}
		in.Findings = append(in.Findings, finding(o, evidence.SeverityHigh, fmt.Sprintf("object-%d", i), controlIDs[i%3]))
	}
	for i := range 100 {
		in.Waivers = append(in.Waivers, waiver(controlIDs[i%3], fmt.Sprintf("object-%d*", i), at.Add(time.Hour)))
	}
	b.ReportAllocs()
	for b.Loop() {
		Evaluate(in)
	}
}

func BenchmarkParseWaivers(b *testing.B) {
	for b.Loop() {
		if _, err := ParseWaivers([]byte(goodWaivers)); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDeclared holds that a reason which an object gives itself counts only where
// the profile says so, is shown, and covers nothing else.
func TestDeclared(t *testing.T) {
	t.Parallel()
	f := finding(evidence.OutcomeFail, evidence.SeverityMedium, "a", "AAA-1")
	f.Declared = "it holds a lock"
	other := finding(evidence.OutcomeFail, evidence.SeverityMedium, "b", "AAA-1")
	unknown := finding(evidence.OutcomeNotChecked, evidence.SeverityMedium, "c", "AAA-1")
	unknown.Declared = "it holds a lock"
	s := subject{
		pc: evidence.ProfileControl{ID: "AAA-1"}, profile: &evidence.Profile{FailOn: evidence.SeverityLow},
		waivers: &waiverSet{},
	}
	for _, tt := range []struct {
		name     string
		allowed  bool
		findings []evidence.Finding
		want     [4]int // fails, unknown, declared, warns
	}{
		{"not allowed", false, []evidence.Finding{f}, [4]int{1, 0, 0, 0}},
		{"allowed", true, []evidence.Finding{f}, [4]int{0, 0, 1, 0}},
		{"another without a reason", true, []evidence.Finding{f, other}, [4]int{1, 0, 1, 0}},
		{"what was not checked", true, []evidence.Finding{unknown}, [4]int{0, 1, 0, 0}},
	} {
		s.pc.Declared, s.findings = tt.allowed, tt.findings
		got := count(s, evidence.SeverityLow, &evidence.Counts{})
		if n := [4]int{len(got.fails), len(got.unknown), len(got.declared), len(got.warns)}; n != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, n, tt.want)
		}
	}
}
