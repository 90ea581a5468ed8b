package main

import (
	"fmt"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/report"
)

// column is one column of a table on the terminal.
type column struct {
	head  string
	cells []string // may be coloured
	least int      // columns that it needs; 0: it is never cut
	drop  int      // where there is no room even so, that with the highest goes first; 0: never
}

func (c *column) width() int {
	w := len(c.head)
	for _, s := range c.cells {
		w = max(w, columns(s))
	}
	return w
}

// table writes rows under a head. What is too wide is cut, the widest first, and then
// columns are left out.
func (t *terminal) table(cols []column) {
	widths := make([]int, len(cols))
	total := func() int {
		n := -2
		for _, w := range widths {
			if w > 0 {
				n += w + 2
			}
		}
		return n
	}
	for i := range cols {
		widths[i] = cols[i].width()
	}
	for total() > t.width {
		widest, last := -1, -1
		for i, c := range cols {
			if c.least > 0 && widths[i] > c.least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
			if c.drop > 0 && widths[i] > 0 && (last < 0 || c.drop > cols[last].drop) {
				last = i
			}
		}
		switch {
		case widest >= 0:
			widths[widest]--
		case last >= 0:
			widths[last] = 0
			for i := range cols { // there is room again
				if widths[i] > 0 {
					widths[i] = cols[i].width()
				}
			}
		default:
			t.rows(cols, widths)
			return
		}
	}
	t.rows(cols, widths)
}

func (t *terminal) rows(cols []column, widths []int) {
	row := func(cell func(c column) string) string {
		var parts []string
		for i, c := range cols {
			if widths[i] == 0 {
				continue
			}
			s := cell(c)
			if columns(s) > widths[i] {
				s = clip(s, widths[i])
			}
			parts = append(parts, s+strings.Repeat(" ", max(0, widths[i]-columns(s))))
		}
		return strings.TrimRight(strings.Join(parts, "  "), " ")
	}
	t.line(t.faint(row(func(c column) string { return c.head })))
	for n := range cols[0].cells {
		t.line(row(func(c column) string { return c.cells[n] }))
	}
}

// printPointers lists bundles.
func printPointers(t *terminal, list []repository.Pointer) {
	if len(list) == 0 {
		return
	}
	cols := []column{{head: "verdict"}, {head: "bundle"}, {head: "chart", least: 12}, {head: "namespace", least: 9, drop: 1}, {head: "profile", least: 7, drop: 2}, {head: "values", drop: 3}, {head: "judged (UTC)", drop: 4}}
	const roomy = 100 // columns from which on digests and times are not shortened
	for _, p := range list {
		values := "–"
		if d, err := evidence.ParseDigest(string(p.ValuesDigest)); err == nil {
			values = d.Short()
			if t.width < roomy {
				values = values[:8]
			}
		}
		at := p.EvaluatedAt.UTC()
		judged := at.Format("2006-01-02 15:04")
		if t.width < roomy { // the newest is first: what has no year is of its year
			judged = at.Format("01-02 15:04")
			if at.Year() != list[0].EvaluatedAt.UTC().Year() {
				judged = at.Format("2006-01-02")
			}
		}
		for i, s := range []string{
			t.mark(report.VerdictMark(p.Outcome), 0), p.Bundle.Short(), printable(strings.TrimSpace(fmt.Sprint(p.Chart, " ", p.Version))), printable(p.Namespace), printable(shortDigests(p.Profile)), values, judged,
		} {
			cols[i].cells = append(cols[i].cells, s)
		}
	}
	t.table(cols)
}
