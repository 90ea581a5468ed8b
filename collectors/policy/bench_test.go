package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors"
)

// goodDeployment passes every policy.
const goodDeployment = `---
# Source: templates/deployment.yaml:1
apiVersion: apps/v1
kind: Deployment
metadata: {name: api-%d, labels: {app: api}}
spec:
  replicas: 3
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: {type: RuntimeDefault}}
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: api}}}
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: api}}}
      initContainers:
        - name: migrate
          image: &image registry.example.com/shop/api:1.2.3@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
          resources: &resources {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 200m, memory: 128Mi}}
          securityContext: &sc {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      containers:
        - name: api
          image: *image
          resources: *resources
          securityContext: *sc
          readinessProbe: {httpGet: {path: /ready, port: 8080}}
          livenessProbe: {httpGet: {path: /live, port: 8080}}
          startupProbe: {httpGet: {path: /live, port: 8080}, failureThreshold: 30}
`

func deployments(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, goodDeployment, i)
	}
	return b.String()
}

func BenchmarkFindings(b *testing.B) {
	raw := builtin(b)
	for _, c := range []struct{ name, manifests string }{
		{"good", deployments(12)},
		{"weak", strings.Repeat(weakDeployment, 12)},
		{"services", strings.Repeat("---\napiVersion: v1\nkind: Service\nmetadata: {name: x}\n", 12)},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := seal(b, raw, c.manifests)
			n := 0
			for b.Loop() {
				out, err := collectors.Findings(in, collector{})
				if err != nil {
					b.Fatal(err)
				}
				n = len(out)
			}
			b.ReportMetric(float64(n), "findings")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/12/18, "µs/policy/object")
		})
	}
}

// BenchmarkCompile is what a process pays once for the policies that a chart needs.
func BenchmarkCompile(b *testing.B) {
	raw := builtin(b)
	in := seal(b, raw, deployments(1))
	if _, err := in.Objects(); err != nil {
		b.Fatal(err)
	}
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			if _, err := parseSet(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		for b.Loop() {
			set, err := parseSet(raw)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range set.policies {
				if _, err := r.compile(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
