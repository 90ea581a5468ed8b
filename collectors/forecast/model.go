package forecast

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Outcome is what a drain would come to.
type Outcome string

// The outcomes, worst first.
const (
	Blocks     Outcome = "blocks"            // an eviction is refused, and goes on being refused
	Unplaced   Outcome = "cannot reschedule" // a pod finds no node
	Violates   Outcome = "violates the spread"
	Unknown    Outcome = "unknown" // the model cannot tell
	Drains     Outcome = "drains"
	maxReasons         = 20 // of one drain that are said
)

// Outcomes lists the outcomes, worst first.
func Outcomes() []Outcome { return []Outcome{Blocks, Unplaced, Violates, Unknown, Drains} }

// Forecast is what draining Nodes would come to: all of them cordoned first, then
// their pods evicted in any order, as kubectl drain does with --ignore-daemonsets and
// --delete-emptydir-data and without --force.
type Forecast struct {
	Nodes   []string `json:"nodes"`
	Outcome Outcome  `json:"outcome"`
	// Pods is how many would be evicted.
	Pods int `json:"pods"`
	// Reasons say why it is not Drains, worst first; More is how many were left out.
	Reasons []Reason `json:"reasons"`
	More    int      `json:"more,omitempty"`
	// Notes are what a drain asks for or loses without failing.
	Notes []string `json:"notes,omitempty"`
}

// Why is the reasons in one line; empty where it drains.
func (f *Forecast) Why() string {
	var list []string
	for _, r := range f.Reasons {
		list = append(list, r.String())
	}
	if f.More > 0 {
		list = append(list, fmt.Sprintf("and %d more", f.More))
	}
	return strings.Join(list, "; ")
}

// Reason is one thing that stands in the way of a drain.
type Reason struct {
	Outcome Outcome `json:"outcome"`
	Pod     string  `json:"pod,omitempty"`    // namespace/name
	Budget  string  `json:"budget,omitempty"` // namespace/name of the PodDisruptionBudget
	Message string  `json:"message"`
}

func (r Reason) String() string {
	switch {
	case r.Budget != "":
		return "PodDisruptionBudget " + r.Budget + " " + r.Message
	case r.Pod != "":
		return "pod " + r.Pod + " " + r.Message
	}
	return r.Message
}

// drain is one drain that is thought through.
type drain struct {
	*model
	nodes map[int]bool // drained
	moved []int        // pods that are evicted, by index
	// rivals are the pods that may take a place besides: those that wait for one.
	rivals  []int
	reasons []Reason
	notes   map[string]bool
	doubt   map[int]bool // pods of which it is not known what they ask for
}

// Drain says what draining the named nodes would come to. It says Drains only
// where that follows whatever the scheduler chooses among the nodes that fit.
func (s *Snapshot) Drain(nodes ...string) Forecast { return newModel(s).drain(nodes) }

func (m *model) drain(names []string) Forecast {
	d := &drain{model: m, nodes: map[int]bool{}, notes: map[string]bool{}, doubt: map[int]bool{}}
	for _, name := range names {
		i, ok := m.node[name]
		if !ok {
			d.add(Reason{Outcome: Unknown, Message: "node " + name + " is not in the snapshot"})
			continue
		}
		d.nodes[i] = true
	}
	for _, gap := range m.s.Gaps {
		d.add(Reason{Outcome: Unknown, Message: gap})
	}
	for i := range m.s.Pods {
		p := &m.s.Pods[i]
		at, placed := m.node[p.Node]
		switch {
		case p.Node == "" && !p.Terminating:
			d.rivals = append(d.rivals, i)
		case placed && d.nodes[at] && !p.Mirror:
			d.evict(i, p)
		}
	}
	d.missing()
	d.budgets()
	d.place()
	return d.forecast(names)
}

// missing are pods that controllers want and that are not there: they take places
// once they are made. Those of a workload that has pods are like these.
func (d *drain) missing() {
	for i := range d.s.Workloads {
		w := &d.s.Workloads[i]
		lack := int(w.Replicas) - d.count[w.UID]
		if w.Kind == "DaemonSet" || lack <= 0 {
			continue
		}
		like := slices.IndexFunc(d.s.Pods, func(p Pod) bool { return p.OwnerUID == w.UID })
		if like < 0 || len(d.rivals)+lack > maxPods {
			d.add(Reason{Outcome: Unknown, Message: fmt.Sprintf("%s in %s wants %d pods that are not there: what they will take is not known", w.Top, w.Namespace, lack)})
			continue
		}
		d.rivals = append(d.rivals, slices.Repeat([]int{like}, lack)...)
	}
}

func (d *drain) add(r Reason) {
	if !slices.Contains(d.reasons, r) {
		d.reasons = append(d.reasons, r)
	}
}

func (d *drain) forecast(names []string) Forecast {
	rank := func(r Reason) int { return slices.Index(Outcomes(), r.Outcome) }
	slices.SortStableFunc(d.reasons, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Budget, b.Budget), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Message, b.Message))
	})
	f := Forecast{Nodes: slices.Clone(names), Outcome: Drains, Pods: len(d.moved), Reasons: []Reason{}, Notes: slices.Sorted(maps.Keys(d.notes))}
	slices.Sort(f.Nodes)
	if len(d.reasons) > 0 {
		f.Outcome = d.reasons[0].Outcome
		shown := min(len(d.reasons), maxReasons)
		f.Reasons, f.More = d.reasons[:shown], len(d.reasons)-shown
	}
	return f
}

// evict asks whether a pod of a drained node can be evicted, and whether one like
// it is made again.
func (d *drain) evict(i int, p *Pod) {
	w := d.workload[p.OwnerUID]
	if p.OwnerKind == "DaemonSet" {
		if w == nil {
			d.add(Reason{Blocks, p.Ref(), "", "belongs to a DaemonSet that is gone: kubectl drain refuses it without --force"})
		}
		return
	}
	d.moved = append(d.moved, i)
	say := func(o Outcome, format string, args ...any) {
		d.add(Reason{o, p.Ref(), "", fmt.Sprintf(format, args...)})
		d.doubt[i] = d.doubt[i] || o == Unknown
	}
	shape := &d.s.Shapes[p.Shape]
	if shape.EmptyDir {
		d.notes["pod "+p.Ref()+" loses an emptyDir: kubectl drain asks for --delete-emptydir-data"] = true
	}
	if p.OwnerUID == "" {
		say(Blocks, "has no controller: kubectl drain refuses it without --force, and nothing makes it again")
		return
	}
	if p.Terminating {
		say(Unknown, "is being deleted already: when that ends is not known")
	} else if !p.Ready {
		say(Unknown, "is not Ready: whether one that replaces it becomes so is not known")
	}
	switch {
	case w == nil:
		say(Unknown, "belongs to a %s: whether that makes it again is not known", p.OwnerKind)
	case w.Unsettled != "":
		say(Unknown, "belongs to %s, which %s", w.Top, w.Unsettled)
	case int(w.Replicas) != d.count[w.UID]:
		say(Unknown, "belongs to %s, which wants %d pods and has %d", w.Top, w.Replicas, d.count[w.UID])
	case d.unready[w.UID] > 0:
		say(Unknown, "belongs to %s, of which %d pods are not Ready", w.Top, d.unready[w.UID])
	case !sameLabels(w.Labels, p.Labels):
		say(Unknown, "has other labels than the pod template of %s", w.Top)
	}
	if shape.Scheduler != "" {
		say(Unknown, "is placed by the scheduler %s, which is not known", shape.Scheduler)
	}
	for _, u := range shape.Unknown {
		say(Unknown, "%s", u)
	}
	if tolerates(shape.Tolerations, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}) {
		say(Unknown, "tolerates that a node is cordoned: the one that replaces it may run on the drained node again")
	}
	for _, v := range p.Volumes {
		if v.Unknown != "" {
			say(Unknown, "claims %s: %s", v.Claim, v.Unknown)
		}
	}
	ns := d.namespace[p.Namespace]
	if ns.Refuses != "" {
		say(Unknown, "may not be made again: %s", ns.Refuses)
	}
	for i := range d.hooks {
		if h := &d.hooks[i]; h.asked(ns, p) {
			if ok, but := d.admits(h, p); !ok {
				say(Unknown, "is up to the admission webhook %s (%s)%s", h.Name, h.Resource, but)
			}
		}
	}
}

// admits reports whether a webhook lets a pod through that is like p. One that was
// there when p was made has let p through, and p is what it made of it: it does the
// same with the next as long as somebody answers for it. Evictions it may judge
// otherwise each time.
func (d *drain) admits(h *hook, p *Pod) (ok bool, but string) {
	switch {
	case h.Resource != "pods" || h.Since.IsZero() || len(h.AnsweredOn) == 0:
		return false, ""
	case p.Made.Before(h.Since):
		return false, ", which was set up after the pod was made"
	}
	for _, name := range h.AnsweredOn {
		if i, ok := d.node[name]; ok && !d.nodes[i] && d.s.Nodes[i].Ready {
			return true, ""
		}
	}
	return false, ", for which only pods on drained nodes answer"
}

// added are the labels that controllers, and the API server when a pod is bound,
// give to pods besides those of the template.
var added = append([]string{"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"}, placeLabels...)

// placeLabels say where a pod runs: the pod that replaces it has others.
var placeLabels = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// byPlace reports whether a selector asks where pods run.
func byPlace(s *metav1.LabelSelector) bool {
	if s == nil {
		return false
	}
	return slices.ContainsFunc(placeLabels, func(key string) bool {
		_, ok := s.MatchLabels[key]
		return ok || slices.ContainsFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return r.Key == key })
	})
}

func sameLabels(template, pod map[string]string) bool {
	without := func(m map[string]string) map[string]string {
		m = maps.Clone(m)
		for _, k := range added {
			delete(m, k)
		}
		return m
	}
	return maps.Equal(without(template), without(pod))
}

// budgets asks the PodDisruptionBudgets. One that allows a disruption now goes on
// doing so: each pod is replaced by one that becomes Ready before the next is
// needed. One that allows none now gets no pod more by the drain.
func (d *drain) budgets() {
	asked := map[int]int{} // budget → one of its pods
	for _, i := range d.moved {
		p := &d.s.Pods[i]
		if p.Pending || p.Terminating {
			continue // evicted whatever budgets say
		}
		mine := d.budgetsOf(p)
		if len(mine) > 1 {
			var names []string
			for _, b := range mine {
				names = append(names, d.s.Budgets[b].Name)
			}
			d.add(Reason{Blocks, p.Ref(), "", "is selected by " + fmt.Sprint(len(mine)) + " PodDisruptionBudgets (" + strings.Join(names, ", ") + "): the eviction API refuses such pods"})
			continue
		}
		for _, b := range mine {
			asked[b] = i
		}
	}
	for _, i := range slices.Sorted(maps.Keys(asked)) {
		b := &d.s.Budgets[i]
		if r := b.blocked(d.healthy[i], d.s.Pods[asked[i]].Ref()); r.Message != "" {
			d.add(r)
		}
	}
}

// blocked says why the budget refuses, or may refuse, the eviction of the pod.
func (b *Budget) blocked(healthy int32, pod string) Reason {
	r := Reason{Outcome: Blocks, Pod: pod, Budget: b.Ref()}
	have := fmt.Sprintf("(%s; %d of %d pods healthy, %d needed)", b.Says, b.Healthy, b.Expected, b.Desired)
	switch {
	case b.Stale != "":
		r.Outcome, r.Message = Unknown, "tells nothing: "+b.Stale
	case b.Desired >= b.Expected && b.Allowed < 1:
		r.Message = "allows no disruption: there is no replica to spare " + have
	case b.Healthy < b.Expected && b.Allowed < 1:
		r.Message = "allows no disruption now: pods are missing or not Ready " + have
	case b.Allowed < 1:
		r.Message = "allows no disruption now " + have
	case healthy-b.Desired < 1:
		r.Outcome, r.Message = Unknown, fmt.Sprintf("has a status that the pods do not bear out: %d are Ready %s", healthy, have)
	}
	return r
}

// model is a snapshot, prepared for questions.
type model struct {
	s         *Snapshot
	node      map[string]int
	workload  map[string]*Workload // by UID
	namespace map[string]*Namespace
	count     map[string]int    // live pods by owner
	unready   map[string]int    // of them, those that are not Ready
	healthy   []int32           // Ready pods of each budget
	selectors []labels.Selector // of budgets
	hooks     []hook
	shapes    []*shape
	free      []map[string]int64 // what pods leave of each node
	onNode    [][]int            // live pods of each node
}

type hook struct {
	*Webhook
	namespaces, objects labels.Selector
}

func (h *hook) asked(ns *Namespace, p *Pod) bool {
	return h.namespaces.Matches(labels.Set(ns.Labels)) && (h.Resource != "pods" || h.objects.Matches(labels.Set(p.Labels)))
}

func newModel(s *Snapshot) *model {
	m := &model{
		s: s, node: map[string]int{}, workload: map[string]*Workload{}, namespace: map[string]*Namespace{}, count: map[string]int{}, unready: map[string]int{},
		onNode: make([][]int, len(s.Nodes)), healthy: make([]int32, len(s.Budgets)),
	}
	for i := range s.Nodes {
		m.node[s.Nodes[i].Name] = i
		m.free = append(m.free, maps.Clone(s.Nodes[i].Allocatable))
	}
	for i := range s.Workloads {
		m.workload[s.Workloads[i].UID] = &s.Workloads[i]
	}
	for i := range s.Namespaces {
		m.namespace[s.Namespaces[i].Name] = &s.Namespaces[i]
	}
	for i := range s.Shapes {
		m.shapes = append(m.shapes, newShape(&s.Shapes[i]))
	}
	for i := range s.Budgets {
		m.selectors = append(m.selectors, selector(s.Budgets[i].Selector))
	}
	for i := range s.Webhooks {
		h := &s.Webhooks[i]
		m.hooks = append(m.hooks, hook{h, everything(h.Namespaces), everything(h.Objects)})
	}
	for i := range s.Pods {
		p := &s.Pods[i]
		if m.namespace[p.Namespace] == nil {
			m.namespace[p.Namespace] = &Namespace{Name: p.Namespace}
		}
		if at, ok := m.node[p.Node]; ok {
			m.onNode[at] = append(m.onNode[at], i)
			if m.free[at] != nil {
				for r, n := range m.asks(p) {
					m.free[at][r] -= n
				}
			}
		}
		if p.Terminating {
			continue
		}
		m.count[p.OwnerUID]++
		if !p.Ready {
			m.unready[p.OwnerUID]++
			continue
		}
		for _, b := range m.budgetsOf(p) {
			m.healthy[b]++
		}
	}
	return m
}

// budgetsOf are the budgets that select a pod.
func (m *model) budgetsOf(p *Pod) []int {
	var out []int
	for b := range m.s.Budgets {
		if m.s.Budgets[b].Namespace == p.Namespace && m.selectors[b].Matches(labels.Set(p.Labels)) {
			out = append(out, b)
		}
	}
	return out
}
