package signatures

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/signatures/signtest"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// files is sealed evidence.
type files map[string][]byte

func (f files) Read(name string) ([]byte, error) {
	b, ok := f[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

func (f files) Names() []string { return slices.Sorted(maps.Keys(f)) }

// TestSealedBytesCount alters what is sealed of a good signature: the findings
// rest on nothing else.
func TestSealedBytesCount(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	key := newKey(t)
	ref := h.Push(t, "team/api", "x")
	payload := simplePayload(ref, ref.DigestStr())
	attachLegacy(t, ref, ".sig", legacyLayer(payload, sign(t, key, payload)))
	art := collect(t, Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, key)))}}, ref.String())
	verdict(t, derive(t, art), want{evidence.OutcomePass, nil})
	record := func(f files, old, with string) {
		name := folder + recordFile
		if !bytes.Contains(f[name], []byte(old)) {
			t.Fatalf("%q is not in %s", old, f[name])
		}
		f[name] = bytes.Replace(f[name], []byte(old), []byte(with), 1)
	}
	for title, tt := range map[string]struct {
		change func(f files)
		want   want
	}{
		"payload": {
			func(f files) {
				f[folder+blobName(evidence.DigestOf(payload))] = bytes.Replace(payload, []byte("null"), []byte("{}"), 1)
			},
			want{evidence.OutcomeNotChecked, []string{"the sealed bytes of sha256:", "altered, or redacted"}},
		},
		"payload gone": {
			func(f files) { delete(f, folder+blobName(evidence.DigestOf(payload))) },
			want{evidence.OutcomeNotChecked, []string{"is not in the evidence"}},
		},
		"image's manifest gone": {
			func(f files) { delete(f, folder+blobName(evidence.Digest(ref.DigestStr()))) },
			want{evidence.OutcomeNotChecked, []string{"the image's manifest: ", "is not in the evidence"}},
		},
		"another key in the policy": {
			func(f files) {
				f[folder+"policies/001.yaml"] = policyYAML("demo", keyAuthority(publicPEM(t, newKey(t)))).Raw
			},
			want{evidence.OutcomeFail, []string{"signed with another key"}},
		},
		"image left out of the record": {
			func(f files) { record(f, `"image":"`+h.Name, `"image":"other.`+h.Name) },
			want{evidence.OutcomeNotChecked, []string{"nothing was fetched for it"}},
		},
		"manifest of another image": {
			func(f files) { record(f, `"digest":"`+ref.DigestStr(), `"digest":"`+otherDigest) },
			want{evidence.OutcomeNotChecked, []string{"the registry has no image of this digest"}},
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			f := files(art.Files())
			tt.change(f)
			verdict(t, derive(t, f), tt.want)
		})
	}
	t.Run("policy unreadable", func(t *testing.T) {
		t.Parallel()
		f := files(art.Files())
		f[folder+"policies/001.yaml"] = []byte("kind: x")
		c, err := New(Options{})
		check(t, err)
		if _, err := collectors.Findings(collectors.NewSealed(f, config.RuleControls()), c); err == nil || !strings.Contains(err.Error(), `kind "x": want ClusterImagePolicy`) {
			t.Errorf("error %v", err)
		}
	})
}

// TestSameBytes collects twice: what is sealed does not depend on when, nor on
// which image is done first. (Of two referrers the test registry's answer would
// be in any order, and its answer is what is sealed.)
func TestSameBytes(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	key := newKey(t)
	o := Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, key)))}}
	var images []string
	for _, repo := range []string{"a", "b", "c"} {
		ref := h.Push(t, repo, "the same")
		attachBundle(t, ref, keyBundle(t, key, statementOf(signPredicate, ref.DigestStr())))
		images = append(images, ref.String())
	}
	a, b := collect(t, o, images...), collect(t, o, images...)
	if diff := cmp.Diff(a.Files(), b.Files()); diff != "" {
		t.Error(diff)
	}
	found := derive(t, a)
	if len(found) != 3 {
		t.Fatalf("%d findings, want one per image", len(found))
	}
	for _, f := range found {
		if f.Outcome != evidence.OutcomePass {
			t.Error(f.Message)
		}
	}
}

// TestSomeUnread: a place that could not be read hides nothing that holds, and
// excuses what does not.
func TestSomeUnread(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	both := keyAuthority(publicPEM(t, key)) + "      attestations:\n        - {name: a, predicateType: slsaprovenance1}\n        - {name: b, predicateType: cyclonedx}\n"
	for title, tt := range map[string]struct {
		refused, authorities string
		want                 want
	}{
		"signature under a tag, referrers refused": {"/referrers/", keyAuthority(publicPEM(t, key)), want{evidence.OutcomePass, []string{"tag sha256-….sig"}}},
		"attestations in bundles, tag refused":     {".att", both, want{evidence.OutcomePass, []string{"provenance/v1 signed", "cyclonedx.org/bom signed"}}},
		"attestations, referrers refused":          {"/referrers/", both, want{evidence.OutcomeNotChecked, []string{"referrers: the registry refused access"}}},
		"only legacy wanted, referrers refused":    {"/referrers/", keyAuthority(publicPEM(t, newKey(t))) + "      signatureFormat: legacy\n", want{evidence.OutcomeFail, []string{"another key"}}},
		"blobs refused":                            {"/blobs/", keyAuthority(publicPEM(t, key)), want{evidence.OutcomeNotChecked, []string{"tag sha256-….sig: the registry refused access", "referrer "}}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			on := false
			h := newHost(t, func(next http.Handler) http.Handler {
				denied := refuse(tt.refused, http.StatusForbidden)(next)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if on {
						denied.ServeHTTP(w, r)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			ref := h.Push(t, "team/api", title)
			p := simplePayload(ref, ref.DigestStr())
			attachLegacy(t, ref, ".sig", legacyLayer(p, sign(t, key, p)))
			for _, typ := range []string{"https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom"} {
				attachBundle(t, ref, keyBundle(t, key, statementOf(typ, ref.DigestStr())))
			}
			on = true
			verdict(t, derive(t, collect(t, Options{Policies: []PolicyFile{policyYAML("demo", tt.authorities)}}, ref.String())), tt.want)
		})
	}
}

// TestHostileRegistry answers with more, and with other bytes, than there should be.
func TestHostileRegistry(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	for title, tt := range map[string]struct {
		blob func(w http.ResponseWriter)
		size int64
		want string
	}{
		"other bytes": {func(w http.ResponseWriter) { _, _ = w.Write([]byte("other")) }, 5, "the registry sent other bytes than the digest says"},
		"endless": {func(w http.ResponseWriter) {
			chunk := make([]byte, 1<<20)
			for range 64 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, 5, "too large: "},
		"declared too large": {func(http.ResponseWriter) {}, maxBlob + 1, "too large: "},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+otherDigest) {
						tt.blob(w)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			ref := h.Push(t, "team/api", title)
			p := simplePayload(ref, ref.DigestStr())
			m := signtest.NewManifest(t, ref.Context(), nil, "", legacyLayer(p, sign(t, key, p)))
			m.Body = bytes.Replace(m.Body, []byte(evidence.DigestOf(p)), []byte(otherDigest), 1)
			var doc map[string]any
			check(t, json.Unmarshal(m.Body, &doc))
			doc["layers"].([]any)[0].(map[string]any)["size"] = tt.size
			m.Body, _ = json.Marshal(doc)
			put(t, h, signtest.Tag(ref, ".sig"), m)
			art := collect(t, Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, key)))}}, ref.String())
			verdict(t, derive(t, art), want{evidence.OutcomeNotChecked, []string{tt.want}})
		})
	}
}

// put pushes a manifest without asking whether its layers are there.
func put(t *testing.T, h *host, tag name.Tag, m signtest.Manifest) {
	t.Helper()
	url := h.URL + "/v2/" + tag.RepositoryStr() + "/manifests/" + tag.TagStr()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(m.Body))
	check(t, err)
	req.Header.Set("Content-Type", string(m.Type))
	res, err := http.DefaultClient.Do(req)
	check(t, err)
	check(t, res.Body.Close())
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("PUT %s: %s", url, res.Status)
	}
}

func TestNoImages(t *testing.T) {
	t.Parallel()
	verdict(t, derive(t, collect(t, Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(testKey))}})),
		want{evidence.OutcomeNotApplicable, []string{"the release runs no images"}})
}

// TestEveryPolicyCounts: all policies that match an image have to hold, and one
// authority of each.
func TestEveryPolicyCounts(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	key, other := newKey(t), newKey(t)
	ref := h.Push(t, "team/api", "x")
	attachBundle(t, ref, keyBundle(t, key, statementOf(signPredicate, ref.DigestStr())))
	good, bad := keyAuthority(publicPEM(t, key)), keyAuthority(publicPEM(t, other))
	o := Options{Policies: []PolicyFile{ // files of one name, in different folders
		policyYAML("either", bad+strings.Replace(good, "team", "release", 1)), policyYAML("neither", bad),
	}}
	o.Policies[0].Name, o.Policies[1].Name = "/home/me/a/policy.yaml", "/home/me/b/policy.yaml"
	got := map[evidence.Outcome]string{}
	art := collect(t, o, ref.String())
	if rec, err := art.Read(folder + recordFile); err != nil || bytes.Contains(rec, []byte("/home/me")) {
		t.Errorf("the record holds a path of this machine, %v: %s", err, rec)
	}
	for i, f := range derive(t, art) {
		got[f.Outcome] = f.Message
		if p := f.Evidence[0].Artifact; p != fmt.Sprintf("%spolicies/%03d.yaml", folder, i+1) {
			t.Errorf("%q points to %s", f.Message, p)
		}
	}
	if len(got) != 2 || !strings.HasPrefix(got[evidence.OutcomePass], "policy either, authority release: ") || !strings.HasPrefix(got[evidence.OutcomeFail], "policy neither: authority team: ") {
		t.Errorf("findings %v", got)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	ref := h.Push(t, "team/api", "x")
	c, err := New(Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(testKey))}})
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in := collectors.Input{Release: &chart.Release{Info: evidence.Release{Images: []string{ref.String()}}}}
	if err := c.Collect(ctx, in, writer{collectors.NewArtifacts(nil)}); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("error %v", err)
	}
}

// BenchmarkFindings verifies one image whose bytes are sealed.
func BenchmarkFindings(b *testing.B) {
	for _, kind := range []string{"key", "keyless"} {
		b.Run(kind, func(b *testing.B) {
			h := newHost(b, nil)
			ref := h.Push(b, "team/api", "x")
			o := benchOptions(b, kind, ref)
			art := collect(b, o, ref.String())
			c, err := New(Options{})
			check(b, err)
			for b.Loop() {
				found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), c)
				if err != nil || len(found) != 1 || found[0].Outcome != evidence.OutcomePass {
					b.Fatal(found, err)
				}
			}
		})
	}
}
