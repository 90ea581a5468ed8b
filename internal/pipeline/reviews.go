package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/review"
)

// maxDocument bounds a document that is reviewed, in bytes.
const maxDocument = 512 << 20

// OpenRoles opens the keys that speak for roles, each given as ROLE=KEY: a file, a
// directory of *.pub, or a key in a key management service.
func OpenRoles(ctx context.Context, list []string) (review.Roles, error) {
	roles := review.Roles{}
	for _, s := range list {
		role, key, _ := strings.Cut(s, "=")
		if err := review.CheckRole(role); err != nil {
			return nil, &InputError{err}
		}
		t, err := OpenTrust(ctx, []string{key})
		if err != nil {
			return nil, fmt.Errorf("role %s: %w", role, err)
		}
		if t.Len() == 0 {
			return nil, inputErr("role %s: %s has no public key", role, key)
		}
		roles[role] = append(roles[role], review.Holder{Name: key, Trust: t})
	}
	return roles, nil
}

// ReviewSubject finds what is to be reviewed. ref is a document's file; or a bundle, as
// for FindBundle, which has to verify: its verifier is asked for only then.
func ReviewSubject(ctx context.Context, verifier func() (*bundle.Verifier, error), repo *repository.Repository, ref string) (attest.Subject, review.Kind, error) {
	st, err := os.Stat(ref)
	if err == nil && !st.IsDir() && filepath.Base(ref) != bundle.EvidenceFile {
		d, err := documentDigest(os.OpenFile, ref)
		if err != nil {
			return attest.Subject{}, "", inputErr("%s: %w", ref, err)
		}
		name := filepath.ToSlash(filepath.Clean(ref))
		if filepath.IsAbs(ref) { // where it lay is nobody's business
			name = filepath.Base(ref)
		}
		return attest.Subject{Name: name, Digest: d}, review.File, nil
	}
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || strings.ContainsRune(ref, filepath.Separator) || filepath.Ext(ref) != "") {
		return attest.Subject{}, "", inputErr("%w", err)
	}
	v, err := verifier()
	if err != nil {
		return attest.Subject{}, "", err
	}
	b, err := OpenVerified(ctx, v, repo, ref, "")
	if err != nil {
		return attest.Subject{}, "", err
	}
	return attest.Subject{Name: bundle.EvidenceFile, Digest: b.ID()}, review.Bundle, nil
}

// documentDigest is the digest of a regular file that is not empty: of an empty one
// nothing can be reviewed.
func documentDigest(open func(string, int, fs.FileMode) (*os.File, error), name string) (evidence.Digest, error) {
	f, st, err := openRegular(open, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if st.Size() == 0 {
		return "", errors.New("empty: there is nothing to review")
	}
	in := &io.LimitedReader{R: f, N: maxDocument + 1}
	d, err := evidence.DigestOfReader(in)
	if err == nil && in.N == 0 {
		err = fmt.Errorf("larger than %d MiB: not a document", maxDocument>>20)
	}
	return d, err
}

// Attest signs a review of the subject and stores it. The error is an InputError where
// it says what no review can say.
func Attest(ctx context.Context, repo *repository.Repository, s attest.Signer, of attest.Subject, r review.Review) (evidence.Digest, error) {
	if err := r.Check(of, s.KeyID()); err != nil {
		return "", &InputError{err}
	}
	raw, err := review.Sign(ctx, s, of, r)
	if err != nil {
		return "", err
	}
	return repo.PutReview(ctx, of.Digest, raw)
}

// Reviews returns the reviews of a subject, or all of them where it is empty, each with
// what it is worth, newest first. What nobody can read stands last.
func Reviews(ctx context.Context, repo *repository.Repository, by *review.Reader, subject evidence.Digest) ([]review.Checked, error) {
	var out []review.Checked
	err := repo.EachReview(ctx, subject, func(s repository.StoredReview) error {
		out = append(out, by.Check(s))
		return nil
	})
	if err != nil {
		return nil, strayed(err)
	}
	at := func(c review.Checked) (t time.Time) {
		if c.Review != nil {
			t = c.Review.ReviewedAt
		}
		return t
	}
	slices.SortStableFunc(out, func(a, b review.Checked) int { return at(b).Compare(at(a)) })
	return out, nil
}

// ReviewReader says which reviews count in a repository. id is the one that counts,
// from a place that its writers cannot reach; empty: that which the repository names.
func ReviewReader(ctx context.Context, repo *repository.Repository, roles review.Roles, id string, at time.Time, exactly bool) (*review.Reader, error) {
	if id == "" {
		var err error
		if id, err = repo.ID(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, strayed(err)
		}
	}
	return &review.Reader{Roles: roles, Repository: id, At: at, Exactly: exactly}, nil
}
