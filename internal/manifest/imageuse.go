package manifest

import (
	"cmp"
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
	Volume    string // name of the volume that is an image; empty for others
	At        string // the field, where neither container nor volume has the image
}

// ImageField says where the objects of one kind name images.
type ImageField struct {
	Group string // API group; all versions
	Kind  string
	// Path leads to a string, "spec.image" or "spec.templates[*].container.image", or
	// with PodTemplate to a pod template: "spec.template".
	Path        string
	PodTemplate bool
	// As is the built-in kind that the pod template's pods are judged as: one of
	// podKindNames; empty: Deployment.
	As string
}

// podKindNames are the built-in kinds that pod templates can be judged as.
var podKindNames = []string{"Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"}

func (f ImageField) as() string { return cmp.Or(f.As, podKindNames[0]) }

// ParsePodTemplate reads GROUP/KIND:PATH, or GROUP/KIND:PATH=Job, where a pod
// template of a custom resource is, and as what built-in kind its pods are
// judged. The error says what is wrong with it.
func ParsePodTemplate(s string) (ImageField, error) {
	path, as, named := strings.Cut(s, "=")
	if named && !slices.Contains(podKindNames, as) {
		return ImageField{}, fmt.Errorf("pod template %q: %q is none of %s", s, as, strings.Join(podKindNames, ", "))
	}
	f, err := ParseImageField(strings.TrimSuffix(path, "!") + "!")
	if err != nil {
		return f, fmt.Errorf("pod template: %w", err)
	}
	f.As = as
	return f, nil
}

// ParsePodTemplates reads several; the error says which of them is none.
func ParsePodTemplates(list []string) ([]ImageField, error) {
	var out []ImageField
	for _, s := range list {
		f, err := ParsePodTemplate(s)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// PodTemplates lists those fields that lead to pod templates, as ParsePodTemplate
// reads them.
func PodTemplates(fields []ImageField) []string {
	var out []string
	for _, f := range fields {
		if f.PodTemplate {
			out = append(out, fmt.Sprintf("%s/%s:%s=%s", f.Group, f.Kind, f.Path, f.as()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
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
		if name := strings.TrimSuffix(part, "[*]"); name == "" || part != "*" && strings.ContainsAny(name, "[]*!= ") {
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

// ImageUses lists the images of an object: containers of all sorts and image
// volumes of the pods that it makes, and the known fields of custom resources
// together with extra ones. It reads undecoded objects, so that fields newer
// than this program's API types do not hide an image.
func (o *Object) ImageUses(extra []ImageField) []ImageUse {
	return o.imageUses(o.Workloads(extra), extra)
}

// ImageUses is Object.ImageUses for who has the object's workloads at hand.
func ImageUses(o *Object, workloads []Workload, extra []ImageField) []ImageUse {
	return o.imageUses(workloads, extra)
}

func (o *Object) imageUses(workloads []Workload, extra []ImageField) []ImageUse {
	var out []ImageUse
	gk := o.GroupVersionKind().GroupKind()
	named := slices.ContainsFunc(extra, func(f ImageField) bool { return !f.PodTemplate && f.Kind == gk.Kind && f.Group == gk.Group })
	for _, w := range workloads {
		if w.looks && named || w.NoImages {
			continue // the user said where its images are, or there are none in it
		}
		if w.As == nil {
			out = append(out, ImageUse{Problem: "images unknown: " + w.Unknown})
			continue
		}
		for _, u := range podImages(w.template()) {
			switch {
			case u.Problem == "" || u.Container == "":
			case slices.Contains(w.Patched, u.Container):
				continue
			case slices.Contains(w.Operators, u.Container):
				u.Problem = "the image is left to the operator of " + o.GetKind()
			}
			out = append(out, u)
		}
	}
	return append(out, o.FieldImages(extra)...)
}

// FieldImages lists the images that known fields of custom resources, and extra
// ones, name outside pod templates. What else looks like an image there is unknown,
// unless the user said where the kind has its images.
func (o *Object) FieldImages(extra []ImageField) []ImageUse {
	gk := o.GroupVersionKind().GroupKind()
	var out []ImageUse
	var read []string
	for _, k := range o.kindsOfPods(extra) {
		read = append(read, k.paths...)
		for _, path := range k.paths {
			if above, ok := strings.CutSuffix(path, rayHead); ok {
				read = append(read, above+".autoscalerOptions.image") // of a container of its pod
			}
		}
	}
	named := false
	for i, f := range slices.Concat(knownImageFields, extra) {
		if !f.PodTemplate && f.Kind == gk.Kind && f.Group == gk.Group {
			out = append(out, f.in(o.Object)...)
			read = append(read, f.Path)
			named = named || i >= len(knownImageFields)
		}
	}
	if shapes := o.imageShapes(read); len(shapes) > 0 && !named {
		out = append(out, ImageUse{Problem: fmt.Sprintf("images unknown: %s looks like an image, and what %s makes of it is not known", strings.Join(shapes, ", "), gk.Kind)})
	}
	return out
}

// template is the undecoded pod template; nil where there is none.
func (w *Workload) template() map[string]any {
	path, _ := w.As.PodTemplatePath()
	m := w.As.Object
	for _, field := range path {
		m, _ = m[field].(map[string]any)
	}
	return m
}

// in finds the images that the field names; what is not there names none.
func (f ImageField) in(root map[string]any) []ImageUse {
	places, err := follow(root, f.Path)
	var out []ImageUse
	if err != nil {
		out = append(out, ImageUse{Problem: "images unknown: " + err.Error()})
	}
	for _, p := range places {
		use := imageUse("", p.at, p.value)
		use.At = p.at
		out = append(out, use)
	}
	return out
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
		use := imageUse("", fmt.Sprintf("volume %q", volume), source["reference"])
		use.Volume = volume
		return []ImageUse{use}
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

// ImageFields lists those fields that lead to no pod template, as ParseImageField
// reads them.
func ImageFields(fields []ImageField) []string {
	var out []string
	for _, f := range fields {
		if !f.PodTemplate {
			out = append(out, f.String())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
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
