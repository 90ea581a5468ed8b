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
		{"generated name", gauge("metadata: {generateName: g-}\nspec: {}"), ""},
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
