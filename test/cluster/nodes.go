package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	heartbeat "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
)

// The real nodes.
var (
	nodeNames = []string{"node-a", "node-b"}
	nodeIPs   = []string{"10.200.0.11", "10.200.0.12"}
)

const pauseImage = "cluster.test/pause:1"

// simulatedNodes starts KWOK and six nodes in three zones. They are tainted: what
// is to run there tolerates kwok.x-k8s.io/node.
func (c *cluster) simulatedNodes(ctx context.Context) error {
	stages := strings.Join([]string{nodefast.DefaultNodeInit, heartbeat.DefaultNodeHeartbeatWithLease, podfast.DefaultPodReady, podfast.DefaultPodComplete, podfast.DefaultPodDelete}, "\n---\n")
	file := c.path("kwok-stages.yaml")
	if err := os.WriteFile(file, []byte(stages), 0o644); err != nil {
		return err
	}
	if err := c.start("kwok", false, c.self, "kwok", "--config="+file, "--kubeconfig="+c.pki.path("admin.kubeconfig"), "--manage-all-nodes=false",
		"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake", "--cidr=10.210.0.1/16", "--node-ip="+serverIP, "--node-lease-duration-seconds=40", "--server-address=127.0.0.1:10247"); err != nil {
		return err
	}
	room := corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("16Gi"), "pods": resource.MustParse("110")}
	for i := range 6 {
		name := fmt.Sprintf("kwok-%d", i+1)
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Annotations: map[string]string{"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
				Labels: map[string]string{"type": "kwok", corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3+1)},
			},
			Spec:   corev1.NodeSpec{Taints: []corev1.Taint{{Key: "kwok.x-k8s.io/node", Value: "fake", Effect: corev1.TaintEffectNoSchedule}}},
			Status: corev1.NodeStatus{Allocatable: room, Capacity: room},
		}
		if _, err := c.kube.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create node %s: %w", name, err)
		}
	}
	for i := range 6 {
		name := fmt.Sprintf("kwok-%d", i+1)
		if err := until(ctx, 60*time.Second, name, func() error { return c.nodeReady(ctx, name) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) socket(node string) string { return c.path(node, "containerd.sock") }

// realNodes starts containerd and a kubelet for each node, and one kube-proxy: the
// nodes share the network namespace.
func (c *cluster) realNodes(ctx context.Context) error {
	pause := c.path("pause.tar")
	if err := imageCommand([]string{"-o", pause, "-ref", pauseImage, c.pause}); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("forward packets: %w", err)
	}
	failed := make(chan error, len(nodeNames))
	for i := range nodeNames {
		go func() { failed <- c.realNode(ctx, i, pause) }()
	}
	var errs []error
	for range nodeNames {
		errs = append(errs, <-failed)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	config := c.path("kube-proxy.yaml")
	if err := render(config, kubeProxyConfig, map[string]string{"kubeconfig": c.pki.path("kube-proxy.kubeconfig"), "node": nodeNames[0]}); err != nil {
		return err
	}
	if err := c.start("kube-proxy", false, c.self, "kube-proxy", "--config="+config); err != nil {
		return err
	}
	return until(ctx, 30*time.Second, "kube-proxy", func() error { return httpOK("http://127.0.0.1:10256/healthz") })
}

func (c *cluster) realNode(ctx context.Context, i int, pause string) error {
	name, dir := nodeNames[i], c.path(nodeNames[i])
	for _, d := range []string{"kubelet", "certs", "logs", "plugins", "manifests", "cni"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	cgroup := cgroupOf(c.state, name)
	if err := makeCgroup(cgroup); err != nil {
		return err
	}
	// Under cgroup version 1 the kubelet refuses to start unless told otherwise.
	values := map[string]string{
		"dir": dir, "socket": c.socket(name), "ip": nodeIPs[i], "subnet": fmt.Sprintf("10.201.%d.0/24", i), "bridge": fmt.Sprintf("test%d", i),
		"pause": pauseImage, "cni": cniDir(), "cgroup": cgroup, "ca": c.pki.path("ca.crt"), "crt": c.pki.path(name + ".crt"), "key": c.pki.path(name + ".key"),
	}
	for file, text := range map[string]string{"cni/10-bridge.conflist": cniConfig, "containerd.toml": containerdConfig, "kubelet.yaml": kubeletConfig} {
		if err := render(filepath.Join(dir, file), text, values); err != nil {
			return err
		}
	}
	if err := c.start("containerd-"+name, false, "containerd", "-c", filepath.Join(dir, "containerd.toml")); err != nil {
		return err
	}
	ctr := func(args ...string) error {
		out, err := exec.CommandContext(ctx, "ctr", append([]string{"-a", c.socket(name), "-n", "k8s.io"}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ctr %s: %w: %s", args[0], err, bytes.TrimSpace(out))
		}
		return nil
	}
	if err := until(ctx, 30*time.Second, "containerd of "+name, func() error { return ctr("version") }); err != nil {
		return err
	}
	if err := ctr("images", "import", pause); err != nil {
		return err
	}
	if err := c.start("kubelet-"+name, false, c.self, "kubelet", "--config="+filepath.Join(dir, "kubelet.yaml"), "--kubeconfig="+c.pki.path(name+".kubeconfig"),
		"--hostname-override="+name, "--node-ip="+nodeIPs[i], "--root-dir="+filepath.Join(dir, "kubelet"), "--cert-dir="+filepath.Join(dir, "certs"),
		fmt.Sprintf("--node-labels=topology.kubernetes.io/zone=zone-%d,real=true", i+1)); err != nil {
		return err
	}
	return until(ctx, 60*time.Second, name, func() error { return c.nodeReady(ctx, name) })
}

// makeCgroup makes the node's cgroup in every hierarchy; a cpuset of version 1
// needs its processors and memory before anything may run in it.
func makeCgroup(name string) error {
	for _, root := range cgroupRoots() {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		if filepath.Base(root) != "cpuset" {
			continue
		}
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			raw, err := os.ReadFile(filepath.Join(root, f))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, f), raw, 0o644)
			}
			if err != nil {
				return fmt.Errorf("make cgroup: %w", err)
			}
		}
	}
	return nil
}

func render(file, text string, values map[string]string) error {
	t, err := template.New(filepath.Base(file)).Option("missingkey=error").Parse(text)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

const cniConfig = `{"cniVersion": "0.4.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "{{.bridge}}", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.subnet}}"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "{{.dir}}/cni-ipam"}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
`

// A score below one's own cannot be set without CAP_SYS_RESOURCE, hence
// restrict_oom_score_adj.
const containerdConfig = `version = 2
root = "{{.dir}}/containerd/root"
state = "{{.dir}}/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{{.socket}}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.pause}}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{.cni}}"
    conf_dir = "{{.dir}}/cni"
`

const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {{.ip}}
port: 10250
healthzBindAddress: {{.ip}}
healthzPort: 10248
readOnlyPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: {{.ca}}}}
authorization: {mode: Webhook}
tlsCertFile: {{.crt}}
tlsPrivateKeyFile: {{.key}}
containerRuntimeEndpoint: unix://{{.socket}}
cgroupDriver: cgroupfs
cgroupRoot: /{{.cgroup}}
failCgroupV1: false
failSwapOn: false
staticPodPath: {{.dir}}/manifests
podLogsDir: {{.dir}}/logs
volumePluginDir: {{.dir}}/plugins
maxPods: 50
resolvConf: ""
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 5s
registerNode: true
makeIPTablesUtilChains: false
shutdownGracePeriod: 0s
`

const kubeProxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: {{.node}}
clientConnection: {kubeconfig: {{.kubeconfig}}}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
clusterCIDR: 10.201.0.0/16
`
