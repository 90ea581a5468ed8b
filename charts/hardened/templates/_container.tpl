{{- /* repository[:tag]@sha256:… of dict image. */}}
{{- define "hardened.image" -}}
{{- include "hardened.internal.checkImage" (dict "at" "" "image" .image) -}}
{{ .image.repository }}{{ with include "hardened.internal.text" .image.tag }}:{{ . }}{{ end }}@{{ .image.digest }}
{{- end }}

{{- /* securityContext of every container. */}}
{{- define "hardened.containerSecurityContext" -}}
{{- include "hardened.internal.checkSecurityContext" . -}}
{{ include "hardened.internal.containerSecurityContext" . }}
{{- end }}

{{- /* The same, of a spec that was checked. */}}
{{- define "hardened.internal.containerSecurityContext" -}}
{{- $s := .spec.securityContext | default dict -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: {{ dig "readOnlyRootFilesystem" true $s }}
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* A probe: dict probe, port (name of the container's port). */}}
{{- define "hardened.probe" -}}
{{- include "hardened.internal.handler" . }}
{{- with .probe }}
periodSeconds: {{ .periodSeconds | default 10 }}
timeoutSeconds: {{ .timeoutSeconds | default 2 }}
failureThreshold: {{ .failureThreshold | default 3 }}
{{- end }}
{{- end }}

{{- /* What a probe does. */}}
{{- define "hardened.internal.handler" -}}
{{- with .probe }}
{{- if eq .type "http" }}
httpGet:
  path: {{ .path | default "/" | quote }}
  port: {{ .port | default ($.port | toYaml) }}
  {{- with .scheme }}
  scheme: {{ . }}
  {{- end }}
{{- else if eq .type "tcp" }}
tcpSocket:
  port: {{ .port | default ($.port | toYaml) }}
{{- else if eq .type "grpc" }}
grpc:
  port: {{ .port | default $.number }}
  {{- with .service }}
  service: {{ . | quote }}
  {{- end }}
{{- else }}
exec:
  command:
    {{- toYaml .command | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The three probes of a container: dict probes, port, number. */}}
{{- define "hardened.probes" -}}
{{- range $kind := list "startup" "readiness" "liveness" }}
{{- with get ($.probes | default dict) $kind }}
{{ $kind }}Probe:
  {{- include "hardened.probe" (dict "probe" . "port" $.port "number" $.number) | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A container: dict root, spec, container, role (main, init or sidecar),
       mounts. */}}
{{- define "hardened.internal.container" -}}
{{- $c := .container }}
{{- $serves := and (ne .role "init") (or (ne .role "main") (include "hardened.internal.longRunning" .)) }}
name: {{ $c.name | toYaml }}
image: {{ include "hardened.image" $c | quote }}
imagePullPolicy: {{ $c.image.pullPolicy | default .spec.image.pullPolicy }}
{{- if eq .role "sidecar" }}
restartPolicy: Always
{{- end }}
{{- with $c.command }}
command:
  {{- range . }}
  - {{ include "hardened.internal.text" . | toJson }}
  {{- end }}
{{- end }}
{{- with $c.args }}
args:
  {{- range . }}
  - {{ include "hardened.internal.text" . | toJson }}
  {{- end }}
{{- end }}
{{- include "hardened.internal.env" . }}
{{- $port := eq .role "main" | ternary .spec.portName ($c.name | trunc 15 | trimSuffix "-") }}
{{- if and $serves $c.port }}
{{- $numbers := list (int $c.port) }}
ports:
  - name: {{ $port | toYaml }}
    containerPort: {{ int $c.port }}
    protocol: TCP
  {{- if eq .role "main" }}
  {{- range .spec.ports }}
  {{- $numbers = append $numbers (int .port) }}
  - name: {{ .name | toYaml }}
    containerPort: {{ int .port }}
    protocol: TCP
  {{- end }}
  {{- if and .spec.metrics.enabled .spec.metrics.port (not (has (int .spec.metrics.port) $numbers)) }}
  - name: metrics
    containerPort: {{ int .spec.metrics.port }}
    protocol: TCP
  {{- end }}
  {{- end }}
{{- end }}
{{- if $serves }}
{{- include "hardened.probes" (dict "probes" $c.probes "port" $port "number" (int $c.port)) }}
{{- end }}
{{- if and (eq .role "main") $serves .spec.shutdown.preStopSleepSeconds }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ int .spec.shutdown.preStopSleepSeconds }}
{{- end }}
resources:
  {{- toYaml (pick $c.resources "requests" "limits") | nindent 2 }}
securityContext:
  {{- include "hardened.internal.containerSecurityContext" . | trim | nindent 2 }}
{{- include "hardened.internal.volumeMounts" . }}
{{- end }}
