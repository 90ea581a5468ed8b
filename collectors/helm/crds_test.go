package helm_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	lint "helm.sh/helm/v4/pkg/chart/v2/lint/rules"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
)

// TestCRDFolders: of files beside templates helm lint says what it says to Helm, also
// where its rule for them is left out.
func TestCRDFolders(t *testing.T) {
	t.Parallel()
	definition := func(name string) string {
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: " + name + ".example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: " + strings.ToUpper(name[:1]) + name[1:] + ", plural: " + name + "}\n" +
			"  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n"
	}
	const pod = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p}\n"
	for name, files := range map[string]map[string]string{
		"one":                  {"crds/a.yaml": definition("a")},
		"two in a file":        {"crds/a.yaml": "---\n" + definition("a") + "---\n# nothing\n---\n" + definition("b")},
		"something else":       {"crds/a.yaml": definition("a"), "crds/b.yaml": pod},
		"something else after": {"crds/a.yaml": definition("a") + "---\n" + pod},
		"another version":      {"crds/a.yaml": strings.Replace(definition("a"), "apiextensions.k8s.io/v1", "example.com/v1", 1)},
		"a list":               {"crds/a.yaml": "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(definition("a")), "\n", "\n  ") + "\n"},
		"an empty list":        {"crds/a.yaml": definition("a") + "---\napiVersion: v1\nkind: List\nitems: []\n"},
		"no YAML":              {"crds/a.yaml": "a: [\n"},
		"a template":           {"crds/a.yaml": "{{ if true }}\n" + definition("a") + "{{ end }}\n"},
		"a number as name":     {"crds/a.yaml": strings.Replace(definition("a"), "a.example.com", "1", 1)},
		"twice the same key":   {"crds/a.yaml": definition("a") + "kind: ConfigMap\n"},
		"JSON":                 {"crds/a.json": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p"}}`},
		"comments":             {"crds/a.yaml": "# nothing\n"},
		"no manifest":          {"crds/README.md": "# nothing\n", "crds/a.yaml": definition("a")},
		"without a manifest":   {"crds/README.md": "# nothing\n"},
		"a file":               {"crds": "x"},
		"of a subchart":        {"charts/s/Chart.yaml": "apiVersion: v2\nname: s\nversion: 0.1.0\n", "charts/s/crds/a.yaml": pod, "charts/s/values.yaml": ""},
		"of one that is off":   {"Chart.yaml": "apiVersion: v2\nname: demo\nversion: 1.2.3\ndependencies: [{name: s, version: 0.1.0, condition: s.on}]\n", "charts/s/Chart.yaml": "apiVersion: v2\nname: s\nversion: 0.1.0\n", "charts/s/crds/a.yaml": pod, "charts/s/values.yaml": ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeChart(t, "-- values.yaml --\ns: {on: false}\n-- values.schema.json --\n{}\n")
			for file, content := range files {
				file = filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			linter := support.Linter{ChartDir: dir}
			lint.Crds(&linter)
			var want []string
			for _, m := range linter.Messages {
				want = append(want, strings.Join(strings.Fields(m.Path+" "+m.Err.Error()), " "))
			}
			var got []string
			for _, m := range linted(t, dir) {
				if strings.Contains(m.Path, "crds") && !strings.HasPrefix(m.Path, "charts/") {
					got = append(got, m.Path+" "+m.Message)
				}
			}
			for i, m := range want {
				want[i] = strings.Replace(m, "crds/ ", "crds ", 1)
			}
			for i, m := range got {
				got[i] = strings.Replace(m, "crds/ ", "crds ", 1)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, Helm says %q", got, want)
			}
		})
	}
}

// TestDependencies: of subcharts that are missing or not named helm lint
// says what it says to Helm.
func TestDependencies(t *testing.T) {
	t.Parallel()
	subchart := func(folder, name string) string {
		return "-- charts/" + folder + "/Chart.yaml --\napiVersion: v2\nname: " + name + "\nversion: 0.1.0\n-- charts/" + folder + "/values.yaml --\n-- charts/" + folder + "/templates/x.yaml --\n"
	}
	for name, tt := range map[string]struct{ dependencies, charts string }{
		"as named":             {"[{name: a, version: 0.1.0}, {name: b, version: 0.1.0, alias: c}]", subchart("a", "a") + subchart("b", "b")},
		"one, under two names": {"[{name: a, version: 0.1.0}, {name: a, version: 0.1.0, alias: b}]", subchart("a", "a")},
		"one too many":         {"[{name: a, version: 0.1.0}]", subchart("a", "a") + subchart("b", "b")},
		"another folder":       {"[{name: a, version: 0.1.0}]", subchart("z", "a")},
		"not named":            {"[]", subchart("a", "a")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeChart(t, "-- Chart.yaml --\napiVersion: v2\nname: demo\nversion: 1.2.3\nicon: https://example.com/icon.png\ndependencies: "+tt.dependencies+"\n-- values.schema.json --\n{}\n"+tt.charts)
			linter := support.Linter{ChartDir: dir}
			lint.Dependencies(&linter)
			var want []string
			for _, m := range linter.Messages {
				want = append(want, m.Err.Error())
			}
			var got []string
			for _, m := range linted(t, dir) {
				if strings.Contains(m.Message, "dependenc") {
					got = append(got, m.Message)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q, Helm says %q", got, want)
			}
		})
	}
}

type lintMessage struct{ Path, Message string }

// linted is what helm lint says of the chart.
func linted(t *testing.T, dir string) []lintMessage {
	t.Helper()
	art, err := collect(t, dir, chart.LoadOptions{}, helm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var rep struct{ Messages []lintMessage }
	raw, err := art.Read("artifacts/helm/lint.json")
	if err == nil {
		err = json.Unmarshal(raw, &rep)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rep.Messages
}
