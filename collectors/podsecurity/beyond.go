package podsecurity

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// nodeDrivers are the CSI drivers and provisioners whose volumes are directories of a
// node. Those that make file systems of their own there (TopoLVM, OpenEBS LVM) are none.
var nodeDrivers = []string{
	"csi-hostpath", "docker.io/hostpath", "hostpath.csi.k8s.io", "k8s.io/minikube-hostpath", "kubernetes.io/host-path", "kubevirt.io.hostpath-provisioner",
	"kubevirt.io/hostpath-provisioner", "microk8s.io/hostpath", "openebs.io/local", "rancher.io/local-path",
}

// nodePath judges a PersistentVolume or a StorageClass: by a claim, a pod has what is a
// path of the node, though the standard refuses it the same path as a hostPath volume.
func nodePath(d *collectors.Derivation, o *manifest.Object) {
	const fix = "Let a StorageClass provide the volume that is not of the nodes; paths of nodes are for those who run the nodes."
	at := d.Lines(o.From, o.To)
	switch o.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Group: "storage.k8s.io", Kind: "StorageClass"}:
		provisioner, _ := o.Object["provisioner"].(string)
		if !slices.Contains(nodeDrivers, provisioner) {
			return
		}
		where := chosenPath(o)
		if where == "" {
			d.Add(RuleNodePath, o.Target(""), evidence.OutcomeWarn, fmt.Sprintf("provisioner %s gives directories of the node, which pods reach by claims", provisioner), fix, at)
			return
		}
		d.Add(RuleNodePath, o.Target(""), evidence.OutcomeFail, fmt.Sprintf("provisioner %s gives directories of the node, at what %s says, which pods reach by claims", provisioner, where), fix, at)
		return
	case schema.GroupKind{Kind: "PersistentVolume"}:
	default:
		return
	}
	for _, source := range []string{"hostPath", "local", "csi"} {
		v, found, err := unstructured.NestedFieldNoCopy(o.Object, "spec", source)
		if err != nil {
			outcome, message, fix := collectors.Undecoded(err)
			d.Add(RuleNodePath, o.Target(""), outcome, message, fix, at)
			return
		}
		if !found || v == nil {
			continue
		}
		m, _ := v.(map[string]any)
		message := fmt.Sprintf("spec.%s is the node's own path, which a pod reaches by a claim", source)
		switch driver, _ := m["driver"].(string); {
		case source == "csi" && !slices.Contains(nodeDrivers, driver):
			continue
		case source == "csi":
			message = fmt.Sprintf("spec.csi of driver %s is a directory of the node, which a pod reaches by a claim", driver)
		case m != nil:
			message = fmt.Sprintf("spec.%s is the node's own path %v, which a pod reaches by a claim", source, m["path"])
		}
		d.Add(RuleNodePath, o.Target(""), evidence.OutcomeFail, message, fix, at)
		return
	}
}

// chosenPath is where a StorageClass says which directories its volumes are.
func chosenPath(o *manifest.Object) string {
	parameters, _ := o.Object["parameters"].(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(parameters)) {
		if strings.Contains(strings.ToLower(k), "path") {
			return "parameters." + k
		}
	}
	const openEBS = "cas.openebs.io/config"
	if strings.Contains(o.GetAnnotations()[openEBS], "BasePath") {
		return openEBS
	}
	return ""
}

// metadataService judges what the kubelet does for a pod: a probe or a lifecycle
// hook that asks a cloud's metadata service gets the credentials of the node.
func metadataService(d *collectors.Derivation, w *manifest.Workload, spec *corev1.PodSpec) {
	o := w.Object
	at := d.Lines(o.From, o.To)
	for _, c := range manifest.Containers(spec) {
		for _, h := range handlers(&c) {
			for _, text := range h.texts {
				if name := metadataAddress(text); name != "" {
					d.Add(RuleMetadata, o.Target(c.Name), evidence.OutcomeFail, w.Where(fmt.Sprintf("%s names %s, a metadata service of clouds, which gives the credentials of the node", h.where, name)),
						"Remove it; give the pod an identity of its own, as the cloud does by its ServiceAccount.", at)
					break
				}
			}
		}
	}
}

// handler is what a probe or a lifecycle hook does, as far as it names hosts.
type handler struct {
	where string
	texts []string
}

func handlers(c *corev1.Container) []handler {
	var out []handler
	add := func(where string, exec *corev1.ExecAction, get *corev1.HTTPGetAction, tcp *corev1.TCPSocketAction) {
		h := handler{where: where}
		if exec != nil {
			h.texts = append(h.texts, exec.Command...)
		}
		if get != nil {
			h.texts = append(h.texts, get.Host, get.Path)
			for _, x := range get.HTTPHeaders {
				h.texts = append(h.texts, x.Value)
			}
		}
		if tcp != nil {
			h.texts = append(h.texts, tcp.Host)
		}
		out = append(out, h)
	}
	for _, p := range []struct {
		where string
		probe *corev1.Probe
	}{{"startupProbe", c.StartupProbe}, {"readinessProbe", c.ReadinessProbe}, {"livenessProbe", c.LivenessProbe}} {
		if p.probe != nil {
			add(p.where, p.probe.Exec, p.probe.HTTPGet, p.probe.TCPSocket)
		}
	}
	if c.Lifecycle != nil {
		if h := c.Lifecycle.PostStart; h != nil {
			add("lifecycle.postStart", h.Exec, h.HTTPGet, h.TCPSocket)
		}
		if h := c.Lifecycle.PreStop; h != nil {
			add("lifecycle.preStop", h.Exec, h.HTTPGet, h.TCPSocket)
		}
	}
	return out
}

// metadataNetworks are the addresses of metadata services: AWS, Google, Azure,
// OpenStack and others at 169.254.169.254, AWS's for tasks and pods at
// 169.254.170.2 and .23, Tencent 169.254.0.23, Azure's fabric 168.63.129.16, Alibaba
// 100.100.100.200, Oracle 192.0.0.192, and AWS's and Google's of IPv6.
var metadataNetworks = func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{"169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "169.254.0.23/32", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128"} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

var metadataNames = []string{"metadata.google.internal", "metadata.goog", "metadata.azure.internal", "metadata.tencentyun.com", "instance-data", "instance-data.ec2.internal", "metadata.platformequinix.com"}

// metadataAddress returns the word of a text that names a metadata service, ""
// if none does. Addresses count in all forms that resolvers take; what a shell
// puts together, or a DNS name of one's own, it cannot know.
func metadataAddress(text string) string {
	for _, s := range []string{text, unescaped(text), unquoted.Replace(text)} {
		for word := range strings.FieldsFuncSeq(s, func(r rune) bool {
			return !strings.ContainsRune("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:-_", r)
		}) {
			if isMetadata(word) {
				return word
			}
		}
	}
	return ""
}

// unquoted takes out what a shell would.
var unquoted = strings.NewReplacer("'", "", `"`, "", `\`, "")

func unescaped(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

func isMetadata(word string) bool {
	if a, err := netip.ParseAddr(strings.TrimRight(word, ".")); err == nil && inMetadata(a) {
		return true
	}
	// host:port, and curl's --resolve name:port:address
	for part := range strings.SplitSeq(strings.ToLower(word), ":") {
		host := strings.Trim(part, ".")
		if slices.Contains(metadataNames, host) {
			return true
		}
		if a, ok := loose(host); ok && inMetadata(a) || holdsMetadata(host) {
			return true
		}
	}
	return false
}

// holdsMetadata reports whether a name holds such an address, to which some zones
// resolve it: 169.254.169.254.nip.io, 169-254-169-254.sslip.io.
func holdsMetadata(host string) bool {
	labels := strings.FieldsFunc(host, func(r rune) bool { return r == '.' || r == '-' })
	for i := 0; i+4 < len(labels); i++ {
		if a, err := netip.ParseAddr(strings.Join(labels[i:i+4], ".")); err == nil && inMetadata(a) {
			return true
		}
	}
	return false
}

func inMetadata(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(metadataNetworks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// loose reads an address as inet_aton does: one to four numbers, decimal, octal or
// hexadecimal, the last of which fills what is left.
func loose(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var n uint64
	for i, p := range parts {
		base := 10
		switch {
		case strings.HasPrefix(p, "0x"):
			base, p = 16, p[2:]
		case len(p) > 1 && p[0] == '0':
			base = 8
		}
		v, err := strconv.ParseUint(p, base, 64)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if err != nil || v >= 1<<bits {
			return netip.Addr{}, false
		}
		n = n<<bits | v
	}
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), true
}
