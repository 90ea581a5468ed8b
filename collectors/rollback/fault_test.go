package rollback

import (
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/internal/helmop"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
)

const twoWorkloads = `---
# Source: shop/templates/cache.yaml
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: cache}
spec:
  template:
    metadata: {labels: {app: cache}}
    spec: {containers: [{name: cache, image: "registry.test:5000/cache:1.2"}]}
---
# Source: shop/templates/worker.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec:
  template:
    metadata: {labels: {app: worker}}
    spec: {containers: [{name: main, image: worker}]}
---
# Source: shop/templates/web.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: }
spec:
  template:
    metadata: {labels: {app: web}, annotations: {kubectl.kubernetes.io/default-container: web}}
    spec:
      containers:
      - {name: proxy, image: proxy:1}
      - {name: web, image: "registry.test:5000/team/web:2@sha256:aa11", args: [serve], readinessProbe: {httpGet: {port: 80}, initialDelaySeconds: 3}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}}
---
# Source: shop/templates/config.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: shop}
data: {mode: "0644", yes: "yes"} # kept to the byte
`

func TestSpoil(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, manifest, workload, fault string
		want                            Change
		holds                           []string
		lacks                           []string
	}{
		{"image", twoWorkloads, "", BadImage,
			Change{"Deployment", "ns", "web", "web", "image registry.test:5000/team/web" + noDigest},
			[]string{"image: registry.test:5000/team/web" + noDigest, "image: proxy:1", "args:", `data: {mode: "0644", yes: "yes"} # kept to the byte`, "helm.sh/hook: pre-rollback"},
			[]string{"sha256:aa11"}},
		{"a registry's port is no tag", twoWorkloads, "StatefulSet/cache", BadImage,
			Change{"StatefulSet", "ns", "cache", "cache", "image registry.test:5000/cache" + noDigest}, []string{"image: proxy:1"}, nil},
		{"no tag", twoWorkloads, "Deployment/worker", BadImage, Change{"Deployment", "ns", "worker", "main", "image worker" + noDigest}, nil, nil},
		{"readiness", twoWorkloads, "", FailingReadiness,
			Change{"Deployment", "ns", "web", "web", "a readiness probe of TCP port 1, which nobody serves"},
			[]string{"tcpSocket:\n            port: 1\n", "sha256:aa11"}, []string{"httpGet", "initialDelaySeconds"}},
		{"crash", twoWorkloads, "", CrashLoop, Change{"Deployment", "ns", "web", "web", "command " + noCommand}, []string{"- " + noCommand}, []string{"args"}},
		{"in a list", `{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Secret, metadata: {name: s}}, {apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: other},
			spec: {replicas: 1, template: {spec: {containers: [{name: main, image: web}]}}}}]}`, "", CrashLoop,
			Change{"Deployment", "other", "web", "main", "command " + noCommand}, []string{"kind: Secret"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hook := "apiVersion: v1\nkind: Pod\nmetadata: {name: check, annotations: {helm.sh/hook: pre-rollback}}\n"
			out, change, err := spoil(&helmop.Content{Manifest: tt.manifest, Hooks: []string{hook}}, "ns", drill.Target{Workload: tt.workload}, tt.fault)
			if err != nil {
				t.Fatal(err)
			}
			if change != tt.want {
				t.Errorf("changed %+v, want %+v", change, tt.want)
			}
			for _, s := range tt.holds {
				if !strings.Contains(string(out), s) {
					t.Errorf("%q is not in\n%s", s, out)
				}
			}
			for _, s := range tt.lacks {
				if strings.Contains(string(out), s) {
					t.Errorf("%q is in\n%s", s, out)
				}
			}
			before, err := manifest.Parse([]byte(tt.manifest))
			if err != nil {
				t.Fatal(err)
			}
			after, err := manifest.Parse(out)
			if err != nil || len(after.Broken) > 0 || len(after.Objects) != len(before.Objects)+1 {
				t.Fatalf("%v, %+v: %d objects, want %d", err, after.Broken, len(after.Objects), len(before.Objects)+1)
			}
			marked := slices.Collect(func(yield func(string) bool) {
				for _, o := range after.Objects {
					if o.GetAnnotations()[mark] == "rollback/"+tt.fault && !yield(o.GetKind()+"/"+o.GetName()) {
						return
					}
				}
			})
			if !slices.Equal(marked, []string{tt.want.Workload()}) {
				t.Errorf("marked: %q", marked)
			}
			if n := strings.Count(string(out), "rollback/"+tt.fault); n != 2 {
				t.Errorf("marked %d times, want the workload and its pods", n)
			}
		})
	}
}

func TestSpoilRefuses(t *testing.T) {
	t.Parallel()
	load := func(spec string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: " + spec + "\n"
	}
	for _, tt := range []struct{ name, manifest, workload, fault, want string }{
		{"nothing to upgrade", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n", "", BadImage, "the release has no Deployment and no StatefulSet"},
		{"another's workload", twoWorkloads, "Deployment/db", BadImage, "Deployment/db is no workload of the release"},
		{"no replicas", load("{replicas: 0, template: {spec: {containers: [{name: a, image: b}]}}}"), "", BadImage, "Deployment/web: it has no replicas"},
		{"no containers", load("{template: {spec: {containers: []}}}"), "", BadImage, "Deployment/web: it has no containers"},
		{"no image", load("{template: {spec: {containers: [{name: a}]}}}"), "", BadImage, "Deployment/web: its container names no image"},
		{"no name", load("{template: {spec: {containers: [text]}}}"), "", BadImage, "Deployment/web: its container has no name"},
		{"odd annotations", load("{template: {metadata: {annotations: {a: 1}}, spec: {containers: [{name: a, image: b}]}}}"), "", BadImage, "the annotations of its pods are no texts"},
		{"unknown fault", twoWorkloads, "", "flood", `Deployment/web: no fault "flood"`},
		{"bad YAML", "a: [", "", BadImage, "the stored manifest cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := spoil(&helmop.Content{Manifest: tt.manifest}, "ns", drill.Target{Workload: tt.workload}, tt.fault); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzSpoil: whatever Helm stored, the outcome is an error or the same objects
// with one workload marked.
func FuzzSpoil(f *testing.F) {
	for _, fault := range []string{BadImage, FailingReadiness, CrashLoop} {
		f.Add(twoWorkloads, fault)
	}
	f.Add("apiVersion: apps/v1\nkind: Deployment\nmetadata: null\nspec: {template: {metadata: 3, spec: {containers: [{name: a, image: b}]}}}\n", CrashLoop)
	f.Fuzz(func(t *testing.T, stored, fault string) {
		out, _, err := spoil(&helmop.Content{Manifest: stored}, "ns", drill.Target{}, fault)
		if err != nil {
			return
		}
		before, err := manifest.Parse([]byte(stored))
		if err != nil {
			return
		}
		after, err := manifest.Parse(out)
		if err != nil || len(after.Objects) != len(before.Objects) {
			t.Errorf("%d objects became %d (%v):\n%s\n%s", len(before.Objects), len(after.Objects), err, stored, out)
		}
	})
}
