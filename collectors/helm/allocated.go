package helm

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/internal/manifest"
)

// The range of node ports of an API server that is told no other
// (k8s.io/kubernetes/pkg/controlplane/options, DefaultServiceNodePortRange).
const firstNodePort, lastNodePort = 30000, 32767

// allocated is what the Services of a release ask for by number, and who asks first:
// the API server gives each of them once in a cluster.
type allocated struct {
	ports map[int64][]*manifest.Object
	ips   map[string][]*manifest.Object
}

// serviceProblems is why the API server cannot give a Service the ports of nodes and
// the addresses that it asks for, beside the Services before it that are there as well.
func (a *allocated) serviceProblems(o *manifest.Object) []string {
	if gvk := o.GroupVersionKind(); gvk.Group != "" || gvk.Kind != "Service" || o.NeverMade() != "" {
		return nil
	}
	if a.ports == nil {
		a.ports, a.ips = map[int64][]*manifest.Object{}, map[string][]*manifest.Object{}
	}
	var out []string
	port := func(at string, v any) {
		n, ok := v.(int64)
		if !ok || n == 0 {
			return
		}
		if n < firstNodePort || n > lastNodePort {
			out = append(out, fmt.Sprintf("%s: Invalid value: %d: provided port is not in the valid range. The range of valid ports is %d-%d", at, n, firstNodePort, lastNodePort))
		}
		if other := beside(o, a.ports[n]); other != nil {
			out = append(out, fmt.Sprintf("%s: Invalid value: %d: provided port is already allocated, by %s", at, n, other.Target("").Object()))
		}
		a.ports[n] = append(a.ports[n], o)
	}
	spec, _, err := unstructured.NestedMap(o.Object, "spec")
	if err != nil {
		return nil // the schema says so
	}
	ports, _ := spec["ports"].([]any)
	for i, e := range ports {
		if p, ok := e.(map[string]any); ok {
			port(fmt.Sprintf("spec.ports[%d].nodePort", i), p["nodePort"])
		}
	}
	port("spec.healthCheckNodePort", spec["healthCheckNodePort"])
	if ip, ok := spec["clusterIP"].(string); ok && ip != "" && ip != "None" {
		if other := beside(o, a.ips[ip]); other != nil {
			out = append(out, fmt.Sprintf("spec.clusterIP: Invalid value: %q: provided IP is already allocated, by %s", ip, other.Target("").Object()))
		}
		a.ips[ip] = append(a.ips[ip], o)
	}
	return out
}

// beside returns the first of others that is in the cluster when o is made.
func beside(o *manifest.Object, others []*manifest.Object) *manifest.Object {
	for _, x := range others {
		if x != o && x.Missing(o) == "" {
			return x
		}
	}
	return nil
}
