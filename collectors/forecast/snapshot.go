package forecast

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Snapshot is what the course of a drain depends on, as the cluster showed it.
// It is sealed as snapshot.json. Nothing in it is written to, so that it can be
// asked about many drains at once.
type Snapshot struct {
	At         time.Time   `json:"at"`
	Nodes      []Node      `json:"nodes"`
	Pods       []Pod       `json:"pods"`
	Shapes     []Shape     `json:"shapes"` // of pods; those of a workload share one
	Budgets    []Budget    `json:"budgets"`
	Workloads  []Workload  `json:"workloads"` // controllers of pods
	Namespaces []Namespace `json:"namespaces"`
	Webhooks   []Webhook   `json:"webhooks,omitempty"`
	// Autoscaler says by what a cluster autoscaler was recognized.
	Autoscaler string `json:"autoscaler,omitempty"`
	// Gaps are what could not be read. With one of them nothing is said to drain.
	Gaps []string `json:"gaps,omitempty"`
	// Assumed is what was taken for granted without a cluster to look at.
	Assumed []string `json:"assumed,omitempty"`
}

// Node is what the scheduler looks at of a node.
type Node struct {
	Name          string            `json:"name"`
	Labels        map[string]string `json:"labels,omitempty"`
	Taints        []corev1.Taint    `json:"taints,omitempty"`
	Unschedulable bool              `json:"unschedulable,omitempty"`
	Ready         bool              `json:"ready"`
	// Allocatable counts cpu in thousandths and everything else in units. A resource
	// that is missing is not there, but for attachable volumes, which have no limit
	// then; nil: nothing is counted.
	Allocatable map[string]int64 `json:"allocatable,omitempty"`
	// Drivers are the CSI drivers that run there.
	Drivers []string `json:"drivers,omitempty"`
}

// Zone is the zone that the node lies in; empty: none is known.
func (n *Node) Zone() string { return n.Labels[corev1.LabelTopologyZone] }

// Pod is a pod that has not ended.
type Pod struct {
	Namespace   string            `json:"namespace"`
	Name        string            `json:"name"`
	Node        string            `json:"node,omitempty"` // empty: not scheduled
	Labels      map[string]string `json:"labels,omitempty"`
	Shape       int               `json:"shape"` // index in Shapes
	OwnerKind   string            `json:"ownerKind,omitempty"`
	OwnerUID    string            `json:"ownerUID,omitempty"` // of its controller
	Ready       bool              `json:"ready,omitempty"`
	Pending     bool              `json:"pending,omitempty"` // its phase: evicted whatever a budget says
	Terminating bool              `json:"terminating,omitempty"`
	Mirror      bool              `json:"mirror,omitempty"` // of a static pod: a drain leaves it alone
	Volumes     []Volume          `json:"volumes,omitempty"`
	Made        time.Time         `json:"made,omitzero"`
}

// Ref is "namespace/name".
func (p *Pod) Ref() string { return p.Namespace + "/" + p.Name }

// Volume is a PersistentVolume that a pod claims.
type Volume struct {
	Claim    string               `json:"claim"`
	Affinity *corev1.NodeSelector `json:"affinity,omitempty"` // of the volume
	Driver   string               `json:"driver,omitempty"`   // CSI
	Unknown  string               `json:"unknown,omitempty"`  // why nobody can say where it can be attached
}

// Shape is what the scheduler looks at of a pod.
type Shape struct {
	Requests     map[string]int64                  `json:"requests,omitempty"` // as in Node.Allocatable, "pods" aside
	NodeSelector map[string]string                 `json:"nodeSelector,omitempty"`
	Required     *corev1.NodeSelector              `json:"required,omitempty"` // node affinity
	Affinity     []corev1.PodAffinityTerm          `json:"affinity,omitempty"`
	AntiAffinity []corev1.PodAffinityTerm          `json:"antiAffinity,omitempty"`
	Tolerations  []corev1.Toleration               `json:"tolerations,omitempty"`
	Spread       []corev1.TopologySpreadConstraint `json:"spread,omitempty"` // those that are not to be violated
	HostPorts    []HostPort                        `json:"hostPorts,omitempty"`
	EmptyDir     bool                              `json:"emptyDir,omitempty"`
	Scheduler    string                            `json:"scheduler,omitempty"` // one that is not the default
	Unknown      []string                          `json:"unknown,omitempty"`   // what of it the model does not know
}

// HostPort is a port of the node that a pod takes.
type HostPort struct {
	IP       string `json:"ip,omitempty"`
	Protocol string `json:"protocol"`
	Port     int32  `json:"port"`
}

// Budget is a PodDisruptionBudget.
type Budget struct {
	Namespace string                `json:"namespace"`
	Name      string                `json:"name"`
	Selector  *metav1.LabelSelector `json:"selector,omitempty"`
	Says      string                `json:"says"` // "minAvailable 2"
	Healthy   int32                 `json:"currentHealthy"`
	Desired   int32                 `json:"desiredHealthy"`
	Expected  int32                 `json:"expectedPods"`
	Allowed   int32                 `json:"disruptionsAllowed"`
	// Stale says why its status does not tell what it allows.
	Stale string `json:"stale,omitempty"`
}

// Ref is "namespace/name".
func (b *Budget) Ref() string { return b.Namespace + "/" + b.Name }

// Workload is a controller of pods.
type Workload struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Top is what it belongs to, or itself: "Deployment/web".
	Top      string            `json:"top"`
	Replicas int32             `json:"replicas"`
	Labels   map[string]string `json:"labels,omitempty"` // of its pod template
	// Unsettled says why it may do something else than replace a pod by one like it.
	Unsettled string `json:"unsettled,omitempty"`
}

// Namespace is what counts of a namespace.
type Namespace struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	// Refuses says why new pods are refused there.
	Refuses string `json:"refuses,omitempty"`
}

// Webhook is an admission webhook that is asked about pods or evictions.
type Webhook struct {
	Name       string                `json:"name"`
	Resource   string                `json:"resource"` // pods or pods/eviction
	Namespaces *metav1.LabelSelector `json:"namespaces,omitempty"`
	Objects    *metav1.LabelSelector `json:"objects,omitempty"`
	// Since is when its configuration was made.
	Since time.Time `json:"since,omitzero"`
	// AnsweredOn are the nodes of the Ready pods that answer for it, if pods do.
	AnsweredOn []string `json:"answeredOn,omitempty"`
}
