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
			"ConfigMap":      "apiVersion: v1\nkind: ConfigMap\n",
			"published kind": "apiVersion: external-secrets.io/v1\nkind: SecretStore\nspec: {provider: {vault: {server: https://vault.example.com, auth: {appRole: {roleId: r, secretRef: {name: web}}}}}}\n",
			"kind of no CRD": "apiVersion: nowhere.example.com/v1\nkind: Thing\n",
			"ServiceAccount": "apiVersion: v1\nkind: ServiceAccount\n",
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

// TestSwitchedOff holds that APIs that no cluster serves unasked are not found to be
// served, unless --api-versions has them.
func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, object, kube string
		asked              []string
		off                bool
	}{
		{"beta", "apiVersion: scheduling.k8s.io/v1beta1\nkind: PodGroup\nmetadata: {name: a}\nspec: {schedulingPolicy: {basic: {}}}", "1.37", nil, true},
		{"alpha", "apiVersion: internal.apiserver.k8s.io/v1alpha1\nkind: StorageVersion\nmetadata: {name: a.b}\nspec: {}", "1.37", nil, true},
		{"beta of a stable API", "apiVersion: resource.k8s.io/v1beta2\nkind: ResourceClaimTemplate\nmetadata: {name: a}\nspec: {spec: {}}", "1.37", nil, true},
		{"older version", "apiVersion: networking.k8s.io/v1beta1\nkind: ServiceCIDR\nmetadata: {name: a}\nspec: {cidrs: [10.0.0.0/16]}", "1.32", nil, true},
		{"asked for", "apiVersion: resource.k8s.io/v1beta2\nkind: ResourceClaimTemplate\nmetadata: {name: a}\nspec: {spec: {}}", "1.37", []string{"resource.k8s.io/v1beta2"}, false},
		{"kind asked for", "apiVersion: resource.k8s.io/v1beta2\nkind: ResourceClaimTemplate\nmetadata: {name: a}\nspec: {spec: {}}", "1.37", []string{"resource.k8s.io/v1beta2/ResourceClaimTemplate"}, false},
		{"another is asked for", "apiVersion: resource.k8s.io/v1beta2\nkind: ResourceClaimTemplate\nmetadata: {name: a}\nspec: {spec: {}}", "1.37", []string{"resource.k8s.io/v1beta1"}, true},
		{"stable", "apiVersion: resource.k8s.io/v1\nkind: ResourceClaimTemplate\nmetadata: {name: a}\nspec: {spec: {}}", "1.37", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := objectSays(t, tt.object, chart.LoadOptions{KubeVersion: tt.kube, APIVersions: tt.asked})
			for _, rule := range []string{helm.RuleSchema, helm.RuleRemoved} {
				want := rule + " not-checked"
				if strings.Contains(got, want) != tt.off || tt.off && strings.Count(got, "unless it is switched on") != 2 || strings.Contains(got, " fail ") {
					t.Errorf("off is %t, got:\n%s", tt.off, got)
				}
			}
		})
	}
}

// TestUncreatable holds that kinds without a resource that can be created fail.
func TestUncreatable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ object, want string }{
		{"apiVersion: policy/v1\nkind: Eviction\nmetadata: {name: a}", `no matches for kind "Eviction" in version "policy/v1"`},
		{"apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: a}\nspec: {replicas: 1}", `no matches for kind "Scale" in version "autoscaling/v1"`},
		{"apiVersion: authentication.k8s.io/v1\nkind: TokenRequest\nmetadata: {name: a}\nspec: {audiences: [a]}", `no matches for kind "TokenRequest"`},
		{"apiVersion: v1\nkind: Status\nmetadata: {}", `no matches for kind "Status" in version "v1"`},
		{"apiVersion: v1\nkind: APIGroup\nname: a\nversions: []", `no matches for kind "APIGroup" in version "v1"`},
		{"apiVersion: v1\nkind: ComponentStatus\nmetadata: {name: a}", "the server does not allow this method"},
		{"apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\nspec: {maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}}", ""},
		{"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\nspec: {minAvailable: 1, selector: {matchLabels: {a: b}}}", ""},
	} {
		t.Run(strings.Fields(tt.object)[3], func(t *testing.T) {
			t.Parallel()
			got := objectSays(t, tt.object, chart.LoadOptions{})
			if strings.Contains(got, " fail ") != (tt.want != "") || !strings.Contains(got, tt.want) {
				t.Errorf("want %q, got:\n%s", tt.want, got)
			}
		})
	}
}
