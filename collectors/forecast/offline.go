package forecast

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/companyos/helmproof/internal/manifest"
)

// Most nodes and zones of an imagined cluster.
const (
	MaxNodes = 100
	MaxZones = 20
)

// Imagine makes the snapshot of a cluster that there is not: so many nodes in so
// many zones, with room for everything, and the pods of rendered manifests spread
// over them. What only a real cluster knows is listed as assumed.
func Imagine(set *manifest.ObjectSet, namespace string, nodes, zones int) (*Snapshot, error) {
	if nodes < 1 || nodes > MaxNodes || zones < 1 || zones > MaxZones || zones > nodes {
		return nil, fmt.Errorf("%d nodes in %d zones: want 1 to %d nodes in at most as many zones, %d at most", nodes, zones, MaxNodes, MaxZones)
	}
	if len(set.Broken) > 0 {
		return nil, fmt.Errorf("%s: a rendered document could not be read: %s", set.Broken[0].File, set.Broken[0].Error)
	}
	s := &Snapshot{Assumed: []string{
		fmt.Sprintf("%d nodes in %d zones, with room for every pod and nothing else on them", nodes, zones),
		"node selectors, node affinity and taints are met everywhere", "all pods are Ready, and lie as far apart as they can",
	}}
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i+1)
		s.Nodes = append(s.Nodes, Node{Name: name, Ready: true, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%zones+1)}})
	}
	im := imagined{s, map[string]int64{}}
	for i := range set.Objects {
		if err := im.scaler(&set.Objects[i], namespace); err != nil {
			return nil, err
		}
	}
	for i := range set.Objects {
		if err := im.workload(&set.Objects[i], namespace); err != nil {
			return nil, err
		}
	}
	for i := range set.Objects {
		if err := im.budget(&set.Objects[i], namespace); err != nil {
			return nil, err
		}
	}
	return s, nil
}

type imagined struct {
	*Snapshot
	least map[string]int64 // replicas that an autoscaler keeps, by namespace/Kind/name
}

func (im imagined) scaler(o *manifest.Object, namespace string) error {
	if gk := o.GroupVersionKind().GroupKind(); gk.Kind != "HorizontalPodAutoscaler" {
		return nil
	}
	kind, _, err := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "kind")
	if err != nil {
		return fmt.Errorf("%s: %w", o.Target("").Object(), err)
	}
	name, _, err := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "name")
	if err != nil {
		return fmt.Errorf("%s: %w", o.Target("").Object(), err)
	}
	n, found, err := unstructured.NestedInt64(o.Object, "spec", "minReplicas")
	if err != nil {
		return fmt.Errorf("%s: %w", o.Target("").Object(), err)
	}
	if !found {
		n = 1
	}
	im.least[cmp.Or(o.GetNamespace(), namespace)+"/"+kind+"/"+name] = n
	return nil
}

// replicasOf is what is written; ok is false where nothing, or no number, is.
func replicasOf(o *manifest.Object) (n int64, ok bool) {
	n, ok, err := unstructured.NestedInt64(o.Object, "spec", "replicas")
	return n, ok && err == nil
}

// workload makes the pods of a workload.
func (im imagined) workload(o *manifest.Object, namespace string) error {
	tpl, ok, err := o.PodTemplate()
	if !ok {
		return nil
	}
	if err != nil {
		return err
	}
	ns := cmp.Or(o.GetNamespace(), namespace)
	replicas := int64(1)
	p := Pod{Namespace: ns, Labels: tpl.Labels, Ready: true}
	switch o.GetKind() {
	case "Pod":
		if len(o.Hooks()) > 0 {
			return nil
		}
	case "Deployment", "StatefulSet", "ReplicaSet":
		if n, ok := replicasOf(o); ok {
			replicas = n
		}
		if n := im.least[ns+"/"+o.GetKind()+"/"+o.GetName()]; replicas > 0 {
			replicas = max(replicas, n)
		}
		if replicas < 0 || int64(len(im.Pods))+replicas > maxPods {
			return fmt.Errorf("%s: %d replicas are more than can be thought through", o.Target("").Object(), replicas)
		}
		p.OwnerKind, p.OwnerUID = o.GetKind(), ns+"/"+o.GetKind()+"/"+o.GetName()
		im.Workloads = append(im.Workloads, Workload{
			Kind: o.GetKind(), Namespace: ns, Name: o.GetName(), UID: p.OwnerUID, Top: o.GetKind() + "/" + o.GetName(), Replicas: int32(replicas), Labels: tpl.Labels,
		})
	default:
		return nil // those of DaemonSets stay, those of Jobs end
	}
	shape := shapeOf(&tpl.Spec, tpl.Labels)
	shape.NodeSelector, shape.Required, shape.Tolerations = nil, nil, nil
	if claims, found, err := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates"); err != nil {
		return fmt.Errorf("%s: %w", o.Target("").Object(), err)
	} else if found && len(claims) > 0 {
		shape.Unknown = append(shape.Unknown, "keeps its volume: where that can be attached is the cluster's to say")
	}
	for _, v := range tpl.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			shape.Unknown = append(shape.Unknown, "claims "+v.PersistentVolumeClaim.ClaimName+": where that can be attached is the cluster's to say")
		}
	}
	p.Shape = len(im.Shapes)
	im.Shapes = append(im.Shapes, shape)
	for i := range replicas {
		p.Name = o.GetName()
		if o.GetKind() != "Pod" {
			p.Name = fmt.Sprintf("%s-%d", o.GetName(), i)
		}
		p.Node = im.farthest(&p)
		p.Ready = p.Node != ""
		im.Pods = append(im.Pods, p)
	}
	return nil
}

// farthest is the node whose zone, and which itself, has the fewest pods like p
// (and then the fewest pods) among those that take it; empty: none does.
func (im imagined) farthest(p *Pod) string {
	m := newModel(im.Snapshot)
	if m.namespace[p.Namespace] == nil {
		m.namespace[p.Namespace] = &Namespace{Name: p.Namespace}
	}
	d := &drain{model: m}
	state := d.bare()
	counts, near := state.allDomains(p), state.near(p)
	like, all := map[string]int{}, map[string]int{}
	for i := range im.Pods {
		q := &im.Pods[i]
		at, ok := m.node[q.Node]
		if !ok {
			continue
		}
		all[q.Node]++
		if q.OwnerUID == p.OwnerUID {
			like[q.Node]++
			like["zone "+im.Nodes[at].Zone()]++
		}
	}
	best, score := "", []int{}
	for at := range im.Nodes {
		n := &im.Nodes[at]
		if state.refuses(p, at, near) != "" || state.skewed(p, at, counts) {
			continue
		}
		if sc := []int{like["zone "+n.Zone()], like[n.Name], all[n.Name]}; best == "" || slices.Compare(sc, score) < 0 {
			best, score = n.Name, sc
		}
	}
	return best
}

// budget works out the status that a PodDisruptionBudget would have with all its
// pods healthy, as the disruption controller does.
func (im imagined) budget(o *manifest.Object, namespace string) error {
	if gk := o.GroupVersionKind().GroupKind(); gk.Group != "policy" || gk.Kind != "PodDisruptionBudget" {
		return nil
	}
	var pdb policyv1.PodDisruptionBudget
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &pdb); err != nil {
		return fmt.Errorf("%s: %w", o.Target("").Object(), err)
	}
	sel, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Target("").Object(), err)
	}
	b := Budget{Namespace: cmp.Or(o.GetNamespace(), namespace), Name: o.GetName(), Selector: pdb.Spec.Selector, Says: says(&pdb.Spec)}
	bare := false
	for i := range im.Pods {
		if p := &im.Pods[i]; p.Namespace == b.Namespace && sel.Matches(labels.Set(p.Labels)) {
			b.Expected++
			if p.Node != "" {
				b.Healthy++
			}
			bare = bare || p.OwnerUID == ""
		}
	}
	scaled := func(v *intstr.IntOrString) (int32, error) {
		n, err := intstr.GetScaledValueFromIntOrPercent(v, int(b.Expected), true)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", o.Target("").Object(), err)
		}
		return int32(n), nil
	}
	switch {
	case pdb.Spec.MinAvailable != nil:
		if b.Desired, err = scaled(pdb.Spec.MinAvailable); err != nil {
			return err
		}
	case pdb.Spec.MaxUnavailable != nil:
		n, err := scaled(pdb.Spec.MaxUnavailable)
		if err != nil {
			return err
		}
		b.Desired = max(0, b.Expected-n)
		if bare {
			b.Stale = "it selects pods without a controller"
		}
	}
	b.Allowed = max(0, b.Healthy-b.Desired)
	im.Budgets = append(im.Budgets, b)
	return nil
}
