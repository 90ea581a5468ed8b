package report_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	f := func(id string, o evidence.Outcome) evidence.Finding { return evidence.Finding{ID: id, Outcome: o} }
	r := func(id evidence.ControlID, o evidence.ControlOutcome) evidence.ControlResult {
		return evidence.ControlResult{Control: id, Outcome: o}
	}
	a := &report.Input{BundleID: "sha256:a", Release: evidence.Release{Chart: "web", Version: "1"},
		Findings: []evidence.Finding{f("stays", "fail"), f("mended", "fail"), f("unchecked", "not-checked"), f("fine", "pass"), f("worse", "pass")},
		Verdict: evidence.Verdict{Outcome: evidence.VerdictFail, Results: []evidence.ControlResult{
			r("AAA-1", "fail"), r("AAA-2", "pass"), r("AAA-3", "incomplete"), r("AAA-4", "pass")}}}
	b := &report.Input{BundleID: "sha256:b", Release: evidence.Release{Chart: "web", Version: "2"},
		Findings: []evidence.Finding{f("stays", "warn"), f("mended", "pass"), f("worse", "warn"), f("new", "error"), f("aside", "not-applicable")},
		Verdict: evidence.Verdict{Outcome: evidence.VerdictPass, Results: []evidence.ControlResult{
			r("AAA-2", "pass"), r("AAA-1", "pass"), r("BBB-1", "warn"), r("AAA-4", "pass")}}}
	want := report.DiffJSON{
		A:        report.DiffSide{Bundle: "sha256:a", Chart: "web", Version: "1", Outcome: "FAIL"},
		B:        report.DiffSide{Bundle: "sha256:b", Chart: "web", Version: "2", Outcome: "PASS"},
		Controls: []report.ControlDiff{{Control: "AAA-1", From: "fail", To: "pass"}, {Control: "BBB-1", To: "warn"}, {Control: "AAA-3", From: "incomplete"}},
		New:      []evidence.Finding{f("worse", "warn"), f("new", "error")},
		Gone:     []evidence.Finding{f("mended", "fail"), f("unchecked", "not-checked")},
	}
	if diff := cmp.Diff(want, report.Diff(a, b)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if d := report.Diff(a, a); len(d.Controls)+len(d.New)+len(d.Gone) != 0 {
		t.Errorf("from itself: %+v", d)
	}
}
