package harden

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/companyos/helmproof/internal/manifest"
)

// patch is what to add to a document: a tree of keys and list positions whose
// leaves are values. Only a leaf that replaces may meet a value that is there.
type patch struct {
	value    any // of a leaf
	replaces bool
	sets     bool // also what is no text
	fields   map[string]*patch
	items    map[int]*patch
}

// put adds a leaf; path holds strings and ints.
func (p *patch) put(path []any, value any) *patch {
	for _, step := range path {
		var next *patch
		switch s := step.(type) {
		case string:
			if p.fields == nil {
				p.fields = map[string]*patch{}
			}
			if next = p.fields[s]; next == nil {
				next = new(patch)
				p.fields[s] = next
			}
		case int:
			if p.items == nil {
				p.items = map[int]*patch{}
			}
			if next = p.items[s]; next == nil {
				next = new(patch)
				p.items[s] = next
			}
		}
		p = next
	}
	p.value = value
	return p
}

// whole is the patch as a value, for where nothing is yet.
func (p *patch) whole() any {
	if p.value != nil {
		return p.value
	}
	m := make(map[string]any, len(p.fields))
	for k, f := range p.fields {
		m[k] = f.whole()
	}
	return m
}

var errShape = errors.New("what is there has another shape")

// apply returns tree with the patch: what the edited text must decode to.
func (p *patch) apply(tree any) (any, error) {
	switch {
	case tree == nil && p.items == nil:
		return p.whole(), nil
	case p.value != nil:
		switch tree.(type) {
		case map[string]any, []any:
			return nil, errShape
		}
		if _, text := tree.(string); p.replaces && (text || p.sets) {
			return p.value, nil
		}
		return nil, errShape
	case p.items != nil:
		list, ok := tree.([]any)
		if !ok {
			return nil, errShape
		}
		list = slices.Clone(list)
		for i, sub := range p.items {
			if i >= len(list) {
				return nil, errShape
			}
			v, err := sub.apply(list[i])
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}
	m, ok := tree.(map[string]any)
	if !ok {
		return nil, errShape
	}
	m = maps.Clone(m)
	for k, sub := range p.fields {
		v, err := sub.apply(m[k])
		if err != nil {
			return nil, err
		}
		m[k] = v
	}
	return m, nil
}

// splice replaces text[at:at+del].
type splice struct {
	at, del int
	insert  string
}

// editor inserts into the text of one document, at the places where a YAML
// parser saw its nodes; all other bytes stay.
type editor struct {
	text    []byte
	lines   []int // offset of each line
	splices []splice
}

// edit returns text with the patch applied. It decodes to exactly tree with the
// patch applied, or else there is an error: an alias that would change as well,
// a value behind a merge key, line ends that nobody counts.
func edit(text []byte, tree map[string]any, p *patch) ([]byte, error) {
	want, err := p.apply(tree)
	if err != nil {
		return nil, err
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("its YAML is read differently by different parsers: %s", oneLine(err))
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) != 1 {
		return nil, errShape
	}
	e := &editor{text: text, lines: []int{0}}
	for i, c := range text {
		if c == '\n' {
			e.lines = append(e.lines, i+1)
		}
	}
	if err := e.node(root.Content[0], p); err != nil {
		return nil, err
	}
	out := e.result()
	got, err := manifest.Decode(out)
	if err != nil || !reflect.DeepEqual(got, want) {
		return nil, errors.New("its YAML cannot be edited in place (anchors, merge keys or unusual line ends)")
	}
	return out, nil
}

func (e *editor) result() []byte {
	slices.SortStableFunc(e.splices, func(a, b splice) int { return cmp.Compare(a.at, b.at) })
	var out bytes.Buffer
	at := 0
	for _, s := range e.splices {
		if s.at < at {
			continue // overlaps: the comparison with what is wanted fails
		}
		out.Write(e.text[at:s.at])
		out.WriteString(s.insert)
		at = s.at + s.del
	}
	out.Write(e.text[at:])
	return out.Bytes()
}

var errPlace = errors.New("its YAML cannot be edited in place (a place in it was not found)")

// offset returns where the node starts. yaml counts columns in characters.
func (e *editor) offset(n *yaml.Node) (int, error) {
	if n.Line < 1 || n.Line > len(e.lines) {
		return 0, errPlace
	}
	at := e.lines[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(e.text[at:])
		if size == 0 {
			return 0, errPlace
		}
		at += size
	}
	return at, nil
}

// node applies p to a node that is there.
func (e *editor) node(n *yaml.Node, p *patch) error {
	switch {
	case n.Kind == yaml.AliasNode:
		return errors.New("a YAML alias stands where something would be added")
	case n.Anchor != "" && p.value != nil:
		return errors.New("a YAML anchor stands where something would be changed")
	case p.value != nil:
		return e.replace(n, p.value)
	case p.items != nil:
		if n.Kind != yaml.SequenceNode {
			return errShape
		}
		for _, i := range slices.Sorted(maps.Keys(p.items)) {
			if i >= len(n.Content) {
				return errShape
			}
			if err := e.node(n.Content[i], p.items[i]); err != nil {
				return err
			}
		}
		return nil
	case n.Kind != yaml.MappingNode:
		return errShape
	}
	add := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(p.fields)) {
		k, v := lookup(n, key)
		var err error
		switch {
		case k == nil:
			add[key] = p.fields[key].whole()
		case v.Kind == yaml.ScalarNode && v.ShortTag() == "!!null":
			err = e.fill(k, v, p.fields[key].whole())
		default:
			err = e.node(v, p.fields[key])
		}
		if err != nil {
			return err
		}
	}
	if len(add) == 0 {
		return nil
	}
	if k, _ := lookup(n, "<<"); k != nil {
		return errors.New("a YAML merge key stands where something would be added")
	}
	return e.insert(n, add)
}

func lookup(n *yaml.Node, key string) (k, v *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// insert adds keys to a mapping: before its second key, so that a list item
// still starts with its name, or before its first.
func (e *editor) insert(n *yaml.Node, add map[string]any) error {
	keys := slices.Sorted(maps.Keys(add))
	if n.Style&yaml.FlowStyle != 0 {
		at, err := e.offset(n)
		if err != nil {
			return err
		}
		if at >= len(e.text) || e.text[at] != '{' {
			return errPlace
		}
		var parts []string
		for _, k := range keys {
			parts = append(parts, flow(k)+": "+flow(add[k]))
		}
		text := strings.Join(parts, ", ")
		if len(n.Content) > 0 {
			text += ", "
		}
		e.splices = append(e.splices, splice{at: at + 1, insert: text})
		return nil
	}
	if len(n.Content) == 0 {
		return errPlace
	}
	before := n.Content[0]
	for i := 2; i < len(n.Content); i += 2 {
		if n.Content[i].HeadComment == "" { // else the comment would lose its key
			before = n.Content[i]
			break
		}
	}
	at, err := e.offset(before)
	if err != nil {
		return err
	}
	end := e.lineEnd(at)
	var text strings.Builder
	for _, k := range keys {
		lines, err := block(map[string]any{k: add[k]})
		if err != nil {
			return err
		}
		for l := range strings.Lines(lines) {
			text.WriteString(strings.TrimRight(l, "\n") + end + strings.Repeat(" ", before.Column-1))
		}
	}
	e.splices = append(e.splices, splice{at: at, insert: text.String()})
	return nil
}

// block writes a mapping as YAML, sorted, each scalar on one line.
func block(m map[string]any) (string, error) {
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(m); err != nil {
		return "", fmt.Errorf("harden: write YAML: %w", err)
	}
	return b.String(), nil
}

// lineEnd is how the line at that offset ends, or the one before it.
func (e *editor) lineEnd(at int) string {
	i := bytes.IndexByte(e.text[at:], '\n')
	if i < 0 {
		i, at = bytes.LastIndexByte(e.text[:at], '\n'), 0
	}
	if i += at; i > 0 && e.text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// fill puts a value where a key has none: "key:", "key: ~" or "key: null".
func (e *editor) fill(k, v *yaml.Node, value any) error {
	if v.Anchor != "" || v.Style&yaml.TaggedStyle != 0 || k.Anchor != "" {
		return errPlace
	}
	if v.Value != "" {
		at, err := e.offset(v)
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(e.text[at:], []byte(v.Value)) {
			return errPlace
		}
		e.splices = append(e.splices, splice{at: at, del: len(v.Value), insert: flow(value)})
		return nil
	}
	at, err := e.offset(k)
	if err != nil {
		return err
	}
	n, err := scalarLength(e.text[at:], k)
	if err != nil {
		return err
	}
	at += n
	at += len(e.text[at:]) - len(bytes.TrimLeft(e.text[at:], " \t"))
	if at >= len(e.text) || e.text[at] != ':' {
		return errPlace
	}
	e.splices = append(e.splices, splice{at: at + 1, insert: " " + flow(value)})
	return nil
}

// replace writes another scalar where one is.
func (e *editor) replace(n *yaml.Node, value any) error {
	if n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0 {
		return errShape
	}
	at, err := e.offset(n)
	if err != nil {
		return err
	}
	length, err := scalarLength(e.text[at:], n)
	if err != nil {
		return err
	}
	e.splices = append(e.splices, splice{at: at, del: length, insert: flow(value)})
	return nil
}

// scalarLength is how many bytes the scalar at the start of text takes.
func scalarLength(text []byte, n *yaml.Node) (int, error) {
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(text); i++ {
			switch text[i] {
			case '\\':
				i++
			case '"':
				return i + 1, nil
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		for i := 1; i < len(text); i++ {
			if text[i] != '\'' {
				continue
			}
			if i+1 < len(text) && text[i+1] == '\'' {
				i++
				continue
			}
			return i + 1, nil
		}
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 && bytes.HasPrefix(text, []byte(n.Value)):
		return len(n.Value), nil
	}
	return 0, errPlace
}

// flow writes a value as JSON, which is YAML too and keeps JSON JSON.
func flow(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "" // values are made here, of maps, lists, text, numbers and booleans
	}
	return strings.TrimSpace(b.String())
}
