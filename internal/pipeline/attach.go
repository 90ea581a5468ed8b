package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
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

// Bounded refuses, as the gate does at that time, a pass that rests on waivers which
// have expired or which the bounds of the bundle's profile do not allow. The error says
// which control does not hold without them.
func Bounded(b *Verified, at time.Time) error {
	if b.Verdict().Outcome != evidence.VerdictPass {
		return nil
	}
	by, err := sealedRules(b.Profile(), b.Catalog())
	if err != nil {
		return err
	}
	if b.Release().Scope == evidence.ScopeComposed { // its waivers are those of its inputs
		for _, w := range b.Verdict().Waivers {
			if w.Status == gate.WaiverApplied && len(gate.Accepted([]evidence.Waiver{w.Waiver}, by.Profile, by.Catalog, at)) == 0 {
				return fmt.Errorf("the waiver of %s does not count at the gate: it has expired, or the profile does not allow it", w.Waiver.Control)
			}
		}
		return nil
	}
	waivers, err := gate.ParseWaivers(b.Waivers())
	if err != nil {
		return err
	}
	accepted := gate.Accepted(waivers, by.Profile, by.Catalog, at)
	if len(accepted) == len(waivers) {
		return nil
	}
	known, err := b.Baseline()
	if err != nil {
		return err
	}
	v := gate.Evaluate(gate.Input{
		Profile: by.Profile, ProfileDigest: b.Verdict().ProfileDigest, Catalog: by.Catalog, CatalogDigest: b.Verdict().CatalogDigest,
		Findings: b.Findings(), Runs: b.Runs().Collectors, Waivers: accepted, At: b.Verdict().EvaluatedAt, Baseline: known, Namespace: b.Release().Namespace,
	})
	if v.Outcome == evidence.VerdictPass {
		return nil
	}
	return fmt.Errorf("without the waivers that do not count at the gate, which have expired or which the profile does not allow, it is %s: %s", v.Outcome, unmet(v)[0])
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
			scans[x.Image] = append(scans[x.Image], attach.Attestation{PredicateType: attest.VulnsType, Bundle: raw, Anew: true})
		}
	}
	return func(image string) []attach.Attestation {
		return slices.Concat([]attach.Attestation{
			{PredicateType: attest.VSAType, Bundle: b.Files[bundle.VSAFile]}, {PredicateType: attest.EvidenceType, Bundle: b.Files[bundle.SignatureFile]},
		}, scans[image])
	}, nil
}
