package manifest

import (
	"slices"
	"strings"
	"testing"
)

// TestBeside: what a controller adds to pods by fields beside their templates is not
// passed over, and a field that is switched off adds nothing.
func TestBeside(t *testing.T) {
	t.Parallel()
	for title, tt := range map[string]struct {
		kind, spec string
		want       string // of what is unknown; empty: nothing is
	}{
		"a sidecar of Thanos":        {"monitoring.coreos.com/v1 Prometheus", "{thanos: {image: i}}", "spec.thanos: what Prometheus makes"},
		"no sidecar":                 {"monitoring.coreos.com/v1 Prometheus", "{}", ""},
		"an autoscaler of Ray":       {"ray.io/v1 RayCluster", "{enableInTreeAutoscaling: true, headGroupSpec: {template: {spec: {containers: [{name: a}]}}}}", "spec.enableInTreeAutoscaling"},
		"an autoscaler switched off": {"ray.io/v1 RayCluster", "{enableInTreeAutoscaling: false, headGroupSpec: {template: {spec: {containers: [{name: a}]}}}}", ""},
		"of a service":               {"ray.io/v1 RayService", "{rayClusterConfig: {enableInTreeAutoscaling: true, headGroupSpec: {template: {spec: {containers: [{name: a}]}}}}}", "spec.rayClusterConfig.enableInTreeAutoscaling"},
		"the pod of a run":           {"tekton.dev/v1 TaskRun", "{podTemplate: {hostNetwork: true}, taskSpec: {steps: [{name: a, image: i}]}}", ""},
		"a run of a step elsewhere":  {"tekton.dev/v1 TaskRun", "{podTemplate: {hostNetwork: true}, taskSpec: {steps: [{name: a, ref: {name: b}}]}}", "spec.podTemplate"},
		"a pipeline of others":       {"tekton.dev/v1 PipelineRun", "{taskRunTemplate: {podTemplate: {hostNetwork: true}}, pipelineSpec: {tasks: [{name: a, taskRef: {name: b}}]}}", "spec.taskRunTemplate.podTemplate"},
		"the pod of one task":        {"tekton.dev/v1 PipelineRun", "{taskRunSpecs: [{podTemplate: {hostNetwork: true}}], pipelineSpec: {tasks: [{taskSpec: {steps: [{name: a, image: i}]}}]}}", "spec.taskRunSpecs[*].podTemplate"},
		"the pod of a task's run":    {"tekton.dev/v1 TaskRun", "{podTemplate: {hostNetwork: true}, taskRef: {name: a}}", "spec.podTemplate"},
		"the pods of a pipeline":     {"tekton.dev/v1 PipelineRun", "{taskRunTemplate: {podTemplate: {hostNetwork: true}}, pipelineRef: {name: a}}", "spec.taskRunTemplate.podTemplate"},
		"a patch of a subset":        {"apps.kruise.io/v1alpha1 UnitedDeployment", "{template: {deploymentTemplate: {spec: {template: {spec: {containers: [{name: a}]}}}}}, topology: {subsets: [{name: a, patch: {spec: {hostNetwork: true}}}]}}", "spec.topology.subsets[*].patch"},
		"subsets alone":              {"apps.kruise.io/v1alpha1 UnitedDeployment", "{template: {deploymentTemplate: {spec: {template: {spec: {containers: [{name: a}]}}}}}, topology: {subsets: [{name: a}]}}", ""},
		"what a policy adds":         {"kyverno.io/v1 ClusterPolicy", "{rules: [{name: a, mutate: {patchStrategicMerge: {spec: {containers: [{name: evil, image: i}]}}}}]}", "spec.rules[0].mutate.patchStrategicMerge.spec.containers looks like"},
		"what a policy wants":        {"kyverno.io/v1 ClusterPolicy", "{rules: [{name: a, validate: {pattern: {spec: {containers: [{name: '*', image: '*@*'}]}}}}]}", ""},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			version, kind, _ := strings.Cut(tt.kind, " ")
			list := parseOne(t, "apiVersion: "+version+"\nkind: "+kind+"\nmetadata: {name: x}\nspec: "+tt.spec+"\n").Workloads(nil)
			i := slices.IndexFunc(list, func(w Workload) bool { return w.Unknown != "" })
			if (i >= 0) != (tt.want != "") || i >= 0 && !strings.Contains(list[i].Unknown, tt.want) {
				t.Errorf("%q", said(list))
			}
		})
	}
	local := parseOne(t, "apiVersion: monitoring.coreos.com/v1\nkind: Alertmanager\nmetadata: {name: x}\nspec: {listenLocal: true}\n").Workloads(nil)
	tpl, _, err := local[0].As.PodTemplate()
	if err != nil || tpl.Spec.Containers[0].LivenessProbe != nil || tpl.Spec.Containers[0].ReadinessProbe != nil {
		t.Errorf("an Alertmanager that listens to itself is probed: %v", err)
	}
}

// What a run of Tekton lays over the pods of its own tasks is part of them.
func TestPodsOfRuns(t *testing.T) {
	t.Parallel()
	for title, spec := range map[string]string{
		"TaskRun":     "{podTemplate: {hostNetwork: true, securityContext: {runAsUser: 0}, volumes: [{name: v}]}, taskSpec: {volumes: [{name: w}], steps: [{name: a, image: i}]}}",
		"PipelineRun": "{taskRunTemplate: {podTemplate: {hostNetwork: true, securityContext: {runAsUser: 0}, volumes: [{name: v}]}}, pipelineSpec: {tasks: [{taskSpec: {volumes: [{name: w}], steps: [{name: a, image: i}]}}]}}",
	} {
		list := parseOne(t, "apiVersion: tekton.dev/v1\nkind: "+title+"\nmetadata: {name: x}\nspec: "+spec+"\n").Workloads(nil)
		if len(list) != 1 || list[0].As == nil {
			t.Fatalf("%s: %q", title, said(list))
		}
		tpl, _, err := list[0].As.PodTemplate()
		if err != nil || !tpl.Spec.HostNetwork || *tpl.Spec.SecurityContext.RunAsUser != 0 || len(tpl.Spec.Volumes) != 2 || len(tpl.Spec.Containers) != 1 {
			t.Errorf("%s: %v, %+v", title, err, tpl)
		}
	}
	bad := parseOne(t, "apiVersion: tekton.dev/v1\nkind: TaskRun\nmetadata: {name: x}\nspec: {podTemplate: {volumes: 3}, taskSpec: {steps: [{name: a, image: i}]}}\n").Workloads(nil)
	if _, _, err := bad[0].As.PodTemplate(); err == nil || !strings.Contains(err.Error(), "pod template") {
		t.Errorf("volumes that are no list: %v", err)
	}
}
