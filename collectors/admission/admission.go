// Package admission asks the API server's admission itself: does it accept what
// the release brings, does it refuse what it should, and are the policies that
// helmproof judges by in force.
//
// Everything is asked by server-side dry-run: nothing is created or changed.
package admission

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

// Name is the collector's name in the catalog.
const Name = "admission"

// The rules.
const (
	RuleNamespace = "admission/namespace-enforces"
	RuleObject    = "admission/dry-run-object"
	RulePod       = "admission/dry-run-pod"
	RuleLivePods  = "admission/dry-run-live-pods"
	RuleProbe     = "admission/negative-probe"
	RulePolicies  = "admission/policies-in-force"
	RuleExemption = "admission/exemption"
	RuleRefused   = "admission/would-be-refused"
	RuleSignature = "admission/signature"
)

// Names of the collector's artifacts, under artifacts/admission/.
const (
	namespaceFile = "namespace.json"
	dryRunFile    = "dry-run.json"
	livePodsFile  = "live-pods.json"
	probesFile    = "probes.json"
	policiesFile  = "policies.json"
	signatureFile = "signature.json"
	objectsFile   = "objects.json"
)

// Options of the collector.
type Options struct {
	// Policies are the policies.yaml that the release is judged by: expected in the cluster.
	Policies []byte
	// UnsignedImage is an image without a trusted signature, by which signature
	// admission is probed. Without it ADM-5 is not checked.
	UnsignedImage string
	// ProbeNamespace is where the unsigned image is tried, in a dry-run; "default" if empty.
	ProbeNamespace string
}

type collector struct{ o Options }

// New returns the collector.
func New(o Options) collectors.Collector { return &collector{o} }

func (*collector) Name() string { return Name }

func (*collector) Rules() []string { return rules.Names() }

// Collect asks the cluster about one release, or, without one, about the
// admission set-up that all releases share.
func (c *collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if in.Cluster == nil {
		return collectors.ErrNoCluster
	}
	if in.Release == nil {
		return c.collectCluster(ctx, in.Cluster, in.Now(), out)
	}
	return c.collectRelease(ctx, in.Cluster, in.Release, out)
}

// Findings derives the findings from what was asked and answered.
func (c *collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, err := in.Release()
	if err != nil {
		return nil, err
	}
	d := &derivation{collectors.NewDerivation(in, Name, rules), rel}
	if rel.Scope == evidence.ScopeCluster {
		err = errors.Join(d.policies(), d.exemptions(), d.refused(), d.signature())
	} else {
		err = errors.Join(d.namespace(), d.dryRuns(), d.livePods(), d.probes())
	}
	return d.Out, err
}

// Answer is what the API server said to one request.
type Answer struct {
	// Accepted says that the request went through all of admission.
	Accepted bool     `json:"accepted"`
	Code     int32    `json:"code,omitempty"`    // HTTP status of a refusal
	Reason   string   `json:"reason,omitempty"`  // of the Status object: Forbidden, Invalid, …
	Message  string   `json:"message,omitempty"` // likewise
	Warnings []string `json:"warnings,omitempty"`
	// Error says why there is no answer: connection lost, time-out, server error.
	Error string `json:"error,omitempty"`
	// NotAllowed says that the request did not reach admission, since RBAC denies it.
	NotAllowed bool `json:"notAllowed,omitempty"`
}

// rbacDenial tells the authorizer's refusal from admission's: both are 403.
var rbacDenial = regexp.MustCompile(`User ".*" cannot \w+ resource `)

// answerOf sorts the outcome of a request.
func answerOf(err error, warnings []string) Answer {
	a := Answer{Accepted: err == nil, Warnings: warnings}
	if err == nil {
		return a
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		a.Error = err.Error()
		return a
	}
	s := status.Status()
	a.Code, a.Reason, a.Message = s.Code, string(s.Reason), s.Message
	switch {
	case s.Code == 401 || s.Code == 403 && rbacDenial.MatchString(s.Message):
		a.NotAllowed = true
	case s.Code == 0 || s.Code == 408 || s.Code == 429 || s.Code >= 500:
		// A webhook that fails closed answers 500 as well: nobody has judged the object.
		a.Error = s.Message
	}
	return a
}

// asker makes dry-run requests and keeps the warnings of each. It is for one
// goroutine.
type asker struct {
	client   dynamic.Interface
	warnings []string
}

func newAsker(cluster *cluster.Cluster) (*asker, error) {
	a := &asker{}
	cfg := rest.CopyConfig(cluster.Config)
	cfg.WarningHandler = nil
	cfg.WarningHandlerWithContext = a
	var err error
	if a.client, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return a, nil
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (a *asker) HandleWarningHeaderWithContext(_ context.Context, _ int, _ string, text string) {
	a.warnings = append(a.warnings, text)
}

// ask makes one request.
func (a *asker) ask(request func(dynamic.Interface) error) Answer {
	a.warnings = nil
	err := request(a.client)
	slices.Sort(a.warnings)
	return answerOf(err, slices.Compact(a.warnings))
}

// parallel is how many dry-runs are under way at once.
const parallel = 8

// inParallel calls do for 0 … n-1 with an asker of the goroutine's own.
func inParallel(ctx context.Context, cluster *cluster.Cluster, n int, do func(a *asker, i int)) error {
	var wg sync.WaitGroup
	next := make(chan int)
	var failed error
	var once sync.Once
	for range min(parallel, n) {
		a, err := newAsker(cluster)
		if err != nil {
			once.Do(func() { failed = err })
			break
		}
		wg.Go(func() {
			for i := range next {
				do(a, i)
			}
		})
	}
	if failed == nil {
	feed:
		for i := range n {
			select {
			case next <- i:
			case <-ctx.Done():
				failed = context.Cause(ctx)
				break feed
			}
		}
	}
	close(next)
	wg.Wait()
	return failed
}
