package config

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence/gate"
)

var update = flag.Bool("update", false, "write the generated documents")

func TestDocsAreCurrent(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]byte{
		"../docs/configuration.md": Markdown(),
		"../docs/controls.md":      ControlsMarkdown(),
	} {
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the catalog and the keys say: run make docs", name)
		}
	}
}

// The examples of docs/configuration.md are accepted.
func TestDocsExamples(t *testing.T) {
	t.Parallel()
	parts := strings.Split(string(Markdown()), "```yaml\n")
	if len(parts) != 5 { // the last is tested where policies are
		t.Fatalf("%d examples, want 4", len(parts)-1)
	}
	for i := range parts {
		parts[i], _, _ = strings.Cut(parts[i], "```")
	}
	if _, err := parseFile([]byte(parts[1])); err != nil {
		t.Error(err)
	}
	p, err := gate.ParseProfile([]byte(parts[2]))
	if err != nil {
		t.Error(err)
	} else if err := gate.ValidateProfile(p, parsedCatalog()); err != nil {
		t.Error(err)
	}
	if ws, err := gate.ParseWaivers([]byte(parts[3])); err != nil || len(ws) != 1 {
		t.Errorf("%d waivers, %v", len(ws), err)
	}
}

// The table of keys and the struct say the same, comments included.
func TestKeysAndFieldsAgree(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Config" {
			return true
		}
		for _, f := range spec.Type.(*ast.StructType).Fields.List {
			comments[f.Names[0].Name] = strings.TrimSpace(f.Doc.Text())
		}
		return false
	})
	fields := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if f.IsExported() {
			fields[f.Name] = true
		}
	}
	all := keys()
	if len(all) != len(fields) {
		t.Errorf("%d keys, %d fields", len(all), len(fields))
	}
	for _, k := range all {
		c := &Config{}
		var field string
		v := reflect.ValueOf(c).Elem()
		for i := range v.NumField() {
			if v.Field(i).CanAddr() && v.Type().Field(i).IsExported() && v.Field(i).Addr().Interface() == k.field(c) {
				field = v.Type().Field(i).Name
			}
		}
		if !strings.EqualFold(field, k.name) {
			t.Errorf("key %s has the field %q", k.name, field)
		}
		if comments[field] != k.doc {
			t.Errorf("field %s says %q, key %s says %q", field, comments[field], k.name, k.doc)
		}
		if k.want == "" || k.check == nil {
			t.Errorf("key %s does not say what is allowed", k.name)
		}
	}
}
