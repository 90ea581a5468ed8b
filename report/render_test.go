package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

var update = flag.Bool("update", false, "write the golden files")

type renderer = func(io.Writer, *report.Document) error

func renderers() map[string]renderer {
	return map[string]renderer{
		"md": report.Markdown, "html": report.HTML, "json": report.JSON, "junit": report.JUnit,
		"sarif": reporttest.SARIF(report.SARIFOptions{}),
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, render := range renderers() {
		if name == "html" {
			continue // its style sheet would make every change of look a change of the file
		}
		got, err := reporttest.Bytes(render, report.New(reporttest.Small()))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "small."+name)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s differs (go test -update writes it anew):\n%s", file, diff)
		}
	}
}

func compileSchema(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, doc []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestJSONSchema(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, "../docs/schemas/report.schema.json")
	for name, in := range map[string]report.Input{"weak": reporttest.Weak(), "small": reporttest.Small(), "passing": reporttest.Passing(), "unsealed": reporttest.Unsealed(), "many": reporttest.Many(60),
		"drill": reporttest.Drill(reporttest.Drills()["eviction"]), "no numbers": reporttest.Drill(reporttest.Drills()["no numbers"]), "empty drill": reporttest.Drill(reporttest.Drills()["empty"])} {
		b, err := reporttest.Bytes(report.JSON, report.New(in))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused, err := report.MarshalOutput(report.OutputJSON{Releases: []report.ReleaseJSON{{Chart: "x", Error: "no such chart", Findings: []evidence.Finding{}, Runs: []evidence.CollectorRun{}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(t, s, refused); err != nil {
		t.Errorf("a release that could not be loaded: %v", err)
	}
}

func TestJSONSchemaRefuses(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, "../docs/schemas/report.schema.json")
	b, err := reporttest.Bytes(report.JSON, report.New(reporttest.Small()))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, new, want string }{
		"unknown verdict":  {`"outcome": "FAIL"`, `"outcome": "MAYBE"`, "/releases/0/verdict/outcome"},
		"unknown field":    {`"chart": "mini",`, `"chart": "mini", "extra": 1,`, "additional properties 'extra' not allowed"},
		"bad bundle":       {`"bundle": "sha256:`, `"bundle": "md5:`, "/releases/0/bundle"},
		"unknown severity": {`"severity": "high"`, `"severity": "huge"`, "/severity"},
	} {
		changed := bytes.Replace(b, []byte(c.old), []byte(c.new), 1)
		if bytes.Equal(changed, b) {
			t.Fatalf("%s: nothing to change", name)
		}
		if err := validate(t, s, changed); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one about %q", name, err, c.want)
		}
	}
}

// schemaFile finds a published schema in the folder that HELMPROOF_SCHEMAS names.
func schemaFile(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("HELMPROOF_SCHEMAS")
	if dir == "" {
		t.Skip("HELMPROOF_SCHEMAS is not set: not checked against the published schema")
	}
	return filepath.Join(dir, name)
}

func TestSARIFSchema(t *testing.T) {
	t.Parallel()
	s := compileSchema(t, schemaFile(t, "sarif-schema-2.1.0.json"))
	inputs := map[string]report.Input{"weak": reporttest.Weak(), "passing": reporttest.Passing(), "unsealed": reporttest.Unsealed()}
	for _, n := range reporttest.HostileNames {
		inputs[n] = reporttest.Hostile(n)
	}
	for name, in := range inputs {
		for _, prefix := range []string{"", "charts/payments"} {
			b, err := reporttest.Bytes(reporttest.SARIF(report.SARIFOptions{PathPrefix: prefix}), report.New(in))
			if err != nil {
				t.Fatal(err)
			}
			if err := validate(t, s, b); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

type sarifFile struct {
	Runs []struct {
		Tool struct {
			Driver struct {
				Rules []struct {
					ID         string
					Properties map[string]any
				}
			}
		}
		Invocations []struct {
			ExecutionSuccessful        bool
			ToolExecutionNotifications []struct{ Message struct{ Text string } }
		}
		Results []struct {
			RuleID, Kind, Level string
			RuleIndex           int
			PartialFingerprints map[string]string
			Suppressions        []struct{ Status, Justification string }
			Locations           []struct {
				PhysicalLocation struct {
					ArtifactLocation struct{ URI, URIBaseID string }
					Region           struct{ StartLine int }
				}
			}
		}
	}
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	in := reporttest.Small()
	b, err := reporttest.Bytes(reporttest.SARIF(report.SARIFOptions{PathPrefix: "charts/mini/"}), report.New(in))
	if err != nil {
		t.Fatal(err)
	}
	var f sarifFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	run := f.Runs[0]
	if len(run.Results) != 4 {
		t.Fatalf("%d results, want the 4 failed, warned and waived findings", len(run.Results))
	}
	suppressed := 0
	for _, r := range run.Results {
		rule := run.Tool.Driver.Rules[r.RuleIndex]
		if rule.ID != r.RuleID || rule.Properties["security-severity"] == "" {
			t.Errorf("rule %+v of result %s", rule, r.RuleID)
		}
		p := r.Locations[0].PhysicalLocation
		if !strings.HasPrefix(p.ArtifactLocation.URI, "charts/mini/") || p.ArtifactLocation.URIBaseID != "" || p.Region.StartLine < 1 {
			t.Errorf("location %+v: want a path in the repository and a line", p)
		}
		if len(r.PartialFingerprints["helmproofFindingId/v1"]) != 16 {
			t.Errorf("fingerprints %v: want the finding's id", r.PartialFingerprints)
		}
		suppressed += len(r.Suppressions)
	}
	if suppressed != 1 {
		t.Errorf("%d suppressions, want that of the waived finding", suppressed)
	}
	inv := run.Invocations[0]
	if inv.ExecutionSuccessful || len(inv.ToolExecutionNotifications) != 1 || !strings.Contains(inv.ToolExecutionNotifications[0].Message.Text, "No schema for this kind") {
		t.Errorf("invocation %+v: want it unsuccessful, saying what was not checked", inv)
	}
}

func TestSARIFPathsStayInside(t *testing.T) {
	t.Parallel()
	in := reporttest.Small()
	for i := range in.Findings {
		in.Findings[i].Target.File = "../../../etc/pass wd#1"
	}
	b, err := reporttest.Bytes(reporttest.SARIF(report.SARIFOptions{PathPrefix: "charts/mini"}), report.New(in))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); strings.Contains(s, `"uri": "..`) || !strings.Contains(s, `"charts/mini/etc/pass%20wd%231"`) {
		t.Errorf("path not confined and escaped:\n%s", s)
	}
}

func TestJUnitCounts(t *testing.T) {
	t.Parallel()
	b, err := reporttest.Bytes(report.JUnit, report.New(reporttest.Small()))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Suites []struct {
			Name                             string `xml:"name,attr"`
			Tests, Failures, Errors, Skipped int
			T                                int `xml:"tests,attr"`
			F                                int `xml:"failures,attr"`
			E                                int `xml:"errors,attr"`
			S                                int `xml:"skipped,attr"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	type row struct {
		Name                   string
		Tests, Fail, Err, Skip int
	}
	var rows []row
	for _, s := range got.Suites {
		rows = append(rows, row{s.Name, s.T, s.F, s.E, s.S})
	}
	want := []row{
		{"CHT Chart", 2, 0, 1, 0},            // one passes, one could not be checked
		{"RES Resources", 3, 2, 0, 0},        // two targets fail, one passes
		{"HLT Health", 1, 0, 0, 1},           // waived
		{"SEC Security context", 1, 0, 0, 1}, // warned: decides nothing
		{"ASC Autoscaling", 1, 0, 0, 1},      // not applicable
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
}

func TestJUnitSchema(t *testing.T) {
	t.Parallel()
	xsd := schemaFile(t, "junit.xsd")
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("xmllint is not installed: not checked against the published schema")
	}
	inputs := []report.Input{reporttest.Weak(), reporttest.Passing(), reporttest.Many(50)}
	for _, n := range reporttest.HostileNames {
		inputs = append(inputs, reporttest.Hostile(n))
	}
	args := []string{"--noout", "--nonet", "--schema", xsd}
	for i, in := range inputs {
		b, err := reporttest.Bytes(report.JUnit, report.New(in))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), string(rune('a'+i))+".xml")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	if out, err := exec.CommandContext(t.Context(), "xmllint", args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func wellFormed(b []byte) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// pieces is where a report goes that must not be in memory whole.
type pieces struct{ largest, total int }

func (p *pieces) Write(b []byte) (int, error) {
	p.largest = max(p.largest, len(b))
	p.total += len(b)
	return len(b), nil
}

// TestStreamed: reports of thousands of findings are written piece by piece.
func TestStreamed(t *testing.T) {
	t.Parallel()
	d := report.New(reporttest.Many(3000))
	for name, render := range renderers() {
		var p pieces
		if err := render(&p, d); err != nil {
			t.Fatal(err)
		}
		if p.total < 1<<20 || p.largest > 128<<10 {
			t.Errorf("%s: %d bytes, up to %d at once; want more than 1 MiB, at most 128 KiB at once", name, p.total, p.largest)
		}
	}
}

func BenchmarkMarkdown300(b *testing.B) {
	d := report.New(reporttest.Many(300))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reporttest.Bytes(report.Markdown, d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew5000(b *testing.B) {
	in := reporttest.Many(5000)
	for b.Loop() {
		report.New(in)
	}
}
