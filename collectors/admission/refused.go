package admission

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
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

func lookAtObjects(ctx context.Context, cluster *cluster.Cluster) *LiveObjects {
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
				if c := metav1.GetControllerOf(o); c != nil {
					x.Owner = &Owner{c.APIVersion, c.Kind, c.Name}
					like := maps.Clone(x.Object)
					like["metadata"] = o.GetNamespace()
					raw, err := json.Marshal([]any{x.Owner, like})
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

// refusal is what would be refused of one owner.
type refusal struct {
	target   evidence.Target
	count    int
	policies []string
	first    string // message
	held     bool   // policies deny in its namespace
	object   int    // that says so
	unsure   bool   // a policy could not be evaluated
}

// refused decides ADM-8: what would be refused if it were written again.
func (d *derivation) refused() error {
	var live LiveObjects
	if err := d.Parse(objectsFile, &live); errors.Is(err, fs.ErrNotExist) {
		return nil // of an earlier version
	} else if err != nil {
		return err
	}
	var sealed Policies
	if err := d.Parse(policiesFile, &sealed); err != nil {
		return err
	}
	raw, err := d.Read(collectors.PoliciesFile)
	if err != nil {
		return err
	}
	objects := make([]manifest.Object, 0, len(live.Objects)+len(live.Namespaces))
	for i := range live.Objects {
		objects = append(objects, manifest.Object{Unstructured: unstructured.Unstructured{Object: live.Objects[i].Object}})
	}
	for _, name := range slices.Sorted(maps.Keys(live.Namespaces)) {
		ns := unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
		ns.SetLabels(live.Namespaces[name])
		objects = append(objects, manifest.Object{Unstructured: ns})
	}
	said, err := policy.Refusals(raw, objects)
	if err != nil {
		return err
	}
	owners, refusals, byPolicy := map[evidence.Target]bool{}, map[evidence.Target]*refusal{}, map[string]int{}
	for i := range live.Objects {
		t := objects[i].Target("")
		if o := live.Objects[i].Owner; o != nil {
			t = evidence.Target{APIVersion: o.APIVersion, Kind: o.Kind, Name: o.Name, Namespace: t.Namespace}
		}
		owners[t] = true
		if len(said[i]) == 0 {
			continue
		}
		r := refusals[t]
		if r == nil {
			r = &refusal{target: t, first: said[i][0].Message, held: denies(&sealed, t.Namespace, live.Namespaces[t.Namespace]), object: i}
			refusals[t] = r
		}
		r.count += live.Objects[i].Count
		for _, x := range said[i] {
			r.unsure = r.unsure || x.Undecided
			if !slices.Contains(r.policies, x.Policy) {
				r.policies = append(r.policies, x.Policy)
				byPolicy[x.Policy]++
			}
		}
	}
	const fix = "Correct the object, or exempt what you cannot (policies.exemptions of charts/platform), before policies deny here or the object is changed next."
	list := slices.SortedFunc(maps.Values(refusals), func(a, b *refusal) int {
		return cmp.Or(cmp.Compare(a.target.Namespace, b.target.Namespace), cmp.Compare(a.target.Kind, b.target.Kind), cmp.Compare(a.target.Name, b.target.Name), cmp.Compare(a.target.APIVersion, b.target.APIVersion))
	})
	for _, r := range list[:min(len(list), maxRefused)] {
		d.Add(RuleRefused, r.target, r.outcome(), r.message(), fix, d.Own(objectsFile, fmt.Sprintf("/objects/%d", r.object)))
	}
	d.refusedSummary(&live, len(owners), len(list), byPolicy)
	return nil
}

func (r *refusal) outcome() evidence.Outcome {
	if r.unsure {
		return evidence.OutcomeNotChecked
	}
	return evidence.OutcomeWarn
}

func (r *refusal) message() string {
	when := "would be refused if policies denied in its namespace"
	if r.held {
		when = "runs on, but would be refused if it were made again"
	}
	pods := ""
	if r.count > 1 {
		pods = fmt.Sprintf(" (%d pods or objects)", r.count)
	}
	return fmt.Sprintf("%s%s, by %s: %s", when, pods, strings.Join(r.policies, ", "), r.first)
}

// refusedSummary says how many there are, and what was not seen.
func (d *derivation) refusedSummary(live *LiveObjects, owners, refused int, byPolicy map[string]int) {
	t := evidence.Target{Kind: "Cluster", Name: d.rel.Cluster}
	for _, resource := range slices.Sorted(maps.Keys(live.Errors)) {
		d.Add(RuleRefused, t, evidence.OutcomeNotChecked, resource+" could not be listed: "+live.Errors[resource],
			"Let helmproof's account list them (templates/rbac/admission.yaml), and collect again.", d.Own(objectsFile, "/errors"))
	}
	if refused == 0 {
		d.Add(RuleRefused, t, evidence.OutcomePass, fmt.Sprintf("nothing of what was seen, %d owners, would be refused", owners), "", d.Own(objectsFile, ""))
		return
	}
	names := slices.SortedFunc(maps.Keys(byPolicy), func(a, b string) int { return cmp.Or(cmp.Compare(byPolicy[b], byPolicy[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, byPolicy[name])
	}
	shown := ""
	if refused > maxRefused {
		shown = fmt.Sprintf("; the first %d are listed", maxRefused)
	}
	d.Add(RuleRefused, t, evidence.OutcomeWarn, fmt.Sprintf("%d of %d owners would be refused: %s%s", refused, owners, strings.Join(names, ", "), shown),
		"See each of them, correct or exempt it, and only then let the policies deny.", d.Own(objectsFile, ""))
}

// denies reports whether a binding of an expected policy denies in a namespace.
func denies(sealed *Policies, namespace string, has map[string]string) bool {
	all := labels.Set{}
	maps.Copy(all, has)
	all[corev1.LabelMetadataName] = namespace
	for i := range sealed.Policies {
		for _, b := range sealed.Policies[i].Bindings {
			if !slices.Contains(b.Actions, "Deny") {
				continue
			}
			if b.Matches == nil || b.Matches.NamespaceSelector == nil {
				return true
			}
			if s, err := metav1.LabelSelectorAsSelector(b.Matches.NamespaceSelector); err == nil && s.Matches(all) {
				return true
			}
		}
	}
	return false
}
