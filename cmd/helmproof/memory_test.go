package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// measuredFile names, in the environment, the file to which measured writes.
const measuredFile = "HELMPROOF_TEST_MEASURED"

// measured is main, and writes what Linux says of its process at the end. Its resource
// usage would not do: that counts the memory of the process that started it.
func measured() {
	code := run(context.Background(), os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	raw, err := os.ReadFile("/proc/self/status")
	if err == nil {
		err = os.WriteFile(os.Getenv(measuredFile), raw, 0o600)
	}
	if err != nil {
		panic(err)
	}
	os.Exit(code)
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s*([0-9]+) kB$`)

// peak runs a command in a process of its own, and returns its output, its exit code
// and the most memory that it had, in bytes.
func peak(t *testing.T, args ...string) (string, int, int64) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "status")
	cmd := exec.CommandContext(t.Context(), "helmproof-measured", args...) // TestMain puts it there
	cmd.Env = append(os.Environ(), measuredFile+"="+to)
	out, err := cmd.CombinedOutput()
	raw, readErr := os.ReadFile(to)
	if readErr != nil {
		t.Fatalf("%v: %v, %v: %s", args, err, readErr, out)
	}
	m := peakLine.FindSubmatch(raw)
	if m == nil {
		t.Fatalf("no peak in %s", raw)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode(), kib << 10
}

// TestMemory holds how much memory many bad objects, and files that claim to be a
// bundle's, may take.
func TestMemory(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("what a process had at most is read from Linux's /proc")
	}
	dir := t.TempDir()
	t.Run("unsigned files", func(t *testing.T) {
		t.Parallel()
		folder := filepath.Join(dir, "sparse")
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"evidence.zip", "report.html", "report.json", "report.md", "report.pdf", "results.sarif"} {
			f, err := os.Create(filepath.Join(folder, name))
			if err == nil {
				err = f.Truncate(511 << 20)
			}
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		key := filepath.Join(dir, "sparse.key")
		if out, code, _ := peak(t, "keygen", key); code != exitPass {
			t.Fatal(out)
		}
		out, code, rss := peak(t, "verify", folder, "--trust", filepath.Join(dir, "sparse.pub"))
		if code != exitIntegrity || !strings.Contains(out, "evidence.zip: it is no whole zip: its end is missing") {
			t.Errorf("exit %d: %s", code, out)
		}
		if rss > 192<<20 {
			t.Errorf("%d MiB, want 192 at most", rss>>20)
		}
	})
	t.Run("objects", func(t *testing.T) {
		t.Parallel()
		const objects, most = 600, 512 << 20
		var text strings.Builder
		for i := range objects {
			fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: bad-%d}\nspec:\n  hostNetwork: true\n  hostPID: true\n  containers:\n  - {name: c, image: \"r.example/x:latest\", securityContext: {privileged: true}}\n", i)
		}
		chart, repo, key := filepath.Join(dir, "many"), filepath.Join(dir, "repo"), filepath.Join(dir, "many.key")
		writeFiles(t, chart, map[string]string{"Chart.yaml": "apiVersion: v2\nname: many\nversion: 1.0.0\n", "templates/a.yaml": text.String()})
		if out, code, _ := peak(t, "keygen", key); code != exitPass {
			t.Fatal(out)
		}
		mine := []string{"-q", "--repo", repo, "--trust", filepath.Join(dir, "many.pub")}
		for _, c := range []struct {
			want int
			args []string
		}{
			{exitVerdict, []string{"collect", chart, "-q", "--repo", repo, "--key", key, "--formats", "pdf,md,html,json,sarif,junit"}},
			{exitPass, append([]string{"verify", "latest"}, mine...)},
			{exitVerdict, append([]string{"gate", chart}, mine...)},
			{exitPass, append([]string{"report", "latest", "--format", "pdf", "--output-file", filepath.Join(dir, "report.pdf")}, mine...)},
		} {
			out, code, rss := peak(t, c.args...)
			t.Logf("%s: %d MiB", c.args[0], rss>>20)
			if code != c.want {
				t.Errorf("%s: exit %d, want %d: %s", c.args[0], code, c.want, out)
			}
			if rss > most {
				t.Errorf("%s: %d MiB for %d objects, want %d at most", c.args[0], rss>>20, objects, most>>20)
			}
		}
	})
}
