package drillrun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
)

// abortError is why a drill was aborted: a reason that goes into its record.
type abortError struct{ reason string }

func (e *abortError) Error() string { return e.reason }

func abortf(format string, args ...any) error { return &abortError{fmt.Sprintf(format, args...)} }

// Run does a drill and seals what was seen. A preflight that refuses, and a drill that
// was aborted, are results as well: they are sealed, and End.Aborted says why. The error is
// of what kept Run from sealing; when ctx ends, Run restores what was touched, seals nothing,
// and returns why ctx ended.
func Run(ctx context.Context, s Session, out evidence.ArtifactWriter) error {
	began := s.Now()
	checks, err := s.beforeLease(ctx)
	if err != nil {
		return err
	}
	if refused(checks) != "" {
		return s.sealRefusal(out, checks, began, nil)
	}
	g, restored, err := take(ctx, s.Cluster, s.Now, s.say)
	if held := new(HeldError); errors.As(err, &held) {
		return s.sealRefusal(out, append(checks, drill.Check{Name: "alone", Reason: held.Error()}), began, nil)
	}
	if err != nil {
		return err
	}
	for i := range restored {
		restored[i] += ", which an earlier drill had left behind"
	}
	w, more, err := s.whenSteady(ctx, len(restored) > 0)
	checks = append(checks, more...)
	if err != nil || refused(checks) != "" {
		if e := g.cleanRelease(ctx); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
		return s.sealRefusal(out, checks, began, restored)
	}
	d := &run{s: &s, g: g, w: w, end: drill.End{Restored: append([]string{}, restored...)}}
	if err := d.run(ctx); err != nil {
		return err
	}
	return d.seal(out, checks)
}

// refused is the first reason not to begin; empty: there is none.
func refused(checks []drill.Check) string {
	for _, c := range checks {
		if !c.OK {
			return c.Name + ": " + c.Reason
		}
	}
	return ""
}

func (s *Session) sealRefusal(out evidence.ArtifactWriter, checks []drill.Check, began time.Time, restored []string) error {
	end := drill.End{Began: began.UTC(), Aborted: "refused: " + refused(checks), Restored: append([]string{}, restored...)}
	return errors.Join(collectors.WriteJSON(out, drill.PlanFile, s.Plan), collectors.WriteJSON(out, drill.PreflightFile, checks), collectors.WriteJSON(out, drill.EndFile, end))
}

// run is a drill that holds the Lease.
type run struct {
	s        *Session
	g        *guard
	w        *World
	end      drill.End
	timeline []byte
	samples  map[string][]byte
}

// run runs the drill, restores, and gives up the Lease. It returns an error only
// where nothing is to be sealed.
func (d *run) run(parent context.Context) error {
	began := d.s.Now()
	d.end.Began = began.UTC()
	rec := newRecorder(d.s, began)
	live := &Live{Session: d.s, World: d.w, guard: d.g, recorder: rec, began: began}

	ctx, abort := context.WithCancelCause(parent)
	defer abort(nil)
	if limit := time.Duration(d.s.Plan.Phases.Deadline); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, abortf("not done within its deadline of %s", limit))
		defer cancel()
	}
	// The watches see the restoring too, and the Lease is ours until that is done.
	lasting, stop := context.WithCancel(context.WithoutCancel(parent))
	defer stop()
	var group sync.WaitGroup
	group.Go(func() {
		select {
		case err := <-d.g.lost:
			abort(abortf("%v", err))
		case <-lasting.Done():
		}
	})
	failure := d.drill(ctx, lasting, abort, live, &group)
	rec.mark("end")
	d.end.Length = rec.at()
	abort(nil) // who monitors has nothing more to do

	// What was touched comes first, whatever becomes of the probes. Those are stopped
	// before their pod is removed, which holds what they measured.
	d.restore(parent, false)
	d.stopProbes(context.WithoutCancel(parent), rec)
	d.restore(parent, true)
	clean, cancel := context.WithTimeout(context.WithoutCancel(parent), restoreLimit)
	defer cancel()
	if parent.Err() == nil {
		skew, bound, err := clockSkew(clean, d.s.Cluster, d.s.Now)
		if err != nil {
			d.end.Lost = append(d.end.Lost, drill.Gap{What: "the API server's clock at the end: " + oneLine(err.Error()), From: d.end.Length, To: d.end.Length})
		}
		d.end.SkewEnd, d.end.SkewError = skew, max(d.end.SkewError, bound)
	}
	stop()
	group.Wait()
	var lost []drill.Gap
	d.timeline, lost = rec.end(d.end.Length)
	d.end.Lost = append(d.end.Lost, lost...)
	if err := d.g.release(clean); err != nil {
		d.end.NotRestored = append(d.end.NotRestored, oneLine(err.Error()))
	}
	for _, what := range d.end.NotRestored { // an interrupted drill seals nothing that would say so
		d.s.say("not put back: " + what + "; see helmproof drill restore")
	}
	if parent.Err() != nil {
		err := context.Cause(parent)
		if len(d.end.NotRestored) > 0 {
			return fmt.Errorf("%w; not restored: %s", err, strings.Join(d.end.NotRestored, "; "))
		}
		return err
	}
	if failure != nil {
		d.end.Aborted = oneLine(failure.Error())
	}
	return nil
}

// restore puts back what is in the record, in a time of its own.
func (d *run) restore(parent context.Context, pods bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), restoreLimit)
	defer cancel()
	done, problems := d.g.restore(ctx, pods)
	for _, what := range done {
		d.s.say(what)
	}
	d.end.Restored = append(d.end.Restored, done...)
	d.end.NotRestored = problems // of before, those that are still there
}

func (d *run) stopProbes(ctx context.Context, rec *recorder) {
	rec.mu.Lock()
	p := rec.probe
	rec.mu.Unlock()
	if p == nil {
		return
	}
	var err error
	if d.samples, err = p.Stop(ctx); err != nil {
		d.end.Lost = append(d.end.Lost, drill.Gap{What: "probes: " + oneLine(err.Error()), To: d.end.Length})
	}
}

// drill goes through the phases. Its error is why it was aborted.
func (d *run) drill(ctx, lasting context.Context, abort context.CancelCauseFunc, l *Live, group *sync.WaitGroup) error {
	s, rec := d.s, l.recorder
	var err error
	if d.end.SkewStart, d.end.SkewError, err = clockSkew(ctx, s.Cluster, s.Now); err != nil {
		return abortReason(ctx, fmt.Errorf("ask for the API server's clock: %w", err))
	}
	if err := rec.watch(ctx, lasting, group); err != nil {
		return abortReason(ctx, fmt.Errorf("begin to watch: %w", err))
	}
	if s.Probe != nil && len(s.Plan.Probes) > 0 {
		p, err := s.Probe(ctx, l)
		if err != nil {
			return abortReason(ctx, fmt.Errorf("start the probes: %w", err))
		}
		rec.mu.Lock()
		rec.probe = p
		rec.mu.Unlock()
	}
	group.Go(func() { d.monitor(ctx, abort, rec) })
	if p := s.Plan.Prometheus; p != nil {
		group.Go(func() { sample(ctx, p, rec) })
	}
	rec.mark("before")
	if err := pause(ctx, time.Duration(s.Plan.Phases.Before)); err != nil {
		return abortReason(ctx, err)
	}
	if err := steady(rec); err != nil {
		return abortReason(ctx, err)
	}
	rec.mark("fault")
	if err := s.fault(ctx, l); err != nil {
		return abortReason(ctx, fmt.Errorf("the experiment failed: %w", err))
	}
	rec.mark("recover")
	if err := d.recovered(ctx, l); err != nil {
		return abortReason(ctx, err)
	}
	rec.mark("after")
	return abortReason(ctx, pause(ctx, time.Duration(s.Plan.Phases.After)))
}

// fault runs the experiment. What it touched is restored also if it panics.
func (s *Session) fault(ctx context.Context, l *Live) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.Fault(ctx, l)
}

// recovered waits until all is ready again. That it is not in time is a result.
func (d *run) recovered(ctx context.Context, l *Live) error {
	limit := time.Duration(d.s.Plan.Phases.Recover)
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := l.AwaitReady(within)
	if err != nil && ctx.Err() == nil {
		d.s.say(fmt.Sprintf("not ready again within %s", limit))
		return nil
	}
	return err
}

// abortReason prefers why the drill's context ended to what failed because of that.
func abortReason(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// steady refuses to begin the fault where the release is not whole any more, as it was
// for the preflight, or probes do not answer.
func steady(rec *recorder) error {
	rec.mu.Lock()
	p, whole := rec.probe, rec.state.whole()
	rec.mu.Unlock()
	if !whole {
		return abortf("the release is not steady any more: a pod of it is not ready, or a rollout has begun, before the fault")
	}
	if p == nil {
		return nil
	}
	for _, c := range p.Live() {
		if c.Due == 0 {
			return abortf("probe %s had no answer before the fault", c.Probe)
		}
		if c.Failed*100 > c.Due {
			return abortf("probe %s: %d of %d requests failed before the fault", c.Probe, c.Failed, c.Due)
		}
	}
	return nil
}

// monitor aborts the drill as soon as there is a reason to.
func (d *run) monitor(ctx context.Context, abort context.CancelCauseFunc, rec *recorder) {
	for pause(ctx, 200*time.Millisecond) == nil {
		if err := rec.trouble(); err != nil {
			abort(abortf("%v", err))
			return
		}
		rec.mu.Lock()
		p := rec.probe
		rec.mu.Unlock()
		if p == nil {
			continue
		}
		if err := p.Err(); err != nil {
			abort(abortf("the prober was lost: %v", err))
			return
		}
		if err := overBudget(&d.s.Plan, p.Live()); err != nil {
			abort(err)
			return
		}
	}
}

// overBudget says which probe has spent more than the drill may.
func overBudget(plan *drill.Plan, counts []Count) error {
	limit := plan.SLO.Allowed()
	for _, c := range counts {
		i := slices.IndexFunc(plan.Probes, func(p drill.Probe) bool { return p.Name == c.Probe })
		if i < 0 || plan.Probes[i].Rate <= 0 {
			continue
		}
		// A hair more than the limit is rounding, and not a request.
		if spent := float64(c.Failed) / plan.Probes[i].Rate; spent > limit*(1+1e-9) {
			return abortf("error budget exhausted: probe %s has spent %.2f of %.2f s", c.Probe, spent, limit)
		}
	}
	return nil
}

// seal writes what was seen.
func (d *run) seal(out evidence.ArtifactWriter, checks []drill.Check) error {
	for _, p := range slices.Sorted(maps.Keys(d.samples)) {
		if err := out.Write(drill.ProbeFile(p), d.samples[p]); err != nil {
			return err
		}
	}
	return errors.Join(
		collectors.WriteJSON(out, drill.PlanFile, d.s.Plan), collectors.WriteJSON(out, drill.PreflightFile, checks),
		out.Write(drill.TimelineFile, d.timeline), collectors.WriteJSON(out, drill.EndFile, d.end))
}
