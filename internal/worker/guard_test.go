package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const guardArg = "guard-for-test"

// underGuard is a process that does something under guard, and says what became of it.
func underGuard(what, temp string) {
	p := Guarded([]string{os.Args[0], serveArg}, func() error {
		var limit syscall.Rlimit
		err := syscall.Getrlimit(syscall.RLIMIT_DATA, &limit)
		fmt.Println("again", limit.Cur > guardHard, err)
		os.Exit(0)
		return nil
	})
	p.Removes(temp)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	hang := func() (int, error) { select {} }
	work := map[string]func() (int, error){
		"nothing": func() (int, error) { return 1, nil },
		"error":   func() (int, error) { return 0, errors.New("as it is") },
		"panic":   func() (int, error) { panic("as a library does") },
		"memory": func() (int, error) {
			for all := [][]byte{}; ; all = append(all, make([]byte, 1<<20)) {
				for i := 0; len(all) > 0 && i < 1<<20; i += 4096 {
					all[len(all)-1][i] = 1
				}
			}
		},
		"time": func() (int, error) {
			for i := 0; ; i++ { //nolint:staticcheck,revive // it does not end
			}
		},
		"given up":  hang,
		"not again": hang,
	}[what]
	switch what {
	case "time":
		p.guard.most = 100 * time.Millisecond
	case "given up", "not again":
		cancel(errors.New("time is up"))
	}
	if what == "not again" {
		p.guard.again = func() error { return errors.New("no program") }
	}
	v, err := Do(ctx, p, work)
	fmt.Println(v, err)
	fmt.Println(p.Settle())
}

// TestGuard: what takes too much of the process, or does not end, begins anew; what
// was to be removed is; anything else is as if there was no guard.
func TestGuard(t *testing.T) {
	t.Parallel()
	if !canGuard {
		t.Skip("no limit of memory")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		want    string
		removed bool
	}{
		"nothing":   {"1 <nil>\n<nil>\n", false},
		"error":     {"0 as it is\n<nil>\n", false},
		"panic":     {"0 panic: as a library does\n<nil>\n", false},
		"memory":    {"again true <nil>\n", true},
		"time":      {"again true <nil>\n", true},
		"given up":  {"0 time is up\nagain true <nil>\n", true},
		"not again": {"0 time is up\nwhat is done in this process does not end: no program\n", true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			temp := filepath.Join(t.TempDir(), "temp")
			if err := os.Mkdir(temp, 0o700); err != nil {
				t.Fatal(err)
			}
			var stderr strings.Builder
			cmd := exec.CommandContext(t.Context(), exe, guardArg, what, temp)
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || string(out) != tt.want {
				t.Errorf("%q, %v, %.300s; want %q", out, err, stderr.String(), tt.want)
			}
			if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok && usage.Maxrss<<10 > guardHard {
				t.Errorf("%d MiB", usage.Maxrss>>10)
			}
			if _, err := os.Stat(temp); errors.Is(err, os.ErrNotExist) != tt.removed {
				t.Errorf("the folder that is to be removed: %v", err)
			}
		})
	}
}
