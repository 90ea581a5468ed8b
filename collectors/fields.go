package collectors

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// The field that a finding is about follows from its rule and, where the rule is about
// several, from the words of its message. A rule that is not here is about the object as
// a whole.

// where a field is looked up from.
type base int

const (
	ofObject base = iota
	ofPod         // the pod's spec
	ofContainer
)

// field is a field that a rule may be about: that one if the message holds the words.
type field struct {
	words string
	base  base
	path  string // dotted
}

const security = "securityContext."

var fieldsOfRule = map[string][]field{
	"policy/image-digest":    {{"", ofContainer, "image"}},
	"images/pin":             {{"", ofContainer, "image"}},
	"images/registry":        {{"", ofContainer, "image"}},
	"images/scanned":         {{"", ofContainer, "image"}},
	"images/vulnerability":   {{"", ofContainer, "image"}},
	"signatures/verified":    {{"", ofContainer, "image"}},
	"policy/liveness-probe":  {{"", ofContainer, "livenessProbe"}},
	"policy/readiness-probe": {{"", ofContainer, "readinessProbe"}},
	"policy/startup-probe":   {{"", ofContainer, "startupProbe"}},
	"policy/distinct-probes": {{"", ofContainer, "livenessProbe"}},
	"policy/resource-limits": {{"cpu limit", ofContainer, "resources.limits.cpu"}, {"memory limit", ofContainer, "resources.limits.memory"}},
	"policy/resource-requests": {
		{"cpu request", ofContainer, "resources.requests.cpu"}, {"memory request", ofContainer, "resources.requests.memory"},
	},
	"policy/limits-at-least-requests": {
		{"cpu limit", ofContainer, "resources.limits.cpu"}, {"memory limit", ofContainer, "resources.limits.memory"},
		{"ephemeral-storage limit", ofContainer, "resources.limits.ephemeral-storage"},
	},
	"policy/read-only-root": {{"", ofContainer, security + "readOnlyRootFilesystem"}},
	"policy/privilege-escalation": {
		{"allowPrivilegeEscalation", ofContainer, security + "allowPrivilegeEscalation"}, {"privileged is", ofContainer, security + "privileged"},
		{"do not drop ALL", ofContainer, security + "capabilities.drop"}, {"adds capability", ofContainer, security + "capabilities.add"},
	},
	"policy/run-as-non-root": {
		{"runAsNonRoot", ofContainer, security + "runAsNonRoot"}, {"runAsNonRoot", ofPod, security + "runAsNonRoot"},
		{"runAsUser", ofContainer, security + "runAsUser"}, {"runAsUser", ofPod, security + "runAsUser"}, {"fsGroup", ofPod, security + "fsGroup"},
	},
	"policy/seccomp":               {{"", ofContainer, security + "seccompProfile"}, {"", ofPod, security + "seccompProfile"}},
	"policy/service-account-token": {{"", ofPod, "automountServiceAccountToken"}},
	"policy/topology-spread":       {{"not spread", ofPod, "topologySpreadConstraints"}},
	"policy/hpa-bounds":            {{"minReplicas is", ofObject, "spec.minReplicas"}, {"no minReplicas", ofObject, "spec.minReplicas"}, {"axReplicas", ofObject, "spec.maxReplicas"}},
	"policy/hpa-stabilization": {
		{"behavior.scaleDown", ofObject, "spec.behavior.scaleDown.stabilizationWindowSeconds"}, {"behavior.scaleUp", ofObject, "spec.behavior.scaleUp.stabilizationWindowSeconds"},
	},
	"policy/secret-rotation-interval": {{"refreshInterval", ofObject, "spec.refreshInterval"}, {"refreshPolicy", ofObject, "spec.refreshPolicy"}},
	"policy/vpa-recommend-only":       {{"updateMode", ofObject, "spec.updatePolicy.updateMode"}, {"ontainer polic", ofObject, "spec.resourcePolicy.containerPolicies"}, {"no containerPolicies", ofObject, "spec.resourcePolicy.containerPolicies"}},
	"workload/replicas":               {{"spec.replicas", ofObject, "spec.replicas"}, {"keeps at least", ofObject, "spec.minReplicas"}},
	"workload/pdb-allows-disruption": {
		{"selects no pod", ofObject, "spec.selector"}, {"minAvailable", ofObject, "spec.minAvailable"}, {"maxUnavailable", ofObject, "spec.maxUnavailable"},
	},
	"podsecurity/restricted": podSecurity,
	"podsecurity/baseline":   podSecurity,
	"rbac/wildcard":          {{"binds ", ofObject, "roleRef.name"}, {"", ofObject, "rules"}},
	"rbac/rights":            {{"binds ", ofObject, "roleRef.name"}, {"", ofObject, "rules"}},
	"rbac/subjects":          {{"", ofObject, "subjects"}},
	"helm/api-removed":       {{"", ofObject, "apiVersion"}},
	"helm/api-deprecated":    {{"", ofObject, "apiVersion"}},
	"podsecurity/namespace":  {{"", ofObject, "metadata.labels"}},
}

// podSecurity are the fields that the checks of the Pod Security Standards name.
var podSecurity = []field{
	{"hostNetwork", ofPod, "hostNetwork"}, {"hostPID", ofPod, "hostPID"}, {"hostIPC", ofPod, "hostIPC"}, {"hostPort", ofContainer, "ports"},
	{"seccompProfile", ofContainer, security + "seccompProfile"}, {"seccompProfile", ofPod, security + "seccompProfile"},
	{"runAsNonRoot", ofContainer, security + "runAsNonRoot"}, {"runAsNonRoot", ofPod, security + "runAsNonRoot"},
	{"runAsUser=0", ofContainer, security + "runAsUser"}, {"runAsUser=0", ofPod, security + "runAsUser"},
	{"allowPrivilegeEscalation", ofContainer, security + "allowPrivilegeEscalation"}, {"capabilities.drop", ofContainer, security + "capabilities.drop"},
	{"capabilities", ofContainer, security + "capabilities.add"}, {"securityContext.privileged", ofContainer, security + "privileged"}, {"procMount", ofContainer, security + "procMount"},
	{"seLinux", ofContainer, security + "seLinuxOptions"}, {"sysctls", ofPod, security + "sysctls"},
}

// named are messages that name an entry of a list.
var named = []struct {
	words *regexp.Regexp
	base  base
	list  string
	rest  string
}{
	{regexp.MustCompile(`^env (\S+) refers to Secret `), ofContainer, "env", "valueFrom.secretKeyRef.name"},
	{regexp.MustCompile(`^volume (\S+) refers to Secret `), ofPod, "volumes", "secret.secretName"},
	{regexp.MustCompile(`volumes? "([^"]+)"`), ofPod, "volumes", ""},
	{regexp.MustCompile(`a literal value that looks like a secret in (?:env )?(\S+)$`), ofContainer, "env", "value"},
}

// namedField matches messages that begin with the path of a field, as the API server's do.
var namedField = regexp.MustCompile(`^((?:spec|metadata|data|rules|subjects)(?:\.[A-Za-z0-9-]+|\[[0-9]+\])+)`)

// fieldsOf are the paths of fields in the object that a finding may be about, the most
// likely one first; also are those of the pod that stand for what a container leaves out.
func fieldsOf(f *evidence.Finding, o *manifest.Object) (out, also [][]string) {
	add := func(b base, rest []string) {
		at, ok := basePath(b, f, o)
		switch {
		case !ok:
		case b == ofPod && len(out) > 0 && f.Target.Container != "":
			also = append(also, slices.Concat(at, rest))
		default:
			out = append(out, slices.Concat(at, rest))
		}
	}
	if f.Rule == "helm/kubernetes-schema" || f.Rule == "helm/crd-schema" {
		if m := namedField.FindString(f.Message); m != "" {
			return [][]string{steps(m)}, nil
		}
		return nil, nil
	}
	if f.Rule == "secrets/secret-data" {
		if _, key, ok := strings.Cut(f.Message, " in plain text in "); ok {
			section, name, _ := strings.Cut(key, ".")
			return [][]string{{section, name}}, nil
		}
	}
	for _, n := range named {
		if m := n.words.FindStringSubmatch(f.Message); m != nil {
			at, ok := basePath(n.base, f, o)
			if !ok {
				continue
			}
			if i := indexByName(valueAt(o.Object, append(slices.Clone(at), n.list)), m[1]); i >= 0 {
				path := append(slices.Clone(at), n.list, strconv.Itoa(i))
				if n.rest != "" {
					path = append(path, strings.Split(n.rest, ".")...)
				}
				out = append(out, path)
			}
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	rule := f.Rule
	if strings.HasPrefix(rule, "images/vulnerability") {
		rule = "images/vulnerability"
	}
	for _, x := range fieldsOfRule[rule] {
		if strings.Contains(f.Message, x.words) {
			add(x.base, strings.Split(x.path, "."))
		}
	}
	if len(out) == 0 && f.Target.Container != "" {
		add(ofContainer, nil)
	}
	return out, also
}

// steps splits spec.containers[0].image.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// podSpecs are where built-in kinds have the spec of their pods.
func podSpec(kind string) []string {
	switch kind {
	case "Pod":
		return []string{"spec"}
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template", "spec"}
	case "PodTemplate":
		return []string{"template", "spec"}
	}
	return []string{"spec", "template", "spec"}
}

var containerLists = []string{"containers", "initContainers", "ephemeralContainers"}

func basePath(b base, f *evidence.Finding, o *manifest.Object) ([]string, bool) {
	if b == ofObject {
		return nil, true
	}
	pod := podSpec(o.GetKind())
	if !o.IsWorkload() {
		// A custom resource: the only list of containers, or the only container of that name.
		found := findContainers(o.Object, nil, f.Target.Container)
		if len(found) != 1 {
			return nil, false
		}
		if b == ofContainer {
			return found[0], f.Target.Container != ""
		}
		return found[0][:len(found[0])-2], true
	}
	if b == ofPod {
		return pod, true
	}
	if f.Target.Container == "" {
		return nil, false
	}
	for _, list := range containerLists {
		at := append(slices.Clone(pod), list)
		if i := indexByName(valueAt(o.Object, at), f.Target.Container); i >= 0 {
			return append(at, strconv.Itoa(i)), true
		}
	}
	return nil, false
}

// findContainers returns the paths of the containers of a name below v; without one, of
// the first of each list.
func findContainers(v any, path []string, name string) (out [][]string) {
	if len(path) > 20 {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if list, ok := e.([]any); ok && slices.Contains(containerLists, k) {
				i := indexByName(list, name)
				if name == "" && len(list) > 0 {
					i = 0
				}
				if i >= 0 {
					out = append(out, append(slices.Clone(path), k, strconv.Itoa(i)))
				}
				continue
			}
			out = append(out, findContainers(e, append(slices.Clone(path), k), name)...)
		}
	case []any:
		for i, e := range v {
			out = append(out, findContainers(e, append(slices.Clone(path), strconv.Itoa(i)), name)...)
		}
	}
	return out
}

// indexByName is the place in a list of the mapping of that name; -1 where there is none.
func indexByName(v any, name string) int {
	list, _ := v.([]any)
	return slices.IndexFunc(list, func(e any) bool {
		m, _ := e.(map[string]any)
		n, ok := m["name"].(string)
		return ok && n == name
	})
}

// valueAt is the value at a path; nil where there is none.
func valueAt(v any, path []string) any {
	for _, step := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}
