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

const statusTemplate = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers: [{name: app, image: cluster.test/none:1, resources: {requests: {cpu: 100m, memory: 512Mi}}}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]
---
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: web}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  updatePolicy: {updateMode: "Off"}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: vault}
spec: {provider: {fake: {data: [{key: a, value: b}]}}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec:
  refreshInterval: 1h
  secretStoreRef: {kind: SecretStore, name: vault}
  target: {name: db-login}
  data: [{secretKey: password, remoteRef: {key: a}}]
`

// TestLiveStatus: what external secrets, autoscalers and budgets of a release that
// Helm installed do in the cluster.
func TestLiveStatus(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	installCRDs(t, c)
	const ns = "live-status"
	labelled(t, c, ns, "")
	in := action.NewInstall(helmFor(t, c, ns, "secrets"))
	in.ReleaseName, in.Namespace, in.WaitStrategy, in.Timeout = "status", ns, helmkube.HookOnlyStrategy, 2*time.Minute
	chart := &chartv2.Chart{
		Metadata:  &chartv2.Metadata{APIVersion: "v2", Name: "status", Version: "1.0.0", Type: "application"},
		Templates: []*common.File{{Name: "templates/all.yaml", Data: []byte(statusTemplate)}},
	}
	if _, err := in.Run(chart, map[string]any{}); err != nil {
		t.Fatal(err)
	}
	get := func(what, path string) string {
		out, err := c.TryKubectl(t.Context(), "", "get", what, "-n", ns, "-o", "jsonpath={"+path+"}")
		if err != nil {
			return ""
		}
		return out
	}
	judge := func(kubeconfig string) []finding {
		t.Helper()
		releases, code, stderr := runLive(t, kubeconfig, "check", "--release", "status", "-n", ns)
		r, ok := releases["status"]
		if !ok {
			t.Fatalf("exit %d, %d releases: %s", code, len(releases), stderr)
		}
		return r.Findings
	}

	// No operator runs: nobody has looked at the ExternalSecret, no Secret is there.
	found := judge(c.Kubeconfig)
	expect(t, found, "externalsecrets/synced", "not-checked", "ExternalSecret db", "no operator has looked at it")
	expect(t, found, "externalsecrets/store", "not-checked", "ExternalSecret db", "has no condition Ready")
	expect(t, found, "externalsecrets/secret", "fail", "ExternalSecret db", "Secret db-login is not there")
	expect(t, found, "autoscaling/recommendation", "not-checked", "VerticalPodAutoscaler web", "recommends nothing yet")

	// What operators would write.
	ready := func(status string, refreshed time.Time) {
		t.Helper()
		condition := fmt.Sprintf(`"conditions":[{"type":"Ready","status":"%s","reason":"Test","message":"as told","lastTransitionTime":"2026-01-01T00:00:00Z"}]`, status)
		c.Kubectl(t, "patch", "externalsecret", "db", "-n", ns, "--subresource=status", "--type=merge", "-p",
			fmt.Sprintf(`{"status":{%s,"refreshTime":"%s"}}`, condition, refreshed.UTC().Format(time.RFC3339)))
		c.Kubectl(t, "patch", "secretstore", "vault", "-n", ns, "--subresource=status", "--type=merge", "-p", `{"status":{`+condition+`}}`)
	}
	ready("True", time.Now().Add(-time.Minute))
	c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata:
  name: db-login
  namespace: %s
  ownerReferences: [{apiVersion: external-secrets.io/v1, kind: ExternalSecret, name: db, uid: %s}]
stringData: {password: edited-by-hand}
`, ns, get("externalsecret/db", ".metadata.uid")))
	c.Kubectl(t, "patch", "verticalpodautoscaler", "web", "-n", ns, "--subresource=status", "--type=merge", "-p",
		`{"status":{"recommendation":{"containerRecommendations":[{"containerName":"app","target":{"cpu":"120m","memory":"64Mi"}}]}}}`)
	hpa := get("hpa/web", ".metadata.uid")
	for i, size := range []int{2, 4, 2, 4, 2, 4, 2} {
		at := time.Now().Add(time.Duration(i-20) * time.Minute).UTC().Format(time.RFC3339)
		c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Event
metadata: {name: web.%d, namespace: %s}
involvedObject: {kind: HorizontalPodAutoscaler, apiVersion: autoscaling/v2, name: web, namespace: %s, uid: %s}
reason: SuccessfulRescale
message: "New size: %d; reason: cpu resource utilization"
type: Normal
count: 1
firstTimestamp: %s
lastTimestamp: %s
`, i, ns, ns, hpa, size, at, at))
	}
	kube.Eventually(t, 2*time.Minute, "the controllers", func() bool {
		return get("pdb/web", ".status.disruptionsAllowed") == "1" && strings.Contains(get("hpa/web", ".status.conditions[*].type"), "ScalingActive")
	})
	found = judge(c.Kubeconfig)
	expect(t, found, "externalsecrets/synced", "pass", "ExternalSecret db", "was refreshed within its interval of 1h0m0s")
	expect(t, found, "externalsecrets/rotated", "warn", "ExternalSecret db", "which is not External Secrets")
	expect(t, found, "externalsecrets/store", "pass", "ExternalSecret db", "SecretStore vault is ready")
	expect(t, found, "externalsecrets/secret", "pass", "ExternalSecret db", "Secret db-login is made and owned")
	expect(t, found, "autoscaling/recommendation", "pass", "VerticalPodAutoscaler web", "requests 100m of cpu; 120m is recommended")
	expect(t, found, "autoscaling/recommendation", "fail", "VerticalPodAutoscaler web", "requests 512Mi of memory; 64Mi is recommended")
	expect(t, found, "autoscaling/thrash", "fail", "HorizontalPodAutoscaler web", "changed direction 5 times")
	// There is no metrics API in this cluster.
	expect(t, found, "autoscaling/thrash-conditions", "fail", "HorizontalPodAutoscaler web", "ScalingActive is False")
	expect(t, found, "autoscaling/saturation-budget", "pass", "PodDisruptionBudget web", "2 of 2 pods healthy", "1 disruptions allowed")

	// A rotation, as docs/secrets-and-rotation.md has it; what the operator writes is written in its name.
	c.Kubectl(t, "annotate", "externalsecret", "db", "-n", ns, "force-sync="+fmt.Sprint(time.Now().Unix()), "--overwrite")
	c.Kubectl(t, "patch", "secret", "db-login", "-n", ns, "--type=merge", "--field-manager=externalsecrets.external-secrets.io/db", "-p", `{"stringData":{"password":"made-anew"}}`)
	c.Kubectl(t, "wait", "externalsecret/db", "-n", ns, "--for=condition=Ready", "--timeout=1m")
	if got := get("externalsecret/db", ".status.refreshTime"); got == "" {
		t.Error("no refreshTime")
	}
	writers, err := c.TryKubectl(t.Context(), "", "get", "secret", "db-login", "-n", ns, "--show-managed-fields", "-o", `jsonpath={range .metadata.managedFields[*]}{.manager}{"\t"}{.time}{"\n"}{end}`)
	if err != nil || !strings.Contains(writers, "externalsecrets.external-secrets.io/db\t") {
		t.Errorf("writers %q, %v", writers, err)
	}
	expect(t, judge(c.Kubeconfig), "externalsecrets/rotated", "pass", "ExternalSecret db", "by externalsecrets.external-secrets.io/db; the rotation interval is 90 days")

	// A condition that stuck, and an operator that fails.
	ready("True", time.Now().Add(-3*time.Hour))
	expect(t, judge(c.Kubeconfig), "externalsecrets/synced", "fail", "ExternalSecret db", "was last refreshed 3h0m")
	ready("False", time.Now())
	found = judge(c.Kubeconfig)
	expect(t, found, "externalsecrets/synced", "fail", "ExternalSecret db", "is not ready: Test: as told")
	expect(t, found, "externalsecrets/store", "fail", "ExternalSecret db", "SecretStore vault is not ready")

	// An account that may read Helm's storage, and nothing else.
	c.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules:
  - {apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}
  - {apiGroups: [""], resources: [configmaps], verbs: [get, list]}
  - {apiGroups: [""], resources: [secrets], verbs: [get, list]}
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
	n := 0
	for _, f := range judge(kubeconfigOf(t, c, ns, "default")) {
		if strings.HasPrefix(f.Rule, "externalsecrets/") || strings.HasPrefix(f.Rule, "autoscaling/") {
			n++
			if f.Outcome != "not-checked" {
				t.Errorf("without rights %s is %s: %s", f.Rule, f.Outcome, f.Message)
			}
		}
	}
	if n < 4 {
		t.Errorf("%d findings without rights", n)
	}
}
