package helm_test

import (
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/evidence"
)

// gaugeCRD has of everything that the API server looks at beside bare types.
const gaugeCRD = `-- crds/gauge.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Gauge, plural: gauges, singular: gauge, listKind: GaugeList}
  versions:
    - {name: v1alpha1, served: false, storage: false, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
    - name: v1
      served: true
      storage: true
      subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            status: {type: object, required: [ready], properties: {ready: {type: boolean}, replicas: {type: integer}}}
            spec:
              type: object
              required: [unit, auth]
              x-kubernetes-validations: [{rule: "self.low <= self.high", message: "low is above high"}]
              properties:
                unit: {type: string, default: bar, enum: [bar, psi]}
                low: {type: integer, default: 0}
                high: {type: integer, default: 10}
                replicas: {type: integer}
                note: {type: string}
                free: {type: string, nullable: true}
                auth: {type: object, default: {path: /}, required: [path], properties: {path: {type: string, default: /}}}
                tags: {type: array, x-kubernetes-list-type: set, items: {type: string}}
                ports:
                  type: array
                  x-kubernetes-list-type: map
                  x-kubernetes-list-map-keys: [name]
                  items: {type: object, required: [name], properties: {name: {type: string}, port: {type: integer}}}
                template: {type: object, x-kubernetes-embedded-resource: true, x-kubernetes-preserve-unknown-fields: true}
`

// TestCustomKinds holds that an object of a custom kind is judged as the API server
// judges it: pruned, with defaults, and then by all that its CRD says.
func TestCustomKinds(t *testing.T) {
	t.Parallel()
	gauge := func(rest string) string {
		return gaugeCRD + "-- templates/gauge.yaml --\napiVersion: example.com/v1\nkind: Gauge\n" + rest + "\n"
	}
	for _, tt := range []struct{ name, changes, want string }{
		{"valid", gauge("metadata: {name: g}\nspec: {unit: psi, low: 1, high: 2, tags: [a, b], ports: [{name: a}, {name: b}]}"), ""},
		{"required fields with defaults", gauge("metadata: {name: g}\nspec: {}"), ""},
		{"a null that is not allowed is dropped", gauge("metadata: {name: g}\nspec: {note: null, low: null, free: null, auth: null}"), ""},
		{"status is not for those who create", gauge("metadata: {name: g}\nspec: {}\nstatus: {ready: never}"), ""},
		{"cluster's namespace", gauge("metadata: {name: g, namespace: elsewhere}\nspec: {}"), ""},
		{"generated name", gauge("metadata: {generateName: g-}\nspec: {}"), "server-side apply, by which Helm 4 installs, refuses it: metadata.name: name is required"},
		{"embedded resource", gauge("metadata: {name: g}\nspec: {template: {apiVersion: v1, kind: Pod, metadata: {name: x}}}"), ""},

		{"required", gauge("metadata: {name: g}"), "spec: Required value"},
		{"enumeration", gauge("metadata: {name: g}\nspec: {unit: inch}"), `spec.unit: Unsupported value: "inch": supported values: "bar", "psi"`},
		{"rule", gauge("metadata: {name: g}\nspec: {low: 5, high: 2}"), "spec: Invalid value: low is above high"},
		{"rule that a default breaks", gauge("metadata: {name: g}\nspec: {low: 11}"), "low is above high"},
		{"twice in a set", gauge("metadata: {name: g}\nspec: {tags: [a, b, a]}"), `spec.tags[2]: Duplicate value: "a"`},
		{"twice in a map", gauge("metadata: {name: g}\nspec: {ports: [{name: a, port: 1}, {name: a, port: 2}]}"), "spec.ports[1]: Duplicate value"},
		{"null in a list", gauge("metadata: {name: g}\nspec: {ports: [null]}"), "spec.ports[0]: "},
		{"version that is not served", strings.Replace(gauge("metadata: {name: g}\nspec: {}"), "example.com/v1\n", "example.com/v1alpha1\n", 1), `no matches for kind "Gauge" in version "example.com/v1alpha1": the chart's own CRD serves v1`},
		{"misspelled metadata", gauge("metadata: {name: g, lables: {a: b}}\nspec: {}"), "metadata.lables: unknown field"},
		{"name", gauge("metadata: {name: Not_Good}\nspec: {}"), `metadata.name: Invalid value: "Not_Good"`},
		{"label", gauge("metadata: {name: g, labels: {a: \"not good\"}}\nspec: {}"), `metadata.labels: Invalid value: "not good"`},
		{"embedded resource without a kind", gauge("metadata: {name: g}\nspec: {template: {apiVersion: v1, metadata: {name: x}}}"), "spec.template.kind: Required value"},
		{"scale", gauge("metadata: {name: g}\nspec: {replicas: -1}"), "should be a non-negative integer"},
		{"unknown field", gauge("metadata: {name: g}\nspec: {hihg: 2}"), "spec.hihg: unknown field"},

		{"published, with defaults", "-- templates/s.yaml --\napiVersion: external-secrets.io/v1\nkind: SecretStore\nmetadata: {name: s}\nspec: {provider: {vault: {server: https://vault.example.com, auth: {appRole: {roleId: r, secretRef: {name: web}}}}}}\n", ""},
		{"published, with a rule", "-- templates/s.yaml --\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {rules: [{matches: [{path: {type: PathPrefix, value: no-slash}}]}]}\n", "value must be an absolute path and start with '/'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			art, err := collect(t, writeChart(t, tt.changes), chart.LoadOptions{}, helm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings(t, art) {
				if f.Rule == helm.RuleCRD && f.Outcome != evidence.OutcomePass || f.Rule == helm.RuleSchema && f.Outcome == evidence.OutcomeFail {
					got = append(got, said(f))
				}
			}
			if all := strings.Join(got, "\n"); tt.want == "" && all != "" || !strings.Contains(all, tt.want) || len(got) > 1 {
				t.Errorf("want one finding %q, got:\n%s", tt.want, all)
			}
		})
	}
}

// TestCRDsOfHooks: a CRD of the chart counts where Helm has made it when it makes the
// object; else the one that the project publishes does, or nothing.
func TestCRDsOfHooks(t *testing.T) {
	t.Parallel()
	// chartWith has one CRD, which takes anything or nothing, and one object.
	chartWith := func(file, group, kind, plural, crdHook, schema, hook, spec string) string {
		annotations := func(hook string) string {
			if hook == "" {
				return "{}"
			}
			return "{helm.sh/hook: '" + hook + "'}"
		}
		return "-- " + file + " --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: " + plural + "." + group + ", annotations: " + annotations(crdHook) +
			"}\nspec: {group: " + group + ", scope: Namespaced, names: {kind: " + kind + ", plural: " + plural + ", singular: x, listKind: " + kind + "List}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: " + schema + "}}]}\n" +
			"-- templates/object.yaml --\napiVersion: " + group + "/v1\nkind: " + kind + "\nmetadata: {name: z, annotations: " + annotations(hook) + "}\nspec: " + spec + "\n"
	}
	const (
		anything = "{type: object, x-kubernetes-preserve-unknown-fields: true}"
		strict   = "{type: object, properties: {spec: {type: object, properties: {a: {type: integer}}}}}"
		template = "templates/crd.yaml"
	)
	monitor := func(file, crdHook, hook, spec string) string {
		return chartWith(file, "monitoring.coreos.com", "ServiceMonitor", "servicemonitors", crdHook, anything, hook, spec)
	}
	gauge := func(file, crdHook, hook, spec string) string {
		return chartWith(file, "example.com", "Gauge", "gauges", crdHook, strict, hook, spec)
	}
	for _, tt := range []struct {
		name, changes string
		outcome       evidence.Outcome
		want          string
	}{
		{"template", monitor(template, "", "", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomePass, "valid by the chart's own CRD"},
		{"hook before the installation", monitor(template, "pre-install", "", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomePass, "valid by the chart's own CRD"},
		{"hooks are nothing in crds/", monitor("crds/crd.yaml", "never", "", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomePass, "valid by the chart's own CRD"},
		{"nor for a hook", monitor("crds/crd.yaml", "never", "pre-install", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomePass, "valid by the chart's own CRD"},
		{"never", monitor(template, "never", "", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomeFail, "spec.nonsense: unknown field"},
		{"never, in a folder of templates", monitor("templates/crds/crd.yaml", "never", "", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomeFail, "spec.nonsense: unknown field"},
		{"never, beside valid", monitor(template, "never", "", "{selector: {}, endpoints: []}"), evidence.OutcomePass, "valid by the CRD of prometheus-operator"},
		{"test", monitor(template, "test", "", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomeFail, "spec.nonsense: unknown field"},
		{"test, for the test", monitor(template, "test", "test", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomePass, "valid by the chart's own CRD"},
		{"upgrade", monitor(template, "pre-upgrade", "", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomeFail, "spec.nonsense: unknown field"},
		{"after the installation", monitor(template, "post-install,post-upgrade", "", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomeFail, "spec.nonsense: unknown field"},
		{"template, for a hook before it", monitor(template, "", "pre-install", "{selector: {}, endpoints: [], nonsense: 1}"), evidence.OutcomeFail, "spec.nonsense: unknown field"},

		{"own kind", gauge(template, "pre-install,pre-upgrade", "", "{a: 1}"), evidence.OutcomePass, "valid by the chart's own CRD"},
		{"own kind, wrong", gauge(template, "pre-install", "", "{b: 1}"), evidence.OutcomeFail, "spec.b: unknown field"},
		{"own kind, never", gauge(template, "never", "", "{a: 1}"), evidence.OutcomeNotChecked, `may not be there when Helm makes the object: its hook event "never" is none of Helm's`},
		{"own kind, test", gauge(template, "test", "", "{a: 1}"), evidence.OutcomeNotChecked, "it is a hook of test, which an installation does not make"},
		{"own kind, too late", gauge(template, "post-install", "", "{a: 1}"), evidence.OutcomeNotChecked, "which comes too late"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			art, err := collect(t, writeChart(t, tt.changes), chart.LoadOptions{}, helm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings(t, art) {
				if f.Rule != helm.RuleCRD {
					continue
				}
				got = append(got, said(f))
				if f.Outcome != tt.outcome || !strings.Contains(said(f), tt.want) {
					t.Errorf("%s: %s, want %s: %s", f.Outcome, said(f), tt.outcome, tt.want)
				}
			}
			if len(got) != 1 {
				t.Errorf("want one finding, got %q", got)
			}
		})
	}
}
