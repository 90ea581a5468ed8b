package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Autoscaler is a custom resource that scales a workload, as the
// HorizontalPodAutoscaler that its controller makes of it, or that it is like.
type Autoscaler struct {
	Object *Object // as rendered
	// As is an autoscaling/v2 HorizontalPodAutoscaler. Its minReplicas is the smallest
	// number of pods that the workload is left with, in idle times and by a fallback.
	As *Object
	// MinAt is the field that minReplicas comes from.
	MinAt string
	// Up is the smallest number of pods above zero; 0 where there are never any.
	Up int
	// TakesOver names a HorizontalPodAutoscaler that it replaces; empty: none.
	TakesOver string
	// Paused is the annotation by which no HorizontalPodAutoscaler is made, and the
	// number of pods is left as it is; empty: none.
	Paused string
	// FromZero says that it scales a workload that is at 0 as well.
	FromZero bool
	// Own says that it scales the object itself.
	Own bool
	// NoWindows says that it knows no stabilization windows.
	NoWindows bool
	// Unknown says that nobody knows by what bounds it scales; empty: they are known.
	Unknown string

	words *strings.Replacer
}

// Words says a message about As in the words of the custom resource.
func (a *Autoscaler) Words(message string) string { return a.words.Replace(message) }

// Annotations of KEDA and Knative.
const (
	kedaPausedAt = "autoscaling.keda.sh/paused-replicas"
	kedaPaused   = "autoscaling.keda.sh/paused"
	kedaNotOut   = "autoscaling.keda.sh/paused-scale-out"
	kedaTransfer = "scaledobject.keda.sh/transfer-hpa-ownership"
	kedaHTTPSkip = "httpscaledobject.keda.sh/skip-scaledobject-creation"
)

var maxScales = []string{"autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/maxScale"}

// Autoscaler returns the autoscaler that the object stands for: a ScaledObject of
// KEDA, what its add-on for HTTP makes one of, what Knative serves, or a kind that
// nobody knows and that names what it scales as all autoscalers do. nil: none.
func (o *Object) Autoscaler() *Autoscaler {
	switch gk := o.GroupVersionKind().GroupKind(); {
	case gk.Group == "keda.sh" && gk.Kind == "ScaledObject":
		return o.kedaScaler()
	case gk.Group == "http.keda.sh" && gk.Kind == "HTTPScaledObject":
		return o.kedaHTTPScaler()
	case gk.Group == "serving.knative.dev":
		for _, w := range o.Workloads(nil) {
			if w.As != nil {
				return o.knativeScaler(&w)
			}
		}
	default:
		return o.unknownScaler()
	}
	return nil
}

// kedaHTTPScaler is the ScaledObject that KEDA's add-on for HTTP makes, with the
// add-on's defaults (http-add-on, operator/controllers/http).
func (o *Object) kedaHTTPScaler() *Autoscaler {
	if o.GetAnnotations()[kedaHTTPSkip] == "true" {
		return nil // somebody else makes the ScaledObject
	}
	spec, _ := o.Object["spec"].(map[string]any)
	bounds, _ := spec["replicas"].(map[string]any)
	made := picked(spec, "scaleTargetRef")
	for from, to := range map[string]string{"min": "minReplicaCount", "max": "maxReplicaCount"} {
		if bounds[from] != nil {
			made[to] = bounds[from]
		}
	}
	as := *o
	as.Object = map[string]any{"metadata": o.Object["metadata"], "spec": made}
	a := as.kedaScaler()
	a.Object, a.MinAt, a.NoWindows = o, "replicas.min", true
	a.words = strings.NewReplacer("minReplicas", "replicas.min", "maxReplicas", "replicas.max")
	return a
}

// scaled leads to what an autoscaler of another project scales, where it is not
// called scaleTargetRef.
var scaled = map[string]string{"datadoghq.com/DatadogPodAutoscaler": "targetRef"}

func (o *Object) unknownScaler() *Autoscaler {
	gk := o.GroupVersionKind().GroupKind()
	if !strings.Contains(gk.Group, ".") {
		return nil // of Kubernetes itself
	}
	spec, _ := o.Object["spec"].(map[string]any)
	field := cmp.Or(scaled[gk.Group+"/"+gk.Kind], "scaleTargetRef")
	ref, ok := spec[field].(map[string]any)
	if !ok || ref["name"] == nil {
		return nil
	}
	return &Autoscaler{Object: o, As: o.scaler(map[string]any{"scaleTargetRef": scaleTarget(ref)}), NoWindows: true, words: strings.NewReplacer(),
		Unknown: fmt.Sprintf("%s %s scales %v, and by what bounds is not known", gk.Kind, o.GetName(), ref["name"])}
}

// scaleTarget completes what an autoscaler names by its name alone.
func scaleTarget(ref map[string]any) map[string]any {
	ref = picked(ref, "apiVersion", "kind", "name")
	for field, value := range map[string]string{"apiVersion": "apps/v1", "kind": "Deployment"} {
		if ref[field] == nil || ref[field] == "" {
			ref[field] = value
		}
	}
	return ref
}

func (o *Object) kedaScaler() *Autoscaler {
	spec, _ := o.Object["spec"].(map[string]any)
	a := &Autoscaler{Object: o, MinAt: "minReplicaCount"}
	var floor any = int64(0)
	if v := spec["minReplicaCount"]; v != nil {
		floor = v
	}
	lower := func(at string, v any) {
		n, ok := v.(int64)
		if have, is := floor.(int64); v != nil && (!ok || !is || n < have) {
			a.MinAt, floor = at, v
		}
	}
	lower("idleReplicaCount", spec["idleReplicaCount"])
	if fallback, ok := spec["fallback"].(map[string]any); ok {
		switch fallback["behavior"] {
		case nil, "", "static", "currentReplicasIfLower":
			lower("fallback.replicas", fallback["replicas"])
		}
	}
	annotations := o.GetAnnotations()
	if v, ok := annotations[kedaPausedAt]; ok {
		a.MinAt, floor = kedaPausedAt, v
		if n, err := strconv.ParseInt(v, 10, 32); err == nil {
			floor = n
		}
	} else if annotated(annotations, kedaPaused) {
		a.Paused = kedaPaused
	}
	// Nothing is lowered by paused-scale-in, and above 0 the HorizontalPodAutoscaler
	// still brings the minimum with paused-scale-out.
	a.FromZero = !annotated(annotations, kedaNotOut)
	a.Up = kedaUp(spec, floor, a.MinAt)
	hpa := map[string]any{"minReplicas": floor, "maxReplicas": int64(100)} // KEDA's default
	if v := spec["maxReplicaCount"]; v != nil {
		hpa["maxReplicas"] = v
	}
	hpa["scaleTargetRef"] = spec["scaleTargetRef"]
	if ref, ok := spec["scaleTargetRef"].(map[string]any); ok {
		hpa["scaleTargetRef"] = scaleTarget(ref)
	}
	advanced, _ := spec["advanced"].(map[string]any)
	config, _ := advanced["horizontalPodAutoscalerConfig"].(map[string]any)
	if config["behavior"] != nil {
		hpa["behavior"] = config["behavior"]
	}
	if annotations[kedaTransfer] == "true" {
		a.TakesOver, _ = config["name"].(string)
	}
	hpa["metrics"] = kedaMetrics(spec["triggers"])
	a.As = o.scaler(hpa)
	a.words = strings.NewReplacer("minReplicas", a.MinAt, "maxReplicas", "maxReplicaCount", "behavior.", "advanced.horizontalPodAutoscalerConfig.behavior.")
	return a
}

// annotated reads an annotation as KEDA does: what is no boolean is a yes.
func annotated(annotations map[string]string, key string) bool {
	v, ok := annotations[key]
	yes, err := strconv.ParseBool(v)
	return ok && (yes || err != nil)
}

// kedaUp is the smallest number of pods above zero that KEDA leaves a workload with
// whose smallest number is the floor: where it scales from zero, the
// HorizontalPodAutoscaler that it makes begins at minReplicaCount, or at 1.
func kedaUp(spec map[string]any, floor any, at string) int {
	n, ok := floor.(int64)
	if !ok || n > 0 || at == kedaPausedAt {
		return int(max(n, 0))
	}
	up := int64(1)
	if v, ok := spec["minReplicaCount"].(int64); ok && v > 0 {
		up = v
	}
	fallback, _ := spec["fallback"].(map[string]any)
	for _, v := range []any{spec["idleReplicaCount"], fallback["replicas"]} {
		if n, ok := v.(int64); ok && n > 0 {
			up = min(up, n)
		}
	}
	return int(up)
}

// kedaMetrics are the metrics that KEDA gives to the HorizontalPodAutoscaler:
// those of cpu and memory as such, all others as external ones.
func kedaMetrics(triggers any) []any {
	out := []any{}
	list, _ := triggers.([]any)
	for _, e := range list {
		t, _ := e.(map[string]any)
		switch name, _ := t["type"].(string); name {
		case "cpu", "memory":
			out = append(out, map[string]any{"type": "Resource", "resource": map[string]any{"name": name}})
		default:
			out = append(out, map[string]any{"type": "External"})
		}
	}
	return out
}

func (o *Object) knativeScaler(w *Workload) *Autoscaler {
	spec, _ := w.As.Object["spec"].(map[string]any)
	hpa := map[string]any{"minReplicas": spec["replicas"]}
	template, _ := spec["template"].(map[string]any)
	meta, _ := template["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	at := maxScales[0]
	if i := slices.IndexFunc(maxScales, func(k string) bool { return annotations[k] != nil }); i >= 0 {
		at = maxScales[i]
		hpa["maxReplicas"] = annotations[at]
		if text, ok := annotations[at].(string); ok {
			if n, err := strconv.ParseInt(text, 10, 32); err == nil {
				hpa["maxReplicas"] = n // 0 is no bound, as with none
			}
		}
	}
	return &Autoscaler{Object: o, As: o.scaler(hpa), MinAt: w.ReplicasAt, Own: true, NoWindows: true, words: strings.NewReplacer("minReplicas", w.ReplicasAt, "maxReplicas", at)}
}

func (o *Object) scaler(spec map[string]any) *Object {
	out := *o
	out.Object = map[string]any{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": o.Object["metadata"], "spec": spec}
	return &out
}
