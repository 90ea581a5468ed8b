package pdf_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/pdf"
	"github.com/companyos/helmproof/report/reporttest"
)

func render(t testing.TB, in report.Input, o pdf.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	err := pdf.Render(&b, report.New(in), o)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var shown = regexp.MustCompile(`(?s)Td \((.*?[^\\]|)\) Tj`)

// pages reads the text of each page: gofpdf writes it as UTF-16, one string a line.
func pages(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	b, _, _ = bytes.Cut(b, []byte("%%EOF")) // what is appended has no pages of its own
	for _, part := range bytes.Split(b, []byte("/Contents "))[1:] {
		_, rest, _ := bytes.Cut(part, []byte("stream\n"))
		r, err := zlib.NewReader(bytes.NewReader(rest))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(io.LimitReader(r, 1<<24))
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, m := range shown.FindAllSubmatch(raw, -1) {
			s := strings.NewReplacer(`\\`, `\`, `\(`, "(", `\)`, ")", `\r`, "\r").Replace(string(m[1]))
			u := make([]uint16, len(s)/2)
			for i := range u {
				u[i] = uint16(s[2*i])<<8 | uint16(s[2*i+1])
			}
			text.WriteString(string(utf16.Decode(u)))
			text.WriteByte('\n')
		}
		out = append(out, text.String())
	}
	return out
}

// squeeze leaves spaces and line breaks out, so that wrapped text can be found.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

func TestEveryFailedFindingIsPrinted(t *testing.T) {
	t.Parallel()
	for _, in := range []report.Input{reporttest.Weak(), reporttest.Small(), reporttest.Many(300)} {
		text := squeeze(strings.Join(pages(t, render(t, in, pdf.Options{})), ""))
		for _, f := range in.Findings {
			if f.Outcome != evidence.OutcomeFail && f.Outcome != evidence.OutcomeWarn {
				continue
			}
			for _, want := range []string{f.ID, f.Target.Object(), f.Message, f.Remediation, f.Evidence[0].Artifact} {
				if !strings.Contains(text, squeeze(want)) {
					t.Errorf("%s: %q is not in the PDF", in.Release.Chart, want)
				}
			}
		}
	}
}

// TestManyOfOneControl: a PDF lists as many as somebody may read, and says what it left out.
func TestManyOfOneControl(t *testing.T) {
	t.Parallel()
	in := reporttest.Many(5003)
	for i := range in.Findings {
		in.Findings[i].Controls = in.Findings[0].Controls
	}
	text := squeeze(strings.Join(pages(t, render(t, in, pdf.Options{})), ""))
	for _, want := range []string{"5003 findings", "and 4903 more: findings.json in evidence.zip has them all"} {
		if !strings.Contains(text, squeeze(want)) {
			t.Errorf("%q is not in the PDF", want)
		}
	}
	listed := 0
	for _, f := range in.Findings {
		if strings.Contains(text, f.ID) {
			listed++
		}
	}
	if listed != 100 {
		t.Errorf("%d findings are listed, want 100", listed)
	}
	for i := range in.Findings {
		in.Findings[i].Outcome = evidence.OutcomeNotChecked
	}
	text = squeeze(strings.Join(pages(t, render(t, in, pdf.Options{})), ""))
	if want := "and 4903 more: findings.json"; !strings.Contains(text, squeeze(want)) {
		t.Errorf("%q is not in the PDF of what was not checked", want)
	}
}

func TestEveryPageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	in := reporttest.Weak()
	all := pages(t, render(t, in, pdf.Options{}))
	if len(all) < 4 {
		t.Fatalf("%d pages", len(all))
	}
	for i, p := range all {
		for _, want := range []string{string(in.BundleID), fmt.Sprintf("Page %d of %d", i+1, len(all)), "FAIL"} {
			if !strings.Contains(p, want) {
				t.Errorf("page %d lacks %q", i+1, want)
			}
		}
	}
	if last := all[len(all)-1]; !strings.Contains(last, "helmproof verify "+in.BundleID.Hex()) {
		t.Errorf("the last page lacks the verify command:\n%s", last)
	}
	for _, p := range pages(t, render(t, reporttest.Unsealed(), pdf.Options{})) {
		if !strings.Contains(p, "not sealed") {
			t.Errorf("a page does not say that nothing was sealed:\n%s", p)
		}
	}
}

// TestFindingStaysWithItsRemediation: a fix is said once for the findings that it mends,
// and again on each page on which their table goes on.
func TestFindingStaysWithItsRemediation(t *testing.T) {
	t.Parallel()
	in := reporttest.Many(200)
	for i := range in.Findings {
		in.Findings[i].Controls = []evidence.ControlID{in.Verdict.Results[i%2].Control}
		in.Findings[i].Remediation = []string{"Do this.", "Do that."}[i%2]
	}
	for _, paper := range []string{"A4", "Letter"} {
		n, fixes := 0, 0
		all := pages(t, render(t, in, pdf.Options{Paper: paper}))
		for i, p := range all {
			heads, here := strings.Count(p, "Deployment payments/"), strings.Count(p, "Fix: ")
			if first := strings.Index(p, "Deployment payments/"); first >= 0 && (strings.Index(p, "Fix: ") > first || here == 0) {
				t.Errorf("%s page %d: a finding stands before the first remediation", paper, i+1)
			}
			n += heads
			fixes += here
		}
		if n != 200 || fixes < 2 || fixes > 2*len(all) {
			t.Errorf("%s: %d findings and %d remediations on %d pages; want 200, and each remediation once a page", paper, n, fixes, len(all))
		}
	}
}

func TestDrillPage(t *testing.T) {
	t.Parallel()
	for name, f := range reporttest.Drills() {
		in := reporttest.Drill(f)
		d := report.New(in)
		text := squeeze(strings.Join(pages(t, render(t, in, pdf.Options{})), ""))
		want := []string{d.Drill.Conclusion}
		want = append(want, d.Drill.Problems...)
		for _, f := range d.Drill.Facts {
			want = append(want, f.Value[:min(len(f.Value), 40)]) // the label stands between the lines of a longer one
		}
		for _, k := range d.Drill.Clusters {
			want = append(want, k.Text)
		}
		for _, c := range d.Drill.Charts {
			want = append(want, c.Title)
			if c.Empty != "" {
				want = append(want, c.Empty)
			} else {
				want = append(want, c.Text)
			}
		}
		for _, w := range want {
			if !strings.Contains(text, squeeze(w)) {
				t.Errorf("%s: the PDF lacks %q", name, w)
			}
		}
	}
	in := reporttest.Drill(reporttest.Drills()["all good"])
	in.DrillUnread = "end.json is cut"
	if text := strings.Join(pages(t, render(t, in, pdf.Options{})), ""); !strings.Contains(text, "end.json is cut") || strings.Contains(text, "Ready endpoints") {
		t.Errorf("a record that cannot be read:\n%s", text)
	}
}

// TestMissingGlyphShowsItsCodePoint: what no font has is written as its number; what is
// drawn otherwise than it is written says which characters it means.
func TestMissingGlyphShowsItsCodePoint(t *testing.T) {
	t.Parallel()
	in := reporttest.Hostile("支付 결제 🚀 rtl\u202e é हि خدمة שירות")
	b := render(t, in, pdf.Options{})
	text := squeeze(strings.Join(pages(t, b), ""))
	for _, want := range []string{"支付", "\ue680", "rtl[U+202E]", "é", "[U+0939][U+093F]", "\ufe94\ufee3\ufeaa\ufea7"} {
		if !strings.Contains(text, want) {
			t.Errorf("the PDF lacks %s", want)
		}
	}
	read := squeeze(tool(t, b, "pdftotext", "-raw", "FILE", "-"))
	for _, want := range []string{"支付", "결제", "🚀", "שירות", "rtl[U+202E]", "[U+0939][U+093F]", "خدمة"} {
		if !strings.Contains(read, want) {
			t.Errorf("whoever takes the text out does not get %s", want)
		}
	}
	if strings.ContainsFunc(read, func(r rune) bool { return unicode.Is(unicode.Co, r) || r == unicode.ReplacementChar }) {
		t.Error("whoever takes the text out gets private characters")
	}
}

func TestStructure(t *testing.T) {
	t.Parallel()
	in := reporttest.Weak()
	b := render(t, in, pdf.Options{})
	if n, d := bytes.Count(b, []byte("/Subtype /Link")), report.New(in); n < len(d.Actions)+len(d.Waivers) {
		t.Errorf("%d links, want one for each thing to do, and for each waiver", n)
	}
	for _, want := range []string{"/Type /Outlines", "/Title ", "/CreationDate (D:20261123093012)", "/ModDate (D:20261123093012)"} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("the PDF lacks %s", want)
		}
	}
	if bytes.Contains(b, []byte("/MediaBox [0 0 612.00 792.00]")) {
		t.Error("A4 came out as Letter")
	}
	if !bytes.Contains(render(t, in, pdf.Options{Paper: "Letter"}), []byte("/MediaBox [0 0 612.00 792.00]")) {
		t.Error("Letter is not Letter")
	}
}

func TestPaperUnknown(t *testing.T) {
	t.Parallel()
	err := pdf.Render(io.Discard, report.New(reporttest.Small()), pdf.Options{Paper: "A5"})
	if want := `paper "A5": want A4 or Letter`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// digests are those of every format, for inputs that have tempted map order.
func digests(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	inputs := []report.Input{reporttest.Weak(), reporttest.Hostile(strings.Join(reporttest.HostileNames, " ")), reporttest.Hostile("- \u2010 Ω \u2126 A\u0391\u0410"),
		reporttest.Drill(reporttest.Drills()["eviction"])}
	for i, in := range inputs {
		d := report.New(in)
		for _, f := range report.Formats() {
			b, err := renderAs(f.Name, d)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(b)
			fmt.Fprintf(&out, "%d %s %s\n", i, f.FileName, hex.EncodeToString(sum[:]))
		}
	}
	return out.String()
}

func renderAs(name string, d *report.Document) ([]byte, error) {
	switch name {
	case "pdf":
		return reporttest.Bytes(func(w io.Writer, d *report.Document) error { return pdf.Render(w, d, pdf.Options{}) }, d)
	case "md":
		return reporttest.Bytes(report.Markdown, d)
	case "html":
		return reporttest.Bytes(report.HTML, d)
	case "json":
		return reporttest.Bytes(report.JSON, d)
	case "sarif":
		return reporttest.Bytes(reporttest.SARIF(report.SARIFOptions{}), d)
	case "junit":
		return reporttest.Bytes(report.JUnit, d)
	}
	return nil, fmt.Errorf("format %q has no renderer", name)
}

const childEnv = "HELMPROOF_TEST_PRINT_DIGESTS"

func TestSameBytesInEveryProcess(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		fmt.Print(digests(t))
		os.Exit(0)
	}
	t.Parallel()
	want := digests(t)
	if again := digests(t); again != want {
		t.Errorf("a second rendering differs:\n%s\n%s", want, again)
	}
	for _, zone := range []string{"TZ=UTC", "TZ=Asia/Tokyo"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSameBytesInEveryProcess$")
		cmd.Env = append(os.Environ(), childEnv+"=1", zone, "LANG=de_DE.UTF-8")
		got, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s: another process renders other bytes:\n%s\nwant\n%s", zone, got, want)
		}
	}
}

func FuzzRender(f *testing.F) {
	for _, s := range reporttest.HostileNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 256 {
			t.Skip()
		}
		if b := render(t, reporttest.Hostile(s), pdf.Options{}); !bytes.HasPrefix(b, []byte("%PDF-")) {
			t.Errorf("%q: not a PDF", s)
		}
	})
}

func BenchmarkPDF300(b *testing.B) { benchmark(b, 300) }

func BenchmarkPDF1(b *testing.B) { benchmark(b, 1) }

func BenchmarkPDF1250(b *testing.B) { benchmark(b, 1250) }

func BenchmarkPDF5000(b *testing.B) { benchmark(b, 5000) }

func benchmark(b *testing.B, n int) {
	d := report.New(reporttest.Many(n))
	b.ReportAllocs()
	for b.Loop() {
		if err := pdf.Render(io.Discard, d, pdf.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
