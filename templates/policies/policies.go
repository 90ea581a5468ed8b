// Package policies holds the built-in ValidatingAdmissionPolicies, one file for
// each per-object rule. The same files are judged offline and can be installed
// in a cluster of Kubernetes 1.32 or newer; as they stand, their bindings deny
// in every namespace, kube-system included.
//
// They never hold up what runs. An update is judged by what it changes: containers
// and fields that it leaves as they were pass, so that objects from before the
// policies can be scaled, freed of finalizers, corrected and deleted. What the
// controllers of Kubernetes make of a workload that somebody wrote, ReplicaSets,
// Jobs and pods, passes too, or no old pod could move to another node: the
// workload itself is judged when it is written. An ephemeral container is judged
// as a container, when it is added, and a pod that is resized in place by what that
// takes from it. Which requests are judged, and which are not, stands in
// docs/platform-guide.md.
package policies

import "embed"

// FS holds one file <rule>.yaml per policy: the policy helmproof-<rule>, whose
// rule name is policy/<rule>, and its binding.
//
//go:embed *.yaml
var FS embed.FS
