package kubebench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

// Artifacts of the collector, under artifacts/kubebench/.
const (
	overviewFile   = "nodes.json"      // Overview
	redactionsFile = "redactions.json" // Redactions
	nodesFolder    = "nodes/"          // <node>.json: what kube-bench printed there
)

// What became of one node.
const (
	OutcomeResult      = "result" // there is a whole result
	OutcomeFailed      = jobrun.OutcomeFailed
	OutcomeNotStarted  = jobrun.OutcomeNotStarted
	OutcomeTimeout     = jobrun.OutcomeTimeout
	OutcomeNoOutput    = jobrun.OutcomeNoOutput
	OutcomeBadOutput   = "bad-output"  // what it printed is not kube-bench's JSON
	OutcomeUnsupported = "unsupported" // kube-bench does not run on such a node
	OutcomeNotReached  = "not-reached" // the run's time was up, or the node came too late
)

// Overview is what was asked of which node, and what became of it: nodes.json.
type Overview struct {
	Image           string    `json:"image"`
	Platform        string    `json:"platform"`
	Version         string    `json:"version"` // of the API server
	Benchmark       string    `json:"benchmark"`
	BenchmarkReason string    `json:"benchmarkReason"`
	Nodes           []NodeRun `json:"nodes"` // by name, then in the order in which they appeared
	// NodesError says that the list of nodes at the end could not be had: whether
	// nodes came or went during the run is then not known.
	NodesError string `json:"nodesError,omitempty"`
}

// NodeRun is one node's part of the run.
type NodeRun struct {
	Node    string `json:"node"`
	UID     string `json:"uid"`
	Role    string `json:"role"` // as in collectors.Node
	OS      string `json:"os"`
	Version string `json:"version"` // of its kubelet
	Ready   bool   `json:"ready"`   // when the run looked first
	// Added and Removed say that the node came, or went, during the run.
	Added   bool `json:"added,omitempty"`
	Removed bool `json:"removed,omitempty"`

	Benchmark string   `json:"benchmark"`
	Targets   []string `json:"targets"`

	Outcome string `json:"outcome"`          // one of the Outcome constants
	Reason  string `json:"reason,omitempty"` // why there is no result
	Exit    int    `json:"exit"`             // kube-bench's exit code
	// Bytes and SHA256 are of what kube-bench printed, before redaction.
	Bytes  int64           `json:"bytes"`
	SHA256 evidence.Digest `json:"sha256,omitempty"`
	File   string          `json:"file,omitempty"` // in the collector's folder
}

// Redactions declares what was taken out of the nodes' files: redactions.json.
type Redactions struct {
	// Values is the number of values replaced, in all files.
	Values int             `json:"values"`
	Checks []RedactedCheck `json:"checks"`
}

// RedactedCheck is one check of one node's file with values taken out.
type RedactedCheck struct {
	Node   string `json:"node"`
	File   string `json:"file"`
	Check  string `json:"check"`
	Values int    `json:"values"`
}

// maxTotal bounds what is sealed of all nodes, in bytes: well below what a
// bundle may hold.
const maxTotal = 256 << 20

// rounds is how often the nodes are listed again, and those that are new looked at.
const rounds = 3

type target struct {
	NodeRun
	node *corev1.Node
}

// run is one Collect.
type run struct {
	o        Options
	now      func() time.Time
	cluster  *cluster.Cluster
	kube     kubernetes.Interface
	out      evidence.ArtifactWriter
	jobs     *jobrun.Runner
	overview Overview

	mu       sync.Mutex
	total    int64
	redacted []RedactedCheck
	files    map[string]int // by node name, how many files there are
}

func (r *run) do(parent context.Context) error {
	ctx, cancel := context.WithTimeoutCause(parent, r.o.Timeout, fmt.Errorf("the run's time of %s was up", r.o.Timeout))
	defer cancel()
	info := r.cluster.Info
	r.overview = Overview{Image: r.o.Image, Platform: info.Platform, Version: info.Version}
	r.files = map[string]int{}
	var err error
	if r.overview.Benchmark, r.overview.BenchmarkReason, err = chooseBenchmark(info.Platform, info.Version, r.o.Benchmark); err != nil {
		return err
	}
	nodes, err := cluster.ListNodes(ctx, r.kube)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		return errors.New("the cluster has no nodes")
	}
	r.jobs = r.o.runner(r.kube, r.now)
	r.jobs.Sweep(ctx)
	if err := r.jobs.MakeNamespace(ctx); err != nil {
		return err
	}
	defer r.jobs.RemoveNamespace(parent)
	targets := r.allNodes(ctx, nodes)
	if err := context.Cause(parent); err != nil {
		return err
	}
	return r.seal(targets)
}

// allNodes looks at every node, and at those that come meanwhile.
func (r *run) allNodes(ctx context.Context, nodes []corev1.Node) []*target {
	var all []*target
	known := map[string]*target{} // by UID: a node that was replaced is another one
	for round := range rounds {
		var fresh []*target
		for i := range nodes {
			if known[string(nodes[i].UID)] == nil {
				t := r.newTarget(&nodes[i])
				t.Added = round > 0
				known[t.UID] = t
				fresh = append(fresh, t)
			}
		}
		all = append(all, fresh...)
		if len(fresh) > 0 {
			if round == rounds-1 {
				for _, t := range fresh {
					t.Outcome, t.Reason = OutcomeNotReached, "the node came while the last ones were looked at"
				}
			} else {
				r.nodes(ctx, fresh)
			}
		}
		again, err := r.listAgain(ctx)
		if err != nil {
			r.overview.NodesError = jobrun.OneLine(err.Error(), 300)
			break
		}
		nodes = again
		there := map[string]bool{}
		for i := range nodes {
			there[string(nodes[i].UID)] = true
		}
		for uid, t := range known {
			t.Removed = !there[uid]
		}
		if len(fresh) == 0 {
			break
		}
	}
	slices.SortStableFunc(all, func(a, b *target) int { return strings.Compare(a.Node, b.Node) })
	return all
}

func (r *run) listAgain(ctx context.Context) (nodes []corev1.Node, err error) {
	err = r.jobs.Retry(ctx, "list the nodes again", func() error {
		nodes, err = cluster.ListNodes(ctx, r.kube)
		return err
	})
	return nodes, err
}

func (r *run) newTarget(n *corev1.Node) *target {
	d := cluster.DescribeNode(n)
	return &target{node: n, NodeRun: NodeRun{
		Node: d.Name, UID: string(n.UID), Role: d.Roles, OS: d.OS, Version: d.Version, Ready: d.Ready,
		Benchmark: r.overview.Benchmark, Targets: targetsFor(d.Roles, r.overview.Platform, r.overview.Benchmark),
	}}
}

// nodes runs the Jobs of these nodes, Parallel at once. What a node printed is
// sealed and forgotten before its place is taken by the next.
func (r *run) nodes(ctx context.Context, list []*target) {
	var g errgroup.Group
	var done atomic.Int64
	g.SetLimit(r.o.Parallel)
	for _, t := range list {
		g.Go(func() error {
			r.one(ctx, t)
			r.o.Progress(int(done.Add(1)), len(list))
			return nil
		})
	}
	_ = g.Wait() // the functions return no error: each node keeps its own
}

func (r *run) one(ctx context.Context, t *target) {
	fail := func(outcome string, err error) {
		t.Outcome, t.Reason = outcome, jobrun.OneLine(redactAssignments(err.Error()), 400)
	}
	if err := context.Cause(ctx); err != nil {
		fail(OutcomeNotReached, err)
		return
	}
	if t.OS != "" && t.OS != "linux" {
		fail(OutcomeUnsupported, fmt.Errorf("kube-bench does not run on %s", t.OS))
		return
	}
	job, err := r.newJob(t)
	if err != nil {
		fail(OutcomeFailed, err)
		return
	}
	out, err := r.jobs.Run(ctx, job)
	var p *jobrun.Problem
	switch {
	case errors.As(err, &p):
		fail(p.Outcome, err)
		return
	case ctx.Err() != nil:
		fail(OutcomeNotReached, context.Cause(ctx))
		return
	case err != nil:
		fail(OutcomeFailed, err)
		return
	}
	t.Exit, t.Bytes, t.SHA256 = out.Exit, out.Bytes, evidence.Digest("sha256:"+out.SHA256)
	if err := r.sealNode(t, out); err != nil {
		said := jobrun.OneLine(redactAssignments(out.Errors), 400)
		if said == "" && out.Exit != 0 && len(out.Raw) < 4096 { // kube-bench says some of its errors on standard output
			said = jobrun.OneLine(redactAssignments(string(out.Raw)), 300)
		}
		if said != "" {
			err = fmt.Errorf("%w; kube-bench ended with exit code %d: %s", err, out.Exit, said)
		}
		fail(OutcomeBadOutput, err)
		return
	}
	t.Outcome = OutcomeResult
}

// sealNode writes what kube-bench printed, without the environments in it.
func (r *run) sealNode(t *target, out *jobrun.Output) error {
	clean, checks, err := redact(out.Raw)
	if err != nil {
		// Unread, it cannot be redacted, and is not sealed.
		return err
	}
	r.mu.Lock()
	r.total += int64(len(clean))
	over := r.total > maxTotal
	r.files[t.Node]++
	nth := r.files[t.Node]
	r.mu.Unlock()
	if over {
		return fmt.Errorf("all nodes together printed more than the limit of %d bytes", int64(maxTotal))
	}
	t.File = nodesFolder + t.Node + ".json"
	if nth > 1 { // a node that was replaced by one of the same name
		t.File = fmt.Sprintf("%s%s@%d.json", nodesFolder, t.Node, nth)
	}
	if err := r.out.Write(t.File, clean); err != nil {
		t.File = ""
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range checks {
		r.redacted = append(r.redacted, RedactedCheck{Node: t.Node, File: t.File, Check: c.check, Values: c.values})
	}
	return nil
}

// seal writes the overview and the declaration of what was redacted.
func (r *run) seal(targets []*target) error {
	r.overview.Nodes = []NodeRun{}
	for _, t := range targets {
		r.overview.Nodes = append(r.overview.Nodes, t.NodeRun)
	}
	red := Redactions{Checks: []RedactedCheck{}}
	for _, c := range r.redacted {
		red.Values += c.Values
		red.Checks = append(red.Checks, c)
	}
	slices.SortFunc(red.Checks, func(a, b RedactedCheck) int {
		return strings.Compare(a.File+"\x00"+a.Check, b.File+"\x00"+b.Check)
	})
	return errors.Join(collectors.WriteJSON(r.out, overviewFile, r.overview), collectors.WriteJSON(r.out, redactionsFile, red))
}

// runner runs the Jobs as the options say.
func (o *Options) runner(kube kubernetes.Interface, now func() time.Time) *jobrun.Runner {
	return &jobrun.Runner{
		Kube: kube, Component: "kube-bench", PodSecurity: "privileged", // the Job needs hostPID and host paths
		Lives: o.Timeout + cleanupLimit + 5*time.Minute, JobTimeout: o.NodeTimeout, Start: o.start, Poll: o.poll, Margin: o.margin, Warn: o.Warn, Now: now,
	}
}
