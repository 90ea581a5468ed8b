package report

import (
	"bytes"
	"errors"
	"testing"

	"github.com/companyos/helmproof/evidence"
)

// TestWriteOutput holds that findings that are written one by one have the same bytes.
func TestWriteOutput(t *testing.T) {
	t.Parallel()
	var list []ReleaseJSON
	for n := range 4 {
		want, err := MarshalOutput(OutputJSON{Releases: list})
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := WriteOutput(&got, list); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d releases: %v\n got %s\nwant %s", n, err, &got, want)
		}
		r := ReleaseJSON{Chart: "a <\u2028\n      \"findings\": []", Verdict: &evidence.Verdict{Results: []evidence.ControlResult{{Findings: []string{}}}}, Runs: []evidence.CollectorRun{}, Findings: []evidence.Finding{}}
		for i := range n * n * 100 { // more than is written at once
			r.Findings = append(r.Findings, evidence.Finding{ID: "x", Message: "<b>\n      \"findings\": []", Target: evidence.Target{Line: i}, Evidence: []evidence.Pointer{{Artifact: "y"}}})
		}
		list = append(list, r)
	}
	if err := WriteOutput(full{}, list); !errors.Is(err, errFull) {
		t.Errorf("%v, want %v", err, errFull)
	}
}

var errFull = errors.New("no space left")

// full is a disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
