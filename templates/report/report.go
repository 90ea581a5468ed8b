// Package report holds the templates and the style sheet of the Markdown and
// HTML reports.
package report

import "embed"

// FS holds report.md.tmpl, report.html.tmpl and report.css, and what reports of
// drills have beside them: drill.md.tmpl, drill.html.tmpl and drill.css; and
// readiness.html.tmpl, the answers to a checklist.
//
//go:embed report.md.tmpl report.html.tmpl report.css drill.md.tmpl drill.html.tmpl drill.css readiness.html.tmpl
var FS embed.FS
