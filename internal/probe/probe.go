// Package probe sends requests at a steady rate, each when it is due and not when
// the one before has been answered (an open loop), and writes down every one of
// them. It knows no Kubernetes.
package probe

import "time"

// Kinds of probes.
const (
	HTTP = "http"
	GRPC = "grpc"
	TCP  = "tcp"
)

// Header is the first line of a probe's file, as JSON.
type Header struct {
	Version int           `json:"version"` // 1
	Name    string        `json:"name"`
	Kind    string        `json:"kind"`
	Address string        `json:"address"`
	Rate    float64       `json:"rate"`    // requests a second: request i is due at Start + i/Rate
	Timeout time.Duration `json:"timeout"` // nanoseconds
	Start   time.Time     `json:"start"`   // by the prober's wall clock; all else is by its monotonic clock
	From    string        `json:"from"`    // "outside", or the prober's pod and node
}

// Sample is one request. In the file it is a line "late,took,outcome" with times in
// microseconds; outcome is empty for a good answer. The line of request i is line
// i+2 of the file. The last line is "end,<number of samples>": without it the file
// is cut.
type Sample struct {
	// Late is how much after it was due the request was sent: the prober's own delay.
	Late time.Duration
	// Took is from when it was due until the answer was whole, or the failure known.
	Took time.Duration
	// Outcome is empty for a good answer; else an HTTP or gRPC status ("503",
	// "UNAVAILABLE"), or timeout, refused, reset, unreachable, eof, dns, tls, other;
	// unsent where the prober did not get to it at all.
	Outcome string
}
