package release

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

// unpack writes the files of a tar archive, all of them in folders of their own.
func unpack(t *testing.T, raw, dir string) {
	t.Helper()
	for tr := tar.NewReader(strings.NewReader(raw)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, body, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestImage reads the image back as a layout: valid, by the digest that is published,
// not root, with no other program than helmproof, and with an SBOM that refers to it.
func TestImage(t *testing.T) {
	t.Parallel()
	r := small(t)
	if err := r.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	files := content(t, r.Dist)
	dir := t.TempDir()
	unpack(t, files["helmproof-v1.2.3-image.tar"], dir)
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	top := list.Manifests[0]
	if got := top.Digest.String() + "\n"; got != files[DigestFile] || top.Annotations["org.opencontainers.image.ref.name"] != "v1.2.3" {
		t.Errorf("index %s %v, published %s", got, top.Annotations, files[DigestFile])
	}
	index, err := root.ImageIndex(top.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	subjects := map[v1.Hash]bool{}
	for _, d := range list.Manifests[1:] {
		bom, err := root.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		m, err := bom.Manifest()
		if err != nil || m.Subject == nil || string(m.Config.MediaType) != bomType || string(m.Layers[0].MediaType) != bomType {
			t.Fatalf("SBOM %+v %v", m, err)
		}
		subjects[m.Subject.Digest] = true
	}
	var platforms []string
	for _, d := range manifest.Manifests {
		platforms = append(platforms, d.Platform.String())
		if !subjects[d.Digest] {
			t.Errorf("%s has no SBOM", d.Platform)
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, d.Platform.Architecture)
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms %v", platforms)
	}
}

func checkImage(t *testing.T, img v1.Image, arch string) {
	t.Helper()
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Config.User != "65532:65532" || cfg.Architecture != arch || !cfg.Created.Equal(when) || cfg.Config.Labels["org.opencontainers.image.revision"] != strings.Repeat("ab", 20) ||
		!slices.Equal(cfg.Config.Entrypoint, []string{"/usr/bin/helmproof"}) {
		t.Errorf("config %+v", cfg)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers %v", len(layers), err)
	}
	open, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	var programs []string
	var certificates int
	for tr := tar.NewReader(open); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0 {
			programs = append(programs, h.Name)
		}
		if h.Name == "etc/ssl/certs/ca-certificates.crt" {
			pem, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			certificates = strings.Count(string(pem), "BEGIN CERTIFICATE")
		}
	}
	if !slices.Equal(programs, []string{"usr/bin/helmproof"}) || certificates < 50 {
		t.Errorf("programs %v, %d certificates", programs, certificates)
	}
}

// TestSBOM: what the program is built from, as the compiler noted it.
func TestSBOM(t *testing.T) {
	t.Parallel()
	r := small(t)
	info, err := r.Info("")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := SBOM(info, r.Version, Platforms[2], r.When)
	if err != nil {
		t.Fatal(err)
	}
	var got bom
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, c := range got.Components {
		refs = append(refs, c.PURL)
	}
	want := []string{"pkg:golang/example.com/helm/v4@v4.0.1", "pkg:golang/sigs.k8s.io/yaml@v1.6.0", "pkg:golang/std@1.26.8"}
	if !slices.Equal(refs, want) || !slices.Equal(got.Dependencies[0].DependsOn, want) || got.Metadata.Component.PURL != "pkg:golang/github.com/companyos/helmproof@v1.2.3" {
		t.Errorf("%s", raw)
	}
	info.Deps = nil
	if _, err := SBOM(info, r.Version, Platforms[2], r.When); err == nil || !strings.Contains(err.Error(), "nothing of what it is built from") {
		t.Errorf("a program without modules: %v", err)
	}
}

// TestProvenance: it names every file and the image by digest, and verifies by the
// signer's key alone; of other sums it does not.
func TestProvenance(t *testing.T) {
	t.Parallel()
	private, public, err := attest.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "release.key")
	if err := os.WriteFile(key, private, 0o600); err != nil {
		t.Fatal(err)
	}
	r := small(t)
	if r.Signer, err = attest.LoadSigner(key, func() ([]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if err := r.Make(t.Context()); err != nil {
		t.Fatal(err)
	}
	files := content(t, r.Dist)
	trust := new(attest.Trust)
	if err := trust.Add(public); err != nil {
		t.Fatal(err)
	}
	signed := []byte(files[SignedFile])
	st, _, err := trust.Verify(signed, ProvenanceType, evidence.DigestOf([]byte(files[SumsFile])))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := st.Marshal()
	if err != nil || string(raw) != files[ProvenanceFile] {
		t.Errorf("signed was %s %v, not %s", raw, err, files[ProvenanceFile])
	}
	about := map[string]string{}
	for _, s := range st.Subjects {
		about[s.Name] = string(s.Digest)
	}
	for name, body := range files {
		if want := string(evidence.DigestOf([]byte(body))); name != SignedFile && name != ProvenanceFile && about[name] != want {
			t.Errorf("%s: %q, want %s", name, about[name], want)
		}
	}
	if got := about["github.com/companyos/helmproof"] + "\n"; got != files[DigestFile] {
		t.Errorf("image %q, want %s", got, files[DigestFile])
	}
	if !strings.Contains(string(st.Predicate), `"gitCommit":"`+r.Commit+`"`) {
		t.Errorf("predicate %s", st.Predicate)
	}
	if _, _, err := trust.Verify(signed, ProvenanceType, evidence.DigestOf([]byte(files[SumsFile]+"x"))); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("other sums: %v", err)
	}
}
