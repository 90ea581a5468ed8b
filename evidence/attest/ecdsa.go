package attest

import (
	"crypto"
	"crypto/ecdsa"
	"encoding/asn1"
	"fmt"
	"math/big"
)

// ecdsaSignature is an ECDSA signature as it is encoded (RFC 3279, 2.2.3).
type ecdsaSignature struct{ R, S *big.Int }

// lowS returns the one of a signature's two forms that is written. Who has (r, s)
// can make (r, n-s) without the key, and both hold; the form with s of at most n/2
// counts (SEC 1, 4.1.3; BIP 62). Signatures of other kinds of keys are returned as
// they are.
func lowS(key crypto.PublicKey, sig []byte) ([]byte, error) {
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return sig, nil
	}
	s, err := parseECDSA(sig)
	if err != nil || !s.isHigh(public) {
		return sig, err
	}
	s.S.Sub(public.Params().N, s.S)
	return asn1.Marshal(*s)
}

// isHighS reports whether a signature that holds is the form that lowS does not write.
func isHighS(key crypto.PublicKey, sig []byte) (bool, error) {
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return false, nil
	}
	s, err := parseECDSA(sig)
	return err == nil && s.isHigh(public), err
}

func parseECDSA(sig []byte) (*ecdsaSignature, error) {
	s := new(ecdsaSignature)
	rest, err := asn1.Unmarshal(sig, s)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after it", len(rest))
	}
	if err != nil {
		return nil, fmt.Errorf("ECDSA signature: %w", err)
	}
	return s, nil
}

func (s *ecdsaSignature) isHigh(key *ecdsa.PublicKey) bool {
	return s.S.Cmp(new(big.Int).Rsh(key.Params().N, 1)) > 0
}
