package images

import (
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/internal/imagetest"
)

// over derives findings of sealed artifacts by the default policy, changed.
func over(t *testing.T, art *collectors.Artifacts, change func(*Policy)) (*Override, *collectors.Artifacts) {
	t.Helper()
	l := DefaultLists()
	change(&l.Policy)
	o, err := l.Over(art, nil, nil, Taken{})
	if err != nil {
		t.Fatal(err)
	}
	out := collectors.NewArtifacts(nil)
	files := art.Files()
	for name, raw := range o.Files {
		files[name] = raw
	}
	for name, raw := range files {
		if _, err := out.Put(name, raw); err != nil {
			t.Fatal(err)
		}
	}
	return o, out
}

// TestPlatformNotAskedFor: of a platform that was not asked for when the evidence was
// collected nothing is known, which is not the same as that it does not exist.
func TestPlatformNotAskedFor(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	amd, arm := imagetest.Platform(t, imagetest.Debian(t, nil), "linux/amd64"), imagetest.Platform(t, imagetest.Debian(t, map[string]string{"a": "1"}), "linux/arm64")
	image := imagetest.Push(t, host+"/api:1", imagetest.Index(t, map[string]v1.Image{"linux/amd64": amd, "linux/arm64": arm}))
	o := Options{Policy: policyFor(RulePin, RuleScanned)}
	o.Policy.Platforms = []string{"linux/arm64/v8"}
	var err error
	if o.Gathered, err = Gather(t.Context(), Sources{Resolve: true, PlainHTTP: true, Platforms: o.Policy.Platforms}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Gathered.Prepare(t.Context(), []string{image}, nil); err != nil {
		t.Fatal(err)
	}
	art := sealed(t, podOf(image), o)
	for _, tt := range []struct {
		platform, rule, outcome, want string
	}{
		{"linux/amd64", RulePin, "not-checked", "the registry was not asked for its image for linux/amd64"},
		{"linux/amd64", RuleScanned, "not-checked", "the registry was not asked for its image for linux/amd64"},
		{"linux/arm64", RulePin, "pass", "is an index of linux/amd64, linux/arm64"}, // another spelling of what was asked for
		{"linux/arm64", RuleScanned, "not-checked", "not scanned"},
		{"linux/s390x", RulePin, "fail", "nothing in it runs on linux/s390x"},
	} {
		_, changed := over(t, art, func(p *Policy) { p.Platforms = []string{tt.platform} })
		got := lines(derive(t, changed), tt.rule)
		if !slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, tt.outcome) && strings.Contains(l, tt.want) }) {
			t.Errorf("%s of %s: %q, want %s", tt.rule, tt.platform, got, tt.want)
		}
	}
}

// TestFieldsOfTheGate: an image in a field that only the gate knows was not scanned.
func TestFieldsOfTheGate(t *testing.T) {
	t.Parallel()
	art := sealed(t, "apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: {image: "+imageA+"}\n", Options{Policy: policyFor(RuleScanned)})
	if o, _ := over(t, art, func(*Policy) {}); !o.Same {
		t.Error("the default is another list than the default")
	}
	o, more := over(t, art, func(p *Policy) { p.Fields = []string{"example.com/Engine:spec.image"} })
	if got := lines(derive(t, more), RuleScanned); o.Same || len(got) != 1 || !strings.HasPrefix(got[0], "not-checked") || !strings.Contains(got[0], "not scanned") {
		t.Errorf("same %v, %q", o.Same, got)
	}
}
