package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

var artifact = evidence.DigestOf([]byte("the artifact"))

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func statement() *attest.Statement {
	return &attest.Statement{
		PredicateType: attest.EvidenceType,
		Subjects: []attest.Subject{
			{Name: "evidence.zip", Digest: artifact},
			{Name: "manifests.yaml", Digest: evidence.DigestOf([]byte("manifests"))},
		},
		Predicate: json.RawMessage(`{"outcome":"PASS"}`),
	}
}

func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pkcs8(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(t)})
}

func publicPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key.Public()))(t)})
}

// RSA keys are slow to make: one of each size for all tests.
var (
	rsa2048 = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	rsa3072 = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 3072) })
)

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(curve, rand.Reader))(t)
}

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func noPassword() ([]byte, error) { panic("a password was asked for") }

func load(t testing.TB, privPEM []byte) attest.Signer {
	t.Helper()
	return must(attest.LoadSigner(writeFile(t, "key.pem", privPEM), noPassword))(t)
}

func newSigner(t testing.TB) attest.Signer {
	t.Helper()
	priv, _, err := attest.GeneratePlainKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	return load(t, priv)
}

func trusting(t testing.TB, pubs ...[]byte) *attest.Trust {
	t.Helper()
	trust := &attest.Trust{}
	for _, p := range pubs {
		if err := trust.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	return trust
}

func signed(t testing.TB, s attest.Signer, st *attest.Statement) []byte {
	t.Helper()
	return must(s.Sign(t.Context(), st))(t)
}

// edit changes a Sigstore bundle's JSON.
func edit(t testing.TB, raw []byte, change func(b map[string]any)) []byte {
	t.Helper()
	var b map[string]any
	if err := json.Unmarshal(raw, &b); err != nil {
		t.Fatal(err)
	}
	change(b)
	return must(json.Marshal(b))(t)
}

func envelope(b map[string]any) map[string]any { return b["dsseEnvelope"].(map[string]any) }

func signatures(b map[string]any) []any { return envelope(b)["signatures"].([]any) }

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func writeIn(t testing.TB, dir, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}
