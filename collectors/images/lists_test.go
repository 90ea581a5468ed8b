package images

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
)

func TestLists(t *testing.T) {
	t.Parallel()
	const kevJSON = `{"title":"x","catalogVersion":"2026.11.20","dateReleased":"2026-11-20T15:00:00Z","count":1,"vulnerabilities":[{"cveID":"CVE-2026-1","vendorProject":"x","dateAdded":"2026-11-19","knownRansomwareCampaignUse":"Unknown"}]}`
	const kevCSV = "\ufeff\"cveID\",\"vendorProject\",\"dateAdded\"\nCVE-2026-1,\"x, y\",2026-11-19\nCVE-2026-2,z,2026-11-18\n"
	for in, want := range map[string]string{kevJSON: "2026-11-20T15:00:00Z", kevCSV: "2026-11-19T00:00:00Z"} {
		l, err := readList("KEV list", writeFile(t, "kev", in), parseKEV)
		if err != nil || l.Date.Format(time.RFC3339) != want || l.rows["CVE-2026-1"].DateAdded != "2026-11-19" || l.Entries != len(l.rows) {
			t.Errorf("%+v, %v", l, err)
		}
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte("#model_version:v2026.03.14,score_date:2026-11-20T00:00:00+0000\ncve,epss,percentile\nCVE-2026-1,0.94,0.99\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := readList("EPSS list", writeFile(t, "epss.csv.gz", packed.String()), parseEPSS)
	if err != nil || l.rows["CVE-2026-1"] != 0.94 || l.Date.Format(time.DateOnly) != "2026-11-20" {
		t.Errorf("%+v, %v", l, err)
	}
	for in, want := range map[string]string{
		"": "no header", "a,b\n1,2\n": "no column cveID", "cveID,dateAdded\nGHSA-1,2026-01-01\n": "entry 1: \"GHSA-1\"", "cveID,dateAdded\nCVE-1,soon\n": "no CVE id with a date",
		`{"vulnerabilities":[]}`: "no vulnerabilities in it", `{"vulnerabilities":`: "unexpected end", "cveID,dateAdded\n": "no vulnerabilities in it", "cveID,dateAdded\n\"CVE-1\n": "extraneous or missing",
	} {
		if _, err := readList("KEV list", writeFile(t, "kev", in), parseKEV); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("KEV %q: %v, want %q", in, err, want)
		}
	}
	for in, want := range map[string]string{
		"cve,epss\nCVE-1,1.5\n": "no CVE id with a probability", "cve,epss\nCVE-1,NaN\n": "no CVE id with a probability", "#score_date:soon\ncve,epss\nCVE-1,0.1\n": "score_date", "\x1f\x8bx": "unpack",
	} {
		if _, err := readList("EPSS list", writeFile(t, "epss", in), parseEPSS); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("EPSS %q: %v, want %q", in, err, want)
		}
	}
}

func TestVEXRefused(t *testing.T) {
	t.Parallel()
	doc := func(statement string) string {
		return `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x","author":"a","timestamp":"2026-11-01T00:00:00Z","version":1,"statements":[` + statement + `]}`
	}
	for in, want := range map[string]string{
		`{}`: "want an OpenVEX document", `[`: "unexpected end", `{"@context":"https://openvex.dev/ns/v0.2.0"}`: "no author",
		doc(`{"vulnerability":{"name":"CVE-1"},"products":[{"@id":"x"}],"status":"not_affected"}`):                           "justification",
		doc(`{"vulnerability":{"name":"CVE-1"},"products":[{"@id":"x"}],"status":"harmless"}`):                               "status",
		doc(`{"vulnerability":{"name":"CVE-1"},"status":"fixed"}`):                                                           "no products",
		doc(`{"products":[{"@id":"x"}],"status":"fixed"}`):                                                                   "no vulnerability",
		doc(`{"vulnerability":{"name":"CVE-1"},"products":[{"@id":"x"}],"status":"not_affected","justification":"because"}`): "justification",
	} {
		if _, err := parseVEX([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", in, err, want)
		}
	}
}

func FuzzLists(f *testing.F) {
	f.Add([]byte(`{"dateReleased":"2026-11-20T15:00:00Z","vulnerabilities":[{"cveID":"CVE-2026-1","dateAdded":"2026-11-19"}]}`))
	f.Add([]byte("cveID,dateAdded\nCVE-2026-1,2026-11-19\n"))
	f.Add([]byte("#model_version:1,score_date:2026-11-20T00:00:00+0000\ncve,epss,percentile\nCVE-2026-1,0.94,0.99\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		kev, epss := map[string]kevEntry{}, map[string]float64{}
		if _, err := parseKEV(raw, kev); err == nil {
			for id, e := range kev {
				if _, err := time.Parse(time.DateOnly, e.DateAdded); err != nil || !strings.HasPrefix(id, "CVE-") {
					t.Errorf("%q added %q", id, e.DateAdded)
				}
			}
		}
		if _, err := parseEPSS(raw, epss); err == nil {
			for id, p := range epss {
				if !(p >= 0 && p <= 1) {
					t.Errorf("%q: %v", id, p)
				}
			}
		}
		if doc, err := parseVEX(raw); err == nil && doc.Author == "" {
			t.Error("a document without an author")
		}
	})
}

// TestStatements makes in-toto statements of what was sealed.
func TestStatements(t *testing.T) {
	t.Parallel()
	o := Options{Policy: policyFor(RuleScanned)}
	src := Sources{Platforms: o.Policy.Platforms, ScannerVersion: writeFile(t, "v.json", trivyVersion)}
	for _, r := range []any{trivy(digestA, "2026-11-20T09:00:00Z", "linux/amd64"), trivy(digestA, fresh, "linux/amd64", openssl), grype(digestA, fresh, fresh, zlib), trivy(digestB, fresh, "linux/amd64")} {
		src.Reports = append(src.Reports, writeFile(t, "r.json", r))
	}
	var err error
	if o.Gathered, err = Gather(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	art := sealed(t, podOf(imageA, "api:1"), o)
	list, err := Statements(collectors.NewSealed(art, config.RuleControls()))
	if err != nil || len(list) != 2 {
		t.Fatalf("%d statements, %v", len(list), err)
	}
	got := map[string]any{}
	for _, s := range list {
		if s.Image != imageA || string(s.Digest) != digestA {
			t.Errorf("about %s %s", s.Image, s.Digest)
		}
		var p struct {
			Scanner struct {
				URI, Version string
				DB           struct{ LastUpdate string }
				Result       []struct {
					ID       string
					Severity []struct{ Method, Score string }
				}
			}
			Metadata struct{ ScanFinishedOn string }
		}
		if err := json.Unmarshal(s.Predicate, &p); err != nil {
			t.Fatal(err)
		}
		got[p.Scanner.URI] = []any{p.Scanner.Version, p.Scanner.DB.LastUpdate, p.Metadata.ScanFinishedOn, p.Scanner.Result[0].ID, p.Scanner.Result[0].Severity[0].Score}
	}
	want := map[string]any{
		"pkg:github/aquasecurity/trivy": []any{"0.65.0", "2026-11-22T06:00:00Z", fresh, "CVE-2026-1", "CRITICAL"},
		"pkg:github/anchore/grype":      []any{"0.104.2", fresh, fresh, "CVE-2026-2", "HIGH"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if list, err := Statements(collectors.NewSealed(collectors.NewArtifacts(nil), config.RuleControls())); err != nil || list != nil {
		t.Errorf("of nothing: %v, %v", list, err)
	}
}
