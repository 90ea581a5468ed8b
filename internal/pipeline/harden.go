package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/harden"
)

// Hardened is a release judged twice: as it is, and with what harden adds.
type Hardened struct {
	*harden.Result
	Controls  []HardenedControl  // the profile's
	Remaining []evidence.Finding // of these, that need somebody after hardening too
	Fixes     []HardenedFix      // what makes remaining findings go away
	Searched  bool               // all values that may fix something were tried
}

// HardenedControl is one control before and after.
type HardenedControl struct {
	Control evidence.ControlID `json:"control"`
	Title   string             `json:"title"`
	Before  HardenedState      `json:"before"`
	After   HardenedState      `json:"after"`
}

// HardenedState is what became of a control.
type HardenedState struct {
	Outcome  evidence.ControlOutcome `json:"outcome"`
	Findings int                     `json:"findings"` // that need somebody: fail, warn, error, not checked
}

// Harden judges a release by the same collectors and the same gate before and
// after hardening. The pipeline should have no signer: of a hardened release
// nothing is evidence. Manifests that cannot be hardened are an InputError. With a
// renderer it also looks for values that fix what is left.
func (p *Pipeline) Harden(ctx context.Context, rel *chart.Release, o harden.Options, render ValuesRenderer) (*Hardened, error) {
	res, err := harden.Harden(rel.Manifests, o)
	if err != nil {
		return nil, &InputError{err}
	}
	before, err := p.Release(ctx, rel)
	if err != nil {
		return nil, err
	}
	after, err := p.Release(ctx, hardenedRelease(rel, res.Manifests))
	if err != nil {
		return nil, err
	}
	out := &Hardened{Result: res, Remaining: []evidence.Finding{}}
	for i, r := range before.Verdict.Results {
		c, _ := p.Rules.Catalog.Control(r.Control)
		out.Controls = append(out.Controls, HardenedControl{Control: r.Control, Title: c.Title,
			Before: HardenedState{r.Outcome, before.needing(r.Control)},
			After:  HardenedState{after.Verdict.Results[i].Outcome, after.needing(r.Control)}})
	}
	for _, f := range after.Findings {
		if needsSomebody(f.Outcome) && slices.ContainsFunc(f.Controls, p.Rules.Asks) {
			out.Remaining = append(out.Remaining, f)
		}
	}
	if out.Fixes, err = p.flagFixes(ctx, rel, out.Remaining, res.Kept, o); err != nil {
		return nil, err
	}
	if render != nil {
		fixes, whole, err := p.valueFixes(ctx, rel, out.Remaining, o, render)
		if err != nil {
			return nil, err
		}
		out.Fixes, out.Searched = append(out.Fixes, fixes...), whole
	}
	return out, nil
}

// HardenImages reads of the registries what is known of the images in manifests.
// An image that cannot be read is in the result with the reason. Manifests that
// cannot be hardened are an InputError; other errors are those of ctx and of
// credentials that cannot be read.
func HardenImages(ctx context.Context, manifests []byte, src *images.Sources) (map[string]harden.Image, error) {
	names, err := harden.ImagesOf(manifests)
	if err != nil {
		return nil, &InputError{err}
	}
	rights, unread, err := images.ReadRights(ctx, src, names)
	if err != nil {
		return nil, fmt.Errorf("read images: %w", err)
	}
	out := map[string]harden.Image{}
	for name, r := range rights {
		out[name] = harden.Image{Users: r.Users, Capabilities: r.Capabilities, SetID: r.SetID, Volumes: r.Volumes, Usual: r.Usual, Filled: r.Filled}
	}
	for name, why := range unread {
		out[name] = harden.Image{Unread: why}
	}
	return out, nil
}

// hardenedRelease is rel with other manifests; rel stays the owner of its files.
func hardenedRelease(rel *chart.Release, manifests []byte) *chart.Release {
	out := &chart.Release{
		Info: rel.Info, Record: rel.Record, Files: rel.Files, Values: rel.Values, UserValues: rel.UserValues, Manifests: manifests, Dir: rel.Dir,
	}
	out.Info.ManifestsDigest = evidence.DigestOf(manifests)
	return out
}

func needsSomebody(o evidence.Outcome) bool {
	return o != evidence.OutcomePass && o != evidence.OutcomeNotApplicable
}

// needing counts the control's findings that need somebody.
func (j *Judged) needing(id evidence.ControlID) (n int) {
	for _, f := range j.Findings {
		if needsSomebody(f.Outcome) && slices.Contains(f.Controls, id) {
			n++
		}
	}
	return n
}
