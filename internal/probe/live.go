package probe

import (
	"math"
	"sync/atomic"
	"time"
)

// Live counts what a probe has done so far. It takes no locks, so that who looks
// does not disturb the probe. The zero value is ready.
type Live struct {
	done, failed, unsent atomic.Int64
	rate                 atomic.Uint64 // bits of a float64
	last, late           atomic.Int64
}

// Counts are what Live says.
type Counts struct {
	Done   int64 // requests that are over, in whatever way
	Failed int64 // of them: sent, and not good, or too slow
	Unsent int64 // not sent, which is not the service's fault; none of Failed
	// Spent is the error budget that the failed ones cost, in seconds: 1/rate each.
	Spent float64
	Late  time.Duration // the greatest so far
	// Last is when the last request was done, or was heard of; zero: none was.
	Last time.Time
}

// Counts is what is known now. The numbers may be of moments some microseconds apart.
func (l *Live) Counts() Counts {
	c := Counts{Done: l.done.Load(), Failed: l.failed.Load(), Unsent: l.unsent.Load(), Late: time.Duration(l.late.Load())}
	if rate := math.Float64frombits(l.rate.Load()); rate > 0 {
		c.Spent = float64(c.Failed) / rate
	}
	if at := l.last.Load(); at != 0 {
		c.Last = time.Unix(0, at)
	}
	return c
}

// Begin says at what rate requests come.
func (l *Live) Begin(rate float64) { l.rate.Store(math.Float64bits(rate)) }

// Add counts one request, at a time of the caller's clock.
func (l *Live) Add(s Sample, slow time.Duration, now time.Time) {
	switch {
	case s.Outcome == Unsent:
		l.unsent.Add(1)
	case !s.OK(slow):
		l.failed.Add(1)
	}
	for late := l.late.Load(); int64(s.Late) > late && !l.late.CompareAndSwap(late, int64(s.Late)); {
		late = l.late.Load()
	}
	l.last.Store(now.UnixNano())
	l.done.Add(1)
}
