package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
)

const (
	// readers is how many bundles of a repository are read at once.
	readers = 16
	// usualSignature is the size, in bytes, up to which signatures are read at once:
	// larger ones, of releases with thousands of images, are read one at a time.
	usualSignature = 256 << 10
)

// entry is one bundle of a repository, known by its signed statement: its evidence
// was not read.
type entry struct {
	id       evidence.Digest
	pointers []string        // the keys of the pointers that name it
	about    *bundle.Summary // nil: no trusted signature says anything, see broken
	broken   error           // why no signed statement is known
	unsigned bool            // there is no signature file at all
}

// index lists every bundle of a repository, newest first, those without a signed
// statement before all others. Nothing unsigned tells what a bundle is about: the
// names of pointers say only that a bundle has to be there.
func index(ctx context.Context, repo *repository.Repository, v *bundle.Verifier) ([]entry, error) {
	// Pointers first: a bundle that is stored meanwhile is written before its pointer.
	pointed, err := repo.Pointed(ctx)
	if err != nil {
		return nil, strayed(err)
	}
	ids, err := repo.Bundles(ctx)
	if err != nil {
		return nil, strayed(err)
	}
	for id, keys := range pointed {
		if _, found := slices.BinarySearch(ids, id); !found {
			return nil, integrityErr("bundle %s is gone from %s, and pointer %s says that it was there: what it said, and of which release, cannot be known; "+
				"restore it from a copy, or delete the pointer if it was removed on purpose", id.Short(), repo.URL(), keys[0])
		}
	}
	out := make([]entry, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	var large sync.Mutex
	for i, id := range ids {
		g.Go(func() error {
			e := entry{id: id, pointers: pointed[id]}
			raw, err := repo.GetFileWithin(ctx, id, bundle.SignatureFile, usualSignature)
			if errors.Is(err, repository.ErrTooLarge) {
				large.Lock()
				defer large.Unlock()
				raw, err = repo.GetFileWithin(ctx, id, bundle.SignatureFile, bundle.MaxSignature)
			}
			switch {
			case errors.Is(err, fs.ErrNotExist):
				e.unsigned, e.broken = true, errors.New(bundle.SignatureFile+" is absent: nothing says who made this evidence")
			case err != nil && context.Cause(ctx) == nil && isDamage(err):
				e.broken = err
			case err != nil:
				return err
			default:
				e.about, e.broken = v.Summary(raw, id)
			}
			out[i] = e
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b entry) int {
		return cmp.Or(b.at().Compare(a.at()), cmp.Compare(a.id, b.id))
	})
	return out, nil
}

// endOfTime is after every date that evidence can have.
var endOfTime = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

func (e *entry) at() time.Time {
	if e.about == nil {
		return endOfTime
	}
	return e.about.EvaluatedAt
}

// isDamage tells a stored object that nobody can read from a store that cannot be
// reached.
func isDamage(err error) bool { return errors.Is(err, repository.ErrTooLarge) }

// strayed makes an integrity error of what is no part of a repository.
func strayed(err error) error {
	if errors.Is(err, repository.ErrStray) {
		return &IntegrityError{err}
	}
	return err
}

// unreadable says that a bundle may be about anything, and what to do.
func unreadable(id evidence.Digest, why error) error {
	return integrityErr("bundle %s cannot be read as evidence (%w), so that nobody can know whether it is about this release: "+
		"see helmproof verify %s; restore it from a copy, or delete bundles/%s if you know what it was", id.Short(), why, id.Short(), id.Hex())
}

// glimpse is what a bundle says that it is about. Its digest is that of its id, so
// that nobody altered it since it was named; who made it is not known.
type glimpse struct {
	id      evidence.Digest
	release evidence.Release
	at      time.Time
	record  chart.Record
	tool    string
}

// errNothing says that of a bundle nothing is there that could be evidence.
var errNothing = errors.New(bundle.EvidenceFile + " is absent")

// look opens a bundle's evidence without verifying it. The error is errNothing, says
// why it is not what its id names or cannot be opened, or that it cannot be reached.
func look(ctx context.Context, repo *repository.Repository, v *bundle.Verifier, id evidence.Digest) (g glimpse, damage, err error) {
	limits := v.Limits
	if limits == (bundle.Limits{}) {
		limits = bundle.DefaultLimits()
	}
	raw, err := repo.GetFileWithin(ctx, id, bundle.EvidenceFile, limits.MaxZip)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return g, errNothing, nil
	case err != nil && isDamage(err):
		return g, err, nil
	case err != nil:
		return g, nil, err
	}
	if got := evidence.DigestOf(raw); got != id {
		return g, errors.New(bundle.EvidenceFile + " is altered"), nil
	}
	b, err := bundle.Open(raw, limits)
	if err != nil {
		return g, err, nil
	}
	g = glimpse{id: id, release: withObjects(b), at: b.Verdict().EvaluatedAt, tool: b.Runs().Tool}
	if raw, err := b.Read(collectors.ChartFile); err == nil {
		_ = json.Unmarshal(raw, &g.record) // it serves explanations only
	}
	return g, nil, nil
}

// newest returns the bundle that was judged last, as the bundles themselves say. One
// that nobody can read might be it.
func newest(ctx context.Context, repo *repository.Repository, v *bundle.Verifier) (evidence.Digest, error) {
	all, err := index(ctx, repo, v)
	if err != nil {
		return "", err
	}
	var last evidence.Digest
	var at time.Time
	for i := range all {
		e := &all[i]
		t := e.at()
		if e.about == nil {
			g, damage, err := look(ctx, repo, v, e.id)
			if err != nil {
				return "", err
			}
			if errors.Is(damage, errNothing) && e.unfinished() {
				continue
			}
			if damage != nil {
				return "", unreadable(e.id, errors.Join(e.broken, damage))
			}
			t = g.at
		}
		if last == "" || t.After(at) {
			last, at = e.id, t
		}
	}
	if last == "" {
		return "", inputErr("bundle latest in %s: %w: the repository is empty", repo.URL(), fs.ErrNotExist)
	}
	return last, nil
}

// unfinished reports whether nothing says that the bundle ever was one: storing it
// was cut off, or somebody removed all of it that counts.
func (e *entry) unfinished() bool { return e.unsigned && len(e.pointers) == 0 }

// samePointers holds that the pointers of a bundle say what the bundle says. A
// bundle without one was cut off before it was listed; it counts all the same.
func samePointers(ctx context.Context, repo *repository.Repository, keys []string, b *bundle.Bundle) error {
	want := repository.NewPointer(b.ID(), b.Release(), b.Verdict(), b.Runs())
	for _, key := range keys {
		p, err := repo.ReadPointer(ctx, key)
		if err != nil {
			return strayed(err)
		}
		if p.ValuesDigest == "" {
			p.ValuesDigest = want.ValuesDigest // an older version wrote it
		}
		if p != want {
			return integrityErr("bundle %s: its pointer in the repository does not say what the bundle says: %s; delete the pointer, nothing is decided by it", b.ID().Short(), key)
		}
	}
	return nil
}
