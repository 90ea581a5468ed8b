package kube

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Image is a container image around one static program.
type Image struct {
	Ref    string   // with a tag, as pods name it; they need imagePullPolicy Never
	Binary string   // path of the program
	Args   []string // before those that the pod gives
	User   string   // default 65532:65532
	// Applets make it an image without an entry point, in which the program is called
	// by each of these names, as busybox is.
	Applets []string
	Files   map[string][]byte // besides, by path; all can be run
}

// Busybox is the path of a static busybox, which `make kube` fetches or the machine
// has; empty: there is none.
func (c *Cluster) Busybox() string {
	installed, err := exec.LookPath("busybox")
	if err != nil {
		installed = ""
	}
	for _, box := range []string{filepath.Join(c.bin, "busybox"), installed} {
		f, err := elf.Open(box)
		if err != nil {
			continue
		}
		static := f.Section(".interp") == nil
		if f.Close() == nil && static {
			return box
		}
	}
	return ""
}

// LoadImage makes an image known to both real nodes.
func (c *Cluster) LoadImage(ctx context.Context, img Image) error {
	_, err := c.PinImage(ctx, img)
	return err
}

// PinImage is LoadImage for pods that name the image by its digest, which it
// returns: "sha256:…".
func (c *Cluster) PinImage(ctx context.Context, img Image) (digest string, err error) {
	content, digest, err := img.OCI()
	if err != nil {
		return "", fmt.Errorf("make image %s: %w", img.Ref, err)
	}
	repository := img.Ref[:strings.LastIndexByte(img.Ref, ':')] // OCI holds that there is a tag
	return digest, c.load(ctx, img, content, repository+"@"+digest)
}

func (c *Cluster) load(ctx context.Context, img Image, content []byte, pinned string) error {
	f, err := os.CreateTemp(c.Dir, "image-*.tar")
	if err != nil {
		return fmt.Errorf("make image %s: %w", img.Ref, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("make image %s: %w", img.Ref, err)
	}
	for _, n := range nodes {
		err := c.ctr(ctx, n, "images", "import", f.Name())
		if err == nil {
			err = c.ctr(ctx, n, "images", "tag", "--force", img.Ref, pinned)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// OCI is a tar of an OCI image layout with one layer, which holds the program as
// /app (as /bin/busybox where it has applets), a /tmp and the files. It comes with
// the manifest's digest.
func (img Image) OCI() (layout []byte, digest string, err error) {
	binary, err := os.ReadFile(img.Binary)
	if err != nil {
		return nil, "", err
	}
	type object = map[string]any
	run := object{"Entrypoint": append([]string{"/app"}, img.Args...), "Env": []string{"PATH=/"}}
	files := []tarFile{{name: "app", mode: 0o755, content: binary}, {name: "tmp/", mode: 0o1777}}
	if len(img.Applets) > 0 {
		run = object{"Env": []string{"PATH=/usr/local/bin:/bin"}}
		files[0].name = "bin/busybox"
	}
	for _, a := range img.Applets {
		files = append(files, tarFile{name: "bin/" + a, mode: 0o777, link: "busybox"})
	}
	for _, name := range slices.Sorted(maps.Keys(img.Files)) {
		files = append(files, tarFile{name: name, mode: 0o755, content: img.Files[name]})
	}
	layer, err := archive(files...)
	if err != nil {
		return nil, "", err
	}
	run["User"] = cmp.Or(img.User, "65532:65532")
	blobs := []tarFile{}
	add := func(mediaType string, content []byte) object {
		sum := sha256.Sum256(content)
		digest := hex.EncodeToString(sum[:])
		blobs = append(blobs, tarFile{name: filepath.Join("blobs/sha256", digest), mode: 0o644, content: content})
		return object{"mediaType": mediaType, "digest": "sha256:" + digest, "size": len(content)}
	}
	const oci = "application/vnd.oci.image."
	layerDescriptor := add(oci+"layer.v1.tar", layer)
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": run,
		"rootfs": object{"type": "layers", "diff_ids": []any{layerDescriptor["digest"]}},
	})
	if err != nil {
		return nil, "", err
	}
	manifest, err := json.Marshal(object{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "config": add(oci+"config.v1+json", config), "layers": []object{layerDescriptor}})
	if err != nil {
		return nil, "", err
	}
	descriptor := add(oci+"manifest.v1+json", manifest)
	sum := sha256.Sum256(manifest)
	_, tag, ok := strings.Cut(filepath.Base(img.Ref), ":")
	if !ok {
		return nil, "", errors.New("the reference has no tag")
	}
	descriptor["annotations"] = object{"io.containerd.image.name": img.Ref, "org.opencontainers.image.ref.name": tag}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{descriptor}})
	if err != nil {
		return nil, "", err
	}
	layout, err = archive(append([]tarFile{{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {name: "index.json", mode: 0o644, content: index}}, blobs...)...)
	return layout, "sha256:" + hex.EncodeToString(sum[:]), err
}

type tarFile struct {
	name    string // a folder ends in a slash
	mode    int64
	content []byte
	link    string // a link to that
}

func archive(files ...tarFile) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		switch {
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}
