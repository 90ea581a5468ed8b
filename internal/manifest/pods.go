package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Workload is what an object makes pods of, in the shape of a built-in kind, by
// which alone pods are judged.
type Workload struct {
	Object *Object // as rendered
	// As is a built-in kind with the same pods: Object itself if that is one, or what
	// stands for one pod template of a custom resource. nil where Unknown says why.
	As      *Object
	Unknown string
	// Path leads to the pod template in a custom resource; empty for built-in kinds.
	Path string
	// ReplicasAt is what says how many pods there are.
	ReplicasAt string
	// Operators are the containers whose images the custom resource leaves to its operator.
	Operators []string
	// Patched are containers of the operator's own, with images of its own, that the
	// custom resource changes.
	Patched []string
	several bool // templates are in the object
	looks   bool // Unknown is about what looks like a pod template alone
	// NoImages says that Unknown is about fields of pods that name no image.
	NoImages bool
	// Guest says that the containers run in pods that something else writes.
	Guest bool
}

// Custom reports whether the pods are made by a controller of another project.
func (w *Workload) Custom() bool { return w.As != w.Object }

// Where begins a message about one of several pod templates of a custom resource.
func (w *Workload) Where(message string) string {
	if !w.several {
		return message
	}
	return w.Path + ": " + message
}

// Workloads returns what the object makes pods of: nothing for most kinds. Of a
// kind that is in no table, what looks like a pod template is Unknown, since
// nobody can say what becomes of it. extra are pod templates that the table lacks.
func (o *Object) Workloads(extra []ImageField) []Workload {
	const replicas = "spec.replicas"
	if o.IsWorkload() {
		if o.GetKind() != "PodTemplate" {
			return []Workload{{Object: o, As: o, ReplicasAt: replicas}}
		}
		t, ok := o.Object["template"].(map[string]any)
		if !ok {
			return []Workload{{Object: o, As: o}}
		}
		return []Workload{{Object: o, As: o.as("Pod", t, nil), Path: "template"}}
	}
	var out []Workload
	var read []string // patterns of paths that need no second look
	kinds := o.kindsOfPods(extra)
	for _, k := range kinds {
		places, problem := o.places(k)
		if problem != "" {
			out = append(out, Workload{Object: o, Unknown: problem})
		}
		read = append(read, k.read()...)
		if k.shape == workflow {
			if unknown := overReferred(o.workflowSpec(k)); unknown != "" {
				out = append(out, Workload{Object: o, Unknown: unknown})
			}
		}
		for _, p := range places {
			out = append(out, o.made(k, p)...)
		}
		if len(places) == 0 && problem == "" && !slices.ContainsFunc(k.instead, o.has) {
			out = append(out, Workload{Object: o, Unknown: "no pod template at " + strings.Join(k.paths, ", nor at ")})
		}
	}
	if unknown := o.besideTemplates(); unknown != "" {
		out = append(out, Workload{Object: o, Unknown: unknown})
	}
	if len(out) > 1 {
		for i := range out {
			out[i].several = true
		}
	}
	if shapes := o.podShapes(read); len(shapes) > 0 {
		out = append(out, Workload{Object: o, looks: true, Unknown: fmt.Sprintf("%s looks like part of a pod template, and what %s makes of it is not known", strings.Join(shapes, ", "), o.GetKind())})
	} else if len(kinds) == 0 {
		if fields := o.podFieldShapes(); len(fields) > 0 {
			out = append(out, Workload{Object: o, NoImages: true, Unknown: fmt.Sprintf("%s looks like part of a pod, and what %s makes of it is not known", strings.Join(fields, ", "), o.GetKind())})
		}
	}
	return out
}

// podPlace is a value at the end of a path, with the mapping that holds it.
type podPlace struct {
	at     string
	value  any
	parent map[string]any
}

// has reports whether a field is there.
func (o *Object) has(path string) bool {
	v, found, err := unstructured.NestedFieldNoCopy(o.Object, strings.Split(path, ".")...)
	return err == nil && found && v != nil
}

// places finds the pod templates of a kind. The problem is why there may be more.
func (o *Object) places(k podKind) (out []podPlace, problem string) {
	for _, path := range k.paths {
		found, err := follow(o.Object, path)
		if err != nil {
			problem = "pod templates unknown: " + err.Error()
		}
		out = append(out, found...)
	}
	if len(out) == 0 && k.shape == sensor { // all of its template is optional
		out = append(out, podPlace{at: k.paths[0], value: map[string]any{}, parent: map[string]any{}})
	}
	return out, problem
}

// follow finds all values at a path, in which [*] stands for the items of a list
// and * for all fields of a mapping. What is not there is left out; an error
// names the first that is of another type than the path says.
func follow(root map[string]any, path string) ([]podPlace, error) {
	var out []podPlace
	var walk func(v any, parent map[string]any, at string, rest []string) error
	walk = func(v any, parent map[string]any, at string, rest []string) error {
		if v == nil {
			return nil
		}
		if len(rest) == 0 {
			out = append(out, podPlace{at, v, parent})
			return nil
		}
		m, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("%s is no object", at)
		}
		if rest[0] == "*" {
			var first error
			for _, k := range sortedKeys(m) {
				if err := walk(m[k], m, join(at, k), rest[1:]); err != nil && first == nil {
					first = err
				}
			}
			return first
		}
		name, list := strings.CutSuffix(rest[0], "[*]")
		at = join(at, name)
		if !list {
			return walk(m[name], m, at, rest[1:])
		}
		if m[name] == nil {
			return nil
		}
		items, ok := m[name].([]any)
		if !ok {
			return fmt.Errorf("%s is no list", at)
		}
		var first error
		for i, item := range items {
			here := fmt.Sprintf("%s[%d]", at, i)
			err := walk(item, m, here, rest[1:])
			if _, ok := item.(map[string]any); !ok && len(rest) > 1 {
				err = fmt.Errorf("%s is no object", here)
			}
			if err != nil && first == nil {
				first = err
			}
		}
		return first
	}
	err := walk(root, nil, "", strings.Split(path, "."))
	return out, err
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

// made turns what stands at a place into workloads; none where no container runs.
func (o *Object) made(k podKind, p podPlace) []Workload {
	m, ok := p.value.(map[string]any)
	if !ok {
		return []Workload{{Object: o, Path: p.at, Unknown: p.at + ": no pod template"}}
	}
	w := Workload{Object: o, Path: p.at, ReplicasAt: k.replicas}
	as, replicas := k.as, p.parent["replicas"]
	if w.ReplicasAt == "" {
		w.ReplicasAt = strings.TrimSuffix(p.at, lastField(p.at)) + "replicas"
	} else {
		replicas, _, _ = unstructured.NestedFieldNoCopy(o.Object, strings.Split(w.ReplicasAt, ".")...)
	}
	var t map[string]any
	var more []Workload
	switch k.shape {
	case knative:
		t = whole(m)
		if k.kind == "Revision" {
			t = map[string]any{"metadata": o.Object["metadata"], "spec": m}
		}
		t = namedContainers(t, "user-container")
		w.ReplicasAt, replicas = minScale(t)
	case ray:
		t = o.autoscaled(p.at, probedFirst(whole(m)))
	case workflow:
		var unknown string
		if t, unknown = workflowPod(o.workflowSpec(k), m); unknown != "" {
			more = append(more, Workload{Object: o, Path: p.at, Unknown: p.at + ": " + unknown})
		}
		if t == nil {
			return more
		}
	case sensor:
		t = sensorPod(m)
		w.Operators = withoutImage(t)
	case tekton:
		t, w.Guest = tektonPod(m, o.tektonOver()), true
		if t == nil {
			return nil
		}
	case injected:
		t, w.Guest = map[string]any{"spec": map[string]any{"containers": listOf(m["containers"]), "initContainers": listOf(m["initContainers"]), "volumes": listOf(m["volumes"])}}, true
	case operated:
		if mode, _ := m["mode"].(string); mode == "DaemonSet" {
			as = mode
		}
		t = operatedPod(o, m)
		w.ReplicasAt, replicas = "spec.replicas", m["replicas"]
		w.Operators = withoutImage(t)
		if i := slices.IndexFunc(w.Operators, func(name string) bool {
			return name != mainContainer(o) && (name != thanosName || m[thanosField] == nil)
		}); i >= 0 {
			w.Operators, w.Patched = w.Operators[:i], w.Operators[i:]
		}
	default:
		t = o.autoscaled(p.at, whole(m))
	}
	w.As = o.as(as, t, replicas)
	return append(more, w)
}

// workflowSpec is what a kind of Argo Workflows says of all its templates.
func (o *Object) workflowSpec(k podKind) map[string]any {
	spec, _ := o.Object["spec"].(map[string]any)
	if inner, ok := spec["workflowSpec"].(map[string]any); ok && k.kind == "CronWorkflow" {
		return inner
	}
	return spec
}

func lastField(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// whole makes a pod template of a pod's spec.
func whole(m map[string]any) map[string]any {
	if m["spec"] == nil && m["containers"] != nil {
		return map[string]any{"spec": m}
	}
	return m
}

// as is the object as a built-in kind with that pod template. It stands where the
// object stands, and Helm installs it when it installs the object.
func (o *Object) as(kind string, t map[string]any, replicas any) *Object {
	out := *o
	out.standsFor = o
	metadata, _ := o.Object["metadata"].(map[string]any)
	spec := map[string]any{"template": t}
	version := "apps/v1"
	switch kind {
	case "Pod":
		version = "v1"
		own, _ := t["metadata"].(map[string]any)
		metadata = map[string]any{"name": metadata["name"], "namespace": metadata["namespace"], "labels": own["labels"], "annotations": own["annotations"]}
		out.Object = map[string]any{"apiVersion": version, "kind": kind, "metadata": withoutNulls(metadata), "spec": t["spec"]}
		return &out
	case "Job":
		version = "batch/v1"
	case "Deployment", "StatefulSet":
		if replicas != nil {
			spec["replicas"] = replicas
		}
	}
	out.Object = map[string]any{"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
	return &out
}

func withoutNulls(m map[string]any) map[string]any {
	for k, v := range m {
		if v == nil {
			delete(m, k)
		}
	}
	return m
}

// listOf keeps what is a list, so that what is none is refused where it is read.
func listOf(v any) any {
	if v == nil {
		return []any{}
	}
	return v
}

// minScale is how many pods Knative keeps, as the annotations of the template say.
func minScale(t map[string]any) (at string, n any) {
	meta, _ := t["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	for _, key := range []string{"autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"} {
		if v, ok := annotations[key].(string); ok {
			if n, err := strconv.ParseInt(v, 10, 32); err == nil {
				return key, n
			}
			return key, v
		}
	}
	return "autoscaling.knative.dev/min-scale", int64(0)
}

// read lists the patterns of what is read of a kind.
func (k podKind) read() []string {
	fields := map[shape][]string{
		workflow: {"container", "script", "containerSet", "initContainers", "sidecars"},
		sensor:   {"container"},
		tekton:   {"steps", "sidecars", "stepTemplate"},
		injected: {"containers", "initContainers"},
		operated: {"containers", "initContainers"},
	}[k.shape]
	if fields == nil {
		return k.paths
	}
	var out []string
	for _, p := range k.paths {
		for _, f := range fields {
			out = append(out, p+"."+f)
			if k.shape == workflow {
				out = append(out, strings.TrimSuffix(p, "templates[*]")+"templateDefaults."+f)
			}
		}
	}
	return out
}

// maxShapes bounds how many places a message names.
const maxShapes = 3

// podShapes names what looks like a list of containers, outside what was read.
func (o *Object) podShapes(read []string) []string {
	gk := o.GroupVersionKind().GroupKind()
	if gk.Group == "apiextensions.k8s.io" {
		return nil // a schema tells of containers, and has none
	}
	patterns := splitPatterns(read)
	var out []string
	var walk func(v any, name, at string, path []string, depth int)
	walk = func(v any, name, at string, path []string, depth int) {
		switch {
		case len(out) > maxShapes || depth > maxDepth || slices.ContainsFunc(patterns, func(p []string) bool { return samePath(p, path) }):
			return
		case gk.Group == "kyverno.io" && isPattern(name):
			return
		case holdsContainers(name, v):
			out = append(out, at)
			return
		}
		switch v := v.(type) {
		case map[string]any:
			for _, k := range sortedKeys(v) {
				walk(v[k], k, join(at, k), append(path, k), depth+1)
			}
		case []any:
			for i, e := range v {
				walk(e, "", fmt.Sprintf("%s[%d]", at, i), append(path, "[*]"), depth+1)
			}
		}
	}
	walk(o.Object, "", "", nil, 0)
	if len(out) > maxShapes {
		out[maxShapes] = "…"
	}
	return out
}

// isPattern tells fields of a Kyverno policy that say what pods have to look like.
func isPattern(field string) bool {
	switch field {
	case "pattern", "anyPattern", "podSecurity":
		return true
	}
	return false
}

// splitPatterns takes patterns of paths apart, as samePath compares them.
func splitPatterns(read []string) [][]string {
	var out [][]string
	for _, r := range read {
		out = append(out, strings.Split(strings.ReplaceAll(r, "[*]", ".[*]"), "."))
	}
	return out
}

func samePath(pattern, path []string) bool {
	if len(pattern) != len(path) {
		return false
	}
	for i, p := range pattern {
		if p != "*" && p != path[i] {
			return false
		}
	}
	return true
}

// holdsContainers reports whether a field of that name and value holds containers
// of a pod, by what Kubernetes and those who embed its types call them.
func holdsContainers(name string, v any) bool {
	text := func(m map[string]any, k string) bool { s, ok := m[k].(string); return ok && s != "" }
	container := func(v any, names bool) bool {
		m, ok := v.(map[string]any)
		return ok && (text(m, "image") || names && text(m, "name"))
	}
	switch name {
	case "containers", "initContainers", "ephemeralContainers":
	case "container", "script":
		return container(v, false)
	case "sidecars", "steps", "additionalContainers", "extraContainers", "sidecarContainers":
		list, _ := v.([]any)
		return slices.ContainsFunc(list, func(e any) bool { return container(e, false) })
	default:
		return false
	}
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return container(e, true) })
	case map[string]any:
		for _, e := range v {
			if container(e, false) {
				return true
			}
		}
	}
	return false
}
