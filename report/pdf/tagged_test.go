package pdf_test

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/pdf"
	"github.com/companyos/helmproof/report/reporttest"
)

// streams are the contents of the pages.
func streams(t *testing.T, b []byte) []string {
	t.Helper()
	var out []string
	b, _, _ = bytes.Cut(b, []byte("%%EOF"))
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
		out = append(out, string(raw))
	}
	return out
}

var mcid = regexp.MustCompile(`^/([A-Za-z0-9]+) <</MCID (\d+)>> BDC$`)

// TestEveryMarkIsInTheTree: what is drawn is an artifact or has its element, and no
// identifier is used twice on a page.
func TestEveryMarkIsInTheTree(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]report.Input{"weak": reporttest.Weak(), "unsealed": reporttest.Unsealed(), "drill": reporttest.Drill(reporttest.Drills()["eviction"]), "many": reporttest.Many(150)} {
		b := render(t, in, pdf.Options{})
		for i, s := range streams(t, b) {
			open, next := "", 0
			for _, l := range strings.Split(s, "\n") {
				switch m := mcid.FindStringSubmatch(l); {
				case m != nil || l == "/Artifact BMC":
					if open != "" {
						t.Errorf("%s, page %d: %s inside of %s", name, i+1, l, open)
					}
					open = l
					if m != nil && m[2] != fmt.Sprint(next) {
						t.Errorf("%s, page %d: identifier %s, want %d", name, i+1, m[2], next)
					}
					if m != nil {
						next++
					}
				case l == "EMC":
					open = ""
				case strings.Contains(l, "Tj") && open == "":
					t.Errorf("%s, page %d: text that is neither read nor an artifact: %s", name, i+1, l)
				}
			}
			if open != "" {
				t.Errorf("%s, page %d: %s does not end", name, i+1, open)
			}
			entry := regexp.MustCompile(fmt.Sprintf(`(?m)^%d \[([^\]]*)\]$`, i)).FindSubmatch(b[bytes.LastIndex(b, []byte("/Nums [")):])
			if entry == nil || strings.Count(string(entry[1]), " R") != next {
				t.Errorf("%s, page %d: the parent tree has not its %d marks", name, i+1, next)
			}
		}
		for _, want := range []string{"/Lang (en)", "/MarkInfo <</Marked true>>", "/StructTreeRoot", "/Tabs /S", "/OutputIntents", "<pdfaid:part>2</pdfaid:part>", "<pdfuaid:part>1</pdfuaid:part>"} {
			if !bytes.Contains(b, []byte(want)) {
				t.Errorf("%s lacks %s", name, want)
			}
		}
		for _, f := range regexp.MustCompile(`/S /Figure [^\n]*`).FindAll(b, -1) {
			if !bytes.Contains(f, []byte("/Alt <FEFF")) {
				t.Errorf("%s: a figure without words: %.200s", name, f)
			}
		}
	}
}

// tool runs a program of another project over a file, or skips the test.
func tool(t *testing.T, b []byte, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is not installed: the PDF was not held to it", program)
	}
	file := filepath.Join(t.TempDir(), "report.pdf")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "FILE", file)
	}
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", program, err, out)
	}
	return string(out)
}

// inOrder reports the first of some texts that does not follow the one before.
func inOrder(text string, wants []string) string {
	for _, w := range wants {
		_, rest, ok := strings.Cut(text, w)
		if !ok {
			return w
		}
		text = rest
	}
	return ""
}

// TestReadingOrder: a screen reader goes by the structure tree, a search by the order
// on the pages; both begin with the verdict and end with how to verify it.
func TestReadingOrder(t *testing.T) {
	t.Parallel()
	in := reporttest.Small() // pdfinfo takes minutes over more
	d := report.New(in)
	wants := []string{"mini 0.2.0", "FAIL", d.Verdict.Reason, "Do first", "1.", d.Conclusion, "Limits"}
	for _, s := range d.Sections {
		wants = append(wants, s.ID+" "+s.Title, "Fix:", "Object", "Where", "Finding", s.Findings[0].ID)
	}
	wants = append(wants, "Controls that hold or do not apply", "Waivers", "What was not checked, and why", "Appendix", "How to verify", "helmproof verify "+in.BundleID.Hex())
	b := render(t, in, pdf.Options{})
	for name, args := range map[string][]string{"pdfinfo": {"-struct-text", "FILE"}, "pdftotext": {"-raw", "FILE", "-"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := tool(t, b, name, args...)
			if name == "pdfinfo" {
				for _, l := range strings.Split(text, "\n") {
					if s := strings.TrimSpace(l); s == `""` {
						t.Error("an element without words")
					}
				}
			}
			squeezed := squeeze(strings.ReplaceAll(text, `"`, ""))
			list := make([]string, len(wants))
			for i, w := range wants {
				list[i] = squeeze(strings.ReplaceAll(w, `"`, ""))
			}
			if missing := inOrder(squeezed, list); missing != "" {
				t.Errorf("%q is missing or out of order", missing)
			}
		})
	}
}

// TestSound: qpdf finds nothing wrong with the file and its update.
func TestSound(t *testing.T) {
	t.Parallel()
	for _, in := range []report.Input{reporttest.Weak(), reporttest.Hostile(strings.Join(reporttest.HostileNames, " "))} {
		if out := tool(t, render(t, in, pdf.Options{}), "qpdf", "--check", "FILE"); strings.Contains(out, "WARNING") {
			t.Errorf("qpdf warns:\n%s", out)
		}
	}
}
