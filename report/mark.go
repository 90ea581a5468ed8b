package report

import "github.com/companyos/helmproof/evidence"

// Mark is how an outcome looks everywhere: a word, a shape and a colour, never
// colour alone.
type Mark struct {
	Key   string // "pass", "fail", "warn", "incomplete", "waived", "na": for CSS classes and drawing
	Word  string // "PASS"
	Shape string // "●"; the PDF draws it
	Color string // "#1a7f37", on white
}

// The marks, worst first.
var (
	MarkFail          = Mark{"fail", "FAIL", "■", "#cf222e"}
	MarkIncomplete    = Mark{"incomplete", "INCOMPLETE", "◆", "#57606a"}
	MarkNotChecked    = Mark{"incomplete", "NOT CHECKED", "◆", "#57606a"}
	MarkError         = Mark{"incomplete", "ERROR", "◆", "#57606a"}
	MarkWarn          = Mark{"warn", "WARN", "▲", "#9a6700"}
	MarkWaived        = Mark{"waived", "WAIVED", "○", "#8250df"}
	MarkPass          = Mark{"pass", "PASS", "●", "#1a7f37"}
	MarkNotApplicable = Mark{"na", "n/a", "–", "#57606a"}
)

// controlMarks is the order in which outcomes of controls are counted and stacked.
var controlMarks = []Mark{MarkFail, MarkIncomplete, MarkWarn, MarkWaived, MarkPass, MarkNotApplicable}

func verdictMark(o evidence.VerdictOutcome) Mark {
	switch o {
	case evidence.VerdictPass:
		return MarkPass
	case evidence.VerdictFail:
		return MarkFail
	}
	return MarkIncomplete
}

func controlMark(o evidence.ControlOutcome) Mark {
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

func findingMark(o evidence.Outcome) Mark {
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
