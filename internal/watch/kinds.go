package watch

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/companyos/helmproof/collectors/podsecurity"
)

// The kinds that are named more than once.
const (
	pods            = "Pods"
	budgets         = "PodDisruptionBudgets"
	autoscalers     = "HorizontalPodAutoscalers"
	verticals       = "VerticalPodAutoscalers"
	externalSecrets = "ExternalSecrets"
	helmSecrets     = "Helm's Secrets"
	helmConfigMaps  = "Helm's ConfigMaps"
)

// resource is how a kind is read, and what is kept of it.
type resource struct {
	name      string // for people, and unique
	plural    string // with definedBy
	definedBy string // group and version of a custom resource, which may not be served
	client    any
	object    runtime.Object
	list      func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch     func(context.Context, metav1.ListOptions) (watch.Interface, error)
	keep      func(metav1.Object) any // nil: nothing
	handler   cache.ResourceEventHandler
}

// typed is a typed client of one resource.
type typed[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func of[T metav1.Object, L runtime.Object](name string, object runtime.Object, client any, c typed[L], keep func(T) any) resource {
	return resource{
		name: name, client: client, object: object, watch: c.Watch, handler: cache.ResourceEventHandlerFuncs{},
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return c.List(ctx, o) },
		keep: func(m metav1.Object) any {
			if x, ok := m.(T); ok {
				return keep(x)
			}
			return nil
		},
	}
}

// resources are all that is watched.
func resources(c *Clients, a *api) []resource {
	const all = metav1.NamespaceAll
	k := c.Kube
	judge := func(m *metav1.ObjectMeta, t *corev1.PodTemplateSpec) any {
		if m != nil && metav1.GetControllerOf(m) != nil {
			return nil // its owner's template is judged
		}
		return judged(c.Version, t)
	}
	hpa := of(autoscalers, &autoscalingv2.HorizontalPodAutoscaler{}, k, k.AutoscalingV2().HorizontalPodAutoscalers(all), func(h *autoscalingv2.HorizontalPodAutoscaler) any {
		if len(h.Status.Conditions) == 0 && h.Status.LastScaleTime == nil && h.Status.DesiredReplicas == 0 {
			return nil // nobody computed anything yet
		}
		return h.Status.DesiredReplicas
	})
	hpa.handler = cache.ResourceEventHandlerFuncs{
		AddFunc:    func(x any) { a.scale(nil, x) },
		UpdateFunc: a.scale,
		DeleteFunc: a.unscale,
	}
	out := []resource{
		of(pods, &corev1.Pod{}, k, k.CoreV1().Pods(all), func(p *corev1.Pod) any {
			if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
				return nil
			}
			return judged(c.Version, &corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec})
		}),
		of("Deployments", &appsv1.Deployment{}, k, k.AppsV1().Deployments(all), func(x *appsv1.Deployment) any { return judge(nil, &x.Spec.Template) }),
		of("StatefulSets", &appsv1.StatefulSet{}, k, k.AppsV1().StatefulSets(all), func(x *appsv1.StatefulSet) any { return judge(nil, &x.Spec.Template) }),
		of("DaemonSets", &appsv1.DaemonSet{}, k, k.AppsV1().DaemonSets(all), func(x *appsv1.DaemonSet) any { return judge(nil, &x.Spec.Template) }),
		of("ReplicaSets", &appsv1.ReplicaSet{}, k, k.AppsV1().ReplicaSets(all), func(x *appsv1.ReplicaSet) any { return judge(&x.ObjectMeta, &x.Spec.Template) }),
		of("ReplicationControllers", &corev1.ReplicationController{}, k, k.CoreV1().ReplicationControllers(all), func(x *corev1.ReplicationController) any {
			if x.Spec.Template == nil {
				return nil
			}
			return judge(&x.ObjectMeta, x.Spec.Template)
		}),
		of("Jobs", &batchv1.Job{}, k, k.BatchV1().Jobs(all), func(x *batchv1.Job) any {
			if slices.ContainsFunc(x.Status.Conditions, func(c batchv1.JobCondition) bool {
				return (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue
			}) {
				return nil
			}
			return judge(&x.ObjectMeta, &x.Spec.Template)
		}),
		of("CronJobs", &batchv1.CronJob{}, k, k.BatchV1().CronJobs(all), func(x *batchv1.CronJob) any { return judge(nil, &x.Spec.JobTemplate.Spec.Template) }),
		hpa,
		of(budgets, &policyv1.PodDisruptionBudget{}, k, k.PolicyV1().PodDisruptionBudgets(all), keepBudget),
	}
	for _, x := range []struct {
		name, version, plural string
		keep                  func(*unstructured.Unstructured) any
	}{
		{verticals, "autoscaling.k8s.io/v1", "verticalpodautoscalers", keepVertical},
		{externalSecrets, "external-secrets.io/v1", "externalsecrets", keepExternalSecret},
	} {
		gv, _ := schema.ParseGroupVersion(x.version)
		r := of(x.name, &unstructured.Unstructured{}, c.Dynamic, custom{c.Dynamic.Resource(gv.WithResource(x.plural))}, x.keep)
		r.definedBy, r.plural = x.version, x.plural
		out = append(out, r)
	}
	for name, plural := range map[string]string{helmSecrets: "secrets", helmConfigMaps: "configmaps"} {
		m := c.Metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: plural})
		r := of(name, &metav1.PartialObjectMetadata{}, c.Metadata, m, func(m *metav1.PartialObjectMetadata) any { return keepRevision(plural, m) })
		list, follow := r.list, r.watch
		r.list = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = helmOwned
			return list(ctx, o)
		}
		r.watch = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = helmOwned
			return follow(ctx, o)
		}
		out = append(out, r)
	}
	return out
}

// custom is a dynamic client as a typed one.
type custom struct {
	c interface {
		List(context.Context, metav1.ListOptions) (*unstructured.UnstructuredList, error)
		Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
	}
}

func (c custom) List(ctx context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	return c.c.List(ctx, o)
}

func (c custom) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return c.c.Watch(ctx, o)
}

// refused are the Pod Security Standards that refuse a pod.
type refused struct{ baseline, restricted bool }

// judged is what the standards say of a pod. What cannot be judged counts as refused.
func judged(version string, t *corev1.PodTemplateSpec) any {
	baseline, restricted, err := podsecurity.Allowed(version, t)
	return refused{err != nil || !baseline, err != nil || !restricted}
}

type budget struct{ violated bool }

// keepBudget reads the status of a budget, which is nothing before its controller saw it.
func keepBudget(p *policyv1.PodDisruptionBudget) any {
	s := &p.Status
	if s.ObservedGeneration == 0 && len(s.Conditions) == 0 {
		return nil
	}
	broken := slices.ContainsFunc(s.Conditions, func(c metav1.Condition) bool {
		return c.Type == policyv1.DisruptionAllowedCondition && c.Reason == policyv1.SyncFailedReason && c.Status == metav1.ConditionFalse
	})
	return budget{broken || s.CurrentHealthy < s.DesiredHealthy || s.ExpectedPods > 0 && s.CurrentHealthy >= s.ExpectedPods && s.DisruptionsAllowed == 0}
}

// recommended is one figure of a VerticalPodAutoscaler.
type recommended struct {
	container, resource string
	value               float64
}

func keepVertical(u *unstructured.Unstructured) any {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "recommendation", "containerRecommendations")
	var out []recommended
	for _, x := range list {
		m, _ := x.(map[string]any)
		container, _, _ := unstructured.NestedString(m, "containerName")
		target, _, _ := unstructured.NestedStringMap(m, "target")
		for _, name := range []string{"cpu", "memory"} {
			if q, err := quantity.ParseQuantity(target[name]); err == nil {
				out = append(out, recommended{container, name, q.AsApproximateFloat64()})
			}
		}
	}
	if out == nil {
		return nil
	}
	return out
}

type externalSecret struct {
	ready     bool
	refreshed time.Time
	interval  time.Duration
}

// defaultRefresh is the refreshInterval of an ExternalSecret that names none.
const defaultRefresh = time.Hour

func keepExternalSecret(u *unstructured.Unstructured) any {
	e := externalSecret{interval: defaultRefresh}
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, x := range conditions {
		if c, ok := x.(map[string]any); ok && c["type"] == "Ready" {
			e.ready = c["status"] == "True"
		}
	}
	if s, _, _ := unstructured.NestedString(u.Object, "status", "refreshTime"); s != "" {
		e.refreshed, _ = time.Parse(time.RFC3339, s) // what is no time was never
	}
	if s, ok, _ := unstructured.NestedString(u.Object, "spec", "refreshInterval"); ok {
		e.interval, _ = time.ParseDuration(s) // the API server takes none that is no duration
	}
	if policy, _, _ := unstructured.NestedString(u.Object, "spec", "refreshPolicy"); policy == "CreatedOnce" || policy == "OnChange" {
		e.interval = 0
	}
	return e
}

// scaling counts what an autoscaler did.
type scaling struct {
	up, down, turns int
	last            int // +1 after up, -1 after down
}

// scale counts a change of the number of replicas that an autoscaler wants.
func (a *api) scale(old, now any) {
	next, ok := now.(*item)
	if !ok {
		return
	}
	want, ok := next.what.(int32)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := next.Namespace + "/" + next.Name
	x := a.scaled[key]
	if x == nil {
		x = &scaling{}
		a.scaled[key] = x
	}
	before, ok := old.(*item)
	if !ok {
		return
	}
	had, ok := before.what.(int32)
	if !ok || had == want || before.UID != next.UID {
		return
	}
	way := 1
	if want < had {
		way = -1
		x.down++
	} else {
		x.up++
	}
	if x.last == -way {
		x.turns++
	}
	x.last = way
}

func (a *api) unscale(x any) {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(x)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.scaled, key)
}
