// Package loadrecord is what a load drill leaves, as values, and what follows from
// it: what became of the requests, what the containers used meanwhile, and what they
// should ask for. It does no I/O; the collector that loads seals these values, and
// findings and reports are derived from them.
package loadrecord

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/probe"
)

// Names, in the collector's folder, of what a load drill seals besides what every
// drill does.
const (
	RunFile     = "load.json"   // Run
	RampFile    = "ramp.jsonl"  // Second, one a line
	SamplesFile = "hold.csv"    // a probe's file (internal/probe): each request of the hold
	SecondsFile = "hold.jsonl"  // instead of SamplesFile, where there are too many of them
	UsageFile   = "usage.jsonl" // Seen, one a line, by time
)

// Run is what was sent, and how the generator did.
type Run struct {
	Address string `json:"address"`
	Dialled string `json:"dialled"` // ip:port
	// Method is the gRPC method that was called, "package.Service/Method"; empty: the
	// requests were HTTP's.
	Method string `json:"method,omitempty"`
	// Sender is the pod that sent them, as it says; empty: where helmproof ran.
	Sender  string        `json:"sender,omitempty"`
	Rate    float64       `json:"rate"`
	Ramp    time.Duration `json:"ramp"`
	Hold    time.Duration `json:"hold"`
	Timeout time.Duration `json:"timeout"`
	// From and To are the hold, counted from when the drill began.
	From      time.Duration       `json:"from"`
	To        time.Duration       `json:"to"`
	Generator loadcount.Generator `json:"generator"`
	// Stopped says why not all was sent; empty: it was.
	Stopped string `json:"stopped,omitempty"`
}

// Called says whose calls they were, where they were gRPC's: " to package.Service/Method".
func (r *Run) Called() string {
	if r.Method == "" {
		return ""
	}
	return " to " + r.Method
}

// MaxWait is how long the generator's own tasks may wait for a processor.
const MaxWait = 20 * time.Millisecond

// Limits of the generator: more than this share of requests sent late, and it is not
// the service that was measured.
const maxLateShare = 0.01

// Weak says in which ways the generator was at its own limits; with one of them
// nothing is said of the service. What was not sent since the drill was aborted is none of
// them.
func (r *Run) Weak(q *Requests) []string {
	var out []string
	if q.Unsent > 0 && r.Stopped == "" {
		out = append(out, fmt.Sprintf("%d of %d requests were not sent", q.Unsent, q.Due))
	}
	if float64(q.Late) > maxLateShare*float64(q.Due-q.Unsent) {
		out = append(out, fmt.Sprintf("%d of %d requests were sent more than %s late", q.Late, q.Due, loadcount.MaxLate))
	}
	if r.Generator.Busy >= r.Generator.MaxBusy {
		out = append(out, fmt.Sprintf("all %d requests that may be under way at once were", r.Generator.MaxBusy))
	}
	if r.Generator.Wait > MaxWait {
		out = append(out, fmt.Sprintf("its processors were saturated: its own tasks waited %s for one (99th percentile)", r.Generator.Wait.Round(time.Millisecond)))
	}
	return out
}

// Requests reads the hold's requests from the file that there is of them: one of
// samples and seconds is nil. They have to be those that the run says. The seconds that
// come with them are for plots.
func (r *Run) Requests(samples, seconds []byte) (*Requests, []drill.Second, error) {
	switch {
	case samples != nil && seconds != nil:
		return nil, nil, errors.New("both " + SamplesFile + " and " + SecondsFile + " are there")
	case samples == nil && seconds == nil:
		return nil, nil, errors.New("neither " + SamplesFile + " nor " + SecondsFile + " is there")
	case seconds != nil:
		list, err := loadcount.DecodeSeconds(seconds)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", SecondsFile, err)
		}
		q, err := FromSeconds(list, r.Rate, r.Hold)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", SecondsFile, err)
		}
		return q, plot(list), nil
	}
	s, err := probe.Read(samples)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", SamplesFile, err)
	}
	if h := s.Header; h.Rate != r.Rate || h.Address != r.Address || h.Timeout != r.Timeout {
		return nil, nil, fmt.Errorf("%s: it is of another run than %s", SamplesFile, RunFile)
	}
	if want := loadcount.Held(r.Rate, r.Hold); len(s.Samples) != want {
		return nil, nil, fmt.Errorf("%s: %d requests, where %d were due", SamplesFile, len(s.Samples), want)
	}
	if len(s.Jumps) > 0 {
		return nil, nil, fmt.Errorf("%s: the clock was set meanwhile", SamplesFile)
	}
	return FromSamples(s.Samples), plot(secondsOf(s.Samples, r.Rate, r.Hold)), nil
}

// EncodeSamples writes a probe's file.
func EncodeSamples(h probe.Header, list []probe.Sample) ([]byte, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(append(head, '\n'))
	for _, s := range list {
		fmt.Fprintf(out, "%d,%d,%s\n", s.Late.Microseconds(), s.Took.Microseconds(), s.Outcome)
	}
	fmt.Fprintf(out, "end,%d\n", len(list))
	return out.Bytes(), nil
}
