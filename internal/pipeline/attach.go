package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/internal/attach"
)

// AttachTo are the images that a bundle's statements are attached to: those of
// its release, or those of them that are named.
func AttachTo(b *bundle.Bundle, only []string) ([]string, error) {
	all := b.Release().Images
	for _, o := range only {
		if !slices.Contains(all, o) {
			return nil, inputErr("--image %s: the release does not run it; it runs %s", o, strings.Join(all, ", "))
		}
	}
	if len(only) > 0 {
		return only, nil
	}
	if len(all) == 0 {
		return nil, inputErr("bundle %s is about no images", b.ID().Short())
	}
	return all, nil
}

// Attestations are the statements of a verified bundle by image: its verdict and
// its evidence, as they were sealed, and what scanners found, signed now. signer
// is asked for only where a scan is sealed.
func Attestations(ctx context.Context, b *Verified, signer func(context.Context) (attest.Signer, error)) (func(image string) []attach.Attestation, error) {
	list, err := images.Statements(collectors.NewSealed(b, config.RuleControls()))
	if err != nil {
		return nil, err
	}
	scans := map[string][]attach.Attestation{}
	if len(list) > 0 {
		s, err := signer(ctx)
		if err != nil {
			return nil, err
		}
		for _, x := range list {
			raw, err := s.Sign(ctx, &attest.Statement{PredicateType: attest.VulnsType, Predicate: x.Predicate, Subjects: []attest.Subject{{Name: x.Image, Digest: x.Digest}}})
			if err != nil {
				return nil, fmt.Errorf("statement about %s: %w", x.Image, err)
			}
			scans[x.Image] = append(scans[x.Image], attach.Attestation{PredicateType: attest.VulnsType, Bundle: raw})
		}
	}
	return func(image string) []attach.Attestation {
		return slices.Concat([]attach.Attestation{
			{PredicateType: attest.VSAType, Bundle: b.Files[bundle.VSAFile]}, {PredicateType: attest.EvidenceType, Bundle: b.Files[bundle.SignatureFile]},
		}, scans[image])
	}, nil
}
