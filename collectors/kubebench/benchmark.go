package kubebench

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// since names the benchmark from a Kubernetes minor version on.
type since struct {
	minor     int
	benchmark string
}

// benchmarks are kube-bench 0.15's, by platform: from which minor version of
// Kubernetes which benchmark holds (version_mapping and the platform functions
// of its cfg/config.yaml and cmd/util.go). Newer versions than kube-bench knows
// take its newest benchmark, and the evidence says so.
var benchmarks = map[string]struct {
	known int // the newest minor version that kube-bench maps
	list  []since
}{
	"kubernetes": {34, []since{{15, "cis-1.5"}, {16, "cis-1.6"}, {19, "cis-1.20"}, {22, "cis-1.23"}, {24, "cis-1.24"}, {25, "cis-1.7"}, {26, "cis-1.8"}, {27, "cis-1.9"}, {28, "cis-1.10"}, {29, "cis-1.11"}, {32, "cis-1.12"}}},
	"gke":        {34, []since{{15, "gke-1.0"}, {20, "gke-1.2.0"}, {28, "gke-1.6.0"}, {30, "gke-1.8.0"}, {31, "gke-1.9.0"}}},
	"eks":        {34, []since{{15, "eks-1.0.1"}, {20, "eks-1.5.0"}, {29, "eks-1.7.0"}, {32, "eks-1.8.0"}}},
	"aks":        {34, []since{{19, "aks-1.0"}, {25, "aks-1.8"}, {29, "aks-1.7"}, {32, "aks-1.8"}}},
	"openshift":  {26, []since{{13, "rh-1.0"}, {24, "rh-1.4"}, {26, "rh-1.8"}}},
	"k3s":        {29, []since{{22, "k3s-cis-1.23"}, {24, "k3s-cis-1.24"}, {25, "k3s-cis-1.7"}, {26, "k3s-cis-1.8"}, {27, "k3s-cis-1.9"}}},
	"rke2":       {29, []since{{22, "rke2-cis-1.23"}, {24, "rke2-cis-1.24"}, {25, "rke2-cis-1.7"}, {26, "rke2-cis-1.8"}}},
}

// managed platforms run the control plane themselves, out of any node's sight.
func managed(platform string) bool { return slices.Contains([]string{"gke", "eks", "aks"}, platform) }

var (
	minorPattern     = regexp.MustCompile(`^v?1\.([0-9]{1,3})`)
	benchmarkPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)
)

// CheckBenchmark refuses what cannot be a benchmark's name.
func CheckBenchmark(name string) bool { return benchmarkPattern.MatchString(name) }

// chooseBenchmark returns the benchmark for a cluster and why it is that one.
func chooseBenchmark(platform, version, pinned string) (name, why string, err error) {
	if pinned != "" {
		if !CheckBenchmark(pinned) {
			return "", "", fmt.Errorf("benchmark %q: want a name like cis-1.12", pinned)
		}
		return pinned, "pinned by the user", nil
	}
	m := minorPattern.FindStringSubmatch(version)
	if m == nil {
		return "", "", fmt.Errorf("choose a benchmark: version %q of the API server is not understood; pin one with --benchmark", version)
	}
	minor, err := strconv.Atoi(m[1])
	if err != nil {
		return "", "", fmt.Errorf("choose a benchmark: version %q: %w", version, err)
	}
	p, ok := benchmarks[platform]
	if !ok {
		return "", "", fmt.Errorf("choose a benchmark: none is known for platform %q; pin one with --benchmark", platform)
	}
	for _, s := range p.list {
		if minor >= s.minor {
			name = s.benchmark
		}
	}
	if name == "" {
		return "", "", fmt.Errorf("choose a benchmark: none is known for %s 1.%d; pin one with --benchmark", platform, minor)
	}
	why = fmt.Sprintf("%s 1.%d", platform, minor)
	if minor > p.known {
		why += fmt.Sprintf(": newer than kube-bench 0.15 knows (1.%d), its newest benchmark was taken", p.known)
	}
	return name, why, nil
}

const controlPlane = "control-plane"

// targetsFor are the parts of the benchmark that can be decided on a node of
// these roles. The parts about the cluster as a whole (policies, managedservices)
// are nobody's node.
func targetsFor(roles, platform, benchmark string) []string {
	list := strings.Split(roles, ",")
	targets := []string{}
	etcd := !slices.ContainsFunc([]string{"gke-", "eks-", "aks-", "rh-0."}, func(p string) bool { return strings.HasPrefix(benchmark, p) })
	if slices.Contains(list, controlPlane) && !managed(platform) {
		targets = append(targets, "master")
		if !strings.HasPrefix(benchmark, "rh-0.") {
			targets = append(targets, "controlplane")
		}
		if etcd {
			targets = append(targets, "etcd")
		}
	} else if slices.Contains(list, "etcd") && etcd {
		targets = append(targets, "etcd")
	}
	targets = append(targets, "node")
	slices.Sort(targets)
	return targets
}
