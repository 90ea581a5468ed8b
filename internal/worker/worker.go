// Package worker does work in child processes of this program, which may take a
// bounded amount of memory and can be ended at any time, or under a guard in the
// process itself. What a hostile chart does to a template engine, a schema validator
// or a linter, it does to one of them.
package worker

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// MaxMemory is what a child may take, in bytes of data: the kernel refuses more
// where it has such a limit (Linux).
const MaxMemory = 896 << 20

// ErrMemory says that a child needed more than that.
var ErrMemory = fmt.Errorf("needs more than %d MiB of memory, which is the limit", MaxMemory>>20)

// Pool starts children and hands them one call at a time. Prepare and Close of the nil
// pool do nothing; whoever has none works in its own process.
type Pool struct {
	command []string
	guard   *guard // nil: children do all the work

	freed chan struct{} // a child may be idle

	mu     sync.Mutex
	idle   []*child
	busy   int
	closed bool
}

// patience is how long a call waits for a child that is idle before it starts one more
// than there are processors: what they do takes a tenth of that, as a rule.
const patience = 250 * time.Millisecond

// NewPool returns a pool whose children run that command line of this program,
// which has to call Serve. Nothing is started yet.
func NewPool(command []string) *Pool {
	return &Pool{command: command, freed: make(chan struct{}, 1)}
}

// Prepare starts a child that the first call finds ready. That it cannot be
// started is said by that call.
func (p *Pool) Prepare() {
	if p.Here() {
		return
	}
	if c, err := p.take(context.Background()); err == nil {
		p.put(c)
	}
}

// Call has a child do what it serves as op: ask writes the request, and answer
// reads what came of it, both without waiting for anything else. When ctx ends the
// child is killed, and the error is ctx's cause. ErrMemory says that the child
// needed too much.
func (p *Pool) Call(ctx context.Context, op string, ask func(*gob.Encoder) error, answer func(*gob.Decoder) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	c.stderr.reset()
	done := make(chan error, 1)
	go func() {
		err := c.enc.Encode(op)
		if err == nil {
			err = ask(c.enc)
		}
		if err == nil {
			err = c.out.Flush()
		}
		if err == nil {
			err = answer(c.dec)
		}
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		c.kill()
		p.gone()
		<-done //nolint:errcheck // that ctx ended is what is reported
		return context.Cause(ctx)
	}
	if err == nil {
		p.put(c)
		return nil
	}
	p.gone()
	return c.ended(err)
}

// take returns a child that is idle, perhaps in a moment, or a new one.
func (p *Pool) take(ctx context.Context) (*child, error) {
	c, enough, err := p.ready()
	if c != nil || err != nil || !enough {
		return p.orNew(c, err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-p.freed:
			if c, _, err = p.ready(); c != nil || err != nil {
				return c, err
			}
		case <-timer.C:
			c, _, err = p.ready()
			return p.orNew(c, err)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// ready takes an idle child, if there is one, and reports whether there are as many as
// processors.
func (p *Pool) ready() (c *child, enough bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, errors.New("the pool of child processes is closed")
	}
	if n := len(p.idle); n > 0 {
		c = p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.busy++
	}
	return c, p.busy >= runtime.GOMAXPROCS(0), nil
}

// orNew is c, or a new child where that is nil.
func (p *Pool) orNew(c *child, err error) (*child, error) {
	if c != nil || err != nil {
		return c, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, err = start(p.command); err == nil {
		p.busy++
	}
	return c, err
}

// gone says that a child that was taken is no more.
func (p *Pool) gone() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	p.free()
}

// free wakes a call that waits.
func (p *Pool) free() {
	select {
	case p.freed <- struct{}{}:
	default: // one is about to look
	}
}

func (p *Pool) put(c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	if p.closed {
		c.kill()
		return
	}
	p.idle = append(p.idle, c)
	p.free()
}

// Close ends the children that have nothing to do; those that have end with their call.
func (p *Pool) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.kill()
	}
	p.idle = nil
}

// buffered is what is written and read at once, in bytes: a message is made of many
// pieces, each of which would wake the other process.
const buffered = 64 << 10

// child is one process. It ends when its standard input does, so that none is left
// behind by a parent that was killed.
type child struct {
	cmd    *exec.Cmd
	in     io.Closer
	out    *bufio.Writer // what enc writes to
	enc    *gob.Encoder
	dec    *gob.Decoder
	stderr said
}

func start(command []string) (*child, error) {
	c := &child{cmd: &exec.Cmd{Path: command[0], Args: command}}
	c.cmd.Stderr = &c.stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a child process: %w", errors.Join(err, in.Close()))
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a child process: %w", errors.Join(err, in.Close(), out.Close()))
	}
	c.in, c.out = in, bufio.NewWriterSize(in, buffered)
	c.enc, c.dec = gob.NewEncoder(c.out), gob.NewDecoder(bufio.NewReaderSize(out, buffered))
	return c, nil
}

// kill ends the child and waits for it. How it ended is known: it was killed.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// ended says why a child broke off.
func (c *child) ended(err error) error {
	c.kill()
	text := c.stderr.String()
	if refusedMemory(text) {
		return ErrMemory
	}
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if first == "" {
		return fmt.Errorf("the child process broke off (%s): %w", c.cmd.ProcessState, err)
	}
	return fmt.Errorf("the child process broke off (%s): %s", c.cmd.ProcessState, first)
}

// refusedMemory reports whether a process ended, by what it said, because the kernel
// gave it no more memory. Go's runtime says so in most places; in some it follows the
// pointer to nothing that it got, on the stack of the system, where no other code runs.
func refusedMemory(text string) bool {
	for _, says := range []string{"out of memory", "cannot allocate memory", "failed to create new OS thread"} {
		if strings.Contains(text, says) {
			return true
		}
	}
	return strings.HasPrefix(text, "SIGSEGV: ") && strings.Contains(text, "\ngoroutine 0 ")
}

// said keeps the beginning of what a process says.
type said struct {
	mu sync.Mutex
	b  []byte
}

const maxSaid = 4096

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = append(s.b, p[:min(len(p), maxSaid-len(s.b))]...)
	return len(p), nil
}

// reset forgets what was said, so that a call is not blamed for an earlier one.
func (s *said) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = s.b[:0]
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.b)
}
