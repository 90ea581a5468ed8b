package admission

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/config"
)

var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// said lists the findings of a rule at a cluster, as "outcome target: message"; only is
// which built-in policies there are, all where none is named.
func said(tb testing.TB, rule string, policies *Policies, live *LiveObjects, only ...string) []string {
	tb.Helper()
	bundle, err := policy.Bundle("")
	if err != nil {
		tb.Fatal(err)
	}
	if len(only) > 0 {
		var docs []string
		for doc := range strings.SplitSeq(string(bundle), "\n---\n") {
			if slices.ContainsFunc(only, func(name string) bool { return strings.Contains(doc, "\n  name: helmproof-"+name+"\n") }) {
				docs = append(docs, doc)
			}
		}
		bundle = []byte(strings.Join(docs, "\n---\n"))
	}
	art := collectors.NewArtifacts(nil)
	put := func(name string, v any) {
		raw, ok := v.([]byte)
		var err error
		if !ok {
			raw, err = json.Marshal(v)
		}
		if err == nil {
			_, err = art.Put(name, raw)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	put(collectors.PoliciesFile, bundle)
	put(collectors.ReleaseFile, map[string]string{"scope": "cluster", "cluster": "c"})
	put(collectors.Artifact(Name, policiesFile), policies)
	put(collectors.Artifact(Name, objectsFile), live)
	put(collectors.Artifact(Name, signatureFile), Signature{})
	found, err := New(Options{}).Findings(collectors.NewSealed(art, config.RuleControls()))
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, x := range found {
		if x.Rule == rule {
			out = append(out, fmt.Sprintf("%s %s %s: %s", x.Outcome, x.Target.Kind, x.Target.Name, x.Message))
		}
	}
	return out
}

// TestExemptions holds what passes as an exemption: what is declared, with a reason
// and a day that is ahead, and exactly that.
func TestExemptions(t *testing.T) {
	t.Parallel()
	good := Exemption{Name: "x", Reason: "cert-manager makes them", Expires: "2026-12-31", ServiceAccount: "acme/solver"}
	with := func(change func(*Exemption)) Exemption {
		e := good
		change(&e)
		return e
	}
	const what = "exempts what is made by service account acme/solver from seccomp until 2026-12-31: cert-manager makes them"
	for _, c := range []struct {
		name      string
		declared  Exemption
		condition string // where it is not the one that is declared
		want      string
	}{
		{"whole", good, "", "pass Exemption x: " + what},
		{"last day", with(func(e *Exemption) { e.Expires = "2026-11-01" }), "", "pass Exemption x: " + strings.Replace(what, "2026-12-31", "2026-11-01", 1)},
		{"ended", with(func(e *Exemption) { e.Expires = "2026-10-31" }), "", "fail Exemption x: it expired on 2026-10-31; " + strings.Replace(what, "2026-12-31", "2026-10-31", 1)},
		{"no end", with(func(e *Exemption) { e.Expires = "" }), "", "fail Exemption x: it does not expire; " + strings.Replace(what, "2026-12-31", "", 1)},
		{"no date", with(func(e *Exemption) { e.Expires = "soon" }), "", `fail Exemption x: its expiry "soon" is no date like 2006-01-02; ` + strings.Replace(what, "2026-12-31", "soon", 1)},
		{"far ahead", with(func(e *Exemption) { e.Expires = "2036-12-31" }), "", "warn Exemption x: ends more than a year from now; " + strings.Replace(what, "2026-12-31", "2036-12-31", 1)},
		{"no reason", with(func(e *Exemption) { e.Reason = " because  " }), "", "fail Exemption x: it has no reason; " + strings.Replace(what, "cert-manager makes them", " because  ", 1)},
		{"no reason that is seen", with(func(e *Exemption) { e.Reason = "because\u200b\u200b\u200b" }), "", "fail Exemption x: it has no reason; " + strings.Replace(what, "cert-manager makes them", "because\u200b\u200b\u200b", 1)},
		{"label alone", with(func(e *Exemption) { e.ServiceAccount, e.Labels = "", map[string]string{"a": "b"} }), "", "fail Exemption x: anybody can write a label or choose a name: it says neither who makes the objects nor in which namespaces; " + strings.Replace(what, "made by service account acme/solver", "labelled a=b", 1)},
		{"namespace alone", with(func(e *Exemption) { e.ServiceAccount, e.Namespaces = "", []string{"shop"} }), "", "fail Exemption x: it names neither a service account nor labels nor names; " + strings.Replace(what, "made by service account acme/solver", "in namespace shop", 1)},
		{"quotes", with(func(e *Exemption) { e.ServiceAccount = "a' || true || 'b" }), "", "fail Exemption x: what it names has quotes, by which its condition can be another; " + strings.Replace(what, "acme/solver", "a' || true || 'b", 1)},
		{"wider than declared", good, "false", "fail Exemption x: it exempts something else than it declares: false; " + what},
		{"not declared", with(func(e *Exemption) { e.Name = "y" }), "", "fail Exemption x: an exemption from seccomp: it is declared nowhere: no reason, no expiry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			raw, err := json.Marshal([]Exemption{c.declared})
			if err != nil {
				t.Fatal(err)
			}
			if c.condition == "" {
				c.condition = c.declared.Condition()
			}
			got := said(t, RuleExemption, &Policies{At: at, Policies: []Policy{
				{Name: "helmproof-image-digest", Found: true},
				{Name: "helmproof-seccomp", Found: true, Declared: string(raw), Exempt: []Condition{{"x", c.condition}}},
			}}, &LiveObjects{})
			if d := gocmp.Diff([]string{c.want}, got); d != "" {
				t.Error(d)
			}
		})
	}
	for want, p := range map[string]Policies{
		"pass Cluster c: the policies exempt nothing":                                             {At: at, Policies: []Policy{{Name: "helmproof-seccomp"}}},
		"not-checked Cluster c: the cluster's policies could not be read: forbidden":              {At: at, Policies: []Policy{{Name: "helmproof-seccomp", Error: "forbidden"}}},
		"not-checked Cluster c: exemptions were not looked at: an earlier version collected this": {},
		"not-checked Cluster c: the cluster's policies could not be read: may not list":           {At: at, Error: "may not list"},
		"fail Exemption x: an exemption from all 1 policies: the annotation helmproof.companyos.github.io/exemptions cannot be read: unexpected end of JSON input": {
			At: at, Policies: []Policy{{Name: "helmproof-seccomp", Declared: "[{", Exempt: []Condition{{"x", "false"}}}}},
	} {
		if d := gocmp.Diff([]string{want}, said(t, RuleExemption, &p, &LiveObjects{})); d != "" {
			t.Error(d)
		}
	}
}

// TestExemptedConditions tells exemptions from a policy's own conditions.
func TestExemptedConditions(t *testing.T) {
	t.Parallel()
	exempt, rest := exempted([]admissionv1.MatchCondition{{Name: "exempt-a", Expression: " !(x)\n"}, {Name: "not-windows", Expression: "y"}})
	if d := gocmp.Diff([]Condition{{"a", "!(x)"}}, exempt); d != "" {
		t.Error(d)
	}
	if d := gocmp.Diff([]admissionv1.MatchCondition{{Name: "not-windows", Expression: "y"}}, rest); d != "" {
		t.Error(d)
	}
}

// live projects objects as they are in a cluster.
func live(tb testing.TB, text string) []LiveObject {
	tb.Helper()
	var out []LiveObject
	for doc := range strings.SplitSeq(text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			tb.Fatal(err)
		}
		x := LiveObject{Count: 1, Object: projected(o)}
		if c := metav1.GetControllerOf(o); c != nil {
			x.Owner, x.Count = &Owner{c.APIVersion, c.Kind, c.Name}, 7
		}
		out = append(out, x)
	}
	return out
}

// TestWouldBeRefused holds what is said ahead of what runs, by owner, and that where
// policies deny already it is told otherwise.
func TestWouldBeRefused(t *testing.T) {
	t.Parallel()
	const objects = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: shop, namespace: a}, spec: {template: {spec: {securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [{name: c, image: i}]}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: w-1, namespace: b, ownerReferences: [{apiVersion: argoproj.io/v1alpha1, kind: Workflow, name: w, uid: u, controller: true}]}, spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}
---
{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: good, namespace: a}, spec: {minReplicas: 2, maxReplicas: 3, behavior: {scaleUp: {stabilizationWindowSeconds: 0}, scaleDown: {stabilizationWindowSeconds: 60}}}}`
	binding := []Binding{{Name: "b", Actions: []string{"Deny"}, Matches: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"policies": "enforced"}}}}}
	got := said(t, RuleRefused, &Policies{At: at, Policies: []Policy{{Name: "helmproof-seccomp", Bindings: binding}}}, &LiveObjects{
		Objects: live(t, objects), Namespaces: map[string]map[string]string{"a": {"policies": "enforced"}, "b": nil},
		Errors: map[string]string{"jobs.batch": "forbidden"},
	})
	want := []string{
		`warn Deployment shop: runs on, but would be refused if it were made again, by image-digest, liveness-probe, privilege-escalation, read-only-root, readiness-probe, resource-limits, resource-requests, run-as-non-root, service-account-token, startup-probe, topology-spread: container "c": image i has no sha256 digest`,
		`warn Workflow w: would be refused if policies denied in its namespace (7 pods or objects), by image-digest, privilege-escalation, read-only-root, resource-limits, resource-requests, run-as-non-root, seccomp, service-account-token: container "c": image i has no sha256 digest`,
		"not-checked Cluster c: jobs.batch could not be listed: forbidden",
		"warn Cluster c: 2 of 3 owners would be refused: image-digest 2, privilege-escalation 2, read-only-root 2, resource-limits 2, resource-requests 2, run-as-non-root 2, service-account-token 2, liveness-probe 1, readiness-probe 1, seccomp 1, startup-probe 1, topology-spread 1",
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	got = said(t, RuleRefused, &Policies{At: at}, &LiveObjects{Objects: live(t, objects)[2:]})
	if d := gocmp.Diff([]string{"pass Cluster c: nothing of what was seen, 1 owners, would be refused"}, got); d != "" {
		t.Error(d)
	}
}

// TestExemptedIsNotRefused holds that what policies leave out by an exemption is shown as
// such, and not counted; who makes an object is not to be seen of it.
func TestExemptedIsNotRefused(t *testing.T) {
	t.Parallel()
	const (
		spec   = `spec: {containers: [{name: c, image: i}]}}`
		solver = `{apiVersion: v1, kind: Pod, metadata: {name: solver-1, namespace: a, labels: {acme: "true", other: x}, ownerReferences: [{apiVersion: acme.cert-manager.io/v1, kind: Challenge, name: ch, uid: u, controller: true}]}, ` + spec
		lone   = `{apiVersion: v1, kind: Pod, metadata: {name: lone, namespace: a}, ` + spec
	)
	exemption := func(terms string) Exemption {
		var e Exemption
		if err := yaml.Unmarshal([]byte("{name: x, reason: the operator makes it so, expires: '2026-12-31', "+terms+"}"), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	const (
		refused  = "would be refused if policies denied in its namespace, by image-digest: container \"c\": image i has no sha256 digest"
		exempted = "exempted by x from image-digest until 2026-12-31: the operator makes it so"
		byWhom   = "if service account cm/cm makes it (objects do not tell), "
		all      = "warn Cluster c: 1 of 1 owners would be refused: image-digest 1"
	)
	for _, c := range []struct {
		name, object string
		exemptions   []Exemption
		condition    string // where it is not the one that is declared
		want         []string
	}{
		{name: "by name", object: lone, exemptions: []Exemption{exemption("namespaces: [a], names: [lone]")},
			want: []string{"pass Pod lone: " + exempted, "pass Cluster c: nothing of what was seen, 1 owners, would be refused; exempted: 1"}},
		{name: "by how its name begins", object: lone, exemptions: []Exemption{exemption("namespaces: [b, a], names: [other, lo*]")},
			want: []string{"pass Pod lone: " + exempted, "pass Cluster c: nothing of what was seen, 1 owners, would be refused; exempted: 1"}},
		{name: "by label", object: solver, exemptions: []Exemption{exemption("namespaces: [a], labels: {acme: 'true'}")},
			want: []string{"pass Challenge ch: exempted (7 pods or objects) by x from image-digest until 2026-12-31: the operator makes it so", "pass Cluster c: nothing of what was seen, 1 owners, would be refused; exempted: 1"}},
		{name: "by label and service account", object: solver, exemptions: []Exemption{exemption("serviceAccount: cm/cm, labels: {acme: 'true'}")},
			want: []string{"warn Challenge ch: " + byWhom + "exempted (7 pods or objects) by x from image-digest until 2026-12-31: the operator makes it so",
				"warn Cluster c: nothing of what was seen, 1 owners, would be refused; exempted if the service account makes them that their exemption names: 1"}},
		{name: "by service account, of an operator", object: solver, exemptions: []Exemption{exemption("serviceAccount: cm/cm")},
			want: []string{"warn Challenge ch: " + byWhom + "exempted (7 pods or objects) by x from image-digest until 2026-12-31: the operator makes it so",
				"warn Cluster c: nothing of what was seen, 1 owners, would be refused; exempted if the service account makes them that their exemption names: 1"}},
		{name: "by name is known", object: lone, exemptions: []Exemption{exemption("serviceAccount: cm/cm, names: [lone]"), exemption("namespaces: [a], names: [lone]")},
			want: []string{"pass Pod lone: " + exempted, "pass Cluster c: nothing of what was seen, 1 owners, would be refused; exempted: 1"}},
		{name: "by service account, of nobody", object: lone, exemptions: []Exemption{exemption("serviceAccount: cm/cm")}, want: []string{"warn Pod lone: " + refused, all}},
		{name: "another name", object: lone, exemptions: []Exemption{exemption("namespaces: [a], names: [alone, lone-*]")}, want: []string{"warn Pod lone: " + refused, all}},
		{name: "another namespace", object: lone, exemptions: []Exemption{exemption("namespaces: [b], names: [lone]")}, want: []string{"warn Pod lone: " + refused, all}},
		{name: "another label", object: lone, exemptions: []Exemption{exemption("namespaces: [a], names: [lone], labels: {acme: 'true'}")}, want: []string{"warn Pod lone: " + refused, all}},
		{name: "not as declared", object: lone, exemptions: []Exemption{exemption("namespaces: [a], names: [lone]")}, condition: "!(true)", want: []string{"warn Pod lone: " + refused, all}},
		{name: "ended", object: lone, exemptions: []Exemption{exemption("namespaces: [a], names: [lone], expires: '2026-10-31'")},
			want: []string{"warn Pod lone: " + strings.Replace(exempted, "12-31", "10-31", 1) + "; but it expired on 2026-10-31", "pass Cluster c: nothing of what was seen, 1 owners, would be refused; exempted: 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			raw, err := json.Marshal(c.exemptions)
			if err != nil {
				t.Fatal(err)
			}
			p := Policy{Name: "helmproof-image-digest", Found: true, Declared: string(raw)}
			for _, e := range c.exemptions {
				p.Exempt = append(p.Exempt, Condition{"x", cmp.Or(c.condition, e.Condition())})
			}
			policies := &Policies{At: at, Policies: []Policy{p}}
			objects := live(t, c.object)
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(c.object), &o.Object); err != nil {
				t.Fatal(err)
			}
			keepLabels(objects[0].Object, o, policies.allExemptions())
			if raw, err := json.Marshal(objects); err != nil || strings.Contains(string(raw), "other") {
				t.Errorf("a label is sealed that no exemption names: %s", raw)
			}
			if d := gocmp.Diff(c.want, said(t, RuleRefused, policies, &LiveObjects{Objects: objects}, "image-digest")); d != "" {
				t.Error(d)
			}
		})
	}

	// From some policies only: the others refuse it.
	e := exemption("namespaces: [a], names: [lone]")
	raw, err := json.Marshal([]Exemption{e})
	if err != nil {
		t.Fatal(err)
	}
	got := said(t, RuleRefused, &Policies{At: at, Policies: []Policy{{Name: "helmproof-image-digest", Found: true, Declared: string(raw), Exempt: []Condition{{"x", e.Condition()}}}}},
		&LiveObjects{Objects: live(t, lone)}, "image-digest", "seccomp")
	want := []string{`warn Pod lone: would be refused if policies denied in its namespace, by seccomp: container "c": no seccompProfile; ` + exempted, "warn Cluster c: 1 of 1 owners would be refused: seccomp 1"}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestMoreThanAreListed holds that an exemption that has ended is told even where the
// owners that it covers are not listed, and that some are left out.
func TestMoreThanAreListed(t *testing.T) {
	t.Parallel()
	const spec = `spec: {containers: [{name: c, image: i}]}}`
	var pods []string
	for i := range maxRefused + 2 {
		pods = append(pods, fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: p%03d, namespace: a}, `, i)+spec)
	}
	first := Exemption{Name: "all", Reason: "the operator makes them so", Expires: "2026-12-31", Namespaces: []string{"a"}, Names: []string{"p*"}}
	last := first
	last.Name, last.Names = "late", []string{"p501"}
	ended := last
	ended.Expires = "2026-10-31"
	none := "nothing of what was seen, 502 owners, would be refused"
	for want, exemptions := range map[string][]Exemption{
		"warn Cluster c: 502 of 502 owners would be refused: image-digest 502; the first 500 of them are listed":                                                                           nil,
		"pass Cluster c: " + none + "; exempted: 502; the first 500 exempted are listed":                                                                                                   {first},
		"pass Cluster c: " + none + "; exempted: 502; the first 500 exempted are listed ":                                                                                                  {last, first},
		"warn Cluster c: " + none + "; exempted: 502; the first 500 exempted are listed; 1 of those not listed are exempted by what is no good exemption: late (it expired on 2026-10-31)": {ended, first},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			raw, err := json.Marshal(exemptions)
			if err != nil {
				t.Fatal(err)
			}
			p := Policy{Name: "helmproof-image-digest", Found: true, Declared: string(raw)}
			for _, e := range exemptions {
				p.Exempt = append(p.Exempt, Condition{e.Name, e.Condition()})
			}
			got := said(t, RuleRefused, &Policies{At: at, Policies: []Policy{p}}, &LiveObjects{Objects: live(t, strings.Join(pods, "\n---\n"))}, "image-digest")
			if len(got) != maxRefused+1 || got[maxRefused] != strings.TrimSpace(want) {
				t.Errorf("%d findings, the last is %s", len(got), got[len(got)-1])
			}
		})
	}
}

// TestProjected holds that no secret of an object is sealed, and that probes that are
// the same stay the same.
func TestProjected(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: x, namespace: a, annotations: {a: SECRET}, labels: {l: SECRET}}, spec: {template: {metadata: {annotations: {a: SECRET}}, spec: {
		hostAliases: [{ip: SECRET}], initContainers: [{name: i, command: [SECRET]}],
		containers: [{name: c, image: i, env: [{name: A, value: SECRET}], envFrom: [{prefix: SECRET}], args: [SECRET], command: [SECRET], lifecycle: {preStop: {exec: {command: [SECRET]}}},
			livenessProbe: {exec: {command: [sh, SECRET]}, failureThreshold: 3}, readinessProbe: {exec: {command: [sh, SECRET]}, failureThreshold: 3}, startupProbe: {httpGet: {path: /, port: 1, httpHeaders: [{name: Authorization, value: SECRET}]}}}]}}}}`, "SECRET", secret)), &o.Object); err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(projected(o))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), secret) {
		t.Errorf("the secret is sealed: %s", raw)
	}
	got := said(t, RuleRefused, &Policies{At: at}, &LiveObjects{Objects: []LiveObject{{Count: 1, Object: projected(o)}}})
	if len(got) != 2 || !strings.Contains(got[0], "distinct-probes") {
		t.Errorf("probes that are the same are not told: %v", got)
	}
}

// TestMade holds whose objects are not judged by themselves.
func TestMade(t *testing.T) {
	t.Parallel()
	for owner, want := range map[string]bool{
		"apps/v1 ReplicaSet": true, "apps/v1 StatefulSet": true, "apps/v1 DaemonSet": true, "apps/v1 Deployment": true, "batch/v1 Job": true, "batch/v1 CronJob": true, "v1 ReplicationController": true,
		"argoproj.io/v1alpha1 Workflow": false, "v1 Node": false, "apps/v1 Widget": false, "example.com/v1 Job": false,
	} {
		version, kind, _ := strings.Cut(owner, " ")
		o := &unstructured.Unstructured{Object: map[string]any{"kind": "Pod"}}
		o.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: version, Kind: kind, Controller: new(true)}})
		if got := made(o); got != want {
			t.Errorf("%s: %t", owner, got)
		}
	}
	if made(&unstructured.Unstructured{Object: map[string]any{"kind": "Pod"}}) {
		t.Error("a pod of nobody")
	}
}
