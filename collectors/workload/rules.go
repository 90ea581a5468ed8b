package workload

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

// budgetsAndReplicas decides AVL-1, AVL-2 and AVL-4.
func (r *release) budgetsAndReplicas() {
	used := make([]bool, len(r.budgets))
	for _, p := range r.pods {
		var mine []*collectors.Object
		var first *budget
		for i := range r.budgets {
			b := &r.budgets[i]
			if b.ns == p.ns && b.selector.Matches(p.labels()) {
				used[i] = true
				mine = append(mine, b.o)
				if first == nil {
					first = b
				}
			}
		}
		if !p.replicated() {
			continue
		}
		n, said, by := r.floor(p)
		r.replicas(p, n, said, by)
		switch {
		case n < 0:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomeError, "spec.replicas is not a number", "Set spec.replicas to a whole number.")
		case n < 2:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomeNotApplicable, "one replica: a disruption budget could only block drains", "")
			if first != nil {
				r.allows(p, first, n)
			}
		case len(mine) == 0:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomeFail, "no PodDisruptionBudget selects its pods",
				"Add a PodDisruptionBudget whose selector matches the pod template's labels, with maxUnavailable: 1.")
		case len(mine) > 1:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomeFail, fmt.Sprintf("%d PodDisruptionBudgets select its pods (%s): the eviction API refuses such pods", len(mine), names(mine)),
				"Let exactly one PodDisruptionBudget select the pods.", mine...)
		default:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomePass, "PodDisruptionBudget "+mine[0].GetName()+" selects its pods", "", mine...)
			r.allows(p, first, n)
		}
	}
	for i, b := range r.budgets {
		if !used[i] {
			r.add(RulePDBAllows, b.o, "", evidence.OutcomeWarn, "selects no pod of the release", "Make spec.selector match the labels of the pods that it is meant for, or remove it.")
		}
	}
}

func (r *release) replicas(p pod, n int, said string, by *collectors.Object) {
	if k := p.o.GetKind(); k != "Deployment" && k != "StatefulSet" {
		return
	}
	switch {
	case n < 0:
		r.add(RuleReplicas, p.o, "", evidence.OutcomeError, "spec.replicas is not a number", "Set spec.replicas to a whole number.")
	case n < 2:
		r.add(RuleReplicas, p.o, "", evidence.OutcomeFail, fmt.Sprintf("fewer than 2 replicas: %s", said), "Set spec.replicas to 2 or more, or minReplicas of its autoscaler.", by)
	default:
		r.add(RuleReplicas, p.o, "", evidence.OutcomePass, said, "", by)
	}
}

// allows decides AVL-2 for a workload of n pods: with all of them healthy the
// budget must allow a disruption, and not one of all pods.
func (r *release) allows(p pod, b *budget, n int) {
	allowed, err := disruptionsAllowed(b.spec.MinAvailable, b.spec.MaxUnavailable, n)
	about := fmt.Sprintf("PodDisruptionBudget %s with %d pods of %s", b.o.GetName(), n, p.o.Target("").Object())
	switch {
	case err != nil:
		r.add(RulePDBAllows, b.o, "", evidence.OutcomeError, about+": "+err.Error(), "Set exactly one of minAvailable and maxUnavailable, to a number or a percentage.", p.o)
	case allowed < 1:
		r.add(RulePDBAllows, b.o, "", evidence.OutcomeFail, about+" allows no disruption: no node that runs one can be drained",
			"Set maxUnavailable: 1, or minAvailable below the number of replicas.", p.o)
	case allowed >= n && n > 1:
		r.add(RulePDBAllows, b.o, "", evidence.OutcomeFail, about+" allows a disruption of all of them at once",
			"Set maxUnavailable below the number of replicas, or minAvailable to 1 or more.", p.o)
	default:
		r.add(RulePDBAllows, b.o, "", evidence.OutcomePass, fmt.Sprintf("%s allows %d at once", about, allowed), "", p.o)
	}
}

// disruptionsAllowed is how many of n healthy pods may be disrupted, computed
// as the disruption controller does: percentages round up.
func disruptionsAllowed(minAvailable, maxUnavailable *intstr.IntOrString, n int) (int, error) {
	switch {
	case minAvailable != nil && maxUnavailable != nil:
		return 0, fmt.Errorf("both minAvailable and maxUnavailable are set")
	case minAvailable != nil:
		v, err := intstr.GetScaledValueFromIntOrPercent(minAvailable, n, true)
		if err != nil {
			return 0, fmt.Errorf("minAvailable: %w", err)
		}
		if v < 0 {
			return 0, fmt.Errorf("minAvailable is negative")
		}
		return max(0, n-v), nil
	case maxUnavailable != nil:
		v, err := intstr.GetScaledValueFromIntOrPercent(maxUnavailable, n, true)
		if err != nil {
			return 0, fmt.Errorf("maxUnavailable: %w", err)
		}
		if v < 0 {
			return 0, fmt.Errorf("maxUnavailable is negative")
		}
		return min(n, v), nil
	}
	return 0, fmt.Errorf("neither minAvailable nor maxUnavailable is set")
}

// networkPolicies decides SEC-7: each pod is selected by a policy that
// restricts ingress to something.
func (r *release) networkPolicies() {
	const fix = "Add a NetworkPolicy whose podSelector matches the pod's labels and that allows only the traffic that it needs."
	for _, p := range r.pods {
		var ingress, open, egress []*collectors.Object
		for _, np := range r.policies {
			if np.ns != p.ns || !np.selector.Matches(p.labels()) {
				continue
			}
			if hasType(np.spec, networkingv1.PolicyTypeIngress) {
				if allowsAllIngress(np.spec) {
					open = append(open, np.o)
				} else {
					ingress = append(ingress, np.o)
				}
			}
			if hasType(np.spec, networkingv1.PolicyTypeEgress) {
				egress = append(egress, np.o)
			}
		}
		switch {
		case len(open) > 0:
			// Policies add up: one that allows everything undoes the others.
			r.add(RuleNetworkPolicy, p.o, "", evidence.OutcomeFail, "NetworkPolicy "+names(open)+" allows all ingress traffic to its pods", fix, open...)
		case len(ingress) == 0:
			r.add(RuleNetworkPolicy, p.o, "", evidence.OutcomeFail, "no NetworkPolicy restricts ingress to its pods", fix)
		case len(egress) == 0:
			r.add(RuleNetworkPolicy, p.o, "", evidence.OutcomeWarn, "NetworkPolicy "+names(ingress)+" restricts ingress; nothing restricts egress",
				"Add policyType Egress with the destinations that the pods need, DNS among them.", ingress...)
		default:
			r.add(RuleNetworkPolicy, p.o, "", evidence.OutcomePass, "restricted by NetworkPolicy "+names(ingress), "", ingress...)
		}
	}
}

// hasType follows the API server's default: Ingress always, Egress where there are egress rules.
func hasType(spec networkingv1.NetworkPolicySpec, t networkingv1.PolicyType) bool {
	if len(spec.PolicyTypes) > 0 {
		return slices.Contains(spec.PolicyTypes, t)
	}
	return t == networkingv1.PolicyTypeIngress || len(spec.Egress) > 0
}

func allowsAllIngress(spec networkingv1.NetworkPolicySpec) bool {
	return slices.ContainsFunc(spec.Ingress, func(rule networkingv1.NetworkPolicyIngressRule) bool {
		return len(rule.From) == 0 && len(rule.Ports) == 0
	})
}

// autoscalerConflicts decides ASC-4.
func (r *release) autoscalerConflicts() {
	const fix = "Set the VPA's updateMode to Off, or let it control other resources than the HPA scales on."
	for _, h := range r.hpas {
		if !r.targets(h.ns, h.target.Kind, h.target.Name) {
			r.add(RuleConflict, h.o, "", evidence.OutcomeWarn, fmt.Sprintf("scales %s %s, which is not in the release", h.target.Kind, h.target.Name),
				"Make spec.scaleTargetRef name a workload of the release.")
		}
	}
	for _, x := range r.vpas {
		if !r.targets(x.ns, x.kind, x.name) {
			r.add(RuleConflict, x.o, "", evidence.OutcomeWarn, fmt.Sprintf("watches %s %s, which is not in the release", x.kind, x.name),
				"Make spec.targetRef name a workload of the release.")
		}
	}
	for _, p := range r.pods {
		hs := r.scalersOf(p)
		var vs []vpa
		for _, x := range r.vpas {
			if x.scales(p) {
				vs = append(vs, x)
			}
		}
		if len(hs)+len(vs) == 0 {
			continue
		}
		var also []*collectors.Object
		for _, h := range hs {
			also = append(also, h.o)
		}
		for _, x := range vs {
			also = append(also, x.o)
		}
		if len(hs) > 1 {
			r.add(RuleConflict, p.o, "", evidence.OutcomeFail, fmt.Sprintf("%d HorizontalPodAutoscalers scale it: they undo each other", len(hs)), "Keep one HorizontalPodAutoscaler per workload.", also...)
			continue
		}
		conflict := ""
		for _, h := range hs {
			for _, x := range vs {
				for _, res := range x.resources {
					if x.mode != "Off" && slices.Contains(h.resources, res) {
						conflict = fmt.Sprintf("HorizontalPodAutoscaler %s scales on %s, and VerticalPodAutoscaler %s (updateMode %s) changes its request", h.o.GetName(), res, x.o.GetName(), x.mode)
					}
				}
			}
		}
		if conflict != "" {
			r.add(RuleConflict, p.o, "", evidence.OutcomeFail, conflict, fix, also...)
			continue
		}
		r.add(RuleConflict, p.o, "", evidence.OutcomePass, "its autoscalers do not work on one metric", "", also...)
	}
}

func (r *release) targets(ns, kind, name string) bool {
	return slices.ContainsFunc(r.pods, func(p pod) bool { return p.ns == ns && p.o.GetKind() == kind && p.o.GetName() == name })
}
