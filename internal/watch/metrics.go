package watch

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/companyos/helmproof/evidence"
)

// Metric is one metric that watch exports.
type Metric struct {
	Name, Help string
	Labels     []string
	Counter    bool // else a gauge
	// Own says that it is about watch itself: also those who are not the leader export
	// it, and no limit holds for it.
	Own bool

	desc *prometheus.Desc
}

// scope are the labels of evidence, as the signed bundle says them.
var scope = []string{"kind", "chart", "release", "namespace", "profile"}

func metric(name, help string, labels ...string) *Metric {
	return &Metric{Name: name, Help: help, Labels: labels, desc: prometheus.NewDesc(name, help, labels, nil)}
}

func counter(m *Metric) *Metric { m.Counter = true; return m }
func own(m *Metric) *Metric     { m.Own = true; return m }

var (
	autoscalerRecommendations = metric("autoscaler_recommendations", "Replicas that a HorizontalPodAutoscaler wants; cores and bytes that a VerticalPodAutoscaler recommends for a container.",
		"namespace", "kind", "name", "container", "resource")
	budgetViolations = metric("pod_disruption_budget_violations", "1 while fewer pods are healthy than the budget wants, or it allows no disruption although all pods are there, or it cannot be computed; else 0.",
		"namespace", "name")
	chaosFailures = counter(metric("chaos_test_failures_total", "Drills in the repository that did not pass; errors count, too.", "namespace", "target", "experiment"))
	drillTime     = metric("helmproof_drill_timestamp_seconds", "When the newest verified drill was judged, in seconds since 1970.", "namespace", "target", "experiment")
	drillPassed   = metric("helmproof_drill_passed", "1 if the newest verified drill passed, else 0.", "namespace", "target", "experiment")
	evidenceTime  = metric("helmproof_evidence_timestamp_seconds", "When the newest verified evidence was judged, in seconds since 1970.", scope...)
	verdict       = metric("helmproof_verdict", "1 for the verdict of the newest verified evidence, 0 for the others.", append(slices.Clone(scope), "verdict")...)
	unverifiable  = metric("helmproof_evidence_unverifiable", "Bundles in the repository that do not verify, or do not count.", "reason")
	missing       = metric("helmproof_evidence_missing", "1 for a Helm release of the cluster without evidence of its revision's chart and values, else 0.", "release", "namespace")
	byName        = metric("helmproof_release_compared_by_name", "1 for a Helm release that is compared with evidence by its names alone, since watch may not read its revision, else 0.", "release", "namespace")
	waiverExpiry  = metric("helmproof_waiver_expiry_timestamp_seconds", "The earliest end of a waiver that the newest evidence used, in seconds since 1970.",
		append(slices.Clone(scope), "control")...)
	secretReady    = metric("helmproof_external_secret_ready", "1 if an ExternalSecret says that it is ready, else 0.", "namespace", "name")
	secretRefresh  = metric("helmproof_external_secret_refresh_timestamp_seconds", "When an ExternalSecret was refreshed last, in seconds since 1970; 0 if never.", "namespace", "name")
	secretInterval = metric("helmproof_external_secret_refresh_interval_seconds", "How often an ExternalSecret is to be refreshed; 0 if not by time.", "namespace", "name")
	podSecurity    = metric("helmproof_pod_security_violations", "Pods that a Pod Security Standard refuses: live of pods that have not ended, dryrun of the pod templates of workloads.",
		"namespace", "level", "mode")
	scaleEvents      = counter(metric("helmproof_hpa_scale_events_total", "Changes of the number of replicas that a HorizontalPodAutoscaler wants, since watch began.", "namespace", "name", "direction"))
	directionChanges = counter(metric("helmproof_hpa_direction_changes_total", "How often a HorizontalPodAutoscaler scaled up after down, or down after up, since watch began.", "namespace", "name"))

	watchUp       = own(metric("helmproof_watch_up", "1 while the last reading of a source succeeded, else 0.", "source"))
	watchSuccess  = own(metric("helmproof_watch_last_success_timestamp_seconds", "When a source was read successfully last, in seconds since 1970.", "source"))
	watchLeader   = own(metric("helmproof_watch_leader", "1 on the one watch that exports what comes of cluster and repository, else 0."))
	watchSeries   = own(metric("helmproof_watch_series", "Series that are exported of cluster and repository."))
	watchLimit    = own(metric("helmproof_watch_series_limit", "How many of them may be exported at most."))
	watchDropped  = own(metric("helmproof_watch_series_dropped", "Series of a metric that the limits leave out.", "metric"))
	watchBuild    = own(metric("helmproof_build_info", "1, for this version of helmproof and of its rules.", "version", "rules"))
	listOfMetrics = []*Metric{
		verdict, evidenceTime, missing, unverifiable, chaosFailures, drillPassed, drillTime, waiverExpiry, budgetViolations, podSecurity, autoscalerRecommendations,
		secretReady, secretRefresh, secretInterval, scaleEvents, directionChanges, byName,
		watchUp, watchSuccess, watchLeader, watchSeries, watchLimit, watchDropped, watchBuild,
	}
)

// Metrics lists all metrics, the most important first: what a limit leaves out is of the last.
func Metrics() []*Metric { return listOfMetrics }

// Limits bound what is exported.
type Limits struct {
	Series    int // in all
	PerMetric int // of one metric
}

// samples is what one scrape gets.
type samples struct {
	of map[*Metric]map[string]*sample // by the labels' values
}

type sample struct {
	labels []string
	value  float64
}

func newSamples() *samples { return &samples{map[*Metric]map[string]*sample{}} }

// maxLabel bounds the value of a label, in bytes: a chart may call itself anything.
const maxLabel = 128

// clean makes of a text what a label may hold.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) > maxLabel {
		s = s[:maxLabel-16]
		s = strings.ToValidUTF8(s, "") + "…" // a cut character
	}
	return s
}

// at returns the sample with these labels, which is new where there was none.
func (s *samples) at(m *Metric, labels ...string) (x *sample, fresh bool) {
	for i := range labels {
		labels[i] = clean(labels[i])
	}
	key := strings.Join(labels, "\x00")
	if x := s.of[m][key]; x != nil {
		return x, false
	}
	if s.of[m] == nil {
		s.of[m] = map[string]*sample{}
	}
	x = &sample{labels: labels}
	s.of[m][key] = x
	return x, true
}

// set sets a value; of two with the same labels the last one counts.
func (s *samples) set(m *Metric, v float64, labels ...string) {
	x, _ := s.at(m, labels...)
	x.value = v
}

// least sets the smaller of two values with the same labels.
func (s *samples) least(m *Metric, v float64, labels ...string) {
	x, fresh := s.at(m, labels...)
	if fresh || v < x.value {
		x.value = v
	}
}

// most sets the larger of two values with the same labels.
func (s *samples) most(m *Metric, v float64, labels ...string) {
	x, fresh := s.at(m, labels...)
	if fresh || v > x.value {
		x.value = v
	}
}

func (s *samples) add(m *Metric, v float64, labels ...string) {
	x, _ := s.at(m, labels...)
	x.value += v
}

// send hands the samples on within the limits. What is left out is the last of a metric by
// its labels, so that it is the same series each time, and it is counted.
func (s *samples) send(to chan<- prometheus.Metric, lim Limits) {
	total := 0
	for _, m := range listOfMetrics {
		if m.Own {
			continue
		}
		list := make([]*sample, 0, len(s.of[m]))
		for _, x := range s.of[m] {
			list = append(list, x)
		}
		slices.SortFunc(list, func(a, b *sample) int { return slices.Compare(a.labels, b.labels) })
		n := min(len(list), lim.PerMetric, max(0, lim.Series-total))
		total += n
		s.set(watchDropped, float64(len(list)-n), m.Name)
		emit(to, m, list[:n])
	}
	s.set(watchSeries, float64(total))
	s.set(watchLimit, float64(lim.Series))
	for _, m := range listOfMetrics {
		if !m.Own {
			continue
		}
		for _, x := range s.of[m] {
			emit(to, m, []*sample{x})
		}
	}
}

func emit(to chan<- prometheus.Metric, m *Metric, list []*sample) {
	kind := prometheus.GaugeValue
	if m.Counter {
		kind = prometheus.CounterValue
	}
	for _, x := range list {
		to <- prometheus.MustNewConstMetric(m.desc, kind, x.value, x.labels...)
	}
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// worst orders verdicts, the worst first: of evidence from several clusters with the same
// labels the worst counts.
var worst = []evidence.VerdictOutcome{evidence.VerdictFail, evidence.VerdictIncomplete, evidence.VerdictPass}

// highest keeps the highest values of counters that are counted anew each time: a bundle
// that is damaged, or taken away, takes no failure back. A counter that goes down would read
// as one that began anew.
type highest map[string]*sample

func (h highest) keep(s *samples, m *Metric) {
	for key, x := range s.of[m] {
		if was := h[key]; was == nil || x.value > was.value {
			h[key] = &sample{labels: x.labels, value: x.value}
		}
	}
	for _, x := range h {
		s.set(m, x.value, slices.Clone(x.labels)...)
	}
}

// addCensus adds what the repository says of the cluster, or of all where that is empty.
func (s *samples) addCensus(c *Census, cluster string) {
	for reason, n := range c.Unverifiable {
		s.set(unverifiable, float64(n), reason)
	}
	type subject struct{ kind, chart, release, namespace, cluster, series string }
	type drilled struct{ namespace, cluster, release, target, experiment string }
	seen, drills := map[subject]bool{}, map[drilled]bool{}
	verdicts := map[string][]string{} // the labels of a scope, by the worst verdict's place in worst
	rank := map[string]int{}
	for _, e := range c.All { // newest first
		r := &e.Release
		if cluster != "" && r.Cluster != "" && r.Cluster != cluster {
			continue
		}
		if e.Drill != nil {
			labels := []string{r.Namespace, e.Drill.Target, e.Drill.Experiment}
			s.add(chaosFailures, number(e.Drill.Failed), slices.Clone(labels)...)
			if d := (drilled{r.Namespace, r.Cluster, r.ReleaseName, e.Drill.Target, e.Drill.Experiment}); !drills[d] {
				drills[d] = true
				s.least(drillTime, seconds(e.At), slices.Clone(labels)...)
				s.least(drillPassed, number(e.Outcome == evidence.VerdictPass), slices.Clone(labels)...)
			}
		}
		of := subject{string(r.Scope), r.Chart, r.ReleaseName, r.Namespace, r.Cluster, e.series}
		if seen[of] {
			continue
		}
		seen[of] = true
		labels := []string{string(r.Scope), r.Chart, r.ReleaseName, r.Namespace, e.Profile}
		s.least(evidenceTime, seconds(e.At), slices.Clone(labels)...)
		for control, end := range e.Waivers {
			s.least(waiverExpiry, seconds(end), append(slices.Clone(labels), string(control))...)
		}
		key, at := strings.Join(labels, "\x00"), slices.Index(worst, e.Outcome)
		if was, ok := rank[key]; !ok || cmp.Less(at, was) {
			rank[key], verdicts[key] = at, labels
		}
	}
	for key, labels := range verdicts {
		for i, v := range worst {
			s.most(verdict, number(i == rank[key]), append(slices.Clone(labels), string(v))...)
		}
	}
}
