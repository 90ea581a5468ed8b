// Package loadcount is what the sender of a load counts: what became of its requests, in
// seconds and histograms, and how it did itself. It knows no Kubernetes, so that the
// sender can run in a pod.
package loadcount

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/companyos/helmproof/internal/probe"
)

// Bounds of what is written and read.
const (
	MaxRequests = 2_000_000
	MaxLength   = time.Hour // ramp and hold together
	// MaxLate is how long after it was due a request may be sent and still count as
	// sent in time.
	MaxLate = 50 * time.Millisecond
)

// Held is the number of requests that are due while the rate is held.
func Held(rate float64, hold time.Duration) int { return int(math.Round(rate * hold.Seconds())) }

// SecondsOf is how many seconds begin in d.
func SecondsOf(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// Second is what became of the requests that were due in one second.
type Second struct {
	Due    int            `json:"due"`
	Good   int            `json:"good"`
	Late   int            `json:"late,omitempty"`   // sent later than MaxLate
	Failed map[string]int `json:"failed,omitempty"` // by outcome, Unsent among them
	Took   Histogram      `json:"took"`             // of the good ones, from when each was due
	Served Histogram      `json:"served"`           // likewise from when it was sent
}

// Add counts a request.
func (s *Second) Add(x probe.Sample) {
	s.Due++
	if x.Late > MaxLate && x.Outcome != probe.Unsent {
		s.Late++
	}
	if x.Outcome != probe.Good {
		if s.Failed == nil {
			s.Failed = map[string]int{}
		}
		s.Failed[x.Outcome]++
		return
	}
	s.Good++
	s.Took.add(x.Took)
	s.Served.add(x.Took - x.Late)
}

// Histogram counts times in buckets whose upper edges are at most 1/32 above their
// lower ones: number of the bucket, then count, by number. A time is taken for the
// upper edge of its bucket, so that nothing looks faster than it was.
type Histogram [][2]int

const subBuckets = 32

func bucketOf(d time.Duration) int {
	us := max(d.Microseconds(), 0)
	if us < 2*subBuckets {
		return int(us)
	}
	shift := bits.Len64(uint64(us)) - 6 //nolint:gosec // not negative
	return shift*subBuckets + int(us>>shift)
}

// Edge is the upper edge of a bucket.
func Edge(bucket int) time.Duration {
	if bucket < 2*subBuckets {
		return time.Duration(bucket) * time.Microsecond
	}
	shift := bucket/subBuckets - 1
	return time.Duration((int64(bucket-shift*subBuckets)+1)<<shift-1) * time.Microsecond
}

// maxBucket is that of an hour.
var maxBucket = bucketOf(time.Hour)

func (h *Histogram) add(d time.Duration) {
	b := min(bucketOf(d), maxBucket)
	i, ok := slices.BinarySearchFunc(*h, b, func(e [2]int, b int) int { return e[0] - b })
	if !ok {
		*h = slices.Insert(*h, i, [2]int{b, 0})
	}
	(*h)[i][1]++
}

func (h Histogram) validate(want int) error {
	last, all := -1, 0
	for _, e := range h {
		if e[0] <= last || e[0] > maxBucket || e[1] <= 0 || e[1] > MaxRequests {
			return fmt.Errorf("bucket %d after %d, with %d", e[0], last, e[1])
		}
		last = e[0]
		all += e[1]
	}
	if all != want {
		return fmt.Errorf("a histogram of %d requests, of %d good ones", all, want)
	}
	return nil
}

// MaxSeconds bounds a file of seconds, in bytes.
const MaxSeconds = 16 << 20

// EncodeSeconds writes seconds, one a line, as JSON; the last line is "end".
func EncodeSeconds(list []Second) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for i := range list {
		if err := enc.Encode(&list[i]); err != nil {
			return nil, err
		}
	}
	out.WriteString("end\n")
	return out.Bytes(), nil
}

// DecodeSeconds reads what EncodeSeconds wrote, and nothing but a whole one.
func DecodeSeconds(raw []byte) ([]Second, error) {
	if len(raw) > MaxSeconds {
		return nil, fmt.Errorf("%d bytes, more than %d", len(raw), MaxSeconds)
	}
	var out []Second
	for len(raw) > 0 {
		line, rest, whole := bytes.Cut(raw, []byte{'\n'})
		raw = rest
		if !whole {
			break
		}
		if string(line) == "end" {
			if len(raw) > 0 {
				return nil, errors.New("something stands after the last line")
			}
			return out, nil
		}
		if len(out) == SecondsOf(MaxLength) {
			return nil, fmt.Errorf("more than %d seconds", len(out))
		}
		s, err := decodeSecond(line)
		if err != nil {
			return nil, fmt.Errorf("second %d: %w", len(out), err)
		}
		out = append(out, s)
	}
	return nil, fmt.Errorf("%w: it ends after %d seconds", probe.ErrCut, len(out))
}

func decodeSecond(line []byte) (Second, error) {
	var s Second
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return s, err
	}
	if d.More() {
		return s, errors.New("something stands after it")
	}
	failed := 0
	for o, n := range s.Failed {
		if o == probe.Good || n <= 0 || n > MaxRequests {
			return s, fmt.Errorf("%d failed with %.40q", n, o)
		}
		failed += n
	}
	if s.Good < 0 || s.Good > MaxRequests || s.Due != s.Good+failed || s.Late < 0 || s.Late > s.Due {
		return s, fmt.Errorf("%d due, %d good, %d failed, %d late", s.Due, s.Good, failed, s.Late)
	}
	return s, errors.Join(s.Took.validate(s.Good), s.Served.validate(s.Good))
}

// Generator is how the generator itself did.
type Generator struct {
	Busy    int `json:"busy"`    // requests under way at once, at most
	MaxBusy int `json:"maxBusy"` // more were not possible
	Procs   int `json:"procs"`   // processors that it could use
	// Wait is how long its own tasks waited for a processor, at the 99th percentile
	// and during the hold: where that is long it was saturated, and measured itself.
	Wait time.Duration `json:"wait"`
}
