{{- /* The container's ports, as a JSON list of name, port, servicePort (0: not in the Service) and
       appProtocol: the main one and spec.ports. None for what ends, and where port is 0. */}}
{{- define "hardened.internal.ports" -}}
{{- $ports := list }}
{{- if and .spec.port (include "hardened.internal.longRunning" .) }}
{{- $ports = append $ports (dict "name" .spec.portName "port" (int .spec.port) "servicePort" (int .spec.service.port) "appProtocol" .spec.appProtocol) }}
{{- range .spec.ports }}
{{- $ports = append $ports (dict "name" .name "port" (int .port) "servicePort" (hasKey . "servicePort" | ternary .servicePort .port | int) "appProtocol" .appProtocol "from" .from) }}
{{- end }}
{{- end }}
{{- toJson $ports }}
{{- end }}

{{- /* The port that is called name, or the main one: dict root, spec, name, at (for messages). */}}
{{- define "hardened.internal.port" -}}
{{- $found := dict }}
{{- range include "hardened.internal.ports" . | fromJsonArray }}
{{- if eq .name ($.name | default $.spec.portName) }}{{ $found = . }}{{ end }}
{{- end }}
{{- if not $found.servicePort }}
{{- include "hardened.internal.refuse" (list $ (printf "%s: port %q is none of the Service. Name one of ports that has a servicePort, or leave it out for the main one" .at .name)) }}
{{- end }}
{{- toJson $found }}
{{- end }}

{{- /* ports of a Service. */}}
{{- define "hardened.internal.servicePorts" -}}
{{- range include "hardened.internal.ports" . | fromJsonArray }}
{{- if .servicePort }}
- name: {{ .name | toYaml }}
  port: {{ int .servicePort }}
  targetPort: {{ .name | toYaml }}
  protocol: TCP
  {{- with .appProtocol }}
  appProtocol: {{ . | toYaml }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A Service; for a StatefulSet also the headless one that names its pods. */}}
{{- define "hardened.service" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- $s := $c.spec.service }}
{{- if and $s.enabled $c.spec.port (include "hardened.internal.longRunning" $c) -}}
apiVersion: v1
kind: Service
{{ include "hardened.internal.metadata" (merge (dict "annotations" $s.annotations) $c) }}
spec:
  type: {{ $s.type }}
  {{- if $s.headless }}
  clusterIP: None
  {{- end }}
  {{- if ne $s.type "ClusterIP" }}
  externalTrafficPolicy: {{ $s.externalTrafficPolicy }}
  {{- end }}
  {{- if eq $s.type "LoadBalancer" }}
  {{- with $s.loadBalancerClass }}
  loadBalancerClass: {{ . | toYaml }}
  {{- end }}
  loadBalancerSourceRanges:
    {{- toYaml $s.sourceRanges | nindent 4 }}
  {{- end }}
  selector:
    {{- include "hardened.selectorLabels" $c | nindent 4 }}
  ports:
    {{- include "hardened.internal.servicePorts" $c | trim | nindent 4 }}
{{- end }}
{{- if eq $c.spec.kind "StatefulSet" }}
---
apiVersion: v1
kind: Service
{{ include "hardened.internal.metadata" (merge (dict "name" (printf "%s-headless" (include "hardened.fullname" $c))) $c) }}
spec:
  type: ClusterIP
  clusterIP: None
  # Members find each other before they are ready.
  publishNotReadyAddresses: true
  selector:
    {{- include "hardened.selectorLabels" $c | nindent 4 }}
  {{- with include "hardened.internal.ports" $c | fromJsonArray }}
  ports:
    {{- range . }}
    - name: {{ .name | toYaml }}
      port: {{ int .port }}
      targetPort: {{ .name | toYaml }}
      protocol: TCP
      {{- with .appProtocol }}
      appProtocol: {{ . | toYaml }}
      {{- end }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}
