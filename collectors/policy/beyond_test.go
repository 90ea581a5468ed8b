package policy

import (
	"strings"
	"testing"

	"github.com/distribution/reference"
)

// TestImagePatternIsTheParsers holds the pattern that IMG-1's policy has for
// clusters to the parser that container runtimes use, and the rule to both.
func TestImagePatternIsTheParsers(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:" + hex64
	raw := builtin(t)
	for name, valid := range map[string]bool{
		"nginx": true, "library/nginx": true, "nginx:1.27": true, "r.example.com/a/b:1": true, "r.example.com:5000/a": true, "localhost/a": true,
		"Registry.example.com/a": true, "a--b/c__d/e.f": true, "10.0.0.1:5000/a": true, "[fd00::1]/a": true, "a/b:V_1.x-y": true, "xn--bcher-kva.example/a": true,
		"Team/a": true, // a registry of that name, to the parser
		"/a":     false, "/team/web": false, "r.example.com//web": false, "r.example.com/": false, "nginx:": false, "r.example.com/Team/Web": false, "Web": false,
		" nginx": false, "nginx ": false, "a b": false, "a\tb": false, "r.example.com/<no value>": false, "<no value>/a": false, "%!s(<nil>)": false,
		"a/": false, "a:1:2": false, "-a": false, "a-": false, "a..b": false, "a___b": false, "r.example.com:port/a": false, "https://r.example.com/a": false,
		"a:-1": false, "a@sha256:" + hex64: false, "ä": false, "r.example.com/a?b": false, "": false, "{{ .Values.image }}": false,
		"a:" + strings.Repeat("1", 128): true, "a:" + strings.Repeat("1", 129): false, "r.io/" + strings.Repeat("a", 250): true, "r.io/" + strings.Repeat("a", 260): false,
		hex64: true, // with a digest it is no bare identifier
	} {
		image := name + digest
		ref, err := reference.ParseNormalizedNamed(image)
		if err == nil {
			_, ok := ref.(reference.Digested)
			if !ok {
				t.Errorf("%q: the parser reads no digest", image)
			}
		}
		if (err == nil) != valid {
			t.Errorf("%q: the parser says %v", image, err)
		}
		got := summary(findings(t, raw, deployment("{containers: [{name: c, image: "+quoted(image)+"}]}")), "policy/image-digest")
		want := "fail Deployment/x[c]: image " + image + " is no valid reference"
		if valid {
			want = pass("Deployment", "Every image is pinned by digest")[0]
		}
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%q: %q, want %q", image, got, want)
		}
	}
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, "\t", `\t`) + `"` }

// What is no quantity limits nothing; the API server refuses it.
func TestLimitThatIsNoQuantity(t *testing.T) {
	t.Parallel()
	got := summary(findings(t, builtin(t), deployment(container("resources: {limits: {cpu: one, memory: 1Mi}}"))), "policy/resource-limits")
	if want := failC("cpu limit is not above 0"); len(got) != 1 || got[0] != want[0] {
		t.Errorf("%q, want %q", got, want)
	}
}
