package charts

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const digest = "sha256:3f1c0a9d5e7b2846c1d0f5a39b8e7c6d4a2f1e0b9c8d7a6f5e4d3c2b1a098f7e"

// spec is the least that the library takes.
const spec = `
image: {repository: registry.example.com/a, digest: ` + digest + `}
port: 8080
resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 100m, memory: 32Mi}}
`

func parse(tb testing.TB, text string) values {
	tb.Helper()
	v := values{}
	if err := yaml.UnmarshalStrict([]byte(text), &v); err != nil {
		tb.Fatalf("%v in\n%s", err, text)
	}
	return v
}

// overlay merges b into a copy of a, as Helm merges values; null removes.
func overlay(a, b values) values {
	out := maps.Clone(a)
	if out == nil {
		out = values{}
	}
	for k, v := range b {
		inner, ok := v.(map[string]any)
		if was, isMap := out[k].(map[string]any); ok && isMap {
			v = overlay(was, inner)
		}
		if v == nil {
			delete(out, k)
			continue
		}
		out[k] = v
	}
	return out
}

// attempts are insecure, each for one reason; says is what the user is told.
// onlySays is for those where service's schema says it in other words.
var attempts = []struct{ name, values, says, schemaSays string }{
	{"tag instead of digest", "image: {tag: 1.2.3, digest: ''}", "since a tag can be moved to another image", ""},
	{"tag as digest", "image: {digest: v1}", "since a tag can be moved to another image", ""},
	{"no digest", "image: {digest: null}", "since a tag can be moved to another image", "-"},
	{"latest", "image: {tag: latest}", "image.tag latest says nothing about what runs", ""},
	{"tag in the name", "image: {repository: 'registry.example.com/a:latest'}", "carries a tag or digest", "/image/repository"},
	{"sidecar by tag", "sidecars: [{name: p, image: {repository: registry.example.com/p, tag: '1'}, resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}}]", "sidecars[0].image.digest", "missing property 'digest'"},

	{"secret by name", "env: {DB_PASSWORD: x}", "externalSecret.env (name, key, property)", ""},
	{"secret in a lower case name", "env: {github_token: x}", "externalSecret.env (name, key, property)", ""},
	{"secret in a URL", "env: {DB: 'postgres://shop:hunter2hunter2@db/shop'}", "externalSecret.env (name, key, property)", ""},
	{"private key", "env: {CERT: \"-----BEGIN RSA PRIVATE KEY-----\\nMII\"}", "externalSecret.env (name, key, property)", ""},
	{"secret as an argument", "args: [--password=hunter2]", "externalSecret.env (name, key, property)", ""},
	{"secret of a sidecar", "sidecars: [{name: p, image: {repository: registry.example.com/p, digest: '" + digest + "'}, env: {API_KEY: x}, resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}}]", "externalSecret.env (name, key, property)", ""},
	{"list of secrets", "secrets: {password: x}", "Keep it in a secret store and name it in externalSecret.env", ""},
	{"value of an external secret", "externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k, value: v}]}", "does not belong in values", ""},

	{"privileged", "securityContext: {privileged: true}", "a privileged container has every right on its node", ""},
	{"privileged, misplaced", "privileged: true", "a privileged container has every right on its node", ""},
	{"privileged sidecar", "sidecars: [{name: p, image: {repository: registry.example.com/p, digest: '" + digest + "'}, securityContext: {privileged: true}}]", "all containers of the pod have the same hardened one", ""},
	{"privilege escalation", "securityContext: {allowPrivilegeEscalation: true}", "no process gains more rights than its parent", ""},
	{"added capabilities", "securityContext: {capabilities: {add: [NET_ADMIN]}}", "ALL are dropped and none is added", ""},
	{"root", "securityContext: {runAsUser: 0}", "securityContext.runAsUser is 0: that is root", ""},
	{"root's group", "securityContext: {runAsGroup: 0}", "securityContext.runAsGroup is 0", ""},
	{"root's volumes", "securityContext: {fsGroup: 0}", "securityContext.fsGroup is 0", ""},
	{"not non-root", "securityContext: {runAsNonRoot: false}", "it is always true", ""},
	{"unconfined", "securityContext: {seccompProfile: {type: Unconfined}}", "never Unconfined", ""},
	{"unmasked proc", "securityContext: {procMount: Unmasked}", "unmask /proc", ""},
	{"writable root without reason", "securityContext: {readOnlyRootFilesystem: false}", "whoever gets in could change what runs", ""},
	{"low port", "port: 80", "ports below 1024 need root or a capability", ""},

	{"host network", "hostNetwork: true", "no NetworkPolicy holds", ""},
	{"host processes", "hostPID: true", "every process of its node", ""},
	{"host memory", "hostIPC: true", "share memory with every process of its node", ""},
	{"hostPath", "hostPath: /var/run/docker.sock", "a path of the node opens the node", ""},
	{"hostPath volume", "volumes: [{name: sock, hostPath: {path: /var/run/docker.sock}}]", "a hostPath opens the node", ""},
	{"token mounted", "automountServiceAccountToken: true", "could act in the cluster", ""},
	{"token mounted by the account", "serviceAccount: {automountServiceAccountToken: true}", "could act in the cluster", ""},
	{"shared account", "serviceAccount: {name: default}", "an account of its own", ""},

	{"no limits", "resources: {limits: null}", "resources.limits.cpu is missing: without it one container can take a node", ""},
	{"no memory limit", "resources: {limits: {memory: null}}", "resources.limits.memory is missing", ""},
	{"no requests", "resources: {requests: null}", "resources.requests.cpu is missing", ""},
	{"init container without limits", "initContainers: [{name: i, image: {repository: registry.example.com/i, digest: '" + digest + "'}}]", "initContainers[0].resources.requests.cpu is missing", ""},
	{"directory without limit", "writableDirectories: [{path: /tmp}]", "can fill the node's disk", ""},

	{"directories beyond the limit", "{writableDirectories: [{path: /a, sizeLimit: 1Gi}, {path: /b, sizeLimit: 512M}], resources: {limits: {ephemeral-storage: 1Gi}}}", "may hold 1513Mi together, and resources.limits.ephemeral-storage is 1024Mi: the kubelet would evict the pod before they are full. Set the limit to 1513Mi and what logs take", ""},

	{"no readiness probe", "probes: {readiness: null}", "probes.readiness is missing", "-"},
	{"liveness is readiness", "probes: {liveness: {path: /readyz, failureThreshold: 1}}", "a slow dependency would restart every replica", ""},

	{"HPA to zero", "autoscaling: {enabled: true, minReplicas: 0}", "Scaling to zero has to be asked for", ""},
	{"HPA to zero, asked for without the guard", "autoscaling: {enabled: true, minReplicas: 0, scaleToZero: {reason: nobody works at night}}", "off-peak", ""},
	{"HPA to zero by cpu", "autoscaling: {enabled: true, minReplicas: 0, scaleToZero: {reason: nobody works at night, peakMetric: office_hours}}", "there is no cpu, memory or pod metric to wake it", ""},
	{"HPA to one", "autoscaling: {enabled: true, minReplicas: 1}", "one replica is down whenever its node is drained", ""},
	{"HPA without room", "autoscaling: {enabled: true, minReplicas: 3, maxReplicas: 3}", "nothing would be scaled", ""},
	{"HPA without metric", "autoscaling: {enabled: true, targetCPUUtilizationPercentage: 0}", "no metric", ""},
	{"HPA without window", "autoscaling: {enabled: true, scaleDown: {stabilizationWindowSeconds: 0}}", "every dip would remove pods", ""},
	{"one replica", "{replicaCount: 1, autoscaling: {enabled: false}}", "one replica is down whenever its node is drained", ""},
	{"no replica", "{replicaCount: 0, autoscaling: {enabled: false}}", "nothing would run", ""},
	{"VPA auto beside an HPA on cpu", "{autoscaling: {enabled: true}, verticalAutoscaling: {enabled: true, updateMode: Auto, minAllowed: {cpu: 1m, memory: 1Mi}, maxAllowed: {cpu: 1, memory: 1Gi}}}", "beside a HorizontalPodAutoscaler", ""},
	{"VPA auto", "{autoscaling: {enabled: false}, verticalAutoscaling: {enabled: true, updateMode: Recreate}}", "it would evict pods at times of its own", ""},
	{"VPA without bounds", "verticalAutoscaling: {enabled: true, minAllowed: null}", "bounds are missing", ""},
	{"budget that blocks every drain", "disruptionBudget: {maxUnavailable: 0}", "no node that runs a replica could ever be drained", ""},
	{"budget of all", "{autoscaling: {enabled: false}, replicaCount: 2, disruptionBudget: {maxUnavailable: 2}}", "takes all 2 replicas at once", ""},
	{"budget by minimum", "disruptionBudget: {minAvailable: 2}", "at the number of replicas it blocks every drain", ""},
	{"no time to end", "shutdown: {preStopSleepSeconds: 45}", "leaves nothing of terminationGracePeriodSeconds", ""},

	{"ingress without TLS", "ingress: {enabled: true, host: a.example.com, tls: {enabled: false}}", "cross the network in the clear", ""},
	{"ingress for every name", "ingress: {enabled: true}", "answer for every name", ""},
	{"ingress that nobody is let in for", "ingress: {enabled: true, host: a.example.com}", "the NetworkPolicy would let no controller in", ""},
	{"ingress of an unknown class", "ingress: {enabled: true, className: alb, host: a.example.com}", "the NetworkPolicy would let no controller in", ""},
	{"ingress to no port", "ingress: {enabled: true, className: nginx, hosts: [{host: a.example.com, paths: [{path: /, port: admin}]}]}", `port "admin" is none of the Service`, ""},
	{"ingress to a port beside the Service", "{ports: [{name: admin, port: 9000, servicePort: 0}], ingress: {enabled: true, className: nginx, hosts: [{host: a.example.com, paths: [{path: /, port: admin}]}]}}", `port "admin" is none of the Service`, ""},
	{"a path twice", "ingress: {enabled: true, className: nginx, host: a.example.com, hosts: [{host: a.example.com}]}", "a.example.com/ stands twice", ""},
	{"metrics that nobody may ask for", "{metrics: {enabled: true, from: []}, networkPolicy: {ingress: {sameNamespace: false}}}", "the NetworkPolicy would let nobody ask", ""},
	{"load balancer for nobody", "service: {type: LoadBalancer}", "the NetworkPolicy would let nobody in", ""},
	{"headless node port", "service: {type: NodePort, headless: true, sourceRanges: [10.0.0.0/8]}", "has no address of its own", ""},
	{"two ports of one name", "ports: [{name: http, port: 9000}]", "the name http stands twice", ""},
	{"two ports of one number", "ports: [{name: a, port: 9000}, {name: b, port: 9000, servicePort: 1}]", "port 9000 stands twice", ""},
	{"further low port", "ports: [{name: dns, port: 53}]", "ports below 1024 need root", ""},
	{"API server without addresses", "networkPolicy: {egress: {allow: [{name: apiServer}]}}", "networkPolicy.egress.allow[0].cidrs is missing", ""},
	{"addresses without ports", "networkPolicy: {egress: {allow: [{name: cidr, cidrs: [10.1.0.0/16]}]}}", "networkPolicy.egress.allow[0].ports is missing", ""},
	{"unknown destination", "networkPolicy: {egress: {allow: [{name: everything}]}}", "want one of apiServer, awsPodIdentity", "value must be one of"},
	{"KEDA to zero", "autoscaling: {enabled: true, minReplicas: 0, keda: {enabled: true, triggers: [{type: prometheus, metadata: {query: q}}]}}", "add a trigger of type cron", ""},
	{"KEDA to one", "autoscaling: {enabled: true, minReplicas: 1, keda: {enabled: true, triggers: [{type: prometheus, metadata: {query: q}}]}}", "one replica is down whenever its node is drained", ""},
	{"KEDA without a trigger", "autoscaling: {enabled: true, keda: {enabled: true}}", "autoscaling.keda.triggers is empty", ""},
	{"KEDA without a window", "autoscaling: {enabled: true, scaleDown: {stabilizationWindowSeconds: 0}, keda: {enabled: true, triggers: [{type: prometheus, metadata: {query: q}}]}}", "every dip would remove pods", ""},
	{"a secret of KEDA", "autoscaling: {enabled: true, keda: {enabled: true, triggers: [{type: rabbitmq, metadata: {host: 'amqp://shop:hunter2hunter2@mq/'}}]}}", "metadata.host looks like a secret", ""},
	{"a password of KEDA", "autoscaling: {enabled: true, keda: {enabled: true, triggers: [{type: redis, metadata: {redisPassword: hunter2}}]}}", "metadata.redisPassword looks like a secret", ""},
	{"initial replicas below the floor", "autoscaling: {enabled: true, initialReplicas: 1}", "is not between minReplicas and maxReplicas", ""},
	{"two clouds", "serviceAccount: {workloadIdentity: {aws: {roleARN: 'arn:x'}, azure: {clientID: x}}}", "exactly one of gcp, aws and azure", ""},
	{"a selecting label", "podLabels: {app.kubernetes.io/name: other}", "by these labels pods are selected", ""},
	{"rights without a token", "rbac: {rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]}", "no token to use them with", ""},
	{"all rights", "{serviceAccount: {apiToken: true}, rbac: {rules: [{apiGroups: ['*'], resources: [configmaps], verbs: [get]}]}}", "rbac.rules[0] has a wildcard", ""},
	{"all subresources", "{serviceAccount: {apiToken: true}, rbac: {rules: [{apiGroups: [''], resources: [pods/*], verbs: [get]}]}}", "rbac.rules[0] has a wildcard", ""},
	{"all Secrets", "{serviceAccount: {apiToken: true}, rbac: {rules: [{apiGroups: [''], resources: [secrets], verbs: [list]}]}}", "all Secrets of the namespace", ""},
	{"rights to more rights", "{serviceAccount: {apiToken: true}, rbac: {rules: [{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [bind]}]}}", "leads to all other rights", ""},
	{"commands in pods", "{serviceAccount: {apiToken: true}, rbac: {rules: [{apiGroups: [''], resources: [pods/exec], verbs: [create]}]}}", "leads to the rights of others", ""},
	{"the platform's ids without a reason", "securityContext: {platformIDsReason: yes!}", "why the platform gives the ids", ""},
	{"admit everybody", "networkPolicy: {ingress: {from: [{ipBlock: {cidr: 0.0.0.0/0}}]}}", "admits everybody", ""},
	{"egress to all ports", "networkPolicy: {egress: {to: [{peers: [{podSelector: {}}]}]}}", "peers and ports are both required", "missing property 'ports'"},

	{"two mounts of one path", "writableDirectories: [{path: /tmp, sizeLimit: 1Mi}, {path: /tmp/, sizeLimit: 1Mi}]", "two mounts at /tmp", ""},
	{"file and mount of one path", "{config: {files: {/etc/a/b: x}}, mounts: [{path: /etc/a/b, configMap: m, key: b}]}", "two mounts at /etc/a/b", ""},
	{"two tokens of one path", "serviceAccount: {tokens: [{audience: a, path: /t/a/x}, {audience: b, path: /t/a/x}]}", "two of them are /t/a/x", ""},
	{"directory of a claim's name", "{kind: StatefulSet, autoscaling: {enabled: false}, volumeClaims: [{name: data, path: /data, size: 1Gi}], writableDirectories: [{name: data, path: /tmp, sizeLimit: 1Mi}]}", "volume data stands for two things", ""},
	{"mount of nothing", "mounts: [{path: /etc/a}]", "one of configMap, secret and secretProviderClass", ""},
	{"mount for nobody", "mounts: [{path: /etc/a, configMap: m, containers: [proxi]}]", "there is no container proxi", ""},
	{"file for nobody", "config: {files: {/etc/a/b: {text: x, containers: [proxi]}}}", "there is no container proxi", ""},
	{"variables for nobody", "config: {env: {A: b}, containers: [proxi]}", "there is no container proxi", ""},
	{"secret in a file", "config: {files: {/etc/a/b: \"-----BEGIN RSA PRIVATE KEY-----\\nMII\"}}", "secret store", ""},
	{"secret in the ConfigMap's variables", "config: {env: {DB_PASSWORD: hunter2}}", "externalSecret.env (name, key, property)", ""},
	{"a framework's key in the ConfigMap's variables", "config: {env: {DJANGO_SECRET_KEY: hunter2}}", "externalSecret.env (name, key, property)", ""},
	{"a framework's key as variable", "env: {SECRET_KEY: hunter2}", "externalSecret.env (name, key, property)", ""},
	{"a database tool's password", "env: {PGPASSWORD: hunter2}", "externalSecret.env (name, key, property)", ""},
	{"a password by its short name", "env: {DB_PASS: hunter2}", "externalSecret.env (name, key, property)", ""},
	{"file by half a path", "config: {files: {app.yaml: x}}", "a full path is expected", "at '/config/files': the name 'app.yaml' does not match pattern"},
	{"files of one key", "config: {files: {/etc/a/b: x, /etc/a.b: x}}", "one key in the ConfigMap", ""},
	{"variable from nowhere", "env: {A: {}}", "env.A: one of field, resource, configMap and secret", ""},
	{"variable from two", "env: {A: {secret: s, configMap: c, key: k}}", "env.A: one of field, resource, configMap and secret", ""},
	{"variable from a Secret without key", "env: {A: {secret: s}}", "env.A.key is missing", ""},
	{"variable from two lists", "{env: {A: b}, externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k}]}}", "externalSecret sets this variable too", ""},
	{"whole Secret as variables", "envFrom: [{secret: s}]", "unknown. Known are configMap", "'secret' not allowed"},
	{"external secret of nothing", "externalSecret: {enabled: true, store: {name: s}}", "one of env, files, dataFrom, pull and tls", ""},
	{"external secret that nothing enables", "externalSecret: {store: {name: s}, env: [{name: A, key: k}]}", "externalSecret lists what to take from the store, and enabled is not set", ""},
	{"secret files that nothing enables", "externalSecret: {store: {name: s}, files: [{path: /s/a, key: k}]}", "externalSecret lists what to take from the store, and enabled is not set", ""},
	{"registry's password that nothing enables", "externalSecret: {store: {name: s}, pull: [{key: k}]}", "externalSecret lists what to take from the store, and enabled is not set", ""},
	{"secret file in no directory", "externalSecret: {enabled: true, store: {name: s}, files: [{path: /key, key: k}]}", "in a directory of its own", "/externalSecret/files/0/path"},
	{"secret files of a directory for different containers", "{externalSecret: {enabled: true, store: {name: s}, files: [{path: /s/a, key: k}, {path: /s/b, key: k, containers: [p]}]}, sidecars: [{name: p, " + someProbes + ", image: {repository: registry.example.com/p, digest: '" + digest + "'}, resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}}]}", "Give them directories of their own", ""},
	{"secret file from entry and template", "externalSecret: {enabled: true, store: {name: s}, files: [{path: /s/a, key: k, template: x}]}", "either a key in the store or a template", ""},
	{"two entries of one key", "externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k}, {name: A, key: l}]}", "has that key of the Secret already", ""},
	{"whole entry for nothing", "externalSecret: {enabled: true, store: {name: s}, dataFrom: [{key: k}]}", "path or env is required", ""},
	{"two makers of a certificate", "{ingress: {enabled: true, className: nginx, host: a.example.com, tls: {clusterIssuer: le}}, externalSecret: {enabled: true, store: {name: s}, tls: {key: k}}}", "would both make the certificate", ""},

	{"claim of a Deployment's replicas", "{autoscaling: {enabled: false}, volumeClaims: [{name: d, path: /d, size: 1Gi}]}", "replicas would share one volume", ""},
	{"claim without size", "{kind: StatefulSet, volumeClaims: [{name: d, path: /d}]}", "either size, for a claim that is made, or existingClaim", ""},
	{"claim of every node", "{kind: DaemonSet, volumeClaims: [{name: d, path: /d, size: 1Gi}]}", "pods on every node cannot share a claim", ""},
	{"claim of parallel pods", "{kind: Job, job: {parallelism: 2, completions: 2}, volumeClaims: [{name: d, path: /d, size: 1Gi}]}", "pods on other nodes would wait for it", ""},
	{"claim of overlapping runs", "{kind: CronJob, cron: {schedule: '5 4 * * *', concurrencyPolicy: Allow}, volumeClaims: [{name: d, path: /d, size: 1Gi}]}", "a second run would wait for the first", ""},
	{"claim of a hook", "{kind: Job, hook: {by: helm}, volumeClaims: [{name: d, path: /d, size: 1Gi}]}", "would be deleted before the hook runs again", ""},
	{"existing claim of replicas", "{kind: StatefulSet, autoscaling: {enabled: false}, volumeClaims: [{name: d, path: /d, existingClaim: c}]}", "cannot share a claim", ""},
	{"claim of several workloads", "{volumeClaims: [{name: d, path: /d, size: 1Gi}], autoscaling: {enabled: false}, replicaCount: 1, singleReplicaReason: it holds a lock, workloads: {a: {}, b: {}}}", "-", "workloads share it"},

	{"hook that does not end", "hook: {by: helm}", "a hook runs to its end", ""},
	{"hook before and after", "{kind: Job, hook: {by: helm, 'on': [pre-install, post-upgrade]}}", "Make two workloads of it", ""},
	{"hook of an unknown event", "{kind: Job, hook: {by: helm, 'on': [crd-install]}}", "want pre-install", "/hook/on/0"},
	{"node agent that is none", "nodeAgent: {reason: it reads the node's logs}", "Use kind DaemonSet", ""},
	{"node agent without reason", "{kind: DaemonSet, nodeAgent: {hostNetwork: true}}", "nodeAgent.reason is missing", "missing property 'reason'"},
	{"node agent whose reason nobody sees", "{kind: DaemonSet, nodeAgent: {reason: \"because\\u200b\\u200b\\u200b\"}}", "nodeAgent.reason is missing: say why the agent has to reach into its node", ""},
	{"node agent whose reason is mostly space", "{kind: DaemonSet, nodeAgent: {reason: b e c a u s e}}", "nodeAgent.reason is missing: say why the agent has to reach into its node", ""},
	{"path of the node without reason", "{kind: DaemonSet, nodeAgent: {reason: it reads the node's logs, hostPaths: [{path: /var/log}]}}", "reason is missing: say why", "missing property 'reason'"},

	{"extra Secret", "extraObjects: [{apiVersion: v1, kind: Secret, metadata: {name: x}, stringData: {a: hunter2}}]", "-", "a secret in values ends in version control"},
	{"extra object without a name", "extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {}}]", "-", "missing property 'name'"},
	{"secret by a template", "{tpl: true, env: {URL: 'db://{{ print \"shop:hunter2\" }}@db'}}", "-", "externalSecret.env (name, key, property)"},
	{"no workload left", "workloads: {a: null}", "-", "workloads: all of them are null"},
	{"workloads in a workload", "workloads: {a: {workloads: {b: {}}}}", "-", "this belongs to the whole release"},
	{"weak workload", "workloads: {a: {securityContext: {privileged: true}}}", "-", "a privileged container has every right on its node"},
	{"misspelled key of a workload", "workloads: {a: {prot: 1}}", "-", "'prot' not allowed"},
	{"workload by an impossible name", "workloads: {A_b: {}}", "-", "at '/workloads': the name 'A_b' does not match pattern"},

	{"device that is no limit", "resources: {requests: {nvidia.com/gpu: 1}}", "resources.requests.nvidia.com/gpu: unknown", "'nvidia.com/gpu' not allowed"},
	{"device of nobody", "resources: {limits: {gpu: 1}}", "resources.limits.gpu: unknown", "'gpu' not allowed"},
	{"name server of one's own", "dnsConfig: {nameservers: [192.0.2.53]}", "the NetworkPolicy lets the pods ask networkPolicy.egress.dns alone", ""},
	{"sidecar without probes", "sidecars: [{name: p, " + someImage + ", " + someResources + "}]", "sidecars[0].probes.startup is missing", ""},
	{"sidecar of one probe", "sidecars: [{name: p, " + someImage + ", " + someResources + ", port: 9000, probes: {startup: {type: tcp}, liveness: {type: tcp}}}]", "sidecars[0].probes.readiness is missing", ""},
	{"sidecar whose probe is null", "sidecars: [{name: p, " + someImage + ", " + someResources + ", port: 9000, probes: {startup: {type: tcp}, readiness: {type: tcp}, liveness: null}}]", "sidecars[0].probes.liveness is missing", "-"},
	{"twins of a sidecar", "sidecars: [{name: p, " + someImage + ", " + someResources + ", port: 9000, probes: {startup: {type: tcp}, readiness: {type: http, path: /}, liveness: {type: http}}}]", "sidecars[0].probes.liveness asks what probes.readiness asks and gives up as early", ""},
	{"twins of a sidecar, by numbers", "sidecars: [{name: p, " + someImage + ", " + someResources + ", port: 9000, probes: {startup: {type: tcp}, readiness: {type: tcp, failureThreshold: 6}, liveness: {type: tcp, periodSeconds: 20}}}]", "sidecars[0].probes.liveness asks what probes.readiness asks and gives up as early", ""},
	{"sidecar probed at no port", "sidecars: [{name: p, " + someImage + ", " + someResources + ", " + "probes: {startup: {type: tcp}, readiness: {type: tcp}, liveness: {type: tcp}}}]", "sidecars[0].probes.startup: type tcp asks the port, and port is 0", ""},

	{"bare pod", "kind: Pod", "not replaced when its node goes", "value must be one of 'Deployment', 'StatefulSet', 'DaemonSet', 'CronJob', 'Job'"},
	{"volume of a Deployment", "volumeClaims: [{name: d, path: /d, size: 1Gi}]", "Use kind StatefulSet", ""},
	{"misspelled", "replicaCuont: 3", "replicaCuont: unknown", "additional properties 'replicaCuont' not allowed"},
	{"misspelled inside", "securityContext: {runAsUzer: 5}", "runAsUzer: unknown", "additional properties 'runAsUzer' not allowed"},
	{"misspelled further inside", "autoscaling: {scaleUp: {procent: 5}}", "autoscaling.scaleUp.procent: unknown. Known are stabilizationWindowSeconds", "additional properties 'procent' not allowed"},
	{"misspelled in a probe", "probes: {liveness: {timeout: 5}}", "probes.liveness.timeout: unknown", "additional properties 'timeout' not allowed"},
	{"misspelled in a list", "networkPolicy: {egress: {to: [{peers: [{podselector: {}}], ports: [{port: 1}]}]}}", "networkPolicy.egress.to[0].peers[0].podselector: unknown", "additional properties 'podselector' not allowed"},
	{"misspelled in a sidecar", "sidecars: [{name: p, image: {repository: registry.example.com/p, sha: x}}]", "sidecars[0].image.sha: unknown", "additional properties 'sha' not allowed"},
	{"replicas by Kubernetes' name", "replicas: 3", "replicas: it is called replicaCount", ""},
	{"a probe by Kubernetes' name", "livenessProbe: {}", "livenessProbe: it is called probes.liveness", ""},
	{"the class by Kubernetes' name", "ingress: {ingressClassName: nginx}", "ingress.ingressClassName: it is called className", ""},
}

// TestRefused holds that no insecure attempt renders, neither by service's
// values nor by a spec given to the library without any schema, and that the
// user is told why.
func TestRefused(t *testing.T) {
	t.Parallel()
	chart := passThrough(t)
	if _, err := load(t, chart, values{"spec": parse(t, spec)}); err != nil {
		t.Fatalf("the least spec does not render: %v", err)
	}
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			v := parse(t, a.values)
			says := a.says
			if a.schemaSays != "" {
				says = a.schemaSays
			}
			// What null removes, a default of service may put back; it is then no attempt.
			if says != "-" {
				refused(t, "service", serviceDir, v, says)
			}
			if a.says == "-" { // of a release, which one spec is not
				return
			}
			refused(t, "library", chart, values{"spec": overlay(parse(t, spec), v)}, a.says)
		})
	}
}

// TestRefusedNames holds that each refusal says of which of several workloads it
// speaks, at the start of the message.
func TestRefusedNames(t *testing.T) {
	t.Parallel()
	chart := passThrough(t)
	all := "{{ include \"hardened.each\" (dict \"root\" $ \"spec\" .Values.spec \"template\" \"hardened.workload\") }}\n---\n{{ include \"hardened.each\" (dict \"root\" $ \"spec\" .Values.spec \"template\" \"hardened.networkpolicy\") }}\n"
	if err := os.WriteFile(filepath.Join(chart, "templates", "thing.yaml"), []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range attempts {
		if a.says == "-" || strings.Contains(a.values, ": null") { // null takes a shared value out, and is seen nowhere
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			v := overlay(parse(t, spec), values{"workloads": map[string]any{"web": map[string]any{}, "worker": map[string]any(parse(t, a.values))}})
			refused(t, "library", chart, values{"spec": v}, "the chart refuses: workloads.worker: ")
			refused(t, "library", chart, values{"spec": v}, a.says)
		})
	}
	refused(t, "service", serviceDir, parse(t, "workloads: {web: {}, worker: {port: 0, service: {enabled: false}}}"), "workloads.worker: probes.startup: type http asks the port, and port is 0")
	refused(t, "service", serviceDir, parse(t, "workloads: {web: {}, worker: {image: {repository: registry.example.com/other}}}"), "workloads.worker: image.digest is missing")
}

func refused(t *testing.T, what, chart string, v values, says string) {
	t.Helper()
	rel, err := load(t, chart, v)
	if err == nil {
		t.Errorf("%s renders:\n%s", what, rel.Manifests)
		return
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("%s is refused without saying %q: %v", what, says, err)
	}
	for _, secret := range []string{"hunter2"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the refusal repeats the secret: %v", what, err)
		}
	}
}

// TestRefusedTwice holds that the schema of service knows what the library
// refuses by name, as deprecated and in the same words, so that editors show
// it. It lets Helm pass it: Helm's message for a schema would hide the words.
func TestRefusedTwice(t *testing.T) {
	t.Parallel()
	var schema struct {
		Properties map[string]json.RawMessage
		Defs       map[string]json.RawMessage `json:"$defs"`
	}
	raw, err := os.ReadFile(filepath.Join(serviceDir, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	table := helper(t, "hardened.refused")
	n := 0
	for part, keys := range table {
		var of struct{ Properties map[string]json.RawMessage }
		switch part {
		case "spec":
			of.Properties = schema.Properties
		case "*container":
			err = json.Unmarshal(schema.Defs["container"], &of)
		default:
			err = json.Unmarshal(schema.Properties[part], &of)
		}
		if err != nil {
			t.Fatal(err)
		}
		for key, why := range keys.(map[string]any) {
			n++
			var p struct {
				Deprecated         bool
				DeprecationMessage string
			}
			if err := json.Unmarshal(of.Properties[key], &p); err != nil || !p.Deprecated || p.DeprecationMessage != why {
				t.Errorf("%s.%s: the schema says %q, the library %q (%v)", part, key, p.DeprecationMessage, why, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d keys compared", n)
	}
	for _, name := range []string{"secretName", "secretValue", "secretArgument"} {
		pattern, err := json.Marshal(text(t, "hardened.internal."+name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(raw), strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(pattern))) {
			t.Errorf("the schema has no pattern %s", pattern)
		}
	}
}

// text is what a template of the library renders that looks at no values.
func text(tb testing.TB, template string) string {
	tb.Helper()
	dir := passThrough(tb)
	probe := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {text: {{ include \"" + template + "\" (dict) | quote }}}\n"
	if err := os.WriteFile(filepath.Join(dir, "templates", "thing.yaml"), []byte(probe), 0o600); err != nil {
		tb.Fatal(err)
	}
	rel, err := load(tb, dir, nil)
	if err != nil {
		tb.Fatal(err)
	}
	set, err := rel.Objects()
	if err != nil || len(set.Objects) != 1 {
		tb.Fatalf("%d objects: %v", len(set.Objects), err)
	}
	data, _ := set.Objects[0].Object["data"].(map[string]any)
	s, _ := data["text"].(string)
	if s == "" {
		tb.Fatalf("%s renders nothing", template)
	}
	return s
}

func helper(tb testing.TB, template string) values { return parse(tb, text(tb, template)) }
