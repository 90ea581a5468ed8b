// Package readiness holds the built-in checklists of helmproof readiness.
package readiness

import "embed"

// FS has NAME.yaml for each checklist.
//
//go:embed *.yaml
var FS embed.FS
