package collectors

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// Rules are a collector's rules, with the severity of their findings. Which
// controls they count for is the catalog's to say.
type Rules map[string]evidence.Severity

// Names lists the rules, sorted.
func (r Rules) Names() []string { return slices.Sorted(maps.Keys(r)) }

// Findings derives a collector's findings and says what controls they count for:
// those of the catalog by the finding's rule. Controls that the collector names
// itself, since an own policy asks for it, are added where the finding shows that
// something is wrong or was not seen; nothing but the catalog's rules satisfies a
// control. It also says which field a finding is about and which line of a template made
// it, where that was sealed. A finding of a rule that the collector does not declare, or that no
// control has, is an error: it would count for nothing.
func Findings(in *Sealed, c Collector) ([]evidence.Finding, error) {
	found, err := c.Findings(in)
	if err != nil {
		return nil, err
	}
	declared := declaredBy(c)
	var places *where
	if in != nil && in.where != nil { // a collector may need nothing sealed
		places = in.where()
	}
	for i := range found {
		f := &found[i]
		if !declared(f.Rule) {
			return nil, fmt.Errorf("collector %s: a finding of rule %q, which is none of its rules", c.Name(), f.Rule)
		}
		controls := in.Controls(f.Rule)
		if len(controls) == 0 {
			return nil, fmt.Errorf("collector %s: a finding of rule %q, which no control of the catalog has", c.Name(), f.Rule)
		}
		switch f.Outcome {
		case evidence.OutcomeFail, evidence.OutcomeNotChecked, evidence.OutcomeError:
			if len(f.Controls) > 0 {
				controls = slices.Concat(controls, f.Controls)
				slices.Sort(controls)
				controls = slices.Compact(controls)
			}
		}
		f.Controls = controls
		if places != nil {
			places.locate(f)
		}
	}
	return found, nil
}

// declaredBy returns a function that tells the collector's rules from others.
func declaredBy(c Collector) func(rule string) bool {
	exact := map[string]bool{}
	var prefixes []string
	for _, r := range c.Rules() {
		if prefix, ok := strings.CutSuffix(r, "*"); ok {
			prefixes = append(prefixes, prefix)
		} else {
			exact[r] = true
		}
	}
	return func(rule string) bool {
		return exact[rule] || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(rule, p) })
	}
}
