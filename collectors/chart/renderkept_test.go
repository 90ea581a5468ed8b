package chart

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
)

// TestKeptAndChanged: a template that asks for nothing is rendered again where another
// one, on an upgrade or on another cluster, changes what both see.
func TestKeptAndChanged(t *testing.T) {
	t.Parallel()
	const (
		evil    = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"evil"},"spec":{"hostPID":true}}`
		upgrade = `{{ if .Release.IsUpgrade }}%s{{ end }}`
		x       = `{{ if .Values.x }}` + evil + `{{ end }}`
		values  = "m: {y: 1}\nl: [{y: 1}]\nouter: {m: {y: 1}}\nthere: true\n"
	)
	on := func(then string) string { return fmt.Sprintf(upgrade, then) }
	for name, tt := range map[string]struct{ first, then, last string }{
		"the answer itself":        {`{{ $_ := set .Values "x" .Release.IsUpgrade }}`, x, ""},
		"for a moment":             {`{{ $_ := set .Values "x" .Release.IsUpgrade }}`, x, `{{ $_ := unset .Values "x" }}`},
		"on an upgrade":            {on(`{{ $_ := set .Values "x" true }}`), x, ""},
		"what was there":           {on(`{{ $_ := unset .Values "there" }}`), `{{ if not .Values.there }}` + evil + `{{ end }}`, ""},
		"merged":                   {on(`{{ $_ := merge .Values (dict "x" true) }}`), x, ""},
		"merged over":              {on(`{{ $_ := mergeOverwrite .Values (dict "x" true) }}`), x, ""},
		"merged, or an error":      {on(`{{ $_ := mustMerge .Values (dict "x" true) }}`), x, ""},
		"merged over, or an error": {on(`{{ $_ := mustMergeOverwrite .Values (dict "x" true) }}`), x, ""},
		"below what is one's own":  {on(`{{ $d := dict "m" .Values.m }}{{ $_ := mergeOverwrite $d (dict "m" (dict "x" true)) }}`), `{{ if .Values.m.x }}` + evil + `{{ end }}`, ""},
		"merged before":            {on(`{{ $_ := merge (dict) .Values.outer (dict "m" (dict "x" true)) }}`), `{{ if .Values.outer.m.x }}` + evil + `{{ end }}`, ""},
		"picked":                   {on(`{{ $p := pick .Values "m" }}{{ $_ := set $p.m "x" true }}`), `{{ if .Values.m.x }}` + evil + `{{ end }}`, ""},
		"in a list":                {on(`{{ $_ := set (first .Values.l) "x" true }}`), `{{ if (first .Values.l).x }}` + evil + `{{ end }}`, ""},
		"the scope":                {on(`{{ $_ := set . "x" true }}`), `{{ if .x }}` + evil + `{{ end }}`, ""},
		"the release":              {on(`{{ $_ := set .Release "Name" "x" }}`), `{{ if eq .Release.Name "x" }}` + evil + `{{ end }}`, ""},
		"in a helper":              {`{{ define "h" }}{{ $_ := set .Values "x" true }}{{ end }}` + on(`{{ include "h" . }}`), x, ""},
		"through tpl":              {on(`{{ tpl "{{ $_ := set .Values \"x\" true }}" . }}`), x, ""},
		"on a provider's cluster":  {`{{ if contains "eks" .Capabilities.KubeVersion.Version }}{{ $_ := set .Values "x" true }}{{ end }}`, x, ""},
		"where an API is":          {`{{ if .Capabilities.APIVersions.Has "example.com/v1" }}{{ $_ := set .Values "x" true }}{{ end }}`, x, ""},
		"where an object is":       {`{{ if lookup "v1" "Namespace" "" "kube-system" }}{{ $_ := set .Values "x" true }}{{ end }}`, x, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := demoChart(t, map[string]string{"values.yaml": values, "templates/z.yaml": tt.first, "templates/m.yaml": tt.then, "templates/a.yaml": tt.last})
			rel := mustLoad(t, dir, LoadOptions{})
			if !slices.ContainsFunc(rel.Record.Depends, func(d string) bool { return strings.Contains(d, "it renders Pod evil, which an install does not") }) {
				t.Errorf("%q, the Pod is not among them", rel.Record.Depends)
			}
		})
	}
}

// keptChart is a chart of these templates, and what they are rendered with.
func keptChart(templates map[string]string) (*chartv2.Chart, common.Values) {
	c := &chartv2.Chart{Metadata: &chartv2.Metadata{Name: "demo", APIVersion: "v2", Version: "1.0.0"}}
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		c.Templates = append(c.Templates, &common.File{Name: "templates/" + name, Data: []byte(templates[name])})
	}
	caps := common.DefaultCapabilities.Copy()
	caps.KubeVersion = common.KubeVersion{Version: "v1.37.0", Major: "1", Minor: "37"}
	setHelmVersion(caps, false)
	return c, common.Values{
		"Chart": map[string]any{"Name": "demo"}, "Capabilities": caps,
		"Release": map[string]any{"Name": "r", "Namespace": "n", "Service": "Helm", "IsInstall": true, "IsUpgrade": false, "Revision": 1},
		"Values":  common.Values{"a": "b", "m": map[string]any{"n": map[string]any{"k": "v"}}},
	}
}

// keptModes are other renderings: what they are in, and what prepares for them.
func keptModes(t *testing.T, scope common.Values) map[string]func(*rendering) common.Values {
	t.Helper()
	caps := scope["Capabilities"].(*common.Capabilities)
	with := func(caps *common.Capabilities, upgrade bool) common.Values {
		release := maps.Clone(scope["Release"].(map[string]any))
		if upgrade {
			release["IsInstall"], release["IsUpgrade"], release["Revision"] = false, true, otherRevision
		}
		return common.Values{"Chart": scope["Chart"], "Release": release, "Capabilities": caps, "Values": common.Values(copyValue(map[string]any(scope["Values"].(common.Values))).(map[string]any))}
	}
	provider, err := (&load{}).providerCapabilities(caps, 0)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]func(*rendering) common.Values{
		"upgrade":  func(*rendering) common.Values { return with(caps, true) },
		"provider": func(*rendering) common.Values { return with(provider, false) },
		"served":   func(r *rendering) common.Values { r.serves = servedSomewhere; return with(caps, false) },
		"present":  func(r *rendering) common.Values { r.present = true; return with(caps, false) },
	}
}

// TestKept: what is kept of a template serves where it would get the same answers, and
// nowhere else.
func TestKept(t *testing.T) {
	t.Parallel()
	for template, again := range map[string]string{ // where it is rendered again
		`{{ .Values.a }} {{ .Release.Name }} {{ .Chart.Name }}`:                                "",
		`{{ .Capabilities.KubeVersion.Minor }}`:                                                "",
		`{{ .Capabilities.APIVersions.Has "policy/v1" }}`:                                      "",
		`{{ $d := dict "a" 1 }}{{ $_ := set $d "b" 2 }}{{ toYaml (merge $d .Values.m) }}`:      "",
		`{{ .Capabilities.APIVersions.Has "example.com/v1" }}`:                                 "served",
		`{{ .Release.IsUpgrade }}`:                                                             "upgrade",
		`{{ include "upgrade" . }}`:                                                            "upgrade",
		`{{ tpl "{{ .Release.Revision }}" . }}`:                                                "upgrade",
		`{{ range $k, $v := .Release }}{{ $k }}{{ end }}`:                                      "present provider served upgrade", // .Release whole
		`{{ get .Release "IsUpgrade" }}`:                                                       "present provider served upgrade",
		`{{ range $k, $v := . }}{{ $k }}{{ end }}`:                                             "upgrade",
		`{{ .Capabilities.KubeVersion.Version }}`:                                              "provider",
		`{{ semverCompare ">=1.20" .Capabilities.KubeVersion.Version }}`:                       "provider", // of which it is a prerelease
		`{{ semverCompare ">=1.20-0" .Capabilities.KubeVersion.Version }}`:                     "",
		`{{ (lookup "v1" "Secret" "n" "s").data }}`:                                            "present",
		`{{ randAlphaNum 5 }}`:                                                                 "present provider served upgrade",
		`{{ toYaml .Capabilities }}`:                                                           "present provider served upgrade",
		`{{ $c := .Capabilities }}{{ $c.KubeVersion.Minor }}`:                                  "present provider served upgrade",
		`{{ include "helm" . }}`:                                                               "present provider served upgrade",
		`{{ tpl "{{ .Capabilities.HelmVersion.Version }}" . }}`:                                "present provider served upgrade",
		`{{ (index . "Capabilities").KubeVersion.Minor }}`:                                     "present provider served upgrade",
		`{{ len .Capabilities.APIVersions }}`:                                                  "present provider served upgrade",
		`{{ if false }}{{ .Release.IsUpgrade }}{{ .Capabilities.KubeVersion.Version }}{{end}}`: "",
	} {
		t.Run(template, func(t *testing.T) {
			t.Parallel()
			c, scope := keptChart(map[string]string{
				"a.yaml": template, "_h.tpl": `{{ define "upgrade" }}{{ .Release.IsUpgrade }}{{ end }}{{ define "helm" }}{{ .Capabilities.HelmVersion.Version }}{{ end }}`,
			})
			r, k := firstRendering(t, c, scope)
			if r.changed {
				t.Fatal("it changes what others see")
			}
			var got []string
			for mode, prepare := range keptModes(t, scope) {
				r.serves, r.present = nil, false
				sources, err := inScope(t.Context(), c, r.sources, prepare(r.rendering))
				if err != nil {
					t.Fatal(err)
				}
				r.kept = k
				for i := range sources {
					if caps, release := answering(sources); sources[i].name == "templates/a.yaml" {
						if _, same := r.same(&sources[i], caps, release); !same {
							got = append(got, mode)
						}
					}
				}
			}
			slices.Sort(got)
			if strings.Join(got, " ") != again {
				t.Errorf("rendered again: %q, want %q", got, again)
			}
		})
	}
}

// firstRendering renders an install that is kept.
func firstRendering(t *testing.T, c *chartv2.Chart, scope common.Values) (*templates, *kept) {
	t.Helper()
	own := maps.Clone(scope)
	own["Values"] = common.Values(copyValue(map[string]any(scope["Values"].(common.Values))).(map[string]any))
	sources, err := chartSources(t.Context(), c, own)
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseSources(t.Context(), sources)
	if err != nil {
		t.Fatal(err)
	}
	k := r.keep(sources)
	r.keeping = k
	if _, err := r.render(sources, new(recorder)); err != nil {
		t.Fatal(err)
	}
	r.keeping, r.asking = nil, nil
	return r, k
}

// TestKeptIsRendered: charts of templates that ask, change and act on it by chance are
// rendered the same with what is kept, and without.
func TestKeptIsRendered(t *testing.T) {
	t.Parallel()
	pieces := []string{
		`{{ .Release.IsUpgrade }}`, `{{ .Release.Name }}`, `{{ .Capabilities.KubeVersion.Version }}`, `{{ .Capabilities.APIVersions.Has "example.com/v1" }}`, `{{ .Capabilities.APIVersions.Has "v1/Pod" }}`,
		`{{ semverCompare ">=1.20" .Capabilities.KubeVersion.Version }}`, `{{ lookup "v1" "Secret" "n" "s" | toYaml }}`, `{{ randAlphaNum 8 }}`, `{{ include "h" . }}`, `{{ include "version" . }}`,
		`{{ if .Release.IsUpgrade }}{{ randAlphaNum 8 }}{{ end }}`, `{{ toYaml .Values }}`, `{{ .Values.x }}`, `{{ .Values.m.x }}`, `{{ .Values.m.n.x }}`, `{{ .Capabilities.HelmVersion.Version }}`,
		`{{ $_ := set .Values "x" "1" }}`, `{{ $_ := set .Values "x" .Release.IsUpgrade }}`, `{{ $_ := unset .Values "x" }}`, `{{ $_ := set .Values.m "x" (lookup "v1" "Secret" "n" "s") }}`,
		`{{ if .Release.IsUpgrade }}{{ $_ := merge .Values.m (dict "x" "2") }}{{ end }}`, `{{ $_ := merge (dict) .Values.m (dict "n" (dict "x" .Capabilities.KubeVersion.Version)) }}`,
		`{{ $_ := mergeOverwrite (deepCopy .Values.m) (dict "n" (dict "x" .Release.IsUpgrade)) }}`, `{{ tpl "{{ .Release.IsInstall }}{{ .Values.x }}" . }}`, `{{ with .Capabilities }}{{ .KubeVersion.Version }}{{ end }}`,
		`{{ range $k, $v := .Release }}{{ $k }}={{ $v }} {{ end }}`, `{{ $v := .Capabilities.KubeVersion }}{{ $v.Version }}`,
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same charts each time
	reused, whole := 0, 0
	for range 400 {
		files := map[string]string{"_h.tpl": `{{ define "h" }}{{ .Values.x }}{{ end }}{{ define "version" }}{{ default .Capabilities.KubeVersion.Version .Values.none }}{{ end }}`}
		for _, name := range []string{"a.yaml", "b.yaml", "c.yaml", "NOTES.txt"} {
			for range 1 + random.IntN(2) {
				files[name] += pieces[random.IntN(len(pieces))] + "\n"
			}
		}
		c, scope := keptChart(files)
		r, k := firstRendering(t, c, scope)
		if r.changed {
			whole++
			continue
		}
		modes := keptModes(t, scope)
		for _, mode := range slices.Sorted(maps.Keys(modes)) {
			render := func(kept *kept) map[string]string {
				r.serves, r.present, r.kept = nil, false, kept
				sources, err := inScope(t.Context(), c, r.sources, modes[mode](r.rendering))
				if err != nil {
					t.Fatal(err)
				}
				out, err := r.render(sources, new(recorder))
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			got := render(k)
			if r.changed {
				whole++
				continue
			}
			reused++
			if diff := cmp.Diff(render(nil), got); diff != "" {
				t.Fatalf("%s of %v (-rendered +kept):\n%s", mode, files, diff)
			}
		}
	}
	if reused < 100 || whole < 100 {
		t.Errorf("%d renderings with what is kept, %d without: too few to say something", reused, whole)
	}
}
