// Package watch exports as metrics what becomes of verdicts and releases between two
// looks: the age and verdict of the newest verified evidence, drills, and what autoscalers,
// budgets, secrets and pods of a cluster do. A source that cannot be read keeps its last
// values and says so: nothing stale shows as new, nothing that is missing as good.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"

	"github.com/companyos/helmproof/evidence"
)

// The sources.
const (
	sourceRepository = "repository"
	sourceAPI        = "api"
)

// Options is how to watch.
type Options struct {
	Survey *Survey
	// Connect connects to the cluster, and is asked again until it succeeds; nil: no
	// cluster is watched.
	Connect func(context.Context) (*Clients, error)
	Ready   Ready
	Standby bool // it exports nothing of the sources until it is elected
	Limits  Limits
	Version string // of helmproof
	Now     func() time.Time
	Log     *slog.Logger
}

// Watch reads the sources and exports what they say. It is safe for concurrent use.
type Watch struct {
	Options

	api *api // nil: no cluster is watched

	mu       sync.Mutex
	census   *Census // nil: nothing was read yet
	repo     reading
	leader   bool
	releases map[string]*live
	failures highest
}

// reading is how reading a source went.
type reading struct {
	up     bool
	last   time.Time // of the last success; zero: none
	failed string    // what was said of the last failure
}

// New returns a watch that read nothing yet.
func New(o Options) *Watch {
	w := &Watch{Options: o, leader: !o.Standby, failures: highest{}}
	if o.Connect != nil {
		w.api = &api{connect: o.Connect}
	}
	return w
}

// Registry returns a registry of the watch's metrics and of those of its process.
func (w *Watch) Registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(w, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Describe implements prometheus.Collector.
func (w *Watch) Describe(to chan<- *prometheus.Desc) {
	for _, m := range listOfMetrics {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (w *Watch) Collect(to chan<- prometheus.Metric) { w.samples().send(to, w.Limits) }

// samples are those of this moment.
func (w *Watch) samples() *samples {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := newSamples()
	s.set(watchBuild, 1, w.Version, strconv.Itoa(evidence.RulesVersion))
	s.set(watchLeader, number(w.leader))
	w.repo.add(s, sourceRepository)
	if w.leader && w.census != nil {
		cluster := w.api.cluster()
		s.addCensus(w.census, cluster)
		if w.api != nil && cluster == "" {
			delete(s.of, chaosFailures) // those of other clusters would be taken back
		} else {
			w.failures.keep(s, chaosFailures)
		}
		s.addReleases(w.releases, w.census)
	}
	if w.api != nil {
		w.api.add(s, w.leader)
	}
	return s
}

func (r *reading) add(s *samples, source string) {
	s.set(watchUp, number(r.up), source)
	s.set(watchSuccess, seconds(r.last), source)
}

// ReadRepository reads what is new in the repository.
func (w *Watch) ReadRepository(ctx context.Context) error {
	c, err := w.Survey.Read(ctx)
	if context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if c != nil {
		w.census = c
	}
	w.repo.note(err, w.Now(), w.Log, sourceRepository)
	return err
}

// note keeps how a reading went, and says what changed.
func (r *reading) note(err error, now time.Time, log *slog.Logger, source string) {
	r.up = err == nil
	if err != nil {
		if text := err.Error(); text != r.failed {
			r.failed = text
			log.Warn(fmt.Sprintf("reading the %s failed, its last values stay: %v", source, err))
		}
		return
	}
	if r.failed != "" {
		log.Info("reading the " + source + " succeeds again")
	}
	r.last, r.failed = now, ""
}

// ReadCluster connects where that was not done yet, and asks whether what is known of the
// cluster is as it is.
func (w *Watch) ReadCluster(ctx context.Context) error {
	err := w.api.update(ctx)
	if context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	err = errors.Join(err, w.api.unloaded)
	w.api.reading.note(err, w.Now(), w.Log, sourceAPI)
	return err
}

// askInterval bounds the time between two questions to the API server.
const askInterval = 10 * time.Second

// Run reads the sources until its context ends, the repository at each interval.
func (w *Watch) Run(ctx context.Context) error {
	var g sync.WaitGroup
	g.Go(func() { every(ctx, w.Survey.Interval, w.ReadRepository) })
	if w.api != nil {
		g.Go(func() { every(ctx, min(askInterval, w.Survey.Interval), w.ReadCluster) })
		g.Go(func() { every(ctx, min(askInterval, w.Survey.Interval), w.ReadReleases) })
	}
	g.Wait()
	return nil
}

// every calls read until ctx ends; how it went, read says itself.
func every(ctx context.Context, d time.Duration, read func(context.Context) error) {
	for ctx.Err() == nil {
		_ = read(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
}

// onceTimeout is how long ReadOnce waits for what a cluster has.
const onceTimeout = time.Minute

// ReadOnce reads each source once. The error says which could not be read.
func (w *Watch) ReadOnce(ctx context.Context) error {
	failed := w.ReadRepository(ctx)
	if w.api == nil || context.Cause(ctx) != nil {
		return failed
	}
	limited, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	if w.ReadCluster(ctx) != nil {
		w.api.settle(limited) // the first reading begins to watch
	}
	_ = w.ReadReleases(ctx) // the next reading says so
	return errors.Join(failed, w.ReadCluster(ctx))
}

// Write writes the watch's own metrics as text, as a scrape would get them.
func (w *Watch) Write(to io.Writer) error {
	r := prometheus.NewRegistry()
	r.MustRegister(w)
	families, err := r.Gather()
	if err != nil {
		return fmt.Errorf("gather the metrics: %w", err)
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(to, f); err != nil {
			return err
		}
	}
	return nil
}
