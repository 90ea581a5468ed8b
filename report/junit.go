package report

import (
	"bufio"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/companyos/helmproof/evidence"
)

type junitSuite struct {
	Package    string          `xml:"package,attr"`
	ID         int             `xml:"id,attr"`
	Name       string          `xml:"name,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Hostname   string          `xml:"hostname,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
	SystemOut  string          `xml:"system-out"`
	SystemErr  string          `xml:"system-err"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	ClassName string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"`
	Skipped   *junitProblem `xml:"skipped,omitempty"`
	Error     *junitProblem `xml:"error,omitempty"`
	Failure   *junitProblem `xml:"failure,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr,omitempty"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit writes d as JUnit XML: a suite for each group of controls, a test case
// for each control and target. What could not be checked is an error, what a
// waiver covers or a profile does not require is skipped, with the reason.
func JUnit(w io.Writer, d *Document) error {
	waived := map[string]*Waiver{}
	for _, s := range d.Sections {
		for i := range s.Findings {
			if f := &s.Findings[i]; f.Waiver != nil {
				waived[f.ID] = f.Waiver
			}
		}
	}
	byControl := map[evidence.ControlID][]*evidence.Finding{}
	for i := range d.in.Findings {
		f := &d.in.Findings[i]
		for _, c := range f.Controls {
			byControl[c] = append(byControl[c], f)
		}
	}
	b := bufio.NewWriter(w)
	e := xml.NewEncoder(b)
	e.Indent("", "  ")
	suites := xml.StartElement{Name: xml.Name{Local: "testsuites"}}
	_, err := b.WriteString(xml.Header)
	err = errors.Join(err, e.EncodeToken(suites))
	for i, g := range d.Groups {
		s := junitSuite{
			Package: "helmproof", ID: i, Name: cmp.Or(strings.TrimSpace(Visible(g.ID+" "+g.Title)), "-"), Hostname: "helmproof", Time: "0",
			Timestamp: d.EvaluatedAt.Format("2006-01-02T15:04:05"),
			Properties: []junitProperty{
				{"chart", Visible(d.Title)}, {"profile", Visible(d.Verdict.Profile)}, {"verdict", Visible(d.Verdict.Mark.Word)}, {"evidence", Visible(string(d.in.BundleID))},
			},
		}
		for _, c := range g.Controls {
			s.Cases = append(s.Cases, junitCases(c, byControl[evidence.ControlID(c.ID)], waived, d.in.Release.Chart)...)
		}
		for _, c := range s.Cases {
			s.Tests++
			switch {
			case c.Failure != nil:
				s.Failures++
			case c.Error != nil:
				s.Errors++
			case c.Skipped != nil:
				s.Skipped++
			}
		}
		if err == nil { // suite by suite: together they can be more than all else that is in memory
			err = e.EncodeElement(s, xml.StartElement{Name: xml.Name{Local: "testsuite"}})
		}
	}
	err = errors.Join(err, e.EncodeToken(suites.End()), e.Close())
	if err == nil {
		_, err = b.WriteString("\n")
	}
	if err := errors.Join(err, b.Flush()); err != nil {
		return fmt.Errorf("write junit xml: %w", err)
	}
	return nil
}

// junitCases makes one case for each target of a control: the worst outcome of
// its findings decides, all their messages are in the text.
func junitCases(c Control, found []*evidence.Finding, waived map[string]*Waiver, chart string) []junitCase {
	type group struct {
		target string
		all    []*evidence.Finding
	}
	var groups []*group
	at := map[string]*group{}
	for _, f := range found {
		t := cmp.Or(f.Target.Object(), chart)
		g, ok := at[t]
		if !ok {
			g = &group{target: t}
			at[t] = g
			groups = append(groups, g)
		}
		g.all = append(g.all, f)
	}
	class := Visible(c.ID + " " + c.Title)
	var out []junitCase
	explained := false
	for _, g := range groups {
		k := junitCase{Name: Visible(c.ID + " " + g.target), ClassName: class, Time: "0"}
		junitOutcome(&k, c, g.all, waived)
		explained = explained || k.Failure != nil || k.Error != nil
		out = append(out, k)
	}
	// A control that fails or is unchecked for a reason that no finding shows
	// (stale or missing evidence) still needs a case that says so.
	bad := c.Mark.Key == MarkFail.Key || c.Mark.Key == MarkIncomplete.Key
	if len(out) == 0 || bad && c.Required && !explained {
		k := junitCase{Name: Visible(c.ID), ClassName: class, Time: "0"}
		p := &junitProblem{Message: Visible(c.Reason), Type: c.Mark.Key, Text: Visible(c.Reason)}
		switch {
		case !c.Required && bad, c.Mark.Key == MarkNotApplicable.Key, c.Mark.Key == MarkWaived.Key:
			k.Skipped = p
		case c.Mark.Key == MarkFail.Key:
			k.Failure = p
		case c.Mark.Key == MarkIncomplete.Key:
			k.Error = p
		}
		out = append(out, k)
	}
	return out
}

func junitOutcome(k *junitCase, c Control, found []*evidence.Finding, waived map[string]*Waiver) {
	var worst *evidence.Finding
	var worstWaived *Waiver
	var text strings.Builder
	for _, f := range found {
		switch f.Outcome {
		case evidence.OutcomePass, evidence.OutcomeNotApplicable:
		default:
			fmt.Fprintf(&text, "%s: %s", f.Rule, f.Message)
			if f.Remediation != "" {
				fmt.Fprintf(&text, " Fix: %s", f.Remediation)
			}
			if l := location(f.Target); l != "" {
				fmt.Fprintf(&text, " (%s)", l)
			}
			text.WriteByte('\n')
		}
		if w := waived[f.ID]; w != nil {
			worstWaived = w
			continue
		}
		if worst == nil || f.Outcome.Rank() < worst.Outcome.Rank() {
			worst = f
		}
	}
	body := xmlText(text.String())
	if worstWaived != nil && (worst == nil || worst.Outcome.Rank() >= evidence.OutcomeWarn.Rank()) {
		k.Skipped = &junitProblem{Message: Visible(fmt.Sprintf("waived: %s (approved by %s, expires %s)", worstWaived.Reason, worstWaived.ApprovedBy, Time(worstWaived.ExpiresAt)))}
		return
	}
	p := &junitProblem{Message: Visible(worst.Message), Type: string(worst.Severity), Text: body}
	switch worst.Outcome {
	case evidence.OutcomePass:
	case evidence.OutcomeNotApplicable:
		k.Skipped = &junitProblem{Message: Visible("not applicable: " + worst.Message)}
	case evidence.OutcomeFail, evidence.OutcomeWarn:
		// A finding below the profile's threshold does not fail its control, nor its test.
		if c.Required && c.Mark.Key == MarkFail.Key && behind(c, worst.ID) {
			k.Failure = p
			return
		}
		k.Skipped = &junitProblem{Message: Visible("decides nothing in this profile: " + worst.Message)}
	default:
		if c.Required {
			p.Type = string(worst.Outcome)
			k.Error = p
			return
		}
		k.Skipped = &junitProblem{Message: Visible("not checked, and not required: " + worst.Message)}
	}
}

// behind reports whether a finding is among those that its control's outcome rests on.
func behind(c Control, id string) bool {
	return slices.ContainsFunc(c.Findings, func(r FindingRef) bool { return r.ID == id })
}

// xmlText keeps line breaks and makes everything else that XML 1.0 cannot hold visible.
func xmlText(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i, l := range lines {
		lines[i] = Visible(l)
	}
	s = strings.Join(lines, "\n")
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return s
}
