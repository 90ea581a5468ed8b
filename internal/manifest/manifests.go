package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Limits on manifests, in bytes, objects and levels of nesting.
const (
	MaxSize    = 64 << 20
	maxObjects = 200_000
	maxDepth   = 200
)

// SourcePrefix starts the comment that says where a document comes from; both
// Helm and this package write it.
const SourcePrefix = "# Source: "

// Parse parses multi-document YAML, as sealed in ManifestsFile or as
// `helm template` prints it. YAML is read with the rules of Kubernetes' own
// clients (YAML 1.1 booleans, scalar keys become strings, whole numbers are
// int64), except that a duplicate key is an error. Lists are replaced by their
// items. Documents that hold nothing are left out; those that are no objects
// are in Broken, never dropped. The error is non-nil only when raw exceeds
// MaxSize or holds too many objects.
func Parse(raw []byte) (*ObjectSet, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("parse manifests: %d bytes, at most %d are read", len(raw), MaxSize)
	}
	set := new(ObjectSet)
	for d := range Documents(raw) {
		set.add(d)
		if len(set.Objects)+len(set.Broken) > maxObjects {
			return nil, fmt.Errorf("parse manifests: more than %d objects", maxObjects)
		}
	}
	return set, nil
}

// add parses one document and appends what it holds.
func (s *ObjectSet) add(d Document) {
	content, err := decodeYAML(d.Text)
	if err != nil {
		s.broken(d, yamlMessage(err, d.From))
		return
	}
	if content == nil {
		return
	}
	m, ok := content.(map[string]any)
	if !ok {
		s.broken(d, fmt.Sprintf("want a mapping with apiVersion and kind, have %s", YAMLType(content)))
		return
	}
	first := len(s.Objects)
	s.addObject(d, m, 0)
	head := hookOf(m)
	for i := range s.Objects[first:] {
		o := &s.Objects[first+i] // of a list too: Helm reads the document's head, not its items
		o.headed, o.hook = true, head
	}
}

// addObject appends m, or its items when it is a list. As in the decoder of
// Kubernetes' clients it is the field items that makes a list.
func (s *ObjectSet) addObject(d Document, m map[string]any, depth int) {
	apiVersion, _ := m["apiVersion"].(string)
	kind, _ := m["kind"].(string)
	switch {
	case kind == "" && apiVersion == "":
		s.broken(d, "no apiVersion and no kind")
		return
	case kind == "":
		s.broken(d, "no kind")
		return
	case apiVersion == "":
		s.broken(d, "no apiVersion")
		return
	}
	items, isList := m["items"].([]any)
	if !isList {
		s.Objects = append(s.Objects, Object{
			Unstructured: unstructured.Unstructured{Object: m},
			File:         d.File, Line: d.Line, From: d.From, To: d.To,
		})
		return
	}
	if depth > 8 {
		s.broken(d, "lists nested too deeply")
		return
	}
	for i, item := range items {
		im, ok := item.(map[string]any)
		if !ok {
			s.broken(d, fmt.Sprintf("items[%d] of %s: want a mapping, have %s", i, kind, YAMLType(item)))
			continue
		}
		// A typed list (ConfigMapList) implies the type of its items.
		if element, found := strings.CutSuffix(kind, "List"); found && element != "" {
			if _, has := im["kind"]; !has {
				im["kind"] = element
			}
			if _, has := im["apiVersion"]; !has {
				im["apiVersion"] = apiVersion
			}
		}
		s.addObject(d, im, depth+1)
	}
}

func (s *ObjectSet) broken(d Document, msg string) {
	s.Broken = append(s.Broken, BrokenDocument{File: d.File, Line: d.Line, From: d.From, To: d.To, Error: msg})
}

// Document is one YAML document of a stream.
type Document struct {
	Text     []byte // without separator and source comment
	File     string // what its "# Source:" comment says
	Line     int
	From, To int // line range of Text in the stream, 1-based, without blank lines at either end
}

// Documents yields the documents that are not blank. A line that starts with
// "---" and a space or line end separates them.
func Documents(raw []byte) func(yield func(Document) bool) {
	return func(yield func(Document) bool) {
		line, start, startLine := 1, 0, 1
		emit := func(end int) bool {
			d, ok := newDocument(raw[start:end], startLine)
			return !ok || yield(d)
		}
		for pos := 0; pos < len(raw); line++ {
			next := len(raw)
			if i := bytes.IndexByte(raw[pos:], '\n'); i >= 0 {
				next = pos + i + 1
			}
			if isSeparator(raw[pos:next]) {
				if !emit(pos) {
					return
				}
				start, startLine = pos+3, line
			}
			pos = next
		}
		emit(len(raw))
	}
}

func isSeparator(line []byte) bool {
	return len(line) >= 3 && line[0] == '-' && line[1] == '-' && line[2] == '-' &&
		(len(line) == 3 || line[3] == '\n' || line[3] == '\r' || line[3] == ' ' || line[3] == '\t')
}

// newDocument cuts blank lines and the source comment off text, whose first
// line is number line. ok is false when nothing is left.
func newDocument(text []byte, line int) (d Document, ok bool) {
	skip := func() {
		for {
			i := bytes.IndexByte(text, '\n')
			if i < 0 || len(bytes.TrimSpace(text[:i])) > 0 {
				return
			}
			text, line = text[i+1:], line+1
		}
	}
	skip()
	if rest, found := bytes.CutPrefix(text, []byte(SourcePrefix)); found {
		comment, after, _ := bytes.Cut(rest, []byte("\n"))
		d.File, d.Line = parseSource(string(bytes.TrimRight(comment, "\r \t")))
		text, line = after, line+1
		skip()
	}
	text = bytes.TrimRight(text, "\n\r")
	if len(bytes.TrimSpace(text)) == 0 {
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

// Decode decodes the only YAML document of text as Parse does.
// A duplicate key, and a second Document, are errors.
func Decode(text []byte) (any, error) { return decodeYAML(text) }

// decodeYAML decodes the only document of text into nil, bool, int64, float64,
// string, []any and map[string]any.
func decodeYAML(text []byte) (any, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.SetStrict(true) // duplicate keys are errors
	var v any
	if err := dec.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	// What follows an end marker ("...") would never be seen again.
	var more any
	if err := dec.Decode(&more); err == nil {
		return nil, errors.New("a second document without a line that starts with ---")
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return jsonValue(v, 0)
}

// jsonValue turns what the YAML decoder returns into the types of a decoded
// Kubernetes object.
func jsonValue(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	switch v := v.(type) {
	case nil, bool, string, int64:
		return v, nil
	case int:
		return int64(v), nil
	case uint64:
		return float64(v), nil
	case float64:
		return jsonNumber(v)
	case []any:
		for i, e := range v {
			c, err := jsonValue(e, depth+1)
			if err != nil {
				return nil, err
			}
			v[i] = c
		}
		return v, nil
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			key, err := jsonKey(k)
			if err != nil {
				return nil, err
			}
			if _, dup := m[key]; dup {
				return nil, fmt.Errorf("key %q already set in map", key)
			}
			if m[key], err = jsonValue(e, depth+1); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	return nil, fmt.Errorf("unsupported YAML type %T", v)
}

// jsonNumber returns f as JSON would carry it: a whole number that is written
// without exponent becomes int64.
func jsonNumber(f float64) (any, error) {
	switch {
	case f != f || f > 1.7976931348623157e308 || f < -1.7976931348623157e308:
		return nil, errors.New("infinity and not-a-number have no JSON form")
	case f == float64(int64(f)) && f < 1<<63 && f >= -(1<<63):
		return int64(f), nil
	}
	return f, nil
}

// jsonKey turns a scalar key into the string that Kubernetes' clients make of it.
func jsonKey(k any) (string, error) {
	switch k := k.(type) {
	case string:
		return k, nil
	case bool:
		return strconv.FormatBool(k), nil
	case int:
		return strconv.Itoa(k), nil
	case int64:
		return strconv.FormatInt(k, 10), nil
	case float64:
		return strconv.FormatFloat(k, 'g', -1, 32), nil
	}
	return "", fmt.Errorf("key %v: want a string, have %s", k, YAMLType(k))
}

// YAMLType names a decoded value's type for people.
func YAMLType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int, int64, uint64, float64:
		return "a number"
	case string:
		return "a string"
	case []any:
		return "a list"
	}
	return "a mapping"
}

// yamlMessage makes one line of a YAML error, its line numbers counted in the
// stream whose line from is the document's first.
func yamlMessage(err error, from int) string {
	s := err.Error()
	s = strings.TrimPrefix(s, "yaml: ")
	s = strings.TrimPrefix(s, "unmarshal errors:")
	var parts []string
	for l := range strings.Lines(s) {
		l = strings.TrimSpace(l)
		if l == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(l, "line "); ok {
			if num, tail, ok := strings.Cut(rest, ":"); ok {
				if n, err := strconv.Atoi(num); err == nil {
					l = fmt.Sprintf("line %d:%s", n+from-1, tail)
				}
			}
		}
		if len(parts) == 3 {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, l)
	}
	return "invalid YAML: " + strings.Join(parts, "; ")
}
