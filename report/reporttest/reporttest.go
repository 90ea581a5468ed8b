// Package reporttest makes judged releases to render in tests: realistic,
// hostile and large ones, the same every time.
package reporttest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
)

// Bytes returns what a renderer writes.
func Bytes(render func(io.Writer, *report.Document) error, d *report.Document) ([]byte, error) {
	var b bytes.Buffer
	err := render(&b, d)
	return b.Bytes(), err
}

// SARIF is the renderer of SARIF with these options.
func SARIF(o report.SARIFOptions) func(io.Writer, *report.Document) error {
	return func(w io.Writer, d *report.Document) error { return report.SARIF(w, d, o) }
}

var evaluated = time.Date(2026, 11, 23, 9, 30, 12, 0, time.UTC)

type builder struct {
	in        report.Input
	manifests evidence.Digest
}

func newBuilder(chart, version string) *builder {
	manifests := evidence.DigestOf([]byte("manifests of " + chart))
	art := func(name string, size int64) report.Artifact {
		return report.Artifact{Name: name, Digest: evidence.DigestOf([]byte(chart + name)), Size: size}
	}
	b := &builder{manifests: manifests, in: report.Input{
		BundleID: evidence.DigestOf([]byte("bundle of " + chart)),
		Release: evidence.Release{
			Scope: evidence.ScopeRelease, Source: "chart", Chart: chart, Version: version, AppVersion: "2026.11", ReleaseName: chart, Namespace: "payments",
			KubeVersion: "1.37", ChartDigest: evidence.DigestOf([]byte("chart")), ValuesDigest: evidence.DigestOf([]byte("values")),
			ManifestsDigest: evidence.DigestOf([]byte("true manifests")), SealedManifestsDigest: manifests, Redactions: 2,
			Images: []string{"registry.example.com/payments/api:1.4.2", "registry.example.com/payments/worker@" + string(evidence.DigestOf([]byte("worker")))},
		},
		Profile:     &evidence.Profile{Name: "chart", Title: "Chart, no cluster needed", Scope: evidence.ScopeRelease, FailOn: evidence.SeverityMedium},
		Catalog:     Catalog(),
		SignerKeyID: evidence.DigestOf([]byte("public key")).Hex(),
		Runs:        evidence.Runs{Tool: "helmproof 0.1.0"},
	}}
	for i, c := range []string{"helm", "podsecurity", "policy", "secrets", "workload"} {
		at := evaluated.Add(-2 * time.Second)
		b.in.Runs.Collectors = append(b.in.Runs.Collectors, evidence.CollectorRun{
			Collector: c, Outcome: evidence.OutcomePass, StartedAt: at, FinishedAt: at.Add(time.Duration(i*41+17) * time.Millisecond),
		})
	}
	b.in.Artifacts = []report.Artifact{
		{Name: "artifacts/release/manifests.yaml", Digest: manifests, Size: 48211},
		art("artifacts/release/chart.json", 9120), art("artifacts/release/values.yaml", 3304),
		art("artifacts/helm/lint.json", 1822), art("artifacts/secrets/gitleaks.json", 640),
		art("release.json", 1502), art("findings.json", 60233), art("verdict.json", 8122), art("runs.json", 901), art("policies.yaml", 22841),
		art("profile.yaml", 611), art("catalog.yaml", 19340),
	}
	return b
}

func (b *builder) add(c evidence.Control, o evidence.Outcome, t evidence.Target, message string) string {
	f := evidence.Finding{
		Rule: c.Rules[0], Controls: []evidence.ControlID{c.ID}, Target: t, Outcome: o, Severity: c.Severity, Message: message,
		Evidence: []evidence.Pointer{{Artifact: "artifacts/release/manifests.yaml", Digest: b.manifests, Pointer: "/spec/template/spec/containers/0",
			Lines: fmt.Sprintf("%d-%d", t.Line*3+1, t.Line*3+40)}},
	}
	if o == evidence.OutcomeFail || o == evidence.OutcomeWarn {
		f.Remediation = c.Remediation
	}
	f.ID = evidence.FindingID(f)
	b.in.Findings = append(b.in.Findings, f)
	return f.ID
}

// finish decides a verdict as plainly as possible: the gate is not tested here.
func (b *builder) finish(controls []evidence.Control, waivers []evidence.WaiverResult) report.Input {
	waived := map[string]bool{}
	for _, w := range waivers {
		if w.Status == "applied" {
			for _, id := range w.Findings {
				waived[id] = true
			}
		}
	}
	b.in.Findings = evidence.NormalizeFindings(b.in.Findings)
	v := evidence.Verdict{
		Outcome: evidence.VerdictPass, Profile: b.in.Profile.Name, ProfileDigest: evidence.DigestOf([]byte("profile")),
		CatalogDigest: evidence.DigestOf([]byte("catalog")), Waivers: waivers, EvaluatedAt: evaluated,
	}
	failed, open := 0, 0
	for _, c := range controls {
		r := evidence.ControlResult{Control: c.ID, Required: c.ID != "ASC-2"}
		for _, f := range b.in.Findings {
			if f.Controls[0] != c.ID {
				continue
			}
			switch {
			case waived[f.ID]:
				r.Counts.Waived++
			case f.Outcome == evidence.OutcomeFail:
				r.Counts.Fail++
			case f.Outcome == evidence.OutcomeWarn:
				r.Counts.Warn++
			case f.Outcome == evidence.OutcomePass:
				r.Counts.Pass++
				continue
			case f.Outcome == evidence.OutcomeNotApplicable:
				r.Counts.NotApplicable++
				continue
			case f.Outcome == evidence.OutcomeNotChecked:
				r.Counts.NotChecked++
			default:
				r.Counts.Error++
			}
			r.Findings = append(r.Findings, f.ID)
		}
		n := r.Counts
		switch {
		case n.Fail > 0:
			r.Outcome, r.Reason = evidence.ControlFail, fmt.Sprintf("%d of %d findings fail", n.Fail, n.Fail+n.Pass+n.Waived)
		case n.NotChecked+n.Error > 0:
			r.Outcome, r.Reason = evidence.ControlIncomplete, fmt.Sprintf("%d could not be checked", n.NotChecked+n.Error)
		case n.Waived > 0:
			r.Outcome, r.Reason = evidence.ControlWaived, fmt.Sprintf("all %d failing findings are waived", n.Waived)
		case n.Warn > 0:
			r.Outcome, r.Reason = evidence.ControlWarn, fmt.Sprintf("%d findings below the threshold", n.Warn)
		case n.Pass > 0:
			r.Outcome, r.Reason = evidence.ControlPass, fmt.Sprintf("holds for all %d targets", n.Pass)
		case n.NotApplicable > 0:
			r.Outcome, r.Reason = evidence.ControlNotApplicable, "no object of the release is concerned"
		default:
			r.Outcome, r.Reason = evidence.ControlIncomplete, "no finding: collector "+c.Collector+" gave no answer"
		}
		if r.Required && r.Outcome == evidence.ControlFail {
			failed++
		}
		if r.Required && r.Outcome == evidence.ControlIncomplete {
			open++
		}
		v.Results = append(v.Results, r)
	}
	switch {
	case failed > 0:
		v.Outcome = evidence.VerdictFail
		v.Reason = fmt.Sprintf("%d required controls fail, %d could not be checked.", failed, open)
	case open > 0:
		v.Outcome = evidence.VerdictIncomplete
		v.Reason = fmt.Sprintf("%d required controls could not be checked.", open)
	default:
		v.Reason = "Every required control holds."
	}
	b.in.Verdict = v
	return b.in
}

func deployment(name, container string, line int) evidence.Target {
	return evidence.Target{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "payments", Name: name, Container: container, File: "templates/" + name + "-deployment.yaml", Line: line}
}

// Weak is a release with some forty findings: failed, warned, waived, not
// checked; one waiver applied, one expired, one unused; a collector that failed.
func Weak() report.Input {
	b := newBuilder("payments", "1.4.2")
	controls := chartControls()
	var waived []string
	for i, c := range controls {
		chart := evidence.Target{Kind: "Chart", Name: "payments", File: "Chart.yaml", Line: 1}
		switch c.ID {
		case "CHT-1":
			b.add(c, evidence.OutcomeFail, evidence.Target{Kind: "Chart", Name: "payments", File: "templates/NOTES.txt", Line: 4}, "helm lint warns: coalesce.go: destination for payments.ingress.tls is a table. Ignoring non-table value (false).")
		case "CHT-2", "CHT-5":
			b.add(c, evidence.OutcomePass, chart, "holds")
		case "CHT-3":
			b.add(c, evidence.OutcomeNotChecked, evidence.Target{APIVersion: "monitoring.coreos.com/v1", Kind: "ServiceMonitor", Namespace: "payments", Name: "payments", File: "templates/servicemonitor.yaml", Line: 1},
				"No schema for monitoring.coreos.com/v1 ServiceMonitor: the chart ships no CRD for it. Give one with --schemas.")
		case "CHT-4":
			b.add(c, evidence.OutcomeWarn, evidence.Target{APIVersion: "flowcontrol.apiserver.k8s.io/v1beta3", Kind: "FlowSchema", Name: "payments", File: "templates/flowschema.yaml", Line: 2}, "flowcontrol.apiserver.k8s.io/v1beta3 is deprecated since 1.29.")
		case "SCR-1":
			continue // its collector failed
		case "ASC-1", "ASC-3", "AVL-2":
			b.add(c, evidence.OutcomeNotApplicable, chart, "no object of this kind")
		case "HLT-3":
			for _, n := range []string{"api", "worker", "reconciler"} {
				waived = append(waived, b.add(c, evidence.OutcomeFail, deployment(n, n, 21), "No startup probe."))
			}
		case "HLT-1", "RES-3", "SEC-6", "IMG-1":
			for _, n := range []string{"api", "worker", "reconciler"} {
				b.add(c, evidence.OutcomePass, deployment(n, n, 21), "holds")
			}
		default:
			for j, n := range []string{"api", "worker", "reconciler"}[:1+i%3] {
				b.add(c, evidence.OutcomeFail, deployment(n, n, 12+j), c.Statement[:len(c.Statement)-1]+": it is not so here.")
			}
			b.add(c, evidence.OutcomePass, deployment("gateway", "gateway", 30), "holds")
		}
	}
	i := slices.IndexFunc(b.in.Runs.Collectors, func(r evidence.CollectorRun) bool { return r.Collector == "secrets" })
	b.in.Runs.Collectors[i].Outcome = evidence.OutcomeError
	b.in.Runs.Collectors[i].Error = "no result within 30s"
	return b.finish(controls, []evidence.WaiverResult{
		{Waiver: evidence.Waiver{Control: "HLT-3", Target: evidence.Selector{Kind: "Deployment", Namespace: "payments"}, Reason: "Starts in under two seconds; the readiness probe is enough.",
			ApprovedBy: "Dana Whitfield, platform security", ExpiresAt: evaluated.AddDate(0, 3, 0)}, Status: "applied", Reason: "accepts 3 findings until 2027-02-23", Findings: waived},
		{Waiver: evidence.Waiver{Control: "SEC-5", Target: evidence.Selector{Name: "worker*"}, Reason: "Writes a scratch file until release 1.4.",
			ApprovedBy: "Dana Whitfield, platform security", ExpiresAt: evaluated.AddDate(0, 0, -9)}, Status: "expired", Reason: "expired on 2026-11-14, no effect; it would cover 1 finding"},
		{Waiver: evidence.Waiver{Control: "RES-2", Target: evidence.Selector{Kind: "Job", Name: "migrate-*"}, Reason: "One-off migration.",
			ApprovedBy: "R. Okafor", ExpiresAt: evaluated.AddDate(0, 1, 0)}, Status: "unused", Reason: "no failing or unchecked finding matches its target"},
	})
}

// Small is a release with one control of each outcome.
func Small() report.Input {
	b := newBuilder("mini", "0.2.0")
	var controls []evidence.Control
	for _, c := range chartControls() {
		switch c.ID {
		case "CHT-2", "CHT-3", "RES-1", "HLT-3", "SEC-5", "ASC-3":
			controls = append(controls, c)
		}
	}
	chart := evidence.Target{Kind: "Chart", Name: "mini"}
	b.add(controls[0], evidence.OutcomePass, chart, "holds")
	b.add(controls[1], evidence.OutcomeNotChecked, deployment("api", "", 3), "No schema for this kind.")
	b.add(controls[2], evidence.OutcomeFail, deployment("api", "api", 12), "No memory request.")
	b.add(controls[2], evidence.OutcomeFail, chart, "The values name no requests.")
	b.add(controls[2], evidence.OutcomePass, deployment("api", "proxy", 19), "holds")
	waived := b.add(controls[3], evidence.OutcomeFail, deployment("api", "api", 12), "No startup probe.")
	b.add(controls[4], evidence.OutcomeWarn, deployment("api", "api", 12), "The root file system is writable.")
	b.add(controls[5], evidence.OutcomeNotApplicable, chart, "no object of this kind")
	return b.finish(controls, []evidence.WaiverResult{{
		Waiver: evidence.Waiver{Control: "HLT-3", Target: evidence.Selector{Kind: "Deployment"}, Reason: "Starts at once.", ApprovedBy: "R. Okafor", ExpiresAt: evaluated.AddDate(0, 1, 0)},
		Status: "applied", Reason: "accepts 1 finding until 2026-12-23", Findings: []string{waived},
	}})
}

// Passing is a release that passes.
func Passing() report.Input {
	b := newBuilder("service", "0.1.0")
	for _, c := range chartControls() {
		b.add(c, evidence.OutcomePass, deployment("service", "service", 12), "holds")
	}
	b.in.Release.Redactions = 0
	b.in.Release.SealedManifestsDigest = b.in.Release.ManifestsDigest
	return b.finish(chartControls(), nil)
}

// Unsealed is Weak as `check` has it: no bundle, no signer.
func Unsealed() report.Input {
	in := Weak()
	in.BundleID, in.SignerKeyID, in.Artifacts = "", "", nil
	return in
}

// Many is a release with n failed findings.
func Many(n int) report.Input {
	b := newBuilder("platform", "3.0.0")
	controls := chartControls()
	for i := range n {
		c := controls[i%len(controls)]
		name := fmt.Sprintf("service-%04d", i)
		b.add(c, evidence.OutcomeFail, deployment(name, "main", i%90+1), c.Statement[:len(c.Statement)-1]+": it is not so here.")
	}
	return b.finish(controls, nil)
}

// HostileNames are names that break careless renderers.
var HostileNames = []string{
	"支付服务-核心系统", "خدمة-المدفوعات", "שירות-תשלומים", "плата-сервис", "emoji-🚀🔥-rocket", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`,
	"a|b|c `code` **bold** [x](javascript:alert(1))", "</style></title></svg>{{.}}", "line\nbreak\r\n# heading", "bell\x07nul\x00esc\x1b[31m", "rtl\u202egnp.exe", "zero\u200bwidth\ufeff",
	"bad\xff\xfeutf8", "\ufffe\uffff", "]]>&amp;<![CDATA[", "https://evil.example www.evil.example @octocat #1", "%s%n%d", "(paren) \\ back", "$x^2$ ~~s~~",
	"a-very-long-name/" + longWord + "/" + longWord + ".example.com", longWord + longWord + longWord, "", " ", "n\u0303a\u0308", "ﬁ ﷽ ĳ", "𝔘𝔫𝔦",
}

const longWord = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"

// Hostile is a release whose every text is s.
func Hostile(s string) report.Input {
	b := newBuilder(s, s)
	controls := []evidence.Control{
		{ID: evidence.ControlID(s), Group: s, Title: s, Statement: s, Severity: evidence.SeverityHigh, Rules: []string{s}, Remediation: s, Frameworks: map[string][]string{s: {s}, "nist": {s}}},
		{ID: "X-1", Group: "X", Title: s, Statement: s, Severity: evidence.Severity(s), Rules: []string{s + "1"}, Remediation: s},
	}
	b.in.Catalog = &evidence.Catalog{Groups: []evidence.Group{{ID: s, Title: s}}, Frameworks: []evidence.Framework{{ID: s, Title: s, URL: s}}, Controls: controls}
	b.in.Profile = &evidence.Profile{Name: s, Title: s}
	t := evidence.Target{APIVersion: s, Kind: s, Name: s, Namespace: s, Container: s, File: s, Line: 1}
	w := b.add(controls[0], evidence.OutcomeFail, t, s+" waived")
	b.add(controls[0], evidence.OutcomeFail, t, s)
	b.add(controls[1], evidence.OutcomeNotChecked, t, s)
	b.add(controls[1], evidence.OutcomeWarn, t, s)
	for i := range b.in.Findings {
		b.in.Findings[i].Evidence = []evidence.Pointer{{Artifact: s, Digest: evidence.Digest(s), Pointer: s, Lines: s}}
	}
	r := &b.in.Release
	r.AppVersion, r.ReleaseName, r.Namespace, r.KubeVersion, r.Cluster, r.Images = s, s, s, s, s, []string{s}
	b.in.SignerKeyID = s
	b.in.Drill = HostileFigures(s)
	b.in.Runs.Tool = "helmproof " + s
	b.in.Runs.Collectors = append(b.in.Runs.Collectors, evidence.CollectorRun{Collector: s, Outcome: evidence.OutcomeError, Error: s})
	b.in.Artifacts = append(b.in.Artifacts, report.Artifact{Name: s, Digest: evidence.Digest(s)})
	return b.finish(controls, []evidence.WaiverResult{
		{Waiver: evidence.Waiver{Control: controls[0].ID, Target: evidence.Selector{Kind: s, Name: s}, Reason: s, ApprovedBy: s, ExpiresAt: evaluated}, Status: "applied", Findings: []string{w, s}},
		{Waiver: evidence.Waiver{Control: evidence.ControlID(s), Reason: s}, Status: s, Reason: s},
	})
}
