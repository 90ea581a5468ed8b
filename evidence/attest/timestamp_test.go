package attest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/attest/tsatest"
)

type validity struct{ from, to time.Time }

var (
	// The PKCS #7 library signs with the clock's time, so that certificates must be valid now.
	stamped = time.Now().UTC().Truncate(time.Second)
	valid   = validity{stamped.AddDate(-1, 0, 0), stamped.AddDate(1, 0, 0)}
)

func newAuthority(t testing.TB, v validity) *tsatest.Authority {
	t.Helper()
	a := tsatest.New(t, v.from, v.to)
	a.Now = stamped
	return a
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	good, other, old := newAuthority(t, valid), newAuthority(t, valid), newAuthority(t, valid)
	old.Now = valid.to.AddDate(0, 0, 1)
	by := func(a *tsatest.Authority) []byte {
		return signed(t, must(attest.WithTimestampAuthority(s, a.Serve(t), nil))(t), statement())
	}
	plain, byGood, byOld := signed(t, s, statement()), by(good), by(old)

	// A timestamp of another signature says nothing about this one.
	another := statement()
	another.Predicate = json.RawMessage(`{"outcome":"FAIL"}`)
	borrowed := edit(t, signed(t, s, another), func(b map[string]any) {
		var from map[string]any
		if err := json.Unmarshal(byGood, &from); err != nil {
			t.Fatal(err)
		}
		const key = "timestampVerificationData"
		b["verificationMaterial"].(map[string]any)[key] = from["verificationMaterial"].(map[string]any)[key]
	})

	for name, tt := range map[string]struct {
		raw     []byte
		trusted []*tsatest.Authority
		counts  bool
	}{
		"trusted":                        {byGood, []*tsatest.Authority{good}, true},
		"one of two trusted":             {byGood, []*tsatest.Authority{other, good}, true},
		"other authority":                {byGood, []*tsatest.Authority{other}, false},
		"no authority trusted":           {byGood, nil, false},
		"certificate had expired":        {byOld, []*tsatest.Authority{old}, false},
		"no timestamp":                   {plain, []*tsatest.Authority{good}, false},
		"timestamp of another signature": {borrowed, []*tsatest.Authority{good}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust := trusting(t, s.PublicKeyPEM())
			for _, a := range tt.trusted {
				if err := trust.Add(a.PEM()); err != nil {
					t.Fatal(err)
				}
			}
			_, sig, err := trust.Verify(tt.raw, attest.EvidenceType, artifact)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.counts && (len(sig.Timestamps) != 1 || !sig.Timestamps[0].Equal(stamped)):
				t.Errorf("timestamps %v, want %v", sig.Timestamps, stamped)
			case !tt.counts && len(sig.Timestamps) != 0:
				t.Errorf("timestamps %v, want none", sig.Timestamps)
			}
			trust.RequireTimestamp = true
			_, _, err = trust.Verify(tt.raw, attest.EvidenceType, artifact)
			if tt.counts && err != nil {
				t.Errorf("timestamp required: %v", err)
			}
			if !tt.counts && !errors.Is(err, attest.ErrNoTimestamp) {
				t.Errorf("timestamp required: error %v, want ErrNoTimestamp", err)
			}
		})
	}
}

func TestTimestampFailureMeansNoSignature(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	answer := func(status int, body []byte) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			if _, err := w.Write(body); err != nil {
				t.Error(err)
			}
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	rejection := must(timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.SystemFailure))(t)
	for name, tt := range map[string]struct{ url, want string }{
		"refused":     {answer(http.StatusForbidden, []byte("not you")), "timestamp authority returned 403: not you"},
		"garbage":     {answer(http.StatusOK, []byte("<html>")), "asn1"},
		"rejection":   {answer(http.StatusOK, rejection), "rejected"},
		"unreachable": {closed.URL, "connect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := must(attest.WithTimestampAuthority(newSigner(t), tt.url, nil))(t)
			raw, err := s.Sign(t.Context(), statement())
			if raw != nil {
				t.Errorf("signed all the same: %s", raw)
			}
			wantError(t, err, "sign "+attest.EvidenceType, tt.want)
		})
	}
}

// strange is a signer that timestamps cannot be added to.
type strange struct{ attest.Signer }

func TestTimestampsNeedAKnownSigner(t *testing.T) {
	t.Parallel()
	_, err := attest.WithTimestampAuthority(strange{}, "http://localhost", nil)
	wantError(t, err, "not supported", "strange")
}
