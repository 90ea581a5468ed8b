package harden

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// container is one container and where it stands in the pod spec.
type container struct {
	corev1.Container
	list  string // initContainers or containers
	index int
}

func (x *object) containers() []container {
	var out []container
	for i, c := range x.tpl.Spec.InitContainers {
		out = append(out, container{c, "initContainers", i})
	}
	for i, c := range x.tpl.Spec.Containers {
		out = append(out, container{c, "containers", i})
	}
	return out
}

// security is the container's securityContext, never nil.
func (c *container) security() corev1.SecurityContext {
	if c.SecurityContext == nil {
		return corev1.SecurityContext{}
	}
	return *c.SecurityContext
}

func (c *container) privileged() bool {
	p := c.security().Privileged
	return p != nil && *p
}

// addsCapabilities: NET_BIND_SERVICE is what the standard restricted allows.
func (c *container) addsCapabilities() bool {
	caps := c.security().Capabilities
	return caps != nil && slices.ContainsFunc(caps.Add, func(a corev1.Capability) bool { return a != "NET_BIND_SERVICE" })
}

// user is who the container runs as.
type user int

const (
	userUnknown user = iota // the image decides
	userRoot                // an explicit runAsUser 0, or an explicit runAsNonRoot false
	userNonRoot             // an explicit number other than 0, or runAsNonRoot
)

func (c *container) user(pod *corev1.PodSecurityContext) user {
	sc := c.security()
	uid, nonRoot := sc.RunAsUser, sc.RunAsNonRoot
	if pod != nil {
		if uid == nil {
			uid = pod.RunAsUser
		}
		if nonRoot == nil {
			nonRoot = pod.RunAsNonRoot
		}
	}
	switch {
	case uid != nil && *uid == 0:
		return userRoot
	case uid != nil || nonRoot != nil && *nonRoot:
		return userNonRoot
	case nonRoot != nil:
		return userRoot
	}
	return userUnknown
}

// lowPort reports whether the container may bind a port below 1024.
func (r *release) lowPort(x *object, c *container) bool {
	if x.tpl.Spec.HostNetwork {
		return true // whatever it binds, it need not declare
	}
	for _, p := range c.Ports {
		if p.ContainerPort < 1024 {
			return true
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p == nil {
			continue
		}
		var port intstr.IntOrString
		switch {
		case p.HTTPGet != nil:
			port = p.HTTPGet.Port
		case p.TCPSocket != nil:
			port = p.TCPSocket.Port
		case p.GRPC != nil:
			port = intstr.FromInt32(p.GRPC.Port)
		default:
			continue
		}
		if port.Type == intstr.Int && port.IntVal > 0 && port.IntVal < 1024 {
			return true
		}
	}
	if c.list == "initContainers" {
		return false
	}
	for _, s := range r.services {
		if s.low && together(s.ns, x.GetNamespace()) && s.selector.Matches(labels.Set(x.tpl.Labels)) {
			return true
		}
	}
	return false
}

// windows pods refuse the Linux fields of a securityContext.
func (x *object) windows() bool {
	spec := &x.tpl.Spec
	if spec.OS != nil && spec.OS.Name == corev1.Windows || spec.SecurityContext != nil && spec.SecurityContext.WindowsOptions != nil {
		return true
	}
	for k, v := range spec.NodeSelector {
		if strings.HasSuffix(k, "kubernetes.io/os") && strings.EqualFold(v, "windows") {
			return true
		}
	}
	if a := spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, t := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, e := range t.MatchExpressions {
				if strings.HasSuffix(e.Key, "kubernetes.io/os") && e.Operator == corev1.NodeSelectorOpIn && slices.Contains(e.Values, "windows") {
					return true
				}
			}
		}
	}
	return slices.ContainsFunc(x.containers(), func(c container) bool { return c.security().WindowsOptions != nil })
}

func (r *release) securityContexts(x *object) {
	if x.windows() {
		r.keep(x, "", "", "a Windows pod: it has no Linux security context", "")
		return
	}
	pod := x.tpl.Spec.SecurityContext
	forced := r.nonRoot(x, pod)
	r.seccomp(x, pod)
	for _, c := range x.containers() {
		u := c.user(pod)
		if u == userUnknown && forced[c.list+c.Name] {
			u = userNonRoot
		}
		low := r.lowPort(x, &c)
		r.escalation(x, c, u, low)
		r.capabilities(x, c, u, low)
		if c.security().ReadOnlyRootFilesystem == nil {
			if r.opts.ReadOnlyRoot {
				r.add(x, RuleReadOnly, c.Name, true, "spec", c.list, c.index, "securityContext", "readOnlyRootFilesystem")
			} else {
				r.keep(x, RuleReadOnly, c.Name, "nobody says where the program writes", "--read-only-root")
			}
		}
	}
}

// nonRoot adds runAsNonRoot, which is only a check, where a user other than root
// is set already; with the option also where the image decides. It returns the
// containers for which the option decided.
func (r *release) nonRoot(x *object, pod *corev1.PodSecurityContext) map[string]bool {
	forced := map[string]bool{}
	var want []container
	all := pod == nil || pod.RunAsNonRoot == nil
	for _, c := range x.containers() {
		if c.security().RunAsNonRoot != nil || pod != nil && pod.RunAsNonRoot != nil {
			continue
		}
		switch u := c.user(pod); {
		case u == userNonRoot:
			want = append(want, c)
		case u == userRoot:
			all = false
			r.keep(x, RuleNonRoot, c.Name, "runs as root on purpose: runAsUser is 0", "")
		case r.opts.RunAsNonRoot:
			want = append(want, c)
			forced[c.list+c.Name] = true
		default:
			all = false
			r.keep(x, RuleNonRoot, c.Name, "nobody says which user the image runs as", "--run-as-non-root")
		}
	}
	all = all && len(x.tpl.Spec.EphemeralContainers) == 0
	switch {
	case len(want) == 0:
	case all:
		r.add(x, RuleNonRoot, "", true, "spec", "securityContext", "runAsNonRoot")
	default:
		for _, c := range want {
			r.add(x, RuleNonRoot, c.Name, true, "spec", c.list, c.index, "securityContext", "runAsNonRoot")
		}
	}
	return forced
}

// seccomp adds the container runtime's own profile, on the pod if nothing in it
// needs more.
func (r *release) seccomp(x *object, pod *corev1.PodSecurityContext) {
	if pod != nil && pod.SeccompProfile != nil {
		return
	}
	profile := map[string]any{"type": "RuntimeDefault"}
	for k := range x.tpl.Annotations {
		if strings.Contains(k, "seccomp.security.alpha.kubernetes.io/") {
			r.keep(x, RuleSeccomp, "", "an annotation of old sets a seccomp profile: Kubernetes 1.27 and newer do not read it", "")
			return
		}
	}
	if x.tpl.Spec.HostPID || x.tpl.Spec.HostIPC {
		r.keep(x, RuleSeccomp, "", "looks into the host's processes: a profile may take the calls away that it needs", "")
		return
	}
	var want []container
	all := len(x.tpl.Spec.EphemeralContainers) == 0
	for _, c := range x.containers() {
		switch {
		case c.security().SeccompProfile != nil:
		case c.privileged() || c.addsCapabilities():
			all = false
			r.keep(x, RuleSeccomp, c.Name, "is privileged or adds capabilities: a profile may take the calls away that go with them", "")
		default:
			want = append(want, c)
		}
	}
	switch {
	case len(want) == 0:
	case all:
		r.add(x, RuleSeccomp, "", profile, "spec", "securityContext", "seccompProfile")
	default:
		for _, c := range want {
			r.add(x, RuleSeccomp, c.Name, profile, "spec", c.list, c.index, "securityContext", "seccompProfile")
		}
	}
}

// escalation adds allowPrivilegeEscalation: false (no_new_privs).
func (r *release) escalation(x *object, c container, u user, low bool) {
	sc := c.security()
	reason := ""
	switch {
	case sc.AllowPrivilegeEscalation != nil:
		return
	case c.privileged():
		reason = "is privileged: the API server refuses both together"
	case c.addsCapabilities():
		reason = "adds capabilities, which a program that is not root gets from its file only"
	case r.opts.DropCapabilities:
	case low && u != userRoot:
		reason = "may bind a port below 1024 by a capability of its program's file"
	case mentions(&c, "sudo"):
		reason = "calls sudo"
	}
	if reason != "" {
		flag := ""
		if !c.privileged() && !c.addsCapabilities() && !mentions(&c, "sudo") {
			flag = "--drop-capabilities"
		}
		r.keep(x, RuleEscalation, c.Name, reason, flag)
		return
	}
	r.add(x, RuleEscalation, c.Name, false, "spec", c.list, c.index, "securityContext", "allowPrivilegeEscalation")
}

// capabilities drops ALL where the process has none anyway: a user other than
// root has no effective capabilities unless its program's file brings them.
func (r *release) capabilities(x *object, c container, u user, low bool) {
	caps := c.security().Capabilities
	if caps != nil {
		if !slices.ContainsFunc(caps.Drop, func(d corev1.Capability) bool { return strings.EqualFold(string(d), "ALL") }) {
			r.keep(x, RuleCapabilities, c.Name, "sets its capabilities on purpose", "")
		}
		return
	}
	value := map[string]any{"drop": []any{"ALL"}}
	reason, flag := "", "--drop-capabilities"
	switch {
	case c.privileged():
		reason, flag = "is privileged on purpose: it has every capability", ""
	case r.opts.DropCapabilities:
		if low {
			value["add"] = []any{"NET_BIND_SERVICE"}
		}
	case u == userRoot:
		reason = "runs as root on purpose: it may need capabilities to change users or files"
	case u == userUnknown:
		reason = "may run as root, and need capabilities to change users or files"
	case low:
		reason = "may bind a port below 1024"
	}
	if reason != "" {
		r.keep(x, RuleCapabilities, c.Name, reason, flag)
		return
	}
	r.add(x, RuleCapabilities, c.Name, value, "spec", c.list, c.index, "securityContext", "capabilities")
}

// mentions reports whether the container's command, arguments or environment
// hold the word.
func mentions(c *container, words ...string) bool {
	texts := slices.Concat(c.Command, c.Args)
	for _, e := range c.Env {
		texts = append(texts, e.Name, e.Value)
	}
	for _, h := range hooks(c) {
		texts = append(texts, h...)
	}
	return containsAny(texts, words...)
}

// hooks are the commands of the container's probes and lifecycle.
func hooks(c *container) [][]string {
	var out [][]string
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil && p.Exec != nil {
			out = append(out, p.Exec.Command)
		}
	}
	if l := c.Lifecycle; l != nil {
		for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
			if h != nil && h.Exec != nil {
				out = append(out, h.Exec.Command)
			}
		}
	}
	return out
}

func containsAny(texts []string, words ...string) bool {
	return slices.ContainsFunc(texts, func(t string) bool {
		t = strings.ToLower(t)
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(t, w) })
	})
}

// tokenWords are how programs, scripts and configuration speak of the token or
// of the API server.
var tokenWords = []string{
	"serviceaccount", "service-account", "service_account", "kubernetes_sd", "kubernetes_service_host", "kubernetes.default",
	"kubectl", "kubeconfig", "kube-api", "in-cluster", "in_cluster", "incluster", "auth/kubernetes", "pod_namespace", "pod-namespace",
	"leader-elect", "leaderelect", "k8s", "kubernetes",
}

// token adds automountServiceAccountToken: false where nothing in the release
// gives the token rights, and nothing speaks of it.
func (r *release) token(x *object) {
	if x.tpl.Spec.AutomountServiceAccountToken != nil {
		return
	}
	if reason := r.needsToken(x); reason != "" {
		r.keep(x, RuleToken, "", reason, "")
		return
	}
	r.add(x, RuleToken, "", false, "spec", "automountServiceAccountToken")
}

func (r *release) needsToken(x *object) string {
	name := x.tpl.Spec.ServiceAccountName
	if name == "" {
		name = x.tpl.Spec.DeprecatedServiceAccount
	}
	own := name != "" && name != "default"
	if name == "" {
		name = "default"
	}
	accounts := r.accounts[name]
	off := len(accounts) > 0
	for _, a := range accounts {
		auto := a.AutomountServiceAccountToken
		if auto != nil && *auto {
			return "service account " + name + " mounts its token on purpose"
		}
		off = off && auto != nil && a.Namespace == x.GetNamespace()
	}
	switch {
	case off:
		return "" // no pod of the account has a token today
	case r.blind:
		return "a document of the release could not be read: it may give the service account rights"
	case r.boundAll:
		return "a binding of the release gives every service account rights"
	case r.bound[name]:
		return "a binding of the release gives service account " + name + " rights"
	case own && len(accounts) == 0:
		return "service account " + name + " is not in the release: its rights are unknown"
	}
	for k := range x.tpl.Annotations {
		if strings.Contains(k, "inject") {
			return fmt.Sprintf("annotation %s: what is injected may need the token", k)
		}
	}
	for k := range x.tpl.Labels {
		if strings.Contains(k, "inject") {
			return fmt.Sprintf("label %s: what is injected may need the token", k)
		}
	}
	for _, c := range x.containers() {
		if mentions(&c, tokenWords...) || containsAny([]string{c.Image}, "kube", "k8s") {
			return fmt.Sprintf("container %s speaks of Kubernetes' API", c.Name)
		}
	}
	for _, ref := range x.configs() {
		if containsAny(r.texts[ref], tokenWords...) {
			return strings.Replace(ref, "/", " ", 1) + " speaks of Kubernetes' API"
		}
	}
	return ""
}

// configs are the ConfigMaps and Secrets that the pod reads, as kind/name, in
// the order of the pod.
func (x *object) configs() []string {
	var out []string
	for _, v := range x.tpl.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			out = append(out, "ConfigMap/"+v.ConfigMap.Name)
		case v.Secret != nil:
			out = append(out, "Secret/"+v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					out = append(out, "ConfigMap/"+s.ConfigMap.Name)
				}
				if s.Secret != nil {
					out = append(out, "Secret/"+s.Secret.Name)
				}
			}
		}
	}
	for _, c := range x.containers() {
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef != nil {
				out = append(out, "ConfigMap/"+e.ConfigMapRef.Name)
			}
			if e.SecretRef != nil {
				out = append(out, "Secret/"+e.SecretRef.Name)
			}
		}
		for _, e := range c.Env {
			if f := e.ValueFrom; f != nil && f.ConfigMapKeyRef != nil {
				out = append(out, "ConfigMap/"+f.ConfigMapKeyRef.Name)
			} else if f != nil && f.SecretKeyRef != nil {
				out = append(out, "Secret/"+f.SecretKeyRef.Name)
			}
		}
	}
	return out
}
