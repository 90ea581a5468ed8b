package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

type writer struct{ a *collectors.Artifacts }

func (w writer) Write(name string, content []byte) error {
	_, err := w.a.Put(folder+name, content)
	return err
}

var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// policyFor judges the controls that have the rules.
func policyFor(rules ...string) Policy {
	p := DefaultPolicy()
	for _, r := range rules {
		p.Controls = append(p.Controls, config.RuleControls().Of(r)...)
	}
	return p
}

// sealed collects about the manifests; what it returns is all that there is to derive from.
func sealed(t *testing.T, manifests string, o Options) *collectors.Artifacts {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	rel := releaseOf(t, manifests)
	art := collectors.NewArtifacts(nil)
	release, err := json.Marshal(rel.Info)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{collectors.ReleaseFile: release, collectors.ManifestsFile: rel.Manifests} {
		if _, err := art.Put(name, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Collect(t.Context(), collectors.Input{Release: rel, Now: func() time.Time { return at }}, writer{art}); err != nil {
		t.Fatal(err)
	}
	return art
}

func releaseOf(t *testing.T, manifests string) *chart.Release {
	t.Helper()
	file := filepath.Join(t.TempDir(), "demo.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	rel, err := chart.LoadManifests(t.Context(), file, chart.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return rel
}

// derive derives findings from sealed bytes alone.
func derive(t *testing.T, art *collectors.Artifacts) []evidence.Finding {
	t.Helper()
	again, err := New(Options{}) // what is sealed is what counts
	if err != nil {
		t.Fatal(err)
	}
	found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), again)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// lines are the findings of a rule, or of rules that start alike.
func lines(found []evidence.Finding, rule string) []string {
	var out []string
	for _, f := range found {
		if strings.HasPrefix(f.Rule, rule) {
			out = append(out, string(f.Outcome)+" "+f.Target.Object()+": "+f.Message)
		}
	}
	return out
}

func findings(t *testing.T, manifests string, patterns ...string) []string {
	t.Helper()
	p := policyFor(RuleRegistry)
	p.Registries = patterns
	return lines(derive(t, sealed(t, manifests, Options{Policy: p})), RuleRegistry)
}

func TestFindings(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: "
	for title, tt := range map[string]struct {
		manifests string
		want      []string
	}{
		"every place": {
			head + "{initContainers: [{name: i, image: evil.io/i}], containers: [{name: c, image: 'ghcr.io/team/c:1'}], ephemeralContainers: [{name: e, image: evil.io/e}], volumes: [{name: v, image: {reference: evil.io/v}}, {name: w, emptyDir: {}}]}\n",
			[]string{
				`fail Pod p container "i": image evil.io/i: no pattern of the allow-list matches evil.io/i`,
				`pass Pod p container "c": image ghcr.io/team/c:1: allowed by ghcr.io/team`,
				`fail Pod p container "e": image evil.io/e: no pattern of the allow-list matches evil.io/e`,
				`fail Pod p: image evil.io/v: no pattern of the allow-list matches evil.io/v`,
			},
		},
		"custom resource": {
			"apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: p}\nspec: {image: evil.io/p, containers: [{name: config-reloader}, {name: x, image: ghcr.io/team/x}]}\n",
			[]string{
				`fail Prometheus p container "prometheus": image evil.io/p: no pattern of the allow-list matches evil.io/p`,
				`pass Prometheus p container "x": image ghcr.io/team/x: allowed by ghcr.io/team`,
			},
		},
		"no reference": {head + "{containers: [{name: c, image: 'A B'}]}\n", []string{`not-checked Pod p container "c": not an image reference: `}},
		"no image":     {head + "{containers: [{name: c}]}\n", []string{`not-checked Pod p container "c": containers: no image`}},
		"no list":      {head + "{containers: 7}\n", []string{"not-checked Pod p: images unknown: containers is no list"}},
		"no spec":      {"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", []string{"not-checked Pod p: images unknown: no spec"}},
		"nothing":      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n", []string{"not-applicable Chart demo.yaml: the release runs no images"}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got := findings(t, tt.manifests, "ghcr.io/team")
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Error(cmp.Diff(tt.want, got))
			}
		})
	}
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, image string
		want           bool
	}{
		{"ghcr.io", "ghcr.io/a/b:1", true},
		{"ghcr.io", "ghcr.io.evil.com/a/b", false},
		{"ghcr.io", "evil.com/ghcr.io/a", false},
		{"ghcr.io/team", "ghcr.io/team/a/b", true},
		{"ghcr.io/team", "ghcr.io/team-evil/a", false},
		{"ghcr.io/team/a/b", "ghcr.io/team/a", false},
		{"ghcr.io/team-*", "ghcr.io/team-x/a", true},
		{"*.example.com", "a.b.example.com/x", true},
		{"*.example.com", "example.com/x", false},
		{"localhost:5000", "localhost:5000/x", true},
		{"localhost:5000", "localhost:5001/x", false},
		{"docker.io/library", "nginx:1", true},
		{"index.docker.io/library", "docker.io/library/nginx", true},
		{"docker.io/library", "bitnami/redis", false},
	} {
		ref, err := name.ParseReference(tt.image)
		if err != nil {
			t.Fatal(err)
		}
		if got := Allowed(tt.pattern, ref.Context()); got != tt.want {
			t.Errorf("Allowed(%q, %s) = %v", tt.pattern, tt.image, got)
		}
	}
}

func TestPatternsRefused(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]string{
		"": "an empty part", "ghcr.io/": "an empty part", "https://ghcr.io": "not a registry", "ghcr.io/**": "** is not known",
		"ghcr.io/[a": "syntax error", "ghcr.io/a@sha256:1": "not a registry",
	} {
		if _, err := New(Options{Policy: Policy{Registries: []string{p}}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%q): %v, want %q", p, err, want)
		}
	}
}

func TestNoList(t *testing.T) {
	t.Parallel()
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: a/b}]}\n"
	got := findings(t, pod)
	if len(got) != 1 || got[0] != "not-checked Chart demo.yaml: no allow-list of registries was given" {
		t.Errorf("%q", got)
	}
}
