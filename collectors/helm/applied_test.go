package helm_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/evidence"
)

// TestBeyondCreate holds what validation of one object does not say: what server-side
// apply refuses is a warning, and what the API server cannot give twice a failure.
func TestBeyondCreate(t *testing.T) {
	t.Parallel()
	pod := func(spec string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: " + spec + "\n"
	}
	container := func(fields string) string { return pod("{containers: [{name: c, image: i, " + fields + "}]}") }
	service := func(name, spec string) string {
		return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
	}
	const hook = ", annotations: {helm.sh/hook: pre-install, helm.sh/hook-delete-policy: hook-succeeded}"
	const refuses = "warn Pod x: the API server creates it, but server-side apply, by which Helm 4 installs, refuses it: "
	const nodePort = "{type: NodePort, ports: [{port: 80, nodePort: 30080}]}"
	for title, tt := range map[string]struct{ manifests, want string }{
		"a variable twice":                {container("env: [{name: A, value: a}, {name: A, value: b}]"), refuses},
		"a variable of an init container": {pod("{initContainers: [{name: i, image: i, env: [{name: A}, {name: A}]}], containers: [{name: c, image: i}]}"), refuses},
		"variables":                       {container("env: [{name: A, value: a}, {name: B, value: a}]"), ""},
		"a port twice":                    {container("ports: [{name: a, containerPort: 80}, {name: b, containerPort: 80, protocol: TCP}]"), refuses},
		"a port of two protocols":         {container("ports: [{name: a, containerPort: 53}, {name: b, containerPort: 53, protocol: UDP}]"), ""},
		"a secret for pulling twice":      {pod("{imagePullSecrets: [{name: a}, {name: a}], containers: [{name: c, image: i}]}"), refuses},
		"a finalizer twice":               {strings.Replace(container(""), "name: x", "name: x, finalizers: [a/b, a/b]", 1), refuses},
		"an argument twice":               {container("args: [a, a]"), ""},
		"a volume at two paths":           {pod("{volumes: [{name: v, emptyDir: {}}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /b}]}]}"), ""},
		"a volume twice at a path":        {pod("{volumes: [{name: v, emptyDir: {}}], containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /a}]}]}"), `fail Pod x: spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique`},
		"sources of variables of a name":  {container("envFrom: [{configMapRef: {name: a}}, {configMapRef: {name: a}}]"), ""},
		"subjects of a name": {"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: x}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: a}\nsubjects: [{kind: ServiceAccount, name: a, namespace: a}, {kind: ServiceAccount, name: a, namespace: b}]\n",
			""},
		"a secret of an account twice": {"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: x}\nsecrets: [{name: a}, {name: a}]\n", "warn ServiceAccount x: the API server creates it, but"},
		"no name yet":                  {"apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x-}\n", "warn ConfigMap: the API server creates it, but server-side apply, by which Helm 4 installs, refuses it: metadata.name: name is required"},
		"a name, and another to begin": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, generateName: x-}\n", ""},
		"a definition of a kind":       {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n  names: {kind: Foo, plural: foos, singular: foo, listKind: FooList}\n  versions:\n    - {name: v1, served: true, storage: true, additionalPrinterColumns: [{name: A, type: string, jsonPath: .a}, {name: A, type: string, jsonPath: .b}], schema: {openAPIV3Schema: {type: object}}}\n", ""},
		"what is refused anyway":       {pod("{containers: [{name: c, image: i}, {name: c, image: i}]}"), "fail Pod x: spec.containers[1].name: Duplicate value"},

		"a node port that is low":       {service("a", "{type: NodePort, ports: [{port: 80, nodePort: 80}]}"), "fail Service a: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"},
		"a node port that is high":      {service("a", "{type: LoadBalancer, ports: [{port: 80, nodePort: 32768}]}"), "fail Service a: spec.ports[0].nodePort: Invalid value: 32768"},
		"the last node port":            {service("a", "{type: NodePort, ports: [{port: 80, nodePort: 32767}]}"), ""},
		"the first node port":           {service("a", "{type: NodePort, ports: [{port: 80, nodePort: 30000}]}"), ""},
		"no node port":                  {service("a", "{type: NodePort, ports: [{port: 80, nodePort: 0}]}"), ""},
		"a port of health checks":       {service("a", "{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 80, ports: [{port: 80}]}"), "fail Service a: spec.healthCheckNodePort: Invalid value: 80"},
		"a node port of two":            {service("a", nodePort) + "---\n" + service("b", nodePort), "fail Service b: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated, by Service a"},
		"of two, by another protocol":   {service("a", nodePort) + "---\n" + service("b", "{type: NodePort, ports: [{port: 80, nodePort: 30080, protocol: UDP}]}"), "fail Service b: spec.ports[0].nodePort: Invalid value: 30080"},
		"of one, by two protocols":      {service("a", "{type: NodePort, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 80, nodePort: 30080, protocol: UDP}]}"), ""},
		"a node port of a hook":         {service("a"+hook, nodePort) + "---\n" + service("b", nodePort), ""},
		"an address of two":             {service("a", "{clusterIP: 10.96.0.9, ports: [{port: 80}]}") + "---\n" + service("b", "{clusterIP: 10.96.0.9, ports: [{port: 80}]}"), `fail Service b: spec.clusterIP: Invalid value: "10.96.0.9": provided IP is already allocated, by Service a`},
		"headless":                      {service("a", "{clusterIP: None, ports: [{port: 80}]}") + "---\n" + service("b", "{clusterIP: None, ports: [{port: 80}]}"), ""},
		"ephemeral containers of a pod": {pod("{containers: [{name: c, image: i}], ephemeralContainers: [{name: e, image: i}]}"), "fail Pod x: spec.ephemeralContainers: Forbidden"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			art, err := collect(t, writeChart(t, "-- templates/x.yaml --\n"+tt.manifests), chart.LoadOptions{}, helm.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range findings(t, art) {
				if f.Rule == helm.RuleSchema && f.Outcome != evidence.OutcomePass {
					got += fmt.Sprintf("%s %s: %s\n", f.Outcome, f.Target.Object(), f.Message)
				}
			}
			if !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestMayRepeat holds which lists are worth making the converter for: those that it
// would refuse, and few others.
func TestMayRepeat(t *testing.T) {
	t.Parallel()
	list := func(items ...any) []any { return items }
	item := func(fields ...string) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(fields); i += 2 {
			m[fields[i]] = fields[i+1]
		}
		return m
	}
	for title, tt := range map[string]struct {
		name  string
		items []any
		want  bool
	}{
		"a volume at two paths":    {"volumeMounts", list(item("name", "v", "mountPath", "/a"), item("name", "v", "mountPath", "/b")), false},
		"a volume twice at a path": {"volumeMounts", list(item("name", "v", "mountPath", "/a"), item("name", "v", "mountPath", "/a")), true},
		"a device at two paths":    {"volumeDevices", list(item("name", "v", "devicePath", "/a"), item("name", "v", "devicePath", "/b")), false},
		"a device twice at a path": {"volumeDevices", list(item("name", "v", "devicePath", "/a"), item("name", "v", "devicePath", "/a")), true},
		"a variable twice":         {"env", list(item("name", "A"), item("name", "A")), true},
		"two variables":            {"env", list(item("name", "A"), item("name", "B")), false},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if got := helm.MayRepeat(map[string]any{"spec": map[string]any{tt.name: tt.items}}, ""); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
