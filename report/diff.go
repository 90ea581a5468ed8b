package report

import (
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
)

// DiffJSON is what changed from one bundle to another, and what diff prints with
// -o json: docs/schemas/diff.schema.json. It may only grow.
type DiffJSON struct {
	A        DiffSide           `json:"a"`
	B        DiffSide           `json:"b"`
	Controls []ControlDiff      `json:"controls"`
	New      []evidence.Finding `json:"new"`  // failing, unchecked or warning in B only
	Gone     []evidence.Finding `json:"gone"` // … in A only
	// NewFailures are the ids of those of New that fail in B, and did not in A on another
	// line, with another tag or in another file: with one of them diff ends in exit code 3.
	NewFailures []string `json:"newFailures,omitempty"`
	// Drill is what two drills measured, where both bundles are of drills.
	Drill *DrillDiff `json:"drill,omitempty"`
}

// DiffSide is one of the two bundles.
type DiffSide struct {
	Bundle  evidence.Digest         `json:"bundle"`
	Chart   string                  `json:"chart"`
	Version string                  `json:"version"`
	Outcome evidence.VerdictOutcome `json:"outcome"`
}

// ControlDiff is a control whose outcome changed; an outcome is empty where the
// bundle does not judge the control.
type ControlDiff struct {
	Control evidence.ControlID      `json:"control"`
	From    evidence.ControlOutcome `json:"from"`
	To      evidence.ControlOutcome `json:"to"`
}

// Diff says what changed from a to b: controls in the order of b's verdict, then
// those of a alone.
func Diff(a, b *Input) DiffJSON {
	d := DiffJSON{A: sideOf(a), B: sideOf(b), Controls: []ControlDiff{}, New: wantOnly(b, a), Gone: wantOnly(a, b), Drill: diffDrills(a, b)}
	d.NewFailures = gate.NewFailures(a.Findings, b.Findings, a.Release.Namespace, b.Release.Namespace)
	from := map[evidence.ControlID]evidence.ControlOutcome{}
	for _, r := range a.Verdict.Results {
		from[r.Control] = r.Outcome
	}
	for _, r := range b.Verdict.Results {
		if from[r.Control] != r.Outcome {
			d.Controls = append(d.Controls, ControlDiff{r.Control, from[r.Control], r.Outcome})
		}
		delete(from, r.Control)
	}
	for _, r := range a.Verdict.Results {
		if _, only := from[r.Control]; only {
			d.Controls = append(d.Controls, ControlDiff{r.Control, r.Outcome, ""})
		}
	}
	return d
}

func sideOf(in *Input) DiffSide {
	return DiffSide{Bundle: in.BundleID, Chart: in.Release.Chart, Version: in.Release.Version, Outcome: in.Verdict.Outcome}
}

// wantOnly returns the findings that want attention in a and not in b.
func wantOnly(a, b *Input) []evidence.Finding {
	wants := func(f evidence.Finding) bool { return f.Outcome.Rank() < evidence.OutcomePass.Rank() }
	known := map[string]bool{}
	for _, f := range b.Findings {
		if wants(f) {
			known[f.ID] = true
		}
	}
	out := []evidence.Finding{}
	for _, f := range a.Findings {
		if wants(f) && !known[f.ID] {
			out = append(out, f)
		}
	}
	return out
}
