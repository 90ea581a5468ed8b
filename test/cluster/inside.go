package main

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Addresses inside the run's network namespace, where nobody else is.
const (
	serverIP   = "10.200.0.1"
	serverURL  = "https://10.200.0.1:6443"
	etcdURL    = "http://127.0.0.1:2379"
	serviceNet = "10.96.0.0/16"
)

// cluster is a run, from inside its namespaces.
type cluster struct {
	options
	self string
	pki  *pki
	kube kubernetes.Interface

	mu       sync.Mutex
	stopping bool
}

func (c *cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.state}, parts...)...)
}

// inside starts the cluster and then the command; its end is the end of all.
func inside(args []string) int {
	o, err := parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcluster:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	c := &cluster{options: o}
	began := time.Now()
	if err := c.up(ctx); err != nil {
		stop()
		fmt.Fprintf(os.Stderr, "testcluster: tier %s did not start: %v\n", o.tier, err)
		c.showLogs()
		return 1
	}
	stop()
	fmt.Fprintf(os.Stderr, "testcluster: tier %s ready after %.1f s\n", o.tier, time.Since(began).Seconds())
	cmd := exec.Command(o.command[0], o.command[1:]...)
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+c.pki.path("admin.kubeconfig"), "HELMPROOF_TEST_KUBECONFIG="+c.pki.path("admin.kubeconfig"),
		"HELMPROOF_TEST_TIER="+o.tier, "HELMPROOF_TEST_RUN="+c.path("run"), "HELMPROOF_TEST_CLUSTER="+c.self)
	if o.tier == "c" {
		var sockets []string
		for _, n := range nodeNames {
			sockets = append(sockets, c.socket(n))
		}
		cmd.Env = append(cmd.Env, "HELMPROOF_TEST_CONTAINERD="+strings.Join(sockets, ","))
	}
	code := wait(cmd)
	c.down()
	return code
}

func (c *cluster) up(ctx context.Context) error {
	var err error
	if c.self, err = os.Executable(); err != nil {
		return err
	}
	if c.logs == "" {
		c.logs = c.path("log")
	}
	for _, dir := range []string{c.path("pki"), c.path("run"), c.logs} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := prepareNamespaces(); err != nil {
		return err
	}
	if err := c.certificates(); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if err := c.controlPlane(ctx); err != nil {
		return err
	}
	if c.tier == "a" {
		return nil
	}
	if err := c.simulatedNodes(ctx); err != nil {
		return err
	}
	if c.tier == "b" {
		return nil
	}
	return c.realNodes(ctx)
}

// prepareNamespaces gives the run mounts and addresses of its own.
func prepareNamespaces() error {
	// Nothing mounted here is seen outside; below, containers share among themselves.
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, dir := range []string{"/run", "/var/lib/cni", "/var/lib/kubelet"} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), unix.Mount("tmpfs", dir, "tmpfs", 0, "")); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	for _, ip := range append([]string{serverIP}, nodeIPs...) {
		addr, err := netlink.ParseAddr(ip + "/32")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			return fmt.Errorf("add address %s: %w", ip, err)
		}
	}
	_, services, err := net.ParseCIDR(serviceNet)
	if err != nil {
		return err
	}
	// Without a route, a service's address is unreachable before it is translated.
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: services, Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route to services: %w", err)
	}
	return nil
}

func (c *cluster) certificates() error {
	var err error
	if c.pki, err = newPKI(c.path("pki")); err != nil {
		return err
	}
	name := func(cn string, groups ...string) pkix.Name { return pkix.Name{CommonName: cn, Organization: groups} }
	errs := []error{
		c.pki.issue("apiserver", name("kube-apiserver"), "127.0.0.1", serverIP, "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"),
		c.pki.issue("apiserver-kubelet-client", name("kube-apiserver-kubelet-client", "system:masters")),
		c.pki.issue("front-proxy-client", name("front-proxy-client")),
	}
	clients := map[string]pkix.Name{
		"admin": name("admin", "system:masters"), "kube-controller-manager": name("system:kube-controller-manager"),
		"kube-scheduler": name("system:kube-scheduler"), "kube-proxy": name("system:kube-proxy"),
	}
	for _, n := range nodeNames {
		clients[n] = name("system:node:"+n, "system:nodes")
	}
	for n, subject := range clients {
		var hosts []string
		for i, node := range nodeNames {
			if n == node {
				hosts = []string{node, nodeIPs[i]}
			}
		}
		errs = append(errs, c.pki.issue(n, subject, hosts...), c.pki.kubeconfig(n, serverURL))
	}
	return errors.Join(errs...)
}

func (c *cluster) controlPlane(ctx context.Context) error {
	p := c.pki.path
	if err := c.start("etcd", false, c.self, "etcd", "--data-dir", c.path("etcd"), "--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380", "--unsafe-no-fsync"); err != nil {
		return err
	}
	if err := until(ctx, 30*time.Second, "etcd", func() error { return httpOK(etcdURL + "/health") }); err != nil {
		return err
	}
	args := []string{
		"--etcd-servers=" + etcdURL, "--bind-address=" + serverIP, "--advertise-address=" + serverIP, "--secure-port=6443",
		"--tls-cert-file=" + p("apiserver.crt"), "--tls-private-key-file=" + p("apiserver.key"), "--client-ca-file=" + p("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + p("sa.pub"), "--service-account-signing-key-file=" + p("sa.key"),
		"--authorization-mode=Node,RBAC", "--service-cluster-ip-range=" + serviceNet, "--allow-privileged=true", "--profiling=false",
		"--kubelet-client-certificate=" + p("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + p("apiserver-kubelet-client.key"), "--kubelet-certificate-authority=" + p("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP", "--requestheader-client-ca-file=" + p("ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
	}
	plugins := "--enable-admission-plugins=NodeRestriction"
	if c.tier == "a" {
		// Nothing makes the default accounts that this plugin wants.
		plugins = "--disable-admission-plugins=ServiceAccount"
	}
	if config := os.Getenv("HELMPROOF_TEST_ADMISSION_CONFIG"); config != "" {
		args = append(args, "--admission-control-config-file="+config)
	}
	if err := c.start("kube-apiserver", true, c.self, append(append([]string{"kube-apiserver"}, args...), plugins)...); err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", p("admin.kubeconfig"))
	if err != nil {
		return err
	}
	cfg.QPS, cfg.Burst = 200, 400
	if c.kube, err = kubernetes.NewForConfig(cfg); err != nil {
		return err
	}
	if err := until(ctx, 90*time.Second, "kube-apiserver", func() error {
		_, err := c.kube.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	}); err != nil {
		return err
	}
	if c.tier == "a" {
		return nil
	}
	kcm, scheduler := p("kube-controller-manager.kubeconfig"), p("kube-scheduler.kubeconfig")
	if err := errors.Join(
		c.start("kube-controller-manager", false, c.self, "kube-controller-manager", "--kubeconfig="+kcm, "--authentication-kubeconfig="+kcm, "--authorization-kubeconfig="+kcm,
			"--bind-address=127.0.0.1", "--cert-dir="+c.path("kcm"), "--leader-elect=false", "--service-account-private-key-file="+p("sa.key"), "--root-ca-file="+p("ca.crt"),
			"--use-service-account-credentials=true", "--allocate-node-cidrs=false", "--cluster-signing-cert-file="+p("ca.crt"), "--cluster-signing-key-file="+p("ca.key"), "--profiling=false"),
		c.start("kube-scheduler", false, c.self, "kube-scheduler", "--kubeconfig="+scheduler, "--authentication-kubeconfig="+scheduler, "--authorization-kubeconfig="+scheduler,
			"--bind-address=127.0.0.1", "--cert-dir="+c.path("scheduler"), "--leader-elect=false", "--profiling=false"),
	); err != nil {
		return err
	}
	return until(ctx, 60*time.Second, "kube-controller-manager", func() error {
		_, err := c.kube.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// start starts a component; with again, it is started anew when it ends.
func (c *cluster) start(name string, again bool, binary string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(c.logs, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	launch := func() (*exec.Cmd, error) {
		cmd := exec.Command(binary, args...)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the command
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("start %s: %w", name, err)
		}
		return cmd, os.WriteFile(c.path("run", name+".pid"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644)
	}
	cmd, err := launch()
	if err != nil {
		return err
	}
	go func() {
		for {
			err := cmd.Wait()
			c.mu.Lock()
			stopping := c.stopping
			c.mu.Unlock()
			if stopping {
				return
			}
			fmt.Fprintf(log, "testcluster: %s ended: %v\n", name, err)
			if !again {
				return
			}
			if cmd, err = launch(); err != nil {
				fmt.Fprintln(os.Stderr, "testcluster:", err)
				return
			}
		}
	}()
	return nil
}

// down only keeps what ends from being started again: the namespaces end the rest.
func (c *cluster) down() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
}

// showLogs prints the end of each log, to say why there is no cluster.
func (c *cluster) showLogs() {
	files, err := filepath.Glob(filepath.Join(c.logs, "*.log"))
	if err != nil {
		return
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
		fmt.Fprintf(os.Stderr, "--- %s\n%s\n", filepath.Base(f), strings.Join(lines[max(0, len(lines)-8):], "\n"))
	}
}

// until tries again until it succeeds.
func until(ctx context.Context, limit time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready within %s: %w", what, limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func httpOK(url string) error {
	client := http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

func (c *cluster) nodeReady(ctx context.Context, name string) error {
	n, err := c.kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not Ready", name)
}
