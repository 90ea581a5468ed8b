package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
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

// liveProfile makes live the profile of live releases, unless one was asked for
// on the command line, or the configured one asks for the collector live.
func liveProfile(cfg *config.Config, asked bool) error {
	if asked {
		return nil
	}
	j, err := loadJudgement(cfg)
	if err != nil {
		return err
	}
	if j.profile.Scope != evidence.ScopeRelease || !j.asksFor("live") {
		cfg.Profile = "live"
	}
	return nil
}

// liveJobs finds the releases.
func (a *app) liveJobs(ctx context.Context, cluster *cluster.Cluster, f *liveFlags, namespaceGiven bool) ([]job, error) {
	namespace := a.cfg.Namespace
	if f.all && !namespaceGiven {
		namespace = ""
	}
	var found []chart.StoredRelease
	var err error
	if f.all {
		found, err = chart.ListReleases(ctx, cluster, namespace)
	} else {
		found, err = chart.FindRelease(ctx, cluster, namespace, f.release)
	}
	if err != nil {
		return nil, err
	}
	gone := 0
	found = slices.DeleteFunc(found, func(s chart.StoredRelease) bool {
		if s.Uninstalled() {
			gone++
		}
		return s.Uninstalled()
	})
	switch {
	case len(found) > 0:
	case f.all && namespace == "":
		return nil, usageErr("no release of Helm is in the cluster's Secrets or ConfigMaps; Helm's SQL storage is not read")
	case f.all:
		return nil, usageErr("no release of Helm is in namespace %s", namespace)
	case gone > 0:
		return nil, usageErr("release %s in namespace %s is uninstalled: only its history is left", f.release, namespace)
	default:
		return nil, usageErr("no release %s in namespace %s; helm list -A shows where it is, -n names the namespace", f.release, namespace)
	}
	if gone > 0 {
		fmt.Fprintf(a.io.err, "helmproof: %s uninstalled, with the history kept: not judged\n", plural(gone, "release"))
	}
	jobs := make([]job, len(found))
	for i := range found {
		jobs[i] = job{ref: found[i].Ref(), stored: &found[i]}
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
