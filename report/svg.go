package report

import (
	"cmp"
	"strconv"
	"strings"
)

// svgChart is a Chart as inline SVG. Lines and areas are drawn in a box of 1000 by
// 100 that is stretched to the page's width; text is placed by percent of the
// width beside it, and is not stretched. Nothing needs a script or an inline style.
type svgChart struct {
	Chart
	ID             string
	Height         int // of the whole, in pixels
	Top, Box, Foot int // where the box begins, how high it is, where it ends
	Grid, Uprights []svgLine
	Fault, Strips  []svgRect
	Area, Main     string // paths
	Others         []string
	LimitLine      []svgLine
	Texts          []svgText
}

type svgLine struct{ Class, X1, Y1, X2, Y2 string }

type svgRect struct{ X, W string }

type svgText struct {
	Class, X, Anchor, S string
	Y                   int
}

const (
	svgWide = 1000
	svgHigh = 100
)

func coord(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func svgX(x float64) string       { return coord(unit(x) * svgWide) }
func svgY(y float64) string       { return coord((1 - unit(y)) * svgHigh) }
func svgPercent(x float64) string { return strconv.FormatFloat(unit(x)*100, 'f', 2, 64) + "%" }

// svgSpan is a stretch that is wide enough to be seen.
func svgSpan(s Span) svgRect {
	const least = .002
	w := max(unit(s.To)-unit(s.From), least)
	return svgRect{coord(min(unit(s.From), 1-w) * svgWide), coord(w * svgWide)}
}

// anchored is how text stands at x so that it does not leave the page.
func anchored(x float64) string {
	switch {
	case x < .03:
		return "start"
	case x > .97:
		return "end"
	}
	return "middle"
}

func svgCharts(d *Drill) []svgChart {
	out := make([]svgChart, 0, len(d.Charts))
	for i, c := range d.Charts {
		s := svgChart{Chart: c, ID: "plot-" + c.Key, Top: 4, Box: 72}
		if i == 0 {
			s.Top, s.Box = 22, 150
		}
		s.Foot = s.Top + s.Box
		s.Height = s.Foot + 20
		s.place(d, i == 0)
		out = append(out, s)
	}
	return out
}

func (s *svgChart) place(d *Drill, first bool) {
	for _, f := range d.Fault {
		s.Fault = append(s.Fault, svgSpan(f))
	}
	text := func(class string, x float64, y int, anchor, t string) {
		s.Texts = append(s.Texts, svgText{class, svgPercent(x), anchor, t, y})
	}
	// The height of a level, for text over or under it.
	level := func(y float64) int { return s.Top + int((1-unit(y))*float64(s.Box)+.5) }
	for _, t := range s.Y {
		s.Grid = append(s.Grid, svgLine{"grid", "0", svgY(t.At), strconv.Itoa(svgWide), svgY(t.At)})
		y := level(t.At) + 13
		switch {
		case t.At == 0:
			y = s.Foot - 4
		case y > s.Foot-15: // the axis' 0 needs the place
			continue
		}
		text("", .004, y, "start", t.Label)
	}
	for _, t := range d.Axis {
		text("", t.At, s.Foot+15, anchored(t.At), t.Label)
	}
	for _, c := range d.Clusters {
		s.Uprights = append(s.Uprights, svgLine{"action", svgX(c.From), "0", svgX(c.From), strconv.Itoa(svgHigh)})
		if first {
			class, t := "number", strconv.Itoa(c.Number)
			if c.Bad {
				class, t = "number bad", "■"+t
			}
			text(class, c.From, 14, anchored(c.From), t)
		}
	}
	if r := d.Recovered; r != nil {
		s.Uprights = append(s.Uprights, svgLine{"recovered", svgX(r.At), "0", svgX(r.At), strconv.Itoa(svgHigh)})
		if first {
			anchor, x := "start", r.At+.006
			if r.At > .7 {
				anchor, x = "end", r.At-.006
			}
			text("", x, s.Foot-20, anchor, r.Label)
		}
	}
	if first && len(d.Fault) > 0 {
		x := max(d.Fault[0].From, .08) + .006 // beside the axis' 0 %
		anchor := "start"
		if x > .85 {
			x, anchor = min(d.Fault[0].From, 1)-.006, "end"
		}
		text("", x, s.Foot-5, anchor, "fault")
	}
	for i, l := range s.Lines {
		if i == len(s.Lines)-1 {
			s.Main = linePath(l.Levels)
			if s.Fill {
				s.Area = areaPath(l.Levels)
			}
		} else {
			s.Others = append(s.Others, linePath(l.Levels))
		}
	}
	for _, f := range s.Failed {
		s.Strips = append(s.Strips, svgSpan(f))
	}
	if l := s.Limit; l != nil {
		s.LimitLine = append(s.LimitLine, svgLine{"limit", "0", svgY(l.At), strconv.Itoa(svgWide), svgY(l.At)})
		y := level(l.At) - 4
		if l.At > .75 {
			y = level(l.At) + 13
		}
		text("limit", .996, y, "end", l.Label)
	}
}

// linePath draws levels as stairs, and leaves out what is not known.
func linePath(levels []Level) string {
	var b strings.Builder
	for i, l := range levels {
		if i == 0 || levels[i-1].To != l.From {
			b.WriteString("M" + svgX(l.From) + " " + svgY(l.Y))
		} else {
			b.WriteString("V" + svgY(l.Y))
		}
		b.WriteString("H" + svgX(l.To))
	}
	return b.String()
}

// areaPath is what is missing between levels and the top.
func areaPath(levels []Level) string {
	var b strings.Builder
	for _, l := range levels {
		if l.Y < 1 {
			b.WriteString("M" + svgX(l.From) + " 0H" + svgX(l.To) + "V" + svgY(l.Y) + "H" + svgX(l.From) + "Z")
		}
	}
	return b.String()
}

// Words are the text that stands for a plot where it is not seen.
func (s svgChart) Words() string { return cmp.Or(s.Empty, s.Text) }
