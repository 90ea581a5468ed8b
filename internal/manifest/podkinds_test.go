package manifest

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated tables")

// TestDocsOfPodTemplates holds docs/pod-templates.md to the table.
func TestDocsOfPodTemplates(t *testing.T) {
	t.Parallel()
	const name = "../../docs/pod-templates.md"
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	kinds := "| group | kind | judged as | what its pods are made of |\n|---|---|---|---|\n"
	for _, k := range AllKnownPods() {
		kinds += fmt.Sprintf("| %s | %s | %s | `%s` |\n", k.Group, k.Kind, k.As, strings.Join(k.Paths, "`, `"))
	}
	images := "| group/kind | image |\n|---|---|\n"
	for _, f := range KnownImages() {
		of, path, _ := strings.Cut(f, ":")
		images += fmt.Sprintf("| %s | `%s` |\n", of, path)
	}
	want := string(raw)
	for mark, table := range map[string]string{"kinds": kinds, "images": images} {
		before, rest, ok := strings.Cut(want, "<!-- "+mark+": generated, run make docs -->\n")
		_, after, end := strings.Cut(rest, "<!-- end -->\n")
		if !ok || !end {
			t.Fatalf("%s: no place for the table of %s", name, mark)
		}
		want = before + "<!-- " + mark + ": generated, run make docs -->\n" + table + "<!-- end -->\n" + after
	}
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
		return
	}
	if want != string(raw) {
		t.Errorf("%s is not what the table says: run make docs", name)
	}
}

// The table is sorted, has each kind once, and names paths that can be followed.
func TestPodKinds(t *testing.T) {
	t.Parallel()
	var names []string
	for _, k := range podKinds {
		names = append(names, k.group+"/"+k.kind)
		if !slices.Contains(podKindNames, k.as) {
			t.Errorf("%s is judged as %s", k.kind, k.as)
		}
		for _, p := range k.paths {
			if _, err := ParsePodTemplate(k.group + "/" + k.kind + ":" + p); err != nil {
				t.Error(err)
			}
		}
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("not sorted, or twice: %q", names)
	}
}

func parseOne(t *testing.T, text string) *Object {
	t.Helper()
	set, err := Parse([]byte(text))
	if err != nil || len(set.Objects) != 1 || len(set.Broken) > 0 {
		t.Fatalf("%d objects, %v, %v", len(set.Objects), set.Broken, err)
	}
	return &set.Objects[0]
}

// said is one line for each workload.
func said(ws []Workload) []string {
	var out []string
	for _, w := range ws {
		if w.As == nil {
			out = append(out, "unknown: "+w.Unknown)
			continue
		}
		replicas, _, _ := nested(w.As.Object, "spec", "replicas")
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s at %s %v", w.As.GetKind(), w.Path, replicas)))
	}
	return out
}

func nested(m map[string]any, path ...string) (v any, found bool, err error) {
	v = any(m)
	for _, p := range path {
		sub, ok := v.(map[string]any)
		if !ok {
			return "", false, nil
		}
		if v, found = sub[p]; !found {
			return "", false, nil
		}
	}
	return v, true, nil
}

func TestWorkloads(t *testing.T) {
	t.Parallel()
	const unknown = " looks like part of a pod template, and what Engine makes of it is not known"
	custom := func(apiVersion, kind, spec string) string {
		return "apiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: x}\nspec: " + spec + "\n"
	}
	engine := func(spec string) string { return custom("example.com/v1", "Engine", spec) }
	for title, tt := range map[string]struct {
		manifest string
		want     []string
	}{
		"a built-in kind":            {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 2, template: {spec: {containers: []}}}\n", []string{"Deployment at  2"}},
		"a template alone":           {"apiVersion: v1\nkind: PodTemplate\nmetadata: {name: x}\ntemplate: {spec: {containers: [{name: c}]}}\n", []string{"Pod at template"}},
		"no pods":                    {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {containers: none}\n", nil},
		"a schema of containers":     {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x}\nspec: {example: {containers: [{name: a, image: b}]}}\n", nil},
		"unknown, deep":              {engine("{a: {b: [{podSpec: {containers: [{name: c, image: i}]}}]}}"), []string{"unknown: spec.a.b[0].podSpec.containers" + unknown}},
		"unknown, by name alone":     {engine("{containers: [{name: c}]}"), []string{"unknown: spec.containers" + unknown}},
		"unknown, by image alone":    {engine("{initContainers: [{image: c}]}"), []string{"unknown: spec.initContainers" + unknown}},
		"unknown, one container":     {engine("{container: {image: c}}"), []string{"unknown: spec.container" + unknown}},
		"unknown, a map of them":     {engine("{containers: {main: {image: c}}}"), []string{"unknown: spec.containers" + unknown}},
		"unknown, sidecars":          {engine("{sidecars: [{image: c}]}"), []string{"unknown: spec.sidecars" + unknown}},
		"unknown, an object in it":   {engine("{resources: [{template: {kind: Deployment, spec: {template: {spec: {containers: [{name: c}]}}}}}]}"), []string{"unknown: spec.resources[0].template.spec.template.spec.containers" + unknown}},
		"unknown, not below spec":    {"apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: x}\ntemplate: {containers: [{name: c}]}\n", []string{"unknown: template.containers" + unknown}},
		"names of containers":        {engine("{containers: [a, b], container: main, steps: [{name: a}]}"), nil},
		"numbers of containers":      {engine("{containers: 3, sidecars: {enabled: true}}"), nil},
		"many":                       {engine("{a: {containers: [{name: c}]}, b: {containers: [{name: c}]}, c: {containers: [{name: c}]}, d: {containers: [{name: c}]}, e: {containers: [{name: c}]}}"), []string{"unknown: spec.a.containers, spec.b.containers, spec.c.containers, …" + unknown}},
		"a pattern of Kyverno":       {custom("kyverno.io/v1", "ClusterPolicy", "{rules: [{validate: {pattern: {spec: {containers: [{image: '*:*'}]}}}}]}"), nil},
		"what Kyverno generates":     {custom("kyverno.io/v1", "ClusterPolicy", "{rules: [{generate: {data: {spec: {containers: [{image: i}]}}}}]}"), []string{"unknown: spec.rules[0].generate.data.spec.containers looks like part of a pod template, and what ClusterPolicy makes of it is not known"}},
		"a rollout":                  {custom("argoproj.io/v1alpha1", "Rollout", "{replicas: 4, template: {spec: {containers: []}}}"), []string{"Deployment at spec.template 4"}},
		"a rollout of a workload":    {custom("argoproj.io/v1alpha1", "Rollout", "{workloadRef: {name: d}}"), nil},
		"a rollout of both":          {custom("argoproj.io/v1alpha1", "Rollout", "{workloadRef: {name: d}, template: {spec: {containers: []}}}"), []string{"Deployment at spec.template"}},
		"a rollout of nothing":       {custom("argoproj.io/v1alpha1", "Rollout", "{replicas: 2}"), []string{"unknown: no pod template at spec.template"}},
		"a rollout of another group": {custom("example.com/v1", "Rollout", "{template: {spec: {containers: [{name: c}]}}}"), []string{"unknown: spec.template.spec.containers looks like part of a pod template, and what Rollout makes of it is not known"}},
		"elsewhere in a known kind":  {custom("argoproj.io/v1alpha1", "Rollout", "{template: {spec: {containers: []}}, canary: {containers: [{name: c}]}}"), []string{"Deployment at spec.template", "unknown: spec.canary.containers looks like part of a pod template, and what Rollout makes of it is not known"}},
		"no list of tasks":           {custom("batch.volcano.sh/v1alpha1", "Job", "{tasks: 3}"), []string{"unknown: pod templates unknown: spec.tasks is no list"}},
		"a task that is none":        {custom("batch.volcano.sh/v1alpha1", "Job", "{tasks: [3]}"), []string{"unknown: pod templates unknown: spec.tasks[0] is no object"}},
		"a template that is none":    {custom("batch.volcano.sh/v1alpha1", "Job", "{tasks: [{template: 3}]}"), []string{"unknown: spec.tasks[0].template: no pod template"}},
		"a task beside a bad one":    {custom("batch.volcano.sh/v1alpha1", "Job", "{tasks: [{template: {spec: {}}}, 3]}"), []string{"unknown: pod templates unknown: spec.tasks[1] is no object", "Job at spec.tasks[0].template"}},
		"replicas of any name":       {custom("kubeflow.org/v1", "TFJob", "{tfReplicaSpecs: {Chief: {template: {spec: {}}}, PS: {template: {spec: {}}}}}"), []string{"Job at spec.tfReplicaSpecs.Chief.template", "Job at spec.tfReplicaSpecs.PS.template"}},
		"replicas beside a group":    {custom("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "{replicas: 2, leaderWorkerTemplate: {size: 4, workerTemplate: {spec: {}}}}"), []string{"StatefulSet at spec.leaderWorkerTemplate.workerTemplate 2"}},
		"a service that scales to 0": {custom("serving.knative.dev/v1", "Service", "{template: {spec: {containers: []}}}"), []string{"Deployment at spec.template 0"}},
		"a service that does not":    {custom("serving.knative.dev/v1", "Service", "{template: {metadata: {annotations: {autoscaling.knative.dev/min-scale: '3'}}, spec: {containers: []}}}"), []string{"Deployment at spec.template 3"}},
		"a service, nonsense":        {custom("serving.knative.dev/v1", "Service", "{template: {metadata: {annotations: {autoscaling.knative.dev/minScale: many}}, spec: {containers: []}}}"), []string{"Deployment at spec.template many"}},
		"steps of a workflow only":   {custom("argoproj.io/v1alpha1", "Workflow", "{templates: [{name: a, steps: [[{name: b, template: c}]]}]}"), nil},
		"a step within a step":       {custom("argoproj.io/v1alpha1", "Workflow", "{templates: [{name: a, steps: [[{name: b, inline: {container: {image: i}}}]]}]}"), []string{"unknown: spec.templates[0].steps[0][0].inline.container looks like part of a pod template, and what Workflow makes of it is not known"}},
		"a patch of a workflow":      {custom("argoproj.io/v1alpha1", "WorkflowTemplate", "{podSpecPatch: '{}', templates: [{name: a, container: {image: i}}]}"), []string{"unknown: spec.templates[0]: podSpecPatch changes the pod when it runs", "Job at spec.templates[0]"}},
		"a patch of a reference":     {custom("argoproj.io/v1alpha1", "Workflow", "{workflowTemplateRef: {name: t}, podSpecPatch: '{}'}"), []string{"unknown: podSpecPatch of the workflow would change the pods of its workflowTemplateRef, which stand elsewhere"}},
		"the host of a reference":    {custom("argoproj.io/v1alpha1", "Workflow", "{workflowTemplateRef: {name: t}, hostNetwork: true, volumes: []}"), []string{"unknown: hostNetwork, volumes of the workflow would change the pods of its workflowTemplateRef, which stand elsewhere"}},
		"a cron of a reference":      {custom("argoproj.io/v1alpha1", "CronWorkflow", "{workflowSpec: {workflowTemplateRef: {name: t}, podSpecPatch: '{}'}}"), []string{"unknown: podSpecPatch of the workflow would change the pods of its workflowTemplateRef, which stand elsewhere"}},
		"a reference alone":          {custom("argoproj.io/v1alpha1", "Workflow", "{workflowTemplateRef: {name: t}, serviceAccountName: s, arguments: {}}"), nil},
		"an object of a workflow":    {custom("argoproj.io/v1alpha1", "Workflow", "{templates: [{name: a, resource: {action: create, manifest: 'kind: Pod'}}]}"), []string{"unknown: spec.templates[0]: resource makes an object of its manifest, which is not looked at"}},
		"an object in a step":        {custom("argoproj.io/v1alpha1", "Workflow", "{templates: [{name: a, steps: [[{name: b, inline: {resource: {action: apply, manifest: 'kind: Pod'}}}]]}]}"), []string{"unknown: spec.templates[0]: resource makes an object of its manifest, which is not looked at"}},
		"an object that is deleted":  {custom("argoproj.io/v1alpha1", "Workflow", "{templates: [{name: a, resource: {action: delete, manifest: 'kind: Pod'}}]}"), nil},
		"a patch without containers": {custom("argoproj.io/v1alpha1", "Workflow", "{podSpecPatch: '{}', templates: [{name: a, resource: {action: get}}]}"), []string{"unknown: spec.templates[0]: podSpecPatch changes the pod when it runs"}},
		"a patch and steps":          {custom("argoproj.io/v1alpha1", "Workflow", "{podSpecPatch: '{}', templates: [{name: a, steps: [[{name: b, template: c}]]}]}"), nil},
		"defaults of a workflow":     {custom("argoproj.io/v1alpha1", "CronWorkflow", "{workflowSpec: {templateDefaults: {container: {image: i}}, templates: [{name: a}]}}"), []string{"Job at spec.workflowSpec.templates[0]"}},
		"a sensor by default":        {custom("argoproj.io/v1alpha1", "Sensor", "{triggers: []}"), []string{"Deployment at spec.template"}},
		"a workflow in a sensor":     {custom("argoproj.io/v1alpha1", "Sensor", "{triggers: [{template: {argoWorkflow: {source: {resource: {spec: {templates: [{container: {image: i}}]}}}}}}]}"), []string{"Deployment at spec.template", "unknown: spec.triggers[0].template.argoWorkflow.source.resource.spec.templates[0].container looks like part of a pod template, and what Sensor makes of it is not known"}},
		"an agent on each node":      {custom("monitoring.coreos.com/v1alpha1", "PrometheusAgent", "{mode: DaemonSet}"), []string{"DaemonSet at spec"}},
		"a run of a task elsewhere":  {custom("tekton.dev/v1", "TaskRun", "{taskRef: {name: a}}"), nil},
		"jobs of a cron":             {custom("apps.kruise.io/v1alpha1", "AdvancedCronJob", "{template: {broadcastJobTemplate: {spec: {template: {spec: {}}}}}}"), []string{"Job at spec.template.broadcastJobTemplate.spec.template"}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if got := said(parseOne(t, tt.manifest).Workloads(nil)); !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// What the user says of a kind makes it known, and no other.
func TestWorkloadsOfTheUser(t *testing.T) {
	t.Parallel()
	o := parseOne(t, "apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: x}\nspec: {replicas: 2, pods: {a: {template: {containers: [{name: c}]}}}, jobs: [{template: {spec: {containers: [{name: c}]}}}]}\n")
	extra, err := ParsePodTemplates([]string{"example.com/Engine:spec.pods.*.template", "example.com/Engine:spec.jobs[*].template=Job", "example.org/Engine:spec.x"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := said(o.Workloads(extra)), []string{"Deployment at spec.pods.a.template", "Job at spec.jobs[0].template"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	again, err := ParsePodTemplates(PodTemplates(extra))
	if err != nil || len(again) != len(extra) || PodTemplates(extra)[1] != "example.com/Engine:spec.pods.*.template=Deployment" {
		t.Errorf("%q, %v", PodTemplates(extra), err)
	}
	for s, want := range map[string]string{"example.com/Engine:spec.x=Queue": `"Queue" is none of Deployment`, "Engine:spec": "no group and kind", "a.io/E:x[1]": `"x[1]" is no field`} {
		if _, err := ParsePodTemplate(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", s, err, want)
		}
	}
}

func FuzzWorkloads(f *testing.F) {
	for _, k := range podKinds {
		f.Add("apiVersion: " + k.group + "/v1\nkind: " + k.kind + "\nspec: {template: {containers: [{name: c}]}, templates: [{container: {}}], tasks: [{template: {}}], steps: [1]}\n")
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Parse([]byte(text))
		if err != nil {
			return
		}
		for i := range set.Objects {
			o := &set.Objects[i]
			for _, w := range o.Workloads(nil) {
				if (w.As == nil) == (w.Unknown == "") {
					t.Fatalf("%v", w)
				}
				if w.As != nil {
					_, _, _ = w.As.PodTemplate() // may fail, not panic
				}
			}
			_ = o.ImageUses(nil)
			_ = o.Autoscaler()
		}
	})
}

// Argo reads hostNetwork from the workflow alone: no template can take it back.
func TestWorkflowHostNetwork(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]any{
		"{hostNetwork: true, templates: [{name: a, hostNetwork: false, container: {image: i}}]}": true,
		"{hostNetwork: true, templates: [{name: a, container: {image: i}}]}":                     true,
		"{templates: [{name: a, container: {image: i}}]}":                                        "",
	} {
		ws := parseOne(t, "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: x}\nspec: "+spec+"\n").Workloads(nil)
		if len(ws) != 1 || ws[0].As == nil {
			t.Fatalf("%s: %q", spec, said(ws))
		}
		if got, _, _ := nested(ws[0].As.Object, "spec", "template", "spec", "hostNetwork"); got != want {
			t.Errorf("%s: %v, want %v", spec, got, want)
		}
	}
}
