package signatures

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// TestTooMany has a good signature behind more bad ones than are looked at: it
// could not be checked. Within the limit it is found.
func TestTooMany(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	o := Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, key)))}}
	for _, n := range []int{maxLayers - 1, maxLayers} {
		t.Run(fmt.Sprintf("%d layers before", n), func(t *testing.T) {
			t.Parallel()
			h := newHost(t, nil)
			ref := h.Push(t, "team/api", "x")
			p := simplePayload(ref, ref.DigestStr())
			layers := slices.Repeat([]layer{legacyLayer(p, sign(t, other, p))}, n)
			attachLegacy(t, ref, ".sig", append(layers, legacyLayer(p, sign(t, key, p)))...)
			w := want{evidence.OutcomePass, []string{fmt.Sprintf("layer %d", maxLayers)}}
			if n == maxLayers {
				w = want{evidence.OutcomeNotChecked, []string{fmt.Sprintf("and %d more that do not hold", maxLayers-maxReasons), fmt.Sprintf("more than %d layers", maxLayers)}}
			}
			verdict(t, derive(t, collect(t, o, ref.String())), w)
		})
	}
	t.Run("layers fetched", func(t *testing.T) {
		t.Parallel()
		h := newHost(t, nil)
		ref := h.Push(t, "team/api", "x")
		var layers []layer
		for i := range maxLayers + 5 {
			p := append(simplePayload(ref, ref.DigestStr()), strings.Repeat(" ", i)...)
			layers = append(layers, legacyLayer(p, sign(t, other, p)))
		}
		attachLegacy(t, ref, ".sig", layers...)
		n := 0
		for _, name := range collect(t, o, ref.String()).Names() {
			if strings.HasPrefix(name, folder+"blobs/") {
				n++
			}
		}
		// The image's manifest, the tag's, and the index of referrers.
		if n != maxLayers+3 {
			t.Errorf("%d blobs are sealed, want those of %d layers", n, maxLayers)
		}
	})
	t.Run("bundles", func(t *testing.T) {
		t.Parallel()
		h := newHost(t, nil)
		ref := h.Push(t, "team/api", "x")
		for range maxReferrers + 1 {
			attachBundle(t, ref, keyBundle(t, other, statementOf(signPredicate, ref.DigestStr())))
		}
		verdict(t, derive(t, collect(t, o, ref.String())), want{evidence.OutcomeNotChecked, []string{fmt.Sprintf("more than %d bundles refer to the image", maxReferrers)}})
	})
}

func TestTotalLimit(t *testing.T) {
	t.Parallel()
	f, err := newFetcher(Options{}, writer{collectors.NewArtifacts(nil)})
	check(t, err)
	f.limit = 10
	for _, tt := range []struct {
		raw  string
		over bool
	}{{"123456", false}, {"123456", false}, {"12345", true}, {"1234", false}, {"1", true}} {
		d, p, err := f.seal([]byte(tt.raw))
		check(t, err)
		if over := p != nil; over != tt.over || over && p.Kind != oci.TooLarge || !over && !f.has(d) {
			t.Errorf("seal %q: %v", tt.raw, p)
		}
	}
}

// TestSwappedBundle names another manifest's bytes for a referrer.
func TestSwappedBundle(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	key := newKey(t)
	ref, other := h.Push(t, "team/api", "x"), h.Push(t, "team/api", "y")
	attachBundle(t, ref, keyBundle(t, newKey(t), statementOf(signPredicate, ref.DigestStr())))
	attachBundle(t, other, keyBundle(t, key, statementOf(signPredicate, ref.DigestStr())))
	o := Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, key)))}}
	good := collect(t, o, other.String())
	f := files(collect(t, o, ref.String()).Files())
	for name, raw := range good.Files() {
		if f[name] == nil {
			f[name] = raw
		}
	}
	digest := func(rec []byte) []byte {
		_, rest, ok := bytes.Cut(rec, []byte(`"bundles":[`))
		_, rest, ok2 := bytes.Cut(rest, []byte(`"digest":"`))
		if !ok || !ok2 {
			t.Fatalf("no bundle in %s", rec)
		}
		return rest[:len(otherDigest)]
	}
	rec := f[folder+recordFile]
	theirs, err := good.Read(folder + recordFile)
	check(t, err)
	mine := digest(rec)
	f[folder+recordFile] = bytes.ReplaceAll(rec, append([]byte(`"digest":"`), mine...), append([]byte(`"digest": "`), digest(theirs)...))
	verdict(t, derive(t, f), want{evidence.OutcomeNotChecked, []string{"the registry sent other bytes than the digest says: referrer "}})
}
