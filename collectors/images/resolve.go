package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// Limits on what is read of a registry.
const (
	maxConfig = 4 << 20  // of an image's configuration, in bytes
	maxSBOM   = 64 << 20 // of one SBOM, in bytes
	maxSBOMs  = 8        // of one image
	maxAtOnce = 8        // images
)

// resolved is what the registry said of an image, with the bytes.
type resolved struct {
	rec   imageRecord
	blobs map[evidence.Digest][]byte
}

// digests are those by which a report may be about the image.
func (r *resolved) digests() []evidence.Digest {
	p, err := parseImage(r.rec.Image)
	if err != nil {
		return nil
	}
	v := viewOf(&r.rec, p, func(d evidence.Digest) ([]byte, error) {
		raw, ok := r.blobs[d]
		if !ok {
			return nil, fmt.Errorf("%s was not fetched", d)
		}
		return raw, nil
	})
	out := []evidence.Digest{}
	if v.digest != "" {
		out = append(out, v.digest)
	}
	for _, m := range v.platforms {
		out = append(out, m.digest, m.config)
	}
	return slices.DeleteFunc(out, func(d evidence.Digest) bool { return d == "" })
}

// resolver asks registries; each image once.
type resolver struct {
	client    *oci.Client
	names     []name.Option
	platforms []string
}

func newResolver(src *Sources) (*resolver, error) {
	o := oci.Options{PlainHTTP: src.PlainHTTP, Keychain: src.Keychain, Transport: src.Transport}
	client, err := oci.NewClient(o)
	if err != nil {
		return nil, err
	}
	return &resolver{client: client, names: o.Names(), platforms: src.Platforms}, nil
}

// all resolves the images; one of which the registry does not answer is recorded
// so, and the others go on. The error is that of ctx.
func (r *resolver) all(ctx context.Context, images []string, done func()) ([]*resolved, error) {
	out := make([]*resolved, len(images))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxAtOnce)
	for i, image := range images {
		g.Go(func() error {
			var err error
			out[i], err = r.image(ctx, image)
			if done != nil {
				done()
			}
			return err
		})
	}
	return out, g.Wait()
}

func (r *resolver) image(ctx context.Context, image string) (*resolved, error) {
	out := &resolved{rec: imageRecord{Image: image}, blobs: map[evidence.Digest][]byte{}}
	p, err := parseImage(image, r.names...)
	if err != nil {
		return out, nil //nolint:nilerr // the judge parses it again, and says so
	}
	if p.tag != "" {
		f, err := r.manifest(ctx, out, p.repo.Tag(p.tag))
		if err != nil {
			return nil, err
		}
		out.rec.Tag, out.rec.Manifest = &f, f
	}
	if p.digest != "" {
		if out.rec.Manifest, err = r.manifest(ctx, out, p.repo.Digest(string(p.digest))); err != nil {
			return nil, err
		}
	}
	return out, r.describe(ctx, out, p)
}

// describe fetches what the manifest leads to.
func (r *resolver) describe(ctx context.Context, out *resolved, p parsedImage) error {
	raw, ok := out.blobs[out.rec.Manifest.Digest]
	if !ok {
		return nil
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil //nolint:nilerr // the judge parses the sealed bytes again, and says so
	}
	subjects := []evidence.Digest{out.rec.Manifest.Digest}
	if m.index() {
		out.rec.Platforms = map[string]oci.Fetched{}
		for _, platform := range r.platforms {
			d := m.of(platform)
			if d == "" {
				continue
			}
			if out.rec.Platforms[platform], err = r.manifest(ctx, out, p.repo.Digest(string(d))); err != nil {
				return err
			}
			subjects = append(subjects, d)
		}
	} else if m.Config.Digest.Algorithm == "sha256" {
		ref := p.repo.Digest(m.Config.Digest.String())
		raw, problem, err := r.client.Blob(ctx, ref, maxConfig)
		if err != nil {
			return err
		}
		f := oci.Record(ref, raw, problem)
		if problem == nil {
			out.blobs[f.Digest] = raw
		}
		out.rec.Config = &f
	}
	return r.sboms(ctx, out, p.repo, m, subjects)
}

// manifest fetches a manifest.
func (r *resolver) manifest(ctx context.Context, out *resolved, ref name.Reference) (oci.Fetched, error) {
	raw, p, err := r.client.Manifest(ctx, ref)
	if err != nil {
		return oci.Fetched{}, err
	}
	f := oci.Record(ref, raw, p)
	if p == nil {
		out.blobs[f.Digest] = raw
	}
	return f, nil
}

// imageManifest is an index or the manifest of one image.
type imageManifest struct {
	MediaType string          `json:"mediaType"`
	Config    v1.Descriptor   `json:"config"`
	Layers    []v1.Descriptor `json:"layers"`
	Manifests []v1.Descriptor `json:"manifests"`
}

func parseManifest(raw []byte) (*imageManifest, error) {
	m := new(imageManifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("its manifest cannot be read: %w", err)
	}
	if (m.Config.Digest == v1.Hash{}) == (m.Manifests == nil) {
		return nil, errors.New("its manifest is neither that of an image nor an index")
	}
	return m, nil
}

func (m *imageManifest) index() bool { return m.Manifests != nil }

// attestation reports whether an entry of an index is no image but says
// something of one, as BuildKit writes it.
func attestation(d *v1.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}

func platformOf(p *v1.Platform) string {
	if p == nil || p.OS == "" {
		return ""
	}
	return strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
}

// of returns the digest for a platform; empty: there is none.
func (m *imageManifest) of(platform string) evidence.Digest {
	for i := range m.Manifests {
		d := &m.Manifests[i]
		if !attestation(d) && samePlatform(platformOf(d.Platform), platform) && d.Digest.Algorithm == "sha256" {
			return evidence.Digest(d.Digest.String())
		}
	}
	return ""
}

// all lists the platforms of an index.
func (m *imageManifest) all() []string {
	var out []string
	for i := range m.Manifests {
		if d := &m.Manifests[i]; !attestation(d) {
			if p := platformOf(d.Platform); p != "" {
				out = append(out, p)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// resolved seals what was fetched of an image.
func (s *sealer) resolved(rec *record, r *resolved) error {
	for _, d := range sortedKeys(r.blobs) {
		if err := s.write(blobName(d), r.blobs[d]); err != nil {
			return err
		}
	}
	rec.Images = append(rec.Images, r.rec)
	return nil
}

// view is what the sealed answers of the registry say of an image.
type view struct {
	known  bool            // the registry was asked
	digest evidence.Digest // pinned, or what the tag names
	index  bool
	listed []string // platforms of the index
	// platforms are the images for the policy's platforms, by platform; the one of a
	// plain manifest by its own.
	platforms map[string]platformImage
	problem   string // why it is not known
	missing   bool   // the registry does not have the digest
}

// of returns the image for a platform, as whatever spelling of it was asked for.
func (v *view) of(platform string) (platformImage, bool) {
	if pi, ok := v.platforms[platform]; ok {
		return pi, true
	}
	for have, pi := range v.platforms {
		if samePlatform(have, platform) {
			return pi, true
		}
	}
	return platformImage{}, false
}

type platformImage struct {
	digest, config evidence.Digest
	problem        string
}

// viewOf reads the record of an image; rec is nil where the registry was not asked.
func viewOf(rec *imageRecord, p parsedImage, blob func(evidence.Digest) ([]byte, error)) view {
	v := view{digest: p.digest, platforms: map[string]platformImage{}}
	if rec == nil {
		return v
	}
	v.known = true
	fetch := func(f *oci.Fetched, want evidence.Digest) []byte {
		switch {
		case f.Problem != nil:
			v.problem = f.Problem.String()
		case f.Missing:
			v.missing, v.problem = true, "the registry does not have "+f.Reference
		case want != "" && f.Digest != want:
			v.problem = fmt.Sprintf("the sealed answer of the registry is of %s, not of %s", f.Digest.Short(), want.Short())
		default:
			raw, err := blob(f.Digest)
			if err == nil && evidence.DigestOf(raw) != f.Digest {
				err = fmt.Errorf("the sealed bytes of %s are others: altered, or redacted because a secret is in them", f.Digest)
			}
			if err == nil {
				return raw
			}
			v.problem = err.Error()
		}
		return nil
	}
	raw := fetch(&rec.Manifest, p.digest)
	if raw == nil {
		return v
	}
	v.digest = rec.Manifest.Digest
	m, err := parseManifest(raw)
	if err != nil {
		v.problem = err.Error()
		return v
	}
	if v.index = m.index(); v.index {
		v.listed = m.all()
		for _, platform := range sortedKeys(rec.Platforms) {
			f := rec.Platforms[platform]
			pi := platformImage{digest: m.of(platform)}
			if raw := fetch(&f, pi.digest); raw == nil {
				pi.problem, v.problem, v.missing = v.problem, "", false
			} else if child, err := parseManifest(raw); err != nil || child.index() {
				pi.problem = "the manifest for " + platform + " cannot be read"
			} else {
				pi.config = evidence.Digest(child.Config.Digest.String())
			}
			v.platforms[platform] = pi
		}
		return v
	}
	pi := platformImage{digest: v.digest, config: evidence.Digest(m.Config.Digest.String())}
	own := ""
	if rec.Config == nil {
		pi.problem = "its configuration was not asked for"
	} else if raw := fetch(rec.Config, pi.config); raw == nil {
		pi.problem, v.problem, v.missing = v.problem, "", false
	} else {
		var platform v1.Platform
		if err := json.Unmarshal(raw, &platform); err != nil {
			pi.problem = "its configuration cannot be read: " + err.Error()
		}
		own = platformOf(&platform)
	}
	v.platforms[own] = pi
	return v
}
