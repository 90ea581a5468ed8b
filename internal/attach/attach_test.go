package attach_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/internal/attach"
	"github.com/companyos/helmproof/internal/imagetest"
	"github.com/companyos/helmproof/internal/oci"
)

// TestSameStatement holds that a statement is there only where it has its signature: one
// that somebody else has signed, or that has a broken one, does not keep it out.
func TestSameStatement(t *testing.T) {
	t.Parallel()
	host := imagetest.Registry(t)
	bundle := func(payload, hint, sig string) []byte {
		raw, err := json.Marshal(map[string]any{
			"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": hint}},
			"dsseEnvelope":         map[string]any{"payloadType": "application/vnd.in-toto+json", "payload": []byte(payload), "signatures": []any{map[string]any{"keyid": "", "sig": []byte(sig)}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	good := bundle("{}", "team", "good")
	for name, tt := range map[string]struct {
		there     []byte
		tag, anew bool
		want      string // what becomes of the good one
	}{
		"nothing":                       {want: "attached"},
		"the same":                      {there: good, want: "present"},
		"another statement":             {there: bundle("{ }", "team", "good"), want: "attached"},
		"a broken signature":            {there: bundle("{}", "team", "bad"), want: "attached"},
		"a foreign signature":           {there: bundle("{}", "other", "bad"), want: "attached"},
		"signed again":                  {there: bundle("{}", "team", "good too"), anew: true, want: "present"},
		"by another, anew":              {there: bundle("{}", "other", "good too"), anew: true, want: "attached"},
		"the same, tag":                 {there: good, tag: true, want: "present"},
		"another statement, tag":        {there: bundle("{ }", "team", "good"), tag: true, want: "attached"},
		"a broken signature, tag":       {there: bundle("{}", "team", "bad"), tag: true, want: "attached"},
		"nothing is there, nor the tag": {tag: true, want: "attached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			image := imagetest.Push(t, fmt.Sprintf("%s/x/%d:1", host, len(name)), imagetest.Files(t, map[string]string{"name": name}))
			to := func(raw []byte, tag, dryRun bool) string {
				got := attach.To(t.Context(), image, []attach.Attestation{{PredicateType: "p", Bundle: raw, Tag: tag, Anew: tt.anew}}, dryRun, oci.Options{PlainHTTP: true})
				if got.Error != "" {
					t.Fatal(got.Error)
				}
				return got.Attestations[0].Status
			}
			if tt.there != nil {
				to(tt.there, tt.tag, false)
			}
			if tt.tag {
				to(good, false, false) // so that what is said is of the tag
			}
			planned := tt.want
			if planned == "attached" {
				planned = "planned"
			}
			got := []string{to(good, tt.tag, true), to(good, tt.tag, false), to(good, tt.tag, false)}
			if diff := cmp.Diff([]string{planned, tt.want, "present"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
