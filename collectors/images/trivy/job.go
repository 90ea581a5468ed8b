package trivy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/templates/jobs"
)

// JobOptions says how to run Trivy in a cluster.
type JobOptions struct {
	Kube kubernetes.Interface
	// Image is Trivy's image, by digest.
	Image string
	// Timeout is how long one image may take.
	Timeout time.Duration
	// Parallel is how many images are scanned at once; 0 means 4.
	Parallel int
	// Warn is told what a user should know that is no evidence. May be nil.
	Warn func(string)
	Now  func() time.Time
}

const (
	defaultParallel = 4
	// daily is how long a result counts as the newest database's: Trivy's is built
	// several times a day, and which one a Job gets is only known afterwards.
	daily = 6 * time.Hour
)

// Job scans each image in a Job of its own, in a namespace that a run makes for
// itself and removes. It is a scan.Scanner.
type Job struct {
	o    JobOptions
	poll time.Duration
}

// NewJob returns the scanner.
func NewJob(o JobOptions) *Job {
	o.Parallel = cmp.Or(o.Parallel, defaultParallel)
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	return &Job{o: o, poll: time.Second}
}

// Name implements scan.Scanner.
func (*Job) Name() string { return Name + "-job" }

// State implements scan.Scanner: the image of Trivy, and the quarter of a day.
func (j *Job) State(context.Context) (evidence.Digest, error) {
	raw, err := json.Marshal([]any{j.o.Image, evidence.DigestOf(jobs.Trivy), j.o.Now().UTC().Truncate(daily)})
	if err != nil {
		return "", err
	}
	return evidence.DigestOf(raw), nil
}

// Scan implements scan.Scanner.
func (j *Job) Scan(parent context.Context, targets []scan.Target, done func(int, scan.Result)) error {
	// Jobs wait for each other's places.
	limit := j.o.Timeout * time.Duration(2+len(targets)/j.o.Parallel)
	ctx, cancel := context.WithTimeoutCause(parent, limit, fmt.Errorf("the run's time of %s was up", limit))
	defer cancel()
	r := &jobrun.Runner{
		Kube: j.o.Kube, Component: Name, PodSecurity: "restricted", Lives: limit + jobrun.CleanupLimit + 5*time.Minute,
		JobTimeout: j.o.Timeout, Start: min(2*time.Minute, j.o.Timeout/2), Poll: j.poll, Margin: 30 * time.Second, Warn: j.o.Warn, Now: j.o.Now,
	}
	r.Sweep(ctx)
	if err := r.MakeNamespace(ctx); err != nil {
		return err
	}
	defer r.RemoveNamespace(parent)
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(j.o.Parallel)
	for i, t := range targets {
		g.Go(func() error {
			res := j.one(ctx, r, t)
			if err := context.Cause(parent); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done(i, res)
			return nil
		})
	}
	return g.Wait()
}

func (j *Job) one(ctx context.Context, r *jobrun.Runner, t scan.Target) scan.Result {
	if err := context.Cause(ctx); err != nil {
		return scan.Result{Err: err}
	}
	job, err := j.newJob(t)
	if err != nil {
		return scan.Result{Err: err}
	}
	out, err := r.Run(ctx, job)
	if err != nil {
		return scan.Result{Err: err}
	}
	if out.Exit != 0 {
		return scan.Result{Err: fmt.Errorf("trivy ended with exit code %d: %s", out.Exit, lastLine([]byte(out.Errors)))}
	}
	version, report, err := split(out.Raw)
	return scan.Result{Raw: report, Version: version, Err: err}
}

// split takes apart what the Job printed: the length of what Trivy says of
// itself, that, and the report.
func split(raw []byte) (version, report []byte, err error) {
	line, rest, _ := bytes.Cut(raw, []byte("\n"))
	n, err := strconv.Atoi(string(line))
	if err != nil || n <= 0 || n > min(len(rest), maxVersion) {
		return nil, nil, errors.New("what the Job printed is not Trivy's version and report")
	}
	return slices.Clone(rest[:n]), slices.Clone(rest[n:]), nil
}

func (j *Job) newJob(t scan.Target) (*batchv1.Job, error) {
	return jobrun.FromTemplate(jobs.Trivy, "trivy-", j.o.Image, j.o.Timeout, map[string]string{"REFERENCE": t.Reference, "PLATFORM": t.Platform})
}
