package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
)

// check runs `helmproof check … -o json` and returns its exit code and output.
func check(t *testing.T, args ...string) (int, report.ReleaseJSON) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), append([]string{"check", "-o", "json"}, args...), stdio{in: strings.NewReader(""), out: &out, err: &errs})
	var got report.OutputJSON
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || len(got.Releases) != 1 {
		t.Fatalf("exit %d, %v\n%s%s", code, err, out.String(), errs.String())
	}
	return code, got.Releases[0]
}

// TestServiceChartPasses holds that the hardened chart passes with its defaults and
// with each example, without a waiver and without anything that could not be checked:
// the agent that reaches into its node by the profile for those.
func TestServiceChartPasses(t *testing.T) {
	t.Parallel()
	chart := filepath.Join("..", "..", "charts", "service")
	examples, err := filepath.Glob(filepath.Join(chart, "examples", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{"defaults": {chart}}
	for _, e := range examples {
		tests[filepath.Base(e)] = []string{chart, "-f", e}
		if filepath.Base(e) == "app-node-exporter.yaml" {
			tests[filepath.Base(e)] = []string{chart, "-f", e, "--profile", "node-agent"}
		}
	}
	if len(tests) < 8 {
		t.Fatalf("only %d value sets", len(tests))
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, got := check(t, args...)
			if code != exitPass || got.Verdict.Outcome != evidence.VerdictPass || len(got.Verdict.Waivers) > 0 {
				t.Errorf("exit %d, %s: %s", code, got.Verdict.Outcome, got.Verdict.Reason)
			}
			for _, f := range got.Findings {
				if f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable && (f.Declared == "" || got.Verdict.Profile != "node-agent") {
					t.Errorf("%s %s: %s: %s", f.Outcome, f.Rule, f.Target, f.Message)
				}
			}
		})
	}
}

// TestEveryChart: all charts of this repository at once, as a shell expands
// charts/*: the library is skipped, and said so. Alone it is an error.
func TestEveryChart(t *testing.T) {
	t.Parallel()
	charts, err := filepath.Glob(filepath.Join("..", "..", "charts", "*"))
	if err != nil || len(charts) < 3 {
		t.Fatalf("charts: %v, %v", charts, err)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), append([]string{"check", "-q"}, charts...), stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != exitPass {
		t.Errorf("exit %d: %s%s", code, out.String(), errs.String())
	}
	if n := strings.Count(out.String(), "PASS "); n != len(charts)-1 {
		t.Errorf("%d of %d pass:\n%s", n, len(charts)-1, out.String())
	}
	if want := "skipped: load " + filepath.Join("..", "..", "charts", "hardened") + ": a library chart renders nothing by itself"; !strings.Contains(errs.String(), want) {
		t.Errorf("stderr %q, want it to say %q", errs.String(), want)
	}
	code := run(t.Context(), []string{"check", filepath.Join("..", "..", "charts", "hardened")}, stdio{in: strings.NewReader(""), out: &out, err: &errs})
	if code != exitUsage {
		t.Errorf("the library alone: exit %d, want %d", code, exitUsage)
	}
}

// TestWeakChartFails holds that the weak chart fails exactly these controls, and
// that each failing finding says where and what to do.
func TestWeakChartFails(t *testing.T) {
	t.Parallel()
	want := []evidence.ControlID{
		"CHT-1", "CHT-2", "CHT-3", "CHT-4", "CHT-5", "RES-1", "RES-2", "RES-3", "HLT-1", "HLT-2", "HLT-3", "HLT-4",
		"AVL-1", "AVL-2", "AVL-3", "AVL-4", "SEC-1", "SEC-2", "SEC-3", "SEC-4", "SEC-5", "SEC-6", "SEC-7", "IMG-1",
		"SCR-1", "SCR-2", "SCR-3", "ASC-1", "ASC-2", "ASC-3", "ASC-4",
	}
	code, got := check(t, filepath.Join("..", "..", "test", "charts", "weak"))
	if code != exitVerdict || got.Verdict.Outcome != evidence.VerdictFail {
		t.Errorf("exit %d, %s", code, got.Verdict.Outcome)
	}
	var failed []evidence.ControlID
	for _, r := range got.Verdict.Results {
		if r.Outcome == evidence.ControlFail {
			failed = append(failed, r.Control)
		}
	}
	if d := cmp.Diff(want, failed); d != "" {
		t.Errorf("failing controls (-want +got):\n%s", d)
	}
	for _, f := range got.Findings {
		if f.Outcome != evidence.OutcomeFail {
			continue
		}
		if f.Remediation == "" || f.Message == "" || len(f.Evidence) == 0 || f.Target.Kind == "" || f.Target.Name == "" {
			t.Errorf("%s says too little: %+v", f.Rule, f)
		}
		if f.Target.Kind != "Chart" && f.Target.File == "" {
			t.Errorf("%s: %s without its template file", f.Rule, f.Target.Object())
		}
	}
	// Nothing that was found as a secret is printed.
	raw, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"correct-horse", "open-sesame"} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the output holds %q", secret)
		}
	}
}
