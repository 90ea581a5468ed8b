package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// Limits of a SourceMap: with more it says nothing of the documents that come last.
const (
	maxMapRuns  = 200_000
	maxMapBytes = 8 << 20
)

// SourceMap says which lines of which files made the lines of a stream of manifests.
// It is a hint for people and decides nothing.
type SourceMap struct {
	Files     []string      `json:"files"`
	Documents []MappedLines `json:"documents"` // sorted by From
}

// MappedLines is one document of a SourceMap.
type MappedLines struct {
	File  int `json:"file"`  // of SourceMap.Files: the template
	From  int `json:"from"`  // its first line in the stream, counted from 1
	Lines int `json:"lines"` // how many it has
	// Runs has five numbers for each run of lines that go on in the same way: how many
	// they are; the line of the template that made the first of them, 0 where that is not
	// known; the column, or 0 where each line of the template made one and starts in the
	// same column; and, counted from 1, the file and the line of the definition that made
	// the first of them, 0 where the template itself did.
	Runs []int `json:"runs"`
}

const runSize = 5

// Place is a place in a file of a chart; no line means that there is none.
type Place = evidence.Place

// Origin is what made one line.
type Origin struct {
	At Place // in the template of the document
	By Place // in the definition that At calls
	// Whole says that a line of the template that starts with text made the line.
	Whole bool
}

// MapBuilder makes a SourceMap.
type MapBuilder struct {
	m     SourceMap
	files map[string]int
	runs  int
}

func (b *MapBuilder) file(name string) int {
	i, ok := b.files[name]
	if !ok {
		if b.files == nil {
			b.files = map[string]int{}
		}
		i = len(b.m.Files)
		b.files[name] = i
		b.m.Files = append(b.m.Files, name)
	}
	return i
}

// Add adds a document that starts in that line of the stream. origin says what made its
// i-th line, and true where the line is one of the template's that starts in the same column.
func (b *MapBuilder) Add(file string, from, lines int, origin func(i int) (o Origin, plain bool)) {
	d := MappedLines{File: b.file(file), From: from, Lines: lines}
	var last []int
	for i := range lines {
		o, plain := origin(i)
		next := [runSize]int{1, o.At.Line, o.At.Column, 0, 0}
		if plain {
			next[2] = 0
		}
		if o.By.Line > 0 {
			next[3], next[4] = b.file(o.By.File)+1, o.By.Line
		}
		if last != nil && goesOn(last, next) {
			last[0]++
			continue
		}
		if b.runs++; b.runs > maxMapRuns {
			return
		}
		d.Runs = append(d.Runs, next[:]...)
		last = d.Runs[len(d.Runs)-runSize:]
	}
	b.m.Documents = append(b.m.Documents, d)
}

// goesOn reports whether the line next goes on as the run last does.
func goesOn(last []int, next [runSize]int) bool {
	n := last[0]
	line := last[1]
	if last[2] == 0 && line > 0 {
		line += n
	}
	return next[1] == line && next[2] == last[2] && next[3] == last[3] && (last[3] == 0 || next[4] == last[4]+n)
}

// Bytes is the map as it is sealed; nil where it says nothing.
func (b *MapBuilder) Bytes() ([]byte, error) {
	if len(b.m.Documents) == 0 {
		return nil, nil
	}
	return b.m.Bytes()
}

// Bytes is the map as it is sealed; nil where it would be too large.
func (m *SourceMap) Bytes() ([]byte, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("source map: %w", err)
	}
	if len(raw) > maxMapBytes {
		return nil, nil
	}
	return raw, nil
}

// ParseSourceMap reads what Bytes wrote.
func ParseSourceMap(raw []byte) (*SourceMap, error) {
	if len(raw) > maxMapBytes {
		return nil, fmt.Errorf("source map: %d bytes, at most %d are read", len(raw), maxMapBytes)
	}
	m := new(SourceMap)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("source map: %w", err)
	}
	for _, d := range m.Documents {
		if d.File < 0 || d.File >= len(m.Files) || len(d.Runs)%runSize != 0 {
			return nil, fmt.Errorf("source map: the document at line %d is none", d.From)
		}
		for i, n := range d.Runs {
			if n < 0 || i%runSize == 3 && n > len(m.Files) || n > MaxSize {
				return nil, fmt.Errorf("source map: the document at line %d has a run of %d", d.From, n)
			}
		}
	}
	return m, nil
}

// Find returns what made a line of the stream, in the document that starts at line from:
// its line and what it is indented by are the column where a whole line of the template
// made it. Nothing where that is not known.
func (m *SourceMap) Find(from, line, indent int) Origin {
	i, ok := slices.BinarySearchFunc(m.Documents, from, func(d MappedLines, from int) int { return d.From - from })
	if !ok {
		return Origin{}
	}
	d := &m.Documents[i]
	at := line - from
	for r := d.Runs; len(r) >= runSize && at >= 0; r = r[runSize:] {
		if at >= r[0] {
			at -= r[0]
			continue
		}
		if r[1] == 0 {
			return Origin{}
		}
		o := Origin{At: Place{File: m.Files[d.File], Line: r[1], Column: r[2]}}
		if r[2] == 0 {
			o.At.Line, o.At.Column, o.Whole = r[1]+at, indent+1, true
		}
		if r[3] > 0 {
			o.By = Place{File: m.Files[r[3]-1], Line: r[4] + at}
		}
		return o
	}
	return Origin{}
}

// Redacted returns the map of the stream was for what redaction made of it, which changes
// lines and may take some away, but keeps documents. nil where the documents are not the same.
func (m *SourceMap) Redacted(was, is []byte) *SourceMap {
	out := &SourceMap{Files: m.Files}
	var after []Document
	for d := range Documents(is) {
		after = append(after, d)
	}
	i, n := 0, 0
	for d := range Documents(was) {
		if n >= len(after) {
			return nil
		}
		for i < len(m.Documents) && m.Documents[i].From < d.From {
			i++
		}
		if i < len(m.Documents) && m.Documents[i].From == d.From {
			x := m.Documents[i]
			x.From = after[n].From
			if !bytes.Equal(d.Text, after[n].Text) {
				x.Runs, x.Lines = keptRuns(x.Runs, d.Text, after[n].Text), after[n].To-after[n].From+1
			}
			out.Documents = append(out.Documents, x)
		}
		n++
	}
	if n != len(after) {
		return nil
	}
	return out
}

// keptRuns are the runs of the lines that are the same at the start and at the end of a
// document; of what lies between where lines were taken away nothing is known.
func keptRuns(runs []int, was, is []byte) []int {
	a, b := strings.Split(string(was), "\n"), strings.Split(string(is), "\n")
	if len(a) == len(b) {
		return runs
	}
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	out := slices.Clone(cut(runs, 0, head))
	if gap := len(b) - head - tail; gap > 0 {
		out = append(out, gap, 0, 0, 0, 0)
	}
	return append(out, cut(runs, len(a)-tail, len(a))...)
}

// cut are the runs of the lines from (counted from 0) to to.
func cut(runs []int, from, to int) (out []int) {
	at := 0
	for ; len(runs) >= runSize; runs = runs[runSize:] {
		r := [runSize]int(runs)
		skip := max(from-at, 0)
		end := min(at+r[0], to)
		start := at + skip
		at += r[0]
		if start >= end {
			continue
		}
		r[0] = end - start
		if r[1] > 0 && r[2] == 0 {
			r[1] += skip
		}
		if r[3] > 0 {
			r[4] += skip
		}
		out = append(out, r[:]...)
	}
	return out
}
