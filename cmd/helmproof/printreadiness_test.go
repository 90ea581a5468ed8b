package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rivo/uniseg"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/readiness"
)

// Answers keep to the width of a terminal, and a command that goes over several lines
// is one command for the shell that it is copied to.
func TestReadinessColumns(t *testing.T) {
	t.Parallel()
	const get = `helmproof drill --suite release --release 'my shop, the second' -n production --allow-namespace production --yes`
	doc := &readiness.Document{Checklist: "operational"}
	rep := &readiness.Report{
		Chart: "payments-service", Version: "10.20.30-rc.1", Release: "payments-service", Namespace: "payments-production", Cluster: "0c1a5be0-0000-4000-8000-000000000001", Outcome: readiness.Missing,
		Inputs: []evidence.BundleRef{{Bundle: evidence.DigestOf(nil), EvaluatedAt: time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)}},
		Items: []readiness.Answer{
			{ID: "reviewed-by-security", Title: "Security has reviewed the documentation of the service and of all that it needs", Outcome: readiness.Unverifiable, Parts: []readiness.Part{
				{What: "docs/a-rather-long-name-of-a-document-in-a-folder/architecture-and-runbook.md", Outcome: readiness.Unverifiable, Reason: "a review of it cannot be verified", Notes: []string{"review " + string(evidence.DigestOf(nil)) + " cannot be verified"}},
			}},
			{ID: "drills", Title: "Drills stayed within the error budget", Outcome: readiness.Missing, Parts: []readiness.Part{{What: "RSL-1", Outcome: readiness.Missing, Reason: "incomplete: no evidence from collector chaos", Get: get}}},
		},
	}
	for _, width := range []int{40, 50, 80, 120} {
		var b bytes.Buffer
		printReady(&terminal{w: &b, width: width}, doc, rep, false, "gs://a-bucket-of-the-team/evidence/of/production")
		for l := range strings.Lines(b.String()) {
			if n := uniseg.StringWidth(strings.TrimSuffix(l, "\n")); n > width {
				t.Errorf("in %d columns: %d: %q", width, n, l)
			}
		}
		_, rest, _ := strings.Cut(b.String(), "get it: ")
		copied, _, _ := strings.Cut(strings.ReplaceAll(rest, "\\\n", " "), "\n")
		if !slices.Equal(shellWords(copied), shellWords(get)) {
			t.Errorf("in %d columns the command is %q", width, copied)
		}
	}
}
