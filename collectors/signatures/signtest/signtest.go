// Package signtest signs images as cosign does, by a key and with a Sigstore of the
// test.
package signtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Host is an in-process registry.
type Host struct {
	*httptest.Server
	Name string
}

// NewHost starts a registry; wrap, unless nil, stands before it.
func NewHost(t testing.TB, wrap func(http.Handler) http.Handler) *Host {
	t.Helper()
	return NewHostOf(t, true, wrap)
}

// NewHostOf is NewHost for a registry that knows referrers, or does not.
func NewHostOf(t testing.TB, referrers bool, wrap func(http.Handler) http.Handler) *Host {
	t.Helper()
	h := registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &Host{Server: s, Name: strings.TrimPrefix(s.URL, "http://")}
}

// Push pushes an image with that content, and returns it by digest.
func (h *Host) Push(t testing.TB, repo, content string) name.Digest {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte(content), types.OCILayer))
	check(t, err)
	d, err := img.Digest()
	check(t, err)
	ref, err := name.NewDigest(h.Name+"/"+repo+"@"+d.String(), name.Insecure)
	check(t, err)
	check(t, remote.Write(ref, img))
	return ref
}

// Manifest is a manifest as it is.
type Manifest struct {
	Body []byte
	Type types.MediaType
}

// RawManifest is its body.
func (r Manifest) RawManifest() ([]byte, error) { return r.Body, nil }

// MediaType is its type.
func (r Manifest) MediaType() (types.MediaType, error) { return r.Type, nil }

// Digest is the digest of its body.
func (r Manifest) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(r.Body))
	return h, err
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// NewKey makes an ECDSA key on P-256.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

// PublicPEM is the public half of a key.
func PublicPEM(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Sign signs the SHA-256 digest of a message.
func Sign(t testing.TB, key crypto.Signer, message []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(message)
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	check(t, err)
	return sig
}

// SimplePayload is what cosign signs for an image.
func SimplePayload(ref name.Digest, digest string) []byte {
	return []byte(fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		ref.Context().Name(), digest))
}

// Layer is one layer of a manifest that is pushed.
type Layer struct {
	Content     []byte
	MediaType   types.MediaType
	Annotations map[string]string
}

// NewManifest pushes the layers and returns a manifest of them.
func NewManifest(t testing.TB, repo name.Repository, subject *v1.Descriptor, artifactType string, layers ...Layer) Manifest {
	t.Helper()
	config := static.NewLayer([]byte("{}"), types.OCIConfigJSON)
	check(t, remote.WriteLayer(repo, config))
	d, err := config.Digest()
	check(t, err)
	m := struct {
		v1.Manifest
		ArtifactType string `json:"artifactType,omitempty"`
	}{v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Size: 2, Digest: d}, Subject: subject}, artifactType}
	if subject != nil {
		m.Config.MediaType = emptyType
	}
	for _, l := range layers {
		s := static.NewLayer(l.Content, l.MediaType)
		check(t, remote.WriteLayer(repo, s))
		d, err := s.Digest()
		check(t, err)
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: l.MediaType, Size: int64(len(l.Content)), Digest: d, Annotations: l.Annotations})
	}
	body, err := json.Marshal(m)
	check(t, err)
	return Manifest{body, types.OCIManifestSchema1}
}

// Tag is the tag at which cosign keeps what belongs to an image: suffix is .sig or .att.
func Tag(ref name.Digest, suffix string) name.Tag {
	return ref.Context().Tag(strings.Replace(ref.DigestStr(), ":", "-", 1) + suffix)
}

// AttachLegacy pushes layers as cosign's tag.
func AttachLegacy(t testing.TB, ref name.Digest, suffix string, layers ...Layer) {
	t.Helper()
	check(t, remote.Put(Tag(ref, suffix), NewManifest(t, ref.Context(), nil, "", layers...)))
}

// LegacyLayer is the layer of a .sig tag.
func LegacyLayer(payload, sig []byte) Layer {
	return Layer{payload, simpleSigningType, map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)}}
}

// The names by which cosign keeps signatures; those of the collector, written again
// so that a wrong one is not right in both.
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationBundle      = "dev.sigstore.cosign/bundle"
	simpleSigningType     = "application/vnd.dev.cosign.simplesigning.v1+json"
	dssePayloadType       = "application/vnd.in-toto+json"
	emptyType             = "application/vnd.oci.empty.v1+json"
	bundleType            = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// AttachBundle pushes a bundle as a referrer, as cosign does.
func AttachBundle(t testing.TB, ref name.Digest, body []byte) {
	t.Helper()
	desc, err := remote.Head(ref)
	check(t, err)
	m := NewManifest(t, ref.Context(), desc, bundleType, Layer{body, bundleType, nil})
	d, err := m.Digest()
	check(t, err)
	check(t, remote.Put(ref.Context().Digest(d.String()), m))
}

// Statement is an in-toto statement about an image, with an empty predicate.
func Statement(predicateType, digest string) []byte {
	return []byte(fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		strings.TrimPrefix(digest, "sha256:"), predicateType))
}

// PAE is what is signed of a DSSE envelope with a statement.
func PAE(payload []byte) []byte {
	return []byte(fmt.Sprintf("DSSEv1 %d %s %d %s", len(dssePayloadType), dssePayloadType, len(payload), payload))
}

// KeyHint is the name of a key in a bundle.
func KeyHint(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// KeyBundle is a v0.3 bundle by key, as cosign writes it without a log.
func KeyBundle(t testing.TB, key crypto.Signer, payload []byte) []byte {
	t.Helper()
	return KeyBundleSigned(t, key, payload, Sign(t, key, PAE(payload)))
}

// KeyBundleSigned is KeyBundle with a signature that is there.
func KeyBundleSigned(t testing.TB, key crypto.Signer, payload, sig []byte) []byte {
	t.Helper()
	b64 := base64.StdEncoding.EncodeToString
	return []byte(fmt.Sprintf(`{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":%q}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		bundleType, KeyHint(t, key), b64(payload), dssePayloadType, b64(sig)))
}
