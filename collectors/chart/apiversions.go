package chart

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/companyos/helmproof/internal/manifest"
)

// release is a version of Kubernetes by its numbers.
type release struct{ major, minor int }

func (r release) before(o release) bool {
	return r.major < o.major || r.major == o.major && r.minor < o.minor
}

// betaOff is the first release whose new beta APIs are switched off in a
// cluster unless it asks for them (KEP-3136).
var betaOff = release{1, 24}

// betaStillOn are later betas that were on all the same
// (k8s.io/kubernetes/pkg/controlplane/instance.go, legacyBetaEnabledByDefaultResources).
var betaStillOn = map[schema.GroupVersion]bool{{Group: "flowcontrol.apiserver.k8s.io", Version: "v1beta3"}: true}

// createdOnly are the kinds that are created and never listed, so that they have no List.
var createdOnly = []string{
	"Binding", "LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectReview", "SelfSubjectRulesReview", "SubjectAccessReview", "TokenReview",
}

// outsideScheme are APIs of every cluster that are not in client-go's scheme, or
// there only once somebody adds them; then the kinds of subresources, which Helm lists
// in the group of what they are of.
var outsideScheme = []string{
	"apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1/CustomResourceDefinition", "apiregistration.k8s.io/v1", "apiregistration.k8s.io/v1/APIService",
	"apps/v1/Scale", "v1/Eviction", "v1/NodeProxyOptions", "v1/PodAttachOptions", "v1/PodExecOptions", "v1/PodPortForwardOptions", "v1/PodProxyOptions", "v1/Scale",
	"v1/ServiceProxyOptions", "v1/TokenRequest",
}

var apiVersions sync.Map // release → common.VersionSet

// APIVersions are what .Capabilities.APIVersions has on a cluster of that minor
// version of Kubernetes as it comes: GROUP/VERSION and GROUP/VERSION/KIND of what it
// serves, sorted, as Helm's GetVersionSet lists them. Alpha APIs are not among them, nor beta
// APIs that are switched off. What was served when is what Kubernetes' own types
// say of their life.
func APIVersions(v common.KubeVersion) common.VersionSet {
	major, errMajor := strconv.Atoi(v.Major)
	minor, errMinor := strconv.Atoi(v.Minor)
	if errMajor != nil || errMinor != nil {
		return common.DefaultVersionSet // nothing is known of such a version
	}
	of := release{major, minor}
	if set, ok := apiVersions.Load(of); ok {
		return set.(common.VersionSet)
	}
	found := map[string]struct{}{}
	for _, id := range outsideScheme {
		found[id] = struct{}{}
	}
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if served(gvk, of) {
			found[gvk.GroupVersion().String()] = struct{}{}
			found[gvk.GroupVersion().String()+"/"+gvk.Kind] = struct{}{}
		}
	}
	set, _ := apiVersions.LoadOrStore(of, common.VersionSet(slices.Sorted(maps.Keys(found))))
	return set.(common.VersionSet)
}

// served reports whether a cluster of that version serves the kind unasked.
func served(gvk schema.GroupVersionKind, of release) bool {
	if gvk.Version == "__internal" || strings.Contains(gvk.Version, "alpha") || strings.HasPrefix(gvk.Group, "apiextensions.") {
		return false
	}
	list := gvk
	list.Kind += "List"
	if !scheme.Scheme.Recognizes(list) && !slices.Contains(createdOnly, gvk.Kind) {
		return false
	}
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		return false
	}
	if _, ok := obj.(metav1.ObjectMetaAccessor); !ok {
		return false
	}
	var since release
	if x, ok := obj.(interface{ APILifecycleIntroduced() (int, int) }); ok {
		since.major, since.minor = x.APILifecycleIntroduced()
	}
	if x, ok := obj.(interface{ APILifecycleRemoved() (int, int) }); ok {
		if major, minor := x.APILifecycleRemoved(); !of.before(release{major, minor}) {
			return false
		}
	}
	off := strings.Contains(gvk.Version, "beta") && !since.before(betaOff) && !betaStillOn[gvk.GroupVersion()]
	return !of.before(since) && !off
}

// lastBetaOn is the first release without any beta that is on unasked.
var lastBetaOn = release{1, 32}

// SwitchedOff reports whether a cluster of that minor version of Kubernetes ("1.37")
// knows an API of Kubernetes' own, and does not serve it unless it is told to.
func SwitchedOff(gvk schema.GroupVersionKind, version string) bool {
	if strings.Contains(gvk.Version, "alpha") {
		return true
	}
	if !strings.Contains(gvk.Version, "beta") || betaStillOn[gvk.GroupVersion()] {
		return false
	}
	major, minor, _ := strings.Cut(version, ".")
	a, errMajor := strconv.Atoi(major)
	b, errMinor := strconv.Atoi(minor)
	if errMajor != nil || errMinor != nil || !(release{a, b}).before(lastBetaOn) {
		return true
	}
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		return !(release{a, b}).before(betaOff)
	}
	x, ok := obj.(interface{ APILifecycleIntroduced() (int, int) })
	if !ok {
		return !(release{a, b}).before(betaOff)
	}
	var since release
	since.major, since.minor = x.APILifecycleIntroduced()
	return !since.before(betaOff)
}

// broughtAlong are the APIs of the definitions in the crds folders of a chart and its
// subcharts, with and without kind. Helm installs those and asks the cluster what it
// serves only then, so that templates find them at the first install, too.
func broughtAlong(c *chartv2.Chart) map[string]bool {
	out := map[string]bool{}
	for _, crd := range c.CRDObjects() {
		for d := range manifest.Stream(crd.File.Data) {
			v, err := manifest.Decode(d.Text)
			if err != nil {
				continue // CHT-3 says so, and Helm does not go on
			}
			o, _ := v.(map[string]any)
			if kind, _ := o["kind"].(string); kind != "CustomResourceDefinition" {
				continue
			}
			spec, _ := o["spec"].(map[string]any)
			group, _ := spec["group"].(string)
			names, _ := spec["names"].(map[string]any)
			kind, _ := names["kind"].(string)
			versions, _ := spec["versions"].([]any)
			for _, v := range versions {
				version, _ := v.(map[string]any)
				name, _ := version["name"].(string)
				if served, _ := version["served"].(bool); served && group != "" && name != "" && kind != "" {
					out[group+"/"+name], out[group+"/"+name+"/"+kind] = true, true
				}
			}
		}
	}
	return out
}
