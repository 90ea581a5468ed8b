package worker

import "syscall"

// limitMemory has the kernel refuse what is more than MaxMemory. Linux counts
// private writable mappings, which the heap is made of.
func limitMemory() error {
	return syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: MaxMemory, Max: MaxMemory})
}
