package pdf

import (
	"strings"
	"testing"

	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

// Nothing may be drawn outside the margins, whatever it is called.
func TestNothingOverflows(t *testing.T) {
	t.Parallel()
	inputs := map[string]report.Input{"weak": reporttest.Weak(), "many": reporttest.Many(120)}
	for _, n := range reporttest.HostileNames {
		inputs[n] = reporttest.Hostile(n)
	}
	for n, f := range reporttest.Drills() {
		inputs["drill: "+n] = reporttest.Drill(f)
	}
	inputs["a page and more"] = reporttest.Hostile(strings.Repeat("words and more words ", 1000))
	for name, in := range inputs {
		for _, paper := range []string{"A4", "Letter"} {
			c, err := layout(report.New(in), Options{Paper: paper})
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range c.pages {
				for _, o := range p.ops {
					switch o.kind {
					case opRect, opShape:
						if !(o.x >= marginX-10 && o.x+o.w <= c.right()+1 && o.w >= 0 && o.h >= 0 && o.y+o.h <= c.height-30) {
							t.Errorf("%.20q on %s, page %d: a rectangle %+v", name, paper, i+1, o)
						}
						continue
					case opText:
					default:
						continue
					}
					end := o.x + c.faces[o.style.face].measure(strings.TrimRight(o.s, " "), o.style.size)
					if o.x < marginX-10 || end > c.right()+1 || o.y > c.height-25 {
						t.Errorf("%.20q on %s, page %d: %.40q reaches from %.0f to %.0f, down to %.0f", name, paper, i+1, o.s, o.x, end, o.y)
					}
				}
			}
		}
	}
}

func TestEveryGlyphIsInItsFace(t *testing.T) {
	t.Parallel()
	c, err := layout(report.New(reporttest.Hostile(strings.Join(reporttest.HostileNames, " "))), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.pages {
		for _, o := range p.ops {
			if o.kind != opText {
				continue
			}
			for _, r := range o.s {
				if !c.faces[o.style.face].has(r) {
					t.Errorf("%U is drawn, and no face has it", r)
				}
			}
		}
	}
}

func TestSubset(t *testing.T) {
	t.Parallel()
	fs, err := faces()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range fs {
		runes := map[rune]bool{'a': true, 'é': true, 'Ω': true, '\u2126': true, 'Ж': true, '支': true}
		sub, err := parseFace(f.subset(runes))
		if err != nil {
			t.Fatalf("face %d: %v", i, err)
		}
		seen := map[uint16]bool{}
		for r := range runes {
			g := sub.gid(r)
			if r == '支' {
				if g != 0 {
					t.Errorf("face %d: a glyph for %q, which the font lacks", i, r)
				}
				continue
			}
			if g == 0 || seen[g] {
				t.Errorf("face %d: glyph %d for %q; want one of its own", i, g, r)
			}
			seen[g] = true
			if sub.width(r) != f.width(r) {
				t.Errorf("face %d: width of %q is %v, want %v", i, r, sub.width(r), f.width(r))
			}
			if got, want := len(sub.glyph(g)), len(f.glyph(f.gid(r))); got < want {
				t.Errorf("face %d: outline of %q has %d bytes, want %d", i, r, got, want)
			}
			components(sub.glyph(g), func(at int) {
				if n := be.Uint16(sub.glyph(g)[at:]); int(n) >= len(sub.loca)-1 {
					t.Errorf("face %d: %q is made of glyph %d, which is not there", i, r, n)
				}
			})
		}
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	fs, err := faces()
	if err != nil {
		t.Fatal(err)
	}
	f := fs[mono]
	width := 10.5 * f.width('a') * body // ten characters
	for in, want := range map[string][]string{
		"":                       {""},
		"short":                  {"short"},
		"one two three four":     {"one two ", "three four"},
		"templates/api/one.yaml": {"templates/", "api/one.", "yaml"},
		"abcdefghijklmnop":       {"abcdefghij", "klmnop"},
		"a well-known fact":      {"a ", "well-known ", "fact"},
		"exactly10! more":        {"exactly10! ", "more"},
	} {
		got := f.wrap(in, body, width)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("wrap %q = %q, want %q", in, got, want)
		}
	}
}

func TestVisualOrder(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":      "plain",
		"a אבג b":    "a גבא b",
		"אב גד":      "דג בא",
		"x-אב-12-גד": "x-בא-12-דג",
	} {
		if got := visual(in); got != want {
			t.Errorf("visual(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkDrill(b *testing.B) {
	d := report.New(reporttest.Drill(reporttest.Drills()["half an hour"]))
	for b.Loop() {
		if _, err := layout(d, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
