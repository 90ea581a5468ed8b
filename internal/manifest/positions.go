package manifest

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// ErrTooMuch says that a rendering is larger than what is read back.
var ErrTooMuch = fmt.Errorf("renders more than %d bytes", MaxSize)

// File is a rendered file with its documents, as whoever reads it splits it.
type File struct {
	Name      string
	Template  string // what it was rendered from
	Documents iter.Seq[Document]
}

// Join writes files as one stream, in the order of their names, with the place of
// each document in its template.
func Join(files []File) ([]byte, error) {
	var out bytes.Buffer
	for _, f := range slices.SortedStableFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Name, b.Name) }) {
		var places places
		used := map[string]int{}
		for d := range f.Documents {
			if d.Nothing() {
				continue
			}
			if places == nil {
				places = templatePlaces(f.Template)
			}
			WriteDocument(&out, f.Name, places.find(kindOf(d.Text), used), d)
			if out.Len() > MaxSize {
				return nil, ErrTooMuch
			}
		}
	}
	return out.Bytes(), nil
}

// WriteDocument appends one document with the comment that says where it comes
// from. What is refused stays so: it gets a separator that is none.
func WriteDocument(out *bytes.Buffer, file string, line int, d Document) {
	fmt.Fprintf(out, "---\n%s%s:%d\n", SourcePrefix, file, line)
	if d.Refused != "" && !bytes.HasPrefix(d.Text, []byte("---")) && !bytes.Contains(d.Text, []byte("\n---")) {
		fmt.Fprintf(out, "--- %s\n", d.Refused)
	}
	out.Write(d.Text)
	out.WriteByte('\n')
}

// kindOf returns the value of the top-level key kind, without parsing.
func kindOf(text []byte) string {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("kind:")); ok {
			return kindValue(string(rest))
		}
	}
	return ""
}

func kindValue(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), " #")
	return strings.Trim(strings.TrimSpace(s), `"'`)
}

// place is where a template probably starts an object: the line of its
// apiVersion or kind, whichever comes first.
type place struct {
	kind string // "" when an action makes it
	line int
}

type places []place

// templatePlaces scans a template for lines that start with "apiVersion:" or
// "kind:".
func templatePlaces(text string) places {
	var found places
	start, line := 0, 0 // start: where the object that is being read starts
	for l := range strings.Lines(text) {
		line++
		switch {
		case strings.HasPrefix(l, "---"):
			start = 0
		case start == 0 && strings.HasPrefix(l, "apiVersion:"):
			start = line
		case strings.HasPrefix(l, "kind:"):
			kind := kindValue(l[len("kind:"):])
			if strings.Contains(kind, "{{") {
				kind = ""
			}
			if start == 0 {
				start = line
			}
			found = append(found, place{kind: kind, line: start})
			start = 0
		}
	}
	return found
}

// find returns the line of the next object of a kind; used counts the ones
// before. An object that a loop repeats stays at its last place; one that is
// nowhere to be seen is at line 1.
func (p places) find(kind string, used map[string]int) int {
	n := used[kind]
	used[kind]++
	line := 0
	for _, pl := range p {
		if pl.kind != kind && pl.kind != "" {
			continue
		}
		line = pl.line
		if n--; n < 0 {
			break
		}
	}
	return max(line, 1)
}
