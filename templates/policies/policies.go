// Package policies holds the built-in ValidatingAdmissionPolicies, one file for
// each per-object rule. The same files are judged offline and can be installed
// in a cluster of Kubernetes 1.32 or newer; as they stand, their bindings deny
// in every namespace, kube-system included.
package policies

import "embed"

// FS holds one file <rule>.yaml per policy: the policy helmproof-<rule>, whose
// rule name is policy/<rule>, and its binding.
//
//go:embed *.yaml
var FS embed.FS
