// Package pdf renders a report as a PDF document: laid out first, on a canvas
// that knows pages and links, then drawn with fpdf, which no other package
// imports, and finished with the structure that screen readers go by.
package pdf

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"codeberg.org/go-pdf/fpdf"

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

// plain is s for what is shown beside the pages, of which fpdf writes no characters
// beyond the Basic Multilingual Plane.
func plain(s string) string {
	var b strings.Builder
	for _, r := range report.Visible(s) {
		if r > 0xffff {
			fmt.Fprintf(&b, "[U+%04X]", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (c *canvas) draw(w io.Writer, d *report.Document) error {
	p := fpdf.NewCustom(&fpdf.InitType{UnitStr: "pt", Size: fpdf.SizeType{Wd: c.width, Ht: c.height}})
	created := d.EvaluatedAt
	if created.IsZero() { // for which fpdf would take the time of now
		created = time.Unix(0, 0).UTC()
	}
	p.SetCatalogSort(true)
	p.SetCreationDate(created)
	p.SetModificationDate(created)
	p.SetAutoPageBreak(false, 0)
	p.SetMargins(0, 0, 0)
	p.SetCompression(true)
	names := [numFaces]string{sans: "helmproof-sans", bold: "helmproof-bold", mono: "helmproof-mono", cjk: "helmproof-cjk", emoji: "helmproof-emoji"}
	fonts := c.faces[:]
	if len(c.runes[cjk])+len(c.runes[emoji]) > 0 {
		more, err := fallbacks()
		if err != nil {
			return err
		}
		fonts = append(slices.Clone(fonts), more...)
	}
	for i, f := range fonts {
		if i > mono && len(c.runes[i]) == 0 {
			continue
		}
		if i <= mono { // fpdf always embeds these, whether they are drawn or not
			for r := rune(' '); r < 0x7f; r++ {
				c.runes[i][r] = true
			}
			c.runes[i]['…'] = true
		}
		p.AddUTF8FontFromBytes(names[i], "", f.subset(c.runes[i]))
	}
	m := d.Verdict.Mark
	title, subject := plain(m.Word+" – "+d.Title), plain("helmproof evidence report: "+d.Verdict.Reason)
	p.SetTitle(title, true)
	p.SetSubject(subject, true)
	p.SetAuthor("helmproof", true)
	p.SetCreator("helmproof", true)
	p.SetKeywords(plain(keywords(d)), true)
	p.SetLang(language)
	p.SetXmpMetadata(metadata(d, title, subject, created))
	p.AddOutputIntent(fpdf.OutputIntentType{SubtypeIdent: fpdf.OutputIntent_GTS_PDFA1, OutputConditionIdentifier: "sRGB IEC61966-2.1", Info: "sRGB IEC61966-2.1", ICCProfile: srgb})
	for range c.pages {
		p.AddPage()
	}
	pen := pen{p: p, names: names[:], faces: c.faces}
	outline := c.outline
	marks := make([][]int, len(c.pages))
	var links []annotation
	for i, pg := range c.pages {
		p.SetPage(i + 1)
		pen.reset()
		for ; len(outline) > 0 && outline[0].page == i; outline = outline[1:] {
			pen.font(sans, note)
			p.Bookmark(plain(outline[0].title), outline[0].level, outline[0].y-8)
		}
		open := -1 // the slot whose marked content is open
		for _, o := range pg.ops {
			if o.kind == opLink {
				to, ok := c.anchors[o.s]
				if !ok {
					c.nodes[o.node].role = "Span"
					continue
				}
				c.nodes[o.node].kids = append(c.nodes[o.node].kids, kid{kidLink, len(links)})
				links = append(links, annotation{i, o.node, [4]float64{o.x, c.height - o.y - o.h, o.x + o.w, c.height - o.y}, to, plain("to " + o.s[2:])})
				continue
			}
			if o.slot != open {
				if open >= 0 {
					p.RawWriteStr("EMC")
				}
				open = o.slot
				if open == 0 {
					p.RawWriteStr("/Artifact BMC")
				} else {
					s := &c.slots[open]
					p.RawWriteStr("/" + c.nodes[s.node].role + " <</MCID " + strconv.Itoa(len(marks[i])) + ">> BDC")
					s.marks = append(s.marks, len(marks[i]))
					marks[i] = append(marks[i], open)
				}
			}
			pen.draw(o)
		}
		if open >= 0 {
			p.RawWriteStr("EMC")
		}
	}
	var file bytes.Buffer
	if err := p.Output(&file); err != nil {
		return fmt.Errorf("write pdf: %w", err)
	}
	return c.finish(w, file.Bytes(), marks, links)
}
