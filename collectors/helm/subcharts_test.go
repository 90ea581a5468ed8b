package helm_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/evidence"
)

// packed replaces the folder of a subchart by its archive.
func packed(tb testing.TB, dir string) {
	tb.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(filepath.Dir(dir), name)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(inside), Mode: 0o600, Size: int64(len(raw))}); err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	})
	for _, f := range []func() error{w.Close, z.Close, func() error { return os.RemoveAll(dir) }, func() error { return os.WriteFile(dir+"-1.0.0.tgz", out.Bytes(), 0o600) }} {
		if err == nil {
			err = f()
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// TestSubcharts: subcharts are linted, and held to their schemas, as they are
// installed: with their share of the values, once for each alias, packed ones too, and
// not at all where they are switched off.
func TestSubcharts(t *testing.T) {
	t.Parallel()
	const (
		open   = "-- values.schema.json --\n{\"properties\": {\"replicas\": {}}}\n"
		icon   = "icon: https://example.com/icon.png\n"
		parent = "-- Chart.yaml --\napiVersion: v2\nname: demo\nversion: 1.2.3\n" + icon
		strict = `{"type": "object", "properties": {"size": {"type": "integer"}, "global": {}}, "required": ["size"], "additionalProperties": false}` + "\n"
		config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sub}\ndata: "
		bad    = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Not_Good}\n"
	)
	sub := func(dir string) string {
		return "-- " + dir + "/Chart.yaml --\napiVersion: v2\nname: " + filepath.Base(dir) + "\nversion: 1.0.0\n" + icon
	}
	one := parent + "dependencies: [{name: sub, version: 1.0.0}]\n" + open + sub("charts/sub")
	for name, tt := range map[string]struct {
		files   string
		pack    string // a folder to be packed
		options chart.LoadOptions
		want    []string // of CHT-1 and CHT-2, what is no pass
	}{
		"own share": {files: one + "-- values.yaml --\nreplicas: 2\nsub: {size: 3}\n-- charts/sub/values.yaml --\nsize: 1\n-- charts/sub/values.schema.json --\n" + strict + "-- charts/sub/templates/x.yaml --\n" + config + "{a: \"{{ .Values.size }}\"}\n",
			options: chart.LoadOptions{Set: []string{"replicas=4"}}},
		"a value that only the parent gives": {files: one + "-- values.yaml --\nreplicas: 2\nsub: {store: {size: 3}}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + config + "{a: \"{{ .Values.store.size }}\"}\n"},
		"a value that the user gives":        {files: one + "-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + config + "{a: \"{{ .Values.store.size }}\"}\n", options: chart.LoadOptions{Set: []string{"sub.store.size=3"}}},
		"a value that the user takes away": {files: one + "-- charts/sub/values.yaml --\nspare: {name: Not_Good}\n-- charts/sub/templates/x.yaml --\n{{ with .Values.spare }}" + strings.Replace(bad, "Not_Good", "{{ .name }}", 1) + "{{ end }}",
			options: chart.LoadOptions{Set: []string{"sub.spare=null"}}},
		"global values":       {files: one + "-- values.yaml --\nreplicas: 2\nglobal: {region: {name: eu}}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + config + "{a: \"{{ .Values.global.region.name }}\"}\n"},
		"no values.yaml":      {files: one + "-- values.yaml --\nreplicas: 2\nsub: {a: {b: c}}\n-- charts/sub/templates/x.yaml --\n" + config + "{a: \"{{ .Values.a.b }}\"}\n"},
		"what is wrong in it": {files: one + "-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + bad, want: []string{"fail Chart demo charts/sub/templates/x.yaml: warning: object name does not conform"}},
		"packed":              {files: one + "-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + bad, pack: "charts/sub", want: []string{"fail Chart demo charts/sub/templates/x.yaml: warning: object name does not conform"}},
		"packed, with a share": {files: one + "-- values.yaml --\nreplicas: 2\nsub: {a: {b: c}}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + config + "{a: \"{{ .Values.a.b }}\"}\n", pack: "charts/sub",
			options: chart.LoadOptions{Set: []string{"replicas=3"}}},
		"packed, off":           {files: strings.Replace(one, "version: 1.0.0}", "version: 1.0.0, condition: sub.enabled}", 1) + "-- values.yaml --\nreplicas: 2\nsub: {enabled: false}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + bad, pack: "charts/sub"},
		"off by condition":      {files: strings.Replace(one, "version: 1.0.0}", "version: 1.0.0, condition: sub.enabled}", 1) + "-- values.yaml --\nreplicas: 2\nsub: {enabled: false}\n-- charts/sub/values.schema.json --\n" + strict + "-- charts/sub/templates/x.yaml --\n" + bad},
		"on by the user":        {files: strings.Replace(one, "version: 1.0.0}", "version: 1.0.0, condition: sub.enabled}", 1) + "-- values.yaml --\nreplicas: 2\nsub: {enabled: false}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + bad, options: chart.LoadOptions{Set: []string{"sub.enabled=true"}}, want: []string{"charts/sub/templates/x.yaml: warning: object name"}},
		"off by tags":           {files: strings.Replace(one, "version: 1.0.0}", "version: 1.0.0, tags: [extra]}", 1) + "-- values.yaml --\nreplicas: 2\ntags: {extra: false}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + bad},
		"on by its condition":   {files: strings.Replace(one, "version: 1.0.0}", "version: 1.0.0, tags: [extra], condition: sub.enabled}", 1) + "-- values.yaml --\nreplicas: 2\ntags: {extra: false}\nsub: {enabled: true}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + bad, want: []string{"charts/sub/templates/x.yaml: warning: object name"}},
		"from a folder":         {files: strings.Replace(one, "version: 1.0.0}", "version: 1.0.0, repository: \"file://../sub\"}", 1) + "-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + bad, want: []string{"charts/sub/templates/x.yaml: warning: object name"}},
		"two aliases, one good": {files: parent + "dependencies: [{name: sub, version: 1.0.0, alias: first}, {name: sub, version: 1.0.0, alias: second}]\n" + open + sub("charts/sub") + "-- values.yaml --\nreplicas: 2\nfirst: {name: good}\nsecond: {name: Not_Good}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + strings.Replace(bad, "Not_Good", "{{ .Values.name }}", 1), want: []string{"charts/second/templates/x.yaml: warning: object name"}},
		"aliases and schemas":   {files: parent + "dependencies: [{name: sub, version: 1.0.0, alias: first}]\n" + open + sub("charts/sub") + "-- values.yaml --\nreplicas: 2\nfirst: {size: 3}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/values.schema.json --\n" + strict + "-- charts/sub/templates/x.yaml --\n" + config + "{}\n"},
		"imported values": {files: parent + "dependencies: [{name: sub, version: 1.0.0, import-values: [data]}]\n" + sub("charts/sub") + "-- charts/sub/values.yaml --\nexports: {data: {port: 5432}}\n-- charts/sub/templates/x.yaml --\n" + config + "{}\n" +
			"-- values.schema.json --\n{\"properties\": {\"replicas\": {}, \"port\": {\"type\": \"integer\"}}, \"required\": [\"port\"]}\n"},
		"imported from below": {files: parent + "dependencies: [{name: sub, version: 1.0.0, import-values: [{child: db.conf, parent: conf}]}]\n" + sub("charts/sub") + "-- charts/sub/values.yaml --\ndb: {conf: {port: 5432}}\n-- charts/sub/templates/x.yaml --\n" + config + "{}\n" +
			"-- values.schema.json --\n{\"properties\": {\"replicas\": {}, \"conf\": {\"required\": [\"port\"]}}, \"required\": [\"conf\"]}\n"},
		"nested": {files: one + "dependencies: [{name: deep, version: 1.0.0}]\n-- values.yaml --\nreplicas: 2\nsub: {deep: {name: given}}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + config + "{}\n" +
			sub("charts/sub/charts/deep") + "-- charts/sub/charts/deep/values.yaml --\nname: Not_Good\n-- charts/sub/charts/deep/templates/x.yaml --\n" + strings.Replace(bad, "Not_Good", "{{ .Values.name }}", 1)},
		"nested, and wrong": {files: one + "dependencies: [{name: deep, version: 1.0.0}]\n-- values.yaml --\nreplicas: 2\nsub: {deep: {name: Not_Good}}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + config + "{}\n" +
			sub("charts/sub/charts/deep") + "-- charts/sub/charts/deep/values.yaml --\nname: good\n-- charts/sub/charts/deep/templates/x.yaml --\n" + strings.Replace(bad, "Not_Good", "{{ .Values.name }}", 1), want: []string{"charts/sub/charts/deep/templates/x.yaml: warning: object name"}},
		"nested, below one that is off": {files: strings.Replace(one, "version: 1.0.0}", "version: 1.0.0, condition: sub.enabled}", 1) + "dependencies: [{name: deep, version: 1.0.0}]\n-- values.yaml --\nreplicas: 2\nsub: {enabled: false}\n-- charts/sub/values.yaml --\n{}\n" +
			sub("charts/sub/charts/deep") + "-- charts/sub/charts/deep/values.yaml --\n{}\n-- charts/sub/charts/deep/templates/x.yaml --\n" + bad},
		"helpers of the parent": {files: one + "-- templates/_h.tpl --\n{{ define \"demo.name\" }}sub{{ end }}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + strings.Replace(bad, "Not_Good", "{{ include \"demo.name\" . }}", 1)},
		"helpers of a sibling": {files: parent + "dependencies: [{name: lib, version: 1.0.0}, {name: sub, version: 1.0.0}]\n" + open + sub("charts/sub") + "-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + strings.Replace(bad, "Not_Good", "{{ include \"lib.name\" . }}", 1) +
			sub("charts/lib") + "type: library\n-- charts/lib/values.yaml --\n{}\n-- charts/lib/templates/_h.tpl --\n{{ define \"lib.name\" }}sub{{ end }}\n"},
		"helpers of another file": {files: one + "-- templates/names.yaml --\n{{ define \"demo.name\" }}sub{{ end }}\n-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + strings.Replace(bad, "Not_Good", "{{ include \"demo.name\" . }}", 1),
			want: []string{"not-checked Chart demo charts/sub: the subchart renders with the chart and not by itself"}},
		"what the version serves": {files: one + "-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n{{ if .Capabilities.APIVersions.Has \"policy/v1beta1\" }}" + bad + "{{ end }}{{ if not (.Capabilities.APIVersions.Has \"policy/v1/PodDisruptionBudget\") }}" + bad + "{{ end }}\n" +
			"-- templates/y.yaml --\n{{ if .Capabilities.APIVersions.Has \"autoscaling/v2beta2\" }}" + bad + "{{ end }}\n"},
		"what the user says is served": {files: one + "-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n{{ if not (.Capabilities.APIVersions.Has \"example.com/v1\") }}" + bad + "{{ end }}\n", options: chart.LoadOptions{APIVersions: []string{"example.com/v1"}}},
		"not among the dependencies":   {files: parent + open + sub("charts/sub") + "-- charts/sub/values.yaml --\n{}\n-- charts/sub/templates/x.yaml --\n" + bad, want: []string{"charts/sub/templates/x.yaml: warning: object name", "chart metadata is missing these dependencies: sub"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeChart(t, tt.files)
			if tt.pack != "" {
				packed(t, filepath.Join(dir, filepath.FromSlash(tt.pack)))
			}
			art, err := collect(t, dir, tt.options, helm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings(t, art) {
				if slices.Contains([]string{helm.RuleLint, helm.RuleLintLog, helm.RuleValues}, f.Rule) && f.Outcome != evidence.OutcomePass {
					got = append(got, said(f))
				}
			}
			all := strings.Join(got, "\n")
			for _, w := range tt.want {
				if !strings.Contains(all, w) {
					t.Errorf("nothing says %q:\n%s", w, all)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d findings, want %d:\n%s", len(got), len(tt.want), all)
			}
		})
	}
}
