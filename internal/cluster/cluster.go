// Package cluster is the connection to the cluster that a release runs on, and
// what is said of that cluster in the evidence: its fingerprint and its nodes.
package cluster

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is a connection to a Kubernetes cluster. It is safe for concurrent use.
type Cluster struct {
	// Config is what every client here was made from: copy it before changing it.
	Config    *rest.Config
	Kube      kubernetes.Interface
	Dynamic   dynamic.Interface
	Discovery discovery.DiscoveryInterface
	Info      Info
}

// Info is what identifies a cluster and says what it was made of when it was looked at.
type Info struct {
	// Fingerprint identifies the cluster as long as it lives: the UID of its
	// kube-system namespace.
	Fingerprint string `json:"fingerprint"`
	Version     string `json:"version"`  // the API server's gitVersion, "v1.37.2-gke.100"
	Platform    string `json:"platform"` // of the CIS benchmark: gke, eks, aks, openshift, rke2, k3s, or kubernetes
	Nodes       []Node `json:"nodes"`    // by name; empty where listing nodes was refused
	// NodesError says why nodes could not be listed.
	NodesError string `json:"nodesError,omitempty"`
}

// Node is one node of the cluster.
type Node struct {
	Name         string `json:"name"`
	Roles        string `json:"roles"` // "control-plane", "worker"; several sorted, joined by commas
	Version      string `json:"version"`
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Ready        bool   `json:"ready"`
}

// Options says which cluster, as for kubectl.
type Options struct {
	Kubeconfig string // file; empty: KUBECONFIG, else ~/.kube/config, else in-cluster
	Context    string // empty: the current one
	UserAgent  string
}

// Connect reads the kubeconfig and asks the cluster who it is.
func Connect(ctx context.Context, o Options) (*Cluster, error) {
	cfg, err := ConfigOf(o)
	if err != nil {
		return nil, err
	}
	return ConnectConfig(ctx, cfg)
}

// ConfigOf reads the kubeconfig. QPS and burst of the clients are those of an
// interactive tool; the API server's own fairness queues do the rest.
func ConfigOf(o Options) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w; name a file with KUBECONFIG or --kubeconfig, and a context with --context", err)
	}
	cfg.QPS, cfg.Burst = 50, 100
	if o.UserAgent != "" {
		cfg.UserAgent = o.UserAgent
	}
	return cfg, nil
}

// ConnectConfig is Connect for who holds a rest.Config.
func ConnectConfig(ctx context.Context, cfg *rest.Config) (*Cluster, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	kube, err := kubernetes.NewForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	dyn, err := dynamic.NewForConfigAndClient(cfg, client)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	c := &Cluster{Config: cfg, Kube: kube, Dynamic: dyn, Discovery: kube.Discovery()}
	if c.Info, err = clusterInfo(ctx, kube); err != nil {
		return nil, err
	}
	return c, nil
}

// clusterInfo needs get on the namespace kube-system; without list on nodes, it says so.
func clusterInfo(ctx context.Context, kube kubernetes.Interface) (Info, error) {
	var info Info
	version, err := kube.Discovery().ServerVersion()
	if err != nil {
		return info, fmt.Errorf("ask the API server for its version: %w", err)
	}
	info.Version = version.GitVersion
	system, err := kube.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return info, fmt.Errorf("identify the cluster by its kube-system namespace: %w", err)
	}
	info.Fingerprint = string(system.UID)
	nodes, err := ListNodes(ctx, kube)
	if err != nil {
		info.NodesError = err.Error()
	}
	info.Nodes = []Node{}
	for i := range nodes {
		info.Nodes = append(info.Nodes, DescribeNode(&nodes[i]))
	}
	info.Platform = platform(info.Version, nodes)
	return info, nil
}

// ListNodes lists the cluster's nodes, by name, in pages.
func ListNodes(ctx context.Context, kube kubernetes.Interface) ([]corev1.Node, error) {
	var out []corev1.Node
	opts := metav1.ListOptions{Limit: 500}
	for {
		page, err := kube.CoreV1().Nodes().List(ctx, opts)
		if err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		out = append(out, page.Items...)
		if opts.Continue = page.Continue; opts.Continue == "" {
			break
		}
	}
	slices.SortFunc(out, func(a, b corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

const roleLabel = "node-role.kubernetes.io/"

// DescribeNode is what is sealed of a node.
func DescribeNode(n *corev1.Node) Node {
	var roles []string
	for label := range n.Labels {
		if role, ok := strings.CutPrefix(label, roleLabel); ok && role != "" {
			if role == "master" { // the name that control-plane had until 1.24
				role = "control-plane"
			}
			roles = append(roles, role)
		}
	}
	slices.Sort(roles)
	roles = slices.Compact(roles)
	if len(roles) == 0 {
		roles = []string{"worker"}
	}
	out := Node{
		Name: n.Name, Roles: strings.Join(roles, ","), Version: n.Status.NodeInfo.KubeletVersion,
		OS: n.Status.NodeInfo.OperatingSystem, Architecture: n.Status.NodeInfo.Architecture,
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return out
}

var versionPlatforms = regexp.MustCompile(`(?i)[-+](gke|eks|k3s|rke2)`)

// platform tells managed clusters and distributions apart by the API server's
// version and by what their node controllers write into the nodes.
func platform(version string, nodes []corev1.Node) string {
	if m := versionPlatforms.FindStringSubmatch(version); m != nil {
		return strings.ToLower(m[1])
	}
	for i := range nodes {
		n := &nodes[i]
		for label := range n.Labels {
			switch {
			case strings.HasPrefix(label, "cloud.google.com/gke-"):
				return "gke"
			case strings.HasPrefix(label, "eks.amazonaws.com/"):
				return "eks"
			case strings.HasPrefix(label, "kubernetes.azure.com/"):
				return "aks"
			case strings.HasPrefix(label, "node.openshift.io/"):
				return "openshift"
			}
		}
	}
	return "kubernetes"
}
