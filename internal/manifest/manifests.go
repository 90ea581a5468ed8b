package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

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
// int64), except that a key that a mapping has twice is an error (one that
// overrides a merged key is not), and so is a key that Helm takes for another. Lists are replaced by their items. Documents that hold
// nothing are left out; those that are no objects are in Broken, never dropped. The error is non-nil only when raw exceeds
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
	if d.Refused != "" {
		s.broken(d, d.Refused)
		return
	}
	content, err := decodeYAML(d.Text)
	if problem := ambiguity(d.Text, content, err); problem != "" {
		s.broken(d, problem)
		return
	}
	if err != nil {
		s.broken(d, yamlMessage(err, d.line()))
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
	if problem := headProblem(m); problem != "" {
		s.broken(d, problem)
		return
	}
	first := len(s.Objects)
	s.addObject(d, m, 0)
	head := hookOf(m)
	if crdFile.MatchString(d.File) {
		head = nil // Helm installs these before anything else, whatever they say
	}
	for i := range s.Objects[first:] {
		o := &s.Objects[first+i] // of a list too: Helm reads the document's head, not its items
		o.headed, o.hook = true, head
	}
}

// crdFile are the files that Helm takes for custom resource definitions, of the chart
// and of its subcharts.
var crdFile = regexp.MustCompile(`^(charts/[^/]+/)*crds/`)

// headProblem says what keeps Helm from reading m as Kubernetes does. Helm reads
// kind, apiVersion and metadata with Go's JSON decoder, to which case is nothing:
// an object may be a hook by "Metadata" and none by "metadata".
func headProblem(m map[string]any) string {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		for _, name := range []string{"apiVersion", "kind", "metadata"} {
			if k != name && strings.EqualFold(k, name) {
				return fmt.Sprintf("key %q: Helm takes it for %s, Kubernetes does not", k, name)
			}
		}
	}
	metadata, ok := m["metadata"].(map[string]any)
	if !ok && m["metadata"] != nil {
		return "metadata: want a mapping, have " + YAMLType(m["metadata"])
	}
	for _, k := range slices.Sorted(maps.Keys(metadata)) {
		for _, name := range []string{"name", "annotations"} {
			if k != name && strings.EqualFold(k, name) {
				return fmt.Sprintf("key %q of metadata: Helm takes it for %s, Kubernetes does not", k, name)
			}
		}
	}
	if annotations, ok := metadata["annotations"].(map[string]any); ok {
		hook, there := annotations["helm.sh/hook"]
		text, _ := hook.(string)
		if there && slices.ContainsFunc(strings.Split(text, ","), func(h string) bool { return strings.TrimSpace(h) == "" }) {
			return "annotation helm.sh/hook without a hook: Helm never installs such an object"
		}
	}
	return ""
}

// metadataProblem says what keeps Kubernetes' clients from reading the metadata of m.
func metadataProblem(m map[string]any) string {
	metadata, ok := m["metadata"].(map[string]any)
	if !ok && m["metadata"] != nil {
		return "metadata: want a mapping, have " + YAMLType(m["metadata"])
	}
	text := func(v any) bool { _, ok := v.(string); return ok || v == nil }
	for _, k := range []string{"name", "generateName", "namespace"} {
		if !text(metadata[k]) {
			return fmt.Sprintf("metadata.%s: want a string, have %s", k, YAMLType(metadata[k]))
		}
	}
	for _, k := range []string{"annotations", "labels"} {
		all, ok := metadata[k].(map[string]any)
		if !ok && metadata[k] != nil {
			return fmt.Sprintf("metadata.%s: want a mapping, have %s", k, YAMLType(metadata[k]))
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !text(all[name]) {
				return fmt.Sprintf("metadata.%s[%q]: want a string, have %s", k, name, YAMLType(all[name]))
			}
		}
	}
	return ""
}

// addObject appends m, or its items when it is a list. As in the decoder of
// Kubernetes' clients it is the field items that makes a list, null an empty one
// unless it is an item itself.
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
	if problem := metadataProblem(m); problem != "" {
		s.broken(d, problem)
		return
	}
	list, isList := m["items"]
	if !isList || list == nil && depth > 0 { // of an item the decoder asks for a list
		s.Objects = append(s.Objects, Object{
			Unstructured: unstructured.Unstructured{Object: m},
			File:         d.File, Line: d.Line, From: d.From, To: d.To, Listed: depth > 0,
		})
		return
	}
	items, ok := list.([]any)
	if !ok && list != nil {
		s.broken(d, fmt.Sprintf("items of %s: want a list, have %s", kind, YAMLType(list)))
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
		if element, found := strings.CutSuffix(kind, "List"); found && element != "" && untyped(im) {
			im["kind"], im["apiVersion"] = element, apiVersion
		}
		if _, isList := im["items"].([]any); isList && depth == 0 {
			s.broken(d, fmt.Sprintf("items[%d] of %s: a list in a list, which Kubernetes' clients do not read", i, kind))
		}
		s.addObject(d, im, depth+1)
	}
}

// untyped reports whether an item says neither its kind nor its apiVersion.
func untyped(item map[string]any) bool {
	kind, _ := item["kind"].(string)
	apiVersion, _ := item["apiVersion"].(string)
	return kind == "" && apiVersion == ""
}

func (s *ObjectSet) broken(d Document, msg string) {
	s.Broken = append(s.Broken, BrokenDocument{File: d.File, Line: d.Line, From: d.From, To: d.To, Error: msg})
}

// ambiguity says why two readers of text, which decodes to content or err, may see
// different objects; empty for nearly all.
func ambiguity(text []byte, content any, err error) string {
	marked := false
	for i := range text {
		if i > 0 && !endsLine(text[:i]) {
			continue
		}
		for _, mark := range []string{"\ufeff", "\xff\xfe", "\xfe\xff"} {
			if bytes.HasPrefix(text[i:], []byte(mark)) {
				return "a byte order mark inside a stream" // it counts at the start of what a reader cut out
			}
		}
		for _, mark := range []string{"---", "...", "%"} {
			marked = marked || bytes.HasPrefix(text[i:], []byte(mark))
		}
	}
	if marked {
		// The first document of a stream has its separator before it, others have not.
		again, errAgain := decodeYAML(append([]byte("---\n"), text...))
		if (err == nil) != (errAgain == nil) || !reflect.DeepEqual(again, content) {
			return "a document marker that ends the document, or does not, by what stands before it"
		}
	}
	if bytes.HasPrefix(bytes.TrimLeftFunc(text, unicode.IsSpace), []byte("{")) && bytes.ContainsAny(text, "\u0085\u2028\u2029") {
		return "line ends in what is JSON to one reader and YAML to another"
	}
	return ""
}

// Decode decodes the only YAML document of text as Parse does.
// A duplicate key, and a second Document, are errors.
func Decode(text []byte) (any, error) { return decodeYAML(text) }

// decodeYAML decodes the only document of text into nil, bool, int64, float64,
// string, []any and map[string]any.
func decodeYAML(text []byte) (any, error) {
	if bytes.Contains(text, []byte("\r\r\n")) {
		// Kubernetes' clients cut the carriage return off a line before they read it.
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	}
	// Nor does the last line lack its end, which a block scalar would miss.
	if n := len(text); n > 0 && text[n-1] != '\n' {
		text = append(slices.Clip(text), '\n')
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.SetStrict(true) // duplicate keys are errors
	var v any
	err := dec.Decode(&v)
	if err != nil && bytes.Contains(text, []byte("<<")) && ownKeysDiffer(text) {
		// It takes a key that overrides a merged one for a duplicate.
		dec = yaml.NewDecoder(bytes.NewReader(text))
		v = nil
		err = dec.Decode(&v)
	}
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// What follows an end marker ("...") would never be seen again.
	var more any
	if err := dec.Decode(&more); err == nil {
		return nil, errors.New("a second document without a line that starts with ---")
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w, after the end of the document", err)
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

// yamlMessage makes one line of a YAML error, its line numbers counted so that
// from is the document's first.
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
