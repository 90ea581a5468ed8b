package watch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/pipeline"
)

// crowd is an API server of so many pods and releases, which are made as they are sent.
type crowd struct {
	pods, releases int
	asked          atomic.Int64
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.asked.Add(1)
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	switch {
	case strings.HasSuffix(r.URL.Path, "/namespaces/kube-system"):
		_ = enc.Encode(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "kube-system", "uid": "east"}})
		return
	case r.URL.Query().Get("watch") == "":
		w.WriteHeader(http.StatusNotFound)
		_ = enc.Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonNotFound, Code: 404})
		return
	}
	kind := map[string][2]string{
		"pods": {"v1", "Pod"}, "replicationcontrollers": {"v1", "ReplicationController"}, "deployments": {"apps/v1", "Deployment"}, "statefulsets": {"apps/v1", "StatefulSet"}, "daemonsets": {"apps/v1", "DaemonSet"},
		"replicasets": {"apps/v1", "ReplicaSet"}, "jobs": {"batch/v1", "Job"}, "cronjobs": {"batch/v1", "CronJob"}, "horizontalpodautoscalers": {"autoscaling/v2", "HorizontalPodAutoscaler"},
		"poddisruptionbudgets": {"policy/v1", "PodDisruptionBudget"}, "secrets": {"meta.k8s.io/v1", "PartialObjectMetadata"}, "configmaps": {"meta.k8s.io/v1", "PartialObjectMetadata"},
	}[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
	event := func(what string, object any) { _ = enc.Encode(map[string]any{"type": what, "object": object}) }
	switch {
	case kind[1] == "Pod":
		for i := range c.pods {
			event("ADDED", crowdPod(i))
		}
	case strings.HasSuffix(r.URL.Path, "/secrets"):
		for i := range c.releases {
			name := fmt.Sprintf("app-%d", i)
			event("ADDED", map[string]any{"apiVersion": kind[0], "kind": kind[1], "metadata": map[string]any{
				"name": "sh.helm.release.v1." + name + ".v1", "namespace": namespaceOf(i), "uid": name, "resourceVersion": "1",
				"labels": map[string]any{"owner": "helm", "name": name, "version": "1", "status": "deployed"},
			}})
		}
	}
	event("BOOKMARK", map[string]any{"apiVersion": kind[0], "kind": kind[1], "metadata": map[string]any{"resourceVersion": "9", "annotations": map[string]any{"k8s.io/initial-events-end": "true"}}})
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	<-r.Context().Done()
}

func namespaceOf(i int) string { return fmt.Sprintf("team-%d", i%50) }

// crowdPod is a pod with as much in it as pods in clusters have.
func crowdPod(i int) *corev1.Pod {
	p := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("app-%d-7d9f8b6c5-%05d", i/10, i), Namespace: namespaceOf(i / 10), UID: "1", ResourceVersion: "1",
			Labels:        map[string]string{"app.kubernetes.io/name": "app", "app.kubernetes.io/instance": fmt.Sprintf("app-%d", i/10), "pod-template-hash": "7d9f8b6c5"},
			Annotations:   map[string]string{"checksum/config": strings.Repeat("0f", 32)},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{` + strings.Repeat(`"f:x":{},`, 200) + `"f:y":{}}}}`)}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, name := range []string{"app", "proxy"} {
		c := corev1.Container{Name: name, Image: "registry.example.com/team/" + name + "@sha256:" + strings.Repeat("ab", 32)}
		for k := range 20 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", k), Value: "some value of it"})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
		p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{Name: name, Image: c.Image, ImageID: c.Image})
	}
	return p
}

// crowded is a repository with a verdict on each release.
func crowded(b testing.TB, releases int) *store {
	s := newStore(b)
	by, err := pipeline.LoadRules(pipeline.RulesOptions{Profile: "chart"})
	if err != nil {
		b.Fatal(err)
	}
	done, err := pipeline.Gate(b.Context(), s.repo, s.verifier(), by, pipeline.GateRequest{Chart: "app", At: noon, AsOf: true, AnyRepository: true})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.repo.EnsureID(b.Context(), "ours"); err != nil {
		b.Fatal(err)
	}
	p := &pipeline.Pipeline{Tool: "helmproof test", Repo: s.repo, Signer: s.signer, Repository: "ours"}
	for i := range releases {
		j := *done[0]
		j.Release.ReleaseName, j.Release.Namespace = fmt.Sprintf("app-%d", i), namespaceOf(i)
		if err := p.SealGated(b.Context(), &j); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// BenchmarkWatch scrapes a watch of 5,000 pods and 500 releases, and reports what the first
// reading took and what it left in memory. docs/watch.md has the figures.
func BenchmarkWatch(b *testing.B) {
	const pods, releases = 5000, 500
	s := crowded(b, releases)
	api := &crowd{pods: pods, releases: releases}
	srv := httptest.NewServer(api)
	b.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	before := heap()
	w := s.watch(func() time.Time { return noon })
	w.Limits = Limits{Series: 20000, PerMetric: 5000}
	w.Connect = func(context.Context) (*Clients, error) {
		cfg := &rest.Config{Host: srv.URL, QPS: 50, Burst: 100}
		kube, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			return nil, err
		}
		dyn, err := dynamic.NewForConfig(cfg)
		if err != nil {
			return nil, err
		}
		meta, err := metadata.NewForConfig(cfg)
		return &Clients{Kube: kube, Dynamic: dyn, Metadata: meta, Discovery: kube.Discovery(), Version: "v1.37.2", Fingerprint: "east",
			Release: func(_ context.Context, s chart.StoredRelease) (evidence.Release, error) {
				return evidence.Release{Chart: "app", ReleaseName: s.Name, Namespace: s.Namespace, ManifestsDigest: evidence.DigestOf([]byte(s.Name))}, nil
			}}, err
	}
	w = New(w.Options)
	peak, stop, stopped := 0.0, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				peak = max(peak, float64(m.HeapInuse)/(1<<20))
			}
		}
	}()
	began := time.Now()
	if err := w.ReadRepository(b.Context()); err != nil {
		b.Fatal(err)
	}
	repository := time.Since(began)
	began = time.Now()
	if err := w.ReadOnce(b.Context()); err != nil {
		b.Fatal(err)
	}
	cluster := time.Since(began)
	close(stop)
	<-stopped
	after := heap()
	h := w.Handler()
	scrape := func() string {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		return rec.Body.String()
	}
	for b.Loop() {
		scrape()
	}
	text := scrape()
	if want := fmt.Sprintf(`{level="restricted",mode="live",namespace="team-0"} %d`, pods/50); !strings.Contains(text, want) {
		b.Errorf("the pods are not counted: want %s", want)
	}
	_, series, _ := strings.Cut(text, "\nhelmproof_watch_series ")
	var n float64
	if _, err := fmt.Sscan(series, &n); err != nil {
		b.Error(err)
	}
	b.ReportMetric(n, "series")
	b.ReportMetric(after-before, "MB-kept")
	b.ReportMetric(peak, "MB-peak-heap")
	b.ReportMetric(repository.Seconds(), "s-repository")
	b.ReportMetric(cluster.Seconds(), "s-cluster")
	b.ReportMetric(float64(api.asked.Load()), "API-calls")
}
