package pipeline

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/evidence"
)

const ownAnnotated = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: own
  annotations: {helmproof.companyos.github.io/controls: "IMG-1, IMG-2, IMG-3, IMG-4, IMG-5, IMG-6, RES-1, SEC-7, ADM-1, CIS-1"}
spec:
  matchConstraints: {resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}]}
  validations: [{expression: "true"}]
`

// pod renders a chart with one Pod.
func (b *bench) pod() *chart.Release {
	b.t.Helper()
	folder := filepath.Join(b.t.TempDir(), "web")
	b.write(filepath.Join(folder, "Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n")
	b.write(filepath.Join(folder, "templates", "a.yaml"), "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: ghcr.io/team/c:1}]}\n")
	rel, err := b.Load(b.t.Context(), Job{Ref: folder}, chart.LoadOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = rel.Close() })
	return rel
}

func (b *bench) write(file, text string) string {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

func outcome(v evidence.Verdict, id evidence.ControlID) (evidence.ControlOutcome, string) {
	for _, r := range v.Results {
		if r.Control == id {
			return r.Outcome, r.Reason
		}
	}
	return "", "not judged"
}

// TestOwnPolicySatisfiesNothing: whatever controls a policy of the user's names, none of
// them holds by it, when it is collected and at the gate.
func TestOwnPolicySatisfiesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	folder := t.TempDir()
	b.write(filepath.Join(folder, "own", "a.yaml"), ownAnnotated)
	profile := b.write(filepath.Join(folder, "p.yaml"), "name: p\ntitle: P\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: IMG-2}, {id: IMG-3}, {id: IMG-4}, {id: IMG-5}, {id: IMG-6}, {id: ADM-1}, {id: CIS-1}, {id: POL-1}]\n")
	var err error
	if b.Rules, err = LoadRules(RulesOptions{Profile: profile, Policies: filepath.Join(folder, "own")}); err != nil {
		t.Fatal(err)
	}
	rel := b.pod()
	collected, err := b.Release(t.Context(), rel)
	if err != nil {
		t.Fatal(err)
	}
	v, err := OpenVerified(t.Context(), b.verifier, b.Repo, "latest", "")
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	for where, verdict := range map[string]evidence.Verdict{
		"collect": collected.Verdict, "verify and attach": v.Result.Counts(), "gate": b.gate(GateRequest{Deploy: rel})[0].Verdict,
	} {
		for _, id := range []evidence.ControlID{"IMG-2", "IMG-3", "IMG-4", "IMG-5", "IMG-6", "ADM-1", "CIS-1"} {
			if o, why := outcome(verdict, id); o != evidence.ControlIncomplete {
				t.Errorf("%s: %s is %s: %s", where, id, o, why)
			}
		}
		if o, why := outcome(verdict, "POL-1"); o != evidence.ControlPass {
			t.Errorf("%s: POL-1 is %s: %s", where, o, why)
		}
	}
}

// TestGateRegistries: the gate judges by its own allow-list, not by that of the evidence.
func TestGateRegistries(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	profile := b.write(filepath.Join(t.TempDir(), "p.yaml"), "name: p\ntitle: P\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: IMG-5}]\n")
	b.Rules = rules(t, profile)
	rel := b.pod()
	b.Images.Policy = images.DefaultPolicy()
	b.Images.Policy.Controls = []evidence.ControlID{"IMG-5"}
	b.Images.Policy.Registries = []string{"*"}
	if j, err := b.Release(t.Context(), rel); err != nil || j.Verdict.Outcome != evidence.VerdictPass {
		t.Fatalf("%v, %v", j, err)
	}
	b.now = b.now.Add(time.Hour)
	for _, tt := range []struct {
		allow []string
		want  evidence.ControlOutcome
		why   string
	}{
		{nil, evidence.ControlIncomplete, "no allow-list of registries was given to the gate; the evidence was collected with *, which does not count here"},
		{[]string{"registry.example.com"}, evidence.ControlFail, "1 finding fails"},
		{[]string{"registry.example.com", "ghcr.io/team"}, evidence.ControlPass, "1 check passes"},
	} {
		j := b.gate(GateRequest{Deploy: rel, Registries: tt.allow})[0]
		if o, why := outcome(j.Verdict, "IMG-5"); o != tt.want || !strings.Contains(why, tt.why) {
			t.Errorf("gate with %q: %s, %s; want %s, %s", tt.allow, o, why, tt.want, tt.why)
		}
		// What was composed verifies, with the list that it was decided by.
		if err := b.SealGated(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		v, err := OpenVerified(t.Context(), b.verifier, b.Repo, string(j.Bundle), "")
		if err != nil {
			t.Fatal(err)
		}
		if o, why := outcome(*v.Verdict(), "IMG-5"); o != tt.want {
			t.Errorf("sealed: %s, %s", o, why)
		}
	}
}

// TestProfileName: a profile of the user's shows as such, whatever it calls itself, and
// one that is said to be built in has to be.
func TestProfileName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Rules = rules(t, b.write(filepath.Join(t.TempDir(), "few.yaml"), strings.Replace(fewControls, "name: few", "name: chart", 1)))
	rel := b.load("web", "1.0.0", "blue")
	id := b.collect(rel)
	v, err := OpenVerified(t.Context(), b.verifier, b.Repo, string(id), "")
	if err != nil {
		t.Fatal(err)
	}
	want := "file:chart@" + string(v.Verdict().ProfileDigest)
	if got := v.Runs().ProfileName(v.Verdict().Profile, v.Verdict().ProfileDigest); got != want {
		t.Errorf("the bundle's profile is %s, want %s", got, want)
	}
	says := func(id evidence.Digest, name, text string) {
		t.Helper()
		raw, err := b.Repo.GetFile(t.Context(), id, name)
		if err != nil || !strings.Contains(string(raw), text) {
			t.Errorf("%s does not say %s: error %v", name, text, err)
		}
	}
	says(id, "report.json", want)
	b.Formats = []string{"json", "md", "html", "sarif", "junit"}
	id = b.collect(rel)
	if _, err = OpenVerified(t.Context(), b.verifier, b.Repo, string(id), ""); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"report.md", "report.html", "results.sarif", "junit.xml"} {
		says(id, name, "file:chart")
	}
	// Whoever seals cannot call it built in.
	b.Rules.From.Profile = "chart"
	_, err = OpenVerified(t.Context(), b.verifier, b.Repo, string(b.collect(rel)), "")
	if err == nil || !strings.Contains(err.Error(), "profile.yaml is not the built-in profile chart") {
		t.Errorf("said to be built in: error %v", err)
	}
}

// TestBuiltinProfiles: what flags make of a built-in profile is still one, and what
// asks for less is none.
func TestBuiltinProfiles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chart", "images", "release", "cluster", "live", "drill", "starter"} {
		r := rules(t, name)
		if !builtinProfile(r.Profile) {
			t.Errorf("%s is none", name)
		}
		more, err := r.With(Given{Registries: true, Signatures: true, Scans: true, Resolve: true, Policies: true, AccessLogs: true}.Controls()...)
		if err != nil || !builtinProfile(more.Profile) {
			t.Errorf("%s with more is none, %v", name, err)
		}
		fresh, err := r.LimitAge(time.Minute)
		if err != nil || !builtinProfile(fresh.Profile) {
			t.Errorf("%s with a limit is none, %v", name, err)
		}
		less := *r.Profile
		less.MaxAge++
		if builtinProfile(&less) {
			t.Errorf("%s with older evidence is one", name)
		}
		less = *r.Profile
		less.FailOn = evidence.SeverityCritical
		if builtinProfile(&less) {
			t.Errorf("%s with another threshold is one", name)
		}
		less = *r.Profile
		less.Controls = slices.Clone(less.Controls)
		if less.Controls[0].Declared = true; builtinProfile(&less) {
			t.Errorf("%s that takes declared exceptions of %s is one", name, less.Controls[0].ID)
		}
		for _, what := range []string{AcceptBaseline, AcceptChart, AcceptAnnotations} {
			if lax, err := r.Accept(what); err != nil || builtinProfile(lax.Profile) || !lax.own() || r.own() {
				t.Errorf("%s that accepts %s is one, %v", name, what, err)
			}
		}
		if less = *r.Profile; name != "drill" {
			less.Controls = less.Controls[1:]
			if builtinProfile(&less) {
				t.Errorf("%s with fewer controls is one", name)
			}
		}
		digests, err := more.Digests()
		if err != nil || digests[0] != evidence.DigestOf(more.ProfileRaw) {
			t.Errorf("%v, %v", digests, err)
		}
	}
}
