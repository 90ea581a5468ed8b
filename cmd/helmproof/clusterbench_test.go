package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
)

// BenchmarkCluster collects and verifies a cluster of 200 nodes with 130 checks
// on each, a third of which fail and a third of which are manual: far more than
// kube-bench has for a worker. All reports are rendered.
func BenchmarkCluster(b *testing.B) {
	const nodes, checks = 200, 130
	var results []map[string]any
	n := map[string]int{}
	for i := range checks {
		status := []string{"PASS", "FAIL", "WARN"}[i%3]
		n[status]++
		results = append(results, map[string]any{
			"test_number": fmt.Sprintf("4.%d.%d", i/30+1, i%30+1), "status": status, "scored": true, "audit": "stat -c permissions=%a /etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
			"test_desc":   "Ensure that the kubelet service file permissions are set to 600 or more restrictive (Automated)",
			"remediation": "Run chmod 600 /etc/systemd/system/kubelet.service.d/10-kubeadm.conf on each node, by its location on your system.", "actual_value": "permissions=644",
			"expected_result": "permissions has permissions 644, expected 600 or more restrictive",
		})
	}
	raw, err := json.Marshal([]map[string]any{{
		"id": "4", "version": "cis-1.12", "node_type": "node", "total_pass": n["PASS"], "total_fail": n["FAIL"], "total_warn": n["WARN"],
		"tests": []map[string]any{{"section": "4.1", "pass": n["PASS"], "fail": n["FAIL"], "warn": n["WARN"], "results": results}},
	}})
	if err != nil {
		b.Fatal(err)
	}
	var list []*corev1.Node
	for i := range nodes {
		list = append(list, benchtest.Node(fmt.Sprintf("node-%03d", i)))
	}
	server, stop := benchtest.New(list...)
	defer stop()
	log := benchtest.Log(raw, 0, "")
	server.Log = func(string, int) []byte { return log }
	dir := b.TempDir()
	conf := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(conf, server.Kubeconfig(), 0o600); err != nil {
		b.Fatal(err)
	}
	command := func(want int, args ...string) {
		var out, errs bytes.Buffer
		if code := run(b.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != want {
			b.Fatalf("%v: exit code %d\n%s", args, code, errs.String())
		}
	}
	command(exitPass, "keygen", filepath.Join(dir, "key"))
	repo := ""
	for i := 0; b.Loop(); i++ {
		repo = filepath.Join(dir, fmt.Sprint("repo", i))
		command(exitVerdict, "collect", "--cluster", "--kubeconfig", conf, "--kube-bench-image", benchImage, "--repo", repo, "--key", filepath.Join(dir, "key.key"), "-q")
		command(exitPass, "verify", "latest", "--repo", repo, "--trust", filepath.Join(dir, "key.pub"), "-q")
	}
	b.StopTimer()
	files, err := filepath.Glob(filepath.Join(repo, "bundles", "*", "*"))
	if err != nil || len(files) == 0 {
		b.Fatal(err)
	}
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && (strings.HasSuffix(f, ".zip") || strings.HasSuffix(f, ".pdf")) {
			b.ReportMetric(float64(st.Size())/(1<<20), "MiB/"+filepath.Base(f))
		}
	}
}
