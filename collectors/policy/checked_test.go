package policy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"maps"
	"os"
	"slices"
	"testing"

	celpb "cel.dev/expr"
	celgo "github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/cel/environment"
)

var update = flag.Bool("update", false, "write checked.bin anew")

// TestChecked holds checked.bin to what CEL makes of the built-in policies, and of
// nothing else.
func TestChecked(t *testing.T) {
	t.Parallel()
	set, err := parseSet(builtin(t))
	if err != nil {
		t.Fatal(err)
	}
	want := map[checkedKey]*checkedExpr{}
	record := func(key checkedKey, ast *celgo.Ast) {
		e, err := celgo.AstToCheckedExpr(ast)
		if err != nil {
			t.Fatal(err)
		}
		// Where in the text something stands does not matter to what is fine.
		e.SourceInfo.LineOffsets, e.SourceInfo.Positions, e.SourceInfo.MacroCalls = nil, nil, nil
		output, err := types.TypeToProto(ast.OutputType())
		if err != nil {
			t.Fatal(err)
		}
		want[key] = &checkedExpr{output: marshal(t, output), expr: marshal(t, e)}
	}
	for _, r := range set.policies {
		env, err := environmentFor(r.policy.Spec.ParamKind != nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := compileIn(env, environment.StoredExpressions, r.judged(), compiler{record: record})
		if err != nil {
			t.Fatal(err)
		}
		if p.authorizer {
			t.Errorf("%s asks the authorizer", r.where())
		}
	}
	if *update {
		writeChecked(t, want)
		return
	}
	have := checkedExprs()
	if len(have) != len(want) {
		t.Errorf("%d expressions, want %d: run go generate", len(have), len(want))
	}
	for key, e := range want {
		got := have[key]
		if got == nil {
			t.Fatal("an expression is new: run go generate")
		}
		same(t, &celpb.Type{}, &celpb.Type{}, got.output, e.output)
		same(t, &exprpb.CheckedExpr{}, &exprpb.CheckedExpr{}, got.expr, e.expr)
		env, err := environmentFor(false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (lazyProgram{e, func() (*celgo.Env, error) { return env.Env(environment.StoredExpressions) }}).plan(); err != nil {
			t.Error(err)
		}
	}
}

func same(t *testing.T, a, b proto.Message, have, want []byte) {
	t.Helper()
	if err := errors.Join(proto.Unmarshal(have, a), proto.Unmarshal(want, b)); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(a, b) {
		t.Errorf("%v, want %v: run go generate", a, b)
	}
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func writeChecked(t *testing.T, all map[checkedKey]*checkedExpr) {
	t.Helper()
	var out []byte
	for _, key := range slices.SortedFunc(maps.Keys(all), func(a, b checkedKey) int { return bytes.Compare(a[:], b[:]) }) {
		out = append(out, key[:]...)
		for _, part := range [][]byte{all[key].output, all[key].expr} {
			out = append(binary.BigEndian.AppendUint32(out, uint32(len(part))), part...)
		}
	}
	if err := os.WriteFile("checked.bin", out, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestCheckedScope holds that what an expression means by its surroundings is part of
// its key: what was checked elsewhere is not taken for it.
func TestCheckedScope(t *testing.T) {
	t.Parallel()
	a, b := &admissionv1.Variable{Name: "a", Expression: "1"}, &admissionv1.Variable{Name: "b", Expression: "'1'"}
	none := scope{variables: []string{}}
	seen := map[checkedKey]string{}
	for name, s := range map[string]scope{
		"match condition": {}, "none": none, "params": {params: true, variables: []string{}}, "a": none.with(a), "b": none.with(b), "ab": none.with(a).with(b), "ba": none.with(b).with(a),
		"a as b": none.with(&admissionv1.Variable{Name: "a", Expression: b.Expression}),
		"quoted": none.with(&admissionv1.Variable{Name: `a" "1`, Expression: "1"}),
	} {
		if other, ok := seen[s.key("true")]; ok {
			t.Errorf("%s is taken for %s", name, other)
		}
		seen[s.key("true")] = name
	}
}
