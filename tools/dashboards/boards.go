package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// query is one of PromQL, and how its series are called.
type query struct{ expr, legend string }

// scope is what says what evidence is about, and is the legend of its series.
const (
	scope       = "kind, chart, release, namespace, profile"
	scopeLegend = "{{kind}} {{namespace}}/{{release}} {{chart}} {{profile}}"
)

// boards are the dashboards by the names of their files.
func boards() map[string]*dashboard.DashboardBuilder {
	return map[string]*dashboard.DashboardBuilder{
		"resources":   resources(),
		"autoscaling": autoscaling(),
		"drills":      drills(),
		"compliance":  compliance(),
	}
}

// resources: what containers use of what they may.
func resources() *dashboard.DashboardBuilder {
	const by = "sum by (namespace, pod, container) "
	used := func(metric string) string {
		return by + `(rate(` + metric + `{namespace=~"$namespace", container!=""}[$__rate_interval]))`
	}
	share := func(usage, bound, resource string) string {
		return "topk(20, " + usage + " / " + by + `(` + bound + `{namespace=~"$namespace", resource="` + resource + `"}))`
	}
	memory := by + `(container_memory_working_set_bytes{namespace=~"$namespace", container!=""})`
	const legend = "{{namespace}}/{{pod}} {{container}}"
	return board("resources", "Resources against limits", "Needs kube-state-metrics and the kubelet's cAdvisor.").
		WithPanel(series("CPU, share of the limit", "The twenty containers that are nearest to it. At 100 % they are throttled.", "percentunit",
			query{share(used("container_cpu_usage_seconds_total"), "kube_pod_container_resource_limits", "cpu"), legend}).Min(0).Thresholds(above(0.9))).
		WithPanel(series("Memory, share of the limit", "At 100 % the kernel ends the container.", "percentunit",
			query{share(memory, "kube_pod_container_resource_limits", "memory"), legend}).Min(0).Thresholds(above(0.9))).
		WithPanel(series("CPU, share of the request", "Far below 100 %: the request keeps room from others. Far above: the node decides what is left.", "percentunit",
			query{share(used("container_cpu_usage_seconds_total"), "kube_pod_container_resource_requests", "cpu"), legend}).Min(0)).
		WithPanel(series("Memory, share of the request", "Pods that use more than they ask for are evicted first.", "percentunit",
			query{share(memory, "kube_pod_container_resource_requests", "memory"), legend}).Min(0)).
		WithPanel(series("Throttled", "The share of periods in which the limit of CPU stopped the container.", "percentunit",
			query{"topk(20, " + used("container_cpu_cfs_throttled_periods_total") + " / " + used("container_cpu_cfs_periods_total") + ")", legend}).Min(0).Thresholds(above(0.25))).
		WithPanel(series("Restarts in an hour", "Containers that ended, for whatever reason.", "short",
			query{by + `(increase(kube_pod_container_status_restarts_total{namespace=~"$namespace"}[1h]))`, legend}).Min(0)).
		WithPanel(number("Ended by lack of memory", "Containers whose last end was OOMKilled.", "short",
			query{`sum(kube_pod_container_status_last_terminated_reason{namespace=~"$namespace", reason="OOMKilled"}) or vector(0)`, ""}).Thresholds(above(1))).
		WithPanel(series("Memory that VerticalPodAutoscalers recommend", "Compare with the requests of the same containers.", "bytes",
			query{`max by (namespace, name, container) (autoscaler_recommendations{kind="VerticalPodAutoscaler", resource="memory", namespace=~"$namespace"})`, "{{namespace}}/{{name}} {{container}}"}).Min(0))
}

// autoscaling: what autoscalers want, have and do.
func autoscaling() *dashboard.DashboardBuilder {
	const legend = "{{namespace}}/{{name}}"
	hpa := func(metric string) string {
		return `max by (namespace, horizontalpodautoscaler) (` + metric + `{namespace=~"$namespace"})`
	}
	const hpaLegend = "{{namespace}}/{{horizontalpodautoscaler}}"
	return board("autoscaling", "Autoscalers", "What autoscalers recommend and do, and budgets that stand in the way. Bounds need kube-state-metrics.").
		WithPanel(series("Replicas that are wanted", "Desired replicas of HorizontalPodAutoscalers.", "short",
			query{`max by (namespace, name) (autoscaler_recommendations{kind="HorizontalPodAutoscaler", resource="replicas", namespace=~"$namespace"})`, legend}).Min(0)).
		WithPanel(series("Share of the upper bound", "At 100 % an autoscaler cannot add pods, whatever the load.", "percentunit",
			query{hpa("kube_horizontalpodautoscaler_status_current_replicas") + " / " + hpa("kube_horizontalpodautoscaler_spec_max_replicas"), hpaLegend}).Min(0).Thresholds(above(1))).
		WithPanel(series("Wanted and not there", "Desired less current replicas.", "short",
			query{hpa("kube_horizontalpodautoscaler_status_desired_replicas") + " - " + hpa("kube_horizontalpodautoscaler_status_current_replicas"), hpaLegend})).
		WithPanel(series("Above the lower bound", "Replicas over the minimum. Always 0: the autoscaler has nothing to do.", "short",
			query{hpa("kube_horizontalpodautoscaler_status_current_replicas") + " - " + hpa("kube_horizontalpodautoscaler_spec_min_replicas"), hpaLegend})).
		WithPanel(series("Actions", "Changes of the number of replicas, in an hour.", "short",
			query{`sum by (namespace, name, direction) (increase(helmproof_hpa_scale_events_total{namespace=~"$namespace"}[1h]))`, legend + " {{direction}}"}).Min(0)).
		WithPanel(series("Changes of direction in 30 minutes", "From five on an autoscaler thrashes (HelmproofHPAThrash).", "short",
			query{`sum by (namespace, name) (increase(helmproof_hpa_direction_changes_total{namespace=~"$namespace"}[30m]))`, legend}).Min(0).Thresholds(above(5))).
		WithPanel(series("CPU that VerticalPodAutoscalers recommend", "In cores.", "short",
			query{`max by (namespace, name, container) (autoscaler_recommendations{kind="VerticalPodAutoscaler", resource="cpu", namespace=~"$namespace"})`, legend + " {{container}}"}).Min(0)).
		WithPanel(states("PodDisruptionBudgets", "Violated: fewer pods are healthy than the budget wants, or it allows no disruption at all.",
			query{`max by (namespace, name) (pod_disruption_budget_violations{namespace=~"$namespace"})`, legend}, "kept", "violated"))
}

// drills: what chaos tests showed.
func drills() *dashboard.DashboardBuilder {
	const by, legend = "by (namespace, target, experiment)", "{{namespace}}/{{target}} {{experiment}}"
	return board("drills", "Drills", "Outcomes of chaos tests, from the signed evidence.").
		WithPanel(number("Newest drills that passed", "The share of targets and experiments whose newest drill passed.", "percentunit",
			query{`avg(max ` + by + ` (helmproof_drill_passed{namespace=~"$namespace"}))`, ""}).Thresholds(below(1))).
		WithPanel(number("Newest drills that failed", "", "short",
			query{`sum(max ` + by + ` (helmproof_drill_passed{namespace=~"$namespace"}) == bool 0)`, ""}).Thresholds(above(1))).
		WithPanel(number("Oldest of the newest drills", "Profile release takes drills of 31 days at most.", "s",
			query{`max(time() - max ` + by + ` (helmproof_drill_timestamp_seconds{namespace=~"$namespace"}))`, ""}).Thresholds(above(2419200))).
		WithPanel(number("Failures in the repository", "All drills that failed and are still in the repository.", "short",
			query{`sum(max ` + by + ` (chaos_test_failures_total{namespace=~"$namespace"}))`, ""})).
		WithPanel(states("Outcomes", "The newest drill of each target and experiment.",
			query{`1 - max ` + by + ` (helmproof_drill_passed{namespace=~"$namespace"})`, legend}, "passed", "failed").Span(24)).
		WithPanel(series("Failures", "They grow with the repository.", "short",
			query{`max ` + by + ` (chaos_test_failures_total{namespace=~"$namespace"})`, legend}).Min(0)).
		WithPanel(series("Age of the newest drills", "", "s",
			query{`time() - max ` + by + ` (helmproof_drill_timestamp_seconds{namespace=~"$namespace"})`, legend}).Min(0).Thresholds(above(2419200)))
}

// compliance: what the evidence says, and how much of it there is. What has the name
// helmproof: is recorded by rules.yaml.
func compliance() *dashboard.DashboardBuilder {
	return board("compliance", "Compliance", "Verdicts of the newest evidence over time, and what makes evidence worthless. Needs the recording rules.").
		WithPanel(number("Releases in order", "The share of releases whose evidence is fresh and passing. The objective is 99 %.", "percentunit",
			query{`1 - helmproof:evidence_bad:ratio`, ""}).Thresholds(below(0.99))).
		WithPanel(number("Error budget that is left", "Of 30 days. Negative: more is spent than there was.", "percentunit",
			query{`1 - avg_over_time(helmproof:evidence_bad:ratio[30d]) / 0.01`, ""}).Thresholds(below(0))).
		WithPanel(number("Releases without evidence", "They run, and the repository has nothing about what Helm installed last.", "short",
			query{`sum(max by (release, namespace) (helmproof_evidence_missing))`, ""}).Thresholds(above(1))).
		WithPanel(number("Bundles that do not verify", "Changed, signed by an unknown key, or unreadable.", "short",
			query{`sum(max by (reason) (helmproof_evidence_unverifiable))`, ""}).Thresholds(above(1))).
		WithPanel(verdicts()).
		WithPanel(series("Verdicts", "Of the newest evidence about releases and clusters.", "short",
			query{`sum by (verdict) (max by (` + scope + `, verdict) (helmproof_verdict{kind=~"release|cluster", namespace=~"$namespace|"}))`, "{{verdict}}"}).
			Min(0).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal)).FillOpacity(30)).
		WithPanel(series("Age of the newest evidence", "The gate refuses what is older than 7 days.", "s",
			query{`topk(20, helmproof:evidence_age_seconds{kind=~"release|cluster", namespace=~"$namespace|"})`, scopeLegend}).Min(0).Thresholds(above(604800))).
		WithPanel(series("Waivers: time that is left", "The ten that end first. Afterwards the control counts again.", "s",
			query{`bottomk(10, min by (` + scope + `, control) (helmproof_waiver_expiry_timestamp_seconds{namespace=~"$namespace|"}) - time())`, "{{control}} " + scopeLegend})).
		WithPanel(series("Pods that break Pod Security Standards", "Running pods.", "short",
			query{`sum by (namespace, level) (max by (namespace, level, mode) (helmproof_pod_security_violations{mode="live", namespace=~"$namespace"}))`, "{{namespace}} {{level}}"}).Min(0)).
		WithPanel(series("External Secrets: time since the last refresh", "In intervals that they ask for. From two on they are overdue.", "short",
			query{`(time() - max by (namespace, name) (helmproof_external_secret_refresh_timestamp_seconds{namespace=~"$namespace"} > 0)) / max by (namespace, name) (helmproof_external_secret_refresh_interval_seconds{namespace=~"$namespace"} > 0)`, "{{namespace}}/{{name}}"}).Min(0).Thresholds(above(2))).
		WithPanel(states("External Secrets", "", query{`1 - min by (namespace, name) (helmproof_external_secret_ready{namespace=~"$namespace"})`, "{{namespace}}/{{name}}"}, "ready", "not ready")).
		WithPanel(states("Sources of watch", "While one is away its last values stay.", query{`1 - max by (source) (helmproof_watch_up)`, "{{source}}"}, "read", "away")).
		WithPanel(series("Series of watch", "What is over the limit is left out.", "short",
			query{`max(helmproof_watch_series)`, "exported"}, query{`max(helmproof_watch_series_limit)`, "limit"}, query{`sum(max by (metric) (helmproof_watch_series_dropped))`, "left out"}).Min(0)).
		WithPanel(series("Releases compared by name alone", "Watch may not read what Helm stored of them: evidence of theirs is only some of that name.", "short",
			query{`sum(max by (release, namespace) (helmproof_release_compared_by_name))`, "releases"}).Min(0).Thresholds(above(1)))
}

func verdicts() *statetimeline.PanelBuilder {
	return states("Verdict of each release", "", query{`helmproof:verdict{kind=~"release|cluster", namespace=~"$namespace|"}`, scopeLegend}, "PASS", "").
		Mappings([]dashboard.ValueMapping{values(map[string][2]string{"0": {"PASS", "green"}, "1": {"INCOMPLETE", "orange"}, "2": {"FAIL", "red"}})}).
		Span(24)
}

// board is a dashboard with a choice of the data source and of namespaces.
func board(name, title, description string) *dashboard.DashboardBuilder {
	return dashboard.NewDashboardBuilder("helmproof / "+title).
		Uid("helmproof-"+name).
		Description(description).
		Tags([]string{"helmproof"}).
		Readonly().
		Refresh("1m").
		Time("now-24h", "now").
		Timezone(common.TimeZoneBrowser).
		Link(dashboard.NewDashboardLinkBuilder("helmproof").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"helmproof"}).AsDropdown(true).KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(dashboard.NewQueryVariableBuilder("namespace").Label("Namespace").
			Datasource(source()).
			Query(dashboard.StringOrMap{String: cog.ToPtr(`label_values({__name__=~"autoscaler_recommendations|helmproof_evidence_missing|helmproof_pod_security_violations|helmproof_verdict", namespace!=""}, namespace)`)}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
			Multi(true).IncludeAll(true).AllValue(".*").
			Current(dashboard.VariableOption{Selected: cog.ToPtr(true), Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")}}))
}

func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

func target(i int, q query) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().Expr(q.expr).LegendFormat(q.legend).Range().RefId(string(rune('A' + i))).Datasource(source())
}

// series is a panel of lines, half as wide as the dashboard.
func series(title, description, unit string, queries ...query) *timeseries.PanelBuilder {
	p := timeseries.NewPanelBuilder().Title(title).Description(description).Unit(unit).Datasource(source()).Span(12).Height(8).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeTable).Placement(common.LegendPlacementBottom).ShowLegend(true).Calcs([]string{"lastNotNull", "max"}))
	for i, q := range queries {
		p.WithTarget(target(i, q))
	}
	return p
}

// number is a panel of one number. Where there is none it says so, and is not green.
func number(title, description, unit string, q query) *stat.PanelBuilder {
	return stat.NewPanelBuilder().Title(title).Description(description).Unit(unit).Datasource(source()).Span(6).Height(4).
		NoValue("no data").
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"}).Values(false)).
		WithTarget(target(0, q))
}

// states is a panel of what was how for how long: 0 is good, 1 bad.
func states(title, description string, q query, good, bad string) *statetimeline.PanelBuilder {
	return statetimeline.NewPanelBuilder().Title(title).Description(description).Datasource(source()).Span(12).Height(8).
		NoValue("no data").
		Mappings([]dashboard.ValueMapping{values(map[string][2]string{"0": {good, "green"}, "1": {bad, "red"}})}).
		WithTarget(target(0, q))
}

// values gives texts and colours to values.
func values(of map[string][2]string) dashboard.ValueMapping {
	m := dashboard.NewValueMap()
	for v, t := range of {
		m.Options[v] = dashboard.ValueMappingResult{Text: &t[0], Color: &t[1]}
	}
	return dashboard.ValueMapping{ValueMap: m}
}

// above is green below a limit, and red from it on.
func above(limit float64) cog.Builder[dashboard.ThresholdsConfig] {
	return thresholds("green", limit, "red")
}

// below is red below a limit, and green from it on.
func below(limit float64) cog.Builder[dashboard.ThresholdsConfig] {
	return thresholds("red", limit, "green")
}

func thresholds(first string, limit float64, then string) cog.Builder[dashboard.ThresholdsConfig] {
	return dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).
		Steps([]dashboard.Threshold{{Color: first}, {Value: &limit, Color: then}})
}
