package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/test/kube"
)

func TestServerVersion(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierA)
	var v struct{ ServerVersion struct{ GitVersion string } }
	if err := json.Unmarshal([]byte(c.Kubectl(t, "version", "-o", "json")), &v); err != nil {
		t.Fatal(err)
	}
	if got, want := v.ServerVersion.GitVersion, "v1.37.2"; got != want {
		t.Errorf("server version %s, want %s", got, want)
	}
}

// namespace makes a namespace for one test, which Pod Security admission holds to level.
func namespace(t *testing.T, c *kube.Cluster, name, level string) {
	t.Helper()
	c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %s, labels: {pod-security.kubernetes.io/enforce: %s}}
`, name, level))
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
}

func TestRestrictedNamespaceRefusesPrivilegedPod(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierA)
	namespace(t, c, "smoke-restricted", "restricted")
	if c.Tier() == kube.TierA { // no controller makes it there
		c.Apply(t, "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: smoke-restricted}}")
	} else {
		kube.Eventually(t, 30*time.Second, "the service account", func() bool {
			_, err := c.TryKubectl(t.Context(), "", "get", "serviceaccount", "default", "-n", "smoke-restricted")
			return err == nil
		})
	}
	pod := func(privileged string) string {
		return `
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: smoke-restricted}
spec:
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: cluster.test/none:1
    securityContext: {` + privileged + `, capabilities: {drop: [ALL]}}
`
	}
	_, err := c.TryKubectl(t.Context(), pod("privileged: true"), "create", "--dry-run=server", "-f", "-")
	if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest": privileged`) {
		t.Errorf("privileged pod: %v, want it refused by Pod Security admission", err)
	}
	if _, err := c.TryKubectl(t.Context(), pod("allowPrivilegeEscalation: false"), "create", "--dry-run=server", "-f", "-"); err != nil {
		t.Errorf("restricted pod: %v", err)
	}
}

func TestJobsOnRealNodes(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierC)
	if err := c.LoadImage(t.Context(), kube.Image{Ref: "cluster.test/smoke:1", Binary: c.TestPod()}); err != nil {
		t.Fatal(err)
	}
	namespace(t, c, "smoke-jobs", "restricted")
	for _, node := range []string{"node-a", "node-b"} {
		c.Apply(t, fmt.Sprintf(`
apiVersion: batch/v1
kind: Job
metadata: {name: hello-%[1]s, namespace: smoke-jobs}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      nodeSelector: {kubernetes.io/hostname: %[1]s}
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: main
        image: cluster.test/smoke:1
        imagePullPolicy: Never
        args: [echo, hello, from, %[1]s]
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
`, node))
	}
	for _, node := range []string{"node-a", "node-b"} {
		c.Kubectl(t, "wait", "-n", "smoke-jobs", "--for=condition=complete", "--timeout=90s", "job/hello-"+node)
		if got, want := c.Kubectl(t, "logs", "-n", "smoke-jobs", "job/hello-"+node), "hello from "+node+"\n"; got != want {
			t.Errorf("log of the Job on %s: %q, want %q", node, got, want)
		}
		if got := c.Kubectl(t, "get", "pods", "-n", "smoke-jobs", "-l", "job-name=hello-"+node, "-o", "jsonpath={.items[*].spec.nodeName}"); got != node {
			t.Errorf("pod of the Job ran on %q, want %s", got, node)
		}
	}
}

func TestBudgetBlocksEviction(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	namespace(t, c, "smoke-budget", "privileged")
	c.Apply(t, `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: smoke-budget}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: smoke-budget}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers: [{name: main, image: cluster.test/none:1}]
`)
	// A budget does not protect pods that are not Ready.
	c.Kubectl(t, "rollout", "status", "-n", "smoke-budget", "deployment/web", "--timeout=180s")
	kube.Eventually(t, 30*time.Second, "the budget to count two healthy pods", func() bool {
		return c.Kubectl(t, "get", "pdb", "web", "-n", "smoke-budget", "-o", "jsonpath={.status.currentHealthy}") == "2"
	})
	pod := strings.Fields(c.Kubectl(t, "get", "pods", "-n", "smoke-budget", "-o", "jsonpath={.items[*].metadata.name}"))[0]
	evict := func() error {
		body := fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":"smoke-budget"}}`, pod)
		_, err := c.TryKubectl(t.Context(), body, "create", "--raw", "/api/v1/namespaces/smoke-budget/pods/"+pod+"/eviction", "-f", "-")
		return err
	}
	if err := evict(); err == nil || !strings.Contains(err.Error(), "would violate the pod's disruption budget") {
		t.Errorf("eviction: %v, want it refused by the budget", err)
	}
	c.Kubectl(t, "patch", "pdb", "web", "-n", "smoke-budget", "--type=merge", "-p", `{"spec":{"minAvailable":1}}`)
	kube.Eventually(t, 30*time.Second, "the budget to allow one disruption", func() bool {
		return c.Kubectl(t, "get", "pdb", "web", "-n", "smoke-budget", "-o", "jsonpath={.status.disruptionsAllowed}") == "1"
	})
	if err := evict(); err != nil {
		t.Errorf("eviction within the budget: %v", err)
	}
}

// Not parallel: the other tests wait while the API server is gone.
func TestAPIServerComesBack(t *testing.T) {
	c := kube.Start(t, kube.TierA)
	namespace(t, c, "smoke-crash", "restricted")
	if err := c.Kill("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	_, err := c.TryKubectl(t.Context(), "", "get", "namespace", "smoke-crash")
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("with the API server killed: %v, want the connection refused", err)
	}
	if err := c.Restart("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "get", "namespace", "smoke-crash")
}
