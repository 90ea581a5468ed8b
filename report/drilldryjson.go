package report

import "github.com/companyos/helmproof/internal/drill"

// DrillDryRunJSON is what `drill --dry-run -o json` prints.
type DrillDryRunJSON struct {
	Drills []DrillPlanJSON `json:"drills"`
}

// DrillPlanJSON is a drill that would be run, and what its preflight saw.
type DrillPlanJSON struct {
	Plan      drill.Plan    `json:"plan"`
	Preflight []drill.Check `json:"preflight"`
}

// DrillRestoredJSON is what `drill restore -o json` prints.
type DrillRestoredJSON struct {
	Restored []string `json:"restored"` // "uncordoned node-a"
}
