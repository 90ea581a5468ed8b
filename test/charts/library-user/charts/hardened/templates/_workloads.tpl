{{- define "hardened.deployment" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) "runs" true -}}
{{- include "hardened.internal.check" $c -}}
apiVersion: apps/v1
kind: Deployment
{{ include "hardened.internal.metadata" $c }}
spec:
  {{- /* The autoscaler's own where it scales: what stands here would be set again at each upgrade. */}}
  {{- if not $c.spec.autoscaling.enabled }}
  replicas: {{ int $c.spec.replicaCount }}
  {{- else if $c.spec.autoscaling.initialReplicas }}
  replicas: {{ int $c.spec.autoscaling.initialReplicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    {{- if include "hardened.internal.recreates" $c }}
    # The claim is for one pod: the new one starts when the old one has let go of it.
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
    {{- end }}
  selector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
  template:
    {{- include "hardened.internal.podTemplate" $c | nindent 4 }}
{{- end }}

{{- define "hardened.statefulset" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) "runs" true -}}
{{- include "hardened.internal.check" $c -}}
{{- $templates := list }}
{{- range $c.spec.volumeClaims }}
{{- if not .existingClaim }}
{{- $templates = append $templates . }}
{{- end }}
{{- end -}}
apiVersion: apps/v1
kind: StatefulSet
{{ include "hardened.internal.metadata" $c }}
spec:
  {{- /* The autoscaler's own where it scales: what stands here would be set again at each upgrade. */}}
  {{- if not $c.spec.autoscaling.enabled }}
  replicas: {{ int $c.spec.replicaCount }}
  {{- else if $c.spec.autoscaling.initialReplicas }}
  replicas: {{ int $c.spec.autoscaling.initialReplicas }}
  {{- end }}
  serviceName: {{ include "hardened.fullname" $c }}-headless
  revisionHistoryLimit: 5
  updateStrategy:
    type: RollingUpdate
  selector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
  template:
    {{- include "hardened.internal.podTemplate" $c | nindent 4 }}
  {{- with $templates }}
  # Data outlives the release and scaling down.
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  volumeClaimTemplates:
    {{- range . }}
    - metadata:
        name: {{ .name | toYaml }}
        labels:
          {{- include "hardened.selectorLabels" $c | nindent 10 }}
      spec:
        {{- include "hardened.internal.claimSpec" . | nindent 8 }}
    {{- end }}
  {{- end }}
{{- end }}

{{- /* A pod on every node that fits. */}}
{{- define "hardened.daemonset" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) "runs" true -}}
{{- include "hardened.internal.check" $c -}}
apiVersion: apps/v1
kind: DaemonSet
{{ include "hardened.internal.metadata" $c }}
spec:
  revisionHistoryLimit: 5
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: {{ int $c.spec.disruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
  template:
    {{- include "hardened.internal.podTemplate" $c | nindent 4 }}
{{- end }}

{{- /* The workload of the spec's kind. */}}
{{- define "hardened.workload" -}}
{{- $kind := .spec.kind | default "Deployment" }}
{{- if not (has $kind (list "Deployment" "StatefulSet" "DaemonSet" "CronJob" "Job")) }}
{{- include "hardened.internal.refuse" (list $ (printf "kind %q: this library makes Deployment, StatefulSet, DaemonSet, CronJob and Job. A bare Pod is not replaced when its node goes." $kind)) }}
{{- end }}
{{- include (printf "hardened.%s" (lower $kind)) . }}
{{- end }}

{{- /* Reasons that the values give for what is weak on purpose, as annotations in JSON. helmproof shows
       them as declared exceptions, where the profile accepts them. */}}
{{- define "hardened.internal.declared" -}}
{{- $declared := dict }}
{{- if and (include "hardened.internal.scales" .) (not .spec.autoscaling.enabled) (eq (include "hardened.internal.floor" .) "1") }}
{{- $_ := set $declared "helmproof.companyos.github.io/declared-AVL-4" (trim .spec.singleReplicaReason) }}
{{- end }}
{{- with .spec.securityContext.platformIDsReason }}
{{- $_ := set $declared "helmproof.companyos.github.io/declared-SEC-2" (trim .) }}
{{- end }}
{{- with .spec.nodeAgent }}
{{- if or .hostPaths .hostNetwork .hostPID }}
{{- $_ := set $declared "helmproof.companyos.github.io/declared-SEC-1" (trim .reason) }}
{{- end }}
{{- if .hostNetwork }}
{{- $_ := set $declared "helmproof.companyos.github.io/declared-SEC-7" (trim .reason) }}
{{- end }}
{{- end }}
{{- toJson $declared }}
{{- end }}
