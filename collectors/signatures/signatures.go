// Package signatures verifies the cosign signatures and attestations of every
// image of a release, by digest, against ClusterImagePolicy files.
//
// Collect fetches manifests, signatures and Sigstore bundles from the registry
// and seals their bytes; Findings verifies them from those bytes alone, by the
// sealed policies and trusted root. No clock is read: a certificate is judged at
// the time that a trusted log or timestamp authority signed.
package signatures

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/kms"
	"github.com/companyos/helmproof/internal/oci"
)

// Name is the collector's name.
const Name = "signatures"

// RuleVerified holds for an image and a policy that matches it: an authority of
// the policy signed the image, and made the attestations that it demands.
const RuleVerified = "signatures/verified"

var rules = collectors.Rules{RuleVerified: evidence.SeverityHigh}

// Names in evidence.zip, and relative to the collector's own folder.
const (
	folder     = "artifacts/" + Name + "/"
	recordFile = "collected.json"
	rootFile   = "trusted-root.json"
)

// Options is what signatures are judged by. The zero value is enough to derive
// findings again: policies and trusted root are sealed.
type Options struct {
	Policies []PolicyFile
	// TrustedRoot is a Sigstore trusted root (trusted_root.json); nil: none.
	TrustedRoot []byte
	// PlainHTTP talks to the registries without TLS.
	PlainHTTP bool
	// Keychain holds the registries' credentials; nil: those of docker login.
	Keychain authn.Keychain
	// Transport makes the requests; nil: remote.DefaultTransport.
	Transport http.RoundTripper
}

// PolicyFile is a file of ClusterImagePolicies.
type PolicyFile struct {
	Name string
	Raw  []byte
}

type collector struct {
	o   Options
	set *policySet // nil without policies
}

// New returns the collector; the error says which field of which policy is wrong.
func New(o Options) (collectors.Collector, error) {
	c := &collector{o: o}
	if len(o.Policies) == 0 {
		return c, nil
	}
	var err error
	c.set, err = parsePolicies(o.Policies, o.TrustedRoot, nil)
	return c, err
}

func (*collector) Name() string { return Name }

func (*collector) Rules() []string { return rules.Names() }

// Collect seals the policies, the trusted root, and what the registries have for
// each image that a policy is about. A registry that does not answer is recorded
// for its images; the others go on.
func (c *collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if c.set == nil {
		return errors.New("no signature policy: give --signature-policy FILE")
	}
	own, err := seal(ctx, c.o, c.set, out, folder)
	if err != nil {
		return err
	}
	rec := record{Lists: *own}
	f, err := newFetcher(c.o, out)
	if err != nil {
		return err
	}
	if rec.Images, err = f.images(ctx, c.set, in.Release.Info.Images); err != nil {
		return err
	}
	return collectors.WriteJSON(out, recordFile, rec)
}

// seal writes what signatures are judged by; prefix is where out's files are in
// evidence.zip. The error is that of ctx, or of writing.
func seal(ctx context.Context, o Options, set *policySet, out evidence.ArtifactWriter, prefix string) (*Lists, error) {
	l := &Lists{Policies: []policyRecord{}}
	for i, f := range o.Policies {
		name := fmt.Sprintf("policies/%03d.yaml", i+1)
		if err := out.Write(name, f.Raw); err != nil {
			return nil, err
		}
		l.Policies = append(l.Policies, policyRecord{Name: filepath.Base(f.Name), Artifact: prefix + name})
	}
	if o.TrustedRoot != nil {
		if err := out.Write(rootFile, o.TrustedRoot); err != nil {
			return nil, err
		}
		l.TrustedRoot = prefix + rootFile
	}
	var err error
	l.Keys, err = sealKeys(ctx, set, out, prefix)
	return l, err
}

// sealKeys asks the services for the keys of the policies. One that does not
// answer is recorded for its key; the error is that of ctx, or of sealing.
func sealKeys(ctx context.Context, set *policySet, out evidence.ArtifactWriter, prefix string) ([]keyRecord, error) {
	var list []keyRecord
	for _, p := range set.policies {
		for _, a := range p.authorities {
			if a.kms != "" && !slices.ContainsFunc(list, func(k keyRecord) bool { return k.Reference == a.kms }) {
				list = append(list, keyRecord{Reference: a.kms})
			}
		}
	}
	slices.SortFunc(list, func(a, b keyRecord) int { return strings.Compare(a.Reference, b.Reference) })
	var g errgroup.Group
	g.SetLimit(maxAtOnce)
	raw := make([][]byte, len(list))
	for i := range list {
		g.Go(func() error {
			key, err := kms.Open(ctx, list[i].Reference)
			if err == nil {
				raw[i], err = key.PublicPEM()
			}
			if err != nil && ctx.Err() == nil {
				list[i].Problem = &oci.Problem{Kind: oci.NoKey, Text: oci.Clip(strings.Join(strings.Fields(err.Error()), " "))}
			}
			return context.Cause(ctx)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Problem != nil {
			continue
		}
		name := fmt.Sprintf("keys/%03d.pem", i+1)
		if err := out.Write(name, raw[i]); err != nil {
			return nil, err
		}
		list[i].Artifact = prefix + name
	}
	return list, nil
}

// record is what is sealed as collected.json: which bytes were fetched for what.
// All fetched bytes are in blobs/, named by their sha256.
type record struct {
	Lists
	Images []imageRecord `json:"images"` // in the order of release.json; only those by digest that a policy is about
}

type policyRecord struct {
	Name     string `json:"name"` // of the file, without its folder: where it lay is no evidence
	Artifact string `json:"artifact"`
}

// keyRecord is the public half of a key in a key management service, as it was
// given when collecting.
type keyRecord struct {
	Reference string       `json:"reference"`
	Artifact  string       `json:"artifact,omitempty"` // PEM
	Problem   *oci.Problem `json:"problem,omitempty"`
}

// imageRecord is what the registry has for one image.
type imageRecord struct {
	Image        string      `json:"image"`        // as written in the manifests
	Manifest     oci.Fetched `json:"manifest"`     // the image's own: it is there, and is what the digest says
	Signatures   oci.Fetched `json:"signatures"`   // tag sha256-….sig
	Attestations oci.Fetched `json:"attestations"` // tag sha256-….att
	Referrers    oci.Fetched `json:"referrers"`    // index of what refers to the image
	// Bundles are the referrers' manifests of Sigstore bundles.
	Bundles []oci.Fetched `json:"bundles,omitempty"`
	// Problems says, by digest, why a blob that a manifest names is not sealed.
	Problems map[string]oci.Problem `json:"problems,omitempty"`
}
