{{- /* Who is let in, and to which port: what is switched on elsewhere in the spec is open here, and
       nothing else is. */}}

{{- /* Pods of well-known ingress controllers, by the name of their class. */}}
{{- define "hardened.internal.controllers" -}}
nginx:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}
    podSelector: {matchLabels: {app.kubernetes.io/name: ingress-nginx}}
traefik:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: traefik}}
    podSelector: {matchLabels: {app.kubernetes.io/name: traefik}}
haproxy:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: haproxy-controller}}
    podSelector: {matchLabels: {app.kubernetes.io/name: kubernetes-ingress}}
openshift-default:
  - namespaceSelector: {matchLabels: {policy-group.network.openshift.io/ingress: ""}}
{{- end }}

{{- /* Addresses and ports of well-known destinations outside of the cluster's pods. Those without
       addresses have other ones in each cluster, and need cidrs. */}}
{{- define "hardened.internal.destinations" -}}
apiServer: {ports: [443, 6443]}
gcpMetadata: {cidrs: [169.254.169.254/32, 169.254.169.252/32], ports: [80, 987, 988]}
awsPodIdentity: {cidrs: [169.254.170.23/32], ports: [80]}
azureMetadata: {cidrs: [169.254.169.254/32], ports: [80]}
sts: {ports: [443]}
cidr: {}
{{- end }}

{{- /* Hosts of the Ingress as a JSON list of host, paths and secretName: ingress.host, then ingress.hosts. */}}
{{- define "hardened.internal.hosts" -}}
{{- $i := .spec.ingress }}
{{- $secret := $i.tls.secretName | default (printf "%s-tls" (include "hardened.fullname" .)) }}
{{- $hosts := list }}
{{- with $i.host }}
{{- $hosts = append $hosts (dict "host" . "paths" (list (dict "path" $i.path)) "secretName" $secret) }}
{{- end }}
{{- range $i.hosts }}
{{- $hosts = append $hosts (dict "host" .host "paths" (.paths | default (list (dict "path" "/"))) "secretName" (.secretName | default $secret)) }}
{{- end }}
{{- toJson $hosts }}
{{- end }}

{{- /* Paths of the HTTPRoute as a JSON list of path and port. */}}
{{- define "hardened.internal.routes" -}}
{{- .spec.httpRoute.rules | default (list (dict "path" .spec.httpRoute.path)) | toJson }}
{{- end }}

{{- /* The ingress rules, as a JSON list of from and ports (numbers). */}}
{{- define "hardened.internal.admitted" -}}
{{- $s := .spec }}
{{- $n := $s.networkPolicy.ingress }}
{{- $ports := include "hardened.internal.ports" . | fromJsonArray }}
{{- $rules := list }}
{{- if $ports }}
{{- $all := list }}
{{- $served := list }}
{{- range $ports }}
{{- if not .from }}{{ $all = append $all (int .port) }}{{ end }}
{{- if .servicePort }}{{ $served = append $served (int .port) }}{{ end }}
{{- end }}
{{- $from := $n.from }}
{{- if $n.sameNamespace }}
{{- $from = prepend $from (dict "podSelector" dict) }}
{{- end }}
{{- $scraped := $s.metrics.port | default $s.port | int }}
{{- if and $s.metrics.enabled (not $s.metrics.from) }}
{{- $all = append $all $scraped | uniq }}
{{- end }}
{{- if $from }}
{{- $rules = append $rules (dict "from" $from "ports" $all) }}
{{- end }}
{{- range $port := $ports }}
{{- with .from }}{{ $rules = append $rules (dict "from" . "ports" (list (int $port.port))) }}{{ end }}
{{- end }}
{{- if $s.ingress.enabled }}
{{- with $s.ingress.from | default (get (include "hardened.internal.controllers" $ | fromYaml) ($s.ingress.className | default "")) }}
{{- $ports := list }}
{{- range include "hardened.internal.hosts" $ | fromJsonArray }}
{{- range .paths }}
{{- $ports = append $ports (int (include "hardened.internal.port" (merge (dict "name" .port "at" "ingress") $) | fromJson).port) }}
{{- end }}
{{- end }}
{{- $rules = append $rules (dict "from" . "ports" (uniq $ports)) }}
{{- end }}
{{- end }}
{{- if $s.httpRoute.enabled }}
{{- $peers := $s.httpRoute.from }}
{{- if not $peers }}
{{- range $s.httpRoute.parentRefs }}
{{- $peers = append $peers (dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" (.namespace | default $.root.Release.Namespace))) "podSelector" (dict "matchLabels" (dict "gateway.networking.k8s.io/gateway-name" .name))) }}
{{- end }}
{{- end }}
{{- $ports := list }}
{{- range include "hardened.internal.routes" $ | fromJsonArray }}
{{- $ports = append $ports (int (include "hardened.internal.port" (merge (dict "name" .port "at" "httpRoute") $) | fromJson).port) }}
{{- end }}
{{- $rules = append $rules (dict "from" $peers "ports" (uniq $ports)) }}
{{- end }}
{{- if and $s.metrics.enabled $s.metrics.from }}
{{- $rules = append $rules (dict "from" $s.metrics.from "ports" (list $scraped)) }}
{{- end }}
{{- if and $s.service.enabled (ne $s.service.type "ClusterIP") }}
{{- $blocks := list }}
{{- range $s.service.sourceRanges }}{{ $blocks = append $blocks (dict "ipBlock" (dict "cidr" .)) }}{{ end }}
{{- $rules = append $rules (dict "from" $blocks "ports" $served) }}
{{- end }}
{{- end }}
{{- toJson $rules }}
{{- end }}

{{- /* Nobody else connects to the pods, and they connect to nothing else. */}}
{{- define "hardened.networkpolicy" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkNetwork" $c }}
{{- $e := $c.spec.networkPolicy.egress -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "hardened.internal.metadata" $c }}
spec:
  podSelector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- /* A rule without peers would admit everyone; no rule at all admits nobody. */}}
  {{- with include "hardened.internal.admitted" $c | fromJsonArray }}
  ingress:
    {{- range . }}
    - from:
        {{- toYaml .from | nindent 8 }}
      ports:
        {{- range .ports }}
        - port: {{ int . }}
          protocol: TCP
        {{- end }}
    {{- end }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    - to:
        {{- toYaml $e.dns | nindent 8 }}
      ports:
        - port: {{ int $e.dnsPort }}
          protocol: UDP
        - port: {{ int $e.dnsPort }}
          protocol: TCP
    {{- range $e.to }}
    - to:
        {{- toYaml .peers | nindent 8 }}
      ports:
        {{- toYaml .ports | nindent 8 }}
    {{- end }}
    {{- $allow := $e.allow }}
    {{- if (($c.spec.serviceAccount).workloadIdentity).gcp }}
    {{- $allow = append $allow (dict "name" "gcpMetadata") }}
    {{- end }}
    {{- $known := dict }}
    {{- if $allow }}
    {{- $known = include "hardened.internal.destinations" $c | fromYaml }}
    {{- end }}
    {{- range $allow }}
    {{- $recipe := get $known .name }}
    - to:
        {{- range .cidrs | default $recipe.cidrs }}
        - ipBlock:
            cidr: {{ . | toYaml }}
        {{- end }}
      ports:
        {{- range .ports | default $recipe.ports }}
        - port: {{ int . }}
          protocol: TCP
        {{- end }}
    {{- end }}
{{- end }}

{{- /* Always with TLS: the Secret is cert-manager's (clusterIssuer), or one that is there. */}}
{{- define "hardened.ingress" -}}
{{- if include "hardened.internal.asked" (dict "of" .spec "part" "ingress") }}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkReach" $c }}
{{- $i := $c.spec.ingress }}
{{- if $i.enabled -}}
{{- $hosts := include "hardened.internal.hosts" $c | fromJsonArray }}
{{- $annotations := $i.annotations | default dict }}
{{- with $i.tls.clusterIssuer }}
{{- $annotations = merge (dict "cert-manager.io/cluster-issuer" .) $annotations }}
{{- end }}
{{- $secrets := dict }}
{{- range $hosts }}
{{- $_ := set $secrets .secretName (append (get $secrets .secretName | default list) .host) }}
{{- end -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
{{ include "hardened.internal.metadata" (merge (dict "annotations" $annotations) $c) }}
spec:
  {{- with $i.className }}
  ingressClassName: {{ . | toYaml }}
  {{- end }}
  tls:
    {{- range $secret, $names := $secrets }}
    - hosts:
        {{- range $names }}
        - {{ . | quote }}
        {{- end }}
      secretName: {{ $secret | toYaml }}
    {{- end }}
  rules:
    {{- range $hosts }}
    - host: {{ .host | quote }}
      http:
        paths:
          {{- range .paths }}
          - path: {{ .path | default "/" | toYaml }}
            pathType: {{ .pathType | default "Prefix" }}
            backend:
              service:
                name: {{ include "hardened.fullname" $c | toYaml }}
                port:
                  name: {{ (include "hardened.internal.port" (merge (dict "name" .port "at" "ingress.hosts") $c) | fromJson).name | toYaml }}
          {{- end }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A route of the Gateway API. TLS is the Gateway's. */}}
{{- define "hardened.httproute" -}}
{{- if include "hardened.internal.asked" (dict "of" .spec "part" "httpRoute") }}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkReach" $c }}
{{- $r := $c.spec.httpRoute }}
{{- if $r.enabled -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
{{ include "hardened.internal.metadata" $c }}
spec:
  parentRefs:
    {{- toYaml $r.parentRefs | nindent 4 }}
  hostnames:
    {{- toYaml $r.hostnames | nindent 4 }}
  rules:
    {{- range include "hardened.internal.routes" $c | fromJsonArray }}
    - matches:
        - path:
            type: PathPrefix
            value: {{ .path | default "/" | toYaml }}
      backendRefs:
        - name: {{ include "hardened.fullname" $c | toYaml }}
          port: {{ int (include "hardened.internal.port" (merge (dict "name" .port "at" "httpRoute.rules") $c) | fromJson).servicePort }}
    {{- end }}
{{- end }}
{{- end }}
{{- end }}
