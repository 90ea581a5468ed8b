package policy

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
)

// program is a policy's compiled CEL, in the API server's own types. It is safe
// for concurrent use.
type program struct {
	matcher     matchconditions.Matcher // nil without match conditions
	validations cel.ConditionEvaluator
	messages    cel.ConditionEvaluator // nil without message expressions
	annotations cel.ConditionEvaluator // nil without audit annotations
	validator   validating.Validator

	// spare is the cost, in CEL units, that must be left after the validations for the
	// message expressions to be certain not to run out of it: then they need not
	// be evaluated for an object that passes.
	spare      int64
	authorizer bool // an expression asks the authorizer
}

// environments are the CEL environments of admission policies, without and with
// params, built on first use. They declare what the API server's do; it builds
// one for each combination of options and each policy, which costs more than
// compiling the policy.
var environments = [2]func() (*environment.EnvSet, error){
	sync.OnceValues(func() (*environment.EnvSet, error) {
		return newEnvironment(environment.DefaultCompatibilityVersion(), false)
	}),
	sync.OnceValues(func() (*environment.EnvSet, error) {
		return newEnvironment(environment.DefaultCompatibilityVersion(), true)
	}),
}

func environmentFor(params bool) (*environment.EnvSet, error) {
	if params {
		return environments[1]()
	}
	return environments[0]()
}

func newEnvironment(v *version.Version, params bool) (*environment.EnvSet, error) {
	request, namespace := cel.BuildRequestType(), cel.BuildNamespaceType()
	vars := []celgo.EnvOption{
		celgo.Variable(cel.ObjectVarName, celgo.DynType),
		celgo.Variable(cel.OldObjectVarName, celgo.DynType),
		celgo.Variable(cel.NamespaceVarName, namespace.CelType()),
		celgo.Variable(cel.RequestVarName, request.CelType()),
		celgo.Variable(cel.AuthorizerVarName, library.AuthorizerType),
		celgo.Variable(cel.RequestResourceAuthorizerVarName, library.ResourceCheckType),
	}
	if params {
		vars = append(vars, celgo.Variable(cel.ParamsVarName, celgo.DynType))
	}
	env, err := environment.MustBaseEnvSet(v).Extend(
		environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0),
			EnvOptions:        vars,
			DeclTypes:         []*apiservercel.DeclType{namespace, request},
		},
		environment.StrictCostOpt,
	)
	if err != nil {
		return nil, fmt.Errorf("build CEL environment: %w", err)
	}
	return env, nil
}

// compiler compiles expressions in one environment, and notes what they ask for.
// It stands in for the API server's, which has no way to give it an environment.
type compiler struct {
	env         func() (*celgo.Env, error)
	authorizer  bool // an expression asked the authorizer
	noAuthority bool // expressions must not
	known       checkedExprs
	scope       string                       // what expressions are checked by: params, and the variables before them
	note        func(checkedKey, *celgo.Ast) // told of every expression; may be nil
	errs        []error
	field       string // names the expressions in errors
}

// CompileCELExpression implements cel.Compiler.
func (c *compiler) CompileCELExpression(e cel.ExpressionAccessor, _ cel.OptionalVariableDeclarations, _ environment.Type) cel.CompilationResult {
	result, err := c.compile(e)
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s: %w\n\tin %s", c.field, err, shorten(e.GetExpression(), 300)))
		result = cel.CompilationResult{
			ExpressionAccessor: e,
			Error:              &apiservercel.Error{Type: apiservercel.ErrorTypeInvalid, Detail: err.Error(), Cause: err},
		}
	}
	return result
}

func (c *compiler) compile(e cel.ExpressionAccessor) (cel.CompilationResult, error) {
	env, err := c.env()
	if err != nil {
		return cel.CompilationResult{}, err
	}
	ast, err := c.check(env, e.GetExpression())
	if err != nil {
		return cel.CompilationResult{}, err
	}
	if err := checkReturnType(e, ast.OutputType()); err != nil {
		return cel.CompilationResult{}, err
	}
	for _, r := range ast.NativeRep().ReferenceMap() {
		if r.Name == cel.AuthorizerVarName || r.Name == cel.RequestResourceAuthorizerVarName {
			if c.noAuthority {
				return cel.CompilationResult{}, errors.New("the authorizer is not available here")
			}
			c.authorizer = true
		}
	}
	prog, err := env.Program(ast, celgo.InterruptCheckFrequency(celconfig.CheckFrequency))
	if err != nil {
		return cel.CompilationResult{}, err
	}
	return cel.CompilationResult{Program: prog, ExpressionAccessor: e, OutputType: ast.OutputType()}, nil
}

// check returns an expression parsed and checked.
func (c *compiler) check(env *celgo.Env, text string) (*celgo.Ast, error) {
	key := keyOf(c.scope, text)
	if ast, err := c.known.ast(key); ast != nil || err != nil {
		return ast, err
	}
	ast, issues := env.Compile(text)
	if issues != nil && issues.Err() != nil {
		var texts []string
		for _, i := range issues.Errors() {
			texts = append(texts, fmt.Sprintf("%s at %d:%d", i.Message, i.Location.Line(), i.Location.Column()+1))
		}
		return nil, errors.New(strings.Join(texts, "; "))
	}
	if c.note != nil {
		c.note(key, ast)
	}
	return ast, nil
}

func checkReturnType(e cel.ExpressionAccessor, have *celgo.Type) error {
	var want []string
	for _, t := range e.ReturnTypes() {
		if have.IsExactType(t) || celgo.AnyType.IsExactType(t) {
			return nil
		}
		want = append(want, t.String())
	}
	return fmt.Errorf("it is of type %s, want %s", have, strings.Join(want, " or "))
}

// CompileCondition implements cel.ConditionCompiler.
func (c *compiler) CompileCondition(list []cel.ExpressionAccessor, o cel.OptionalVariableDeclarations, mode environment.Type) cel.ConditionEvaluator {
	results := make([]cel.CompilationResult, len(list))
	base := c.field
	for i, e := range list {
		if e == nil { // a validation without a message expression keeps its place
			continue
		}
		c.field = fmt.Sprintf(base, i)
		results[i] = c.CompileCELExpression(e, o, mode)
	}
	c.field = base
	return cel.NewCondition(results)
}

// compilePolicy compiles all of a policy's expressions, as the API server does
// when it loads one that is stored. The error lists every expression that does not compile.
func compilePolicy(r *policyRule) (*program, error) {
	env, err := environmentFor(r.policy.Spec.ParamKind != nil)
	if err != nil {
		return nil, err
	}
	var known checkedExprs
	if r.builtin {
		if known, err = checked(); err != nil {
			return nil, err
		}
	}
	p, err := compileIn(env, environment.StoredExpressions, r.policy, known, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.where(), err)
	}
	return p, nil
}

// compileIn takes expressions from known, which only those of environments are in,
// and tells note about the others.
func compileIn(env *environment.EnvSet, mode environment.Type, policy *admissionv1.ValidatingAdmissionPolicy, known checkedExprs, note func(checkedKey, *celgo.Ast)) (*program, error) {
	spec := &policy.Spec
	opts := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	p := &program{}
	scope := fmt.Sprintf("params %t\x00", opts.HasParams)
	var errs []error

	if len(spec.MatchConditions) > 0 {
		// They run before the rest, and cannot use its variables.
		c := &compiler{env: func() (*celgo.Env, error) { return env.Env(mode) }, field: "spec.matchConditions[%d].expression", known: known, scope: scope + "match\x00", note: note}
		conditions := make([]cel.ExpressionAccessor, len(spec.MatchConditions))
		for i := range spec.MatchConditions {
			conditions[i] = (*matchconditions.MatchCondition)(&spec.MatchConditions[i])
		}
		evaluator := c.CompileCondition(conditions, opts, mode)
		p.matcher = matchconditions.NewMatcher(evaluator, spec.FailurePolicy, "policy", "validate", policy.Name)
		p.authorizer = c.authorizer
		errs = append(errs, c.errs...)
	}

	composed, err := cel.NewCompositedCompilerForTypeChecking(env)
	if err != nil {
		return nil, fmt.Errorf("build CEL environment: %w", err)
	}
	c := &compiler{env: func() (*celgo.Env, error) { return composed.Env(mode) }, known: known, scope: scope, note: note}
	composed.Compiler, composed.ConditionCompiler = c, c
	for i := range spec.Variables {
		c.field = fmt.Sprintf("spec.variables[%d] %q", i, spec.Variables[i].Name)
		composed.CompileAndStoreVariable(&validating.Variable{Name: spec.Variables[i].Name, Expression: spec.Variables[i].Expression}, opts, mode)
		c.scope += spec.Variables[i].Name + "\x00" + spec.Variables[i].Expression + "\x00"
	}
	if errs = append(errs, c.errs...); len(errs) > 0 {
		return nil, errors.Join(errs...) // what uses the variables would only repeat the errors
	}

	var validations, messages, annotations []cel.ExpressionAccessor
	hasMessages := false
	for _, v := range spec.Validations {
		validations = append(validations, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason})
		if v.MessageExpression == "" {
			messages = append(messages, nil)
			continue
		}
		hasMessages = true
		messages = append(messages, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression})
	}
	for _, a := range spec.AuditAnnotations {
		annotations = append(annotations, &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression})
	}
	c.field = "spec.validations[%d].expression"
	p.validations = composed.CompileCondition(validations, opts, mode)
	c.field = "spec.auditAnnotations[%d].valueExpression"
	audit := composed.CompileCondition(annotations, opts, mode)
	c.field, c.noAuthority = "spec.validations[%d].messageExpression", true
	texts := composed.CompileCondition(messages, opts, mode)
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	p.authorizer = p.authorizer || c.authorizer
	p.validator = validating.NewValidator(p.validations, p.matcher, audit, texts, spec.FailurePolicy, nil)
	if len(annotations) > 0 {
		p.annotations = audit
	}
	if hasMessages {
		p.messages = texts
		// Each program stops at PerCallLimit; its last step may exceed it.
		p.spare = 2 * celconfig.PerCallLimit * int64(len(spec.Validations)+len(spec.Variables))
	}
	return p, nil
}

// shorten cuts s, whitespace folded, to n bytes.
func shorten(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
