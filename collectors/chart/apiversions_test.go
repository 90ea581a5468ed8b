package chart

import (
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
)

// TestCapabilitiesOfTheVersion: a chart that asks what the cluster serves gets what a
// cluster of the version that it is rendered for answers.
func TestCapabilitiesOfTheVersion(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		id    string // what is asked for with Has
		kube  string
		added []string
		want  bool
	}{
		"a kind":                          {id: "autoscaling/v2/HorizontalPodAutoscaler", kube: "1.37", want: true},
		"a group":                         {id: "policy/v1", kube: "1.37", want: true},
		"the core":                        {id: "v1/ServiceAccount", kube: "1.33.2", want: true},
		"definitions":                     {id: "apiextensions.k8s.io/v1/CustomResourceDefinition", kube: "1.35", want: true},
		"API services":                    {id: "apiregistration.k8s.io/v1", kube: "1.35", want: true},
		"a kind of another version":       {id: "apps/v1/PodDisruptionBudget", kube: "1.37"},
		"removed in 1.25":                 {id: "policy/v1beta1", kube: "1.37"},
		"removed in 1.25, before":         {id: "policy/v1beta1/PodDisruptionBudget", kube: "1.24", want: true},
		"removed in 1.22":                 {id: "networking.k8s.io/v1beta1/Ingress", kube: "1.22"},
		"removed in 1.22, before":         {id: "networking.k8s.io/v1beta1/Ingress", kube: "1.21", want: true},
		"removed in 1.26":                 {id: "autoscaling/v2beta2", kube: "1.37"},
		"removed long ago":                {id: "extensions/v1beta1/Deployment", kube: "1.37"},
		"removed jobs":                    {id: "batch/v1beta1/CronJob", kube: "1.25"},
		"introduced later":                {id: "autoscaling/v2", kube: "1.22"},
		"introduced by then":              {id: "autoscaling/v2", kube: "1.23", want: true},
		"devices before they were stable": {id: "resource.k8s.io/v1/ResourceClaim", kube: "1.33"},
		"devices":                         {id: "resource.k8s.io/v1/ResourceClaim", kube: "1.34", want: true},
		"alpha":                           {id: "storage.k8s.io/v1alpha1", kube: "1.32"},
		"beta that is off":                {id: "resource.k8s.io/v1beta1", kube: "1.33"},
		"beta that is asked for":          {id: "resource.k8s.io/v1beta1", kube: "1.33", added: []string{"resource.k8s.io/v1beta1"}, want: true},
		"beta that stayed on":             {id: "flowcontrol.apiserver.k8s.io/v1beta3", kube: "1.31", want: true},
		"an operator's":                   {id: "monitoring.coreos.com/v1", kube: "1.37"},
		"an operator's, added":            {id: "monitoring.coreos.com/v1/ServiceMonitor", kube: "1.37", added: []string{"monitoring.coreos.com/v1/ServiceMonitor"}, want: true},
		"a version to come":               {id: "apps/v1/Deployment", kube: "1.45", want: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := demoChart(t, map[string]string{"templates/x.yaml": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"has":"{{ .Capabilities.APIVersions.Has "` + tt.id + `" }}"}}`})
			rel := mustLoad(t, dir, LoadOptions{KubeVersion: tt.kube, APIVersions: tt.added})
			if got := strings.Contains(string(rel.Manifests), `"has":"true"`); got != tt.want {
				t.Errorf("%s on %s: %v, want %v", tt.id, tt.kube, got, tt.want)
			}
		})
	}
}

// TestAPIsBroughtAlong: a file of definitions is read where it may name what is asked
// for, however it writes that.
func TestAPIsBroughtAlong(t *testing.T) {
	t.Parallel()
	const crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: as.example.com}\nspec:\n  names: {kind: A}\n  versions: [{name: v1, served: true}]\n  group: "
	utf16 := "\xff\xfe"
	for _, c := range crd + "example.com\n" {
		utf16 += string([]byte{byte(c), 0})
	}
	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"plain":                 {crd + "example.com\n", true},
		"in single quotes":      {crd + "'example.com'\n", true},
		"in double quotes":      {crd + `"example.com"` + "\n", true},
		"by a short number":     {crd + `"example\x2ecom"` + "\n", true},
		"by a number":           {crd + `"ex\u0061mple.com"` + "\n", true},
		"by a long number":      {crd + `"ex\U00000061mple.com"` + "\n", true},
		"over two lines":        {crd + "\"exam\\\n    ple.com\"\n", true},
		"over two lines of DOS": {crd + "\"exam\\\r\n    ple.com\"\n", true},
		"over U+0085":           {crd + "\"exam\\\u0085ple.com\"\n", true},
		"over U+2028":           {crd + "\"exam\\\u2028ple.com\"\n", true},
		"as base64":             {crd + "!!binary ZXhhbXBsZS5jb20=\n", true},
		"as base64, in full":    {crd + "!<tag:yaml.org,2002:binary> ZXhhbXBsZS5jb20=\n", true},
		"as base64, tag named":  {"%TAG !y! tag:yaml.org,2002:\n---\n" + crd + "!y!binary ZXhhbXBsZS5jb20=\n", false},
		"elsewhere":             {"x: &g example.com\n" + crd + "*g\n", true},
		"as JSON":               {`{"kind": "CustomResourceDefinition", "spec": {"group": "ex\u0061mple.com", "names": {"kind": "A"}, "versions": [{"name": "v1", "served": true}]}}`, true},
		"in the second one":     {crd + "example.org\n---\n" + crd + "example.com\n", true},
		"in UTF-16":             {utf16, false},
		"another":               {crd + "example.org\n", false},
		"in a comment":          {crd + "example.org # example.com\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			brought := broughtAlong(&chartv2.Chart{Metadata: &chartv2.Metadata{Name: "demo"}, Files: []*common.File{{Name: "crds/a.yaml", Data: []byte(tt.text)}}})
			for _, version := range []string{"example.com/v1", "example.com/v1/A"} {
				if got := brought(version); got != tt.want || got != definedIn([]byte(tt.text))[version] {
					t.Errorf("%s: %v, want %v", version, got, tt.want)
				}
			}
			for _, version := range []string{"v1", "example.com/v2", "example.com/v1/B", "com/v1", ""} {
				if brought(version) {
					t.Errorf("%s is not brought along", version)
				}
			}
		})
	}
}
