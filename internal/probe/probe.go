// Package probe sends requests at a steady rate, each when it is due and not when
// the one before has been answered (an open loop), and writes down every one of
// them. It knows no Kubernetes.
//
// A probe's file is text: the header as one line of JSON, a line for each request
// in the order in which they were due, and "end," with their number. Between them
// stands a line "clock," with microseconds where the wall clock was set.
package probe

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Kinds of probes.
const (
	HTTP = "http"
	GRPC = "grpc"
	TCP  = "tcp"
)

// Outcomes of a request beside HTTP statuses and gRPC codes.
const (
	Good        = ""
	Timeout     = "timeout"
	Refused     = "refused"
	Reset       = "reset"
	Unreachable = "unreachable"
	EOF         = "eof" // the connection ended before the answer did
	DNS         = "dns"
	TLS         = "tls"
	Other       = "other"
	// Unsent: the prober's own limits (requests in flight, ports, files), or it was
	// held up for longer than the request's timeout.
	Unsent = "unsent"
)

// Bounds of what is probed, written and read.
const (
	MaxRate    = 10_000.0
	MaxTimeout = time.Minute
	MaxSamples = 2_000_000 // of one file: five hours and a half at 100 a second
	MaxFile    = 64 << 20  // bytes
	maxHeader  = 8 << 10   // bytes
	maxTime    = 24 * time.Hour
	maxJump    = 100 * 365 * 24 * 3600 * 1_000_000 // microseconds
	version    = 1
)

// Header is the first line of a probe's file, as JSON.
type Header struct {
	Version int           `json:"version"` // 1
	Name    string        `json:"name"`
	Kind    string        `json:"kind"`
	Address string        `json:"address"`
	Rate    float64       `json:"rate"`    // requests a second: request i is due at Start + i/Rate
	Timeout time.Duration `json:"timeout"` // nanoseconds, from when a request was sent
	Start   time.Time     `json:"start"`   // by the prober's wall clock; all else is by its monotonic clock
	From    string        `json:"from"`    // "outside", or the prober's pod and node
}

// Sample is one request. In the file it is a line "late,took,outcome" with times in
// microseconds; outcome is empty for a good answer. The last line is "end,<number
// of samples>": without it the file is cut.
type Sample struct {
	// Late is how much after it was due the request was sent: the prober's own delay.
	Late time.Duration
	// Took is from when it was due until the answer was whole, or the failure known;
	// of a request that was not sent, it is Late.
	Took time.Duration
	// Outcome is Good, or one of the other constants; else an HTTP status ("503"), a
	// gRPC code ("UNAVAILABLE"), or a health status ("NOT_SERVING").
	Outcome string
}

// OK reports whether the request was good: answered well, and within slow of when it
// was due where slow is not 0.
func (s Sample) OK(slow time.Duration) bool {
	return s.Outcome == Good && (slow == 0 || s.Took <= slow)
}

// Jump is a moment at which the prober's wall clock was set, or the machine slept:
// times of the cluster and of samples do not fit together any more.
type Jump struct {
	Before int           // the index of the next sample
	Offset time.Duration // of the wall clock against Start and the monotonic clock, from then on
}

// Series is a probe's file as values.
type Series struct {
	Header  Header
	Samples []Sample
	Jumps   []Jump
}

// Due is when request i was due, from Header.Start.
func (h *Header) Due(i int) time.Duration {
	return time.Duration(math.Round(float64(i) / h.Rate * float64(time.Second)))
}

// All gives the samples with the wall clock's time at which each was due.
func (s *Series) All() iter.Seq2[time.Time, Sample] {
	return func(yield func(time.Time, Sample) bool) {
		for i, sample := range s.Samples {
			if !yield(s.Header.Start.Add(s.Header.Due(i)), sample) {
				return
			}
		}
	}
}

// Stall is a time in which the prober itself was held up: samples there say
// nothing of the service.
type Stall struct {
	From, To time.Duration // when the first and the last of its requests were due, from Header.Start
	Late     time.Duration // at most
	Unsent   int           // requests that were not sent
}

// Stalls lists where requests were sent more than limit late, or not at all.
func (s *Series) Stalls(limit time.Duration) []Stall {
	var out []Stall
	open := false
	for i, sample := range s.Samples {
		if sample.Late <= limit && sample.Outcome != Unsent {
			open = false
			continue
		}
		due := s.Header.Due(i)
		if !open {
			out = append(out, Stall{From: due})
			open = true
		}
		last := &out[len(out)-1]
		last.To, last.Late = due, max(last.Late, sample.Late)
		if sample.Outcome == Unsent {
			last.Unsent++
		}
	}
	return out
}

// Config is one probe.
type Config struct {
	Name string `json:"name"` // [a-z0-9-]+
	Kind string `json:"kind"`
	// Address is http:// or https://host[:port][/path], grpc:// or grpcs://host:port[/service],
	// tcp://host:port.
	Address string        `json:"address"`
	Rate    float64       `json:"rate"`    // requests a second
	Timeout time.Duration `json:"timeout"` // of one request, from when it is sent
	// Slow is the latency objective: a good answer that took longer, from when it was
	// due, counts as failed in the live view. 0: any time is good. The file has no
	// opinion of it.
	Slow time.Duration `json:"slow,omitempty"`
	From string        `json:"from"`
	// InFlight bounds the requests that wait for an answer; 0: twice what rate and
	// timeout allow, at most 5000.
	InFlight int `json:"inFlight,omitempty"`
	// KeepAlive uses connections again. By default each request makes its own, so
	// that it is the Service's endpoints that are asked, and not one of them.
	KeepAlive bool `json:"keepAlive,omitempty"`
	// InsecureTLS does not verify certificates.
	InsecureTLS bool `json:"insecureTLS,omitempty"`
	// Length ends the probe; 0: its context does.
	Length time.Duration `json:"length,omitempty"`

	// Live, if there is one, is told of each request when it is done.
	Live *Live `json:"-"`
}

var namePattern = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// Validate says what is wrong with c.
func (c *Config) Validate() error {
	h := Header{version, c.Name, c.Kind, c.Address, c.Rate, c.Timeout, time.Unix(1, 0), c.From}
	if err := h.validate(); err != nil {
		return fmt.Errorf("probe %q: %w", c.Name, err)
	}
	switch {
	case c.InFlight < 0:
		return fmt.Errorf("probe %q: %d requests in flight", c.Name, c.InFlight)
	case c.Length < 0 || c.Slow < 0:
		return fmt.Errorf("probe %q: a time below 0", c.Name)
	case float64(MaxSamples) < c.Length.Seconds()*c.Rate:
		return fmt.Errorf("probe %q: more than %d requests", c.Name, MaxSamples)
	}
	return nil
}

func (h *Header) validate() error {
	switch {
	case h.Version != version:
		return fmt.Errorf("version %d of the format, want %d", h.Version, version)
	case !namePattern.MatchString(h.Name):
		return errors.New("its name has to be of a-z, 0-9 and -, at most 63")
	case !(h.Rate >= 0.01 && h.Rate <= MaxRate):
		return fmt.Errorf("rate %g is not from 0.01 to %g a second", h.Rate, MaxRate)
	case h.Timeout < time.Millisecond || h.Timeout > MaxTimeout:
		return fmt.Errorf("timeout %s is not from 1ms to %s", h.Timeout, MaxTimeout)
	case h.Start.IsZero():
		return errors.New("it does not say when it began")
	case len(h.From) > 512:
		return errors.New("where it was sent from is longer than 512 bytes")
	}
	_, err := parseAddress(h.Kind, h.Address)
	return err
}

// parseAddress reads an address of that kind. Credentials have no place in it: it
// is sealed.
func parseAddress(kind, address string) (*url.URL, error) {
	if len(address) > 2048 {
		return nil, errors.New("address longer than 2048 bytes")
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", errors.Unwrap(err)) // without the address
	}
	schemes := map[string]string{HTTP: "http https", GRPC: "grpc grpcs", TCP: "tcp"}[kind]
	switch {
	case schemes == "":
		return nil, fmt.Errorf("kind %q is not http, grpc or tcp", kind)
	case u.User != nil:
		return nil, errors.New("address with credentials")
	case !strings.Contains(" "+schemes+" ", " "+u.Scheme+" ") || u.Scheme == "":
		return nil, fmt.Errorf("address of a %s probe begins with %s://", kind, strings.ReplaceAll(schemes, " ", ":// or "))
	case u.Hostname() == "":
		return nil, errors.New("address without a host")
	case kind != HTTP && u.Port() == "":
		return nil, errors.New("address without a port")
	case kind == TCP && (u.Path != "" && u.Path != "/" || u.RawQuery != ""), kind == GRPC && u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("address of a %s probe with more than it may have", kind)
	}
	return u, nil
}

// hostPort is the address to connect to.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
