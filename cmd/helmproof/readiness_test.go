package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
)

// TestReadinessOfCluster answers items about a release and its cluster by evidence that
// commands collected: done, then with nodes that differ, then with evidence that is too
// old, then for a release whose evidence names no cluster.
func TestReadinessOfCluster(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	good := map[string][]byte{"a": benchtest.Log(benchOutput(t, "PASS", "PASS"), 0, ""), "b": benchtest.Log(benchOutput(t, "PASS", "PASS"), 0, "")}
	bad := b.server.Log
	b.server.Log = func(node string, _ int) []byte { return good[node] }
	checklist := filepath.Join(b.dir, "checklist.yaml")
	if err := os.WriteFile(checklist, []byte(`{name: own, title: Own, items: [
  {id: charts, title: Charts, controls: [CHT-1, CHT-3, SEC-1], get: helmproof collect CHART},
  {id: cis, title: CIS, controls: [CIS-2, CIS-3], maxAge: 24h, get: helmproof collect --cluster}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(want int, more ...string) string {
		t.Helper()
		return b.run(want, append([]string{"readiness", "service", "--checklist", checklist}, more...)...)
	}
	holds := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q is not in\n%s", w, text)
			}
		}
	}
	chart := filepath.Join("..", "..", "charts", "service")
	b.run(exitPass, "collect", chart, "--kubeconfig", b.conf)
	holds(ask(exitVerdict), "DONE          charts", "MISSING       cis", "CIS-3: incomplete", "get it: helmproof collect --cluster")
	b.run(exitVerdict, "collect", "--cluster", "--kubeconfig", b.conf, "--kube-bench-image", benchImage)
	holds(ask(exitPass), "DONE          cis", "CIS-3: pass", "● READY")
	holds(ask(exitVerdict, "--at", "2999-01-01T00:00:00Z"), "CIS-3: incomplete", "old, the limit is")
	b.server.Log = bad
	b.run(exitVerdict, "collect", "--cluster", "--kubeconfig", b.conf, "--kube-bench-image", benchImage)
	holds(ask(exitVerdict, "--format", "md"), "- [x] **Charts**", "- [ ] **CIS**", "CIS-3: missing, fail")
	b.run(exitPass, "collect", chart, "-n", "other")
	holds(ask(exitVerdict, "-n", "other"), "in namespace other", "names no cluster to match")
}
