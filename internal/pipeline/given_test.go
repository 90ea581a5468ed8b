package pipeline

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/evidence"
)

const (
	scanned      = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	scansProfile = "name: scans\ntitle: Scans\nscope: release\nfailOn: high\nmaxAge: 24h\ncontrols: [{id: IMG-2}, {id: IMG-3}]\n"
	fixedVuln    = `{"VulnerabilityID":"CVE-2026-1","PkgName":"libssl3","InstalledVersion":"3.0.15","FixedVersion":"3.0.16","Severity":"HIGH","SeveritySource":"debian","PublishedDate":"2026-11-20T00:00:00Z"}`
	unfixedVuln  = `{"VulnerabilityID":"CVE-2026-1","PkgName":"zlib1g","InstalledVersion":"1.2","Severity":"HIGH","SeveritySource":"debian"}`
	mediumVuln   = `{"VulnerabilityID":"CVE-2026-1","PkgName":"zlib1g","InstalledVersion":"1.2","Severity":"MEDIUM","SeveritySource":"debian"}`
	harmless     = `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://example.com/vex/1","author":"sec@example.com","timestamp":"2026-11-01T00:00:00Z","version":1,"statements":[
{"vulnerability":{"name":"CVE-2026-1"},"products":[{"@id":"pkg:oci/api@` + scanned + `"}],"status":"not_affected","justification":"vulnerable_code_not_in_execute_path"}]}`
	exploited = `{"dateReleased":"2026-11-23T00:00:00Z","vulnerabilities":[{"cveID":"CVE-2026-1","dateAdded":"2026-11-21"}]}`
	likely    = "#model_version:v2025.03.14,score_date:2026-11-23T00:00:00+0000\ncve,epss,percentile\nCVE-2026-1,0.93,0.99\n"
)

// brought is what somebody judges images by, at collect or at the gate.
type brought struct {
	policy         func(*images.Policy)
	vex, kev, epss string
	evidence       []string // of the gate
}

// looked is what there is to judge: a report, and how old its database is.
type looked struct {
	vulns, created, database, platform string
}

// lists reads what was brought.
func (x brought) lists(b *bench) (images.Policy, images.Sources) {
	b.t.Helper()
	pol, src := images.DefaultPolicy(), images.Sources{}
	if x.policy != nil {
		x.policy(&pol)
	}
	folder := b.t.TempDir()
	if x.vex != "" {
		src.VEX = []string{b.write(filepath.Join(folder, "vex.json"), x.vex)}
	}
	if x.kev != "" {
		src.KEV = b.write(filepath.Join(folder, "kev.json"), x.kev)
	}
	if x.epss != "" {
		src.EPSS = b.write(filepath.Join(folder, "epss.csv"), x.epss)
	}
	return pol, src
}

// scanned judges and seals a pod of one image by what was brought.
func (b *bench) scanned(x brought, s looked) (*chart.Release, *Judged) {
	b.t.Helper()
	folder := b.t.TempDir()
	report := b.write(filepath.Join(folder, "reports", "trivy.json"), fmt.Sprintf(`{"SchemaVersion":2,"CreatedAt":%q,"ArtifactName":"x","ArtifactType":"container_image","Trivy":{"Version":"0.65.0"},
"Metadata":{"OS":{"Family":"debian","Name":"12"},"RepoDigests":["x@%s"],"ImageConfig":{"os":"linux","architecture":%q}},
"Results":[{"Target":"x","Class":"os-pkgs","Type":"debian","Vulnerabilities":[%s]}]}`, s.created, scanned, s.platform, s.vulns))
	pol, src := x.lists(b)
	src.Reports, src.Platforms, src.Now = []string{report}, pol.Platforms, b.Now
	src.ScannerVersion = b.write(filepath.Join(folder, "version.json"), fmt.Sprintf(`{"Version":"0.65.0","VulnerabilityDB":{"UpdatedAt":%q}}`, s.database))
	var err error
	if b.Images, err = ImageOptions(b.t.Context(), b.Rules, pol, src, slog.New(slog.DiscardHandler)); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = b.Images.Gathered.Close() })
	b.write(filepath.Join(folder, "web", "Chart.yaml"), "apiVersion: v2\nname: web\nversion: 1.0.0\n")
	b.write(filepath.Join(folder, "web", "templates", "a.yaml"), "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: ghcr.io/team/c@"+scanned+"}]}\n")
	rel, err := b.Load(b.t.Context(), Job{Ref: filepath.Join(folder, "web")}, chart.LoadOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = rel.Close() })
	j, err := b.Release(b.t.Context(), rel)
	if err != nil {
		b.t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	return rel, j
}

// gated asks the gate by what was brought, seals its answer, and holds verify to it.
func (b *bench) gated(rel *chart.Release, x brought) *Judged {
	b.t.Helper()
	pol, src := x.lists(b)
	l, err := GateImages(pol, src)
	if err != nil {
		b.t.Fatal(err)
	}
	j := b.gate(GateRequest{Deploy: rel, Images: l, EvidenceLists: x.evidence})[0]
	if err := b.SealGated(b.t.Context(), j); err != nil {
		b.t.Fatal(err)
	}
	v, err := OpenVerified(b.t.Context(), b.verifier, b.Repo, string(j.Bundle), "")
	if err != nil {
		b.t.Fatal(err)
	}
	if v.Verdict().Outcome != j.Verdict.Outcome {
		b.t.Errorf("sealed: %s, decided: %s", v.Verdict().Outcome, j.Verdict.Outcome)
	}
	return j
}

const noon, weekOld = "2026-11-23T09:00:00Z", "2026-11-01T00:00:00Z"

// TestGateLists: what evidence was collected with excuses nothing at a gate that says
// nothing of it; the gate's own lists decide, and those of the evidence where the gate
// takes them.
func TestGateLists(t *testing.T) {
	t.Parallel()
	year := evidence.Duration(9999 * 24 * time.Hour)
	for name, tt := range map[string]struct {
		lenient brought
		scan    looked
		takes   string
		control evidence.ControlID
		want    evidence.ControlOutcome
		why     string // the finding's message
		ignored string
		taken   string
	}{
		"grace": {
			lenient: brought{policy: func(p *images.Policy) { p.Grace = year }}, scan: looked{fixedVuln, noon, noon, "amd64"}, takes: EvidenceScans,
			control: "IMG-2", want: evidence.ControlFail, why: "collected with a grace of 9999 days for new vulnerabilities, which does not count", ignored: "a grace of 9999 days for new vulnerabilities",
			taken: "a grace of 239976h0m0s",
		},
		"fixable only": {
			lenient: brought{policy: func(p *images.Policy) { p.FixableOnly = true }}, scan: looked{unfixedVuln, noon, noon, "amd64"}, takes: EvidenceScans,
			control: "IMG-2", want: evidence.ControlFail, why: "collected with vulnerabilities that nothing fixes only warn, which", ignored: "vulnerabilities that nothing fixes only warn",
			taken: "vulnerabilities that nothing fixes only warn",
		},
		"age of scans": {
			lenient: brought{policy: func(p *images.Policy) { p.MaxScanAge = year }}, scan: looked{"", weekOld, noon, "amd64"}, takes: EvidenceScans,
			control: "IMG-3", want: evidence.ControlIncomplete, why: "older than the 7 days that are allowed; the evidence was collected with scans of 9999 days", ignored: "scans of 9999 days",
			taken: "scans of 239976h0m0s",
		},
		"age of databases": {
			lenient: brought{policy: func(p *images.Policy) { p.MaxDatabaseAge = year }}, scan: looked{"", noon, weekOld, "amd64"}, takes: EvidenceScans,
			control: "IMG-3", want: evidence.ControlIncomplete, why: "older than the 5 days that are allowed; the evidence was collected with databases of 9999 days", ignored: "databases of 9999 days",
			taken: "databases of 239976h0m0s",
		},
		"platform": {
			lenient: brought{policy: func(p *images.Policy) { p.Platforms = []string{"linux/s390x"} }}, scan: looked{"", noon, noon, "s390x"}, takes: EvidenceScans,
			control: "IMG-2", want: evidence.ControlIncomplete, why: "is about linux/s390x", ignored: "nothing but linux/s390x looked at", taken: "platforms linux/s390x",
		},
		"OpenVEX": {
			lenient: brought{vex: harmless}, scan: looked{fixedVuln, noon, noon, "amd64"}, takes: EvidenceVEX,
			control: "IMG-2", want: evidence.ControlFail, why: "collected with OpenVEX documents (1), which does not count", ignored: "OpenVEX documents (1)", taken: "OpenVEX documents (1)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.Rules = rules(t, b.write(filepath.Join(t.TempDir(), "p.yaml"), scansProfile))
			rel, j := b.scanned(tt.lenient, tt.scan)
			if j.Verdict.Outcome != evidence.VerdictPass {
				t.Fatalf("collected: %s, %s", j.Verdict.Outcome, j.Verdict.Reason)
			}
			// A gate that says nothing of it.
			j = b.gated(rel, brought{})
			if o, why := outcome(j.Verdict, tt.control); o != tt.want {
				t.Errorf("%s is %s: %s", tt.control, o, why)
			}
			if !slices.ContainsFunc(j.Findings, func(f evidence.Finding) bool { return strings.Contains(f.Message, tt.why) }) {
				t.Errorf("no finding says %q: %v", tt.why, j.Findings)
			}
			if !slices.Equal(j.Ignored, []string{tt.ignored}) || len(j.Lists) > 0 {
				t.Errorf("ignored %q, taken %q", j.Ignored, j.Lists)
			}
			// One with the same of its own.
			if j = b.gated(rel, tt.lenient); j.Verdict.Outcome != evidence.VerdictPass || len(j.Ignored)+len(j.Lists) > 0 {
				t.Errorf("with its own: %s, %s; ignored %q, taken %q", j.Verdict.Outcome, j.Verdict.Reason, j.Ignored, j.Lists)
			}
			// One that takes those of the evidence, and says so.
			j = b.gated(rel, brought{evidence: []string{tt.takes}})
			if j.Verdict.Outcome != evidence.VerdictPass || len(j.Ignored) > 0 || !strings.Contains(strings.Join(j.Lists, "; "), tt.taken) {
				t.Errorf("with those of the evidence: %s, %s; ignored %q, taken %q", j.Verdict.Outcome, j.Verdict.Reason, j.Ignored, j.Lists)
			}
			// One that takes something else does not take this.
			other := EvidenceVEX
			if tt.takes == EvidenceVEX {
				other = EvidenceScans
			}
			if j = b.gated(rel, brought{evidence: []string{other, EvidenceSignatures}}); j.Verdict.Outcome == evidence.VerdictPass {
				t.Errorf("takes %s: %s", other, j.Verdict.Outcome)
			}
		})
	}
}

// TestGateListsTighten: the gate's own lists refuse what the evidence let through, and
// what the evidence is stricter in stays so where the gate says nothing of it.
func TestGateListsTighten(t *testing.T) {
	t.Parallel()
	grace := func(p *images.Policy) { p.Grace = evidence.Duration(720 * time.Hour) }
	risky := func(p *images.Policy) { p.Grace, p.EPSSAbove = evidence.Duration(720*time.Hour), 0.5 }
	short := func(p *images.Policy) {
		p.MaxScanAge, p.MaxDatabaseAge = evidence.Duration(time.Hour), evidence.Duration(time.Hour)
	}
	for name, tt := range map[string]struct {
		collected, gate brought
		scan            looked
		before, want    evidence.VerdictOutcome
		why             string
		ignored         []string
	}{
		"the defaults of both": {scan: looked{mediumVuln, noon, noon, "amd64"}, before: evidence.VerdictPass, want: evidence.VerdictPass},
		"a shorter age": {gate: brought{policy: short}, scan: looked{"", noon, noon, "amd64"}, before: evidence.VerdictPass, want: evidence.VerdictIncomplete,
			why: "older than the 1h that are allowed", ignored: []string{"scans of 7 days", "databases of 5 days"}},
		"KEV at the gate": {collected: brought{policy: grace}, gate: brought{policy: grace, kev: exploited}, scan: looked{fixedVuln, noon, noon, "amd64"}, before: evidence.VerdictPass, want: evidence.VerdictFail,
			why: "known to be exploited, listed since 2026-11-21"},
		"EPSS at the gate": {collected: brought{policy: grace}, gate: brought{policy: risky, epss: likely}, scan: looked{fixedVuln, noon, noon, "amd64"}, before: evidence.VerdictPass, want: evidence.VerdictFail,
			why: "EPSS at or above 0.5"},
		"KEV of the evidence": {collected: brought{kev: exploited}, gate: brought{policy: grace}, scan: looked{mediumVuln, noon, noon, "amd64"}, before: evidence.VerdictFail, want: evidence.VerdictFail,
			why: "known to be exploited"},
		"EPSS of the evidence": {collected: brought{policy: risky, epss: likely}, gate: brought{policy: grace}, scan: looked{mediumVuln, noon, noon, "amd64"}, before: evidence.VerdictFail, want: evidence.VerdictFail,
			why: "EPSS at or above 0.5"},
		"a shorter age of the evidence": {collected: brought{policy: short}, scan: looked{"", noon, noon, "amd64"}, before: evidence.VerdictIncomplete, want: evidence.VerdictIncomplete,
			why: "older than the 1h that are allowed"},
		"statements of the gate alone": {gate: brought{vex: harmless}, scan: looked{fixedVuln, noon, noon, "amd64"}, before: evidence.VerdictFail, want: evidence.VerdictPass,
			why: "VEX: not_affected"},
		"a grace of the gate alone": {gate: brought{policy: grace}, scan: looked{fixedVuln, noon, noon, "amd64"}, before: evidence.VerdictFail, want: evidence.VerdictPass,
			why: "it has to be fixed by 2026-12-20"},
		"platforms of the gate": {collected: brought{policy: func(p *images.Policy) { p.Platforms = []string{"linux/amd64", "linux/arm64"} }},
			gate: brought{policy: func(p *images.Policy) { p.Platforms = []string{"linux/arm64"} }},
			scan: looked{"", noon, noon, "arm64"}, before: evidence.VerdictIncomplete, want: evidence.VerdictPass},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.Rules = rules(t, b.write(filepath.Join(t.TempDir(), "p.yaml"), scansProfile))
			rel, j := b.scanned(tt.collected, tt.scan)
			if j.Verdict.Outcome != tt.before {
				t.Fatalf("collected: %s, %s", j.Verdict.Outcome, j.Verdict.Reason)
			}
			j = b.gated(rel, tt.gate)
			if j.Verdict.Outcome != tt.want || !slices.Equal(j.Ignored, tt.ignored) || len(j.Lists) > 0 {
				t.Errorf("gate: %s, %s; ignored %q, taken %q", j.Verdict.Outcome, j.Verdict.Reason, j.Ignored, j.Lists)
			}
			if !slices.ContainsFunc(j.Findings, func(f evidence.Finding) bool { return strings.Contains(f.Message, tt.why) }) {
				t.Errorf("no finding says %q: %v", tt.why, j.Findings)
			}
		})
	}
}

// TestEvidenceLists refuses what a gate cannot be asked for.
func TestEvidenceLists(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	pol, src := brought{vex: harmless}.lists(b)
	own, err := GateImages(pol, src)
	if err != nil {
		t.Fatal(err)
	}
	for want, req := range map[string]GateRequest{
		"name one of the two":              {Images: own, EvidenceLists: []string{EvidenceVEX}},
		`lists of the evidence "registry"`: {EvidenceLists: []string{"registry"}},
	} {
		if _, err := Gate(t.Context(), b.Repo, b.verifier, b.Rules, req); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if _, err := GateImages(images.Policy{EPSSAbove: 2}, images.Sources{}); err == nil || !strings.Contains(err.Error(), "want a probability") {
		t.Errorf("error %v", err)
	}
}
