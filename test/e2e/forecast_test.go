package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/kubectl/pkg/drain"
	"k8s.io/utils/ptr"

	"github.com/companyos/helmproof/collectors/forecast"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/test/kube"
)

const (
	forecastPools = 40 // side by side, each of five nodes in three zones
	poolLabel     = "forecast-pool"
)

// forecastRounds is how often the pools are filled and drained: once, or as often as
// HELMPROOF_FORECAST_ROUNDS says.
func forecastRounds(t *testing.T) int {
	t.Helper()
	n := os.Getenv("HELMPROOF_FORECAST_ROUNDS")
	if n == "" {
		return 1
	}
	rounds, err := strconv.Atoi(n)
	if err != nil || rounds < 1 {
		t.Fatalf("HELMPROOF_FORECAST_ROUNDS=%s: want a number of rounds", n)
	}
	return rounds
}

// pool is a few nodes that nobody else uses, and what runs there in this round.
type pool struct {
	name, namespace string
	nodes           []string
	r               *rand.Rand
	drained         []string // in this round
	said            forecast.Forecast
}

// TestForecastAgainstDrains drains what was forecast, with the real scheduler and
// kubectl's own drain: what is said to drain has to.
func TestForecastAgainstDrains(t *testing.T) {
	c := needCluster(t, kube.TierB)
	c.config.QPS, c.config.Burst = 1000, 2000
	cl, err := cluster.ConnectConfig(t.Context(), c.config)
	if err != nil {
		t.Fatal(err)
	}
	c.kube = cl.Kube
	pools := makePools(t, c)
	var mu sync.Mutex
	tally, drained, falseDrains := map[forecast.Outcome]int{}, map[forecast.Outcome]int{}, 0
	rounds := forecastRounds(t)
	for round := range rounds {
		each(t, pools, func(p *pool) error {
			p.namespace = fmt.Sprintf("%s-%d", p.name, round)
			return p.fill(t.Context(), c)
		})
		began := time.Now()
		s, err := forecast.Take(t.Context(), cl, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		for _, p := range pools {
			p.choose(s)
			p.said = s.Drain(p.drained...)
		}
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %d pods on %d nodes read in %s, %d KiB; %d forecasts in %s", round, len(s.Pods), len(s.Nodes), took.Round(time.Millisecond), len(raw)>>10, len(pools), (time.Since(began) - took).Round(time.Millisecond))
		each(t, pools, func(p *pool) error {
			why, err := p.drain(t.Context(), c)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			tally[p.said.Outcome]++
			switch {
			case why == "":
				drained[p.said.Outcome]++
				if p.said.Outcome != forecast.Drains {
					t.Logf("%s: %v drained, said was %s: %s", p.namespace, p.drained, p.said.Outcome, p.said.Why())
				}
			case p.said.Outcome == forecast.Drains:
				falseDrains++
				t.Errorf("%s: %v was said to drain: %s", p.namespace, p.drained, why)
			}
			return nil
		})
		t.Logf("until round %d: said %v; of these drained %v; false \"drains\": %d; the round took %s", round, tally, drained, falseDrains, time.Since(began).Round(time.Second))
		each(t, pools, func(p *pool) error { return p.clear(t.Context(), c) })
	}
	for _, o := range []forecast.Outcome{forecast.Drains, forecast.Blocks, forecast.Unplaced, forecast.Violates} {
		if tally[o] < rounds {
			t.Errorf("%s was said of %d only", o, tally[o])
		}
	}
}

func each(t *testing.T, pools []*pool, f func(*pool) error) {
	t.Helper()
	var g errgroup.Group
	for _, p := range pools {
		g.Go(func() error {
			if err := f(p); err != nil {
				return fmt.Errorf("%s: %w", p.namespace, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

func makePools(t *testing.T, c *testCluster) []*pool {
	t.Helper()
	var pools []*pool
	for i := range forecastPools {
		p := &pool{name: fmt.Sprintf("forecast-%d", i), r: rand.New(rand.NewPCG(uint64(i), 7))} //nolint:gosec // a test that repeats
		for n := range 5 {
			name := fmt.Sprintf("%s-node-%d", p.name, n)
			if err := c.AddSimulatedNode(t.Context(), name, fmt.Sprintf("%s-z%d", p.name, n%3)); err != nil {
				t.Fatal(err)
			}
			patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, poolLabel, p.name)
			if _, err := c.kube.CoreV1().Nodes().Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			p.nodes = append(p.nodes, name)
		}
		pools = append(pools, p)
	}
	t.Cleanup(func() {
		if err := c.kube.CoreV1().Nodes().DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: poolLabel}); err != nil {
			t.Error(err)
		}
	})
	eventually(t, 2*time.Minute, "nodes to be Ready", func() bool {
		l, err := c.kube.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: poolLabel})
		if err != nil {
			t.Fatal(err)
		}
		return !slices.ContainsFunc(l.Items, func(n corev1.Node) bool {
			return len(n.Spec.Taints) != 1 || !slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			})
		})
	})
	return pools
}

// template is a random pod.
func (p *pool) template(app string) corev1.PodTemplateSpec {
	labels := map[string]string{"app": app}
	of := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	cpu := resource.NewMilliQuantity(int64(200+p.r.IntN(15)*300), resource.DecimalSI)
	spec := corev1.PodSpec{
		NodeSelector:                  map[string]string{poolLabel: p.name},
		Tolerations:                   []corev1.Toleration{{Key: "kwok.x-k8s.io/node", Operator: corev1.TolerationOpExists}},
		TerminationGracePeriodSeconds: ptr.To(int64(1)),
		Containers: []corev1.Container{{
			Name: "app", Image: "cluster.test/none:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *cpu}},
		}},
	}
	for _, key := range []string{corev1.LabelHostname, corev1.LabelTopologyZone} {
		switch p.r.IntN(6) {
		case 0, 1:
			con := corev1.TopologySpreadConstraint{MaxSkew: 1 + p.r.Int32N(2), TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: of(app)}
			if p.r.IntN(3) == 0 {
				con.NodeTaintsPolicy = ptr.To(corev1.NodeInclusionPolicyHonor)
			}
			if p.r.IntN(4) == 0 {
				con.MinDomains = ptr.To(1 + p.r.Int32N(3))
			}
			spec.TopologySpreadConstraints = append(spec.TopologySpreadConstraints, con)
		case 2:
			if spec.Affinity == nil {
				spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{}}
			}
			anti := spec.Affinity.PodAntiAffinity
			anti.RequiredDuringSchedulingIgnoredDuringExecution = append(anti.RequiredDuringSchedulingIgnoredDuringExecution,
				corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: of(fmt.Sprintf("app-%d", p.r.IntN(3)))})
		}
	}
	if p.r.IntN(8) == 0 {
		spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	}
	if p.r.IntN(8) == 0 {
		spec.Volumes = []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}
}

// fill makes random workloads and budgets, and waits until all is as it will be.
func (p *pool) fill(ctx context.Context, c *testCluster) error {
	core, apps := c.kube.CoreV1(), c.kube.AppsV1()
	if _, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := until(ctx, "the service account", time.Minute, func() (bool, error) {
		_, err := core.ServiceAccounts(p.namespace).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, nil
	}); err != nil {
		return err
	}
	for i := range 1 + p.r.IntN(3) {
		app := fmt.Sprintf("app-%d", i)
		tpl, n := p.template(app), 1+p.r.Int32N(5)
		o := metav1.ObjectMeta{Name: app}
		sel := &metav1.LabelSelector{MatchLabels: tpl.Labels}
		var err error
		if p.r.IntN(5) == 0 {
			_, err = apps.StatefulSets(p.namespace).Create(ctx, &appsv1.StatefulSet{ObjectMeta: o, Spec: appsv1.StatefulSetSpec{Replicas: &n, Selector: sel, Template: tpl, ServiceName: app}}, metav1.CreateOptions{})
		} else {
			_, err = apps.Deployments(p.namespace).Create(ctx, &appsv1.Deployment{ObjectMeta: o, Spec: appsv1.DeploymentSpec{Replicas: &n, Selector: sel, Template: tpl}}, metav1.CreateOptions{})
		}
		if err != nil {
			return err
		}
		for range []int{0, 1, 1, 1, 1, 1, 1, 2}[p.r.IntN(8)] {
			b := policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{GenerateName: app + "-"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: sel}}
			v := intstr.FromInt32(p.r.Int32N(n + 1))
			if p.r.IntN(3) == 0 {
				v = intstr.FromString(fmt.Sprintf("%d%%", p.r.IntN(101)))
			}
			if p.r.IntN(2) == 0 {
				b.Spec.MinAvailable = &v
			} else {
				b.Spec.MaxUnavailable = &v
			}
			if _, err := c.kube.PolicyV1().PodDisruptionBudgets(p.namespace).Create(ctx, &b, metav1.CreateOptions{}); err != nil {
				return err
			}
		}
	}
	if p.r.IntN(15) == 0 {
		tpl := p.template("bare")
		if _, err := core.Pods(p.namespace).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "bare", Labels: tpl.Labels}, Spec: tpl.Spec}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	// What finds no node is scaled away, so that every workload has what it wants.
	still := func() bool { return p.settled(ctx, c, false) == nil }
	if err := until(ctx, "pods to be Ready or refused", time.Minute, func() (bool, error) { return p.settled(ctx, c, true) == nil, nil }); err != nil {
		return err
	}
	if !still() {
		if err := p.scaleDown(ctx, c); err != nil {
			return err
		}
	}
	err := until(ctx, "all to be settled", time.Minute, func() (bool, error) { return still(), nil })
	if err != nil {
		return fmt.Errorf("%w: %w", err, p.settled(ctx, c, false))
	}
	return nil
}

// settled says what is not as it will be; refused allows for pods that the
// scheduler has refused.
func (p *pool) settled(ctx context.Context, c *testCluster, refused bool) error {
	pods, err := c.kube.CoreV1().Pods(p.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := map[string]int32{}
	for _, pod := range pods.Items {
		is := func(t corev1.PodConditionType, s corev1.ConditionStatus) bool {
			return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == t && c.Status == s })
		}
		switch {
		case pod.DeletionTimestamp != nil:
			return fmt.Errorf("%s is being deleted", pod.Name)
		case is(corev1.PodReady, corev1.ConditionTrue):
			ready[pod.Labels["app"]]++
		case refused && is(corev1.PodScheduled, corev1.ConditionFalse):
		default:
			return fmt.Errorf("%s is not Ready", pod.Name)
		}
	}
	deployments, err := c.kube.AppsV1().Deployments(p.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		if d.Status.ObservedGeneration != d.Generation || d.Status.Replicas != *d.Spec.Replicas || d.Status.UpdatedReplicas != *d.Spec.Replicas || !refused && (d.Status.AvailableReplicas != *d.Spec.Replicas || ready[d.Name] != *d.Spec.Replicas) {
			return fmt.Errorf("%s has %+v", d.Name, d.Status)
		}
	}
	sets, err := c.kube.AppsV1().StatefulSets(p.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range sets.Items {
		// A StatefulSet makes its next pod only once the last one is Ready.
		if s.Status.ObservedGeneration != s.Generation || !refused && (s.Status.ReadyReplicas != *s.Spec.Replicas || s.Status.Replicas != *s.Spec.Replicas || ready[s.Name] != *s.Spec.Replicas) {
			return fmt.Errorf("%s has %+v", s.Name, s.Status)
		}
		if refused && s.Status.ReadyReplicas != *s.Spec.Replicas && s.Status.Replicas == s.Status.ReadyReplicas {
			return fmt.Errorf("%s is not done", s.Name)
		}
	}
	budgets, err := c.kube.PolicyV1().PodDisruptionBudgets(p.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	selected := map[string]int{}
	for _, b := range budgets.Items {
		selected[b.Spec.Selector.MatchLabels["app"]]++
	}
	for _, b := range budgets.Items {
		app := b.Spec.Selector.MatchLabels["app"]
		if selected[app] > 1 {
			continue // the controller looks after one of them only
		}
		if b.Status.ObservedGeneration != b.Generation || !refused && (b.Status.CurrentHealthy != ready[app] || b.Status.ExpectedPods != ready[app]) {
			return fmt.Errorf("budget %s has %+v", b.Name, b.Status)
		}
	}
	return nil
}

// scaleDown leaves each workload as many replicas as are Ready.
func (p *pool) scaleDown(ctx context.Context, c *testCluster) error {
	apps := c.kube.AppsV1()
	patch := func(n int32) []byte { return fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n) }
	deployments, err := apps.Deployments(p.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		if _, err := apps.Deployments(p.namespace).Patch(ctx, d.Name, types.MergePatchType, patch(d.Status.AvailableReplicas), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	sets, err := apps.StatefulSets(p.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range sets.Items {
		if _, err := apps.StatefulSets(p.namespace).Patch(ctx, s.Name, types.MergePatchType, patch(s.Status.ReadyReplicas), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	pod, err := c.kube.CoreV1().Pods(p.namespace).Get(ctx, "bare", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil || pod.Spec.NodeName != "":
		return err
	}
	return c.kube.CoreV1().Pods(p.namespace).Delete(ctx, "bare", metav1.DeleteOptions{})
}

// choose picks a node that runs a pod of the round, or the zone of one.
func (p *pool) choose(s *forecast.Snapshot) {
	var used []string
	for _, pod := range s.Pods {
		if pod.Namespace == p.namespace && !slices.Contains(used, pod.Node) {
			used = append(used, pod.Node)
		}
	}
	slices.Sort(used)
	p.drained = p.nodes[:1]
	if len(used) > 0 {
		p.drained = []string{used[p.r.IntN(len(used))]}
	}
	if p.r.IntN(3) == 0 {
		n := slices.IndexFunc(s.Nodes, func(n forecast.Node) bool { return n.Name == p.drained[0] })
		p.drained = s.Zone(s.Nodes[n].Zone())
	}
}

// drain cordons and drains as kubectl does, and says why that, or the return of all
// pods, did not come to an end.
func (p *pool) drain(ctx context.Context, c *testCluster) (why string, err error) {
	limit := 20 * time.Second
	if p.said.Outcome == forecast.Drains {
		limit = 2 * time.Minute // it must not fail for want of time
	}
	h := &drain.Helper{Ctx: ctx, Client: c.kube, GracePeriodSeconds: -1, IgnoreAllDaemonSets: true, DeleteEmptyDirData: true, Timeout: limit, Out: io.Discard, ErrOut: io.Discard}
	for _, name := range p.drained {
		node, err := c.kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if err := drain.RunCordonOrUncordon(h, node, true); err != nil {
			return "", err
		}
	}
	var g errgroup.Group
	for _, name := range p.drained {
		g.Go(func() error { return drain.RunNodeDrain(h, name) })
	}
	if err := g.Wait(); err != nil {
		return err.Error(), nil //nolint:nilerr // that is what is asked for
	}
	if err := until(ctx, "pods to be back", limit, func() (bool, error) { return p.settled(ctx, c, false) == nil, nil }); err != nil {
		return fmt.Sprintf("%v: %v", err, p.settled(ctx, c, false)), nil
	}
	return "", nil
}

// clear takes the round's namespace away and uncordons.
func (p *pool) clear(ctx context.Context, c *testCluster) error {
	if err := c.kube.CoreV1().Namespaces().Delete(ctx, p.namespace, metav1.DeleteOptions{}); err != nil {
		return err
	}
	for _, name := range p.drained {
		if _, err := c.kube.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(`{"spec":{"unschedulable":null}}`), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return until(ctx, "nodes to be free again", 2*time.Minute, func() (bool, error) {
		pods, err := c.kube.CoreV1().Pods(p.namespace).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil || len(pods.Items) > 0 {
			return false, err
		}
		for _, name := range p.drained {
			n, err := c.kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil || len(n.Spec.Taints) != 1 {
				return false, err
			}
		}
		return true, nil
	})
}

// until asks twice a second until ok.
func until(ctx context.Context, what string, limit time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no %s within %s", what, limit)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
