package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

const (
	// summaryRows is how many rows its two tables have together at most, fewRows how
	// many the second one has where the first would fill them: 60 lines in all.
	summaryRows = 20
	fewRows     = 6
	// summaryText is how many characters a cell has at most: what a forge takes as a
	// comment is bounded.
	summaryText = 240
)

// Summary writes d as Markdown that fits a comment on a pull request: at most 60
// lines, with tables that open. Its first line is a comment that is the same for the
// same release, by which whoever posts it finds the one to replace.
// An error is the writer's own.
func Summary(w io.Writer, d *Document) error {
	b := bufio.NewWriter(w)
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	r := d.Release()
	line("<!-- helmproof %s -->", evidence.DigestOf([]byte(r.Chart+"\n"+r.ReleaseName+"\n"+r.Namespace+"\n"+r.Cluster)).Short())
	line("### %s %s – %s", d.Verdict.Mark.Shape, markdownText(d.Verdict.Mark.Word), short(d.Title))
	line("")
	reason, base := d.Verdict.Reason, d.in.Verdict.Baseline
	if base != nil { // it has a line of its own, so that neither is cut
		reason, _, _ = strings.Cut(reason, "; with the baseline of ")
	}
	line("%s", short(reason))
	line("")
	line("| | |\n|:--|:--|")
	line("| Profile | %s |", short(d.Verdict.Profile))
	line("| Controls | %s |", markdownCounts(d.Counts))
	if n := d.Findings.Failed; n > 0 {
		parts := make([]string, 0, len(d.Severities))
		for _, s := range d.Severities {
			if s.N > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", s.N, s.Severity))
			}
		}
		line("| Failed findings | %d: %s |", n, strings.Join(parts, ", "))
	}
	if base != nil {
		line("| Baseline of %s | %d known, %d new, %d gone |", base.At.UTC().Format(time.RFC3339), base.Known, base.New, base.Gone)
		line("| Beside the baseline | %s %s |", VerdictMark(base.Outcome).Shape, short(base.Reason))
	}
	if d.Sealed {
		line("| Evidence | %s |", markdownCode(string(d.BundleID())))
	} else {
		line("| Evidence | not sealed: this cannot be verified later |")
	}
	line("")
	if len(d.Actions) > 0 {
		line("**Do first**\n")
		for i, a := range d.Actions {
			word := string(a.Severity)
			if a.Mark.Key != MarkFail.Key {
				word = strings.ToLower(a.Mark.Word)
			}
			line("%d. **%s** %s – %s", i+1, word, short(a.Fix), short(a.Effect))
		}
		line("")
	}
	open := min(len(d.NotChecked), fewRows)
	open = min(len(d.NotChecked), summaryRows-min(len(d.Reasons), summaryRows-open))
	summaryTable(line, "Controls that stand in the way", "| Control | Outcome | Severity | Reason |\n|:--|:--|:--|:--|", len(d.Reasons), summaryRows-open, func(i int) string {
		c := d.Reasons[i]
		return fmt.Sprintf("| %s %s | %s %s | %s | %s |", short(c.ID), short(c.Title), c.Mark.Shape, markdownText(c.Mark.Word), c.Severity, short(c.Reason))
	})
	summaryTable(line, "What was not checked", "| What | Why |\n|:--|:--|", len(d.NotChecked), open, func(i int) string {
		return fmt.Sprintf("| %s | %s |", short(d.NotChecked[i].What), short(d.NotChecked[i].Why))
	})
	if d.Sealed {
		line("All findings: `helmproof report %s` – checked by `helmproof verify %s`.", d.BundleID().Hex(), d.BundleID().Short())
	} else {
		line("All findings: the same command without `--summary`.")
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}

// summaryTable is a table that opens, with its first rows.
func summaryTable(line func(string, ...any), title, head string, n, most int, row func(int) string) {
	if n == 0 {
		return
	}
	line("<details><summary>%s: %d</summary>\n", title, n)
	line("%s", head)
	for i := range min(n, most) {
		line("%s", row(i))
	}
	if n > most {
		line("\nand %d more", n-most)
	}
	line("\n</details>\n")
}

// short is s as Markdown, cut where it is longer than a cell may be.
func short(s string) string {
	rs := []rune(Visible(s))
	if len(rs) > summaryText {
		return markdownText(string(rs[:summaryText-1])) + "…"
	}
	return markdownText(s)
}
