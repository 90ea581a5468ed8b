package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	helmkube "helm.sh/helm/v4/pkg/kube"

	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

// installService installs charts/service, its pods running a program that serves.
func installService(t *testing.T, c *kube.Cluster, ns string, values map[string]any) {
	t.Helper()
	digest, err := c.PinImage(t.Context(), kube.Image{Ref: "cluster.test/service:1", Binary: c.TestPod()})
	if err != nil {
		t.Fatal(err)
	}
	labelled(t, c, ns, "enforce=restricted")
	c.Kubectl(t, "label", "namespace", ns, "helmproof.dev/drill=allowed")
	c.Apply(t, string(rbac.Drill))
	ch, err := loader.Load("../../charts/service")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]any{
		"image": map[string]any{"repository": "cluster.test/service", "tag": "1", "digest": digest, "pullPolicy": "IfNotPresent"},
		"args":  []any{"serve", ":8080"}, "port": 8080, "replicaCount": 3, "autoscaling": map[string]any{"enabled": false},
		"shutdown": map[string]any{"preStopSleepSeconds": 3, "terminationGracePeriodSeconds": 10},
	}
	for k, v := range values {
		all[k] = v
	}
	in := action.NewInstall(helmFor(t, c, ns, "secrets"))
	in.ReleaseName, in.Namespace, in.WaitStrategy, in.Timeout = "shop", ns, helmkube.StatusWatcherStrategy, 2*time.Minute
	if _, err := in.Run(ch, all); err != nil {
		t.Fatalf("install charts/service: %v", err)
	}
}

// TestDrillCommand drills a release of charts/service as a user does.
func TestDrillCommand(t *testing.T) {
	c := kube.Start(t, kube.TierC)
	const ns = "drill-command"
	installService(t, c, ns, nil)
	repo, bin := filepath.Join(t.TempDir(), "repo"), helmproof(t)
	home := t.TempDir()
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(cmd.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "KUBECONFIG="+c.Kubeconfig, "HELMPROOF_REPO="+repo)
		return cmd
	}
	var stderr string
	try := func(args ...string) (stdout string, code int) {
		t.Helper()
		var out, errs bytes.Buffer
		cmd := command(args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		var exit *exec.ExitError
		if err := cmd.Run(); errors.As(err, &exit) {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		stderr = errs.String()
		return out.String(), code
	}
	run := func(want int, args ...string) (string, string) {
		t.Helper()
		stdout, code := try(args...)
		if code != want {
			t.Fatalf("helmproof %s: exit %d, want %d\n%s%s", strings.Join(args, " "), code, want, stdout, stderr)
		}
		return stdout, stderr
	}
	on := func(args ...string) []string {
		return append(args, "--release", "shop", "-n", ns, "--allow-namespace", ns, "--before", "3s", "--after", "3s", "--max-percent", "100")
	}
	contains := func(text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if !strings.Contains(text, p) {
				t.Errorf("%q is not in\n%s", p, text)
			}
		}
	}

	// What is asked before anything is touched.
	run(2, on("drill", "pod-kill")...)
	contains(stderr, "confirm with --yes")
	run(2, "drill", "pod-slap")
	contains(stderr, `no experiment "pod-slap"`, "pod-kill")
	stdout, _ := run(0, append(on("drill", "node-drain"), "--dry-run")...)
	contains(stdout, "rights:", "PASS", "/readyz")
	stdout, _ = run(1, "drill", "eviction", "--release", "shop", "-n", ns, "--allow-namespace", "other", "--dry-run", "-o", "json")
	contains(stdout, `"ok": false`, "in which nothing may be touched")
	contains(stderr, "1 of 1 drill would be refused")

	// Drills that pass, their evidence and their reports.
	var bundles []string
	stored := 0
	for _, experiment := range []string{"pod-kill", "eviction"} {
		var code int
		for range 3 { // on a busy machine the prober is held up, and says so: then nothing was shown
			stdout, code = try(append(on("drill", experiment), "--yes", "-o", "json")...)
			stored++
			if !strings.Contains(stdout, "held up") {
				break
			}
		}
		if code != 0 {
			t.Fatalf("%s: exit %d\n%s%s", experiment, code, stdout, stderr)
		}
		var doc struct {
			Releases []struct {
				Bundle string
				Drill  struct {
					Conclusion string
					Probes     []struct{ Due, Failed int }
				}
			}
		}
		if err := json.Unmarshal([]byte(stdout), &doc); err != nil || len(doc.Releases) != 1 {
			t.Fatalf("%v: %s", err, stdout)
		}
		r := doc.Releases[0]
		if len(r.Drill.Probes) != 1 || r.Drill.Probes[0].Due < 100 {
			t.Errorf("%s: %+v", experiment, r.Drill)
		}
		t.Logf("%s: %s; %+v", experiment, r.Drill.Conclusion, r.Drill.Probes)
		bundles = append(bundles, r.Bundle)
	}
	stdout, _ = run(0, "verify", bundles[0])
	contains(stdout, "VERIFIED")
	stdout, _ = run(0, "diff", bundles[0], bundles[1])
	contains(stdout, "recover")
	stdout, _ = run(0, "report", bundles[1], "--format", "html")
	contains(stdout, "<svg", "evict")

	t.Run("readiness", func(t *testing.T) { readyAfterDrills(t, needCluster(t, kube.TierC), ns, try) })

	// A drill that is interrupted, and one that is killed.
	cordoned := func() []string {
		out := c.Kubectl(t, "get", "nodes", "-o", `jsonpath={range .items[?(@.spec.unschedulable==true)]}{.metadata.name} {end}`)
		return strings.Fields(out)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		var stderr bytes.Buffer
		cmd := command(append(on("drill", "node-drain"), "--yes")...)
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		kube.Eventually(t, time.Minute, "a cordoned node", func() bool {
			select {
			case <-ended:
				t.Fatalf("the drill ended before it cordoned anything:\n%s", stderr.String())
			default:
			}
			return len(cordoned()) == 1
		})
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Fatal("it does not end")
		}
		if sig == syscall.SIGINT {
			contains(stderr.String(), "interrupted")
			if left := cordoned(); len(left) > 0 {
				t.Errorf("left cordoned: %v\n%s", left, stderr.String())
			}
			c.Kubectl(t, "rollout", "status", "-n", ns, "deployment/shop-service", "--timeout=90s")
		}
	}
	if left := cordoned(); len(left) != 1 {
		t.Fatalf("cordoned after a kill: %v", left)
	}
	stdout, _ = run(0, "drill", "restore")
	contains(stdout, "uncordoned")
	if left := cordoned(); len(left) > 0 {
		t.Errorf("left cordoned: %v", left)
	}
	stdout, _ = run(0, "drill", "restore")
	contains(stdout, "nothing to restore")

	stdout, _ = run(0, "list", "-o", "json")
	if n := strings.Count(stdout, `"scope": "drill"`); n != stored {
		t.Errorf("%d bundles, of %d drills: %s", n, stored, stdout)
	}
}
