package spread

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

const manifests = `---
# Source: templates/web.yaml:1
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
# Source: templates/svc.yaml:1
apiVersion: v1
kind: Service
metadata: {name: web}
---
# Source: templates/db.yaml:1
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: data}
---
# Source: templates/hook.yaml:1
apiVersion: apps/v1
kind: Deployment
metadata: {name: hook, annotations: {helm.sh/hook: test}}
`

var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func seal(tb testing.TB, manifests string, artifact []byte) *collectors.Sealed {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	for name, b := range map[string][]byte{
		collectors.ManifestsFile: []byte(manifests), collectors.ReleaseFile: []byte(`{"chart":"test","namespace":"shop"}`), collectors.Artifact(Name, file): artifact,
	} {
		if _, err := art.Put(name, b); err != nil {
			tb.Fatal(err)
		}
	}
	return collectors.NewSealed(art, config.RuleControls())
}

// pods are Ready replicas, one on each of the nodes, in the zones that good has.
func pods(owner string, nodes ...string) []Pod {
	out := []Pod{}
	for i, n := range nodes {
		out = append(out, Pod{Name: fmt.Sprintf("p%d", i), Node: n, Zone: zoneOf[n], Ready: true, Owners: []string{"ReplicaSet web-1", owner}})
	}
	return out
}

var zoneOf = map[string]string{"a1": "a", "a2": "a", "b1": "b", "control": "b"}

func good() Seen {
	return Seen{
		At: at,
		Nodes: []Node{
			{Name: "a1", Zone: "a", Ready: true}, {Name: "a2", Zone: "a", Ready: true}, {Name: "b1", Zone: "b", Ready: true},
			{Name: "control", Zone: "b", Ready: true, Taints: []corev1.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}}},
		},
		Workloads: []Workload{
			{Index: 0, Namespace: "shop", Found: true, Replicas: 3, Pods: pods("Deployment web", "a1", "a2", "b1")},
			{Index: 2, Namespace: "data", Found: true, Replicas: 2, Pods: pods("StatefulSet db", "a1", "b1")},
		},
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	on := func(nodes ...string) func(*Seen) {
		return func(s *Seen) { s.Workloads[0].Pods = pods("Deployment web", nodes...) }
	}
	both := func(edits ...func(*Seen)) func(*Seen) {
		return func(s *Seen) {
			for _, e := range edits {
				e(s)
			}
		}
	}
	twice := func(outcome, message string) []string {
		return []string{outcome + " node " + message, outcome + " zone " + message}
	}
	for _, tt := range []struct {
		name string
		edit func(*Seen)
		want []string
	}{
		{"apart", func(*Seen) {}, nil},
		{"stacked on one node", on("a1", "a1", "a1"), []string{"fail node 3 Ready replicas lie on a1 (3), of 3 schedulable nodes that its tolerations and nodeSelector allow", "warn zone 3 Ready replicas lie in a (3); nodes that take its pods are in a, b"}},
		{"forced on one node", both(on("a1", "a1"), func(s *Seen) {
			s.Workloads[0].NodeSelector = map[string]string{"kubernetes.io/hostname": "a1"}
			for i := range s.Nodes {
				s.Nodes[i].Labels = map[string]string{"kubernetes.io/hostname": s.Nodes[i].Name}
			}
		}), []string{"fail node and its nodeSelector (kubernetes.io/hostname=a1) leaves no other of 3 schedulable nodes", "warn zone lie in a (2)"}},
		{"two nodes, one zone", on("a1", "a2"), []string{"warn zone 2 Ready replicas lie in a (2)"}},
		{"nearly all on one node", on("a1", "a1", "a1", "b1"), []string{"warn node a1 (3), b1 (1): most of them are lost with one node"}},
		{"two and one", on("a1", "a1", "b1"), nil},
		{"pods that do not count", both(on("a1", "b1", "b1", "b1"), func(s *Seen) {
			p := s.Workloads[0].Pods
			p[1].Ready, p[2].Terminating, p[3].Owners = false, true, []string{"ReplicaSet other"}
		}), twice("not-checked", "1 of 3 replicas are Ready: too few")},
		{"a pod of somebody else does not make it lie apart", both(on("a1", "a1", "b1"), func(s *Seen) { s.Workloads[0].Pods[2].Owners = []string{"ReplicaSet web-2", "Deployment other"} }),
			[]string{"fail node 2 Ready replicas lie on a1 (2)", "warn zone lie in a (2)"}},
		{"one node", func(s *Seen) {
			s.Nodes = s.Nodes[:1]
			s.Workloads[0].Pods, s.Workloads[1].Pods = pods("Deployment web", "a1", "a1"), pods("StatefulSet db", "a1", "a1")
		}, slices.Concat(twice("not-applicable", ""), twice("not-applicable", ""))},
		{"one node beside the control plane", both(on("b1", "b1"), func(s *Seen) {
			s.Nodes, s.Workloads = s.Nodes[2:], s.Workloads[:1]
			s.Workloads = append(s.Workloads, Workload{Index: 2, Found: true, Replicas: 1})
		}), slices.Concat([]string{"not-applicable node no other of the cluster's nodes (2 nodes) takes its pods, by their taints", "not-applicable zone all nodes that take its pods are in one zone"}, twice("not-applicable", "runs one replica"))},
		{"it tolerates the control plane", both(on("b1", "b1"), func(s *Seen) {
			s.Nodes, s.Workloads[1] = s.Nodes[2:], Workload{Index: 2, Found: true}
			s.Workloads[0].Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}), slices.Concat([]string{"fail node of 2 schedulable nodes", "not-applicable zone one zone"}, twice("not-applicable", "runs no replica"))},
		{"the others are cordoned", both(on("a1", "a1"), func(s *Seen) {
			s.Nodes[1].Unschedulable, s.Nodes[2].Ready = true, false
			s.Nodes[1].Taints = []corev1.Taint{{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}}
		}), []string{"not-checked node other nodes would take its pods, but are cordoned or not Ready", "warn zone lie in a"}},
		{"no zones", func(s *Seen) {
			for i := range s.Nodes {
				s.Nodes[i].Zone = ""
			}
			for i := range s.Workloads {
				for k := range s.Workloads[i].Pods {
					s.Workloads[i].Pods[k].Zone = ""
				}
			}
		}, []string{"not-applicable zone no node has the label topology.kubernetes.io/zone", "not-applicable zone no node has the label"}},
		{"one node without a zone", func(s *Seen) { s.Nodes[1].Zone, s.Workloads[0].Pods[1].Zone = "", "" }, []string{"error zone node a2, which runs p1, has no label topology.kubernetes.io/zone, and others have"}},
		{"a pod and its node disagree", func(s *Seen) { s.Workloads[0].Pods[0].Zone = "b" }, twice("error", `pod p0 is said to run in zone "b", its node a1 in "a"`)},
		{"nodes not to be read", func(s *Seen) { s.Nodes, s.NodesError = nil, `cannot list resource "nodes"` }, slices.Concat(twice("error", `the nodes could not be read: cannot list resource "nodes"`), twice("error", "the nodes could"))},
		{"a node that is gone", func(s *Seen) { s.Nodes = s.Nodes[:2] }, slices.Concat(twice("error", `pod p2 runs on node "b1", which is not among`), twice("error", `pod p1 runs on node "b1"`))},
		{"not to be read", func(s *Seen) { s.Workloads[0].Error = "forbidden" }, twice("not-checked", "could not be looked at: forbidden")},
		{"missing", func(s *Seen) { s.Workloads[0] = Workload{} }, twice("fail", "is not in the cluster")},
		{"outdated", func(s *Seen) { s.Workloads[0].Outdated = true }, twice("not-checked", "has not looked at its newest generation")},
		{"not asked about", func(s *Seen) { s.Workloads = s.Workloads[1:] }, twice("not-checked", "was not asked about it")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := good()
			tt.edit(&s)
			raw, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			found, err := collectors.Findings(seal(t, manifests, raw), New())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				if !slices.Equal(f.Controls, []evidence.ControlID{"AVL-5"}) {
					t.Errorf("%s counts for %v", f.Rule, f.Controls)
				}
				if f.Outcome == evidence.OutcomePass {
					continue
				}
				line := fmt.Sprintf("%s %s %s", f.Outcome, strings.TrimPrefix(f.Rule, "spread/"), f.Message)
				for _, w := range tt.want {
					p := strings.SplitN(w, " ", 3)
					if string(f.Outcome) == p[0] && f.Rule == "spread/"+p[1] && strings.Contains(f.Message, p[2]) && count(got, w) < count(tt.want, w) {
						line = w
						break
					}
				}
				got = append(got, line)
			}
			slices.Sort(tt.want)
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func count(list []string, s string) int {
	n := 0
	for _, x := range list {
		if x == s {
			n++
		}
	}
	return n
}

func TestNoWorkload(t *testing.T) {
	t.Parallel()
	found, err := collectors.Findings(seal(t, "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n", []byte(`{"at":"2026-11-01T12:00:00Z"}`)), New())
	if err != nil || len(found) != 2 || found[0].Outcome != evidence.OutcomeNotApplicable || found[1].Outcome != evidence.OutcomeNotApplicable {
		t.Errorf("%v, %v", found, err)
	}
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", `{"workloads":[`, `{}`, `{"at":"2026-11-01T12:00:00Z","workloads":[{"index":9}]}`, `{"at":"2026-11-01T12:00:00Z","workloads":[{"index":1}]}`,
		`{"at":"2026-11-01T12:00:00Z","workloads":[{"index":3}]}`, `{"at":"2026-11-01T12:00:00Z","workloads":[{"index":0},{"index":0}]}`} {
		if found, err := collectors.Findings(seal(t, manifests, []byte(raw)), New()); err == nil {
			t.Errorf("%q: %d findings and no error", raw, len(found))
		}
	}
}

func TestTolerates(t *testing.T) {
	t.Parallel()
	taint := corev1.Taint{Key: "pool", Value: "gpu", Effect: corev1.TaintEffectNoSchedule}
	for _, tt := range []struct {
		with corev1.Toleration
		want bool
	}{
		{corev1.Toleration{}, false},
		{corev1.Toleration{Operator: corev1.TolerationOpExists}, true},
		{corev1.Toleration{Key: "pool", Operator: corev1.TolerationOpExists}, true},
		{corev1.Toleration{Key: "pool", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}, false},
		{corev1.Toleration{Key: "pool", Value: "gpu"}, true},
		{corev1.Toleration{Key: "pool", Value: "cpu", Operator: corev1.TolerationOpEqual}, false},
		{corev1.Toleration{Key: "other", Operator: corev1.TolerationOpExists}, false},
		{corev1.Toleration{Key: "pool", Value: "gpu", Operator: "Gt"}, false},
	} {
		if got := tolerates(&tt.with, &taint); got != tt.want {
			t.Errorf("%+v tolerates: %v", tt.with, got)
		}
	}
}

type written map[string][]byte

func (w written) Write(name string, content []byte) error { w[name] = content; return nil }

// TestCollect follows pods to the Deployment by UID, and keeps of nodes what is judged.
func TestCollect(t *testing.T) {
	t.Parallel()
	yes := true
	owned := func(name, kind, owner string, uid types.UID) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name), Labels: map[string]string{"app": "web"}, OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: owner, UID: uid, Controller: &yes}}}
	}
	pod := func(name, node, rs string, uid types.UID, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: owned(name, "ReplicaSet", rs, uid), Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
	}
	node := func(name, zone string) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyZone: zone, "pool": "web", "secret": "x"}},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "soft", Effect: corev1.TaintEffectPreferNoSchedule}, {Key: "hard", Effect: corev1.TaintEffectNoSchedule}}},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		}
	}
	three := int32(3)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	live := []runtime.Object{
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "web", Generation: 2},
			Spec:       appsv1.DeploymentSpec{Replicas: &three, Selector: selector, Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{NodeSelector: map[string]string{"pool": "web"}}}},
			Status:     appsv1.DeploymentStatus{ObservedGeneration: 1},
		},
		&appsv1.ReplicaSet{ObjectMeta: owned("web-1", "Deployment", "web", "web")},
		&appsv1.ReplicaSet{ObjectMeta: owned("old-1", "Deployment", "web", "one of that name that is gone")},
		pod("a", "a1", "web-1", "web-1", corev1.ConditionTrue), pod("b", "b1", "web-1", "web-1", corev1.ConditionFalse), pod("c", "a1", "old-1", "old-1", corev1.ConditionTrue),
		node("a1", "a"), node("b1", "b"),
	}
	rel := &chart.Release{Manifests: []byte(manifests), Info: evidence.Release{Namespace: "shop"}}
	collect := func(c *fake.Clientset) Seen {
		t.Helper()
		out := written{}
		if err := New().Collect(t.Context(), collectors.Input{Release: rel, Cluster: &cluster.Cluster{Kube: c}, Now: func() time.Time { return at }}, out); err != nil {
			t.Fatal(err)
		}
		var s Seen
		if err := json.Unmarshal(out[file], &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	hard := []corev1.Taint{{Key: "hard", Effect: corev1.TaintEffectNoSchedule}}
	pool := map[string]string{"pool": "web"}
	want := Seen{
		At:    at,
		Nodes: []Node{{Name: "a1", Zone: "a", Ready: true, Taints: hard, Labels: pool}, {Name: "b1", Zone: "b", Ready: true, Taints: hard, Labels: pool}},
		Workloads: []Workload{
			{Index: 0, Namespace: "shop", Found: true, Replicas: 3, Outdated: true, NodeSelector: pool, Pods: []Pod{
				{Name: "a", Node: "a1", Zone: "a", Ready: true, Owners: []string{"ReplicaSet web-1", "Deployment web"}},
				{Name: "b", Node: "b1", Zone: "b", Owners: []string{"ReplicaSet web-1", "Deployment web"}},
				{Name: "c", Node: "a1", Zone: "a", Ready: true, Owners: []string{"ReplicaSet old-1"}},
			}},
			{Index: 2, Namespace: "data", Pods: []Pod{}},
		},
	}
	if diff := cmp.Diff(want, collect(fake.NewClientset(live...))); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
	for _, resource := range []string{"deployments", "replicasets", "pods", "nodes"} {
		c := fake.NewClientset(live...)
		c.PrependReactor("*", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, fmt.Errorf("%s are forbidden", resource)
		})
		s := collect(c)
		if got := s.Workloads[0].Error + s.NodesError; !strings.Contains(got, resource+" are forbidden") {
			t.Errorf("without %s: %q", resource, got)
		}
	}
}

func FuzzFindings(f *testing.F) {
	raw, err := json.Marshal(good())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"at":"2026-11-01T12:00:00Z","workloads":[{"index":0,"found":true,"replicas":2,"pods":[{"ready":true,"owners":["Deployment web"]}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if found, err := collectors.Findings(seal(t, manifests, raw), New()); err == nil && len(found) < 4 {
			t.Errorf("%d findings of two workloads by two rules", len(found))
		}
	})
}
