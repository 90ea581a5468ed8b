package chart

import (
	"slices"
	"strings"
	"testing"
)

// TestNameThatSchemaRefuses holds that a problem with a name says which name, and where.
func TestNameThatSchemaRefuses(t *testing.T) {
	t.Parallel()
	schema := `{"properties": {"config": {"properties": {"files": {"propertyNames": {"pattern": "^/"}}}}, "env": {"propertyNames": {"minLength": 3}},
		"labels": {"propertyNames": {"allOf": [{"pattern": "^[a-z]+$"}]}},
		"a": {"propertyNames": {"pattern": "^x"}}, "b": {"propertyNames": {"pattern": "^x"}},
		"list": {"items": {"propertyNames": {"maxLength": 1}}}}}`
	got, err := checkSchema([]byte(schema), map[string]any{
		"config": map[string]any{"files": map[string]any{"a.yaml": "hunter2", "/b": "x"}},
		"env":    map[string]any{"A": "hunter2"},
		"labels": map[string]any{"a\n'b": "hunter2"},
		"a":      map[string]any{"y": "hunter2"},
		"b":      map[string]any{"y": "hunter2"},
		"list":   []any{map[string]any{}, map[string]any{"two": "hunter2"}},
	}, map[string]struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`at '': the name 'y' does not match pattern '^x'`, // there are two of it
		`at '/config/files': the name 'a.yaml' does not match pattern '^/'`,
		`at '/env': the name 'A': minLength: got 1, want 3`,
		`at '/labels': the name 'a\n'b' does not match pattern '^[a-z]+$'`,
		`at '/list/1': the name 'two': maxLength: got 3, want 1`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
