// Package kubebench runs the CIS Kubernetes Benchmark on every node of a
// cluster: one Job of kube-bench per node, in a namespace that the run makes for
// itself and removes. A node without a result is never taken for a good one.
package kubebench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/evidence"
)

// Name is the collector's name in the catalog, and its folder under artifacts/.
const Name = "kubebench"

// Options is how a run looks at the cluster. Findings needs none of it.
type Options struct {
	// Image is kube-bench's image, by digest: registry/name@sha256:….
	Image string
	// Benchmark pins the benchmark ("cis-1.12"); if empty, platform and version choose it.
	Benchmark string
	// Parallel is how many nodes are looked at at once; 0 means 10.
	Parallel int
	// NodeTimeout is how long one node's Job may run; 0 means 5 minutes.
	NodeTimeout time.Duration
	// Timeout is how long the whole run may take; 0 means an hour. Nodes that were
	// not reached by then are recorded as such.
	Timeout time.Duration
	// Warn is told what a user should know that is no evidence, such as a
	// namespace that could not be removed. May be nil.
	Warn func(string)
	// Progress is told, concurrently, when another node is done. May be nil.
	Progress func(done, nodes int)

	start  time.Duration // how long a pod may take to start; 0 means 2 minutes
	poll   time.Duration // between looks at a Job; 0 means a second
	margin time.Duration // over NodeTimeout, for the Job's own deadline to show; 0 means 30 seconds
}

const (
	defaultParallel    = 10
	defaultNodeTimeout = 5 * time.Minute
	defaultTimeout     = time.Hour
	cleanupLimit       = jobrun.CleanupLimit
)

// New returns the collector.
func New(o Options) collectors.Lasting {
	o.Parallel = cmp.Or(o.Parallel, defaultParallel)
	o.NodeTimeout = cmp.Or(o.NodeTimeout, defaultNodeTimeout)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.start = cmp.Or(o.start, min(2*time.Minute, o.NodeTimeout/2))
	o.poll = cmp.Or(o.poll, time.Second)
	o.margin = cmp.Or(o.margin, 30*time.Second)
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	return &collector{o: o}
}

type collector struct{ o Options }

func (c *collector) Name() string { return Name }

func (c *collector) Rules() []string { return rules.Names() }

// TimeLimit leaves time to clean up, and to write down which nodes were not reached.
func (c *collector) TimeLimit() time.Duration    { return c.o.Timeout + cleanupLimit }
func (c *collector) CleanupLimit() time.Duration { return cleanupLimit }

var imagePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$`)

// CheckImage refuses an image that is not pinned by digest: what runs with a
// view of every node's processes must be known exactly.
func CheckImage(image string) error {
	switch {
	case image == "":
		return errors.New("kube-bench's image is not set: give --kube-bench-image docker.io/aquasec/kube-bench@sha256:… (or kubeBenchImage in helmproof.yaml) with the digest that you trust")
	case !imagePattern.MatchString(image):
		return fmt.Errorf("kube-bench's image %q is not pinned by digest: want registry/name@sha256:<64 hexadecimal digits>; it runs with a view of every node", image)
	}
	return nil
}

// Collect runs kube-bench on every node and seals what each printed.
func (c *collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if in.Cluster == nil {
		return errors.New("no cluster to look at")
	}
	if err := CheckImage(c.o.Image); err != nil {
		return err
	}
	r := &run{o: c.o, now: in.Now, cluster: in.Cluster, kube: in.Cluster.Kube, out: out}
	return r.do(ctx)
}
