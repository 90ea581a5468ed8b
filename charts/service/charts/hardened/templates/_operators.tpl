{{- /* What the monitors say of one endpoint. */}}
{{- define "hardened.internal.endpoint" -}}
- port: {{ has (int .spec.metrics.port) (list 0 (int .spec.port)) | ternary "http" "metrics" }}
  path: {{ .spec.metrics.path }}
  interval: {{ .spec.metrics.interval }}
  scrapeTimeout: {{ .spec.metrics.scrapeTimeout }}
{{- end }}

{{- /* For the Prometheus operator: the pods are asked. */}}
{{- define "hardened.podmonitor" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkMetrics" $c }}
{{- if and $c.spec.metrics.enabled (eq $c.spec.metrics.kind "PodMonitor") -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
{{ include "hardened.internal.metadata" $c }}
spec:
  selector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
  podMetricsEndpoints:
    {{- include "hardened.internal.endpoint" $c | nindent 4 }}
{{- end }}
{{- end }}

{{- /* The same through the Service, whose port is the only one: metrics.port stays 0. */}}
{{- define "hardened.servicemonitor" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkMetrics" $c }}
{{- if and $c.spec.metrics.enabled (eq $c.spec.metrics.kind "ServiceMonitor") -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
{{ include "hardened.internal.metadata" $c }}
spec:
  selector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
  endpoints:
    {{- include "hardened.internal.endpoint" $c | nindent 4 }}
{{- end }}
{{- end }}
