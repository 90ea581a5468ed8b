package attest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/attest/attesttest"
)

// No signature has the form with the high S, of which ECDSA makes every second one.
func TestLowS(t *testing.T) {
	t.Parallel()
	local := func(k *ecdsa.PrivateKey) attest.Signer { return load(t, pkcs8(t, k)) }
	p256, p384 := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384())
	for name, tt := range map[string]struct {
		key *ecdsa.PrivateKey
		by  attest.Signer
	}{
		"P-256": {p256, local(p256)}, "P-384": {p384, local(p384)},
		"service, P-256": {p256, must(attest.ServiceSigner(service{key: p256, hash: crypto.SHA256}))(t)},
		"service, P-384": {p384, must(attest.ServiceSigner(service{key: p384, hash: crypto.SHA384}))(t)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust := trusting(t, publicPEM(t, tt.key))
			for i := range 32 {
				st := statement()
				st.Predicate = fmt.Appendf(nil, `{"n":%d}`, i)
				raw := signed(t, tt.by, st)
				_, sig, err := trust.Verify(raw, attest.EvidenceType, artifact)
				if err != nil || sig.HighS {
					t.Fatalf("signature %d: %+v, %v", i, sig, err)
				}
				// The other form holds, as that of other signers does, and is told apart.
				if _, sig, err = trust.Verify(attesttest.HighS(t, raw, &tt.key.PublicKey), attest.EvidenceType, artifact); err != nil || !sig.HighS {
					t.Fatalf("signature %d, other form: %+v, %v", i, sig, err)
				}
			}
		})
	}
}

// A key in memory signs the same statement to the same bytes, so that what a
// killed process stored in part is what the next one stores.
func TestSignsTheSameAgain(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]crypto.Signer{"P-256": ecKey(t, elliptic.P256()), "P-384": ecKey(t, elliptic.P384()), "Ed25519": edKey(t), "RSA": must(rsa3072())(t)} {
		s := load(t, pkcs8(t, key))
		if !bytes.Equal(signed(t, s, statement()), signed(t, s, statement())) {
			t.Errorf("%s: two signatures of one statement", name)
		}
	}
}

func TestExposedKey(t *testing.T) {
	t.Parallel()
	priv, pub, err := attest.GeneratePlainKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	encrypted, _, err := attest.GenerateKeyPair([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	password := func() ([]byte, error) { return []byte("correct horse"), nil }
	for _, raw := range [][]byte{priv, encrypted} {
		path := writeFile(t, "key.pem", raw)
		for mode, refused := range map[os.FileMode]bool{
			0o600: false, 0o400: false, 0o700: false,
			0o666: true, 0o644: true, 0o640: true, 0o620: true, 0o604: true, 0o602: true, 0o601: true, 0o660: true, 0o777: true,
		} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			if _, err := attest.LoadSigner(path, password); errors.Is(err, attest.ErrExposedKey) != refused || !refused && err != nil {
				t.Errorf("mode %04o: %v; refused should be %v", mode, err, refused)
			}
		}
	}
	path := writeFile(t, "key.pub", pub)
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // it is public
		t.Fatal(err)
	}
	if _, err := attest.LoadTrust([]string{path}); err != nil {
		t.Errorf("a public key is for everybody to read: %v", err)
	}
}
