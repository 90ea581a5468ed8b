package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// object wraps a pod spec, given as flow YAML, into a kind.
func object(kind, podSpec string) string {
	switch kind {
	case "Pod":
		return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: %s\n", podSpec)
	case "CronJob":
		return fmt.Sprintf("---\napiVersion: batch/v1\nkind: CronJob\nmetadata: {name: x}\nspec: {schedule: '* * * * *', jobTemplate: {spec: {template: {spec: %s}}}}\n", podSpec)
	}
	group := map[string]string{"ReplicationController": "v1", "Job": "batch/v1"}[kind]
	if group == "" {
		group = "apps/v1"
	}
	return fmt.Sprintf("---\napiVersion: %s\nkind: %s\nmetadata: {name: x}\nspec: {template: {metadata: {labels: {app: x, tier: web}}, spec: %s}}\n", group, kind, podSpec)
}

func deployment(podSpec string) string { return object("Deployment", podSpec) }

// containers makes a pod spec with one container c of those fields.
func container(fields string) string { return "{containers: [{name: c, image: i, " + fields + "}]}" }

func hpa(spec string) string {
	return "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: x}\nspec: " + spec + "\n"
}

func vpa(spec string) string {
	return "---\napiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\nmetadata: {name: x}\nspec: " + spec + "\n"
}

func externalSecret(spec string) string {
	return "---\napiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: x}\nspec: " + spec + "\n"
}

func spread(constraints string) string {
	return deployment("{containers: [], topologySpreadConstraints: " + constraints + "}")
}

// both makes constraints, or terms, of those fields over zones and over nodes.
func both(fields string) string {
	return "[{topologyKey: topology.kubernetes.io/zone, " + fields + "}, {topologyKey: kubernetes.io/hostname, " + fields + "}]"
}

func apart(fields string) string {
	return deployment("{containers: [], affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: " + both(fields) + "}}}")
}

// three gives a workload three replicas.
func three(manifest string) string {
	return strings.Replace(manifest, "spec: {", "spec: {replicas: 3, ", 1)
}

// held is a workload that is spread, with those fields of the pod.
func held(fields string) string {
	return deployment("{containers: [], topologySpreadConstraints: " + both("maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, "+sameSelf) + ", " + fields + "}")
}

// nodes is one with those terms for its nodes.
func nodes(terms string) string {
	return held("affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + terms + "]}}}")
}

const unspread = "pods are not spread over topology.kubernetes.io/zone, nor over kubernetes.io/hostname"

var spreads = pass("Deployment", "Replicas spread over zones and nodes")

const tokenSecret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: forever, annotations: {kubernetes.io/service-account.name: x}}\ntype: kubernetes.io/service-account-token\n"

const notApplicable = "not-applicable Chart/shop: no rendered object is of a kind that the policy is about"

const (
	hex64    = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	httpA    = "httpGet: {path: /a, port: 80}"
	sameSelf = "labelSelector: {matchLabels: {app: x}}"
)

// pass, failC and fail make the summaries that the cases expect.
func pass(kind, title string) []string { return []string{"pass " + kind + "/x: " + title} }

func failC(messages ...string) []string { return expect("fail Deployment/x[c]: ", messages) }

func fail(kind string, messages ...string) []string { return expect("fail "+kind+"/x: ", messages) }

func expect(prefix string, messages []string) []string {
	out := make([]string, len(messages))
	for i, m := range messages {
		out[i] = prefix + m
	}
	return out
}

type builtinCase struct {
	name, manifest string
	want           []string
}

// builtinCases is shared by the tests that judge them in other ways.
var builtinCases = map[string][]builtinCase{
	"resource-requests": {
		{"good", deployment(container("resources: {requests: {cpu: 1, memory: 1Mi}}")), pass("Deployment", "Every container requests cpu and memory")},
		{"nothing", deployment(container("tty: true")), failC("no cpu request, no memory request")},
		{"null resources", deployment("{containers: [{name: c, image: i, resources: }]}"), failC("no cpu request, no memory request")},
		{"null quantity", deployment("{containers: [{name: c, image: i, resources: {requests: {cpu: , memory: 1Mi}}}]}"), failC("no cpu request")},
		{"a limit is not a request", deployment(container("resources: {limits: {cpu: 1, memory: 1Mi}, requests: {cpu: 1}}")), failC("no memory request")},
		{"zero", deployment(container("resources: {requests: {cpu: 0m, memory: '0'}}")), failC("cpu request is not above 0, memory request is not above 0")},
		{"init and sidecar", deployment("{initContainers: [{name: i, image: i}, {name: s, image: i, restartPolicy: Always}], containers: [{name: c, image: i, resources: {requests: {cpu: 1, memory: 1}}}]}"),
			[]string{"fail Deployment/x[i]: no cpu request, no memory request", "fail Deployment/x[s]: no cpu request, no memory request"}},
		{"no workload", "kind: Service\napiVersion: v1\n", []string{notApplicable}},
	},
	"resource-limits": {
		{"good", deployment(container("resources: {limits: {cpu: 500m, memory: 1Mi}}")), pass("Deployment", "Every container limits cpu and memory")},
		{"no cpu", deployment(container("resources: {limits: {memory: 1Mi}}")), failC("no cpu limit")},
		{"no memory", deployment(container("resources: {limits: {cpu: 1}}")), failC("no memory limit")},
		{"zero", deployment(container("resources: {limits: {cpu: 0, memory: '0'}}")), failC("cpu limit is not above 0, memory limit is not above 0")},
		{"zero with units", deployment(container("resources: {limits: {cpu: 0m, memory: 0Gi}}")), failC("cpu limit is not above 0, memory limit is not above 0")},
		{"zero with digits", deployment(container("resources: {limits: {cpu: '0.000', memory: 0e3}}")), failC("cpu limit is not above 0, memory limit is not above 0")},
		{"zero as text", deployment(container("resources: {limits: {cpu: '0e3', memory: '+0Ki'}}")), failC("cpu limit is not above 0, memory limit is not above 0")},
		{"negative", deployment(container("resources: {limits: {cpu: -1, memory: 1Mi}}")), failC("cpu limit is not above 0")},
		{"little", deployment(container("resources: {limits: {cpu: 1m, memory: 1}}")), pass("Deployment", "Every container limits cpu and memory")},
		{"one of them missing, one zero", deployment(container("resources: {limits: {cpu: 0.0}}")), failC("cpu limit is not above 0, no memory limit")},
		{"init", object("Job", "{initContainers: [{name: i, image: i}], containers: [{name: c, image: i, resources: {limits: {cpu: 1, memory: 1}}}]}"),
			[]string{"fail Job/x[i]: no cpu limit, no memory limit"}},
	},
	"limits-at-least-requests": {
		{"equal, written differently", deployment(container("resources: {limits: {cpu: 500m, memory: 1k}, requests: {cpu: 0.5, memory: 1e3}}")), pass("Deployment", "Limits are at or above requests")},
		{"limit only", deployment(container("resources: {limits: {cpu: 1}}")), pass("Deployment", "Limits are at or above requests")},
		{"cpu below", deployment(container("resources: {limits: {cpu: 0.1}, requests: {cpu: 200m}}")), failC("cpu limit 0.1 is below the request 200m")},
		{"binary and decimal", deployment(container("resources: {limits: {memory: 1M}, requests: {memory: 1Mi}}")), failC("memory limit 1M is below the request 1Mi")},
		{"ephemeral storage", deployment(container("resources: {limits: {ephemeral-storage: 1Gi}, requests: {ephemeral-storage: 2Gi}}")), failC("ephemeral-storage limit 1Gi is below the request 2Gi")},
		{"two", deployment(container("resources: {limits: {cpu: 1, memory: 1}, requests: {cpu: 2, memory: 2}}")), failC("cpu limit 1 is below the request 2, memory limit 1 is below the request 2")},
	},
	"readiness-probe": {
		{"good", deployment(container("readinessProbe: {" + httpA + "}")), pass("Deployment", "Every long-running container has a readiness probe")},
		{"none", deployment(container("livenessProbe: {" + httpA + "}")), failC("no readinessProbe")},
		{"without handler", deployment(container("readinessProbe: {periodSeconds: 3}")), failC("no readinessProbe")},
		{"init containers are not asked", deployment("{initContainers: [{name: i, image: i}, {name: o, image: i}], containers: [{name: c, image: i, readinessProbe: {exec: {command: [x]}}}]}"), pass("Deployment", "Every long-running container has a readiness probe")},
		{"a native sidecar", deployment("{initContainers: [{name: i, image: i}, {name: s, image: i, restartPolicy: Always}], containers: [{name: c, image: i, readinessProbe: {exec: {command: [x]}}}]}"), []string{"fail Deployment/x[s]: no readinessProbe"}},
		{"a native sidecar with one", deployment("{initContainers: [{name: s, image: i, restartPolicy: Always, readinessProbe: {" + httpA + "}}], containers: [{name: c, image: i, readinessProbe: {exec: {command: [x]}}}]}"), pass("Deployment", "Every long-running container has a readiness probe")},
		{"a native sidecar of a Job", object("Job", "{initContainers: [{name: s, image: i, restartPolicy: Always}], containers: [{name: c, image: i}]}"), []string{notApplicable}},
		{"bare pod", object("Pod", container("tty: true")), []string{"fail Pod/x[c]: no readinessProbe"}},
		{"pod that ends", object("Pod", "{restartPolicy: Never, containers: [{name: c, image: i}]}"), []string{notApplicable}},
		{"job", object("Job", container("tty: true")), []string{notApplicable}},
		{"cronjob", object("CronJob", container("tty: true")), []string{notApplicable}},
	},
	"liveness-probe": {
		{"a native sidecar", deployment("{initContainers: [{name: s, image: i, restartPolicy: Always}], containers: [{name: c, image: i, livenessProbe: {exec: {command: [x]}}}]}"), []string{"fail Deployment/x[s]: no livenessProbe"}},
		{"good", deployment(container("livenessProbe: {grpc: {port: 1}}")), pass("Deployment", "Every long-running container has a liveness probe")},
		{"none", deployment(container("tty: true")), failC("no livenessProbe")},
		{"job", object("Job", container("tty: true")), []string{notApplicable}},
	},
	"startup-probe": {
		{"a native sidecar", deployment("{initContainers: [{name: s, image: i, restartPolicy: Always}], containers: [{name: c, image: i, startupProbe: {exec: {command: [x]}}}]}"), []string{"fail Deployment/x[s]: no startupProbe"}},
		{"good", deployment(container("startupProbe: {tcpSocket: {port: 1}}")), pass("Deployment", "Every long-running container has a startup probe")},
		{"none", deployment(container("tty: true")), failC("no startupProbe")},
	},
	"distinct-probes": {
		{"other path", deployment(container("livenessProbe: {" + httpA + "}, readinessProbe: {httpGet: {path: /b, port: 80}}")), pass("Deployment", "Liveness is not the readiness probe's twin")},
		{"more patient", deployment(container("livenessProbe: {" + httpA + ", failureThreshold: 4}, readinessProbe: {" + httpA + "}")), pass("Deployment", "Liveness is not the readiness probe's twin")},
		{"twins of a native sidecar", deployment("{initContainers: [{name: s, image: i, restartPolicy: Always, livenessProbe: {" + httpA + "}, readinessProbe: {" + httpA + "}}], containers: [{name: c, image: i}]}"), []string{"fail Deployment/x[s]: livenessProbe repeats the readinessProbe and gives up after 30 s, no later than its 30 s"}},
		{"one probe", deployment(container("livenessProbe: {" + httpA + "}")), pass("Deployment", "Liveness is not the readiness probe's twin")},
		{"twins", deployment(container("livenessProbe: {" + httpA + "}, readinessProbe: {" + httpA + "}")), failC("livenessProbe repeats the readinessProbe and gives up after 30 s, no later than its 30 s")},
		{"defaults written out", deployment(container("livenessProbe: {httpGet: {path: /, port: '80', scheme: HTTP}, periodSeconds: 10, failureThreshold: 3}, readinessProbe: {httpGet: {port: 80}}")), failC("livenessProbe repeats the readinessProbe and gives up after 30 s, no later than its 30 s")},
		{"earlier", deployment(container("livenessProbe: {exec: {command: [a, b]}, periodSeconds: 1}, readinessProbe: {exec: {command: [a, b]}}")), failC("livenessProbe repeats the readinessProbe and gives up after 3 s, no later than its 30 s")},
		{"other command", deployment(container("livenessProbe: {exec: {command: [a]}}, readinessProbe: {exec: {command: [b]}}")), pass("Deployment", "Liveness is not the readiness probe's twin")},
		{"other handler", deployment(container("livenessProbe: {tcpSocket: {port: 80}}, readinessProbe: {httpGet: {port: 80}}")), pass("Deployment", "Liveness is not the readiness probe's twin")},
		{"tcp", deployment(container("livenessProbe: {tcpSocket: {port: 80}}, readinessProbe: {tcpSocket: {port: 80}}")), failC("livenessProbe repeats the readinessProbe and gives up after 30 s, no later than its 30 s")},
		{"a port by its name and by its number", deployment(container("ports: [{containerPort: 9}, {name: http, containerPort: 80}], livenessProbe: {httpGet: {port: http}}, readinessProbe: {httpGet: {port: 80}}")), failC("livenessProbe repeats the readinessProbe and gives up after 30 s, no later than its 30 s")},
		{"tcp, a port by its name", deployment(container("ports: [{name: db, containerPort: 5432}], livenessProbe: {tcpSocket: {port: '5432'}}, readinessProbe: {tcpSocket: {port: db}}")), failC("livenessProbe repeats the readinessProbe and gives up after 30 s, no later than its 30 s")},
		{"the name of another port", deployment(container("ports: [{name: http, containerPort: 80}, {name: admin, containerPort: 81}], livenessProbe: {httpGet: {port: admin}}, readinessProbe: {httpGet: {port: 80}}")), pass("Deployment", "Liveness is not the readiness probe's twin")},
		{"two ports without a name", deployment(container("ports: [{containerPort: 80}, {containerPort: 81}], livenessProbe: {httpGet: {port: 81}}, readinessProbe: {httpGet: {port: 80}}")), pass("Deployment", "Liveness is not the readiness probe's twin")},
		{"the port of another container", deployment("{containers: [{name: c, image: i, livenessProbe: {httpGet: {port: http}}, readinessProbe: {httpGet: {port: 80}}}, {name: d, image: i, ports: [{name: http, containerPort: 80}]}]}"), pass("Deployment", "Liveness is not the readiness probe's twin")},
		{"grpc services", deployment(container("livenessProbe: {grpc: {port: 80, service: a}}, readinessProbe: {grpc: {port: 80}}")), pass("Deployment", "Liveness is not the readiness probe's twin")},
	},
	"topology-spread": {
		{"constraints", spread("[{topologyKey: topology.kubernetes.io/zone, " + sameSelf + "}, {topologyKey: kubernetes.io/hostname, " + sameSelf + "}]"), pass("Deployment", "Replicas spread over zones and nodes")},
		{"anti-affinity, hard and soft", deployment("{containers: [], affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchExpressions: [{key: app, operator: In, values: [x]}]}}], preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: topology.kubernetes.io/zone, " + sameSelf + "}}]}}}"), pass("Deployment", "Replicas spread over zones and nodes")},
		{"nothing", spread("[]"), fail("Deployment", "pods are not spread over topology.kubernetes.io/zone, nor over kubernetes.io/hostname")},
		{"no zone", spread("[{topologyKey: kubernetes.io/hostname, " + sameSelf + "}]"), fail("Deployment", "pods are not spread over topology.kubernetes.io/zone")},
		{"no selector", spread("[{topologyKey: topology.kubernetes.io/zone}, {topologyKey: kubernetes.io/hostname, " + sameSelf + "}]"), fail("Deployment", "pods are not spread over topology.kubernetes.io/zone")},
		{"selects others", spread("[{topologyKey: topology.kubernetes.io/zone, " + sameSelf + "}, {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: z}}}]"), fail("Deployment", "pods are not spread over kubernetes.io/hostname")},
		{"expressions", spread("[{topologyKey: topology.kubernetes.io/zone, labelSelector: {matchExpressions: [{key: app, operator: Exists}, {key: tier, operator: NotIn, values: [db]}, {key: z, operator: DoesNotExist}]}}, {topologyKey: kubernetes.io/hostname, labelSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [web]}]}}]"), fail("Deployment", "pods are not spread over kubernetes.io/hostname")},
		{"apart in another namespace", apart("namespaces: [other], " + sameSelf), fail("Deployment", unspread)},
		{"apart in its own namespace too", apart("namespaces: [other, payments], " + sameSelf), spreads},
		{"apart in namespaces by label", apart("namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}, " + sameSelf), fail("Deployment", unspread)},
		{"apart in namespaces by a label not known", apart("namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}, " + sameSelf), fail("Deployment", unspread)},
		{"apart in its own namespace by label", apart("namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [payments]}]}, " + sameSelf), spreads},
		{"apart in all namespaces", apart("namespaceSelector: {}, " + sameSelf), spreads},
		{"apart in a labelled namespace", apart("namespaceSelector: {matchLabels: {team: a}}, "+sameSelf) + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: payments, labels: {team: a}}\n", spreads},
		{"a mismatch with itself", apart("mismatchLabelKeys: [app], labelSelector: {matchLabels: {tier: web}}"), fail("Deployment", unspread)},
		{"a mismatch with its revision", apart("mismatchLabelKeys: [pod-template-hash], " + sameSelf), fail("Deployment", unspread)},
		{"a mismatch of a label that it has not", apart("mismatchLabelKeys: [tenant], " + sameSelf), spreads},
		{"a match of its revision", apart("matchLabelKeys: [pod-template-hash], " + sameSelf), spreads},
		{"no revision", apart("labelSelector: {matchExpressions: [{key: pod-template-hash, operator: DoesNotExist}]}"), fail("Deployment", unspread)},
		{"each pod for itself", object("StatefulSet", "{containers: [], topologySpreadConstraints: "+both(sameSelf+", matchLabelKeys: [apps.kubernetes.io/pod-index]")+"}"), fail("StatefulSet", unspread)},
		{"a skew of all", three(spread(both("maxSkew: 3, whenUnsatisfiable: DoNotSchedule, " + sameSelf))), fail("Deployment", unspread)},
		{"a skew of all, hard by default", three(spread(both("maxSkew: 4, " + sameSelf))), fail("Deployment", unspread)},
		{"a skew of some", three(spread(both("maxSkew: 2, whenUnsatisfiable: DoNotSchedule, " + sameSelf))), spreads},
		{"a skew of all, soft", three(spread(both("maxSkew: 3, whenUnsatisfiable: ScheduleAnyway, " + sameSelf))), spreads},
		{"a skew of an unknown number", spread(both("maxSkew: 2, whenUnsatisfiable: DoNotSchedule, " + sameSelf)), fail("Deployment", unspread)},
		{"on a node by name", held("nodeName: n1"), fail("Deployment", "all pods are held to one zone or node, by nodeName")},
		{"on a node by label", held("nodeSelector: {kubernetes.io/hostname: n1}"), fail("Deployment", "all pods are held to one zone or node, by nodeSelector kubernetes.io/hostname")},
		{"in a zone by label", held("nodeSelector: {topology.kubernetes.io/zone: a}"), fail("Deployment", "all pods are held to one zone or node, by nodeSelector topology.kubernetes.io/zone")},
		{"on nodes by another label", held("nodeSelector: {kubernetes.io/os: linux}"), spreads},
		{"on a node by affinity", nodes("{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n1]}]}"), fail("Deployment", "all pods are held to one zone or node, by nodeAffinity kubernetes.io/hostname")},
		{"on a node by its field", nodes("{matchFields: [{key: metadata.name, operator: In, values: [n1]}]}"), fail("Deployment", "all pods are held to one zone or node, by nodeAffinity metadata.name")},
		{"in one zone or the same", nodes("{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [a]}]}, {matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [a]}, {key: gpu, operator: Exists}]}"), fail("Deployment", "all pods are held to one zone or node, by nodeAffinity topology.kubernetes.io/zone")},
		{"in one zone or another", nodes("{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [a]}]}, {matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [b]}]}"), spreads},
		{"in two zones", nodes("{matchExpressions: [{key: topology.kubernetes.io/zone, operator: In, values: [a, b]}]}"), spreads},
		{"not on one node", nodes("{matchExpressions: [{key: kubernetes.io/hostname, operator: NotIn, values: [n1]}]}"), spreads},
		{"with itself", held("affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, " + sameSelf + "}]}}"), fail("Deployment", "all pods are held to one zone or node, by podAffinity kubernetes.io/hostname")},
		{"with others", held("affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: db}}}]}}"), spreads},
		{"one replica", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 1, template: {spec: {containers: []}}}\n", []string{notApplicable}},
		{"daemon set", object("DaemonSet", "{containers: []}"), []string{notApplicable}},
	},
	"run-as-non-root": {
		{"pod level", deployment("{securityContext: {runAsNonRoot: true, runAsUser: 1, fsGroup: 1}, containers: [{name: c, image: i}]}"), pass("Deployment", "Containers run as a numbered user that is not root")},
		{"container level", deployment("{securityContext: {fsGroup: 1}, containers: [{name: c, image: i, securityContext: {runAsNonRoot: true, runAsUser: 1}}]}"), pass("Deployment", "Containers run as a numbered user that is not root")},
		{"empty security contexts", deployment("{securityContext: {}, containers: [{name: c, image: i, securityContext: {}}]}"),
			[]string{"fail Deployment/x: no fsGroup in the pod's securityContext", "fail Deployment/x[c]: runAsNonRoot is not true, no runAsUser"}},
		{"container overrides", deployment("{securityContext: {runAsNonRoot: true, runAsUser: 1, fsGroup: 1}, containers: [{name: c, image: i, securityContext: {runAsNonRoot: false, runAsUser: 0}}]}"), failC("runAsNonRoot is not true, runAsUser is 0")},
		{"pod is root", deployment("{securityContext: {runAsNonRoot: true, runAsUser: 0, fsGroup: 1}, containers: [{name: c, image: i}]}"), failC("runAsUser is 0")},
		{"windows", deployment("{os: {name: windows}, containers: [{name: c, image: i}]}"), []string{notApplicable}},
	},
	"seccomp": {
		{"pod level", deployment("{securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, image: i}]}"), pass("Deployment", "A seccomp profile is set")},
		{"localhost", deployment(container("securityContext: {seccompProfile: {type: Localhost, localhostProfile: a}}")), pass("Deployment", "A seccomp profile is set")},
		{"none", deployment(container("securityContext: {}")), failC("no seccompProfile")},
		{"override", deployment("{securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, image: i, securityContext: {seccompProfile: {type: Unconfined}}}]}"), failC("seccompProfile is Unconfined")},
	},
	"privilege-escalation": {
		{"good", deployment(container("securityContext: {allowPrivilegeEscalation: false, privileged: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}")), pass("Deployment", "No privilege escalation, all capabilities dropped")},
		{"nothing", deployment(container("securityContext: {}")), failC("allowPrivilegeEscalation is not false, capabilities do not drop ALL")},
		{"privileged", deployment(container("securityContext: {allowPrivilegeEscalation: false, privileged: true, capabilities: {drop: [ALL]}}")), failC("privileged is not false")},
		{"adds", deployment(container("securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [NET_RAW, ALL], add: [SYS_ADMIN, NET_BIND_SERVICE, SYS_PTRACE]}}")), failC("adds capability SYS_ADMIN, adds capability SYS_PTRACE")},
		{"drops some", deployment(container("securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [NET_RAW]}}")), failC("capabilities do not drop ALL")},
	},
	"read-only-root": {
		{"good", deployment(container("securityContext: {readOnlyRootFilesystem: true}")), pass("Deployment", "The root filesystem is read-only")},
		{"false", deployment(container("securityContext: {readOnlyRootFilesystem: false}")), failC("readOnlyRootFilesystem is not true")},
		{"unset", deployment(container("tty: true")), failC("readOnlyRootFilesystem is not true")},
	},
	"service-account-token": {
		{"good", deployment("{automountServiceAccountToken: false, containers: []}"), pass("Deployment", "No service account token is mounted by itself")},
		{"true", deployment("{automountServiceAccountToken: true, containers: []}"), fail("Deployment", "automountServiceAccountToken is not false")},
		{"unset", object("CronJob", "{containers: []}"), fail("CronJob", "automountServiceAccountToken is not false")},
		{"projected", deployment("{automountServiceAccountToken: false, volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3600}}]}}], containers: []}") + tokenSecret,
			pass("Deployment", "No service account token is mounted by itself")},
		{"token by volume", deployment("{automountServiceAccountToken: false, volumes: [{name: v, secret: {secretName: forever}}], containers: []}") + tokenSecret,
			fail("Deployment", `volume "v" mounts the token of a service account from Secret forever, which does not expire`)},
		{"token by projected volume", object("CronJob", "{automountServiceAccountToken: false, volumes: [{name: v, projected: {sources: [{secret: {name: forever}}]}}], containers: []}") + tokenSecret,
			fail("CronJob", `volume "v" mounts the token of a service account from Secret forever, which does not expire`)},
		{"token by environment", deployment("{automountServiceAccountToken: false, containers: [{name: c, image: i, env: [{name: T, valueFrom: {secretKeyRef: {name: forever, key: token}}}]}]}") + tokenSecret,
			failC("takes the token of a service account from Secret forever, which does not expire")},
		{"token by whole environment", deployment("{automountServiceAccountToken: false, initContainers: [{name: c, image: i, envFrom: [{secretRef: {name: forever}}]}], containers: []}") + tokenSecret,
			failC("takes the token of a service account from Secret forever, which does not expire")},
		{"token elsewhere", deployment("{automountServiceAccountToken: false, volumes: [{name: v, secret: {secretName: forever}}], containers: []}") + strings.Replace(tokenSecret, "name: forever", "name: forever, namespace: other", 1),
			pass("Deployment", "No service account token is mounted by itself")},
	},
	"image-digest": {
		{"digest", deployment("{containers: [{name: c, image: 'r.io/a/b@sha256:" + hex64 + "'}]}"), pass("Deployment", "Every image is pinned by digest")},
		{"tag and digest", deployment("{containers: [{name: c, image: 'r.io:5000/b:1@sha256:" + hex64 + "'}]}"), pass("Deployment", "Every image is pinned by digest")},
		{"tag", deployment("{containers: [{name: c, image: 'b:1'}]}"), failC("image b:1 has no sha256 digest")},
		{"short digest", deployment("{containers: [{name: c, image: 'b@sha256:abc'}]}"), failC("image b@sha256:abc has no sha256 digest")},
		{"none", deployment("{containers: [{name: c}]}"), failC("image (none) has no sha256 digest")},
		{"short name", deployment("{containers: [{name: c, image: 'a@sha256:" + hex64 + "'}]}"), pass("Deployment", "Every image is pinned by digest")},
		{"separators", deployment("{containers: [{name: c, image: 'localhost/a--b__c.d/e:V1.2_3-x@sha256:" + hex64 + "'}]}"), pass("Deployment", "Every image is pinned by digest")},
		{"registry by address", deployment("{containers: [{name: c, image: '[fd00::1]:5000/a@sha256:" + hex64 + "'}]}"), pass("Deployment", "Every image is pinned by digest")},
		{"no name", deployment("{containers: [{name: c, image: '@sha256:" + hex64 + "'}]}"), failC("image @sha256:" + hex64 + " is no valid reference")},
	},
	"hpa-bounds": {
		{"good", hpa("{minReplicas: 2, maxReplicas: 3}"), pass("HorizontalPodAutoscaler", "The HPA has bounds")},
		{"v1", "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: x}\nspec: {minReplicas: 2, maxReplicas: 3}\n", pass("HorizontalPodAutoscaler", "The HPA has bounds")},
		{"no minReplicas", hpa("{maxReplicas: 3}"), fail("HorizontalPodAutoscaler", "no minReplicas, the default is 1")},
		{"zero", hpa("{minReplicas: 0, maxReplicas: 3}"), fail("HorizontalPodAutoscaler", "minReplicas is 0, below 2")},
		{"no room", hpa("{minReplicas: 3, maxReplicas: 3}"), fail("HorizontalPodAutoscaler", "maxReplicas 3 is not above minReplicas 3")},
	},
	"hpa-stabilization": {
		{"good", hpa("{behavior: {scaleDown: {stabilizationWindowSeconds: 300}, scaleUp: {stabilizationWindowSeconds: 0}}}"), pass("HorizontalPodAutoscaler", "The HPA has stabilization windows")},
		{"none", hpa("{maxReplicas: 2}"), fail("HorizontalPodAutoscaler", "no behavior.scaleDown.stabilizationWindowSeconds", "no behavior.scaleUp.stabilizationWindowSeconds")},
		{"no window down", hpa("{behavior: {scaleDown: {stabilizationWindowSeconds: 0}, scaleUp: {stabilizationWindowSeconds: 0}}}"), fail("HorizontalPodAutoscaler", "behavior.scaleDown.stabilizationWindowSeconds is 0")},
	},
	"vpa-recommend-only": {
		{"good", vpa("{updatePolicy: {updateMode: 'Off'}, resourcePolicy: {containerPolicies: [{containerName: '*', minAllowed: {cpu: 1}, maxAllowed: {cpu: 2}}, {containerName: skip, mode: 'Off'}]}}"), pass("VerticalPodAutoscaler", "The VPA recommends only, with bounds")},
		{"auto", vpa("{updatePolicy: {updateMode: Auto}}"), fail("VerticalPodAutoscaler", "no containerPolicies with minAllowed and maxAllowed", "updateMode is Auto, not \"Off\"")},
		{"unset", vpa("{resourcePolicy: {containerPolicies: [{containerName: a}, {containerName: b, minAllowed: {cpu: 1}}]}}"), fail("VerticalPodAutoscaler", "container policy \"a\": no minAllowed, no maxAllowed; container policy \"b\": no maxAllowed", "no updateMode, the default is Auto")},
		{"bare Off is false", vpa("{updatePolicy: {updateMode: Off}, resourcePolicy: {containerPolicies: [{containerName: a, minAllowed: {cpu: 1}, maxAllowed: {cpu: 2}}]}}"), fail("VerticalPodAutoscaler", "updateMode is false, not \"Off\"")},
	},
	"secret-rotation-interval": {
		{"good", externalSecret("{refreshInterval: 1h30m}"), pass("ExternalSecret", "A rotation interval is set")},
		{"a day", externalSecret("{refreshInterval: 24h0m0s, refreshPolicy: Periodic}"), pass("ExternalSecret", "A rotation interval is set")},
		{"unset", externalSecret("{data: []}"), fail("ExternalSecret", "no refreshInterval")},
		{"zero", externalSecret("{refreshInterval: 0}"), fail("ExternalSecret", "refreshInterval 0 never refreshes")},
		{"zero seconds", externalSecret("{refreshInterval: 0s}"), fail("ExternalSecret", "refreshInterval 0s never refreshes")},
		{"long", externalSecret("{refreshInterval: 25h}"), fail("ExternalSecret", "refreshInterval 25h is longer than a day")},
		{"nonsense", externalSecret("{refreshInterval: daily}"), fail("ExternalSecret", "refreshInterval daily is not a duration")},
		{"once", externalSecret("{refreshInterval: 1h, refreshPolicy: CreatedOnce}"), fail("ExternalSecret", "refreshPolicy is CreatedOnce, which does not refresh by interval")},
		{"cluster-wide", "apiVersion: external-secrets.io/v1\nkind: ClusterExternalSecret\nmetadata: {name: x}\nspec: {externalSecretSpec: {refreshInterval: 1h}}\n", pass("ClusterExternalSecret", "A rotation interval is set")},
		{"old version", "apiVersion: external-secrets.io/v1beta1\nkind: ExternalSecret\nmetadata: {name: x}\nspec: {}\n", fail("ExternalSecret", "no refreshInterval")},
	},
}

func TestBuiltinPolicies(t *testing.T) {
	t.Parallel()
	raw := builtin(t)
	for slug, cases := range builtinCases {
		for _, c := range cases {
			t.Run(slug+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				got := summary(findings(t, raw, c.manifest), "policy/"+slug)
				slices.Sort(got)
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestDeclared holds that a reason for leaving the user to the platform goes with
// what SEC-2 finds of that alone, and that SEC-2 fails all the same.
func TestDeclared(t *testing.T) {
	t.Parallel()
	raw := builtin(t)
	const nonRoot = "securityContext: {runAsNonRoot: true}"
	for name, c := range map[string]struct {
		kind, pod, reason string
		fails, declared   int
	}{
		"user and group":                 {"Deployment", "{" + nonRoot + ", containers: [{name: c, image: i}]}", " OpenShift gives them ", 2, 2},
		"of each container":              {"CronJob", "{securityContext: {fsGroup: 5}, initContainers: [{name: i, image: i, " + nonRoot + "}], containers: [{name: c, image: i, " + nonRoot + "}]}", "OpenShift gives them", 2, 2},
		"one has a number":               {"DaemonSet", "{" + nonRoot + ", containers: [{name: c, image: i}, {name: d, image: i, securityContext: {runAsUser: 5}}]}", "OpenShift gives them", 2, 2},
		"group alone":                    {"Pod", "{securityContext: {runAsNonRoot: true, runAsUser: 5}, containers: [{name: c, image: i}]}", "OpenShift gives them", 1, 1},
		"root by name is not given away": {"Deployment", "{containers: [{name: c, image: i}]}", "OpenShift gives them", 2, 0},
		"one may be root":                {"Deployment", "{" + nonRoot + ", containers: [{name: c, image: i}, {name: d, image: i, securityContext: {runAsNonRoot: false}}]}", "OpenShift gives them", 3, 0},
		"an init container may be root":  {"Deployment", "{initContainers: [{name: i, image: i}], containers: [{name: c, image: i, " + nonRoot + "}]}", "OpenShift gives them", 3, 0},
		"one is root":                    {"Deployment", "{" + nonRoot + ", containers: [{name: c, image: i}, {name: d, image: i, securityContext: {runAsUser: 0}}]}", "OpenShift gives them", 3, 0},
		"the pod is root":                {"StatefulSet", "{securityContext: {runAsNonRoot: true, runAsUser: 0}, containers: [{name: c, image: i}]}", "OpenShift gives them", 2, 0},
		"hardly a reason":                {"Deployment", "{" + nonRoot + ", containers: [{name: c, image: i}]}", "openshift", 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := strings.Replace(object(c.kind, c.pod), "metadata: {name: x}", "metadata: {name: x, annotations: {"+manifest.DeclaredAnnotation+"SEC-2: '"+c.reason+"'}}", 1)
			fails, declared := 0, 0
			for _, f := range findings(t, raw, o) {
				if f.Rule != "policy/run-as-non-root" {
					if f.Declared != "" {
						t.Errorf("%s: %s is declared", f.Rule, f.Message)
					}
					continue
				}
				if f.Outcome == evidence.OutcomeFail {
					fails++
				}
				if f.Declared == strings.TrimSpace(c.reason) {
					declared++
				} else if f.Declared != "" {
					t.Errorf("declared as %q", f.Declared)
				}
			}
			if fails != c.fails || declared != c.declared {
				t.Errorf("%d fail and %d are declared, want %d and %d", fails, declared, c.fails, c.declared)
			}
		})
	}
}

// TestBuiltinPoliciesFindEveryPod puts one bad container into each kind.
func TestBuiltinPoliciesFindEveryPod(t *testing.T) {
	t.Parallel()
	raw := builtin(t)
	bad := "{initContainers: [{name: i, image: x}], containers: [{name: c, image: x, resources: {limits: {cpu: 1}, requests: {cpu: 2}}, livenessProbe: {" + httpA + "}, readinessProbe: {" + httpA + "}}]}"
	everywhere := []string{"resource-requests", "resource-limits", "limits-at-least-requests", "run-as-non-root", "seccomp", "privilege-escalation", "read-only-root", "service-account-token", "image-digest"}
	longRunning := append(slices.Clone(everywhere), "startup-probe", "distinct-probes")
	replicated := append(slices.Clone(longRunning), "topology-spread")
	for kind, want := range map[string][]string{
		"Pod": longRunning, "DaemonSet": longRunning, "Job": everywhere, "CronJob": everywhere,
		"Deployment": replicated, "StatefulSet": replicated, "ReplicaSet": replicated, "ReplicationController": replicated,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			failing := map[string]bool{}
			for _, f := range findings(t, raw, object(kind, bad)) {
				if f.Outcome == "fail" {
					failing[strings.TrimPrefix(f.Rule, "policy/")] = true
					if f.Remediation == "" || f.Message == "" || len(f.Evidence) != 2 {
						t.Errorf("incomplete finding %+v", f)
					}
				} else if f.Outcome != "pass" && f.Outcome != "not-applicable" {
					t.Errorf("%s %s: %s", f.Outcome, f.Rule, f.Message)
				}
			}
			for slug := range builtinCases {
				if failing[slug] != slices.Contains(want, slug) {
					t.Errorf("%s: failing %v, want %v", slug, failing[slug], !failing[slug])
				}
			}
		})
	}
}

func TestMalformedObjectIsNoPass(t *testing.T) {
	t.Parallel()
	for name, manifest := range map[string]string{
		"no template":        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {}\n",
		"spec is null":       "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n",
		"containers is text": deployment("{containers: none}"),
		"container is text":  deployment("{containers: [none]}"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, f := range findings(t, builtin(t), manifest) {
				if f.Rule != "policy/resource-limits" {
					continue
				}
				switch {
				case name == "container is text":
					if f.Outcome != "fail" {
						t.Errorf("%s: %s", f.Outcome, f.Message)
					}
				case name == "containers is text":
					if f.Outcome != "not-checked" || !strings.HasPrefix(f.Message, "it does not decode, see CHT-3: ") {
						t.Errorf("%s: %s", f.Outcome, f.Message)
					}
				case f.Outcome != "error" || !strings.HasPrefix(f.Message, "the policy could not be evaluated: "):
					t.Errorf("%s: %s", f.Outcome, f.Message)
				}
			}
		})
	}
}

func TestOldWorkloadVersions(t *testing.T) {
	t.Parallel()
	for _, apiVersion := range []string{"extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"} {
		manifest := strings.Replace(deployment(container("tty: true")), "apps/v1", apiVersion, 1)
		got := summary(findings(t, builtin(t), manifest), "policy/startup-probe")
		if diff := cmp.Diff(failC("no startupProbe"), got); diff != "" {
			t.Errorf("%s: %s", apiVersion, diff)
		}
	}
}
