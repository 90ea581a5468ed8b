package report_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

func inUnit(v float64) bool { return v >= 0 && v <= 1 } // false for NaN

// Whatever was measured, nothing is drawn outside the plot, and no line goes back.
func TestChartsStayInside(t *testing.T) {
	t.Parallel()
	for name, f := range reporttest.Drills() {
		checkCharts(t, name, report.New(reporttest.Drill(f)).Drill)
	}
}

func checkCharts(t *testing.T, name string, d *report.Drill) {
	t.Helper()
	span := func(what string, s report.Span) {
		if !inUnit(s.From) || !inUnit(s.To) || s.To < s.From {
			t.Errorf("%s: %s from %v to %v", name, what, s.From, s.To)
		}
	}
	for _, s := range d.Fault {
		span("fault", s)
	}
	for i, c := range d.Clusters {
		span("actions", c.Span)
		if c.Number != i+1 || i > 0 && c.From < d.Clusters[i-1].From {
			t.Errorf("%s: cluster %+v after %d others", name, c, i)
		}
	}
	if len(d.Clusters) > 21 {
		t.Errorf("%s: %d clusters, which have no room", name, len(d.Clusters))
	}
	if len(d.Axis) < 1 || len(d.Axis) > 7 {
		t.Errorf("%s: %d ticks", name, len(d.Axis))
	}
	ticks := slices.Clone(d.Axis)
	if d.Recovered != nil {
		ticks = append(ticks, *d.Recovered)
	}
	for _, c := range d.Charts {
		if (c.Empty == "") != (len(c.Lines) > 0 && len(c.Lines[len(c.Lines)-1].Levels) > 0) && c.Key != "latency" {
			t.Errorf("%s: chart %s is said to be empty: %q, with %d lines", name, c.Key, c.Empty, len(c.Lines))
		}
		if c.Empty == "" && (c.Text == "" || len(c.Y) < 2) {
			t.Errorf("%s: chart %s has no words or no axis: %+v", name, c.Key, c.Y)
		}
		ticks = append(ticks, c.Y...)
		if c.Limit != nil {
			ticks = append(ticks, *c.Limit)
		}
		for _, s := range c.Failed {
			span("failed", s)
		}
		for _, l := range c.Lines {
			if len(l.Levels) > 400 {
				t.Errorf("%s: chart %s has a line of %d levels", name, c.Key, len(l.Levels))
			}
			for i, v := range l.Levels {
				span(c.Key, report.Span{From: v.From, To: v.To})
				if !inUnit(v.Y) || i > 0 && v.From < l.Levels[i-1].To {
					t.Errorf("%s: chart %s has a level %+v after %+v", name, c.Key, v, l.Levels[max(0, i-1)])
				}
			}
		}
	}
	for _, k := range ticks {
		if !inUnit(k.At) || k.Label == "" {
			t.Errorf("%s: tick %+v", name, k)
		}
	}
	for _, columns := range []int{1, 34, 60} {
		s := d.Spark(columns)
		if s.Bars == "" {
			continue
		}
		if n, m := len([]rune(s.Bars)), len(s.Digits); n != columns || m != columns || len(s.Failed) != columns || len([]rune(s.Marks)) > columns {
			t.Errorf("%s: %d blocks, %d digits in %d columns", name, n, m, columns)
		}
	}
}

// The one bad second of half an hour is in every plot, however narrow.
func TestDipsAreKept(t *testing.T) {
	t.Parallel()
	d := report.New(reporttest.Drill(reporttest.Drills()["half an hour"])).Drill
	levels := d.Charts[0].Lines[0].Levels
	low := slices.MinFunc(levels, func(a, b report.Level) int { return cmp.Compare(a.Y, b.Y) })
	if low.Y != .03 || len(levels) != 3 || math.Abs(low.From-777./1800) > 1./300 {
		t.Errorf("levels %+v, want a dip to 0.03 at 777 s and one level on both sides", levels)
	}
	if got := d.Spark(60).Digits; strings.Count(got, "0") != 1 || strings.Count(got, "#") != 59 || strings.Index(got, "0") != 25 {
		t.Errorf("%s: want a dip in column 25", got)
	}
}

func TestAvailabilityChart(t *testing.T) {
	t.Parallel()
	fs := reporttest.Drills()
	for name, tt := range map[string]struct {
		levels []report.Level
		failed int
		text   string
	}{
		"all good": {[]report.Level{{From: 0, To: 1, Y: 1}}, 0, "In each of 60 seconds every request of probe web was good."},
		"all bad":  {[]report.Level{{From: 0, To: 1, Y: 0}}, 1, "60 of 60 seconds had failed requests of probe web; in the worst one 0 % were good."},
	} {
		c := report.New(reporttest.Drill(fs[name])).Drill.Charts[0]
		if diff := gocmp.Diff(tt.levels, c.Lines[0].Levels); diff != "" || len(c.Failed) != tt.failed || c.Text != tt.text {
			t.Errorf("%s: %q, failed %v\n%s", name, c.Text, c.Failed, diff)
		}
	}
	many := report.New(reporttest.Drill(fs["many probes"])).Drill
	if n := len(many.Charts[0].Lines); n != 7 || many.Charts[0].Lines[6].Name != "web" {
		t.Errorf("%d lines, the last %q: want six others, and the worst last", n, many.Charts[0].Lines[n-1].Name)
	}
	if !strings.Contains(many.Legend, "Thick line: probe web, the worst; thin: a, b, c, d, e, f; 14 others not drawn.") {
		t.Errorf("legend %q", many.Legend)
	}
}

// What was never sent is said apart, and where the line and the budget differ that is said, too.
func TestBudgetChart(t *testing.T) {
	t.Parallel()
	f := reporttest.Figures(60, func(i int) int { return 100 - i/59*50 })
	c := report.New(reporttest.Drill(f)).Drill.Charts[1]
	if want := "0.50 s of the 3.60 s that the drill may spend were spent."; c.Text != want || c.Limit == nil || c.Limit.At != 3.6/4 {
		t.Errorf("%q, limit %+v; want %q", c.Text, c.Limit, want)
	}
	f.Probes[0].Failed, f.Probes[0].Unsent, f.Probes[0].Outcomes, f.Budget.Spent = 10, 40, map[string]int{"refused": 10}, .1
	d := report.New(reporttest.Drill(f)).Drill
	if want := "0.10 s of the 3.60 s that the drill may spend were spent. The line is what probe web saw alone: 0.50 s, each request counted that was due and not good."; d.Charts[1].Text != want {
		t.Errorf("%q, want %q", d.Charts[1].Text, want)
	}
	if got, want := d.Probes[0].Failed, "10 of 6000: 40 never sent, 10 refused"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if len(f.Probes[0].Outcomes) != 1 {
		t.Errorf("the figures were changed: %v", f.Probes[0].Outcomes)
	}
}

func TestClusters(t *testing.T) {
	t.Parallel()
	d := report.New(reporttest.Drill(reporttest.Drills()["many actions"])).Drill
	var got []string
	for _, c := range d.Clusters {
		got = append(got, fmt.Sprintf("%d %s: %s (%v)", c.Number, c.Time, c.Text, c.Bad))
	}
	want := []string{
		"1 31.2 s: evict shop/web-7c9-abcde (false)",
		"2 40.0 s to 46.0 s: 181 actions: 181 evict; 3 refused or failed (true)",
		"3 46.0 s to 50.0 s: 120 actions: 120 evict; 1 refused or failed (true)",
		"4 55.2 s: evict shop/web-7c9-fghij (false)",
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDrillProblems(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"all good":   nil,
		"no numbers": {"probe web: its availability or rate is not a number", "the error budget is not a number"},
		"empty":      {"no probe: whether the service answered is not known"},
	} {
		d := report.New(reporttest.Drill(reporttest.Drills()[name]))
		for _, p := range want {
			if !slices.Contains(d.Drill.Problems, p) {
				t.Errorf("%s: problems %q lack %q", name, d.Drill.Problems, p)
			}
			for format, render := range renderers() {
				b, err := reporttest.Bytes(render, d)
				if err != nil {
					t.Fatal(err)
				}
				if (format == "md" || format == "html" || format == "json") && !bytes.Contains(b, []byte(p)) {
					t.Errorf("%s: the %s report lacks %q", name, format, p)
				}
			}
		}
		if want == nil && len(d.Drill.Problems) > 0 {
			t.Errorf("%s: problems %q", name, d.Drill.Problems)
		}
	}
}

// A record that cannot be read leaves a report that says so, without a plot.
func TestDrillUnread(t *testing.T) {
	t.Parallel()
	in := reporttest.Drill(reporttest.Drills()["eviction"])
	in.DrillUnread = "artifacts/chaos/end.json <is> cut"
	d := report.New(in)
	for format, render := range renderers() {
		b, err := reporttest.Bytes(render, d)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte("role=\"img\" aria-labelledby")) || bytes.Contains(b, []byte("refused or failed")) {
			t.Errorf("the %s report has figures", format)
		}
		if (format == "md" || format == "html" || format == "json") && !bytes.Contains(b, []byte("end.json")) {
			t.Errorf("the %s report does not say why there are none", format)
		}
	}
}

// A report without a drill is as it was before there were drills.
func TestNoDrill(t *testing.T) {
	t.Parallel()
	b, err := reporttest.Bytes(report.HTML, report.New(reporttest.Small()))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte(".chart")) || bytes.Contains(b, []byte("#drill")) {
		t.Error("a report without a drill has a drill's style sheet")
	}
}

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 s", 400 * time.Microsecond: "0.4 ms", 412 * time.Millisecond: "412 ms", 999600 * time.Microsecond: "1.00 s", 8210 * time.Millisecond: "8.21 s",
		12 * time.Second: "12.0 s", 119960 * time.Millisecond: "2 min", 245 * time.Second: "4 min 5 s", time.Hour: "60 min", 150 * time.Minute: "2 h 30 min", -time.Second: "-1.00 s",
		math.MinInt64: "-2562047 h 47 min",
	} {
		if got := report.Took(d); got != want {
			t.Errorf("%d: %q, want %q", d, got, want)
		}
	}
	for v, want := range map[float64]string{1: "100 %", .999: "99.9 %", .9999999: "99.999 %", 0: "0 %", .97: "97 %", .29: "29 %", math.NaN(): "not measured", math.Inf(1): "not measured"} {
		if got := report.Percent(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

// The plots have words and a table for whoever cannot see them, and the SVG draws in numbers only.
func TestDrillHTML(t *testing.T) {
	t.Parallel()
	for name, f := range reporttest.Drills() {
		b, err := reporttest.Bytes(report.HTML, report.New(reporttest.Drill(f)))
		if err != nil {
			t.Fatal(err)
		}
		checkHTML(t, name, b)
		root, err := html.Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for n := range root.Descendants() {
			for _, a := range n.Attr {
				if a.Key == "id" {
					ids[a.Val] = true
				}
			}
		}
		for n := range root.Descendants() {
			for _, a := range n.Attr {
				switch {
				case a.Key == "aria-labelledby":
					for id := range strings.FieldsSeq(a.Val) {
						if !ids[id] {
							t.Errorf("%s: <%s> is labelled by %q, which is not there", name, n.Data, id)
						}
					}
				case a.Key == "d" && !path.MatchString(a.Val), slices.Contains([]string{"x", "y", "x1", "x2", "y1", "y2", "width", "height"}, a.Key) && n.Namespace == "svg" && !length.MatchString(a.Val):
					t.Errorf("%s: <%s %s=%.60q>", name, n.Data, a.Key, a.Val)
				}
			}
		}
		if len(f.Probes) > 0 && !bytes.Contains(b, []byte("<summary>The plots as a table</summary>")) {
			t.Errorf("%s: no table beside the plots", name)
		}
	}
}

var (
	path   = regexp.MustCompile(`^(M[0-9.]+ [0-9.]+|[HV][0-9.]+|Z)+$`)
	length = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?%?$`)
)

func FuzzDrill(f *testing.F) {
	f.Add(int64(90e9), int64(20e9), int64(40e9), int64(30e9), 100, 62, 3, .99)
	f.Add(int64(0), int64(math.MaxInt64), int64(math.MinInt64), int64(-1), -1, 5, math.MaxInt, math.Inf(1))
	f.Fuzz(func(t *testing.T, length, from, to, at int64, due, good, ready int, v float64) {
		g := reporttest.Figures(3, func(int) int { return 100 })
		g.Length = time.Duration(length)
		g.Phases = append(g.Phases, drill.Span{Name: "fault", From: time.Duration(from), To: time.Duration(to)})
		g.Marks = append(g.Marks, drill.Mark{At: time.Duration(at)})
		g.Ready = append(g.Ready, drill.ReadyPoint{At: time.Duration(at), Ready: ready})
		g.Probes[0].Seconds = append(g.Probes[0].Seconds, drill.Second{Due: due, Good: good, P99: time.Duration(to)})
		g.Probes[0].Availability, g.Probes[0].Rate, g.Budget.Allowed, g.Budget.Spent = v, v, v, v
		d := report.New(reporttest.Drill(g))
		checkCharts(t, "fuzz", d.Drill)
		for name, render := range renderers() {
			if _, err := reporttest.Bytes(render, d); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func BenchmarkDrillHTML(b *testing.B) {
	d := report.New(reporttest.Drill(reporttest.Drills()["half an hour"]))
	for b.Loop() {
		if _, err := reporttest.Bytes(report.HTML, d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDrillNew(b *testing.B) {
	in := reporttest.Drill(reporttest.Drills()["half an hour"])
	for b.Loop() {
		report.New(in)
	}
}
