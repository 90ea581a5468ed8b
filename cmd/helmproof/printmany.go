package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// verdictLine is the last line of a judged release.
func verdictLine(t *terminal, j *pipeline.Judged) string {
	m := report.VerdictMark(j.Verdict.Outcome)
	line, width := t.mark(m, 0), t.width-len(m.Word)-2
	if j.Bundle != "" {
		line, width = line+"  bundle "+j.Bundle.Short(), width-len("  bundle ")-len(j.Bundle.Short())
	}
	return strings.TrimRight(line+"  "+controlCounts(j.Verdict.Results, width-2), " ")
}

// controlCounts says how many controls came out how, worst first: "2 fail, 30
// pass, 1 n/a". Where that is wider than width, the last are counted together.
func controlCounts(results []evidence.ControlResult, width int) string {
	words := []string{"fail", "unchecked", "warn", "waived", "pass", "n/a", "fail (optional)", "unchecked (optional)"}
	counts := map[string]int{}
	for _, r := range results {
		word := "unchecked"
		switch r.Outcome {
		case evidence.ControlFail, evidence.ControlWarn, evidence.ControlWaived, evidence.ControlPass:
			word = string(r.Outcome)
		case evidence.ControlNotApplicable:
			word = "n/a"
		}
		if !r.Required && (word == "fail" || word == "unchecked") {
			word += " (optional)" // it does not stand between the release and a pass
		}
		counts[word]++
	}
	words = slices.DeleteFunc(words, func(w string) bool { return counts[w] == 0 })
	line := func(n int) string {
		var parts []string
		for _, w := range words[:n] {
			parts = append(parts, fmt.Sprintf("%d %s", counts[w], w))
		}
		more := 0
		for _, w := range words[n:] {
			more += counts[w]
		}
		if more > 0 {
			parts = append(parts, fmt.Sprintf("%d more", more))
		}
		return strings.Join(parts, ", ")
	}
	n := len(words)
	for n > 1 && len(line(n)) > width {
		n--
	}
	return line(n)
}

// summary is one plain line: verdict, chart, version, bundle, and how many controls
// hold by a waiver only.
func summary(j *pipeline.Judged) string {
	line := strings.TrimRight(fmt.Sprintf("%s %s %s %s", j.Verdict.Outcome, printable(j.Release.Chart), printable(j.Release.Version), j.Bundle), " ")
	hold, waived := 0, 0
	for _, r := range j.Verdict.Results {
		switch r.Outcome {
		case evidence.ControlWaived:
			waived++
		case evidence.ControlPass, evidence.ControlWarn:
			hold++
		}
	}
	if waived > 0 {
		line += fmt.Sprintf(" (%d hold, %d waived)", hold, waived)
	}
	if c := j.Counted; c != nil {
		line += fmt.Sprintf(" (counted %s by %s)", c.Outcome, countedBy(c))
	}
	return line
}

// printMany is a row per chart: with many charts the findings are in the reports. Charts
// of one name are told apart by what they were given as.
func printMany(t *terminal, done []*pipeline.Judged, failed []pipeline.Job, ref map[*pipeline.Judged]string) {
	const fixed = 12 + 2 + 9 + 2 + 9 // verdict, failed and unchecked
	names := rowNames(done, ref)
	room := t.width - fixed - 2
	bundles := slices.ContainsFunc(done, func(j *pipeline.Judged) bool { return j.Bundle != "" }) && t.width >= tableWidth
	if bundles {
		room -= 14
	}
	width := 0
	for _, j := range failed {
		names = append(names, printable(j.Ref))
	}
	for _, n := range names {
		width = max(width, columns(n))
	}
	width = min(width, room)
	counts := map[evidence.VerdictOutcome]int{}
	for i, j := range done {
		counts[j.Verdict.Outcome]++
		name := clip(names[i], width)
		failed, unchecked := 0, 0
		for _, r := range j.Verdict.Results {
			switch r.Outcome {
			case evidence.ControlFail:
				failed++
			case evidence.ControlIncomplete:
				unchecked++
			}
		}
		line := fmt.Sprintf("%s  %s%s  %4d fail  %4d open", t.mark(report.VerdictMark(j.Verdict.Outcome), 12), name, pad(name, width), failed, unchecked)
		if bundles {
			line += "  " + j.Bundle.Short()
		}
		t.line(strings.TrimRight(line, " "))
	}
	for _, name := range names[len(done):] {
		name = clip(name, width)
		t.line(t.mark(report.MarkError, 12) + "  " + name + pad(name, width) + "  not judged")
	}
	t.line("")
	worst := evidence.VerdictPass
	if counts[evidence.VerdictIncomplete] > 0 || len(failed) > 0 {
		worst = evidence.VerdictIncomplete
	}
	if counts[evidence.VerdictFail] > 0 {
		worst = evidence.VerdictFail
	}
	line := fmt.Sprintf("%s: %d pass, %d fail, %d incomplete", plural(len(names), "release"), counts[evidence.VerdictPass], counts[evidence.VerdictFail], counts[evidence.VerdictIncomplete])
	if len(failed) > 0 {
		line += fmt.Sprintf(", %d not judged", len(failed))
	}
	t.para(t.mark(report.VerdictMark(worst), 0)+"  ", "  ", line)
}

// rowNames are the charts, or the live releases, each with what it was given as where
// another one has the same name.
func rowNames(done []*pipeline.Judged, ref map[*pipeline.Judged]string) []string {
	names := make([]string, len(done))
	n := map[string]int{}
	for i, j := range done {
		names[i] = printable(strings.TrimSpace(j.Release.Chart + " " + j.Release.Version))
		if j.Release.Source == chart.SourceRelease {
			names[i] = printable(j.Release.Namespace + "/" + j.Release.ReleaseName)
		}
		n[names[i]]++
	}
	for i, j := range done {
		if n[names[i]] > 1 && ref[j] != "" {
			names[i] += " (" + printable(ref[j]) + ")"
		}
	}
	return names
}

func clip(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}
