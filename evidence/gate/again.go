package gate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// Replayed is what the rules of this version derive from sealed artifacts.
type Replayed struct {
	Findings []evidence.Finding
	Runs     []evidence.CollectorRun
	// Catalog is this version's, which gives these rules to controls; nil: the
	// evidence's own.
	Catalog *evidence.Catalog
}

// Again judges evidence that other rules sealed. It returns the verdict that
// counts: for each control the worst of what was sealed, of what this gate makes
// of the sealed findings, and of what it makes of the replayed ones. So nobody
// gains by claiming other rules. worse lists the controls for which that is worse
// than what was sealed, or that now fail at more targets; wording is not compared.
//
// in holds what the evidence was sealed with: profile, catalog, findings, runs,
// waivers and time.
func Again(in Input, sealed evidence.Verdict, now Replayed) (counts evidence.Verdict, worse []evidence.Worse) {
	again := in
	again.Findings, again.Runs = now.Findings, now.Runs
	if now.Catalog != nil {
		again.Catalog = now.Catalog
	}
	replayed := Evaluate(again)
	counts, worse = Worst(sealed, Evaluate(in), replayed)
	have, want := worstByTarget(in.Findings), worstByTarget(now.Findings)
	for _, r := range counts.Results {
		if slices.ContainsFunc(worse, func(w evidence.Worse) bool { return w.Control == r.Control }) {
			continue
		}
		var more []string
		for target, outcome := range want[r.Control] {
			was, known := have[r.Control][target]
			if bad := outcome.Rank() < evidence.OutcomePass.Rank(); bad && (!known || outcome.Rank() < was.Rank()) {
				more = append(more, target)
			}
		}
		if len(more) > 0 {
			slices.Sort(more)
			was := r.Outcome
			if i := indexOf(sealed.Results, r.Control); i >= 0 {
				was = sealed.Results[i].Outcome
			}
			worse = append(worse, evidence.Worse{Control: r.Control, Sealed: was, Now: r.Outcome,
				Reason: fmt.Sprintf("worse at %s: %s", plural(len(more), "target", "targets"), clip(strings.Join(more, ", ")))})
		}
	}
	slices.SortFunc(worse, func(a, b evidence.Worse) int { return cmp.Compare(a.Control, b.Control) })
	return counts, worse
}

// Worst joins verdicts about the same controls: for each control the worst
// result, the later one where two are as bad. worse lists the controls for which
// that is worse than in the first.
func Worst(sealed evidence.Verdict, others ...evidence.Verdict) (counts evidence.Verdict, worse []evidence.Worse) {
	counts = others[len(others)-1]
	counts.Results = slices.Clone(counts.Results)
	for i, r := range counts.Results {
		for _, v := range slices.Backward(others[:len(others)-1]) {
			if k := indexOf(v.Results, r.Control); k >= 0 {
				r = worseResult(r, v.Results[k])
			}
		}
		was := r
		if k := indexOf(sealed.Results, r.Control); k >= 0 {
			was = sealed.Results[k]
		} else {
			was.Outcome = evidence.ControlPass // nothing was said of it, which hides nothing
		}
		if r.Outcome.Rank() < was.Outcome.Rank() {
			worse = append(worse, evidence.Worse{Control: r.Control, Sealed: was.Outcome, Now: r.Outcome, Reason: r.Reason})
		}
		counts.Results[i] = worseResult(r, was)
	}
	counts.Outcome, counts.Reason = conclude(counts.Results)
	return counts, worse
}

// Consistent holds what has to be true of every sealed verdict, whatever rules
// made it: it is about the profile, the catalog and the waivers that were sealed
// with it, judges each control of the profile once, and its outcome follows from
// its own results.
func Consistent(v evidence.Verdict, in Input) error {
	switch {
	case v.Profile != in.Profile.Name || v.ProfileDigest != in.ProfileDigest:
		return fmt.Errorf("the verdict is by profile %s (%s), sealed is %s (%s)", v.Profile, v.ProfileDigest.Short(), in.Profile.Name, in.ProfileDigest.Short())
	case v.CatalogDigest != in.CatalogDigest:
		return fmt.Errorf("the verdict is by the catalog %s, sealed is %s", v.CatalogDigest.Short(), in.CatalogDigest.Short())
	case len(v.Results) != len(in.Profile.Controls):
		return fmt.Errorf("the verdict judges %d controls, the profile has %d", len(v.Results), len(in.Profile.Controls))
	}
	for _, pc := range in.Profile.Controls {
		if i := indexOf(v.Results, pc.ID); i < 0 {
			return fmt.Errorf("the verdict says nothing of %s, which its profile names", pc.ID)
		} else if v.Results[i].Required == pc.Optional {
			return fmt.Errorf("the verdict and its profile disagree whether %s is required", pc.ID)
		}
	}
	for _, w := range v.Waivers {
		if !slices.ContainsFunc(in.Waivers, func(x evidence.Waiver) bool { return x.ExpiresAt.Equal(w.Waiver.ExpiresAt) && same(x, w.Waiver) }) {
			return fmt.Errorf("the verdict shows a waiver for %s that was not sealed with it", w.Waiver.Control)
		}
	}
	if outcome, _ := conclude(v.Results); outcome != v.Outcome {
		return fmt.Errorf("the verdict says %s, its own results give %s", v.Outcome, outcome)
	}
	return nil
}

// same compares waivers but for when they expire.
func same(a, b evidence.Waiver) bool {
	a.ExpiresAt = b.ExpiresAt
	return a == b
}

// worseResult is a, or b if that is worse.
func worseResult(a, b evidence.ControlResult) evidence.ControlResult {
	if b.Outcome.Rank() < a.Outcome.Rank() {
		return b
	}
	return a
}

func indexOf(results []evidence.ControlResult, id evidence.ControlID) int {
	return slices.IndexFunc(results, func(r evidence.ControlResult) bool { return r.Control == id })
}

// worstByTarget is the worst outcome of each control at each target. The line does
// not count: it moves with what stands above.
func worstByTarget(list []evidence.Finding) map[evidence.ControlID]map[string]evidence.Outcome {
	out := map[evidence.ControlID]map[string]evidence.Outcome{}
	for _, f := range list {
		t := f.Target
		t.Line, t.Column, t.EndLine = 0, 0, 0
		key := strings.TrimSpace(t.APIVersion + " " + t.Object())
		for _, id := range f.Controls {
			if out[id] == nil {
				out[id] = map[string]evidence.Outcome{}
			}
			if was, ok := out[id][key]; !ok || f.Outcome.Rank() < was.Rank() {
				out[id][key] = f.Outcome
			}
		}
	}
	return out
}
