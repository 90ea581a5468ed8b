package policy

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/companyos/helmproof/internal/manifest"
)

// TestBuiltinKindsWin: a CRD of the release gives a resource and a scope to custom
// kinds alone. What Kubernetes or a built-in policy knows stays as it is.
func TestBuiltinKindsWin(t *testing.T) {
	t.Parallel()
	for _, gvk := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "Pod"},
		{Version: "v1", Kind: "ReplicationController"},
		{Group: "apps", Version: "v1", Kind: "Deployment"},
		{Group: "apps", Version: "v1", Kind: "StatefulSet"},
		{Group: "apps", Version: "v9", Kind: "DaemonSet"},
		{Group: "extensions", Version: "v1beta1", Kind: "Deployment"},
		{Group: "batch", Version: "v1", Kind: "CronJob"},
		{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"},
		{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
		{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"},
		{Group: "autoscaling.k8s.io", Version: "v1", Kind: "VerticalPodAutoscaler"},
		{Group: "external-secrets.io", Version: "v1", Kind: "ExternalSecret"},
		{Group: "external-secrets.io", Version: "v1", Kind: "ClusterExternalSecret"},
	} {
		t.Run(gvk.String(), func(t *testing.T) {
			t.Parallel()
			plain := newWorld("ns", nil)
			for _, scope := range []string{"Namespaced", "Cluster"} {
				w := newWorld("ns", crdFor(t, gvk.GroupKind(), scope))
				wantGVR, wantCluster := plain.resource(gvk, true)
				if gvr, cluster := w.resource(gvk, true); gvr != wantGVR || cluster != wantCluster {
					t.Errorf("with a CRD of scope %s: %v, cluster %v; want %v, %v", scope, gvr, cluster, wantGVR, wantCluster)
				}
			}
		})
	}
	custom := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Engine"}
	gvr, cluster := newWorld("ns", crdFor(t, custom.GroupKind(), "Cluster")).resource(custom, false)
	if gvr.Resource != "foos" || !cluster {
		t.Errorf("a custom kind: %v, cluster %v; want what its CRD says", gvr, cluster)
	}
}

func crdFor(t *testing.T, gk schema.GroupKind, scope string) []manifest.Object {
	t.Helper()
	set, err := manifest.Parse(fmt.Appendf(nil, "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos}\n"+
		"spec: {group: %q, names: {kind: %s, plural: foos}, scope: %s}\n", gk.Group, gk.Kind, scope))
	if err != nil {
		t.Fatal(err)
	}
	return set.Objects
}

// TestPolicyKinds holds policyKinds to what the built-in policies match.
func TestPolicyKinds(t *testing.T) {
	t.Parallel()
	raw, err := Bundle("")
	if err != nil {
		t.Fatal(err)
	}
	set, err := load(raw)
	if err != nil {
		t.Fatal(err)
	}
	known := map[schema.GroupResource]bool{}
	for gvk := range scheme.Scheme.AllKnownTypes() {
		known[schema.GroupResource{Group: gvk.Group, Resource: plural(gvk)}] = true
	}
	for gk := range policyKinds {
		known[schema.GroupResource{Group: gk.Group, Resource: plural(gk.WithVersion("v1"))}] = true
	}
	for _, p := range set.policies {
		for r := range p.versions {
			if r.Resource, _, _ = strings.Cut(r.Resource, "/"); !known[r] {
				t.Errorf("policy %s is about %s, which a chart's CRD can redefine", p.rule, r)
			}
		}
	}
}
