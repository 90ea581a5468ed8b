package acceptance

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/companyos/helmproof/test/kube"
)

// registryAddress is the API server's: pods and this process reach it, and clients
// speak plain HTTP with such an address.
const registryAddress = "10.200.0.1:5000"

// images starts a registry, pushes the images of the service and of the prober, which
// are signed, and one that nobody signs; and writes what is judged by.
func (r *run) images(t *testing.T) {
	serveRegistry(t)
	var signed []string
	for _, img := range []kube.Image{
		{Ref: registryAddress + "/shop/service:1", Binary: r.cluster.TestPod()},
		{Ref: registryAddress + "/shop/prober:1", Binary: filepath.Join(r.bin, "prober")},
	} {
		if _, err := r.cluster.PinImage(t.Context(), img); err != nil {
			t.Fatal(err)
		}
		signed = append(signed, r.push(t, img))
	}
	r.service, r.prober = signed[0], signed[1]
	r.unsigned = r.push(t, kube.Image{Ref: registryAddress + "/shop/unsigned:1", Binary: r.cluster.TestPod(), Args: []string{"wait"}})

	r.cosign(t, "generate-key-pair")
	// policy-controller looks for signatures under tags.
	for _, img := range signed {
		r.cosign(t, "sign", "--key", "cosign.key", "--yes", "--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false", img)
	}
	pub, err := os.ReadFile(r.file("cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	r.publicKey = string(pub)
	r.writeYAML(t, "signers.yaml", map[string]any{
		"apiVersion": "policy.sigstore.dev/v1beta1", "kind": "ClusterImagePolicy", "metadata": map[string]any{"name": "shop"},
		"spec": map[string]any{
			"images":      []any{map[string]any{"glob": registryAddress + "/shop/**"}},
			"authorities": []any{map[string]any{"name": "team", "key": map[string]any{"data": r.publicKey, "hashAlgorithm": "sha256"}}},
		},
	})
	r.helmproof(t, 0, "keygen", "team")
	r.write(t, "helmproof.yaml", []byte("repo: evidence\nkey: team.key\ntrust: [team.pub]\n"))
	r.write(t, filepath.Join("published", "Go", "all.zip"), published(t))
}

// serveRegistry serves a registry until the process ends.
func serveRegistry(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", registryAddress)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
}

// push pushes an image, and returns its reference by digest.
func (r *run) push(t *testing.T, img kube.Image) string {
	t.Helper()
	raw, digest, err := img.OCI()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for tr := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		file := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := v1.NewHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	p, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	image, err := p.Image(hash)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(img.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return ref.Context().Name() + "@" + digest
}

// published is an archive of vulnerabilities as https://osv.dev publishes it, with
// one that the image does not have.
func published(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("GO-2026-0001.json")
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, `{"id":"GO-2026-0001","modified":%q,"affected":[{"package":{"ecosystem":"Go","name":"stdlib"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.20.0"}]}]}]}`,
		time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
