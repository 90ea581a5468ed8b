package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
)

const benchImage = "registry.example.com/kube-bench@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// benchOutput is kube-bench's output for one target with these statuses.
func benchOutput(t *testing.T, statuses ...string) []byte {
	t.Helper()
	raw, err := json.Marshal([]any{benchTarget("4", "node", statuses...)})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// benchTarget is the part of it for one target, whose checks are numbered from section.
func benchTarget(section, target string, statuses ...string) map[string]any {
	var results []map[string]any
	n := map[string]int{}
	for i, s := range statuses {
		n[s]++
		results = append(results, map[string]any{"test_number": fmt.Sprintf("%s.1.%d", section, i+1), "test_desc": "A file is closed", "status": s, "scored": s != "INFO", "remediation": "Close it."})
	}
	return map[string]any{
		"id": section, "version": "cis-1.12", "node_type": target, "total_pass": n["PASS"], "total_fail": n["FAIL"], "total_warn": n["WARN"], "total_info": n["INFO"],
		"tests": []map[string]any{{"section": section + ".1", "pass": n["PASS"], "fail": n["FAIL"], "warn": n["WARN"], "info": n["INFO"], "results": results}},
	}
}

// bench is a working directory with a key, a repository and a cluster of two workers.
type bench struct {
	t         *testing.T
	dir, conf string
	server    *benchtest.Server
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	var stop func()
	b.server, stop = benchtest.New(benchtest.Node("a"), benchtest.Node("b"))
	t.Cleanup(stop)
	out := map[string][]byte{"a": benchtest.Log(benchOutput(t, "PASS", "FAIL", "WARN"), 0, ""), "b": benchtest.Log(benchOutput(t, "PASS", "PASS", "WARN"), 0, "")}
	b.server.Log = func(node string, _ int) []byte { return out[node] }
	b.conf = filepath.Join(b.dir, "kubeconfig")
	if err := os.WriteFile(b.conf, b.server.Kubeconfig(), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(exitPass, "keygen", filepath.Join(b.dir, "test"))
	return b
}

// run runs a command in the bench's repository and returns its output.
func (b *bench) run(want int, args ...string) string {
	b.t.Helper()
	if args[0] != "keygen" {
		args = append(args, "--repo", filepath.Join(b.dir, "repo"))
		switch args[0] {
		case "collect":
			args = append(args, "--key", filepath.Join(b.dir, "test.key"))
		case "list":
		default:
			args = append(args, "--trust", filepath.Join(b.dir, "test.pub"))
		}
	}
	var out, errs bytes.Buffer
	if code := run(b.t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != want {
		b.t.Fatalf("%v: exit code %d, want %d\n%s%s", args, code, want, out.String(), errs.String())
	}
	return out.String()
}

func (b *bench) json(want int, args ...string) report.ReleaseJSON {
	b.t.Helper()
	var out report.OutputJSON
	if err := json.Unmarshal([]byte(b.run(want, append(args, "-o", "json")...)), &out); err != nil || len(out.Releases) != 1 {
		b.t.Fatalf("%v: %d releases, %v", args, len(out.Releases), err)
	}
	return out.Releases[0]
}

// result is the outcome and reason of a control.
func result(t *testing.T, r report.ReleaseJSON, id evidence.ControlID) (evidence.ControlOutcome, string) {
	t.Helper()
	for _, c := range r.Verdict.Results {
		if c.Control == id {
			return c.Outcome, c.Reason
		}
	}
	t.Fatalf("no result for %s", id)
	return "", ""
}

// TestCollectCluster seals a cluster's evidence, and every command reads it.
func TestCollectCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	text := b.run(exitVerdict, "collect", "--cluster", "--kubeconfig", b.conf, "--kube-bench-image", benchImage)
	for _, want := range []string{"cluster\n0c1a5be0-0000-4000-8000-000000000001, Kubernetes 1.34, profile cluster", "CIS-1", "Node a", "check 4.1.2: FAIL on 1 (a), PASS on 1 (b)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if left := b.server.Namespaces(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	b.server.AddNode(benchtest.Node("c"))
	b.server.Job = func(node string, _ int) benchtest.State {
		if node == "c" {
			return benchtest.State{Job: batchv1.JobFailed, Reason: "BackoffLimitExceeded"}
		}
		return benchtest.Done
	}
	r := b.json(exitVerdict, "collect", "--cluster", "--kubeconfig", b.conf, "--kube-bench-image", benchImage)
	if o, _ := result(t, r, "CIS-2"); o != evidence.ControlFail {
		t.Errorf("CIS-2 %s", o)
	}
	// All that follows needs no cluster.
	if err := os.Remove(b.conf); err != nil {
		t.Fatal(err)
	}
	if text := b.run(exitPass, "verify", "latest"); !strings.Contains(text, "names this cluster") {
		t.Error(text)
	}
	if text := b.run(exitPass, "show", "latest"); !strings.Contains(text, "Kubernetes 1.34, profile cluster") || strings.Contains(strings.SplitN(text, "\n\n", 2)[0], "namespace") {
		t.Error(text)
	}
	list := b.run(exitPass, "list", "-q")
	ids := strings.Fields(list)
	if len(ids) != 2 {
		t.Fatal(list)
	}
	if text := b.run(exitVerdict, "diff", ids[1], ids[0]); !strings.Contains(text, "CIS-2") {
		t.Error(text)
	}
	for _, format := range []string{"pdf", "md", "html", "json", "sarif", "junit"} {
		if raw := b.run(exitPass, "report", "latest", "--format", format); len(raw) < 1000 {
			t.Errorf("%s: %d bytes", format, len(raw))
		}
	}
}

// TestGateComposesCluster joins a release's evidence with its cluster's, by
// fingerprint and age.
func TestGateComposesCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	chart := filepath.Join("..", "..", "charts", "service")
	gate := func() report.ReleaseJSON {
		return b.json(exitVerdict, "gate", "--chart", "service", "--profile", "release")
	}

	b.run(exitPass, "collect", chart)
	b.run(exitVerdict, "collect", "--cluster", "--kubeconfig", b.conf, "--kube-bench-image", benchImage)
	if o, why := result(t, gate(), "CIS-1"); o != evidence.ControlIncomplete || !strings.Contains(why, "names no cluster to match") {
		t.Errorf("a release that names no cluster: %s, %s", o, why)
	}
	if r := b.json(exitPass, "collect", chart, "--kubeconfig", b.conf); r.Verdict.Outcome != evidence.VerdictPass {
		t.Error(r.Verdict.Outcome)
	}
	r := gate()
	if o, why := result(t, r, "CIS-1"); o != evidence.ControlFail {
		t.Errorf("CIS-1 %s, %s", o, why)
	}
	if o, why := result(t, r, "CIS-2"); o != evidence.ControlPass {
		t.Errorf("CIS-2 %s, %s", o, why)
	}
	if o, _ := result(t, r, "RES-1"); o != evidence.ControlPass {
		t.Errorf("RES-1 %s", o)
	}
	// Another cluster's evidence, and old evidence, do not count.
	stale := b.json(exitVerdict, "gate", "--chart", "service", "--profile", "release", "--max-age", "1ns")
	if o, why := result(t, stale, "CIS-2"); o != evidence.ControlIncomplete || !strings.Contains(why, "old, the limit is") {
		t.Errorf("stale: %s, %s", o, why)
	}
	other, stop := benchtest.New(benchtest.Node("z"))
	defer stop()
	other.Identify("0c1a5be0-0000-4000-8000-000000000002")
	other.Log = func(string, int) []byte { return benchtest.Log(benchOutput(t, "PASS", "PASS"), 0, "") }
	conf := filepath.Join(b.dir, "other")
	if err := os.WriteFile(conf, other.Kubeconfig(), 0o600); err != nil {
		t.Fatal(err)
	}
	b.run(exitVerdict, "collect", "--cluster", "--kubeconfig", conf, "--kube-bench-image", benchImage)
	if o, why := result(t, gate(), "CIS-1"); o != evidence.ControlFail {
		t.Errorf("another cluster's newer evidence: %s, %s", o, why)
	}
	// Newer evidence of the chart alone does not make the release lose its cluster.
	b.run(exitPass, "collect", chart)
	if o, why := result(t, gate(), "CIS-2"); o != evidence.ControlPass {
		t.Errorf("CIS-2 %s, %s", o, why)
	}
	// A sealed answer names its inputs, and verifies with them.
	b.run(exitVerdict, "gate", "--chart", "service", "--profile", "release", "--seal", "--key", filepath.Join(b.dir, "test.key"))
	b.run(exitPass, "verify")
}
