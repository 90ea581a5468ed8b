package workload

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// networkPolicies decides SEC-7: each pod is selected by a policy that
// restricts ingress to something.
func (r *release) networkPolicies() {
	for i := range r.pods {
		switch p := &r.pods[i]; {
		case p.err != nil:
		case p.Guest:
			r.add(RuleNetworkPolicy, p.o, "", evidence.OutcomeNotChecked, "its containers run in pods that something else writes, with labels of their own", "Waive it where a NetworkPolicy of those pods is known.")
		default:
			r.networkPoliciesOf(p)
		}
	}
}

func (r *release) networkPoliciesOf(p *pod) {
	const fix = "Add a NetworkPolicy whose podSelector matches the pod's labels, that allows only the traffic that it needs, and that is no hook."
	// Policies add up: what is open by one, or by several together, is open. To
	// open, it is enough to be there at times.
	var in, out, inEver, outEver []netpol
	var missing absent
	for _, np := range r.policies {
		if !p.selectedBy(np.ns, np.selector) {
			continue
		}
		there, ever := !missing.is(np.o, p.o), np.o.NeverMade() == ""
		for _, d := range []struct {
			direction   networkingv1.PolicyType
			there, ever *[]netpol
		}{{networkingv1.PolicyTypeIngress, &in, &inEver}, {networkingv1.PolicyTypeEgress, &out, &outEver}} {
			if hasType(np.spec, d.direction) {
				if there {
					*d.there = append(*d.there, np)
				}
				if ever {
					*d.ever = append(*d.ever, np)
				}
			}
		}
	}
	ingress, egress := r.open(inEver, networkingv1.PolicyTypeIngress, false), r.open(outEver, networkingv1.PolicyTypeEgress, false)
	fromPods, toPods := r.open(inEver, networkingv1.PolicyTypeIngress, true), r.open(outEver, networkingv1.PolicyTypeEgress, true)
	about := func(list []netpol) []*manifest.Object {
		var out []*manifest.Object
		for _, np := range list {
			out = append(out, np.o)
		}
		return out
	}
	add := func(outcome evidence.Outcome, message, fix string, also []*manifest.Object) {
		r.add(RuleNetworkPolicy, p.o, "", outcome, p.Where(message), fix, also...)
	}
	closers, openers := r.othersOf(p)
	restricting := "NetworkPolicy " + names(about(in)) + " restricts ingress; "
	switch {
	case p.tpl.Spec.HostNetwork:
		f := r.add(RuleNetworkPolicy, p.o, "", evidence.OutcomeFail, p.Where("its pods use the host's network, to which no NetworkPolicy applies"), "Set hostNetwork to false, and add a NetworkPolicy.")
		if p.o.GroupVersionKind().GroupKind() == (schema.GroupKind{Group: "apps", Kind: "DaemonSet"}) {
			f.Declared = p.o.Declared("SEC-7") // an agent of the nodes
		}
	case len(ingress.by) > 0:
		add(evidence.OutcomeFail, ingress.said("all ingress traffic to"), fix, about(ingress.by))
	case len(in) == 0 && len(closers) > 0:
		add(evidence.OutcomeNotChecked, "no NetworkPolicy restricts ingress to its pods, and what "+called(closers)+" does is not looked at", otherFix, closers)
	case len(in) == 0:
		add(evidence.OutcomeFail, "no NetworkPolicy restricts ingress to its pods"+missing.said(), fix, missing.objects)
	case ingress.unknown != "" || egress.unknown != "" || fromPods.unknown != "" || toPods.unknown != "":
		add(evidence.OutcomeNotChecked, "what its NetworkPolicies allow was not worked out: "+cmp.Or(ingress.unknown, egress.unknown, fromPods.unknown, toPods.unknown), "Correct the blocks of addresses, or say it in fewer rules.", about(slices.Concat(inEver, outEver)))
	case len(openers) > 0:
		add(evidence.OutcomeNotChecked, restricting+"whether "+called(openers)+" opens them again is not looked at", otherFix, slices.Concat(about(in), openers))
	case len(fromPods.by) > 0:
		add(evidence.OutcomeWarn, fromPods.said("ingress from every pod of the cluster to")+", and keeps out only what is outside of it", "Name the namespaces and pods that may call.", about(fromPods.by))
	case len(out) == 0:
		add(evidence.OutcomeWarn, restricting+"nothing restricts egress"+missing.said(), "Add policyType Egress with the destinations that the pods need, DNS among them.", about(in))
	case len(egress.by) > 0:
		add(evidence.OutcomeWarn, restricting+egress.said("all egress traffic from"), "Name the destinations that the pods need, DNS among them.", about(slices.Concat(in, egress.by)))
	case len(toPods.by) > 0:
		add(evidence.OutcomeWarn, restricting+toPods.said("egress to every pod of the cluster from"), "Name the namespaces and pods that are called.", about(slices.Concat(in, toPods.by)))
	default:
		add(evidence.OutcomePass, "restricted by NetworkPolicy "+names(about(in)), "", about(in))
	}
}

// hasType follows the API server's default: Ingress always, Egress where there are egress rules.
func hasType(spec networkingv1.NetworkPolicySpec, t networkingv1.PolicyType) bool {
	if len(spec.PolicyTypes) > 0 {
		return slices.Contains(spec.PolicyTypes, t)
	}
	return t == networkingv1.PolicyTypeIngress || len(spec.Egress) > 0
}

// networkRule is a rule of either direction: these peers, by these ports.
type networkRule struct {
	peers []networkingv1.NetworkPolicyPeer
	ports []networkingv1.NetworkPolicyPort
}

func rulesOf(spec networkingv1.NetworkPolicySpec, direction networkingv1.PolicyType) []networkRule {
	var out []networkRule
	if direction == networkingv1.PolicyTypeEgress {
		for _, x := range spec.Egress {
			out = append(out, networkRule{x.To, x.Ports})
		}
		return out
	}
	for _, x := range spec.Ingress {
		out = append(out, networkRule{x.From, x.Ports})
	}
	return out
}

// opened says which policies open the pods to everyone; none: they do not.
type opened struct {
	by      []netpol
	unknown string // why it was not worked out
}

func (o opened) said(what string) string {
	var list []*manifest.Object
	for _, np := range o.by {
		list = append(list, np.o)
	}
	if len(list) > 1 {
		return fmt.Sprintf("NetworkPolicies %s allow %s its pods", names(list), what)
	}
	return fmt.Sprintf("NetworkPolicy %s allows %s its pods", names(list), what)
}

// open looks for policies that are open alone, then at what all of them allow
// together. pods: every pod of the cluster is everyone. Many pods have the same
// policies: what was worked out is kept.
func (r *release) open(policies []netpol, direction networkingv1.PolicyType, pods bool) opened {
	id := fmt.Appendf(nil, "%s %t ", direction, pods)
	for _, np := range policies {
		id = binary.AppendUvarint(id, uint64(np.n))
	}
	key := string(id)
	out, ok := r.opened[key]
	if ok || len(policies) == 0 || pods && !slices.ContainsFunc(policies, func(np netpol) bool { return namesEveryPod(np.spec, direction) }) {
		return out
	}
	var all []networkRule
	for i, np := range policies {
		rules := rulesOf(np.spec, direction)
		all = append(all, rules...)
		if len(policies) > 1 {
			out.by = append(out.by, r.open(policies[i:i+1], direction, pods).by...)
		}
	}
	if len(out.by) == 0 {
		open, err := opensAll(all, pods, &r.work)
		switch {
		case err != nil:
			out.unknown = err.Error()
		case open:
			out.by = policies
		}
	}
	r.opened[key] = out
	return out
}

func namesEveryPod(spec networkingv1.NetworkPolicySpec, direction networkingv1.PolicyType) bool {
	return slices.ContainsFunc(rulesOf(spec, direction), func(rule networkRule) bool { return slices.ContainsFunc(rule.peers, everyPod) })
}

const (
	allPorts = 65535 // 1 to 65535
	// maxWork bounds rules times ranges of ports, which grows with the square of what
	// a chart writes, for one set of policies and for all of a release.
	maxWork    = 4_000_000
	maxAllWork = 10 * maxWork
)

// opensAll reports whether the rules, taken together, let everyone through by most
// ports of a protocol: at least half of all addresses of a family by at least half
// of all ports. What leaves out one address, one port or one network restricts
// nothing worth the name; a service that is open to the world by one port is
// not meant. pods: so do every pod of the cluster, and the pods of all namespaces but some.
func opensAll(rules []networkRule, pods bool, work *int) (bool, error) {
	protocols := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	for _, rule := range rules {
		for _, port := range rule.ports {
			if p := protocolOf(port); !slices.Contains(protocols, p) {
				protocols = append(protocols, p)
			}
		}
	}
	for _, protocol := range protocols {
		open, err := opensProtocol(rules, protocol, pods, work)
		if open || err != nil {
			return open, err
		}
	}
	return false, nil
}

func opensProtocol(rules []networkRule, protocol corev1.Protocol, pods bool, done *int) (bool, error) {
	type reach struct {
		to    addresses
		ports spans
	}
	var list []reach
	bounds := []uint64{}
	work := 0
	for _, rule := range rules {
		ports := portsOf(rule.ports, protocol)
		if len(ports) == 0 {
			continue
		}
		to, err := addressesOf(rule.peers)
		if err != nil {
			return false, err
		}
		if to.none() {
			continue
		}
		for _, s := range ports {
			bounds = append(bounds, s.from, s.to)
		}
		list = append(list, reach{to, ports})
		work += len(to.four) + len(to.six) + len(ports)
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	work *= len(bounds)
	if *done += work; work > maxWork || *done > maxAllWork {
		return false, fmt.Errorf("%d rules with %d ranges of ports", len(list), len(bounds)/2)
	}
	open := uint64(0)
	for i := 1; i < len(bounds); i++ {
		var to addresses
		for _, x := range list {
			if x.ports.has(bounds[i-1]) {
				to.add(x.to)
			}
		}
		if to.everyone() || pods && to.pods {
			open += bounds[i] - bounds[i-1]
		}
	}
	return 2*open >= allPorts, nil
}

func protocolOf(port networkingv1.NetworkPolicyPort) corev1.Protocol {
	if port.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *port.Protocol
}

// portsOf is the ports of one protocol that a rule opens. A port that is not said
// is all of them; a named one is one port, though nobody can say which.
func portsOf(ports []networkingv1.NetworkPolicyPort, protocol corev1.Protocol) spans {
	if len(ports) == 0 {
		return spans{{1, allPorts + 1}}
	}
	var out spans
	for _, port := range ports {
		if protocolOf(port) != protocol {
			continue
		}
		if port.Port == nil {
			return spans{{1, allPorts + 1}}
		}
		from := uint64(max(0, port.Port.IntValue()))
		to := from
		if port.EndPort != nil {
			to = max(from, min(uint64(max(0, *port.EndPort)), allPorts))
		}
		out = append(out, span{from, to + 1})
	}
	return out.merged()
}
