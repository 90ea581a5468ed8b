package pdf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/report"
)

// heading starts a section and keeps it with at least follow points of what comes after.
func (c *canvas) heading(title string, follow float64) {
	c.space(11)
	b := block{role: "H2"}
	c.add(&b, headText, 0, c.column(), title)
	c.ensure(min(b.height()+4+follow, c.full()))
	c.bookmark(0, title)
	c.place(&b)
	c.y += 4
}

// subheading is a bold line, with a quiet remark under it.
func (c *canvas) subheading(title, remark, anchor string, follow float64) {
	c.space(7)
	b := block{anchor: anchor, role: "H3"}
	c.add(&b, bodyBold, 0, c.column(), title)
	c.ensure(min(b.height()+4+follow, c.full()))
	c.bookmark(1, title)
	c.place(&b)
	c.y += 1
	if remark != "" {
		c.paragraph(noteText, remark)
	}
	c.y += 2
}

func (c *canvas) paragraph(st style, s string) {
	b := block{}
	c.add(&b, st, 0, c.column(), s)
	c.place(&b)
	c.y += 3
}

// plainControls has a line for each control that holds or does not apply.
func (c *canvas) plainControls(d *report.Document) {
	_, plain := split(d)
	if len(plain) == 0 {
		return
	}
	c.heading("Controls that hold or do not apply", 60)
	w := c.column()
	cols := []column{{"Outcome", 58, false}, {"Control", w*.58 - 58, false}, {"Severity", 50, false}, {"Result", w*.42 - 50, false}}
	rows := make([][]cell, 0, len(plain))
	for _, k := range plain {
		title := strings.TrimSpace(k.ID + " " + k.Title)
		if !k.Required {
			title += " (optional)"
		}
		rows = append(rows, []cell{small(k.Mark), {s: title, style: rowText, id: k.Anchor}, {s: string(k.Severity), style: noteText}, {s: k.Reason, style: rowText}})
	}
	c.table(cols, rows)
}

// frameworks says what each control answers to in which standard.
func (c *canvas) frameworks(d *report.Document) {
	var titles []string
	var rows [][]cell
	known, at := map[string]bool{}, map[string]int{}
	for _, g := range d.Groups {
		for _, k := range g.Controls {
			var refs []string
			for _, f := range k.Frameworks {
				if !known[f.ID] {
					known[f.ID] = true
					titles = append(titles, f.ID+": "+f.Title)
				}
				refs = append(refs, f.ID+" "+strings.Join(f.Refs, ", "))
			}
			text := strings.Join(refs, " · ")
			if i, ok := at[text]; ok {
				rows[i][0].s += ", " + k.ID
			} else if text != "" {
				at[text] = len(rows)
				rows = append(rows, []cell{{s: k.ID, style: rowText}, {s: text, style: rowText}})
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	c.subheading("Standards", "what each control answers to; what it asks for in full stands in catalog.yaml of the evidence", "", 60)
	c.paragraph(noteText, strings.Join(titles, " · "))
	c.table([]column{{"Controls", 84, false}, {"References", c.column() - 84, false}}, rows)
}

func (c *canvas) waivers(d *report.Document) {
	if len(d.Waivers) == 0 { // the first page says so
		return
	}
	c.heading("Waivers", 60)
	w := c.column()
	cols := []column{{"Control", 58, false}, {"Status", 82, false}, {"Target", (w - 264) * .38, false}, {"Reason and approver", (w - 264) * .62, false}, {"Expires", 78, false}, {"Findings", 46, true}}
	var rows [][]cell
	for _, v := range d.Waivers {
		rows = append(rows, []cell{
			{s: fmt.Sprintf("%d. %s", v.Number, v.Control.ID), style: rowText, anchor: v.Control.Anchor}, small(v.Mark), {s: v.Target, style: rowText},
			{s: waiverText(v), style: rowText}, {s: report.Time(v.ExpiresAt), style: noteText}, {s: strconv.Itoa(len(v.Findings)), style: rowText},
		})
	}
	c.table(cols, rows)
}

func waiverText(v report.Waiver) string {
	s := v.Reason + " Approved by " + v.ApprovedBy + "."
	if v.Effect != "" {
		s += " Effect: " + v.Effect + "."
	}
	return s
}

func (c *canvas) notChecked(d *report.Document) {
	if len(d.NotChecked) > 0 {
		c.heading("What was not checked, and why", 60)
		w := c.column()
		cols := []column{{"What", w * .36, false}, {"Controls", 62, false}, {"Outcome", 84, false}, {"Why", w*.64 - 146, false}}
		var rows [][]cell
		for _, n := range d.NotChecked[:min(len(d.NotChecked), listed(d))] {
			var ids []string
			anchor := ""
			for _, r := range n.Controls {
				ids = append(ids, r.ID)
				anchor = n.Controls[0].Anchor
			}
			rows = append(rows, []cell{{s: n.What, style: rowText}, {s: strings.Join(ids, ", "), style: rowText, anchor: anchor}, small(n.Mark), {s: n.Why, style: rowText}})
		}
		c.table(cols, rows)
		c.more(len(d.NotChecked), listed(d))
	}
	if len(d.Outside) > 0 {
		ids := make([]string, len(d.Outside))
		for i, r := range d.Outside {
			ids[i] = r.ID
		}
		c.space(6)
		c.paragraph(noteText, "Not asked for by this profile: "+strings.Join(ids, ", ")+".")
	}
}

func (c *canvas) verify(d *report.Document) {
	blocks := make([]block, len(d.Verify))
	height := 0.0
	for i, s := range d.Verify {
		blocks[i] = c.step(s)
		height += blocks[i].height() + stepGap
	}
	c.heading("How to verify", min(height, c.full()*.6))
	for i := range blocks {
		c.place(&blocks[i])
		c.y += stepGap
	}
}

const stepGap = 4.0

func (c *canvas) step(s report.Step) block {
	b := block{}
	c.add(&b, bodyBold, 0, c.column(), s.Title)
	n := len(b.lines)
	c.add(&b, bodyMono, 12, c.column()-12, s.Command)
	b.lines[n].before = 1
	n = len(b.lines)
	c.add(&b, noteText, 0, c.column(), s.Note)
	b.lines[n].before = 1
	return b
}

func (c *canvas) appendix(d *report.Document) {
	c.heading("Appendix", 120)
	c.subheading("Digests", "", "", 40)
	var digests []report.Fact
	for _, f := range d.Digests { // the first page has the others
		if !slices.ContainsFunc(d.Facts, func(on report.Fact) bool { return on.Value == f.Value }) {
			digests = append(digests, f)
		}
	}
	c.facts(digests)
	w := c.column()
	if len(d.Inputs) > 0 {
		c.subheading("Bundles that this verdict rests on", "", "", 50)
		var rows [][]cell
		for _, i := range d.Inputs {
			rows = append(rows, []cell{{s: string(i.Bundle), style: rowMono}, {s: i.Scope, style: rowText}, {s: report.Time(i.EvaluatedAt), style: rowText}, {s: strings.Join(i.Controls, ", "), style: rowText}})
		}
		c.table([]column{{"Bundle", w * .42, false}, {"Scope", 54, false}, {"Evaluated", 74, false}, {"Controls", w*.58 - 128, false}}, rows)
	}
	tool := ""
	if d.Tool != "" {
		tool = "Collected by " + d.Tool + "."
	}
	c.subheading("Runs", tool, "", 70)
	var rows [][]cell
	for _, r := range d.Runs {
		rows = append(rows, []cell{{s: r.Collector, style: rowText}, small(r.Mark), {s: report.Time(r.Started), style: rowText}, {s: report.RunTime(r.Took), style: rowText}, {s: r.Error, style: rowText}})
	}
	c.table([]column{{"Collector", 84, false}, {"Run", 60, false}, {"Started", 110, false}, {"Took", 60, true}, {"Error", w - 314, false}}, rows)
	c.frameworks(d)
	if len(d.Images) > 0 {
		c.subheading("Images", "", "", 30)
		for _, s := range d.Images {
			c.paragraph(rowMono, s)
		}
	}
	if len(d.Artifacts) > 0 {
		c.subheading("Artifacts", "content of evidence.zip", "", 50)
		rows = nil
		for _, a := range d.Artifacts {
			rows = append(rows, []cell{{s: a.Name, style: rowText}, {s: strconv.FormatInt(a.Size, 10), style: rowText}, {s: a.Digest.Hex(), style: rowMono}})
		}
		const digest = 64*.603*(note-.5) + gutter
		c.table([]column{{"Name", w - digest - 54, false}, {"Bytes", 54, true}, {"SHA-256", digest, false}}, rows)
	}
}
