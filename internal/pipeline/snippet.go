package pipeline

import (
	"bytes"
	"strings"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
)

// SnippetLine is a line of a chart's file, as it may be shown: secrets are masked,
// control characters are not.
type SnippetLine struct {
	Number int
	Text   string
	Here   bool // the line that the finding is about
}

// Limits of snippets.
const (
	maxSnippets    = 1000
	aroundSnippet  = 1 // lines before and after
	maskedLine     = "(masked: a secret)"
	secretsRules   = "secrets/"
	maxSnippetFile = 1 << 20 // bytes of a file that lines are taken out of
)

// snippets returns, by the id of a finding, the lines of the chart around it. Findings of
// secrets have none, and a line that one of them is about is masked wherever it shows.
func snippets(findings []evidence.Finding, rel *chart.Release, redactor collectors.Redactor) map[string][]SnippetLine {
	type spot struct {
		file string
		line int
	}
	secret := map[spot]bool{}
	for i := range findings {
		f := &findings[i]
		if !strings.HasPrefix(f.Rule, secretsRules) {
			continue
		}
		t := f.Target
		for n := t.Line; n <= max(t.Line, t.EndLine); n++ {
			secret[spot{t.File, n}] = true
		}
		if f.Definition != nil {
			secret[spot{f.Definition.File, f.Definition.Line}] = true
		}
	}
	out := map[string][]SnippetLine{}
	files := map[string][][]byte{}
	for i := range findings {
		f := &findings[i]
		t := &f.Target
		if t.File == "" || t.Column == 0 || strings.HasPrefix(f.Rule, secretsRules) || f.Outcome.Rank() > evidence.OutcomeWarn.Rank() {
			continue
		}
		if len(out) == maxSnippets {
			break
		}
		lines, known := files[t.File]
		if !known {
			lines = shownLines(rel, t.File, redactor)
			files[t.File] = lines
		}
		if t.Line > len(lines) {
			continue
		}
		for n := max(1, t.Line-aroundSnippet); n <= min(len(lines), t.Line+aroundSnippet); n++ {
			l := SnippetLine{Number: n, Text: string(bytes.TrimRight(lines[n-1], "\r\n")), Here: n == t.Line}
			if secret[spot{t.File, n}] {
				l.Text = maskedLine
			}
			out[f.ID] = append(out[f.ID], l)
		}
	}
	return out
}

// shownLines are the lines of a file without secrets; nil where they cannot be told.
func shownLines(rel *chart.Release, file string, redactor collectors.Redactor) [][]byte {
	for _, f := range rel.Files {
		if f.Name != file {
			continue
		}
		if len(f.Data) > maxSnippetFile {
			return nil
		}
		raw := f.Data
		if redactor != nil {
			raw, _ = redactor.Redact(raw)
		}
		if bytes.Count(raw, []byte("\n")) != bytes.Count(f.Data, []byte("\n")) {
			return nil // a secret of several lines: which line is which is not known
		}
		return bytes.SplitAfter(raw, []byte("\n"))
	}
	return nil
}
