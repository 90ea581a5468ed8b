package report_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

// located is the small report with all findings at one place of a template.
func located(line int) report.Input {
	in := reporttest.Small()
	in.Findings = slices.Clone(in.Findings)
	for i := range in.Findings {
		f := &in.Findings[i]
		f.Target.File, f.Target.Line, f.Target.Column, f.Target.EndLine = "templates/a,b:c%.yaml", line, 7, 0
		f.Field, f.Definition = "spec.replicas", &evidence.Place{File: "charts/lib/templates/_x.tpl", Line: line + 1, Column: 3}
	}
	return in
}

func TestGitHub(t *testing.T) {
	t.Parallel()
	in := located(12)
	for i := range in.Findings {
		in.Findings[i].Message = "50% are\nof a, b: c"
	}
	var b bytes.Buffer
	if err := report.GitHub(&b, report.New(in), "charts/mini"); err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`^::(error|warning|notice) (file=charts/mini/templates/a%2Cb%3Ac%25\.yaml,line=12,col=7,)?title=[^:,\r\n]*::[^\r\n]+$`)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for _, l := range lines {
		if !command.MatchString(l) {
			t.Errorf("no command: %q", l)
		}
	}
	if !strings.Contains(b.String(), "50%25 are") {
		t.Errorf("a percent sign is not escaped:\n%s", b.String())
	}
	if strings.Contains(b.String(), "%3A c") {
		t.Errorf("a message is escaped as a property:\n%s", b.String())
	}
	level := func(l string) int {
		return slices.Index([]string{"::error", "::warning", "::notice"}, l[:strings.IndexByte(l, ' ')])
	}
	if !slices.IsSortedFunc(lines, func(a, b string) int { return level(a) - level(b) }) {
		t.Errorf("the worst do not come first:\n%s", b.String())
	}
	if n := strings.Count(b.String(), "::error "); n == 0 {
		t.Error("no error")
	}
}

func TestGitHubStaysInside(t *testing.T) {
	t.Parallel()
	in := located(1)
	for i := range in.Findings {
		in.Findings[i].Target.File, in.Findings[i].Rule = "../../../etc/passwd\n::error::x", "policy/x\n::error::x"
	}
	var b bytes.Buffer
	if err := report.GitHub(&b, report.New(in), "charts/mini"); err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(b.String()) {
		if strings.HasPrefix(l, "::error::") || strings.Contains(l, "file=..") || strings.Contains(l, "file=/") {
			t.Errorf("a finding writes a command of its own, or leaves the folder: %q", l)
		}
	}
}

func TestSARIFPlaces(t *testing.T) {
	t.Parallel()
	type place struct {
		PhysicalLocation struct {
			ArtifactLocation struct{ URI string }
			Region           struct{ StartLine, StartColumn, EndLine int }
		}
	}
	prints := map[int][]string{}
	for _, line := range []int{12, 40} {
		b, err := reporttest.Bytes(reporttest.SARIF(report.SARIFOptions{PathPrefix: "charts/mini"}), report.New(located(line)))
		if err != nil {
			t.Fatal(err)
		}
		var f struct {
			Runs []struct {
				Results []struct {
					PartialFingerprints         map[string]string
					Locations, RelatedLocations []place
					Properties                  struct{ Field string }
				}
			}
		}
		if err := json.Unmarshal(b, &f); err != nil {
			t.Fatal(err)
		}
		for _, r := range f.Runs[0].Results {
			prints[line] = append(prints[line], r.PartialFingerprints["helmproofFindingId/v1"])
			at, by := r.Locations[0].PhysicalLocation, r.RelatedLocations[0].PhysicalLocation
			if at.Region.StartLine != line || at.Region.StartColumn != 7 || by.Region.StartLine != line+1 || by.ArtifactLocation.URI != "charts/mini/charts/lib/templates/_x.tpl" || r.Properties.Field != "spec.replicas" {
				t.Errorf("result %+v", r)
			}
		}
	}
	if len(prints[12]) == 0 || !slices.Equal(prints[12], prints[40]) {
		t.Errorf("fingerprints changed with the line: %v", prints)
	}
}
