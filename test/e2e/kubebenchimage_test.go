package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
	"github.com/companyos/helmproof/test/kube"
)

// fakeBench stands in for kube-bench: it prints what was recorded for its
// arguments, differing by node, or behaves as the benchmark's name says.
const fakeBench = `#!/bin/sh
case "$4" in
  test-hang) [ "$(cat /recorded/node)" = b ] && exec sleep 3600 ;;
  test-slow) sleep 6 ;;
  test-noise) exec head -c 14000000 /dev/urandom ;;
  test-fails) echo "open cfg: no such file" >&2; exit 2 ;;
esac
exec cat "/recorded/$4-$6.json"
`

// applets are what the Job's script and fakeBench use of the image.
var applets = []string{"sh", "cat", "sleep", "head", "gzip", "base64", "sha256sum", "wc", "tr"}

// anyImage is one that runs on the real nodes, where there are any: tests on
// simulated nodes then do not wait for them.
func anyImage(t *testing.T, c *testCluster) string {
	t.Helper()
	if c.Tier() == kube.TierC && c.Busybox() != "" {
		return benchImages(t, c)
	}
	return benchImage
}

// benchImages puts an image that differs by node on both real nodes, under one
// digest, and returns it by that digest.
func benchImages(t *testing.T, c *testCluster) string {
	t.Helper()
	box := c.Busybox()
	if box == "" {
		t.Skip("no static busybox to build an image with: `make kube` fetches it from the package busybox-static")
	}
	keepHost(t)
	ref := ""
	for i, name := range []string{"a", "b"} {
		socket := filepath.Join(c.Dir, "node-"+name, "containerd.sock")
		files := map[string][]byte{"usr/local/bin/kube-bench": []byte(fakeBench), "recorded/node": []byte(name)}
		for benchmark, checks := range map[string]int{"cis-1.12": 25, "test-hang": 3, "test-slow": 3, "test-big": 25} {
			first := "PASS"
			if name == "b" {
				first = "FAIL"
			}
			for _, targets := range [][]string{{"node"}, {"controlplane", "etcd", "master", "node"}} {
				raw := benchtest.Output(benchmark, first, checks, targets...)
				raw = bytes.Replace(raw, []byte(`"AuditEnv":""`), []byte(`"AuditEnv":"environ"`), 1)
				raw = bytes.Replace(raw, []byte(`"actual_value":"permissions=644"`), []byte(`"actual_value":"HOME=/\nETCD_TOKEN=made-up-for-the-test"`), 1)
				if benchmark == "test-big" {
					raw = bytes.Replace(raw, []byte("Close it."), bytes.Repeat([]byte("Close it. "), 12<<20/10), 1)
				}
				files[fmt.Sprintf("recorded/%s-%s.json", benchmark, strings.Join(targets, ","))] = raw
			}
		}
		archive, digest := image(t, box, files)
		if i == 0 {
			ref = "cluster.test/kube-bench@sha256:" + digest
		}
		ctr := func(args ...string) {
			out, err := exec.CommandContext(t.Context(), "ctr", append([]string{"-a", socket, "-n", "k8s.io", "images"}, args...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("ctr %v: %v: %s", args, err, out)
			}
		}
		ctr("import", archive)
		ctr("tag", "--force", imageTag, ref)
	}
	return ref
}

const imageTag = "cluster.test/kube-bench:test"

// image writes an OCI image with busybox and these files as a tar, and returns
// its path and its manifest's SHA-256.
func image(t *testing.T, box string, files map[string][]byte) (archive, digest string) {
	t.Helper()
	raw, digest, err := kube.Image{Ref: imageTag, Binary: box, Applets: applets, Files: files, User: "0:0"}.OCI()
	if err != nil {
		t.Fatal(err)
	}
	archive = filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(archive, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return archive, strings.TrimPrefix(digest, "sha256:")
}
