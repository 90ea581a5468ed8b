package drillrun

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/internal/drill"
)

const (
	// recently is how far back a container must not have been restarted.
	recently = 10 * time.Minute
	// asks is how many requests the preflight sends of each probe.
	asks = 3
)

// Preflight asks all that must be so before the drill may begin, and changes nothing.
// A question that cannot be answered is one that is not OK. The error is that of ctx.
func Preflight(ctx context.Context, s Session) ([]drill.Check, error) {
	checks, err := s.beforeLease(ctx)
	if err != nil {
		return nil, err
	}
	checks = append(checks, s.nobodyHolds(ctx))
	_, more, err := s.preflight(ctx)
	return append(checks, more...), err
}

// check makes a Check of an answer, or of why there is none.
func check(name string, reason string, err error) drill.Check {
	if err != nil {
		return drill.Check{Name: name, Reason: oneLine(err.Error())}
	}
	return drill.Check{Name: name, OK: true, Reason: reason}
}

// beforeLease asks what has to be known before anything is written at all.
func (s *Session) beforeLease(ctx context.Context) ([]drill.Check, error) {
	reason, err := s.rights(ctx)
	checks := []drill.Check{check("rights", reason, err)}
	reason, err = s.allowed()
	checks = append(checks, check("namespaces", reason, err))
	reason, err = s.budgetLeft(ctx)
	checks = append(checks, check("error-budget", reason, err))
	err = s.bind(ctx)
	checks = append(checks, check("services", s.bound(), err))
	return checks, context.Cause(ctx)
}

// bound says which probes are of a Service of the release.
func (s *Session) bound() string {
	var out []string
	for _, b := range s.Plan.Probes {
		of := "no Service of the release"
		if b.Service != "" {
			of = "Service " + b.Service
		}
		out = append(out, b.Address+" is "+of)
	}
	return strings.Join(out, ", ")
}

// preflight asks all the rest.
func (s *Session) preflight(ctx context.Context) (*World, []drill.Check, error) {
	w, err := s.Look(ctx)
	if err != nil {
		return nil, []drill.Check{check("steady", "", fmt.Errorf("could not be answered: %w", err))}, context.Cause(ctx)
	}
	var checks []drill.Check
	ask := func(name string, f func(context.Context, *World) (string, error)) {
		reason, err := f(ctx, w)
		checks = append(checks, check(name, reason, err))
	}
	ask("steady", s.isSteady)
	ask("restarts", s.noRestarts)
	ask("alone", s.isAlone)
	ask("limits", s.withinLimits)
	if drains(s.Plan.Experiment) {
		ask("nodes", s.nodesThere)
		ask("drained-namespaces", s.drainAllowed)
	}
	if drains(s.Plan.Experiment) || s.Plan.Experiment == drill.Eviction {
		ask("budget", s.budgetsAllow)
	}
	ask("answers", s.answers)
	for _, q := range s.Checks {
		ok, reason, err := q.Ask(ctx, w)
		if err != nil {
			ok, reason = false, "could not be answered: "+err.Error()
		}
		checks = append(checks, drill.Check{Name: q.Name, OK: ok, Reason: oneLine(reason)})
	}
	return w, checks, context.Cause(ctx)
}

// patience is how long the preflight waits for what passes by itself: pods that an
// earlier drill or rollout has left ending, a budget that has not been counted again.
const patience = 30 * time.Second

// passing reports whether all that refuses the drill may pass by itself.
func passing(checks []drill.Check) bool {
	return !slices.ContainsFunc(checks, func(c drill.Check) bool {
		return !c.OK && !slices.Contains([]string{"steady", "alone", "budget"}, c.Name)
	})
}

// whenSteady is preflight, repeated for a while where what refuses may pass by itself.
// What an earlier drill had left behind and was restored a moment ago gets the plan's
// time to recover.
func (s *Session) whenSteady(ctx context.Context, restored bool) (*World, []drill.Check, error) {
	limit := time.Duration(s.Plan.Phases.Recover)
	if !restored {
		limit = min(limit, patience)
	}
	until, said := s.Now().Add(limit), false
	for {
		w, checks, err := s.preflight(ctx)
		if err != nil || refused(checks) == "" || !restored && !passing(checks) || s.Now().After(until) {
			return w, checks, err
		}
		if !said {
			s.say("waits for what may pass by itself: " + refused(checks))
			said = true
		}
		if err := pause(ctx, time.Second); err != nil {
			return nil, nil, err
		}
	}
}

// allowed: a drill touches only namespaces that were named for it.
func (s *Session) allowed() (string, error) {
	need := []string{s.Release.Namespace}
	for _, n := range s.own("Deployment", "StatefulSet") {
		need = append(need, n.namespace)
	}
	slices.Sort(need)
	for _, ns := range slices.Compact(need) {
		if !slices.Contains(s.Plan.AllowNamespaces, ns) {
			return "", fmt.Errorf("the release runs in namespace %s, in which nothing may be touched; allow it with --allow-namespace %s", ns, ns)
		}
	}
	return "may touch " + strings.Join(s.Plan.AllowNamespaces, ", "), nil
}

// budgetLeft: there is something to spend, and the service is not spending it already.
func (s *Session) budgetLeft(ctx context.Context) (string, error) {
	left := s.Plan.SLO.Allowed()
	if !(left > 0) {
		return "", fmt.Errorf("the objective leaves no error budget: %g over %s, of which the drill may spend %g", s.Plan.SLO.Objective, time.Duration(s.Plan.SLO.Window), s.Plan.SLO.Share)
	}
	reason := fmt.Sprintf("%.2f s of failed requests may be spent", left)
	p := s.Plan.Prometheus
	if p == nil {
		return reason, nil
	}
	if u, err := url.Parse(p.URL); err != nil || u.User != nil {
		return "", errors.New("the URL of Prometheus is none, or has a password in it, which would be sealed")
	}
	v, err := query(ctx, p)
	if err != nil {
		return "", err
	}
	if v < s.Plan.SLO.Objective {
		return "", fmt.Errorf("the query says that %g of requests are good, less than the objective of %g", v, s.Plan.SLO.Objective)
	}
	return fmt.Sprintf("%s; the query says that %g of requests are good", reason, v), nil
}

// isSteady: every workload is rolled out, and all its pods are Ready.
func (s *Session) isSteady(_ context.Context, w *World) (string, error) {
	targets, pods := 0, 0
	for i := range w.Workloads {
		load := &w.Workloads[i]
		if load.Target {
			targets++
		}
		st := load.Status
		if !rolledOut(st) {
			return "", fmt.Errorf("%s is not rolled out: it wants %d pods, %d are ready, %d available, %d of the newest template", load, st.Want, st.Ready, st.Available, st.Updated)
		}
		if len(load.Pods) != int(st.Want) {
			return "", fmt.Errorf("%s wants %d pods and has %d", load, st.Want, len(load.Pods))
		}
		for j := range load.Pods {
			p := &load.Pods[j]
			if p.DeletionTimestamp != nil || !ready(p) {
				return "", fmt.Errorf("%s of %s is not ready, or being deleted", podName(p), load)
			}
			if i := slices.IndexFunc(w.Nodes, func(n corev1.Node) bool { return n.Name == p.Spec.NodeName }); i < 0 || !nodeReady(&w.Nodes[i]) {
				return "", fmt.Errorf("node %s, which runs %s, is not ready", p.Spec.NodeName, podName(p))
			}
			pods++
		}
	}
	if targets == 0 {
		if s.Plan.Target.Workload != "" {
			return "", fmt.Errorf("the release has no %s", s.Plan.Target.Workload)
		}
		return "", errors.New("the release has neither Deployment nor StatefulSet")
	}
	if pods == 0 {
		return "", errors.New("the release runs no pods")
	}
	return fmt.Sprintf("%d workloads rolled out, %d pods ready", len(w.Workloads), pods), nil
}

func (s *Session) noRestarts(_ context.Context, w *World) (string, error) {
	now := s.Now()
	for i := range w.Workloads {
		for j := range w.Workloads[i].Pods {
			p := &w.Workloads[i].Pods[j]
			for _, c := range p.Status.ContainerStatuses {
				if t := c.LastTerminationState.Terminated; t != nil && now.Sub(t.FinishedAt.Time) < recently {
					return "", fmt.Errorf("container %s of %s was restarted within the last %s: %s, exit code %d", c.Name, podName(p), recently, t.Reason, t.ExitCode)
				}
			}
		}
	}
	return fmt.Sprintf("no container was restarted within the last %s", recently), nil
}

// isAlone: nobody else disturbs what is about to be disturbed.
func (s *Session) isAlone(ctx context.Context, w *World) (string, error) {
	for i := range w.Nodes {
		if n := &w.Nodes[i]; n.Spec.Unschedulable {
			by := "somebody else drains it"
			if h := n.Annotations[cordonedBy]; h != "" {
				by = "the drill of " + h + " has left it so, which a drill or `drill restore` puts right"
			}
			return "", fmt.Errorf("node %s is cordoned: %s", n.Name, by)
		}
	}
	home := s.namespaces()
	for i := range w.Pods {
		if p := &w.Pods[i]; p.DeletionTimestamp != nil && slices.Contains(home, p.Namespace) && p.Labels[managedBy] != "helmproof" {
			return "", fmt.Errorf("%s is being deleted", podName(p))
		}
	}
	served, err := s.evictionRequests(ctx)
	if err != nil {
		return "", err
	}
	if served {
		return "no node is cordoned, no pod is being deleted, and there are no EvictionRequests", nil
	}
	return "no node is cordoned and no pod is being deleted", nil
}

// evictionRequests asks for the requests of lifecycle.k8s.io, where that API is served:
// a responder may hold a pod, or move it.
func (s *Session) evictionRequests(ctx context.Context) (served bool, err error) {
	gvr := schema.GroupVersionResource{Group: "lifecycle.k8s.io", Version: "v1alpha1", Resource: "evictionrequests"}
	list, err := s.Cluster.Discovery.ServerResourcesForGroupVersion(gvr.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("could not be answered: ask for the API lifecycle.k8s.io: %w", err)
	}
	if !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == gvr.Resource }) {
		return false, nil
	}
	for _, ns := range s.namespaces() {
		found, err := s.Cluster.Dynamic.Resource(gvr).Namespace(ns).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return true, fmt.Errorf("could not be answered: list EvictionRequests: %w", err)
		}
		if len(found.Items) > 0 {
			return true, fmt.Errorf("EvictionRequest %s/%s is there: somebody else asks for pods to go", ns, found.Items[0].GetName())
		}
	}
	return true, nil
}

// nobodyHolds is asked where the Lease is not taken.
func (s *Session) nobodyHolds(ctx context.Context) drill.Check {
	leases := s.Cluster.Kube.CoordinationV1().Leases(Namespace)
	l, err := leases.Get(ctx, LeaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		// The namespace may not be there either.
		made := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: LeaseName, Namespace: Namespace}}
		_, err = leases.Create(ctx, made, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return check("lease", "nobody has drilled here yet", noLease(err))
	}
	if err != nil {
		return check("lease", "", fmt.Errorf("could not be answered: %w", err))
	}
	if h := holderOf(l); h != "" {
		return check("lease", "", fmt.Errorf("%w; if it is no longer alive, a drill takes it over and restores first", &HeldError{h}))
	}
	left, err := recordOf(l)
	if err == nil && !left.empty() {
		err = fmt.Errorf("the drill of %s left something to be restored, which the next drill or `drill restore` does first", left.Holder)
	}
	return check("lease", "nobody drills", err)
}

// withinLimits: the plan's blast radius.
func (s *Session) withinLimits(_ context.Context, w *World) (string, error) {
	l := s.Plan.Limits
	hit := w.Victims
	switch {
	case drains(s.Plan.Experiment):
		hit = drained(w)
		if len(w.Drain) > l.Nodes {
			return "", fmt.Errorf("%d nodes would be drained, at most %d may be", len(w.Drain), l.Nodes)
		}
	case w.Victims == nil:
		return "the experiment chooses no pods", nil
	}
	if len(hit) > l.Pods {
		return "", fmt.Errorf("%d pods would be hit, at most %d may be (--max-pods)", len(hit), l.Pods)
	}
	for i := range w.Workloads {
		load := &w.Workloads[i]
		n := 0
		for j := range load.Pods {
			if slices.ContainsFunc(hit, func(p corev1.Pod) bool { return p.UID == load.Pods[j].UID }) {
				n++
			}
		}
		if n*100 > l.Percent*len(load.Pods) {
			return "", fmt.Errorf("%d of %d pods of %s would be hit, at most %d %% may be (--max-percent)", n, len(load.Pods), load, l.Percent)
		}
	}
	if drains(s.Plan.Experiment) {
		return fmt.Sprintf("%d nodes and %d pods", len(w.Drain), len(hit)), nil
	}
	return fmt.Sprintf("%d pods", len(hit)), nil
}

// drained are the pods that drains make go.
func drained(w *World) []corev1.Pod {
	var out []corev1.Pod
	for i := range w.Pods {
		if p := &w.Pods[i]; slices.Contains(w.Drain, p.Spec.NodeName) && !Stays(p) {
			out = append(out, *p)
		}
	}
	return out
}

func (s *Session) nodesThere(_ context.Context, w *World) (string, error) {
	if len(w.Drain) == 0 {
		if z := s.Plan.Target.Zone; z != "" {
			return "", fmt.Errorf("no node is in zone %s (label %s)", z, zoneLabel)
		}
		return "", errors.New("no node, or none in a zone, runs a pod of the release")
	}
	for _, name := range w.Drain {
		i := slices.IndexFunc(w.Nodes, func(n corev1.Node) bool { return n.Name == name })
		if i < 0 {
			return "", fmt.Errorf("there is no node %s", name)
		}
		if !nodeReady(&w.Nodes[i]) {
			return "", fmt.Errorf("node %s is not ready", name)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("could not be answered: where helmproof runs: %w", err)
	}
	if slices.Contains(w.Drain, host) {
		return "", fmt.Errorf("helmproof itself runs on node %s", host)
	}
	for i := range w.Pods {
		if p := &w.Pods[i]; p.Name == host && slices.Contains(w.Drain, p.Spec.NodeName) {
			return "", fmt.Errorf("helmproof itself runs on node %s, in %s", p.Spec.NodeName, podName(p))
		}
	}
	return "drains " + strings.Join(w.Drain, ", "), nil
}

// drainAllowed: a drain moves pods of all namespaces.
func (s *Session) drainAllowed(_ context.Context, w *World) (string, error) {
	hit := drained(w)
	for i := range hit {
		if p := &hit[i]; !slices.Contains(s.Plan.AllowNamespaces, p.Namespace) {
			return "", fmt.Errorf("node %s runs %s, in a namespace in which nothing may be touched; allow it with --allow-namespace %s, or drain another node", p.Spec.NodeName, podName(p), p.Namespace)
		}
	}
	return fmt.Sprintf("all %d pods that go are in namespaces that may be touched", len(hit)), nil
}

// budgetsAllow: each pod of the release that is to be evicted has a budget, exactly one
// since more are an error of the Eviction API; and the budgets of all that are to be
// evicted allow a disruption.
func (s *Session) budgetsAllow(_ context.Context, w *World) (string, error) {
	hit := w.Victims
	if drains(s.Plan.Experiment) {
		hit = drained(w)
	}
	var seen []string
	for i := range hit {
		p := &hit[i]
		n := 0
		for j := range w.Budgets {
			b := &w.Budgets[j]
			if !Covers(b, p) {
				continue
			}
			n++
			st := b.Status
			if st.ObservedGeneration < b.Generation {
				return "", fmt.Errorf("the status of budget %s is not up to date", key(b))
			}
			if st.DisruptionsAllowed < 1 {
				return "", fmt.Errorf("budget %s of %s allows no disruption: %d of %d pods are healthy, %d must be", key(b), podName(p), st.CurrentHealthy, st.ExpectedPods, st.DesiredHealthy)
			}
			seen = append(seen, fmt.Sprintf("%s allows %d", key(b), st.DisruptionsAllowed))
		}
		own := slices.ContainsFunc(w.Workloads, func(l Workload) bool {
			return slices.ContainsFunc(l.Pods, func(o corev1.Pod) bool { return o.UID == p.UID })
		})
		if n == 0 && own {
			return "", fmt.Errorf("no PodDisruptionBudget selects %s", podName(p))
		}
		if n > 1 {
			return "", fmt.Errorf("%d budgets select %s: the API server evicts no such pod", n, podName(p))
		}
	}
	slices.Sort(seen)
	return strings.Join(slices.Compact(seen), ", "), nil
}

// answers: the probes get good answers before anything is done. From a pod they are
// sent only once the drill has made it; the drill looks at them again before the fault.
func (s *Session) answers(ctx context.Context, _ *World) (string, error) {
	if len(s.Plan.Probes) == 0 {
		return "no probes", nil
	}
	if s.Plan.Prober.Image != "" {
		return "sent from a pod that only the drill makes: asked before its fault", nil
	}
	if s.Ask == nil {
		return "", errors.New("could not be answered: there is nothing to send probes with")
	}
	for _, p := range s.Plan.Probes {
		for range asks {
			if err := s.Ask(ctx, p); err != nil {
				return "", fmt.Errorf("probe %s (%s) has no good answer: %w", p.Name, p.Address, err)
			}
		}
	}
	return fmt.Sprintf("%d good answers of each probe", asks), nil
}
