package release

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"sigs.k8s.io/yaml"
)

// Packager makes a package of a format (deb or rpm) by a configuration of nfpm.
type Packager func(ctx context.Context, format, config, target string) error

// The keys of nfpm's configuration that a package has (https://nfpm.goreleaser.com/docs/configuration/).
type nfpmConfig struct {
	Name        string        `json:"name"`
	Arch        string        `json:"arch"`
	Platform    string        `json:"platform"`
	Version     string        `json:"version"`
	Schema      string        `json:"version_schema"`
	MTime       string        `json:"mtime"`
	Section     string        `json:"section"`
	Priority    string        `json:"priority"`
	Maintainer  string        `json:"maintainer"`
	Description string        `json:"description"`
	Vendor      string        `json:"vendor"`
	Homepage    string        `json:"homepage"`
	License     string        `json:"license"`
	Contents    []nfpmContent `json:"contents"`
	RPM         struct {
		BuildHost string `json:"buildhost"`
	} `json:"rpm"`
}

type nfpmContent struct {
	Source      string       `json:"src"`
	Destination string       `json:"dst"`
	Info        nfpmFileInfo `json:"file_info"`
}

type nfpmFileInfo struct {
	Mode  int    `json:"mode"`
	MTime string `json:"mtime"`
}

// installed is where a package puts a file of an archive, empty for those that it leaves out.
func installed(name string) string {
	switch {
	case name == "helmproof":
		return "/usr/bin/helmproof"
	case name == Completions["bash"]:
		return "/usr/share/bash-completion/completions/helmproof"
	case name == Completions["zsh"]:
		return "/usr/share/zsh/vendor-completions/_helmproof"
	case name == Completions["fish"]:
		return "/usr/share/fish/vendor_completions.d/helmproof.fish"
	case strings.HasPrefix(name, "man/man1/"):
		return "/usr/share/" + name
	case !strings.Contains(name, "/"):
		return "/usr/share/doc/helmproof/" + name
	}
	return ""
}

// Completions has the names of the shells' completions in an archive.
var Completions = map[string]string{
	"bash": "completions/helmproof.bash", "zsh": "completions/_helmproof", "fish": "completions/helmproof.fish", "powershell": "completions/helmproof.ps1",
}

// packages makes the packages of a platform of Linux, and returns their names in Dist.
func (r *Release) packages(ctx context.Context, p Platform, program string, beside []File, work string) ([]string, error) {
	dir, err := os.MkdirTemp(work, "package-")
	if err != nil {
		return nil, err
	}
	stamp := r.When.UTC().Format(time.RFC3339)
	c := nfpmConfig{
		Name: "helmproof", Arch: p.Arch, Platform: p.OS, Version: r.Version, Schema: "semver", MTime: stamp, Section: "utils", Priority: "optional",
		Maintainer: "companyos <helmproof@companyos.example>", Vendor: "companyos", Homepage: source, License: "Apache-2.0",
		Description: "Proves that a Helm release is hardened\nCollects evidence about Helm charts, decides a verdict against a control profile,\nand seals it in a signed bundle that anyone can verify again.",
	}
	c.RPM.BuildHost = "localhost" // otherwise that of the machine
	for _, f := range append([]File{{Name: "helmproof", Mode: 0o755, From: program}}, beside...) {
		dst := installed(f.Name)
		if dst == "" {
			continue
		}
		if f.From == "" {
			f.From = filepath.Join(dir, path.Base(f.Name))
			if err := os.WriteFile(f.From, f.Data, 0o600); err != nil {
				return nil, err
			}
		}
		if f.From, err = filepath.Abs(f.From); err != nil {
			return nil, err
		}
		c.Contents = append(c.Contents, nfpmContent{f.From, dst, nfpmFileInfo{int(f.Mode.Perm()), stamp}})
	}
	raw, err := json.Marshal(c) // which is YAML, too
	config := filepath.Join(dir, "nfpm.yaml")
	if err == nil {
		err = os.WriteFile(config, raw, 0o600)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, format := range []string{"deb", "rpm"} {
		name := base(p, r.Version) + "." + format
		if err := r.Packager(ctx, format, config, filepath.Join(r.Dist, name)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		names = append(names, name)
	}
	return names, os.RemoveAll(dir)
}

// download is where a release's files are meant to be.
func (r *Release) download(p Platform) string {
	return source + "/releases/download/" + r.Version + "/" + p.Archive(r.Version)
}

var formula = template.Must(template.New("formula").Parse(`# A formula for Homebrew, of a tap of yours: Formula/helmproof.rb.
class Helmproof < Formula
  desc "Proves that a Helm release is hardened"
  homepage "{{.Homepage}}"
  version "{{.Version}}"
  license "Apache-2.0"
{{range .Systems}}
  on_{{.Name}} do
{{- range .Archives}}
    on_{{.CPU}} do
      url "{{.URL}}"
      sha256 "{{.Sum}}"
    end
{{- end}}
  end
{{end}}
  def install
    bin.install "helmproof"
    man1.install Dir["man/man1/*.1"]
    bash_completion.install "completions/helmproof.bash" => "helmproof"
    zsh_completion.install "completions/_helmproof"
    fish_completion.install "completions/helmproof.fish"
    pkgshare.install "charts"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/helmproof version --quiet")
  end
end
`))

type brewArchive struct{ CPU, URL, Sum string }

type brewSystem struct {
	Name     string
	Archives []brewArchive
}

// homebrew writes the formula for the platforms that Homebrew has; nil: there is none.
func (r *Release) homebrew(sums map[string]string) ([]byte, error) {
	var systems []brewSystem
	for _, s := range []struct{ os, name string }{{"darwin", "macos"}, {"linux", "linux"}} {
		one := brewSystem{Name: s.name}
		for _, p := range r.Platforms {
			if p.OS == s.os {
				cpu := map[string]string{"amd64": "intel", "arm64": "arm"}[p.Arch]
				one.Archives = append(one.Archives, brewArchive{cpu, r.download(p), sums[p.Archive(r.Version)]})
			}
		}
		if len(one.Archives) > 0 {
			systems = append(systems, one)
		}
	}
	if len(systems) == 0 {
		return nil, nil
	}
	var b bytes.Buffer
	err := formula.Execute(&b, struct {
		Homepage, Version string
		Systems           []brewSystem
	}{source, strings.TrimPrefix(r.Version, "v"), systems})
	return b.Bytes(), err
}

// The manifest of a plugin of kubectl (https://krew.sigs.k8s.io/docs/developer-guide/plugin-manifest/).
type krewManifest struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata"`
	Spec       krewSpec          `json:"spec"`
}

type krewSpec struct {
	Version     string         `json:"version"`
	Homepage    string         `json:"homepage"`
	Short       string         `json:"shortDescription"`
	Description string         `json:"description"`
	Platforms   []krewPlatform `json:"platforms"`
}

type krewPlatform struct {
	Selector struct {
		Labels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string     `json:"uri"`
	SHA256 string     `json:"sha256"`
	Files  []krewFile `json:"files"`
	Bin    string     `json:"bin"`
}

type krewFile struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// krew writes the manifest: kubectl helmproof is the program itself.
func (r *Release) krew(sums map[string]string) ([]byte, error) {
	m := krewManifest{APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: map[string]string{"name": "helmproof"}, Spec: krewSpec{
		Version: r.Version, Homepage: source, Short: "Prove that a Helm release is hardened",
		Description: "Collects evidence about Helm charts and releases, decides a verdict against a\ncontrol profile, and seals it in a signed bundle that anyone can verify again.\n",
	}}
	for _, p := range r.Platforms {
		k := krewPlatform{URI: r.download(p), SHA256: sums[p.Archive(r.Version)], Bin: p.program()}
		k.Selector.Labels = map[string]string{"os": p.OS, "arch": p.Arch}
		for _, name := range []string{p.program(), "LICENSE"} {
			k.Files = append(k.Files, krewFile{base(p, r.Version) + "/" + name, "."})
		}
		m.Spec.Platforms = append(m.Spec.Platforms, k)
	}
	return yaml.Marshal(m)
}

// manifests writes what package managers read of a release that lies where download
// says, and returns the names in Dist.
func (r *Release) manifests(sums map[string]string) ([]string, error) {
	brew, err := r.homebrew(sums)
	if err != nil {
		return nil, fmt.Errorf("formula: %w", err)
	}
	krew, err := r.krew(sums)
	if err != nil {
		return nil, fmt.Errorf("manifest for krew: %w", err)
	}
	var names []string
	for _, f := range []File{{Name: "helmproof.rb", Data: brew}, {Name: "helmproof.krew.yaml", Data: krew}} {
		if f.Data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(r.Dist, f.Name), f.Data, 0o644); err != nil {
			return nil, err
		}
		names = append(names, f.Name)
	}
	return names, nil
}
