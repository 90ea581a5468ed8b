{{- /* What does not render, and why. Each message names the value, the reason, and what to do. */}}

{{- /* "yes" where a reason has ten characters that one sees. */}}
{{- define "hardened.internal.said" -}}
{{- if ge (len (regexFindAll "[^\\s\\pC\\pZ\\p{Mn}\\p{Me}\\x{034F}\\x{115F}\\x{1160}\\x{17B4}\\x{17B5}\\x{2800}\\x{3164}\\x{FFA0}\\x{FFFD}]" (. | default "") 10)) 10 }}yes{{ end }}
{{- end }}

{{- /* What a message begins with: which of several workloads it speaks of. dict spec. */}}
{{- define "hardened.internal.speaksOf" -}}
{{- if hasKey .spec "shares" }}workloads.{{ .spec.component }}: {{ end }}
{{- end }}

{{- /* Refuses to render: list of a dict with spec, and the message. */}}
{{- define "hardened.internal.refuse" -}}
{{- fail (printf "%s%s" (include "hardened.internal.speaksOf" (first .)) (last .)) }}
{{- end }}

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
  replicas: "it is called replicaCount"
  containerPort: "it is called port"
  environment: "it is called env"
  extraEnv: "it is called env"
  hpa: "it is called autoscaling"
  pdb: "it is called disruptionBudget"
  podDisruptionBudget: "it is called disruptionBudget"
  livenessProbe: "it is called probes.liveness"
  readinessProbe: "it is called probes.readiness"
  startupProbe: "it is called probes.startup"
  podSecurityContext: "it is called securityContext"
  imagePullSecrets: "it is called image.pullSecrets"
  affinity: "it is made of antiAffinity and topologySpread; name nodes by nodeSelector"
  topologySpreadConstraints: "it is made of topologySpread"
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
  automountServiceAccountToken: "refused: whoever gets into the container could act in the cluster. Use serviceAccount.tokens for a short-lived token of one audience, or serviceAccount.apiToken where it calls the API server"
  name: "refused: each workload has an account of its own, so that rights are given to it alone. Give it rights in rbac.rules"
ingress:
  ingressClassName: "it is called className"
dnsConfig:
  nameservers: "refused: the NetworkPolicy lets the pods ask networkPolicy.egress.dns alone. Name another server there, with dnsPort"
disruptionBudget:
  minAvailable: "refused: at the number of replicas it blocks every drain, and it has to be kept in step with them. Use disruptionBudget.maxUnavailable"
"*container":
  securityContext: "refused: all containers of the pod have the same hardened one. Set the pod's securityContext"
  privileged: "refused: a privileged container has every right on its node. Leave it out"
  volumeMounts: "refused: use writableDirectories; directories of one name are shared between containers"
  envFrom: "refused: whole Secrets and ConfigMaps as variables show up in every process and crash report. Name the variables in env, secrets in the spec's externalSecret.env"
{{- end }}

{{- /* dict at (path for messages), part (of the list above), of (the map), known (that list). What is a
       part of its own is checked as well, each entry of a list too. */}}
{{- define "hardened.internal.checkKeys" -}}
{{- range $key := keys .of | sortAlpha }}
{{- /* Devices have their makers' names, such as nvidia.com/gpu; Kubernetes requests what the limit says. */}}
{{- if not (or (has $key (get $.known $.part)) (and (eq $.part "*limits") (regexMatch "^[a-z0-9][-a-z0-9.]*/[A-Za-z0-9]" $key))) }}
{{- with get (get (include "hardened.refused" $ | fromYaml) $.part | default dict) $key }}
{{- fail (printf "%s%s: %s" $.at $key .) }}
{{- end }}
{{- fail (printf "%s%s: unknown. Known are %s" $.at $key (get $.known $.part | join ", ")) }}
{{- end }}
{{- $part := eq $.part "spec" | ternary $key (printf "%s.%s" $.part $key) }}
{{- $value := get $.of $key }}
{{- if and (hasKey $.known $part) (not (kindIs "invalid" $value)) }}
{{- $at := printf "%s%s" $.at $key }}
{{- if kindIs "string" (get $.known $part) }}
{{- $part = get $.known $part }}
{{- end }}
{{- if kindIs "map" $value }}
{{- include "hardened.internal.checkKeys" (dict "at" (printf "%s." $at) "part" $part "of" $value "known" $.known) }}
{{- else if kindIs "slice" $value }}
{{- range $i, $entry := $value }}
{{- if not (kindIs "map" $entry) }}
{{- fail (printf "%s[%d]: a map is expected, of %s" $at $i (get $.known $part | join ", ")) }}
{{- end }}
{{- include "hardened.internal.checkKeys" (dict "at" (printf "%s[%d]." $at $i) "part" $part "of" $entry "known" $.known) }}
{{- end }}
{{- else }}
{{- fail (printf "%s: a map is expected, of %s" $at (get $.known $part | join ", ")) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Null where a default stands, which templates would then miss, and null in a list: dict at, of,
       defaults. A probe may be null: there is none, and that is judged. */}}
{{- define "hardened.internal.checkNulls" -}}
{{- range $key, $value := .of }}
{{- $at := printf "%s%s" $.at $key }}
{{- $default := get $.defaults $key }}
{{- if and (kindIs "invalid" $value) (hasKey $.defaults $key) (not (hasSuffix "probes." $.at)) }}
{{- fail (printf "%s is null: give it a value, or leave it out for the default" $at) }}
{{- else if kindIs "map" $value }}
{{- include "hardened.internal.checkNulls" (dict "at" (printf "%s." $at) "of" $value "defaults" (kindIs "map" $default | ternary $default dict)) }}
{{- else if kindIs "slice" $value }}
{{- range $i, $entry := $value }}
{{- if kindIs "invalid" $entry }}
{{- fail (printf "%s[%d] is null: give it a value, or leave it out" $at $i) }}
{{- else if kindIs "map" $entry }}
{{- include "hardened.internal.checkNulls" (dict "at" (printf "%s[%d]." $at $i) "of" $entry "defaults" dict) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Names of variables and values that look like secrets. */}}
{{- define "hardened.internal.secretName" -}}
(?i)(^|_)(pass|passwd|passphrase|secret|token|(api|private|access|secret|signing|encryption)_?key|credentials?)$|password$
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

{{- /* A container: dict at, container, long (it has to have probes), main (it is the main one). */}}
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
{{- else if or (kindIs "slice" $value) (kindIs "invalid" $value) }}
{{- fail (printf "%senv.%s: a plain value is expected, or where it comes from" $.at $name) }}
{{- else if or (regexMatch (include "hardened.internal.secretName" .) $name) (regexMatch (include "hardened.internal.secretValue" .) (toString $value)) }}
{{- fail (printf "%senv.%s %s" $.at $name (include "hardened.secretAdvice" .)) }}
{{- end }}
{{- end }}
{{- range $i, $arg := concat ($c.command | default list) ($c.args | default list) }}
{{- if or (regexMatch (include "hardened.internal.secretArgument" .) (toString $arg)) (regexMatch (include "hardened.internal.secretValue" .) (toString $arg)) }}
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
{{- if or .long (not .main) }}
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
{{- if le (mul (int ($live.failureThreshold | default 3)) (int ($live.periodSeconds | default 10))) (mul (int ($ready.failureThreshold | default 3)) (int ($ready.periodSeconds | default 10))) }}
{{- fail (printf "%sprobes.liveness asks what probes.readiness asks and gives up as early: a slow dependency would restart every replica. Give it a path of its own, or a higher failureThreshold" .at) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The securityContext of a spec: dict spec. */}}
{{- define "hardened.internal.checkSecurityContext" -}}
{{- $at := printf "%ssecurityContext." (include "hardened.internal.speaksOf" .) }}
{{- with .spec.securityContext }}
{{- include "hardened.internal.checkKeys" (dict "at" $at "part" "securityContext" "of" . "known" (include "hardened.keys" . | fromJson)) }}
{{- range $id := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- if and (hasKey $.spec.securityContext $id) (lt (get $.spec.securityContext $id | int64) 1) }}
{{- fail (printf "%s%s is 0: that is root. Set a number above 0, the image's own user if it needs one" $at $id) }}
{{- end }}
{{- end }}
{{- if and .platformIDsReason (not (include "hardened.internal.said" .platformIDsReason)) }}
{{- fail (printf "%splatformIDsReason: say in ten characters or more why the platform gives the ids (control SEC-2 shows it, as a declared exception)" $at) }}
{{- end }}
{{- if and (not (dig "readOnlyRootFilesystem" true .)) (not (include "hardened.internal.said" .writableRootReason)) }}
{{- fail (printf "%sreadOnlyRootFilesystem is false: whoever gets in could change what runs. Declare the directories in writableDirectories; if that cannot be, say why in securityContext.writableRootReason (control SEC-5 fails, and shows it)" $at) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Keys, containers and what they run as. */}}
{{- define "hardened.internal.checkPod" -}}
{{- $s := .spec }}
{{- $long := include "hardened.internal.longRunning" . }}
{{- $of := include "hardened.internal.speaksOf" . }}
{{- include "hardened.internal.checkKeys" (dict "at" $of "part" "spec" "of" $s "known" (include "hardened.keys" . | fromJson)) }}
{{- if not (dig "enabled" true $s) }}
{{- include "hardened.internal.refuse" (list $ "enabled is false: only a parent chart's condition reads it. Name it as condition of the dependency in the parent's Chart.yaml") }}
{{- end }}
{{- include "hardened.internal.checkContainer" (dict "at" $of "main" true "long" $long "container" $s) }}
{{- $names := list (include "hardened.name" .) }}
{{- range $list := list "initContainers" "sidecars" }}
{{- range $i, $c := index $s $list }}
{{- $at := printf "%s%s[%d]." $of $list $i }}
{{- /* A native sidecar serves as long as the main container does. */}}
{{- include "hardened.internal.checkContainer" (dict "at" $at "long" (eq $list "sidecars" | ternary $long "") "container" $c) }}
{{- if or (not $c.name) (has $c.name $names) }}
{{- fail (printf "%sname %q: every container of a pod needs a name of its own" $at ($c.name | default "")) }}
{{- end }}
{{- $names = append $names $c.name }}
{{- end }}
{{- end }}

{{- include "hardened.internal.checkSecurityContext" . }}
{{- end }}

{{- /* Replicas and their autoscaler. */}}
{{- define "hardened.internal.checkReplicas" -}}
{{- $s := .spec }}
{{- $a := $s.autoscaling }}
{{- $long := include "hardened.internal.scales" . }}
{{- if and $long (not $a.enabled) (lt (int $s.replicaCount) 1) }}
{{- include "hardened.internal.refuse" (list $ "replicaCount is 0: nothing would run. Set 2 or more") }}
{{- end }}
{{- if and $long (eq (include "hardened.internal.floor" .) "1") (not (include "hardened.internal.said" $s.singleReplicaReason)) }}
{{- include "hardened.internal.refuse" (list $ "one replica is down whenever its node is drained or updated. Set replicaCount (or autoscaling.minReplicas) to 2 or more; if only one can run, say why in singleReplicaReason (control AVL-4 shows it: with replicaCount 1 as a declared exception, with an autoscaler it fails)") }}
{{- end }}
{{- if and $long $a.enabled }}
{{- $zero := $a.scaleToZero }}
{{- if lt (int $a.minReplicas) 1 }}
{{- if $a.keda.enabled }}
{{- $guarded := false }}
{{- range $a.keda.triggers }}
{{- if and (eq (.type | default "") "cron") (ge (int (.metadata).desiredReplicas) 2) }}{{ $guarded = true }}{{ end }}
{{- end }}
{{- if not (and (include "hardened.internal.said" $zero.reason) $guarded) }}
{{- include "hardened.internal.refuse" (list $ "autoscaling.minReplicas is 0: the first requests after a pause find nobody. Set 2 or more. Scaling to zero has to be asked for: say why in autoscaling.scaleToZero.reason, and add a trigger of type cron whose desiredReplicas, 2 or more, hold in peak hours, so that it never happens in between") }}
{{- end }}
{{- else if not (and (include "hardened.internal.said" $zero.reason) $zero.peakMetric) }}
{{- include "hardened.internal.refuse" (list $ "autoscaling.minReplicas is 0: the first requests after a pause find nobody. Set 2 or more. Scaling to zero has to be asked for: say why in autoscaling.scaleToZero.reason, and name in autoscaling.scaleToZero.peakMetric an external metric that is 1 in peak hours and 0 off-peak, so that it never happens in between") }}
{{- end }}
{{- if not (or $a.keda.enabled (and $a.requestsPerSecond.enabled (eq $a.requestsPerSecond.source "External"))) }}
{{- include "hardened.internal.refuse" (list $ "autoscaling.minReplicas is 0: with no pod there is no cpu, memory or pod metric to wake it. Enable autoscaling.requestsPerSecond with source External") }}
{{- end }}
{{- end }}
{{- if and $a.initialReplicas (or (lt (int $a.initialReplicas) (int $a.minReplicas)) (gt (int $a.initialReplicas) (int $a.maxReplicas))) }}
{{- include "hardened.internal.refuse" (list $ (printf "autoscaling.initialReplicas %d is not between minReplicas and maxReplicas" (int $a.initialReplicas))) }}
{{- end }}
{{- if le (int $a.maxReplicas) (int $a.minReplicas) }}
{{- include "hardened.internal.refuse" (list $ (printf "autoscaling.maxReplicas %d is not above minReplicas %d: nothing would be scaled. Raise it, or set autoscaling.enabled to false" (int $a.maxReplicas) (int $a.minReplicas))) }}
{{- end }}
{{- if $a.keda.enabled }}
{{- if not $a.keda.triggers }}
{{- include "hardened.internal.refuse" (list $ "autoscaling.keda.triggers is empty: nothing would scale. Name one or more, each with type and metadata") }}
{{- end }}
{{- range $i, $t := $a.keda.triggers }}
{{- $at := printf "autoscaling.keda.triggers[%d]" $i }}
{{- if not (and .type .metadata) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s: type and metadata are required" $at)) }}
{{- end }}
{{- range $key, $value := .metadata }}
{{- if or (regexMatch (include "hardened.internal.secretName" $) (snakecase $key)) (regexMatch (include "hardened.internal.secretValue" $) (toString $value)) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s.metadata.%s looks like a secret, which does not belong in values. Use a TriggerAuthentication, and name it in authenticationRef" $at $key)) }}
{{- end }}
{{- end }}
{{- end }}
{{- else if not (or $a.targetCPUUtilizationPercentage $a.targetMemoryUtilizationPercentage $a.requestsPerSecond.enabled) }}
{{- include "hardened.internal.refuse" (list $ "autoscaling: no metric. Set targetCPUUtilizationPercentage or targetMemoryUtilizationPercentage, or enable requestsPerSecond") }}
{{- end }}
{{- if lt (int $a.scaleDown.stabilizationWindowSeconds) 1 }}
{{- include "hardened.internal.refuse" (list $ "autoscaling.scaleDown.stabilizationWindowSeconds is 0: every dip would remove pods that the next second needs. 300 is a good start") }}
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
{{- include "hardened.internal.refuse" (list $ (printf "verticalAutoscaling.updateMode is %s beside a HorizontalPodAutoscaler: one changes the requests that the other measures against, and they undo each other. Leave it Off and take its recommendations over by hand" .updateMode)) }}
{{- end }}
{{- include "hardened.internal.refuse" (list $ (printf "verticalAutoscaling.updateMode is %s: it would evict pods at times of its own. Leave it Off and take its recommendations over by hand" .updateMode)) }}
{{- end }}
{{- if not (and (.minAllowed).cpu (.minAllowed).memory (.maxAllowed).cpu (.maxAllowed).memory) }}
{{- include "hardened.internal.refuse" (list $ "verticalAutoscaling: bounds are missing. Set minAllowed and maxAllowed, each with cpu and memory") }}
{{- end }}
{{- if eq $s.kind "Job" }}
{{- include "hardened.internal.refuse" (list $ "verticalAutoscaling is enabled for kind Job, which runs once: there is nothing to recommend for. Disable it, or use kind CronJob") }}
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
{{- include "hardened.internal.refuse" (list $ "disruptionBudget.maxUnavailable is 0: no node that runs a replica could ever be drained. Set 1 or more") }}
{{- end }}
{{- if and (gt $floor 1) (ge $budget $floor) }}
{{- include "hardened.internal.refuse" (list $ (printf "disruptionBudget.maxUnavailable %d takes all %d replicas at once. Set it below that" $budget $floor)) }}
{{- end }}
{{- end }}
{{- if include "hardened.internal.longRunning" . }}
{{- if ge (int $s.shutdown.preStopSleepSeconds) (int $s.shutdown.terminationGracePeriodSeconds) }}
{{- include "hardened.internal.refuse" (list $ (printf "shutdown.preStopSleepSeconds %d leaves nothing of terminationGracePeriodSeconds %d to end in. Raise the latter" (int $s.shutdown.preStopSleepSeconds) (int $s.shutdown.terminationGracePeriodSeconds))) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* An agent of the nodes: what of a node it has, and why. */}}
{{- define "hardened.internal.checkNodeAgent" -}}
{{- $s := .spec }}
{{- with $s.nodeAgent }}
{{- if ne $s.kind "DaemonSet" }}
{{- include "hardened.internal.refuse" (list $ (printf "nodeAgent with kind %s: only an agent that runs on every node has a reason to reach into it. Use kind DaemonSet, or leave it out" $s.kind)) }}
{{- end }}
{{- if not (include "hardened.internal.said" .reason) }}
{{- include "hardened.internal.refuse" (list $ "nodeAgent.reason is missing: say why the agent has to reach into its node (control SEC-1 shows it: profile node-agent as a declared exception, the others fail)") }}
{{- end }}
{{- range $i, $path := .hostPaths }}
{{- if not (include "hardened.internal.said" $path.reason) }}
{{- include "hardened.internal.refuse" (list $ (printf "nodeAgent.hostPaths %s: reason is missing: say why the agent has to read it" ($path.path | default ""))) }}
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
{{- include "hardened.internal.refuse" (list $ "cron.schedule is missing: kind CronJob needs one, such as \"17 3 * * *\"") }}
{{- end }}
{{- end }}

{{- /* Ingress and HTTPRoute. */}}
{{- define "hardened.internal.checkReach" -}}
{{- $s := .spec }}
{{- $long := include "hardened.internal.longRunning" . }}
{{- $served := and $long $s.service.enabled $s.port }}
{{- range $way := list "ingress" "httpRoute" }}
{{- if and (get $s $way).enabled (not $served) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s is enabled, and there is no Service that it could lead to. Set port and service.enabled, with kind Deployment or StatefulSet" $way)) }}
{{- end }}
{{- end }}
{{- if $s.ingress.enabled }}
{{- if not (or $s.ingress.host $s.ingress.hosts) }}
{{- include "hardened.internal.refuse" (list $ "ingress.host is missing: without one the Ingress would answer for every name. Set it, or list ingress.hosts") }}
{{- end }}
{{- $seen := list }}
{{- range $host := include "hardened.internal.hosts" . | fromJsonArray }}
{{- if not .host }}
{{- include "hardened.internal.refuse" (list $ "ingress.hosts: host is missing: without one the Ingress would answer for every name") }}
{{- end }}
{{- range .paths }}
{{- $id := printf "%s%s" $host.host (.path | default "/") }}
{{- if has $id $seen }}
{{- include "hardened.internal.refuse" (list $ (printf "ingress.hosts: %s stands twice: which of the two is served is left to chance" $id)) }}
{{- end }}
{{- $seen = append $seen $id }}
{{- $_ := include "hardened.internal.port" (merge (dict "name" .port "at" (printf "ingress.hosts %s" $id)) $) }}
{{- end }}
{{- end }}
{{- if hasKey $s.ingress.tls "enabled" }}
{{- if not $s.ingress.tls.enabled }}
{{- include "hardened.internal.refuse" (list $ "ingress.tls.enabled is false: passwords and sessions would cross the network in the clear. Name ingress.tls.clusterIssuer, or ingress.tls.secretName") }}
{{- end }}
{{- end }}
{{- if not (or $s.ingress.from $s.networkPolicy.ingress.from (hasKey (include "hardened.internal.controllers" . | fromYaml) ($s.ingress.className | default ""))) }}
{{- include "hardened.internal.refuse" (list $ (printf "ingress is enabled, and the NetworkPolicy would let no controller in: name its pods in ingress.from, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}], or one of these in ingress.className, whose pods are known: %s" (include "hardened.internal.controllers" . | fromYaml | keys | sortAlpha | join ", "))) }}
{{- end }}
{{- end }}
{{- if $s.httpRoute.enabled }}
{{- range include "hardened.internal.routes" . | fromJsonArray }}
{{- $_ := include "hardened.internal.port" (merge (dict "name" .port "at" "httpRoute.rules") $) }}
{{- end }}
{{- end }}
{{- if and $s.httpRoute.enabled (not (and $s.httpRoute.parentRefs $s.httpRoute.hostnames)) }}
{{- include "hardened.internal.refuse" (list $ "httpRoute: parentRefs and hostnames are required: which Gateway, and which names") }}
{{- end }}
{{- end }}

{{- /* The monitors. */}}
{{- define "hardened.internal.checkMetrics" -}}
{{- $s := .spec }}
{{- $long := include "hardened.internal.longRunning" . }}
{{- with $s.metrics }}
{{- if .enabled }}
{{- if not (and $long $s.port) }}
{{- include "hardened.internal.refuse" (list $ "metrics is enabled, and there is no port to ask. Set port, with kind Deployment or StatefulSet") }}
{{- end }}
{{- if not (has .kind (list "PodMonitor" "ServiceMonitor")) }}
{{- include "hardened.internal.refuse" (list $ (printf "metrics.kind %q: want PodMonitor or ServiceMonitor" .kind)) }}
{{- end }}
{{- if and (eq .kind "ServiceMonitor") (eq $s.kind "StatefulSet") }}
{{- include "hardened.internal.refuse" (list $ "metrics.kind is ServiceMonitor with kind StatefulSet, which has two Services: each pod would be asked twice. Use PodMonitor") }}
{{- end }}
{{- if eq .kind "ServiceMonitor" }}
{{- $served := list 0 }}
{{- range include "hardened.internal.ports" $ | fromJsonArray }}
{{- if .servicePort }}{{ $served = append $served (int .port) }}{{ end }}
{{- end }}
{{- if or (not $s.service.enabled) (not (has (int .port) $served)) }}
{{- include "hardened.internal.refuse" (list $ "metrics.kind is ServiceMonitor, and the Service has no such port. Enable service and leave metrics.port 0, name it in ports, or use PodMonitor") }}
{{- end }}
{{- end }}
{{- if not (or .from $s.networkPolicy.ingress.sameNamespace $s.networkPolicy.ingress.from) }}
{{- include "hardened.internal.refuse" (list $ "metrics is enabled, and the NetworkPolicy would let nobody ask: name Prometheus' pods in metrics.from") }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The NetworkPolicy. */}}
{{- define "hardened.internal.checkNetwork" -}}
{{- $s := .spec }}
{{- range $s.networkPolicy.ingress.from }}
{{- if or (not .) (and .ipBlock (hasSuffix "/0" .ipBlock.cidr) (not .ipBlock.except)) }}
{{- include "hardened.internal.refuse" (list $ "networkPolicy.ingress.from admits everybody. Name the pods, namespaces or addresses") }}
{{- end }}
{{- end }}
{{- $known := dict }}
{{- with $s.networkPolicy.egress.allow }}
{{- $known = include "hardened.internal.destinations" $ | fromYaml }}
{{- end }}
{{- range $i, $entry := $s.networkPolicy.egress.allow }}
{{- $recipe := get $known (.name | default "") }}
{{- $at := printf "networkPolicy.egress.allow[%d]" $i }}
{{- if not (hasKey $known (.name | default "")) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s.name %q: want one of %s" $at (.name | default "") (keys $known | sortAlpha | join ", "))) }}
{{- else if not (or .cidrs $recipe.cidrs) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s.cidrs is missing: %s has other addresses in each cluster. Name them, as narrow as they are" $at .name)) }}
{{- else if not (or .ports $recipe.ports) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s.ports is missing: without ports all of them would be open" $at)) }}
{{- end }}
{{- end }}
{{- range $s.networkPolicy.egress.to }}
{{- if not (and .peers .ports) }}
{{- include "hardened.internal.refuse" (list $ "networkPolicy.egress.to: peers and ports are both required; a rule without one of them allows all of it") }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The ports and the Service. */}}
{{- define "hardened.internal.checkService" -}}
{{- $s := .spec }}
{{- $v := $s.service }}
{{- if and $s.ports (not $s.port) }}
{{- include "hardened.internal.refuse" (list $ "ports without port: the main one comes first. Set port") }}
{{- end }}
{{- $seen := dict }}
{{- range $p := include "hardened.internal.ports" . | fromJsonArray }}
{{- if lt (int .port) 1024 }}
{{- include "hardened.internal.refuse" (list $ (printf "ports %s: ports below 1024 need root or a capability. Listen on 1024 or above; servicePort may be any" .name)) }}
{{- end }}
{{- range $what, $id := dict "the name" .name "port" (int .port) "servicePort" (int .servicePort) }}
{{- $id = printf "%s %v" $what $id }}
{{- if and (hasKey $seen $id) (ne $id "servicePort 0") }}
{{- include "hardened.internal.refuse" (list $ (printf "ports: %s stands twice. Each port needs one of its own" $id)) }}
{{- end }}
{{- $_ := set $seen $id true }}
{{- end }}
{{- end }}
{{- if not (has $v.type (list "ClusterIP" "NodePort" "LoadBalancer")) }}
{{- include "hardened.internal.refuse" (list $ (printf "service.type %q: want ClusterIP, NodePort or LoadBalancer" $v.type)) }}
{{- end }}
{{- if and $v.headless (ne $v.type "ClusterIP") }}
{{- include "hardened.internal.refuse" (list $ (printf "service.headless with type %s: a headless Service has no address of its own" $v.type)) }}
{{- end }}
{{- if and $v.enabled (ne $v.type "ClusterIP") (not $v.sourceRanges) }}
{{- include "hardened.internal.refuse" (list $ (printf "service.type is %s, and the NetworkPolicy would let nobody in: name the addresses of the callers in service.sourceRanges, 0.0.0.0/0 for everybody" $v.type)) }}
{{- end }}
{{- end }}

{{- /* All of them: what the workload does. The other objects check what they are made from. */}}
{{- define "hardened.internal.check" -}}
{{- range $part := list "Pod" "Identity" "Replicas" "Recommendations" "Disruptions" "Kind" "Service" "Reach" "Secrets" "Config" "Metrics" "Network" }}
{{- include (printf "hardened.internal.check%s" $part) $ }}
{{- end }}
{{- end }}
