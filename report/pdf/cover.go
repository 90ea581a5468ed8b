package pdf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/report"
)

// cover is the first page, which says all that a reader with a minute needs: the
// verdict, of what, by whom, how much is wrong, what to do first, and the limits.
func (c *canvas) cover(d *report.Document) {
	c.newPage()
	c.pages[0].cover = true
	c.y = 40
	c.bookmark(0, "Verdict")
	c.paragraph(noteText, "helmproof evidence report")
	b := block{role: "H1"}
	if c.add(&b, titleText, 0, c.column(), d.Title); len(b.lines) > 3 {
		b.lines = nil
		c.add(&b, headText, 0, c.column(), d.Title)
		if len(b.lines) > 6 { // it stands in full among the facts below
			b.lines = append(b.lines[:6], line{height: headText.line(), pieces: []piece{{s: "…", style: headText}}})
		}
	}
	c.place(&b)
	c.y += 4
	m := d.Verdict.Mark
	b = block{}
	c.add(&b, titleText.with(hexColor(m.Color)), big*1.3, c.column()-big*1.3, m.Word)
	b.lines[0].pieces = append(b.lines[0].pieces, piece{style: titleText, mark: &m})
	c.place(&b)
	c.y += 2
	c.paragraph(bodyBold, d.Verdict.Reason)
	if !d.Sealed {
		c.paragraph(bodyBold, "Not sealed. Nothing was stored or signed; this report cannot be verified later.")
	}
	c.y += 4
	c.coverFacts(d.Facts)
	c.y += 8
	c.counts(d)
	c.doFirst(d.Actions)
	c.heading(d.Conclusion, 100)
	c.plot(d)
	c.limits(d)
}

// coverFacts puts short facts side by side, and long ones under them.
func (c *canvas) coverFacts(fs []report.Fact) {
	const label = 64.0
	half := c.column() / 2
	var short, long []report.Fact
	for _, f := range fs {
		if f.Mono || c.measure(rowText, f.Value) > half-label-gutter {
			long = append(long, f)
		} else {
			short = append(short, f)
		}
	}
	c.open("Table")
	defer c.close()
	for i, f := range short {
		x := float64(i%2) * half
		if i%2 == 0 {
			c.ensure(rowText.line())
		}
		c.open("TR")
		c.header("Row", 0)
		c.put(c.left()+x, c.y, c.text(noteText, f.Label), noteText)
		c.close()
		c.open("TD")
		c.put(c.left()+x+label, c.y, c.text(rowText, f.Value), rowText)
		c.close()
		c.close()
		if i%2 == 1 || i == len(short)-1 {
			c.y += rowText.line() + 1.5
		}
	}
	for _, f := range long {
		c.fact(f, label, rowText, rowMono)
	}
}

// facts are labels and values; a value is never cut.
func (c *canvas) facts(fs []report.Fact) {
	c.open("Table")
	defer c.close()
	for _, f := range fs {
		c.fact(f, 118, rowText, rowMono)
	}
}

// fact is one row of such a table.
func (c *canvas) fact(f report.Fact, label float64, st, mono style) {
	if f.Mono {
		st = mono
	}
	labels := block{role: "TH"}
	c.add(&labels, noteText, 0, label-gutter, f.Label)
	value := block{role: "TD"}
	c.add(&value, st, label, c.column()-label, f.Value)
	c.open("TR")
	defer c.close()
	c.ensure(min(max(labels.height(), value.height()), c.full()))
	top, page := c.y, len(c.pages)
	c.place(&labels)
	c.nodes[len(c.nodes)-1].scope = "Row"
	end := c.y
	if page == len(c.pages) {
		c.y = top
	}
	page = len(c.pages)
	c.place(&value)
	if page == len(c.pages) {
		c.y = max(c.y, end)
	}
	c.y += 1.5
}

// counts are the numbers of the cover: controls by outcome, failed findings by severity.
func (c *canvas) counts(d *report.Document) {
	c.ensure(70)
	top := c.y
	number := func(x float64, n int, label func(x, y float64) float64) float64 {
		st := titleText
		if n == 0 {
			st = style{sans, big, soft}
		}
		c.open("P")
		defer c.close()
		w := c.put(x, top+noteText.line(), strconv.Itoa(n)+" ", st)
		return max(w, label(x, top+noteText.line()+titleText.line()))
	}
	c.open("P")
	c.put(c.left(), top, "Controls by outcome", noteText)
	c.close()
	x := c.left()
	for _, n := range d.Counts {
		x += number(x, n.N, func(x, y float64) float64 { return c.legendItem(x, y, n.Mark, n.Mark.Word) }) + 13
	}
	x = max(x+14, c.left()+c.column()*.62)
	c.open("P")
	c.put(x, top, "Failed findings by severity", noteText)
	c.close()
	for _, n := range d.Severities {
		x += number(x, n.N, func(x, y float64) float64 { return c.put(x, y, string(n.Severity), rowText) }) + 13
	}
	c.y = top + noteText.line()*2 + titleText.line() + 4
	f := d.Findings
	c.paragraph(noteText, fmt.Sprintf("Findings: %d failed, %d warned, %d waived, %d not checked, %d passed, %d not applicable.",
		f.Failed, f.Warned, f.Waived, f.NotChecked, f.Passed, f.NotApplicable))
}

func (c *canvas) legendItem(x, y float64, m report.Mark, word string) float64 {
	st := style{bold, note, hexColor(m.Color)}
	c.shape(x, y+1, note*.86, m, st.color)
	return note*1.3 + c.put(x+note*1.3, y, c.text(st, word), st)
}

// doFirst is what to do first, each with what it clears.
func (c *canvas) doFirst(list []report.Action) {
	if len(list) == 0 {
		return
	}
	c.heading("Do first", 60)
	mark := 62.0
	if slices.ContainsFunc(list, func(a report.Action) bool { return a.Mark.Key != report.MarkFail.Key }) {
		mark = 92 // for "not checked"
	}
	c.open("L")
	defer c.close()
	for i, a := range list {
		const indent, effect = 14.0, 128.0
		m := a.Mark
		word := string(a.Severity)
		if m.Key != report.MarkFail.Key {
			word = strings.ToLower(m.Word)
		}
		number, fix := block{role: "Lbl"}, block{}
		number.lines = []line{{height: bodyText.line(), pieces: []piece{{s: strconv.Itoa(i+1) + ". ", style: bodyBold},
			{x: indent, s: c.text(bodyBold, word+" "), style: style{bold, note, hexColor(m.Color)}, mark: &m}}}}
		if c.add(&fix, bodyText, mark, c.column()-mark-effect-gutter, a.Fix); len(fix.lines) > 4 { // it stands in full with its control
			fix.lines = append(fix.lines[:3], line{height: bodyText.line(), pieces: []piece{{x: mark, s: "…", style: bodyText}}})
		}
		st := noteText.with(link)
		lines := c.wrap(st, a.Effect, effect)
		if len(lines) > 3 { // an id of that length is seen with its control
			lines = append(lines[:3], "…")
		}
		c.ensure(max(fix.height(), float64(len(lines))*st.line()) + 2)
		top := c.y
		c.open("LI")
		c.place(&number)
		c.y = top
		c.open("LBody")
		c.place(&fix)
		bottom := c.y
		c.y = top + 1
		for _, l := range lines {
			c.putLink(c.right()-effect, c.y, l, st, a.Control.Anchor)
			c.y += st.line()
		}
		c.close()
		c.close()
		c.y = max(c.y, bottom) + 2
	}
}

// limits say what the verdict does not rest on, on the page of the verdict.
func (c *canvas) limits(d *report.Document) {
	c.heading("Limits", 40)
	list := make([]string, 0, len(d.Limits)+2)
	if n := len(d.NotChecked); n == 0 {
		list = append(list, "Everything that the profile asks for was checked.")
	} else {
		list = append(list, fmt.Sprintf("Not checked: %d. What, and why, stands under “What was not checked”.", n))
	}
	if n := len(d.Waivers); n == 0 {
		list = append(list, "No waiver was given.")
	} else {
		list = append(list, fmt.Sprintf("Waivers: %d. Which, and what they cover, stands under “Waivers”.", n))
	}
	c.open("L")
	defer c.close()
	for _, l := range append(list, d.Limits...) {
		b := block{role: "LBody"}
		c.add(&b, rowText, 10, c.column()-10, l)
		b.lines[0].pieces = append([]piece{{s: "– ", style: noteText}}, b.lines[0].pieces...)
		c.open("LI")
		c.place(&b)
		c.close()
		c.y += 1
	}
}
