package load

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
)

const services = `
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: v1
kind: Service
metadata: {name: peers}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: elsewhere}
`

func service(ns, name string, spec corev1.ServiceSpec) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: spec}
}

// Only the release's own Services in allowed namespaces, and loopback, may be loaded.
func TestAddresses(t *testing.T) {
	t.Parallel()
	set, err := manifest.Parse([]byte(services))
	if err != nil {
		t.Fatal(err)
	}
	web := service("shop", "web", corev1.ServiceSpec{ClusterIPs: []string{"10.0.0.1", "fd00::1"}, Ports: []corev1.ServicePort{{Port: 80}, {Port: 53, Protocol: corev1.ProtocolUDP}}})
	web.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {Hostname: "lb.example"}}
	kube := fake.NewClientset(web,
		service("shop", "peers", corev1.ServiceSpec{ClusterIPs: []string{"None"}, Ports: []corev1.ServicePort{{Port: 7000}}}),
		service("elsewhere", "other", corev1.ServiceSpec{ClusterIPs: []string{"10.0.0.2"}, Ports: []corev1.ServicePort{{Port: 80}}}))
	s := &drillrun.Session{
		Cluster: &cluster.Cluster{Kube: kube}, Objects: set, Release: evidence.Release{Namespace: "shop"},
		Plan: drill.Plan{AllowNamespaces: []string{"shop"}, Load: &drill.LoadPlan{Address: "http://127.0.0.1:8080/"}, Probes: []drill.Probe{{Address: "http://198.51.100.1/"}}},
	}
	s.Plan.Phases.Deadline = evidence.Duration(time.Minute)
	got, err := addressesOf(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"10.0.0.1:80": "10.0.0.1:80", "[fd00::1]:80": "[fd00::1]:80", "192.0.2.1:80": "192.0.2.1:80", "127.0.0.1:8080": "127.0.0.1:8080",
		"web.shop:80": "10.0.0.1:80", "web.shop.svc:80": "10.0.0.1:80", "web.shop.svc.cluster.local:80": "10.0.0.1:80",
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", slices.Sorted(maps.Keys(got)))
	}
	for address, reason := range map[string]string{
		"":                         "no address to send the load to",
		"http://198.51.100.1/":     "198.51.100.1 is none of the addresses that may be loaded",
		"http://10.0.0.2/":         "10.0.0.2 is none of the addresses that may be loaded",
		"http://other.elsewhere/":  "other.elsewhere is none of the addresses that may be loaded",
		"https://10.0.0.1:80/":     "is not http://host:port/path",
		"http://10.0.0.1:8080/":    "10.0.0.1:8080 is none of the addresses that may be loaded",
		"http://10.0.0.1.nip.io/":  "10.0.0.1.nip.io is none of the addresses that may be loaded",
		"http://localhost:8080/":   "localhost:8080 is none of the addresses that may be loaded",
		"http://peers.shop:7000/x": "peers.shop:7000 is none of the addresses that may be loaded",
	} {
		s.Plan.Load = &drill.LoadPlan{Address: address, Rate: 10, Hold: evidence.Duration(1e10)}
		x := &experiment{s: s}
		ok, said, err := x.ask(t.Context(), nil)
		if ok || err != nil || !strings.Contains(said, reason) {
			t.Errorf("%q: %v %q %v, want %q", address, ok, said, err, reason)
		}
	}
	s.Plan.Load = &drill.LoadPlan{Rate: 10, Hold: evidence.Duration(1e10)}
	s.Plan.Probes = []drill.Probe{{Kind: "http", Address: "http://web.shop/a"}}
	x := &experiment{s: s}
	s.Plan.Phases.Deadline = evidence.Duration(26 * time.Second)
	if ok, said, err := x.ask(t.Context(), nil); ok || err != nil || said != "it takes 26s, and has to be done within 26s: raise phases.deadline" {
		t.Errorf("%v %q %v", ok, said, err)
	}
	s.Plan.Phases.Deadline++
	if ok, said, err := x.ask(t.Context(), nil); !ok || err != nil || said != "10 requests a second to http://web.shop/a (10.0.0.1:80)" {
		t.Errorf("%v %q %v", ok, said, err)
	}
}
