{{- /* Several workloads in one release: what is not said for one of them is shared by all. */}}

{{- /* The specs of a release, as a JSON list: one for each of spec.workloads, which is spec itself
       with the workload's own values laid over it; only spec where there are none. The name of a
       workload is its component, so that objects and selectors keep apart. */}}
{{- define "hardened.specs" -}}
{{- $shared := omit .spec "workloads" }}
{{- $specs := list }}
{{- $made := list }}
{{- $containers := list }}
{{- $waves := list }}
{{- range $name, $own := .spec.workloads }}
{{- /* null takes a workload out. */}}
{{- if kindIs "map" $own }}
{{- $spec := deepCopy $shared }}
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
