package admission

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/evidence"
)

const (
	// exemptionPrefix begins the names of match conditions that are exemptions.
	exemptionPrefix = "exempt-"
	// exemptionsAnnotation of a policy declares its exemptions, a JSON list.
	exemptionsAnnotation = "helmproof.companyos.github.io/exemptions"
	// longExemption is how far ahead an exemption may end without a warning.
	longExemption = 366 * 24 * time.Hour
)

// Exemption is what a policy does not judge, as charts/platform declares it in an
// annotation of the policy. All that it names has to hold together.
type Exemption struct {
	Name    string `json:"name"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"` // the last day, 2006-01-02, in UTC
	// ServiceAccount makes the request: "namespace/name".
	ServiceAccount string            `json:"serviceAccount,omitempty"`
	Namespaces     []string          `json:"namespaces,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"` // of the object
	Names          []string          `json:"names,omitempty"`  // of the object; one that ends in * is how they begin
	// Rules are the policies that it is for, without helmproof-; all if empty.
	Rules []string `json:"rules,omitempty"`
}

// Condition is the match condition by which a policy leaves out what is exempt. It is
// what templates/policies.yaml of charts/platform writes: a condition that is another
// exempts something else than is declared.
func (e *Exemption) Condition() string {
	var parts []string
	if e.ServiceAccount != "" {
		parts = append(parts, fmt.Sprintf("request.userInfo.?username.orValue('') == 'system:serviceaccount:%s'", strings.ReplaceAll(e.ServiceAccount, "/", ":")))
	}
	if len(e.Namespaces) > 0 {
		parts = append(parts, fmt.Sprintf("request.?namespace.orValue('') in ['%s']", strings.Join(e.Namespaces, "', '")))
	}
	for _, key := range slices.Sorted(maps.Keys(e.Labels)) {
		parts = append(parts, fmt.Sprintf("dyn(object).metadata.?labels[?'%s'].orValue('') == '%s'", key, e.Labels[key]))
	}
	var names []string
	for _, name := range e.Names {
		if start, ok := strings.CutSuffix(name, "*"); ok {
			names = append(names, fmt.Sprintf("dyn(object).metadata.name.startsWith('%s')", start))
		} else {
			names = append(names, fmt.Sprintf("dyn(object).metadata.name == '%s'", name))
		}
	}
	if len(names) > 0 {
		parts = append(parts, "("+strings.Join(names, " || ")+")")
	}
	return "!(" + strings.Join(parts, " && ") + ")"
}

// what says who or what is exempt.
func (e *Exemption) what() string {
	var parts []string
	if len(e.Names) > 0 {
		parts = append(parts, "called "+strings.Join(e.Names, " or "))
	}
	for _, key := range slices.Sorted(maps.Keys(e.Labels)) {
		parts = append(parts, "labelled "+key+"="+e.Labels[key])
	}
	if len(e.Namespaces) > 0 {
		parts = append(parts, "in namespace "+strings.Join(e.Namespaces, " or "))
	}
	if e.ServiceAccount != "" {
		parts = append(parts, "made by service account "+e.ServiceAccount)
	}
	return "what is " + strings.Join(parts, ", ")
}

// problem says what is wrong with an exemption at a time; empty: nothing.
func (e *Exemption) problem(at time.Time) string {
	last, err := time.Parse(time.DateOnly, e.Expires)
	switch {
	case e.quoted():
		return "what it names has quotes, by which its condition can be another"
	case e.ServiceAccount == "" && len(e.Labels)+len(e.Names) == 0:
		return "it names neither a service account nor labels nor names"
	case e.ServiceAccount == "" && len(e.Namespaces) == 0:
		return "anybody can write a label or choose a name: it says neither who makes the objects nor in which namespaces"
	case evidence.Visible(e.Reason) < evidence.MinReason:
		return "it has no reason"
	case e.Expires == "":
		return "it does not expire"
	case err != nil:
		return fmt.Sprintf("its expiry %q is no date like 2006-01-02", e.Expires)
	case !at.Before(last.AddDate(0, 0, 1)):
		return "it expired on " + e.Expires
	}
	return ""
}

// covers reports whether the exemption is for an object, as far as objects tell: of who
// makes it they only tell that somebody does where something controls it.
func (e *Exemption) covers(o *LiveObject) bool {
	u := unstructured.Unstructured{Object: o.Object}
	if len(e.Namespaces) > 0 && !slices.Contains(e.Namespaces, u.GetNamespace()) {
		return false
	}
	for key, value := range e.Labels {
		if u.GetLabels()[key] != value {
			return false
		}
	}
	if len(e.Names) > 0 {
		return slices.ContainsFunc(e.Names, func(name string) bool {
			start, many := strings.CutSuffix(name, "*")
			return u.GetName() == name || many && strings.HasPrefix(u.GetName(), start)
		})
	}
	return len(e.Labels) > 0 || e.ServiceAccount != "" && o.Owner != nil
}

// exemptions are those that policies declare and have, by policy without helmproof-.
// What a policy has and declares otherwise exempts nobody knows what: not these.
func (p *Policies) exemptions() map[string][]Exemption {
	out := map[string][]Exemption{}
	for i := range p.Policies {
		var declared []Exemption
		if err := json.Unmarshal([]byte(cmp.Or(p.Policies[i].Declared, "[]")), &declared); err != nil {
			continue // which ADM-7 fails
		}
		name := strings.TrimPrefix(p.Policies[i].Name, "helmproof-")
		for _, e := range declared {
			if slices.Contains(p.Policies[i].Exempt, Condition{e.Name, e.Condition()}) && !e.quoted() {
				out[name] = append(out[name], e)
			}
		}
		// What is for whoever makes an object is known to hold; it comes first.
		slices.SortStableFunc(out[name], func(a, b Exemption) int {
			return cmp.Compare(min(1, len(a.ServiceAccount)), min(1, len(b.ServiceAccount)))
		})
	}
	return out
}

// allExemptions are those of all policies.
func (p *Policies) allExemptions() []Exemption {
	byRule := p.exemptions()
	var out []Exemption
	for _, name := range slices.Sorted(maps.Keys(byRule)) {
		out = append(out, byRule[name]...)
	}
	return out
}

// keepLabels copies the labels that exemptions name.
func keepLabels(into map[string]any, o *unstructured.Unstructured, exemptions []Exemption) {
	kept := map[string]any{}
	for i := range exemptions {
		for key := range exemptions[i].Labels {
			if value, ok := o.GetLabels()[key]; ok {
				kept[key] = value
			}
		}
	}
	if metadata, ok := into["metadata"].(map[string]any); ok && len(kept) > 0 {
		metadata["labels"] = kept
	}
}

// coverage says which of the exemptions are for an object.
func coverage(o *LiveObject, exemptions []Exemption) []bool {
	out := make([]bool, len(exemptions))
	for i := range exemptions {
		out[i] = exemptions[i].covers(o)
	}
	return out
}

// quoted reports whether a term has quotes.
func (e *Exemption) quoted() bool {
	terms := slices.Concat([]string{e.ServiceAccount}, e.Namespaces, slices.Collect(maps.Keys(e.Labels)), slices.Collect(maps.Values(e.Labels)), e.Names)
	return slices.ContainsFunc(terms, func(s string) bool { return strings.ContainsAny(s, `'"\`+"`") })
}

// exempted splits a policy's match conditions into those that are exemptions and the rest.
func exempted(conditions []admissionv1.MatchCondition) (exempt []Condition, rest []admissionv1.MatchCondition) {
	for _, c := range conditions {
		if name, ok := strings.CutPrefix(c.Name, exemptionPrefix); ok {
			exempt = append(exempt, Condition{name, strings.TrimSpace(c.Expression)})
		} else {
			rest = append(rest, c)
		}
	}
	return exempt, rest
}

// Condition is a match condition of a policy that exempts something from it.
type Condition struct {
	Name       string `json:"name"` // without exempt-
	Expression string `json:"expression"`
}

// exemptions decides ADM-7: what policies do not judge is declared, for a reason and a time.
func (d *derivation) exemptions() error {
	var sealed Policies
	if err := d.Parse(policiesFile, &sealed); err != nil {
		return err
	}
	cluster := evidence.Target{Kind: "Cluster", Name: d.rel.Cluster}
	unread := sealed.Error
	type key struct{ name, problem, what, reason, expires string }
	policies := map[key][]string{}
	var long []key
	for i := range sealed.Policies {
		p := &sealed.Policies[i]
		unread = cmp.Or(unread, p.Error)
		var declared []Exemption
		err := json.Unmarshal([]byte(cmp.Or(p.Declared, "[]")), &declared)
		for _, c := range p.Exempt {
			k := key{name: c.Name}
			at := slices.IndexFunc(declared, func(e Exemption) bool { return e.Name == c.Name })
			switch {
			case err != nil:
				k.problem = "the annotation " + exemptionsAnnotation + " cannot be read: " + err.Error()
			case at < 0:
				k.problem = "it is declared nowhere: no reason, no expiry"
			default:
				e := &declared[at]
				k.what, k.reason, k.expires, k.problem = e.what(), e.Reason, e.Expires, e.problem(sealed.At)
				if c.Expression != e.Condition() {
					k.problem = "it exempts something else than it declares: " + c.Expression
				}
				if last, err := time.Parse(time.DateOnly, e.Expires); err == nil && k.problem == "" && last.Sub(sealed.At) > longExemption && !slices.Contains(long, k) {
					long = append(long, k)
				}
			}
			policies[k] = append(policies[k], strings.TrimPrefix(p.Name, "helmproof-"))
		}
	}
	const fix = "Remove the exemption from policies.exemptions of charts/platform, or give it a reason and a day on which it ends and is looked at again."
	say := func(t evidence.Target, outcome evidence.Outcome, message string) {
		d.Add(RuleExemption, t, outcome, message, fix, d.Own(policiesFile, "/policies"))
	}
	byName := func(a, b key) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.problem, b.problem), cmp.Compare(a.what, b.what))
	}
	for _, k := range slices.SortedFunc(maps.Keys(policies), byName) {
		t := evidence.Target{Kind: "Exemption", Name: k.name}
		from := fmt.Sprintf(" from all %d policies", len(sealed.Policies))
		if n := policies[k]; len(n) < len(sealed.Policies) {
			from = " from " + strings.Join(n, ", ")
		}
		message := fmt.Sprintf("exempts %s%s until %s: %s", k.what, from, k.expires, k.reason)
		switch {
		case k.problem != "" && k.what == "":
			say(t, evidence.OutcomeFail, "an exemption"+from+": "+k.problem)
		case k.problem != "":
			say(t, evidence.OutcomeFail, k.problem+"; "+message)
		case slices.Contains(long, k):
			say(t, evidence.OutcomeWarn, "ends more than a year from now; "+message)
		default:
			say(t, evidence.OutcomePass, message)
		}
	}
	switch {
	case sealed.At.IsZero():
		say(cluster, evidence.OutcomeNotChecked, "exemptions were not looked at: an earlier version collected this")
	case unread != "":
		say(cluster, evidence.OutcomeNotChecked, "the cluster's policies could not be read: "+unread)
	case len(policies) == 0:
		say(cluster, evidence.OutcomePass, "the policies exempt nothing")
	}
	return nil
}
