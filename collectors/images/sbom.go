package images

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// sbomRecord is a software bill of materials that is attached to the image. It
// is recorded by digest, and not sealed.
type sbomRecord struct {
	Subject  evidence.Digest `json:"subject"`          // the manifest that it is attached to
	Digest   evidence.Digest `json:"digest,omitempty"` // of the document
	Format   string          `json:"format,omitempty"` // "CycloneDX 1.6", "SPDX-2.3"
	Packages int             `json:"packages,omitempty"`
	Problem  *oci.Problem    `json:"problem,omitempty"`
}

func sbomType(s string) bool {
	s = strings.ToLower(s)
	return strings.Contains(s, "cyclonedx") || strings.Contains(s, "spdx")
}

// sboms looks for SBOMs: referrers of the subjects, and what BuildKit attests
// within an index. That a registry has none is no problem.
func (r *resolver) sboms(ctx context.Context, out *resolved, repo name.Repository, m *imageManifest, subjects []evidence.Digest) error {
	type found struct{ subject, manifest evidence.Digest }
	var list []found
	for _, s := range subjects {
		raw, p, err := r.client.Referrers(ctx, repo.Digest(string(s)))
		if err != nil {
			return err
		}
		var im v1.IndexManifest
		if p == nil {
			if err := json.Unmarshal(raw, &im); err != nil {
				p = &oci.Problem{Kind: oci.Registry, Text: oci.Clip("index of referrers: " + err.Error())}
			}
		}
		if p != nil {
			if p.Kind != oci.Missing {
				out.rec.SBOMs = append(out.rec.SBOMs, sbomRecord{Subject: s, Problem: p})
			}
			continue
		}
		for i := range im.Manifests {
			d := &im.Manifests[i]
			if sbomType(d.ArtifactType) && d.Digest.Algorithm == "sha256" {
				list = append(list, found{s, evidence.Digest(d.Digest.String())})
			}
		}
	}
	for i := range m.Manifests {
		d := &m.Manifests[i]
		of := evidence.Digest(d.Annotations["vnd.docker.reference.digest"])
		for _, s := range subjects {
			if attestation(d) && s == of && d.Digest.Algorithm == "sha256" {
				list = append(list, found{s, evidence.Digest(d.Digest.String())})
			}
		}
	}
	for _, f := range list[:min(len(list), maxSBOMs)] {
		if err := r.sbom(ctx, out, repo, f.subject, f.manifest); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolver) sbom(ctx context.Context, out *resolved, repo name.Repository, subject, d evidence.Digest) error {
	holder := &resolved{blobs: map[evidence.Digest][]byte{}} // the manifest is not sealed
	got, err := r.manifest(ctx, holder, repo.Digest(string(d)))
	if err != nil {
		return err
	}
	rec := sbomRecord{Subject: subject, Problem: got.Problem}
	m, err := parseManifest(holder.blobs[got.Digest])
	if got.Problem != nil || err != nil {
		if err != nil && rec.Problem == nil {
			rec.Problem = &oci.Problem{Kind: oci.Registry, Text: err.Error()}
		}
		out.rec.SBOMs = append(out.rec.SBOMs, rec)
		return nil
	}
	for _, l := range m.Layers {
		if !sbomType(string(l.MediaType)) && !sbomType(l.Annotations["in-toto.io/predicate-type"]) || l.Digest.Algorithm != "sha256" {
			continue
		}
		rec := sbomRecord{Subject: subject}
		ref := repo.Digest(l.Digest.String())
		raw, p, err := r.client.Blob(ctx, ref, maxSBOM)
		switch {
		case err != nil:
			return err
		case p != nil && p.Kind == oci.Missing:
			rec.Problem = &oci.Problem{Kind: oci.Missing, Text: ref.Name()}
		case p != nil:
			rec.Problem = p
		default:
			rec.Digest = evidence.DigestOf(raw)
			if rec.Format, rec.Packages = describeSBOM(raw); rec.Format == "" {
				rec.Problem = &oci.Problem{Kind: oci.Registry, Text: "neither CycloneDX nor SPDX, JSON"}
			}
		}
		out.rec.SBOMs = append(out.rec.SBOMs, rec)
	}
	return nil
}

// describeSBOM tells the format of a document and how many packages it lists; an
// empty format: it is none. The document may be the predicate of a statement.
func describeSBOM(raw []byte) (format string, packages int) {
	var doc struct {
		BOMFormat   string            `json:"bomFormat"`
		SpecVersion string            `json:"specVersion"`
		SPDXVersion string            `json:"spdxVersion"`
		Components  []json.RawMessage `json:"components"`
		Packages    []json.RawMessage `json:"packages"`
		Predicate   json.RawMessage   `json:"predicate"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", 0
	}
	switch {
	case doc.BOMFormat == "CycloneDX":
		return "CycloneDX " + oci.Clip(doc.SpecVersion), len(doc.Components)
	case strings.HasPrefix(doc.SPDXVersion, "SPDX-"):
		return oci.Clip(doc.SPDXVersion), len(doc.Packages)
	case len(doc.Predicate) > 0 && doc.Predicate[0] == '{':
		return describePredicate(doc.Predicate)
	}
	return "", 0
}

// describePredicate is describeSBOM for what a statement says; it does not go deeper.
func describePredicate(raw []byte) (string, int) {
	var inner map[string]json.RawMessage
	if err := json.Unmarshal(raw, &inner); err != nil {
		return "", 0
	}
	delete(inner, "predicate")
	again, err := json.Marshal(inner)
	if err != nil {
		return "", 0
	}
	return describeSBOM(again)
}
