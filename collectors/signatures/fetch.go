package signatures

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// Limits on what is sealed of a registry, in bytes, manifests and blobs. What is
// over them is recorded as a problem; a manifest has at most 4 MiB, by the registry client.
const (
	maxBlob      = 16 << 20
	maxTotal     = 256 << 20 // of all images of the release
	maxReferrers = 64        // bundles of one image
	maxLayers    = 64        // signatures under one tag
	maxAtOnce    = 8         // images
)

// The media types that are looked for.
const (
	simpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseType          = "application/vnd.dsse.envelope.v1+json"
	bundlePrefix      = "application/vnd.dev.sigstore.bundle"
	emptyType         = "application/vnd.oci.empty.v1+json"
)

// fetcher seals what registries have; each blob once.
type fetcher struct {
	out    evidence.ArtifactWriter
	client *oci.Client
	names  []name.Option

	mu     sync.Mutex
	sealed map[evidence.Digest]bool
	total  int64
	limit  int64 // of total
}

func newFetcher(o Options, out evidence.ArtifactWriter) (*fetcher, error) {
	how := oci.Options{PlainHTTP: o.PlainHTTP, Keychain: o.Keychain, Transport: o.Transport}
	client, err := oci.NewClient(how)
	if err != nil {
		return nil, err
	}
	return &fetcher{out: out, client: client, names: how.Names(), sealed: map[evidence.Digest]bool{}, limit: maxTotal}, nil
}

// images fetches what there is for each image by digest that a policy is about.
// The error is that of ctx, or of sealing.
func (f *fetcher) images(ctx context.Context, set *policySet, images []string) ([]imageRecord, error) {
	found := make([]*imageRecord, len(images))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxAtOnce)
	for i, image := range images {
		ref, err := name.NewDigest(image, f.names...)
		if err != nil || !strings.HasPrefix(ref.DigestStr(), "sha256:") || len(set.matching(ref, image)) == 0 {
			continue // Findings says so of it
		}
		g.Go(func() error {
			rec, err := f.image(ctx, image, ref)
			found[i] = rec
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := []imageRecord{}
	for _, r := range found {
		if r != nil {
			out = append(out, *r)
		}
	}
	return out, nil
}

func (f *fetcher) image(ctx context.Context, image string, ref name.Digest) (*imageRecord, error) {
	rec := &imageRecord{Image: image, Problems: map[string]oci.Problem{}}
	var err error
	if rec.Manifest, _, err = f.manifest(ctx, ref); err != nil {
		return nil, err
	}
	if rec.Manifest.Problem != nil || rec.Manifest.Missing {
		return rec, nil //nolint:nilerr // the problem is recorded: nothing is verified of an image that could not be seen
	}
	tag := strings.Replace(ref.DigestStr(), ":", "-", 1)
	for suffix, to := range map[string]*oci.Fetched{".sig": &rec.Signatures, ".att": &rec.Attestations} {
		var m *v1.Manifest
		if *to, m, err = f.manifest(ctx, ref.Context().Tag(tag+suffix)); err != nil {
			return nil, err
		}
		if err := f.layers(ctx, ref.Context(), rec, m); err != nil {
			return nil, err
		}
	}
	return rec, f.referrers(ctx, rec, ref)
}

// manifest fetches and seals one manifest. What cannot be parsed is sealed all
// the same; m is nil then.
func (f *fetcher) manifest(ctx context.Context, ref name.Reference) (out oci.Fetched, m *v1.Manifest, err error) {
	raw, p, err := f.client.Manifest(ctx, ref)
	if err != nil {
		return out, nil, err
	}
	if out = oci.Record(ref, raw, p); p != nil {
		return out, nil, nil //nolint:nilerr // what the registry lacks is evidence, not an error
	}
	if out.Digest, out.Problem, err = f.seal(raw); err != nil || out.Problem != nil {
		return out, nil, err
	}
	m = new(v1.Manifest)
	if json.Unmarshal(raw, m) != nil {
		return out, nil, nil //nolint:nilerr // Findings parses the sealed bytes again, and says so
	}
	return out, m, nil
}

// layers seals the layers of a manifest that are signatures or bundles.
func (f *fetcher) layers(ctx context.Context, repo name.Repository, rec *imageRecord, m *v1.Manifest) error {
	if m == nil {
		return nil
	}
	for i, l := range m.Layers {
		if i == maxLayers {
			return nil // Findings stops there too, and says so
		}
		if !signatureLayer(string(l.MediaType)) || l.Digest.Algorithm != "sha256" {
			continue
		}
		d := l.Digest.String()
		p, err := f.blob(ctx, repo.Digest(d), l.Size)
		if err != nil {
			return err
		}
		if p != nil {
			rec.Problems[d] = *p
		}
	}
	return nil
}

func signatureLayer(mediaType string) bool {
	return mediaType == simpleSigningType || mediaType == dsseType || strings.HasPrefix(mediaType, bundlePrefix)
}

func (f *fetcher) blob(ctx context.Context, ref name.Digest, size int64) (*oci.Problem, error) {
	if size > maxBlob {
		return &oci.Problem{Kind: oci.TooLarge, Text: fmt.Sprintf("%s has %d bytes, at most %d are read", ref.DigestStr(), size, maxBlob)}, nil
	}
	if f.has(evidence.Digest(ref.DigestStr())) {
		return nil, nil
	}
	raw, p, err := f.client.Blob(ctx, ref, maxBlob)
	if err != nil || p != nil {
		return p, err
	}
	_, p, err = f.seal(raw)
	return p, err
}

// referrers seals the index of what refers to the image, and the Sigstore bundles in it.
func (f *fetcher) referrers(ctx context.Context, rec *imageRecord, ref name.Digest) error {
	rec.Referrers.Reference = ref.Name()
	raw, p, err := f.client.Referrers(ctx, ref)
	if err != nil || p != nil {
		rec.Referrers.Problem = p
		return err
	}
	if rec.Referrers.Digest, rec.Referrers.Problem, err = f.seal(raw); err != nil || rec.Referrers.Problem != nil {
		return err
	}
	idx, err := parseIndex(raw)
	if err != nil {
		return nil //nolint:nilerr // Findings parses the sealed bytes again, and says so
	}
	list, _ := bundlesOf(idx)
	for _, d := range list {
		got, m, err := f.manifest(ctx, ref.Context().Digest(d))
		if err != nil {
			return err
		}
		rec.Bundles = append(rec.Bundles, got)
		if err := f.layers(ctx, ref.Context(), rec, m); err != nil {
			return err
		}
	}
	return nil
}

func parseIndex(raw []byte) (*v1.IndexManifest, error) {
	idx := new(v1.IndexManifest)
	if err := json.Unmarshal(raw, idx); err != nil {
		return nil, err
	}
	return idx, nil
}

// bundlesOf returns the digests of the referrers that are, or may be, Sigstore
// bundles, sorted, and whether these are all: there are maxReferrers at most.
func bundlesOf(idx *v1.IndexManifest) (list []string, all bool) {
	var out []string
	for _, m := range idx.Manifests {
		if t := m.ArtifactType; m.Digest.Algorithm == "sha256" && (t == "" || t == emptyType || strings.HasPrefix(t, bundlePrefix)) {
			out = append(out, m.Digest.String())
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxReferrers)], len(out) <= maxReferrers
}

func (f *fetcher) has(d evidence.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sealed[d]
}

// seal writes a blob under its digest, once.
func (f *fetcher) seal(raw []byte) (evidence.Digest, *oci.Problem, error) {
	d := evidence.DigestOf(raw)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sealed[d] {
		return d, nil, nil
	}
	if f.total+int64(len(raw)) > f.limit {
		return "", &oci.Problem{Kind: oci.TooLarge, Text: fmt.Sprintf("the signatures of this release have more than the %d bytes that are read", f.limit)}, nil
	}
	f.total += int64(len(raw))
	f.sealed[d] = true
	return d, nil, f.out.Write(blobName(d), raw)
}

func blobName(d evidence.Digest) string { return "blobs/sha256-" + d.Hex() }

// clip bounds the text of an error, which outsiders may have written.
