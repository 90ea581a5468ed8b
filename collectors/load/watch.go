package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/internal/loadrecord"
)

const (
	// lookEvery is how often pods and kubelets are asked.
	lookEvery = 5 * time.Second
	// askLimit is how long one of them may take to answer.
	askLimit = 10 * time.Second
	// settle is how long kubelets are listened to after the hold: they look every 10
	// to 15 seconds.
	settle = 16 * time.Second
	// metricsEvery is how many looks the metrics API is asked in.
	metricsEvery = 3
	maxMetrics   = 16 << 20 // bytes of its answer
)

// watcher writes down what the release's containers do. One goroutine at a time uses it.
type watcher struct {
	s       *drillrun.Session
	elapsed func() time.Duration
	world   func(context.Context) (*drillrun.World, error)

	text  bytes.Buffer
	full  bool
	looks int
	pods  map[string]loadrecord.Pod // the last of each, by UID
	of    known
	times map[string]int64 // of the last counter of each container and source
}

func newWatcher(s *drillrun.Session, l *drillrun.Live) *watcher {
	return &watcher{
		s: s, elapsed: l.Elapsed, world: s.Look,
		pods: map[string]loadrecord.Pod{}, of: known{map[string][2]string{}, map[[2]string]bool{}}, times: map[string]int64{},
	}
}

// put adds a line. What would be too much is left out, and that is said.
func (w *watcher) put(at time.Duration, s loadrecord.Seen) {
	s.At = at
	line, err := loadrecord.EncodeSeen(&s)
	if err != nil {
		w.failed(at, "usage", err)
		return
	}
	if w.full {
		return
	}
	w.full = w.text.Len()+len(line) > loadrecord.MaxUsage-4096
	if w.full {
		line = fullLine(at)
	}
	w.text.Write(line)
}

func fullLine(at time.Duration) []byte {
	return fmt.Appendf(nil, `{"at":%d,"failed":{"what":"usage","error":"there is more than may be sealed: nothing was recorded from here"}}`+"\n", at)
}

func (w *watcher) failed(at time.Duration, what string, err error) {
	text := err.Error()
	if len(text) > 500 {
		text = text[:500]
	}
	w.put(at, loadrecord.Seen{Failed: &loadrecord.Failed{What: what, Error: text}})
}

// watch looks until ctx ends.
func (w *watcher) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look(ctx)
		}
	}
}

// look looks once. What cannot be seen is written down as that.
func (w *watcher) look(ctx context.Context) {
	w.looks++
	nodes := w.lookAtPods(ctx)
	for _, n := range nodes {
		for _, source := range []string{loadrecord.Resource, loadrecord.Cadvisor} {
			w.lookAtKubelet(ctx, n, source)
		}
	}
	if w.looks%metricsEvery == 1 {
		for _, ns := range w.namespaces() {
			w.lookAtMetrics(ctx, ns)
		}
	}
}

func (w *watcher) namespaces() []string {
	var out []string
	for _, p := range w.pods {
		out = append(out, p.Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// lookAtPods returns the nodes that run pods of the release.
func (w *watcher) lookAtPods(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	world, err := w.world(ctx)
	at := w.elapsed()
	var nodes []string
	if err != nil {
		w.unlessOver(ctx, loadrecord.Pods, err)
		for _, p := range w.pods {
			nodes = append(nodes, p.Node)
		}
		return unique(nodes)
	}
	there := map[string]bool{}
	for i := range world.Workloads {
		for j := range world.Workloads[i].Pods {
			p := describe(&world.Workloads[i].Pods[j], world.Workloads[i].String())
			there[p.UID] = true
			nodes = append(nodes, p.Node)
			w.pod(at, p)
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(w.pods)) {
		if p := w.pods[uid]; !there[uid] && !p.Gone {
			p.Gone = true
			w.pod(at, p)
		}
	}
	return unique(nodes)
}

func unique(nodes []string) []string {
	nodes = slices.DeleteFunc(nodes, func(n string) bool { return n == "" })
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// pod writes a pod down where something has changed.
func (w *watcher) pod(at time.Duration, p loadrecord.Pod) {
	name := p.Namespace + "/" + p.Name
	for _, c := range p.Containers {
		w.of.byName[[2]string{name, c.Name}] = true
		if c.ID != "" {
			w.of.byID[c.ID] = [2]string{name, c.Name}
		}
	}
	old, ok := w.pods[p.UID]
	if ok && same(old, p) {
		return
	}
	w.pods[p.UID] = p
	w.put(at, loadrecord.Seen{Pod: &p})
}

func same(a, b loadrecord.Pod) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// describe is what is sealed of a pod: its containers, and those that start before
// them and stay.
func describe(p *corev1.Pod, workload string) loadrecord.Pod {
	out := loadrecord.Pod{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Workload: workload, Node: p.Spec.NodeName}
	always := corev1.ContainerRestartPolicyAlways
	specs := slices.Clone(p.Spec.Containers)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == always {
			specs = append(specs, c)
		}
	}
	statuses := slices.Concat(p.Status.ContainerStatuses, p.Status.InitContainerStatuses)
	for i := range specs {
		c := loadrecord.Container{Name: specs[i].Name, Requests: amounts(specs[i].Resources.Requests), Limits: amounts(specs[i].Resources.Limits)}
		for j := range statuses {
			if s := &statuses[j]; s.Name == c.Name {
				c.Restarts = s.RestartCount
				if m := idPattern.FindStringSubmatch(s.ContainerID); m != nil {
					c.ID = m[1]
				}
				t := s.State.Terminated
				if t == nil {
					t = s.LastTerminationState.Terminated
				}
				if t != nil {
					c.Ended = &loadrecord.Ended{Reason: t.Reason, Code: t.ExitCode, At: t.FinishedAt.UTC()}
				}
			}
		}
		out.Containers = append(out.Containers, c)
	}
	return out
}

func amounts(list corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for _, k := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if q, ok := list[k]; ok {
			out[string(k)] = q.String()
		}
	}
	return out
}

// lookAtKubelet reads one page of a kubelet's metrics through the API server.
func (w *watcher) lookAtKubelet(ctx context.Context, node, source string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	what := "kubelet " + node + ", metrics/" + source
	page, err := w.s.Cluster.Kube.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("metrics", source).Stream(ctx)
	if err != nil {
		w.unlessOver(ctx, what, err)
		return
	}
	list, err := counters(page, source, w.of, w.s.Now().UnixMilli())
	if err = errors.Join(err, page.Close()); err != nil {
		w.unlessOver(ctx, what, err)
		return
	}
	at := w.elapsed()
	for _, c := range list {
		key := c.Source + " " + c.Pod + " " + c.Container + " " + c.ID
		if last, ok := w.times[key]; ok && c.Time <= last+w.gap().Milliseconds() {
			continue // the kubelet repeats itself, or there is more than may be sealed
		}
		w.times[key] = c.Time
		w.put(at, loadrecord.Seen{Counter: &c})
	}
}

// perLook is what two sources say of a container at one time, in bytes.
const perLook = 500

// gap is the time between what is sealed of one container: with many of them and a
// long load it grows.
func (w *watcher) gap() time.Duration {
	load := w.s.Plan.Load
	if load == nil {
		return 0
	}
	d := time.Duration(load.Ramp+load.Hold) * perLook / loadrecord.MaxUsage * time.Duration(len(w.of.byName))
	if d < lookEvery {
		return 0
	}
	return d
}

// unlessOver writes down what failed, unless it did because the load is over.
func (w *watcher) unlessOver(ctx context.Context, what string, err error) {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return
	}
	w.failed(w.elapsed(), what, err)
}

// podMetrics is what counts of a PodMetricsList of metrics.k8s.io/v1beta1.
type podMetrics struct {
	Items []struct {
		Metadata   metav1.ObjectMeta `json:"metadata"`
		Timestamp  metav1.Time       `json:"timestamp"`
		Window     metav1.Duration   `json:"window"`
		Containers []struct {
			Name  string            `json:"name"`
			Usage map[string]string `json:"usage"`
		} `json:"containers"`
	} `json:"items"`
}

func (w *watcher) lookAtMetrics(ctx context.Context, namespace string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	what := "metrics API, namespace " + namespace
	list, err := metricsOf(ctx, w.s.Cluster.Kube.CoreV1().RESTClient(), namespace)
	if err != nil {
		w.unlessOver(ctx, what, err)
		return
	}
	at := w.elapsed()
	for i := range list.Items {
		m := &list.Items[i]
		pod := m.Metadata.Namespace + "/" + m.Metadata.Name
		for _, c := range m.Containers {
			if !w.of.byName[[2]string{pod, c.Name}] || m.Timestamp.IsZero() {
				continue
			}
			seen := loadrecord.Seen{Metric: &loadrecord.Metric{
				Pod: pod, Container: c.Name, Time: m.Timestamp.UnixMilli(), Window: m.Window.Duration, CPU: c.Usage["cpu"], Memory: c.Usage["memory"],
			}}
			if err := seen.Validate(); err != nil {
				w.failed(at, what, err)
				continue
			}
			w.put(at, seen)
		}
	}
}

func metricsOf(ctx context.Context, client rest.Interface, namespace string) (*podMetrics, error) {
	answer, err := client.Get().AbsPath("/apis/metrics.k8s.io/v1beta1/namespaces/", namespace, "/pods").Stream(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(answer, maxMetrics+1))
	if err = errors.Join(err, answer.Close()); err != nil {
		return nil, err
	}
	if len(raw) > maxMetrics {
		return nil, fmt.Errorf("more than %d bytes", maxMetrics)
	}
	list := new(podMetrics)
	return list, json.Unmarshal(raw, list)
}
