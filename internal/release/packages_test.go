package release

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestPackages: what nfpm is asked for, and, where HELMPROOF_TEST_NFPM names it, that its
// packages are the same bytes twice and that dpkg reads them.
func TestPackages(t *testing.T) {
	t.Parallel()
	asked := map[string]nfpmConfig{}
	one, two := small(t), small(t)
	nfpm := os.Getenv("HELMPROOF_TEST_NFPM")
	for _, r := range []*Release{one, two} {
		r.Platforms = []Platform{{"linux", "amd64"}}
		r.Packager = func(ctx context.Context, format, config, target string) error {
			raw, err := os.ReadFile(config)
			if err != nil {
				return err
			}
			var c nfpmConfig
			if err := yaml.UnmarshalStrict(raw, &c); err != nil {
				return err
			}
			asked[format] = c
			if nfpm == "" {
				return os.WriteFile(target, []byte("package"), 0o600)
			}
			cmd := exec.CommandContext(ctx, nfpm, "package", "--config", config, "--packager", format, "--target", target)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Logf("%s", out)
			}
			return err
		}
		if err := r.Make(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var dst []string
	for _, c := range asked["rpm"].Contents {
		dst = append(dst, c.Destination)
	}
	if want := []string{"/usr/bin/helmproof", "/usr/share/man/man1/helmproof.1", "/usr/share/doc/helmproof/LICENSE"}; !slices.Equal(dst, want) {
		t.Errorf("it installs %v, want %v", dst, want)
	}
	a, b := content(t, one.Dist), content(t, two.Dist)
	if !maps.Equal(a, b) {
		for name := range a {
			if a[name] != b[name] {
				t.Errorf("%s differs", name)
			}
		}
	}
	if nfpm == "" {
		t.Skip("HELMPROOF_TEST_NFPM is not set: `make test` builds nfpm and sets it")
	}
	dpkg, err := exec.LookPath("dpkg-deb")
	if err != nil {
		t.Skip("dpkg-deb is not installed")
	}
	deb := filepath.Join(one.Dist, "helmproof-v1.2.3-linux-amd64.deb")
	for what, want := range map[string]string{"--field": "Version: 1.2.3", "--contents": "./usr/bin/helmproof"} {
		if out, err := exec.CommandContext(t.Context(), dpkg, what, deb).CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("dpkg-deb %s: %v %s, want %s", what, err, out, want)
		}
	}
}

// TestManifests: krew's manifest and Homebrew's formula name every platform that they
// have by the digest that SHA256SUMS has.
func TestManifests(t *testing.T) {
	t.Parallel()
	r := small(t)
	if err := r.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	files := content(t, r.Dist)
	sums := map[string]string{}
	for line := range strings.Lines(files[SumsFile]) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		sums[name] = sum
	}
	var m krewManifest
	raw, err := yaml.YAMLToJSONStrict([]byte(files["helmproof.krew.yaml"]))
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Spec.Platforms) != len(Platforms) {
		t.Errorf("krew: %d platforms", len(m.Spec.Platforms))
	}
	for _, p := range m.Spec.Platforms {
		name := p.URI[strings.LastIndexByte(p.URI, '/')+1:]
		if p.SHA256 == "" || p.SHA256 != sums[name] || !strings.Contains(name, p.Selector.Labels["os"]+"-"+p.Selector.Labels["arch"]) {
			t.Errorf("krew: %s has %s", name, p.SHA256)
		}
	}
	brew := files["helmproof.rb"]
	pairs := regexp.MustCompile(`url "[^"]*/([^/"]+)"\n +sha256 "([0-9a-f]{64})"`).FindAllStringSubmatch(brew, -1)
	for _, m := range pairs {
		if sums[m[1]] != m[2] {
			t.Errorf("Homebrew: %s has %s", m[1], m[2])
		}
	}
	if len(pairs) != 4 || !strings.Contains(brew, `version "1.2.3"`) || strings.Contains(brew, "windows") {
		t.Errorf("%s", brew)
	}
	if ruby, err := exec.LookPath("ruby"); err == nil {
		if out, err := exec.CommandContext(t.Context(), ruby, "-c", filepath.Join(r.Dist, "helmproof.rb")).CombinedOutput(); err != nil {
			t.Errorf("ruby -c: %v %s", err, out)
		}
	}
}
