package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The process that calls Run plays three parts, one after the other, each in a
// process of its own: outside, it makes the namespaces; as their first process
// it mounts what they need and reaps; inside, it starts the cluster and runs f.
const (
	partEnv  = "HELMPROOF_KUBE_PART"
	idEnv    = "HELMPROOF_KUBE_ID"
	reachEnv = "HELMPROOF_KUBE_REACH"
	whyEnv   = "HELMPROOF_KUBE_WHY"

	partInit   = "init"
	partInside = "inside"
	partKeeper = "keeper"

	// TierEnv names the wanted tier outside, and the reached one to the tests.
	TierEnv = "HELMPROOF_TEST_TIER"
	// KubeconfigEnv tells the tests where the kubeconfig is.
	KubeconfigEnv = "HELMPROOF_TEST_KUBECONFIG"
)

// Run calls f with a cluster, or with one of TierNone where there can be none,
// and returns its exit code; 1 where the cluster does not start.
func Run(want Tier, f func(*Cluster) int) int {
	switch os.Getenv(partEnv) {
	case partInit:
		return report(initProcess())
	case partKeeper:
		return report(0, keep(os.Getenv(idEnv)))
	case partInside:
		return inside(f)
	}
	explicit := false
	if s := os.Getenv(TierEnv); s != "" && want != TierNone {
		limit, err := ParseTier(s)
		if err != nil {
			return report(0, fmt.Errorf("%s: %w", TierEnv, err))
		}
		explicit = limit <= want
		want = min(want, limit)
	}
	bin, reach, why := prospects(want)
	if explicit && reach < want {
		return report(0, fmt.Errorf("%s asks for tier %s: %s", TierEnv, want, why))
	}
	if reach > TierNone {
		code, err := outside(bin, reach, why)
		if !errors.Is(err, errNoNamespaces) || explicit {
			return report(code, err)
		}
		why = err.Error()
	}
	shared = &Cluster{why: why}
	if want > TierNone {
		fmt.Fprintf(os.Stderr, "kube: no cluster: %s; tests that need one are skipped\n", why)
	}
	return f(shared)
}

func report(code int, err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		return max(code, 1)
	}
	return code
}

// prospects is the highest tier up to want that has what it needs here, and why
// it is not a higher one.
func prospects(want Tier) (bin string, reach Tier, why string) {
	if want == TierNone {
		return "", TierNone, "none was asked for"
	}
	bin, err := binaries()
	if err != nil {
		return "", TierNone, err.Error()
	}
	widenPath()
	if _, err := exec.LookPath("ip"); err != nil {
		return bin, TierNone, "the program ip is missing: `make deps` as root installs iproute2"
	}
	if want < TierC {
		return bin, want, "only tier " + want.String() + " was asked for"
	}
	if why := noNodes(bin); why != "" {
		return bin, TierB, why
	}
	return bin, TierC, ""
}

// binaries finds bin/kube of the module that the test belongs to.
func binaries() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find bin/kube: %w", err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		bin := filepath.Join(d, "bin", "kube")
		if _, err := os.Stat(filepath.Join(bin, "hyper")); err == nil {
			return bin, nil
		}
		if d == filepath.Dir(d) {
			return "", errors.New("bin/kube/hyper is not built: run `make kube`")
		}
	}
}

// widenPath adds the folders in which Debian keeps ip, nft and runc, which are
// not in everyone's PATH.
func widenPath() {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin")
}

// noNodes is why real kubelets cannot run here, or "".
func noNodes(bin string) string {
	if os.Geteuid() != 0 {
		return "real nodes need root"
	}
	var missing []string
	for _, p := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "nft", "iptables", "conntrack"} {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if _, err := pluginDir(); err != nil {
		missing = append(missing, "CNI plugins")
	}
	if _, err := os.Stat(filepath.Join(bin, "testpod")); err != nil {
		missing = append(missing, "bin/kube/testpod")
	}
	if len(missing) > 0 {
		return "real nodes need " + strings.Join(missing, ", ") + ": `make deps kube` as root installs them"
	}
	if err := cgroupsWritable(); err != nil {
		return "real nodes need cgroups that can be written: " + err.Error()
	}
	return ""
}

func pluginDir() (string, error) {
	for _, d := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(d, "bridge")); err == nil {
			return d, nil
		}
	}
	return "", errors.New("no bridge plugin in /usr/lib/cni or /opt/cni/bin")
}

// inside starts the cluster in the namespaces and runs f there.
func inside(f func(*Cluster) int) int {
	reach, err := ParseTier(os.Getenv(reachEnv))
	if err != nil {
		return report(0, err)
	}
	bin, err := binaries()
	if err != nil {
		return report(0, err)
	}
	c := &Cluster{Dir: stateDir, why: os.Getenv(whyEnv), id: os.Getenv(idEnv), bin: bin, procs: map[string]*process{}}
	// The tests' own children must not take these parts again.
	for _, e := range []string{partEnv, idEnv, reachEnv, whyEnv} {
		os.Unsetenv(e)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	err = c.up(ctx, reach)
	cancel()
	if err != nil {
		c.printLogs()
		return report(0, fmt.Errorf("start a cluster of tier %s: %w", reach, err))
	}
	c.StartTime = time.Since(start)
	fmt.Fprintf(os.Stderr, "kube: tier %s ready in %.1f s\n", c.tier, c.StartTime.Seconds())
	if c.tier < TierC {
		fmt.Fprintf(os.Stderr, "kube: no higher tier: %s\n", c.why)
	}
	// Nothing in the tests can reach another cluster by accident.
	os.Setenv("KUBECONFIG", c.Kubeconfig)
	// kubectl keeps what it discovered, by address: another cluster's would mislead.
	os.Setenv("KUBECACHEDIR", filepath.Join(c.Dir, "cache"))
	os.Setenv("KUBERC", "off")
	os.Setenv(KubeconfigEnv, c.Kubeconfig)
	os.Setenv(TierEnv, c.tier.String())
	shared = c
	code := f(c)
	c.down()
	return code
}
