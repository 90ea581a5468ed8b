package kubebench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

const image = "registry.example.com/kube-bench@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// clock goes on by a second with every look, so that limits pass without waiting.
func clock() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) add(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, s)
}

// collect runs the collector against the server.
func collect(ctx context.Context, t *testing.T, s *benchtest.Server, o Options) (*collectors.Artifacts, *warnings, error) {
	t.Helper()
	cluster, err := cluster.ConnectConfig(t.Context(), &rest.Config{Host: s.URL, QPS: 10000, Burst: 10000})
	if err != nil {
		t.Fatal(err)
	}
	w := &warnings{}
	if o.Image == "" {
		o.Image = image
	}
	o.poll, o.margin, o.Warn = time.Millisecond, time.Millisecond, w.add
	a := collectors.NewArtifacts(nil)
	return a, w, New(o).Collect(ctx, collectors.Input{Cluster: cluster, Now: clock()}, folder{a})
}

func overview(t *testing.T, a *collectors.Artifacts) Overview {
	t.Helper()
	raw, err := a.Read(collectors.Artifact(Name, overviewFile))
	if err != nil {
		t.Fatal(err)
	}
	var o Overview
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// outcomes is "a result" and the like, a line per node.
func outcomes(o Overview) []string {
	var out []string
	for _, n := range o.Nodes {
		line := n.Node + " " + n.Outcome
		if n.Added {
			line += " added"
		}
		if n.Removed {
			line += " removed"
		}
		out = append(out, line)
	}
	return out
}

func printing(t testing.TB, nodes map[string][]byte) func(string, int) []byte {
	return func(name string, _ int) []byte { return benchtest.Log(nodes[name], 0, "") }
}

func TestCollect(t *testing.T) {
	t.Parallel()
	cordoned := benchtest.Node("w2")
	cordoned.Spec.Taints = []corev1.Taint{{Key: "team", Value: "x", Effect: corev1.TaintEffectNoExecute}, {Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}}
	s, stop := benchtest.New(benchtest.Node("cp", "control-plane"), benchtest.Node("w1"), cordoned)
	defer stop()
	s.Log = printing(t, map[string][]byte{"cp": master("PASS").bytes(t), "w1": node("PASS FAIL").bytes(t), "w2": node("PASS PASS").bytes(t)})
	made := map[string]*batchv1.Job{}
	var ns string
	s.Created = func(node string, job *batchv1.Job) { made[node] = job; ns = job.Namespace }
	a, w, err := collect(t.Context(), t, s, Options{NodeTimeout: 3 * time.Minute})
	if err != nil || len(w.list) > 0 {
		t.Fatal(err, w.list)
	}
	o := overview(t, a)
	if d := cmp.Diff([]string{"cp result", "w1 result", "w2 result"}, outcomes(o)); d != "" {
		t.Error(d)
	}
	if o.Image != image || o.Benchmark != "cis-1.12" || o.Platform != "kubernetes" {
		t.Errorf("%+v", o)
	}
	hold(t, findings(t, a), want{"4.2.1", "Node w1", "fail", ""}, want{"nodes-agree", "NodeRole worker", "fail", "check 4.2.1: FAIL on 1 (w1), PASS on 1 (w2)"})
	if left := s.Namespaces(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if !strings.HasPrefix(ns, "helmproof-kube-bench-") {
		t.Errorf("namespace %q", ns)
	}
	pod := made["w2"].Spec.Template.Spec
	env := map[string]string{}
	for _, e := range pod.Containers[0].Env {
		env[e.Name] = e.Value
	}
	if env["BENCHMARK"] != "cis-1.12" || env["TARGETS"] != "node" || pod.Containers[0].Image != image || *made["w2"].Spec.ActiveDeadlineSeconds != 180 {
		t.Errorf("%v %+v", env, made["w2"].Spec)
	}
	if !slices.Contains(pod.Tolerations, corev1.Toleration{Key: "team", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}) {
		t.Errorf("the node's own taint is not tolerated: %v", pod.Tolerations)
	}
	for _, tol := range pod.Tolerations {
		if tol.Key == "" || tol.Key == corev1.TaintNodeNotReady {
			t.Errorf("tolerates a node that does not answer: %+v", tol)
		}
	}
	volumes := func(p corev1.PodSpec) (out []string) {
		for _, v := range p.Volumes {
			out = append(out, v.Name)
		}
		return out
	}
	if v := volumes(pod); slices.Contains(v, "var-lib-etcd") || slices.Contains(v, "etc-rancher") || len(v) != len(pod.Containers[0].VolumeMounts) {
		t.Errorf("a worker's volumes: %v", v)
	}
	if v := volumes(made["cp"].Spec.Template.Spec); !slices.Contains(v, "var-lib-etcd") {
		t.Errorf("a control plane's volumes: %v", v)
	}
}

// What goes wrong on one node is that node's outcome; the others have results.
func TestEachNodeItsOwnOutcome(t *testing.T) {
	t.Parallel()
	names := []string{"cut", "deadline", "deleted", "evicted", "good", "gone", "hangs", "noise", "once-cut", "pending", "quiet", "usage", "win"}
	var nodes []*corev1.Node
	for _, n := range names {
		nodes = append(nodes, benchtest.Node(n))
	}
	nodes[12].Status.NodeInfo.OperatingSystem = "windows"
	s, stop := benchtest.New(nodes...)
	defer stop()
	good := benchtest.Log(node("PASS").bytes(t), 0, "")
	s.Job = func(name string, n int) benchtest.State {
		switch name {
		case "deadline":
			return benchtest.State{Job: batchv1.JobFailed, Reason: batchv1.JobReasonDeadlineExceeded}
		case "deleted": // first its pod, some looks later the Job says why
			switch {
			case n <= 2:
				return benchtest.State{Phase: corev1.PodRunning}
			case n <= 60:
				return benchtest.State{}
			}
			return benchtest.State{Job: batchv1.JobFailed, Reason: batchv1.JobReasonDeadlineExceeded}
		case "evicted":
			return benchtest.State{Job: batchv1.JobFailed, Reason: "BackoffLimitExceeded", Message: "Job has reached the specified backoff limit", Phase: corev1.PodFailed}
		case "gone":
			return benchtest.State{Job: batchv1.JobComplete}
		case "hangs":
			return benchtest.State{Phase: corev1.PodRunning}
		case "pending":
			return benchtest.State{Phase: corev1.PodPending, Waiting: "0/13 nodes are available: 1 node(s) had untolerated taint(s)"}
		case "quiet":
			return benchtest.State{}
		}
		return benchtest.Done
	}
	s.Log = func(name string, n int) []byte {
		switch {
		case name == "cut" || name == "once-cut" && n == 1:
			return good[:len(good)/2]
		case name == "noise":
			return benchtest.Log([]byte("[ERRO] no such benchmark"), 1, "open cfg: TOKEN=made-up")
		case name == "usage":
			return benchtest.Log([]byte("\nThe specified --targets are not configured\n"), 1, "")
		}
		return good
	}
	s.Refuse = func(method, path string) int {
		if method == http.MethodGet && strings.HasSuffix(path, "/log") {
			s.Refuse = nil // the first reading of a log: an API server that is away for a moment
			return http.StatusServiceUnavailable
		}
		return 0
	}
	a, w, err := collect(t.Context(), t, s, Options{NodeTimeout: 4 * time.Second, start: 20 * time.Second, Parallel: 6})
	if err != nil || len(w.list) > 0 {
		t.Fatal(err, w.list)
	}
	o := overview(t, a)
	want := []string{"cut no-output", "deadline timeout", "deleted timeout", "evicted failed", "gone no-output", "good result", "hangs timeout", "noise bad-output",
		"once-cut result", "pending not-started", "quiet not-started", "usage bad-output", "win unsupported"}
	if d := cmp.Diff(want, outcomes(o)); d != "" {
		t.Error(d)
	}
	for _, n := range o.Nodes {
		reason := map[string]string{
			"cut": "the log is not whole: its last line is not the trailer", "deadline": "deadline", "deleted": "no result within the Job's deadline; pod is running", "evicted": "BackoffLimitExceeded: Job has reached", "gone": "its pod is gone",
			"hangs": "no result within 4s: pod is running", "noise": "kube-bench ended with exit code 1: open cfg: TOKEN=[redacted]", "pending": "untolerated taint(s)",
			"quiet": "no pod was made", "usage": "kube-bench ended with exit code 1: The specified --targets are not configured", "win": "does not run on windows",
		}[n.Node]
		if !strings.Contains(n.Reason, reason) || (n.Reason == "") != (n.Outcome == OutcomeResult) {
			t.Errorf("%s: %q, want %q", n.Node, n.Reason, reason)
		}
	}
	if left := s.Namespaces(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	s, stop := benchtest.New(benchtest.Node("a"), benchtest.Node("b"), benchtest.Node("c"))
	defer stop()
	raw := node("PASS").bytes(t)
	s.Log = func(string, int) []byte { return benchtest.Log(raw, 0, "") }
	s.Created = func(name string, _ *batchv1.Job) {
		switch name {
		case "a":
			s.Replace("a", benchtest.Node("a")) // another node of the same name
		case "b":
			s.Replace("c", benchtest.Node("new"))
		case "new":
			s.Replace("", benchtest.Node("newer"))
		}
	}
	once := false
	created := s.Created
	s.Created = func(name string, j *batchv1.Job) {
		if name == "a" && once {
			return
		}
		once = once || name == "a"
		created(name, j)
	}
	a, _, err := collect(t.Context(), t, s, Options{Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a result removed", "a result added", "b result", "c result removed", "new result added", "newer not-reached added"}
	if d := cmp.Diff(want, outcomes(overview(t, a))); d != "" {
		t.Error(d)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	s, stop := benchtest.New(benchtest.Node("a"), benchtest.Node("b"))
	defer stop()
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	s.Job = func(string, int) benchtest.State { return benchtest.State{Phase: corev1.PodRunning} }
	s.Created = func(string, *batchv1.Job) { cancel(stopped) }
	_, w, err := collect(ctx, t, s, Options{})
	if !errors.Is(err, stopped) || len(w.list) != 1 || !strings.HasPrefix(w.list[0], "interrupted: removing namespace "+"helmproof-kube-bench-") {
		t.Errorf("%v, %v", err, w.list)
	}
	if left := s.Namespaces(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// When the time of the whole run is up, what there is is sealed.
func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	s, stop := benchtest.New(benchtest.Node("a"), benchtest.Node("b"), benchtest.Node("c"))
	defer stop()
	raw := node("PASS").bytes(t)
	s.Log = func(string, int) []byte { return benchtest.Log(raw, 0, "") }
	s.Job = func(name string, _ int) benchtest.State {
		if name == "a" {
			return benchtest.Done
		}
		return benchtest.State{Phase: corev1.PodRunning}
	}
	a, _, err := collect(t.Context(), t, s, Options{Parallel: 1, Timeout: 300 * time.Millisecond, NodeTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	o := overview(t, a)
	if d := cmp.Diff([]string{"a result", "b not-reached", "c not-reached"}, outcomes(o)); d != "" {
		t.Error(d)
	}
	if !strings.Contains(o.Nodes[2].Reason, "the run's time of 300ms was up") || o.NodesError == "" {
		t.Errorf("%+v", o)
	}
	if left := s.Namespaces(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	s, stop := benchtest.New(benchtest.Node("a"))
	defer stop()
	s.Log = printing(t, map[string][]byte{"a": node("PASS").bytes(t)})
	for name, at := range map[string]string{"old": "2020-01-01T00:00:00Z", "at-work": "2030-01-01T00:00:00Z", "strange": ""} {
		s.AddNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: "helmproof-kube-bench-" + name, Labels: map[string]string{"app.kubernetes.io/managed-by": "helmproof", "app.kubernetes.io/component": "kube-bench"}, Annotations: map[string]string{"helmproof/expires-at": at},
		}})
	}
	s.AddNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "payments", Annotations: map[string]string{"helmproof/expires-at": "2020-01-01T00:00:00Z"}}})
	s.AddNamespace(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: "labelled-by-somebody", Labels: map[string]string{"app.kubernetes.io/managed-by": "helmproof", "app.kubernetes.io/component": "kube-bench"}, Annotations: map[string]string{"helmproof/expires-at": "2020-01-01T00:00:00Z"},
	}})
	_, w, err := collect(t.Context(), t, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"helmproof-kube-bench-" + "at-work", "helmproof-kube-bench-" + "strange", "labelled-by-somebody", "payments"}, s.Namespaces()); d != "" {
		t.Error(d)
	}
	if len(w.list) != 2 || !strings.Contains(strings.Join(w.list, "\n"), "removed namespace "+"helmproof-kube-bench-"+"old") || !strings.Contains(strings.Join(w.list, "\n"), "strange") {
		t.Errorf("%q", w.list)
	}
}

// A namespace that pods on a dead node hold is freed of them.
func TestStuckNamespace(t *testing.T) {
	t.Parallel()
	s, stop := benchtest.New(benchtest.Node("a"))
	defer stop()
	s.Log = printing(t, map[string][]byte{"a": node("PASS").bytes(t)})
	s.Stuck = true
	_, w, err := collect(t.Context(), t, s, Options{})
	if err != nil || len(w.list) > 0 || len(s.Namespaces()) > 0 {
		t.Errorf("%v, %v, %v", err, w.list, s.Namespaces())
	}
}

// A busy API server costs time and no result.
func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	s, stop := benchtest.New(benchtest.Node("a"), benchtest.Node("b"))
	defer stop()
	s.Log = printing(t, map[string][]byte{"a": node("PASS").bytes(t), "b": node("PASS").bytes(t)})
	n, codes := 0, []int{429, 500, 503, 504}
	cluster := false
	s.Refuse = func(_, path string) int {
		cluster = cluster || strings.Contains(path, "helmproof")
		if n++; cluster && n%3 == 0 {
			return codes[n%len(codes)]
		}
		return 0
	}
	a, w, err := collect(t.Context(), t, s, Options{})
	if err != nil || len(w.list) > 0 {
		t.Fatal(err, w.list)
	}
	if d := cmp.Diff([]string{"a result", "b result"}, outcomes(overview(t, a))); d != "" {
		t.Error(d)
	}
	if left := s.Namespaces(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Without a right the run fails, or the nodes do: nothing passes.
func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ method, part, err, outcome string }{
		{"GET", "/nodes", "list nodes", ""},
		{"POST", "/namespaces", "make a namespace for the Jobs", ""},
		{"POST", "/jobs", "", OutcomeFailed},
		{"GET", "/jobs/", "", OutcomeFailed},
		{"GET", "/pods", "", OutcomeFailed},
		{"GET", "/log", "", OutcomeNoOutput},
	} {
		s, stop := benchtest.New(benchtest.Node("a"))
		s.Log = printing(t, map[string][]byte{"a": node("PASS").bytes(t)})
		s.Refuse = func(method, path string) int {
			if method == tt.method && strings.Contains(path, tt.part) && (!strings.HasSuffix(path, "/log") || tt.part == "/log") {
				return http.StatusForbidden
			}
			return 0
		}
		a, w, err := collect(t.Context(), t, s, Options{})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s %s: %v", tt.method, tt.part, err)
			}
		} else {
			found := findings(t, a)
			hold(t, found, want{"node-covered", "Node a", "fail", tt.outcome}, want{"result", "Node a", "not-checked", ""})
			if passes(found, ruleResult, ruleCovered, ruleAgree) > 0 {
				t.Errorf("%s %s: something passes", tt.method, tt.part)
			}
		}
		if left := s.Namespaces(); len(left) != 0 || len(w.list) > 0 {
			t.Errorf("%s %s: left behind: %v, %v", tt.method, tt.part, left, w.list)
		}
		stop()
	}
}

func TestCannotClean(t *testing.T) {
	t.Parallel()
	s, stop := benchtest.New(benchtest.Node("a"))
	defer stop()
	s.Log = printing(t, map[string][]byte{"a": node("PASS").bytes(t)})
	s.Refuse = func(method, path string) int {
		if method == http.MethodDelete && strings.HasSuffix(path, "/jobs") || method == http.MethodDelete && !strings.Contains(path, "/jobs") {
			return http.StatusForbidden
		}
		return 0
	}
	a, w, err := collect(t.Context(), t, s, Options{})
	if err != nil || len(w.list) != 1 || !strings.Contains(w.list[0], "remove namespace "+"helmproof-kube-bench-") || !strings.Contains(w.list[0], "refused by the test") {
		t.Errorf("%v, %q", err, w.list)
	}
	if d := cmp.Diff([]string{"a result"}, outcomes(overview(t, a))); d != "" {
		t.Error(d)
	}
}

// Many nodes are looked at a few at a time, each once.
func TestManyNodes(t *testing.T) {
	t.Parallel()
	var nodes []*corev1.Node
	for i := range 200 {
		nodes = append(nodes, benchtest.Node(fmt.Sprintf("node-%03d", i)))
	}
	s, stop := benchtest.New(nodes...)
	defer stop()
	raw := node(strings.Repeat("PASS ", 40)).bytes(t)
	running, most := map[string]bool{}, 0
	s.Created = func(name string, _ *batchv1.Job) {
		running[name] = true
		most = max(most, len(running))
	}
	s.Log = func(name string, _ int) []byte {
		delete(running, name)
		return benchtest.Log(raw, 0, "")
	}
	a, _, err := collect(t.Context(), t, s, Options{Parallel: 7})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range overview(t, a).Nodes {
		if n.Outcome != OutcomeResult {
			t.Errorf("%s: %s %s", n.Node, n.Outcome, n.Reason)
		}
	}
	if most > 7 || most < 2 {
		t.Errorf("%d nodes at once", most)
	}
	hold(t, findings(t, a), want{"nodes-agree", "NodeRole worker", evidence.OutcomePass, "200 nodes agree on 40 checks"})
}

func TestNoCluster(t *testing.T) {
	t.Parallel()
	if err := New(Options{Image: image}).Collect(t.Context(), collectors.Input{}, nil); err == nil || !strings.Contains(err.Error(), "no cluster") {
		t.Error(err)
	}
	s, stop := benchtest.New()
	defer stop()
	if _, _, err := collect(t.Context(), t, s, Options{}); err == nil || !strings.Contains(err.Error(), "the cluster has no nodes") {
		t.Error(err)
	}
	if _, _, err := collect(t.Context(), t, s, Options{Image: "kube-bench:latest"}); err == nil || !strings.Contains(err.Error(), "not pinned by digest") {
		t.Error(err)
	}
}
