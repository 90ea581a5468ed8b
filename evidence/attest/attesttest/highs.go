// Package attesttest makes signatures that no Signer makes, for tests.
package attesttest

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"testing"
)

// HighS returns a Sigstore bundle with the other form of its ECDSA signature, which
// anybody can make without the key. All else stays to the byte.
func HighS(t testing.TB, bundle []byte, key *ecdsa.PublicKey) []byte {
	t.Helper()
	var b struct {
		DSSEEnvelope struct {
			Signatures []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		t.Fatal(err)
	}
	have := b.DSSEEnvelope.Signatures[0].Sig
	var s struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(have, &s); err != nil {
		t.Fatal(err)
	}
	s.S.Sub(key.Params().N, s.S)
	other, err := asn1.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return bytes.Replace(bundle, []byte(b64(have)), []byte(b64(other)), 1)
}
