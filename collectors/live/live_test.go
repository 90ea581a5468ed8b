package live

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

func object(tb testing.TB, text string) map[string]any {
	tb.Helper()
	set, err := manifest.Parse([]byte("apiVersion: v1\nkind: X\n" + text))
	if err != nil || len(set.Objects) != 1 {
		tb.Fatalf("%d objects, %v, in %s", len(set.Objects), err, text)
	}
	return set.Objects[0].Object
}

func texts(found []difference) []string {
	out := []string{}
	for i := range found {
		out = append(out, found[i].text())
	}
	slices.Sort(out)
	return out
}

// TestReading compares a manifest with a live object without a dry-run.
func TestReading(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		manifest, live string
		want           []string
	}{
		"defaults beside it":      {"spec: {a: 1}", "spec: {a: 1, b: 2}", nil},
		"another value":           {"spec: {image: a}", "spec: {image: b}", []string{`/spec/image is "b"; the release sets "a"`}},
		"gone":                    {"spec: {a: 1, b: 2}", "spec: {a: 1}", []string{"/spec/b is gone; the release sets 2"}},
		"another type":            {"spec: {a: 1}", "spec: {a: [1]}", []string{"/spec/a is a list of 1; the release sets 1"}},
		"absent is zero":          {`spec: {a: false, b: "", c: {}, d: [], e: {f: 0}}`, "spec: {}", nil},
		"false, and now true":     {"spec: {hostNetwork: false}", "spec: {hostNetwork: true}", []string{"/spec/hostNetwork is true; the release sets false"}},
		"quantities":              {`spec: {limits: {cpu: 1000m, memory: 64Mi}}`, `spec: {limits: {cpu: "1", memory: "67108864"}}`, nil},
		"a quantity as a number":  {`spec: {limits: {cpu: 1}}`, `spec: {limits: {cpu: "1"}}`, nil},
		"another quantity":        {`spec: {limits: {cpu: 1000m}}`, `spec: {limits: {cpu: "2"}}`, []string{`/spec/limits/cpu is "2"; the release sets "1000m"`}},
		"no quantity":             {`spec: {x: 1000m}`, `spec: {x: "1"}`, []string{`/spec/x is "1"; the release sets "1000m"`}},
		"elements by name":        {"spec: {c: [{name: a, v: 1}, {name: b, v: 2}]}", "spec: {c: [{name: b, v: 2, d: 3}, {name: a, v: 9}]}", []string{"/spec/c/1/v is 9; the release sets 1"}},
		"an element more":         {"spec: {c: [{name: a}]}", "spec: {c: [{name: a}, {name: b}]}", []string{"/spec/c/1 is a mapping of 1; the release has nothing there"}},
		"an element gone":         {"spec: {c: [{name: a}, {name: b}]}", "spec: {c: [{name: a}]}", []string{"/spec/c/1 is gone; the release sets a mapping of 1"}},
		"a list without names":    {"spec: {c: [p, q]}", "spec: {c: [p, r]}", []string{`/spec/c/1 is "r"; the release sets "q"`}},
		"a longer list":           {"spec: {c: [x]}", "spec: {c: [x, z]}", []string{"/spec/c is a list of 2; the release sets a list of 1"}},
		"a selector is whole":     {"spec: {selector: {a: b}}", "spec: {selector: {a: b, c: d}}", []string{`/spec/selector/c is "d"; the release has nothing there`}},
		"other labels":            {"metadata: {labels: {a: b}}", "metadata: {labels: {a: b, helm: x}, uid: y}", nil},
		"a label":                 {"metadata: {labels: {a/b: b}}", "metadata: {labels: {a/b: c}}", []string{`/metadata/labels/a~1b is "c"; the release sets "b"`}},
		"status is not compared":  {"status: {a: 1}", "status: {a: 2}", nil},
		"environment is withheld": {"spec: {env: [{name: A, value: x}]}", "spec: {env: [{name: A, value: hunter2}]}", []string{"/spec/env/0/value differs (values withheld)"}},
		"data is withheld":        {"data: {a: x}", "data: {a: hunter2}", []string{"/data/a differs (values withheld)"}},
		"a telling name":          {"spec: {dbPassword: x}", "spec: {dbPassword: hunter2}", []string{"/spec/dbPassword differs (values withheld)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := object(t, tt.manifest)
			c := comparison{strict: true}
			c.object(m, m, object(t, tt.live))
			if diff := cmp.Diff(append([]string{}, tt.want...), texts(c.found)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDryRun compares a live object with what the API server answered.
func TestDryRun(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		manifest, answer, live string
		want                   []string
	}{
		"nothing":                     {"spec: {a: 1}", "spec: {a: 1, b: 2}", "spec: {a: 1, b: 2}", nil},
		"normalized":                  {"spec: {x: 1000m}", `spec: {x: "1"}`, `spec: {x: "1"}`, nil},
		"a field":                     {"spec: {a: 1}", "spec: {a: 1}", "spec: {a: 2}", []string{"/spec/a is 2; the release sets 1"}},
		"a webhook changes another":   {"spec: {a: 1}", "spec: {a: 1}\nextra: 1", "spec: {a: 1}", nil},
		"a webhook adds to a map":     {"spec: {a: 1}", "spec: {a: 1, c: 3}", "spec: {a: 1}", nil},
		"what the server drops":       {"spec: {a: 1, unknown: 2}", "spec: {a: 1, b: 1}", "spec: {a: 1, b: 1}", nil},
		"a whole map is taken back":   {"spec: {m: {a: 1}}", "spec: {m: {a: 1}}", "spec: {m: {a: 1, b: 2}}", []string{"/spec/m/b is 2; the release has nothing there"}},
		"a sidecar that was injected": {"spec: {c: [{name: a}]}", "spec: {c: [{name: a}, {name: proxy}]}", "spec: {c: [{name: a}, {name: proxy}]}", nil},
		"an element is taken back":    {"spec: {c: [{key: a}]}", "spec: {c: [{key: a}]}", "spec: {c: [{key: a}, {key: b}]}", []string{"/spec/c/1 is a mapping of 1; the release has nothing there"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := comparison{}
			c.object(object(t, tt.manifest), object(t, tt.answer), object(t, tt.live))
			if diff := cmp.Diff(append([]string{}, tt.want...), texts(c.found)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	m := object(t, "type: Opaque\nstringData: {a: hunter2}\ndata: {b: eA==}")
	encodeStringData(m)
	c := comparison{secret: true, strict: true}
	c.object(m, m, object(t, "type: other\ndata: {a: aHVudGVyMw==, b: eA==}"))
	raw, err := json.Marshal(c.found)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/data/a differs (values withheld)", "/type differs (values withheld)"}
	if diff := cmp.Diff(want, texts(c.found)); diff != "" {
		t.Error(diff)
	}
	for _, s := range []string{"hunter", "aHVud", "Opaque"} {
		if strings.Contains(string(raw), s) {
			t.Errorf("%q is in %s", s, raw)
		}
	}
}

func entry(name, subresource, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: name, Subresource: subresource, FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestManagers(t *testing.T) {
	t.Parallel()
	ms := newManagers([]metav1.ManagedFieldsEntry{
		entry("helm", "", `{"f:spec":{"f:c":{"k:{\"name\":\"a\"}":{".":{},"f:image":{}}},"f:atomic":{},"f:set":{"v:\"x\"":{}}}}`),
		entry("hpa", "scale", `{"f:spec":{"f:replicas":{}}}`),
		entry("broken", "", `[`),
		{Manager: "empty"},
	})
	field := func(names ...string) (out []step) {
		for _, n := range names {
			out = append(out, step{field: n, index: -1})
		}
		return out
	}
	a := step{index: 3, element: map[string]any{"name": "a"}}
	for want, path := range map[string][]step{
		"helm:image":     append(field("spec", "c"), a, step{field: "image", index: -1}),
		":other":         append(field("spec", "c"), a, step{field: "other", index: -1}),
		":element":       append(field("spec", "c"), step{index: 0, element: map[string]any{"name": "b"}}, step{field: "image", index: -1}),
		"helm:atomic":    append(field("spec", "atomic"), step{index: 0, element: "y"}),
		"helm:set":       append(field("spec", "set"), step{index: 0, element: "x"}),
		"hpa (scale):re": field("spec", "replicas"),
	} {
		want, _, _ = strings.Cut(want, ":")
		if got := strings.Join(ms.of(path), ","); got != want {
			t.Errorf("%s is owned by %q, want %q", pointer(path), got, want)
		}
	}
}

func TestAddedByHand(t *testing.T) {
	t.Parallel()
	manifest := object(t, "spec: {c: [{name: a}], ports: [{port: 80}]}")
	live := object(t, "spec: {c: [{name: a, privileged: true}, {name: b}], ports: [{port: 80, protocol: TCP, nodePort: 3}], replicas: 2, annotations: {kubectl.kubernetes.io/restartedAt: now}, m: {x: {v: 1}}}")
	fields := `{"f:metadata":{"f:labels":{}},"f:spec":{"f:c":{"k:{\"name\":\"a\"}":{"f:privileged":{}},"k:{\"name\":\"b\"}":{".":{},"f:name":{}}},
		"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{"f:nodePort":{}}},"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}},"f:m":{"f:x":{"f:v":{}}},"f:gone":{}}}`
	for name, want := range map[string][]string{
		"kubectl-edit": {
			"/spec/c/0/privileged is true; the release has nothing there",
			"/spec/c/1 is a mapping of 1; the release has nothing there",
			"/spec/m/x/v is 1; the release has nothing there",
			"/spec/ports/0/nodePort is 3; the release has nothing there",
		},
		"kubectl-create": {}, "controller": {},
	} {
		var c comparison
		c.added(newManagers([]metav1.ManagedFieldsEntry{entry(name, "", fields)}), manifest, live)
		if diff := cmp.Diff(want, texts(c.found)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestScaledBy(t *testing.T) {
	t.Parallel()
	set, err := manifest.Parse([]byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {scaleTargetRef: {kind: Deployment, name: web}, minReplicas: 2, maxReplicas: 4}
`))
	if err != nil {
		t.Fatal(err)
	}
	l := &looker{set: set, scalers: scalers(set, "shop")}
	const owned = `{"f:spec":{"f:replicas":{}}}`
	for _, tt := range []struct {
		namespace, manager, subresource string
		replicas                        int64
		want                            string
	}{
		{"shop", "kube-controller-manager", "scale", 3, "web"},
		{"shop", "kube-controller-manager", "scale", 5, ""},
		{"shop", "kube-controller-manager", "scale", 1, ""},
		{"other", "kube-controller-manager", "scale", 3, ""},
		{"shop", "kubectl", "scale", 3, ""},
		{"shop", "kubectl-edit", "", 3, ""},
	} {
		live := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"replicas": tt.replicas}}}
		if got := l.scaledBy(&set.Objects[0], tt.namespace, live, newManagers([]metav1.ManagedFieldsEntry{entry(tt.manager, tt.subresource, owned)})); got != tt.want {
			t.Errorf("%+v: scaled by %q", tt, got)
		}
	}
}

// folder is an evidence.ArtifactReader.
type folder map[string][]byte

func (f folder) Read(name string) ([]byte, error) {
	if b, ok := f[name]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("%s is not there", name)
}

func (f folder) Names() []string { return nil }

const twoObjects = `---
# Source: templates/a.yaml:0
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
# Source: crds/b.yaml:0
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: b}
`

func derive(t *testing.T, stored chart.StoredRelease, objects []Object) ([]string, error) {
	t.Helper()
	encode := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	in := folder{
		collectors.ReleaseFile:          encode(evidence.Release{Scope: evidence.ScopeRelease, ReleaseName: "web", Namespace: "shop"}),
		collectors.ManifestsFile:        []byte(twoObjects),
		"artifacts/live/" + releaseFile: encode(chart.Stored{StoredRelease: stored}),
		"artifacts/live/" + objectsFile: encode(objects),
	}
	found, err := collectors.Findings(collectors.NewSealed(in, config.RuleControls()), New())
	var out []string
	for _, f := range found {
		out = append(out, fmt.Sprintf("%s %s: %s", f.Outcome, f.Target.Name, f.Message))
	}
	return out, err
}

// TestReleaseState: only a release whose newest revision is deployed passes.
func TestReleaseState(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		revision int
		status   string
		newest   int
		last     string
		deployed []int
		want     string
	}{
		{3, "deployed", 3, "deployed", []int{3}, "pass web: revision 3 is deployed"},
		{3, "deployed", 4, "failed", []int{3}, "fail web: revision 3 is deployed, but revision 4 after it is failed: what runs may be of either"},
		{3, "deployed", 4, "pending-upgrade", []int{3}, "not-checked web: revision 3 is deployed, but revision 4 is pending-upgrade: what runs may be of either"},
		{3, "deployed", 3, "deployed", []int{3, 2}, "fail web: revisions 3, 2 all say that they are deployed"},
		{1, "failed", 1, "failed", nil, "fail web: no revision is deployed: revision 1 failed"},
		{1, "pending-install", 1, "pending-install", nil, "not-checked web: revision 1 is pending-install: an operation is under way, or was broken off"},
		{1, "uninstalling", 1, "uninstalling", nil, "not-checked web: no revision is deployed: revision 1 is uninstalling"},
		{1, "", 1, "", nil, "not-checked web: no revision is deployed: revision 1 is "},
	} {
		got, err := derive(t, chart.StoredRelease{Revision: tt.revision, Status: tt.status, NewestRevision: tt.newest, NewestStatus: tt.last, Deployed: tt.deployed},
			[]Object{{Index: 0, State: StateSame}, {Index: 1, State: StateSame}})
		if err != nil || len(got) != 3 || got[0] != tt.want {
			t.Errorf("%q, %v, want %q", got, err, tt.want)
		}
	}
}

func TestObjectFindings(t *testing.T) {
	t.Parallel()
	deployed := chart.StoredRelease{Revision: 1, Status: "deployed", NewestRevision: 1, NewestStatus: "deployed", Deployed: []int{1}}
	for want, o := range map[string]Object{
		"pass a: is as the release says":                                                                            {State: StateSame, How: HowDryRun},
		"pass a: is as the release says (compared by reading; dry-run: no)":                                         {State: StateSame, How: HowRead, NoDryRun: "no"},
		"pass a: is as the release says; its replicas are set by HorizontalPodAutoscaler h":                         {State: StateSame, Autoscaler: "h"},
		"fail a: is not in the cluster":                                                                             {State: StateMissing},
		"fail a: the cluster does not serve v1 ConfigMap: the object cannot be there":                               {State: StateUnserved},
		"not-checked a: has generateName only: nothing says which live object it became":                            {State: StateUnnamed},
		"not-checked a: could not be looked at: refused":                                                            {State: StateUnknown, Error: "refused"},
		"not-checked a: could not be looked at: ":                                                                   {State: "never heard of"},
		"fail a: /x is gone; the release sets 1|fail a: and 2 further fields differ":                                {State: StateDiffers, Differences: []Difference{{Pointer: "/x", Release: "1"}}, More: 2},
		"fail a: says that it belongs to the release other/web":                                                     {State: StateSame, Owner: "other/web"},
		"fail a: does not say that it belongs to the release: it was made again by something else than Helm":        {State: StateSame, Owner: "none"},
		"fail a: /x differs (values withheld); field manager k|fail a: says that it belongs to the release other/b": {State: StateDiffers, Differences: []Difference{{Pointer: "/x", Withheld: true, Managers: []string{"k"}}}, Owner: "other/b"},
	} {
		got, err := derive(t, deployed, []Object{o, {Index: 1, State: StateDiffers, Differences: []Difference{{Pointer: "/y", Live: "1"}}}})
		if err != nil || len(got) < 3 {
			t.Fatalf("%q, %v", got, err)
		}
		if diff := cmp.Diff(strings.Split(want, "|"), got[1:len(got)-1]); diff != "" {
			t.Error(diff)
		}
		if got, want := got[len(got)-1], "warn b: /y is 1; the release has nothing there (Helm never updates what is in crds/)"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, objects := range [][]Object{nil, {{}, {}}, {{Index: 1}, {Index: 0}}} {
		if got, err := derive(t, deployed, objects); err == nil {
			t.Errorf("findings of records that do not fit: %q", got)
		}
	}
}

// FuzzCompare: no pair of objects makes the comparison panic, and none differs from itself.
func FuzzCompare(f *testing.F) {
	f.Add([]byte(`{"spec":{"c":[{"name":"a","v":1}]}}`), []byte(`{"spec":{"c":[{"name":"b"}]}}`), `{"f:spec":{"f:c":{"k:{\"name\":\"b\"}":{}}}}`)
	f.Fuzz(func(t *testing.T, manifest, live []byte, fields string) {
		var m, l map[string]any
		if yaml.Unmarshal(manifest, &m) != nil || yaml.Unmarshal(live, &l) != nil {
			t.Skip()
		}
		ms := newManagers([]metav1.ManagedFieldsEntry{entry("kubectl", "", fields)})
		c := comparison{strict: true}
		c.object(m, m, l)
		c.added(ms, m, l)
		for _, d := range c.found {
			ms.of(d.path)
		}
		same := comparison{strict: true}
		if same.object(m, m, m); len(same.found) > 0 {
			t.Errorf("differs from itself: %q", texts(same.found))
		}
	})
}
