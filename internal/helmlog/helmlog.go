// Package helmlog tells whose each line is that Helm's packages log. They write
// to the process's standard logger, whoever calls them, and slog's default
// handler writes there too. The program that owns the process hands that logger
// over once, in main; then the lines of one call can be had.
package helmlog

import (
	"bytes"
	"errors"
	"log"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// ErrNotRouted says that the standard logger does not come here: what Helm logs
// is not known.
var ErrNotRouted = errors.New("what Helm logs is not captured: the program has to call helmlog.Route first")

var (
	routed  atomic.Bool
	mu      sync.Mutex
	callers = map[string]*bytes.Buffer{} // by goroutine
)

// Route takes over the process's standard logger. Lines that nobody captures are
// dropped: Helm logs values among them, which must not reach a terminal. It is
// for main, and for tests.
func Route() {
	log.SetFlags(0)
	log.SetOutput(router{})
	routed.Store(true)
}

type router struct{}

func (router) Write(p []byte) (int, error) {
	id := goroutine()
	mu.Lock()
	defer mu.Unlock()
	if b := callers[id]; b != nil {
		return b.Write(p)
	}
	return len(p), nil
}

// goroutine is the id in the first line of the goroutine's own stack trace. It
// is asked for only when something is logged.
func goroutine() string {
	var b [64]byte
	head, _, _ := bytes.Cut(b[:runtime.Stack(b[:], false)], []byte(" ["))
	return string(head)
}

// Capture runs f and returns the lines that were logged meanwhile on its
// goroutine, trimmed, blank ones left out. f must not log on others.
func Capture(f func()) ([]string, error) {
	if !routed.Load() {
		return nil, ErrNotRouted
	}
	id, b := goroutine(), new(bytes.Buffer)
	mu.Lock()
	callers[id] = b
	mu.Unlock()
	defer func() {
		mu.Lock()
		delete(callers, id)
		mu.Unlock()
	}()
	f()
	var lines []string
	for l := range strings.Lines(b.String()) {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return lines, nil
}
