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
	id     string // an anchor that leads here
}

const gutter = 8.0

// table lays rows out under a head that every new page repeats; a row stays on one page.
func (c *canvas) table(cols []column, rows [][]cell) {
	c.open("Table")
	defer c.close()
	c.tableHead(cols)
	next := func() {
		quiet := c.quiet
		c.newPage()
		c.quiet = true
		c.tableHead(cols)
		c.quiet = quiet
	}
	for _, r := range rows {
		wrapped, height := c.wrapRow(cols, r)
		if c.y+height > c.bottom() && height <= c.full()-30 {
			next()
		}
		c.row(cols, r, wrapped, next)
	}
	c.y += 4
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

func (c *canvas) tableHead(cols []column) {
	c.ensure(3 * noteText.line())
	x := c.left() + c.indent
	c.open("TR")
	for _, k := range cols {
		s := c.text(noteText, k.title)
		at := x
		if k.right {
			at = x + k.w - gutter - c.measure(noteText, k.title)
		}
		c.header("Column", 0)
		c.put(at, c.y, s, noteText)
		c.close()
		x += k.w
	}
	c.close()
	c.y += noteText.line() + 1
	c.hairline(c.y)
	c.y += 3
}

// row draws one row, cell by cell; one that is longer than a page goes on over the
// next, which next begins.
func (c *canvas) row(cols []column, cells []cell, wrapped [][]string, next func()) {
	c.open("TR")
	defer c.close()
	elements := make([]int, len(cells))
	for i := range elements {
		elements[i] = c.open("TD")
		c.close()
	}
	outer := c.cur
	for _, cl := range cells {
		c.anchor(cl.id)
	}
	for from := 0; ; {
		// How many lines of each cell fit.
		rest, n, height := 0, 0, 0.0
		for k := range cells {
			rest = max(rest, len(wrapped[k])-from)
		}
		for ; n < rest; n++ {
			step := 0.0
			for k, cl := range cells {
				if from+n < len(wrapped[k]) {
					step = max(step, cl.style.line())
				}
			}
			if c.y+height+step > c.bottom() && (n > 0 || c.y > marginTop+90) {
				break
			}
			height += step
		}
		x := c.left() + c.indent
		for k, cl := range cells {
			c.cur = elements[k]
			y := c.y
			for i := from; i < min(from+n, len(wrapped[k])); i++ {
				at, s := x, wrapped[k][i]
				if cl.mark != nil {
					if i == 0 {
						d := cl.style.size * .86
						c.shape(at, y+(cl.style.size*1.05-d)*.72, d, *cl.mark, hexColor(cl.mark.Color))
					}
					at += cl.style.size * 1.3
				}
				if cols[k].right {
					at = x + cols[k].w - gutter - c.faces[cl.style.face].measure(s, cl.style.size)
				}
				c.putLink(at, y, s, cl.style, cl.anchor)
				y += cl.style.line()
			}
			x += cols[k].w
		}
		c.cur = outer
		c.y += height
		if from += n; n == rest {
			break
		}
		next()
	}
	c.y += 1.6
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

// small is marked, for tables of small print.
func small(m report.Mark) cell {
	st := markStyle(m)
	st.size = note
	return cell{s: m.Word, style: st, mark: &m}
}
