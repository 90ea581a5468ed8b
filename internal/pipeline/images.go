package pipeline

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/images/osv"
	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/collectors/images/trivy"
	"github.com/companyos/helmproof/internal/cluster"
)

// TrivyJob is the name of Trivy in the cluster.
const TrivyJob = "trivy-job"

// ScannerOptions says which scanners look at images, and how.
type ScannerOptions struct {
	Names       []string // osv, trivy, trivy-job
	Database    string   // of osv: its directory
	Trivy       string   // of trivy: its program
	TrivyImage  string   // of trivy-job: Trivy's image, by digest
	TimeLimit   time.Duration
	Workers     int
	PlainHTTP   bool
	ClusterUsed *cluster.Cluster // of trivy-job; nil: none was named
	Now         func() time.Time
	Log         *slog.Logger
}

// Scanners are those that were asked for.
func Scanners(o ScannerOptions) ([]scan.Scanner, error) {
	var list []scan.Scanner
	for _, s := range o.Names {
		var one scan.Scanner
		var err error
		switch s {
		case osv.Name:
			if one, err = osv.New(osv.Options{Database: o.Database, PlainHTTP: o.PlainHTTP, Workers: o.Workers, Now: o.Now}); err != nil {
				return nil, err
			}
		case trivy.Name:
			if one, err = trivy.New(trivy.Options{Command: o.Trivy, Timeout: o.TimeLimit, PlainHTTP: o.PlainHTTP}); err != nil {
				return nil, &InputError{err}
			}
		case TrivyJob:
			if o.ClusterUsed == nil {
				return nil, inputErr("--scan %s runs in a cluster: name it with --context", TrivyJob)
			}
			if o.TrivyImage == "" {
				return nil, inputErr("--scan %s needs Trivy's image: give --trivy-image docker.io/aquasec/trivy@sha256:… (or trivyImage in helmproof.yaml) with the digest that you trust", TrivyJob)
			}
			one = trivy.NewJob(trivy.JobOptions{Kube: o.ClusterUsed.Kube, Image: o.TrivyImage, Timeout: o.TimeLimit, Now: o.Now,
				Warn: func(s string) { o.Log.Warn(s) }})
		default:
			return nil, inputErr("--scan %q: want osv, trivy or trivy-job", s)
		}
		list = append(list, one)
	}
	return list, nil
}

// ImageOptions completes what images are judged by with the controls that the
// rules ask for or that something was given for, and gathers what there is to
// know of images. The caller closes Gathered.
func ImageOptions(ctx context.Context, rules Rules, pol images.Policy, src images.Sources, log *slog.Logger) (images.Options, error) {
	scans := len(src.Reports)+len(src.Scanners) > 0
	given := Given{Scans: scans, Resolve: src.Resolve, Registries: len(pol.Registries) > 0}.Controls()
	for _, id := range (Given{Scans: true, Resolve: true, Registries: true}).Controls() {
		if slices.Contains(given, id) || rules.Asks(id) {
			pol.Controls = append(pol.Controls, id)
		}
	}
	slices.Sort(pol.Controls)
	pol.Controls = slices.Compact(pol.Controls)
	o := images.Options{Policy: pol}
	if _, err := images.New(o); err != nil {
		return o, &InputError{err}
	}
	if !scans && !src.Resolve {
		return o, nil
	}
	var err error
	if o.Gathered, err = images.Gather(ctx, src); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return o, cause
		}
		return o, &InputError{err}
	}
	for _, w := range o.Gathered.Warnings {
		log.Warn(w)
	}
	return o, nil
}
