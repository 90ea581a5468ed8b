package pipeline

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
)

// objects is a store like a bucket, which stores one object after the other; it
// breaks when none is left.
type objects struct {
	repository.Store
	left int
}

var errBroken = errors.New("the process was killed")

func (o *objects) Create(ctx context.Context, key string, data []byte) error {
	if o.left == 0 {
		return errBroken
	}
	o.left--
	return o.Store.Create(ctx, key, data)
}

// Wherever storing a bundle is, or was cut off, the gate decides as if it had not
// begun, or had ended; and the next run succeeds.
func TestGateWhileStoring(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	store := &objects{Store: dir.Open(filepath.Join(t.TempDir(), "bucket"))}
	b.Repo = repository.New(store)
	shop, other := b.load("shop", "1.0.0", "blue"), b.load("other", "1.0.0", "blue")
	gated := func(chart string) []evidence.Digest {
		t.Helper()
		return inputs(b.gate(GateRequest{Chart: chart})[0])
	}
	const none = -1
	store.left = none
	want, before := b.collect(shop), b.collect(other)
	const files = 5
	for n := range files + 2 { // and the pointer
		store.left = n
		if _, err := b.Release(t.Context(), other); n <= files && !errors.Is(err, errBroken) || n > files && err != nil {
			t.Fatalf("storing that breaks after %d objects: %v", n, err)
		}
		b.now = b.now.Add(time.Hour)
		if got := gated("shop"); !slices.Equal(got, []evidence.Digest{want}) {
			t.Errorf("after %d objects of another chart the gate rests on %v, want %v", n, got, want)
		}
		// The newest counts once all of it is there, also without its pointer.
		if got := gated("other"); (got[0] == before) != (n < files) {
			t.Errorf("after %d objects the gate rests on %v; before it was %v", n, got, before)
		}
		store.left = none
		before = b.collect(other)
		if got := gated("other"); got[0] != before {
			t.Errorf("after the next run the gate rests on %v, want %v", got, before)
		}
	}
}
