package chart

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/internal/manifest"
)

// originOf says what made the only line of a release's manifests that holds a text:
// FILE:LINE:COLUMN, and behind an arrow the definition.
func originOf(t *testing.T, rel *Release, text string) string {
	t.Helper()
	m, err := manifest.ParseSourceMap(rel.SourceMap)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for d := range manifest.Documents(rel.Manifests) {
		for i, l := range bytes.Split(d.Text, []byte("\n")) {
			if !strings.Contains(string(l), text) {
				continue
			}
			o := m.Find(d.From, d.From+i, manifest.Indent(l))
			s := fmt.Sprintf("%s:%d:%d", o.At.File, o.At.Line, o.At.Column)
			if o.By.Line > 0 {
				s += fmt.Sprintf(" <- %s:%d", o.By.File, o.By.Line)
			}
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no line has %q:\n%s", text, rel.Manifests)
	}
	return strings.Join(found, ", ")
}

func TestSourceMap(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"
	for name, tc := range map[string]struct {
		files map[string]string // without Chart.yaml; a key without a folder is one of templates/
		find  string
		want  string
	}{
		"plain line":      {map[string]string{"a.yaml": head + "data:\n  k: found\n"}, "found", "templates/a.yaml:6:3"},
		"value in a line": {map[string]string{"a.yaml": head + "data:\n  k: {{ .Release.Name }}-found\n"}, "found", "templates/a.yaml:6:3"},
		"if":              {map[string]string{"a.yaml": head + "{{ if true }}\ndata:\n  {{- if true }}\n  k: found\n  {{- end }}\n{{ end }}\n"}, "found", "templates/a.yaml:8:3"},
		"else":            {map[string]string{"a.yaml": head + "data:\n  {{- if false }}\n  k: found\n  {{- else }}\n  k: found2\n  {{- end }}\n"}, "found", "templates/a.yaml:9:3"},
		"with":            {map[string]string{"a.yaml": head + "data:\n  {{- with .Values.x }}\n  k: found{{ . }}\n  {{- end }}\n", "../values.yaml": "x: y\n"}, "found", "templates/a.yaml:7:3"},
		"range":           {map[string]string{"a.yaml": head + "data:\n  {{- range list \"a\" \"b\" }}\n  {{ . }}: found\n  {{- end }}\n"}, "found", "templates/a.yaml:7:3, templates/a.yaml:7:3"},
		"documents":       {map[string]string{"a.yaml": head + "---\n" + "# a comment\n\n---\n\n\n" + head + "data:\n  k: found\n"}, "found", "templates/a.yaml:16:3"},
		"documents of a loop": {map[string]string{"a.yaml": "{{- range until 2 }}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a{{ . }}\ndata:\n  k: found\n{{- end }}\n"},
			"found", "templates/a.yaml:8:3, templates/a.yaml:8:3"},
		"line ends of Windows":         {map[string]string{"a.yaml": strings.ReplaceAll(head+"{{- if true }}\ndata:\n  k: found\n{{- end }}\n", "\n", "\r\n")}, "found", "templates/a.yaml:7:3"},
		"trimmed on both sides":        {map[string]string{"a.yaml": head + "data:\n  k:\n    {{- print \" \" -}}\n    found\n"}, "found", "templates/a.yaml:6:3"},
		"text in the middle of a line": {map[string]string{"a.yaml": head + "{{ if true }}binaryData: {}{{ end }}\n"}, "binaryData", "templates/a.yaml:5:14"},
		"include in a line": {map[string]string{"a.yaml": head + "data:\n  k: {{ include \"h\" . }}\n", "_h.tpl": "{{/* a helper */}}\n{{- define \"h\" -}}\nfound\n{{- end }}\n"},
			"found", "templates/a.yaml:6:3 <- templates/_h.tpl:3"},
		"include, quoted": {map[string]string{"a.yaml": head + "data:\n  k: {{ include \"h\" . | quote }}\n", "_h.tpl": "{{ define \"h\" -}}\nfound\n{{- end }}\n"},
			"found", "templates/a.yaml:6:3 <- templates/_h.tpl:2"},
		"template": {map[string]string{"a.yaml": head + "data:\n  k: {{ template \"h\" . }}\n", "_h.tpl": "{{ define \"h\" -}}\nfound\n{{- end }}\n"},
			"found", "templates/a.yaml:6:3 <- templates/_h.tpl:2"},
		"include with nindent": {map[string]string{"a.yaml": head + "data:\n  {{- include \"h\" . | nindent 2 }}\n", "_h.tpl": "{{ define \"h\" }}\na: b\nk: found\n{{- end }}\n"},
			"found", "templates/a.yaml:6:3 <- templates/_h.tpl:3"},
		"helper of a helper": {map[string]string{"a.yaml": head + "data:\n  {{- include \"h\" . | nindent 2 }}\n",
			"_h.tpl": "{{ define \"h\" }}\na: b\n{{ include \"i\" . | trim }}\n{{- end }}\n{{ define \"i\" }}\nk: found\n{{- end }}\n"},
			"found", "templates/a.yaml:6:3 <- templates/_h.tpl:6"},
		"include kept in a variable": {map[string]string{"a.yaml": head + "data:\n  {{- $x := include \"h\" . }}\n  {{- $x | nindent 2 }}\n", "_h.tpl": "{{ define \"h\" }}\nk: found\n{{- end }}\n"},
			"found", "templates/a.yaml:7:3 <- templates/_h.tpl:2"},
		"include of with": {map[string]string{"a.yaml": head + "data:\n  {{- with include \"h\" . }}\n  {{- . | nindent 2 }}\n  {{- end }}\n", "_h.tpl": "{{ define \"h\" }}\nk: found\n{{- end }}\n"},
			"found", "templates/a.yaml:7:3 <- templates/_h.tpl:2"},
		"include that goes through YAML": {map[string]string{"a.yaml": head + "data:\n  {{- include \"h\" . | fromYaml | toYaml | nindent 2 }}\n", "_h.tpl": "{{ define \"h\" }}\nz: found\na: 'found'\n{{- end }}\n"},
			"found", "templates/a.yaml:6:3 <- templates/_h.tpl:3, templates/a.yaml:6:3 <- templates/_h.tpl:2"},
		"tpl of a value": {map[string]string{"a.yaml": head + "data:\n  {{- tpl (toYaml .Values.data) . | nindent 2 }}\n", "../values.yaml": "data:\n  k: found-{{ .Release.Name }}\n"},
			"found", "templates/a.yaml:6:3"},
		"helper in a tpl": {map[string]string{"a.yaml": head + "data:\n  {{- tpl .Values.data . | nindent 2 }}\n", "../values.yaml": "data: '{{ include \"h\" . }}'\n", "_h.tpl": "{{ define \"h\" }}\nk: found\n{{- end }}\n"},
			"found", "templates/a.yaml:6:3 <- templates/_h.tpl:2"},
		"toYaml":    {map[string]string{"a.yaml": head + "data:\n  a: b\n  {{- toYaml .Values.data | nindent 2 }}\n", "../values.yaml": "data:\n  j: k\n  k: found\n"}, "found", "templates/a.yaml:7:3"},
		"Files.Get": {map[string]string{"a.yaml": head + "data:\n  k: |\n{{ .Files.Get \"f.txt\" | indent 4 }}\n", "../f.txt": "a\nfound\n"}, "found", "templates/a.yaml:7:1"},
		"a hook":    {map[string]string{"a.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    helm.sh/hook: test # found\n"}, "found", "templates/a.yaml:6:5"},
		"no value":  {map[string]string{"a.yaml": head + "data:\n  {{ .Values.none }}a: b\n  k: found{{ .Values.none }}\n"}, "found", "templates/a.yaml:7:3"},
		"definition in the file itself": {map[string]string{"a.yaml": "{{- define \"own\" }}\nk: found\n{{- end -}}\n" + head + "data:\n  {{- include \"own\" . | nindent 2 }}\n"},
			"found", "templates/a.yaml:9:3 <- templates/a.yaml:2"},
		"subchart": {map[string]string{"../charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n", "../charts/sub/templates/a.yaml": head + "data:\n  {{- include \"h\" . | nindent 2 }}\n", "_h.tpl": "{{ define \"h\" }}\nk: found\n{{ end }}"},
			"found", "charts/sub/templates/a.yaml:6:3 <- templates/_h.tpl:2"},
		"helper of a library chart": {map[string]string{"../charts/lib/Chart.yaml": "apiVersion: v2\nname: lib\nversion: 1.0.0\ntype: library\n", "../charts/lib/templates/_lib.tpl": "{{ define \"lib.whole\" }}\n" + head + "data:\n  k: found\n{{ end }}",
			"a.yaml": "{{ include \"lib.whole\" . }}\n"}, "found", "templates/a.yaml:1:1 <- charts/lib/templates/_lib.tpl:7"},
		"definition of CRDs": {map[string]string{"a.yaml": head, "../crds/c.yaml": "# CRDs\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: found.example.com\n"}, "found", "crds/c.yaml:6:3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"Chart.yaml": "apiVersion: v2\nname: demo\nversion: 1.0.0\n"}
			for n, text := range tc.files {
				if rest, ok := strings.CutPrefix(n, "../"); ok {
					files[rest] = text
				} else {
					files["templates/"+n] = text
				}
			}
			rel := mustLoad(t, writeTree(t, t.TempDir(), files), LoadOptions{})
			if got := originOf(t, rel, tc.find); got != tc.want {
				t.Errorf("have %s, want %s", got, tc.want)
			}
		})
	}
}

// Lines that a call did not return are not looked for in all that it did: with so many
// this would not end.
func TestManyLinesOfACall(t *testing.T) {
	t.Parallel()
	const n = 500_000
	c := &call{text: strings.Repeat("a: b\nc: d\n", n/2)}
	for i := range n {
		if line, ok := c.find("c: e"); ok {
			t.Fatalf("line %d", line)
		}
		if line, ok := c.find(compared(c.text[i%2*5 : i%2*5+4])); !ok || line != i {
			t.Fatalf("line %d, %t; want %d", line, ok, i)
		}
	}
	if line, ok := c.find("c: d"); !ok || line != 1 {
		t.Errorf("line %d, %t; want the first again", line, ok)
	}
}
