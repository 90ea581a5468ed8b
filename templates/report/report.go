// Package report holds the templates and the style sheet of the Markdown and
// HTML reports.
package report

import "embed"

// FS holds report.md.tmpl, report.html.tmpl and report.css.
//
//go:embed report.md.tmpl report.html.tmpl report.css
var FS embed.FS
