package pipeline

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
)

// Each experiment has controls of the built-in profile that ask for it.
func TestForDrill(t *testing.T) {
	t.Parallel()
	rules, err := LoadRules(RulesOptions{Profile: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[drill.Experiment][]evidence.ControlID{
		drill.PodKill: {"RSL-1"}, drill.Eviction: {"RSL-1"}, drill.RollingRestart: {"RSL-1"}, drill.ContainerKill: {"RSL-1"},
		drill.NodeDrain: {"RSL-2"}, drill.ZoneDrain: {"RSL-2"}, drill.Rollback: {"RSL-3"}, drill.Load: {"RES-4", "RSL-4"},
	}
	for _, e := range drill.Experiments() {
		by, err := rules.ForDrill(e)
		if err != nil {
			t.Errorf("%s: %v", e, err)
			continue
		}
		var got []evidence.ControlID
		for _, c := range by.Profile.Controls {
			got = append(got, c.ID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want[e]) {
			t.Errorf("%s asks for %v, want %v", e, got, want[e])
		}
	}
}

// A Service is probed as its pods' readiness probe asks them, where that is of its port.
func TestServiceProbe(t *testing.T) {
	t.Parallel()
	health := "shop.Cart"
	for _, tt := range []struct {
		ready *corev1.Probe
		to    intstr.IntOrString
		want  string
	}{
		{nil, intstr.FromString("api"), "tcp://10.0.0.1:80"},
		{&corev1.Probe{}, intstr.FromString("api"), "tcp://10.0.0.1:80"},
		{&corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(9000)}}}, intstr.FromString("api"), "http://10.0.0.1:80/ready"},
		{&corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9000}}}, intstr.FromString("api"), "grpc://10.0.0.1:80"},
		{&corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9000, Service: &health}}}, intstr.FromInt32(9000), "grpc://10.0.0.1:80/shop.Cart"},
		{&corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9001}}}, intstr.FromInt32(9000), "tcp://10.0.0.1:80"},
		{&corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9000}}}, intstr.FromString("other"), "tcp://10.0.0.1:80"},
	} {
		labels := map[string]string{"app": "cart"}
		svc := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1", Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: tt.to}}}}
		pod := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{
			{ReadinessProbe: tt.ready, Ports: []corev1.ContainerPort{{Name: "api", ContainerPort: 9000}}},
		}}}
		p, ok := serviceProbe(svc, []*corev1.PodTemplateSpec{pod})
		if !ok || p.Address != tt.want || !strings.HasPrefix(tt.want, p.Kind) {
			t.Errorf("%+v: %+v, want %s", tt.ready, p, tt.want)
		}
	}
}
