package podsecurity

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/pod-security-admission/policy"

	"github.com/companyos/helmproof/internal/manifest"
)

// observed are the paths in which a node says what it is and does. No socket of a
// kubelet or container runtime is in them, and no key; each stands for itself alone,
// since the links below /proc lead to the root of the node.
var observed = []string{
	"/etc/hostname", "/etc/localtime", "/etc/machine-id", "/etc/os-release", "/lib/modules", "/proc", "/run/log/journal", "/run/udev/data", "/sys", "/sys/fs/cgroup",
	"/usr/lib/os-release", "/usr/src", "/var/lib/docker/containers", "/var/log", "/var/log/containers", "/var/log/journal", "/var/log/pods",
}

// declared is the reason that an agent of the nodes, a DaemonSet, gives for what it
// has of them, where the violation is of nothing else than the node's network, or than
// paths in which the node is observed.
func declared(w *manifest.Workload, spec *corev1.PodSpec, v violation) string {
	if w.Custom() || w.Object.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: "apps", Kind: "DaemonSet"}) {
		return ""
	}
	switch v.reason {
	case "host namespaces":
		if spec.HostPID || spec.HostIPC {
			return ""
		}
	case "hostPath volumes", "restricted volume types":
		if !observes(spec) {
			return ""
		}
	default:
		return ""
	}
	return w.Object.Declared("SEC-1")
}

// observes reports whether the pod has, of all that restricted forbids in volumes,
// only paths of the list above, and all of them read-only and whole.
func observes(spec *corev1.PodSpec) bool {
	host := map[string]bool{}
	rest := *spec
	rest.Volumes = nil
	for _, v := range spec.Volumes {
		p := v.HostPath
		if p == nil {
			rest.Volumes = append(rest.Volumes, v)
			continue
		}
		kind := corev1.HostPathUnset
		if p.Type != nil {
			kind = *p.Type
		}
		// The others make a path, or are sockets and devices.
		if !slices.Contains([]corev1.HostPathType{corev1.HostPathUnset, corev1.HostPathDirectory, corev1.HostPathFile}, kind) || !slices.Contains(observed, p.Path) {
			return false
		}
		host[v.Name] = true
	}
	for _, c := range manifest.Containers(spec) {
		for _, m := range c.VolumeMounts {
			if host[m.Name] && (!m.ReadOnly || m.SubPath != "" || m.SubPathExpr != "") {
				return false
			}
		}
	}
	for _, v := range policy.CheckRestrictedVolumes().Versions {
		if !v.CheckPod(&metav1.ObjectMeta{}, &rest).Allowed {
			return false
		}
	}
	return true
}
