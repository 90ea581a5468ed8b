package manifest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrTooMuch says that a rendering is larger than what is read back.
var ErrTooMuch = fmt.Errorf("renders more than %d bytes", MaxSize)

// Join writes rendered files as one stream, in the order of their
// names, with the place of each document in its template.
func Join(rendered, templates map[string]string) ([]byte, error) {
	size := 0
	for _, text := range rendered {
		size += len(text) + 64
	}
	if size > MaxSize {
		return nil, ErrTooMuch
	}
	var out bytes.Buffer
	out.Grow(size)
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		text := rendered[name]
		if strings.TrimSpace(text) == "" {
			continue
		}
		places := templatePlaces(templates[name])
		used := map[string]int{}
		for d := range Documents([]byte(text)) {
			if OnlyComments(d.Text) {
				continue
			}
			WriteDocument(&out, name, places.find(kindOf(d.Text), used), d.Text)
		}
	}
	if out.Len() > MaxSize {
		return nil, ErrTooMuch
	}
	return out.Bytes(), nil
}

// WriteDocument appends one document with the comment that says where it comes from.
func WriteDocument(out *bytes.Buffer, file string, line int, text []byte) {
	fmt.Fprintf(out, "---\n%s%s:%d\n", SourcePrefix, file, line)
	out.Write(text)
	out.WriteByte('\n')
}

// OnlyComments reports whether a document holds nothing else.
func OnlyComments(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
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
		case isSeparator([]byte(l)):
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
