package policy

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/companyos/helmproof/internal/manifest"
)

// whole are policies as the API server compiles them, with the conditions that offline always hold.
var whole sync.Map // of *program by *admissionv1.ValidatingAdmissionPolicy

func wholly(p *admissionv1.ValidatingAdmissionPolicy) (*program, error) {
	if known, ok := whole.Load(p); ok {
		return known.(*program), nil
	}
	env, err := environmentFor(false)
	if err != nil {
		return nil, err
	}
	made, err := compileIn(env, environment.StoredExpressions, p, compiler{})
	if err == nil {
		whole.Store(p, made)
	}
	return made, err
}

// written is what the API server's validator decides of a request by somebody; with
// a nil before it creates the object. No decisions: the policy does not apply.
func written(tb testing.TB, r *policyRule, w *world, o, before *manifest.Object, subresource, by string) []decision {
	tb.Helper()
	sub := w.subject(o)
	q := &question{equivalents: equivalents{rule: r, s: sub}, w: w}
	matches, _, err := q.matchDefinition()
	if err != nil {
		tb.Fatal(err)
	}
	if !matches {
		return nil
	}
	p, err := wholly(r.policy)
	if err != nil {
		tb.Fatal(err)
	}
	object := sub.attr.GetObject().(*unstructured.Unstructured).DeepCopy()
	object.SetGroupVersionKind(q.gvk)
	var old runtime.Object
	operation := admission.Create
	if before != nil {
		u := w.subject(before).attr.GetObject().(*unstructured.Unstructured).DeepCopy()
		u.SetGroupVersionKind(q.gvk)
		old, operation = u, admission.Update
	}
	attr := admission.NewAttributesRecord(object, old, q.gvk, object.GetNamespace(), object.GetName(), q.gvr, subresource,
		operation, &metav1.UpdateOptions{}, false, &user.DefaultInfo{Name: by})
	va := &admission.VersionedAttributes{Attributes: attr, VersionedKind: q.gvk, VersionedObject: admission.NewLazyObject(object)}
	if old != nil {
		va.VersionedOldObject = admission.NewLazyObject(old)
	}
	return serverDecisions(p, q.gvr, va, sub.ns)
}

// told are the messages of what is not admitted.
func told(decisions []decision) []string {
	var out []string
	for _, d := range decisions {
		if d.evaluation != evalAdmit {
			out = append(out, d.message)
		}
	}
	return out
}

func parsed(tb testing.TB, text string) *manifest.Object {
	tb.Helper()
	set, err := manifest.Parse([]byte(text))
	if err != nil || len(set.Objects) == 0 {
		tb.Fatalf("%v in\n%s", err, text)
	}
	return &set.Objects[len(set.Objects)-1]
}

// controllerUsers make pods, ReplicaSets and Jobs of what somebody wrote.
var controllerUsers = []string{
	"system:kube-controller-manager", "system:serviceaccount:kube-system:replicaset-controller", "system:serviceaccount:kube-system:replication-controller",
	"system:serviceaccount:kube-system:deployment-controller", "system:serviceaccount:kube-system:statefulset-controller", "system:serviceaccount:kube-system:daemon-set-controller",
	"system:serviceaccount:kube-system:job-controller", "system:serviceaccount:kube-system:cronjob-controller",
}

// perPod tells the policies about pods from those about what scales them or brings secrets.
func perPod(r *policyRule) bool {
	return !slices.Contains([]string{"policy/hpa-bounds", "policy/hpa-stabilization", "policy/vpa-recommend-only", "policy/secret-rotation-interval"}, r.rule)
}

// replaced is the object as it was when all of its spec was another.
func replaced(o *manifest.Object) *manifest.Object {
	old := &manifest.Object{Unstructured: *o.DeepCopy()}
	if spec, ok := old.Object["spec"].(map[string]any); ok {
		spec["was"] = "another"
		if template, ok := spec["template"].(map[string]any); ok {
			template["metadata"] = map[string]any{"labels": map[string]any{"was": "another"}}
		}
	}
	if spec := podSpec(old); spec != nil {
		for _, field := range []string{"containers", "initContainers", "ephemeralContainers"} {
			delete(spec, field)
		}
		spec["securityContext"], spec["automountServiceAccountToken"] = map[string]any{"was": "another"}, false
		spec["nodeName"] = "another"
	}
	return old
}

// TestUpdatesByEveryPolicy holds, for all objects of the built-in cases, what each
// policy says of a request to change one: nothing where what it reads stays as it
// was, and all that it says of a new object where everything is another.
func TestUpdatesByEveryPolicy(t *testing.T) {
	t.Parallel()
	refused := map[string]int{}
	set := builtinSet(t)
	for _, cases := range builtinCases {
		for _, c := range cases {
			objects, err := manifest.Parse([]byte(c.manifest))
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld("payments", objects.Objects)
			for i := range objects.Objects {
				o := &objects.Objects[i]
				labelled := &manifest.Object{Unstructured: *o.DeepCopy()}
				labelled.SetLabels(map[string]string{"before": "yes"})
				labelled.SetFinalizers([]string{"example.com/guard"})
				if spec, ok := labelled.Object["spec"].(map[string]any); ok && o.GetKind() != "HorizontalPodAutoscaler" {
					if _, ok := spec["template"]; ok {
						spec["replicas"], spec["paused"] = int64(1), true
					}
				}
				for _, r := range set.policies {
					created := written(t, r, w, o, nil, "", "somebody")
					if len(created) == 0 || slices.ContainsFunc(created, func(d decision) bool { return d.evaluation == evalError }) {
						continue
					}
					p, err := r.compile()
					if err != nil {
						t.Fatal(err)
					}
					sub := w.subject(o)
					q := &question{equivalents: equivalents{rule: r, s: sub}, w: w}
					if _, _, err := q.matchDefinition(); err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(told(created), told(p.decide(sub.versioned(q.gvk), q.gvr, nil, sub.ns)), cmpopts.EquateEmpty()); d != "" {
						t.Errorf("%s, %s: offline it is judged otherwise (-server +ours):\n%s", r.rule, c.name, d)
					}
					if len(told(created)) > 0 {
						refused[r.rule]++
					}
					if got := told(written(t, r, w, o, labelled, "", "somebody")); got != nil {
						t.Errorf("%s, %s: scaled, labelled and without its finalizer it is refused: %q", r.rule, c.name, got)
					}
					if d := cmp.Diff(told(created), told(written(t, r, w, o, replaced(o), "", "somebody")), cmpopts.EquateEmpty()); d != "" {
						t.Errorf("%s, %s: changed as a whole it is not judged as a new one (-new +changed):\n%s", r.rule, c.name, d)
					}
					if d := cmp.Diff(created, written(t, r, w, o, nil, "", "system:serviceaccount:payments:replicaset-controller"), cmp.AllowUnexported(decision{})); d != "" {
						t.Errorf("%s, %s: an account that is called as a controller is judged otherwise:\n%s", r.rule, c.name, d)
					}
					if !perPod(r) {
						continue
					}
					for _, by := range controllerUsers {
						if got := written(t, r, w, o, nil, "", by); len(got) > 0 {
							t.Errorf("%s, %s: %s is judged: %v", r.rule, c.name, by, got)
						}
					}
				}
			}
		}
	}
	if len(refused) != 18 {
		t.Errorf("only %d policies refuse anything: %v", len(refused), refused)
	}
}

// TestUpdates holds what an update is judged by: that which it changes.
func TestUpdates(t *testing.T) {
	t.Parallel()
	const (
		digest   = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		good     = "securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true, runAsUser: 7, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"
		old      = "{name: old, image: old}"
		debugger = "{name: debugger, image: i" + digest + ", " + good + "}"
	)
	pod := func(containers, rest string) string { return object("Pod", "{containers: ["+containers+"]"+rest+"}") }
	set := builtinSet(t)
	sized := func(resources string) string { return "{name: web, image: web, resources: {" + resources + "}}" }
	debugged := func(ephemeral string) string { return pod(old, ", ephemeralContainers: ["+ephemeral+"]") }
	for _, c := range []struct {
		name, rule, before, after string
		subresource               string
		want                      []string
	}{
		{name: "new image of one", rule: "image-digest", before: deployment("{containers: [" + old + ", {name: web, image: web}]}"), after: deployment("{containers: [" + old + ", {name: web, image: 'web:2'}]}"),
			want: []string{`container "web": image web:2 has no sha256 digest`}},
		{name: "added beside an old one", rule: "resource-limits", before: deployment("{containers: [" + old + "]}"), after: deployment("{containers: [" + old + ", {name: sidecar, image: s}]}"),
			want: []string{`container "sidecar": no cpu limit, no memory limit`}},
		{name: "one taken away", rule: "image-digest", before: deployment("{containers: [" + old + ", {name: web, image: web}]}"), after: deployment("{containers: [" + old + "]}")},
		{name: "an init container made a container", rule: "readiness-probe", before: deployment("{initContainers: [" + old + "], containers: []}"), after: deployment("{containers: [" + old + "]}"),
			want: []string{`container "old": no readinessProbe`}},
		{name: "the pod's user taken away", rule: "run-as-non-root", before: deployment("{securityContext: {runAsNonRoot: true, runAsUser: 7, fsGroup: 7}, containers: [" + old + "]}"), after: deployment("{containers: [" + old + "]}"),
			want: []string{`container "old": runAsNonRoot is not true, no runAsUser`, "no fsGroup in the pod's securityContext"}},
		{name: "the pod's profile taken away", rule: "seccomp", before: deployment("{securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [" + old + "]}"), after: deployment("{containers: [" + old + "]}"),
			want: []string{`container "old": no seccompProfile`}},
		{name: "from Windows to Linux", rule: "read-only-root", before: deployment("{os: {name: windows}, containers: [" + old + "]}"), after: deployment("{containers: [" + old + "]}"),
			want: []string{`container "old": readOnlyRootFilesystem is not true`}},
		{name: "token asked for", rule: "service-account-token", before: deployment("{automountServiceAccountToken: false, containers: [" + old + "]}"), after: deployment("{containers: [" + old + "]}"),
			want: []string{"automountServiceAccountToken is not false"}},
		{name: "token as before, in words", rule: "service-account-token", before: deployment("{containers: [" + old + "]}"), after: deployment("{automountServiceAccountToken: true, containers: [" + old + "]}")},
		{name: "restarted", rule: "startup-probe", before: deployment("{containers: [" + old + "]}"), after: strings.Replace(deployment("{containers: ["+old+"]}"), "metadata: {labels", "metadata: {annotations: {kubectl.kubernetes.io/restartedAt: now}, labels", 1)},
		{name: "tolerations of a suspended Job", rule: "image-digest", before: object("Job", "{containers: ["+old+"]}"), after: object("Job", "{tolerations: [{operator: Exists}], nodeSelector: {pool: batch}, containers: ["+old+"]}")},
		{name: "schedule of a CronJob", rule: "image-digest", before: object("CronJob", "{containers: ["+old+"]}"), after: strings.Replace(object("CronJob", "{containers: ["+old+"]}"), "'* * * * *'", "'0 0 * * *'", 1)},
		{name: "gate of a pod taken away", rule: "resource-requests", before: pod(old, ", schedulingGates: [{name: g}]"), after: pod(old, ", nodeSelector: {a: b}")},
		{name: "image of a running pod", rule: "image-digest", before: pod(old, ""), after: pod("{name: old, image: new}", ""), want: []string{`container "old": image new has no sha256 digest`}},
		{name: "spread taken away", rule: "topology-spread", before: three(spread(both("maxSkew: 1, labelSelector: {matchLabels: {app: x}}"))), after: three(deployment("{containers: []}")),
			want: []string{"pods are not spread over topology.kubernetes.io/zone, nor over kubernetes.io/hostname"}},
		{name: "scaled up, not spread", rule: "topology-spread", before: deployment("{containers: []}"), after: three(deployment("{containers: []}"))},
		{name: "debugger from anywhere", rule: "image-digest", subresource: "ephemeralcontainers", before: pod(old, ""), after: debugged("{name: debugger, image: 'busybox:latest'}"),
			want: []string{`container "debugger": image busybox:latest has no sha256 digest`}},
		{name: "debugger as root", rule: "run-as-non-root", subresource: "ephemeralcontainers", before: pod(old, ""), after: debugged("{name: debugger, image: i, securityContext: {runAsUser: 0}}"),
			want: []string{`container "debugger": runAsNonRoot is not true, runAsUser is 0`}},
		{name: "privileged debugger", rule: "privilege-escalation", subresource: "ephemeralcontainers", before: pod(old, ""), after: debugged("{name: debugger, image: i, securityContext: {privileged: true}}"),
			want: []string{`container "debugger": allowPrivilegeEscalation is not false, privileged is not false, capabilities do not drop ALL`}},
		{name: "debugger that writes", rule: "read-only-root", subresource: "ephemeralcontainers", before: pod(old, ""), after: debugged("{name: debugger, image: i}"),
			want: []string{`container "debugger": readOnlyRootFilesystem is not true`}},
		{name: "debugger without a profile", rule: "seccomp", subresource: "ephemeralcontainers", before: pod(old, ""), after: debugged("{name: debugger, image: i}"),
			want: []string{`container "debugger": no seccompProfile`}},
		{name: "another debugger", rule: "image-digest", subresource: "ephemeralcontainers", before: debugged("{name: first, image: i}"), after: debugged("{name: first, image: i}, {name: second, image: i}"),
			want: []string{`container "second": image i has no sha256 digest`}},
		{name: "limits taken away", rule: "resource-limits", subresource: "resize", before: pod(sized("limits: {cpu: 1, memory: 1Gi}"), ""), after: pod(sized("requests: {cpu: 1}"), ""),
			want: []string{`container "web": no cpu limit, no memory limit`}},
		{name: "one limit taken away", rule: "resource-limits", subresource: "resize", before: pod(sized("limits: {cpu: 1, memory: 1Gi}"), ""), after: pod(sized("limits: {memory: 1Gi}"), ""),
			want: []string{`container "web": no cpu limit`}},
		{name: "a limit of nothing", rule: "resource-limits", subresource: "resize", before: pod(sized("limits: {cpu: 1, memory: 1Gi}"), ""), after: pod(sized("limits: {cpu: 0, memory: 1Gi}"), ""),
			want: []string{`container "web": cpu limit is not above 0`}},
		{name: "limits of an init container taken away", rule: "resource-limits", subresource: "resize", before: pod(old, ", initContainers: ["+sized("limits: {cpu: 1, memory: 1Gi}")+"]"), after: pod(old, ", initContainers: ["+sized("limits: {cpu: 1}")+"]"),
			want: []string{`container "web": no memory limit`}},
		{name: "requests taken away", rule: "resource-requests", subresource: "resize", before: pod(sized("requests: {cpu: 1, memory: 1Gi}"), ""), after: pod(sized("requests: {cpu: 0}"), ""),
			want: []string{`container "web": cpu request is not above 0, no memory request`}},
		{name: "limit below its request", rule: "limits-at-least-requests", subresource: "resize", before: pod(sized("limits: {cpu: 1}, requests: {cpu: 1}"), ""), after: pod(sized("limits: {cpu: 1}, requests: {cpu: 2}"), ""),
			want: []string{`container "web": cpu limit 1 is below the request 2`}},
		{name: "resized within the rules", rule: "*", subresource: "resize", before: pod(sized("limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}"), ""), after: pod(sized("limits: {cpu: 2, memory: 2Gi}, requests: {cpu: 500m, memory: 1Gi}"), "")},
		{name: "requests of an old pod follow its use", rule: "*", subresource: "resize", before: pod(sized("requests: {cpu: 1}"), ""), after: pod(sized("requests: {cpu: 2}"), "")},
		{name: "old pod gets one of two limits", rule: "*", subresource: "resize", before: pod(sized("requests: {cpu: 1, memory: 1Gi}"), ""), after: pod(sized("limits: {memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}"), "")},
		{name: "old pod loses the limit that it has", rule: "resource-limits", subresource: "resize", before: pod(sized("limits: {cpu: 1}"), ""), after: pod(sized("requests: {cpu: 1}"), ""),
			want: []string{`container "web": no cpu limit, no memory limit`}},
		{name: "another container had no limit", rule: "resource-limits", subresource: "resize", before: pod(old+", "+sized("limits: {cpu: 1, memory: 1Gi}"), ""), after: pod(old+", "+sized("limits: {cpu: 1}"), ""),
			want: []string{`container "web": no memory limit`}},
		{name: "a template is not resized, but changed", rule: "resource-limits", before: deployment("{containers: [" + sized("requests: {cpu: 1}") + "]}"), after: deployment("{containers: [" + sized("requests: {cpu: 2}") + "]}"),
			want: []string{`container "web": no cpu limit, no memory limit`}},
		{name: "good debugger in an old pod", rule: "*", subresource: "ephemeralcontainers", before: pod(old, ""), after: debugged(debugger)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			asked := 0
			for _, r := range set.policies {
				if c.rule != "*" && r.rule != "policy/"+c.rule || c.subresource != "" && !matchesSubresource(r, "pods/"+c.subresource) {
					continue
				}
				o := parsed(t, c.after)
				decisions := written(t, r, newWorld("payments", nil), o, parsed(t, c.before), c.subresource, "somebody")
				if len(decisions) > 0 {
					asked++
				}
				got = append(got, told(decisions)...)
			}
			if asked == 0 && c.name != "scaled up, not spread" {
				t.Error("no policy was asked")
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func matchesSubresource(r *policyRule, resource string) bool {
	for _, rule := range r.policy.Spec.MatchConstraints.ResourceRules {
		if slices.Contains(rule.Resources, resource) {
			return true
		}
	}
	return false
}

// seeing names the policies that a request to a subresource is put to.
func seeing(tb testing.TB, resource string) []string {
	tb.Helper()
	var out []string
	for _, r := range builtinSet(tb).policies {
		if matchesSubresource(r, resource) {
			out = append(out, strings.TrimPrefix(r.rule, rulePrefix))
		}
	}
	return out
}

// TestEphemeralContainersAreJudged holds which policies see containers that are added to a running pod.
func TestEphemeralContainersAreJudged(t *testing.T) {
	t.Parallel()
	// They have neither probes nor resources: the API server refuses both.
	want := []string{"image-digest", "privilege-escalation", "read-only-root", "run-as-non-root", "seccomp"}
	if d := cmp.Diff(want, seeing(t, "pods/ephemeralcontainers")); d != "" {
		t.Error(d)
	}
}

// TestResizedPodsAreJudged holds which policies see resources that are changed in place.
func TestResizedPodsAreJudged(t *testing.T) {
	t.Parallel()
	want := []string{"limits-at-least-requests", "resource-limits", "resource-requests"}
	if d := cmp.Diff(want, seeing(t, "pods/resize")); d != "" {
		t.Error(d)
	}
}
