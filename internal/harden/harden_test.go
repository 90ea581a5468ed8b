package harden

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// deployment wraps the pod spec's lines, indented by six spaces, and what else
// stands in spec.
func deployment(replicas, pod string) string {
	return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: ` + replicas + `
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
` + pod
}

const plainPod = `      containers:
        - name: app
          image: nginx # keep
`

// run hardens and holds what always holds: a second run changes nothing, and
// no changes mean the same bytes.
func run(t *testing.T, in string, o Options) *Result {
	t.Helper()
	res, err := Harden([]byte(in), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Changes) == 0 && string(res.Manifests) != in {
		t.Errorf("no changes listed, but other bytes:\n%s", cmp.Diff(in, string(res.Manifests)))
	}
	again, err := Harden(res.Manifests, o)
	if err != nil {
		t.Fatalf("second run: %v\n%s", err, res.Manifests)
	}
	if !bytes.Equal(again.Manifests, res.Manifests) {
		t.Errorf("a second run changes:\n%s", cmp.Diff(string(res.Manifests), string(again.Manifests)))
	}
	if len(again.Changes) > 0 {
		t.Errorf("a second run lists changes: %+v", again.Changes)
	}
	return res
}

func TestWhole(t *testing.T) {
	t.Parallel()
	in := "---\n# Source: web/templates/a.yaml\n" + deployment("2", plainPod) + "---\n# only a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  x: |\n    ---\n    y: 1\n"
	want := `---
# Source: web/templates/a.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    helmproof.companyos.github.io/hardened: app.allowPrivilegeEscalation, automountServiceAccountToken, seccompProfile, topologySpreadConstraints
  name: web
spec:
  replicas: 2
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      automountServiceAccountToken: false
      securityContext:
        seccompProfile:
          type: RuntimeDefault
      topologySpreadConstraints:
        - labelSelector:
            matchLabels:
              app: web
          maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: ScheduleAnyway
        - labelSelector:
            matchLabels:
              app: web
          maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
      containers:
        - name: app
          securityContext:
            allowPrivilegeEscalation: false
          image: nginx # keep
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  annotations:
    helmproof.companyos.github.io/hardened: podDisruptionBudget
  name: web-pdb
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app: web
  unhealthyPodEvictionPolicy: AlwaysAllow
---
# only a comment
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data:
  x: |
    ---
    y: 1
`
	got := run(t, in, Options{})
	if d := cmp.Diff(want, string(got.Manifests)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for i, to := range []string{"\r\n"} {
		crlf := run(t, strings.ReplaceAll(in, "\n", to), Options{})
		if d := cmp.Diff(strings.ReplaceAll(want, "\n", to), string(crlf.Manifests)); d != "" {
			t.Errorf("line ends %d (-want +got):\n%s", i, d)
		}
	}
}
