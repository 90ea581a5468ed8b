package pdf

import (
	"cmp"

	"github.com/companyos/helmproof/report"
)

// canvas is laid out first and drawn afterwards: only then are the number of
// pages, the place of every link's target and the characters in use known.
type canvas struct {
	faces         [3]*face
	width, height float64 // of the page, in points
	pages         []page
	y             float64 // where the next line's top is, on the last page
	anchors       map[string]place
	outline       []bookmark
	runes         [numFaces]map[rune]bool // what is drawn with each font, by its codes
	indent        float64                 // of the table that is laid out
	tree
}

type place struct {
	page int
	y    float64
}

type page struct {
	cover bool
	ops   []op
}

type bookmark struct {
	place
	level int
	title string
}

type opKind uint8

const (
	opText opKind = iota
	opRect
	opLine
	opShape
	opLink
)

// op is one thing to draw: y is a text's baseline, a rectangle's top, a shape's middle.
type op struct {
	kind       opKind
	slot       int // of the structure tree that it belongs to; 0: an artifact, which is not read
	node       int // of a link: its element
	x, y, w, h float64
	s          string // the text, the link's anchor, the shape's mark
	style      style
}

const (
	marginX      = 44.0
	marginTop    = 56.0
	marginBottom = 50.0
)

func (c *canvas) left() float64   { return marginX }
func (c *canvas) right() float64  { return c.width - marginX }
func (c *canvas) column() float64 { return c.width - 2*marginX }
func (c *canvas) bottom() float64 { return c.height - marginBottom }
func (c *canvas) full() float64   { return c.bottom() - marginTop }

func (c *canvas) newPage() {
	c.pages = append(c.pages, page{})
	c.y = marginTop
}

// ensure starts a new page when less than h is left on this one.
func (c *canvas) ensure(h float64) {
	if c.y+h > c.bottom() && c.y > marginTop {
		c.newPage()
	}
}

// space leaves h free, but not at the top of a page.
func (c *canvas) space(h float64) {
	if c.y > marginTop {
		c.y += h
	}
}

// emit adds to the last page. Text belongs to the current element; lines, areas and
// shapes only inside a figure: elsewhere words say the same.
func (c *canvas) emit(o op) {
	if o.kind == opText || o.kind != opLink && c.inFigure() {
		o.slot = c.slot(len(c.pages) - 1)
	}
	p := &c.pages[len(c.pages)-1]
	p.ops = append(p.ops, o)
}

// use remembers which characters must be in the document's fonts.
func (c *canvas) use(face int, s string) {
	for _, r := range s {
		if f, code := c.faces[face].of(r); f != nil { // text lets nothing else through
			c.runes[f.index][code] = true
		}
	}
}

// put draws one line whose top is y; s has passed through face.text. It returns the width.
func (c *canvas) put(x, y float64, s string, st style) float64 {
	if s == "" {
		return 0
	}
	c.use(st.face, s)
	c.emit(op{kind: opText, x: x, y: y + st.size*1.05, s: visual(s), style: st})
	return c.faces[st.face].measure(s, st.size)
}

// putLink is put, and the text leads to an anchor.
func (c *canvas) putLink(x, y float64, s string, st style, anchor string) {
	if anchor == "" || s == "" {
		c.put(x, y, s, st)
		return
	}
	n := c.open("Link")
	w := c.put(x, y, s, st)
	c.emit(op{kind: opLink, x: x, y: y, w: w, h: st.line(), s: anchor, node: n})
	c.close()
}

// shape draws a mark's shape in a box of the given size whose top left is x, y.
func (c *canvas) shape(x, y, size float64, m report.Mark, col color) {
	c.emit(op{kind: opShape, x: x + size/2, y: y + size/2, w: size, s: m.Key, style: style{color: col}})
}

func (c *canvas) rect(x, y, w, h float64, col color) {
	c.emit(op{kind: opRect, x: x, y: y, w: w, h: h, style: style{color: col}})
}

func (c *canvas) hairline(y float64) {
	c.emit(op{kind: opLine, x: c.left(), y: y, w: c.column(), style: style{color: hair}})
}

func (c *canvas) anchor(name string) {
	if _, ok := c.anchors[name]; name != "" && !ok {
		c.anchors[name] = place{len(c.pages) - 1, c.y}
	}
}

func (c *canvas) bookmark(level int, title string) {
	c.outline = append(c.outline, bookmark{place{len(c.pages) - 1, c.y}, level, title})
}

func (c *canvas) text(st style, s string) string { return c.faces[st.face].text(s) }

func (c *canvas) wrap(st style, s string, width float64) []string {
	return c.faces[st.face].wrap(c.text(st, s), st.size, width)
}

func (c *canvas) measure(st style, s string) float64 {
	return c.faces[st.face].measure(c.text(st, s), st.size)
}

// line is one line of a block: pieces side by side.
type line struct {
	height float64
	pieces []piece
	before float64 // space above it
}

// piece is a part of a line, at x from the left margin.
type piece struct {
	x      float64
	s      string
	style  style
	anchor string       // leads there
	mark   *report.Mark // drawn before the text
}

// block is lines that stay on one page, as long as a page can hold them. Its role is
// that of its element: a paragraph if empty.
type block struct {
	anchor string
	role   string
	lines  []line
}

func (b *block) height() float64 {
	h := 0.0
	for _, l := range b.lines {
		h += l.before + l.height
	}
	return h
}

// add appends wrapped text at x, width wide.
func (c *canvas) add(b *block, st style, x, width float64, s string) {
	for _, l := range c.wrap(st, s, width) {
		b.lines = append(b.lines, line{height: st.line(), pieces: []piece{{x: x, s: l, style: st}}})
	}
}

// place draws a block on one page, or from line to line when it is longer than
// a page.
func (c *canvas) place(b *block) {
	c.ensure(min(b.height(), c.full()))
	c.anchor(b.anchor)
	c.open(cmp.Or(b.role, "P"))
	defer c.close()
	last := len(b.lines) - 1
	for i, l := range b.lines {
		need := l.before + l.height
		if i == last-1 { // the end of an overlong block keeps together, too
			need += b.lines[last].before + b.lines[last].height
		}
		c.ensure(need)
		c.space(l.before)
		for _, p := range l.pieces {
			x := c.left() + p.x
			if p.mark != nil {
				d := p.style.size * .86
				c.shape(x, c.y+(p.style.size*1.05-d)*.72, d, *p.mark, hexColor(p.mark.Color))
				x += p.style.size * 1.3
			}
			c.putLink(x, c.y, p.s, p.style, p.anchor)
		}
		c.y += l.height
	}
}
