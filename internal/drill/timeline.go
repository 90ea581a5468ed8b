package drill

import "time"

// Names, in the collector's folder, of what a drill seals. Probe files are
// ProbeFile(name).
const (
	PlanFile      = "plan.json"      // Plan
	PreflightFile = "preflight.json" // []Check
	TimelineFile  = "timeline.jsonl" // Event, one a line, by time
	EndFile       = "end.json"       // End
)

// ProbeFile is the name of a probe's samples (internal/probe has the format).
func ProbeFile(name string) string { return "probe-" + name + ".csv" }

// Check is one question of the preflight.
type Check struct {
	Name   string `json:"name"` // rights, steady, ready, budget, forecast, alone, …
	OK     bool   `json:"ok"`
	Reason string `json:"reason"` // what was seen, also where it is OK
}

// End says how the drill ended.
type End struct {
	Began    time.Time     `json:"began"` // what the times of events and samples count from
	Length   time.Duration `json:"length"`
	Aborted  string        `json:"aborted,omitempty"` // why it was; empty: it ran to its end
	Restored []string      `json:"restored"`          // what was put back, "uncordoned node-a"
	// NotRestored is what could not be put back.
	NotRestored []string `json:"notRestored,omitempty"`
	// Skew is how far the API server's clock was ahead of ours, at the start and at
	// the end; each is known to within SkewError.
	SkewStart time.Duration `json:"skewStart"`
	SkewEnd   time.Duration `json:"skewEnd"`
	SkewError time.Duration `json:"skewError"`
	// Lost says which watches or probes were interrupted, and when: what happened
	// meanwhile was not seen.
	Lost []Gap `json:"lost,omitempty"`
}

// Gap is a time in which something was not seen.
type Gap struct {
	What string        `json:"what"`
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
}

// Event is one line of the timeline: something that was seen, or done. At counts
// from End.Began, by our clock. Exactly one of the pointers is set.
type Event struct {
	At        time.Duration `json:"at"`
	Mark      string        `json:"mark,omitempty"`   // a phase begins: before, fault, recover, after, end
	Action    *Action       `json:"action,omitempty"` // something that the drill did
	Pod       *Pod          `json:"pod,omitempty"`    // as a watch gave it
	Budget    *Budget       `json:"budget,omitempty"`
	Endpoints *Endpoints    `json:"endpoints,omitempty"`
	Node      *Node         `json:"node,omitempty"`
	Workload  *Workload     `json:"workload,omitempty"`
	Query     *Sampled      `json:"query,omitempty"` // an answer of Prometheus
}

// Action is a request that the drill made of the API server, with its answer.
type Action struct {
	Verb   string `json:"verb"`   // delete, evict, cordon, uncordon, restart, kill, upgrade, rollback
	Object string `json:"object"` // "Pod shop/web-7c9-abcde", "Node node-a"
	UID    string `json:"uid,omitempty"`
	Code   int    `json:"code"` // HTTP status: 200, 201, 429, …; 0: no answer
	Error  string `json:"error,omitempty"`
	// Budget is the PodDisruptionBudget that a 429 named.
	Budget string        `json:"budget,omitempty"`
	Took   time.Duration `json:"took"`
}

// Pod is what counts of a pod's state.
type Pod struct {
	Name     string            `json:"name"` // namespace/name
	UID      string            `json:"uid"`
	Owner    string            `json:"owner,omitempty"`  // the workload: "Deployment/web"
	Node     string            `json:"node,omitempty"`   // once it is scheduled
	Labels   map[string]string `json:"labels,omitempty"` // in the pod's first event, and where they changed
	Phase    string            `json:"phase,omitempty"`
	Ready    bool              `json:"ready,omitempty"`
	Deleting bool              `json:"deleting,omitempty"` // has a deletion timestamp
	Gone     bool              `json:"gone,omitempty"`     // the watch said DELETED
	Restarts int32             `json:"restarts,omitempty"`
	// Times of the API server and the kubelet, in the pod's first event after each.
	Created   *time.Time `json:"created,omitempty"`
	Scheduled *time.Time `json:"scheduled,omitempty"`
	Pulled    *time.Time `json:"pulled,omitempty"` // images are there: ContainersReady's start or the first container's
	ReadyAt   *time.Time `json:"readyAt,omitempty"`
	// Reason a container waits or ended for: CrashLoopBackOff, OOMKilled, ImagePullBackOff, …
	Reason string `json:"reason,omitempty"`
}

// Budget is a PodDisruptionBudget.
type Budget struct {
	Name     string            `json:"name"` // namespace/name
	Selector map[string]string `json:"selector,omitempty"`
	// Expressions of the selector, as metav1.FormatLabelSelector writes the whole of it;
	// set where matchLabels do not say all.
	Expression string `json:"expression,omitempty"`
	Desired    int32  `json:"desired"` // desiredHealthy
	Healthy    int32  `json:"healthy"` // currentHealthy
	Expected   int32  `json:"expected"`
	Allowed    int32  `json:"allowed"` // disruptionsAllowed
	Gone       bool   `json:"gone,omitempty"`
}

// Endpoints is what a Service's EndpointSlices hold together.
type Endpoints struct {
	Service     string `json:"service"` // namespace/name
	Ready       int    `json:"ready"`
	Serving     int    `json:"serving"`
	Terminating int    `json:"terminating"`
}

// Node is what counts of a node's state.
type Node struct {
	Name          string `json:"name"`
	Zone          string `json:"zone,omitempty"`
	Ready         bool   `json:"ready"`
	Unschedulable bool   `json:"unschedulable,omitempty"`
}

// Workload is what counts of a Deployment's or StatefulSet's status.
type Workload struct {
	Name      string `json:"name"` // namespace/Kind/name
	Want      int32  `json:"want"`
	Ready     int32  `json:"ready"`
	Updated   int32  `json:"updated"`
	Available int32  `json:"available"`
	// Current: its controller has seen the newest generation.
	Current bool `json:"current"`
}

// Sampled is an answer to the plan's query; Error instead of Value where there was none.
type Sampled struct {
	Value float64 `json:"value"`
	Error string  `json:"error,omitempty"`
}
