package harden

import (
	"strings"
	"testing"
)

// A value is set where it stands, or added beside what is there; nothing else moves.
func TestEditValues(t *testing.T) {
	t.Parallel()
	cpu := Value{[]string{"server", "resources", "requests", "cpu"}, "10m"}
	for _, tc := range []struct {
		name, text, want string
		values           []Value
	}{
		{"empty map", "server:\n  # of the server\n  resources: {}\n  x: 1\n", "server:\n  # of the server\n  resources: {\"requests\": {\"cpu\":\"10m\"}}\n  x: 1\n", []Value{cpu}},
		{"nothing there", "# only a comment", "# only a comment\nserver:\n  resources:\n    requests:\n      cpu: 10m\n", []Value{cpu}},
		{"empty file", "", "server:\n  resources:\n    requests:\n      cpu: 10m\n", []Value{cpu}},
		{"a switch", "pdb: {enabled: false} # later\n", "pdb: {enabled: true} # later\n", []Value{{[]string{"pdb", "enabled"}, true}}},
		{"another chart's key", "a: 1\nb: 2\n", "a: 1\nserver:\n  resources:\n    requests:\n      cpu: 10m\nb: 2\n", []Value{cpu}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := EditValues([]byte(tc.text), tc.values...)
			if err != nil || string(got) != tc.want {
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
	for text, want := range map[string]string{
		"server: text\n":                      "another shape",
		"- a\n":                               "another shape",
		"server: {resources: [1]}\n":          "another shape",
		"x: &x {}\nserver: {resources: *x}\n": "",
		"a: b: c\n":                           "read values",
	} {
		if got, err := EditValues([]byte(text), cpu); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
}
