package chart

import (
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func chartOf(files map[string]string) *Release {
	r := new(Release)
	for _, name := range sortedFiles(files) {
		r.Files = append(r.Files, File{Name: name, Data: []byte(files[name])})
	}
	return r
}

func sortedFiles(files map[string]string) []string {
	m := map[string]any{}
	for k := range files {
		m[k] = nil
	}
	return sortedKeys(m)
}

// Only what nothing in the chart speaks of is unknown; where a chart leaves it open, or a
// schema says it, nothing is.
func TestUnknownValues(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"Chart.yaml":                       "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies:\n  - name: redis\n    condition: cache.enabled\n",
		"values.yaml":                      "image:\n  repository: r\n  tag: t\nresources: {}\nhosts: [a]\nnothing:\n# extra:\n#   key: x\n",
		"templates/a.yaml":                 "{{ .Values.image.tag }} {{ .Values.undeclared.x }} {{ index .Values \"with-dash\" }} {{ with .Values.image }}{{ .digest }}{{ end }}",
		"charts/redis/Chart.yaml":          "name: redis\n",
		"charts/redis/values.yaml":         "auth:\n  enabled: true\n",
		"charts/strict/values.yaml":        "a: 1\n",
		"charts/strict/values.schema.json": "{}",
	}
	unknown := func(key, meant string) UnknownValue { return UnknownValue{key, meant} }
	for _, tt := range []struct {
		name string
		o    LoadOptions
		want []UnknownValue
	}{
		{"known", LoadOptions{Set: []string{"image.tag=x,hosts[0]=b"}, SetString: []string{"image.repository=x"}}, nil},
		{"misspelled", LoadOptions{Set: []string{"imgae.tag=x"}}, []UnknownValue{unknown("imgae", "image")}},
		{"misspelled below", LoadOptions{Set: []string{"image.tga=x"}}, []UnknownValue{unknown("image.tga", "image.tag")}},
		{"at the wrong level", LoadOptions{Set: []string{"tag=x"}}, []UnknownValue{unknown("tag", "")}},
		{"nothing like it", LoadOptions{SetString: []string{"frobnicate=x"}}, []UnknownValue{unknown("frobnicate", "")}},
		{"of JSON", LoadOptions{SetJSON: []string{`{"imgae": {"tag": "x"}}`, `image.tga="x"`}}, []UnknownValue{unknown("imgae", "image"), unknown("image.tga", "image.tag")}},
		{"twice", LoadOptions{Set: []string{"imgae.tag=x", "imgae.repository=y"}}, []UnknownValue{unknown("imgae", "image")}},
		{"free mapping", LoadOptions{Set: []string{"resources.limits.cpu=1,nothing.x=1"}}, nil},
		{"only in a template", LoadOptions{Set: []string{"undeclared.x=1,with-dash=1,image.digest=x"}}, nil},
		{"only in a comment", LoadOptions{Set: []string{"extra.key=1"}}, nil},
		{"condition of a subchart", LoadOptions{Set: []string{"cache.enabled=true"}}, nil},
		{"global and tags", LoadOptions{Set: []string{"global.x=1,tags.y=true"}}, nil},
		{"of a subchart", LoadOptions{Set: []string{"redis.auth.enabled=false,redis.auht.enabled=true"}}, []UnknownValue{unknown("redis.auht", "redis.auth")}},
		{"of a subchart with a schema", LoadOptions{Set: []string{"strict.b=1"}}, nil},
		{"unreadable", LoadOptions{Set: []string{"x"}, SetJSON: []string{"{"}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(tt.want, chartOf(files).UnknownValues(tt.o)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	withSchema := maps.Clone(files) // the parallel tests come later
	withSchema["values.schema.json"] = "{}"
	if got := chartOf(withSchema).UnknownValues(LoadOptions{Set: []string{"imgae.tag=x"}}); got != nil {
		t.Errorf("%v of a chart with a schema", got)
	}
}
