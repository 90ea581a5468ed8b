package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/garbage"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/internal/watch"
)

// watchFlags say what is watched and how it is exported.
type watchFlags struct {
	listen        string
	interval      time.Duration
	limits        watch.Limits
	once          bool
	anyRepository bool
	ready         string
	elect         bool
	namespace     string // of the Lease
	noCluster     bool
	cluster       clusterFlags
}

func newWatch(a *app) *cobra.Command {
	f := new(watchFlags)
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Export the age and verdict of evidence, and what the cluster does, as metrics",
		Long: `Watch serves Prometheus metrics: how old the newest verified evidence of each
release is and what it says, evidence that does not verify, drills and waivers;
and of a cluster: releases of Helm without evidence of their chart and values,
disruption budgets, autoscalers, ExternalSecrets, and pods that the Pod Security
Standards refuse. docs/watch.md lists them.

It verifies each bundle of the repository once, and again after a day. Bundles that
do not verify, or were sealed for another repository, are counted and never shown.

The cluster is that of --kubeconfig or --context, or the one that it runs in; with
--no-cluster, or where there is none of these, it watches the repository alone. Its
rights are those of templates/rbac/watch.yaml. Of several watches with
--leader-elect one exports at a time, by the Lease helmproof-watch.

A source that cannot be read keeps its last values, and helmproof_watch_up says 0.

/metrics has the metrics, /healthz says that the program runs, /readyz that its
sources were read. --once prints the metrics and ends; exit code 1 says that a
source could not be read.`,
		Example: `  helmproof watch --repo gs://evidence/prod --trust team.pub --leader-elect
  helmproof watch --repo gs://evidence/prod --trust team.pub --context prod --listen 127.0.0.1:9187
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
	fl.StringVar(&f.ready, "ready", string(watch.ReadyBoth), "what /readyz waits for: both, any or repository")
	fl.BoolVar(&f.elect, "leader-elect", false, "export only while holding the Lease helmproof-watch")
	fl.StringVar(&f.namespace, "lease-namespace", "", "with --leader-elect: `NAMESPACE` of the Lease; the one that it runs in if empty, else helmproof")
	fl.BoolVar(&f.noCluster, "no-cluster", false, "watch the repository alone")
	f.cluster.registerConnection(cmd)
	_ = cmd.RegisterFlagCompletionFunc("ready", cobra.FixedCompletions([]string{"both", "any", "repository"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("lease-namespace", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions)
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
	case !slices.Contains([]watch.Ready{watch.ReadyBoth, watch.ReadyAny, watch.ReadyRepository}, watch.Ready(f.ready)):
		return usageErr("--ready %q: want both, any or repository", f.ready)
	case f.noCluster && (f.cluster.named() || f.elect):
		return usageErr("--no-cluster does not go with --kubeconfig, --context and --leader-elect, which need one")
	case f.once && f.elect:
		return usageErr("--once prints what this watch sees: it does not go with --leader-elect")
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
	o := watch.Options{Survey: survey, Limits: f.limits, Version: toolVersion(), Now: time.Now, Log: a.log, Ready: watch.Ready(f.ready), Standby: f.elect}
	var election *watch.Election
	if f.cluster.named() || f.elect || !f.noCluster && inCluster() {
		rest, err := f.cluster.restConfig()
		if err != nil {
			return err
		}
		workers := a.renderers()
		defer workers.Close()
		o.Connect = watchClients(rest, &pipeline.Pipeline{Timeout: a.cfg.Timeout, Log: a.log, Workers: workers})
		if f.elect {
			if election, err = f.election(rest); err != nil {
				return err
			}
		}
	}
	garbage.Usually() // unlike other commands, this one goes on
	w := watch.New(o)
	if f.once {
		return a.watchOnce(ctx, w)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return usageErr("--listen %s: %w", f.listen, err)
	}
	a.log.Info("metrics are served on http://" + l.Addr().String() + "/metrics")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.Serve(ctx, l) })
	g.Go(func() error { return w.Run(ctx) })
	if election != nil {
		g.Go(func() error { return w.Elect(ctx, *election) })
	}
	return g.Wait()
}

// watchOnce prints the metrics also of what could be read only in part.
func (a *app) watchOnce(ctx context.Context, w *watch.Watch) error {
	failed := w.ReadOnce(ctx)
	if err := w.Write(a.io.out); err != nil {
		return err
	}
	return failed
}

// inCluster reports whether this program runs in a pod that knows its cluster.
func inCluster() bool { return os.Getenv("KUBERNETES_SERVICE_HOST") != "" }

func (f *clusterFlags) restConfig() (*rest.Config, error) {
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	return cluster.ConfigOf(o)
}

// election is that of the flags. The identity has to be this process's alone.
func (f *watchFlags) election(cfg *rest.Config) (*watch.Election, error) {
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name this watch: %w", err)
	}
	e := &watch.Election{Kube: kube, Namespace: f.namespace, Identity: host + "_" + rand.Text()}
	if e.Namespace == "" {
		own, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("find the namespace of the Lease: %w; give it with --lease-namespace", err)
		}
		e.Namespace = cmp.Or(strings.TrimSpace(string(own)), "helmproof")
	}
	return e, nil
}

// watchClients connects as watch needs it: pods and workloads come as protobuf, which
// takes less memory to read.
func watchClients(cfg *rest.Config, p *pipeline.Pipeline) func(context.Context) (*watch.Clients, error) {
	return func(ctx context.Context) (*watch.Clients, error) {
		c, err := cluster.ConnectConfig(ctx, cfg)
		if err != nil {
			return nil, err
		}
		binary := rest.CopyConfig(cfg)
		binary.ContentType, binary.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
		kube, err := kubernetes.NewForConfig(binary)
		if err != nil {
			return nil, fmt.Errorf("connect to the cluster: %w", err)
		}
		meta, err := metadata.NewForConfig(cfg)
		if err != nil {
			return nil, fmt.Errorf("connect to the cluster: %w", err)
		}
		of := *p
		of.Cluster = c
		return &watch.Clients{
			Kube: kube, Dynamic: c.Dynamic, Metadata: meta, Discovery: c.Discovery, Version: c.Info.Version, Fingerprint: c.Info.Fingerprint,
			Release: func(ctx context.Context, s chart.StoredRelease) (evidence.Release, error) {
				rel, err := of.Load(ctx, pipeline.Job{Ref: s.Ref(), Stored: &s}, chart.LoadOptions{})
				if err != nil {
					return evidence.Release{}, err
				}
				is, err := pipeline.LiveRelease(rel)
				return is, errors.Join(err, rel.Close())
			},
		}, nil
	}
}
