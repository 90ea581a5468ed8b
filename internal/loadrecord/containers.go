package loadrecord

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Amounts are of processors in thousandths, and of memory in bytes.
type Amounts struct {
	CPU    int64 `json:"cpu"`
	Memory int64 `json:"memory"`
}

// ContainerFigures are those of one container of a workload, all of its pods together.
type ContainerFigures struct {
	Namespace string `json:"namespace"`
	Workload  string `json:"workload"` // "Deployment/web"
	Container string `json:"container"`
	Pods      int    `json:"pods"`

	Request Amounts `json:"request"` // 0: none
	Limit   Amounts `json:"limit"`   // 0: none
	// Measured is how long the use of processors was measured, of all pods together;
	// Unmeasured are pods of which it was not for half of their time under load.
	Measured   time.Duration `json:"measured"`
	Unmeasured []string      `json:"unmeasured,omitempty"`
	Steady     int64         `json:"steady"` // CPU: the 95th percentile of measured intervals
	Peak       Amounts       `json:"peak"`   // the most of any pod

	// Periods of the CPU limit, and those in which it was reached. Unwatched is like
	// Unmeasured.
	Periods   float64  `json:"periods"`
	Throttled float64  `json:"throttled"`
	Unwatched []string `json:"unwatched,omitempty"`

	OOMKilled int `json:"oomKilled"` // ends of the container for want of memory, and processes in it killed so
	// Restarts while the load ran.
	Restarts int      `json:"restarts"`
	Ends     []string `json:"ends,omitempty"` // what ended it: "Error (exit code 2)"
	Gone     []string `json:"gone,omitempty"` // pods that went away

	Suggested Suggestion `json:"suggested"`
}

// Share is the share of periods in which the CPU limit was reached.
func (c *ContainerFigures) Share() float64 {
	if c.Periods == 0 {
		return 0
	}
	return c.Throttled / c.Periods
}

// Suggestion is what the container should ask for, and why. An amount is 0 where
// nothing can be said of it.
type Suggestion struct {
	Request Amounts  `json:"request"`
	Limit   Amounts  `json:"limit"`
	Why     []string `json:"why"`
}

// settle is how long after the hold the kubelets may still report what was used in it.
const settle = 20 * time.Second

// instance is one container of one pod.
type instance struct {
	pod                string
	first, last        *Container
	cpu, cfs           map[string]point // the last, by source and ID
	rates              map[string][]rate
	watched            time.Duration
	periods, throttled float64
	memory             float64
	samples            int
	since, until       time.Duration // when it was there
	oom                float64
	oomSeen            map[string]float64
	ends               []Ended
	restarts           int
	gone               bool
	metricLast         int64
}

type point struct {
	time      int64 // the node's, milliseconds
	value, of float64
}

type rate struct {
	length time.Duration
	milli  float64
}

// Containers sums up what was seen of each container of the workloads between from
// and to.
func Containers(list []Seen, from, to time.Duration) []ContainerFigures {
	type key struct{ namespace, workload, container string }
	figures := map[key]*ContainerFigures{}
	of := map[string]*instance{} // by pod and container
	keys := map[string]key{}
	for i := range list {
		s := &list[i]
		switch {
		case s.Pod != nil:
			for j := range s.Pod.Containers {
				c := &s.Pod.Containers[j]
				id := s.Pod.Namespace + "/" + s.Pod.Name + "/" + c.Name
				if of[id] == nil {
					of[id] = &instance{pod: s.Pod.Namespace + "/" + s.Pod.Name, first: c, cpu: map[string]point{}, cfs: map[string]point{}, rates: map[string][]rate{}, oomSeen: map[string]float64{}, since: s.At, until: to}
					keys[id] = key{s.Pod.Namespace, s.Pod.Workload, c.Name}
				}
				of[id].see(c, s, s.At == list[0].At)
			}
		case s.Counter != nil:
			if in := of[s.Counter.Pod+"/"+s.Counter.Container]; in != nil {
				in.count(s.Counter, s.At, from, to)
			}
		case s.Metric != nil:
			if in := of[s.Metric.Pod+"/"+s.Metric.Container]; in != nil && s.At >= from && s.At <= to+settle {
				in.metric(s.Metric)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(of)) {
		k := keys[id]
		f := figures[k]
		if f == nil {
			f = &ContainerFigures{Namespace: k.namespace, Workload: k.workload, Container: k.container}
			figures[k] = f
		}
		of[id].addTo(f, from, to)
	}
	var out []ContainerFigures
	for _, f := range figures {
		f.suggest()
		out = append(out, *f)
	}
	slices.SortFunc(out, func(a, b ContainerFigures) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Container, b.Container))
	})
	return out
}

// see compares with what was seen before. What the first look saw was there when the
// load began, and is none of ours; all of a pod that came later is.
func (in *instance) see(c *Container, s *Seen, first bool) {
	was := in.last
	if was == nil {
		was = c
		if !first {
			was = &Container{}
		}
	}
	in.restarts += int(max(c.Restarts-was.Restarts, 0))
	if e := c.Ended; e != nil && (was.Ended == nil || !was.Ended.At.Equal(e.At)) {
		in.ends = append(in.ends, *e)
	}
	in.last = c
	if s.Pod.Gone {
		in.gone, in.until = true, s.At
	}
}

func (in *instance) count(c *Counter, at, from, to time.Duration) {
	if at < from || at > to+settle {
		// The counter of OOM kills is of the container's whole life.
		in.kills(c)
		return
	}
	key := c.Source + " " + c.ID
	if c.CPU != nil {
		if p, ok := in.cpu[key]; ok && c.Time > p.time && *c.CPU >= p.value {
			length := time.Duration(c.Time-p.time) * time.Millisecond
			in.rates[c.Source] = append(in.rates[c.Source], rate{length, (*c.CPU - p.value) / length.Seconds() * 1000})
		}
		in.cpu[key] = point{c.Time, *c.CPU, 0}
	}
	if c.Periods != nil && c.Throttled != nil {
		if p, ok := in.cfs[key]; ok && c.Time > p.time && *c.Periods >= p.of && *c.Throttled >= p.value {
			in.watched += time.Duration(c.Time-p.time) * time.Millisecond
			in.periods += *c.Periods - p.of
			in.throttled += *c.Throttled - p.value
		}
		in.cfs[key] = point{c.Time, *c.Throttled, *c.Periods}
	}
	if c.Memory != nil && *c.Memory > 0 {
		in.memory = max(in.memory, *c.Memory)
		in.samples++
	}
	in.kills(c)
}

func (in *instance) kills(c *Counter) {
	if c.OOM == nil {
		return
	}
	if before, ok := in.oomSeen[c.ID]; ok && *c.OOM > before {
		in.oom += *c.OOM - before
	}
	in.oomSeen[c.ID] = *c.OOM
}

func (in *instance) metric(m *Metric) {
	cpu, err := resource.ParseQuantity(m.CPU)
	if err != nil {
		return // DecodeUsage has refused it
	}
	memory, err := resource.ParseQuantity(m.Memory)
	if err != nil {
		return
	}
	// Averages say less than the kubelet's counters: processors by them only where
	// there is nothing else.
	if m.Time > in.metricLast {
		in.rates["metrics"] = append(in.rates["metrics"], rate{m.Window, float64(cpu.MilliValue())})
		in.metricLast = m.Time
		in.memory = max(in.memory, float64(memory.Value()))
		in.samples++
	}
}

// best are the intervals of the source that measured longest.
func (in *instance) best() (list []rate, length time.Duration) {
	for _, source := range []string{Resource, Cadvisor, "metrics"} {
		var sum time.Duration
		for _, r := range in.rates[source] {
			sum += r.length
		}
		if sum > length {
			list, length = in.rates[source], sum
		}
	}
	return list, length
}

// brief is how long a pod has to be under load for its use to be missed.
const brief = 20 * time.Second

func (in *instance) addTo(f *ContainerFigures, from, to time.Duration) {
	f.Pods++
	amount := func(m map[string]string, k string, milli bool) int64 {
		q, err := resource.ParseQuantity(m[k])
		if err != nil {
			return 0 // none is set
		}
		if milli {
			return q.MilliValue()
		}
		return q.Value()
	}
	f.Request = Amounts{amount(in.first.Requests, "cpu", true), amount(in.first.Requests, "memory", false)}
	f.Limit = Amounts{amount(in.first.Limits, "cpu", true), amount(in.first.Limits, "memory", false)}
	list, length := in.best()
	f.Measured += length
	if there := min(in.until, to) - max(in.since, from); there >= brief {
		if length < there/2 || in.samples == 0 {
			f.Unmeasured = append(f.Unmeasured, in.pod)
		}
		if in.watched < there/2 {
			f.Unwatched = append(f.Unwatched, in.pod)
		}
	}
	if len(list) > 0 {
		slices.SortFunc(list, func(a, b rate) int { return cmp.Compare(a.milli, b.milli) })
		f.Peak.CPU = max(f.Peak.CPU, whole(list[len(list)-1].milli))
		at := int(math.Ceil(0.95*float64(len(list)))) - 1
		f.Steady = max(f.Steady, whole(list[at].milli))
	}
	f.Peak.Memory = max(f.Peak.Memory, int64(in.memory))
	f.Periods += in.periods
	f.Throttled += in.throttled
	killed := 0
	for _, e := range in.ends {
		if e.Reason == "OOMKilled" {
			killed++
		}
		f.Ends = append(f.Ends, fmt.Sprintf("%s (exit code %d)", e.Reason, e.Code))
	}
	f.OOMKilled += max(killed, int(in.oom))
	f.Restarts += in.restarts
	if in.gone {
		f.Gone = append(f.Gone, in.pod)
	}
}

// whole rounds up; a hair above a number is of the arithmetic.
func whole(v float64) int64 { return int64(math.Ceil(min(v, most) - 1e-6)) }

const (
	// margins are what requests and limits have above what was seen.
	memoryMargin = 1.25
	cpuMargin    = 1.2
	// raise is by how much a limit goes up that was reached: what was used under it
	// does not say what would have been.
	raise = 1.5
	// MaxThrottled is the share of periods in which a CPU limit may be reached.
	MaxThrottled = 0.05
)

// suggest reasons from the most that was seen, never from averages, and from the limit
// where that was reached.
func (c *ContainerFigures) suggest() {
	s := &c.Suggested
	s.Why = []string{}
	why := func(format string, args ...any) { s.Why = append(s.Why, fmt.Sprintf(format, args...)) }
	up := func(v, step int64) int64 { return (v + step - 1) / step * step }
	const mi = 1 << 20
	switch {
	case c.OOMKilled > 0:
		s.Limit.Memory = up(max(int64(float64(c.Limit.Memory)*raise), int64(float64(c.Peak.Memory)*memoryMargin)), mi)
		s.Request.Memory = s.Limit.Memory
		why("memory: it was killed at its limit of %s, so that what it used says nothing of what it needs: %g times the limit, as the request too", Bytes(c.Limit.Memory), raise)
	case c.Peak.Memory > 0:
		s.Limit.Memory = up(int64(float64(c.Peak.Memory)*memoryMargin), mi)
		s.Request.Memory = s.Limit.Memory
		why("memory: the most that was seen, %s, and %g %% above it, as request and limit: memory cannot be taken back", Bytes(c.Peak.Memory), math.Round((memoryMargin-1)*100))
	}
	if c.Measured == 0 {
		return
	}
	s.Request.CPU = up(whole(float64(c.Steady)*cpuMargin), 5)
	why("CPU request: the 95th percentile of use, %s, and %g %% above it", Milli(c.Steady), math.Round((cpuMargin-1)*100))
	switch {
	case c.Limit.CPU > 0 && c.Share() > MaxThrottled:
		s.Limit.CPU = up(whole(max(float64(c.Limit.CPU), float64(c.Peak.CPU))*raise), 5)
		s.Request.CPU = max(s.Request.CPU, up(c.Limit.CPU, 5))
		why("CPU limit: it was reached in %.0f %% of the periods, so that what was used says nothing of what is needed: %g times the limit; the request up to the old limit", c.Share()*100, raise)
	case c.Limit.CPU > 0:
		s.Limit.CPU = max(up(whole(float64(c.Peak.CPU)*raise), 5), s.Request.CPU)
		why("CPU limit: %g times the peak of %s, or the request", raise, Milli(c.Peak.CPU))
	}
}

// Milli and Bytes write amounts as Kubernetes does.
func Milli(n int64) string { return resource.NewMilliQuantity(n, resource.DecimalSI).String() }

// Bytes rounds up to Mi.
func Bytes(n int64) string {
	const mi = 1 << 20
	return resource.NewQuantity((n+mi-1)/mi*mi, resource.BinarySI).String()
}
