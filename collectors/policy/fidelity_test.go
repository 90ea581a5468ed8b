package policy

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	requestv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// oldestKubernetes is the oldest API server that the built-in policies are for.
var oldestKubernetes = version.MajorMinor(1, 32)

// builtinSet parses the built-in policies.
func builtinSet(tb testing.TB) *policySet {
	tb.Helper()
	set, err := parseSet(builtin(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// TestBuiltinPoliciesInstall compiles every expression as the API server of the
// oldest version does when a policy is created.
func TestBuiltinPoliciesInstall(t *testing.T) {
	t.Parallel()
	env, err := newEnvironment(oldestKubernetes, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range builtinSet(t).policies {
		if _, err := compileIn(env, environment.NewExpressions, r.policy, compiler{}); err != nil {
			t.Errorf("%s: %v", r.where(), err)
		}
	}
	tooNew := builtinSet(t).policies[0].policy.DeepCopy()
	tooNew.Spec.Validations[0].Expression = "[3, 1].sort() == [1, 3]" // a library of 1.34
	if _, err := compileIn(env, environment.NewExpressions, tooNew, compiler{}); err == nil || !strings.Contains(err.Error(), "undeclared reference to 'sort'") {
		t.Errorf("a function of a later version compiles: %v", err)
	}
}

// strictSchemas knows of each object only what every object has: what a policy
// asks of it beyond that, without dyn, is a type error.
type strictSchemas struct{}

func (strictSchemas) ResolveSchema(schema.GroupVersionKind) (*spec.Schema, error) {
	text := spec.StringProperty()
	empty := spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: map[string]spec.Schema{"none": *text}}}
	return &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: map[string]spec.Schema{
		"apiVersion": *text, "kind": *text, "metadata": empty, "spec": empty,
	}}}, nil
}

func restMapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for gvk := range scheme.Scheme.AllKnownTypes() {
		m.Add(gvk, meta.RESTScopeNamespace)
	}
	return m
}

// TestBuiltinPoliciesTypeCheck runs the check whose warnings the API server
// writes into a policy's status.
func TestBuiltinPoliciesTypeCheck(t *testing.T) {
	t.Parallel()
	checker := &validating.TypeChecker{SchemaResolver: strictSchemas{}, RestMapper: restMapper()}
	set := builtinSet(t)
	for _, r := range set.policies {
		for _, w := range checker.Check(r.policy) {
			t.Errorf("%s: %s: %s", r.where(), w.FieldRef, w.Warning)
		}
	}
	bad := set.policies[slices.IndexFunc(set.policies, func(r *policyRule) bool { return r.rule == "policy/seccomp" })].policy.DeepCopy()
	bad.Spec.Validations[0].Expression = "object.spec.template.spec.hostNetwork"
	if w := checker.Check(bad); len(w) == 0 || !strings.Contains(w[0].Warning, "undefined field 'template'") {
		t.Errorf("the type checker does not see an undefined field: %v", w)
	}
}

// TestDecisionsAreTheServers compares, for every object of the builtin cases, the
// decisions with those of the API server's validator, on the object as it is
// and as the server holds it, decoded into its Go type.
func TestDecisionsAreTheServers(t *testing.T) {
	t.Parallel()
	set := builtinSet(t)
	compared := 0
	for _, cases := range builtinCases {
		for _, c := range cases {
			objects, err := manifest.Parse([]byte(c.manifest))
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld("payments", objects.Objects)
			for i := range objects.Objects {
				sub := w.subject(&objects.Objects[i])
				for _, r := range set.policies {
					q := &question{equivalents: equivalents{rule: r, s: sub}, set: set, w: w}
					matches, _, err := q.matchDefinition()
					if err != nil {
						t.Fatal(err)
					}
					if !matches {
						continue
					}
					p, err := r.compile()
					if err != nil {
						t.Fatal(err)
					}
					gvk, gvr := q.gvk, q.gvr
					got := p.decide(sub.versioned(gvk), gvr, nil, sub.ns)
					compared++
					server := serverDecisions(p, gvr, sub.versioned(gvk), sub.ns)
					if diff := cmp.Diff(server, got, cmp.AllowUnexported(decision{}), cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("%s %s: (-server +ours)\n%s", r.rule, c.name, diff)
					}
					typed := typedVersion(t, sub, gvk)
					if typed == nil || r.rule == "policy/limits-at-least-requests" || c.name == "null quantity" {
						continue // the server prints quantities in their canonical form, and takes null for 0
					}
					server = serverDecisions(p, gvr, typed, sub.ns)
					if diff := cmp.Diff(server, got, cmp.AllowUnexported(decision{}), cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("%s %s: (-typed +ours)\n%s", r.rule, c.name, diff)
					}
				}
			}
		}
	}
	if compared < 700 {
		t.Errorf("only %d decisions compared", compared)
	}
}

// asServer gives results the types that the API server's validator knows.
type asServer struct{ cel.ConditionEvaluator }

func (s asServer) ForInput(ctx context.Context, va *admission.VersionedAttributes, request *requestv1.AdmissionRequest, b cel.OptionalVariableBindings, ns *corev1.Namespace, budget int64) ([]cel.EvaluationResult, int64, error) {
	if s.ConditionEvaluator == nil {
		return nil, budget, nil
	}
	results, left, err := s.ConditionEvaluator.ForInput(ctx, va, request, b, ns, budget)
	for i := range results {
		switch e := results[i].ExpressionAccessor.(type) {
		case *validationExpr:
			results[i].ExpressionAccessor = &validating.ValidationCondition{Expression: e.Expression, Message: e.Message, Reason: e.Reason}
		case *auditExpr:
			results[i].ExpressionAccessor = &validating.AuditAnnotationCondition{Key: e.Key, ValueExpression: e.ValueExpression}
		}
	}
	return results, left, err
}

// serverDecisions has the API server's validator decide.
func serverDecisions(p *program, gvr schema.GroupVersionResource, va *admission.VersionedAttributes, ns *corev1.Namespace) []decision {
	fail := admissionv1.Fail
	if p.lenient {
		fail = admissionv1.Ignore
	}
	server := validating.NewValidator(asServer{p.validations}, p.matcher, asServer{p.annotations}, asServer{p.messages}, &fail, nil)
	evaluations := map[validating.PolicyDecisionEvaluation]evaluation{
		validating.EvalAdmit: evalAdmit, validating.EvalDeny: evalDeny, validating.EvalError: evalError,
	}
	var list []decision
	whole := server.Validate(context.Background(), gvr, va, nil, ns, celconfig.RuntimeCELCostBudget, nil)
	for _, d := range whole.Decisions {
		list = append(list, decision{evaluations[d.Evaluation], d.Message})
	}
	for _, a := range whole.AuditAnnotations {
		if a.Action == validating.AuditAnnotationActionError {
			list = append(list, decision{evalError, fmt.Sprintf("audit annotation %q: %s", a.Key, a.Error)})
		}
	}
	return list
}

// TestAuditAnnotationsAreTheServers compares what audit annotations decide.
func TestAuditAnnotationsAreTheServers(t *testing.T) {
	t.Parallel()
	objects, err := manifest.Parse([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for expression, errs := range map[string]int{"'b'": 0, "' '": 0, "null": 0, "string(object.data.a)": 0, "string(object.none)": 1} {
		for _, failure := range []string{"Fail", "Ignore"} {
			set, err := parseSet([]byte(vap(fmt.Sprintf("  failurePolicy: %s\n  validations: [{expression: \"'a' in object.data\"}]\n  auditAnnotations: [{key: a, valueExpression: %q}]\n", failure, expression))))
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld("payments", objects.Objects)
			sub := w.subject(&objects.Objects[0])
			p, err := set.policies[0].compile()
			if err != nil {
				t.Fatal(err)
			}
			got := p.decide(sub.versioned(sub.gvk), sub.gvr, nil, sub.ns)
			if diff := cmp.Diff(serverDecisions(p, sub.gvr, sub.versioned(sub.gvk), sub.ns), got, cmp.AllowUnexported(decision{})); diff != "" {
				t.Errorf("%s, %s: (-server +ours)\n%s", expression, failure, diff)
			}
			if want := 1 + errs; failure == "Fail" && len(got) != want {
				t.Errorf("%s: %d decisions, want %d", expression, len(got), want)
			}
		}
	}
}

func typedVersion(t *testing.T, sub *subject, gvk schema.GroupVersionKind) *admission.VersionedAttributes {
	t.Helper()
	o, err := scheme.Scheme.New(gvk)
	if runtime.IsNotRegisteredError(err) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(sub.object.Object, o); err != nil {
		t.Fatalf("%v: %v", sub.object.Object, err)
	}
	return &admission.VersionedAttributes{Attributes: sub.attr, VersionedKind: gvk, VersionedObject: admission.NewLazyObject(o)}
}

// TestBuiltinPoliciesFollowTheCatalog holds rules, controls, severities and
// remediations of the policies to those of the control catalog.
func TestBuiltinPoliciesFollowTheCatalog(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../config/catalog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var catalog evidence.Catalog
	if err := yaml.Unmarshal(raw, &catalog); err != nil {
		t.Fatal(err)
	}
	type label struct{ Control, Severity, Title, Remediation string }
	want := map[string]label{}
	for _, c := range catalog.Controls {
		if c.Collector == Name && !slices.Contains(c.Rules, rulePrefix+"*") {
			for _, rule := range c.Rules {
				want[rule] = label{string(c.ID), string(c.Severity), c.Title, c.Remediation}
			}
		}
	}
	got := map[string]label{}
	for _, r := range builtinSet(t).policies {
		if len(r.alsoFor) != 1 {
			t.Fatalf("%s: controls %v, want one", r.where(), r.alsoFor)
		}
		got[r.rule] = label{string(r.alsoFor[0]), string(r.severity), r.title, r.remediation}
		if name := "builtin/" + strings.TrimPrefix(r.rule, "policy/") + ".yaml"; r.source.File != name {
			t.Errorf("%s is in file %s, want %s", r.rule, r.source.File, name)
		}
		if len(r.bindings) != 1 || r.bindings[0].Name != r.policy.Name || !slices.Equal(r.bindings[0].Spec.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) {
			t.Errorf("%s: bindings %+v, want one of the same name that denies", r.rule, r.bindings)
		}
		for i, v := range r.policy.Spec.Validations {
			if v.Message == "" {
				t.Errorf("%s: validation %d has no message for when the expression's is too long", r.rule, i)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-catalog +policies)\n%s", diff)
	}
	if len(got) != 18 {
		t.Errorf("%d built-in policies, want 18", len(got))
	}
	for slug := range builtinCases {
		if _, ok := got["policy/"+slug]; !ok {
			t.Errorf("cases for %s, which is no policy", slug)
		}
	}
	if len(builtinCases) != len(got) {
		t.Errorf("cases for %d of %d policies", len(builtinCases), len(got))
	}
}

// TestCostOfLargePods holds that a pod of 50 bad containers stays within the API
// server's limits on cost, and that thousands end in an outcome that is no pass.
func TestCostOfLargePods(t *testing.T) {
	t.Parallel()
	pod := func(n int, fields string) string {
		return object("Pod", "{containers: ["+strings.Repeat("{name: c, image: nginx:1.27.0, "+fields+"},", n)+"]}")
	}
	bad := "resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 2, memory: 2Gi}}, livenessProbe: {" + httpA + "}, readinessProbe: {" + httpA + "}"
	for _, f := range findings(t, builtin(t), pod(50, bad)) {
		if f.Outcome != evidence.OutcomeFail && f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable {
			t.Errorf("50 containers: %s %s: %s", f.Outcome, f.Rule, f.Message)
		}
	}
	for _, f := range findings(t, builtin(t), pod(10_000, "tty: true")) {
		if f.Rule == "policy/resource-limits" && (f.Outcome != evidence.OutcomeError || f.Message != "the policy could not be evaluated: a list in the object has 10000 items, at most 2000 are evaluated") {
			t.Errorf("10000 containers: %s %s: %s", f.Outcome, f.Rule, f.Message)
		}
	}
}
