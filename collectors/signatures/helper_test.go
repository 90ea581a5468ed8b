package signatures

import (
	"bytes"
	"context"
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

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// host is an in-process registry.
type host struct {
	*httptest.Server
	name string
}

func newHost(t testing.TB, wrap func(http.Handler) http.Handler) *host {
	t.Helper()
	return hostOf(t, true, wrap)
}

// hostOf is newHost for a registry that knows referrers, or does not.
func hostOf(t testing.TB, referrers bool, wrap func(http.Handler) http.Handler) *host {
	t.Helper()
	h := registry.New(registry.WithReferrersSupport(referrers), registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &host{Server: s, name: strings.TrimPrefix(s.URL, "http://")}
}

// push pushes an image with that content, and returns it by digest.
func (h *host) push(t testing.TB, repo, content string) name.Digest {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte(content), types.OCILayer))
	check(t, err)
	d, err := img.Digest()
	check(t, err)
	ref, err := name.NewDigest(h.name + "/" + repo + "@" + d.String())
	check(t, err)
	check(t, remote.Write(ref, img))
	return ref
}

// raw is a manifest as it is.
type raw struct {
	body      []byte
	mediaType types.MediaType
}

func (r raw) RawManifest() ([]byte, error)        { return r.body, nil }
func (r raw) MediaType() (types.MediaType, error) { return r.mediaType, nil }
func (r raw) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(r.body))
	return h, err
}
func (r raw) Size() (int64, error) { return int64(len(r.body)), nil }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func publicPEM(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func sign(t testing.TB, key crypto.Signer, message []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(message)
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	check(t, err)
	return sig
}

// simplePayload is what cosign signs for an image.
func simplePayload(ref name.Digest, digest string) []byte {
	return []byte(fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		ref.Context().Name(), digest))
}

// layer is one layer of a manifest that is pushed.
type layer struct {
	content     []byte
	mediaType   types.MediaType
	annotations map[string]string
}

// manifest pushes the layers and returns a manifest of them.
func manifest(t testing.TB, repo name.Repository, subject *v1.Descriptor, artifactType string, layers ...layer) raw {
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
		s := static.NewLayer(l.content, l.mediaType)
		check(t, remote.WriteLayer(repo, s))
		d, err := s.Digest()
		check(t, err)
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: l.mediaType, Size: int64(len(l.content)), Digest: d, Annotations: l.annotations})
	}
	body, err := json.Marshal(m)
	check(t, err)
	return raw{body, types.OCIManifestSchema1}
}

func sigTag(ref name.Digest, suffix string) name.Tag {
	return ref.Context().Tag(strings.Replace(ref.DigestStr(), ":", "-", 1) + suffix)
}

// attachLegacy pushes layers as cosign's tag.
func attachLegacy(t testing.TB, ref name.Digest, suffix string, layers ...layer) {
	t.Helper()
	check(t, remote.Put(sigTag(ref, suffix), manifest(t, ref.Context(), nil, "", layers...)))
}

func legacyLayer(payload, sig []byte) layer {
	return layer{payload, simpleSigningType, map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)}}
}

func descriptorOf(l layer) v1.Descriptor {
	return v1.Descriptor{MediaType: l.mediaType, Size: int64(len(l.content)), Annotations: l.annotations}
}

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// attachBundle pushes a bundle as a referrer, as cosign does.
func attachBundle(t testing.TB, ref name.Digest, body []byte) {
	t.Helper()
	desc, err := remote.Head(ref)
	check(t, err)
	m := manifest(t, ref.Context(), desc, bundleType, layer{body, bundleType, nil})
	d, err := m.Digest()
	check(t, err)
	check(t, remote.Put(ref.Context().Digest(d.String()), m))
}

func statementOf(predicateType, digest string) []byte {
	return []byte(fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		strings.TrimPrefix(digest, "sha256:"), predicateType))
}

func pae(payload []byte) []byte {
	return []byte(fmt.Sprintf("DSSEv1 %d %s %d %s", len(dssePayloadType), dssePayloadType, len(payload), payload))
}

func keyHint(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	check(t, err)
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// keyBundle is a v0.3 bundle by key, as cosign writes it without a log.
func keyBundle(t testing.TB, key crypto.Signer, payload []byte) []byte {
	t.Helper()
	return keyBundleSigned(t, key, payload, sign(t, key, pae(payload)))
}

func keyBundleSigned(t testing.TB, key crypto.Signer, payload, sig []byte) []byte {
	t.Helper()
	b64 := base64.StdEncoding.EncodeToString
	return []byte(fmt.Sprintf(`{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":%q}},"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		bundleType, keyHint(t, key), b64(payload), dssePayloadType, b64(sig)))
}

// policyYAML is a ClusterImagePolicy for all images with those authorities (YAML of a list, indented by two).
func policyYAML(name, authorities string) PolicyFile {
	return PolicyFile{Name: name + ".yaml", Raw: []byte(`apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: ` + name + `
spec:
  images:
    - glob: "**"
  authorities:
` + authorities)}
}

func keyAuthority(pem string) string {
	return "    - name: team\n      key:\n        data: |\n          " + strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n          ") + "\n"
}

// writer is the collector's folder.
type writer struct{ a *collectors.Artifacts }

func (w writer) Write(name string, content []byte) error {
	_, err := w.a.Put(folder+name, content)
	return err
}

// collect runs Collect for the images.
func collect(t testing.TB, o Options, images ...string) *collectors.Artifacts {
	t.Helper()
	c, err := New(o)
	check(t, err)
	art := collectors.NewArtifacts(nil)
	info := evidence.Release{Chart: "demo", Images: images}
	body, err := json.Marshal(info)
	check(t, err)
	_, err = art.Put(collectors.ReleaseFile, body)
	check(t, err)
	check(t, c.Collect(context.Background(), collectors.Input{Release: &chart.Release{Info: info}}, writer{art}))
	return art
}

// derive derives the findings twice, by a collector that knows no options: from the sealed bytes alone.
func derive(t testing.TB, art evidence.ArtifactReader) []evidence.Finding {
	t.Helper()
	var last []evidence.Finding
	for i := range 2 {
		c, err := New(Options{})
		check(t, err)
		found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), c)
		check(t, err)
		if diff := cmp.Diff(last, found); i > 0 && diff != "" {
			t.Errorf("derived again:\n%s", diff)
		}
		last = found
	}
	for _, f := range last {
		if f.Rule != RuleVerified {
			t.Errorf("finding %+v: another rule", f)
		}
		if (f.Outcome == evidence.OutcomePass || f.Outcome == evidence.OutcomeNotApplicable) == (f.Remediation != "") {
			t.Errorf("finding %+v: remediation", f)
		}
		for _, p := range f.Evidence {
			if p.Digest == "" {
				t.Errorf("finding %q points to %s, which is not sealed", f.Message, p.Artifact)
			}
		}
	}
	return last
}

// want is a finding by outcome and parts of its message.
type want struct {
	outcome evidence.Outcome
	parts   []string
}

func verdict(t testing.TB, found []evidence.Finding, w want) {
	t.Helper()
	if len(found) != 1 {
		t.Fatalf("%d findings, want 1: %+v", len(found), found)
	}
	f := found[0]
	if f.Outcome != w.outcome {
		t.Errorf("outcome %s, want %s: %s", f.Outcome, w.outcome, f.Message)
	}
	for _, p := range w.parts {
		if !strings.Contains(f.Message, p) {
			t.Errorf("message %q, want %q in it", f.Message, p)
		}
	}
}
