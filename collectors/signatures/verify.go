package signatures

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/companyos/helmproof/evidence"
)

// check verifies a candidate by an authority, for the image with that digest. It
// returns who signed and when, in words.
func (a *authority) check(c *candidate, image evidence.Digest) (string, error) {
	if c.broken != "" {
		return "", errors.New(c.broken)
	}
	b, err := c.bundle(a)
	if err != nil {
		return "", err
	}
	// The statement is verified by a subject of its own first, so that a good
	// signature of another image is told from a bad one.
	subject := c.subjects[0]
	if slices.Contains(c.subjects, string(image)) {
		subject = string(image)
	}
	var artifact verify.ArtifactPolicyOption
	if c.payload != nil {
		artifact = verify.WithArtifact(bytes.NewReader(c.payload))
	} else {
		d, err := hex.DecodeString(evidence.Digest(subject).Hex())
		if err != nil {
			return "", fmt.Errorf("subject %s: %w", subject, err)
		}
		artifact = verify.WithArtifactDigest("sha256", d)
	}
	var options []verify.PolicyOption
	if a.key != nil {
		options = append(options, verify.WithKey())
	}
	for _, id := range a.identities {
		options = append(options, verify.WithCertificateIdentity(id))
	}
	verifier := a.bundles
	if c.legacy {
		verifier = a.legacy
	}
	res, err := verifier.Verify(b, verify.NewPolicy(artifact, options...))
	if err != nil {
		return "", a.explain(err, b)
	}
	who := a.signedBy(res)
	// The verified statement is what counts, not what was read of it before.
	if res.Statement != nil && res.Statement.GetPredicateType() != c.predicateType {
		return "", fmt.Errorf("%s, but as %q, not %q", who, res.Statement.GetPredicateType(), c.predicateType)
	}
	if subject != string(image) {
		return "", fmt.Errorf("%s, but for another image: %s", who, subject)
	}
	return who, nil
}

// signedBy says who signed, and at which trusted times.
func (a *authority) signedBy(res *verify.VerificationResult) string {
	var b strings.Builder
	if res.Signature != nil && res.Signature.Certificate != nil {
		cert := res.Signature.Certificate
		fmt.Fprintf(&b, "signed by %s (issuer %s)", cert.SubjectAlternativeName, cert.Issuer)
	} else {
		fmt.Fprintf(&b, "signed by the key sha256:%s", a.keyID())
		if a.kms != "" {
			fmt.Fprintf(&b, " (%s)", a.kms)
		}
	}
	var times []string
	for _, t := range res.VerifiedTimestamps {
		kind := "timestamp authority"
		if t.Type == "Tlog" {
			kind = "transparency log"
		}
		times = append(times, fmt.Sprintf("%s (%s %s)", t.Timestamp.UTC().Format(time.RFC3339), kind, t.URI))
	}
	slices.Sort(times)
	if len(times) > 0 {
		b.WriteString(" at " + strings.Join(slices.Compact(times), " and "))
	}
	return b.String()
}

// keyID is the sha256 of the key's PKIX DER, in hexadecimal.
func (a *authority) keyID() string { return evidence.DigestOf(a.key).Hex() }

// explain turns an error of verification into the reason for a person. sigstore-go
// has types for few of its errors; what is not recognized is passed on as it is.
func (a *authority) explain(err error, b *bundle.Bundle) error {
	var other *verify.ErrNoMatchingCertificateIdentity
	text := err.Error()
	switch {
	case errors.As(err, &other):
		return fmt.Errorf("signed by an identity that the policy does not trust: %w", other)
	case strings.Contains(text, "expected key signature, not certificate"):
		return errors.New("signed with a certificate, and the policy demands its key")
	case strings.Contains(text, "integrated time outside certificate validity"):
		if at, ok := expired(b); ok {
			return errors.New(at)
		}
		return err
	case strings.Contains(text, "does not match artifact"), strings.Contains(text, "does not match envelope payload hash"):
		return fmt.Errorf("altered after it was signed: the transparency log has something else: %w", err)
	case strings.Contains(text, "failed to verify log inclusion") && strings.Contains(text, "does not match"):
		return fmt.Errorf("the entry in the transparency log is of another key or signature: %w", err)
	case strings.Contains(text, "failed to verify log inclusion"):
		return fmt.Errorf("no entry in a trusted transparency log: %w", err)
	case strings.Contains(text, "failed to verify timestamps"):
		return fmt.Errorf("no trusted time of signing: %w", err)
	case strings.Contains(text, "failed to verify leaf certificate"):
		if at, ok := expired(b); ok {
			return errors.New(at)
		}
		return fmt.Errorf("the certificate is of no authority of the trusted root: %w", err)
	case strings.Contains(text, "failed to verify signed certificate timestamp"):
		return fmt.Errorf("the certificate has no timestamp of a trusted certificate log: %w", err)
	case strings.Contains(text, "failed to verify signature"):
		if a.key == nil {
			return fmt.Errorf("altered after it was signed: the signature does not hold for what it is with: %w", err)
		}
		switch hint := b.GetVerificationMaterial().GetPublicKey().GetHint(); {
		case hint == "":
			return fmt.Errorf("signed with another key, or altered after it was signed: %w", err)
		case hint == a.hint():
			return fmt.Errorf("altered after it was signed: the signature does not hold for what it is with: %w", err)
		default:
			return fmt.Errorf("signed with another key (%.100q): %w", hint, err)
		}
	}
	return err
}

// hint is what cosign writes into bundles to name a key.
func (a *authority) hint() string {
	sum := sha256.Sum256(a.key)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// expired says whether the certificate was not valid when the log says that it was used.
func expired(b *bundle.Bundle) (string, bool) {
	content, err := b.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return "", false
	}
	cert := content.Certificate()
	entries, err := b.TlogEntries()
	if err != nil {
		return "", false
	}
	for _, e := range entries {
		at := e.IntegratedTime()
		if at.IsZero() || !at.Before(cert.NotBefore) && !at.After(cert.NotAfter) {
			continue
		}
		return fmt.Sprintf("the certificate was not valid when it signed: at %s, and it is from %s to %s", at.UTC().Format(time.RFC3339),
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339)), true
	}
	return "", false
}
