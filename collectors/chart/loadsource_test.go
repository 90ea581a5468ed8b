package chart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	helmregistry "helm.sh/helm/v4/pkg/registry"

	"github.com/companyos/helmproof/evidence"
)

func TestSameChartSameBytes(t *testing.T) {
	t.Parallel()
	a, b := mustLoad(t, benchChart(t, 3), LoadOptions{}), mustLoad(t, benchChart(t, 3), LoadOptions{})
	packed := mustLoad(t, writeFile(t, "any.tgz", packDir(t, benchChart(t, 3))), LoadOptions{})
	if diff := cmp.Diff(a.Info, b.Info); diff != "" {
		t.Errorf("two directories differ:\n%s", diff)
	}
	if packed.Info.ArchiveDigest == "" || a.Info.ArchiveDigest != "" {
		t.Errorf("archive digests %q and %q", packed.Info.ArchiveDigest, a.Info.ArchiveDigest)
	}
	packed.Info.ArchiveDigest = ""
	if diff := cmp.Diff(a.Info, packed.Info); diff != "" {
		t.Errorf("directory and archive differ:\n%s", diff)
	}
	for _, other := range []*Release{b, packed} {
		if diff := cmp.Diff(string(a.Manifests), string(other.Manifests)); diff != "" {
			t.Errorf("manifests differ:\n%s", diff)
		}
		if diff := cmp.Diff(a.Record, other.Record); diff != "" {
			t.Errorf("records differ:\n%s", diff)
		}
		if diff := cmp.Diff(a.Files, other.Files); diff != "" {
			t.Errorf("files differ:\n%s", diff)
		}
	}
	var lines strings.Builder
	for _, f := range a.Record.Files {
		lines.WriteString(f.Digest.Hex() + "  " + f.Name + "\n")
	}
	if want := evidence.DigestOf([]byte(lines.String())); a.Info.ChartDigest != want {
		t.Errorf("chart digest %s, want %s of the record's lines", a.Info.ChartDigest, want)
	}
	if want := evidence.DigestOf(a.Manifests); a.Info.ManifestsDigest != want {
		t.Errorf("manifests digest %s, want %s", a.Info.ManifestsDigest, want)
	}
}

func TestUnpackedCopyIsRemoved(t *testing.T) {
	t.Parallel()
	dir := demoChart(t, map[string]string{"templates/x.yaml": "kind: A\napiVersion: v1\n", "charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n"})
	rel, err := Load(t.Context(), writeFile(t, "x.tgz", packDir(t, dir)), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rel.Files {
		got, err := os.ReadFile(filepath.Join(rel.Dir, f.Name))
		if err != nil || string(got) != string(f.Data) {
			t.Errorf("%s: %q, %v", f.Name, got, err)
		}
	}
	if filepath.Base(rel.Dir) != "demo" {
		t.Errorf("Dir %s does not end with the chart's name", rel.Dir)
	}
	for range 2 {
		if err := rel.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Dir(rel.Dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v, want that it is gone", err)
	}
}

func TestPackedSubcharts(t *testing.T) {
	t.Parallel()
	sub := tgz(t, entry("sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 1.0.0\n"), entry("sub/templates/x.yaml", "apiVersion: v1\nkind: Sub\n"))
	packed := demoChart(t, map[string]string{"charts/sub-1.0.0.tgz": string(sub), "files/sub-1.0.0.tgz": "no chart"})
	plain := demoChart(t, map[string]string{
		"charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n", "charts/sub/templates/x.yaml": "apiVersion: v1\nkind: Sub\n",
		"files/sub-1.0.0.tgz": "no chart",
	})
	a, b := mustLoad(t, packed, LoadOptions{}), mustLoad(t, plain, LoadOptions{})
	if a.Info.ChartDigest != b.Info.ChartDigest || a.Info.ManifestsDigest != b.Info.ManifestsDigest {
		t.Errorf("packed %+v\nplain %+v", a.Record.Files, b.Record.Files)
	}
	if !strings.Contains(string(a.Manifests), "# Source: charts/sub/templates/x.yaml:1\n") {
		t.Errorf("manifests:\n%s", a.Manifests)
	}
	// What Helm would load cannot hide behind the name of its folder.
	for _, folder := range []string{"_sub", ".sub", "x.tgz"} {
		hidden := tgz(t, entry(folder+"/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 1.0.0\n"), entry(folder+"/templates/x.yaml", "apiVersion: v1\nkind: Sub\n"))
		rel := mustLoad(t, demoChart(t, map[string]string{"charts/sub-1.0.0.tgz": string(hidden)}), LoadOptions{})
		if !strings.Contains(string(rel.Manifests), "kind: Sub") {
			t.Errorf("packed in %s: manifests %q", folder, rel.Manifests)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	schema := `{"type":"object","properties":{"replicas":{"type":"integer"},"name":{"minLength":3}}}`
	for name, tt := range map[string]struct {
		files      map[string]string
		o          LoadOptions
		stage      string
		want, hint string
	}{
		"missing dependency": {
			files: map[string]string{"Chart.yaml": chartYAML + "dependencies: [{name: redis, version: 1.0.0}, {name: kafka, version: 1.0.0}]\n"},
			stage: StageDependencies, want: "in Chart.yaml but not in charts/: redis, kafka", hint: "helm dependency build "},
		"library":       {files: map[string]string{"Chart.yaml": chartYAML + "type: library\n"}, stage: StageLoad, want: "a library chart renders nothing", hint: "a chart that uses it"},
		"kind of chart": {files: map[string]string{"Chart.yaml": chartYAML + "type: plugin\n"}, stage: StageLoad, want: "type"},
		"required": {
			files: map[string]string{"templates/x.yaml": "\n{{ required \"db.password is\\nneeded\" .Values.password }}"},
			stage: StageRender, want: "templates/x.yaml:2: a value is required: db.password is needed", hint: "--set"},
		"required in a helper": {
			files: map[string]string{"templates/x.yaml": `{{ include "h" . }}`, "templates/_h.tpl": "{{ define \"h\" }}\n{{ required \"give it\" .Values.x }}{{ end }}"},
			stage: StageRender, want: "templates/_h.tpl:2: a value is required: give it", hint: "--set"},
		"fail":        {files: map[string]string{"templates/x.yaml": `{{ fail "no such mode" }}`}, stage: StageRender, want: "templates/x.yaml:1: the chart refuses: no such mode", hint: "--set"},
		"nil":         {files: map[string]string{"templates/x.yaml": `{{ .Values.a.b.c }}`}, stage: StageRender, want: "templates/x.yaml:1: nil pointer evaluating interface {}.b", hint: "not set"},
		"parse":       {files: map[string]string{"templates/x.yaml": "a: 1\n{{ if }}"}, stage: StageRender, want: "templates/x.yaml:2: missing value for if"},
		"function":    {files: map[string]string{"templates/x.yaml": `{{ env "HOME" }}`}, stage: StageRender, want: `templates/x.yaml:1: function "env" not defined`},
		"no template": {files: map[string]string{"templates/x.yaml": `{{ include "gone" . }}`}, stage: StageRender, want: `no template "gone"`, hint: "subchart"},
		"notes":       {files: map[string]string{"templates/NOTES.txt": `{{ fail "read this" }}`}, stage: StageRender, want: "templates/NOTES.txt:1: the chart refuses: read this"},
		"schema": {
			files: map[string]string{"values.schema.json": schema, "values.yaml": "replicas: two\nname: x\n"},
			stage: StageSchema, want: "at '/name': minLength: got 1, want 3; at '/replicas': got string, want integer", hint: "--set"},
		"schema of a subchart": {
			files: map[string]string{"charts/sub/Chart.yaml": "apiVersion: v2\nname: sub\nversion: 1.0.0\n", "charts/sub/values.schema.json": schema, "values.yaml": "sub: {replicas: x}\n"},
			stage: StageSchema, want: "sub: at '/replicas': got string, want integer"},
		"schema is no JSON":   {files: map[string]string{"values.schema.json": "{"}, stage: StageSchema, want: "values.schema.json of demo: unexpected EOF"},
		"schema is no schema": {files: map[string]string{"values.schema.json": `{"type": 5}`}, stage: StageSchema, want: "values.schema.json of demo: "},
		"kubeVersion": {
			files: map[string]string{"Chart.yaml": chartYAML + "kubeVersion: '>=1.20 <1.30'\n"}, stage: StageLoad, want: "wants Kubernetes >=1.20 <1.30, which v1.37.0 is not", hint: "--kube-version"},
		"kube version":         {o: LoadOptions{KubeVersion: "newest"}, stage: StageValues, want: `kube version "newest"`, hint: "1.37"},
		"release name":         {o: LoadOptions{ReleaseName: "Not_Valid"}, stage: StageValues, want: "invalid release name", hint: "--release-name"},
		"values from a URL":    {o: LoadOptions{ValueFiles: []string{"https://example.com/v.yaml"}}, stage: StageValues, want: "not fetched", hint: "download"},
		"set-file from a URL":  {o: LoadOptions{SetFile: []string{"a=https://example.com/v.yaml"}}, stage: StageValues, want: "not fetched", hint: "download"},
		"values are not there": {o: LoadOptions{ValueFiles: []string{"gone.yaml"}}, stage: StageValues, want: "gone.yaml: no such file"},
		"set":                  {o: LoadOptions{Set: []string{"a[x]=1"}}, stage: StageValues, want: "--set", hint: "check"},
		"no stdin":             {o: LoadOptions{ValueFiles: []string{"-"}}, stage: StageValues, want: "no standard input"},
		"Chart.yaml":           {files: map[string]string{"Chart.yaml": "apiVersion: v2\nname: demo\n"}, stage: StageLoad, want: "version is required"},
		"Chart.yaml, no YAML":  {files: map[string]string{"Chart.yaml": "{"}, stage: StageLoad, want: "Chart.yaml"},
		"values.yaml, no YAML": {files: map[string]string{"values.yaml": "a: [\n"}, stage: StageLoad, want: "values.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := demoChart(t, tt.files)
			_, err := Load(t.Context(), dir, tt.o)
			var le *LoadError
			if !errors.As(err, &le) {
				t.Fatalf("error %v, want a *LoadError", err)
			}
			if le.Stage != tt.stage || le.Ref != dir || !strings.Contains(le.Error(), tt.want) || !strings.Contains(le.Hint, tt.hint) || tt.hint == "" && strings.Contains(le.Error(), "()") {
				t.Errorf("error %q (stage %s, hint %q), want stage %s, %q, hint %q", le, le.Stage, le.Hint, tt.stage, tt.want, tt.hint)
			}
			if strings.Contains(le.Error(), "\n") || le.Unwrap() == nil {
				t.Errorf("error %q", le)
			}
		})
	}
	for ref, want := range map[string]string{
		"./gone":                       "no such file",
		filepath.Join("a", "b", "c"):   "no such file",
		t.TempDir():                    "no Chart.yaml (give the folder",
		filepath.Join(t.TempDir(), ""): "Chart.yaml",
	} {
		if _, err := Load(t.Context(), ref, LoadOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%s): %v, want %q in it", ref, err, want)
		}
	}
}

func TestValuesLikeHelm(t *testing.T) {
	t.Parallel()
	dir := demoChart(t, map[string]string{
		"Chart.yaml":                chartYAML + "dependencies: [{name: sub, version: 1.0.0, condition: sub.enabled}, {name: other, version: 1.0.0, condition: other.enabled}, {name: sub, version: 1.0.0, alias: again}, {name: tagged, version: 1.0.0, tags: [t]}]\n",
		"values.yaml":               "a: 1\nlist: [1, 2]\nnested: {x: 1, z: 2, gone: 3}\nsub: {enabled: true, v: parent}\nother: {enabled: false}\ntags: {t: false}\n",
		"charts/sub/Chart.yaml":     "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
		"charts/sub/values.yaml":    "v: own\nw: own\n",
		"charts/sub/templates/x":    "apiVersion: v1\nkind: On\nv: {{ .Values.v }}\n",
		"charts/other/Chart.yaml":   "apiVersion: v2\nname: other\nversion: 1.0.0\n",
		"charts/other/templates/x":  "{{ fail \"must not render\" }}",
		"charts/tagged/Chart.yaml":  "apiVersion: v2\nname: tagged\nversion: 1.0.0\n",
		"charts/tagged/templates/x": "{{ fail \"must not render\" }}",
		"templates/x.yaml":          "apiVersion: v1\nkind: A\nmutated: {{ set .Values \"a\" \"changed\" | len }}\n",
	})
	file := writeFile(t, "text", []byte("content"))
	rel := mustLoad(t, dir, LoadOptions{
		ValueFiles: []string{writeFile(t, "v.yaml", []byte("nested: {x: 10, gone: null}\nb: 1\n")), "-"},
		Stdin:      strings.NewReader("b: 2\n"),
		Set:        []string{"c=3,list[1]=x"}, SetString: []string{"d=4"}, SetFile: []string{"e=" + file}, SetJSON: []string{`f={"g": [1]}`},
	})
	want := map[string]any{
		"a": 1.0, "b": 2.0, "c": int64(3), "d": "4", "e": "content", "f": map[string]any{"g": []any{1.0}},
		"list": []any{nil, "x"}, "nested": map[string]any{"x": 10.0, "z": 2.0},
	}
	for k, w := range want {
		if diff := cmp.Diff(w, rel.Values[k]); diff != "" && k != "list" {
			t.Errorf("%s (-want +got):\n%s", k, diff)
		}
	}
	if on, ok := rel.Values["sub"].(map[string]any); !ok || on["v"] != "parent" || on["w"] != "own" {
		t.Errorf("values of the subchart: %v", rel.Values["sub"])
	}
	if rel.UserValues["a"] != nil || rel.UserValues["d"] != "4" {
		t.Errorf("user's values %v", rel.UserValues)
	}
	if got := strings.Count(string(rel.Manifests), "kind: On"); got != 2 || !strings.Contains(string(rel.Manifests), "# Source: charts/again/templates/x:1\n") {
		t.Errorf("manifests:\n%s", rel.Manifests)
	}
}

func TestNoNetworkWhileRendering(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("rendering fetched %s", r.URL)
	}))
	defer server.Close()
	secret := writeFile(t, "local.json", []byte(`{"not": {}}`))
	dir := demoChart(t, map[string]string{
		"values.schema.json": fmt.Sprintf(`{"$schema": %q, "properties": {"a": {"$ref": %q}, "b": {"$ref": %q}, "c": {"$ref": "urn:x:y"}, "e": {"$ref": "other.json#/$defs/a~1b/items/0"}, "d": {"type": "integer"}}}`,
			"http://json-schema.org/draft-07/schema#", server.URL+"/a.json#/definitions/x", "file://"+secret),
		"values.yaml":      "a: 1\nb: 2\nc: 3\nd: 4\ne: 5\n",
		"templates/x.yaml": "apiVersion: v1\nkind: A\nip: {{ getHostByName \"localhost\" | quote }}\nsecret: {{ (lookup \"v1\" \"Secret\" \"ns\" \"name\") | toJson }}\nall: {{ lookup \"v1\" \"Node\" \"\" \"\" | toJson }}\n",
	})
	rel := mustLoad(t, dir, LoadOptions{})
	want := []string{
		"file:///other.json ($ref in values.schema.json)",
		"file://" + secret + " ($ref in values.schema.json)",
		"getHostByName localhost",
		server.URL + "/a.json ($ref in values.schema.json)",
		"urn:x:y ($ref in values.schema.json)",
	}
	if diff := cmp.Diff(want, rel.Record.Network); diff != "" {
		t.Errorf("network (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"v1 Node", "v1 Secret ns/name"}, rel.Record.Lookups); diff != "" {
		t.Errorf("lookups (-want +got):\n%s", diff)
	}
	if _, err := Load(t.Context(), dir, LoadOptions{Set: []string{"d=x"}}); err == nil || !strings.Contains(err.Error(), "want integer") {
		t.Errorf("the rest of the schema no longer holds: %v", err)
	}
}

// helmHome gives the test a configuration of Helm of its own.
func helmHome(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	for _, v := range []string{"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"} {
		t.Setenv(v, filepath.Join(home, v))
	}
	for _, v := range []string{"HELM_REPOSITORY_CONFIG", "HELM_REPOSITORY_CACHE", "HELM_REGISTRY_CONFIG", "HELM_CONTENT_CACHE"} {
		t.Setenv(v, filepath.Join(home, v))
	}
}

func TestLoadFromRegistry(t *testing.T) {
	helmHome(t)
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	dir := demoChart(t, map[string]string{"templates/x.yaml": "apiVersion: v1\nkind: A\n"})
	client, err := helmregistry.NewClient(helmregistry.ClientOptPlainHTTP(), helmregistry.ClientOptWriter(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Push(packDir(t, dir), host+"/charts/demo:1.2.3"); err != nil {
		t.Fatal(err)
	}
	rel := mustLoad(t, "oci://"+host+"/charts/demo", LoadOptions{Version: "1.2.3", PlainHTTP: true})
	if local := mustLoad(t, dir, LoadOptions{}); rel.Info.ChartDigest != local.Info.ChartDigest || rel.Info.ArchiveDigest == "" {
		t.Errorf("fetched %+v, local %+v", rel.Info, local.Info)
	}
	_, err = Load(t.Context(), "oci://"+host+"/charts/gone", LoadOptions{Version: "1.2.3", PlainHTTP: true})
	var le *LoadError
	if !errors.As(err, &le) || le.Stage != StageFetch || !strings.Contains(err.Error(), "not found") {
		t.Errorf("missing chart: %v", err)
	}
}

func TestLoadFromRepository(t *testing.T) {
	helmHome(t)
	dir := demoChart(t, map[string]string{"templates/x.yaml": "apiVersion: v1\nkind: A\n"})
	raw := packDir(t, dir)
	block := make(chan struct{})
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(block)
	mux.HandleFunc("/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "apiVersion: v1\nentries:\n  demo:\n  - {apiVersion: v2, name: demo, version: 1.2.3, urls: [demo.tgz], digest: %s}\n", evidence.DigestOf(raw).Hex())
	})
	mux.HandleFunc("/demo.tgz", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write(raw); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/slow/index.yaml", func(http.ResponseWriter, *http.Request) { <-block })
	rel := mustLoad(t, "demo", LoadOptions{ChartRepo: server.URL})
	if rel.Info.ArchiveDigest != evidence.DigestOf(raw) || rel.Info.Version != "1.2.3" {
		t.Errorf("info %+v", rel.Info)
	}
	_, err := Load(t.Context(), "demo", LoadOptions{ChartRepo: server.URL, Version: "9.9.9"})
	var le *LoadError
	if !errors.As(err, &le) || le.Stage != StageFetch || !strings.Contains(err.Error(), "9.9.9") {
		t.Errorf("missing version: %v", err)
	}
	if _, err := Load(t.Context(), "nowhere/demo", LoadOptions{}); !errors.As(err, &le) || le.Stage != StageFetch {
		t.Errorf("unknown repository: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stopped by the user"))
	if _, err := Load(ctx, "demo", LoadOptions{ChartRepo: server.URL + "/slow"}); err == nil || !strings.Contains(err.Error(), "stopped by the user") {
		t.Errorf("canceled fetch: %v", err)
	}
}

func TestLoadManifests(t *testing.T) {
	t.Parallel()
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: a, image: %s}]}\n"
	dir := writeTree(t, filepath.Join(t.TempDir(), "rendered"), map[string]string{
		"b.yaml":      "# a comment\n---\n\n" + fmt.Sprintf(pod, "b", "img:2") + "---\n# Source: forged.yaml:9\n" + fmt.Sprintf(pod, "c", "img:1"),
		"a/x.json":    `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j"}}]}`,
		"a/y.yml":     "kind: Broken\n",
		"README.md":   "kind: Ignored\napiVersion: v1\n",
		"z/none.yaml": "# nothing\n",
	})
	rel, err := LoadManifests(t.Context(), dir, LoadOptions{Namespace: "payments"})
	if err != nil {
		t.Fatal(err)
	}
	set, err := rel.Objects()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range set.Objects {
		got = append(got, fmt.Sprintf("%s %s:%d", o.GetName(), o.File, o.Line))
	}
	if diff := cmp.Diff([]string{"j a/x.json:1", "b b.yaml:4", "c b.yaml:10"}, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if len(set.Broken) != 1 || set.Broken[0].File != "a/y.yml" || set.Broken[0].Error != "no apiVersion" {
		t.Errorf("broken %+v", set.Broken)
	}
	if rel.Info.Source != SourceManifests || rel.Info.Chart != "rendered" || rel.Info.Namespace != "payments" || rel.Dir != "" ||
		strings.Join(rel.Info.Images, " ") != "img:1 img:2" || rel.Info.ManifestsDigest != evidence.DigestOf(rel.Manifests) {
		t.Errorf("info %+v", rel.Info)
	}
	if err := rel.Close(); err != nil {
		t.Error(err)
	}

	file, err := LoadManifests(t.Context(), filepath.Join(dir, "b.yaml"), LoadOptions{})
	if err != nil || file.Info.Chart != "b.yaml" || !strings.Contains(string(file.Manifests), "# Source: b.yaml:10\n") {
		t.Errorf("file: %v\n%s", err, file.Manifests)
	}
	stdin, err := LoadManifests(t.Context(), "-", LoadOptions{Stdin: strings.NewReader("---\n# Source: demo/templates/p.yaml\n" + fmt.Sprintf(pod, "p", "i") + "---\n" + fmt.Sprintf(pod, "q", "i"))})
	if err != nil {
		t.Fatal(err)
	}
	if stdin.Info.Chart != "stdin" || !strings.Contains(string(stdin.Manifests), "# Source: demo/templates/p.yaml:1\n") || !strings.Contains(string(stdin.Manifests), "# Source: stdin:8\n") {
		t.Errorf("stdin:\n%s", stdin.Manifests)
	}
}

func TestLoadManifestsErrors(t *testing.T) {
	t.Parallel()
	link := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(link, "x.yaml")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		ref  string
		o    LoadOptions
		want string
	}{
		"not there":    {ref: "gone.yaml", want: "no such file"},
		"no stdin":     {ref: "-", want: "no standard input"},
		"empty":        {ref: "-", o: LoadOptions{Stdin: strings.NewReader("# nothing\n---\n")}, want: "no manifests in it (give a file"},
		"empty folder": {ref: t.TempDir(), want: "no manifests in it"},
		"link":         {ref: link, want: "symbolic link"},
		"endless":      {ref: "-", o: LoadOptions{Stdin: endless{}}, want: "more than 67108864 bytes"},
		"kube version": {ref: "-", o: LoadOptions{Stdin: strings.NewReader("kind: A"), KubeVersion: "x"}, want: "kube version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := LoadManifests(t.Context(), tt.ref, tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	return len(p), nil
}

func TestExpand(t *testing.T) {
	t.Parallel()
	dir := writeTree(t, t.TempDir(), map[string]string{"b/Chart.yaml": "", "a/Chart.yaml": "", "c/README": "", "d.tgz": "", "[x]/Chart.yaml": ""})
	in := func(names ...string) []string {
		for i, n := range names {
			names[i] = filepath.Join(dir, n)
		}
		return names
	}
	got, err := Expand(append(in("*", "[x]", "gone"), "oci://example.com/x*"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append(in("[x]", "a", "b", "d.tgz", "[x]", "gone"), "oci://example.com/x*"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for arg, want := range map[string]string{filepath.Join(dir, "e*"): "matches no chart", filepath.Join(dir, "c*"): "matches no chart", "[": "syntax error in pattern"} {
		if _, err := Expand([]string{arg}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Expand(%s): %v, want %q in it", arg, err, want)
		}
	}
}
