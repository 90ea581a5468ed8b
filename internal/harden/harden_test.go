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
	got := run(t, in, askedFor)
	if d := cmp.Diff(want, string(got.Manifests)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for i, to := range []string{"\r\n"} {
		crlf := run(t, strings.ReplaceAll(in, "\n", to), askedFor)
		if d := cmp.Diff(strings.ReplaceAll(want, "\n", to), string(crlf.Manifests)); d != "" {
			t.Errorf("line ends %d (-want +got):\n%s", i, d)
		}
	}
}

// FuzzHarden: any input gives an error and no result, or a result of which all
// that holds holds.
func FuzzHarden(f *testing.F) {
	f.Add([]byte(deployment("2", plainPod)), uint8(0))
	f.Add([]byte(strings.ReplaceAll(deployment("2", plainPod), "\n", "\r\n")), uint8(1))
	f.Add([]byte("---\n"+deployment("2", "      containers: [{name: app, image: a}]\n")+"---\na: |\n  ---\n"), uint8(1))
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"securityContext":{},"containers":[{"name":"a","securityContext":null}]}}]}`), uint8(1))
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: ~}\nspec:\n  securityContext:\n  containers:\n  - name: &a a\n    image: *a\n    securityContext: # none\n"), uint8(0))
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    "+Annotation+": 'it''s, mine'\nspec:\n  containers:\n  - \"name\": \"\\u00e9\"\n"), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, all uint8) {
		if res, err := holds(in, allOptions[int(all)%len(allOptions)]); err != nil && res != nil {
			t.Errorf("%v\n%s", err, res.Manifests)
		} else if err != nil && res == nil && len(in) == 0 {
			t.Errorf("no input is refused: %v", err)
		}
	})
}

// TestForms holds that all forms of YAML are edited in place.
func TestForms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"JSON stays JSON", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a"}]}}` + "\n",
			`{"apiVersion":"v1","kind":"Pod","metadata":{"annotations": {"` + Annotation + `":"a.allowPrivilegeEscalation, automountServiceAccountToken, seccompProfile"}, "name":"a"},` +
				`"spec":{"automountServiceAccountToken": false, "securityContext": {"seccompProfile":{"type":"RuntimeDefault"}}, "containers":[{"securityContext": {"allowPrivilegeEscalation":false}, "name":"a"}]}}` + "\n"},
		{"null, empty and commented", `apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations: null
spec:
  automountServiceAccountToken: true # on purpose
  securityContext:   # nothing yet
  containers:
  # the one
  - name: a
    # what it may
    securityContext: {}
    # what it runs
    image: b`, `apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations: {"` + Annotation + `":"a.allowPrivilegeEscalation, seccompProfile"}
spec:
  automountServiceAccountToken: true # on purpose
  securityContext: {"seccompProfile":{"type":"RuntimeDefault"}}   # nothing yet
  containers:
  # the one
  - name: a
    # what it may
    securityContext: {"allowPrivilegeEscalation": false}
    # what it runs
    image: b`},
		{"items of a list, an earlier annotation", `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: c}
- apiVersion: v1
  kind: Pod
  metadata:
    name: a
    annotations:
      ` + Annotation + `: 'seccompProfile'
  spec:
    automountServiceAccountToken: true
    securityContext:
      seccompProfile:
        type: RuntimeDefault
    containers:
    -   name: a
`, `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: c}
- apiVersion: v1
  kind: Pod
  metadata:
    name: a
    annotations:
      ` + Annotation + `: "a.allowPrivilegeEscalation, seccompProfile"
  spec:
    automountServiceAccountToken: true
    securityContext:
      seccompProfile:
        type: RuntimeDefault
    containers:
    -   securityContext:
          allowPrivilegeEscalation: false
        name: a
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res := run(t, tt.in, askedFor)
			if d := cmp.Diff(tt.want, string(res.Manifests)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestLarge: as much as is read takes its time, not more; beyond it is an error.
func TestLarge(t *testing.T) {
	t.Parallel()
	if _, err := Harden(bytes.Repeat([]byte("#\n"), 33<<20), Options{}); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("error %v, want a limit", err)
	}
	deep := strings.Repeat("a: {", 5000)
	if _, err := Harden([]byte("a: "+strings.TrimPrefix(deep, "a: ")), Options{}); err == nil {
		t.Error("an unfinished document was accepted")
	}
	if _, err := Harden([]byte(strings.Repeat("---\napiVersion: v1\nkind: X\n", maxObjects+1)), Options{}); err == nil || !strings.Contains(err.Error(), "more than 10000 objects") {
		t.Errorf("error %v, want a limit on objects", err)
	}
	many := strings.Repeat("---\n"+deployment("1", plainPod), 2000)
	res := run(t, many, askedFor)
	if res.Objects != 2000 || len(res.Changes) != 3*2000 {
		t.Errorf("%d objects, %d changes", res.Objects, len(res.Changes))
	}
}
