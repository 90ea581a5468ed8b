// Package e2e holds the prober's tests on a real Kubernetes: docs/testing.md.
package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/companyos/helmproof/collectors/internal/prober"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/loadgen"
	"github.com/companyos/helmproof/internal/loadrecord"
	"github.com/companyos/helmproof/internal/probe"
	"github.com/companyos/helmproof/test/kube"
)

func TestMain(m *testing.M) { kube.Main(m, kube.TierC) }

const (
	proberImage = "cluster.test/prober:1"
	webImage    = "cluster.test/web:1"
)

var loadImages = sync.OnceValue(func() error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "prober")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, "github.com/companyos/helmproof/cmd/prober")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if err := cluster.LoadImage(context.Background(), kube.Image{Ref: proberImage, Binary: binary}); err != nil {
		return err
	}
	return cluster.LoadImage(context.Background(), kube.Image{Ref: webImage, Binary: cluster.TestPod()})
})

// cluster is that of this test binary; set before loadImages is called.
var cluster *kube.Cluster

// web is a namespace with a Service before two pods, on both nodes.
func web(t *testing.T, name string) (*kube.Cluster, kubernetes.Interface, []drill.Probe) {
	t.Helper()
	c := kube.Start(t, kube.TierC)
	cluster = c
	if err := loadImages(); err != nil {
		t.Fatal(err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: %[1]s}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %[1]s}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {kubernetes.io/os: linux}
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}]
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: main
          image: %[2]s
          imagePullPolicy: Never
          args: [serve]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
`, name, webImage))
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "namespace", name, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	c.Kubectl(t, "rollout", "status", "-n", name, "deployment/web", "--timeout=90s")
	ip := c.Kubectl(t, "get", "service", "web", "-n", name, "-o", "jsonpath={.spec.clusterIP}")
	return c, client, []drill.Probe{
		{Name: "web", Kind: probe.HTTP, Address: "http://" + ip + "/", Rate: 100, Timeout: evidence.Duration(time.Second)},
		{Name: "port", Kind: probe.TCP, Address: "tcp://" + ip + ":80", Rate: 20, Timeout: evidence.Duration(time.Second)},
	}
}

func options(client kubernetes.Interface, namespace string, probes []drill.Probe) prober.Options {
	return prober.Options{Probes: probes, Began: time.Now(), Now: time.Now, Kube: client, Namespace: namespace, Image: proberImage}
}

// until waits until a probe has done so many requests.
func until(t *testing.T, r *prober.Running, done int64) {
	t.Helper()
	kube.Eventually(t, time.Minute, "requests", func() bool {
		for _, s := range r.Live() {
			if s.Lost != "" {
				t.Fatalf("probe %s is lost: %s", s.Name, s.Lost)
			}
		}
		return r.Live()[0].Done >= done
	})
}

// settled waits until a hundred requests in a row were good, and returns how many
// there had been before: kube-proxy knows a new Service later than it is ready.
func settled(t *testing.T, r *prober.Running) int64 {
	t.Helper()
	last := r.Live()[0].Counts
	kube.Eventually(t, time.Minute, "a hundred good requests", func() bool {
		now := r.Live()[0]
		if now.Lost != "" {
			t.Fatalf("lost: %s", now.Lost)
		}
		if now.Failed > last.Failed {
			last = now.Counts
		}
		return now.Done >= last.Done+100
	})
	return last.Done
}

func TestProberInPodAndOutside(t *testing.T) {
	t.Parallel()
	c, client, probes := web(t, "prober-both")
	inside := options(client, "prober-both", probes)
	inside.AvoidNodes = []string{"node-b"}
	in, err := prober.Start(t.Context(), inside)
	if err != nil {
		t.Fatal(err)
	}
	outside := options(client, "prober-both", probes)
	outside.Image = ""
	out, err := prober.Start(t.Context(), outside)
	if err != nil {
		t.Fatal(err)
	}
	settled(t, in)
	settled(t, out)
	c.Kubectl(t, "delete", "pod", "-n", "prober-both", "-l", "app=web", "--wait=false", "--grace-period=0", "--force")
	c.Kubectl(t, "rollout", "status", "-n", "prober-both", "deployment/web", "--timeout=90s")
	until(t, in, in.Live()[0].Done+200)
	until(t, out, out.Live()[0].Done+200)
	for from, r := range map[string]*prober.Running{"pod helmproof-prober-": in, "outside": out} {
		begun := time.Now()
		live := r.Live()
		files, gaps, err := r.Stop(t.Context())
		if err != nil || len(gaps) > 0 || len(files) != 2 {
			t.Errorf("%s: %v, gaps %v, %d files", from, err, gaps, len(files))
			continue
		}
		ahead, within := r.Skew()
		t.Logf("%s: stopped in %s; clock ahead by %s ± %s", from, time.Since(begun), ahead, within)
		if (ahead.Abs() - within) > 100*time.Millisecond {
			t.Errorf("%s: the clock of this machine is ahead of itself by %s ± %s", from, ahead, within)
		}
		for i, p := range probes {
			s, err := probe.Read(files[p.Name])
			if err != nil {
				t.Errorf("%s, %s: %v", from, p.Name, err)
				continue
			}
			failed, unsent := 0, 0
			outcomes := map[string]int{}
			for _, sample := range s.All() {
				if !sample.OK(0) {
					failed++
					outcomes[sample.Outcome]++
				}
				if sample.Outcome == probe.Unsent {
					unsent++
				}
			}
			t.Logf("%s, %s: %d requests, %v, stalls over 100 ms: %v", from, p.Name, len(s.Samples), outcomes, s.Stalls(100*time.Millisecond))
			if !strings.HasPrefix(s.Header.From, from) || from != "outside" && !strings.HasSuffix(s.Header.From, " on node node-a") {
				t.Errorf("%s, %s: from %q", from, p.Name, s.Header.From)
			}
			if failed == 0 || failed == len(s.Samples) || unsent > 0 || int64(failed) < live[i].Failed {
				t.Errorf("%s, %s: %d of %d failed, %d were not sent; seen live: %d", from, p.Name, failed, len(s.Samples), unsent, live[i].Failed)
			}
		}
	}
	if left := c.Kubectl(t, "get", "pods", "-n", "prober-both", "-l", "app.kubernetes.io/component=prober", "-o", "name"); left != "" {
		t.Errorf("left: %s", left)
	}
}

func TestProberLost(t *testing.T) {
	t.Parallel()
	c, client, probes := web(t, "prober-lost")
	pod := func() string {
		return c.Kubectl(t, "get", "pods", "-n", "prober-lost", "-l", "app.kubernetes.io/component=prober", "-o", "jsonpath={.items[0].metadata.name}")
	}
	for name, tt := range map[string]struct {
		life time.Duration
		do   func()
		want string
	}{
		"deleted at once": {0, func() {
			c.Kubectl(t, "delete", "pod", "-n", "prober-lost", pod(), "--wait=false", "--grace-period=0", "--force")
		}, "deleted"},
		"deleted": {0, func() {
			c.Kubectl(t, "delete", "pod", "-n", "prober-lost", pod(), "--wait=false")
		}, "it ended, and not because we said so; its pod is being deleted"},
		"evicted": {0, func() {
			body := fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":"prober-lost"}}`, pod())
			if _, err := c.TryKubectl(t.Context(), body, "create", "--raw", "/api/v1/namespaces/prober-lost/pods/"+pod()+"/eviction", "-f", "-"); err != nil {
				t.Fatal(err)
			}
		}, "its pod was disrupted: EvictionByEvictionAPI"},
		"past its deadline": {6 * time.Second, func() {}, "it ended, and not because we said so"},
	} {
		o := options(client, "prober-lost", probes)
		o.Life = tt.life
		r, err := prober.Start(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		until(t, r, 100)
		tt.do()
		kube.Eventually(t, time.Minute, name+": to be lost", func() bool { return r.Live()[0].Lost != "" })
		files, gaps, err := r.Stop(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(gaps) != 2 {
			t.Errorf("%s: %v, gaps %v; want %q", name, err, gaps, tt.want)
		}
		t.Logf("%s: %v", name, err)
		if s, _ := probe.Read(files["web"]); s == nil || len(s.Samples) < 100 {
			t.Errorf("%s: what was seen before is not there: %.100s", name, files["web"])
		}
	}
}

func TestProberDoesNotStart(t *testing.T) {
	t.Parallel()
	_, client, probes := web(t, "prober-start")
	o := options(client, "prober-start", probes)
	o.StartLimit = 10 * time.Second
	for image, want := range map[string]string{
		"cluster.test/there-is-none:1": "did not start within 10s: ",
		webImage:                       "its log: ", // another program: it waits and says nothing, or ends
	} {
		o.Image = image
		_, err := prober.Start(t.Context(), o)
		t.Logf("%s: %v", image, err)
		if err == nil || image != webImage && !strings.Contains(err.Error(), want) {
			t.Errorf("image %s: %v, want %q", image, err, want)
		}
	}
}

func TestProberCleanUp(t *testing.T) {
	t.Parallel()
	c, client, probes := web(t, "prober-left")
	if _, err := prober.Start(t.Context(), options(client, "prober-left", probes)); err != nil {
		t.Fatal(err)
	}
	removed, err := prober.CleanUp(t.Context(), client, "prober-left")
	if err != nil || len(removed) != 1 {
		t.Errorf("removed %v, %v", removed, err)
	}
	kube.Eventually(t, time.Minute, "the prober to go", func() bool {
		return c.Kubectl(t, "get", "pods", "-n", "prober-left", "-l", "app.kubernetes.io/component=prober", "-o", "name") == ""
	})
}

// Not parallel: the other tests wait while the API server is gone.
func TestProberOutlivesAPIServer(t *testing.T) {
	c, client, probes := web(t, "prober-api")
	r, err := prober.Start(t.Context(), options(client, "prober-api", probes))
	if err != nil {
		t.Fatal(err)
	}
	steady := settled(t, r)
	if err := c.Kill("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	before := r.Live()[0].Done
	if err := c.Restart("kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	kube.Eventually(t, time.Minute, "the log to be followed again", func() bool { return r.Live()[0].Done >= before+200 })
	files, gaps, err := r.Stop(t.Context())
	if err != nil || len(gaps) > 0 {
		t.Fatalf("%v, gaps %v", err, gaps)
	}
	s, err := probe.Read(files["web"])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests, %d before the Service was there", len(s.Samples), steady)
	for i, sample := range s.Samples {
		if i >= int(steady) && !sample.OK(0) {
			t.Errorf("request %d: %+v", i, sample)
		}
	}
}

// A load is sent from a pod, by gRPC, and leaves what a load from here does.
func TestLoadFromPod(t *testing.T) {
	c, client, probes := web(t, "prober-load")
	host := strings.TrimSuffix(strings.TrimPrefix(probes[0].Address, "http://"), "/") + ":80"
	kube.Eventually(t, time.Minute, "the Service to answer", func() bool {
		conn, err := net.DialTimeout("tcp", host, time.Second)
		return err == nil && conn.Close() == nil
	})
	o := loadgen.Options{URL: "grpc://" + host, Addresses: map[string]string{host: host}, Rate: 30, Ramp: time.Second, Hold: 3 * time.Second, Timeout: 10 * time.Second}
	began := 0
	report, err := prober.Load(t.Context(), options(client, "prober-load", nil), o, func() { began++ })
	if err != nil {
		t.Fatal(err)
	}
	f := loadrecord.FromSamples(report.Samples)
	if began != 1 || f.Due != 90 || f.Good+f.Unsent < 80 || !strings.HasPrefix(report.From, "pod helmproof-prober-") || report.Stopped != "" {
		t.Errorf("it began %d times; %d due, %d good, failed: %v, from %q, stopped %q", began, f.Due, f.Good, f.Failed, report.From, report.Stopped)
	}
	t.Logf("%+v", report.Generator)
	if left := c.Kubectl(t, "get", "pods", "-n", "prober-load", "-l", "app.kubernetes.io/component=prober", "-o", "name"); left != "" {
		t.Errorf("%s is left", left)
	}
}
