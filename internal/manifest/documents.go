package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Document is one document of a stream.
type Document struct {
	Text     []byte // without separator and source comment
	File     string // what its "# Source:" comment says
	Line     int
	From, To int // line range of Text in the stream, 1-based, without blank lines at either end
	// Refused says why Kubernetes' clients refuse the document whatever it holds;
	// empty for most.
	Refused string
}

// line is the number of the document's first line: in its file where that is
// known, else in the stream.
func (d *Document) line() int {
	if d.Line > 0 {
		return d.Line
	}
	return d.From
}

// Nothing reports whether the document surely holds only comments.
func (d *Document) Nothing() bool { return d.Refused == "" && OnlyComments(d.Text) }

// Chunk is raw[Start:End] of a stream of YAML, one document without the separator
// before it.
type Chunk struct {
	Start, End int
	Line       int    // of raw[Start], 1-based
	Refused    string // as in Document
}

// Chunks yields what separators divide. It splits as the YAMLReader of
// k8s.io/apimachinery does, which kubectl and Helm read with: a separator is a
// line, ended by a line feed and by nothing else, that starts with "---" and goes
// on with a space or a comment. Two of its ways would let readers disagree, and
// are refused: text after a separator, for which it refuses the whole stream,
// and a comment there that is not plain, which it drops or not by what came before.
func Chunks(raw []byte) iter.Seq[Chunk] {
	return func(yield func(Chunk) bool) {
		c := Chunk{Line: 1}
		for pos, line := 0, 1; pos < len(raw); line++ {
			next := len(raw)
			if i := bytes.IndexByte(raw[pos:], '\n'); i >= 0 {
				next = pos + i + 1
			}
			if rest, found := bytes.CutPrefix(raw[pos:next], []byte("---")); found {
				switch problem := separatorProblem(rest); {
				case problem == "":
					c.End = pos
					if !yield(c) {
						return
					}
					c = Chunk{Start: next, Line: line + 1}
				case c.Refused == "":
					c.Refused = problem
				}
			}
			pos = next
		}
		c.End = len(raw)
		yield(c)
	}
}

// separatorProblem says why a line that starts with "---" and goes on with rest
// separates nothing.
func separatorProblem(rest []byte) string {
	rest = bytes.TrimSuffix(bytes.TrimSuffix(rest, []byte("\n")), []byte("\r"))
	comment := bytes.TrimLeft(rest, " \t")
	switch {
	case !plain(rest):
		return "a line end that is no line feed, or a control character, after ---"
	case len(comment) > 0 && (comment[0] != '#' || len(comment) == len(rest)):
		return "text after ---, which Helm and kubectl refuse: " + strconv.QuoteToGraphic(string(comment[:min(len(comment), 40)]))
	}
	return ""
}

// otherBreak reports whether text has a line end of YAML 1.1 besides line feed
// and carriage return with line feed: what follows it in a comment is no comment.
func otherBreak(text []byte) bool {
	for i, c := range text {
		switch {
		case c == '\r' && (i+1 == len(text) || text[i+1] != '\n'),
			c == 0xC2 && bytes.HasPrefix(text[i:], []byte("\u0085")),
			c == 0xE2 && (bytes.HasPrefix(text[i:], []byte("\u2028")) || bytes.HasPrefix(text[i:], []byte("\u2029"))):
			return true
		}
	}
	return false
}

// endsLine reports whether text ends with one of YAML's line ends.
func endsLine(text []byte) bool {
	switch text[len(text)-1] {
	case '\n', '\r':
		return true
	case 0x85:
		return bytes.HasSuffix(text, []byte("\u0085"))
	case 0xA8, 0xA9:
		return bytes.HasSuffix(text, []byte("\u2028")) || bytes.HasSuffix(text, []byte("\u2029"))
	}
	return false
}

// Documents yields the documents of a stream of YAML that are not blank, as
// Chunks splits it.
func Documents(raw []byte) iter.Seq[Document] {
	return func(yield func(Document) bool) {
		for c := range Chunks(raw) {
			if d, ok := newDocument(raw[c.Start:c.End], c.Line); ok {
				d.Refused = c.Refused
				if !yield(d) {
					return
				}
			}
		}
	}
}

// Stream yields the documents of a file as kubectl, and Helm with the files in
// crds/, read it: as Documents, or as JSON objects one after the other.
func Stream(raw []byte) iter.Seq[Document] {
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	return func(yield func(Document) bool) {
		values, rest := jsonValues(raw)
		line, at := 1, 0
		for _, v := range values {
			line += bytes.Count(raw[at:v.start], []byte("\n"))
			d, _ := newDocument(raw[v.start:v.end], line)
			if !yield(d) {
				return
			}
			line, at = line+bytes.Count(raw[v.start:v.end], []byte("\n")), v.end
		}
		// As in the YAMLOrJSONDecoder of k8s.io/apimachinery: what follows one value
		// may be YAML, what follows several may not.
		line += bytes.Count(raw[at:rest], []byte("\n"))
		for d := range Documents(raw[rest:]) {
			d.From, d.To = d.From+line-1, d.To+line-1
			if len(values) > 1 && d.Refused == "" {
				d.Refused = "not JSON, after JSON objects"
			}
			if !yield(d) {
				return
			}
		}
	}
}

type span struct{ start, end int }

// jsonValues finds the JSON values at the start of raw, and where what follows
// them starts. There are none in what does not start with an object.
func jsonValues(raw []byte) (values []span, rest int) {
	if !bytes.HasPrefix(bytes.TrimLeftFunc(raw, unicode.IsSpace), []byte("{")) {
		return nil, 0
	}
	for dec := json.NewDecoder(bytes.NewReader(raw)); ; {
		var v json.RawMessage
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return values, len(raw)
		}
		if err != nil {
			break
		}
		end := int(dec.InputOffset())
		values = append(values, span{end - len(v), end})
	}
	if len(values) > 0 {
		rest = values[len(values)-1].end
	}
	// White space is left out up to the end of the line: YAML must start in one.
	for i, c := range string(raw[rest:]) {
		if !unicode.IsSpace(c) {
			return values, rest + i
		}
		if c == '\n' {
			return values, rest + i + 1
		}
	}
	return values, len(raw)
}

// newDocument cuts blank lines and the source comment off text, whose first
// line is number line. ok is false when nothing is left.
func newDocument(text []byte, line int) (d Document, ok bool) {
	skip := func() {
		for {
			i := bytes.IndexByte(text, '\n')
			if i < 0 || len(bytes.TrimLeft(bytes.TrimSuffix(text[:i], []byte("\r")), " ")) > 0 {
				return
			}
			text, line = text[i+1:], line+1
		}
	}
	skip()
	if rest, found := bytes.CutPrefix(text, []byte(SourcePrefix)); found {
		comment, after, _ := bytes.Cut(rest, []byte("\n"))
		if comment = bytes.TrimSuffix(comment, []byte("\r")); plain(comment) {
			d.File, d.Line = parseSource(string(bytes.TrimRight(comment, " \t")))
			text, line = after, line+1
			skip()
		}
	}
	text = bytes.TrimRight(text, "\n\r")
	if len(bytes.TrimLeft(text, " ")) == 0 {
		return d, false
	}
	d.Text, d.From = text, line
	d.To = line + bytes.Count(text, []byte("\n"))
	return d, true
}

// parseSource splits "<file>:<line>"; without a number the line is unknown (0).
func parseSource(s string) (file string, line int) {
	if i := strings.LastIndexByte(s, ':'); i > 0 {
		if n, err := strconv.Atoi(s[i+1:]); err == nil && n >= 0 {
			return s[:i], n
		}
	}
	return s, 0
}

// OnlyComments reports whether a document surely holds nothing else: whatever is
// not plain is for the decoder to say.
func OnlyComments(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		line = bytes.TrimLeft(line, " ")
		if len(line) > 0 && (line[0] != '#' || !plain(line)) {
			return false
		}
	}
	return true
}

// plain reports whether a comment is one for every reader: it has no line end, and
// nothing that YAML may not hold.
func plain(comment []byte) bool {
	return !otherBreak(comment) && utf8.Valid(comment) && !bytes.ContainsFunc(comment, func(r rune) bool {
		return unicode.IsControl(r) && r != '\t' || r == '\ufeff' || r == '\ufffe' || r == '\uffff'
	})
}
