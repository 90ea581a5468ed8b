{{- /* Variables and files that are no secrets, in ConfigMaps of the release or from elsewhere. */}}

{{- /* The name of an object of a workload, or of the one that all workloads of the release share:
       dict root, spec, of (config, externalSecret or volumeClaims). */}}
{{- define "hardened.internal.objectName" -}}
{{- if hasKey (.spec.shares | default dict) .of }}
{{- include "hardened.fullname" (dict "root" .root "spec" (omit .spec "component")) }}
{{- else }}
{{- include "hardened.fullname" . }}
{{- end }}
{{- end }}

{{- /* Not empty if this workload's templates make the object, and not those of the workload that
       shares it: dict spec, of. */}}
{{- define "hardened.internal.makes" -}}
{{- if dig .of "makes" (.spec.shares | default dict) | eq "makes" }}yes{{ end }}
{{- end }}

{{- /* The context of an object that several workloads share: it has no component's labels. */}}
{{- define "hardened.internal.owner" -}}
{{- $shares := .spec.shares | default dict }}
{{- if hasKey $shares .of }}
{{- $spec := omit .spec "component" "syncWave" }}
{{- if hasKey $shares "wave" }}
{{- $_ := set $spec "syncWave" $shares.wave }}
{{- end }}
{{- toJson $spec }}
{{- else }}
{{- toJson .spec }}
{{- end }}
{{- end }}

{{- /* Not empty if an entry is for a container: dict entry, container (its name; main is "main"). */}}
{{- define "hardened.internal.isFor" -}}
{{- if has .container (.entry.containers | default (list "main")) }}yes{{ end }}
{{- end }}

{{- /* The key of a file in its ConfigMap or Secret: its path, with dots for slashes. */}}
{{- define "hardened.internal.fileKey" -}}
{{- . | clean | trimPrefix "/" | replace "/" "." }}
{{- end }}

{{- /* One ConfigMap of variables and one of files: a file's name could pass for a variable. */}}
{{- define "hardened.configmap" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) "of" "config" }}
{{- include "hardened.internal.checkConfig" $c }}
{{- if include "hardened.internal.makes" $c }}
{{- $name := include "hardened.internal.objectName" $c }}
{{- $owner := dict "root" .root "spec" (include "hardened.internal.owner" $c | fromJson) }}
{{- with $c.spec.config.env -}}
apiVersion: v1
kind: ConfigMap
{{ include "hardened.internal.metadata" (merge (dict "name" $name) $owner) }}
data:
  {{- range $key, $value := . }}
  {{ $key }}: {{ toString $value | quote }}
  {{- end }}
{{- end }}
{{- with $c.spec.config.files }}
---
apiVersion: v1
kind: ConfigMap
{{ include "hardened.internal.metadata" (merge (dict "name" (printf "%s-files" $name)) $owner) }}
data:
  {{- range $path, $file := . }}
  {{ include "hardened.internal.fileKey" $path }}: {{ kindIs "map" $file | ternary (get (kindIs "map" $file | ternary $file dict) "text") $file | toString | quote }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Variables in the order of their names: those of the container, then those from a store. */}}
{{- define "hardened.internal.env" -}}
{{- $for := eq .role "main" | ternary "main" .container.name }}
{{- $from := list }}
{{- if .spec.externalSecret.enabled }}
{{- $secret := include "hardened.internal.objectName" (merge (dict "of" "externalSecret") .) }}
{{- range .spec.externalSecret.env }}
{{- if include "hardened.internal.isFor" (dict "entry" . "container" $for) }}
{{- $from = append $from (dict "name" .name "secret" $secret "key" .name) }}
{{- end }}
{{- end }}
{{- range $i, $all := .spec.externalSecret.dataFrom }}
{{- if include "hardened.internal.isFor" (dict "entry" $all "container" $for) }}
{{- range $name, $key := $all.env }}
{{- $from = append $from (dict "name" $name "secret" (printf "%s-all-%d" $secret $i) "key" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if or .container.env $from }}
env:
  {{- range $name, $value := .container.env }}
  - name: {{ $name | toYaml }}
    {{- if kindIs "map" $value }}
    valueFrom:
      {{- include "hardened.internal.valueFrom" $value | nindent 6 }}
    {{- else }}
    value: {{ include "hardened.internal.text" $value | quote }}
    {{- end }}
  {{- end }}
  {{- range $from }}
  {{- if hasKey ($.container.env | default dict) .name }}
  {{- include "hardened.internal.refuse" (list $ (printf "env.%s: externalSecret sets this variable too. Leave one of them out" .name)) }}
  {{- end }}
  - name: {{ .name | toYaml }}
    valueFrom:
      {{- include "hardened.internal.valueFrom" . | nindent 6 }}
  {{- end }}
{{- end }}
{{- $maps := list }}
{{- if and .spec.config.env (include "hardened.internal.isFor" (dict "entry" .spec.config "container" $for)) }}
{{- $maps = append $maps (dict "configMap" (include "hardened.internal.objectName" (merge (dict "of" "config") .))) }}
{{- end }}
{{- range .spec.envFrom }}
{{- if include "hardened.internal.isFor" (dict "entry" . "container" $for) }}
{{- $maps = append $maps . }}
{{- end }}
{{- end }}
{{- with $maps }}
envFrom:
  {{- range . }}
  - configMapRef:
      name: {{ .configMap | toYaml }}
    {{- with .prefix }}
    prefix: {{ . | quote }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Where a variable comes from: dict field; resource; configMap and key; or secret and key. */}}
{{- define "hardened.internal.valueFrom" -}}
{{- if .field -}}
fieldRef:
  fieldPath: {{ .field }}
{{- else if .resource -}}
resourceFieldRef:
  resource: {{ .resource }}
  {{- with .divisor }}
  divisor: {{ . | quote }}
  {{- end }}
{{- else -}}
{{ empty .secret | ternary "configMapKeyRef" "secretKeyRef" }}:
  name: {{ .secret | default .configMap | toYaml }}
  key: {{ .key | toYaml }}
  {{- if .optional }}
  optional: true
  {{- end }}
{{- end }}
{{- end }}

{{- /* What a workload's config comes to, so that a change of it rolls out. */}}
{{- define "hardened.internal.configChecksum" -}}
{{- if or .spec.config.env .spec.config.files }}
{{- pick .spec.config "env" "files" | toJson | sha256sum }}
{{- end }}
{{- end }}

{{- define "hardened.internal.checkConfig" -}}
{{- $s := .spec }}
{{- range $name, $value := $s.config.env }}
{{- if or (kindIs "map" $value) (kindIs "slice" $value) }}
{{- include "hardened.internal.refuse" (list $ (printf "config.env.%s: a plain value is expected. What comes from elsewhere belongs in env" $name)) }}
{{- end }}
{{- if or (regexMatch (include "hardened.internal.secretName" .) $name) (regexMatch (include "hardened.internal.secretValue" .) (toString $value)) }}
{{- include "hardened.internal.refuse" (list $ (printf "config.env.%s %s" $name (include "hardened.secretAdvice" .))) }}
{{- end }}
{{- end }}
{{- $keys := dict }}
{{- range $path, $file := $s.config.files }}
{{- $text := $file }}
{{- if kindIs "map" $file }}
{{- include "hardened.internal.checkKeys" (dict "at" (printf "%sconfig.files %s: " (include "hardened.internal.speaksOf" $) $path) "part" "*file" "of" $file "known" (include "hardened.keys" . | fromJson)) }}
{{- $text = $file.text }}
{{- end }}
{{- if not (kindIs "string" $text) }}
{{- include "hardened.internal.refuse" (list $ (printf "config.files %s: its text is missing" $path)) }}
{{- end }}
{{- if not (and (hasPrefix "/" $path) (eq $path (clean $path)) (ne $path "/")) }}
{{- include "hardened.internal.refuse" (list $ (printf "config.files %s: a full path is expected, such as /etc/app/app.yaml" $path)) }}
{{- end }}
{{- if regexMatch (include "hardened.internal.secretValue" .) $text }}
{{- include "hardened.internal.refuse" (list $ (printf "config.files %s: its text looks like a secret, which does not belong in values. Keep it in a secret store and name it in externalSecret.files" $path)) }}
{{- end }}
{{- $key := include "hardened.internal.fileKey" $path }}
{{- if hasKey $keys $key }}
{{- include "hardened.internal.refuse" (list $ (printf "config.files %s and %s would have one key in the ConfigMap. Rename one" (get $keys $key) $path)) }}
{{- end }}
{{- $_ := set $keys $key $path }}
{{- end }}
{{- range $i, $from := $s.envFrom }}
{{- if not $from.configMap }}
{{- include "hardened.internal.refuse" (list $ (printf "envFrom[%d].configMap is missing" $i)) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A variable's source is one of four: dict at, name, value. */}}
{{- define "hardened.internal.checkValueFrom" -}}
{{- $at := printf "%senv.%s." .at .name }}
{{- include "hardened.internal.checkKeys" (dict "at" $at "part" "*valueFrom" "of" .value "known" (include "hardened.keys" . | fromJson)) }}
{{- $sources := pick .value "field" "resource" "configMap" "secret" }}
{{- if ne (len $sources) 1 }}
{{- fail (printf "%s: one of field, resource, configMap and secret is expected" (trimSuffix "." $at)) }}
{{- end }}
{{- if and (or .value.configMap .value.secret) (not .value.key) }}
{{- fail (printf "%skey is missing: which entry of the %s" $at (keys $sources | first)) }}
{{- end }}
{{- end }}
