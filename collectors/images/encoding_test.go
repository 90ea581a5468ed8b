package images

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
)

// TestReportsOfWindows: reports and lists say the same in the encodings that shells
// of Windows write, and what is sealed of them is the text as UTF-8.
func TestReportsOfWindows(t *testing.T) {
	t.Parallel()
	const vex = `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x","author":"ä","timestamp":"2026-11-01T00:00:00Z","version":1,"statements":[]}`
	const kev = "cveID,dateAdded\nCVE-2026-1,2026-11-19\n"
	for name, enc := range map[string]encoding.Encoding{
		"UTF-8":         unicode.UTF8BOM,
		"little endian": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM),
		"big endian":    unicode.UTF16(unicode.BigEndian, unicode.UseBOM),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			encoded := func(text string) string {
				out, err := enc.NewEncoder().String(text)
				if err != nil {
					t.Fatal(err)
				}
				return writeFile(t, "x", out)
			}
			files, err := filepath.Glob("scan/testdata/*.*")
			if err != nil || len(files) < 5 {
				t.Fatal(files, err)
			}
			for _, file := range files {
				raw, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				want, _, err := readReport(file)
				if err != nil {
					t.Fatal(err)
				}
				other := encoded(string(raw))
				got, sum, err := readReport(other)
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: the report says something else:\n%s", file, diff)
				}
				sealed, err := readBounded(other, scan.DefaultLimits().MaxBytes)
				if err != nil || string(sealed) != string(raw) || sum != evidence.DigestOf(sealed) {
					t.Errorf("%s: what would be sealed is not its text, or has another digest: %v", file, err)
				}
			}
			raw, err := readBounded(encoded(vex), maxVEX)
			if err != nil || string(raw) != vex {
				t.Errorf("VEX: %q, %v", raw, err)
			}
			if l, err := readList("KEV list", encoded(kev), parseKEV); err != nil || l.rows["CVE-2026-1"].DateAdded != "2026-11-19" {
				t.Errorf("KEV: %+v, %v", l, err)
			}
		})
	}
}
