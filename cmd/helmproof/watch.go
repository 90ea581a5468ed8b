package main

import (
	"context"
	"net"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/internal/watch"
)

// watchFlags say what is watched and how it is exported.
type watchFlags struct {
	listen        string
	interval      time.Duration
	limits        watch.Limits
	once          bool
	anyRepository bool
}

func newWatch(a *app) *cobra.Command {
	f := new(watchFlags)
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Export the age and verdict of evidence, and what the cluster does, as metrics",
		Long: `Watch serves Prometheus metrics: how old the newest verified evidence of each
release is and what it says, evidence that does not verify, drills and waivers.

It verifies each bundle of the repository once, and again after a day. Bundles that
do not verify, or were sealed for another repository, are counted and never shown.

A source that cannot be read keeps its last values, and helmproof_watch_up says 0.

/metrics has the metrics, /healthz says that the program runs, /readyz that its
sources were read. --once prints the metrics and ends; exit code 1 says that a
source could not be read.`,
		Example: `  helmproof watch --repo gs://evidence/prod --trust team.pub
  helmproof watch --repo evidence --once`,
		Args: exact(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.watch(cmd.Context(), f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", ":9187", "`ADDRESS` to serve on")
	fl.DurationVar(&f.interval, "interval", time.Minute, "time between two readings of the repository")
	fl.IntVar(&f.limits.Series, "max-series", 20000, "most series that are exported; what is left out is counted")
	fl.IntVar(&f.limits.PerMetric, "max-series-per-metric", 5000, "most series of one metric")
	fl.BoolVar(&f.once, "once", false, "print the metrics once, and end")
	fl.BoolVar(&f.anyRepository, "any-repository", false, "take evidence that was sealed for another repository, or for none")
	a.repoFlags(cmd)
	a.repositoryIDFlag(cmd)
	a.trustFlags(cmd)
	return cmd
}

func (f *watchFlags) check() error {
	switch {
	case f.interval < time.Second:
		return usageErr("--interval %s: want a second or more", f.interval)
	case f.limits.Series < 1 || f.limits.PerMetric < 1:
		return usageErr("--max-series and --max-series-per-metric: want 1 or more")
	}
	return nil
}

func (a *app) watch(ctx context.Context, f *watchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	repo, err := a.openRepo(ctx)
	if err != nil {
		return err
	}
	v, err := a.verifier(ctx, repo)
	if err != nil {
		return err
	}
	survey := &watch.Survey{Repo: repo, Verifier: v, AnyRepository: f.anyRepository, Interval: f.interval, Now: time.Now}
	if !f.anyRepository {
		if survey.ID, err = a.repositoryID(ctx, repo); err != nil {
			return err
		}
	}
	w := watch.New(watch.Options{Survey: survey, Limits: f.limits, Version: toolVersion(), Now: time.Now, Log: a.log})
	if f.once {
		failed := w.ReadRepository(ctx)
		if err := w.Write(a.io.out); err != nil {
			return err
		}
		return failed
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return usageErr("--listen %s: %w", f.listen, err)
	}
	a.log.Info("metrics are served on http://" + l.Addr().String() + "/metrics")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Serve(ctx, l) })
	g.Go(func() error { return w.Run(ctx) })
	return g.Wait()
}
