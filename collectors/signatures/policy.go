package signatures

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/internal/keyref"
	"github.com/companyos/helmproof/internal/oci"
)

// Limits on what users give, in bytes and policies.
const (
	maxPolicyFile  = 1 << 20
	maxTrustedRoot = 4 << 20
	maxPolicies    = 1000
)

// The fields of a ClusterImagePolicy that are understood; any other is refused.
// Names and meaning are those of sigstore policy-controller.
type policyDocument struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Spec       policySpec        `json:"spec"`
}

type policySpec struct {
	Images []struct {
		Glob string `json:"glob"`
	} `json:"images"`
	Authorities []authoritySpec `json:"authorities"`
	Mode        string          `json:"mode"`
}

type authoritySpec struct {
	Name string `json:"name"`
	Key  *struct {
		Data          string `json:"data"`
		KMS           string `json:"kms"`
		HashAlgorithm string `json:"hashAlgorithm"`
	} `json:"key"`
	Keyless *struct {
		URL        string         `json:"url"`
		Identities []identitySpec `json:"identities"`
	} `json:"keyless"`
	CTLog *struct {
		URL string `json:"url"`
	} `json:"ctlog"`
	Attestations []struct {
		Name          string `json:"name"`
		PredicateType string `json:"predicateType"`
	} `json:"attestations"`
	SignatureFormat string `json:"signatureFormat"`
}

type identitySpec struct {
	Issuer        string `json:"issuer"`
	Subject       string `json:"subject"`
	IssuerRegExp  string `json:"issuerRegExp"`
	SubjectRegExp string `json:"subjectRegExp"`
}

// policySet is parsed policies, in the order given.
type policySet struct{ policies []*policy }

// policy is one ClusterImagePolicy: one of its authorities has to hold.
type policy struct {
	name        string
	file        int    // index of the file that it is in
	artifact    string // where it is sealed; set by Findings
	globs       []*regexp.Regexp
	warn        bool // mode warn
	authorities []*authority
}

// serviceKey is what a key management service said of a key.
type serviceKey struct {
	pem     []byte
	problem *oci.Problem
}

// authority is one signer that a policy trusts.
type authority struct {
	name         string
	kms          string       // reference of the key in a key management service; may be empty
	unknown      *oci.Problem // why the key is not known
	key          []byte       // PKIX DER of the public key; nil: keyless
	identities   verify.CertificateIdentities
	tlog         bool   // an entry in a transparency log is demanded
	format       string // "legacy", "bundle", or "" for either
	attestations []attestation
	bundles      *verify.Verifier // of Sigstore bundles
	legacy       *verify.Verifier // of signatures under tags
}

// attestation is demanded by predicate type.
type attestation struct{ name, predicateType string }

// predicateTypes are the short names of cosign and policy-controller.
var predicateTypes = map[string]string{
	"custom":           "https://cosign.sigstore.dev/attestation/v1",
	"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
	"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
	"slsaprovenance1":  "https://slsa.dev/provenance/v1",
	"spdx":             "https://spdx.dev/Document",
	"spdxjson":         "https://spdx.dev/Document",
	"cyclonedx":        "https://cyclonedx.org/bom",
	"link":             "https://in-toto.io/Link/v1",
	"vuln":             "https://cosign.sigstore.dev/attestation/vuln/v1",
	"openvex":          "https://openvex.dev/ns",
}

// parsePolicies parses files of ClusterImagePolicies. Whatever is not understood
// is an error that names file, policy and field. keys are those in key management
// services, by reference; nil: not asked yet, and policies with such keys can
// only be matched.
func parsePolicies(files []PolicyFile, trustedRoot []byte, keys map[string]serviceKey) (*policySet, error) {
	var tr *root.TrustedRoot
	if trustedRoot != nil {
		if len(trustedRoot) > maxTrustedRoot {
			return nil, fmt.Errorf("trusted root: %d bytes, at most %d are read", len(trustedRoot), maxTrustedRoot)
		}
		var err error
		if tr, err = root.NewTrustedRootFromJSON(trustedRoot); err != nil {
			return nil, fmt.Errorf("trusted root: %w; `cosign trusted-root create` writes such files", err)
		}
	}
	set := new(policySet)
	names := map[string]string{}
	for i, f := range files {
		list, err := parseFile(f, tr, keys)
		if err != nil {
			return nil, fmt.Errorf("signature policy %s: %w", f.Name, err)
		}
		for _, p := range list {
			if other, ok := names[p.name]; ok {
				return nil, fmt.Errorf("signature policy %s: policy %q is in %s already", f.Name, p.name, other)
			}
			names[p.name], p.file = f.Name, i
		}
		if set.policies = append(set.policies, list...); len(set.policies) > maxPolicies {
			return nil, fmt.Errorf("signature policy %s: more than %d policies", f.Name, maxPolicies)
		}
	}
	return set, nil
}

func parseFile(f PolicyFile, tr *root.TrustedRoot, keys map[string]serviceKey) ([]*policy, error) {
	if len(f.Raw) > maxPolicyFile {
		return nil, fmt.Errorf("%d bytes, at most %d are read", len(f.Raw), maxPolicyFile)
	}
	var out []*policy
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(f.Raw)))
	for n := 1; ; n++ {
		raw, err := docs.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		asJSON, err := yaml.YAMLToJSONStrict(raw)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if string(asJSON) == "null" {
			continue
		}
		p, err := parseDocument(asJSON, tr, keys)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, errors.New("no ClusterImagePolicy in it")
	}
	return out, nil
}

func parseDocument(raw []byte, tr *root.TrustedRoot, keys map[string]serviceKey) (*policy, error) {
	var d policyDocument
	strict, err := kjson.UnmarshalStrict(raw, &d)
	if err != nil {
		return nil, err
	}
	if d.Kind != "ClusterImagePolicy" {
		return nil, fmt.Errorf("kind %q: want ClusterImagePolicy", d.Kind)
	}
	if d.APIVersion != "policy.sigstore.dev/v1beta1" && d.APIVersion != "policy.sigstore.dev/v1alpha1" {
		return nil, fmt.Errorf("apiVersion %q: want policy.sigstore.dev/v1beta1 or v1alpha1", d.APIVersion)
	}
	if d.Metadata.Name == "" {
		return nil, errors.New("metadata.name is empty")
	}
	if len(strict) > 0 {
		// "unknown field "spec.match"": the field may well be one of policy-controller.
		return nil, fmt.Errorf("policy %q: not supported: %w", d.Metadata.Name, errors.Join(strict...))
	}
	p, err := compile(&d, tr, keys)
	if err != nil {
		return nil, fmt.Errorf("policy %q: %w", d.Metadata.Name, err)
	}
	return p, nil
}

func compile(d *policyDocument, tr *root.TrustedRoot, keys map[string]serviceKey) (*policy, error) {
	p := &policy{name: d.Metadata.Name}
	switch d.Spec.Mode {
	case "", "enforce":
	case "warn":
		p.warn = true
	default:
		return nil, fmt.Errorf("spec.mode %q: want enforce or warn", d.Spec.Mode)
	}
	if len(d.Spec.Images) == 0 {
		return nil, errors.New("spec.images is empty: name the images by glob")
	}
	for i, img := range d.Spec.Images {
		re, err := compileGlob(img.Glob)
		if err != nil {
			return nil, fmt.Errorf("spec.images[%d].glob: %w", i, err)
		}
		p.globs = append(p.globs, re)
	}
	if len(d.Spec.Authorities) == 0 {
		return nil, errors.New("spec.authorities is empty: say whose signature is trusted")
	}
	names := map[string]bool{}
	for i := range d.Spec.Authorities {
		a, err := compileAuthority(&d.Spec.Authorities[i], tr, keys)
		if err != nil {
			return nil, fmt.Errorf("spec.authorities[%d].%w", i, err)
		}
		if a.name == "" {
			a.name = fmt.Sprintf("authority-%d", i)
		}
		if names[a.name] {
			return nil, fmt.Errorf("spec.authorities[%d].name %q: there are two of that name", i, a.name)
		}
		names[a.name] = true
		p.authorities = append(p.authorities, a)
	}
	return p, nil
}

// compileAuthority returns errors that begin with a field's name.
func compileAuthority(s *authoritySpec, tr *root.TrustedRoot, keys map[string]serviceKey) (*authority, error) {
	a := &authority{name: s.Name, format: s.SignatureFormat}
	if !slices.Contains([]string{"", "legacy", "bundle"}, a.format) {
		return nil, fmt.Errorf("signatureFormat %q: want legacy or bundle", a.format)
	}
	for i, at := range s.Attestations {
		if at.PredicateType == "" {
			return nil, fmt.Errorf("attestations[%d].predicateType is empty", i)
		}
		uri, ok := predicateTypes[at.PredicateType]
		if !ok {
			if uri = at.PredicateType; !strings.Contains(uri, "://") {
				return nil, fmt.Errorf("attestations[%d].predicateType %q: want a URI or a name that cosign knows, such as slsaprovenance1", i, uri)
			}
		}
		a.attestations = append(a.attestations, attestation{name: at.Name, predicateType: uri})
	}
	t := new(trust)
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	switch {
	case s.Key != nil && s.Keyless != nil:
		return nil, errors.New("key and keyless are both set: want one of them")
	case s.Key != nil:
		if h := s.Key.HashAlgorithm; h != "" && h != "sha256" {
			return nil, fmt.Errorf("key.hashAlgorithm %q: only sha256 is supported", h)
		}
		if err := a.loadAnyKey(s.Key.Data, s.Key.KMS, keys, t); err != nil {
			return nil, fmt.Errorf("key.%w", err)
		}
	case s.Keyless != nil:
		if err := a.loadIdentities(s.Keyless.Identities); err != nil {
			return nil, fmt.Errorf("keyless.%w", err)
		}
		if tr == nil {
			return nil, errors.New("keyless needs the certificate authorities and logs that are trusted: give --trusted-root FILE")
		}
		if err := t.authorities(tr, s.Keyless.URL); err != nil {
			return nil, fmt.Errorf("keyless.url %q: %w", s.Keyless.URL, err)
		}
		options = append(options, verify.WithSignedCertificateTimestamps(1))
		a.tlog = true
	default:
		return nil, errors.New("key or keyless has to be set")
	}
	if s.CTLog != nil && s.Key != nil {
		if tr == nil {
			return nil, errors.New("ctlog needs the logs that are trusted: give --trusted-root FILE")
		}
		a.tlog = true
	}
	if a.tlog {
		url := ""
		if s.CTLog != nil {
			url = s.CTLog.URL
		}
		if err := t.logs(tr, url); err != nil {
			return nil, fmt.Errorf("ctlog.url %q: %w", url, err)
		}
		options = append(options, verify.WithTransparencyLog(1), verify.WithObserverTimestamps(1))
	} else {
		options = append(options, verify.WithNoObserverTimestamps())
	}
	var err error
	if a.bundles, err = verify.NewVerifier(t, options...); err != nil {
		return nil, fmt.Errorf("name %q: %w", a.name, err)
	}
	old := *t
	old.key = t.legacyKey
	if a.legacy, err = verify.NewVerifier(&old, options...); err != nil {
		return nil, fmt.Errorf("name %q: %w", a.name, err)
	}
	return a, nil
}

// loadAnyKey returns errors that begin with a field's name.
func (a *authority) loadAnyKey(data, reference string, keys map[string]serviceKey, t *trust) error {
	switch {
	case data != "" && reference != "":
		return errors.New("data and key.kms are both set: want one of them")
	case reference == "":
		if err := a.loadKey(data, t); err != nil {
			return fmt.Errorf("data: %w", err)
		}
		return nil
	case !keyref.Is(reference):
		return fmt.Errorf("kms %q: want %s", reference, keyref.Want)
	}
	a.kms = reference
	if keys == nil {
		return nil
	}
	switch have, ok := keys[reference]; {
	case !ok:
		a.unknown = &oci.Problem{Kind: oci.NoKey, Text: reference + " was not asked for"}
	case have.problem != nil:
		a.unknown = have.problem
	default:
		if err := a.loadKey(string(have.pem), t); err != nil {
			return fmt.Errorf("kms %q: %w", reference, err)
		}
	}
	return nil
}

func (a *authority) loadKey(data string, t *trust) error {
	block, rest := pem.Decode([]byte(data))
	switch {
	case block == nil:
		return errors.New("want a public key in PEM")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return errors.New("this is a private key: put its public half here, and keep this one secret")
	case len(bytes.TrimSpace(rest)) > 0:
		return errors.New("want one public key in PEM, and nothing after it")
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey([]byte(data))
	if err != nil {
		return err
	}
	if a.key, err = x509.MarshalPKIXPublicKey(pub); err != nil {
		return err
	}
	// In bundles cosign hashes as the key's size demands; under tags always with SHA-256.
	v, err := signature.LoadDefaultVerifier(pub)
	if err != nil {
		return err
	}
	old, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		return err
	}
	t.key = root.NewExpiringKey(v, time.Time{}, time.Time{})
	t.legacyKey = root.NewExpiringKey(old, time.Time{}, time.Time{})
	return nil
}

func (a *authority) loadIdentities(list []identitySpec) error {
	if len(list) == 0 {
		return errors.New("identities is empty: anybody could sign")
	}
	for i, s := range list {
		switch {
		case s.Issuer == "" && s.IssuerRegExp == "":
			return fmt.Errorf("identities[%d]: issuer or issuerRegExp has to be set", i)
		case s.Subject == "" && s.SubjectRegExp == "":
			return fmt.Errorf("identities[%d]: subject or subjectRegExp has to be set", i)
		case s.Issuer != "" && s.IssuerRegExp != "":
			return fmt.Errorf("identities[%d]: issuer and issuerRegExp are both set: want one of them", i)
		case s.Subject != "" && s.SubjectRegExp != "":
			return fmt.Errorf("identities[%d]: subject and subjectRegExp are both set: want one of them", i)
		}
		id, err := verify.NewShortCertificateIdentity(s.Issuer, s.IssuerRegExp, s.Subject, s.SubjectRegExp)
		if err != nil {
			return fmt.Errorf("identities[%d]: %w", i, err)
		}
		a.identities = append(a.identities, id)
	}
	return nil
}

// trust is what one authority accepts: its key, or the trusted root's
// authorities and logs, narrowed to the URLs that the policy names.
type trust struct {
	root.BaseTrustedMaterial
	key *root.ExpiringKey
	// legacyKey is key with the hash of signatures under tags.
	legacyKey *root.ExpiringKey
	cas       []root.CertificateAuthority
	ctlogs    map[string]*root.TransparencyLog
	tlogs     map[string]*root.TransparencyLog
	tsas      []root.TimestampingAuthority
}

func (t *trust) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	if t.key == nil {
		return nil, errors.New("signed with a key, and the policy demands a certificate")
	}
	return t.key, nil
}
func (t *trust) FulcioCertificateAuthorities() []root.CertificateAuthority { return t.cas }
func (t *trust) CTLogs() map[string]*root.TransparencyLog                  { return t.ctlogs }
func (t *trust) RekorLogs() map[string]*root.TransparencyLog               { return t.tlogs }
func (t *trust) TimestampingAuthorities() []root.TimestampingAuthority     { return t.tsas }

// authorities takes the certificate authorities of url, all where it is empty.
func (t *trust) authorities(tr *root.TrustedRoot, url string) error {
	for _, ca := range tr.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); url == "" || ok && sameURL(f.URI, url) {
			t.cas = append(t.cas, ca)
		}
	}
	if len(t.cas) == 0 {
		return errors.New("the trusted root has no such certificate authority")
	}
	t.ctlogs = tr.CTLogs()
	return nil
}

// logs takes the transparency logs of url, all where it is empty.
func (t *trust) logs(tr *root.TrustedRoot, url string) error {
	t.tlogs = map[string]*root.TransparencyLog{}
	for id, l := range tr.RekorLogs() {
		if url == "" || sameURL(l.BaseURL, url) {
			t.tlogs[id] = l
		}
	}
	if len(t.tlogs) == 0 {
		return errors.New("the trusted root has no such transparency log")
	}
	t.tsas = tr.TimestampingAuthorities()
	return nil
}

func sameURL(a, b string) bool { return strings.TrimRight(a, "/") == strings.TrimRight(b, "/") }

var validGlob = regexp.MustCompile(`^[a-zA-Z0-9_:/*.@-]+$`)

// compileGlob reads a glob as policy-controller does: * is anything but a slash,
// ** anything at all, and the whole name has to match; "*" and "*/*" mean Docker Hub.
func compileGlob(glob string) (*regexp.Regexp, error) {
	switch glob {
	case "*":
		glob = "index.docker.io/library/*"
	case "*/*":
		glob = "index.docker.io/*/*"
	}
	if !validGlob.MatchString(glob) {
		return nil, fmt.Errorf("%q: want a glob such as ghcr.io/example/**", glob)
	}
	var b strings.Builder
	for i, part := range strings.Split(glob, "**") {
		if i > 0 {
			b.WriteString(".*")
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(part), `\*`, "[^/]*"))
	}
	return regexp.Compile("^" + b.String() + "$")
}

// matching returns the policies that are about an image: by its full name, or as
// it is written, as policy-controller does.
func (s *policySet) matching(ref name.Reference, image string) []*policy {
	var out []*policy
	for _, p := range s.policies {
		if slices.ContainsFunc(p.globs, func(re *regexp.Regexp) bool { return re.MatchString(ref.Name()) || re.MatchString(image) }) {
			out = append(out, p)
		}
	}
	return out
}
