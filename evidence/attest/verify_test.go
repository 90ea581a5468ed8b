package attest_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

// sentinels are all reasons for a refusal: exactly one must match.
var sentinels = []error{
	attest.ErrNoTrust, attest.ErrUnsigned, attest.ErrMalformed, attest.ErrUnknownSigner,
	attest.ErrBadSignature, attest.ErrWrongSubject, attest.ErrWrongType, attest.ErrNoTimestamp,
}

func wantRefusal(t testing.TB, err, want error) {
	t.Helper()
	for _, s := range sentinels {
		if got := errors.Is(err, s); got != (s == want) {
			t.Errorf("error %v: is %q: %v, want %v", err, s, got, s == want)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	signer, stranger := newSigner(t), newSigner(t)
	raw := signed(t, signer, statement())
	of := func(change func(*attest.Statement)) []byte {
		st := statement()
		change(st)
		return signed(t, signer, st)
	}
	edited := func(change func(map[string]any)) []byte { return edit(t, raw, change) }
	tests := map[string]struct {
		raw    []byte
		want   error
		reason string
	}{
		"nothing":        {nil, attest.ErrUnsigned, "not signed"},
		"unknown signer": {signed(t, stranger, statement()), attest.ErrUnknownSigner, "it names key " + stranger.KeyID()[:12]},
		"unknown signer under a trusted name": {edit(t, signed(t, stranger, statement()), func(b map[string]any) {
			b["verificationMaterial"].(map[string]any)["publicKey"].(map[string]any)["hint"] = signer.KeyID()
		}), attest.ErrBadSignature, "does not hold"},
		"wrong subject": {of(func(s *attest.Statement) { s.Subjects[0].Digest = evidence.DigestOf([]byte("other")) }), attest.ErrWrongSubject, "another file"},
		"right subject, but not the first": {of(func(s *attest.Statement) { slices.Reverse(s.Subjects) }), attest.ErrWrongSubject,
			"it names " + string(statement().Subjects[1].Digest)},
		"wrong predicate type": {of(func(s *attest.Statement) { s.PredicateType = attest.ReportsType }), attest.ErrWrongType,
			fmt.Sprintf("%q, want %q", attest.ReportsType, attest.EvidenceType)},
		"two signatures": {edited(func(b map[string]any) {
			envelope(b)["signatures"] = append(signatures(b), signatures(b)[0])
		}), attest.ErrMalformed, "signature"},
		"no signature":    {edited(func(b map[string]any) { envelope(b)["signatures"] = []any{} }), attest.ErrMalformed, "signature"},
		"empty signature": {edited(func(b map[string]any) { signatures(b)[0].(map[string]any)["sig"] = "" }), attest.ErrMalformed, ""},
		"other signature": {edited(func(b map[string]any) { signatures(b)[0].(map[string]any)["sig"] = b64([]byte("other")) }), attest.ErrBadSignature, "does not hold"},
		"changed payload": {edited(func(b map[string]any) {
			payload := must(base64.StdEncoding.DecodeString(envelope(b)["payload"].(string)))(t)
			envelope(b)["payload"] = b64(bytes.Replace(payload, []byte("PASS"), []byte("FAIL"), 1))
		}), attest.ErrBadSignature, "does not hold"},
		"changed payload type": {edited(func(b map[string]any) { envelope(b)["payloadType"] = "text/plain" }), attest.ErrMalformed, `payload type "text/plain"`},
		"changed media type": {edited(func(b map[string]any) { b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.3" }),
			attest.ErrMalformed, `media type "application/vnd.dev.sigstore.bundle+json;version=0.3"`},
		"other media type": {edited(func(b map[string]any) { b["mediaType"] = "application/json" }), attest.ErrMalformed, "application/json"},
		"no envelope": {edited(func(b map[string]any) {
			delete(b, "dsseEnvelope")
			b["messageSignature"] = map[string]any{"signature": b64([]byte("x"))}
		}), attest.ErrMalformed, "no DSSE envelope"},
		"by a certificate": {edited(func(b map[string]any) {
			b["verificationMaterial"] = map[string]any{"certificate": map[string]any{"rawBytes": b64(newAuthority(t, valid).Chain[0].Raw)}}
		}), attest.ErrMalformed, "signed by a certificate"},
		"no material":     {edited(func(b map[string]any) { delete(b, "verificationMaterial") }), attest.ErrMalformed, "verification material"},
		"unknown key":     {edited(func(b map[string]any) { b["note"] = "x" }), attest.ErrMalformed, "note"},
		"other base64":    {edited(func(b map[string]any) { e := envelope(b); e["payload"] = respell(t, e["payload"].(string)) }), attest.ErrMalformed, "not spelled"},
		"repeated key":    {bytes.Replace(raw, []byte(`"mediaType":`), []byte(`"mediaType":"x","mediaType":`), 1), attest.ErrMalformed, "mediaType"},
		"data after it":   {append(bytes.Clone(raw), "{}"...), attest.ErrMalformed, ""},
		"JSON of another": {[]byte(`{"payload":"eA=="}`), attest.ErrMalformed, ""},
		"no JSON":         {[]byte("hello"), attest.ErrMalformed, ""},
		"truncated":       {raw[:len(raw)/2], attest.ErrMalformed, ""},
		"endless list":    {bytes.Replace(raw, []byte(`"verificationMaterial":{`), []byte(`"verificationMaterial":{"tlogEntries":[`+string(bytes.Repeat([]byte("{},"), 10_000))+`{}],`), 1), attest.ErrMalformed, "more than 10000 members"},
		"oversized":       {bytes.Repeat([]byte(" "), 16<<20+1), attest.ErrMalformed, "larger than 16777216"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, sig, err := trusting(t, signer.PublicKeyPEM()).Verify(tt.raw, attest.EvidenceType, artifact)
			if st != nil || sig != nil {
				t.Errorf("refused, and yet returned %v, %v", st, sig)
			}
			wantRefusal(t, err, tt.want)
			if err != nil {
				wantError(t, err, tt.reason)
			}
		})
	}
	t.Run("no trust", func(t *testing.T) {
		t.Parallel()
		_, _, err := new(attest.Trust).Verify(raw, attest.EvidenceType, artifact)
		wantRefusal(t, err, attest.ErrNoTrust)
		wantError(t, err, "--trust FILE.pub")
	})
}

// respell returns another base64 text of the same bytes.
func respell(t testing.TB, s string) string {
	t.Helper()
	out := string(bytes.TrimRight([]byte(s), "="))
	if got := must(base64.RawStdEncoding.DecodeString(out))(t); !bytes.Equal(got, must(base64.StdEncoding.DecodeString(s))(t)) || out == s {
		t.Fatalf("%q has no other spelling", s)
	}
	return out
}

// Every byte of a signature file counts, but for those of the hint, which nobody
// signs: a changed hint still leads to the one key that signed.
func TestVerifyEveryByte(t *testing.T) {
	t.Parallel()
	signer := newSigner(t)
	raw := signed(t, signer, statement())
	trust := trusting(t, signer.PublicKeyPEM())
	hint := bytes.Index(raw, []byte(signer.KeyID()))
	for i := range raw {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		_, sig, err := trust.Verify(changed, attest.EvidenceType, artifact)
		inHint := i >= hint && i < hint+len(signer.KeyID())
		switch {
		case err == nil && !inHint:
			t.Errorf("byte %d (%q → %q) changed and still verified", i, raw[i], changed[i])
		case err == nil && sig.KeyID != signer.KeyID():
			t.Errorf("byte %d changed: attributed to key %s", i, sig.KeyID)
		}
	}
}

func TestParseStatement(t *testing.T) {
	t.Parallel()
	good := string(must(statement().Marshal())(t))
	replace := func(from, to string) string {
		out := string(bytes.Replace([]byte(good), []byte(from), []byte(to), 1))
		if out == good {
			t.Fatalf("%q is not in %s", from, good)
		}
		return out
	}
	if _, err := attest.ParseStatement([]byte(good)); err != nil {
		t.Fatal(err)
	}
	many := statement()
	for len(many.Subjects) <= 10_000 {
		many.Subjects = append(many.Subjects, many.Subjects[0])
	}
	for name, tt := range map[string]struct{ raw, want string }{
		"empty":           {"", "EOF"},
		"null":            {"null", `_type ""`},
		"list":            {"[]", "cannot unmarshal array"},
		"version 0.1":     {replace("Statement/v1", "Statement/v0.1"), `_type "https://in-toto.io/Statement/v0.1", want "https://in-toto.io/Statement/v1"`},
		"unknown key":     {replace(`{"_type"`, `{"_note":1,"_type"`), `unknown field "_note"`},
		"repeated key":    {replace(`{"_type"`, `{"_type":"x","_type"`), "canonical form"},
		"other case":      {replace(`"_type"`, `"_Type"`), "canonical form"},
		"white space":     {replace(`{"_type"`, `{ "_type"`), "canonical form"},
		"more digests":    {replace(`{"sha256"`, `{"sha1":"x","sha256"`), "canonical form"},
		"data after it":   {good + "{}", "data after the statement"},
		"no subject":      {`{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"x","subject":[]}`, "0 subjects"},
		"many subjects":   {string(must(many.Marshal())(t)), "10001 subjects"},
		"no digest":       {`{"_type":"https://in-toto.io/Statement/v1","predicate":{},"predicateType":"x","subject":[{"digest":{},"name":"n"}]}`, `subject "n": digest`},
		"short digest":    {replace(artifact.Hex(), "abc"), `subject "evidence.zip": digest`},
		"prefixed digest": {replace(artifact.Hex(), "sha256:"+artifact.Hex()), `subject "evidence.zip": digest`},
		"capital digest":  {replace(artifact.Hex(), fmt.Sprintf("%064X", 0xABCDEF)), "lower-case"},
		"no predicate":    {`{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[{"digest":{"sha256":"` + artifact.Hex() + `"},"name":"n"}]}`, "without a predicate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := attest.ParseStatement([]byte(tt.raw))
			if err == nil {
				t.Fatal("accepted")
			}
			wantError(t, err, "in-toto statement", tt.want)
		})
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add(must(statement().Marshal())(f))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"","digest":{"sha256":""}}]}`))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		st, err := attest.ParseStatement(raw)
		if err != nil {
			return
		}
		again, err := st.Marshal()
		if err != nil {
			t.Fatalf("parsed but not written: %v", err)
		}
		if !bytes.Equal(raw, again) {
			t.Errorf("two spellings of one statement:\n%s\n%s", raw, again)
		}
	})
}

func FuzzTrustVerify(f *testing.F) {
	signer := newSigner(f)
	raw := must(signer.Sign(f.Context(), statement()))(f)
	trust := trusting(f, signer.PublicKeyPEM())
	want := must(statement().Marshal())(f)
	f.Add(raw)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{}},"dsseEnvelope":{"signatures":[{}]}}`))
	f.Add([]byte(`{"verificationMaterial":{"tlogEntries":[{}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		st, _, err := trust.Verify(raw, attest.EvidenceType, artifact)
		if err == nil && !bytes.Equal(must(st.Marshal())(t), want) {
			t.Errorf("a statement that nobody signed: %+v", st)
		}
		if err != nil && !slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) }) {
			t.Errorf("error %v is none that a caller can tell", err)
		}
		attest.HintOf(raw)
	})
}
