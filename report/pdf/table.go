package pdf

import "github.com/companyos/helmproof/report"

// column of a table: w is its share of the text column's width, in points.
type column struct {
	title string
	w     float64
	right bool // numbers
}

type cell struct {
	s      string
	style  style
	anchor string
	mark   *report.Mark
}

const gutter = 10.0

// table lays rows out under a head that every new page repeats; a row stays on one page.
func (c *canvas) table(cols []column, rows [][]cell) {
	c.tableHead(cols)
	for _, r := range rows {
		wrapped, height := c.wrapRow(cols, r)
		if c.y+height > c.bottom() && height <= c.full()-30 {
			c.newPage()
			c.tableHead(cols)
		}
		c.row(cols, r, wrapped)
	}
	c.y += 6
}

// wrapRow breaks each cell of a row into lines, and gives the row's height.
func (c *canvas) wrapRow(cols []column, cells []cell) ([][]string, float64) {
	wrapped := make([][]string, len(cells))
	height := 0.0
	for i, x := range cells {
		w := cols[i].w - gutter
		if x.mark != nil {
			w -= x.style.size * 1.3
		}
		wrapped[i] = c.wrap(x.style, x.s, w)
		height = max(height, float64(len(wrapped[i]))*x.style.line())
	}
	return wrapped, height
}

func (c *canvas) rowHeight(cols []column, cells []cell) float64 {
	_, h := c.wrapRow(cols, cells)
	return h
}

func (c *canvas) tableHead(cols []column) {
	c.ensure(3 * noteText.line())
	x := c.left()
	for _, k := range cols {
		s := c.text(noteText, k.title)
		at := x
		if k.right {
			at = x + k.w - gutter - c.measure(noteText, k.title)
		}
		c.put(at, c.y, s, noteText)
		x += k.w
	}
	c.y += noteText.line() + 2
	c.hairline(c.y)
	c.y += 5
}

// row draws one row; one that is longer than a page goes on over the next.
func (c *canvas) row(cols []column, cells []cell, wrapped [][]string) {
	for i := 0; ; i++ {
		more, step := false, 0.0
		for k, x := range cells {
			if i < len(wrapped[k]) {
				step = max(step, x.style.line())
				more = true
			}
		}
		if !more {
			break
		}
		if c.y+step > c.bottom() {
			c.newPage()
			c.tableHead(cols)
		}
		x := c.left()
		for k, cl := range cells {
			if i < len(wrapped[k]) {
				at, s := x, wrapped[k][i]
				if cl.mark != nil {
					if i == 0 {
						d := cl.style.size * .86
						c.shape(at, c.y+(cl.style.size*1.05-d)*.72, d, *cl.mark, hexColor(cl.mark.Color))
					}
					at += cl.style.size * 1.3
				}
				if cols[k].right {
					at = x + cols[k].w - gutter - c.faces[cl.style.face].measure(s, cl.style.size)
				}
				c.putLink(at, c.y, s, cl.style, cl.anchor)
			}
			x += cols[k].w
		}
		c.y += step
	}
	c.y += 4
}

// marked is a cell that shows an outcome: shape, word and colour.
func marked(m report.Mark) cell {
	return cell{s: m.Word, style: markStyle(m), mark: &m}
}

func markStyle(m report.Mark) style {
	st := bodyBold.with(hexColor(m.Color))
	if m.Key == report.MarkNotApplicable.Key {
		st.face = sans
	}
	return st
}
