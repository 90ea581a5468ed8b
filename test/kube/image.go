package kube

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Image is a container image around one static program.
type Image struct {
	Ref    string   // with a tag, as pods name it; they need imagePullPolicy Never
	Binary string   // path of the program
	Args   []string // before those that the pod gives
	User   string   // default 65532:65532
}

// LoadImage makes an image known to both real nodes.
func (c *Cluster) LoadImage(ctx context.Context, img Image) error {
	_, err := c.PinImage(ctx, img)
	return err
}

// PinImage is LoadImage for pods that name the image by its digest, which it
// returns: "sha256:…".
func (c *Cluster) PinImage(ctx context.Context, img Image) (digest string, err error) {
	content, digest, err := img.tar()
	if err != nil {
		return "", fmt.Errorf("make image %s: %w", img.Ref, err)
	}
	repository := img.Ref[:strings.LastIndexByte(img.Ref, ':')] // tar holds that there is a tag
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

// tar is an OCI image layout with one layer, which holds the program as /app and
// a /tmp. It comes with the manifest's digest.
func (img Image) tar() (layout []byte, digest string, err error) {
	binary, err := os.ReadFile(img.Binary)
	if err != nil {
		return nil, "", err
	}
	layer, err := archive(tarFile{"app", 0o755, binary}, tarFile{"tmp/", 0o1777, nil})
	if err != nil {
		return nil, "", err
	}
	user := img.User
	if user == "" {
		user = "65532:65532"
	}
	type object = map[string]any
	blobs := []tarFile{}
	add := func(mediaType string, content []byte) object {
		sum := sha256.Sum256(content)
		digest := hex.EncodeToString(sum[:])
		blobs = append(blobs, tarFile{filepath.Join("blobs/sha256", digest), 0o644, content})
		return object{"mediaType": mediaType, "digest": "sha256:" + digest, "size": len(content)}
	}
	const oci = "application/vnd.oci.image."
	layerDescriptor := add(oci+"layer.v1.tar", layer)
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{"Entrypoint": append([]string{"/app"}, img.Args...), "User": user, "Env": []string{"PATH=/"}},
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
	layout, err = archive(append([]tarFile{{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", 0o644, index}}, blobs...)...)
	return layout, "sha256:" + hex.EncodeToString(sum[:]), err
}

type tarFile struct {
	name    string // a folder ends in a slash
	mode    int64
	content []byte
}

func archive(files ...tarFile) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag = tar.TypeDir
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
