package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"golang.org/x/term"

	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// terminal writes for people: wrapped to a width, coloured only where that is wanted.
type terminal struct {
	w     io.Writer
	color bool
	width int // columns, at least 40

	snippets map[string][]pipeline.SnippetLine // by the id of a finding
}

// isTerminal says whether a stream is one that somebody sits at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newTerminal decides colour by mode (auto, always, never), NO_COLOR
// (https://no-color.org) and whether w is a terminal. Piped output is 80 wide.
func newTerminal(w io.Writer, mode string) *terminal {
	t := &terminal{w: w, width: 80}
	isTerm := isTerminal(w)
	if f, ok := w.(*os.File); ok && isTerm {
		if cols, _, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 {
			t.width = min(max(cols, 40), 120)
		}
	}
	t.color = mode == "always" || mode != "never" && isTerm && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return t
}

func (t *terminal) paint(ansi, s string) string {
	if !t.color || s == "" {
		return s
	}
	return "\x1b[" + ansi + "m" + s + "\x1b[0m"
}

func (t *terminal) bold(s string) string  { return t.paint("1", s) }
func (t *terminal) faint(s string) string { return t.paint("90", s) }

// mark is "■ FAIL", padded to width columns.
func (t *terminal) mark(m report.Mark, width int) string {
	s := m.Shape + " " + m.Word
	return t.paint("1;"+m.ANSI, s) + pad(s, width)
}

func pad(s string, width int) string {
	return strings.Repeat(" ", max(0, width-uniseg.StringWidth(s)))
}

func (t *terminal) line(s string) { fmt.Fprintln(t.w, s) }

// para writes text with first before its first line and rest before the others,
// wrapped at spaces and, where a word is too long, after / - . or anywhere.
func (t *terminal) para(first, rest, text string) {
	for i, l := range wrap(printable(text), max(20, t.width-max(columns(first), uniseg.StringWidth(rest)))) {
		if i == 0 {
			t.line(first + l)
		} else {
			t.line(rest + l)
		}
	}
}

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// columns is how wide a text is that may be coloured.
func columns(s string) int { return uniseg.StringWidth(sgr.ReplaceAllString(s, "")) }

// phrase writes parts beside each other, two spaces apart, and goes on in a new
// line, after indent, where the next one has no room. Parts may be coloured; the
// last may be plain text that is longer than a line, and is wrapped.
func (t *terminal) phrase(indent string, parts []string) {
	line, cols := "", 0
	for i, p := range parts {
		w := columns(p)
		switch {
		case i == 0:
			line, cols = p, w
		case cols+2+w <= t.width:
			line, cols = line+"  "+p, cols+2+w
		case len(indent)+w <= t.width:
			t.line(line)
			line, cols = indent+p, len(indent)+w
		default:
			t.line(line)
			t.para(indent, indent, p)
			return
		}
	}
	t.line(line)
}

// wrap breaks text into lines of at most width columns.
func wrap(text string, width int) []string {
	var lines []string
	line, cols := "", 0
	for word := range strings.FieldsSeq(text) {
		w := uniseg.StringWidth(word)
		if cols > 0 && cols+1+w <= width {
			line, cols = line+" "+word, cols+1+w
			continue
		}
		if cols > 0 {
			lines = append(lines, line)
		}
		for w > width {
			head := breakAt(word, width)
			lines = append(lines, word[:head])
			word = word[head:]
			w = uniseg.StringWidth(word)
		}
		line, cols = word, w
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// breakAt returns how many bytes of word to put on a line of width columns.
func breakAt(word string, width int) int {
	cols, nice, last := 0, 0, 0
	for i, r := range word {
		w := uniseg.StringWidth(string(r))
		if cols+w > width {
			break
		}
		cols += w
		last = i + utf8.RuneLen(r)
		if strings.ContainsRune("/-.@:", r) && cols > width/2 {
			nice = last
		}
	}
	if nice > 0 {
		return nice
	}
	return max(last, 1)
}

// printable makes what has no visible form, and invalid UTF-8, visible, so that a name in a chart cannot move the cursor or hide text.
func printable(s string) string {
	clean := func(r rune) bool {
		return r == utf8.RuneError || r != '\n' && report.Hidden(r)
	}
	if strings.IndexFunc(s, clean) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if clean(r) {
			fmt.Fprintf(&b, "[U+%04X]", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// completions writes the lines of a completion, a value and perhaps a description
// after a tab, with what a shell's terminal would obey made visible.
type completions struct{ w io.Writer }

func (c completions) Write(p []byte) (int, error) {
	parts := strings.Split(string(p), "\t")
	for i := range parts {
		parts[i] = printable(parts[i])
	}
	if _, err := io.WriteString(c.w, strings.Join(parts, "\t")); err != nil {
		return 0, err
	}
	return len(p), nil
}

func plural(n int, one string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %ss", n, one)
}
