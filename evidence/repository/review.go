package repository

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

const (
	reviewPrefix = "reviews/"
	reviewSuffix = ".sigstore.json"
	markerSuffix = ".withdrawn"

	// MaxReview bounds a stored review, in bytes.
	MaxReview = 256 << 10
	// maxReviews bounds how many reviews of one subject, or of all, are read.
	maxReviews = 100_000
)

// StoredReview is a signed review, or a review's withdrawal, as it is stored, unverified.
type StoredReview struct {
	Subject evidence.Digest // what it lies with: a document's digest, or a bundle's id
	ID      evidence.Digest // the digest of the file, which it is named by
	Raw     []byte
	Damaged error // why Raw is not what was stored under this name; nil: it is
	// Withdraws is the review of which a marker says that the withdrawal ID lies here.
	// Of a marker there is nothing else; of all others it is empty.
	Withdraws evidence.Digest
}

// PutReview stores a signed review of a subject under its own digest. Nothing is ever
// replaced; the same bytes again succeed.
func (r *Repository) PutReview(ctx context.Context, subject evidence.Digest, raw []byte) (evidence.Digest, error) {
	id := evidence.DigestOf(raw)
	if len(raw) > MaxReview {
		return "", fmt.Errorf("review of %s: %d bytes: %w", subject.Short(), len(raw), ErrTooLarge)
	}
	if err := r.store.Create(ctx, reviewKey(subject, id), raw); err != nil {
		return "", fmt.Errorf("store review of %s in %s: %w", subject.Short(), r.URL(), err)
	}
	return id, nil
}

// PutWithdrawal stores the signed withdrawal of a review of the subject, under its own
// digest, and then a marker: a withdrawal that is taken away is missed.
func (r *Repository) PutWithdrawal(ctx context.Context, subject, withdrawn evidence.Digest, raw []byte) (evidence.Digest, error) {
	id, err := r.PutReview(ctx, subject, raw)
	if err != nil {
		return "", err
	}
	if err := r.store.Create(ctx, markerKey(subject, withdrawn, id), []byte(id.Hex()+reviewSuffix+"\n")); err != nil {
		return "", fmt.Errorf("mark review %s in %s as withdrawn: %w", withdrawn.Short(), r.URL(), err)
	}
	return id, nil
}

// markerKey names the withdrawn review, and the withdrawal.
func markerKey(subject, withdrawn, id evidence.Digest) string {
	return reviewPrefix + subject.Hex() + "/" + withdrawn.Hex() + "." + id.Hex() + markerSuffix
}

// parseReviewKey is what the name of a stored object says; ErrStray where that is nothing.
func parseReviewKey(key string) (StoredReview, error) {
	var s StoredReview
	of, name, _ := strings.Cut(strings.TrimPrefix(key, reviewPrefix), "/")
	withdrawn, id, marker := strings.Cut(strings.TrimSuffix(name, markerSuffix), ".")
	if marker = marker && strings.HasSuffix(name, markerSuffix); !marker {
		id = strings.TrimSuffix(name, reviewSuffix)
	}
	var err error
	if s.Subject, err = evidence.ParseDigest(of); err == nil {
		s.ID, err = evidence.ParseDigest(id)
	}
	want := func() string { return reviewKey(s.Subject, s.ID) }
	if err == nil && marker {
		s.Withdraws, err = evidence.ParseDigest(withdrawn)
		want = func() string { return markerKey(s.Subject, s.Withdraws, s.ID) }
	}
	if err != nil || key != want() {
		return s, fmt.Errorf("key %q: not a review: %w; take it away if it is none of yours", key, ErrStray)
	}
	return s, nil
}

func reviewKey(subject, id evidence.Digest) string {
	return reviewPrefix + subject.Hex() + "/" + id.Hex() + reviewSuffix
}

// EachReview calls yield for every stored review of a subject, or of all where subject is
// empty, and for withdrawals and their markers, by subject, until yield returns an error,
// which it returns. What is none of these by its name is ErrStray.
func (r *Repository) EachReview(ctx context.Context, subject evidence.Digest, yield func(StoredReview) error) error {
	prefix := reviewPrefix
	if subject != "" {
		prefix += subject.Hex() + "/"
	}
	n := 0
	err := r.store.List(ctx, prefix, func(key string) error {
		if n++; n > maxReviews {
			return fmt.Errorf("more than %d reviews: %w", maxReviews, ErrStray)
		}
		s, err := parseReviewKey(key)
		if err != nil {
			return err
		}
		if s.Withdraws != "" {
			return yield(s)
		}
		s.Raw, err = r.store.Read(ctx, key, MaxReview)
		switch {
		case errors.Is(err, ErrTooLarge):
			s.Damaged = err
		case err != nil:
			return err
		case evidence.DigestOf(s.Raw) != s.ID:
			s.Damaged = fmt.Errorf("%s is altered: its digest is not its name", key)
		}
		return yield(s)
	})
	if err != nil {
		return fmt.Errorf("reviews in %s: %w", r.URL(), err)
	}
	return nil
}
