package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/companyos/helmproof/internal/imagetest"
)

const imagesProfile = "name: scans\ntitle: Scanned images\nscope: release\nfailOn: high\nmaxAge: 24h\ncontrols:\n  - {id: IMG-2}\n  - {id: IMG-3}\n"

// imageRun is a folder with charts whose images are in a registry, and a database.
type imageRun struct {
	dir   string
	pulls atomic.Int64 // layers that the registry was asked for
}

// newImageRun makes charts of perChart images each; the first packages of each
// image differ, so that all digests do.
func newImageRun(t *testing.T, charts, perChart int) *imageRun {
	t.Helper()
	r := &imageRun{dir: t.TempDir()}
	reg := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			r.pulls.Add(1)
		}
		reg.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	for c := range charts {
		var pods strings.Builder
		for i := range perChart {
			n := c*perChart + i
			img := imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u2", fmt.Sprintf("own-%d", n): "1.0"})
			if n == 0 {
				img = imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u1"})
			}
			fmt.Fprintf(&pods, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p%d}\nspec: {containers: [{name: c, image: %q}]}\n", i, imagetest.Push(t, fmt.Sprintf("%s/app-%d:1", host, n), img))
		}
		r.write(t, fmt.Sprintf("charts/c%03d/Chart.yaml", c), fmt.Sprintf("apiVersion: v2\nname: c%03d\nversion: 1.0.0\n", c))
		r.write(t, fmt.Sprintf("charts/c%03d/templates/pods.yaml", c), pods.String())
	}
	r.write(t, "scans.yaml", imagesProfile)
	r.database(t, time.Now().Add(-time.Hour))
	return r
}

func (r *imageRun) write(t *testing.T, name, content string) {
	t.Helper()
	file := filepath.Join(r.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// database fetches a database in which openssl before deb12u2 has a vulnerability.
func (r *imageRun) database(t *testing.T, built time.Time) {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("DEBIAN-CVE-2026-1.json")
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, `{"id":"DEBIAN-CVE-2026-1","modified":%q,"published":"2026-09-01T00:00:00Z","upstream":["CVE-2026-1"],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
"affected":[{"package":{"ecosystem":"Debian:12","name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.15-1~deb12u2"}]}]}]}`, built.UTC().Format(time.RFC3339))
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	r.write(t, "source/Debian/all.zip", b.String())
	if _, stderr, code := r.run(t, "db", "update", "--db", filepath.Join(r.dir, "osv"), "--ecosystem", "Debian", "--source", "file://"+filepath.Join(r.dir, "source")); code != exitPass {
		t.Fatal(stderr)
	}
}

func (r *imageRun) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs})
	return out.String(), errs.String(), code
}

// collect scans the images of all charts and returns the verdicts by chart.
func (r *imageRun) collect(t *testing.T, more ...string) (verdicts map[string]string, stderr string) {
	t.Helper()
	charts, err := filepath.Glob(filepath.Join(r.dir, "charts", "*"))
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"collect"}, charts...)
	args = append(args, "--profile", filepath.Join(r.dir, "scans.yaml"), "--scan", "osv", "--db", filepath.Join(r.dir, "osv"), "--scan-cache", filepath.Join(r.dir, "cache"),
		"--repo", filepath.Join(r.dir, "repo"), "--key", filepath.Join(r.dir, "team.key"), "--formats", "json", "--plain-http", "-o", "json")
	if _, err := os.Stat(filepath.Join(r.dir, "team.key")); err != nil {
		if _, stderr, code := r.run(t, "keygen", filepath.Join(r.dir, "team")); code != exitPass {
			t.Fatal(stderr)
		}
	}
	stdout, stderr, _ := r.run(t, append(args, more...)...)
	var doc struct {
		Releases []struct {
			Chart   string
			Error   string
			Verdict struct{ Outcome string }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatalf("%v: %s\n%s", err, stdout, stderr)
	}
	verdicts = map[string]string{}
	for _, x := range doc.Releases {
		verdicts[x.Chart] = x.Verdict.Outcome + x.Error
	}
	return verdicts, stderr
}

func (r *imageRun) expect(t *testing.T, verdicts map[string]string, charts int, first, others string) {
	t.Helper()
	if len(verdicts) != charts {
		t.Errorf("%d verdicts, want %d", len(verdicts), charts)
	}
	for chart, got := range verdicts {
		want := others
		if chart == "c000" {
			want = first
		}
		if got != want {
			t.Errorf("%s: %s, want %s", chart, got, want)
		}
	}
}

// TestEachImageIsScannedOnce collects 100 charts with 300 images: each image is
// pulled and scanned once, and not again while the database is the same.
func TestEachImageIsScannedOnce(t *testing.T) {
	t.Parallel()
	const charts, perChart = 100, 3
	const images = charts * perChart
	r := newImageRun(t, charts, perChart)
	start := time.Now()
	verdicts, stderr := r.collect(t)
	first := time.Since(start)
	r.expect(t, verdicts, charts, "FAIL", "PASS")
	if want := fmt.Sprintf("%d images: %d scanned, 0 from the cache, 0 failed", images, images); !strings.Contains(stderr, want) {
		t.Errorf("%s, want %s", stderr, want)
	}
	if n := r.pulls.Load(); n != 2*images { // a layer and a configuration
		t.Errorf("%d blobs pulled, want %d", n, 2*images)
	}
	r.pulls.Store(0)
	start = time.Now()
	verdicts, stderr = r.collect(t)
	t.Logf("%d charts, %d images: %s, again %s", charts, images, first.Round(time.Millisecond), time.Since(start).Round(time.Millisecond))
	r.expect(t, verdicts, charts, "FAIL", "PASS")
	if want := fmt.Sprintf("%d images: 0 scanned, %d from the cache, 0 failed", images, images); !strings.Contains(stderr, want) {
		t.Errorf("%s, want %s", stderr, want)
	}
	if n := r.pulls.Load(); n != 0 {
		t.Errorf("%d blobs pulled again", n)
	}
	if stdout, stderr, code := r.run(t, "verify", "--repo", filepath.Join(r.dir, "repo"), "--trust", filepath.Join(r.dir, "team.pub")); code != exitPass || !strings.Contains(stdout, "200 verified, 0 not") {
		t.Errorf("verify: %d, %s%s", code, stdout, stderr)
	}
}

// TestDatabaseChanges scans again with another database, and finds an old one stale.
func TestDatabaseChanges(t *testing.T) {
	t.Parallel()
	r := newImageRun(t, 2, 1)
	if _, stderr := r.collect(t); !strings.Contains(stderr, "2 images: 2 scanned") {
		t.Error(stderr)
	}
	r.database(t, time.Now().Add(-30*24*time.Hour))
	verdicts, stderr := r.collect(t)
	if !strings.Contains(stderr, "2 images: 2 scanned, 0 from the cache") {
		t.Errorf("another database: %s", stderr)
	}
	r.expect(t, verdicts, 2, "FAIL", "INCOMPLETE")
	if verdicts, _ = r.collect(t, "--max-database-age", "1000h"); verdicts["c001"] != "PASS" {
		t.Errorf("%v", verdicts)
	}
}

// TestAirGapped scans in a network namespace of its own, in which there is no
// route to anywhere: the registry is this process's own.
func TestAirGapped(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("network namespaces are Linux's")
	}
	const marker = "HELMPROOF_TEST_AIR_GAPPED"
	if os.Getenv(marker) == "" {
		t.Parallel()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"--net", "--map-root-user", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\"", self, "-test.run=^TestAirGapped$", "-test.v"}
		if out, err := exec.CommandContext(t.Context(), "unshare", "--net", "--map-root-user", "--", "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Skipf("no network namespace can be made here: %v: %s", err, out)
		}
		cmd := exec.CommandContext(t.Context(), "unshare", args...)
		cmd.Env = append(os.Environ(), marker+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestAirGapped") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if res, err := http.Get("http://192.0.2.1/"); err == nil || !strings.Contains(err.Error(), "network is unreachable") { //nolint:noctx,bodyclose // there is none
		t.Fatalf("there is a network: %v, %v", res, err)
	}
	r := newImageRun(t, 3, 2)
	verdicts, stderr := r.collect(t, "--resolve")
	r.expect(t, verdicts, 3, "FAIL", "PASS")
	if !strings.Contains(stderr, "6 images: 6 scanned, 0 from the cache, 0 failed") {
		t.Error(stderr)
	}
}
