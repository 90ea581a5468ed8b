package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// failing makes findings of a control, of which each object has one.
func failing(j *pipeline.Judged, c evidence.ControlID, o evidence.ControlOutcome, s evidence.Severity, n int, fix string) {
	r := evidence.ControlResult{Control: c, Outcome: o, Required: true, Reason: fmt.Sprintf("%d findings fail", n)}
	for i := range n {
		f := evidence.Finding{Rule: "rule/" + string(c), Controls: []evidence.ControlID{c}, Outcome: evidence.OutcomeFail, Severity: s, Message: fmt.Sprintf("what %s says of it", c), Remediation: fix,
			Target: evidence.Target{Kind: "Deployment", Namespace: "default", Name: fmt.Sprintf("argo-cd-argocd-applicationset-controller-%d", i), File: "templates/argocd-applicationset/deployment.yaml", Line: 12}}
		f.ID = evidence.FindingID(f)
		j.Findings = append(j.Findings, f)
		r.Findings = append(r.Findings, f.ID)
	}
	r.Counts.Fail = n
	j.Verdict.Results = append(j.Verdict.Results, r)
}

func judgedOf(outcome evidence.VerdictOutcome) *pipeline.Judged {
	j := &pipeline.Judged{Release: evidence.Release{Chart: "argo-cd", Version: "10.1.1", Namespace: "default", KubeVersion: "1.37"}}
	_, j.By.Catalog = config.Catalog()
	j.By.Profile = &evidence.Profile{Name: "chart"}
	j.Verdict.Outcome, j.Verdict.Profile = outcome, "chart"
	return j
}

// The first things to do are the worst, then those that clear the most; each finding
// counts once, and what is optional is none.
func TestTasks(t *testing.T) {
	t.Parallel()
	j := judgedOf(evidence.VerdictFail)
	failing(j, "HLT-3", evidence.ControlFail, evidence.SeverityLow, 9, "Add a startupProbe.")
	failing(j, "RBC-1", evidence.ControlFail, evidence.SeverityHigh, 2, "Name the rights.")
	failing(j, "SEC-2", evidence.ControlFail, evidence.SeverityHigh, 4, "Set runAsNonRoot.")
	failing(j, "SCR-1", evidence.ControlFail, evidence.SeverityCritical, 1, "Take it from a Secret.")
	failing(j, "AVL-1", evidence.ControlFail, evidence.SeverityMedium, 3, "")
	failing(j, "AVL-4", evidence.ControlFail, evidence.SeverityCritical, 3, "Set replicas.")
	j.Verdict.Results[5].Required = false
	j.Verdict.Results[1].Findings = append(j.Verdict.Results[1].Findings, j.Verdict.Results[3].Findings...) // of two controls
	j.Verdict.Results = append(j.Verdict.Results, evidence.ControlResult{Control: "IMG-1", Outcome: evidence.ControlIncomplete, Required: true, Reason: "the registry did not answer"})
	byID := map[string]evidence.Finding{}
	for _, f := range j.Findings {
		byID[f.ID] = f
	}
	var got []string
	for _, k := range tasks(&j.Verdict, j.By.Catalog, byID) {
		got = append(got, fmt.Sprintf("%s %s %d %s", k.severity, k.control, k.findings, k.text))
	}
	want := "critical SCR-1 1 Take it from a Secret.\nhigh SEC-2 4 Set runAsNonRoot.\nhigh RBC-1 2 Name the rights.\nmedium AVL-1 3 what AVL-1 says of it\nlow HLT-3 9 Add a startupProbe.\nhigh IMG-1 0 the registry did not answer"
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("\n%s\nwant\n%s", s, want)
	}
}

// What is printed of a release, of many and of a repository fits the terminal; the worst
// is first, and -v leaves nothing out.
func TestColumnsFit(t *testing.T) {
	t.Parallel()
	fail := judgedOf(evidence.VerdictFail)
	for i, c := range []evidence.ControlID{"HLT-3", "SEC-2", "RBC-1", "IMG-1", "RES-1", "CHT-1", "AVL-4"} {
		s := []evidence.Severity{"low", "high", "critical", "high", "medium", "low", "medium"}[i]
		failing(fail, c, evidence.ControlFail, s, 2+i, "Set what "+string(c)+" asks for in the pod's securityContext, in templates/argocd-application-controller/statefulset.yaml.")
	}
	fail.Bundle = evidence.DigestOf([]byte("a"))
	pass := judgedOf(evidence.VerdictPass)
	pass.Verdict.Results = controls(true, map[evidence.ControlOutcome]int{"pass": 3})
	for i := range pass.Verdict.Results {
		pass.Verdict.Results[i].Control = []evidence.ControlID{"SEC-1", "SEC-2", "AVL-1"}[i]
	}
	pointers := []repository.Pointer{{Bundle: fail.Bundle, Chart: "a-chart-with-a-long-name", Version: "1.0.0-rc.1+build.5", Namespace: "a-namespace-that-is-long", Profile: "a-profile-that-is-long", Outcome: evidence.VerdictIncomplete, EvaluatedAt: time.Unix(0, 0), ValuesDigest: evidence.DigestOf([]byte("v"))},
		{Bundle: fail.Bundle, Chart: "web", Namespace: "n", Profile: "chart", Outcome: evidence.VerdictPass, EvaluatedAt: time.Unix(0, 0)}}
	for _, width := range []int{40, 50, 80, 120} {
		for _, color := range []bool{false, true} {
			var b bytes.Buffer
			term := &terminal{w: &b, width: width, color: color}
			printJudged(term, fail, shownFindings)
			term.line(verdictLine(term, fail))
			printJudged(term, fail, everyFinding)
			printJudged(term, pass, shownFindings)
			printMany(term, []*pipeline.Judged{fail, pass, fail}, []pipeline.Job{{Ref: "charts/nowhere"}}, map[*pipeline.Judged]string{fail: "charts/one/argo-cd", pass: "charts/two/argo-cd"})
			printPointers(term, pointers)
			text := sgr.ReplaceAllString(b.String(), "")
			for line := range strings.Lines(text) {
				if w := columns(strings.TrimSuffix(line, "\n")); w > width {
					t.Errorf("%d columns of %d: %q", w, width, line)
				}
			}
			flat := strings.Join(strings.Fields(text), " ")
			if !color && (strings.Index(flat, "RBC-1") > strings.Index(flat, "SEC-2") || strings.Index(flat, "SEC-2") > strings.Index(flat, "HLT-3")) {
				t.Errorf("%d columns: the worst is not first:\n%s", width, text)
			}
			for _, want := range []string{"7 controls fail by 35 findings: 4 critical, 8 high, 14 medium, 9 low", "1 critical RBC-1", "and 1 more: -v shows all", "These clear 26 of 35 failed findings.", "4 releases: 1 pass, 2 fail, 0 incomplete, 1 not judged", "verdict bundle chart"} {
				if !strings.Contains(flat, want) {
					t.Errorf("%d columns: no %q in\n%s", width, want, text)
				}
			}
			if n := strings.Count(flat, "argocd-applicationset-controller-"); width > 50 && n < 35 {
				t.Errorf("%d columns: -v shows %d of 35 findings", width, n)
			}
			if width == 120 && !strings.Contains(text, evidence.DigestOf([]byte("v")).Short()) {
				t.Errorf("the digest of the values is not there:\n%s", text)
			}
		}
	}
}

// A paragraph that begins after a mark fits, coloured or not, and says its colours to the terminal only.
func TestParaAfterAMark(t *testing.T) {
	t.Parallel()
	c := &gate.Counted{Outcome: evidence.VerdictFail, Reason: "1 of 35 required controls failed: SEC-5", Baseline: true, NotCounted: []evidence.ControlID{"SEC-2", "SEC-7"}, New: []string{"a"}}
	found := []evidence.Finding{{ID: "a", Controls: []evidence.ControlID{"SEC-5"}, Target: evidence.Target{Kind: "Deployment", Name: "redis", File: "templates/redis.yaml", Line: 122}, Message: "readOnlyRootFilesystem is not true"}}
	for width := 40; width < 80; width++ {
		for _, color := range []bool{false, true} {
			var b bytes.Buffer
			term := &terminal{w: &b, width: width, color: color}
			printCounted(term, c, found)
			term.para(term.mark(report.MarkFail, 0)+"  ", "  ", "14 controls fail by 94 findings: 35 high, 52 medium, 7 low; 13 not checked")
			text := sgr.ReplaceAllString(b.String(), "")
			for line := range strings.Lines(text) {
				if w := columns(strings.TrimSuffix(line, "\n")); w > width {
					t.Errorf("%d columns of %d: %q", w, width, line)
				}
			}
			flat := strings.Join(strings.Fields(text), " ")
			for _, want := range []string{"new SEC-5 templates/redis.yaml:122 Deployment redis: readOnlyRootFilesystem is not true", "FAIL by --baseline: 1 of 35", "13 not checked"} {
				if !strings.Contains(strings.ReplaceAll(flat, " ", ""), strings.ReplaceAll(want, " ", "")) {
					t.Errorf("%d columns: no %q in\n%s", width, want, text)
				}
			}
			if strings.Contains(text, "U+") {
				t.Errorf("colours are shown:\n%s", text)
			}
		}
	}
}
