package charts

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// features are the lines of docs/generic-charts.md: values that render what the line
// says of charts/service, or values that are refused, where it says no.
var features = map[string]struct {
	values  string
	renders []string // patterns of what all templates render
	refused string   // the message
}{
	"kinds": {"workloads: {a: {}, b: {kind: StatefulSet}, c: {kind: DaemonSet}, d: {kind: Job}, e: {kind: CronJob, cron: {schedule: 1 1 * * *}}}",
		[]string{"kind: Deployment", "kind: StatefulSet", "kind: DaemonSet", "kind: Job", "kind: CronJob"}, ""},
	"several in one release":       {"workloads: {web: {}, worker: {port: 0, probes: {startup: {type: exec, command: [a]}, readiness: {type: exec, command: [b]}, liveness: {type: exec, command: [c]}}}}", []string{"name: shop-service-web\n", "name: shop-service-worker\n"}, ""},
	"what they share is said once": {"{env: {SHARED: v}, workloads: {web: {}, worker: {}}}", []string{`(?s)name: SHARED.*name: SHARED`}, ""},
	"init containers and sidecars": {"sidecars: [{name: p, image: {repository: registry.example.com/p, digest: '" + digest + "'}, resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}, probes: {startup: {type: exec, command: [a]}, readiness: {type: exec, command: [b]}, liveness: {type: exec, command: [c]}}}]", []string{"restartPolicy: Always"}, ""},
	"migration as a hook":          {"workloads: {migrate: {kind: Job, hook: {by: helm}}}", []string{"helm.sh/hook: pre-install,pre-upgrade", `helm.sh/hook-weight: "-[0-9]+"`}, ""},
	"Argo CD: hooks, waves":        {"workloads: {migrate: {kind: Job, hook: {by: argocd}}, web: {syncWave: 2}}", []string{"argocd.argoproj.io/hook: PreSync", `argocd.argoproj.io/sync-wave: "2"`}, ""},
	"a Job's image may change":     {"kind: Job", []string{`name: shop-service-[0-9a-f]{8}\n`}, ""},
	"singletons":                   {"{autoscaling: {enabled: false}, replicaCount: 1, singleReplicaReason: it holds a lock}", []string{"replicas: 1\n", "it holds a lock"}, ""},
	"update strategy":              {"strategy: {type: Recreate}", nil, "'strategy' not allowed"},

	"variables and files": {"config: {env: {A: b}, files: {/etc/a/b: text}}", []string{"configMapRef", "mountPath: \"?/etc/a/b"}, ""},
	"a change rolls out":  {"config: {env: {A: b}}", []string{"checksum/config: "}, ""},
	"fields, resources, existing ConfigMaps and Secrets": {"env: {A: {field: status.podIP}, B: {resource: limits.memory}, C: {configMap: m, key: k}, D: {secret: s, key: k}}",
		[]string{"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef"}, ""},
	"templates in values": {"{tpl: true, args: ['{{ .Release.Name }}-x']}", []string{"shop-x"}, ""},

	"in values": {"env: {DB_PASSWORD: hunter2}", nil, "keep it in a secret store"},
	"ExternalSecrets as variables and files": {"externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k}], files: [{path: /s/a, key: k}]}",
		[]string{"kind: ExternalSecret", "secretKeyRef", "mountPath: \"?/s\"?\n"}, ""},
	"ExternalSecrets to pull with, and for TLS": {"{externalSecret: {enabled: true, store: {name: s}, pull: [{key: k}], tls: {key: c}}, ingress: {enabled: true, className: nginx, host: a.example.com}}",
		[]string{"kubernetes.io/dockerconfigjson", "kubernetes.io/tls", "imagePullSecrets"}, ""},
	"Secrets Store CSI": {"mounts: [{path: /s, secretProviderClass: c}]", []string{"driver: secrets-store.csi.k8s.io"}, ""},

	"NetworkPolicy": {"{}", []string{`kind: NetworkPolicy`, `policyTypes: \[Ingress, Egress\]|policyTypes:\n +- Ingress\n +- Egress`}, ""},
	"it follows Ingress, Gateway and metrics": {"{ingress: {enabled: true, className: nginx, host: a.example.com}, httpRoute: {enabled: true, hostnames: [a.example.com], parentRefs: [{name: public, namespace: gateways}]}, metrics: {enabled: true}}",
		[]string{"kubernetes.io/metadata.name: ingress-nginx", "gateway-name: public", "kubernetes.io/metadata.name: monitoring"}, ""},
	"egress by name: metadata, API server, STS":       {"networkPolicy: {egress: {allow: [{name: gcpMetadata}, {name: apiServer, cidrs: [10.0.0.1/32]}, {name: sts, cidrs: [192.0.2.0/24]}]}}", []string{"169.254.169.254/32", "10.0.0.1/32", "192.0.2.0/24"}, ""},
	"hosts and paths of an Ingress":                   {"ingress: {enabled: true, className: nginx, hosts: [{host: a.example.com, paths: [{path: /x}]}, {host: b.example.com}]}", []string{"kind: Ingress\n", "path: \"?/x", "b.example.com", "tls:"}, ""},
	"HTTPRoute":                                       {"httpRoute: {enabled: true, hostnames: [a.example.com], parentRefs: [{name: g, namespace: gw}], rules: [{path: /x}]}", []string{"kind: HTTPRoute", "value: \"?/x"}, ""},
	"filters, header matches, weights, GRPCRoute":     {"httpRoute: {enabled: true, hostnames: [a.example.com], parentRefs: [{name: g}], rules: [{path: /, filters: []}]}", nil, "'filters' not allowed"},
	"Route of OpenShift":                              {"route: {enabled: true}", nil, "'route' not allowed"},
	"several ports, headless, NodePort, LoadBalancer": {"{service: {type: LoadBalancer, sourceRanges: [192.0.2.0/24]}, ports: [{name: grpc, port: 9090}]}", []string{"type: LoadBalancer", "port: 9090", "192.0.2.0/24"}, ""},
	"UDP":                              {"ports: [{name: statsd, port: 8125, protocol: UDP}]", nil, "'protocol' not allowed"},
	"several Services of one workload": {"services: {a: {}}", nil, "'services' not allowed"},

	"HorizontalPodAutoscaler":     {"{}", []string{"kind: HorizontalPodAutoscaler", "minReplicas: 2", "stabilizationWindowSeconds: 300"}, ""},
	"KEDA":                        {"autoscaling: {keda: {enabled: true, triggers: [{type: prometheus, metadata: {query: q}}]}}", []string{"kind: ScaledObject", "minReplicaCount: 2"}, ""},
	"scaling to zero":             {"autoscaling: {minReplicas: 0, targetCPUUtilizationPercentage: 0, requestsPerSecond: {enabled: true, source: External}, scaleToZero: {reason: nobody works at night, peakMetric: office_hours}}", []string{"minReplicas: 0", "office_hours"}, ""},
	"VerticalPodAutoscaler":       {"verticalAutoscaling: {enabled: true}", []string{"kind: VerticalPodAutoscaler", `updateMode: "?Off`}, ""},
	"PodDisruptionBudget":         {"{}", []string{"kind: PodDisruptionBudget", "maxUnavailable: 1"}, ""},
	"spread over zones and nodes": {"{}", []string{"topologyKey: topology.kubernetes.io/zone", "topologyKey: kubernetes.io/hostname", "podAntiAffinity"}, ""},
	"three probes":                {"{}", []string{"startupProbe:", "readinessProbe:", "livenessProbe:"}, ""},

	"Pod Security restricted by default":     {"{}", []string{"runAsNonRoot: true", "allowPrivilegeEscalation: false", `drop: \[ALL\]`, "type: RuntimeDefault"}, ""},
	"requests and limits":                    {"resources: {limits: {memory: null}}", nil, "limits.memory is missing"},
	"image by digest":                        {"image: {repository: registry.example.com/a, tag: '1'}", nil, "image.digest is missing"},
	"an account for each workload, no token": {"workloads: {a: {}, b: {}}", []string{`(?s)kind: ServiceAccount.*kind: ServiceAccount`, "automountServiceAccountToken: false"}, ""},
	"workload identity of GCP, AWS, Azure":   {"serviceAccount: {workloadIdentity: {azure: {clientID: 11111111-1111-1111-1111-111111111111}}}", []string{"azure.workload.identity/use", "azure.workload.identity/client-id"}, ""},
	"rights by values":                       {"{serviceAccount: {apiToken: true}, rbac: {rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]}}", []string{"kind: Role\n", "kind: RoleBinding"}, ""},
	"ClusterRoles":                           {"rbac: {clusterRules: []}", nil, "'clusterRules' not allowed"},
	"ids given by OpenShift":                 {"securityContext: {platformIDsReason: OpenShift gives ids of the namespace's range}", []string{"runAsNonRoot: true"}, ""},
	"paths, network and processes of the node": {"{kind: DaemonSet, nodeAgent: {reason: it reads the node's logs, hostNetwork: true, hostPID: true, hostPaths: [{path: /var/log, reason: the logs are there}]}}",
		[]string{"hostNetwork: true", "hostPID: true", "hostPath:"}, ""},

	"/etc/hosts, resolver options, RuntimeClass": {"{hostAliases: [{ip: 192.0.2.7, hostnames: [db.example.com]}], dnsConfig: {searches: [a.example.com], options: [{name: ndots, value: 2}, {name: edns0}]}, runtimeClassName: gvisor}",
		[]string{`hostAliases:\n +- hostnames:\n +- db.example.com\n +ip: 192.0.2.7`, `searches:\n +- a.example.com\n +options:\n +- name: ndots\n +value: "2"\n +- name: edns0\n +terminationGrace`, "runtimeClassName: gvisor"}, ""},
	"devices such as GPUs":                             {"resources: {limits: {nvidia.com/gpu: 1}}", []string{`limits:\n(.*\n){1,4} +nvidia.com/gpu: 1\n`}, ""},
	"commands at start and end of a container":         {"lifecycle: {preStop: {exec: {command: [a]}}}", nil, "'lifecycle' not allowed"},
	"node affinity":                                    {"affinity: {}", nil, "name nodes by nodeSelector"},
	"claims: of each replica, existing, ReadWriteMany": {"{kind: StatefulSet, autoscaling: {enabled: false}, volumeClaims: [{name: a, path: /a, size: 1Gi}, {name: b, path: /b, existingClaim: shared, accessMode: ReadWriteMany}]}", []string{"volumeClaimTemplates", "claimName: shared"}, ""},

	"PodMonitor, ServiceMonitor":                     {"workloads: {a: {metrics: {enabled: true}}, b: {metrics: {enabled: true, kind: ServiceMonitor}}}", []string{"kind: PodMonitor", "kind: ServiceMonitor"}, ""},
	"alert rules, dashboards, backups, certificates": {"prometheusRule: {}", nil, "'prometheusRule' not allowed"},
	"other objects":                                  {"extraObjects: [{apiVersion: bitnami.com/v1alpha1, kind: SealedSecret, metadata: {name: x}, spec: {encryptedData: {a: b}}}]", []string{"kind: SealedSecret"}, ""},
	"misspelled values are refused":                  {"autoscaling: {scaleUp: {procent: 5}}", nil, "'procent' not allowed"},
	"what is weak is refused, with a reason":         {"securityContext: {privileged: true}", nil, "a privileged container has every right on its node"},
}

// elsewhere are the lines that other tests hold.
var elsewhere = map[string]string{
	"two aliases in one parent":                         "TestAliases",
	"as a library":                                      "TestRefused",
	"tests that are public":                             "TestPass",
	"verdict of `helmproof check` by the fewest values": "TestPass",
	"signed evidence of a release":                      "TestPublishing",
}

// TestFeatures holds what docs/generic-charts.md says of charts/service, line by
// line: yes renders, and no is refused.
func TestFeatures(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/generic-charts.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, dir := range []string{".", "../../cmd/helmproof"} {
		for name, text := range tree(t, dir) {
			if strings.HasSuffix(name, "_test.go") {
				tests.WriteString(text)
			}
		}
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|*]+?) \| (yes|no)\b.*\|$`).FindAllStringSubmatch(string(raw), -1) {
		line, yes := m[1], m[2] == "yes"
		seen[line] = true
		if test := elsewhere[line]; test != "" && yes {
			if !strings.Contains(tests.String(), "\nfunc "+test+"(") {
				t.Errorf("%s: there is no %s", line, test)
			}
			continue
		}
		f, known := features[line]
		if !known {
			t.Errorf("no values show the line %q", line)
			continue
		}
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			files, err := render(service(t), "shop", parse(t, f.values))
			if f.refused != "" {
				if err == nil || !strings.Contains(err.Error(), f.refused) {
					t.Errorf("want %q: %v", f.refused, err)
				}
				return
			}
			if err != nil || !yes {
				t.Fatalf("yes: %v: %v", yes, err)
			}
			var all strings.Builder
			for _, name := range slices.Sorted(maps.Keys(files)) {
				all.WriteString(files[name] + "\n")
			}
			for _, p := range f.renders {
				if !regexp.MustCompile(p).MatchString(all.String()) {
					t.Errorf("no %s in\n%s", p, all.String())
				}
			}
		})
	}
	for _, line := range append(slices.Collect(maps.Keys(features)), slices.Collect(maps.Keys(elsewhere))...) {
		if !seen[line] {
			t.Errorf("docs/generic-charts.md has no line %q with yes or no", line)
		}
	}
	if len(attempts) <= 140 {
		t.Errorf("only %d cases are refused", len(attempts))
	}
}
