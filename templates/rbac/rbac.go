// Package rbac holds the rights that helmproof's runs in a cluster need, one
// file for each kind of run: no more than that run needs, and each on its own.
package rbac

import _ "embed"

// KubeBench lets a ServiceAccount run `collect --cluster` with kube-bench.
//
//go:embed kube-bench.yaml
var KubeBench []byte

// Reader lets a ServiceAccount read live releases, and change nothing.
//
//go:embed reader.yaml
var Reader []byte

// Admission lets a ServiceAccount ask the API server's admission in dry-runs, and
// nothing but dry-runs.
//
//go:embed admission.yaml
var Admission []byte

// Trivy lets a ServiceAccount run `collect --scan trivy-job`.
//
//go:embed trivy.yaml
var Trivy []byte

// Drill lets a ServiceAccount read what drills look at, and take their Lease; what it
// may touch, and where, is bound to it besides.
//
//go:embed drill.yaml
var Drill []byte

// Rollback lets who is bound to it in a namespace do rollback drills there.
//
//go:embed rollback.yaml
var Rollback []byte

// Watch lets a ServiceAccount run `watch`.
//
//go:embed watch.yaml
var Watch []byte
