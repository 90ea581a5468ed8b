package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// proxy stands between a run and the API server: it refuses requests, and gives
// logs of pods whose node has no kubelet. It adds no rights: a request that
// carries a token goes on with that alone.
type proxy struct {
	config  *rest.Config
	refuse  func(*http.Request) int               // a status to answer by, or 0
	log     func(node string, reading int) []byte // nil: the cluster's own logs
	jobMade func()
	cut     atomic.Int64 // how many readings of logs are still to be cut in the middle

	mu       sync.Mutex
	readings map[string]int
}

var logPath = regexp.MustCompile(`^/api/v1/namespaces/([^/]+)/pods/([^/]+)/log$`)
var jobsPath = regexp.MustCompile(`^/apis/batch/v1/namespaces/[^/]+/jobs$`)

func newProxy(t *testing.T, cfg *rest.Config) *proxy {
	t.Helper()
	target, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := rest.TransportFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := rest.TransportFor(rest.AnonymousClientConfig(cfg))
	if err != nil {
		t.Fatal(err)
	}
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{readings: map[string]int{}}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		r.Host = target.Host
		if r.Header.Get("Authorization") != "" {
			return plain.RoundTrip(r)
		}
		return admin.RoundTrip(r)
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.refuse != nil {
			if code := p.refuse(r); code != 0 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(code)
				return
			}
		}
		if m := logPath.FindStringSubmatch(r.URL.Path); m != nil && p.log != nil {
			pod, err := kube.CoreV1().Pods(m[1]).Get(r.Context(), m[2], metav1.GetOptions{})
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			p.mu.Lock()
			p.readings[pod.Spec.NodeName]++
			n := p.readings[pod.Spec.NodeName]
			p.mu.Unlock()
			_, _ = w.Write(p.log(pod.Spec.NodeName, n))
			return
		}
		if logPath.MatchString(r.URL.Path) && p.cut.Add(-1) >= 0 {
			raw, err := kube.CoreV1().RESTClient().Get().AbsPath(r.URL.Path).DoRaw(r.Context())
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = w.Write(raw[:len(raw)/2])
			panic(http.ErrAbortHandler) // as a connection ends that drops
		}
		forward.ServeHTTP(w, r)
		if p.jobMade != nil && r.Method == http.MethodPost && jobsPath.MatchString(r.URL.Path) {
			p.jobMade()
		}
	}))
	t.Cleanup(srv.Close)
	p.config = &rest.Config{Host: srv.URL, QPS: 200, Burst: 400}
	return p
}

// as is the proxy's configuration for who holds that token.
func (p *proxy) as(token string) *rest.Config {
	cfg := rest.CopyConfig(p.config)
	cfg.BearerToken = token
	return cfg
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func quantities(cpu, memory, pods string) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse(pods),
	}
}
