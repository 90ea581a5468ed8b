{{- /* Several workloads in one release: what is not said for one of them is shared by all. */}}

{{- /* The specs of a release, as a JSON list: one for each of spec.workloads, which is spec itself
       with the workload's own values laid over it; only spec where there are none. The name of a
       workload is its component, so that objects and selectors keep apart. */}}
{{- define "hardened.specs" -}}
{{- $shared := omit .spec "workloads" "extraObjects" "tpl" }}
{{- /* A copy by JSON is made several times faster than by deepCopy. */}}
{{- $json := toJson $shared }}
{{- $specs := list }}
{{- $made := list }}
{{- $containers := list }}
{{- $waves := list }}
{{- range $name, $own := .spec.workloads }}
{{- /* null takes a workload out. */}}
{{- if kindIs "map" $own }}
{{- $spec := fromJson $json }}
{{- include "hardened.internal.overlay" (dict "onto" $spec "over" $own) }}
{{- $_ := set $spec "component" $name }}
{{- range concat ($spec.sidecars | default list) ($spec.initContainers | default list) }}
{{- $containers = append $containers .name }}
{{- end }}
{{- if not (kindIs "invalid" $spec.syncWave) }}
{{- $waves = append $waves (int $spec.syncWave) }}
{{- end }}
{{- /* A hook runs before there is anything to share. */}}
{{- $shares := dict }}
{{- if not ($spec.hook).by }}
{{- range $of := list "config" "externalSecret" "volumeClaims" }}
{{- if not (or (hasKey $own $of) (and (eq $of "volumeClaims") (or (eq ($spec.kind | default "") "StatefulSet") (not $spec.volumeClaims)))) }}
{{- $_ := set $shares $of (has $of $made | ternary "uses" "makes") }}
{{- $made = append $made $of }}
{{- end }}
{{- end }}
{{- end }}
{{- $specs = append $specs (set $spec "shares" $shares) }}
{{- else if not (kindIs "invalid" $own) }}
{{- fail (printf "workloads.%s: a map of values is expected" $name) }}
{{- end }}
{{- end }}
{{- if and .spec.workloads (not $specs) }}
{{- fail "workloads: all of them are null. Leave one, or leave workloads out" }}
{{- end }}
{{- /* What is shared comes before the first of them. */}}
{{- range $spec := $specs }}
{{- $_ := set $spec.shares "containers" (uniq $containers) }}
{{- range $waves }}
{{- $_ := set $spec.shares "wave" (min . ($spec.shares.wave | default 0)) }}
{{- end }}
{{- end }}
{{- $specs = $specs | default (list (fromJson $json)) }}
{{- if .spec.tpl }}
{{- $all := dict "specs" (deepCopy $specs) }}
{{- include "hardened.internal.render" (dict "root" .root "in" $all) }}
{{- $specs = $all.specs }}
{{- end }}
{{- toJson $specs }}
{{- end }}

{{- /* Renders the templates in the strings of a map, which it changes: dict root, in. Names of keys
       are left alone, and so is externalSecret, whose templates are the operator's. Whatever is
       checked is checked afterwards. */}}
{{- define "hardened.internal.render" -}}
{{- range $key, $value := .in }}
{{- if eq $key "externalSecret" }}
{{- else if kindIs "string" $value }}
{{- if contains "{{" $value }}
{{- $_ := set $.in $key (tpl $value $.root) }}
{{- end }}
{{- else if kindIs "map" $value }}
{{- include "hardened.internal.render" (dict "root" $.root "in" $value) }}
{{- else if kindIs "slice" $value }}
{{- $list := list }}
{{- range $value }}
{{- $item := dict "item" . }}
{{- include "hardened.internal.render" (dict "root" $.root "in" $item) }}
{{- $list = append $list $item.item }}
{{- end }}
{{- $_ := set $.in $key $list }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Objects that the library has no template for, as they are, with the labels of the release. Like
       everything else they are judged as they render. */}}
{{- define "hardened.extraobjects" -}}
{{- $extra := dict "objects" (deepCopy (.spec.extraObjects | default list)) }}
{{- if .spec.tpl }}
{{- include "hardened.internal.render" (dict "root" .root "in" $extra) }}
{{- end }}
{{- $labels := include "hardened.labels" . | fromYaml }}
{{- range $i, $o := $extra.objects }}
{{- if not (and $o.apiVersion $o.kind ($o.metadata).name) }}
{{- fail (printf "extraObjects[%d]: apiVersion, kind and metadata.name are required" $i) }}
{{- end }}
{{- if and (eq $o.kind "Secret") (eq $o.apiVersion "v1") }}
{{- fail (printf "extraObjects[%d]: a secret in values ends in version control and in the release. Keep it in a secret store and name it in externalSecret" $i) }}
{{- end }}
{{- $_ := set $o.metadata "labels" (merge ($o.metadata.labels | default dict) $labels) }}
---
{{ toYaml $o }}
{{ end }}
{{- end }}

{{- /* Lays map over onto map onto, which it changes: maps are merged, anything else replaces what
       was there, an empty list or false too, and null removes it. */}}
{{- define "hardened.internal.overlay" -}}
{{- range $key, $value := .over }}
{{- if kindIs "invalid" $value }}
{{- $_ := unset $.onto $key }}
{{- else if and (kindIs "map" $value) (kindIs "map" (get $.onto $key)) }}
{{- include "hardened.internal.overlay" (dict "onto" (get $.onto $key) "over" $value) }}
{{- else }}
{{- $_ := set $.onto $key $value }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A template of this library for each spec of a release: dict root, spec, template. */}}
{{- define "hardened.each" -}}
{{- if or .spec.workloads .spec.tpl }}
{{- $objects := list }}
{{- range include "hardened.specs" . | fromJsonArray }}
{{- $objects = append $objects (include $.template (dict "root" $.root "spec" .) | trim) }}
{{- end }}
{{- compact $objects | join "\n---\n" }}
{{- else }}
{{- /* One workload, which is the spec itself. */}}
{{- include .template (dict "root" .root "spec" (omit .spec "workloads" "extraObjects" "tpl")) | trim }}
{{- end }}
{{- end }}
