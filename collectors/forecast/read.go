package forecast

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/resource"

	"github.com/companyos/helmproof/internal/cluster"
)

const (
	page    = 500
	maxPods = 5000 // of a snapshot
	maxRead = 20000
)

// Take reads a snapshot from the cluster. It reads only. What it could not read
// beside nodes, pods and budgets is a gap of the snapshot.
func Take(ctx context.Context, c *cluster.Cluster, now time.Time) (*Snapshot, error) {
	r := &reader{c: c, s: &Snapshot{At: now.UTC()}, shapes: map[string]int{}, deployments: map[string]*appsv1.Deployment{}, drivers: map[string]*storagev1.CSINode{}}
	for _, step := range []func(context.Context) error{r.nodes, r.budgets, r.claims, r.workloads, r.pods} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(context.Context) error{r.namespaces, r.webhooks, r.autoscaler} {
		if err := step(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
			r.gap(err)
		}
	}
	return r.s, nil
}

type reader struct {
	c           *cluster.Cluster
	s           *Snapshot
	shapes      map[string]int
	deployments map[string]*appsv1.Deployment // by UID
	drivers     map[string]*storagev1.CSINode
	claimed     map[string]*corev1.PersistentVolumeClaim // by namespace/name
	volumes     map[string]*corev1.PersistentVolume
	volumeGap   string
}

func (r *reader) gap(err error) { r.s.Gaps = append(r.s.Gaps, err.Error()) }

// pages lists in pages. What is longer than most is refused, not cut.
func pages[T any](ctx context.Context, what string, most int, list func(context.Context, metav1.ListOptions) ([]T, string, error), each func(*T)) error {
	o := metav1.ListOptions{Limit: page}
	for n := 0; ; {
		items, next, err := list(ctx, o)
		if err != nil {
			return fmt.Errorf("list %s: %w", what, err)
		}
		if n += len(items); n > most {
			return fmt.Errorf("list %s: more than %d", what, most)
		}
		for i := range items {
			each(&items[i])
		}
		if o.Continue = next; next == "" {
			return nil
		}
	}
}

func (r *reader) nodes(ctx context.Context) error {
	storage := r.c.Kube.StorageV1().CSINodes()
	if err := pages(ctx, "CSI drivers of nodes", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]storagev1.CSINode, string, error) {
		l, err := storage.List(ctx, o)
		return l.Items, l.Continue, err
	}, func(n *storagev1.CSINode) { r.drivers[n.Name] = n }); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		r.volumeGap = err.Error()
	}
	nodes, err := cluster.ListNodes(ctx, r.c.Kube)
	if err != nil {
		return err
	}
	for i := range nodes {
		r.s.Nodes = append(r.s.Nodes, r.node(&nodes[i]))
	}
	return nil
}

func (r *reader) node(n *corev1.Node) Node {
	out := Node{Name: n.Name, Labels: n.Labels, Taints: n.Spec.Taints, Unschedulable: n.Spec.Unschedulable, Allocatable: counted(n.Status.Allocatable)}
	for i := range out.Taints {
		out.Taints[i].TimeAdded = nil
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	if d := r.drivers[n.Name]; d != nil {
		for _, driver := range d.Spec.Drivers {
			out.Drivers = append(out.Drivers, driver.Name)
			if a := driver.Allocatable; a != nil && a.Count != nil {
				out.Allocatable[volumesOf+driver.Name] = int64(*a.Count)
			}
		}
	}
	return out
}

func counted(list corev1.ResourceList) map[string]int64 {
	out := map[string]int64{}
	for name, q := range list {
		if name == corev1.ResourceCPU {
			out[string(name)] = q.MilliValue()
		} else {
			out[string(name)] = q.Value()
		}
	}
	return out
}

func (r *reader) budgets(ctx context.Context) error {
	return pages(ctx, "PodDisruptionBudgets", maxPods, func(ctx context.Context, o metav1.ListOptions) ([]policyv1.PodDisruptionBudget, string, error) {
		l, err := r.c.Kube.PolicyV1().PodDisruptionBudgets("").List(ctx, o)
		return l.Items, l.Continue, err
	}, func(b *policyv1.PodDisruptionBudget) {
		out := Budget{
			Namespace: b.Namespace, Name: b.Name, Selector: b.Spec.Selector, Says: says(&b.Spec),
			Healthy: b.Status.CurrentHealthy, Desired: b.Status.DesiredHealthy, Expected: b.Status.ExpectedPods, Allowed: b.Status.DisruptionsAllowed,
		}
		switch {
		case b.Status.ObservedGeneration < b.Generation:
			out.Stale = "its status is not up to date"
		case len(b.Status.DisruptedPods) > 0:
			out.Stale = "pods of it are being evicted"
		case byPlace(b.Spec.Selector):
			out.Stale = "it selects pods by where they run"
		}
		r.s.Budgets = append(r.s.Budgets, out)
	})
}

func says(s *policyv1.PodDisruptionBudgetSpec) string {
	switch {
	case s.MinAvailable != nil:
		return "minAvailable " + s.MinAvailable.String()
	case s.MaxUnavailable != nil:
		return "maxUnavailable " + s.MaxUnavailable.String()
	}
	return "it says nothing"
}

// claims reads what PersistentVolumes pods claim. Pods whose volumes are not known
// are marked so.
func (r *reader) claims(ctx context.Context) error {
	r.claimed, r.volumes = map[string]*corev1.PersistentVolumeClaim{}, map[string]*corev1.PersistentVolume{}
	err := pages(ctx, "PersistentVolumeClaims", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]corev1.PersistentVolumeClaim, string, error) {
		l, err := r.c.Kube.CoreV1().PersistentVolumeClaims("").List(ctx, o)
		return l.Items, l.Continue, err
	}, func(p *corev1.PersistentVolumeClaim) { r.claimed[p.Namespace+"/"+p.Name] = p })
	if err == nil {
		err = pages(ctx, "PersistentVolumes", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]corev1.PersistentVolume, string, error) {
			l, err := r.c.Kube.CoreV1().PersistentVolumes().List(ctx, o)
			return l.Items, l.Continue, err
		}, func(v *corev1.PersistentVolume) { r.volumes[v.Name] = v })
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		r.volumeGap = err.Error()
	}
	return nil
}

// workloads reads the controllers of pods. One whose kind could not be listed is
// missing, so that nobody can say whether it makes a pod again.
func (r *reader) workloads(ctx context.Context) error {
	apps := r.c.Kube.AppsV1()
	for _, list := range []func() error{
		func() error {
			return pages(ctx, "Deployments", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]appsv1.Deployment, string, error) {
				l, err := apps.Deployments("").List(ctx, o)
				return l.Items, l.Continue, err
			}, func(d *appsv1.Deployment) { r.deployments[string(d.UID)] = d })
		},
		func() error {
			return pages(ctx, "ReplicaSets", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]appsv1.ReplicaSet, string, error) {
				l, err := apps.ReplicaSets("").List(ctx, o)
				return l.Items, l.Continue, err
			}, r.replicaSet)
		},
		func() error {
			return pages(ctx, "StatefulSets", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]appsv1.StatefulSet, string, error) {
				l, err := apps.StatefulSets("").List(ctx, o)
				return l.Items, l.Continue, err
			}, r.statefulSet)
		},
		func() error {
			return pages(ctx, "DaemonSets", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]appsv1.DaemonSet, string, error) {
				l, err := apps.DaemonSets("").List(ctx, o)
				return l.Items, l.Continue, err
			}, func(d *appsv1.DaemonSet) {
				r.s.Workloads = append(r.s.Workloads, workload("DaemonSet", &d.ObjectMeta, nil, nil))
			})
		},
	} {
		if err := list(); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			r.gap(err)
		}
	}
	return nil
}

func workload(kind string, o *metav1.ObjectMeta, replicas *int32, template map[string]string) Workload {
	w := Workload{Kind: kind, Namespace: o.Namespace, Name: o.Name, UID: string(o.UID), Top: kind + "/" + o.Name, Replicas: 1, Labels: template}
	if replicas != nil {
		w.Replicas = *replicas
	}
	if o.DeletionTimestamp != nil {
		w.Unsettled = "is being deleted"
	}
	return w
}

func (r *reader) replicaSet(s *appsv1.ReplicaSet) {
	w := workload("ReplicaSet", &s.ObjectMeta, s.Spec.Replicas, s.Spec.Template.Labels)
	if w.Replicas == 0 && s.Status.Replicas == 0 {
		return // of an earlier revision
	}
	if owner := metav1.GetControllerOf(s); owner != nil {
		w.Top = owner.Kind + "/" + owner.Name
		switch d := r.deployments[string(owner.UID)]; {
		case d == nil:
			w.Unsettled = "is not known to make pods again"
		case d.DeletionTimestamp != nil:
			w.Unsettled = "is being deleted"
		case metav1.GetControllerOf(d) != nil:
			w.Unsettled = "belongs to " + metav1.GetControllerOf(d).Kind + " " + metav1.GetControllerOf(d).Name + ", which may do as it likes"
		case d.Status.ObservedGeneration < d.Generation || d.Spec.Replicas != nil && d.Status.UpdatedReplicas != *d.Spec.Replicas || d.Status.Replicas != d.Status.UpdatedReplicas:
			w.Unsettled = "is being rolled out"
		}
	} else if s.Status.ObservedGeneration < s.Generation {
		w.Unsettled = "is being changed"
	}
	r.s.Workloads = append(r.s.Workloads, w)
}

func (r *reader) statefulSet(s *appsv1.StatefulSet) {
	w := workload("StatefulSet", &s.ObjectMeta, s.Spec.Replicas, s.Spec.Template.Labels)
	switch owner := metav1.GetControllerOf(s); {
	case w.Unsettled != "":
	case owner != nil:
		w.Unsettled = "belongs to " + owner.Kind + " " + owner.Name + ", which may do as it likes"
	case s.Status.ObservedGeneration < s.Generation || s.Status.UpdateRevision != s.Status.CurrentRevision:
		w.Unsettled = "is being rolled out"
	}
	r.s.Workloads = append(r.s.Workloads, w)
}

func (r *reader) pods(ctx context.Context) error {
	shared := map[string]int{} // pods of each claim
	if err := pages(ctx, "pods", maxPods, func(ctx context.Context, o metav1.ListOptions) ([]corev1.Pod, string, error) {
		o.FieldSelector = "status.phase!=Succeeded,status.phase!=Failed"
		l, err := r.c.Kube.CoreV1().Pods("").List(ctx, o)
		return l.Items, l.Continue, err
	}, func(p *corev1.Pod) {
		r.s.Pods = append(r.s.Pods, r.pod(p))
		for _, v := range r.s.Pods[len(r.s.Pods)-1].Volumes {
			shared[p.Namespace+"/"+v.Claim]++
		}
	}); err != nil {
		return err
	}
	for i := range r.s.Pods {
		for j := range r.s.Pods[i].Volumes {
			v := &r.s.Pods[i].Volumes[j]
			if c := r.claimed[r.s.Pods[i].Namespace+"/"+v.Claim]; v.Unknown == "" && shared[r.s.Pods[i].Namespace+"/"+v.Claim] > 1 && !manyNodes(c) {
				v.Unknown = "other pods claim it too, and it is for one node at a time"
			}
		}
	}
	return nil
}

func manyNodes(c *corev1.PersistentVolumeClaim) bool {
	return slices.Contains(c.Spec.AccessModes, corev1.ReadWriteMany) || slices.Contains(c.Spec.AccessModes, corev1.ReadOnlyMany)
}

func (r *reader) pod(p *corev1.Pod) Pod {
	out := Pod{
		Namespace: p.Namespace, Name: p.Name, Node: p.Spec.NodeName, Labels: p.Labels, Pending: p.Status.Phase == corev1.PodPending, Terminating: p.DeletionTimestamp != nil,
		Mirror: p.Annotations[corev1.MirrorPodAnnotationKey] != "", Made: p.CreationTimestamp.UTC(),
	}
	if owner := metav1.GetControllerOf(p); owner != nil {
		out.OwnerKind, out.OwnerUID = owner.Kind, string(owner.UID)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			out.Volumes = append(out.Volumes, r.volume(p.Namespace, v.PersistentVolumeClaim.ClaimName))
		}
	}
	shape := shapeOf(&p.Spec, p.Labels)
	// What the kubelet gave it may be more than what it asks for.
	shape.Requests = counted(resource.PodRequests(p, resource.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}))
	key, err := json.Marshal(shape)
	if err != nil { // a map of strings always can be
		shape.Unknown = append(shape.Unknown, "cannot be written down: "+err.Error())
		key = []byte(p.UID)
	}
	i, ok := r.shapes[string(key)]
	if !ok {
		i = len(r.s.Shapes)
		r.shapes[string(key)] = i
		r.s.Shapes = append(r.s.Shapes, shape)
	}
	out.Shape = i
	return out
}

// volume says where the volume of a claim can be attached.
func (r *reader) volume(ns, claim string) Volume {
	v := Volume{Claim: claim}
	c := r.claimed[ns+"/"+claim]
	switch {
	case r.volumeGap != "":
		v.Unknown = r.volumeGap
		return v
	case c == nil:
		v.Unknown = "the claim is not there"
		return v
	}
	pv := r.volumes[c.Spec.VolumeName]
	if pv == nil {
		v.Unknown = "no volume is bound to it"
		return v
	}
	if n := pv.Spec.NodeAffinity; n != nil && n.Required != nil {
		v.Affinity = n.Required.DeepCopy()
	}
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		if at := pv.Labels[key]; at != "" && v.Affinity == nil {
			v.Unknown = "its volume has the label " + key + " and no node affinity"
		}
	}
	switch s := pv.Spec.PersistentVolumeSource; {
	case s.CSI != nil:
		v.Driver = s.CSI.Driver
	case s.Local != nil || s.HostPath != nil || s.NFS != nil || s.ISCSI != nil || s.FC != nil:
	default:
		v.Unknown = "the kind of its volume is not known to the model"
	}
	return v
}

// shapeOf is what the scheduler looks at of a pod; its requests aside.
func shapeOf(s *corev1.PodSpec, own map[string]string) Shape {
	out := Shape{NodeSelector: s.NodeSelector, Tolerations: s.Tolerations}
	if a := s.Affinity; a != nil {
		if a.NodeAffinity != nil {
			out.Required = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		}
		if a.PodAffinity != nil {
			out.Affinity = a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		}
		if a.PodAntiAffinity != nil {
			out.AntiAffinity = a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		}
	}
	for _, c := range s.TopologySpreadConstraints {
		if c.WhenUnsatisfiable == corev1.DoNotSchedule {
			out.Spread = append(out.Spread, c)
		}
	}
	if s.SchedulerName != corev1.DefaultSchedulerName {
		out.Scheduler = s.SchedulerName
	}
	for _, c := range slices.Concat(s.InitContainers, s.Containers) {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				out.HostPorts = append(out.HostPorts, HostPort{p.HostIP, string(cmp.Or(p.Protocol, corev1.ProtocolTCP)), p.HostPort})
			}
		}
	}
	for _, v := range s.Volumes {
		switch {
		case v.EmptyDir != nil:
			out.EmptyDir = true
		case v.Ephemeral != nil:
			out.Unknown = append(out.Unknown, "gets a new volume: where that will be is not known")
		case v.AWSElasticBlockStore != nil || v.GCEPersistentDisk != nil || v.AzureDisk != nil || v.Cinder != nil || v.RBD != nil || v.ISCSI != nil:
			out.Unknown = append(out.Unknown, "has the disk "+v.Name+", of which it is not known where it can be attached")
		}
	}
	if len(s.ResourceClaims) > 0 {
		out.Unknown = append(out.Unknown, "claims devices, which the model does not know")
	}
	if len(s.SchedulingGates) > 0 {
		out.Unknown = append(out.Unknown, "waits for a scheduling gate")
	}
	if s.SchedulingGroup != nil {
		out.Unknown = append(out.Unknown, "is scheduled with a group")
	}
	for _, t := range s.Tolerations {
		switch t.Operator {
		case "", corev1.TolerationOpEqual, corev1.TolerationOpExists:
		default:
			out.Unknown = append(out.Unknown, "has a toleration that compares numbers")
		}
	}
	out.readSelectors(own)
	return out
}

// readSelectors puts the match label keys of spread constraints into their
// selectors, as the scheduler does (the API server has done so for affinity), and
// marks what cannot be read.
func (s *Shape) readSelectors(own map[string]string) {
	bad := func(l *metav1.LabelSelector) {
		if _, err := metav1.LabelSelectorAsSelector(l); err != nil {
			s.Unknown = append(s.Unknown, "has a selector that cannot be read: "+err.Error())
		}
		if byPlace(l) {
			s.Unknown = append(s.Unknown, "has a selector that asks where pods run")
		}
	}
	for _, t := range slices.Concat(s.Affinity, s.AntiAffinity) {
		bad(t.LabelSelector)
		bad(t.NamespaceSelector)
	}
	for i := range s.Spread {
		c := &s.Spread[i]
		if c.LabelSelector != nil && len(c.MatchLabelKeys) > 0 {
			c.LabelSelector = c.LabelSelector.DeepCopy()
			for _, key := range c.MatchLabelKeys {
				if v, ok := own[key]; ok {
					c.LabelSelector.MatchExpressions = append(c.LabelSelector.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{v}})
				}
			}
		}
		bad(c.LabelSelector)
	}
}

// namespaces reads those that have pods.
func (r *reader) namespaces(ctx context.Context) error {
	used := map[string]bool{}
	for i := range r.s.Pods {
		used[r.s.Pods[i].Namespace] = true
	}
	at := map[string]int{}
	if err := pages(ctx, "namespaces", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]corev1.Namespace, string, error) {
		l, err := r.c.Kube.CoreV1().Namespaces().List(ctx, o)
		return l.Items, l.Continue, err
	}, func(n *corev1.Namespace) {
		if !used[n.Name] {
			return
		}
		out := Namespace{Name: n.Name, Labels: n.Labels}
		if n.DeletionTimestamp != nil {
			out.Refuses = "its namespace is being deleted"
		}
		at[n.Name] = len(r.s.Namespaces)
		r.s.Namespaces = append(r.s.Namespaces, out)
	}); err != nil {
		return err
	}
	return pages(ctx, "ResourceQuotas", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]corev1.ResourceQuota, string, error) {
		l, err := r.c.Kube.CoreV1().ResourceQuotas("").List(ctx, o)
		return l.Items, l.Continue, err
	}, func(q *corev1.ResourceQuota) {
		i, ok := at[q.Namespace]
		for name, hard := range q.Status.Hard {
			if have := q.Status.Used[name]; ok && have.Cmp(hard) > 0 {
				r.s.Namespaces[i].Refuses = "ResourceQuota " + q.Name + " is overrun"
			}
		}
	})
}

// webhooks reads those that are asked when pods are made or evicted.
func (r *reader) webhooks(ctx context.Context) error {
	var services []*admissionv1.ServiceReference // of each webhook; nil: none
	add := func(o *metav1.ObjectMeta, name string, rules []admissionv1.RuleWithOperations, namespaces, objects *metav1.LabelSelector, c *admissionv1.WebhookClientConfig) {
		for _, resource := range []string{"pods", "pods/eviction"} {
			if slices.ContainsFunc(rules, func(r admissionv1.RuleWithOperations) bool { return about(r, resource) }) {
				r.s.Webhooks = append(r.s.Webhooks, Webhook{Name: name, Resource: resource, Namespaces: namespaces, Objects: objects, Since: o.CreationTimestamp.UTC()})
				services = append(services, c.Service)
			}
		}
	}
	reg := r.c.Kube.AdmissionregistrationV1()
	if err := pages(ctx, "mutating webhooks", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]admissionv1.MutatingWebhookConfiguration, string, error) {
		l, err := reg.MutatingWebhookConfigurations().List(ctx, o)
		return l.Items, l.Continue, err
	}, func(c *admissionv1.MutatingWebhookConfiguration) {
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			add(&c.ObjectMeta, w.Name, w.Rules, w.NamespaceSelector, w.ObjectSelector, &w.ClientConfig)
		}
	}); err != nil {
		return err
	}
	if err := pages(ctx, "validating webhooks", maxRead, func(ctx context.Context, o metav1.ListOptions) ([]admissionv1.ValidatingWebhookConfiguration, string, error) {
		l, err := reg.ValidatingWebhookConfigurations().List(ctx, o)
		return l.Items, l.Continue, err
	}, func(c *admissionv1.ValidatingWebhookConfiguration) {
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			add(&c.ObjectMeta, w.Name, w.Rules, w.NamespaceSelector, w.ObjectSelector, &w.ClientConfig)
		}
	}); err != nil {
		return err
	}
	for i, s := range services {
		if s != nil {
			var err error
			if r.s.Webhooks[i].AnsweredOn, err = r.answering(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// answering are the nodes of the Ready pods behind a Service.
func (r *reader) answering(ctx context.Context, s *admissionv1.ServiceReference) ([]string, error) {
	var nodes []string
	err := pages(ctx, "endpoints of "+s.Namespace+"/"+s.Name, maxRead, func(ctx context.Context, o metav1.ListOptions) ([]discoveryv1.EndpointSlice, string, error) {
		o.LabelSelector = labels.Set{discoveryv1.LabelServiceName: s.Name}.String()
		l, err := r.c.Kube.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, o)
		return l.Items, l.Continue, err
	}, func(e *discoveryv1.EndpointSlice) {
		for i := range e.Endpoints {
			x := &e.Endpoints[i]
			if x.NodeName != nil && (x.Conditions.Ready == nil || *x.Conditions.Ready) && !slices.Contains(nodes, *x.NodeName) {
				nodes = append(nodes, *x.NodeName)
			}
		}
	})
	slices.Sort(nodes)
	return nodes, err
}

// about reports whether a rule is about making that resource.
func about(r admissionv1.RuleWithOperations, resource string) bool {
	base, _, _ := strings.Cut(resource, "/")
	_, sub, _ := strings.Cut(resource, "/")
	matches := func(s string) bool {
		b, sr, _ := strings.Cut(s, "/")
		return s == "*/*" || s == "*" && sub == "" || s == resource || sub != "" && (b == "*" || b == base) && (sr == "*" || sr == sub) || sub == "" && b == base && sr == "*"
	}
	return (slices.Contains(r.APIGroups, "") || slices.Contains(r.APIGroups, "*")) && slices.ContainsFunc(r.Resources, matches) &&
		(slices.Contains(r.Operations, admissionv1.Create) || slices.Contains(r.Operations, admissionv1.OperationAll))
}

// autoscaler recognizes what makes nodes where pods find none.
func (r *reader) autoscaler(ctx context.Context) error {
	for i := range r.s.Nodes {
		for _, label := range []string{"karpenter.sh/nodepool", "karpenter.sh/provisioner-name"} {
			if r.s.Nodes[i].Labels[label] != "" {
				r.s.Autoscaler = "Karpenter"
				return nil
			}
		}
	}
	for i := range r.s.Pods {
		for _, label := range []string{"app", "k8s-app", "app.kubernetes.io/name"} {
			if v := r.s.Pods[i].Labels[label]; strings.Contains(v, "cluster-autoscaler") || v == "karpenter" {
				r.s.Autoscaler = v
				return nil
			}
		}
	}
	_, err := r.c.Kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "cluster-autoscaler-status", metav1.GetOptions{})
	switch {
	case err == nil:
		r.s.Autoscaler = "the cluster autoscaler"
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("look for a cluster autoscaler: %w", err)
	}
	return nil
}
