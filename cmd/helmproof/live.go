package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/live"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/pipeline"
)

// liveFlags are the flags that choose among the releases that Helm installed.
type liveFlags struct {
	release string
	all     bool
	flags   *pflag.FlagSet // of the command
}

func (f *liveFlags) register(cmd *cobra.Command, of *releaseFlags) {
	fl := cmd.Flags()
	f.flags = fl
	fl.StringVar(&f.release, "release", "", "judge the live release `NAME`, as Helm stored it in the cluster, and what runs of it")
	fl.BoolVar(&f.all, "all-releases", false, "judge all live releases, of all namespaces or of the one that -n names")
	_ = cmd.RegisterFlagCompletionFunc("release", of.completeReleases)
}

func (f *liveFlags) asked() bool { return f.release != "" || f.all }

// check refuses what does not go with live releases: charts given beside them,
// and values, which are those that Helm stored.
func (f *liveFlags) check(of *releaseFlags, given int) error {
	flag := "--release"
	if f.all {
		flag = "--all-releases"
	}
	switch {
	case f.release != "" && f.all:
		return usageErr("--release names one release, --all-releases all: give one of them")
	case of.cluster.itself:
		return usageErr("--cluster judges the cluster itself: collect releases in a run of their own")
	case given > 0:
		return usageErr("%s judges what Helm stored: collect charts and manifests in a run of their own", flag)
	}
	for _, name := range []string{"values", "set", "set-string", "set-file", "set-json", "chart-repo", "version", "release-name", "kube-version"} {
		if f.flags.Changed(name) {
			return usageErr("%s takes chart, values and name from Helm's storage, and the version from the cluster: --%s does not go with it", flag, name)
		}
	}
	return nil
}

// liveProfile is the profile that live releases are judged by: live, unless one
// was asked for on the command line, or the configured one asks for the collector live.
func (a *app) liveProfile(asked bool) (string, error) {
	if asked {
		return a.cfg.Profile, nil
	}
	r, err := pipeline.LoadRules(a.rules())
	if err != nil {
		return "", err
	}
	if r.Profile.Scope != evidence.ScopeRelease || !r.AsksFor(live.Name) {
		return live.Name, nil
	}
	return a.cfg.Profile, nil
}

// liveJobs finds the releases.
func (a *app) liveJobs(ctx context.Context, c *cluster.Cluster, f *liveFlags, namespaceGiven bool) ([]pipeline.Job, error) {
	want := pipeline.Chosen{Name: f.release, Namespace: a.cfg.Namespace}
	if f.all && !namespaceGiven {
		want.Namespace = ""
	}
	jobs, gone, err := pipeline.LiveJobs(ctx, c, want)
	if err != nil {
		return nil, err
	}
	if gone > 0 {
		a.log.Info(plural(gone, "release") + " uninstalled, with the history kept: not judged")
	}
	return jobs, nil
}

// completeReleases asks the cluster, for as long as a person waits.
func (f *releaseFlags) completeReleases(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
	defer cancel()
	cluster, err := f.cluster.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	namespace, err := cmd.Flags().GetString("namespace")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	found, err := chart.ListReleases(ctx, cluster, namespace)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, s := range found {
		out = append(out, s.Name+"\t"+s.Namespace+", "+s.Status)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
