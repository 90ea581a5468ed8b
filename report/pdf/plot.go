package pdf

import (
	"strconv"
	"strings"

	"github.com/companyos/helmproof/report"
)

// plot is a stacked bar of controls by outcome for each group. Every segment
// says its number, and its outcome by shape as well as by colour.
func (c *canvas) plot(d *report.Document) {
	c.figure(plotWords(d), func() { c.drawPlot(d) })
}

// plotWords says what the plot shows.
func plotWords(d *report.Document) string {
	words := []string{d.Conclusion + "."}
	for _, g := range d.Groups {
		var counts []string
		for _, n := range g.Counts {
			if n.N > 0 {
				counts = append(counts, strconv.Itoa(n.N)+" "+n.Mark.Word)
			}
		}
		words = append(words, g.Title+": "+strings.Join(counts, ", ")+".")
	}
	return strings.Join(words, " ")
}

func (c *canvas) drawPlot(d *report.Document) {
	const (
		label = 118.0
		bar   = 11.0
		gap   = 3.5
	)
	longest := 1
	for _, g := range d.Groups {
		longest = max(longest, len(g.Controls))
	}
	step := tick(longest)
	limit := (longest + step - 1) / step * step
	unit := (c.column() - label - 5) / float64(limit) // 5: half of the last number on the axis
	top := c.y
	rows := make([][]string, len(d.Groups))
	height := 0.0
	for i, g := range d.Groups {
		rows[i] = c.wrap(rowText, g.Title, label-gutter)
		if len(rows[i]) > 2 { // it stands in full over the group's controls
			rows[i] = append(rows[i][:1], "…")
		}
		height += max(bar, float64(len(rows[i]))*rowText.line()) + gap
	}
	if c.y+height+34 > c.bottom() {
		if c.newPage(); c.y+height+34 > c.bottom() {
			c.put(c.left(), c.y, "Too many groups for one plot.", rowText)
			c.y += rowText.line()
			return
		}
		top = c.y
	}
	for n := 0; n <= limit; n += step {
		x := c.left() + label + float64(n)*unit
		c.rect(x-.2, top-3, .4, height+2, hair)
	}
	for i, g := range d.Groups {
		h := max(bar, float64(len(rows[i]))*rowText.line())
		for k, l := range rows[i] {
			c.put(c.left(), c.y+float64(k)*rowText.line()+1, l, rowText)
		}
		x := c.left() + label
		for _, n := range g.Counts {
			if n.N > 0 {
				c.segment(x, c.y, float64(n.N)*unit, bar, n)
				x += float64(n.N) * unit
			}
		}
		c.y += h + gap
	}
	for n := 0; n <= limit; n += step {
		s := strconv.Itoa(n)
		x := c.left() + label + float64(n)*unit
		c.put(x-c.measure(noteText, s)/2, c.y, s, noteText)
	}
	c.put(c.left(), c.y, "controls", noteText)
	c.y += noteText.line() + 8
	x := c.left() + label
	for _, n := range d.Counts {
		word := n.Mark.Word + " " + strconv.Itoa(n.N)
		x += c.legendItem(x, c.y, n.Mark, word) + 14
	}
	c.y += noteText.line()
}

// tints fill the segments. Only a failure is dark, so that it stands out in
// black and white print, too; the rest differ by shape and outline.
var tints = map[string]color{
	report.MarkIncomplete.Key:    {0xb8, 0xc0, 0xc9},
	report.MarkWarn.Key:          {0xf3, 0xd9, 0x8f},
	report.MarkWaived.Key:        {0xe4, 0xd6, 0xfa},
	report.MarkPass.Key:          {0xd4, 0xf0, 0xdb},
	report.MarkNotApplicable.Key: white,
}

// segment draws one outcome's part of a bar.
func (c *canvas) segment(x, y, w, h float64, n report.Count) {
	col := hexColor(n.Mark.Color)
	on := white
	c.rect(x, y, w-1, h, col)
	if tint, ok := tints[n.Mark.Key]; ok {
		c.rect(x+.7, y+.7, w-2.4, h-1.4, tint)
		on = ink
	}
	s := strconv.Itoa(n.N)
	st := style{bold, note, on}
	if tw := c.measure(st, s); w > tw+note+8 {
		c.shape(x+5, y+(h-6)/2, 6, n.Mark, on)
		c.put(x+14, y+(h-note)/2-.8, s, st)
	} else if w > tw+4 {
		c.put(x+(w-tw)/2, y+(h-note)/2-.6, s, st)
	}
}

// tick is a round step that gives at most eight marks on an axis up to n.
func tick(n int) int {
	for _, s := range []int{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000} {
		if n/s <= 8 {
			return s
		}
	}
	return n
}
