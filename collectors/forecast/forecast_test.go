package forecast

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

const web = `---
# Source: templates/web.yaml:1
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: x}]}
`

func seal(tb testing.TB, manifests string, artifact []byte) *collectors.Sealed {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	files := map[string][]byte{collectors.ManifestsFile: []byte(manifests), collectors.ReleaseFile: []byte(`{"chart":"test","namespace":"shop"}`)}
	if artifact != nil {
		files["artifacts/forecast/snapshot.json"] = artifact
	}
	for name, b := range files {
		if _, err := art.Put(name, b); err != nil {
			tb.Fatal(err)
		}
	}
	return collectors.NewSealed(art, config.RuleControls())
}

func TestFindings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		manifests string
		edit      func(*world)
		want      []string // outcome, rule, target; message after |
	}{
		{"all drain", web, func(*world) {}, []string{
			"pass forecast/node Node n1|drains: 1 pods would be evicted", "pass forecast/node Node n2|drains", "pass forecast/zone Zone za|drains: 1 pods would be evicted from 2 nodes", "pass forecast/zone Zone zb|",
		}},
		{"a budget blocks", web, func(w *world) { w.budget("web", 2) }, []string{
			"fail forecast/node Node n1|blocks: 1 pods would be evicted; PodDisruptionBudget shop/web allows no disruption", "fail forecast/node Node n2|", "fail forecast/zone Zone za|", "fail forecast/zone Zone zb|",
		}},
		{"the neighbour blocks", web, func(w *world) { w.deploy("other", 100, nil, "n1"); w.budget("other", 1) }, []string{
			"fail forecast/node Node n1|PodDisruptionBudget shop/other", "fail forecast/zone Zone za|", "pass forecast/node Node n2|", "pass forecast/zone Zone zb|",
		}},
		{"unknown", web, func(w *world) { w.Gaps = []string{"list mutating webhooks: forbidden"} }, []string{
			"not-checked forecast/node Node n1|unknown: 1 pods would be evicted; list mutating webhooks: forbidden", "not-checked forecast/node Node n2|", "not-checked forecast/zone Zone za|", "not-checked forecast/zone Zone zb|",
		}},
		{"no zones", web, func(w *world) {
			for i := range w.Nodes {
				delete(w.Nodes[i].Labels, "topology.kubernetes.io/zone")
			}
		}, []string{"not-applicable forecast/zone Chart test|no pod of the release runs in a known zone", "pass forecast/node Node n1|", "pass forecast/node Node n2|"}},
		{"not there", web, func(w *world) { w.Pods, w.Workloads = nil, nil }, []string{
			"not-applicable forecast/zone Chart test|", "not-checked forecast/node Deployment web|has no pod in the cluster: nothing can be said of a drain",
		}},
		{"on no node", web, func(w *world) { w.Pods[1].Node, w.Pods[1].Ready = "", false }, []string{
			"not-checked forecast/node Node n1|", "not-checked forecast/node Pod web-1|is on no node yet", "not-checked forecast/zone Zone za|",
		}},
		{"no pods in the release", "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", func(*world) {}, []string{
			"not-applicable forecast/node Chart test|the release runs no pods", "not-applicable forecast/zone Chart test|",
		}},
		{"a document that is none", "---\n# Source: a.yaml:1\n[]\n", func(*world) {}, []string{
			"not-checked forecast/node Chart test|a rendered document is no Kubernetes object: see CHT-3", "not-checked forecast/zone Chart test|",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(6)
			w.At = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
			w.deploy("web", 100, nil, "n1", "n2")
			tt.edit(w)
			raw, err := json.Marshal(w.Snapshot)
			if err != nil {
				t.Fatal(err)
			}
			found, err := collectors.Findings(seal(t, tt.manifests, raw), New())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				line := fmt.Sprintf("%s %s %s %s", f.Outcome, f.Rule, f.Target.Kind, f.Target.Name)
				for _, want := range tt.want {
					if head, text, _ := strings.Cut(want, "|"); head == line && strings.Contains(f.Message, text) {
						line = want
						break
					}
				}
				if !slices.Contains(tt.want, line) {
					line += "|" + f.Message
				}
				got = append(got, line)
				if !slices.Equal(f.Controls, []evidence.ControlID{"RSL-5"}) {
					t.Errorf("controls %v", f.Controls)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":           "file does not exist",
		`{"nodes":[`: "parse snapshot.json",
		`{}`:         "it does not say when the cluster was asked",
		`{"at":"2026-11-01T12:00:00Z","pods":[{"shape":1}]}`:                                  "pod 0 has no shape",
		`{"at":"2026-11-01T12:00:00Z","shapes":[{"requests":{"cpu":-1}}]}`:                    "shape 0 has requests that cannot be",
		`{"at":"2026-11-01T12:00:00Z","nodes":[{"allocatable":{"cpu":9000000000000000000}}]}`: "node 0 has resources that cannot be",
		`{"at":"2026-11-01T12:00:00Z","budgets":[` + strings.Repeat("{},", 5000) + `{}]}`:     "it is too large",
	} {
		var artifact []byte
		if raw != "" {
			artifact = []byte(raw)
		}
		if found, err := collectors.Findings(seal(t, web, artifact), New()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %d findings and %v, want %q", raw, len(found), err, want)
		}
	}
}

// FuzzFindings holds that nothing that is sealed ends in a panic, or in a pass
// without a node.
func FuzzFindings(f *testing.F) {
	w := newWorld(3)
	w.At = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	w.deploy("web", 100, spread("kubernetes.io/hostname", "web", 1), "n1", "n2")
	w.deploy("db", 100, apart("kubernetes.io/hostname", "web"), "n3")
	w.budget("web", 1)
	raw, err := json.Marshal(w.Snapshot)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"at":"2026-11-01T12:00:00Z","nodes":[{"name":"a"}],"shapes":[{}],"pods":[{"namespace":"shop","name":"web","node":"a"}],"workloads":[{"kind":"ReplicaSet","uid":"","replicas":2147483647}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 1<<16 {
			return
		}
		found, err := collectors.Findings(seal(t, web, raw), New())
		if err == nil && len(found) == 0 {
			t.Error("nothing was found")
		}
	})
}

func TestImagine(t *testing.T) {
	t.Parallel()
	pdb := func(rule string) string {
		return "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {" + rule + ", selector: {matchLabels: {app: web}}}\n"
	}
	spreadWeb := strings.Replace(web, "    spec: {containers", "    spec: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}], containers", 1)
	for _, tt := range []struct {
		name, manifests string
		node, zone      Outcome // of the first
		why             string
	}{
		{"no budget", web, Drains, Drains, ""},
		{"one of two", web + pdb("minAvailable: 1"), Drains, Drains, ""},
		{"all of two", web + pdb("minAvailable: 2"), Blocks, Blocks, "there is no replica to spare (minAvailable 2; 2 of 2 pods healthy, 2 needed)"},
		{"a half, rounded up", web + pdb(`minAvailable: "51%"`), Blocks, Blocks, "there is no replica to spare (minAvailable 51%"},
		{"none may miss", web + pdb("maxUnavailable: 0"), Blocks, Blocks, "maxUnavailable 0"},
		{"one replica", strings.Replace(web, "replicas: 2", "replicas: 1", 1) + pdb("minAvailable: 1"), Blocks, Blocks, "1 of 1 pods healthy, 1 needed"},
		{"scaled by an autoscaler", strings.Replace(web, "  replicas: 2\n", "", 1) + pdb("minAvailable: 1") + "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {minReplicas: 2, scaleTargetRef: {kind: Deployment, name: web}}\n", Drains, Drains, ""},
		{"bare", "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: app, image: x}]}\n", Blocks, Blocks, "has no controller"},
		{"two budgets", web + pdb("minAvailable: 1") + strings.Replace(pdb("minAvailable: 1"), "name: web", "name: other", 1), Blocks, Blocks, "is selected by 2 PodDisruptionBudgets (web, other)"},
		{"spread", strings.Replace(spreadWeb, "replicas: 2", "replicas: 6", 1), Drains, Violates, "zone-1 0, zone-2 2, zone-3 2"},
		{"its own volume", strings.NewReplacer("kind: Deployment", "kind: StatefulSet", "  replicas", "  volumeClaimTemplates: [{metadata: {name: data}}]\n  replicas").Replace(web), Unknown, Unknown, "where that can be attached is the cluster's to say"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, err := manifest.Parse([]byte(tt.manifests))
			if err != nil {
				t.Fatal(err)
			}
			s, err := Imagine(set, "shop", 6, 3)
			if err != nil {
				t.Fatal(err)
			}
			pods, missing := s.Of(set, "shop")
			if len(missing) > 0 {
				t.Fatalf("missing %v", missing[0].GetName())
			}
			list := s.Forecast(pods)
			i := slices.IndexFunc(list, func(e Entry) bool { return e.Kind == KindZone })
			if i < 1 {
				t.Fatalf("%d forecasts", len(list))
			}
			if list[0].Outcome != tt.node || list[i].Outcome != tt.zone || !strings.Contains(list[i].Why(), tt.why) {
				t.Errorf("%s %s, %s %s: %s\nwant %s, %s: …%s…", list[0].Name, list[0].Outcome, list[i].Name, list[i].Outcome, list[i].Why(), tt.node, tt.zone, tt.why)
			}
		})
	}
}

func TestImagineRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		manifests    string
		nodes, zones int
		want         string
	}{
		{web, 0, 1, "0 nodes in 1 zones: want 1 to 100 nodes"},
		{web, 2, 3, "2 nodes in 3 zones"},
		{"---\n[]\n", 3, 3, "a rendered document could not be read"},
		{strings.Replace(web, "replicas: 2", "replicas: 100000", 1), 3, 3, "100000 replicas are more than can be thought through"},
	} {
		set, err := manifest.Parse([]byte(tt.manifests))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Imagine(set, "shop", tt.nodes, tt.zones); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}
