package harden

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// additions are the changes of one rule as "container: field".
func additions(res *Result, rule Rule) []string {
	var out []string
	for _, c := range res.Changes {
		if c.Rule == rule {
			out = append(out, strings.TrimPrefix(c.Target.Container+": ", ": ")+strings.TrimPrefix(c.Field, "spec.template.spec."))
		}
	}
	return out
}

// reasons are what was kept of one rule, as "container: reason (flag)".
func reasons(res *Result, rule Rule) []string {
	var out []string
	for _, k := range res.Kept {
		if k.Rule == rule {
			s := strings.TrimPrefix(k.Target.Container+": ", ": ") + k.Reason
			if k.Flag != "" {
				s += " (" + k.Flag + ")"
			}
			out = append(out, s)
		}
	}
	return out
}

// pod is a pod spec with one container; lines are indented as a container's.
func pod(spec string, container ...string) string {
	var b strings.Builder
	for l := range strings.Lines(spec) {
		b.WriteString("      " + l)
	}
	b.WriteString("      containers:\n        - name: app\n          image: example\n")
	for _, c := range container {
		for l := range strings.Lines(c) {
			b.WriteString("          " + strings.TrimRight(l, "\n") + "\n")
		}
	}
	return b.String()
}

func with(docs ...string) string { return "---\n" + strings.Join(docs, "\n---\n") + "\n" }

func TestRules(t *testing.T) {
	t.Parallel()
	const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n"
	const service80 = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: web}\n  ports: [{port: 80}]\n"
	binding := func(kind, subject string) string {
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + kind + "\nmetadata: {name: b}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\nsubjects: [" + subject + "]\n"
	}
	const hpa = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}\n  minReplicas: 2\n  maxReplicas: 4\n"
	const escalation = "containers[0].securityContext.allowPrivilegeEscalation"
	const capabilities = "containers[0].securityContext.capabilities"
	for _, tt := range []struct {
		name string
		rule Rule
		in   string
		o    Options
		want []string
		kept []string
	}{
		// Privilege escalation.
		{name: "escalation", rule: RuleEscalation, in: deployment("1", pod("")), want: []string{"app: " + escalation}},
		{name: "explicit true stays", rule: RuleEscalation, in: deployment("1", pod("", "securityContext: {allowPrivilegeEscalation: true}"))},
		{name: "explicit false stays", rule: RuleEscalation, in: deployment("1", pod("", "securityContext: {allowPrivilegeEscalation: false}"))},
		{name: "privileged", rule: RuleEscalation, in: deployment("1", pod("", "securityContext: {privileged: true}")),
			kept: []string{"app: is privileged: the API server refuses both together"}},
		{name: "added capability", rule: RuleEscalation, in: deployment("1", pod("", "securityContext: {capabilities: {add: [SYS_ADMIN]}}")), o: Options{DropCapabilities: true},
			kept: []string{"app: adds capabilities, which a program that is not root gets from its file only"}},
		{name: "low port of an unknown user", rule: RuleEscalation, in: deployment("1", pod("", "ports: [{containerPort: 80}]")),
			kept: []string{"app: may bind a port below 1024 by a capability of its program's file (--drop-capabilities)"}},
		{name: "low port of root", rule: RuleEscalation, in: deployment("1", pod("", "ports: [{containerPort: 80}]", "securityContext: {runAsUser: 0}")), want: []string{"app: " + escalation}},
		{name: "low port by Service", rule: RuleEscalation, in: with(service80, deployment("1", pod(""))),
			kept: []string{"app: may bind a port below 1024 by a capability of its program's file (--drop-capabilities)"}},
		{name: "Service of other pods", rule: RuleEscalation, in: with(strings.Replace(service80, "app: web", "app: x", 1), deployment("1", pod(""))), want: []string{"app: " + escalation}},
		{name: "low port by probe", rule: RuleEscalation, in: deployment("1", pod("", "livenessProbe: {httpGet: {port: 80}}")),
			kept: []string{"app: may bind a port below 1024 by a capability of its program's file (--drop-capabilities)"}},
		{name: "host network hides ports", rule: RuleEscalation, in: deployment("1", pod("hostNetwork: true\n")),
			kept: []string{"app: may bind a port below 1024 by a capability of its program's file (--drop-capabilities)"}},
		{name: "sudo", rule: RuleEscalation, in: deployment("1", pod("", "command: [sh, -c, 'sudo -u app run']")), kept: []string{"app: calls sudo"}},
		{name: "windows", rule: RuleEscalation, in: deployment("1", pod("os: {name: windows}\n"))},
		{name: "windows by node selector", rule: RuleEscalation, in: deployment("1", pod("nodeSelector: {kubernetes.io/os: windows}\n"))},

		// Capabilities.
		{name: "unknown user", rule: RuleCapabilities, in: deployment("1", pod("")),
			kept: []string{"app: may run as root, and need capabilities to change users or files (--drop-capabilities)"}},
		{name: "numbered user", rule: RuleCapabilities, in: deployment("1", pod("", "securityContext: {runAsUser: 1000}")), want: []string{"app: " + capabilities}},
		{name: "numbered user of the pod", rule: RuleCapabilities, in: deployment("1", pod("securityContext: {runAsUser: 1000}\n")), want: []string{"app: " + capabilities}},
		{name: "runAsNonRoot", rule: RuleCapabilities, in: deployment("1", pod("securityContext: {runAsNonRoot: true}\n")), want: []string{"app: " + capabilities}},
		{name: "root", rule: RuleCapabilities, in: deployment("1", pod("securityContext: {runAsUser: 1000}\n", "securityContext: {runAsUser: 0}")),
			kept: []string{"app: runs as root: it may need capabilities to change users or files (--drop-capabilities)"}},
		{name: "low port", rule: RuleCapabilities, in: deployment("1", pod("securityContext: {runAsUser: 1000}\n", "ports: [{containerPort: 443}]")),
			kept: []string{"app: may bind a port below 1024 (--drop-capabilities)"}},
		{name: "drop by request", rule: RuleCapabilities, in: deployment("1", pod("")), o: Options{DropCapabilities: true}, want: []string{"app: " + capabilities}},
		{name: "drop by request but privileged", rule: RuleCapabilities, in: deployment("1", pod("", "securityContext: {privileged: true}")), o: Options{DropCapabilities: true},
			kept: []string{"app: is privileged on purpose: it has every capability"}},
		{name: "some dropped on purpose", rule: RuleCapabilities, in: deployment("1", pod("securityContext: {runAsUser: 1}\n", "securityContext: {capabilities: {drop: [KILL]}}")),
			kept: []string{"app: sets its capabilities on purpose"}},
		{name: "none dropped on purpose", rule: RuleCapabilities, in: deployment("1", pod("securityContext: {runAsUser: 1}\n", "securityContext: {capabilities: {drop: []}}")),
			kept: []string{"app: sets its capabilities on purpose"}},
		{name: "known by request", rule: RuleCapabilities, in: deployment("1", pod("")), o: Options{RunAsNonRoot: true}, want: []string{"app: " + capabilities}},

		// Seccomp.
		{name: "seccomp", rule: RuleSeccomp, in: deployment("1", pod("")), want: []string{"securityContext.seccompProfile"}},
		{name: "unconfined on purpose", rule: RuleSeccomp, in: deployment("1", pod("securityContext: {seccompProfile: {type: Unconfined}}\n"))},
		{name: "container's own", rule: RuleSeccomp, in: deployment("1", pod("", "securityContext: {seccompProfile: {type: Unconfined}}"))},
		{name: "old annotation", rule: RuleSeccomp, in: strings.Replace(deployment("1", pod("")), "      labels:\n", "      annotations: {seccomp.security.alpha.kubernetes.io/pod: runtime/default}\n      labels:\n", 1),
			kept: []string{"an annotation of old sets a seccomp profile: Kubernetes 1.27 and newer do not read it"}},
		{name: "host processes", rule: RuleSeccomp, in: deployment("1", pod("hostPID: true\n")), kept: []string{"looks into the host's processes: a profile may take the calls away that it needs"}},
		{name: "beside a privileged container", rule: RuleSeccomp, in: deployment("1", pod("", "securityContext: {privileged: true}")+"        - name: side\n          image: example\n"),
			want: []string{"side: containers[1].securityContext.seccompProfile"}, kept: []string{"app: is privileged or adds capabilities: a profile may take the calls away that go with them"}},
		{name: "NET_BIND_SERVICE needs no call", rule: RuleSeccomp, in: deployment("1", pod("", "securityContext: {capabilities: {add: [NET_BIND_SERVICE]}}")), want: []string{"securityContext.seccompProfile"}},

		// Not root.
		{name: "user not known", rule: RuleNonRoot, in: deployment("1", pod("")), kept: []string{"app: nobody says which user the image runs as (--run-as-non-root)"}},
		{name: "user known", rule: RuleNonRoot, in: deployment("1", pod("securityContext: {runAsUser: 1000}\n")), want: []string{"app: containers[0].securityContext.runAsNonRoot"}},
		{name: "one of two", rule: RuleNonRoot, in: deployment("1", pod("", "securityContext: {runAsUser: 1000}")+"        - name: side\n          image: example\n"),
			want: []string{"app: containers[0].securityContext.runAsNonRoot"}, kept: []string{"side: nobody says which user the image runs as (--run-as-non-root)"}},
		{name: "init as root", rule: RuleNonRoot, in: deployment("1", pod("securityContext: {runAsUser: 1000}\ninitContainers: [{name: chown, image: example, securityContext: {runAsUser: 0}}]\n")),
			want: []string{"app: containers[0].securityContext.runAsNonRoot"}, kept: []string{"chown: runs as root on purpose: runAsUser is 0"}},
		{name: "false on purpose", rule: RuleNonRoot, in: deployment("1", pod("securityContext: {runAsNonRoot: false}\n")), o: Options{RunAsNonRoot: true}},
		{name: "by request", rule: RuleNonRoot, in: deployment("1", pod("")), o: Options{RunAsNonRoot: true}, want: []string{"app: containers[0].securityContext.runAsNonRoot"}},
		{name: "by request but root", rule: RuleNonRoot, in: deployment("1", pod("", "securityContext: {runAsUser: 0}")), o: Options{RunAsNonRoot: true},
			kept: []string{"app: runs as root on purpose: runAsUser is 0"}},

		// Read-only root.
		{name: "writable", rule: RuleReadOnly, in: deployment("1", pod("")), kept: []string{"app: nobody says where the program writes (--read-only-root)"}},
		{name: "read-only by request", rule: RuleReadOnly, in: deployment("1", pod("")), o: Options{ReadOnlyRoot: true}, want: []string{"app: containers[0].securityContext.readOnlyRootFilesystem"}},
		{name: "writable on purpose", rule: RuleReadOnly, in: deployment("1", pod("", "securityContext: {readOnlyRootFilesystem: false}")), o: Options{ReadOnlyRoot: true}},

		// The service account's token.
		{name: "default account", rule: RuleToken, in: deployment("1", pod("")), want: []string{"automountServiceAccountToken"}},
		{name: "mounted on purpose", rule: RuleToken, in: deployment("1", pod("automountServiceAccountToken: true\n"))},
		{name: "account of the release", rule: RuleToken, in: with(account, deployment("1", pod("serviceAccountName: web\n"))), want: []string{"automountServiceAccountToken"}},
		{name: "account from elsewhere", rule: RuleToken, in: deployment("1", pod("serviceAccountName: web\n")), kept: []string{"service account web is not in the release: its rights are unknown"}},
		{name: "account mounts on purpose", rule: RuleToken, in: with(account+"automountServiceAccountToken: true", deployment("1", pod("serviceAccountName: web\n"))),
			kept: []string{"service account web mounts its token on purpose"}},
		{name: "account mounts nothing already", rule: RuleToken, in: with(account+"automountServiceAccountToken: false", binding("RoleBinding", "{kind: ServiceAccount, name: web}"), deployment("1", pod("serviceAccountName: web\n"))),
			want: []string{"automountServiceAccountToken"}},
		{name: "RoleBinding", rule: RuleToken, in: with(account, binding("RoleBinding", "{kind: ServiceAccount, name: web, namespace: other}"), deployment("1", pod("serviceAccountName: web\n"))),
			kept: []string{"a binding of the release gives service account web rights"}},
		{name: "ClusterRoleBinding after the workload", rule: RuleToken, in: with(deployment("1", pod("")), binding("ClusterRoleBinding", "{kind: ServiceAccount, name: default, namespace: x}")),
			kept: []string{"a binding of the release gives service account default rights"}},
		{name: "binding of a group", rule: RuleToken, in: with(deployment("1", pod("")), binding("ClusterRoleBinding", "{kind: Group, name: 'system:serviceaccounts:x'}")),
			kept: []string{"a binding of the release gives every service account rights"}},
		{name: "binding of a user", rule: RuleToken, in: with(deployment("1", pod("")), binding("ClusterRoleBinding", "{kind: User, name: 'system:serviceaccount:x:default'}")),
			kept: []string{"a binding of the release gives service account default rights"}},
		{name: "binding of another account", rule: RuleToken, in: with(deployment("1", pod("")), binding("ClusterRoleBinding", "{kind: ServiceAccount, name: web}")), want: []string{"automountServiceAccountToken"}},
		{name: "uses kubectl", rule: RuleToken, in: deployment("1", pod("", "args: [kubectl get pods]")), kept: []string{"container app speaks of Kubernetes' API"}},
		{name: "configured for discovery", rule: RuleToken, in: with("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: 'kubernetes_sd_configs: []'}", deployment("1", pod("volumes: [{name: c, configMap: {name: c}}]\n"))),
			kept: []string{"ConfigMap c speaks of Kubernetes' API"}},
		{name: "configured by a Secret", rule: RuleToken, in: with("apiVersion: v1\nkind: Secret\nmetadata: {name: c}\ndata: {a: L3Zhci9ydW4vc2VjcmV0cy9rdWJlcm5ldGVzLmlvL3NlcnZpY2VhY2NvdW50L3Rva2Vu}", deployment("1", pod("", "envFrom: [{secretRef: {name: c}}]"))),
			kept: []string{"Secret c speaks of Kubernetes' API"}},
		{name: "another's ConfigMap", rule: RuleToken, in: with("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: kubectl}", deployment("1", pod(""))), want: []string{"automountServiceAccountToken"}},
		{name: "injected sidecar", rule: RuleToken, in: strings.Replace(deployment("1", pod("")), "      labels:\n", "      annotations: {vault.hashicorp.com/agent-inject: 'true'}\n      labels:\n", 1),
			kept: []string{"annotation vault.hashicorp.com/agent-inject: what is injected may need the token"}},
		{name: "unread document", rule: RuleToken, in: with("a: 1\na: 2", deployment("1", pod(""))), kept: []string{"a document of the release could not be read: it may give the service account rights"}},

		// Spread.
		{name: "one replica", rule: RuleSpread, in: deployment("1", pod(""))},
		{name: "two replicas", rule: RuleSpread, in: deployment("2", pod("")), want: []string{"topologySpreadConstraints"}},
		{name: "replicas by autoscaler", rule: RuleSpread, in: with(hpa, deployment("1", pod(""))), want: []string{"topologySpreadConstraints"}},
		{name: "spread on purpose", rule: RuleSpread, in: deployment("2", pod("topologySpreadConstraints: [{maxSkew: 2, topologyKey: x, whenUnsatisfiable: DoNotSchedule}]\n"))},
		{name: "no spread on purpose", rule: RuleSpread, in: deployment("2", pod("topologySpreadConstraints: []\n"))},
		{name: "anti-affinity", rule: RuleSpread, in: deployment("2", pod("affinity: {podAntiAffinity: {}}\n")), kept: []string{"its podAntiAffinity spreads it on purpose"}},
		{name: "daemon set", rule: RuleSpread, in: strings.Replace(deployment("2", pod("")), "kind: Deployment", "kind: DaemonSet", 1)},
		{name: "selector of other pods", rule: RuleSpread, in: strings.Replace(deployment("2", pod("")), "      app: web\n", "      app: other\n", 1),
			kept: []string{"its selector does not select its own pods"}},

		// Probes.
		{name: "no probes unless asked", rule: RuleProbes, in: deployment("1", pod("", "ports: [{containerPort: 8080}]"))},
		{name: "probes", rule: RuleProbes, in: deployment("1", pod("", "ports: [{containerPort: 53, protocol: UDP}, {containerPort: 8080}]")), o: Options{Probes: ProbesTCP},
			want: []string{"app: containers[0].livenessProbe", "app: containers[0].readinessProbe", "app: containers[0].startupProbe"}},
		{name: "one probe is there", rule: RuleProbes, in: deployment("1", pod("", "ports: [{containerPort: 8080}]\nreadinessProbe: {httpGet: {port: 8080}}")), o: Options{Probes: ProbesTCP},
			want: []string{"app: containers[0].livenessProbe", "app: containers[0].startupProbe"}},
		{name: "no port", rule: RuleProbes, in: deployment("1", pod("")), o: Options{Probes: ProbesTCP}, kept: []string{"app: it declares no TCP port to probe"}},
		{name: "native sidecar", rule: RuleProbes, in: strings.Replace(deployment("1", pod("")), "      containers:\n", "      initContainers: [{name: side, image: b, restartPolicy: Always, ports: [{containerPort: 81}]}, {name: init, image: b, ports: [{containerPort: 82}]}]\n      containers:\n", 1), o: Options{Probes: ProbesTCP},
			want: []string{"side: initContainers[0].livenessProbe", "side: initContainers[0].readinessProbe", "side: initContainers[0].startupProbe"}, kept: []string{"app: it declares no TCP port to probe"}},
		{name: "job", rule: RuleProbes, in: "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{name: a, image: b, ports: [{containerPort: 80}]}]\n", o: Options{Probes: ProbesTCP}},
	} {
		t.Run(string(tt.rule)+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.o.Controls == nil {
				tt.o.Controls = askedFor.Controls
			}
			run(t, tt.in, tt.o)
			res, err := holds([]byte(tt.in), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, additions(res, tt.rule)); d != "" {
				t.Errorf("additions (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.kept, reasons(res, tt.rule)); d != "" {
				t.Errorf("kept (-want +got):\n%s", d)
			}
		})
	}
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	web := deployment("2", pod(""))
	budget := func(selector string) string {
		return "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web-pdb}\nspec: {minAvailable: 1, selector: " + selector + "}\n"
	}
	for _, tt := range []struct {
		name string
		in   string
		want []string
		kept []string
	}{
		{"none", web, []string{"web-pdb"}, nil},
		{"one replica", deployment("1", pod("")), nil, nil},
		{"there", with(budget("{matchLabels: {app: web}}"), web), nil, nil},
		{"there, by everything", with(budget("{}"), web), nil, nil},
		{"there, in some namespace", with(strings.Replace(budget("{matchLabels: {app: web}}"), "{name: web-pdb}", "{name: x, namespace: elsewhere}", 1), web), nil, nil},
		{"for other pods", with(budget("{matchLabels: {app: x}}"), web), []string{"web-deployment-pdb"}, nil},
		{"overlapping selectors", with(web, strings.Replace(strings.Replace(deployment("1", pod("")), "name: web", "name: two", 1), "        app: web", "        app: web\n        tier: two", 1)), nil,
			[]string{"its selector also selects the pods of Deployment two"}},
		{"same labels in two namespaces", with(strings.Replace(web, "name: web", "name: web\n  namespace: a", 1), strings.Replace(web, "name: web", "name: web\n  namespace: b", 1)), []string{"web-pdb", "web-deployment-pdb"}, nil},
		{"unreadable budget", with("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: b}\nspec: []\n", web), nil,
			[]string{"a document of the release could not be read: it may be a PodDisruptionBudget"}},
		{"hook", strings.Replace(web, "metadata:\n  name: web", "metadata:\n  annotations: {helm.sh/hook: pre-install}\n  name: web", 1), nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res, err := holds([]byte(tt.in), Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range res.Changes {
				if c.Rule == RuleBudget {
					got = append(got, c.Target.Name)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("budgets (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.kept, reasons(res, RuleBudget)); d != "" {
				t.Errorf("kept (-want +got):\n%s", d)
			}
		})
	}
}

func TestLeftAlone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, in string
		o        Options
		reason   string // "" where nothing is worth a word
	}{
		{"empty", "", Options{}, ""},
		{"only comments", "# a\n---\n# b\n", Options{}, ""},
		{"no object", "a: 1\n", Options{}, "left as it is: not a Kubernetes object"},
		{"a list", "- a\n", Options{}, "left as it is: not a Kubernetes object"},
		{"text", "---\n|\n apiVersion: v1\n kind: Pod\n", Options{}, "left as it is: not a Kubernetes object"},
		{"text after a separator", "--- |\n apiVersion: v1\n kind: Pod\n", Options{}, "left as it is: text after ---"},
		{"custom resource", "apiVersion: example.com/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: a}]}}}\n", Options{}, ""},
		{"no name", strings.Replace(deployment("1", plainPod), "name: web", "labels: {}", 1), Options{}, "left as it is: it has no name"},
		{"opted out", strings.Replace(deployment("2", plainPod), "  name: web", "  name: web\n  annotations: {"+OptOut+": skip}", 1), Options{}, "left as it is: its annotation " + OptOut + " says skip"},
		{"skipped kind", deployment("2", plainPod), Options{Skip: []string{"deployment"}}, "left as it is: its kind is skipped"},
		{"repeated key", deployment("1", plainPod) + "kind: Deployment\n", Options{}, `left as it is: line 18: key "kind" already set in map`},
		{"second document after an end marker", deployment("1", plainPod) + "...\na: b\n", Options{}, "left as it is: line 18: did not find expected <document start>"},
		{"wrong type", deployment("1", pod("hostPID: maybe\n")), Options{}, "left as it is: Deployment web: pod template:"},
		{"alias of a container", deployment("1", "      initContainers: [&c {name: a, image: b}]\n      containers: [*c]\n"), Options{}, "left as it is: a YAML alias stands where something would be added"},
		{"anchor used elsewhere", strings.Replace(deployment("1", "      containers:\n        - &c\n          name: a\n          image: b\n"), "spec:", "x: *c\nspec:", 1), Options{}, "left as it is: "},
		{"merge key", "x-base: &b {image: a}\n" + deployment("1", "      containers:\n        - <<: *b\n          name: a\n"), Options{}, "left as it is: a YAML merge key stands where something would be added"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.name == "anchor used elsewhere" {
				// An alias must come after its anchor: the copy stands at the end.
				tt.in = strings.Replace(tt.in, "x: *c\n", "", 1) + "x-copy: *c\n"
			}
			tt.o.Controls = askedFor.Controls
			res, err := Harden([]byte(tt.in), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if string(res.Manifests) != tt.in || len(res.Changes) > 0 {
				t.Errorf("changed (-want +got):\n%s", cmp.Diff(tt.in, string(res.Manifests)))
			}
			got := ""
			for _, k := range res.Kept {
				if k.Rule == "" {
					got = k.Reason
				}
			}
			if !strings.HasPrefix(got, tt.reason) || tt.reason == "" && got != "" {
				t.Errorf("reason %q, want %q", got, tt.reason)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"no YAML", with(deployment("1", plainPod), "a: [1"), "harden: invalid YAML: line 21: did not find expected"},
		{"tabs", "a:\n\tb: c\n", "found character that cannot start any token"},
		{"not UTF-8", "a: \xff\n", "invalid"},
		{"undefined alias", "a: *b\n", "unknown anchor 'b' referenced"},
		{"aliases without end", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n", "excessive aliasing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res, err := Harden([]byte(tt.in), Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || res != nil {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
