package pipeline

import (
	"context"
	"errors"
	"slices"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/harden"
)

// Proposed is a change of values that makes findings go away, and nothing worse.
type Proposed struct {
	Keys   []string // as Helm's --set has them
	Values []harden.Value
	Fixes  []HardenedFix
}

// Rules whose recipes are proposed unasked, since they stop no container that ran, and
// those of which none is ever: their values are made up to see what a key does.
var (
	safeRules = []string{"policy/resource-requests", "workload/pdb-selects"}
	mockRules = []string{"policy/resource-limits", "policy/image-digest"}
)

// ProposableControls are those of which Propose may be asked to mend findings, sorted.
func ProposableControls() (out []evidence.ControlID) {
	for _, r := range recipes {
		if !slices.Contains(mockRules, r.rules[0]) {
			out = append(out, config.RuleControls().Of(r.rules[0])...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// proposable reports whether a trial is safe, or what it is about was asked for.
func (t *trial) proposable(values map[string]any, asked []evidence.ControlID) bool {
	rule := t.rules[0]
	if slices.Contains(mockRules, rule) {
		return false
	}
	for _, id := range config.RuleControls().Of(rule) {
		if slices.Contains(asked, id) {
			return true
		}
	}
	if !slices.Contains(safeRules, rule) {
		return false
	}
	// Where limits stand alone, requests are as high: lower ones would take from them.
	return rule != "policy/resource-requests" || !limited(values, t.values[0].Path[:len(t.values[0].Path)-2])
}

func limited(values map[string]any, path []string) bool {
	var at any = values
	for _, key := range path {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	m, _ := at.(map[string]any)
	limits, _ := m["limits"].(map[string]any)
	return len(limits) > 0
}

// Propose looks for values of the chart with which findings of the profile go away while
// all objects stay and no finding is new: those that are safe to set, and those that the
// asked controls want. Each is tried on top of those before it. whole reports that all
// candidates were tried. The error is that of ctx.
func (p *Pipeline) Propose(ctx context.Context, rel *chart.Release, asked []evidence.ControlID, render ValuesRenderer) (before *Judged, list []Proposed, whole bool, err error) {
	if before, err = p.Release(ctx, rel); err != nil {
		return nil, nil, false, err
	}
	wants := func(found []evidence.Finding) (out []evidence.Finding) {
		for _, f := range found {
			if needsSomebody(f.Outcome) && slices.ContainsFunc(f.Controls, p.Rules.Asks) {
				out = append(out, f)
			}
		}
		return out
	}
	left, was := wants(before.Findings), judgementOf(before.Findings)
	var rules, set []string
	for _, f := range left {
		rules = append(rules, f.Rule)
	}
	limitedCtx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	digest, tried := rel.Info.ManifestsDigest, 0
	for _, t := range trials(rel.Values, rules) {
		if !t.proposable(rel.Values, asked) || !slices.ContainsFunc(left, func(f evidence.Finding) bool { return slices.Contains(t.rules, f.Rule) }) {
			continue
		}
		if tried++; tried > maxTrials || limitedCtx.Err() != nil {
			return before, list, false, context.Cause(ctx)
		}
		now, changed, err := p.tryProposed(limitedCtx, digest, slices.Concat(set, t.set), render)
		if err != nil || now == nil {
			if limitedCtx.Err() != nil {
				return before, list, false, context.Cause(ctx)
			}
			continue // the chart does not take this value: it fixes nothing
		}
		is := judgementOf(now.Findings)
		if !is.noWorse(was) {
			continue
		}
		prop := Proposed{Keys: t.keys, Values: t.values}
		for i := range left {
			if f := &left[i]; slices.Contains(t.rules, f.Rule) && is.without(f, was) {
				prop.Fixes = append(prop.Fixes, HardenedFix{Rule: f.Rule, Target: f.Target, Message: f.Message, Keys: t.keys})
			}
		}
		if len(prop.Fixes) == 0 {
			continue
		}
		list, set, was, left, digest = append(list, prop), append(set, t.set...), is, wants(now.Findings), changed
	}
	return before, list, true, nil
}

// noWorse reports that nothing more is open than before, and that every object is there.
func (j judgement) noWorse(before judgement) bool {
	for k, n := range j.open {
		if n > before.open[k] {
			return false
		}
	}
	for o := range before.objects {
		if !j.objects[o] {
			return false
		}
	}
	return true
}

// tryProposed judges the chart with changed values; nil where they change nothing.
func (p *Pipeline) tryProposed(ctx context.Context, digest evidence.Digest, set []string, render ValuesRenderer) (j *Judged, changed evidence.Digest, err error) {
	rel, err := render(ctx, set)
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, rel.Close()) }()
	if rel.Info.ManifestsDigest == digest {
		return nil, "", nil
	}
	j, err = p.Release(ctx, rel)
	return j, rel.Info.ManifestsDigest, err
}
