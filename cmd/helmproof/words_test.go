package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rivo/uniseg"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
)

// Verified and the verdict are two words, and both fit whatever the width.
func TestVerifiedLine(t *testing.T) {
	t.Parallel()
	id := evidence.Digest("sha256:7a2b5a9346b0" + strings.Repeat("0", 52))
	good := verifiedJSON{Result: &bundle.Result{Bundle: id, Outcome: evidence.OutcomePass}, Verdict: &verdictJSON{Outcome: evidence.VerdictFail}, subject: "chart weak 1.0.0, profile chart"}
	long := good
	long.subject = "chart a-chart-with-a-very-long-name-that-somebody-chose 1.0.0-rc.1+build.5, profile a-profile-with-a-long-name"
	hostile := good
	hostile.subject = "chart a\x1b[2Jb 1, profile chart"
	bad := verifiedJSON{Result: &bundle.Result{Bundle: id, Outcome: evidence.OutcomeFail, Checks: []bundle.Check{{Name: "reports", Outcome: evidence.OutcomeFail, Reason: "report.md is altered, report.pdf is altered, results.sarif is altered"}}}}
	for _, tt := range []struct {
		r     verifiedJSON
		width int
		want  string
	}{
		{good, 80, "● VERIFIED  bundle 7a2b5a9346b0  verdict ■ FAIL  chart weak 1.0.0, profile chart\n"},
		{good, 60, "● VERIFIED  bundle 7a2b5a9346b0  verdict ■ FAIL\n  chart weak 1.0.0, profile chart\n"},
		{good, 40, "● VERIFIED  bundle 7a2b5a9346b0\n  verdict ■ FAIL\n  chart weak 1.0.0, profile chart\n"},
		{long, 60, "● VERIFIED  bundle 7a2b5a9346b0  verdict ■ FAIL\n  chart a-chart-with-a-very-long-name-that-somebody-chose\n  1.0.0-rc.1+build.5, profile a-profile-with-a-long-name\n"},
		{hostile, 80, "● VERIFIED  bundle 7a2b5a9346b0  verdict ■ FAIL\n  chart a[U+001B][2Jb 1, profile chart\n"},
		{bad, 80, "■ NOT VERIFIED  bundle 7a2b5a9346b0: reports: report.md is altered, report.pdf\n                is altered, results.sarif is altered\n"},
		{bad, 60, "■ NOT VERIFIED  bundle 7a2b5a9346b0: reports: report.md is\n                altered, report.pdf is altered,\n                results.sarif is altered\n"},
	} {
		for _, color := range []bool{false, true} {
			var b bytes.Buffer
			printVerifiedLine(&terminal{w: &b, width: tt.width, color: color}, tt.r)
			got := sgr.ReplaceAllString(b.String(), "")
			if got != tt.want {
				t.Errorf("%d columns, coloured %v:\n%swant\n%s", tt.width, color, got, tt.want)
			}
			for line := range strings.Lines(got) {
				if w := uniseg.StringWidth(strings.TrimSuffix(line, "\n")); w > tt.width {
					t.Errorf("%d columns of %d: %q", w, tt.width, line)
				}
			}
		}
	}
}
