{{- /* securityContext of the pod. */}}
{{- define "hardened.podSecurityContext" -}}
{{- include "hardened.internal.checkSecurityContext" . -}}
{{ include "hardened.internal.podSecurityContext" . }}
{{- end }}

{{- /* The same, of a spec that was checked. */}}
{{- define "hardened.internal.podSecurityContext" -}}
{{- $s := .spec.securityContext | default dict -}}
runAsNonRoot: true
{{- if not $s.platformIDsReason }}
runAsUser: {{ $s.runAsUser | default 10001 | int64 }}
runAsGroup: {{ $s.runAsGroup | default 10001 | int64 }}
fsGroup: {{ $s.fsGroup | default 10001 | int64 }}
{{- end }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  {{- if $s.seccompLocalhostProfile }}
  type: Localhost
  localhostProfile: {{ $s.seccompLocalhostProfile | toYaml }}
  {{- else }}
  type: RuntimeDefault
  {{- end }}
{{- end }}

{{- /* Spread over zones and nodes. A rollout counts only pods of its own revision. */}}
{{- define "hardened.topologySpread" -}}
{{- range $key, $insist := dict "topology.kubernetes.io/zone" ((.spec.topologySpread).zone | default "ScheduleAnyway") "kubernetes.io/hostname" ((.spec.topologySpread).node | default "ScheduleAnyway") }}
- topologyKey: {{ $key }}
  maxSkew: 1
  whenUnsatisfiable: {{ $insist }}
  labelSelector:
    matchLabels:
      {{- include "hardened.selectorLabels" $ | nindent 6 }}
  {{- if eq ($.spec.kind | default "Deployment") "Deployment" }}
  matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{- /* Not two replicas on one node: preferred, or required. */}}
{{- define "hardened.antiAffinity" -}}
{{- if eq (.spec.antiAffinity | default "") "required" -}}
podAntiAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels:
          {{- include "hardened.selectorLabels" . | nindent 10 }}
      {{- /* Only pods of one revision keep apart: with as many nodes as replicas a rollout would find no
             node for its first pod otherwise. */}}
      {{- if eq (.spec.kind | default "Deployment") "Deployment" }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
{{- else -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "hardened.selectorLabels" . | nindent 12 }}
{{- end }}
{{- end }}

{{- /* The main container's part of the spec, as hardened.internal.container takes it. */}}
{{- define "hardened.internal.main" -}}
{{- $main := pick .spec "image" "command" "args" "port" "env" "probes" "resources" "writableDirectories" }}
{{- set $main "name" (include "hardened.name" .) | toJson }}
{{- end }}

{{- /* The pod template (metadata and spec), for kinds of controllers that this library does not make. */}}
{{- define "hardened.podTemplate" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.check" $c }}
{{- include "hardened.internal.podTemplate" $c }}
{{- end }}

{{- define "hardened.internal.podTemplate" -}}
{{- $long := include "hardened.internal.longRunning" . }}
{{- $main := include "hardened.internal.main" . | fromJson }}
{{- $mounts := include "hardened.internal.mounts" (merge (dict "main" $main) .) | fromJsonArray }}
{{- $scales := include "hardened.internal.scales" . }}
{{- $annotations := .spec.podAnnotations | default dict }}
{{- with .spec.securityContext.writableRootReason }}
{{- $annotations = merge (dict "helmproof.companyos.github.io/writable-root-reason" .) $annotations }}
{{- end }}
{{- with .spec.nodeAgent }}
{{- $annotations = merge (dict "helmproof.companyos.github.io/node-agent-reason" .reason) $annotations }}
{{- end }}
{{- with include "hardened.internal.configChecksum" . }}
{{- $annotations = merge (dict "checksum/config" .) $annotations }}
{{- end -}}
metadata:
  labels:
    {{- /* Those of a Job cannot be changed: none that a new version of the chart would. */}}
    {{- include (eq .spec.kind "Job" | ternary "hardened.selectorLabels" "hardened.labels") . | nindent 4 }}
    {{- with include "hardened.internal.podLabels" . | fromJson }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "hardened.fullname" . | toYaml }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "hardened.internal.pullSecrets" . | trim }}
  imagePullSecrets:
    {{- . | nindent 4 }}
  {{- end }}
  {{- if (.spec.nodeAgent).hostNetwork }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  {{- if (.spec.nodeAgent).hostPID }}
  hostPID: true
  {{- end }}
  {{- with .spec.priorityClassName }}
  priorityClassName: {{ . | toYaml }}
  {{- end }}
  {{- with .spec.runtimeClassName }}
  runtimeClassName: {{ . | toYaml }}
  {{- end }}
  {{- with .spec.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .spec.dnsConfig }}
  dnsConfig:
    {{- with .searches }}
    searches:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .options }}
    options:
      {{- range . }}
      - name: {{ .name | toYaml }}
        {{- with include "hardened.internal.text" .value }}
        value: {{ . | quote }}
        {{- end }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- if not $long }}
  restartPolicy: Never
  {{- end }}
  terminationGracePeriodSeconds: {{ int .spec.shutdown.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "hardened.internal.podSecurityContext" . | nindent 4 }}
  {{- if $scales }}
  topologySpreadConstraints:
    {{- include "hardened.topologySpread" . | trim | nindent 4 }}
  affinity:
    {{- include "hardened.antiAffinity" . | nindent 4 }}
  {{- end }}
  {{- with .spec.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .spec.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if or .spec.initContainers .spec.sidecars }}
  initContainers:
    {{- range .spec.sidecars }}
    - {{- include "hardened.internal.container" (merge (dict "container" . "role" "sidecar" "mounts" $mounts) $) | trim | nindent 6 }}
    {{- end }}
    {{- range .spec.initContainers }}
    - {{- include "hardened.internal.container" (merge (dict "container" . "role" "init" "mounts" $mounts) $) | trim | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - {{- include "hardened.internal.container" (merge (dict "container" $main "role" "main" "mounts" $mounts) .) | trim | nindent 6 }}
  {{- with include "hardened.internal.volumes" (dict "mounts" $mounts) | trim }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}
