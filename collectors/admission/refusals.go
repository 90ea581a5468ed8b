package admission

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// refusal is what policies say against one owner.
type refusal struct {
	target   evidence.Target
	count    int      // of the objects that they say it of
	policies []string // that would refuse it
	first    string   // message of these
	held     bool     // policies deny in its namespace
	object   int      // that says so
	unsure   bool     // a policy could not be evaluated
	exempted []exempt // from others
}

// exempt is an exemption by which a policy does not refuse an object that breaks it.
type exempt struct {
	Exemption
	policies []string
}

// refused decides ADM-8: what would be refused if it were written again.
func (d *derivation) refused() error {
	var live LiveObjects
	if err := d.Parse(objectsFile, &live); errors.Is(err, fs.ErrNotExist) {
		return nil // of an earlier version
	} else if err != nil {
		return err
	}
	var sealed Policies
	if err := d.Parse(policiesFile, &sealed); err != nil {
		return err
	}
	raw, err := d.Read(collectors.PoliciesFile)
	if err != nil {
		return err
	}
	objects := make([]manifest.Object, 0, len(live.Objects)+len(live.Namespaces))
	for i := range live.Objects {
		objects = append(objects, manifest.Object{Unstructured: unstructured.Unstructured{Object: live.Objects[i].Object}})
	}
	for _, name := range slices.Sorted(maps.Keys(live.Namespaces)) {
		ns := unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
		ns.SetLabels(live.Namespaces[name])
		objects = append(objects, manifest.Object{Unstructured: ns})
	}
	said, err := policy.Refusals(raw, objects)
	if err != nil {
		return err
	}
	byRule := sealed.exemptions()
	owners, refusals := map[evidence.Target]bool{}, map[evidence.Target]*refusal{}
	for i := range live.Objects {
		t := objects[i].Target("")
		if o := live.Objects[i].Owner; o != nil {
			t = evidence.Target{APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, Namespace: t.Namespace}
		}
		owners[t] = true
		if len(said[i]) == 0 {
			continue
		}
		r := refusals[t]
		if r == nil {
			r = &refusal{target: t, held: denies(&sealed, t.Namespace, live.Namespaces[t.Namespace]), object: i}
			refusals[t] = r
		}
		r.count += live.Objects[i].Count
		for _, x := range said[i] {
			r.add(x, &live.Objects[i], byRule[x.Policy])
		}
	}
	const (
		fix       = "Correct the object, or exempt what you cannot (policies.exemptions of charts/platform), before policies deny here or the object is changed next."
		fixExempt = "See that the exemption is still needed and lets in nothing else, and correct the object before it ends."
	)
	list := slices.SortedFunc(maps.Values(refusals), func(a, b *refusal) int {
		return cmp.Or(cmp.Compare(a.target.Namespace, b.target.Namespace), cmp.Compare(a.target.Kind, b.target.Kind), cmp.Compare(a.target.Name, b.target.Name), cmp.Compare(a.target.APIVersion, b.target.APIVersion))
	})
	listed, left := shown(list)
	for _, r := range listed {
		advice := fix
		if len(r.policies) == 0 {
			advice = fixExempt
		}
		d.Add(RuleRefused, r.target, r.outcome(&sealed), r.message(&sealed), advice, d.Own(objectsFile, fmt.Sprintf("/objects/%d", r.object)))
	}
	d.refusedSummary(&live, len(owners), list, notListed(left, sealed.At))
	return nil
}

// shown are the first of what would be refused, and the first of what is exempted; the
// others are left out.
func shown(list []*refusal) (listed, left []*refusal) {
	refused, exempted := 0, 0
	for _, r := range list {
		n := &refused
		if len(r.policies) == 0 {
			n = &exempted
		}
		if *n++; *n <= maxRefused {
			listed = append(listed, r)
		} else {
			left = append(left, r)
		}
	}
	return listed, left
}

// unlisted is what the summary says of the owners that are not listed.
type unlisted struct {
	exempted int      // owners that nothing else would refuse
	broken   int      // owners that an exemption covers with which something is wrong
	problems []string // of these exemptions
}

func notListed(left []*refusal, at time.Time) unlisted {
	var out unlisted
	for _, r := range left {
		if len(r.policies) == 0 {
			out.exempted++
		}
		broken := false
		for _, e := range r.exempted {
			if problem := e.problem(at); problem != "" {
				broken = true
				if text := e.Name + " (" + problem + ")"; !slices.Contains(out.problems, text) {
					out.problems = append(out.problems, text)
				}
			}
		}
		if broken {
			out.broken++
		}
	}
	slices.Sort(out.problems)
	return out
}

// add notes what a policy says of an object of the owner: a refusal, but for the exemptions
// from that policy.
func (r *refusal) add(x policy.Refusal, o *LiveObject, exemptions []Exemption) {
	if at := slices.IndexFunc(exemptions, func(e Exemption) bool { return e.covers(o) }); at >= 0 && !x.Undecided {
		e := exemptions[at]
		known := slices.IndexFunc(r.exempted, func(k exempt) bool { return k.Name == e.Name && k.Condition() == e.Condition() })
		if known < 0 {
			known, r.exempted = len(r.exempted), append(r.exempted, exempt{Exemption: e})
		}
		if of := &r.exempted[known]; !slices.Contains(of.policies, x.Policy) {
			of.policies = append(of.policies, x.Policy)
		}
		return
	}
	if len(r.policies) == 0 {
		r.first = x.Message
	}
	r.unsure = r.unsure || x.Undecided
	if !slices.Contains(r.policies, x.Policy) {
		r.policies = append(r.policies, x.Policy)
	}
}

// depends reports whether one of its exemptions is for a service account: an object
// does not tell who made it.
func (r *refusal) depends() bool {
	return slices.ContainsFunc(r.exempted, func(e exempt) bool { return e.ServiceAccount != "" })
}

func (r *refusal) outcome(at *Policies) evidence.Outcome {
	switch {
	case r.unsure:
		return evidence.OutcomeNotChecked
	case len(r.policies) == 0 && !r.depends() && !slices.ContainsFunc(r.exempted, func(e exempt) bool { return e.problem(at.At) != "" }):
		return evidence.OutcomePass
	}
	return evidence.OutcomeWarn
}

func (r *refusal) message(at *Policies) string {
	pods := ""
	if r.count > 1 {
		pods = fmt.Sprintf(" (%d pods or objects)", r.count)
	}
	var parts []string
	if len(r.policies) > 0 {
		when := "would be refused if policies denied in its namespace"
		if r.held {
			when = "runs on, but would be refused if it were made again"
		}
		parts = append(parts, fmt.Sprintf("%s%s, by %s: %s", when, pods, strings.Join(r.policies, ", "), r.first))
		pods = ""
	}
	for _, e := range r.exempted {
		text := fmt.Sprintf("exempted%s by %s from %s until %s: %s", pods, e.Name, strings.Join(e.policies, ", "), e.Expires, e.Reason)
		pods = ""
		if e.ServiceAccount != "" {
			text = fmt.Sprintf("if service account %s makes it (objects do not tell), %s", e.ServiceAccount, text)
		}
		if problem := e.problem(at.At); problem != "" {
			text += "; but " + problem
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// refusedSummary says how many there are, and what was not seen.
func (d *derivation) refusedSummary(live *LiveObjects, owners int, list []*refusal, left unlisted) {
	t := evidence.Target{Kind: "Cluster", Name: d.rel.Cluster}
	for _, resource := range slices.Sorted(maps.Keys(live.Errors)) {
		d.Add(RuleRefused, t, evidence.OutcomeNotChecked, resource+" could not be listed: "+live.Errors[resource],
			"Let helmproof's account list them (templates/rbac/admission.yaml), and collect again.", d.Own(objectsFile, "/errors"))
	}
	refused, exempted, dependent, byPolicy := 0, 0, 0, map[string]int{}
	for _, r := range list {
		switch {
		case len(r.policies) > 0:
			refused++
		case r.depends():
			dependent++
		default:
			exempted++
		}
		for _, p := range r.policies {
			byPolicy[p]++
		}
	}
	besides := ""
	if refused > maxRefused {
		besides = fmt.Sprintf("; the first %d of them are listed", maxRefused)
	}
	if exempted > 0 {
		besides += fmt.Sprintf("; exempted: %d", exempted)
	}
	if dependent > 0 {
		besides += fmt.Sprintf("; exempted if the service account makes them that their exemption names: %d", dependent)
	}
	if left.exempted > 0 {
		besides += fmt.Sprintf("; the first %d exempted are listed", maxRefused)
	}
	if left.broken > 0 {
		besides += fmt.Sprintf("; %d of those not listed are exempted by what is no good exemption: %s", left.broken, strings.Join(left.problems[:min(len(left.problems), 10)], ", "))
	}
	if refused == 0 {
		outcome, fix := evidence.OutcomePass, ""
		if dependent > 0 || left.broken > 0 {
			outcome = evidence.OutcomeWarn
		}
		if left.broken > 0 {
			fix = "Give these exemptions another end, or remove them and correct what they let in."
		}
		d.Add(RuleRefused, t, outcome, fmt.Sprintf("nothing of what was seen, %d owners, would be refused%s", owners, besides), fix, d.Own(objectsFile, ""))
		return
	}
	names := slices.SortedFunc(maps.Keys(byPolicy), func(a, b string) int { return cmp.Or(cmp.Compare(byPolicy[b], byPolicy[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, byPolicy[name])
	}
	d.Add(RuleRefused, t, evidence.OutcomeWarn, fmt.Sprintf("%d of %d owners would be refused: %s%s", refused, owners, strings.Join(names, ", "), besides),
		"See each of them, correct or exempt it, and only then let the policies deny.", d.Own(objectsFile, ""))
}

// denies reports whether a binding of an expected policy denies in a namespace.
func denies(sealed *Policies, namespace string, has map[string]string) bool {
	all := labels.Set{}
	maps.Copy(all, has)
	all[corev1.LabelMetadataName] = namespace
	for i := range sealed.Policies {
		for _, b := range sealed.Policies[i].Bindings {
			if !slices.Contains(b.Actions, "Deny") {
				continue
			}
			if b.Matches == nil || b.Matches.NamespaceSelector == nil {
				return true
			}
			if s, err := metav1.LabelSelectorAsSelector(b.Matches.NamespaceSelector); err == nil && s.Matches(all) {
				return true
			}
		}
	}
	return false
}
