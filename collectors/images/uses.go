package images

import (
	"fmt"

	"github.com/companyos/helmproof/collectors"
)

// use is one place where an object names an image; problem says why it cannot be read.
type use struct {
	container, image, problem string
}

// operated are kinds of prometheus-operator: their spec names an image, and
// containers like a pod's.
var operated = map[string]bool{"Prometheus": true, "PrometheusAgent": true, "Alertmanager": true, "ThanosRuler": true}

// usesOf lists the images of an object: containers of all sorts, image volumes,
// and the known fields of custom resources. It reads undecoded objects, so that
// fields newer than this program's API types do not hide an image.
func usesOf(o *collectors.Object) []use {
	custom := o.GroupVersionKind().Group == "monitoring.coreos.com" && operated[o.GetKind()]
	m := o.Object
	if !custom {
		template, ok := o.PodTemplatePath()
		if !ok {
			return nil
		}
		for _, field := range template {
			m, _ = m[field].(map[string]any)
		}
	}
	spec, ok := m["spec"].(map[string]any)
	if !ok {
		return []use{{problem: "images unknown: no spec"}}
	}
	var out []use
	if custom && spec["image"] != nil {
		out = append(out, imageOf("", "spec.image", spec["image"]))
	}
	for _, field := range []string{"initContainers", "containers", "ephemeralContainers"} {
		out = append(out, each(spec, field, func(c map[string]any) (use, bool) {
			if custom && c["image"] == nil { // changes a container that the operator makes
				return use{}, false
			}
			container, _ := c["name"].(string)
			return imageOf(container, field, c["image"]), true
		})...)
	}
	return append(out, each(spec, "volumes", func(v map[string]any) (use, bool) {
		if v["image"] == nil {
			return use{}, false
		}
		volume, _ := v["name"].(string)
		source, _ := v["image"].(map[string]any)
		return imageOf("", fmt.Sprintf("volume %q", volume), source["reference"]), true
	})...)
}

func each(spec map[string]any, field string, f func(map[string]any) (use, bool)) []use {
	if spec[field] == nil {
		return nil
	}
	list, ok := spec[field].([]any)
	if !ok {
		return []use{{problem: "images unknown: " + field + " is no list"}}
	}
	var out []use
	for i, v := range list {
		m, ok := v.(map[string]any)
		if !ok {
			out = append(out, use{problem: fmt.Sprintf("images unknown: %s[%d] is no object", field, i)})
			continue
		}
		if u, ok := f(m); ok {
			out = append(out, u)
		}
	}
	return out
}

func imageOf(container, where string, v any) use {
	image, ok := v.(string)
	if !ok || image == "" {
		return use{container: container, problem: where + ": no image"}
	}
	return use{container: container, image: image}
}
