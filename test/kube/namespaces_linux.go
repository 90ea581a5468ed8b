package kube

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// stateDir lies on a tmpfs of the cluster's own mount namespace, and so vanishes
// with it.
const stateDir = "/run/kube"

var errNoNamespaces = errors.New("namespaces cannot be made here")

var forwarded = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT}

func self(part string, env ...string) (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own program: %w", err)
	}
	cmd := exec.Command(path, os.Args[1:]...)
	// cmd.Environ drops the older of two values; os.StartProcess would not.
	cmd.Env = append(append(os.Environ(), partEnv+"="+part), env...)
	cmd.Env = cmd.Environ()
	return cmd, nil
}

// outside runs this program again in namespaces of its own, and cleans up what
// they do not take with them.
func outside(bin string, reach Tier, why string) (code int, err error) {
	// Pdeathsig is sent when the thread dies that made the child, not the process.
	runtime.LockOSThread()
	id := strconv.Itoa(os.Getpid())
	if reach >= TierC {
		stopKeeper, err := startKeeper(id)
		if err != nil {
			return 1, err
		}
		defer func() { err = errors.Join(err, stopKeeper()) }()
	}
	cmd, err := self(partInit, idEnv+"="+id, reachEnv+"="+reach.String(), whyEnv+"="+why)
	if err != nil {
		return 1, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("%w: %w", errNoNamespaces, err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended
		}
	}()
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	} else if err != nil {
		return 1, fmt.Errorf("wait for the tests: %w", err)
	}
	return 0, nil
}

// initProcess is the first process of the namespaces: it mounts what they need,
// starts the part inside, and reaps. When it ends, so does all that is in them.
func initProcess() (int, error) {
	if err := mounts(); err != nil {
		return 1, err
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", apiAddress + "/32", "dev", "lo"},
		{"addr", "add", nodes[0].ip + "/32", "dev", "lo"},
		{"addr", "add", nodes[1].ip + "/32", "dev", "lo"},
		// Without it what is not a pod cannot reach a Service.
		{"route", "add", serviceRange, "dev", "lo"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	cmd, err := self(partInside)
	if err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	child, err := os.StartProcess(cmd.Path, cmd.Args, &os.ProcAttr{Env: cmd.Env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, fmt.Errorf("start the tests: %w", err)
	}
	go func() {
		for s := range signals {
			_ = syscall.Kill(child.Pid, s.(syscall.Signal)) // it may have ended
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the tests: %w", err)
		case pid == child.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == child.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		}
	}
}

// mounts makes the mount namespace the cluster's own: nothing gets out of it, and
// what is mounted inside reaches the containers.
func mounts() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts with containers: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	targets := []string{"/run", "/var/log"}
	if os.Getenv(reachEnv) == TierC.String() {
		targets = append(targets, nodeDirs...)
	}
	for _, target := range targets {
		if err := syscall.Mount("tmpfs", target, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount tmpfs on %s: %w", target, err)
		}
	}
	for _, d := range []string{"bin", "log", "pki", "kubeconfig"} {
		if err := os.MkdirAll(filepath.Join(stateDir, d), 0o755); err != nil {
			return fmt.Errorf("make the cluster's folder: %w", err)
		}
	}
	return os.MkdirAll("/run/netns", 0o755)
}

// nodeDirs are used by programs of a node whatever their configuration says.
var nodeDirs = []string{"/var/lib/cni", "/var/lib/kubelet"}

// startKeeper starts the process that removes cgroups, and mount points that were
// made, after the namespaces have gone: it outlives this one, even a SIGKILL.
func startKeeper(id string) (stop func() error, err error) {
	made := []string{}
	var locks []*os.File // shared, and held by the keeper until its end
	for _, d := range nodeDirs {
		if err := os.Mkdir(d, 0o755); err == nil {
			made = append(made, d)
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make a mount point: %w", err)
		}
		f, err := os.Open(d)
		if err != nil {
			return nil, fmt.Errorf("lock a mount point: %w", err)
		}
		defer f.Close()
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
			return nil, fmt.Errorf("lock %s: %w", d, err)
		}
		locks = append(locks, f)
	}
	cmd, err := self(partKeeper, idEnv+"="+id)
	if err != nil {
		return nil, err
	}
	cmd.Args = append(cmd.Args[:1], made...)
	cmd.ExtraFiles = locks
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// The pipe closes when this process ends, in whatever way.
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	return func() error {
		if err := errors.Join(pipe.Close(), cmd.Wait()); err != nil {
			return fmt.Errorf("clean up after the cluster: %w", err)
		}
		return nil
	}, nil
}

// keep waits for its parent's end and removes what the cluster leaves.
func keep(id string) error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return fmt.Errorf("wait for the tests: %w", err)
	}
	var left error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		left = nil
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			groups, err := filepath.Glob(pattern + cgroupPrefix(id) + "*")
			if err != nil {
				return err
			}
			for _, g := range groups {
				left = errors.Join(left, removeCgroup(g))
			}
		}
		if left == nil {
			break
		}
	}
	for _, d := range os.Args[1:] {
		// Removing a mount point unmounts it in other namespaces: not while another
		// cluster holds its lock.
		fd := 3 + slices.Index(nodeDirs, d)
		if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			continue
		}
		// Someone may use it by now.
		if err := os.Remove(d); err != nil && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
			left = errors.Join(left, err)
		}
	}
	return left
}

// removeCgroup removes a cgroup with those in it; their files go with them.
func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		if e := syscall.Rmdir(dirs[i]); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove cgroup %s: %w", dirs[i], e))
		}
	}
	return err
}
