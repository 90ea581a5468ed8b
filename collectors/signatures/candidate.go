package signatures

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	kjson "sigs.k8s.io/json"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// The annotations by which cosign keeps a legacy signature on its layer.
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationBundle      = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// signPredicate is the predicate type of cosign's signatures in bundles.
const signPredicate = "https://sigstore.dev/cosign/sign/v1"

const (
	simpleSigningKind = "cosign container image signature"
	dssePayloadType   = "application/vnd.in-toto+json"
	bundleV01         = "application/vnd.dev.sigstore.bundle+json;version=0.1"
)

// candidate is one signature or attestation that was found, not yet verified.
type candidate struct {
	where    string // "tag sha256-….sig, layer 1"
	artifact string // where its bytes are sealed
	legacy   bool   // of a tag, not a bundle
	// predicateType is what it claims to be; empty for a legacy signature.
	predicateType string
	subjects      []string // digests that it claims to be about: "sha256:…"

	payload  []byte              // legacy signature: what was signed
	material *protobundle.Bundle // but its verification material, for legacy ones
	notes    map[string]string   // legacy: the layer's annotations
	entity   *bundle.Bundle      // bundles only

	// unread says that the bytes are not there: it could not be checked.
	unread *oci.Problem
	// broken says that the bytes are there and are no signature.
	broken string
}

// signature reports whether it is one, and not an attestation.
func (c *candidate) signature() bool {
	return c.predicateType == "" || c.predicateType == signPredicate
}

// simpleSigning is the payload of a legacy signature.
type simpleSigning struct {
	Critical struct {
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
}

// statement is what is read of an in-toto statement before it is verified.
type statement struct {
	PredicateType string `json:"predicateType"`
	Subject       []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
}

func (c *candidate) readStatement(payload []byte) error {
	var s statement
	// encoding/json would take "PredicateType" for predicateType too.
	if err := kjson.UnmarshalCaseSensitivePreserveInts(payload, &s); err != nil {
		return fmt.Errorf("not an in-toto statement: %w", err)
	}
	if s.PredicateType == "" {
		return errors.New("a statement without a predicateType")
	}
	c.predicateType = s.PredicateType
	for _, sub := range s.Subject {
		if d, err := evidence.ParseDigest(sub.Digest["sha256"]); err == nil {
			c.subjects = append(c.subjects, string(d))
		}
	}
	if len(c.subjects) == 0 {
		return errors.New("a statement about nothing with a sha256 digest")
	}
	return nil
}

// readBundle reads a Sigstore bundle.
func (c *candidate) readBundle(raw []byte) error {
	b := new(bundle.Bundle)
	if err := b.UnmarshalJSON(raw); err != nil {
		return fmt.Errorf("not a Sigstore bundle: %w", err)
	}
	env := b.GetDsseEnvelope()
	if env == nil {
		return errors.New("the bundle signs bytes, not a statement about an image")
	}
	if env.GetPayloadType() != dssePayloadType {
		return fmt.Errorf("the bundle's payload is %q, want %s", env.GetPayloadType(), dssePayloadType)
	}
	c.entity = b
	return c.readStatement(env.GetPayload())
}

// readLegacy reads a layer of a .sig or .att tag.
func (c *candidate) readLegacy(l *v1.Descriptor, raw []byte) error {
	c.notes = l.Annotations
	if string(l.MediaType) == simpleSigningType {
		var s simpleSigning
		if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &s); err != nil {
			return fmt.Errorf("not a simple signing payload: %w", err)
		}
		if s.Critical.Type != simpleSigningKind {
			return fmt.Errorf("the signed payload is of type %q, want %q", s.Critical.Type, simpleSigningKind)
		}
		sig, err := base64.StdEncoding.DecodeString(c.notes[annotationSignature])
		if err != nil || len(sig) == 0 {
			return errors.New("the layer has no signature in its annotation " + annotationSignature)
		}
		digest, err := hex.DecodeString(evidence.DigestOf(raw).Hex())
		if err != nil {
			return err
		}
		c.payload, c.subjects = raw, []string{s.Critical.Image.Digest}
		c.material = &protobundle.Bundle{MediaType: bundleV01, Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: digest}, Signature: sig,
		}}}
		return nil
	}
	var env struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   []byte `json:"sig"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(raw, &env); err != nil {
		return fmt.Errorf("not a DSSE envelope: %w", err)
	}
	if env.PayloadType != dssePayloadType {
		return fmt.Errorf("the envelope's payload is %q, want %s", env.PayloadType, dssePayloadType)
	}
	if len(env.Signatures) != 1 {
		return fmt.Errorf("the envelope has %d signatures, want one", len(env.Signatures))
	}
	c.material = &protobundle.Bundle{MediaType: bundleV01, Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
		Payload: env.Payload, PayloadType: env.PayloadType,
		Signatures: []*protodsse.Signature{{Sig: env.Signatures[0].Sig, Keyid: env.Signatures[0].KeyID}},
	}}}
	return c.readStatement(env.Payload)
}

// bundle returns the candidate as a Sigstore bundle for an authority: a legacy
// one is put together from its layer and annotations (bundle v0.1, whose log
// entries have a promise and no proof of inclusion, as cosign kept them).
func (c *candidate) bundle(a *authority) (*bundle.Bundle, error) {
	if !c.legacy {
		return c.entity, nil
	}
	vm := new(protobundle.VerificationMaterial)
	if a.key != nil {
		vm.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
	} else {
		cert, err := certificateOf(c.notes[annotationCertificate])
		if err != nil {
			return nil, err
		}
		vm.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: cert.Raw}},
		}}
	}
	if a.tlog {
		entry, err := legacyEntry(c.notes[annotationBundle])
		if err != nil {
			return nil, err
		}
		vm.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
		if s := c.notes[annotationTimestamp]; s != "" {
			var ts struct{ SignedRFC3161Timestamp []byte }
			if err := json.Unmarshal([]byte(s), &ts); err != nil {
				return nil, fmt.Errorf("the layer's timestamp cannot be read: %w", err)
			}
			vm.TimestampVerificationData = &protobundle.TimestampVerificationData{
				Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: ts.SignedRFC3161Timestamp}},
			}
		}
	}
	b, err := bundle.NewBundle(&protobundle.Bundle{MediaType: c.material.MediaType, Content: c.material.Content, VerificationMaterial: vm})
	if err != nil {
		return nil, fmt.Errorf("the layer's annotations make no bundle: %w", err)
	}
	return b, nil
}

func certificateOf(text string) (*x509.Certificate, error) {
	if text == "" {
		return nil, errors.New("signed with a key, and the policy demands a certificate")
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the layer's certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the layer's certificate cannot be read: %w", err)
	}
	return cert, nil
}

// legacyEntry reads cosign's annotation of a Rekor entry with its signed promise.
func legacyEntry(text string) (*protorekor.TransparencyLogEntry, error) {
	if text == "" {
		return nil, errors.New("no entry in a transparency log")
	}
	var b struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return nil, fmt.Errorf("the layer's entry of the transparency log cannot be read: %w", err)
	}
	var kind struct {
		Kind    string `json:"kind"`
		Version string `json:"apiVersion"`
	}
	if err := json.Unmarshal(b.Payload.Body, &kind); err != nil {
		return nil, fmt.Errorf("the layer's entry of the transparency log cannot be read: %w", err)
	}
	id, err := hex.DecodeString(b.Payload.LogID)
	if err != nil {
		return nil, fmt.Errorf("the layer's entry of the transparency log cannot be read: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex: b.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id},
		KindVersion:    &protorekor.KindVersion{Kind: kind.Kind, Version: kind.Version},
		IntegratedTime: b.Payload.IntegratedTime, CanonicalizedBody: b.Payload.Body,
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: b.SignedEntryTimestamp},
	}, nil
}
