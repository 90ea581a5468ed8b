package pdf_test

import (
	"os"
	"testing"

	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/pdf"
	"github.com/companyos/helmproof/report/reporttest"
)

func BenchmarkPDF300(b *testing.B) { benchmark(b, 300) }

func BenchmarkPDF5000(b *testing.B) { benchmark(b, 5000) }

func benchmark(b *testing.B, n int) {
	d := report.New(reporttest.Many(n))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pdf.Render(d, pdf.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

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
		b, err := pdf.Render(report.New(in), pdf.Options{})
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(dir+"/"+name+".pdf", b, 0o644)
	}
}
