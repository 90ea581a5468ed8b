package policy

import (
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	celgo "github.com/google/cel-go/cel"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"
)

// checkedRaw has the expressions of the built-in policies as they are once they
// are parsed and checked, which is most of compiling them. TestChecked holds it
// to what compiling makes of them, and writes it with -update.
//
//go:generate go test . -run ^TestChecked$ -update
//go:embed checked.binpb
var checkedRaw []byte

// checkedKey is the digest of all that checking an expression depends on: params,
// the variables before it, its text.
type checkedKey [sha256.Size]byte

func keyOf(scope, text string) checkedKey { return sha256.Sum256([]byte(scope + "\x00" + text)) }

// checkedExprs are marshaled exprpb.CheckedExprs.
type checkedExprs map[checkedKey][]byte

var checked = sync.OnceValues(func() (checkedExprs, error) { return readChecked(checkedRaw) })

func readChecked(raw []byte) (checkedExprs, error) {
	out := checkedExprs{}
	for len(raw) > 0 {
		if len(raw) < sha256.Size+4 {
			return nil, errors.New("read the checked policies: cut")
		}
		key := checkedKey(raw)
		n := binary.BigEndian.Uint32(raw[sha256.Size:])
		if raw = raw[sha256.Size+4:]; uint64(n) > uint64(len(raw)) {
			return nil, errors.New("read the checked policies: cut")
		}
		out[key], raw = raw[:n:n], raw[n:]
	}
	return out, nil
}

// ast returns what is known of an expression; nil: nothing.
func (c checkedExprs) ast(key checkedKey) (*celgo.Ast, error) {
	raw, ok := c[key]
	if !ok {
		return nil, nil
	}
	var e exprpb.CheckedExpr
	if err := proto.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("read the checked policies: %w", err)
	}
	return celgo.CheckedExprToAstWithSource(&e, nil)
}
