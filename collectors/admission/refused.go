package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/internal/cluster"
)

// LiveObjects are the objects of a cluster that policies are about, as far as policies
// read them, but for those that controllers of Kubernetes made of others among them.
type LiveObjects struct {
	Objects []LiveObject `json:"objects"`
	// Namespaces are the labels of all namespaces.
	Namespaces map[string]map[string]string `json:"namespaces"`
	// Errors say which resources could not be listed, or not all of them, and why.
	Errors map[string]string `json:"errors"`
}

// LiveObject is one object, or several of one owner that read the same.
type LiveObject struct {
	Count  int            `json:"count"`
	Owner  *Owner         `json:"owner,omitempty"` // that controls it
	Object map[string]any `json:"object"`          // the first that was listed
}

// Owner is what an object is controlled by.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
}

const (
	livePage = 500
	// maxLive bounds what is read of one resource, and maxRefused the findings about owners.
	maxLive    = 20_000
	maxRefused = 500
)

// liveKinds are the resources that built-in policies are about; of those with several
// versions the first that is served is read.
var liveKinds = [][]schema.GroupVersionResource{
	{{Version: "v1", Resource: "pods"}}, {{Version: "v1", Resource: "replicationcontrollers"}},
	{{Group: "apps", Version: "v1", Resource: "deployments"}}, {{Group: "apps", Version: "v1", Resource: "statefulsets"}},
	{{Group: "apps", Version: "v1", Resource: "daemonsets"}}, {{Group: "apps", Version: "v1", Resource: "replicasets"}},
	{{Group: "batch", Version: "v1", Resource: "jobs"}}, {{Group: "batch", Version: "v1", Resource: "cronjobs"}},
	{{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}},
	{{Group: "autoscaling.k8s.io", Version: "v1", Resource: "verticalpodautoscalers"}},
	{{Group: "external-secrets.io", Version: "v1", Resource: "externalsecrets"}, {Group: "external-secrets.io", Version: "v1beta1", Resource: "externalsecrets"}},
}

// clusterNamespaces are the cluster's own: policies never hold there (docs/platform-guide.md).
var clusterNamespaces = []string{"kube-system", "kube-public", "kube-node-lease"}

// lookAtObjects keeps of names and labels what the policies' exemptions tell objects apart by.
func lookAtObjects(ctx context.Context, cluster *cluster.Cluster, policies *Policies) *LiveObjects {
	exemptions := policies.allExemptions()
	live := &LiveObjects{Objects: []LiveObject{}, Namespaces: map[string]map[string]string{}, Errors: map[string]string{}}
	list := func(gvr schema.GroupVersionResource, each func(*unstructured.Unstructured)) (served bool) {
		opts := metav1.ListOptions{Limit: livePage}
		for n := 0; ; {
			page, err := cluster.Dynamic.Resource(gvr).List(ctx, opts)
			switch {
			case err != nil && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err)):
				return false
			case err != nil:
				live.Errors[gvr.GroupResource().String()] = err.Error()
				return true
			}
			for i := range page.Items {
				each(&page.Items[i])
			}
			if opts.Continue = page.GetContinue(); opts.Continue == "" {
				return true
			}
			if n += len(page.Items); n >= maxLive {
				live.Errors[gvr.GroupResource().String()] = fmt.Sprintf("there are more than %d", maxLive)
				return true
			}
		}
	}
	list(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}, func(o *unstructured.Unstructured) { live.Namespaces[o.GetName()] = o.GetLabels() })
	seen := map[string]int{}
	for _, versions := range liveKinds {
		for _, gvr := range versions {
			served := list(gvr, func(o *unstructured.Unstructured) {
				if slices.Contains(clusterNamespaces, o.GetNamespace()) || made(o) || ended(o) {
					return
				}
				x := LiveObject{Count: 1, Object: projected(o)}
				keepLabels(x.Object, o, exemptions)
				if c := metav1.GetControllerOf(o); c != nil {
					x.Owner = &Owner{c.APIVersion, c.Kind, c.Name}
					like := maps.Clone(x.Object)
					like["metadata"] = o.GetNamespace()
					raw, err := json.Marshal([]any{x.Owner, like, coverage(&x, exemptions)})
					if err != nil {
						live.Errors[gvr.GroupResource().String()] = err.Error()
						return
					}
					if at, ok := seen[string(raw)]; ok {
						live.Objects[at].Count++
						return
					}
					seen[string(raw)] = len(live.Objects)
				}
				live.Objects = append(live.Objects, x)
			})
			if served {
				break
			}
		}
	}
	return live
}

// made reports whether a controller of Kubernetes made the object of a workload that
// is judged itself: that passes the policies.
func made(o *unstructured.Unstructured) bool {
	c := metav1.GetControllerOf(o)
	if c == nil {
		return false
	}
	switch c.APIVersion + " " + c.Kind {
	case "apps/v1 Deployment", "apps/v1 ReplicaSet", "apps/v1 StatefulSet", "apps/v1 DaemonSet", "batch/v1 Job", "batch/v1 CronJob", "v1 ReplicationController":
		return true
	}
	return false
}

// ended reports whether a pod or Job has done what it was for.
func ended(o *unstructured.Unstructured) bool {
	phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
	_, completed, _ := unstructured.NestedString(o.Object, "status", "completionTime")
	return o.GetKind() == "Pod" && (phase == "Succeeded" || phase == "Failed") || o.GetKind() == "Job" && completed
}

// projected keeps of an object what built-in policies read. Environment, commands,
// arguments and annotations, where secrets may be, are none of it.
func projected(o *unstructured.Unstructured) map[string]any {
	metadata := map[string]any{"name": o.GetName(), "namespace": o.GetNamespace()}
	spec, _ := o.Object["spec"].(map[string]any)
	kept := map[string]any{}
	switch o.GetKind() {
	case "Pod":
		kept = projectedPod(spec)
		delete(kept, "nodeName") // the scheduler wrote it
	case "CronJob":
		template, _, _ := unstructured.NestedMap(spec, "jobTemplate", "spec", "template", "spec")
		kept["jobTemplate"] = map[string]any{"spec": map[string]any{"template": map[string]any{"spec": projectedPod(template)}}}
	case "HorizontalPodAutoscaler", "VerticalPodAutoscaler", "ExternalSecret":
		keep(kept, spec, "minReplicas", "maxReplicas", "behavior", "updatePolicy", "resourcePolicy", "refreshInterval", "refreshPolicy")
	default:
		keep(kept, spec, "replicas")
		template, _, _ := unstructured.NestedMap(spec, "template", "spec")
		of, _, _ := unstructured.NestedMap(spec, "template", "metadata", "labels")
		kept["template"] = map[string]any{"metadata": map[string]any{"labels": of}, "spec": projectedPod(template)}
	}
	return map[string]any{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "metadata": metadata, "spec": kept}
}

func keep(into, from map[string]any, fields ...string) {
	for _, f := range fields {
		if v, ok := from[f]; ok {
			into[f] = v
		}
	}
}

func projectedPod(spec map[string]any) map[string]any {
	out := map[string]any{}
	keep(out, spec, "automountServiceAccountToken", "os", "restartPolicy", "securityContext", "affinity", "topologySpreadConstraints", "nodeSelector", "nodeName")
	var told []string // what probes send or run: which are the same matters, not what they are
	for _, field := range []string{"initContainers", "containers"} {
		list, _ := spec[field].([]any)
		if field == "initContainers" && len(list) == 0 {
			continue
		}
		containers := make([]any, 0, len(list))
		for _, v := range list {
			c, _ := v.(map[string]any)
			kept := map[string]any{}
			keep(kept, c, "name", "image", "resources", "securityContext")
			for _, probe := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
				if p, ok := c[probe].(map[string]any); ok {
					kept[probe] = projectedProbe(p, &told)
				}
			}
			containers = append(containers, kept)
		}
		out[field] = containers
	}
	return out
}

// projectedProbe puts a number in the place of a command or of headers; the same
// number stands for the same ones.
func projectedProbe(p map[string]any, told *[]string) map[string]any {
	number := func(v any) string {
		text := fmt.Sprint(v)
		if !slices.Contains(*told, text) {
			*told = append(*told, text)
		}
		return fmt.Sprint(slices.Index(*told, text) + 1)
	}
	out := maps.Clone(p)
	if exec, ok := p["exec"].(map[string]any); ok {
		out["exec"] = map[string]any{"command": []any{number(exec["command"])}}
	}
	if get, ok := p["httpGet"].(map[string]any); ok && get["httpHeaders"] != nil {
		get = maps.Clone(get)
		get["httpHeaders"] = []any{map[string]any{"name": number(get["httpHeaders"])}}
		out["httpGet"] = get
	}
	return out
}
