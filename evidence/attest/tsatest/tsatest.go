// Package tsatest is an RFC 3161 timestamp authority for tests.
package tsatest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
)

// Authority is an RFC 3161 timestamp authority in this process.
type Authority struct {
	key   *ecdsa.PrivateKey
	Chain []*x509.Certificate // leaf first
	Now   time.Time           // when it says that it is
}

// New makes an authority whose certificate is valid from and until; the clock of
// this process has to be in between where it is to be asked.
func New(t testing.TB, from, until time.Time) *Authority {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	rootKey, key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	usage := must(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}))(t) // id-kp-timeStamping, RFC 3161 2.3
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.AddDate(-5, 0, 0), NotAfter: now.AddDate(5, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	tsa := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "timestamps"}, NotBefore: from, NotAfter: until,
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	}
	rootCert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey))(t)))(t)
	leafCert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, tsa, rootCert, key.Public(), rootKey))(t)))(t)
	return &Authority{key: key, Chain: []*x509.Certificate{leafCert, rootCert}, Now: now}
}

// PEM is what a user is given to trust it.
func (a *Authority) PEM() []byte {
	var out []byte
	for _, c := range a.Chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// Serve serves it until the test ends, and returns its URL.
func (a *Authority) Serve(t testing.TB) string {
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
			HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Time: a.Now, Nonce: req.Nonce,
			Policy: asn1.ObjectIdentifier{1, 2, 3, 4, 1}, AddTSACertificate: true, Certificates: a.Chain[1:],
		}
		resp, err := ts.CreateResponseWithOpts(a.Chain[0], a.key, crypto.SHA256)
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

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
