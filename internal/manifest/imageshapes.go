package manifest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// tellOfPods are API groups whose kinds tell of pods and images and run none:
// policies about them, watchers of repositories, images of machines, schemas.
var tellOfPods = []string{"kyverno.io", "gatekeeper.sh", "sigstore.dev", "image.toolkit.fluxcd.io", "cluster.x-k8s.io", "metal3.io", "apiextensions.k8s.io"}

// imageShapes names what looks like an image in a custom resource, outside of what
// is read of it: pod templates, known fields of images, and lists of containers,
// which are told of as such.
func (o *Object) imageShapes(read []string) []string {
	patterns := splitPatterns(read)
	return o.shapes(func(name string, v any, path []string) (is, skip bool) {
		if holdsContainers(name, v) || slices.ContainsFunc(patterns, func(p []string) bool { return samePath(p, path) }) {
			return false, true
		}
		return namesImage(name, v), false
	})
}

// shapes names the fields of a custom resource that are of some shape. What is to be
// skipped is not looked into.
func (o *Object) shapes(look func(name string, v any, path []string) (is, skip bool)) []string {
	group := o.GroupVersionKind().Group
	if !strings.Contains(group, ".") || o.IsWorkload() || slices.ContainsFunc(tellOfPods, func(g string) bool { return group == g || strings.HasSuffix(group, "."+g) }) {
		return nil
	}
	var out []string
	var walk func(v any, name, at string, path []string)
	walk = func(v any, name, at string, path []string) {
		if len(out) > maxShapes || len(path) > maxDepth {
			return
		}
		is, skip := look(name, v, path)
		if is {
			out = append(out, at)
		}
		if is || skip {
			return
		}
		switch v := v.(type) {
		case map[string]any:
			for _, k := range sortedKeys(v) {
				walk(v[k], k, join(at, k), append(path, k))
			}
		case []any:
			for i, e := range v {
				walk(e, "", fmt.Sprintf("%s[%d]", at, i), append(path, "[*]"))
			}
		}
	}
	for _, k := range sortedKeys(o.Object) {
		switch k {
		case "apiVersion", "kind", "metadata", "status":
		default:
			walk(o.Object[k], k, k, []string{k})
		}
	}
	if len(out) > maxShapes {
		out[maxShapes] = "…"
	}
	return out
}

// podFieldShapes names what a controller takes over into pods of its own, though no
// containers are written: templates of pods, and fields of a pod that say how it is secured.
func (o *Object) podFieldShapes() []string {
	return o.shapes(func(name string, v any, _ []string) (is, skip bool) { return isPodField(name, v), false })
}

func isPodField(name string, v any) bool {
	m, _ := v.(map[string]any)
	switch name {
	case "hostNetwork", "hostPID", "hostIPC":
		return v == true
	case "podTemplate", "podTemplateSpec", "podSpec":
		return len(m) > 0
	case "securityContext", "podSecurityContext", "containerSecurityContext":
		return len(picked(m, "allowPrivilegeEscalation", "capabilities", "fsGroup", "privileged", "procMount", "readOnlyRootFilesystem", "runAsGroup", "runAsNonRoot", "runAsUser",
			"seLinuxOptions", "seccompProfile", "supplementalGroups", "sysctls", "windowsOptions")) > 0
	}
	return false
}

// namesImage reports whether a field of that name and value is an image to run: a
// reference, or a mapping of its parts, as the values of charts have them.
func namesImage(name string, v any) bool {
	if name == "images" {
		list, _ := v.([]any)
		return slices.ContainsFunc(list, func(e any) bool { s, ok := e.(string); return ok && isReference(s, false) })
	}
	if name != "image" && name != "imageName" && !strings.HasSuffix(name, "Image") {
		return false
	}
	switch v := v.(type) {
	case string:
		return isReference(v, name == "image")
	case map[string]any:
		for _, part := range []string{"tag", "digest", "registry", "pullPolicy", "repository"} {
			if s, ok := v[part].(string); ok && s != "" {
				for _, of := range []string{"repository", "name", "image"} {
					if s, ok := v[of].(string); ok && s != "" {
						return true
					}
				}
			}
		}
	}
	return false
}

// isReference reports whether a text is a reference of an image to container
// runtimes. Without a registry, a tag or a digest it may be any word.
func isReference(s string, word bool) bool {
	switch strings.ToLower(path.Ext(s)) {
	case ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".ico", ".iso", ".img", ".qcow2", ".vmdk", ".raw":
		return false
	}
	_, err := reference.ParseNormalizedNamed(s)
	return err == nil && (word || strings.ContainsAny(s, "/:@"))
}
