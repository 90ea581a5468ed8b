{{- /* What the monitors say of one endpoint. */}}
{{- define "hardened.internal.endpoint" -}}
{{- $name := gt (int .spec.metrics.port) 0 | ternary "metrics" .spec.portName }}
{{- range include "hardened.internal.ports" . | fromJsonArray }}
{{- if eq (int .port) (int $.spec.metrics.port) }}{{ $name = .name }}{{ end }}
{{- end -}}
- port: {{ $name | toYaml }}
  path: {{ .spec.metrics.path | toYaml }}
  interval: {{ .spec.metrics.interval }}
  scrapeTimeout: {{ .spec.metrics.scrapeTimeout }}
{{- end }}

{{- /* For the Prometheus operator: the pods are asked. */}}
{{- define "hardened.podmonitor" -}}
{{- if include "hardened.internal.asked" (dict "of" .spec "part" "metrics") }}
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
{{- end }}

{{- /* The same through the Service, which has to have that port. */}}
{{- define "hardened.servicemonitor" -}}
{{- if include "hardened.internal.asked" (dict "of" .spec "part" "metrics") }}
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
{{- end }}
