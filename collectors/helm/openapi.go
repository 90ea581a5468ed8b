package helm

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

//go:generate go run ./internal/genschemas

// embedded holds one schemas/<major.minor>.json.gz per Kubernetes version, made
// by internal/genschemas from k8s.io/kubernetes's own OpenAPI document.
//
//go:embed schemas/*.json.gz
var embedded embed.FS

// maxSchemaSize bounds an unpacked schema document, in bytes.
const maxSchemaSize = 64 << 20

// Document is the compact form of the OpenAPI v2 document of one Kubernetes
// version: what is needed to validate objects, and no descriptions.
type Document struct {
	Kinds       map[string]string          `json:"kinds"` // "apps/v1 Deployment" → definition
	Definitions map[string]json.RawMessage `json:"definitions"`

	mu       sync.Mutex
	compiled map[string]*Node
}

// Node is one schema of a Document.
type Node struct {
	Ref        string           `json:"$,omitempty"` // another definition
	Type       string           `json:"t,omitempty"` // object, array, string, integer, number, boolean; empty: anything
	Format     string           `json:"f,omitempty"`
	Properties map[string]*Node `json:"p,omitempty"`
	Required   []string         `json:"r,omitempty"`
	Additional *Node            `json:"a,omitempty"`
	Items      *Node            `json:"i,omitempty"`
	Enum       []any            `json:"e,omitempty"`
}

// documentOf loads an embedded document once per process.
var documents sync.Map // version → func() (*Document, error)

func embeddedDocument(version string) (*Document, error) {
	load, _ := documents.LoadOrStore(version, sync.OnceValues(func() (*Document, error) {
		raw, err := embedded.ReadFile("schemas/" + version + ".json.gz")
		if err != nil {
			return nil, err
		}
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("schemas of Kubernetes %s: %w", version, err)
		}
		text, err := io.ReadAll(io.LimitReader(z, maxSchemaSize))
		if err != nil {
			return nil, fmt.Errorf("schemas of Kubernetes %s: %w", version, err)
		}
		return ParseDocument(text)
	}))
	return load.(func() (*Document, error))()
}

// Versions lists the embedded Kubernetes versions, oldest first.
func Versions() []string {
	entries, err := embedded.ReadDir("schemas")
	if err != nil {
		return nil // the directory is embedded
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".json.gz"))
	}
	slices.SortFunc(out, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return out
}

// ParseDocument reads the compact form.
func ParseDocument(text []byte) (*Document, error) {
	d := &Document{compiled: map[string]*Node{}}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("compact schemas: %w", err)
	}
	for kind, def := range d.Kinds {
		if _, ok := d.Definitions[def]; !ok {
			return nil, fmt.Errorf("compact schemas: %s refers to definition %q, which is not there", kind, def)
		}
	}
	return d, nil
}

func kindKey(gvk schema.GroupVersionKind) string { return gvk.GroupVersion().String() + " " + gvk.Kind }

// Has reports whether the version serves the kind.
func (d *Document) Has(gvk schema.GroupVersionKind) bool {
	_, ok := d.Kinds[kindKey(gvk)]
	return ok
}

// Serves reports whether the version serves anything of that group.
func (d *Document) serves(group string) bool {
	for k := range d.Kinds {
		gv, _, _ := strings.Cut(k, " ")
		g, _, ok := strings.Cut(gv, "/")
		if ok && g == group || !ok && group == "" {
			return true
		}
	}
	return false
}

func (d *Document) definition(name string) (*Node, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := d.compiled[name]; ok {
		return n, nil
	}
	raw, ok := d.Definitions[name]
	if !ok {
		return nil, fmt.Errorf("schema refers to definition %q, which is not there", name)
	}
	n := new(Node)
	if err := json.Unmarshal(raw, n); err != nil {
		return nil, fmt.Errorf("definition %q: %w", name, err)
	}
	d.compiled[name] = n
	return n, nil
}

// maxProblems bounds what is reported about one object.
const maxProblems = 50

// Validate returns what is wrong with an object, "spec.replicas: want integer,
// got string \"two\"", in the order of paths.
func (d *Document) Validate(gvk schema.GroupVersionKind, object map[string]any) ([]string, error) {
	return d.validate(gvk, object, true)
}

// validate is Validate; whole is false for who validates the object anyhow: then
// only unknown fields and wrong types are problems, since the API server asks for
// less, and for more, than its schema says is required.
func (d *Document) validate(gvk schema.GroupVersionKind, object map[string]any, whole bool) ([]string, error) {
	def, ok := d.Kinds[kindKey(gvk)]
	if !ok {
		return nil, fmt.Errorf("no schema for %s", kindKey(gvk))
	}
	v := &checker{doc: d, whole: whole}
	n, err := d.definition(def)
	if err != nil {
		return nil, err
	}
	v.value(n, object, "", 0)
	if v.err != nil {
		return nil, v.err
	}
	slices.Sort(v.problems)
	return v.problems, nil
}

type checker struct {
	doc      *Document
	whole    bool // required fields and enumerations too
	problems []string
	err      error
}

func (v *checker) say(path, format string, args ...any) {
	if len(v.problems) < maxProblems {
		v.problems = append(v.problems, strings.TrimPrefix(path, ".")+": "+fmt.Sprintf(format, args...))
	}
}

const (
	quantity    = "io.k8s.apimachinery.pkg.api.resource.Quantity"
	intOrString = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
)

func (v *checker) value(n *Node, x any, path string, depth int) {
	if x == nil || v.err != nil {
		return // null is as if it were absent: the API server drops it
	}
	if depth > 256 {
		v.say(path, "nested too deeply")
		return
	}
	if n.Ref != "" {
		switch n.Ref {
		case quantity:
			v.quantity(x, path)
			return
		case intOrString:
			switch x.(type) {
			case string, int64:
			default:
				v.say(path, "want a whole number or a string, got %s", describe(x))
			}
			return
		}
		def, err := v.doc.definition(n.Ref)
		if err != nil {
			v.err = err
			return
		}
		v.value(def, x, path, depth+1)
		return
	}
	if v.whole && len(n.Enum) > 0 && !slices.ContainsFunc(n.Enum, func(e any) bool { return fmt.Sprint(e) == fmt.Sprint(x) }) {
		v.say(path, "%s is not one of %s", describe(x), list(n.Enum))
		return
	}
	switch n.Type {
	case "object":
		v.object(n, x, path, depth)
	case "array":
		items, ok := x.([]any)
		if !ok {
			v.say(path, "want a list, got %s", describe(x))
			return
		}
		if n.Items != nil {
			for i, e := range items {
				if e == nil && v.isObject(n.Items) {
					e = map[string]any{} // the API server reads an empty one
				}
				v.value(n.Items, e, fmt.Sprintf("%s[%d]", path, i), depth+1)
			}
		}
	case "string":
		s, ok := x.(string)
		if !ok {
			v.say(path, "want a string, got %s", describe(x))
			return
		}
		v.format(n.Format, s, path)
	case "integer":
		switch i := x.(type) {
		case int64:
			if n.Format == "int32" && (i > math.MaxInt32 || i < math.MinInt32) {
				v.say(path, "%d does not fit into 32 bits", i)
			}
		case float64:
			if i != math.Trunc(i) || math.Abs(i) > 1<<53 {
				v.say(path, "want a whole number, got %s", describe(x))
			}
		default:
			v.say(path, "want a whole number, got %s", describe(x))
		}
	case "number":
		switch x.(type) {
		case int64, float64:
		default:
			v.say(path, "want a number, got %s", describe(x))
		}
	case "boolean":
		if _, ok := x.(bool); !ok {
			v.say(path, "want true or false, got %s", describe(x))
		}
	}
}

// isObject reports whether a schema is a mapping's.
func (v *checker) isObject(n *Node) bool {
	if n.Ref == quantity || n.Ref == intOrString {
		return false
	}
	for depth := 0; n.Ref != "" && depth < 256; depth++ {
		def, err := v.doc.definition(n.Ref)
		if err != nil {
			v.err = err
			return false
		}
		n = def
	}
	return n.Type == "object"
}

func (v *checker) object(n *Node, x any, path string, depth int) {
	m, ok := x.(map[string]any)
	if !ok {
		v.say(path, "want a mapping, got %s", describe(x))
		return
	}
	for _, key := range n.Required {
		if !v.whole {
			break
		}
		if val, ok := m[key]; !ok || val == nil {
			v.say(path+"."+key, "required, and missing")
		}
	}
	if len(n.Properties) == 0 && n.Additional == nil {
		return // raw content: anything
	}
	for key, val := range m {
		p, known := n.Properties[key]
		switch {
		case known:
			v.value(p, val, path+"."+key, depth+1)
		case n.Additional != nil:
			v.value(n.Additional, val, path+"."+key, depth+1)
		default:
			v.say(path+"."+key, "unknown field")
		}
	}
}

func (v *checker) quantity(x any, path string) {
	switch q := x.(type) {
	case int64, float64:
	case string:
		if _, err := resource.ParseQuantity(q); err != nil {
			v.say(path, "%q is not a quantity like 100m, 0.5 or 1Gi", q)
		}
	default:
		v.say(path, "want a quantity like 100m, 0.5 or 1Gi, got %s", describe(x))
	}
}

func (v *checker) format(format, s, path string) {
	switch format {
	case "date-time":
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			v.say(path, "%q is not a time like 2026-01-02T15:04:05Z", s)
		}
	case "byte":
		if _, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(s)); err != nil {
			v.say(path, "not base64") // never the value: it may be a secret
		}
	}
}

// describe names a value's type, and short scalars themselves.
func describe(x any) string {
	switch t := x.(type) {
	case string:
		if len(t) > 40 {
			return "a string"
		}
		return fmt.Sprintf("string %q", t)
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case nil:
		return "null"
	}
	return fmt.Sprint(x)
}

func list(values []any) string {
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprint(v))
	}
	return strings.Join(out, ", ")
}
