package chart

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

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

// broughtAlong reports of an API, with or without kind, whether a definition in the crds
// folders of a chart and its subcharts serves it. Helm installs those and asks the
// cluster what it serves only then, so that templates find them at the first install, too.
func broughtAlong(c *chartv2.Chart) func(version string) bool {
	type file struct {
		data []byte
		apis map[string]bool // nil: nobody had to read it yet
	}
	var files []*file
	for _, crd := range c.CRDObjects() {
		files = append(files, &file{data: crd.File.Data})
	}
	return func(version string) bool {
		group, _, ok := strings.Cut(version, "/")
		if !ok {
			return false
		}
		return slices.ContainsFunc(files, func(f *file) bool {
			if f.apis == nil && mayName(f.data, group) {
				f.apis = definedIn(f.data)
			}
			return f.apis[version]
		})
	}
}

// plainName matches texts that YAML has in one way only, where nothing is escaped.
var plainName = regexp.MustCompile(`^[0-9A-Za-z.-]+$`)

// mayName reports whether a YAML file may have the name for a string somewhere: to see
// that it has not is far less work than to read it.
func mayName(data []byte, name string) bool {
	return !plainName.MatchString(name) || bytes.Contains(data, []byte(name)) || !utf8.Valid(data) || hidesText(data)
}

// hidesText reports whether in a YAML file something may stand for another text: escapes by
// number and of line ends, or tags such as !!binary.
func hidesText(data []byte) bool {
	for _, tag := range []string{"!!", "!<", "%TAG"} {
		if bytes.Contains(data, []byte(tag)) {
			return true
		}
	}
	for rest := data; ; {
		at := bytes.IndexByte(rest, '\\')
		if at < 0 {
			return false
		}
		rest = rest[at+1:]
		if c, _ := utf8.DecodeRune(rest); strings.ContainsRune("xuU\r\n\u0085\u2028\u2029", c) {
			return true
		}
	}
}

// definedIn are the APIs that the definitions of a file serve, with and without kind.
func definedIn(data []byte) map[string]bool {
	out := map[string]bool{}
	for d := range manifest.Stream(data) {
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
	return out
}
