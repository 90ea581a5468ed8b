package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
)

const profileYAML = `name: small
title: A small profile
scope: release
failOn: medium
maxAge: 24h
controls:
  - id: RES-1
  - id: SEC-1
  - id: IMG-1
    optional: true
`

const catalogYAML = `version: "1"
groups:
  - {id: RES, title: Resources}
  - {id: SEC, title: Security}
  - {id: IMG, title: Images}
frameworks: []
controls:
  - {id: RES-1, group: RES, title: Requests, statement: Every container requests., severity: high, collector: lines, rules: ["lines/*"], remediation: Set requests.}
  - {id: SEC-1, group: SEC, title: Restricted, statement: Every pod is restricted., severity: high, collector: lines, rules: ["lines/*"], remediation: Restrict it.}
  - {id: IMG-1, group: IMG, title: Pinned, statement: Every image is pinned., severity: low, collector: images, rules: ["images/*"], remediation: Pin it.}
`

var evaluatedAt = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

// The artifact of a collector has one finding in each line: control, outcome,
// object and message. A collector that failed left none.
func artifactOf(collector string) string { return "artifacts/" + collector + "/seen.txt" }

// replay derives findings from artifacts as a collector does: from nothing else.
func replay(in evidence.ArtifactReader, of *evidence.Runs) ([]evidence.Finding, []evidence.CollectorRun, error) {
	var found []evidence.Finding
	runs := slices.Clone(of.Collectors)
	for i, run := range runs {
		if run.Outcome != evidence.OutcomePass {
			continue
		}
		raw, err := in.Read(artifactOf(run.Collector))
		if err != nil {
			runs[i].Outcome, runs[i].Error = evidence.OutcomeError, err.Error()
			continue
		}
		for n, line := range strings.Split(strings.TrimSpace(string(raw)), "\n") {
			f := strings.SplitN(line, " ", 4)
			if len(f) != 4 {
				return nil, nil, fmt.Errorf("%s line %d: %q", artifactOf(run.Collector), n+1, line)
			}
			found = append(found, evidence.Finding{
				Rule: run.Collector + "/" + strings.ToLower(f[0]), Controls: []evidence.ControlID{evidence.ControlID(f[0])},
				Outcome: evidence.Outcome(f[1]), Severity: evidence.SeverityHigh, Target: evidence.Target{Kind: "Deployment", Name: f[2]}, Message: f[3],
				Evidence: []evidence.Pointer{{Artifact: artifactOf(run.Collector), Digest: evidence.DigestOf(raw), Lines: fmt.Sprint(n + 1)}},
			})
		}
	}
	return evidence.NormalizeFindings(found), runs, nil
}

// render writes two reports that depend on all that a report may show.
func render(b *bundle.Bundle, keyID string, emit func(string, func(io.Writer) error) error) error {
	var md, txt bytes.Buffer
	fmt.Fprintf(&md, "# %s %s\n\nevidence %s, key %s\n\n%s: %s\n", b.Release().Chart, b.Release().Version, b.ID(), keyID, b.Verdict().Outcome, b.Verdict().Reason)
	for _, f := range b.Findings() {
		fmt.Fprintf(&txt, "%s %s %s %s\n", f.Outcome, f.Rule, f.Target.Object(), f.Message)
	}
	for _, r := range b.Runs().Collectors {
		fmt.Fprintf(&txt, "%s %s %s\n", r.Collector, r.Outcome, r.FinishedAt)
	}
	fmt.Fprintf(&txt, "%s %v %s %d %d %d\n", b.Release().Chart, b.Names(), b.Waivers(), len(b.Profile()), len(b.Catalog()), len(b.Inputs()))
	return errors.Join(emit("report.md", writing(md.Bytes())), emit("report.txt", writing(txt.Bytes())))
}

// writing writes a report.
func writing(raw []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	}
}

// contents is the evidence about one release: three objects checked, one
// finding fails, and the optional collector failed.
func contents(t testing.TB, chart string) *bundle.Contents {
	t.Helper()
	manifests := []byte("kind: Deployment\nmetadata: {name: api}\n# " + chart + "\n")
	c := &bundle.Contents{
		Files: map[string][]byte{bundle.ReleaseFile: record(t, evidence.Release{
			Scope: evidence.ScopeRelease, Source: "chart", Chart: chart, Version: "1.2.3", ReleaseName: "r", Namespace: "payments", KubeVersion: "1.37",
			ChartDigest: evidence.DigestOf([]byte(chart)), ValuesDigest: evidence.DigestOf([]byte("{}")),
			ManifestsDigest: evidence.DigestOf(manifests), SealedManifestsDigest: evidence.DigestOf(manifests),
			Images: []string{"registry.example/api@" + string(evidence.DigestOf([]byte("image"))), "registry.example/side:1"},
		}),
			bundle.ProfileFile: []byte(profileYAML), bundle.CatalogFile: []byte(catalogYAML), bundle.WaiversFile: []byte("waivers: []\n"), bundle.PoliciesFile: []byte("# none\n"),
			"artifacts/release/manifests.yaml": manifests,
			artifactOf("lines"): []byte("RES-1 pass api requests are set\nRES-1 fail worker has no requests\n" +
				"SEC-1 pass api is restricted\nSEC-1 warn worker is nearly restricted\n"),
		},
		Runs: evidence.Runs{Tool: "helmproof test", Rules: evidence.RulesVersion, Reports: evidence.ReportsVersion, Collectors: []evidence.CollectorRun{
			{Collector: "images", Outcome: evidence.OutcomeError, Error: "registry unreachable", StartedAt: evaluatedAt, FinishedAt: evaluatedAt},
			{Collector: "lines", Outcome: evidence.OutcomePass, StartedAt: evaluatedAt, FinishedAt: evaluatedAt.Add(time.Second)},
		}},
	}
	judge(t, c)
	return c
}

// record is the bytes of a release record.
func record(t testing.TB, rel evidence.Release) []byte {
	t.Helper()
	raw, err := bundle.CanonicalJSON(rel)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// editRelease changes the release record of the contents.
func editRelease(t testing.TB, c *bundle.Contents, edit func(*evidence.Release)) {
	t.Helper()
	rel, err := c.Release()
	if err != nil {
		t.Fatal(err)
	}
	edit(rel)
	c.Files[bundle.ReleaseFile] = record(t, *rel)
}

// judge derives findings and verdict from the rest of the contents.
func judge(t testing.TB, c *bundle.Contents) {
	t.Helper()
	rederive(t, c)
	decide(t, c)
}

// reader reads artifacts that are not sealed yet.
type reader map[string][]byte

func (r reader) Read(name string) ([]byte, error) {
	if raw, ok := r[name]; ok {
		return raw, nil
	}
	return nil, errors.New(name + " is not there")
}

func (r reader) Names() []string { panic("not used") }

func rederive(t testing.TB, c *bundle.Contents) {
	t.Helper()
	found, _, err := replay(reader(c.Files), &c.Runs)
	if err != nil {
		t.Fatal(err)
	}
	c.Findings = found
}

func decide(t testing.TB, c *bundle.Contents) {
	t.Helper()
	profile, err := gate.ParseProfile(c.Files[bundle.ProfileFile])
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := gate.ParseCatalog(c.Files[bundle.CatalogFile])
	if err != nil {
		t.Fatal(err)
	}
	waivers, err := gate.ParseWaivers(c.Files[bundle.WaiversFile])
	if err != nil {
		t.Fatal(err)
	}
	c.Verdict = gate.Evaluate(gate.Input{
		Profile: profile, ProfileDigest: evidence.DigestOf(c.Files[bundle.ProfileFile]), Catalog: catalog, CatalogDigest: evidence.DigestOf(c.Files[bundle.CatalogFile]),
		Findings: c.Findings, Runs: c.Runs.Collectors, Waivers: waivers, At: evaluatedAt,
	})
}

func newSigner(t testing.TB) attest.Signer {
	t.Helper()
	priv, _, err := attest.GeneratePlainKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/key.pem"
	writeFile(t, path, priv)
	s, err := attest.LoadSigner(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func seal(t testing.TB, c *bundle.Contents, s attest.Signer) *bundle.Package {
	t.Helper()
	p, err := bundle.Seal(context.Background(), c, s, render)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pack(t testing.TB, c *bundle.Contents) []byte {
	t.Helper()
	raw, err := bundle.Pack(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func verifier(t testing.TB, s attest.Signer) *bundle.Verifier {
	t.Helper()
	trust := &attest.Trust{}
	if err := trust.Add(s.PublicKeyPEM()); err != nil {
		t.Fatal(err)
	}
	return &bundle.Verifier{Trust: trust, Replay: replay, Render: render, Tool: "helmproof test"}
}

// checkNames are the checks in the order in which they are made.
var checkNames = []string{"id", "signature", "contents", "statement", "findings", "verdict", "reports", "summary"}

// wantOK fails unless every check was made and passed.
func wantOK(t testing.TB, r *bundle.Result) {
	t.Helper()
	if !r.OK() || r.Reason() != "" || r.Verified() == nil {
		t.Errorf("not verified: %s", r.Reason())
	}
	for i, c := range r.Checks {
		if c.Name != checkNames[i] || c.Outcome != evidence.OutcomePass || c.Reason == "" {
			t.Errorf("check %d: %+v, want %s to pass with a reason", i, c, checkNames[i])
		}
	}
	if len(r.Checks) != len(checkNames) {
		t.Errorf("%d checks, want %d", len(r.Checks), len(checkNames))
	}
}

// wantAbsent fails unless the bundle is verified and only those checks were not
// made, each because its files are absent.
func wantAbsent(t testing.TB, r *bundle.Result, absent ...string) {
	t.Helper()
	if !r.OK() || r.Reason() != "" || r.Verified() == nil {
		t.Errorf("not verified: %s", r.Reason())
	}
	for i, c := range r.Checks {
		want := evidence.OutcomePass
		if slices.Contains(absent, c.Name) {
			want = evidence.OutcomeNotApplicable
		}
		if c.Name != checkNames[i] || c.Outcome != want || c.Reason == "" {
			t.Errorf("check %d: %+v, want %s to be %s with a reason", i, c, checkNames[i], want)
		}
	}
}

// wantRefused fails unless that check fails for that reason, those before it
// pass, and those after it are not made.
func wantRefused(t testing.TB, r *bundle.Result, check, reason string) {
	t.Helper()
	if r.OK() || r.Outcome != evidence.OutcomeFail || r.Verified() != nil {
		t.Fatalf("verified: %+v", r.Checks)
	}
	failing := slices.Index(checkNames, check)
	if failing < 0 || len(r.Checks) != len(checkNames) {
		t.Fatalf("checks %+v, want %s among all of them", r.Checks, check)
	}
	for i, c := range r.Checks {
		want := evidence.OutcomePass
		switch {
		case i == failing:
			want = evidence.OutcomeFail
			if !strings.Contains(c.Reason, reason) {
				t.Errorf("check %s fails because %q, want it to say %q", c.Name, c.Reason, reason)
			}
			if r.Reason() != c.Name+": "+c.Reason {
				t.Errorf("Reason() = %q, want that of check %s", r.Reason(), c.Name)
			}
		case i > failing:
			want = evidence.OutcomeNotChecked
		}
		if c.Name != checkNames[i] || c.Outcome != want {
			t.Errorf("check %s is %s (%s), want %s", c.Name, c.Outcome, c.Reason, want)
		}
	}
}
