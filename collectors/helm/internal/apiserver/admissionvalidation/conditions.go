// Package admissionvalidation is Kubernetes' validation of admission webhooks and
// policies. Kubernetes' own package links the plugins that run them, with informers,
// fake clients and a client of etcd; this is its source with four types instead.
package admissionvalidation

import celgo "github.com/google/cel-go/cel"

//go:generate go run ../../genadmission

// The types of k8s.io/apiserver/pkg/admission/plugin/policy/validating that the
// source names: an expression of a policy, and what it may evaluate to.
type (
	validationCondition        struct{ Expression string }
	messageExpressionCondition struct{ MessageExpression string }
	auditAnnotationCondition   struct{ ValueExpression string }
	variable                   struct{ Name, Expression string }
)

func (c *validationCondition) GetExpression() string        { return c.Expression }
func (c *messageExpressionCondition) GetExpression() string { return c.MessageExpression }
func (c *auditAnnotationCondition) GetExpression() string   { return c.ValueExpression }
func (v *variable) GetExpression() string                   { return v.Expression }
func (v *variable) GetName() string                         { return v.Name }

func (*validationCondition) ReturnTypes() []*celgo.Type { return []*celgo.Type{celgo.BoolType} }

func (*messageExpressionCondition) ReturnTypes() []*celgo.Type {
	return []*celgo.Type{celgo.StringType}
}

func (*auditAnnotationCondition) ReturnTypes() []*celgo.Type {
	return []*celgo.Type{celgo.StringType, celgo.NullType}
}

func (*variable) ReturnTypes() []*celgo.Type { return []*celgo.Type{celgo.AnyType, celgo.DynType} }
