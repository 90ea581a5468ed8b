{{- /* Volumes and where containers have them. They are listed once, and volumes, mounts and what is
       refused are read from that list. */}}

{{- /* Name of the volume of a writable directory: its own name (containers that give the same one
       share it), or container and position. */}}
{{- define "hardened.internal.directory" -}}
{{- .dir.name | default (printf "%s-writable-%d" (.container | trunc 40 | trimSuffix "-") .index) }}
{{- end }}

{{- /* A JSON list of mounts, each: name and source of its volume (no source if the workload's
       template of claims makes it), mount (as in Kubernetes), containers (the main one is "main").
       dict root, spec, main. */}}
{{- define "hardened.internal.mounts" -}}
{{- $s := .spec }}
{{- $out := list }}
{{- range $c := concat (list .main) ($s.sidecars | default list) ($s.initContainers | default list) }}
{{- range $i, $dir := $c.writableDirectories }}
{{- $empty := dict "sizeLimit" $dir.sizeLimit }}
{{- with $dir.medium }}
{{- $_ := set $empty "medium" . }}
{{- end }}
{{- $out = append $out (dict "name" (include "hardened.internal.directory" (dict "dir" $dir "container" $c.name "index" $i)) "source" (dict "emptyDir" $empty) "mount" (dict "mountPath" $dir.path) "containers" (list (eq $c.name $.main.name | ternary "main" $c.name))) }}
{{- end }}
{{- end }}
{{- range $claim := $s.volumeClaims }}
{{- $source := dict }}
{{- if or $claim.existingClaim (ne $s.kind "StatefulSet") }}
{{- $source = dict "persistentVolumeClaim" (dict "claimName" (include "hardened.internal.claimName" (merge (dict "claim" $claim) $))) }}
{{- end }}
{{- $mount := dict "mountPath" $claim.path }}
{{- with $claim.subPath }}
{{- $_ := set $mount "subPath" . }}
{{- end }}
{{- if $claim.readOnly }}
{{- $_ := set $mount "readOnly" true }}
{{- end }}
{{- $out = append $out (dict "name" $claim.name "source" $source "mount" $mount "containers" ($claim.containers | default (list "main"))) }}
{{- end }}
{{- /* Tokens of one directory are one volume: a second mount would hide the first. */}}
{{- $tokens := dict }}
{{- $order := list }}
{{- range $token := ($s.serviceAccount).tokens }}
{{- $dir := dir $token.path }}
{{- $source := dict "serviceAccountToken" (dict "audience" $token.audience "expirationSeconds" ($token.expirationSeconds | default 3600 | int) "path" (base $token.path)) }}
{{- if not (hasKey $tokens $dir) }}
{{- $order = append $order $dir }}
{{- end }}
{{- range get $tokens $dir | default list }}
{{- if eq .serviceAccountToken.path (base $token.path) }}
{{- include "hardened.internal.refuse" (list $ (printf "serviceAccount.tokens: two of them are %s. Give each a path of its own" $token.path)) }}
{{- end }}
{{- end }}
{{- $_ := set $tokens $dir (append (get $tokens $dir | default list) $source) }}
{{- end }}
{{- range $i, $dir := $order }}
{{- $out = append $out (dict "name" (printf "token-%d" $i) "source" (dict "projected" (dict "sources" (get $tokens $dir))) "mount" (dict "mountPath" $dir "readOnly" true) "containers" (list "main")) }}
{{- end }}
{{- if include "hardened.internal.apiToken" . }}
{{- $sources := list (dict "serviceAccountToken" (dict "expirationSeconds" 3600 "path" "token")) }}
{{- $sources = append $sources (dict "configMap" (dict "name" "kube-root-ca.crt" "items" (list (dict "key" "ca.crt" "path" "ca.crt")))) }}
{{- $sources = append $sources (dict "downwardAPI" (dict "items" (list (dict "path" "namespace" "fieldRef" (dict "fieldPath" "metadata.namespace"))))) }}
{{- $out = append $out (dict "name" "api-token" "source" (dict "projected" (dict "sources" $sources)) "mount" (dict "mountPath" "/var/run/secrets/kubernetes.io/serviceaccount" "readOnly" true) "containers" (list "main")) }}
{{- end }}
{{- with $s.config.files }}
{{- $map := printf "%s-files" (include "hardened.internal.objectName" (merge (dict "of" "config") $)) }}
{{- range $path, $file := . }}
{{- $containers := $s.config.containers }}
{{- if kindIs "map" $file }}
{{- $containers = $file.containers | default $containers }}
{{- end }}
{{- $out = append $out (dict "name" "config-files" "source" (dict "configMap" (dict "name" $map)) "mount" (dict "mountPath" $path "subPath" (include "hardened.internal.fileKey" $path) "readOnly" true) "containers" ($containers | default (list "main"))) }}
{{- end }}
{{- end }}
{{- if $s.externalSecret.enabled }}
{{- $secret := include "hardened.internal.objectName" (merge (dict "of" "externalSecret") $) }}
{{- /* Secrets of one directory are one volume, so that a rotation reaches them: a file that is
       mounted by itself never changes. */}}
{{- $dirs := dict }}
{{- range $file := $s.externalSecret.files }}
{{- $dir := dir $file.path }}
{{- $of := get $dirs $dir | default (dict "items" list "containers" ($file.containers | default (list "main"))) }}
{{- if ne (toJson $of.containers) ($file.containers | default (list "main") | toJson) }}
{{- include "hardened.internal.refuse" (list $ (printf "externalSecret.files %s: other files of %s are for other containers. Give them directories of their own" $file.path $dir)) }}
{{- end }}
{{- $_ := set $of "items" (append $of.items (dict "key" (include "hardened.internal.fileKey" $file.path) "path" (base $file.path))) }}
{{- $_ := set $dirs $dir $of }}
{{- end }}
{{- range $i, $dir := keys $dirs | sortAlpha }}
{{- $of := get $dirs $dir }}
{{- $out = append $out (dict "name" (printf "secret-files-%d" $i) "source" (dict "secret" (dict "secretName" $secret "items" $of.items "defaultMode" 288)) "mount" (dict "mountPath" $dir "readOnly" true) "containers" $of.containers) }}
{{- end }}
{{- range $i, $all := $s.externalSecret.dataFrom }}
{{- if $all.path }}
{{- $out = append $out (dict "name" (printf "secret-all-%d" $i) "source" (dict "secret" (dict "secretName" (printf "%s-all-%d" $secret $i) "defaultMode" 288)) "mount" (dict "mountPath" $all.path "readOnly" true) "containers" ($all.containers | default (list "main"))) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $i, $m := $s.mounts }}
{{- $source := dict }}
{{- if $m.configMap }}
{{- $source = dict "configMap" (dict "name" $m.configMap) }}
{{- else if $m.secret }}
{{- $source = dict "secret" (dict "secretName" $m.secret "defaultMode" 288) }}
{{- else }}
{{- $source = dict "csi" (dict "driver" "secrets-store.csi.k8s.io" "readOnly" true "volumeAttributes" (dict "secretProviderClass" $m.secretProviderClass)) }}
{{- end }}
{{- $mount := dict "mountPath" $m.path "readOnly" true }}
{{- with $m.key }}
{{- $_ := set $mount "subPath" . }}
{{- end }}
{{- $out = append $out (dict "name" (printf "mount-%d" $i) "source" $source "mount" $mount "containers" ($m.containers | default (list "main"))) }}
{{- end }}
{{- /* What is mounted below a path of the node is read-only too, where the node can do that. */}}
{{- range $i, $path := (($s.nodeAgent).hostPaths) }}
{{- $out = append $out (dict "name" (printf "host-%d" $i) "source" (dict "hostPath" (dict "path" $path.path "type" ($path.type | default ""))) "mount" (dict "mountPath" ($path.mountPath | default $path.path) "readOnly" true "recursiveReadOnly" "IfPossible") "containers" (list "main")) }}
{{- end }}
{{- include "hardened.internal.checkMounts" (merge (dict "mounts" $out) .) }}
{{- toJson $out }}
{{- end }}

{{- /* A pod's volumes: dict mounts. */}}
{{- define "hardened.internal.volumes" -}}
{{- $seen := dict }}
{{- range .mounts }}
{{- if and .source (not (hasKey $seen .name)) }}
{{- $_ := set $seen .name true }}
- {{ merge (dict "name" .name) .source | toYaml | nindent 2 | trim }}
{{- print "\n" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A container's mounts: dict mounts, container, role. */}}
{{- define "hardened.internal.volumeMounts" -}}
{{- $for := eq .role "main" | ternary "main" .container.name }}
{{- $own := list }}
{{- range .mounts }}
{{- if has $for .containers }}
{{- $own = append $own (merge (dict "name" .name) .mount) }}
{{- end }}
{{- end }}
{{- with $own }}
volumeMounts:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What the API server would refuse, or what would hide something in silence: dict root, spec,
       main, mounts. */}}
{{- define "hardened.internal.checkMounts" -}}
{{- $s := .spec }}
{{- $containers := list "main" }}
{{- range concat ($s.sidecars | default list) ($s.initContainers | default list) }}
{{- $containers = append $containers .name }}
{{- end }}
{{- $known := concat $containers (($s.shares).containers | default list) }}
{{- $paths := dict }}
{{- $sources := dict }}
{{- $disk := 0.0 }}
{{- range $m := .mounts }}
{{- $path := clean $m.mount.mountPath }}
{{- if or (eq $path "/") (not (isAbs $path)) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s cannot be mounted: a full path below / is expected" $path)) }}
{{- end }}
{{- range $container := $m.containers }}
{{- if not (has $container $known) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s: there is no container %s. main is the main one; others are initContainers and sidecars" $path $container)) }}
{{- end }}
{{- $at := printf "%s %s" $container $path }}
{{- if hasKey $paths $at }}
{{- include "hardened.internal.refuse" (list $ (printf "container %s has two mounts at %s (volumes %s and %s): one would hide the other, and the API server refuses it. Leave one out, or move it" $container $path (get $paths $at) $m.name)) }}
{{- end }}
{{- $_ := set $paths $at $m.name }}
{{- end }}
{{- /* Directories of one name are shared, whatever their limits; anything else has one source. */}}
{{- $source := hasKey $m.source "emptyDir" | ternary "a writable directory" (toJson $m.source) }}
{{- if ne (get $sources $m.name | default $source) $source }}
{{- include "hardened.internal.refuse" (list $ (printf "volume %s stands for two things: rename the writable directory or the claim of that name" $m.name)) }}
{{- end }}
{{- if and (hasKey ($m.source | default dict) "emptyDir") (not (hasKey $sources $m.name)) (ne ($m.source.emptyDir.medium | default "") "Memory") }}
{{- $disk = addf $disk (include "hardened.internal.bytes" $m.source.emptyDir.sizeLimit | float64) }}
{{- end }}
{{- $_ := set $sources $m.name $source }}
{{- end }}
{{- /* The kubelet counts the directories of a pod together, against the limits of its containers. */}}
{{- $limit := 0.0 }}
{{- range concat (list .main) ($s.sidecars | default list) }}
{{- with get ((.resources).limits | default dict) "ephemeral-storage" }}
{{- $limit = addf $limit (include "hardened.internal.bytes" . | float64) }}
{{- end }}
{{- end }}
{{- if and (gt $limit 0.0) (gt $disk $limit) }}
{{- include "hardened.internal.refuse" (list $ (printf "writableDirectories may hold %.0fMi together, and resources.limits.ephemeral-storage is %.0fMi: the kubelet would evict the pod before they are full. Set the limit to %.0[1]fMi and what logs take, or lower their sizeLimit" (ceil (divf $disk 1048576.0)) (floor (divf $limit 1048576.0)))) }}
{{- end }}
{{- /* Names of containers stand in other lists too. */}}
{{- $lists := dict "envFrom" $s.envFrom "config" (list $s.config) "externalSecret.env" ($s.externalSecret).env "externalSecret.dataFrom" ($s.externalSecret).dataFrom }}
{{- range $list, $entries := $lists }}
{{- range $entry := $entries }}
{{- range $container := $entry.containers }}
{{- if not (has $container $known) }}
{{- include "hardened.internal.refuse" (list $ (printf "%s: there is no container %s. main is the main one; others are initContainers and sidecars" $list $container)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $i, $m := $s.mounts }}
{{- $sources := pick $m "configMap" "secret" "secretProviderClass" }}
{{- if ne (len $sources) 1 }}
{{- include "hardened.internal.refuse" (list $ (printf "mounts[%d]: one of configMap, secret and secretProviderClass is expected" $i)) }}
{{- end }}
{{- end }}
{{- end }}
