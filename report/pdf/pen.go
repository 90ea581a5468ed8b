package pdf

import (
	"codeberg.org/go-pdf/fpdf"

	"github.com/companyos/helmproof/report"
)

// pen draws ops, and sets a colour or a font only where it changes.
type pen struct {
	p     *fpdf.Fpdf
	names []string
	faces [3]*face
	face  int
	size  float64
	ink   color
	fill  color
}

// reset begins a page, whose stream has nothing set. fpdf writes a text's
// colour only where it differs from the fill colour, so that must be set first.
func (n *pen) reset() {
	n.face, n.size, n.fill = -1, 0, white
	n.p.SetFillColor(0xff, 0xff, 0xff)
	n.p.SetDrawColor(0xff, 0xff, 0xff)
}

func (n *pen) font(face int, size float64) {
	if n.face == face && n.size == size {
		return
	}
	if n.face < 0 {
		// fpdf leaves out a font that it thinks is set; on a page that it went
		// back to it may be wrong.
		n.p.SetFont(n.names[face], "", size+1)
	}
	n.p.SetFont(n.names[face], "", size)
	n.face, n.size = face, size
}

func (n *pen) colors(c color) {
	if n.fill == c {
		return
	}
	n.p.SetFillColor(int(c[0]), int(c[1]), int(c[2]))
	n.p.SetDrawColor(int(c[0]), int(c[1]), int(c[2]))
	n.fill = c
}

func (n *pen) draw(o op) {
	switch o.kind {
	case opText:
		if n.ink != o.style.color {
			n.ink = o.style.color
			n.p.SetTextColor(int(n.ink[0]), int(n.ink[1]), int(n.ink[2]))
		}
		n.text(o)
	case opRect:
		n.colors(o.style.color)
		n.p.Rect(o.x, o.y, o.w, o.h, "F")
	case opLine:
		n.colors(o.style.color)
		n.p.SetLineWidth(.6)
		n.p.Line(o.x, o.y, o.x+o.w, o.y)
	case opShape:
		n.colors(o.style.color)
		n.shape(o.s, o.x, o.y, o.w)
	}
}

// text draws a line, each stretch of it with the font that has it.
func (n *pen) text(o op) {
	var run []rune
	face, x := o.style.face, o.x
	flush := func(next int) {
		if len(run) > 0 {
			n.font(face, o.style.size)
			n.p.Text(x, o.y, string(run))
		}
		run, face = run[:0], next
	}
	at := o.x
	for _, r := range o.s {
		f, code := n.faces[o.style.face].of(r)
		if f == nil {
			continue
		}
		if f.index != face {
			flush(f.index)
		}
		if len(run) == 0 {
			x = at
		}
		run = append(run, code)
		at += float64(f.widths[code]) * o.style.size
	}
	flush(face)
}

// shape draws a mark's shape around x, y within a box of size d.
func (n *pen) shape(key string, x, y, d float64) {
	r := d / 2
	switch key {
	case report.MarkPass.Key:
		n.p.Circle(x, y, r*.92, "F")
	case report.MarkFail.Key:
		n.p.Rect(x-r*.82, y-r*.82, d*.82, d*.82, "F")
	case report.MarkWarn.Key:
		n.p.Polygon([]fpdf.PointType{{X: x, Y: y - r*.95}, {X: x + r, Y: y + r*.8}, {X: x - r, Y: y + r*.8}}, "F")
	case report.MarkWaived.Key:
		n.p.SetLineWidth(d * .16)
		n.p.Circle(x, y, r*.82, "D")
	case report.MarkNotApplicable.Key:
		n.p.Rect(x-r*.8, y-d*.07, d*.8, d*.14, "F")
	default:
		n.p.Polygon([]fpdf.PointType{{X: x, Y: y - r}, {X: x + r, Y: y}, {X: x, Y: y + r}, {X: x - r, Y: y}}, "F")
	}
}
