package chart

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// generatedKey is the one private key of all generated certificates. Its seed
// is public: it protects nothing.
var generatedKey = sync.OnceValue(func() ed25519.PrivateKey { return publicKey("helmproof: generated, protects nothing") })

// otherKey is the one of the other rendering.
var otherKey = sync.OnceValue(func() ed25519.PrivateKey { return publicKey("helmproof: generated again, protects nothing") })

func publicKey(of string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(of))
	return ed25519.NewKeyFromSeed(seed[:])
}

// generatedKeyPEM is generatedKey as PKCS #8.
var generatedKeyPEM = sync.OnceValue(func() string {
	s, err := encodeKey(generatedKey())
	if err != nil { // an Ed25519 key always has a PKCS #8 form
		panic(err)
	}
	return s
})

// generatedKeyLine is the base64 line inside generatedKeyPEM.
var generatedKeyLine = sync.OnceValue(func() string {
	return strings.Split(generatedKeyPEM(), "\n")[1]
})

// maxEncoded is how often a generated value is looked for behind an encoding.
const maxEncoded = 3

// IsGenerated reports whether s is, or holds, what rendering put in the place
// of a generated value: such a value is no secret. s may be encoded up to three times,
// as base64, base32 or hexadecimal.
func IsGenerated(s string) bool { return isGenerated(s, maxEncoded) }

func isGenerated(s string, encoded int) bool {
	if holdsGenerated(s) {
		return true
	}
	s = strings.TrimSpace(s)
	if encoded == 0 || len(s) < 8 || len(s) > 1<<16 {
		return false
	}
	for _, e := range encodings {
		if !e.alphabet.has(s) { // nearly everything is none
			continue
		}
		if b, err := e.decode(s); err == nil && isGenerated(string(b), encoded-1) {
			return true
		}
	}
	return false
}

// encodings are those that a generated value is looked for behind.
var encodings = []struct {
	alphabet *alphabet
	decode   func(string) ([]byte, error)
}{
	{newAlphabet("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n"), base64.StdEncoding.DecodeString},
	{newAlphabet("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567="), base32.StdEncoding.DecodeString},
	{newAlphabet("0123456789abcdefABCDEF"), hex.DecodeString},
}

// alphabet is a set of bytes.
type alphabet [256]bool

func newAlphabet(of string) *alphabet {
	a := new(alphabet)
	for i := range len(of) {
		a[of[i]] = true
	}
	return a
}

// has reports whether s has no other bytes.
func (a *alphabet) has(s string) bool {
	for i := range len(s) {
		if !a[s[i]] {
			return false
		}
	}
	return true
}

var (
	generatedBytes = newAlphabet(lowerDigits)
	besideBytes    = newAlphabet(lowerDigits + "._-")
)

// Words may stand beside a generated text, and a user before a hash: both may be known.
var (
	besideGenerated = regexp.MustCompile(`^[A-Za-z._-]*$`)
	beforeHash      = regexp.MustCompile(`^[^\s:]{0,64}:?$`)
)

func holdsGenerated(s string) bool {
	const zeros = "00000000-0000-4000-8000-"
	lower := strings.ToLower(strings.TrimSpace(s))
	switch {
	case len(s) >= len(generatedKeyLine()) && strings.Contains(s, generatedKeyLine()):
		// A text with a real key beside the generated one is a secret all the same.
		return strings.Count(s, "PRIVATE KEY-----") <= 2*strings.Count(s, generatedKeyLine())
	case strings.HasPrefix(lower, zeros) && len(lower) == 36:
		return true
	}
	if user, hash, ok := strings.Cut(lower, "$2a$10$"); ok {
		return beforeHash.MatchString(user) && isGeneratedText(hash)
	}
	if isGeneratedText(lower) || isGeneratedDigest(lower) {
		return true
	}
	if len(lower) > 256 || !besideBytes.has(lower) || !strings.Contains(lower, generatedMark) {
		return false
	}
	parts := strings.FieldsFunc(lower, func(c rune) bool { return c == '.' || c == '_' || c == '-' })
	made := func(p string) bool { return len(p) > len(generatedMark) && isGeneratedText(p) }
	return slices.ContainsFunc(parts, made) && besideGenerated.MatchString(strings.Join(slices.DeleteFunc(parts, made), "-"))
}

// generatedDigestMark is what the digest of a generated value consists of.
const generatedDigestMark = "9e4e7a7ed0"

// generatedDigest is a digest that can be told from that of a secret: of a generated
// value, of which nobody needs the true one. Its end is that of the true one.
func generatedDigest(digest string) string {
	cut := len(digest) - 4
	return strings.Repeat(generatedDigestMark, cut/len(generatedDigestMark)+1)[:cut] + digest[cut:]
}

func isGeneratedDigest(s string) bool {
	switch len(s) {
	case 40, 64, 128:
		return strings.HasPrefix(s, generatedDigestMark) && s == generatedDigest(s)
	}
	return false
}

// digestFunctions are sprig's. The digest of a generated value is one, too.
func (r *rendering) digestFunctions(f template.FuncMap) template.FuncMap {
	out := template.FuncMap{}
	for _, name := range []string{"sha1sum", "sha256sum", "sha512sum"} {
		sum, ok := f[name].(func(string) string)
		if !ok {
			continue
		}
		out[name] = func(s string) string {
			d := sum(s)
			if r.variant == 0 && len(r.rec.generated) > 0 && IsGenerated(s) {
				d = generatedDigest(d)
				for g := range r.rec.generated {
					if g.Template == r.current {
						r.rec.text(g.Function, r.current, d)
					}
				}
			}
			return d
		}
	}
	return out
}

// isGeneratedText reports whether s is what generatedText made, of 6 characters
// at least. The number at its end starts with a zero, for there are not that many
// calls, or with an "a" where the alphabet has no digits.
func isGeneratedText(s string) bool {
	n := len(s)
	if n < 6 || !generatedBytes.has(s) {
		return false
	}
	cut := n - generatedDigits(n)
	head, first := s[:cut], s[cut]
	switch {
	case s[0] != '0' && s[0] != generatedMark[0]:
		return false
	case head == strings.Repeat("0", cut):
		return true
	case head != strings.Repeat(generatedMark, cut/len(generatedMark)+1)[:cut]:
		return false
	}
	return first == '0' || first == 'a' && cut >= len(generatedMark)
}

// certificate is what sprig's certificate functions return.
type certificate struct{ Cert, Key string }

// certificateFunctions are sprig's, with generatedKey and fixed dates: the
// result can be parsed and verified, and costs no key generation.
func (r *rendering) certificateFunctions(use func(string) int) template.FuncMap {
	issue := func(function, cn string, ips, names []any, days int, ca any, isCA bool, keyPEM string) (certificate, error) {
		key, from := generatedKey(), generatedTime
		if r.variant != 0 {
			key, from = otherKey(), otherTime
		}
		c, err := issueCertificate(use(function), cn, ips, names, days, ca, isCA, keyPEM, key, from)
		for _, text := range []string{c.Cert, c.Key} {
			r.rec.text(function, r.current, text)
			if lines := strings.Split(text, "\n"); len(lines) > 2 { // they may be indented
				r.rec.text(function, r.current, lines[1])
			}
		}
		if err != nil {
			return c, fmt.Errorf("%s: %w", function, err)
		}
		return c, nil
	}
	return template.FuncMap{
		"genPrivateKey": func(typ string) (string, error) {
			switch typ {
			case "", "rsa", "dsa", "ecdsa", "ed25519":
				use("genPrivateKey")
				if r.variant != 0 {
					return encodeKey(otherKey())
				}
				r.rec.text("genPrivateKey", r.current, generatedKeyLine())
				r.rec.text("genPrivateKey", r.current, generatedKeyPEM())
				return generatedKeyPEM(), nil
			}
			return "Unknown type " + typ, nil
		},
		"genCA": func(cn string, days int) (certificate, error) {
			return issue("genCA", cn, nil, nil, days, nil, true, "")
		},
		"genCAWithKey": func(cn string, days int, key string) (certificate, error) {
			return issue("genCAWithKey", cn, nil, nil, days, nil, true, key)
		},
		"genSelfSignedCert": func(cn string, ips, names []any, days int) (certificate, error) {
			return issue("genSelfSignedCert", cn, ips, names, days, nil, false, "")
		},
		"genSelfSignedCertWithKey": func(cn string, ips, names []any, days int, key string) (certificate, error) {
			return issue("genSelfSignedCertWithKey", cn, ips, names, days, nil, false, key)
		},
		"genSignedCert": func(cn string, ips, names []any, days int, ca any) (certificate, error) {
			return issue("genSignedCert", cn, ips, names, days, ca, false, "")
		},
		"genSignedCertWithKey": func(cn string, ips, names []any, days int, ca any, key string) (certificate, error) {
			return issue("genSignedCertWithKey", cn, ips, names, days, ca, false, key)
		},
		"buildCustomCert": buildCustomCert,
	}
}

// buildCustomCert is sprig's: it decodes and checks a certificate and its key.
func buildCustomCert(cert64, key64 string) (certificate, error) {
	cert, err := base64.StdEncoding.DecodeString(cert64)
	if err != nil {
		return certificate{}, errors.New("unable to decode base64 certificate")
	}
	key, err := base64.StdEncoding.DecodeString(key64)
	if err != nil {
		return certificate{}, errors.New("unable to decode base64 private key")
	}
	c := certificate{Cert: string(cert), Key: string(key)}
	if _, _, err := c.parse(); err != nil {
		return certificate{}, err
	}
	return c, nil
}

func (c certificate) parse() (*x509.Certificate, crypto.Signer, error) {
	block, _ := pem.Decode([]byte(c.Cert))
	if block == nil {
		return nil, nil, errors.New("unable to decode certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := decodeKey(c.Key)
	return cert, key, err
}

func issueCertificate(serial int, cn string, ips, names []any, days int, ca any, isCA bool, keyPEM string, key crypto.Signer, from time.Time) (certificate, error) {
	if keyPEM != "" {
		var err error
		if key, err = decodeKey(keyPEM); err != nil {
			return certificate{}, fmt.Errorf("parsing private key: %w", err)
		}
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(int64(serial)), Subject: pkix.Name{CommonName: cn},
		NotBefore: from, NotAfter: from.Add(time.Duration(days) * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if isCA {
		tpl.KeyUsage |= x509.KeyUsageCertSign
		tpl.IsCA = true
	}
	for _, v := range ips {
		s, ok := v.(string)
		ip := net.ParseIP(s)
		if !ok || ip == nil {
			return certificate{}, fmt.Errorf("error parsing ip: %v", v)
		}
		tpl.IPAddresses = append(tpl.IPAddresses, ip)
	}
	for _, v := range names {
		s, ok := v.(string)
		if !ok {
			return certificate{}, fmt.Errorf("error processing alternate dns name: %v is not a string", v)
		}
		tpl.DNSNames = append(tpl.DNSNames, s)
	}
	parent, signer := tpl, key
	if ca != nil {
		authority, ok := ca.(certificate)
		if !ok {
			return certificate{}, fmt.Errorf("wrong type for a certificate authority: %T", ca)
		}
		var err error
		if parent, signer, err = authority.parse(); err != nil {
			return certificate{}, err
		}
	}
	// Without a source of randomness all three key types sign deterministically.
	der, err := x509.CreateCertificate(nil, tpl, parent, key.Public(), signer)
	if err != nil {
		return certificate{}, err
	}
	c := certificate{Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
	c.Key, err = encodeKey(key)
	return c, err
}

func decodeKey(s string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(s))
	if block == nil {
		return nil, errors.New("no PEM data in input")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("no private key data in PEM block of type %s", block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%T cannot sign", key)
	}
	return signer, nil
}

// encodeKey writes a key as sprig does.
func encodeKey(key crypto.Signer) (string, error) {
	var block pem.Block
	var err error
	switch k := key.(type) {
	case *rsa.PrivateKey:
		block = pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}
	case *ecdsa.PrivateKey:
		block.Type = "EC PRIVATE KEY"
		block.Bytes, err = x509.MarshalECPrivateKey(k)
	default:
		block.Type = "PRIVATE KEY"
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(k)
	}
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&block)), nil
}

// durationRounder returns sprig's durationRound.
func durationRounder() func(any) string {
	f, ok := sprig.TxtFuncMap()["durationRound"].(func(any) string)
	if !ok {
		return func(v any) string { return fmt.Sprint(v) }
	}
	return f
}
