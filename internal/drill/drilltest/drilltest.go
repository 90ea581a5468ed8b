// Package drilltest makes records of drills by hand, for tests of what follows from
// them.
package drilltest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/probe"
)

// Files are artifacts by their names in evidence.zip: an evidence.ArtifactReader.
type Files map[string][]byte

// Read implements evidence.ArtifactReader.
func (f Files) Read(name string) ([]byte, error) {
	if raw, ok := f[name]; ok {
		return raw, nil
	}
	return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// Names implements evidence.ArtifactReader.
func (f Files) Names() []string { return slices.Sorted(maps.Keys(f)) }

// Began is when every drill here began.
var Began = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

// Drill is a record in the making. What New returns went well in every respect.
type Drill struct {
	Plan   drill.Plan
	Checks []drill.Check
	Events []drill.Event // Files sorts them by time
	End    drill.End
	// Sample is what became of the request of a probe that was due at that time; nil:
	// each was good after 2 ms.
	Sample func(name string, due time.Duration) probe.Sample
}

// Good is a good answer after that time.
func Good(took time.Duration) probe.Sample { return probe.Sample{Took: took} }

// Bad is an answer that was not good, after a millisecond.
func Bad(outcome string) probe.Sample {
	return probe.Sample{Took: time.Millisecond, Outcome: outcome}
}

// Second is that many seconds of a drill.
func Second(s float64) time.Duration { return time.Duration(math.Round(s*1000)) * time.Millisecond }

// Pod is a pod of Deployment/web in namespace shop, by its last name.
func Pod(name string) drill.Pod {
	return drill.Pod{
		Name: "shop/web-" + name, UID: "uid-" + name, Owner: "Deployment/web", Node: "node-" + name, Labels: map[string]string{"app": "web"},
		Phase: "Running", Ready: true, Created: at(-3600),
	}
}

func at(s float64) *time.Time {
	t := Began.Add(Second(s))
	return &t
}

// New returns an experiment on shop's Deployment web: of its pods a, b and c, the
// first goes at 10 s, and d is ready in its place at 14 s. A budget wants two.
func New(e drill.Experiment) *Drill {
	d := &Drill{
		Plan: drill.Plan{
			Experiment: e, Target: drill.Target{Workload: "Deployment/web"}, AllowNamespaces: []string{"shop"},
			Probes: []drill.Probe{{Name: "web", Address: "http://10.96.0.10:80/", Service: "shop/web"}},
		},
		Checks: []drill.Check{{Name: "steady", OK: true, Reason: "3 of 3 pods are ready"}},
		End:    drill.End{Began: Began, Length: 25 * time.Second, Restored: []string{}},
	}
	d.Plan.Complete()
	for s, mark := range map[float64]string{0: drill.MarkBefore, 10: drill.MarkFault, 12: drill.MarkRecover, 15: drill.MarkAfter, 25: drill.MarkEnd} {
		d.Events = append(d.Events, drill.Event{At: Second(s), Mark: mark})
	}
	d.Add(0, drill.Workload{Name: "shop/Deployment/web", Want: 3, Ready: 3, Updated: 3, Available: 3, Current: true})
	d.Add(0, drill.Budget{Name: "shop/web", Selector: map[string]string{"app": "web"}, Desired: 2, Healthy: 3, Expected: 3, Allowed: 1})
	d.Add(0, drill.Endpoints{Service: "shop/web", Ready: 3, Serving: 3})
	for _, n := range []string{"a", "b", "c"} {
		d.Add(0, Pod(n))
	}
	verb, code := "delete", 200
	switch e {
	case drill.Eviction:
		verb, code = "evict", 201
	case drill.NodeDrain, drill.ZoneDrain:
		verb, code = "evict", 201
		d.Add(9.999, drill.Node{Name: "node-a", Zone: "zone-a", Ready: true})
		d.Add(10, drill.Action{Verb: "cordon", Object: "Node node-a", Code: 200})
		d.Add(10, drill.Node{Name: "node-a", Zone: "zone-a", Ready: true, Unschedulable: true})
		d.Add(15, drill.Action{Verb: "uncordon", Object: "Node node-a", Code: 200})
		d.Add(15, drill.Node{Name: "node-a", Zone: "zone-a", Ready: true})
		d.End.Restored = []string{"uncordoned node-a"}
	case drill.RollingRestart:
		verb = "restart"
	case drill.ContainerKill:
		verb = "kill"
	}
	object := "Pod shop/web-a"
	if verb == "restart" {
		object = "Deployment shop/web"
	}
	d.Add(10, drill.Action{Verb: verb, Object: object, UID: "uid-a", Code: code})
	d.Add(10.1, drill.Workload{Name: "shop/Deployment/web", Want: 3, Ready: 2, Updated: 3, Available: 2, Current: true})
	d.Add(10.1, drill.Endpoints{Service: "shop/web", Ready: 2, Serving: 3, Terminating: 1})
	gone, fresh := Pod("a"), Pod("d")
	gone.Labels, fresh.Ready, fresh.Created = nil, false, at(10)
	gone.Deleting = true
	if e == drill.ContainerKill {
		gone.Deleting, gone.Ready = false, false
		d.Add(10.1, gone)
		gone.Ready, gone.Restarts = true, 1
		d.Add(14, gone)
	} else {
		d.Add(10.1, gone)
		gone.Gone = true
		d.Add(11, gone)
		d.Add(10.2, fresh)
		fresh.Ready, fresh.Scheduled, fresh.Pulled, fresh.ReadyAt = true, at(10), at(11), at(14)
		d.Add(14, fresh)
	}
	if e == drill.RollingRestart {
		for old, fresh := range map[string]string{"b": "e", "c": "f"} {
			one, two := Pod(fresh), Pod(old)
			one.Created, one.ReadyAt = at(11), at(12)
			two.Labels, two.Gone = nil, true
			d.Add(12, one)
			d.Add(13, two)
		}
	}
	d.Add(14, drill.Endpoints{Service: "shop/web", Ready: 3, Serving: 3})
	d.Add(14.1, drill.Workload{Name: "shop/Deployment/web", Want: 3, Ready: 3, Updated: 3, Available: 3, Current: true})
	return d
}

// Add adds an event: one of the types that drill.Event points to.
func (d *Drill) Add(second float64, what any) {
	e := drill.Event{At: Second(second)}
	switch v := what.(type) {
	case drill.Action:
		e.Action = &v
	case drill.Pod:
		e.Pod = &v
	case drill.Budget:
		e.Budget = &v
	case drill.Endpoints:
		e.Endpoints = &v
	case drill.Node:
		e.Node = &v
	case drill.Workload:
		e.Workload = &v
	case drill.Sampled:
		e.Query = &v
	default:
		panic(fmt.Sprintf("drilltest: no event of %T", what))
	}
	d.Events = append(d.Events, e)
}

// Drop removes the events that match.
func (d *Drill) Drop(match func(drill.Event) bool) { d.Events = slices.DeleteFunc(d.Events, match) }

// Shift moves the drill, and all that was seen in it, to another day or hour.
func (d *Drill) Shift(by time.Duration) {
	d.End.Began = d.End.Began.Add(by)
	for i := range d.Events {
		if p := d.Events[i].Pod; p != nil {
			for _, t := range []**time.Time{&p.Created, &p.Scheduled, &p.Pulled, &p.ReadyAt} {
				if *t != nil {
					moved := (*t).Add(by)
					*t = &moved
				}
			}
		}
	}
}

// Fail makes the requests of every probe that are due in a span fail with an outcome.
func (d *Drill) Fail(from, to float64, outcome string) {
	next := d.Sample
	d.Sample = func(name string, due time.Duration) probe.Sample {
		switch {
		case due >= Second(from) && due < Second(to):
			return Bad(outcome)
		case next != nil:
			return next(name, due)
		}
		return Good(2 * time.Millisecond)
	}
}

// Timeline is the events as they are sealed.
func (d *Drill) Timeline() []byte {
	slices.SortStableFunc(d.Events, func(a, b drill.Event) int { return cmp.Compare(a.At, b.At) })
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range d.Events {
		if err := enc.Encode(e); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

// Samples is a probe's file, up to a time.
func (d *Drill) Samples(p drill.Probe, until time.Duration) []byte {
	h := probe.Header{
		Version: 1, Name: p.Name, Kind: p.Kind, Address: p.Address, Rate: p.Rate, Timeout: time.Duration(p.Timeout), Start: d.End.Began, From: "outside",
	}
	head, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	b.Write(head)
	b.WriteByte('\n')
	n := 0
	for ; h.Due(n) < until; n++ {
		s := Good(2 * time.Millisecond)
		if d.Sample != nil {
			s = d.Sample(p.Name, h.Due(n))
		}
		if s.Outcome == probe.Unsent {
			s.Took = s.Late
		}
		fmt.Fprintf(&b, "%d,%d,%s\n", s.Late.Microseconds(), max(s.Late, s.Took).Microseconds(), s.Outcome)
	}
	fmt.Fprintf(&b, "end,%d\n", n)
	return []byte(b.String())
}

// Files are what a collector of that name would have sealed.
func (d *Drill) Files(collector string) Files {
	out := Files{}
	put := func(name string, v any) {
		raw, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		out["artifacts/"+collector+"/"+name] = raw
	}
	put(drill.PlanFile, d.Plan)
	put(drill.PreflightFile, d.Checks)
	put(drill.EndFile, d.End)
	out["artifacts/"+collector+"/"+drill.TimelineFile] = d.Timeline()
	for _, p := range d.Plan.Probes {
		out["artifacts/"+collector+"/"+drill.ProbeFile(p.Name)] = d.Samples(p, d.End.Length)
	}
	return out
}

var _ evidence.ArtifactReader = Files{}
