package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// edit replaces raw[from:to].
type edit struct {
	from, to int
	text     string
}

// edited writes the documents of raw, decoded as before, as after, by replacing the
// scalars that differ where they stand: comments, order and style stay. Comments are
// redacted as text. ok is false where the result would not decode to after.
func (r *Redactor) edited(raw []byte, before, after []any, decode func([]byte) (any, error)) (out []byte, comments int, ok bool) {
	same := reflect.DeepEqual(before, after)
	var edits []edit
	if !same {
		e := editor{Redactor: r, raw: raw, lines: lineOffsets(raw)}
		if err := e.documents(before, after); err != nil {
			return nil, 0, false
		}
		edits = e.edits
	}
	out = apply(raw, edits)
	out, n := r.forms.replace(out)
	out, m := r.besideComments(out)
	if same && n+m == 0 {
		return raw, 0, true
	}
	again, err := decode(out)
	if docs, isList := again.([]any); isList && err == nil && len(docs) == len(after) && reflect.DeepEqual(docs, after) {
		return out, n + m, true
	}
	return out, n + m, err == nil && len(after) == 1 && reflect.DeepEqual(again, after[0])
}

// besideComments redacts short secrets in comments that fill a line.
func (r *Redactor) besideComments(raw []byte) ([]byte, int) {
	if len(r.short) == 0 || !bytes.Contains(raw, []byte("#")) {
		return raw, 0
	}
	var out []byte
	n := 0
	for line := range bytes.Lines(raw) {
		m := 0
		if t := bytes.TrimSpace(line); len(t) > 0 && t[0] == '#' {
			line, m = r.beside(line)
		}
		out, n = append(out, line...), n+m
	}
	if n == 0 {
		return raw, 0
	}
	return out, n
}

func apply(raw []byte, edits []edit) []byte {
	if len(edits) == 0 {
		return raw
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	var out []byte
	done := 0
	for _, e := range edits {
		if e.from < done {
			continue // decoding again shows it
		}
		out = append(append(out, raw[done:e.from]...), e.text...)
		done = e.to
	}
	return append(out, raw[done:]...)
}

func lineOffsets(raw []byte) []int {
	at := []int{0}
	for i, c := range raw {
		if c == '\n' {
			at = append(at, i+1)
		}
	}
	return at
}

// editor finds the scalars of YAML in its text.
type editor struct {
	*Redactor
	raw   []byte
	lines []int // where each line starts
	edits []edit
}

var errPlace = errors.New("the scalar is not found in the text")

func (e *editor) documents(before, after []any) error {
	dec := yamlv3.NewDecoder(bytes.NewReader(e.raw))
	for i := range before {
		var n yamlv3.Node
		if err := dec.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if len(n.Content) == 1 {
			if err := e.node(n.Content[0], before[i], after[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *editor) node(n *yamlv3.Node, before, after any) error {
	switch n.Kind {
	case yamlv3.MappingNode:
		b, ok1 := before.(map[string]any)
		a, ok2 := after.(map[string]any)
		if !ok1 || !ok2 {
			return errPlace
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			was, ok := b[key.Value]
			if !ok {
				continue // a merge, or a key that is no string
			}
			name, renamed := e.forms.replace([]byte(key.Value))
			is, ok := a[string(name)]
			if !ok {
				return errPlace
			}
			if renamed > 0 {
				if err := e.scalar(key, string(name)); err != nil {
					return err
				}
			}
			if err := e.node(n.Content[i+1], was, is); err != nil {
				return err
			}
		}
	case yamlv3.SequenceNode:
		b, ok1 := before.([]any)
		a, ok2 := after.([]any)
		if !ok1 || !ok2 || len(b) != len(n.Content) || len(a) != len(b) {
			return errPlace
		}
		for i, c := range n.Content {
			if err := e.node(c, b[i], a[i]); err != nil {
				return err
			}
		}
	case yamlv3.ScalarNode:
		if reflect.DeepEqual(before, after) {
			return nil
		}
		if s, ok := after.(string); ok {
			return e.scalar(n, s)
		}
		text, ok := scalar(after)
		if !ok {
			return errPlace
		}
		return e.replace(n, func(byte) string { return text })
	}
	return nil
}

// plainScalar matches texts that are strings in YAML without quotes.
var plainScalar = regexp.MustCompile(`^[A-Za-z(][A-Za-z0-9_()./:@-]*[A-Za-z0-9)]$`)

// yamlWords are no strings without quotes, in YAML 1.1.
var yamlWords = map[string]bool{"true": true, "false": true, "yes": true, "no": true, "on": true, "off": true, "null": true}

// scalar replaces a scalar by a text, in the style that it has.
func (e *editor) scalar(n *yamlv3.Node, text string) error {
	return e.replace(n, func(style byte) string {
		switch {
		case style == '\'' && !strings.Contains(text, "\n") && !strings.ContainsFunc(text, mustEscape):
			return "'" + strings.ReplaceAll(text, "'", "''") + "'"
		case style == 0 && (text == mask || plainScalar.MatchString(text) && !yamlWords[strings.ToLower(text)]):
			return text
		}
		q, err := encodeFlow(text)
		if err != nil {
			return strconv.Quote(mask)
		}
		return string(q)
	})
}

// replace replaces a scalar's text; write is given its style: a quote, '|' or '>'
// for a block, 0 for a plain one.
func (e *editor) replace(n *yamlv3.Node, write func(style byte) string) error {
	from, ok := e.offset(n.Line, n.Column)
	if !ok {
		return errPlace
	}
	// An anchor and a tag stand before it.
	for from < len(e.raw) && (e.raw[from] == '&' || e.raw[from] == '!') {
		for from < len(e.raw) && e.raw[from] != ' ' && e.raw[from] != '\n' {
			from++
		}
		for from < len(e.raw) && e.raw[from] == ' ' {
			from++
		}
	}
	if from >= len(e.raw) {
		return errPlace
	}
	switch c := e.raw[from]; c {
	case '"', '\'':
		to := from + 1
		for ; to < len(e.raw); to++ {
			switch {
			case c == '"' && e.raw[to] == '\\':
				to++
			case c == '\'' && e.raw[to] == '\'' && to+1 < len(e.raw) && e.raw[to+1] == '\'':
				to++
			case e.raw[to] == c:
				e.edits = append(e.edits, edit{from, to + 1, write(c)})
				return nil
			}
		}
		return errPlace
	case '|', '>':
		return e.block(n, from, write)
	}
	if !bytes.HasPrefix(e.raw[from:], []byte(n.Value)) || strings.Contains(n.Value, "\n") || n.Value == "" {
		return errPlace // folded
	}
	e.edits = append(e.edits, edit{from, from + len(n.Value), write(0)})
	return nil
}

// block replaces a block scalar: line by line where its text has as many lines, so
// that it stays readable, else by a quoted text.
func (e *editor) block(n *yamlv3.Node, from int, write func(byte) string) error {
	style := e.raw[from]
	line := n.Line // the line after the header, counted from 0
	first, indent := line, -1
	end := line
	for ; end < len(e.lines); end++ {
		text := e.line(end)
		blank := strings.TrimSpace(text) == ""
		spaces := len(text) - len(strings.TrimLeft(text, " "))
		if blank {
			continue
		}
		if indent < 0 {
			indent = spaces
		}
		if spaces < indent || indent == 0 {
			break
		}
	}
	if indent <= 0 {
		return errPlace
	}
	for end > first && strings.TrimSpace(e.line(end-1)) == "" {
		end--
	}
	var text string
	quoted := write(style)
	if err := json.Unmarshal([]byte(quoted), &text); err != nil {
		return errPlace
	}
	header := strings.TrimRight(e.line(n.Line - 1)[from-e.lines[n.Line-1]:], "\r\n")
	header, comment, _ := strings.Cut(header, "#")
	header = strings.TrimRight(header, " ")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	stop := len(e.raw)
	if end < len(e.lines) {
		stop = e.lines[end]
	}
	if style == '|' && comment == "" && strings.Trim(header, "|+-") == "" && lines[0] == strings.TrimLeft(lines[0], " ") && lines[0] != "" && !strings.ContainsFunc(text, mustEscape) {
		var b strings.Builder
		b.WriteString(header + "\n")
		for _, l := range lines {
			if l != "" {
				b.WriteString(strings.Repeat(" ", indent) + l)
			}
			b.WriteByte('\n')
		}
		e.edits = append(e.edits, edit{from, stop, b.String()})
		return nil
	}
	if stop > from && e.raw[stop-1] == '\n' {
		stop--
	}
	e.edits = append(e.edits, edit{from, stop, quoted})
	return nil
}

func (e *editor) line(i int) string {
	if i >= len(e.lines) {
		return ""
	}
	end := len(e.raw)
	if i+1 < len(e.lines) {
		end = e.lines[i+1]
	}
	return string(e.raw[e.lines[i]:end])
}

// offset is where in the text a node stands; line and column count from 1, columns
// in characters.
func (e *editor) offset(line, column int) (int, bool) {
	if line < 1 || line > len(e.lines) || column < 1 {
		return 0, false
	}
	at := 0
	for i := range e.line(line - 1) {
		if at++; at == column {
			return e.lines[line-1] + i, true
		}
	}
	return 0, false
}
