package charts

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
)

const (
	someImage     = "image: {repository: registry.example.com/x, digest: '" + digest + "'}"
	someProbes    = "probes: {startup: {type: exec, command: [a]}, readiness: {type: exec, command: [b]}, liveness: {type: exec, command: [c]}}"
	someResources = "resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}"
)

// switches are what users turn, each with its positions.
var switches = []struct {
	name    string
	options []option
}{
	{"kind", []option{{"Deployment", ""}, {"StatefulSet", "kind: StatefulSet"}, {"DaemonSet", "kind: DaemonSet"}, {"CronJob", "{kind: CronJob, cron: {schedule: '5 4 * * *'}}"}, {"Job", "kind: Job"}}},
	{"probes", []option{
		{"http", ""},
		{"tcp", "probes: {startup: {type: tcp}, readiness: {type: tcp}, liveness: {type: tcp}}"},
		{"grpc", "probes: {startup: {type: grpc}, readiness: {type: grpc, service: ready}, liveness: {type: grpc, service: live}}"},
		{"exec", "probes: {startup: {type: exec, command: [a]}, readiness: {type: exec, command: [b]}, liveness: {type: exec, command: [c]}}"},
		{"exec without port", "{port: 0, probes: {startup: {type: exec, command: [a]}, readiness: {type: exec, command: [b]}, liveness: {type: exec, command: [c]}}}"}}},
	{"replicas", []option{
		{"hpa cpu", ""}, {"hpa memory", "autoscaling: {targetCPUUtilizationPercentage: 0, targetMemoryUtilizationPercentage: 75, minReplicas: 3}"},
		{"hpa pods' requests", "autoscaling: {requestsPerSecond: {enabled: true, perPod: 20}}"},
		{"hpa external requests", "autoscaling: {targetCPUUtilizationPercentage: 0, requestsPerSecond: {enabled: true, source: External, metric: lb_rps, matchLabels: {app: x}}}"},
		{"to zero", "autoscaling: {minReplicas: 0, requestsPerSecond: {enabled: true, source: External}, scaleToZero: {reason: nobody works at night, peakMetric: office_hours}}"},
		{"keda", "autoscaling: {minReplicas: 3, initialReplicas: 4, keda: {enabled: true, triggers: [{type: prometheus, metadata: {serverAddress: 'http://prometheus.monitoring', query: q, threshold: 5}, authenticationRef: {name: a}}]}}"},
		{"keda to zero", "autoscaling: {minReplicas: 0, scaleToZero: {reason: nobody works at night}, keda: {enabled: true, triggers: [{type: cron, metadata: {timezone: Etc/UTC, start: 0 6 * * *, end: 0 20 * * *, desiredReplicas: 2}}]}}"},
		{"1", "{autoscaling: {enabled: false}, replicaCount: 1, singleReplicaReason: it holds a lock}"},
		{"2", "{autoscaling: {enabled: false}, replicaCount: 2}"}, {"5", "{autoscaling: {enabled: false}, replicaCount: 5, disruptionBudget: {maxUnavailable: 2}}"}}},
	{"vpa", []option{{"off", ""}, {"on", "verticalAutoscaling: {enabled: true}"}}},
	{"secrets", []option{{"none", ""}, {"external", "{env: {LEVEL: info}, externalSecret: {enabled: true, store: {name: s}, env: [{name: A_TOKEN, key: k}, {name: B, key: k, property: p}]}}"},
		{"files", "externalSecret: {enabled: true, store: {name: s}, data: [{name: user, key: k}], files: [{path: /etc/keys/a.pem, key: k, property: p}, {path: /etc/keys/url, template: 'db://{{ .user }}@db'}], dataFrom: [{key: all, path: /etc/all, env: {C: c}}], pull: [{key: registry}]}"}}},
	{"reached by", []option{{"service", ""}, {"nobody", "service: {enabled: false}"},
		{"ingress", "ingress: {enabled: true, host: a.example.com, className: nginx, tls: {clusterIssuer: le}}"},
		{"route", "httpRoute: {enabled: true, hostnames: [a.example.com], parentRefs: [{name: gw}]}"},
		{"load balancer", "service: {type: LoadBalancer, sourceRanges: [203.0.113.0/24]}"}, {"headless", "service: {headless: true}"}}},
	{"ports", []option{{"one", ""}, {"two", "{portName: web, ports: [{name: grpc, port: 9090, appProtocol: kubernetes.io/h2c}, {name: debug, port: 6060, servicePort: 0, from: [{podSelector: {matchLabels: {a: b}}}]}]}"}}},
	{"sidecars", []option{{"none", ""}, {"one", "sidecars: [{name: proxy, " + someImage + ", " + someProbes + ", " + someResources + "}]"},
		{"two", "sidecars: [{name: proxy, port: 9000, probes: {startup: {type: tcp}, readiness: {type: grpc}, liveness: {type: tcp}}, " + someImage + ", " + someResources + "}, {name: logs, env: {A: b}, writableDirectories: [{name: logs, path: /logs, sizeLimit: 1Mi}], " + someProbes + ", " + someImage + ", " + someResources + "}]"}}},
	{"init", []option{{"none", ""}, {"one", "initContainers: [{name: prepare, args: [x], writableDirectories: [{path: /work, sizeLimit: 1Mi}], " + someImage + ", " + someResources + "}]"}}},
	{"monitor", []option{{"none", ""}, {"pods", "metrics: {enabled: true, from: [{namespaceSelector: {}}]}"}, {"own port", "metrics: {enabled: true, port: 9102}"}, {"service", "metrics: {enabled: true, kind: ServiceMonitor}"}}},
	{"volumes", []option{{"one", ""}, {"none", "writableDirectories: []"}, {"memory", "writableDirectories: [{path: /tmp, sizeLimit: 8Mi, medium: Memory}, {name: logs, path: /logs, sizeLimit: 1Mi}]"}, {"claim", "volumeClaims: [{name: data, path: /data, size: 1Gi}]"}}},
	{"config", []option{{"none", ""}, {"made", "config: {env: {MODE: fast}, files: {/etc/app/app.yaml: 'a: 1', /etc/app/extra.conf: {text: x, containers: [main]}}}"},
		{"there", "{envFrom: [{configMap: shared, prefix: S_}], mounts: [{path: /etc/shared, configMap: shared}, {path: /etc/one/x, configMap: shared, key: x}, {path: /mnt/store, secretProviderClass: vault}], env: {IP: {field: status.podIP}, MEM: {resource: limits.memory}, ONE: {configMap: shared, key: one}}}"}}},
	{"root filesystem", []option{{"read-only", ""}, {"writable", "securityContext: {readOnlyRootFilesystem: false, writableRootReason: the image updates itself}"}}},
	{"spread", []option{{"prefer", ""}, {"insist", "{antiAffinity: required, topologySpread: {zone: DoNotSchedule, node: DoNotSchedule}}"}}},
	{"names", []option{{"default", ""}, {"given", "{fullnameOverride: a-name-of-exactly-fifty-two-characters-as-is-allowed, component: part, partOf: whole}"}, {"long", "nameOverride: a-name-that-is-as-long-as-the-schema-allows-52-signs"}}},
	{"account", []option{{"plain", ""}, {"tokens", "{serviceAccount: {annotations: {a/b: c}, tokens: [{audience: vault, path: /var/run/tokens/vault}]}, priorityClassName: high, nodeSelector: {a: b}, tolerations: [{key: x, operator: Exists}]}"},
		{"gcp", "{serviceAccount: {workloadIdentity: {gcp: {serviceAccount: a@b.iam.gserviceaccount.com}}}, podLabels: {team: shop}}"},
		{"azure", "serviceAccount: {workloadIdentity: {azure: {clientID: x, tenantID: z}}}"},
		{"rights", "{serviceAccount: {apiToken: true}, rbac: {rules: [{apiGroups: [''], resources: [configmaps], verbs: [get, list]}]}}"},
		{"the platform's", "securityContext: {platformIDsReason: OpenShift gives them}"}}},
	{"peers", []option{{"namespace", ""}, {"none", "networkPolicy: {ingress: {sameNamespace: false}}"}, {"more", "networkPolicy: {ingress: {from: [{ipBlock: {cidr: 10.0.0.0/8}}]}, egress: {allow: [{name: gcpMetadata}, {name: apiServer, cidrs: [10.9.0.1/32]}], to: [{peers: [{podSelector: {}}], ports: [{port: 5432, protocol: TCP}]}]}}"}}},
}

// conflicts are the pairs that are refused, with what the user is told.
func conflicts(x, y string) string {
	batch := x == "kind CronJob" || x == "kind Job"
	switch {
	case (batch || x == "probes exec without port") && (y == "reached by ingress" || y == "reached by route"):
		return "there is no Service that it could lead to"
	case (batch || x == "probes exec without port") && strings.HasPrefix(y, "monitor ") && y != "monitor none":
		return "there is no port to ask"
	case x == "kind Job" && y == "vpa on":
		return "there is nothing to recommend for"
	case x == "kind Deployment" && y == "volumes claim":
		return "Use kind StatefulSet"
	case x == "kind DaemonSet" && y == "volumes claim":
		return "pods on every node cannot share a claim"
	case x == "monitor service" && y == "volumes claim": // which is a Deployment's
		return "Use kind StatefulSet"
	case x == "kind StatefulSet" && y == "monitor service":
		return "two Services"
	case x == "probes exec without port" && y == "ports two":
		return "the main one comes first"
	case x == "reached by nobody" && y == "monitor service":
		return "the Service has no such port"
	}
	return ""
}

// accepted are controls that fail for a reason that the values have to give, and
// that is no declared exception.
var accepted = map[string][]evidence.ControlID{
	"replicas to zero":         {"AVL-4", "ASC-1"},
	"replicas keda to zero":    {"AVL-4", "ASC-1"},
	"root filesystem writable": {"SEC-5"},
}

// TestMatrix turns every switch with every other. What is accepted renders, is
// valid, restricted-clean and passes the profile; what is refused says why.
func TestMatrix(t *testing.T) {
	t.Parallel()
	var sizes []int
	for _, s := range switches {
		sizes = append(sizes, len(s.options))
	}
	name := func(at [2]int) string { return switches[at[0]].name + " " + switches[at[0]].options[at[1]].name }
	says := func(p pair) string { return conflicts(name(p[0]), name(p[1])) }
	rows, uncovered := pairwise(sizes, func(p pair) bool { return says(p) != "" })
	for _, p := range uncovered {
		t.Errorf("%s with %s is in no row", name(p[0]), name(p[1]))
	}
	if len(rows) < 30 {
		t.Fatalf("only %d rows", len(rows))
	}
	for _, row := range rows {
		var names []string
		var allowed []evidence.ControlID
		v := values{}
		for i, a := range row {
			if o := switches[i].options[a]; o.values != "" {
				v = overlay(v, parse(t, o.values))
			}
			n := name([2]int{i, a})
			names, allowed = append(names, n), append(allowed, accepted[n]...)
		}
		t.Run(strings.Join(names, ", "), func(t *testing.T) {
			t.Parallel()
			rel, err := load(t, serviceDir, v)
			if err != nil {
				t.Fatal(err)
			}
			wellNamed(t, rel)
			found, verdict := judge(t, rel)
			for _, f := range found {
				if f.Outcome == evidence.OutcomePass || f.Outcome == evidence.OutcomeNotApplicable || f.Declared != "" ||
					slices.ContainsFunc(f.Controls, func(c evidence.ControlID) bool { return slices.Contains(allowed, c) }) {
					continue
				}
				t.Errorf("%s %s: %s: %s", f.Outcome, f.Rule, f.Target, f.Message)
			}
			if verdict.Outcome != evidence.VerdictPass && len(allowed) == 0 {
				t.Errorf("%s: %s", verdict.Outcome, verdict.Reason)
			}
		})
	}
	refusals := 0
	for i := range switches {
		for j := i + 1; j < len(switches); j++ {
			for a := range switches[i].options {
				for b := range switches[j].options {
					p := pair{{i, a}, {j, b}}
					if says(p) == "" {
						continue
					}
					refusals++
					t.Run("refused: "+name(p[0])+", "+name(p[1]), func(t *testing.T) {
						t.Parallel()
						v := values{}
						for _, at := range p {
							if text := switches[at[0]].options[at[1]].values; text != "" {
								v = overlay(v, parse(t, text))
							}
						}
						refused(t, "service", serviceDir, v, says(p))
					})
				}
			}
		}
	}
	t.Logf("%d combinations render, %d pairs are refused", len(rows), refusals)
}

// wellNamed holds what the API server asks of names and labels, which no schema says.
func wellNamed(t *testing.T, rel *chart.Release) {
	t.Helper()
	set, err := rel.Objects()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range set.Objects {
		o := &set.Objects[i]
		problems := validation.IsDNS1123Label(o.GetName())
		if o.GetKind() == "CronJob" && len(o.GetName()) > 52 {
			problems = append(problems, "longer than 52 characters")
		}
		for _, v := range o.GetLabels() {
			problems = append(problems, validation.IsValidLabelValue(v)...)
		}
		if id := o.GetKind() + "/" + o.GetName(); seen[id] {
			problems = append(problems, "twice")
		} else {
			seen[id] = true
		}
		tpl, _, err := o.PodTemplate()
		if err == nil && tpl != nil {
			for _, v := range tpl.Spec.Volumes {
				problems = append(problems, validation.IsDNS1123Label(v.Name)...)
			}
			for _, c := range slices.Concat(tpl.Spec.InitContainers, tpl.Spec.Containers) {
				problems = append(problems, validation.IsDNS1123Label(c.Name)...)
				paths := map[string]bool{}
				for _, m := range c.VolumeMounts {
					if paths[m.MountPath] {
						problems = append(problems, m.MountPath+" is mounted twice")
					}
					paths[m.MountPath] = true
				}
				for _, p := range c.Ports {
					problems = append(problems, validation.IsValidPortName(p.Name)...)
				}
			}
		}
		if len(problems) > 0 {
			t.Errorf("%s %s: %s", o.GetKind(), o.GetName(), strings.Join(problems, "; "))
		}
	}
}
