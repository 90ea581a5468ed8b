package pdf

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/report"
)

// heading starts a section and keeps it with at least follow points of what comes after.
func (c *canvas) heading(title string, follow float64) {
	c.space(26)
	c.ensure(headText.line() + 10 + follow)
	c.bookmark(0, title)
	b := block{}
	c.add(&b, headText, 0, c.column(), title)
	c.place(&b)
	c.y += 6
}

// subheading is a bold line, with a quiet remark after it.
func (c *canvas) subheading(title, remark, anchor string, follow float64) {
	c.space(14)
	b := block{anchor: anchor}
	c.add(&b, bodyBold, 0, c.column()-90, title)
	last := &b.lines[len(b.lines)-1].pieces
	w := c.faces[bold].measure((*last)[0].s, body)
	*last = append(*last, piece{x: w + 8, s: c.text(noteText, remark), style: noteText})
	c.ensure(min(b.height()+4+follow, c.full()))
	c.bookmark(1, title)
	c.place(&b)
	c.y += 4
}

func (c *canvas) paragraph(st style, s string) {
	b := block{}
	c.add(&b, st, 0, c.column(), s)
	c.place(&b)
	c.y += 4
}

func (c *canvas) cover(d *report.Document) {
	c.newPage()
	c.pages[0].cover = true
	c.y = 96
	c.bookmark(0, "Cover")
	c.put(c.left(), c.y, c.text(bodySoft, "helmproof evidence report"), bodySoft)
	c.y += bodySoft.line() + 6
	b := block{}
	if c.add(&b, titleText, 0, c.column(), d.Title); len(b.lines) > 3 {
		b.lines = nil
		c.add(&b, headText, 0, c.column(), d.Title)
		if len(b.lines) > 6 { // it stands in full among the facts below
			b.lines = append(b.lines[:6], line{height: headText.line(), pieces: []piece{{s: "…", style: headText}}})
		}
	}
	c.place(&b)
	c.y += 24
	m := d.Verdict.Mark
	b = block{}
	c.add(&b, titleText.with(hexColor(m.Color)), big*1.3, c.column()-big*1.3, m.Word)
	b.lines[0].pieces = append(b.lines[0].pieces, piece{style: titleText, mark: &m})
	c.place(&b)
	c.y += 4
	b = block{}
	c.add(&b, leadText, 0, c.column(), d.Verdict.Reason)
	c.place(&b)
	c.y += 24
	if !d.Sealed {
		c.paragraph(bodyBold, "Not sealed. Nothing was stored or signed; this report cannot be verified later.")
		c.y += 8
	}
	c.facts(d.Facts)
	c.y += 26
	c.counts(d)
}

// facts are labels and values; a value is never cut.
func (c *canvas) facts(fs []report.Fact) {
	const label = 118.0
	for _, f := range fs {
		st := bodyText
		if f.Mono {
			st = bodyMono
		}
		b := block{}
		c.add(&b, st, label, c.column()-label, f.Value)
		for i, l := range c.wrap(bodySoft, f.Label, label-gutter) {
			if i == len(b.lines) {
				b.lines = append(b.lines, line{height: bodySoft.line()})
			}
			b.lines[i].pieces = append(b.lines[i].pieces, piece{s: l, style: bodySoft})
		}
		c.place(&b)
		c.y += 2.5
	}
}

// counts are the numbers of the cover: controls by outcome.
func (c *canvas) counts(d *report.Document) {
	c.ensure(80)
	w := c.column() / float64(len(d.Counts))
	for i, n := range d.Counts {
		x := c.left() + float64(i)*w
		st := titleText
		if n.N == 0 {
			st = st.with(soft)
			st.face = sans
		}
		c.put(x, c.y, strconv.Itoa(n.N), st)
		c.legendItem(x, c.y+titleText.line(), n.Mark, n.Mark.Word)
	}
	c.y += titleText.line() + noteText.line() + 14
	f := d.Findings
	c.paragraph(noteText, fmt.Sprintf("Controls by outcome. Findings: %d failed, %d warned, %d waived, %d not checked, %d passed, %d not applicable.",
		f.Failed, f.Warned, f.Waived, f.NotChecked, f.Passed, f.NotApplicable))
}

func (c *canvas) legendItem(x, y float64, m report.Mark, word string) float64 {
	st := style{bold, note, hexColor(m.Color)}
	c.shape(x, y+1, note*.86, m, st.color)
	return note*1.3 + c.put(x+note*1.3, y, c.text(st, word), st)
}

func (c *canvas) summary(d *report.Document) {
	c.newPage()
	c.bookmark(0, "Summary")
	b := block{}
	c.add(&b, headText, 0, c.column(), d.Conclusion)
	c.place(&b)
	c.y += 10
	c.plot(d)
	c.reasons(d)
}

// reasons lists what stands between the release and a pass, on the summary's page.
func (c *canvas) reasons(d *report.Document) {
	c.heading("Reasons", 60)
	if len(d.Reasons) == 0 {
		c.paragraph(bodyText, "No control failed and none is unchecked.")
		return
	}
	w := c.column()
	cols := []column{{"Control", w * .4, false}, {"Outcome", 95, false}, {"Severity", 50, false}, {"Reason", w*.6 - 145, false}}
	var rows [][]cell
	for _, r := range d.Reasons {
		title := r.ID + " " + r.Title
		if !r.Required {
			title += " (optional)"
		}
		rows = append(rows, []cell{{s: title, style: bodyText, anchor: r.Anchor}, marked(r.Mark), {s: string(r.Severity), style: bodySoft}, {s: r.Reason, style: bodyText}})
	}
	// The summary stays on one page; the worst come first, and all are told with the controls.
	fit, room := 0, c.bottom()-c.y-2*noteText.line()-24
	for ; fit < len(rows); fit++ {
		if room -= c.rowHeight(cols, rows[fit]) + 4; room < 0 && fit > 0 {
			break
		}
	}
	c.table(cols, rows[:fit])
	if more := len(rows) - fit; more > 0 {
		st := noteText.with(link)
		c.putLink(c.left(), c.y-4, c.text(st, fmt.Sprintf("and %d more, in Controls by group", more)), st, "controls")
		c.y += st.line()
	}
}

func (c *canvas) controls(d *report.Document) {
	c.newPage()
	c.anchor("controls")
	c.heading("Controls by group", 90)
	const label = 92.0
	sections := map[string]string{} // control → anchor of its findings
	for _, s := range d.Sections {
		if s.ID != "" {
			sections[s.ID] = "s-" + s.Anchor
		}
	}
	for _, g := range d.Groups {
		title := g.ID
		if g.Title != g.ID {
			title += " " + g.Title
		}
		c.subheading(title, groupRemark(g), "g-"+g.ID, 70)
		for _, k := range g.Controls {
			b := block{anchor: k.Anchor}
			m := k.Mark
			c.add(&b, bodyBold, label, c.column()-label, k.ID+" "+k.Title)
			b.lines[0].pieces = append(b.lines[0].pieces, piece{s: c.text(bodyBold, m.Word), style: markStyle(m), mark: &m})
			if k.Statement != "" {
				c.add(&b, bodyText, label, c.column()-label, k.Statement)
			}
			need := "required"
			if !k.Required {
				need = "optional, decides nothing"
			}
			c.add(&b, bodySoft, label, c.column()-label, fmt.Sprintf("%s, %s – %s", k.Severity, need, k.Reason))
			var fw []string
			for _, f := range k.Frameworks {
				fw = append(fw, f.Title+": "+strings.Join(f.Refs, ", "))
			}
			if len(fw) > 0 {
				c.add(&b, noteText, label, c.column()-label, strings.Join(fw, " · "))
			}
			if to := sections[k.ID]; to != "" && len(k.Findings) > 0 {
				st := noteText.with(link)
				b.lines = append(b.lines, line{height: st.line(), pieces: []piece{{x: label, s: c.text(st, findingsWord(len(k.Findings))), style: st, anchor: to}}})
			}
			c.place(&b)
			c.y += 9
		}
	}
}

func groupRemark(g report.Group) string {
	var parts []string
	for _, n := range g.Counts {
		if n.N > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.N, n.Mark.Word))
		}
	}
	return strings.Join(parts, ", ")
}

func findingsWord(n int) string {
	if n == 1 {
		return "1 finding"
	}
	return strconv.Itoa(n) + " findings"
}

func (c *canvas) findings(d *report.Document) {
	c.newPage()
	c.heading("Findings", 100)
	if len(d.Sections) == 0 {
		c.paragraph(bodyText, "No finding failed or warned.")
	}
	for _, s := range d.Sections {
		shown := s.Findings[:min(len(s.Findings), listed(d))]
		blocks := make([]block, len(shown))
		for i, f := range shown {
			blocks[i] = c.finding(f)
		}
		anchor := ""
		if s.ID != "" {
			anchor = "s-" + s.Anchor
		}
		c.subheading(strings.TrimSpace(s.ID+" "+s.Title), findingsWord(len(s.Findings)), anchor, min(blocks[0].height(), c.full()/2))
		for i := range blocks {
			c.place(&blocks[i])
			c.y += 10
		}
		c.more(len(s.Findings), listed(d))
	}
}

const (
	// maxListed is how many findings are listed in all: gofpdf holds all pages in
	// memory, and nobody reads more of them.
	maxListed = 5000
	// fewListed is how many of each control are listed where there are more.
	fewListed = 100
)

// listed is how many findings of one control are listed, or what was not checked.
func listed(d *report.Document) int {
	all := len(d.NotChecked)
	for _, s := range d.Sections {
		all += len(s.Findings)
	}
	if all > maxListed {
		return fewListed
	}
	return maxListed
}

// more says how many of n are not listed, and where they are.
func (c *canvas) more(n, listed int) {
	if n > listed {
		c.paragraph(noteText, fmt.Sprintf("and %d more: findings.json in evidence.zip has them all, as have the other reports", n-listed))
	}
}

// finding is one block: object, message, remediation, and where all that can be seen.
func (c *canvas) finding(f report.Finding) block {
	const indent = body * 1.3
	w := c.column() - indent
	b := block{anchor: f.Anchor}
	m := f.Mark
	c.add(&b, bodyBold, indent, w, f.Object)
	b.lines[0].pieces = append(b.lines[0].pieces, piece{style: bodyBold, mark: &m})
	c.add(&b, bodyText, indent, w, f.Message)
	if f.Remediation != "" {
		c.labelled(&b, "Fix: ", indent, w, f.Remediation)
	}
	if f.Waiver != nil {
		c.labelled(&b, fmt.Sprintf("Waiver %d: ", f.Waiver.Number), indent, w,
			fmt.Sprintf("%s Approved by %s, expires %s.", f.Waiver.Reason, f.Waiver.ApprovedBy, report.Time(f.Waiver.ExpiresAt)))
	}
	c.add(&b, noteText, indent, w, findingNote(f))
	return b
}

// labelled adds text that begins with a bold label.
func (c *canvas) labelled(b *block, label string, x, width float64, s string) {
	lw := c.measure(bodyBold, label)
	lines := c.wrap(bodyText, s, width-lw)
	for i, l := range lines {
		ln := line{height: bodyText.line(), pieces: []piece{{x: x + lw, s: l, style: bodyText}}}
		if i == 0 {
			ln.pieces = append([]piece{{x: x, s: c.text(bodyBold, label), style: bodyBold}}, ln.pieces...)
		}
		b.lines = append(b.lines, ln)
	}
}

func findingNote(f report.Finding) string {
	parts := []string{f.Mark.Word, string(f.Severity)}
	if f.Location != "" {
		parts = append(parts, f.Location)
	}
	parts = append(parts, "rule "+f.Rule)
	if len(f.Controls) > 1 {
		ids := make([]string, len(f.Controls))
		for i, r := range f.Controls {
			ids[i] = r.ID
		}
		parts = append(parts, "controls "+strings.Join(ids, ", "))
	}
	for _, e := range f.Evidence {
		s := "evidence " + e.Artifact
		if e.Where != "" {
			s += " " + e.Where
		}
		if e.Digest != "" {
			s += " (" + e.Digest.Short() + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(append(parts, "finding "+f.ID), " · ")
}

func (c *canvas) waivers(d *report.Document) {
	c.heading("Waivers", 60)
	if len(d.Waivers) == 0 {
		c.paragraph(bodyText, "No waiver was given.")
		return
	}
	w := c.column()
	cols := []column{{"Control", 58, false}, {"Status", 82, false}, {"Target", (w - 264) * .38, false}, {"Reason and approver", (w - 264) * .62, false}, {"Expires", 78, false}, {"Findings", 46, true}}
	var rows [][]cell
	for _, v := range d.Waivers {
		rows = append(rows, []cell{
			{s: fmt.Sprintf("%d. %s", v.Number, v.Control.ID), style: bodyText, anchor: v.Control.Anchor}, marked(v.Mark), {s: v.Target, style: bodyText},
			{s: waiverText(v), style: bodyText}, {s: report.Time(v.ExpiresAt), style: bodySoft}, {s: strconv.Itoa(len(v.Findings)), style: bodyText},
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
	c.heading("What was not checked, and why", 60)
	if len(d.NotChecked) == 0 {
		c.paragraph(bodyText, "Everything that the profile asks for was checked.")
	} else {
		w := c.column()
		cols := []column{{"What", w * .36, false}, {"Controls", 62, false}, {"Outcome", 104, false}, {"Why", w*.64 - 166, false}}
		var rows [][]cell
		for _, n := range d.NotChecked[:min(len(d.NotChecked), listed(d))] {
			var ids []string
			anchor := ""
			for _, r := range n.Controls {
				ids = append(ids, r.ID)
				anchor = n.Controls[0].Anchor
			}
			rows = append(rows, []cell{{s: n.What, style: bodyText}, {s: strings.Join(ids, ", "), style: bodyText, anchor: anchor}, marked(n.Mark), {s: n.Why, style: bodyText}})
		}
		c.table(cols, rows)
		c.more(len(d.NotChecked), listed(d))
	}
	if len(d.Outside) > 0 {
		ids := make([]string, len(d.Outside))
		for i, r := range d.Outside {
			ids[i] = r.ID
		}
		c.paragraph(noteText, "Not asked for by this profile: "+strings.Join(ids, ", ")+".")
	}
	c.subheading("Limits of this evidence", "", "", 40)
	for _, l := range d.Limits {
		b := block{}
		c.add(&b, bodyText, 12, c.column()-12, l)
		b.lines[0].pieces = append(b.lines[0].pieces, piece{s: "–", style: bodySoft})
		c.place(&b)
		c.y += 3
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

const stepGap = 12.0

func (c *canvas) step(s report.Step) block {
	b := block{}
	c.add(&b, bodyBold, 0, c.column(), s.Title)
	n := len(b.lines)
	c.add(&b, bodyMono, 12, c.column()-12, s.Command)
	b.lines[n].before = 3
	n = len(b.lines)
	c.add(&b, bodySoft, 0, c.column(), s.Note)
	b.lines[n].before = 3
	return b
}

func (c *canvas) appendix(d *report.Document) {
	c.heading("Appendix", 120)
	c.subheading("Digests", "SHA-256", "", 40)
	c.facts(d.Digests)
	w := c.column()
	if len(d.Inputs) > 0 {
		c.subheading("Bundles that this verdict rests on", "", "", 50)
		var rows [][]cell
		for _, i := range d.Inputs {
			rows = append(rows, []cell{{s: string(i.Bundle), style: noteMono.with(ink)}, {s: i.Scope, style: bodyText}, {s: report.Time(i.EvaluatedAt), style: bodyText}, {s: strings.Join(i.Controls, ", "), style: bodyText}})
		}
		c.table([]column{{"Bundle", w * .42, false}, {"Scope", 54, false}, {"Evaluated", 74, false}, {"Controls", w*.58 - 128, false}}, rows)
	}
	c.subheading("Runs", "", "", 70)
	if d.Tool != "" {
		c.paragraph(noteText, "Collected by "+d.Tool+".")
	}
	var rows [][]cell
	for _, r := range d.Runs {
		rows = append(rows, []cell{{s: r.Collector, style: bodyText}, marked(r.Mark), {s: report.Time(r.Started), style: bodyText}, {s: r.Took.String(), style: bodyText}, {s: r.Error, style: bodyText}})
	}
	c.table([]column{{"Collector", 96, false}, {"Run", 74, false}, {"Started", 150, false}, {"Took", 62, true}, {"Error", w - 382, false}}, rows)
	if len(d.Images) > 0 {
		c.subheading("Images", "", "", 30)
		for _, s := range d.Images {
			c.paragraph(bodyMono, s)
		}
	}
	if len(d.Artifacts) > 0 {
		c.subheading("Artifacts", "content of evidence.zip", "", 50)
		rows = nil
		for _, a := range d.Artifacts {
			rows = append(rows, []cell{{s: a.Name, style: noteText.with(ink)}, {s: strconv.FormatInt(a.Size, 10), style: noteText.with(ink)}, {s: a.Digest.Hex(), style: noteMono.with(ink)}})
		}
		const digest = 64*.603*(note-.5) + gutter
		c.table([]column{{"Name", w - digest - 54, false}, {"Bytes", 54, true}, {"SHA-256", digest, false}}, rows)
	}
	// Whoever turns to the last page finds the command there.
	if len(d.Verify) > 0 {
		c.space(18)
		b := c.step(d.Verify[0])
		c.place(&b)
	}
}
