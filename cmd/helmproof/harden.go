package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/harden"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

func newHarden(a *app) *cobra.Command {
	var f releaseFlags
	var o harden.Options
	var report, aggressive bool
	var w hardenWrite
	var ids []string
	cmd := &cobra.Command{
		Use:   "harden [CHART --report|--write]",
		Short: "Harden the manifests of charts that others wrote",
		Long: `Harden reads rendered manifests on standard input and writes them to standard
output with what is missing and stops no container that ran: a Helm
post-renderer. It only adds. What a chart sets on purpose stays, and so does
every byte that nothing is added to. What was added is listed on standard error
and in an annotation of each object. A second run changes nothing.

Invalid input is an error (exit code 2) with nothing on standard output.

What can stop a container is added on request only: --control for what a control
asks for and nothing in the manifests speaks against, --read-only-root,
--run-as-non-root, --drop-capabilities and --probes tcp for more of it,
--aggressive for all. --resolve reads the images and adds what they bear; what
they show to be harmful is then not added on request either. An object with the
annotation ` + harden.OptOut + `: skip is left alone.

--write looks for values of CHART that mend findings and make none worse, by
rendering, and prints them as a patch of the last -f file, or of the chart's
values.yaml. Unasked it proposes what stops no container: requests, and disruption
budgets. --control asks for more, for example SEC-4; limits and digests, which nobody
but you knows, are never proposed. --apply changes the file. What came of it is judged
again.

--report changes nothing. It renders CHART, or reads standard input, and prints
what harden adds, the findings before and after, and what is left. With -o json one object is written to standard output, which
without --report holds the manifests too.`,
		Example: `  helm template web charts/web | helmproof harden | kubectl apply -f -
  helm install web charts/web --post-renderer helmproof-harden
  helmproof harden charts/web --report
  helmproof harden charts/web --profile starter -f values.yaml --write
  helmproof harden charts/web --control SEC-4 --write --apply
  helmproof harden oci://registry.example.com/charts/web --report --run-as-non-root
  helm template charts/web | helmproof harden --control SEC-3 --control SEC-4
  helm template charts/web | helmproof harden -o json --skip Job`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, id := range ids {
				o.Controls = append(o.Controls, evidence.ControlID(id))
			}
			if w.write && !report && !aggressive && onlyControls(o) && !cmd.Flags().Changed("resolve") {
				return a.hardenValues(cmd, args, &f, o.Controls, w)
			}
			if w.write {
				return usageErr("harden --write changes values: of the other options of harden it takes --control alone")
			}
			if w.apply {
				return usageErr("harden: --apply writes what --write proposes: give both")
			}
			if err := o.Check(); err != nil {
				return usageErr("%w", err)
			}
			if aggressive {
				o.Aggressive()
			}
			// Only the flag counts: a configuration file must not send a release to registries.
			var src *images.Sources
			if cmd.Flags().Changed("resolve") && a.cfg.Resolve {
				src = &images.Sources{Platforms: a.cfg.Platform, PlainHTTP: f.load.PlainHTTP}
			}
			if report {
				return a.hardenReport(cmd, args, &f, o, src)
			}
			if len(args) > 0 {
				return usageErr("harden %s: give --report to see what would change; to harden a release, pipe helm template into helmproof harden or install with it as post-renderer", args[0])
			}
			return a.hardenStream(cmd, o, src)
		},
	}
	f.registerChart(cmd)
	a.pipelineFlags(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&report, "report", false, "print what would change, and what is left to whom")
	fl.BoolVar(&w.write, "write", false, "propose values of CHART that mend findings, as a patch of the last -f file, or of its values.yaml")
	fl.BoolVar(&w.apply, "apply", false, "with --write: change the file, too")
	fl.BoolVar(&aggressive, "aggressive", false, "add all that can be asked for: programs may not start, or fail")
	fl.StringSliceVar(&ids, "control", nil, "add also what `CONTROL` asks for where nothing in the manifests speaks against it, for example SEC-4")
	fl.BoolVar(&o.ReadOnlyRoot, "read-only-root", false, "make root filesystems read-only where the chart says nothing")
	fl.BoolVar(&o.RunAsNonRoot, "run-as-non-root", false, "refuse root also where only the image says which user runs")
	fl.BoolVar(&o.DropCapabilities, "drop-capabilities", false, "drop all capabilities and forbid privilege escalation also for root and low ports")
	fl.StringVar(&o.Probes, "probes", "", "add missing probes; `KIND` is tcp: a connection to the first port")
	fl.StringSliceVar(&o.Skip, "skip", nil, "leave objects of this `KIND` alone, for example Job")
	fl.Bool("resolve", false, "read the images from their registries: users, file capabilities and set-user-id programs; adds what they bear")
	fl.StringArray("platform", nil, "with --resolve: `OS/ARCH` that the release runs on, such as linux/arm64; may be given several times")
	_ = cmd.RegisterFlagCompletionFunc("probes", cobra.FixedCompletions([]string{harden.ProbesTCP}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("control", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var all []string
		for _, id := range harden.Controls() {
			all = append(all, string(id))
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	})
	_ = cmd.RegisterFlagCompletionFunc("skip", cobra.FixedCompletions([]string{"CronJob", "DaemonSet", "Deployment", "Job", "Pod", "StatefulSet"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// hardenJSON is the object of -o json; docs/schemas/harden.schema.json describes it.
type hardenJSON struct {
	Chart     string                     `json:"chart,omitempty"`
	Version   string                     `json:"version,omitempty"`
	Namespace string                     `json:"namespace,omitempty"`
	Profile   string                     `json:"profile,omitempty"`
	Objects   int                        `json:"objects"` // in the input
	Changes   []harden.Change            `json:"changes"`
	Kept      []harden.Kept              `json:"kept"`
	Controls  []pipeline.HardenedControl `json:"controls,omitempty"`
	Remaining []evidence.Finding         `json:"remaining,omitempty"`
	Fixes     []pipeline.HardenedFix     `json:"fixes,omitempty"` // of what remains
	Manifests *string                    `json:"manifests,omitempty"`
	Written   *writtenJSON               `json:"written,omitempty"` // of --write
}

// hardenStream is the post-renderer. Nothing is written before all is known.
func (a *app) hardenStream(cmd *cobra.Command, o harden.Options, src *images.Sources) error {
	if isTerminal(a.io.in) {
		return usageErr("harden reads manifests on standard input: pipe helm template into it; see helmproof harden --help")
	}
	raw, err := io.ReadAll(io.LimitReader(a.io.in, manifest.MaxSize+1))
	if err != nil {
		return fmt.Errorf("read manifests from standard input: %w", err)
	}
	if err := a.readImages(cmd.Context(), raw, &o, src); err != nil {
		return err
	}
	res, err := harden.Harden(raw, o)
	if err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	if err := context.Cause(cmd.Context()); err != nil {
		return errors.New("interrupted: standard input may have ended early, nothing was written")
	}
	// Only the flag counts: a configuration file must not turn a release into a report.
	if out := cmd.Flags().Lookup("output"); out.Changed && out.Value.String() == "json" {
		text := string(res.Manifests)
		return writeJSON(a.io.out, hardenJSON{Objects: res.Objects, Changes: list(res.Changes), Kept: list(res.Kept), Manifests: &text})
	}
	if !a.quiet {
		a.listChanges(res)
	}
	if len(bytes.TrimSpace(res.Manifests)) == 0 {
		// Helm takes a post-renderer that prints nothing for one that failed.
		res.Manifests = append(res.Manifests, "# no manifests\n"...)
	}
	if _, err := a.io.out.Write(res.Manifests); err != nil {
		return fmt.Errorf("write manifests: %w", err)
	}
	return nil
}

// readImages reads the images of manifests into the options, within the time
// limit, and says which of them could not be read. Without sources it does nothing.
func (a *app) readImages(ctx context.Context, manifests []byte, o *harden.Options, src *images.Sources) (err error) {
	if src == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.cfg.Timeout, fmt.Errorf("not all images were read within %s: give a longer --timeout", a.cfg.Timeout))
	defer cancel()
	var bad *pipeline.InputError
	if o.Images, err = pipeline.HardenImages(ctx, manifests, src); errors.As(err, &bad) {
		return &exitError{code: exitUsage, err: err}
	} else if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Images)) {
		if why := o.Images[name].Unread; why != "" {
			a.log.Warn(fmt.Sprintf("image %s was not read: %s", name, why))
		}
	}
	return nil
}

// listChanges says on standard error what was added, a line per object.
func (a *app) listChanges(res *harden.Result) {
	t := newTerminal(a.io.err, a.cfg.Color)
	var order []string
	fields := map[string][]string{}
	for _, c := range res.Changes {
		target := c.Target
		target.Container = ""
		key := target.Object()
		what := string(c.Rule)
		if c.Target.Container != "" {
			what = c.Target.Container + "." + what
		}
		if c.Field == "" {
			what = "new"
		}
		if _, seen := fields[key]; !seen {
			order = append(order, key)
		}
		if !slices.Contains(fields[key], what) {
			fields[key] = append(fields[key], what)
		}
	}
	t.line(fmt.Sprintf("helmproof: %s to %s", plural(len(res.Changes), "addition"), plural(len(order), "object")))
	for _, key := range order {
		t.para("  + ", "    ", key+": "+strings.Join(fields[key], ", "))
	}
	for _, k := range res.Kept {
		if k.Rule == "" {
			t.para("  = ", "    ", strings.TrimPrefix(k.Target.Object()+": ", ": ")+k.Reason)
		}
	}
}

func list[T any](s []T) []T { return append([]T{}, s...) }

// hardenReport judges a release twice, as it is and hardened, by the same
// collectors and the same gate as check.
func (a *app) hardenReport(cmd *cobra.Command, args []string, f *releaseFlags, o harden.Options, src *images.Sources) (err error) {
	ctx := cmd.Context()
	if len(args) > 1 {
		return usageErr("harden --report: want one CHART, or none to read manifests on standard input, got %d arguments", len(args))
	}
	p := &pipeline.Pipeline{Tool: tool(), Schemas: a.cfg.Schemas, Timeout: a.cfg.Timeout, Now: time.Now, Log: a.log, Workers: a.renderers()}
	defer p.Workers.Close()
	if p.Rules, err = pipeline.LoadRules(a.rules()); err != nil {
		return err
	}
	if err := p.Rules.CheckScope(false); err != nil {
		return err
	}
	opts, err := a.loadOptions(f)
	if err != nil {
		return err
	}
	opts.Workers = p.Workers
	load, ref := chart.LoadManifests, "-"
	if len(args) == 1 {
		load, ref = chart.Load, args[0]
	}
	limited, cancel := context.WithTimeoutCause(ctx, a.cfg.Timeout, fmt.Errorf("no rendering within %s", a.cfg.Timeout))
	defer cancel()
	rel, err := load(limited, ref, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rel.Close()) }()
	if err := a.readImages(ctx, rel.Manifests, &o, src); err != nil {
		return err
	}
	var render pipeline.ValuesRenderer
	if len(args) == 1 && !slices.Contains(opts.ValueFiles, "-") { // standard input is read once
		render = func(ctx context.Context, set []string) (*chart.Release, error) {
			more := opts
			more.Set = slices.Concat(opts.Set, set)
			return chart.Load(ctx, ref, more)
		}
	}
	res, err := p.Harden(ctx, rel, o, render)
	if err != nil {
		return err
	}
	out := hardenJSON{
		Chart: rel.Info.Chart, Version: rel.Info.Version, Namespace: rel.Info.Namespace, Profile: p.Rules.Profile.Name,
		Objects: res.Objects, Changes: list(res.Changes), Kept: list(res.Kept), Controls: res.Controls, Remaining: res.Remaining, Fixes: res.Fixes,
	}
	if a.cfg.Output == "json" {
		return writeJSON(a.io.out, out)
	}
	printHardened(newTerminal(a.io.out, a.cfg.Color), &out, p.Rules.Catalog, res.Searched)
	return nil
}

// printHardened writes the report: what is added, what it is good for, what is left.
func printHardened(t *terminal, h *hardenJSON, cat *evidence.Catalog, searched bool) {
	t.line("")
	t.line(t.bold(printable(strings.TrimSpace(h.Chart + " " + h.Version))))
	t.para("", "", fmt.Sprintf("namespace %s, profile %s, %s", h.Namespace, h.Profile, plural(h.Objects, "object")))
	printAdded(t, h)
	printCompared(t, h.Controls)
	printKept(t, h.Kept)
	printFixes(t, h.Fixes)
	left := slices.DeleteFunc(slices.Clone(h.Remaining), func(f evidence.Finding) bool {
		return slices.ContainsFunc(h.Fixes, func(x pipeline.HardenedFix) bool {
			return x.Rule == f.Rule && x.Target == f.Target && x.Message == f.Message
		})
	})
	title := "What no value that was tried fixes: the chart's owner can"
	if !searched {
		title = "What is left"
	}
	printOwner(t, title, left, cat)
	before, after := 0, 0
	for _, c := range h.Controls {
		before, after = before+c.Before.Findings, after+c.After.Findings
	}
	t.line("")
	t.line(fmt.Sprintf("%s; findings %d before, %d after", plural(len(h.Changes), "addition"), before, after))
}

func printAdded(t *terminal, h *hardenJSON) {
	t.line("")
	t.line(t.bold("What harden adds"))
	type group struct {
		rule  harden.Rule
		n     int
		where []string
	}
	var groups []*group
	for _, c := range h.Changes {
		i := slices.IndexFunc(groups, func(g *group) bool { return g.rule == c.Rule })
		if i < 0 {
			i = len(groups)
			groups = append(groups, &group{rule: c.Rule})
		}
		g := groups[i]
		g.n++
		target := c.Target
		target.Container = ""
		if o := target.Object(); !slices.Contains(g.where, o) {
			g.where = append(g.where, o)
		}
	}
	if len(groups) == 0 {
		t.line("  nothing")
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(b.n, a.n) })
	for _, g := range groups {
		where := strings.Join(g.where[:min(len(g.where), shownFindings)], ", ")
		if n := len(g.where) - shownFindings; n > 0 {
			where += fmt.Sprintf(" and %d more", n)
		}
		t.para(fmt.Sprintf("  %4d  %-30s ", g.n, g.rule), strings.Repeat(" ", 39), where)
	}
}

func printCompared(t *terminal, controls []pipeline.HardenedControl) {
	t.line("")
	t.line(t.bold("Findings") + t.faint(strings.Repeat(" ", 39)+"before   after"))
	none := true
	for _, c := range controls {
		if c.Before.Findings == 0 && c.After.Findings == 0 {
			continue
		}
		none = false
		for i, title := range wrap(printable(c.Title), 37) {
			if i > 0 {
				t.line(strings.Repeat(" ", 9) + title)
				continue
			}
			t.line(fmt.Sprintf("  %-6s %s%s %6d  %6d  %s", c.Control, title, pad(title, 37), c.Before.Findings, c.After.Findings, t.mark(report.ControlMark(c.After.Outcome), 0)))
		}
	}
	if none {
		t.line("  none")
	}
}

func printKept(t *terminal, kept []harden.Kept) {
	if len(kept) == 0 {
		return
	}
	t.line("")
	t.line(t.bold("What harden leaves as it is, and why"))
	type reason struct {
		k     harden.Kept
		where []string
	}
	var reasons []*reason
	for _, k := range kept {
		i := slices.IndexFunc(reasons, func(r *reason) bool { return r.k.Rule == k.Rule && r.k.Reason == k.Reason && r.k.Flag == k.Flag })
		if i < 0 {
			i = len(reasons)
			reasons = append(reasons, &reason{k: k})
		}
		reasons[i].where = append(reasons[i].where, k.Target.Object())
	}
	slices.SortStableFunc(reasons, func(a, b *reason) int { return cmp.Compare(a.k.Rule, b.k.Rule) })
	for _, r := range reasons {
		text := r.k.Reason
		if r.k.Rule != "" {
			text = string(r.k.Rule) + ": " + text
		}
		if r.k.Flag != "" {
			text += "; " + r.k.Flag + " adds it"
		}
		t.para("  ", "    ", text)
		where := strings.Join(r.where[:min(len(r.where), shownFindings)], ", ")
		if n := len(r.where) - shownFindings; n > 0 {
			where += fmt.Sprintf(" and %d more", n)
		}
		t.para("    ", "    ", where)
	}
}

// printFixes lists the values of the chart that fix what is left, each set of keys once.
func printFixes(t *terminal, fixes []pipeline.HardenedFix) {
	var order []string
	where := map[string][]string{}
	for _, f := range fixes {
		if len(f.Keys) == 0 {
			continue // printKept names the option
		}
		keys := strings.Join(f.Keys, ", ")
		if where[keys] == nil {
			order = append(order, keys)
		}
		where[keys] = append(where[keys], f.Target.Object()+" ("+f.Rule+")")
	}
	if len(order) == 0 {
		return
	}
	t.line("")
	t.line(t.bold("What the chart's values fix"))
	for _, keys := range order {
		t.para("  ", "    ", printable("set "+keys+" in the values"))
		list := where[keys]
		text := strings.Join(list[:min(len(list), shownFindings)], ", ")
		if n := len(list) - shownFindings; n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
		t.para("    ", "    ", text)
	}
}

// printOwner lists what is left, by control, each fix once.
func printOwner(t *terminal, title string, left []evidence.Finding, cat *evidence.Catalog) {
	t.line("")
	t.line(t.bold(title))
	if len(left) == 0 {
		t.line("  nothing")
		return
	}
	for _, c := range cat.Controls {
		var of []evidence.Finding
		for _, f := range left {
			if slices.Contains(f.Controls, c.ID) {
				of = append(of, f)
			}
		}
		if len(of) == 0 {
			continue
		}
		t.line("")
		t.para("  ", "         ", fmt.Sprintf("%-6s %s", c.ID, c.Title))
		fixes := map[string]bool{}
		for i, f := range of {
			if i == shownFindings {
				t.line(t.faint(fmt.Sprintf("    and %d more: -o json lists them", len(of)-i)))
				break
			}
			t.para("    ", "      ", f.Target.Object()+": "+f.Message)
			if f.Remediation != "" && !fixes[f.Remediation] {
				fixes[f.Remediation] = true
				t.para("      fix: ", "           ", f.Remediation)
			}
		}
	}
}
