{{- /* What a Job and the Jobs of a CronJob have in common. */}}
{{- define "hardened.internal.job" -}}
backoffLimit: {{ int .spec.job.backoffLimit }}
activeDeadlineSeconds: {{ int .spec.job.activeDeadlineSeconds }}
{{- /* A CronJob keeps its history by number. A hook's Job is no part of the release, so that nothing else
       would ever remove it; it runs with each event, whether it is still there or not. */}}
{{- $ttl := int .spec.job.ttlSecondsAfterFinished }}
{{- if and .spec.hook.by (not $ttl) }}
{{- $ttl = 86400 }}
{{- end }}
{{- if and (eq .spec.kind "Job") $ttl }}
ttlSecondsAfterFinished: {{ $ttl }}
{{- end }}
completions: {{ int .spec.job.completions }}
parallelism: {{ int .spec.job.parallelism }}
template:
  {{- include "hardened.internal.podTemplate" . | nindent 2 }}
{{- end }}

{{- define "hardened.cronjob" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) "runs" true -}}
{{- include "hardened.internal.check" $c -}}
{{- $cron := $c.spec.cron -}}
apiVersion: batch/v1
kind: CronJob
{{ include "hardened.internal.metadata" $c }}
spec:
  schedule: {{ $cron.schedule | quote }}
  timeZone: {{ $cron.timeZone | toYaml }}
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

{{- /* A Job's pods cannot be changed once it is there, so its name carries a digest of what cannot:
       what changes it makes a new Job, and nothing else does. A hook is deleted before it runs
       again, and keeps its name. */}}
{{- define "hardened.job" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) "runs" true -}}
{{- include "hardened.internal.check" $c -}}
{{- $name := include "hardened.fullname" $c -}}
{{- if not $c.spec.hook.by -}}
{{- $name = printf "%s-%s" $name (printf "%d %s" (int $c.spec.job.completions) (include "hardened.internal.podTemplate" $c) | sha256sum | trunc 8) -}}
{{- end -}}
apiVersion: batch/v1
kind: Job
{{ include "hardened.internal.metadata" (merge (dict "name" $name) $c) }}
spec:
  {{- include "hardened.internal.job" $c | nindent 2 }}
{{- end }}

{{- /* Annotations that order an object among the others, as YAML: of a hook, when it runs, what it
       needs before it; of anything else, its wave. dict spec, runs (the workload
       itself). */}}
{{- define "hardened.internal.order" -}}
{{- $hook := .spec.hook }}
{{- $before := empty .runs | ternary 10 0 }}
{{- $weight := sub (int $hook.weight) $before }}
{{- if eq ($hook.by | default "") "helm" }}
helm.sh/hook: {{ join "," $hook.on }}
helm.sh/hook-weight: {{ $weight | quote }}
{{- /* Helm uninstalls no hooks: what the Job needed goes when it has succeeded. */}}
helm.sh/hook-delete-policy: before-hook-creation{{ if $before }},hook-succeeded{{ end }}
{{- else if eq ($hook.by | default "") "argocd" }}
argocd.argoproj.io/hook: {{ regexMatch "^pre-" (first $hook.on) | ternary "PreSync" "PostSync" }}
argocd.argoproj.io/sync-wave: {{ $weight | quote }}
argocd.argoproj.io/hook-delete-policy: BeforeHookCreation
{{- else if not (kindIs "invalid" .spec.syncWave) }}
argocd.argoproj.io/sync-wave: {{ sub (int .spec.syncWave) $before | quote }}
{{- end }}
{{- end }}

{{- define "hardened.internal.checkHook" -}}
{{- $s := .spec }}
{{- $hook := $s.hook }}
{{- if $hook.by }}
{{- if not (has $hook.by (list "helm" "argocd")) }}
{{- include "hardened.internal.refuse" (list $ (printf "hook.by %q: want helm or argocd" $hook.by)) }}
{{- end }}
{{- if ne $s.kind "Job" }}
{{- include "hardened.internal.refuse" (list $ (printf "hook.by is %s with kind %s: a hook runs to its end before the release goes on. Use kind Job" $hook.by $s.kind)) }}
{{- end }}
{{- $pre := 0 }}
{{- range $hook.on }}
{{- if not (has . (list "pre-install" "pre-upgrade" "pre-rollback" "post-install" "post-upgrade" "post-rollback")) }}
{{- include "hardened.internal.refuse" (list $ (printf "hook.on %q: want pre-install, pre-upgrade, pre-rollback, post-install, post-upgrade or post-rollback" .)) }}
{{- end }}
{{- if hasPrefix "pre-" . }}
{{- $pre = add1 $pre }}
{{- end }}
{{- end }}
{{- if not $hook.on }}
{{- include "hardened.internal.refuse" (list $ "hook.on is empty: the Job would never run") }}
{{- end }}
{{- if and $pre (ne (int $pre) (len $hook.on)) }}
{{- include "hardened.internal.refuse" (list $ "hook.on: some are before and some after the release's objects. Make two workloads of it") }}
{{- end }}
{{- if $s.volumeClaims }}
{{- range $s.volumeClaims }}
{{- if not .existingClaim }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims %s: a hook's claim would be deleted before the hook runs again, with its data. Use existingClaim" .name)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not (kindIs "invalid" $s.syncWave) }}
{{- include "hardened.internal.refuse" (list $ "syncWave: a hook is ordered by hook.weight") }}
{{- end }}
{{- end }}
{{- end }}
