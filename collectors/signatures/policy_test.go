package signatures

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/companyos/helmproof/collectors/signatures/signtest"
)

const testKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
`

// TestPolicyRefused has one policy per rule of the format, each with what is wrong.
func TestPolicyRefused(t *testing.T) {
	t.Parallel()
	good := string(policyYAML("demo", keyAuthority(testKey)).Raw)
	keyless := string(policyYAML("demo", keylessAuthority).Raw)
	trusted := string(newSigstore(t).TrustedRoot(t))
	private, err := x509.MarshalPKCS8PrivateKey(newKey(t))
	check(t, err)
	privatePEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	replace := func(s, old, with string) string {
		if !strings.Contains(s, old) {
			t.Fatalf("%q is not in %s", old, s)
		}
		return strings.Replace(s, old, with, 1)
	}
	keyBlock := "      key:\n        data: |\n          " + strings.ReplaceAll(strings.TrimSpace(testKey), "\n", "\n          ") + "\n"
	for title, tt := range map[string]struct {
		yaml, root, want string
	}{
		"empty":               {"", "", "no ClusterImagePolicy in it"},
		"not YAML":            {"a: [", "", "document 1: "},
		"another kind":        {"apiVersion: policy.sigstore.dev/v1alpha1\nkind: TrustRoot\n", "", `kind "TrustRoot": want ClusterImagePolicy`},
		"another version":     {replace(good, "v1beta1", "v2"), "", `apiVersion "policy.sigstore.dev/v2"`},
		"no name":             {replace(good, "  name: demo\n", "  labels: {}\n"), "", "metadata.name is empty"},
		"match":               {good + "  match: [{resource: pods}]\n", "", `not supported: unknown field "spec.match"`},
		"policy":              {good + "  policy: {type: cue}\n", "", `unknown field "spec.policy"`},
		"status":              {good + "status: {}\n", "", `unknown field "status"`},
		"static":              {good + "    - static: {action: pass}\n", "", `unknown field "spec.authorities[1].static"`},
		"source":              {good + "      source: [{oci: example.com/a}]\n", "", `unknown field "spec.authorities[0].source"`},
		"rfc3161timestamp":    {good + "      rfc3161timestamp: {trustRootRef: a}\n", "", `unknown field "spec.authorities[0].rfc3161timestamp"`},
		"kms of no service":   {replace(good, keyBlock, "      key: {kms: \"k8s://a/b\"}\n"), "", `spec.authorities[0].key.kms "k8s://a/b": want awskms://`},
		"kms, a program":      {replace(good, keyBlock, "      key: {kms: \"ls://a\"}\n"), "", `spec.authorities[0].key.kms "ls://a": want awskms://`},
		"kms and data":        {replace(good, "key:\n", "key:\n        kms: gcpkms://a\n"), "", "spec.authorities[0].key.data and key.kms are both set"},
		"secretRef":           {replace(good, keyBlock, "      key: {secretRef: {name: a}}\n"), "", `unknown field "spec.authorities[0].key.secretRef"`},
		"insecureIgnoreSCT":   {replace(keyless, "keyless:\n", "keyless:\n        insecureIgnoreSCT: true\n"), trusted, `unknown field "spec.authorities[0].keyless.insecureIgnoreSCT"`},
		"ca-cert":             {replace(keyless, "keyless:\n", "keyless:\n        ca-cert: {data: a}\n"), trusted, `unknown field "spec.authorities[0].keyless.ca-cert"`},
		"trustRootRef":        {replace(keyless, "keyless:\n", "keyless:\n        trustRootRef: a\n"), trusted, `unknown field "spec.authorities[0].keyless.trustRootRef"`},
		"attestation policy":  {good + "      attestations: [{name: a, predicateType: vuln, policy: {type: cue}}]\n", "", `unknown field "spec.authorities[0].attestations[0].policy"`},
		"case":                {replace(good, "  images:", "  Images:"), "", `unknown field "spec.Images"`},
		"twice":               {good + "  images: []\n", "", `key "images" already set`},
		"mode":                {good + "  mode: audit\n", "", `spec.mode "audit": want enforce or warn`},
		"no images":           {replace(good, "  images:\n    - glob: \"**\"\n", ""), "", "spec.images is empty"},
		"no glob":             {replace(good, `"**"`, `""`), "", "spec.images[0].glob"},
		"regexp as a glob":    {replace(good, `"**"`, `"ghcr.io/(a|b)"`), "", "want a glob"},
		"no authorities":      {replace(good, keyAuthority(testKey), "    []\n"), "", "spec.authorities is empty"},
		"two of a name":       {good + keyAuthority(testKey), "", `spec.authorities[1].name "team": there are two of that name`},
		"nothing in it":       {replace(good, keyBlock, ""), "", "spec.authorities[0].key or keyless has to be set"},
		"key and keyless":     {good + "      keyless: {identities: []}\n", "", "key and keyless are both set"},
		"no key":              {replace(good, keyBlock, "      key: {data: abc}\n"), "", "key.data: want a public key in PEM"},
		"private key":         {string(policyYAML("demo", keyAuthority(privatePEM)).Raw), "", "key.data: this is a private key"},
		"two keys":            {string(policyYAML("demo", keyAuthority(testKey+testKey)).Raw), "", "want one public key"},
		"sha512":              {good + "        hashAlgorithm: sha512\n", "", `key.hashAlgorithm "sha512"`},
		"format":              {good + "      signatureFormat: v4\n", "", `signatureFormat "v4": want legacy or bundle`},
		"no predicate type":   {good + "      attestations: [{name: a}]\n", "", "attestations[0].predicateType is empty"},
		"a name nobody knows": {good + "      attestations: [{name: a, predicateType: slsa}]\n", "", `attestations[0].predicateType "slsa"`},
		"no trusted root":     {keyless, "", "spec.authorities[0].keyless needs the certificate authorities and logs that are trusted: give --trusted-root FILE"},
		"log without a root":  {good + "      ctlog: {}\n", "", "ctlog needs the logs that are trusted"},
		"another Fulcio":      {replace(keyless, "keyless:\n", "keyless:\n        url: https://fulcio.sigstore.dev\n"), trusted, `keyless.url "https://fulcio.sigstore.dev": the trusted root has no such certificate authority`},
		"another Rekor":       {good + "      ctlog: {url: \"https://rekor.sigstore.dev\"}\n", trusted, `ctlog.url "https://rekor.sigstore.dev": the trusted root has no such transparency log`},
		"no identities":       {replace(keyless, keyless[strings.Index(keyless, "        identities:"):], "        identities: []\n"), trusted, "keyless.identities is empty"},
		"no issuer":           {replace(keyless, "issuer: "+issuer, "subject: \"\""), trusted, "identities[0]: issuer or issuerRegExp has to be set"},
		"no subject":          {replace(keyless, `subjectRegExp: ^https://github\.com/example/`, ""), trusted, "identities[0]: subject or subjectRegExp has to be set"},
		"two issuers":         {replace(keyless, "issuer: "+issuer, "issuer: a\n            issuerRegExp: b"), trusted, "issuer and issuerRegExp are both set"},
		"broken regexp":       {replace(keyless, `^https://github\.com/example/`, `"("`), trusted, "identities[0]: error parsing regexp"},
		"broken root":         {keyless, "{}", "trusted root: unsupported TrustedRoot media type"},
		"same name":           {good + "---\n" + good, "", `policy "demo" is in demo.yaml already`},
		"second document":     {good + "---\nkind: List\n", "", `document 2: kind "List"`},
		"too large":           {good + strings.Repeat("# filler\n", maxPolicyFile/8), "", "bytes, at most"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			o := Options{Policies: []PolicyFile{{Name: "demo.yaml", Raw: []byte(tt.yaml)}}}
			if tt.root != "" {
				o.TrustedRoot = []byte(tt.root)
			}
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		glob, image string
		want        bool
	}{
		{"**", "ghcr.io/a/b", true},
		{"ghcr.io/a/*", "ghcr.io/a/b", true},
		{"ghcr.io/a/*", "ghcr.io/a/b/c", false},
		{"ghcr.io/a/**", "ghcr.io/a/b/c", true},
		{"ghcr.io/a/**", "ghcrxio/a/b", false},
		{"ghcr.io/a", "ghcr.io/a/b", false},
		{"ghcr.io/a/b@sha256:*", "ghcr.io/a/b", true},
		{"*", "nginx", true},
		{"*", "team/api", false},
		{"*/*", "team/api", true},
		{"index.docker.io/library/nginx@*", "nginx", true},
		{"nginx*", "nginx", true}, // as it is written
		{"evil.io/ghcr.io/a/*", "ghcr.io/a/b", false},
		{"ghcr.io/a/*", "evil.io/ghcr.io/a/b", false},
	} {
		re, err := compileGlob(tt.glob)
		check(t, err)
		image := tt.image + "@" + otherDigest
		ref, err := name.ParseReference(image)
		check(t, err)
		s := &policySet{policies: []*policy{{globs: nil}}}
		s.policies[0].globs = append(s.policies[0].globs, re)
		if got := len(s.matching(ref, image)) == 1; got != tt.want {
			t.Errorf("glob %s matches %s: %v", tt.glob, tt.image, got)
		}
	}
}

// TestKeyTypes signs with each type of key that cosign makes or takes.
func TestKeyTypes(t *testing.T) {
	t.Parallel()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	for title, tt := range map[string]struct {
		key          crypto.Signer
		bundle, tags crypto.Hash
	}{
		"P-256":   {newKey(t), crypto.SHA256, crypto.SHA256},
		"P-384":   {p384, crypto.SHA384, crypto.SHA256},
		"RSA":     {rsaKey, crypto.SHA256, crypto.SHA256},
		"Ed25519": {ed, 0, 0},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, nil)
			signWith := func(hash crypto.Hash, message []byte) []byte {
				if hash != 0 {
					sum := hash.New()
					sum.Write(message)
					message = sum.Sum(nil)
				}
				sig, err := tt.key.Sign(rand.Reader, message, hash)
				check(t, err)
				return sig
			}
			for _, legacy := range []bool{true, false} {
				ref := h.Push(t, "team/api", title)
				if legacy {
					p := simplePayload(ref, ref.DigestStr())
					attachLegacy(t, ref, ".sig", legacyLayer(p, signWith(tt.tags, p)))
				} else {
					ref = h.Push(t, "team/bundles", title)
					p := statementOf(signPredicate, ref.DigestStr())
					attachBundle(t, ref, signtest.KeyBundleSigned(t, tt.key, p, signWith(tt.bundle, pae(p))))
				}
				o := Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(publicPEM(t, tt.key)))}}
				verdict(t, derive(t, collect(t, o, ref.String())), want{"pass", []string{"signed by the key"}})
			}
		})
	}
}

func FuzzPolicies(f *testing.F) {
	f.Add(policyYAML("demo", keyAuthority(testKey)).Raw)
	f.Add(policyYAML("demo", keylessAuthority).Raw)
	f.Add([]byte("---\n---\nkind: List\n"))
	f.Add([]byte("apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: a}\nspec: {images: [{glob: \"*\"}], authorities: [{}]}\n"))
	root := newSigstore(f).TrustedRoot(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := parsePolicies([]PolicyFile{{Name: "f", Raw: raw}}, root, nil)
		if err != nil {
			if set != nil {
				t.Error("policies beside an error")
			}
			return
		}
		for _, p := range set.policies {
			if p.name == "" || len(p.globs) == 0 || len(p.authorities) == 0 {
				t.Errorf("policy without name, images or authorities: %q", raw)
			}
			for _, a := range p.authorities {
				if a.bundles == nil || a.legacy == nil || a.key == nil && len(a.identities) == 0 {
					t.Errorf("authority that trusts nobody, or anybody: %q", raw)
				}
			}
		}
	})
}

func FuzzCandidates(f *testing.F) {
	ref, err := name.NewDigest("example.com/a@" + otherDigest)
	check(f, err)
	f.Add(simplePayload(ref, otherDigest), uint8(0))
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"AA=="}]}`), uint8(1))
	f.Add(keyBundle(f, newKey(f), statementOf(signPredicate, otherDigest)), uint8(2))
	set, err := parsePolicies([]PolicyFile{policyYAML("demo", keyAuthority(testKey))}, nil, nil)
	check(f, err)
	f.Fuzz(func(t *testing.T, raw []byte, kind uint8) {
		c := candidate{legacy: kind%3 != 2}
		l := legacyLayer(raw, bytes.Repeat([]byte{1}, 8))
		desc := v1.Descriptor{MediaType: l.MediaType, Size: int64(len(l.Content)), Annotations: l.Annotations}
		if kind%3 == 1 {
			desc.MediaType = dsseType
		}
		var err error
		if c.legacy {
			err = c.readLegacy(&desc, raw)
		} else {
			err = c.readBundle(raw)
		}
		if err != nil {
			return
		}
		if _, err := set.policies[0].authorities[0].check(&c, otherDigest); err == nil {
			t.Errorf("verified: %q", raw)
		}
	})
}
