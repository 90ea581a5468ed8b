package report_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
	"golang.org/x/net/html"

	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

// checkHostile renders a release whose every text is s in every format, and
// checks that s became text and nothing else.
func checkHostile(t *testing.T, s string) {
	t.Helper()
	d := report.New(reporttest.Hostile(s))
	for name, render := range renderers() {
		b, err := reporttest.Bytes(render, d)
		if err != nil {
			t.Fatalf("%s of %q: %v", name, s, err)
		}
		if !utf8.Valid(b) {
			t.Errorf("%s of %q is not UTF-8", name, s)
		}
		switch name {
		case "md":
			checkPlain(t, name, s, b)
			checkMarkdown(t, s, b)
		case "html":
			checkPlain(t, name, s, b)
			checkHTML(t, s, b)
		case "junit":
			checkPlain(t, name, s, b)
			if err := wellFormed(b); err != nil {
				t.Errorf("junit of %q: %v", s, err)
			}
		}
	}
}

func checkPlain(t *testing.T, name, s string, b []byte) {
	t.Helper()
	for _, r := range string(b) {
		if r != '\n' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co) {
			t.Errorf("%s of %q holds the hidden character %U", name, s, r)
			return
		}
	}
}

// allowed are the only elements and attributes that the HTML report has.
var allowed = map[string]string{
	"html": "lang", "head": "", "meta": "charset http-equiv content name", "title": "id", "style": "", "body": "", "header": "", "main": "", "footer": "", "section": "aria-labelledby class",
	"h1": "", "h2": "id", "h3": "id", "h4": "", "p": "class", "span": "class aria-hidden title", "strong": "", "code": "", "pre": "tabindex", "a": "href class aria-label", "nav": "aria-label",
	"dl": "class", "div": "class", "figure": "class", "figcaption": "", "desc": "id", "path": "class d", "line": "class x1 y1 x2 y2", "g": "aria-hidden", "text": "class x y text-anchor", "ol": "class", "dt": "", "dd": "", "table": "class", "thead": "", "tbody": "", "tr": "id", "th": "scope class", "td": "class", "ul": "class", "li": "",
	"fieldset": "", "legend": "", "label": "", "input": "type id checked autocomplete",
	"article": "class id", "details": "", "summary": "", "br": "", "svg": "viewBox preserveAspectRatio role aria-label aria-labelledby aria-hidden x y width height", "rect": "class x y width height",
}

func checkHTML(t *testing.T, s string, b []byte) {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(b))
	if err != nil {
		t.Errorf("html of %q: %v", s, err)
		return
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		attrs, ok := allowed[n.Data]
		if !ok {
			t.Errorf("html of %q has an element %q", s, n.Data)
		}
		for _, a := range n.Attr {
			if !strings.Contains(" "+attrs+" ", " "+a.Key+" ") {
				t.Errorf("html of %q: <%s> has an attribute %q", s, n.Data, a.Key)
			}
			if a.Key == "href" && !strings.HasPrefix(a.Val, "#") {
				t.Errorf("html of %q links to %q", s, a.Val)
			}
		}
	}
}

// shape is what a Markdown document is made of, apart from its words.
func shape(t *testing.T, s string, b []byte) map[string]int {
	t.Helper()
	doc := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(b))
	n := map[string]int{}
	err := ast.Walk(doc, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node.Kind() {
		case ast.KindLink, ast.KindImage, ast.KindRawHTML, ast.KindHTMLBlock, ast.KindAutoLink, extast.KindStrikethrough, extast.KindTaskCheckBox:
			t.Errorf("markdown of %q holds a %s", s, node.Kind())
		case ast.KindHeading, ast.KindListItem, ast.KindFencedCodeBlock, extast.KindTable, extast.KindTableRow, extast.KindTableCell, ast.KindEmphasis, ast.KindBlockquote:
			n[node.Kind().String()]++
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func checkMarkdown(t *testing.T, s string, b []byte) {
	t.Helper()
	plain, err := reporttest.Bytes(report.Markdown, report.New(reporttest.Hostile("plain")))
	if err != nil {
		t.Fatal(err)
	}
	want, got := shape(t, "plain", plain), shape(t, s, b)
	if strings.TrimSpace(report.Visible(s)) == "" {
		return // absent values leave their rows out
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("markdown of %q has %d %s, want %d", s, got[k], k, n)
		}
	}
}

func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, s := range reporttest.HostileNames {
		checkHostile(t, s)
	}
	checkHostile(t, strings.Join(reporttest.HostileNames, " "))
}

func FuzzRenderers(f *testing.F) {
	for _, s := range reporttest.HostileNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 256 {
			t.Skip()
		}
		checkHostile(t, s)
	})
}
