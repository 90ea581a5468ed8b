package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/companyos/helmproof/internal/drill"
)

// Drill is the view model of what a drill measured.
type Drill struct {
	Unread     string // why the record gives no figures; all else is empty then
	Conclusion string // one line, over the plots
	Problems   []string
	Facts      []Fact

	Charts    []Chart
	Axis      []Tick
	Fault     []Span
	Length    string // of the drill, where the axis ends
	Recovered *Tick  // when all was ready and answered again
	Clusters  []Cluster
	Legend    string // what the plots' marks mean, in words

	Probes     []DrillProbe
	Violations []DrillViolation
	Unready    []Fact // pods that never became ready, and why
	More       []string
	Rows       []DrillRow // the plots as a table
}

// DrillProbe is a row of the table of probes.
type DrillProbe struct {
	Name, Address, Availability, Failed, Downtime string
	Latency                                       [3]DrillLatency // before, during, after
	Worst                                         bool
}

// DrillLatency is the latency of one phase.
type DrillLatency struct{ P50, P99 string }

// DrillViolation is a time in which a PodDisruptionBudget was violated.
type DrillViolation struct{ Budget, When, Healthy, Pods string }

// DrillRow is a stretch of the drill: the worst second of it.
type DrillRow struct{ Time, Phase, Good, Spent, P99, Ready string }

// Tables of a report end here; the JSON report has all rows.
const (
	maxDrillRows = 40
	maxNames     = 5
)

// Took writes how long something took: three figures, "412 ms", "8.21 s", "12.0 s", "4 min 5 s".
func Took(d time.Duration) string {
	switch s := d.Seconds(); {
	case d < 0:
		return "-" + Took(-max(d, -math.MaxInt64))
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return number(math.Round(float64(d)/1e4)/100) + " ms"
	case d < 999500*time.Microsecond:
		return strconv.FormatFloat(float64(d)/1e6, 'f', 0, 64) + " ms"
	case d < 9995*time.Millisecond:
		return strconv.FormatFloat(s, 'f', 2, 64) + " s"
	case d < 119950*time.Millisecond:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	default:
		r := d.Round(time.Second)
		if r < 2*time.Hour {
			return strings.TrimSuffix(fmt.Sprintf("%d min %d s", r/time.Minute, r%time.Minute/time.Second), " 0 s")
		}
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", r/time.Hour, r%time.Hour/time.Minute), " 0 min")
	}
}

const notMeasured = "not measured"

// seconds writes a number of seconds, such as of an error budget.
func seconds(v float64) string {
	switch {
	case !finite(v):
		return notMeasured
	case v == 0:
		return "0 s"
	case math.Abs(v) < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64) + " s"
	}
	if math.Abs(v) >= 1e9 {
		return number(v) + " s"
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " s"
}

// Percent writes a share. What is less than all is never written as 100 %.
func Percent(v float64) string {
	if !finite(v) {
		return notMeasured
	}
	// One part in 10^9 is what a decimal share loses as a float.
	return number(math.Floor(v*1e5+1e-4)/1e3) + " %"
}

func newDrill(in *Input) *Drill {
	if in.DrillUnread != "" {
		return &Drill{Unread: in.DrillUnread, Conclusion: "The drill's record could not be read"}
	}
	return NewDrill(in.Drill)
}

// NewDrill is the view model of what a drill measured; nil of nil.
func NewDrill(f *drill.Figures) *Drill {
	if f == nil {
		return nil
	}
	a, worst := axisOf(f), worstProbe(f)
	d := &Drill{
		Conclusion: f.Conclusion, Problems: drillProblems(f), Facts: drillFacts(f, worst),
		Charts: []Chart{a.availability(f, worst), a.budget(f), a.latency(f, worst), a.ready(f)},
		Axis:   a.ticks(), Length: Took(a.length), Clusters: a.clusters(f.Marks), Probes: drillProbes(f, worst),
	}
	if strings.TrimSpace(d.Conclusion) == "" {
		d.Conclusion = "What the drill showed is not concluded"
	}
	for _, p := range f.Phases {
		if p.Name == "fault" {
			d.Fault = append(d.Fault, Span{a.at(p.From), max(a.at(p.From), a.at(p.To))})
		}
	}
	if at := f.RecoveredAt; at != nil {
		d.Recovered = &Tick{a.at(*at), "recovered"}
	}
	d.Legend = legend(f, d, worst)
	d.violations(f)
	d.unready(f)
	d.Rows = a.rows(f, worst)
	return d
}

// drillProblems are those of the figures, and figures that are no numbers.
func drillProblems(f *drill.Figures) []string {
	out := slices.Clone(f.Problems)
	for _, p := range f.Probes {
		if !finite(p.Availability) || !finite(p.Rate) {
			out = append(out, "probe "+p.Name+": its availability or rate is not a number")
		}
	}
	if b := f.Budget; !finite(b.Seconds) || !finite(b.Allowed) || !finite(b.Spent) || !finite(b.Share) {
		out = append(out, "the error budget is not a number")
	}
	if len(f.Probes) == 0 {
		out = append(out, "no probe: whether the service answered is not known")
	}
	return out
}

func legend(f *drill.Figures, d *Drill, worst int) string {
	var parts []string
	for _, p := range f.Phases {
		if p.Name == "fault" {
			parts = append(parts, "Shaded, and the bar at the foot: the fault, from "+Took(p.From)+" to "+Took(p.To)+".")
		}
	}
	if len(d.Clusters) > 0 {
		parts = append(parts, "Dotted upright lines: actions, by number; with a square: refused or failed.")
	}
	if at := f.RecoveredAt; at != nil {
		parts = append(parts, "Dashed upright line: all ready and answering again, at "+Took(*at)+".")
	}
	if len(d.Charts[0].Failed) > 0 {
		parts = append(parts, "Filled: requests that failed; the bar over the plot marks each second with one.")
	}
	if n := len(f.Probes); n > 1 {
		s := "Thick line: probe " + f.Probes[worst].Name + ", the worst; thin: "
		var names []string
		for _, l := range d.Charts[0].Lines[:len(d.Charts[0].Lines)-1] {
			names = append(names, l.Name)
		}
		s += strings.Join(names, ", ")
		if n-1 > len(names) {
			s += fmt.Sprintf("; %s not drawn", plural(n-1-len(names), "other"))
		}
		parts = append(parts, s+".")
	}
	return strings.Join(parts, " ")
}

// described is what the drill did to what.
func described(p *drill.Plan) string {
	t := p.Target
	s := string(p.Experiment)
	switch {
	case t.Workload != "":
		s += " of " + t.Workload
	case t.Node != "":
		s += " of node " + t.Node
	case t.Zone != "":
		s += " of zone " + t.Zone
	}
	if t.Container != "" {
		s += ", container " + t.Container
	}
	switch {
	case t.Percent > 0:
		s += fmt.Sprintf(", %d %% of the pods", t.Percent)
	case t.Count > 0:
		s += ", " + plural(t.Count, "pod")
	}
	if t.GraceSeconds != nil {
		s += fmt.Sprintf(", grace period %d s", *t.GraceSeconds)
	}
	if p.Rollback != nil {
		s += ", fault " + p.Rollback.Fault
	}
	if p.Load != nil {
		s += fmt.Sprintf(", %s requests/s held for %s", number(p.Load.Rate), Took(time.Duration(p.Load.Hold)))
	}
	return s
}

func drillFacts(f *drill.Figures, worst int) []Fact {
	var out []Fact
	add := func(label, value string) { out = append(out, Fact{Label: label, Value: value}) }
	add("Experiment", described(&f.Plan))
	add("Began", Time(f.Began)+", for "+Took(f.Length))
	if f.Aborted != "" {
		add("Aborted", f.Aborted)
	}
	slo := f.Plan.SLO
	s := Percent(slo.Objective) + " of requests good within " + Took(time.Duration(slo.Window))
	if slo.Latency > 0 {
		s += ", each in " + Took(time.Duration(slo.Latency))
	}
	add("Objective", s)
	if worst < 0 {
		add("Availability", notMeasured)
	} else {
		p := f.Probes[worst]
		of := ""
		if n := len(f.Probes); n > 1 {
			of = fmt.Sprintf(", the worst of %d", n)
		}
		add("Availability", fmt.Sprintf("%s, by probe %s%s: %d of %s failed%s", Percent(p.Availability), p.Name, of, p.Failed, plural(p.Due, "request"), unsent(&p)))
		if p.Downtime == 0 {
			add("Downtime", "none")
		} else {
			add("Downtime", Took(p.Downtime)+" in all, "+Took(p.Longest)+" at longest")
		}
	}
	switch {
	case worst < 0:
		add("Recovery", notMeasured)
	case f.Recover != nil:
		add("Recovery", Took(*f.Recover)+" after the first action")
	case f.Plan.Experiment != drill.Load: // which takes nothing away
		add("Recovery", "not within the drill")
	}
	if b := f.Budget; worst < 0 || !finite(b.Spent) || !finite(b.Allowed) {
		add("Error budget", notMeasured)
	} else {
		add("Error budget", fmt.Sprintf("%s spent of the %s that the drill may spend; %s of the window's %s", seconds(b.Spent), seconds(b.Allowed), Percent(b.Share), seconds(b.Seconds)))
	}
	if worst >= 0 {
		p := f.Probes[worst]
		add("p99 latency", fmt.Sprintf("%s before, %s during, %s after", p99(p.Before), p99(p.During), p99(p.After)))
	}
	add("PDB violations", violationCount(f))
	add("Refused evictions", strconv.Itoa(f.Refused))
	add("New pods", newPods(f.Pods))
	return out
}

func unsent(p *drill.ProbeFigures) string {
	if p.Unsent == 0 {
		return ""
	}
	return fmt.Sprintf(", %d never sent", p.Unsent)
}

func p50(l drill.Latency) string { return latency(l, l.P50) }
func p99(l drill.Latency) string { return latency(l, l.P99) }

func latency(l drill.Latency, d time.Duration) string {
	if l.Good == 0 {
		return "none good"
	}
	return Took(d)
}

func violationCount(f *drill.Figures) string {
	switch n := len(f.Violations); {
	case n > 0:
		return fmt.Sprintf("%d, by the loss of %s", n, plural(lost(f.Violations), "pod"))
	case len(drillProblems(f)) > 0:
		return "none seen, but not all was seen"
	}
	return "none"
}

// lost counts the pods that were lost against a budget.
func lost(vs []drill.Violation) int {
	n := 0
	for _, v := range vs {
		n += len(v.Pods)
	}
	return n
}

// slowest is the longest of a time of new pods; never counts those without one.
func slowest(pods []drill.PodFigures, of func(*drill.PodFigures) *time.Duration) (longest *time.Duration, never int) {
	for i := range pods {
		switch d := of(&pods[i]); {
		case d == nil:
			never++
		case longest == nil || *d > *longest:
			longest = d
		}
	}
	return longest, never
}

func podReady(p *drill.PodFigures) *time.Duration { return p.Ready }

func newPods(pods []drill.PodFigures) string {
	if len(pods) == 0 {
		return "none was made"
	}
	var parts []string
	for _, k := range []struct {
		name string
		of   func(*drill.PodFigures) *time.Duration
	}{
		{"scheduled", func(p *drill.PodFigures) *time.Duration { return p.Scheduled }},
		{"images there", func(p *drill.PodFigures) *time.Duration { return p.Pulled }},
		{"ready", podReady},
	} {
		if d, _ := slowest(pods, k.of); d != nil {
			parts = append(parts, k.name+" after "+Took(*d))
		}
	}
	s := plural(len(pods), "pod")
	if len(parts) > 0 {
		s += "; the slowest " + strings.Join(parts, ", ")
	}
	if _, never := slowest(pods, podReady); never > 0 {
		s += fmt.Sprintf("; %d never ready", never)
	}
	return s
}

func drillProbes(f *drill.Figures, worst int) []DrillProbe {
	out := make([]DrillProbe, 0, len(f.Probes))
	for i := range f.Probes {
		p := &f.Probes[i]
		v := DrillProbe{
			Name: p.Name, Address: p.Address, Availability: Percent(p.Availability), Failed: fmt.Sprintf("%d of %d", p.Failed, p.Due) + outcomes(p),
			Downtime: "none", Worst: i == worst && len(f.Probes) > 1,
			Latency: [3]DrillLatency{{p50(p.Before), p99(p.Before)}, {p50(p.During), p99(p.During)}, {p50(p.After), p99(p.After)}},
		}
		if p.Downtime != 0 {
			v.Downtime = Took(p.Downtime) + ", longest " + Took(p.Longest)
		}
		out = append(out, v)
	}
	return out
}

// outcomes names what requests ended in that were not good, most frequent first.
func outcomes(p *drill.ProbeFigures) string {
	n := p.Outcomes
	if p.Unsent > 0 { // which is no failure of the service
		n = maps.Clone(n)
		if n == nil {
			n = map[string]int{}
		}
		n["never sent"] = p.Unsent
	}
	if len(n) == 0 {
		return ""
	}
	names := make([]string, 0, len(n))
	for name := range n {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if n[a] != n[b] {
			return n[b] - n[a]
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, name := range names[:min(len(names), maxNames)] {
		parts = append(parts, fmt.Sprintf("%d %s", n[name], name))
	}
	if len(names) > maxNames {
		parts = append(parts, "others")
	}
	return ": " + strings.Join(parts, ", ")
}

func (d *Drill) violations(f *drill.Figures) {
	for _, v := range f.Violations[:min(len(f.Violations), maxDrillRows)] {
		pods := strings.Join(v.Pods[:min(len(v.Pods), maxNames)], ", ")
		if n := len(v.Pods) - maxNames; n > 0 {
			pods += fmt.Sprintf(" and %d more", n)
		}
		d.Violations = append(d.Violations, DrillViolation{v.Budget, "from " + Took(v.From) + " to " + Took(v.To), fmt.Sprintf("%d of %d desired", v.Lowest, v.Desired), pods})
	}
	if n := len(f.Violations) - maxDrillRows; n > 0 {
		d.More = append(d.More, plural(n, "more violation")+": the JSON report has all.")
	}
}

func (d *Drill) unready(f *drill.Figures) {
	n := 0
	for _, p := range f.Pods {
		if p.Ready != nil {
			continue
		}
		if n++; n <= maxDrillRows {
			reason := p.Reason
			if reason == "" {
				reason = "no reason was seen"
			}
			d.Unready = append(d.Unready, Fact{Label: p.Name, Value: reason})
		}
	}
	if n > maxDrillRows {
		d.More = append(d.More, plural(n-maxDrillRows, "more pod")+" that never became ready: the JSON report has all.")
	}
}

// rows are the plots as a table: for each stretch its worst second.
func (a axis) rows(f *drill.Figures, worst int) []DrillRow {
	if worst < 0 {
		return nil
	}
	p := &f.Probes[worst]
	n := len(p.Seconds)
	size := max(1, (n+maxDrillRows-1)/maxDrillRows)
	ready := slices.Clone(f.Ready)
	slices.SortStableFunc(ready, func(x, y drill.ReadyPoint) int { return cmp.Compare(x.At, y.At) })
	var out []DrillRow
	failed := 0
	for from := 0; from < n; from += size {
		to := min(from+size, n)
		r := DrillRow{Time: strconv.Itoa(from) + " s", Good: "none due", P99: "none good", Ready: "not seen"}
		if size > 1 {
			r.Time = fmt.Sprintf("%d to %d s", from, to)
		}
		low, known := 1.0, false
		var slow time.Duration
		for _, s := range p.Seconds[from:to] {
			if v, ok := share(s); ok {
				low, known = min(low, v), true
			}
			if s.Good > 0 {
				slow = max(slow, s.P99)
				r.P99 = Took(slow)
			}
			failed += max(0, s.Due-s.Good)
		}
		if known {
			r.Good = Percent(low)
		}
		r.Spent = notMeasured
		if p.Rate > 0 && finite(p.Rate) {
			r.Spent = seconds(float64(failed) / p.Rate)
		}
		begin, end := time.Duration(from)*time.Second, time.Duration(to)*time.Second
		for _, ph := range f.Phases {
			if ph.From < end && ph.To > begin {
				r.Phase = strings.TrimPrefix(r.Phase+", "+ph.Name, ", ")
			}
		}
		if least, ok := leastReady(ready, begin, end); ok {
			r.Ready = strconv.Itoa(least)
		}
		out = append(out, r)
	}
	return out
}

// leastReady is the lowest number of ready endpoints in a time; points are by time.
func leastReady(points []drill.ReadyPoint, from, to time.Duration) (int, bool) {
	least, known := 0, false
	for _, p := range points {
		switch {
		case p.At >= to:
			return least, known
		case p.At <= from || !known:
			least, known = p.Ready, true // what holds when the time begins
		default:
			least = min(least, p.Ready)
		}
	}
	return least, known
}
