package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/report"
)

// shownTasks is how many things to do first the terminal names.
const shownTasks = 5

// task is one thing to do for a required control that does not hold, and how many
// findings it clears.
type task struct {
	control  evidence.ControlID
	mark     report.Mark
	severity evidence.Severity
	text     string
	findings int
	of       map[evidence.Severity]int // the findings by severity
}

// worstFirst are the controls that are no plain pass: required ones before optional
// ones, failed before unchecked, critical before low.
func worstFirst(v *evidence.Verdict, cat *evidence.Catalog, byID map[string]evidence.Finding) []evidence.ControlResult {
	results := slices.DeleteFunc(slices.Clone(v.Results), func(r evidence.ControlResult) bool { return rank(r.Outcome) < 0 })
	optional := func(r evidence.ControlResult) int {
		if r.Required {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(results, func(a, b evidence.ControlResult) int {
		return cmp.Or(cmp.Compare(optional(a), optional(b)), cmp.Compare(rank(a.Outcome), rank(b.Outcome)),
			cmp.Compare(severityOf(a, cat, byID).Rank(), severityOf(b, cat, byID).Rank()))
	})
	return results
}

// severityOf is the worst severity of the findings that a control fails by, else the
// control's own.
func severityOf(r evidence.ControlResult, cat *evidence.Catalog, byID map[string]evidence.Finding) evidence.Severity {
	var worst evidence.Severity
	for _, id := range r.Findings {
		if f := byID[id]; f.Outcome == evidence.OutcomeFail && (worst == "" || f.Severity.Rank() < worst.Rank()) {
			worst = f.Severity
		}
	}
	c, _ := cat.Control(r.Control)
	return cmp.Or(worst, c.Severity)
}

// tasks are the things to do, those first that matter most: failures by severity, then
// by how many findings each clears, then what could not be checked. A finding counts
// once, for the worst of its controls. What is optional decides nothing and is no task.
func tasks(v *evidence.Verdict, cat *evidence.Catalog, byID map[string]evidence.Finding) []task {
	var out []task
	seen, fails := map[string]bool{}, map[evidence.ControlID]bool{}
	for _, r := range v.Results {
		fails[r.Control] = r.Required && r.Outcome == evidence.ControlFail
	}
	for _, r := range worstFirst(v, cat, byID) {
		switch {
		case !r.Required, strings.HasPrefix(r.Reason, gate.LeftOut):
		case r.Outcome == evidence.ControlIncomplete:
			out = append(out, task{r.Control, report.ControlMark(r.Outcome), severityOf(r, cat, byID), r.Reason, 0, nil})
		case r.Outcome == evidence.ControlFail:
			begin := len(out)
			for _, id := range r.Findings {
				f, ok := byID[id]
				if !ok || f.Outcome != evidence.OutcomeFail || seen[id] {
					continue
				}
				if len(f.Controls) > 0 && f.Controls[0] != r.Control && fails[f.Controls[0]] {
					continue // it is counted there
				}
				seen[id] = true
				text := cmp.Or(f.Remediation, f.Message)
				i := slices.IndexFunc(out[begin:], func(t task) bool { return t.text == text }) + begin
				if i < begin {
					i = len(out)
					out = append(out, task{r.Control, report.MarkFail, f.Severity, text, 0, map[evidence.Severity]int{}})
				}
				out[i].findings++
				out[i].of[f.Severity]++
				if f.Severity.Rank() < out[i].severity.Rank() {
					out[i].severity = f.Severity
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b task) int {
		none := func(t task) int { return min(t.findings, 1) }
		return cmp.Or(cmp.Compare(none(b), none(a)), cmp.Compare(a.severity.Rank(), b.severity.Rank()), cmp.Compare(b.findings, a.findings))
	})
	return out
}

// printFirst is what there is to do first: why the verdict is what it is, in a line,
// and the five things to do that matter most, with the findings that each clears. One
// thing alone is said by its control.
func printFirst(t *terminal, v *evidence.Verdict, cat *evidence.Catalog, byID map[string]evidence.Finding) {
	list := tasks(v, cat, byID)
	if len(list) < 2 {
		return
	}
	t.line("")
	t.para(t.mark(report.VerdictMark(v.Outcome), 0)+"  ", "  ", whyText(v, list))
	t.line("")
	total, first := 0, 0
	for _, k := range list {
		total += k.findings
	}
	shown := list[:min(len(list), shownTasks)]
	const effect = 14 // columns of "  clears 1,234"
	if title := "Do first"; t.width >= tableWidth {
		t.line(t.bold(title) + t.faint(pad(title, t.width-len("clears"))+"clears"))
	} else {
		t.line(t.bold(title))
	}
	for i, k := range shown {
		first += k.findings
		clears := plural(k.findings, "finding")
		if k.findings == 0 {
			clears = "unchecked"
		}
		head := fmt.Sprintf("%d  %s  %-6s", i+1, t.severity(k.severity), k.control)
		if t.width < tableWidth {
			t.line(head + "  " + clears)
			t.para("   ", "   ", k.text)
			continue
		}
		indent := columns(head) + 2
		for n, l := range wrap(printable(k.text), t.width-indent-effect) {
			if n == 0 {
				t.line(head + "  " + l + pad(l, t.width-indent-len(clears)) + clears)
			} else {
				t.line(strings.Repeat(" ", indent) + l)
			}
		}
	}
	if len(list) > len(shown) && first > 0 {
		t.para("   ", "   ", fmt.Sprintf("These clear %d of %s. Below are all controls that do not hold.", first, plural(total, "failed finding")))
	}
}

// whyText says how many controls do not hold, and by how many findings of what severity.
func whyText(v *evidence.Verdict, list []task) string {
	failed, unchecked := 0, 0
	for _, r := range v.Results {
		switch {
		case !r.Required:
		case r.Outcome == evidence.ControlFail:
			failed++
		case r.Outcome == evidence.ControlIncomplete:
			unchecked++
		}
	}
	var parts []string
	if failed > 0 {
		bySeverity, total := map[evidence.Severity]int{}, 0
		for _, k := range list {
			for s, n := range k.of {
				bySeverity[s] += n
			}
			total += k.findings
		}
		var counts []string
		for _, s := range severities {
			if n := bySeverity[s]; n > 0 {
				counts = append(counts, fmt.Sprintf("%d %s", n, s))
			}
		}
		fail := " fail by "
		if failed == 1 {
			fail = " fails by "
		}
		text := plural(failed, "control") + fail + plural(total, "finding")
		if len(counts) > 0 {
			text += ": " + strings.Join(counts, ", ")
		}
		parts = append(parts, text)
	}
	if unchecked > 0 {
		parts = append(parts, fmt.Sprintf("%d not checked", unchecked))
	}
	return strings.Join(parts, "; ")
}

// severities are those that there are, worst first.
var severities = []evidence.Severity{evidence.SeverityCritical, evidence.SeverityHigh, evidence.SeverityMedium, evidence.SeverityLow, evidence.SeverityInfo}

// severity is a severity as a column of eight; what nobody knows is said to be so.
func (t *terminal) severity(s evidence.Severity) string {
	if s.Validate() != nil {
		s = "unknown"
	}
	text := string(s) + pad(string(s), 8)
	switch s.Rank() {
	case 0:
		return t.paint("1;31", text)
	case 1:
		return t.paint("31", text)
	case 2:
		return t.paint("33", text)
	}
	return t.faint(text)
}

// fixOf is the one fix to show for findings: what most of them ask for, and how many
// they are.
func fixOf(ids []string, byID map[string]evidence.Finding) (fix string, of, kinds int) {
	n := map[string]int{}
	for _, id := range ids {
		text := byID[id].Remediation
		if text == "" {
			continue
		}
		n[text]++
		if n[text] > n[fix] {
			fix = text
		}
	}
	return fix, n[fix], len(n)
}
