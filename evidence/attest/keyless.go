package attest

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/companyos/helmproof/evidence"
)

// MaxTrustedRoot bounds a Sigstore trusted root that is read, in bytes.
const MaxTrustedRoot = 4 << 20

// Identity is somebody whom a Sigstore certificate names, by those who vouch for it.
type Identity struct {
	Issuer  string // the URL of the OpenID Connect provider
	Subject string // a mail address, or the URL of a workflow
}

// String is the identity as a statement names its signer.
func (i Identity) String() string { return i.Subject + " (" + i.Issuer + ")" }

// Keyless accepts what one identity signed with short-lived certificates: of an authority
// of the trusted root, in a certificate log, and signed while they were valid by the
// time of a transparency log. It needs no network.
type Keyless struct {
	identity Identity
	policy   verify.PolicyOption
	verifier *verify.Verifier
}

// NewKeyless trusts an identity by a trusted root (trusted_root.json). Issuer and subject
// are meant to the letter. The error says which of the three is none.
func NewKeyless(trustedRoot []byte, id Identity) (*Keyless, error) {
	if len(trustedRoot) > MaxTrustedRoot {
		return nil, fmt.Errorf("trusted root: %d bytes, at most %d are read", len(trustedRoot), MaxTrustedRoot)
	}
	if id.Issuer == "" || id.Subject == "" {
		return nil, errors.New("an identity has an issuer and a subject")
	}
	tr, err := root.NewTrustedRootFromJSON(trustedRoot)
	if err != nil {
		return nil, fmt.Errorf("trusted root: %w; `cosign trusted-root create` writes such files", err)
	}
	who, err := verify.NewShortCertificateIdentity(id.Issuer, "", id.Subject, "")
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", id, err)
	}
	v, err := verify.NewVerifier(tr, verify.WithSignedCertificateTimestamps(1), verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	if err != nil {
		return nil, fmt.Errorf("set up verification: %w", err)
	}
	return &Keyless{identity: id, policy: verify.WithCertificateIdentity(who), verifier: v}, nil
}

// Verify checks a Sigstore bundle as Trust.Verify does, but signed with a certificate.
func (k *Keyless) Verify(raw []byte, predicateType string, artifact evidence.Digest) (*Statement, *Signature, error) {
	b, payload, err := parseEnvelope(raw)
	if err == nil && !certified(b) {
		err = errors.New("signed by a key, not with a certificate")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	digest, err := hex.DecodeString(artifact.Hex())
	if err != nil {
		return nil, nil, fmt.Errorf("artifact digest %s: %w", artifact, err)
	}
	res, err := k.verifier.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", digest), k.policy))
	if err != nil {
		var other *verify.ErrNoMatchingCertificateIdentity
		if errors.As(err, &other) {
			return nil, nil, fmt.Errorf("%w: %w", ErrUnknownSigner, other)
		}
		return nil, nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	st, err := checkStatement(payload, predicateType, artifact)
	if err != nil {
		return nil, nil, err
	}
	sig := &Signature{Identity: k.identity.String()}
	for _, t := range res.VerifiedTimestamps {
		sig.Timestamps = append(sig.Timestamps, t.Timestamp)
	}
	return st, sig, nil
}

// certified reports whether a bundle has a certificate in the place of a key.
func certified(b *bundle.Bundle) bool {
	return b.GetVerificationMaterial().GetCertificate() != nil
}

// PeekSigned is Peek of what was signed by a key or with a certificate.
func PeekSigned(raw []byte) (st *Statement, withCertificate bool, err error) {
	b, payload, err := parseEnvelope(raw)
	if err == nil {
		st, err = ParseStatement(payload)
	}
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return st, certified(b), nil
}
