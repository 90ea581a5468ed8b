package osv

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/os/dpkg"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/imagetest"
)

var now = func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

// records are the test's database, by ecosystem.
var records = map[string][]string{
	"Debian": {
		record("DEBIAN-CVE-2026-1", "Debian:12", "openssl", "3.0.15-1~deb12u2", `"upstream":["CVE-2026-1"],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],`),
		record("DEBIAN-CVE-2026-2", "Debian:12", "zlib", "", `"upstream":["CVE-2026-2"],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:L"}],`),
		record("DEBIAN-CVE-2026-3", "Debian:11", "openssl", "1.1.1w-1", `"upstream":["CVE-2026-3"],`),
		record("DEBIAN-CVE-2026-4", "Debian:12", "openssl", "3.0.15-1~deb12u3", `"withdrawn":"2026-10-01T00:00:00Z",`),
	},
	"Alpine": {record("ALPINE-CVE-2026-5", "Alpine:v3.20", "musl", "1.2.5-r1", `"upstream":["CVE-2026-5"],`)},
	"npm": {
		record("GHSA-aaaa-bbbb-cccc", "npm", "left-pad", "1.3.1", `"aliases":["CVE-2026-6"],"database_specific":{"severity":"HIGH"},`),
		record("GHSA-dddd-eeee-ffff", "npm", "left-pad", "1.2.0", `"aliases":["CVE-2026-7"],`),
	},
	"Go": {
		record("GO-2026-0001", "Go", "stdlib", "99.0.0", `"aliases":["CVE-2026-8"],`),
		record("GHSA-gggg-hhhh-jjjj", "Go", "stdlib", "99.0.0", `"aliases":["CVE-2026-8"],"database_specific":{"severity":"MODERATE"},`),
	},
}

func record(id, ecosystem, pkg, fixed, more string) string {
	events := `{"introduced":"0"}`
	if fixed != "" {
		events += fmt.Sprintf(`,{"fixed":%q}`, fixed)
	}
	kind := "ECOSYSTEM"
	if ecosystem == "npm" || ecosystem == "Go" {
		kind = "SEMVER"
	}
	return fmt.Sprintf(`{"id":%q,"modified":"2026-11-22T06:00:00Z","published":"2026-09-01T00:00:00Z",%s"affected":[{"package":{"ecosystem":%q,"name":%q},"ranges":[{"type":%q,"events":[%s]}]}]}`,
		id, more, ecosystem, pkg, kind, events)
}

func zipOf(t testing.TB, list []string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, r := range list {
		f, err := w.Create(fmt.Sprintf("r%d.json", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// publish lays archives out as they are published, and returns the file URL.
func publish(t testing.TB, archives map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for eco, raw := range archives {
		if err := os.MkdirAll(filepath.Join(dir, eco), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, eco, archiveFile), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "file://" + dir
}

// database makes a database of the ecosystems.
func database(t testing.TB, ecosystems ...string) string {
	t.Helper()
	archives := map[string][]byte{}
	for _, e := range ecosystems {
		archives[e] = zipOf(t, records[e])
	}
	dir := t.TempDir()
	if _, err := Update(t.Context(), UpdateOptions{Dir: dir, Ecosystems: ecosystems, Source: publish(t, archives), Now: now}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func scanner(t testing.TB, dir string) *Scanner {
	t.Helper()
	s, err := New(Options{Database: dir, PlainHTTP: true, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// scanAll scans the images, and returns the reports or errors as lines.
func scanAll(t testing.TB, s *Scanner, targets ...scan.Target) [][]string {
	t.Helper()
	out := make([][]string, len(targets))
	n := 0
	err := s.Scan(t.Context(), targets, func(i int, r scan.Result) {
		n++
		if r.Err != nil {
			out[i] = []string{"error: " + r.Err.Error()}
			return
		}
		rep, err := scan.Read(bytes.NewReader(r.Raw), scan.DefaultLimits())
		if err != nil {
			t.Fatalf("%v in %s", err, r.Raw)
		}
		if rep.Scanner != scannerName || rep.Version == "" || !rep.ScannedAt.Equal(now()) {
			t.Errorf("scanner %s %s at %s", rep.Scanner, rep.Version, rep.ScannedAt)
		}
		if _, d, _ := strings.Cut(targets[i].Reference, "@"); !slices.Contains(rep.Image.Digests, evidence.Digest(d)) {
			t.Errorf("%s: the report names %v", targets[i].Reference, rep.Image.Digests)
		}
		out[i] = []string{}
		for _, v := range rep.Vulnerabilities {
			out[i] = append(out[i], fmt.Sprintf("%s %v %s %s fixed %v %s", v.ID, v.Aliases, v.Package.Name, v.Package.Version, v.Fixed, v.Severity))
		}
		for _, g := range rep.Gaps {
			out[i] = append(out[i], "gap: "+g)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if n != len(targets) {
		t.Errorf("%d of %d results", n, len(targets))
	}
	return out
}

// goBinary builds a program, so that the image has what the toolchain writes into one.
func goBinary(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module example.com/program\n\ngo 1.21\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", "program", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestScan(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	dir := database(t, "Debian", "Alpine", "npm", "Go")
	debian := imagetest.Debian(t, map[string]string{"libssl3": "3.0.15-1~deb12u1", "openssl": "3.0.15-1~deb12u1", "zlib": "1.2.13"})
	images := []struct {
		name  string
		image v1.Image
		want  []string
	}{
		{"debian", debian, []string{
			"DEBIAN-CVE-2026-1 [CVE-2026-1] openssl 3.0.15-1~deb12u1 fixed [3.0.15-1~deb12u2] critical",
			"DEBIAN-CVE-2026-2 [CVE-2026-2] zlib 1.2.13 fixed [] low",
		}},
		{"fixed", imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u2"}), []string{}},
		{"alpine", imagetest.Alpine(t, map[string]string{"musl": "1.2.5-r0"}), []string{"ALPINE-CVE-2026-5 [CVE-2026-5] musl 1.2.5-r0 fixed [1.2.5-r1] "}},
		{"npm", imagetest.Npm(t, map[string]string{"left-pad": "1.3.0"}), []string{"GHSA-aaaa-bbbb-cccc [CVE-2026-6] left-pad 1.3.0 fixed [1.3.1] high"}},
		{"removed", imagetest.Platform(t, imagetest.Layers(t, map[string]string{"app/node_modules/left-pad/package.json": `{"name":"left-pad","version":"1.3.0"}`},
			map[string]string{"app/node_modules/left-pad/.wh.package.json": "", "app/node_modules/other/package.json": `{"name":"other","version":"1.0.0"}`}), "linux/amd64"), []string{}},
		{"nothing", imagetest.Files(t, map[string]string{"etc/motd": "hello"}), []string{"gap: no package was found in the image: what it holds otherwise is not looked at"}},
	}
	var targets []scan.Target
	for _, i := range images {
		targets = append(targets, scan.Target{Reference: imagetest.Push(t, host+"/"+i.name+":1", i.image), Platform: "linux/amd64"})
	}
	got := scanAll(t, scanner(t, dir), targets...)
	for i := range images {
		if diff := cmp.Diff(images[i].want, got[i]); diff != "" {
			t.Errorf("%s: %s", images[i].name, diff)
		}
	}
}

func TestGoBinary(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	ref := imagetest.Push(t, host+"/go:1", imagetest.Files(t, map[string]string{"bin/program": goBinary(t)}))
	got := scanAll(t, scanner(t, database(t, "Go")), scan.Target{Reference: ref, Platform: "linux/amd64"})
	if len(got[0]) != 1 || !strings.HasPrefix(got[0][0], "GHSA-gggg-hhhh-jjjj [CVE-2026-8 GO-2026-0001] stdlib 1.") || !strings.HasSuffix(got[0][0], " fixed [99.0.0] medium") {
		t.Errorf("%q", got)
	}
}

func TestPlatforms(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	dir := database(t, "Debian")
	ref := imagetest.Push(t, host+"/api:1", imagetest.Index(t, map[string]v1.Image{
		"linux/amd64": imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u1"}), "linux/arm64": imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u2"}),
	}))
	got := scanAll(t, scanner(t, dir), scan.Target{Reference: ref, Platform: "linux/amd64"}, scan.Target{Reference: ref, Platform: "linux/arm64"}, scan.Target{Reference: ref, Platform: "linux/s390x"})
	if len(got[0]) != 1 || len(got[1]) != 0 || len(got[2]) != 1 || !strings.HasPrefix(got[2][0], "error: ") || !strings.Contains(got[2][0], "linux/s390x") {
		t.Errorf("%q", got)
	}
}

func TestScanFails(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	img := imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u1"})
	ref := imagetest.Push(t, host+"/api:1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	other, err := imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u2"}).Layers()
	if err != nil {
		t.Fatal(err)
	}
	// The registry sends a layer without the vulnerable package in the layer's place.
	liar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, d.String()) {
			body, err := other[0].Compressed()
			if err != nil {
				t.Error(err)
				return
			}
			w.(http.Flusher).Flush() // the length is not told
			_, _ = io.Copy(w, body)
			return
		}
		res, err := http.Get("http://" + host + r.URL.Path) //nolint:noctx // a test's own server
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close() //nolint:errcheck // only read
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	t.Cleanup(liar.Close)
	locked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(locked.Close)
	_, digest, _ := strings.Cut(ref, "@")
	s := scanner(t, database(t, "Debian"))
	for title, tt := range map[string]struct{ ref, want string }{
		"altered layer":  {strings.TrimPrefix(liar.URL, "http://") + "/api@" + digest, "the registry sent other bytes than the digest says"},
		"no such digest": {host + "/api@sha256:" + strings.Repeat("a", 64), "the registry does not have it"},
		"no rights":      {strings.TrimPrefix(locked.URL, "http://") + "/api@" + digest, "the registry refused access"},
		"no registry":    {"127.0.0.1:1/api@" + digest, "the registry could not be reached"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got := scanAll(t, s, scan.Target{Reference: tt.ref, Platform: "linux/amd64"})
			if len(got[0]) != 1 || !strings.HasPrefix(got[0][0], "error: ") || !strings.Contains(got[0][0], tt.want) {
				t.Errorf("%q, want %q", got[0], tt.want)
			}
		})
	}
}

// TestBounded has images with more to unpack than is read.
func TestBounded(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a": strings.Repeat("\x00", 1<<20), "b": ""}
	for name, tt := range map[string]struct {
		read, unpacked, entries int64
		want                    string
	}{
		"read":     {1 << 19, 1 << 30, 10, "unpack to more than"},
		"unpacked": {1 << 30, 1 << 19, 10, "unpack to more than"},
		"files":    {1 << 30, 1 << 30, 1, "hold more than"},
		"enough":   {1 << 21, 1 << 20, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &bounded{Image: imagetest.Files(t, files), read: tt.read, unpacked: tt.unpacked, entries: tt.entries}
			layers, err := b.Layers()
			if err != nil {
				t.Fatal(err)
			}
			r, err := layers[0].Uncompressed()
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, r)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if got := fmt.Sprint(err, b.failure()); tt.want == "" && got != "<nil> <nil>" || strings.Count(got, tt.want) < 2 {
				t.Errorf("%s, want %q from the reader and at the end", got, tt.want)
			}
		})
	}
}

// TestTooLarge has files that the engine passes over for their size without a word.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := scanner(t, database(t, "Debian"))
	b := &bounded{extractors: s.extractors, unpacked: maxUnpacked, entries: maxInodes}
	for _, h := range []tar.Header{
		{Name: "./var/lib/dpkg/status", Size: 200 << 20, Mode: 0o644},
		{Name: "usr/bin/huge", Size: 2 << 30, Mode: 0o755},
		{Name: "usr/bin/large", Size: 200 << 20, Mode: 0o755},     // read
		{Name: "models/weights.gguf", Size: 9 << 30, Mode: 0o644}, // nothing that holds packages
	} {
		h.Typeflag = tar.TypeReg
		if err := b.entry(&h); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"./var/lib/dpkg/status was not read: its 209715200 bytes are too many", "usr/bin/huge was not read: its 2147483648 bytes are too many"}
	if !slices.Equal(b.passedOver, want) {
		t.Errorf("%q, want %q", b.passedOver, want)
	}

	small, err := dpkg.New(&cpb.PluginConfig{MaxFileSizeBytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.extractors = []filesystem.Extractor{small}
	img := imagetest.Push(t, imagetest.Registry(t)+"/d:1", imagetest.Files(t, map[string]string{"var/lib/dpkg/status": strings.Repeat("\n", 3<<20)}))
	got := scanAll(t, s, scan.Target{Reference: img, Platform: "linux/amd64"})
	if !slices.Contains(got[0], "gap: var/lib/dpkg/status was not read: its 3145728 bytes are too many") {
		t.Errorf("%q", got[0])
	}
}

func TestGapsOfDatabase(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	debian := scan.Target{Reference: imagetest.Push(t, host+"/d:1", imagetest.Debian(t, map[string]string{"openssl": "3.0.15-1~deb12u1"})), Platform: "linux/amd64"}
	if got := scanAll(t, scanner(t, database(t, "npm")), debian); !slices.Equal(got[0], []string{"gap: 1 packages of Debian were not looked at: the database has nothing about it"}) {
		t.Errorf("%q", got[0])
	}
	later := database(t, "npm")
	if _, err := Update(t.Context(), UpdateOptions{Dir: later, Ecosystems: []string{"Debian"}, Now: now, Source: publish(t, map[string][]byte{"Debian": zipOf(t, append(slices.Clone(records["Debian"]), `{"id":"X","modified":"2026-11-22T06:00:00Z","a_later_member":1}`))})}); err != nil {
		t.Fatal(err)
	}
	got := scanAll(t, scanner(t, later), debian)
	if len(got[0]) != 2 || got[0][1] != "gap: 1 records about Debian in the database cannot be read by this version" {
		t.Errorf("%q", got[0])
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	dir := database(t, "npm", "Go")
	s := scanner(t, dir)
	first, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.State(t.Context()); err != nil || again != first {
		t.Errorf("%s, %v", again, err)
	}
	raw := zipOf(t, records["npm"][:1])
	if _, err := Update(t.Context(), UpdateOptions{Dir: dir, Ecosystems: []string{"npm"}, Now: now, Source: publish(t, map[string][]byte{"npm": raw})}); err != nil {
		t.Fatal(err)
	}
	if other, err := s.State(t.Context()); err != nil || other == first {
		t.Errorf("%s, %v: another database, the same state", other, err)
	}
	if err := os.WriteFile(archivePath(dir, "npm"), raw[:len(raw)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.State(t.Context()); err == nil || !strings.Contains(err.Error(), "is not what was fetched") {
		t.Errorf("a damaged archive: %v", err)
	}
	if _, err := scanner(t, t.TempDir()).State(t.Context()); !errors.Is(err, ErrNoDatabase) {
		t.Errorf("no database: %v", err)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	good := zipOf(t, records["npm"])
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	for title, tt := range map[string]struct{ source, want string }{
		"not there": {serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }), "404 Not Found"},
		"no zip":    {serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }), "no zip of vulnerabilities"},
		"cut connection": {serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(good)))
			_, _ = w.Write(good[:len(good)/2])
		}), "unexpected EOF"},
		"no records":   {publish(t, map[string][]byte{"npm": zipOf(t, nil)}), "no records"},
		"no JSON":      {publish(t, map[string][]byte{"npm": zipOf(t, []string{"{"})}), "no JSON"},
		"no such file": {"file:///does/not/exist", "no such file"},
		"no URL":       {"ftp://example.com", "want an https, http or file URL"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			dir := database(t, "npm")
			before, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Update(t.Context(), UpdateOptions{Dir: dir, Source: tt.source, Now: now})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			after, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Error(diff)
			}
			if err := after.check(t.Context(), dir); err != nil {
				t.Errorf("the old database: %v", err)
			}
			if left, err := filepath.Glob(filepath.Join(dir, archiveFolder, "npm", ".new-*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
	t.Run("not modified", func(t *testing.T) {
		t.Parallel()
		hits := 0
		source := serve(func(w http.ResponseWriter, r *http.Request) {
			hits++
			if r.Header.Get("If-None-Match") == `"1"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			w.Header().Set("ETag", `"1"`)
			_, _ = w.Write(good)
		})
		dir := t.TempDir()
		for i, changed := range []bool{true, false} {
			got, err := Update(t.Context(), UpdateOptions{Dir: dir, Ecosystems: []string{"npm"}, Source: source, Now: now})
			if err != nil || len(got) != 1 || got[0].Changed != changed || got[0].Records != 2 || hits != i+1 {
				t.Errorf("update %d: %+v, %v", i, got, err)
			}
		}
	})
	t.Run("two at once", func(t *testing.T) {
		t.Parallel()
		dir := database(t, "npm")
		unlock, err := lock(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		if _, err := Update(t.Context(), UpdateOptions{Dir: dir, Now: now}); err == nil || !strings.Contains(err.Error(), "another update") {
			t.Errorf("%v", err)
		}
	})
	t.Run("one of two fails", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		got, err := Update(t.Context(), UpdateOptions{Dir: dir, Ecosystems: []string{"npm", "Go"}, Source: publish(t, map[string][]byte{"npm": good}), Now: now})
		if err == nil || !strings.HasPrefix(err.Error(), "Go: ") || len(got) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		if db, err := Open(dir); err != nil || len(db.Ecosystems) != 1 {
			t.Errorf("%+v, %v", db, err)
		}
	})
}
