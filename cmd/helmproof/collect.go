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
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/accesslog"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/garbage"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// releaseFlags are the flags by which collect and check find and render charts.
type releaseFlags struct {
	load      chart.LoadOptions
	manifests []string
	cluster   clusterFlags
	live      liveFlags
	adopt     adoptFlags
}

func (f *releaseFlags) register(cmd *cobra.Command) {
	f.registerChart(cmd)
	cmd.Flags().StringArrayVar(&f.manifests, "manifests", nil, "judge plain manifests: `FILE`, directory or - for standard input")
	_ = cmd.MarkFlagFilename("manifests")
	f.cluster.register(cmd)
	registerSignatureFlags(cmd)
	registerImageFlags(cmd)
	cmd.Flags().StringArray("access-log", nil, "judge who read the release's secrets by the secret manager's access log `FILE`: audit logs of Google Cloud, CloudTrail or Vault; may be given several times")
	_ = cmd.MarkFlagFilename("access-log")
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
	f.adopt.registerBaseline(cmd)
	a.repoFlags(cmd)
	a.repositoryIDFlag(cmd)
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
scanning.

--fail-on, --only, --skip and --baseline change what the exit code goes by, and say
so; the verdict stays that of the whole profile. --write-baseline writes what fails
today; with --baseline only what fails beside it counts.`,
		Example: `  helmproof check .
  helmproof check . --profile starter --fail-on high
  helmproof check . --only SEC-4,RES
  helmproof check . --write-baseline .helmproof/baseline.yaml
  helmproof check . --baseline .helmproof/baseline.yaml
  helmproof check . --format sarif > results.sarif
  helm template . | helmproof check --manifests -
  helmproof check --release payments -n shop`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.collect(cmd, args, &f, false) },
	}
	f.register(cmd)
	a.pipelineFlags(cmd)
	f.adopt.register(cmd)
	a.repoFlags(cmd)
	a.trustFlags(cmd)
	cmd.Flags().StringVar(&a.format, "format", "", "print a report: md, html, json, sarif, junit or pdf; or github: annotations of a workflow")
	cmd.Flags().BoolVar(&a.summary, "summary", false, summaryHelp)
	cmd.Flags().StringVar(&a.pathPrefix, "path-prefix", "", "with --format sarif or github: the chart's `FOLDER` in its repository, so that code scanning finds the files; the chart's path here if empty")
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
	fl.Duration("timeout", 0, "time limit of rendering, of looking for secrets, of each collector, and of deriving its findings")
	fl.Int("workers", 0, "charts judged at once; 0 means one per processor, and one that is loaded meanwhile")
	_ = cmd.MarkFlagFilename("waivers", "yaml", "yml")
	_ = cmd.MarkFlagDirname("policies")
	_ = cmd.MarkFlagDirname("schemas")
	_ = cmd.RegisterFlagCompletionFunc("profile", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return profileNames(), cobra.ShellCompDirectiveDefault
	})
}

func (a *app) collect(cmd *cobra.Command, args []string, f *releaseFlags, seal bool) (err error) {
	ctx := cmd.Context()
	if a.format != "" && !slices.Contains(config.PrintedFormats(), a.format) {
		return usageErr("--format %q: want %s", a.format, strings.Join(config.PrintedFormats(), ", "))
	}
	if a.summary && a.format != "md" {
		return usageErr("--summary is for --format md")
	}
	jobs, err := makeJobs(args, f)
	if err != nil {
		return err
	}
	if len(jobs) == 1 && !jobs[0].Manifests && a.pathPrefix == "" {
		if info, err := os.Stat(jobs[0].Ref); err == nil && info.IsDir() && filepath.IsLocal(jobs[0].Ref) {
			a.pathPrefix = filepath.ToSlash(filepath.Clean(jobs[0].Ref))
		}
	}
	if !f.cluster.itself {
		go secrets.Prepare() // the first release needs the rules
	}
	if err := f.cluster.check(cmd); err != nil {
		return err
	}
	from := a.rules()
	asked := cmd.Flags().Changed("profile")
	switch {
	case f.cluster.itself:
		from.Profile, err = a.clusterProfile(asked)
	case f.live.asked():
		from.Profile, err = a.liveProfile(asked)
	}
	if err != nil {
		return err
	}
	p := &pipeline.Pipeline{
		Tool: tool(), Stored: f.live.asked(), UnsignedImage: f.cluster.unsigned, UnsignedNamespace: f.cluster.namespace, Schemas: a.cfg.Schemas, Timeout: a.cfg.Timeout,
		Rotation: a.cfg.RotationInterval, Formats: a.cfg.Formats, Now: time.Now, Log: a.log,
	}
	if !f.cluster.itself {
		o, err := a.loadOptions(f)
		if err != nil {
			return err
		}
		if p.Workers = a.renderersOf(jobs, &o); f.cluster.named() {
			p.Workers = a.renderers() // what was begun there is not begun again
		}
		defer func() { p.Workers.Close() }()
		go p.Workers.Prepare() // starting takes about as long as reading the rules
	}
	if !f.cluster.itself {
		if p.Signatures, err = a.signatureOptions(f.load.PlainHTTP); err != nil {
			return err
		}
	}
	if p.Rules, err = pipeline.LoadRules(from); err != nil {
		return err
	}
	if p.Rules, err = a.adopted(ctx, p.Rules, &f.adopt); err != nil {
		return err
	}
	if err := p.Rules.CheckScope(f.cluster.itself); err != nil {
		return err
	}
	if !f.cluster.itself {
		if p.Rules, err = a.withAsked(p.Rules); err != nil {
			return err
		}
	}
	if f.cluster.itself && p.Rules.AsksFor(kubebench.Name) {
		if err := kubebench.CheckImage(a.cfg.KubeBenchImage); err != nil {
			return usageErr("%w", err)
		}
	}
	if f.cluster.named() || f.live.asked() {
		if p.Cluster, err = f.cluster.connect(ctx); err != nil {
			return err
		}
	}
	if !f.cluster.itself {
		if p.Images, err = a.imageOptions(ctx, p.Rules, p.Cluster, f.load.PlainHTTP); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Images.Gathered.Close()) }()
		if p.Images.Gathered != nil && p.Workers.Here() {
			p.Workers = a.renderers() // images are asked for and scanned once
		}
	}
	if p.Access, err = a.accessOptions(ctx); err != nil {
		return err
	}
	if seal {
		if p.Repo, err = a.openRepo(ctx); err != nil {
			return err
		}
		if _, err := placeOfRepo(p.Repo); err != nil {
			return err
		}
		if p.Signer, err = a.signer(ctx); err != nil {
			return err
		}
		if a.asked && p.Workers != nil && p.Workers.Here() {
			p.Workers = a.renderers() // nobody is asked twice
		}
		if p.Repository, err = a.sealedFor(ctx, p.Repo); err != nil {
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
		if jobs, err = a.liveJobs(ctx, p.Cluster, &f.live, cmd.Flags().Changed("namespace")); err != nil {
			return err
		}
	}
	if len(jobs) > 1 {
		garbage.Paced()
	}
	// The first release needs them; it takes about as long as it takes to load.
	go policy.Prepare(p.Rules.Policies)
	opts, err := a.loadOptions(f)
	if err != nil {
		return err
	}
	prog := a.progress(len(jobs))
	p.Started = prog.collector
	p.Snippets = len(jobs) <= manyCharts && a.cfg.Output != "json" && a.format == "" && !a.quiet
	workers := a.workers()
	if a.cfg.Workers == 0 && len(jobs) > 1 && !p.Workers.Here() {
		workers++ // a job waits for a child while another one is judged
	}
	o := pipeline.JobOptions{Load: opts, Workers: workers, Start: prog.start, Finish: prog.finish}
	if p.Images.Gathered != nil {
		if err := a.prepareImages(ctx, p, jobs, o, prog); err != nil {
			prog.done()
			return err
		}
	}
	p.Jobs(ctx, jobs, o)
	prog.done()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("interrupted: nothing half-written was left behind")
	}
	err = a.printJobs(p, jobs)
	if f.adopt.write == "" || err != nil && exitCode(ctx, err) != exitVerdict {
		return err
	}
	if f.adopt.baseline == "" && !slices.ContainsFunc(jobs, beyondBaseline) {
		err = nil // all that fails is known from now on
	}
	return errors.Join(a.writeBaseline(p.Rules, jobs, &f.adopt), err)
}

// rules says where the rules come from.
func (a *app) rules() pipeline.RulesOptions {
	return pipeline.RulesOptions{Profile: a.cfg.Profile, Waivers: a.cfg.Waivers, Policies: a.cfg.Policies}
}

// accessOptions reads the access logs, once for all releases.
func (a *app) accessOptions(ctx context.Context) (accesslog.Options, error) {
	o := accesslog.Options{Readers: a.cfg.SecretReaders, MaxAge: a.cfg.MaxAccessLogAge}
	if _, err := accesslog.New(o); err != nil {
		return o, usageErr("secretReaders: %w", err)
	}
	if len(a.cfg.AccessLog) == 0 {
		return o, nil
	}
	var err error
	if o.Logs, err = accesslog.OpenLogs(ctx, a.cfg.AccessLog); err != nil && ctx.Err() == nil {
		return o, usageErr("--access-log: %w", err)
	}
	return o, err
}

// loadOptions are the flags and the configuration by which charts are loaded.
func (a *app) loadOptions(f *releaseFlags) (chart.LoadOptions, error) {
	opts := f.load
	opts.Namespace, opts.ReleaseName, opts.KubeVersion = a.cfg.Namespace, a.cfg.ReleaseName, a.cfg.KubeVersion
	opts.APIVersions, opts.ValueFiles, opts.Stdin = a.cfg.APIVersions, a.cfg.Values, a.io.in
	for _, s := range a.cfg.ImageField {
		field, err := manifest.ParseImageField(s)
		if err != nil {
			return opts, usageErr("imageField: %w", err)
		}
		opts.ImageFields = append(opts.ImageFields, field)
	}
	for _, s := range a.cfg.PodTemplates {
		field, err := manifest.ParsePodTemplate(s)
		if err != nil {
			return opts, usageErr("podTemplates: %w", err)
		}
		opts.ImageFields = append(opts.ImageFields, field)
	}
	return opts, nil
}

func makeJobs(args []string, f *releaseFlags) ([]pipeline.Job, error) {
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
	var jobs []pipeline.Job
	for _, r := range refs {
		jobs = append(jobs, pipeline.Job{Ref: r})
	}
	for _, m := range manifests {
		jobs = append(jobs, pipeline.Job{Ref: m, Manifests: true})
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

// printJobs prints what became of the jobs, and returns the error with the
// command's exit code: operational failure over input error over verdict.
func (a *app) printJobs(p *pipeline.Pipeline, jobs []pipeline.Job) error {
	var done []*pipeline.Judged
	code := exitPass
	var failed []pipeline.Job
	some := slices.ContainsFunc(jobs, func(j pipeline.Job) bool { return j.Err == nil })
	for _, j := range jobs {
		// Among others, as charts/* names them, a library is no mistake.
		if some && errors.Is(j.Err, chart.ErrLibrary) {
			fmt.Fprintln(a.io.err, "helmproof: skipped: "+printable(j.Err.Error()))
			continue
		}
		if j.Err != nil {
			failed = append(failed, j)
			c := exitCode(context.Background(), j.Err)
			if code == exitPass || code == exitVerdict || c == exitFailure {
				code = c
			}
			continue
		}
		done = append(done, j.Out)
		if countedOutcome(j.Out) != evidence.VerdictPass && code == exitPass {
			code = exitVerdict
		}
	}
	ref := map[*pipeline.Judged]string{}
	for _, j := range jobs {
		ref[j.Out] = j.Ref
	}
	if err := a.printJudged(p, done, failed, ref); err != nil {
		return err
	}
	for _, j := range failed {
		fmt.Fprintln(a.io.err, "helmproof: "+printable(j.Err.Error()))
	}
	if len(failed) > 0 && len(jobs) > 1 {
		fmt.Fprintf(a.io.err, "helmproof: %d of %d could not be judged\n", len(failed), len(jobs))
	}
	if code == exitPass {
		return nil
	}
	return &exitError{code: code}
}

// manyCharts is the number of charts up to which each is printed with its findings.
const manyCharts = 3

// printJudged prints what was judged and what could not be; ref says what each was given as.
func (a *app) printJudged(p *pipeline.Pipeline, done []*pipeline.Judged, failed []pipeline.Job, ref map[*pipeline.Judged]string) error {
	switch {
	case a.format != "" && a.format != "json":
		if len(done) > 1 {
			return usageErr("--format %s prints one report: give one chart, or use collect", a.format)
		}
		if len(done) == 0 {
			return nil
		}
		doc := report.New(done[0].Report(p.Rules))
		if a.summary {
			return report.Summary(a.io.out, doc)
		}
		return pipeline.Render(a.io.out, doc, a.format, a.pathPrefix)
	case a.cfg.Output == "json" || a.format == "json":
		list := make([]report.ReleaseJSON, 0, len(done)+len(failed))
		for _, j := range done {
			r := report.NewReleaseJSON(j.Report(p.Rules))
			r.Source = ref[j]
			r.Counted = j.Counted
			list = append(list, r)
		}
		for _, j := range failed {
			namespace := a.cfg.Namespace
			if j.Stored != nil {
				namespace = j.Stored.Namespace
			}
			list = append(list, report.ReleaseJSON{Chart: j.Ref, Source: j.Ref, Namespace: namespace, Error: j.Err.Error(),
				Findings: []evidence.Finding{}, Runs: []evidence.CollectorRun{}})
		}
		return report.WriteOutput(report.EscapeJSON(a.io.out), list)
	case a.quiet:
		for _, j := range done {
			fmt.Fprintln(a.io.out, summary(j))
		}
		return nil
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	drills := len(done) > 0 && done[0].Release.Scope == evidence.ScopeDrill // a suite's drills are of one release
	if len(done)+len(failed) > manyCharts && !drills && !a.verbose {
		printMany(t, done, failed, ref)
		return nil
	}
	for _, j := range done {
		t.snippets = j.Snippets
		printJudged(t, j, a.most())
		t.line("")
		if j.Bundle != "" {
			dir := filepath.Join(p.Repo.URL(), "bundles", j.Bundle.Hex())
			if strings.Contains(p.Repo.URL(), "://") {
				dir = p.Repo.URL() + "/bundles/" + j.Bundle.Hex()
			}
			t.para("bundle  ", "        ", "sha256:"+j.Bundle.Hex())
			t.line("stored  " + p.Repo.URL())
			if j.PDF {
				t.line("report  " + relative(dir) + "/report.pdf")
			}
			t.line("verify  helmproof verify " + j.Bundle.Short())
			t.line("")
		}
		printCounted(t, j.Counted, j.Findings)
		t.line(verdictLine(t, j))
	}
	if len(done)+len(failed) > 1 && len(done) > 0 && !drills {
		t.line("")
		printMany(t, done, failed, ref)
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
