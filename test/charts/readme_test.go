package charts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// field returns a mapping's value, or nil.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func str(n *yaml.Node, key string) string {
	if f := field(n, key); f != nil {
		return f.Value
	}
	return ""
}

// rows lists the values of a schema in its order: name, default, meaning, and after a
// list what its entries have, where they are described there. Values that are known only
// to be refused are left out.
func rows(t *testing.T, schema, defs *yaml.Node, prefix string, defaults any) []string {
	t.Helper()
	var out []string
	props := field(schema, "properties")
	if props == nil {
		t.Fatalf("%s: no properties", prefix)
	}
	for i := 0; i < len(props.Content); i += 2 {
		key, p := props.Content[i].Value, props.Content[i+1]
		name := prefix + key
		if name == "global" || name == "hardened" || str(p, "deprecated") == "true" {
			continue
		}
		if strings.HasPrefix(str(p, "description"), "Refused: ") {
			continue
		}
		def := field(defs, strings.TrimPrefix(str(p, "$ref"), "#/$defs/"))
		meaning := str(p, "description")
		if meaning == "" {
			meaning = str(def, "description")
		}
		if meaning == "" {
			t.Errorf("%s has no description", name)
		}
		m, _ := defaults.(map[string]any)
		value, has := m[key]
		if field(p, "properties") != nil {
			out = append(out, rows(t, p, defs, name+".", value)...)
			continue
		}
		shown := "–"
		if has {
			raw, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			shown = "`" + string(raw) + "`"
		}
		out = append(out, fmt.Sprintf("| %s | %s | %s |", name, shown, strings.ReplaceAll(meaning, "|", `\|`)))
		items := field(p, "items")
		if items == nil {
			items = field(def, "items")
		}
		if field(items, "properties") != nil {
			out = append(out, rows(t, items, defs, name+"[].", nil)...)
		}
	}
	return out
}

// valuesTable is the README's, from values.schema.json and values.yaml.
func valuesTable(t *testing.T, chart string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(chart, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	schema := doc.Content[0]
	defs := field(schema, "$defs")
	lines := []string{"| value | default | meaning |", "|---|---|---|"}
	lines = append(lines, rows(t, schema, defs, "", readValues(t, filepath.Join(chart, "values.yaml")))...)
	for _, d := range []struct{ def, title string }{
		{"container", "An entry of initContainers or sidecars"}, {"probe", "A probe"},
	} {
		lines = append(lines, "", "### "+d.title, "", "| value | default | meaning |", "|---|---|---|")
		lines = append(lines, rows(t, field(defs, d.def), defs, "", nil)...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// between holds that a file has text between its two marks, or writes it.
func between(t *testing.T, file, mark, text string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(raw), "<!-- "+mark+": generated -->\n")
	old, tail, closed := strings.Cut(rest, "<!-- /"+mark+" -->")
	if !ok || !closed {
		t.Fatalf("%s has no marks for %s", file, mark)
	}
	if old == text {
		return
	}
	if !*update {
		t.Errorf("%s has drifted; go test ./test/charts -update writes it (-want +got):\n%s", file, cmp.Diff(text, old))
		return
	}
	if err := os.WriteFile(file, []byte(head+"<!-- "+mark+": generated -->\n"+text+"<!-- /"+mark+" -->"+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestREADME holds that the values tables are what schema and defaults say.
func TestREADME(t *testing.T) {
	t.Parallel()
	between(t, filepath.Join(serviceDir, "README.md"), "values", valuesTable(t, serviceDir))
}

// TestExamplesListed holds that service's README names each example.
func TestExamplesListed(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(serviceDir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(serviceDir, "examples"))
	if err != nil || len(entries) < 8 {
		t.Fatalf("%d examples: %v", len(entries), err)
	}
	for _, e := range entries {
		if !strings.Contains(string(raw), "| examples/"+e.Name()+" |") {
			t.Errorf("the README does not list examples/%s", e.Name())
		}
	}
}

var (
	defined    = regexp.MustCompile(`\{\{-? define "([^"]+)"`)
	documented = regexp.MustCompile("(?m)^\\| `(hardened\\.[^`]+)` \\|")
)

// TestTemplatesDocumented holds that the library's README lists exactly the
// templates that others may include.
func TestTemplatesDocumented(t *testing.T) {
	t.Parallel()
	var have, listed []string
	for name, text := range tree(t, libraryDir) {
		if !strings.HasPrefix(name, "templates/") {
			continue
		}
		for _, m := range defined.FindAllStringSubmatch(text, -1) {
			switch {
			case !strings.HasPrefix(m[1], "hardened."):
				t.Errorf("%s: template %s is not named hardened.…: another chart's may have that name", name, m[1])
			case !strings.HasPrefix(m[1], "hardened.internal."):
				have = append(have, m[1])
			}
		}
	}
	for _, m := range documented.FindAllStringSubmatch(tree(t, libraryDir)["README.md"], -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(have)
	slices.Sort(listed)
	if d := cmp.Diff(have, listed); d != "" {
		t.Errorf("defined and documented (-defined +documented):\n%s", d)
	}
}

// TestDefaults holds that what service's values.yaml spells out are the
// library's own defaults, but for those that only an application can choose.
func TestDefaults(t *testing.T) {
	t.Parallel()
	own := readValues(t, filepath.Join(serviceDir, "values.yaml"))
	chosen := map[string]bool{"port": true, "autoscaling.enabled": true}
	n := 0
	var compare func(at string, lib, own map[string]any)
	compare = func(at string, lib, own map[string]any) {
		for key, want := range lib {
			if chosen[at+key] {
				continue
			}
			n++
			got := own[key]
			if inner, ok := want.(map[string]any); ok {
				m, _ := got.(map[string]any)
				compare(at+key+".", inner, m)
			} else if d := cmp.Diff(want, got); d != "" && (got != nil || at == "") {
				t.Errorf("%s%s (-library +service):\n%s", at, key, d)
			}
		}
	}
	compare("", helper(t, "hardened.defaults"), own)
	if n < 80 {
		t.Errorf("only %d defaults compared", n)
	}
}
