package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rivo/uniseg"
	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/forecast"
	"github.com/companyos/helmproof/report"
)

// forecastFlags say whose drains are forecast, and where.
type forecastFlags struct {
	releaseFlags
	node, zone   string
	nodes, zones int
}

func newForecast(a *app) *cobra.Command {
	f := new(forecastFlags)
	cmd := &cobra.Command{
		Use:   "forecast [CHART]",
		Short: "Say what draining nodes and zones would come to, without draining them",
		Long: `Forecast says of each node and each zone that runs pods of a live release what
draining it would come to: it drains, a PodDisruptionBudget (or a pod that nothing
makes again) blocks it, a pod cannot be rescheduled, the topology spread would be
violated, or it is unknown. Only reading requests are made. All nodes of a zone are
taken to be cordoned first; drains are those of kubectl drain with --ignore-daemonsets
and --delete-emptydir-data, without --force. All pods of a node count, not only those
of the release.

It says "drains" only where that follows whatever the scheduler chooses. What it does
not know (other schedulers, webhooks, operators, volumes without a known place) is
unknown. It takes for granted that a new pod becomes Ready as the old one did.

With CHART instead of --release no cluster is asked: the chart's pods and budgets are
thought onto --nodes nodes in --zones zones that have room for everything.

Exit code 3 says that something does not drain, or that it is unknown whether it does.`,
		Example: `  helmproof forecast --release payments -n shop
  helmproof forecast --release payments -n shop --zone europe-west1-b
  helmproof forecast --release payments -n shop --node node-7 -o json
  helmproof forecast charts/payments -f prod.yaml --nodes 6 --zones 3`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.forecast(cmd, args, f) },
	}
	f.registerChart(cmd)
	f.cluster.registerConnection(cmd)
	fl := cmd.Flags()
	fl.StringP("namespace", "n", "", "`NAMESPACE` of the release")
	fl.String("release-name", "", "with CHART: release `NAME`; the chart's name if empty")
	fl.String("kube-version", "", "with CHART: Kubernetes `VERSION` to render for")
	fl.StringSlice("api-versions", nil, "with CHART: API `VERSIONS` that it may ask for")
	fl.StringVar(&f.live.release, "release", "", "the live release `NAME`, as Helm stored it in the cluster")
	fl.StringVar(&f.node, "node", "", "only this `NODE`")
	fl.StringVar(&f.zone, "zone", "", "only this `ZONE`")
	fl.IntVar(&f.nodes, "nodes", 3, "with CHART: how many nodes there are")
	fl.IntVar(&f.zones, "zones", 3, "with CHART: how many zones they lie in")
	fl.Duration("timeout", 0, "time limit")
	_ = cmd.RegisterFlagCompletionFunc("release", f.completeReleases)
	_ = cmd.RegisterFlagCompletionFunc("node", f.completeNodes)
	_ = cmd.RegisterFlagCompletionFunc("zone", cobra.NoFileCompletions)
	return cmd
}

// forecastJSON is the object of -o json; docs/schemas/forecast.schema.json describes it.
type forecastJSON struct {
	Chart     string           `json:"chart"`
	Version   string           `json:"version,omitempty"`
	Release   string           `json:"release,omitempty"` // live; empty: nothing was asked of a cluster
	Namespace string           `json:"namespace"`
	At        *time.Time       `json:"at,omitempty"` // when the cluster was asked
	Assumed   []string         `json:"assumed,omitempty"`
	Missing   []string         `json:"missing"` // workloads without a pod
	Forecasts []forecast.Entry `json:"forecasts"`
}

func (f *forecastFlags) check(cmd *cobra.Command, args []string) error {
	changed := func(names ...string) string {
		return strings.Join(slices.DeleteFunc(names, func(n string) bool { return !cmd.Flags().Changed(n) }), ", --")
	}
	switch {
	case len(args) > 1:
		return usageErr("forecast: one CHART, got %d arguments", len(args))
	case len(args) == 0 && f.live.release == "":
		return usageErr("nothing to forecast: give --release NAME, or a CHART; see helmproof forecast --help")
	case len(args) == 1 && f.live.release != "":
		return usageErr("--release looks at what Helm stored: forecast a CHART in a run of its own")
	case f.node != "" && f.zone != "":
		return usageErr("--node and --zone: give one of them")
	}
	if len(args) == 1 {
		if names := changed("context", "kubeconfig"); names != "" {
			return usageErr("--%s means something with --release only", names)
		}
		if f.nodes < 1 || f.nodes > forecast.MaxNodes || f.zones < 1 || f.zones > min(f.nodes, forecast.MaxZones) {
			return usageErr("--nodes %d --zones %d: want 1 to %d nodes, in at most as many zones, %d at most", f.nodes, f.zones, forecast.MaxNodes, forecast.MaxZones)
		}
		return nil
	}
	if names := changed("values", "set", "set-string", "set-file", "set-json", "chart-repo", "version", "plain-http", "release-name", "kube-version", "api-versions", "nodes", "zones"); names != "" {
		return usageErr("--%s means something with CHART only", names)
	}
	return nil
}

func (a *app) forecast(cmd *cobra.Command, args []string, f *forecastFlags) error {
	if err := f.check(cmd, args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), a.cfg.Timeout, fmt.Errorf("no forecast within %s", a.cfg.Timeout))
	defer cancel()
	opts, err := a.loadOptions(&f.releaseFlags)
	if err != nil {
		return err
	}
	var out forecastJSON
	if len(args) == 1 {
		err = a.imagine(ctx, args[0], opts, f, &out)
	} else {
		err = a.forecastLive(ctx, opts, f, &out)
	}
	if err != nil {
		return err
	}
	if a.cfg.Output == "json" {
		if err := writeJSON(a.io.out, out); err != nil {
			return err
		}
	} else {
		printForecasts(newTerminal(a.io.out, a.cfg.Color), &out)
	}
	bad := slices.ContainsFunc(out.Forecasts, func(e forecast.Entry) bool { return e.Outcome != forecast.Drains })
	if bad || len(out.Missing) > 0 {
		return &exitError{code: exitVerdict}
	}
	return nil
}

// imagine forecasts from a chart alone.
func (a *app) imagine(ctx context.Context, ref string, opts chart.LoadOptions, f *forecastFlags, out *forecastJSON) (err error) {
	opts.Workers = a.renderers()
	defer opts.Workers.Close()
	rel, err := chart.Load(ctx, ref, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rel.Close()) }()
	set, err := rel.Objects()
	if err != nil {
		return err
	}
	s, err := forecast.Imagine(set, rel.Info.Namespace, f.nodes, f.zones)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	out.Assumed = s.Assumed
	return f.fill(s, rel, out)
}

// forecastLive forecasts for a live release.
func (a *app) forecastLive(ctx context.Context, opts chart.LoadOptions, f *forecastFlags, out *forecastJSON) (err error) {
	cluster, err := f.cluster.connect(ctx)
	if err != nil {
		return err
	}
	jobs, err := a.liveJobs(ctx, cluster, &f.live, true)
	if err != nil {
		return err
	}
	if len(jobs) != 1 || jobs[0].Stored == nil {
		return usageErr("--release %s: Helm's storage has %s of that name in the namespace; want one", f.live.release, plural(len(jobs), "release"))
	}
	opts.Workers = a.renderers()
	defer opts.Workers.Close()
	rel, err := chart.LoadStored(ctx, cluster, *jobs[0].Stored, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rel.Close()) }()
	s, err := forecast.Take(ctx, cluster, time.Now())
	if err != nil {
		return err
	}
	out.Release, out.At = f.live.release, &s.At
	return f.fill(s, rel, out)
}

// fill forecasts for the pods of the release.
func (f *forecastFlags) fill(s *forecast.Snapshot, rel *chart.Release, out *forecastJSON) error {
	set, err := rel.Objects()
	if err != nil {
		return err
	}
	out.Chart, out.Version, out.Namespace = rel.Info.Chart, rel.Info.Version, rel.Info.Namespace
	pods, missing := s.Of(set, rel.Info.Namespace)
	out.Missing, out.Forecasts = []string{}, []forecast.Entry{}
	for _, o := range missing {
		out.Missing = append(out.Missing, o.GetKind()+" "+o.GetName())
	}
	for i := range set.Broken {
		out.Missing = append(out.Missing, "a document that cannot be read: "+set.Broken[i].Error)
	}
	for _, i := range pods {
		if s.Pods[i].Node == "" {
			out.Missing = append(out.Missing, "Pod "+s.Pods[i].Name+", which is on no node")
		}
	}
	for _, e := range s.Forecast(pods) {
		if f.node == "" && f.zone == "" || f.node == e.Name && e.Kind == forecast.KindNode || f.zone == e.Name && e.Kind == forecast.KindZone {
			out.Forecasts = append(out.Forecasts, e)
		}
	}
	if len(out.Forecasts) > 0 || f.node == "" && f.zone == "" {
		return nil
	}
	// Where no pod of the release runs, the others may still be in the way.
	e := forecast.Entry{Kind: forecast.KindNode, Name: f.node}
	nodes := []string{f.node}
	if f.zone != "" {
		e.Kind, e.Name, nodes = forecast.KindZone, f.zone, s.Zone(f.zone)
	}
	if len(nodes) == 0 || f.node != "" && !slices.ContainsFunc(s.Nodes, func(n forecast.Node) bool { return n.Name == f.node }) {
		return usageErr("there is no %s %s", strings.ToLower(e.Kind), e.Name)
	}
	e.Forecast = s.Drain(nodes...)
	out.Forecasts = append(out.Forecasts, e)
	return nil
}

// forecastMark is how an outcome looks.
func forecastMark(o forecast.Outcome) report.Mark {
	m := report.MarkFail
	switch o {
	case forecast.Drains:
		m = report.MarkPass
	case forecast.Unknown:
		m = report.MarkNotChecked
	}
	m.Word = string(o)
	return m
}

func printForecasts(t *terminal, f *forecastJSON) {
	title := f.Chart + " " + f.Version
	if f.Release != "" {
		title = f.Release + " (" + strings.TrimSpace(title) + ")"
	}
	t.line("")
	t.line(t.bold(printable(strings.TrimSpace(title))))
	t.para("", "", "namespace "+f.Namespace)
	for _, s := range f.Assumed {
		t.para("assumed: ", "         ", s)
	}
	for _, m := range f.Missing {
		t.para(t.mark(report.MarkNotChecked, 0)+" ", "    ", m+": nothing can be said of it")
	}
	width := 0
	for _, e := range f.Forecasts {
		width = max(width, uniseg.StringWidth(e.Name))
	}
	drains := 0
	for i, e := range f.Forecasts {
		if i == 0 || f.Forecasts[i-1].Kind != e.Kind {
			t.line("")
			t.line(t.bold(e.Kind + "s"))
		}
		if e.Outcome == forecast.Drains {
			drains++
		}
		parts := []string{t.mark(forecastMark(e.Outcome), 21), printable(e.Name) + pad(e.Name, width)}
		if e.Zone != "" {
			parts = append(parts, printable(e.Zone))
		}
		t.phrase("    ", append(parts, fmt.Sprintf("%s evicted, %d of the release", plural(e.Pods, "pod"), e.Own)))
		for _, r := range e.Reasons {
			t.para("    ", "      ", r.String())
		}
		if e.More > 0 {
			t.line(t.faint(fmt.Sprintf("    and %d more", e.More)))
		}
		for _, n := range e.Notes {
			t.para("    note: ", "          ", n)
		}
	}
	t.line("")
	if len(f.Forecasts) == 0 {
		t.line("no pod of the release runs on a node")
		return
	}
	t.line(fmt.Sprintf("%d of %d drain", drains, len(f.Forecasts)))
}

// completeNodes asks the cluster, for as long as a person waits.
func (f *forecastFlags) completeNodes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
	defer cancel()
	c, err := f.cluster.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, n := range c.Info.Nodes {
		out = append(out, n.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
