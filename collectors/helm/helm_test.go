package helm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/helmlog"
)

func TestMain(m *testing.M) {
	helmlog.Route()
	os.Exit(m.Run())
}

// Each chart is a txtar archive laid over this one, which has no finding but passes.
const goodChart = `
-- Chart.yaml --
apiVersion: v2
name: demo
version: 1.2.3
icon: https://example.com/icon.png
-- values.yaml --
replicas: 2
-- values.schema.json --
{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"replicas": {"type": "integer"}}, "additionalProperties": false}
-- templates/deployment.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: app, image: x}]
`

// writeChart writes the good chart with changes over it; a file that is only "-" is removed.
func writeChart(tb testing.TB, changes string) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "demo")
	files := map[string]string{}
	for _, a := range []string{goodChart, changes} {
		for _, f := range txtar.Parse([]byte(a)).Files {
			files[f.Name] = string(f.Data)
		}
	}
	for name, text := range files {
		if text == "-\n" {
			continue
		}
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o600)); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// collect loads a chart, runs the collector, and returns what was sealed.
func collect(tb testing.TB, dir string, o chart.LoadOptions, opts helm.Options) (*collectors.Artifacts, error) {
	tb.Helper()
	rel, err := chart.Load(tb.Context(), dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := rel.Close(); err != nil {
			tb.Error(err)
		}
	}()
	return collectRelease(tb, rel, opts)
}

type writer struct{ art *collectors.Artifacts }

func (w writer) Write(name string, content []byte) error {
	_, err := w.art.Put("artifacts/helm/"+name, content)
	return err
}

func collectRelease(tb testing.TB, rel *chart.Release, opts helm.Options) (*collectors.Artifacts, error) {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	for name, v := range map[string]any{collectors.ReleaseFile: rel.Info, collectors.ChartFile: rel.Record} {
		raw, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := art.Put(name, raw); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := art.Put(collectors.ManifestsFile, rel.Manifests); err != nil {
		tb.Fatal(err)
	}
	return art, helm.New(opts).Collect(tb.Context(), collectors.Input{Release: rel}, writer{art})
}

func findings(tb testing.TB, art *collectors.Artifacts) []evidence.Finding {
	tb.Helper()
	found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), helm.New(helm.Options{}))
	if err != nil {
		tb.Fatal(err)
	}
	return evidence.NormalizeFindings(found)
}

// said is a finding in short: "outcome target: message".
func said(f evidence.Finding) string {
	at := f.Target.Object()
	if f.Target.File != "" {
		at += " " + f.Target.File
	}
	return fmt.Sprintf("%s %s: %s", f.Outcome, at, f.Message)
}

func TestRules(t *testing.T) {
	t.Parallel()
	const deployment = "-- templates/deployment.yaml --\n"
	for _, tt := range []struct {
		name, rule, changes string
		options             chart.LoadOptions
		want                []string // each a part of one finding of the rule, in short; all findings that are no pass
	}{
		{"clean", helm.RuleLint, "", chart.LoadOptions{}, nil},
		{"no icon is only information", helm.RuleLint, "-- Chart.yaml --\napiVersion: v2\nname: demo\nversion: 1.2.3\n", chart.LoadOptions{}, nil},
		{"lint error", helm.RuleLint, "-- templates/odd.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: Upper_Case}\n", chart.LoadOptions{},
			[]string{"fail Chart demo templates/odd.yaml: warning: object name does not conform"}},
		{"strict about a dependency that is not there", helm.RuleLint, "-- Chart.yaml --\napiVersion: v2\nname: demo\nversion: 1.2.3\nicon: https://example.com/icon.png\n-- charts/sub/Chart.yaml --\napiVersion: v2\nname: sub\nversion: 1.0.0\n" + openSchema, chart.LoadOptions{},
			[]string{"fail Chart demo .: error: chart metadata is missing these dependencies: sub", "fail Chart demo charts/sub/templates: warning: directory does not exist"}},
		{"subcharts are linted", helm.RuleLint, "-- Chart.yaml --\napiVersion: v2\nname: demo\nversion: 1.2.3\nicon: https://example.com/icon.png\ndependencies: [{name: sub, version: 1.0.0}]\n" +
			"-- values.schema.json --\n{\"properties\": {\"replicas\": {}}}\n-- charts/sub/Chart.yaml --\napiVersion: v2\nname: sub\nversion: 1.0.0\nicon: https://example.com/i.png\n-- charts/sub/templates/x.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_Good}\n", chart.LoadOptions{},
			[]string{"fail Chart demo charts/sub/templates/x.yaml: warning: object name does not conform"}},

		{"a CRD of a built-in kind", helm.RuleSchema, "-- crds/x.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: deployments.apps}\nspec:\n  group: apps\n  scope: Namespaced\n  names: {kind: Deployment, plural: deployments}\n  versions: [{name: v9, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", chart.LoadOptions{}, []string{"Deployment of apps is a kind of Kubernetes itself, and stays what it is"}},
		{"a CRD of a built-in resource", helm.RuleSchema, "-- crds/x.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: deployments.apps}\nspec:\n  group: apps\n  scope: Namespaced\n  names: {kind: Other, plural: deployments}\n  versions: [{name: v9, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", chart.LoadOptions{}, []string{"deployments of apps are objects of Kubernetes itself, and stay what they are"}},

		{"quiet log", helm.RuleLintLog, "", chart.LoadOptions{}, nil},
		{"values that do not coalesce", helm.RuleLintLog, "-- values.yaml --\nreplicas: 2\nextra: text\n-- values.schema.json --\n{\"properties\": {\"extra\": {}}}\n", chart.LoadOptions{Set: []string{"extra.key=1"}},
			[]string{"helm lint logs: warning: destination for extra is a table. Ignoring non-table value (text)", "helm lint logs: warning: skipped value for demo.extra: Not a table."}},

		{"schema holds", helm.RuleValues, "", chart.LoadOptions{}, nil},
		{"no schema", helm.RuleValues, "-- values.schema.json --\n-\n", chart.LoadOptions{}, []string{"fail Chart demo: the chart has no values.schema.json"}},
		{"accepts anything", helm.RuleValues, "-- values.schema.json --\n{\"type\": \"object\", \"title\": \"x\"}\n", chart.LoadOptions{}, []string{"warn Chart demo values.schema.json: the schema accepts anything"}},

		{"parse", helm.RuleParse, "", chart.LoadOptions{}, nil},
		{"no YAML", helm.RuleParse, "-- templates/bad.yaml --\na: b: c\n", chart.LoadOptions{}, []string{"fail Chart demo templates/bad.yaml: not a Kubernetes object:"}},
		{"no kind", helm.RuleParse, "-- templates/bad.yaml --\napiVersion: v1\nmetadata: {name: x}\n", chart.LoadOptions{}, []string{"fail Chart demo templates/bad.yaml: not a Kubernetes object:"}},
		{"a definition in crds/ that is a hook of Helm 2 too", helm.RuleParse, "-- crds/foo.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n-- templates/crd.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com, annotations: {helm.sh/hook: crd-install}}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", chart.LoadOptions{},
			nil},
		{"hook of Helm 2 and another event", helm.RuleParse, "-- crds/foo.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n-- templates/crd.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com, annotations: {helm.sh/hook: \"crd-install,post-install\"}}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", chart.LoadOptions{},
			nil},
		{"a definition in crds/ is no hook", helm.RuleParse, "-- crds/foo.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com, annotations: {helm.sh/hook: crd-install}}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n-- templates/crd.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", chart.LoadOptions{},
			[]string{"fail CustomResourceDefinition foos.example.com templates/crd.yaml: rendered twice: also by crds/foo.yaml"}},
		{"a definition in crds/ of a subchart is no hook", helm.RuleParse, "-- values.schema.json --\n-\n-- Chart.yaml --\napiVersion: v2\nname: demo\nversion: 1.2.3\ndependencies: [{name: sub, version: 1.0.0}]\n-- charts/sub/Chart.yaml --\napiVersion: v2\nname: sub\nversion: 1.0.0\n-- charts/sub/crds/foo.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com, annotations: {helm.sh/hook: crd-install}}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n-- templates/crd.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", chart.LoadOptions{},
			[]string{"fail CustomResourceDefinition foos.example.com templates/crd.yaml: rendered twice: also by charts/sub/crds/foo.yaml"}},
		{"a definition in crds/ and in the release", helm.RuleParse, "-- crds/foo.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n-- templates/crd.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", chart.LoadOptions{},
			[]string{"fail CustomResourceDefinition foos.example.com templates/crd.yaml: rendered twice: also by crds/foo.yaml"}},
		{"a definition in crds/ and in a hook", helm.RuleParse, "-- crds/foo.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n-- templates/crd.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com, annotations: {helm.sh/hook: post-install}}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos}\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n", chart.LoadOptions{},
			[]string{"fail CustomResourceDefinition foos.example.com templates/crd.yaml: rendered twice: also by crds/foo.yaml, which is still there when Helm makes the hook of post-install"}},
		{"a hook of no event beside the release's", helm.RuleParse, "-- templates/x.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n-- templates/y.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {helm.sh/hook: pre-instal}}\n", chart.LoadOptions{},
			nil},
		{"a hook of no event beside two of the release", helm.RuleParse, "-- templates/x.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n-- templates/y.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, annotations: {helm.sh/hook: pre-instal}}\n-- templates/z.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", chart.LoadOptions{},
			[]string{"fail ConfigMap x templates/z.yaml: rendered twice: also by templates/x.yaml"}},
		{"rendered twice", helm.RuleParse, "-- templates/zz.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec: {selector: {}, template: {}}\n", chart.LoadOptions{},
			[]string{"fail Deployment default/web templates/zz.yaml: rendered twice: also by templates/deployment.yaml"}},

		{"valid", helm.RuleSchema, "", chart.LoadOptions{}, nil},
		{"unknown field", helm.RuleSchema, deployment + "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replica: 2, selector: {}, template: {}}\n", chart.LoadOptions{}, []string{"fail Deployment web templates/deployment.yaml: spec.replica: unknown field"}},
		{"wrong type", helm.RuleSchema, deployment + "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: \"2\", selector: {}, template: {}}\n", chart.LoadOptions{}, []string{`spec.replicas: want a whole number, got string "2"`}},
		{"required", helm.RuleSchema, deployment + "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {}}\n", chart.LoadOptions{}, []string{"spec.selector: Required value", "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`", "spec.template.spec.containers: Required value"}},
		{"required by the schema of another version", helm.RuleSchema, deployment + "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {}}\n", chart.LoadOptions{KubeVersion: "1.33.0"}, []string{"spec.selector: required, and missing"}},
		{"enumeration", helm.RuleSchema, deployment + "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: Loadbalancer, ports: [{port: 80}]}\n", chart.LoadOptions{}, []string{`spec.type: Unsupported value: "Loadbalancer": supported values:`}},
		{"enumeration in another version", helm.RuleSchema, deployment + "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: Loadbalancer, ports: [{port: 80}]}\n", chart.LoadOptions{KubeVersion: "1.33.0"}, []string{`spec.type: Unsupported value: "Loadbalancer": supported values:`}},
		{"null in a list", helm.RuleSchema, deployment + "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: x, env: [null, {name: A, value: null}]}]}\n", chart.LoadOptions{}, []string{"spec.containers[0].env[0].name: Required value"}},
		{"null in a list of another version", helm.RuleSchema, deployment + "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: x, env: [null, {name: A, value: null}], args: [null]}]}\n", chart.LoadOptions{KubeVersion: "1.34.0"}, []string{"spec.containers[0].env[0].name: required, and missing"}},
		{"a field that another version does not have", helm.RuleSchema, deployment + "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {workloadReference: {name: w}, containers: [{name: a, image: x}]}\n", chart.LoadOptions{KubeVersion: "1.33.0"}, []string{"spec.workloadReference: unknown field"}},
		{"secrets are not repeated by validation", helm.RuleSchema, deployment + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: hunter2}\n", chart.LoadOptions{}, []string{"data[.dockerconfigjson]: Invalid value: not JSON"}},
		{"values of variables are not repeated", helm.RuleSchema, deployment + "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: x, env: [{name: A, value: hunter2, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}\n", chart.LoadOptions{}, []string{"spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"}},
		{"no name", helm.RuleSchema, deployment + "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", chart.LoadOptions{}, []string{"metadata.name: required, and missing"}},
		{"quantities and ports", helm.RuleSchema, deployment + `apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
    - name: a
      image: x
      resources: {limits: {cpu: 0.5, memory: 1Gi, "example.com/x": 1}, requests: {cpu: 1 core}}
      livenessProbe: {httpGet: {port: http}}
      readinessProbe: {httpGet: {port: 1.5}}
      env: [{name: A, value: 1}]
`, chart.LoadOptions{}, []string{`resources.requests.cpu: "1 core" is not a quantity`, "readinessProbe.httpGet.port: want a whole number or a string, got 1.5", "env[0].value: want a string, got 1"}},
		{"too large", helm.RuleSchema, deployment + "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3000000000, selector: {}, template: {}}\n", chart.LoadOptions{}, []string{"spec.replicas: 3000000000 does not fit into 32 bits"}},
		{"null is absent", helm.RuleSchema, deployment + "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: null}\ndata: null\n", chart.LoadOptions{}, nil},
		{"raw content", helm.RuleSchema, deployment + "apiVersion: apps/v1\nkind: ControllerRevision\nmetadata: {name: c}\nrevision: 1\ndata: {anything: [1, {a: b}]}\n", chart.LoadOptions{}, nil},
		{"secrets are not repeated", helm.RuleSchema, deployment + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {k: \"not base64 at all!\"}\n", chart.LoadOptions{}, []string{"data.k: not base64"}},
		{"list", helm.RuleSchema, deployment + "apiVersion: v1\nkind: List\nitems:\n  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, dat: {}}\n  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n", chart.LoadOptions{}, []string{"fail ConfigMap a templates/deployment.yaml: dat: unknown field"}},
		{"unknown Kubernetes", helm.RuleSchema, "", chart.LoadOptions{KubeVersion: "1.20.0"}, []string{"not-checked Chart demo: no schemas for Kubernetes 1.20: embedded are 1.32, 1.33, 1.34, 1.35, 1.36, 1.37"}},
		{"not served", helm.RuleSchema, deployment + "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: i}\n", chart.LoadOptions{}, []string{"not-checked Ingress i templates/deployment.yaml: Kubernetes 1.37 does not serve extensions/v1beta1 Ingress"}},
		{"nothing built in", helm.RuleSchema, deployment + "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n", chart.LoadOptions{}, []string{"not-applicable Chart demo: no object of a built-in kind"}},

		{"custom resource without a CRD", helm.RuleCRD, deployment + "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n", chart.LoadOptions{}, []string{"not-checked Thing t templates/deployment.yaml: no schema for example.com/v1 Thing"}},
		{"custom resource", helm.RuleCRD, thingCRD + deployment + "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec: {size: 3}\n", chart.LoadOptions{}, nil},
		{"custom resource that is not valid", helm.RuleCRD, thingCRD + deployment + "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\nspec: {size: 11, colour: red}\n", chart.LoadOptions{},
			[]string{"spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10", "fail Thing t templates/deployment.yaml: spec.colour: unknown field"}},
		{"custom resource of a version that the CRD lacks", helm.RuleCRD, thingCRD + deployment + "apiVersion: example.com/v2\nkind: Thing\nmetadata: {name: t}\n", chart.LoadOptions{}, []string{`fail Thing t templates/deployment.yaml: no matches for kind "Thing" in version "example.com/v2": the chart's own CRD serves v1`}},
		{"custom resource by its project's CRD", helm.RuleCRD, deployment + "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: e}\nspec: {secretStoreRef: {name: s}, refreshInterval: 1h, data: [{secretKey: a, remoteRef: {key: b}}]}\n", chart.LoadOptions{}, nil},
		{"custom resource not valid by its project's CRD", helm.RuleCRD, deployment + "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: e}\nspec: {refreshIntervall: 1h, data: [{secretKey: a}]}\n", chart.LoadOptions{},
			[]string{"spec.data[0].remoteRef: Required value", "fail ExternalSecret e templates/deployment.yaml: spec.refreshIntervall: unknown field"}},
		{"CRD without a schema", helm.RuleCRD, strings.Replace(thingCRD, "openAPIV3Schema", "openAPIV2Schema", 1) + deployment + "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n", chart.LoadOptions{}, []string{"not-checked Thing t templates/deployment.yaml: the chart's own CRD for example.com/v1 Thing cannot be used"}},

		{"served", helm.RuleRemoved, "", chart.LoadOptions{}, nil},
		{"removed", helm.RuleRemoved, deployment + "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: p}\n", chart.LoadOptions{}, []string{"fail PodDisruptionBudget p templates/deployment.yaml: Kubernetes 1.37 does not serve policy/v1beta1 PodDisruptionBudget: removed in 1.25"}},
		{"not there yet", helm.RuleRemoved, deployment + "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: p}\nspec: {}\n", chart.LoadOptions{KubeVersion: "1.32.0"}, []string{"fail ResourceClaim p templates/deployment.yaml: Kubernetes 1.32 does not serve resource.k8s.io/v1 ResourceClaim"}},
		{"there now", helm.RuleRemoved, deployment + "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: p}\nspec: {}\n", chart.LoadOptions{KubeVersion: "1.37.0"}, nil},
		{"unknown Kubernetes", helm.RuleRemoved, "", chart.LoadOptions{KubeVersion: "1.20.0"}, []string{"not-checked Chart demo: no schemas for Kubernetes 1.20"}},
		{"deprecated", helm.RuleDeprecated, deployment + "apiVersion: flowcontrol.apiserver.k8s.io/v1beta3\nkind: FlowSchema\nmetadata: {name: f}\nspec: {priorityLevelConfiguration: {name: x}}\n", chart.LoadOptions{KubeVersion: "1.31.0"}, nil},

		{"reproducible", helm.RuleGenerated, "", chart.LoadOptions{}, nil},
		{"random", helm.RuleGenerated, "-- templates/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {p: {{ randAlphaNum 12 | quote }}, q: {{ randAlphaNum 8 | quote }}}\n", chart.LoadOptions{}, []string{"fail Chart demo templates/s.yaml: the template calls randAlphaNum (2 times)"}},
		{"no network", helm.RuleNetwork, "", chart.LoadOptions{}, nil},
	} {
		t.Run(tt.rule+" "+tt.name, func(t *testing.T) {
			t.Parallel()
			art, err := collect(t, writeChart(t, tt.changes), tt.options, helm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings(t, art) {
				if f.Rule != tt.rule || f.Outcome == evidence.OutcomePass {
					continue
				}
				got = append(got, said(f))
				if f.Outcome == evidence.OutcomeFail && f.Remediation == "" {
					t.Errorf("%s: no remediation", said(f))
				}
			}
			all := strings.Join(got, "\n")
			for _, w := range tt.want {
				if !strings.Contains(all, w) {
					t.Errorf("no finding says %q; they are:\n%s", w, all)
				}
			}
			if len(tt.want) == 0 && len(got) > 0 || len(got) > len(tt.want) {
				t.Errorf("%d findings, want %d:\n%s", len(got), len(tt.want), all)
			}
		})
	}
}

const thingCRD = `-- crds/thing.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties: {size: {type: integer, maximum: 10}}
`

// openSchema takes further values, those of subcharts.
const openSchema = "-- values.schema.json --\n{\"properties\": {\"replicas\": {}}}\n"

// TestGood holds that the good chart has a passing finding for every control of
// the collector, so that the table's cases fail for their own reason.
func TestGood(t *testing.T) {
	t.Parallel()
	art, err := collect(t, writeChart(t, ""), chart.LoadOptions{}, helm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[evidence.ControlID]bool{}
	for _, f := range findings(t, art) {
		for _, id := range f.Controls {
			seen[id] = true
		}
		if f.Outcome != evidence.OutcomePass {
			t.Error(said(f))
		}
	}
	_, catalog := config.Catalog()
	for _, c := range catalog.Controls {
		if c.Collector == "helm" && !seen[c.ID] {
			t.Errorf("no finding for %s", c.ID)
		}
	}
}

func TestDeprecated(t *testing.T) {
	t.Parallel()
	// A kind that is deprecated but still served, whichever version has one.
	const object = "-- templates/deployment.yaml --\napiVersion: v1\nkind: Endpoints\nmetadata: {name: e}\n"
	art, err := collect(t, writeChart(t, object), chart.LoadOptions{KubeVersion: "1.37.0"}, helm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings(t, art) {
		if f.Rule == helm.RuleDeprecated {
			if f.Outcome != evidence.OutcomeFail || !strings.Contains(f.Message, "v1 Endpoints is deprecated since Kubernetes 1.33") {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Error("no finding about the deprecated kind")
}

// TestVersions: every embedded version judges objects, and by its own schema.
func TestVersions(t *testing.T) {
	t.Parallel()
	versions := helm.Versions()
	if len(versions) != 6 {
		t.Fatalf("embedded: %v, want six", versions)
	}
	dir := writeChart(t, "")
	for _, v := range versions {
		art, err := collect(t, dir, chart.LoadOptions{KubeVersion: v + ".0"}, helm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		passed := false
		for _, f := range findings(t, art) {
			passed = passed || f.Rule == helm.RuleSchema && f.Outcome == evidence.OutcomePass && f.Message == "valid for Kubernetes "+v
		}
		if !passed {
			t.Errorf("%s: the Deployment is not judged", v)
		}
	}
}

// TestManifests: what only a chart can have does not apply to plain manifests.
func TestManifests(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nextra: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rel, err := chart.LoadManifests(t.Context(), file, chart.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	art, err := collectRelease(t, rel, helm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]evidence.Outcome{}
	for _, f := range findings(t, art) {
		got[f.Rule] = f.Outcome
	}
	want := map[string]evidence.Outcome{
		helm.RuleLint: "not-applicable", helm.RuleLintLog: "not-applicable", helm.RuleValues: "not-applicable", helm.RuleGenerated: "not-applicable",
		helm.RuleNetwork: "not-applicable", helm.RuleParse: "pass", helm.RuleSchema: "fail", helm.RuleRemoved: "pass",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// TestRemoteSchema: a schema that refers to the network is never fetched, not
// by loading, linting or validating, and fails.
func TestRemoteSchema(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer srv.Close()
	art, err := collect(t, writeChart(t, fmt.Sprintf("-- values.schema.json --\n{\"properties\": {\"replicas\": {\"$ref\": %q}}}\n", srv.URL+"/x.json")), chart.LoadOptions{}, helm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	failed := map[string]bool{}
	for _, f := range findings(t, art) {
		failed[f.Rule] = failed[f.Rule] || f.Outcome == evidence.OutcomeFail
	}
	if !failed[helm.RuleValues] || !failed[helm.RuleNetwork] {
		t.Errorf("failed: %v, want %s and %s among them", failed, helm.RuleValues, helm.RuleNetwork)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the server was asked %d times", n)
	}
}

// TestHostileSchemas: none of them reads as a pass, none hangs.
func TestHostileSchemas(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ schema, want string }{
		"not JSON":          {"{", "not JSON"},
		"not a schema":      {`{"type": 7}`, "not a usable schema"},
		"a file":            {`{"$ref": "file:///etc/passwd"}`, "schemas are not fetched"},
		"endless recursion": {`{"$ref": "#"}`, "the schema refers to itself without end"},
		"bad pattern":       {`{"properties": {"replicas": {"pattern": "("}}}`, "not a usable schema"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel, err := chart.Load(t.Context(), writeChart(t, "-- values.schema.json --\n"+tt.schema+"\n"), chart.LoadOptions{})
			if err != nil {
				return // refused while loading, as Helm would: nothing was judged
			}
			defer rel.Close() //nolint:errcheck // a directory has nothing to close
			art, err := collectRelease(t, rel, helm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings(t, art) {
				if f.Rule == helm.RuleValues {
					got = append(got, said(f))
					if f.Outcome == evidence.OutcomePass {
						t.Errorf("passes: %s", said(f))
					}
				}
			}
			if !strings.Contains(strings.Join(got, "\n"), tt.want) {
				t.Errorf("no finding says %q: %v", tt.want, got)
			}
		})
	}
}

// TestLogsApart: what one chart logs never lands in another's evidence.
func TestLogsApart(t *testing.T) {
	t.Parallel()
	var g errgroup.Group
	for i := range 20 {
		key := fmt.Sprintf("only%d", i)
		dir := writeChart(t, fmt.Sprintf("-- values.yaml --\nreplicas: 2\n%s: text\n-- values.schema.json --\n{\"properties\": {\"%s\": {}}}\n", key, key))
		g.Go(func() error {
			art, err := collect(t, dir, chart.LoadOptions{Set: []string{key + ".a=1"}}, helm.Options{})
			if err != nil {
				return err
			}
			raw, err := art.Read("artifacts/helm/lint.json")
			if err != nil {
				return err
			}
			var rep struct{ Log []string }
			if err := json.Unmarshal(raw, &rep); err != nil {
				return err
			}
			if len(rep.Log) == 0 {
				return fmt.Errorf("%s: nothing captured", key)
			}
			for _, l := range rep.Log {
				if !strings.Contains(l, key) {
					return fmt.Errorf("%s: captured %q", key, l)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestReproducible: the same chart in another folder gives the same artifacts,
// which name no folder of the machine.
func TestReproducible(t *testing.T) {
	t.Parallel()
	const changes = openSchema + "-- Chart.yaml --\napiVersion: v2\nname: demo\nversion: 1.2.3\n-- charts/b/Chart.yaml --\napiVersion: v2\nname: b\nversion: 1.0.0\n-- charts/a/Chart.yaml --\napiVersion: v2\nname: a\nversion: 1.0.0\n" +
		"-- templates/s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: Bad_Name}\nstringData: {{ (genCA \"x\" 10).Cert | quote }}\n"
	var first map[string][]byte
	for range 4 {
		dir := writeChart(t, changes)
		art, err := collect(t, dir, chart.LoadOptions{}, helm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		files := art.Files()
		for name, raw := range files {
			if strings.Contains(string(raw), filepath.Dir(filepath.Dir(dir))) || strings.Contains(string(raw), "helmproof-lint-") {
				t.Errorf("%s names a folder of this machine: %s", name, raw)
			}
		}
		if first == nil {
			first = files
		} else if diff := cmp.Diff(first, files); diff != "" {
			t.Fatalf("another time, another folder (-first +now):\n%s", diff)
		}
	}
}

// TestDamaged: an artifact that is missing or damaged is an error, never fewer findings.
func TestDamaged(t *testing.T) {
	t.Parallel()
	whole, err := collect(t, writeChart(t, ""), chart.LoadOptions{}, helm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{collectors.ReleaseFile, collectors.ChartFile, collectors.ManifestsFile, "artifacts/helm/lint.json", "artifacts/helm/values-schema.json"} {
		for how, change := range map[string]func([]byte) []byte{
			"missing":   func([]byte) []byte { return nil },
			"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		} {
			if name == collectors.ManifestsFile && how == "truncated" {
				continue // other manifests, which release.json's digest shows
			}
			art := collectors.NewArtifacts(nil)
			for n, b := range whole.Files() {
				if n == name {
					b = change(b)
				}
				if b == nil {
					continue
				}
				if _, err := art.Put(n, b); err != nil {
					t.Fatal(err)
				}
			}
			if found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), helm.New(helm.Options{})); err == nil {
				t.Errorf("%s %s: %d findings and no error", name, how, len(found))
			}
		}
	}
}

// TestSchemasDir: a version that is not embedded is judged by the user's own
// OpenAPI document, and what was needed of it is sealed.
func TestSchemasDir(t *testing.T) {
	t.Parallel()
	const doc = `{"definitions": {
		"Deployment": {"type": "object", "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}, "spec": {"$ref": "#/definitions/Spec"}},
			"x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}]},
		"Spec": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "object"}, "template": {"$ref": "#/definitions/Spec"}}},
		"Unused": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "x", "version": "v1", "kind": "Unused"}]}}}`
	schemas := t.TempDir()
	if err := os.WriteFile(filepath.Join(schemas, "v1.20.json"), []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(schemas, "v1.21.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	art, err := collect(t, writeChart(t, ""), chart.LoadOptions{KubeVersion: "1.20.0"}, helm.Options{SchemasDir: schemas})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := art.Read("artifacts/helm/schemas.json")
	if err != nil || strings.Contains(string(raw), "Unused") {
		t.Errorf("sealed schemas: %s, %v", raw, err)
	}
	var got []string
	for _, f := range findings(t, art) {
		if f.Rule == helm.RuleSchema {
			got = append(got, said(f))
		}
	}
	want := []string{"fail Deployment web templates/deployment.yaml: spec.template.metadata: unknown field", "fail Deployment web templates/deployment.yaml: spec.template.spec: unknown field"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	for version, want := range map[string]string{"1.21.0": "no definitions", "1.19.0": "put its OpenAPI document into"} {
		if _, err := collect(t, writeChart(t, ""), chart.LoadOptions{KubeVersion: version}, helm.Options{SchemasDir: schemas}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want it to say %q", version, err, want)
		}
	}
}

var gvkA = schema.GroupVersionKind{Version: "v1", Kind: "A"}

// FuzzCompact: whatever a schema document holds, it is refused or it judges.
func FuzzCompact(f *testing.F) {
	f.Add([]byte(`{"definitions": {"A": {"type": "object", "properties": {"spec": {"$ref": "#/definitions/A"}}, "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "A"}]}}}`))
	f.Add([]byte(`{"definitions": {"A": null}}`))
	f.Fuzz(func(_ *testing.T, raw []byte) {
		doc, err := helm.Compact(raw, nil)
		if err != nil {
			return
		}
		_, _ = doc.Validate(gvkA, map[string]any{"spec": map[string]any{"spec": []any{int64(1)}}})
	})
}

func BenchmarkCollector(b *testing.B) {
	var changes strings.Builder
	for i := range 30 {
		fmt.Fprintf(&changes, "-- templates/d%d.yaml --\n%s\n", i, strings.ReplaceAll(goodChart[strings.Index(goodChart, "apiVersion: apps/v1"):], "name: web", fmt.Sprintf("name: web%d", i)))
	}
	rel, err := chart.Load(b.Context(), writeChart(b, changes.String()), chart.LoadOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("collect", func(b *testing.B) {
		for b.Loop() {
			if _, err := collectRelease(b, rel, helm.Options{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	art, err := collectRelease(b, rel, helm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("findings", func(b *testing.B) {
		sealed := collectors.NewSealed(art, config.RuleControls())
		for b.Loop() {
			if _, err := collectors.Findings(sealed, helm.New(helm.Options{})); err != nil {
				b.Fatal(err)
			}
		}
	})
}
