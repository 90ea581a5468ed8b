{{- /* Every template takes a dict: root ($ of the including chart) and spec (README.md). */}}

{{- /* A name that fits into max characters: dict name, max. What is cut off still counts, by a digest, so
       that two long names that begin alike stay two. */}}
{{- define "hardened.internal.short" -}}
{{- if le (len .name) (int .max) }}
{{- .name | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" (.name | trunc (sub (int .max) 9 | int) | trimSuffix "-") (.name | sha256sum | trunc 8) }}
{{- end }}
{{- end }}

{{- /* The name of the application: app.kubernetes.io/name, and the main container. */}}
{{- define "hardened.name" -}}
{{- include "hardened.internal.short" (dict "name" (.spec.nameOverride | default .root.Chart.Name) "max" 63) }}
{{- end }}

{{- /* The name of the objects. 52 characters, since controllers append to it: a CronJob eleven. */}}
{{- define "hardened.fullname" -}}
{{- $name := include "hardened.name" . }}
{{- $release := .root.Release.Name }}
{{- $full := .spec.fullnameOverride }}
{{- if not $full }}
{{- /* A release that is called like the chart gives its name alone. Of several subcharts the release's
       name may contain more than one: there it has to be the same. */}}
{{- $alone := .root.Chart.IsRoot | ternary (contains $name $release) (eq $name $release) }}
{{- $full = $alone | ternary $release (printf "%s-%s" $release $name) }}
{{- end }}
{{- with .spec.component }}
{{- $full = printf "%s-%s" $full . }}
{{- end }}
{{- include "hardened.internal.short" (dict "name" $full "max" 52) }}
{{- end }}

{{- /* The labels by which pods are selected. They must never change in the life of a release. */}}
{{- define "hardened.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hardened.name" . | toYaml }}
app.kubernetes.io/instance: {{ .root.Release.Name | toYaml }}
{{- with .spec.component }}
app.kubernetes.io/component: {{ . | toYaml }}
{{- end }}
{{- end }}

{{- /* All labels that Kubernetes recommends. */}}
{{- define "hardened.labels" -}}
{{ include "hardened.selectorLabels" . }}
{{- with .spec.partOf }}
app.kubernetes.io/part-of: {{ . | toYaml }}
{{- end }}
{{- with include "hardened.internal.text" (.spec.image).tag | default .root.Chart.AppVersion }}
app.kubernetes.io/version: {{ . | trunc 63 | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* metadata of an object: name, namespace, labels, and annotations if given; of the workload itself
       (runs) with what it declares. */}}
{{- define "hardened.internal.metadata" -}}
metadata:
  name: {{ .name | default (include "hardened.fullname" .) | toYaml }}
  namespace: {{ .root.Release.Namespace | toYaml }}
  labels:
    {{- include "hardened.labels" . | nindent 4 }}
  {{- $declared := dict }}
  {{- if .runs }}
  {{- $declared = include "hardened.internal.declared" . | fromJson }}
  {{- end }}
  {{- with merge (.annotations | default dict) $declared (include "hardened.internal.order" . | fromYaml) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* apiVersion, kind and name of the workload, for what refers to it. */}}
{{- define "hardened.internal.workloadRef" -}}
apiVersion: {{ has .spec.kind (list "CronJob" "Job") | ternary "batch/v1" "apps/v1" }}
kind: {{ .spec.kind }}
name: {{ include "hardened.fullname" . | toYaml }}
{{- end }}
