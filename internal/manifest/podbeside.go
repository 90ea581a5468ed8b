package manifest

import (
	"slices"
	"strings"
)

// beside are fields, beside the pod templates of a known kind, by which its controller
// adds containers to the pods or changes them, by GROUP/KIND. What it makes of them is
// written nowhere in the object.
var beside = map[string][]string{
	"apps.kruise.io/UnitedDeployment": {"spec.topology.subsets[*].patch"},
	"tekton.dev/PipelineRun":          {"spec.taskRunSpecs[*].podTemplate", "spec.taskRunSpecs[*].taskPodTemplate"},
}

// tektonPods lead to what a run of Tekton lays over the pods of its tasks.
var tektonPods = map[string][]string{
	"PipelineRun": {"spec.podTemplate", "spec.taskRunTemplate.podTemplate"},
	"TaskRun":     {"spec.podTemplate"},
}

// tektonOver is what the run says of the pods of its tasks.
func (o *Object) tektonOver() map[string]any {
	out := map[string]any{}
	for _, path := range tektonPods[o.GetKind()] {
		found, err := follow(o.Object, path)
		for _, p := range found {
			if t, ok := p.value.(map[string]any); ok && err == nil {
				out = over(out, picked(t, podFields...))
			}
		}
	}
	return out
}

// besideTemplates says which of those fields the object has; empty: none.
func (o *Object) besideTemplates() string {
	var has []string
	paths := beside[o.GroupVersionKind().Group+"/"+o.GetKind()]
	if o.GroupVersionKind().Group == "tekton.dev" && !o.ownSteps() {
		paths = slices.Concat(paths, tektonPods[o.GetKind()]) // over tasks that stand elsewhere
	}
	for _, path := range paths {
		found, err := follow(o.Object, path)
		if err != nil || slices.ContainsFunc(found, func(p podPlace) bool { return p.value != false }) {
			has = append(has, path)
		}
	}
	if len(has) == 0 {
		return ""
	}
	return strings.Join(has, ", ") + ": what " + o.GetKind() + " makes of its pods by this is not known"
}

// ownSteps reports whether a run of Tekton has a task with steps in it, whose pod shows
// what the run lays over it.
func (o *Object) ownSteps() bool {
	for _, k := range o.kindsOfPods(nil) {
		places, _ := o.places(k)
		if slices.ContainsFunc(places, func(p podPlace) bool { m, ok := p.value.(map[string]any); return ok && tektonPod(m, nil) != nil }) {
			return true
		}
	}
	return false
}
