package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/internal/pipeline"
)

// collectIn collects a copy of the weak chart from a directory of its own, and
// returns the unpacked evidence and the files of the bundle.
func collectIn(t *testing.T, dir string) (sealed, stored map[string]string) {
	t.Helper()
	chart := filepath.Join(dir, "somewhere", "weak")
	if err := os.CopyFS(chart, os.DirFS(filepath.Join("..", "..", "test", "charts", "weak"))); err != nil {
		t.Fatal(err)
	}
	repo := filepath.Join(dir, "repo")
	var errs bytes.Buffer
	io1 := stdio{in: strings.NewReader(""), out: io.Discard, err: &errs}
	key := filepath.Join(dir, "test.key")
	if code := run(t.Context(), []string{"keygen", key}, io1); code != exitPass {
		t.Fatalf("keygen: exit %d: %s", code, errs.String())
	}
	if code := run(t.Context(), []string{"collect", chart, "-q", "--repo", repo, "--key", key}, io1); code != exitVerdict {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	found, err := filepath.Glob(filepath.Join(repo, "bundles", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("bundles %v, %v", found, err)
	}
	stored, sealed = map[string]string{}, map[string]string{}
	b, err := pipeline.FindBundle(t.Context(), nil, nil, found[0], "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range b.Files.Names() {
		raw, err := bundle.ReadFile(b.Files, name, bundle.MaxReport)
		if err != nil {
			t.Fatal(err)
		}
		stored[name] = string(raw)
	}
	z, err := zip.NewReader(strings.NewReader(stored["evidence.zip"]), int64(len(stored["evidence.zip"])))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		sealed[f.Name] = string(b)
	}
	return sealed, stored
}

// TestSameChartSameEvidence holds that where and when a chart is collected shows in
// runs.json and the verdict's time alone.
func TestSameChartSameEvidence(t *testing.T) {
	t.Parallel()
	a, _ := collectIn(t, t.TempDir())
	b, _ := collectIn(t, t.TempDir())
	for _, timed := range []string{"runs.json", "verdict.json"} {
		if a[timed] == "" || a[timed] == b[timed] {
			t.Errorf("%s: the two runs should differ in time", timed)
		}
		delete(a, timed)
		delete(b, timed)
	}
	if len(a) < 10 {
		t.Errorf("only %d files", len(a))
	}
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("the same chart gives other evidence (-first +second):\n%s", d)
	}
}

// TestSameBundleSameReports renders the stored reports again from the bundle.
func TestSameBundleSameReports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, stored := collectIn(t, dir)
	formats := map[string]string{"pdf": "report.pdf", "md": "report.md", "html": "report.html", "json": "report.json", "sarif": "results.sarif", "junit": "junit.xml"}
	for format, name := range formats {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"report", "latest", "--repo", filepath.Join(dir, "repo"), "--format", format, "--trust", filepath.Join(dir, "test.pub")},
			stdio{in: strings.NewReader(""), out: &out, err: &errs})
		if code != exitPass || out.String() != stored[name] {
			t.Errorf("%s: exit %d, %d bytes, stored are %d: %s", format, code, out.Len(), len(stored[name]), errs.String())
		}
	}
}
