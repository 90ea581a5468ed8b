package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/test/kube"
)

const runningNS = "running"

// oldWorkloads break nearly every policy, and are there before the policies are.
// IMAGE is a program that waits, SHELL one that ends when it is told to.
const oldWorkloads = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec: {replicas: 2, selector: {matchLabels: {app: shop}}, template: {metadata: {labels: {app: shop}}, spec: POD}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: legacy}
spec: {replicas: 2, selector: {matchLabels: {app: legacy}}, template: {metadata: {labels: {app: legacy, moves: "yes"}}, spec: POD}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec: {selector: {matchLabels: {app: agent}}, template: {metadata: {labels: {app: agent}}, spec: POD}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec: {replicas: 1, serviceName: store, selector: {matchLabels: {app: store}}, template: {metadata: {labels: {app: store, moves: "yes"}}, spec: POD}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: runs}
spec: {template: {metadata: {labels: {app: runs}}, spec: {restartPolicy: Never, terminationGracePeriodSeconds: 1, containers: [{name: c, image: SHELL, imagePullPolicy: Never, command: [sh, -c, "until test -e /tmp/go; do sleep 0.1; done"]}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: waits}
spec: {suspend: true, template: {metadata: {labels: {app: waits}}, spec: {restartPolicy: Never, containers: [{name: c, image: SHELL, imagePullPolicy: Never, command: ["true"]}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: minutely}
spec: {schedule: "* * * * *", suspend: true, jobTemplate: {spec: {template: {metadata: {labels: {app: minutely}}, spec: {restartPolicy: Never, containers: [{name: c, image: SHELL, imagePullPolicy: Never, command: ["true"]}]}}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: held, labels: {app: held}, finalizers: [example.com/held]}
spec: POD
---
apiVersion: v1
kind: Pod
metadata: {name: sized, labels: {app: sized}}
spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: IMAGE, imagePullPolicy: Never, resources: {requests: {cpu: 2m, memory: 16Mi}, limits: {cpu: 100m}}}]}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: legacy, finalizers: [example.com/held]}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}, minReplicas: 1, maxReplicas: 1, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]}
`

// compliantShop is shop as the policies want it; VERSION tells its revisions apart.
const compliantShop = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}, annotations: {inject: "INJECT"}}
    spec: COMPLIANT
`

const compliantPod = `{automountServiceAccountToken: false, terminationGracePeriodSeconds: 1,
  securityContext: {runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}},
  topologySpreadConstraints: [
    {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: shop}}},
    {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: shop}}}],
  containers: [{name: c, image: DIGEST, imagePullPolicy: IfNotPresent, args: [serve, ":8080"], env: [{name: VERSION, value: "VERSION_"}],
    resources: {requests: {cpu: 1m, memory: 8Mi}, limits: {cpu: 500m, memory: 64Mi}},
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}},
    startupProbe: {httpGet: {port: 8080}, periodSeconds: 1, failureThreshold: 60}, readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1},
    livenessProbe: {httpGet: {port: 8080}, periodSeconds: 10, failureThreshold: 6}}]}`

// injector puts a container that nobody hardened into pods, as a service mesh does.
const injector = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: running-injector}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}
  matchConditions: [{name: asked, expression: "object.metadata.?annotations[?'inject'].orValue('') == 'yes'"}]
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
    - patchType: JSONPatch
      jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/spec/containers/-', value: Object.spec.containers{name: 'istio-proxy', image: 'cluster.test/running:1', imagePullPolicy: 'Never'}}]"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: running-injector}
spec: {policyName: running-injector, matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: running}}}}
`

// running is the namespace in which old things run.
type running struct {
	t      *testing.T
	c      *kube.Cluster
	digest string // reference of the waiting program
}

func (r *running) kubectl(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	return r.c.TryKubectl(ctx, stdin, append([]string{"-n", runningNS}, args...)...)
}

// until waits until a field of an object is as wanted; the error says how it stayed.
func (r *running) until(want, object, path string) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		out, err := r.c.TryKubectl(ctx, "", "-n", runningNS, "get", object, "--ignore-not-found", "-o", "jsonpath="+path)
		if err == nil && strings.TrimSpace(out) == want {
			return nil
		}
		select {
		case <-ctx.Done():
			events, _ := r.kubectl("", "get", "events", "--field-selector=type=Warning", "-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
			denied := ""
			for line := range strings.Lines(events) {
				if strings.Contains(line, "denied request") {
					denied = ": " + line
				}
			}
			return fmt.Errorf("%s: %s is %q, not %q%s", object, path, out, want, denied)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (r *running) do(args ...string) error {
	_, err := r.kubectl("", args...)
	return err
}

func (r *running) apply(text string) error {
	_, err := r.kubectl(text, "apply", "-f", "-")
	return err
}

func (r *running) shop(version string) string {
	return strings.NewReplacer("COMPLIANT", compliantPod, "DIGEST", r.digest, "VERSION_", version, "INJECT", "no").Replace(
		strings.Replace(compliantShop, "COMPLIANT", strings.ReplaceAll(compliantPod, "VERSION_", version), 1))
}

// rolledOut waits until all pods of a Deployment are of its newest template.
func (r *running) rolledOut(name string) error {
	_, err := r.kubectl("", "rollout", "status", "deployment/"+name, "--timeout=2m")
	return err
}

func (r *running) podOf(app string) (string, error) {
	out, err := r.kubectl("", "get", "pods", "-l", "app="+app, "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].metadata.name}")
	return out, err
}

// debug adds an ephemeral container to a pod, again where the kubelet was quicker.
func (r *running) debug(app, container string) error {
	pod, err := r.podOf(app)
	if err != nil {
		return err
	}
	for {
		raw, err := r.kubectl("", "get", "pod", pod, "-o", "json")
		if err != nil {
			return err
		}
		var o map[string]any
		var added any
		if err := errors.Join(json.Unmarshal([]byte(raw), &o), json.Unmarshal([]byte(container), &added)); err != nil {
			return err
		}
		spec := o["spec"].(map[string]any)
		list, _ := spec["ephemeralContainers"].([]any)
		spec["ephemeralContainers"] = append(list, added)
		changed, err := json.Marshal(o)
		if err != nil {
			return err
		}
		_, err = r.kubectl(string(changed), "replace", "--raw", "/api/v1/namespaces/"+runningNS+"/pods/"+pod+"/ephemeralcontainers", "-f", "-")
		if err == nil || !strings.Contains(err.Error(), "the object has been modified") {
			return err
		}
	}
}

// resize changes the resources of a running pod's container.
func (r *running) resize(pod, resources string) error {
	return r.do("patch", "pod", pod, "--subresource=resize", "-p", `{"spec":{"containers":[{"name":"c","resources":`+resources+`}]}}`)
}

// platformPolicies renders the policies of charts/platform for the namespace, with further values.
func platformPolicies(t *testing.T, values string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	text := "namespaces: [{name: running-platform}]\npolicies:\n  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: " + runningNS + ", helmproof.companyos.github.io/policies: null}}\n" + values
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rel, err := chart.Load(t.Context(), "../../charts/platform", chart.LoadOptions{ValueFiles: []string{file}, Namespace: "running-platform"})
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	var out []string
	for doc := range strings.SplitSeq(string(rel.Manifests), "\n---\n") {
		if strings.Contains(doc, "kind: ValidatingAdmissionPolicy") {
			out = append(out, doc)
		}
	}
	return strings.Join(out, "\n---\n")
}

// refusedBy turns a refusal by a policy, whichever comes first with "", into
// success, and all else into an error.
func refusedBy(err error, policy string) error {
	if err == nil {
		return errors.New("it was let through")
	}
	if !strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'helmproof-"+policy) {
		return fmt.Errorf("refused otherwise: %w", err)
	}
	return nil
}

// TestPoliciesLetRunningThingsRun holds that nothing that ran before the policies is
// frozen or broken by them: what is old can be scaled, corrected, rolled back, moved,
// finished and deleted, while what a change makes worse is refused.
func TestPoliciesLetRunningThingsRun(t *testing.T) {
	c := kube.Start(t, kube.TierC) // not parallel: the policies have the names of another test's
	box := c.Busybox()
	if box == "" {
		t.Skip("no static busybox")
	}
	digest, err := c.PinImage(t.Context(), kube.Image{Ref: "cluster.test/running:1", Binary: c.TestPod()})
	if err == nil {
		err = c.LoadImage(t.Context(), kube.Image{Ref: "cluster.test/running-shell:1", Binary: box, Applets: []string{"sh", "test", "sleep", "true", "touch"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, c: c, digest: "cluster.test/running@" + digest}
	c.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+runningNS+"}\n")
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), "", "delete", "namespace", runningNS, "--wait=false", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	})
	kube.Eventually(t, 30*time.Second, "the service account", func() bool {
		_, err := c.TryKubectl(t.Context(), "", "get", "serviceaccount", "default", "-n", runningNS)
		return err == nil
	})
	old := strings.NewReplacer("POD", "{terminationGracePeriodSeconds: 1, containers: [{name: c, image: 'cluster.test/running:1', imagePullPolicy: Never}]}", "IMAGE", "'cluster.test/running:1'", "SHELL", "'cluster.test/running-shell:1'").Replace(oldWorkloads)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.apply(old))
	for _, x := range []struct{ want, object, path string }{
		{"2", "deployment/shop", "{.status.readyReplicas}"}, {"2", "deployment/legacy", "{.status.readyReplicas}"}, {"2", "daemonset/agent", "{.status.numberReady}"},
		{"1", "statefulset/store", "{.status.readyReplicas}"}, {"1", "job/runs", "{.status.ready}"}, {"Running", "pod/held", "{.status.phase}"}, {"Running", "pod/sized", "{.status.phase}"},
	} {
		must(r.until(x.want, x.object, x.path))
	}

	profile := filepath.Join(t.TempDir(), "running.yaml")
	must(os.WriteFile(profile, []byte("name: running\ntitle: Running\nscope: cluster\nfailOn: low\nmaxAge: 24h\ncontrols: [{id: ADM-7}, {id: ADM-8}]\n"), 0o600))
	const rule, byMost = "admission/would-be-refused", "image-digest, liveness-probe, privilege-escalation, read-only-root, readiness-probe, resource-limits"
	ahead := func(when string) {
		t.Helper()
		found, failed := check(t, c.Kubeconfig, "", "--cluster", "--profile", profile)
		if len(failed) > 0 {
			t.Fatalf("collectors failed: %v", failed)
		}
		for _, about := range []string{"Deployment shop", "Deployment legacy", "DaemonSet agent", "StatefulSet store", "Pod held"} {
			expect(t, found, rule, "warn", about, when, byMost)
		}
		for _, about := range []string{"Job runs", "Job waits", "CronJob minutely"} {
			expect(t, found, rule, "warn", about, when, "image-digest, privilege-escalation, read-only-root, resource-limits")
		}
		expect(t, found, rule, "warn", "HorizontalPodAutoscaler legacy", when, "hpa-bounds")
		expect(t, found, rule, "warn", "Cluster "+clusterUID(t, c), "owners would be refused: ", "image-digest ")
		for _, f := range found {
			if f.Rule == rule && (f.Target.Kind == "ReplicaSet" || f.Outcome == "not-checked" || f.Outcome == "error") {
				t.Errorf("%s %s %s: %s", f.Outcome, f.Target.Kind, f.Target.Name, f.Message)
			}
		}
		expect(t, found, "admission/exemption", "pass", "Cluster "+clusterUID(t, c), "exempt nothing")
	}
	ahead("would be refused if policies denied in its namespace")

	policies := platformPolicies(t, "")
	c.Apply(t, policies)
	t.Cleanup(func() {
		if _, err := c.TryKubectl(context.Background(), policies, "delete", "--ignore-not-found", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	// Each policy counts what it judges: only when all count are all in force.
	bad := "apiVersion: v1\nkind: Pod\nmetadata: {name: bad}\nspec: {containers: [{name: c, image: i}]}\n"
	inForce := func() bool {
		_, err := r.kubectl(bad, "create", "--dry-run=server", "-f", "-")
		out, metricsErr := r.kubectl("", "get", "--raw", "/metrics")
		if err == nil || metricsErr != nil {
			return false
		}
		for _, name := range []string{"image-digest", "liveness-probe", "privilege-escalation", "read-only-root", "readiness-probe", "resource-limits", "resource-requests", "run-as-non-root", "seccomp", "service-account-token", "startup-probe"} {
			if !strings.Contains(out, `policy="helmproof-`+name+`"`) {
				return false
			}
		}
		return true
	}
	kube.Eventually(t, time.Minute, "the policies", inForce)
	ahead("runs on, but would be refused if it were made again")

	const debugger = `{"name": "%s", "image": "%s", "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true, "runAsUser": 65532, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}}`
	steps := []struct {
		name string
		do   func() error
	}{
		{"a new pod like the old ones is refused", func() error {
			_, err := r.kubectl(bad, "create", "-f", "-")
			return refusedBy(err, "")
		}},
		{"Deployment: scaled up by its subresource", func() error {
			return errors.Join(r.do("scale", "deployment/shop", "--replicas=3"), r.until("3", "deployment/shop", "{.status.readyReplicas}"))
		}},
		{"Deployment: scaled down by its field", func() error {
			return errors.Join(r.do("patch", "deployment/shop", "-p", `{"spec":{"replicas":2}}`), r.until("2 2", "deployment/shop", "{.status.replicas} {.status.readyReplicas}"))
		}},
		{"Deployment: restarted", func() error {
			return errors.Join(r.do("rollout", "restart", "deployment/shop"), r.rolledOut("shop"))
		}},
		{"Deployment: a worse image is refused", func() error {
			return refusedBy(r.do("set", "image", "deployment/shop", "c=cluster.test/running:2"), "")
		}},
		{"Pod: labelled", func() error {
			pod, err := r.podOf("legacy")
			return errors.Join(err, r.do("label", "pod", pod, "seen=yes"))
		}},
		{"Pod: a good debugger is added", func() error { return r.debug("legacy", fmt.Sprintf(debugger, "good", r.digest)) }},
		{"Pod: a debugger from anywhere is refused", func() error {
			return refusedBy(r.debug("legacy", fmt.Sprintf(debugger, "bad", "busybox:latest")), "image-digest")
		}},
		{"Pod: an old one resized in place, as autoscalers do", func() error {
			return errors.Join(r.resize("sized", `{"requests":{"cpu":"3m"}}`), r.until("3m", "pod/sized", "{.spec.containers[0].resources.requests.cpu}"))
		}},
		{"Pod: the limit that it has taken away in place is refused", func() error {
			return refusedBy(r.resize("sized", `{"requests":{"cpu":"0"},"limits":{"cpu":"0"}}`), "resource-")
		}},
		{"Deployment: rolled out to a compliant template", func() error {
			return errors.Join(r.apply(r.shop("one")), r.rolledOut("shop"), r.until("2 2", "deployment/shop", "{.status.replicas} {.status.readyReplicas}"))
		}},
		{"Deployment: next compliant revision, and back", func() error {
			if err := errors.Join(r.apply(r.shop("two")), r.rolledOut("shop")); err != nil {
				return err
			}
			return errors.Join(r.do("rollout", "undo", "deployment/shop"), r.rolledOut("shop"), r.until("one", "deployment/shop", "{.spec.template.spec.containers[0].env[0].value}"))
		}},
		{"node drained, its old pods made anew elsewhere", func() error {
			defer r.do("uncordon", "node-a") //nolint:errcheck // whatever became of it
			if err := r.do("drain", "node-a", "--ignore-daemonsets", "--force", "--pod-selector=moves=yes", "--timeout=2m"); err != nil {
				return err
			}
			return errors.Join(r.until("2", "deployment/legacy", "{.status.readyReplicas}"), r.until("1", "statefulset/store", "{.status.readyReplicas}"))
		}},
		{"DaemonSet: a lost pod comes again", func() error {
			pod, err := r.podOf("agent")
			return errors.Join(err, r.do("delete", "pod", pod), r.until("Running Running", "pods", `{.items[?(@.metadata.labels.app=="agent")].status.phase}`))
		}},
		{"DaemonSet: rolled out to a compliant template", func() error {
			text := strings.NewReplacer("kind: Deployment", "kind: DaemonSet", "shop", "agent", "  replicas: 2\n", "").Replace(r.shop("one"))
			return errors.Join(r.apply(text), r.do("rollout", "status", "daemonset/agent", "--timeout=2m"))
		}},
		{"StatefulSet: a lost pod comes again", func() error {
			return errors.Join(r.do("delete", "pod", "store-0"), r.until("Running", "pod/store-0", "{.status.phase}"))
		}},
		{"Job: the running one completes, and lets its pod go", func() error {
			pod, err := r.podOf("runs")
			return errors.Join(err, r.do("exec", pod, "--", "touch", "/tmp/go"), r.until("1", "job/runs", "{.status.succeeded}"), r.until("", "pod/"+pod, "{.metadata.finalizers}"))
		}},
		{"Job: a suspended one is resumed and completes", func() error {
			return errors.Join(r.do("patch", "job/waits", "-p", `{"spec":{"suspend":false}}`), r.until("1", "job/waits", "{.status.succeeded}"))
		}},
		{"Job: deleted in the foreground", func() error {
			return errors.Join(r.do("delete", "job/runs", "--cascade=foreground", "--timeout=2m"), r.until("", "job/runs", "{.metadata.name}"))
		}},
		{"CronJob: resumed, its next Job completes", func() error {
			if err := r.do("patch", "cronjob/minutely", "-p", `{"spec":{"suspend":false}}`); err != nil {
				return err
			}
			return r.scheduled()
		}},
		{"HPA: annotated, and freed of its finalizer", func() error {
			return errors.Join(r.do("annotate", "hpa/legacy", "seen=yes"), r.do("patch", "hpa/legacy", "-p", `{"metadata":{"finalizers":null}}`))
		}},
		{"Pod: deleted and freed of its finalizer", func() error {
			return errors.Join(r.do("delete", "pod/held", "--wait=false"), r.do("patch", "pod/held", "-p", `{"metadata":{"finalizers":null}}`), r.until("", "pod/held", "{.metadata.name}"))
		}},
		{"Deployment: back to what is worse is refused", func() error {
			return refusedBy(r.do("rollout", "undo", "deployment/shop", "--to-revision=1"), "")
		}},
		{"Pod: of an operator is refused", func() error {
			_, err := r.kubectl(strings.Replace(bad, "name: bad", "name: solver", 1), "create", "--as=system:serviceaccount:acme:solver", "--as-group=system:masters", "-f", "-")
			return refusedBy(err, "")
		}},
		{"exemptions installed", func() error {
			c.Apply(t, platformPolicies(t, `
  exemptions:
    - {name: back, reason: the hardened release has to prove itself first, expires: 2099-01-31, namespaces: [running], names: [shop]}
    - {name: solver, reason: cert-manager makes them without probes, expires: 2099-01-31, serviceAccount: acme/solver}
    - {name: gone, reason: it was needed for the migration, expires: 2020-01-31, namespaces: [running], labels: {a: b}, rules: [seccomp]}
    - {name: sized, reason: it is resized by an autoscaler of our own, expires: 2020-01-31, namespaces: [running], labels: {app: sized}}
`))
			return nil
		}},
		{"Deployment: back to the old template, by an exemption", func() error {
			return errors.Join(r.soon("rollout", "undo", "deployment/shop", "--to-revision=1"), r.rolledOut("shop"))
		}},
		{"Pod: of an operator, by an exemption", func() error {
			_, err := r.kubectl(strings.Replace(bad, "name: bad", "name: solver", 1), "create", "--as=system:serviceaccount:acme:solver", "--as-group=system:masters", "-f", "-")
			return err
		}},
		{"Pod: of somebody else is refused still", func() error {
			_, err := r.kubectl(bad, "create", "-f", "-")
			return refusedBy(err, "")
		}},
		{"exemptions are shown, those that ended as failed", func() error {
			found, _ := check(t, c.Kubeconfig, "", "--cluster", "--profile", profile)
			expect(t, found, "admission/exemption", "warn", "Exemption back", "more than a year", "called shop, in namespace running from all 18 policies until 2099-01-31: the hardened release")
			expect(t, found, "admission/exemption", "warn", "Exemption solver", "made by service account acme/solver")
			expect(t, found, rule, "warn", "Pod sized", "exempted by sized from image-digest, ", "; but it expired on 2020-01-31")
			expect(t, found, rule, "warn", "Deployment legacy", "runs on, but would be refused")
			expect(t, found, rule, "warn", "Cluster "+clusterUID(t, c), "owners would be refused: ", "; exempted: ")
			expect(t, found, "admission/exemption", "fail", "Exemption gone", "it expired on 2020-01-31", "labelled a=b, in namespace running from seccomp until")
			return nil
		}},
		{"Deployment: pods with an injected sidecar", func() error {
			c.Apply(t, injector)
			defer c.TryKubectl(context.Background(), injector, "delete", "-f", "-") //nolint:errcheck // whatever became of it
			text := strings.Replace(r.shop("three"), "inject: \"no\"", "inject: \"yes\"", 1)
			return errors.Join(r.apply(text), r.injected(), r.rolledOut("shop"))
		}},
		{"namespace deleted, with all that is in it", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			_, err := c.TryKubectl(ctx, "", "delete", "namespace", runningNS, "--timeout=90s")
			return err
		}},
	}
	for _, s := range steps {
		began := time.Now()
		err := s.do()
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		t.Logf("%-60s %-6v %.1f s", s.name, err == nil, time.Since(began).Seconds())
	}
}

// soon tries until the API server knows its policies as they are now.
func (r *running) soon(args ...string) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	for {
		err := r.do(args...)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// injected restarts shop until its newest pods have the sidecar: a policy that
// changes objects takes effect a moment after it was made.
func (r *running) injected() error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	for {
		if err := errors.Join(r.do("rollout", "restart", "deployment/shop"), r.rolledOut("shop")); err != nil {
			return err
		}
		out, err := r.kubectl("", "get", "pods", "-l", "app=shop", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].spec.containers[*].name}")
		if err != nil || strings.Contains(out, "istio-proxy") {
			return err
		}
		if ctx.Err() != nil {
			return errors.New("no pod has the sidecar: " + out)
		}
	}
}

// scheduled waits for a Job of the CronJob, which comes with the next minute.
func (r *running) scheduled() error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 4*time.Minute)
	defer cancel()
	for {
		out, err := r.c.TryKubectl(ctx, "", "-n", runningNS, "get", "cronjob/minutely", "-o", "jsonpath={.status.lastSuccessfulTime}")
		if err == nil && out != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no Job of the CronJob completed: %w", err)
		case <-time.After(time.Second):
		}
	}
}
