{{- define "library-user.api" -}}
component: api
image:
  repository: registry.example.com/library-user/api
  tag: {{ .Chart.AppVersion }}
  digest: {{ .Values.api.digest }}
port: 8080
replicaCount: {{ .Values.api.replicas }}
env:
  LOG_LEVEL: {{ .Values.logLevel }}
resources:
  requests: {cpu: 100m, memory: 64Mi}
  limits: {cpu: 500m, memory: 128Mi}
{{- end }}

{{- define "library-user.report" -}}
component: report
kind: CronJob
image:
  repository: registry.example.com/library-user/report
  tag: {{ .Chart.AppVersion }}
  digest: {{ .Values.report.digest }}
cron:
  schedule: {{ .Values.report.schedule | quote }}
resources:
  requests: {cpu: 100m, memory: 64Mi}
  limits: {cpu: 500m, memory: 128Mi}
writableDirectories:
  - path: /tmp
    sizeLimit: 1Gi
{{- end }}
