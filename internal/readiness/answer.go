package readiness

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// Outcome answers an item, or the whole checklist.
type Outcome string

// The outcomes. What could not be checked is Missing, or Unverifiable where something is
// there that cannot be verified; never Done.
const (
	Done         Outcome = "done"
	Missing      Outcome = "missing"
	Unverifiable Outcome = "unverifiable"
)

// Rank orders outcomes worst first; one that nobody knows is as bad as the worst.
func (o Outcome) Rank() int {
	switch o {
	case Done:
		return 2
	case Missing:
		return 1
	}
	return 0
}

// Part is one thing that an item asks for.
type Part struct {
	What    string  `json:"what"` // a control, a rule, a document, or the training
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason"`
	Get     string  `json:"get,omitempty"` // the command that gets it
	// Notes are what was left out of account, such as reviews that do not count.
	Notes []string `json:"notes,omitempty"`
}

// Answer is the answer to one item.
type Answer struct {
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Outcome Outcome `json:"outcome"` // the worst of its parts
	Parts   []Part  `json:"parts"`
}

// Report is the answers for one release.
type Report struct {
	Chart     string               `json:"chart"`
	Version   string               `json:"version,omitempty"`
	Release   string               `json:"release"`
	Namespace string               `json:"namespace"`
	Cluster   string               `json:"cluster,omitempty"`
	Outcome   Outcome              `json:"outcome"` // the worst of its items
	Items     []Answer             `json:"items"`
	Inputs    []evidence.BundleRef `json:"inputs,omitempty"` // the verified bundles that were read
}

// Document is what helmproof readiness says.
type Document struct {
	Repository string    `json:"repository"`
	Checklist  string    `json:"checklist"`
	Title      string    `json:"title"`
	At         time.Time `json:"at"`
	Outcome    Outcome   `json:"outcome"`
	Releases   []Report  `json:"releases"`
}

// Worst is the worst of some outcomes; of none it is Missing: nothing was asked.
func Worst(list ...Outcome) Outcome {
	if len(list) == 0 {
		return Missing
	}
	return slices.MinFunc(list, func(a, b Outcome) int { return a.Rank() - b.Rank() })
}

// NewAnswer is the answer to an item by its parts.
func NewAnswer(it *Item, parts []Part) Answer {
	a := Answer{ID: it.ID, Title: it.Title, Parts: parts}
	var all []Outcome
	for _, p := range parts {
		all = append(all, p.Outcome)
	}
	a.Outcome = Worst(all...)
	return a
}

// Controls are the parts of an item about controls, by the results of a composed verdict.
// deciding returns the findings of the evidence that decided a control; get returns the
// command that gets evidence about it anew. What was looked at and does not hold has what
// mends it as a note.
func Controls(it *Item, results []evidence.ControlResult, deciding func(evidence.ControlID) []evidence.Finding, catalog *evidence.Catalog, get func(evidence.ControlID) string) []Part {
	var parts []Part
	rules := evidence.NewRuleControls(catalog)
	for _, id := range it.Controls {
		p := Part{What: string(id), Outcome: Missing, Reason: "it was not judged"}
		if i := slices.IndexFunc(results, func(r evidence.ControlResult) bool { return r.Control == id }); i >= 0 {
			p.Reason = string(results[i].Outcome) + ": " + results[i].Reason
			switch results[i].Outcome {
			case evidence.ControlPass, evidence.ControlWarn, evidence.ControlWaived, evidence.ControlNotApplicable:
				p.Outcome = Done
			case evidence.ControlFail, evidence.ControlIncomplete:
				if c, ok := catalog.Control(id); ok && looked(deciding(id), rules, id) {
					p.Notes = []string{"what mends it: " + c.Remediation}
				}
			}
		}
		if p.Outcome != Done {
			p.Get = get(id)
		}
		parts = append(parts, p)
	}
	for _, rule := range it.Rules {
		p := Part{What: rule, Outcome: Missing, Reason: "nothing in the evidence shows that it is there"}
		for _, id := range rules.Of(rule) {
			if !slices.Contains(it.Controls, id) {
				continue
			}
			if p.Get == "" {
				p.Get = get(id)
			}
			if o, reason := shown(deciding(id), rule); reason != "" {
				p.Outcome, p.Reason = o, reason
			}
		}
		if p.Outcome == Done {
			p.Get = ""
		}
		parts = append(parts, p)
	}
	return parts
}

// looked reports whether evidence says that something about a control is not as it should
// be, or could not be checked: to get it once more alone mends nothing.
func looked(findings []evidence.Finding, rules *evidence.RuleControls, id evidence.ControlID) bool {
	return slices.ContainsFunc(findings, func(f evidence.Finding) bool {
		return (f.Outcome == evidence.OutcomeFail || f.Outcome == evidence.OutcomeNotChecked) && slices.Contains(rules.Of(f.Rule), id)
	})
}

// shown says whether every finding of a rule passes, and the reason: that of the worst.
func shown(findings []evidence.Finding, rule string) (Outcome, string) {
	outcome, reason := Done, ""
	for _, f := range findings {
		if f.Rule != rule {
			continue
		}
		good := f.Outcome == evidence.OutcomePass
		if reason == "" || !good && outcome == Done {
			reason = fmt.Sprintf("%s: %s", f.Outcome, f.Message)
		}
		if !good {
			outcome = Missing
		}
	}
	return outcome, reason
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._/:@=+-]+$`)

// Quote is a word of a command as a shell takes it whole.
func Quote(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Command fills in what an item's command is about.
func Command(get, chart, release, namespace string) string {
	or := func(s, word string) string {
		if s == "" {
			return word
		}
		return Quote(s)
	}
	return strings.NewReplacer("{chart}", or(chart, "CHART"), "{release}", or(release, "RELEASE"), "{namespace}", or(namespace, "NAMESPACE")).Replace(get)
}
