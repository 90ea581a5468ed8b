// Package gate decides: it turns findings, collector runs and waivers into a
// verdict, by a profile and at a given time. It does no I/O and reads no clock,
// so that anyone who has the sealed evidence reaches the same verdict. What
// could not be checked never reads as a pass.
package gate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// Input is all that a verdict depends on.
type Input struct {
	Profile       *evidence.Profile
	ProfileDigest evidence.Digest
	Catalog       *evidence.Catalog
	CatalogDigest evidence.Digest
	Findings      []evidence.Finding      // in any order
	Runs          []evidence.CollectorRun // a control whose collector has no run here is incomplete
	Waivers       []evidence.Waiver
	Baseline      *evidence.BaselineRelease // what is known of the release; nil: no baseline was given
	Namespace     string                    // the release's, in which a baseline's objects are
	At            time.Time                 // the time that waivers expire against
}

// Evaluate judges every control of the profile.
//
// For one control the first of these that holds decides: a failing finding at
// or above the threshold that no waiver covers (fail); a collector that failed
// or did not run, no finding by a rule that the catalog gives to the control, or a
// finding that is an error or was not checked and is not waived (incomplete); a waived finding (waived); a failing
// finding below the threshold or a warning, or one that its object declares on purpose where
// the profile takes that for an answer (warn); nothing but findings that do
// not apply (not-applicable); otherwise pass.
//
// What a baseline knows is accepted, as a waived finding is, where the profile takes
// baselines. Otherwise it decides nothing, and Verdict.Baseline says what it would.
//
// The verdict is FAIL if a required control fails, else INCOMPLETE if one is
// incomplete, else PASS. Optional controls decide nothing.
func Evaluate(in Input) evidence.Verdict {
	v := evidence.Verdict{
		ProfileDigest: in.ProfileDigest, CatalogDigest: in.CatalogDigest, EvaluatedAt: in.At.UTC(),
		Results: []evidence.ControlResult{},
	}
	if in.Profile == nil || in.Catalog == nil {
		v.Outcome, v.Reason = evidence.VerdictIncomplete, "no profile and catalog to judge by"
		return v
	}
	v.Profile = in.Profile.Name
	byControl := groupFindings(in.Findings)
	rules := evidence.NewRuleControls(in.Catalog)
	judgeAll := func(known *knownSet) (results []evidence.ControlResult, waivers []evidence.WaiverResult) {
		ws := newWaiverSet(in.Waivers, in.Profile, in.At)
		ws.catalog = in.Catalog
		for _, pc := range inCatalogOrder(in.Profile, in.Catalog) {
			results = append(results, judge(subject{
				pc: pc, profile: in.Profile, catalog: in.Catalog, rules: rules, findings: byControl[pc.ID], runs: in.Runs, waivers: ws, known: known,
			}))
		}
		return results, ws.results()
	}
	var known *knownSet
	if in.Profile.Baseline {
		known = newKnownSet(in.Baseline, in.Namespace)
	}
	results, waivers := judgeAll(known)
	v.Results, v.Waivers = append(v.Results, results...), waivers
	v.Outcome, v.Reason = conclude(v.Results)
	if in.Baseline != nil {
		if known == nil {
			known = newKnownSet(in.Baseline, in.Namespace)
			results, _ = judgeAll(known)
		}
		setBaseline(&v, results, in.Profile.Baseline, known)
	}
	return v
}

// inCatalogOrder returns the profile's controls in the catalog's order; those
// that the catalog lacks come last, by id.
func inCatalogOrder(p *evidence.Profile, c *evidence.Catalog) []evidence.ProfileControl {
	place := make(map[evidence.ControlID]int, len(c.Controls))
	for i, x := range c.Controls {
		place[x.ID] = i - len(c.Controls)
	}
	out := slices.Clone(p.Controls)
	slices.SortStableFunc(out, func(a, b evidence.ProfileControl) int {
		return cmp.Or(cmp.Compare(place[a.ID], place[b.ID]), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// groupFindings sorts, so that the order in which findings came does not show.
func groupFindings(in []evidence.Finding) map[evidence.ControlID][]evidence.Finding {
	out := map[evidence.ControlID][]evidence.Finding{}
	for _, f := range in {
		if f.ID == "" {
			f.ID = evidence.FindingID(f)
		}
		named := slices.Clone(f.Controls)
		slices.Sort(named)
		for _, id := range slices.Compact(named) {
			out[id] = append(out[id], f)
		}
	}
	for _, fs := range out {
		slices.SortFunc(fs, func(a, b evidence.Finding) int {
			return cmp.Or(cmp.Compare(a.Outcome.Rank(), b.Outcome.Rank()), cmp.Compare(a.Severity.Rank(), b.Severity.Rank()),
				cmp.Compare(a.ID, b.ID), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Message, b.Message))
		})
	}
	return out
}

// subject is one control with everything that bears on it.
type subject struct {
	pc       evidence.ProfileControl
	profile  *evidence.Profile
	catalog  *evidence.Catalog
	rules    *evidence.RuleControls // the catalog's
	findings []evidence.Finding
	runs     []evidence.CollectorRun
	waivers  *waiverSet
	known    *knownSet // what a baseline knows, which is accepted; nil: nothing is
}

// decided reports whether a rule of the control's own was judged. Findings of
// other rules, such as own policies that name the control, can only be against it.
func (s *subject) decided() bool {
	return slices.ContainsFunc(s.findings, func(f evidence.Finding) bool { return slices.Contains(s.rules.Of(f.Rule), s.pc.ID) })
}

// tally sorts a control's findings by what they mean for it.
type tally struct {
	fails   []evidence.Finding // at or above the threshold, not waived
	below   []evidence.Finding // failing below the threshold, not waived
	warns   []evidence.Finding
	unknown []evidence.Finding // error, not checked, or an outcome that nobody knows
	waived  []waived
	known   []evidence.Finding // accepted, since a baseline knows them
	// declared fail, on purpose and with a reason, which the profile takes for an answer.
	declared []evidence.Finding
}

type waived struct {
	finding evidence.Finding
	waiver  evidence.Waiver
}

func judge(s subject) evidence.ControlResult {
	r := evidence.ControlResult{Control: s.pc.ID, Required: !s.pc.Optional}
	threshold := cmp.Or(s.pc.FailOn, s.profile.FailOn)
	if threshold.Validate() != nil {
		threshold = evidence.SeverityInfo // undecided means strict
	}
	t := count(s, threshold, &r.Counts)
	broken := collectorProblem(s)

	switch {
	case len(t.fails) > 0:
		r.Outcome, r.Findings = evidence.ControlFail, ids(t.fails)
		r.Reason = fmt.Sprintf("%s (%s)", plural(len(t.fails), "finding fails", "findings fail"), bySeverity(t.fails))
		if n := len(t.waived); n > 0 {
			r.Reason += fmt.Sprintf("; %d more waived", n)
		}
		if n := len(t.known); n > 0 {
			r.Reason += fmt.Sprintf("; %d more in the baseline", n)
		}
		if n := len(t.unknown); n > 0 {
			r.Reason += fmt.Sprintf("; %d could not be checked", n)
		}
		if broken != "" {
			r.Reason += "; " + broken
		}
	case broken != "":
		r.Outcome, r.Reason, r.Findings = evidence.ControlIncomplete, broken, ids(t.unknown)
	case len(s.findings) == 0:
		r.Outcome, r.Reason = evidence.ControlIncomplete, "no evidence: no finding names this control"
	case len(t.unknown) > 0:
		r.Outcome, r.Findings = evidence.ControlIncomplete, ids(t.unknown)
		r.Reason = fmt.Sprintf("%s could not be made", plural(len(t.unknown), "check", "checks"))
		if m := t.unknown[0].Message; m != "" {
			r.Reason += ": " + clip(m)
		}
	case !s.decided():
		r.Outcome, r.Findings = evidence.ControlIncomplete, ids(s.findings)
		r.Reason = "no evidence: no finding is of a rule of this control"
	case len(t.waived) > 0 || len(t.known) > 0:
		r.Outcome, r.Reason = evidence.ControlWaived, waivedReason(t.waived)
		for _, w := range t.waived {
			r.Findings = append(r.Findings, w.finding.ID)
		}
		if n := len(t.known); n > 0 {
			r.Findings = append(r.Findings, ids(t.known)...)
			r.Reason = joined(r.Reason, fmt.Sprintf("%s in the baseline of %s", plural(n, "finding", "findings"), day(s.known.at)))
		}
		if n := len(t.below) + len(t.warns) + len(t.declared); n > 0 {
			r.Findings = append(r.Findings, ids(slices.Concat(t.below, t.warns, t.declared))...)
			r.Reason += "; " + plural(n, "warning more", "warnings more")
		}
		slices.Sort(r.Findings)
		r.Findings = slices.Compact(r.Findings)
	case len(t.below) > 0 || len(t.warns) > 0 || len(t.declared) > 0:
		r.Outcome, r.Findings = evidence.ControlWarn, ids(slices.Concat(t.below, t.warns, t.declared))
		var parts []string
		if n := len(t.declared); n > 0 {
			parts = append(parts, fmt.Sprintf("%s with a reason: %s", plural(n, "exception is declared", "exceptions are declared"), clip(t.declared[0].Declared)))
		}
		if len(t.below) > 0 {
			parts = append(parts, fmt.Sprintf("%s below the threshold %s (%s)", plural(len(t.below), "finding fails", "findings fail"), threshold, bySeverity(t.below)))
		}
		if len(t.warns) > 0 {
			parts = append(parts, plural(len(t.warns), "warning", "warnings"))
		}
		r.Reason = strings.Join(parts, "; ")
	case r.Counts.Pass == 0:
		r.Outcome, r.Reason = evidence.ControlNotApplicable, "nothing to check: "+plural(r.Counts.NotApplicable, "finding, not applicable", "findings, all not applicable")
	default:
		r.Outcome, r.Reason = evidence.ControlPass, plural(r.Counts.Pass, "check passes", "checks pass")
	}
	return r
}

func count(s subject, threshold evidence.Severity, c *evidence.Counts) tally {
	var t tally
	for _, f := range s.findings {
		switch f.Outcome {
		case evidence.OutcomePass:
			c.Pass++
		case evidence.OutcomeNotApplicable:
			c.NotApplicable++
		case evidence.OutcomeWarn:
			c.Warn++
			t.warns = append(t.warns, f)
		case evidence.OutcomeFail, evidence.OutcomeNotChecked:
			fail := f.Outcome == evidence.OutcomeFail
			if fail {
				c.Fail++
			} else {
				c.NotChecked++
			}
			known := s.known.accept(s.pc.ID, f)
			w, ok := s.waivers.accept(s.pc.ID, f)
			switch {
			case ok:
				c.Waived++
				t.waived = append(t.waived, waived{f, w})
			case known:
				c.Known++
				t.known = append(t.known, f)
			case !fail:
				t.unknown = append(t.unknown, f)
			case s.pc.Declared && f.Declared != "":
				t.declared = append(t.declared, f)
			case f.Severity.AtLeast(threshold):
				t.fails = append(t.fails, f)
			default:
				t.below = append(t.below, f)
			}
		default:
			c.Error++
			t.unknown = append(t.unknown, f)
		}
	}
	return t
}

// collectorProblem says why the control's collector cannot vouch for it, or nothing.
func collectorProblem(s subject) string {
	control, ok := s.catalog.Control(s.pc.ID)
	if !ok {
		return fmt.Sprintf("control %s is not in the catalog", s.pc.ID)
	}
	ran, failed := false, []string{}
	for _, run := range s.runs {
		if run.Collector != control.Collector {
			continue
		}
		ran = true
		if run.Outcome != evidence.OutcomePass && run.Outcome != evidence.OutcomeNotApplicable {
			failed = append(failed, cmp.Or(clip(run.Error), "no reason given"))
		}
	}
	switch {
	case !ran:
		return fmt.Sprintf("collector %s did not run", control.Collector)
	case len(failed) > 0:
		return fmt.Sprintf("collector %s failed: %s", control.Collector, slices.Min(failed))
	}
	return ""
}

func conclude(results []evidence.ControlResult) (evidence.VerdictOutcome, string) {
	required := 0
	by := map[evidence.ControlOutcome][]string{}
	for _, r := range results {
		if r.Required {
			required++
			by[r.Outcome] = append(by[r.Outcome], string(r.Control))
		}
	}
	failed, incomplete := by[evidence.ControlFail], by[evidence.ControlIncomplete]
	are := plural(required, "required control", "required controls")
	switch {
	case required == 0:
		return evidence.VerdictIncomplete, "the profile requires no control"
	case len(failed) > 0:
		reason := fmt.Sprintf("%d of %s failed: %s", len(failed), are, strings.Join(failed, ", "))
		if len(incomplete) > 0 {
			reason += fmt.Sprintf("; %d incomplete: %s", len(incomplete), strings.Join(incomplete, ", "))
		}
		return evidence.VerdictFail, reason
	case len(incomplete) > 0:
		return evidence.VerdictIncomplete, fmt.Sprintf("%d of %s incomplete: %s", len(incomplete), are, strings.Join(incomplete, ", "))
	}
	var parts []string
	for _, p := range []struct {
		outcome evidence.ControlOutcome
		text    string
	}{
		{evidence.ControlPass, "passed"}, {evidence.ControlWarn, "with warnings"},
		{evidence.ControlWaived, "waived"}, {evidence.ControlNotApplicable, "not applicable"},
	} {
		if n := len(by[p.outcome]); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, p.text))
		}
	}
	return evidence.VerdictPass, fmt.Sprintf("%s satisfied: %s", are, strings.Join(parts, ", "))
}

// joined joins what is not empty.
func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

func ids(fs []evidence.Finding) []string {
	var out []string
	for _, f := range fs {
		out = append(out, f.ID)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func bySeverity(fs []evidence.Finding) string {
	n := map[evidence.Severity]int{}
	for _, f := range fs {
		if f.Severity.Validate() != nil {
			f.Severity = evidence.SeverityCritical // as Severity.Rank has it
		}
		n[f.Severity]++
	}
	var parts []string
	for _, s := range []evidence.Severity{evidence.SeverityCritical, evidence.SeverityHigh, evidence.SeverityMedium, evidence.SeverityLow, evidence.SeverityInfo} {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// clip keeps a reason readable: one line, at most 200 characters.
func clip(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if r := []rune(s); len(r) > 200 {
		return string(r[:199]) + "…"
	}
	return s
}
