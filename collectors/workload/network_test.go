package workload_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/workload"
)

// TestOpenNetworkPolicies holds that a policy counts by what it lets through, not
// by how it is written. Each row is the rules of one direction.
func TestOpenNetworkPolicies(t *testing.T) {
	t.Parallel()
	eighths := make([]string, 256)
	for i := range eighths {
		eighths[i] = fmt.Sprintf("{ipBlock: {cidr: %d.0.0.0/8}}", i)
	}
	const pods = "{podSelector: {matchLabels: {app: x}}}"
	cidr := func(block, except string) string {
		return "{ipBlock: {cidr: '" + block + "', except: [" + except + "]}}"
	}
	for _, tt := range []struct {
		name, rules string // %s stands for from or to
		open        bool
	}{
		{"nothing said", "{}", true},
		{"no peers", "{%s: []}", true},
		{"a range of all ports", "{ports: [{port: 1, endPort: 65535}]}", true},
		{"a range of all ports but one", "{ports: [{port: 2, endPort: 65535}]}", true},
		{"a range of all ports of UDP", "{ports: [{protocol: UDP, port: 1, endPort: 65535}]}", true},
		{"two ranges in one rule", "{ports: [{port: 1, endPort: 20000}, {port: 20001, endPort: 65535}]}", true},
		{"two ranges in two rules", "{ports: [{port: 1, endPort: 20000}]}, {ports: [{port: 20001, endPort: 65535}]}", true},
		{"two ranges of two protocols", "{ports: [{protocol: UDP, port: 1, endPort: 20000}, {port: 20001, endPort: 50000}]}", false},
		{"one port", "{ports: [{port: 443}]}", false},
		{"a named port", "{ports: [{port: https}]}", false},
		{"a small range", "{ports: [{port: 30000, endPort: 32767}]}", false},
		{"all addresses", "{%s: [" + cidr("0.0.0.0/0", "") + "]}", true},
		{"another spelling of none", "{%s: [" + cidr("0.0.0.0/00", "") + "]}", true},
		{"another address", "{%s: [" + cidr("1.2.3.4/0", "") + "]}", true},
		{"leading zeros", "{%s: [" + cidr("000.0.0.0/0", "") + "]}", true},
		{"but one", "{%s: [" + cidr("0.0.0.0/0", "10.0.0.1/32") + "]}", true},
		{"but the metadata address", "{%s: [" + cidr("0.0.0.0/0", "169.254.169.254/32") + "]}", true},
		{"but the private networks", "{%s: [" + cidr("0.0.0.0/0", "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16") + "]}", true},
		{"but most", "{%s: [" + cidr("0.0.0.0/0", "0.0.0.0/1, 128.0.0.0/2") + "]}", false},
		{"but all", "{%s: [" + cidr("0.0.0.0/0", "0.0.0.0/1, 128.0.0.0/1") + "]}", false},
		{"overlapping exceptions", "{%s: [" + cidr("0.0.0.0/0", "10.0.0.0/8, 10.1.0.0/16, 10.0.0.0/8") + "]}", true},
		{"two halves", "{%s: [" + cidr("0.0.0.0/1", "") + ", " + cidr("128.0.0.0/1", "") + "]}", true},
		{"two halves in two rules", "{%s: [" + cidr("0.0.0.0/1", "") + "]}, {%s: [" + cidr("128.0.0.0/1", "") + "]}", true},
		{"two thirds, in three overlapping rules", "{%s: [" + cidr("64.0.0.0/2", "") + "]}, {%s: [" + cidr("96.0.0.0/3", "") + "]}, {%s: [" + cidr("128.0.0.0/2", "") + "]}", true},
		{"a quarter twice", "{%s: [" + cidr("64.0.0.0/2", "") + "]}, {%s: [" + cidr("64.0.0.0/2", "") + "]}", false},
		{"what one excepts another has", "{%s: [" + cidr("0.0.0.0/0", "0.0.0.0/1, 128.0.0.0/2") + ", " + cidr("128.0.0.0/2", "") + "]}", true},
		{"each network of a class", "{%s: [" + strings.Join(eighths, ", ") + "]}", true},
		{"each but by one port", "{ports: [{port: 443}], %s: [" + strings.Join(eighths, ", ") + "]}", false},
		{"halves of addresses, each by its half of the ports", "{ports: [{port: 1, endPort: 20000}], %s: [" + cidr("0.0.0.0/2", "") + "]}, {ports: [{port: 20001, endPort: 65535}], %s: [" + cidr("64.0.0.0/2", "") + "]}", false},
		{"halves of addresses, each by all ports", "{ports: [{port: 1, endPort: 65535}], %s: [" + cidr("0.0.0.0/1", "") + "]}, {ports: [{port: 1, endPort: 65000}], %s: [" + cidr("128.0.0.0/1", "") + "]}", true},
		{"all of IPv6", "{%s: [" + cidr("::/0", "") + "]}", true},
		{"all of IPv6 that is routed", "{%s: [" + cidr("2000::/3", "") + "]}", true},
		{"halves of IPv6", "{%s: [" + cidr("::/1", "") + ", " + cidr("8000::/1", "") + "]}", true},
		{"all of IPv6 but one", "{%s: [" + cidr("::/0", "2001:db8::1/128") + "]}", true},
		{"a network of IPv6", "{%s: [" + cidr("2001:db8::/32", "") + "]}", false},
		{"one's own networks of IPv6", "{%s: [" + cidr("fc00::/7", "") + "]}", false},
		{"IPv4 in the form of IPv6", "{%s: [" + cidr("::ffff:0.0.0.0/96", "") + "]}", true},
		{"private networks", "{%s: [" + cidr("10.0.0.0/8", "") + ", " + cidr("172.16.0.0/12", "") + ", " + cidr("192.168.0.0/16", "") + "]}", false},
		{"an empty peer", "{%s: [{}]}", true},
		{"pods", "{%s: [" + pods + "]}", false},
		{"pods, beside an open rule", "{%s: [" + pods + "]}, {}", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in, out := strings.ReplaceAll(tt.rules, "%s", "from"), strings.ReplaceAll(tt.rules, "%s", "to")
			closed := "podSelector: {}, policyTypes: [Ingress, Egress]"
			inWant, outWant := "pass Deployment web: restricted by NetworkPolicy np", "pass Deployment web: restricted by NetworkPolicy np"
			if tt.open {
				inWant, outWant = "fail Deployment web: NetworkPolicy np allows all ingress traffic to its pods", "warn Deployment web: NetworkPolicy np allows all egress traffic from its pods"
			}
			rows(t, workload.RuleNetworkPolicy, []row{
				{"ingress", docs(deployment("web"), netpol("np", closed+", ingress: ["+in+"]")), []string{inWant}},
				{"egress", docs(deployment("web"), netpol("np", closed+", egress: ["+out+"]")), []string{outWant}},
			})
		})
	}
}

// TestEveryPod: a policy that every pod of the cluster passes keeps out only what is
// outside of it, which is said. Each row is the peers of one rule, or more of it.
func TestEveryPod(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, rule string // %s stands for from or to
		every      bool
	}{
		{"every namespace", "%s: [{namespaceSelector: {}}]", true},
		{"every pod of every namespace", "%s: [{namespaceSelector: {}, podSelector: {}}]", true},
		{"the label that each has", "%s: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: Exists}]}}]", true},
		{"but one namespace", "%s: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: NotIn, values: [a]}]}}]", true},
		{"without a label", "%s: [{namespaceSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}]", true},
		{"pods without a label", "%s: [{namespaceSelector: {}, podSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}]", true},
		{"beside another", "%s: [{podSelector: {matchLabels: {a: b}}}, {namespaceSelector: {}}]", true},
		{"by all ports", "%s: [{namespaceSelector: {}}], ports: [{port: 1, endPort: 65535}]", true},
		{"by one port", "%s: [{namespaceSelector: {}}], ports: [{port: 443}]", false},
		{"some pods of every namespace", "%s: [{namespaceSelector: {}, podSelector: {matchLabels: {a: b}}}]", false},
		{"namespaces with a label", "%s: [{namespaceSelector: {matchExpressions: [{key: a, operator: Exists}]}}]", false},
		{"one namespace", "%s: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: a}}}]", false},
		{"all pods of its own", "%s: [{podSelector: {}}]", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in, out := strings.ReplaceAll(tt.rule, "%s", "from"), strings.ReplaceAll(tt.rule, "%s", "to")
			closed := "podSelector: {}, policyTypes: [Ingress, Egress]"
			inWant, outWant := "pass Deployment web: restricted by NetworkPolicy np", "pass Deployment web: restricted by NetworkPolicy np"
			if tt.every {
				inWant, outWant = "warn Deployment web: NetworkPolicy np allows ingress from every pod of the cluster to its pods", "warn Deployment web: NetworkPolicy np allows egress to every pod of the cluster from its pods"
			}
			rows(t, workload.RuleNetworkPolicy, []row{
				{"ingress", docs(deployment("web"), netpol("np", closed+", ingress: [{"+in+"}]")), []string{inWant}},
				{"egress", docs(deployment("web"), netpol("np", closed+", egress: [{"+out+"}]")), []string{outWant}},
			})
		})
	}
}

func deployment(name string) string { return pods("Deployment", name, 2, "app: "+name, "") }

// TestNetworkPoliciesTogether holds that policies add up.
func TestNetworkPoliciesTogether(t *testing.T) {
	t.Parallel()
	half := func(name, cidr, more string) string {
		return netpol(name, "podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{ipBlock: {cidr: "+cidr+more+"}}]}]")
	}
	const rest = "podSelector: {}, policyTypes: [Ingress, Egress]"
	hook := func(manifest, events string) string {
		return strings.Replace(manifest, "metadata: {", "metadata: {annotations: {helm.sh/hook: '"+events+"'}, ", 1)
	}
	rows(t, workload.RuleNetworkPolicy, []row{
		{"two halves", docs(deployment("web"), half("a", "0.0.0.0/1", ""), half("b", "128.0.0.0/1", "")), []string{"fail Deployment web: NetworkPolicies a, b allow all ingress traffic to its pods"}},
		{"one of them is open", docs(deployment("web"), half("a", "0.0.0.0/0", ""), half("b", "128.0.0.0/2", "")), []string{"fail Deployment web: NetworkPolicy a allows all ingress"}},
		{"open while a hook runs", docs(deployment("web"), netpol("np", rest), hook(half("b", "0.0.0.0/0", ""), "test")), []string{"fail Deployment web: NetworkPolicy b allows all ingress"}},
		{"what never is opens nothing", docs(deployment("web"), netpol("np", rest), hook(half("b", "0.0.0.0/0", ""), "bogus")), []string{"pass Deployment web: restricted by NetworkPolicy np"}},
		{"no block", docs(deployment("web"), half("a", "10.0.0.0/33", "")), []string{`not-checked Deployment web: what its NetworkPolicies allow was not worked out: "10.0.0.0/33" is no block of addresses`}},
		{"no exception", docs(deployment("web"), half("a", "10.0.0.0/8", ", except: [everyone]")), []string{`not-checked Deployment web: "everyone" is no block of addresses`}},
	})
}

// TestHugeNetworkPolicy: what would take too long is not checked, and says so.
func TestHugeNetworkPolicy(t *testing.T) {
	t.Parallel()
	var rules strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&rules, "{ports: [{port: %d}], from: [{ipBlock: {cidr: 10.0.%d.%d/32}}]}, ", 2*i+1, i/256, i%256)
	}
	began := time.Now()
	rows(t, workload.RuleNetworkPolicy, []row{{"many rules", docs(deployment("web"), netpol("np", "podSelector: {}, policyTypes: [Ingress, Egress], ingress: ["+rules.String()+"]")),
		[]string{"not-checked Deployment web: 5000 rules with"}}})
	// The same, and again for each of many pods.
	var many []string
	var ports strings.Builder
	for i := range 900 {
		fmt.Fprintf(&ports, "{ports: [{port: %d}], from: [{ipBlock: {cidr: 10.0.%d.%d/32}}]}, ", 2*i+1, i/256, i%256)
	}
	for i := range 40 {
		many = append(many, deployment(fmt.Sprint("web", i)), netpol(fmt.Sprint("np", i), fmt.Sprintf("podSelector: {matchLabels: {app: web%d}}, policyTypes: [Ingress, Egress]", i)))
	}
	unchecked := 0
	for _, f := range findings(t, docs(append(many, netpol("np", "podSelector: {}, policyTypes: [Ingress, Egress], ingress: ["+ports.String()+"]"))...)) {
		if f.Rule == workload.RuleNetworkPolicy && f.Outcome == "not-checked" {
			unchecked++
		}
	}
	if unchecked == 0 || unchecked == 40 {
		t.Errorf("%d of 40 not checked", unchecked)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %s", took)
	}
}

// TestHelpersThatAreNotThere: an object that Helm never makes, or that is gone
// while the workload runs, satisfies nothing; the pods of hooks are judged.
func TestHelpersThatAreNotThere(t *testing.T) {
	t.Parallel()
	hook := func(manifest, events, more string) string {
		return strings.Replace(manifest, "metadata: {", "metadata: {annotations: {helm.sh/hook: '"+events+"'"+more+"}, ", 1)
	}
	np := netpol("np", "podSelector: {}, policyTypes: [Ingress, Egress]")
	budget := pdb("web", "maxUnavailable: 1, selector: {matchLabels: {app: web}}")
	const deleted = ", helm.sh/hook-delete-policy: 'before-hook-creation,hook-succeeded'"
	job := pods("Job", "migrate", -1, "app: migrate", "")
	one := pods("Deployment", "web", 1, "app: web", "")
	scaler := hpa("web", "web", ", minReplicas: 2")
	uses := pods("Deployment", "web", 2, "app: web", "imagePullSecrets: [{name: db-login}]")
	for _, tt := range []struct{ events, more, why string }{
		{"bogus", "", `event "bogus" is none of Helm's`},
		{"pre-install,bogus", "", `event "bogus" is none of Helm's`},
		{"test", "", "hook of test, which an installation does not make"},
		{"pre-delete,post-delete", "", "which an installation does not make"},
		{"post-rollback", "", "which an installation does not make"},
		{"pre-upgrade,post-upgrade", "", "which an installation does not make"},
		{"pre-install", "", "which an upgrade does not make"},
		{"pre-install,pre-upgrade", deleted, "deleted as soon as it has succeeded"},
	} {
		t.Run(tt.events+tt.more, func(t *testing.T) {
			t.Parallel()
			rows(t, workload.RuleNetworkPolicy, []row{{"network policy", docs(deployment("web"), hook(np, tt.events, tt.more)), []string{"fail Deployment web: NetworkPolicy np does not count: "}},
				{"and why", docs(deployment("web"), hook(np, tt.events, tt.more)), []string{"fail Deployment web: " + tt.why}}})
			rows(t, workload.RulePDBSelects, []row{{"budget", docs(deployment("web"), hook(budget, tt.events, tt.more)), []string{"fail Deployment web: no PodDisruptionBudget selects its pods (PodDisruptionBudget web does not count: "}}})
			rows(t, workload.RulePDBAllows, []row{{"budget", docs(deployment("web"), hook(budget, tt.events, tt.more)), []string{"not-applicable PodDisruptionBudget web: " + tt.why}}})
			rows(t, workload.RuleReplicas, []row{{"autoscaler", docs(one, hook(scaler, tt.events, tt.more)), []string{"fail Deployment web: spec.replicas is 1"}}})
			rows(t, workload.RuleSecret, []row{{"external secret", docs(uses, hook(externalSecret, tt.events, tt.more)), []string{"fail Deployment web: ExternalSecret db does not make in time: "}},
				{"and why", docs(uses, hook(externalSecret, tt.events, tt.more)), []string{"fail Deployment web: " + tt.why}}})
		})
	}
	const kept = "pre-install,pre-upgrade"
	rows(t, workload.RuleNetworkPolicy, []row{
		{"made before and kept", docs(deployment("web"), hook(np, kept, "")), []string{"pass Deployment web: restricted"}},
		{"a hook's pod, unguarded", docs(hook(job, "bogus", "")), []string{"fail Job migrate: no NetworkPolicy"}},
		{"a hook's pod, before the release", docs(hook(job, kept, ""), np), []string{"fail Job migrate: NetworkPolicy np does not count: it is installed only after the hooks of pre-install"}},
		{"a hook's pod, with a guard of its own", docs(hook(job, kept, ""), hook(np, kept, deleted+", helm.sh/hook-weight: '-1'")), []string{"pass Job migrate: restricted"}},
		{"a guard that comes after it", docs(hook(job, kept, ""), hook(np, kept, ", helm.sh/hook-weight: '1'")), []string{"fail Job migrate: not made before the hooks of pre-install"}},
		{"a test's pod", docs(hook(pods("Pod", "try", -1, "app: try", ""), "test", ""), np), []string{"pass Pod try: restricted"}},
		{"in a list", docs(deployment("web"), "apiVersion: v1\nkind: List\nmetadata: {annotations: {helm.sh/hook: test}}\nitems: [{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np}, spec: {policyTypes: [Ingress, Egress]}}]"),
			[]string{"fail Deployment web: NetworkPolicy np does not count: it is a hook of test"}},
		{"items are no hooks", docs(deployment("web"), "apiVersion: v1\nkind: List\nitems: [{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np, annotations: {helm.sh/hook: test}}, spec: {policyTypes: [Ingress, Egress]}}]"),
			[]string{"pass Deployment web: restricted"}},
	})
	rows(t, workload.RuleReplicas, []row{
		{"an autoscaler of a hook can do harm", docs(deployment("web"), hook(hpa("web", "web", ", minReplicas: 1"), "test", "")), []string{"fail Deployment web: HorizontalPodAutoscaler web keeps at least 1"}},
		{"the one that stays decides", docs(deployment("web"), scaler, hook(hpa("x", "web", ", minReplicas: 5"), "test", "")), []string{"pass Deployment web: web keeps at least 2"}},
	})
	rows(t, workload.RulePDBSelects, []row{
		{"two at times", docs(deployment("web"), budget, hook(pdb("b", "maxUnavailable: 1, selector: {}"), "test", "")), []string{"fail Deployment web: 2 PodDisruptionBudgets select its pods"}},
		{"one that never is", docs(deployment("web"), budget, hook(pdb("b", "maxUnavailable: 1, selector: {}"), "bogus", "")), []string{"pass Deployment web: PodDisruptionBudget web selects"}},
	})
	rows(t, workload.RuleSecret, []row{
		{"one stays, one does not", docs(uses, hook(externalSecret, "test", ""), externalSecret), []string{"pass Deployment web: made by ExternalSecret db"}},
		{"a plain Secret counts whenever it is made", docs(uses, "apiVersion: v1\nkind: Secret\nmetadata: {name: db-login, annotations: {helm.sh/hook: test}}", externalSecret), []string{"fail Deployment web: which the release itself carries"}},
	})
}
