package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/internal/imagetest"
)

// attached is what attach prints as JSON, in short.
type attached struct {
	Verdict string
	Profile string
	Images  []struct {
		Image, Error string
		Attestations []struct{ PredicateType, Status, Digest string }
	}
}

func (r *imageRun) attach(t *testing.T, want int, args ...string) (out attached, stderr string) {
	t.Helper()
	args = append([]string{"attach"}, args...)
	stdout, stderr, code := r.run(t, append(args, "--repo", filepath.Join(r.dir, "repo"), "--trust", filepath.Join(r.dir, "team.pub"), "--key", filepath.Join(r.dir, "team.key"), "--plain-http", "-o", "json")...)
	if code != want {
		t.Fatalf("exit code %d, want %d: %s%s", code, want, stdout, stderr)
	}
	if stdout != "" {
		if err := json.Unmarshal([]byte(stdout), &out); err != nil {
			t.Fatal(err)
		}
	}
	return out, stderr
}

// bundles are the ids in the repository, by chart.
func (r *imageRun) bundles(t *testing.T) map[string]string {
	t.Helper()
	stdout, stderr, code := r.run(t, "list", "--repo", filepath.Join(r.dir, "repo"), "-o", "json")
	var doc struct {
		Bundles []struct{ Bundle, Chart string }
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || code != exitPass {
		t.Fatal(err, stderr)
	}
	out := map[string]string{}
	for _, b := range doc.Bundles {
		out[b.Chart] = strings.TrimPrefix(b.Bundle, "sha256:")
	}
	return out
}

func TestAttach(t *testing.T) {
	t.Parallel()
	r := newImageRun(t, 2, 1) // the first fails, the second passes
	r.collect(t)
	ids := r.bundles(t)

	planned, _ := r.attach(t, exitPass, ids["c001"], "--dry-run")
	first, _ := r.attach(t, exitPass, ids["c001"])
	again, _ := r.attach(t, exitPass, ids["c001"])
	failed, _ := r.attach(t, exitPass, ids["c000"])
	for title, tt := range map[string]struct {
		got             attached
		verdict, status string
	}{"planned": {planned, "PASSED", "planned"}, "first": {first, "PASSED", "attached"}, "failed": {failed, "FAILED", "attached"}} {
		var types []string
		for _, s := range tt.got.Images[0].Attestations {
			types = append(types, s.PredicateType)
			if s.Status != tt.status {
				t.Errorf("%s: %s is %s, want %s", title, s.PredicateType, s.Status, tt.status)
			}
		}
		if diff := cmp.Diff([]string{attest.VSAType, attest.EvidenceType, attest.VulnsType}, types); diff != "" || tt.got.Verdict != tt.verdict || !strings.HasPrefix(tt.got.Profile, "file:") || len(tt.got.Images) != 1 {
			t.Errorf("%s: %+v %s", title, tt.got, diff)
		}
	}
	// Statements of scans are signed anew, with the same statement: it is there.
	for _, s := range again.Images[0].Attestations {
		if s.Status != "present" {
			t.Errorf("again: %+v", s)
		}
	}

	_, stderr := r.attach(t, exitUsage, ids["c001"], "--image", "example.com/other@sha256:"+strings.Repeat("a", 64))
	if !strings.Contains(stderr, "the release does not run it") {
		t.Error(stderr)
	}
	damage(t, filepath.Join(r.dir, "repo"), ids["c000"])
	if _, stderr := r.attach(t, exitIntegrity, ids["c000"]); !strings.Contains(stderr, "nothing is attached: bundle "+ids["c000"][:12]+" is not verified: id: ") {
		t.Error(stderr)
	}
}

// TestAttachProblems attaches to images that are not there, or not pinned; the
// others get their statements.
func TestAttachProblems(t *testing.T) {
	t.Parallel()
	r := newImageRun(t, 1, 1)
	raw, err := os.ReadFile(filepath.Join(r.dir, "charts/c000/templates/pods.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	gone := "127.0.0.1:1/gone@sha256:" + strings.Repeat("a", 64)
	r.write(t, "charts/c000/templates/more.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: \""+gone+"\"}, {name: d, image: \"127.0.0.1:1/tag:1\"}]}\n")
	r.collect(t)
	got, stderr := r.attach(t, exitFailure, r.bundles(t)["c000"])
	if !strings.Contains(stderr, "2 of 3 images have no statement") {
		t.Error(stderr)
	}
	errs := map[string]string{}
	for _, i := range got.Images {
		if i.Error != "" {
			errs[i.Image] = i.Error
		} else if !strings.Contains(string(raw), i.Image) || len(i.Attestations) != 3 {
			t.Errorf("%+v", i)
		}
	}
	if !strings.Contains(errs[gone], "connection refused") || !strings.Contains(errs["127.0.0.1:1/tag:1"], "not pinned by digest") {
		t.Errorf("%v", errs)
	}
}

// TestAttachWithoutReferrers attaches in a registry that knows no referrers: they
// are listed under a tag.
func TestAttachWithoutReferrers(t *testing.T) {
	t.Parallel()
	r := newImageRun(t, 1, 1)
	raw, err := os.ReadFile(filepath.Join(r.dir, "charts/c000/templates/pods.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	host := string(raw[strings.Index(string(raw), "127.0.0.1:"):])
	host, _, _ = strings.Cut(host, "/")
	target, err := url.Parse("http://" + host)
	if err != nil {
		t.Fatal(err)
	}
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, "/referrers/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		httputil.NewSingleHostReverseProxy(target).ServeHTTP(w, req)
	}))
	t.Cleanup(old.Close)
	r.write(t, "charts/c000/templates/pods.yaml", strings.ReplaceAll(string(raw), host, strings.TrimPrefix(old.URL, "http://")))
	r.collect(t)
	id := r.bundles(t)["c000"]
	for _, want := range []string{"attached", "present"} {
		got, _ := r.attach(t, exitPass, id)
		for _, s := range got.Images[0].Attestations {
			if s.Status != want {
				t.Errorf("%+v, want %s", s, want)
			}
		}
	}
}

// TestCosignVerifiesAttached has cosign's own command find and verify what was
// attached, by the policy that attach policy prints for policy-controller.
func TestCosignVerifiesAttached(t *testing.T) {
	t.Parallel()
	bin := os.Getenv("HELMPROOF_COSIGN")
	if bin == "" {
		t.Skip("HELMPROOF_COSIGN is not set: `make test` builds cosign and sets it")
	}
	r := newImageRun(t, 2, 1)
	r.collect(t)
	image := map[string]string{}
	for chart, id := range r.bundles(t) {
		// Later runs add the tag to what is there, once.
		for i, want := range []string{"attached", "attached", "present"} {
			var args []string
			if i > 0 {
				args = []string{"--att-tag"}
			}
			got, _ := r.attach(t, exitPass, append(args, id)...)
			image[chart] = got.Images[0].Image
			if s := got.Images[0].Attestations[0]; s.Status != want {
				t.Errorf("run %d: %+v, want %s", i, s, want)
			}
		}
	}
	if _, stderr, code := r.run(t, "keygen", filepath.Join(r.dir, "other")); code != exitPass {
		t.Fatal(stderr)
	}
	policy := func(file string, args ...string) string {
		stdout, stderr, code := r.run(t, append([]string{"attach", "policy", "--key", filepath.Join(r.dir, "team.pub"), "--glob", "127.0.0.1:*/**"}, args...)...)
		if code != exitPass {
			t.Fatal(stderr)
		}
		var p struct {
			Spec struct {
				Authorities []struct {
					Attestations []struct {
						PredicateType string
						Policy        struct{ Type, Data string }
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(stdout), &p); err != nil {
			t.Fatal(err)
		}
		// Policy-controller asks for sigstore.isCompliant, cosign's command for signature.allow.
		rego := strings.Replace(p.Spec.Authorities[0].Attestations[0].Policy.Data, "package sigstore\n", "package signature\n", 1)
		r.write(t, file, rego+"\nallow := isCompliant\n")
		return filepath.Join(r.dir, file)
	}
	good := policy("good.rego", "--verdict-profile", filepath.Join(r.dir, "scans.yaml"))
	bare := imagetest.Push(t, strings.SplitN(image["c001"], "/", 2)[0]+"/bare:1", imagetest.Debian(t, nil))
	for title, tt := range map[string]struct {
		image, key, kind, policy, refusal string
		tag                               bool // look under the tag
	}{
		"passed":              {image["c001"], "team.pub", attest.VSAType, good, "", false},
		"passed, its chart":   {image["c001"], "team.pub", attest.VSAType, policy("chart.rego", "--verdict-profile", filepath.Join(r.dir, "scans.yaml"), "--chart", "c001"), "", false},
		"evidence":            {image["c001"], "team.pub", attest.EvidenceType, "", "", false},
		"scan":                {image["c001"], "team.pub", attest.VulnsType, "", "", false},
		"failed":              {image["c000"], "team.pub", attest.VSAType, good, "expression value, false, is not true", false},
		"failed, no policy":   {image["c000"], "team.pub", attest.VSAType, "", "", false},
		"another profile":     {image["c001"], "team.pub", attest.VSAType, policy("profile.rego", "--verdict-profile", "images"), "expression value, false, is not true", false},
		"another chart":       {image["c001"], "team.pub", attest.VSAType, policy("other.rego", "--verdict-profile", filepath.Join(r.dir, "scans.yaml"), "--chart", "c00"), "expression value, false, is not true", false},
		"too old":             {image["c001"], "team.pub", attest.VSAType, policy("old.rego", "--verdict-profile", filepath.Join(r.dir, "scans.yaml"), "--max-age", time.Nanosecond.String()), "expression value, false, is not true", false},
		"another key":         {image["c001"], "other.pub", attest.VSAType, good, "could not verify", false},
		"another predicate":   {image["c001"], "team.pub", "https://slsa.dev/provenance/v1", "", "none of the attestations matched the predicate type", false},
		"nothing is attached": {bare, "team.pub", attest.VSAType, good, "no matching attestations", false},
		"passed, tag":         {image["c001"], "team.pub", attest.VSAType, good, "", true},
		"failed, tag":         {image["c000"], "team.pub", attest.VSAType, good, "expression value, false, is not true", true},
		"another key, tag":    {image["c001"], "other.pub", attest.VSAType, good, "no matching attestations", true},
		"evidence, tag":       {image["c001"], "team.pub", attest.EvidenceType, "", "none of the attestations matched the predicate type", true},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			args := []string{"verify-attestation", "--key", filepath.Join(r.dir, tt.key), "--insecure-ignore-tlog=true", "--allow-insecure-registry", "--allow-http-registry", "--new-bundle-format=" + strconv.FormatBool(!tt.tag), "--type", tt.kind}
			if tt.policy != "" {
				args = append(args, "--policy", tt.policy)
			}
			cmd := exec.CommandContext(t.Context(), bin, append(args, tt.image)...)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "TUF_ROOT="+cmd.Dir)
			out, err := cmd.CombinedOutput()
			switch {
			case tt.refusal == "" && err != nil:
				t.Errorf("refused: %v\n%s", err, out)
			case tt.refusal != "" && err == nil:
				t.Errorf("accepted:\n%s", out)
			case !strings.Contains(string(out), tt.refusal):
				t.Errorf("output %s, want it to say %q", out, tt.refusal)
			}
		})
	}
}

// TestAttachPolicies holds the printed policies to the published schemas of their kinds.
func TestAttachPolicies(t *testing.T) {
	t.Parallel()
	r := &imageRun{dir: t.TempDir()}
	if _, stderr, code := r.run(t, "keygen", filepath.Join(r.dir, "team")); code != exitPass {
		t.Fatal(stderr)
	}
	r.write(t, "schema.yaml", "name: schema\ntitle: Valid\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols:\n  - {id: CHT-3}\n")
	for _, engine := range []string{"sigstore", "kyverno"} {
		out, stderr, code := r.run(t, "attach", "policy", "--engine", engine, "--key", filepath.Join(r.dir, "team.pub"), "--glob", "ghcr.io/team/*", "--chart", "api")
		if code != exitPass {
			t.Fatal(stderr)
		}
		r.write(t, engine+".yaml", out)
		stdout, stderr, code := r.run(t, "check", "--manifests", filepath.Join(r.dir, engine+".yaml"), "--profile", filepath.Join(r.dir, "schema.yaml"), "-o", "json")
		if code != exitPass || !strings.Contains(stdout, "valid by the CRD of") {
			t.Errorf("%s: %s%s", engine, stdout, stderr)
		}
		// Engines have the whole statement, and both judge the verdict's age.
		for _, part := range map[string][]string{
			"sigstore": {"input.predicate.verificationResult == \"PASSED\"", "< 604800000000000"},
			"kyverno":  {"extractPayload(image, attestations.verdict).predicate).all(p,", "timestamp(p.timeVerified) < duration(\"168h0m0s\")", "pods/ephemeralcontainers"},
		}[engine] {
			if !strings.Contains(out, part) {
				t.Errorf("%s: the policy has no %q", engine, part)
			}
		}
	}
	for want, args := range map[string][]string{
		"want sigstore or kyverno":  {"--engine", "opa", "--key", filepath.Join(r.dir, "team.pub")},
		"want a public key in PEM":  {"--key", filepath.Join(r.dir, "team.key")},
		"no such file or directory": {"--key", filepath.Join(r.dir, "none.pub")},
		"give the public key":       {},
	} {
		if _, stderr, code := r.run(t, append([]string{"attach", "policy", "--glob", "x/*"}, args...)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: %d %s, want %q", args, code, stderr, want)
		}
	}
}
