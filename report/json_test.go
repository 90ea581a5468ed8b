package report

import (
	"bytes"
	"testing"

	"github.com/companyos/helmproof/evidence"
)

// TestMarshalWith holds that a list that is written one by one has the same bytes.
func TestMarshalWith(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		r := ReleaseJSON{Chart: "a <\u2028\n      \"findings\": []", Verdict: &evidence.Verdict{Results: []evidence.ControlResult{{Findings: []string{}}}}, Runs: []evidence.CollectorRun{}, Findings: []evidence.Finding{}}
		for i := range n {
			r.Findings = append(r.Findings, evidence.Finding{ID: "x", Message: "<b>\n      \"findings\": []", Target: evidence.Target{Line: i}, Evidence: []evidence.Pointer{{Artifact: "y"}}})
		}
		want, err := MarshalOutput(OutputJSON{Releases: []ReleaseJSON{r}})
		if err != nil {
			t.Fatal(err)
		}
		list := r.Findings
		r.Findings = []evidence.Finding{}
		got, err := marshalWith(OutputJSON{Releases: []ReleaseJSON{r}}, "findings", list)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d findings: %v\n got %s\nwant %s", n, err, got, want)
		}
	}
}
