package worker

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// limitMemory has the kernel refuse what is more than MaxMemory. Linux counts
// private writable mappings, which the heap is made of, but not the one mapping that
// takes the place of a reserved range and goes over the limit at once: what is
// reserved is limited as well.
func limitMemory() error {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64 // the whole address space; see proc_pid_statm(5)
	if _, err := fmt.Sscan(string(raw), &pages); err != nil {
		return fmt.Errorf("/proc/self/statm: %w", err)
	}
	space := pages*uint64(os.Getpagesize()) + MaxMemory //nolint:gosec // a page has a size
	return errors.Join(
		syscall.Setrlimit(syscall.RLIMIT_AS, &syscall.Rlimit{Cur: space, Max: space}),
		syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: MaxMemory, Max: MaxMemory}),
	)
}

// canGuard says that there is a limit for the process itself, which goes again.
const canGuard = true

// held is the limit before holdData.
var held struct {
	sync.Mutex
	was *syscall.Rlimit
}

// holdData has the kernel refuse what is more, until releaseData.
func holdData(most uint64) error {
	held.Lock()
	defer held.Unlock()
	was := new(syscall.Rlimit)
	if err := syscall.Getrlimit(syscall.RLIMIT_DATA, was); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: min(most, was.Cur), Max: was.Max}); err != nil {
		return err
	}
	held.was = was
	return nil
}

func releaseData() error {
	held.Lock()
	defer held.Unlock()
	if held.was == nil {
		return nil
	}
	was := held.was
	held.was = nil
	return syscall.Setrlimit(syscall.RLIMIT_DATA, was)
}

// processorTime is what the process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // there is no such error for the process itself
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Replace replaces the process by this program with other arguments. It returns only
// where that fails.
func Replace(args []string) error {
	return fmt.Errorf("begin anew: %w", syscall.Exec(args[0], args, os.Environ())) //nolint:gosec // this very program
}
