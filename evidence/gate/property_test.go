package gate

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/companyos/helmproof/evidence"
)

// rank orders verdicts, 0 worst.
func rank(v evidence.VerdictOutcome) int {
	return slices.Index([]evidence.VerdictOutcome{evidence.VerdictFail, evidence.VerdictIncomplete, evidence.VerdictPass}, v)
}

var controlIDs = []evidence.ControlID{"AAA-1", "AAA-2", "BBB-1"}

func drawFinding(t *rapid.T) evidence.Finding {
	f := finding(
		rapid.SampledFrom([]evidence.Outcome{"pass", "pass", "pass", "fail", "warn", "not-applicable", "not-checked", "error", "unheard-of"}).Draw(t, "outcome"),
		rapid.SampledFrom([]evidence.Severity{"critical", "high", "medium", "low", "info", ""}).Draw(t, "severity"),
		rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name"),
		rapid.SliceOfDistinct(rapid.SampledFrom(controlIDs), rapid.ID[evidence.ControlID]).Draw(t, "controls")...)
	return f
}

func drawInput(t *rapid.T) Input {
	in := Input{Profile: testProfile(controlIDs...), Catalog: testCatalog(), At: at}
	for i := range in.Profile.Controls {
		in.Profile.Controls[i].Optional = rapid.Bool().Draw(t, "optional")
	}
	in.Findings = rapid.SliceOfN(rapid.Custom(drawFinding), 0, 12).Draw(t, "findings")
	in.Runs = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) evidence.CollectorRun {
		return evidence.CollectorRun{
			Collector: rapid.SampledFrom([]string{"first", "second"}).Draw(t, "collector"),
			Outcome:   rapid.SampledFrom([]evidence.Outcome{"pass", "pass", "pass", "error", "not-applicable"}).Draw(t, "run"),
		}
	}), 0, 4).Draw(t, "runs")
	in.Waivers = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) evidence.Waiver {
		return waiver(rapid.SampledFrom(controlIDs).Draw(t, "control"), rapid.SampledFrom([]string{"a", "b", "*"}).Draw(t, "target"),
			at.Add(time.Duration(rapid.IntRange(-1, 1).Draw(t, "hours"))*time.Hour))
	}), 0, 4).Draw(t, "waivers")
	return in
}

func TestAddingAFailingFindingNeverImproves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		// A waiver that covers the new finding may satisfy a control that had no evidence: that is its purpose.
		in.Waivers = nil
		before := Evaluate(in)
		f := drawFinding(t)
		f.Outcome = evidence.OutcomeFail
		f.Severity = rapid.SampledFrom([]evidence.Severity{"critical", "high", "medium"}).Draw(t, "at or above the threshold")
		in.Findings = append(in.Findings, f)
		if after := Evaluate(in); rank(after.Outcome) > rank(before.Outcome) {
			t.Fatalf("from %s to %s", before.Reason, after.Reason)
		}
	})
}

func TestRemovingARunNeverImproves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		if len(in.Runs) == 0 {
			return
		}
		// The run of a collector that failed is no evidence: without it the collector has not run at all.
		name := rapid.SampledFrom(in.Runs).Draw(t, "removed").Collector
		before := Evaluate(in)
		in.Runs = slices.DeleteFunc(slices.Clone(in.Runs), func(r evidence.CollectorRun) bool { return r.Collector == name })
		if after := Evaluate(in); rank(after.Outcome) > rank(before.Outcome) {
			t.Fatalf("from %s to %s", before.Reason, after.Reason)
		}
	})
}

func TestAWaiverChangesNoFinding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		findings := slices.Clone(in.Findings)
		with := Evaluate(in)
		if diff := cmp.Diff(findings, in.Findings); diff != "" {
			t.Fatal(diff)
		}
		ws := in.Waivers
		in.Waivers = nil
		without := Evaluate(in)
		for i, r := range with.Results {
			r.Counts.Waived = 0
			if r.Counts != without.Results[i].Counts {
				t.Fatalf("counts with waivers %+v, without %+v", r.Counts, without.Results[i].Counts)
			}
			if r.Outcome == evidence.ControlPass && without.Results[i].Outcome != evidence.ControlPass {
				t.Fatalf("a waiver made %s read as %s", without.Results[i].Outcome, r.Outcome)
			}
		}
		if len(with.Waivers) != len(ws) {
			t.Fatalf("%d waivers, %d shown", len(ws), len(with.Waivers))
		}
	})
}

func TestPassRestsOnEvidence(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		v := Evaluate(in)
		if v.Outcome != evidence.VerdictPass {
			return
		}
		for _, r := range v.Results {
			if !r.Required {
				continue
			}
			c := r.Counts
			// Without a waiver, PASS needs evidence that says so, and nothing that could not be checked.
			if c.Pass+c.Fail+c.Warn+c.NotApplicable+c.NotChecked == 0 || c.Error > 0 || c.NotChecked > c.Waived {
				t.Fatalf("PASS, but %s has %+v", r.Control, c)
			}
			control, _ := in.Catalog.Control(r.Control)
			if !slices.ContainsFunc(in.Runs, func(x evidence.CollectorRun) bool { return x.Collector == control.Collector }) {
				t.Fatalf("PASS, but the collector of %s did not run", r.Control)
			}
		}
	})
}

func TestOrderIsIrrelevant(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		want := Evaluate(in)
		in.Findings = rapid.Permutation(in.Findings).Draw(t, "findings again")
		in.Runs = rapid.Permutation(in.Runs).Draw(t, "runs again")
		if diff := cmp.Diff(want, Evaluate(in)); diff != "" {
			t.Fatal(diff)
		}
	})
}
