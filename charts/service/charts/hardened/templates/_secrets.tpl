{{- /* Secrets from a store, by the External Secrets Operator: one Secret of the workload's name for
       variables and files; one for each whole entry; those that have a type of their own. */}}
{{- define "hardened.externalsecret" -}}
{{- if include "hardened.internal.asked" (dict "of" .spec "part" "externalSecret") }}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) "of" "externalSecret" }}
{{- include "hardened.internal.checkSecrets" $c }}
{{- $e := $c.spec.externalSecret }}
{{- if $e.enabled }}
{{- $objects := list }}
{{- $name := include "hardened.internal.objectName" $c }}
{{- if include "hardened.internal.makes" $c }}
{{- $owner := dict "root" .root "spec" (include "hardened.internal.owner" $c | fromJson) }}
{{- if or $e.env $e.files }}
{{- $data := list }}
{{- $template := dict }}
{{- range concat ($e.env | default list) ($e.data | default list) }}
{{- $data = append $data (include "hardened.internal.storeEntry" (dict "name" .name "entry" .) | fromJson) }}
{{- end }}
{{- range $e.files }}
{{- if .template }}
{{- $_ := set $template (include "hardened.internal.fileKey" .path) .template }}
{{- else }}
{{- $data = append $data (include "hardened.internal.storeEntry" (dict "name" (include "hardened.internal.fileKey" .path) "entry" .) | fromJson) }}
{{- end }}
{{- end }}
{{- $made := dict "name" $name "data" $data }}
{{- with $template }}
{{- $_ := set $made "template" (dict "engineVersion" "v2" "mergePolicy" "Merge" "data" .) }}
{{- end }}
{{- $objects = append $objects $made }}
{{- end }}
{{- range $i, $all := $e.dataFrom }}
{{- $made := dict "name" (printf "%s-all-%d" $name $i) "dataFrom" (list (dict "extract" (dict "key" $all.key))) }}
{{- with $all.template }}
{{- $_ := set $made "template" (dict "engineVersion" "v2" "mergePolicy" "Merge" "data" .) }}
{{- end }}
{{- $objects = append $objects $made }}
{{- end }}
{{- range $i, $pull := $e.pull }}
{{- $entry := include "hardened.internal.storeEntry" (dict "name" ".dockerconfigjson" "entry" $pull) | fromJson }}
{{- $objects = append $objects (dict "name" (printf "%s-pull-%d" $name $i) "data" (list $entry) "template" (dict "type" "kubernetes.io/dockerconfigjson")) }}
{{- end }}
{{- range $i, $made := $objects }}
{{- include "hardened.internal.externalSecretObject" (dict "c" $owner "e" $e "made" $made) }}
{{- end }}
{{- end }}
{{- end }}
{{- /* The certificate is that of the workload whose Ingress it is for. */}}
{{- if and $e.tls $c.spec.ingress.enabled }}
{{- $data := list }}
{{- range $key, $property := dict "tls.crt" ($e.tls.certificate | default "tls.crt") "tls.key" ($e.tls.privateKey | default "tls.key") }}
{{- $data = append $data (include "hardened.internal.storeEntry" (dict "name" $key "entry" (dict "key" $e.tls.key "property" $property)) | fromJson) }}
{{- end }}
{{- $secret := $c.spec.ingress.tls.secretName | default (printf "%s-tls" (include "hardened.fullname" $c)) }}
{{- include "hardened.internal.externalSecretObject" (dict "c" $c "e" $e "made" (dict "name" $secret "data" $data "template" (dict "type" "kubernetes.io/tls"))) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* dict c (context), e (spec.externalSecret), made (name, data, dataFrom, template). */}}
{{- define "hardened.internal.externalSecretObject" }}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
{{ include "hardened.internal.metadata" (merge (dict "name" .made.name) .c) }}
spec:
  refreshInterval: {{ .e.refreshInterval }}
  secretStoreRef:
    kind: {{ .e.store.kind | default "SecretStore" }}
    name: {{ .e.store.name | toYaml }}
  target:
    name: {{ .made.name | toYaml }}
    creationPolicy: Owner
    deletionPolicy: Retain
    {{- with .made.template }}
    template:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- with .made.data }}
  data:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .made.dataFrom }}
  dataFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* An entry of a store as an ExternalSecret names it: dict name, entry (key, property). */}}
{{- define "hardened.internal.storeEntry" -}}
{{- $remote := dict "key" .entry.key }}
{{- with .entry.property }}
{{- $_ := set $remote "property" . }}
{{- end }}
{{- dict "secretKey" .name "remoteRef" $remote | toJson }}
{{- end }}

{{- /* Names of the Secrets that images are pulled with. */}}
{{- define "hardened.internal.pullSecrets" -}}
{{- $names := .spec.image.pullSecrets | default list }}
{{- if .spec.externalSecret.enabled }}
{{- $secret := include "hardened.internal.objectName" (merge (dict "of" "externalSecret") .) }}
{{- range $i, $_ := .spec.externalSecret.pull }}
{{- $names = append $names (printf "%s-pull-%d" $secret $i) }}
{{- end }}
{{- end }}
{{- range $names }}
- name: {{ . | toYaml }}
{{- end }}
{{- end }}

{{- /* Whether it is enabled has no default: who lists secrets and forgets it is told, and who turns
       them off for one place says false. */}}
{{- define "hardened.internal.checkSecrets" -}}
{{- $s := .spec }}
{{- with $s.externalSecret }}
{{- if and (kindIs "invalid" .enabled) (or .env .data .files .dataFrom .pull .tls) }}
{{- include "hardened.internal.refuse" (list $ "externalSecret lists what to take from the store, and enabled is not set: no Secret and no variable would be made of it. Set externalSecret.enabled to true; false leaves it out on purpose") }}
{{- end }}
{{- if .enabled }}
{{- if not (and (.store).name (or .env .files .dataFrom .pull .tls)) }}
{{- include "hardened.internal.refuse" (list $ "externalSecret: store.name and one of env, files, dataFrom, pull and tls are required: which SecretStore, and what from it") }}
{{- end }}
{{- $keys := dict }}
{{- range $list := list "env" "data" "files" "pull" "dataFrom" }}
{{- range $entry := get $s.externalSecret $list }}
{{- $name := $entry.name | default $entry.path | default $entry.key }}
{{- if hasKey $entry "value" }}
{{- include "hardened.internal.refuse" (list $ (printf "externalSecret.%s %s: value %s" $list $name "does not belong in values. Give the key in the store instead")) }}
{{- end }}
{{- if and (not $entry.key) (not $entry.template) }}
{{- include "hardened.internal.refuse" (list $ (printf "externalSecret.%s %s: key is missing: which entry of the store" $list $name)) }}
{{- end }}
{{- if has $list (list "env" "data" "files") }}
{{- if not (or $entry.name $entry.path) }}
{{- include "hardened.internal.refuse" (list $ (printf "externalSecret.%s: an entry has no %s" $list (eq $list "files" | ternary "path" "name"))) }}
{{- end }}
{{- $key := eq $list "files" | ternary (include "hardened.internal.fileKey" ($entry.path | default "")) $entry.name }}
{{- if hasKey $keys $key }}
{{- include "hardened.internal.refuse" (list $ (printf "externalSecret.%s %s: %s has that key of the Secret already. Rename one" $list $name (get $keys $key))) }}
{{- end }}
{{- $_ := set $keys $key (printf "%s %s" $list $name) }}
{{- end }}
{{- if and (eq $list "files") (hasKey $entry "template") (or $entry.key $entry.property) }}
{{- include "hardened.internal.refuse" (list $ (printf "externalSecret.files %s: either a key in the store or a template. What the template reads is named in externalSecret.data or env" $name)) }}
{{- end }}
{{- if and (eq $list "files") (not (and (hasPrefix "/" $entry.path) (ne (dir $entry.path) "/"))) }}
{{- include "hardened.internal.refuse" (list $ (printf "externalSecret.files %s: a full path in a directory of its own is expected, such as /etc/app/secrets/key.pem" $name)) }}
{{- end }}
{{- if and (eq $list "dataFrom") (not (or $entry.path $entry.env)) }}
{{- include "hardened.internal.refuse" (list $ (printf "externalSecret.dataFrom %s: path or env is required: a directory for all of it, or variables by name" $name)) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .data (not .files) }}
{{- include "hardened.internal.refuse" (list $ "externalSecret.data is read by templates of externalSecret.files only, and there are none") }}
{{- end }}
{{- with .tls }}
{{- if not .key }}
{{- include "hardened.internal.refuse" (list $ "externalSecret.tls.key is missing: which entry of the store has the certificate") }}
{{- end }}
{{- if ($s.ingress.tls).clusterIssuer }}
{{- include "hardened.internal.refuse" (list $ "externalSecret.tls and ingress.tls.clusterIssuer would both make the certificate. Leave one out") }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
