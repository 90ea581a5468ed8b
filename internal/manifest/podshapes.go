package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// over lays one mapping over another, field by field; lists are replaced.
func over(base, top map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range top {
		b, isMap := out[k].(map[string]any)
		t, also := v.(map[string]any)
		switch {
		case v == nil:
		case isMap && also:
			out[k] = over(b, t)
		default:
			out[k] = v
		}
	}
	return out
}

// picked takes the named fields that are there.
func picked(m map[string]any, fields ...string) map[string]any {
	out := map[string]any{}
	for _, f := range fields {
		if m[f] != nil {
			out[f] = m[f]
		}
	}
	return out
}

// podFields are those of a pod's spec that decide how it is judged, besides containers.
var podFields = []string{
	"affinity", "automountServiceAccountToken", "hostIPC", "hostNetwork", "hostPID", "hostUsers", "imagePullSecrets", "securityContext",
	"serviceAccountName", "topologySpreadConstraints", "volumes",
}

// templateFields are those of podFields that a template of a workflow has. The rest,
// hostNetwork above all, Argo reads from the workflow alone.
var templateFields = []string{"affinity", "automountServiceAccountToken", "securityContext", "serviceAccountName", "volumes"}

// laidOver are fields of a workflow that change the pods of a WorkflowTemplate that it runs.
var laidOver = []string{
	"automountServiceAccountToken", "hostIPC", "hostNetwork", "hostPID", "hostUsers", "podSpecPatch", "securityContext", "templateDefaults", "volumes",
}

// overReferred says what a workflow lays over pods whose templates stand elsewhere.
func overReferred(spec map[string]any) string {
	added := sortedKeys(picked(spec, laidOver...))
	if spec["workflowTemplateRef"] == nil || len(added) == 0 {
		return ""
	}
	return strings.Join(added, ", ") + " of the workflow would change the pods of its workflowTemplateRef, which stand elsewhere"
}

// makesObjects reports whether a template of a workflow creates an object of its own text.
func makesObjects(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if r, ok := v["resource"].(map[string]any); ok && (r["manifest"] != nil || r["manifestFrom"] != nil) && r["action"] != "get" && r["action"] != "delete" {
			return true
		}
		for _, e := range v {
			if makesObjects(e) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, makesObjects)
	}
	return false
}

// eachContainer changes the containers of a template's copy.
func eachContainer(t map[string]any, change func(i int, c map[string]any) map[string]any) map[string]any {
	spec, ok := t["spec"].(map[string]any)
	if !ok {
		return t
	}
	list, ok := spec["containers"].([]any)
	if !ok {
		return t
	}
	list = slices.Clone(list)
	for i := range list {
		if c, ok := list[i].(map[string]any); ok {
			list[i] = change(i, c)
		}
	}
	t, spec = maps.Clone(t), maps.Clone(spec)
	t["spec"], spec["containers"] = spec, list
	return t
}

// namedContainers gives the containers names that the controller would.
func namedContainers(t map[string]any, name string) map[string]any {
	return eachContainer(t, func(i int, c map[string]any) map[string]any {
		if c["name"] != nil {
			return c
		}
		c = maps.Clone(c)
		c["name"] = name
		if i > 0 {
			c["name"] = fmt.Sprintf("%s-%d", name, i)
		}
		return c
	})
}

// assumed is a probe that a controller writes. What it asks is not looked at.
func assumed(what string) map[string]any {
	return map[string]any{"exec": map[string]any{"command": []any{what}}}
}

// probedFirst adds the probes that KubeRay gives to the container of Ray, the
// first, where it has none (ray-operator/controllers/ray/common/pod.go).
func probedFirst(t map[string]any) map[string]any {
	return eachContainer(t, func(i int, c map[string]any) map[string]any {
		if i > 0 {
			return c
		}
		return over(map[string]any{"livenessProbe": assumed("alive"), "readinessProbe": assumed("ready")}, c)
	})
}

// rayHead leads from a Ray cluster to the pod template of its head.
const rayHead = ".headGroupSpec.template"

// autoscaled adds the container that KubeRay puts into the pod of the head of a cluster
// that scales itself: with the image of Ray, resources of its own and no probes, and what
// autoscalerOptions say of it (BuildAutoscalerContainer). at leads to the template.
func (o *Object) autoscaled(at string, t map[string]any) map[string]any {
	above, isHead := strings.CutSuffix(at, rayHead)
	if !isHead {
		return t
	}
	v, _, err := unstructured.NestedFieldNoCopy(o.Object, strings.Split(above, ".")...)
	cluster, ok := v.(map[string]any)
	if on := cluster["enableInTreeAutoscaling"]; err != nil || !ok || on == nil || on == false {
		return t
	}
	spec, _ := t["spec"].(map[string]any)
	list, ok := spec["containers"].([]any)
	if !ok || len(list) == 0 {
		return t // refused where it is read
	}
	first, _ := list[0].(map[string]any)
	size := map[string]any{"cpu": "500m", "memory": "512Mi"}
	c := over(map[string]any{"name": "autoscaler", "resources": map[string]any{"requests": size, "limits": size}}, picked(first, "image"))
	options, _ := cluster["autoscalerOptions"].(map[string]any)
	maps.Copy(c, picked(options, "image", "resources", "env", "envFrom", "volumeMounts", "securityContext"))
	return map[string]any{"metadata": t["metadata"], "spec": over(spec, map[string]any{"containers": append(slices.Clone(list), c)})}
}

// workflowPod is the pod of one template of a workflow; nil where it runs none.
// unknown says what of it cannot be seen.
func workflowPod(spec, t map[string]any) (pod map[string]any, unknown string) {
	defaults, _ := spec["templateDefaults"].(map[string]any)
	t = over(defaults, t)
	var containers []any
	for _, field := range []string{"container", "script"} {
		if t[field] == nil {
			continue
		}
		c, ok := t[field].(map[string]any)
		if !ok {
			return nil, field + " is no object"
		}
		// It runs as "main" in every pod of the workflow: a finding is told by the template's name.
		containers = append(containers, over(map[string]any{"name": cmp.Or(t["name"], any("main"))}, c))
	}
	if set, ok := t["containerSet"].(map[string]any); ok {
		list, ok := set["containers"].([]any)
		if !ok {
			return nil, "containerSet.containers is no list"
		}
		containers = append(containers, list...)
	}
	if makesObjects(t) {
		unknown = "resource makes an object of its manifest, which is not looked at"
	}
	// A template that runs others has no pod of its own for the workflow's patch.
	runs := t["steps"] == nil && t["dag"] == nil && t["suspend"] == nil
	if t["podSpecPatch"] != nil || spec["podSpecPatch"] != nil && runs {
		unknown = "podSpecPatch changes the pod when it runs"
	}
	if len(containers) == 0 {
		return nil, unknown
	}
	lists := map[string][]any{}
	for _, field := range []string{"initContainers", "sidecars", "volumes"} {
		list, ok := t[field].([]any)
		if !ok && t[field] != nil {
			return nil, field + " is no list"
		}
		lists[field] = list
	}
	p := over(picked(spec, podFields...), picked(t, templateFields...))
	if t["securityContext"] != nil { // the whole of it replaces the workflow's
		p["securityContext"] = t["securityContext"]
	}
	shared, ok := spec["volumes"].([]any)
	if !ok && spec["volumes"] != nil {
		return nil, "spec.volumes is no list"
	}
	p["volumes"] = slices.Concat(shared, lists["volumes"])
	p["containers"], p["initContainers"] = slices.Concat(containers, lists["sidecars"]), lists["initContainers"]
	meta, _ := spec["podMetadata"].(map[string]any)
	own, _ := t["metadata"].(map[string]any)
	return map[string]any{"metadata": over(meta, own), "spec": p}, unknown
}

// sensorPod is the pod of a Sensor or EventSource of Argo Events, whose
// controller makes a Deployment with one container by its template.
func sensorPod(t map[string]any) map[string]any {
	spec := picked(t, podFields...)
	c, ok := t["container"].(map[string]any)
	switch {
	case !ok && t["container"] != nil:
		spec["containers"] = t["container"] // refused where it is read
	default:
		c = maps.Clone(c)
		if c == nil {
			c = map[string]any{}
		}
		c["name"] = "main"
		spec["containers"] = []any{c}
	}
	meta, _ := t["metadata"].(map[string]any)
	return map[string]any{"metadata": meta, "spec": spec}
}

// tektonPod is the pod of a Task, as far as the Task says it: what a TaskRun adds
// stands elsewhere, but for what is given to lay over the pod. nil where there are no steps.
func tektonPod(task, run map[string]any) map[string]any {
	base, _ := task["stepTemplate"].(map[string]any)
	containers := []any{}
	for _, field := range []string{"steps", "sidecars"} {
		list, ok := task[field].([]any)
		if !ok && task[field] != nil {
			return map[string]any{"spec": map[string]any{"containers": task[field]}} // refused where it is read
		}
		for i, e := range list {
			c, ok := e.(map[string]any)
			if !ok {
				containers = append(containers, e)
				continue
			}
			if field == "steps" {
				if c["ref"] != nil && c["image"] == nil {
					continue // a StepAction, which stands elsewhere
				}
				c = over(base, c)
			}
			c = over(map[string]any{"name": fmt.Sprintf("%s-%d", field, i)}, c)
			if c["computeResources"] != nil {
				c["resources"] = c["computeResources"]
			}
			delete(c, "computeResources")
			containers = append(containers, c)
		}
	}
	if len(containers) == 0 {
		return nil
	}
	volumes, ok := task["volumes"].([]any)
	more, also := run["volumes"].([]any)
	if !ok && task["volumes"] != nil || !also && run["volumes"] != nil {
		return map[string]any{"spec": map[string]any{"containers": containers, "volumes": "no list"}} // refused where it is read
	}
	return map[string]any{"spec": over(run, map[string]any{"containers": containers, "volumes": slices.Concat([]any{}, volumes, more)})}
}

// operatorsOwn says what the Prometheus operator writes into the containers of its own
// (pkg/prometheus/server/statefulset.go, pkg/alertmanager/operator.go, pkg/thanos/statefulset.go).
var operatorsOwn = map[string]any{
	"securityContext": map[string]any{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": map[string]any{"drop": []any{"ALL"}}},
	"livenessProbe":   assumed("healthy"), "readinessProbe": assumed("ready"),
}

// mainContainer is the name of the container that a resource of the Prometheus
// operator is about, and of the label that names the resource on its pods.
func mainContainer(o *Object) string {
	switch o.GetKind() {
	case "Alertmanager":
		return "alertmanager"
	case "ThanosRuler":
		return "thanos-ruler"
	}
	return "prometheus"
}

// A Prometheus that says thanos has one more container, of that name.
const thanosField, thanosName = "thanos", "thanos-sidecar"

// thanosContainer is what the Prometheus operator makes of spec.thanos: without probes, and
// with the settings of the store and of tracing as variables (createThanosContainer).
func thanosContainer(v any) map[string]any {
	spec, _ := v.(map[string]any)
	c := over(map[string]any{"securityContext": operatorsOwn["securityContext"]}, picked(spec, "image", "resources"))
	c["name"] = thanosName
	env := []any{}
	for _, v := range [][3]string{{"objectStorageConfig", "objectStorageConfigFile", "OBJSTORE_CONFIG"}, {"tracingConfig", "tracingConfigFile", "TRACING_CONFIG"}} {
		if spec[v[0]] != nil && spec[v[1]] == nil {
			env = append(env, map[string]any{"name": v[2], "valueFrom": map[string]any{"secretKeyRef": spec[v[0]]}})
		}
	}
	if len(env) > 0 {
		c["env"] = env
	}
	return c
}

// operatedPod is the pod that the Prometheus operator makes. Containers of the
// resource without an image, and all of those that bear a name of the operator's
// own, are laid over what it writes; those of which it does not speak are the
// operator's business.
func operatedPod(o *Object, spec map[string]any) map[string]any {
	main := mainContainer(o)
	first := over(operatorsOwn, picked(spec, "image", "resources"))
	first["name"] = main
	if main == "alertmanager" && spec["listenLocal"] == true { // nobody could ask it
		delete(first, "livenessProbe")
		delete(first, "readinessProbe")
	}
	if main == "prometheus" {
		first["startupProbe"] = assumed("started")
	}
	containers := []any{first}
	thanos := -1
	if main == "prometheus" && spec[thanosField] != nil {
		thanos, containers = 1, append(containers, thanosContainer(spec[thanosField]))
	}
	list, ok := spec["containers"].([]any)
	if !ok && spec["containers"] != nil {
		return map[string]any{"spec": map[string]any{"containers": spec["containers"]}}
	}
	for _, e := range list {
		c, ok := e.(map[string]any)
		switch {
		case ok && c["name"] == main:
			containers[0] = over(first, c)
		case ok && thanos > 0 && c["name"] == thanosName:
			containers[thanos] = over(containers[thanos].(map[string]any), c)
		case ok && (c["image"] == nil || c["name"] == "config-reloader"):
			containers = append(containers, over(over(operatorsOwn, map[string]any{"startupProbe": assumed("started")}), c))
		default:
			containers = append(containers, e)
		}
	}
	p := picked(spec, podFields...)
	p["containers"], p["initContainers"] = containers, listOf(spec["initContainers"])
	if names, ok := spec["secrets"].([]any); ok {
		volumes, _ := p["volumes"].([]any)
		volumes = slices.Clone(volumes)
		for _, n := range names {
			volumes = append(volumes, map[string]any{"name": fmt.Sprintf("secret-%v", n), "secret": map[string]any{"secretName": n}})
		}
		p["volumes"] = volumes
	}
	labels := map[string]any{
		main: o.GetName(), "app.kubernetes.io/name": main, "app.kubernetes.io/instance": o.GetName(), "app.kubernetes.io/managed-by": "prometheus-operator",
	}
	if main == "prometheus" {
		labels["operator.prometheus.io/name"], labels["operator.prometheus.io/shard"] = o.GetName(), "0"
	}
	meta, _ := spec["podMetadata"].(map[string]any)
	return map[string]any{"metadata": over(meta, map[string]any{"labels": labels}), "spec": p}
}

// withoutImage names the containers whose image is left to a controller.
func withoutImage(t map[string]any) []string {
	var out []string
	eachContainer(t, func(_ int, c map[string]any) map[string]any {
		if name, ok := c["name"].(string); ok && c["image"] == nil {
			out = append(out, name)
		}
		return c
	})
	return out
}
