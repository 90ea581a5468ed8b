package policy

import (
	"bytes"
	"encoding/binary"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	celgo "github.com/google/cel-go/cel"
	"google.golang.org/protobuf/proto"
	"k8s.io/apiserver/pkg/cel/environment"
)

var update = flag.Bool("update", false, "write checked.binpb")

// TestChecked holds the embedded expressions to what compiling the built-in
// policies makes of them: all are there, none else, and each is the same.
func TestChecked(t *testing.T) {
	t.Parallel()
	fresh := checkedExprs{}
	for _, r := range builtinSet(t).policies {
		env, err := environmentFor(r.policy.Spec.ParamKind != nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compileIn(env, environment.StoredExpressions, r.policy, nil, func(key checkedKey, ast *celgo.Ast) {
			e, err := celgo.AstToCheckedExpr(ast)
			if err != nil {
				t.Fatal(err)
			}
			e.SourceInfo.MacroCalls = nil // of use for printing an expression only
			if fresh[key], err = (proto.MarshalOptions{Deterministic: true}).Marshal(e); err != nil {
				t.Fatal(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	for _, key := range slices.SortedFunc(maps.Keys(fresh), func(a, b checkedKey) int { return bytes.Compare(a[:], b[:]) }) {
		out.Write(key[:])
		out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(fresh[key]))))
		out.Write(fresh[key])
	}
	if *update {
		if err := os.WriteFile("checked.binpb", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(fresh) < 50 || !bytes.Equal(out.Bytes(), checkedRaw) {
		t.Errorf("checked.binpb is not what %d expressions compile to: go test ./collectors/policy -run TestChecked -update", len(fresh))
	}
	for _, r := range builtinSet(t).policies {
		env, err := environmentFor(r.policy.Spec.ParamKind != nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compileIn(env, environment.StoredExpressions, r.policy, fresh, func(checkedKey, *celgo.Ast) { t.Errorf("%s is compiled again", r.where()) }); err != nil {
			t.Error(err)
		}
	}
	for key := range fresh {
		if ast, err := fresh.ast(key); err != nil || !ast.IsChecked() {
			t.Errorf("%x: %v", key, err)
		}
	}
	for _, raw := range [][]byte{checkedRaw[:len(checkedRaw)-1], checkedRaw[:20], append(slices.Clone(checkedRaw), 1)} {
		if _, err := readChecked(raw); err == nil || !strings.Contains(err.Error(), "cut") {
			t.Errorf("read %d bytes of %d: %v", len(raw), len(checkedRaw), err)
		}
	}
}
