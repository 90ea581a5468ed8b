package workload

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

// origin is what makes a Secret, by namespace and name.
type origin struct {
	by   *collectors.Object
	safe bool // an ExternalSecret or a cert-manager Certificate, not the release itself
}

// origins finds what in the release makes which Secret.
func (r *release) origins(set *collectors.ObjectSet) map[[2]string]origin {
	made := map[[2]string]origin{}
	for i := range set.Objects {
		o := &set.Objects[i]
		name, safe := "", true
		switch o.GroupVersionKind().Group + "/" + o.GetKind() {
		case "/Secret":
			name, safe = o.GetName(), false
		case "external-secrets.io/ExternalSecret":
			if name = text(o, "spec", "target", "name"); name == "" {
				name = o.GetName()
			}
		case "external-secrets.io/ClusterExternalSecret":
			if name = text(o, "spec", "externalSecretSpec", "target", "name"); name == "" {
				name = text(o, "spec", "externalSecretName")
			}
			if name == "" {
				name = o.GetName()
			}
		case "cert-manager.io/Certificate":
			name = text(o, "spec", "secretName")
		}
		key := [2]string{r.ns(o), name}
		// A plain Secret of the same name wins: it is what would be applied.
		if was, ok := made[key]; name != "" && (!ok || was.safe) {
			made[key] = origin{o, safe}
		}
	}
	return made
}

// text is a string field, or "".
func text(o *collectors.Object, path ...string) string {
	s, _, err := unstructured.NestedString(o.Object, path...)
	if err != nil {
		return ""
	}
	return s
}

// secretReferences decides SCR-2.
func (r *release) secretReferences(set *collectors.ObjectSet) {
	made := r.origins(set)
	seen := map[[4]string]bool{}
	check := func(o *collectors.Object, container, name, how string) {
		key := [4]string{string(o.GetUID()) + o.GetKind() + "/" + o.GetName(), r.ns(o), container, name}
		if name == "" || seen[key] {
			return
		}
		seen[key] = true
		m, ok := made[[2]string{r.ns(o), name}]
		switch {
		case !ok:
			r.add(RuleSecret, o, container, evidence.OutcomeFail, how+" refers to Secret "+name+", which nothing in the release makes",
				"Add an ExternalSecret whose target is this Secret.")
		case !m.safe:
			r.add(RuleSecret, o, container, evidence.OutcomeFail, how+" refers to Secret "+name+", which the release itself carries",
				"Keep the value in a secret store, and replace the Secret by an ExternalSecret of the same target name.", m.by)
		default:
			r.add(RuleSecret, o, container, evidence.OutcomePass, how+" refers to Secret "+name+", made by "+m.by.GetKind()+" "+m.by.GetName(), "", m.by)
		}
	}
	for _, p := range r.pods {
		podReferences(&p.tpl.Spec, func(container, name, how string) { check(p.o, container, name, how) })
	}
	for i := range set.Objects {
		o := &set.Objects[i]
		for _, name := range tlsSecrets(o) {
			check(o, "", name, "tls")
		}
	}
}

// podReferences calls ref for each Secret that a pod refers to.
func podReferences(spec *corev1.PodSpec, ref func(container, name, how string)) {
	for _, s := range spec.ImagePullSecrets {
		ref("", s.Name, "imagePullSecrets")
	}
	for _, v := range spec.Volumes {
		volumeReferences(v, func(name string) { ref("", name, "volume "+v.Name) })
	}
	env := func(container string, from []corev1.EnvFromSource, vars []corev1.EnvVar) {
		for _, e := range from {
			if e.SecretRef != nil {
				ref(container, e.SecretRef.Name, "envFrom")
			}
		}
		for _, e := range vars {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				ref(container, e.ValueFrom.SecretKeyRef.Name, "env "+e.Name)
			}
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		env(c.Name, c.EnvFrom, c.Env)
	}
	for _, c := range spec.EphemeralContainers {
		env(c.Name, c.EnvFrom, c.Env)
	}
}

// volumeReferences calls ref for each Secret that a volume refers to.
func volumeReferences(v corev1.Volume, ref func(name string)) {
	local := func(r *corev1.LocalObjectReference) {
		if r != nil {
			ref(r.Name)
		}
	}
	remote := func(r *corev1.SecretReference) {
		if r != nil {
			ref(r.Name)
		}
	}
	if v.Secret != nil {
		ref(v.Secret.SecretName)
	}
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				ref(s.Secret.Name)
			}
		}
	}
	switch {
	case v.CSI != nil:
		local(v.CSI.NodePublishSecretRef)
	case v.CephFS != nil:
		local(v.CephFS.SecretRef)
	case v.Cinder != nil:
		local(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		local(v.FlexVolume.SecretRef)
	case v.ISCSI != nil:
		local(v.ISCSI.SecretRef)
	case v.RBD != nil:
		local(v.RBD.SecretRef)
	case v.ScaleIO != nil:
		local(v.ScaleIO.SecretRef)
	case v.StorageOS != nil:
		local(v.StorageOS.SecretRef)
	case v.AzureFile != nil:
		remote(&corev1.SecretReference{Name: v.AzureFile.SecretName})
	}
}

// tlsSecrets are the Secrets that an Ingress or Gateway terminates TLS with.
func tlsSecrets(o *collectors.Object) []string {
	var out []string
	collect := func(list []any, path ...string) {
		for _, e := range list {
			if m, ok := e.(map[string]any); ok {
				if s, _, err := unstructured.NestedString(m, path...); err == nil && s != "" {
					out = append(out, s)
				}
			}
		}
	}
	switch o.GroupVersionKind().Group + "/" + o.GetKind() {
	case "networking.k8s.io/Ingress", "extensions/Ingress":
		if list, _, err := unstructured.NestedSlice(o.Object, "spec", "tls"); err == nil {
			// cert-manager makes the Secret for an annotated Ingress.
			for k := range o.GetAnnotations() {
				if k == "cert-manager.io/cluster-issuer" || k == "cert-manager.io/issuer" {
					return nil
				}
			}
			collect(list, "secretName")
		}
	case "gateway.networking.k8s.io/Gateway":
		listeners, _, err := unstructured.NestedSlice(o.Object, "spec", "listeners")
		if err != nil {
			return nil
		}
		for _, l := range listeners {
			if m, ok := l.(map[string]any); ok {
				if refs, _, err := unstructured.NestedSlice(m, "tls", "certificateRefs"); err == nil {
					collect(refs, "name")
				}
			}
		}
	}
	return out
}
