package signatures

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	"github.com/companyos/helmproof/collectors/signatures/signtest"
	"github.com/companyos/helmproof/evidence"
)

const keylessAuthority = `    - name: ci
      keyless:
        identities:
          - issuer: ` + issuer + `
            subjectRegExp: ^https://github\.com/example/
`

func TestKeyless(t *testing.T) {
	t.Parallel()
	s, foreign := newSigstore(t), newSigstore(t)
	now := time.Now().Truncate(time.Second)
	at := now.UTC().Format(time.RFC3339)
	passes := want{evidence.OutcomePass, []string{"signature signed by " + identity + " (issuer " + issuer + ") at " + at + " (transparency log https://rekor.localhost)"}}
	for title, tt := range map[string]struct {
		attach      func(t *testing.T, ref name.Digest)
		authorities string
		want        want
	}{
		"bundle": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			want: passes,
		},
		"legacy": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				attachLegacy(t, ref, ".sig", s.Legacy(t, cert, key, simplePayload(ref, ref.DigestStr()), now))
			},
			want: passes,
		},
		"authority and log by URL": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			authorities: strings.Replace(keylessAuthority, "keyless:\n", "ctlog: {url: \"https://rekor.localhost/\"}\n      keyless:\n        url: https://fulcio.test\n", 1),
			want:        passes,
		},
		"attestation": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf("https://slsa.dev/provenance/v1", ref.DigestStr()), now)))
			},
			authorities: keylessAuthority + "      attestations: [{name: built, predicateType: slsaprovenance1}]\n",
			want:        want{evidence.OutcomePass, []string{"attestation https://slsa.dev/provenance/v1 signed by " + identity}},
		},
		"expired certificate, bundle": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now.Add(-time.Hour), true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			want: want{evidence.OutcomeFail, []string{"the certificate was not valid when it signed: at " + at}},
		},
		"expired certificate, legacy": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now.Add(-time.Hour), true)
				attachLegacy(t, ref, ".sig", s.Legacy(t, cert, key, simplePayload(ref, ref.DigestStr()), now))
			},
			want: want{evidence.OutcomeFail, []string{"the certificate was not valid when it signed: at " + at}},
		},
		"another identity": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, "https://github.com/mallory/api", now, true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			want: want{evidence.OutcomeFail, []string{"signed by an identity that the policy does not trust", "https://github.com/mallory/api"}},
		},
		"another issuer": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			authorities: strings.Replace(keylessAuthority, issuer, "https://accounts.example.com", 1),
			want:        want{evidence.OutcomeFail, []string{"does not trust", `expected issuer value "https://accounts.example.com", got "` + issuer}},
		},
		"another authority": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := foreign.Leaf(t, identity, now, true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			want: want{evidence.OutcomeFail, []string{"the certificate is of no authority of the trusted root"}},
		},
		"another transparency log": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				attachBundle(t, ref, signtest.Marshal(t, foreign.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			want: want{evidence.OutcomeFail, []string{"no entry in a trusted transparency log"}},
		},
		"no transparency log, bundle": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				b := s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)
				b.VerificationMaterial.TlogEntries = nil
				attachBundle(t, ref, signtest.Marshal(t, b))
			},
			want: want{evidence.OutcomeFail, []string{"no entry in a trusted transparency log"}},
		},
		"no transparency log, legacy": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				l := s.Legacy(t, cert, key, simplePayload(ref, ref.DigestStr()), now)
				delete(l.Annotations, annotationBundle)
				attachLegacy(t, ref, ".sig", l)
			},
			want: want{evidence.OutcomeFail, []string{"no entry in a transparency log"}},
		},
		"certificate in no log": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, false)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			want: want{evidence.OutcomeFail, []string{"the certificate has no timestamp of a trusted certificate log"}},
		},
		"certificate in another log": {
			attach: func(t *testing.T, ref name.Digest) {
				other := *s
				other.CTLog = foreign.CTLog
				cert, key := other.Leaf(t, identity, now, true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
			},
			want: want{evidence.OutcomeFail, []string{"the certificate has no timestamp of a trusted certificate log"}},
		},
		"another image": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, otherDigest), now)))
			},
			want: want{evidence.OutcomeFail, []string{"signed by " + identity, "but for another image: " + otherDigest}},
		},
		"altered statement": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				b := s.Bundle(t, cert, key, statementOf(signPredicate, otherDigest), now)
				b.GetDsseEnvelope().Payload = statementOf(signPredicate, ref.DigestStr())
				attachBundle(t, ref, signtest.Marshal(t, b))
			},
			want: want{evidence.OutcomeFail, []string{"altered after it was signed: the transparency log has something else"}},
		},
		"altered payload, legacy": {
			attach: func(t *testing.T, ref name.Digest) {
				cert, key := s.Leaf(t, identity, now, true)
				l := s.Legacy(t, cert, key, simplePayload(ref, otherDigest), now)
				l.Content = simplePayload(ref, ref.DigestStr())
				attachLegacy(t, ref, ".sig", l)
			},
			want: want{evidence.OutcomeFail, []string{"altered after it was signed: the transparency log has something else"}},
		},
		"signed with a key": {
			attach: func(t *testing.T, ref name.Digest) {
				key := newKey(t)
				p := simplePayload(ref, ref.DigestStr())
				attachLegacy(t, ref, ".sig", legacyLayer(p, sign(t, key, p)))
			},
			want: want{evidence.OutcomeFail, []string{"signed with a key, and the policy demands a certificate"}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, nil)
			ref := h.Push(t, "team/api", title)
			tt.attach(t, ref)
			if tt.authorities == "" {
				tt.authorities = keylessAuthority
			}
			art := collect(t, Options{Policies: []PolicyFile{policyYAML("demo", tt.authorities)}, TrustedRoot: s.TrustedRoot(t)}, ref.String())
			h.Close()
			verdict(t, derive(t, art), tt.want)
		})
	}
}

// TestKeyInLog is a key whose signatures have to be in a transparency log.
func TestKeyInLog(t *testing.T) {
	t.Parallel()
	s, key := newSigstore(t), newKey(t)
	now := time.Now().Truncate(time.Second)
	o := Options{
		Policies:    []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, key))+"      ctlog: {url: https://rekor.localhost}\n")},
		TrustedRoot: s.TrustedRoot(t),
	}
	for title, tt := range map[string]struct {
		change func(l *layer)
		want   want
	}{
		"logged": {
			func(*layer) {},
			want{evidence.OutcomePass, []string{"signed by the key sha256:", "at " + now.UTC().Format(time.RFC3339) + " (transparency log https://rekor.localhost)"}},
		},
		"not logged": {
			func(l *layer) { delete(l.Annotations, annotationBundle) },
			want{evidence.OutcomeFail, []string{"no entry in a transparency log"}},
		},
		"another key, logged": {
			func(l *layer) {
				*l = s.Legacy(t, nil, newKey(t), l.Content, now)
			},
			want{evidence.OutcomeFail, []string{"the entry in the transparency log is of another key or signature"}},
		},
		"altered entry": {
			func(l *layer) {
				l.Annotations[annotationBundle] = strings.Replace(l.Annotations[annotationBundle], `"logIndex":5`, `"logIndex":6`, 1)
			},
			want{evidence.OutcomeFail, []string{"no entry in a trusted transparency log"}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, nil)
			ref := h.Push(t, "team/api", title)
			l := s.Legacy(t, nil, key, simplePayload(ref, ref.DigestStr()), now)
			before := l.Annotations[annotationBundle]
			tt.change(&l)
			if title == "altered entry" && bytes.Equal([]byte(before), []byte(l.Annotations[annotationBundle])) {
				t.Fatal("nothing was altered")
			}
			attachLegacy(t, ref, ".sig", l)
			verdict(t, derive(t, collect(t, o, ref.String())), tt.want)
		})
	}
}

func benchOptions(b *testing.B, kind string, ref name.Digest) Options {
	b.Helper()
	statement := statementOf(signPredicate, ref.DigestStr())
	if kind == "key" {
		key := newKey(b)
		attachBundle(b, ref, keyBundle(b, key, statement))
		return Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(b, key)))}}
	}
	s, now := newSigstore(b), time.Now()
	cert, key := s.Leaf(b, identity, now, true)
	attachBundle(b, ref, signtest.Marshal(b, s.Bundle(b, cert, key, statement, now)))
	return Options{Policies: []PolicyFile{policyYAML("demo", keylessAuthority)}, TrustedRoot: s.TrustedRoot(b)}
}

// TestDocumentedPolicy holds the policy in the guide to what is understood.
func TestDocumentedPolicy(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "signatures.md"))
	check(t, err)
	_, rest, _ := strings.Cut(string(guide), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the guide has no example")
	}
	if _, err := New(Options{Policies: []PolicyFile{{Name: "guide", Raw: []byte(example)}}, TrustedRoot: newSigstore(t).TrustedRoot(t)}); err != nil {
		t.Error(err)
	}
	for short := range predicateTypes {
		if !strings.Contains(string(guide), "`"+short+"`") {
			t.Errorf("the guide does not name the predicate type %s", short)
		}
	}
}

// TestTimestampAuthority: where a trusted one vouches for the time too, both times are named.
func TestTimestampAuthority(t *testing.T) {
	t.Parallel()
	s, now := newSigstore(t), time.Now().Truncate(time.Second)
	s.TSAs = s.TimestampingAuthorities()
	o := Options{Policies: []PolicyFile{policyYAML("demo", keylessAuthority)}, TrustedRoot: s.TrustedRoot(t)}
	times := want{evidence.OutcomePass, []string{now.UTC().Format(time.RFC3339) + " (transparency log https://rekor.localhost)", " and ", " (timestamp authority https://virtual.tsa.sigstore.dev)"}}
	h := newHost(t, nil)

	ref := h.Push(t, "team/bundle", "x")
	cert, key := s.Leaf(t, identity, now, true)
	b := s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)
	token, err := s.TimestampResponse(b.GetDsseEnvelope().GetSignatures()[0].GetSig())
	check(t, err)
	b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: token}}}
	attachBundle(t, ref, signtest.Marshal(t, b))
	verdict(t, derive(t, collect(t, o, ref.String())), times)

	ref = h.Push(t, "team/legacy", "x")
	l := s.Legacy(t, cert, key, simplePayload(ref, ref.DigestStr()), now)
	sig, err := base64.StdEncoding.DecodeString(l.Annotations[annotationSignature])
	check(t, err)
	token, err = s.TimestampResponse(sig)
	check(t, err)
	raw, err := json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": token})
	check(t, err)
	l.Annotations[annotationTimestamp] = string(raw)
	attachLegacy(t, ref, ".sig", l)
	verdict(t, derive(t, collect(t, o, ref.String())), times)
}

// TestLegacyAttestation is a keyless attestation under a .att tag.
func TestLegacyAttestation(t *testing.T) {
	t.Parallel()
	s, now := newSigstore(t), time.Now().Truncate(time.Second)
	o := Options{
		Policies:    []PolicyFile{policyYAML("demo", keylessAuthority+"      attestations: [{name: parts, predicateType: cyclonedx}]\n")},
		TrustedRoot: s.TrustedRoot(t),
	}
	h := newHost(t, nil)
	for repo, w := range map[string]struct {
		predicateType string
		want          want
	}{
		"team/good":  {"https://cyclonedx.org/bom", want{evidence.OutcomePass, []string{"attestation https://cyclonedx.org/bom signed by " + identity, "tag sha256-….att"}}},
		"team/other": {"https://spdx.dev/Document", want{evidence.OutcomeFail, []string{"no attestation https://cyclonedx.org/bom"}}},
	} {
		ref := h.Push(t, repo, "x")
		cert, key := s.Leaf(t, identity, now, true)
		b := s.Bundle(t, cert, key, statementOf(w.predicateType, ref.DigestStr()), now)
		env, tle := b.GetDsseEnvelope(), b.VerificationMaterial.TlogEntries[0]
		raw, err := json.Marshal(map[string]any{"payloadType": env.PayloadType, "payload": env.Payload, "signatures": []any{map[string]any{"sig": env.Signatures[0].Sig}}})
		check(t, err)
		entry, err := json.Marshal(map[string]any{"SignedEntryTimestamp": tle.InclusionPromise.SignedEntryTimestamp, "Payload": map[string]any{
			"body": tle.CanonicalizedBody, "integratedTime": tle.IntegratedTime, "logIndex": tle.LogIndex, "logID": hex.EncodeToString(tle.LogId.KeyId),
		}})
		check(t, err)
		attachLegacy(t, ref, ".att", layer{Content: raw, MediaType: dsseType, Annotations: map[string]string{annotationCertificate: signtest.CertPEM(cert), annotationBundle: string(entry)}})
		verdict(t, derive(t, collect(t, o, ref.String())), w.want)
	}
}
