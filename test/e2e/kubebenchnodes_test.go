package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/templates/jobs"
	"github.com/companyos/helmproof/test/kube"
)

// realNodes are the names of the nodes with a kubelet of their own.
func realNodes(t *testing.T, c *testCluster) []string {
	t.Helper()
	list, err := cluster.ListNodes(t.Context(), c.kube)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range list {
		if n.Annotations["kwok.x-k8s.io/node"] == "" {
			out = append(out, n.Name)
		}
	}
	if len(out) != 2 {
		t.Fatalf("real nodes: %v", out)
	}
	return out
}

// keepHost removes what the container runtime makes of mounted paths that the
// machine does not have.
func keepHost(t *testing.T) {
	t.Helper()
	job := &batchv1.Job{}
	if err := yaml.Unmarshal(jobs.KubeBench, job); err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, v := range job.Spec.Template.Spec.Volumes {
		if v.HostPath == nil {
			continue
		}
		for dir := v.HostPath.Path; strings.Count(dir, "/") > 1; dir = dir[:strings.LastIndex(dir, "/")] {
			if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
				missing = append(missing, dir)
			}
		}
	}
	slices.SortFunc(missing, func(a, b string) int { return strings.Compare(b, a) }) // deepest first
	t.Cleanup(func() {
		for _, dir := range slices.Compact(missing) {
			if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) { // only an empty one
				t.Logf("left on this machine: %v", err)
			}
		}
	})
}

// TestKubeBench runs kube-bench's Job on real kubelets: pods run, their logs come
// through the API server, and the collector cannot tell the image from kube-bench.
func TestKubeBench(t *testing.T) {
	c := needCluster(t, kube.TierC)
	nodes := realNodes(t, c)
	image := benchImages(t, c)
	t.Cleanup(func() { nothingLeft(t, c.kube) })
	options := func(benchmark string) kubebench.Options {
		return kubebench.Options{Image: image, Benchmark: benchmark, Parallel: 10, NodeTimeout: 2 * time.Minute}
	}
	run := func(t *testing.T, p *proxy, o kubebench.Options) *benchRun {
		t.Helper()
		cfg := c.config
		if p != nil {
			cfg = p.config
		}
		r, err := runBench(t.Context(), t, cfg, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.warnings) > 0 {
			t.Errorf("warnings: %v", r.warnings)
		}
		return r
	}
	hold := func(t *testing.T, r *benchRun, want ...string) {
		t.Helper()
		var got []string
		for _, name := range nodes {
			n := r.node(t, name)
			got = append(got, n.Outcome)
			if n.Reason != "" {
				t.Logf("%s: %s", name, n.Reason)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("outcomes of %v: %v, want %v", nodes, got, want)
		}
	}

	t.Run("both nodes", func(t *testing.T) {
		begun := time.Now()
		r := run(t, nil, options("cis-1.12"))
		t.Logf("%d nodes in %s", len(r.overview.Nodes), time.Since(begun).Round(100*time.Millisecond))
		hold(t, r, kubebench.OutcomeResult, kubebench.OutcomeResult)
		if a, b := r.outcome("4.1.1", nodes[0]), r.outcome("4.1.1", nodes[1]); !slices.Equal(a, []evidence.Outcome{evidence.OutcomePass}) || !slices.Equal(b, []evidence.Outcome{evidence.OutcomeFail}) {
			t.Errorf("check 4.1.1: %v, %v", a, b)
		}
		for name, raw := range r.artifacts.Files() {
			if bytes.Contains(raw, []byte("made-up-for-the-test")) {
				t.Errorf("%s holds a value of a process's environment", name)
			}
		}
		differ := slices.ContainsFunc(r.findings, func(f evidence.Finding) bool {
			return f.Rule == "kubebench/nodes-agree" && f.Outcome == evidence.OutcomeFail && strings.Contains(f.Message, "check 4.1.1: FAIL on 1 ("+nodes[1]+"), PASS on 1 ("+nodes[0]+")")
		})
		if !differ {
			t.Error("no finding says that the nodes differ")
		}
	})

	t.Run("control plane", func(t *testing.T) {
		patch(t, c, nodes[0], `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}},"spec":{"taints":[{"key":"node-role.kubernetes.io/control-plane","effect":"NoSchedule"},{"key":"team","value":"x","effect":"NoExecute"}],"unschedulable":true}}`)
		defer patch(t, c, nodes[0], `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":null}},"spec":{"taints":null,"unschedulable":null}}`)
		r := run(t, nil, options("cis-1.12"))
		hold(t, r, kubebench.OutcomeResult, kubebench.OutcomeResult)
		for _, id := range []string{"1.1.2", "2.1.2", "3.1.2", "4.1.2"} {
			if got := r.outcome(id, nodes[0]); !slices.Equal(got, []evidence.Outcome{evidence.OutcomePass}) {
				t.Errorf("check %s of the control plane: %v", id, got)
			}
		}
		if got := r.outcome("1.1.2", nodes[1]); got != nil {
			t.Errorf("check 1.1.2 of a worker: %v", got)
		}
	})

	// Each run has a namespace of its own: from here on several are at work.
	t.Run("a node that never answers", func(t *testing.T) {
		t.Parallel()
		o := options("test-hang")
		o.NodeTimeout = 15 * time.Second
		r := run(t, nil, o)
		hold(t, r, kubebench.OutcomeResult, kubebench.OutcomeTimeout)
		if got := r.outcome("node-covered", nodes[1]); !slices.Equal(got, []evidence.Outcome{evidence.OutcomeFail}) {
			t.Errorf("the node that hangs: %v", got)
		}
	})

	t.Run("evicted", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, c.config)
		var evicted sync.Map
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p.jobMade = func() { go evictRunning(ctx, t, c, nodes, &evicted) }
		r := run(t, p, options("test-slow"))
		cancel()
		hold(t, r, kubebench.OutcomeResult, kubebench.OutcomeResult)
		n := 0
		evicted.Range(func(any, any) bool { n++; return true })
		if n == 0 {
			t.Error("nothing was evicted")
		}
	})

	t.Run("log cut", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, c.config)
		p.cut.Store(3)
		hold(t, run(t, p, options("cis-1.12")), kubebench.OutcomeResult, kubebench.OutcomeResult)
		if p.cut.Load() >= 0 {
			t.Error("no log was cut")
		}
	})

	t.Run("over 10 MiB", func(t *testing.T) {
		t.Parallel()
		r := run(t, nil, options("test-big"))
		hold(t, r, kubebench.OutcomeResult, kubebench.OutcomeResult)
		if n := r.node(t, nodes[0]); n.Bytes < 10<<20 {
			t.Errorf("%d bytes", n.Bytes)
		}
	})

	t.Run("more than a log holds", func(t *testing.T) {
		t.Parallel()
		r := run(t, nil, options("test-noise"))
		hold(t, r, kubebench.OutcomeNoOutput, kubebench.OutcomeNoOutput)
	})

	t.Run("kube-bench fails", func(t *testing.T) {
		t.Parallel()
		r := run(t, nil, options("test-fails"))
		hold(t, r, kubebench.OutcomeBadOutput, kubebench.OutcomeBadOutput)
		if n := r.node(t, nodes[0]); n.Exit != 2 || !strings.Contains(n.Reason, "open cfg: no such file") {
			t.Errorf("%+v", n)
		}
	})

	t.Run("no such image", func(t *testing.T) {
		t.Parallel()
		o := options("cis-1.12")
		o.Image, o.NodeTimeout = benchImage, 30*time.Second
		hold(t, run(t, nil, o), kubebench.OutcomeNotStarted, kubebench.OutcomeNotStarted)
	})

	t.Run("command", func(t *testing.T) {
		t.Parallel()
		benchCommand(t, c, image)
	})
}

func patch(t *testing.T, c *testCluster, node, body string) {
	t.Helper()
	if _, err := c.kube.CoreV1().Nodes().Patch(context.WithoutCancel(t.Context()), node, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// evictRunning evicts each real node's first pod of the run, once it runs.
func evictRunning(ctx context.Context, t *testing.T, c *testCluster, nodes []string, evicted *sync.Map) {
	for {
		pods, err := c.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: benchLabels})
		if err != nil {
			return // the run has ended
		}
		for _, p := range pods.Items {
			if p.Status.Phase != corev1.PodRunning || !slices.Contains(nodes, p.Spec.NodeName) || p.Spec.Containers[0].Env[0].Value != "test-slow" {
				continue
			}
			if _, done := evicted.LoadOrStore(p.Spec.NodeName, true); done {
				continue
			}
			err := c.kube.CoreV1().Pods(p.Namespace).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}})
			if err != nil && ctx.Err() == nil {
				t.Errorf("evict %s: %v", p.Name, err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// benchCommand is the whole way, as a user goes it: collect --cluster, verify,
// and gate over a release on that cluster.
func benchCommand(t *testing.T, c *testCluster, image string) {
	bin := helmproof(t)
	dir := t.TempDir()
	command := func(want int, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--repo", dir+"/repo")...)
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "HELMPROOF_KUBE_BENCH_NODE_TIMEOUT=1m")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Fatalf("%v: %v, want exit code %d\n%s%s", args, err, want, out, stderr.String())
		}
		return out
	}
	command(3, "collect", "--cluster", "--kubeconfig", c.Kubeconfig, "--kube-bench-image", image, "--benchmark", "cis-1.12")
	if out := command(0, "verify", "latest"); !bytes.Contains(out, []byte("names this cluster")) {
		t.Errorf("%s", out)
	}
	command(0, "collect", "../../charts/service", "--kubeconfig", c.Kubeconfig, "--profile", "chart")
	var gated report.OutputJSON
	if err := json.Unmarshal(command(3, "gate", "--chart", "service", "--profile", "release", "-o", "json"), &gated); err != nil || len(gated.Releases) != 1 {
		t.Fatalf("%d releases, %v", len(gated.Releases), err)
	}
	for _, r := range gated.Releases[0].Verdict.Results {
		if strings.HasPrefix(string(r.Control), "CIS-") && len(r.Evidence) != 1 {
			t.Errorf("%s rests on %d bundles: %s", r.Control, len(r.Evidence), r.Reason)
		}
	}
}
