package kube

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// podScript prints the namespaces that it runs in, gets a pod to run where there
// is a real node, and waits to be told to end.
const podScript = `set -e
readlink /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/mnt
if [ "$HELMPROOF_TEST_TIER" = c ]; then
	kubectl run left --image=cluster.test/pause:1 --image-pull-policy=Never >/dev/null
	kubectl wait --for=condition=Ready --timeout=60s pod/left >/dev/null
fi
echo up
read -r line
`

// inNamespaces counts the processes of the machine that live in one of ns.
func inNamespaces(t *testing.T, ns []string) int {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && slices.Contains(ns, target) { // one that ended has none
			n++
		}
	}
	return n
}

// traces are what a cluster could leave behind on the machine.
func traces(t *testing.T, id int) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/", "/sys/fs/cgroup/*/*/"} {
		groups, err := filepath.Glob(pattern + cgroupPrefix(strconv.Itoa(id)) + "*")
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, groups...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, stateDir+"/") {
			found = append(found, "mount "+line)
		}
	}
	if _, err := os.Stat(stateDir); err == nil {
		found = append(found, stateDir)
	}
	return found
}

func TestNothingIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("starts two clusters")
	}
	_, tier, why := prospects(TierC)
	if tier == TierNone {
		t.Skip(why)
	}
	if tier < TierC {
		t.Logf("without real nodes: %s", why)
	}
	shell := filepath.Join(t.TempDir(), "shell")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", shell, "./shell").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, tt := range []struct {
		name string
		end  func(*exec.Cmd, func() error) error
	}{
		{"end", func(cmd *exec.Cmd, closeInput func() error) error { return closeInput() }},
		{"kill", func(cmd *exec.Cmd, _ func() error) error { return cmd.Process.Kill() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), shell, "sh", "-c", podScript)
			cmd.Env = append(os.Environ(), TierEnv+"="+tier.String())
			var stderr strings.Builder
			cmd.Stderr = &stderr
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var lines []string
			for s := bufio.NewScanner(out); len(lines) < 4 && s.Scan(); {
				lines = append(lines, s.Text())
			}
			if len(lines) != 4 || lines[3] != "up" {
				err := cmd.Wait()
				if strings.Contains(stderr.String(), errNoNamespaces.Error()) {
					t.Skip(stderr.String())
				}
				t.Fatalf("the cluster printed %q; %v\n%s", lines, err, stderr.String())
			}
			ns, id := lines[:3], cmd.Process.Pid
			if n := inNamespaces(t, ns); n < 8 {
				t.Fatalf("only %d processes in %v: this test would see nothing", n, ns)
			}
			if tier == TierC && len(traces(t, id)) == 0 {
				t.Fatal("no cgroups of the cluster: this test would see nothing")
			}
			if err := tt.end(cmd, in.Close); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed, or ended by read
			Eventually(t, 30*time.Second, "the cluster's processes, cgroups and mounts to go", func() bool {
				return inNamespaces(t, ns) == 0 && len(traces(t, id)) == 0
			})
		})
	}
}
