package scan

import (
	"context"

	"github.com/companyos/helmproof/evidence"
)

// Target is an image to scan.
type Target struct {
	// Reference names the image by digest: "registry.example.com/team/api@sha256:…".
	Reference string
	// Platform is which image of an index is scanned: "linux/amd64".
	Platform string
}

// Result is what a scanner said of one target.
type Result struct {
	// Raw is the report, unaltered, in a format that Read knows; its image digests
	// include that of the target's reference.
	Raw []byte
	// Version is the output of the scanner's own version command where the report
	// does not say how old the database is (ReadTrivyVersion); else nil.
	Version []byte
	// Err says why there is no report.
	Err error
}

// Scanner scans images. It is used by one goroutine at a time.
type Scanner interface {
	// Name is what reports are filed under: "osv", "trivy".
	Name() string
	// State is the digest of all that a result depends on besides the target:
	// version of the scanner, its settings, its database. While it is the same, so
	// is the result.
	State(ctx context.Context) (evidence.Digest, error)
	// Scan scans the targets, each once, and calls done for each in any order, never
	// concurrently. The error is that of ctx, or of what concerns all targets.
	Scan(ctx context.Context, targets []Target, done func(i int, r Result)) error
}
