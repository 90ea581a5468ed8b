package chart

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	chartcommon "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
)

// renderBoth renders a chart's files here and with Helm's own engine, which gets
// the same replacements of unrepeatable functions.
func renderBoth(t *testing.T, files []chartFile, user map[string]any) (ours, helms map[string]string, oursErr, helmsErr error) {
	t.Helper()
	scope := func() (*rendering, []sourceFile, func() (map[string]string, error)) {
		c, err := loader.LoadFiles(buffered(files))
		if err != nil {
			t.Fatal(err)
		}
		sortDependencies(c)
		vals := copyValue(user).(map[string]any)
		if err := chartutil.ProcessDependencies(c, vals); err != nil {
			t.Fatal(err)
		}
		l := &load{}
		caps, err := l.capabilities()
		if err != nil {
			t.Fatal(err)
		}
		v, err := chartcommon.ToRenderValuesWithSchemaValidation(c, vals,
			common.ReleaseOptions{Name: "rel", Namespace: "ns", Revision: 1, IsInstall: true}, caps, true)
		if err != nil {
			t.Fatal(err)
		}
		r := &rendering{err: t.Context().Err, rec: new(recorder), tpls: map[string]*template.Template{}}
		sources, err := chartSources(t.Context(), c, v)
		if err != nil {
			t.Fatal(err)
		}
		return r, sources, func() (map[string]string, error) {
			custom := r.generatedFunctions()
			custom["keys"], custom["values"] = r.keys, r.values
			return engine.Engine{CustomTemplateFuncs: custom}.RenderWithContext(t.Context(), c, v)
		}
	}
	_, sources, _ := scope()
	ours, oursErr = renderSources(t.Context(), sources, new(recorder))
	_, _, helm := scope()
	rendered, helmsErr := helm()
	helms = map[string]string{}
	for name, text := range rendered {
		_, name, _ = strings.Cut(name, "/")
		if !strings.HasSuffix(name, "NOTES.txt") {
			helms[name] = text
		}
	}
	return ours, helms, oursErr, helmsErr
}

// TestRenderCorpus compares with Helm's engine on the charts below the folder
// that HELMPROOF_CHARTS names.
func TestRenderCorpus(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("HELMPROOF_CHARTS")
	if dir == "" {
		t.Skip("HELMPROOF_CHARTS names no folder of charts")
	}
	same, failed := 0, 0
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		dirs, err := filepath.Glob(filepath.Join(dir, pattern, "Chart.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range dirs {
			d = filepath.Dir(d)
			files, err := readChartDir(d, true)
			if err != nil {
				t.Errorf("%s: %v", d, err)
				continue
			}
			if _, err := loader.LoadFiles(buffered(files)); err != nil {
				t.Logf("%s: %v", d, err)
				continue
			}
			ours, helms, oursErr, helmsErr := renderBoth(t, files, map[string]any{})
			if (oursErr == nil) != (helmsErr == nil) {
				t.Errorf("%s:\nours  %v\nhelm's %v", d, oursErr, helmsErr)
				continue
			}
			if oursErr != nil {
				failed++
				short, _ := renderProblem(oursErr, filepath.Base(d))
				t.Logf("%s:\n  ours  %v\n  helm's %v", d, short, helmsErr)
				continue
			}
			same++
			if diff := cmp.Diff(helms, ours); diff != "" {
				t.Errorf("%s: differs from Helm (-helm +ours):\n%s", d, diff)
			}
		}
	}
	t.Logf("%d charts render alike, %d fail in both", same, failed)
}

// TestHelmFunctions fails when Helm's engine gets a function that is missing here.
func TestHelmFunctions(t *testing.T) {
	t.Parallel()
	pkg, err := build.Import("helm.sh/helm/v4/pkg/engine", ".", build.FindOnly)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.Dir, "funcs.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours := (&rendering{rec: new(recorder)}).functions()
	found := 0
	ast.Inspect(f, func(n ast.Node) bool {
		if kv, ok := n.(*ast.KeyValueExpr); ok {
			if lit, ok := kv.Key.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				name, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				if found++; ours[name] == nil {
					t.Errorf("function %s of Helm's engine is missing", name)
				}
			}
		}
		return true
	})
	if found < 25 {
		t.Errorf("found %d functions in %s, want at least 25", found, pkg.Dir)
	}
	for _, name := range []string{"env", "expandenv"} {
		if ours[name] != nil {
			t.Errorf("function %s gives the machine's environment away", name)
		}
	}
	plain := sprig.TxtFuncMap()
	r := &rendering{rec: new(recorder)}
	bounded := r.boundedTexts(plain)
	maps.Copy(bounded, r.boundedLists(plain))
	for _, name := range []string{"indent", "nindent", "wrap", "wrapWith", "split", "splitn", "until", "untilStep", "seq", "concat"} {
		if bounded[name] == nil {
			t.Errorf("function %s is not bounded: its type in sprig changed", name)
		}
	}
}

func TestRenderLikeHelm(t *testing.T) {
	t.Parallel()
	charts := map[string]map[string]string{
		"scopes": {
			"values.yaml":                        "a: 1\nsub: {b: 2, global: {g: 3}}\nglobal: {h: 4}\n",
			"Chart.yaml":                         chartYAML + "dependencies: [{name: sub, version: 0.1.0, alias: other}, {name: sub, version: 0.1.0}]\n",
			"charts/sub/Chart.yaml":              "apiVersion: v2\nname: sub\nversion: 0.1.0\n",
			"charts/sub/values.yaml":             "c: 5\n",
			"charts/sub/templates/x.yaml":        `{{ toYaml .Values }} {{ .Chart.Name }} {{ .Chart.IsRoot }} {{ .Template.Name }} {{ .Template.BasePath }} {{ include "who" . }}`,
			"charts/sub/templates/_who.tpl":      `{{ define "who" }}sub{{ end }}`,
			"templates/_who.tpl":                 `{{ define "who" }}root{{ end }}`,
			"templates/y.yaml":                   `{{ toYaml .Values }} {{ .Release.Name }} {{ .Release.Namespace }} {{ .Release.IsInstall }} {{ .Release.Revision }} {{ include "who" . }} {{ typeOf . }} {{ .Subcharts.sub.Values.c }}`,
			"templates/files.yaml":               `{{ range $p, $b := .Files.Glob "conf/*" }}{{ $p }}={{ $b | toString }};{{ end }}{{ .Files.Get "conf/a" }}{{ (.Files.Glob "conf/*").AsConfig }}{{ (.Files.Glob "conf/*").AsSecrets }}{{ .Files.Get "../../etc/passwd" }}|{{ .Files.Get "/etc/passwd" }}{{ range .Files.Lines "conf/a" }}<{{ . }}>{{ end }}`,
			"conf/a":                             "1\n2\n",
			"conf/b":                             "3",
			"charts/lib/Chart.yaml":              "apiVersion: v2\nname: lib\nversion: 0.1.0\ntype: library\n",
			"charts/lib/templates/_l.tpl":        `{{ define "lib" }}lib {{ . }}{{ end }}`,
			"charts/lib/templates/ignored.yaml":  `{{ fail "not rendered" }}`,
			"templates/lib.yaml":                 `{{ include "lib" "x" }}{{ template "lib" 3 }}{{ template "lib" }}{{ template "lib" (dict "a" 1) }}`,
			"templates/capabilities.yaml":        `{{ .Capabilities.KubeVersion }} {{ .Capabilities.KubeVersion.Minor }} {{ .Capabilities.APIVersions.Has "apps/v1" }} {{ .Capabilities.APIVersions.Has "x/v1" }}`,
			"templates/NOTES.txt":                "{{ .Values.a }}",
			"templates/sub/templates/again.yaml": `{{ .Template.BasePath }}`,
		},
		"tpl": {
			"values.yaml":        "plain: no\ntext: \"a {{ .Values.plain }} b\"\nnested: \"{{ tpl .Values.text $ }}{{ include \\\"n\\\" . }}\"\nown: \"{{ define \\\"inner\\\" }}in {{ . }}{{ end }}{{ include \\\"inner\\\" 7 }}{{ template \\\"inner\\\" 8 }}\"\nmissing: \"{{ .Values.none }}|{{ .none }}|{{ template \\\"n\\\" }}\"\n",
			"templates/_n.tpl":   `{{ define "n" }}named {{ tpl "{{ 1 }}" . }}{{ end }}`,
			"templates/a.yaml":   `{{ tpl .Values.text . }} {{ tpl .Values.text . }} {{ tpl .Values.nested $ }} {{ tpl .Values.own . }} {{ tpl .Values.missing . }} {{ tpl "<no value>" . }} {{ tpl "" . }}`,
			"templates/b.yaml":   `{{ .Values.none }}{{ .Values.none | quote }}{{ printf "%v" .Values.none }} {{ "<no value>" }}`,
			"templates/blk.yaml": `{{ block "blk" .Values.plain }}<{{ . }}>{{ end }}{{ with $x := 3 }}{{ $x }}{{ else }}no{{ end }}{{ range $i, $e := list 1 2 }}{{ if eq $i 1 }}{{ break }}{{ end }}{{ $e }}{{ template "blk" $i }}{{ else }}none{{ end }}{{ range list }}x{{ else }}none{{ end }}`,
		},
		"functions": {
			"values.yaml": "m: {b: 1, a: [x, 2.5, true, null]}\n",
			"templates/a.yaml": `{{ toYaml .Values.m }} {{ mustToYaml .Values.m }} {{ toYamlPretty .Values.m }} {{ toJson .Values.m }} {{ mustToJson .Values.m }} {{ toPrettyJson .Values.m }} {{ toToml (dict "a" 1 "b" (dict "c" "d")) }} {{ mustToToml (dict "a" 1) }}
{{ fromYaml "a: {b: 1}" }} {{ fromYaml "a: [" }} {{ fromYamlArray "[1, a]" }} {{ fromYamlArray "a: 1" }} {{ fromJson "{\"a\": 1.5}" }} {{ fromJson "nope" }} {{ fromJsonArray "[1]" }} {{ fromJsonArray "{" }} {{ fromToml "a = 1" }} {{ fromToml "=" }} {{ toJson (dict "a" (fromYaml "x: 1").x) }}
{{ durationSeconds "1h" }} {{ durationHours 7200 }} {{ mustToDuration "90s" }} {{ durationRoundTo "2h13m" "1h" }} {{ durationTruncateTo "2h53m" "1h" }} {{ durationDays "x" }} {{ durationMinutes "2h" | int }}
{{ repeat 3 "ab" }} {{ join "," (list 1 2) }} {{ cat 1 "x" nil }} {{ indent 2 "a\nb" }}{{ nindent 2 "c" }} {{ until 3 }} {{ untilStep 1 9 3 }} {{ seq 2 5 }} {{ seq 5 1 }} {{ replace "a" "bb" "aca" }} {{ print 1 2 "x" "y" }} {{ println "z" 1 }} {{ printf "%05d %s" 7 "q" }} {{ repeat 0 "x" }} {{ untilStep 3 0 -1 }} {{ indent 0 "x" }}
{{ required "msg" 0 }} {{ lookup "v1" "Secret" "ns" "n" }} {{ (lookup "v1" "Pod" "" "").items }} {{ getHostByName "localhost" }}| {{ keys (dict "b" 1 "a" 2) | sortAlpha }} {{ semverCompare ">=1.2" "1.3" }} {{ b64enc "x" | b64dec }} {{ sha256sum "x" }} {{ dig "x" "b" "none" .Values.m }} {{ ternary 1 2 true }} {{ regexReplaceAll "a(x*)b" "-ab-axxb-" "${1}W" }} {{ .Values.m | toString }}{{ $x := list 1 }}{{ $x = append $x 2 }}{{ $x }} {{ set .Values "new" 1 | len }}
{{ genCA "ca" 10 | toYaml }} {{ (genSelfSignedCert "cn" (list "1.2.3.4") (list "a.b") 10).Key }} {{ randAlphaNum 8 }} {{ now | date "2006" }} {{ uuidv4 }}`,
			"templates/b.yaml": `{{ .Values.new }}`,
		},
	}
	for name, files := range charts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			read, err := readChartDir(demoChart(t, files), false)
			if err != nil {
				t.Fatal(err)
			}
			ours, helms, oursErr, helmsErr := renderBoth(t, read, map[string]any{})
			if oursErr != nil || helmsErr != nil {
				t.Fatalf("errors: ours %v, Helm's %v", oursErr, helmsErr)
			}
			if diff := cmp.Diff(helms, ours); diff != "" {
				t.Errorf("differs from Helm (-helm +ours):\n%s", diff)
			}
			if len(ours) == 0 {
				t.Error("nothing was rendered")
			}
		})
	}
}
