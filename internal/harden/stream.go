package harden

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v2"

	"github.com/companyos/helmproof/internal/manifest"
)

// utf8BOM may start a stream; it belongs to no document.
const utf8BOM = "\xef\xbb\xbf"

// document is one document of the stream: raw[start:end], without the separator
// before it.
type document struct {
	start, end int
	line       int    // of raw[start], 1-based
	refused    string // why Kubernetes' clients refuse it whatever it holds
	file       string // what a "# Source:" comment says
	tree       map[string]any
	patch      *patch
	objects    []*object
}

// split cuts the stream as Kubernetes' clients do.
func split(raw []byte) []*document {
	skip := 0
	if bytes.HasPrefix(raw, []byte(utf8BOM)) {
		skip = len(utf8BOM)
	}
	var docs []*document
	for c := range manifest.Chunks(raw[skip:]) {
		docs = append(docs, &document{start: skip + c.Start, end: skip + c.End, line: c.Line, refused: c.Refused})
	}
	return docs
}

// read decodes the document. left says why an object in it cannot be touched
// although Helm may accept it; the error is for what no reader accepts.
func (d *document) read(text []byte) (left string, err error) {
	d.file = sourceOf(text)
	if d.refused != "" {
		return "left as it is: " + d.refused, nil
	}
	if manifest.OnlyComments(text) {
		return "", nil
	}
	content, err := manifest.Decode(text)
	if err != nil {
		if sloppy := decodesAnyway(text); sloppy != nil {
			return "", fmt.Errorf("invalid YAML: %s", d.message(err))
		}
		return "left as it is: " + d.message(err), nil
	}
	if content == nil {
		return "", nil
	}
	m, ok := content.(map[string]any)
	if !ok {
		return "left as it is: not a Kubernetes object", nil
	}
	d.tree = m
	if !d.add(m, nil, 0) {
		d.objects = nil
		return "left as it is: not a Kubernetes object", nil
	}
	return "", nil
}

// decodesAnyway reads as Helm does: a repeated key and a second document pass.
func decodesAnyway(text []byte) error {
	var v any
	return yaml.Unmarshal(text, &v)
}

var lineNumber = regexp.MustCompile(`\bline (\d+):`)

// message is a YAML error on one line, its line numbers counted in the stream.
func (d *document) message(err error) string {
	text := lineNumber.ReplaceAllStringFunc(oneLine(err), func(m string) string {
		n, err := strconv.Atoi(lineNumber.FindStringSubmatch(m)[1])
		if err != nil {
			return m
		}
		return fmt.Sprintf("line %d:", n+d.line-1)
	})
	if !strings.Contains(text, "line ") {
		text = fmt.Sprintf("document at line %d: %s", d.line, text)
	}
	return text
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:")), " ")
}

// sourceOf is the file in the comment that Helm writes above a document.
func sourceOf(text []byte) string {
	for l := range bytes.Lines(text) {
		l = bytes.TrimSpace(l)
		if s, ok := bytes.CutPrefix(l, []byte("# Source: ")); ok {
			return string(s)
		}
		if len(l) > 0 && l[0] != '#' {
			break
		}
	}
	return ""
}

// add appends m, or the items of the list m. ok is false when something in it
// is no object.
func (d *document) add(m map[string]any, path []any, depth int) (ok bool) {
	kind, _ := m["kind"].(string)
	apiVersion, _ := m["apiVersion"].(string)
	if kind == "" || apiVersion == "" || depth > 8 {
		return false
	}
	items, isList := m["items"].([]any)
	if !isList {
		o := &object{doc: d, path: path}
		o.Object.Object = m
		o.File, o.Line = d.file, d.line
		d.objects = append(d.objects, o)
		return true
	}
	ok = true
	for i, item := range items {
		im, isMap := item.(map[string]any)
		if !isMap {
			ok = false
			continue
		}
		if element, found := strings.CutSuffix(kind, "List"); found && element != "" && (im["kind"] == nil || im["apiVersion"] == nil) {
			// A typed list implies the type of its items; the tree stays as written.
			typed := map[string]any{"kind": element, "apiVersion": apiVersion}
			for k, v := range im {
				typed[k] = v
			}
			im = typed
		}
		ok = d.add(im, append(append([]any{}, path...), "items", i), depth+1) && ok
	}
	return ok
}
