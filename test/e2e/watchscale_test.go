package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/test/kube"
)

// crowdedPod is a pod as clusters have them, on a simulated node.
func crowdedPod(i, nodes int) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("app-%d-7d9f8b6c5-%05d", i/10, i), Annotations: map[string]string{"checksum/config": strings.Repeat("0f", 32)},
			Labels: map[string]string{"app.kubernetes.io/name": "app", "app.kubernetes.io/instance": fmt.Sprintf("app-%d", i/10)},
		},
		Spec: corev1.PodSpec{NodeName: fmt.Sprintf("crowd-%d", i%nodes), Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}},
	}
	for _, name := range []string{"app", "proxy"} {
		c := corev1.Container{Name: name, Image: "registry.example.com/team/" + name + "@sha256:" + strings.Repeat("ab", 32)}
		for k := range 20 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", k), Value: "some value of it"})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	return p
}

// processorTime is what a process and the children that it waited for have used.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')'):]))
	var ticks int
	for _, s := range f[12:16] { // utime, stime, cutime, cstime
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// TestWatchScale measures what watch takes where there are 5,000 pods on simulated nodes
// and 500 releases of Helm, on the real API server. It asserts what does not depend on the
// machine, and prints the rest, which docs/watch.md has.
func TestWatchScale(t *testing.T) {
	if os.Getenv("HELMPROOF_TEST_WATCH_SCALE") == "" {
		t.Skip("it takes ten minutes: HELMPROOF_TEST_WATCH_SCALE=1 runs it")
	}
	const pods, releases, namespaces, nodes = 5000, 500, 50, 50
	c := needCluster(t, kube.TierB)
	installCRDs(t, c.Cluster)
	space := func(i int) string { return fmt.Sprintf("crowd-%d", i%namespaces) }
	var manifests strings.Builder
	names := []string{"delete", "--wait=false", "namespace"}
	for i := range namespaces {
		fmt.Fprintf(&manifests, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n---\n", space(i))
		names = append(names, space(i))
	}
	c.Apply(t, manifests.String())
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", names...); err != nil {
			t.Error(err)
		}
	})
	kube.Eventually(t, time.Minute, "the namespaces' service accounts", func() bool {
		list, err := c.kube.CoreV1().ServiceAccounts("").List(t.Context(), metav1.ListOptions{})
		return err == nil && len(list.Items) >= namespaces && !slices.ContainsFunc(names[3:], func(ns string) bool {
			return !slices.ContainsFunc(list.Items, func(a corev1.ServiceAccount) bool { return a.Namespace == ns })
		})
	})
	for i := range nodes {
		if err := c.AddSimulatedNode(t.Context(), fmt.Sprintf("crowd-%d", i), fmt.Sprintf("kz-%d", i%3+1)); err != nil {
			t.Fatal(err)
		}
	}
	quick := rest.CopyConfig(c.config)
	quick.QPS, quick.Burst = 2000, 2000
	client, err := kubernetes.NewForConfig(quick)
	if err != nil {
		t.Fatal(err)
	}

	// Releases, each as Helm stores it, and evidence about each.
	if err := helmInstall(helmFor(t, c.Cluster, space(0), "secrets"), space(0), "model", nil); err != nil {
		t.Fatal(err)
	}
	stored, err := helmFor(t, c.Cluster, space(0), "secrets").Releases.Get("model", 1)
	if err != nil {
		t.Fatal(err)
	}
	model := stored.(*releasev1.Release)
	e := newEvidence(t, c.Cluster, filepath.Join(t.TempDir(), "repo"))
	e.collect("model", space(0), "--profile", "live")
	e.gate(releases-1, func(i int) (string, string) { return fmt.Sprintf("app-%d", i), space(i) })
	for at := range namespaces {
		cfg := helmFor(t, c.Cluster, space(at), "secrets")
		for i := at; i < releases-1; i += namespaces {
			r := *model
			r.Name, r.Namespace = fmt.Sprintf("app-%d", i), space(i)
			if err := cfg.Releases.Create(&r); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d releases, and evidence", releases)
	began := time.Now()
	make5000, ctx := errgroup.WithContext(t.Context())
	make5000.SetLimit(16)
	for i := range pods {
		make5000.Go(func() error {
			_, err := client.CoreV1().Pods(space(i/10)).Create(ctx, crowdedPod(i, nodes), metav1.CreateOptions{})
			return err
		})
	}
	if err := make5000.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pods made after %s", pods, time.Since(began).Round(time.Second))
	kube.Eventually(t, 10*time.Minute, "all pods to run", func() bool { return countRunning(t.Context(), client) == pods })
	t.Logf("%d pods run after %s", pods, time.Since(began).Round(time.Second))

	p := newProxy(t, c.config)
	var calls atomic.Int64
	p.refuse = func(*http.Request) int { calls.Add(1); return 0 }
	file := filepath.Join(t.TempDir(), "kubeconfig")
	raw, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": []any{map[string]any{"name": "c", "context": map[string]any{"cluster": "c", "user": "u"}}},
		"clusters": []any{map[string]any{"name": "c", "cluster": map[string]any{"server": p.config.Host}}}, "users": []any{map[string]any{"name": "u", "user": map[string]any{}}},
	})
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	w := startWatch(t, e.bin, e.env, "--interval", "10s", "--kubeconfig", file)
	pid := w.cmd.Process.Pid
	eventuallySlowly := func(what string, lines ...string) {
		t.Helper()
		kube.Eventually(t, 15*time.Minute, what, func() bool { return w.missing(lines) == "" })
		t.Logf("%s: after %s, %d calls, processor time %s, %s", what, time.Since(began).Round(100*time.Millisecond), calls.Load(), processorTime(t, pid), peakMemory(t, pid))
	}
	eventuallySlowly("the repository was read", `helmproof_watch_up{source="repository"} 1`)
	eventuallySlowly("the cluster was read", `helmproof_watch_up{source="api"} 1`, fmt.Sprintf(`helmproof_pod_security_violations{level="restricted",mode="live",namespace="crowd-1"} %d`, pods/namespaces))
	eventuallySlowly("all releases were loaded", `helmproof_evidence_missing{namespace="crowd-0",release="model"} 0`, fmt.Sprintf(`helmproof_evidence_missing{namespace="%s",release="app-%d"} 1`, space(releases-2), releases-2))
	if body, _ := w.get("/metrics"); strings.Count(body, "\nhelmproof_evidence_missing{namespace=\"crowd-") != releases {
		t.Errorf("%d releases are exported, want %d", strings.Count(body, "\nhelmproof_evidence_missing{namespace=\"crowd-"), releases)
	}

	// A minute in which nothing happens.
	asked, used := calls.Load(), processorTime(t, pid)
	time.Sleep(time.Minute)
	t.Logf("in a quiet minute: %d calls, processor time %s", calls.Load()-asked, processorTime(t, pid)-used)
	if n := calls.Load() - asked; n > 100 {
		t.Errorf("%d calls in a minute in which nothing happens", n)
	}
	var took []time.Duration
	size := 0
	for range 20 {
		began := time.Now()
		body, code := w.get("/metrics")
		if code != http.StatusOK {
			t.Fatalf("/metrics: %d %s", code, body)
		}
		took, size = append(took, time.Since(began)), len(body)
	}
	slices.Sort(took)
	t.Logf("a scrape: %s in the middle, %s at most, %d kB, %.0f series; %s", took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), size/1000, w.value("helmproof_watch_series "), peakMemory(t, pid))
	if dropped := w.value(`helmproof_watch_series_dropped{metric="helmproof_evidence_missing"}`); dropped != 0 {
		t.Errorf("%.0f series are left out", dropped)
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-w.done; err != nil {
		t.Errorf("ended by SIGTERM: %v", err)
	}
	if u, ok := w.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && runtime.GOOS == "linux" {
		t.Logf("the process, or the largest of its children, had %d MB at most; processor time in all %s", u.Maxrss/1024, w.cmd.ProcessState.UserTime()+w.cmd.ProcessState.SystemTime())
	}
}

func countRunning(ctx context.Context, client kubernetes.Interface) int {
	list, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running", LabelSelector: "app.kubernetes.io/name=app"})
	if err != nil {
		return 0
	}
	return len(list.Items)
}

// gate seals so many composed verdicts on releases by their names, the smallest evidence
// that there is.
func (e *evidenceOf) gate(n int, name func(int) (release, namespace string)) {
	e.t.Helper()
	fatal := func(err error) {
		e.t.Helper()
		if err != nil {
			e.t.Fatal(err)
		}
	}
	by, err := pipeline.LoadRules(pipeline.RulesOptions{Profile: "chart"})
	fatal(err)
	p := e.pipeline()
	trust, err := pipeline.OpenTrust(e.t.Context(), []string{filepath.Join(e.home, "helmproof", "trust")})
	fatal(err)
	done, err := pipeline.Gate(e.t.Context(), p.Repo, pipeline.NewVerifier(trust, p.Repo, bundle.DefaultLimits(), p.Tool), by, pipeline.GateRequest{Chart: "app", At: time.Now(), AsOf: true, AnyRepository: true})
	fatal(err)
	for i := range n {
		j := *done[0]
		j.Release.ReleaseName, j.Release.Namespace = name(i)
		fatal(p.SealGated(e.t.Context(), &j))
	}
}
