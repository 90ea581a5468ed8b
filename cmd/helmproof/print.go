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

// shownFindings is how many findings of a failed control the terminal shows.
const shownFindings = 3

// printJudged writes one judged release: verdict, why, all groups, what to do next.
func printJudged(t *terminal, j *pipeline.Judged) {
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
	rest := "helmproof show, or the report"
	if j.Bundle == "" && len(j.Inputs) == 0 {
		rest = "-o json shows all" // nothing was stored
	}
	printResults(t, j.Verdict, cat, byID, shownFindings, rest)
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

// printResults writes each control that is not a plain pass, worst first, with
// its first findings; rest says where the others are.
func printResults(t *terminal, v evidence.Verdict, cat *evidence.Catalog, byID map[string]evidence.Finding, most int, rest string) {
	results := slices.Clone(v.Results)
	results = slices.DeleteFunc(results, func(r evidence.ControlResult) bool { return rank(r.Outcome) < 0 })
	slices.SortStableFunc(results, func(a, b evidence.ControlResult) int {
		ca, _ := cat.Control(a.Control)
		cb, _ := cat.Control(b.Control)
		return cmp.Or(cmp.Compare(rank(a.Outcome), rank(b.Outcome)), cmp.Compare(ca.Severity.Rank(), cb.Severity.Rank()))
	})
	for _, r := range results {
		c, _ := cat.Control(r.Control)
		t.line("")
		title := fmt.Sprintf("%-6s %s", r.Control, c.Title)
		if !r.Required {
			title += " (optional)"
		}
		t.para(t.mark(report.ControlMark(r.Outcome), 12)+" ", strings.Repeat(" ", 20), title)
		if r.Outcome != evidence.ControlFail || len(r.Findings) == 0 {
			t.para("  ", "  ", r.Reason)
		}
		printFindings(t, r.Findings, byID, most, rest)
	}
}

var longDigest = regexp.MustCompile(`sha256:([0-9a-f]{12})[0-9a-f]{52}`)

// shortDigests shortens digests for people; reports and JSON have them whole.
func shortDigests(s string) string { return longDigest.ReplaceAllString(s, "sha256:$1…") }

func printFindings(t *terminal, ids []string, byID map[string]evidence.Finding, most int, rest string) {
	ids = slices.Clone(ids)
	slices.SortStableFunc(ids, func(a, b string) int {
		x, y := byID[a].Target, byID[b].Target
		return cmp.Or(cmp.Compare(byID[a].Outcome.Rank(), byID[b].Outcome.Rank()), cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line),
			cmp.Compare(x.Object(), y.Object()), cmp.Compare(byID[a].Severity.Rank(), byID[b].Severity.Rank()), cmp.Compare(byID[a].Message, byID[b].Message))
	})
	last, place := "", ""
	for i, id := range ids {
		if i == most {
			t.line(t.faint(fmt.Sprintf("    and %d more: %s", len(ids)-most, rest)))
			break
		}
		f, ok := byID[id]
		if !ok {
			continue
		}
		where := f.Target.File
		if where != "" && f.Target.Line > 0 {
			where = fmt.Sprintf("%s:%d", where, f.Target.Line)
		}
		where = strings.TrimPrefix(where+" ", " ") + shortDigests(f.Target.Object())
		if where != place { // many findings about one image follow each other
			t.para("  ", "    ", where)
		}
		place = where
		t.para("    ", "    ", f.Message)
		if f.Remediation != "" && f.Remediation != last {
			t.para("    fix: ", "         ", f.Remediation)
			last = f.Remediation
		}
	}
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
	columns := []evidence.ControlOutcome{evidence.ControlPass, evidence.ControlFail, evidence.ControlIncomplete, evidence.ControlWarn, evidence.ControlWaived, evidence.ControlNotApplicable}
	heads := []string{"pass", "fail", "unchecked", "warn", "waived", "n/a"}
	t.line("")
	var b strings.Builder
	b.WriteString("controls" + pad("controls", 24))
	for _, h := range heads {
		b.WriteString(" " + strings.Repeat(" ", max(0, 8-len(h))) + h)
	}
	t.line(t.faint(b.String()))
	for _, g := range cat.Groups {
		r := rows[g.ID]
		if r == nil {
			continue
		}
		name := g.ID + " " + g.Title
		b.Reset()
		b.WriteString(name + pad(name, 24))
		for i, o := range columns {
			n := "·"
			if r[o] > 0 {
				n = fmt.Sprint(r[o])
			}
			cell := pad(n, max(8, len(heads[i]))) + n
			if r[o] > 0 && rank(o) >= 0 {
				cell = t.paint(report.ControlMark(o).ANSI, cell)
			} else if r[o] == 0 {
				cell = t.faint(cell)
			}
			b.WriteString(" " + cell)
		}
		t.line(strings.TrimRight(b.String(), " "))
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
