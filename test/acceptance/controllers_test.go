package acceptance

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/test/kube"
)

// controller is a real controller, built from its Go module (tools/<name>) and
// installed with the manifests that the module publishes.
type controller struct {
	name     string   // of the module under tools, and of the binary
	module   string   // that has the manifests
	files    []string // in the module, globs
	more     string   // manifests that the module leaves to its Helm chart
	args     []string // of the Deployment's container, where the module's do not fit; nil: as they are
	deploy   string   // namespace/name of its Deployment
	replicas int64    // 0: as the module has it
}

var controllers = []controller{
	{
		name: "metrics-server", module: "sigs.k8s.io/metrics-server", deploy: "kube-system/metrics-server",
		files: []string{"manifests/base/rbac.yaml", "manifests/base/service.yaml", "manifests/base/deployment.yaml", "manifests/base/apiservice.yaml"},
		// The kubelets' certificates are of an authority that metrics-server does not know.
		args: []string{"--cert-dir=/tmp", "--secure-port=10250", "--kubelet-preferred-address-types=InternalIP", "--kubelet-use-node-status-port", "--kubelet-insecure-tls", "--metric-resolution=10s", "--kubelet-request-timeout=5s"},
	},
	{
		name: "vpa-recommender", module: "k8s.io/autoscaler/vertical-pod-autoscaler", deploy: "kube-system/vpa-recommender",
		files: []string{"deploy/vpa-v1-crd-gen.yaml", "deploy/vpa-rbac.yaml", "deploy/recommender-deployment.yaml"},
		args:  []string{"--recommender-interval=10s", "--memory-saver=true", "--pod-recommendation-min-cpu-millicores=5", "--pod-recommendation-min-memory-mb=16"},
	},
	{
		name: "external-secrets", module: "github.com/external-secrets/external-secrets", deploy: "external-secrets/external-secrets",
		files: []string{"config/crds/bases/*.yaml"}, more: externalSecrets, args: []string{"--concurrent=1"},
	},
	policyController,
}

// Those that judge images.
var (
	policyController = controller{
		name: "policy-controller", module: "github.com/sigstore/policy-controller", deploy: "cosign-system/webhook",
		files: []string{"config/[1-5]*.yaml", "config/config-*.yaml", "config/webhook.yaml"},
		// Its public root would be fetched from a network that is not there; keys are enough.
		args: []string{"--disable-tuf"},
		// One on each node: while a node is drained, the other answers.
		replicas: 2,
	}
	// Of Kyverno the admission controller alone, without the init container, which
	// removes what an earlier version left.
	kyverno = controller{
		name: "kyverno", module: "github.com/kyverno/kyverno", deploy: "kyverno/kyverno-admission-controller",
		files: []string{"config/install-latest-testing.yaml"},
	}
)

// externalSecrets is what the operator's Helm chart would make.
const externalSecrets = `
apiVersion: v1
kind: Namespace
metadata: {name: external-secrets}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: external-secrets, namespace: external-secrets}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: external-secrets}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: external-secrets, namespace: external-secrets}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: external-secrets
  namespace: external-secrets
  labels: {app.kubernetes.io/name: external-secrets}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: external-secrets}}
  template:
    metadata: {labels: {app.kubernetes.io/name: external-secrets}}
    spec:
      serviceAccountName: external-secrets
      containers:
        - name: external-secrets
          image: external-secrets
          ports: [{containerPort: 8080, name: metrics}]
          readinessProbe: {httpGet: {path: /metrics, port: metrics}}
          resources: {requests: {cpu: 20m, memory: 64Mi}, limits: {cpu: "1", memory: 512Mi}}
`

// install builds the controller's image from its binary, and applies its manifests.
func (k controller) install(t *testing.T, c *kube.Cluster) {
	t.Helper()
	ref := "cluster.test/" + k.name + ":1"
	if err := c.LoadImage(t.Context(), kube.Image{Ref: ref, Binary: filepath.Join("..", "..", "bin", "controllers", k.name)}); err != nil {
		t.Fatal(err)
	}
	_, deploy, _ := strings.Cut(k.deploy, "/")
	var crds, rest []*unstructured.Unstructured
	for _, o := range k.manifests(t) {
		switch o.GetKind() {
		case "CustomResourceDefinition":
			crds = append(crds, o)
			continue
		case "Deployment":
			if o.GetName() != deploy {
				continue
			}
			k.own(t, o, ref)
		}
		if k.name == "metrics-server" { // as its kustomization labels it
			label(o, "k8s-app", "metrics-server")
		}
		rest = append(rest, o)
	}
	// Definitions are too large for the annotation of a client-side apply.
	apply(t, c, crds, "--server-side")
	if len(crds) > 0 {
		c.Kubectl(t, "wait", "--for=condition=established", "--timeout=180s", "crd", "--all")
	}
	apply(t, c, rest)
}

// own makes the Deployment run the image that was built here.
func (k controller) own(t *testing.T, o *unstructured.Unstructured, ref string) {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil || len(containers) != 1 {
		t.Fatalf("%s: %d containers, %v", k.name, len(containers), err)
	}
	main, ok := containers[0].(map[string]any)
	if !ok {
		t.Fatalf("%s: no container", k.name)
	}
	main["image"], main["imagePullPolicy"] = ref, "Never"
	unstructured.RemoveNestedField(o.Object, "spec", "template", "spec", "initContainers")
	if k.args != nil {
		var args []any
		for _, a := range k.args {
			args = append(args, a)
		}
		main["args"] = args
	}
	if k.replicas > 0 {
		if err := unstructured.SetNestedField(o.Object, k.replicas, "spec", "replicas"); err != nil {
			t.Fatal(err)
		}
	}
	if err := unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		t.Fatal(err)
	}
}

// label is what kustomize's commonLabels do to what is here.
func label(o *unstructured.Unstructured, key, value string) {
	set := func(path ...string) {
		_ = unstructured.SetNestedField(o.Object, value, append(path, key)...)
	}
	set("metadata", "labels")
	switch o.GetKind() {
	case "Service":
		set("spec", "selector")
	case "Deployment":
		set("spec", "selector", "matchLabels")
		set("spec", "template", "metadata", "labels")
	}
}

// manifests are the module's, as it was resolved in tools.
func (k controller) manifests(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", k.module)
	cmd.Dir = filepath.Join("..", "..", "tools", k.name)
	dir, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", k.module, err)
	}
	var out []*unstructured.Unstructured
	for _, pattern := range k.files {
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no %s (%v)", k.module, pattern, err)
		}
		for _, f := range files {
			if filepath.Base(f) == "kustomization.yaml" {
				continue
			}
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, objects(t, raw)...)
		}
	}
	return append(objects(t, []byte(k.more)), out...)
}

func objects(t *testing.T, raw []byte) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 1<<20); ; {
		o := new(unstructured.Unstructured)
		if err := d.Decode(&o.Object); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if o.GetKind() != "" {
			out = append(out, o)
		}
	}
}

func apply(t *testing.T, c *kube.Cluster, list []*unstructured.Unstructured, flags ...string) {
	t.Helper()
	var b bytes.Buffer
	for _, o := range list {
		raw, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(raw)
	}
	if b.Len() == 0 {
		return
	}
	if out, err := c.TryKubectl(t.Context(), b.String(), append([]string{"apply", "-f", "-"}, flags...)...); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}
