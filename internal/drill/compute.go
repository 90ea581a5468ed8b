package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/probe"
)

// What is bearable of a measurement.
const (
	// lateLimit is how late the prober may send a request. One that it held up
	// longer says more of the prober than of the service.
	lateLimit = 500 * time.Millisecond
	// jumpLimit is how far a clock may be set.
	jumpLimit = time.Second
	// edge is how much of the first and the last phase samples need not cover.
	edge = 2 * time.Second
	// queryGap is how long Prometheus may leave unanswered.
	queryGap = 5 * time.Second
	// patience is how long requests may wait for a good answer where less is to be spent.
	patience = 5 * time.Second
	// answering is how long a probe's requests have to be good, all of them, until
	// the service is said to answer again.
	answering = time.Second
)

// Figures are what follows from the record. It is a pure function of it.
func (r *Record) Figures() Figures {
	f := Figures{
		Plan: r.Plan, Began: r.End.Began, Length: r.End.Length, Aborted: r.End.Aborted,
		Phases: r.phases(), Marks: []Mark{}, Probes: []ProbeFigures{}, Problems: slices.Clone(r.Problems),
	}
	if n := len(r.Events); f.Length == 0 && n > 0 {
		f.Length = min(r.Events[n-1].At, 2*maxDeadline) // there is no end, which is a problem already
	}
	c := computation{Record: r, f: &f}
	c.budgetSeconds()
	if check := r.Refused(); check != nil {
		f.Conclusion = "the drill did not begin: " + check.Name + ": " + check.Reason
		f.Violations, f.Pods, f.Problems = []Violation{}, []PodFigures{}, []string{f.Conclusion}
		return f
	}
	for i, p := range r.Plan.Probes {
		if s := r.Probes[i]; s != nil {
			f.Probes = append(f.Probes, c.probe(p, s))
		}
	}
	c.query()
	c.actions()
	c.recovery()
	v, problems := violations(r.seen(), f.Length)
	f.Violations = v
	f.Problems = append(f.Problems, problems...)
	f.Ready = readyPoints(r.seen())
	c.pods()
	c.problems()
	if f.Problems == nil {
		f.Problems = []string{}
	}
	f.Conclusion = f.conclude()
	return f
}

// phases are the spans between marks.
func (r *Record) phases() []Span {
	out := []Span{}
	for i := range r.Events {
		e := &r.Events[i]
		if e.Mark == "" {
			continue
		}
		if n := len(out); n > 0 {
			out[n-1].To = e.At
		}
		if e.Mark != MarkEnd {
			out = append(out, Span{Name: e.Mark, From: e.At, To: max(e.At, r.End.Length)})
		}
	}
	return out
}

// Phase is the span of that name.
func (f *Figures) Phase(name string) (Span, bool) {
	i := slices.IndexFunc(f.Phases, func(s Span) bool { return s.Name == name })
	if i < 0 {
		return Span{}, false
	}
	return f.Phases[i], true
}

// computation is one Figures in the making.
type computation struct {
	*Record
	f *Figures
}

func (c *computation) problem(format string, args ...any) {
	c.f.Problems = append(c.f.Problems, fmt.Sprintf(format, args...))
}

func (c *computation) budgetSeconds() {
	b := &c.f.Budget
	b.Seconds = (1 - c.Plan.SLO.Objective) * time.Duration(c.Plan.SLO.Window).Seconds()
	b.Allowed = b.Seconds * c.Plan.SLO.Share
}

// spend counts what one way of measuring says was spent; the worst counts.
func (c *computation) spend(seconds float64) {
	b := &c.f.Budget
	b.Spent = max(b.Spent, seconds)
	if b.Seconds > 0 {
		b.Share = b.Spent / b.Seconds
	}
}

// String is "0.4 of 3.6 s of the error budget spent".
func (b BudgetFigures) String() string {
	digits := 1
	if b.Allowed < 1 {
		digits = 3
	}
	return fmt.Sprintf("%.*f of %.*f s of the error budget spent", digits, b.Spent, digits, b.Allowed)
}

// Over reports whether more was spent than the drill may spend. What floats lose
// on the way is not counted.
func (b BudgetFigures) Over() bool { return b.Spent > b.Allowed*(1+1e-9) }

// offset is when the probe's first request was due, from Began.
func (r *Record) offset(s *probe.Series) time.Duration {
	if r.End.Began.IsZero() {
		return 0
	}
	return s.Header.Start.Sub(r.End.Began)
}

func (c *computation) probe(p Probe, s *probe.Series) ProbeFigures {
	out := ProbeFigures{Name: p.Name, Address: p.Address, Rate: s.Header.Rate, Due: len(s.Samples), Outcomes: map[string]int{}, Seconds: []Second{}}
	h := &s.Header
	if h.Name != p.Name || h.Kind != p.Kind || h.Address != p.Address || h.Rate != p.Rate || h.Timeout != time.Duration(p.Timeout) {
		c.problem("probe %s: its samples are of another probe than the plan's", p.Name)
	}
	slow, offset := time.Duration(c.Plan.SLO.Latency), c.offset(s)
	phases := map[string][]time.Duration{}
	in := map[string]int{}
	var seconds [][]time.Duration
	good := 0
	for i, sample := range s.Samples {
		at := offset + h.Due(i)
		name := c.phaseAt(at)
		in[name]++
		n := int(at / time.Second)
		if at >= 0 && at <= c.f.Length+time.Minute {
			for len(out.Seconds) <= n {
				out.Seconds, seconds = append(out.Seconds, Second{}), append(seconds, nil)
			}
			out.Seconds[n].Due++
		} else {
			n = -1
		}
		switch {
		case sample.OK(slow):
			good++
			phases[name] = append(phases[name], sample.Took)
			if n >= 0 {
				out.Seconds[n].Good++
				seconds[n] = append(seconds[n], sample.Took)
			}
		case sample.Outcome == probe.Unsent:
			out.Unsent++
		default:
			out.Failed++
			out.Outcomes[cmp.Or(sample.Outcome, "slow")]++
		}
	}
	for i := range seconds {
		out.Seconds[i].P99 = latencyOf(seconds[i]).P99
	}
	if out.Due > 0 {
		out.Availability = float64(good) / float64(out.Due)
	}
	out.Downtime, out.Longest = downtime(s, slow)
	out.Before, out.During, out.After = latencyOf(phases[MarkBefore]), latencyOf(slices.Concat(phases[MarkFault], phases[MarkRecover])), latencyOf(phases[MarkAfter])
	c.spend(float64(out.Failed) / h.Rate)
	c.sampleProblems(p, s, in)
	return out
}

// Failures are when requests of the plan's probe i were due that were not good, from
// Began.
func (r *Record) Failures(i int) []time.Duration {
	s, slow := r.Probes[i], time.Duration(r.Plan.SLO.Latency)
	if s == nil {
		return nil
	}
	var out []time.Duration
	for n, sample := range s.Samples {
		if !sample.OK(slow) && sample.Outcome != probe.Unsent {
			out = append(out, r.offset(s)+s.Header.Due(n))
		}
	}
	return out
}

// phaseAt names the phase that a moment lies in.
func (c *computation) phaseAt(at time.Duration) string {
	for _, s := range c.f.Phases {
		if at >= s.From && at < s.To {
			return s.Name
		}
	}
	return ""
}

// downtime is how long no request was good, and the longest time of it. A single
// failed request among good ones is no downtime.
func downtime(s *probe.Series, slow time.Duration) (sum, longest time.Duration) {
	for i := 0; i < len(s.Samples); {
		from := i
		for i < len(s.Samples) && !s.Samples[i].OK(slow) {
			i++
		}
		if i-from > 1 {
			d := s.Header.Due(i) - s.Header.Due(from)
			sum, longest = sum+d, max(longest, d)
		}
		if i == from {
			i++
		}
	}
	return sum, longest
}

// latencyOf sorts what it is given.
func latencyOf(took []time.Duration) Latency {
	if len(took) == 0 {
		return Latency{}
	}
	slices.Sort(took)
	return Latency{Good: len(took), P50: rank(took, 50), P99: rank(took, 99), Max: took[len(took)-1]}
}

// rank is the percentile by nearest rank: the smallest value that at least that
// many percent of all values do not exceed.
func rank(sorted []time.Duration, percent int) time.Duration {
	return sorted[max((len(sorted)*percent+99)/100-1, 0)]
}

// sampleProblems says what of a probe's samples cannot be relied on.
func (c *computation) sampleProblems(p Probe, s *probe.Series, in map[string]int) {
	for _, span := range c.f.Phases {
		if in[span.Name] == 0 && span.To > span.From+time.Duration(float64(time.Second)/s.Header.Rate)+edge/2 {
			c.problem("probe %s: no samples in the phase %s", p.Name, span.Name)
		}
	}
	if len(s.Samples) == 0 {
		c.problem("probe %s: no samples at all", p.Name)
		return
	}
	offset, step := c.offset(s), s.Header.Due(1)
	from, to := offset, offset+s.Header.Due(len(s.Samples))
	if before, ok := c.f.Phase(MarkBefore); ok && from > before.From+edge+step {
		c.problem("probe %s: its first request was due at %s, %s after the drill began to measure", p.Name, seconds(from), seconds(from-before.From))
	}
	if n := len(c.f.Phases); n > 0 && c.f.Aborted == "" && to < c.f.Phases[n-1].To-edge-step {
		c.problem("probe %s: its samples end at %s, %s before the drill did", p.Name, seconds(to), seconds(c.f.Phases[n-1].To-to))
	}
	var late, unsent int
	var worst time.Duration
	stalls := s.Stalls(lateLimit)
	for _, stall := range stalls {
		unsent += stall.Unsent
		worst = max(worst, stall.Late)
		late++
	}
	if unsent > 0 {
		c.problem("probe %s: %d requests were due and not sent, from %s on", p.Name, unsent, seconds(offset+stalls[0].From))
	}
	if worst > lateLimit {
		c.problem("probe %s: the prober itself was held up %d times, by up to %s, from %s on", p.Name, late, seconds(worst), seconds(offset+stalls[0].From))
	}
	for _, j := range s.Jumps {
		if j.Offset.Abs() > jumpLimit {
			c.problem("probe %s: the prober's clock was set by %s at its request %d", p.Name, seconds(j.Offset), j.Before)
		}
	}
}

// seconds writes a time as people read it: "8.2 s".
func seconds(d time.Duration) string {
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// query counts what Prometheus answered.
func (c *computation) query() {
	if c.Plan.Prometheus == nil {
		return
	}
	spent, failed, n := 0.0, 0, 0
	reason := ""
	last := time.Duration(0)
	if before, ok := c.f.Phase(MarkBefore); ok {
		last = before.From
	}
	gap := time.Duration(0)
	for i := range c.Events {
		q := c.Events[i].Query
		if q == nil {
			continue
		}
		if q.Error != "" {
			if failed++; reason == "" {
				reason = q.Error
			}
			continue
		}
		n++
		// An answer speaks for the time since the one before: a slow Prometheus is asked
		// less often than once a second.
		since := max(c.Events[i].At-last, 0)
		spent += (1 - q.Value) * since.Seconds()
		gap = max(gap, since)
		last = c.Events[i].At
	}
	if k := len(c.f.Phases); k > 0 {
		gap = max(gap, c.f.Phases[k-1].To-last)
	}
	switch {
	case n == 0:
		c.problem("the query has no answer: %s", cmp.Or(reason, "it was never asked"))
	case gap > queryGap:
		c.problem("the query has no answer for %s (%d failed: %s)", seconds(gap), failed, cmp.Or(reason, "not asked"))
	}
	c.spend(spent)
}

// disturbs reports whether an action was meant to disturb the release.
func (a *Action) disturbs() bool { return a.Verb != "uncordon" && a.OK() }

// OK reports whether the API server did what was asked.
func (a *Action) OK() bool { return a.Code >= 200 && a.Code < 300 }

func (c *computation) actions() {
	for i := range c.Events {
		a := c.Events[i].Action
		if a == nil {
			continue
		}
		what := a.Object
		if _, name, ok := strings.Cut(what, " "); ok {
			what = name
		}
		c.f.Marks = append(c.f.Marks, Mark{At: c.Events[i].At, Label: a.Verb + " " + what, Bad: !a.OK()})
		if a.Verb == "evict" && a.Code == 429 {
			c.f.Refused++
		}
	}
}

// Whole reports whether the workload is rolled out and ready.
func (w *Workload) Whole() bool { return w.Current && w.Ready >= w.Want && w.Updated >= w.Want }

// recovery finds from when on all workloads were whole and every probe answered.
func (c *computation) recovery() {
	first, last := time.Duration(-1), time.Duration(-1)
	state := map[string]bool{}
	broken := 0
	var whole time.Duration // since when all are
	for _, e := range c.seen() {
		if e.Action != nil && e.Action.disturbs() {
			if first < 0 {
				first = max(e.At-e.Action.Took, 0) // it was recorded with its answer
			}
			last = e.At
		}
		if w := e.Workload; w != nil {
			was, known := state[w.Name]
			now := w.Whole()
			if (!known || was) && !now {
				broken++
			} else if known && !was && now {
				if broken--; broken == 0 {
					whole = e.At
				}
			}
			state[w.Name] = now
		}
	}
	if len(state) == 0 {
		c.problem("no workload was watched")
		return
	}
	if first < 0 || broken > 0 {
		return
	}
	at := max(whole, last)
	for _, s := range c.Probes {
		if s == nil {
			return
		}
		t, ok := c.answers(s, at)
		if !ok {
			return
		}
		at = max(at, t)
	}
	d := at - first
	c.f.Recover, c.f.RecoveredAt = &d, &at
}

// answers finds from when on, from that moment, a probe's requests were good for a
// while.
func (c *computation) answers(s *probe.Series, from time.Duration) (time.Duration, bool) {
	slow, offset, step := time.Duration(c.Plan.SLO.Latency), c.offset(s), s.Header.Due(1)
	since := from
	for i, sample := range s.Samples {
		at := offset + s.Header.Due(i)
		switch {
		case at < from:
		case !sample.OK(slow):
			since = at + step
		case at+step-since >= answering:
			return since, true
		}
	}
	return 0, false
}

// readyPoints are the changes of the number of ready endpoints.
func readyPoints(events []Event) []ReadyPoint {
	var out []ReadyPoint
	ready := map[string]int{}
	n := 0
	for i := range events {
		e := events[i].Endpoints
		if e == nil {
			continue
		}
		n += e.Ready - ready[e.Service]
		ready[e.Service] = e.Ready
		if k := len(out); k == 0 || out[k-1].Ready != n {
			out = append(out, ReadyPoint{At: events[i].At, Ready: n})
		}
	}
	return out
}

// pods are those that came after the fault began.
func (c *computation) pods() {
	c.f.Pods = []PodFigures{}
	fault, ok := c.f.Phase(MarkFault)
	if !ok {
		return
	}
	type made struct {
		created time.Time
		index   int // in Pods; -1: it was there before
	}
	seen := map[string]*made{}
	for i := range c.Events {
		p := c.Events[i].Pod
		if p == nil {
			continue
		}
		m := seen[p.UID]
		if m == nil {
			m = &made{index: -1}
			seen[p.UID] = m
			if c.Events[i].At >= fault.From && p.Created != nil && !p.Gone {
				m.created, m.index = *p.Created, len(c.f.Pods)
				c.f.Pods = append(c.f.Pods, PodFigures{Name: p.Name})
			}
		}
		if m.index < 0 {
			continue
		}
		f := &c.f.Pods[m.index]
		for _, t := range []struct {
			at   *time.Time
			into **time.Duration
		}{{p.Scheduled, &f.Scheduled}, {p.Pulled, &f.Pulled}, {p.ReadyAt, &f.Ready}} {
			if t.at != nil && *t.into == nil {
				d := max(t.at.Sub(m.created), 0) // of clocks that may differ by a little
				*t.into = &d
			}
		}
		switch {
		case f.Ready != nil:
			f.Reason = ""
		case p.Gone:
			f.Reason = cmp.Or(p.Reason, f.Reason, "deleted")
		case p.Reason != "":
			f.Reason = p.Reason
		}
	}
}

// problems says what else was not seen, or contradicts itself.
func (c *computation) problems() {
	need := []string{MarkBefore, MarkFault, MarkRecover, MarkAfter}
	if c.f.Aborted != "" {
		need = need[:1]
	}
	for _, name := range need {
		if _, ok := c.f.Phase(name); !ok {
			c.problem("the phase %s is not in the timeline", name)
		}
	}
	fault, began := c.f.Phase(MarkFault)
	for _, g := range c.End.Lost {
		if strings.HasPrefix(g.What, "prob") || began && g.To > fault.From {
			c.problem("%s: not seen from %s to %s", g.What, seconds(g.From), seconds(g.To))
		}
	}
	if d := (c.End.SkewEnd - c.End.SkewStart).Abs(); d > jumpLimit+2*c.End.SkewError {
		c.problem("our clock and the API server's moved apart by %s during the drill", seconds(d))
	}
	c.consistent()
	c.telling()
	if len(c.Checks) == 0 {
		c.problem("the preflight asked nothing")
	}
	for _, check := range c.Checks {
		if !check.OK {
			c.problem("the preflight was not passed: %s: %s", check.Name, check.Reason)
		}
	}
}

// consistent says where the record contradicts itself: phases that the plan has longer,
// a fault outside of its phase, pods that went without anybody seeing them go.
func (c *computation) consistent() {
	if c.f.Aborted != "" {
		return
	}
	for _, of := range []struct {
		name string
		want evidence.Duration
	}{{MarkBefore, c.Plan.Phases.Before}, {MarkAfter, c.Plan.Phases.After}} {
		if s, ok := c.f.Phase(of.name); ok && s.To-s.From < time.Duration(of.want)-edge/2 {
			c.problem("the phase %s took %s, and %s is planned", of.name, seconds(s.To-s.From), seconds(time.Duration(of.want)))
		}
	}
	fault, began := c.f.Phase(MarkFault)
	known, gone := map[string]bool{}, map[string]bool{} // by UID
	for i := range c.Events {
		if p := c.Events[i].Pod; p != nil {
			known[p.UID] = true
			if p.Deleting || p.Gone {
				gone[p.UID] = true
			}
		}
	}
	for i := range c.Events {
		a := c.Events[i].Action
		if a != nil && a.Code == 404 && known[a.UID] && !gone[a.UID] {
			c.problem("%s %s: it was gone, says the API server, and the watch did not see it go", a.Verb, a.Object)
		}
		if a == nil || !a.disturbs() {
			continue
		}
		if began && c.Events[i].At < fault.From {
			c.problem("%s %s: before the phase %s", a.Verb, a.Object, MarkFault)
		}
		if (a.Verb == "delete" || a.Verb == "evict") && known[a.UID] && !gone[a.UID] {
			c.problem("%s %s: the watch did not see it go", a.Verb, a.Object)
		}
	}
}

// telling says where a drill of this plan could not have failed: a budget that an outage
// for all of its time would not spend, requests so rare that an outage that spends it can
// lie between two of them.
func (c *computation) telling() {
	if c.Plan.Experiment == Load {
		return // which is judged by the share of its own requests
	}
	f := c.Plan.Phases
	if longest := time.Duration(f.Before + f.Recover + f.After).Seconds(); c.f.Budget.Allowed >= longest {
		c.problem("the plan lets the drill spend %.0f s of failed requests, and nothing that fails for all of its %.0f s would: ask for a higher objective, a shorter window or a smaller share", c.f.Budget.Allowed, longest)
	}
	for _, p := range c.Plan.Probes {
		if waits := time.Duration(cmp.Or(c.Plan.SLO.Latency, p.Timeout)); min(waits, time.Duration(p.Timeout)).Seconds() > max(c.f.Budget.Allowed, patience.Seconds()) {
			c.problem("probe %s: requests that wait for %s count as good, which hides an outage as long: shorten its timeout, or set a latency objective", p.Name, min(waits, time.Duration(p.Timeout)))
		}
		if step := 1 / p.Rate; step > c.f.Budget.Allowed*(1+1e-9) {
			c.problem("probe %s: a request every %.1f s does not see an outage that spends the budget of %.1f s: raise its rate", p.Name, step, c.f.Budget.Allowed)
		}
	}
}

func (f *Figures) conclude() string {
	parts := []string{f.Budget.String()}
	switch {
	case f.Recover != nil:
		parts = append(parts, "recovered in "+seconds(*f.Recover))
	case f.Plan.Experiment != Load:
		parts = append(parts, "not recovered within the drill")
	}
	if n := Lost(f.Violations); n > 0 {
		parts = append(parts, fmt.Sprintf("%d pods lost beyond a PodDisruptionBudget", n))
	}
	if f.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%d evictions refused", f.Refused))
	}
	if f.Aborted != "" {
		parts = append([]string{"aborted: " + f.Aborted}, parts...)
	}
	if n := len(f.Problems); n > 0 {
		parts = append([]string{"not measured: " + f.Problems[0]}, parts...)
	}
	return strings.Join(parts, "; ")
}

// Lost counts the pods of violations.
func Lost(all []Violation) (n int) {
	for _, v := range all {
		n += len(v.Pods)
	}
	return n
}
