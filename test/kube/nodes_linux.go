package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// node is one real node: a kubelet with its own containerd.
type node struct{ name, ip, zone, podNet string }

var nodes = [...]node{
	{"node-a", "10.200.0.11", "zone-a", "10.201.0"},
	{"node-b", "10.200.0.12", "zone-b", "10.201.1"},
}

const pauseImage = "cluster.test/pause:1"

func (c *Cluster) nodeDir(n node) string { return filepath.Join(c.Dir, n.name) }
func (c *Cluster) socket(n node) string  { return filepath.Join(c.nodeDir(n), "containerd.sock") }

// output runs a program that prints and ends.
func (c *Cluster) output(ctx context.Context, role string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, c.program(role), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", role, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// ctr runs containerd's client on a node.
func (c *Cluster) ctr(ctx context.Context, n node, args ...string) error {
	out, err := exec.CommandContext(ctx, "ctr", append([]string{"-a", c.socket(n), "-n", "k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: ctr %s: %w: %s", n.name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (c *Cluster) startRuntimes() error {
	plugins, err := pluginDir()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		d := c.nodeDir(n)
		for _, sub := range []string{"cni", "logs", "volumes", "manifests", "certs", "kubelet"} {
			if err := os.MkdirAll(filepath.Join(d, sub), 0o755); err != nil {
				return err
			}
		}
		type object = map[string]any
		network, err := json.Marshal(object{"cniVersion": "0.4.0", "name": n.name, "plugins": []object{
			{"type": "bridge", "bridge": "br-" + n.name, "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": object{
				"type": "host-local", "dataDir": filepath.Join(d, "addresses"),
				"ranges": [][]object{{{"subnet": n.podNet + ".0/24"}}}, "routes": []object{{"dst": "0.0.0.0/0"}}}},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		}})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(d, "cni", "10-bridge.conflist"), network, 0o600); err != nil {
			return err
		}
		config := filepath.Join(d, "containerd.toml")
		if err := os.WriteFile(config, fmt.Appendf(nil, containerdConfig, d, c.socket(n), pauseImage, plugins), 0o600); err != nil {
			return err
		}
		name := "containerd-" + n.name
		p, err := c.run(name, "containerd", "-c", config)
		c.procs[name] = p
		if err != nil {
			return err
		}
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600)
}

// containerdConfig takes the node's folder, its socket, the pause image and the
// folder of the CNI plugins. restrict_oom_score_adj: root of a container has no
// CAP_SYS_RESOURCE and cannot set a score below its own.
const containerdConfig = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "%[2]s"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[3]s"
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
    bin_dir = "%[4]s"
    conf_dir = "%[1]s/cni"
`

func (c *Cluster) runtimesReady(ctx context.Context) error {
	for _, n := range nodes {
		if err := poll(ctx, 30*time.Second, n.name+"'s containerd", func(ctx context.Context) error { return c.ctr(ctx, n, "version") }); err != nil {
			return err
		}
	}
	return c.LoadImage(ctx, Image{Ref: pauseImage, Binary: c.TestPod()})
}

func (c *Cluster) startKubelets(ctx context.Context) error {
	for _, n := range nodes {
		if err := c.makeCgroups(n); err != nil {
			return err
		}
		type object = map[string]any
		d := c.nodeDir(n)
		config, err := json.Marshal(object{
			"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
			"address": n.ip, "port": 10250, "healthzBindAddress": n.ip, "readOnlyPort": 0,
			"authentication": object{"anonymous": object{"enabled": false}, "webhook": object{"enabled": true}, "x509": object{"clientCAFile": c.pki.path("ca.crt")}},
			"authorization":  object{"mode": "Webhook"},
			"tlsCertFile":    c.pki.path(n.name + ".crt"), "tlsPrivateKeyFile": c.pki.path(n.name + ".key"),
			"containerRuntimeEndpoint": "unix://" + c.socket(n),
			"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + cgroupPrefix(c.id) + n.name,
			"failCgroupV1":  false, // Kubernetes refuses cgroup v1 by default
			"failSwapOn":    false,
			"staticPodPath": filepath.Join(d, "manifests"), "podLogsDir": filepath.Join(d, "logs"), "volumePluginDir": filepath.Join(d, "volumes"),
			"maxPods": 50, "resolvConf": "", "registerNode": true, "makeIPTablesUtilChains": false,
			"evictionHard":                object{"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
			"imageGCHighThresholdPercent": 100, "nodeStatusUpdateFrequency": "5s", "shutdownGracePeriod": "0s",
		})
		if err != nil {
			return err
		}
		file := filepath.Join(d, "kubelet.json")
		if err := os.WriteFile(file, config, 0o600); err != nil {
			return err
		}
		name := "kubelet-" + n.name
		p, err := c.run(name, c.program("kubelet"), "--config="+file, "--kubeconfig="+c.config(n.name), "--hostname-override="+n.name, "--node-ip="+n.ip,
			"--root-dir="+filepath.Join(d, "kubelet"), "--cert-dir="+filepath.Join(d, "certs"), "--node-labels=topology.kubernetes.io/zone="+n.zone+",real=true", "-v=2")
		c.procs[name] = p
		if err != nil {
			return err
		}
	}
	return c.startProxy()
}

// startProxy starts one kube-proxy: both nodes share a network namespace.
func (c *Cluster) startProxy() error {
	type object = map[string]any
	config, err := json.Marshal(object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": "nftables", "hostnameOverride": nodes[0].name, "clientConnection": object{"kubeconfig": c.config("kube-proxy")},
		"healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249", "clusterCIDR": "10.201.0.0/16",
		"conntrack": object{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
	})
	if err != nil {
		return err
	}
	file := filepath.Join(c.Dir, "kube-proxy.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	return c.launch("kube-proxy", "--config="+file)
}

func cgroupPrefix(id string) string { return "helmproof-kube-" + id + "-" }

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are the cgroup trees in which a node needs a group: the one of v2,
// or all of v1.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		// The links are the old names of joined controllers.
		if e.IsDir() && e.Name() != "unified" {
			dirs = append(dirs, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	if len(dirs) == 0 {
		return nil, errors.New("no cgroups in " + cgroupRoot)
	}
	return dirs, nil
}

func cgroupsWritable() error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	probe := filepath.Join(dirs[0], fmt.Sprintf("helmproof-probe-%d", os.Getpid()))
	if err := os.Mkdir(probe, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Remove(probe)
}

// makeCgroups makes a node's own group, which its kubelet expects to find. Where the
// tests run with less priority than others (nice), their nodes' pods do too.
func (c *Cluster) makeCgroups(n node) error {
	dirs, err := hierarchies()
	if err != nil {
		return err
	}
	priority, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0) // 20 less the niceness
	if err != nil {
		return err
	}
	nice := priority < 20
	for _, d := range dirs {
		group := filepath.Join(d, cgroupPrefix(c.id)+n.name)
		if err := os.MkdirAll(group, 0o755); err != nil {
			return err
		}
		if nice {
			for file, least := range map[string]string{"cpu.shares": "2", "cpu.weight": "1"} {
				if _, err := os.Stat(filepath.Join(group, file)); err != nil {
					continue // this is not the tree of processors
				}
				if err := os.WriteFile(filepath.Join(group, file), []byte(least), 0o600); err != nil {
					return err
				}
			}
		}
		if filepath.Base(d) != "cpuset" {
			continue
		}
		// A v1 group of cpuset is born without processors and memory.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			b, err := os.ReadFile(filepath.Join(d, f))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(group, f), b, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}
