package drillrun

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
)

// bind says in the plan which probes send their requests to a Service of the release.
func (s *Session) bind(ctx context.Context) error {
	of := map[string]string{}
	for _, n := range s.own("Service") {
		svc, err := s.Cluster.Kube.CoreV1().Services(n.namespace).Get(ctx, n.name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("read Service %s/%s: %w", n.namespace, n.name, err)
		}
		addresses := map[string]string{}
		ServiceAddresses(svc, addresses)
		for a := range addresses {
			of[a] = n.namespace + "/" + n.name
		}
	}
	s.Plan.Probes = slices.Clone(s.Plan.Probes) // the caller's stay as they are
	for i := range s.Plan.Probes {
		b := &s.Plan.Probes[i]
		b.Service = ""
		if u, err := url.Parse(b.Address); err == nil {
			port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
			b.Service = of[net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))]
		}
	}
	return nil
}

// ServiceAddresses adds, with what is dialled for each, the addresses of one Service:
// its names, its cluster addresses, and those that a load balancer gave it. A headless
// one has none.
func ServiceAddresses(svc *corev1.Service, to map[string]string) {
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
