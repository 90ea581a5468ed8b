{{- /* The claim behind an entry of volumeClaims: dict root, spec, claim. */}}
{{- define "hardened.internal.claimName" -}}
{{- .claim.existingClaim | default (printf "%s-%s" (include "hardened.internal.objectName" (merge (dict "of" "volumeClaims") .)) .claim.name) }}
{{- end }}

{{- /* Not empty if only one node, or only one pod, can have a claim. */}}
{{- define "hardened.internal.claimOfOne" -}}
{{- if has (.accessMode | default "ReadWriteOnce") (list "ReadWriteOnce" "ReadWriteOncePod") }}yes{{ end }}
{{- end }}

{{- /* Not empty for a Deployment with such a claim: old and new pods cannot have it at once. */}}
{{- define "hardened.internal.recreates" -}}
{{- range .spec.volumeClaims }}
{{- include "hardened.internal.claimOfOne" . }}
{{- end }}
{{- end }}

{{- /* What a claim asks for. */}}
{{- define "hardened.internal.claimSpec" -}}
accessModes: [{{ .accessMode | default "ReadWriteOnce" }}]
{{- with .storageClassName }}
storageClassName: {{ . | toYaml }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end }}

{{- /* The claims of kinds without a template of their own. They outlive the release. */}}
{{- define "hardened.persistentvolumeclaim" -}}
{{- if .spec.volumeClaims }}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) "of" "volumeClaims" }}
{{- include "hardened.internal.checkKind" $c }}
{{- if and (ne $c.spec.kind "StatefulSet") (include "hardened.internal.makes" $c) }}
{{- $owner := dict "root" .root "spec" (include "hardened.internal.owner" $c | fromJson) }}
{{- range $claim := $c.spec.volumeClaims }}
{{- if not $claim.existingClaim }}
---
apiVersion: v1
kind: PersistentVolumeClaim
{{ include "hardened.internal.metadata" (merge (dict "name" (include "hardened.internal.claimName" (merge (dict "claim" $claim) $c)) "annotations" (dict "helm.sh/resource-policy" "keep")) $owner) }}
spec:
  {{- include "hardened.internal.claimSpec" $claim | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "hardened.internal.checkClaims" -}}
{{- $s := .spec }}
{{- $names := dict }}
{{- range $i, $claim := $s.volumeClaims }}
{{- if or (not $claim.name) (not $claim.path) (hasKey $names ($claim.name | default "")) }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims[%d]: every claim needs a path and a name of its own" $i)) }}
{{- end }}
{{- $_ := set $names $claim.name true }}
{{- if eq (empty $claim.size) (empty $claim.existingClaim) }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims %s: either size, for a claim that is made, or existingClaim" $claim.name)) }}
{{- end }}
{{- if include "hardened.internal.claimOfOne" $claim }}
{{- $mode := $claim.accessMode | default "ReadWriteOnce" }}
{{- if and (eq $s.kind "StatefulSet") $claim.existingClaim (ne (include "hardened.internal.floor" $) "1") }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims %s: the replicas of a StatefulSet cannot share a claim of mode %s. Give size, so that each has one of its own" $claim.name $mode)) }}
{{- end }}
{{- if eq $s.kind "DaemonSet" }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims %s: pods on every node cannot share a claim of mode %s. Use accessMode ReadWriteMany, or ReadOnlyMany" $claim.name $mode)) }}
{{- end }}
{{- if and (eq $s.kind "Deployment") (or $s.autoscaling.enabled (gt (int $s.replicaCount) 1)) }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims %s with kind Deployment: replicas would share one volume, or wait for it, which mode %s does not allow. Use kind StatefulSet, so that each has its own; or accessMode ReadWriteMany; or one replica without autoscaling" $claim.name $mode)) }}
{{- end }}
{{- if and (has $s.kind (list "Job" "CronJob")) (gt (int $s.job.parallelism) 1) }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims %s: job.parallelism %d with mode %s: pods on other nodes would wait for it. Use accessMode ReadWriteMany" $claim.name (int $s.job.parallelism) $mode)) }}
{{- end }}
{{- if and (eq $s.kind "CronJob") (eq $s.cron.concurrencyPolicy "Allow") }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims %s: cron.concurrencyPolicy Allow with mode %s: a second run would wait for the first. Use Forbid or Replace, or accessMode ReadWriteMany" $claim.name $mode)) }}
{{- end }}
{{- if hasKey ($s.shares | default dict) "volumeClaims" }}
{{- include "hardened.internal.refuse" (list $ (printf "volumeClaims %s: workloads share it, and mode %s is for one alone. Name it in the workload that has it, or use accessMode ReadWriteMany" $claim.name $mode)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
