package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	v1mutate "github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/companyos/helmproof/internal/harden"
	"github.com/companyos/helmproof/internal/imagetest"
)

const fileCapability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_bind_service=ep

// imageOf makes an image of a user with a layer for each list of files.
func imageOf(t *testing.T, user string, layers ...[]tar.Header) v1.Image {
	t.Helper()
	return imageWith(t, v1.Config{User: user}, layers...)
}

// imageWith is imageOf with more of a configuration than its user.
func imageWith(t *testing.T, config v1.Config, layers ...[]tar.Header) v1.Image {
	t.Helper()
	img := v1.Image(empty.Image)
	for _, files := range layers {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range files {
			if h.Mode == 0 {
				h.Mode = 0o755
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = v1mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	img, err := v1mutate.Config(img, config)
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.Platform(t, img, "linux/amd64")
}

// TestHardenResolve holds what --resolve adds, by default and when all is asked
// for, against images as they are in the field: nothing that would stop them.
func TestHardenResolve(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	caps := map[string]string{"SCHILY.xattr.security.capability": fileCapability}
	capable := func(name string) []tar.Header { return []tar.Header{{Name: name, PAXRecords: caps}} }
	plain := []tar.Header{{Name: "app"}, {Name: "bin/su", Mode: 0o4755}}
	const nonRoot, escalation, drop, readOnly = harden.RuleNonRoot, harden.RuleEscalation, harden.RuleCapabilities, harden.RuleReadOnly
	for _, tt := range []struct {
		name string
		img  v1.Image
		want []harden.Rule // by default
		all  []harden.Rule // with --aggressive, of the four
	}{
		{"caddy", imageOf(t, "", plain, capable("usr/bin/caddy")), nil, []harden.Rule{readOnly}},
		{"coredns", imageOf(t, "65532:65532", capable("coredns")), []harden.Rule{nonRoot}, []harden.Rule{nonRoot, readOnly}},
		{"ping", imageOf(t, "1000", []tar.Header{{Name: "bin/ping", Mode: 0o4755}}), []harden.Rule{nonRoot}, []harden.Rule{nonRoot, readOnly}},
		{"vault", imageOf(t, "vault", capable("bin/vault")), nil, []harden.Rule{readOnly}},
		{"hardlink", imageOf(t, "1000", capable("a"), []tar.Header{{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}, {Name: ".wh.a"}}), []harden.Rule{nonRoot}, []harden.Rule{nonRoot, readOnly}},
		{"nginx", imageOf(t, "", plain), nil, []harden.Rule{escalation, drop, readOnly}},
		{"redis", imageOf(t, "0:0", plain), nil, []harden.Rule{escalation, drop, readOnly}},
		{"named", imageOf(t, "nginx", plain), nil, []harden.Rule{escalation, drop, readOnly}},
		// Written roots: of databases that declare them, as root and as themselves.
		{"postgres", imageWith(t, v1.Config{Volumes: map[string]struct{}{"/var/lib/postgresql/data": {}}}, plain), nil, []harden.Rule{escalation, drop}},
		{"grafana", imageWith(t, v1.Config{User: "472", Volumes: map[string]struct{}{"/var/lib/grafana": {}}}, plain), []harden.Rule{nonRoot, escalation, drop}, []harden.Rule{nonRoot, escalation, drop}},
		{"many", imageWith(t, v1.Config{User: "65532", Volumes: manyVolumes(101)}, plain), nil, []harden.Rule{nonRoot, escalation, drop}},
		{"hundred", imageWith(t, v1.Config{User: "65532", Volumes: manyVolumes(100)}, plain), []harden.Rule{nonRoot, escalation, drop}, []harden.Rule{nonRoot, escalation, drop}},
		{"static", imageOf(t, "65532", plain), []harden.Rule{nonRoot, escalation, drop}, []harden.Rule{nonRoot, escalation, drop, readOnly}},
		{"replaced", imageOf(t, "65532", capable("app"), plain), []harden.Rule{nonRoot, escalation, drop}, []harden.Rule{nonRoot, escalation, drop, readOnly}},
		{"removed", imageOf(t, "65532", capable("opt/x/app"), []tar.Header{{Name: "opt/.wh.x"}}), []harden.Rule{nonRoot, escalation, drop}, []harden.Rule{nonRoot, escalation, drop, readOnly}},
		{"emptied", imageOf(t, "65532", capable("opt/app"), []tar.Header{{Name: "opt/.wh..wh..opq"}}), []harden.Rule{nonRoot, escalation, drop}, []harden.Rule{nonRoot, escalation, drop, readOnly}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			image := imagetest.Push(t, host+"/team/"+tt.name+":1", tt.img)
			if got := hardenedRules(t, image, "--resolve", "--plain-http"); !slices.Equal(got, tt.want) {
				t.Errorf("by default %v, want %v", got, tt.want)
			}
			if got := hardenedRules(t, image, "--resolve", "--plain-http", "--aggressive"); !slices.Equal(got, tt.all) {
				t.Errorf("all that is asked for: %v, want %v", got, tt.all)
			}
		})
	}
	t.Run("not there", func(t *testing.T) {
		t.Parallel()
		if got := hardenedRules(t, host+"/team/none:1", "--resolve", "--plain-http"); len(got) > 0 {
			t.Errorf("%v, want nothing", got)
		}
	})
	t.Run("another platform", func(t *testing.T) {
		t.Parallel()
		image := imagetest.Push(t, host+"/team/index:1", imagetest.Index(t, map[string]v1.Image{"linux/amd64": imageOf(t, "1000", plain)}))
		if got := hardenedRules(t, image, "--resolve", "--plain-http", "--platform", "linux/arm64"); len(got) > 0 {
			t.Errorf("%v, want nothing", got)
		}
		if got := hardenedRules(t, image, "--resolve", "--plain-http"); len(got) != 3 {
			t.Errorf("%v, want three", got)
		}
	})
}

// TestHardenSaysWhereImagesWrite holds that the directories that an image declares, and
// those that programs usually write to, are read of its layers and named.
func TestHardenSaysWhereImagesWrite(t *testing.T) {
	t.Parallel()
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
	image := imagetest.Push(t, imagetest.Registry(t)+"/team/web:1", imageWith(t, v1.Config{Volumes: map[string]struct{}{"/data/": {}, "/": {}}},
		[]tar.Header{dir("tmp/"), dir("var/run"), dir("var/cache/apt"), dir("./var/cache/nginx"), dir("var/lib/x"), {Name: "data/first"}, {Name: "var/cache/nginx/f"}},
		[]tar.Header{{Name: "var/run", Typeflag: tar.TypeSymlink, Linkname: "/run"}, dir("run")}))
	in := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n    - name: app\n      image: " + image + "\n"
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"harden", "-o", "json", "--resolve", "--plain-http"}, stdio{in: strings.NewReader(in), out: &out, err: &errs}); code != exitPass {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var got hardenJSON
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	const want = "nobody says where the program writes, but its image has for that VOLUME /data and /run, /tmp, /var/cache/nginx: mount an emptyDir at each that it writes to, with a copy of the files that it hides in /data, /var/cache/nginx"
	if !slices.ContainsFunc(got.Kept, func(k harden.Kept) bool { return k.Rule == harden.RuleReadOnly && k.Reason == want }) {
		t.Errorf("not said: %s\nbut %+v", want, got.Kept)
	}
}

// manyVolumes are n directories of an image's configuration.
func manyVolumes(n int) map[string]struct{} {
	out := map[string]struct{}{}
	for i := range n {
		out[fmt.Sprintf("/data/%d", i)] = struct{}{}
	}
	return out
}

// hardenedRules are the rules that harden adds something by to a pod of the image,
// of those about users, capabilities and the root filesystem.
func hardenedRules(t *testing.T, image string, args ...string) []harden.Rule {
	t.Helper()
	in := "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n    - name: app\n      image: " + image + "\n"
	var out, errs bytes.Buffer
	if code := run(t.Context(), append([]string{"harden", "-o", "json"}, args...), stdio{in: strings.NewReader(in), out: &out, err: &errs}); code != exitPass {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var got hardenJSON
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var rules []harden.Rule
	for _, c := range got.Changes {
		if c.Rule != harden.RuleSeccomp && c.Rule != harden.RuleToken {
			rules = append(rules, c.Rule)
		}
	}
	return rules
}
