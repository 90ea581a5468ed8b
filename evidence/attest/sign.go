package attest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxKeyFile bounds a key file that is read, in bytes.
const maxKeyFile = 64 << 10

// minRSABits is 128-bit security, as NIST SP 800-57 counts it.
const minRSABits = 3072

// Signer signs statements.
type Signer interface {
	// Sign returns a Sigstore bundle v0.3 (JSON) that holds the signed statement.
	Sign(ctx context.Context, s *Statement) ([]byte, error)
	PublicKeyPEM() []byte
	// KeyID is the hexadecimal SHA-256 of the public key's DER form (SubjectPublicKeyInfo).
	KeyID() string
}

// LoadSigner reads a private key: cosign's encrypted PEM, PKCS #8, SEC 1 or
// PKCS #1. password is called for encrypted keys only. As ssh does, it refuses a
// file of this user that others may read or write.
func LoadSigner(path string, password func() ([]byte, error)) (Signer, error) {
	raw, err := readKey(path, checkPrivate)
	if errors.Is(err, ErrExposedKey) && isPublic(path) {
		err = errPublic
	}
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", path, err)
	}
	s, err := newKeySigner(raw, password)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", path, err)
	}
	return s, nil
}

// readKey reads a key whose file, once open, check does not refuse.
func readKey(path string, check func(fs.FileInfo) error) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil {
		err = check(st)
	}
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxKeyFile {
		return nil, errors.New("too large for a key")
	}
	return raw, nil
}

// checkPrivate refuses a private key of this user that anybody else may read or
// write, encrypted or not. Files of other users, such as a mounted Secret of root's,
// were given to this one so, and the system decides who reads them.
func checkPrivate(st fs.FileInfo) error {
	if mode := st.Mode().Perm(); ownFile(st) && mode&0o077 != 0 {
		return fmt.Errorf("%w: its mode is %04o: chmod 600 it, and make a new key if somebody may have read it", ErrExposedKey, mode)
	}
	return nil
}

// ErrExposedKey says that a private key is not private.
var ErrExposedKey = errors.New("others may read or write this private key")

var errPublic = errors.New("this is a public key: sign with the private key, and give this one to --trust")

// isPublic reports whether the file is a public key, which everybody may read.
func isPublic(path string) bool {
	raw, err := readKey(path, func(fs.FileInfo) error { return nil })
	if err != nil {
		return false
	}
	block, _ := pem.Decode(raw)
	return block != nil && block.Type == "PUBLIC KEY"
}

func newKeySigner(raw []byte, password func() ([]byte, error)) (*keySigner, error) {
	block, rest := pem.Decode(raw)
	if block != nil && block.Type == "EC PARAMETERS" { // openssl writes the curve first
		raw = rest
		block, _ = pem.Decode(raw)
	}
	switch {
	case block == nil:
		return nil, errors.New("not a PEM file: want a private key made by helmproof keygen, cosign or openssl")
	case block.Type == "PUBLIC KEY":
		return nil, errPublic
	}
	var none bool // no password was given, or an empty one
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(raw, func(bool) ([]byte, error) {
		if password == nil {
			return nil, errors.New("the key is encrypted: give its password in COSIGN_PASSWORD")
		}
		text, err := password()
		none = err == nil && len(text) == 0
		return text, err
	})
	switch {
	case err != nil && none: // it was tried with an empty one
		return nil, errors.New("the key is encrypted, and no password was given: set COSIGN_PASSWORD")
	case err != nil:
		if block.Type == "ENCRYPTED SIGSTORE PRIVATE KEY" || block.Type == "ENCRYPTED COSIGN PRIVATE KEY" {
			return nil, fmt.Errorf("%w: is COSIGN_PASSWORD right?", err)
		}
		return nil, err
	}
	return keyOf(key)
}

// keySigner signs with one key.
type keySigner struct {
	public    crypto.PublicKey
	sign      func(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error)
	hash      crypto.Hash // 0 for Ed25519, whose digest is the message
	algorithm protocommon.PublicKeyDetails
	pub       []byte // PEM
	id        string
	tsa       []*sign.TimestampAuthority
}

// ServiceKey is a key in a key management service.
type ServiceKey interface {
	Public() crypto.PublicKey
	// Sign signs a digest made with hash.
	Sign(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error)
}

// ServiceSigner signs with a key in a service: ECDSA on P-256 or P-384.
func ServiceSigner(k ServiceKey) (Signer, error) {
	public, ok := k.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key of type %T: want an ECDSA key of a service, on P-256 or P-384", k.Public())
	}
	return signerOf(public, func(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error) {
		sig, err := k.Sign(ctx, digest, hash)
		if err == nil && !ecdsa.VerifyASN1(public, digest, sig) {
			err = errors.New("the service's signature does not hold for its own key")
		}
		return sig, err
	})
}

// checkKey refuses keys that are weaker than, or other than, what is signed with:
// a verifier trusts no key that a signer would refuse.
func checkKey(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return fmt.Errorf("curve %s: want P-256 or P-384", k.Params().Name)
		}
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return fmt.Errorf("RSA key of %d bits: want at least %d", k.N.BitLen(), minRSABits)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("key of type %T: want ECDSA, RSA or Ed25519", pub)
	}
	return cryptoutils.ValidatePubKey(pub)
}

// keyOf signs with a key in memory, deterministically (RFC 6979 for ECDSA): who
// stores the same evidence again, after a crash, stores the same bytes.
func keyOf(key any) (*keySigner, error) {
	private, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key of type %T: want ECDSA, RSA or Ed25519", key)
	}
	return signerOf(private.Public(), func(_ context.Context, digest []byte, hash crypto.Hash) ([]byte, error) {
		return private.Sign(nil, digest, hash)
	})
}

func signerOf(public crypto.PublicKey, by func(context.Context, []byte, crypto.Hash) ([]byte, error)) (*keySigner, error) {
	if err := checkKey(public); err != nil {
		return nil, err
	}
	s := &keySigner{public: public, sign: by, hash: crypto.SHA256}
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		s.algorithm = protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256
		if k.Curve == elliptic.P384() {
			s.hash, s.algorithm = crypto.SHA384, protocommon.PublicKeyDetails_PKIX_ECDSA_P384_SHA_384
		}
	case *rsa.PublicKey:
		s.algorithm = protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256
	case ed25519.PublicKey:
		s.hash, s.algorithm = 0, protocommon.PublicKeyDetails_PKIX_ED25519
	}
	pub, err := cryptoutils.MarshalPublicKeyToPEM(public)
	if err != nil {
		return nil, err
	}
	s.pub, s.id = pub, KeyID(pub)
	return s, nil
}

// KeyID is the id of a PEM public key: hexadecimal SHA-256 of its DER form.
func KeyID(pubPEM []byte) string {
	block, _ := pem.Decode(pubPEM)
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// WithTimestampAuthority returns a signer that also gets an RFC 3161 timestamp
// of each signature; if it cannot, nothing is signed.
func WithTimestampAuthority(s Signer, url string, transport http.RoundTripper) (Signer, error) {
	k, ok := s.(*keySigner)
	if !ok {
		return nil, fmt.Errorf("timestamps are not supported for a signer of type %T", s)
	}
	with := *k
	with.tsa = []*sign.TimestampAuthority{sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: url, Timeout: 30 * time.Second, Retries: 2, Transport: transport})}
	return &with, nil
}

func (s *keySigner) PublicKeyPEM() []byte { return s.pub }
func (s *keySigner) KeyID() string        { return s.id }

func (s *keySigner) Sign(ctx context.Context, st *Statement) ([]byte, error) {
	payload, err := st.Marshal()
	if err != nil {
		return nil, err
	}
	b, err := sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: payloadType}, keypair{s}, sign.BundleOptions{TimestampAuthorities: s.tsa, Context: ctx})
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", st.PredicateType, err)
	}
	raw, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", st.PredicateType, err)
	}
	// protojson varies its white space on purpose.
	return jsoncanonicalizer.Transform(raw)
}

// keypair is a keySigner as sigstore-go wants it.
type keypair struct{ s *keySigner }

func (k keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	if k.s.hash == crypto.SHA384 {
		return protocommon.HashAlgorithm_SHA2_384
	}
	return protocommon.HashAlgorithm_SHA2_256
}
func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails { return k.s.algorithm }
func (k keypair) GetHint() []byte                                   { return []byte(k.s.id) }
func (k keypair) GetPublicKey() crypto.PublicKey                    { return k.s.public }
func (k keypair) GetPublicKeyPem() (string, error)                  { return string(k.s.pub), nil }

func (k keypair) GetKeyAlgorithm() string {
	switch k.s.public.(type) {
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "ED25519"
	}
	return "ECDSA"
}

func (k keypair) SignData(ctx context.Context, data []byte) (sig, digest []byte, err error) {
	digest = data
	if k.s.hash != 0 {
		h := k.s.hash.New()
		h.Write(data)
		digest = h.Sum(nil)
	}
	if sig, err = k.s.sign(ctx, digest, k.s.hash); err != nil {
		return nil, nil, err
	}
	sig, err = lowS(k.s.public, sig)
	return sig, digest, err
}

// GenerateKeyPair makes an ECDSA P-256 key pair in cosign's format: the private
// half encrypted with the password, which may be empty.
func GenerateKeyPair(password []byte) (privPEM, pubPEM []byte, err error) {
	return cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), cryptoutils.StaticPasswordFunc(password))
}

// GeneratePlainKeyPair makes an ECDSA P-256 key pair whose private half is not
// encrypted (PKCS #8): its protection is that of the file.
func GeneratePlainKeyPair() (privPEM, pubPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if privPEM, err = cryptoutils.MarshalPrivateKeyToPEM(key); err != nil {
		return nil, nil, err
	}
	pubPEM, err = cryptoutils.MarshalPublicKeyToPEM(key.Public())
	return privPEM, pubPEM, err
}
