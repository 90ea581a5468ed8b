package acceptance

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/test/kube"
)

// engine is a controller that judges images, in a namespace of its own.
type engine struct {
	name       string // of the namespace, and of the images' repositories
	controller controller
	chart      string // what charts/platform calls it
	attach     string // what attach policy calls it
	label      string // that its namespace needs
	bundle     string // whether signatures are Sigstore bundles, as verdicts are
	refusals   map[string]string
	debugged   string // why a debug container is refused
	labelled   string // why a label is refused on a pod whose verdict is too old by now
}

// Why images are refused.
const (
	notSigned  = "not signed by the key"
	notJudged  = "no verdict that is signed by the key"
	notPassed  = "a verdict that is not PASSED"
	tooOld     = "a verdict that is too old"
	wrongForm  = "signed in a form that the engine does not look for beside bundles"
	isAdmitted = ""
)

var engines = []engine{
	{
		name: "by-policy-controller", controller: policyController, chart: "policy-controller", attach: "sigstore",
		label: "policy.sigstore.dev/include=true", bundle: "false",
		refusals: map[string]string{
			notSigned: `failed policy: signed: .*no (matching )?signatures`,
			notJudged: `failed policy: verdict: .*no matching attestations`,
			notPassed: `failed policy: verdict: .*policy is not compliant`,
			tooOld:    `failed policy: verdict: .*policy is not compliant`,
		},
		debugged: notSigned, labelled: tooOld,
	},
	{
		name: "by-kyverno", controller: kyverno, chart: "kyverno", attach: "kyverno",
		label: "helmproof.companyos.github.io/policies=enforced", bundle: "true",
		refusals: map[string]string{
			notSigned: `Policy signed failed: an image is not signed by anyone of signed`,
			notJudged: `Policy verdict failed: an image has no verdict of helmproof that is signed with the key`,
			notPassed: `Policy verdict failed: helmproof's verdict about an image is not PASSED`,
			tooOld:    `Policy verdict failed: helmproof's verdict about an image is older than (168h|1ns)`,
			// Once a bundle refers to an image, Kyverno looks for no signature under a tag.
			wrongForm: `Policy signed failed: an image is not signed by anyone of signed`,
		},
		debugged: notSigned, labelled: isAdmitted,
	},
}

// judged are images, each with who signed it, and what verdict there is about it.
var judged = []struct {
	name, signer string
	verdict      string // pass or fail: of helmproof; stale: a passed one of eight days ago
	by           string // key of the verdict
	why          string // it is refused; empty: it is not
}{
	{"right", "release", "pass", "team", isAdmitted},
	{"unsigned", "", "pass", "team", notSigned},
	{"signed-by-others", "other", "pass", "team", notSigned},
	{"no-verdict", "release", "", "", notJudged},
	{"verdict-by-others", "release", "pass", "other", notJudged},
	{"failed", "release", "fail", "team", notPassed},
	{"stale", "release", "stale", "team", tooOld},
}

const judgedBy = "name: token\ntitle: No token\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols:\n  - {id: SEC-6}\n"

// TestImagePolicies has the real policy-controller and the real Kyverno judge images by
// the policies of charts/platform, and by those that `helmproof attach policy` prints.
func TestImagePolicies(t *testing.T) {
	if os.Getenv(variable) == "" {
		t.Skip(variable + " is not set: `make acceptance` builds the controllers and sets it")
	}
	r := newRun(t, kube.Start(t, kube.TierC), "image-policies")
	r.cluster.Kubectl(t, "delete", "nodes", "-l", "type=kwok")
	installAll(t, r, policyController, kyverno)
	serveRegistry(t)
	r.judge(t)
	for _, e := range engines {
		t.Run(e.chart, func(t *testing.T) { r.enforce(t, e) })
	}
}

// image is where one of the judged images is.
func (e engine) image(name string) string { return registryAddress + "/" + e.name + "/" + name }

// judge pushes an image for each row and engine, signs it, and attaches its verdict.
func (r *run) judge(t *testing.T) {
	for _, key := range []string{"release", "team", "other"} {
		r.helmproof(t, 0, "keygen", key)
	}
	r.write(t, "helmproof.yaml", []byte("repo: evidence\nkey: team.key\ntrust: [team.pub]\n"))
	r.write(t, "profile.yaml", []byte(judgedBy))
	pods := map[string]string{}
	digest := ""
	for _, e := range engines {
		for _, i := range judged {
			ref := r.push(t, kube.Image{Ref: e.image(i.name) + ":1", Binary: r.cluster.TestPod(), Args: []string{"wait"}})
			_, digest, _ = strings.Cut(ref, "@")
			if i.signer != "" {
				r.sign(t, i.signer, e.bundle, ref)
			}
			if i.by == "team" && i.verdict != "stale" {
				pods[i.verdict] += fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s-%s}\nspec: {automountServiceAccountToken: %t, containers: [{name: c, image: %q}]}\n", e.name, i.name, i.verdict == "fail", ref)
			}
		}
	}
	for verdict, code := range map[string]int{"pass": 0, "fail": 3} {
		r.write(t, verdict+"/Chart.yaml", []byte("apiVersion: v2\nname: "+verdict+"\nversion: 1.0.0\n"))
		r.write(t, verdict+"/templates/pods.yaml", []byte(pods[verdict]))
		r.helmproof(t, code, "collect", "./"+verdict, "--profile", "profile.yaml")
		r.helmproof(t, 0, "attach", "latest", "--plain-http", "--att-tag")
	}
	for _, e := range engines {
		for _, i := range judged {
			age := time.Duration(0)
			if i.verdict == "stale" {
				age = 8 * 24 * time.Hour
			} else if i.by != "other" {
				continue
			}
			r.attest(t, i.by, age, e.bundle, e.image(i.name)+"@"+digest)
		}
	}
	// What a debug session brings: signed by nobody, judged by nobody.
	for _, e := range engines {
		r.push(t, kube.Image{Ref: e.image("debug") + ":1", Binary: r.cluster.TestPod(), Args: []string{"wait"}})
	}
}

// sign signs an image.
func (r *run) sign(t *testing.T, key, bundle, image string) {
	t.Helper()
	r.cosign(t, "sign", "--key", key+".key", "--yes", "--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format="+bundle, image)
}

// attest attaches the verdict that passed, as if it were of another age, signed with a key.
func (r *run) attest(t *testing.T, key string, age time.Duration, bundle, image string) {
	t.Helper()
	files, err := filepath.Glob(r.file("evidence/bundles/*/verdict.vsa.sigstore.json"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%d verdicts, %v", len(files), err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		st, err := attest.Peek(raw)
		if err != nil {
			t.Fatal(err)
		}
		var p map[string]any
		if err := json.Unmarshal(st.Predicate, &p); err != nil {
			t.Fatal(err)
		}
		if p["verificationResult"] != "PASSED" {
			continue
		}
		p["timeVerified"] = time.Now().Add(-age).UTC().Format(time.RFC3339Nano)
		if raw, err = json.Marshal(p); err != nil {
			t.Fatal(err)
		}
		r.write(t, "predicate.json", raw)
	}
	r.cosign(t, "attest", "--key", key+".key", "--yes", "--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format="+bundle, "--type", attest.VSAType, "--predicate", "predicate.json", image)
}

// enforce applies both policies of an engine, and creates pods.
func (r *run) enforce(t *testing.T, e engine) {
	c := r.cluster
	c.Kubectl(t, "create", "namespace", e.name)
	c.Kubectl(t, "label", "namespace", e.name, e.label)
	digest := "@" + r.digest(t, e)
	pod := func(title, image string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\nspec: {automountServiceAccountToken: false, containers: [{name: c, image: %q, imagePullPolicy: Never}]}\n", title, e.name, image)
	}
	// tried is what the API server says: empty where it does not refuse.
	tried := func(manifest string, args ...string) string {
		if _, err := c.TryKubectl(t.Context(), manifest, args...); err != nil {
			return err.Error()
		}
		return ""
	}
	refused := func(why, got string) bool { return regexp.MustCompile("(?s)" + e.refusals[why]).MatchString(got) }
	expect := func(t *testing.T, why, got string) {
		t.Helper()
		r.note("%s: %s", t.Name(), got)
		if (why == isAdmitted) != (got == "") || !refused(why, got) {
			t.Errorf("want %q, got %q", why, got)
		}
	}
	// until waits for a policy.
	until := func(why, image string) {
		t.Helper()
		last := ""
		defer func() {
			if t.Failed() {
				t.Logf("the last answer: %s", last)
			}
		}()
		kube.Eventually(t, 30*time.Second, "the policy that refuses "+image+": "+why, func() bool {
			last = tried(pod("first", e.image(image)+digest), "create", "--dry-run=server", "-f", "-")
			return refused(why, last)
		})
	}

	key, err := os.ReadFile(r.file("release.pub"))
	if err != nil {
		t.Fatal(err)
	}
	r.platform(t, e, string(key))
	attachPolicy := func(more ...string) string {
		return r.helmproof(t, 0, append([]string{"attach", "policy", "--engine", e.attach, "--name", "verdict", "--key", "team.pub", "--glob", e.image("**"), "--verdict-profile", "profile.yaml"}, more...)...)
	}
	c.Apply(t, attachPolicy())
	until(notSigned, "unsigned")
	until(notJudged, "no-verdict")
	for _, i := range judged {
		t.Run(i.name, func(t *testing.T) {
			expect(t, i.why, tried(pod(i.name, e.image(i.name)+digest), "create", "--dry-run=server", "-f", "-"))
		})
	}
	if e.refusals[wrongForm] != "" {
		t.Run("signed under a tag", func(t *testing.T) {
			r.sign(t, "release", "false", e.image("unsigned")+digest)
			expect(t, wrongForm, tried(pod("tag", e.image("unsigned")+digest), "create", "--dry-run=server", "-f", "-"))
		})
	}

	c.Apply(t, pod("runs", e.image("right")+digest))
	t.Run("debugged", func(t *testing.T) {
		expect(t, e.debugged, tried("", "debug", "-n", e.name, "runs", "-c", "debug", "--image", e.image("debug")+digest))
	})
	// All verdicts are too old from now on.
	c.Apply(t, attachPolicy("--max-age", "1ns"))
	until(tooOld, "right")
	label := func() string {
		return tried("", "label", "--overwrite", "pod", "-n", e.name, "runs", "seen="+rand.Text())
	}
	t.Run("labelled", func(t *testing.T) { expect(t, e.labelled, label()) })
	if e.labelled != isAdmitted {
		r.write(t, "running.yaml", documented(t, "running.yaml"))
		r.kubectl(t, "patch", "validatingwebhookconfiguration", "policy.sigstore.dev", "--patch-file", "running.yaml")
		kube.Eventually(t, 30*time.Second, "updates that add no image to be let alone", func() bool { return label() == "" })
		t.Run("made after the patch", func(t *testing.T) {
			expect(t, tooOld, tried(pod("late", e.image("right")+digest), "create", "--dry-run=server", "-f", "-"))
		})
		t.Run("debugged after the patch", func(t *testing.T) {
			expect(t, e.debugged, tried("", "debug", "-n", e.name, "runs", "-c", "debug", "--image", e.image("debug")+digest))
		})
	}
	t.Run("removed", func(t *testing.T) {
		expect(t, isAdmitted, tried("", "delete", "pod", "-n", e.name, "runs", "--grace-period=1"))
	})
}

// documented is a file that docs/attach.md has in full.
func documented(t *testing.T, name string) []byte {
	t.Helper()
	doc, err := os.ReadFile("../../docs/attach.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(doc), "```yaml\n# "+name+"\n")
	text, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatalf("docs/attach.md has no %s", name)
	}
	return []byte(text)
}

// digest is that of the images, which differ by their repositories alone.
func (r *run) digest(t *testing.T, e engine) string {
	t.Helper()
	_, digest, err := kube.Image{Ref: e.image("right") + ":1", Binary: r.cluster.TestPod(), Args: []string{"wait"}}.OCI()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// platform applies the policy of charts/platform, and nothing else of it.
func (r *run) platform(t *testing.T, e engine, key string) {
	t.Helper()
	values, err := yaml.Marshal(map[string]any{"imageSignatures": map[string]any{
		"enabled": true, "engine": e.chart, "name": "signed", "images": []any{e.image("**")},
		"authorities": []any{map[string]any{"name": "release", "key": map[string]any{"data": key}, "noLogReason": "signed where there is no network"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, e.name+"-values.yaml", values)
	rel, err := chart.Load(t.Context(), "../../charts/platform", chart.LoadOptions{ValueFiles: []string{r.file(e.name + "-values.yaml")}})
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	for _, o := range objects(t, rel.Manifests) {
		if o.GetKind() == "ClusterImagePolicy" || o.GetKind() == "ImageValidatingPolicy" {
			apply(t, r.cluster, []*unstructured.Unstructured{o})
			return
		}
	}
	t.Fatalf("charts/platform has no policy for %s", e.chart)
}
