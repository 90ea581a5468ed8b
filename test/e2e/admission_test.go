package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

// finding is what the tests read of a finding.
type finding struct {
	Rule, Outcome, Message string
	Controls               []string
	Target                 struct{ Kind, Name string }
}

type checked struct {
	Releases []struct {
		Error    string
		Findings []finding
		Runs     []struct{ Collector, Outcome, Error string }
	}
}

// check runs `helmproof check` with the arguments and returns the one release of
// its JSON document.
func check(t *testing.T, kubeconfig, stdin string, args ...string) (found []finding, runErrors map[string]string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), helmproof(t), append([]string{"check", "-o", "json", "--kubeconfig", kubeconfig}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
		t.Fatalf("helmproof check %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	var doc checked
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil || len(doc.Releases) != 1 {
		t.Fatalf("helmproof check printed %d releases, %v: %s", len(doc.Releases), err, stdout.String())
	}
	runErrors = map[string]string{}
	for _, r := range doc.Releases[0].Runs {
		if r.Outcome != "pass" {
			runErrors[r.Collector] = r.Error
		}
	}
	return doc.Releases[0].Findings, runErrors
}

// expect finds a finding of the rule about that object whose message says all of it.
func expect(t *testing.T, found []finding, rule, outcome, about string, saying ...string) {
	t.Helper()
	var seen []string
	for _, f := range found {
		if f.Rule != rule {
			continue
		}
		seen = append(seen, fmt.Sprintf("%s %s %s: %s", f.Outcome, f.Target.Kind, f.Target.Name, f.Message))
		if f.Outcome == outcome && f.Target.Kind+" "+f.Target.Name == about && !slices.ContainsFunc(saying, func(s string) bool { return !strings.Contains(f.Message, s) }) {
			return
		}
	}
	t.Errorf("no finding of %s is %s about %s and says %q; there are:\n%s", rule, outcome, about, saying, strings.Join(seen, "\n"))
}

// outcomes counts the findings of a rule.
func outcomes(found []finding, rule string) map[string]int {
	out := map[string]int{}
	for _, f := range found {
		if f.Rule == rule {
			out[f.Outcome]++
		}
	}
	return out
}

// labelled makes a namespace with the given Pod Security labels ("enforce=restricted warn=baseline").
func labelled(t *testing.T, c *kube.Cluster, name, labels string) {
	t.Helper()
	var b strings.Builder
	for _, l := range strings.Fields(labels) {
		key, value, _ := strings.Cut(l, "=")
		fmt.Fprintf(&b, "pod-security.kubernetes.io/%s: %s, ", key, value)
	}
	c.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {%s}}\n", name, strings.TrimSuffix(b.String(), ", ")))
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	kube.Eventually(t, 30*time.Second, "the service account of "+name, func() bool {
		_, err := c.TryKubectl(t.Context(), "", "get", "serviceaccount", "default", "-n", name)
		return err == nil
	})
}

const goodWorkload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: good}
spec:
  replicas: 2
  selector: {matchLabels: {app: good}}
  template:
    metadata: {labels: {app: good}}
    spec:
      serviceAccountName: good
      securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
      containers:
        - {name: app, image: registry.example.com/app:1, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: good}
`

const badWorkload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: bad}
spec:
  selector: {matchLabels: {app: bad}}
  template:
    metadata: {labels: {app: bad}}
    spec:
      hostNetwork: true
      containers: [{name: app, image: registry.example.com/app:1}]
`

// TestAdmission is what the cluster says of releases in namespaces that are
// set up well and badly.
func TestAdmission(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	t.Run("restricted", func(t *testing.T) {
		t.Parallel()
		labelled(t, c, "adm-restricted", "enforce=restricted warn=restricted audit=restricted")
		found, failed := check(t, c.Kubeconfig, goodWorkload, "--manifests", "-", "-n", "adm-restricted")
		if len(failed) > 0 {
			t.Fatalf("collectors failed: %v", failed)
		}
		expect(t, found, "admission/namespace-enforces", "pass", "Namespace adm-restricted", "enforces restricted at the latest version")
		expect(t, found, "admission/dry-run-object", "pass", "Deployment good")
		expect(t, found, "admission/dry-run-object", "pass", "ServiceAccount good")
		expect(t, found, "admission/dry-run-pod", "pass", "Deployment good", "with the account default in the place of good")
		expect(t, found, "admission/dry-run-live-pods", "not-applicable", "Namespace adm-restricted", "no pods run")
		if got := outcomes(found, "admission/negative-probe"); got["pass"] != 9 || len(got) != 1 {
			t.Errorf("negative probes: %v, want 9 that pass", got)
			expect(t, found, "admission/negative-probe", "pass", "")
		}
	})
	t.Run("unlabelled", func(t *testing.T) {
		t.Parallel()
		labelled(t, c, "adm-unlabelled", "")
		found, _ := check(t, c.Kubeconfig, badWorkload, "--manifests", "-", "-n", "adm-unlabelled")
		expect(t, found, "admission/namespace-enforces", "fail", "Namespace adm-unlabelled", "has no label")
		expect(t, found, "admission/dry-run-pod", "pass", "Deployment bad")
		expect(t, found, "admission/negative-probe", "fail", "Namespace adm-unlabelled", "(privileged) is accepted")
		if got := outcomes(found, "admission/negative-probe"); got["fail"] != 9 {
			t.Errorf("negative probes: %v, want 9 that fail", got)
		}
	})
	t.Run("warns only", func(t *testing.T) {
		t.Parallel()
		labelled(t, c, "adm-warn", "warn=restricted")
		found, _ := check(t, c.Kubeconfig, badWorkload, "--manifests", "-", "-n", "adm-warn")
		expect(t, found, "admission/namespace-enforces", "fail", "Namespace adm-warn", "only warns and audits")
		expect(t, found, "admission/dry-run-object", "fail", "Deployment bad", "met with a warning", `would violate PodSecurity "restricted:latest"`)
	})
	t.Run("accepted silently, and no pod", func(t *testing.T) {
		t.Parallel()
		labelled(t, c, "adm-silent", "enforce=restricted warn=privileged audit=privileged")
		found, _ := check(t, c.Kubeconfig, badWorkload, "--manifests", "-", "-n", "adm-silent")
		expect(t, found, "admission/namespace-enforces", "warn", "Namespace adm-silent", "does not warn")
		expect(t, found, "admission/dry-run-object", "pass", "Deployment bad")
		expect(t, found, "admission/dry-run-pod", "fail", "Deployment bad", `is refused`, `violates PodSecurity "restricted:latest": host namespaces`)
	})
	t.Run("baseline, an unknown kind, a namespace of another version", func(t *testing.T) {
		t.Parallel()
		labelled(t, c, "adm-baseline", "enforce=baseline")
		found, _ := check(t, c.Kubeconfig, "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: t}\n", "--manifests", "-", "-n", "adm-baseline")
		expect(t, found, "admission/namespace-enforces", "fail", "Namespace adm-baseline", "enforces baseline, not restricted")
		expect(t, found, "admission/dry-run-object", "not-checked", "Thing t", "does not serve example.com/v1 Thing")
		// Refused by baseline, which is not the standard that was asked for.
		expect(t, found, "admission/negative-probe", "not-checked", "Namespace adm-baseline", "probe privileged is refused for another reason")
		expect(t, found, "admission/negative-probe", "fail", "Namespace adm-baseline", "(seccomp) is accepted")
	})
	t.Run("no namespace", func(t *testing.T) {
		t.Parallel()
		found, _ := check(t, c.Kubeconfig, goodWorkload, "--manifests", "-", "-n", "adm-nowhere")
		expect(t, found, "admission/namespace-enforces", "not-checked", "Namespace adm-nowhere", "not in the cluster")
		expect(t, found, "admission/dry-run-pod", "not-checked", "Deployment good", "cannot be tried yet")
		if got := outcomes(found, "admission/negative-probe"); got["not-checked"] != 9 {
			t.Errorf("negative probes: %v, want 9 not checked", got)
		}
	})
	t.Run("a quota refuses everything", func(t *testing.T) {
		t.Parallel()
		labelled(t, c, "adm-quota", "")
		c.Apply(t, "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: none, namespace: adm-quota}\nspec: {hard: {pods: 0}}\n")
		kube.Eventually(t, 30*time.Second, "the quota's status", func() bool {
			out, err := c.TryKubectl(t.Context(), "", "get", "resourcequota", "none", "-n", "adm-quota", "-o", "jsonpath={.status.hard.pods}")
			return err == nil && out == "0"
		})
		found, _ := check(t, c.Kubeconfig, goodWorkload, "--manifests", "-", "-n", "adm-quota")
		expect(t, found, "admission/negative-probe", "not-checked", "Namespace adm-quota", "for another reason", "exceeded quota")
		expect(t, found, "admission/dry-run-pod", "fail", "Deployment good", "exceeded quota")
	})
	t.Run("an exempt user", func(t *testing.T) {
		t.Parallel()
		labelled(t, c, "exempt", "enforce=restricted warn=restricted")
		c.Apply(t, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: exempt, namespace: exempt}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: adm-exempt}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: exempt, namespace: exempt}]
`)
		t.Cleanup(func() {
			if _, err := c.TryKubectl(context.Background(), "", "delete", "clusterrolebinding", "adm-exempt"); err != nil {
				t.Error(err)
			}
		})
		found, _ := check(t, kubeconfigOf(t, c, "exempt", "exempt"), badWorkload, "--manifests", "-", "-n", "exempt")
		expect(t, found, "admission/namespace-enforces", "pass", "Namespace exempt")
		expect(t, found, "admission/negative-probe", "fail", "Namespace exempt", "(privileged) is accepted")
	})
	t.Run("without rights", func(t *testing.T) {
		t.Parallel()
		labelled(t, c, "adm-rights", "enforce=restricted warn=restricted")
		c.Apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: adm-identify}
rules: [{apiGroups: [""], resources: [namespaces], resourceNames: [kube-system], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: adm-identify}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: adm-identify}
subjects: [{kind: ServiceAccount, name: default, namespace: adm-rights}]
`)
		t.Cleanup(func() {
			_, err := c.TryKubectl(context.Background(), "", "delete", "clusterrole,clusterrolebinding", "adm-identify")
			if err != nil {
				t.Error(err)
			}
		})
		found, _ := check(t, kubeconfigOf(t, c, "adm-rights", "default"), goodWorkload, "--manifests", "-", "-n", "adm-rights")
		n := 0
		for _, f := range found {
			if !strings.HasPrefix(f.Rule, "admission/") {
				continue
			}
			n++
			if f.Outcome != "not-checked" {
				t.Errorf("without rights %s is %s: %s", f.Rule, f.Outcome, f.Message)
			}
		}
		if n < 10 {
			t.Errorf("%d findings of admission", n)
		}
		expect(t, found, "admission/negative-probe", "not-checked", "Namespace adm-rights", "may not ask", `cannot create resource "pods"`)
	})
}

// kubeconfigOf writes a kubeconfig for a service account.
func kubeconfigOf(t *testing.T, c *kube.Cluster, namespace, account string) string {
	t.Helper()
	token := strings.TrimSpace(c.Kubectl(t, "create", "token", account, "-n", namespace))
	raw := c.Kubectl(t, "config", "view", "--raw", "-o", "json")
	var cfg map[string]any
	if err := json.Unmarshal([]byte(raw), &cfg); err != nil {
		t.Fatal(err)
	}
	users, ok := cfg["users"].([]any)
	if !ok || len(users) != 1 {
		t.Fatalf("users of the kubeconfig: %v", cfg["users"])
	}
	users[0].(map[string]any)["user"] = map[string]any{"token": token}
	out, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestAdmissionLivePods: every pod is judged, however many there are.
func TestAdmissionLivePods(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	labelled(t, c, "adm-live", "")
	const tolerate = "tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]\n      nodeSelector: {type: kwok}"
	for name, n := range map[string]int{"good": 500, "bad": 500} {
		text := strings.Replace(goodWorkload, "serviceAccountName: good", tolerate, 1)
		if name == "bad" {
			text = strings.Replace(badWorkload, "hostNetwork: true", "hostPID: true\n      "+tolerate, 1)
		}
		text = strings.Replace(text, "spec:\n", fmt.Sprintf("spec:\n  replicas: %d\n", n), 1)
		text = strings.Replace(text, "  replicas: 2\n", "", 1)
		c.Apply(t, strings.ReplaceAll(text, "metadata: {name: ", "metadata: {namespace: adm-live, name: "))
	}
	kube.Eventually(t, 3*time.Minute, "1000 pods", func() bool {
		out, err := c.TryKubectl(t.Context(), "", "get", "deployments", "-n", "adm-live", "-o", "jsonpath={.items[*].status.replicas}")
		return err == nil && (out == "500 500")
	})
	began := time.Now()
	found, _ := check(t, c.Kubeconfig, goodWorkload, "--manifests", "-", "-n", "adm-live")
	t.Logf("1000 pods judged, with all else, in %.1f s", time.Since(began).Seconds())
	bad := 0
	for _, f := range found {
		if f.Rule == "admission/dry-run-live-pods" && f.Target.Kind == "Pod" {
			bad++
			if f.Outcome != "fail" || !strings.HasPrefix(f.Target.Name, "bad-") || !strings.Contains(f.Message, "and 499 like it") || !strings.Contains(f.Message, "hostPID=true") {
				t.Errorf("%s %s: %s", f.Outcome, f.Target.Name, f.Message)
			}
		}
	}
	if bad != 1 {
		t.Errorf("%d findings about live pods, want one about the 500 bad ones", bad)
	}
	expect(t, found, "admission/dry-run-live-pods", "fail", "Namespace adm-live", "the API server warns")
}

func clusterUID(t *testing.T, c *kube.Cluster) string {
	return c.Kubectl(t, "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
}

// TestPoliciesInForce: the cluster is asked for the policies that releases are judged by.
func TestPoliciesInForce(t *testing.T) {
	c := kube.Start(t, kube.TierB) // not parallel: some of the policies are bound everywhere
	files, err := filepath.Glob("../../templates/policies/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("policies: %v, %v", files, err)
	}
	var names []string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := "helmproof-" + strings.TrimSuffix(filepath.Base(f), ".yaml")
		text := string(raw)
		switch name {
		case "helmproof-seccomp":
			continue // not installed
		case "helmproof-read-only-root":
			text = strings.Replace(text, "validationActions: [Deny]", "validationActions: [Audit]", 1)
		case "helmproof-image-digest":
			text = strings.Replace(text, "failurePolicy: Fail", "failurePolicy: Ignore", 1)
		}
		// They bind only here: other tests are not to be refused.
		text = strings.Replace(text, "  validationActions:", "  matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: adm-policies}}}\n  validationActions:", 1)
		if name == "helmproof-hpa-bounds" || name == "helmproof-vpa-recommend-only" {
			text = string(raw) // bound everywhere
		}
		c.Apply(t, text)
		names = append(names, name)
	}
	t.Cleanup(func() {
		for _, kind := range []string{"validatingadmissionpolicybinding", "validatingadmissionpolicy"} {
			if _, err := c.TryKubectl(context.Background(), "", append([]string{"delete", kind, "--ignore-not-found"}, names...)...); err != nil {
				t.Error(err)
			}
		}
	})
	kube.Eventually(t, time.Minute, "the type checks", func() bool {
		out, err := c.TryKubectl(t.Context(), "", "get", "validatingadmissionpolicy", "helmproof-hpa-bounds", "-o", "jsonpath={.status.observedGeneration}")
		return err == nil && out != ""
	})
	profile := filepath.Join(t.TempDir(), "admission.yaml")
	if err := os.WriteFile(profile, []byte("name: admission\ntitle: Admission\nscope: cluster\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: ADM-4}, {id: ADM-5}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, failed := check(t, c.Kubeconfig, "", "--cluster", "--profile", profile)
	if len(failed) > 0 {
		t.Fatalf("collectors failed: %v", failed)
	}
	const rule, kind = "admission/policies-in-force", "ValidatingAdmissionPolicy "
	expect(t, found, rule, "pass", kind+"helmproof-hpa-bounds", "bound with Deny by helmproof-hpa-bounds")
	expect(t, found, rule, "fail", kind+"helmproof-seccomp", "is not in the cluster")
	expect(t, found, rule, "fail", kind+"helmproof-read-only-root", "no binding denies")
	expect(t, found, rule, "fail", kind+"helmproof-image-digest", "its failurePolicy differ")
	expect(t, found, rule, "warn", kind+"helmproof-resource-limits", "in force only where binding helmproof-resource-limits selects")
	expect(t, found, "admission/signature", "fail", "Cluster "+clusterUID(t, c), "nothing can verify signatures")
	if got := outcomes(found, rule); got["error"]+got["not-checked"] > 0 {
		t.Errorf("policies by outcome: %v", got)
	}
}

// TestAdmissionServerKilled: an API server that dies in the middle of the
// questions leaves what it did not answer unchecked, and nothing behind.
func TestAdmissionServerKilled(t *testing.T) {
	c := kube.Start(t, kube.TierB) // not parallel: it is everybody's API server
	labelled(t, c, "adm-killed", "enforce=restricted warn=restricted")
	before := c.Kubectl(t, "get", "all,configmaps,serviceaccounts", "-n", "adm-killed", "-o", "name")
	const objects = 3000
	var manifests strings.Builder
	for i := range objects {
		fmt.Fprintf(&manifests, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\n", i)
	}
	profile := filepath.Join(t.TempDir(), "admission.yaml")
	if err := os.WriteFile(profile, []byte("name: admission\ntitle: Admission\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: ADM-1}, {id: ADM-2}, {id: ADM-3}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), helmproof(t), "check", "-o", "json", "--profile", profile, "--kubeconfig", c.Kubeconfig, "-n", "adm-killed", "--manifests", "-")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(manifests.String()), &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Wait until dry-runs arrive, as the API server counts them.
	kube.Eventually(t, 30*time.Second, "dry-runs", func() bool {
		out, err := c.TryKubectl(t.Context(), "", "get", "--raw", "/metrics")
		return err == nil && strings.Contains(out, `apiserver_request_total{code="201",component="apiserver",dry_run="All"`)
	})
	if err := c.Kill("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	err := cmd.Wait()
	if restarted := errors.Join(c.Restart("kube-apiserver"), c.Ready(t.Context())); restarted != nil {
		t.Fatal(restarted)
	}
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("helmproof check: %v\n%s", err, stderr.String())
	}
	var doc checked
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil || len(doc.Releases) != 1 {
		t.Fatalf("%v: %s", err, stdout.String())
	}
	got := outcomes(doc.Releases[0].Findings, "admission/dry-run-object")
	if got["pass"] == 0 || got["not-checked"] == 0 || got["pass"]+got["not-checked"] != objects {
		t.Errorf("%d objects by outcome: %v; want some that pass, the rest not checked", objects, got)
	}
	expect(t, doc.Releases[0].Findings, "admission/negative-probe", "not-checked", "Namespace adm-killed", "no answer")
	kube.Eventually(t, time.Minute, "the namespace as it was", func() bool {
		after, err := c.TryKubectl(t.Context(), "", "get", "all,configmaps,serviceaccounts", "-n", "adm-killed", "-o", "name")
		return err == nil && after == before
	})
}

// TestAdmissionRights: the rights that are shipped are enough to ask everything,
// and let nothing be done.
func TestAdmissionRights(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierB)
	installCRDs(t, c)
	// In a namespace of its own: other tests have the one that is shipped.
	c.Apply(t, strings.NewReplacer("name: helmproof\n", "name: adm-account\n", "namespace: helmproof\n", "namespace: adm-account\n",
		"serviceaccount:helmproof:", "serviceaccount:adm-account:").Replace(string(rbac.Admission)))
	labelled(t, c, "adm-shipped", "enforce=restricted warn=restricted audit=restricted")
	kubeconfig := kubeconfigOf(t, c, "adm-account", "helmproof-admission")
	// A policy is in force a moment after it is created.
	refused := func() error {
		_, err := c.TryKubectl(t.Context(), "", "--kubeconfig", kubeconfig, "create", "configmap", "real", "-n", "adm-shipped")
		if err == nil {
			c.Kubectl(t, "delete", "configmap", "real", "-n", "adm-shipped")
		}
		return err
	}
	kube.Eventually(t, 30*time.Second, "the policy", func() bool { return refused() != nil })
	if err := refused(); err == nil || !strings.Contains(err.Error(), "may only ask, in dry-runs") {
		t.Errorf("creating a ConfigMap for real: %v, want it refused by the policy", err)
	}
	profile := filepath.Join(t.TempDir(), "admission.yaml")
	if err := os.WriteFile(profile, []byte("name: admission\ntitle: Admission\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: ADM-1}, {id: ADM-2}, {id: ADM-3}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, failed := check(t, kubeconfig, "", "../../charts/service", "-f", "../../charts/service/examples/full.yaml", "--set", "priorityClassName=", "-n", "adm-shipped", "--profile", profile)
	if len(failed) > 0 {
		t.Fatalf("collectors failed: %v", failed)
	}
	for _, f := range found {
		if strings.HasPrefix(f.Rule, "admission/") && f.Outcome != "pass" && f.Outcome != "not-applicable" {
			t.Errorf("%s %s %s %s: %s", f.Rule, f.Outcome, f.Target.Kind, f.Target.Name, f.Message)
		}
	}
	// What the account may not ask about is not checked.
	found, _ = check(t, kubeconfig, "apiVersion: v1\nkind: LimitRange\nmetadata: {name: l}\nspec: {limits: []}\n", "--manifests", "-", "-n", "adm-shipped")
	expect(t, found, "admission/dry-run-object", "not-checked", "LimitRange l", "may not ask", `cannot patch resource "limitranges"`)
}
