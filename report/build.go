package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// PredicateType is the in-toto predicate type of the signed evidence statement.
const PredicateType = "https://github.com/companyos/helmproof/evidence/v1"

// New makes the view model. It neither changes nor keeps in's slices' order, and
// decides nothing: every outcome is the verdict's or a finding's own.
func New(in Input) *Document {
	b := builder{in: in, catalog: in.Catalog, byID: make(map[string]*evidence.Finding, len(in.Findings)),
		results: make(map[evidence.ControlID]*evidence.ControlResult, len(in.Verdict.Results))}
	if b.catalog == nil {
		b.catalog = &evidence.Catalog{}
	}
	for i := range in.Findings {
		b.byID[in.Findings[i].ID] = &in.Findings[i]
	}
	for i := range in.Verdict.Results {
		b.results[in.Verdict.Results[i].Control] = &in.Verdict.Results[i]
	}
	d := &Document{
		Title:       strings.TrimSpace(in.Release.Chart + " " + in.Release.Version),
		Sealed:      in.BundleID != "",
		Verdict:     Verdict{Mark: VerdictMark(in.Verdict.Outcome), Reason: in.Verdict.Reason, Profile: in.Runs.ProfileName(in.Verdict.Profile, in.Verdict.ProfileDigest)},
		EvaluatedAt: in.Verdict.EvaluatedAt.UTC(),
		Tool:        in.Runs.Tool,
		Images:      in.Release.Images,
		in:          in,
	}
	// The verdict's own word: an unknown outcome is shown as it is, with the mark of INCOMPLETE.
	if in.Verdict.Outcome != "" {
		d.Verdict.Mark.Word = word(string(in.Verdict.Outcome))
	}
	d.Waivers = b.waivers()
	d.Sections, d.Findings = b.sections()
	for i := range d.Waivers { // links need to know what Sections list
		d.Waivers[i].Findings = b.findingRefs(in.Verdict.Waivers[i].Findings)
	}
	d.Groups = b.groups()
	d.Counts = countMarks(slices.Concat(controlsOf(d.Groups)...))
	d.Reasons = reasons(d.Groups)
	d.Conclusion = conclusion(in.Verdict.Outcome, d.Groups)
	d.Drill = newDrill(&in)
	d.NotChecked = b.notChecked()
	d.Severities = bySeverity(d.Sections)
	d.Actions = actions(d.Sections, d.NotChecked, resultsByID(d.Groups))
	d.Outside = b.outside()
	d.Limits = limits(in, len(d.Outside))
	d.Facts = facts(in)
	d.Digests = digests(in)
	d.Verify = verifySteps(in)
	d.Inputs = bundleInputs(in.Verdict.Results)
	d.Runs = runs(in.Runs)
	d.Artifacts = slices.SortedFunc(slices.Values(in.Artifacts), func(a, b Artifact) int { return cmp.Compare(a.Name, b.Name) })
	return d
}

type builder struct {
	in      Input
	catalog *evidence.Catalog
	byID    map[string]*evidence.Finding
	results map[evidence.ControlID]*evidence.ControlResult
	waived  map[string]*Waiver // by finding id
	listed  map[string]bool    // findings that Sections show
}

var safeAnchor = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// anchor makes an HTML id and PDF link name of an id that may be hostile.
func anchor(prefix, id string) string {
	if !safeAnchor.MatchString(id) {
		id = evidence.DigestOf([]byte(id)).Short()
	}
	return prefix + id
}

var shortWord = regexp.MustCompile(`^[A-Za-z][A-Za-z -]{0,23}$`)

// word is s where it can stand beside a shape; what is not a short word is "UNKNOWN".
func word(s string) string {
	if !shortWord.MatchString(s) {
		return "UNKNOWN"
	}
	return s
}

// severity is s, or "unknown", which ranks with critical.
func severity(s evidence.Severity) evidence.Severity {
	if s != "" && s.Validate() != nil {
		return "unknown"
	}
	return s
}

// ref names a control; it is linked when the verdict has a result for it.
func (b *builder) ref(id evidence.ControlID) ControlRef {
	r := ControlRef{ID: string(id)}
	if c, ok := b.catalog.Control(id); ok {
		r.Title = c.Title
	}
	if _, ok := b.results[id]; ok {
		r.Anchor = anchor("c-", string(id))
	}
	return r
}

func (b *builder) refs(ids []evidence.ControlID) []ControlRef {
	out := make([]ControlRef, 0, len(ids))
	for _, id := range ids {
		out = append(out, b.ref(id))
	}
	return out
}

func (b *builder) findingRefs(ids []string) []FindingRef {
	out := make([]FindingRef, 0, len(ids))
	for _, id := range ids {
		r := FindingRef{ID: id}
		if f, ok := b.byID[id]; ok {
			r.Object = f.Target.Object()
		}
		if b.listed[id] {
			r.Anchor = anchor("f-", id)
		}
		out = append(out, r)
	}
	return out
}

func (b *builder) waivers() []Waiver {
	out := make([]Waiver, 0, len(b.in.Verdict.Waivers))
	for i, w := range b.in.Verdict.Waivers {
		v := Waiver{
			Number: i + 1, Control: b.ref(w.Waiver.Control), Target: selectorText(w.Waiver.Target),
			Reason: w.Waiver.Reason, ApprovedBy: w.Waiver.ApprovedBy, ExpiresAt: w.Waiver.ExpiresAt.UTC(), Status: w.Status, Effect: w.Reason,
		}
		switch w.Status {
		case "applied":
			v.Mark = MarkWaived
			v.Mark.Word = "APPLIED"
		case "expired":
			v.Mark = MarkWarn
			v.Mark.Word = "EXPIRED"
		default:
			v.Mark = MarkNotApplicable
			v.Mark.Word = word(strings.ToUpper(w.Status))
		}
		out = append(out, v)
	}
	// Only after all are in place do their addresses stay put.
	b.waived = map[string]*Waiver{}
	for i, w := range b.in.Verdict.Waivers {
		if w.Status != "applied" {
			continue
		}
		for _, id := range w.Findings {
			b.waived[id] = &out[i]
		}
	}
	return out
}

// sections lists failed, warned and waived findings, each once: under the worst
// of its controls, and worst controls first.
func (b *builder) sections() ([]Section, FindingCounts) {
	var n FindingCounts
	order := make(map[evidence.ControlID]int, len(b.in.Verdict.Results))
	ranked := slices.Clone(b.in.Verdict.Results)
	slices.SortStableFunc(ranked, func(x, y evidence.ControlResult) int {
		return cmp.Or(compareRequired(x.Required, y.Required), cmp.Compare(controlRank(x.Outcome), controlRank(y.Outcome)),
			cmp.Compare(b.severity(x.Control), b.severity(y.Control)))
	})
	list := make([]Section, len(ranked)+1) // the last is for findings of no control in the profile
	for i, r := range ranked {
		order[r.Control] = i
		list[i] = Section{ControlRef: b.ref(r.Control), Mark: ControlMark(r.Outcome), Group: b.group(r.Control)}
	}
	list[len(ranked)].Title = "Findings that no control of this profile asks about"
	list[len(ranked)].Mark = MarkNotApplicable
	b.listed = map[string]bool{}
	for i := range b.in.Findings {
		f := &b.in.Findings[i]
		n.Total++
		w := b.waived[f.ID]
		switch {
		case w != nil:
			n.Waived++
		case f.Outcome == evidence.OutcomeFail:
			n.Failed++
		case f.Outcome == evidence.OutcomeWarn:
			n.Warned++
		case f.Outcome == evidence.OutcomePass:
			n.Passed++
			continue
		case f.Outcome == evidence.OutcomeNotApplicable:
			n.NotApplicable++
			continue
		default:
			n.NotChecked++
			continue
		}
		b.listed[f.ID] = true
		at := len(ranked)
		for _, c := range f.Controls {
			if o, ok := order[c]; ok && o < at {
				at = o
			}
		}
		list[at].Findings = append(list[at].Findings, b.finding(f, w))
	}
	list = slices.DeleteFunc(list, func(s Section) bool { return len(s.Findings) == 0 })
	// Failed before waived before warned, inside each section.
	for i := range list {
		slices.SortStableFunc(list[i].Findings, func(x, y Finding) int {
			return cmp.Or(cmp.Compare(listRank(x.Mark), listRank(y.Mark)), cmp.Compare(x.Severity.Rank(), y.Severity.Rank()))
		})
		list[i].Severity = list[i].Findings[0].Severity
		for _, f := range list[i].Findings {
			if f.Severity.Rank() < list[i].Severity.Rank() {
				list[i].Severity = f.Severity
			}
		}
	}
	return list, n
}

func (b *builder) finding(f *evidence.Finding, w *Waiver) Finding {
	v := Finding{
		ID: f.ID, Anchor: anchor("f-", f.ID), Mark: FindingMark(f.Outcome), Severity: severity(f.Severity), Rule: f.Rule,
		Controls: b.refs(f.Controls), Object: f.Target.Object(), Location: location(f.Target),
		Message: f.Message, Remediation: f.Remediation, Evidence: pointers(f.Evidence), Waiver: w,
	}
	if w != nil {
		v.Mark = MarkWaived
	}
	if v.Object == "" {
		v.Object = b.in.Release.Chart
	}
	if v.Remediation == "" { // the control's own is better than none
		for _, id := range f.Controls {
			if c, ok := b.catalog.Control(id); ok && c.Remediation != "" {
				v.Remediation = c.Remediation
				break
			}
		}
	}
	return v
}

func location(t evidence.Target) string {
	if t.File != "" && t.Line > 0 {
		return fmt.Sprintf("%s:%d", t.File, t.Line)
	}
	return t.File
}

func pointers(ps []evidence.Pointer) []Evidence {
	out := make([]Evidence, 0, len(ps))
	for _, p := range ps {
		e := Evidence{Artifact: p.Artifact, Digest: p.Digest}
		switch {
		case strings.Contains(p.Lines, "-"):
			e.Where = "lines " + p.Lines
		case p.Lines != "":
			e.Where = "line " + p.Lines
		}
		if p.Pointer != "" {
			e.Where = strings.TrimPrefix(e.Where+", at "+p.Pointer, ", ")
		}
		out = append(out, e)
	}
	return out
}

// groups are the verdict's results by group of the catalog, in catalog order;
// results whose control the catalog lacks come last.
func (b *builder) groups() []Group {
	var out []Group
	at := map[string]int{}
	for _, g := range b.catalog.Groups {
		at[g.ID] = len(out)
		out = append(out, Group{ID: g.ID, Title: g.Title})
	}
	for _, r := range b.in.Verdict.Results {
		c, _ := b.catalog.Control(r.Control)
		group := b.group(r.Control)
		i, known := at[group]
		if !known {
			i = len(out)
			at[group] = i
			out = append(out, Group{ID: group, Title: group})
		}
		v := Control{
			ControlRef: b.ref(r.Control), Mark: ControlMark(r.Outcome), Required: r.Required, Severity: severity(c.Severity),
			Reason: r.Reason, Statement: c.Statement, Remediation: c.Remediation, Frameworks: b.frameworks(c),
			Counts: r.Counts, Findings: b.findingRefs(r.Findings), Evidence: r.Evidence,
		}
		out[i].Controls = append(out[i].Controls, v)
	}
	out = slices.DeleteFunc(out, func(g Group) bool { return len(g.Controls) == 0 })
	for i := range out {
		out[i].Counts = countMarks(out[i].Controls)
	}
	return out
}

// group is the group of a control; of one that the catalog lacks, what its id begins with.
func (b *builder) group(id evidence.ControlID) string {
	if c, ok := b.catalog.Control(id); ok {
		return c.Group
	}
	group, _, _ := strings.Cut(string(id), "-")
	return group
}

func (b *builder) frameworks(c evidence.Control) []FrameworkRef {
	var out []FrameworkRef
	seen := map[string]bool{}
	add := func(f evidence.Framework) {
		if refs := c.Frameworks[f.ID]; len(refs) > 0 && !seen[f.ID] {
			out = append(out, FrameworkRef{ID: f.ID, Title: f.Title, URL: f.URL, Refs: refs})
		}
		seen[f.ID] = true
	}
	for _, f := range b.catalog.Frameworks {
		add(f)
	}
	rest := make([]string, 0, len(c.Frameworks))
	for id := range c.Frameworks {
		rest = append(rest, id)
	}
	slices.Sort(rest)
	for _, id := range rest {
		add(evidence.Framework{ID: id, Title: id})
	}
	return out
}

func (b *builder) notChecked() []NotChecked {
	var out []NotChecked
	explained := map[evidence.ControlID]bool{}
	for _, r := range b.in.Runs.Collectors {
		if r.Outcome != evidence.OutcomePass && r.Outcome != evidence.OutcomeNotApplicable {
			for _, c := range b.controlsOf(r.Collector) {
				explained[c] = true
			}
			out = append(out, NotChecked{What: "collector " + r.Collector, Mark: FindingMark(r.Outcome), Why: cmp.Or(r.Error, "it gave no result"),
				Controls: b.refs(b.controlsOf(r.Collector))})
		}
	}
	for i := range b.in.Findings {
		f := &b.in.Findings[i]
		switch f.Outcome {
		case evidence.OutcomeFail, evidence.OutcomeWarn, evidence.OutcomePass, evidence.OutcomeNotApplicable:
			continue
		}
		if b.waived[f.ID] != nil {
			continue // listed with the findings
		}
		out = append(out, NotChecked{What: cmp.Or(f.Target.String(), f.Rule), Controls: b.refs(f.Controls), Mark: FindingMark(f.Outcome), Why: f.Message, Evidence: pointers(f.Evidence)})
		for _, c := range f.Controls {
			explained[c] = true
		}
	}
	for _, r := range b.in.Verdict.Results {
		if ControlMark(r.Outcome) == MarkIncomplete && !explained[r.Control] {
			out = append(out, NotChecked{What: "control " + string(r.Control), Controls: []ControlRef{b.ref(r.Control)}, Mark: MarkNotChecked, Why: r.Reason})
		}
	}
	return out
}

// controlsOf lists the controls of the verdict that a collector decides.
func (b *builder) controlsOf(collector string) []evidence.ControlID {
	var out []evidence.ControlID
	for _, r := range b.in.Verdict.Results {
		if c, ok := b.catalog.Control(r.Control); ok && c.Collector == collector {
			out = append(out, r.Control)
		}
	}
	return out
}

func (b *builder) outside() []ControlRef {
	var out []ControlRef
	for _, c := range b.catalog.Controls {
		if _, ok := b.results[c.ID]; !ok {
			out = append(out, ControlRef{ID: string(c.ID), Title: c.Title})
		}
	}
	return out
}

func (b *builder) severity(id evidence.ControlID) int {
	c, ok := b.catalog.Control(id)
	if !ok {
		return evidence.SeverityCritical.Rank()
	}
	return c.Severity.Rank()
}

func controlRank(o evidence.ControlOutcome) int {
	m := ControlMark(o)
	return slices.IndexFunc(controlMarks, func(x Mark) bool { return x.Key == m.Key })
}

// listRank orders findings inside a section.
func listRank(m Mark) int {
	switch m.Key {
	case MarkFail.Key:
		return 0
	case MarkWarn.Key:
		return 1
	}
	return 2
}

func compareRequired(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
