package main

import (
	"fmt"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// printWhere writes which field a finding is about and what made it, and, whole, the lines
// of the template around it.
func printWhere(t *terminal, f *evidence.Finding, whole bool) {
	var at []string
	if f.Field != "" {
		at = append(at, "at "+f.Field)
	}
	if by := f.Definition; by != nil {
		at = append(at, fmt.Sprintf("made by %s:%d", by.File, by.Line))
	}
	if len(at) > 0 {
		t.para("    ", "       ", strings.Join(at, ", "))
	}
	if whole {
		printSnippet(t, t.snippets[f.ID])
	}
}

// printSnippet writes lines of a file, numbered, without what they all are indented by.
func printSnippet(t *terminal, lines []pipeline.SnippetLine) {
	if len(lines) == 0 {
		return
	}
	width := len(fmt.Sprint(lines[len(lines)-1].Number))
	indent := -1
	for _, l := range lines {
		if n := len(l.Text) - len(strings.TrimLeft(l.Text, " ")); n < len(l.Text) && (indent < 0 || n < indent) {
			indent = n
		}
	}
	for _, l := range lines {
		mark, text := " ", l.Text
		if l.Here {
			mark = ">"
		}
		if indent > 0 {
			text = text[min(indent, len(text)):]
		}
		text = strings.TrimRight(clip(report.Visible(strings.ReplaceAll(text, "\t", "    ")), max(20, t.width-width-9)), " ")
		line := strings.TrimRight(fmt.Sprintf("    %s %*d | %s", mark, width, l.Number, text), " ")
		if !l.Here {
			line = t.faint(line)
		}
		t.line(line)
	}
}
