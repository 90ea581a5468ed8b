// Package pdf renders a report as a PDF document: laid out first, on a canvas
// that knows pages and links, then drawn with gofpdf, which no other package
// imports.
package pdf

import (
	"fmt"
	"io"

	"github.com/jung-kurt/gofpdf"

	"github.com/companyos/helmproof/report"
)

// Options tunes Render.
type Options struct {
	Paper string // "A4", which is also what empty means, or "Letter"
}

// Render writes the PDF. The same document and options give the same bytes.
func Render(w io.Writer, d *report.Document, o Options) error {
	c, err := layout(d, o)
	if err != nil {
		return err
	}
	return c.draw(w, d)
}

func layout(d *report.Document, o Options) (*canvas, error) {
	fs, err := faces()
	if err != nil {
		return nil, err
	}
	c := &canvas{faces: fs, anchors: map[string]place{}, tree: newTree()}
	for i := range c.runes {
		c.runes[i] = map[rune]bool{}
	}
	switch o.Paper {
	case "", "A4":
		c.width, c.height = 595.28, 841.89
	case "Letter":
		c.width, c.height = 612, 792
	default:
		return nil, fmt.Errorf("paper %q: want A4 or Letter", o.Paper)
	}
	c.cover(d)
	c.drill(d.Drill)
	c.findings(d)
	c.plainControls(d)
	c.waivers(d)
	c.notChecked(d)
	c.appendix(d)
	c.verify(d)
	c.quiet = true
	c.furniture(d)
	return c, nil
}

// furniture puts the running head and foot on every page: what is judged, the
// verdict, the evidence digest, page x of y.
func (c *canvas) furniture(d *report.Document) {
	evidence := "not sealed"
	if d.Sealed {
		evidence = "evidence " + string(d.BundleID())
	}
	m := d.Verdict.Mark
	pages := c.pages
	for i := range pages {
		c.pages = pages[:i+1] // emit draws on the last page
		if !pages[i].cover {
			st := style{bold, note, hexColor(m.Color)}
			word := c.text(st, m.Word)
			x := c.right() - c.faces[bold].measure(word, note)
			c.put(x, 28, word, st)
			c.shape(x-note*1.3, 29, note*.86, m, st.color)
			c.put(c.left(), 28, c.cut(noteText, d.Title, x-c.left()-30), noteText)
		}
		y := c.height - 36
		n := fmt.Sprintf("Page %d of %d", i+1, len(pages))
		x := c.right() - c.measure(noteText, n)
		c.put(x, y, n, noteText)
		c.put(c.left(), y, c.cut(noteMono, evidence, x-c.left()-10), noteMono)
	}
	c.pages = pages
}

// cut shortens s to a width; only for what stands in full elsewhere.
func (c *canvas) cut(st style, s string, width float64) string {
	s = c.text(st, s)
	f := c.faces[st.face]
	if f.measure(s, st.size) <= width {
		return s
	}
	at := 0.0
	for i, r := range s {
		if at += f.width(r) * st.size; at > width-st.size {
			return s[:i] + "…"
		}
	}
	return s
}

func (c *canvas) draw(w io.Writer, d *report.Document) error {
	p := gofpdf.NewCustom(&gofpdf.InitType{UnitStr: "pt", Size: gofpdf.SizeType{Wd: c.width, Ht: c.height}})
	p.SetCatalogSort(true)
	p.SetCreationDate(d.EvaluatedAt)
	p.SetModificationDate(d.EvaluatedAt)
	p.SetAutoPageBreak(false, 0)
	p.SetMargins(0, 0, 0)
	p.SetCompression(true)
	names := [...]string{sans: "helmproof-sans", bold: "helmproof-bold", mono: "helmproof-mono"}
	for i, f := range c.faces {
		// gofpdf always embeds these, whether they are drawn or not.
		for r := rune(' '); r < 0x7f; r++ {
			c.runes[i][r] = true
		}
		c.runes[i]['…'] = true
		p.AddUTF8FontFromBytes(names[i], "", f.subset(c.runes[i]))
	}
	plain := func(s string) string { return c.faces[sans].text(s) }
	m := d.Verdict.Mark
	p.SetTitle(plain(m.Word+" – "+d.Title), true)
	p.SetSubject(plain("helmproof evidence report: "+d.Verdict.Reason), true)
	p.SetAuthor("helmproof", true)
	p.SetCreator("helmproof", true)
	p.SetKeywords(plain("helmproof evidence "+m.Word+" "+string(d.BundleID())), true)
	links := map[string]int{}
	for range c.pages {
		p.AddPage()
	}
	pen := pen{p: p, names: names[:]}
	outline := c.outline
	for i, pg := range c.pages {
		p.SetPage(i + 1)
		pen.reset()
		for ; len(outline) > 0 && outline[0].page == i; outline = outline[1:] {
			pen.font(sans, note)
			p.Bookmark(plain(outline[0].title), outline[0].level, outline[0].y-8)
		}
		for _, o := range pg.ops {
			if o.kind != opLink {
				pen.draw(o)
				continue
			}
			to, ok := c.anchors[o.s]
			if !ok {
				continue
			}
			id, ok := links[o.s]
			if !ok {
				id = p.AddLink()
				links[o.s] = id
				p.SetLink(id, max(0, to.y-8), to.page+1)
			}
			p.Link(o.x, o.y, o.w, o.h, id)
		}
	}
	if err := p.Output(w); err != nil {
		return fmt.Errorf("write pdf: %w", err)
	}
	return nil
}
