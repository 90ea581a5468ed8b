package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
)

// A waiver that the gate refuses says why, and not only why it was asked for.
func TestPrintWaiversRefused(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	printWaivers(&terminal{w: &b, width: 200}, evidence.Verdict{Waivers: []evidence.WaiverResult{
		{Waiver: evidence.Waiver{Control: "SEC-7", ApprovedBy: "me", Reason: "because"}, Status: "refused", Reason: "ends on 9999-01-01, and the profile accepts less"},
		{Waiver: evidence.Waiver{Control: "SEC-1", ApprovedBy: "me", Reason: "because"}, Status: "applied", Reason: "accepts 1 finding"},
	}})
	if got := b.String(); !strings.Contains(got, "refused: ends on 9999-01-01") || strings.Contains(got, "accepts 1") {
		t.Errorf("waivers:\n%s", got)
	}
}
