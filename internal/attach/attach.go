// Package attach pushes Sigstore bundles to registries as what refers to an
// image (OCI 1.1 referrers), in the form in which cosign keeps and finds them.
package attach

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/internal/oci"
)

const (
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	emptyType  = "application/vnd.oci.empty.v1+json"
	// The annotations by which cosign picks a bundle (github.com/sigstore/cosign, pkg/oci/remote).
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"

	maxBundle    = 64 << 20 // of a bundle that is there already, in bytes
	maxReferrers = 256      // that are compared with
)

// Attestation is a signed statement about an image.
type Attestation struct {
	PredicateType string
	// Bundle is the Sigstore bundle with the statement's DSSE envelope.
	Bundle []byte
	// Tag has the envelope under the tag sha256-….att as well.
	Tag bool
	// Anew says that it was signed for this run: another signature of the same key is
	// the same to a reader.
	Anew bool
}

// Result is what became of one image, as attach prints it with -o json.
type Result struct {
	Image        string   `json:"image"`
	Error        string   `json:"error,omitempty"`
	Attestations []Status `json:"attestations"`
}

// Status is what became of one attestation.
type Status struct {
	PredicateType string `json:"predicateType"`
	Status        string `json:"status"`           // attached, present or planned
	Digest        string `json:"digest,omitempty"` // of the referrer's manifest, where it was attached
}

// To attaches to one image, named as in the manifests, what is not there yet;
// what fails is in the result. A dry run only plans.
func To(ctx context.Context, image string, list []Attestation, dryRun bool, o oci.Options) Result {
	out := Result{Image: image, Attestations: []Status{}}
	fail := func(err error) Result {
		out.Error = err.Error()
		if p := oci.ProblemOf(ctx, err); p != nil && p.Kind != oci.Unreachable {
			out.Error = p.String()
		}
		return out
	}
	base, digest, ok := strings.Cut(image, "@sha256:")
	if !ok {
		return fail(errors.New("it is not pinned by digest, and a statement is about a digest"))
	}
	if i := strings.LastIndexByte(base, ':'); i > strings.LastIndexByte(base, '/') {
		base = base[:i] // the tag
	}
	img, err := Open(ctx, base+"@sha256:"+digest, o)
	if err != nil {
		return fail(err)
	}
	for _, x := range list {
		st := Status{PredicateType: x.PredicateType, Status: "attached"}
		has, err := img.Has(x)
		switch {
		case err != nil:
			return fail(err)
		case has:
			st.Status = "present"
		case dryRun:
			st.Status = "planned"
		default:
			if st.Digest, err = img.Push(x); err != nil {
				return fail(err)
			}
		}
		if x.Tag {
			added, err := img.PushTag(x, dryRun)
			switch {
			case err != nil:
				return fail(err)
			case added && dryRun:
				st.Status = "planned"
			case added:
				st.Status = "attached"
			}
		}
		out.Attestations = append(out.Attestations, st)
	}
	return out
}

// Image pushes attestations to one image.
type Image struct {
	ref     name.Digest
	subject v1.Descriptor
	opts    []remote.Option
	there   map[string]bool // identities of the bundles that refer to the image
}

// Open finds the image in its registry. reference names it by digest.
func Open(ctx context.Context, reference string, o oci.Options) (*Image, error) {
	ref, err := name.NewDigest(reference, o.Names()...)
	if err != nil {
		return nil, err
	}
	i := &Image{ref: ref, there: map[string]bool{}, opts: append(o.Remote(), remote.WithContext(ctx))}
	desc, err := remote.Get(ref, i.opts...)
	if err != nil {
		return nil, err
	}
	i.subject = v1.Descriptor{MediaType: desc.MediaType, Size: desc.Size, Digest: desc.Digest}
	return i, i.list()
}

// list remembers the statements of the bundles that are there.
func (i *Image) list() error {
	idx, err := remote.Referrers(i.ref, i.opts...)
	if err != nil {
		return fmt.Errorf("referrers: %w", err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return fmt.Errorf("referrers: %w", err)
	}
	n := 0
	for _, d := range m.Manifests {
		if d.ArtifactType != bundleType && d.ArtifactType != emptyType {
			continue
		}
		if n++; n > maxReferrers {
			return nil // at worst a statement is attached twice
		}
		img, err := remote.Image(i.ref.Context().Digest(d.Digest.String()), i.opts...)
		if err != nil {
			return fmt.Errorf("referrer %s: %w", d.Digest, err)
		}
		layers, err := img.Layers()
		if err != nil {
			return fmt.Errorf("referrer %s: %w", d.Digest, err)
		}
		for _, l := range layers {
			if raw, err := readLayer(l); err == nil {
				for _, anew := range []bool{false, true} {
					if id, err := identity(raw, anew); err == nil { // what is none is somebody else's
						i.there[id] = true
					}
				}
			}
		}
	}
	return nil
}

func readLayer(l v1.Layer) ([]byte, error) {
	r, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(r, maxBundle))
	return raw, errors.Join(err, r.Close())
}

// envelope is a statement and who signed it.
type envelope struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"`
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// envelopeOf is the envelope in a bundle, and as it stands there.
func envelopeOf(bundle []byte) (*envelope, []byte, error) {
	var b struct {
		DSSE json.RawMessage `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return nil, nil, err
	}
	e := &envelope{}
	if len(b.DSSE) > 0 {
		if err := json.Unmarshal(b.DSSE, e); err != nil {
			return nil, nil, err
		}
	}
	if len(e.Payload) == 0 {
		return nil, nil, errors.New("no DSSE envelope in the bundle")
	}
	return e, b.DSSE, nil
}

// identity is what two bundles have in common that are the same: the statement and its
// signatures, or the key that it names where the statement is signed anew each time.
func identity(bundle []byte, anew bool) (string, error) {
	e, _, err := envelopeOf(bundle)
	if err != nil {
		return "", err
	}
	key := ""
	if anew {
		key, e.Signatures = attest.HintOf(bundle), nil
	}
	id, err := json.Marshal([]any{anew, key, e})
	return string(id), err
}

// Has reports whether the same statement, signed by the same key, refers to the image
// already.
func (i *Image) Has(a Attestation) (bool, error) {
	id, err := identity(a.Bundle, a.Anew)
	return i.there[id], err
}

// raw is a manifest as it is pushed.
type raw []byte

func (r raw) RawManifest() ([]byte, error)      { return r, nil }
func (raw) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// Push attaches the attestation and returns the digest of its manifest. The
// same attestation makes the same manifest.
func (i *Image) Push(a Attestation) (string, error) {
	id, err := identity(a.Bundle, a.Anew)
	if err != nil {
		return "", err
	}
	layer := static.NewLayer(a.Bundle, bundleType)
	config := static.NewLayer([]byte("{}"), emptyType)
	m := struct {
		v1.Manifest
		ArtifactType string `json:"artifactType"`
	}{v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Subject: &i.subject,
		Annotations: map[string]string{annotationContent: "dsse-envelope", annotationPredicate: a.PredicateType},
	}, bundleType}
	for l, to := range map[v1.Layer]*v1.Descriptor{layer: nil, config: &m.Config} {
		d, err := l.Digest()
		if err != nil {
			return "", err
		}
		size, err := l.Size()
		if err != nil {
			return "", err
		}
		mt, err := l.MediaType()
		if err != nil {
			return "", err
		}
		desc := v1.Descriptor{MediaType: mt, Size: size, Digest: d}
		if to != nil {
			*to = desc
		} else {
			m.Layers = append(m.Layers, desc)
		}
		if err := remote.WriteLayer(i.ref.Context(), l, i.opts...); err != nil {
			return "", err
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	d, _, err := v1.SHA256(bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	if err := remote.Put(i.ref.Context().Digest(d.String()), raw(body), i.opts...); err != nil {
		return "", err
	}
	i.there[id] = true
	return d.String(), nil
}
