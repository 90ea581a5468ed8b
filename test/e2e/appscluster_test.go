package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/cli"
	helmkube "helm.sh/helm/v4/pkg/kube"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/test/kube"
)

// appImage makes the image of all applications, and returns its values.
func appImage(t *testing.T, c *testCluster, box string) map[string]any {
	t.Helper()
	server, err := os.ReadFile(c.TestPod())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"testpod": server}
	for name, script := range appPrograms {
		files[name] = []byte("#!/bin/sh\n" + script + "\n")
	}
	digest, err := c.PinImage(t.Context(), kube.Image{
		Ref: "cluster.test/apps:1", Binary: box, Files: files,
		Applets: []string{"sh", "cat", "env", "test", "wget"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"repository": "cluster.test/apps", "tag": "1", "digest": digest, "pullPolicy": "IfNotPresent"}
}

// appVolumes makes a volume on each real node for the members of the database,
// since the cluster has no class of storage that would.
func appVolumes(t *testing.T, c *testCluster) {
	t.Helper()
	for i, node := range realNodes(t, c) {
		dir := filepath.Join(c.Dir, "apps-"+node)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("apps-database-%d", i)
		c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec:
  capacity: {storage: 100Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: app-database, name: data-cockroach-%d}
  local: {path: %s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}
`, name, i, dir, node))
		t.Cleanup(func() {
			if _, err := c.TryKubectl(context.Background(), "", "delete", "pv", name, "--wait=false"); err != nil {
				t.Error(err)
			}
		})
	}
}

// warnings are what the API server says about what it nevertheless does.
type warnings struct {
	mu   sync.Mutex
	said []string
}

// HandleWarningHeader takes a warning of an answer.
func (w *warnings) HandleWarningHeader(code int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, fmt.Sprintf("%d %s", code, text))
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.said)
}

// listeningHelm is Helm for a namespace, and what the API server warns it of.
func listeningHelm(t *testing.T, c *testCluster, ns string) (*action.Configuration, *warnings) {
	t.Helper()
	settings := cli.New()
	settings.KubeConfig = c.Kubeconfig
	settings.SetNamespace(ns)
	getter, ok := settings.RESTClientGetter().(*genericclioptions.ConfigFlags)
	if !ok {
		t.Fatalf("Helm's settings are %T", settings.RESTClientGetter())
	}
	w := &warnings{}
	wrap := getter.WrapConfigFn
	getter.WrapConfigFn = func(cfg *rest.Config) *rest.Config {
		cfg = wrap(cfg)
		cfg.WarningHandler = w
		return cfg
	}
	cfg := action.NewConfiguration(action.ConfigurationSetLogger(slog.NewTextHandler(io.Discard, nil)))
	if err := cfg.Init(getter, ns, "secrets"); err != nil {
		t.Fatal(err)
	}
	return cfg, w
}

// hearsWarnings holds that a warning is heard if there is one.
func hearsWarnings(t *testing.T, c *testCluster) {
	t.Helper()
	const ns = "apps-warned"
	labelled(t, c.Cluster, ns, "warn=restricted")
	cfg, w := listeningHelm(t, c, ns)
	in := action.NewInstall(cfg)
	in.ReleaseName, in.Namespace, in.WaitStrategy, in.DryRunStrategy = "weak", ns, helmkube.HookOnlyStrategy, action.DryRunNone
	if _, err := in.Run(rollbackChart(), nil); err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(w.all(), "\n"); !strings.Contains(said, `would violate PodSecurity "restricted:latest"`) {
		t.Fatalf("a weak chart is installed, and the warnings heard are %q", said)
	}
}

// secretStore stands in for the External Secrets Operator: it makes the Secret of
// each ExternalSecret, which goes with it, and says that it did.
func (r *appRun) secretStore(ctx context.Context, t *testing.T) {
	of := r.objects.Resource(schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: "externalsecrets"}).Namespace(r.ns)
	var last error
	_ = wait.PollUntilContextCancel(ctx, 500*time.Millisecond, true, func(ctx context.Context) (bool, error) { // until the test ends
		list, err := of.List(ctx, metav1.ListOptions{})
		if err == nil {
			for i := range list.Items {
				err = errors.Join(err, r.makeSecret(ctx, of, &list.Items[i]))
			}
		}
		if ctx.Err() == nil {
			last = err
		}
		return false, nil
	})
	if last != nil {
		t.Errorf("make Secrets: %v", last)
	}
}

func (r *appRun) makeSecret(ctx context.Context, of dynamic.ResourceInterface, es *unstructured.Unstructured) error {
	name, _, _ := unstructured.NestedString(es.Object, "spec", "target", "name")
	data, _, _ := unstructured.NestedSlice(es.Object, "spec", "data")
	made, _, _ := unstructured.NestedMap(es.Object, "spec", "target", "template", "data")
	content := map[string]any{}
	for key := range made {
		content[key] = "made"
	}
	for _, d := range data {
		content[d.(map[string]any)["secretKey"].(string)] = "stored"
	}
	secret := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "stringData": content,
		"metadata": map[string]any{"name": name, "ownerReferences": []any{map[string]any{
			"apiVersion": es.GetAPIVersion(), "kind": es.GetKind(), "name": es.GetName(), "uid": string(es.GetUID()),
		}}},
	}}
	if _, err := r.objects.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(r.ns).Apply(ctx, name, secret, metav1.ApplyOptions{FieldManager: "store", Force: true}); err != nil {
		return err
	}
	if conditions, _, _ := unstructured.NestedSlice(es.Object, "status", "conditions"); len(conditions) > 0 {
		return nil
	}
	ready := map[string]any{"type": "Ready", "status": "True", "reason": "SecretSynced", "lastTransitionTime": metav1.Now().UTC().Format(time.RFC3339)}
	if err := unstructured.SetNestedSlice(es.Object, []any{ready}, "status", "conditions"); err != nil {
		return err
	}
	_, err := of.UpdateStatus(ctx, es, metav1.UpdateOptions{})
	return err
}
