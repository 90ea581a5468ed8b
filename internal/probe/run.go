package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

const (
	// flushEvery is how often finished samples are handed on.
	flushEvery = 500 * time.Millisecond
	// jumpLimit is from when on a step of the wall clock is said.
	jumpLimit = 100 * time.Millisecond
)

// Run probes until ctx ends, or Config.Length is over, and then waits for the
// requests that are under way. It writes the probe's file to w as it comes, in the
// order in which requests were due, and at the end its last line. That ctx ended is
// no error.
func Run(ctx context.Context, c Config, w io.Writer) error {
	if err := c.Validate(); err != nil {
		return err
	}
	send, err := newSender(&c)
	if err != nil {
		return fmt.Errorf("probe %q: %w", c.Name, err)
	}
	defer send.close()
	return c.run(ctx, send, w)
}

func (c *Config) run(ctx context.Context, send sender, w io.Writer) error {
	if c.Live == nil {
		c.Live = new(Live)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	c.Live.Begin(c.Rate)
	// A duration that a file can hold: the monotonic part of start is not in it.
	h := Header{version, c.Name, c.Kind, c.Address, c.Rate, c.Timeout, start.UTC().Round(0), c.From}
	rec := &recorder{w: newWriter(w), window: map[int]Sample{}, stop: make(chan struct{}), ended: make(chan struct{}), failed: cancel}
	go rec.run(h)
	n := c.schedule(ctx, &h, start, send, rec)
	if err := rec.end(n); err != nil {
		return fmt.Errorf("probe %q: write its file: %w", c.Name, err)
	}
	return nil
}

// inFlight is how many requests may wait for an answer at once.
func (c *Config) inFlight() int {
	if c.InFlight > 0 {
		return c.InFlight
	}
	return min(16+int(2*c.Rate*c.Timeout.Seconds()), 5000)
}

// schedule sends each request when it is due, waits for all, and returns their
// number.
func (c *Config) schedule(ctx context.Context, h *Header, start time.Time, send sender, rec *recorder) int {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, c.inFlight())
	timer := time.NewTimer(0)
	defer timer.Stop()
	var offset time.Duration // of the wall clock, as it was last said
	for i := range MaxSamples {
		after := h.Due(i)
		if c.Length > 0 && after >= c.Length {
			return i
		}
		due := start.Add(after)
		// What was due before the end is sent, or said not to have been.
		if !await(ctx, timer, due) {
			return i
		}
		now := time.Now()
		late := now.Sub(due)
		if step := now.Round(0).Sub(start.Round(0)) - now.Sub(start); (step - offset).Abs() > jumpLimit {
			offset = step
			rec.jump(Jump{i, step})
		}
		ok := late <= c.Timeout
		if ok {
			select {
			case slots <- struct{}{}:
			default:
				ok = false
			}
		}
		if !ok {
			c.done(rec, i, Sample{late, late, Unsent})
			continue
		}
		running.Go(func() {
			defer func() { <-slots }()
			c.done(rec, i, c.request(ctx, due, send))
		})
	}
	return MaxSamples
}

func (c *Config) done(rec *recorder, i int, s Sample) {
	c.Live.Add(s, c.Slow, time.Now())
	rec.add(i, s)
}

// request sends one, and times it from when it was due. It outlives the end of the
// probe.
func (c *Config) request(ctx context.Context, due time.Time, send sender) Sample {
	sent := time.Now()
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), sent.Add(c.Timeout))
	defer cancel()
	outcome := send.send(ctx)
	s := Sample{Late: max(0, sent.Sub(due)), Took: time.Since(due), Outcome: outcome}
	switch {
	case outcome == Unsent:
		s.Late = s.Took
	case outcome == Good && s.Took-s.Late > c.Timeout:
		s.Outcome = Timeout
	}
	return s
}

// await sleeps until due, and reports whether that came before the end of ctx. What
// is due already has come.
func await(ctx context.Context, timer *time.Timer, due time.Time) bool {
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return time.Until(due) <= 0
	}
}

// recorder brings samples into order and writes them, in a goroutine of its own, so
// that a writer that blocks delays no request.
type recorder struct {
	w      *bufio.Writer
	failed func() // ends the probe
	stop   chan struct{}
	ended  chan struct{}
	total  int   // once stop is closed
	err    error // once ended is closed

	mu    sync.Mutex // is never held while anything is written
	queue []indexed
	jumps []Jump

	window map[int]Sample // finished before one that was due earlier
	next   int            // the index of the next line
	line   []byte
}

type indexed struct {
	i int
	s Sample
}

func (r *recorder) add(i int, s Sample) {
	r.mu.Lock()
	r.queue = append(r.queue, indexed{i, s})
	r.mu.Unlock()
}

func (r *recorder) jump(j Jump) {
	r.mu.Lock()
	r.jumps = append(r.jumps, j)
	r.mu.Unlock()
}

// end writes what is left of total samples, and the last line.
func (r *recorder) end(total int) error {
	r.total = total
	close(r.stop)
	<-r.ended
	return r.err
}

func (r *recorder) run(h Header) {
	defer close(r.ended)
	if r.err = r.header(h); r.err != nil {
		r.failed()
		return
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if r.err = r.write(); r.err != nil {
				r.failed()
				return
			}
		case <-r.stop:
			if r.err = r.write(); r.err != nil {
				return
			}
			if r.next != r.total {
				r.err = fmt.Errorf("%d of %d requests are there", r.next, r.total)
				return
			}
			if _, r.err = fmt.Fprintf(r.w, "end,%d\n", r.total); r.err == nil {
				r.err = r.w.Flush()
			}
			return
		}
	}
}

func (r *recorder) header(h Header) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if _, err := r.w.Write(append(raw, '\n')); err != nil {
		return err
	}
	return r.w.Flush()
}

// write hands on all that is in order.
func (r *recorder) write() error {
	r.mu.Lock()
	queue, jumps := r.queue, r.jumps
	r.queue, r.jumps = nil, nil
	r.mu.Unlock()
	for _, q := range queue {
		r.window[q.i] = q.s
	}
	for {
		s, ok := r.window[r.next]
		if !ok {
			break
		}
		r.line = r.line[:0]
		for len(jumps) > 0 && jumps[0].Before <= r.next {
			r.line = appendJump(r.line, jumps[0])
			jumps = jumps[1:]
		}
		r.line = appendSample(r.line, s)
		if _, err := r.w.Write(r.line); err != nil {
			return err
		}
		delete(r.window, r.next)
		r.next++
	}
	if len(jumps) > 0 { // before a sample that is not there yet
		r.mu.Lock()
		r.jumps = append(jumps, r.jumps...)
		r.mu.Unlock()
	}
	return r.w.Flush()
}

func appendSample(b []byte, s Sample) []byte {
	b = strconv.AppendInt(b, s.Late.Microseconds(), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, s.Took.Microseconds(), 10)
	b = append(b, ',')
	b = append(b, s.Outcome...)
	return append(b, '\n')
}

func appendJump(b []byte, j Jump) []byte {
	b = append(b, "clock,"...)
	b = strconv.AppendInt(b, j.Offset.Microseconds(), 10)
	return append(b, '\n')
}

func newWriter(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, 32<<10) }
