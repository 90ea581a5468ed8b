{{- define "hardened.deployment" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) -}}
{{- include "hardened.internal.check" $c -}}
apiVersion: apps/v1
kind: Deployment
{{ include "hardened.internal.metadata" (merge (dict "annotations" (include "hardened.internal.declared" $c | fromJson)) $c) }}
spec:
  {{- /* The autoscaler's own where it scales: what stands here would be set again at each upgrade. */}}
  {{- if not $c.spec.autoscaling.enabled }}
  replicas: {{ int $c.spec.replicaCount }}
  {{- else if $c.spec.autoscaling.initialReplicas }}
  replicas: {{ int $c.spec.autoscaling.initialReplicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
  template:
    {{- include "hardened.internal.podTemplate" $c | nindent 4 }}
{{- end }}

{{- define "hardened.statefulset" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) -}}
{{- include "hardened.internal.check" $c -}}
apiVersion: apps/v1
kind: StatefulSet
{{ include "hardened.internal.metadata" (merge (dict "annotations" (include "hardened.internal.declared" $c | fromJson)) $c) }}
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
  {{- with $c.spec.volumeClaims }}
  # Data outlives the release and scaling down.
  persistentVolumeClaimRetentionPolicy:
    whenDeleted: Retain
    whenScaled: Retain
  volumeClaimTemplates:
    {{- range . }}
    - metadata:
        name: {{ .name }}
        labels:
          {{- include "hardened.selectorLabels" $c | nindent 10 }}
      spec:
        accessModes: [{{ .accessMode | default "ReadWriteOnce" }}]
        {{- with .storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ .size }}
    {{- end }}
  {{- end }}
{{- end }}

{{- /* What a Job and the Jobs of a CronJob have in common. */}}
{{- define "hardened.internal.job" -}}
backoffLimit: {{ int .spec.job.backoffLimit }}
activeDeadlineSeconds: {{ int .spec.job.activeDeadlineSeconds }}
{{- /* A CronJob keeps its history by number. */}}
{{- if eq .spec.kind "Job" }}
ttlSecondsAfterFinished: {{ int .spec.job.ttlSecondsAfterFinished }}
{{- end }}
completions: {{ int .spec.job.completions }}
parallelism: {{ int .spec.job.parallelism }}
template:
  {{- include "hardened.internal.podTemplate" . | nindent 2 }}
{{- end }}

{{- define "hardened.cronjob" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) -}}
{{- include "hardened.internal.check" $c -}}
{{- $cron := $c.spec.cron -}}
apiVersion: batch/v1
kind: CronJob
{{ include "hardened.internal.metadata" $c }}
spec:
  schedule: {{ $cron.schedule | quote }}
  timeZone: {{ $cron.timeZone }}
  concurrencyPolicy: {{ $cron.concurrencyPolicy }}
  startingDeadlineSeconds: {{ int $cron.startingDeadlineSeconds }}
  successfulJobsHistoryLimit: {{ int $cron.successfulJobsHistoryLimit }}
  failedJobsHistoryLimit: {{ int $cron.failedJobsHistoryLimit }}
  suspend: {{ $cron.suspend }}
  jobTemplate:
    metadata:
      labels:
        {{- include "hardened.labels" $c | nindent 8 }}
    spec:
      {{- include "hardened.internal.job" $c | nindent 6 }}
{{- end }}

{{- /* A Job cannot be changed once it is there: its name carries a digest of the spec, so that an
       upgrade that changes something makes a new one. */}}
{{- define "hardened.job" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) -}}
{{- include "hardened.internal.check" $c -}}
{{- $digest := omit $c.spec "global" | toJson | sha256sum | trunc 8 -}}
apiVersion: batch/v1
kind: Job
{{ include "hardened.internal.metadata" (merge (dict "name" (printf "%s-%s" (include "hardened.fullname" $c) $digest)) $c) }}
spec:
  {{- include "hardened.internal.job" $c | nindent 2 }}
{{- end }}

{{- /* The workload of the spec's kind. */}}
{{- define "hardened.workload" -}}
{{- $kind := .spec.kind | default "Deployment" }}
{{- if not (has $kind (list "Deployment" "StatefulSet" "CronJob" "Job")) }}
{{- fail (printf "kind %q: this library makes Deployment, StatefulSet, CronJob and Job. A DaemonSet has rights on every node; a bare Pod is not replaced when its node goes." $kind) }}
{{- end }}
{{- include (printf "hardened.%s" (lower $kind)) . }}
{{- end }}

{{- /* Reasons that the values give for what is weak on purpose, as annotations in JSON. helmproof shows
       the one for a single replica as a declared exception, where the profile accepts it. */}}
{{- define "hardened.internal.declared" -}}
{{- $declared := dict }}
{{- if and (not .spec.autoscaling.enabled) (eq (include "hardened.internal.floor" .) "1") }}
{{- $_ := set $declared "helmproof.companyos.github.io/declared-AVL-4" (trim .spec.singleReplicaReason) }}
{{- end }}
{{- with .spec.securityContext.platformIDsReason }}
{{- $_ := set $declared "helmproof.companyos.github.io/platform-ids-reason" (trim .) }}
{{- end }}
{{- toJson $declared }}
{{- end }}
