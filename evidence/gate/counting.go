package gate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// Counting says what counts for the exit code of a command. It changes no verdict that
// is sealed.
type Counting struct {
	FailOn     evidence.Severity    // the lowest severity of a failing finding that counts; empty: as the profile says
	Only, Skip []evidence.ControlID // the controls that count, or that do not
	Baseline   bool                 // what the baseline knows does not count
}

// Any reports whether anything is counted otherwise than the profile says.
func (c Counting) Any() bool { return c.FailOn != "" || c.Partial() || c.Baseline }

// Partial reports whether controls are left out.
func (c Counting) Partial() bool { return len(c.Only)+len(c.Skip) > 0 }

// Check refuses what would count nothing: a control that the profile does not name.
func (c Counting) Check(p *evidence.Profile) error {
	if c.FailOn != "" && c.FailOn.Validate() != nil {
		return fmt.Errorf("--fail-on %q: %s", string(c.FailOn), severities)
	}
	for _, x := range []struct {
		flag string
		ids  []evidence.ControlID
	}{{"--only", c.Only}, {"--skip", c.Skip}} {
		for _, id := range x.ids {
			if !slices.ContainsFunc(p.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == id }) {
				return fmt.Errorf("%s %s: profile %s has no such control; it has %s", x.flag, id, p.Name, controlsOf(p))
			}
		}
	}
	if required := slices.ContainsFunc(p.Controls, func(pc evidence.ProfileControl) bool { return c.counts(pc.ID) && (!pc.Optional || len(c.Only) > 0) }); !required {
		return fmt.Errorf("--skip leaves no required control of profile %s: nothing would be judged", p.Name)
	}
	return nil
}

func controlsOf(p *evidence.Profile) string {
	var ids []string
	for _, pc := range p.Controls {
		ids = append(ids, string(pc.ID))
	}
	return strings.Join(ids, ", ")
}

func (c Counting) counts(id evidence.ControlID) bool {
	return (len(c.Only) == 0 || slices.Contains(c.Only, id)) && !slices.Contains(c.Skip, id)
}

// profile is the one that the exit code goes by. What is named by itself is required.
func (c Counting) profile(p *evidence.Profile) *evidence.Profile {
	out := *p
	out.Controls = nil
	out.FailOn = cmp.Or(c.FailOn, p.FailOn)
	out.Baseline = p.Baseline || c.Baseline
	for _, pc := range p.Controls {
		if !c.counts(pc.ID) {
			continue
		}
		if c.FailOn != "" {
			pc.FailOn = c.FailOn
		}
		if len(c.Only) > 0 {
			pc.Optional = false
		}
		out.Controls = append(out.Controls, pc)
	}
	return &out
}

// Counted is what a command's exit code goes by, where it is not the verdict.
type Counted struct {
	Outcome  evidence.VerdictOutcome `json:"outcome"`
	Reason   string                  `json:"reason"`
	FailOn   evidence.Severity       `json:"failOn,omitempty"`
	Only     []evidence.ControlID    `json:"only,omitempty"`
	Skip     []evidence.ControlID    `json:"skip,omitempty"`
	Baseline bool                    `json:"baseline,omitempty"`
	// NotCounted are the required controls that fail or are incomplete by the profile, and
	// do not stand in the way here.
	NotCounted []evidence.ControlID `json:"notCounted"`
	// New are the ids of the findings that stand in the way beside what the baseline knows.
	New []string `json:"new,omitempty"`
}

// Count judges once more, by what counts. v is the verdict by the profile.
func (c Counting) Count(in Input, v evidence.Verdict) *Counted {
	in.Profile = c.profile(in.Profile)
	return c.counted(v, Evaluate(in))
}

// CountComposed is Count of a composed verdict.
func (c Counting) CountComposed(in ComposeInput, v evidence.Verdict) *Counted {
	in.Profile = c.profile(in.Profile)
	return c.counted(v, Compose(in))
}

func (c Counting) counted(v, by evidence.Verdict) *Counted {
	out := &Counted{Outcome: by.Outcome, Reason: by.Reason, FailOn: c.FailOn, Only: c.Only, Skip: c.Skip, Baseline: c.Baseline, NotCounted: []evidence.ControlID{}}
	stands := func(o evidence.ControlOutcome) bool {
		return o == evidence.ControlFail || o == evidence.ControlIncomplete
	}
	for _, r := range v.Results {
		if i := indexOf(by.Results, r.Control); r.Required && stands(r.Outcome) && (i < 0 || !stands(by.Results[i].Outcome)) {
			out.NotCounted = append(out.NotCounted, r.Control)
		}
	}
	if !c.Baseline {
		return out
	}
	seen := map[string]bool{}
	for _, r := range by.Results {
		if !r.Required || !stands(r.Outcome) {
			continue
		}
		for _, id := range r.Findings {
			if !seen[id] {
				out.New = append(out.New, id)
			}
			seen[id] = true
		}
	}
	return out
}

// LeftOut begins the reason of a control that --only or --skip left out.
const LeftOut = "left out of this run by "

// Part is the verdict of a run that leaves controls out: they are incomplete, so that it
// can never be taken for a verdict by the whole profile.
func (c Counting) Part(v evidence.Verdict) evidence.Verdict {
	if !c.Partial() {
		return v
	}
	v.Results = slices.Clone(v.Results)
	for i, r := range v.Results {
		if c.counts(r.Control) {
			continue
		}
		flag := "--only"
		if slices.Contains(c.Skip, r.Control) {
			flag = "--skip"
		}
		v.Results[i] = evidence.ControlResult{Control: r.Control, Required: r.Required, Outcome: evidence.ControlIncomplete, Reason: LeftOut + flag}
	}
	v.Outcome, v.Reason = conclude(v.Results)
	if v.Outcome == evidence.VerdictPass { // all that was left out is optional
		v.Outcome = evidence.VerdictIncomplete
	}
	v.Reason += "; a run of a part of the profile is no verdict of it"
	return v
}
