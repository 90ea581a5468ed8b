package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake answers request n, from 0, as its function does.
type fake struct {
	mu sync.Mutex
	n  int
	do func(ctx context.Context, n int) string
}

func (f *fake) send(ctx context.Context) string {
	f.mu.Lock()
	n := f.n
	f.n++
	f.mu.Unlock()
	return f.do(ctx, n)
}

func (*fake) close() {}

// hang waits for the end of the request's time.
func hang(ctx context.Context) string {
	<-ctx.Done()
	return Timeout
}

func every(ms int) Config {
	return Config{Name: "web", Kind: HTTP, Address: "http://web/", Rate: 1000 / float64(ms), Timeout: time.Second, From: "outside", Live: new(Live)}
}

// written runs c in a bubble of its own, where the clock is exact.
func written(t *testing.T, c Config, do func(ctx context.Context, n int) string) *Series {
	t.Helper()
	var s *Series
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		if err := c.run(t.Context(), &fake{do: do}, &b); err != nil {
			t.Fatal(err)
		}
		var err error
		if s, err = Read(b.Bytes()); err != nil {
			t.Fatalf("%v in %.2000s", err, b.Bytes())
		}
	})
	return s
}

func TestRunIsAnOpenLoop(t *testing.T) {
	t.Parallel()
	c := every(10)
	c.Length = 3 * time.Second
	c.Slow = 300 * time.Millisecond
	// Every tenth request hangs, every other one takes longer than the next is due.
	s := written(t, c, func(ctx context.Context, n int) string {
		switch {
		case n%10 == 0:
			return hang(ctx)
		case n%2 == 0:
			time.Sleep(500 * time.Millisecond)
		}
		return Good
	})
	if len(s.Samples) != 300 {
		t.Fatalf("%d requests, want 300", len(s.Samples))
	}
	for i, sample := range s.Samples {
		want := Sample{}
		switch {
		case i%10 == 0:
			want = Sample{Took: time.Second, Outcome: Timeout}
		case i%2 == 0:
			want.Took = 500 * time.Millisecond
		}
		if sample != want {
			t.Errorf("request %d: %+v, want %+v", i, sample, want)
		}
	}
	got := c.Live.Counts()
	if got.Done != 300 || got.Failed != 150 || got.Unsent != 0 || got.Spent != 1.5 || got.Last.IsZero() {
		t.Errorf("live: %+v", got)
	}
}

func TestRunBoundsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	c := every(10)
	c.Length, c.InFlight, c.Timeout = 2*time.Second, 5, 1005*time.Millisecond
	s := written(t, c, func(ctx context.Context, _ int) string { return hang(ctx) })
	sent := 0
	for i, sample := range s.Samples {
		switch {
		case sample.Outcome == Timeout && sample.Took == c.Timeout:
			sent++
		case sample != Sample{Outcome: Unsent}:
			t.Errorf("request %d: %+v", i, sample)
		}
	}
	if sent != 10 { // five in each timeout
		t.Errorf("%d requests were sent, want 10", sent)
	}
	if got := c.Live.Counts(); got.Failed != 10 || got.Unsent != 190 {
		t.Errorf("live: %+v", got)
	}
	if stalls := s.Stalls(time.Second); len(stalls) != 2 || stalls[0].Unsent != 96 {
		t.Errorf("stalls: %+v", stalls)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1005*time.Millisecond)
		defer cancel()
		c := every(10)
		var b bytes.Buffer
		begun := time.Now()
		if err := c.run(ctx, &fake{do: func(ctx context.Context, _ int) string { return hang(ctx) }}, &b); err != nil {
			t.Fatal(err)
		}
		s, err := Read(b.Bytes())
		if err != nil || len(s.Samples) != 101 {
			t.Fatalf("%d requests, want 101; %v", len(s.Samples), err)
		}
		// What was under way has had its time.
		if took := time.Since(begun); took != 2*time.Second || s.Samples[100].Took != time.Second {
			t.Errorf("ended after %s; the last: %+v", took, s.Samples[100])
		}
	})
}

func TestRunSaysWhereItWasHeldUp(t *testing.T) {
	t.Parallel()
	// The prober is made to stand still by a file that it begins late: the first
	// request is due at a start that is long past.
	synctest.Test(t, func(t *testing.T) {
		c := every(100)
		c.Length = 3 * time.Second
		h := Header{version, c.Name, c.Kind, c.Address, c.Rate, c.Timeout, time.Now(), c.From}
		start := time.Now()
		time.Sleep(2050 * time.Millisecond)
		var b bytes.Buffer
		rec := &recorder{w: newWriter(&b), window: map[int]Sample{}, stop: make(chan struct{}), ended: make(chan struct{}), failed: func() {}}
		go rec.run(h)
		n := c.schedule(t.Context(), &h, start, &fake{do: func(context.Context, int) string { return Good }}, rec)
		if err := rec.end(n); err != nil {
			t.Fatal(err)
		}
		s, err := Read(b.Bytes())
		if err != nil || len(s.Samples) != 30 {
			t.Fatalf("%d requests, want 30; %v", len(s.Samples), err)
		}
		for i, sample := range s.Samples {
			late := max(0, 2050*time.Millisecond-time.Duration(i)*100*time.Millisecond)
			want := Sample{late, late, Good}
			if late > time.Second {
				want.Outcome = Unsent
			}
			if sample != want {
				t.Errorf("request %d: %+v, want %+v", i, sample, want)
			}
		}
		stalls := s.Stalls(100 * time.Millisecond)
		if want := (Stall{0, 1900 * time.Millisecond, 2050 * time.Millisecond, 11}); len(stalls) != 1 || stalls[0] != want {
			t.Errorf("stalls %+v, want %+v", stalls, want)
		}
	})
}

func TestRunWritesInOrderAndInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		c := every(10)
		c.Length = 10 * time.Second
		done := make(chan error, 1)
		go func() {
			done <- c.run(t.Context(), &fake{do: func(context.Context, int) string { return Good }}, w)
			w.Close()
		}()
		// A reader that stops delays no request.
		time.Sleep(5 * time.Second)
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Read(raw)
		if err != nil || len(s.Samples) != 1000 || <-done != nil {
			t.Fatalf("%v", err)
		}
		for i, sample := range s.Samples {
			if sample != (Sample{}) {
				t.Errorf("request %d: %+v", i, sample)
			}
		}
	})
}

type failing struct{ after int }

func (f *failing) Write(b []byte) (int, error) {
	if f.after -= len(b); f.after < 0 {
		return 0, errors.New("the disk is full")
	}
	return len(b), nil
}

func TestRunEndsWhenItsFileCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, after := range []int{0, 400, 2000} {
		synctest.Test(t, func(t *testing.T) {
			c := every(10)
			err := c.run(t.Context(), &fake{do: func(context.Context, int) string { return Good }}, &failing{after})
			if err == nil || !strings.Contains(err.Error(), `probe "web": write its file: the disk is full`) {
				t.Errorf("after %d bytes: %v", after, err)
			}
		})
	}
}

func TestRecorderSaysWhenTheClockWasSet(t *testing.T) {
	t.Parallel()
	c := every(1000)
	var b bytes.Buffer
	rec := &recorder{w: newWriter(&b), window: map[int]Sample{}, stop: make(chan struct{}), ended: make(chan struct{}), failed: func() {}}
	rec.jump(Jump{1, -2 * time.Hour})
	rec.add(1, Sample{0, 5 * time.Millisecond, "503"}) // before the first
	rec.add(0, Sample{time.Millisecond, 2 * time.Millisecond, Good})
	go rec.run(Header{version, c.Name, c.Kind, c.Address, c.Rate, c.Timeout, time.Unix(1, 0), c.From})
	if err := rec.end(2); err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(b.String(), "\n")
	if want := "1000,2000,\nclock,-7200000000\n0,5000,503\nend,2\n"; lines != want {
		t.Errorf("%q, want %q", lines, want)
	}
	s, err := Read(b.Bytes())
	if err != nil || len(s.Jumps) != 1 || s.Jumps[0] != (Jump{1, -2 * time.Hour}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"its name has to be of a-z":                 func(c *Config) { c.Name = "Web/../x" },
		`kind "udp" is not http, grpc or tcp`:       func(c *Config) { c.Kind = "udp" },
		"begins with http:// or https://":           func(c *Config) { c.Address = "tcp://web:80" },
		"begins with grpc:// or grpcs://":           func(c *Config) { c.Kind = GRPC },
		"address with credentials":                  func(c *Config) { c.Address = "http://user:hunter2@web/" },
		"address without a host":                    func(c *Config) { c.Address = "http:///x" },
		"address without a port":                    func(c *Config) { c.Kind, c.Address = TCP, "tcp://web" },
		"address of a tcp probe with more":          func(c *Config) { c.Kind, c.Address = TCP, "tcp://web:80/x" },
		"address of a http probe with more":         func(c *Config) { c.Address = "http://web/#part" },
		"address: invalid":                          func(c *Config) { c.Address = "http://web:secret/" },
		"address longer than 2048":                  func(c *Config) { c.Address += strings.Repeat("x", 2048) },
		"rate 0 is not from":                        func(c *Config) { c.Rate = 0 },
		"rate 20000 is not from":                    func(c *Config) { c.Rate = 20000 },
		"timeout 0s is not from":                    func(c *Config) { c.Timeout = 0 },
		"timeout 2m0s is not from":                  func(c *Config) { c.Timeout = 2 * time.Minute },
		"-1 requests in flight":                     func(c *Config) { c.InFlight = -1 },
		"a time below 0":                            func(c *Config) { c.Slow = -1 },
		fmt.Sprintf("more than %d", MaxSamples):     func(c *Config) { c.Length = 100 * time.Hour },
		"where it was sent from is longer than 512": func(c *Config) { c.From = strings.Repeat("x", 513) },
	} {
		c := every(10)
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
