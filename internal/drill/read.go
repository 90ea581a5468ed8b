package drill

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/probe"
)

// Bounds of what is read of a record.
const (
	maxTimeline = 8 << 20 // bytes
	maxLine     = 64 << 10
	maxEvents   = 200_000
	maxFile     = 1 << 20 // of plan, preflight and end
	// maxNames is how many budgets, Services, nodes and workloads there may be, of each.
	maxNames = 1000
	// cleanup is how long restoring, which watches see too, may take after the end.
	cleanup = 5 * time.Minute
)

// Marks, in the order in which phases begin.
const (
	MarkBefore  = "before"
	MarkFault   = "fault"
	MarkRecover = "recover"
	MarkAfter   = "after"
	MarkEnd     = "end"
)

// Record is what a drill sealed, as values.
type Record struct {
	Plan   Plan
	Checks []Check
	Events []Event
	End    End
	// Probes are the samples, in the order of the plan's probes; nil where a file is
	// missing or cannot be read. Of a cut file it is what there is.
	Probes []*probe.Series
	// Problems are what is missing, cut or contradicts itself.
	Problems []string

	ended bool // there is an end
}

// Refused is the question of the preflight that was answered with no, so that the
// drill did not begin; nil: there was none.
func (r *Record) Refused() *Check {
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return !c.OK })
	if i < 0 || len(r.Events) > 0 {
		return nil
	}
	return &r.Checks[i]
}

// seen are the events until the end of the drill: what restoring changes is none of
// its effects.
func (r *Record) seen() []Event {
	if !r.ended {
		return r.Events
	}
	n, _ := slices.BinarySearchFunc(r.Events, r.End.Length, func(e Event, end time.Duration) int { return cmp.Compare(e.At, end+1) })
	return r.Events[:n]
}

// ReadRecord reads what the collector sealed. It fails where no plan can be read;
// whatever else is wrong is one of the record's problems.
func ReadRecord(in evidence.ArtifactReader, collector string) (*Record, error) {
	r := &Record{}
	read := func(name string) ([]byte, error) {
		raw, err := in.Read(path.Join("artifacts", collector, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is missing", name)
		}
		return raw, err
	}
	parse := func(name string, into any) error {
		raw, err := read(name)
		if err != nil {
			return err
		}
		if len(raw) > maxFile {
			return fmt.Errorf("%s: %d bytes, more than %d", name, len(raw), maxFile)
		}
		if err := strict(raw, into); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	if err := parse(PlanFile, &r.Plan); err != nil {
		return nil, err
	}
	if err := r.Plan.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", PlanFile, err)
	}
	note := func(err error) bool {
		if err != nil {
			r.problem("%v", err)
		}
		return err == nil
	}
	note(parse(PreflightFile, &r.Checks))
	r.ended = note(parse(EndFile, &r.End))
	if r.ended {
		r.checkEnd()
	}
	if raw, err := read(TimelineFile); note(err) {
		r.readTimeline(raw)
	}
	for _, p := range r.Plan.Probes {
		raw, err := read(ProbeFile(p.Name))
		var s *probe.Series
		if note(err) {
			if s, err = probe.Read(raw); err != nil {
				r.problem("%s: %v", ProbeFile(p.Name), err)
			}
		}
		r.Probes = append(r.Probes, s)
	}
	return r, nil
}

func (r *Record) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// strict reads one JSON value that knows no other keys.
func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands after the value")
	}
	return nil
}

func (r *Record) checkEnd() {
	e := &r.End
	if e.Began.IsZero() || e.Length <= 0 || e.Length > 2*maxDeadline {
		r.problem("%s: a drill that began at %s and took %s", EndFile, e.Began.Format(time.RFC3339), e.Length)
		r.ended = false
		e.Length = 0
	}
	for _, g := range e.Lost {
		if g.From < 0 || g.To < g.From {
			r.problem("%s: a gap from %s to %s", EndFile, g.From, g.To)
		}
	}
}

// readTimeline reads the events up to the first that is wrong.
func (r *Record) readTimeline(raw []byte) {
	if len(raw) > maxTimeline {
		r.problem("%s: %d bytes, more than %d", TimelineFile, len(raw), maxTimeline)
		return
	}
	var last time.Duration
	names := map[string]map[string]bool{}
	marks := []string{MarkBefore, MarkFault, MarkRecover, MarkAfter, MarkEnd}
	wrong := func(n int, err error) { r.problem("%s: line %d: %v", TimelineFile, n, err) }
	n := 0
	for len(raw) > 0 {
		n++
		line, rest, whole := bytes.Cut(raw, []byte{'\n'})
		if raw = rest; !whole {
			wrong(n, errors.New("it is cut"))
			return
		}
		if len(line) > maxLine || n > maxEvents {
			wrong(n, fmt.Errorf("more than %d bytes in a line, or more than %d lines", maxLine, maxEvents))
			return
		}
		var e Event
		err := strict(line, &e)
		if err == nil {
			err = e.check(last)
		}
		if err == nil {
			err = e.named(names)
		}
		if err == nil && e.Mark != "" {
			i := slices.Index(marks, e.Mark)
			if i < 0 {
				err = fmt.Errorf("mark %.40q is not known, or out of order", e.Mark)
			} else {
				marks = marks[i+1:]
			}
		}
		if err != nil {
			wrong(n, err)
			return
		}
		last = e.At
		r.Events = append(r.Events, e)
	}
	if r.ended && last > r.End.Length+cleanup {
		r.problem("%s: its last event is %s after the end", TimelineFile, last-r.End.Length)
	}
	if n == 0 {
		r.problem("%s is empty", TimelineFile)
	}
}

// named counts what there is of each kind: what follows from a record takes time for
// each of it.
func (e *Event) named(names map[string]map[string]bool) error {
	var kind, name string
	switch {
	case e.Budget != nil:
		kind, name = "budgets", e.Budget.Name
	case e.Endpoints != nil:
		kind, name = "Services", e.Endpoints.Service
	case e.Node != nil:
		kind, name = "nodes", e.Node.Name
	case e.Workload != nil:
		kind, name = "workloads", e.Workload.Name
	default:
		return nil
	}
	if names[kind] == nil {
		names[kind] = map[string]bool{}
	}
	if names[kind][name] = true; len(names[kind]) > maxNames {
		return fmt.Errorf("more than %d %s", maxNames, kind)
	}
	return nil
}

func (e *Event) check(last time.Duration) error {
	set := 0
	for _, there := range []bool{e.Mark != "", e.Action != nil, e.Pod != nil, e.Budget != nil, e.Endpoints != nil, e.Node != nil, e.Workload != nil, e.Query != nil} {
		if there {
			set++
		}
	}
	switch {
	case set != 1:
		return fmt.Errorf("%d things in one event, want one", set)
	case e.At < last || e.At < 0:
		return fmt.Errorf("an event at %s after one at %s", e.At, last)
	case e.Pod != nil && (e.Pod.UID == "" || e.Pod.Name == ""):
		return errors.New("a pod without a name or a UID")
	case e.Query != nil && e.Query.Error == "" && !(e.Query.Value >= 0 && e.Query.Value <= 1):
		return fmt.Errorf("the query's answer is %v: want a share from 0 to 1", e.Query.Value)
	}
	return nil
}
