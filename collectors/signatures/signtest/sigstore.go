package signtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// Issuer and Identity are what certificates say of their owner.
const (
	Issuer   = "https://token.actions.githubusercontent.com"
	Identity = "https://github.com/example/api/.github/workflows/release.yaml@refs/heads/main"
)

// Sigstore is a Sigstore of the test: sigstore-go's virtual log, and a
// certificate authority whose certificates are in a certificate log.
type Sigstore struct {
	*ca.VirtualSigstore
	Root, Intermediate *x509.Certificate
	key                *ecdsa.PrivateKey // of intermediate
	CTLog              *ecdsa.PrivateKey
	TSAs               []root.TimestampingAuthority // trusted; none unless set
}

// NewSigstore makes one with keys of its own.
func NewSigstore(t testing.TB) *Sigstore {
	t.Helper()
	vs, err := ca.NewVirtualSigstore()
	check(t, err)
	s := &Sigstore{VirtualSigstore: vs, CTLog: NewKey(t)}
	rootCert, rootKey, err := ca.GenerateRootCa()
	check(t, err)
	s.Root = rootCert
	s.Intermediate, s.key, err = ca.GenerateFulcioIntermediate(rootCert, rootKey)
	check(t, err)
	return s
}

// TrustedRoot is the file that a user would give.
func (s *Sigstore) TrustedRoot(t testing.TB) []byte {
	t.Helper()
	start, end := time.Now().Add(-24*time.Hour), time.Now().Add(24*time.Hour)
	logs := map[string]*root.TransparencyLog{}
	for id, l := range s.RekorLogs() {
		raw, err := hex.DecodeString(id)
		check(t, err)
		l.ID, l.ValidityPeriodStart, l.ValidityPeriodEnd = raw, start, end
		logs[id] = l
	}
	der, err := x509.MarshalPKIXPublicKey(s.CTLog.Public())
	check(t, err)
	id := sha256.Sum256(der)
	ctlogs := map[string]*root.TransparencyLog{hex.EncodeToString(id[:]): {
		BaseURL: "https://ct.test", ID: id[:], ValidityPeriodStart: start, ValidityPeriodEnd: end,
		HashFunc: crypto.SHA256, PublicKey: s.CTLog.Public(), SignatureHashFunc: crypto.SHA256,
	}}
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{&root.FulcioCertificateAuthority{
		Root: s.Root, Intermediates: []*x509.Certificate{s.Intermediate}, ValidityPeriodStart: start, ValidityPeriodEnd: end, URI: "https://fulcio.test",
	}}, ctlogs, s.TSAs, logs)
	check(t, err)
	raw, err := tr.MarshalJSON()
	check(t, err)
	return raw
}

// Leaf issues a certificate that is valid for ten minutes from start.
func (s *Sigstore) Leaf(t testing.TB, subject string, start time.Time, logged bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := NewKey(t)
	uri, err := url.Parse(subject)
	check(t, err)
	extension, err := asn1.Marshal(Issuer)
	check(t, err)
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), URIs: []*url.URL{uri}, NotBefore: start, NotAfter: start.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}, Value: extension}},
	}
	issue := func() *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, tpl, s.Intermediate, key.Public(), s.key)
		check(t, err)
		cert, err := x509.ParseCertificate(der)
		check(t, err)
		return cert
	}
	cert := issue()
	if !logged {
		return cert, key
	}
	tpl.ExtraExtensions = append(tpl.ExtraExtensions, s.timestamp(t, cert.RawTBSCertificate, start))
	return issue(), key
}

// timestamp is the extension by which the certificate log vouches for a certificate (RFC 6962, 3.3).
func (s *Sigstore) timestamp(t testing.TB, tbs []byte, at time.Time) pkix.Extension {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.CTLog.Public())
	check(t, err)
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: sha256.Sum256(der)}, Timestamp: uint64(at.UnixMilli())}
	message, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		Version: ct.V1, LeafType: ct.TimestampedEntryLeafType, TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(s.Intermediate.RawSubjectPublicKeyInfo), TBSCertificate: tbs},
		},
	}})
	check(t, err)
	sct.Signature = ct.DigitallySigned{
		Algorithm: cttls.SignatureAndHashAlgorithm{Hash: cttls.SHA256, Signature: cttls.ECDSA}, Signature: Sign(t, s.CTLog, message),
	}
	raw, err := cttls.Marshal(sct)
	check(t, err)
	list, err := cttls.Marshal(ctx509.SignedCertificateTimestampList{SCTList: []ctx509.SerializedSCT{{Val: raw}}})
	check(t, err)
	value, err := asn1.Marshal(list)
	check(t, err)
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value}
}

// Bundle signs a statement with a certificate's key and logs it at a time.
func (s *Sigstore) Bundle(t testing.TB, cert *x509.Certificate, key *ecdsa.PrivateKey, payload []byte, logged time.Time) *protobundle.Bundle {
	t.Helper()
	sig := Sign(t, key, PAE(payload))
	entry, err := s.GenerateTlogEntry(cert, &dsse.Envelope{
		Payload: base64.StdEncoding.EncodeToString(payload), PayloadType: dssePayloadType,
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	}, sig, logged.Unix(), true)
	check(t, err)
	tle := entry.TransparencyLogEntry()
	tle.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
	set, err := s.RekorSignPayload(tlog.RekorPayload{Body: base64.StdEncoding.EncodeToString(tle.CanonicalizedBody), IntegratedTime: tle.IntegratedTime, LogIndex: tle.LogIndex, LogID: hex.EncodeToString(tle.LogId.KeyId)})
	check(t, err)
	tle.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: set}
	return &protobundle.Bundle{
		MediaType: bundleType,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw}},
			TlogEntries: []*protorekor.TransparencyLogEntry{tle},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: payload, PayloadType: dssePayloadType, Signatures: []*protodsse.Signature{{Sig: sig}},
		}},
	}
}

// Marshal is a bundle as cosign stores it.
func Marshal(t testing.TB, b *protobundle.Bundle) []byte {
	t.Helper()
	raw, err := (&bundle.Bundle{Bundle: b}).MarshalJSON()
	check(t, err)
	return raw
}

// Legacy is the layer of a .sig tag, with certificate and log entry as cosign writes them.
func (s *Sigstore) Legacy(t testing.TB, cert *x509.Certificate, key crypto.Signer, payload []byte, logged time.Time) Layer {
	t.Helper()
	verifier := CertPEM(cert)
	if cert == nil {
		verifier = PublicPEM(t, key)
	}
	sig := Sign(t, key, payload)
	sum := sha256.Sum256(payload)
	b64 := base64.StdEncoding.EncodeToString
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":%q}},"signature":{"content":%q,"publicKey":{"content":%q}}}}`,
		hex.EncodeToString(sum[:]), b64(sig), b64([]byte(verifier)))
	id, err := s.RekorLogID()
	check(t, err)
	p := tlog.RekorPayload{Body: b64([]byte(body)), IntegratedTime: logged.Unix(), LogIndex: 5, LogID: id}
	set, err := s.RekorSignPayload(p)
	check(t, err)
	entry, err := json.Marshal(map[string]any{"SignedEntryTimestamp": set, "Payload": p})
	check(t, err)
	l := LegacyLayer(payload, sig)
	l.Annotations[annotationBundle] = string(entry)
	if cert != nil {
		l.Annotations[annotationCertificate] = verifier
	}
	return l
}

// CertPEM is a certificate in PEM; empty for none.
func CertPEM(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
