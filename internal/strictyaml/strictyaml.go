// Package strictyaml reads YAML that decides something: policies, waivers,
// profiles. What a lenient reader would overlook is an error here: unknown and
// repeated keys, a second document, anchors, wrong types. Errors name the path
// of the offending value.
package strictyaml

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxDepth is deeper than any document of ours.
const maxDepth = 32

// Error says what is wrong with one value of a document.
type Error struct {
	Line    int    // 1-based; 0 unknown
	Path    string // "waivers[2].expiresAt"; empty for the document as a whole
	Value   string // the offending scalar, cut when long; may be empty
	Problem string // what is wrong, or what is allowed
}

// Error reads `line 12: waivers[2].expiresAt: "soon": want …`.
func (e *Error) Error() string {
	var parts []string
	if e.Line > 0 {
		parts = append(parts, fmt.Sprintf("line %d", e.Line))
	}
	if e.Path != "" {
		parts = append(parts, e.Path)
	}
	if e.Value != "" {
		parts = append(parts, strconv.Quote(e.Value))
	}
	parts = append(parts, e.Problem)
	return strings.Join(parts, ": ")
}

// Parse returns the one document in data, which may be at most limit bytes
// long. An empty document is an empty mapping. Anchors, aliases, tags, repeated
// keys and keys that are not text are errors.
func Parse(data []byte, limit int) (*yaml.Node, error) {
	if len(data) > limit {
		return nil, &Error{Problem: fmt.Sprintf("%d bytes: at most %d are read", len(data), limit)}
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}, nil
	case err != nil:
		return nil, &Error{Problem: strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	var more yaml.Node
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, &Error{Line: more.Line, Problem: "more than one YAML document: want one"}
	}
	root := doc.Content[0]
	if isNull(root) {
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: root.Line}, nil
	}
	return root, check(root, "", 0)
}

func check(n *yaml.Node, path string, depth int) error {
	switch {
	case depth > maxDepth:
		return &Error{Line: n.Line, Path: path, Problem: fmt.Sprintf("nested deeper than %d", maxDepth)}
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return &Error{Line: n.Line, Path: path, Problem: "anchors and aliases are not allowed: write the value out"}
	case n.Style&yaml.TaggedStyle != 0:
		return &Error{Line: n.Line, Path: path, Problem: "YAML tags are not allowed"}
	}
	if n.Kind == yaml.SequenceNode {
		for i, c := range n.Content {
			if err := check(c, fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	seen := map[string]bool{}
	for k, v := range pairs(n) {
		if k.Kind != yaml.ScalarNode || k.Tag != "!!str" || k.Anchor != "" || k.Style&yaml.TaggedStyle != 0 {
			return &Error{Line: k.Line, Path: path, Value: shown(k), Problem: "want a key that is plain text"}
		}
		p := join(path, k.Value)
		if seen[k.Value] {
			return &Error{Line: k.Line, Path: p, Problem: "key is given twice"}
		}
		seen[k.Value] = true
		if err := check(v, p, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func pairs(n *yaml.Node) func(func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// shown is a scalar for an error message, cut when it is long.
func shown(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	if r := []rune(n.Value); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return n.Value
}

// got says what stands where a scalar, a list or a mapping should.
func got(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return ", got a mapping"
	case n.Kind == yaml.SequenceNode:
		return ", got a list"
	case isNull(n):
		return ", got nothing"
	}
	return ""
}

// Unmarshal is Parse and Decode.
func Unmarshal(data []byte, limit int, into any) error {
	n, err := Parse(data, limit)
	if err != nil {
		return err
	}
	return Decode(n, into)
}

// Decode fills the struct that into points to from a node that Parse returned.
// Keys are the fields' json names; every key must have a field. Supported are
// structs, slices, maps by string, pointers, strings, booleans, integers, finite
// numbers, time.Time (RFC 3339, or a date, which means its first moment in UTC) and
// json.Unmarshaler for text.
func Decode(n *yaml.Node, into any) error {
	return decode(n, reflect.ValueOf(into).Elem(), "")
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()
)

func decode(n *yaml.Node, v reflect.Value, path string) error {
	wrong := func(want string) error {
		return &Error{Line: n.Line, Path: path, Value: shown(n), Problem: "want " + want + got(n)}
	}
	text := n.Kind == yaml.ScalarNode && n.Tag == "!!str"
	switch {
	case v.Type() == timeType:
		if !text && (n.Kind != yaml.ScalarNode || n.Tag != "!!timestamp") {
			return wrong("a date like 2026-12-31 or a time like 2026-12-31T18:00:00Z")
		}
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if t, err := time.Parse(layout, n.Value); err == nil {
				v.Set(reflect.ValueOf(t.UTC()))
				return nil
			}
		}
		return wrong("a date like 2026-12-31 or a time like 2026-12-31T18:00:00Z")
	case v.Addr().Type().Implements(unmarshalerType):
		if !text {
			return wrong("text")
		}
		quoted, err := json.Marshal(n.Value)
		if err == nil {
			err = v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(quoted)
		}
		if err != nil {
			return &Error{Line: n.Line, Path: path, Problem: err.Error()}
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		if !text {
			if n.Kind == yaml.ScalarNode && !isNull(n) {
				return wrong("text, in quotes")
			}
			return wrong("text")
		}
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			return wrong("true or false")
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || err != nil || v.OverflowInt(i) {
			return wrong("a whole number")
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return wrong("a number")
		}
		v.SetFloat(f)
	case reflect.Pointer:
		e := reflect.New(v.Type().Elem())
		if err := decode(n, e.Elem(), path); err != nil {
			return err
		}
		v.Set(e)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return wrong("a list")
		}
		s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
		for i, c := range n.Content {
			if err := decode(c, s.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		v.Set(s)
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			return wrong("a mapping")
		}
		m := reflect.MakeMapWithSize(v.Type(), len(n.Content)/2)
		for k, c := range pairs(n) {
			e := reflect.New(v.Type().Elem()).Elem()
			if err := decode(c, e, join(path, k.Value)); err != nil {
				return err
			}
			m.SetMapIndex(reflect.ValueOf(k.Value).Convert(v.Type().Key()), e)
		}
		v.Set(m)
	case reflect.Struct:
		if n.Kind != yaml.MappingNode {
			return wrong("a mapping")
		}
		fields := fieldsOf(v.Type())
		for k, c := range pairs(n) {
			i, ok := fields[k.Value]
			if !ok {
				return &Error{Line: k.Line, Path: join(path, k.Value),
					Problem: "unknown key: want one of " + strings.Join(slices.Sorted(maps.Keys(fields)), ", ")}
			}
			if err := decode(c, v.Field(i), join(path, k.Value)); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("strictyaml: cannot decode into %s", v.Type())
	}
	return nil
}

func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			fields[name] = i
		}
	}
	return fields
}
