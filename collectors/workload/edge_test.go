package workload_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/workload"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// rows runs a table of manifests and the findings of one rule, worst first.
func rows(t *testing.T, rule string, table []row) {
	t.Helper()
	for _, tt := range table {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range findings(t, tt.manifests) {
				if f.Rule == rule {
					got = append(got, string(f.Outcome)+" "+f.Target.Object()+": "+f.Message)
				}
			}
			if len(got) != len(tt.want) {
				t.Fatalf("%d findings, want %d:\n%s", len(got), len(tt.want), strings.Join(got, "\n"))
			}
			for _, w := range tt.want {
				head, part, _ := strings.Cut(w, ": ")
				if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, head+": ") && strings.Contains(g, part) }) {
					t.Errorf("no finding %q in\n%s", w, strings.Join(got, "\n"))
				}
			}
		})
	}
}

type row struct {
	name, manifests string
	want            []string // "<outcome> <object>: <part of the message>"
}

func cronJob(name, labels string) string { return pods("CronJob", name, -1, labels, "") }

func inNamespace(ns, manifest string) string {
	return strings.Replace(manifest, "metadata: {", "metadata: {namespace: "+ns+", ", 1)
}

func TestBudgetEdges(t *testing.T) {
	t.Parallel()
	web, db := pods("Deployment", "web", 2, "app: web", ""), pods("StatefulSet", "db", 3, "app: db", "")
	const broken = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad}\nspec: {replicas: 3, template: {spec: {containers: 7}}}"
	rows(t, workload.RulePDBAllows, []row{
		{"one budget over two workloads", docs(web, db, pdb("all", "minAvailable: 4, selector: {}")), []string{"pass PodDisruptionBudget all: Deployment web (2 replicas), StatefulSet db (3 replicas) it allows 1 at once"}},
		{"… that may take all of one", docs(web, db, pdb("all", "maxUnavailable: 2, selector: {}")), []string{"fail PodDisruptionBudget all: allows 2 at once: all pods of a workload"}},
		{"each of two budgets is judged", docs(web, pdb("a", "maxUnavailable: 1, selector: {}"), pdb("b", "minAvailable: 2, selector: {}")),
			[]string{"pass PodDisruptionBudget a: allows 1", "fail PodDisruptionBudget b: allows no disruption"}},
		{"a DaemonSet has no scale", docs(web, pods("DaemonSet", "agent", -1, "app: web", ""), pdb("web", "maxUnavailable: 1, selector: {matchLabels: {app: web}}")),
			[]string{"fail PodDisruptionBudget web: DaemonSet agent has no scale"}},
		{"a CronJob has no scale", docs(web, cronJob("nightly", "app: web"), pdb("web", "minAvailable: 50%, selector: {}")), []string{"fail PodDisruptionBudget web: CronJob nightly has no scale"}},
		{"a number needs no scale", docs(web, cronJob("nightly", "app: web"), pdb("web", "minAvailable: 1, selector: {}")), []string{"pass PodDisruptionBudget web: allows 1 at once"}},
		{"a DaemonSet alone", docs(pods("DaemonSet", "agent", -1, "app: web", ""), pdb("web", "minAvailable: 1, selector: {}")), []string{"not-checked PodDisruptionBudget web: selects only DaemonSet agent"}},
		{"a bare Pod has no controller", docs(pods("Pod", "bare", -1, "app: web", ""), pdb("web", "maxUnavailable: 1, selector: {}")), []string{"fail PodDisruptionBudget web: Pod bare it allows no disruption"}},
		{"scaled to nothing", docs(pods("Deployment", "web", 0, "app: web", ""), pdb("web", "maxUnavailable: 1, selector: {}")), []string{"not-applicable PodDisruptionBudget web: nothing to disrupt"}},
		{"a Job's own label", docs(pods("Job", "migrate", -1, "app: x", ""), pdb("j", "minAvailable: 1, selector: {matchLabels: {job-name: migrate}}")), []string{"not-checked PodDisruptionBudget j: selects only Job migrate"}},
		{"without the Job's own label", docs(web, pods("Job", "migrate", -1, "app: web", ""), pdb("w", "maxUnavailable: 1, selector: {matchLabels: {app: web}, matchExpressions: [{key: job-name, operator: DoesNotExist}]}")),
			[]string{"pass PodDisruptionBudget w: allows 1"}},
		{"beyond 100 percent", docs(web, pdb("w", "maxUnavailable: 101%, selector: {}")), []string{`error PodDisruptionBudget w: maxUnavailable "101%" is not a percentage`}},
		{"a number as a string", docs(web, pdb("w", `minAvailable: "1", selector: {}`)), []string{`error PodDisruptionBudget w: minAvailable "1" is not a percentage`}},
		{"a fraction", docs(web, pdb("w", `minAvailable: 1.5, selector: {}`)), []string{"not-checked PodDisruptionBudget w: it does not decode, see CHT-3"}},
		{"replicas unreadable", docs(strings.Replace(web, "replicas: 2", "replicas: 2.5", 1), pdb("w", "maxUnavailable: 1, selector: {}")), []string{"not-checked PodDisruptionBudget w: Deployment web: spec.replicas is not a whole number"}},
		{"template unreadable", docs(broken, pdb("w", "maxUnavailable: 1, selector: {}")), []string{"not-checked PodDisruptionBudget w: a pod template of its namespace cannot be read"}},
		{"autoscaler unreadable", docs(web, hpa("web", "web", ", minReplicas: two"), pdb("w", "maxUnavailable: 1, selector: {}")),
			[]string{"not-checked HorizontalPodAutoscaler web: it does not decode, see CHT-3", "pass PodDisruptionBudget w: allows 1"}},
		{"an old budget's empty selector selects nothing", docs(web, strings.Replace(pdb("w", "maxUnavailable: 1, selector: {}"), "policy/v1", "policy/v1beta1", 1)), []string{"warn PodDisruptionBudget w: selects no pod"}},
	})
	rows(t, workload.RulePDBSelects, []row{
		{"template unreadable", docs(broken), []string{"not-checked Deployment bad: it does not decode, see CHT-3"}},
		{"autoscaler unreadable", docs(web, pdb("w", "maxUnavailable: 1, selector: {}"), hpa("web", "web", ", minReplicas: two")),
			[]string{"not-checked HorizontalPodAutoscaler web: it does not decode, see CHT-3", "pass Deployment web: selects"}},
		{"two budgets on one replica", docs(pods("Deployment", "web", 1, "app: web", ""), pdb("a", "maxUnavailable: 1, selector: {}"), pdb("b", "maxUnavailable: 1, selector: {}")),
			[]string{"fail Deployment web: 2 PodDisruptionBudgets"}},
		{"the release's namespace is the default", docs(web, inNamespace("shop", pdb("w", "maxUnavailable: 1, selector: {}"))), []string{"pass Deployment web: selects"}},
		{"ReplicationController", docs("apiVersion: v1\nkind: ReplicationController\nmetadata: {name: old}\nspec: {replicas: 2, template: {metadata: {labels: {a: b}}, spec: {containers: []}}}"),
			[]string{"fail ReplicationController old: no PodDisruptionBudget"}},
	})
}

func TestReplicaEdges(t *testing.T) {
	t.Parallel()
	web := pods("Deployment", "web", 5, "app: web", "")
	scaler := func(name, low string) string { return hpa(name, "web", ", minReplicas: "+low) }
	rows(t, workload.RuleReplicas, []row{
		{"two autoscalers: the lower one", docs(web, scaler("a", "4"), scaler("b", "1")), []string{"fail Deployment web: b keeps at least 1"}},
		{"zero switches the autoscaler off", docs(pods("Deployment", "web", 0, "app: web", ""), scaler("a", "3")), []string{"fail Deployment web: spec.replicas is 0"}},
		{"an autoscaler without apiVersion finds nothing", docs(web, strings.Replace(scaler("a", "1"), "apiVersion: apps/v1, ", "", 1)), []string{"pass Deployment web: spec.replicas is 5"}},
		{"an autoscaler of another group", docs(web, strings.Replace(scaler("a", "1"), "apps/v1", "example.com/v1", 1)), []string{"pass Deployment web: spec.replicas is 5"}},
		{"an autoscaler that names an old version", docs(web, strings.Replace(scaler("a", "1"), "apps/v1", "apps/v1beta1", 1)), []string{"fail Deployment web: keeps at least 1"}},
		{"an autoscaler that names a group of before finds nothing", docs(pods("Deployment", "web", 1, "app: web", ""), strings.Replace(scaler("a", "2"), "apps/v1", "extensions/v1beta1", 1)), []string{"fail Deployment web: spec.replicas is 1"}},
		{"and lowers nothing", docs(web, strings.Replace(scaler("a", "1"), "apps/v1", "extensions/v1beta1", 1)), []string{"pass Deployment web: spec.replicas is 5"}},
		{"a ScaledObject that does", docs(pods("Deployment", "web", 1, "app: web", ""), strings.Replace(scaledObject("s", "web", ", minReplicaCount: 3"), "{name: web}", "{apiVersion: extensions/v1beta1, kind: Deployment, name: web}", 1)), []string{"fail Deployment web: spec.replicas is 1"}},
		{"an autoscaler elsewhere", docs(web, inNamespace("other", scaler("a", "1"))), []string{"pass Deployment web: spec.replicas is 5"}},
		{"negative minimum", docs(web, scaler("a", "-1")), []string{"not-checked Deployment web: minReplicas of HorizontalPodAutoscaler a is negative"}},
		{"negative", docs(pods("Deployment", "web", -1, "app: web", ""), strings.Replace(pods("StatefulSet", "db", 2, "app: db", ""), "replicas: 2", "replicas: -2", 1)),
			[]string{"fail Deployment web: spec.replicas is 1", "not-checked StatefulSet db: not a whole number"}},
		{"null is unset", docs(strings.Replace(web, "replicas: 5", "replicas: null", 1)), []string{"fail Deployment web: spec.replicas is 1"}},
		{"a template that cannot be read has replicas", docs("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad}\nspec: {replicas: 3}"), []string{"pass Deployment bad: spec.replicas is 3"}},
		{"an unreadable autoscaler", docs(web, scaler("a", "[]")), []string{"pass Deployment web: spec.replicas is 5", "not-checked HorizontalPodAutoscaler a: it does not decode, see CHT-3"}},
	})
	rows(t, workload.RuleConflict, []row{
		{"an autoscaler without apiVersion", docs(web, strings.Replace(scaler("a", "2"), "apiVersion: apps/v1, ", "", 1)), []string{"warn HorizontalPodAutoscaler a: scales Deployment web, which is not in the release"}},
		{"an autoscaler of a group of before", docs(web, strings.Replace(scaler("a", "2"), "apps/v1", "extensions/v1beta1", 1)), []string{"warn HorizontalPodAutoscaler a: scales extensions/v1beta1 Deployment web, which is not in the release"}},
		{"a VerticalPodAutoscaler knows Deployments by name", docs(web, hpa("a", "web", ""), strings.Replace(vpa("v", "web", ""), "apiVersion: apps/v1, ", "", 1)), []string{"fail Deployment web: VerticalPodAutoscaler v (updateMode Auto)"}},
		{"in any group", docs(web, hpa("a", "web", ""), strings.Replace(vpa("v", "web", ""), "apiVersion: apps/v1, ", "apiVersion: extensions/v1beta1, ", 1)), []string{"fail Deployment web: VerticalPodAutoscaler v (updateMode Auto)"}},
		{"but not of another kind", docs(web, hpa("a", "web", ""), strings.Replace(vpa("v", "web", ""), "kind: Deployment", "kind: StatefulSet", 1)), []string{"warn VerticalPodAutoscaler v: which is not in the release", "pass Deployment web: not work on one metric"}},
		{"nor custom kinds without their group", docs(strings.Replace(web, "apps/v1\nkind: Deployment", "argoproj.io/v1alpha1\nkind: Rollout", 1), strings.Replace(vpa("v", "web", ""), "apiVersion: apps/v1, kind: Deployment", "kind: Rollout", 1)), []string{"warn VerticalPodAutoscaler v: which is not in the release"}},
		{"version 1", docs(web, strings.Replace(hpa("a", "web", ", targetCPUUtilizationPercentage: 70"), "autoscaling/v2", "autoscaling/v1", 1), vpa("v", "web", "")), []string{"fail Deployment web: scales on cpu"}},
		{"one container's cpu", docs(web, hpa("a", "web", ", metrics: [{type: ContainerResource, containerResource: {name: cpu, container: app}}]"), vpa("v", "web", ", updatePolicy: {updateMode: Initial}")), []string{"fail Deployment web: (updateMode Initial)"}},
		{"memory and cpu apart", docs(web, hpa("a", "web", ", metrics: [{type: Resource, resource: {name: memory}}]"), vpa("v", "web", `, resourcePolicy: {containerPolicies: [{containerName: "*", controlledResources: [cpu]}]}`)), []string{"pass Deployment web: not work on one metric"}},
		{"empty mode is the default", docs(web, hpa("a", "web", ""), vpa("v", "web", `, updatePolicy: {updateMode: ""}`)), []string{"fail Deployment web: (updateMode Auto)"}},
		{"unreadable", docs(web, vpa("v", "web", ", updatePolicy: 1")), []string{"not-checked VerticalPodAutoscaler v: it does not decode, see CHT-3"}},
		{"its workload cannot be read", docs("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {}", hpa("a", "web", "")), []string{"pass Deployment web: not work on one metric"}},
	})
}

func TestNetworkPolicyEdges(t *testing.T) {
	t.Parallel()
	web := pods("Deployment", "web", 2, "app: web", "")
	const both = "podSelector: {}, policyTypes: [Ingress, Egress]"
	rows(t, workload.RuleNetworkPolicy, []row{
		{"the host's network", docs(pods("DaemonSet", "agent", -1, "app: a", "hostNetwork: true"), netpol("np", both)), []string{"fail DaemonSet agent: to which no NetworkPolicy applies"}},
		{"from every address", docs(web, netpol("np", both+", ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]")), []string{"fail Deployment web: np allows all ingress"}},
		{"from every IPv6 address, to every port", docs(web, netpol("np", both+`, ingress: [{from: [{ipBlock: {cidr: "::/0"}}], ports: [{protocol: TCP}]}]`)), []string{"fail Deployment web: np allows all ingress"}},
		{"from every address but some", docs(web, netpol("np", both+", ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]")), []string{"fail Deployment web: np allows all ingress"}},
		{"from every address to one port", docs(web, netpol("np", both+", ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}]}]")), []string{"pass Deployment web: restricted by NetworkPolicy np"}},
		{"a peer that says nothing", docs(web, netpol("np", both+", ingress: [{from: [{}]}]")), []string{"fail Deployment web: np allows all ingress"}},
		{"from every pod", docs(web, netpol("np", both+", ingress: [{from: [{namespaceSelector: {}}]}]")), []string{"warn Deployment web: NetworkPolicy np allows ingress from every pod of the cluster to its pods"}},
		{"two add up", docs(web, netpol("in", "podSelector: {}"), netpol("out", "podSelector: {}, policyTypes: [Egress]")), []string{"pass Deployment web: restricted by NetworkPolicy in"}},
		{"elsewhere", docs(web, inNamespace("other", netpol("np", both))), []string{"fail Deployment web: no NetworkPolicy restricts ingress"}},
		{"no selector selects all", docs(web, netpol("np", "policyTypes: [Ingress, Egress]")), []string{"pass Deployment web: restricted by NetworkPolicy np"}},
		{"by the Job's own label", docs(pods("Job", "migrate", -1, "app: x", ""), netpol("np", "podSelector: {matchLabels: {batch.kubernetes.io/job-name: migrate}}, policyTypes: [Ingress, Egress]")), []string{"pass Job migrate: restricted"}},
		{"an operator that does not exist", docs(web, netpol("np", "podSelector: {matchExpressions: [{key: a, operator: Like}]}")), []string{"fail Deployment web: no NetworkPolicy", "not-checked NetworkPolicy np: it does not decode, see CHT-3: spec.podSelector"}},
	})
}

func TestSecretEdges(t *testing.T) {
	t.Parallel()
	const (
		ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec: {tls: [{secretName: web-tls}, {hosts: [a]}]}"
		spread  = "apiVersion: external-secrets.io/v1\nkind: ClusterExternalSecret\nmetadata: {name: c}\nspec: {"
	)
	uses := func(body string) string { return pods("Pod", "bare", -1, "app: d", body) }
	env := func(name, rest string) string {
		return "{name: A, valueFrom: {secretKeyRef: {name: " + name + ", key: k" + rest + "}}}"
	}
	pull := uses("imagePullSecrets: [{name: pull}]")
	es := func(spec string) string {
		return "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: pull}\nspec: {" + spec + "}"
	}
	rows(t, workload.RuleSecret, []row{
		{"named by its template it is still the target", docs(pull, es("target: {template: {metadata: {labels: {a: b}}, data: {k: v}}}")), []string{"pass Pod bare: made by ExternalSecret pull"}},
		{"merged into one that nothing makes", docs(pull, es("target: {creationPolicy: Merge}")), []string{"fail Pod bare: nothing in the release makes"}},
		{"not created", docs(pull, es("target: {creationPolicy: None}")), []string{"fail Pod bare: nothing in the release makes"}},
		{"orphaned", docs(pull, es("target: {creationPolicy: Orphan}")), []string{"pass Pod bare: made by ExternalSecret pull"}},
		{"makes a ConfigMap", docs(pull, es("target: {manifest: {apiVersion: v1, kind: ConfigMap}}")), []string{"fail Pod bare: nothing in the release makes"}},
		{"an unreadable target is no default", docs(pull, es("target: {name: 7}")), []string{"fail Pod bare: nothing in the release makes", "not-checked ExternalSecret pull: it does not decode, see CHT-3: spec.target.name is not a string"}},
		{"an unreadable spec", docs(pull, es("target: text")), []string{"fail Pod bare: nothing in the release makes", "not-checked ExternalSecret pull: it does not decode, see CHT-3"}},
		{"in all namespaces", docs(pull, spread+"namespaceSelectors: [{}], externalSecretSpec: {target: {name: pull}}}"), []string{"pass Pod bare: made by ClusterExternalSecret c"}},
		{"in the namespace by name", docs(pull, spread+"namespaces: [shop], externalSecretName: pull, externalSecretSpec: {}}"), []string{"pass Pod bare: made by ClusterExternalSecret c"}},
		{"in other namespaces", docs(pull, spread+"namespaces: [other], externalSecretName: pull, externalSecretSpec: {}}"), []string{"fail Pod bare: nothing in the release makes"}},
		{"in the namespace by its own label", docs(pull, spread+"namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}, externalSecretSpec: {target: {name: pull}}}"), []string{"pass Pod bare: made by ClusterExternalSecret c"}},
		{"in namespaces that cannot be seen", docs(pull, spread+"namespaceSelectors: [{matchLabels: {team: a}}], externalSecretSpec: {target: {name: pull}}}"), []string{"not-checked Pod bare: may or may not select namespace shop"}},
		{"in a namespace of the release", docs(pull, "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}", spread+"namespaceSelectors: [{matchLabels: {team: a}}], externalSecretSpec: {target: {name: pull}}}"), []string{"pass Pod bare: made by ClusterExternalSecret c"}},
		{"an unreadable namespace selector", docs(pull, spread+"namespaceSelectors: [{matchExpressions: [{key: a, operator: Like}]}], externalSecretSpec: {target: {name: pull}}}"),
			[]string{"fail Pod bare: nothing in the release makes", "not-checked ClusterExternalSecret c: it does not decode, see CHT-3: namespace selector"}},
		{"optional and not there", docs(uses("volumes: [{name: v, secret: {secretName: x, optional: true}}]")), []string{"warn Pod bare: volume v refers to Secret x, optionally"}},
		{"optional and made", docs(uses("volumes: [{name: v, secret: {secretName: pull, optional: true}}]"), es("")), []string{"pass Pod bare: made by ExternalSecret pull"}},
		{"optional and plain", docs(uses("volumes: [{name: v, projected: {sources: [{secret: {name: x, optional: true}}]}}]"), "apiVersion: v1\nkind: Secret\nmetadata: {name: x}"), []string{"fail Pod bare: the release itself carries"}},
		{"optional once, needed once", docs(uses("initContainers: [{name: i, image: x, env: [" + env("x", ", optional: true") + ", " + strings.Replace(env("x", ""), "name: A", "name: B", 1) + "]}]")), []string{`fail Pod bare container "i": env B refers to Secret x, which nothing`}},
		{"in two containers", docs(uses("initContainers: [{name: i, image: x, restartPolicy: Always, env: [" + env("x", "") + "]}, {name: j, image: x, envFrom: [{secretRef: {name: x}}]}]")),
			[]string{`fail Pod bare container "i": env A`, `fail Pod bare container "j": envFrom`}},
		{"an account", docs("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: sa}\nimagePullSecrets: [{name: pull}]\nsecrets: [{name: token}]", es("")),
			[]string{"pass ServiceAccount sa: made by ExternalSecret pull", "fail ServiceAccount sa: secrets refers to Secret token"}},
		{"an unreadable account", docs("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: sa}\nimagePullSecrets: pull"), []string{"not-checked ServiceAccount sa: it does not decode, see CHT-3"}},
		{"cert-manager by annotation", docs(strings.Replace(ingress, "name: web}", "name: web, annotations: {cert-manager.io/cluster-issuer: le}}", 1), uses("volumes: [{name: v, secret: {secretName: web-tls}}]")),
			[]string{"pass Ingress web: made by cert-manager for its annotations", "pass Pod bare: made by Ingress web"}},
		{"an unreadable Ingress", docs(strings.Replace(ingress, "tls: [{secretName: web-tls}, {hosts: [a]}]", "tls: yes", 1)), []string{"not-checked Ingress web: it does not decode, see CHT-3"}},
		{"a Gateway's Secret elsewhere", docs("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {listeners: [{tls: {certificateRefs: [{name: pull, namespace: other}, {kind: Store, name: s}]}}]}", es("")),
			[]string{"fail Gateway g: Secret pull in namespace other, which nothing"}},
		{"an unreadable Certificate", docs(ingress, "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\nspec: {secretName: [web-tls]}"), []string{"fail Ingress web: nothing in the release makes", "not-checked Certificate c: it does not decode, see CHT-3: spec.secretName is not a string"}},
		{"in a CronJob", docs(pods("CronJob", "nightly", -1, "app: nightly", "imagePullSecrets: [{name: pull}]"), es("")), []string{"pass CronJob nightly: made by ExternalSecret pull"}},
		{"two objects of one name", docs(pull, pull), []string{"fail Pod bare: imagePullSecrets", "fail Pod bare: imagePullSecrets"}},
	})
}

// TestUnreadableNeverPasses breaks each object of a set that passes every rule: some
// control must then be in error or not checked.
func TestUnreadableNeverPasses(t *testing.T) {
	t.Parallel()
	good := []string{
		pods("Deployment", "web", 3, "app: web", "imagePullSecrets: [{name: db-login}]"), pdb("web", "maxUnavailable: 1, selector: {}"),
		netpol("web", "podSelector: {}, policyTypes: [Ingress, Egress]"), hpa("web", "web", ", minReplicas: 2"), vpa("web", "web", `, updatePolicy: {updateMode: "Off"}`), externalSecret,
	}
	for _, f := range findings(t, docs(good...)) {
		if f.Outcome != evidence.OutcomePass {
			t.Errorf("the set should pass: %s %s: %s", f.Outcome, f.Rule, f.Message)
		}
	}
	for i, g := range good {
		head, _, ok := strings.Cut(g, "\nspec:")
		if !ok {
			t.Fatal(g)
		}
		list := slices.Clone(good)
		list[i] = head + "\nspec: [1]"
		found := findings(t, docs(list...))
		if !slices.ContainsFunc(found, func(f evidence.Finding) bool {
			return f.Outcome == evidence.OutcomeNotChecked && strings.HasPrefix(f.Target.File, "templates/") && f.Remediation != ""
		}) {
			t.Errorf("nothing is not checked for\n%s", list[i])
		}
	}
}

// TestRulesAreTheCatalogs holds the severities that findings carry to the catalog's.
func TestRulesAreTheCatalogs(t *testing.T) {
	t.Parallel()
	_, cat := config.Catalog()
	for _, f := range findings(t, "") {
		for _, id := range f.Controls {
			if c, _ := cat.Control(id); c.Severity != f.Severity {
				t.Errorf("%s of severity %s for %s: the catalog says %+v", f.Rule, f.Severity, id, c)
			}
		}
		if f.Outcome != evidence.OutcomeNotApplicable {
			t.Errorf("nothing rendered, but %s is %s", f.Rule, f.Outcome)
		}
	}
}

// TestContainerTarget holds a finding about a container to its file, line and evidence.
func TestContainerTarget(t *testing.T) {
	t.Parallel()
	manifests := docs(pods("CronJob", "nightly", -1, "app: nightly", "initContainers: [{name: side, image: x, restartPolicy: Always, envFrom: [{secretRef: {name: db-login}}]}]"), inNamespace("other", externalSecret), externalSecret)
	found := slices.DeleteFunc(findings(t, manifests), func(f evidence.Finding) bool { return f.Rule != workload.RuleSecret })
	if len(found) != 1 {
		t.Fatalf("%d findings: %+v", len(found), found)
	}
	wantTarget := evidence.Target{APIVersion: "batch/v1", Kind: "CronJob", Name: "nightly", Container: "side", File: "templates/0.yaml", Line: 1}
	if diff := cmp.Diff(wantTarget, found[0].Target); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
	// The evidence is the workload and what makes the Secret, in the right namespace.
	lines := strings.Split(manifests, "\n")
	var heads []string
	for _, p := range found[0].Evidence {
		from, _, _ := strings.Cut(p.Lines, "-")
		n := 0
		for _, c := range from {
			n = n*10 + int(c-'0')
		}
		heads = append(heads, lines[n], lines[n+1])
		if p.Artifact != collectors.ManifestsFile || p.Digest != evidence.DigestOf([]byte(manifests)) {
			t.Errorf("evidence %+v", p)
		}
	}
	want := []string{"kind: CronJob", "metadata: {name: nightly}", "kind: ExternalSecret", "metadata: {name: db}"}
	if diff := cmp.Diff(want, heads); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
}

// TestOrderDoesNotMatter: the same objects in another order give the same answers.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	list := []string{
		pods("Deployment", "web", 3, "app: web", "imagePullSecrets: [{name: db-login}]"), pods("Deployment", "api", 1, "app: api", ""), pdb("web", "maxUnavailable: 1, selector: {}"),
		netpol("web", "podSelector: {}"), hpa("api", "api", ", minReplicas: 2"), vpa("api", "api", ""), externalSecret,
	}
	answers := func(list []string) map[string]int {
		out := map[string]int{}
		for _, f := range findings(t, docs(list...)) {
			message := f.Message
			if f.Rule == workload.RulePDBAllows {
				message = "" // lists the workloads in the order of the manifests
			}
			out[strings.Join([]string{f.Rule, string(f.Outcome), f.Target.Object(), message}, "|")]++
		}
		return out
	}
	want := answers(list)
	for range list {
		list = append(list[1:], list[0])
		if diff := cmp.Diff(want, answers(list)); diff != "" {
			t.Fatalf("another order (-want +got):\n%s", diff)
		}
	}
}
