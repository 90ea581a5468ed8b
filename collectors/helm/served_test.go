package helm_test

import (
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/evidence"
)

// objectSays are the findings of CHT-3 and CHT-4 about one object, in short.
func objectSays(t *testing.T, object string, o chart.LoadOptions) string {
	t.Helper()
	art, err := collect(t, writeChart(t, "-- templates/deployment.yaml --\n-\n-- templates/object.yaml --\n"+object+"\n"), o, helm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range findings(t, art) {
		switch f.Rule {
		case helm.RuleSchema, helm.RuleCRD, helm.RuleRemoved:
			if f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable {
				out = append(out, f.Rule+" "+said(f))
			}
		}
	}
	return strings.Join(out, "\n")
}

// TestResourceVersion holds that an object that is created has no version yet.
func TestResourceVersion(t *testing.T) {
	t.Parallel()
	const refused = "metadata.resourceVersion: resourceVersion should not be set on objects to be created"
	for _, tt := range []struct{ name, version, want string }{
		{"none", `""`, ""},
		{"null", "null", ""},
		{"zero", `"0"`, ""},
		{"version", `"12"`, refused},
		{"no number", `"abc"`, "metadata.resourceVersion: no number"},
	} {
		for kind, head := range map[string]string{
			"ConfigMap":        "apiVersion: v1\nkind: ConfigMap\n",
			"published kind":   "apiVersion: external-secrets.io/v1\nkind: SecretStore\nspec: {provider: {vault: {server: https://vault.example.com, auth: {appRole: {roleId: r, secretRef: {name: web}}}}}}\n",
			"kind of no CRD":   "apiVersion: nowhere.example.com/v1\nkind: Thing\n",
			"ServiceAccount":   "apiVersion: v1\nkind: ServiceAccount\n",
		} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				t.Parallel()
				got := objectSays(t, head+"metadata: {name: a, resourceVersion: "+tt.version+"}", chart.LoadOptions{})
				if strings.Contains(got, " fail ") != (tt.want != "") || !strings.Contains(got, tt.want) {
					t.Errorf("want %q, got:\n%s", tt.want, got)
				}
			})
		}
	}
}
