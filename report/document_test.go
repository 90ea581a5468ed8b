package report_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

func TestReasonsWorstFirst(t *testing.T) {
	t.Parallel()
	d := report.New(reporttest.Weak())
	if len(d.Reasons) != 18 {
		t.Fatalf("%d reasons, want 16 failed and 2 unchecked controls", len(d.Reasons))
	}
	rank := func(c report.Control) int {
		r := c.Severity.Rank()
		if c.Mark.Key != report.MarkFail.Key {
			r += 10
		}
		if !c.Required {
			r += 100
		}
		return r
	}
	if !slices.IsSortedFunc(d.Reasons, func(a, b report.Control) int { return rank(a) - rank(b) }) {
		t.Errorf("reasons out of order: %v", d.Reasons)
	}
	if got, want := d.Reasons[0].ID, "SEC-1"; got != want {
		t.Errorf("first reason %s, want %s", got, want)
	}
	if got, want := d.Conclusion, "15 of 28 required controls fail, 6 of them in Security context; 3 do not apply"; got != want {
		t.Errorf("conclusion %q, want %q", got, want)
	}
}

// The verdict counts what does not apply among what is required, and so does this.
func TestConclusionCountsAsTheVerdictDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		outcomes []evidence.ControlOutcome
		want     string
	}{
		{nil, "No control was required"},
		{[]evidence.ControlOutcome{"pass", "pass"}, "None of 2 required controls fails"},
		{[]evidence.ControlOutcome{"pass", "waived", "not-applicable"}, "None of 3 required controls fails; 1 by waiver; 1 does not apply"},
		{[]evidence.ControlOutcome{"not-applicable", "not-applicable"}, "None of 2 required controls applies"},
		{[]evidence.ControlOutcome{"fail", "pass", "not-applicable", "not-applicable"}, "1 of 4 required controls fails; 2 do not apply"},
		{[]evidence.ControlOutcome{"incomplete", "pass", "not-applicable"}, "1 of 3 required controls could not be checked; none failed; 1 does not apply"},
	} {
		in := reporttest.Small()
		in.Verdict.Outcome = evidence.VerdictPass
		in.Verdict.Results = nil
		for i, o := range tt.outcomes {
			in.Verdict.Results = append(in.Verdict.Results, evidence.ControlResult{Control: in.Catalog.Controls[i].ID, Outcome: o, Required: true})
		}
		if got := report.New(in).Conclusion; got != tt.want {
			t.Errorf("%v: %q, want %q", tt.outcomes, got, tt.want)
		}
	}
}

func TestEveryFindingIsAccountedFor(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]report.Input{"weak": reporttest.Weak(), "small": reporttest.Small(), "many": reporttest.Many(100), "passing": reporttest.Passing()} {
		d := report.New(in)
		n := d.Findings
		if sum := n.Failed + n.Warned + n.Waived + n.NotChecked + n.Passed + n.NotApplicable; sum != len(in.Findings) || n.Total != sum {
			t.Errorf("%s: %d findings counted, %d given", name, sum, len(in.Findings))
		}
		seen := map[string]int{}
		for _, s := range d.Sections {
			for _, f := range s.Findings {
				seen[f.ID]++
				if f.Remediation == "" {
					t.Errorf("%s: finding %s has no remediation", name, f.ID)
				}
			}
		}
		for _, f := range in.Findings {
			want := 0
			if f.Outcome == evidence.OutcomeFail || f.Outcome == evidence.OutcomeWarn {
				want = 1
			}
			if seen[f.ID] != want {
				t.Errorf("%s: finding %s (%s) listed %d times, want %d", name, f.ID, f.Outcome, seen[f.ID], want)
			}
		}
	}
}

func TestWaivedFindingStaysAndIsMarked(t *testing.T) {
	t.Parallel()
	d := report.New(reporttest.Small())
	w := d.Waivers[0]
	if w.Status != "applied" || len(w.Findings) != 1 || w.Findings[0].Anchor == "" {
		t.Fatalf("waiver %+v: want one linked finding", w)
	}
	for _, s := range d.Sections {
		for _, f := range s.Findings {
			if f.ID == w.Findings[0].ID {
				if f.Mark != report.MarkWaived || f.Waiver == nil || f.Waiver.Reason != "Starts at once." {
					t.Errorf("waived finding %+v: want its mark and waiver", f)
				}
				return
			}
		}
	}
	t.Error("the waived finding is not listed")
}

func TestFailedCollectorIsShown(t *testing.T) {
	t.Parallel()
	d := report.New(reporttest.Weak())
	i := slices.IndexFunc(d.NotChecked, func(n report.NotChecked) bool { return n.What == "collector secrets" })
	if i < 0 {
		t.Fatalf("the failed collector is not among %v", d.NotChecked)
	}
	if n := d.NotChecked[i]; n.Why != "no result within 30s" || len(n.Controls) != 1 || n.Controls[0].ID != "SCR-1" {
		t.Errorf("not checked: %+v; want the collector's error and SCR-1", n)
	}
}

func TestUnsealed(t *testing.T) {
	t.Parallel()
	d := report.New(reporttest.Unsealed())
	if d.Sealed {
		t.Error("sealed without a bundle")
	}
	for _, s := range d.Verify {
		if strings.Contains(s.Command, "verify") {
			t.Errorf("%q: nothing can be verified", s.Command)
		}
	}
	for name, render := range renderers() {
		if name != "md" && name != "html" {
			continue
		}
		b, err := reporttest.Bytes(render, d)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "Not sealed.") {
			t.Errorf("%s does not say that nothing was sealed", name)
		}
	}
}

// A result that no verdict knows is never shown as a pass.
func TestUnknownOutcomeIsNoPass(t *testing.T) {
	t.Parallel()
	in := reporttest.Small()
	in.Verdict.Outcome = "MAYBE"
	in.Verdict.Results[0].Outcome = "perhaps"
	in.Findings[0].Outcome = "odd"
	d := report.New(in)
	if d.Verdict.Mark.Key != report.MarkIncomplete.Key || d.Verdict.Mark.Word != "MAYBE" {
		t.Errorf("verdict mark %+v", d.Verdict.Mark)
	}
	if c := d.Groups[0].Controls[0]; c.Mark != report.MarkIncomplete {
		t.Errorf("control mark %+v", c.Mark)
	}
	if d.Findings.NotChecked != 2 {
		t.Errorf("%d findings not checked, want 2", d.Findings.NotChecked)
	}
}

func TestNewSurvivesNothing(t *testing.T) {
	t.Parallel()
	d := report.New(report.Input{})
	for name, render := range renderers() {
		if _, err := reporttest.Bytes(render, d); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVisible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain text":         "plain text",
		"支付 é":               "支付 é",
		"a\nb\r\nc\n":        "a ↵ b ↵ c",
		"bell\x07":           "bell[U+0007]",
		"rtl\u202egnp":       "rtl[U+202E]gnp",
		"zero\u200bwidth":    "zero[U+200B]width",
		"bad\xff":            "bad[0xFF]",
		"tab\there":          "tab here",
		"soft\u00adhyphen":   "soft[U+00AD]hyphen",
		"private\ue000":      "private[U+E000]",
		"tag\U000e0041":      "tag[U+E0041]",
		"replacement \ufffd": "replacement \ufffd",
	} {
		if got := report.Visible(in); got != want {
			t.Errorf("Visible(%q) = %q, want %q", in, got, want)
		}
	}
}
