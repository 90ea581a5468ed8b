package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	helmkube "helm.sh/helm/v4/pkg/kube"

	"github.com/companyos/helmproof/test/kube"
)

// spreadPod is the pod of a template, on real or on simulated nodes.
func spreadPod(app, where string) string {
	return fmt.Sprintf(`
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      %[2]s
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "cluster.test/spread:1", imagePullPolicy: Never, args: [wait]}]
`, app, where)
}

// TestSpread: where the replicas of a live release really run, on two real kubelets.
func TestSpread(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierC)
	if err := c.LoadImage(t.Context(), kube.Image{Ref: "cluster.test/spread:1", Binary: c.TestPod()}); err != nil {
		t.Fatal(err)
	}
	const ns = "spread"
	labelled(t, c, ns, "")
	// Simulated nodes do not count as domains; each ReplicaSet is spread by itself.
	const apart = `topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: apart}},
        nodeTaintsPolicy: Honor, matchLabelKeys: [pod-template-hash]}]`
	const kwok = `tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      nodeSelector: {type: kwok, topology.kubernetes.io/zone: kz-1}`
	workload := func(kind, name string, replicas int, where string) string {
		return fmt.Sprintf("---\napiVersion: apps/v1\nkind: %s\nmetadata: {name: %s}\nspec:\n  replicas: %d%s", kind, name, replicas, spreadPod(name, where))
	}
	in := action.NewInstall(helmFor(t, c, ns, "secrets"))
	in.ReleaseName, in.Namespace, in.WaitStrategy, in.Timeout = "spread", ns, helmkube.HookOnlyStrategy, 2*time.Minute
	if _, err := in.Run(&chartv2.Chart{
		Metadata: &chartv2.Metadata{APIVersion: "v2", Name: "spread", Version: "1.0.0", Type: "application"},
		Templates: []*common.File{{Name: "templates/all.yaml", Data: []byte(workload("Deployment", "apart", 2, apart) + workload("Deployment", "stacked", 2, "nodeSelector: {kubernetes.io/hostname: node-a}") +
			workload("StatefulSet", "one", 1, "") + workload("Deployment", "pending", 2, "nodeSelector: {kubernetes.io/hostname: nowhere}") + workload("Deployment", "zone", 4, kwok))}},
	}, map[string]any{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, err := c.TryKubectl(context.Background(), "", "describe", "pods", "-n", ns)
			t.Log(out, err)
		}
	})
	for _, what := range []string{"deployment/apart", "deployment/stacked", "statefulset/one", "deployment/zone"} {
		c.Kubectl(t, "rollout", "status", what, "-n", ns, "--timeout=120s")
	}
	judge := func(kubeconfig string) []finding {
		t.Helper()
		releases, code, stderr := runLive(t, kubeconfig, "check", "--release", "spread", "-n", ns)
		r, ok := releases["spread"]
		if !ok {
			t.Fatalf("exit %d, %d releases: %s", code, len(releases), stderr)
		}
		return r.Findings
	}
	found := judge(c.Kubeconfig)
	expect(t, found, "spread/node", "pass", "Deployment apart", "2 Ready replicas lie on node-a (1), node-b (1)")
	expect(t, found, "spread/zone", "pass", "Deployment apart", "zone-a (1), zone-b (1)")
	expect(t, found, "spread/node", "fail", "Deployment stacked", "2 Ready replicas lie on node-a (2)", "its nodeSelector (kubernetes.io/hostname=node-a) leaves no other of 2 schedulable nodes")
	expect(t, found, "spread/zone", "warn", "Deployment stacked", "lie in zone-a (2)", "zone-a, zone-b")
	expect(t, found, "spread/node", "not-applicable", "StatefulSet one", "runs one replica")
	expect(t, found, "spread/node", "not-checked", "Deployment pending", "0 of 2 replicas are Ready")
	expect(t, found, "spread/zone", "warn", "Deployment zone", "lie in kz-1 (4)")

	// A rolling restart leaves pods of both ReplicaSets' owners to one Deployment.
	c.Kubectl(t, "rollout", "restart", "deployment/apart", "-n", ns)
	c.Kubectl(t, "rollout", "status", "deployment/apart", "-n", ns, "--timeout=120s")
	expect(t, judge(c.Kubeconfig), "spread/node", "pass", "Deployment apart", "node-a (1), node-b (1)")

	// An account that may read the release and its pods, and no nodes.
	c.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules:
  - {apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}
  - {apiGroups: [""], resources: [configmaps, pods, secrets], verbs: [get, list]}
  - {apiGroups: [apps], resources: [deployments, replicasets], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects: [{kind: ServiceAccount, name: default, namespace: %[1]s}]
`, ns))
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "clusterrole,clusterrolebinding", ns); err != nil {
			t.Error(err)
		}
	})
	found = judge(kubeconfigOf(t, c, ns, "default"))
	expect(t, found, "spread/node", "error", "Deployment apart", `cannot list resource "nodes"`)
	expect(t, found, "spread/node", "not-checked", "StatefulSet one", `cannot get resource "statefulsets"`)
	for _, f := range found {
		if strings.HasPrefix(f.Rule, "spread/") && f.Outcome == "pass" {
			t.Errorf("without rights %s passes: %s", f.Rule, f.Message)
		}
	}
}
