package forecast

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// world is a snapshot under construction: nodes of 4 cpus, n1 and n4 in za, n2 and
// n5 in zb, n3 and n6 in zc.
type world struct{ Snapshot }

func newWorld(nodes int) *world {
	w := &world{}
	for i := range nodes {
		name := fmt.Sprintf("n%d", i+1)
		w.Nodes = append(w.Nodes, Node{
			Name: name, Ready: true, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelTopologyZone: "z" + "abc"[i%3:i%3+1]},
			Allocatable: map[string]int64{"cpu": 4000, "memory": 8 << 30, "pods": 110},
		})
	}
	return w
}

// deploy puts a pod of a Deployment on each of the nodes.
func (w *world) deploy(name string, cpu int64, edit func(*Shape), nodes ...string) {
	s := Shape{Requests: map[string]int64{"cpu": cpu}}
	if edit != nil {
		edit(&s)
	}
	w.Shapes = append(w.Shapes, s)
	l := map[string]string{"app": name}
	w.Workloads = append(w.Workloads, Workload{Kind: "ReplicaSet", Namespace: "shop", Name: name + "-1", UID: name, Top: "Deployment/" + name, Replicas: int32(len(nodes)), Labels: l})
	for i, n := range nodes {
		w.Pods = append(w.Pods, Pod{Namespace: "shop", Name: fmt.Sprintf("%s-%d", name, i), Node: n, Labels: l, Shape: len(w.Shapes) - 1, OwnerKind: "ReplicaSet", OwnerUID: name, Ready: n != ""})
	}
}

func selecting(app string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func (w *world) budget(app string, desired int32) {
	var n int32
	for _, p := range w.Pods {
		if p.Labels["app"] == app && p.Ready {
			n++
		}
	}
	w.Budgets = append(w.Budgets, Budget{Namespace: "shop", Name: app, Selector: selecting(app), Says: fmt.Sprintf("minAvailable %d", desired), Healthy: n, Desired: desired, Expected: n, Allowed: max(0, n-desired)})
}

// guard is a webhook as old as all pods, which pods on the nodes answer for.
func (w *world) guard(nodes ...string) {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for i := range w.Pods {
		w.Pods[i].Made = at
	}
	w.Webhooks = []Webhook{{Name: "guard", Resource: "pods", Since: at, AnsweredOn: nodes}}
}

func spread(key, app string, skew int32) func(*Shape) {
	return func(s *Shape) {
		s.Spread = append(s.Spread, corev1.TopologySpreadConstraint{MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: selecting(app)})
	}
}

func apart(key, app string) func(*Shape) {
	return func(s *Shape) {
		s.AntiAffinity = append(s.AntiAffinity, corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: selecting(app)})
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	const host, zone = corev1.LabelHostname, corev1.LabelTopologyZone
	for _, tt := range []struct {
		name  string
		build func(w *world)
		want  Outcome
		why   string
		drain []string // n1 if empty
	}{
		{"nothing there", func(*world) {}, Drains, "", nil},
		{"room elsewhere", func(w *world) { w.deploy("web", 500, nil, "n1", "n2"); w.budget("web", 1) }, Drains, "", nil},
		{"one that comes back to a cordoned node", func(w *world) {
			w.deploy("web", 500, func(s *Shape) { s.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} }, "n1", "n2")
			w.budget("web", 1)
		}, Unknown, "may run on the drained node again", nil},
		{"more that are wanted than there may be", func(w *world) {
			w.deploy("web", 500, nil, "n1", "n2")
			for _, name := range []string{"a", "b"} {
				w.deploy(name, 0, nil, "n2")
				w.Workloads[len(w.Workloads)-1].Replicas = 4000
			}
		}, Unknown, "Deployment/b in shop wants 3999 pods that are not there", nil},
		{"no replica to spare", func(w *world) { w.deploy("web", 500, nil, "n1", "n2"); w.budget("web", 2) }, Blocks, "PodDisruptionBudget shop/web allows no disruption: there is no replica to spare (minAvailable 2; 2 of 2 pods healthy, 2 needed)", nil},
		{"two on one node, one at a time", func(w *world) { w.deploy("web", 500, nil, "n1", "n1", "n2"); w.budget("web", 2) }, Drains, "", nil},
		{"pods missing", func(w *world) {
			w.deploy("web", 500, nil, "n1", "n2", "n3")
			w.budget("web", 2)
			w.Budgets[0].Healthy, w.Budgets[0].Allowed = 2, 0
		}, Blocks, "allows no disruption now: pods are missing or not Ready", nil},
		{"a status that is too good", func(w *world) {
			w.deploy("web", 500, nil, "n1", "n2", "n3")
			w.budget("web", 2)
			w.Pods[2].Ready = false
		}, Unknown, "has a status that the pods do not bear out", nil},
		{"stale budget", func(w *world) {
			w.deploy("web", 500, nil, "n1", "n2")
			w.budget("web", 1)
			w.Budgets[0].Stale = "its status is not up to date"
		}, Unknown, "tells nothing: its status is not up to date", nil},
		{"two budgets", func(w *world) { w.deploy("web", 500, nil, "n1", "n2"); w.budget("web", 1); w.budget("web", 0) }, Blocks, "is selected by 2 PodDisruptionBudgets (web, web): the eviction API refuses such pods", nil},
		{"budget of another namespace", func(w *world) {
			w.deploy("web", 500, nil, "n1", "n2")
			w.budget("web", 2)
			w.Budgets[0].Namespace = "other"
		}, Drains, "", nil},
		{"bare pod", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].OwnerKind, w.Pods[0].OwnerUID, w.Workloads = "", "", nil
		}, Blocks, "has no controller: kubectl drain refuses it without --force", nil},
		{"static pod", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].OwnerKind, w.Pods[0].OwnerUID, w.Pods[0].Mirror, w.Workloads = "Node", "n1", true, nil
		}, Drains, "", nil},
		{"DaemonSet", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].OwnerKind, w.Workloads[0].Kind = "DaemonSet", "DaemonSet"
		}, Drains, "", nil},
		{"orphan of a DaemonSet", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].OwnerKind, w.Workloads = "DaemonSet", nil
		}, Blocks, "belongs to a DaemonSet that is gone", nil},
		{"owner nobody knows", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].OwnerKind, w.Workloads = "Database", nil
		}, Unknown, "belongs to a Database: whether that makes it again is not known", nil},
		{"being rolled out", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Workloads[0].Unsettled = "is being rolled out"
		}, Unknown, "belongs to Deployment/web, which is being rolled out", nil},
		{"too many pods", func(w *world) { w.deploy("web", 500, nil, "n1", "n2"); w.Workloads[0].Replicas = 1 }, Unknown, "belongs to Deployment/web, which wants 1 pods and has 2", nil},
		{"not Ready", func(w *world) { w.deploy("web", 500, nil, "n1"); w.Pods[0].Ready = false }, Unknown, "is not Ready: whether one that replaces it becomes so is not known", nil},
		{"another not Ready", func(w *world) { w.deploy("web", 500, nil, "n1", "n2"); w.Pods[1].Ready = false }, Unknown, "belongs to Deployment/web, of which 1 pods are not Ready", nil},
		{"being deleted", func(w *world) { w.deploy("web", 500, nil, "n1"); w.Pods[0].Terminating = true }, Unknown, "is being deleted already", nil},
		{"relabelled", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].Labels = map[string]string{"app": "debug"}
		}, Unknown, "has other labels than the pod template of Deployment/web", nil},
		{"own scheduler", func(w *world) { w.deploy("web", 500, func(s *Shape) { s.Scheduler = "mine" }, "n1") }, Unknown, "is placed by the scheduler mine", nil},
		{"unknown volume", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].Volumes = []Volume{{Claim: "data", Unknown: "no volume is bound to it"}}
		}, Unknown, "claims data: no volume is bound to it", nil},
		{"webhook", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Webhooks = []Webhook{{Name: "inject", Resource: "pods"}}
		}, Unknown, "is up to the admission webhook inject (pods)", nil},
		{"webhook that let the pod through", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.guard("n2", "n3")
		}, Drains, "", nil},
		{"webhook that was there later", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.guard("n2", "n3")
			w.Pods[0].Made = w.Webhooks[0].Since.Add(-time.Second)
		}, Unknown, "is up to the admission webhook guard (pods), which was set up after the pod was made", nil},
		{"webhook that is drained", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.guard("n1", "n9")
		}, Unknown, "is up to the admission webhook guard (pods), for which only pods on drained nodes answer", nil},
		{"webhook on a node that is not Ready", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.guard("n1", "n2")
			w.Nodes[1].Ready = false
		}, Unknown, "for which only pods on drained nodes answer", nil},
		{"webhook of evictions", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.guard("n2")
			w.Webhooks[0].Resource = "pods/eviction"
		}, Unknown, "is up to the admission webhook guard (pods/eviction)", nil},
		{"webhook for others", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Webhooks = []Webhook{{Name: "inject", Resource: "pods", Namespaces: selecting("mesh")}}
		}, Drains, "", nil},
		{"quota", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Namespaces = []Namespace{{Name: "shop", Refuses: "ResourceQuota q is overrun"}}
		}, Unknown, "may not be made again: ResourceQuota q is overrun", nil},
		{"gap", func(w *world) { w.Gaps = []string{"list mutating webhooks: forbidden"} }, Unknown, "list mutating webhooks: forbidden", nil},
		{"no such node", func(*world) {}, Unknown, "node n9 is not in the snapshot", []string{"n9"}},
		{"no cpu", func(w *world) {
			w.deploy("web", 2500, nil, "n1")
			w.deploy("full", 2000, nil, "n2", "n3", "n4", "n5", "n6")
		}, Unplaced, "pod shop/web-0 finds no node: 5 short of cpu, 1 drained", nil},
		{"no cpu, but an autoscaler", func(w *world) {
			w.deploy("web", 2500, nil, "n1")
			w.deploy("full", 2000, nil, "n2", "n3", "n4", "n5", "n6")
			w.Autoscaler = "Karpenter"
		}, Unknown, "Karpenter may make one", nil},
		{"room for one of two", func(w *world) {
			w.deploy("web", 1500, nil, "n1", "n1")
			w.deploy("full", 3000, nil, "n3", "n4", "n5", "n6")
			w.deploy("half", 2000, nil, "n2")
		}, Unplaced, "is one of 2 that move, and the nodes have room for 1 such pods", nil},
		{"a small one may take the room", func(w *world) {
			w.deploy("web", 2000, nil, "n1")
			w.deploy("small", 500, nil, "n1")
			w.deploy("full", 3000, nil, "n3", "n4", "n5", "n6")
			w.deploy("half", 2000, nil, "n2")
		}, Unknown, "may find no node, by what the scheduler chooses for the pods before it; a placement that works was found", nil},
		{"one that waits may take the room", func(w *world) {
			w.deploy("web", 2000, nil, "n1")
			w.deploy("waits", 2000, nil, "")
			w.deploy("full", 3000, nil, "n3", "n4", "n5", "n6")
			w.deploy("half", 2000, nil, "n2")
		}, Unknown, "may find no node", nil},
		{"one that is missing may take the room", func(w *world) {
			w.deploy("web", 2000, nil, "n1")
			w.deploy("full", 2000, nil, "n2", "n3", "n4", "n5", "n6")
			w.Workloads[1].Replicas = 10
		}, Unknown, "may find no node", nil},
		{"tainted", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			for i := range w.Nodes[1:] {
				w.Nodes[i+1].Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
			}
		}, Unplaced, "5 tainted with gpu", nil},
		{"tolerated", func(w *world) {
			w.deploy("web", 500, func(s *Shape) { s.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: "Exists"}} }, "n1")
			for i := range w.Nodes[1:] {
				w.Nodes[i+1].Taints = []corev1.Taint{{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}}
			}
		}, Drains, "", nil},
		{"selected", func(w *world) {
			w.deploy("web", 500, func(s *Shape) { s.NodeSelector = map[string]string{host: "n1"} }, "n1")
		}, Unplaced, "5 not selected by its node selector or affinity", nil},
		{"volume of the node", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].Volumes = []Volume{{Claim: "data", Affinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: host, Operator: "In", Values: []string{"n1"}}}}}}}}
		}, Unplaced, "5 out of reach of the volume of data", nil},
		{"volume of the zone", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].Volumes = []Volume{{Claim: "data", Affinity: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: zone, Operator: "In", Values: []string{"za"}}}}}}}}
		}, Drains, "", nil},
		{"driver", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.Pods[0].Volumes = []Volume{{Claim: "data", Driver: "disk"}}
			w.Nodes[1].Drivers, w.Nodes[1].Allocatable["attachable-volumes/disk"] = []string{"disk"}, 0
		}, Unplaced, "4 without the driver disk, 1 drained, 1 short of attachable-volumes/disk", nil},
		{"host port", func(w *world) {
			port := func(s *Shape) { s.HostPorts = []HostPort{{Protocol: "TCP", Port: 80}} }
			w.deploy("web", 500, port, "n1", "n2", "n3", "n4", "n5", "n6")
		}, Unplaced, "5 with a host port that is taken", nil},
		{"anti-affinity, no node left", func(w *world) { w.deploy("web", 500, apart(host, "web"), "n1", "n2", "n3", "n4", "n5", "n6") }, Unplaced, "5 too near to a pod that it keeps away from", nil},
		{"anti-affinity", func(w *world) { w.deploy("web", 500, apart(host, "web"), "n1", "n2", "n3") }, Drains, "", nil},
		{"anti-affinity of others", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			w.deploy("shy", 500, apart(host, "web"), "n2", "n3", "n4", "n5", "n6")
		}, Unplaced, "5 too near", nil},
		{"affinity to what stays", func(w *world) {
			w.deploy("web", 500, func(s *Shape) {
				s.Affinity = []corev1.PodAffinityTerm{{TopologyKey: zone, LabelSelector: selecting("db")}}
			}, "n1")
			w.deploy("db", 500, nil, "n4")
		}, Drains, "", nil},
		{"affinity to what moves too", func(w *world) {
			w.deploy("web", 500, func(s *Shape) {
				s.Affinity = []corev1.PodAffinityTerm{{TopologyKey: zone, LabelSelector: selecting("db")}}
			}, "n1")
			w.deploy("db", 500, nil, "n1")
		}, Unknown, "goes with pods that are moved themselves", nil},
		{"spread over zones, node", func(w *world) { w.deploy("web", 500, spread(zone, "web", 1), "n1", "n2", "n3") }, Drains, "", nil},
		{"spread over zones, zone", func(w *world) { w.deploy("web", 500, spread(zone, "web", 1), "n1", "n2", "n3") }, Violates, "finds no node that keeps the spread (maxSkew 1 over topology.kubernetes.io/zone: za 0, zb 1, zc 1): 4 nodes would take it otherwise", []string{"n1", "n4"}},
		{"spread over zones that honors taints, zone", func(w *world) {
			w.deploy("web", 500, func(s *Shape) {
				spread(zone, "web", 1)(s)
				s.Spread[0].NodeTaintsPolicy = ptr.To(corev1.NodeInclusionPolicyHonor)
			}, "n1", "n2", "n3")
		}, Drains, "", []string{"n1", "n4"}},
		{"too few domains", func(w *world) {
			w.deploy("web", 500, func(s *Shape) {
				spread(zone, "web", 1)(s)
				s.Spread[0].NodeTaintsPolicy, s.Spread[0].MinDomains = ptr.To(corev1.NodeInclusionPolicyHonor), ptr.To(int32(3))
			}, "n1", "n2", "n3")
		}, Violates, "finds no node that keeps the spread", []string{"n1", "n4"}},
		{"spread, room for one of two", func(w *world) { w.deploy("web", 500, spread(zone, "web", 2), "n1", "n4", "n2", "n3", "n3") }, Violates, "is one of 2 that move, and the spread (maxSkew 2 over topology.kubernetes.io/zone: za 0, zb 1, zc 2) leaves room for 1", []string{"n1", "n4"}},
		{"spread over nodes, two move", func(w *world) { w.deploy("web", 500, spread(host, "web", 1), "n1", "n2", "n3") }, Drains, "", []string{"n1", "n2"}},
		{"spread over nodes, full", func(w *world) { w.deploy("web", 500, spread(host, "web", 1), "n1", "n2", "n3", "n4", "n5", "n6") }, Violates, "finds no node that keeps the spread", nil},
		{"cordoned and not Ready", func(w *world) {
			w.deploy("web", 500, nil, "n1")
			for i := 1; i < 4; i++ {
				w.Nodes[i].Unschedulable = true
			}
			w.Nodes[4].Ready, w.Nodes[5].Ready = false, false
		}, Unplaced, "3 cordoned, 2 not Ready, 1 drained", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(6)
			tt.build(w)
			nodes := tt.drain
			if nodes == nil {
				nodes = []string{"n1"}
			}
			f := w.Drain(nodes...)
			if f.Outcome != tt.want || !strings.Contains(f.Why(), tt.why) {
				t.Errorf("%s: %s\nwant %s: …%s…", f.Outcome, f.Why(), tt.want, tt.why)
			}
		})
	}
}

func TestEmptyDirIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(2)
	w.deploy("web", 1, func(s *Shape) { s.EmptyDir = true }, "n1")
	if f := w.Drain("n1"); f.Outcome != Drains || len(f.Notes) != 1 || !strings.Contains(f.Notes[0], "--delete-emptydir-data") {
		t.Errorf("%+v", f)
	}
}

// random makes a snapshot whose pods lie as a scheduler could have put them.
func random(r *rand.Rand) *world {
	w := newWorld(3 + r.IntN(4))
	for i := range 1 + r.IntN(4) {
		app := fmt.Sprintf("app%d", i)
		var edits []func(*Shape)
		for _, key := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
			switch r.IntN(6) {
			case 0:
				edits = append(edits, spread(key, app, int32(1+r.IntN(2))))
			case 1:
				edits = append(edits, apart(key, fmt.Sprintf("app%d", r.IntN(4))))
			}
		}
		if r.IntN(6) == 0 {
			edits = append(edits, func(s *Shape) { s.HostPorts = []HostPort{{Protocol: "TCP", Port: 80}} })
		}
		honor := r.IntN(3) == 0
		w.deploy(app, int64(200+100*r.IntN(15)), func(s *Shape) {
			for _, e := range edits {
				e(s)
			}
			for i := range s.Spread {
				if honor {
					s.Spread[i].NodeTaintsPolicy = ptr.To(corev1.NodeInclusionPolicyHonor)
				}
			}
		})
		placed := 0
		for range 1 + r.IntN(5) {
			if w.schedule(r, app) {
				placed++
			}
		}
		w.Workloads[len(w.Workloads)-1].Replicas = int32(placed)
	}
	for i := range w.Workloads {
		if n := w.Workloads[i].Replicas; n > 0 && r.IntN(2) == 0 {
			w.budget(w.Workloads[i].UID, r.Int32N(n+1))
		}
	}
	return w
}

// schedule puts one more pod of the newest workload on any node that takes it.
func (w *world) schedule(r *rand.Rand, app string) bool {
	p := Pod{Namespace: "shop", Name: fmt.Sprintf("%s-%d", app, len(w.Pods)), Labels: map[string]string{"app": app}, Shape: len(w.Shapes) - 1, OwnerKind: "ReplicaSet", OwnerUID: app, Ready: true}
	m := newModel(&w.Snapshot)
	if m.namespace[p.Namespace] == nil {
		m.namespace[p.Namespace] = &Namespace{Name: p.Namespace}
	}
	state := (&drain{model: m}).bare()
	at := state.any(r, &p)
	if at >= 0 {
		p.Node = w.Nodes[at].Name
		w.Pods = append(w.Pods, p)
	}
	return at >= 0
}

// any is any node that takes the pod now; -1: none does.
func (s *placing) any(r *rand.Rand, p *Pod) int {
	counts, near := s.allDomains(p), s.near(p)
	var fit []int
	for at := range s.s.Nodes {
		if s.refuses(p, at, near) == "" && !s.skewed(p, at, counts) {
			fit = append(fit, at)
		}
	}
	if len(fit) == 0 {
		return -1
	}
	return fit[r.IntN(len(fit))]
}

// stuck drains as a cluster would, with a scheduler that chooses by chance: pods are
// evicted where their budget allows it, and what was evicted is placed, in any order.
func stuck(r *rand.Rand, w *world, nodes []string) string {
	m := newModel(&w.Snapshot)
	d := &drain{model: m, nodes: map[int]bool{}}
	var left, waiting []int
	for _, n := range nodes {
		d.nodes[m.node[n]] = true
	}
	for i := range w.Pods {
		if d.nodes[m.node[w.Pods[i].Node]] {
			left = append(left, i)
		}
	}
	state := &placing{drain: d, free: m.free, on: slices.Clone(m.onNode)}
	healthy := slices.Clone(m.healthy)
	for len(left)+len(waiting) > 0 {
		progress := false
		r.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
		r.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
		for k, i := range left {
			mine := m.budgetsOf(&w.Pods[i])
			if len(mine) > 1 || len(mine) == 1 && healthy[mine[0]]-w.Budgets[mine[0]].Desired < 1 {
				continue
			}
			for _, b := range mine {
				healthy[b]--
			}
			at := m.node[w.Pods[i].Node]
			state.on[at] = slices.DeleteFunc(slices.Clone(state.on[at]), func(x int) bool { return x == i })
			left, waiting, progress = slices.Delete(left, k, k+1), append(waiting, i), true
			break
		}
		if len(waiting) > 0 && (!progress || r.IntN(2) == 0) {
			for k, i := range waiting {
				at := state.any(r, &w.Pods[i])
				if at < 0 {
					continue
				}
				state.put(i, at)
				for _, b := range m.budgetsOf(&w.Pods[i]) {
					healthy[b]++
				}
				waiting, progress = slices.Delete(waiting, k, k+1), true
				break
			}
		}
		if !progress {
			return fmt.Sprintf("%d pods left, %d without a node", len(left), len(waiting))
		}
	}
	return ""
}

// TestNoFalseDrains holds that what is said to drain does, whatever the scheduler
// chooses, and that what is said not to never does.
func TestNoFalseDrains(t *testing.T) {
	t.Parallel()
	count, wrong := map[Outcome]int{}, map[Outcome]int{}
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test that repeats
		w := random(r)
		nodes := []string{"n1"}
		if seed%3 == 0 {
			nodes = w.Zone("za")
		}
		f := w.Drain(nodes...)
		count[f.Outcome]++
		drained := false
		for range 30 {
			why := stuck(r, w, nodes)
			if f.Outcome == Drains && why != "" {
				t.Fatalf("seed %d: %v is said to drain: %s", seed, nodes, why)
			}
			drained = drained || why == ""
		}
		if drained && f.Outcome != Unknown && f.Outcome != Drains {
			wrong[f.Outcome]++
			t.Logf("seed %d: %s, yet it can drain: %s", seed, f.Outcome, f.Why())
		}
	}
	t.Logf("outcomes %v, of which could drain %v", count, wrong)
	for _, o := range []Outcome{Blocks, Unplaced, Violates, Drains} {
		if count[o] < 20 {
			t.Errorf("%s: only %d snapshots", o, count[o])
		}
	}
}

// BenchmarkForecast is the largest cluster that is looked at: 5,000 pods on 500
// nodes, a release of 50 pods whose node and zone spreads are not to be violated.
func BenchmarkForecast(b *testing.B) {
	w := newWorld(500)
	var nodes []string
	for i := range w.Nodes {
		w.Nodes[i].Allocatable["cpu"] = 16000
		nodes = append(nodes, w.Nodes[i].Name)
	}
	for i := range 100 {
		w.deploy(fmt.Sprintf("other%d", i), 200, apart(corev1.LabelHostname, fmt.Sprintf("other%d", i)), nodes[i*4:i*4+49]...)
	}
	w.deploy("web", 500, func(s *Shape) {
		spread(corev1.LabelHostname, "web", 1)(s)
		spread(corev1.LabelTopologyZone, "web", 1)(s)
	}, nodes[:50]...)
	w.budget("web", 49)
	var pods []int
	for i := range w.Pods {
		if w.Pods[i].OwnerUID == "web" {
			pods = append(pods, i)
		}
	}
	for b.Loop() {
		if list := w.Forecast(pods); len(list) != 53 || list[0].Outcome != Drains {
			b.Fatalf("%d forecasts: %s: %s", len(list), list[0].Outcome, list[0].Why())
		}
	}
}
