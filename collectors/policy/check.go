package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// identifier is what the API server takes as the name of a variable.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// reasons are those that the API server lets a policy give.
var reasons = []metav1.StatusReason{metav1.StatusReasonUnauthorized, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge}

// checkPolicy makes the structural checks of the API server: what it would
// refuse to store is refused here, so that a policy means the same in both places.
func checkPolicy(p *admissionv1.ValidatingAdmissionPolicy) error {
	if errs := validation.IsDNS1123Subdomain(p.Name); len(errs) > 0 {
		return fmt.Errorf("metadata.name %q: %s", p.Name, errs[0])
	}
	spec := &p.Spec
	if len(spec.Validations) == 0 && len(spec.AuditAnnotations) == 0 {
		return errors.New("spec.validations: at least one is needed")
	}
	if f := spec.FailurePolicy; f != nil && *f != admissionv1.Fail && *f != admissionv1.Ignore {
		return fmt.Errorf("spec.failurePolicy %q: want Fail or Ignore", *f)
	}
	if k := spec.ParamKind; k != nil {
		if _, err := schema.ParseGroupVersion(k.APIVersion); err != nil || k.APIVersion == "" || k.Kind == "" {
			return fmt.Errorf("spec.paramKind: want apiVersion and kind, have %q and %q", k.APIVersion, k.Kind)
		}
	}
	if spec.MatchConstraints == nil || len(spec.MatchConstraints.ResourceRules) == 0 {
		return errors.New("spec.matchConstraints.resourceRules: at least one is needed")
	}
	if err := checkMatch(spec.MatchConstraints); err != nil {
		return fmt.Errorf("spec.matchConstraints.%w", err)
	}
	if err := checkExpressions(spec); err != nil {
		return err
	}
	return nil
}

func checkExpressions(spec *admissionv1.ValidatingAdmissionPolicySpec) error {
	if len(spec.MatchConditions) > 64 {
		return errors.New("spec.matchConditions: more than 64")
	}
	seen := map[string]bool{}
	for i, c := range spec.MatchConditions {
		if errs := validation.IsQualifiedName(c.Name); len(errs) > 0 {
			return fmt.Errorf("spec.matchConditions[%d].name %q: %s", i, c.Name, errs[0])
		}
		if seen[c.Name] {
			return fmt.Errorf("spec.matchConditions[%d].name %q: used twice", i, c.Name)
		}
		seen[c.Name] = true
		if err := checkExpression(c.Expression); err != nil {
			return fmt.Errorf("spec.matchConditions[%d].expression: %w", i, err)
		}
	}
	clear(seen)
	for i, v := range spec.Variables {
		if !identifier.MatchString(v.Name) {
			return fmt.Errorf("spec.variables[%d].name %q: want a CEL identifier", i, v.Name)
		}
		if seen[v.Name] {
			return fmt.Errorf("spec.variables[%d].name %q: used twice", i, v.Name)
		}
		seen[v.Name] = true
		if err := checkExpression(v.Expression); err != nil {
			return fmt.Errorf("spec.variables[%d].expression: %w", i, err)
		}
	}
	for i, v := range spec.Validations {
		if err := checkExpression(v.Expression); err != nil {
			return fmt.Errorf("spec.validations[%d].expression: %w", i, err)
		}
		if strings.ContainsAny(v.Message, "\n\r") {
			return fmt.Errorf("spec.validations[%d].message: must not hold line breaks", i)
		}
		if v.Reason != nil && !slices.Contains(reasons, *v.Reason) {
			return fmt.Errorf("spec.validations[%d].reason %q: want Unauthorized, Forbidden, Invalid or RequestEntityTooLarge", i, *v.Reason)
		}
		if len(v.MessageExpression) > maxExpression {
			return fmt.Errorf("spec.validations[%d].messageExpression: longer than %d bytes", i, maxExpression)
		}
	}
	if len(spec.AuditAnnotations) > 20 {
		return errors.New("spec.auditAnnotations: more than 20")
	}
	clear(seen)
	for i, a := range spec.AuditAnnotations {
		if errs := validation.IsQualifiedName(a.Key); len(errs) > 0 {
			return fmt.Errorf("spec.auditAnnotations[%d].key %q: %s", i, a.Key, errs[0])
		}
		if seen[a.Key] {
			return fmt.Errorf("spec.auditAnnotations[%d].key %q: used twice", i, a.Key)
		}
		seen[a.Key] = true
		if err := checkExpression(a.ValueExpression); err != nil {
			return fmt.Errorf("spec.auditAnnotations[%d].valueExpression: %w", i, err)
		}
	}
	return nil
}

func checkExpression(s string) error {
	switch {
	case strings.TrimSpace(s) == "":
		return errors.New("must not be empty")
	case len(s) > maxExpression:
		return fmt.Errorf("longer than %d bytes", maxExpression)
	}
	return nil
}

func checkMatch(m *admissionv1.MatchResources) error {
	if p := m.MatchPolicy; p != nil && *p != admissionv1.Exact && *p != admissionv1.Equivalent {
		return fmt.Errorf("matchPolicy %q: want Exact or Equivalent", *p)
	}
	for _, s := range []struct {
		field    string
		selector *metav1.LabelSelector
	}{{"namespaceSelector", m.NamespaceSelector}, {"objectSelector", m.ObjectSelector}} {
		if _, err := metav1.LabelSelectorAsSelector(s.selector); err != nil {
			return fmt.Errorf("%s: %w", s.field, err)
		}
	}
	for _, l := range []struct {
		field string
		rules []admissionv1.NamedRuleWithOperations
	}{{"resourceRules", m.ResourceRules}, {"excludeResourceRules", m.ExcludeResourceRules}} {
		for i, r := range l.rules {
			if err := checkRule(r); err != nil {
				return fmt.Errorf("%s[%d]: %w", l.field, i, err)
			}
		}
	}
	return nil
}

func checkRule(r admissionv1.NamedRuleWithOperations) error {
	for _, l := range []struct {
		field string
		items []string
	}{{"apiGroups", r.APIGroups}, {"apiVersions", r.APIVersions}, {"resources", r.Resources}} {
		if len(l.items) == 0 {
			return fmt.Errorf("%s: at least one is needed", l.field)
		}
		if len(l.items) > 1 && slices.Contains(l.items, "*") {
			return fmt.Errorf("%s: \"*\" must stand alone", l.field)
		}
	}
	if len(r.Operations) == 0 {
		return errors.New("operations: at least one is needed")
	}
	for _, op := range r.Operations {
		switch op {
		case admissionv1.OperationAll, admissionv1.Create, admissionv1.Update, admissionv1.Delete, admissionv1.Connect:
		default:
			return fmt.Errorf("operations: %q, want CREATE, UPDATE, DELETE, CONNECT or \"*\"", op)
		}
	}
	if s := r.Scope; s != nil && *s != admissionv1.AllScopes && *s != admissionv1.ClusterScope && *s != admissionv1.NamespacedScope {
		return fmt.Errorf("scope %q: want Cluster, Namespaced or \"*\"", *s)
	}
	return nil
}

func checkBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) error {
	if errs := validation.IsDNS1123Subdomain(b.Name); len(errs) > 0 {
		return fmt.Errorf("metadata.name %q: %s", b.Name, errs[0])
	}
	if len(b.Spec.ValidationActions) == 0 {
		return errors.New("spec.validationActions: at least one is needed")
	}
	for _, a := range b.Spec.ValidationActions {
		if a != admissionv1.Deny && a != admissionv1.Warn && a != admissionv1.Audit {
			return fmt.Errorf("spec.validationActions: %q, want Deny, Warn or Audit", a)
		}
	}
	if slices.Contains(b.Spec.ValidationActions, admissionv1.Deny) && slices.Contains(b.Spec.ValidationActions, admissionv1.Warn) {
		return errors.New("spec.validationActions: Deny and Warn exclude each other")
	}
	if ref := b.Spec.ParamRef; ref != nil {
		if (ref.Name == "") == (ref.Selector == nil) {
			return errors.New("spec.paramRef: want either name or selector")
		}
		if _, err := metav1.LabelSelectorAsSelector(ref.Selector); err != nil {
			return fmt.Errorf("spec.paramRef.selector: %w", err)
		}
		if a := ref.ParameterNotFoundAction; a == nil || *a != admissionv1.AllowAction && *a != admissionv1.DenyAction {
			return errors.New("spec.paramRef.parameterNotFoundAction: want Allow or Deny")
		}
	}
	if b.Spec.MatchResources != nil {
		if err := checkMatch(b.Spec.MatchResources); err != nil {
			return fmt.Errorf("spec.matchResources.%w", err)
		}
	}
	return nil
}
