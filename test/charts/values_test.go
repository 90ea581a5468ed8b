package charts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	v2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence"
)

// render renders a chart as Helm does for an install, its notes as well.
func render(c *v2.Chart, release string, v values) (map[string]string, error) {
	if err := chartutil.ProcessDependencies(c, v); err != nil {
		return nil, err
	}
	scope, err := util.ToRenderValues(c, v, common.ReleaseOptions{Name: release, Namespace: "prod", IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, scope)
}

// parent loads a chart that has service as its dependency under each of the aliases.
func parent(tb testing.TB, aliases ...string) *v2.Chart {
	tb.Helper()
	dir := tb.TempDir()
	text := "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n"
	for _, a := range aliases {
		text += fmt.Sprintf("  - {name: service, version: '>=0.1.0', alias: %s, condition: %s.enabled}\n", a, a)
	}
	if err := os.WriteFile(filepath.Join(dir, "Chart.yaml"), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "charts", "service"), os.DirFS(serviceDir)); err != nil {
		tb.Fatal(err)
	}
	c, err := loader.Load(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func service(tb testing.TB) *v2.Chart {
	tb.Helper()
	c, err := loader.Load(serviceDir)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// objectsOf are kind and name of what was rendered, sorted.
func objectsOf(tb testing.TB, files map[string]string) []string {
	tb.Helper()
	var out []string
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		for doc := range bytes.SplitSeq([]byte(text), []byte("\n---\n")) {
			var o struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if err := yaml.Unmarshal(doc, &o); err != nil {
				tb.Fatalf("%s: %v", name, err)
			}
			if o.Kind != "" {
				out = append(out, o.Kind+" "+o.Metadata.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestNulls sets each value that has others inside to null, as users do to take a
// default away: it renders, or a message says which value is meant. No template trips over it.
func TestNulls(t *testing.T) {
	t.Parallel()
	var paths [][]string
	var walk func(at []string, v any)
	walk = func(at []string, v any) {
		m, isMap := v.(map[string]any)
		if len(at) == 1 || isMap && len(at) > 0 {
			paths = append(paths, at)
		}
		for key, inner := range m {
			walk(append(slices.Clone(at), key), inner)
		}
	}
	walk(nil, readValues(t, filepath.Join(serviceDir, "values.yaml")))
	if len(paths) < 50 {
		t.Fatalf("only %d values", len(paths))
	}
	lib, err := loader.Load(passThrough(t))
	if err != nil {
		t.Fatal(err)
	}
	alone, sub := service(t), parent(t, "web")
	for _, path := range paths {
		v := values{path[len(path)-1]: nil}
		for _, key := range slices.Backward(path[:len(path)-1]) {
			v = values{key: v}
		}
		name := strings.Join(path, ".")
		errs := map[string]error{}
		if len(path) == 1 { // Helm merges what is further inside in the same way
			_, errs["values"] = render(alone, "shop", v)
			_, errs["values of a subchart"] = render(sub, "shop", values{"web": v})
		}
		full := parse(t, spec)
		for key, inner := range v {
			m, isMap := inner.(map[string]any)
			if was, ok := full[key].(map[string]any); isMap && ok {
				for k, x := range m {
					was[k] = x
				}
				continue
			}
			full[key] = inner
		}
		_, errs["spec"] = render(lib, "shop", values{"spec": full})
		for how, err := range errs {
			if err != nil && (strings.Contains(err.Error(), "nil pointer") || strings.Contains(err.Error(), "can't evaluate") || !strings.Contains(err.Error(), path[0])) {
				t.Errorf("%s: %s: null: %v", how, name, err)
			}
		}
	}
	for text, says := range map[string]string{
		"sidecars: [null]":         "sidecars[0] is null",
		"env: {A: null}":           "env.A: a plain value is expected",
		"autoscaling: null":        "autoscaling is null: give it a value, or leave it out",
		"autoscaling: 5":           "autoscaling: a map is expected, of enabled",
		"probes: {liveness: null}": "probes.liveness is missing",
	} {
		v := parse(t, spec)
		for key, x := range parse(t, text) {
			v[key] = x
		}
		if _, err := render(lib, "shop", values{"spec": v}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: want %q: %v", text, says, err)
		}
	}
}

// TestAliases holds that subcharts under several names never make objects of
// one name, whatever the release is called, and that a parent's condition
// switches one off.
func TestAliases(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a-release-with-a-name-of-53-characters-", 2)[:53]
	for _, release := range []string{"shop", "web-worker", "worker", long} {
		for _, aliases := range [][]string{
			{"web", "worker"},
			{"a-part-with-a-rather-long-name-one", "a-part-with-a-rather-long-name-two"},
		} {
			files, err := render(parent(t, aliases...), release, values{})
			if err != nil {
				t.Fatal(err)
			}
			all := objectsOf(t, files)
			if distinct := slices.Compact(slices.Clone(all)); len(distinct) != len(all) || len(all) != 12 {
				t.Errorf("release %s, %s: %d of %d objects have a name of their own: %s", release, aliases, len(distinct), len(all), all)
			}
			for _, o := range all {
				if _, name, _ := strings.Cut(o, " "); len(name) > 52 {
					t.Errorf("%s is too long", o)
				}
			}
		}
	}
	files, err := render(parent(t, "web", "worker"), "shop", values{"web": values{"enabled": false}, "worker": values{"enabled": true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objectsOf(t, files) {
		if !strings.HasSuffix(o, " shop-worker") {
			t.Errorf("%s renders, and only worker is enabled", o)
		}
	}
	if _, err := render(service(t), "shop", values{"enabled": false}); err == nil || !strings.Contains(err.Error(), "only a parent chart's condition reads it") {
		t.Errorf("switched off without a condition: %v", err)
	}
	// Names that fit are as they were.
	if files, err = render(service(t), "my-service", nil); err != nil {
		t.Fatal(err)
	}
	if all := objectsOf(t, files); !slices.Contains(all, "Deployment my-service") {
		t.Errorf("objects %s", all)
	}
}

// TestExampleDigest holds that the default digest is never that of an image which the user named.
func TestExampleDigest(t *testing.T) {
	t.Parallel()
	const says = "image.digest is missing: the default one belongs to podinfo:6.9.1"
	for text, refused := range map[string]bool{
		"{}": false,
		"image: {repository: registry.example.com/shop, tag: '2'}": true,
		"image: {repository: registry.example.com/shop}":           true,
		"image: {tag: 6.9.2}":                             true,
		"image: {repository: mirror.example.com/podinfo}": false,
		"image: {repository: registry.example.com/shop, tag: '2', digest: '" + digest + "'}": false,
		"image: {tag: ''}": false,
	} {
		_, err := render(service(t), "shop", parse(t, text))
		if (err != nil) != refused || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
	image := readValues(t, filepath.Join(serviceDir, "values.yaml"))["image"].(map[string]any)
	text := tree(t, serviceDir)["templates/_image.tpl"]
	for _, key := range []string{"tag", "digest"} {
		if !strings.Contains(text, fmt.Sprintf("%q %q", key, image[key])) {
			t.Errorf("_image.tpl does not know the default %s %s", key, image[key])
		}
	}
}

// TestNumbers holds that numbers and truth values are text where people write them.
func TestNumbers(t *testing.T) {
	t.Parallel()
	v := parse(t, "{image: {repository: registry.example.com/a, tag: 20241129, digest: '"+digest+"'}, env: {PORT: 8080, ID: 12345678901, RATIO: 0.25, DEBUG: true}, args: [--port, 8080]}")
	files, err := render(service(t), "shop", v)
	if err != nil {
		t.Fatal(err)
	}
	got := files["service/templates/workload.yaml"]
	for _, want := range []string{
		`registry.example.com/a:20241129@` + digest, `app.kubernetes.io/version: "20241129"`,
		`value: "8080"`, `value: "12345678901"`, `value: "0.25"`, `value: "true"`, `- "8080"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// TestKeys holds that the library knows the same keys as service's schema, in
// every part: what one refuses as misspelled, the other does too.
func TestKeys(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(serviceDir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	type node struct {
		Properties map[string]*node
		Items      *node
		Ref        string `json:"$ref"`
		Deprecated bool
		Defs       map[string]*node `json:"$defs"`
	}
	var schema node
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	table := helper(t, "hardened.keys")
	ofRelease := []string{"workloads", "tpl", "extraObjects"} // which hardened.specs takes apart
	seen := map[string]bool{}
	var walk func(part string, n *node)
	walk = func(part string, n *node) {
		for n.Ref != "" || n.Items != nil {
			if n.Items != nil {
				n = n.Items
				continue
			}
			n = schema.Defs[strings.TrimPrefix(n.Ref, "#/$defs/")]
		}
		if len(n.Properties) == 0 {
			return
		}
		if other, ok := table[part].(string); ok {
			seen[part] = true
			part = other
		}
		if seen[part] {
			return
		}
		seen[part] = true
		var want []string
		for key, p := range n.Properties {
			if !p.Deprecated && (part != "spec" || !slices.Contains(ofRelease, key)) {
				want = append(want, key)
			}
		}
		var got []string
		list, _ := table[part].([]any)
		for _, key := range list {
			got = append(got, fmt.Sprint(key))
		}
		if part == "spec" {
			want = append(want, "shares") // hardened.specs' own
		}
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-schema +library):\n%s", part, d)
		}
		for key, p := range n.Properties {
			if p.Deprecated || part == "spec" && slices.Contains(append(ofRelease, "hardened", "global"), key) {
				continue
			}
			if part == "spec" {
				walk(key, p)
			} else {
				walk(part+"."+key, p)
			}
		}
	}
	walk("spec", &schema)
	walk("*valueFrom", schema.Defs["valueFrom"])
	seen["*file"] = true // in a map of files
	for part := range table {
		if !seen[part] {
			t.Errorf("the library knows a part %s, and the schema does not", part)
		}
	}
}

// TestDeclared holds that what the values give a reason for is judged as a declared
// exception, which is shown and needs no waiver, and that nothing else fails.
func TestDeclared(t *testing.T) {
	t.Parallel()
	const openshift = "securityContext: {platformIDsReason: OpenShift gives them}"
	for _, tt := range []struct {
		values  string
		control evidence.ControlID
		reason  string
	}{
		{"{autoscaling: {enabled: false}, replicaCount: 1, singleReplicaReason: it holds a lock}", "AVL-4", "1 exception is declared with a reason: it holds a lock"},
		{openshift, "SEC-2", "2 exceptions are declared with a reason: OpenShift gives them"},
		{"{kind: StatefulSet, " + openshift + "}", "SEC-2", "2 exceptions are declared with a reason: OpenShift gives them"},
		{"{kind: DaemonSet, " + openshift + "}", "SEC-2", "2 exceptions are declared with a reason: OpenShift gives them"},
		{"{kind: Job, " + openshift + "}", "SEC-2", "2 exceptions are declared with a reason: OpenShift gives them"},
		{"{kind: CronJob, cron: {schedule: '5 4 * * *'}, " + openshift + "}", "SEC-2", "2 exceptions are declared with a reason: OpenShift gives them"},
	} {
		rel, err := load(t, serviceDir, parse(t, tt.values))
		if err != nil {
			t.Fatal(err)
		}
		_, verdict := judge(t, rel)
		if verdict.Outcome != evidence.VerdictPass || len(verdict.Waivers) > 0 {
			t.Errorf("%s: %s: %s", tt.values, verdict.Outcome, verdict.Reason)
		}
		for _, r := range verdict.Results {
			if r.Control == tt.control && (r.Outcome != evidence.ControlWarn || r.Reason != tt.reason) {
				t.Errorf("%s: %s is %s: %s", tt.values, r.Control, r.Outcome, r.Reason)
			} else if r.Control != tt.control && r.Outcome == evidence.ControlWarn {
				t.Errorf("%s: %s warns too: %s", tt.values, r.Control, r.Reason)
			}
		}
	}
}

// TestText holds that what the schema calls a string stays one in the objects,
// where YAML would read it as a number.
func TestText(t *testing.T) {
	t.Parallel()
	got := objects(t, parse(t, `
fullnameOverride: "123"
partOf: "7"
priorityClassName: "123"
runtimeClassName: "0x1"
portName: "1e3"
dnsConfig: {options: [{name: "true"}]}
env: {A: {secret: "1", key: "2"}, B: {configMap: "3", key: "4"}, "null": x}
envFrom: [{configMap: "5"}]
image: {pullSecrets: ["6"]}
ingress: {enabled: true, className: "8", host: a.example.com, tls: {secretName: "9"}, from: [{podSelector: {}}]}
externalSecret: {enabled: true, store: {name: "10"}, pull: [{key: k}]}
volumeClaims: [{name: "11", path: /d, size: 1Gi, accessMode: ReadWriteMany, storageClassName: "12"}]
`))
	pod := at(got["Deployment/123"].Object, "spec", "template", "spec")
	c := at(pod, "containers", 0)
	for want, is := range map[string]any{
		"123 (name)":         at(got["Deployment/123"].Object, "metadata", "name"),
		"123 (account)":      at(pod, "serviceAccountName"),
		"123 (priority)":     at(pod, "priorityClassName"),
		"0x1":                at(pod, "runtimeClassName"),
		"true (option)":      at(pod, "dnsConfig", "options", 0, "name"),
		"1e3":                at(c, "ports", 0, "name"),
		"1e3 (probed)":       at(c, "readinessProbe", "httpGet", "port"),
		"1e3 (served)":       at(got["Service/123"].Object, "spec", "ports", 0, "targetPort"),
		"null":               at(c, "env", 2, "name"),
		"1":                  at(c, "env", 0, "valueFrom", "secretKeyRef", "name"),
		"2":                  at(c, "env", 0, "valueFrom", "secretKeyRef", "key"),
		"3":                  at(c, "env", 1, "valueFrom", "configMapKeyRef", "name"),
		"5":                  at(c, "envFrom", 0, "configMapRef", "name"),
		"6":                  at(pod, "imagePullSecrets", 0, "name"),
		"7":                  at(got["Deployment/123"].Object, "metadata", "labels", "app.kubernetes.io/part-of"),
		"8":                  at(got["Ingress/123"].Object, "spec", "ingressClassName"),
		"9":                  at(got["Ingress/123"].Object, "spec", "tls", 0, "secretName"),
		"123 (backend)":      at(got["Ingress/123"].Object, "spec", "rules", 0, "http", "paths", 0, "backend", "service", "name"),
		"10":                 at(got["ExternalSecret/123-pull-0"].Object, "spec", "secretStoreRef", "name"),
		"12":                 at(got["PersistentVolumeClaim/123-11"].Object, "spec", "storageClassName"),
		"123 (budget's)":     at(got["PodDisruptionBudget/123"].Object, "metadata", "name"),
		"123 (autoscaler's)": at(got["HorizontalPodAutoscaler/123"].Object, "spec", "scaleTargetRef", "name"),
	} {
		if want, _, _ = strings.Cut(want, " "); is != want {
			t.Errorf("%#v, want the string %q", is, want)
		}
	}
}
