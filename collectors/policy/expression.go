package policy

import (
	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// The parts of a policy that hold an expression, each with the types that its
// result may have. They stand for the types of the same fields in the API
// server's package validating, which drags in all that a server is made of:
// informers, and a typed client of every API group and a fake of each.
type (
	validationExpr admissionv1.Validation
	messageExpr    admissionv1.Validation
	auditExpr      admissionv1.AuditAnnotation
	variableExpr   admissionv1.Variable
)

// GetExpression implements cel.ExpressionAccessor, as all of these do.
func (v *validationExpr) GetExpression() string { return v.Expression }
func (m *messageExpr) GetExpression() string    { return m.MessageExpression }
func (a *auditExpr) GetExpression() string      { return a.ValueExpression }
func (v *variableExpr) GetExpression() string   { return v.Expression }

// ReturnTypes implements cel.ExpressionAccessor, as all of these do.
func (*validationExpr) ReturnTypes() []*celgo.Type { return []*celgo.Type{celgo.BoolType} }
func (*messageExpr) ReturnTypes() []*celgo.Type    { return []*celgo.Type{celgo.StringType} }
func (*auditExpr) ReturnTypes() []*celgo.Type {
	return []*celgo.Type{celgo.StringType, celgo.NullType}
}
func (*variableExpr) ReturnTypes() []*celgo.Type { return []*celgo.Type{celgo.AnyType, celgo.DynType} }

// GetName implements cel.NamedExpressionAccessor.
func (v *variableExpr) GetName() string { return v.Name }
