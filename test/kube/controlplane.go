package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Addresses exist in the cluster's own network namespace alone.
const (
	apiAddress   = "10.200.0.1"
	apiURL       = "https://" + apiAddress + ":6443"
	serviceRange = "10.96.0.0/16"
	etcdURL      = "http://127.0.0.1:2379"
)

var roles = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kwok", "kubectl"}

// up starts the cluster up to the tier.
func (c *Cluster) up(ctx context.Context, tier Tier) error {
	if err := c.prepare(); err != nil {
		return err
	}
	runtimes := make(chan error, 1)
	runtimesCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	if tier >= TierC {
		if err := c.startRuntimes(); err != nil {
			return err
		}
		go func() { runtimes <- c.runtimesReady(runtimesCtx) }()
	}
	if err := c.controlPlane(ctx); err != nil {
		return err
	}
	c.tier = TierA
	if tier < TierB {
		// Pods are refused without it, and nobody else makes it here.
		return c.createDefaultServiceAccount(ctx)
	}
	if err := c.controllers(ctx); err != nil {
		return err
	}
	if tier >= TierC {
		if err := <-runtimes; err != nil {
			return err
		}
		if err := c.startKubelets(ctx); err != nil {
			return err
		}
	}
	if err := c.simulatedNodes(ctx); err != nil {
		return err
	}
	c.tier = TierB
	if tier < TierC {
		return nil
	}
	if err := c.nodesReady(ctx, "node-a", "node-b"); err != nil {
		return err
	}
	c.tier = TierC
	return nil
}

func (c *Cluster) prepare() error {
	for _, r := range roles {
		if err := os.Symlink(filepath.Join(c.bin, "hyper"), c.program(r)); err != nil {
			return err
		}
	}
	var err error
	if c.pki, err = newAuthority(filepath.Join(c.Dir, "pki")); err != nil {
		return err
	}
	service := func(name, organization string, hosts ...string) {
		_, _, e := c.pki.issue(name, name, organization, hosts...)
		err = errors.Join(err, e)
	}
	service("kube-apiserver", "", "127.0.0.1", apiAddress, "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
	service("kube-apiserver-kubelet-client", "system:masters")
	service("front-proxy-client", "") // the API server's own to those that extend it
	err = errors.Join(err, c.pki.serviceAccountKeys())
	user := func(name, commonName, organization string, hosts ...string) {
		err = errors.Join(err, c.pki.kubeconfig(c.config(name), commonName, organization, hosts...))
	}
	user("admin", "admin", "system:masters")
	user("kube-controller-manager", "system:kube-controller-manager", "")
	user("kube-scheduler", "system:kube-scheduler", "")
	user("kube-proxy", "system:kube-proxy", "")
	for _, n := range nodes {
		user(n.name, "system:node:"+n.name, "system:nodes", n.name, n.ip)
	}
	if err != nil {
		return fmt.Errorf("make keys and certificates: %w", err)
	}
	c.Kubeconfig = c.config("admin")
	c.api, err = c.pki.client()
	return err
}

func (c *Cluster) config(user string) string { return filepath.Join(c.Dir, "kubeconfig", user) }

// launch starts one of the roles.
func (c *Cluster) launch(role string, flags ...string) error {
	p, err := c.run(role, c.program(role), flags...)
	c.procs[role] = p
	return err
}

// ExemptUser is exempt from Pod Security admission: what it creates shows nothing.
const ExemptUser = "system:serviceaccount:exempt:exempt"

// admissionConfig changes nothing but that: the levels are Kubernetes' defaults.
const admissionConfig = `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: PodSecurity
    configuration:
      apiVersion: pod-security.admission.config.k8s.io/v1
      kind: PodSecurityConfiguration
      exemptions: {usernames: ["` + ExemptUser + `"]}
`

func (c *Cluster) controlPlane(ctx context.Context) error {
	const peer = "http://127.0.0.1:2380"
	if err := c.launch("etcd", "--data-dir="+filepath.Join(c.Dir, "etcd"), "--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer, "--unsafe-no-fsync", "--log-level=warn"); err != nil {
		return err
	}
	admission := filepath.Join(c.Dir, "admission.yaml")
	if err := os.WriteFile(admission, []byte(admissionConfig), 0o600); err != nil {
		return err
	}
	if err := c.launch("kube-apiserver", "--admission-control-config-file="+admission, "--etcd-servers="+etcdURL, "--bind-address="+apiAddress, "--advertise-address="+apiAddress, "--secure-port=6443",
		"--tls-cert-file="+c.pki.path("kube-apiserver.crt"), "--tls-private-key-file="+c.pki.path("kube-apiserver.key"), "--client-ca-file="+c.pki.path("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+c.pki.path("sa.pub"), "--service-account-signing-key-file="+c.pki.path("sa.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--service-cluster-ip-range="+serviceRange,
		"--kubelet-client-certificate="+c.pki.path("kube-apiserver-kubelet-client.crt"), "--kubelet-client-key="+c.pki.path("kube-apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+c.pki.path("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file="+c.pki.path("ca.crt"), "--requestheader-allowed-names=front-proxy-client", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file="+c.pki.path("front-proxy-client.crt"), "--proxy-client-key-file="+c.pki.path("front-proxy-client.key"),
		// Without it a privileged pod is refused by validation, before Pod Security
		// admission sees it.
		"--allow-privileged=true",
		"--cert-dir="+filepath.Join(c.Dir, "apiserver"), "--profiling=false"); err != nil {
		return err
	}
	return c.Ready(ctx)
}

func (c *Cluster) createDefaultServiceAccount(ctx context.Context) error {
	return poll(ctx, time.Minute, "the namespace default", func(ctx context.Context) error {
		_, err := c.api.do(ctx, http.MethodPost, apiURL+"/api/v1/namespaces/default/serviceaccounts", []byte(`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}`))
		if err != nil && strings.Contains(err.Error(), "AlreadyExists") {
			return nil
		}
		return err
	})
}

func (c *Cluster) controllers(ctx context.Context) error {
	for _, p := range []struct {
		role  string
		flags []string
	}{
		{"kube-controller-manager", []string{"--secure-port=10257", "--service-account-private-key-file=" + c.pki.path("sa.key"), "--root-ca-file=" + c.pki.path("ca.crt"), "--use-service-account-credentials=true",
			"--allocate-node-cidrs=false", "--cluster-signing-cert-file=" + c.pki.path("ca.crt"), "--cluster-signing-key-file=" + c.pki.path("ca.key")}},
		{"kube-scheduler", []string{"--secure-port=10259"}},
	} {
		k := c.config(p.role)
		flags := append([]string{"--kubeconfig=" + k, "--authentication-kubeconfig=" + k, "--authorization-kubeconfig=" + k,
			"--bind-address=127.0.0.1", "--cert-dir=" + filepath.Join(c.Dir, p.role), "--leader-elect=false", "--profiling=false"}, p.flags...)
		if err := c.launch(p.role, flags...); err != nil {
			return err
		}
	}
	return poll(ctx, time.Minute, "the controllers to make the service account default", func(ctx context.Context) error {
		_, err := c.api.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default")
		return err
	})
}

const simulated = 6

// simulatedNodes makes nodes that KWOK keeps Ready, in three zones.
func (c *Cluster) simulatedNodes(ctx context.Context) error {
	stages := filepath.Join(c.Dir, "kwok.yaml")
	out, err := c.output(ctx, "kwok", "stages")
	if err != nil {
		return err
	}
	if err := os.WriteFile(stages, out, 0o600); err != nil {
		return err
	}
	if err := c.launch("kwok", "--config="+stages, "--kubeconfig="+c.Kubeconfig, "--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
		"--cidr=10.210.0.1/16", "--node-ip="+apiAddress, "--node-lease-duration-seconds=40", "--server-address=127.0.0.1:10247"); err != nil {
		return err
	}
	var names []string
	for i := range simulated {
		name := fmt.Sprintf("kwok-%d", i+1)
		names = append(names, name)
		if err := c.AddSimulatedNode(ctx, name, fmt.Sprintf("kz-%d", i%3+1)); err != nil {
			return err
		}
	}
	return c.nodesReady(ctx, names...)
}

// AddSimulatedNode makes one more node that KWOK keeps Ready. It does not wait.
func (c *Cluster) AddSimulatedNode(ctx context.Context, name, zone string) error {
	type object = map[string]any
	size := object{"cpu": "8", "memory": "16Gi", "pods": "110"}
	body, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Node",
		"metadata": object{
			"name":        name,
			"annotations": object{"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
			"labels":      object{"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": zone},
		},
		"spec":   object{"taints": []object{{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}}},
		"status": object{"allocatable": size, "capacity": size},
	})
	if err != nil {
		return err
	}
	_, err = c.api.do(ctx, http.MethodPost, apiURL+"/api/v1/nodes", body)
	return err
}

func (c *Cluster) nodesReady(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := poll(ctx, time.Minute, name+" to be Ready", func(ctx context.Context) error {
			b, err := c.api.get(ctx, "/api/v1/nodes/"+name)
			if err != nil {
				return err
			}
			var node struct {
				Status struct {
					Conditions []struct{ Type, Status, Message string }
				}
			}
			if err := json.Unmarshal(b, &node); err != nil {
				return err
			}
			for _, cond := range node.Status.Conditions {
				if cond.Type == "Ready" {
					if cond.Status == "True" {
						return nil
					}
					return errors.New(cond.Message)
				}
			}
			return errNotYet
		}); err != nil {
			return err
		}
	}
	return nil
}

// down ends what would write after the namespaces go. The rest ends with them.
func (c *Cluster) down() {
	for _, name := range c.Programs() {
		_ = c.procs[name].stop(syscall.SIGKILL) // the namespaces' end is certain
	}
}
