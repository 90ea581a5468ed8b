package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// gateFlags pick the subject and the time.
type gateFlags struct {
	releaseFlags
	plain            string // --manifests
	chart, image, at string
	manifestsDigest  string
	maxAge           time.Duration
	seal             bool
	anyRepository    bool
}

func newGate(a *app) *cobra.Command {
	f := new(gateFlags)
	cmd := &cobra.Command{
		Use:   "gate [CHART]",
		Short: "Decide on what is about to be deployed by its newest verified evidence",
		Long: `Gate renders what is about to be deployed, as collect does, and finds the newest
evidence of exactly that: the same chart, values and rendered manifests, by
digest, under the same release name and namespace. It verifies the evidence, and
decides again: by the profile that you name, at the time that you name, so that
expired waivers and stale evidence count against the release. What is missing,
stale, unverifiable or of something else never passes.

CHART is as for collect, and so are --manifests and --release. Nothing but
--release asks a cluster. Give the flags that the release is deployed with; where
evidence was collected with others, gate says which.

--chart NAME decides by the newest evidence of a chart of that name, whatever it
was rendered from: it does not know what is deployed, and says so. --version and
--manifests-digest tie it to a version, and to manifests. --image DIGEST decides on
each release that runs an image.

Evidence that was collected with a baseline counts whole: --allow-baseline, or a
profile that says so (baseline: true), leaves out what the baseline knew.

--seal signs the composed verdict as a bundle of its own that names its inputs
by digest, and what it was bound to.

Exit code 3 says FAIL or INCOMPLETE, 4 that evidence could not be verified.`,
		Example: `  helmproof gate charts/payments -n prod -f prod.yaml && helm upgrade payments charts/payments -n prod -f prod.yaml
  helmproof gate oci://registry.example.com/charts/api --version 1.4.2 -n prod
  kustomize build . | helmproof gate --manifests -
  helmproof gate --release payments -n prod --context prod
  helmproof gate --chart payments -n prod --version 1.4.2 --profile prod.yaml --max-age 24h
  helmproof gate --image sha256:9f2c… -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageErr("gate: decides on one chart, got %d arguments; see helmproof gate --help", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.gate(cmd, args, f) },
	}
	fl := cmd.Flags()
	f.registerChart(cmd)
	fl.Lookup("version").Usage = "with an oci:// or repository CHART: its `VERSION` or constraint; else the version that CHART, or the evidence for --chart, has to be of"
	fl.StringVar(&f.plain, "manifests", "", "decide on plain manifests: `FILE`, directory or - for standard input")
	fl.StringVar(&f.live.release, "release", "", "decide on the live release `NAME`, as Helm stored it in the cluster")
	f.cluster.registerConnection(cmd)
	fl.String("kube-version", "", "Kubernetes `VERSION` to render for")
	fl.StringSlice("api-versions", nil, "API `VERSIONS` that charts may ask for (.Capabilities.APIVersions)")
	fl.String("release-name", "", "release `NAME`; the chart's name if empty")
	fl.StringVar(&f.chart, "chart", "", "decide by the `NAME` of a chart only, without what is deployed")
	fl.StringVar(&f.manifestsDigest, "manifests-digest", "", "with --chart: the `DIGEST` of the rendered manifests that the evidence has to be of")
	fl.StringVar(&f.image, "image", "", "image `DIGEST`: the releases that run it")
	fl.StringP("namespace", "n", "", "`NAMESPACE` of the release")
	fl.String("profile", "", "control profile: a built-in `NAME` or a YAML file")
	fl.DurationVar(&f.maxAge, "max-age", 0, "oldest evidence to accept; the profile's own limit if 0")
	fl.StringVar(&f.at, "at", "", "decide as of this `TIME` (RFC 3339) instead of now")
	fl.StringArray("registry-allow", nil, "registry or repository `PATTERN` that images may come from (IMG-5), whatever the evidence was collected with; may be given several times")
	registerScanPolicy(cmd)
	registerSignatureFlags(cmd)
	fl.StringSlice("evidence-lists", nil, "take these `LISTS` from the evidence instead: scans (the scan policy), vex, signatures, secrets (rotation and readers)")
	_ = cmd.RegisterFlagCompletionFunc("evidence-lists", cobra.FixedCompletions(pipeline.EvidenceLists, cobra.ShellCompDirectiveNoFileComp))
	fl.BoolVar(&f.anyRepository, "any-repository", false, "take evidence that was sealed for another repository, or for none")
	f.adopt.registerGate(cmd)
	fl.BoolVar(&f.seal, "seal", false, "sign and store the composed verdict")
	fl.String("key", "", "signing key for --seal: a `FILE`, or a key in a KMS")
	_ = cmd.MarkFlagFilename("manifests")
	_ = cmd.RegisterFlagCompletionFunc("release", f.completeReleases)
	_ = cmd.RegisterFlagCompletionFunc("chart", a.completeCharts)
	_ = cmd.RegisterFlagCompletionFunc("profile", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return profileNames(), cobra.ShellCompDirectiveDefault
	})
	a.repoFlags(cmd)
	a.repositoryIDFlag(cmd)
	a.trustFlags(cmd)
	return cmd
}

// The ways to say what gate decides on, and the flags that mean something with
// some of them only.
const (
	byChart     = "CHART"
	byManifests = "--manifests"
	byRelease   = "--release"
	byName      = "--chart"
	byImage     = "--image"
)

func gateFlagMeans(name string) []string {
	switch name {
	case "values", "set", "set-string", "set-file", "set-json", "chart-repo", "plain-http":
		return []string{byChart}
	case "kube-version", "api-versions":
		return []string{byChart, byManifests}
	case "release-name":
		return []string{byChart, byManifests, byName}
	case "version":
		return []string{byChart, byName}
	case "manifests-digest":
		return []string{byName}
	case "context", "kubeconfig":
		return []string{byRelease}
	}
	return []string{byChart, byManifests, byRelease, byName, byImage}
}

// by says which of the ways was taken; what would be ignored without a word is refused.
func (f *gateFlags) by(cmd *cobra.Command, args []string) (string, error) {
	var given []string
	for _, x := range []struct {
		way   string
		given bool
	}{{byChart, len(args) > 0}, {byManifests, f.plain != ""}, {byRelease, f.live.release != ""}, {byName, f.chart != ""}, {byImage, f.image != ""}} {
		if x.given {
			given = append(given, x.way)
		}
	}
	switch len(given) {
	case 0:
		return "", usageErr("gate: say what to decide on: CHART, --manifests FILE or --release NAME, which is about to be deployed; or --chart NAME, or --image DIGEST")
	case 1:
	default:
		return "", usageErr("gate: decides on one thing: %s do not go together", strings.Join(given, " and "))
	}
	way := given[0]
	for _, name := range []string{"values", "set", "set-string", "set-file", "set-json", "chart-repo", "plain-http", "kube-version", "api-versions", "release-name", "version", "manifests-digest", "context", "kubeconfig"} {
		if means := gateFlagMeans(name); cmd.Flags().Changed(name) && !slices.Contains(means, way) {
			return "", usageErr("gate: --%s means something with %s only", name, strings.Join(means, ", "))
		}
	}
	return way, nil
}

func (a *app) gate(cmd *cobra.Command, args []string, f *gateFlags) (err error) {
	ctx := cmd.Context()
	way, err := f.by(cmd, args)
	if err != nil {
		return err
	}
	req := pipeline.GateRequest{Chart: f.chart, Image: f.image, AnyRepository: f.anyRepository, Timeout: a.cfg.Timeout, At: time.Now().UTC().Truncate(time.Microsecond)}
	if f.at != "" {
		if req.At, err = time.Parse(time.RFC3339, f.at); err != nil {
			return usageErr("--at %q: want a time like 2026-11-23T12:00:00Z", f.at)
		}
		req.AsOf = true
	}
	if f.maxAge < 0 {
		return usageErr("--max-age %s: want how old evidence may be, such as 24h", f.maxAge)
	}
	if f.manifestsDigest != "" {
		if req.ManifestsDigest, err = evidence.ParseDigest(f.manifestsDigest); err != nil {
			return usageErr("--manifests-digest: %w", err)
		}
	}
	if f.image != "" {
		if _, err := evidence.ParseDigest(f.image); err != nil {
			return usageErr("--image: %w", err)
		}
	}
	by, err := pipeline.LoadRules(a.rules())
	if err != nil {
		return err
	}
	if by.Profile.Scope != evidence.ScopeCluster {
		if by, err = a.withAsked(by); err != nil {
			return err
		}
	}
	if f.seal && f.adopt.failOn != "" {
		return usageErr("gate: --fail-on changes the exit code alone, and --seal signs the verdict, which is by the profile: leave one of them out, or give a --profile with another failOn")
	}
	if by, err = a.adopted(ctx, by, &f.adopt); err != nil {
		return err
	}
	if f.maxAge > 0 {
		if by, err = by.LimitAge(f.maxAge); err != nil {
			return err
		}
	}
	repo, err := a.openRepo(ctx)
	if err != nil {
		return err
	}
	if _, err := placeOfRepo(repo); err != nil {
		return err
	}
	switch way {
	case byName, byImage:
		// What helmproof.yaml says of namespace and release name is how to render.
		if cmd.Flags().Changed("namespace") {
			req.Namespace = a.cfg.Namespace
		}
		if cmd.Flags().Changed("release-name") {
			req.ReleaseName = a.cfg.ReleaseName
		}
		req.Version = f.load.Version
	default:
		if req.Deploy, err = a.deployed(ctx, args, f); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, req.Deploy.Close()) }()
	}
	v, err := a.verifier(ctx, repo)
	if err != nil {
		return err
	}
	if err := a.gateLists(ctx, &req); err != nil {
		return err
	}
	if !req.AnyRepository {
		if req.Repository, err = a.repositoryID(ctx, repo); err != nil {
			return err
		}
	}
	p := &pipeline.Pipeline{Tool: tool(), Repo: repo, Formats: a.cfg.Formats}
	if f.seal {
		if p.Signer, err = a.signer(ctx); err != nil {
			return err
		}
		if p.Repository, err = a.sealedFor(ctx, repo); err != nil {
			return err
		}
	}
	done, err := pipeline.Gate(ctx, repo, v, by, req)
	if err != nil {
		return err
	}
	if f.seal {
		for _, j := range done {
			if err := p.SealGated(ctx, j); err != nil {
				return err
			}
		}
	}
	return a.printGated(done, repo)
}

// gateLists reads what the gate itself judges images and secrets by.
func (a *app) gateLists(ctx context.Context, req *pipeline.GateRequest) error {
	req.Registries, req.EvidenceLists = a.cfg.RegistryAllow, a.cfg.EvidenceLists
	req.Secrets = pipeline.GateSecrets{Rotation: evidence.Duration(a.cfg.RotationInterval), Readers: a.cfg.SecretReaders, MaxAge: evidence.Duration(a.cfg.MaxAccessLogAge)}
	if err := images.CheckRegistries(req.Registries); err != nil {
		return usageErr("--registry-allow: %w", err)
	}
	var err error
	if req.Images, err = pipeline.GateImages(a.scanPolicy(), images.Sources{VEX: a.cfg.Vex, KEV: a.cfg.Kev, EPSS: a.cfg.Epss}); err != nil {
		return err
	}
	o, err := a.signatureOptions(false)
	if err != nil {
		return err
	}
	req.Signatures, err = pipeline.GateSignatures(ctx, o)
	return err
}

// deployed loads what is about to be deployed, by the same code and flags as collect.
func (a *app) deployed(ctx context.Context, args []string, f *gateFlags) (*chart.Release, error) {
	opts, err := a.loadOptions(&f.releaseFlags)
	if err != nil {
		return nil, err
	}
	p := &pipeline.Pipeline{Timeout: a.cfg.Timeout, Log: a.log}
	job := pipeline.Job{Ref: f.plain, Manifests: true}
	switch {
	case f.live.release != "":
		if p.Cluster, err = f.cluster.connect(ctx); err != nil {
			return nil, err
		}
		jobs, _, err := pipeline.LiveJobs(ctx, p.Cluster, pipeline.Chosen{Name: f.live.release, Namespace: a.cfg.Namespace})
		if err != nil {
			return nil, err
		}
		if len(jobs) > 1 {
			return nil, usageErr("gate: Helm has %d releases %s in namespace %s, in Secrets and in ConfigMaps: delete the one that is not used any more", len(jobs), f.live.release, a.cfg.Namespace)
		}
		job = jobs[0]
	case len(args) > 0:
		job = pipeline.Job{Ref: args[0]}
	}
	p.Workers = a.renderersOf([]pipeline.Job{job}, &opts)
	defer p.Workers.Close()
	rel, err := p.Load(ctx, job, opts)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(job.Ref); err == nil && !job.Manifests && opts.Version != "" && opts.Version != rel.Info.Version {
		return nil, errors.Join(usageErr("--version %s: %s is %s %s", opts.Version, job.Ref, rel.Info.Chart, rel.Info.Version), rel.Close())
	}
	return rel, nil
}

// completeCharts lists the charts that the repository has evidence for.
func (a *app) completeCharts(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if err := a.configure(cmd); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	repo, err := a.openRepo(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := repo.List(cmd.Context(), repository.Filter{Scope: evidence.ScopeRelease})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, p := range list {
		names = append(names, p.Chart)
	}
	slices.Sort(names)
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) printGated(done []*pipeline.Judged, repo *repository.Repository) error {
	worst := evidence.VerdictPass
	list := make([]report.ReleaseJSON, 0, len(done))
	t := newTerminal(a.io.out, a.cfg.Color)
	for _, j := range done {
		if o := countedOutcome(j); o != evidence.VerdictPass {
			worst = o
		}
		r := report.NewReleaseJSON(j.Report(j.By))
		if r.Bundle == "" {
			r.Bundle = j.RestsOn()
		}
		r.Counted = j.Counted
		r.Inputs, r.Reasons, r.EvidenceLists, r.IgnoredLists = j.Inputs, j.Reasons, j.Lists, j.Ignored
		list = append(list, r)
		switch {
		case a.cfg.Output == "json":
		case a.quiet:
			fmt.Fprintln(a.io.out, summary(j))
		case len(j.Inputs) == 0:
			for i, reason := range j.Reasons {
				indent := "  "
				if i == 0 {
					indent = ""
				}
				t.para(indent, indent+"  ", shortDigests(reason))
			}
			t.para("", "", "looked in "+repo.URL()+"; make evidence with helmproof collect")
			t.line(verdictLine(t, j))
		default:
			printJudged(t, j, a.most())
			t.line("")
			for _, in := range j.Inputs {
				t.line(fmt.Sprintf("from    bundle %s, judged %s", in.Bundle.Short(), in.EvaluatedAt.UTC().Format(time.RFC3339)))
			}
			t.para("bound   ", "        ", boundText(&j.Release))
			if len(j.Lists) > 0 {
				t.para("lists   ", "        ", "of the evidence, as asked: "+strings.Join(j.Lists, "; "))
			}
			if len(j.Ignored) > 0 {
				t.para("ignored ", "        ", "what the evidence was collected with: "+strings.Join(j.Ignored, "; ")+". Give the gate its own, or take them with --evidence-lists")
			}
			printCounted(t, j.Counted, j.Findings)
			t.line(verdictLine(t, j))
		}
	}
	if a.cfg.Output == "json" {
		if err := report.WriteOutput(report.EscapeJSON(a.io.out), list); err != nil {
			return err
		}
	}
	if worst != evidence.VerdictPass {
		return &exitError{code: exitVerdict}
	}
	return nil
}

// boundText says what ties the verdict to its evidence, and what the evidence is of.
func boundText(r *evidence.Release) string {
	var of []string
	for _, x := range []struct {
		what   string
		digest evidence.Digest
	}{{"manifests", r.ManifestsDigest}, {"values", r.ValuesDigest}, {"chart", r.ChartDigest}, {"archive", r.ArchiveDigest}} {
		if x.digest != "" {
			of = append(of, x.what+" "+x.digest.Short())
		}
	}
	digests := strings.Join(of, ", ")
	switch r.Bound {
	case evidence.BoundToManifests:
		return "to what is deployed: " + digests
	case evidence.BoundToImage:
		return "to image " + r.BoundImage.Short() + ", which the release runs: " + digests
	}
	return fmt.Sprintf("to a name only; the evidence is of %s: %s. What is deployed was not compared: give CHART instead of --chart", strings.TrimSpace(r.Chart+" "+r.Version), digests)
}
