package drillrun

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
)

// World is the part of the cluster that a drill is about, at one time.
type World struct {
	// Workloads are the release's Deployments and StatefulSets.
	Workloads []Workload
	// Pods are those of the drill's namespaces; for drains, of the whole cluster.
	Pods    []corev1.Pod
	Budgets []policyv1.PodDisruptionBudget // likewise
	Nodes   []corev1.Node
	// Drain are the nodes that the plan drains, in order; Victims the pods that it
	// kills, evicts, or kills a container of.
	Drain   []string
	Victims []corev1.Pod
}

// Workload is a Deployment or StatefulSet of the release, live.
type Workload struct {
	Kind, Namespace, Name string
	Target                bool // the experiment is done to it
	Status                drill.Workload
	Template              corev1.PodTemplateSpec
	Pods                  []corev1.Pod // its own that have not ended, by name
}

// String is "Deployment/web".
func (w *Workload) String() string { return w.Kind + "/" + w.Name }

const zoneLabel = "topology.kubernetes.io/zone"

func drains(e drill.Experiment) bool { return e == drill.NodeDrain || e == drill.ZoneDrain }

// named is an object of the release.
type named struct{ kind, namespace, name string }

// own lists the release's objects of these kinds, with their namespaces.
func (s *Session) own(kinds ...string) []named {
	var out []named
	for i := range s.Objects.Objects {
		o := &s.Objects.Objects[i]
		if slices.Contains(kinds, o.GetKind()) && len(o.Hooks()) == 0 {
			out = append(out, named{o.GetKind(), cmp.Or(o.GetNamespace(), s.Release.Namespace), o.GetName()})
		}
	}
	return out
}

// namespaces are those that are read and watched: the release's own, that of each of
// its workloads, and for drains those whose pods may be touched.
func (s *Session) namespaces() []string {
	out := []string{s.Release.Namespace}
	for _, n := range s.own("Deployment", "StatefulSet", "Service", "PodDisruptionBudget") {
		out = append(out, n.namespace)
	}
	if drains(s.Plan.Experiment) {
		out = append(out, s.Plan.AllowNamespaces...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Look reads the world anew.
func (s *Session) Look(ctx context.Context) (*World, error) {
	w := &World{}
	kube := s.Cluster.Kube
	var err error
	if w.Nodes, err = cluster.ListNodes(ctx, kube); err != nil {
		return nil, err
	}
	namespaces := s.namespaces()
	if drains(s.Plan.Experiment) {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, ns := range namespaces {
		if err := pages(func(o metav1.ListOptions) (string, error) {
			list, err := kube.CoreV1().Pods(ns).List(ctx, o)
			if err != nil {
				return "", fmt.Errorf("list pods: %w", err)
			}
			w.Pods = append(w.Pods, list.Items...)
			return list.Continue, nil
		}); err != nil {
			return nil, err
		}
		if err := pages(func(o metav1.ListOptions) (string, error) {
			list, err := kube.PolicyV1().PodDisruptionBudgets(ns).List(ctx, o)
			if err != nil {
				return "", fmt.Errorf("list budgets: %w", err)
			}
			w.Budgets = append(w.Budgets, list.Items...)
			return list.Continue, nil
		}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(w.Pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, n := range s.own("Deployment", "StatefulSet") {
		load, err := s.workload(ctx, n)
		if err != nil {
			return nil, err
		}
		for i := range w.Pods {
			if p := &w.Pods[i]; p.Namespace == n.namespace && ownerOf(p) == load.String() && !ended(p) {
				load.Pods = append(load.Pods, *p)
			}
		}
		w.Workloads = append(w.Workloads, *load)
	}
	w.Victims = s.victims(w)
	w.Drain = s.nodesToDrain(w)
	return w, nil
}

// pages reads a list to its end.
func pages(list func(metav1.ListOptions) (string, error)) error {
	o := metav1.ListOptions{Limit: 500}
	for {
		next, err := list(o)
		if err != nil || next == "" {
			return err
		}
		o.Continue = next
	}
}

func (s *Session) workload(ctx context.Context, n named) (*Workload, error) {
	w := &Workload{Kind: n.kind, Namespace: n.namespace, Name: n.name}
	w.Target = s.Plan.Target.Workload == "" || s.Plan.Target.Workload == w.String()
	apps := s.Cluster.Kube.AppsV1()
	if n.kind == "Deployment" {
		d, err := apps.Deployments(n.namespace).Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return nil, absent(n, err)
		}
		w.Status, w.Template = deployment(d), d.Spec.Template
		return w, nil
	}
	d, err := apps.StatefulSets(n.namespace).Get(ctx, n.name, metav1.GetOptions{})
	if err != nil {
		return nil, absent(n, err)
	}
	w.Status, w.Template = statefulSet(d), d.Spec.Template
	return w, nil
}

func absent(n named, err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s %s/%s of the release is not in the cluster: %w", n.kind, n.namespace, n.name, err)
	}
	return fmt.Errorf("read %s %s/%s: %w", n.kind, n.namespace, n.name, err)
}

func deployment(d *appsv1.Deployment) drill.Workload {
	return drill.Workload{
		Name: d.Namespace + "/Deployment/" + d.Name, Want: replicas(d.Spec.Replicas), Ready: d.Status.ReadyReplicas,
		Updated: d.Status.UpdatedReplicas, Available: d.Status.AvailableReplicas, Current: d.Status.ObservedGeneration >= d.Generation,
	}
}

func statefulSet(d *appsv1.StatefulSet) drill.Workload {
	updated := d.Status.UpdatedReplicas
	if d.Status.UpdateRevision == d.Status.CurrentRevision {
		updated = d.Status.Replicas // the controller counts them only while it updates
	}
	return drill.Workload{
		Name: d.Namespace + "/StatefulSet/" + d.Name, Want: replicas(d.Spec.Replicas), Ready: d.Status.ReadyReplicas,
		Updated: updated, Available: d.Status.AvailableReplicas, Current: d.Status.ObservedGeneration >= d.Generation,
	}
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// rolledOut reports whether a workload is as it should be.
func rolledOut(w drill.Workload) bool {
	return w.Current && w.Ready == w.Want && w.Updated == w.Want && w.Available == w.Want
}

// ownerOf names the workload that a pod belongs to, "Deployment/web"; empty: none. A
// Deployment's ReplicaSets have its name and the hash that the pod's label repeats.
func ownerOf(p *corev1.Pod) string {
	o := metav1.GetControllerOf(p)
	if o == nil {
		return ""
	}
	if o.Kind == "ReplicaSet" {
		if name, ok := strings.CutSuffix(o.Name, "-"+p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]); ok {
			return "Deployment/" + name
		}
	}
	return o.Kind + "/" + o.Name
}

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func ready(p *corev1.Pod) bool {
	c := podCondition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// Stays reports whether a drain leaves the pod where it is: those of DaemonSets, of
// the kubelet's own files, and those that have ended.
func Stays(p *corev1.Pod) bool {
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror || ended(p) || strings.HasPrefix(ownerOf(p), "DaemonSet/")
}

// Covers reports whether a budget selects a pod.
func Covers(b *policyv1.PodDisruptionBudget, p *corev1.Pod) bool {
	if b.Namespace != p.Namespace || b.Spec.Selector == nil {
		return false
	}
	sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	return err == nil && sel.Matches(labels.Set(p.Labels))
}

// chance is the plan's own, for one name.
func (s *Session) chance(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(uint64(s.Plan.Target.Seed), h.Sum64())) //nolint:gosec // any 64 bits are a seed
}

// victims chooses the pods of each targeted workload by the plan's seed.
func (s *Session) victims(w *World) []corev1.Pod {
	switch s.Plan.Experiment {
	case drill.PodKill, drill.Eviction, drill.ContainerKill:
	default:
		return nil
	}
	var out []corev1.Pod
	for i := range w.Workloads {
		load := &w.Workloads[i]
		if !load.Target {
			continue
		}
		order := s.chance(load.Status.Name).Perm(len(load.Pods))
		for _, j := range order[:s.Plan.Target.Hits(len(load.Pods))] {
			out = append(out, load.Pods[j])
		}
	}
	return out
}

// nodesToDrain are those of the plan, or one (or a zone) that runs a pod of the
// workloads that are drilled, by the plan's seed.
func (s *Session) nodesToDrain(w *World) []string {
	if !drains(s.Plan.Experiment) {
		return nil
	}
	zones := map[string]string{}
	for i := range w.Nodes {
		zones[w.Nodes[i].Name] = w.Nodes[i].Labels[zoneLabel]
	}
	var run []string
	for i := range w.Workloads {
		for j := range w.Workloads[i].Pods {
			if n := w.Workloads[i].Pods[j].Spec.NodeName; n != "" && w.Workloads[i].Target {
				run = append(run, n)
			}
		}
	}
	slices.Sort(run)
	run = slices.Compact(run)
	if s.Plan.Experiment == drill.NodeDrain {
		if n := s.Plan.Target.Node; n != "" {
			return []string{n}
		}
		return pick(s.chance("node"), run)
	}
	zone := s.Plan.Target.Zone
	if zone == "" {
		var have []string
		for _, n := range run {
			if z := zones[n]; z != "" {
				have = append(have, z)
			}
		}
		slices.Sort(have)
		if one := pick(s.chance("zone"), slices.Compact(have)); one != nil {
			zone = one[0]
		}
	}
	var out []string
	for i := range w.Nodes {
		if z := w.Nodes[i].Labels[zoneLabel]; z == zone && z != "" {
			out = append(out, w.Nodes[i].Name)
		}
	}
	return out
}

func pick(r *rand.Rand, of []string) []string {
	if len(of) == 0 {
		return nil
	}
	return []string{of[r.IntN(len(of))]}
}
