package attest

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/companyos/helmproof/evidence"
)

// What a verifier branches on.
var (
	ErrNoTrust       = errors.New("no trusted key: " + AskForKey + "; of evidence that you make yourself, the first collect on this machine makes the key")
	ErrUnsigned      = errors.New("not signed")
	ErrMalformed     = errors.New("not a Sigstore bundle v0.3 with one signature")
	ErrUnknownSigner = errors.New("signed by a key that is not trusted")
	ErrBadSignature  = errors.New("the signature does not hold")
	ErrWrongSubject  = errors.New("the signature is about another file")
	ErrWrongType     = errors.New("the signature is about another kind of statement")
	ErrNoTimestamp   = errors.New("no trusted timestamp")
)

// AskForKey is what to do where no trusted key made a signature. A key that lies
// beside the evidence shows nothing: who can swap one can swap both.
const AskForKey = "the public key of whoever signs this evidence is needed; get it from them (not from the repository) and give --trust FILE.pub"

const (
	mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// maxBundle bounds a Sigstore bundle that is read, in bytes.
	maxBundle = 16 << 20
	// maxParts bounds the members and elements of one; with timestamps it has a few dozen.
	maxParts = 10_000
	// maxTrustFiles bounds how many files a folder of trusted keys may hold.
	maxTrustFiles = 1000
)

// Trust is whose signatures, and whose timestamps, are accepted.
type Trust struct {
	keys map[string]signature.Verifier // by KeyID
	tsa  []root.TimestampingAuthority
	// RequireTimestamp refuses signatures without a trusted RFC 3161 timestamp.
	RequireTimestamp bool
}

// Signature is what was found out about an accepted signature.
type Signature struct {
	KeyID    string
	Identity string // Identity.String, where a certificate and no key vouches for it
	// Timestamps are those of trusted authorities; none without such authorities.
	Timestamps []time.Time
	// HighS says that this is the form of an ECDSA signature that Sign does not write
	// (see lowS). It holds, and other signers write it; bundles whose runs.json says
	// lowS are altered if they have it.
	HighS bool
}

// LoadTrust reads trusted keys: PEM files (public keys; certificates are the
// chain of a timestamp authority, leaf first) and folders of *.pub, *.pem and *.crt.
func LoadTrust(paths []string) (*Trust, error) {
	t := &Trust{keys: map[string]signature.Verifier{}}
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("trusted key: %w", err)
		}
		files := []string{p}
		if st.IsDir() {
			if files, err = keyFiles(p); err != nil {
				return nil, err
			}
		}
		for _, f := range files {
			raw, err := readKey(f, func(fs.FileInfo) error { return nil })
			if err == nil {
				err = t.Add(raw)
			}
			if err != nil {
				return nil, fmt.Errorf("trusted key %s: %w", f, err)
			}
		}
	}
	return t, nil
}

func keyFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("trusted keys: %w", err)
	}
	if len(entries) > maxTrustFiles {
		return nil, fmt.Errorf("trusted keys in %s: more than %d files", dir, maxTrustFiles)
	}
	var files []string
	for _, e := range entries {
		if slices.Contains([]string{".pub", ".pem", ".crt"}, filepath.Ext(e.Name())) && !e.IsDir() {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

// Add trusts the PEM blocks of raw.
func (t *Trust) Add(raw []byte) error {
	if t.keys == nil {
		t.keys = map[string]signature.Verifier{}
	}
	var chain []*x509.Certificate
	found := false
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			break // raw is what follows the last block
		}
		found = true
		switch {
		case block.Type == "PUBLIC KEY":
			if err := t.addKey(block); err != nil {
				return err
			}
		case block.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return err
			}
			chain = append(chain, c)
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return errors.New("this is a private key: trust its public half, and keep this one secret")
		default:
			return fmt.Errorf("PEM block %q: want a public key", block.Type)
		}
	}
	if !found {
		return errors.New("not a PEM file: want a public key")
	}
	if bytes.Contains(raw, []byte("-----BEGIN")) {
		return errors.New("what follows the last PEM block is a broken one: is the file complete?")
	}
	if len(chain) > 0 {
		if len(chain) < 2 {
			return errors.New("a timestamp authority needs its chain: leaf certificate first, root last")
		}
		last := len(chain) - 1
		t.tsa = append(t.tsa, &root.SigstoreTimestampingAuthority{
			Leaf: chain[0], Intermediates: chain[1:last], Root: chain[last],
			ValidityPeriodStart: chain[0].NotBefore, ValidityPeriodEnd: chain[0].NotAfter,
		})
	}
	return nil
}

func (t *Trust) addKey(block *pem.Block) error {
	pemBytes := pem.EncodeToMemory(block)
	key, err := cryptoutils.UnmarshalPEMToPublicKey(pemBytes)
	if err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	hash := crypto.SHA256
	if details, err := signature.GetDefaultAlgorithmDetails(key); err == nil && details.GetHashType() != 0 {
		hash = details.GetHashType()
	}
	v, err := signature.LoadVerifier(key, hash)
	if err != nil {
		return err
	}
	t.keys[KeyID(pemBytes)] = v
	return nil
}

// Len is how many signing keys are trusted.
func (t *Trust) Len() int {
	if t == nil {
		return 0
	}
	return len(t.keys)
}

// material is one trusted key, and the timestamp authorities, as sigstore-go wants them.
type material struct {
	*root.TrustedPublicKeyMaterial
	tsa []root.TimestampingAuthority
}

func (m material) TimestampingAuthorities() []root.TimestampingAuthority { return m.tsa }

// Verify checks a Sigstore bundle: exactly one DSSE signature, made by a trusted
// key, over an in-toto statement of that predicate type whose first subject is
// the artifact. It needs no network. The error wraps one of the errors above.
func (t *Trust) Verify(raw []byte, predicateType string, artifact evidence.Digest) (*Statement, *Signature, error) {
	if t.Len() == 0 {
		return nil, nil, ErrNoTrust
	}
	if len(raw) == 0 {
		return nil, nil, ErrUnsigned
	}
	b, payload, err := parseBundle(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	keyID, err := t.signer(b, raw)
	if err != nil {
		return nil, nil, err
	}
	if err := t.verify(b, keyID, artifact); err != nil {
		return nil, nil, err
	}
	sig := &Signature{KeyID: keyID}
	public, err := t.keys[keyID].PublicKey()
	if err == nil {
		sig.HighS, err = isHighS(public, b.GetDsseEnvelope().GetSignatures()[0].GetSig())
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadSignature, err)
	}
	if sig.Timestamps, err = t.timestamps(b); err != nil {
		return nil, nil, err
	}
	st, err := checkStatement(payload, predicateType, artifact)
	if err != nil {
		return nil, nil, err
	}
	return st, sig, nil
}

// checkStatement reads the payload of a signature that holds, and holds it to what it
// has to be about.
func checkStatement(payload []byte, predicateType string, artifact evidence.Digest) (*Statement, error) {
	st, err := ParseStatement(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if st.PredicateType != predicateType {
		return nil, fmt.Errorf("%w: %q, want %q", ErrWrongType, st.PredicateType, predicateType)
	}
	if st.Subjects[0].Digest != artifact {
		return nil, fmt.Errorf("%w: it names %s, the file is %s", ErrWrongSubject, st.Subjects[0].Digest, artifact)
	}
	return st, nil
}

// parseBundle reads a bundle that a key signed and returns the signed payload, still
// unverified.
func parseBundle(raw []byte) (*bundle.Bundle, []byte, error) {
	b, payload, err := parseEnvelope(raw)
	if err == nil && b.GetVerificationMaterial().GetPublicKey() == nil {
		err = errors.New("signed by a certificate, not by a key")
	}
	if err != nil {
		return nil, nil, err
	}
	return b, payload, nil
}

// parseEnvelope is parseBundle of what a key or a certificate signed.
func parseEnvelope(raw []byte) (*bundle.Bundle, []byte, error) {
	if len(raw) > maxBundle {
		return nil, nil, fmt.Errorf("%d bytes: larger than %d", len(raw), maxBundle)
	}
	if parts(raw) > maxParts {
		return nil, nil, fmt.Errorf("more than %d members and elements", maxParts)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		return nil, nil, err
	}
	env := b.GetDsseEnvelope()
	switch {
	case b.GetMediaType() != mediaType:
		return nil, nil, fmt.Errorf("media type %q, want %q", b.GetMediaType(), mediaType)
	case env == nil:
		return nil, nil, errors.New("no DSSE envelope")
	case len(env.GetSignatures()) != 1:
		return nil, nil, fmt.Errorf("%d signatures", len(env.GetSignatures()))
	case env.GetPayloadType() != payloadType:
		return nil, nil, fmt.Errorf("payload type %q, want %q", env.GetPayloadType(), payloadType)
	case b.GetVerificationMaterial().GetPublicKey() == nil && !certified(&b):
		return nil, nil, errors.New("signed by neither a key nor one certificate")
	}
	return &b, env.GetPayload(), sameJSON(&b, raw)
}

// parts counts what JSON is made of, without making anything of it: each element of a
// list that nobody vouched for takes a hundred times its bytes.
func parts(raw []byte) int {
	n, text := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '"':
			text = !text
		case text && c == '\\':
			i++ // the next sign is text, whatever it is
		case !text && (c == ',' || c == '{' || c == '['):
			n++
		}
	}
	return n
}

// sameJSON holds that the bundle, written again, is the same JSON: what is signed
// has one spelling. Base64 alone has several of most values.
func sameJSON(b *bundle.Bundle, raw []byte) error {
	again, err := b.MarshalJSON()
	if err != nil {
		return err
	}
	if again, err = jsoncanonicalizer.Transform(again); err != nil {
		return err
	}
	if raw, err = jsoncanonicalizer.Transform(raw); err != nil {
		return err
	}
	if !bytes.Equal(again, raw) {
		return errors.New("its JSON is not spelled as Sigstore bundles are")
	}
	return nil
}

// signer finds the trusted key by the bundle's hint. Bundles of other tools carry
// other hints, so that each trusted key is tried when none is named by it.
func (t *Trust) signer(b *bundle.Bundle, raw []byte) (string, error) {
	hint := HintOf(raw)
	if _, ok := t.keys[hint]; ok {
		return hint, nil
	}
	env := b.GetDsseEnvelope()
	pae := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(env.GetPayloadType()), env.GetPayloadType(), len(env.GetPayload()), env.GetPayload())
	for id, v := range t.keys {
		if v.VerifySignature(bytes.NewReader(env.GetSignatures()[0].GetSig()), bytes.NewReader(pae)) == nil {
			return id, nil
		}
	}
	return "", fmt.Errorf("%w: it names key %s; %s", ErrUnknownSigner, shortHint(hint), AskForKey)
}

func (t *Trust) verify(b *bundle.Bundle, keyID string, artifact evidence.Digest) error {
	key := root.NewExpiringKey(t.keys[keyID], time.Time{}, time.Time{})
	m := material{root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil }), t.tsa}
	v, err := verify.NewVerifier(m, verify.WithNoObserverTimestamps())
	if err != nil {
		return fmt.Errorf("set up verification: %w", err)
	}
	digest, err := hex.DecodeString(artifact.Hex())
	if err != nil {
		return fmt.Errorf("artifact digest %s: %w", artifact, err)
	}
	if _, err = v.Verify(b, verify.NewPolicy(verify.WithArtifactDigest("sha256", digest), verify.WithKey())); err == nil {
		return nil
	}
	// Which of the two failed matters to whoever reads it.
	if _, sigErr := v.Verify(b, verify.NewPolicy(verify.WithoutArtifactUnsafe(), verify.WithKey())); sigErr != nil {
		return fmt.Errorf("%w: %w", ErrBadSignature, sigErr)
	}
	return fmt.Errorf("%w: %w", ErrWrongSubject, err)
}

// timestamps verifies the bundle's RFC 3161 timestamps against the trusted authorities.
func (t *Trust) timestamps(b *bundle.Bundle) ([]time.Time, error) {
	var out []time.Time
	if len(t.tsa) > 0 {
		sc, err := b.SignatureContent()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		signed, err := b.Timestamps()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		for _, s := range signed {
			for _, authority := range t.tsa {
				if ts, err := authority.Verify(s, sc.Signature()); err == nil {
					out = append(out, ts.Time)
					break
				}
			}
		}
	}
	if len(out) == 0 && t.RequireTimestamp {
		return nil, ErrNoTimestamp
	}
	return out, nil
}

// Peek returns the statement that a Sigstore bundle carries, unverified: what it
// says is to be looked for, never to be believed.
func Peek(raw []byte) (*Statement, error) {
	_, payload, err := parseBundle(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	st, err := ParseStatement(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return st, nil
}

// HintOf returns the key that a Sigstore bundle says it was signed with: a hint,
// unverified; "" when there is none.
func HintOf(raw []byte) string {
	var b struct {
		VerificationMaterial struct {
			PublicKey struct {
				Hint string `json:"hint"`
			} `json:"publicKey"`
		} `json:"verificationMaterial"`
	}
	if err := json.NewDecoder(io.LimitReader(bytes.NewReader(raw), maxBundle)).Decode(&b); err != nil {
		return ""
	}
	return b.VerificationMaterial.PublicKey.Hint
}

func shortHint(h string) string {
	if len(h) > 12 {
		return h[:12]
	}
	if h == "" {
		return "(none)"
	}
	return h
}
