package release

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var when = time.Date(2026, 11, 29, 15, 0, 1, 0, time.FixedZone("elsewhere", 3600))

// small is a release whose programs are small files, in a new folder.
func small(t *testing.T) *Release {
	t.Helper()
	return &Release{
		Version: "v1.2.3", Commit: strings.Repeat("ab", 20), When: when, Platforms: Platforms, Dist: filepath.Join(t.TempDir(), "dist"),
		Build: func(_ context.Context, p Platform, file string) error {
			return os.WriteFile(file, []byte("program for "+p.String()), 0o600)
		},
		Info: func(string) (*debug.BuildInfo, error) {
			return &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: "github.com/companyos/helmproof"}, Deps: []*debug.Module{
				{Path: "sigs.k8s.io/yaml", Version: "v1.6.0", Sum: "h1:x"},
				{Path: "helm.sh/helm/v4", Version: "v4.0.0", Replace: &debug.Module{Path: "example.com/helm/v4", Version: "v4.0.1"}},
			}}, nil
		},
		Beside: func(context.Context, map[Platform]string) ([]File, error) {
			return []File{{Name: "man/man1/helmproof.1", Mode: 0o644, Data: []byte(".TH")}, {Name: "LICENSE", Mode: 0o644, Data: []byte("Apache")}}, nil
		},
	}
}

// content lists a folder's files with what they hold.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		rel, relErr := filepath.Rel(dir, name)
		files[rel] = string(raw)
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestReleaseIsReproducible: two releases in two folders have the same bytes.
func TestReleaseIsReproducible(t *testing.T) {
	t.Parallel()
	one, two := small(t), small(t)
	two.When = when.UTC()
	two.Platforms = slices.Clone(Platforms)
	slices.Reverse(two.Platforms)
	for _, r := range []*Release{one, two} {
		if err := r.Make(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(r.Dist), ".release-*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	}
	a, b := content(t, one.Dist), content(t, two.Dist)
	if d := cmp.Diff(a, b); d != "" {
		t.Error(d)
	}
	sums := strings.Split(strings.TrimSpace(a[SumsFile]), "\n")
	if len(sums) < len(Platforms) || len(sums) != len(a)-2 || !slices.IsSortedFunc(sums, func(x, y string) int { return strings.Compare(x[64:], y[64:]) }) {
		t.Errorf("%s of %d files:\n%s", SumsFile, len(a)-1, a[SumsFile])
	}
	for _, line := range sums {
		digest, name, _ := strings.Cut(line, "  ")
		if got, err := Digest(filepath.Join(one.Dist, name)); err != nil || got != digest {
			t.Errorf("%s: %s %v, want %s", name, got, err, digest)
		}
	}
}

// TestArchives reads archives back: names, modes, times and owners.
func TestArchives(t *testing.T) {
	t.Parallel()
	r := small(t)
	if err := r.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw := content(t, r.Dist)
	zr, err := gzip.NewReader(strings.NewReader(raw["helmproof-v1.2.3-linux-arm64.tar.gz"]))
	if err != nil {
		t.Fatal(err)
	}
	if zr.Name != "" || !zr.ModTime.IsZero() {
		t.Errorf("gzip's header has %q, %s", zr.Name, zr.ModTime)
	}
	type entry struct {
		Name, Body string
		Mode       fs.FileMode
	}
	var got []entry
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(when) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s: of %s, owner %d:%d %q", h.Name, h.ModTime, h.Uid, h.Gid, h.Uname)
		}
		got = append(got, entry{h.Name, string(body), h.FileInfo().Mode()})
	}
	const folder = "helmproof-v1.2.3-linux-arm64/"
	if d := cmp.Diff([]entry{
		{folder + "LICENSE", "Apache", 0o644}, {folder + "helmproof", "program for linux/arm64", 0o755}, {folder + "man/man1/helmproof.1", ".TH", 0o644},
	}, got); d != "" {
		t.Error(d)
	}
	z := raw["helmproof-v1.2.3-windows-amd64.zip"]
	wr, err := zip.NewReader(strings.NewReader(z), int64(len(z)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := wr.Open("helmproof-v1.2.3-windows-amd64/helmproof.exe")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(f); err != nil || string(body) != "program for windows/amd64" {
		t.Errorf("%q %v", body, err)
	}
	if !wr.File[0].Modified.Equal(when) {
		t.Errorf("modified %s", wr.File[0].Modified)
	}
}

// TestArchiveOfDirectories: an image's layer has directories, of which /tmp is everybody's.
func TestArchiveOfDirectories(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Tar(&b, []File{{Name: "tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777}}, when); err != nil {
		t.Fatal(err)
	}
	h, err := tar.NewReader(&b).Next()
	if err != nil || h.Name != "tmp/" || h.Mode != 0o1777 || h.Typeflag != tar.TypeDir {
		t.Errorf("%+v %v", h, err)
	}
}

// TestReleaseRefuses: what is no release, and what fails on the way.
func TestReleaseRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Release)
		want   string
	}{
		"no version":      {func(r *Release) { r.Version = "" }, "want one like v1.2.3"},
		"version in path": {func(r *Release) { r.Version = "v1.2.3-/../x" }, "want one like v1.2.3"},
		"flags in it":     {func(r *Release) { r.Version = "v1.2.3 -X main.x=y" }, "want one like v1.2.3"},
		"no platforms":    {func(r *Release) { r.Platforms = nil }, "no platforms"},
		"used folder":     {func(r *Release) { r.Dist = "." }, "is not empty"},
		"build fails": {func(r *Release) {
			r.Build = func(context.Context, Platform, string) error { return errors.New("no compiler") }
		}, "build for darwin/amd64: no compiler"},
		"nothing built": {func(r *Release) { r.Build = func(context.Context, Platform, string) error { return nil } }, "no such file"},
		"no documents": {func(r *Release) {
			r.Beside = func(context.Context, map[Platform]string) ([]File, error) { return nil, errors.New("no manual") }
		}, "no manual"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := small(t)
			c.change(r)
			if err := r.Make(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(r.Dist, SumsFile)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s was written: %v", SumsFile, err)
			}
		})
	}
	if _, err := ParsePlatform("plan9/amd64"); err == nil || !strings.Contains(err.Error(), "want one of") {
		t.Errorf("plan9: %v", err)
	}
}
