package report

import (
	"bufio"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/companyos/helmproof/internal/readiness"
	templates "github.com/companyos/helmproof/templates/report"
)

// ReadinessMark is how an outcome of a checklist is shown.
func ReadinessMark(o readiness.Outcome) Mark {
	m := MarkFail
	switch o {
	case readiness.Done:
		m = MarkPass
	case readiness.Missing:
		m = MarkIncomplete
	}
	m.Word = strings.ToUpper(string(o))
	return m
}

// ReadinessMarkdown writes the answers to a checklist as GitHub-flavoured Markdown, with a
// task list that stands for whoever reads it in an issue. The error is that of w.
func ReadinessMarkdown(w io.Writer, d *readiness.Document) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# %s\n\n%s, by the evidence in %s as of %s.\n", markdownText(d.Title), markdownText(ReadinessWords(d.Outcome)), markdownCode(d.Repository), d.At.UTC().Format(time.RFC3339))
	for i := range d.Releases {
		r := &d.Releases[i]
		fmt.Fprintf(b, "\n## %s\n\n%s.\n\n", markdownText(ReadinessSubject(r)), markdownText(ReadinessWords(r.Outcome)))
		for _, a := range r.Items {
			box := " "
			if a.Outcome == readiness.Done {
				box = "x"
			}
			fmt.Fprintf(b, "- [%s] **%s** (%s): %s\n", box, markdownText(a.Title), markdownText(a.ID), markdownText(string(a.Outcome)))
			for _, p := range a.Parts {
				fmt.Fprintf(b, "  - %s: %s, %s\n", markdownText(p.What), markdownText(string(p.Outcome)), markdownText(p.Reason))
				for _, n := range p.Notes {
					fmt.Fprintf(b, "    - %s\n", markdownText(n))
				}
			}
			for _, get := range ReadinessCommands(&a) {
				fmt.Fprintf(b, "  - get it: %s\n", markdownCode(get))
			}
		}
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("render readiness: %w", err)
	}
	return nil
}

var readinessTemplate = sync.OnceValues(func() (*template.Template, error) {
	s, err := newSheet("report.css")
	if err != nil {
		return nil, err
	}
	return template.New("readiness.html.tmpl").Funcs(template.FuncMap{
		"v": Visible, "time": Time, "mark": ReadinessMark, "words": ReadinessWords,
		"css":      func() template.CSS { return s.css },
		"csp":      func() string { return s.csp },
		"subject":  func(r readiness.Report) string { return ReadinessSubject(&r) },
		"commands": func(a readiness.Answer) []string { return ReadinessCommands(&a) },
	}).ParseFS(templates.FS, "readiness.html.tmpl")
})

// ReadinessHTML writes the answers to a checklist as one self-contained page: no script,
// nothing loaded. The error is that of w.
func ReadinessHTML(w io.Writer, d *readiness.Document) error {
	t, err := readinessTemplate()
	if err != nil {
		return fmt.Errorf("parse html template: %w", err)
	}
	b := bufio.NewWriter(w)
	if err = t.Execute(b, d); err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("render readiness: %w", err)
	}
	return nil
}

// ReadinessWords says an outcome in words.
func ReadinessWords(o readiness.Outcome) string {
	switch o {
	case readiness.Done:
		return "Ready"
	case readiness.Missing:
		return "Not ready: something is missing"
	}
	return "Not ready: something cannot be verified"
}

// ReadinessSubject names what answers are about.
func ReadinessSubject(r *readiness.Report) string {
	s := r.Release
	if s == "" {
		s = "no release"
	}
	if chart := strings.TrimSpace(r.Chart + " " + r.Version); chart != "" {
		s += " (" + chart + ")"
	}
	if r.Namespace != "" {
		s += " in namespace " + r.Namespace
	}
	if r.Cluster != "" {
		s += ", cluster " + r.Cluster
	}
	return s
}

// ReadinessCommands are the commands that get what an item lacks, each once.
func ReadinessCommands(a *readiness.Answer) []string {
	var out []string
	for _, p := range a.Parts {
		if p.Get != "" && (len(out) == 0 || out[len(out)-1] != p.Get) {
			out = append(out, p.Get)
		}
	}
	return out
}
