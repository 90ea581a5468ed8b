package release

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	source = "https://github.com/companyos/helmproof"
	// user is that of distroless images: it has no name elsewhere, and is not root.
	user = "65532"
)

// Image is one of the release's image, with its SBOM.
type Image struct {
	Platform Platform
	Program  string // the file
	SBOM     []byte
}

// roots are the certificates that registries and services are known by: Mozilla's, as
// Go's own module has them, so that they do not depend on the machine. Those that are
// trusted for some hosts or up to a day only cannot be said so in a file: they are left out.
func roots() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return b.Bytes()
}

// files is all that the image has: no shell, nobody but its user, and a place to write.
func (i *Image) files() []File {
	dir := func(name string, mode fs.FileMode) File { return File{Name: name, Mode: fs.ModeDir | mode} }
	return []File{
		dir("etc", 0o755), dir("etc/ssl", 0o755), dir("etc/ssl/certs", 0o755), dir("usr", 0o755), dir("usr/bin", 0o755), dir("tmp", fs.ModeSticky|0o777),
		{Name: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:" + user + ":" + user + ":nonroot:/tmp:/sbin/nologin\n")},
		{Name: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nnonroot:x:" + user + ":\n")},
		{Name: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Data: roots()},
		{Name: "usr/bin/helmproof", Mode: 0o755, From: i.Program},
	}
}

// layer is the files as one layer.
func (i *Image) layer(when time.Time) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(Tar(w, i.files(), when)) }()
		return r, nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// build makes the image.
func (i *Image) build(version, commit string, when time.Time) (v1.Image, error) {
	l, err := i.layer(when)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: i.Platform.OS, Architecture: i.Platform.Arch, Created: v1.Time{Time: when.UTC()}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User: user + ":" + user, WorkingDir: "/tmp", Entrypoint: []string{"/usr/bin/helmproof"},
			Env: []string{"PATH=/usr/bin", "HOME=/tmp"},
			Labels: map[string]string{
				"org.opencontainers.image.title": "helmproof", "org.opencontainers.image.description": "Proves that a Helm release is hardened",
				"org.opencontainers.image.source": source, "org.opencontainers.image.licenses": "Apache-2.0",
				"org.opencontainers.image.version": version, "org.opencontainers.image.revision": commit, "org.opencontainers.image.created": when.UTC().Format(time.RFC3339),
			},
		},
	}); err != nil {
		return nil, err
	}
	return mutate.Append(img, mutate.Addendum{Layer: l, History: v1.History{Created: v1.Time{Time: when.UTC()}, CreatedBy: "make release"}})
}

// referrer is the artifact that has an image's SBOM, found by the image's digest.
func (i *Image) referrer(subject v1.Descriptor) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), bomType)
	img, err := mutate.Append(img, mutate.Addendum{Layer: static.NewLayer(i.SBOM, bomType)})
	if err != nil {
		return nil, err
	}
	return withSubject(img, subject)
}

func withSubject(img v1.Image, subject v1.Descriptor) (v1.Image, error) {
	out, ok := mutate.Subject(img, subject).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("an artifact about %s is no image", subject.Digest)
	}
	return out, nil
}

// WriteImage writes images for several platforms, with their SBOMs, to a new folder as
// an OCI layout, and returns the digest of the index that names them: what a user pins.
// The index has the version as its name; the SBOMs are referrers of the images.
func WriteImage(dir string, images []Image, version, commit string, when time.Time) (v1.Hash, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var boms []v1.Image
	for _, i := range images {
		img, err := i.build(version, commit, when)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("image for %s: %w", i.Platform, err)
		}
		raw, err := img.RawManifest()
		if err != nil {
			return v1.Hash{}, fmt.Errorf("image for %s: %w", i.Platform, err)
		}
		digest, size, err := v1.SHA256(bytes.NewReader(raw))
		if err != nil {
			return v1.Hash{}, err
		}
		d := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: size}
		b, err := i.referrer(d)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("SBOM of the image for %s: %w", i.Platform, err)
		}
		boms = append(boms, b)
		d.Platform = &v1.Platform{OS: i.Platform.OS, Architecture: i.Platform.Arch}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: d})
	}
	digest, err := index.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": version})); err != nil {
		return v1.Hash{}, err
	}
	for _, b := range boms {
		if err := path.AppendImage(b); err != nil {
			return v1.Hash{}, err
		}
	}
	return digest, nil
}

// folder lists a folder's files, for an archive. They are read when it is written.
func folder(dir string) ([]File, error) {
	var out []File
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		out = append(out, File{Name: filepath.ToSlash(rel), Mode: 0o644, From: name})
		return nil
	})
	return out, err
}

// writeImage writes the images as a layout in one file (an oci-archive), and returns
// the index's digest.
func (r *Release) writeImage(images []Image, work, name string) (_ string, err error) {
	dir := filepath.Join(work, "image")
	digest, err := WriteImage(dir, images, r.Version, r.Commit, r.When)
	if err != nil {
		return "", err
	}
	files, err := folder(dir)
	if err != nil {
		return "", err
	}
	if err := writeTo(name, func(w io.Writer) error { return Tar(w, files, r.When) }); err != nil {
		return "", err
	}
	return digest.String(), os.RemoveAll(dir)
}
