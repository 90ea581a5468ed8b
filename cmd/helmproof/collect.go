package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/garbage"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/report"
)

// releaseFlags are the flags by which collect and check find and render charts.
type releaseFlags struct {
	load      chart.LoadOptions
	manifests []string
	cluster   clusterFlags
	signature signatureFlags
	live      liveFlags
}

func (f *releaseFlags) register(cmd *cobra.Command) {
	f.registerChart(cmd)
	cmd.Flags().StringArrayVar(&f.manifests, "manifests", nil, "judge plain manifests: `FILE`, directory or - for standard input")
	_ = cmd.MarkFlagFilename("manifests")
	f.cluster.register(cmd)
	f.signature.register(cmd)
	registerImageFlags(cmd)
	f.live.register(cmd, f)
}

// registerChart registers the flags that find and render one chart.
func (f *releaseFlags) registerChart(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayP("values", "f", nil, "values `FILE`, as for helm; may be given several times")
	fl.StringArrayVar(&f.load.Set, "set", nil, "set a value: `key=val`[,key2=val2]")
	fl.StringArrayVar(&f.load.SetString, "set-string", nil, "set a string value: `key=val`")
	fl.StringArrayVar(&f.load.SetFile, "set-file", nil, "set a value from a file: `key=path`")
	fl.StringArrayVar(&f.load.SetJSON, "set-json", nil, "set JSON values: `key=json`")
	fl.StringVar(&f.load.ChartRepo, "chart-repo", "", "chart repository `URL` in which CHART is looked up")
	fl.StringVar(&f.load.Version, "version", "", "chart `VERSION` or constraint, for oci:// and repository charts")
	fl.BoolVar(&f.load.PlainHTTP, "plain-http", false, "talk to OCI registries without TLS")
	for _, name := range []string{"values", "set-file"} {
		_ = cmd.MarkFlagFilename(name)
	}
}

func newCollect(a *app) *cobra.Command {
	var f releaseFlags
	cmd := &cobra.Command{
		Use:   "collect CHART...",
		Short: "Collect evidence about charts, judge it, seal it and store it",
		Long: `Collect renders each chart, runs the collectors side by side, decides the
verdict against the profile, seals everything in a signed evidence bundle and
stores it with its reports in the evidence repository.

CHART is a directory, a .tgz, an oci:// reference, a chart of --chart-repo, or a
glob of those. Rendering needs no cluster and makes no network access; values
that charts generate at random are replaced by fixed ones and reported.

With --context or --kubeconfig the collectors that look at a live cluster run
too, and the evidence names the cluster. --cluster judges the cluster itself,
once for all its releases; helmproof gate composes both.

--release and --all-releases judge what Helm installed: chart, values and
manifest are read from Helm's storage in the cluster (Secrets and ConfigMaps),
and each object of the manifest is compared with the live one. Nothing is
changed. Unless --profile says another, they are judged by the profile live.

Exit code 3 says that a verdict is FAIL or INCOMPLETE.`,
		Example: `  helmproof collect charts/service
  helmproof collect charts/* --profile chart -n payments
  helmproof collect oci://registry.example.com/charts/api --version 1.4.2 -f prod.yaml
  helmproof collect web --chart-repo https://charts.example.com --set replicas=3
  kustomize build . | helmproof collect --manifests -
  helmproof collect --release payments -n shop --context prod
  helmproof collect --all-releases --context prod
  helmproof collect --cluster --context prod`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.collect(cmd, args, &f, true) },
	}
	f.register(cmd)
	a.pipelineFlags(cmd)
	a.repoFlags(cmd)
	cmd.Flags().String("key", "", "signing key: a `FILE` (cosign or PEM private key; COSIGN_PASSWORD holds its password), or a key in a KMS, such as gcpkms://…, awskms://…, azurekms://…, hashivault://…")
	cmd.Flags().String("tsa", "", "RFC 3161 timestamp authority `URL`; without it nothing proves when")
	cmd.Flags().StringSlice("formats", nil, "reports to store: pdf, md, html, json, sarif, junit")
	return cmd
}

func newCheck(a *app) *cobra.Command {
	var f releaseFlags
	cmd := &cobra.Command{
		Use:   "check CHART...",
		Short: "Judge charts without sealing or storing anything",
		Long: `Check runs the same collectors and the same gate as collect, and stores
nothing: the quick loop for chart authors, pre-commit hooks and CI.

--format prints a report instead of the summary, for example SARIF for code
scanning.`,
		Example: `  helmproof check .
  helmproof check . --format sarif > results.sarif
  helm template . | helmproof check --manifests -
  helmproof check --release payments -n shop`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.collect(cmd, args, &f, false) },
	}
	f.register(cmd)
	a.pipelineFlags(cmd)
	cmd.Flags().StringVar(&a.format, "format", "", "print a report: md, html, json, sarif or junit")
	cmd.Flags().StringVar(&a.pathPrefix, "path-prefix", "", "with --format sarif: the chart's `FOLDER` in its repository, so that code scanning finds the files; the chart's path here if empty")
	return cmd
}

// pipelineFlags are the configuration keys that collect and check share.
func (a *app) pipelineFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringP("namespace", "n", "", "`NAMESPACE` that the release is meant for")
	fl.String("release-name", "", "release `NAME`; the chart's name if empty")
	fl.String("profile", "", "control profile: a built-in `NAME` or a YAML file")
	fl.String("waivers", "", "waivers `FILE`; ./waivers.yaml if it is there")
	fl.String("policies", "", "`DIR` of ValidatingAdmissionPolicies of your own")
	fl.String("schemas", "", "`DIR` of OpenAPI schemas for other Kubernetes versions")
	fl.String("kube-version", "", "Kubernetes `VERSION` to render for and validate against")
	fl.StringSlice("api-versions", nil, "API `VERSIONS` that charts may ask for (.Capabilities.APIVersions)")
	fl.Duration("timeout", 0, "time limit per collector")
	fl.Int("workers", 0, "charts judged at once; 0 means one per processor")
	_ = cmd.MarkFlagFilename("waivers", "yaml", "yml")
	_ = cmd.MarkFlagDirname("policies")
	_ = cmd.MarkFlagDirname("schemas")
	_ = cmd.RegisterFlagCompletionFunc("profile", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return profileNames(), cobra.ShellCompDirectiveDefault
	})
}

// job is one chart or one set of manifests to judge.
type job struct {
	ref       string
	manifests bool
	stored    *chart.StoredRelease // a live release
	loaded    *chart.Release       // that was loaded before; nil: none
	out       *judged
	err       error
}

func (a *app) collect(cmd *cobra.Command, args []string, f *releaseFlags, seal bool) (err error) {
	ctx := cmd.Context()
	if a.format != "" && !slices.Contains(config.Formats(), a.format) {
		return usageErr("--format %q: want %s", a.format, strings.Join(config.Formats(), ", "))
	}
	jobs, err := makeJobs(args, f)
	if err != nil {
		return err
	}
	if len(jobs) == 1 && !jobs[0].manifests && a.pathPrefix == "" {
		if info, err := os.Stat(jobs[0].ref); err == nil && info.IsDir() && filepath.IsLocal(jobs[0].ref) {
			a.pathPrefix = filepath.ToSlash(filepath.Clean(jobs[0].ref))
		}
	}
	if !f.cluster.itself {
		go secrets.Prepare() // the first release needs the rules
	}
	if err := f.cluster.check(cmd); err != nil {
		return err
	}
	if f.cluster.itself {
		if err := clusterProfile(a.cfg, cmd.Flags().Changed("profile")); err != nil {
			return err
		}
	}
	if f.live.asked() {
		if err := liveProfile(a.cfg, cmd.Flags().Changed("profile")); err != nil {
			return err
		}
	}
	p := &pipeline{cfg: a.cfg, now: time.Now, unsigned: f.cluster.unsigned, stored: f.live.asked()}
	if p.signatures, err = f.signature.load(f.load.PlainHTTP); err != nil {
		return err
	}
	if p.judge, err = loadJudgement(a.cfg); err != nil {
		return err
	}
	if err := p.judge.judges(f.cluster.itself); err != nil {
		return err
	}
	if f.cluster.itself && p.judge.asksFor(kubebench.Name) {
		if err := kubebench.CheckImage(a.cfg.KubeBenchImage); err != nil {
			return usageErr("%w", err)
		}
	}
	if f.cluster.named() || f.live.asked() {
		if p.cluster, err = f.cluster.connect(ctx); err != nil {
			return err
		}
	}
	if !f.cluster.itself {
		if p.images, err = a.imageOptions(ctx, p, f.load.PlainHTTP); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.images.Gathered.Close()) }()
	}
	if seal {
		if p.repo, err = a.openRepo(ctx); err != nil {
			return err
		}
		if p.signer, err = a.signer(ctx); err != nil {
			return err
		}
	}
	if f.cluster.itself {
		if jobs, err = a.collectCluster(ctx, p); err != nil {
			return err
		}
		return a.printJobs(p, jobs)
	}
	if f.live.asked() {
		if jobs, err = a.liveJobs(ctx, p.cluster, &f.live, cmd.Flags().Changed("namespace")); err != nil {
			return err
		}
	}
	if len(jobs) > 1 {
		garbage.Usually()
	}
	// The first release needs them; it takes about as long as it takes to load.
	go policy.Prepare(p.judge.policies)
	opts := f.load
	opts.Namespace, opts.ReleaseName, opts.KubeVersion = a.cfg.Namespace, a.cfg.ReleaseName, a.cfg.KubeVersion
	opts.APIVersions, opts.ValueFiles, opts.Stdin = a.cfg.APIVersions, a.cfg.Values, a.io.in
	for _, s := range a.cfg.ImageField {
		field, err := manifest.ParseImageField(s)
		if err != nil {
			return usageErr("imageField: %w", err)
		}
		opts.ImageFields = append(opts.ImageFields, field)
	}
	prog := a.progress(len(jobs))
	p.started, p.ended = prog.collector, nil
	if p.images.Gathered != nil {
		if err := a.prepareImages(ctx, p, jobs, opts, prog); err != nil {
			prog.done()
			return err
		}
	}
	a.runJobs(ctx, p, jobs, opts, prog)
	prog.done()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("interrupted: nothing half-written was left behind")
	}
	return a.printJobs(p, jobs)
}

// judges refuses a profile for something else than what is collected.
func (j *judgement) judges(cluster bool) error {
	switch s := j.profile.Scope; {
	case cluster && s != evidence.ScopeCluster:
		return usageErr("profile %s is of scope %s: collect --cluster judges profiles of scope cluster, such as cluster", j.profile.Name, s)
	case !cluster && s == evidence.ScopeCluster:
		return usageErr("profile %s is of scope cluster: collect it with --cluster", j.profile.Name)
	case !cluster && s != evidence.ScopeRelease:
		return usageErr("profile %s is of scope %s: collect judges profiles of scope release, such as chart; helmproof gate composes the others", j.profile.Name, s)
	}
	return nil
}

func makeJobs(args []string, f *releaseFlags) ([]job, error) {
	manifests := f.manifests
	n := len(args) + len(manifests)
	if f.live.asked() {
		return nil, f.live.check(f, n)
	}
	if f.cluster.itself && n > 0 {
		return nil, usageErr("--cluster judges the cluster itself: collect charts in a run of their own")
	} else if !f.cluster.itself && n == 0 {
		return nil, usageErr("nothing to judge: give a CHART (directory, .tgz or oci:// reference), --manifests FILE, --release NAME, --all-releases or --cluster")
	}
	refs, err := chart.Expand(args)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	var jobs []job
	for _, r := range refs {
		jobs = append(jobs, job{ref: r})
	}
	for _, m := range manifests {
		jobs = append(jobs, job{ref: m, manifests: true})
	}
	return jobs, nil
}

// workers is how many releases are judged at once.
func (a *app) workers() int {
	if a.cfg.Workers > 0 {
		return a.cfg.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// runJobs judges the jobs, several at once; each job keeps its own error.
func (a *app) runJobs(ctx context.Context, p *pipeline, jobs []job, opts chart.LoadOptions, prog *progress) {
	var g errgroup.Group
	g.SetLimit(a.workers())
	var stdin sync.Mutex
	for i := range jobs {
		g.Go(func() error {
			j := &jobs[i]
			if j.err = context.Cause(ctx); j.err != nil {
				return nil //nolint:nilerr // the job holds it
			}
			prog.start(j.ref)
			j.out, j.err = judgeOne(ctx, p, j, opts, &stdin)
			prog.finish()
			return nil
		})
	}
	_ = g.Wait() // the functions return no error: each job keeps its own
}

func judgeOne(ctx context.Context, p *pipeline, j *job, opts chart.LoadOptions, stdin *sync.Mutex) (out *judged, err error) {
	rel := j.loaded
	if rel == nil {
		if rel, err = loadJob(ctx, p, j, opts, stdin); err != nil {
			return nil, err
		}
	}
	defer func() { err = errors.Join(err, rel.Close()) }()
	return p.run(ctx, rel)
}

func loadJob(ctx context.Context, p *pipeline, j *job, opts chart.LoadOptions, stdin *sync.Mutex) (*chart.Release, error) {
	load := chart.Load
	if j.manifests {
		load = chart.LoadManifests
		if j.ref == "-" {
			stdin.Lock()
			defer stdin.Unlock()
		}
	}
	// A chart that renders for ever ends like a collector that does.
	limited, cancel := context.WithTimeoutCause(ctx, p.cfg.Timeout, fmt.Errorf("no rendering within %s", p.cfg.Timeout))
	defer cancel()
	if j.stored != nil {
		load = func(ctx context.Context, _ string, o chart.LoadOptions) (*chart.Release, error) {
			return chart.LoadStored(ctx, p.cluster, *j.stored, chart.LoadOptions{APIVersions: o.APIVersions, ImageFields: o.ImageFields})
		}
	}
	return load(limited, j.ref, opts)
}

// printJobs prints what became of the jobs, and returns the error with the
// command's exit code: operational failure over input error over verdict.
func (a *app) printJobs(p *pipeline, jobs []job) error {
	var done []*judged
	code := exitPass
	var failed []job
	some := slices.ContainsFunc(jobs, func(j job) bool { return j.err == nil })
	for _, j := range jobs {
		// Among others, as charts/* names them, a library is no mistake.
		if some && errors.Is(j.err, chart.ErrLibrary) {
			fmt.Fprintln(a.io.err, "helmproof: skipped: "+printable(j.err.Error()))
			continue
		}
		if j.err != nil {
			failed = append(failed, j)
			c := exitCode(context.Background(), j.err)
			if code == exitPass || code == exitVerdict || c == exitFailure {
				code = c
			}
			continue
		}
		done = append(done, j.out)
		if j.out.Verdict.Outcome != evidence.VerdictPass && code == exitPass {
			code = exitVerdict
		}
	}
	if err := a.printJudged(p, done, failed); err != nil {
		return err
	}
	for _, j := range failed {
		fmt.Fprintln(a.io.err, "helmproof: "+printable(j.err.Error()))
	}
	if len(failed) > 0 && len(jobs) > 1 {
		fmt.Fprintf(a.io.err, "helmproof: %d of %d could not be judged\n", len(failed), len(jobs))
	}
	if code == exitPass {
		return nil
	}
	return &exitError{code: code}
}

func (a *app) printJudged(p *pipeline, done []*judged, failed []job) error {
	switch {
	case a.format != "" && a.format != "json":
		if len(done) > 1 {
			return usageErr("--format %s prints one report: give one chart, or use collect", a.format)
		}
		if len(done) == 0 {
			return nil
		}
		raw, err := render(report.New(inputOfJudged(done[0], p.judge)), a.format, a.pathPrefix)
		if err != nil {
			return err
		}
		_, err = a.io.out.Write(raw)
		return err
	case a.cfg.Output == "json" || a.format == "json":
		list := make([]report.ReleaseJSON, 0, len(done)+len(failed))
		for _, j := range done {
			list = append(list, report.NewReleaseJSON(inputOfJudged(j, p.judge)))
		}
		for _, j := range failed {
			namespace := a.cfg.Namespace
			if j.stored != nil {
				namespace = j.stored.Namespace
			}
			list = append(list, report.ReleaseJSON{Chart: j.ref, Namespace: namespace, Error: j.err.Error(),
				Findings: []evidence.Finding{}, Runs: []evidence.CollectorRun{}})
		}
		return writeJSON(a.io.out, report.OutputJSON{Releases: list})
	case a.quiet:
		for _, j := range done {
			fmt.Fprintln(a.io.out, summary(j))
		}
		return nil
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	if len(done) > 3 {
		printMany(t, done)
		return nil
	}
	for _, j := range done {
		printJudged(t, j, p.judge.catalog)
		t.line("")
		if j.Bundle != "" {
			dir := filepath.Join(p.repo.URL(), "bundles", j.Bundle.Hex())
			if strings.Contains(p.repo.URL(), "://") {
				dir = p.repo.URL() + "/bundles/" + j.Bundle.Hex()
			}
			t.line("bundle  sha256:" + j.Bundle.Hex())
			t.line("stored  " + p.repo.URL())
			if j.PDF {
				t.line("report  " + relative(dir) + "/report.pdf")
			}
			t.line("verify  helmproof verify " + j.Bundle.Short())
			t.line("")
		}
		t.line(verdictLine(t, j))
	}
	return nil
}

// relative shortens a path below the working directory.
func relative(path string) string {
	wd, err := os.Getwd()
	if err != nil || !filepath.IsAbs(path) {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}

// verdictLine is the last line of a judged release.
func verdictLine(t *terminal, j *judged) string {
	m := report.VerdictMark(j.Verdict.Outcome)
	line := t.mark(m, 0)
	if j.Bundle != "" {
		line += "  bundle " + j.Bundle.Short()
	}
	n := 0
	for _, r := range j.Verdict.Results {
		if r.Required && (r.Outcome == evidence.ControlFail || r.Outcome == evidence.ControlIncomplete) {
			n++
		}
	}
	if n > 0 {
		return line + fmt.Sprintf("  %d of %d controls do not hold", n, len(j.Verdict.Results))
	}
	return line + fmt.Sprintf("  %d controls hold", len(j.Verdict.Results))
}

// summary is one plain line: verdict, chart, version, bundle.
func summary(j *judged) string {
	return strings.TrimRight(fmt.Sprintf("%s %s %s %s", j.Verdict.Outcome, printable(j.Release.Chart), printable(j.Release.Version), j.Bundle), " ")
}

// printMany is a row per chart: with many charts the findings are in the reports.
func printMany(t *terminal, done []*judged) {
	list := slices.Clone(done)
	width := 8
	for _, j := range list {
		width = min(max(width, len(rowName(j))), 34)
	}
	counts := map[evidence.VerdictOutcome]int{}
	for _, j := range list {
		counts[j.Verdict.Outcome]++
		name := clip(printable(rowName(j)), width)
		failed, unchecked := 0, 0
		for _, r := range j.Verdict.Results {
			switch r.Outcome {
			case evidence.ControlFail:
				failed++
			case evidence.ControlIncomplete:
				unchecked++
			}
		}
		t.line(fmt.Sprintf("%s  %s%s  %2d fail  %2d unchecked  %s", t.mark(report.VerdictMark(j.Verdict.Outcome), 12), name, pad(name, width), failed, unchecked, j.Bundle.Short()))
	}
	t.line("")
	worst := evidence.VerdictPass
	if counts[evidence.VerdictIncomplete] > 0 {
		worst = evidence.VerdictIncomplete
	}
	if counts[evidence.VerdictFail] > 0 {
		worst = evidence.VerdictFail
	}
	t.line(fmt.Sprintf("%s  %s: %d pass, %d fail, %d incomplete", t.mark(report.VerdictMark(worst), 0), plural(len(list), "release"),
		counts[evidence.VerdictPass], counts[evidence.VerdictFail], counts[evidence.VerdictIncomplete]))
}

// rowName is the chart, or the live release.
func rowName(j *judged) string {
	if j.Release.Source == chart.SourceRelease {
		return j.Release.Namespace + "/" + j.Release.ReleaseName
	}
	return strings.TrimSpace(j.Release.Chart + " " + j.Release.Version)
}

func clip(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}
