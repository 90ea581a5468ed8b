{{- define "argo.pod" -}}
{{- $name := printf "%s-%s" .root.Release.Name .component -}}
replicas: {{ .values.replicas | default 1 }}
selector:
  matchLabels: {app: {{ $name }}}
{{- if .service }}
serviceName: {{ $name }}
{{- end }}
template:
  metadata:
    labels: {app: {{ $name }}}
  spec:
    automountServiceAccountToken: {{ .token | default false }}
    serviceAccountName: {{ .root.Release.Name }}-server
    containers:
      - name: {{ .component }}
        image: {{ .image }}
        args: [{{ .component }}]
        ports: [{name: http, containerPort: 8080}]
        resources: {{ toJson .values.resources }}
        securityContext: {{ toJson .root.Values.global.securityContext }}
        readinessProbe: {httpGet: {path: /healthz, port: http}}
{{- end }}
