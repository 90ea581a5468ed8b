package policy

import (
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/scheme"
	listersv1 "k8s.io/client-go/listers/core/v1"

	"github.com/companyos/helmproof/internal/manifest"
)

// nameLabel is the label that the API server puts on every namespace.
const nameLabel = "kubernetes.io/metadata.name"

// clusterScoped are the built-in kinds that have no namespace.
var clusterScoped = func() map[schema.GroupKind]bool {
	m := map[schema.GroupKind]bool{}
	for group, kinds := range map[string]string{
		"":                             "Namespace Node PersistentVolume ComponentStatus",
		"admissionregistration.k8s.io": "MutatingWebhookConfiguration ValidatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding MutatingAdmissionPolicy MutatingAdmissionPolicyBinding",
		"apiextensions.k8s.io":         "CustomResourceDefinition",
		"apiregistration.k8s.io":       "APIService",
		"authentication.k8s.io":        "TokenReview SelfSubjectReview",
		"authorization.k8s.io":         "SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
		"certificates.k8s.io":          "CertificateSigningRequest ClusterTrustBundle",
		"flowcontrol.apiserver.k8s.io": "FlowSchema PriorityLevelConfiguration",
		"internal.apiserver.k8s.io":    "StorageVersion",
		"networking.k8s.io":            "IngressClass IPAddress ServiceCIDR",
		"node.k8s.io":                  "RuntimeClass",
		"policy":                       "PodSecurityPolicy",
		"rbac.authorization.k8s.io":    "ClusterRole ClusterRoleBinding",
		"resource.k8s.io":              "DeviceClass ResourceSlice DeviceTaintRule",
		"scheduling.k8s.io":            "PriorityClass",
		"storage.k8s.io":               "CSIDriver CSINode StorageClass VolumeAttachment VolumeAttributesClass",
		"storagemigration.k8s.io":      "StorageVersionMigration",
	} {
		for kind := range strings.FieldsSeq(kinds) {
			m[schema.GroupKind{Group: group, Kind: kind}] = true
		}
	}
	return m
}()

// sameShape lists API versions, long removed, whose objects read like those of
// the version that replaced them: the API server's conversion only renames.
var sameShape = map[schema.GroupVersionResource]schema.GroupVersion{
	{Group: "extensions", Version: "v1beta1", Resource: "deployments"}:               {Group: "apps", Version: "v1"},
	{Group: "extensions", Version: "v1beta1", Resource: "daemonsets"}:                {Group: "apps", Version: "v1"},
	{Group: "extensions", Version: "v1beta1", Resource: "replicasets"}:               {Group: "apps", Version: "v1"},
	{Group: "apps", Version: "v1beta1", Resource: "deployments"}:                     {Group: "apps", Version: "v1"},
	{Group: "apps", Version: "v1beta1", Resource: "statefulsets"}:                    {Group: "apps", Version: "v1"},
	{Group: "apps", Version: "v1beta2", Resource: "deployments"}:                     {Group: "apps", Version: "v1"},
	{Group: "apps", Version: "v1beta2", Resource: "statefulsets"}:                    {Group: "apps", Version: "v1"},
	{Group: "apps", Version: "v1beta2", Resource: "daemonsets"}:                      {Group: "apps", Version: "v1"},
	{Group: "apps", Version: "v1beta2", Resource: "replicasets"}:                     {Group: "apps", Version: "v1"},
	{Group: "batch", Version: "v1beta1", Resource: "cronjobs"}:                       {Group: "batch", Version: "v1"},
	{Group: "autoscaling", Version: "v2beta2", Resource: "horizontalpodautoscalers"}: {Group: "autoscaling", Version: "v2"},
	{Group: "policy", Version: "v1beta1", Resource: "poddisruptionbudgets"}:          {Group: "policy", Version: "v1"},
}

// policyKinds are the custom kinds that built-in policies are about.
var policyKinds = map[schema.GroupKind]bool{
	{Group: "autoscaling.k8s.io", Kind: "VerticalPodAutoscaler"}:  true,
	{Group: "external-secrets.io", Kind: "ExternalSecret"}:        true,
	{Group: "external-secrets.io", Kind: "ClusterExternalSecret"}: true,
}

// isFixed reports whether a kind is what it is, whatever a CRD of the release says
// of it: Kubernetes' own kinds, in any version, and those of built-in policies.
func isFixed(gk schema.GroupKind) bool {
	return len(scheme.Scheme.VersionsForGroupKind(gk)) > 0 || clusterScoped[gk] || policyKinds[gk]
}

// world is what the objects of one release say about resources and namespaces.
type world struct {
	namespace  string // the release's
	crds       map[schema.GroupKind]crd
	namespaces map[string]*corev1.Namespace // those that the release renders
	tokens     [][2]string                  // namespace and name of Secrets that hold a token of a service account
	matcher    *matching.Matcher
}

type crd struct {
	plural  string
	cluster bool
}

func newWorld(namespace string, objects []manifest.Object) *world {
	w := &world{namespace: namespace, crds: map[schema.GroupKind]crd{}, namespaces: map[string]*corev1.Namespace{}}
	for i := range objects {
		o := &objects[i]
		switch gk := o.GroupVersionKind().GroupKind(); gk {
		case schema.GroupKind{Kind: "Namespace"}:
			w.namespaces[o.GetName()] = newNamespace(o.GetName(), o.GetLabels(), o.GetAnnotations())
		case schema.GroupKind{Kind: "Secret"}:
			if kind, _, _ := unstructured.NestedString(o.Object, "type"); kind == string(corev1.SecretTypeServiceAccountToken) {
				ns := o.GetNamespace()
				if ns == "" {
					ns = namespace
				}
				w.tokens = append(w.tokens, [2]string{ns, o.GetName()})
			}
		case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
			group, _, _ := unstructured.NestedString(o.Object, "spec", "group")
			kind, _, _ := unstructured.NestedString(o.Object, "spec", "names", "kind")
			plural, _, _ := unstructured.NestedString(o.Object, "spec", "names", "plural")
			scope, _, _ := unstructured.NestedString(o.Object, "spec", "scope")
			if gk := (schema.GroupKind{Group: group, Kind: kind}); kind != "" && plural != "" && !isFixed(gk) {
				w.crds[gk] = crd{plural: plural, cluster: scope == "Cluster"}
			}
		}
	}
	w.matcher = matching.NewMatcher(namespaceLister{w: w}, nil)
	return w
}

func newNamespace(name string, l, annotations map[string]string) *corev1.Namespace {
	all := maps.Clone(l)
	if all == nil {
		all = map[string]string{}
	}
	all[nameLabel] = name
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: all, Annotations: annotations}}
}

// namespaceOf returns a namespace as far as it is known: as rendered, or with
// nothing but its name.
func (w *world) namespaceOf(name string) *corev1.Namespace {
	if ns := w.namespaces[name]; ns != nil {
		return ns
	}
	return newNamespace(name, nil, nil)
}

// criteria are what a policy or a binding says of the objects that it is about.
type criteria admissionv1.MatchResources

// GetParsedNamespaceSelector implements matching.MatchCriteria.
func (c *criteria) GetParsedNamespaceSelector() (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(c.NamespaceSelector)
}

// GetParsedObjectSelector implements matching.MatchCriteria.
func (c *criteria) GetParsedObjectSelector() (labels.Selector, error) {
	return metav1.LabelSelectorAsSelector(c.ObjectSelector)
}

// GetMatchResources implements matching.MatchCriteria.
func (c *criteria) GetMatchResources() admissionv1.MatchResources {
	return admissionv1.MatchResources(*c)
}

// namespaceLister gives the API server's matcher the world's namespaces.
type namespaceLister struct {
	listersv1.NamespaceLister // List is not called
	w                         *world
}

func (l namespaceLister) Get(name string) (*corev1.Namespace, error) {
	return l.w.namespaceOf(name), nil
}

// resource names an object's resource and says whether it has a namespace: from
// the built-in kinds, the release's own CRDs, or by the usual rules of naming.
func (w *world) resource(gvk schema.GroupVersionKind, hasNamespace bool) (gvr schema.GroupVersionResource, cluster bool) {
	gk := gvk.GroupKind()
	if c, ok := w.crds[gk]; ok {
		return gvk.GroupVersion().WithResource(c.plural), c.cluster
	}
	cluster = clusterScoped[gk]
	if !cluster && !hasNamespace && strings.HasPrefix(gvk.Kind, "Cluster") && strings.Contains(gvk.Group, ".") {
		cluster = true // ClusterIssuer, ClusterSecretStore …: by convention
	}
	return gvk.GroupVersion().WithResource(plural(gvk)), cluster
}

func plural(gvk schema.GroupVersionKind) string {
	s := strings.ToLower(gvk.Kind)
	for _, suffix := range []string{"ay", "ey", "oy", "uy"} { // Gateway
		if strings.HasSuffix(s, suffix) {
			return s + "s"
		}
	}
	for _, suffix := range []string{"x", "ch", "sh"} { // ServiceMesh
		if strings.HasSuffix(s, suffix) {
			return s + "es"
		}
	}
	p, _ := meta.UnsafeGuessKindToResource(gvk)
	return p.Resource
}

// maxList is the length of the longest list that is evaluated: the cost tracker
// of CEL takes time that grows with the square of it.
const maxList = 2000

// subject is an object as a request to create it. It is used by one goroutine.
type subject struct {
	object   *manifest.Object
	attr     admission.Attributes
	gvk      schema.GroupVersionKind
	gvr      schema.GroupVersionResource
	ns       *corev1.Namespace // nil when cluster-scoped
	longest  int               // length of the longest list in it
	versions map[schema.GroupVersionKind]*admission.VersionedAttributes
}

func (w *world) subject(o *manifest.Object) *subject {
	s := &subject{object: o, gvk: o.GroupVersionKind(), versions: map[schema.GroupVersionKind]*admission.VersionedAttributes{}}
	var cluster bool
	s.gvr, cluster = w.resource(s.gvk, o.GetNamespace() != "")
	namespace := ""
	if !cluster {
		if namespace = o.GetNamespace(); namespace == "" {
			namespace = w.namespace
		}
		s.ns = w.namespaceOf(namespace)
	} else if s.gvk.Group == "" && s.gvk.Kind == "Namespace" {
		namespace = o.GetName() // as the API server has it for requests about a namespace
	}
	var c cleaner
	content, _ := c.clean(o.Object)
	s.longest = c.longest
	u := &unstructured.Unstructured{Object: completed(content.(map[string]any), namespace, cluster)}
	s.attr = admission.NewAttributesRecord(u, nil, s.gvk, namespace, o.GetName(), s.gvr, "", admission.Create,
		&metav1.CreateOptions{}, false, &user.DefaultInfo{})
	return s
}

// completed adds what the API server writes into every object before policies
// see it: its namespace, or a namespace's own name as a label. m may be shared.
func completed(m map[string]any, namespace string, cluster bool) map[string]any {
	if namespace == "" {
		return m
	}
	metadata, ok := m["metadata"].(map[string]any)
	if !ok {
		return m // not an object; whatever reads it fails
	}
	metadata = maps.Clone(metadata)
	if !cluster {
		metadata["namespace"] = namespace
	} else {
		l, _ := metadata["labels"].(map[string]any)
		if l = maps.Clone(l); l == nil {
			l = map[string]any{}
		}
		l[nameLabel] = namespace
		metadata["labels"] = l
	}
	m = maps.Clone(m)
	m["metadata"] = metadata
	return m
}

// versioned returns the request with its object in the version gvk, of which
// convertible has said that it reads the same.
func (s *subject) versioned(gvk schema.GroupVersionKind) *admission.VersionedAttributes {
	if va := s.versions[gvk]; va != nil {
		return va
	}
	u := s.attr.GetObject().(*unstructured.Unstructured)
	if gvk != s.gvk {
		u = &unstructured.Unstructured{Object: maps.Clone(u.Object)}
		u.SetGroupVersionKind(gvk)
	}
	va := &admission.VersionedAttributes{Attributes: s.attr, VersionedKind: gvk, VersionedObject: admission.NewLazyObject(u)}
	s.versions[gvk] = va
	return va
}

// convertible reports whether the object can be read as that version offline.
func (s *subject) convertible(to schema.GroupVersionKind) bool {
	return to == s.gvk || sameShape[s.gvr] == to.GroupVersion()
}

// cleaner drops the null values of mappings, as the API server's decoding does,
// copying only what it changes, and notes the length of the longest list.
type cleaner struct{ longest int }

func (c *cleaner) clean(v any) (out any, changed bool) {
	switch v := v.(type) {
	case map[string]any:
		var copied map[string]any
		for k, e := range v {
			n, changed := c.clean(e)
			if e != nil && !changed {
				continue
			}
			if copied == nil {
				copied = maps.Clone(v)
			}
			if e == nil {
				delete(copied, k)
			} else {
				copied[k] = n
			}
		}
		if copied != nil {
			return copied, true
		}
	case []any:
		c.longest = max(c.longest, len(v))
		var copied []any
		for i, e := range v {
			if n, changed := c.clean(e); changed {
				if copied == nil {
					copied = slices.Clone(v)
				}
				copied[i] = n
			}
		}
		if copied != nil {
			return copied, true
		}
	}
	return v, false
}

// equivalents answers the API server's matcher which other versions of the
// object's resource there are: those that the policy's rules name.
type equivalents struct {
	admission.RuntimeObjectInterfaces
	rule *policyRule
	s    *subject
}

func (e *equivalents) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper { return e }

// EquivalentResourcesFor implements runtime.EquivalentResourceMapper.
func (e *equivalents) EquivalentResourcesFor(r schema.GroupVersionResource, sub string) []schema.GroupVersionResource {
	if sub != "" {
		return nil
	}
	var list []schema.GroupVersionResource
	if gv, ok := sameShape[r]; ok {
		list = append(list, gv.WithResource(r.Resource))
	}
	for _, v := range e.rule.versions[r.GroupResource()] {
		if gvr := r.GroupResource().WithVersion(v); !slices.Contains(list, gvr) {
			list = append(list, gvr)
		}
	}
	return list
}

// KindFor implements runtime.EquivalentResourceMapper.
func (e *equivalents) KindFor(r schema.GroupVersionResource, _ string) schema.GroupVersionKind {
	return r.GroupVersion().WithKind(e.s.gvk.Kind)
}
