package review_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/signatures/signtest"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/review"
)

// A review that an identity signed with a certificate counts where the role names exactly
// that identity, and the certificate, its log and the time are by the role's trusted root.
func TestKeyless(t *testing.T) {
	t.Parallel()
	at := time.Now().UTC().Truncate(time.Second)
	s, others := signtest.NewSigstore(t), signtest.NewSigstore(t)
	adaKey, adas := key(t)
	who := attest.Identity{Issuer: signtest.Issuer, Subject: signtest.Identity}
	identity := func(root []byte, id attest.Identity) review.Holder {
		k, err := attest.NewKeyless(root, id)
		must(t, err)
		return review.Holder{Name: "ci.identity.yaml", Trust: k}
	}
	good := identity(s.TrustedRoot(t), who)
	keys := review.Holder{Name: "ada.pub", Trust: adas}
	payload := func(change func(*review.Review)) []byte {
		r := of()
		r.Signer, r.ReviewedAt = who.String(), at
		if change != nil {
			change(&r)
		}
		st, err := r.Statement(document)
		must(t, err)
		raw, err := st.Marshal()
		must(t, err)
		return raw
	}
	// sign signs by a Sigstore with a certificate from a time, logged then and later.
	sign := func(by *signtest.Sigstore, payload []byte, from time.Time, inLog bool, later time.Duration) []byte {
		cert, key := by.Leaf(t, signtest.Identity, from, inLog)
		return signtest.Marshal(t, by.Bundle(t, cert, key, payload, from.Add(later)))
	}
	signed := sign(s, payload(nil), at, true, time.Second)
	byKey, err := review.Sign(t.Context(), adaKey, document, of())
	must(t, err)
	for _, tt := range []struct {
		name    string
		holders []review.Holder
		raw     []byte
		want    review.Status
		reason  string
	}{
		{"good", []review.Holder{good}, signed, review.Counts, ""},
		{"beside a key", []review.Holder{keys, good}, signed, review.Counts, ""},
		{"the key beside it", []review.Holder{good, keys}, byKey, review.Counts, ""},
		{"by the second trusted root", []review.Holder{identity(others.TrustedRoot(t), who), good}, signed, review.Counts, ""},
		{"keys alone", []review.Holder{keys}, signed, review.Untrusted, "signed by " + who.String() + ", which is not one of role security"},
		{"identities alone", []review.Holder{good}, byKey, review.Untrusted, "signed by key " + adaKey.KeyID()[:12]},
		{"another subject", []review.Holder{identity(s.TrustedRoot(t), attest.Identity{Issuer: who.Issuer, Subject: who.Subject + "/more"})}, signed, review.Untrusted, "not one of role"},
		{"another issuer", []review.Holder{identity(s.TrustedRoot(t), attest.Identity{Issuer: "https://accounts.example.com", Subject: who.Subject})}, signed, review.Untrusted, "not one of role"},
		{"another name in it", []review.Holder{good}, sign(s, payload(func(r *review.Review) { r.Signer = "eve@example.com (" + who.Issuer + ")" }), at, true, time.Second), review.Unverifiable, "it names eve@example.com"},
		{"another authority", []review.Holder{good}, sign(others, payload(nil), at, true, time.Second), review.Unverifiable, "failed to verify"},
		{"not in the certificate log", []review.Holder{good}, sign(s, payload(nil), at, false, time.Second), review.Unverifiable, "signed certificate timestamp"},
		{"after the certificate", []review.Holder{good}, sign(s, payload(nil), at.Add(-time.Hour), true, 11*time.Minute), review.Unverifiable, "ci.identity.yaml"},
		{"altered", []review.Holder{good}, swapPayload(t, signed, payload(func(r *review.Review) { r.Reason = "other" })), review.Unverifiable, "the signature does not hold"},
		{"for another repository", []review.Holder{good}, sign(s, payload(func(r *review.Review) { r.Repository = "there" }), at, true, time.Second), review.Foreign, "signed for repository there"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := (&review.Reader{Roles: review.Roles{"security": tt.holders}, Repository: "here", At: at.Add(time.Minute)}).Check(stored(tt.raw))
			if c.Status != tt.want || !strings.Contains(c.Reason, tt.reason) || (c.Status == review.Counts) != (c.Reason == "") {
				t.Errorf("%s, %q; want %s, %q", c.Status, c.Reason, tt.want, tt.reason)
			}
		})
	}

	t.Run("withdraws what a key signed", func(t *testing.T) {
		t.Parallel()
		w := review.Withdrawal{Role: "security", Reason: "read too fast", WithdrawnAt: at, Reviewed: document.Digest, Repository: "here", Signer: who.String(), Tool: "test"}
		st, err := w.Statement(evidence.DigestOf(byKey))
		must(t, err)
		raw, err := st.Marshal()
		must(t, err)
		reader := &review.Reader{Roles: review.Roles{"security": {keys, good}}, Repository: "here", At: at.Add(time.Minute)}
		list := []review.Checked{reader.Check(stored(byKey)), reader.Check(stored(sign(s, raw, at, true, time.Second)))}
		review.Withdraw(list, []repository.StoredReview{})
		if list[0].Status != review.Withdrawn || !strings.Contains(list[0].Reason, who.String()) {
			t.Errorf("%s, %q; %s, %q", list[0].Status, list[0].Reason, list[1].Status, list[1].Reason)
		}
	})
}

// What trusts an identity is whole, and no bundle that it signed is taken for a key's.
func TestKeylessRefuses(t *testing.T) {
	t.Parallel()
	root := signtest.NewSigstore(t).TrustedRoot(t)
	for want, make := range map[string]func() error{
		"has an issuer and a subject": func() error { _, err := attest.NewKeyless(root, attest.Identity{Issuer: "https://a"}); return err },
		"trusted root": func() error {
			_, err := attest.NewKeyless([]byte("{}"), attest.Identity{Issuer: "https://a", Subject: "b"})
			return err
		},
		"at most": func() error {
			_, err := attest.NewKeyless(bytes.Repeat([]byte(" "), attest.MaxTrustedRoot+1), attest.Identity{Issuer: "https://a", Subject: "b"})
			return err
		},
	} {
		if err := make(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// swapPayload puts another statement under a bundle's signature.
func swapPayload(t *testing.T, raw, payload []byte) []byte {
	t.Helper()
	var b map[string]any
	must(t, json.Unmarshal(raw, &b))
	b["dsseEnvelope"].(map[string]any)["payload"] = base64.StdEncoding.EncodeToString(payload)
	out, err := json.Marshal(b)
	must(t, err)
	return out
}
