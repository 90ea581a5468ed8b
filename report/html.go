package report

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"

	templates "github.com/companyos/helmproof/templates/report"
)

var htmlTemplate = sync.OnceValues(func() (*template.Template, error) {
	// A report without a drill has the style sheet that it always had.
	plain, err := newSheet("report.css")
	if err != nil {
		return nil, err
	}
	drill, err := newSheet("report.css", "drill.css")
	if err != nil {
		return nil, err
	}
	sheetOf := func(d *Document) sheet {
		if d.Drill != nil {
			return drill
		}
		return plain
	}
	return template.New("report.html.tmpl").Funcs(template.FuncMap{
		"v":        Visible,
		"css":      func(d *Document) template.CSS { return sheetOf(d).css },
		"csp":      func(d *Document) string { return sheetOf(d).csp },
		"svgs":     svgCharts,
		"time":     Time,
		"took":     RunTime,
		"bars":     htmlBars,
		"longest":  func(d *Document) int { return longest(d.Groups) },
		"group":    func(id string) string { return anchor("g-", id) },
		"filter":   newFilter,
		"class":    groupClass,
		"artifact": func(name string) string { return anchor("a-", name) },
	}).ParseFS(templates.FS, "report.html.tmpl", "drill.html.tmpl")
})

// sheet is a style sheet with the policy that allows it, and nothing else.
type sheet struct {
	css template.CSS
	csp string
}

func newSheet(files ...string) (sheet, error) {
	var all []byte
	for _, f := range files {
		raw, err := templates.FS.ReadFile(f)
		if err != nil {
			return sheet{}, err
		}
		all = append(all, raw...)
	}
	all = append(all, filterRules...)
	sum := sha256.Sum256(all)
	// Nothing may load or run; the one style sheet is allowed by its hash.
	return sheet{template.CSS(all), "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"}, nil
}

// HTML writes d as one self-contained page: no script, nothing loaded. Findings can be
// filtered by style alone: without it, and on paper, all are shown.
func HTML(w io.Writer, d *Document) error {
	t, err := htmlTemplate()
	if err != nil {
		return fmt.Errorf("parse html template: %w", err)
	}
	b := bufio.NewWriter(w)
	if err = t.Execute(b, d); err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("render html report: %w", err)
	}
	return nil
}

type bar struct {
	Title, Anchor, Label string
	Scale                int // the longest bar's length, in the segments' unit
	Segments             []segment
}

type segment struct {
	Count
	X, W int
}

// htmlBars lays the plot of groups out: ten units of length a control, one scale for all.
func htmlBars(d *Document) []bar {
	const unit = 10
	scale := longest(d.Groups) * unit
	out := make([]bar, 0, len(d.Groups))
	for _, g := range d.Groups {
		b := bar{Title: g.Title, Anchor: anchor("g-", g.ID), Scale: scale}
		x := 0
		var words []string
		for _, c := range g.Counts {
			if c.N == 0 {
				continue
			}
			b.Segments = append(b.Segments, segment{c, x, c.N * unit})
			x += c.N * unit
			words = append(words, fmt.Sprintf("%d %s", c.N, c.Mark.Word))
		}
		b.Label = strings.Join(words, ", ")
		out = append(out, b)
	}
	return out
}

// longest is the number of controls in the largest group, at least 1.
func longest(groups []Group) int {
	n := 1
	for _, g := range groups {
		n = max(n, len(g.Controls))
	}
	return n
}
