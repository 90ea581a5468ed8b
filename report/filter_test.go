package report_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

// TestFilter: each box hides by a rule of the style sheet exactly what it counts, all
// are ticked at first, and none hides a part of what others stand for.
func TestFilter(t *testing.T) {
	t.Parallel()
	d := report.New(reporttest.Weak())
	b, err := reporttest.Bytes(report.HTML, d)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	css, _, _ := strings.Cut(page[strings.Index(page, "<style>"):], "</style>")
	if i := strings.Index(css, "@media screen{"); i < 0 || strings.Contains(css[:i], ":has(#show-") {
		t.Error("a rule of the filter counts on paper, too")
	}
	root, err := html.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	class := func(n *html.Node) string {
		for _, a := range n.Attr {
			if a.Key == "class" {
				return " " + a.Val + " "
			}
		}
		return " "
	}
	boxes := 0
	for n := range root.Descendants() {
		if n.Type != html.ElementNode || n.Data != "input" {
			continue
		}
		boxes++
		id, checked := "", false
		for _, a := range n.Attr {
			if a.Key == "id" {
				id = a.Val
			}
			checked = checked || a.Key == "checked"
		}
		if !checked {
			t.Errorf("box %s hides something from the start", id)
		}
		m := regexp.MustCompile(`body:has\(#` + id + `:not\(:checked\)\) \.([a-z0-9-]+)\{display:none\}`).FindStringSubmatch(css)
		if m == nil {
			t.Errorf("box %s hides nothing", id)
			continue
		}
		hidden := 0
		for f := range root.Descendants() {
			if f.Type == html.ElementNode && f.Data == "article" && strings.Contains(class(f), " finding ") && (strings.Contains(class(f), " "+m[1]+" ") || strings.Contains(class(f.Parent), " "+m[1]+" ")) {
				hidden++
			}
		}
		var label bytes.Buffer
		if err := html.Render(&label, n.Parent); err != nil {
			t.Fatal(err)
		}
		if hidden == 0 || !strings.Contains(label.String(), fmt.Sprintf(">%d<", hidden)) {
			t.Errorf("box %s hides %d findings, and its label says %s", id, hidden, label.String())
		}
	}
	if boxes < 6 {
		t.Errorf("%d boxes, want some for severities and groups", boxes)
	}
	if strings.Contains(page, "<script") || !strings.Contains(html.UnescapeString(page), "default-src 'none'") {
		t.Error("the page may run a script, or lacks its policy")
	}
}
