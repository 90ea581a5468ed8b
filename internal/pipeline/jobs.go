package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/manifest"
)

// Job is one chart, one set of manifests or one live release to judge.
type Job struct {
	Ref       string
	Manifests bool                 // Ref names plain manifests
	Stored    *chart.StoredRelease // a live release; nil: none
	Out       *Judged
	Err       error

	loaded *chart.Release // that was loaded before; nil: none
}

// JobOptions is how several jobs are done.
type JobOptions struct {
	Load    chart.LoadOptions
	Workers int
	// Start and Finish are told of each job, concurrently.
	Start  func(ref string)
	Finish func()
}

// Jobs judges the jobs, several at once; each job keeps its own error.
func (p *Pipeline) Jobs(ctx context.Context, jobs []Job, o JobOptions) {
	var g errgroup.Group
	g.SetLimit(o.Workers)
	var stdin sync.Mutex
	for i := range jobs {
		g.Go(func() error {
			j := &jobs[i]
			if j.Err = context.Cause(ctx); j.Err != nil {
				return nil //nolint:nilerr // the job holds it
			}
			o.Start(j.Ref)
			j.Out, j.Err = p.job(ctx, j, o.Load, &stdin)
			o.Finish()
			return nil
		})
	}
	_ = g.Wait() // the functions return no error: each job keeps its own
}

func (p *Pipeline) job(ctx context.Context, j *Job, opts chart.LoadOptions, stdin *sync.Mutex) (out *Judged, err error) {
	rel := j.loaded
	if rel == nil {
		if rel, err = p.load(ctx, j, opts, stdin); err != nil {
			return nil, err
		}
	}
	defer func() { err = errors.Join(err, rel.Close()) }()
	p.warnUnknown(j, rel, opts)
	return p.Release(ctx, rel)
}

// warnUnknown says which values were set that the chart does not know: nothing would
// come of them, without a word.
func (p *Pipeline) warnUnknown(j *Job, rel *chart.Release, o chart.LoadOptions) {
	if j.Manifests || j.Stored != nil || p.Log == nil {
		return
	}
	const most = 5
	unknown := rel.UnknownValues(o)
	for i, u := range unknown {
		if i == most {
			p.Log.Warn(fmt.Sprintf("%s: %d more values that were set are unknown to the chart", j.Ref, len(unknown)-most))
			return
		}
		meant := ""
		if u.Meant != "" {
			meant = " (did you mean " + u.Meant + "?)"
		}
		p.Log.Warn(fmt.Sprintf("%s: the value %s is set, but neither in the chart's values.yaml nor named by its templates%s", j.Ref, u.Key, meant))
	}
}

// load loads what a job names. What an error shows of the chart and of what the
// user gave is without secrets.
func (p *Pipeline) load(ctx context.Context, j *Job, opts chart.LoadOptions, stdin *sync.Mutex) (*chart.Release, error) {
	opts.Workers = p.Workers
	load := chart.Load
	if j.Manifests {
		load = chart.LoadManifests
		if j.Ref == "-" {
			stdin.Lock()
			defer stdin.Unlock()
		}
	}
	limited := ctx
	if p.Timeout > 0 { // a chart that renders for ever ends like a collector that does
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeoutCause(ctx, p.Timeout, fmt.Errorf("no rendering within %s", p.Timeout))
		defer cancel()
	}
	if j.Stored != nil {
		load = func(ctx context.Context, _ string, o chart.LoadOptions) (*chart.Release, error) {
			return chart.LoadStored(ctx, p.Cluster, *j.Stored, chart.LoadOptions{APIVersions: o.APIVersions, ImageFields: o.ImageFields, Workers: o.Workers})
		}
	}
	rel, err := load(limited, j.Ref, opts)
	if err != nil {
		return nil, secrets.CleanError(ctx, err, slices.Concat(opts.Set, opts.SetString, opts.SetJSON))
	}
	rel.Info.PodTemplates, rel.Info.ImageFields = manifest.PodTemplates(opts.ImageFields), manifest.ImageFields(opts.ImageFields)
	return rel, nil
}

// Load loads what a job names, as judging it would. The caller closes the release.
func (p *Pipeline) Load(ctx context.Context, j Job, o chart.LoadOptions) (*chart.Release, error) {
	rel, err := p.load(ctx, &j, o, new(sync.Mutex))
	if err == nil {
		p.warnUnknown(&j, rel, o)
	}
	if err == nil && p.Cluster != nil {
		rel.Info.Cluster = p.Cluster.Info.Fingerprint
	}
	return rel, err
}

// PrepareImages asks for and scans the images of all jobs, each once, before
// the first is judged. A release that cannot be loaded is told later.
func (p *Pipeline) PrepareImages(ctx context.Context, jobs []Job, o JobOptions, progress func(what string, done, total int)) (images.Counts, error) {
	var mu sync.Mutex
	var all []string
	var g errgroup.Group
	g.SetLimit(o.Workers)
	var stdin sync.Mutex
	for i := range jobs {
		g.Go(func() error {
			j := &jobs[i]
			rel, err := p.load(ctx, j, o.Load, &stdin)
			if err != nil {
				return nil //nolint:nilerr // loading it again says so
			}
			mu.Lock()
			all = append(all, rel.Info.Images...)
			mu.Unlock()
			if j.Manifests && j.Ref == "-" {
				j.loaded = rel // standard input is there once
				return nil
			}
			return rel.Close()
		})
	}
	if err := g.Wait(); err != nil {
		return images.Counts{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return images.Counts{}, err
	}
	return p.Images.Gathered.Prepare(ctx, all, progress)
}

// Chosen says which live releases are meant.
type Chosen struct {
	Name      string // empty: all
	Namespace string // empty: those of all namespaces
}

// LiveJobs finds the releases that Helm installed. Uninstalled ones, of which
// Helm kept the history, are counted and left out.
func LiveJobs(ctx context.Context, c *cluster.Cluster, want Chosen) (jobs []Job, uninstalled int, err error) {
	var found []chart.StoredRelease
	if want.Name == "" {
		found, err = chart.ListReleases(ctx, c, want.Namespace)
	} else {
		found, err = chart.FindRelease(ctx, c, want.Namespace, want.Name)
	}
	if err != nil {
		return nil, 0, err
	}
	all := len(found)
	found = slices.DeleteFunc(found, chart.StoredRelease.Uninstalled)
	uninstalled = all - len(found)
	switch {
	case len(found) > 0:
	case want.Name == "" && want.Namespace == "":
		return nil, 0, inputErr("no release of Helm is in the cluster's Secrets or ConfigMaps; Helm's SQL storage is not read")
	case want.Name == "":
		return nil, 0, inputErr("no release of Helm is in namespace %s", want.Namespace)
	case uninstalled > 0:
		return nil, 0, inputErr("release %s in namespace %s is uninstalled: only its history is left", want.Name, want.Namespace)
	default:
		return nil, 0, inputErr("no release %s in namespace %s; helm list -A shows where it is, -n names the namespace", want.Name, want.Namespace)
	}
	for i := range found {
		jobs = append(jobs, Job{Ref: found[i].Ref(), Stored: &found[i]})
	}
	return jobs, uninstalled, nil
}
