package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// The built-in rules that an expression over one object does not say whole.
const (
	ruleImage = rulePrefix + "image-digest"
	ruleToken = rulePrefix + "service-account-token"

	ruleLimits = rulePrefix + "limits-at-least-requests"
	ruleBounds = rulePrefix + "hpa-bounds"
	// A Knative service has no stabilization windows.
	ruleWindows = rulePrefix + "hpa-stabilization"
)

// beyond is what a built-in rule finds in an object that its policy cannot: a
// parser's verdict, or what another object of the release makes of it. It is
// asked of objects that the policy applies to, with what the policy said.
func (r *policyRule) beyond(w *world, o *manifest.Object, said []result) []result {
	if !r.builtin {
		return nil
	}
	var clauses []string
	var out []result
	switch r.rule {
	case ruleImage:
		out = volumeImages(o)
		if !slices.ContainsFunc(said, func(x result) bool { return x.outcome == evidence.OutcomeFail }) {
			clauses = noReferences(o)
		}
	case ruleToken:
		clauses = w.tokenSecrets(o)
	case ruleLimits:
		clauses, out = strictResources(o)
	}
	if len(clauses) > 0 {
		out = append(out, result{evidence.OutcomeFail, strings.Join(clauses, "; ")})
	}
	return out
}

// noReferences lists the images of containers that are no references by digest.
func noReferences(o *manifest.Object) []string {
	var out []string
	for _, use := range o.ImageUses(nil) {
		if use.Image == "" || use.Container == "" {
			continue
		}
		if problem := imageProblem(use.Image); problem != "" {
			out = append(out, fmt.Sprintf("container %q: image %s %s", use.Container, use.Image, problem))
		}
	}
	return out
}

// volumeImages judges image volumes, which are pulled as containers' images are.
func volumeImages(o *manifest.Object) []result {
	var out []result
	for _, use := range o.ImageUses(nil) {
		switch problem := imageProblem(use.Image); {
		case use.Volume == "":
		case use.Problem != "":
			out = append(out, result{evidence.OutcomeFail, use.Problem})
		case problem != "":
			out = append(out, result{evidence.OutcomeFail, fmt.Sprintf("volume %q: image %s %s", use.Volume, use.Image, problem)})
		}
	}
	return out
}

// imageProblem says what keeps an image from being a reference by its digest to
// the parser of container runtimes; empty: nothing.
func imageProblem(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "is no valid reference: " + err.Error()
	}
	digested, ok := ref.(reference.Digested)
	if !ok || digested.Digest().Algorithm() != "sha256" {
		return "has no sha256 digest"
	}
	return ""
}

// strictResources judges what the policy does not list: resources of devices and
// huge pages, which the API server wants to be limited to what is requested, and
// what the pod asks for as a whole (k8s.io/kubernetes/pkg/apis/core/validation,
// validateContainerResources and validatePodResources).
func strictResources(o *manifest.Object) (containers []string, pod []result) {
	tpl, ok, err := o.PodTemplate()
	if !ok || err != nil {
		return nil, nil // the policy says what cannot be read
	}
	for _, c := range manifest.Containers(&tpl.Spec) {
		for _, r := range slices.Sorted(maps.Keys(c.Resources.Requests)) {
			switch r {
			case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
				continue // by the policy
			}
			if problem := limitProblem(r, c.Resources.Requests, c.Resources.Limits); problem != "" {
				containers = append(containers, fmt.Sprintf("container %q: %s", c.Name, problem))
			}
		}
	}
	if all := tpl.Spec.Resources; all != nil {
		for _, r := range slices.Sorted(maps.Keys(all.Requests)) {
			if problem := limitProblem(r, all.Requests, all.Limits); problem != "" {
				pod = append(pod, result{evidence.OutcomeFail, "resources of the pod: " + problem})
			}
		}
	}
	return containers, pod
}

// limitProblem says why the API server refuses a request beside its limit; empty:
// it does not.
func limitProblem(r corev1.ResourceName, requests, limits corev1.ResourceList) string {
	request := requests[r]
	limit, limited := limits[r]
	// What is not Kubernetes' own cannot be overcommitted, nor can huge pages.
	strict := strings.Contains(string(r), "/") && !strings.Contains(string(r), corev1.ResourceDefaultNamespacePrefix) || strings.HasPrefix(string(r), corev1.ResourceHugePagesPrefix)
	switch {
	case !limited && strict:
		return fmt.Sprintf("%s request %s has no limit, which has to be the same", r, request.String())
	case !limited || limit.Cmp(request) == 0:
		return ""
	case limit.Cmp(request) < 0:
		return fmt.Sprintf("%s limit %s is below the request %s", r, limit.String(), request.String())
	case strict:
		return fmt.Sprintf("%s limit %s is not the request %s, which has to be the same", r, limit.String(), request.String())
	}
	return ""
}

// tokenSecrets lists where a pod takes a token of a service account, which never
// expires, from a Secret of the release. A projected serviceAccountToken is the way.
func (w *world) tokenSecrets(o *manifest.Object) []string {
	if len(w.tokens) == 0 {
		return nil
	}
	tpl, ok, err := o.PodTemplate()
	if !ok || err != nil {
		return nil // the policy says what cannot be read
	}
	ns := o.GetNamespace()
	if ns == "" {
		ns = w.namespace
	}
	var out []string
	token := func(name string) bool { return slices.Contains(w.tokens, [2]string{ns, name}) }
	for _, v := range tpl.Spec.Volumes {
		for _, name := range volumeSecrets(v) {
			if token(name) {
				out = append(out, fmt.Sprintf("volume %q mounts the token of a service account from Secret %s, which does not expire", v.Name, name))
			}
		}
	}
	for _, c := range manifest.Containers(&tpl.Spec) {
		for _, name := range environmentSecrets(c) {
			if token(name) {
				out = append(out, fmt.Sprintf("container %q: takes the token of a service account from Secret %s, which does not expire", c.Name, name))
			}
		}
	}
	return out
}

func volumeSecrets(v corev1.Volume) []string {
	var out []string
	if v.Secret != nil {
		out = append(out, v.Secret.SecretName)
	}
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				out = append(out, s.Secret.Name)
			}
		}
	}
	return out
}

func environmentSecrets(c corev1.Container) []string {
	var out []string
	for _, e := range c.EnvFrom {
		if e.SecretRef != nil {
			out = append(out, e.SecretRef.Name)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			out = append(out, e.ValueFrom.SecretKeyRef.Name)
		}
	}
	return out
}
