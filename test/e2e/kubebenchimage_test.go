package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

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
	if c.Tier() == kube.TierC && staticBusybox() != "" {
		return benchImages(t, c)
	}
	return benchImage
}

// staticBusybox finds the shell for the image: that of `make kube`, or the machine's.
func staticBusybox() string {
	installed, err := exec.LookPath("busybox")
	if err != nil {
		installed = ""
	}
	for _, box := range []string{filepath.Join("..", "..", "bin", "kube", "busybox"), installed} {
		f, err := elf.Open(box)
		if err != nil {
			continue
		}
		static := f.Section(".interp") == nil
		if f.Close() == nil && static {
			return box
		}
	}
	return ""
}

// benchImages puts an image that differs by node on both real nodes, under one
// digest, and returns it by that digest.
func benchImages(t *testing.T, c *testCluster) string {
	t.Helper()
	box := staticBusybox()
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
				raw := benchOutput(benchmark, first, checks, targets...)
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
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	binary, err := os.ReadFile(box)
	check(err)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(h *tar.Header, raw []byte) {
		h.Size = int64(len(raw))
		check(w.WriteHeader(h))
		_, err := w.Write(raw)
		check(err)
	}
	add(&tar.Header{Name: "bin/busybox", Mode: 0o755, Typeflag: tar.TypeReg}, binary)
	for _, a := range applets {
		add(&tar.Header{Name: "bin/" + a, Linkname: "busybox", Typeflag: tar.TypeSymlink}, nil)
	}
	add(&tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}, nil)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		add(&tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg}, files[name])
	}
	check(w.Close())

	blobs := map[string][]byte{}
	blob := func(media string, raw []byte) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(raw))
		blobs[sum] = raw
		return map[string]any{"mediaType": media, "digest": "sha256:" + sum, "size": len(raw)}
	}
	encode := func(v any) []byte {
		raw, err := json.Marshal(v)
		check(err)
		return raw
	}
	l := blob("application/vnd.oci.image.layer.v1.tar", layer.Bytes())
	config := blob("application/vnd.oci.image.config.v1+json", encode(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": []any{l["digest"]}},
		"config": map[string]any{"Env": []string{"PATH=/usr/local/bin:/bin"}, "WorkingDir": "/"},
	}))
	manifest := blob("application/vnd.oci.image.manifest.v1+json", encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []any{l},
	}))
	digest = strings.TrimPrefix(manifest["digest"].(string), "sha256:")
	manifest["annotations"] = map[string]string{"io.containerd.image.name": imageTag}

	archive = filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(archive)
	check(err)
	w = tar.NewWriter(f)
	put := func(name string, raw []byte) { add(&tar.Header{Name: name, Mode: 0o644}, raw) }
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	put("index.json", encode(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}}))
	for _, sum := range slices.Sorted(maps.Keys(blobs)) {
		put("blobs/sha256/"+sum, blobs[sum])
	}
	check(w.Close())
	check(f.Close())
	return archive, digest
}
