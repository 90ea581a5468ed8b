package chart

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/Masterminds/sprig/v3"
	"github.com/google/go-cmp/cmp"
)

// randomCalls has one call of each function whose result in sprig is not the
// same at every rendering.
var randomCalls = map[string]string{
	"randAlphaNum":             `{{ randAlphaNum 24 }}`,
	"randAlpha":                `{{ randAlpha 24 }}`,
	"randNumeric":              `{{ randNumeric 24 }}`,
	"randAscii":                `{{ randAscii 24 | b64enc }}`,
	"randBytes":                `{{ randBytes 24 }}`,
	"randInt":                  `{{ randInt 1 1000000000 }}`,
	"uuidv4":                   `{{ uuidv4 }}`,
	"shuffle":                  `{{ shuffle "abcdefghijklmnop" }}`,
	"now":                      `{{ now | unixEpoch }}`,
	"ago":                      `{{ ago 1000 }}`,
	"date":                     `{{ date "2006-01-02T15:04:05.000000" "text" }}`,
	"htmlDate":                 `{{ htmlDate "text" }}`,
	"dateInZone":               `{{ dateInZone "2006-01-02T15:04:05.000000" "text" "Europe/Berlin" }}`,
	"date_in_zone":             `{{ date_in_zone "2006-01-02T15:04:05.000000" "text" "UTC" }}`,
	"htmlDateInZone":           `{{ htmlDateInZone "text" "UTC" }}`,
	"durationRound":            `{{ durationRound (toDate "2006-01-02" "1999-01-01") }}`,
	"bcrypt":                   `{{ bcrypt "x" }}`,
	"htpasswd":                 `{{ htpasswd "user" "x" }}`,
	"encryptAES":               `{{ encryptAES "key" "text" }}`,
	"genPrivateKey":            `{{ genPrivateKey "ecdsa" | b64enc }}`,
	"genCA":                    `{{ (genCA "ca" 10).Key | b64enc }}`,
	"genCAWithKey":             `{{ (genCAWithKey "ca" 10 .Values.key).Cert | b64enc }}`,
	"genSelfSignedCert":        `{{ (genSelfSignedCert "cn" nil nil 10).Key | b64enc }}`,
	"genSelfSignedCertWithKey": `{{ (genSelfSignedCertWithKey "cn" nil nil 10 .Values.key).Cert | b64enc }}`,
	"genSignedCert":            `{{ (genSignedCert "cn" nil nil 10 (genCA "ca" 10)).Key | b64enc }}`,
	"genSignedCertWithKey":     `{{ (genSignedCertWithKey "cn" nil nil 10 (genCA "ca" 10) .Values.key).Cert | b64enc }}`,
}

func TestGeneratedValues(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range randomCalls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if sprig.TxtFuncMap()[name] == nil {
				t.Fatalf("sprig has no function %s", name)
			}
			files := map[string]string{
				"templates/x.yaml": "apiVersion: v1\nkind: ConfigMap\ndata:\n  v: \"" + call + "\"\n",
			}
			o := LoadOptions{Set: []string{"key=" + strings.ReplaceAll(keyPEM, ",", `\,`)}}
			a, b := mustLoad(t, demoChart(t, files), o), mustLoad(t, demoChart(t, files), o)
			if diff := cmp.Diff(string(a.Manifests), string(b.Manifests)); diff != "" {
				t.Errorf("two renderings differ:\n%s", diff)
			}
			if len(a.Record.Generated) == 0 || a.Record.Generated[len(a.Record.Generated)-1].Count < 1 {
				t.Fatalf("not recorded: %+v", a.Record.Generated)
			}
			found := false
			for _, g := range a.Record.Generated {
				found = found || g == GeneratedValue{Function: name, Template: "templates/x.yaml", Count: 1}
			}
			if !found {
				t.Errorf("records %+v, want one call of %s in templates/x.yaml", a.Record.Generated, name)
			}
			set, err := a.Objects()
			if err != nil || len(set.Objects) != 1 {
				t.Fatal(set, err)
			}
			value := set.Objects[0].Object["data"].(map[string]any)["v"].(string)
			switch name {
			case "randAlphaNum", "randAlpha", "randNumeric", "randAscii", "randBytes", "uuidv4", "bcrypt", "htpasswd",
				"genPrivateKey", "genCA", "genSelfSignedCert", "genSignedCert":
				if !IsGenerated(value) {
					t.Errorf("IsGenerated(%q) = false", value)
				}
			}
		})
	}
}

// TestRandomFunctionsAreReplaced calls every function of sprig without a
// replacement twice, where it can be called without arguments: what differs
// is missing in generatedFunctions.
func TestRandomFunctionsAreReplaced(t *testing.T) {
	t.Parallel()
	replaced := (&rendering{rec: new(recorder)}).generatedFunctions()
	for name := range sprig.TxtFuncMap() {
		for _, prefix := range []string{"rand", "gen", "uuid", "shuffle", "now", "date", "htmlDate", "ago"} {
			if strings.HasPrefix(name, prefix) && replaced[name] == nil && name != "dateModify" && name != "date_modify" {
				t.Errorf("function %s of sprig is not replaced", name)
			}
		}
	}
	for name := range randomCalls {
		if replaced[name] == nil {
			t.Errorf("%s is not replaced", name)
		}
	}
}

func TestGeneratedCertificatesVerify(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM, err := encodeKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", rsaPEM} {
		ca, err := issueCertificate(1, "ca", nil, nil, 10, nil, true, key, generatedKey(), generatedTime)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := issueCertificate(2, "web", []any{"10.0.0.1"}, []any{"web.svc"}, 10, ca, false, "", generatedKey(), generatedTime)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tls.X509KeyPair([]byte(leaf.Cert), []byte(leaf.Key)); err != nil {
			t.Errorf("certificate and key: %v", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(ca.Cert)) {
			t.Fatal("the CA's certificate does not parse")
		}
		block, _ := pem.Decode([]byte(leaf.Cert))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "web.svc", CurrentTime: generatedTime.AddDate(0, 0, 5)}); err != nil {
			t.Errorf("chain: %v", err)
		}
	}
	for name, call := range map[string]func() error{
		"error parsing ip": func() error {
			_, err := issueCertificate(1, "a", []any{"x"}, nil, 1, nil, false, "", generatedKey(), generatedTime)
			return err
		},
		"wrong type": func() error {
			_, err := issueCertificate(1, "a", nil, nil, 1, "ca", false, "", generatedKey(), generatedTime)
			return err
		},
		"no PEM data": func() error {
			_, err := issueCertificate(1, "a", nil, nil, 1, nil, false, "junk", generatedKey(), generatedTime)
			return err
		},
		"unable to decode": func() error { _, err := buildCustomCert("Zm9v", "Zm9v"); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want %q in it", err, name)
		}
	}
}

// TestGeneratedAndEncoded: what templates make of a generated value is none of a secret.
func TestGeneratedAndEncoded(t *testing.T) {
	t.Parallel()
	for call, want := range map[string]bool{
		`randAlphaNum 32 | sha256sum`:                                     true,
		`randAlphaNum 32 | b64enc | sha1sum | b64enc`:                     true,
		`sha512sum (randAlphaNum 32)`:                                     true,
		`sha256sum (printf "%s-%s" "salt" (randAlphaNum 32))`:             true,
		`printf "%s-%s" "admin" (randAlphaNum 16)`:                        true,
		`randAlphaNum 20 | b64enc | b64enc`:                               true,
		`htpasswd "admin" (randAlphaNum 10) | b64enc | b64enc`:            true,
		`randAlphaNum 20 | upper | quote | trimAll "\""`:                  true,
		`printf "%x" (randAlphaNum 20)`:                                   true,
		`sha256sum "hunter2"`:                                             false,
		`sha256sum (print "hunter2\n" (randAlphaNum 20))`:                 false,
		`printf "hunter2\n%s" (randAlphaNum 20) | b64enc`:                 false,
		`printf "x9-Tr0ub4dor-%s" (randAlphaNum 20)`:                      false,
		`htpasswd "admin" "x" | print "root:hunter2\n" | b64enc | b64enc`: false,
	} {
		rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData:\n  v: {{ " + call + " | toJson }}\n"}), LoadOptions{})
		set, err := rel.Objects()
		if err != nil || len(set.Objects) != 1 {
			t.Fatal(call, set, err)
		}
		if value := set.Objects[0].Object["stringData"].(map[string]any)["v"].(string); IsGenerated(value) != want {
			t.Errorf("%s: IsGenerated(%q) = %v", call, value, !want)
		}
	}
}

func TestEncryptAESDecrypts(t *testing.T) {
	t.Parallel()
	decrypt := sprig.TxtFuncMap()["decryptAES"].(func(string, string) (string, error))
	for _, text := range []string{"a", "0123456789abcdef", strings.Repeat("é", 40)} {
		c, err := encryptAES("password", text, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decrypt("password", c); err != nil || got != text {
			t.Errorf("decryptAES gives %q, %v; want %q", got, err, text)
		}
	}
}

func TestIsGenerated(t *testing.T) {
	t.Parallel()
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	realKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	realPEM, err := encodeKey(realKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		s    string
		want bool
	}{
		"key":              {generatedKeyPEM(), true},
		"key, base64":      {base64.StdEncoding.EncodeToString([]byte(generatedKeyPEM())), true},
		"key, indented":    {strings.ReplaceAll(generatedKeyPEM(), "\n", "\n    "), true},
		"text":             {generatedText(32, 17, lowerDigits), true},
		"text, upper case": {strings.ToUpper(generatedText(32, 17, lowerDigits)), true},
		"digits":           {generatedText(12, 3, lowerDigits[:10]), true},
		"hash":             {generatedBcrypt(1), true},
		"twice base64":     {b64(b64(generatedText(20, 3, lowerDigits))), true},
		"base32":           {base32.StdEncoding.EncodeToString([]byte(generatedText(20, 3, lowerDigits))), true},
		"hexadecimal":      {hex.EncodeToString([]byte(generatedText(20, 3, lowerDigits))), true},
		"of a user":        {"admin:" + generatedBcrypt(1), true},
		"of a user, twice": {b64(b64("admin:" + generatedBcrypt(1))), true},
		"beside a word":    {"admin-" + generatedText(16, 3, lowerDigits), true},
		"before a word":    {generatedText(16, 3, lowerDigits) + "_key", true},
		"between":          {b64("sk_live." + generatedText(16, 3, lowerDigits) + ".x"), true},
		"digest":           {generatedDigest(strings.Repeat("0a", 32)), true},
		"digest, base64":   {b64(generatedDigest(strings.Repeat("0a", 20))), true},
		"four times":       {b64(b64(b64(b64(generatedText(20, 3, lowerDigits))))), false},
		"beside a secret":  {"tr0ub4dor3-" + generatedText(16, 3, lowerDigits), false},
		"beside a line":    {"password=hunter2\n" + generatedText(16, 3, lowerDigits), false},
		"hash in a file":   {"root:hunter2\nadmin:" + generatedBcrypt(1), false},
		"hash of a second": {"root:hunter2:" + generatedBcrypt(1), false},
		"real digest":      {strings.Repeat("0a", 32), false},
		"word and word":    {"generated-generator", false},
		"real hash":        {"$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy", false},
		"real key":         {realPEM, false},
		"both keys":        {generatedKeyPEM() + realPEM, false},
		"word":             {"generator", false},
		"password":         {"generated-Tr0ub4dor&3", false},
		"long password":    {"generatedTr0ub4dorXY", false},
		"base64 password":  {base64.StdEncoding.EncodeToString([]byte("hunter2hunter2")), false},
		"empty":            {"", false},
		"short":            {"gen", false},
	} {
		if got := IsGenerated(tt.s); got != tt.want {
			t.Errorf("%s: IsGenerated(%.40q) = %v", name, tt.s, got)
		}
	}
}
