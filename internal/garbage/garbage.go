// Package garbage says how often the heap is collected. It imports next to
// nothing, so that it is initialized before most of the program's packages,
// whose tables would otherwise be collected several times while they are built.
package garbage

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
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
		if !decided.Load() {
			Usually()
		}
	})
	return true
}

// decided says that Within or Paced was called, which the first collection does not undo.
var decided atomic.Bool

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

// small is the size of the heap, in bytes, up to which it is not worth collecting: a
// process about many charts is as large near its end.
const small = 96 << 20

// least is the size that the runtime takes the heap for where it is smaller, in bytes.
const least = 4 << 20

// Paced is for a process that does many things and ends: it collects when the heap is
// small, and from then on whenever it has doubled, more often where it is large. What
// is live of a small heap is gone over half as often as by Usually.
func Paced() {
	if ours() {
		decided.Store(true)
		debug.SetMemoryLimit(large)
		pace()
	}
}

// pace says when the next collection is, and says it again after that.
func pace() {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(s)
	live := s[0].Value.Uint64()
	percent := uint64(100)
	if scanned := live + s[1].Value.Uint64() + s[2].Value.Uint64(); live < small {
		percent = max(percent, (small-live)*100/max(scanned, least))
	}
	debug.SetGCPercent(int(percent)) //nolint:gosec // at most 2400
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) { pace() })
}

// worker is the size of the heap of a process that Within is for at its first
// collection, in bytes: each new page has its price, too.
const worker = 64 << 20

// Within is for a process that does one small thing after the other and may take so
// many bytes: it collects when it has grown to the size of worker, and then when its heap
// has grown fivefold, or has come near the limit.
func Within(limit int64) {
	decided.Store(true)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(worker)
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) {
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(limit * 3 / 4)
	})
}
