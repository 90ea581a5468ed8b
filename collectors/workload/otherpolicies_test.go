package workload_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/workload"
)

// What policies of network plugins come to is not worked out: where they may restrict
// pods that no NetworkPolicy selects, or open those that one restricts, nothing is
// said for certain. Where they cannot, the NetworkPolicies decide.
func TestPoliciesOfPlugins(t *testing.T) {
	t.Parallel()
	web := pods("Deployment", "web", 2, "app: web", "")
	const restricts = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: one}\nspec: {podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{from: [{podSelector: {matchLabels: {a: b}}}]}]}"
	policy := func(kind, spec string) string {
		version, kind, _ := strings.Cut(kind, " ")
		return "apiVersion: " + version + "\nkind: " + kind + "\nmetadata: {name: p}\nspec: " + spec
	}
	cilium := func(spec string) string { return policy("cilium.io/v2 CiliumNetworkPolicy", spec) }
	const mine = "{endpointSelector: {matchLabels: {app: web}}, "
	const none, alone = "fail Deployment web: no NetworkPolicy restricts ingress", "not-checked Deployment web: no NetworkPolicy restricts ingress to its pods, and what "
	const opens, good = "not-checked Deployment web: NetworkPolicy one restricts ingress; whether ", "pass Deployment web: restricted by NetworkPolicy one"
	for title, tt := range map[string]struct{ manifests, want string }{
		"of Cilium alone":                  {docs(web, cilium(mine+"ingress: [{fromEndpoints: [{}]}]}")), alone + "CiliumNetworkPolicy p does"},
		"of Cilium, by its own labels":     {docs(web, cilium("{endpointSelector: {matchLabels: {'k8s:app': web, 'k8s:io.kubernetes.pod.namespace': x}}, ingress: []}")), alone},
		"of Cilium, in specs":              {docs(web, "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspecs: ["+mine+"ingress: []}]"), alone},
		"of Cilium, for egress":            {docs(web, cilium(mine+"egress: [{}]}")), none},
		"of Cilium, for others":            {docs(web, cilium("{endpointSelector: {matchLabels: {app: api}}, ingress: []}")), none},
		"of Cilium, for nodes":             {docs(web, policy("cilium.io/v2 CiliumClusterwideNetworkPolicy", "{nodeSelector: {}, ingress: []}")), none},
		"of Cilium, elsewhere":             {docs(web, strings.Replace(cilium(mine+"ingress: []}"), "name: p", "name: p, namespace: far", 1)), none},
		"of Cilium, never made":            {docs(web, strings.Replace(cilium(mine+"ingress: []}"), "name: p", "name: p, annotations: {helm.sh/hook: never}", 1)), none},
		"Cilium opens to all":              {docs(web, restricts, cilium(mine+"ingress: [{fromEntities: [all]}]}")), opens + "CiliumNetworkPolicy p opens them again"},
		"Cilium opens to addresses":        {docs(web, restricts, cilium(mine+"ingress: [{fromCIDR: [0.0.0.0/0]}]}")), opens},
		"Cilium opens to the host":         {docs(web, restricts, cilium(mine+"ingress: [{fromEntities: [host]}]}")), good},
		"Cilium opens to a network":        {docs(web, restricts, cilium(mine+"ingress: [{fromCIDR: [10.0.0.0/8]}]}")), good},
		"Cilium opens a port":              {docs(web, restricts, cilium(mine+"ingress: [{fromEntities: [all], toPorts: [{ports: [{port: '80'}]}]}]}")), good},
		"Cilium opens to pods":             {docs(web, restricts, cilium(mine+"ingress: [{fromEndpoints: [{matchLabels: {a: b}}]}]}")), good},
		"Cilium opens others":              {docs(web, restricts, cilium("{endpointSelector: {matchLabels: {app: api}}, ingress: [{fromEntities: [all]}]}")), good},
		"of Calico alone":                  {docs(web, policy("crd.projectcalico.org/v1 NetworkPolicy", "{selector: all(), types: [Ingress]}")), alone + "NetworkPolicy p does"},
		"of Calico, for others":            {docs(web, policy("projectcalico.org/v3 GlobalNetworkPolicy", `{selector: "app == 'api'", types: [Ingress]}`)), none},
		"Calico opens":                     {docs(web, restricts, policy("projectcalico.org/v3 NetworkPolicy", "{selector: all(), ingress: [{action: Allow}]}")), opens},
		"Calico opens to pods":             {docs(web, restricts, policy("projectcalico.org/v3 NetworkPolicy", "{selector: all(), ingress: [{action: Allow, source: {selector: a == 'b'}}]}")), good},
		"Calico closes":                    {docs(web, restricts, policy("projectcalico.org/v3 NetworkPolicy", "{selector: all(), ingress: [{action: Deny}]}")), good},
		"an administrator opens":           {docs(web, restricts, policy("policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy", "{subject: {namespaces: {}}, ingress: [{action: Allow, from: [{namespaces: {}}]}]}")), opens},
		"an administrator passes":          {docs(web, restricts, policy("policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy", "{subject: {namespaces: {}}, ingress: [{action: Pass}]}")), good},
		"a baseline yields":                {docs(web, restricts, policy("policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy", "{subject: {namespaces: {}}, ingress: [{action: Allow}]}")), good},
		"a baseline alone":                 {docs(web, policy("policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy", "{subject: {namespaces: {}}, ingress: [{action: Deny}]}")), alone},
		"requests are let in, not packets": {docs(web, policy("security.istio.io/v1 AuthorizationPolicy", "{}")), none},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got := saying(t, workload.RuleNetworkPolicy, tt.manifests)
			if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, tt.want) }) || len(got) != 1 {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}
