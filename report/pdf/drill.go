package pdf

import (
	"math"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/report"
)

// drill is what a drill measured: conclusion, plots, and the same in figures.
func (c *canvas) drill(d *report.Drill) {
	if d == nil {
		return
	}
	c.newPage()
	c.bookmark(0, "Drill")
	b := block{role: "H2"}
	c.add(&b, headText, 0, c.column(), d.Conclusion)
	c.place(&b)
	c.y += 8
	if d.Unread != "" {
		c.warning("The drill's record could not be read, so there are no figures and no plot:", []string{d.Unread})
		return
	}
	if len(d.Problems) > 0 {
		c.warning("With one of these nothing passes:", d.Problems)
	}
	for i, k := range d.Charts {
		c.chart(d, k, i == 0)
	}
	if d.Legend != "" {
		c.paragraph(noteText, d.Legend)
	}
	c.actions(d)
	c.subheading("Figures", "", "", 60)
	c.facts(d.Facts)
	c.drillTables(d)
}

// warning says what could not be measured, where nobody can miss it.
func (c *canvas) warning(title string, list []string) {
	m := report.MarkNotMeasured
	const indent = 16.0
	b := block{}
	c.add(&b, bodyBold, indent, c.column()-indent, m.Word+". "+title)
	b.lines[0].pieces = append(b.lines[0].pieces, piece{style: bodyBold.with(hexColor(m.Color)), mark: &m})
	for _, s := range list {
		c.add(&b, bodyText, indent, c.column()-indent, s)
	}
	c.place(&b)
	c.y += 10
}

// Plots have their labels in a gutter left of them.
const (
	plotGutter = 40.0
	plotLine   = 1.1 // how thick the line is that a plot is about
)

// plotArea is where a chart is drawn.
type plotArea struct{ x, y, w, h float64 }

func (p plotArea) atX(v float64) float64 { return p.x + min(max(v, 0), 1)*p.w }
func (p plotArea) atY(v float64) float64 { return p.y + (1-min(max(v, 0), 1))*p.h }

var (
	shade    = color{0xe6, 0xe9, 0xec}
	missing  = color{0xe8, 0x8d, 0x92}
	failed   = hexColor(report.MarkFail.Color)
	restored = hexColor(report.MarkPass.Color)
)

// chart draws one plot. Everything is level or upright: rectangles do.
func (c *canvas) chart(d *report.Drill, k report.Chart, first bool) {
	height, head := 46.0, 4.0
	if first {
		height, head = 112, 16
	}
	if k.Empty != "" {
		b := block{}
		c.add(&b, style{bold, note, ink}, 0, c.column(), k.Title)
		c.add(&b, bodyText, 0, c.column(), k.Empty)
		c.place(&b)
		c.y += 8
		return
	}
	words := c.wrap(noteText, k.Text, c.column()-plotGutter)
	c.ensure(height + head + float64(3+len(words))*noteText.line() + 14)
	c.figure(k.Title+". "+k.Text, func() { c.drawChart(d, k, first, height, head, words) })
}

func (c *canvas) drawChart(d *report.Drill, k report.Chart, first bool, height, head float64, words []string) {
	c.put(c.left(), c.y, c.text(style{bold, note, ink}, k.Title), style{bold, note, ink})
	c.y += noteText.line() + head
	p := plotArea{c.left() + plotGutter, c.y, c.column() - plotGutter, height}
	for _, f := range d.Fault {
		x := p.atX(f.From)
		c.within(p, x, p.y, p.atX(f.To)-x, p.h, shade)
		c.within(p, x, p.y+p.h+.6, p.atX(f.To)-x, 2, soft) // seen under whatever is filled
	}
	for _, t := range k.Y {
		y := p.atY(t.At)
		c.rect(p.x, y-.2, p.w, .4, hair)
		s := c.text(noteText, t.Label)
		c.put(p.x-5-c.measure(noteText, s), y-note*.72, s, noteText)
	}
	line := k.Lines[len(k.Lines)-1].Levels
	if k.Fill {
		for _, l := range line {
			if l.Y < 1 {
				c.within(p, p.atX(l.From), p.y, p.atX(l.To)-p.atX(l.From), p.atY(l.Y)-p.y, missing)
			}
		}
	}
	c.uprights(d, p, first)
	for _, l := range k.Lines[:len(k.Lines)-1] {
		c.stairs(p, l.Levels, .5, soft)
	}
	c.stairs(p, line, plotLine, ink)
	for _, s := range k.Failed {
		x := p.atX(s.From)
		c.within(p, x, p.y-2.6, max(.8, p.atX(s.To)-x), 2, failed)
	}
	if k.Limit != nil {
		c.limit(p, *k.Limit)
	}
	c.y += height + 4
	for _, t := range d.Axis {
		c.centred(p, p.atX(t.At), c.y, t.Label, noteText)
	}
	c.y += noteText.line() + 1
	for _, s := range words {
		c.put(p.x, c.y, s, noteText)
		c.y += noteText.line()
	}
	c.y += 6
}

// within draws a rectangle that is at least thin, and does not leave the plot
// sideways.
func (c *canvas) within(p plotArea, x, y, w, h float64, col color) {
	w = min(max(w, .6), p.w)
	c.rect(min(x, p.x+p.w-w), y, w, h, col)
}

// centred puts text under or over x, moved where it would leave the plot.
func (c *canvas) centred(p plotArea, x, y float64, s string, st style) {
	s = c.text(st, s)
	w := c.measure(st, s)
	c.put(min(max(x-w/2, p.x), p.x+p.w-w), y, s, st)
}

// uprights are the actions and the moment of recovery; the first plot names them.
func (c *canvas) uprights(d *report.Drill, p plotArea, named bool) {
	for _, k := range d.Clusters {
		x := p.atX(k.From)
		c.dashes(p, x, p.y, p.h, 1.2, 2.4, soft)
		if !named {
			continue
		}
		st, s := style{bold, note, ink}, strconv.Itoa(k.Number)
		if k.Bad {
			st.color = failed
			m := report.MarkFail
			at := min(max(x-6, p.x), p.x+p.w-14)
			c.shape(at, p.y-11.5, 5, m, failed)
			c.put(at+6, p.y-14, s, st)
			continue
		}
		c.centred(p, x, p.y-14, s, st)
	}
	if r := d.Recovered; r != nil {
		x := p.atX(r.At)
		c.dashes(p, x, p.y, p.h, 4, 2.5, restored)
		if named {
			c.beside(p, x, p.y+p.h-2*noteText.line(), r.Label, style{sans, note, ink})
		}
	}
	if named && len(d.Fault) > 0 {
		c.beside(p, p.atX(d.Fault[0].From), p.y+p.h-noteText.line(), "fault", style{sans, note, ink})
	}
}

// beside puts text right of x, or left of it where there is no room, on a ground
// of its own.
func (c *canvas) beside(p plotArea, x, y float64, s string, st style) {
	w := c.measure(st, s)
	x += 3
	if x+w > p.x+p.w-2 {
		x -= w + 6
	}
	c.rect(x-1.5, y+.5, w+3, st.line()-2, white)
	c.put(x, y, c.text(st, s), st)
}

// dashes is an upright dashed line.
func (c *canvas) dashes(p plotArea, x, y, h, dash, step float64, col color) {
	step += dash
	for at := 0.0; at < h; at += step {
		c.within(p, x-.3, y+at, .6, min(dash, h-at), col)
	}
}

// limit is a level dashed line with its name at the right.
func (c *canvas) limit(p plotArea, t report.Tick) {
	const dash, gap = 6.0, 3.0
	y := p.atY(t.At)
	for at := 0.0; at < p.w; at += dash + gap {
		c.rect(p.x+at, y-.4, min(dash, p.w-at), .8, failed)
	}
	st := style{bold, note, failed}
	w := c.measure(st, t.Label)
	top := y - noteText.line()
	if top < p.y {
		top = y + 1.5
	}
	c.rect(p.x+p.w-w-3, top+.5, w+3, st.line()-2, white)
	c.put(p.x+p.w-w-1, top, c.text(st, t.Label), st)
}

// stairs draws levels, joined where one begins at the end of the other.
func (c *canvas) stairs(p plotArea, levels []report.Level, thick float64, col color) {
	for i, l := range levels {
		x, y := p.atX(l.From), p.atY(l.Y)
		c.within(p, x, y-thick/2, p.atX(l.To)-x, thick, col)
		if i > 0 && levels[i-1].To == l.From {
			from := p.atY(levels[i-1].Y)
			c.within(p, x-thick/2, min(from, y)-thick/2, thick, math.Abs(from-y)+thick, col)
		}
	}
}

// actions lists what was done, by the numbers in the plot.
func (c *canvas) actions(d *report.Drill) {
	if len(d.Clusters) == 0 {
		return
	}
	c.subheading("Actions", "", "", 40)
	for _, k := range d.Clusters {
		b := block{}
		s := k.Time + ": " + k.Text
		x := 18.0
		if k.Bad {
			x += 10
		}
		c.add(&b, bodyText, x, c.column()-x, s)
		b.lines[0].pieces = append(b.lines[0].pieces, piece{s: strconv.Itoa(k.Number), style: bodyBold})
		if k.Bad {
			m := report.MarkFail
			b.lines[0].pieces = append(b.lines[0].pieces, piece{x: 16, style: bodyBold, mark: &m})
		}
		c.place(&b)
	}
	c.y += 6
}

func (c *canvas) drillTables(d *report.Drill) {
	w := c.column()
	if len(d.Probes) > 0 {
		c.subheading("Probes", "latency before, during and after", "", 60)
		var rows [][]cell
		for _, p := range d.Probes {
			name := p.Name
			if p.Worst {
				name += " (worst)"
			}
			p50, p99 := make([]string, len(p.Latency)), make([]string, len(p.Latency))
			for i, l := range p.Latency {
				p50[i], p99[i] = l.P50, l.P99
			}
			rows = append(rows, []cell{{s: name + " " + p.Address, style: bodyText}, {s: p.Availability, style: bodyText}, {s: p.Failed, style: bodyText},
				{s: p.Downtime, style: bodyText}, {s: strings.Join(p50, ", "), style: bodyText}, {s: strings.Join(p99, ", "), style: bodyText}})
		}
		c.table([]column{{"Probe", w - 398, false}, {"Good", 56, true}, {"Failed", 76, false}, {"Downtime", 58, false}, {"p50", 98, false}, {"p99", 110, false}}, rows)
	}
	if len(d.Violations) > 0 {
		c.subheading("PodDisruptionBudgets that were violated", "", "", 60)
		var rows [][]cell
		for _, v := range d.Violations {
			rows = append(rows, []cell{{s: v.Budget, style: bodyText}, {s: v.When, style: bodyText}, {s: v.Healthy, style: bodyText}, {s: v.Pods, style: bodyText}})
		}
		c.table([]column{{"Budget", w * .24, false}, {"When", w * .22, false}, {"Healthy at least", 84, false}, {"Pods lost", w*.54 - 84, false}}, rows)
	}
	if len(d.Unready) > 0 {
		c.subheading("Pods that never became ready", "", "", 40)
		c.facts(d.Unready)
	}
	for _, s := range d.More {
		c.paragraph(noteText, s)
	}
}
