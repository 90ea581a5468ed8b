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
		"grpc://10.0.0.1:8080":     "10.0.0.1:8080 is none of the addresses that may be loaded",
		"grpc://10.0.0.2:80":       "10.0.0.2:80 is none of the addresses that may be loaded",
		"grpc://10.0.0.1":          "address without a port",
		"tcp://10.0.0.1:80":        "is not http://host:port/path",
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

// Without an address of its own a load goes where the first probe does that can be
// loaded, HTTP before gRPC, and that of a method to a gRPC service.
func TestTarget(t *testing.T) {
	t.Parallel()
	second := evidence.Duration(time.Second)
	tcp, web := drill.Probe{Kind: "tcp", Address: "tcp://a:1"}, drill.Probe{Kind: "http", Address: "http://a/x", Timeout: second}
	health := drill.Probe{Kind: "grpc", Address: "grpc://a:1/shop.Cart", Timeout: 2 * second}
	for _, tt := range []struct {
		load    drill.LoadPlan
		probes  []drill.Probe
		address string
		timeout time.Duration
	}{
		{drill.LoadPlan{}, nil, "", 0},
		{drill.LoadPlan{}, []drill.Probe{tcp}, "", 0},
		{drill.LoadPlan{}, []drill.Probe{tcp, web}, "http://a/x", time.Second},
		{drill.LoadPlan{}, []drill.Probe{health, web}, "http://a/x", time.Second},
		{drill.LoadPlan{}, []drill.Probe{tcp, health}, "grpc://a:1/shop.Cart", 2 * time.Second},
		{drill.LoadPlan{Timeout: 3 * second}, []drill.Probe{health}, "grpc://a:1/shop.Cart", 3 * time.Second},
		{drill.LoadPlan{Method: "shop.Cart/Get"}, []drill.Probe{web, health}, "grpc://a:1", 2 * time.Second},
		{drill.LoadPlan{Method: "shop.Cart/Get"}, []drill.Probe{web}, "", 0},
		{drill.LoadPlan{Address: "grpcs://b:2"}, []drill.Probe{web, health}, "grpcs://b:2", 0},
	} {
		p := drill.Plan{Load: &tt.load, Probes: tt.probes}
		if address, timeout := target(&p); address != tt.address || timeout != tt.timeout {
			t.Errorf("%+v, %v: %q %s", tt.load, tt.probes, address, timeout)
		}
	}
}

func TestAskGRPC(t *testing.T) {
	t.Parallel()
	set, err := manifest.Parse([]byte("{apiVersion: v1, kind: Service, metadata: {name: cart}}"))
	if err != nil {
		t.Fatal(err)
	}
	cart := service("shop", "cart", corev1.ServiceSpec{ClusterIPs: []string{"10.0.0.1"}, Ports: []corev1.ServicePort{{Port: 9000}}})
	s := &drillrun.Session{
		Cluster: &cluster.Cluster{Kube: fake.NewClientset(cart)}, Objects: set, Release: evidence.Release{Namespace: "shop"},
		Plan: drill.Plan{AllowNamespaces: []string{"shop"}, Probes: []drill.Probe{{Kind: "grpc", Address: "grpc://cart.shop:9000/shop.Cart", Timeout: evidence.Duration(time.Second)}}},
	}
	s.Plan.Phases.Deadline = evidence.Duration(time.Minute)
	for _, tt := range []struct {
		method, request, want string
		image                 string // of a pod that sends it
	}{
		{"", "", "10 requests a second to grpc://cart.shop:9000/shop.Cart (10.0.0.1:9000), method grpc.health.v1.Health/Check", ""},
		{"shop.Cart/Get", "CgE=", "10 requests a second to grpc://cart.shop:9000 (10.0.0.1:9000), method shop.Cart/Get", ""},
		{"shop.Cart/Get", "CgE=", "10 requests a second to grpc://cart.shop:9000 (10.0.0.1:9000), method shop.Cart/Get, from a pod of prober:1", "prober:1"},
	} {
		s.Plan.Load = &drill.LoadPlan{Rate: 10, Hold: evidence.Duration(1e10), Method: tt.method, Request: tt.request, FromPod: tt.image != ""}
		s.Plan.Prober.Image = tt.image
		x := &experiment{s: s}
		if ok, said, err := x.ask(t.Context(), nil); !ok || err != nil || said != tt.want {
			t.Errorf("%v %q %v", ok, said, err)
		}
		if tt.request != "" && string(x.options.Request) != "\x0a\x01" {
			t.Errorf("%x is sent", x.options.Request)
		}
	}
	s.Plan.Phases.Deadline = evidence.Duration(56 * time.Second) // with the time that a pod takes to start
	if ok, said, err := (&experiment{s: s}).ask(t.Context(), nil); ok || err != nil || said != "it takes 56s, and has to be done within 56s: raise phases.deadline" {
		t.Errorf("%v %q %v", ok, said, err)
	}
}
