package report

import (
	"cmp"
	"slices"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// maxActions is how many things to do first a report names.
const maxActions = 5

// Action is one thing to do, and how much it clears.
type Action struct {
	Control  ControlRef
	Mark     Mark // what it stands against: a failure, or what could not be checked
	Severity evidence.Severity
	Fix      string
	Clears   int    // findings
	Effect   string // "clears 15 findings of SEC-2"
}

// SeverityCount is a number of failed findings of one severity.
type SeverityCount struct {
	Severity evidence.Severity
	N        int
}

// severities are those that a finding may have, worst first.
var severities = []evidence.Severity{evidence.SeverityCritical, evidence.SeverityHigh, evidence.SeverityMedium, evidence.SeverityLow}

// bySeverity counts failed findings; a severity that nobody knows is shown as "unknown".
func bySeverity(sections []Section) []SeverityCount {
	n := map[evidence.Severity]int{}
	for _, s := range sections {
		for _, f := range s.Findings {
			if f.Mark.Key == MarkFail.Key {
				n[f.Severity]++
			}
		}
	}
	var out []SeverityCount
	for _, s := range severities {
		out = append(out, SeverityCount{s, n[s]})
		delete(n, s)
	}
	if n[evidence.SeverityInfo] > 0 { // seldom
		out = append(out, SeverityCount{evidence.SeverityInfo, n[evidence.SeverityInfo]})
	}
	delete(n, evidence.SeverityInfo)
	rest := 0
	for _, k := range n {
		rest += k
	}
	if rest > 0 {
		out = slices.Insert(out, 0, SeverityCount{"unknown", rest})
	}
	return out
}

// actions are the first things to do, worst first: for each fix of a required
// control that fails, how many of its findings it clears; then what stands in the
// way of a check. What decides nothing is not among them.
func actions(sections []Section, open []NotChecked, results map[string]Control) []Action {
	type key struct{ control, fix string }
	at := map[key]int{}
	var out []Action
	add := func(a Action) {
		k := key{a.Control.ID, a.Fix}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, a)
		}
		out[i].Clears++
		if a.Severity.Rank() < out[i].Severity.Rank() {
			out[i].Severity = a.Severity
		}
	}
	for _, s := range sections {
		k := results[s.ID]
		if !k.Required || k.Mark.Key != MarkFail.Key && k.Mark.Key != MarkIncomplete.Key {
			continue
		}
		for _, f := range s.Findings {
			if f.Mark.Key == MarkFail.Key {
				add(Action{Control: s.ControlRef, Mark: MarkFail, Severity: f.Severity, Fix: cmp.Or(f.Remediation, f.Message)})
			}
		}
	}
	for _, n := range open {
		for _, c := range n.Controls {
			if k := results[c.ID]; k.Required && k.Mark.Key == MarkIncomplete.Key {
				add(Action{Control: c, Mark: n.Mark, Severity: k.Severity, Fix: n.Why})
				break
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Action) int {
		return cmp.Or(compareRequired(a.Mark.Key == MarkFail.Key, b.Mark.Key == MarkFail.Key), cmp.Compare(a.Severity.Rank(), b.Severity.Rank()), cmp.Compare(b.Clears, a.Clears))
	})
	out = out[:min(len(out), maxActions)]
	for i := range out {
		a := &out[i]
		if a.Mark.Key == MarkFail.Key {
			a.Effect = "clears " + plural(a.Clears, "finding") + " of " + a.Control.ID
		} else {
			a.Effect = "leaves " + plural(a.Clears, "check") + " of " + a.Control.ID + " open"
		}
	}
	return out
}

// resultsByID are the controls of all groups.
func resultsByID(groups []Group) map[string]Control {
	out := map[string]Control{}
	for _, g := range groups {
		for _, c := range g.Controls {
			out[c.ID] = c
		}
	}
	return out
}

// RunTime writes how long a collector took.
func RunTime(d time.Duration) string {
	if d >= 0 && d < time.Millisecond {
		return "under 1 ms"
	}
	return Took(d)
}
