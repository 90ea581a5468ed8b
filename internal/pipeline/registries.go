package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
)

// gateFile is the artifact of a composed bundle that has what the gate itself was given.
const gateFile = "artifacts/gate/given.json"

// gateGiven is what a gate judges by beside its rules. It is sealed with a composed
// verdict, so that verify decides by the same.
type gateGiven struct {
	Registries []string `json:"registries"` // the allow-list; none: no registry is allowed or refused
}

// sealedGiven reads what a composed bundle was judged by; nil where an older version
// composed it, which took the allow-lists of the evidence.
func sealedGiven(b *bundle.Bundle) (*gateGiven, error) {
	raw, err := b.Read(gateFile)
	if errors.Is(err, fs.ErrNotExist) {
		if b.Runs().Repository == "" {
			return nil, nil
		}
		return &gateGiven{}, nil
	}
	if err != nil {
		return nil, err
	}
	g := new(gateGiven)
	if err := json.Unmarshal(raw, g); err != nil {
		return nil, fmt.Errorf("%s: %w", gateFile, err)
	}
	return g, nil
}

// registries are the findings about the registries of a bundle's images by the gate's
// own allow-list, in the place of those by the list that was given when the evidence
// was collected: that one is shown, and never obeyed. ok is false where the bundle
// judged no images.
func (g *gateGiven) registries(b *bundle.Bundle) (found []evidence.Finding, ok bool, err error) {
	raw, err := b.Read(images.PolicyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	raw, was, err := images.ForRegistries(raw, g.Registries, config.RuleControls().Of(images.RuleRegistry))
	if err != nil {
		return nil, false, err
	}
	img, err := images.New(images.Options{})
	if err != nil {
		return nil, false, err
	}
	runs := slices.DeleteFunc(slices.Clone(b.Runs().Collectors), func(r evidence.CollectorRun) bool { return r.Collector != images.Name })
	sealed := collectors.NewSealed(replacing{b, images.PolicyFile, raw}, config.RuleControls())
	found, _ = collectors.Derive(sealed, []collectors.Collector{img}, runs)
	if len(g.Registries) > 0 || len(was) == 0 {
		return found, true, nil
	}
	for i := range found {
		found[i].Message += fmt.Sprintf(" to the gate; the evidence was collected with %s, which does not count here", strings.Join(was, ", "))
		found[i].ID = evidence.FindingID(found[i])
	}
	return found, true, nil
}

// byRegistries replaces the findings about registries in a list.
func byRegistries(list, by []evidence.Finding) []evidence.Finding {
	list = slices.DeleteFunc(slices.Clone(list), func(f evidence.Finding) bool { return f.Rule == images.RuleRegistry })
	return evidence.NormalizeFindings(append(list, by...))
}
