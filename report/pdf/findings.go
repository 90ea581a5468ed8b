package pdf

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/report"
)

// A control that does not simply hold has a table of its findings. What all of them
// share is said once, over the table; what some share, once over their rows.

// findings is one table for each such control, worst first.
func (c *canvas) findings(d *report.Document) {
	sections := map[string]*report.Section{}
	for i := range d.Sections {
		sections[d.Sections[i].ID] = &d.Sections[i]
	}
	controls, _ := split(d)
	c.heading("Controls that do not hold", 100)
	c.anchor("controls")
	if len(controls) == 0 && len(d.Sections) == 0 {
		c.paragraph(bodyText, "No control failed and none is unchecked. No finding failed or warned.")
	}
	limit, artifact := listed(d), mostCited(d.Sections)
	if artifact.Artifact != "" {
		c.paragraph(noteText, "Under “Where” stands the template’s line, and the lines of "+pointer(artifact)+" in evidence.zip, or another file of it.")
	}
	for i := range controls {
		k := &controls[i]
		c.section(k, sections[k.ID], limit, artifact)
	}
	if s := sections[""]; s != nil {
		c.section(nil, s, limit, artifact)
	}
}

// split parts the controls: those that have something to say, worst first, and those
// that hold or do not apply.
func split(d *report.Document) (loud, plain []report.Control) {
	listed := map[string]bool{}
	for _, s := range d.Sections {
		listed[s.ID] = true
	}
	for _, g := range d.Groups {
		for _, k := range g.Controls {
			if quiet := k.Mark.Key == report.MarkPass.Key || k.Mark.Key == report.MarkNotApplicable.Key; quiet && !listed[k.ID] {
				plain = append(plain, k)
			} else {
				loud = append(loud, k)
			}
		}
	}
	// As the sections are.
	worst := map[string]int{report.MarkFail.Key: 1, report.MarkIncomplete.Key: 2, report.MarkWarn.Key: 3, report.MarkWaived.Key: 4, report.MarkPass.Key: 5, report.MarkNotApplicable.Key: 6}
	optional := func(k report.Control) int {
		if k.Required {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(loud, func(a, b report.Control) int {
		return cmp.Or(optional(a)-optional(b), worst[a.Mark.Key]-worst[b.Mark.Key], a.Severity.Rank()-b.Severity.Rank())
	})
	return loud, plain
}

// shared is what all findings of a table have in common.
type shared struct {
	fix      string // said last: of the rows that follow
	rule     string
	control  string
	evidence []report.Evidence // seen at the same place
	artifact report.Evidence   // what most of the document's point into: its name and digest
}

func common(fs []report.Finding, control string, artifact report.Evidence) shared {
	s := shared{fix: fs[0].Remediation, control: control, artifact: artifact}
	rules, places := map[string]int{}, map[report.Evidence]int{}
	for _, f := range fs {
		rules[f.Rule]++
		for _, e := range distinct(f.Evidence) {
			places[e]++
		}
	}
	for _, f := range fs { // the first of the most frequent
		if rules[f.Rule] > rules[s.rule] {
			s.rule = f.Rule
		}
	}
	for _, e := range fs[0].Evidence {
		if len(fs) > 1 && places[e] == len(fs) {
			s.evidence = append(s.evidence, e)
		}
	}
	return s
}

// mostCited is the artifact that most findings point into first.
func mostCited(sections []report.Section) (best report.Evidence) {
	n := map[report.Evidence]int{}
	for pass := range 2 {
		for _, s := range sections {
			for _, f := range s.Findings {
				if len(f.Evidence) == 0 {
					continue
				}
				e := report.Evidence{Artifact: f.Evidence[0].Artifact, Digest: f.Evidence[0].Digest}
				if pass == 0 {
					n[e]++
				} else if n[e] > n[best] {
					best = e
				}
			}
		}
	}
	return best
}

func distinct(es []report.Evidence) []report.Evidence {
	out := make([]report.Evidence, 0, len(es))
	for _, e := range es {
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func pointer(e report.Evidence) string {
	s := e.Artifact
	if e.Where != "" {
		s += " " + e.Where
	}
	if e.Digest != "" {
		s += " (" + e.Digest.Short() + ")"
	}
	return s
}

// section is what the report says of one control, or of findings of none.
func (c *canvas) section(k *report.Control, s *report.Section, limit int, artifact report.Evidence) {
	title, mark := "", report.MarkNotApplicable
	var fs []report.Finding
	if s != nil {
		title, mark, fs = strings.TrimSpace(s.ID+" "+s.Title), s.Mark, s.Findings[:min(len(s.Findings), limit)]
	}
	if k != nil {
		title, mark = strings.TrimSpace(k.ID+" "+k.Title), k.Mark
	}
	h := block{role: "H3"}
	if k != nil {
		h.anchor = k.Anchor
	}
	indent := c.measure(bodyBold, mark.Word) + body*1.3 + 8
	c.add(&h, bodyBold, indent, c.column()-indent, title)
	h.lines[0].pieces = append([]piece{{s: c.text(bodyBold, mark.Word+" "), style: markStyle(mark), mark: &mark}}, h.lines[0].pieces...)
	var note, statement, fix block
	var sh shared
	var facts []string
	if k != nil {
		need := "required"
		if !k.Required {
			need = "optional, decides nothing"
		}
		facts = append(facts, fmt.Sprintf("%s, %s – %s", k.Severity, need, k.Reason))
	}
	if len(fs) > 0 {
		id := ""
		if k != nil {
			id = k.ID
		}
		sh = common(fs, id, artifact)
		if k == nil || len(fs) < len(s.Findings) {
			facts = append(facts, findingsWord(len(s.Findings)))
		}
		facts = append(facts, "rule "+sh.rule)
		for _, e := range sh.evidence {
			facts = append(facts, "evidence "+pointer(e))
		}
	}
	c.add(&note, noteText, 0, c.column(), strings.Join(facts, " · "))
	if k != nil && k.Statement != "" {
		c.add(&statement, rowText, 0, c.column(), k.Statement)
	}
	if len(fs) > 0 {
		c.labelled(&fix, "Fix: ", 0, c.column(), sh.fix)
	}
	c.space(8)
	c.ensure(min(h.height()+note.height()+statement.height()+fix.height()+48, c.full()))
	c.bookmark(1, title)
	if s != nil && s.ID != "" {
		c.anchor("s-" + s.Anchor)
	}
	c.place(&h)
	c.y += 1
	for _, b := range []*block{&note, &statement, &fix} {
		if len(b.lines) > 0 {
			c.place(b)
		}
	}
	switch {
	case len(fs) > 0:
		c.y += 2
		c.findingTable(title, &sh, fs)
		c.more(len(s.Findings), limit)
	case k != nil && k.Mark.Key == report.MarkIncomplete.Key:
		c.paragraph(noteText, "What could not be checked stands under “What was not checked, and why”.")
	case k != nil && len(k.Findings) > 0:
		st := noteText.with(link)
		b := block{}
		b.lines = append(b.lines, line{height: st.line(), pieces: []piece{{s: "Its findings stand with another control that fails for them, too.", style: st, anchor: k.Findings[0].Anchor}}})
		c.place(&b)
	}
}

// likeness is what findings under one line of the table share.
type likeness struct {
	mark, message, fix, rule, controls, waiver string
	severity                                   evidence.Severity
}

// alike parts findings by what can be said of several at once, in their order.
func (s *shared) alike(fs []report.Finding) [][]report.Finding {
	at := map[likeness]int{}
	var out [][]report.Finding
	for _, f := range fs {
		k := likeness{mark: f.Mark.Word, message: f.Message, fix: f.Remediation, rule: f.Rule, severity: f.Severity, controls: s.others(f)}
		if f.Waiver != nil {
			k.waiver = strconv.Itoa(f.Waiver.Number)
		}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], f)
	}
	// What one fix mends stands together, after what is worse.
	fixes := map[string]int{}
	for i, g := range out {
		if _, ok := fixes[g[0].Remediation]; !ok {
			fixes[g[0].Remediation] = i
		}
	}
	marks := map[string]int{}
	for i, g := range out {
		if _, ok := marks[g[0].Mark.Key]; !ok {
			marks[g[0].Mark.Key] = i
		}
	}
	slices.SortStableFunc(out, func(a, b []report.Finding) int {
		return cmp.Or(marks[a[0].Mark.Key]-marks[b[0].Mark.Key], fixes[a[0].Remediation]-fixes[b[0].Remediation])
	})
	return out
}

// others are the controls that a finding counts for beside the table's.
func (s *shared) others(f report.Finding) string {
	var ids []string
	for _, r := range f.Controls {
		if r.ID != s.control {
			ids = append(ids, r.ID)
		}
	}
	return strings.Join(ids, ", ")
}

// findingTable has a line for each message, and a row for each object under it.
func (c *canvas) findingTable(title string, sh *shared, fs []report.Finding) {
	const id = 73.0
	w := c.column() - id - rowIndent
	cols := []column{{"Object", w * .5, false}, {"Where", w * .5, false}, {"Finding", id, false}}
	c.open("Table")
	defer c.close()
	c.indent = rowIndent
	defer func() { c.indent = 0 }()
	c.tableHead(cols)
	next := func() { // the fix stays in sight of what it mends
		c.newPage()
		b := block{role: "P"}
		c.add(&b, bodyBold, 0, c.column(), title+", continued")
		if len(b.lines) > 2 {
			b.lines = b.lines[:2]
		}
		n := len(b.lines)
		if c.labelled(&b, "Fix: ", 0, c.column(), sh.fix); len(b.lines)-n > 8 {
			b.lines = b.lines[:n+8]
		}
		quiet := c.quiet
		c.quiet = true
		c.place(&b)
		c.tableHead(cols)
		c.quiet = quiet
	}
	for _, group := range sh.alike(fs) {
		before := sh.fix
		head := c.groupHead(sh, group)
		after := sh.fix
		for i, f := range group {
			cells := []cell{{s: f.Object, style: rowText, id: f.Anchor}, {s: sh.where(f), style: rowText}, {s: f.ID, style: rowMono.with(soft)}}
			wrapped, height := c.wrapRow(cols, cells)
			need := height
			if i == 0 {
				need += head.height()
			}
			if c.y+need > c.bottom() && c.y > marginTop+90 {
				if i == 0 { // its own fix is in its head
					sh.fix = before
				}
				next()
				sh.fix = after
			}
			if i == 0 {
				c.open("TR")
				c.header("Row", len(cols))
				c.place(&head)
				c.close()
				c.close()
			}
			c.row(cols, cells, wrapped, next)
		}
		c.y += 2
	}
}

// rowIndent is how far rows stand right of the line over them.
const rowIndent = 10.0

// groupHead says what the findings of a group share.
func (c *canvas) groupHead(sh *shared, group []report.Finding) block {
	f := group[0]
	b := block{role: "P"}
	m := f.Mark
	st := style{bold, note, hexColor(m.Color)}
	word := c.text(st, m.Word+" "+string(f.Severity)+" ")
	x := note*1.3 + c.faces[bold].measure(word, note) + 3
	c.add(&b, style{bold, note + .3, ink}, x, c.column()-x, f.Message)
	b.lines[0].pieces = append([]piece{{s: word, style: st, mark: &m}}, b.lines[0].pieces...)
	if f.Remediation != sh.fix {
		c.labelled(&b, "Fix: ", rowIndent, c.column()-rowIndent, cmp.Or(f.Remediation, "none is known"))
		sh.fix = f.Remediation
	}
	if f.Waiver != nil {
		c.labelled(&b, fmt.Sprintf("Waiver %d: ", f.Waiver.Number), rowIndent, c.column()-rowIndent,
			fmt.Sprintf("%s Approved by %s, expires %s.", f.Waiver.Reason, f.Waiver.ApprovedBy, report.Time(f.Waiver.ExpiresAt)))
	}
	var more []string
	if f.Rule != sh.rule {
		more = append(more, "rule "+f.Rule)
	}
	if o := sh.others(f); o != "" {
		more = append(more, "counts for "+o+", too")
	}
	if len(more) > 0 {
		c.add(&b, noteText, rowIndent, c.column()-rowIndent, strings.Join(more, " · "))
	}
	return b
}

// where is the place in the chart, and that in the evidence: of the artifact that most
// findings point into, which is named once, the lines alone.
func (s *shared) where(f report.Finding) string {
	var parts []string
	if f.Location != "" {
		parts = append(parts, f.Location)
	}
	for _, e := range distinct(f.Evidence) {
		switch {
		case slices.Contains(s.evidence, e):
		case e.Artifact == s.artifact.Artifact && e.Digest == s.artifact.Digest && e.Where != "":
			parts = append(parts, strings.NewReplacer("lines ", "", "line ", "").Replace(e.Where))
		default:
			parts = append(parts, pointer(e))
		}
	}
	return strings.Join(parts, " · ")
}

const (
	// maxListed is how many findings are listed in all: all pages are held in
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

func findingsWord(n int) string {
	if n == 1 {
		return "1 finding"
	}
	return strconv.Itoa(n) + " findings"
}

// labelled adds text that begins with a bold label.
func (c *canvas) labelled(b *block, label string, x, width float64, s string) {
	st, bst := rowText, style{bold, note, ink}
	lw := c.measure(bst, label)
	for i, l := range c.wrap(st, s, width-lw) {
		ln := line{height: st.line(), pieces: []piece{{x: x + lw, s: l, style: st}}}
		if i == 0 {
			ln.pieces = append([]piece{{x: x, s: c.text(bst, label), style: bst}}, ln.pieces...)
		}
		b.lines = append(b.lines, ln)
	}
}
