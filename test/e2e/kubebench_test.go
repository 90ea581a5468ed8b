package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/test/kube"
)

const benchLabels = "app.kubernetes.io/managed-by=helmproof,app.kubernetes.io/component=kube-bench"

// benchRun is one run of the collector and what it sealed.
type benchRun struct {
	artifacts *collectors.Artifacts
	overview  kubebench.Overview
	findings  []evidence.Finding
	warnings  []string
}

type benchFolder struct{ a *collectors.Artifacts }

func (f benchFolder) Write(name string, content []byte) error {
	_, err := f.a.Put("artifacts/"+kubebench.Name+"/"+name, content)
	return err
}

// runBench runs the collector as cfg allows, and derives its findings.
func runBench(ctx context.Context, t *testing.T, cfg *rest.Config, o kubebench.Options) (*benchRun, error) {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cluster, err := cluster.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r := &benchRun{artifacts: collectors.NewArtifacts(nil)}
	var mu sync.Mutex
	o.Warn = func(s string) {
		mu.Lock()
		defer mu.Unlock()
		r.warnings = append(r.warnings, s)
	}
	c := kubebench.New(o)
	if err := c.Collect(ctx, collectors.Input{Cluster: cluster, Now: time.Now}, benchFolder{r.artifacts}); err != nil {
		return r, err
	}
	raw, err := r.artifacts.Read("artifacts/kubebench/nodes.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &r.overview); err != nil {
		t.Fatal(err)
	}
	if r.findings, err = collectors.Findings(collectors.NewSealed(r.artifacts, config.RuleControls()), c); err != nil {
		t.Fatal(err)
	}
	return r, nil
}

func (r *benchRun) node(t *testing.T, name string) kubebench.NodeRun {
	t.Helper()
	for _, n := range r.overview.Nodes {
		if n.Node == name {
			return n
		}
	}
	t.Fatalf("node %s is not in the run", name)
	return kubebench.NodeRun{}
}

func (r *benchRun) outcome(rule, target string) []evidence.Outcome {
	var out []evidence.Outcome
	for _, f := range r.findings {
		if f.Rule == "kubebench/"+rule && f.Target.Name == target {
			out = append(out, f.Outcome)
		}
	}
	return out
}

// benchLeft lists what runs of kube-bench left in the cluster.
func benchLeft(t *testing.T, kube kubernetes.Interface) []string {
	t.Helper()
	var left []string
	ctx := context.WithoutCancel(t.Context()) // also when the test is over
	list, err := kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: benchLabels})
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range list.Items {
		left = append(left, ns.Name)
	}
	jobs, err := kube.BatchV1().Jobs("").List(ctx, metav1.ListOptions{LabelSelector: benchLabels})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs.Items {
		left = append(left, j.Namespace+"/"+j.Name)
	}
	return left
}

func nothingLeft(t *testing.T, kube kubernetes.Interface) {
	t.Helper()
	if left := benchLeft(t, kube); len(left) > 0 {
		t.Errorf("left in the cluster: %v", left)
	}
}

// fakeNodes makes n KWOK nodes of a zone each, ready at once, and removes them.
func fakeNodes(t *testing.T, kube kubernetes.Interface, prefix string, n int) []string {
	t.Helper()
	var names []string
	for i := range n {
		node := fakeNode(fmt.Sprintf("%s-%03d", prefix, i))
		if _, err := kube.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		names = append(names, node.Name)
	}
	t.Cleanup(func() {
		for _, name := range names {
			if err := kube.CoreV1().Nodes().Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	})
	eventually(t, time.Minute, prefix+" nodes ready", func() bool {
		ready := 0
		list, err := cluster.ListNodes(t.Context(), kube)
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			if d := cluster.DescribeNode(&list[i]); d.Ready && slices.Contains(names, d.Name) {
				ready++
			}
		}
		return ready == n
	})
	return names
}

func fakeNode(name string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Annotations: map[string]string{"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
		Labels: map[string]string{"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
	}}
	n.Spec.Taints = []corev1.Taint{{Key: "kwok.x-k8s.io/node", Value: "fake", Effect: corev1.TaintEffectNoSchedule}}
	n.Status.Allocatable = quantities("8", "16Gi", "110")
	n.Status.Capacity = n.Status.Allocatable
	n.Status.NodeInfo.OperatingSystem = "linux"
	return n
}

// TestKubeBenchOnFakeNodes runs real Jobs on 200 nodes that a simulator keeps:
// their pods complete, and their logs come from the proxy that the run goes through.
func TestKubeBenchOnFakeNodes(t *testing.T) {
	c := needCluster(t, kube.TierB)
	const count = 200
	names := fakeNodes(t, c.kube, "bench", count)
	proxy := newProxy(t, c.config)
	var logs atomic.Int64
	proxy.log = func(node string, reading int) []byte {
		logs.Add(1)
		full := benchtest.Log(benchtest.Output("cis-1.12", "FAIL", 25, "node"), 0, "")
		if node == names[7] && reading == 1 { // a connection that drops
			return full[:len(full)/2]
		}
		if node == names[8] { // a log that lost its beginning for good
			return full[100:]
		}
		return full
	}
	var served atomic.Int64
	proxy.refuse = func(r *http.Request) int {
		if strings.Contains(r.URL.Path, "helmproof-kube-bench") && served.Add(1)%10 == 0 {
			return http.StatusTooManyRequests
		}
		return 0
	}
	var peak atomic.Uint64
	watching, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for watching.Err() == nil {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
			time.Sleep(200 * time.Millisecond)
		}
	}()
	begun := time.Now()
	r, err := runBench(t.Context(), t, proxy.config, kubebench.Options{Image: anyImage(t, c), Benchmark: "cis-1.12", Parallel: 40, NodeTimeout: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	stop()
	var other []string
	reached := 0
	for _, n := range r.overview.Nodes {
		switch {
		case !slices.Contains(names, n.Node):
		case n.Outcome == kubebench.OutcomeResult:
			reached++
		default:
			other = append(other, n.Node+" "+n.Outcome)
		}
	}
	if d := cmp.Diff([]string{names[8] + " no-output"}, other); d != "" || reached != count-1 {
		t.Errorf("%d nodes with a result; without: %s", reached, d)
	}
	if n := r.node(t, names[8]); !strings.Contains(n.Reason, "begins in the middle") {
		t.Error(n.Reason)
	}
	if got := r.outcome("node-covered", names[8]); !slices.Equal(got, []evidence.Outcome{evidence.OutcomeFail}) {
		t.Errorf("the node without output: %v", got)
	}
	if peak.Load() > 256<<20 {
		t.Errorf("peak heap of %d MiB", peak.Load()>>20)
	}
	nothingLeft(t, c.kube)
	t.Logf("%d nodes, 40 at once: %s, %d readings of logs, %d findings, peak heap %d MiB", count, time.Since(begun).Round(time.Second), logs.Load(), len(r.findings), peak.Load()>>20)
}

// TestKubeBenchNodesComeAndGo adds, removes and replaces nodes while Jobs run.
func TestKubeBenchNodesComeAndGo(t *testing.T) {
	c := needCluster(t, kube.TierB)
	names := fakeNodes(t, c.kube, "moving", 3)
	proxy := newProxy(t, c.config)
	proxy.log = func(string, int) []byte { return benchtest.Log(benchtest.Output("cis-1.12", "PASS", 3, "node"), 0, "") }
	var once sync.Once
	proxy.jobMade = func() {
		once.Do(func() {
			nodes := c.kube.CoreV1().Nodes()
			if err := nodes.Delete(t.Context(), names[1], metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
			if _, err := nodes.Create(t.Context(), fakeNode("moving-new"), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		if err := c.kube.CoreV1().Nodes().Delete(context.WithoutCancel(t.Context()), "moving-new", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	down := fakeNode("moving-down") // nobody keeps it: it never becomes ready
	down.Annotations = nil
	down.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady"}}
	if _, err := c.kube.CoreV1().Nodes().Create(t.Context(), down, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.kube.CoreV1().Nodes().Delete(context.WithoutCancel(t.Context()), down.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	eventually(t, time.Minute, "the taint of a node that is not ready", func() bool {
		n, err := c.kube.CoreV1().Nodes().Get(t.Context(), down.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(n.Spec.Taints, func(x corev1.Taint) bool { return x.Key == corev1.TaintNodeNotReady })
	})
	r, err := runBench(t.Context(), t, proxy.config, kubebench.Options{Image: anyImage(t, c), Benchmark: "cis-1.12", Parallel: 30, NodeTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if n := r.node(t, names[0]); n.Outcome != kubebench.OutcomeResult || n.Removed || n.Added {
		t.Errorf("%+v", n)
	}
	if n := r.node(t, names[1]); !n.Removed {
		t.Errorf("the removed node: %+v", n)
	}
	if got := r.outcome("node-covered", names[1]); !slices.Equal(got, []evidence.Outcome{evidence.OutcomeNotApplicable}) {
		t.Errorf("the removed node: %v", got)
	}
	if n := r.node(t, "moving-new"); n.Outcome != kubebench.OutcomeResult || !n.Added {
		t.Errorf("the added node: %+v", n)
	}
	if n := r.node(t, down.Name); n.Outcome != kubebench.OutcomeNotStarted && n.Outcome != kubebench.OutcomeTimeout || !strings.Contains(n.Reason, "untolerated taint") {
		t.Errorf("the node that is not ready: %+v", n)
	}
	if got := r.outcome("node-covered", down.Name); !slices.Equal(got, []evidence.Outcome{evidence.OutcomeFail}) {
		t.Errorf("the node that is not ready: %v", got)
	}
	nothingLeft(t, c.kube)
}

// TestKubeBenchCrash kills a run, and holds that the next one sweeps up after it.
func TestKubeBenchCrash(t *testing.T) {
	c := needCluster(t, kube.TierB)
	fakeNodes(t, c.kube, "crash", 2)
	bin := helmproof(t)
	args := []string{"collect", "--cluster", "--kubeconfig", c.Kubeconfig, "--kube-bench-image", anyImage(t, c), "--benchmark", "cis-1.12", "--repo", t.TempDir()}
	start := func() (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Minute, "a namespace for the Jobs", func() bool { return len(benchLeft(t, c.kube)) > 1 })
		return cmd, &out
	}
	// Ctrl-C: it removes what it made before it ends.
	cmd, out := start()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(out.String(), "interrupted: removing namespace helmproof-kube-bench-") {
		t.Errorf("%v: %s", err, out.String())
	}
	nothingLeft(t, c.kube)

	// A crash leaves the namespace; a run within its time leaves it alone.
	cmd, _ = start()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	list, err := c.kube.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: benchLabels})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d namespaces, %v", len(list.Items), err)
	}
	crashed := list.Items[0].Name
	proxy := newProxy(t, c.config)
	proxy.log = func(string, int) []byte { return benchtest.Log(benchtest.Output("cis-1.12", "PASS", 3, "node"), 0, "") }
	o := kubebench.Options{Image: anyImage(t, c), Benchmark: "cis-1.12", Parallel: 20, NodeTimeout: time.Minute}
	if _, err := runBench(t.Context(), t, proxy.config, o); err != nil {
		t.Fatal(err)
	}
	if left := benchLeft(t, c.kube); !slices.Contains(left, crashed) {
		t.Errorf("a namespace that may be at work was removed: %v", left)
	}
	patch := []byte(`{"metadata":{"annotations":{"helmproof/expires-at":"2020-01-01T00:00:00Z"}}}`)
	if _, err := c.kube.CoreV1().Namespaces().Patch(t.Context(), crashed, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := runBench(t.Context(), t, proxy.config, o)
	if err != nil || len(r.warnings) != 1 || !strings.Contains(r.warnings[0], "removed namespace "+crashed) {
		t.Errorf("%v, %v", err, r.warnings)
	}
	eventually(t, time.Minute, "the crashed run's namespace to go", func() bool { return len(benchLeft(t, c.kube)) == 0 })
}

// TestKubeBenchRestart kills the API server in the middle of a run.
func TestKubeBenchRestart(t *testing.T) {
	c := needCluster(t, kube.TierB)
	names := fakeNodes(t, c.kube, "restart", 6)
	proxy := newProxy(t, c.config)
	proxy.log = func(string, int) []byte { return benchtest.Log(benchtest.Output("cis-1.12", "PASS", 3, "node"), 0, "") }
	var once sync.Once
	proxy.jobMade = func() {
		once.Do(func() {
			if err := errors.Join(c.Kill("kube-apiserver"), c.Restart("kube-apiserver")); err != nil {
				t.Error(err)
			}
		})
	}
	r, err := runBench(t.Context(), t, proxy.config, kubebench.Options{Image: anyImage(t, c), Benchmark: "cis-1.12", Parallel: 2, NodeTimeout: 2 * time.Minute})
	if err != nil || len(r.warnings) > 0 {
		t.Fatalf("%v, %v", err, r.warnings)
	}
	for _, name := range names {
		if n := r.node(t, name); n.Outcome != kubebench.OutcomeResult {
			t.Errorf("%s: %s %s", name, n.Outcome, n.Reason)
		}
	}
	nothingLeft(t, c.kube)
}
