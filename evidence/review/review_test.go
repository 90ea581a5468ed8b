package review_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/attest/attesttest"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/review"
	"github.com/companyos/helmproof/internal/canonical"
)

var (
	now      = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	document = attest.Subject{Name: "docs/runbook.md", Digest: evidence.DigestOf([]byte("# Runbook"))}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// key makes a signer and what trusts it.
func key(t testing.TB) (attest.Signer, *attest.Trust) {
	t.Helper()
	private, public, err := attest.GeneratePlainKeyPair()
	must(t, err)
	name := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(name, private, 0o600))
	s, err := attest.LoadSigner(name, nil)
	must(t, err)
	trust := new(attest.Trust)
	must(t, trust.Add(public))
	return s, trust
}

func publicKey(t testing.TB, s attest.Signer) *ecdsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode(s.PublicKeyPEM())
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	must(t, err)
	public, ok := k.(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("key of type %T", k)
	}
	return public
}

func of() review.Review {
	return review.Review{Role: "security", Kind: review.File, Reason: "read it all", ReviewedAt: now.Add(-time.Hour), Repository: "here", Tool: "test"}
}

func at(d time.Duration) *time.Time {
	t := now.Add(d)
	return &t
}

// stored is a review as a repository gives it back.
func stored(raw []byte) repository.StoredReview {
	return repository.StoredReview{Subject: document.Digest, ID: evidence.DigestOf(raw), Raw: raw}
}

// A review counts when a key of its role signed exactly this, for this repository, not
// later than now, and has not expired: all else is nobody's word, with its reason.
func TestCheck(t *testing.T) {
	t.Parallel()
	ada, adas := key(t)
	sam, sams := key(t)
	eve, _ := key(t)
	roles := review.Roles{"security": {{Name: "ada.pub", Trust: adas}}, "sre": {{Name: "other.pub", Trust: adas}, {Name: "sam.pub", Trust: sams}}}
	sign := func(s attest.Signer, change func(*review.Review)) []byte {
		r := of()
		change(&r)
		raw, err := review.Sign(t.Context(), s, document, r)
		must(t, err)
		return raw
	}
	// raw signs a statement as it is.
	raw := func(s attest.Signer, st attest.Statement) []byte {
		b, err := s.Sign(t.Context(), &st)
		must(t, err)
		return b
	}
	predicate := func(change func(map[string]any)) json.RawMessage {
		r := of()
		r.Signer = ada.KeyID()
		b, err := json.Marshal(r)
		must(t, err)
		m := map[string]any{}
		must(t, json.Unmarshal(b, &m))
		change(m)
		out, err := canonical.JSON(m)
		must(t, err)
		return out
	}
	good := sign(ada, func(*review.Review) {})
	statement := func(p json.RawMessage) attest.Statement {
		return attest.Statement{PredicateType: attest.ReviewType, Subjects: []attest.Subject{document}, Predicate: p}
	}
	for _, tt := range []struct {
		name   string
		stored repository.StoredReview
		want   review.Status
		reason string
	}{
		{"good", stored(good), review.Counts, ""},
		{"the second key of a role", stored(sign(sam, func(r *review.Review) { r.Role = "sre" })), review.Counts, ""},
		{"until later", stored(sign(ada, func(r *review.Review) { r.ExpiresAt = at(time.Second) })), review.Counts, ""},
		{"until now", stored(sign(ada, func(r *review.Review) { r.ExpiresAt = at(0) })), review.Expired, "expired 2026-11-29T12:00:00Z"},
		{"a clock that is ahead", stored(sign(ada, func(r *review.Review) { r.ReviewedAt = now.Add(5 * time.Minute) })), review.Counts, ""},
		{"of the future", stored(sign(ada, func(r *review.Review) { r.ReviewedAt = now.Add(5*time.Minute + time.Second) })), review.Future, "which is to come"},
		{"another repository", stored(sign(ada, func(r *review.Review) { r.Repository = "there" })), review.Foreign, "signed for repository there"},
		{"a key of another role", stored(sign(sam, func(*review.Review) {})), review.Untrusted, "which is not one of role security"},
		{"a key of nobody", stored(sign(eve, func(*review.Review) {})), review.Untrusted, "which is not one of role security"},
		{"a role of nobody", stored(sign(ada, func(r *review.Review) { r.Role = "legal" })), review.Untrusted, "no key is named for role legal"},
		{"altered", repository.StoredReview{Subject: document.Digest, Damaged: os.ErrInvalid}, review.Unverifiable, "invalid argument"},
		{"nothing", stored(nil), review.Unverifiable, "not a Sigstore bundle"},
		{"for another subject", repository.StoredReview{Subject: evidence.DigestOf(nil), ID: evidence.DigestOf(good), Raw: good}, review.Unverifiable, "lies with the reviews of"},
		{"another's signature", stored(swapSignature(t, good, sign(ada, func(r *review.Review) { r.Reason = "other" }))), review.Unverifiable, "ada.pub: the signature does not hold"},
		{"the other form of the signature", stored(attesttest.HighS(t, good, publicKey(t, ada))), review.Unverifiable, "it was altered"},
		{"another kind of statement", stored(raw(ada, attest.Statement{PredicateType: attest.VSAType, Subjects: []attest.Subject{document}, Predicate: predicate(func(map[string]any) {})})), review.Unverifiable, "predicate type"},
		{"two subjects", stored(raw(ada, attest.Statement{PredicateType: attest.ReviewType, Subjects: []attest.Subject{document, document}, Predicate: predicate(func(map[string]any) {})})), review.Unverifiable, "of 2 subjects"},
		{"an unknown member", stored(raw(ada, statement(predicate(func(m map[string]any) { m["withdrawn"] = true })))), review.Unverifiable, "unknown field"},
		{"a key's name in another spelling", stored(raw(ada, statement(predicate(func(m map[string]any) { m["Role"] = "sre" })))), review.Unverifiable, "not in the form"},
		{"another key is named", stored(raw(ada, statement(predicate(func(m map[string]any) { m["signer"] = sam.KeyID() })))), review.Unverifiable, "it names key"},
		{"nobody by name", stored(raw(ada, statement(predicate(func(m map[string]any) { m["completed"] = []string{""} })))), review.Unverifiable, "person: empty"},
		{"one person twice", stored(raw(ada, statement(predicate(func(m map[string]any) { m["completed"] = []string{"Bob", "bob"} })))), review.Unverifiable, "each named once"},
		{"no reason", stored(raw(ada, statement(predicate(func(m map[string]any) { m["reason"] = " " })))), review.Unverifiable, "reason: empty"},
		{"no time", stored(raw(ada, statement(predicate(func(m map[string]any) { m["reviewedAt"] = "0001-01-01T00:00:00Z" })))), review.Unverifiable, "no time"},
		{"expired before it began", stored(raw(ada, statement(predicate(func(m map[string]any) { m["expiresAt"] = "2001-01-01T00:00:00Z" })))), review.Unverifiable, "not after reviewedAt"},
		{"an unknown kind", stored(raw(ada, statement(predicate(func(m map[string]any) { m["kind"] = "chart" })))), review.Unverifiable, "kind"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := (&review.Reader{Roles: roles, Repository: "here", At: now}).Check(tt.stored)
			if c.Status != tt.want || !strings.Contains(c.Reason, tt.reason) || (c.Status == review.Counts) != (c.Reason == "") {
				t.Errorf("%s, %q; want %s, %q", c.Status, c.Reason, tt.want, tt.reason)
			}
		})
	}
	// Nobody's word where no key is trusted; and a time that is asked for is meant exactly.
	if c := (&review.Reader{Repository: "here", At: now}).Check(stored(good)); c.Status != review.Untrusted {
		t.Errorf("without roles: %s", c.Status)
	}
	if c := (&review.Reader{Roles: roles, Repository: "here", At: now.Add(-61 * time.Minute), Exactly: true}).Check(stored(good)); c.Status != review.Future {
		t.Errorf("as of before it was signed: %s", c.Status)
	}
}

// swapSignature puts another bundle's signature under a payload.
func swapSignature(t *testing.T, to, from []byte) []byte {
	t.Helper()
	var a, b map[string]any
	must(t, json.Unmarshal(to, &a))
	must(t, json.Unmarshal(from, &b))
	a["dsseEnvelope"].(map[string]any)["signatures"] = b["dsseEnvelope"].(map[string]any)["signatures"]
	out, err := canonical.JSON(a)
	must(t, err)
	return out
}

// What no review can say is not signed.
func TestSignRefuses(t *testing.T) {
	t.Parallel()
	ada, _ := key(t)
	for want, change := range map[string]func(*review.Review){
		"role":                      func(r *review.Review) { r.Role = "Security" },
		"reason: empty":             func(r *review.Review) { r.Reason = " " },
		"want plain text":           func(r *review.Review) { r.Reason = "a\x1b[2Kb" },
		"longer than 1000":          func(r *review.Review) { r.Reason = strings.Repeat("x", 1001) },
		"repository id":             func(r *review.Review) { r.Repository = "" },
		"expiresAt":                 func(r *review.Review) { r.ExpiresAt = at(-2 * time.Hour) },
		"not by a bundle":           func(r *review.Review) { r.Kind, r.Completed = review.Bundle, []string{"bob"} },
		"one statement has at most": func(r *review.Review) { r.Completed = many(501) },
	} {
		r := of()
		change(&r)
		if _, err := review.Sign(t.Context(), ada, document, r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func many(n int) []string {
	var out []string
	for i := range n {
		out = append(out, strings.Repeat("x", i%100+1)+string(rune('a'+i/100)))
	}
	return out
}

// People are told apart whatever the case of their names.
func TestPeople(t *testing.T) {
	t.Parallel()
	got, err := review.People([]string{"Bob@example.com", " ann", "bob@EXAMPLE.com"})
	if err != nil || !slices.Equal(got, []string{"ann", "bob@example.com"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// What a review is read as can be signed again to the same bytes, and nothing that is
// read without a trusted key counts.
func FuzzCheck(f *testing.F) {
	ada, adas := key(f)
	r := of()
	good, err := review.Sign(f.Context(), ada, document, r)
	must(f, err)
	st, err := attest.Peek(good)
	must(f, err)
	f.Add([]byte(st.Predicate))
	f.Add(good)
	f.Add([]byte(`{"role":"security","role":"sre"}`))
	reader := &review.Reader{Roles: review.Roles{"security": {{Name: "ada.pub", Trust: adas}}}, Repository: "here", At: now}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, r, err := review.Parse(&attest.Statement{PredicateType: attest.ReviewType, Subjects: []attest.Subject{document}, Predicate: b}); err == nil {
			again, err := canonical.JSON(r)
			if err != nil || string(again) != string(b) {
				t.Errorf("%s is read as %s, %v", b, again, err)
			}
		}
		if c := reader.Check(stored(b)); c.Status == review.Counts && string(b) != string(good) {
			// Only what ada signed counts; its spelling may differ in white space.
			if got, err := attest.Peek(b); err != nil || string(got.Predicate) != string(st.Predicate) {
				t.Errorf("counts: %s", b)
			}
		}
	})
}
