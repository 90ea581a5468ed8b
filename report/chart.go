package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/companyos/helmproof/internal/drill"
)

// Chart is a plot over a drill's time, in a unit square: X is 0 where the drill
// began and 1 where it ended, Y is 0 at the foot and 1 at the top. No coordinate
// leaves the square, whatever was measured.
type Chart struct {
	Key    string // "availability", "budget", "latency", "ready"
	Title  string // what it shows, with the unit
	Empty  string // why there is nothing to plot; empty where there is
	Text   string // the plot in words
	Y      []Tick
	Lines  []Line // the one that the chart is about is the last
	Limit  *Tick  // what the line must not cross
	Failed []Span // seconds with failed requests
	Fill   bool   // what is missing between the last line and the top is filled
}

// Tick is a labelled place on an axis.
type Tick struct {
	At    float64
	Label string
}

// Span is a stretch of the X axis.
type Span struct{ From, To float64 }

// Line is a line of levels. Where one does not begin at the end of the
// one before, nothing is known.
type Line struct {
	Name   string
	Levels []Level
}

// Level is a level stretch of a line.
type Level struct{ From, To, Y float64 }

// Cluster is one action of a drill, or several that are too close to each other
// to be marked each.
type Cluster struct {
	Number int // from 1
	Span
	Time string // "12.0 s", "12.0 s to 14.1 s"
	Text string // "evict shop/web-abc"; "300 actions: 280 evict, 20 delete"
	Bad  bool   // one of them was refused, or failed
}

const (
	// maxSteps bounds a line: more seconds than that are drawn by the worst of each
	// few of them.
	maxSteps = 360
	// maxOthers bounds the lines of probes that are not the worst.
	maxOthers = 6
	// maxReady bounds the axis of ready endpoints.
	maxReady = 1 << 20
	// clusterWidth is how much of the X axis a mark needs for its number.
	clusterWidth = .05
)

// unit holds v within 0 and 1; what is not a number is 0.
func unit(v float64) float64 {
	switch {
	case v >= 1:
		return 1
	case v > 0:
		return v
	}
	return 0
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// axis is the X axis of a drill.
type axis struct{ length time.Duration }

// axisOf is as long as the drill, or as the seconds that were measured, if they
// go on for longer.
func axisOf(f *drill.Figures) axis {
	n := 1
	for _, p := range f.Probes {
		n = max(n, len(p.Seconds))
	}
	least := time.Second
	if n > 1 {
		least = time.Duration(n-1) * time.Second // the last one is seldom whole
	}
	if f.Length > 0 && n == 1 {
		least = 1
	}
	return axis{max(f.Length, least)}
}

func (a axis) at(d time.Duration) float64 { return unit(float64(d) / float64(a.length)) }

// ticks are at most six round times.
func (a axis) ticks() []Tick {
	step := a.length
	for _, s := range []time.Duration{1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8, 2e8, 5e8, 1e9, 2e9, 5e9, 1e10, 15e9, 3e10, 6e10, 12e10, 3e11, 6e11, 9e11, 18e11, 36e11, 72e11, 144e11, 432e11} {
		if a.length/s <= 5 {
			step = s
			break
		}
	}
	var out []Tick
	for d := time.Duration(0); d >= 0 && d <= a.length && len(out) < 7; d += max(step, 1) {
		out = append(out, Tick{a.at(d), a.label(d)})
	}
	return out
}

func (a axis) label(d time.Duration) string {
	switch {
	case a.length <= time.Second:
		return number(float64(d)/1e6) + " ms"
	case a.length < 3*time.Minute:
		return number(d.Seconds()) + " s"
	case a.length < 3*time.Hour:
		return fmt.Sprintf("%d:%02d min", int(d.Minutes()), int(d.Seconds())%60)
	}
	return number(math.Round(d.Hours()*10)/10) + " h"
}

// number writes a number without zeros that say nothing.
func number(v float64) string {
	if math.Abs(v) >= 1e9 {
		return strconv.FormatFloat(v, 'g', 4, 64)
	}
	return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64)
}

// seconds makes steps of a value for each of n seconds. Where there are too many,
// several share a step and worst says which of two values stays.
func (a axis) seconds(n int, value func(i int) (float64, bool), worst func(x, y float64) float64) []Level {
	var out []Level
	size := max(1, (n+maxSteps-1)/maxSteps)
	for from := 0; from < n; from += size {
		to := min(from+size, n)
		y, known := 0.0, false
		for i := from; i < to; i++ {
			switch v, ok := value(i); {
			case !ok || !finite(v):
			case known:
				y = worst(y, v)
			default:
				y, known = v, true
			}
		}
		if known {
			out = a.level(out, time.Duration(from)*time.Second, time.Duration(to)*time.Second, unit(y))
		}
	}
	return out
}

// level appends a step, or makes the last one longer.
func (a axis) level(steps []Level, from, to time.Duration, y float64) []Level {
	s := Level{a.at(from), a.at(to), y}
	if s.To <= s.From {
		return steps
	}
	if n := len(steps); n > 0 && steps[n-1].To == s.From && steps[n-1].Y == y {
		steps[n-1].To = s.To
		return steps
	}
	return append(steps, s)
}

func share(s drill.Second) (float64, bool) {
	return unit(float64(s.Good) / float64(s.Due)), s.Due > 0
}

func lower(x, y float64) float64  { return min(x, y) }
func higher(x, y float64) float64 { return max(x, y) }

// worstProbe is the index of the probe that the drill is judged by: the one with
// the least availability, then the longest downtime, then the slowest; -1 without
// probes.
func worstProbe(f *drill.Figures) int {
	worst := -1
	known := func(v float64) float64 {
		if !finite(v) {
			return -1
		}
		return v
	}
	for i := range f.Probes {
		if worst < 0 {
			worst = i
			continue
		}
		p, w := &f.Probes[i], &f.Probes[worst]
		if cmp.Or(cmp.Compare(known(p.Availability), known(w.Availability)), cmp.Compare(w.Downtime, p.Downtime), cmp.Compare(w.During.P99, p.During.P99)) < 0 {
			worst = i
		}
	}
	return worst
}

func (a axis) availability(f *drill.Figures, worst int) Chart {
	c := Chart{Key: "availability", Title: "Good requests in each second, %", Fill: true, Y: []Tick{{0, "0 %"}, {.5, "50 %"}, {1, "100 %"}}}
	if worst < 0 {
		c.Empty = "No request was sent: there is no availability to plot."
		return c
	}
	line := func(p *drill.ProbeFigures) Line {
		return Line{p.Name, a.seconds(len(p.Seconds), func(i int) (float64, bool) { return share(p.Seconds[i]) }, lower)}
	}
	for i := range f.Probes {
		if i != worst && len(c.Lines) < maxOthers {
			c.Lines = append(c.Lines, line(&f.Probes[i]))
		}
	}
	p := &f.Probes[worst]
	c.Lines = append(c.Lines, line(p))
	if len(c.Lines[len(c.Lines)-1].Levels) == 0 {
		c.Empty = "No second of probe " + p.Name + " had a request that was due: there is no availability to plot."
		return c
	}
	bad := a.seconds(len(p.Seconds), func(i int) (float64, bool) {
		s := p.Seconds[i]
		return 1, s.Due > 0 && s.Good < s.Due
	}, higher)
	for _, s := range bad {
		c.Failed = append(c.Failed, Span{s.From, s.To})
	}
	low, failed := 1.0, 0
	for _, s := range p.Seconds {
		if v, ok := share(s); ok {
			low = min(low, v)
			if s.Good < s.Due {
				failed++
			}
		}
	}
	if failed == 0 {
		c.Text = fmt.Sprintf("In each of %s every request of probe %s was good.", plural(len(p.Seconds), "second"), p.Name)
	} else {
		c.Text = fmt.Sprintf("%d of %s had failed requests of probe %s; in the worst one %s were good.", failed, plural(len(p.Seconds), "second"), p.Name, Percent(low))
	}
	return c
}

// budget is what was spent of the error budget up to each second, by the probe
// that spent most.
func (a axis) budget(f *drill.Figures) Chart {
	c := Chart{Key: "budget", Title: "Error budget spent so far, s"}
	most, spent := -1, -1.0
	for i := range f.Probes {
		p := &f.Probes[i]
		if s := float64(p.Failed) / p.Rate; finite(s) && p.Rate > 0 && s > spent {
			most, spent = i, s
		}
	}
	if most < 0 {
		c.Empty = "No probe says what was spent of the error budget: there is nothing to plot."
		return c
	}
	p := &f.Probes[most]
	total := make([]float64, len(p.Seconds))
	sum := 0.0
	for i, s := range p.Seconds {
		sum += float64(max(0, s.Due-s.Good)) / p.Rate
		total[i] = sum
	}
	if len(total) == 0 {
		c.Empty = "Probe " + p.Name + " has no seconds: what it spent of the error budget cannot be plotted."
		return c
	}
	allowed := f.Budget.Allowed
	known := finite(allowed) && allowed >= 0
	top := sum
	if known {
		top = max(top, allowed)
	}
	scale, ticks := scaleTo(top, "s")
	c.Y = ticks
	if known {
		c.Limit = &Tick{unit(allowed / scale), "allowed " + seconds(allowed)}
	}
	switch spent := f.Budget.Spent; {
	case !known || !finite(spent):
		c.Text = "What was spent, or may be, was not measured."
	default:
		c.Text = fmt.Sprintf("%s of the %s that the drill may spend were spent.", seconds(spent), seconds(allowed))
		if math.Abs(spent-sum) > .01+.01*sum {
			// Requests that were never sent, or a query that says otherwise.
			c.Text += fmt.Sprintf(" The line is what probe %s saw alone: %s, each request counted that was due and not good.", p.Name, seconds(sum))
		}
	}
	c.Lines = []Line{{p.Name, a.seconds(len(total), func(i int) (float64, bool) { return total[i] / scale, true }, higher)}}
	return c
}

func (a axis) latency(f *drill.Figures, worst int) Chart {
	c := Chart{Key: "latency", Title: "p99 latency of good requests"}
	if worst < 0 {
		c.Empty = "No request was sent: there is no latency to plot."
		return c
	}
	p := &f.Probes[worst]
	most := time.Duration(0)
	at := time.Duration(0)
	for i, s := range p.Seconds {
		if s.Good > 0 && s.P99 > most {
			most, at = s.P99, time.Duration(i)*time.Second
		}
	}
	limit := time.Duration(f.Plan.SLO.Latency)
	top, name := max(most, limit, 0), "ms"
	div := float64(time.Millisecond)
	if top >= 2*time.Second {
		name, div = "s", float64(time.Second)
	}
	c.Title += ", " + name
	scale, ticks := scaleTo(float64(top)/div, name)
	c.Lines = []Line{{p.Name, a.seconds(len(p.Seconds), func(i int) (float64, bool) {
		s := p.Seconds[i]
		return float64(s.P99) / div / scale, s.Good > 0
	}, higher)}}
	if len(c.Lines[0].Levels) == 0 {
		c.Empty = "No request of probe " + p.Name + " was good: there is no latency to plot."
		return c
	}
	c.Y = ticks
	if limit > 0 {
		c.Limit = &Tick{unit(float64(limit) / div / scale), "objective " + Took(limit)}
	}
	c.Text = fmt.Sprintf("The highest p99 of probe %s in a second was %s, at %s.", p.Name, Took(most), Took(at))
	return c
}

func (a axis) ready(f *drill.Figures) Chart {
	c := Chart{Key: "ready", Title: "Ready endpoints"}
	if len(f.Ready) == 0 {
		c.Empty = "No endpoints were seen: there is nothing to plot."
		return c
	}
	points := slices.Clone(f.Ready)
	slices.SortStableFunc(points, func(x, y drill.ReadyPoint) int { return cmp.Compare(x.At, y.At) })
	least, most := points[0].Ready, 0
	for _, p := range points {
		least, most = min(least, p.Ready), max(most, min(p.Ready, maxReady))
	}
	step := max(1, int(niceStep(float64(most), 3)))
	top := max(1, (most+step-1)/step) * step
	for n := 0; n <= top; n += step {
		c.Y = append(c.Y, Tick{float64(n) / float64(top), strconv.Itoa(n)})
	}
	line := Line{Name: "ready endpoints"}
	for i, p := range points {
		to := a.length
		if i+1 < len(points) {
			to = points[i+1].At
		}
		line.Levels = a.level(line.Levels, p.At, to, unit(float64(p.Ready)/float64(top)))
	}
	line.Levels = thin(line.Levels)
	c.Lines = []Line{line}
	c.Text = fmt.Sprintf("Between %d and %d endpoints were ready; %d at the end.", least, most, points[len(points)-1].Ready)
	return c
}

// thin draws a line of too many steps by the lowest in each of maxSteps parts of
// the axis, so that no dip is lost.
func thin(steps []Level) []Level {
	if len(steps) <= maxSteps {
		return steps
	}
	var out []Level
	first := 0
	for i := range maxSteps {
		from, to := float64(i)/maxSteps, float64(i+1)/maxSteps
		for first < len(steps) && steps[first].To <= from {
			first++
		}
		y, known := 1.0, false
		for _, s := range steps[first:] {
			if s.From >= to {
				break
			}
			y, known = min(y, s.Y), true
		}
		switch n := len(out); {
		case !known:
		case n > 0 && out[n-1].To == from && out[n-1].Y == y:
			out[n-1].To = to
		default:
			out = append(out, Level{from, to, y})
		}
	}
	return out
}

// niceStep is 1, 2 or 5 times a power of ten, such that n steps reach top.
func niceStep(top float64, n int) float64 {
	if !finite(top) || top <= 0 {
		return 1
	}
	raw := top / float64(n)
	mag := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5} {
		if m*mag >= raw {
			return m * mag
		}
	}
	return 10 * mag
}

// scaleTo is an axis from zero to a round number that is not below top.
func scaleTo(top float64, unit string) (float64, []Tick) {
	step := niceStep(top, 3)
	n := 1
	if finite(top) && top > 0 {
		n = int(math.Ceil(top/step - 1e-9))
	}
	n = min(max(n, 1), 4)
	var ticks []Tick
	for i := range n + 1 {
		ticks = append(ticks, Tick{float64(i) / float64(n), number(step*float64(i)) + " " + unit})
	}
	return step * float64(n), ticks
}

// clusters puts marks together that are too close to be told apart.
func (a axis) clusters(marks []drill.Mark) []Cluster {
	marks = slices.Clone(marks)
	slices.SortStableFunc(marks, func(x, y drill.Mark) int { return cmp.Compare(x.At, y.At) })
	var out []Cluster
	for from := 0; from < len(marks); {
		to := from + 1
		start := a.at(marks[from].At)
		for to < len(marks) && a.at(marks[to].At) < start+clusterWidth {
			to++
		}
		part := marks[from:to]
		last := part[len(part)-1].At
		c := Cluster{Number: len(out) + 1, Span: Span{start, a.at(last)}, Time: Took(part[0].At)}
		if t := Took(last); t != c.Time {
			c.Time += " to " + t
		}
		c.Text, c.Bad = together(part)
		out = append(out, c)
		from = to
	}
	return out
}

// together says what some marks have in common: how many there are of each first word.
func together(marks []drill.Mark) (string, bool) {
	bad := 0
	count := map[string]int{}
	var verbs []string
	for _, m := range marks {
		if m.Bad {
			bad++
		}
		verb, _, _ := strings.Cut(m.Label, " ")
		if count[verb]++; count[verb] == 1 {
			verbs = append(verbs, verb)
		}
	}
	if len(marks) == 1 {
		return marks[0].Label, bad > 0
	}
	const most = 5
	var parts []string
	for _, v := range verbs[:min(len(verbs), most)] {
		parts = append(parts, strconv.Itoa(count[v])+" "+v)
	}
	if len(verbs) > most {
		parts = append(parts, "others")
	}
	s := fmt.Sprintf("%d actions: %s", len(marks), strings.Join(parts, ", "))
	if len(marks) <= 3 {
		names := make([]string, len(marks))
		for i, m := range marks {
			names[i] = m.Label
		}
		s = strings.Join(names, "; ")
	}
	if bad > 0 {
		s += fmt.Sprintf("; %d refused or failed", bad)
	}
	return s, bad > 0
}
