package policy

import (
	"regexp"

	"github.com/companyos/helmproof/internal/manifest"
)

// clauseStart is how a policy's message begins what it says about one container.
var clauseStart = regexp.MustCompile(`(?:^|; )container "([^"]+)": `)

// clause is a policy's message as far as it is about one container, or, with
// container "", about the object.
type clause struct{ container, text string }

// splitMessage splits `container "api": no cpu limit; container "web": no memory
// limit` by container. A message of another form, or one that names a container
// that the object does not have, stays whole.
func splitMessage(message string, containers map[string]bool) []clause {
	whole := []clause{{text: message}}
	starts := clauseStart.FindAllStringSubmatchIndex(message, -1)
	if len(starts) == 0 || starts[0][0] != 0 {
		return whole
	}
	out := make([]clause, len(starts))
	for i, m := range starts {
		end := len(message)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		out[i] = clause{container: message[m[2]:m[3]], text: message[m[1]:end]}
		if !containers[out[i].container] || out[i].text == "" {
			return whole
		}
	}
	return out
}

// containerNames are the names of a workload's containers of all sorts.
func containerNames(o *manifest.Object) map[string]bool {
	spec := podSpec(o)
	names := map[string]bool{}
	for _, field := range []string{"containers", "initContainers", "ephemeralContainers"} {
		list, _ := spec[field].([]any)
		for _, c := range list {
			if m, ok := c.(map[string]any); ok {
				if name, ok := m["name"].(string); ok {
					names[name] = true
				}
			}
		}
	}
	return names
}

// podSpec finds a pod's spec without decoding it; nil when there is none.
func podSpec(o *manifest.Object) map[string]any {
	path := []string{"spec", "template", "spec"}
	switch o.GetKind() {
	case "Pod":
		path = []string{"spec"}
	case "CronJob":
		path = []string{"spec", "jobTemplate", "spec", "template", "spec"}
	}
	m := o.Object
	for _, k := range path {
		m, _ = m[k].(map[string]any)
	}
	return m
}
