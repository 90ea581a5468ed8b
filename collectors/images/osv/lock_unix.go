//go:build unix

package osv

import (
	"os"
	"syscall"
)

// tryLock locks the file until unlock, or until the process ends.
func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// unlock releases the lock. Closing alone would not, as long as a process that is
// just being started holds the file as well.
func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
