package chart

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/companyos/helmproof/internal/manifest"
)

// Which line of a template made a line that it renders is taken down while it is
// rendered, and sealed, so that findings can say it. Before each node of a template that
// writes stands a text that is empty and carries a number behind its end: text/template
// hands it to the writer as any other, and no template can tell. They are taken out after
// the rendering that is judged.

const markSize = 4

// mapped bounds what is taken down of one chart.
const (
	maxMarked   = 500_000   // nodes of templates
	maxSegments = 2_000_000 // writes
)

// marker is what stands behind one mark.
type marker struct {
	tree *parse.Tree
	pos  parse.Pos
	text bool // a text of the template, from pos on; otherwise an action
}

// tracker takes down what writes.
type tracker struct {
	marks    []marker
	numbers  []byte // of the marks
	lists    []*parse.ListNode
	plain    [][]parse.Node // their nodes without marks
	sources  map[string]*sourceText
	frame    *frame
	segments int
	rendered map[string][]manifest.Origin // by file, of each line
	columns  map[string][]bool            // whether the line starts in that column of the template's
}

// sourceText is the text of a template by the name it was parsed with.
type sourceText struct {
	name, text string
	lines      []int // where each starts
}

// place is where in a template an offset lies.
func (s *sourceText) place(at int) manifest.Place {
	if s.lines == nil {
		s.lines = append(make([]int, 0, strings.Count(s.text, "\n")+1), 0)
		for i := 0; i < len(s.text); i++ {
			n := strings.IndexByte(s.text[i:], '\n')
			if n < 0 {
				break
			}
			i += n
			s.lines = append(s.lines, i+1)
		}
	}
	line := sort.SearchInts(s.lines, at+1) // the number of lines that start at or before it
	column := 1
	for range s.text[s.lines[line-1]:min(at, len(s.text))] {
		column++
	}
	return manifest.Place{File: s.name, Line: line, Column: column}
}

// frame is one execution of a template.
type frame struct {
	mark     int32 // the node that is being executed; -1: none that is known
	fresh    bool  // nothing was written since it began
	segments []segment
	calls    []call
	spare    map[string]*calledLine // lines of calls that are no segment's; made when asked for
}

// segment is what one node wrote, from an offset on.
type segment struct {
	from int
	mark int32
}

// call is an include or a tpl that ran while a node was executed.
type call struct {
	mark    int32
	segment int // the number of the segment that would be written next
	text    string
	frame   *frame
	lines   []string         // of text, as they are compared
	starts  []int            // where each starts
	places  map[string][]int // of each text the lines that are so; made when asked for
	next    int              // the line that is expected next
	origins []*lineOrigin
}

type calledLine struct {
	call *call
	line int
	many bool
}

// markTemplates puts marks into the templates of a set.
func markTemplates(t *template.Template, sources []sourceFile) *tracker {
	k := &tracker{sources: map[string]*sourceText{}, rendered: map[string][]manifest.Origin{}, columns: map[string][]bool{}}
	for _, s := range sources {
		k.sources[s.full] = &sourceText{name: s.name, text: s.text}
	}
	n := 0
	for _, t := range t.Templates() {
		if t.Tree != nil && t.Root != nil && k.sources[t.ParseName] != nil {
			n += countMarks(t.Root)
		}
	}
	if n > maxMarked {
		return nil
	}
	k.marks, k.numbers = make([]marker, 0, n), make([]byte, n*markSize)
	nodes := make([]parse.TextNode, n)
	for _, t := range t.Templates() {
		if t.Tree != nil && t.Root != nil && k.sources[t.ParseName] != nil {
			k.list(t.Tree, t.Root, nodes)
		}
	}
	return k
}

// takesMark reports whether a mark is to stand before a node.
func takesMark(n parse.Node) bool {
	switch n := n.(type) {
	case *parse.TextNode:
		return len(n.Text) > 0
	case *parse.ActionNode, *parse.IfNode, *parse.WithNode, *parse.RangeNode:
		return true
	}
	return false
}

func countMarks(list *parse.ListNode) int {
	if list == nil {
		return 0
	}
	count := 0
	for _, n := range list.Nodes {
		if takesMark(n) {
			count++
		}
		if b := branchOf(n); b != nil {
			count += countMarks(b.List) + countMarks(b.ElseList)
		}
	}
	return count
}

func branchOf(n parse.Node) *parse.BranchNode {
	switch n := n.(type) {
	case *parse.IfNode:
		return &n.BranchNode
	case *parse.WithNode:
		return &n.BranchNode
	case *parse.RangeNode:
		return &n.BranchNode
	}
	return nil
}

func (k *tracker) list(tree *parse.Tree, list *parse.ListNode, nodes []parse.TextNode) {
	if list == nil || len(list.Nodes) == 0 {
		return
	}
	out := make([]parse.Node, 0, 2*len(list.Nodes))
	for _, n := range list.Nodes {
		if takesMark(n) {
			i := len(k.marks)
			number := k.numbers[i*markSize : i*markSize : (i+1)*markSize]
			binary.LittleEndian.PutUint32(number[:markSize], uint32(i)) //nolint:gosec // maxMarked
			nodes[i] = parse.TextNode{NodeType: parse.NodeText, Pos: n.Position(), Text: number}
			k.marks = append(k.marks, marker{tree: tree, pos: n.Position(), text: n.Type() == parse.NodeText})
			out = append(out, &nodes[i])
		}
		out = append(out, n)
		if b := branchOf(n); b != nil {
			k.list(tree, b.List, nodes)
			k.list(tree, b.ElseList, nodes)
		}
	}
	k.lists, k.plain = append(k.lists, list), append(k.plain, list.Nodes)
	list.Nodes = out
}

// unmark takes the marks out again.
func (k *tracker) unmark() {
	if k == nil {
		return
	}
	for i, l := range k.lists {
		l.Nodes = k.plain[i]
	}
	k.lists, k.plain = nil, nil
}

// markOf is the number behind the end of p; ok is false for what is no mark.
func (k *tracker) markOf(p []byte) (int32, bool) {
	if len(p) != 0 || cap(p) != markSize {
		return 0, false
	}
	p = p[:markSize]
	i := int(binary.LittleEndian.Uint32(p))
	if i >= len(k.marks) || &p[0] != &k.numbers[i*markSize] {
		return 0, false
	}
	return int32(i), true //nolint:gosec // maxMarked
}

// enter begins a frame inside of the one that is under way; nil where nothing is taken down.
func (k *tracker) enter() (f, outer *frame) {
	if k == nil || k.segments > maxSegments {
		return nil, nil
	}
	f, outer = &frame{mark: -1, fresh: true}, k.frame
	k.frame = f
	return f, outer
}

// leave ends a frame that wrote text.
func (k *tracker) leave(f, outer *frame, text string) {
	if f == nil {
		return
	}
	k.frame = outer
	if outer != nil {
		outer.calls = append(outer.calls, call{mark: outer.mark, segment: len(outer.segments), text: text, frame: f})
	}
}

// wrote notes that the frame writes at an offset.
func (k *tracker) wrote(f *frame, at int) {
	if f.fresh {
		f.fresh = false
		k.segments++
		f.segments = append(f.segments, segment{at, f.mark})
	}
}

// finish takes down what made each line of a file's text.
func (k *tracker) finish(f *frame, file, text string) {
	k.frame = nil
	if f == nil || len(f.segments) == 0 {
		return
	}
	n := strings.Count(text, "\n") + 1
	origins, columns := make([]manifest.Origin, 0, n), make([]bool, 0, n)
	at := 0
	for line := range strings.Lines(text) {
		o := k.line(f, at, line, 0)
		origins, columns = append(origins, o.Origin), append(columns, o.plain)
		at += len(line)
	}
	k.rendered[file], k.columns[file] = origins, columns
}

// maxDefinitions bounds how deep definitions are followed.
const maxDefinitions = 20

// lineOrigin is what made a line.
type lineOrigin struct {
	manifest.Origin
	text  bool // it starts with text of the template
	plain bool // which starts in the same column there
}

// line returns what made the line at an offset of a frame's text.
func (k *tracker) line(f *frame, at int, line string, depth int) (o lineOrigin) {
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	if strings.TrimSpace(line) == "" {
		indent = 0
	}
	first := sort.Search(len(f.segments), func(i int) bool { return f.segments[i].from > at+indent }) - 1
	if first < 0 {
		return o
	}
	if mark := f.segments[first].mark; mark >= 0 {
		m := k.marks[mark]
		src := k.sources[m.tree.ParseName]
		if m.text {
			o.At = src.place(int(m.pos) + at + indent - f.segments[first].from)
			o.text, o.plain = true, o.At.Column == indent+1
		} else {
			o.At = src.place(max(strings.LastIndex(src.text[:m.pos], "{{"), 0))
		}
	}
	if depth >= maxDefinitions {
		return o
	}
	for i := first; i < len(f.segments) && f.segments[i].from < at+len(line); i++ {
		s := f.segments[i]
		if s.mark >= 0 && k.marks[s.mark].text {
			continue
		}
		end := at + len(line)
		if i+1 < len(f.segments) {
			end = min(end, f.segments[i+1].from)
		}
		begin := max(s.from, at)
		if by := k.definition(f, i, line[begin-at:end-at], depth); by.Line > 0 {
			o.By = by
			break
		}
	}
	return o
}

// definition is the place in a definition that made a piece of the i-th segment.
func (k *tracker) definition(f *frame, i int, piece string, depth int) manifest.Place {
	want := compared(piece)
	if want == "" {
		return manifest.Place{}
	}
	s := f.segments[i]
	from := sort.Search(len(f.calls), func(n int) bool { return f.calls[n].segment >= i })
	own := false
	for n := from; n < len(f.calls) && f.calls[n].segment == i; n++ {
		c := &f.calls[n]
		if c.mark != s.mark {
			continue
		}
		own = true
		if line, ok := c.find(want); ok {
			return k.within(c, line, depth)
		}
	}
	if own || len(want) < 3 {
		return manifest.Place{}
	}
	if l := f.spareLine(want); l != nil && !l.many {
		return k.within(l.call, l.line, depth)
	}
	return manifest.Place{}
}

// within is what made a line of what a call returned.
func (k *tracker) within(c *call, line, depth int) manifest.Place {
	if c.origins == nil {
		c.origins = make([]*lineOrigin, len(c.lines))
	}
	if c.origins[line] == nil {
		end := len(c.text)
		if line+1 < len(c.starts) {
			end = c.starts[line+1]
		}
		o := k.line(c.frame, c.starts[line], c.text[c.starts[line]:end], depth+1)
		c.origins[line] = &o
	}
	o := c.origins[line]
	if o.By.Line > 0 && !o.text { // what starts with text is made there, whatever ends it
		return o.By
	}
	return o.At
}

// compared is what of a line tells it from others, whatever it was indented or quoted by.
func compared(line string) string {
	line = strings.TrimSpace(line)
	if strings.ContainsAny(line, "\"'") {
		line = quotes.Replace(line)
	}
	return line
}

var quotes = strings.NewReplacer(`"`, "", "'", "")

func (c *call) split() {
	if c.lines == nil {
		c.lines = []string{}
		at := 0
		for l := range strings.Lines(c.text) {
			c.lines, c.starts = append(c.lines, compared(l)), append(c.starts, at)
			at += len(l)
		}
	}
}

// find looks for a line of what the call returned, first where the last one ended.
func (c *call) find(want string) (int, bool) {
	c.split()
	if c.places == nil {
		c.places = make(map[string][]int, len(c.lines))
		for i, l := range c.lines {
			c.places[l] = append(c.places[l], i)
		}
	}
	if list := c.places[want]; len(list) > 0 {
		n, _ := slices.BinarySearch(list, c.next)
		i := list[n%len(list)]
		c.next = i + 1
		return i, true
	}
	if len(c.lines) == 1 && c.lines[0] != "" && strings.Contains(want, c.lines[0]) {
		return 0, true
	}
	return 0, false
}

// spareLine looks for a line among calls that wrote nothing themselves: what they
// returned was kept in a variable.
func (f *frame) spareLine(want string) *calledLine {
	if f.spare == nil {
		f.spare = map[string]*calledLine{}
		for n := range f.calls {
			c := &f.calls[n]
			if c.segment < len(f.segments) && f.segments[c.segment].mark == c.mark {
				continue
			}
			c.split()
			for i, l := range c.lines {
				if have := f.spare[l]; have == nil {
					f.spare[l] = &calledLine{call: c, line: i}
				} else if have.call.text != c.text || have.call == c {
					have.many = true
				}
			}
		}
	}
	return f.spare[want]
}

// sourceMap is the map of a stream of manifests that was joined from rendered files and
// from others, which were not rendered.
func (k *tracker) sourceMap(stream []byte, files, others map[string]string) ([]byte, error) {
	var b manifest.MapBuilder
	done := map[string]int{} // bytes of each file that documents were found in
	counted := map[string]int{}
	for d := range manifest.Documents(stream) {
		text, rendered := files[d.File]
		if !rendered || k == nil {
			if text, rendered = others[d.File]; !rendered {
				continue
			}
		}
		from := done[d.File]
		i := strings.Index(text[from:], string(d.Text))
		if i < 0 {
			continue
		}
		first := counted[d.File] + strings.Count(text[from:from+i], "\n")
		lines := bytes.Count(d.Text, []byte("\n"))
		done[d.File], counted[d.File] = from+i+len(d.Text), first+lines
		if _, ok := others[d.File]; ok && files[d.File] == "" {
			b.Add(d.File, d.From, lines+1, func(i int) (manifest.Origin, bool) {
				return manifest.Origin{At: manifest.Place{File: d.File, Line: first + i + 1}}, true
			})
			continue
		}
		origins, columns := k.rendered[d.File], k.columns[d.File]
		if first+lines >= len(origins) {
			continue
		}
		b.Add(d.File, d.From, lines+1, func(i int) (manifest.Origin, bool) {
			o := origins[first+i]
			if o.At.File != "" && o.At.File != d.File {
				return manifest.Origin{}, false
			}
			return o, columns[first+i]
		})
	}
	return b.Bytes()
}
