package evidence

import "time"

// VerdictOutcome is the answer that people gate on.
type VerdictOutcome string

// The verdicts. INCOMPLETE means that something required could not be checked;
// it is never a pass.
const (
	VerdictPass       VerdictOutcome = "PASS"
	VerdictFail       VerdictOutcome = "FAIL"
	VerdictIncomplete VerdictOutcome = "INCOMPLETE"
)

// ControlOutcome is what became of one control of the profile.
type ControlOutcome string

// The outcomes of a control.
const (
	ControlPass          ControlOutcome = "pass"
	ControlFail          ControlOutcome = "fail"
	ControlWarn          ControlOutcome = "warn"       // findings below the profile's threshold
	ControlWaived        ControlOutcome = "waived"     // would fail, but every failing finding is waived
	ControlIncomplete    ControlOutcome = "incomplete" // not checked, errored, missing or stale
	ControlNotApplicable ControlOutcome = "not-applicable"
)

// ControlResult is one control's part of the verdict.
type ControlResult struct {
	Control  ControlID      `json:"control"`
	Outcome  ControlOutcome `json:"outcome"`
	Required bool           `json:"required"`
	Reason   string         `json:"reason"`
	Findings []string       `json:"findings,omitempty"` // ids of the findings behind a fail, warn, waived or incomplete
	Counts   Counts         `json:"counts"`
	Evidence []BundleRef    `json:"evidence,omitempty"` // composed verdicts: the bundles that this result came from
}

// Counts is the number of findings of a control by outcome.
type Counts struct {
	Pass          int `json:"pass"`
	Fail          int `json:"fail"`
	Warn          int `json:"warn"`
	NotApplicable int `json:"notApplicable"`
	NotChecked    int `json:"notChecked"`
	Error         int `json:"error"`
	Waived        int `json:"waived"`
	Known         int `json:"known,omitempty"` // accepted because a baseline knows them
}

// Plus is the sum of both.
func (c Counts) Plus(d Counts) Counts {
	return Counts{
		c.Pass + d.Pass, c.Fail + d.Fail, c.Warn + d.Warn, c.NotApplicable + d.NotApplicable,
		c.NotChecked + d.NotChecked, c.Error + d.Error, c.Waived + d.Waived, c.Known + d.Known,
	}
}

// Rank orders outcomes worst first. Pass and not applicable are equally good; an
// outcome that nobody knows ranks as incomplete.
func (o ControlOutcome) Rank() int {
	switch o {
	case ControlFail:
		return 0
	case ControlWaived:
		return 2
	case ControlWarn:
		return 3
	case ControlPass, ControlNotApplicable:
		return 4
	}
	return 1
}

// Worse is a control that rules of another version judge worse than those by
// which its evidence was sealed.
type Worse struct {
	Control ControlID      `json:"control"`
	Sealed  ControlOutcome `json:"sealed"`
	Now     ControlOutcome `json:"now"`
	Reason  string         `json:"reason"`
}

// BundleRef names a bundle that a composed verdict rests on.
type BundleRef struct {
	Bundle      Digest    `json:"bundle"`
	Scope       Scope     `json:"scope"`
	EvaluatedAt time.Time `json:"evaluatedAt"`
}

// WaiverResult says what became of one waiver: shown always, also when it did nothing.
type WaiverResult struct {
	Waiver   Waiver   `json:"waiver"`
	Status   string   `json:"status"` // applied, expired, unused
	Reason   string   `json:"reason"` // why it has that status
	Findings []string `json:"findings,omitempty"`
}

// Verdict is the decision over one profile at one time.
type Verdict struct {
	Outcome       VerdictOutcome  `json:"outcome"`
	Reason        string          `json:"reason"`
	Profile       string          `json:"profile"`
	ProfileDigest Digest          `json:"profileDigest"`
	CatalogDigest Digest          `json:"catalogDigest"`
	Results       []ControlResult `json:"results"` // in catalog order
	Waivers       []WaiverResult  `json:"waivers,omitempty"`
	// Baseline is what a baseline makes of it; nil: none was given.
	Baseline    *BaselineResult `json:"baseline,omitempty"`
	EvaluatedAt time.Time       `json:"evaluatedAt"`
}
