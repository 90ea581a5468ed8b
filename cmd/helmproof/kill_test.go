package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKill kills collect at random moments, many times: whatever is listed
// verifies, nothing is half-visible, and the next run succeeds.
func TestKill(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs collect many times")
	}
	self, err := exec.LookPath("helmproof") // testscript.Main puts it on PATH
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	env := append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(work, "home"), "COSIGN_PASSWORD=", "HOME="+work)
	chart, err := filepath.Abs("../../charts/service")
	if err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), self, args...)
		cmd.Dir, cmd.Env = work, env
		return cmd
	}
	start := time.Now()
	if out, err := command("collect", chart, "-q").CombinedOutput(); err != nil {
		t.Fatalf("first run: %v\n%s", err, out)
	}
	whole := time.Since(start)
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	killed := 0
	for i := range 25 {
		cmd := command("collect", chart, "-q", "-n", fmt.Sprintf("ns%d", i))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(whole+whole/5))), func() { _ = cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil {
			killed++
		}
		timer.Stop()
	}
	if killed < 3 {
		t.Errorf("only %d of 25 runs were killed: the test tests little", killed)
	}
	out, err := command("verify", "-q").CombinedOutput()
	if err != nil {
		t.Errorf("the repository does not verify after %d kills: %v\n%s", killed, err, out)
	}
	if out, err := command("list", "-q").CombinedOutput(); err != nil || strings.Count(string(out), "sha256:") < 1 {
		t.Errorf("list: %v\n%s", err, out)
	}
	if out, err := command("collect", chart, "-q", "-n", "after").CombinedOutput(); err != nil {
		t.Errorf("the run after: %v\n%s", err, out)
	}
}
