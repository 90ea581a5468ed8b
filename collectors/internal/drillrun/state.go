package drillrun

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/companyos/helmproof/internal/drill"
)

// state is what was seen last of each object: an event is written where something
// that counts is another now. It does no I/O.
type state struct {
	home      map[string]bool // namespaces of the release, all pods of which count
	services  map[string]bool // of the release, namespace/name
	wanted    map[string]bool // workloads of the release, namespace/Kind/name
	pods      map[string]drill.Pod
	selectors map[string]labels.Selector // of budgets
	budgets   map[string]drill.Budget
	slices    map[string]*discoveryv1.EndpointSlice
	endpoints map[string]drill.Endpoints
	nodes     map[string]drill.Node
	workloads map[string]drill.Workload
}

func newState(s *Session) state {
	st := state{
		home: map[string]bool{s.Release.Namespace: true}, services: map[string]bool{}, wanted: map[string]bool{}, pods: map[string]drill.Pod{},
		selectors: map[string]labels.Selector{}, budgets: map[string]drill.Budget{}, slices: map[string]*discoveryv1.EndpointSlice{},
		endpoints: map[string]drill.Endpoints{}, nodes: map[string]drill.Node{}, workloads: map[string]drill.Workload{},
	}
	for _, n := range s.own("Service") {
		st.services[n.namespace+"/"+n.name] = true
	}
	for _, n := range s.own("Deployment", "StatefulSet") {
		st.wanted[n.namespace+"/"+n.kind+"/"+n.name], st.home[n.namespace] = true, true
	}
	return st
}

// whole reports whether all workloads of the release are rolled out and ready, by
// their status and by their pods: a status lags behind.
func (st *state) whole() bool {
	readyPods := map[string]int32{}
	for _, p := range st.pods {
		ns, _, _ := strings.Cut(p.Name, "/")
		kind, name, _ := strings.Cut(p.Owner, "/")
		owner := ns + "/" + kind + "/" + name
		if !st.wanted[owner] || p.Phase == string(corev1.PodSucceeded) || p.Phase == string(corev1.PodFailed) {
			continue
		}
		if p.Deleting || !p.Ready {
			return false
		}
		readyPods[owner]++
	}
	for name := range st.wanted {
		w, ok := st.workloads[name]
		if !ok || !rolledOut(w) || readyPods[name] != w.Want {
			return false
		}
	}
	return true
}

func (st *state) pod(o runtime.Object) []drill.Event {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return nil
	}
	k := key(p)
	was, known := st.pods[k]
	if !known && !st.counts(p) {
		return nil
	}
	var out []drill.Event
	if known && was.UID != string(p.UID) { // the same name again, and the end of the old one was not seen
		out, was = st.gonePod(k), drill.Pod{}
		known = false
	}
	now := podOf(p)
	st.pods[k] = now
	if known && same(was, now) {
		return out
	}
	if known && maps.Equal(was.Labels, now.Labels) {
		now.Labels = nil
	}
	if known {
		now.Created = nil
		now.Scheduled = news(was.Scheduled, now.Scheduled)
		now.Pulled = news(was.Pulled, now.Pulled)
		now.ReadyAt = news(was.ReadyAt, now.ReadyAt)
	}
	return append(out, drill.Event{Pod: &now})
}

// news is a time that was not known before.
func news(was, now *time.Time) *time.Time {
	if was != nil {
		return nil
	}
	return now
}

// same compares two states of one pod; of its times, whether they are known.
func same(a, b drill.Pod) bool {
	return a.Owner == b.Owner && a.Node == b.Node && a.Phase == b.Phase && a.Ready == b.Ready && a.Deleting == b.Deleting && a.Restarts == b.Restarts &&
		a.Reason == b.Reason && maps.Equal(a.Labels, b.Labels) &&
		(a.Scheduled == nil) == (b.Scheduled == nil) && (a.Pulled == nil) == (b.Pulled == nil) && (a.ReadyAt == nil) == (b.ReadyAt == nil)
}

// counts reports whether a pod is recorded: in the release's namespaces each that the
// drill did not make for itself, elsewhere those that a budget selects.
func (st *state) counts(p *corev1.Pod) bool {
	if st.home[p.Namespace] {
		return p.Labels[managedBy] != "helmproof"
	}
	for name, sel := range st.selectors {
		if ns, _, _ := strings.Cut(name, "/"); ns == p.Namespace && sel.Matches(labels.Set(p.Labels)) {
			return true
		}
	}
	return false
}

func (st *state) gonePod(k string) []drill.Event {
	p, ok := st.pods[k]
	if !ok {
		return nil
	}
	delete(st.pods, k)
	return []drill.Event{{Pod: &drill.Pod{Name: p.Name, UID: p.UID, Owner: p.Owner, Node: p.Node, Phase: p.Phase, Gone: true, Restarts: p.Restarts, Reason: p.Reason}}}
}

func podOf(p *corev1.Pod) drill.Pod {
	out := drill.Pod{
		Name: key(p), UID: string(p.UID), Owner: ownerOf(p), Node: p.Spec.NodeName, Labels: maps.Clone(p.Labels), Phase: string(p.Status.Phase),
		Ready: ready(p), Deleting: p.DeletionTimestamp != nil, Created: moment(p.CreationTimestamp),
	}
	if c := podCondition(p, corev1.PodScheduled); c != nil {
		if c.Status == corev1.ConditionTrue {
			out.Scheduled = moment(c.LastTransitionTime)
		} else {
			out.Reason = c.Reason
		}
	}
	if c := podCondition(p, corev1.PodReady); out.Ready {
		out.ReadyAt = moment(c.LastTransitionTime)
	}
	for i := range p.Status.ContainerStatuses {
		c := &p.Status.ContainerStatuses[i]
		out.Restarts += c.RestartCount
		for _, t := range []*metav1.Time{startOf(c.LastTerminationState), startOf(c.State)} {
			if t != nil && !t.IsZero() && (out.Pulled == nil || t.Time.Before(*out.Pulled)) {
				out.Pulled = moment(*t)
			}
		}
	}
	out.Reason = reason(p, out.Reason)
	return out
}

func startOf(s corev1.ContainerState) *metav1.Time {
	switch {
	case s.Running != nil:
		return &s.Running.StartedAt
	case s.Terminated != nil:
		return &s.Terminated.StartedAt
	}
	return nil
}

// reason says why containers wait, or ended, also before they were restarted.
func reason(p *corev1.Pod, before string) string {
	why := map[string]bool{before: true, p.Status.Reason: true}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			why[w.Reason] = true
		}
		for _, t := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
			if t != nil && t.Reason != "Completed" {
				why[t.Reason] = true
			}
		}
	}
	delete(why, "")
	return strings.Join(slices.Sorted(maps.Keys(why)), ", ")
}

func moment(t metav1.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	u := t.UTC()
	return &u
}

func (st *state) budget(o runtime.Object) []drill.Event {
	b, ok := o.(*policyv1.PodDisruptionBudget)
	if !ok {
		return nil
	}
	now := drill.Budget{
		Name: key(b), Desired: b.Status.DesiredHealthy, Healthy: b.Status.CurrentHealthy, Expected: b.Status.ExpectedPods, Allowed: b.Status.DisruptionsAllowed,
	}
	if s := b.Spec.Selector; s != nil {
		now.Selector = maps.Clone(s.MatchLabels)
		if len(s.MatchExpressions) > 0 || len(s.MatchLabels) == 0 {
			now.Expression = metav1.FormatLabelSelector(s)
		}
		sel, err := metav1.LabelSelectorAsSelector(s)
		if err != nil {
			sel = labels.Nothing()
		}
		st.selectors[now.Name] = sel
	}
	was, known := st.budgets[now.Name]
	st.budgets[now.Name] = now
	if known && maps.Equal(was.Selector, now.Selector) && was.Expression == now.Expression && was.Desired == now.Desired && was.Healthy == now.Healthy &&
		was.Expected == now.Expected && was.Allowed == now.Allowed {
		return nil
	}
	return []drill.Event{{Budget: &now}}
}

func (st *state) goneBudget(k string) []drill.Event {
	delete(st.budgets, k)
	delete(st.selectors, k)
	return []drill.Event{{Budget: &drill.Budget{Name: k, Gone: true}}}
}

func (st *state) slice(o runtime.Object) []drill.Event {
	s, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil
	}
	service := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
	if !st.services[service] {
		return nil
	}
	st.slices[key(s)] = s
	return st.service(service)
}

func (st *state) goneSlice(k string) []drill.Event {
	s, ok := st.slices[k]
	if !ok {
		return nil
	}
	delete(st.slices, k)
	return st.service(s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName])
}

// service adds up the slices of a Service: a pod with two addresses is one endpoint.
func (st *state) service(name string) []drill.Event {
	serving, readyOnes, terminating := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range st.slices {
		if s.Namespace+"/"+s.Labels[discoveryv1.LabelServiceName] != name {
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			id := strings.Join(e.Addresses, ",")
			if e.TargetRef != nil {
				id = string(e.TargetRef.UID)
			}
			if is(e.Conditions.Ready, true) {
				readyOnes[id] = true
			}
			if is(e.Conditions.Serving, is(e.Conditions.Ready, true)) {
				serving[id] = true
			}
			if is(e.Conditions.Terminating, false) {
				terminating[id] = true
			}
		}
	}
	now := drill.Endpoints{Service: name, Ready: len(readyOnes), Serving: len(serving), Terminating: len(terminating)}
	if was, known := st.endpoints[name]; known && was == now {
		return nil
	}
	st.endpoints[name] = now
	return []drill.Event{{Endpoints: &now}}
}

func is(b *bool, unknown bool) bool {
	if b == nil {
		return unknown
	}
	return *b
}

func (st *state) node(o runtime.Object) []drill.Event {
	n, ok := o.(*corev1.Node)
	if !ok {
		return nil
	}
	now := drill.Node{Name: n.Name, Zone: n.Labels[zoneLabel], Ready: nodeReady(n), Unschedulable: n.Spec.Unschedulable}
	if was, known := st.nodes[n.Name]; known && was == now {
		return nil
	}
	st.nodes[n.Name] = now
	return []drill.Event{{Node: &now}}
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// goneNode: a node that was removed is one that is not ready.
func (st *state) goneNode(k string) []drill.Event {
	n, ok := st.nodes[strings.TrimPrefix(k, "/")]
	if !ok {
		return nil
	}
	delete(st.nodes, n.Name)
	n.Ready = false
	return []drill.Event{{Node: &n}}
}

func (st *state) workload(o runtime.Object) []drill.Event {
	var now drill.Workload
	switch o := o.(type) {
	case *appsv1.Deployment:
		now = deployment(o)
	case *appsv1.StatefulSet:
		now = statefulSet(o)
	default:
		return nil
	}
	if was, known := st.workloads[now.Name]; !st.wanted[now.Name] || known && was == now {
		return nil
	}
	st.workloads[now.Name] = now
	return []drill.Event{{Workload: &now}}
}

// goneWorkload: nothing runs of a workload that was removed, whatever it wanted.
func (st *state) goneWorkload(kind string) func(string) []drill.Event {
	return func(k string) []drill.Event {
		ns, name, _ := strings.Cut(k, "/")
		full := fmt.Sprintf("%s/%s/%s", ns, kind, name)
		w, ok := st.workloads[full]
		if !ok {
			return nil
		}
		delete(st.workloads, full)
		return []drill.Event{{Workload: &drill.Workload{Name: full, Want: w.Want}}}
	}
}
