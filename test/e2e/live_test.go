package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/cli"
	helmkube "helm.sh/helm/v4/pkg/kube"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

const liveTemplate = `apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Release.Name }}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}, annotations: }
data: {greeting: {{ .Values.greeting | quote }}, empty: ""}
---
apiVersion: v1
kind: Secret
metadata: {name: {{ .Release.Name }}}
stringData: {password: {{ .Values.password | quote }}}
---
apiVersion: v1
kind: Service
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {app: {{ .Release.Name }}}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}}
    spec:
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers:
        - name: main
          image: {{ .Values.image }}
          ports: [{name: http, containerPort: 8080}]
          resources: {requests: {cpu: "0.1", memory: 64Mi}, limits: {cpu: 1000m, memory: "67108864"}}
          env: [{name: LEVEL, value: info}]
---
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}-test, annotations: {helm.sh/hook: test}}
spec:
  restartPolicy: Never
  containers: [{name: main, image: cluster.test/none:1}]
`

const liveScaler = `{{ if .Values.scaled }}apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: {{ .Release.Name }}}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ .Release.Name }}}
  minReplicas: 3
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
{{ end }}`

const livePassword = "zK7-qv93-Lw82-hT5x"

func liveChart() *chartv2.Chart {
	return &chartv2.Chart{
		Metadata: &chartv2.Metadata{APIVersion: "v2", Name: "small", Version: "1.2.3", AppVersion: "4", Type: "application"},
		Values:   map[string]any{"image": "cluster.test/none:1", "greeting": "hello", "password": livePassword, "replicas": 1, "scaled": false},
		Templates: []*common.File{
			{Name: "templates/all.yaml", Data: []byte(liveTemplate)}, {Name: "templates/hpa.yaml", Data: []byte(liveScaler)},
		},
	}
}

// helmFor is Helm itself, for one namespace and storage driver.
func helmFor(t *testing.T, c *kube.Cluster, namespace, driver string) *action.Configuration {
	t.Helper()
	settings := cli.New()
	settings.KubeConfig = c.Kubeconfig
	settings.SetNamespace(namespace)
	cfg := action.NewConfiguration(action.ConfigurationSetLogger(slog.NewTextHandler(io.Discard, nil)))
	if err := cfg.Init(settings.RESTClientGetter(), namespace, driver); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func helmInstall(cfg *action.Configuration, namespace, name string, values map[string]any) error {
	in := action.NewInstall(cfg)
	in.ReleaseName, in.Namespace, in.WaitStrategy, in.Timeout = name, namespace, helmkube.HookOnlyStrategy, 2*time.Minute
	if _, err := in.Run(liveChart(), values); err != nil {
		return fmt.Errorf("install %s: %w", name, err)
	}
	return nil
}

// liveRelease is what the tests read of one release of the JSON document.
type liveRelease struct {
	Chart, Version, Namespace, Bundle, Error string
	Verdict                                  struct {
		Results []struct{ Control, Outcome, Reason string }
	}
	Findings []finding
	Runs     []struct{ Collector, Outcome, Error string }
}

func (r liveRelease) control(id string) string {
	for _, x := range r.Verdict.Results {
		if x.Control == id {
			return x.Outcome
		}
	}
	return ""
}

// name is that of the release, which each finding about it carries.
func (r liveRelease) name() string {
	for _, f := range r.Findings {
		if f.Rule == "live/release" {
			return f.Target.Name
		}
	}
	return ""
}

// runLive runs helmproof and returns its releases by name, its exit code and stderr.
func runLive(t *testing.T, kubeconfig string, args ...string) (map[string]liveRelease, int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), helmproof(t), append(args, "-o", "json", "--kubeconfig", kubeconfig)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := 0
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(stdout.String(), livePassword) || strings.Contains(stdout.String(), "edited-by-hand") {
		t.Error("a secret value is in the output")
	}
	var doc struct{ Releases []liveRelease }
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
			t.Fatalf("helmproof %s printed %v: %s", strings.Join(args, " "), err, stdout.String())
		}
	}
	out := map[string]liveRelease{}
	for _, r := range doc.Releases {
		if r.Error != "" {
			t.Errorf("%s: %s", r.Chart, r.Error)
		}
		out[r.name()] = r
	}
	return out, code, stderr.String()
}

// inventory lists all objects of the cluster with UID and generation, but those
// that come and go by themselves.
func inventory(t *testing.T, c *kube.Cluster) []string {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 100, 200
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client, err := metadata.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	lists, err := disco.ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range l.APIResources {
			if !slices.Contains(r.Verbs, "list") || slices.Contains([]string{"events", "leases", "componentstatuses", "endpointslices", "endpoints"}, r.Name) {
				continue
			}
			got, err := client.Resource(gv.WithResource(r.Name)).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range got.Items {
				out = append(out, fmt.Sprintf("%s %s/%s %s %d", r.Name, o.Namespace, o.Name, o.UID, o.Generation))
			}
		}
	}
	slices.Sort(out)
	return out
}

// TestLiveReleases judges 50 releases that Helm installed, of which some have
// been changed. It is not parallel, so that it can see what it leaves behind.
func TestLiveReleases(t *testing.T) {
	c := kube.Start(t, kube.TierB)
	t.Setenv("KUBECACHEDIR", t.TempDir())
	// An earlier test's namespaces may still be going: they would be missed afterwards.
	kube.Eventually(t, 2*time.Minute, "namespaces of earlier tests to be gone", func() bool {
		return !strings.Contains(c.Kubectl(t, "get", "namespaces", "-o", "jsonpath={.items[*].status.phase}"), "Terminating")
	})
	labelled(t, c, "live-a", "enforce=privileged")
	labelled(t, c, "live-b", "enforce=privileged")
	began := time.Now()
	var wg sync.WaitGroup
	failed := make([]error, 50)
	limit := make(chan struct{}, 4)
	for i := range failed {
		namespace, driver := "live-a", "secret"
		if i >= 25 {
			namespace = "live-b"
		}
		if i >= 40 {
			driver = "configmap"
		}
		cfg := helmFor(t, c, namespace, driver)
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			failed[i] = helmInstall(cfg, namespace, fmt.Sprintf("r%02d", i), map[string]any{"scaled": i == 21})
		})
	}
	wg.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	t.Logf("50 releases installed in %.1f s", time.Since(began).Seconds())

	c.Kubectl(t, "set", "image", "-n", "live-a", "deployment/r07", "main=cluster.test/other:2")
	c.Kubectl(t, "delete", "service", "r13", "-n", "live-a")
	c.Kubectl(t, "patch", "secret", "r30", "-n", "live-b", "--type=merge", "-p", `{"stringData":{"password":"edited-by-hand"}}`)
	c.Kubectl(t, "scale", "deployment", "r33", "-n", "live-b", "--replicas=2")
	c.Kubectl(t, "set", "env", "-n", "live-a", "deployment/r09", "EXTRA=1")
	c.Kubectl(t, "rollout", "restart", "-n", "live-a", "deployment/r10")
	up := action.NewUpgrade(helmFor(t, c, "live-b", "secret"))
	up.Namespace, up.WaitStrategy = "live-b", helmkube.HookOnlyStrategy
	if _, err := up.Run("r35", liveChart(), map[string]any{"image": []any{"no", "image"}}); err == nil {
		t.Fatal("an upgrade that must fail did not")
	}
	kube.Eventually(t, time.Minute, "the autoscaler to scale r21", func() bool {
		return c.Kubectl(t, "get", "deployment", "r21", "-n", "live-a", "-o", "jsonpath={.spec.replicas}") == "3"
	})
	kube.Eventually(t, time.Minute, "the pods", func() bool {
		return strings.Count(c.Kubectl(t, "get", "pods", "-A", "-l", "app", "--field-selector=status.phase=Running", "-o", "name"), "pod/") >= 53
	})

	work := t.TempDir()
	key := filepath.Join(work, "key")
	keygen := exec.CommandContext(t.Context(), helmproof(t), "keygen", key)
	keygen.Env = append(os.Environ(), "COSIGN_PASSWORD=")
	if out, err := keygen.CombinedOutput(); err != nil {
		t.Fatalf("keygen: %v: %s", err, out)
	}
	t.Setenv("COSIGN_PASSWORD", "")
	// The edits above roll out; what is compared must have come to rest.
	before, still := inventory(t, c), time.Now()
	kube.Eventually(t, 2*time.Minute, "rollouts to end", func() bool {
		if now := inventory(t, c); !slices.Equal(before, now) {
			before, still = now, time.Now()
		}
		return time.Since(still) > 5*time.Second
	})
	began = time.Now()
	all, code, stderr := runLive(t, c.Kubeconfig, "collect", "--all-releases", "--repo", filepath.Join(work, "repo"), "--key", key+".key", "--formats", "md")
	t.Logf("collect --all-releases: 50 releases in %.1f s", time.Since(began).Seconds())
	if len(all) != 50 || code != 3 {
		t.Fatalf("%d releases, exit code %d: %s", len(all), code, stderr)
	}
	if diff := cmp.Diff(before, inventory(t, c)); diff != "" {
		t.Errorf("the run left or changed something in the cluster:\n%s", diff)
	}
	changed := []string{"r07", "r09", "r13", "r30", "r33", "r35"}
	for name, r := range all {
		want := "pass"
		if slices.Contains(changed, name) {
			want = "fail"
		}
		if got := r.control("DRF-1"); got != want {
			t.Errorf("%s: DRF-1 is %s, want %s", name, got, want)
			for _, f := range r.Findings {
				if strings.HasPrefix(f.Rule, "live/") {
					t.Logf("  %s %s %s: %s", f.Outcome, f.Target.Kind, f.Target.Name, f.Message)
				}
			}
		}
		if r.Chart != "small" || r.Version != "1.2.3" || r.Bundle == "" {
			t.Errorf("%s: chart %s %s, bundle %q", name, r.Chart, r.Version, r.Bundle)
		}
		for _, run := range r.Runs {
			if run.Outcome != "pass" {
				t.Errorf("%s: collector %s: %s", name, run.Collector, run.Error)
			}
		}
	}
	for _, f := range all["r00"].Findings {
		if f.Rule == "live/object" && strings.Contains(f.Message, "by reading") {
			t.Errorf("r00: not asked by dry-run: %s", f.Message)
		}
	}
	var stored struct {
		Rendering struct {
			Same  bool
			Error string
		}
	}
	sealed := readSealed(t, filepath.Join(work, "repo", "bundles", strings.TrimPrefix(all["r00"].Bundle, "sha256:"), "evidence.zip"), "artifacts/live/release.json")
	if err := json.Unmarshal(sealed, &stored); err != nil || !stored.Rendering.Same {
		t.Errorf("r00 rendered again: %+v, %v, want the stored manifest", stored, err)
	}
	if n := outcomes(all["r07"].Findings, "live/object")["fail"]; n != 1 {
		t.Errorf("r07: %d findings of drift, want one", n)
	}
	expect(t, all["r07"].Findings, "live/object", "fail", "Deployment r07", "/spec/template/spec/containers/0/image", `"cluster.test/other:2"; the release sets "cluster.test/none:1"`, "field manager kubectl-set")
	expect(t, all["r09"].Findings, "live/object", "fail", "Deployment r09", "/spec/template/spec/containers/0/env/1 differs", "field manager kubectl-set")
	expect(t, all["r13"].Findings, "live/object", "fail", "Service r13", "is not in the cluster")
	expect(t, all["r21"].Findings, "live/object", "pass", "Deployment r21", "replicas are set by HorizontalPodAutoscaler r21")
	expect(t, all["r30"].Findings, "live/object", "fail", "Secret r30", "/data/password differs (values withheld)", "field manager kubectl-patch")
	expect(t, all["r33"].Findings, "live/object", "fail", "Deployment r33", "/spec/replicas is 2; the release sets 1", "kubectl (scale)")
	expect(t, all["r35"].Findings, "live/release", "fail", "Release r35", "revision 1 is deployed, but revision 2 after it is failed")
	expect(t, all["r00"].Findings, "live/object", "not-applicable", "Pod r00-test", "a hook (test)")
	expect(t, all["r45"].Findings, "live/release", "pass", "Release r45", "revision 1 is deployed")
	if out, err := exec.CommandContext(t.Context(), helmproof(t), "verify", all["r30"].Bundle, "--repo", filepath.Join(work, "repo"), "--trust", key+".pub").CombinedOutput(); err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
	t.Run("rights", func(t *testing.T) { liveRights(t, c) })
}

func readSealed(t *testing.T, zipFile, name string) []byte {
	t.Helper()
	z, err := zip.OpenReader(zipFile)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw, err := fs.ReadFile(z, name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// liveRights runs as accounts that may read, that may read in part, and that may not.
func liveRights(t *testing.T, c *kube.Cluster) {
	c.Apply(t, string(rbac.Reader))
	c.Apply(t, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: nobody, namespace: helmproof}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: storage, namespace: helmproof}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: live-storage}
rules: [{apiGroups: [""], resources: [secrets, configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: live-storage}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: live-storage}
subjects: [{kind: ServiceAccount, name: storage, namespace: helmproof}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: live-identify}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: helmproof-identify}
subjects: [{kind: ServiceAccount, name: storage, namespace: helmproof}, {kind: ServiceAccount, name: nobody, namespace: helmproof}]
`)
	t.Cleanup(func() {
		for _, what := range []string{"clusterrolebinding live-storage live-identify helmproof-reader helmproof-identify", "clusterrole live-storage helmproof-reader helmproof-identify", "namespace helmproof --timeout=60s"} {
			if _, err := c.TryKubectl(context.Background(), "", append([]string{"delete"}, strings.Fields(what)...)...); err != nil {
				t.Error(err)
			}
		}
	})
	reader := kubeconfigOf(t, c, "helmproof", "helmproof-reader")
	got, _, stderr := runLive(t, reader, "check", "--all-releases", "-n", "live-a")
	if len(got) != 25 {
		t.Fatalf("as reader: %d releases: %s", len(got), stderr)
	}
	for name, r := range got {
		want := "pass"
		if slices.Contains([]string{"r07", "r09", "r13"}, name) {
			want = "fail"
		}
		if r.control("DRF-1") != want || r.control("ADM-2") == "pass" || r.control("ADM-3") == "pass" {
			t.Errorf("as reader: %s: DRF-1 %s (want %s), ADM-2 %s, ADM-3 %s", name, r.control("DRF-1"), want, r.control("ADM-2"), r.control("ADM-3"))
			for _, f := range r.Findings {
				if strings.HasPrefix(f.Rule, "live/") {
					t.Logf("  %s %s %s: %s", f.Outcome, f.Target.Kind, f.Target.Name, f.Message)
				}
			}
		}
	}
	// Of the drain forecast nothing is hidden from the reader.
	seen := 0
	for name, r := range got {
		for _, f := range r.Findings {
			if strings.HasPrefix(f.Rule, "forecast/") {
				if seen++; strings.Contains(f.Message, "forbidden") {
					t.Errorf("as reader: %s: %s %s: %s", name, f.Outcome, f.Target.Name, f.Message)
				}
			}
		}
	}
	if seen < len(got) {
		t.Errorf("as reader: %d findings of the drain forecast", seen)
	}
	expect(t, got["r07"].Findings, "live/object", "fail", "Deployment r07", `"cluster.test/other:2"`, "compared by reading", "cannot patch resource")

	got, _, stderr = runLive(t, kubeconfigOf(t, c, "helmproof", "storage"), "check", "--release", "r00", "-n", "live-a")
	if len(got) != 1 || got["r00"].control("DRF-1") != "incomplete" {
		t.Fatalf("as one who sees Helm's storage only: %v, DRF-1 %q: %s", len(got), got["r00"].control("DRF-1"), stderr)
	}
	expect(t, got["r00"].Findings, "live/object", "not-checked", "Deployment r00", "could not be looked at", "cannot get resource")

	got, code, stderr := runLive(t, kubeconfigOf(t, c, "helmproof", "nobody"), "check", "--all-releases")
	if len(got) != 0 || code != 1 || !strings.Contains(stderr, "list Helm's releases in secrets") || !strings.Contains(stderr, "cannot list resource") {
		t.Errorf("as nobody: %d releases, exit code %d: %s", len(got), code, stderr)
	}
}
