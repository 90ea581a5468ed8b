package attest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence/attest"
)

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	sec1 := ecKey(t, elliptic.P256())
	rsaKey := must(rsa3072())(t)
	tests := map[string]struct {
		key  crypto.Signer
		priv []byte
	}{
		"ECDSA P-256":        {key: ecKey(t, elliptic.P256())},
		"ECDSA P-384":        {key: ecKey(t, elliptic.P384())},
		"RSA 3072":           {key: rsaKey},
		"Ed25519":            {key: edKey(t)},
		"ECDSA P-256, SEC 1": {sec1, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(sec1))(t)})},
		"ECDSA P-256, SEC 1 of openssl": {sec1, append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"),
			pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: must(x509.MarshalECPrivateKey(sec1))(t)})...)},
		"RSA 3072, PKCS #1": {rsaKey, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.priv == nil {
				tt.priv = pkcs8(t, tt.key)
			}
			s := load(t, tt.priv)
			pub := publicPEM(t, tt.key)
			if !bytes.Equal(s.PublicKeyPEM(), pub) {
				t.Errorf("public key\n%s\nwant\n%s", s.PublicKeyPEM(), pub)
			}
			raw := signed(t, s, statement())
			got, sig, err := trusting(t, pub).Verify(raw, attest.EvidenceType, artifact)
			if err != nil {
				t.Fatal(err)
			}
			if want := statement(); !bytes.Equal(must(got.Marshal())(t), must(want.Marshal())(t)) {
				t.Errorf("statement %+v, want %+v", got, want)
			}
			if sig.KeyID != s.KeyID() || len(sig.Timestamps) != 0 {
				t.Errorf("signature %+v, want key %s and no timestamp", sig, s.KeyID())
			}
			if hint := attest.HintOf(raw); hint != s.KeyID() {
				t.Errorf("hint %q, want %q", hint, s.KeyID())
			}
			other := trusting(t, newSigner(t).PublicKeyPEM())
			if _, _, err := other.Verify(raw, attest.EvidenceType, artifact); !errors.Is(err, attest.ErrUnknownSigner) {
				t.Errorf("another trusted key: error %v, want ErrUnknownSigner", err)
			}
		})
	}
}

// service is a key that answers as a key management service does.
type service struct {
	key  crypto.Signer
	hash crypto.Hash // that it wants
	over []byte      // it signs that instead, where set
}

func (s service) Public() crypto.PublicKey { return s.key.Public() }
func (s service) Sign(ctx context.Context, digest []byte, hash crypto.Hash) ([]byte, error) {
	if hash != s.hash || len(digest) != hash.Size() {
		return nil, fmt.Errorf("hash %s of %d bytes", hash, len(digest))
	}
	if s.over != nil {
		digest = s.over
	}
	sig, err := s.key.Sign(rand.Reader, digest, hash)
	return sig, errors.Join(err, ctx.Err())
}

func TestServiceSigner(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]service{
		"P-256": {key: ecKey(t, elliptic.P256()), hash: crypto.SHA256},
		"P-384": {key: ecKey(t, elliptic.P384()), hash: crypto.SHA384},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := attest.ServiceSigner(key)
			if err != nil {
				t.Fatal(err)
			}
			if _, sig, err := trusting(t, publicPEM(t, key.key)).Verify(signed(t, s, statement()), attest.EvidenceType, artifact); err != nil || sig.KeyID != s.KeyID() {
				t.Errorf("%+v, %v", sig, err)
			}
			key.over = make([]byte, key.hash.Size())
			if s, err = attest.ServiceSigner(key); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Sign(t.Context(), statement()); err == nil || !strings.Contains(err.Error(), "does not hold for its own key") {
				t.Errorf("signed something else: %v", err)
			}
		})
	}
	for name, key := range map[string]crypto.Signer{"Ed25519": edKey(t), "RSA": must(rsa3072())(t)} {
		if _, err := attest.ServiceSigner(service{key: key}); err == nil || !strings.Contains(err.Error(), "want an ECDSA key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := attest.ServiceSigner(service{key: ecKey(t, elliptic.P224())}); err == nil || !strings.Contains(err.Error(), "curve P-224") {
		t.Errorf("P-224: %v", err)
	}
}

func TestEncryptedKey(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{"password": "correct horse", "empty password": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			priv, pub, err := attest.GenerateKeyPair([]byte(password))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(priv, []byte("BEGIN ENCRYPTED SIGSTORE PRIVATE KEY")) {
				t.Errorf("the private key is not in cosign's encrypted form:\n%s", priv)
			}
			path := writeFile(t, "cosign.key", priv)
			s, err := attest.LoadSigner(path, func() ([]byte, error) { return []byte(password), nil })
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := trusting(t, pub).Verify(signed(t, s, statement()), attest.EvidenceType, artifact); err != nil {
				t.Error(err)
			}
			_, err = attest.LoadSigner(path, func() ([]byte, error) { return []byte("wrong"), nil })
			wantError(t, err, path, "is COSIGN_PASSWORD right?")
			if password != "" {
				_, err = attest.LoadSigner(path, func() ([]byte, error) { return nil, nil })
				wantError(t, err, path, "no password was given: set COSIGN_PASSWORD")
			}
			_, err = attest.LoadSigner(path, nil)
			wantError(t, err, path, "encrypted", "COSIGN_PASSWORD")
			cannot := errors.New("no terminal to ask on")
			if _, err = attest.LoadSigner(path, func() ([]byte, error) { return nil, cannot }); !errors.Is(err, cannot) {
				t.Errorf("error %v, want the reason why there is no password", err)
			}
		})
	}
}

func TestLoadSignerRefuses(t *testing.T) {
	t.Parallel()
	_, pub, err := attest.GeneratePlainKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		content []byte
		want    string
	}{
		"public key":     {pub, "this is a public key: sign with the private key"},
		"RSA 2048":       {pkcs8(t, must(rsa2048())(t)), "RSA key of 2048 bits: want at least 3072"},
		"P-521":          {pkcs8(t, ecKey(t, elliptic.P521())), "curve P-521: want P-256 or P-384"},
		"no PEM":         {[]byte("secret"), "not a PEM file"},
		"empty":          {nil, "not a PEM file"},
		"garbage in PEM": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("garbage")}), "asn1"},
		"certificate":    {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "CERTIFICATE"},
		"huge":           {bytes.Repeat([]byte("x"), 64<<10+1), "too large for a key"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, "key", tt.content)
			_, err := attest.LoadSigner(path, noPassword)
			wantError(t, err, "signing key "+path, tt.want)
		})
	}
	_, err = attest.LoadSigner("no/such/key", noPassword)
	wantError(t, err, "signing key no/such/key", "no such file")
}

// wantError fails unless the error says all of the parts.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q, want it to say %q", err, p)
		}
	}
}

func TestKeyID(t *testing.T) {
	t.Parallel()
	key := ecKey(t, elliptic.P256())
	der := must(x509.MarshalPKIXPublicKey(key.Public()))(t)
	sum := sha256.Sum256(der)
	if got, want := attest.KeyID(publicPEM(t, key)), hex.EncodeToString(sum[:]); got != want {
		t.Errorf("KeyID = %s, want %s", got, want)
	}
	for _, raw := range []string{"", "no PEM", "-----BEGIN PUBLIC KEY-----\n"} {
		if got := attest.KeyID([]byte(raw)); got != "" {
			t.Errorf("KeyID(%q) = %q, want none", raw, got)
		}
	}
}

func TestHintOf(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"": "", "{": "", "[]": "", "null": "", "{}": "", `{"verificationMaterial":{"publicKey":{}}}`: "",
		`{"verificationMaterial":{"publicKey":{"hint":3}}}`:     "",
		`{"verificationMaterial":{"publicKey":{"hint":"abc"}}}`: "abc",
	} {
		if got := attest.HintOf([]byte(raw)); got != want {
			t.Errorf("HintOf(%s) = %q, want %q", raw, got, want)
		}
	}
}

func TestSignRefusesWhatNobodyCouldVerify(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	for name, tt := range map[string]struct {
		st   *attest.Statement
		want string
	}{
		"no subject":   {&attest.Statement{PredicateType: attest.EvidenceType, Predicate: json.RawMessage(`{}`)}, "without a subject"},
		"no digest":    {&attest.Statement{PredicateType: attest.EvidenceType, Subjects: []attest.Subject{{Name: "x"}}, Predicate: json.RawMessage(`{}`)}, "subject x"},
		"no JSON":      {&attest.Statement{PredicateType: attest.EvidenceType, Subjects: []attest.Subject{{Name: "x", Digest: artifact}}, Predicate: json.RawMessage(`{`)}, "statement"},
		"no predicate": {&attest.Statement{PredicateType: attest.EvidenceType, Subjects: []attest.Subject{{Name: "x", Digest: artifact}}}, "predicate"},
		"no type":      {&attest.Statement{Subjects: []attest.Subject{{Name: "x", Digest: artifact}}, Predicate: json.RawMessage(`{}`)}, "predicate type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.Sign(t.Context(), tt.st)
			wantError(t, err, tt.want)
		})
	}
}

func TestLoadTrust(t *testing.T) {
	t.Parallel()
	a, b := newSigner(t), newSigner(t)
	dir := t.TempDir()
	for name, content := range map[string][]byte{"a.pub": a.PublicKeyPEM(), "b.pem": b.PublicKeyPEM(), "notes.txt": []byte("not a key")} {
		writeIn(t, dir, name, content)
	}
	for name, tt := range map[string]struct {
		paths []string
		keys  int
	}{
		"none":             {nil, 0},
		"file":             {[]string{writeFile(t, "a.pub", a.PublicKeyPEM())}, 1},
		"same key twice":   {[]string{dir, writeFile(t, "again.pub", a.PublicKeyPEM())}, 2},
		"folder":           {[]string{dir}, 2},
		"empty folder":     {[]string{t.TempDir()}, 0},
		"two in one file":  {[]string{writeFile(t, "both.pub", append(bytes.Clone(a.PublicKeyPEM()), b.PublicKeyPEM()...))}, 2},
		"authorities only": {[]string{writeFile(t, "tsa.crt", newAuthority(t, valid).PEM())}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust, err := attest.LoadTrust(tt.paths)
			if err != nil {
				t.Fatal(err)
			}
			if trust.Len() != tt.keys {
				t.Errorf("%d keys, want %d", trust.Len(), tt.keys)
			}
			_, _, err = trust.Verify(signed(t, a, statement()), attest.EvidenceType, artifact)
			if tt.keys == 0 && !errors.Is(err, attest.ErrNoTrust) {
				t.Errorf("error %v, want ErrNoTrust", err)
			}
			if tt.keys > 0 && err != nil {
				t.Error(err)
			}
		})
	}
	var none *attest.Trust
	if _, _, err := none.Verify(signed(t, a, statement()), attest.EvidenceType, artifact); !errors.Is(err, attest.ErrNoTrust) {
		t.Errorf("no trust at all: error %v, want ErrNoTrust", err)
	}
}

func TestLoadTrustRefuses(t *testing.T) {
	t.Parallel()
	priv, pub, err := attest.GeneratePlainKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	encrypted, _, err := attest.GenerateKeyPair([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	chain := newAuthority(t, valid).PEM()
	_, root := pem.Decode(chain)
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"private key":            {priv, "this is a private key: trust its public half"},
		"encrypted private key":  {encrypted, "this is a private key: trust its public half"},
		"private after public":   {append(bytes.Clone(pub), priv...), "this is a private key: trust its public half"},
		"no PEM":                 {[]byte("hello"), "not a PEM file"},
		"empty":                  {nil, "not a PEM file"},
		"other PEM":              {pem.EncodeToMemory(&pem.Block{Type: "PGP MESSAGE", Bytes: []byte("x")}), `PEM block "PGP MESSAGE"`},
		"garbage key":            {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "asn1"},
		"garbage certificate":    {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "x509"},
		"authority, no chain":    {root, "a timestamp authority needs its chain"},
		"too large":              {bytes.Repeat([]byte(" "), 64<<10+1), "too large for a key"},
		"text after a good key":  {append(bytes.Clone(pub), "-----BEGIN PUBLIC KEY-----\nnonsense"...), "what follows the last PEM block is a broken one"},
		"RSA 2048, a weak key":   {publicPEM(t, must(rsa2048())(t)), "RSA key of 2048 bits: want at least 3072"},
		"P-521, not a sign type": {publicPEM(t, ecKey(t, elliptic.P521())), "curve P-521: want P-256 or P-384"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, "x.pub", tt.content)
			_, err := attest.LoadTrust([]string{path})
			wantError(t, err, "trusted key "+path, tt.want)
		})
	}
	crowded := t.TempDir()
	for i := range 1001 {
		writeIn(t, crowded, fmt.Sprintf("%d.pub", i), pub)
	}
	_, err = attest.LoadTrust([]string{crowded})
	wantError(t, err, "trusted keys in "+crowded, "more than 1000 files")
	bad := t.TempDir()
	writeIn(t, bad, "a.pub", pub)
	writeIn(t, bad, "b.pem", priv)
	_, err = attest.LoadTrust([]string{bad})
	wantError(t, err, "b.pem", "this is a private key")
	_, err = attest.LoadTrust([]string{"no/such/file"})
	wantError(t, err, "trusted key", "no/such/file")
}
