package signatures

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/companyos/helmproof/collectors/signatures/signtest"
	"github.com/companyos/helmproof/evidence"
)

const otherDigest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"

func TestKey(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	signed := func(t *testing.T, ref name.Digest, payload []byte) layer {
		return legacyLayer(payload, sign(t, key, payload))
	}
	for title, tt := range map[string]struct {
		attach      func(t *testing.T, ref name.Digest)
		authorities string
		want        want
	}{
		"legacy": {
			attach: func(t *testing.T, ref name.Digest) {
				attachLegacy(t, ref, ".sig", signed(t, ref, simplePayload(ref, ref.DigestStr())))
			},
			want: want{evidence.OutcomePass, []string{"policy demo, authority team", "signed by the key sha256:", "tag sha256-….sig"}},
		},
		"bundle": {
			attach: func(t *testing.T, ref name.Digest) {
				attachBundle(t, ref, keyBundle(t, key, statementOf(signPredicate, ref.DigestStr())))
			},
			want: want{evidence.OutcomePass, []string{"signed by the key sha256:", "referrer "}},
		},
		"second of two": {
			attach: func(t *testing.T, ref name.Digest) {
				p := simplePayload(ref, ref.DigestStr())
				attachLegacy(t, ref, ".sig", legacyLayer(p, sign(t, other, p)), signed(t, ref, p))
			},
			want: want{evidence.OutcomePass, []string{"tag sha256-….sig layer 2"}},
		},
		"unsigned": {
			attach: func(*testing.T, name.Digest) {},
			want:   want{evidence.OutcomeFail, []string{"policy demo: authority team: no signature"}},
		},
		"wrong key, legacy": {
			attach: func(t *testing.T, ref name.Digest) {
				p := simplePayload(ref, ref.DigestStr())
				attachLegacy(t, ref, ".sig", legacyLayer(p, sign(t, other, p)))
			},
			want: want{evidence.OutcomeFail, []string{"signed with another key, or altered after it was signed"}},
		},
		"wrong key, bundle": {
			attach: func(t *testing.T, ref name.Digest) {
				attachBundle(t, ref, keyBundle(t, other, statementOf(signPredicate, ref.DigestStr())))
			},
			want: want{evidence.OutcomeFail, []string{"signed with another key (\"" + signtest.KeyHint(t, other)}},
		},
		"another image, legacy": {
			attach: func(t *testing.T, ref name.Digest) {
				attachLegacy(t, ref, ".sig", signed(t, ref, simplePayload(ref, otherDigest)))
			},
			want: want{evidence.OutcomeFail, []string{"signed by the key", "but for another image: " + otherDigest}},
		},
		"another image, bundle": {
			attach: func(t *testing.T, ref name.Digest) {
				attachBundle(t, ref, keyBundle(t, key, statementOf(signPredicate, otherDigest)))
			},
			want: want{evidence.OutcomeFail, []string{"signed by the key", "but for another image: " + otherDigest}},
		},
		"altered payload, bundle": {
			attach: func(t *testing.T, ref name.Digest) {
				good := keyBundle(t, key, statementOf(signPredicate, otherDigest))
				swapped := keyBundle(t, key, statementOf(signPredicate, ref.DigestStr()))
				// The signature of one with the payload of the other.
				i := bytes.Index(good, []byte(`"signatures"`))
				k := bytes.Index(swapped, []byte(`"signatures"`))
				attachBundle(t, ref, append(swapped[:k:k], good[i:]...))
			},
			want: want{evidence.OutcomeFail, []string{"altered after it was signed"}},
		},
		"a statement that is no signature": {
			attach: func(t *testing.T, ref name.Digest) {
				attachBundle(t, ref, keyBundle(t, key, statementOf("https://slsa.dev/provenance/v1", ref.DigestStr())))
			},
			want: want{evidence.OutcomeFail, []string{"no signature"}},
		},
		"a statement of two types is no signature": {
			attach: func(t *testing.T, ref name.Digest) {
				s := bytes.Replace(statementOf("https://slsa.dev/provenance/v1", ref.DigestStr()), []byte(`"predicate":`), []byte(`"PredicateType":"`+signPredicate+`","predicate":`), 1)
				attachBundle(t, ref, keyBundle(t, key, s))
			},
			want: want{evidence.OutcomeFail, []string{"no signature"}},
		},
		"a statement of two types": {
			attach: func(t *testing.T, ref name.Digest) {
				s := bytes.Replace(statementOf("https://slsa.dev/provenance/v1", ref.DigestStr()), []byte(`"predicate":`), []byte(`"PredicateType":"`+signPredicate+`","predicate":`), 1)
				attachBundle(t, ref, keyBundle(t, key, s))
			},
			authorities: keyAuthority(publicPEM(t, key)) + "      attestations:\n        - {name: built, predicateType: slsaprovenance1}\n",
			want:        want{evidence.OutcomeFail, []string{"but as \"" + signPredicate + "\", not \"https://slsa.dev/provenance/v1\""}},
		},
		"no bundle": {
			attach: func(t *testing.T, ref name.Digest) { attachBundle(t, ref, []byte(`{"mediaType":"x"}`)) },
			want:   want{evidence.OutcomeFail, []string{"not a Sigstore bundle"}},
		},
		"payload for two images": {
			attach: func(t *testing.T, ref name.Digest) {
				p := bytes.Replace(simplePayload(ref, otherDigest), []byte(`"type"`), []byte(`"Image":{"docker-manifest-digest":"`+ref.DigestStr()+`"},"type"`), 1)
				attachLegacy(t, ref, ".sig", signed(t, ref, p))
			},
			want: want{evidence.OutcomeFail, []string{"but for another image: " + otherDigest}},
		},
		"payload of another type": {
			attach: func(t *testing.T, ref name.Digest) {
				attachLegacy(t, ref, ".sig", signed(t, ref, bytes.Replace(simplePayload(ref, ref.DigestStr()), []byte("cosign container"), []byte("atomic container"), 1)))
			},
			want: want{evidence.OutcomeFail, []string{`of type "atomic container image signature"`}},
		},
		"warn": {
			attach:      func(*testing.T, name.Digest) {},
			authorities: keyAuthority(publicPEM(t, key)) + "  mode: warn\n",
			want:        want{evidence.OutcomeWarn, []string{"no signature"}},
		},
		"only bundles": {
			attach: func(t *testing.T, ref name.Digest) {
				attachLegacy(t, ref, ".sig", signed(t, ref, simplePayload(ref, ref.DigestStr())))
			},
			authorities: keyAuthority(publicPEM(t, key)) + "      signatureFormat: bundle\n",
			want:        want{evidence.OutcomeFail, []string{"no signature"}},
		},
		"attestation": {
			attach: func(t *testing.T, ref name.Digest) {
				attachBundle(t, ref, keyBundle(t, key, statementOf("https://slsa.dev/provenance/v1", ref.DigestStr())))
			},
			authorities: keyAuthority(publicPEM(t, key)) + "      attestations:\n        - {name: built, predicateType: slsaprovenance1}\n",
			want:        want{evidence.OutcomePass, []string{"attestation https://slsa.dev/provenance/v1 signed by the key"}},
		},
		"one attestation of two": {
			attach: func(t *testing.T, ref name.Digest) {
				attachBundle(t, ref, keyBundle(t, key, statementOf("https://slsa.dev/provenance/v1", ref.DigestStr())))
			},
			authorities: keyAuthority(publicPEM(t, key)) + "      attestations:\n        - {name: built, predicateType: slsaprovenance1}\n        - {name: parts, predicateType: spdxjson}\n",
			want:        want{evidence.OutcomeFail, []string{"no attestation https://spdx.dev/Document"}},
		},
		"attestation for another image": {
			attach: func(t *testing.T, ref name.Digest) {
				attachBundle(t, ref, keyBundle(t, key, statementOf("https://cyclonedx.org/bom", otherDigest)))
			},
			authorities: keyAuthority(publicPEM(t, key)) + "      attestations:\n        - {name: parts, predicateType: cyclonedx}\n",
			want:        want{evidence.OutcomeFail, []string{"but for another image"}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, nil)
			ref := h.Push(t, "team/api", title)
			tt.attach(t, ref)
			if tt.authorities == "" {
				tt.authorities = keyAuthority(publicPEM(t, key))
			}
			art := collect(t, Options{Policies: []PolicyFile{policyYAML("demo", tt.authorities)}}, ref.String())
			h.Close()
			verdict(t, derive(t, art), tt.want)
		})
	}
}

// TestOldRegistry knows no referrers: bundles are found by the fallback tag of
// the distribution specification.
func TestOldRegistry(t *testing.T) {
	t.Parallel()
	h := signtest.NewHostOf(t, false, nil)
	key := newKey(t)
	o := Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, key)))}}
	ref := h.Push(t, "team/api", "x")
	verdict(t, derive(t, collect(t, o, ref.String())), want{evidence.OutcomeFail, []string{"no signature"}})
	attachBundle(t, ref, keyBundle(t, key, statementOf(signPredicate, ref.DigestStr())))
	verdict(t, derive(t, collect(t, o, ref.String())), want{evidence.OutcomePass, []string{"referrer "}})
}

// TestIndex is an image of several platforms: the digest that is written is the one that has to be signed.
func TestIndex(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	key := newKey(t)
	idx, err := random.Index(64, 1, 2)
	check(t, err)
	m, err := idx.IndexManifest()
	check(t, err)
	d, err := idx.Digest()
	check(t, err)
	repo, err := name.NewRepository(h.Name + "/team/api")
	check(t, err)
	index, platform := repo.Digest(d.String()), repo.Digest(m.Manifests[0].Digest.String())
	check(t, remote.WriteIndex(index, idx))
	attachBundle(t, index, keyBundle(t, key, statementOf(signPredicate, index.DigestStr())))
	o := Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, key)))}}
	verdict(t, derive(t, collect(t, o, index.String())), want{evidence.OutcomePass, nil})
	verdict(t, derive(t, collect(t, o, platform.String())), want{evidence.OutcomeFail, []string{"no signature"}})
}

// refuse answers every request whose path holds part with a status.
func refuse(part string, status int) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, part) {
				http.Error(w, `{"errors":[{"code":"DENIED","message":"refused by the test"}]}`, status)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func TestCouldNotCheck(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	for title, tt := range map[string]struct {
		wrap  func(http.Handler) http.Handler
		image func(h *host, ref name.Digest) string
		glob  string
		want  want
	}{
		"tag": {
			image: func(_ *host, ref name.Digest) string { return ref.Context().Name() + ":v1" },
			want:  want{evidence.OutcomeNotChecked, []string{"no digest"}},
		},
		"not a reference": {
			image: func(*host, name.Digest) string { return "UPPER CASE" },
			want:  want{evidence.OutcomeNotChecked, []string{"not an image reference"}},
		},
		"no policy": {
			glob: "ghcr.io/**",
			want: want{evidence.OutcomeNotChecked, []string{"no signature policy matches "}},
		},
		"no such image": {
			image: func(_ *host, ref name.Digest) string { return ref.Context().Name() + "@" + otherDigest },
			want:  want{evidence.OutcomeNotChecked, []string{"the registry has no image of this digest"}},
		},
		"registry away": {
			image: func(_ *host, ref name.Digest) string { return "127.0.0.1:1/team/api@" + ref.DigestStr() },
			want:  want{evidence.OutcomeNotChecked, []string{"the registry could not be reached", "connection refused"}},
		},
		"401": {
			wrap: refuse("/manifests/sha256:", http.StatusUnauthorized),
			want: want{evidence.OutcomeNotChecked, []string{"the registry refused access", "refused by the test"}},
		},
		"403 for signatures": {
			wrap: refuse(".sig", http.StatusForbidden),
			want: want{evidence.OutcomeNotChecked, []string{"tag sha256-….sig: the registry refused access"}},
		},
		"403 for referrers": {
			wrap: refuse("/referrers/", http.StatusForbidden),
			want: want{evidence.OutcomeNotChecked, []string{"referrers: the registry refused access"}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, tt.wrap)
			ref := h.Push(t, "team/api", title)
			image := ref.String()
			if tt.image != nil {
				image = tt.image(h, ref)
			}
			p := policyYAML("demo", keyAuthority(publicPEM(t, key)))
			if tt.glob != "" {
				p.Raw = bytes.Replace(p.Raw, []byte(`"**"`), []byte(tt.glob), 1)
			}
			verdict(t, derive(t, collect(t, Options{Policies: []PolicyFile{p}}, image)), tt.want)
		})
	}
}
