package workload_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/workload"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

func seal(tb testing.TB, manifests string) *collectors.Sealed {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	for name, text := range map[string]string{
		collectors.ManifestsFile: manifests,
		collectors.ReleaseFile:   `{"chart":"test","namespace":"shop","kubeVersion":"1.37"}`,
	} {
		if _, err := art.Put(name, []byte(text)); err != nil {
			tb.Fatal(err)
		}
	}
	return collectors.NewSealed(art, config.RuleControls())
}

func findings(tb testing.TB, manifests string) []evidence.Finding {
	tb.Helper()
	found, err := collectors.Findings(seal(tb, manifests), workload.New())
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// docs joins documents as rendering does, each with a source of its own.
func docs(list ...string) string {
	var b strings.Builder
	for i, d := range list {
		fmt.Fprintf(&b, "---\n# Source: templates/%d.yaml:%d\n%s\n", i, 10*i+1, strings.TrimSpace(d))
	}
	return b.String()
}

// pods is an object with a pod template; body holds further lines of its pod spec, indented by 6.
func pods(kind, name string, replicas int, labels, body string) string {
	api := map[string]string{"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "ReplicaSet": "apps/v1", "Job": "batch/v1", "Pod": "v1"}[kind]
	spec := fmt.Sprintf("containers: [{name: app, image: x}]\n%s", body)
	switch kind {
	case "Pod":
		return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {%s}}\nspec:\n%s", name, labels, indent(spec, 2))
	case "CronJob":
		return fmt.Sprintf("apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: %s}\nspec:\n  jobTemplate:\n    spec:\n      template:\n        metadata: {labels: {%s}}\n        spec:\n%s", name, labels, indent(spec, 10))
	}
	count := ""
	if replicas >= 0 {
		count = fmt.Sprintf("  replicas: %d\n", replicas)
	}
	return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s}\nspec:\n%s  template:\n    metadata: {labels: {%s}}\n    spec:\n%s", api, kind, name, count, labels, indent(spec, 6))
}

func indent(text string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+pad)
}

func pdb(name, spec string) string {
	return fmt.Sprintf("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: %s}\nspec: {%s}", name, spec)
}

func netpol(name, spec string) string {
	return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s}\nspec: {%s}", name, spec)
}

func hpa(name, target, rest string) string {
	return fmt.Sprintf("apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: %s}\nspec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}, maxReplicas: 9%s}", name, target, rest)
}

func vpa(name, target, rest string) string {
	return fmt.Sprintf("apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\nmetadata: {name: %s}\nspec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: %s}%s}", name, target, rest)
}

const externalSecret = "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db}\nspec: {target: {name: db-login}}"

// want is one finding: its outcome, about what, and part of its message.
type want struct {
	outcome       evidence.Outcome
	about, saying string
}

func TestRules(t *testing.T) {
	t.Parallel()
	web := func(n int) string { return pods("Deployment", "web", n, "app: web", "") }
	const cpu = `, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]`
	for _, tt := range []struct {
		name, rule string
		manifests  string
		want       []want
	}{
		// AVL-1
		{"budget selects", workload.RulePDBSelects, docs(web(3), pdb("web", "maxUnavailable: 1, selector: {matchLabels: {app: web}}")),
			[]want{{"pass", "Deployment web", "PodDisruptionBudget web selects"}}},
		{"no budget", workload.RulePDBSelects, docs(web(2)), []want{{"fail", "Deployment web", "no PodDisruptionBudget selects"}}},
		{"budget for others", workload.RulePDBSelects, docs(web(2), pdb("api", "maxUnavailable: 1, selector: {matchLabels: {app: api}}")),
			[]want{{"fail", "Deployment web", "no PodDisruptionBudget selects"}}},
		{"budget in another namespace", workload.RulePDBSelects, docs(web(2), strings.Replace(pdb("web", "maxUnavailable: 1, selector: {}"), "name: web", "name: web, namespace: other", 1)),
			[]want{{"fail", "Deployment web", "no PodDisruptionBudget selects"}}},
		{"empty selector selects all", workload.RulePDBSelects, docs(web(2), pdb("all", "maxUnavailable: 1, selector: {}")), []want{{"pass", "Deployment web", "all selects"}}},
		{"no selector selects nothing", workload.RulePDBSelects, docs(web(2), pdb("none", "maxUnavailable: 1")), []want{{"fail", "Deployment web", "no PodDisruptionBudget"}}},
		{"expressions", workload.RulePDBSelects, docs(web(2), pdb("web", "maxUnavailable: 1, selector: {matchExpressions: [{key: app, operator: In, values: [api, web]}, {key: old, operator: DoesNotExist}]}")),
			[]want{{"pass", "Deployment web", "selects"}}},
		{"expression that does not", workload.RulePDBSelects, docs(web(2), pdb("web", "maxUnavailable: 1, selector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}")),
			[]want{{"fail", "Deployment web", "no PodDisruptionBudget"}}},
		{"unreadable selector", workload.RulePDBSelects, docs(web(2), pdb("web", "maxUnavailable: 1, selector: {matchExpressions: [{key: app, operator: Like}]}")),
			[]want{{"fail", "Deployment web", "no PodDisruptionBudget"}, {"not-checked", "PodDisruptionBudget web", "it does not decode, see CHT-3"}}},
		{"two budgets", workload.RulePDBSelects, docs(web(2), pdb("a", "maxUnavailable: 1, selector: {}"), pdb("b", "minAvailable: 1, selector: {}")),
			[]want{{"fail", "Deployment web", "2 PodDisruptionBudgets select its pods (a, b)"}}},
		{"one replica", workload.RulePDBSelects, docs(web(1)), []want{{"not-applicable", "Deployment web", "one replica"}}},
		{"replicas unset", workload.RulePDBSelects, docs(web(-1)), []want{{"not-applicable", "Deployment web", "one replica"}}},
		{"autoscaled from one", workload.RulePDBSelects, docs(web(1), hpa("web", "web", ", minReplicas: 2"+cpu)), []want{{"fail", "Deployment web", "no PodDisruptionBudget"}}},
		{"replicas no number", workload.RulePDBSelects, docs(strings.Replace(web(2), "replicas: 2", `replicas: "2"`, 1)), []want{{"not-checked", "Deployment web", "not a whole number"}}},
		{"other kinds", workload.RulePDBSelects, docs(pods("StatefulSet", "db", 3, "app: db", ""), pods("ReplicaSet", "rs", 2, "app: rs", ""), pods("DaemonSet", "agent", -1, "app: agent", ""),
			pods("Job", "once", -1, "app: once", ""), pods("CronJob", "nightly", -1, "app: nightly", ""), pods("Pod", "bare", -1, "app: bare", "")),
			[]want{{"fail", "ReplicaSet rs", "no PodDisruptionBudget"}, {"fail", "StatefulSet db", "no PodDisruptionBudget"}}},
		{"nothing replicated", workload.RulePDBSelects, docs(pods("Pod", "bare", -1, "app: bare", "")), []want{{"not-applicable", "Chart test", "no replicated workload"}}},

		// AVL-2
		{"allows one", workload.RulePDBAllows, docs(web(3), pdb("web", "minAvailable: 2, selector: {}")), []want{{"pass", "PodDisruptionBudget web", "allows 1 at once"}}},
		{"blocks drains", workload.RulePDBAllows, docs(web(3), pdb("web", "minAvailable: 3, selector: {}")), []want{{"fail", "PodDisruptionBudget web", "allows no disruption"}}},
		{"blocks drains by percent", workload.RulePDBAllows, docs(web(3), pdb("web", "minAvailable: 67%, selector: {}")), []want{{"fail", "PodDisruptionBudget web", "allows no disruption"}}},
		{"percent rounds up", workload.RulePDBAllows, docs(web(3), pdb("web", "maxUnavailable: 1%, selector: {}")), []want{{"pass", "PodDisruptionBudget web", "allows 1 at once"}}},
		{"zero", workload.RulePDBAllows, docs(web(3), pdb("web", "maxUnavailable: 0, selector: {}")), []want{{"fail", "PodDisruptionBudget web", "allows no disruption"}}},
		{"allows all", workload.RulePDBAllows, docs(web(3), pdb("web", "maxUnavailable: 100%, selector: {}")), []want{{"fail", "PodDisruptionBudget web", "allows 3 at once: all pods"}}},
		{"budget on one pod", workload.RulePDBAllows, docs(web(1), pdb("web", "minAvailable: 1, selector: {}")), []want{{"fail", "PodDisruptionBudget web", "allows no disruption"}}},
		{"judged at the autoscaler's floor", workload.RulePDBAllows, docs(web(9), hpa("web", "web", ", minReplicas: 2"+cpu), pdb("web", "minAvailable: 2, selector: {}")),
			[]want{{"fail", "PodDisruptionBudget web", "with Deployment web (2 replicas) it allows no disruption"}}},
		{"both", workload.RulePDBAllows, docs(web(3), pdb("web", "minAvailable: 1, maxUnavailable: 1, selector: {}")), []want{{"error", "PodDisruptionBudget web", "both minAvailable and maxUnavailable"}}},
		{"neither", workload.RulePDBAllows, docs(web(3), pdb("web", "selector: {}")), []want{{"fail", "PodDisruptionBudget web", "neither minAvailable nor maxUnavailable is set: it allows no disruption"}}},
		{"neither, of no pods", workload.RulePDBAllows, docs(web(0), pdb("web", "selector: {}")), []want{{"not-applicable", "PodDisruptionBudget web", "nothing to disrupt"}}},
		{"neither, written as null", workload.RulePDBAllows, docs(web(3), pdb("web", "minAvailable: null, selector: {}")), []want{{"fail", "PodDisruptionBudget web", "neither minAvailable nor maxUnavailable is set"}}},
		{"no percentage", workload.RulePDBAllows, docs(web(3), pdb("web", "maxUnavailable: half, selector: {}")), []want{{"error", "PodDisruptionBudget web", "maxUnavailable"}}},
		{"negative", workload.RulePDBAllows, docs(web(3), pdb("web", "maxUnavailable: -1, selector: {}")), []want{{"error", "PodDisruptionBudget web", "negative"}}},
		{"selects nothing", workload.RulePDBAllows, docs(web(3), pdb("api", "maxUnavailable: 1, selector: {matchLabels: {app: api}}")), []want{{"warn", "PodDisruptionBudget api", "selects no pod"}}},
		{"none", workload.RulePDBAllows, docs(web(3)), []want{{"not-applicable", "Chart test", "no PodDisruptionBudget"}}},

		// AVL-4
		{"two replicas", workload.RuleReplicas, docs(web(2)), []want{{"pass", "Deployment web", "spec.replicas is 2"}}},
		{"one", workload.RuleReplicas, docs(web(1)), []want{{"fail", "Deployment web", "fewer than 2 replicas: spec.replicas is 1"}}},
		{"none asked", workload.RuleReplicas, docs(web(0)), []want{{"fail", "Deployment web", "spec.replicas is 0"}}},
		{"default is one", workload.RuleReplicas, docs(web(-1)), []want{{"fail", "Deployment web", "spec.replicas is 1"}}},
		{"autoscaler decides", workload.RuleReplicas, docs(web(5), hpa("web", "web", ", minReplicas: 1"+cpu)), []want{{"fail", "Deployment web", "HorizontalPodAutoscaler web keeps at least 1"}}},
		{"autoscaler's default is one", workload.RuleReplicas, docs(web(5), hpa("web", "web", cpu)), []want{{"fail", "Deployment web", "keeps at least 1"}}},
		{"autoscaler of another", workload.RuleReplicas, docs(web(2), hpa("api", "api", ", minReplicas: 1"+cpu)), []want{{"pass", "Deployment web", "spec.replicas is 2"}}},
		{"jobs have none", workload.RuleReplicas, docs(pods("Job", "once", -1, "app: once", "")), []want{{"not-applicable", "Chart test", "no Deployment or StatefulSet"}}},

		// SEC-7
		{"restricted both ways", workload.RuleNetworkPolicy, docs(web(2), netpol("web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress], ingress: [{ports: [{port: 80}]}]")),
			[]want{{"pass", "Deployment web", "restricted by NetworkPolicy web"}}},
		{"ingress alone", workload.RuleNetworkPolicy, docs(web(2), netpol("web", "podSelector: {}, ingress: [{ports: [{port: 80}]}]")), []want{{"warn", "Deployment web", "nothing restricts egress"}}},
		{"egress by rules", workload.RuleNetworkPolicy, docs(web(2), netpol("web", "podSelector: {}, egress: [{ports: [{port: 53}]}]")), []want{{"pass", "Deployment web", "restricted"}}},
		{"egress alone", workload.RuleNetworkPolicy, docs(web(2), netpol("web", "podSelector: {}, policyTypes: [Egress]")), []want{{"fail", "Deployment web", "no NetworkPolicy restricts ingress"}}},
		{"everything allowed", workload.RuleNetworkPolicy, docs(web(2), netpol("deny", "podSelector: {}, policyTypes: [Ingress, Egress]"), netpol("open", "podSelector: {}, ingress: [{}]")),
			[]want{{"fail", "Deployment web", "NetworkPolicy open allows all ingress"}}},
		{"every kind of pod", workload.RuleNetworkPolicy, docs(pods("DaemonSet", "agent", -1, "app: a", ""), pods("Job", "once", -1, "app: b", ""), pods("CronJob", "nightly", -1, "app: c", ""), pods("Pod", "bare", -1, "app: d", ""),
			netpol("some", "podSelector: {matchExpressions: [{key: app, operator: In, values: [a, b, c]}]}, policyTypes: [Ingress, Egress]")),
			[]want{{"pass", "CronJob nightly", "some"}, {"pass", "DaemonSet agent", "some"}, {"pass", "Job once", "some"}, {"fail", "Pod bare", "no NetworkPolicy"}}},
		{"no pods", workload.RuleNetworkPolicy, docs(netpol("web", "podSelector: {}")), []want{{"not-applicable", "Chart test", "runs no pods"}}},
		{"unreadable pod template", workload.RuleNetworkPolicy, docs("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: [1]}"), []want{{"not-checked", "Deployment web", "pod template"}}},
		{"unreadable policy", workload.RuleNetworkPolicy, docs(web(2), netpol("web", "podSelector: 7")), []want{{"fail", "Deployment web", "no NetworkPolicy"}, {"not-checked", "NetworkPolicy web", "it does not decode, see CHT-3"}}},

		// ASC-4
		{"recommends only", workload.RuleConflict, docs(web(2), hpa("web", "web", cpu), vpa("web", "web", ", updatePolicy: {updateMode: \"Off\"}")), []want{{"pass", "Deployment web", "not work on one metric"}}},
		{"one metric", workload.RuleConflict, docs(web(2), hpa("web", "web", cpu), vpa("web", "web", ", updatePolicy: {updateMode: Recreate}")), []want{{"fail", "Deployment web", "scales on cpu, and VerticalPodAutoscaler web (updateMode Recreate)"}}},
		{"default mode changes requests", workload.RuleConflict, docs(web(2), hpa("web", "web", ""), vpa("web", "web", "")), []want{{"fail", "Deployment web", "(updateMode Auto)"}}},
		{"other resources", workload.RuleConflict, docs(web(2), hpa("web", "web", cpu), vpa("web", "web", `, resourcePolicy: {containerPolicies: [{containerName: "*", controlledResources: [memory]}]}`)), []want{{"pass", "Deployment web", "not work on one metric"}}},
		{"policy for one container only", workload.RuleConflict, docs(web(2), hpa("web", "web", cpu), vpa("web", "web", `, resourcePolicy: {containerPolicies: [{containerName: sidecar, mode: "Off"}]}`)), []want{{"fail", "Deployment web", "scales on cpu"}}},
		{"requests per second", workload.RuleConflict, docs(web(2), hpa("web", "web", ", metrics: [{type: Pods, pods: {metric: {name: rps}, target: {type: AverageValue, averageValue: 10}}}]"), vpa("web", "web", "")), []want{{"pass", "Deployment web", "not work"}}},
		{"two autoscalers", workload.RuleConflict, docs(web(2), hpa("a", "web", cpu), hpa("b", "web", cpu)), []want{{"fail", "Deployment web", "2 HorizontalPodAutoscalers scale it"}}},
		{"of another release", workload.RuleConflict, docs(hpa("api", "api", cpu), vpa("api", "api", "")), []want{{"warn", "HorizontalPodAutoscaler api", "scales apps/v1 Deployment api, which is not"}, {"warn", "VerticalPodAutoscaler api", "watches apps/v1 Deployment api"}}},
		{"no autoscaler", workload.RuleConflict, docs(web(2)), []want{{"not-applicable", "Chart test", "no autoscaler"}}},

		// SCR-2
		{"from an ExternalSecret", workload.RuleSecret, docs(pods("Deployment", "web", 2, "app: web", "volumes: [{name: v, secret: {secretName: db-login}}]"), externalSecret), []want{{"pass", "Deployment web", "made by ExternalSecret db"}}},
		{"target defaults to its own name", workload.RuleSecret, docs(pods("Deployment", "web", 2, "app: web", "imagePullSecrets: [{name: db}]"), strings.Replace(externalSecret, "target: {name: db-login}", "refreshInterval: 1h", 1)), []want{{"pass", "Deployment web", "imagePullSecrets refers to Secret db"}}},
		{"from nothing", workload.RuleSecret, docs(pods("Job", "once", -1, "app: once", "volumes: [{name: v, projected: {sources: [{secret: {name: x}}]}}]")), []want{{"fail", "Job once", "Secret x, which nothing in the release makes"}}},
		{"from the release itself", workload.RuleSecret, docs(pods("Pod", "bare", -1, "app: d", "volumes: [{name: v, csi: {driver: d, nodePublishSecretRef: {name: x}}}]"), "apiVersion: v1\nkind: Secret\nmetadata: {name: x}"), []want{{"fail", "Pod bare", "which the release itself carries"}}},
		{"a Secret beside the ExternalSecret", workload.RuleSecret, docs(externalSecret, "apiVersion: v1\nkind: Secret\nmetadata: {name: db-login}", pods("Pod", "bare", -1, "app: d", "volumes: [{name: v, secret: {secretName: db-login}}]")), []want{{"fail", "Pod bare", "the release itself carries"}}},
		{"in another namespace", workload.RuleSecret, docs(strings.Replace(externalSecret, "name: db}", "name: db, namespace: other}", 1), pods("Pod", "bare", -1, "app: d", "volumes: [{name: v, secret: {secretName: db-login}}]")), []want{{"fail", "Pod bare", "nothing in the release makes"}}},
		{"cert-manager", workload.RuleSecret, docs("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {tls: [{secretName: web-tls}]}", "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\nspec: {secretName: web-tls}"), []want{{"pass", "Ingress web", "made by Certificate c"}}},
		{"ingress without", workload.RuleSecret, docs("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {tls: [{secretName: web-tls}]}"), []want{{"fail", "Ingress web", "Secret web-tls"}}},
		{"gateway", workload.RuleSecret, docs("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {listeners: [{tls: {certificateRefs: [{name: gw}]}}]}"), []want{{"fail", "Gateway g", "Secret gw"}}},
		{"no reference", workload.RuleSecret, docs(web(2)), []want{{"not-applicable", "Chart test", "refers to no Secret"}}},
	} {
		t.Run(tt.name+" "+tt.rule, func(t *testing.T) {
			t.Parallel()
			var got []want
			for _, f := range findings(t, tt.manifests) {
				if f.Rule != tt.rule {
					continue
				}
				saying := f.Message
				for _, w := range tt.want {
					if w.about == f.Target.Object() && strings.Contains(f.Message, w.saying) {
						saying = w.saying
					}
				}
				got = append(got, want{f.Outcome, f.Target.Object(), saying})
				if f.Outcome == evidence.OutcomeFail && (f.Remediation == "" || len(f.Evidence) == 0) {
					t.Errorf("%s without remediation or evidence: %+v", f.Message, f)
				}
			}
			byAbout := func(a, b want) bool { return a.about+a.saying < b.about+b.saying }
			if diff := cmp.Diff(tt.want, got, sortBy(byAbout), cmp.AllowUnexported(want{})); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDeclaredNetwork holds that the reason of an agent on the node's network goes
// with SEC-7, of a DaemonSet alone, and with no other finding of it.
func TestDeclaredNetwork(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ kind, pod, reason, want string }{
		{"DaemonSet", "hostNetwork: true", "it sees the node's network", "it sees the node's network"},
		{"DaemonSet", "hostNetwork: true", "network", ""},
		{"DaemonSet", "", "it sees the node's network", ""},
		{"Deployment", "hostNetwork: true", "it sees the node's network", ""},
	} {
		said := strings.Replace(pods(tt.kind, "agent", 2, "app: a", tt.pod), "{name: agent}", "{name: agent, annotations: {"+manifest.DeclaredAnnotation+"SEC-7: \""+tt.reason+"\"}}", 1)
		n := 0
		for _, f := range findings(t, docs(said)) {
			if f.Rule != workload.RuleNetworkPolicy {
				continue
			}
			if n++; f.Outcome != evidence.OutcomeFail || f.Declared != tt.want {
				t.Errorf("%s with %q for %q: %s, declared %q, want fail, %q", tt.kind, tt.pod, tt.reason, f.Outcome, f.Declared, tt.want)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d findings", tt.kind, n)
		}
	}
}

// TestDeclared holds that a singleton still fails AVL-4, and carries the reason
// that it gives: nothing but one replica by its own count is one.
func TestDeclared(t *testing.T) {
	t.Parallel()
	with := func(replicas int, reason string) string {
		return strings.Replace(pods("Deployment", "web", replicas, "app: web", ""), "{name: web}", "{name: web, annotations: {"+manifest.DeclaredAnnotation+"AVL-4: '"+reason+"'}}", 1)
	}
	for _, tt := range []struct{ name, manifests, want string }{
		{"one", docs(with(1, " it holds a lock ")), "it holds a lock"},
		{"by default", docs(with(-1, "it holds a lock")), "it holds a lock"},
		{"hardly a reason", docs(with(1, "lock")), ""},
		{"none", docs(with(0, "it holds a lock")), ""},
		{"an autoscaler from one", docs(with(1, "it holds a lock"), hpa("web", "web", ", minReplicas: 1")), ""},
		{"no reason", docs(pods("Deployment", "web", 1, "app: web", "")), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, f := range findings(t, tt.manifests) {
				if f.Rule != workload.RuleReplicas {
					continue
				}
				if f.Outcome != evidence.OutcomeFail || f.Declared != tt.want {
					t.Errorf("%s, declared %q, want fail, %q", f.Outcome, f.Declared, tt.want)
				}
			}
		})
	}
}
