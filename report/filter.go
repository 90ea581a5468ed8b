package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// Filter is what the page lets its reader hide.
type Filter struct {
	Severities, Groups []Choice
}

// Choice is one box to tick: ID is that of the box, and what it shows has the class.
type Choice struct {
	ID, Label string
	N         int // findings
}

// maxGroups is how many groups have boxes of their own; what lies beyond is always shown.
const maxGroups = 40

// filterRules hide on screen what a box that is not ticked stands for. A browser that
// does not know :has() shows all.
var filterRules = func() string {
	var b strings.Builder
	hide := func(box, class string) {
		fmt.Fprintf(&b, "body:has(#show-%s:not(:checked)) .%s{display:none}\n", box, class)
	}
	b.WriteString("@media screen{\n")
	for _, s := range append(slices.Clone(severities), evidence.SeverityInfo, "unknown") {
		hide(string(s), "s-"+string(s))
	}
	for i := range maxGroups {
		hide(fmt.Sprintf("g%d", i), fmt.Sprintf("g%d", i))
	}
	b.WriteString("body:has(.filter input:not(:checked)) .hidden-note{display:block}\n}\n")
	return b.String()
}()

// newFilter offers what the findings have more than one of.
func newFilter(d *Document) Filter {
	var f Filter
	n, groups := map[evidence.Severity]int{}, map[string]int{}
	for _, s := range d.Sections {
		for _, v := range s.Findings {
			n[v.Severity]++
		}
		groups[s.Group] += len(s.Findings)
	}
	for _, s := range append([]evidence.Severity{"unknown"}, append(slices.Clone(severities), evidence.SeverityInfo)...) {
		if n[s] > 0 {
			f.Severities = append(f.Severities, Choice{"show-" + string(s), string(s), n[s]})
		}
	}
	for i, g := range d.Groups {
		if groups[g.ID] > 0 && i < maxGroups {
			f.Groups = append(f.Groups, Choice{fmt.Sprintf("show-g%d", i), g.Title, groups[g.ID]})
		}
	}
	if len(f.Severities) < 2 {
		f.Severities = nil
	}
	if len(f.Groups) < 2 {
		f.Groups = nil
	}
	return f
}

// groupClass is the class of a section's group.
func groupClass(d *Document, s Section) string {
	i := slices.IndexFunc(d.Groups, func(g Group) bool { return g.ID == s.Group })
	if i < 0 || i >= maxGroups {
		return "gx"
	}
	return fmt.Sprintf("g%d", i)
}
