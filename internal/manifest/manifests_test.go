package manifest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parseOK(t *testing.T, raw string) *ObjectSet {
	t.Helper()
	set, err := Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestParse(t *testing.T) {
	t.Parallel()
	set := parseOK(t, "---\n# Source: templates/a.yaml:3\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  k: |\n    text\n     --- no separator\n"+
		"---\n# Source: templates/b.yaml:1\n\n# only a comment\n"+
		"---\n# Source: charts/x/templates/c.yaml:7\napiVersion: v1\nkind: [\n"+
		"---   \n# Source: chart/templates/d.yaml\n\napiVersion: v1\r\nkind: Pod\r\nmetadata:\r\n  name: d\r\n\n\n"+
		"--- # the last\n{apiVersion: v1, kind: Service}\n"+
		"---")
	type seen struct {
		Kind, Name, File string
		Line, From, To   int
	}
	var got []seen
	for _, o := range set.Objects {
		got = append(got, seen{o.GetKind(), o.GetName(), o.File, o.Line, o.From, o.To})
	}
	want := []seen{
		{"ConfigMap", "a", "templates/a.yaml", 3, 3, 9},
		{"Pod", "d", "chart/templates/d.yaml", 0, 21, 24},
		{"Service", "", "", 0, 28, 28},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if len(set.Broken) != 1 || set.Broken[0].File != "charts/x/templates/c.yaml" || set.Broken[0].Line != 7 ||
		set.Broken[0].From != 16 || set.Broken[0].To != 17 || !strings.HasPrefix(set.Broken[0].Error, "invalid YAML: line 8") {
		t.Errorf("broken %+v", set.Broken)
	}
}

func TestParseBroken(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	deep := "apiVersion: v1\nkind: A\na: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for name, tt := range map[string]struct{ raw, want string }{
		"duplicate key":      {"apiVersion: v1\nkind: A\nkind: B\n", `line 3: key "kind" already set in map`},
		"duplicate by type":  {"apiVersion: v1\nkind: A\nx: {1: a, '1': b}\n", `key "1" already set in map`},
		"no kind":            {"apiVersion: v1\nmetadata: {}\n", "no kind"},
		"no apiVersion":      {"kind: A\n", "no apiVersion"},
		"neither":            {"a: 1\n", "no apiVersion and no kind"},
		"kind not a string":  {"apiVersion: v1\nkind: [A]\n", "no kind"},
		"empty kind":         {"apiVersion: v1\nkind: ''\n", "no kind"},
		"list":               {"- a\n", "want a mapping with apiVersion and kind, have a list"},
		"scalar":             {"hello\n", "have a string"},
		"tab":                {"apiVersion: v1\n\tkind: A\n", "invalid YAML: line"},
		"null key":           {"apiVersion: v1\nkind: A\nx: {~: 1}\n", "want a string, have null"},
		"mapping key":        {"apiVersion: v1\nkind: A\n? {a: 1}\n: 2\n", "invalid"},
		"infinity":           {"apiVersion: v1\nkind: A\nx: .inf\n", "infinity"},
		"not a number":       {"apiVersion: v1\nkind: A\nx: .nan\n", "not-a-number"},
		"after the end":      {"apiVersion: v1\nkind: A\n...\napiVersion: v1\nkind: Hidden\n", "expected <document start>"},
		"other line breaks":  {"apiVersion: v1\nkind: A\r---\rapiVersion: v1\rkind: Hidden\r", "a second document"},
		"alias bomb":         {"apiVersion: v1\nkind: A\n" + bomb, "excessive aliasing"},
		"deep":               {deep, "nested deeper than"},
		"very deep":          {"a: " + strings.Repeat("[", 100_000), "invalid YAML"},
		"self reference":     {"apiVersion: v1\nkind: A\nx: &x [*x]\n", "anchor 'x' value contains itself"},
		"unknown alias":      {"apiVersion: v1\nkind: A\nx: *nowhere\n", "unknown anchor"},
		"item not a mapping": {"apiVersion: v1\nkind: List\nitems: [a]\n", "items[0] of List: want a mapping, have a string"},
		"item without kind":  {"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1}]\n", "no kind"},
		"control characters": {"apiVersion: v1\nkind: \"A\x01\"\n", "control characters are not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := parseOK(t, "---\n# Source: f:1\n"+tt.raw)
			if len(set.Objects) != 0 || len(set.Broken) != 1 {
				t.Fatalf("%d objects, broken %+v; want one broken document", len(set.Objects), set.Broken)
			}
			msg := set.Broken[0].Error
			if !strings.Contains(msg, tt.want) {
				t.Errorf("error %q, want %q in it", msg, tt.want)
			}
			if strings.Contains(msg, "\n") {
				t.Errorf("error %q has several lines", msg)
			}
		})
	}
	if _, err := Parse(bytes.Repeat([]byte("#"), MaxSize+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("too large: error %v", err)
	}
}

// TestParseTypes holds the YAML 1.1 reading of Kubernetes' clients.
func TestParseTypes(t *testing.T) {
	t.Parallel()
	set := parseOK(t, `apiVersion: v1
kind: A
bools: [yes, no, on, off, true, "yes"]
numbers: [1, 1.0, 1.5, 0777, 0x1F, 1e3, -3, 9223372036854775807, 18446744073709551615, 1_000]
strings: [2001-01-01, 0o17, 1.2.3, ~x, '1', !!str 5, =]
nulls: [~, null, ]
keys: {1: a, true: b, 1.5: c, yes: d0, 8080: e}
merged: {<<: {a: 1}, b: 2}
binary: !!binary aGk=
`)
	if len(set.Broken) != 1 {
		t.Fatalf("true and yes are one key: %+v", set.Broken)
	}
	set = parseOK(t, `apiVersion: v1
kind: A
bools: [yes, no, on, off, true, "yes"]
numbers: [1, 1.0, 1.5, 0777, 0x1F, 1e3, -3, 9223372036854775807, 18446744073709551615, 1_000]
strings: [2001-01-01, 1.2.3, ~x, '1', !!str 5]
nulls: [~, null]
keys: {1: a, true: b, 1.5: c, 8080: e}
merged: {<<: {a: 1}, b: 2}
binary: !!binary aGk=
`)
	if len(set.Broken) != 0 {
		t.Fatal(set.Broken)
	}
	want := map[string]any{
		"apiVersion": "v1", "kind": "A",
		"bools":   []any{true, false, true, false, true, "yes"},
		"numbers": []any{int64(1), int64(1), 1.5, int64(511), int64(31), int64(1000), int64(-3), int64(9223372036854775807), 1.8446744073709552e19, int64(1000)},
		"strings": []any{"2001-01-01", "1.2.3", "~x", "1", "5"},
		"nulls":   []any{nil, nil},
		"keys":    map[string]any{"1": "a", "true": "b", "1.5": "c", "8080": "e"},
		"merged":  map[string]any{"a": int64(1), "b": int64(2)},
		"binary":  "hi",
	}
	if diff := cmp.Diff(want, set.Objects[0].Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseLists(t *testing.T) {
	t.Parallel()
	set := parseOK(t, `---
# Source: l.yaml:1
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: a}}
- apiVersion: v1
  kind: List
  items: [{apiVersion: v1, kind: Pod, metadata: {name: b}}]
---
apiVersion: v1
kind: ConfigMapList
items: [{metadata: {name: c}}]
---
apiVersion: example.com/v1
kind: Disguise
items: [{apiVersion: v1, kind: Pod, metadata: {name: d}}]
---
apiVersion: v1
kind: List
items: []
`)
	var got []string
	for _, o := range set.Objects {
		got = append(got, o.GetAPIVersion()+" "+o.GetKind()+" "+o.GetName())
	}
	if diff := cmp.Diff([]string{"v1 Pod a", "v1 Pod b", "v1 ConfigMap c", "v1 Pod d"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(set.Broken) != 1 || !strings.Contains(set.Broken[0].Error, "items[1] of List: a list in a list") {
		t.Errorf("broken %+v", set.Broken)
	}
	nested := strings.Repeat("{apiVersion: v1, kind: List, items: [", 40) + strings.Repeat("]}", 40)
	if set := parseOK(t, nested); len(set.Broken) != 2 || !strings.Contains(set.Broken[1].Error, "nested too deeply") {
		t.Errorf("nested lists: %+v", set.Broken)
	}
}

func TestHooks(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][]string{
		"{apiVersion: v1, kind: A, metadata: {annotations: {helm.sh/hook: 'pre-install, test'}}}": {"pre-install", "test"},
		"{apiVersion: v1, kind: A}": nil,
	} {
		if diff := cmp.Diff(want, parseOK(t, raw).Objects[0].Hooks()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", raw, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("---\n# Source: a:1\napiVersion: v1\nkind: List\nitems: [{kind: Pod, apiVersion: v1}]\n"))
	f.Add([]byte("apiVersion: v1\nkind: A\nx: &a [*a]\n...\n---\n--- b\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := Parse(raw)
		if err != nil {
			return
		}
		lines := bytes.Count(raw, []byte("\n")) + 1
		for _, o := range set.Objects {
			if o.GetKind() == "" || o.GetAPIVersion() == "" {
				t.Errorf("object without kind or apiVersion: %v", o.Object)
			}
			if o.From < 1 || o.To < o.From || o.To > lines {
				t.Errorf("lines %d-%d of %d", o.From, o.To, lines)
			}
			o.DeepCopy() // panics on types that JSON has not
		}
		for _, b := range set.Broken {
			if b.Error == "" || b.From < 1 || b.To < b.From || b.To > lines {
				t.Errorf("broken %+v of %d lines", b, lines)
			}
		}
	})
}

// TestHiddenObjects: what stands behind any of YAML's line ends is no comment.
func TestHiddenObjects(t *testing.T) {
	t.Parallel()
	const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"hidden"}}`
	for _, end := range []string{"\r", "\u0085", "\u2028", "\u2029"} {
		for _, comment := range []string{"# c", "# Source: a.yaml:3", "#", "  # c"} {
			text := comment + end + pod
			if OnlyComments([]byte(text)) {
				t.Errorf("%q: taken for a comment", text)
			}
			set := parseOK(t, "---\n"+text+"\n---\n# Source: b.yaml:1\n"+text+"\n")
			if len(set.Objects) != 2 || len(set.Broken) > 0 || set.Objects[0].GetName() != "hidden" {
				t.Errorf("%q: %d objects, broken %+v; want the pod twice", text, len(set.Objects), set.Broken)
			}
		}
	}
}

// TestAmbiguous: where two readers of a stream may disagree, nothing is an object.
func TestAmbiguous(t *testing.T) {
	t.Parallel()
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
	for text, want := range map[string]string{
		"---kind: Pod\n" + pod:  "text after ---",
		"--- {a: b}\n" + pod:    "text after ---",
		"--- # c\r" + pod:       "a line end that is no line feed",
		"---\n# c\r---\n" + pod: "a document marker",
		"apiVersion: v1\nkind: Pod\nmetadata: {annotations: {helm.sh/hook: null}}\n":    "annotation helm.sh/hook without a hook",
		"apiVersion: v1\nkind: Pod\nmetadata: {annotations: {helm.sh/hook: 'test,'}}\n": "annotation helm.sh/hook without a hook",
		"---\n...\n" + pod:    "",
		"---\n\n\ufeff" + pod: "a byte order mark",
		"---\n{\"a\": \"\u2028\", \"kind\": A, \"apiVersion\": v1}":       "what is JSON to one reader",
		"apiVersion: v1\nkind: Pod\nMetadata: {name: a}\n":                `key "Metadata": Helm takes it for metadata`,
		"apiVersion: v1\nkind: Pod\nmetadata: {Annotations: {}}\n":        `key "Annotations" of metadata`,
		"apiVersion: v1\nkind: Pod\nmetadata: [a]\n":                      "metadata: want a mapping",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: [a]}\n":              "metadata.name: want a string",
		"apiVersion: v1\nkind: Pod\nmetadata: {annotations: {a: 1}}\n":    `metadata.annotations["a"]: want a string`,
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nitems: {a: b}\n": "items of Pod: want a list",
	} {
		set := parseOK(t, text)
		if len(set.Objects) != 0 || len(set.Broken) != 1 || !strings.Contains(set.Broken[0].Error, want) {
			t.Errorf("%q: %d objects, broken %+v; want one that says %q", text, len(set.Objects), set.Broken, want)
		}
	}
}

// TestListHooks: Helm takes hooks from the document; items: null is an empty list.
func TestListHooks(t *testing.T) {
	t.Parallel()
	set := parseOK(t, "apiVersion: v1\nkind: List\nmetadata: {annotations: {x: null, helm.sh/hook: test}}\nitems: [{apiVersion: v1, kind: Pod}]\n"+
		"---\napiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {annotations: {helm.sh/hook: test}}}]\n"+
		"---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nitems:\n")
	if len(set.Objects) != 2 || len(set.Broken) > 0 {
		t.Fatalf("%d objects, broken %+v; want two", len(set.Objects), set.Broken)
	}
	if a, b := set.Objects[0].Hooks(), set.Objects[1].Hooks(); len(a) != 1 || a[0] != "test" || b != nil {
		t.Errorf("hooks %v and %v, want those of the lists: test, and none", a, b)
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][]string{
		"{\"a\": 1}{\"b\": 2}\n\n{\"c\": 3}\n":   {"1 {\"a\": 1}", "1 {\"b\": 2}", "3 {\"c\": 3}"},
		"{\"a\": 1}\n---\n{\"b\": 2}\n":          {"1 {\"a\": 1}", "3 {\"b\": 2}"},
		"{\"a\": 1}{\"b\": 2}\n---\na: 1\n":      {"1 {\"a\": 1}", "1 {\"b\": 2}", "3 refused a: 1"},
		"\ufeffa: 1\n---\t# c\nb: 2\n---\n# c\n": {"1 a: 1", "3 b: 2", "5 # c"},
	} {
		var got []string
		for d := range Stream([]byte(raw)) {
			refused := ""
			if d.Refused != "" {
				refused = "refused "
			}
			got = append(got, fmt.Sprintf("%d %s%s", d.From, refused, d.Text))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", raw, diff)
		}
	}
}

// TestEndsOfDocuments: blank lines at the end of a document are not sealed, also where
// a block scalar keeps them: the object differs in the ends of that text alone.
func TestEndsOfDocuments(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  b: |+\n    x\n  c: |+\n"
	for text, want := range map[string]string{head + "    y\n\n\n": "y\n", head + "\n\n": "", head: ""} {
		set, err := Parse([]byte(text + "---\n" + text))
		if err != nil || len(set.Objects) != 2 {
			t.Fatalf("%d objects, %v", len(set.Objects), err)
		}
		for _, o := range set.Objects {
			if data, ok := o.Object["data"].(map[string]any); !ok || data["b"] != "x\n" || data["c"] != want {
				t.Errorf("%q: %v, want c to be %q", text, o.Object["data"], want)
			}
		}
	}
}
