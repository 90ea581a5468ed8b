package load

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors/internal/drillrun"
)

// addressesOf are the addresses that may be loaded, with what is dialled for each:
// those of the release's Services in allowed namespaces, and the plan's own where it
// is one of loopback.
func addressesOf(ctx context.Context, s *drillrun.Session) (map[string]string, error) {
	out := map[string]string{}
	for i := range s.Objects.Objects {
		o := &s.Objects.Objects[i]
		ns := cmp.Or(o.GetNamespace(), s.Release.Namespace)
		if gvk := o.GroupVersionKind(); gvk.Group != "" || gvk.Kind != "Service" || len(o.Hooks()) > 0 || !slices.Contains(s.Plan.AllowNamespaces, ns) {
			continue
		}
		svc, err := s.Cluster.Kube.CoreV1().Services(ns).Get(ctx, o.GetName(), metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("read Service %s/%s: %w", ns, o.GetName(), err)
		}
		serviceAddresses(svc, out)
	}
	loads := []string{s.Plan.Load.Address}
	for _, p := range s.Plan.Probes {
		loads = append(loads, p.Address)
	}
	for _, a := range loads {
		u, err := url.Parse(a)
		if err != nil {
			continue // an address that cannot be read is none that may be loaded
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.IsLoopback() {
			at := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80"))
			out[at] = at
		}
	}
	return out, nil
}

// serviceAddresses adds those of one Service: its names and its cluster addresses,
// and those that a load balancer gave it. A headless one has none.
func serviceAddresses(svc *corev1.Service, to map[string]string) {
	var ips []string
	for _, ip := range svc.Spec.ClusterIPs {
		if _, err := netip.ParseAddr(ip); err == nil { // else "None"
			ips = append(ips, ip)
		}
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		port := strconv.Itoa(int(p.Port))
		for _, ip := range ips {
			to[net.JoinHostPort(ip, port)] = net.JoinHostPort(ip, port)
		}
		for _, in := range svc.Status.LoadBalancer.Ingress {
			if _, err := netip.ParseAddr(in.IP); err == nil {
				to[net.JoinHostPort(in.IP, port)] = net.JoinHostPort(in.IP, port)
			}
		}
		if len(ips) == 0 {
			continue
		}
		for _, name := range []string{svc.Name + "." + svc.Namespace, svc.Name + "." + svc.Namespace + ".svc", svc.Name + "." + svc.Namespace + ".svc.cluster.local"} {
			to[net.JoinHostPort(name, port)] = net.JoinHostPort(ips[0], port)
		}
	}
}
