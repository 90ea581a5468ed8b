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
		"the pod of a run":          {"tekton.dev/v1 TaskRun", "{podTemplate: {hostNetwork: true}, taskSpec: {steps: [{name: a, image: i}]}}", ""},
		"a run of a step elsewhere": {"tekton.dev/v1 TaskRun", "{podTemplate: {hostNetwork: true}, taskSpec: {steps: [{name: a, ref: {name: b}}]}}", "spec.podTemplate"},
		"a pipeline of others":      {"tekton.dev/v1 PipelineRun", "{taskRunTemplate: {podTemplate: {hostNetwork: true}}, pipelineSpec: {tasks: [{name: a, taskRef: {name: b}}]}}", "spec.taskRunTemplate.podTemplate"},
		"the pod of one task":       {"tekton.dev/v1 PipelineRun", "{taskRunSpecs: [{podTemplate: {hostNetwork: true}}], pipelineSpec: {tasks: [{taskSpec: {steps: [{name: a, image: i}]}}]}}", "spec.taskRunSpecs[*].podTemplate"},
		"the pod of a task's run":   {"tekton.dev/v1 TaskRun", "{podTemplate: {hostNetwork: true}, taskRef: {name: a}}", "spec.podTemplate"},
		"the pods of a pipeline":    {"tekton.dev/v1 PipelineRun", "{taskRunTemplate: {podTemplate: {hostNetwork: true}}, pipelineRef: {name: a}}", "spec.taskRunTemplate.podTemplate"},
		"a patch of a subset":       {"apps.kruise.io/v1alpha1 UnitedDeployment", "{template: {deploymentTemplate: {spec: {template: {spec: {containers: [{name: a}]}}}}}, topology: {subsets: [{name: a, patch: {spec: {hostNetwork: true}}}]}}", "spec.topology.subsets[*].patch"},
		"subsets alone":             {"apps.kruise.io/v1alpha1 UnitedDeployment", "{template: {deploymentTemplate: {spec: {template: {spec: {containers: [{name: a}]}}}}}, topology: {subsets: [{name: a}]}}", ""},
		"what a policy adds":        {"kyverno.io/v1 ClusterPolicy", "{rules: [{name: a, mutate: {patchStrategicMerge: {spec: {containers: [{name: evil, image: i}]}}}}]}", "spec.rules[0].mutate.patchStrategicMerge.spec.containers looks like"},
		"what a policy wants":       {"kyverno.io/v1 ClusterPolicy", "{rules: [{name: a, validate: {pattern: {spec: {containers: [{name: '*', image: '*@*'}]}}}}]}", ""},
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

// Containers that an operator adds by fields of their own are seen with what it writes into
// them and with what the object says of them, and not where those fields are missing.
func TestAddedContainers(t *testing.T) {
	t.Parallel()
	const thanos, rayHead = "monitoring.coreos.com/v1 Prometheus", "headGroupSpec: {template: {spec: {containers: [{name: head, image: ray}]}}}"
	for title, tt := range map[string]struct {
		kind, spec string
		want       []string // NAME IMAGE [cpu] [probed] [variable of a Secret] [drops]
	}{
		"Thanos":                       {thanos, "{image: p, thanos: {image: i, resources: {requests: {cpu: 1}}}}", []string{"prometheus p probed drops", "thanos-sidecar i cpu drops"}},
		"Thanos, and its store":        {thanos, "{image: p, thanos: {objectStorageConfig: {name: a, key: b}, tracingConfig: {name: c, key: d}}}", []string{"prometheus p probed drops", "thanos-sidecar  a c drops"}},
		"Thanos, and a file for it":    {thanos, "{image: p, thanos: {objectStorageConfig: {name: a, key: b}, objectStorageConfigFile: /f}}", []string{"prometheus p probed drops", "thanos-sidecar  drops"}},
		"Thanos, changed":              {thanos, "{image: p, thanos: {image: i}, containers: [{name: thanos-sidecar, resources: {requests: {cpu: 1}}, livenessProbe: {exec: {command: [a]}}}]}", []string{"prometheus p probed drops", "thanos-sidecar i cpu probed drops"}},
		"one of that name alone":       {thanos, "{image: p, containers: [{name: thanos-sidecar, image: mine}]}", []string{"prometheus p probed drops", "thanos-sidecar mine"}},
		"of an agent":                  {"monitoring.coreos.com/v1alpha1 PrometheusAgent", "{image: p}", []string{"prometheus p probed drops"}},
		"Ray":                          {"ray.io/v1 RayCluster", "{enableInTreeAutoscaling: true, " + rayHead + "}", []string{"head ray probed", "autoscaler ray cpu"}},
		"Ray, changed":                 {"ray.io/v1 RayCluster", "{enableInTreeAutoscaling: true, autoscalerOptions: {image: i, resources: {requests: {memory: 1}}, securityContext: {capabilities: {drop: [ALL]}}, version: v2}, " + rayHead + "}", []string{"head ray probed", "autoscaler i drops"}},
		"Ray, switched off":            {"ray.io/v1 RayCluster", "{enableInTreeAutoscaling: false, " + rayHead + "}", []string{"head ray probed"}},
		"Ray, of a service":            {"ray.io/v1 RayService", "{rayClusterConfig: {enableInTreeAutoscaling: true, " + rayHead + "}}", []string{"head ray probed", "autoscaler ray cpu"}},
		"Ray, of a job":                {"ray.io/v1 RayJob", "{rayClusterSpec: {enableInTreeAutoscaling: true, " + rayHead + "}}", []string{"head ray", "autoscaler ray cpu"}},
		"Ray, workers have none":       {"ray.io/v1 RayCluster", "{enableInTreeAutoscaling: true, workerGroupSpecs: [{template: {spec: {containers: [{name: w, image: ray}]}}}]}", []string{"w ray probed"}},
		"Ray, no container to be with": {"ray.io/v1 RayCluster", "{enableInTreeAutoscaling: true, headGroupSpec: {template: {spec: {containers: []}}}}", nil},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			version, kind, _ := strings.Cut(tt.kind, " ")
			var got []string
			for _, w := range parseOne(t, "apiVersion: "+version+"\nkind: "+kind+"\nmetadata: {name: x}\nspec: "+tt.spec+"\n").Workloads(nil) {
				if w.As == nil {
					t.Fatal(w.Unknown)
				}
				tpl, _, err := w.As.PodTemplate()
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range tpl.Spec.Containers {
					s := c.Name + " " + c.Image
					if c.Resources.Requests.Cpu().Sign() > 0 {
						s += " cpu"
					}
					if c.LivenessProbe != nil {
						s += " probed"
					}
					for _, e := range c.Env {
						s += " " + e.ValueFrom.SecretKeyRef.Name
					}
					if c.SecurityContext != nil && len(c.SecurityContext.Capabilities.Drop) > 0 {
						s += " drops"
					}
					got = append(got, s)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
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
