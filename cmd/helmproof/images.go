package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/pipeline"
)

// imageFlagNames are the flags by which images are judged.
var imageFlagNames = []string{
	"registry-allow", "scan", "db", "trivy", "trivy-image", "scan-timeout", "scan-cache", "scan-report", "scanner-version", "vex", "kev", "epss", "epss-above", "fixable-only", "grace",
	"max-scan-age", "max-database-age", "platform", "resolve",
}

func registerImageFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArray("registry-allow", nil, "allow images of the registry or repository `PATTERN` only, such as *.example.com or ghcr.io/team; may be given several times")
	fl.StringSlice("scan", nil, "scan the images with `SCANNER`: osv (embedded; helmproof db update fetches its database), trivy (installed) or trivy-job (in the cluster); osv,trivy for both")
	fl.String("db", "", "with --scan osv: `DIR` of the vulnerability database")
	fl.String("trivy", "", "with --scan trivy: its `PROGRAM`")
	fl.String("trivy-image", "", "with --scan trivy-job: Trivy's `IMAGE`, by digest")
	fl.Duration("scan-timeout", 0, "time limit of scanning one image")
	fl.String("scan-cache", "", "`DIR` that keeps scans")
	fl.StringArray("scan-report", nil, "judge images by the scan reports in `FILE|DIR`: Trivy, Grype, SARIF, CycloneDX, osv-scanner; sha256:…=FILE for one that does not name its image")
	fl.String("scanner-version", "", "output of trivy version --format json in `FILE`: how old the database of Trivy's reports was")
	registerScanPolicy(cmd)
	fl.Bool("resolve", false, "ask the registries what tags and digests name: moved tags, platforms, attached SBOMs")
	_ = cmd.RegisterFlagCompletionFunc("scan", cobra.FixedCompletions([]string{"osv", "trivy", "trivy-job"}, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"db", "scan-cache"} {
		_ = cmd.MarkFlagDirname(name)
	}
	for _, name := range []string{"scan-report", "scanner-version"} {
		_ = cmd.MarkFlagFilename(name)
	}
}

// registerScanPolicy registers the flags by which scans are judged, when they are
// collected and at the gate.
func registerScanPolicy(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArray("vex", nil, "OpenVEX document `FILE`: vulnerabilities that do no harm; may be given several times")
	fl.String("kev", "", "CISA's list of known exploited vulnerabilities, `FILE`: nothing but VEX excuses them")
	fl.String("epss", "", "FIRST's EPSS scores, `FILE`")
	fl.String("epss-above", "", "with --epss: `PROBABILITY` from which on nothing but VEX excuses a vulnerability")
	fl.Bool("fixable-only", false, "only warn of vulnerabilities for which no fixed version is known")
	fl.Duration("grace", 0, "only warn of vulnerabilities that were published this short time ago")
	fl.Duration("max-scan-age", 0, "how old a scan may be")
	fl.Duration("max-database-age", 0, "how old the vulnerability database of a scan may be")
	fl.StringArray("platform", nil, "`OS/ARCH` that the release runs on, such as linux/arm64; may be given several times")
	for _, name := range []string{"vex", "kev", "epss"} {
		_ = cmd.MarkFlagFilename(name)
	}
}

// scanPolicy says what images have to be.
func (a *app) scanPolicy() images.Policy {
	cfg, pol := a.cfg, images.DefaultPolicy()
	pol.Registries, pol.Fields, pol.Platforms, pol.FixableOnly = cfg.RegistryAllow, cfg.ImageField, cfg.Platform, cfg.FixableOnly
	pol.Grace, pol.MaxScanAge, pol.MaxDatabaseAge = evidence.Duration(cfg.Grace), evidence.Duration(cfg.MaxScanAge), evidence.Duration(cfg.MaxDatabaseAge)
	if cfg.Epss != "" {
		pol.EPSSAbove, _ = strconv.ParseFloat(cfg.EpssAbove, 64) // the configuration was checked
	}
	return pol
}

// imageOptions says what images are judged by, and reads what evidence there is.
func (a *app) imageOptions(ctx context.Context, rules pipeline.Rules, c *cluster.Cluster, plainHTTP bool) (images.Options, error) {
	cfg, pol := a.cfg, a.scanPolicy()
	src := images.Sources{
		Reports: cfg.ScanReport, ScannerVersion: cfg.ScannerVersion, VEX: cfg.Vex, KEV: cfg.Kev, EPSS: cfg.Epss,
		Resolve: cfg.Resolve, Platforms: cfg.Platform, PlainHTTP: plainHTTP, Now: time.Now,
	}
	if len(cfg.Scan) > 0 {
		var err error
		if src.Cache = cfg.ScanCache; src.Cache == "" {
			if src.Cache, err = userCache("scans"); err != nil {
				return images.Options{}, err
			}
		}
		dir, err := a.databaseDir()
		if err != nil {
			return images.Options{}, err
		}
		if src.Scanners, err = pipeline.Scanners(pipeline.ScannerOptions{
			Names: cfg.Scan, Database: dir, Trivy: cfg.Trivy, TrivyImage: cfg.TrivyImage, TimeLimit: cfg.ScanTimeout, Workers: a.workers(),
			PlainHTTP: plainHTTP, ClusterUsed: c, Now: time.Now, Log: a.log,
		}); err != nil {
			return images.Options{}, err
		}
	}
	return pipeline.ImageOptions(ctx, rules, pol, src, a.log)
}

// withAsked returns the rules with the controls that flags and configuration ask
// for: what was given to judge by counts, whatever profile was named.
func (a *app) withAsked(rules pipeline.Rules) (pipeline.Rules, error) {
	return rules.With(pipeline.Given{
		Registries: len(a.cfg.RegistryAllow) > 0, Signatures: len(a.cfg.SignaturePolicy) > 0, Scans: len(a.cfg.Scan)+len(a.cfg.ScanReport) > 0,
		Resolve: a.cfg.Resolve, Policies: a.cfg.Policies != "", AccessLogs: len(a.cfg.AccessLog) > 0,
	}.Controls()...)
}

// userCache is a folder of this program in the user's cache folder.
func userCache(name string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", usageErr("no cache folder: %w; name one with --db and --scan-cache", err)
	}
	return filepath.Join(dir, "helmproof", name), nil
}

// prepareImages asks for and scans the images of all jobs, and says what it did.
func (a *app) prepareImages(ctx context.Context, p *pipeline.Pipeline, jobs []pipeline.Job, o pipeline.JobOptions, prog *progress) error {
	counts, err := p.PrepareImages(ctx, jobs, o, prog.images)
	if err != nil {
		return err
	}
	if n := counts.Scanned + counts.Cached + counts.Failed; n > 0 && !a.quiet {
		a.log.Info(fmt.Sprintf("%s: %d scanned, %d from the cache, %d failed", plural(counts.Images, "image"), counts.Scanned, counts.Cached, counts.Failed))
	}
	return nil
}
