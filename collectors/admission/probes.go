package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Probe is a pod that breaks one rule on purpose, and what the API server said.
type Probe struct {
	Name string `json:"name"`
	// Reason is what a refusal must say to count: refused for something else, the
	// probe shows nothing.
	Reason string `json:"reason,omitempty"`
	Answer Answer `json:"answer"`
}

const probeImage = "registry.k8s.io/pause@sha256:0000000000000000000000000000000000000000000000000000000000000000"

// goodPod meets restricted, and the policies that releases are judged by, which may be
// in force where it is tried; each probe breaks one rule of restricted.
func goodPod(namespace string) *corev1.Pod {
	resources := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")}
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "helmproof-probe-", Namespace: namespace},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false), RestartPolicy: corev1.RestartPolicyNever,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)), FSGroup: new(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "probe", Image: probeImage,
				Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
}

// probes are the ways in which a pod can break restricted. reason is what Pod
// Security says to each: its check's own words.
var probes = []struct {
	name, reason string
	change       func(*corev1.PodSpec)
}{
	{"privileged", "privileged (", func(s *corev1.PodSpec) {
		s.Containers[0].SecurityContext.Privileged, s.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true), nil
	}},
	{"host-namespaces", "host namespaces (", func(s *corev1.PodSpec) { s.HostPID = true }},
	{"host-path", "restricted volume types (", func(s *corev1.PodSpec) {
		s.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
	}},
	{"host-port", "hostPort (", func(s *corev1.PodSpec) {
		s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 8080, HostPort: 8080}}
	}},
	{"privilege-escalation", "allowPrivilegeEscalation != false (", func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.AllowPrivilegeEscalation = new(true) }},
	{"capabilities", "unrestricted capabilities (", func(s *corev1.PodSpec) { s.Containers[0].SecurityContext.Capabilities = nil }},
	{"run-as-root", "runAsNonRoot != true (", func(s *corev1.PodSpec) { s.SecurityContext.RunAsNonRoot = nil }},
	{"root-user", "runAsUser=0 (", func(s *corev1.PodSpec) {
		s.SecurityContext.RunAsNonRoot, s.SecurityContext.RunAsUser = new(true), new(int64(0))
	}},
	{"seccomp", "seccompProfile (", func(s *corev1.PodSpec) { s.SecurityContext.SeccompProfile = nil }},
}

// podSecuritySays is how Pod Security begins a refusal.
const podSecuritySays = `violates PodSecurity "restricted:`

// probe tries the pod that breaks nothing, as "none", and each that breaks a rule.
func probe(ctx context.Context, a *asker, namespace string) []Probe {
	out := []Probe{{Name: "none", Answer: createPod(ctx, a, goodPod(namespace))}}
	for _, p := range probes {
		pod := goodPod(namespace)
		p.change(&pod.Spec)
		out = append(out, Probe{Name: p.name, Reason: p.reason, Answer: createPod(ctx, a, pod)})
	}
	return out
}
