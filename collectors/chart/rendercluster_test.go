package chart

import (
	"slices"
	"strings"
	"testing"
)

// TestTellsClusterFromHelmproof: a template that acts on what a cluster serves, on a
// provider's version, or on the revision without its name, is not taken at its word.
func TestTellsClusterFromHelmproof(t *testing.T) {
	t.Parallel()
	const (
		evil     = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"evil"},"spec":{"hostPID":true}}`
		monitor  = `{"apiVersion":"monitoring.coreos.com/v1","kind":"ServiceMonitor","metadata":{"name":"m"}}`
		provider = "on a provider's cluster: it renders Pod evil, which an install does not"
		served   = "where all APIs are served that it asks for: it renders Pod evil, which an install does not"
		through  = "goes through .Capabilities.APIVersions"
		number   = "acts on the number .Release.Revision"
	)
	for name, tt := range map[string]struct{ template, want string }{ // want is in Record.Depends; empty: nothing is
		"a kind":                  {`{{ if .Capabilities.APIVersions.Has "apps/v1/Deployment" }}` + evil + `{{ end }}`, provider},
		"a kind of a subresource": {`{{ if .Capabilities.APIVersions.Has "v1/PodExecOptions" }}` + evil + `{{ end }}`, provider},
		"a group":                 {`{{ if .Capabilities.APIVersions.Has "apiregistration.k8s.io/v1" }}` + evil + `{{ end }}`, provider},
		"metrics":                 {`{{ if .Capabilities.APIVersions.Has "metrics.k8s.io/v1beta1" }}` + evil + `{{ end }}`, provider},
		"a provider's API":        {`{{ if .Capabilities.APIVersions.Has "networking.gke.io/v1" }}` + evil + `{{ end }}`, provider},
		"what no cluster serves":  {`{{ if not (.Capabilities.APIVersions.Has "policy/v1beta1") }}` + evil + `{{ end }}`, provider},
		"what somebody installed": {`{{ if .Capabilities.APIVersions.Has "example.com/v1" }}` + evil + `{{ end }}`, served},
		"but for that":            {`{{ if .Capabilities.APIVersions.Has "example.com/v1" }}{{ else }}` + strings.ReplaceAll(evil, "true", "false") + `{{ end }}`, "it renders no Pod evil, which an install does"},
		"by a made up name":       {`{{ if .Capabilities.APIVersions.Has (print "apps/v1" "/Deployment") }}` + evil + `{{ end }}`, provider},
		"piped":                   {`{{ if "apps/v1/Deployment" | .Capabilities.APIVersions.Has }}` + evil + `{{ end }}`, provider},
		"of a dot":                {`{{ with .Capabilities }}{{ with .APIVersions }}{{ if .Has "apps/v1/Deployment" }}` + evil + `{{ end }}{{ end }}{{ end }}`, provider},
		"in an argument":          {`{{ if and true (not (eq false ($.Capabilities.APIVersions.Has "apps/v1/Deployment"))) }}` + evil + `{{ end }}`, provider},
		"of a chain":              {`{{ if (.Capabilities).APIVersions.Has "apps/v1/Deployment" }}` + evil + `{{ end }}`, provider},
		"through tpl":             {`{{ tpl "{{ if .Capabilities.APIVersions.Has \"apps/v1/Deployment\" }}{{ .Values.evil }}{{ end }}" (merge (dict "Values" (dict "evil" ` + "`" + evil + "`" + `)) .) }}`, provider},
		"through a helper":        {`{{ define "h" }}{{ .ctx.Capabilities.APIVersions.Has .v }}{{ end }}{{ if eq "true" (include "h" (dict "ctx" . "v" "apps/v1/Deployment")) }}` + evil + `{{ end }}`, provider},
		"on an upgrade":           {`{{ if and .Release.IsUpgrade (.Capabilities.APIVersions.Has "apps/v1/Deployment") }}` + evil + `{{ end }}`, "upgrade: it renders Pod evil"},
		"on an upgrade, inside":   {`{{ if .Release.IsUpgrade }}{{ if .Capabilities.APIVersions.Has "apps/v1/Deployment" }}` + evil + `{{ end }}{{ end }}`, "upgrade: it renders Pod evil"},
		"on an install":           {`{{ if .Capabilities.APIVersions.Has "apps/v1/Deployment" }}{{ if .Release.IsInstall }}` + evil + `{{ end }}{{ end }}`, provider},
		"either, not both":        {`{{ if ne .Release.IsUpgrade (.Capabilities.APIVersions.Has "apps/v1/Deployment") }}` + evil + `{{ end }}`, provider},
		"a number of them":        {`{{ if gt (len .Capabilities.APIVersions) 100 }}` + evil + `{{ end }}`, through},
		"a list of them":          {`{{ if has "apps/v1/Deployment" .Capabilities.APIVersions }}` + evil + `{{ end }}`, through},
		"a loop":                  {`{{ range .Capabilities.APIVersions }}{{ end }}`, through},
		"a loop of a variable":    {`{{ $c := .Capabilities }}{{ range $i, $v := $c.APIVersions }}{{ if eq $v "apps/v1/Deployment" }}` + evil + `{{ end }}{{ end }}`, through},
		"as text":                 {`{{ if contains "Deployment" (toString .Capabilities.APIVersions) }}` + evil + `{{ end }}`, through},
		"sorted as text":          {`{{ if contains "Deployment" (first (sortAlpha (list .Capabilities))) }}` + evil + `{{ end }}`, "prints .Capabilities whole"},
		"kept":                    {`{{ $a := .Capabilities.APIVersions }}{{ if $a.Has "apps/v1/Deployment" }}` + evil + `{{ end }}`, provider},
		"EKS":                     {`{{ if contains "eks" .Capabilities.KubeVersion.GitVersion }}` + evil + `{{ end }}`, provider},
		"GKE":                     {`{{ if regexMatch "-gke\\." .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`, provider},
		"no patch of it":          {`{{ if ne .Capabilities.KubeVersion.String "v1.37.0" }}` + evil + `{{ end }}`, provider},
		"all of it":               {`{{ if ne (toString .Capabilities.KubeVersion) "{v1.37.0 v1.37.0 1 37}" }}` + evil + `{{ end }}`, provider},

		"a revision, of all":          {`{{ range $k, $v := . }}{{ if eq $k "Release" }}{{ range $n, $x := $v }}{{ if eq (toString $x) "17" }}` + evil + `{{ end }}{{ end }}{{ end }}{{ end }}`, number},
		"a revision, in a dict":       {`{{ define "h" }}{{ range $k, $v := .ctx }}{{ end }}{{ end }}{{ include "h" (dict "ctx" .) }}`, number},
		"a revision, printed":         {`{{ if contains "Revision: 17" (toYaml (omit . "Capabilities")) }}` + evil + `{{ end }}`, number},
		"a revision, with all":        {`{{ if contains "Revision: 17" (toYaml .) }}` + evil + `{{ end }}`, number},
		"a revision, printed in part": {`{{ range $k, $v := . }}{{ if contains "Revision: 17" (toYaml $v) }}` + evil + `{{ end }}{{ end }}`, number},
		"a revision, got":             {`{{ $r := get . (print "Rel" "ease") }}{{ if eq (toString (get $r (print "Rev" "ision"))) "17" }}` + evil + `{{ end }}`, number},
		"a revision, by index":        {`{{ if eq (toString (index . "Release" (print "Rev" "ision"))) "17" }}` + evil + `{{ end }}`, number},
		"a revision, plucked":         {`{{ $n := "Release" }}{{ range pluck $n . }}{{ end }}`, number},
		"a revision, dug":             {`{{ if eq (toString (dig (print "Rel" "ease") (print "Rev" "ision") 0 (omit . "Values"))) "17" }}` + evil + `{{ end }}`, number},
		"a revision, of values":       {`{{ range values (omit . "Values") }}{{ end }}`, number},
		"a revision, picked":          {`{{ $p := pick . (print "Rel" "ease") }}`, number},
		"a revision, of a copy":       {`{{ range $k, $v := merge (dict "a" 1) . }}{{ end }}`, number},
		"a revision, among others":    {`{{ if has (dict "Revision" 17) (list (pick (index . "Release") "Revision")) }}` + evil + `{{ end }}`, number},

		"upgrade of a plain cluster":        {`{{ if and .Release.IsUpgrade (semverCompare ">=1.20" .Capabilities.KubeVersion.Version) }}` + evil + `{{ end }}`, "Pod evil, which an install does not"},
		"upgrade of one, by a variable":     {`{{ $v := .Capabilities.KubeVersion.Version }}{{ if .Release.IsUpgrade }}{{ if semverCompare ">=1.20" $v }}` + evil + `{{ end }}{{ end }}`, "Pod evil, which an install does not"},
		"upgrade where an API is":           {`{{ if and (.Capabilities.APIVersions.Has "example.com/v1") .Release.IsUpgrade }}` + evil + `{{ end }}`, "where optional APIs"},
		"upgrade where an API is, inside":   {`{{ if .Capabilities.APIVersions.Has "example.com/v1" }}{{ if .Release.IsUpgrade }}` + evil + `{{ end }}{{ end }}`, "where optional APIs"},
		"a provider's where an API is":      {`{{ if .Capabilities.APIVersions.Has "example.com/v1" }}{{ if contains "eks" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}{{ end }}`, "where optional APIs"},
		"a suffix where an API is":          {`{{ if .Capabilities.APIVersions.Has "example.com/v1" }}{{ if not (semverCompare ">=1.20" .Capabilities.KubeVersion.Version) }}` + evil + `{{ end }}{{ end }}`, "where optional APIs"},
		"upgrade, then an API":              {`{{ if and .Release.IsUpgrade (.Capabilities.APIVersions.Has "example.com/v1") }}` + evil + `{{ end }}`, "where all APIs are served that it asks for: it renders Pod evil"},
		"no provider's, then an API":        {`{{ $e := contains "eks" .Capabilities.KubeVersion.Version }}{{ if and (.Capabilities.APIVersions.Has "example.com/v1") (not $e) }}` + evil + `{{ end }}`, "where all APIs are served that it asks for: it renders Pod evil"},
		"metrics on a plain cluster":        {`{{ if not (contains "eks" .Capabilities.KubeVersion.Version) }}{{ if .Capabilities.APIVersions.Has "metrics.k8s.io/v1beta1" }}` + evil + `{{ end }}{{ end }}`, "Pod evil, which an install does not"},
		"no metrics on a provider's":        {`{{ if contains "eks" .Capabilities.KubeVersion.Version }}{{ if not (.Capabilities.APIVersions.Has "metrics.k8s.io/v1beta1") }}` + evil + `{{ end }}{{ end }}`, provider},
		"install, then an object":           {`{{ if and .Release.IsInstall (lookup "v1" "Namespace" "" "kube-system") }}` + evil + `{{ end }}`, "install, lookup finds objects: it renders Pod evil"},
		"an object, then install":           {`{{ if lookup "v1" "Namespace" "" "kube-system" }}{{ if .Release.IsInstall }}` + evil + `{{ end }}{{ end }}`, "lookup finds objects: it renders Pod evil"},
		"one provider's, and not another's": {`{{ if and (contains "eks" .Capabilities.KubeVersion.Version) (not (contains "gke" .Capabilities.KubeVersion.Version)) }}` + evil + `{{ end }}`, provider},
		"one provider's, by its place":      {`{{ $v := splitList "-" .Capabilities.KubeVersion.Version }}{{ if hasPrefix "gke" (join "" (slice (rest (append $v "")) 0 1)) }}` + evil + `{{ end }}`, provider},
		"one provider's, upgrade":           {`{{ $v := .Capabilities.KubeVersion.Version }}{{ if and .Release.IsUpgrade (regexMatch "^[^g]*k3s[^g]*$" $v) }}` + evil + `{{ end }}`, "upgrade: it renders Pod evil"},
		"an object, no provider's":          {`{{ if and (not (contains "eks" .Capabilities.KubeVersion.Version)) (lookup "v1" "Namespace" "" "kube-system") }}` + evil + `{{ end }}`, "upgrade, lookup finds objects: it renders Pod evil"},
		"upgrade, one of two APIs":          {`{{ if and .Release.IsUpgrade (ne (.Capabilities.APIVersions.Has "a.io/v1") (.Capabilities.APIVersions.Has "b.io/v1")) }}` + evil + `{{ end }}`, "where some of the APIs and objects are there that it asks for: it renders Pod evil"},
		"upgrade, an object, an API":        {`{{ if and .Release.IsUpgrade (lookup "v1" "Secret" "a" "b") (.Capabilities.APIVersions.Has "example.com/v1") }}` + evil + `{{ end }}`, "it renders Pod evil"},
		"no provider, then an API":          {`{{ if and (not (contains "eks" .Capabilities.KubeVersion.Version)) (.Capabilities.APIVersions.Has "example.com/v1") }}` + evil + `{{ end }}`, "where all APIs are served that it asks for: it renders Pod evil"},
		"no provider, then an object":       {`{{ if and (not (contains "eks" .Capabilities.KubeVersion.Version)) (lookup "v1" "Secret" "a" "b") }}` + evil + `{{ end }}`, "lookup finds objects: it renders Pod evil"},
		"a version where an object is":      {`{{ if lookup "v1" "Secret" "a" "b" }}{{ if not (semverCompare ">=1.20" .Capabilities.KubeVersion.Version) }}` + evil + `{{ end }}{{ end }}`, "Pod evil, which an install does not"},
		"what is left of a release":         {`{{ if contains "IsUpgrade: true" (toYaml (omit .Release "Revision")) }}` + evil + `{{ end }}`, "Pod evil, which an install does not"},
		"what is left of one, by range":     {`{{ range $k, $v := omit .Release "Revision" "IsInstall" }}{{ if eq (toString $v) "true" }}` + evil + `{{ end }}{{ end }}`, "Pod evil, which an install does not"},
		"what is left of one, as values":    {`{{ if has true (values (omit .Release "Revision" "IsInstall")) }}` + evil + `{{ end }}`, "Pod evil, which an install does not"},
		"a revision, by its path":           {`{{ if eq (toString (.PathValue "Release.Revision")) "17" }}` + evil + `{{ end }}`, number},
		"a revision, by a method":           {`{{ if contains "Revision: 17" .YAML }}` + evil + `{{ end }}`, number},
		"a revision, as a table":            {`{{ if contains "Revision: 17" (toYaml (.Table "Release")) }}` + evil + `{{ end }}`, number},
		"upgrade, as a table":               {`{{ if (index (.Table "Release").AsMap "IsUpgrade") }}` + evil + `{{ end }}`, "Pod evil"},
		"what is left of one, dug":          {`{{ with .Release }}{{ if dig "IsUpgrade" false (omit . "Revision") }}` + evil + `{{ end }}{{ end }}`, "Pod evil, which an install does not"},
		"a range asked before":              {`{{ $x := semverCompare ">=1.20" (dict "KubeVersion" "1.0.0-x").KubeVersion }}{{ if not (semverCompare ">=1.20" .Capabilities.KubeVersion.Version) }}` + evil + `{{ end }}`, provider},

		"what is of use with it":     {`{{ if .Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}` + monitor + `{{ end }}`, ""},
		"another kind of cluster":    {`{{ if .Capabilities.APIVersions.Has "security.openshift.io/v1" }}` + evil + `{{ end }}`, ""},
		"the same either way":        {`{{ if .Capabilities.APIVersions.Has "apps/v1/Deployment" }}` + monitor + `{{ else }}` + monitor + `{{ end }}`, ""},
		"a version that all have":    {`{{ if .Capabilities.APIVersions.Has "apps/v1" }}` + monitor + `{{ end }}`, ""},
		"a version of Kubernetes":    {`{{ if semverCompare ">=1.19-0" .Capabilities.KubeVersion.Version }}` + monitor + `{{ end }}`, ""},
		"major and minor":            {`{{ if and (eq .Capabilities.KubeVersion.Major "1") (ge (int .Capabilities.KubeVersion.Minor) 20) }}` + monitor + `{{ end }}`, ""},
		"values of such names":       {`{{ range .Values.APIVersions }}{{ end }}{{ if contains "x" (toString .Values.Has) }}{{ end }}{{ index (dict "a" 1) (print "a") }}`, ""},
		"a helper that nobody calls": {`{{ define "h" }}{{ range .Capabilities.APIVersions }}{{ end }}{{ end }}` + monitor, ""},
		"all that is given, merged":  {`{{ $x := merge (dict "a" 1) . }}{{ range $x.Values.list }}{{ end }}{{ $x.Release.Name }}`, ""},
		"a loop of values":           {`{{ range $k, $v := .Values }}{{ end }}{{ range $i := until 3 }}{{ end }}{{ range 2 }}{{ end }}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": tt.template}), LoadOptions{})
			said := strings.Join(rel.Record.Depends, "\n")
			if tt.want == provider && strings.Contains(string(rel.Manifests), `"hostPID":true`) {
				return // a cluster as it comes has it: it is judged
			}
			if tt.want == "" && said != "" || !strings.Contains(said, tt.want) {
				t.Errorf("said %q, want %q\n%s", said, tt.want, rel.Manifests)
			}
		})
	}
}

// TestModes: a chart is rendered again only where a template could tell.
func TestModes(t *testing.T) {
	t.Parallel()
	for template, want := range map[string][]string{
		".Release.Name":                                                {modeInstall, modeUpgrade},
		".Release.IsUpgrade":                                           {modeInstall, modeUpgrade},
		".Capabilities.KubeVersion.Minor":                              {modeInstall, modeUpgrade},
		".Capabilities.KubeVersion.Version | quote":                    {modeInstall, modeProvider, modeUpgrade},
		"semverCompare \">=1.19-0\" .Capabilities.KubeVersion.Version": {modeInstall, modeUpgrade},
		"semverCompare \">=1.19\" .Capabilities.KubeVersion.Version":   {modeInstall, modeProvider, modeUpgrade},
		".Capabilities.APIVersions.Has \"apps/v1\"":                    {modeInstall, modeUpgrade},
		".Capabilities.APIVersions.Has \"metrics.k8s.io/v1beta1\"":     {modeInstall, modeProvider, modeUpgrade},
		".Capabilities.APIVersions.Has \"example.com/v1\"":             {modeInstall, modeUpgrade, modeServed},
		"lookup \"v1\" \"Pod\" \"a\" \"b\" | empty | print":            {modeInstall, modeUpgrade, modePresent},
	} {
		rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": "# {{ " + template + " }}\n"}), LoadOptions{})
		if !slices.Equal(rel.Record.Modes, want) {
			t.Errorf("%s: %q, want %q", template, rel.Record.Modes, want)
		}
	}
}

// TestGivenCluster: what the user says of the cluster holds in all renderings.
func TestGivenCluster(t *testing.T) {
	t.Parallel()
	const pod = `{{ if .Capabilities.APIVersions.Has "example.com/v1" }}{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}{{ end }}`
	rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": pod}), LoadOptions{APIVersions: []string{"example.com/v1"}})
	if !strings.Contains(string(rel.Manifests), `"Pod"`) || len(rel.Record.Depends) > 0 {
		t.Errorf("said %q:\n%s", rel.Record.Depends, rel.Manifests)
	}
	const gke = `{{ if contains "-gke." .Capabilities.KubeVersion.Version }}{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}{{ end }}`
	for version, want := range map[string]bool{"v1.37.2-gke.1200": true, "v1.37.2-eks-3025e55": false} {
		rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": gke}), LoadOptions{KubeVersion: version})
		if strings.Contains(string(rel.Manifests), `"Pod"`) != want || len(rel.Record.Depends) > 0 {
			t.Errorf("%s: said %q:\n%s", version, rel.Record.Depends, rel.Manifests)
		}
	}
}

// TestDifferingField: what is told of another object names the first field.
func TestDifferingField(t *testing.T) {
	t.Parallel()
	for template, want := range map[string]string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p-{{ add .Release.Revision 1 }}"}}`:                                                                          "upgrade: it renders Pod p-REVISION, which an install does not\nupgrade: it renders no Pod p-2, which an install does",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"hostPID":{{ .Release.IsUpgrade }}}}`:                                                            "in spec.hostPID",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"a"},{"name":"b","args":["x"{{ if .Release.IsUpgrade }},"y"{{ end }}]}]}}`: "in spec.containers[1].args[1]",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","annotations":{ {{ if .Release.IsUpgrade }}"a.b/c":"d"{{ end }} }}}`:                                      `in metadata.annotations["a.b/c"]`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"p"},"data":{"a":"{{ ternary "dXA=" "b2s=" .Release.IsUpgrade }}"}}`:                                       "in data.a",
	} {
		rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": template}), LoadOptions{})
		if said := strings.Join(rel.Record.Depends, "\n"); !strings.HasSuffix(said, want) {
			t.Errorf("said %q, want %q at its end", said, want)
		}
	}
	rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"hostPID":{{ if lookup "v1" "Pod" "a" "b" }}true{{ else }}false{{ end }}}}`}), LoadOptions{})
	if said := strings.Join(rel.Record.Depends, "\n"); said != "upgrade, lookup finds objects: it renders another Pod p than an install, in spec.hostPID (lookup gave stand-ins without content for the objects of a cluster)" {
		t.Errorf("said %q", said)
	}
}

// TestBroughtAlong: what the chart's own crds folders define is served when Helm renders.
func TestBroughtAlong(t *testing.T) {
	t.Parallel()
	const definition = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: apps.example.com}\nspec:\n  group: example.com\n  names: {kind: App, plural: apps}\n  scope: Namespaced\n" +
		"  versions:\n  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}\n  - {name: v1beta1, served: false, storage: false, schema: {openAPIV3Schema: {type: object}}}\n"
	const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}`
	for name, tt := range map[string]struct {
		version string
		file    string
		shown   bool
	}{
		"version":            {"example.com/v1", "crds/a.yaml", true},
		"kind":               {"example.com/v1/App", "crds/a.yaml", true},
		"another kind":       {"example.com/v1/Other", "crds/a.yaml", false},
		"not served":         {"example.com/v1beta1", "crds/a.yaml", false},
		"of a subchart":      {"example.com/v1", "charts/s/crds/a.yaml", true},
		"of one that is off": {"example.com/v1", "charts/idle/crds/a.yaml", false},
		"a template":         {"example.com/v1", "templates/a.yaml", false},
		"no manifest":        {"example.com/v1", "crds/a.txt", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := mustLoad(t, demoChart(t, map[string]string{
				"Chart.yaml":             "apiVersion: v2\nname: demo\nversion: 1.2.3\ndependencies: [{name: s, version: 0.1.0}, {name: idle, version: 0.1.0, condition: idle.enabled}]\n",
				"values.yaml":            "idle: {enabled: false}\n",
				"charts/s/Chart.yaml":    "apiVersion: v2\nname: s\nversion: 0.1.0\n",
				"charts/idle/Chart.yaml": "apiVersion: v2\nname: idle\nversion: 0.1.0\n",
				"templates/x.yaml":       `{{ if .Capabilities.APIVersions.Has "` + tt.version + `" }}` + pod + `{{ end }}`, tt.file: definition,
			}), LoadOptions{})
			if got := strings.Contains(string(rel.Manifests), `"Pod"`); got != tt.shown {
				t.Errorf("rendered: %v, want %v", got, tt.shown)
			}
			if tt.shown && len(rel.Record.Depends) > 0 {
				t.Errorf("said %q", rel.Record.Depends)
			}
		})
	}
}
