package controllers

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Components that workloads are known as.
const (
	operator    = "external-secrets"
	recommender = "vpa-recommender"
	sigstore    = "policy-controller"
	kyverno     = "kyverno"
	flannel     = "flannel"
)

// component is a workload of which is known how it is labelled, or what its image
// is called: the last element of its name, wherever it was mirrored to.
type component struct {
	name, kind string
	labels     [][]string // of the pods, "key=value": all of one set
	images     []string
	// notArguments are those with which the image is something else.
	notArguments []string
	enforces     bool // NetworkPolicies
}

var components = []component{
	{name: operator, kind: "Deployment", labels: [][]string{{"app.kubernetes.io/name=external-secrets"}}, images: []string{"external-secrets"}, notArguments: []string{"webhook", "certcontroller"}},
	{name: recommender, kind: "Deployment", labels: [][]string{{"app=vpa-recommender"}, {"app.kubernetes.io/name=vpa", "app.kubernetes.io/component=recommender"}}, images: []string{"vpa-recommender"}},
	{name: sigstore, kind: "Deployment", labels: [][]string{{"app.kubernetes.io/name=policy-controller"}}, images: []string{"policy-controller"}},
	{name: kyverno, kind: "Deployment", labels: [][]string{{"app.kubernetes.io/part-of=kyverno", "app.kubernetes.io/component=admission-controller"}}, images: []string{"kyverno"}},
	{name: "antrea", kind: "DaemonSet", labels: [][]string{{"component=antrea-agent"}}, enforces: true},
	{name: "azure-npm", kind: "DaemonSet", labels: [][]string{{"k8s-app=azure-npm"}}, enforces: true},
	{name: "calico", kind: "DaemonSet", labels: [][]string{{"k8s-app=calico-node"}, {"k8s-app=canal"}}, enforces: true},
	{name: "cilium", kind: "DaemonSet", labels: [][]string{{"k8s-app=cilium"}}, images: []string{"cilium"}, enforces: true},
	{name: "ovn-kubernetes", kind: "DaemonSet", labels: [][]string{{"app=ovnkube-node"}}, enforces: true},
	{name: flannel, kind: "DaemonSet", labels: [][]string{{"app=flannel"}}, images: []string{"flannel"}},
}

// componentOf names the component that a workload is, or nothing.
func componentOf(kind string, t *corev1.PodTemplateSpec) string {
	for i := range components {
		if c := &components[i]; c.kind == kind && (c.labelled(t.Labels) || c.runs(t.Spec.Containers)) {
			return c.name
		}
	}
	return ""
}

func (c *component) labelled(have map[string]string) bool {
	return slices.ContainsFunc(c.labels, func(set []string) bool {
		return !slices.ContainsFunc(set, func(l string) bool {
			key, value, _ := strings.Cut(l, "=")
			return have[key] != value
		})
	})
}

func (c *component) runs(list []corev1.Container) bool {
	return slices.ContainsFunc(list, func(x corev1.Container) bool {
		return slices.Contains(c.images, imageName(x.Image)) &&
			!slices.ContainsFunc(slices.Concat(x.Command, x.Args), func(a string) bool { return slices.Contains(c.notArguments, a) })
	})
}

// imageName is the last element of an image's name, without tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	image, _, _ = strings.Cut(image, ":")
	return image
}

// enforcers are the components that enforce NetworkPolicies.
func enforcers() []string {
	var out []string
	for i := range components {
		if components[i].enforces {
			out = append(out, components[i].name)
		}
	}
	return out
}

// split splits "namespace/name".
func split(s string) (namespace, name string) {
	namespace, name, _ = strings.Cut(s, "/")
	return namespace, name
}
