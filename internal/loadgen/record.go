package loadgen

import (
	"time"

	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/probe"
)

// recorder gathers results, which come in any order.
type recorder struct {
	o             *Options
	ramped, total int
	samples       []probe.Sample // of the hold; nil where there would be too many
	seen          []bool
	ramp, hold    []loadcount.Second
}

func newRecorder(o *Options, ramped, total int) *recorder {
	r := &recorder{o: o, ramped: ramped, total: total, seen: make([]bool, total), ramp: make([]loadcount.Second, loadcount.SecondsOf(o.Ramp))}
	if total-ramped <= MaxSamples {
		r.samples = make([]probe.Sample, total-ramped)
	} else {
		r.hold = make([]loadcount.Second, loadcount.SecondsOf(o.Hold))
	}
	return r
}

func (r *recorder) add(i int, due, sent, latency time.Duration, outcome string) {
	if i >= r.total || r.seen[i] {
		return
	}
	r.seen[i] = true
	late := max(sent-due, 0).Round(time.Microsecond)
	x := probe.Sample{Late: late, Took: late + max(latency, 0).Round(time.Microsecond), Outcome: outcome}
	switch {
	case x.Outcome == probe.Unsent:
		x.Took = x.Late
	case x.Outcome == probe.Good && latency > r.o.Timeout:
		x.Outcome = probe.Timeout
	}
	r.put(i, due, x)
}

func (r *recorder) put(i int, due time.Duration, x probe.Sample) {
	switch {
	case i < r.ramped:
		r.ramp[min(int(due/time.Second), len(r.ramp)-1)].Add(x)
	case r.samples != nil:
		r.samples[i-r.ramped] = x
	default:
		r.hold[min(int((due-r.o.Ramp)/time.Second), len(r.hold)-1)].Add(x)
	}
}

// result puts down as unsent what was not sent.
func (r *recorder) result() *Result {
	end := r.o.Ramp + r.o.Hold + stopAfter
	for i, ok := range r.seen {
		if !ok {
			due := r.o.due(i)
			late := (end - due).Round(time.Microsecond)
			r.put(i, due, probe.Sample{Late: late, Took: late, Outcome: probe.Unsent})
		}
	}
	return &Result{Ramp: r.ramp, Samples: r.samples, Seconds: r.hold}
}
