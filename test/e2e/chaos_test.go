package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chaos"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

const shopTemplate = `apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: {{ .Values.available }}, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: main
        image: cluster.test/shop:1
        imagePullPolicy: Never
        args: [serve, ":8080", "late={{ .Values.late | default "0s" }}"]
        {{- if .Values.graceful }}
        lifecycle: {preStop: {sleep: {seconds: 4}}}
        {{- end }}
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, initialDelaySeconds: {{ .Values.delay }}}
`

// shop is a release that serves on the real nodes.
type shop struct {
	c       *kube.Cluster
	mine    *cluster.Cluster
	ns      string
	release *chart.Release
	address string
	at      map[string]func() // what to do when a phase begins
}

// install gives a chart's release, applied, in a namespace of its own.
func install(t *testing.T, c *kube.Cluster, ns, template string, values ...string) (*cluster.Cluster, *chart.Release) {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"Chart.yaml": "{apiVersion: v2, name: shop, version: 1.0.0}", "values.yaml": "{replicas: 4, available: 2, graceful: true, delay: 0}", "templates/all.yaml": template,
	}
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rel, err := chart.Load(t.Context(), dir, chart.LoadOptions{ReleaseName: "shop", Namespace: ns, Set: values})
	if err != nil {
		t.Fatal(err)
	}
	mine, err := cluster.Connect(t.Context(), cluster.Options{Kubeconfig: c.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, string(rbac.Drill))
	c.Apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+ns+"}}")
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "namespace", ns, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.TryKubectl(t.Context(), string(rel.Manifests), "apply", "-n", ns, "-f", "-"); err != nil {
		t.Fatal(err)
	}
	return mine, rel
}

func newShop(t *testing.T, c *kube.Cluster, ns string, values ...string) *shop {
	t.Helper()
	mine, rel := install(t, c, ns, shopTemplate, values...)
	c.Kubectl(t, "rollout", "status", "-n", ns, "deployment/web", "--timeout=90s")
	s := &shop{c: c, mine: mine, ns: ns, release: rel, address: "http://" + c.Kubectl(t, "get", "service", "web", "-n", ns, "-o", "jsonpath={.spec.clusterIP}") + "/"}
	kube.Eventually(t, time.Minute, "the budget", func() bool {
		b, err := mine.Kube.PolicyV1().PodDisruptionBudgets(ns).Get(t.Context(), "web", metav1.GetOptions{})
		return err == nil && b.Status.ObservedGeneration == b.Generation && b.Status.CurrentHealthy == b.Status.ExpectedPods && b.Status.ExpectedPods > 0
	})
	good := 0 // in a row: by then each pod has answered
	kube.Eventually(t, time.Minute, "good answers", func() bool {
		res, err := (&http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get(s.address)
		if good++; err != nil || res.Body.Close() != nil || res.StatusCode != http.StatusOK {
			good = 0
		}
		return good >= 15
	})
	return s
}

func (s *shop) plan(e drill.Experiment) drill.Plan {
	second := evidence.Duration(time.Second)
	p := drill.Plan{
		Experiment: e, Probes: []drill.Probe{{Name: "web", Address: s.address, Rate: 20}}, AllowNamespaces: []string{s.ns},
		Phases: drill.Phases{Before: 3 * second, After: 3 * second, Recover: 60 * second, Deadline: 240 * second},
		Limits: drill.Limits{Pods: 10, Percent: 100, Nodes: 1},
	}
	p.Complete()
	return p
}

func (s *shop) drilled(t *testing.T, p drill.Plan) ([]evidence.Finding, drill.Figures) {
	t.Helper()
	return drilled(t, s.mine, s.release, p, s.at)
}

// drilled runs a plan, and returns what was found and the figures.
func drilled(t *testing.T, mine *cluster.Cluster, rel *chart.Release, p drill.Plan, at map[string]func()) ([]evidence.Finding, drill.Figures) {
	t.Helper()
	progress := func(what string) {
		t.Log(what)
		if f := at[what]; f != nil {
			f()
		}
	}
	files := collectors.NewArtifacts(nil)
	c := chaos.New(chaos.Options{Plan: &p, Progress: progress})
	runs, err := collectors.Run(t.Context(), collectors.Input{Release: rel, Cluster: mine}, []collectors.Collector{c}, files, collectors.RunOptions{Now: time.Now})
	if err != nil || runs[0].Outcome != evidence.OutcomePass {
		t.Fatalf("%v %+v", err, runs)
	}
	if err := collectors.WriteJSON(writer{files}, collectors.ReleaseFile, rel.Info); err != nil {
		t.Fatal(err)
	}
	found, runs := collectors.Derive(collectors.NewSealed(files, config.RuleControls()), []collectors.Collector{chaos.New(chaos.Options{})}, runs)
	if runs[0].Outcome != evidence.OutcomePass {
		t.Fatal(runs[0].Error)
	}
	for _, f := range found {
		t.Logf("%-12s %s %s: %s", f.Outcome, f.Rule, f.Target.Object(), f.Message)
	}
	rec, err := drill.ReadRecord(files, chaos.Name)
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, b := range files.Files() {
		size += len(b)
	}
	t.Logf("%d bytes sealed; %s", size, rec.Figures().Conclusion)
	return found, rec.Figures()
}

// writer writes artifacts that are no collector's.
type writer struct{ a *collectors.Artifacts }

func (w writer) Write(name string, content []byte) error {
	_, err := w.a.Put(name, content)
	return err
}

// wanted holds findings to outcomes by what they are about, and to a text.
func wanted(t *testing.T, found []evidence.Finding, e drill.Experiment, want map[string]string) {
	t.Helper()
	for about, w := range want {
		outcome, text, _ := strings.Cut(w, ": ")
		if !slices.ContainsFunc(found, func(f evidence.Finding) bool {
			return f.Rule == "chaos/"+string(e)+about && string(f.Outcome) == outcome && strings.Contains(f.Message+"\n"+f.Remediation, text)
		}) {
			t.Errorf("no finding %q: %s", about, w)
		}
	}
}

// noneCordoned fails if a node is unschedulable.
func noneCordoned(t *testing.T, c *kube.Cluster) {
	t.Helper()
	if out := c.Kubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); out != "" {
		t.Errorf("a node is still cordoned: %s", out)
	}
}

// TestDrillPods disturbs a release on real nodes: it holds where it is built well, and
// fails for the reason that it was given where it is not. There is one Lease per
// cluster, so no drill is parallel to another.
func TestDrillPods(t *testing.T) {
	c := kube.Start(t, kube.TierC)
	if err := c.LoadImage(t.Context(), kube.Image{Ref: "cluster.test/shop:1", Binary: c.TestPod()}); err != nil {
		t.Fatal(err)
	}
	whole := map[string]string{"": "pass", "/availability": "pass", "/disruption-budget": "pass", "/recovery": "pass", "/restored": "pass"}
	t.Run("well built", func(t *testing.T) {
		s := newShop(t, c, "chaos-well")
		for _, e := range []drill.Experiment{drill.PodKill, drill.Eviction, drill.NodeDrain, drill.RollingRestart} {
			t.Run(string(e), func(t *testing.T) {
				p := s.plan(e)
				switch e {
				case drill.NodeDrain:
					p.Target.Node = "node-a"
				case drill.Eviction:
					p.Target.Count = 3 // more than the budget lets go at once
				}
				found, f := s.drilled(t, p)
				for range 3 { // on a busy machine each is replaced before the next is evicted
					if e != drill.Eviction || f.Refused > 0 {
						break
					}
					found, f = s.drilled(t, p)
				}
				wanted(t, found, e, whole)
				noneCordoned(t, c)
				if e == drill.Eviction && f.Refused == 0 {
					t.Error("no eviction was refused")
				}
			})
		}
		t.Run("container-kill", func(t *testing.T) {
			found, _ := s.drilled(t, s.plan(drill.ContainerKill))
			wanted(t, found, drill.ContainerKill, map[string]string{"": "not-checked: not possible here"})
		})
	})
	t.Run("one replica", func(t *testing.T) {
		s := newShop(t, c, "chaos-one", "replicas=1,available=0,graceful=false,delay=8")
		p := s.plan(drill.PodKill)
		found, _ := s.drilled(t, p)
		wanted(t, found, drill.PodKill, map[string]string{"": "fail: Run at least two replicas", "/availability": "fail: single replica", "/restored": "pass"})
	})
	t.Run("connections lost", func(t *testing.T) {
		s := newShop(t, c, "chaos-rude", "graceful=false")
		p := s.plan(drill.Eviction)
		p.SLO.Objective, p.Target.Count, p.Probes[0].Rate = 0.99999, 2, 100
		const lost = "connections are lost when a pod ends"
		var found []evidence.Finding
		for range 3 { // on a busy machine requests time out when none is lost, too
			c.Kubectl(t, "rollout", "status", "-n", s.ns, "deployment/web", "--timeout=90s")
			found, _ = s.drilled(t, p)
			if slices.ContainsFunc(found, func(f evidence.Finding) bool { return strings.Contains(f.Message, lost) }) {
				break
			}
		}
		wanted(t, found, drill.Eviction, map[string]string{"/availability": "fail: " + lost, "": "fail: preStop"})
	})
	t.Run("a readiness probe that lies", func(t *testing.T) {
		s := newShop(t, c, "chaos-lies", "late=8s")
		p := s.plan(drill.PodKill)
		p.Target.Count, p.SLO.Share, p.Probes[0].Rate = 2, 0.2, 50
		found, _ := s.drilled(t, p)
		wanted(t, found, drill.PodKill, map[string]string{"/availability": "fail: new pods were Ready before they served", "/restored": "pass"})
	})
	t.Run("a budget that blocks", func(t *testing.T) {
		s := newShop(t, c, "chaos-block", "available=4")
		p := s.plan(drill.Eviction)
		p.Phases.Recover = evidence.Duration(2 * time.Second) // what does not pass by itself is not waited for
		found, _ := s.drilled(t, p)
		wanted(t, found, drill.Eviction, map[string]string{"": "fail: allows no disruption", "/availability": "not-checked", "/restored": "not-applicable"})
	})
	t.Run("a budget that blocks later", func(t *testing.T) {
		s := newShop(t, c, "chaos-stuck", "available=3")
		p := s.plan(drill.Eviction)
		p.Target.Count, p.Phases.Recover = 2, evidence.Duration(5*time.Second)
		// From then on no replacement is made, so that the second eviction is refused for ever.
		s.at = map[string]func(){drill.MarkBefore: func() { c.Kubectl(t, "create", "quota", "none", "--hard=pods=0", "-n", s.ns) }}
		found, _ := s.drilled(t, p)
		wanted(t, found, drill.Eviction, map[string]string{
			"": "fail: PodDisruptionBudget chaos-stuck/web refused the eviction of chaos-stuck/web-", "/recovery": "fail: not all ready", "/disruption-budget": "pass", "/restored": "pass",
		})
	})
}

// TestDrillZone drains a zone of simulated nodes while pods are deleted by force,
// and holds the pods that were lost beyond budgets to those that a second watch counts.
func TestDrillZone(t *testing.T) {
	c := kube.Start(t, kube.TierB)
	const ns, loads, replicas = "chaos-zone", 20, 15
	var template strings.Builder
	chance := rand.New(rand.NewPCG(7, 11)) //nolint:gosec // a test's own dice
	desired := map[string]int{}
	for i := range loads {
		name := fmt.Sprintf("w%02d", i)
		desired[name] = 8 + chance.IntN(7)
		fmt.Fprintf(&template, `---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: %[1]s}
spec: {minAvailable: %[2]d, selector: {matchLabels: {app: %[1]s}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers: [{name: main, image: cluster.test/none:1}]
`, name, desired[name], replicas)
	}
	mine, rel := install(t, c, ns, template.String())
	kube.Eventually(t, 3*time.Minute, "300 pods and their budgets", func() bool {
		list, err := mine.Kube.PolicyV1().PodDisruptionBudgets(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != loads {
			return false
		}
		all, err := mine.Kube.AppsV1().Deployments(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil || slices.ContainsFunc(all.Items, func(d appsv1.Deployment) bool { return d.Status.AvailableReplicas != replicas }) {
			return false
		}
		for _, b := range list.Items {
			if b.Status.CurrentHealthy != replicas || int(b.Status.DisruptionsAllowed) != replicas-desired[b.Name] {
				return false
			}
		}
		return true
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // the test is over
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close() //nolint:errcheck // it is only looked at
		}
	}()
	second := evidence.Duration(time.Second)
	p := drill.Plan{
		Experiment: drill.ZoneDrain, Target: drill.Target{Zone: "kz-2"}, AllowNamespaces: []string{ns}, Probes: []drill.Probe{{Name: "any", Address: "tcp://" + listener.Addr().String()}},
		Phases: drill.Phases{Before: 3 * second, After: 3 * second, Recover: 60 * second, Deadline: 300 * second}, Limits: drill.Limits{Pods: 300, Percent: 100, Nodes: 5},
	}
	p.Complete()
	count := newCounter(t, mine, ns, desired)
	go count.deleteByForce(t.Context(), 60, chance)
	found, f := drilled(t, mine, rel, p, nil)
	noneCordoned(t, c)
	want := count.stop()
	got := map[string]bool{}
	for _, v := range f.Violations {
		for _, pod := range v.Pods {
			got[v.Budget+" "+pod] = true
		}
	}
	t.Logf("%d pods lost beyond budgets, %d evictions refused", len(got), f.Refused)
	if len(want) == 0 {
		t.Error("nothing was violated: the test shows nothing")
	}
	for _, pair := range slices.Concat(missing(want, got), missing(got, want)) {
		t.Errorf("counted by one alone: %s", pair)
	}
	wanted(t, found, drill.ZoneDrain, map[string]string{"/restored": "pass: uncordoned"})
	if len(f.Problems) == 1 && strings.Contains(f.Problems[0], "held up") {
		t.Log("the machine is busy: the prober was held up, so that the drill itself concludes nothing")
		return
	}
	wanted(t, found, drill.ZoneDrain, map[string]string{"/disruption-budget": "fail: violated by"})
	if len(f.Problems) > 0 {
		t.Error(f.Problems)
	}
}

func missing(a, b map[string]bool) (out []string) {
	for k := range a {
		if !b[k] {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// counter counts, with a watch of its own, pods lost while fewer than desired were left.
type counter struct {
	mine    *cluster.Cluster
	ns      string
	desired map[string]int

	mu     sync.Mutex
	lost   map[string]bool
	done   sync.WaitGroup
	cancel context.CancelFunc
}

func newCounter(t *testing.T, mine *cluster.Cluster, ns string, desired map[string]int) *counter {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := &counter{mine: mine, ns: ns, desired: desired, lost: map[string]bool{}, cancel: cancel}
	list, err := mine.Kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	healthy := map[string]map[string]bool{}
	for name := range desired {
		healthy[name] = map[string]bool{}
	}
	for i := range list.Items {
		p := &list.Items[i]
		healthy[p.Labels["app"]][string(p.UID)] = true // all are, when the drill begins
	}
	w, err := mine.Kube.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	n.done.Go(func() {
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			app := p.Labels["app"]
			isReady := slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
			})
			was := healthy[app][string(p.UID)]
			if e.Type != watch.Deleted && isReady && p.DeletionTimestamp == nil {
				healthy[app][string(p.UID)] = true
				continue
			}
			delete(healthy[app], string(p.UID))
			if was && len(healthy[app]) < desired[app] {
				n.mu.Lock()
				n.lost[ns+"/"+app+" "+ns+"/"+p.Name] = true
				n.mu.Unlock()
			}
		}
	})
	return n
}

// deleteByForce deletes pods at once, which asks no budget, from when a node is cordoned.
func (n *counter) deleteByForce(ctx context.Context, pods int, chance *rand.Rand) {
	kube := n.mine.Kube.CoreV1()
	for ctx.Err() == nil {
		nodes, err := kube.Nodes().List(ctx, metav1.ListOptions{})
		if err == nil && slices.ContainsFunc(nodes.Items, func(n corev1.Node) bool { return n.Spec.Unschedulable }) {
			break
		}
	}
	list, err := kube.Pods(n.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	now := int64(0)
	for _, i := range chance.Perm(len(list.Items))[:min(pods, len(list.Items))] {
		// That it is gone already is as well.
		_ = kube.Pods(n.ns).Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{GracePeriodSeconds: &now}) //nolint:errcheck // see above
	}
}

func (n *counter) stop() map[string]bool {
	n.cancel()
	n.done.Wait()
	return n.lost
}
