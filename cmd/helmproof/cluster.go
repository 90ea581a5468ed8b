package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/pipeline"
)

// clusterFlags are the flags by which collect and check find a cluster.
type clusterFlags struct {
	itself     bool // --cluster: the cluster is what is judged
	kubeconfig string
	context    string
	unsigned   string // an image without a signature
	namespace  string // in which that is tried
}

func (f *clusterFlags) register(cmd *cobra.Command) {
	f.registerConnection(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.itself, "cluster", false, "judge the cluster itself, once for all its releases")
	fl.String("kube-bench-image", "", "with --cluster: kube-bench's `IMAGE` by digest")
	fl.String("benchmark", "", "with --cluster: CIS `BENCHMARK`, such as cis-1.12; that of platform and version if empty")
	fl.Int("kube-bench-parallel", 0, "with --cluster: nodes on which kube-bench runs at once")
	fl.StringVar(&f.unsigned, "unsigned-image", "", "with --cluster: `IMAGE` without a trusted signature, which admission must refuse")
	fl.StringVar(&f.namespace, "unsigned-namespace", "", "with --unsigned-image: `NAMESPACE` in which it is tried, in a dry-run (default)")
}

// registerConnection registers the flags that name a cluster.
func (f *clusterFlags) registerConnection(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.context, "context", "", "look at the cluster of this kubeconfig `CONTEXT`")
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; as kubectl finds it if empty")
	_ = cmd.MarkFlagFilename("kubeconfig")
	_ = cmd.RegisterFlagCompletionFunc("context", f.completeContexts)
}

// Flags that mean something for charts only, and for --cluster only.
var (
	chartFlags = []string{
		"values", "set", "set-string", "set-file", "set-json", "chart-repo", "version", "plain-http", "namespace", "release-name", "schemas", "kube-version", "api-versions",
		"signature-policy", "trusted-root", "access-log",
	}
	benchFlags = []string{"kube-bench-image", "benchmark", "kube-bench-parallel"}
)

// check refuses flags that would be ignored without a word.
func (f *clusterFlags) check(cmd *cobra.Command) error {
	ignored, why := benchFlags, "means something with --cluster only"
	if f.itself {
		ignored, why = slices.Concat(chartFlags, imageFlagNames), "means nothing for --cluster"
	}
	if f.namespace != "" && f.unsigned == "" {
		return usageErr("--unsigned-namespace means something with --unsigned-image only")
	}
	for _, name := range ignored {
		if cmd.Flags().Changed(name) {
			return usageErr("--%s %s", name, why)
		}
	}
	return nil
}

// named reports whether a cluster is to be looked at. Without a flag none is,
// whatever kubeconfig there may be: judging a chart needs no cluster.
func (f *clusterFlags) named() bool { return f.itself || f.kubeconfig != "" || f.context != "" }

func (f *clusterFlags) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	raw, err := f.rules().Load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for name := range raw.Contexts {
		out = append(out, name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (f *clusterFlags) rules() *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	return rules
}

// connect connects to the cluster that the flags name. A kubeconfig that is not
// there or does not know the context is a mistake of usage, a cluster that does
// not answer is not.
func (f *clusterFlags) connect(ctx context.Context) (*cluster.Cluster, error) {
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	return cluster.Connect(ctx, o)
}

// options name the cluster of the flags.
func (f *clusterFlags) options() (cluster.Options, error) {
	o := cluster.Options{Kubeconfig: f.kubeconfig, Context: f.context, UserAgent: "helmproof/" + toolVersion()}
	if f.kubeconfig != "" {
		if _, err := os.Stat(f.kubeconfig); errors.Is(err, fs.ErrNotExist) {
			return o, usageErr("--kubeconfig %s: no such file", f.kubeconfig)
		}
	}
	raw, err := f.rules().Load()
	if err != nil {
		return o, usageErr("read the kubeconfig: %w", err)
	}
	if _, ok := raw.Contexts[f.context]; f.context != "" && !ok {
		return o, usageErr("--context %q is not in the kubeconfig; kubectl config get-contexts lists what is", f.context)
	}
	return o, nil
}

// clusterProfile is the profile of --cluster: cluster, unless one that judges
// clusters was chosen. A profile for charts in helmproof.yaml does not stand in
// the way; one that was asked for on the command line does.
func (a *app) clusterProfile(asked bool) (string, error) {
	if asked {
		return a.cfg.Profile, nil
	}
	_, p, err := config.Profile(a.cfg.Profile)
	if err != nil {
		return "", err
	}
	if p.Scope != evidence.ScopeCluster {
		return "cluster", nil
	}
	return a.cfg.Profile, nil
}

// bench is how the kube-bench collector is to work.
func (a *app) bench(prog *progress) kubebench.Options {
	return kubebench.Options{
		Image: a.cfg.KubeBenchImage, Benchmark: a.cfg.Benchmark, Parallel: a.cfg.KubeBenchParallel,
		NodeTimeout: a.cfg.KubeBenchNodeTimeout, Timeout: a.cfg.KubeBenchTimeout, Warn: func(s string) { a.log.Warn(s) },
		Progress: func(done, nodes int) {
			prog.collector(fmt.Sprintf("%s, %d of %d nodes", kubebench.Name, done, nodes))
		},
	}
}

// collectCluster judges the cluster itself.
func (a *app) collectCluster(ctx context.Context, p *pipeline.Pipeline) ([]pipeline.Job, error) {
	prog := a.progress(1)
	p.Started, p.Bench = prog.collector, a.bench(prog)
	prog.start("cluster")
	out, err := p.ClusterItself(ctx)
	prog.finish()
	prog.done()
	if cause := context.Cause(ctx); cause != nil {
		return nil, fmt.Errorf("interrupted: nothing half-written was left behind")
	}
	return []pipeline.Job{{Ref: "cluster", Out: out, Err: err}}, nil
}
