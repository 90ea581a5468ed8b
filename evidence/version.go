package evidence

import "cmp"

// RulesVersion is the version of all that makes findings out of sealed artifacts
// and a verdict out of findings: what collectors derive, the built-in policies,
// the gate. It is sealed in runs.json. Evidence of the same version must lead to
// the same findings again, to the byte; evidence of another is compared by
// control, target and outcome. Whatever changes a finding or a verdict, its
// wording too, raises it; a golden bundle holds that.
const RulesVersion = 4

// ReportsVersion is the version of how reports are rendered, sealed in runs.json.
// Reports of the same version must render to the same bytes again; those of
// another are held to their signature only. Whatever changes a byte of a report
// raises it.
const ReportsVersion = 3

// Bundles that name no version were sealed before there were any.
const firstVersion = 1

// RulesVersion is the version of the rules that made the findings.
func (r *Runs) RulesVersion() int { return cmp.Or(r.Rules, firstVersion) }

// ReportsVersion is the version that rendered the reports.
func (r *Runs) ReportsVersion() int { return cmp.Or(r.Reports, firstVersion) }
