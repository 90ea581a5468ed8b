package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/images/osv"
	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/collectors/images/trivy"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
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
	fl.StringArray("vex", nil, "OpenVEX document `FILE`: vulnerabilities that do no harm; may be given several times")
	fl.String("kev", "", "CISA's list of known exploited vulnerabilities, `FILE`: nothing but VEX excuses them")
	fl.String("epss", "", "FIRST's EPSS scores, `FILE`")
	fl.String("epss-above", "", "with --epss: `PROBABILITY` from which on nothing but VEX excuses a vulnerability")
	fl.Bool("fixable-only", false, "only warn of vulnerabilities for which no fixed version is known")
	fl.Duration("grace", 0, "only warn of vulnerabilities that were published this short time ago")
	fl.Duration("max-scan-age", 0, "how old a scan may be")
	fl.Duration("max-database-age", 0, "how old the vulnerability database of a scan may be")
	fl.StringArray("platform", nil, "`OS/ARCH` that the release runs on, such as linux/arm64; may be given several times")
	fl.Bool("resolve", false, "ask the registries what tags and digests name: moved tags, platforms, attached SBOMs")
	_ = cmd.RegisterFlagCompletionFunc("scan", cobra.FixedCompletions([]string{"osv", "trivy", "trivy-job"}, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"db", "scan-cache"} {
		_ = cmd.MarkFlagDirname(name)
	}
	for _, name := range []string{"scan-report", "scanner-version", "vex", "kev", "epss"} {
		_ = cmd.MarkFlagFilename(name)
	}
}

// imageOptions says what images are judged by, and reads what evidence there is.
func (a *app) imageOptions(ctx context.Context, p *pipeline, plainHTTP bool) (images.Options, error) {
	j := &p.judge
	c := a.cfg
	pol := images.DefaultPolicy()
	pol.Registries, pol.Fields, pol.Platforms, pol.FixableOnly = c.RegistryAllow, c.ImageField, c.Platform, c.FixableOnly
	pol.Grace, pol.MaxScanAge, pol.MaxDatabaseAge = evidence.Duration(c.Grace), evidence.Duration(c.MaxScanAge), evidence.Duration(c.MaxDatabaseAge)
	if c.Epss != "" {
		pol.EPSSAbove, _ = strconv.ParseFloat(c.EpssAbove, 64) // the configuration was checked
	}
	scans := len(c.ScanReport)+len(c.Scan) > 0
	for id, given := range map[evidence.ControlID]bool{"IMG-6": c.Resolve, "IMG-2": scans, "IMG-3": scans, "IMG-5": len(c.RegistryAllow) > 0} {
		asked := slices.ContainsFunc(j.profile.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == id })
		if given || asked {
			pol.Controls = append(pol.Controls, id)
		}
	}
	slices.Sort(pol.Controls)
	o := images.Options{Policy: pol, Now: time.Now}
	if _, err := images.New(o); err != nil {
		return o, usageErr("%w", err)
	}
	if !scans && !c.Resolve {
		return o, nil
	}
	scanners, cache, err := a.scanners(p.cluster, plainHTTP)
	if err != nil {
		return o, err
	}
	o.Gathered, err = images.Gather(ctx, images.Sources{
		Scanners: scanners, Cache: cache,
		Reports: c.ScanReport, ScannerVersion: c.ScannerVersion, VEX: c.Vex, KEV: c.Kev, EPSS: c.Epss,
		Resolve: c.Resolve, Platforms: c.Platform, PlainHTTP: plainHTTP,
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return o, cause
		}
		return o, &exitError{code: exitUsage, err: err}
	}
	for _, w := range o.Gathered.Warnings {
		fmt.Fprintln(a.io.err, "helmproof: warning: "+printable(w))
	}
	if scans && !j.asksFor(images.Name) {
		fmt.Fprintf(a.io.err, "helmproof: warning: profile %s asks for no control of image scans: they are shown, and decide nothing; --profile images does\n", j.profile.Name)
	}
	return o, nil
}

// trivyJob is the name of Trivy in the cluster.
const trivyJob = "trivy-job"

// scanners are those that were asked for, and the folder that keeps their results.
func (a *app) scanners(cluster *cluster.Cluster, plainHTTP bool) (list []scan.Scanner, cache string, err error) {
	if len(a.cfg.Scan) == 0 {
		return nil, "", nil
	}
	if cache = a.cfg.ScanCache; cache == "" {
		if cache, err = userCache("scans"); err != nil {
			return nil, "", err
		}
	}
	for _, s := range a.cfg.Scan {
		var one scan.Scanner
		switch s {
		case osv.Name:
			dir, err := a.databaseDir()
			if err != nil {
				return nil, "", err
			}
			if one, err = osv.New(osv.Options{Database: dir, PlainHTTP: plainHTTP, Workers: a.workers(), Now: time.Now}); err != nil {
				return nil, "", err
			}
		case trivy.Name:
			if one, err = trivy.New(trivy.Options{Command: a.cfg.Trivy, Timeout: a.cfg.ScanTimeout, PlainHTTP: plainHTTP}); err != nil {
				return nil, "", &exitError{code: exitUsage, err: err}
			}
		case trivyJob:
			if cluster == nil {
				return nil, "", usageErr("--scan %s runs in a cluster: name it with --context", trivyJob)
			}
			if a.cfg.TrivyImage == "" {
				return nil, "", usageErr("--scan %s needs Trivy's image: give --trivy-image docker.io/aquasec/trivy@sha256:… (or trivyImage in helmproof.yaml) with the digest that you trust", trivyJob)
			}
			one = trivy.NewJob(trivy.JobOptions{Kube: cluster.Kube, Image: a.cfg.TrivyImage, Timeout: a.cfg.ScanTimeout, Now: time.Now,
				Warn: func(s string) { fmt.Fprintln(a.io.err, "helmproof: warning: "+printable(s)) }})
		}
		list = append(list, one)
	}
	return list, cache, nil
}

// userCache is a folder of this program in the user's cache folder.
func userCache(name string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", usageErr("no cache folder: %w; name one with --db and --scan-cache", err)
	}
	return filepath.Join(dir, "helmproof", name), nil
}

// imageScopes are those of the images collector: it runs where there is
// something to judge, and is known to replay always.
func imageScopes(o images.Options) []evidence.Scope {
	if len(o.Policy.Controls) == 0 {
		return nil
	}
	return ofRelease
}

// prepareImages asks for and scans the images of all jobs, each once, before
// the first is judged. A release that cannot be loaded is told later.
func (a *app) prepareImages(ctx context.Context, p *pipeline, jobs []job, opts chart.LoadOptions, prog *progress) error {
	var mu sync.Mutex
	var all []string
	var g errgroup.Group
	g.SetLimit(a.workers())
	var stdin sync.Mutex
	for i := range jobs {
		g.Go(func() error {
			j := &jobs[i]
			rel, err := loadJob(ctx, p, j, opts, &stdin)
			if err != nil {
				return nil //nolint:nilerr // loading it again says so
			}
			mu.Lock()
			all = append(all, rel.Info.Images...)
			mu.Unlock()
			if j.manifests && j.ref == "-" {
				j.loaded = rel // standard input is there once
				return nil
			}
			return rel.Close()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	counts, err := p.images.Gathered.Prepare(ctx, all, prog.images)
	if err != nil {
		return err
	}
	if n := counts.Scanned + counts.Cached + counts.Failed; n > 0 && !a.quiet {
		fmt.Fprintf(a.io.err, "helmproof: %s: %d scanned, %d from the cache, %d failed\n", plural(counts.Images, "image"), counts.Scanned, counts.Cached, counts.Failed)
	}
	return nil
}
