package chart

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestOrderOfMaps: objects that depend on the random order of a map are recorded,
// and a template that takes the order out is not.
func TestOrderOfMaps(t *testing.T) {
	t.Parallel()
	const (
		m3   = `(dict "a" "1" "b" "2" "c" "3")`
		data = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"v":"%s"}}`
	)
	for name, tt := range map[string]struct {
		template string
		files    map[string]string
		want     []string // FUNCTION of TEMPLATE
	}{
		"joined keys":              {template: `{{ keys ` + m3 + ` | join "," }}`, want: []string{"keys of templates/x.yaml"}},
		"joined values":            {template: `{{ values ` + m3 + ` | join "," }}`, want: []string{"values of templates/x.yaml"}},
		"the first":                {template: `{{ first (keys ` + m3 + `) }}`, want: []string{"keys of templates/x.yaml"}},
		"the one in the middle":    {template: `{{ index (keys ` + m3 + `) 1 }}`, want: []string{"keys of templates/x.yaml"}},
		"one of two":               {template: `{{ last (values (dict "a" "1" "b" "2")) }}`, want: []string{"values of templates/x.yaml"}},
		"of the values":            {template: `{{ keys .Values.env | join "," }}`, want: []string{"keys of templates/x.yaml"}},
		"of two maps":              {template: `{{ keys (dict "a" 1) ` + m3 + ` | join "" }}`, want: []string{"keys of templates/x.yaml"}},
		"a digest":                 {template: `{{ keys ` + m3 + ` | toJson | sha256sum }}`, want: []string{"keys of templates/x.yaml"}},
		"in a loop":                {template: `{{ range values ` + m3 + ` }}{{ . }}{{ end }}`, want: []string{"values of templates/x.yaml"}},
		"the last wins":            {template: `{{ $x := "" }}{{ range keys ` + m3 + ` }}{{ $x = . }}{{ end }}{{ $x }}`, want: []string{"keys of templates/x.yaml"}},
		"through a helper":         {template: `{{ include "all" . }}`, files: map[string]string{"templates/_h.tpl": `{{ define "all" }}{{ keys ` + m3 + ` | join "," }}{{ end }}`}, want: []string{"keys of templates/x.yaml"}},
		"through tpl":              {template: `{{ tpl "{{ keys .Values.env | join \",\" }}" . }}`, want: []string{"keys of templates/x.yaml"}},
		"kept for another":         {template: `{{ .Values.kept }}`, files: map[string]string{"templates/y.yaml": `{{ $_ := set .Values "kept" (keys .Values.env | join ",") }}`}, want: []string{"keys of templates/y.yaml"}},
		"it may not render":        {template: `{{ if ne "a" (first (keys ` + m3 + `)) }}{{ fail "not a" }}{{ end }}`, want: []string{"keys of templates/x.yaml"}},
		"and an upgrade differs":   {template: `{{ .Release.IsUpgrade }}{{ keys ` + m3 + ` | join "," }}`, want: []string{"keys of templates/x.yaml"}},
		"sorted":                   {template: `{{ keys ` + m3 + ` | sortAlpha | join "," }}`},
		"sorted, by a call":        {template: `{{ join "," (sortAlpha (keys ` + m3 + `)) }}`},
		"sorted values":            {template: `{{ values ` + m3 + ` | sortAlpha | first }}`},
		"sorted later":             {template: `{{ $k := keys ` + m3 + ` }}{{ $k = $k | uniq | sortAlpha }}{{ index $k 1 }}`},
		"counted":                  {template: `{{ keys ` + m3 + ` | len }}`},
		"looked for":               {template: `{{ has "b" (keys ` + m3 + `) }}`},
		"all of a kind":            {template: `{{ range values (dict "a" "1" "b" "1" "c" "1") }}{{ . }}{{ end }}`},
		"one key":                  {template: `{{ keys (dict "a" 1) | first }}`},
		"no key":                   {template: `{{ keys (dict) | join "" }}`},
		"the map itself":           {template: `{{ range $k, $v := .Values.env }}{{ $k }}{{ end }}`},
		"fields of an object":      {template: `", {{ range keys ` + m3 + ` }}"{{ . }}": "x",{{ end }} "z": "`},
		"only an upgrade differs":  {template: `{{ .Release.IsUpgrade }}{{ keys ` + m3 + ` | sortAlpha | join "," }}`},
		"in the notes":             {template: `x`, files: map[string]string{"templates/NOTES.txt": `{{ keys .Values.env | join "," }}`}},
		"a comment":                {template: `x`, files: map[string]string{"templates/y.yaml": "# {{ keys .Values.env | join \",\" }}\n"}},
		"documents, in any order":  {template: `x`, files: map[string]string{"templates/y.yaml": `{{ range keys .Values.env }}` + "\n---\n" + `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"{{ . }}"}}` + "\n{{ end }}"}},
		"in what is never written": {template: `{{ $_ := keys .Values.env }}x`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"templates/x.yaml": fmt.Sprintf(data, tt.template), "values.yaml": "env: {A: x, B: y, C: z, D: w}\nkept: \"\"\n"}
			for f, text := range tt.files {
				files[f] = text
			}
			rel := mustLoad(t, demoChart(t, files), LoadOptions{})
			var got []string
			for _, g := range rel.Record.Generated {
				got = append(got, g.Function+" of "+g.Template)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("records %q, want %q", got, tt.want)
			}
			for _, d := range rel.Record.Depends {
				if !strings.Contains(tt.template, "IsUpgrade") {
					t.Errorf("what has to do with the order is taken for another difference: %s", d)
				}
			}
			if strings.Contains(tt.template, "IsUpgrade") && len(rel.Record.Depends) == 0 {
				t.Error("the upgrade's difference is not recorded")
			}
		})
	}
}
