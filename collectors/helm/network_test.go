package helm_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
)

// chartWithoutNetwork names the chart that TestWithoutNetwork judges in a child.
const chartWithoutNetwork = "HELMPROOF_TEST_CHART"

// TestWithoutNetwork: a chart whose schemas refer to a server and to a file is judged
// in a process without a network as in one with it, and the server is never asked.
func TestWithoutNetwork(t *testing.T) {
	if dir := os.Getenv(chartWithoutNetwork); dir != "" {
		rel, err := chart.Load(t.Context(), dir, chart.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rel.Close() }()
		art, err := collectRelease(t, rel, helm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(art.Files())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(os.Getenv(chartWithoutNetwork+"_OUT"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("a network namespace takes root on Linux")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip(err)
	}
	if out, err := exec.CommandContext(t.Context(), unshare, "-n", "true").CombinedOutput(); err != nil {
		t.Skipf("unshare -n: %v: %s", err, out)
	}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) }))
	t.Cleanup(server.Close)
	folder := t.TempDir()
	const canary = "canary-72bd04"
	outside := filepath.Join(folder, "outside.json")
	if err := os.WriteFile(outside, []byte(`{"type": "`+canary+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := writeChart(t, `
-- Chart.yaml --
apiVersion: v2
name: demo
version: 1.2.3
icon: https://example.com/icon.png
dependencies: [{name: idle, version: 0.1.0, condition: idle.enabled}, {name: still, version: 0.1.0, condition: still.enabled}]
-- values.yaml --
idle: {enabled: false, a: 1}
still: {enabled: false, a: 1}
-- templates/x.yaml --
{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "{{ getHostByName "example.com" }}"}}
-- values.schema.json --
-
-- charts/idle/Chart.yaml --
apiVersion: v2
name: idle
version: 0.1.0
-- charts/idle/templates/x.yaml --
-- charts/idle/values.schema.json --
{"$ref": "`+server.URL+`/outside.json"}
-- charts/still/Chart.yaml --
apiVersion: v2
name: still
version: 0.1.0
-- charts/still/templates/x.yaml --
-- charts/still/values.schema.json --
{"properties": {"a": {"$ref": "file://`+filepath.ToSlash(outside)+`"}}}
`)
	judged := func(name string, wrap ...string) string {
		out := filepath.Join(folder, name)
		args := append(wrap, os.Args[0], "-test.run=^TestWithoutNetwork$")
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Env = append(os.Environ(), chartWithoutNetwork+"="+dir, chartWithoutNetwork+"_OUT="+out)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		raw, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	with, without := judged("with"), judged("without", unshare, "-n")
	if with != without {
		t.Errorf("with a network:\n%s\nwithout:\n%s", with, without)
	}
	if strings.Contains(without, canary) {
		t.Errorf("a file outside the chart was read:\n%s", without)
	}
}
