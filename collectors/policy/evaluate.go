package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/google/cel-go/common/types"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

// result is what one policy says about one object.
type result struct {
	outcome evidence.Outcome
	message string
}

// question is one policy put to one object.
type question struct {
	equivalents
	set  *policySet
	w    *world
	gvr  schema.GroupVersionResource // as what the rules matched the object
	gvk  schema.GroupVersionKind
	prog *program
}

// evaluate returns what the policy says about the object; nothing when it does
// not apply to it. The error is non-nil only when the policy does not compile.
func (s *policySet) evaluate(r *policyRule, w *world, sub *subject) ([]result, error) {
	q := &question{equivalents: equivalents{rule: r, s: sub}, set: s, w: w}
	matches, unknown, err := q.matchDefinition()
	switch {
	case err != nil:
		return []result{failed(r, "match: "+err.Error())}, nil //nolint:nilerr // the result holds it
	case !matches:
		return nil, nil
	case unknown != "":
		return []result{unknownNamespace(unknown, sub)}, nil
	case !sub.convertible(q.gvk):
		return []result{{evidence.OutcomeNotChecked, fmt.Sprintf("only the API server can convert %s to the %s that the policy is about", sub.gvk.GroupVersion(), q.gvk.GroupVersion())}}, nil
	case sub.longest > maxList:
		return []result{failed(r, fmt.Sprintf("a list in the object has %d items, at most %d are evaluated", sub.longest, maxList))}, nil
	}
	if q.prog, err = r.compile(); err != nil {
		return nil, err
	}
	if q.prog.authorizer {
		return []result{{evidence.OutcomeNotChecked, "the policy asks the authorizer, which only a cluster has"}}, nil
	}
	var out []result
	for _, b := range r.bindings {
		out = append(out, q.evaluateBinding(b)...)
	}
	return out, nil
}

func (q *question) evaluateBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) []result {
	matches, unknown, err := q.matchBinding(b)
	switch {
	case err != nil:
		return []result{failed(q.rule, "match: "+err.Error())}
	case !matches:
		return nil
	case unknown != "":
		return []result{unknownNamespace(unknown, q.s)}
	}
	params, err := q.set.paramsFor(q.rule, b, q.s)
	if err != nil {
		return []result{failed(q.rule, err.Error())}
	}
	onDeny := evidence.OutcomeWarn
	if slices.Contains(b.Spec.ValidationActions, admissionv1.Deny) {
		onDeny = evidence.OutcomeFail
	}
	var out []result
	for _, param := range params {
		for _, d := range q.prog.decide(q.s.versioned(q.gvk), q.gvr, param, q.s.ns) {
			switch d.evaluation {
			case evalAdmit:
				out = append(out, result{outcome: evidence.OutcomePass})
			case evalDeny:
				out = append(out, result{onDeny, d.message})
			default:
				if err := q.s.undecoded(); err != nil { // which is why
					outcome, message, _ := collectors.Undecoded(err)
					out = append(out, result{outcome, message})
					continue
				}
				out = append(out, failed(q.rule, d.message))
			}
		}
	}
	return out
}

// undecoded says why an object of Kubernetes' own kinds does not hold what its type
// does; nil where it does, and for all other kinds.
func (s *subject) undecoded() error {
	typed, err := scheme.Scheme.New(s.gvk)
	if err != nil {
		return nil //nolint:nilerr // a kind of somebody else's
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(s.object.Object, typed)
}

// failed is a policy that could not be evaluated: never a pass, although the
// API server admits the object where failurePolicy is Ignore.
func failed(r *policyRule, message string) result {
	message = shorten(message, 600)
	if *r.policy.Spec.FailurePolicy == admissionv1.Ignore {
		return result{evidence.OutcomeNotChecked, "the policy could not be evaluated, and its failurePolicy is Ignore: " + message}
	}
	return result{evidence.OutcomeError, "the policy could not be evaluated: " + message}
}

func unknownNamespace(key string, sub *subject) result {
	return result{evidence.OutcomeNotChecked, fmt.Sprintf("the policy selects namespaces by label %q, and the labels of namespace %s are known only in a cluster", key, sub.attr.GetNamespace())}
}

// matchDefinition asks the API server's matcher, and notes what it matched.
// unknown is the key of a namespace label on which the answer depends and that
// is not known.
func (q *question) matchDefinition() (matches bool, unknown string, err error) {
	m := q.rule.policy.Spec.MatchConstraints
	if key, ok := q.w.unknownLabel(m.NamespaceSelector, q.s); ok {
		m, unknown = anyNamespace(m), key
	}
	matches, q.gvr, q.gvk, err = q.w.matcher.Matches(q.s.attr, q, (*criteria)(m))
	return matches, unknown, err
}

func (q *question) matchBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) (matches bool, unknown string, err error) {
	m := b.Spec.MatchResources
	if m == nil {
		return true, "", nil
	}
	if key, ok := q.w.unknownLabel(m.NamespaceSelector, q.s); ok {
		m, unknown = anyNamespace(m), key
	}
	matches, _, _, err = q.w.matcher.Matches(q.s.attr, q, (*criteria)(m))
	return matches, unknown, err
}

func anyNamespace(m *admissionv1.MatchResources) *admissionv1.MatchResources {
	open := *m
	open.NamespaceSelector = &metav1.LabelSelector{}
	return &open
}

// unknownLabel returns the first label key that the selector asks of the
// object's namespace and that is not known. Of a namespace that the release
// renders all labels are known.
func (w *world) unknownLabel(sel *metav1.LabelSelector, sub *subject) (string, bool) {
	if sel == nil || len(sel.MatchLabels)+len(sel.MatchExpressions) == 0 || sub.ns == nil || w.namespaces[sub.ns.Name] != nil {
		return "", false
	}
	return selectsUnknown(sel, sub.ns.Labels)
}

// paramsFor collects the parameters as the API server does, from the objects
// beside the policies. A nil parameter stands for a policy without any.
func (s *policySet) paramsFor(r *policyRule, b *admissionv1.ValidatingAdmissionPolicyBinding, sub *subject) ([]runtime.Object, error) {
	ref := b.Spec.ParamRef
	if r.policy.Spec.ParamKind == nil || ref == nil {
		return []runtime.Object{nil}, nil
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = sub.attr.GetNamespace()
	}
	selector, err := metav1.LabelSelectorAsSelector(ref.Selector)
	if err != nil {
		return nil, fmt.Errorf("binding %q: paramRef.selector: %w", b.Name, err)
	}
	var found []runtime.Object
	for i := range s.params {
		o := &s.params[i]
		// Offline a parameter without a namespace is taken to be in the right one.
		if !isParam(r, o) || o.GetNamespace() != "" && o.GetNamespace() != namespace {
			continue
		}
		if ref.Name != "" && o.GetName() == ref.Name || ref.Name == "" && selector.Matches(labels.Set(o.GetLabels())) {
			found = append(found, &o.Unstructured)
		}
	}
	if len(found) == 0 && *ref.ParameterNotFoundAction == admissionv1.DenyAction {
		return nil, fmt.Errorf("binding %q: no %s found that its paramRef names; put it beside the policy", b.Name, r.policy.Spec.ParamKind.Kind)
	}
	return found, nil
}

// decision is what one validation says about one object.
type decision struct {
	evaluation evaluation
	message    string
}

type evaluation int

const (
	evalAdmit evaluation = iota + 1
	evalDeny
	evalError
)

// decide does what the API server's validating.Validator.Validate does with one object, except
// that it evaluates no message expression whose result cannot matter, and does
// not cut long messages, since they are told apart by container. No decisions
// mean that the match conditions exclude the object.
func (p *program) decide(va *admission.VersionedAttributes, gvr schema.GroupVersionResource, param runtime.Object, ns *corev1.Namespace) []decision {
	ctx := context.Background()
	bindings := cel.OptionalVariableBindings{VersionedParams: param}
	if p.matcher != nil {
		m := p.matcher.Match(ctx, va, param, nil)
		if m.Error != nil {
			return undecided(m.Error)
		}
		if !m.Matches {
			return nil
		}
	}
	request := cel.CreateAdmissionRequest(va.Attributes, metav1.GroupVersionResource(gvr), metav1.GroupVersionKind(va.VersionedKind))
	results, left, err := p.validations.ForInput(ctx, va, request, bindings, ns, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return undecided(err)
	}
	passed := !slices.ContainsFunc(results, func(e cel.EvaluationResult) bool { return e.Error != nil || e.EvalResult != types.True })
	var texts []cel.EvaluationResult
	if p.messages != nil && (!passed || left < p.spare) {
		texts, _, err = p.messages.ForInput(ctx, va, request, bindings, ns, left)
	}
	decisions := make([]decision, len(results))
	for i, res := range results {
		d := &decisions[i]
		switch {
		case res.Error != nil:
			d.evaluation, d.message = evalError, res.Error.Error()
		case errors.Is(err, apiservercel.ErrInternal) || errors.Is(err, apiservercel.ErrOutOfBudget):
			d.evaluation, d.message = evalError, "messageExpression: "+err.Error()
		case res.EvalResult != types.True:
			d.evaluation, d.message = evalDeny, denial(res.ExpressionAccessor.(*validationExpr), texts, i)
		default:
			d.evaluation = evalAdmit
		}
	}
	if p.annotations != nil {
		// Their values go to a cluster's audit log, but one that fails denies.
		values, _, err := p.annotations.ForInput(ctx, va, request, bindings, ns, celconfig.RuntimeCELCostBudget)
		if err != nil {
			return undecided(err)
		}
		for _, v := range values {
			if err := v.Error; err != nil && !p.lenient {
				decisions = append(decisions, undecided(fmt.Errorf("audit annotation %q: %w", v.ExpressionAccessor.(*auditExpr).Key, err))...)
			}
		}
		if len(results) == 0 && len(decisions) == 0 {
			decisions = append(decisions, decision{evaluation: evalAdmit})
		}
	}
	return decisions
}

func undecided(err error) []decision {
	return []decision{{evalError, err.Error()}}
}

// maxMessage bounds a message, in bytes; a server cuts at 5 KiB.
const maxMessage = 4 << 20

// denial is the message of a validation that failed: of its expression, or the
// fixed one, or the expression itself.
func denial(v *validationExpr, texts []cel.EvaluationResult, i int) string {
	if i < len(texts) && texts[i].Error == nil && texts[i].EvalResult != nil {
		if s, ok := texts[i].EvalResult.Value().(string); ok {
			if s = strings.TrimSpace(s); s != "" && len(s) <= maxMessage && !strings.Contains(s, "\n") {
				return s
			}
		}
	}
	if s := strings.TrimSpace(v.Message); s != "" {
		return s
	}
	return "failed expression: " + shorten(v.Expression, 600)
}
