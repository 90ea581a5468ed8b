package load

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"

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
		drillrun.ServiceAddresses(svc, out)
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
