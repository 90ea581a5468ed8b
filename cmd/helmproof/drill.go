package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// drillFlags say what is done to which release.
type drillFlags struct {
	releaseFlags // of which the connection and the release are used
	file, suite  string
	dryRun, yes  bool

	plan      drill.Plan // as flags say it, over the file
	probes    []string
	rate      float64
	timeout   time.Duration
	objective float64 // percent
	grace     int64
	node      string
	query     drill.Prometheus
	rollback  drill.RollbackPlan
	load      drill.LoadPlan
	request   string // of load, as it was given
}

func newDrill(a *app) *cobra.Command {
	f := new(drillFlags)
	cmd := &cobra.Command{
		Use:   "drill EXPERIMENT --release NAME",
		Short: "Disturb a live release on purpose, and seal how its service fared",
		Long: `Drill does one experiment on a release that Helm installed, while it sends
requests to the release's Services and watches its pods, and seals what it saw
as a bundle of scope drill. The verdict says whether the service stayed within
its error budget, whether PodDisruptionBudgets held, and whether it recovered.

EXPERIMENT is one of
  pod-kill         delete pods, which asks no PodDisruptionBudget
  eviction         evict pods by the Eviction API, which does
  node-drain       cordon a node, and evict its pods
  zone-drain       likewise every node of a zone
  rolling-restart  as kubectl rollout restart does
  container-kill   end containers' main processes
  rollback         an upgrade that must fail, and the way back
  load             requests at a stated rate, by HTTP or gRPC, against the limits

--suite release does in turn what controls RSL-1 to RSL-4 ask for.

Before anything is touched, a preflight asks whether the release is steady,
whether its budgets allow the disruption, whether anybody else disturbs it, and
whether the rights are there (templates/rbac/drill.yaml); --dry-run stops after
that. A question that cannot be answered is a no,
but for the forecast of a drain: what that cannot tell, the drill shows. Only pods of namespaces that
--allow-namespace names are touched, no more at once than --max-pods, --max-percent
and --max-nodes say, and never while another drill runs in the cluster. A drill
ends early when the error budget is spent, on Ctrl-C, and when the API server or
the probes are lost. What was changed is put back, after a crash by the next
drill or by helmproof drill restore.

Exit code 3 says that a verdict is FAIL or INCOMPLETE.`,
		Example: `  helmproof drill pod-kill --release shop -n shop --allow-namespace shop --dry-run
  helmproof drill eviction --release shop -n shop --allow-namespace shop --yes
  helmproof drill node-drain --release shop -n shop --allow-namespace shop --node worker-3 --yes
  helmproof drill load --release shop -n shop --allow-namespace shop --load-rate 200 --hold 2m --yes
  helmproof drill load --release cart -n shop --allow-namespace shop --probe grpc://cart.shop:9000 --load-method shop.Cart/Get --load-request hex:0a0161 --yes
  helmproof drill --plan drill.yaml --release shop -n shop --yes -o json
  helmproof drill --suite release --release shop -n shop --allow-namespace shop --yes
  helmproof drill restore --context prod`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErr("drill: one experiment at a time, got %d arguments; --suite runs several", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var out []string
			for _, e := range drill.Experiments() {
				if len(args) == 0 {
					out = append(out, string(e))
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.drill(cmd, args, f) },
	}
	f.register(cmd)
	fl := cmd.Flags()
	fl.StringP("namespace", "n", "", "`NAMESPACE` of the release")
	fl.String("profile", "", "control profile of scope drill: a built-in `NAME` or a YAML file")
	fl.String("waivers", "", "waivers `FILE`; ./waivers.yaml if it is there")
	fl.String("key", "", "signing key: a `FILE`, or a key in a KMS")
	fl.String("tsa", "", "RFC 3161 timestamp authority `URL`; without it nothing proves when")
	fl.StringSlice("formats", nil, "reports to store: pdf, md, html, json, sarif, junit")
	_ = cmd.MarkFlagFilename("waivers", "yaml", "yml")
	_ = cmd.RegisterFlagCompletionFunc("profile", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return profileNames(), cobra.ShellCompDirectiveDefault
	})
	a.repoFlags(cmd)
	a.repositoryIDFlag(cmd)
	cmd.AddCommand(newDrillRestore(a))
	return cmd
}

func (f *drillFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.live.release, "release", "", "the live release `NAME`, as Helm stored it in the cluster")
	_ = cmd.RegisterFlagCompletionFunc("release", f.completeReleases)
	f.cluster.registerConnection(cmd)
	fl.StringVar(&f.file, "plan", "", "a plan `FILE` (docs/drills.md); flags change what it says")
	fl.StringVar(&f.suite, "suite", "", "run a `SUITE` of drills: release")
	fl.BoolVar(&f.dryRun, "dry-run", false, "print the plan and the preflight, and touch nothing")
	fl.BoolVar(&f.yes, "yes", false, "do not ask whether the release may be disturbed")
	_ = cmd.MarkFlagFilename("plan", "yaml", "yml")
	_ = cmd.RegisterFlagCompletionFunc("suite", cobra.FixedCompletions(drill.Suites(), cobra.ShellCompDirectiveNoFileComp))

	p := &f.plan
	duration := func(d *evidence.Duration, name, usage string) { fl.DurationVar((*time.Duration)(d), name, 0, usage) }
	fl.StringSliceVar(&p.AllowNamespaces, "allow-namespace", nil, "`NAMESPACE` whose pods the drill may touch; may be given several times")
	fl.StringVar(&p.Target.Workload, "workload", "", "disturb one `WORKLOAD` of the release only, such as Deployment/web")
	fl.IntVar(&p.Target.Count, "count", 0, "pods of each workload (1 if neither this nor --percent is given)")
	fl.IntVar(&p.Target.Percent, "percent", 0, "share of each workload's pods, rounded up")
	fl.Int64Var(&f.grace, "grace", 0, "`SECONDS` that pods get to end, instead of their own; 0 kills at once")
	fl.StringVar(&f.node, "node", "", "node-drain: the `NODE`; one that runs a pod of the release if empty")
	fl.StringVar(&p.Target.Zone, "zone", "", "zone-drain: the `ZONE`")
	fl.StringVar(&p.Target.Container, "container", "", "container-kill: the `CONTAINER`; the first if empty")
	fl.Int64Var(&p.Target.Seed, "seed", 0, "`NUMBER` that decides which pods are chosen")
	fl.IntVar(&p.Limits.Pods, "max-pods", 0, "most pods that may be touched (10)")
	fl.IntVar(&p.Limits.Percent, "max-percent", 0, "largest share of a workload's pods that may be touched (50)")
	fl.IntVar(&p.Limits.Nodes, "max-nodes", 0, "most nodes that may be drained (1)")

	fl.StringArrayVar(&f.probes, "probe", nil, "`ADDRESS` to send requests to: http://host:port/path, grpc://host:port/service or tcp://host:port; the release's Services if empty")
	fl.Float64Var(&f.rate, "rate", 0, "requests a second of each probe (20)")
	fl.DurationVar(&f.timeout, "probe-timeout", 0, "time after which a request failed (1s)")
	fl.StringVar(&p.Prober.Image, "prober-image", "", "send requests from a pod of this `IMAGE` (cmd/prober), not from here")
	fl.StringVar(&f.query.URL, "prometheus", "", "`URL` of a Prometheus that is asked as well")
	fl.StringVar(&f.query.Query, "query", "", "with --prometheus: the `QUERY` that gives the share of good requests, 0 to 1")
	fl.Float64Var(&f.objective, "objective", 0, "service level objective in `PERCENT` of good requests (99.9)")
	duration(&p.SLO.Window, "window", "window of the objective, of which the error budget follows (1h)")
	fl.Float64Var(&p.SLO.Share, "budget-share", 0, "`SHARE` of the window's error budget that the drill may spend (1)")
	duration(&p.SLO.Latency, "latency", "a request that takes longer has failed")

	duration(&p.Phases.Before, "before", "how long requests are sent before the fault (10s)")
	duration(&p.Phases.After, "after", "how long after all is ready again (10s)")
	duration(&p.Phases.Recover, "recover", "time within which all has to be ready again (2m)")
	duration(&p.Phases.Deadline, "deadline", "time after which the drill is ended (15m)")

	fl.StringVar(&f.rollback.Fault, "fault", "", "rollback: what is wrong with the upgrade: bad-image, failing-readiness or crash-loop (bad-image)")
	duration(&f.rollback.Detect, "detect", "rollback: time within which the upgrade has to be known to fail (2m)")
	duration(&f.rollback.Back, "back", "rollback: time within which the release has to be back and healthy (3m)")
	_ = cmd.RegisterFlagCompletionFunc("fault", cobra.FixedCompletions([]string{"bad-image", "failing-readiness", "crash-loop"}, cobra.ShellCompDirectiveNoFileComp))
	fl.Float64Var(&f.load.Rate, "load-rate", 0, "load: requests a second (50)")
	fl.StringVar(&f.load.Method, "load-method", "", "load: `METHOD` of a gRPC service to call, package.Service/Method; the health check if empty")
	fl.StringVar(&f.request, "load-request", "", "with --load-method: its `MESSAGE` in protobuf's encoding, hex:0a01…, base64:CgE… or @FILE; it is sealed")
	fl.BoolVar(&f.load.FromPod, "load-from-pod", false, "load: send it from a pod of --prober-image, not from here")
	duration(&f.load.Ramp, "ramp", "load: time to reach the rate (15s)")
	duration(&f.load.Hold, "hold", "load: time to hold it (1m)")
	duration(&f.load.P99, "p99", "load: largest latency of 99 of 100 requests")
	fl.Float64Var(&f.load.Headroom, "headroom", 0, "load: `SHARE` of a container's limits that has to be left at the peak (0.1)")
}

// plans are the drills that are asked for, without defaults.
func (f *drillFlags) plans(cmd *cobra.Command, args []string) ([]drill.Plan, error) {
	p := f.plan
	if f.file != "" {
		raw, err := os.ReadFile(f.file)
		if err != nil {
			return nil, usageErr("--plan: %w", err)
		}
		if p, err = drill.ParsePlan(raw); err != nil {
			return nil, usageErr("--plan %s: %w", f.file, err)
		}
	}
	if err := f.over(cmd, &p); err != nil {
		return nil, err
	}
	switch {
	case f.suite != "" && (len(args) > 0 || f.file != "" && p.Experiment != ""):
		return nil, usageErr("--suite names the experiments: give no EXPERIMENT with it")
	case f.suite != "":
		list, err := drill.Suite(f.suite, p)
		if err != nil {
			return nil, usageErr("--%w", err)
		}
		return list, nil
	case len(args) > 0:
		p.Experiment = drill.Experiment(args[0])
	}
	if !slices.Contains(drill.Experiments(), p.Experiment) {
		var names []string
		for _, e := range drill.Experiments() {
			names = append(names, string(e))
		}
		if p.Experiment == "" {
			return nil, usageErr("drill: no experiment: want one of %s, or --suite release", strings.Join(names, ", "))
		}
		return nil, usageErr("drill: no experiment %q: want one of %s", p.Experiment, strings.Join(names, ", "))
	}
	if p.Experiment == drill.Load && p.Load == nil {
		p.Load = drill.DefaultLoad()
	}
	if p.Experiment == drill.Rollback && p.Rollback == nil {
		p.Rollback = drill.DefaultRollback()
	}
	return []drill.Plan{p}, nil
}

// over puts the flags that were given over the plan.
func (f *drillFlags) over(cmd *cobra.Command, p *drill.Plan) error {
	given := cmd.Flags().Changed
	from := f.plan
	for name, set := range map[string]func(){
		"allow-namespace": func() { p.AllowNamespaces = from.AllowNamespaces },
		"workload":        func() { p.Target.Workload = from.Target.Workload },
		"count":           func() { p.Target.Count, p.Target.Percent = from.Target.Count, from.Target.Percent },
		"percent":         func() { p.Target.Count, p.Target.Percent = from.Target.Count, from.Target.Percent },
		"grace":           func() { p.Target.GraceSeconds = &f.grace },
		"node":            func() { p.Target.Node = f.node },
		"zone":            func() { p.Target.Zone = from.Target.Zone },
		"container":       func() { p.Target.Container = from.Target.Container },
		"seed":            func() { p.Target.Seed = from.Target.Seed },
		"max-pods":        func() { p.Limits.Pods = from.Limits.Pods },
		"max-percent":     func() { p.Limits.Percent = from.Limits.Percent },
		"max-nodes":       func() { p.Limits.Nodes = from.Limits.Nodes },
		"prober-image":    func() { p.Prober = from.Prober },
		"objective":       func() { p.SLO.Objective = f.objective / 100 },
		"window":          func() { p.SLO.Window = from.SLO.Window },
		"budget-share":    func() { p.SLO.Share = from.SLO.Share },
		"latency":         func() { p.SLO.Latency = from.SLO.Latency },
		"before":          func() { p.Phases.Before = from.Phases.Before },
		"after":           func() { p.Phases.After = from.Phases.After },
		"recover":         func() { p.Phases.Recover = from.Phases.Recover },
		"deadline":        func() { p.Phases.Deadline = from.Phases.Deadline },
	} {
		if given(name) {
			set()
		}
	}
	if given("probe") {
		p.Probes = nil
		for _, address := range f.probes {
			p.Probes = append(p.Probes, drill.Probe{Address: address})
		}
	}
	if given("objective") && f.objective < 50 {
		return usageErr("--objective %g: it is in percent: want 99.9 for 999 of 1000 good requests", f.objective)
	}
	if given("prometheus") != given("query") {
		return usageErr("--prometheus and --query belong together")
	}
	if given("prometheus") {
		p.Prometheus = &f.query
	}
	if given("load-request") {
		raw, err := loadRequest(f.request)
		if err != nil {
			return usageErr("--load-request: %w", err)
		}
		f.load.Request = base64.StdEncoding.EncodeToString(raw)
	}
	f.overKinds(given, p)
	return nil
}

// overProbe is over for a probe, be it of the plan or made from a Service.
func (f *drillFlags) overProbe(cmd *cobra.Command, b *drill.Probe) {
	if cmd.Flags().Changed("rate") {
		b.Rate = f.rate
	}
	if cmd.Flags().Changed("probe-timeout") {
		b.Timeout = evidence.Duration(f.timeout)
	}
}

// overKinds is over for what belongs to one experiment alone.
func (f *drillFlags) overKinds(given func(string) bool, p *drill.Plan) {
	back, load := drill.DefaultRollback(), drill.DefaultLoad()
	if p.Rollback != nil {
		back = p.Rollback
	}
	if p.Load != nil {
		load = p.Load
	}
	for name, set := range map[string]func(){
		"fault":  func() { back.Fault, p.Rollback = f.rollback.Fault, back },
		"detect": func() { back.Detect, p.Rollback = f.rollback.Detect, back },
		"back":   func() { back.Back, p.Rollback = f.rollback.Back, back },

		"load-rate": func() { load.Rate, p.Load = f.load.Rate, load },
		// A message is of its method: another's does not stay.
		"load-method":   func() { load.Method, load.Request, p.Load = f.load.Method, f.load.Request, load },
		"load-request":  func() { load.Request, p.Load = f.load.Request, load },
		"load-from-pod": func() { load.FromPod, p.Load = f.load.FromPod, load },
		"ramp":          func() { load.Ramp, p.Load = f.load.Ramp, load },
		"hold":          func() { load.Hold, p.Load = f.load.Hold, load },
		"p99":           func() { load.P99, p.Load = f.load.P99, load },
		"headroom":      func() { load.Headroom, p.Load = f.load.Headroom, load },
	} {
		if given(name) {
			set()
		}
	}
}

func (a *app) drill(cmd *cobra.Command, args []string, f *drillFlags) error {
	ctx := cmd.Context()
	plans, err := f.plans(cmd, args)
	if err != nil {
		return err
	}
	if f.live.release == "" {
		return usageErr("drill: say which release with --release NAME; helm list -A shows them")
	}
	from := a.rules()
	if !cmd.Flags().Changed("profile") {
		from.Profile = "drill"
	}
	rules, err := pipeline.LoadRules(from)
	if err != nil {
		return err
	}
	p := &pipeline.Pipeline{Tool: tool(), Stored: true, Formats: a.cfg.Formats, Now: time.Now, Log: a.log}
	if p.Cluster, err = f.cluster.connect(ctx); err != nil {
		return err
	}
	jobs, err := a.liveJobs(ctx, p.Cluster, &f.live, cmd.Flags().Changed("namespace"))
	if err != nil {
		return err
	}
	if len(jobs) > 1 {
		return usageErr("drill: %d releases match: say which with -n", len(jobs))
	}
	rel, err := p.Load(ctx, jobs[0], chart.LoadOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = rel.Close() }() // a folder of its own, nothing was written there
	for i := range plans {
		if plans[i], err = p.CompletePlan(ctx, rel, plans[i], func(b *drill.Probe) { f.overProbe(cmd, b) }); err != nil {
			return err
		}
	}
	judgedBy := make([]pipeline.Rules, len(plans))
	for i, plan := range plans {
		if judgedBy[i], err = rules.ForDrill(plan.Experiment); err != nil {
			return err
		}
	}
	if f.dryRun {
		return a.dryRun(ctx, p, rel, plans)
	}
	if err := a.confirm(p.Cluster, rel, plans, f.yes); err != nil {
		return err
	}
	if p.Repo, err = a.openRepo(ctx); err != nil {
		return err
	}
	if p.Signer, err = a.signer(ctx); err != nil {
		return err
	}
	if p.Repository, err = a.sealedFor(ctx, p.Repo); err != nil {
		return err
	}
	var done []pipeline.Job
	for i, plan := range plans {
		p.Rules = judgedBy[i]
		job := pipeline.Job{Ref: fmt.Sprintf("drill %s of %s", plan.Experiment, jobs[0].Ref), Stored: jobs[0].Stored}
		say := a.drillProgress(plan, i, len(plans))
		job.Out, job.Err = p.Drill(ctx, rel, plan, say)
		if cause := context.Cause(ctx); cause != nil {
			if len(done) > 0 { // the drills before it are stored
				var verdict *exitError
				if err := a.printJobs(p, done); !errors.As(err, &verdict) {
					job.Err = errors.Join(job.Err, err)
				}
			}
			return errors.Join(errors.New("interrupted: nothing was stored of the drill; what it said was not put back, helmproof drill restore does"), job.Err)
		}
		done = append(done, job)
	}
	return a.printJobs(p, done)
}

// drillProgress says on standard error what a drill is doing.
func (a *app) drillProgress(plan drill.Plan, i, of int) func(string) {
	if a.quiet {
		return func(string) {}
	}
	prefix := string(plan.Experiment)
	if of > 1 {
		prefix = fmt.Sprintf("%d of %d, %s", i+1, of, prefix)
	}
	return func(s string) { fmt.Fprintf(a.io.err, "%s: %s\n", prefix, printable(s)) }
}

// confirm asks the person at the terminal to name what is going to be disturbed.
func (a *app) confirm(c *cluster.Cluster, rel *chart.Release, plans []drill.Plan, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(a.io.in) {
		return usageErr("drill: it disturbs a live release: confirm with --yes, or try --dry-run")
	}
	var names []string
	for _, p := range plans {
		names = append(names, string(p.Experiment))
	}
	fmt.Fprintf(a.io.err, "This disturbs the live release %s in namespace %s of cluster %s: %s.\nType the release's name to go on: ",
		printable(rel.Info.ReleaseName), printable(rel.Info.Namespace), printable(c.Config.Host), strings.Join(names, ", "))
	answer, err := bufio.NewReader(a.io.in).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != rel.Info.ReleaseName {
		return usageErr("drill: not confirmed; nothing was touched")
	}
	return nil
}

// dryRun prints each plan with its preflight. A drill that would be refused is an
// operational failure, as it would be then.
func (a *app) dryRun(ctx context.Context, p *pipeline.Pipeline, rel *chart.Release, plans []drill.Plan) error {
	out := report.DrillDryRunJSON{Drills: []report.DrillPlanJSON{}}
	refused := 0
	for _, plan := range plans {
		checks, err := p.Preflight(ctx, rel, plan)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(checks, func(c drill.Check) bool { return !c.OK }) {
			refused++
		}
		out.Drills = append(out.Drills, report.DrillPlanJSON{Plan: plan, Preflight: checks})
	}
	if a.cfg.Output == "json" {
		if err := writeJSON(a.io.out, out); err != nil {
			return err
		}
	} else {
		t := newTerminal(a.io.out, a.cfg.Color)
		for _, d := range out.Drills {
			printDrillPlan(t, d.Plan, d.Preflight)
		}
	}
	if refused > 0 {
		return fmt.Errorf("%d of %s would be refused: the preflight says why", refused, plural(len(plans), "drill"))
	}
	return nil
}

// printDrillPlan writes a plan and its preflight.
func printDrillPlan(t *terminal, p drill.Plan, checks []drill.Check) {
	t.line("")
	t.line(t.bold(string(p.Experiment)))
	for _, b := range p.Probes {
		t.para("  probe     ", "            ", fmt.Sprintf("%s, %g a second, timeout %s", b.Address, b.Rate, time.Duration(b.Timeout)))
	}
	t.para("  budget    ", "            ", fmt.Sprintf("%.4g%% over %s: %.3g s of failed requests, of which the drill may spend %.3g s",
		p.SLO.Objective*100, time.Duration(p.SLO.Window), p.SLO.Seconds(), p.SLO.Allowed()))
	t.para("  limits    ", "            ", fmt.Sprintf("%s, %d%% of a workload, %s; namespaces %s", plural(p.Limits.Pods, "pod"), p.Limits.Percent, plural(p.Limits.Nodes, "node"), strings.Join(p.AllowNamespaces, ", ")))
	for _, c := range checks {
		mark := report.FindingMark(evidence.OutcomePass)
		if !c.OK {
			mark = report.FindingMark(evidence.OutcomeFail)
		}
		t.para("  "+t.mark(mark, 8)+" ", "           ", c.Name+": "+c.Reason)
	}
}

func newDrillRestore(a *app) *cobra.Command {
	var f clusterFlags
	var force bool
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Put back what a drill that was cut off had changed",
		Long: `Restore reads, in the cluster, the record that a drill makes before it touches
anything, and puts back what it says: nodes are uncordoned, probers removed, a
failed upgrade rolled back. The next drill does the same by itself. While the
drill that left the record is still running, restore refuses.`,
		Example: `  helmproof drill restore
  helmproof drill restore --context prod --force`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.connect(cmd.Context())
			if err != nil {
				return err
			}
			done, err := pipeline.RestoreDrill(cmd.Context(), c, time.Now, force)
			return errors.Join(a.printRestored(done), err)
		},
	}
	f.registerConnection(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "also while the drill's lease has not run out")
	cmd.Flags().StringP("output", "o", "", "output: text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) printRestored(done []string) error {
	if a.cfg.Output == "json" {
		if done == nil {
			done = []string{}
		}
		return writeJSON(a.io.out, report.DrillRestoredJSON{Restored: done})
	}
	if len(done) == 0 {
		_, err := fmt.Fprintln(a.io.out, "nothing to restore")
		return err
	}
	for _, s := range done {
		if _, err := fmt.Fprintln(a.io.out, printable(s)); err != nil {
			return err
		}
	}
	return nil
}
