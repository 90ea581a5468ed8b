package main

import (
	"strings"

	"github.com/rivo/uniseg"

	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/report"
)

// printDrill writes what a drill measured: conclusion, availability over time with
// the fault marked, the figures, and first of all what could not be measured.
func printDrill(t *terminal, f *drill.Figures) {
	d := report.NewDrill(f)
	if d == nil {
		return
	}
	t.line("")
	for _, l := range wrap(printable(d.Conclusion), t.width) {
		t.line(t.bold(l))
	}
	for _, p := range d.Problems {
		t.notMeasured(p)
	}
	const indent = "  "
	if s := d.Spark(min(60, t.width-2*len(indent))); s.Bars != "" {
		t.line("")
		if s.Marks != "" {
			t.line(indent + t.faint(s.Marks))
		}
		t.line(indent + bars(t, s))
		t.line(indent + t.faint(s.Times))
		t.para(indent, indent, s.Legend)
	}
	t.line("")
	label := 0
	for _, k := range d.Facts {
		label = max(label, len(k.Label))
	}
	for _, k := range d.Facts {
		head := k.Label + pad(k.Label, label) + "  "
		t.para(indent+t.faint(head), indent+strings.Repeat(" ", uniseg.StringWidth(head)), k.Value)
	}
}

func (t *terminal) notMeasured(what string) {
	head := t.mark(report.MarkNotMeasured, 0) + "  "
	t.para(head, strings.Repeat(" ", columns(head)), what)
}

// bars colours the columns of a plot in which requests failed.
func bars(t *terminal, s report.Spark) string {
	var b strings.Builder
	run, red := "", false
	flush := func() {
		if red {
			run = t.paint(report.MarkFail.ANSI, run)
		}
		b.WriteString(run)
		run = ""
	}
	for i, r := range []rune(s.Bars) {
		if s.Failed[i] != red {
			flush()
			red = s.Failed[i]
		}
		run += string(r)
	}
	flush()
	return b.String()
}

// printDrillDiff writes the figures of two drills side by side.
func printDrillDiff(t *terminal, d *report.DrillDiff) {
	t.line("")
	for _, s := range d.Unread {
		t.notMeasured(s)
	}
	for i, s := range d.Differs {
		if i == 0 {
			t.line("The plans differ, so compare with care:")
		}
		t.para("  ", "  ", s)
	}
	name, a := 0, 0
	for _, f := range d.Figures {
		name, a = max(name, len(f.Figure)), max(a, uniseg.StringWidth(f.AText))
	}
	for _, f := range d.Figures {
		t.phrase(strings.Repeat(" ", 12), []string{t.mark(f.Change.Mark(), 10) + f.Figure + pad(f.Figure, name), f.AText + pad(f.AText, a) + " → " + f.BText})
	}
}
