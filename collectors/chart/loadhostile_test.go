package chart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/internal/manifest"
)

// tgz packs entries; an entry's name is used as it is.
func tgz(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	for _, hd := range entries {
		content := hd.PAXRecords["TEST.content"] // not written: only carried
		hd.PAXRecords = nil
		if hd.Typeflag == 0 {
			hd.Typeflag = tar.TypeReg
		}
		if hd.Typeflag == tar.TypeReg {
			hd.Size = int64(len(content))
		}
		hd.Mode = 0o644
		if err := tw.WriteHeader(&hd); err != nil {
			t.Fatal(err)
		}
		if hd.Typeflag == tar.TypeReg {
			if _, err := tw.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func entry(name, content string) tar.Header {
	return tar.Header{Name: name, PAXRecords: map[string]string{"TEST.content": content}}
}

// packDir packs a chart's folder, under the folder's name, in the order of names.
func packDir(t testing.TB, dir string) []byte {
	t.Helper()
	files, err := readChartDir(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	var entries []tar.Header
	for _, f := range files {
		entries = append(entries, entry(filepath.Base(dir)+"/"+f.name, string(f.data)))
	}
	return tgz(t, entries...)
}

func writeFile(t testing.TB, name string, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	chart := entry("demo/Chart.yaml", chartYAML)
	zeros := strings.Repeat("\x00", maxFileSize)
	bomb := []tar.Header{chart}
	for i := range 6 {
		bomb = append(bomb, entry(fmt.Sprintf("demo/files/%d", i), zeros))
	}
	nested := tgz(t, entry("sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 1.0.0\n"))
	for range maxPacked + 1 {
		nested = tgz(t, entry("sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 1.0.0\n"), entry("sub/charts/sub-1.tgz", string(nested)))
	}
	for name, tt := range map[string]struct {
		raw  []byte
		want string
	}{
		"parent folder":     {tgz(t, chart, entry("demo/../../etc/cron.d/x", "x")), "outside of the chart's folder"},
		"absolute":          {tgz(t, chart, entry("/demo/x", "x")), "outside of the chart's folder"},
		"absolute inside":   {tgz(t, chart, entry("demo//etc/passwd", "x")), "outside of the chart's folder"},
		"backslashes":       {tgz(t, chart, entry(`demo\..\..\x`, "x")), "outside of the chart's folder"},
		"drive":             {tgz(t, chart, entry("demo/c:/x", "x")), "drive"},
		"not in a folder":   {tgz(t, entry("Chart.yaml", chartYAML)), "outside of the chart's folder"},
		"control character": {tgz(t, chart, entry("demo/templates/a\n# Source: b.yaml", "x")), "control characters"},
		"twice":             {tgz(t, chart, chart), "appears twice"},
		"symbolic link":     {tgz(t, chart, tar.Header{Name: "demo/values.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), "is a link"},
		"hard link":         {tgz(t, chart, tar.Header{Name: "demo/values.yaml", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}), "is a link"},
		"device":            {tgz(t, chart, tar.Header{Name: "demo/dev", Typeflag: tar.TypeChar}), "no regular file"},
		"bomb":              {tgz(t, bomb...), "unpacked"},
		"large file":        {tgz(t, chart, entry("demo/big", zeros+"x")), "at most"},
		"packed in packed":  {tgz(t, chart, entry("demo/charts/sub-1.tgz", string(nested))), "packed in charts"},
		"same name":         {tgz(t, chart, entry("demo/charts/a.tgz", string(nested)), entry("demo/charts/sub/x", "x")), "packed in charts"},
		"empty":             {tgz(t), "no files"},
		"no chart":          {tgz(t, entry("demo/values.yaml", "a: 1\n")), "Chart.yaml file is missing"},
		"no gzip":           {[]byte("kind: Pod\n"), "invalid header"},
		"cut off":           {tgz(t, chart, entry("demo/x", "xyz"))[:60], "the archive is cut short: it ends after 60 bytes"},
		"deep":              {tgz(t, chart, entry("demo/"+strings.Repeat("a/", 100)+"x", "x")), "folders deep"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel, err := Load(t.Context(), writeFile(t, "demo.tgz", tt.raw), LoadOptions{})
			var le *LoadError
			if !errors.As(err, &le) || le.Stage != StageLoad || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load: %v (%v), want a load error with %q", err, rel, tt.want)
			}
		})
	}
}

func TestHostileDirectories(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, "secret.yaml", []byte("kind: Stolen"))
	for name, tt := range map[string]struct {
		link, target, want string
	}{
		"file outside":     {"templates/x.yaml", secret, "symbolic link that leads out of the chart"},
		"folder outside":   {"templates/x", filepath.Dir(secret), "symbolic link that leads out of the chart"},
		"relative outside": {"values.yaml", "../../../../../../../../etc/passwd", "symbolic link that leads out of the chart"},
		"ignore file":      {".helmignore", secret, "symbolic link that leads out of the chart"},
		"loop":             {"templates/loop", ".", "in a circle"},
		"dangling":         {"templates/gone", "nowhere", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := demoChart(t, map[string]string{"templates/ok.yaml": ""})
			if err := os.Symlink(tt.target, filepath.Join(dir, tt.link)); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(t.Context(), dir, LoadOptions{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load: %v, want %q in it", err, tt.want)
			}
		})
	}
	t.Run("followed when asked for", func(t *testing.T) {
		t.Parallel()
		dir := demoChart(t, map[string]string{"templates/ok.yaml": ""})
		if err := os.Symlink(secret, filepath.Join(dir, "templates/x.yaml")); err != nil {
			t.Fatal(err)
		}
		rel := mustLoad(t, dir, LoadOptions{FollowSymlinks: true})
		if !strings.Contains(string(rel.Manifests), "Stolen") {
			t.Errorf("manifests %s", rel.Manifests)
		}
	})
	t.Run("inside", func(t *testing.T) {
		t.Parallel()
		dir := demoChart(t, map[string]string{"files/x.yaml": "kind: Mine\napiVersion: v1\n", "templates/ok.yaml": ""})
		if err := os.Symlink("../files/x.yaml", filepath.Join(dir, "templates/x.yaml")); err != nil {
			t.Fatal(err)
		}
		if rel := mustLoad(t, dir, LoadOptions{}); !strings.Contains(string(rel.Manifests), "Mine") {
			t.Errorf("manifests %s", rel.Manifests)
		}
	})
}

func TestHostileTemplates(t *testing.T) {
	t.Parallel()
	chain := ""
	for i := range 40 {
		chain += fmt.Sprintf(`{{ define "n%d" }}{{ template "n%d" . }}{{ include "n%d" . }}{{ end }}`, i, (i+1)%40, (i+1)%40)
	}
	for name, tt := range map[string]struct {
		template, values, want string
	}{
		"tpl recursion":                           {`{{ tpl .Values.x . }}`, `x: "{{ tpl .Values.x . }}"`, "deep"},
		"tpl recursion, define":                   {`{{ tpl .Values.x . }}`, `x: "{{ define \"a\" }}{{ end }}{{ tpl .Values.x . }}"`, "deep"},
		"include recursion":                       {`{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}`, "", "deep"},
		"template recursion":                      {`{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}`, "", "deep"},
		"recursion in turns":                      {chain + `{{ template "n0" . }}`, "", "deep"},
		"endless output":                          {`{{ range 1000000000 }}{{ range 1000 }}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{{ end }}{{ end }}`, "", "renders more than"},
		"doubling":                                {`{{ $s := "xxxxxxxxxxxxxxxx" }}{{ range until 60 }}{{ $s = printf "%s%s" $s $s }}{{ end }}`, "", "renders more than"},
		"doubling by cat":                         {`{{ $s := "xxxxxxxxxxxxxxxx" }}{{ range until 60 }}{{ $s = cat $s $s }}{{ end }}`, "", "renders more than"},
		"doubling by print":                       {`{{ $s := "xxxxxxxxxxxxxxxx" }}{{ range until 60 }}{{ $s = print $s $s }}{{ end }}`, "", "renders more than"},
		"doubling by join":                        {`{{ $s := "xxxxxxxxxxxxxxxx" }}{{ range until 60 }}{{ $s = join "" (list $s $s) }}{{ end }}`, "", "renders more than"},
		"doubling by replace":                     {`{{ $s := "xxxxxxxxxxxxxxxx" }}{{ range until 60 }}{{ $s = replace "x" "xx" $s }}{{ end }}`, "", "renders more than"},
		"repeat":                                  {`{{ repeat 1000000000000 "x" }}`, "", "renders more than"},
		"repeat, negative":                        {`{{ repeat -1 "x" }}`, "", "negative count"},
		"indent":                                  {`{{ indent 1000000000 "x" }}`, "", "renders more than"},
		"nindent":                                 {`{{ nindent 1000000000 "x" }}`, "", "renders more than"},
		"until":                                   {`{{ until 1000000000000 }}`, "", "at most"},
		"untilStep":                               {`{{ untilStep 0 1000000000000 1 }}`, "", "more than"},
		"seq":                                     {`{{ seq 1 1000000000000 }}`, "", "numbers up to"},
		"randAlphaNum":                            {`{{ randAlphaNum 1000000000000 }}`, "", "at most"},
		"blocks":                                  {strings.Repeat("{{ if true }}", 100_000) + strings.Repeat("{{ end }}", 100_000), "", "nested more than"},
		"blocks in tpl":                           {`{{ tpl (print (repeat 100000 "{{ if true }}") (repeat 100000 "{{ end }}")) . }}`, "", "nested more than"},
		"parentheses":                             {"{{ " + strings.Repeat("(", 1_000_000) + "1" + strings.Repeat(")", 1_000_000) + " }}", "", "max expression depth"},
		"panic":                                   {`{{ index (list 1) 5 }}`, "", "out of range"},
		"value that holds itself, toYamlPretty":   {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ toYamlPretty $d }}`, "", "holds itself"},
		"value that holds itself, printf":         {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ printf "%v" $d }}`, "", "holds itself"},
		"value that holds itself, printed":        {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ $d }}`, "", "holds itself"},
		"value that holds itself, quote":          {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ quote $d }}`, "", "holds itself"},
		"value that holds itself, toString":       {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ $x := toString $d }}`, "", "holds itself"},
		"value that holds itself, deepCopy":       {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ $x := deepCopy $d }}`, "", "holds itself"},
		"value that holds itself, merge":          {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ $x := merge (dict) $d }}`, "", "holds itself"},
		"value that holds itself, join":           {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ join "," (list $d) }}`, "", "holds itself"},
		"value that holds itself, toYaml":         {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ toYaml $d }}`, "", "holds itself"},
		"value that holds itself, toToml":         {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ toToml $d }}`, "", "holds itself"},
		"value that holds itself, in a field":     {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ $d.d.d.d }}`, "", "holds itself"},
		"value that holds itself, in a condition": {`{{ $d := dict }}{{ $_ := set $d "d" $d }}{{ if true }}{{ range list 1 }}{{ with 1 }}{{ $d | default 1 }}{{ end }}{{ end }}{{ end }}`, "", "holds itself"},
		"value that doubles":                      {`{{ $d := dict }}{{ range until 60 }}{{ $d = dict "a" $d "b" $d }}{{ end }}{{ toYaml $d }}`, "", "holds itself"},
		"list that doubles":                       {`{{ $d := list 1 }}{{ range until 60 }}{{ $d = list $d $d }}{{ end }}{{ $d }}`, "", "holds itself"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := demoChart(t, map[string]string{"templates/x.yaml": tt.template, "values.yaml": tt.values + "\n"})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := Load(ctx, dir, LoadOptions{})
			var le *LoadError
			if !errors.As(err, &le) || le.Stage != StageRender || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Load: %.300v, want a render error with %q", err, tt.want)
			}
			if len(err.Error()) > 1500 || strings.Contains(err.Error(), "\n") {
				t.Errorf("error of %d bytes: %.200s", len(err.Error()), err)
			}
		})
	}
}

// TestEndlessTemplatesEnd: they stop with the context, goroutine included.
func TestEndlessTemplatesEnd(t *testing.T) {
	t.Parallel()
	for name, template := range map[string]string{
		"empty loop":    `{{ range 1000000000000 }}{{ end }}`,
		"nested loops":  `{{ range until 1000000 }}{{ range $.Values.list }}{{ range $.Values.list }}{{ end }}{{ end }}{{ end }}`,
		"loop in tpl":   `{{ tpl "{{ range 1000000000000 }}{{ end }}" . }}`,
		"loop in block": `{{ block "x" . }}{{ with 1 }}{{ range $i := 1000000000000 }}{{ if true }}{{ continue }}{{ end }}{{ end }}{{ end }}{{ end }}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sources := []sourceFile{{full: "demo/templates/x.yaml", name: "templates/x.yaml", chart: "demo", text: template,
				scope: map[string]any{"Values": map[string]any{"list": make([]any, 1000)}}}}
			limit := errors.New("time is up")
			ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, limit)
			defer cancel()
			if _, err := renderSources(ctx, sources, new(recorder)); !errors.Is(err, limit) {
				t.Errorf("error %v, want %v", err, limit)
			}
			_, err := Load(ctx, demoChart(t, map[string]string{"templates/x.yaml": template}), LoadOptions{})
			if err == nil || !strings.Contains(err.Error(), "time is up") {
				t.Errorf("Load: %v, want the reason of the context", err)
			}
		})
	}
}

func TestHostileValues(t *testing.T) {
	t.Parallel()
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, tt := range map[string]struct{ values, want string }{
		"alias bomb": {bomb, "excessive aliasing"},
		"deep":       {"a: " + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), "max depth"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(t.Context(), demoChart(t, map[string]string{"values.yaml": tt.values}), LoadOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("chart's values: %v, want %q in it", err, tt.want)
			}
			_, err = Load(t.Context(), demoChart(t, nil), LoadOptions{ValueFiles: []string{writeFile(t, "v.yaml", []byte(tt.values))}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("user's values: %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestFilesGetStaysInside(t *testing.T) {
	t.Parallel()
	dir := demoChart(t, map[string]string{
		"templates/x.yaml": "apiVersion: v1\nkind: A\nv: {{ .Files.Get \"../../etc/passwd\" | quote }}\nw: {{ .Files.Get \"/etc/passwd\" | quote }}\nx: {{ .Files.Get \"own\" | quote }}\nz: {{ len (.Files.Glob \"/etc/*\") }}\n",
		"own":              "mine",
	})
	set, err := mustLoad(t, dir, LoadOptions{}).Objects()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"apiVersion": "v1", "kind": "A", "v": "", "w": "", "x": "mine", "z": int64(0)}
	if diff := cmp.Diff(want, set.Objects[0].Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzLoadArchive(f *testing.F) {
	f.Add(tgz(f, entry("demo/Chart.yaml", chartYAML), entry("demo/templates/x.yaml", "{{ tpl .Values.a . }}"), entry("demo/values.yaml", "a: b\n")))
	f.Add(tgz(f, entry("demo/Chart.yaml", chartYAML), entry("demo/charts/a.tgz", "x")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		files, err := readChartArchive(raw)
		if err != nil {
			return
		}
		for i, file := range files {
			if err := checkName(file.name); err != nil || i > 0 && files[i-1].name >= file.name {
				t.Errorf("file %q after %v: %v", file.name, files[:i], err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		l := &load{ref: "fuzz"}
		if err := l.fromFiles(ctx, new(Release), files); err != nil {
			var le *LoadError
			if !errors.As(err, &le) || strings.Contains(le.Error(), "\n") {
				t.Errorf("error %v", err)
			}
		}
	})
}

// FuzzLoadFiles renders charts of one template and one values file.
func FuzzLoadFiles(f *testing.F) {
	f.Add("kind: {{ .Values.a }}", "a: b")
	f.Add(`{{ range 3 }}{{ tpl .Values.x $ }}{{ end }}{{ define "y" }}{{ end }}`, "x: '{{ include \"y\" 1 }}'")
	f.Fuzz(func(t *testing.T, template, values string) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		l := &load{ref: "fuzz"}
		rel := new(Release)
		err := l.fromFiles(ctx, rel, []chartFile{
			{"Chart.yaml", []byte(chartYAML)}, {"templates/x.yaml", []byte(template)}, {"values.yaml", []byte(values)},
		})
		var le *LoadError
		if err != nil && !errors.As(err, &le) {
			t.Errorf("error %v", err)
		}
		for _, doc := range strings.Split(string(rel.Manifests), "\n---\n")[1:] {
			if !strings.HasPrefix(doc, manifest.SourcePrefix) {
				t.Errorf("document without its source: %q", doc)
			}
		}
	})
}
