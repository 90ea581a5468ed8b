package e2e

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/collectors/kubebench/benchtest"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

// TestKubeBenchRights runs it as the ServiceAccount of templates/rbac, and as
// one that has no rights.
func TestKubeBenchRights(t *testing.T) {
	c := needCluster(t, kube.TierB)
	fakeNodes(t, c.kube, "rights", 2)
	apply(t, c, rbac.KubeBench)
	proxy := newProxy(t, c.config)
	proxy.log = func(string, int) []byte { return benchtest.Log(benchtest.Output("cis-1.12", "PASS", 3, "node"), 0, "") }
	o := kubebench.Options{Image: anyImage(t, c), Benchmark: "cis-1.12", Parallel: 20, NodeTimeout: time.Minute}

	mine := proxy.as(token(t, c, "helmproof", "helmproof-kube-bench"))
	r, err := runBench(t.Context(), t, mine, o)
	if err != nil || len(r.warnings) > 0 {
		t.Fatalf("%v, %v", err, r.warnings)
	}
	for _, n := range r.overview.Nodes {
		if strings.HasPrefix(n.Node, "rights") && n.Outcome != kubebench.OutcomeResult {
			t.Errorf("%s: %s %s", n.Node, n.Outcome, n.Reason)
		}
	}
	nothingLeft(t, c.kube)

	if _, err := c.kube.CoreV1().ServiceAccounts("helmproof").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := runBench(t.Context(), t, proxy.as(token(t, c, "helmproof", "nobody")), o); !apierrors.IsForbidden(err) {
		t.Errorf("without rights: %v", err)
	}
	// Each right is needed: without it nothing about the nodes passes.
	t.Run("without", func(t *testing.T) {
		for _, lost := range []struct{ verb, resource string }{
			{"list", "nodes"}, {"create", "namespaces"}, {"create", "jobs"}, {"get", "jobs"}, {"list", "pods"}, {"get", "pods/log"},
		} {
			t.Run(lost.verb+" "+lost.resource, func(t *testing.T) {
				t.Parallel()
				p := newProxy(t, c.config)
				if lost.resource != "pods/log" {
					p.log = proxy.log
				}
				r, err := runBench(t.Context(), t, p.as(token(t, c, "helmproof", lesser(t, c, lost.verb, lost.resource))), o)
				if err != nil {
					if !strings.Contains(err.Error(), "forbidden") {
						t.Errorf("error %v", err)
					}
					return
				}
				for _, f := range r.findings {
					if f.Outcome == evidence.OutcomePass {
						t.Errorf("%s %s passes: %s", f.Rule, f.Target.Name, f.Message)
					}
				}
			})
		}
	})
	nothingLeft(t, c.kube)
}

// lesser makes a ServiceAccount with all rights of the run but one.
func lesser(t *testing.T, c *testCluster, verb, resource string) string {
	t.Helper()
	role, err := c.kube.RbacV1().ClusterRoles().Get(t.Context(), "helmproof-kube-bench", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := "without-" + verb + "-" + strings.ReplaceAll(resource, "/", "-")
	lost := false
	role.ObjectMeta = metav1.ObjectMeta{Name: name}
	for i := range role.Rules {
		if r := &role.Rules[i]; slices.Contains(r.Resources, resource) {
			lost = lost || slices.Contains(r.Verbs, verb)
			r.Verbs = slices.DeleteFunc(r.Verbs, func(v string) bool { return v == verb })
		}
	}
	if !lost {
		t.Fatalf("the role has no right to %s %s", verb, resource)
	}
	role.Rules = slices.DeleteFunc(role.Rules, func(r rbacv1.PolicyRule) bool { return len(r.Verbs) == 0 })
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "helmproof"}},
	}
	rbacAPI := c.kube.RbacV1()
	_, err1 := c.kube.CoreV1().ServiceAccounts("helmproof").Create(t.Context(), account, metav1.CreateOptions{})
	_, err2 := rbacAPI.ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	_, err3 := rbacAPI.ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(rbacAPI.ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{}), rbacAPI.ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{})); err != nil {
			t.Error(err)
		}
	})
	return name
}

// apply creates the objects of a manifest and removes them at the end, but for the
// namespace, which other tests of the cluster share.
func apply(t *testing.T, c *testCluster, manifest []byte) {
	t.Helper()
	dyn, err := dynamic.NewForConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	resources := map[string]schema.GroupVersionResource{
		"Namespace": corev1.SchemeGroupVersion.WithResource("namespaces"), "ServiceAccount": corev1.SchemeGroupVersion.WithResource("serviceaccounts"),
		"ClusterRole":        {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
		"ClusterRoleBinding": {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
	}
	dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	n := 0
	for {
		u := &unstructured.Unstructured{}
		if err := dec.Decode(&u.Object); err != nil {
			break
		}
		if u.Object == nil {
			continue
		}
		gvr, ok := resources[u.GetKind()]
		if !ok {
			t.Fatalf("no resource for kind %s", u.GetKind())
		}
		var api dynamic.ResourceInterface = dyn.Resource(gvr)
		if u.GetNamespace() != "" {
			api = dyn.Resource(gvr).Namespace(u.GetNamespace())
		}
		_, err := api.Create(t.Context(), u, metav1.CreateOptions{})
		if n++; u.GetKind() == "Namespace" && (err == nil || apierrors.IsAlreadyExists(err)) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := api.Delete(context.WithoutCancel(t.Context()), u.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		})
	}
	if n == 0 {
		t.Fatal("nothing in the manifest")
	}
}

func token(t *testing.T, c *testCluster, namespace, account string) string {
	t.Helper()
	r, err := c.kube.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}
