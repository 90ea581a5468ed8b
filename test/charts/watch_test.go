package charts

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/companyos/helmproof/templates/rbac"
)

const monitoringDir = "../../templates/monitoring"

// watchExamples are what somebody lays over the values of helmproof watch.
var watchExamples = []string{"gcs.yaml", "claim.yaml"}

func watchValues(tb testing.TB, own string) values {
	tb.Helper()
	deploy := filepath.Join(monitoringDir, "deploy")
	return overlay(readValues(tb, filepath.Join(deploy, "values.yaml")), readValues(tb, filepath.Join(deploy, own)))
}

func convert(tb testing.TB, from unstructured.Unstructured, to any) {
	tb.Helper()
	if from.Object == nil {
		tb.Fatalf("there is no %T of the name that is expected", to)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(from.Object, to); err != nil {
		tb.Fatal(err)
	}
}

// TestWatchNeedsItsOwn: what differs from cluster to cluster has no default that renders.
func TestWatchNeedsItsOwn(t *testing.T) {
	t.Parallel()
	base := readValues(t, filepath.Join(monitoringDir, "deploy", "values.yaml"))
	refused(t, "watch without an image", serviceDir, base, "/image/digest")
	image := values{"image": watchValues(t, "gcs.yaml")["image"]}
	refused(t, "watch without the API server's addresses", serviceDir, overlay(base, image), "networkPolicy.egress.allow[0].cidrs is missing")
}

// TestWatchFits: what the chart makes of watch has the names by which rights, the
// ServiceMonitor and Prometheus find it, two replicas, and no ways in or out besides.
func TestWatchFits(t *testing.T) {
	t.Parallel()
	all := objects(t, watchValues(t, "claim.yaml"))
	const name, namespace = "helmproof-watch", "helmproof"

	// The rights are those of its account, which Helm may take over.
	bindings, account := 0, corev1.ServiceAccount{}
	for _, raw := range documents(t, rbac.Watch) {
		switch raw.GetKind() {
		case "ServiceAccount":
			convert(t, raw, &account)
		case "ClusterRoleBinding", "RoleBinding":
			var b rbacv1.ClusterRoleBinding
			convert(t, raw, &b)
			bindings++
			if d := cmp.Diff([]rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: namespace}}, b.Subjects); d != "" {
				t.Errorf("%s (-want +got):\n%s", b.Name, d)
			}
		}
	}
	if bindings != 3 {
		t.Errorf("%d bindings", bindings)
	}
	if _, ok := all["ServiceAccount/"+name]; !ok || account.Name != name || account.Namespace != namespace || account.Labels["app.kubernetes.io/managed-by"] != "Helm" ||
		account.Annotations["meta.helm.sh/release-name"] != name || account.Annotations["meta.helm.sh/release-namespace"] != namespace {
		t.Errorf("Helm does not take the account over: %v", account.ObjectMeta)
	}

	raw, err := os.ReadFile(filepath.Join(monitoringDir, "servicemonitor.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var monitor struct {
		Spec struct {
			Selector          metav1.LabelSelector `json:"selector"`
			NamespaceSelector struct {
				MatchNames []string `json:"matchNames"`
			} `json:"namespaceSelector"`
			Endpoints []struct {
				Port string `json:"port"`
			} `json:"endpoints"`
		} `json:"spec"`
	}
	convert(t, documents(t, raw)[0], &monitor)
	var service corev1.Service
	convert(t, all["Service/"+name], &service)
	for k, v := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[k] != v {
			t.Errorf("the ServiceMonitor wants label %s=%s of the Service, which has %q", k, v, service.Labels[k])
		}
	}
	if d := cmp.Diff([]string{namespace}, monitor.Spec.NamespaceSelector.MatchNames); d != "" {
		t.Errorf("the ServiceMonitor looks elsewhere (-want +got):\n%s", d)
	}
	if len(service.Spec.Ports) != 1 || len(monitor.Spec.Endpoints) != 1 || service.Spec.Ports[0].Name != monitor.Spec.Endpoints[0].Port || service.Spec.Ports[0].Port != 9187 {
		t.Errorf("ports: %v, asked: %v", service.Spec.Ports, monitor.Spec.Endpoints)
	}

	replicas, _, err := unstructured.NestedInt64(all["Deployment/"+name].Object, "spec", "replicas")
	if err != nil || replicas != 2 {
		t.Errorf("%d replicas, %v", replicas, err)
	}
	if _, ok := all["PodDisruptionBudget/"+name]; !ok {
		t.Error("there is no PodDisruptionBudget")
	}

	var np networkingv1.NetworkPolicy
	convert(t, all["NetworkPolicy/"+name], &np)
	prometheus := []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "monitoring"}}}}
	if len(np.Spec.Ingress) != 1 || len(np.Spec.Ingress[0].Ports) != 1 || !cmp.Equal(np.Spec.Ingress[0].From, prometheus) {
		t.Errorf("who is let in: %v", np.Spec.Ingress)
	}
	var out []string
	for _, e := range np.Spec.Egress {
		for _, to := range e.To {
			switch {
			case to.IPBlock != nil:
				out = append(out, to.IPBlock.CIDR)
			case to.PodSelector != nil:
				out = append(out, to.PodSelector.MatchLabels["k8s-app"])
			}
		}
	}
	if d := cmp.Diff([]string{"kube-dns", "172.16.0.2/32"}, out); d != "" {
		t.Errorf("where it may connect to (-want +got):\n%s", d)
	}
}

// documents are the objects of a YAML file.
func documents(tb testing.TB, raw []byte) (out []unstructured.Unstructured) {
	tb.Helper()
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		var u unstructured.Unstructured
		switch err := d.Decode(&u.Object); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			tb.Fatal(err)
		case u.Object != nil:
			out = append(out, u)
		}
	}
}
