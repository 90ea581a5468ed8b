package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rivo/uniseg"

	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

func drillText(f *drill.Figures, width int, color bool) string {
	var b bytes.Buffer
	printDrill(&terminal{w: &b, width: width, color: color}, f)
	return b.String()
}

// Whatever was measured, it fits, and moves no cursor.
func TestPrintDrillFits(t *testing.T) {
	t.Parallel()
	fs := reporttest.Drills()
	for _, s := range reporttest.HostileNames {
		fs["hostile: "+s] = reporttest.HostileFigures(s)
	}
	for name, f := range fs {
		for _, width := range []int{50, 80, 120} {
			text := drillText(f, width, false)
			if strings.Contains(text, "\x1b") {
				t.Errorf("%q in %d columns: an escape sequence without colour", name, width)
			}
			for l := range strings.SplitSeq(text, "\n") {
				if n := uniseg.StringWidth(l); n > width {
					t.Errorf("%q in %d columns: %d: %q", name, width, n, l)
				}
			}
			if colored := drillText(f, width, true); sgr.ReplaceAllString(colored, "") != text {
				t.Errorf("%q in %d columns: with colour it says something else", name, width)
			}
		}
	}
}

func TestPrintDrill(t *testing.T) {
	t.Parallel()
	text := drillText(reporttest.Drills()["eviction"], 80, false)
	for _, want := range []string{
		"\n1.51 of 3.60 s of the error budget spent; recovered in 37.8 s\n",
		"\n                 ▼─────▼─────▼───┄┄┄┄┄┄┄┄┄┄\n  ████████████████▅▅████_▇████▇███████████████████████████████\n  0                                                     90.0 s\n",
		"\n  Recovery           37.8 s after the first action\n",
		"\n  PDB violations     none\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	if colored := drillText(reporttest.Drills()["eviction"], 80, true); !strings.Contains(colored, "\x1b[31m▅▅\x1b[0m") {
		t.Errorf("columns with failed requests are not red:\n%q", colored)
	}
	f := reporttest.Figures(60, func(int) int { return 100 })
	f.Problems = []string{"prober lost at 12.0 s"}
	if text := drillText(f, 80, false); !strings.Contains(text, "◆ NOT MEASURED  prober lost at 12.0 s\n") {
		t.Errorf("it does not say what was not measured:\n%s", text)
	}
}

func TestPrintDrillDiff(t *testing.T) {
	t.Parallel()
	a, b := reporttest.Drill(reporttest.Drills()["all good"]), reporttest.Drill(reporttest.Drills()["all bad"])
	b.Drill.Plan.Experiment = drill.PodKill
	for _, width := range []int{50, 80, 120} {
		var out bytes.Buffer
		printDiff(&terminal{w: &out, width: width}, report.Diff(&a, &b))
		for _, want := range []string{"The plans differ, so compare with care:\n  experiment: eviction and pod-kill\n", "■ worse   availability", "100 %", " → 0 %\n", "– same    recovery"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("in %d columns it lacks %q:\n%s", width, want, out.String())
			}
		}
		for l := range strings.SplitSeq(out.String(), "\n") {
			if n := uniseg.StringWidth(l); n > width && strings.Contains(l, "→") {
				t.Errorf("in %d columns: %d: %q", width, n, l)
			}
		}
	}
}
