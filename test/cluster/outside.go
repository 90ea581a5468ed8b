package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options of run, handed from process to process as flags.
type options struct {
	tier, pause, logs, state string
	command                  []string
}

func parse(args []string) (options, error) {
	var o options
	fl := flag.NewFlagSet("run", flag.ContinueOnError)
	fl.StringVar(&o.tier, "tier", "", "a, b or c; the highest that the machine allows if empty")
	fl.StringVar(&o.pause, "pause", "", "static binary of the pause image, for tier c")
	fl.StringVar(&o.logs, "logs", "", "keep the components' logs in this folder")
	fl.StringVar(&o.state, "state", "", "folder of this run (internal)")
	if err := fl.Parse(args); err != nil {
		return o, err
	}
	o.command = fl.Args()
	if len(o.command) == 0 {
		return o, errors.New("no command to run")
	}
	if o.tier != "" && !strings.Contains("abc", o.tier) {
		return o, fmt.Errorf("-tier %q: want a, b or c", o.tier)
	}
	return o, nil
}

func (o options) args() []string {
	return append([]string{"-tier", o.tier, "-pause", o.pause, "-logs", o.logs, "-state", o.state, "--"}, o.command...)
}

// missing says what the machine lacks for a tier, or nothing.
func missing(o options) (forNodes, forAny string) {
	if runtime.GOOS != "linux" {
		return "Linux", "Linux"
	}
	if os.Geteuid() != 0 {
		return "root", "root (namespaces and addresses)"
	}
	for _, tool := range []string{"containerd", "ctr", "runc", "nft", "iptables", "conntrack"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool, ""
		}
	}
	if cniDir() == "" {
		return "CNI plugins (package containernetworking-plugins)", ""
	}
	if o.pause == "" {
		return "-pause", ""
	}
	return "", ""
}

func cniDir() string {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "bridge")); err == nil {
			return dir
		}
	}
	return ""
}

// outside picks the tier, starts the run in namespaces of its own, and cleans up
// what they do not take along: the folder of the run and cgroups.
func outside(args []string) int {
	o, err := parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 2
	}
	nodes, any := missing(o)
	switch {
	case any != "" || o.tier == "c" && nodes != "":
		why := any
		if why == "" {
			why = nodes
		}
		fmt.Fprintf(os.Stderr, "testcluster: no cluster: missing %s; tests that need one are skipped\n", why)
		cmd := exec.Command(o.command[0], o.command[1:]...)
		cmd.Env = append(os.Environ(), "HELMPROOF_TEST_SKIP=missing "+why)
		return wait(cmd)
	case o.tier == "" && nodes != "":
		fmt.Fprintf(os.Stderr, "testcluster: without real nodes: missing %s\n", nodes)
		o.tier = "b"
	case o.tier == "":
		o.tier = "c"
	}
	if o.state, err = os.MkdirTemp("", "testcluster-"); err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 1
	}
	defer cleanUp(o.state)
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 1
	}
	cmd := exec.Command(self, append([]string{"init"}, o.args()...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	return wait(cmd)
}

// wait runs cmd with this process's streams, passes signals on, and returns its
// exit code. The thread stays, since Pdeathsig is about the thread.
func wait(cmd *exec.Cmd) int {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 1
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		if code := exit.ExitCode(); code >= 0 {
			return code
		}
		return 1
	case err != nil:
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 1
	}
	return 0
}

// cleanUp removes the run's cgroups and folder. Processes end with their PID
// namespace, but cgroups stay busy for a moment.
func cleanUp(state string) {
	for range 50 {
		left := false
		for _, root := range cgroupRoots() {
			for _, n := range nodeNames {
				left = !removeCgroups(filepath.Join(root, cgroupOf(state, n))) || left
			}
		}
		if !left {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := os.RemoveAll(state); err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
	}
}

// cgroupOf is the name of a node's cgroup: that of its run, so that runs do not meet.
func cgroupOf(state, node string) string { return filepath.Base(state) + "-" + node }

// cgroupRoots are the hierarchies: several under version 1, one under version 2.
func cgroupRoots() []string {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
		return []string{root}
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "unified" {
			out = append(out, filepath.Join(root, e.Name()))
		}
	}
	return out
}

// removeCgroups removes a cgroup and those below it, deepest first.
func removeCgroups(dir string) bool {
	var dirs []string
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, p)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := unix.Rmdir(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return true
}

// initProcess is process 1 of the PID namespace: it reaps what containerd's shims
// leave behind. When it ends, the kernel ends everything else.
func initProcess(args []string) int {
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 1
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	// The child looks its own executable up in its own /proc.
	pid, err := syscall.ForkExec(self, append([]string{self, "inside"}, args...), &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 1
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(pid, s.(syscall.Signal)) // it may have ended
		}
	}()
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 1
		}
		if got == pid {
			if status.Exited() {
				return status.ExitStatus()
			}
			return 1
		}
	}
}
