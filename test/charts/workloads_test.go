package charts

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/collectors/chart"
)

// objects are what values of the service chart render to, by "Kind/name".
func objects(tb testing.TB, v values) map[string]unstructured.Unstructured {
	tb.Helper()
	rel, err := load(tb, serviceDir, v)
	if err != nil {
		tb.Fatal(err)
	}
	return byName(tb, rel)
}

func byName(tb testing.TB, rel *chart.Release) map[string]unstructured.Unstructured {
	tb.Helper()
	set, err := rel.Objects()
	if err != nil {
		tb.Fatal(err)
	}
	out := map[string]unstructured.Unstructured{}
	for i := range set.Objects {
		o := &set.Objects[i]
		out[o.GetKind()+"/"+o.GetName()] = unstructured.Unstructured{Object: o.Object}
	}
	return out
}

func names(m map[string]unstructured.Unstructured) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// at reads a path of maps (string) and lists (int); nil where there is none.
func at(o any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := o.(map[string]any)
			o = m[p]
		case int:
			l, _ := o.([]any)
			if p >= len(l) {
				return nil
			}
			o = l[p]
		}
	}
	return o
}

// TestWorkloads holds that each workload has the shared values with its own laid
// over them, down to empty lists, and that what one selects no other does.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	got := objects(t, parse(t, `
fullnameOverride: shop
env: {LEVEL: info, REGION: eu}
autoscaling: {enabled: false}
workloads:
  web: {env: {LEVEL: debug}, replicaCount: 4}
  worker: {port: 0, writableDirectories: [], service: {enabled: false}, probes: {startup: {type: exec, command: [a]}, readiness: {type: exec, command: [b]}, liveness: {type: exec, command: [c]}}}
  report: {kind: CronJob, cron: {schedule: '5 4 * * *'}}
  gone: null
`))
	want := []string{
		"CronJob/shop-report", "Deployment/shop-web", "Deployment/shop-worker",
		"NetworkPolicy/shop-report", "NetworkPolicy/shop-web", "NetworkPolicy/shop-worker",
		"PodDisruptionBudget/shop-web", "PodDisruptionBudget/shop-worker", "Service/shop-web",
		"ServiceAccount/shop-report", "ServiceAccount/shop-web", "ServiceAccount/shop-worker",
	}
	if d := cmp.Diff(want, names(got)); d != "" {
		t.Fatalf("objects (-want +got):\n%s", d)
	}
	web, worker := got["Deployment/shop-web"].Object, got["Deployment/shop-worker"].Object
	container := []any{"spec", "template", "spec", "containers", 0}
	if d := cmp.Diff([]any{
		map[string]any{"name": "LEVEL", "value": "debug"}, map[string]any{"name": "REGION", "value": "eu"},
	}, at(web, append(container, "env")...)); d != "" {
		t.Errorf("web's variables (-want +got):\n%s", d)
	}
	if d := cmp.Diff("info", at(worker, append(container, "env", 0, "value")...)); d != "" {
		t.Errorf("worker's LEVEL (-want +got):\n%s", d)
	}
	if m := at(worker, append(container, "volumeMounts")...); m != nil {
		t.Errorf("worker's empty list of directories did not replace the shared one: %v", m)
	}
	if n := at(web, "spec", "replicas"); n != int64(4) {
		t.Errorf("web has %v replicas", n)
	}
	for name, o := range got {
		if o.GetKind() != "Deployment" && o.GetKind() != "PodDisruptionBudget" {
			continue
		}
		if c, _, err := unstructured.NestedString(o.Object, "spec", "selector", "matchLabels", "app.kubernetes.io/component"); err != nil || "shop-"+c != o.GetName() {
			t.Errorf("%s selects component %q (%v)", name, c, err)
		}
	}
}
