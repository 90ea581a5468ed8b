package loadrecord

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/companyos/helmproof/internal/probe"
)

// Seen is one line of UsageFile: something that was seen while the load ran. At counts
// from when the drill began. Exactly one of the others is set.
type Seen struct {
	At      time.Duration `json:"at"`
	Pod     *Pod          `json:"pod,omitempty"`
	Counter *Counter      `json:"counter,omitempty"`
	Metric  *Metric       `json:"metric,omitempty"`
	Failed  *Failed       `json:"failed,omitempty"`
}

// Pod is a pod of one of the release's workloads, when it was first seen and
// whenever something here had changed.
type Pod struct {
	Namespace  string      `json:"namespace"`
	Name       string      `json:"name"`
	UID        string      `json:"uid"`
	Workload   string      `json:"workload"` // "Deployment/web"
	Node       string      `json:"node,omitempty"`
	Gone       bool        `json:"gone,omitempty"` // it ended, or is not there any more
	Containers []Container `json:"containers,omitempty"`
}

// Container is one of a pod, sidecars that start first included.
type Container struct {
	Name     string            `json:"name"`
	ID       string            `json:"id,omitempty"` // the runtime's
	Requests map[string]string `json:"requests,omitempty"`
	Limits   map[string]string `json:"limits,omitempty"`
	Restarts int32             `json:"restarts"`
	// Ended is how it ended the last time that it did.
	Ended *Ended `json:"ended,omitempty"`
}

// Ended is a container's end.
type Ended struct {
	Reason string    `json:"reason"` // OOMKilled, Error, Completed, …
	Code   int32     `json:"code"`
	At     time.Time `json:"at"`
}

// Sources of counters.
const (
	Cadvisor = "cadvisor" // a kubelet's /metrics/cadvisor
	Resource = "resource" // a kubelet's /metrics/resource
)

// Counter is what a kubelet said of one container. Absent values are nil.
type Counter struct {
	Source    string `json:"source"`
	Pod       string `json:"pod"` // namespace/name
	Container string `json:"container"`
	ID        string `json:"id,omitempty"` // the runtime's, where the source has it
	// Time is the node's own, in milliseconds since 1970: kubelets look every 10 to
	// 15 seconds, and repeat in between.
	Time      int64    `json:"time"`
	CPU       *float64 `json:"cpu,omitempty"`    // seconds of a processor, a counter
	Memory    *float64 `json:"memory,omitempty"` // working set, bytes
	Periods   *float64 `json:"periods,omitempty"`
	Throttled *float64 `json:"throttled,omitempty"` // of the periods, a counter
	OOM       *float64 `json:"oom,omitempty"`       // processes killed, a counter
}

// Metric is what the metrics API said of one container: an average over Window.
type Metric struct {
	Pod       string        `json:"pod"` // namespace/name
	Container string        `json:"container"`
	Time      int64         `json:"time"` // milliseconds since 1970
	Window    time.Duration `json:"window"`
	CPU       string        `json:"cpu"`
	Memory    string        `json:"memory"`
}

// Pods is what failed where the pods of the release could not be looked at.
const Pods = "pods"

// Failed is a look that gave nothing.
type Failed struct {
	What  string `json:"what"` // Pods, kubelet node-a, metrics API
	Error string `json:"error"`
}

// Bounds of UsageFile.
const (
	MaxUsage = 2 << 20 // bytes
	maxLine  = 1 << 20
	most     = 1 << 50 // of any amount: a petabyte
)

// EncodeSeen writes one line.
func EncodeSeen(s *Seen) ([]byte, error) {
	b, err := json.Marshal(s)
	return append(b, '\n'), err
}

// DecodeUsage reads UsageFile, whose last line is "end".
func DecodeUsage(raw []byte) ([]Seen, error) {
	if len(raw) > MaxUsage+maxLine {
		return nil, fmt.Errorf("%d bytes, more than %d", len(raw), MaxUsage)
	}
	var out []Seen
	for n := 1; len(raw) > 0; n++ {
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
		var s Seen
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if d.More() {
			return nil, fmt.Errorf("line %d: something stands after it", n)
		}
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if k := len(out); k > 0 && s.At < out[k-1].At {
			return nil, fmt.Errorf("line %d: it was seen before the one above", n)
		}
		out = append(out, s)
	}
	return nil, fmt.Errorf("%w: it ends after %d lines", probe.ErrCut, len(out))
}

// Validate says what is wrong with a line.
func (s *Seen) Validate() error {
	n := 0
	for _, there := range []bool{s.Pod != nil, s.Counter != nil, s.Metric != nil, s.Failed != nil} {
		if there {
			n++
		}
	}
	if n != 1 || s.At < 0 {
		return errors.New("want one thing that was seen, and when")
	}
	if c := s.Counter; c != nil {
		for _, v := range []*float64{c.CPU, c.Memory, c.Periods, c.Throttled, c.OOM} {
			if v != nil && (!(*v >= 0) || *v > most) { // so written for NaN
				return fmt.Errorf("a counter of %v", *v)
			}
		}
		if c.Source != Cadvisor && c.Source != Resource {
			return fmt.Errorf("a counter from %.40q", c.Source)
		}
	}
	if m := s.Metric; m != nil {
		for _, q := range []string{m.CPU, m.Memory} {
			if v, err := resource.ParseQuantity(q); err != nil || v.Sign() < 0 || v.Value() > most {
				return fmt.Errorf("an amount of %.40q", q)
			}
		}
	}
	if p := s.Pod; p != nil {
		for i := range p.Containers {
			c := &p.Containers[i]
			for _, m := range []map[string]string{c.Requests, c.Limits} {
				for k, q := range m {
					if v, err := resource.ParseQuantity(q); err != nil || v.Sign() < 0 || v.Value() > most {
						return fmt.Errorf("container %.40q: %.40s of %.40q", c.Name, k, q)
					}
				}
			}
		}
	}
	return nil
}
