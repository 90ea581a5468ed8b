{{- /* What does not render, and why. Each message names the value, the reason, and what to do. */}}

{{- /* Keys that stand for something insecure. They are known only to be refused with a reason. */}}
{{- define "hardened.refused" -}}
spec:
  hostNetwork: "refused: on the host's network no NetworkPolicy holds and node services are in reach. Leave it out; use service, ingress or httpRoute to be reached"
  hostPID: "refused: the pod would see and could signal every process of its node. Leave it out"
  hostIPC: "refused: the pod would share memory with every process of its node. Leave it out"
  hostPath: "refused: a path of the node opens the node. Use writableDirectories for scratch space, or volumeClaims with kind StatefulSet for data"
  volumes: "refused: volumes are made from what they are for. Use writableDirectories (emptyDir with a size limit), volumeClaims (kind StatefulSet) or externalSecret; a hostPath opens the node"
  privileged: "refused: a privileged container has every right on its node. Leave it out"
  automountServiceAccountToken: "refused: whoever gets into the container could act in the cluster. Use serviceAccount.tokens for a short-lived token of one audience"
  secrets: "refused: a secret in values ends in version control and in the release. Keep it in a secret store and name it in externalSecret.env"
  replicas: "unknown: it is called replicaCount"
securityContext:
  privileged: "refused: a privileged container has every right on its node. Leave it out"
  allowPrivilegeEscalation: "refused: it is always false, so that no process gains more rights than its parent. Leave it out"
  capabilities: "refused: ALL are dropped and none is added (Pod Security Standard restricted). Listen on a port of 1024 or above instead of adding NET_BIND_SERVICE"
  runAsNonRoot: "refused: it is always true. Leave it out"
  procMount: "refused: it would unmask /proc. Leave it out"
  seccompProfile: "refused: it is RuntimeDefault, and never Unconfined. For a profile of your own set securityContext.seccompLocalhostProfile"
  seLinuxOptions: "refused: the node's own policy decides. Leave it out"
  windowsOptions: "refused: this library makes Linux pods. Leave it out"
  sysctls: "refused: settings of the kernel are the platform's. Leave it out"
serviceAccount:
  automountServiceAccountToken: "refused: whoever gets into the container could act in the cluster. Use serviceAccount.tokens for a short-lived token of one audience"
  name: "refused: each workload has an account of its own, so that rights are given to it alone. Bind a Role to the account that is made"
disruptionBudget:
  minAvailable: "refused: at the number of replicas it blocks every drain, and it has to be kept in step with them. Use disruptionBudget.maxUnavailable"
container:
  securityContext: "refused: all containers of the pod have the same hardened one. Set the pod's securityContext"
  privileged: "refused: a privileged container has every right on its node. Leave it out"
  volumeMounts: "refused: use writableDirectories; directories of one name are shared between containers"
  envFrom: "refused: whole Secrets and ConfigMaps as variables show up in every process and crash report. Name the variables in env, secrets in the spec's externalSecret.env"
{{- end }}

{{- /* Keys that each part may have; another one is a misspelling that would silently do
       nothing. JSON, which is read faster than YAML. */}}
{{- define "hardened.keys" -}}
{
  "spec": [
    "global", "hardened", "nameOverride", "fullnameOverride", "component", "partOf", "kind",
    "image", "command", "args", "port", "env", "replicaCount", "singleReplicaReason",
    "autoscaling", "verticalAutoscaling", "resources", "probes", "securityContext",
    "writableDirectories", "initContainers", "sidecars", "volumeClaims", "serviceAccount",
    "podAnnotations", "nodeSelector", "tolerations", "priorityClassName", "topologySpread",
    "antiAffinity", "disruptionBudget", "shutdown", "cron", "job", "service", "ingress",
    "httpRoute", "networkPolicy", "externalSecret", "metrics", "envFrom", "config", "mounts",
    "hook", "syncWave", "nodeAgent", "shares"
  ],
  "config": [
    "env", "files", "containers"
  ],
  "file": [
    "text", "containers"
  ],
  "envFrom": [
    "configMap", "prefix", "containers"
  ],
  "valueFrom": [
    "field", "resource", "divisor", "configMap", "secret", "key", "optional"
  ],
  "mount": [
    "path", "configMap", "secret", "secretProviderClass", "key", "containers"
  ],
  "volumeClaim": [
    "name", "path", "size", "storageClassName", "accessMode", "existingClaim", "subPath", "readOnly",
    "containers"
  ],
  "externalSecret": [
    "enabled", "store", "refreshInterval", "env", "data", "files", "dataFrom", "pull", "tls"
  ],
  "externalSecret.env": [
    "name", "key", "property", "containers"
  ],
  "externalSecret.data": [
    "name", "key", "property"
  ],
  "externalSecret.files": [
    "path", "key", "property", "template", "containers"
  ],
  "externalSecret.dataFrom": [
    "key", "path", "env", "template", "containers"
  ],
  "externalSecret.pull": [
    "key", "property"
  ],
  "hook": [
    "by", "on", "weight"
  ],
  "nodeAgent": [
    "reason", "hostPaths", "hostNetwork", "hostPID"
  ],
  "hostPath": [
    "path", "mountPath", "type", "reason"
  ],
  "securityContext": [
    "runAsUser", "runAsGroup", "fsGroup", "readOnlyRootFilesystem", "writableRootReason",
    "seccompLocalhostProfile"
  ],
  "serviceAccount": [
    "annotations", "tokens"
  ],
  "disruptionBudget": [
    "maxUnavailable"
  ],
  "container": [
    "name", "image", "command", "args", "port", "env", "probes", "resources",
    "writableDirectories"
  ]
}
{{- end }}

{{- /* dict at (path for messages), part (of the two lists above), of (the map). An unknown key is rare:
       only then the tables are read for what to say. */}}
{{- define "hardened.internal.checkKeys" -}}
{{- $known := get (include "hardened.keys" . | fromJson) .part }}
{{- range $key := keys .of | sortAlpha }}
{{- if not (has $key $known) }}
{{- with get (get (include "hardened.refused" $ | fromYaml) $.part | default dict) $key }}
{{- fail (printf "%s%s: %s" $.at $key .) }}
{{- end }}
{{- fail (printf "%s%s: unknown. Known are %s" $.at $key (join ", " $known)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Names of variables and values that look like secrets. */}}
{{- define "hardened.internal.secretName" -}}
(?i)(^|_)(password|passwd|passphrase|secret|token|api_?key|private_?key|access_?key|credentials?)$
{{- end }}
{{- define "hardened.internal.secretValue" -}}
-----BEGIN [A-Z ]*PRIVATE KEY|://[^/:@ ]+:[^/@ ]+@|(^|[^A-Za-z0-9])(AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abprs]-[A-Za-z0-9-]{10,}|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,})
{{- end }}
{{- define "hardened.internal.secretArgument" -}}
(?i)^--?[a-z0-9_.-]*(password|passwd|passphrase|secret|token|api-?key|private-?key|access-?key)=.
{{- end }}
{{- define "hardened.secretAdvice" -}}
looks like a secret, which does not belong in values: they end in version control and in the release. Keep it in a secret store, set externalSecret.enabled and name it in externalSecret.env (name, key, property); the variable is then set from the Secret that the ExternalSecret makes
{{- end }}

{{- /* An image: dict at, image. */}}
{{- define "hardened.internal.checkImage" -}}
{{- $image := .image | default dict }}
{{- if not $image.repository }}
{{- fail (printf "%simage.repository is missing: name the image without tag and digest" .at) }}
{{- else if regexMatch "@|:[^/]*$" $image.repository }}
{{- fail (printf "%simage.repository %s carries a tag or digest: put them into image.tag and image.digest" .at $image.repository) }}
{{- else if eq ($image.tag | default "" | toString) "latest" }}
{{- fail (printf "%simage.tag latest says nothing about what runs, and moves. Name a version, or leave the tag out: the digest decides" .at) }}
{{- else if not (regexMatch "^sha256:[0-9a-f]{64}$" ($image.digest | default "")) }}
{{- fail (printf "%simage.digest %q: a digest (sha256: and 64 hexadecimal digits) is required, since a tag can be moved to another image. `crane digest %s:%s` prints it" .at ($image.digest | default "") $image.repository ($image.tag | default "TAG")) }}
{{- end }}
{{- end }}

{{- /* A container: dict at, container, long (it has to have probes), spec. */}}
{{- define "hardened.internal.checkContainer" -}}
{{- $c := .container }}
{{- include "hardened.internal.checkImage" (dict "at" .at "image" $c.image) }}
{{- range $list := list "requests" "limits" }}
{{- range $resource := list "cpu" "memory" }}
{{- if not (get (get ($c.resources | default dict) $list | default dict) $resource) }}
{{- fail (printf "%sresources.%s.%s is missing: without it one container can take a node from all others, and the scheduler cannot plan. Set requests and limits for cpu and memory" $.at $list $resource) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := $c.env }}
{{- if kindIs "map" $value }}
{{- include "hardened.internal.checkValueFrom" (dict "at" $.at "name" $name "value" $value) }}
{{- else if or (regexMatch (include "hardened.internal.secretName" .) $name) (regexMatch (include "hardened.internal.secretValue" .) (toString $value)) }}
{{- fail (printf "%senv.%s %s" $.at $name (include "hardened.secretAdvice" .)) }}
{{- end }}
{{- end }}
{{- range $i, $arg := concat ($c.command | default list) ($c.args | default list) }}
{{- if or (regexMatch (include "hardened.internal.secretArgument" .) $arg) (regexMatch (include "hardened.internal.secretValue" .) $arg) }}
{{- fail (printf "%sargs: an argument %s" $.at (include "hardened.secretAdvice" .)) }}
{{- end }}
{{- end }}
{{- range $dir := $c.writableDirectories }}
{{- if not $dir.sizeLimit }}
{{- fail (printf "%swritableDirectories %s: sizeLimit is missing; without it the directory can fill the node's disk" $.at $dir.path) }}
{{- end }}
{{- end }}
{{- if and $c.port (lt (int $c.port) 1024) }}
{{- fail (printf "%sport %d: ports below 1024 need root or a capability. Listen on 1024 or above; service.port may be any" .at (int $c.port)) }}
{{- end }}
{{- /* The main container of a Job or CronJob has none. */}}
{{- if or .long .at }}
{{- range $kind := list "startup" "readiness" "liveness" }}
{{- $probe := get ($c.probes | default dict) $kind }}
{{- if $probe }}
{{- if not (has $probe.type (list "http" "tcp" "grpc" "exec")) }}
{{- fail (printf "%sprobes.%s.type %q: want http, tcp, grpc or exec" $.at $kind $probe.type) }}
{{- else if and (eq $probe.type "exec") (not $probe.command) }}
{{- fail (printf "%sprobes.%s: type exec needs a command" $.at $kind) }}
{{- else if and (ne $probe.type "exec") (not $c.port) }}
{{- fail (printf "%sprobes.%s: type %s asks the port, and port is 0. Set port, or probe by type exec with a command" $.at $kind $probe.type) }}
{{- end }}
{{- else if $.long }}
{{- fail (printf "%sprobes.%s is missing: Kubernetes could not tell a container that %s" $.at $kind (get (dict "startup" "still starts from one that hangs" "readiness" "cannot serve from one that can" "liveness" "is stuck from one that works") $kind)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if .long }}
{{- $live := $c.probes.liveness }}
{{- $ready := $c.probes.readiness }}
{{- if eq (include "hardened.internal.handler" (dict "probe" $live)) (include "hardened.internal.handler" (dict "probe" $ready)) }}
{{- if le (mul (int $live.failureThreshold) (int $live.periodSeconds)) (mul (int $ready.failureThreshold) (int $ready.periodSeconds)) }}
{{- fail (printf "%sprobes.liveness asks what probes.readiness asks and gives up as early: a slow dependency would restart every replica. Give it a path of its own, or a higher failureThreshold" .at) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The securityContext of a spec. */}}
{{- define "hardened.internal.checkSecurityContext" -}}
{{- include "hardened.internal.checkKeys" (dict "at" "securityContext." "part" "securityContext" "of" .) }}
{{- range $id := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- if and (hasKey $ $id) (lt (get $ $id | int64) 1) }}
{{- fail (printf "securityContext.%s is 0: that is root. Set a number above 0, the image's own user if it needs one" $id) }}
{{- end }}
{{- end }}
{{- if and (not (dig "readOnlyRootFilesystem" true .)) (lt (len (trim (.writableRootReason | default ""))) 10) }}
{{- fail "securityContext.readOnlyRootFilesystem is false: whoever gets in could change what runs. Declare the directories in writableDirectories; if that cannot be, say why in securityContext.writableRootReason (control SEC-5 fails, and shows it)" }}
{{- end }}
{{- end }}

{{- /* Keys, containers and what they run as. */}}
{{- define "hardened.internal.checkPod" -}}
{{- $s := .spec }}
{{- $long := include "hardened.internal.longRunning" . }}
{{- include "hardened.internal.checkKeys" (dict "at" "" "part" "spec" "of" $s) }}
{{- range $part := list "serviceAccount" "disruptionBudget" "config" "externalSecret" }}
{{- include "hardened.internal.checkKeys" (dict "at" (printf "%s." $part) "part" $part "of" (get $s $part | default dict)) }}
{{- end }}
{{- include "hardened.internal.checkContainer" (dict "at" "" "long" $long "container" $s) }}
{{- $names := list (include "hardened.name" .) }}
{{- range $list := list "initContainers" "sidecars" }}
{{- range $i, $c := index $s $list }}
{{- $at := printf "%s[%d]." $list $i }}
{{- include "hardened.internal.checkKeys" (dict "at" $at "part" "container" "of" $c) }}
{{- include "hardened.internal.checkContainer" (dict "at" $at "long" "" "container" $c) }}
{{- if or (not $c.name) (has $c.name $names) }}
{{- fail (printf "%sname %q: every container of a pod needs a name of its own" $at ($c.name | default "")) }}
{{- end }}
{{- $names = append $names $c.name }}
{{- end }}
{{- end }}

{{- include "hardened.internal.checkSecurityContext" $s.securityContext }}
{{- end }}

{{- /* Replicas and their autoscaler. */}}
{{- define "hardened.internal.checkReplicas" -}}
{{- $s := .spec }}
{{- $a := $s.autoscaling }}
{{- $long := include "hardened.internal.scales" . }}
{{- if and $long (not $a.enabled) (lt (int $s.replicaCount) 1) }}
{{- fail "replicaCount is 0: nothing would run. Set 2 or more" }}
{{- end }}
{{- if and $long (eq (include "hardened.internal.floor" .) "1") (lt (len (trim ($s.singleReplicaReason | default ""))) 10) }}
{{- fail "one replica is down whenever its node is drained or updated. Set replicaCount (or autoscaling.minReplicas) to 2 or more; if only one can run, say why in singleReplicaReason (control AVL-4 fails, and shows it)" }}
{{- end }}
{{- if and $long $a.enabled }}
{{- $zero := $a.scaleToZero }}
{{- if lt (int $a.minReplicas) 1 }}
{{- if not (and (ge (len (trim $zero.reason)) 10) $zero.peakMetric) }}
{{- fail "autoscaling.minReplicas is 0: the first requests after a pause find nobody. Set 2 or more. Scaling to zero has to be asked for: say why in autoscaling.scaleToZero.reason, and name in autoscaling.scaleToZero.peakMetric an external metric that is 1 in peak hours and 0 off-peak, so that it never happens in between" }}
{{- end }}
{{- if not (and $a.requestsPerSecond.enabled (eq $a.requestsPerSecond.source "External")) }}
{{- fail "autoscaling.minReplicas is 0: with no pod there is no cpu, memory or pod metric to wake it. Enable autoscaling.requestsPerSecond with source External" }}
{{- end }}
{{- end }}
{{- if le (int $a.maxReplicas) (int $a.minReplicas) }}
{{- fail (printf "autoscaling.maxReplicas %d is not above minReplicas %d: nothing would be scaled. Raise it, or set autoscaling.enabled to false" (int $a.maxReplicas) (int $a.minReplicas)) }}
{{- end }}
{{- if not (or $a.targetCPUUtilizationPercentage $a.targetMemoryUtilizationPercentage $a.requestsPerSecond.enabled) }}
{{- fail "autoscaling: no metric. Set targetCPUUtilizationPercentage or targetMemoryUtilizationPercentage, or enable requestsPerSecond" }}
{{- end }}
{{- if lt (int $a.scaleDown.stabilizationWindowSeconds) 1 }}
{{- fail "autoscaling.scaleDown.stabilizationWindowSeconds is 0: every dip would remove pods that the next second needs. 300 is a good start" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The VerticalPodAutoscaler. */}}
{{- define "hardened.internal.checkRecommendations" -}}
{{- $s := .spec }}
{{- $a := $s.autoscaling }}
{{- $long := include "hardened.internal.longRunning" . }}
{{- with $s.verticalAutoscaling }}
{{- if .enabled }}
{{- if ne (toString .updateMode) "Off" }}
{{- if and $long $a.enabled }}
{{- fail (printf "verticalAutoscaling.updateMode is %s beside a HorizontalPodAutoscaler: one changes the requests that the other measures against, and they undo each other. Leave it Off and take its recommendations over by hand" .updateMode) }}
{{- end }}
{{- fail (printf "verticalAutoscaling.updateMode is %s: it would evict pods at times of its own. Leave it Off and take its recommendations over by hand" .updateMode) }}
{{- end }}
{{- if not (and (.minAllowed).cpu (.minAllowed).memory (.maxAllowed).cpu (.maxAllowed).memory) }}
{{- fail "verticalAutoscaling: bounds are missing. Set minAllowed and maxAllowed, each with cpu and memory" }}
{{- end }}
{{- if eq $s.kind "Job" }}
{{- fail "verticalAutoscaling is enabled for kind Job, which runs once: there is nothing to recommend for. Disable it, or use kind CronJob" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Drains, and the end of a pod. */}}
{{- define "hardened.internal.checkDisruptions" -}}
{{- $s := .spec }}
{{- if include "hardened.internal.scales" . }}
{{- $floor := include "hardened.internal.floor" . | int }}
{{- $budget := int $s.disruptionBudget.maxUnavailable }}
{{- if lt $budget 1 }}
{{- fail "disruptionBudget.maxUnavailable is 0: no node that runs a replica could ever be drained. Set 1 or more" }}
{{- end }}
{{- if and (gt $floor 1) (ge $budget $floor) }}
{{- fail (printf "disruptionBudget.maxUnavailable %d takes all %d replicas at once. Set it below that" $budget $floor) }}
{{- end }}
{{- end }}
{{- if include "hardened.internal.longRunning" . }}
{{- if ge (int $s.shutdown.preStopSleepSeconds) (int $s.shutdown.terminationGracePeriodSeconds) }}
{{- fail (printf "shutdown.preStopSleepSeconds %d leaves nothing of terminationGracePeriodSeconds %d to end in. Raise the latter" (int $s.shutdown.preStopSleepSeconds) (int $s.shutdown.terminationGracePeriodSeconds)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* An agent of the nodes: what of a node it has, and why. */}}
{{- define "hardened.internal.checkNodeAgent" -}}
{{- $s := .spec }}
{{- with $s.nodeAgent }}
{{- include "hardened.internal.checkKeys" (dict "at" "nodeAgent." "part" "nodeAgent" "of" .) }}
{{- if ne $s.kind "DaemonSet" }}
{{- fail (printf "nodeAgent with kind %s: only an agent that runs on every node has a reason to reach into it. Use kind DaemonSet, or leave it out" $s.kind) }}
{{- end }}
{{- if lt (len (trim (.reason | default ""))) 10 }}
{{- fail "nodeAgent.reason is missing: say why the agent has to reach into its node (control SEC-1 fails, and shows it)" }}
{{- end }}
{{- range $i, $path := .hostPaths }}
{{- include "hardened.internal.checkKeys" (dict "at" (printf "nodeAgent.hostPaths[%d]." $i) "part" "hostPath" "of" $path) }}
{{- if lt (len (trim ($path.reason | default ""))) 10 }}
{{- fail (printf "nodeAgent.hostPaths %s: reason is missing: say why the agent has to read it" ($path.path | default "")) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* What only one kind has. */}}
{{- define "hardened.internal.checkKind" -}}
{{- $s := .spec }}
{{- include "hardened.internal.checkClaims" . }}
{{- include "hardened.internal.checkHook" . }}
{{- include "hardened.internal.checkNodeAgent" . }}
{{- if and (eq $s.kind "CronJob") (not $s.cron.schedule) }}
{{- fail "cron.schedule is missing: kind CronJob needs one, such as \"17 3 * * *\"" }}
{{- end }}
{{- end }}

{{- /* Ingress and HTTPRoute. */}}
{{- define "hardened.internal.checkReach" -}}
{{- $s := .spec }}
{{- $long := include "hardened.internal.longRunning" . }}
{{- $served := and $long $s.service.enabled $s.port }}
{{- range $way := list "ingress" "httpRoute" }}
{{- if and (get $s $way).enabled (not $served) }}
{{- fail (printf "%s is enabled, and there is no Service that it could lead to. Set port and service.enabled, with kind Deployment or StatefulSet" $way) }}
{{- end }}
{{- end }}
{{- if $s.ingress.enabled }}
{{- if not $s.ingress.host }}
{{- fail "ingress.host is missing: without one the Ingress would answer for every name" }}
{{- end }}
{{- if hasKey $s.ingress.tls "enabled" }}
{{- if not $s.ingress.tls.enabled }}
{{- fail "ingress.tls.enabled is false: passwords and sessions would cross the network in the clear. Name ingress.tls.clusterIssuer, or ingress.tls.secretName" }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $s.httpRoute.enabled (not (and $s.httpRoute.parentRefs $s.httpRoute.hostnames)) }}
{{- fail "httpRoute: parentRefs and hostnames are required: which Gateway, and which names" }}
{{- end }}
{{- end }}

{{- /* The monitors. */}}
{{- define "hardened.internal.checkMetrics" -}}
{{- $s := .spec }}
{{- $long := include "hardened.internal.longRunning" . }}
{{- with $s.metrics }}
{{- if .enabled }}
{{- if not (and $long $s.port) }}
{{- fail "metrics is enabled, and there is no port to ask. Set port, with kind Deployment or StatefulSet" }}
{{- end }}
{{- if not (has .kind (list "PodMonitor" "ServiceMonitor")) }}
{{- fail (printf "metrics.kind %q: want PodMonitor or ServiceMonitor" .kind) }}
{{- end }}
{{- if and (eq .kind "ServiceMonitor") (eq $s.kind "StatefulSet") }}
{{- fail "metrics.kind is ServiceMonitor with kind StatefulSet, which has two Services: each pod would be asked twice. Use PodMonitor" }}
{{- end }}
{{- if and (eq .kind "ServiceMonitor") (or (not $s.service.enabled) (and .port (ne (int .port) (int $s.port)))) }}
{{- fail "metrics.kind is ServiceMonitor, and the Service has no such port. Enable service and leave metrics.port 0, or use PodMonitor" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The NetworkPolicy. */}}
{{- define "hardened.internal.checkNetwork" -}}
{{- $s := .spec }}
{{- range $s.networkPolicy.ingress.from }}
{{- if or (not .) (and .ipBlock (hasSuffix "/0" .ipBlock.cidr) (not .ipBlock.except)) }}
{{- fail "networkPolicy.ingress.from admits everybody. Name the pods, namespaces or addresses" }}
{{- end }}
{{- end }}
{{- range $s.networkPolicy.egress.to }}
{{- if not (and .peers .ports) }}
{{- fail "networkPolicy.egress.to: peers and ports are both required; a rule without one of them allows all of it" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* All of them: what the workload does. The other objects check what they are made from. */}}
{{- define "hardened.internal.check" -}}
{{- range $part := list "Pod" "Replicas" "Recommendations" "Disruptions" "Kind" "Reach" "Secrets" "Config" "Metrics" "Network" }}
{{- include (printf "hardened.internal.check%s" $part) $ }}
{{- end }}
{{- end }}
