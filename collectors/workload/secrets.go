package workload

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// origin is what makes a Secret.
type origin struct {
	by   *manifest.Object
	safe bool   // an ExternalSecret or cert-manager, not the release itself
	in   string // for a ClusterExternalSecret: why it cannot be seen that it makes it in that namespace
	gone string // why what makes it may be missing while what refers to it runs
}

// spread is a ClusterExternalSecret: it makes a Secret in namespaces that it names or selects.
type spread struct {
	o          *manifest.Object
	secret     string
	namespaces []string
	selectors  []labels.Selector
}

// origins is what makes Secrets, by namespace and name.
type origins struct {
	made    map[[2]string][]origin
	spreads []spread
	labels  map[string]labels.Set // of the release's own Namespaces
}

// of returns what makes the Secret that an object refers to. A plain Secret comes
// first: it is what would be applied. What may be missing comes last.
func (m *origins) of(ns, name string, by *manifest.Object) (origin, bool) {
	var missing, unseen origin
	for _, x := range m.made[[2]string{ns, name}] {
		if x.safe {
			x.gone = x.by.Missing(by)
		}
		if x.gone == "" {
			return x, true
		}
		missing = x
	}
	for _, s := range m.spreads {
		if s.secret != name {
			continue
		}
		own := labels.Set{corev1.LabelMetadataName: ns}
		for k, v := range m.labels[ns] {
			own[k] = v
		}
		x := origin{by: s.o, safe: true, gone: s.o.Missing(by)}
		named := slices.Contains(s.namespaces, ns) || slices.ContainsFunc(s.selectors, func(sel labels.Selector) bool { return sel.Matches(own) })
		switch {
		case named && x.gone == "":
			return x, true
		case named:
			missing = x
		case len(s.selectors) > 0 && unseen.by == nil && x.gone == "":
			x.in = "whose namespaceSelectors may or may not select namespace " + ns
			unseen = x
		}
	}
	if unseen.by == nil {
		unseen = missing
	}
	return unseen, unseen.by != nil
}

// origins finds what in the release makes which Secret. An object that cannot
// be read makes nothing, and is an error.
func (r *release) origins(set *manifest.ObjectSet) *origins {
	m := &origins{made: map[[2]string][]origin{}, labels: map[string]labels.Set{}}
	for i := range set.Objects {
		o := &set.Objects[i]
		var err error
		name, safe := "", true
		switch group := o.GroupVersionKind().Group; group + "/" + o.GetKind() {
		case "/Namespace":
			m.labels[o.GetName()] = o.GetLabels()
		case "/Secret":
			name, safe = o.GetName(), false
		case "external-secrets.io/ExternalSecret":
			name, err = externalTarget(o.GetName(), o.Object, "spec")
		case "external-secrets.io/ClusterExternalSecret":
			var s spread
			if s, err = readSpread(o); err == nil && s.secret != "" {
				m.spreads = append(m.spreads, s)
			}
		case "cert-manager.io/Certificate":
			name, err = text(o.Object, "spec", "secretName")
		case "networking.k8s.io/Ingress", "extensions/Ingress", "gateway.networking.k8s.io/Gateway":
			if !byCertManager(o) {
				continue
			}
			refs, err := tlsSecrets(o)
			if err != nil {
				continue // said where references are read
			}
			for _, ref := range refs {
				if ref.ns == "" || ref.ns == r.ns(o) {
					m.put(r.ns(o), ref.name, origin{by: o, safe: true})
				}
			}
		}
		if err != nil {
			outcome, message, fix := collectors.Undecoded(err)
			r.add(RuleSecret, o, "", outcome, message, fix)
			continue
		}
		m.put(r.ns(o), name, origin{by: o, safe: safe})
	}
	return m
}

// put keeps plain Secrets first.
func (m *origins) put(ns, name string, x origin) {
	if name == "" {
		return
	}
	key := [2]string{ns, name}
	if x.safe {
		m.made[key] = append(m.made[key], x)
	} else {
		m.made[key] = append([]origin{x}, m.made[key]...)
	}
}

// externalTarget is the name of the Secret that an ExternalSecret of that name
// makes; "" when it makes none: creationPolicy Merge and None need one that is
// there, and a target manifest makes another kind of object.
func externalTarget(own string, content map[string]any, spec ...string) (string, error) {
	at := func(path ...string) []string { return slices.Concat(spec, []string{"target"}, path) }
	name, err := text(content, at("name")...)
	if err != nil {
		return "", err
	}
	policy, err := text(content, at("creationPolicy")...)
	if err != nil {
		return "", err
	}
	kind, err := text(content, at("manifest", "kind")...)
	if err != nil {
		return "", err
	}
	if policy == "Merge" || policy == "None" || kind != "" && kind != "Secret" {
		return "", nil
	}
	if name == "" {
		name = own
	}
	return name, nil
}

func readSpread(o *manifest.Object) (spread, error) {
	s := spread{o: o}
	own, err := text(o.Object, "spec", "externalSecretName")
	if err != nil {
		return s, err
	}
	if own == "" {
		own = o.GetName()
	}
	if s.secret, err = externalTarget(own, o.Object, "spec", "externalSecretSpec"); err != nil {
		return s, err
	}
	var c struct {
		Spec struct {
			Namespaces         []string               `json:"namespaces"`
			NamespaceSelector  *metav1.LabelSelector  `json:"namespaceSelector"`
			NamespaceSelectors []metav1.LabelSelector `json:"namespaceSelectors"`
		} `json:"spec"`
	}
	if err := decode(o.Object, &c); err != nil {
		return s, err
	}
	s.namespaces = c.Spec.Namespaces
	if c.Spec.NamespaceSelector != nil {
		c.Spec.NamespaceSelectors = append(c.Spec.NamespaceSelectors, *c.Spec.NamespaceSelector)
	}
	for i := range c.Spec.NamespaceSelectors {
		sel, err := metav1.LabelSelectorAsSelector(&c.Spec.NamespaceSelectors[i])
		if err != nil {
			return s, fmt.Errorf("namespace selector: %w", err)
		}
		s.selectors = append(s.selectors, sel)
	}
	return s, nil
}

// text is a string field, "" when it is absent or null.
func text(content map[string]any, path ...string) (string, error) {
	v, found, err := unstructured.NestedFieldNoCopy(content, path...)
	if err != nil || !found || v == nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%s is not a string", strings.Join(path, "."))
	}
	return s, nil
}

// reference is one place where an object names a Secret.
type reference struct {
	o                        *manifest.Object
	container, ns, name, how string
	optional                 bool
}

// secretReferences decides SCR-2: one finding for each Secret that a container,
// or an object outside its containers, refers to.
func (r *release) secretReferences(set *manifest.ObjectSet) {
	var all []reference
	for i := range set.Objects {
		o := &set.Objects[i]
		refs, err := tlsSecrets(o)
		if err == nil && o.GroupVersionKind().Group == "" && o.GetKind() == "ServiceAccount" {
			refs, err = accountReferences(o)
		}
		if err != nil {
			outcome, message, fix := collectors.Undecoded(err)
			r.add(RuleSecret, o, "", outcome, message, fix)
		}
		all = append(all, refs...)
	}
	for _, p := range r.pods {
		if p.err == nil {
			podReferences(&p.tpl.Spec, func(ref reference) {
				ref.o = p.o
				all = append(all, ref)
			})
		}
	}
	type key struct {
		o                   *manifest.Object
		container, ns, name string
	}
	first := map[key]int{}
	var once []reference
	for _, ref := range all {
		if ref.name == "" {
			continue // nothing is referred to: the API server refuses it, or ignores it
		}
		if ref.ns == "" {
			ref.ns = r.ns(ref.o)
		}
		k := key{ref.o, ref.container, ref.ns, ref.name}
		i, seen := first[k]
		switch {
		case !seen:
			first[k] = len(once)
			once = append(once, ref)
		case once[i].optional && !ref.optional:
			once[i] = ref // what the pod cannot start without counts
		}
	}
	made := r.origins(set)
	for _, ref := range once {
		r.referenced(ref, made)
	}
}

func (r *release) referenced(ref reference, made *origins) {
	const fix = "Add an ExternalSecret whose target is this Secret."
	said := ref.how + " refers to Secret " + ref.name
	if ref.ns != r.ns(ref.o) {
		said += " in namespace " + ref.ns
	}
	m, ok := made.of(ref.ns, ref.name, ref.o)
	switch {
	case !ok && ref.optional:
		r.add(RuleSecret, ref.o, ref.container, evidence.OutcomeWarn, said+", optionally, which nothing in the release makes", fix)
	case !ok:
		r.add(RuleSecret, ref.o, ref.container, evidence.OutcomeFail, said+", which nothing in the release makes", fix)
	case m.gone != "":
		r.add(RuleSecret, ref.o, ref.container, evidence.OutcomeFail, said+", which "+m.by.GetKind()+" "+m.by.GetName()+" does not make in time: "+m.gone,
			"Let Helm install it with the release, or as a hook that comes before and stays.", m.by)
	case m.in != "":
		r.add(RuleSecret, ref.o, ref.container, evidence.OutcomeNotChecked, said+", which ClusterExternalSecret "+m.by.GetName()+" makes, "+m.in,
			"Name the namespace in spec.namespaces, or select it by "+corev1.LabelMetadataName+".", m.by)
	case !m.safe:
		r.add(RuleSecret, ref.o, ref.container, evidence.OutcomeFail, said+", which the release itself carries",
			"Keep the value in a secret store, and replace the Secret by an ExternalSecret of the same target name.", m.by)
	case m.by == ref.o:
		r.add(RuleSecret, ref.o, ref.container, evidence.OutcomePass, said+", made by cert-manager for its annotations", "")
	default:
		r.add(RuleSecret, ref.o, ref.container, evidence.OutcomePass, said+", made by "+m.by.GetKind()+" "+m.by.GetName(), "", m.by)
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

// podReferences calls ref for each Secret that a pod refers to.
func podReferences(spec *corev1.PodSpec, ref func(reference)) {
	for _, s := range spec.ImagePullSecrets {
		ref(reference{name: s.Name, how: "imagePullSecrets"})
	}
	for _, v := range spec.Volumes {
		volumeReferences(v, func(name string, optional *bool) {
			ref(reference{name: name, how: "volume " + v.Name, optional: isTrue(optional)})
		})
	}
	env := func(container string, from []corev1.EnvFromSource, vars []corev1.EnvVar) {
		for _, e := range from {
			if s := e.SecretRef; s != nil {
				ref(reference{container: container, name: s.Name, how: "envFrom", optional: isTrue(s.Optional)})
			}
		}
		for _, e := range vars {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				s := e.ValueFrom.SecretKeyRef
				ref(reference{container: container, name: s.Name, how: "env " + e.Name, optional: isTrue(s.Optional)})
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
func volumeReferences(v corev1.Volume, ref func(name string, optional *bool)) {
	local := func(r *corev1.LocalObjectReference) {
		if r != nil {
			ref(r.Name, nil)
		}
	}
	if v.Secret != nil {
		ref(v.Secret.SecretName, v.Secret.Optional)
	}
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				ref(s.Secret.Name, s.Secret.Optional)
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
		ref(v.AzureFile.SecretName, nil)
	}
}

// accountReferences are the Secrets that a ServiceAccount gives to its pods.
func accountReferences(o *manifest.Object) ([]reference, error) {
	var sa corev1.ServiceAccount
	if err := decode(o.Object, &sa); err != nil {
		return nil, err
	}
	var out []reference
	for _, s := range sa.ImagePullSecrets {
		out = append(out, reference{o: o, name: s.Name, how: "imagePullSecrets"})
	}
	for _, s := range sa.Secrets {
		out = append(out, reference{o: o, name: s.Name, how: "secrets"})
	}
	return out, nil
}

// byCertManager reports whether cert-manager makes the Secrets that an Ingress
// or Gateway terminates TLS with (its annotations on both).
func byCertManager(o *manifest.Object) bool {
	a := o.GetAnnotations()
	return a["cert-manager.io/cluster-issuer"] != "" || a["cert-manager.io/issuer"] != "" || a["kubernetes.io/tls-acme"] == "true"
}

// tlsSecrets are the Secrets that an Ingress or Gateway terminates TLS with.
func tlsSecrets(o *manifest.Object) ([]reference, error) {
	var out []reference
	switch o.GroupVersionKind().Group + "/" + o.GetKind() {
	case "networking.k8s.io/Ingress", "extensions/Ingress":
		var ing struct {
			Spec struct {
				TLS []struct {
					SecretName string `json:"secretName"`
				} `json:"tls"`
			} `json:"spec"`
		}
		if err := decode(o.Object, &ing); err != nil {
			return nil, err
		}
		for _, t := range ing.Spec.TLS {
			out = append(out, reference{o: o, name: t.SecretName, how: "tls"})
		}
	case "gateway.networking.k8s.io/Gateway":
		var gw struct {
			Spec struct {
				Listeners []struct {
					TLS struct {
						CertificateRefs []struct {
							Kind      string `json:"kind"`
							Name      string `json:"name"`
							Namespace string `json:"namespace"`
						} `json:"certificateRefs"`
					} `json:"tls"`
				} `json:"listeners"`
			} `json:"spec"`
		}
		if err := decode(o.Object, &gw); err != nil {
			return nil, err
		}
		for _, l := range gw.Spec.Listeners {
			for _, c := range l.TLS.CertificateRefs {
				if c.Kind == "" || c.Kind == "Secret" {
					out = append(out, reference{o: o, ns: c.Namespace, name: c.Name, how: "tls"})
				}
			}
		}
	}
	return out, nil
}
