package chart

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeTree writes files (name → content) below a new folder, or below dir.
func writeTree(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const chartYAML = "apiVersion: v2\nname: demo\nversion: 1.2.3\nappVersion: \"4.5\"\n"

// demoChart writes a chart named demo of the given files.
func demoChart(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "demo")
	if _, ok := files["Chart.yaml"]; !ok {
		writeTree(t, dir, map[string]string{"Chart.yaml": chartYAML})
	}
	return writeTree(t, dir, files)
}

func mustLoad(t testing.TB, ref string, o LoadOptions) *Release {
	t.Helper()
	rel, err := Load(t.Context(), ref, o)
	if err != nil {
		t.Fatalf("Load(%s): %v", ref, err)
	}
	t.Cleanup(func() {
		if err := rel.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return rel
}

func TestLoadDirectory(t *testing.T) {
	t.Parallel()
	dir := demoChart(t, map[string]string{
		"values.yaml":              "image: nginx:1\nreplicas: 1\n",
		"templates/_helpers.tpl":   `{{ define "demo.name" }}{{ .Release.Name }}-x{{ end }}`,
		"templates/deploy.yaml":    "# a comment\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ include \"demo.name\" . }}\nspec:\n  replicas: {{ .Values.replicas }}\n  template:\n    spec:\n      containers:\n      - name: a\n        image: {{ .Values.image }}\n",
		"templates/NOTES.txt":      "thanks",
		"templates/empty.yaml":     "{{ if false }}x{{ end }}\n# nothing\n",
		"templates/tests/try.yaml": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: try\n  annotations: {helm.sh/hook: test}\nspec:\n  containers: [{name: a, image: busybox}]\n",
		"crds/foo.yaml":            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\n",
	})
	rel := mustLoad(t, dir, LoadOptions{Set: []string{"replicas=3"}, Namespace: "payments"})
	want := `---
# Source: crds/foo.yaml:1
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foos.example.com}
---
# Source: templates/deploy.yaml:2
# a comment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: demo-x
spec:
  replicas: 3
  template:
    spec:
      containers:
      - name: a
        image: nginx:1
---
# Source: templates/tests/try.yaml:1
apiVersion: v1
kind: Pod
metadata:
  name: try
  annotations: {helm.sh/hook: test}
spec:
  containers: [{name: a, image: busybox}]
`
	if got := string(rel.Manifests); got != want {
		t.Errorf("manifests:\n%s\nwant:\n%s", got, want)
	}
	if got := strings.Join(rel.Info.Images, " "); got != "busybox nginx:1" {
		t.Errorf("images %q", got)
	}
	if rel.Info.Chart != "demo" || rel.Info.Version != "1.2.3" || rel.Info.AppVersion != "4.5" || rel.Info.ReleaseName != "demo" ||
		rel.Info.Namespace != "payments" || rel.Info.KubeVersion != "1.37" || rel.Info.Source != SourceChart {
		t.Errorf("info %+v", rel.Info)
	}
	set, err := rel.Objects()
	if err != nil || len(set.Objects) != 3 || len(set.Broken) != 0 {
		t.Fatalf("objects %+v, %v", set, err)
	}
	if o := set.Objects[1]; o.File != "templates/deploy.yaml" || o.Line != 2 || o.From != 8 || o.To != 19 {
		t.Errorf("object at %s:%d, lines %d-%d", o.File, o.Line, o.From, o.To)
	}
	if rel.Dir != dir {
		t.Errorf("Dir %q, want %q", rel.Dir, dir)
	}
}

func TestLoadEnds(t *testing.T) {
	t.Parallel()
	dir := demoChart(t, map[string]string{"templates/a.yaml": "{{ range 1000000000000 }}{{ end }}"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, dir, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("error %v, want context canceled", err)
	}
}
