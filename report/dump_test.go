package report_test

import (
	"os"
	"testing"

	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

func TestDump(t *testing.T) {
	dir := os.Getenv("DUMP")
	if dir == "" {
		t.Skip()
	}
	all := ""
	for _, s := range reporttest.HostileNames {
		all += s + " / "
	}
	for name, in := range map[string]report.Input{"weak": reporttest.Weak(), "pass": reporttest.Passing(), "unsealed": reporttest.Unsealed(), "many": reporttest.Many(300), "hostile": reporttest.Hostile(all)} {
		d := report.New(in)
		for ext, f := range map[string]func(*report.Document) ([]byte, error){"md": report.Markdown, "html": report.HTML, "json": report.JSON, "xml": report.JUnit,
			"sarif": func(d *report.Document) ([]byte, error) { return report.SARIF(d, report.SARIFOptions{}) }} {
			b, err := f(d)
			if err != nil {
				t.Fatal(ext, err)
			}
			os.WriteFile(dir+"/"+name+"."+ext, b, 0o644)
		}
	}
}
