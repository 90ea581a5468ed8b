package chart

import (
	"strings"
	"testing"
)

// TestSomeOfIt: a template that acts on one optional API or object that is there, and
// another one that is not, is rendered with that choice.
func TestSomeOfIt(t *testing.T) {
	t.Parallel()
	const (
		evil    = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"evil"}}`
		monitor = `{"apiVersion":"monitoring.coreos.com/v1","kind":"ServiceMonitor","metadata":{"name":"m"}}`
		has     = `.Capabilities.APIVersions.Has `
		some    = "where some of the APIs and objects are there that it asks for: it renders Pod evil, which an install does not"
		tooMany = "not all choices of them were rendered"
	)
	for template, want := range map[string]string{
		`{{ if and (` + has + `"a.io/v1") (not (` + has + `"b.io/v1")) }}` + evil + `{{ end }}`:                                                                                                                some,
		`{{ if ` + has + `"b.io/v1" }}{{ else if ` + has + `"a.io/v1" }}` + evil + `{{ end }}`:                                                                                                                 some,
		`{{ if ne (` + has + `"a.io/v1") (` + has + `"b.io/v1") }}` + evil + `{{ end }}`:                                                                                                                       some,
		`{{ $a := ` + has + `"a.io/v1" }}{{ $b := ` + has + `"b.io/v1" }}{{ if and $b (not $a) }}` + evil + `{{ end }}`:                                                                                        some,
		`{{ if and (` + has + `"a.io/v1") (not (` + has + `"a.io/v1/Kind")) }}` + evil + `{{ end }}`:                                                                                                           some,
		`{{ if and (` + has + `"a.io/v1") (not (` + has + `"metrics.k8s.io/v1beta1")) }}` + evil + `{{ end }}`:                                                                                                 some,
		`{{ if and (` + has + `"a.io/v1") (not (` + has + `"b.io/v1")) (` + has + `"c.io/v1") }}` + evil + `{{ end }}`:                                                                                         some,
		`{{ if ` + has + `"a.io/v1" }}{{ if not (` + has + `"b.io/v1") }}{{ if ` + has + `"c.io/v1" }}` + evil + `{{ end }}{{ end }}{{ end }}`:                                                                 some,
		`{{ if and (lookup "v1" "Secret" "one" "x") (not (lookup "v1" "Secret" "two" "x")) }}` + evil + `{{ end }}`:                                                                                            some,
		`{{ if and (lookup "v1" "Secret" "one" "x") (not (lookup "v1" "Secret" "one" "y")) }}` + evil + `{{ end }}`:                                                                                            some,
		`{{ if and (lookup "v1" "Secret" "one" "x") (` + has + `"a.io/v1") }}` + evil + `{{ end }}`:                                                                                                            some,
		`{{ $n := list }}{{ range list "a.io/v1" "b.io/v1" "c.io/v1" "d.io/v1" }}{{ if $.Capabilities.APIVersions.Has . }}{{ $n = append $n . }}{{ end }}{{ end }}{{ if eq (len $n) 2 }}` + evil + `{{ end }}`: tooMany,

		`{{ if ` + has + `"a.io/v1" }}` + monitor + `{{ end }}{{ if ` + has + `"b.io/v1" }}# nothing{{ end }}`: "",
		`{{ if or (` + has + `"a.io/v1") (not (` + has + `"a.io/v1/Kind")) }}` + monitor + `{{ end }}`:         "",
		`{{ if ` + has + `"a.io/v1/Kind" }}{{ if not (` + has + `"a.io/v1") }}` + evil + `{{ end }}{{ end }}`:  "",
	} {
		rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": template}), LoadOptions{})
		said := strings.Join(rel.Record.Depends, "\n")
		if want == "" && said != "" || !strings.Contains(said, want) {
			t.Errorf("%s: said %q, want %q\n%s", template, said, want, rel.Manifests)
		}
	}
}
