package manifest

import (
	"slices"
	"strings"
)

// beside are fields, beside the pod templates of a known kind, by which its controller
// adds containers to the pods or changes them, by GROUP/KIND. What it makes of them is
// written nowhere in the object.
var beside = map[string][]string{
	"apps.kruise.io/UnitedDeployment":  {"spec.topology.subsets[*].patch"},
	"monitoring.coreos.com/Prometheus": {"spec.thanos"},
	"ray.io/RayCluster":                {"spec.enableInTreeAutoscaling"},
	"ray.io/RayJob":                    {"spec.rayClusterSpec.enableInTreeAutoscaling"},
	"ray.io/RayService":                {"spec.rayClusterConfig.enableInTreeAutoscaling"},
	"tekton.dev/PipelineRun":           {"spec.podTemplate", "spec.taskRunTemplate.podTemplate", "spec.taskRunSpecs[*].podTemplate", "spec.taskRunSpecs[*].taskPodTemplate"},
	"tekton.dev/TaskRun":               {"spec.podTemplate"},
}

// besideTemplates says which of those fields the object has; empty: none.
func (o *Object) besideTemplates() string {
	var has []string
	for _, path := range beside[o.GroupVersionKind().Group+"/"+o.GetKind()] {
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
