package charts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestAdmitted holds that whatever is switched on is reached through the
// NetworkPolicy, by those it is for and on its port alone.
func TestAdmitted(t *testing.T) {
	t.Parallel()
	const closed = "{port: 8080, networkPolicy: {ingress: {sameNamespace: false}}}"
	type rule struct {
		from  string
		ports []int32
	}
	for _, tt := range []struct {
		name, values string
		want         []rule
	}{
		{"nothing", "{}", nil},
		{"the namespace", "{networkPolicy: {ingress: {sameNamespace: true}}, ports: [{name: grpc, port: 9090}]}", []rule{{"podSelector ", []int32{8080, 9090}}}},
		{"ingress", "ingress: {enabled: true, className: nginx, host: a.example.com}", []rule{{"ingress-nginx app.kubernetes.io/name=ingress-nginx", []int32{8080}}}},
		{"ingress to another port", "{ports: [{name: admin, port: 9000}], ingress: {enabled: true, className: traefik, hosts: [{host: a.example.com, paths: [{path: /, port: admin}]}]}}", []rule{{"traefik app.kubernetes.io/name=traefik", []int32{9000}}}},
		{"ingress by given pods", "ingress: {enabled: true, className: nginx, host: a.example.com, from: [{podSelector: {matchLabels: {a: b}}}]}", []rule{{"podSelector a=b", []int32{8080}}}},
		{"route", "httpRoute: {enabled: true, hostnames: [a.example.com], parentRefs: [{name: public, namespace: gateways}]}", []rule{{"gateways gateway.networking.k8s.io/gateway-name=public", []int32{8080}}}},
		{"metrics", "metrics: {enabled: true}", []rule{{"monitoring app.kubernetes.io/name=prometheus", []int32{8080}}}},
		{"metrics on a port of their own", "metrics: {enabled: true, port: 9102}", []rule{{"monitoring app.kubernetes.io/name=prometheus", []int32{9102}}}},
		{"metrics for the namespace", "{metrics: {enabled: true, port: 9102, from: []}, networkPolicy: {ingress: {sameNamespace: true}}}", []rule{{"podSelector ", []int32{8080, 9102}}}},
		{"a port for some", "ports: [{name: debug, port: 6060, servicePort: 0, from: [{podSelector: {matchLabels: {a: b}}}]}]", []rule{{"podSelector a=b", []int32{6060}}}},
		{"load balancer", "{service: {type: LoadBalancer, sourceRanges: [203.0.113.0/24]}, ports: [{name: debug, port: 6060, servicePort: 0}]}", []rule{{"203.0.113.0/24", []int32{8080}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := overlay(parse(t, closed), parse(t, tt.values))
			v["fullnameOverride"] = "shop"
			o := objects(t, v)["NetworkPolicy/shop"]
			var np networkingv1.NetworkPolicy
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &np); err != nil {
				t.Fatal(err)
			}
			var got []rule
			for _, in := range np.Spec.Ingress {
				r := rule{}
				for _, f := range in.From {
					switch {
					case f.IPBlock != nil:
						r.from += f.IPBlock.CIDR
					case f.NamespaceSelector != nil:
						r.from += f.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] + " "
					default:
						r.from += "podSelector "
					}
					if f.PodSelector != nil {
						for k, v := range f.PodSelector.MatchLabels {
							r.from += k + "=" + v
						}
					}
				}
				for _, p := range in.Ports {
					r.ports = append(r.ports, p.Port.IntVal)
				}
				got = append(got, r)
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(rule{})); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestHosts holds that hosts share the certificate's Secret unless they have one of their own.
func TestHosts(t *testing.T) {
	t.Parallel()
	v := parse(t, `
fullnameOverride: shop
ports: [{name: admin, port: 9000, appProtocol: kubernetes.io/h2c}]
ingress:
  enabled: true
  className: nginx
  host: a.example.com
  hosts:
    - {host: b.example.com, paths: [{path: /}, {path: /admin, pathType: Exact, port: admin}]}
    - {host: c.example.com, secretName: other}
`)
	all := objects(t, v)
	in := all["Ingress/shop"].Object
	want := []any{
		map[string]any{"hosts": []any{"c.example.com"}, "secretName": "other"},
		map[string]any{"hosts": []any{"a.example.com", "b.example.com"}, "secretName": "shop-tls"},
	}
	if d := cmp.Diff(want, at(in, "spec", "tls")); d != "" {
		t.Errorf("tls (-want +got):\n%s", d)
	}
	if got := at(in, "spec", "rules", 1, "http", "paths", 1, "backend", "service", "port", "name"); got != "admin" {
		t.Errorf("/admin leads to port %v", got)
	}
	port := map[string]any{"name": "admin", "port": int64(9000), "targetPort": "admin", "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"}
	if d := cmp.Diff(any(port), at(all["Service/shop"].Object, "spec", "ports", 1)); d != "" {
		t.Errorf("port of the Service (-want +got):\n%s", d)
	}
}
