package workload

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/companyos/helmproof/internal/manifest"
)

// otherPolicy is a network policy of a kind that is not Kubernetes' own. What it
// comes to is a plugin's business: it may restrict pods that no NetworkPolicy
// selects, and open those that one restricts.
type otherPolicy struct {
	o         *manifest.Object
	selects   func(p *pod) bool // whether it may
	restricts bool              // it says something of ingress
	opens     bool              // it may let more through than a NetworkPolicy does
}

// otherPolicyKinds read the kinds of policies of plugins, by GROUP/KIND.
var otherPolicyKinds = map[string]func(map[string]any) []otherPolicy{
	"cilium.io/CiliumNetworkPolicy":                       cilium,
	"cilium.io/CiliumClusterwideNetworkPolicy":            cilium,
	"projectcalico.org/NetworkPolicy":                     calico,
	"projectcalico.org/GlobalNetworkPolicy":               calico,
	"crd.projectcalico.org/NetworkPolicy":                 calico,
	"crd.projectcalico.org/GlobalNetworkPolicy":           calico,
	"crd.antrea.io/NetworkPolicy":                         acting,
	"crd.antrea.io/ClusterNetworkPolicy":                  acting,
	"policy.networking.k8s.io/AdminNetworkPolicy":         acting,
	"policy.networking.k8s.io/ClusterNetworkPolicy":       acting,
	"policy.networking.k8s.io/BaselineAdminNetworkPolicy": baseline,
}

func (r *release) readOtherPolicy(o *manifest.Object) {
	read := otherPolicyKinds[o.GroupVersionKind().Group+"/"+o.GetKind()]
	if read == nil || o.NeverMade() != "" {
		return
	}
	namespaced := o.GetKind() == "NetworkPolicy" || o.GetKind() == "CiliumNetworkPolicy"
	for _, spec := range append([]any{o.Object["spec"]}, itemsOf(o.Object["specs"])...) { // Cilium knows both
		spec, ok := spec.(map[string]any)
		if !ok {
			continue
		}
		for _, x := range read(spec) {
			x.o = o
			selects := x.selects
			x.selects = func(p *pod) bool { return (!namespaced || p.ns == r.ns(o)) && (selects == nil || selects(p)) }
			r.others = append(r.others, x)
		}
	}
}

// othersOf are the policies of plugins that may restrict the pods, and those that
// may open them.
func (r *release) othersOf(p *pod) (restrict, open []*manifest.Object) {
	for _, x := range r.others {
		if !x.selects(p) {
			continue
		}
		if x.restricts && x.o.Missing(p.o) == "" && !slices.Contains(restrict, x.o) {
			restrict = append(restrict, x.o)
		}
		if x.opens && !slices.Contains(open, x.o) {
			open = append(open, x.o)
		}
	}
	return restrict, open
}

const otherFix = "Say it by NetworkPolicies, or waive it where somebody has read the policy that is named."

// called names policies of plugins, by the kind of the first.
func called(list []*manifest.Object) string { return list[0].GetKind() + " " + names(list) }

func itemsOf(v any) []any {
	list, _ := v.([]any)
	return list
}

func rulesIn(spec map[string]any, field string) []map[string]any {
	var out []map[string]any
	for _, e := range itemsOf(spec[field]) {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// cilium reads a rule of Cilium, which adds up with NetworkPolicies. What names pods
// or ports is as narrow as a NetworkPolicy is.
func cilium(spec map[string]any) []otherPolicy {
	selector, ok := spec["endpointSelector"].(map[string]any)
	if !ok {
		return nil // of nodes
	}
	x := otherPolicy{selects: ciliumSelector(selector), restricts: spec["ingress"] != nil || spec["ingressDeny"] != nil}
	for _, rule := range rulesIn(spec, "ingress") {
		x.opens = x.opens || len(itemsOf(rule["toPorts"])) == 0 && wideForCilium(rule)
	}
	return []otherPolicy{x}
}

// wideForCilium reports whether the peers of a rule may be more than a few.
func wideForCilium(rule map[string]any) bool {
	for field, peers := range rule {
		switch field {
		case "fromEndpoints", "fromRequires", "fromNodes":
		case "fromCIDR":
			if slices.ContainsFunc(itemsOf(peers), wideBlock) {
				return true
			}
		case "fromEntities":
			if slices.ContainsFunc(itemsOf(peers), func(e any) bool {
				name, _ := e.(string)
				return name == "all" || name == "cluster" || strings.HasPrefix(name, "world")
			}) {
				return true
			}
		default:
			return true
		}
	}
	return false
}

// wideBlock reports whether a block is, or may be, a good part of all addresses.
func wideBlock(v any) bool {
	text, _ := v.(string)
	_, bits, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(bits)
	return err != nil || n < 8
}

// ciliumSelector takes labels as Cilium names them, by their source: "k8s:app".
func ciliumSelector(selector map[string]any) func(*pod) bool {
	var s metav1.LabelSelector
	if err := decode(selector, &s); err != nil {
		return nil
	}
	own := func(key string) string {
		_, rest, found := strings.Cut(key, ":")
		if found {
			return rest
		}
		return key
	}
	cut := metav1.LabelSelector{MatchLabels: map[string]string{}}
	for k, v := range s.MatchLabels {
		if k = own(k); !strings.HasPrefix(k, "io.kubernetes.pod.") && !strings.HasPrefix(k, "io.cilium.") { // labels of its own
			cut.MatchLabels[k] = v
		}
	}
	for _, e := range s.MatchExpressions {
		if e.Key = own(e.Key); !strings.HasPrefix(e.Key, "io.kubernetes.pod.") && !strings.HasPrefix(e.Key, "io.cilium.") {
			cut.MatchExpressions = append(cut.MatchExpressions, e)
		}
	}
	sel, err := metav1.LabelSelectorAsSelector(&cut)
	if err != nil {
		return nil
	}
	return func(p *pod) bool { return p.err != nil || sel.Matches(p.labels) }
}

// oneLabel is a selector of Calico that is plain enough to be read here.
var oneLabel = regexp.MustCompile(`^\s*([\w./-]+)\s*==\s*['"]([^'"]*)['"]\s*$`)

// calico reads a policy of Calico, which is asked before NetworkPolicies are where its
// order says so.
func calico(spec map[string]any) []otherPolicy {
	var x otherPolicy
	if text, _ := spec["selector"].(string); oneLabel.MatchString(text) {
		m := oneLabel.FindStringSubmatch(text)
		want := labels.SelectorFromSet(labels.Set{m[1]: m[2]})
		x.selects = func(p *pod) bool { return p.err != nil || want.Matches(p.labels) }
	}
	types := itemsOf(spec["types"])
	x.restricts = spec["ingress"] != nil || slices.Contains(types, any("Ingress")) || len(types) == 0 && spec["egress"] == nil
	for _, rule := range rulesIn(spec, "ingress") {
		to, _ := rule["destination"].(map[string]any)
		from, _ := rule["source"].(map[string]any)
		nets := itemsOf(from["nets"])
		narrow := len(itemsOf(to["ports"])) > 0 || len(nets) > 0 && !slices.ContainsFunc(nets, wideBlock) || from["selector"] != nil || from["namespaceSelector"] != nil || from["serviceAccounts"] != nil
		x.opens = x.opens || rule["action"] == "Allow" && !narrow
	}
	return []otherPolicy{x}
}

// acting reads policies whose rules say what is to be done, before NetworkPolicies
// are asked.
func acting(spec map[string]any) []otherPolicy {
	x := otherPolicy{restricts: spec["ingress"] != nil}
	for _, rule := range rulesIn(spec, "ingress") {
		lets := rule["action"] == "Allow" || rule["action"] == "Accept"
		x.opens = x.opens || lets && spec["tier"] != "Baseline" && len(itemsOf(rule["ports"])) == 0 && len(itemsOf(rule["protocols"])) == 0
	}
	return []otherPolicy{x}
}

// baseline reads what counts only where no NetworkPolicy selects the pods.
func baseline(spec map[string]any) []otherPolicy {
	return []otherPolicy{{restricts: spec["ingress"] != nil}}
}
