package admission

import (
	"cmp"
	"context"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

// Policies are the policies that are expected, as the cluster has them.
type Policies struct {
	At       time.Time `json:"at,omitzero"` // when they were read
	Policies []Policy  `json:"policies"`
	Error    string    `json:"error,omitempty"`
}

// Policy is one expected ValidatingAdmissionPolicy.
type Policy struct {
	Name  string `json:"name"`
	Found bool   `json:"found"`
	// Differs names the parts of its spec that are not those expected.
	Differs []string `json:"differs,omitempty"`
	// TypeChecked says that the cluster has type-checked this generation of it.
	TypeChecked bool      `json:"typeChecked"`
	Warnings    []string  `json:"warnings,omitempty"` // of the type check
	Bindings    []Binding `json:"bindings"`
	// Exempt are the conditions by which it leaves something out, Declared is what its
	// annotation says of them.
	Exempt   []Condition `json:"exempt,omitempty"`
	Declared string      `json:"declared,omitempty"`
	Error    string      `json:"error,omitempty"`
}

// Binding is a ValidatingAdmissionPolicyBinding of the policy.
type Binding struct {
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
	// Matches is where the binding applies, if not everywhere.
	Matches *admissionv1.MatchResources `json:"matches,omitempty"`
}

// Signature is what is known of admission by image signatures.
type Signature struct {
	Image     string  `json:"image,omitempty"` // that carries no trusted signature
	Namespace string  `json:"namespace,omitempty"`
	Answer    *Answer `json:"answer,omitempty"`
	// Webhooks are the validating webhooks that see pods, by configuration/name.
	Webhooks []Webhook `json:"webhooks"`
	Error    string    `json:"error,omitempty"`
}

// Webhook is a validating webhook that is asked about pods.
type Webhook struct {
	Name              string                `json:"name"`
	FailurePolicy     string                `json:"failurePolicy"`
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`
}

func (c *collector) collectCluster(ctx context.Context, cluster *cluster.Cluster, now time.Time, out evidence.ArtifactWriter) error {
	policies, err := c.lookAtPolicies(ctx, cluster)
	if err != nil {
		return err
	}
	policies.At = now.UTC()
	if err := collectors.WriteJSON(out, policiesFile, policies); err != nil {
		return err
	}
	if err := collectors.WriteJSON(out, objectsFile, lookAtObjects(ctx, cluster, &policies)); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	signature, err := c.lookAtSignature(ctx, cluster)
	if err != nil {
		return err
	}
	return collectors.WriteJSON(out, signatureFile, signature)
}

func (c *collector) lookAtPolicies(ctx context.Context, cluster *cluster.Cluster) (Policies, error) {
	expected, err := policy.Expected(c.o.Policies)
	if err != nil {
		return Policies{}, err
	}
	out := Policies{Policies: []Policy{}}
	client := cluster.Kube.AdmissionregistrationV1()
	bindings, err := client.ValidatingAdmissionPolicyBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		out.Error = err.Error()
		return out, nil //nolint:nilerr // sealed with the rest
	}
	for _, want := range expected {
		p := Policy{Name: want.Name, Bindings: []Binding{}}
		got, err := client.ValidatingAdmissionPolicies().Get(ctx, want.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			p.Error = err.Error()
		default:
			p.Exempt, got.Spec.MatchConditions = exempted(got.Spec.MatchConditions)
			p.Declared = got.Annotations[exemptionsAnnotation]
			p.Found, p.Differs = true, differences(&want.Spec, &got.Spec)
			p.TypeChecked = got.Status.ObservedGeneration == got.Generation && got.Status.TypeChecking != nil
			if got.Status.TypeChecking != nil {
				for _, w := range got.Status.TypeChecking.ExpressionWarnings {
					p.Warnings = append(p.Warnings, w.FieldRef+": "+w.Warning)
				}
			}
		}
		for i := range bindings.Items {
			b := &bindings.Items[i]
			if b.Spec.PolicyName != want.Name {
				continue
			}
			x := Binding{Name: b.Name, Actions: []string{}}
			for _, a := range b.Spec.ValidationActions {
				x.Actions = append(x.Actions, string(a))
			}
			if !everywhere(b.Spec.MatchResources) {
				x.Matches = b.Spec.MatchResources
			}
			p.Bindings = append(p.Bindings, x)
		}
		slices.SortFunc(p.Bindings, func(a, b Binding) int { return cmp.Compare(a.Name, b.Name) })
		out.Policies = append(out.Policies, p)
	}
	slices.SortFunc(out.Policies, func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func differences(want, got *admissionv1.ValidatingAdmissionPolicySpec) []string {
	var out []string
	for _, part := range []struct {
		name      string
		want, got any
	}{
		{"failurePolicy", want.FailurePolicy, got.FailurePolicy}, {"matchConditions", want.MatchConditions, got.MatchConditions},
		{"matchConstraints", want.MatchConstraints, got.MatchConstraints}, {"paramKind", want.ParamKind, got.ParamKind},
		{"validations", want.Validations, got.Validations}, {"variables", want.Variables, got.Variables},
	} {
		if !equality.Semantic.DeepEqual(part.want, part.got) {
			out = append(out, part.name)
		}
	}
	return out
}

func everywhere(m *admissionv1.MatchResources) bool {
	empty := func(s *metav1.LabelSelector) bool {
		return s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0
	}
	return m == nil || empty(m.NamespaceSelector) && empty(m.ObjectSelector) && len(m.ResourceRules)+len(m.ExcludeResourceRules) == 0
}

func (c *collector) lookAtSignature(ctx context.Context, cluster *cluster.Cluster) (Signature, error) {
	s := Signature{Webhooks: []Webhook{}}
	list, err := cluster.Kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		s.Error = err.Error()
	} else {
		for i := range list.Items {
			for _, w := range list.Items[i].Webhooks {
				if slices.ContainsFunc(w.Rules, func(r admissionv1.RuleWithOperations) bool {
					return slices.Contains(r.Resources, "pods") || slices.Contains(r.Resources, "*") || slices.Contains(r.Resources, "*/*")
				}) {
					x := Webhook{Name: list.Items[i].Name + "/" + w.Name, NamespaceSelector: w.NamespaceSelector}
					if w.FailurePolicy != nil {
						x.FailurePolicy = string(*w.FailurePolicy)
					}
					s.Webhooks = append(s.Webhooks, x)
				}
			}
		}
	}
	if c.o.UnsignedImage == "" {
		return s, nil
	}
	a, err := newAsker(cluster)
	if err != nil {
		return s, err
	}
	s.Image, s.Namespace = c.o.UnsignedImage, cmp.Or(c.o.ProbeNamespace, metav1.NamespaceDefault)
	pod := goodPod(s.Namespace)
	pod.Spec.Containers[0].Image = s.Image
	answer := createPod(ctx, a, pod)
	s.Answer = &answer
	return s, nil
}
