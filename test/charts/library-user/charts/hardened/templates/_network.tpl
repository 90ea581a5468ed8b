{{- /* A ClusterIP Service; for a StatefulSet also the headless one that names its pods. */}}
{{- define "hardened.service" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- $s := $c.spec.service }}
{{- if and $s.enabled $c.spec.port (include "hardened.internal.longRunning" $c) -}}
apiVersion: v1
kind: Service
{{ include "hardened.internal.metadata" (merge (dict "annotations" $s.annotations) $c) }}
spec:
  type: ClusterIP
  selector:
    {{- include "hardened.selectorLabels" $c | nindent 4 }}
  ports:
    - name: http
      port: {{ int $s.port }}
      targetPort: http
      protocol: TCP
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
  {{- if $c.spec.port }}
  ports:
    - name: http
      port: {{ int $c.spec.port }}
      targetPort: http
      protocol: TCP
  {{- end }}
{{- end }}
{{- end }}

{{- define "hardened.serviceaccount" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) -}}
apiVersion: v1
kind: ServiceAccount
{{ include "hardened.internal.metadata" (merge (dict "annotations" ($c.spec.serviceAccount).annotations) $c) }}
automountServiceAccountToken: false
{{- end }}

{{- /* Nobody else connects to the pods, and they connect to nothing else. */}}
{{- define "hardened.networkpolicy" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkNetwork" $c }}
{{- $n := $c.spec.networkPolicy }}
{{- $port := empty (include "hardened.internal.longRunning" $c) | ternary 0 $c.spec.port }}
{{- $from := $n.ingress.from }}
{{- if $n.ingress.sameNamespace }}
{{- $from = prepend $from (dict "podSelector" dict) }}
{{- end }}
{{- $scrape := and $c.spec.metrics.enabled $c.spec.metrics.from -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
{{ include "hardened.internal.metadata" $c }}
spec:
  podSelector:
    matchLabels:
      {{- include "hardened.selectorLabels" $c | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- /* A rule without peers would admit everyone; no rule at all admits nobody. */}}
  {{- if and $port (or $from $scrape) }}
  ingress:
    {{- if $from }}
    - from:
        {{- toYaml $from | nindent 8 }}
      ports:
        - port: {{ int $port }}
          protocol: TCP
    {{- end }}
    {{- if $scrape }}
    - from:
        {{- toYaml $c.spec.metrics.from | nindent 8 }}
      ports:
        - port: {{ $c.spec.metrics.port | default $port | int }}
          protocol: TCP
    {{- end }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    - to:
        {{- toYaml $n.egress.dns | nindent 8 }}
      ports:
        - port: {{ int $n.egress.dnsPort }}
          protocol: UDP
        - port: {{ int $n.egress.dnsPort }}
          protocol: TCP
    {{- range $n.egress.to }}
    - to:
        {{- toYaml .peers | nindent 8 }}
      ports:
        {{- toYaml .ports | nindent 8 }}
    {{- end }}
{{- end }}

{{- /* Always with TLS: the Secret is cert-manager's (clusterIssuer), or one that is there. */}}
{{- define "hardened.ingress" -}}
{{- $c := dict "root" .root "spec" (include "hardened.internal.spec" . | fromJson) }}
{{- include "hardened.internal.checkReach" $c }}
{{- $i := $c.spec.ingress }}
{{- $name := include "hardened.fullname" $c }}
{{- if $i.enabled -}}
{{- $annotations := $i.annotations | default dict }}
{{- with $i.tls.clusterIssuer }}
{{- $annotations = merge (dict "cert-manager.io/cluster-issuer" .) $annotations }}
{{- end -}}
apiVersion: networking.k8s.io/v1
kind: Ingress
{{ include "hardened.internal.metadata" (merge (dict "annotations" $annotations) $c) }}
spec:
  {{- with $i.className }}
  ingressClassName: {{ . }}
  {{- end }}
  tls:
    - hosts:
        - {{ $i.host | quote }}
      secretName: {{ $i.tls.secretName | default (printf "%s-tls" $name) }}
  rules:
    - host: {{ $i.host | quote }}
      http:
        paths:
          - path: {{ $i.path }}
            pathType: Prefix
            backend:
              service:
                name: {{ $name }}
                port:
                  name: http
{{- end }}
{{- end }}

{{- /* A route of the Gateway API. TLS is the Gateway's. */}}
{{- define "hardened.httproute" -}}
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
    - matches:
        - path:
            type: PathPrefix
            value: {{ $r.path }}
      backendRefs:
        - name: {{ include "hardened.fullname" $c }}
          port: {{ int $c.spec.service.port }}
{{- end }}
{{- end }}
