// Package garbage says how often the heap is collected. It imports next to
// nothing, so that it is initialized before most of the program's packages,
// whose tables would otherwise be collected several times while they are built.
package garbage

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
)

// first is how large the heap may grow before it is collected at all, in bytes.
const first = 256 << 20

// A command about one thing is over before its heap is large: it collects
// nothing. The first collection, should it come to one, brings the usual ones.
var _ = begin()

func begin() bool {
	if !ours() {
		return false
	}
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(first)
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) {
		if !within.Load() {
			Usually()
		}
	})
	return true
}

var within atomic.Bool

// ours reports whether the environment leaves it to the program.
func ours() bool { return os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" }

// large is the size of the heap, in bytes, from which on it is collected before it
// has doubled.
const large = 640 << 20

// Usually collects as Go programs do, whenever the heap has doubled, and more often
// where it is large.
func Usually() {
	if ours() {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(large)
	}
}

// Within is for a process that does one small thing after the other and may take so
// many bytes: it collects when its heap is half of first, and then when it has grown
// fivefold, or has come near the limit.
func Within(limit int64) {
	within.Store(true)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(first / 2)
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(limit * 3 / 4)
	})
}
