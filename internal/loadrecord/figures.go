package loadrecord

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/probe"
)

// Figures is what follows from a load drill's sealed record: what findings judge and
// reports show.
type Figures struct {
	Plan drill.Plan `json:"plan"`
	// Refused is why the drill did not begin, Aborted why it ended early. Where it was
	// refused nothing else is set.
	Refused string `json:"refused,omitempty"`
	Aborted string `json:"aborted,omitempty"`
	Run     Run    `json:"run"`

	// Requests of the hold.
	Due    int            `json:"due"`
	Good   int            `json:"good"` // also those that took too long
	Slow   int            `json:"slow"` // of the good ones, those that took longer than the SLO's latency
	Late   int            `json:"late"` // sent late by the generator
	Unsent int            `json:"unsent"`
	Failed map[string]int `json:"failed"` // by outcome, those that were not sent aside
	// Latency from when a request was due, a failed one being slower than any; nil: so
	// many failed. Served99 is from when it was sent.
	P50      *time.Duration `json:"p50"`
	P99      *time.Duration `json:"p99"`
	Served99 *time.Duration `json:"served99"`
	Seconds  []drill.Second `json:"seconds"` // of the hold
	// Weak are the ways in which the generator was at its own limits: with one of them
	// nothing is said of the service.
	Weak []string `json:"weak"`

	Containers []ContainerFigures `json:"containers"`
	// Unseen is what could not be looked at: "kubelet node-a, metrics/cadvisor: …".
	Unseen []string `json:"unseen"`
	// Problems are what is missing, cut or contradicts itself. With one of them
	// nothing passes.
	Problems   []string `json:"problems"`
	Conclusion string   `json:"conclusion"`
}

// Read reads what the collector of that name sealed. It fails where there is no plan
// of a load drill; whatever else is wrong is one of the figures' problems.
func Read(in evidence.ArtifactReader, collector string) (*Figures, error) {
	record, err := drill.ReadRecord(in, collector)
	if err != nil {
		return nil, err
	}
	f := &Figures{Plan: record.Plan, Failed: map[string]int{}, Seconds: []drill.Second{}, Weak: []string{}, Containers: []ContainerFigures{}, Unseen: []string{}, Problems: []string{}}
	if f.Plan.Experiment != drill.Load || f.Plan.Load == nil {
		return nil, fmt.Errorf("%s: it is of the experiment %q", drill.PlanFile, f.Plan.Experiment)
	}
	if c := record.Refused(); c != nil {
		f.Refused = c.Name + ": " + c.Reason
		f.Conclusion = "refused: " + f.Refused
		return f, nil
	}
	f.Aborted = record.End.Aborted
	f.Problems = append(f.Problems, record.Problems...)
	if len(record.Checks) == 0 {
		f.Problems = append(f.Problems, "the preflight asked nothing")
	}
	r := reader{in, collector, f}
	if r.run(record.End.Length) {
		r.requests()
		r.usage()
	}
	f.Conclusion = f.conclude()
	return f, nil
}

type reader struct {
	in        evidence.ArtifactReader
	collector string
	f         *Figures
}

func (r *reader) problem(format string, args ...any) {
	r.f.Problems = append(r.f.Problems, fmt.Sprintf(format, args...))
}

// read returns nil for what is not there.
func (r *reader) read(name string) []byte {
	raw, err := r.in.Read(path.Join("artifacts", r.collector, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.problem("%s: %v", name, err)
	}
	return raw
}

func (r *reader) run(length time.Duration) bool {
	raw := r.read(RunFile)
	if raw == nil {
		r.problem("%s is missing: no load was sent", RunFile)
		return false
	}
	run, plan := &r.f.Run, r.f.Plan.Load
	if err := json.Unmarshal(raw, run); err != nil {
		r.problem("%s: %v", RunFile, err)
		return false
	}
	switch {
	case run.Rate != plan.Rate || run.Hold != time.Duration(plan.Hold) || run.Ramp != time.Duration(plan.Ramp):
		r.problem("%s: it is of another plan", RunFile)
	case plan.Address != "" && run.Address != plan.Address:
		r.problem("%s: it was sent to another address than the plan's", RunFile)
	case run.Method != plan.Method && (plan.Method != "" || run.Method != probe.HealthCheck), strings.HasPrefix(run.Address, "grpc") != (run.Method != ""):
		r.problem("%s: it called another method than the plan's", RunFile)
	case (run.Sender != "") != plan.FromPod:
		r.problem("%s: it was not sent from where the plan says", RunFile)
	case run.Stopped != "" && r.f.Aborted == "":
		r.problem("%s: it was stopped (%s), and the drill was not aborted", RunFile, run.Stopped)
	case run.From < 0 || run.To < run.From || run.To > length || run.Stopped == "" && run.To-run.From != run.Hold:
		r.problem("%s: a hold from %s to %s", RunFile, run.From, run.To)
	default:
		return true
	}
	return false
}

func (r *reader) requests() {
	f, slow := r.f, time.Duration(r.f.Plan.SLO.Latency)
	samples, seconds := r.read(SamplesFile), r.read(SecondsFile)
	q, list, err := f.Run.Requests(samples, seconds)
	if err != nil {
		r.problem("%v", err)
		return
	}
	f.Due, f.Good, f.Late, f.Unsent, f.Failed = q.Due, q.Good, q.Late, q.Unsent, q.Failed
	if slow > 0 {
		f.Slow = q.Slow(slow)
	}
	quantile := func(of func(float64) (time.Duration, bool), at float64) *time.Duration {
		d, ok := of(at)
		if !ok {
			return nil
		}
		return &d
	}
	f.P50, f.P99, f.Served99 = quantile(q.Took, 0.5), quantile(q.Took, 0.99), quantile(q.Served, 0.99)
	f.Weak = append(f.Weak, f.Run.Weak(q)...)
	f.Seconds = list
	raw := r.read(RampFile)
	if ramp, err := loadcount.DecodeSeconds(raw); err != nil {
		r.problem("%s: %v", RampFile, err)
	} else if len(ramp) != loadcount.SecondsOf(f.Run.Ramp) {
		r.problem("%s: %d seconds, of a ramp of %s", RampFile, len(ramp), f.Run.Ramp)
	}
}

func (r *reader) usage() {
	raw := r.read(UsageFile)
	list, err := DecodeUsage(raw)
	if err != nil {
		r.problem("%s: %v", UsageFile, err)
		return
	}
	r.f.Containers = append(r.f.Containers, Containers(list, r.f.Run.From, r.f.Run.To)...)
	times, last, said := map[string]int{}, map[string]string{}, false
	for i := range list {
		if x := list[i].Failed; x != nil {
			if x.What == Pods && list[i].At >= r.f.Run.To && !said {
				said = true
				r.problem("whether containers were killed or restarted is not known: pods could not be looked at after the load: %s", x.Error)
			}
			times[x.What]++
			last[x.What] = x.Error
		}
	}
	for _, what := range slices.Sorted(maps.Keys(times)) {
		r.f.Unseen = append(r.f.Unseen, fmt.Sprintf("%s: %s (%d times)", what, last[what], times[what]))
	}
}

// secondsOf sums up single requests for plots, by when they were due.
func secondsOf(list []probe.Sample, rate float64, hold time.Duration) []loadcount.Second {
	out := make([]loadcount.Second, loadcount.SecondsOf(hold))
	for i, s := range list {
		out[min(int(float64(i)/rate), len(out)-1)].Add(s)
	}
	return out
}

// plot is what plots show of seconds.
func plot(list []loadcount.Second) []drill.Second {
	out := make([]drill.Second, len(list))
	for i := range list {
		s := &list[i]
		out[i] = drill.Second{Due: s.Due, Good: s.Good}
		left := (s.Good*99 + 99) / 100
		for _, e := range s.Took {
			if left -= e[1]; left <= 0 {
				out[i].P99 = loadcount.Edge(e[0])
				break
			}
		}
	}
	return out
}

// Bad is how many requests failed that were sent.
func (f *Figures) Bad() int {
	n := 0
	for _, k := range f.Failed {
		n += k
	}
	return n
}

func (f *Figures) conclude() string {
	switch {
	case len(f.Problems) > 0:
		return "not measured: " + f.Problems[0]
	case len(f.Weak) > 0:
		return "not sustained by the generator: " + strings.Join(f.Weak, "; ")
	case f.Aborted != "":
		return "aborted: " + f.Aborted
	}
	parts := []string{fmt.Sprintf("%g requests a second%s for %s: %d of %d failed", f.Run.Rate, f.Run.Called(), f.Run.Hold, f.Bad()+f.Slow, f.Due)}
	if f.P99 != nil {
		parts = append(parts, "99th percentile "+f.P99.Round(100*time.Microsecond).String())
	}
	throttled, killed := 0, 0
	for i := range f.Containers {
		if f.Containers[i].Share() > MaxThrottled {
			throttled++
		}
		killed += f.Containers[i].OOMKilled
	}
	if throttled > 0 {
		parts = append(parts, fmt.Sprintf("%d containers throttled", throttled))
	}
	if killed > 0 {
		parts = append(parts, fmt.Sprintf("%d killed for want of memory", killed))
	}
	return strings.Join(parts, "; ")
}
