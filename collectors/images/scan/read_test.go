package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// describe is a report as lines, all of it.
func describe(r *Report) []string {
	when := func(t time.Time) string {
		if t.IsZero() {
			return "?"
		}
		return t.UTC().Format("2006-01-02T15:04")
	}
	short := func(s string) string {
		for _, c := range "abcd" {
			s = strings.ReplaceAll(s, "sha256:"+strings.Repeat(string(c), 64), strings.ToUpper(string(c)))
		}
		return s
	}
	out := []string{short(fmt.Sprintf("%s %s %s scanned %s database %s image %s %v id %s on %q", r.Format, r.Scanner, r.Version, when(r.ScannedAt), when(r.DatabaseBuiltAt), r.Image.Name, r.Image.Digests, r.Image.ID, r.Image.Platform))}
	for _, g := range r.Gaps {
		out = append(out, "gap: "+g)
	}
	for _, v := range r.Vulnerabilities {
		s := fmt.Sprintf("%s %v in %s %s %s %q fixed %v %s; %s by %q %v; %s; layer %q %s %q", v.ID, v.Aliases, v.Package.Type, v.Package.Name, v.Package.Version, v.Package.Path, v.Fixed, v.Status,
			v.Severity, v.SeveritySource, v.CVSS, when(v.PublishedAt), short(v.Layer), v.Pointer, v.Suppressed)
		out = append(out, s)
	}
	return out
}

func TestRead(t *testing.T) {
	t.Parallel()
	for file, want := range map[string][]string{
		"cyclonedx-1.6.json": {
			`cyclonedx trivy 0.65.0 scanned 2026-11-22T09:31 database ? image registry.example.com/team/api [A] id C on "linux/amd64"`,
			`CVE-2026-1001 [] in deb libssl3 3.0.15-1~deb12u1 "" fixed [3.0.15-1~deb12u2] ; high by "debian" [{nvd CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H 9.8}]; 2026-09-01T12:15; layer "" /vulnerabilities/0 ""`,
			`CVE-2026-1001 [] in maven org.openssl:openssl 3.0.15 "" fixed [3.0.15-1~deb12u2] ; high by "debian" [{nvd CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H 9.8}]; 2026-09-01T12:15; layer "" /vulnerabilities/0 ""`,
			`GHSA-aaaa-bbbb-cccc [CVE-2026-1003] in  gone  "" fixed [] ;  by "" []; ?; layer "" /vulnerabilities/1 "not_affected code_not_reachable never called"`,
		},
		"grype-0.104.json": {
			`grype grype 0.104.2 scanned 2026-11-22T10:00 database 2026-11-22T06:15 image registry.example.com/team/api@A [A B] id C on "linux/amd64"`,
			`CVE-2026-1001 [] in deb libssl3 3.0.15-1~deb12u1 "/var/lib/dpkg/status" fixed [3.0.15-1~deb12u2] fixed; critical by "debian:distro:debian:12" [{nvd@nist.gov CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H 9.8}]; ?; layer "D" /matches/0 ""`,
			`CVE-2026-1005 [] in deb bash 5.2.15-2+b7 "" fixed [] wont-fix; info by "debian:distro:debian:12" []; ?; layer "" /matches/2 ""`,
			`CVE-2026-1006 [] in deb tar 1.34 "" fixed [] unknown;  by "" []; ?; layer "" /ignoredMatches/0 "ignored not_affected not in use"`,
			`GHSA-aaaa-bbbb-cccc [CVE-2026-1003] in golang golang.org/x/net v0.30.0 "/app/api" fixed [0.33.0] fixed; high by "github:language:go" [{nvd@nist.gov CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:L 5.3}]; ?; layer "D" /matches/1 ""`,
		},
		"grype-0.34.json": {
			`grype grype 0.34.7 scanned ? database 2026-03-01T08:14 image api:1 [B] id C on "linux/arm64/v8"`,
			`CVE-2026-1001 [] in deb libssl3 3.0.15-1~deb12u1 "/var/lib/dpkg/status" fixed [] not-fixed; critical by "debian:12" [{debian:12 CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H 9.8}]; ?; layer "D" /matches/0 ""`,
		},
		"grype.sarif": {
			`sarif grype 0.104.2 scanned 2026-11-22T10:00 database ? image  [] id  on ""`,
			`CVE-2026-1001 [] in deb libssl3 3.0.15-1~deb12u1 "" fixed [] ; critical by "" []; ?; layer "" /runs/0/results/0 ""`,
			`GHSA-aaaa-bbbb-cccc [] in golang golang.org/x/net v0.30.0 "" fixed [] ; high by "" []; ?; layer "" /runs/0/results/1 "suppressed external accepted not called"`,
		},
		"osv.json": {
			`osv osv-scanner  scanned ? database ? image  [] id  on ""`,
			`DEBIAN-CVE-2026-1001 [CVE-2026-1001] in deb libssl3 3.0.15-1~deb12u1 "/var/lib/dpkg/status" fixed [3.0.15-1~deb12u2] ; critical by "osv" [{osv CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H 9.8}]; 2026-09-01T12:15; layer "" /results/0/packages/0 ""`,
			`GHSA-aaaa-bbbb-cccc [CVE-2026-1003 GO-2026-0001] in golang golang.org/x/net 0.30.0 "/app/api" fixed [0.33.0] ; medium by "osv" []; 2026-10-01T00:00; layer "" /results/1/packages/0 ""`,
		},
		"trivy-0.29.json": {
			`trivy trivy  scanned ? database ? image alpine:3.9 [A] id C on "linux/arm64/v8"`,
			`gap: alpine 3.9.4 gets no security fixes any more, and vulnerabilities of its packages are not published`,
			`CVE-2019-14697 [] in apk musl 1.1.20-r4 "" fixed [1.1.20-r5] ; critical by "nvd" [{nvd CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H 9.8}]; 2019-08-06T16:15; layer "B" /Results/0/Vulnerabilities/0 ""`,
		},
		"trivy-0.65.json": {
			`trivy trivy  scanned 2026-11-22T09:30 database ? image registry.example.com/team/api@A [A] id C on "linux/amd64"`,
			`CVE-2026-1001 [DSA-6001-1] in deb libssl3 3.0.15-1~deb12u1 "" fixed [3.0.15-1~deb12u2] fixed; critical by "debian" [{nvd CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H 9.8} {redhat CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:H/A:H 8.1}]; 2026-09-01T12:15; layer "D" /Results/0/Vulnerabilities/0 ""`,
			`CVE-2026-1002 [] in deb zlib1g 1:1.2.13.dfsg-1 "" fixed [] affected; high by "nvd" []; 2026-11-20T00:00; layer "D" /Results/0/Vulnerabilities/1 ""`,
			`CVE-2026-1003 [GHSA-aaaa-bbbb-cccc] in golang golang.org/x/net v0.30.0 "app/api" fixed [0.33.0] fixed; medium by "ghsa" []; 2026-10-01T00:00; layer "D" /Results/1/Vulnerabilities/0 ""`,
			`CVE-2026-1004 [] in golang stdlib v1.25.1 "app/api" fixed [1.24.9 1.25.3] fixed;  by "" []; ?; layer "" /Results/1/Vulnerabilities/1 ""`,
		},
		"trivy.sarif": {
			`sarif trivy 0.65.0 scanned ? database ? image registry.example.com/team/api [A] id C on ""`,
			`CVE-2026-1001 [] in  libssl3 3.0.15-1~deb12u1 "" fixed [3.0.15-1~deb12u2] ; critical by "" []; ?; layer "" /runs/0/results/0 ""`,
		},
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			r, err := Read(bytes.NewReader(raw), DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, describe(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// fixture is a small whole report.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestTruncated cuts each report at every byte: no part of one is a report.
func TestTruncated(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			raw := bytes.TrimSpace(fixture(t, filepath.Base(file)))
			for n := range raw {
				r, err := Read(bytes.NewReader(raw[:n]), DefaultLimits())
				if err == nil {
					t.Fatalf("cut after %d of %d bytes: %d vulnerabilities, no error", n, len(raw), len(r.Vulnerabilities))
				}
				if !strings.Contains(err.Error(), "cut off") && !errors.Is(err, ErrFormat) {
					t.Fatalf("cut after %d bytes: %v", n, err)
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	trivy := func(s string) string {
		return `{"SchemaVersion":2,"ArtifactType":"container_image",` + s + `}`
	}
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for title, tt := range map[string]struct{ in, want string }{
		"nothing":                     {"", "no scan report"},
		"no JSON":                     {"PASS\n", "no scan report"},
		"another document":            {`{"kind":"Pod"}`, "no scan report: no member that a report starts with"},
		"old Trivy":                   {`[{"Target":"x","Vulnerabilities":null}]`, "no scan report: a bare list, as Trivy wrote before its schema version 2"},
		"a later Trivy":               {`{"SchemaVersion":3,"Results":[]}`, "trivy report: schema version 3: version 2 is read"},
		"Trivy without a version":     {`{"ArtifactType":"container_image","Results":[]}`, "trivy report: no SchemaVersion"},
		"Trivy of a directory":        {`{"SchemaVersion":2,"ArtifactType":"filesystem"}`, `trivy report: a report about "filesystem"`},
		"the same member twice":       {trivy(`"Results":[{"Vulnerabilities":[{"VulnerabilityID":"CVE-1"}]}],"Results":[]`), `duplicate object member name "Results"`},
		"hidden list":                 {trivy(`"Results":[{"Class":"os-pkgs","Vulnerabilities":[{"VulnerabilityID":"CVE-1"}],"Vulnerabilities":[]}]`), `duplicate object member name "Vulnerabilities"`},
		"no id":                       {trivy(`"Results":[{"Vulnerabilities":[{"PkgName":"x"}]}]`), "/Results/0/Vulnerabilities/0: a vulnerability without an id"},
		"long id":                     {trivy(`"Results":[{"Vulnerabilities":[{"VulnerabilityID":"` + strings.Repeat("x", 200) + `"}]}]`), "has 200 bytes, at most 128 are read"},
		"a number for a text":         {trivy(`"Results":[{"Vulnerabilities":[{"VulnerabilityID":7}]}]`), `unmarshal JSON number into Go string within "/Results/0/Vulnerabilities/0/VulnerabilityID"`},
		"a list for an object":        {trivy(`"Results":{"Target":"x"}`), "/Results: want a list, have an object"},
		"an object for a list":        {trivy(`"Results":[[]]`), "/Results/0: want an object, have a list"},
		"no UTF-8":                    {trivy("\"ArtifactName\":\"\xff\""), "invalid UTF-8"},
		"something behind":            {trivy(`"Results":[]`) + `{}`, "something follows the document"},
		"too deep":                    {trivy(`"x":` + deep), "exceeded max depth"},
		"Grype of a directory":        {`{"matches":[],"source":{"type":"directory","target":"."}}`, `grype report: a report about a source of type "directory"`},
		"Grype without a source":      {`{"matches":[]}`, "grype report: no source"},
		"Grype without matches":       {`{"descriptor":{"name":"grype"},"source":{"type":"image","target":{}}}`, "grype report: no matches"},
		"another tool":                {`{"matches":[],"descriptor":{"name":"grope"}}`, `"grope": want grype`},
		"SARIF of several tools":      {`{"runs":[{"tool":{"driver":{"name":"a"}}},{"tool":{"driver":{"name":"b"}}}]}`, "runs of several tools (a, b)"},
		"SARIF of several images":     {`{"runs":[{"properties":{"imageID":"sha256:` + strings.Repeat("a", 64) + `"}},{"properties":{"imageID":"sha256:` + strings.Repeat("b", 64) + `"}}]}`, "runs about several images"},
		"SARIF without runs":          {`{"runs":[]}`, "sarif report: no runs"},
		"SARIF without a tool":        {`{"runs":[{}]}`, "sarif report: no name of the tool"},
		"CycloneDX that is no scan":   {`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[]}`, "cyclonedx report: no vulnerabilities member"},
		"CycloneDX of an application": {`{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"type":"application"}}}`, `"application": want a container`},
		"CycloneDX of another time":   {`{"bomFormat":"CycloneDX","specVersion":"2.0","vulnerabilities":[]}`, `specVersion "2.0": 1.4 to 1.7 are read`},
		"SPDX in its place":           {`{"bomFormat":"SPDX"}`, `bomFormat "SPDX"`},
		"OSV without results":         {`{"experimental_config":{}}`, "osv report: no results"},
		"OSV group of nothing":        {`{"results":[{"packages":[{"groups":[{"ids":[]}]}]}]}`, "a group without ids"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			_, err := Read(strings.NewReader(tt.in), DefaultLimits())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if strings.HasPrefix(tt.want, "no scan report") != errors.Is(err, ErrFormat) {
				t.Errorf("%v: is it ErrFormat?", err)
			}
		})
	}
}

// TestGaps are reports that say nothing of vulnerabilities: none was looked for.
func TestGaps(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"SchemaVersion":2,"ArtifactType":"container_image"}`:                                                                                "no package was looked at for vulnerabilities",
		`{"SchemaVersion":2,"ArtifactType":"container_image","Results":[{"Class":"secret"}]}`:                                                 "no package was looked at for vulnerabilities",
		`{"SchemaVersion":2,"ArtifactType":"container_image","Metadata":{"OS":{"Family":"debian"}},"Results":[{"Class":"lang-pkgs"}]}`:        "the packages of debian were not looked at",
		`{"matches":[],"source":{"type":"image","target":{}},"descriptor":{"db":{"status":{"valid":false}}}}`:                                 "the vulnerability database was not valid",
		`{"matches":[],"source":{"type":"image","target":{}},"alertsByPackage":[{"alerts":[{"type":"distro-eol","message":"end of life"}]}]}`: "end of life",
		`{"bomFormat":"CycloneDX","specVersion":"1.6","vulnerabilities":[]}`:                                                                  "CycloneDX without a vulnerability does not say whether any was looked for",
		`{"runs":[{"tool":{"driver":{"name":"Trivy"}},"results":[]}]}`:                                                                        "SARIF without a vulnerability does not say whether any was looked for",
	} {
		r, err := Read(strings.NewReader(in), DefaultLimits())
		if err != nil || !slices.Equal(r.Gaps, []string{want}) {
			t.Errorf("%s: %v, %v; want %q", in, r, err, want)
		}
	}
}

// endless makes a Trivy report of at least n bytes without holding it.
func endless(n int64, one string) io.Reader {
	head := `{"SchemaVersion":2,"ArtifactType":"container_image","Results":[{"Class":"os-pkgs","Vulnerabilities":[`
	return io.MultiReader(strings.NewReader(head), &repeater{one: []byte(one + ","), left: n}, strings.NewReader(one+`]}]}`))
}

type repeater struct {
	one  []byte
	at   int
	left int64
}

func (r *repeater) Read(p []byte) (int, error) {
	if r.left <= 0 && r.at == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.one[r.at:])
	r.at = (r.at + n) % len(r.one)
	r.left -= int64(n)
	return n, nil
}

const bigEntry = `{"VulnerabilityID":"CVE-2026-1001","VendorIDs":["DSA-6001-1"],"PkgID":"libssl3@3.0.15","PkgName":"libssl3","PkgIdentifier":{"PURL":"pkg:deb/debian/libssl3@3.0.15?arch=amd64&distro=debian-12.8"},` +
	`"InstalledVersion":"3.0.15","FixedVersion":"3.0.16","Status":"fixed","Layer":{"DiffID":"sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"},"SeveritySource":"debian",` +
	`"PrimaryURL":"https://avd.aquasec.com/nvd/cve-2026-1001","DataSource":{"ID":"debian","Name":"Debian Security Tracker","URL":"https://salsa.debian.org/security-tracker-team/security-tracker"},` +
	`"Title":"openssl: an invented flaw","Description":"DESCRIPTION","Severity":"HIGH","CweIDs":["CWE-787"],"VendorSeverity":{"debian":3,"nvd":3,"redhat":2},` +
	`"CVSS":{"nvd":{"V3Vector":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H","V3Score":9.8},"redhat":{"V3Vector":"CVSS:3.1/AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:H/A:H","V3Score":8.1}},` +
	`"References":["https://example.com/1","https://example.com/2","https://example.com/3","https://example.com/4","https://example.com/5"],"PublishedDate":"2026-09-01T12:15:00Z","LastModifiedDate":"2026-09-05T10:00:00Z"}`

func entry() string {
	return strings.Replace(bigEntry, "DESCRIPTION", strings.Repeat("An attacker who can write on walls may read them too. ", 25), 1)
}

// TestHuge is a report over the limit: it ends in an error, in bounded memory.
func TestHuge(t *testing.T) {
	for title, tt := range map[string]struct {
		in   io.Reader
		want string
	}{
		"many bytes":           {endless(200<<20, entry()), "more than the 134217728 bytes that are read"},
		"many vulnerabilities": {endless(100<<20, `{"VulnerabilityID":"CVE-1"}`), "more than the 200000 vulnerabilities"},
		"one text":             {io.MultiReader(strings.NewReader(`{"SchemaVersion":2,"ArtifactName":"`), &repeater{one: []byte("x"), left: 200 << 20}), "more than the 134217728 bytes that are read"},
	} {
		t.Run(title, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			_, err := Read(tt.in, DefaultLimits())
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 600<<20 {
				t.Errorf("the heap grew by %d MiB", grown>>20)
			}
		})
	}
}

func TestReadTrivyVersion(t *testing.T) {
	t.Parallel()
	version, built, err := ReadTrivyVersion([]byte(`{"Version":"0.65.0","VulnerabilityDB":{"Version":2,"UpdatedAt":"2026-11-22T06:00:00.1Z"}}`))
	if err != nil || version != "0.65.0" || built.UTC().Format(time.RFC3339) != "2026-11-22T06:00:00Z" {
		t.Errorf("%s %s %v", version, built, err)
	}
	for in, want := range map[string]string{`Version: 0.65.0`: "not the output of trivy version", `{"Version":"0.65.0"}`: "names no vulnerability database"} {
		if _, _, err := ReadTrivyVersion([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			f.Add(fixture(f, filepath.Base(file)))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := Read(bytes.NewReader(raw), Limits{MaxBytes: 1 << 20, MaxVulnerabilities: 100, MaxPackages: 100})
		if err != nil {
			return
		}
		if r.Scanner == "" || len(r.Vulnerabilities) > 100 {
			t.Errorf("scanner %q, %d vulnerabilities", r.Scanner, len(r.Vulnerabilities))
		}
		again, err := Read(bytes.NewReader(raw), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Error(diff)
		}
	})
}

// BenchmarkRead reads 100 MB of Trivy's JSON, and a report of each other format.
func BenchmarkRead(b *testing.B) {
	b.Run("trivy-100MB", func(b *testing.B) {
		const size = 100_000_000
		one := entry()
		b.SetBytes(size)
		for b.Loop() {
			if _, err := Read(endless(size, one), DefaultLimits()); err != nil {
				b.Fatal(err)
			}
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapSys)/(1<<20), "MiB-heap")
	})
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue
		}
		raw := fixture(b, filepath.Base(file))
		b.Run(filepath.Base(file), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := Read(bytes.NewReader(raw), DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
