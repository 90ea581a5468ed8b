// Package autoscaling looks at how the release's autoscalers and disruption
// budgets behave in the cluster: whether they thrash or are saturated, and how far
// requests are from what a VerticalPodAutoscaler recommends.
package autoscaling

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name in the catalog.
const Name = "autoscaling"

// The rules.
const (
	RuleThrash         = "autoscaling/thrash"
	RuleConditions     = "autoscaling/thrash-conditions"
	RuleSaturation     = "autoscaling/saturation"
	RuleBudget         = "autoscaling/saturation-budget"
	RuleRecommendation = "autoscaling/recommendation"
)

const (
	file = "autoscaling.json"
	// window is how far back scale events are looked at: the API server keeps them
	// for an hour unless told otherwise.
	window = time.Hour
	// maxEvents bounds what is sealed of one autoscaler.
	maxEvents = 500
)

// Seen is what the cluster said, and when it was asked.
type Seen struct {
	At      time.Time `json:"at"`
	HPAs    []HPA     `json:"hpas"`
	VPAs    []VPA     `json:"vpas"`
	Budgets []Budget  `json:"budgets"`
}

// Entry is about one object of the release.
type Entry struct {
	Index int    `json:"index"` // of the object in the sealed manifests
	Found bool   `json:"found"`
	Error string `json:"error,omitempty"`
}

// HPA is a HorizontalPodAutoscaler, live.
type HPA struct {
	Entry
	Min         int32        `json:"min,omitempty"`
	Max         int32        `json:"max,omitempty"`
	Current     int32        `json:"current"`
	Desired     int32        `json:"desired"`
	Conditions  []Condition  `json:"conditions,omitempty"`
	LastScale   *metav1.Time `json:"lastScale,omitempty"`
	Rescales    []Rescale    `json:"rescales,omitempty"` // oldest first, within the window
	EventsError string       `json:"eventsError,omitempty"`
}

// Condition is one of a status.
type Condition struct {
	Type    string      `json:"type"`
	Status  string      `json:"status"`
	Reason  string      `json:"reason,omitempty"`
	Message string      `json:"message,omitempty"`
	Since   metav1.Time `json:"since"`
}

// Rescale is an event SuccessfulRescale.
type Rescale struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"` // "New size: 4; reason: …"
	Count   int32     `json:"count"`
}

// VPA is a VerticalPodAutoscaler, live, with the requests of what it watches.
type VPA struct {
	Entry
	Target          string              `json:"target,omitempty"` // "Deployment web"
	Recommendations []Recommendation    `json:"recommendations,omitempty"`
	Requests        map[string]Requests `json:"requests,omitempty"` // by container
	RequestsError   string              `json:"requestsError,omitempty"`
}

// Recommendation is that for one container: quantities as text, by resource.
type Recommendation struct {
	Container string            `json:"container"`
	Target    map[string]string `json:"target"`
}

// Requests are a container's, by resource.
type Requests map[string]string

// Budget is a PodDisruptionBudget's status.
type Budget struct {
	Entry
	Current  int32 `json:"currentHealthy"`
	Desired  int32 `json:"desiredHealthy"`
	Expected int32 `json:"expectedPods"`
	Allowed  int32 `json:"disruptionsAllowed"`
}

type collector struct{}

// New returns the collector.
func New() collectors.Collector { return collector{} }

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

// kindOf tells the kinds that are looked at.
func kindOf(o *manifest.Object) string {
	switch gk := o.GroupVersionKind().GroupKind(); gk {
	case schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:
		return "hpa"
	case schema.GroupKind{Group: "autoscaling.k8s.io", Kind: "VerticalPodAutoscaler"}:
		return "vpa"
	case schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}:
		return "pdb"
	}
	return ""
}

// Collect looks at the autoscalers and budgets of the release.
func (collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if in.Cluster == nil {
		return collectors.ErrNoCluster
	}
	set, err := in.Release.Objects()
	if err != nil {
		return err
	}
	seen := Seen{At: in.Now().UTC(), HPAs: []HPA{}, VPAs: []VPA{}, Budgets: []Budget{}}
	for i := range set.Objects {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		o := &set.Objects[i]
		ns := cmp.Or(o.GetNamespace(), in.Release.Info.Namespace)
		switch kindOf(o) {
		case "hpa":
			seen.HPAs = append(seen.HPAs, lookAtHPA(ctx, in.Cluster, i, ns, o.GetName(), seen.At))
		case "vpa":
			seen.VPAs = append(seen.VPAs, lookAtVPA(ctx, in.Cluster, i, ns, o))
		case "pdb":
			seen.Budgets = append(seen.Budgets, lookAtBudget(ctx, in.Cluster, i, ns, o.GetName()))
		}
	}
	return collectors.WriteJSON(out, file, seen)
}

// entry sorts the outcome of a get: not there is an answer, all else is none.
func entry(i int, err error) Entry {
	e := Entry{Index: i, Found: err == nil}
	if err != nil && (!apierrors.IsNotFound(err) || strings.Contains(err.Error(), "the server could not find the requested resource")) {
		e.Error = err.Error()
	}
	return e
}

func lookAtHPA(ctx context.Context, cluster *cluster.Cluster, i int, ns, name string, now time.Time) HPA {
	live, err := cluster.Kube.AutoscalingV2().HorizontalPodAutoscalers(ns).Get(ctx, name, metav1.GetOptions{})
	h := HPA{Entry: entry(i, err)}
	if !h.Found {
		return h
	}
	h.Min, h.Max, h.Current, h.Desired, h.LastScale = 1, live.Spec.MaxReplicas, live.Status.CurrentReplicas, live.Status.DesiredReplicas, live.Status.LastScaleTime
	if live.Spec.MinReplicas != nil {
		h.Min = *live.Spec.MinReplicas
	}
	for _, c := range live.Status.Conditions {
		h.Conditions = append(h.Conditions, Condition{string(c.Type), string(c.Status), c.Reason, c.Message, c.LastTransitionTime})
	}
	if h.Rescales, err = rescales(ctx, cluster, live, now); err != nil {
		h.EventsError = err.Error()
	}
	return h
}

func rescales(ctx context.Context, cluster *cluster.Cluster, h *autoscalingv2.HorizontalPodAutoscaler, now time.Time) ([]Rescale, error) {
	list, err := cluster.Kube.CoreV1().Events(h.Namespace).List(ctx, metav1.ListOptions{
		Limit: maxEvents, FieldSelector: fields.Set{"involvedObject.name": h.Name, "involvedObject.kind": "HorizontalPodAutoscaler", "reason": "SuccessfulRescale"}.String(),
	})
	if err != nil {
		return nil, err
	}
	if list.Continue != "" {
		return nil, fmt.Errorf("more than %d events", maxEvents)
	}
	var out []Rescale
	for i := range list.Items {
		e := &list.Items[i]
		at, count := e.LastTimestamp.Time, e.Count
		if e.Series != nil {
			at, count = e.Series.LastObservedTime.Time, e.Series.Count
		}
		if at.IsZero() {
			at = e.EventTime.Time
		}
		if at.IsZero() {
			at = e.CreationTimestamp.Time
		}
		if e.InvolvedObject.UID != h.UID || now.Sub(at) > window {
			continue
		}
		out = append(out, Rescale{at.UTC(), e.Message, max(count, 1)})
	}
	slices.SortFunc(out, func(a, b Rescale) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Message, b.Message)) })
	return out, nil
}

func lookAtVPA(ctx context.Context, cluster *cluster.Cluster, i int, ns string, o *manifest.Object) VPA {
	gvr := schema.GroupVersionResource{Group: "autoscaling.k8s.io", Version: o.GroupVersionKind().Version, Resource: "verticalpodautoscalers"}
	live, err := cluster.Dynamic.Resource(gvr).Namespace(ns).Get(ctx, o.GetName(), metav1.GetOptions{})
	v := VPA{Entry: entry(i, err)}
	if !v.Found {
		return v
	}
	list, _, err := unstructured.NestedSlice(live.Object, "status", "recommendation", "containerRecommendations")
	if err != nil {
		v.Error = err.Error()
		return v
	}
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		r := Recommendation{Target: map[string]string{}}
		r.Container, _, _ = unstructured.NestedString(m, "containerName")
		if target, ok := m["target"].(map[string]any); ok {
			for k, q := range target {
				r.Target[k] = fmt.Sprint(q)
			}
		}
		v.Recommendations = append(v.Recommendations, r)
	}
	kind, _, _ := unstructured.NestedString(live.Object, "spec", "targetRef", "kind")
	name, _, _ := unstructured.NestedString(live.Object, "spec", "targetRef", "name")
	v.Target = kind + " " + name
	spec, err := podSpec(ctx, cluster, ns, kind, name)
	if err != nil {
		v.RequestsError = err.Error()
		return v
	}
	v.Requests = map[string]Requests{}
	for _, c := range spec.Containers {
		r := Requests{}
		for k, q := range c.Resources.Requests {
			r[string(k)] = q.String()
		}
		v.Requests[c.Name] = r
	}
	return v
}

func podSpec(ctx context.Context, cluster *cluster.Cluster, ns, kind, name string) (*corev1.PodSpec, error) {
	apps := cluster.Kube.AppsV1()
	switch kind {
	case "Deployment":
		o, err := apps.Deployments(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return &o.Spec.Template.Spec, nil
	case "StatefulSet":
		o, err := apps.StatefulSets(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return &o.Spec.Template.Spec, nil
	case "DaemonSet":
		o, err := apps.DaemonSets(ns).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return &o.Spec.Template.Spec, nil
	}
	return nil, fmt.Errorf("requests of a %s are not looked at", kind)
}

func lookAtBudget(ctx context.Context, cluster *cluster.Cluster, i int, ns, name string) Budget {
	live, err := cluster.Kube.PolicyV1().PodDisruptionBudgets(ns).Get(ctx, name, metav1.GetOptions{})
	b := Budget{Entry: entry(i, err)}
	if b.Found {
		b.fill(&live.Status)
		if live.Status.ObservedGeneration < live.Generation {
			b.Error = "its status is not up to date yet"
		}
	}
	return b
}

func (b *Budget) fill(s *policyv1.PodDisruptionBudgetStatus) {
	b.Current, b.Desired, b.Expected, b.Allowed = s.CurrentHealthy, s.DesiredHealthy, s.ExpectedPods, s.DisruptionsAllowed
}
