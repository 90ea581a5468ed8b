package bundle_test

import (
	"crypto/ecdsa"
	"maps"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/attest/attesttest"
	"github.com/companyos/helmproof/evidence/bundle"
)

// Who writes to the repository can make a second form of each ECDSA signature.
// It holds, and is not what was stored.
func TestSecondFormOfSignatures(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	public, err := cryptoutils.UnmarshalPEMToPublicKey(s.PublicKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	key := public.(*ecdsa.PublicKey)
	p := seal(t, contents(t, "api"), s)
	for name, check := range map[string]string{bundle.SignatureFile: "contents", bundle.ReportsFile: "reports", bundle.VSAFile: "summary"} {
		files := maps.Clone(p.Files)
		files[name] = attesttest.HighS(t, files[name], key)
		wantRefused(t, verifier(t, s).Verify(t.Context(), files, p.ID), check, name+" is altered: its signature has the high-S form")
	}

	// Builds that did not say lowS wrote either form.
	old := pack(t, contents(t, "api"))
	st, err := attest.Peek(p.Files[bundle.SignatureFile])
	if err != nil {
		t.Fatal(err)
	}
	st.Subjects[0].Digest = evidence.DigestOf(old)
	raw, err := s.Sign(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"low": raw, "high": attesttest.HighS(t, raw, key)} {
		t.Run(name+" S of an older build", func(t *testing.T) {
			t.Parallel()
			r := verifier(t, s).VerifyCopy(t.Context(), map[string][]byte{bundle.EvidenceFile: old, bundle.SignatureFile: raw}, "")
			wantAbsent(t, r, "reports", "summary")
		})
	}
}
