package loadrecord

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/probe"
)

// Requests are what became of the requests of the hold, together.
type Requests struct {
	Due, Good, Late, Unsent int
	Failed                  map[string]int // by outcome, those that were not sent aside
	took, served            []weighted     // ascending
}

// weighted is a time that n requests took.
type weighted struct {
	d time.Duration
	n int
}

// FromSamples sums up single requests.
func FromSamples(list []probe.Sample) *Requests {
	f := &Requests{Failed: map[string]int{}}
	for _, x := range list {
		f.Due++
		switch {
		case x.Outcome == probe.Unsent:
			f.Unsent++
			continue
		case x.Outcome != probe.Good:
			f.Failed[x.Outcome]++
		default:
			f.Good++
			f.took = append(f.took, weighted{x.Took, 1})
			f.served = append(f.served, weighted{x.Took - x.Late, 1})
		}
		if x.Late > loadcount.MaxLate {
			f.Late++
		}
	}
	f.sort()
	return f
}

// FromSeconds sums up seconds. As many have to be due in each as rate says.
func FromSeconds(list []loadcount.Second, rate float64, hold time.Duration) (*Requests, error) {
	f := &Requests{Failed: map[string]int{}}
	if want := loadcount.SecondsOf(hold); len(list) != want {
		return nil, fmt.Errorf("%d seconds, of a hold of %s", len(list), hold)
	}
	due := make([]int, len(list))
	for i := range loadcount.Held(rate, hold) {
		due[min(int(float64(i)/rate), len(due)-1)]++
	}
	took, served := map[int]int{}, map[int]int{}
	for i := range list {
		s := &list[i]
		// A request that is due on the edge of a second may be in either.
		if d := s.Due - due[i]; d < -1 || d > 1 {
			return nil, fmt.Errorf("second %d has %d requests, where %d were due", i, s.Due, due[i])
		}
		f.Due, f.Good, f.Late = f.Due+s.Due, f.Good+s.Good, f.Late+s.Late
		for o, n := range s.Failed {
			if o == probe.Unsent {
				f.Unsent += n
			} else {
				f.Failed[o] += n
			}
		}
		for _, e := range s.Took {
			took[e[0]] += e[1]
		}
		for _, e := range s.Served {
			served[e[0]] += e[1]
		}
	}
	if want := loadcount.Held(rate, hold); f.Due != want {
		return nil, fmt.Errorf("%d requests, where %d were due", f.Due, want)
	}
	for _, b := range slices.Sorted(maps.Keys(took)) {
		f.took = append(f.took, weighted{loadcount.Edge(b), took[b]})
	}
	for _, b := range slices.Sorted(maps.Keys(served)) {
		f.served = append(f.served, weighted{loadcount.Edge(b), served[b]})
	}
	return f, nil
}

func (f *Requests) sort() {
	for _, l := range [][]weighted{f.took, f.served} {
		slices.SortFunc(l, func(a, b weighted) int { return int(a.d - b.d) })
	}
}

// Bad is how many requests failed that were sent.
func (f *Requests) Bad() int {
	n := 0
	for _, k := range f.Failed {
		n += k
	}
	return n
}

// Slow is how many good ones took longer than d from when they were due.
func (f *Requests) Slow(d time.Duration) int {
	n := 0
	for _, w := range f.took {
		if w.d > d {
			n += w.n
		}
	}
	return n
}

// Took is how long a request took from when it was due, at quantile q of all that were due; one
// that failed took longer than any: then ok is false.
func (f *Requests) Took(q float64) (d time.Duration, ok bool) { return f.rank(f.took, q) }

// Served is likewise from when it was sent: what is left of Took is the
// generator's own delay.
func (f *Requests) Served(q float64) (d time.Duration, ok bool) { return f.rank(f.served, q) }

func (f *Requests) rank(l []weighted, q float64) (time.Duration, bool) {
	left := int(q * float64(f.Due))
	if float64(left) < q*float64(f.Due) || left == 0 {
		left++
	}
	for _, w := range l {
		if left -= w.n; left <= 0 {
			return w.d, true
		}
	}
	return 0, false
}
