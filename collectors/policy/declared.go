package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/companyos/helmproof/internal/manifest"
)

const ruleUser = rulePrefix + "run-as-non-root"

// declared is the reason that a workload gives for leaving user and groups to the
// platform, as OpenShift wants it (SEC-2). Whatever else the rule refuses is none of
// it: every container has to run with runAsNonRoot, and none as user 0.
func (r *policyRule) declared(o *manifest.Object) string {
	if !r.builtin || r.rule != ruleUser {
		return ""
	}
	reason := o.Declared("SEC-2")
	if reason == "" {
		return ""
	}
	tpl, ok, err := o.PodTemplate()
	if !ok || err != nil { // which the policy says
		return ""
	}
	pod := tpl.Spec.SecurityContext
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	if slices.ContainsFunc(manifest.Containers(&tpl.Spec), func(c corev1.Container) bool {
		nonRoot, user := pod.RunAsNonRoot, pod.RunAsUser
		if own := c.SecurityContext; own != nil && own.RunAsNonRoot != nil {
			nonRoot = own.RunAsNonRoot
		}
		if own := c.SecurityContext; own != nil && own.RunAsUser != nil {
			user = own.RunAsUser
		}
		return nonRoot == nil || !*nonRoot || user != nil && *user == 0
	}) {
		return ""
	}
	return reason
}
