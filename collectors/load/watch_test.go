package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/loadrecord"
)

// TestWatcher looks three times: a pod that runs, one that was killed and reported
// again by a kubelet that has nothing new, and none at all.
func TestWatcher(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/nodes/a/proxy/metrics/cadvisor":
			fmt.Fprintf(w, "container_memory_working_set_bytes{id=\"/pod/%s\"} 5 1000\n", id1)
		case "/api/v1/nodes/a/proxy/metrics/resource":
			http.Error(w, "no such page", http.StatusNotFound)
		case "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods":
			fmt.Fprint(w, `{"items":[{"metadata":{"namespace":"shop","name":"web-1"},"timestamp":"2026-11-01T12:00:00Z","window":"15s","containers":[{"name":"main","usage":{"cpu":"5m","memory":"3Mi"}},{"name":"other","usage":{}}]}]}`)
		default:
			t.Errorf("asked for %s", r.URL.Path)
		}
	}))
	defer api.Close()
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "1"},
		Spec: corev1.PodSpec{NodeName: "a", Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
			Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("1Gi")}}}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "main", ContainerID: "containerd://" + id1}}},
	}
	world := &drillrun.World{Workloads: []drillrun.Workload{{Kind: "Deployment", Namespace: "shop", Name: "web", Pods: []corev1.Pod{pod}}}}
	var lost error
	at := time.Duration(0)
	w := newWatcher(&drillrun.Session{Cluster: &cluster.Cluster{Kube: kube}, Now: func() time.Time { return time.Unix(1, 0) }}, nil)
	w.elapsed = func() time.Duration { at++; return at }
	w.world = func(context.Context) (*drillrun.World, error) { return world, lost }

	w.look(t.Context())
	s := &world.Workloads[0].Pods[0].Status.ContainerStatuses[0]
	s.RestartCount, s.State.Terminated = 1, &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}
	w.look(t.Context())
	lost = errors.New("connection refused")
	w.look(t.Context())
	lost, world.Workloads = nil, nil
	w.look(t.Context())

	list, err := loadrecord.DecodeUsage([]byte(w.text.String() + "end\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range list {
		switch {
		case s.Pod != nil:
			c := s.Pod.Containers[0]
			got = append(got, fmt.Sprintf("%s of %s gone %v: %v, restarted %d, ended %v", s.Pod.Name, s.Pod.Workload, s.Pod.Gone, c.Limits, c.Restarts, c.Ended != nil))
		case s.Counter != nil:
			got = append(got, fmt.Sprintf("%s %s %g", s.Counter.Source, s.Counter.Pod, *s.Counter.Memory))
		case s.Metric != nil:
			got = append(got, fmt.Sprintf("metrics %s %s %s", s.Metric.Pod, s.Metric.Container, s.Metric.CPU))
		case s.Failed != nil:
			got = append(got, s.Failed.What)
		}
	}
	want := `web-1 of Deployment/web gone false: map[memory:64Mi], restarted 0, ended false
kubelet a, metrics/resource
cadvisor shop/web-1 5
metrics shop/web-1 main 5m
web-1 of Deployment/web gone false: map[memory:64Mi], restarted 1, ended true
kubelet a, metrics/resource
pods
kubelet a, metrics/resource
web-1 of Deployment/web gone true: map[memory:64Mi], restarted 1, ended true
metrics shop/web-1 main 5m`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("seen\n%s\nwant\n%s", text, want)
	}
}

// What would be too much is not sealed, and that is.
func TestWatcherIsBounded(t *testing.T) {
	t.Parallel()
	w := &watcher{}
	for range 100_000 {
		w.failed(1, "x", errors.New(strings.Repeat("y", 600)))
	}
	if n := w.text.Len(); n > loadrecord.MaxUsage || !strings.Contains(w.text.String(), "nothing was recorded from here") || w.text.Len() < loadrecord.MaxUsage/2 {
		t.Errorf("%d bytes", n)
	}
	if _, err := loadrecord.DecodeUsage([]byte(w.text.String() + "end\n")); err != nil {
		t.Error(err)
	}
}
