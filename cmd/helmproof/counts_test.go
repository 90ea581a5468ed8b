package main

import (
	"strings"
	"testing"

	"github.com/rivo/uniseg"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/pipeline"
)

// controls makes results of so many controls with each outcome.
func controls(required bool, counts map[evidence.ControlOutcome]int) []evidence.ControlResult {
	var out []evidence.ControlResult
	for o, n := range counts {
		for range n {
			out = append(out, evidence.ControlResult{Outcome: o, Required: required})
		}
	}
	return out
}

// Only what was judged counts as held or not; nothing is counted twice or left out.
func TestVerdictLine(t *testing.T) {
	t.Parallel()
	type counts = map[evidence.ControlOutcome]int
	for _, tt := range []struct {
		outcome            evidence.VerdictOutcome
		required, optional counts
		want               string
	}{
		{"PASS", counts{"pass": 32}, nil, "● PASS  bundle 0123456789ab  32 pass"},
		{"PASS", counts{"pass": 6, "not-applicable": 26}, nil, "● PASS  bundle 0123456789ab  6 pass, 26 n/a"},
		{"PASS", counts{"pass": 24, "waived": 2, "warn": 1, "not-applicable": 5}, nil, "● PASS  bundle 0123456789ab  1 warn, 2 waived, 24 pass, 5 n/a"},
		{"PASS", counts{"not-applicable": 3}, nil, "● PASS  bundle 0123456789ab  3 n/a"},
		{"PASS", counts{"pass": 3}, counts{"fail": 1, "incomplete": 2, "pass": 1}, "● PASS  bundle 0123456789ab  4 pass, 1 fail (optional), 2 unchecked (optional)"},
		{"FAIL", counts{"fail": 19, "incomplete": 2, "pass": 10, "not-applicable": 1}, nil, "■ FAIL  bundle 0123456789ab  19 fail, 2 unchecked, 10 pass, 1 n/a"},
		{"INCOMPLETE", counts{"incomplete": 12, "warn": 10, "waived": 10, "pass": 20, "not-applicable": 26}, nil,
			"◆ INCOMPLETE  bundle 0123456789ab  12 unchecked, 10 warn, 10 waived, 46 more"},
		{"INCOMPLETE", counts{"an outcome of tomorrow": 1}, nil, "◆ INCOMPLETE  bundle 0123456789ab  1 unchecked"},
		{"INCOMPLETE", nil, nil, "◆ INCOMPLETE  bundle 0123456789ab"},
	} {
		j := &pipeline.Judged{Bundle: evidence.Digest("sha256:" + strings.Repeat("0123456789ab", 6)[:64])}
		j.Verdict.Outcome = tt.outcome
		j.Verdict.Results = append(controls(true, tt.required), controls(false, tt.optional)...)
		got := verdictLine(&terminal{width: 80}, j)
		if got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if w := uniseg.StringWidth(got); w > 80 {
			t.Errorf("%d columns: %q", w, got)
		}
	}
}
