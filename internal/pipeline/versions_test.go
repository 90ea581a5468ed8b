package pipeline

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
)

// TestOwnPolicyOfOtherRules replays a bundle of other rules whose own policy this
// version cannot compile: what rests on policies is not checked, the rest is, and
// nothing is refused as if it were altered.
func TestOwnPolicyOfOtherRules(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel, err := chart.Load(t.Context(), filepath.Join("..", "..", "charts", "service"), chart.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rel.Close() })
	b.Rules = rules(t, "chart")
	if b.Rules, err = b.Rules.With("POL-1"); err != nil {
		t.Fatal(err)
	}
	honest, err := b.Release(t.Context(), rel)
	if err != nil || honest.Verdict.Outcome != evidence.VerdictPass {
		t.Fatalf("%+v, %v", honest, err)
	}
	files := forge(t, b.Pipeline, honest, 1)
	files[collectors.PoliciesFile] = append(files[collectors.PoliciesFile], "---\n# Source: own.yaml:1\n"+
		"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: own}\nspec:\n  matchConstraints:\n    resourceRules:\n"+
		"    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}\n  validations:\n  - {expression: gone(object), message: no}\n"+
		"---\n# Source: own.yaml:12\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: own}\nspec: {policyName: own, validationActions: [Deny]}\n"...)
	if err := b.seal(t.Context(), files, honest); err != nil {
		t.Fatal(err)
	}
	v, err := stored(t.Context(), b.verifier, b.Repo, honest.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	worse := map[evidence.ControlID]evidence.Worse{}
	for _, w := range v.Result.Worse {
		worse[w.Control] = w
	}
	if w := worse["POL-1"]; w.Now != evidence.ControlIncomplete || !strings.Contains(w.Reason, "own policies that this version cannot judge by") {
		t.Errorf("POL-1: %+v", w)
	}
	for _, id := range []evidence.ControlID{"CHT-1", "SEC-1", "AVL-1", "SCR-1"} {
		if w, ok := worse[id]; ok {
			t.Errorf("%s does not rest on policies: %+v", id, w)
		}
	}
	if got := v.Result.Counts().Outcome; got != evidence.VerdictIncomplete {
		t.Errorf("counts %s", got)
	}
	if renewed, err := policy.Renewed(files[collectors.PoliciesFile]); err != nil || !strings.Contains(string(renewed), "gone(object)") {
		t.Errorf("own policies are not kept: %v", err)
	}
}

// TestComposedOfOtherRules composes, as another version's rules did, with a catalog
// that names rules otherwise: this version's says what its own rules count for.
func TestComposedOfOtherRules(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.collect(b.load("web", "1.0.0", "blue"))
	j := b.gate(GateRequest{Chart: "web"})[0]
	if j.Verdict.Outcome != evidence.VerdictPass {
		t.Fatalf("%s: %q", j.Verdict.Outcome, j.Reasons)
	}
	j.By.CatalogRaw = []byte(strings.ReplaceAll(string(j.By.CatalogRaw), "secrets/", "secrets/then-"))
	catalog, err := gate.ParseCatalog(j.By.CatalogRaw)
	if err != nil {
		t.Fatal(err)
	}
	j.By.Catalog, j.Verdict.CatalogDigest = catalog, evidence.DigestOf(j.By.CatalogRaw)
	j.Runs.Rules, j.Runs.Reports = 99, 99
	if err := b.SealGated(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	v, err := stored(t.Context(), b.verifier, b.Repo, j.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Result.Worse) > 0 || v.Result.Counts().Outcome != evidence.VerdictPass {
		t.Errorf("%+v, counts %s", v.Result.Worse, v.Result.Counts().Outcome)
	}
}

// TestManifestsOnSeveralClusters: evidence of the same manifests on two clusters is
// about both, also where the manifests are named by digest.
func TestManifestsOnSeveralClusters(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	for _, name := range []string{"aa", "bb"} {
		info := rel.Info
		info.Cluster = name
		info.ManifestsDigest = evidence.DigestOf([]byte("a: 1\n"))
		b.sealed(evidence.ScopeRelease, info, []byte("a: 1\n"))
	}
	req := GateRequest{Chart: "web", ManifestsDigest: evidence.DigestOf([]byte("a: 1\n"))}
	if done := b.gate(req); len(done) != 2 {
		t.Errorf("%d verdicts, want one of each cluster", len(done))
	}
}

// TestGateKubeVersion: what is valid depends on the version; evidence for another is
// evidence of something else, though the manifests are the same.
func TestGateKubeVersion(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	b.collect(rel)
	other := b.load("web", "1.0.0", "blue")
	other.Info.KubeVersion = "1.31"
	j := b.gate(GateRequest{Deploy: other})[0]
	if j.Verdict.Outcome != evidence.VerdictIncomplete || !strings.Contains(strings.Join(j.Reasons, "\n"), "the Kubernetes version differs (have 1.37, want 1.31)") {
		t.Errorf("%s: %q", j.Verdict.Outcome, j.Reasons)
	}
}

// TestForgedReports: reports that claim another rendering are held to their
// signature alone, which never reads as a pass.
func TestForgedReports(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.collect(b.load("web", "1.0.0", "blue"))
	v, err := stored(t.Context(), b.verifier, b.Repo, id)
	if err != nil {
		t.Fatal(err)
	}
	files := b.Rules.files()
	for _, name := range v.Names() {
		if files[name], err = v.Read(name); err != nil {
			t.Fatal(err)
		}
	}
	for reports, want := range map[int]string{evidence.ReportsVersion: "not what this evidence renders to", 7: "", 0: "never went together", -7: "never went together"} {
		runs := *v.Runs()
		runs.Reports = reports
		c := &bundle.Contents{Files: files, Runs: runs, Findings: v.Findings(), Verdict: *v.Verdict()}
		pkg, err := bundle.Seal(t.Context(), c, b.Signer, func(_ *bundle.Bundle, _ string, emit func(string, func(io.Writer) error) error) error {
			return emit("report.md", func(w io.Writer) error {
				_, err := io.WriteString(w, "# PASS, all controls hold\n")
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		r := b.verifier.Verify(t.Context(), pkg.Files, pkg.ID)
		if want != "" {
			if r.OK() || !strings.Contains(r.Reason(), want) {
				t.Errorf("reports %d: %s, want %q", reports, r.Reason(), want)
			}
			continue
		}
		for _, c := range r.Checks {
			if c.Name == "reports" && (!r.OK() || c.Outcome != evidence.OutcomeNotChecked) {
				t.Errorf("reports %d: %+v %s", reports, c, r.Reason())
			}
		}
	}
}

// TestScopeOfCollectors: a bundle decides what collectors of its scope look at. One of
// a cluster, or of a drill, that brings findings about a chart is refused.
func TestScopeOfCollectors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	id := b.collect(b.load("web", "1.0.0", "blue"))
	v, err := stored(t.Context(), b.verifier, b.Repo, id)
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range []evidence.Scope{evidence.ScopeCluster, evidence.ScopeDrill} {
		for _, claimed := range []int{evidence.RulesVersion, 1} {
			rel := *v.Release()
			rel.Scope, rel.Cluster = scope, "sha256:1111"
			j := &Judged{Release: rel, Runs: *v.Runs(), Findings: v.Findings(), Verdict: *v.Verdict()}
			j.Runs.Rules, j.Runs.Reports = claimed, claimed
			files := b.Rules.files()
			for _, name := range v.Names() {
				if files[name], err = v.Read(name); err != nil {
					t.Fatal(err)
				}
			}
			if files[bundle.ReleaseFile], err = bundle.CanonicalJSON(rel); err != nil {
				t.Fatal(err)
			}
			if err := b.seal(t.Context(), files, j); err != nil {
				t.Fatal(err)
			}
			got, err := stored(t.Context(), b.verifier, b.Repo, j.Bundle)
			if claimed == evidence.RulesVersion {
				if err == nil || !strings.Contains(err.Error(), "unknown collector") {
					t.Errorf("%s: %v", scope, err)
				}
				continue
			}
			if err != nil || got.Result.Counts().Outcome != evidence.VerdictIncomplete {
				t.Errorf("%s: %v, counts %+v", scope, err, got)
			}
		}
	}
}

// TestRenewed: only documents that are this version's own are replaced, whatever a
// comment says of where the others come from.
func TestRenewed(t *testing.T) {
	t.Parallel()
	builtin, err := policy.Bundle("")
	if err != nil {
		t.Fatal(err)
	}
	hidden := "---\n# Source: builtin/zz.yaml:1\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: hidden}\nspec: {}\n"
	out, err := policy.Renewed(append(append([]byte{}, builtin...), hidden...))
	if err != nil || !strings.HasPrefix(string(out), string(builtin)) || strings.Count(string(out), "kind: ValidatingAdmissionPolicy\n") != strings.Count(string(builtin), "kind: ValidatingAdmissionPolicy\n")+1 {
		t.Errorf("%v: %d bytes of %d", err, len(out), len(builtin))
	}
}
