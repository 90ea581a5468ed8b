package evidence

import "fmt"

// Outcome is what one rule said about one target, or how one collector ended.
// "Could not check" (OutcomeNotChecked, OutcomeError) is never a pass.
type Outcome string

// The outcomes, in the order in which reports list them (worst first).
const (
	OutcomeFail          Outcome = "fail"
	OutcomeError         Outcome = "error"       // the check itself broke
	OutcomeNotChecked    Outcome = "not-checked" // the check could not be made, and says why
	OutcomeWarn          Outcome = "warn"
	OutcomePass          Outcome = "pass"
	OutcomeNotApplicable Outcome = "not-applicable" // the rule has nothing to say about this target
)

// Rank orders outcomes worst first; an unknown outcome ranks as an error.
func (o Outcome) Rank() int {
	switch o {
	case OutcomeFail:
		return 0
	case OutcomeNotChecked:
		return 2
	case OutcomeWarn:
		return 3
	case OutcomePass:
		return 4
	case OutcomeNotApplicable:
		return 5
	}
	return 1
}

// Validate refuses anything but the six outcomes.
func (o Outcome) Validate() error {
	switch o {
	case OutcomeFail, OutcomeError, OutcomeNotChecked, OutcomeWarn, OutcomePass, OutcomeNotApplicable:
		return nil
	}
	return fmt.Errorf("outcome %q: want fail, error, not-checked, warn, pass or not-applicable", string(o))
}

// Severity is how bad a failing rule or control is.
type Severity string

// The severities, worst first.
const (
	SeverityCritical Severity = "critical"
	SeverityHigh     Severity = "high"
	SeverityMedium   Severity = "medium"
	SeverityLow      Severity = "low"
	SeverityInfo     Severity = "info"
)

// Rank orders severities, 0 worst; an unknown severity ranks with critical, so
// that a typing error never hides a finding.
func (s Severity) Rank() int {
	switch s {
	case SeverityHigh:
		return 1
	case SeverityMedium:
		return 2
	case SeverityLow:
		return 3
	case SeverityInfo:
		return 4
	}
	return 0
}

// AtLeast reports whether s is as bad as min or worse.
func (s Severity) AtLeast(min Severity) bool { return s.Rank() <= min.Rank() }

// Validate refuses anything but the five severities.
func (s Severity) Validate() error {
	switch s {
	case SeverityCritical, SeverityHigh, SeverityMedium, SeverityLow, SeverityInfo:
		return nil
	}
	return fmt.Errorf("severity %q: want critical, high, medium, low or info", string(s))
}
