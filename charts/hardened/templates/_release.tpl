{{- /* Several workloads in one release: what is not said for one of them is shared by all. */}}

{{- /* The specs of a release, as a JSON list: one for each of spec.workloads, which is spec itself
       with the workload's own values laid over it; only spec where there are none. The name of a
       workload is its component, so that objects and selectors keep apart. */}}
{{- define "hardened.specs" -}}
{{- $shared := omit .spec "workloads" }}
{{- $specs := list }}
{{- range $name, $own := .spec.workloads }}
{{- /* null takes a workload out. */}}
{{- if kindIs "map" $own }}
{{- $spec := deepCopy $shared }}
{{- include "hardened.internal.overlay" (dict "onto" $spec "over" $own) }}
{{- $specs = append $specs (set $spec "component" $name) }}
{{- else if not (kindIs "invalid" $own) }}
{{- fail (printf "workloads.%s: a map of values is expected" $name) }}
{{- end }}
{{- end }}
{{- if and .spec.workloads (not $specs) }}
{{- fail "workloads: all of them are null. Leave one, or leave workloads out" }}
{{- end }}
{{- $specs | default (list $shared) | toJson }}
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
{{- $objects := list }}
{{- range include "hardened.specs" . | fromJsonArray }}
{{- $objects = append $objects (include $.template (dict "root" $.root "spec" .) | trim) }}
{{- end }}
{{- compact $objects | join "\n---\n" }}
{{- end }}
