package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// process is one program of the cluster.
type process struct {
	name string
	args []string
	log  string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
}

// run starts a program of the cluster; its output goes to log/NAME.log.
func (c *Cluster) run(name, path string, args ...string) (*process, error) {
	p := &process{name: name, args: append([]string{path}, args...), log: filepath.Join(c.Dir, "log", name+".log")}
	return p, p.start()
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal is the tests' alone
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its exit code is in its log
		close(done)
	}()
	p.cmd, p.done = cmd, done
	return nil
}

// stop ends the process by sig, and by SIGKILL after ten seconds.
func (p *process) stop(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

// Programs names the cluster's processes, sorted: etcd, kube-apiserver, …
func (c *Cluster) Programs() []string {
	names := make([]string, 0, len(c.procs))
	for n := range c.procs {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Kill ends one of Programs by SIGKILL, as a crash would. Restart brings it back.
// Tests that do so must not run in parallel with others.
func (c *Cluster) Kill(name string) error {
	p := c.procs[name]
	if p == nil {
		return fmt.Errorf("kill %s: one of %v", name, c.Programs())
	}
	return p.stop(syscall.SIGKILL)
}

// Restart starts a program that Kill ended. It returns at once: Ready waits for
// the API server.
func (c *Cluster) Restart(name string) error {
	p := c.procs[name]
	if p == nil {
		return fmt.Errorf("restart %s: one of %v", name, c.Programs())
	}
	return p.start()
}

// Ready waits until the API server answers that it is ready.
func (c *Cluster) Ready(ctx context.Context) error {
	return poll(ctx, time.Minute, "the API server", func(ctx context.Context) error {
		_, err := c.api.get(ctx, "/readyz")
		return err
	})
}

// printLogs shows the end of each log: what a failed start leaves to look at.
func (c *Cluster) printLogs() {
	for _, name := range c.Programs() {
		f, err := os.Open(c.procs[name].log)
		if err != nil {
			fmt.Fprintln(os.Stderr, "kube:", err)
			continue
		}
		const tail = 2000
		if fi, err := f.Stat(); err == nil && fi.Size() > tail {
			_, _ = f.Seek(-tail, io.SeekEnd) // the beginning is worth showing too
		}
		b, _ := io.ReadAll(io.LimitReader(f, tail)) // as much as can be read
		f.Close()
		fmt.Fprintf(os.Stderr, "=== %s\n%s\n", name, b)
	}
}

var errNotYet = errors.New("not yet")

// poll calls f until it succeeds, at most for limit, and returns its last error.
func poll(ctx context.Context, limit time.Duration, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := errNotYet
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s for %s: %w", limit, what, last)
		case <-tick.C:
		}
	}
}
