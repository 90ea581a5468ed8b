package helm_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
)

// TestNothingOutsideTheChart: whatever a schema refers to, of the chart or of a
// subchart that is switched off, nobody asks a server and nobody reads a file.
func TestNothingOutsideTheChart(t *testing.T) {
	t.Parallel()
	const canary = "canary-3f9a17"
	for name, reference := range map[string]string{
		"$ref":              `{"$ref": "URL"}`,
		"$ref in a part":    `{"properties": {"a": {"$ref": "URL#/definitions/a"}}}`,
		"$schema":           `{"$schema": "URL"}`,
		"$id and $ref":      `{"$id": "BASE/x.json", "properties": {"a": {"$ref": "outside.json"}}}`,
		"$dynamicRef":       `{"$schema": "https://json-schema.org/draft/2020-12/schema", "$dynamicRef": "URL#a"}`,
		"$ref in an $id":    `{"definitions": {"b": {"$id": "BASE/dir/", "allOf": [{"$ref": "../outside.json"}]}}, "allOf": [{"$ref": "#/definitions/b"}]}`,
		"$ref in a default": `{"default": {"$ref": "URL"}, "not": {"$ref": "URL"}}`,
	} {
		for _, where := range []string{"values.schema.json", "charts/idle/values.schema.json", "charts/idle/charts/deep/values.schema.json"} {
			for _, scheme := range []string{"http", "file"} {
				t.Run(name+" "+where+" "+scheme, func(t *testing.T) {
					t.Parallel()
					var asked atomic.Int32
					server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						asked.Add(1)
						_, _ = w.Write([]byte(`{"` + canary + `": true}`))
					}))
					t.Cleanup(server.Close)
					// What does not parse is what an error would quote.
					outside := filepath.Join(t.TempDir(), "outside.json")
					if err := os.WriteFile(outside, []byte(`{"type": "`+canary+`"}`), 0o600); err != nil {
						t.Fatal(err)
					}
					base := server.URL
					if scheme == "file" {
						base = "file://" + filepath.ToSlash(filepath.Dir(outside))
					}
					schema := strings.NewReplacer("URL", base+"/outside.json", "BASE", base).Replace(reference)
					dir := writeChart(t, `
-- Chart.yaml --
apiVersion: v2
name: demo
version: 1.2.3
icon: https://example.com/icon.png
dependencies: [{name: idle, version: 0.1.0, condition: idle.enabled}]
-- values.yaml --
idle: {enabled: false, a: 1}
a: 1
-- charts/idle/Chart.yaml --
apiVersion: v2
name: idle
version: 0.1.0
dependencies: [{name: deep, version: 0.1.0}]
-- charts/idle/values.yaml --
a: 1
-- charts/idle/templates/x.yaml --
-- charts/idle/charts/deep/Chart.yaml --
apiVersion: v2
name: deep
version: 0.1.0
-- charts/idle/charts/deep/values.yaml --
a: 1
-- charts/idle/charts/deep/templates/x.yaml --
-- values.schema.json --
-
-- `+where+` --
`+schema+"\n")
					var text string
					if rel, err := chart.Load(t.Context(), dir, chart.LoadOptions{}); err != nil {
						if text = err.Error(); where != "values.schema.json" {
							t.Errorf("a subchart that is switched off does not matter: %v", err)
						}
					} else {
						art, err := collectRelease(t, rel, helm.Options{})
						if err != nil {
							text = err.Error()
						} else {
							raw, err := json.Marshal(art.Files())
							if err != nil {
								t.Fatal(err)
							}
							for _, content := range art.Files() {
								text += string(content)
							}
							text += string(raw)
						}
						if err := rel.Close(); err != nil {
							t.Error(err)
						}
					}
					if n := asked.Load(); n > 0 {
						t.Errorf("the server was asked %d times", n)
					}
					if strings.Contains(text, canary) {
						t.Errorf("a file outside of the chart is shown: %s", text)
					}
				})
			}
		}
	}
}

// TestWithoutKeys: Helm's linter makes no key and no slow hash, whichever of the functions
// a template calls, alone or with others.
func TestWithoutKeys(t *testing.T) {
	t.Parallel()
	const key, certificate = `coalesce "key"`, `coalesce (dict "Cert" "certificate" "Key" "key")`
	for template, want := range map[string]string{
		`a: {{ htpasswd "a" "b" }}`:                            `a: {{ ` + key + ` "a" "b" }}`,
		`a: {{ .Values.a | bcrypt }}`:                          `a: {{ .Values.a | ` + key + ` }}`,
		`a: {{ genPrivateKey "rsa" }}`:                         `a: {{ ` + key + ` "rsa" }}`,
		`{{ $a := genCA "a" 1 }}{{ htpasswd "a" "b" }}`:        `{{ $a := ` + certificate + ` "a" 1 }}{{ ` + key + ` "a" "b" }}`,
		`# htpasswd of {{ .Values.generated }}, and no bcrypt`: `# htpasswd of {{ .Values.generated }}, and no bcrypt`,
		`a: {{ .Values.a }}`:                                   `a: {{ .Values.a }}`,
	} {
		if got := string(helm.WithoutKeys([]byte(template))); got != want {
			t.Errorf("%s: %s, want %s", template, got, want)
		}
	}
}
