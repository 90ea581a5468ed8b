package worker

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const serveArg = "serve-for-test"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == guardArg {
		underGuard(os.Args[2], os.Args[3])
		os.Exit(0)
	}
	if len(os.Args) == 2 && os.Args[1] == serveArg {
		fmt.Fprintln(os.Stderr, Serve(map[string]Handler{
			"echo": func(dec *gob.Decoder) (func(*gob.Encoder) error, error) {
				var v Value
				err := dec.Decode(&v)
				return func(enc *gob.Encoder) error { return enc.Encode(v) }, err
			},
			"take": func(*gob.Decoder) (func(*gob.Encoder) error, error) {
				var all [][]byte
				for {
					b := make([]byte, 1<<20)
					for i := 0; i < len(b); i += 4096 {
						b[i] = 1
					}
					all = append(all, b) //nolint:staticcheck // it is to be kept
				}
			},
			"leap": func(*gob.Decoder) (func(*gob.Encoder) error, error) {
				b := make([]byte, 2*MaxMemory)
				return func(enc *gob.Encoder) error { return enc.Encode(fmt.Sprint(len(b), &b[0] != nil)) }, nil
			},
			"hang":  func(*gob.Decoder) (func(*gob.Encoder) error, error) { select {} },
			"panic": func(*gob.Decoder) (func(*gob.Encoder) error, error) { panic("as a library does") },
		}))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func testPool(t *testing.T) *Pool {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := NewPool([]string{exe, serveArg})
	t.Cleanup(p.Close)
	return p
}

func echo(ctx context.Context, p *Pool, m map[string]any) (map[string]any, error) {
	var v Value
	err := p.Call(ctx, "echo", func(e *gob.Encoder) error { return e.Encode(Pack(m)) }, func(d *gob.Decoder) error { return d.Decode(&v) })
	return v.Unpack(), err
}

func nothing(*gob.Encoder) error { return nil }

func wait(d *gob.Decoder) error { return d.Decode(new(string)) }

// Values keep their types, null and emptiness, through one child that serves often.
func TestValues(t *testing.T) {
	t.Parallel()
	p := testPool(t)
	p.Prepare()
	m := map[string]any{
		"null": nil, "list": []any{nil, "x", 1.5, int64(2), json.Number("3"), true, []any{}, map[string]any{}}, "map": map[string]any{"null": nil},
		"text": "", "float": 1e21, "zero": 0.0,
	}
	for range 3 {
		got, err := echo(t.Context(), p, m)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if len(p.idle) != 1 {
		t.Errorf("%d children for one call at a time", len(p.idle))
	}
	if got, err := echo(t.Context(), p, nil); got != nil || err != nil {
		t.Errorf("nil comes back as %v, %v", got, err)
	}
}

// Whatever becomes of a child, the call says it, and the next one has another.
func TestChildrenThatEnd(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("no limit of memory")
	}
	p := testPool(t)
	if err := p.Call(t.Context(), "take", nothing, wait); !errors.Is(err, ErrMemory) {
		t.Errorf("a child without end of memory: %v, want %v", err, ErrMemory)
	}
	if err := p.Call(t.Context(), "leap", nothing, wait); !errors.Is(err, ErrMemory) {
		t.Errorf("a child that takes too much at once: %v, want %v", err, ErrMemory)
	}
	limit := errors.New("time is up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, limit)
	defer cancel()
	if err := p.Call(ctx, "hang", nothing, wait); !errors.Is(err, limit) {
		t.Errorf("a child without end of time: %v, want %v", err, limit)
	}
	if err := p.Call(t.Context(), "panic", nothing, wait); err == nil || !strings.Contains(err.Error(), "panic: as a library does") {
		t.Errorf("a child that panics: %v", err)
	}
	if err := p.Call(t.Context(), "unknown", nothing, wait); err == nil || !strings.Contains(err.Error(), "no handler") {
		t.Errorf("an unknown operation: %v", err)
	}
	if _, err := echo(t.Context(), p, map[string]any{}); err != nil {
		t.Errorf("after all that: %v", err)
	}
	p.Close()
	if _, err := echo(t.Context(), p, nil); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("a closed pool: %v", err)
	}
}

// Calls that do not end hold nobody up: there are as many children then as calls.
func TestMoreCallsThanProcessors(t *testing.T) {
	t.Parallel()
	p := testPool(t)
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for range runtime.GOMAXPROCS(0) + 1 {
		calls.Go(func() {
			if err := p.Call(ctx, "hang", nothing, wait); !errors.Is(err, context.Canceled) {
				t.Errorf("a call that does not end: %v", err)
			}
		})
	}
	if _, err := echo(t.Context(), p, map[string]any{}); err != nil {
		t.Errorf("one more call: %v", err)
	}
	cancel()
	calls.Wait()
	if p.busy != 0 {
		t.Errorf("%d children are busy when nobody calls", p.busy)
	}
}

// What the kernel refuses ends Go's runtime in several ways.
func TestRefusedMemory(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"fatal error: out of memory\n":                                       true,
		"runtime: out of memory: cannot allocate 4194304-byte block":         true,
		"fatal error: runtime: cannot allocate memory":                       true,
		"runtime: failed to create new OS thread (have 9 already; errno=11)": true,
		"SIGSEGV: segmentation violation\nPC=0x437b7d m=0 sigcode=1 addr=0x0\n\ngoroutine 0 gp=0x8a3f5c0 m=0 mp=0x8a418a0 [idle]:": true,
		"SIGSEGV: segmentation violation\nPC=0x437b7d m=0 sigcode=1 addr=0x0\n\ngoroutine 7 gp=0x8a3f5c0 m=0 [running]:":           false,
		"panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation]":        false,
		"fatal error: all goroutines are asleep - deadlock!":                                                                       false,
		"": false,
	} {
		if got := refusedMemory(text); got != want {
			t.Errorf("%q: %t, want %t", text, got, want)
		}
	}
}
