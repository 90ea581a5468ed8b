// Package report turns a judged release into documents. New makes the one view
// model, Document, that every renderer reads; renderers lay out and escape, and
// decide nothing. The same Document gives the same bytes in every format, at any
// time and in any process: there is no clock, no host name and no map order in it.
//
// The PDF renderer is in the package pdf below this one.
package report

// Format is one kind of report.
type Format struct {
	Name        string // as in `helmproof report --format`
	FileName    string // in the bundle
	ContentType string // for HTTP
}

// Formats lists the formats in the order in which people are offered them.
func Formats() []Format {
	return []Format{
		{"pdf", "report.pdf", "application/pdf"},
		{"md", "report.md", "text/markdown; charset=utf-8"},
		{"html", "report.html", "text/html; charset=utf-8"},
		{"json", "report.json", "application/json"},
		{"sarif", "results.sarif", "application/sarif+json"},
		{"junit", "junit.xml", "application/xml"},
	}
}
