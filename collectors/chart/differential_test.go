package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
	"unicode/utf8"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/companyos/helmproof/internal/manifest"
)

// installed maps objects, by what they are and which hooks they belong to, to
// their content.
type installed map[string]string

func (in installed) add(o *unstructured.Unstructured, hooks []string) error {
	raw, err := json.Marshal(o.Object)
	if err != nil {
		return err
	}
	// Blank lines at the end of a document count with "|+", and are not sealed;
	// a namespace of null is none.
	content := strings.ReplaceAll(ends.ReplaceAllString(string(raw), `"`), `,"namespace":null`, "")
	hooks = slices.Sorted(slices.Values(hooks))
	id := strings.Join([]string{o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName(), strings.Join(hooks, ",")}, "|")
	for in[id] != "" { // rendered twice
		id += "+"
	}
	in[id] = content
	return nil
}

var ends = regexp.MustCompile(`(\\n)+"`)

// build reads a stream by the code that Helm and kubectl read it with.
func (in installed) build(stream []byte, hooks []string) error {
	infos, err := resource.NewLocalBuilder().ContinueOnError().Flatten().Unstructured().
		Stream(bytes.NewReader(stream), "").Do().Infos()
	if err != nil {
		return err
	}
	for _, i := range infos {
		o := i.Object.(*unstructured.Unstructured)
		if o.GetAPIVersion() == "" || o.GetKind() == "" {
			return fmt.Errorf("no kind or apiVersion: %v", o.Object) // no server has a resource for it
		}
		if err := in.add(o, hooks); err != nil {
			return err
		}
	}
	return nil
}

// errHook is what Helm notices only when it runs the hook.
var errHook = errors.New("hook")

// helmInstalls returns what Helm's own library hands to the API server when it
// installs a chart. An error means that it does not.
func helmInstalls(t *testing.T, files []chartFile) (installed, error) {
	t.Helper()
	c, err := loader.LoadFiles(buffered(files))
	if err != nil {
		return nil, err
	}
	sortDependencies(c)
	r := &rendering{err: t.Context().Err, rec: new(recorder), tpls: map[string]*template.Template{}}
	config := action.NewConfiguration()
	config.CustomTemplateFuncs = r.generatedFunctions()
	config.CustomTemplateFuncs["keys"], config.CustomTemplateFuncs["values"] = r.keys, r.values
	run := action.NewInstall(config)
	run.ReleaseName, run.Namespace, run.DryRunStrategy = "rel", "ns", action.DryRunClient
	run.SkipSchemaValidation = true // CHT-2 judges it
	caps, err := (&load{}).capabilities()
	if err != nil {
		return nil, err
	}
	run.KubeVersion, run.APIVersions = &caps.KubeVersion, caps.APIVersions
	done, err := run.RunWithContext(t.Context(), c, map[string]any{})
	if err != nil {
		return nil, err
	}
	rel := done.(*releasev1.Release)
	out := installed{}
	if err := out.build([]byte(rel.Manifest), nil); err != nil {
		return nil, err
	}
	for _, h := range rel.Hooks {
		var events []string
		for _, e := range h.Events {
			events = append(events, string(e))
		}
		if err := out.build([]byte(h.Manifest), events); err != nil {
			return nil, fmt.Errorf("%w: %w", errHook, err)
		}
	}
	for _, crd := range c.CRDObjects() {
		if err := out.build(crd.File.Data, nil); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// seen is what is judged of a release. left has objects of hooks that Helm does
// not know, which it installs never.
func seen(set *manifest.ObjectSet) (out, left installed, err error) {
	out, left = installed{}, installed{}
	for i := range set.Objects {
		o := &set.Objects[i]
		var hooks []string
		to := out
		if !ofCRDs.MatchString(o.File) {
			hooks = o.Hooks()
		}
		for i, h := range hooks {
			if hooks[i] = strings.ToLower(h); hooks[i] == "test-success" {
				hooks[i] = "test"
			}
			if !helmEvents[hooks[i]] {
				to = left
			}
		}
		if err := to.add(&o.Unstructured, hooks); err != nil {
			return nil, nil, err
		}
	}
	return out, left, nil
}

// ofCRDs matches files in which hooks are nothing to Helm.
var ofCRDs = regexp.MustCompile(`^(charts/[^/]+/)*crds/`)

var helmEvents = map[string]bool{
	"pre-install": true, "post-install": true, "pre-delete": true, "post-delete": true, "pre-upgrade": true, "post-upgrade": true,
	"pre-rollback": true, "post-rollback": true, "test": true,
}

// afterJSON is what kubectl says of what follows JSON objects and is none.
var afterJSON = regexp.MustCompile(`looking for beginning of value|in numeric literal`)

// unusual is what makes of a broken document one that kubectl leaves unread, or
// reads as JSON only.
var unusual = regexp.MustCompile(`[\r\x{85}\x{2028}\x{2029}]|\n%|\n\.\.\.`)

// stricter are reasons for which a document is refused that Kubernetes' clients
// read: where two readers may disagree, nothing passes.
var stricter = regexp.MustCompile(`already set in map|a second document|found duplicate %|did not find expected (node content|<document start>)|after the end of the document|Helm takes it for|^a line end that is no line feed|` +
	`^text after ---|control characters are not allowed|byte order mark|^a document marker|^line ends in what is JSON|^metadata|^annotation helm.sh/hook|^no kind|^no apiVersion|^items\[`)

// difference says what is seen otherwise than Helm installs it; empty is fine.
// note names the kind of agreement.
func difference(want installed, wantErr error, set *manifest.ObjectSet, gotErr error) (problem, note string) {
	switch {
	case gotErr != nil && wantErr == nil:
		return "refused here, installed by Helm: " + gotErr.Error(), ""
	case gotErr != nil:
		return "", "refused by both"
	case wantErr != nil && len(set.Broken) > 0:
		return "", "refused by Helm, broken here"
	case wantErr != nil && afterJSON.MatchString(wantErr.Error()):
		return "", "refused for what follows JSON"
	case errors.Is(wantErr, errHook):
		return "", "refused by Helm when it runs a hook"
	case wantErr != nil:
		return "Helm refuses it, nothing here says so: " + wantErr.Error(), ""
	}
	got, left, err := seen(set)
	if err != nil {
		return err.Error(), ""
	}
	if len(set.Broken) > 0 {
		for _, b := range set.Broken {
			if !stricter.MatchString(b.Error) {
				return "installed by Helm, broken here: " + b.Error, ""
			}
		}
		return "", "installed by Helm, not read here"
	}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if _, ok := got[id]; !ok {
			return fmt.Sprintf("installed by Helm, not seen here: %s\nseen: %v\nleft: %v", want[id], got, left), ""
		}
		if got[id] != want[id] {
			return fmt.Sprintf("installed by Helm as\n%s, seen here as\n%s", want[id], got[id]), ""
		}
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[id]; !ok {
			return "seen here, not installed by Helm: " + got[id], ""
		}
	}
	return "", "alike"
}

// quiet keeps Helm from logging hooks that it does not know.
var quiet = sync.OnceFunc(func() { slog.SetLogLoggerLevel(slog.LevelError) })

// generator makes up streams of documents.
type generator struct {
	*rand.Rand
	n    int  // objects made
	calm bool // little in it that anybody refuses
}

func (g *generator) pick(of ...string) string { return of[g.IntN(len(of))] }

// end is a line end, one of YAML's most of the time.
func (g *generator) end() string {
	if g.calm || g.IntN(4) > 0 {
		return "\n"
	}
	return g.pick("\n", "\n\n", "\r\n", "\r", "\u0085", "\u2028", "\u2029", "\v", "\f", "\r\r\n", " \n", "\t\n", "")
}

func (g *generator) object() string {
	g.n++
	name := fmt.Sprintf("o%d", g.n)
	hook := g.pick("", "", "", "pre-install", "test", "nosuch", "post-install,pre-upgrade", "Test-Success", " ", "test,")
	annotations := ""
	if hook != "" {
		annotations = ", annotations: {helm.sh/hook: \"" + hook + "\"}"
	}
	quoted := strings.NewReplacer("annotations: {helm.sh/hook:", `"annotations":{"helm.sh/hook":`).Replace(annotations)
	kind := g.pick("ConfigMap", "Pod", "NetworkPolicy", "Secret")
	nl := "\n"
	if g.IntN(8) == 0 {
		nl = g.end()
	}
	block := func(s string) string { return strings.ReplaceAll(s, "\n", nl) }
	shape := g.IntN(14)
	if g.calm {
		shape = shape * 7 / 14
	}
	switch shape {
	case 0, 1, 2:
		return block("apiVersion: v1\nkind: " + kind + "\nmetadata: {name: " + name + annotations + "}")
	case 3, 4:
		return block("kind: " + kind + " # c\napiVersion: v1\nmetadata:\n  name: " + name + "\n  namespace: \"n\"\ndata:\n  k: |\n    text\n    ---\n     # no comment\n  l: a")
	case 5, 6:
		return `{"apiVersion":"v1","kind":"` + kind + `","metadata":{"name":"` + name + `"` + quoted + ` }}`
	case 7:
		return `{"apiVersion":"v1","kind":"` + kind + `","metadata":{"name":"` + name + `"}}` + g.pick("", "\n", " ") + `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x` + name + `"}}`
	case 8:
		return block("apiVersion: v1\nkind: List\nmetadata: {" + strings.TrimPrefix(annotations, ", ") + "}\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: " + name + "}}\n- {apiVersion: v1, kind: Pod, metadata: {name: y" + name + ", annotations: {helm.sh/hook: test}}}")
	case 9:
		return block("apiVersion: v1\nkind: " + g.pick("List", "ConfigMapList", "Pod") + "\nmetadata: {name: " + name + "}\nitems: " +
			g.pick("", "null", "[]", "{a: b}", "[{metadata: {name: "+name+"}}]", "[{kind: Pod, metadata: {name: "+name+"}}]", "[[]]", "[null]"))
	case 10:
		return block("apiVersion: &v v1\nkind: Pod\nmetadata: &m {name: " + name + "}\nspec: {a: *v, b: *m, <<: {c: d}}")
	case 11:
		return block("apiVersion: v1\n" + g.pick("Kind: Pod\nkind: ConfigMap", "kind: Pod\nkind: Secret", "KIND: Pod", "kind: null") + "\n" +
			g.pick("metadata", "Metadata", "metadata: {name: "+name+"}\nMETADATA") + ": {name: " + name + annotations + "}")
	case 12:
		return block("apiVersion: v1\nkind: ConfigMap\nmetadata: " + g.pick("null", "[]", "text", "{name: [a]}", "{name: 1}", "{name: "+name+", annotations: {a: 1, helm.sh/hook: test}}", "{annotations: []}"))
	}
	return block(`"apiVersion": 'v1'` + "\n? kind\n: \"" + kind + "\"\nmetadata:\n  name: >-\n    " + name + "\nspec: \"a\n  b\"")
}

// text is a stream of documents: valid ones, and what may come between them.
func (g *generator) text() string {
	var b strings.Builder
	for range 1 + g.IntN(6) {
		switch g.IntN(12) {
		case 0, 1, 2, 3:
			b.WriteString(g.object())
			if g.calm || g.IntN(4) > 0 {
				b.WriteString("\n---")
			}
		case 4, 5, 6:
			b.WriteString("---")
			if g.calm {
				b.WriteString(g.pick("", " ", " # c", "\t", "\n"))
				break
			}
			b.WriteString(g.pick("", "", "", "", " ", "\t", "\r", " # c", "#c", "\t#c", " # c\r", " # c\u0085kind: Pod", "-", "kind: Pod", " |", " {}", "\u00a0", "\u2028", " "+g.object(), g.object()))
		case 7, 8:
			if g.calm {
				b.WriteString(g.pick("# c", "# Source: demo/templates/x.yaml") + g.pick("\r", "\u0085", "\u2028", "\u2029", "\n") + g.object() + "\n---")
				break
			}
			b.WriteString(g.pick("# c", "# Source: demo/templates/x.yaml", "# Source: a\r"+g.object(), "  # c", "\t# c", "#", "# c\u2028"+g.object(), "# c\u0085"+g.object(), "# \r\r"))
		case 9:
			if g.calm {
				break
			}
			b.WriteString(g.pick("...", "... # c", "%YAML 1.1", "%TAG !a! tag:x,2000:", "null", "~", "text", "''", "- a", "\ufeff", "\u00a0", "\t", " ", "\x00", "\ufeff---", " ---", "\t---", "\u0085---", "\v---", "--"))
		case 10:
			b.WriteString(strings.Repeat(" ", 1+g.IntN(3)))
			b.WriteString(g.object())
			if g.calm {
				b.WriteString("\n---")
			}
		default:
			b.WriteString(g.end())
		}
		b.WriteString(g.end())
	}
	s := b.String()
	for !g.calm && g.IntN(6) == 0 { // and something where nobody expects it
		at := g.IntN(len(s) + 1)
		s = s[:at] + g.pick("\r", "\n", "\u0085", "\u2028", "\n---", "---", "\n...\n", "#", " ", "\t", "\"", "'", "{", "}", ":", ",", "\n---\n", "\ufeff", "|", "&a ", "\x01") + s[at:]
	}
	return strings.ReplaceAll(s, "{{", "{ {")
}

// chart is a chart around such streams: as a template, through a value, glued to
// what is before it, as a hook's file, in crds/ and in a subchart.
func (g *generator) chart() []chartFile {
	values := func(s string) []byte { return []byte("text: " + strconv.QuoteToASCII(s) + "\n") }
	files := []chartFile{{"Chart.yaml", []byte(chartYAML)}, {"values.yaml", values(g.text())}}
	for i := range 1 + g.IntN(2) {
		text := g.text()
		switch g.IntN(6) {
		case 0:
			text = "{{ .Values.text }}"
		case 1:
			text = "# " + g.pick("", "Source: ") + "{{ .Values.text }}" + g.end() + text
		case 2:
			text += g.end() + "---" + g.end() + "{{- if true -}}" + g.end() + g.text() + "{{ end }}"
		}
		files = append(files, chartFile{fmt.Sprintf("templates/%s%d%s", g.pick("a", "a", "a", "_p", "NOTES.txt"), i, g.pick(".yaml", ".yaml", ".txt", "")), []byte(text)})
	}
	switch g.IntN(6) {
	case 0:
		files = append(files, chartFile{"crds/c" + g.pick(".yaml", ".YML", ".json", ".txt"), []byte(g.text())})
	case 1:
		files = append(files, chartFile{"charts/sub/Chart.yaml", []byte("apiVersion: v2\nname: sub\nversion: 1.0.0\n")},
			chartFile{"charts/sub/templates/a.yaml", []byte(g.text())}, chartFile{"charts/sub/crds/c.yaml", []byte(g.text())})
	}
	return files
}

// runs is how many charts are generated: HELMPROOF_GENERATED, or a few.
func runs(t *testing.T) int {
	t.Helper()
	s := os.Getenv("HELMPROOF_GENERATED")
	if s == "" {
		return 1000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("HELMPROOF_GENERATED: %v", err)
	}
	return n
}

// TestSeesWhatHelmInstalls holds the objects that are judged to those that Helm's
// library installs, on generated charts.
func TestSeesWhatHelmInstalls(t *testing.T) {
	t.Parallel()
	quiet()
	notes, failed := map[string]int{}, 0
	for i := range runs(t) {
		g := &generator{Rand: rand.New(rand.NewPCG(12, uint64(i))), calm: i%2 == 0}
		files := g.chart()
		want, wantErr := helmInstalls(t, files)
		rel := new(Release)
		gotErr := (&load{ref: "generated", o: LoadOptions{ReleaseName: "rel", Namespace: "ns"}}).fromFiles(t.Context(), rel, files)
		set := new(manifest.ObjectSet)
		if gotErr == nil {
			set, gotErr = rel.Objects()
		}
		problem, note := difference(want, wantErr, set, gotErr)
		notes[note]++
		if problem != "" {
			t.Errorf("chart %d: %s", i, problem)
			for _, f := range files[1:] {
				t.Logf("%s: %q", f.name, f.data)
			}
			if failed++; failed > 5 {
				t.FailNow()
			}
		}
	}
	t.Log(notes)
}

// TestSeesWhatKubectlApplies does the same for plain manifests.
func TestSeesWhatKubectlApplies(t *testing.T) {
	t.Parallel()
	notes, failed := map[string]int{}, 0
	for i := range runs(t) {
		g := &generator{Rand: rand.New(rand.NewPCG(13, uint64(i))), calm: i%2 == 0}
		raw := []byte(g.text())
		want := installed{}
		asRead, _, err := transform.Bytes(unicode.BOMOverride(unicode.UTF8.NewDecoder()), raw) // as kubectl does
		if err != nil {
			t.Fatal(err)
		}
		wantErr := want.build(asRead, nil)
		set := new(manifest.ObjectSet)
		stream, _, gotErr := manifestStream([]chartFile{{"a.yaml", raw}}, i%2 == 0)
		if gotErr == nil {
			set, gotErr = manifest.Parse(stream)
		}
		for j := range set.Objects { // hooks are nothing to kubectl
			set.Objects[j].File = "crds/"
		}
		problem, note := difference(want, wantErr, set, gotErr)
		if (unusual.Match(raw) || !utf8.Valid(raw)) && strings.HasPrefix(problem, "installed by Helm, broken here: invalid YAML") {
			problem, note = "", "installed by Helm, not read here"
		}
		notes[note]++
		if problem != "" {
			t.Errorf("stream %d: %s\n%q", i, problem, raw)
			if failed++; failed > 5 {
				t.FailNow()
			}
		}
	}
	t.Log(notes)
}

// TestSeesCorpus compares with Helm on the charts below the folder that
// HELMPROOF_CHARTS names.
func TestSeesCorpus(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("HELMPROOF_CHARTS")
	if dir == "" {
		t.Skip("HELMPROOF_CHARTS names no folder of charts")
	}
	quiet()
	notes := map[string]int{}
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		refs, err := filepath.Glob(filepath.Join(dir, pattern, "Chart.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			files, err := readChartDir(filepath.Dir(ref), true)
			if err != nil {
				t.Logf("%s: %v", ref, err)
				continue
			}
			want, wantErr := helmInstalls(t, files)
			rel := new(Release)
			gotErr := (&load{ref: ref, o: LoadOptions{ReleaseName: "rel", Namespace: "ns"}}).fromFiles(t.Context(), rel, files)
			set := new(manifest.ObjectSet)
			if gotErr == nil {
				set, gotErr = rel.Objects()
			}
			problem, note := difference(want, wantErr, set, gotErr)
			var le *LoadError
			switch {
			case errors.Is(gotErr, ErrLibrary), errors.As(gotErr, &le) && (le.Stage == StageDependencies || le.Stage == StageSchema):
				problem, note = "", "refused by Helm's command, or by its schema"
			case len(rel.Record.Generated) > 0 && strings.HasPrefix(problem, "installed by Helm as"):
				problem, note = "", "alike but for what templates make up"
			}
			notes[note]++
			for _, b := range set.Broken {
				t.Logf("%s: %s: %s: %s", ref, note, b.File, b.Error)
			}
			if problem != "" {
				t.Errorf("%s: %.1500s", ref, problem)
			}
		}
	}
	t.Log(notes)
}
