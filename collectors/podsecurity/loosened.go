package podsecurity

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/pod-security-admission/api"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// loosened judges a Namespace that lets more in than restricted does: whoever may make
// pods in it may make such.
func loosened(d *collectors.Derivation, o *manifest.Object) {
	if o.GroupVersionKind().GroupKind() != (schema.GroupKind{Kind: "Namespace"}) {
		return
	}
	level, labelled := o.GetLabels()[api.EnforceLevelLabel]
	if !labelled || level == string(api.LevelRestricted) {
		return
	}
	outcome, lets := evidence.OutcomeFail, "lets all pods in"
	switch level {
	case string(api.LevelPrivileged):
	case string(api.LevelBaseline):
		outcome, lets = evidence.OutcomeWarn, "lets pods in that restricted refuses"
	default:
		outcome, lets = evidence.OutcomeWarn, "is no level of the Pod Security Standards"
	}
	d.Add(RuleNamespace, o.Target(""), outcome, fmt.Sprintf("label %s: %s %s", api.EnforceLevelLabel, level, lets),
		"Label the namespace "+api.EnforceLevelLabel+": restricted, or leave the label to those who run the cluster.", d.Lines(o.From, o.To))
}

const ownPrefix = "helmproof-"

// policies judges what changes the admission policies of helmproof in the cluster: a
// binding without Deny, or a policy that refuses nothing, in the place of the one that is
// there.
func policies(d *collectors.Derivation, o *manifest.Object) {
	gk := o.GroupVersionKind().GroupKind()
	if gk.Group != "admissionregistration.k8s.io" {
		return
	}
	spec, _ := o.Object["spec"].(map[string]any)
	problem := ""
	switch gk.Kind {
	case "ValidatingAdmissionPolicyBinding":
		name, _ := spec["policyName"].(string)
		actions, _ := spec["validationActions"].([]any)
		if (strings.HasPrefix(name, ownPrefix) || strings.HasPrefix(o.GetName(), ownPrefix)) && !slices.Contains(actions, any("Deny")) {
			problem = fmt.Sprintf("binds policy %s without Deny: what breaks it is let in", name)
		}
	case "ValidatingAdmissionPolicy":
		validations, _ := spec["validations"].([]any)
		switch own := strings.HasPrefix(o.GetName(), ownPrefix); {
		case own && len(validations) == 0:
			problem = "has the name of a policy of helmproof and validates nothing"
		case own && spec["failurePolicy"] == "Ignore":
			problem = "has the name of a policy of helmproof and lets in what it cannot evaluate (failurePolicy Ignore)"
		}
	case "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
		if strings.HasPrefix(o.GetName(), ownPrefix) {
			problem = "has a name as the policies of helmproof have, and is none of them"
		}
	}
	if problem != "" {
		d.Add(RulePolicies, o.Target(""), evidence.OutcomeWarn, problem,
			"Leave the policies of helmproof and their bindings to charts/platform, and let them deny.", d.Lines(o.From, o.To))
	}
}
