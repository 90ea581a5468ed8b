package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/companyos/helmproof/evidence/attest"
)

// authority is an RFC 3161 timestamp authority in this process.
type authority struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate // leaf first
	now   time.Time
}

type validity struct{ from, to time.Time }

var (
	// The PKCS #7 library signs with the clock's time, so that certificates must be valid now.
	stamped = time.Now().UTC().Truncate(time.Second)
	valid   = validity{stamped.AddDate(-1, 0, 0), stamped.AddDate(1, 0, 0)}
)

func newAuthority(t testing.TB, leaf validity) *authority {
	t.Helper()
	rootKey, key := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	usage := must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}))(t) // id-kp-timeStamping, RFC 3161 2.3
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: stamped.AddDate(-5, 0, 0), NotAfter: stamped.AddDate(5, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	tsa := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "timestamps"}, NotBefore: leaf.from, NotAfter: leaf.to,
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}
	rootCert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey))(t)))(t)
	leafCert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tsa, rootCert, key.Public(), rootKey))(t)))(t)
	return &authority{key: key, chain: []*x509.Certificate{leafCert, rootCert}, now: stamped}
}

func (a *authority) chainPEM() []byte {
	var out []byte
	for _, c := range a.chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func (a *authority) serve(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			t.Error(err)
		}
		req, err := timestamp.ParseRequest(raw)
		if err != nil {
			t.Errorf("timestamp request: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		ts := timestamp.Timestamp{
			HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Time: a.now, Nonce: req.Nonce,
			Policy: asn1.ObjectIdentifier{1, 2, 3, 4, 1}, AddTSACertificate: true, Certificates: a.chain[1:],
		}
		resp, err := ts.CreateResponseWithOpts(a.chain[0], a.key, crypto.SHA256)
		if err != nil {
			t.Errorf("timestamp response: %v", err)
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		if _, err := w.Write(resp); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	good, other, old := newAuthority(t, valid), newAuthority(t, valid), newAuthority(t, valid)
	old.now = valid.to.AddDate(0, 0, 1)
	by := func(a *authority) []byte {
		return signed(t, must(attest.WithTimestampAuthority(s, a.serve(t), nil))(t), statement())
	}
	plain, byGood, byOld := signed(t, s, statement()), by(good), by(old)

	// A timestamp of another signature says nothing about this one.
	borrowed := edit(t, plain, func(b map[string]any) {
		var from map[string]any
		if err := json.Unmarshal(byGood, &from); err != nil {
			t.Fatal(err)
		}
		const key = "timestampVerificationData"
		b["verificationMaterial"].(map[string]any)[key] = from["verificationMaterial"].(map[string]any)[key]
	})

	for name, tt := range map[string]struct {
		raw     []byte
		trusted []*authority
		counts  bool
	}{
		"trusted":                        {byGood, []*authority{good}, true},
		"one of two trusted":             {byGood, []*authority{other, good}, true},
		"other authority":                {byGood, []*authority{other}, false},
		"no authority trusted":           {byGood, nil, false},
		"certificate had expired":        {byOld, []*authority{old}, false},
		"no timestamp":                   {plain, []*authority{good}, false},
		"timestamp of another signature": {borrowed, []*authority{good}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust := trusting(t, s.PublicKeyPEM())
			for _, a := range tt.trusted {
				if err := trust.Add(a.chainPEM()); err != nil {
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
