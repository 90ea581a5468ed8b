package images

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
)

// Digests of these tests.
var (
	digestA = "sha256:" + strings.Repeat("a", 64)
	digestB = "sha256:" + strings.Repeat("b", 64)
	imageA  = "registry.example.com/team/api@" + digestA
)

const fresh = "2026-11-22T09:00:00Z"

func podOf(images ...string) string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n")
	for i, image := range images {
		fmt.Fprintf(&b, "    - {name: c%d, image: %q}\n", i, image)
	}
	return b.String()
}

// vuln is an entry of a report of these tests.
type vuln struct {
	id, pkg, version, fixed, severity, published string
	aliases                                      []string
	purl                                         string
}

// trivy is a report of Trivy about the digest.
func trivy(digest, created, platform string, vulns ...vuln) map[string]any {
	os, arch, _ := strings.Cut(platform, "/")
	list := []any{}
	for _, v := range vulns {
		m := map[string]any{"VulnerabilityID": v.id, "PkgName": v.pkg, "InstalledVersion": v.version, "FixedVersion": v.fixed, "Severity": v.severity,
			"SeveritySource": "debian", "PkgIdentifier": map[string]any{"PURL": v.purl}, "VendorIDs": v.aliases}
		if v.published != "" {
			m["PublishedDate"] = v.published
		}
		list = append(list, m)
	}
	return map[string]any{
		"SchemaVersion": 2, "CreatedAt": created, "ArtifactName": "x", "ArtifactType": "container_image", "Trivy": map[string]any{"Version": "0.65.0"},
		"Metadata": map[string]any{"OS": map[string]any{"Family": "debian", "Name": "12"}, "RepoDigests": []any{"x@" + digest}, "ImageConfig": map[string]any{"os": os, "architecture": arch}},
		"Results":  []any{map[string]any{"Target": "x", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": list}},
	}
}

// grype is a report of Grype about the digest, with its database's age in it.
func grype(digest, at, built string, vulns ...vuln) map[string]any {
	list := []any{}
	for _, v := range vulns {
		related := []any{}
		for _, a := range v.aliases {
			related = append(related, map[string]any{"id": a})
		}
		fixed := []any{}
		if v.fixed != "" {
			fixed = append(fixed, v.fixed)
		}
		list = append(list, map[string]any{
			"vulnerability":          map[string]any{"id": v.id, "severity": v.severity, "namespace": "github", "fix": map[string]any{"versions": fixed}},
			"relatedVulnerabilities": related, "artifact": map[string]any{"name": v.pkg, "version": v.version, "purl": v.purl},
		})
	}
	return map[string]any{
		"matches": list, "source": map[string]any{"type": "image", "target": map[string]any{"repoDigests": []any{"x@" + digest}, "os": "linux", "architecture": "amd64"}},
		"descriptor": map[string]any{"name": "grype", "version": "0.104.2", "timestamp": at, "db": map[string]any{"built": built}},
	}
}

const trivyVersion = `{"Version":"0.65.0","VulnerabilityDB":{"UpdatedAt":"2026-11-22T06:00:00Z"}}`

func writeFile(t *testing.T, name string, v any) string {
	t.Helper()
	raw, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		raw = string(b)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var (
	openssl = vuln{id: "CVE-2026-1", pkg: "libssl3", version: "3.0.15", fixed: "3.0.16", severity: "CRITICAL", published: "2026-09-01T00:00:00Z", purl: "pkg:deb/debian/libssl3@3.0.15?distro=debian-12"}
	zlib    = vuln{id: "CVE-2026-2", pkg: "zlib1g", version: "1.2", severity: "HIGH", published: "2026-11-20T00:00:00Z", purl: "pkg:deb/debian/zlib1g@1.2"}
	bash    = vuln{id: "CVE-2026-3", pkg: "bash", version: "5.2", severity: "UNKNOWN"}
)

const (
	opensslText = "CVE-2026-1 (critical by debian): libssl3 3.0.15, fixed in 3.0.16; found by trivy"
	zlibText    = "CVE-2026-2 (high by debian): zlib1g 1.2; found by trivy"
	scannedText = "scanned by trivy 0.65.0: "
)

func TestScans(t *testing.T) {
	t.Parallel()
	one := trivy(digestA, fresh, "linux/amd64", openssl)
	vexOf := func(status, product string, extra map[string]any) map[string]any {
		st := map[string]any{"vulnerability": map[string]any{"name": "CVE-2026-1"}, "products": []any{map[string]any{"@id": product}}, "status": status, "timestamp": "2026-11-01T00:00:00Z"}
		for k, v := range extra {
			st[k] = v
		}
		return map[string]any{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex", "author": "sec@example.com", "timestamp": "2026-11-01T00:00:00Z", "version": 1, "statements": []any{st}}
	}
	unreachable := map[string]any{"justification": "vulnerable_code_not_in_execute_path"}
	for title, tt := range map[string]struct {
		images  []string // default: imageA
		reports []any
		declare string // digest that the reports are given for
		noAge   bool   // without the scanner's version
		vex     []any
		kev     any
		epss    string
		policy  func(*Policy)
		// want are the vulnerabilities; scanned, fresh and database the findings of those rules.
		want, scanned, scanFresh, database []string
	}{
		"clean": {
			reports: []any{trivy(digestA, fresh, "linux/amd64")},
			scanned: []string{"pass " + scannedText + "no vulnerabilities"}, scanFresh: []string{"pass scanned by trivy 0.65.0 on 2026-11-22 09:00"},
			database: []string{"pass database of trivy 0.65.0 of 2026-11-22 06:00"},
		},
		"fixed and unfixed": {
			reports: []any{trivy(digestA, fresh, "linux/amd64", openssl, zlib, bash)},
			want:    []string{"fail critical " + opensslText, "fail high " + zlibText, "fail high CVE-2026-3: bash 5.2; found by trivy; no scanner knows its severity: it counts as high"},
			scanned: []string{"pass " + scannedText + "3 reported (1 critical, 1 high, 1 unknown)"},
		},
		"fixable only": {
			reports: []any{trivy(digestA, fresh, "linux/amd64", openssl, zlib)}, policy: func(p *Policy) { p.FixableOnly = true },
			want: []string{"fail critical " + opensslText, "warn high " + zlibText + "; no version is known that fixes it"},
		},
		"grace": {
			reports: []any{trivy(digestA, fresh, "linux/amd64", openssl, zlib, bash)}, policy: func(p *Policy) { p.Grace = evidence.Duration(14 * 24 * time.Hour) },
			want: []string{"fail critical " + opensslText, "warn high " + zlibText + "; published on 2026-11-20: it has to be fixed by 2026-12-04",
				"fail high CVE-2026-3: bash 5.2; found by trivy; no scanner knows its severity: it counts as high"},
		},
		"exploited": {
			reports: []any{trivy(digestA, fresh, "linux/amd64", zlib)}, policy: func(p *Policy) { p.FixableOnly, p.Grace = true, evidence.Duration(14*24*time.Hour) },
			kev:      map[string]any{"dateReleased": fresh, "vulnerabilities": []any{map[string]any{"cveID": "CVE-2026-2", "dateAdded": "2026-11-21"}}},
			want:     []string{"fail critical " + zlibText + "; known to be exploited, listed since 2026-11-21"},
			database: []string{"pass database of trivy 0.65.0 of 2026-11-22 06:00", "pass KEV list of 2026-11-22 09:00"},
		},
		"likely exploited": {
			reports: []any{trivy(digestA, fresh, "linux/amd64", vuln{id: "CVE-2026-2", pkg: "zlib1g", version: "1.2", severity: "LOW"})}, policy: func(p *Policy) { p.FixableOnly, p.EPSSAbove = true, 0.1 },
			epss:     "#model_version:v2026.03.14,score_date:2026-11-20T00:00:00+0000\ncve,epss,percentile\nCVE-2026-2,0.4,0.9\n",
			want:     []string{"fail high CVE-2026-2 (low by debian): zlib1g 1.2; found by trivy; likely to be exploited: EPSS at or above 0.1"},
			database: []string{"pass database of trivy 0.65.0 of 2026-11-22 06:00", "pass EPSS list of 2026-11-20 00:00"},
		},
		"unlikely exploited": {
			reports: []any{trivy(digestA, fresh, "linux/amd64", zlib)}, policy: func(p *Policy) { p.EPSSAbove = 0.1 },
			epss:     "#model_version:v2026.03.14,score_date:2026-09-20T00:00:00+0000\ncve,epss,percentile\nCVE-2026-2,0.0004,0.1\n",
			want:     []string{"fail high " + zlibText},
			database: []string{"pass database of trivy 0.65.0 of 2026-11-22 06:00", "not-checked EPSS list is of 2026-09-20 00:00, older than the 5 days that are allowed"},
		},
		"VEX not affected": {
			reports: []any{one}, vex: []any{vexOf("not_affected", "pkg:oci/api@"+digestA, unreachable)},
			want: []string{"not-applicable critical " + opensslText + "; VEX: not_affected (vulnerable_code_not_in_execute_path, by sec@example.com)"},
		},
		"VEX of the image's name alone": {
			reports: []any{one}, vex: []any{vexOf("not_affected", "pkg:oci/api?repository_url=registry.example.com/team/api", unreachable)},
			want: []string{"fail critical " + opensslText},
		},
		"VEX of another image": {
			reports: []any{one}, vex: []any{vexOf("not_affected", "pkg:oci/api@"+digestB, unreachable)},
			want: []string{"fail critical " + opensslText},
		},
		"VEX of the package": {
			reports: []any{one}, vex: []any{vexOf("not_affected", "", map[string]any{"justification": "component_not_present",
				"products": []any{map[string]any{"@id": "registry.example.com/team/api@" + digestA, "subcomponents": []any{map[string]any{"@id": "pkg:deb/debian/libssl3@3.0.15"}}}}})},
			want: []string{"not-applicable critical " + opensslText + "; VEX: not_affected (component_not_present, by sec@example.com)"},
		},
		"VEX of another package": {
			reports: []any{one}, vex: []any{vexOf("not_affected", "", map[string]any{"justification": "component_not_present",
				"products": []any{map[string]any{"hashes": map[string]any{"sha-256": strings.Repeat("a", 64)}, "subcomponents": []any{map[string]any{"@id": "pkg:deb/debian/openssl@3.0.15"}}}}})},
			want: []string{"fail critical " + opensslText},
		},
		"VEX of another hash": {
			reports: []any{one}, vex: []any{vexOf("not_affected", "", map[string]any{"justification": "component_not_present",
				"products": []any{map[string]any{"@id": "registry.example.com/team/api", "hashes": map[string]any{"sha-256": strings.Repeat("b", 64)}}}})},
			want: []string{"fail critical " + opensslText},
		},
		"VEX later affected": {
			reports: []any{one}, vex: []any{vexOf("not_affected", "pkg:oci/api@"+digestA, unreachable), vexOf("affected", "pkg:oci/api@"+digestA, map[string]any{"timestamp": "2026-11-02T00:00:00Z", "action_statement": "update"})},
			want: []string{"fail critical " + opensslText + "; VEX: affected (no justification, by sec@example.com)"},
		},
		"VEX against itself": {
			reports: []any{one}, vex: []any{vexOf("under_investigation", "pkg:oci/api@"+digestA, nil), vexOf("not_affected", "pkg:oci/api@"+digestA, unreachable)},
			want: []string{"fail critical " + opensslText + "; VEX: under_investigation (no justification, by sec@example.com)"},
		},
		"two scanners": {
			reports: []any{one, grype(digestA, fresh, fresh, vuln{id: "GHSA-aaaa-bbbb-cccc", aliases: []string{"CVE-2026-1"}, pkg: "libssl3", version: "3.0.15", fixed: "3.0.16", severity: "High"},
				vuln{id: "CVE-2026-9", pkg: "libssl3", version: "3.0.15", severity: "Low"})},
			want:    []string{"fail critical CVE-2026-1 (critical by debian): libssl3 3.0.15, fixed in 3.0.16; found by grype and trivy", "fail low CVE-2026-9 (low by github): libssl3 3.0.15; found by grype"},
			scanned: []string{"pass scanned by grype 0.104.2: 2 reported (1 high, 1 low) and by trivy 0.65.0: 1 reported (1 critical)"},
		},
		"two scans by one scanner": {
			reports: []any{trivy(digestA, "2026-11-20T09:00:00Z", "linux/amd64", openssl, zlib), trivy(digestA, fresh, "linux/amd64", zlib)},
			want:    []string{"fail high " + zlibText},
		},
		"another image's report": {
			reports: []any{trivy(digestB, fresh, "linux/amd64")},
			scanned: []string{"not-checked no scan report names its digest"}, scanFresh: []string{"not-checked no scan report names its digest"},
		},
		"declared": {
			reports: []any{map[string]any{"version": "2.1.0", "runs": []any{map[string]any{"tool": map[string]any{"driver": map[string]any{"name": "Trivy"}},
				"results": []any{map[string]any{"ruleId": "CVE-2026-2", "message": map[string]any{"text": "Package: zlib1g\nInstalled Version: 1.2\nSeverity: HIGH"}}}}}}}, declare: digestA,
			want:    []string{"fail high CVE-2026-2 (high): zlib1g 1.2; found by trivy"},
			scanned: []string{"not-checked no scan that counts: the report of trivy does not say when it was made"},
		},
		"old scan": {
			reports:   []any{trivy(digestA, "2026-11-01T09:00:00Z", "linux/amd64", openssl)},
			want:      []string{"fail critical " + opensslText},
			scanned:   []string{"not-checked no scan that counts: the report of trivy 0.65.0 is of 2026-11-01 09:00, older than the 7 days that are allowed"},
			scanFresh: []string{"not-checked no fresh scan: the report of trivy 0.65.0 is of 2026-11-01 09:00, older than the 7 days that are allowed"},
		},
		"scan of the future": {
			reports: []any{trivy(digestA, "2026-11-24T09:00:00Z", "linux/amd64")},
			scanned: []string{"not-checked no scan that counts: the report of trivy 0.65.0 is of the future (2026-11-24T09:00:00Z)"},
		},
		"old database": {
			reports:  []any{grype(digestA, fresh, "2026-11-01T09:00:00Z")},
			scanned:  []string{"not-checked no scan that counts: the database of grype 0.104.2 is of 2026-11-01 09:00, older than the 5 days that are allowed"},
			database: []string{"not-checked no fresh database: the database of grype 0.104.2 is of 2026-11-01 09:00, older than the 5 days that are allowed"},
		},
		"database of unknown age": {
			reports: []any{trivy(digestA, fresh, "linux/amd64")}, noAge: true,
			scanned:  []string{"not-checked no scan that counts: the database of trivy 0.65.0 has no date in the report"},
			database: []string{"not-checked no fresh database: the database of trivy 0.65.0 has no date in the report"},
		},
		"another platform": {
			reports: []any{trivy(digestA, fresh, "linux/arm64")},
			scanned: []string{"not-checked no scan report names its digest: the report of trivy 0.65.0 is about linux/arm64"},
		},
		"two platforms, one scanned": {
			reports: []any{trivy(digestA, fresh, "linux/amd64")}, policy: func(p *Policy) { p.Platforms = []string{"linux/amd64", "linux/arm64"} },
			scanned: []string{"not-checked no scan report names its digest for linux/arm64: the report of trivy 0.65.0 is about linux/amd64", "pass scanned for linux/amd64 by trivy 0.65.0: no vulnerabilities"},
		},
		"no digest": {
			images: []string{"api:1"}, reports: []any{one},
			scanned: []string{"not-checked no digest: a report is about a digest, and which one the tag will name is not known"},
		},
		"no image": {
			images: []string{}, reports: []any{one}, scanned: []string{"not-applicable the release runs no images"},
		},
		"nothing was scanned": {scanned: []string{"not-checked not scanned"}, scanFresh: []string{"not-checked not scanned"}},
		"end of life": {
			reports: []any{func() any {
				r := trivy(digestA, fresh, "linux/amd64")
				r["Metadata"].(map[string]any)["OS"].(map[string]any)["EOSL"] = true
				return r
			}()},
			scanned: []string{"not-checked no scan that counts: trivy 0.65.0: debian 12 gets no security fixes any more, and vulnerabilities of its packages are not published"},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			src := Sources{Platforms: []string{"linux/amd64"}}
			for i, r := range tt.reports {
				file := writeFile(t, fmt.Sprintf("r%d.json", i), r)
				if tt.declare != "" {
					file = tt.declare + "=" + file
				}
				src.Reports = append(src.Reports, file)
			}
			if !tt.noAge {
				src.ScannerVersion = writeFile(t, "version.json", trivyVersion)
			}
			for i, v := range tt.vex {
				src.VEX = append(src.VEX, writeFile(t, fmt.Sprintf("vex%d.json", i), v))
			}
			if tt.kev != nil {
				src.KEV = writeFile(t, "kev.json", tt.kev)
			}
			if tt.epss != "" {
				src.EPSS = writeFile(t, "epss.csv", tt.epss)
			}
			o := Options{Policy: policyFor(RuleScanned, RuleScanFresh)}
			if tt.policy != nil {
				tt.policy(&o.Policy)
			}
			src.Platforms = o.Policy.Platforms
			var err error
			if o.Gathered, err = Gather(t.Context(), src); err != nil {
				t.Fatal(err)
			}
			if tt.images == nil {
				tt.images = []string{imageA}
			}
			manifests := podOf(tt.images...)
			if len(tt.images) == 0 {
				manifests = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
			}
			art := sealed(t, manifests, o)
			found := evidence.NormalizeFindings(derive(t, art))
			got := map[string][]string{}
			for _, f := range found {
				line := string(f.Outcome) + " "
				rule := f.Rule
				if strings.HasPrefix(rule, RuleVulnerability) {
					rule, line = RuleVulnerability, line+string(f.Severity)+" "
				}
				if len(f.Evidence) == 0 && f.Outcome != evidence.OutcomeNotApplicable {
					t.Errorf("%s: no evidence", f.Message)
				}
				for _, e := range f.Evidence {
					if raw, err := art.Read(e.Artifact); err != nil || evidence.DigestOf(raw) != e.Digest {
						t.Errorf("%s: evidence %+v: %v", f.Message, e, err)
					}
				}
				got[rule] = append(got[rule], line+f.Message)
			}
			for rule, want := range map[string][]string{RuleVulnerability: tt.want, RuleScanned: tt.scanned, RuleScanFresh: tt.scanFresh, RuleDatabaseFresh: tt.database} {
				if want == nil && rule != RuleVulnerability {
					continue
				}
				slices.Sort(want)
				slices.Sort(got[rule])
				if diff := cmp.Diff(want, got[rule]); diff != "" {
					t.Errorf("%s: %s", rule, diff)
				}
			}
		})
	}
}
