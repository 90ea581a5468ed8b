package report

import "github.com/companyos/helmproof/evidence"

// Mark is how an outcome looks everywhere: a word, a shape and a colour, never
// colour alone.
type Mark struct {
	Key   string // "pass", "fail", "warn", "incomplete", "waived", "na": for CSS classes and drawing
	Word  string // "PASS"
	Shape string // "●"; the PDF draws it
	Color string // "#1a7f37", on white
	ANSI  string // "32": the SGR parameter on a terminal
}

// The marks, worst first.
var (
	MarkFail          = Mark{"fail", "FAIL", "■", "#cf222e", "31"}
	MarkIncomplete    = Mark{"incomplete", "INCOMPLETE", "◆", "#57606a", "34"}
	MarkNotChecked    = Mark{"incomplete", "NOT CHECKED", "◆", "#57606a", "34"}
	MarkNotMeasured   = Mark{"incomplete", "NOT MEASURED", "◆", "#57606a", "34"}
	MarkError         = Mark{"incomplete", "ERROR", "◆", "#57606a", "34"}
	MarkWarn          = Mark{"warn", "WARN", "▲", "#9a6700", "33"}
	MarkWaived        = Mark{"waived", "WAIVED", "○", "#8250df", "35"}
	MarkPass          = Mark{"pass", "PASS", "●", "#1a7f37", "32"}
	MarkNotApplicable = Mark{"na", "n/a", "–", "#57606a", "90"}
)

// controlMarks is the order in which outcomes of controls are counted and stacked.
var controlMarks = []Mark{MarkFail, MarkIncomplete, MarkWarn, MarkWaived, MarkPass, MarkNotApplicable}

// VerdictMark is the mark of a verdict; what is unknown is INCOMPLETE.
func VerdictMark(o evidence.VerdictOutcome) Mark {
	switch o {
	case evidence.VerdictPass:
		return MarkPass
	case evidence.VerdictFail:
		return MarkFail
	}
	return MarkIncomplete
}

// ControlMark is the mark of a control; what is unknown is INCOMPLETE.
func ControlMark(o evidence.ControlOutcome) Mark {
	switch o {
	case evidence.ControlPass:
		return MarkPass
	case evidence.ControlFail:
		return MarkFail
	case evidence.ControlWarn:
		return MarkWarn
	case evidence.ControlWaived:
		return MarkWaived
	case evidence.ControlNotApplicable:
		return MarkNotApplicable
	}
	return MarkIncomplete
}

// FindingMark is the mark of a finding, or of a run of a collector; what is
// unknown is ERROR.
func FindingMark(o evidence.Outcome) Mark {
	switch o {
	case evidence.OutcomePass:
		return MarkPass
	case evidence.OutcomeFail:
		return MarkFail
	case evidence.OutcomeWarn:
		return MarkWarn
	case evidence.OutcomeNotApplicable:
		return MarkNotApplicable
	case evidence.OutcomeNotChecked:
		return MarkNotChecked
	}
	return MarkError
}
