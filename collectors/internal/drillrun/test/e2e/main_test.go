// Package e2e holds the tests of what drills have in common on a real Kubernetes:
// docs/testing.md. There is one Lease per cluster, so none of them is parallel.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

// asDriller makes this test binary a process of its own that drills a node, tells the
// test when the node is cordoned, and waits to be killed.
const asDriller = "DRILLRUN_TEST_DRILLER"

func TestMain(m *testing.M) {
	if os.Getenv(asDriller) != "" {
		if err := driller(os.Getenv(asDriller)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	kube.Main(m, kube.TierB)
}

const workloads = `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers: [{name: main, image: cluster.test/none:1}]
`

// release is a release that runs on simulated nodes, in a namespace of its own.
func release(t *testing.T, ns string) (*kube.Cluster, *cluster.Cluster) {
	t.Helper()
	c := kube.Start(t, kube.TierB)
	mine := connect(t, c.Kubeconfig)
	c.Apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+ns+"}}")
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "namespace", ns, "--wait=false"); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.TryKubectl(t.Context(), workloads, "apply", "-n", ns, "-f", "-"); err != nil {
		t.Fatal(err)
	}
	c.Kubectl(t, "rollout", "status", "-n", ns, "deployment/web", "--timeout=180s")
	kube.Eventually(t, time.Minute, "the budget and the endpoints", func() bool {
		b, err := mine.Kube.PolicyV1().PodDisruptionBudgets(ns).Get(t.Context(), "web", metav1.GetOptions{})
		return err == nil && b.Status.DisruptionsAllowed == 1
	})
	return c, mine
}

func connect(t testing.TB, kubeconfig string) *cluster.Cluster {
	t.Helper()
	c, err := cluster.Connect(t.Context(), cluster.Options{Kubeconfig: kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rights applies what drills need.
func rights(t *testing.T, c *kube.Cluster) {
	t.Helper()
	c.Apply(t, string(rbac.Drill))
	t.Cleanup(func() {
		// The namespace stays: other tests use it.
		if _, err := c.TryKubectl(context.Background(), "", "delete", "lease", "helmproof-drill", "-n", "helmproof", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	})
}

func session(c *cluster.Cluster, ns string, e drill.Experiment, fault func(context.Context, *drillrun.Live) error) drillrun.Session {
	set, err := manifest.Parse([]byte(workloads))
	if err != nil {
		panic(err)
	}
	second := evidence.Duration(time.Second)
	return drillrun.Session{
		Cluster: c, Objects: set, Now: time.Now, Fault: fault,
		Release: evidence.Release{Namespace: ns, ReleaseName: "web", Scope: evidence.ScopeDrill},
		Plan: drill.Plan{
			Experiment: e, SLO: drill.SLO{Objective: 0.99, Window: evidence.Duration(time.Hour), Share: 1}, AllowNamespaces: []string{ns},
			Phases: drill.Phases{Before: second, After: second, Recover: 30 * second, Deadline: 180 * second},
			Limits: drill.Limits{Pods: 2, Percent: 67, Nodes: 1},
		},
	}
}

// folder holds what a drill sealed.
type folder struct {
	mu    sync.Mutex
	files map[string][]byte
}

func (f *folder) Write(name string, content []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files == nil {
		f.files = map[string][]byte{}
	}
	if f.files[name] != nil {
		return errors.New("written twice: " + name)
	}
	f.files[name] = content
	return nil
}

func (f *folder) read(t *testing.T, name string, into any) {
	t.Helper()
	if err := json.Unmarshal(f.files[name], into); err != nil {
		t.Fatalf("%s: %v in %q", name, err, f.files[name])
	}
}

func (f *folder) end(t *testing.T) (e drill.End) {
	t.Helper()
	f.read(t, drill.EndFile, &e)
	return e
}

func (f *folder) checks(t *testing.T) (c []drill.Check) {
	t.Helper()
	f.read(t, drill.PreflightFile, &c)
	return c
}

func (f *folder) events(t *testing.T) []drill.Event {
	t.Helper()
	var out []drill.Event
	for line := range bytes.Lines(f.files[drill.TimelineFile]) {
		var e drill.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if len(out) > 0 && e.At < out[len(out)-1].At {
			t.Errorf("events are not in the order of time: %s", line)
		}
		out = append(out, e)
	}
	return out
}

// run runs a drill that must seal something.
func run(t *testing.T, s drillrun.Session) *folder {
	t.Helper()
	f := &folder{}
	s.Progress = func(what string) { t.Log(what) }
	if err := drillrun.Run(t.Context(), s, f); err != nil {
		t.Fatal(err)
	}
	return f
}

// released fails if the Lease is not given up, or has something left to restore.
func released(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	l, err := c.Kube.CoordinationV1().Leases("helmproof").Get(t.Context(), "helmproof-drill", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if h := l.Spec.HolderIdentity; h != nil && *h != "" || l.Annotations["helmproof.dev/restore"] != "" {
		t.Errorf("the Lease is held by %v, and has the record %q", h, l.Annotations["helmproof.dev/restore"])
	}
}

// kwokNode makes a simulated node for one test.
func kwokNode(t *testing.T, c *kube.Cluster, mine *cluster.Cluster, name string) {
	t.Helper()
	if err := c.AddSimulatedNode(t.Context(), name, "kz-9"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "node", name); err != nil {
			t.Error(err)
		}
	})
	kube.Eventually(t, time.Minute, "the node to be ready", func() bool {
		return slices.ContainsFunc(node(t, mine, name).Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
}

func node(t *testing.T, c *cluster.Cluster, name string) *corev1.Node {
	t.Helper()
	n, err := c.Kube.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// driller is the other process: arguments are kubeconfig, namespace and node.
func driller(args string) error {
	ctx := context.Background()
	a := strings.Split(args, " ")
	cfg, err := clientcmd.BuildConfigFromFlags("", a[0])
	if err != nil {
		return err
	}
	c, err := cluster.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	s := session(c, a[1], drill.NodeDrain, func(ctx context.Context, l *drillrun.Live) error {
		if err := l.Cordon(ctx, l.World.Drain[0]); err != nil {
			return err
		}
		fmt.Println("cordoned")
		<-ctx.Done()
		return nil
	})
	s.Plan.Target.Node = a[2]
	f := &folder{}
	if err := drillrun.Run(ctx, s, f); err != nil {
		return err
	}
	return fmt.Errorf("the drill ended: %s", f.files[drill.EndFile])
}

// startDriller starts that process and returns once it has cordoned its node.
func startDriller(t *testing.T, kubeconfig, ns, node string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asDriller+"="+kubeconfig+" "+ns+" "+node)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 9)
	if _, err := stdout.Read(line); err != nil || string(line) != "cordoned\n" {
		t.Fatalf("the other process printed %q, %v, and ended: %v %s", line, err, cmd.Wait(), stderr.String())
	}
	return cmd
}

func reasonOf(checks []drill.Check, name string) string {
	i := slices.IndexFunc(checks, func(c drill.Check) bool { return c.Name == name && !c.OK })
	if i < 0 {
		return ""
	}
	return checks[i].Reason
}
