package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ImageUse is one place where an object names an image.
type ImageUse struct {
	Container string // name of the container; empty for volumes and other fields
	Image     string // as written; empty where Problem is set
	Problem   string // why the image is not known
}

// ImageField says where the objects of one kind name images.
type ImageField struct {
	Group string // API group; all versions
	Kind  string
	// Path leads to a string, "spec.image" or "spec.templates[*].container.image", or
	// with PodTemplate to a pod template: "spec.template".
	Path        string
	PodTemplate bool
}

// ParseImageField reads GROUP/KIND:PATH. A path that ends in "!" leads to a pod
// template.
func ParseImageField(s string) (ImageField, error) {
	bad := func(why string) (ImageField, error) {
		return ImageField{}, fmt.Errorf("image field %q: %s; write GROUP/KIND:PATH such as example.com/Engine:spec.image, with [*] for lists and ! at the end of a path to a pod template", s, why)
	}
	of, path, ok := strings.Cut(s, ":")
	if !ok {
		return bad("no path")
	}
	group, kind, ok := strings.Cut(of, "/")
	if !ok || group == "" || kind == "" || strings.ContainsAny(kind, "/ ") {
		return bad("no group and kind")
	}
	f := ImageField{Group: group, Kind: kind, Path: strings.TrimPrefix(path, ".")}
	f.Path, f.PodTemplate = strings.CutSuffix(f.Path, "!")
	for _, part := range strings.Split(f.Path, ".") {
		if name := strings.TrimSuffix(part, "[*]"); name == "" || strings.ContainsAny(name, "[]* ") {
			return bad(fmt.Sprintf("%q is no field", part))
		}
	}
	return f, nil
}

func (f ImageField) String() string {
	end := ""
	if f.PodTemplate {
		end = "!"
	}
	return f.Group + "/" + f.Kind + ":" + f.Path + end
}

// knownImageFields are those of widely used custom resources.
var knownImageFields = func() []ImageField {
	var out []ImageField
	for _, s := range []string{
		"apps.kruise.io/CloneSet:spec.template!",
		"apps.kruise.io/DaemonSet:spec.template!",
		"apps.kruise.io/StatefulSet:spec.template!",
		"argoproj.io/Rollout:spec.template!",
		"batch.volcano.sh/Job:spec.tasks[*].template!",
		"keda.sh/ScaledJob:spec.jobTargetRef.template!",
		"kubeflow.org/PyTorchJob:spec.pytorchReplicaSpecs.Master.template!",
		"kubeflow.org/PyTorchJob:spec.pytorchReplicaSpecs.Worker.template!",
		"monitoring.coreos.com/Alertmanager:spec.image",
		"monitoring.coreos.com/Prometheus:spec.image",
		"monitoring.coreos.com/PrometheusAgent:spec.image",
		"monitoring.coreos.com/ThanosRuler:spec.image",
		"opentelemetry.io/OpenTelemetryCollector:spec.image",
		"postgresql.cnpg.io/Cluster:spec.imageName",
		"serving.knative.dev/Configuration:spec.template!",
		"serving.knative.dev/Service:spec.template!",
		"tekton.dev/Task:spec.sidecars[*].image",
		"tekton.dev/Task:spec.steps[*].image",
	} {
		f, err := ParseImageField(s)
		if err != nil {
			panic(err)
		}
		out = append(out, f)
	}
	for _, kind := range []string{"Alertmanager", "Prometheus", "PrometheusAgent", "ThanosRuler"} {
		for _, list := range []string{"initContainers", "containers"} {
			out = append(out, ImageField{Group: "monitoring.coreos.com", Kind: kind, Path: "spec." + list + "[*].image"})
		}
	}
	for kind, path := range map[string]string{"Workflow": "spec", "WorkflowTemplate": "spec", "ClusterWorkflowTemplate": "spec", "CronWorkflow": "spec.workflowSpec"} {
		for _, at := range []string{"container.image", "script.image", "initContainers[*].image", "sidecars[*].image"} {
			out = append(out, ImageField{Group: "argoproj.io", Kind: kind, Path: path + ".templates[*]." + at})
		}
	}
	slices.SortFunc(out, func(a, b ImageField) int { return strings.Compare(a.String(), b.String()) })
	return out
}()

// ImageUses lists the images of an object: containers of all sorts and image
// volumes of workloads, and the known fields of custom resources together with
// extra ones. It reads undecoded objects, so that fields newer than this
// program's API types do not hide an image.
func (o *Object) ImageUses(extra []ImageField) []ImageUse {
	if path, ok := o.PodTemplatePath(); ok {
		m := o.Object
		for _, field := range path {
			m, _ = m[field].(map[string]any)
		}
		return podImages(m)
	}
	var out []ImageUse
	gvk := o.GroupVersionKind()
	for _, f := range slices.Concat(knownImageFields, extra) {
		if f.Kind == gvk.Kind && f.Group == gvk.Group {
			out = append(out, f.in(o.Object, f.Path, "")...)
		}
	}
	return out
}

// in walks the rest of the path; what is not there names no image.
func (f ImageField) in(v any, rest, container string) []ImageUse {
	if v == nil {
		return nil
	}
	if rest == "" {
		if f.PodTemplate {
			m, ok := v.(map[string]any)
			if !ok {
				return []ImageUse{{Problem: f.Path + ": no pod template"}}
			}
			return podImages(m)
		}
		return []ImageUse{imageUse(container, f.Path, v)}
	}
	m, ok := v.(map[string]any)
	if !ok {
		return []ImageUse{{Problem: "images unknown: " + f.Path + " leads through what is no object"}}
	}
	if name, ok := m["name"].(string); ok && strings.HasSuffix(strings.TrimSuffix(f.Path, rest), "[*].") {
		container = name
	}
	head, tail, _ := strings.Cut(rest, ".")
	name, list := strings.CutSuffix(head, "[*]")
	if !list {
		return f.in(m[name], tail, container)
	}
	return eachOf(m, name, func(item map[string]any) []ImageUse { return f.in(item, tail, container) })
}

// podImages lists the images of a pod or pod template.
func podImages(template map[string]any) []ImageUse {
	spec, ok := template["spec"].(map[string]any)
	if !ok {
		return []ImageUse{{Problem: "images unknown: no spec"}}
	}
	var out []ImageUse
	for _, field := range []string{"initContainers", "containers", "ephemeralContainers"} {
		out = append(out, eachOf(spec, field, func(c map[string]any) []ImageUse {
			container, _ := c["name"].(string)
			return []ImageUse{imageUse(container, field, c["image"])}
		})...)
	}
	return append(out, eachOf(spec, "volumes", func(v map[string]any) []ImageUse {
		if v["image"] == nil {
			return nil
		}
		volume, _ := v["name"].(string)
		source, _ := v["image"].(map[string]any)
		return []ImageUse{imageUse("", fmt.Sprintf("volume %q", volume), source["reference"])}
	})...)
}

func eachOf(m map[string]any, field string, f func(map[string]any) []ImageUse) []ImageUse {
	if m[field] == nil {
		return nil
	}
	list, ok := m[field].([]any)
	if !ok {
		return []ImageUse{{Problem: "images unknown: " + field + " is no list"}}
	}
	var out []ImageUse
	for i, v := range list {
		item, ok := v.(map[string]any)
		if !ok {
			out = append(out, ImageUse{Problem: fmt.Sprintf("images unknown: %s[%d] is no object", field, i)})
			continue
		}
		out = append(out, f(item)...)
	}
	return out
}

func imageUse(container, where string, v any) ImageUse {
	image, ok := v.(string)
	if !ok || image == "" {
		return ImageUse{Container: container, Problem: where + ": no image"}
	}
	return ImageUse{Container: container, Image: image}
}

// Images returns the images of all objects, sorted, each once.
func Images(set *ObjectSet, extra []ImageField) []string {
	seen := map[string]struct{}{}
	for i := range set.Objects {
		for _, u := range set.Objects[i].ImageUses(extra) {
			if u.Image != "" {
				seen[u.Image] = struct{}{}
			}
		}
	}
	if images := slices.Sorted(maps.Keys(seen)); images != nil {
		return images
	}
	return []string{}
}
