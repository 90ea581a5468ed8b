// Package jobs holds the Jobs and pods that helmproof runs in a cluster. What differs
// from run to run (names, node, image, deadlines, parameters) is set by the
// collector; what a Job may do is in these files, to be read and reviewed.
package jobs

import _ "embed"

// KubeBench is the Job that runs kube-bench on one node (batch/v1, YAML).
//
//go:embed kube-bench.yaml
var KubeBench []byte

// Trivy is the Job that scans one image with Trivy (batch/v1, YAML).
//
//go:embed trivy.yaml
var Trivy []byte

// Prober is the pod that probes a release from within its namespace (v1, YAML).
//
//go:embed prober.yaml
var Prober []byte
