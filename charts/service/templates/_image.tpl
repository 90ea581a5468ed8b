{{- /* The digest of the defaults belongs to the image of the defaults alone, or to a copy of it under
       the same name: whoever names another image or version names its digest too. */}}
{{- define "service.checkImage" -}}
{{- $example := dict "name" "podinfo" "tag" "6.9.1" "digest" "sha256:262578cde928d5c9eba3bce079976444f624c13ed0afb741d90d5423877496cb" }}
{{- with .spec.image }}
{{- if and (eq (.digest | default "") $example.digest) (or (ne (base (.repository | default "")) $example.name) (not (has (.tag | default "" | toString) (list "" "latest" $example.tag)))) }}
{{- include "hardened.internal.refuse" (list $ (printf "image.digest is missing: the default one belongs to %s:%s, not to %s:%s. `crane digest %[3]s:%[4]s` prints yours" $example.name $example.tag .repository (.tag | default "TAG" | toString))) }}
{{- end }}
{{- end }}
{{- end }}
