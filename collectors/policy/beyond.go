package policy

import (
	"errors"
	"fmt"
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
)

// beyond is what a built-in rule finds in an object that its policy cannot: a
// parser's verdict, or what another object of the release makes of it. It is
// asked of objects that the policy applies to, with what the policy said.
func (r *policyRule) beyond(w *world, o *manifest.Object, said []result) []result {
	if !r.builtin {
		return nil
	}
	var clauses []string
	switch r.rule {
	case ruleImage:
		if !slices.ContainsFunc(said, func(x result) bool { return x.outcome == evidence.OutcomeFail }) {
			clauses = noReferences(o)
		}
	case ruleToken:
		clauses = w.tokenSecrets(o)
	}
	if len(clauses) == 0 {
		return nil
	}
	return []result{{evidence.OutcomeFail, strings.Join(clauses, "; ")}}
}

// noReferences lists the images of containers that the parser of container
// runtimes refuses, or reads no digest from.
func noReferences(o *manifest.Object) []string {
	var out []string
	for _, use := range o.ImageUses(nil) {
		if use.Image == "" || use.Container == "" {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(use.Image)
		if err == nil {
			if _, ok := ref.(reference.Digested); ok {
				continue
			}
			err = errors.New("it has no digest")
		}
		out = append(out, fmt.Sprintf("container %q: image %s is no valid reference: %v", use.Container, use.Image, err))
	}
	return out
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
