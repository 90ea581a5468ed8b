package drill

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// Healthy reports whether the pod counts for a PodDisruptionBudget, as the
// disruption controller has it.
func (p *Pod) Healthy() bool {
	return p.Ready && !p.Deleting && !p.Gone && p.Phase != "Failed" && p.Phase != "Succeeded"
}

// namespaceOf is the namespace of a name "namespace/name".
func namespaceOf(name string) string {
	ns, _, _ := strings.Cut(name, "/")
	return ns
}

// watched is a pod as it was last seen.
type watched struct {
	name    string
	labels  map[string]string
	healthy bool
}

// guarded is a budget as it was last seen, with the healthy pods that it selects.
type guarded struct {
	Budget
	selector labels.Selector
	healthy  map[string]bool // by UID
	counted  map[string]bool // pods whose loss was counted
	open     *Violation
}

// selectorOf is the budget's selector. One that is empty selects every pod of its
// namespace.
func selectorOf(b *Budget) (labels.Selector, error) {
	switch b.Expression {
	case "":
		return labels.SelectorFromSet(b.Selector), nil
	case "<none>":
		return labels.Everything(), nil
	}
	return labels.Parse(b.Expression)
}

// replay replays pods and budgets in the order in which they were seen.
type replay struct {
	pods     map[string]*watched
	budgets  map[string]*guarded
	sorted   map[string][]*guarded // by namespace, by name
	done     []*Violation
	problems []string
}

// violations lists where a PodDisruptionBudget was violated: a pod that it selects
// stopped being healthy, and without it fewer were healthy than the budget desired
// at that time. Each pod counts once for a budget.
func violations(events []Event, end time.Duration) ([]Violation, []string) {
	r := replay{pods: map[string]*watched{}, budgets: map[string]*guarded{}, sorted: map[string][]*guarded{}}
	for i := range events {
		switch e := &events[i]; {
		case e.Pod != nil:
			r.pod(e.At, e.Pod)
		case e.Budget != nil:
			r.budget(e.At, e.Budget)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.budgets)) {
		if v := r.budgets[name].open; v != nil {
			v.To = end
		}
	}
	slices.SortStableFunc(r.done, func(a, b *Violation) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Budget, b.Budget)) })
	out := []Violation{}
	for _, v := range r.done {
		out = append(out, *v)
	}
	return out, r.problems
}

func (r *replay) pod(at time.Duration, p *Pod) {
	w := r.pods[p.UID]
	if w == nil {
		w = &watched{name: p.Name}
		r.pods[p.UID] = w
	}
	was := w.healthy
	w.healthy = p.Healthy()
	if p.Labels != nil {
		w.labels = p.Labels
	}
	for _, g := range r.sorted[namespaceOf(p.Name)] {
		had := g.healthy[p.UID]
		g.count(p.UID, w)
		if had && was && !w.healthy {
			r.lost(at, g, p)
		}
		g.settle(at)
	}
	if p.Gone {
		delete(r.pods, p.UID)
	}
}

// count says whether the pod is one of the budget's healthy ones.
func (g *guarded) count(uid string, w *watched) {
	if w.healthy && g.selector.Matches(labels.Set(w.labels)) {
		g.healthy[uid] = true
	} else {
		delete(g.healthy, uid)
	}
}

// lost counts the loss of a pod that the budget selects.
func (r *replay) lost(at time.Duration, g *guarded, p *Pod) {
	if len(g.healthy) >= int(g.Desired) {
		return
	}
	if g.open == nil {
		g.open = &Violation{Budget: g.Name, From: at, Desired: g.Desired, Lowest: int32(len(g.healthy)), Pods: []string{}} //nolint:gosec // fewer than Desired
		r.done = append(r.done, g.open)
	}
	if !g.counted[p.UID] {
		g.counted[p.UID] = true
		g.open.Pods = append(g.open.Pods, p.Name)
	}
}

// settle ends a violation where as many pods are healthy as desired.
func (g *guarded) settle(at time.Duration) {
	if g.open == nil {
		return
	}
	n := int32(len(g.healthy)) //nolint:gosec // pods of one budget
	if n >= g.Desired {
		g.open.To, g.open = at, nil
		return
	}
	g.open.Lowest = min(g.open.Lowest, n)
}

func (r *replay) budget(at time.Duration, b *Budget) {
	g := r.budgets[b.Name]
	if b.Gone {
		if g == nil {
			return
		}
		if g.open != nil {
			g.open.To = at
		}
		r.problems = append(r.problems, fmt.Sprintf("PodDisruptionBudget %s was deleted at %s", b.Name, seconds(at)))
		delete(r.budgets, b.Name)
		ns := namespaceOf(b.Name)
		r.sorted[ns] = slices.DeleteFunc(r.sorted[ns], func(o *guarded) bool { return o == g })
		return
	}
	selector, err := selectorOf(b)
	if err != nil {
		r.problems = append(r.problems, fmt.Sprintf("PodDisruptionBudget %s: its selector %.100q is not understood", b.Name, b.Expression))
		selector = labels.Everything()
	}
	if g == nil {
		g = &guarded{counted: map[string]bool{}}
		r.budgets[b.Name] = g
		ns := namespaceOf(b.Name)
		at, _ := slices.BinarySearchFunc(r.sorted[ns], b.Name, func(o *guarded, name string) int { return cmp.Compare(o.Name, name) })
		r.sorted[ns] = slices.Insert(r.sorted[ns], at, g)
	}
	g.Budget, g.selector, g.healthy = *b, selector, map[string]bool{}
	for uid, w := range r.pods {
		if namespaceOf(w.name) == namespaceOf(b.Name) {
			g.count(uid, w)
		}
	}
	g.settle(at)
}

// Guarded lists, for each PodDisruptionBudget that was seen, the workloads of pods
// that it selects, "namespace/Kind/name", sorted.
func (r *Record) Guarded() map[string][]string {
	type pod struct {
		owner  string
		labels labels.Set
	}
	var pods []pod
	selectors := map[string]labels.Selector{}
	for i := range r.Events {
		switch e := &r.Events[i]; {
		case e.Pod != nil && e.Pod.Owner != "" && e.Pod.Labels != nil:
			pods = append(pods, pod{namespaceOf(e.Pod.Name) + "/" + e.Pod.Owner, e.Pod.Labels})
		case e.Budget != nil && !e.Budget.Gone:
			if selector, err := selectorOf(e.Budget); err == nil {
				selectors[e.Budget.Name] = selector
			}
		}
	}
	out := map[string][]string{}
	for name, selector := range selectors {
		out[name] = []string{}
		for _, p := range pods {
			if namespaceOf(p.owner) == namespaceOf(name) && selector.Matches(p.labels) && !slices.Contains(out[name], p.owner) {
				out[name] = append(out[name], p.owner)
			}
		}
		slices.Sort(out[name])
	}
	return out
}
