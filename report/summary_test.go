package report_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

func summary(t *testing.T, in report.Input) string {
	t.Helper()
	b, err := reporttest.Bytes(report.Summary, report.New(in))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// manyOpen is a release of which much fails and much could not be checked.
func manyOpen() report.Input {
	in := reporttest.Many(300)
	for i := range in.Findings {
		if i%2 == 0 {
			in.Findings[i].Outcome = evidence.OutcomeNotChecked
		}
	}
	return in
}

func TestSummaryFitsAComment(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("words and more words ", 1000)
	for name, in := range map[string]report.Input{"weak": reporttest.Weak(), "small": reporttest.Small(), "passing": reporttest.Passing(), "unsealed": reporttest.Unsealed(), "many": reporttest.Many(300),
		"much open": manyOpen(), "long": reporttest.Hostile(long), "drill": reporttest.Drill(reporttest.Drills()["eviction"])} {
		s := summary(t, in)
		// A forge takes 65,536 characters.
		if n := strings.Count(s, "\n"); n > 60 || len(s) > 60_000 {
			t.Errorf("%s: %d lines, %d bytes; want at most 60 and 60,000", name, n, len(s))
		}
		d := report.New(in)
		for _, a := range d.Actions {
			if name != "long" && !strings.Contains(s, a.Effect) {
				t.Errorf("%s: the summary lacks %q", name, a.Effect)
			}
		}
	}
	s := summary(t, manyOpen())
	for _, want := range []string{"### ■ FAIL – platform 3.0.0", "**Do first**", "<summary>Controls that stand in the way: 29</summary>", "and 15 more", "<summary>What was not checked: 150</summary>", "and 144 more"} {
		if !strings.Contains(s, want) {
			t.Errorf("the summary lacks %q:\n%s", want, s)
		}
	}
}

// TestSummaryIsFoundAgain: the first line names the release, whatever became of it.
func TestSummaryIsFoundAgain(t *testing.T) {
	t.Parallel()
	first := func(in report.Input) string { l, _, _ := strings.Cut(summary(t, in), "\n"); return l }
	a := reporttest.Weak()
	b := reporttest.Weak()
	b.Findings, b.Verdict.Outcome, b.Release.Version, b.BundleID = nil, evidence.VerdictPass, "2.0.0", ""
	c := reporttest.Weak()
	c.Release.Namespace = "other"
	if first(a) != first(b) || first(a) == first(c) || !regexp.MustCompile(`^<!-- helmproof [0-9a-f]{12} -->$`).MatchString(first(a)) {
		t.Errorf("first lines %q, %q of another version, %q of another namespace", first(a), first(b), first(c))
	}
}

// summaryShape counts what a summary is made of; raw HTML is listed.
func summaryShape(t *testing.T, s string) (map[string]int, []string) {
	t.Helper()
	src := []byte(s)
	doc := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(src))
	n, raw := map[string]int{}, []string(nil)
	err := ast.Walk(doc, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node.Kind() {
		case ast.KindLink, ast.KindImage, ast.KindRawHTML, ast.KindAutoLink, extast.KindStrikethrough, extast.KindTaskCheckBox, ast.KindBlockquote, ast.KindFencedCodeBlock:
			t.Errorf("a %s in\n%s", node.Kind(), s)
		case ast.KindHTMLBlock:
			var b bytes.Buffer
			for i := range node.Lines().Len() {
				l := node.Lines().At(i)
				b.Write(l.Value(src))
			}
			raw = append(raw, strings.TrimSpace(b.String()))
		case ast.KindHeading, ast.KindListItem, extast.KindTable, extast.KindTableRow, extast.KindTableCell, ast.KindEmphasis:
			n[node.Kind().String()]++
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, raw
}

var ownHTML = regexp.MustCompile(`^(<!-- helmproof [0-9a-f]{12} -->|<details><summary>[A-Za-z ]+: \d+</summary>|</details>)$`)

// TestSummaryOfHostileNames: names become text, whatever they are.
func TestSummaryOfHostileNames(t *testing.T) {
	t.Parallel()
	want, _ := summaryShape(t, summary(t, reporttest.Hostile("plain")))
	for _, name := range append(reporttest.HostileNames, strings.Join(reporttest.HostileNames, " "), "</details><img src=x>", "--><script>", "\n\n# x\n") {
		s := summary(t, reporttest.Hostile(name))
		got, raw := summaryShape(t, s)
		for _, h := range raw {
			if !ownHTML.MatchString(h) {
				t.Errorf("summary of %q: HTML %q", name, h)
			}
		}
		if strings.TrimSpace(report.Visible(name)) == "" {
			continue // absent values make no heading
		}
		for k, n := range want {
			if got[k] != n {
				t.Errorf("summary of %q has %d %s, want %d:\n%s", name, got[k], k, n, s)
			}
		}
	}
}

// TestSummaryOfABaseline: how many are new is said however long the reason is.
func TestSummaryOfABaseline(t *testing.T) {
	t.Parallel()
	in := reporttest.Weak()
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	in.Verdict.Reason = strings.Repeat("SEC-1, ", 40) + "SEC-2; with the baseline of 2026-03-01T00:00:00Z, which the profile does not take, it would be FAIL: 84 known, 1 new, 0 gone"
	in.Verdict.Baseline = &evidence.BaselineResult{At: at, Outcome: evidence.VerdictFail, Reason: "1 of 35 required controls failed: SEC-5", Known: 84, New: 1}
	s := summary(t, in)
	for _, want := range []string{"| Baseline of 2026-03-01T00:00:00Z | 84 known, 1 new, 0 gone |", "| Beside the baseline | ■ 1 of 35 required controls failed: SEC-5 |"} {
		if !strings.Contains(s, want) {
			t.Errorf("the summary lacks %q:\n%s", want, s)
		}
	}
}
