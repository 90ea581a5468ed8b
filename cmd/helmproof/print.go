package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// shownFindings is how many findings of a failed control the terminal shows, unless it
// is asked for all of them.
const (
	shownFindings = 3
	everyFinding  = -1
)

// tableWidth is the number of columns from which on there is room for tables; on
// narrower terminals what is long stands in a line of its own.
const tableWidth = 72

// printJudged writes one judged release: verdict, why, all groups, what to do next.
func printJudged(t *terminal, j *pipeline.Judged, most int) {
	cat := j.By.Catalog
	t.line("")
	head := j.Release.Chart
	if j.Release.Version != "" {
		head += " " + j.Release.Version
	}
	t.line(t.bold(printable(head)))
	t.para("", "", about(&j.Release)+", profile "+profileText(&j.Runs, j.By.Profile, &j.Verdict))
	printMeasured(t, j.Figures, j.Unread)
	for _, run := range j.Runs.Collectors {
		if run.Outcome == evidence.OutcomeError {
			t.para(t.mark(report.FindingMark(run.Outcome), 8)+" ", "         ", fmt.Sprintf("collector %s: %s", run.Collector, run.Error))
		}
	}
	byID := make(map[string]evidence.Finding, len(j.Findings))
	for _, f := range j.Findings {
		byID[f.ID] = f
	}
	printFirst(t, &j.Verdict, cat, byID)
	printResults(t, j.Verdict, cat, byID, most)
	printGroups(t, j.Verdict, cat)
	printWaivers(t, j.Verdict)
}

// profileText names the profile, and what was added to it. One of the user's own
// shows as such, with its digest, whatever it calls itself.
func profileText(r *evidence.Runs, p *evidence.Profile, v *evidence.Verdict) string {
	return shortDigests(r.ProfileName(p.Name, v.ProfileDigest)) + strings.TrimPrefix(p.Text(), p.Name)
}

// printMeasured writes what a drill measured, or why that cannot be said; nothing
// for what is no drill.
func printMeasured(t *terminal, f *drill.Figures, unread string) {
	switch {
	case unread != "":
		t.line("")
		t.notMeasured(unread)
	case f != nil:
		printDrill(t, f)
	}
}

// about says where a release, or which cluster, was judged.
func about(r *evidence.Release) string {
	if r.Scope == evidence.ScopeCluster {
		return fmt.Sprintf("%s, Kubernetes %s", r.Cluster, r.KubeVersion)
	}
	s := fmt.Sprintf("namespace %s, Kubernetes %s", r.Namespace, r.KubeVersion)
	if r.Cluster != "" {
		s += ", cluster " + r.Cluster
	}
	return s
}

// rank lists the controls that need somebody first.
func rank(o evidence.ControlOutcome) int {
	return slices.Index([]evidence.ControlOutcome{evidence.ControlFail, evidence.ControlIncomplete, evidence.ControlWarn, evidence.ControlWaived}, o)
}

// printResults writes each control that is not a plain pass, worst first, with its first
// findings and one fix; of all findings where most is no limit, and each fix then.
func printResults(t *terminal, v evidence.Verdict, cat *evidence.Catalog, byID map[string]evidence.Finding, most int) {
	for _, r := range worstFirst(&v, cat, byID) {
		c, _ := cat.Control(r.Control)
		t.line("")
		title := c.Title
		if !r.Required {
			title += " (optional)"
		}
		head := t.mark(report.ControlMark(r.Outcome), 12) + "  " + t.severity(severityOf(r, cat, byID)) + "  " + fmt.Sprintf("%-6s ", r.Control)
		if t.width < tableWidth {
			t.line(strings.TrimRight(head, " "))
			t.para("  ", "  ", title)
		} else {
			t.para(head, strings.Repeat(" ", columns(head)), title)
		}
		if r.Outcome != evidence.ControlFail || len(r.Findings) == 0 {
			t.para("  ", "  ", r.Reason)
		}
		printFindings(t, r.Findings, byID, most)
	}
}

var longDigest = regexp.MustCompile(`sha256:([0-9a-f]{12})[0-9a-f]{52}`)

// shortDigests shortens digests for people; reports and JSON have them whole.
func shortDigests(s string) string { return longDigest.ReplaceAllString(s, "sha256:$1…") }

// whereText is where a finding is: file, line and object.
func whereText(g evidence.Target) string {
	where := g.File
	if where != "" && g.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, g.Line)
	}
	return strings.TrimPrefix(where+" ", " ") + shortDigests(g.Object())
}

// printFindings writes the first findings, the worst first, and one fix, or, where most
// is no limit, all of them with each fix.
func printFindings(t *terminal, ids []string, byID map[string]evidence.Finding, most int) {
	ids = slices.Clone(ids)
	slices.SortStableFunc(ids, func(a, b string) int {
		x, y := byID[a].Target, byID[b].Target
		return cmp.Or(cmp.Compare(byID[a].Outcome.Rank(), byID[b].Outcome.Rank()), cmp.Compare(byID[a].Severity.Rank(), byID[b].Severity.Rank()),
			cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Object(), y.Object()), cmp.Compare(byID[a].Message, byID[b].Message))
	})
	fix, fixed, fixes := fixOf(ids, byID)
	last, place := "", ""
	for i, id := range ids {
		if i == most {
			t.line(t.faint(fmt.Sprintf("    and %d more: -v shows all", len(ids)-most)))
			break
		}
		f, ok := byID[id]
		if !ok {
			continue
		}
		where := whereText(f.Target)
		if where != place { // many findings about one image follow each other
			t.para("  ", "    ", where)
		}
		place = where
		t.para("    ", "    ", f.Message)
		printWhere(t, &f, i == 0 || most == everyFinding)
		if most == everyFinding && f.Remediation != "" && f.Remediation != last {
			t.para("    fix: ", "         ", f.Remediation)
			last = f.Remediation
		}
	}
	if most == everyFinding || fix == "" {
		return
	}
	if fixes > 1 {
		fix += fmt.Sprintf(" (for %d of %d; -v shows the others)", fixed, len(ids))
	}
	t.para("  fix: ", "       ", fix)
}

// printGroups is the summary table: a row per group, a column per outcome.
func printGroups(t *terminal, v evidence.Verdict, cat *evidence.Catalog) {
	type row map[evidence.ControlOutcome]int
	rows := map[string]row{}
	for _, r := range v.Results {
		c, _ := cat.Control(r.Control)
		if rows[c.Group] == nil {
			rows[c.Group] = row{}
		}
		rows[c.Group][r.Outcome]++
	}
	type column struct {
		o    evidence.ControlOutcome
		head string
	}
	cols := []column{{evidence.ControlPass, "pass"}, {evidence.ControlFail, "fail"}, {evidence.ControlIncomplete, "unchecked"}, {evidence.ControlWarn, "warn"}, {evidence.ControlWaived, "waived"}, {evidence.ControlNotApplicable, "n/a"}}
	gap, name := 4, 24
	if t.width < 80 {
		// What no group has is left out where there is little room.
		gap = 1
		cols = slices.DeleteFunc(cols, func(c column) bool {
			return !slices.ContainsFunc(v.Results, func(r evidence.ControlResult) bool { return r.Outcome == c.o })
		})
	}
	room := t.width
	for _, c := range cols {
		room -= gap + len(c.head)
	}
	for name = min(name, room); room-len(cols) >= 24 && gap < 4; gap++ {
		room -= len(cols)
	}
	t.line("")
	var b strings.Builder
	b.WriteString("controls" + pad("controls", name))
	for _, c := range cols {
		b.WriteString(strings.Repeat(" ", gap) + c.head)
	}
	t.line(t.faint(b.String()))
	for _, g := range cat.Groups {
		r := rows[g.ID]
		if r == nil {
			continue
		}
		title := clip(printable(g.ID+" "+g.Title), name)
		b.Reset()
		b.WriteString(title + pad(title, name))
		for _, c := range cols {
			n := "·"
			if r[c.o] > 0 {
				n = fmt.Sprint(r[c.o])
			}
			cell := strings.Repeat(" ", gap) + pad(n, len(c.head)) + n
			if r[c.o] > 0 && rank(c.o) >= 0 {
				cell = t.paint(report.ControlMark(c.o).ANSI, cell)
			} else if r[c.o] == 0 {
				cell = t.faint(cell)
			}
			b.WriteString(cell)
		}
		t.line(b.String())
	}
}

// waiverWord says where a waiver comes from, if not from the caller.
func waiverWord(w evidence.Waiver) string {
	switch w.Source {
	case evidence.WaiverOfChart:
		return "waiver of the chart"
	case evidence.WaiverOfAnnotation:
		return "exception of " + w.Target.Kind + " " + w.Target.Name
	}
	return "waiver"
}

func printWaivers(t *terminal, v evidence.Verdict) {
	for i, w := range v.Waivers {
		if i == 0 {
			t.line("")
		}
		m := report.MarkWaived
		m.Word = strings.ToUpper(w.Status)
		t.para(t.mark(m, 9)+" ", "           ", fmt.Sprintf("%s for %s by %s, until %s: %s", waiverWord(w.Waiver), w.Waiver.Control, w.Waiver.ApprovedBy, w.Waiver.ExpiresAt.UTC().Format("2006-01-02"), w.Waiver.Reason))
		if w.Status == "refused" {
			t.para("           ", "           ", "refused: "+w.Reason)
		}
	}
}
