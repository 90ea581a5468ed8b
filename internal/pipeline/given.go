package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/signatures"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
)

// gateFolder has what a gate was given, in a composed bundle; gateFile says what is what.
const (
	gateFolder = "artifacts/gate"
	gateFile   = gateFolder + "/given.json"
)

// What a gate may be asked to take from the evidence (GateRequest.EvidenceLists).
const (
	EvidenceScans      = "scans"      // the scan policy: ages, grace, what only warns, platforms
	EvidenceVEX        = "vex"        // OpenVEX documents
	EvidenceSignatures = "signatures" // signature policies, with their keys and trusted root
	EvidenceSecrets    = "secrets"    // the rotation interval, and who may read secrets
)

// EvidenceLists are all of them.
var EvidenceLists = []string{EvidenceScans, EvidenceVEX, EvidenceSignatures, EvidenceSecrets}

// gateGiven is what a gate judges by beside its rules. It is sealed with a composed
// verdict, so that verify decides by the same.
type gateGiven struct {
	Registries []string          `json:"registries"`           // the allow-list; none: no registry is allowed or refused
	Images     *images.Lists     `json:"images,omitempty"`     // nil: an older version composed it
	Signatures *signatures.Lists `json:"signatures,omitempty"` // nil: no policy
	Secrets    *GateSecrets      `json:"secrets,omitempty"`    // nil: an older version composed it
	Evidence   []string          `json:"evidence,omitempty"`   // what is taken from the evidence instead
}

// GateImages reads what a gate judges images by. An error says what cannot be used.
func GateImages(pol images.Policy, src images.Sources) (*images.Lists, error) {
	l, err := images.ReadLists(pol, src, gateFolder+"/"+images.Name)
	if err != nil {
		return nil, &InputError{err}
	}
	return l, nil
}

// GateSignatures makes a gate's own signature policies; nil: there are none. Key
// management services are asked for the keys that they name. An error says what
// cannot be used, or is that of ctx.
func GateSignatures(ctx context.Context, o signatures.Options) (*signatures.Lists, error) {
	if len(o.Policies) == 0 {
		return nil, nil
	}
	l, err := signatures.ReadLists(ctx, o, gateFolder+"/"+signatures.Name)
	if err != nil && context.Cause(ctx) == nil {
		return nil, &InputError{err}
	}
	return l, err
}

// given is what the request brings.
func (r GateRequest) given() (*gateGiven, error) {
	g := &gateGiven{Registries: slices.Sorted(slices.Values(r.Registries)), Images: r.Images, Signatures: r.Signatures, Secrets: r.Secrets.orDefaults()}
	if g.Images == nil {
		g.Images = images.DefaultLists()
	}
	g.Evidence = slices.Compact(slices.Sorted(slices.Values(r.EvidenceLists)))
	for _, what := range g.Evidence {
		switch {
		case what == EvidenceVEX && len(g.Images.VEX) > 0:
			return nil, inputErr("OpenVEX documents are to be those of the gate and those of the evidence: name one of the two")
		case what == EvidenceSignatures && g.Signatures != nil:
			return nil, inputErr("signature policies are to be those of the gate and those of the evidence: name one of the two")
		case !slices.Contains(EvidenceLists, what):
			return nil, inputErr("lists of the evidence %q: want one of %s", what, strings.Join(EvidenceLists, ", "))
		}
	}
	return g, nil
}

// about is what was given with nothing in it that the bundles do not need.
func (g *gateGiven) about(bundles []*Verified) (*gateGiven, error) {
	var scanned []evidence.ArtifactReader
	for _, b := range bundles {
		if slices.Contains(b.Names(), images.PolicyFile) {
			scanned = append(scanned, b.Bundle)
		}
	}
	l, err := g.Images.About(scanned...)
	if err != nil {
		return nil, err
	}
	out := *g
	out.Images = l
	return &out, nil
}

// files is what was given, as it is sealed with a composed verdict.
func (g *gateGiven) files() (map[string][]byte, error) {
	raw, err := bundle.CanonicalJSON(g)
	if err != nil {
		return nil, fmt.Errorf("what the gate was given: %w", err)
	}
	out := map[string][]byte{gateFile: raw}
	maps.Copy(out, g.Images.Files())
	if g.Signatures != nil {
		maps.Copy(out, g.Signatures.Files())
	}
	return out, nil
}

// sealedGiven reads what a composed bundle was judged by; nil where an older version
// composed it, which took the allow-lists of the evidence.
func sealedGiven(b *bundle.Bundle) (*gateGiven, error) {
	g := new(gateGiven)
	raw, err := b.Read(gateFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if b.Runs().Repository == "" {
			return nil, nil
		}
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(raw, g); err != nil {
			return nil, fmt.Errorf("%s: %w", gateFile, err)
		}
	}
	if g.Secrets == nil {
		g.Secrets = GateSecrets{}.orDefaults()
		g.Evidence = append(g.Evidence, EvidenceSecrets)
	}
	if g.Images == nil {
		g.Images = images.DefaultLists()
		if b.Runs().RulesVersion() < 3 {
			// Versions before this one took all but the allow-list from the evidence.
			g.Evidence = append(g.Evidence, EvidenceScans, EvidenceSignatures, EvidenceVEX)
		}
	}
	if err := g.Images.Open(b); err != nil {
		return nil, fmt.Errorf("%s: %w", gateFile, err)
	}
	if g.Signatures != nil {
		if err := g.Signatures.Open(b); err != nil {
			return nil, fmt.Errorf("%s: %w", gateFile, err)
		}
	}
	return g, nil
}

// takes reports whether the gate takes this from the evidence.
func (g *gateGiven) takes(what string) bool { return slices.Contains(g.Evidence, what) }

// decided is a bundle as the gate's own lists decide.
type decided struct {
	gate.Evidence
	ignored []string // what the bundle was collected with that does not count
	taken   []string // what the gate took from it
}

// decide derives anew what rests on lists, by those of the gate: those that the
// evidence was collected with are shown, and never obeyed.
func (g *gateGiven) decide(b *bundle.Bundle, e gate.Evidence) (*decided, error) {
	d := &decided{Evidence: e}
	names := b.Names()
	if slices.Contains(names, images.PolicyFile) {
		if err := g.images(b, d); err != nil {
			return nil, err
		}
	}
	if slices.Contains(names, signatures.RecordFile) {
		if err := g.signatures(b, d); err != nil {
			return nil, err
		}
	}
	if err := g.secrets(b, d); err != nil {
		return nil, err
	}
	return d, nil
}

// images decides what rests on lists of registries, scan policies and statements.
func (g *gateGiven) images(b *bundle.Bundle, d *decided) error {
	o, err := g.Images.Over(b, g.Registries, config.RuleControls().Of(images.RuleRegistry), images.Taken{Scans: g.takes(EvidenceScans), VEX: g.takes(EvidenceVEX)})
	if err != nil {
		return err
	}
	img, err := images.New(images.Options{})
	if err != nil {
		return err
	}
	found, runs := deriveOver(b, o.Files, img)
	if len(g.Registries) == 0 && len(o.Registries) > 0 {
		found = saying(found, func(f evidence.Finding) string {
			if f.Rule != images.RuleRegistry {
				return ""
			}
			return fmt.Sprintf(" to the gate; the evidence was collected with %s, which does not count here", strings.Join(o.Registries, ", "))
		})
	}
	if len(o.Ignored) > 0 {
		passed := excused(d.Findings)
		found = saying(found, func(f evidence.Finding) string {
			if !strings.HasPrefix(f.Rule, images.Name+"/") || f.Rule == images.RuleRegistry || !passed[subjectOf(f)] || !refuses(f) {
				return ""
			}
			return fmt.Sprintf("; the evidence was collected with %s, which does not count at this gate", strings.Join(o.Ignored, ", "))
		})
	}
	rule := func(rule string) bool { return rule == images.RuleRegistry }
	if !o.Same {
		rule = func(rule string) bool { return strings.HasPrefix(rule, images.Name+"/") }
	}
	d.replace(rule, found, runs)
	d.ignored, d.taken = append(d.ignored, o.Ignored...), append(d.taken, o.Taken...)
	return nil
}

// signatures decides what rests on signature policies.
func (g *gateGiven) signatures(b *bundle.Bundle, d *decided) error {
	own := g.Signatures
	if own == nil {
		own = new(signatures.Lists)
	}
	files, was, err := own.Over(b)
	if err != nil {
		return err
	}
	those := fmt.Sprintf("signature policies (%d)", len(was))
	if g.takes(EvidenceSignatures) {
		d.taken = append(d.taken, those)
		return nil
	}
	sig, err := signatures.New(signatures.Options{})
	if err != nil {
		return err
	}
	found, runs := deriveOver(b, files, sig)
	if g.Signatures == nil && len(was) > 0 {
		d.ignored = append(d.ignored, those)
		found = saying(found, func(f evidence.Finding) string {
			if f.Outcome != evidence.OutcomeNotChecked {
				return ""
			}
			return fmt.Sprintf(" to the gate; the evidence was collected with %s, which does not count here", strings.Join(was, ", "))
		})
	}
	d.replace(func(rule string) bool { return strings.HasPrefix(rule, signatures.Name+"/") }, found, runs)
	return nil
}

// deriveOver derives the findings of one collector from a bundle with other files over
// its own.
func deriveOver(b *bundle.Bundle, files map[string][]byte, c collectors.Collector) ([]evidence.Finding, []evidence.CollectorRun) {
	runs := slices.DeleteFunc(slices.Clone(b.Runs().Collectors), func(r evidence.CollectorRun) bool { return r.Collector != c.Name() })
	return collectors.Derive(collectors.NewSealed(replacing{b, files}, config.RuleControls()), []collectors.Collector{c}, runs)
}

// replace puts findings in the place of those of the same rules, and the runs that they
// come from in the place of the same collectors': one that failed is an error here.
func (d *decided) replace(rule func(string) bool, by []evidence.Finding, runs []evidence.CollectorRun) {
	findings := func(list []evidence.Finding) []evidence.Finding {
		list = slices.DeleteFunc(slices.Clone(list), func(f evidence.Finding) bool { return rule(f.Rule) })
		return evidence.NormalizeFindings(append(list, by...))
	}
	ran := func(list []evidence.CollectorRun) []evidence.CollectorRun {
		list = slices.Clone(list)
		for i := range list {
			for _, r := range runs {
				if r.Collector == list[i].Collector && r.Outcome != evidence.OutcomePass {
					list[i] = r
				}
			}
		}
		return list
	}
	d.Findings, d.Runs = findings(d.Findings), ran(d.Runs)
	if d.Replayed != nil {
		now := *d.Replayed
		now.Findings, now.Runs = findings(now.Findings), ran(now.Runs)
		d.Replayed = &now
	}
}

// saying adds to the messages of findings.
func saying(found []evidence.Finding, what func(evidence.Finding) string) []evidence.Finding {
	found = slices.Clone(found)
	for i, f := range found {
		if more := what(f); more != "" {
			found[i].Message += more
			found[i].ID = evidence.FindingID(found[i])
		}
	}
	return found
}

// excused are the subjects of findings none of which refuses.
func excused(list []evidence.Finding) map[string]bool {
	out := map[string]bool{}
	for _, f := range list {
		s := subjectOf(f)
		was, seen := out[s]
		out[s] = !refuses(f) && (was || !seen)
	}
	return out
}

func subjectOf(f evidence.Finding) string {
	return strings.Join([]string{f.Rule, f.Target.Kind, f.Target.Namespace, f.Target.Name, f.Target.Container}, "\x00")
}

// refuses reports whether a finding does not let its control hold.
func refuses(f evidence.Finding) bool {
	return f.Outcome == evidence.OutcomeFail || f.Outcome == evidence.OutcomeNotChecked || f.Outcome == evidence.OutcomeError
}
