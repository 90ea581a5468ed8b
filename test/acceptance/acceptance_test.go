// Package acceptance is the run that `make acceptance` does: a release is
// hardened, disturbed and proven on a real cluster with real controllers.
package acceptance

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

const variable = "HELMPROOF_ACCEPTANCE"

func TestMain(m *testing.M) {
	want := kube.TierC
	if os.Getenv(variable) == "" {
		want = kube.TierNone // the test says why it is skipped
	}
	kube.Main(m, want)
}

// The release, and its namespace.
const (
	release   = "shop"
	namespace = "shop"
)

// TestAcceptance goes from an empty cluster to a PASS of profile release. Each part
// needs those before it.
func TestAcceptance(t *testing.T) {
	if os.Getenv(variable) == "" {
		t.Skip(variable + " is not set: `make acceptance` builds the controllers and sets it")
	}
	r := newRun(t, kube.Start(t, kube.TierC), "acceptance")
	for _, part := range []struct {
		name string
		do   func(*run, *testing.T)
	}{
		{"controllers", (*run).installControllers},
		{"images", (*run).images},
		{"platform", (*run).installPlatform},
		{"service", (*run).installService},
		{"observed", (*run).observed},
		{"release", (*run).collectRelease},
		{"cluster", (*run).collectCluster},
		{"drills", (*run).drills},
		{"gate", (*run).gate},
		{"verify", (*run).verify},
	} {
		start := time.Now()
		ok := t.Run(part.name, func(t *testing.T) { part.do(r, t) })
		r.note("part %s took %.0f s", part.name, time.Since(start).Seconds())
		if !ok {
			r.kubectl(t, "get", "pods,events", "-A")
			t.FailNow()
		}
	}
}

// installControllers installs them, and waits until they are Ready.
func (r *run) installControllers(t *testing.T) {
	c := r.cluster
	// The simulated nodes run nothing that could be looked at.
	c.Kubectl(t, "delete", "nodes", "-l", "type=kwok")
	// The control plane's processes run beside node-a's.
	c.Kubectl(t, "label", "node", "node-a", "node-role.kubernetes.io/control-plane=")
	installAll(t, r, controllers...)
}

func installAll(t *testing.T, r *run, list ...controller) {
	t.Helper()
	for _, k := range list {
		k.install(t, r.cluster)
	}
	for _, k := range list {
		ns, name, _ := strings.Cut(k.deploy, "/")
		r.kubectl(t, "rollout", "status", "-n", ns, "--timeout=180s", "deployment/"+name)
	}
}

// installPlatform installs charts/platform, and what drills need.
func (r *run) installPlatform(t *testing.T) {
	r.install(t, "platform", "platform", true, "../../charts/platform", map[string]any{
		"namespaces": []any{map[string]any{"name": namespace, "labels": map[string]any{"helmproof.dev/drill": "allowed"}}},
		"imageSignatures": map[string]any{
			"enabled": true, "images": []any{registryAddress + "/shop/**"},
			"authorities": []any{map[string]any{"name": "team", "key": map[string]any{"data": r.publicKey}, "noLogReason": "signed where there is no network"}},
		},
		"secretStores": []any{map[string]any{
			"name": "store", "kind": "SecretStore", "namespace": namespace, "refreshInterval": 60,
			"fake": map[string]any{"testOnly": true, "data": []any{map[string]any{"key": "shop/database", "value": "made-up-for-the-test"}}},
		}},
	})
	r.cluster.Apply(t, string(rbac.Drill))
	r.kubectl(t, "get", "clusterimagepolicies,secretstores,validatingadmissionpolicybindings", "-A")
}

// installService installs charts/service.
func (r *run) installService(t *testing.T) {
	repository, digest, _ := strings.Cut(r.service, "@")
	values := map[string]any{
		"image": map[string]any{"repository": repository, "tag": "1", "digest": digest},
		"args":  []any{"serve", ":8080"}, "port": 8080, "partOf": "shop",
		"autoscaling":         map[string]any{"minReplicas": 3, "maxReplicas": 6},
		"verticalAutoscaling": map[string]any{"enabled": true},
		"resources": map[string]any{
			"requests": map[string]any{"cpu": "25m", "memory": "40Mi"},
			"limits":   map[string]any{"cpu": "500m", "memory": "96Mi"},
		},
		"shutdown": map[string]any{"preStopSleepSeconds": 3, "terminationGracePeriodSeconds": 10},
		"externalSecret": map[string]any{
			"enabled": true, "store": map[string]any{"name": "store"}, "refreshInterval": "1m",
			"env": []any{map[string]any{"name": "DATABASE_PASSWORD", "key": "shop/database"}},
		},
	}
	r.writeYAML(t, "values.yaml", values)
	r.install(t, namespace, release, false, "../../charts/service", values)
}

// observed waits until the controllers have seen the release, and shows what they did.
func (r *run) observed(t *testing.T) {
	c := r.cluster
	// A pod that is what the service's are, but for its signature.
	raw := c.Kubectl(t, "get", "pods", "-n", namespace, "-l", "app.kubernetes.io/instance="+release, "-o", "json")
	var list struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(raw), &list); err != nil || len(list.Items) == 0 {
		t.Fatalf("%v: %s", err, raw)
	}
	spec, ok := list.Items[0]["spec"].(map[string]any)
	if !ok {
		t.Fatal("a pod without spec")
	}
	delete(spec, "nodeName")
	container := spec["containers"].([]any)[0].(map[string]any)
	for code, image := range []string{r.service, r.unsigned} {
		container["image"] = image
		r.writeYAML(t, "pod.yaml", map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "one", "namespace": namespace}, "spec": spec})
		out := r.command(t, code, r.program("kubectl"), "create", "--dry-run=server", "-f", "pod.yaml")
		if code != 0 && (!strings.Contains(out, `admission webhook "policy.sigstore.dev" denied`) || !strings.Contains(out, "no signatures found")) {
			t.Errorf("refused for another reason: %s", out)
		}
	}
	says := func(want string, args ...string) func() bool {
		return func() bool {
			out, err := c.TryKubectl(t.Context(), "", append([]string{"get", "-n", namespace}, args...)...)
			return err == nil && (out == want || want == "" && out != "")
		}
	}
	kube.Eventually(t, time.Minute, "the Secret that the ExternalSecret asks for", says("bWFkZS11cC1mb3ItdGhlLXRlc3Q=", "secret", "shop-service", "-o", "jsonpath={.data.DATABASE_PASSWORD}"))
	kube.Eventually(t, 3*time.Minute, "the autoscaler to have metrics", says("True", "hpa", "shop-service", "-o", `jsonpath={.status.conditions[?(@.type=="ScalingActive")].status}`))
	kube.Eventually(t, 3*time.Minute, "a recommendation", says("", "vpa", "shop-service", "-o", "jsonpath={.status.recommendation.containerRecommendations[0].target}"))
	r.kubectl(t, "top", "nodes")
	r.kubectl(t, "top", "pods", "-n", namespace)
	r.kubectl(t, "get", "-n", namespace, "deployment,hpa,vpa,externalsecret,pdb,networkpolicy")
	r.kubectl(t, "get", "-n", namespace, "vpa", "shop-service", "-o", "jsonpath={.status.recommendation}{'\\n'}")
}

// collectRelease collects evidence about the release, and about the chart that it was
// installed from.
func (r *run) collectRelease(t *testing.T) {
	r.helmproof(t, 0, "db", "update", "--db", "osv", "--ecosystem", "Go", "--source", "file://"+r.file("published"))
	// Helm stores no subcharts: three controls are answered by the chart itself.
	out := r.helmproof(t, 3, "collect", "--release", release, "-n", namespace, "--scan", "osv", "--db", "osv", "--resolve",
		"--registry-allow", registryAddress+"/shop", "--signature-policy", "signers.yaml", "--plain-http")
	if !regexp.MustCompile(`INCOMPLETE  bundle [0-9a-f]+  3 unchecked, \d+ pass, 4 n/a`).MatchString(out) {
		t.Errorf("more than CHT-1, CHT-2 and CHT-5 is unchecked")
	}
	r.helmproof(t, 0, "collect", "../../charts/service", "-n", namespace, "--release-name", release, "-f", "values.yaml", "--kube-version", "1.37")
	r.helmproof(t, 0, "forecast", "--release", release, "-n", namespace)
}

// recordedBench stands in for kube-bench, which cannot be built from Go modules
// alone: it prints what is recorded for the benchmark and its targets.
const recordedBench = `#!/bin/sh
exec cat "/recorded/$4-$6.json"
`

// waivers say who judged what kube-bench leaves to people.
const waivers = `waivers:
  - control: CIS-1
    target: {rule: kubebench/policies}
    reason: What the policies ask for is what groups ADM and SEC check; the rest was read through by hand.
    approvedBy: Ada Lovelace, platform security
    expiresAt: %s
`

// collectCluster collects evidence about the cluster.
func (r *run) collectCluster(t *testing.T) {
	box := r.cluster.Busybox()
	if box == "" {
		t.Fatal("no static busybox: `make kube` fetches it")
	}
	files := map[string][]byte{"usr/local/bin/kube-bench": []byte(recordedBench)}
	for _, targets := range [][]string{{"node"}, {"controlplane", "etcd", "master", "node"}} {
		files["recorded/cis-1.12-"+strings.Join(targets, ",")+".json"] = benchtest.Output("cis-1.12", "PASS", 25, targets...)
	}
	digest, err := r.cluster.PinImage(t.Context(), kube.Image{
		Ref: "cluster.test/kube-bench:recorded", Binary: box, User: "0:0", Files: files,
		Applets: []string{"sh", "cat", "head", "gzip", "base64", "sha256sum", "wc", "tr"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.note("The one stand-in of this run: the image of kube-bench prints a recorded result, in which every check passes.")
	r.write(t, "waivers.yaml", fmt.Appendf(nil, waivers, time.Now().AddDate(0, 1, 0).UTC().Format(time.DateOnly)))
	r.helmproof(t, 0, "collect", "--cluster", "--unsigned-image", r.unsigned, "--unsigned-namespace", namespace,
		"--kube-bench-image", "cluster.test/kube-bench@"+digest, "--waivers", "waivers.yaml")
}

// drills runs the suite. A load drill whose generator had no processor to itself says
// so, and is repeated.
func (r *run) drills(t *testing.T) {
	on := []string{
		"--release", release, "-n", namespace, "--prober-image", r.prober, "--before", "5s", "--after", "5s", "--max-percent", "70", "--yes",
		// A drain moves the controllers too, and two of three pods where two are on the node.
		"--allow-namespace", "shop,kube-system,external-secrets,cosign-system",
	}
	load := []string{"--load-rate", "20", "--ramp", "5s", "--hold", "40s"}
	// An image that nobody signed would be refused before it could fail.
	out := r.helmproof(t, -1, append(append([]string{"drill", "--suite", "release", "--fault", "failing-readiness", "--detect", "60s"}, on...), load...)...)
	for range 3 {
		if !strings.Contains(out, "were not sustained by the generator") {
			break
		}
		r.note("This machine had too little time for the generator: the load drill is repeated.")
		out = r.helmproof(t, -1, append(append([]string{"drill", "load"}, on...), load...)...)
	}
	r.helmproof(t, 0, "list")
}

// gate decides, once without one of the drills. What is optional does not count.
func (r *run) gate(t *testing.T) {
	args := []string{"gate", "--release", release, "-n", namespace, "--profile", "release", "--registry-allow", registryAddress + "/shop", "--signature-policy", "signers.yaml"}
	r.without(t, "drill-rollback", "without-rollback")
	out := r.helmproof(t, 3, append(args, "--repo", "without-rollback")...)
	if unmet := regexp.MustCompile(`(?m)(?:INCOMPLETE|FAIL) +[A-Z]{3}-\d [^(\n]*$`).FindAllString(out, -1); len(unmet) != 1 || !strings.HasPrefix(unmet[0], "INCOMPLETE RSL-3") {
		t.Errorf("without a rollback drill %q do not hold, want RSL-3 alone", unmet)
	}
	r.helmproof(t, 0, append(args, "--seal")...)
}

// pointer is what list says of a bundle.
type pointer struct{ Bundle, Scope, Profile string }

func (r *run) list(t *testing.T) []pointer {
	t.Helper()
	var doc struct{ Bundles []pointer }
	cmd := r.cmd(t, filepath.Join(r.bin, "helmproof"), "list", "-o", "json")
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &doc)
	}
	if err != nil {
		t.Fatalf("helmproof list: %v: %s", err, out)
	}
	return doc.Bundles
}

// without copies the repository, but for the bundles of a profile.
func (r *run) without(t *testing.T, profile, to string) {
	t.Helper()
	if err := os.CopyFS(r.file(to), os.DirFS(r.file("evidence"))); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.list(t) {
		if p.Profile != profile {
			continue
		}
		id := strings.TrimPrefix(p.Bundle, "sha256:")
		err := filepath.WalkDir(r.file(to), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.Contains(d.Name(), id) {
				return err
			}
			if err := os.RemoveAll(path); err != nil || !d.IsDir() {
				return err
			}
			return fs.SkipDir
		})
		if err != nil {
			t.Fatal(err)
		}
		r.note("repository %s is a copy without %s", to, p.Bundle)
	}
}

// verify verifies every bundle, and writes their PDFs.
func (r *run) verify(t *testing.T) {
	r.helmproof(t, 0, "verify")
	if err := os.MkdirAll(r.file("pdf"), 0o755); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range r.list(t) { // newest first
		name := p.Profile
		if p.Scope == "composed" {
			name = "gate-" + name
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		r.helmproof(t, 0, "report", strings.TrimPrefix(p.Bundle, "sha256:")[:12], "--format", "pdf", "-o", filepath.Join("pdf", name+".pdf"))
	}
	r.helmproof(t, 0, "list")
}
