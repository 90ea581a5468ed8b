package report

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"text/template"

	templates "github.com/companyos/helmproof/templates/report"
)

var markdownTemplate = sync.OnceValues(func() (*template.Template, error) {
	return template.New("report.md.tmpl").Funcs(template.FuncMap{
		"v":     Visible,
		"md":    markdownText,
		"code":  markdownCode,
		"mark":  func(m Mark) string { return m.Shape + " " + markdownText(m.Word) },
		"marks": markdownCounts,
		"time":  Time,
		"took":  RunTime,
		"spark": func(d *Drill) Spark { return d.Spark(sparkColumns) },
	}).ParseFS(templates.FS, "report.md.tmpl", "drill.md.tmpl")
})

// Markdown writes d as GitHub-flavoured Markdown.
func Markdown(w io.Writer, d *Document) error {
	t, err := markdownTemplate()
	if err != nil {
		return fmt.Errorf("parse markdown template: %w", err)
	}
	b := bufio.NewWriter(w)
	if err = t.Execute(b, d); err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("render markdown report: %w", err)
	}
	return nil
}

var markdownEscaper = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`,
	"|", `\|`, "~", `\~`, "&", `\&`, "#", `\#`, "!", `\!`, "$", `\$`, "@", `\@`, "{", `\{`, "}", `\}`,
	"://", `\://`, "www.", `www\.`, "WWW.", `WWW\.`, // what GitHub would make links of
)

var wwwDot = regexp.MustCompile(`(?i)\bwww\.`)

// markdownText escapes s for running text and table cells: it becomes exactly
// its own characters, on one line, with no markup, no HTML and no link.
func markdownText(s string) string {
	s = markdownEscaper.Replace(strings.TrimSpace(Visible(s)))
	return wwwDot.ReplaceAllStringFunc(s, func(m string) string { return m[:len(m)-1] + `\.` })
}

// markdownCode writes s as code where that is safe in a table, else as text.
func markdownCode(s string) string {
	s = strings.TrimSpace(Visible(s))
	if s == "" || strings.ContainsAny(s, "`|\\") {
		return markdownText(s)
	}
	return "`" + s + "`"
}

func markdownCounts(cs []Count) string {
	var parts []string
	for _, c := range cs {
		if c.N > 0 {
			parts = append(parts, fmt.Sprintf("%s %d %s", c.Mark.Shape, c.N, markdownText(c.Mark.Word)))
		}
	}
	return strings.Join(parts, ", ")
}
