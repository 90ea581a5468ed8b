package policy

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	celpb "cel.dev/expr"
	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"
	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// checkedRaw holds the expressions of the built-in policies as CEL parses and checks
// them, which is most of compiling them: a checkedKey, the type of the result, a
// CheckedExpr, and so on, each of the latter after its length in four bytes. TestChecked
// holds it to what CEL makes of them, and that they ask no authorizer.
//
//go:generate go test -run ^TestChecked$ -update
//go:embed checked.bin
var checkedRaw []byte

// checkedKey stands for an expression and all that its meaning depends on.
type checkedKey [sha256.Size]byte

// scope is what an expression can refer to, beside what all can.
type scope struct {
	params    bool
	variables []string // name and expression of each; nil: they cannot be referred to
}

// with is the scope of what comes after a variable.
func (s scope) with(v *admissionv1.Variable) scope {
	s.variables = append(slices.Clip(s.variables), v.Name, v.Expression)
	return s
}

func (s scope) key(expression string) checkedKey {
	return sha256.Sum256(fmt.Appendf(nil, "%t %t %q %q", s.params, s.variables != nil, s.variables, expression))
}

// checkedExpr is an expression of checkedRaw, decoded and planned when it is evaluated.
type checkedExpr struct {
	output, expr []byte

	once    sync.Once
	program celgo.Program
	err     error
}

// checkedExprs is checkedRaw by key.
var checkedExprs = sync.OnceValue(func() map[checkedKey]*checkedExpr {
	all := map[checkedKey]*checkedExpr{}
	cut := func(raw []byte) (part, rest []byte) {
		n := binary.BigEndian.Uint32(raw)
		return raw[4:][:n], raw[4:][n:]
	}
	for raw := checkedRaw; len(raw) > 0; {
		key, e := checkedKey(raw), &checkedExpr{}
		e.output, raw = cut(raw[sha256.Size:])
		e.expr, raw = cut(raw)
		all[key] = e
	}
	return all
})

// outputType is what the expression comes to.
func (c *checkedExpr) outputType() (*celgo.Type, error) {
	var t celpb.Type
	if err := proto.Unmarshal(c.output, &t); err != nil {
		return nil, err
	}
	return types.ProtoAsType(&t)
}

// lazyProgram evaluates a checkedExpr. Any environment that knows its key's scope does:
// the first that evaluates it plans it for all. Most are not evaluated at all, such as the
// messages of a policy that nothing offends.
type lazyProgram struct {
	*checkedExpr
	env func() (*celgo.Env, error)
}

func (p lazyProgram) plan() (celgo.Program, error) {
	p.once.Do(func() {
		var e exprpb.CheckedExpr
		if p.err = proto.Unmarshal(p.expr, &e); p.err != nil {
			return
		}
		var env *celgo.Env
		if env, p.err = p.env(); p.err != nil {
			return
		}
		var ast *celgo.Ast
		if ast, p.err = celgo.CheckedExprToAstWithSource(&e, nil); p.err == nil {
			p.program, p.err = newProgram(env, ast)
		}
	})
	return p.program, p.err
}

// Eval implements celgo.Program.
func (p lazyProgram) Eval(vars any) (ref.Val, *celgo.EvalDetails, error) {
	prog, err := p.plan()
	if err != nil {
		return nil, nil, err
	}
	return prog.Eval(vars)
}

// ContextEval implements celgo.Program.
func (p lazyProgram) ContextEval(ctx context.Context, vars any) (ref.Val, *celgo.EvalDetails, error) {
	prog, err := p.plan()
	if err != nil {
		return nil, nil, err
	}
	return prog.ContextEval(ctx, vars)
}
