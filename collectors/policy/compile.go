package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	celgo "github.com/google/cel-go/cel"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
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

	// spare is the cost, in CEL units, that must be left after the validations for the
	// message expressions to be certain not to run out of it: then they need not
	// be evaluated for an object that passes.
	spare      int64
	authorizer bool // an expression asks the authorizer
	lenient    bool // failurePolicy is Ignore
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
	scope       scope
	known       bool                         // take what checkedExprs has: env is of one of environments
	record      func(checkedKey, *celgo.Ast) // is told what compiles; may be nil
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
	if c.known {
		if known, ok := checkedExprs()[c.scope.key(e.GetExpression())]; ok {
			output, err := known.outputType()
			if err == nil {
				err = checkReturnType(e, output)
			}
			return cel.CompilationResult{Program: lazyProgram{known, c.env}, ExpressionAccessor: e, OutputType: output}, err
		}
	}
	env, err := c.env()
	if err != nil {
		return cel.CompilationResult{}, err
	}
	ast, issues := env.Compile(e.GetExpression())
	if issues != nil && issues.Err() != nil {
		var texts []string
		for _, i := range issues.Errors() {
			texts = append(texts, fmt.Sprintf("%s at %d:%d", i.Message, i.Location.Line(), i.Location.Column()+1))
		}
		return cel.CompilationResult{}, errors.New(strings.Join(texts, "; "))
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
	prog, err := newProgram(env, ast)
	if err != nil {
		return cel.CompilationResult{}, err
	}
	if c.record != nil {
		c.record(c.scope.key(e.GetExpression()), ast)
	}
	return cel.CompilationResult{Program: prog, ExpressionAccessor: e, OutputType: ast.OutputType()}, nil
}

func newProgram(env *celgo.Env, ast *celgo.Ast) (celgo.Program, error) {
	return env.Program(ast, celgo.InterruptCheckFrequency(celconfig.CheckFrequency))
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

// aboutRequests are the match conditions of built-in policies that hold for whatever is
// created, and not by a controller: offline that is everything. To evaluate them would
// cost as much as all the rest.
var aboutRequests = []string{"not-by-controllers", "touched"}

// judged is the policy without the conditions that hold offline anyway.
func (r *policyRule) judged() *admissionv1.ValidatingAdmissionPolicy {
	judged := *r.policy
	if r.builtin {
		judged.Spec.MatchConditions = slices.DeleteFunc(slices.Clone(judged.Spec.MatchConditions), func(c admissionv1.MatchCondition) bool {
			return slices.Contains(aboutRequests, c.Name)
		})
	}
	return &judged
}

// compilePolicy compiles all of a policy's expressions, as the API server does
// when it loads one that is stored. The error lists every expression that does not compile.
func compilePolicy(r *policyRule) (*program, error) {
	env, err := environmentFor(r.policy.Spec.ParamKind != nil)
	if err != nil {
		return nil, err
	}
	p, err := compileIn(env, environment.StoredExpressions, r.judged(), compiler{known: r.builtin})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.where(), err)
	}
	return p, nil
}

func compileIn(env *environment.EnvSet, mode environment.Type, policy *admissionv1.ValidatingAdmissionPolicy, how compiler) (*program, error) {
	spec := &policy.Spec
	opts := cel.OptionalVariableDeclarations{HasParams: spec.ParamKind != nil, HasAuthorizer: true}
	how.scope.params = opts.HasParams
	p := &program{lenient: spec.FailurePolicy != nil && *spec.FailurePolicy == admissionv1.Ignore}
	var errs []error

	if len(spec.MatchConditions) > 0 {
		// They run before the rest, and cannot use its variables.
		c := how
		c.env, c.field = func() (*celgo.Env, error) { return env.Env(mode) }, "spec.matchConditions[%d].expression"
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
	c := how
	c.env, c.scope.variables = func() (*celgo.Env, error) { return composed.Env(mode) }, []string{}
	composed.Compiler, composed.ConditionCompiler = &c, &c
	for i := range spec.Variables {
		c.field = fmt.Sprintf("spec.variables[%d] %q", i, spec.Variables[i].Name)
		composed.CompileAndStoreVariable((*variableExpr)(&spec.Variables[i]), opts, mode)
		c.scope = c.scope.with(&spec.Variables[i])
	}
	if errs = append(errs, c.errs...); len(errs) > 0 {
		return nil, errors.Join(errs...) // what uses the variables would only repeat the errors
	}

	var validations, messages, annotations []cel.ExpressionAccessor
	expressions := 0 // for messages
	for i := range spec.Validations {
		v := &spec.Validations[i]
		validations = append(validations, (*validationExpr)(v))
		if v.MessageExpression == "" {
			messages = append(messages, nil)
			continue
		}
		expressions++
		messages = append(messages, (*messageExpr)(v))
	}
	for i := range spec.AuditAnnotations {
		annotations = append(annotations, (*auditExpr)(&spec.AuditAnnotations[i]))
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
	if len(annotations) > 0 {
		p.annotations = audit
	}
	if expressions > 0 {
		p.messages = texts
		// Each program stops at PerCallLimit; its last step may exceed it.
		p.spare = 2 * celconfig.PerCallLimit * int64(expressions+len(spec.Variables))
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
