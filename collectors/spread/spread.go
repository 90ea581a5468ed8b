// Package spread looks at where the replicas of a live release really run. A chart
// can ask for spread and not get it: ScheduleAnyway is a wish, and pods stay where
// they were put when the nodes around them change.
package spread

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name in the catalog.
const Name = "spread"

// The rules.
const (
	RuleNode = "spread/node"
	RuleZone = "spread/zone"
)

var rules = collectors.Rules{RuleNode: evidence.SeverityMedium, RuleZone: evidence.SeverityMedium}

const (
	file = "spread.json"
	// maxPods bounds what is sealed of one workload.
	maxPods = 5000
	page    = 500
)

// Seen is what the cluster said, and when it was asked.
type Seen struct {
	At         time.Time  `json:"at"`
	Nodes      []Node     `json:"nodes"` // by name
	NodesError string     `json:"nodesError,omitempty"`
	Workloads  []Workload `json:"workloads"`
}

// Node is what decides whether a pod may run on it. Of its labels only the zone
// is kept, and those that a workload's nodeSelector names.
type Node struct {
	Name          string            `json:"name"`
	Zone          string            `json:"zone,omitempty"`
	Ready         bool              `json:"ready"`
	Unschedulable bool              `json:"unschedulable,omitempty"`
	Taints        []corev1.Taint    `json:"taints,omitempty"` // that keep pods away
	Labels        map[string]string `json:"labels,omitempty"`
}

// Workload is a Deployment or a StatefulSet of the release, live.
type Workload struct {
	Index     int    `json:"index"` // of the object in the sealed manifests
	Namespace string `json:"namespace"`
	Found     bool   `json:"found"`
	// Error says why it, or its pods, could not be looked at.
	Error    string `json:"error,omitempty"`
	Replicas int32  `json:"replicas"` // asked for, by whoever set them last
	// Outdated says that no controller has looked at this generation of it yet.
	Outdated     bool                `json:"outdated,omitempty"`
	NodeSelector map[string]string   `json:"nodeSelector,omitempty"`
	Tolerations  []corev1.Toleration `json:"tolerations,omitempty"`
	Pods         []Pod               `json:"pods"` // that its selector matches, by name
}

// Pod is one of the pods that the workload's selector matches.
type Pod struct {
	Name        string `json:"name"`
	Node        string `json:"node,omitempty"`
	Zone        string `json:"zone,omitempty"` // of the node
	Ready       bool   `json:"ready"`
	Terminating bool   `json:"terminating,omitempty"`
	// Owners are its controller, that one's controller, and so on: "ReplicaSet
	// web-5d9c", "Deployment web". They are followed by UID.
	Owners []string `json:"owners,omitempty"`
}

type collector struct{}

// New returns the collector.
func New() collectors.Collector { return collector{} }

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

// looked says which objects are looked at. Hooks are not kept by Helm.
func looked(o *manifest.Object) bool {
	return o.GroupVersionKind().Group == "apps" && (o.GetKind() == "Deployment" || o.GetKind() == "StatefulSet") && len(o.Hooks()) == 0
}

// Collect takes a snapshot of the pods of the release's workloads and of the nodes.
func (collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	switch {
	case in.Cluster == nil:
		return collectors.ErrNoCluster
	case in.Release == nil:
		return errors.New("no live release to look at: name one with --release")
	}
	set, err := in.Release.Objects()
	if err != nil {
		return err
	}
	seen := Seen{At: in.Now().UTC(), Nodes: []Node{}, Workloads: []Workload{}}
	for i := range set.Objects {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if o := &set.Objects[i]; looked(o) {
			seen.Workloads = append(seen.Workloads, look(ctx, in.Cluster, i, o, cmp.Or(o.GetNamespace(), in.Release.Info.Namespace)))
		}
	}
	if len(seen.Workloads) > 0 {
		seen.addNodes(ctx, in.Cluster)
	}
	return collectors.WriteJSON(out, file, seen)
}

// addNodes lists the nodes, and says of each pod in which zone it runs.
func (s *Seen) addNodes(ctx context.Context, c *cluster.Cluster) {
	list, err := cluster.ListNodes(ctx, c.Kube)
	if err != nil {
		s.NodesError = err.Error()
		return
	}
	var keys []string
	for i := range s.Workloads {
		for k := range s.Workloads[i].NodeSelector {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	zones := map[string]string{}
	for i := range list {
		n := &list[i]
		x := Node{Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone], Ready: cluster.DescribeNode(n).Ready, Unschedulable: n.Spec.Unschedulable}
		for _, t := range n.Spec.Taints {
			if t.Effect != corev1.TaintEffectPreferNoSchedule {
				t.TimeAdded = nil
				x.Taints = append(x.Taints, t)
			}
		}
		for _, k := range keys {
			if v, ok := n.Labels[k]; ok {
				if x.Labels == nil {
					x.Labels = map[string]string{}
				}
				x.Labels[k] = v
			}
		}
		zones[x.Name] = x.Zone
		s.Nodes = append(s.Nodes, x)
	}
	for i := range s.Workloads {
		for k := range s.Workloads[i].Pods {
			p := &s.Workloads[i].Pods[k]
			p.Zone = zones[p.Node]
		}
	}
}

// found is what is needed of a live workload.
type found struct {
	meta     *metav1.ObjectMeta
	replicas *int32
	observed int64
	selector *metav1.LabelSelector
	pod      *corev1.PodSpec
}

func get(ctx context.Context, c *cluster.Cluster, kind, namespace, name string) (found, error) {
	apps := c.Kube.AppsV1()
	if kind == "StatefulSet" {
		o, err := apps.StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return found{}, err
		}
		return found{&o.ObjectMeta, o.Spec.Replicas, o.Status.ObservedGeneration, o.Spec.Selector, &o.Spec.Template.Spec}, nil
	}
	o, err := apps.Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return found{}, err
	}
	return found{&o.ObjectMeta, o.Spec.Replicas, o.Status.ObservedGeneration, o.Spec.Selector, &o.Spec.Template.Spec}, nil
}

func look(ctx context.Context, c *cluster.Cluster, i int, o *manifest.Object, namespace string) Workload {
	w := Workload{Index: i, Namespace: namespace, Pods: []Pod{}}
	live, err := get(ctx, c, o.GetKind(), namespace, o.GetName())
	switch {
	case apierrors.IsNotFound(err):
		return w
	case err != nil:
		w.Error = err.Error()
		return w
	}
	w.Found, w.Replicas, w.Outdated = true, 1, live.observed < live.meta.Generation
	if live.replicas != nil {
		w.Replicas = *live.replicas
	}
	w.NodeSelector, w.Tolerations = live.pod.NodeSelector, live.pod.Tolerations
	if w.Pods, err = podsOf(ctx, c, namespace, o.GetKind(), live); err != nil {
		w.Error = err.Error()
	}
	return w
}

// podsOf lists the pods that the workload's selector matches, with their owners.
func podsOf(ctx context.Context, c *cluster.Cluster, namespace, kind string, live found) ([]Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(live.selector)
	if err != nil {
		return nil, fmt.Errorf("selector: %w", err)
	}
	owners := map[types.UID][]string{live.meta.UID: {kind + " " + live.meta.Name}}
	opts := metav1.ListOptions{LabelSelector: selector.String(), Limit: page}
	if kind == "Deployment" {
		if err := addReplicaSets(ctx, c, namespace, opts, owners); err != nil {
			return nil, err
		}
	}
	out := []Pod{}
	for {
		list, err := c.Kube.CoreV1().Pods(namespace).List(ctx, opts)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			out = append(out, describe(&list.Items[i], owners))
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			break
		}
		if len(out) >= maxPods {
			return nil, fmt.Errorf("more than %d pods", maxPods)
		}
	}
	slices.SortFunc(out, func(a, b Pod) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// addReplicaSets adds the ReplicaSets that the Deployment in owners controls.
func addReplicaSets(ctx context.Context, c *cluster.Cluster, namespace string, opts metav1.ListOptions, owners map[types.UID][]string) error {
	for n := 0; ; {
		list, err := c.Kube.AppsV1().ReplicaSets(namespace).List(ctx, opts)
		if err != nil {
			return err
		}
		for i := range list.Items {
			rs := &list.Items[i]
			if by := metav1.GetControllerOf(rs); by != nil && owners[by.UID] != nil {
				owners[rs.UID] = append([]string{"ReplicaSet " + rs.Name}, owners[by.UID]...)
			}
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return nil
		}
		if n += len(list.Items); n >= maxPods {
			return fmt.Errorf("more than %d ReplicaSets", maxPods)
		}
	}
}

func describe(p *corev1.Pod, owners map[types.UID][]string) Pod {
	out := Pod{Name: p.Name, Node: p.Spec.NodeName, Terminating: p.DeletionTimestamp != nil}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	if by := metav1.GetControllerOf(p); by != nil {
		if out.Owners = owners[by.UID]; out.Owners == nil {
			out.Owners = []string{by.Kind + " " + by.Name}
		}
	}
	return out
}

// owned says that the pod's last owner is the workload.
func (p *Pod) owned(workload string) bool {
	return len(p.Owners) > 0 && p.Owners[len(p.Owners)-1] == workload
}

// takes says that no taint of the node keeps the pods away, but those that come and
// go with the node's state.
func (n *Node) takes(tolerations []corev1.Toleration) bool {
	return !slices.ContainsFunc(n.Taints, func(t corev1.Taint) bool {
		return !strings.HasPrefix(t.Key, "node.kubernetes.io/") &&
			!slices.ContainsFunc(tolerations, func(x corev1.Toleration) bool { return tolerates(&x, &t) })
	})
}

// tolerates is the rule of
// https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/.
// An operator of newer versions counts as one that does not tolerate.
func tolerates(x *corev1.Toleration, t *corev1.Taint) bool {
	if x.Effect != "" && x.Effect != t.Effect || x.Key != "" && x.Key != t.Key {
		return false
	}
	switch x.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return x.Key != "" && x.Value == t.Value
	}
	return false
}

// selected says that the node has all the labels.
func (n *Node) selected(labels map[string]string) bool {
	for k, v := range labels {
		if have, ok := n.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}
