package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/test/kube"
)

// readinessChecklist asks for what a drill, a look at the cluster and the benchmark show.
const readinessChecklist = `name: e2e
title: After a drill
items:
  - {id: drills, title: Drills stayed within the error budget, controls: [RSL-1], maxAge: 744h, get: "helmproof drill --suite release --release {release} -n {namespace}"}
  - {id: cis, title: The benchmark was run, controls: [CIS-1, CIS-2, CIS-3], maxAge: 168h, get: helmproof collect --cluster}
  - {id: controllers, title: External Secrets works, controls: [ADM-6], rules: [controllers/external-secrets], maxAge: 168h, get: helmproof collect --cluster}
  - {id: pod-security, title: The namespace enforces restricted, controls: [ADM-1], get: "helmproof collect --release {release} -n {namespace}"}
`

// answeredPart is a part of an answer of helmproof readiness.
type answeredPart struct{ What, Outcome, Reason, Get string }

// readyAfterDrills answers a checklist for shop in ns by what the drills left in the
// repository, then by evidence of the release, of the cluster and of the benchmark.
func readyAfterDrills(t *testing.T, c *testCluster, ns string, try func(args ...string) (string, int)) {
	t.Helper()
	dir := t.TempDir()
	list, config := filepath.Join(dir, "checklist.yaml"), filepath.Join(dir, "helmproof.yaml")
	for name, text := range map[string]string{list: readinessChecklist, config: "kubeBenchNodeTimeout: 30s\n"} { // simulated nodes never answer
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// ask returns the parts by what they are about.
	ask := func(more ...string) map[string]answeredPart {
		t.Helper()
		out, code := try(append([]string{"readiness", "shop", "-n", ns, "--checklist", list, "-o", "json"}, more...)...)
		var doc struct {
			Releases []struct {
				Items []struct{ Parts []answeredPart }
			}
		}
		if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Releases) != 1 {
			t.Fatalf("readiness: exit %d, %v: %s", code, err, out)
		}
		parts := map[string]answeredPart{}
		for _, it := range doc.Releases[0].Items {
			for _, p := range it.Parts {
				parts[p.What] = p
			}
		}
		return parts
	}
	holds := func(p answeredPart, outcome, reason, get string) {
		t.Helper()
		if p.Outcome != outcome || !strings.Contains(p.Reason, reason) || p.Get != get {
			t.Errorf("%+v; want %s, %q, %q", p, outcome, reason, get)
		}
	}
	collect := func(args ...string) {
		t.Helper()
		if out, code := try(append([]string{"collect", "-q", "--formats", "md"}, args...)...); code != 0 && code != 3 {
			t.Fatalf("collect %v: exit %d: %s", args, code, out)
		}
	}
	release, again := "helmproof collect --release shop -n "+ns, "helmproof drill --suite release --release shop -n "+ns

	// Drills alone do not say which release is meant.
	parts := ask()
	holds(parts["RSL-1"], "missing", "says which release is meant", release)
	holds(parts["CIS-1"], "missing", "no evidence from collector kubebench", "helmproof collect --cluster")

	collect("--release", "shop", "-n", ns, "--profile", "live")
	parts = ask()
	holds(parts["RSL-1"], "done", "pass", "")
	holds(parts["ADM-1"], "done", "warn: 1 warning", "") // it enforces restricted, and does not warn
	holds(parts["controllers/external-secrets"], "missing", "nothing in the evidence shows that it is there", "helmproof collect --cluster")
	holds(ask("--at", time.Now().Add(745*time.Hour).UTC().Format(time.RFC3339))["RSL-1"], "missing", "the limit is 744h", again)

	externalSecretsAtWork(t, c.Cluster, ns+"-secrets")
	collect("--cluster", "--kube-bench-image", benchImages(t, c), "--benchmark", "cis-1.12", "--config", config)
	parts = ask()
	holds(parts["controllers/external-secrets"], "done", "Deployment "+ns+"-secrets/operator has 1 of 1 pods Ready", "")
	holds(parts["CIS-1"], "missing", "fail", "helmproof collect --cluster") // the second node's first check fails
	holds(parts["CIS-2"], "missing", "fail", "helmproof collect --cluster") // so that the nodes differ
	if strings.Contains(parts["CIS-3"].Reason, "no evidence") {
		t.Errorf("%+v", parts["CIS-3"])
	}
	for what, p := range parts {
		t.Logf("%s: %s, %s", what, p.Outcome, p.Reason)
	}
}

// externalSecretsAtWork makes an ExternalSecret that is refreshed, its store and a pod
// that stands for the operator, on a simulated node.
func externalSecretsAtWork(t *testing.T, c *kube.Cluster, ns string) {
	t.Helper()
	installCRDs(t, c)
	labelled(t, c, ns, "")
	c.Apply(t, fmt.Sprintf(`
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db, namespace: %[1]s}
spec: {refreshInterval: 1h, secretStoreRef: {kind: SecretStore, name: vault}, target: {name: db}, data: [{secretKey: a, remoteRef: {key: a}}]}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: vault, namespace: %[1]s}
spec: {provider: {fake: {data: [{key: a, value: b}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: operator}}
  template:
    metadata: {labels: {app: operator}}
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
}
