// Command testcluster starts a real Kubernetes for tests, runs a command beside
// it, and takes it away without a trace:
//
//	testcluster run [-tier a|b|c] [-pause FILE] [-logs DIR] -- COMMAND ARGS...
//	testcluster image -o FILE.tar -ref NAME [-user UID:GID] [-args "…"] BINARY
//
// Tier a is etcd and the API server; b adds controllers, the scheduler and nodes
// in three zones that KWOK simulates; c adds two real kubelets with containerd
// and runc. All of it lives in network, mount and PID namespaces of its own, which
// the kernel takes away when the command ends, however it ends.
//
// The command finds in its environment KUBECONFIG, HELMPROOF_TEST_KUBECONFIG,
// HELMPROOF_TEST_TIER (the tier that was reached), HELMPROOF_TEST_CONTAINERD
// (sockets of the real nodes, joined by commas), HELMPROOF_TEST_RUN (a folder with
// the PID of each process, <name>.pid) and HELMPROOF_TEST_CLUSTER (this program).
// The API server is started again when it is killed. Without -tier, the highest
// tier that the machine allows is started; where none is, the command runs
// without those variables and the reason is in HELMPROOF_TEST_SKIP.
//
// It is one binary for all roles as well: called as testcluster kube-apiserver …
// it is the API server, and so on.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the components
	_ "k8s.io/component-base/metrics/prometheus/version"  // likewise
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
)

var roles = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": kcm.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "testcluster: want run or image")
		os.Exit(2)
	}
	name := os.Args[1]
	args := os.Args[2:]
	var err error
	switch name {
	case "run":
		os.Exit(outside(args))
	case "init":
		os.Exit(initProcess(args))
	case "inside":
		os.Exit(inside(args))
	case "image":
		err = imageCommand(args)
	case "etcd":
		etcdmain.Main(append([]string{name}, args...))
		return
	case "kwok":
		os.Args = append([]string{name}, args...)
		err = runKWOK(context.Background())
	default:
		role := roles[name]
		if role == nil {
			fmt.Fprintf(os.Stderr, "testcluster: %q: want run or image\n", name)
			os.Exit(2)
		}
		os.Args = append([]string{name}, args...)
		os.Exit(cli.Run(role()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		os.Exit(1)
	}
}

func runKWOK(ctx context.Context) error {
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx, _ = kwoklog.InitFlags(ctx, flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err != nil {
		return err
	}
	cmd := kwok.NewCommand(ctx)
	cmd.PersistentFlags().AddFlagSet(flags)
	return cmd.ExecuteContext(ctx)
}
