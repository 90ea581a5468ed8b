// Package kube gives a test binary a real Kubernetes of its own, in namespaces
// that vanish with it: no process, address, mount or file is left, however the
// test ends.
//
// A package asks for it once, in TestMain, and each test says what it needs:
//
//	func TestMain(m *testing.M) { kube.Main(m, kube.TierC) }
//
//	func TestX(t *testing.T) {
//		cluster := kube.Start(t, kube.TierB)
//		cluster.Kubectl(t, "get", "nodes")
//	}
//
// The programs come from test/cluster; `make kube` builds them into bin/kube.
package kube

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Tier is how much of a cluster there is; each holds those before it.
type Tier int

const (
	// TierNone is no cluster.
	TierNone Tier = iota
	// TierA is etcd and the API server: admission, dry-runs, storage.
	TierA
	// TierB adds the controllers, the scheduler and six nodes in three zones that
	// KWOK simulates: pods become Ready there and run nothing. They carry the
	// taint kwok.x-k8s.io/node=fake:NoSchedule and the label type=kwok.
	TierB
	// TierC adds two real kubelets, node-a and node-b, with containerd and runc.
	TierC
)

// String is the tier's letter, as HELMPROOF_TEST_TIER names it.
func (t Tier) String() string {
	if t < TierNone || t > TierC {
		return fmt.Sprintf("tier(%d)", int(t))
	}
	return [...]string{"none", "a", "b", "c"}[t]
}

// ParseTier reads none, a, b or c.
func ParseTier(s string) (Tier, error) {
	for t := TierNone; t <= TierC; t++ {
		if strings.EqualFold(s, t.String()) {
			return t, nil
		}
	}
	return TierNone, fmt.Errorf("tier %q: want none, a, b or c", s)
}

// Cluster is the one cluster of this test binary.
type Cluster struct {
	// Kubeconfig is a file that gives all rights.
	Kubeconfig string
	// Dir holds the cluster's state, and one log per program under log/. It
	// vanishes with the cluster.
	Dir string
	// StartTime is how long the cluster took to be ready, at the tier it reached.
	StartTime time.Duration

	tier  Tier
	why   string // why not a higher tier
	bin   string
	id    string
	pki   *authority
	api   *client
	procs map[string]*process
}

// shared is set before the tests run, and not changed by them.
var shared = &Cluster{why: "TestMain does not call kube.Main"}

// Main runs the tests of a package inside namespaces of their own, with a cluster
// of the highest tier up to want that this machine allows, and ends the process.
// HELMPROOF_TEST_TIER lowers want; a tier named there that cannot be reached
// fails, where by default the tests that need it are skipped.
func Main(m *testing.M, want Tier) {
	if !runsTests(os.Args[1:]) {
		want = TierNone
	}
	os.Exit(Run(want, func(*Cluster) int { return m.Run() }))
}

// runsTests is false for a test binary that is only asked for its list, or for
// its benchmarks.
func runsTests(args []string) bool {
	for _, a := range args {
		name, value, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if name == "test.list" || name == "test.run" && value == "^$" {
			return false
		}
	}
	return true
}

// Start returns the cluster, and skips the test with the reason where this
// machine cannot run one of that tier.
func Start(t testing.TB, tier Tier) *Cluster {
	t.Helper()
	if shared.tier < tier {
		t.Skipf("no cluster of tier %s: %s", tier, shared.why)
	}
	return shared
}

// Tier is the tier that was reached.
func (c *Cluster) Tier() Tier { return c.tier }

// Kubectl runs kubectl with all rights, and returns what it printed on stdout.
// The test ends if it fails.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.TryKubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Apply applies manifests, YAML or JSON.
func (c *Cluster) Apply(t testing.TB, manifests string) {
	t.Helper()
	if _, err := c.TryKubectl(t.Context(), manifests, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// TryKubectl is Kubectl for what may be refused: the error holds stderr.
func (c *Cluster) TryKubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.program("kubectl"), append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// TestPod is the path of the static program of test/cluster/testpod, which can
// wait, echo its arguments, and serve HTTP.
func (c *Cluster) TestPod() string { return filepath.Join(c.bin, "testpod") }

func (c *Cluster) program(role string) string { return filepath.Join(c.Dir, "bin", role) }

// busy is how many times as long things may take where the machine has more to do.
const busy = 3

// Eventually waits until ok holds, and fails the test after limit on an idle machine.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if err := poll(t.Context(), busy*limit, what, func(context.Context) error {
		if ok() {
			return nil
		}
		return errNotYet
	}); err != nil {
		t.Fatal(err)
	}
}
