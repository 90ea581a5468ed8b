package e2e

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/test/kube"
)

// published are the custom resources that the charts make, with the plurals and
// scopes of their definitions; the schemas are those that helmproof embeds.
var published = []struct {
	apiVersion, kind, plural string
	clusterWide              bool
}{
	{"external-secrets.io/v1", "ExternalSecret", "externalsecrets", false},
	{"external-secrets.io/v1", "SecretStore", "secretstores", false},
	{"external-secrets.io/v1", "ClusterSecretStore", "clustersecretstores", true},
	{"autoscaling.k8s.io/v1", "VerticalPodAutoscaler", "verticalpodautoscalers", false},
	{"monitoring.coreos.com/v1", "PodMonitor", "podmonitors", false},
	{"monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", false},
	{"monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules", false},
	{"gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", false},
	{"policy.sigstore.dev/v1beta1", "ClusterImagePolicy", "clusterimagepolicies", true},
	{"policies.kyverno.io/v1", "ImageValidatingPolicy", "imagevalidatingpolicies", true},
}

var installed sync.Once

// installCRDs installs the definitions, once for all tests of the package.
func installCRDs(t *testing.T, c *kube.Cluster) {
	t.Helper()
	installed.Do(func() {
		f, err := os.Open("../../collectors/helm/crds.json.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]struct{ Schema json.RawMessage }
		if err := json.NewDecoder(z).Decode(&all); err != nil {
			t.Fatal(err)
		}
		for _, p := range published {
			crd, ok := all[p.apiVersion+" "+p.kind]
			if !ok {
				t.Fatalf("no embedded schema of %s %s", p.apiVersion, p.kind)
			}
			group, version, _ := strings.Cut(p.apiVersion, "/")
			scope := "Namespaced"
			if p.clusterWide {
				scope = "Cluster"
			}
			c.Apply(t, fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
"metadata":{"name":"%[1]s.%[2]s","annotations":{"api-approved.kubernetes.io":"https://example.com/the-test-installs-what-is-published"}},
"spec":{"group":"%[2]s","scope":"%[3]s","names":{"kind":"%[4]s","listKind":"%[4]sList","plural":"%[1]s","singular":"%[5]s"},
"versions":[{"name":"%[6]s","served":true,"storage":true,"subresources":{"status":{}},"schema":%[7]s}]}}`, p.plural, group, scope, p.kind, strings.ToLower(p.kind), version, crd.Schema))
		}
		for _, p := range published {
			group, _, _ := strings.Cut(p.apiVersion, "/")
			c.Kubectl(t, "wait", "--for=condition=established", "--timeout=180s", "crd/"+p.plural+"."+group)
		}
	})
}

// TestChartsOnCluster: the API server accepts every object of every chart and
// example, and the pod of every pod template, in a namespace that enforces
// restricted, and warns of none; the agent that reaches into its node in one that
// enforces nothing.
func TestChartsOnCluster(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	installCRDs(t, c)
	c.Apply(t, "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: business-critical}\nvalue: 1000\n")
	var runs [][]string
	for _, chart := range []string{"../../charts/service", "../../charts/platform", "../charts/library-user"} {
		runs = append(runs, []string{chart})
		examples, err := filepath.Glob(filepath.Join(chart, "examples", "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range examples {
			runs = append(runs, []string{chart, "-f", e})
		}
	}
	if len(runs) < 15 {
		t.Fatalf("only %d charts and examples", len(runs))
	}
	for i, args := range runs {
		name := filepath.Base(args[0])
		if len(args) > 1 {
			name += " " + filepath.Base(args[2])
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := fmt.Sprintf("chart-%d", i)
			levels, least := "enforce=restricted warn=restricted audit=restricted", 11 // the namespace, nine probes and an object
			agent := strings.HasSuffix(name, "app-node-exporter.yaml")
			if agent {
				levels, least = "enforce=privileged warn=privileged audit=privileged", 4
			}
			labelled(t, c, ns, levels)
			if strings.HasPrefix(name, "platform") {
				makeNamespaces(t, c, args, ns)
			}
			found, failed := check(t, c.Kubeconfig, "", append(args, "-n", ns)...)
			if len(failed) > 0 {
				t.Fatalf("collectors failed: %v", failed)
			}
			objects := 0
			for _, f := range found {
				switch {
				case !strings.HasPrefix(f.Rule, "admission/"), f.Outcome == "not-applicable", agent && f.Target.Kind == "Namespace":
				case f.Outcome == "pass":
					objects++
				default:
					t.Errorf("%s %s %s %s: %s", f.Rule, f.Outcome, f.Target.Kind, f.Target.Name, f.Message)
				}
			}
			if objects < least {
				t.Errorf("only %d findings of admission pass", objects)
			}
		})
	}
}

// makeNamespaces makes the namespaces that the chart itself brings: what is to be
// in them cannot be tried before.
func makeNamespaces(t *testing.T, c *kube.Cluster, args []string, ns string) {
	t.Helper()
	o := chart.LoadOptions{Namespace: ns}
	if len(args) > 1 {
		o.ValueFiles = args[2:]
	}
	rel, err := chart.Load(t.Context(), args[0], o)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rel.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for i := range set.Objects {
		if o := &set.Objects[i]; o.GetKind() == "Namespace" {
			if _, err := c.TryKubectl(t.Context(), "", "create", "namespace", o.GetName()); err != nil && !strings.Contains(err.Error(), "AlreadyExists") {
				t.Fatal(err)
			}
		}
	}
}

// bad are objects that break one policy each, made from a chart that meets all.
var bad = []struct {
	policy, kind string
	spoil        func(o map[string]any)
}{
	{"distinct-probes", "Deployment", container(func(c map[string]any) { c["readinessProbe"] = c["livenessProbe"] })},
	{"image-digest", "Deployment", container(func(c map[string]any) { c["image"] = "registry.example.com/app:1" })},
	{"liveness-probe", "Deployment", container(func(c map[string]any) { delete(c, "livenessProbe") })},
	{"readiness-probe", "Deployment", container(func(c map[string]any) { delete(c, "readinessProbe") })},
	{"startup-probe", "Deployment", container(func(c map[string]any) { delete(c, "startupProbe") })},
	{"resource-limits", "Deployment", container(func(c map[string]any) { delete(c["resources"].(map[string]any), "limits") })},
	{"resource-requests", "Deployment", container(func(c map[string]any) { delete(c["resources"].(map[string]any), "requests") })},
	{"privilege-escalation", "Deployment", container(func(c map[string]any) {
		c["securityContext"].(map[string]any)["allowPrivilegeEscalation"] = true
	})},
	{"read-only-root", "Deployment", container(func(c map[string]any) {
		c["securityContext"].(map[string]any)["readOnlyRootFilesystem"] = false
	})},
	{"run-as-non-root", "Deployment", pod(func(p map[string]any) {
		for _, k := range []string{"runAsNonRoot", "runAsUser"} {
			delete(p["securityContext"].(map[string]any), k)
			for _, c := range p["containers"].([]any) {
				delete(c.(map[string]any)["securityContext"].(map[string]any), k)
			}
		}
	})},
	{"seccomp", "Deployment", pod(func(p map[string]any) {
		delete(p["securityContext"].(map[string]any), "seccompProfile")
		for _, c := range p["containers"].([]any) {
			delete(c.(map[string]any)["securityContext"].(map[string]any), "seccompProfile")
		}
	})},
	{"service-account-token", "Deployment", pod(func(p map[string]any) { p["automountServiceAccountToken"] = true })},
	{"topology-spread", "Deployment", func(o map[string]any) {
		o["spec"].(map[string]any)["replicas"] = int64(2) // which the chart leaves to the autoscaler
		pod(func(p map[string]any) {
			delete(p, "topologySpreadConstraints")
			delete(p, "affinity")
		})(o)
	}},
	{"hpa-bounds", "HorizontalPodAutoscaler", func(o map[string]any) { o["spec"].(map[string]any)["minReplicas"] = int64(1) }},
	{"hpa-stabilization", "HorizontalPodAutoscaler", func(o map[string]any) { delete(o["spec"].(map[string]any), "behavior") }},
	{"vpa-recommend-only", "VerticalPodAutoscaler", func(o map[string]any) {
		o["spec"].(map[string]any)["updatePolicy"] = map[string]any{"updateMode": "Recreate"}
	}},
	{"secret-rotation-interval", "ExternalSecret", func(o map[string]any) { o["spec"].(map[string]any)["refreshInterval"] = "0" }},
}

func pod(spoil func(map[string]any)) func(map[string]any) {
	return func(o map[string]any) {
		spoil(o["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any))
	}
}

func container(spoil func(map[string]any)) func(map[string]any) {
	return pod(func(p map[string]any) { spoil(p["containers"].([]any)[0].(map[string]any)) })
}

// TestPoliciesRefuse: installed in the cluster, each policy refuses the object
// that breaks it, in its own words, and none refuses the chart that meets them all.
// That limits are at least the requests, the API server's validation says before
// any policy is asked.
func TestPoliciesRefuse(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	installCRDs(t, c)
	const ns = "policies-refuse"
	labelled(t, c, ns, "")
	files, err := filepath.Glob("../../templates/policies/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{"limits-at-least-requests": true}
	for _, b := range bad {
		covered[b.policy] = true
	}
	var names []string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		slug := strings.TrimSuffix(filepath.Base(f), ".yaml")
		if !strings.Contains(string(raw), "kind: ValidatingAdmissionPolicy\n") {
			continue
		}
		if !covered[slug] {
			t.Errorf("no bad object for policy %s", slug)
		}
		// Under names of their own, and bound here only: other tests have theirs.
		text := strings.NewReplacer("name: helmproof-", "name: refuse-", "policyName: helmproof-", "policyName: refuse-",
			"  validationActions:", "  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "+ns+"}}}\n  validationActions:").Replace(string(raw))
		c.Apply(t, text)
		names = append(names, "refuse-"+slug)
	}
	t.Cleanup(func() {
		for _, kind := range []string{"validatingadmissionpolicybinding", "validatingadmissionpolicy"} {
			if _, err := c.TryKubectl(context.Background(), "", append([]string{"delete", kind, "--ignore-not-found"}, names...)...); err != nil {
				t.Error(err)
			}
		}
	})
	rel, err := chart.Load(t.Context(), "../../charts/service", chart.LoadOptions{Namespace: ns, ValueFiles: []string{"../../charts/service/examples/full.yaml"}, Set: []string{"priorityClassName="}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := rel.Objects()
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]map[string]any{}
	for i := range set.Objects {
		o := set.Objects[i].DeepCopy()
		o.SetNamespace(ns)
		good[o.GetKind()] = o.Object
	}
	try := func(o map[string]any) error {
		raw, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.TryKubectl(t.Context(), string(raw), "create", "--dry-run=server", "-f", "-")
		return err
	}
	for _, b := range bad {
		t.Run(b.policy, func(t *testing.T) {
			o := (&unstructured.Unstructured{Object: good[b.kind]}).DeepCopy()
			if o.Object == nil {
				t.Fatalf("the chart has no %s", b.kind)
			}
			b.spoil(o.Object)
			want := "ValidatingAdmissionPolicy 'refuse-" + b.policy + "'"
			var last error
			// A new policy is in force a moment after it is created.
			kube.Eventually(t, 30*time.Second, want+" to refuse", func() bool {
				last = try(o.Object)
				return last != nil
			})
			if !strings.Contains(last.Error(), want) || !strings.Contains(last.Error(), "denied request") {
				t.Errorf("refused with %v, want it by %s", last, want)
			}
		})
	}
	for kind, o := range good {
		if err := try(o); err != nil {
			t.Errorf("%s of the chart: %v", kind, err)
		}
	}
}
