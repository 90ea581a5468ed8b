package drill

import (
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// Experiment is what a drill does.
type Experiment string

// The experiments.
const (
	PodKill        Experiment = "pod-kill"        // deletes pods, which asks no budget
	Eviction       Experiment = "eviction"        // evicts pods by the Eviction API, which asks their budgets
	NodeDrain      Experiment = "node-drain"      // cordons a node and evicts its pods
	ZoneDrain      Experiment = "zone-drain"      // likewise each node of a zone, one after the other
	RollingRestart Experiment = "rolling-restart" // as kubectl rollout restart does
	ContainerKill  Experiment = "container-kill"  // ends the main process of containers, which the kubelet restarts
	Rollback       Experiment = "rollback"        // an upgrade that must fail, and the way back
	Load           Experiment = "load"            // requests at a stated rate
)

// Experiments lists all experiments.
func Experiments() []Experiment {
	return []Experiment{PodKill, Eviction, NodeDrain, ZoneDrain, RollingRestart, ContainerKill, Rollback, Load}
}

// Plan is a drill as it was asked for, all defaults filled in. It is sealed as
// plan.json: what is judged is judged by it.
type Plan struct {
	Experiment Experiment `json:"experiment"`
	Target     Target     `json:"target"`
	SLO        SLO        `json:"slo"`
	Probes     []Probe    `json:"probes"`
	Prober     Prober     `json:"prober"`
	Phases     Phases     `json:"phases"`
	Limits     Limits     `json:"limits"`
	// AllowNamespaces are those whose pods the drill may touch.
	AllowNamespaces []string      `json:"allowNamespaces"`
	Prometheus      *Prometheus   `json:"prometheus,omitempty"`
	Rollback        *RollbackPlan `json:"rollback,omitempty"`
	Load            *LoadPlan     `json:"load,omitempty"`
}

// Target is what the experiment is done to, within the release.
type Target struct {
	// Workload is "Deployment/web" or "StatefulSet/db"; empty: every Deployment and
	// StatefulSet of the release.
	Workload string `json:"workload,omitempty"`
	// Count pods, or Percent of the workload's pods (rounded up), of each workload;
	// Count 1 if neither is set.
	Count   int `json:"count,omitempty"`
	Percent int `json:"percent,omitempty"`
	// GraceSeconds overrides the pods' own grace period; 0 kills at once.
	GraceSeconds *int64 `json:"graceSeconds,omitempty"`
	Node         string `json:"node,omitempty"` // empty: one that runs a pod of the release
	Zone         string `json:"zone,omitempty"` // by the label topology.kubernetes.io/zone
	Container    string `json:"container,omitempty"`
	// Seed decides which pods are chosen.
	Seed int64 `json:"seed"`
}

// Hits is how many of a workload's pods are chosen.
func (t *Target) Hits(pods int) int {
	if t.Percent > 0 {
		return min((pods*t.Percent+99)/100, pods)
	}
	return min(max(1, t.Count), pods)
}

// SLO is the service level objective that the drill is held to.
type SLO struct {
	Objective float64           `json:"objective"` // share of good requests, 0.999
	Window    evidence.Duration `json:"window"`    // that the objective is about
	Share     float64           `json:"share"`     // of the window's budget that this drill may spend, 1 for all
	// Latency: a request that took longer is not a good one; 0: any time is good.
	Latency evidence.Duration `json:"latency,omitempty"`
}

// Probe is requests at a steady rate through a Service of the release.
type Probe struct {
	Name    string            `json:"name"`    // in file names: [a-z0-9-]+
	Kind    string            `json:"kind"`    // http, grpc or tcp
	Address string            `json:"address"` // http://host:port/path, grpc://host:port[/service], tcp://host:port
	Rate    float64           `json:"rate"`    // per second
	Timeout evidence.Duration `json:"timeout"`
	// Service of the release, "namespace/name", whose address this is; the drill asks
	// the cluster, whatever the plan says. Empty: it is none's.
	Service string `json:"service,omitempty"`
}

// Prober says where probes are sent from.
type Prober struct {
	Image string `json:"image,omitempty"` // of a pod in the release's namespace; empty: from where helmproof runs
}

// Phases are the parts of a drill. The fault lasts as long as the experiment takes.
type Phases struct {
	Before  evidence.Duration `json:"before"`  // steady, before the fault
	After   evidence.Duration `json:"after"`   // watched once all is ready again
	Recover evidence.Duration `json:"recover"` // within which all must be ready again
	// Deadline of the whole drill, after which it is aborted and restored.
	Deadline evidence.Duration `json:"deadline"`
}

// Limits bound what the drill may touch at once (its blast radius).
type Limits struct {
	Pods    int `json:"pods"`    // of all workloads together
	Percent int `json:"percent"` // of one workload's pods
	Nodes   int `json:"nodes"`
}

// Prometheus is a query that gives the share of good requests, 0 to 1, asked
// once a second. No data, NaN and an error are failures to measure.
type Prometheus struct {
	URL   string `json:"url"`
	Query string `json:"query"`
}

// RollbackPlan is an upgrade that must fail.
type RollbackPlan struct {
	// Fault is what is wrong with it: bad-image, failing-readiness or crash-loop.
	Fault string `json:"fault"`
	// Detect is the time within which Helm must find that it fails; Back that
	// within which the rollback must be done and healthy.
	Detect evidence.Duration `json:"detect"`
	Back   evidence.Duration `json:"back"`
}

// LoadPlan is a constant arrival rate.
type LoadPlan struct {
	// Address is http://host:port/path, grpc://host:port[/service] or grpcs://… of a Service
	// of the release, or of loopback; empty: that of the first HTTP probe, else of the
	// first gRPC probe.
	Address string `json:"address,omitempty"`
	// Method of a gRPC service that is called, "package.Service/Method"; empty: the health
	// check. Request is its message in protobuf's encoding, as base64. It is sealed, so
	// nothing secret belongs there.
	Method  string            `json:"method,omitempty"`
	Request string            `json:"request,omitempty"`
	Timeout evidence.Duration `json:"timeout,omitempty"` // of a request; 0: that probe's, or 5s
	// FromPod sends it from a pod of Prober.Image; false: from where helmproof runs.
	FromPod bool              `json:"fromPod,omitempty"`
	Rate    float64           `json:"rate"` // requests a second, held
	Ramp    evidence.Duration `json:"ramp"` // from nothing to Rate
	Hold    evidence.Duration `json:"hold"`
	// P99 is the latency objective under load; 0: none.
	P99 evidence.Duration `json:"p99,omitempty"`
	// Headroom is what must be left of a container's limits at the peak, 0.1 for a tenth.
	Headroom float64 `json:"headroom"`
}

// Message is the request as bytes; the error says that it is no base64.
func (l *LoadPlan) Message() ([]byte, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(l.Request)
	if err != nil {
		return nil, fmt.Errorf("load.request: want the bytes of a message as base64: %w", err)
	}
	return raw, nil
}

// maxAllowed is the most that a drill may be allowed to spend, in seconds of failed
// requests, for its verdict to say anything: 1 % of an hour.
const maxAllowed = 36

// Weak says why the plan is too lax for what it shows to count as the service level
// being held; empty: it is not.
func (p *Plan) Weak() string {
	if a := p.SLO.Allowed(); a > maxAllowed*(1+1e-9) {
		return fmt.Sprintf("the plan lets %.0f s of requests fail, and more than %d s is no service level", a, maxAllowed)
	}
	if !slices.ContainsFunc(p.Probes, func(b Probe) bool { return b.Service != "" }) {
		return "no probe sends its requests to a Service of the release"
	}
	return ""
}

// Seconds is the error budget of the whole window, in seconds of failed requests.
func (s SLO) Seconds() float64 { return (1 - s.Objective) * time.Duration(s.Window).Seconds() }

// Allowed is what a drill may spend of it.
func (s SLO) Allowed() float64 { return s.Seconds() * s.Share }
