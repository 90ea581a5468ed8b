package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

// TestControllers: what the cluster says of the controllers that controls rely on.
// Not parallel: a dead APIService breaks discovery for everybody.
func TestControllers(t *testing.T) {
	c := kube.Start(t, kube.TierB)
	const ns = "controllers"
	labelled(t, c, ns, "")
	remove := func(what ...string) {
		t.Helper()
		if _, err := c.TryKubectl(context.Background(), "", append([]string{"delete", "--ignore-not-found"}, what...)...); err != nil {
			t.Error(err)
		}
	}
	profile := filepath.Join(t.TempDir(), "controllers.yaml")
	if err := os.WriteFile(profile, []byte("name: controllers\ntitle: Controllers\nscope: cluster\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: ADM-6}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(kubeconfig string) []finding {
		t.Helper()
		found, failed := check(t, kubeconfig, "", "--cluster", "--profile", profile)
		if len(failed) > 0 {
			t.Fatalf("collectors failed: %v", failed)
		}
		return found
	}

	// Nothing is there, and nothing needs it.
	cluster := "Cluster " + clusterUID(t, c)
	found := look(c.Kubeconfig)
	for rule, about := range map[string]string{
		"external-secrets": "Controller external-secrets", "resource-metrics": "Controller metrics.k8s.io", "custom-metrics": "Controller custom.metrics.k8s.io",
		"external-metrics": "Controller external.metrics.k8s.io", "vertical-pod-autoscaler": "Controller vertical-pod-autoscaler", "signature-admission": "Controller kyverno",
		"network-policy": "Controller network-policy", "api-service": cluster, "webhook": cluster,
	} {
		expect(t, found, "controllers/"+rule, "not-applicable", about)
	}

	// What needs controllers, without them.
	installCRDs(t, c)
	t.Cleanup(func() { remove("clusterimagepolicy", "controllers") })
	c.Apply(t, fmt.Sprintf(`
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db, namespace: %[1]s}
spec:
  refreshInterval: 1h
  secretStoreRef: {kind: SecretStore, name: vault}
  target: {name: db-login}
  data: [{secretKey: password, remoteRef: {key: a}}]
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: vault, namespace: %[1]s}
spec: {provider: {fake: {data: [{key: a, value: b}]}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: %[1]s}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 5
  metrics:
    - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}
    - {type: External, external: {metric: {name: queue}, target: {type: Value, value: "1"}}}
---
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: web, namespace: %[1]s}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  updatePolicy: {updateMode: "Off"}
---
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: controllers}
spec: {images: [{glob: "registry.example.com/**"}], authorities: [{static: {action: pass}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: %[1]s}
spec: {podSelector: {}}
`, ns))
	found = look(c.Kubeconfig)
	expect(t, found, "controllers/external-secrets", "fail", "Controller external-secrets", "its definitions are there and it is not", "SCR-2 to SCR-4 rely on it")
	expect(t, found, "controllers/external-secrets", "fail", "Controller external-secrets", "none of 1 store is Ready")
	expect(t, found, "controllers/external-secrets", "fail", "Controller external-secrets", "no ExternalSecret of 1 was refreshed")
	expect(t, found, "controllers/resource-metrics", "fail", "Controller metrics.k8s.io", "is not in the cluster, and 1 HorizontalPodAutoscaler needs it")
	expect(t, found, "controllers/external-metrics", "fail", "Controller external.metrics.k8s.io", "is not in the cluster")
	expect(t, found, "controllers/vertical-pod-autoscaler", "fail", "Controller vertical-pod-autoscaler", "its recommender is nowhere to be seen")
	expect(t, found, "controllers/signature-admission", "fail", "Controller policy-controller", "its definitions are there and it is not")
	expect(t, found, "controllers/network-policy", "not-applicable", "Controller network-policy", "whether NetworkPolicies are enforced is not said")

	// An APIService and webhooks that nobody answers.
	t.Cleanup(func() {
		remove("apiservice", "v1beta1.metrics.k8s.io")
		remove("validatingwebhookconfiguration,mutatingwebhookconfiguration", "controllers-test")
	})
	c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: %[1]s}
spec: {selector: {app: nobody}, ports: [{port: 443}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec: {group: metrics.k8s.io, version: v1beta1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {namespace: %[1]s, name: nobody}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: controllers-test}
webhooks:
  - name: closed.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Fail
    clientConfig: {service: {namespace: %[1]s, name: nobody}}
    rules: [{apiGroups: [none.example.com], apiVersions: ["*"], resources: [nothing], operations: [CREATE]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: controllers-test}
webhooks:
  - name: open.example.com
    admissionReviewVersions: [v1]
    sideEffects: None
    failurePolicy: Ignore
    clientConfig: {service: {namespace: %[1]s, name: not-there}}
    rules: [{apiGroups: [none.example.com], apiVersions: ["*"], resources: [nothing], operations: [CREATE]}]
`, ns))
	// Until the Service has a slice without endpoints, it is EndpointsNotFound.
	kube.Eventually(t, time.Minute, "the aggregator", func() bool {
		out, err := c.TryKubectl(t.Context(), "", "get", "apiservice", "v1beta1.metrics.k8s.io", "-o", `jsonpath={.status.conditions[?(@.type=="Available")].reason}`)
		return err == nil && out == "MissingEndpoints"
	})
	found = look(c.Kubeconfig)
	expect(t, found, "controllers/api-service", "fail", "APIService v1beta1.metrics.k8s.io", "is not Available: MissingEndpoints", "Service controllers/nobody has no ready endpoint")
	expect(t, found, "controllers/resource-metrics", "fail", "Controller metrics.k8s.io", "APIService v1beta1.metrics.k8s.io is not Available")
	expect(t, found, "controllers/webhook", "fail", "ValidatingWebhookConfiguration controllers-test", "failurePolicy Fail", "has no ready endpoint", "what they match is refused")
	expect(t, found, "controllers/webhook", "fail", "MutatingWebhookConfiguration controllers-test", "failurePolicy Ignore", "Service controllers/not-there is not in the cluster", "let through unjudged")

	// Rights: those that are shipped are enough, and without them nothing passes.
	t.Run("rights", func(t *testing.T) { controllerRights(t, c, ns, look, found) })

	// Pods answer for all of it, and the operator writes what it would write.
	c.Apply(t, fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: nobody}}
  template:
    metadata: {labels: {app: nobody}}
    spec:
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers: [{name: main, image: "cluster.test/external-secrets:1"}]
`, ns))
	c.Kubectl(t, "rollout", "status", "deployment/operator", "-n", ns, "--timeout=180s")
	ready := `"conditions":[{"type":"Ready","status":"True","reason":"Test","message":"as told","lastTransitionTime":"2026-01-01T00:00:00Z"}]`
	c.Kubectl(t, "patch", "secretstore", "vault", "-n", ns, "--subresource=status", "--type=merge", "-p", `{"status":{`+ready+`}}`)
	c.Kubectl(t, "patch", "externalsecret", "db", "-n", ns, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status":{%s,"refreshTime":%q}}`, ready, time.Now().UTC().Format(time.RFC3339)))
	remove("apiservice", "v1beta1.metrics.k8s.io")
	remove("mutatingwebhookconfiguration", "controllers-test")
	kube.Eventually(t, time.Minute, "the endpoint", func() bool {
		out, err := c.TryKubectl(t.Context(), "", "get", "endpointslices", "-n", ns, "-l", "kubernetes.io/service-name=nobody", "-o", "jsonpath={.items[*].endpoints[*].conditions.ready}")
		return err == nil && out == "true"
	})
	kube.Eventually(t, time.Minute, "the end of the dead API in discovery", func() bool {
		out, err := c.TryKubectl(t.Context(), "", "get", "--raw", "/apis")
		return err == nil && !strings.Contains(out, "metrics.k8s.io")
	})
	found = look(c.Kubeconfig)
	expect(t, found, "controllers/external-secrets", "pass", "Controller external-secrets", "Deployment controllers/operator has 1 of 1 pods Ready", "1 of 1 store are Ready", "1 of 1 ExternalSecrets were refreshed")
	expect(t, found, "controllers/webhook", "pass", "ValidatingWebhookConfiguration controllers-test", "has 1 ready endpoint")
	expect(t, found, "controllers/resource-metrics", "fail", "Controller metrics.k8s.io", "is not in the cluster")
}

// controllerRights looks as the account that is shipped, and as one that may
// identify the cluster and nothing else.
func controllerRights(t *testing.T, c *kube.Cluster, ns string, look func(string) []finding, admin []finding) {
	const account = "controllers-account" // a namespace of its own: the shipped one enforces restricted
	c.Apply(t, strings.NewReplacer("name: helmproof\n", "name: "+account+"\n", "namespace: helmproof\n", "namespace: "+account+"\n",
		"serviceaccount:helmproof:", "serviceaccount:"+account+":", "helmproof-admission", "controllers-admission").Replace(string(rbac.Admission)))
	c.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: controllers-identify}
rules: [{apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: controllers-identify}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: controllers-identify}
subjects: [{kind: ServiceAccount, name: default, namespace: %s}]
`, ns))
	t.Cleanup(func() {
		for _, what := range []string{"clusterrolebinding,clusterrole controllers-identify controllers-admission", "validatingadmissionpolicybinding,validatingadmissionpolicy controllers-admission-dry-runs", "namespace controllers-account --wait=false"} {
			if _, err := c.TryKubectl(context.Background(), "", append([]string{"delete"}, strings.Fields(what)...)...); err != nil {
				t.Error(err)
			}
		}
	})
	said := func(list []finding) map[string]bool {
		out := map[string]bool{}
		for _, f := range list {
			if strings.HasPrefix(f.Rule, "controllers/") {
				out[f.Rule+" "+f.Outcome+" "+f.Message] = true
			}
		}
		return out
	}
	want, got := said(admin), said(look(kubeconfigOf(t, c, account, "controllers-admission")))
	for f := range want {
		if !got[f] {
			t.Errorf("with the rights that are shipped nobody says: %s", f)
		}
	}
	n := 0
	for _, f := range look(kubeconfigOf(t, c, ns, "default")) {
		if !strings.HasPrefix(f.Rule, "controllers/") {
			continue
		}
		n++
		// What is not served at all is known from discovery, for which everybody has the right.
		absent := f.Outcome == "not-applicable" && f.Target.Name == "kyverno"
		if !absent && (f.Outcome != "not-checked" || !strings.Contains(f.Message, "cannot list resource") && !strings.Contains(f.Message, "cannot get resource")) {
			t.Errorf("without rights %s is %s: %s", f.Rule, f.Outcome, f.Message)
		}
	}
	if n < 9 {
		t.Errorf("%d findings without rights", n)
	}
}
