package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// adoptFlags are the flags by which a team that begins leaves out what it cannot mend yet.
type adoptFlags struct {
	failOn     string
	only, skip []string
	baseline   string
	write      string
	accept     []string
	known      bool // --allow-baseline
}

// register registers them for check, which stores nothing.
func (f *adoptFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	f.registerFailOn(cmd)
	fl.StringSliceVar(&f.only, "only", nil, "judge these `CONTROLS` or groups alone, such as SEC-4,RES; the verdict is INCOMPLETE at best, the exit code is theirs")
	fl.StringSliceVar(&f.skip, "skip", nil, "leave these `CONTROLS` or groups out; the verdict is INCOMPLETE at best, the exit code is that of the others")
	for _, name := range []string{"only", "skip"} {
		_ = cmd.RegisterFlagCompletionFunc(name, completeControls)
	}
	f.registerBaseline(cmd)
	fl.StringVar(&f.write, "write-baseline", "", "write what fails to `FILE`, to be given as --baseline; with --baseline, what of it is left")
	_ = cmd.MarkFlagFilename("write-baseline", "yaml", "yml")
}

// registerBaseline registers those that are sealed, too.
func (f *adoptFlags) registerBaseline(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.baseline, "baseline", "", "what failed before: a `FILE` of --write-baseline, or a bundle; the exit code goes by what fails beside it, the verdict does not")
	_ = cmd.MarkFlagFilename("baseline", "yaml", "yml")
	f.registerAccept(cmd)
}

func (f *adoptFlags) registerAccept(cmd *cobra.Command) {
	accepted := []string{pipeline.AcceptChart, pipeline.AcceptAnnotations}
	cmd.Flags().StringSliceVar(&f.accept, "accept", nil, "accept waivers that the chart's author wrote, whatever the profile says: some of `chart` (.helmproof/waivers.yaml of the chart), annotations (of objects); the profile then shows as one of your own")
	_ = cmd.RegisterFlagCompletionFunc("accept", cobra.FixedCompletions(accepted, cobra.ShellCompDirectiveNoFileComp))
}

func (f *adoptFlags) registerFailOn(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.failOn, "fail-on", "", "the exit code goes by failing findings of this `SEVERITY` and above: critical, high, medium, low, info; the verdict does not")
	_ = cmd.RegisterFlagCompletionFunc("fail-on", cobra.FixedCompletions([]string{"critical", "high", "medium", "low", "info"}, cobra.ShellCompDirectiveNoFileComp))
}

// registerGate registers those of gate.
func (f *adoptFlags) registerGate(cmd *cobra.Command) {
	f.registerFailOn(cmd)
	f.registerAccept(cmd)
	cmd.Flags().BoolVar(&f.known, "allow-baseline", false, "leave out what the baseline knew that the evidence was collected with; the profile then shows as one of your own")
}

func completeControls(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var all []string
	_, cat := config.Catalog()
	for _, c := range cat.Controls {
		all = append(all, fmt.Sprintf("%s\t%s", c.ID, c.Title))
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// adopted is the rules with what the flags ask for.
func (a *app) adopted(ctx context.Context, by pipeline.Rules, f *adoptFlags) (pipeline.Rules, error) {
	for _, what := range f.accept {
		if what != pipeline.AcceptChart && what != pipeline.AcceptAnnotations {
			return by, usageErr("--accept %q: want %s or %s", what, pipeline.AcceptChart, pipeline.AcceptAnnotations)
		}
	}
	accept := f.accept
	if f.known {
		accept = append(slices.Clone(accept), pipeline.AcceptBaseline)
	}
	var err error
	if by, err = by.Accept(accept...); err != nil {
		return by, err
	}
	by.Counting = gate.Counting{FailOn: evidence.Severity(f.failOn), Only: namedControls(f.only, by.Profile), Skip: namedControls(f.skip, by.Profile), Baseline: f.baseline != ""}
	if err := by.Counting.Check(by.Profile); err != nil {
		return by, usageErr("%w", err)
	}
	if f.write != "" && f.baseline == "" {
		if _, err := os.Lstat(f.write); err == nil {
			return by, usageErr("--write-baseline %s: it is there already, and writing it anew would take in what is new; give it as --baseline too to write what of it is left, or remove it", f.write)
		}
	}
	if f.baseline != "" {
		by.Baseline, err = a.readBaseline(ctx, f.baseline)
	}
	return by, err
}

// namedControls are the controls that the flag names, a group standing for all of the profile's.
func namedControls(names []string, p *evidence.Profile) []evidence.ControlID {
	var out []evidence.ControlID
	for _, name := range names {
		n := len(out)
		for _, pc := range p.Controls {
			if strings.HasPrefix(string(pc.ID), name+"-") && !slices.Contains(out, pc.ID) {
				out = append(out, pc.ID)
			}
		}
		if id := evidence.ControlID(name); len(out) == n && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// readBaseline reads a baseline file, or what fails in a verified bundle.
func (a *app) readBaseline(ctx context.Context, name string) (*evidence.Baseline, error) {
	if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
		return config.Baseline(name)
	}
	in, b, err := a.verified(ctx, name, "")
	if err != nil {
		return nil, fmt.Errorf("--baseline %s: %w", name, err)
	}
	if s := b.Release().Scope; s != evidence.ScopeRelease {
		return nil, usageErr("--baseline %s: want a bundle of a release, this one is of scope %s", name, s)
	}
	known := gate.NewBaseline(b.Release(), in.Profile, b.Findings(), b.Verdict().EvaluatedAt)
	known.Bundle = b.ID()
	return &evidence.Baseline{Version: evidence.BaselineVersion, Releases: []evidence.BaselineRelease{known}}, nil
}

const baselineHead = "# What failed when this baseline was written: helmproof check --baseline counts only what fails beside it.\n" +
	"# Give it as --baseline and as --write-baseline to write what of it is left; it never grows by that.\n"

// writeBaseline writes what fails of the judged releases; with a baseline given, what of
// it is left. The error is the one of printing where nothing stands against it.
func (a *app) writeBaseline(by pipeline.Rules, jobs []pipeline.Job, f *adoptFlags) error {
	out := evidence.Baseline{Version: evidence.BaselineVersion}
	if by.Baseline != nil {
		out.Releases = slices.Clone(by.Baseline.Releases)
	}
	known := 0
	var written []string
	for _, j := range jobs {
		if j.Err != nil {
			return usageErr("--write-baseline %s: nothing is written, since not all could be judged", f.write)
		}
		now := gate.NewBaseline(&j.Out.Release, by.Profile, j.Out.Findings, j.Out.Verdict.EvaluatedAt)
		name := now.Chart + "\x00" + now.Release
		if slices.Contains(written, name) {
			return usageErr("--write-baseline %s: nothing is written: %s is judged twice as release %s; give --release-name, or a file for each", f.write, now.Chart, now.Release)
		}
		written = append(written, name)
		i := slices.IndexFunc(out.Releases, func(r evidence.BaselineRelease) bool { return r.Chart == now.Chart && r.Release == now.Release })
		switch {
		case by.Baseline == nil:
			out.Releases = append(out.Releases, now)
		case i >= 0:
			out.Releases[i] = gate.Shrink(out.Releases[i], now, j.Out.Verdict)
		}
	}
	for _, r := range out.Releases {
		for _, k := range r.Known {
			known += k.Count
		}
	}
	raw, err := yaml.Marshal(out)
	if err != nil {
		return fmt.Errorf("write baseline: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(f.write), 0o755); err != nil {
		return fmt.Errorf("write baseline: %w", err)
	}
	err = writeFile(f.write, func(w io.Writer) error {
		_, err := io.WriteString(w, baselineHead+string(raw))
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.io.err, "helmproof: wrote %s with %s; what is critical, a secret (SCR-1) or an error is never in it\n", f.write, plural(known, "known failure"))
	return nil
}

// beyondBaseline reports whether something stands against a release that no baseline of it
// may know.
func beyondBaseline(j pipeline.Job) bool {
	if j.Err != nil {
		return true
	}
	by, r, v := j.Out.By, &j.Out.Release, j.Out.Verdict
	known := gate.NewBaseline(r, by.Profile, j.Out.Findings, v.EvaluatedAt)
	c := by.Counting
	c.Baseline = true
	return c.Count(gate.Input{
		Profile: by.Profile, ProfileDigest: v.ProfileDigest, Catalog: by.Catalog, CatalogDigest: v.CatalogDigest,
		Findings: j.Out.Findings, Runs: j.Out.Runs.Collectors, Waivers: by.Waivers, Baseline: &known, Namespace: r.Namespace, At: v.EvaluatedAt,
	}, v).Outcome != evidence.VerdictPass
}

// countedOutcome is what the exit code goes by.
func countedOutcome(j *pipeline.Judged) evidence.VerdictOutcome {
	if j.Counted != nil {
		return j.Counted.Outcome
	}
	return j.Verdict.Outcome
}

// countedBy names the flags that changed what counts.
func countedBy(c *gate.Counted) string {
	var by []string
	list := func(flag string, ids []evidence.ControlID) {
		if len(ids) > 0 {
			by = append(by, flag+" "+idList(ids))
		}
	}
	if c.FailOn != "" {
		by = append(by, "--fail-on "+string(c.FailOn))
	}
	list("--only", c.Only)
	list("--skip", c.Skip)
	if c.Baseline {
		by = append(by, "--baseline")
	}
	return strings.Join(by, ", ")
}

func idList(ids []evidence.ControlID) string {
	var out []string
	for _, id := range ids {
		out = append(out, string(id))
	}
	return strings.Join(out, ", ")
}

// shownNew is how many of the findings beside a baseline the terminal names.
const shownNew = 10

// printCounted says what the exit code goes by, and which of the findings no baseline
// knows; nothing where it is the verdict.
func printCounted(t *terminal, c *gate.Counted, found []evidence.Finding) {
	if c == nil {
		return
	}
	if len(c.New) > 0 {
		byID := make(map[string]evidence.Finding, len(found))
		for _, f := range found {
			byID[f.ID] = f
		}
		for i, id := range c.New {
			if i == shownNew {
				t.line(fmt.Sprintf("        and %d more: -o json has all", len(c.New)-i))
				break
			}
			f := byID[id]
			t.para("new     ", "        ", strings.TrimPrefix(idList(f.Controls)+" "+whereText(f.Target)+": "+f.Message, " "))
		}
	}
	t.para("counted "+t.mark(report.VerdictMark(c.Outcome), 0)+" ", "        ", fmt.Sprintf("by %s: %s", countedBy(c), c.Reason))
	if len(c.NotCounted) > 0 {
		t.para("        ", "        ", "not counted: "+idList(c.NotCounted)+". The verdict stays that of the whole profile:")
	}
}
