package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

const pinnedImage = "registry.example.com/team/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

type object = map[string]any

// rightContainer meets every control that is about a container.
func rightContainer() object {
	probe := func(path string) object { return object{"httpGet": object{"path": path, "port": 8080}} }
	return object{
		"name": "app", "image": pinnedImage,
		"resources":      object{"requests": object{"cpu": "100m", "memory": "64Mi"}, "limits": object{"cpu": "1", "memory": "64Mi"}},
		"readinessProbe": probe("/ready"), "livenessProbe": probe("/live"), "startupProbe": probe("/started"),
		"securityContext": object{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true, "runAsUser": 10001, "capabilities": object{"drop": []any{"ALL"}}, "seccompProfile": object{"type": "RuntimeDefault"}},
	}
}

func wrongContainer() object {
	return object{
		"name": "app", "image": "nginx:latest", "securityContext": object{"privileged": true},
		"env":       []any{object{"name": "DB_PASSWORD", "value": "correct-horse-battery-9"}},
		"resources": object{"requests": object{"example.com/gpu": "2"}, "limits": object{"example.com/gpu": "1"}},
	}
}

// template is a pod template with one container.
func template(c object, right bool) object {
	if !right {
		return object{"metadata": object{"labels": object{"app": "x"}}, "spec": object{"hostNetwork": true, "containers": []any{c}}}
	}
	return object{"metadata": object{"labels": object{"app": "x"}, "annotations": object{"autoscaling.knative.dev/min-scale": "2"}}, "spec": object{
		"automountServiceAccountToken": false, "securityContext": object{"fsGroup": 10001}, "containers": []any{c},
	}}
}

// put makes an object of a path, with v at its end.
func put(path string, v, replicas any) object {
	head, rest, more := strings.Cut(path, ".")
	name, list := strings.CutSuffix(head, "[*]")
	if name == "*" {
		name = "Worker"
	}
	out := object{}
	if more {
		v = put(rest, v, replicas)
	} else if replicas != nil {
		out["replicas"] = replicas
	}
	if list {
		v = []any{v}
	}
	out[name] = v
	return out
}

// made is an object of a kind of the table, with the container where the path leads.
func made(k manifest.KnownPods, path string, right bool) object {
	c, replicas := wrongContainer(), 1
	if right {
		c, replicas = rightContainer(), 2
	}
	t := template(c, right)
	spec := maps.Clone(t["spec"].(object))
	alone := maps.Clone(spec)
	delete(alone, "containers")
	v := t
	switch k.Kind {
	case "Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow":
		alone["name"], alone["container"] = "app", c
		v = alone
	case "Sensor", "EventSource":
		alone["metadata"], alone["container"] = t["metadata"], c
		v = alone
	case "Task", "ClusterTask", "TaskRun", "Pipeline", "PipelineRun":
		step := maps.Clone(c)
		step["computeResources"] = step["resources"]
		delete(step, "resources")
		v = object{"steps": []any{step}}
	case "SidecarSet":
		v = object{"containers": []any{c}}
	case "Revision":
		v = spec
	case "Prometheus", "PrometheusAgent", "Alertmanager", "ThanosRuler":
		v = spec
		spec["image"], spec["resources"], spec["replicas"] = c["image"], c["resources"], replicas
		own := maps.Clone(c)
		own["name"] = strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(k.Kind, "Agent"), "Ruler", "-ruler"))
		delete(own, "image")
		spec["containers"] = []any{own}
	}
	o := put(path, v, replicas)
	if s, ok := o["spec"].(object); ok && strings.HasPrefix(path, "spec.") {
		s["replicas"] = replicas
	}
	metadata := object{"name": strings.ToLower(k.Kind)}
	if k.Kind == "Revision" && right {
		metadata["annotations"] = t["metadata"].(object)["annotations"]
	}
	return object{"apiVersion": k.Group + "/v1", "kind": k.Kind, "metadata": metadata, "spec": o["spec"]}
}

// judgedManifests judges objects as the command does with --manifests.
func judgedManifests(t *testing.T, o chart.LoadOptions, objects ...object) *Judged {
	t.Helper()
	var text strings.Builder
	for _, x := range objects {
		raw, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "---\n%s\n", raw)
	}
	return judgedText(t, o, text.String())
}

func judgedText(t *testing.T, o chart.LoadOptions, text string) *Judged {
	t.Helper()
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := LoadRules(RulesOptions{Profile: "chart"})
	if err != nil {
		t.Fatal(err)
	}
	p := &Pipeline{Rules: rules, Timeout: time.Minute, Now: time.Now}
	jobs := []Job{{Ref: file, Manifests: true}}
	p.Jobs(t.Context(), jobs, JobOptions{Load: o, Workers: 1, Start: func(string) {}, Finish: func() {}})
	if jobs[0].Err != nil {
		t.Fatal(jobs[0].Err)
	}
	for _, run := range jobs[0].Out.Runs.Collectors {
		if run.Error != "" {
			t.Errorf("%s: %s", run.Collector, run.Error)
		}
	}
	return jobs[0].Out
}

// worstOf is what a control says of one object: the worst of its findings, and
// not-applicable where there is none.
func worstOf(j *Judged, control, kind string) evidence.Outcome {
	order := []evidence.Outcome{evidence.OutcomeNotApplicable, evidence.OutcomePass, evidence.OutcomeWarn, evidence.OutcomeNotChecked, evidence.OutcomeError, evidence.OutcomeFail}
	worst := 0
	for _, f := range j.Findings {
		if slices.Contains(f.Controls, evidence.ControlID(control)) && f.Target.Kind == kind {
			worst = max(worst, slices.Index(order, f.Outcome))
		}
	}
	return order[worst]
}

// TestKnownPodTemplates judges a right and a wrong object of every kind of the
// table, with its pods at every path.
func TestKnownPodTemplates(t *testing.T) {
	t.Parallel()
	kinds := manifest.AllKnownPods()
	for path := range 4 {
		var right, wrong []object
		var some []manifest.KnownPods
		for _, k := range kinds {
			if path < len(k.Paths) {
				some = append(some, k)
				right, wrong = append(right, made(k, k.Paths[path], true)), append(wrong, made(k, k.Paths[path], false))
			}
		}
		good, bad := judgedManifests(t, chart.LoadOptions{}, right...), judgedManifests(t, chart.LoadOptions{}, wrong...)
		for _, k := range some {
			guest := k.Kind == "SidecarSet" || k.Group == "tekton.dev"
			serves, replicated := k.As != "Job", k.As == "Deployment" || k.As == "StatefulSet"
			for _, x := range []struct {
				control     string
				about       bool
				right, fail evidence.Outcome
			}{
				{"RES-1", true, evidence.OutcomePass, evidence.OutcomeFail}, {"RES-2", true, evidence.OutcomePass, evidence.OutcomeFail}, {"RES-3", true, evidence.OutcomePass, evidence.OutcomeFail},
				{"HLT-1", serves, evidence.OutcomePass, evidence.OutcomeFail}, {"HLT-3", serves, evidence.OutcomePass, evidence.OutcomeFail},
				{"AVL-4", replicated, evidence.OutcomePass, evidence.OutcomeFail},
				{"SEC-1", true, evidence.OutcomePass, evidence.OutcomeFail}, {"SEC-2", true, evidence.OutcomePass, evidence.OutcomeFail}, {"SEC-4", true, evidence.OutcomePass, evidence.OutcomeFail},
				{"SEC-6", !guest, evidence.OutcomePass, evidence.OutcomeFail}, {"IMG-1", true, evidence.OutcomePass, evidence.OutcomeFail},
			} {
				wantRight, wantWrong := x.right, x.fail
				switch {
				case guest && x.control == "SEC-6":
					wantRight, wantWrong = evidence.OutcomeNotChecked, evidence.OutcomeNotChecked
				case guest && x.control == "SEC-2":
					wantRight = evidence.OutcomeNotChecked // the group of files is the pod's
				case !x.about:
					wantRight, wantWrong = evidence.OutcomeNotApplicable, evidence.OutcomeNotApplicable
				case probedByOperator(k) && x.control == "HLT-1", k.Group == "monitoring.coreos.com" && strings.HasPrefix(k.Kind, "Prometheus") && x.control == "HLT-3":
					wantWrong = evidence.OutcomePass
				}
				if got := worstOf(good, x.control, k.Kind); got != wantRight {
					t.Errorf("a right %s, %s: %s is %s, want %s", k.Kind, k.Paths[path], x.control, got, wantRight)
				}
				if got := worstOf(bad, x.control, k.Kind); got != wantWrong {
					t.Errorf("a wrong %s, %s: %s is %s, want %s", k.Kind, k.Paths[path], x.control, got, wantWrong)
				}
			}
			if got := worstOf(bad, "SCR-1", k.Kind); got != evidence.OutcomeFail {
				t.Errorf("a wrong %s: SCR-1 is %s", k.Kind, got)
			}
			if got := worstOf(good, "SCR-1", k.Kind); got == evidence.OutcomeFail || got == evidence.OutcomeNotChecked {
				t.Errorf("a right %s: SCR-1 is %s", k.Kind, got)
			}
		}
	}
}

// probedByOperator are the kinds whose controllers write probes themselves.
func probedByOperator(k manifest.KnownPods) bool {
	return k.Group == "monitoring.coreos.com" || k.Kind == "RayCluster" || k.Kind == "RayService"
}

// A kind that nobody knows is not checked where it holds what looks like pods; one
// that the user names is judged as he says, and again by what is sealed.
func TestUnknownPodTemplates(t *testing.T) {
	t.Parallel()
	engine := object{"apiVersion": "example.com/v1", "kind": "Engine", "metadata": object{"name": "e"}, "spec": object{"replicas": 1, "pods": template(wrongContainer(), false)}}
	controls := []string{"RES-1", "RES-2", "RES-3", "HLT-1", "HLT-2", "HLT-3", "HLT-4", "AVL-1", "AVL-3", "AVL-4", "SEC-1", "SEC-2", "SEC-3", "SEC-4", "SEC-5", "SEC-6", "SEC-7", "IMG-1", "SCR-1", "SCR-2"}
	unknown := judgedManifests(t, chart.LoadOptions{}, engine)
	for _, c := range controls {
		want := evidence.OutcomeNotChecked
		if c == "SCR-1" {
			want = evidence.OutcomeFail // a secret is one wherever it stands
		}
		if got := worstOf(unknown, c, "Engine"); got != want {
			t.Errorf("unknown: %s is %s, want %s", c, got, want)
		}
	}
	field, err := manifest.ParsePodTemplate("example.com/Engine:spec.pods")
	if err != nil {
		t.Fatal(err)
	}
	known := judgedManifests(t, chart.LoadOptions{ImageFields: []manifest.ImageField{field}}, engine)
	for _, c := range []string{"RES-1", "RES-3", "HLT-1", "AVL-4", "SEC-1", "SEC-6", "IMG-1", "SCR-1"} {
		if got := worstOf(known, c, "Engine"); got != evidence.OutcomeFail {
			t.Errorf("named: %s is %s", c, got)
		}
	}
	if got := known.Release.PodTemplates; len(got) != 1 || got[0] != "example.com/Engine:spec.pods=Deployment" {
		t.Errorf("sealed: %q", got)
	}
}
