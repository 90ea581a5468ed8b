package chart

import (
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/internal/manifest"
)

// benchChart is a chart of n Deployments with Services, in n files, with the
// helpers that charts have.
func benchChart(tb testing.TB, n int) string {
	files := map[string]string{
		"values.yaml": "replicas: 2\nimage: {repository: registry.example.com/app, tag: 1.2.3}\nlabels: {team: payments, tier: backend}\nresources: {limits: {cpu: 500m, memory: 256Mi}, requests: {cpu: 100m, memory: 128Mi}}\nextra: \"{{ .Release.Name }}-x\"\n",
		"templates/_helpers.tpl": `{{- define "demo.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name | quote }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{ toYaml .Values.labels }}
{{- end }}`,
		"templates/tls.yaml": `{{- $ca := genCA "demo-ca" 365 }}{{- $cert := genSignedCert "demo" nil (list "demo.svc") 365 $ca }}
apiVersion: v1
kind: Secret
metadata:
  name: tls
data:
  tls.crt: {{ $cert.Cert | b64enc }}
  tls.key: {{ $cert.Key | b64enc }}
`,
	}
	for i := range n {
		files[fmt.Sprintf("templates/app%04d.yaml", i)] = strings.ReplaceAll(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-N
  labels:
    {{- include "demo.labels" . | nindent 4 }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels:
      app: N
  template:
    metadata:
      labels:
        app: N
        {{- include "demo.labels" . | nindent 8 }}
      annotations:
        note: {{ tpl .Values.extra . }}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: app
        image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
        args: ["--listen", ":8080", '--mode=fast']
        env:
        - name: POD
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        ports:
        - containerPort: 8080
        resources:
          {{- toYaml .Values.resources | nindent 10 }}
        livenessProbe:
          httpGet: {path: /live, port: 8080}
          periodSeconds: 10
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .Release.Name }}-N
spec:
  selector:
    app: N
  ports:
  - port: 80
    targetPort: 8080
`, "N", fmt.Sprintf("n%04d", i))
	}
	return demoChart(tb, files)
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1, 10, 40, 160} {
		b.Run(fmt.Sprintf("deployments=%d", n), func(b *testing.B) {
			dir := benchChart(b, n)
			b.ReportAllocs()
			for b.Loop() {
				rel, err := Load(b.Context(), dir, LoadOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if err := rel.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{10, 160} {
		b.Run(fmt.Sprintf("deployments=%d", n), func(b *testing.B) {
			raw := mustLoad(b, benchChart(b, n), LoadOptions{}).Manifests
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := manifest.Parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
