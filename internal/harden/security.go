package harden

import (
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
	r.seccomp(x, pod)
	for _, c := range x.containers() {
		u, byImage := r.opts.user(&c, pod)
		if r.nonRoot(x, c, pod, u, byImage) {
			u = userNonRoot
		}
		low := r.lowPort(x, &c)
		r.escalation(x, c, u, low)
		r.capabilities(x, c, u, low)
		r.readOnly(x, c)
	}
}

// readOnly adds readOnlyRootFilesystem on request. Where programs write cannot be read of
// an image; a VOLUME says that they write there, and runtimes differ in whether it
// stays writable (containerd) or is part of the root (CRI-O).
func (r *release) readOnly(x *object, c container) {
	image := r.opts.Images[c.Image]
	const nobody = "nobody says where the program writes"
	switch places, open := image.places(&c), unmounted(&c, image.Volumes); {
	case c.security().ReadOnlyRootFilesystem != nil:
	case len(open) > 0:
		r.keep(x, RuleReadOnly, c.Name, nobody+", but "+places, "")
	case image.Unread != "" && r.opts.readOnly():
		r.keep(x, RuleReadOnly, c.Name, nobody+", and its image could not be read: "+image.Unread, "")
	case r.opts.readOnly():
		r.add(x, RuleReadOnly, c.Name, true, "spec", c.list, c.index, "securityContext", "readOnlyRootFilesystem")
	case places != "":
		r.keep(x, RuleReadOnly, c.Name, nobody+"; "+places, "--read-only-root")
	default:
		r.keep(x, RuleReadOnly, c.Name, nobody, "--read-only-root")
	}
}

// nonRoot adds runAsNonRoot, which is only a check, where the user is known to be
// a number other than 0; on request also where nobody knows it. It stands on the
// container: on the pod it would hold for containers that are put into it later.
// It reports whether it was added.
func (r *release) nonRoot(x *object, c container, pod *corev1.PodSecurityContext, u user, byImage bool) bool {
	if c.security().RunAsNonRoot != nil || pod != nil && pod.RunAsNonRoot != nil {
		return false
	}
	reason, flag := "", ""
	switch {
	case u == userRoot && byImage:
		reason = "its image runs as root"
	case u == userRoot:
		reason = "runs as root on purpose: runAsUser is 0"
	case u == userNamed:
		reason = "its image names its user instead of numbering it: a kubelet that is to check that starts no such container"
	case u == userUnknown && !r.opts.nonRoot():
		reason, flag = "nobody says which user the image runs as", "--run-as-non-root"
	}
	if reason != "" {
		r.keep(x, RuleNonRoot, c.Name, reason, flag)
		return false
	}
	r.add(x, RuleNonRoot, c.Name, true, "spec", c.list, c.index, "securityContext", "runAsNonRoot")
	return true
}

// seccomp adds the container runtime's own profile on request, on the pod if
// nothing in it needs more.
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
	case !r.opts.asks("SEC-3"):
		r.keep(x, RuleSeccomp, "", "a profile takes calls away, and nobody says which ones the programs make", "--control SEC-3")
	case all:
		r.add(x, RuleSeccomp, "", profile, "spec", "securityContext", "seccompProfile")
	default:
		for _, c := range want {
			r.add(x, RuleSeccomp, c.Name, profile, "spec", c.list, c.index, "securityContext", "seccompProfile")
		}
	}
}

// escalation adds allowPrivilegeEscalation: false (no_new_privs), which stops
// set-user-id programs and the capabilities of files.
func (r *release) escalation(x *object, c container, u user, low bool) {
	sc := c.security()
	image := r.opts.Images[c.Image]
	reason, flag := "", ""
	switch {
	case sc.AllowPrivilegeEscalation != nil:
		return
	case c.privileged():
		reason = "is privileged: the API server refuses both together"
	case c.addsCapabilities():
		reason = "adds capabilities, which a program that is not root gets from its file only"
	case mentions(&c, "sudo"):
		reason = "calls sudo"
	case image.gains() != "":
		reason = image.gains()
	case r.opts.DropCapabilities || u == userNonRoot && image.bare():
	case low && u != userRoot:
		reason, flag = "may bind a port below 1024 by a capability of its program's file", "--drop-capabilities"
	case !r.opts.asks("SEC-4"):
		reason, flag = "a program of its image may gain rights by its file", "--control SEC-4"
	}
	if reason != "" {
		r.keep(x, RuleEscalation, c.Name, reason, flag)
		return
	}
	r.add(x, RuleEscalation, c.Name, false, "spec", c.list, c.index, "securityContext", "allowPrivilegeEscalation")
}

// capabilities drops ALL where the process has none and can gain none: a user
// other than root in an image whose files have none. The kernel does not start a
// program whose file has capabilities that are dropped (EPERM), for root either.
func (r *release) capabilities(x *object, c container, u user, low bool) {
	caps := c.security().Capabilities
	if caps != nil {
		if !slices.ContainsFunc(caps.Drop, func(d corev1.Capability) bool { return strings.EqualFold(string(d), "ALL") }) {
			r.keep(x, RuleCapabilities, c.Name, "sets its capabilities on purpose", "")
		}
		return
	}
	image := r.opts.Images[c.Image]
	value := map[string]any{"drop": []any{"ALL"}}
	reason, flag := "", "--drop-capabilities"
	switch {
	case c.privileged():
		reason, flag = "is privileged on purpose: it has every capability", ""
	case image.gains() != "":
		reason, flag = image.gains(), ""
	case u == userNonRoot && image.bare():
	case r.opts.DropCapabilities:
		if low {
			value["add"] = []any{"NET_BIND_SERVICE"}
		}
	case u == userRoot:
		reason = "runs as root: it may need capabilities to change users or files"
	case u != userNonRoot:
		reason = "may run as root, and need capabilities to change users or files"
	case low:
		reason = "may bind a port below 1024"
	case !r.opts.asks("SEC-4"):
		reason, flag = "a program whose file has capabilities does not start without them", "--control SEC-4"
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
