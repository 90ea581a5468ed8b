package monitoring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/companyos/helmproof/test/monitoring/promtest"
)

// exporter serves metrics as helmproof watch would.
type exporter struct {
	mu    sync.Mutex
	since time.Time
	world func(b *strings.Builder, seconds float64)
}

func (e *exporter) show(world func(*strings.Builder, float64)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.world = world
}

func (e *exporter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	e.world(&b, time.Since(e.since).Seconds())
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write([]byte(b.String())) // a scraper that has gone is none of ours
}

// alertmanager takes what Prometheus notifies it of, by alert and whether it is over.
type alertmanager struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (a *alertmanager) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var alerts []struct {
		Labels map[string]string
		EndsAt time.Time
	}
	if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range alerts {
		a.seen[fmt.Sprintf("%s %s resolved=%t", x.Labels["alertname"], x.Labels["release"], !x.EndsAt.After(time.Now()))] = true
	}
}

func (a *alertmanager) has(what string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[what]
}

// start runs Prometheus with the rules, faster by far: what waits for minutes waits for
// no time at all, and everything is evaluated five times a second.
func start(t *testing.T, e *exporter, am *alertmanager) promtest.Server {
	t.Helper()
	dir := t.TempDir()
	metrics, alerts := httptest.NewServer(e), httptest.NewServer(am)
	t.Cleanup(metrics.Close)
	t.Cleanup(alerts.Close)
	promtest.ReadRules(t).Edit(t, filepath.Join(dir, "rules.yaml"), func(r *promtest.Rule) {
		r.For, r.KeepFiringFor = "", ""
		r.Expr = strings.ReplaceAll(r.Expr, "offset 10m", "offset 1s")
	})
	// The target has labels of its own of the names that the metrics use: honor_labels.
	return promtest.Start(t, dir, fmt.Sprintf(`
global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: helmproof
    honor_labels: true
    scrape_timeout: 200ms
    static_configs: [{targets: ['%s'], labels: {namespace: monitoring, container: watch}}]
alerting:
  alertmanagers: [{static_configs: [{targets: ['%s']}]}]
`, metrics.Listener.Addr(), alerts.Listener.Addr()))
}

// firing gives the alerts that fire, by rule.
func firing(ctx context.Context, s promtest.Server) (map[string]promtest.Alert, error) {
	list, err := s.Firing(ctx)
	out := map[string]promtest.Alert{}
	for _, a := range list {
		out[a.Labels["alertname"]+" "+a.Labels["severity"]] = a
	}
	return out, err
}

// aged is a release of a verdict whose evidence has an age.
func aged(age time.Duration) func(*strings.Builder, float64) {
	return func(b *strings.Builder, _ float64) {
		now := float64(time.Now().UnixMilli()) / 1000
		const scope = `kind="release",chart="web",release="web",namespace="shop",profile="release"`
		fmt.Fprintf(b, "helmproof_build_info{version=\"v1\",rules=\"1\"} 1\nhelmproof_watch_leader 1\n")
		fmt.Fprintf(b, "helmproof_watch_up{source=\"repository\"} 1\nhelmproof_watch_last_success_timestamp_seconds{source=\"repository\"} %f\n", now)
		fmt.Fprintf(b, "helmproof_evidence_timestamp_seconds{%s} %f\n", scope, now-age.Seconds())
		for verdict, v := range map[string]int{"PASS": 1, "FAIL": 0, "INCOMPLETE": 0} {
			fmt.Fprintf(b, "helmproof_verdict{%s,verdict=%q} %d\n", scope, verdict, v)
		}
	}
}

// TestPrometheus: a real Prometheus, scraping what watch exports, fires when evidence
// goes stale, tells Alertmanager, resolves when there is new evidence; fires everything
// where everything is wrong, in words without holes; and answers each query of the
// dashboards with data.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	e := &exporter{since: time.Now(), world: aged(8 * 24 * time.Hour)}
	am := &alertmanager{seen: map[string]bool{}}
	s := start(t, e, am)

	const stale = "HelmproofEvidenceStale critical"
	s.Until(t, func(ctx context.Context) error {
		firing, err := firing(ctx, s)
		if a, ok := firing[stale]; err == nil && (!ok || a.Labels["namespace"] != "shop" || !strings.Contains(a.Annotations["description"], "8d")) {
			err = fmt.Errorf("%s does not fire: %v", stale, firing)
		}
		if err == nil && !am.has("HelmproofEvidenceStale web resolved=false") {
			err = errors.New("Alertmanager was not told that it fires")
		}
		return err
	})
	e.show(aged(time.Minute))
	s.Until(t, func(ctx context.Context) error {
		firing, err := firing(ctx, s)
		if _, ok := firing[stale]; err == nil && ok {
			err = fmt.Errorf("%s did not resolve", stale)
		}
		if err == nil && !am.has("HelmproofEvidenceStale web resolved=true") {
			err = errors.New("Alertmanager was not told that it resolved")
		}
		return err
	})

	e.show(everythingWrong)
	want := map[string]bool{}
	for _, r := range promtest.ReadRules(t).Alerts() {
		want[r.Key()] = r.Alert != "HelmproofWatchDown" // it fires where there is nothing at all
	}
	found := map[string]promtest.Alert{}
	s.Until(t, func(ctx context.Context) error {
		firing, err := firing(ctx, s)
		maps.Copy(found, firing)
		for key, due := range want {
			if _, ok := found[key]; err == nil && due && !ok {
				err = fmt.Errorf("%s does not fire; there are %q", key, slices.Sorted(maps.Keys(found)))
			}
		}
		return err
	})
	hole := regexp.MustCompile(`<no value>|<error|error expanding|%!|  | [.,]|NaN| in (runs|failed|is)\b`)
	for key, a := range found {
		for name, text := range a.Annotations {
			if hole.MatchString(text) {
				t.Errorf("%s: %s has a hole: %s", key, name, text)
			}
		}
	}

	for where, expr := range promtest.DashboardQueries(t) {
		s.Until(t, func(ctx context.Context) error {
			series, err := s.Query(ctx, expr)
			if err == nil && len(series) == 0 {
				err = fmt.Errorf("%s: no data of %s", where, expr)
			}
			return err
		})
	}
}

// everythingWrong is one series at least of each metric of testdata/metrics.txt, with
// values of which every alert but HelmproofWatchDown fires. Counters grow.
func everythingWrong(b *strings.Builder, seconds float64) {
	now := float64(time.Now().UnixMilli()) / 1000
	const day = 86400.0
	scope := func(release string) string {
		return `kind="release",chart="web",release="` + release + `",namespace="shop",profile="release"`
	}
	put := func(metric, labels string, value float64) { fmt.Fprintf(b, "%s{%s} %f\n", metric, labels, value) }
	put("helmproof_build_info", `version="v1",rules="1"`, 1)
	put("helmproof_watch_leader", "", 0)
	put("helmproof_watch_series", "", 100)
	put("helmproof_watch_series_limit", "", 100)
	put("helmproof_watch_series_dropped", `metric="helmproof_verdict"`, 3)
	for _, source := range []string{"api", "repository"} {
		put("helmproof_watch_up", `source="`+source+`"`, 0)
		put("helmproof_watch_last_success_timestamp_seconds", `source="`+source+`"`, now)
	}
	for release, age := range map[string]float64{"web": 8, "api": 6.5, "db": 1} {
		put("helmproof_evidence_timestamp_seconds", scope(release), now-age*day)
		for _, verdict := range []string{"PASS", "FAIL", "INCOMPLETE"} {
			is := verdict == map[string]string{"web": "FAIL", "api": "INCOMPLETE", "db": "FAIL"}[release]
			// The verdict of one keeps changing.
			if release == "db" && verdict == "FAIL" {
				is = int(seconds)/2%2 == 0
			}
			put("helmproof_verdict", scope(release)+`,verdict="`+verdict+`"`, map[bool]float64{true: 1}[is])
		}
	}
	put("helmproof_waiver_expiry_timestamp_seconds", scope("web")+`,control="SEC-3"`, now+day)
	put("helmproof_evidence_missing", `release="cache",namespace="shop"`, 1)
	put("helmproof_release_compared_by_name", `release="cache",namespace="shop"`, 1)
	put("helmproof_evidence_unverifiable", `reason="signature"`, 1)
	put("helmproof_evidence_unverifiable", `reason="unreadable"`, 1)
	const drill = `namespace="shop",target="web",experiment="eviction"`
	put("chaos_test_failures_total", drill, 2)
	put("helmproof_drill_passed", drill, 0)
	put("helmproof_drill_timestamp_seconds", drill, now-40*day)
	const object = `namespace="shop",name="web"`
	put("helmproof_external_secret_ready", object, 0)
	put("helmproof_external_secret_refresh_timestamp_seconds", object, now-day)
	put("helmproof_external_secret_refresh_interval_seconds", object, 3600)
	put("pod_disruption_budget_violations", object, 1)
	put("helmproof_hpa_direction_changes_total", object, float64(int(seconds*10)))
	put("helmproof_hpa_scale_events_total", object+`,direction="up"`, float64(int(seconds*10)))
	put("autoscaler_recommendations", object+`,kind="HorizontalPodAutoscaler",container="",resource="replicas"`, 4)
	put("autoscaler_recommendations", object+`,kind="VerticalPodAutoscaler",container="web",resource="cpu"`, 0.2)
	put("autoscaler_recommendations", object+`,kind="VerticalPodAutoscaler",container="web",resource="memory"`, 1e8)
	for _, mode := range []string{"live", "dryrun"} {
		for _, level := range []string{"baseline", "restricted"} {
			put("helmproof_pod_security_violations", `namespace="shop",level="`+level+`",mode="`+mode+`"`, 2)
		}
	}

	const container = `namespace="shop",pod="web-1",container="web"`
	for _, bound := range []string{"requests", "limits"} {
		put("kube_pod_container_resource_"+bound, container+`,node="n",resource="cpu",unit="core",uid="1"`, 1)
		put("kube_pod_container_resource_"+bound, container+`,node="n",resource="memory",unit="byte",uid="1"`, 2e8)
	}
	put("kube_pod_container_status_restarts_total", container+`,uid="1"`, 1)
	put("kube_pod_container_status_last_terminated_reason", container+`,reason="OOMKilled",uid="1"`, 1)
	for metric, v := range map[string]float64{"spec_min": 2, "spec_max": 4, "status_current": 4, "status_desired": 4} {
		put("kube_horizontalpodautoscaler_"+metric+"_replicas", `namespace="shop",horizontalpodautoscaler="web"`, v)
	}
	const cgroup = container + `,image="i",id="/x",name="c"`
	put("container_cpu_usage_seconds_total", cgroup+`,cpu="total"`, seconds)
	put("container_cpu_cfs_periods_total", cgroup, 10*seconds)
	put("container_cpu_cfs_throttled_periods_total", cgroup, 3*seconds)
	put("container_memory_working_set_bytes", cgroup, 1e8)
}

// TestEverythingWrong: it has all metrics, and no labels that watch does not give them.
func TestEverythingWrong(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(strings.Replace(line, "SCOPE", "kind chart release namespace profile", 1)); len(f) > 1 && f[0] != "#" {
			slices.Sort(f[2:])
			want[f[0]] = strings.Join(f[2:], " ")
		}
	}
	var b strings.Builder
	everythingWrong(&b, 1)
	label := regexp.MustCompile(`(\w+)="`)
	seen := map[string]bool{}
	for line := range strings.Lines(b.String()) {
		metric, labels, _ := strings.Cut(line, "{")
		var names []string
		for _, m := range label.FindAllStringSubmatch(labels, -1) {
			names = append(names, m[1])
		}
		slices.Sort(names)
		seen[metric] = true
		if got := strings.Join(names, " "); got != want[metric] {
			t.Errorf("%s has labels %q, want %q", metric, got, want[metric])
		}
	}
	for metric := range want {
		if !seen[metric] {
			t.Errorf("nothing of %s", metric)
		}
	}
}
