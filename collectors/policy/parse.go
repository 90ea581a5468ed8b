package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// annotationPrefix is that of the annotations by which a policy says what it
// decides: controls (comma-separated), severity, title, remediation.
const annotationPrefix = "helmproof.companyos.github.io/"

// builtinPrefix starts the names of the built-in policies; rules are named without it.
const builtinPrefix = "helmproof-"

// RuleOwn is the rule of the finding that there are no policies of the user's own;
// theirs are named after each policy, and count for the same control.
const RuleOwn = rulePrefix + "own-policies"

const (
	apiGroup      = "admissionregistration.k8s.io"
	maxPolicies   = 2000
	rulePrefix    = Name + "/"
	ownRemedy     = "Change the object as the policy's message says."
	maxExpression = 64 << 10 // bytes of one CEL expression
)

// policySet is policies.yaml, parsed and checked; its CEL compiles on first use.
type policySet struct {
	policies []*policyRule
	params   []manifest.Object
}

// policyRule is one policy with its bindings and how its findings are labelled.
type policyRule struct {
	policy   *admissionv1.ValidatingAdmissionPolicy
	bindings []*admissionv1.ValidatingAdmissionPolicyBinding
	source   manifest.Object // where it is written
	builtin  bool            // it says that it is one of helmproof's own

	rule        string
	alsoFor     []evidence.ControlID // controls of the annotation: they count what is wrong, see collectors.Findings
	severity    evidence.Severity
	title       string
	remediation string

	versions map[schema.GroupResource][]string // named in the resource rules, for equivalents
	compile  func() (*program, error)
}

// where names the policy for errors: `policies.d/a.yaml:3: policy "x"`.
func (r *policyRule) where() string { return documentName(&r.source) }

func documentName(o *manifest.Object) string {
	return fmt.Sprintf("%s:%d: %s %q", o.File, o.Line, o.GetKind(), o.GetName())
}

// parseSet parses and checks policies.yaml without compiling its CEL.
func parseSet(raw []byte) (*policySet, error) {
	if len(raw) > 2*maxTotalBytes {
		return nil, fmt.Errorf("parse %s: %d bytes, at most %d are read", collectors.PoliciesFile, len(raw), 2*maxTotalBytes)
	}
	objects, err := manifest.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", collectors.PoliciesFile, err)
	}
	if len(objects.Broken) > 0 {
		b := objects.Broken[0]
		return nil, fmt.Errorf("%s:%d: %s", b.File, b.Line, b.Error)
	}
	set := &policySet{}
	byName := map[string]*policyRule{}
	var bindings []manifest.Object
	for _, o := range objects.Objects {
		gv, err := schema.ParseGroupVersion(o.GetAPIVersion())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", documentName(&o), err)
		}
		if gv.Group != apiGroup {
			set.params = append(set.params, o)
			continue
		}
		if gv.Version != "v1" {
			return nil, fmt.Errorf("%s: apiVersion %s, want %s/v1", documentName(&o), gv, apiGroup)
		}
		switch o.GetKind() {
		case "ValidatingAdmissionPolicy":
			rule, err := parsePolicy(o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", documentName(&o), err)
			}
			if other := byName[o.GetName()]; other != nil {
				return nil, fmt.Errorf("%s: the name is taken by %s; rename it", documentName(&o), other.where())
			}
			byName[o.GetName()] = rule
			if set.policies = append(set.policies, rule); len(set.policies) > maxPolicies {
				return nil, fmt.Errorf("%s: more than %d policies", documentName(&o), maxPolicies)
			}
		case "ValidatingAdmissionPolicyBinding":
			bindings = append(bindings, o)
		default:
			return nil, fmt.Errorf("%s: only ValidatingAdmissionPolicy and ValidatingAdmissionPolicyBinding are evaluated", documentName(&o))
		}
	}
	if err := set.bind(bindings, byName); err != nil {
		return nil, err
	}
	if err := set.checkParams(); err != nil {
		return nil, err
	}
	if err := uniqueRules(set.policies); err != nil {
		return nil, err
	}
	for _, r := range set.policies {
		r.compile = sync.OnceValues(func() (*program, error) { return compilePolicy(r) })
	}
	return set, nil
}

// uniqueRules refuses two policies that would make findings of one rule.
func uniqueRules(list []*policyRule) error {
	byRule := map[string]*policyRule{}
	for _, r := range list {
		if other := byRule[r.rule]; other != nil {
			return fmt.Errorf("%s: its rule name %s is taken by %s; rename it", r.where(), r.rule, other.where())
		}
		byRule[r.rule] = r
	}
	return nil
}

func parsePolicy(o manifest.Object) (*policyRule, error) {
	p := new(admissionv1.ValidatingAdmissionPolicy)
	if err := decodeStrict(o, p); err != nil {
		return nil, err
	}
	if err := checkPolicy(p); err != nil {
		return nil, err
	}
	setDefaults(p)
	r := &policyRule{
		policy:   p,
		source:   o,
		builtin:  strings.HasPrefix(o.File, builtinDir) && strings.HasPrefix(p.Name, builtinPrefix),
		rule:     rulePrefix + p.Name,
		versions: map[schema.GroupResource][]string{},
	}
	if r.builtin {
		r.rule = rulePrefix + strings.TrimPrefix(p.Name, builtinPrefix)
	}
	if err := r.label(p.Annotations); err != nil {
		return nil, err
	}
	r.addVersions(p.Spec.MatchConstraints)
	return r, nil
}

// label reads the annotations. What the policy's rule counts for is the catalog's
// to say, as of every rule; the annotation's controls only ever become stricter.
func (r *policyRule) label(annotations map[string]string) error {
	r.severity = evidence.SeverityHigh
	r.title = r.policy.Name
	r.remediation = ownRemedy
	for k, v := range annotations {
		key, ours := strings.CutPrefix(k, annotationPrefix)
		if !ours {
			continue
		}
		if strings.TrimSpace(v) == "" || len(v) > 1000 || strings.ContainsAny(v, "\n\r") {
			return fmt.Errorf("annotation %s: want one line of 1 to 1000 bytes", k)
		}
		switch key {
		case "controls":
			for id := range strings.SplitSeq(v, ",") {
				id = strings.TrimSpace(id)
				if !isControlID(id) {
					return fmt.Errorf("annotation %s: %q is no control id like RES-1", k, id)
				}
				r.alsoFor = append(r.alsoFor, evidence.ControlID(id))
			}
			slices.Sort(r.alsoFor)
			r.alsoFor = slices.Compact(r.alsoFor)
		case "severity":
			r.severity = evidence.Severity(v)
			if err := r.severity.Validate(); err != nil {
				return fmt.Errorf("annotation %s: %w", k, err)
			}
		case "title":
			r.title = v
		case "remediation":
			r.remediation = v
		default:
			return fmt.Errorf("annotation %s: want controls, severity, title or remediation", k)
		}
	}
	return nil
}

func isControlID(s string) bool {
	group, number, ok := strings.Cut(s, "-")
	return ok && group != "" && number != "" &&
		strings.Trim(group, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" && strings.Trim(number, "0123456789") == ""
}

// bind gives each policy its bindings. A policy without one denies, everywhere.
func (s *policySet) bind(bindings []manifest.Object, byName map[string]*policyRule) error {
	seen := map[string]bool{}
	for _, o := range bindings {
		b := new(admissionv1.ValidatingAdmissionPolicyBinding)
		err := decodeStrict(o, b)
		if err == nil {
			err = checkBinding(b)
		}
		if err == nil && seen[b.Name] {
			err = errors.New("the name is taken by another binding; rename it")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", documentName(&o), err)
		}
		seen[b.Name] = true
		r := byName[b.Spec.PolicyName]
		if r == nil {
			return fmt.Errorf("%s: spec.policyName: there is no policy %q", documentName(&o), b.Spec.PolicyName)
		}
		if r.builtin && !strings.HasPrefix(o.File, builtinDir) {
			return fmt.Errorf("%s: policy %q is helmproof's own; waive its findings instead of binding it", documentName(&o), r.policy.Name)
		}
		if r.policy.Spec.ParamKind != nil && b.Spec.ParamRef == nil {
			return fmt.Errorf("%s: policy %q has a paramKind, so the binding needs a paramRef", documentName(&o), r.policy.Name)
		}
		if b.Spec.MatchResources != nil {
			setMatchDefaults(b.Spec.MatchResources)
			r.addVersions(b.Spec.MatchResources)
		}
		r.bindings = append(r.bindings, b)
	}
	for _, r := range s.policies {
		if len(r.bindings) > 0 {
			continue
		}
		if r.policy.Spec.ParamKind != nil {
			return fmt.Errorf("%s: it has a paramKind, so it needs a ValidatingAdmissionPolicyBinding with a paramRef", r.where())
		}
		r.bindings = []*admissionv1.ValidatingAdmissionPolicyBinding{{
			Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName:        r.policy.Name,
				ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
			},
		}}
	}
	return nil
}

// checkParams refuses objects that are no policy's parameters: a typing error
// in a kind must not switch a policy off.
func (s *policySet) checkParams() error {
	for i := range s.params {
		o := &s.params[i]
		if !slices.ContainsFunc(s.policies, func(r *policyRule) bool { return isParam(r, o) }) {
			return fmt.Errorf("%s: neither a policy, a binding nor of the paramKind of a policy", documentName(o))
		}
	}
	return nil
}

func isParam(r *policyRule, o *manifest.Object) bool {
	k := r.policy.Spec.ParamKind
	return k != nil && k.APIVersion == o.GetAPIVersion() && k.Kind == o.GetKind()
}

func decodeStrict(o manifest.Object, into any) error {
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true)
	if err == nil {
		return nil
	}
	// The JSON decoder says the same with the field's name.
	raw, jsonErr := json.Marshal(o.Object)
	if jsonErr == nil {
		var strict []error
		if strict, jsonErr = kjson.UnmarshalStrict(raw, into); jsonErr == nil {
			jsonErr = errors.Join(strict...)
		}
	}
	switch {
	case jsonErr == nil:
		return fmt.Errorf("decode: %w", err)
	case strings.Contains(jsonErr.Error(), "cannot unmarshal"):
		return fmt.Errorf("decode: %w; quote a text that YAML reads otherwise, like no or 1", jsonErr)
	}
	return fmt.Errorf("decode: %w", jsonErr)
}

// setDefaults does what the API server does to a policy that it stores.
func setDefaults(p *admissionv1.ValidatingAdmissionPolicy) {
	if p.Spec.FailurePolicy == nil {
		p.Spec.FailurePolicy = new(admissionv1.Fail)
	}
	setMatchDefaults(p.Spec.MatchConstraints)
}

func setMatchDefaults(m *admissionv1.MatchResources) {
	if m.MatchPolicy == nil {
		m.MatchPolicy = new(admissionv1.Equivalent)
	}
	if m.NamespaceSelector == nil {
		m.NamespaceSelector = &metav1.LabelSelector{}
	}
	if m.ObjectSelector == nil {
		m.ObjectSelector = &metav1.LabelSelector{}
	}
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			if rules[i].Scope == nil {
				rules[i].Scope = new(admissionv1.AllScopes)
			}
		}
	}
}

// addVersions remembers which versions of a resource the rules name.
func (r *policyRule) addVersions(m *admissionv1.MatchResources) {
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for _, rule := range rules {
			for _, g := range rule.APIGroups {
				for _, res := range rule.Resources {
					gr := schema.GroupResource{Group: g, Resource: res}
					for _, v := range rule.APIVersions {
						if v != "*" && !slices.Contains(r.versions[gr], v) {
							r.versions[gr] = append(r.versions[gr], v)
						}
					}
				}
			}
		}
	}
}

// selectsUnknown reports the first label key, of those that the selector asks
// for, that is not among known. Without a cluster a namespace's labels are not known.
func selectsUnknown(sel *metav1.LabelSelector, known labels.Set) (key string, unknown bool) {
	if sel == nil {
		return "", false
	}
	s, err := metav1.LabelSelectorAsSelector(sel)
	if err != nil {
		return "", false
	}
	reqs, _ := s.Requirements()
	for _, r := range reqs {
		if !known.Has(r.Key()) {
			return r.Key(), true
		}
	}
	return "", false
}
