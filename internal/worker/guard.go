package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/metrics"
	"sync"
	"time"
)

// What the guarded work of one process may take. It is for charts of the usual size,
// which take a fifth of it: whatever needs more is done again by children.
const (
	guardMemory = 384 << 20       // bytes that the runtime has of the system
	guardHard   = 960 << 20       // bytes of data, which the kernel refuses more of
	guardCPU    = 5 * time.Second // of the process
	guardEvery  = 4 * time.Millisecond
)

// ErrUnfinished says that guarded work goes on, and could not be left to children.
var ErrUnfinished = errors.New("what is done in this process does not end")

// guard watches over the work that a process does itself.
type guard struct {
	again func() error // begins anew, with children; it returns only to say why not
	most  time.Duration

	mu     sync.Mutex
	active int
	quit   chan struct{}
	temps  []string
	once   sync.Once
	err    error
}

// Guarded returns a pool for a process whose only task is one chart. To start a child
// would take as long as to render that: the process does the work itself, and a
// chart that takes more than such a chart does has it call again, which is to
// replace the process by one that leaves the work to children. Until guarded work is
// over nothing may be written that must not be left behind.
// Where the kernel limits no memory there are children only.
func Guarded(command []string, again func() error) *Pool {
	p := NewPool(command)
	if canGuard {
		p.guard = &guard{again: again, most: guardCPU}
	}
	return p
}

// Here reports whether work is done in this process, through Do.
func (p *Pool) Here() bool { return p == nil || p.guard != nil }

// Do does the work in this process. Where the pool is guarded it does so under its
// guard: it returns when ctx ends, with ctx's cause and without what is still being
// done, and a panic is an error, as one of a child is.
func Do[T any](ctx context.Context, p *Pool, work func() (T, error)) (T, error) {
	if p == nil || p.guard == nil {
		return work()
	}
	type result struct {
		v   T
		err error
	}
	var none T
	if err := p.guard.enter(); err != nil {
		return none, err
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if v := recover(); v != nil {
				r = result{err: fmt.Errorf("panic: %v", v)}
			}
			if err := p.guard.leave(); err != nil {
				r.err = errors.Join(r.err, err)
			}
			done <- r
		}()
		r.v, r.err = work()
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// Settle is called before anything is written: guarded work that was given up, its time
// being over, and goes on nevertheless is left to children. ErrUnfinished says why
// it is not.
func (p *Pool) Settle() error {
	if p == nil || p.guard == nil {
		return nil
	}
	p.guard.mu.Lock()
	active := p.guard.active
	p.guard.mu.Unlock()
	if active == 0 {
		return nil
	}
	return p.guard.trip()
}

// Removes notes a temporary folder that is to go should the process be replaced.
func (p *Pool) Removes(dir string) {
	if p == nil || p.guard == nil {
		return
	}
	p.guard.mu.Lock()
	defer p.guard.mu.Unlock()
	p.guard.temps = append(p.guard.temps, dir)
}

func (g *guard) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active++; g.active > 1 {
		return nil
	}
	if err := holdData(guardHard); err != nil {
		g.active--
		return fmt.Errorf("limit the memory: %w", err)
	}
	g.quit = make(chan struct{})
	go g.watch(g.quit)
	return nil
}

func (g *guard) leave() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active--; g.active > 0 {
		return nil
	}
	close(g.quit)
	return releaseData()
}

// watch ends with the work, or has the process replaced.
func (g *guard) watch(quit chan struct{}) {
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	since := processorTime()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
		}
		if processMemory() > guardMemory || processorTime()-since > g.most {
			if err := g.trip(); err != nil {
				// The work may take all memory: nothing else can end it.
				fmt.Fprintln(os.Stderr, "helmproof: "+err.Error())
				os.Exit(1)
			}
		}
	}
}

// trip replaces the process. What was to be removed is removed before.
func (g *guard) trip() error {
	g.once.Do(func() {
		g.mu.Lock()
		temps := g.temps
		g.mu.Unlock()
		var errs []error
		for _, dir := range temps {
			errs = append(errs, os.RemoveAll(dir))
		}
		errs = append(errs, releaseData(), g.again())
		g.err = fmt.Errorf("%w: %w", ErrUnfinished, errors.Join(errs...))
	})
	return g.err
}

// processMemory is what the runtime has of the system, in bytes.
func processMemory() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
