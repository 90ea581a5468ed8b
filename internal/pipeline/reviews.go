package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
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
	"github.com/companyos/helmproof/internal/strictyaml"
)

// maxDocument bounds a document that is reviewed, in bytes.
const maxDocument = 512 << 20

// OpenRoles opens the keys and identities that speak for roles, each given as ROLE=KEY: a
// file, a directory of *.pub, a key in a key management service, or an identity's file.
func OpenRoles(ctx context.Context, list []string) (review.Roles, error) {
	roles := review.Roles{}
	for _, s := range list {
		role, key, _ := strings.Cut(s, "=")
		if err := review.CheckRole(role); err != nil {
			return nil, &InputError{err}
		}
		if strings.HasSuffix(key, IdentitySuffix) {
			_, k, err := OpenIdentity(key)
			if err != nil {
				return nil, fmt.Errorf("role %s: %w", role, err)
			}
			roles[role] = append(roles[role], review.Holder{Name: key, Trust: k})
			continue
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

// IdentitySuffix is how the name of a file ends that is an identity, and not a key.
const IdentitySuffix = ".identity.yaml"

// OpenIdentity reads a file that names who signs without a key of their own, and the
// trusted root of those who vouch for that, beside the file. The error is an InputError.
func OpenIdentity(name string) (attest.Identity, *attest.Keyless, error) {
	var in struct {
		Issuer      string `json:"issuer"`
		Subject     string `json:"subject"`
		TrustedRoot string `json:"trustedRoot"`
	}
	raw, err := readRegular(name, maxIdentity)
	if err == nil {
		err = strictyaml.Unmarshal(raw, maxIdentity, &in)
	}
	if err == nil {
		if u, bad := url.Parse(in.Issuer); bad != nil || u.Scheme != "https" || u.Host == "" {
			err = fmt.Errorf("issuer %q: want the https URL of an OpenID Connect provider", in.Issuer)
		} else if strings.TrimSpace(in.Subject) != in.Subject || in.Subject == "" {
			err = fmt.Errorf("subject %q: want a mail address, or the URL of a workflow", in.Subject)
		} else if in.TrustedRoot == "" {
			err = errors.New("trustedRoot: want the file of a Sigstore trusted root")
		}
	}
	id := attest.Identity{Issuer: in.Issuer, Subject: in.Subject}
	if err == nil {
		file := in.TrustedRoot
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(name), file)
		}
		raw, err = readRegular(file, attest.MaxTrustedRoot)
	}
	var k *attest.Keyless
	if err == nil {
		k, err = attest.NewKeyless(raw, id)
	}
	if err != nil {
		return id, nil, inputErr("identity %s: %w", name, err)
	}
	return id, k, nil
}

const maxIdentity = 64 << 10 // bytes of an identity's file

// readRegular reads a regular file of at most limit bytes.
func readRegular(name string, limit int64) ([]byte, error) {
	f, st, err := openRegular(os.OpenFile, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
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

// Reviews returns the reviews of a subject, or all of them where it is empty, and their
// withdrawals, each with what it is worth, newest first. What nobody can read stands last.
func Reviews(ctx context.Context, repo *repository.Repository, by *review.Reader, subject evidence.Digest) ([]review.Checked, error) {
	var out []review.Checked
	var marked []repository.StoredReview
	err := repo.EachReview(ctx, subject, func(s repository.StoredReview) error {
		if s.Withdraws != "" {
			marked = append(marked, s)
		} else {
			out = append(out, by.Check(s))
		}
		return nil
	})
	if err != nil {
		return nil, strayed(err)
	}
	review.Withdraw(out, marked)
	at := func(c review.Checked) (t time.Time) {
		switch {
		case c.Review != nil:
			t = c.Review.ReviewedAt
		case c.Withdrawal != nil: // in one second, it came after its review
			t = c.Withdrawal.WithdrawnAt.Add(1)
		}
		return t
	}
	slices.SortStableFunc(out, func(a, b review.Checked) int { return at(b).Compare(at(a)) })
	return out, nil
}

// FindReview finds a review that counts by the first digits of its id. The error is an
// InputError where there is none, more than one, or one that counts no more.
func FindReview(ctx context.Context, repo *repository.Repository, by *review.Reader, ref string) (review.Checked, error) {
	digits := strings.TrimPrefix(ref, "sha256:")
	if len(digits) < minReviewID || strings.Trim(digits, "0123456789abcdef") != "" {
		return review.Checked{}, inputErr("%q: want the id of a review, or its first %d hexadecimal digits and more: helmproof list --reviews shows them", ref, minReviewID)
	}
	list, err := Reviews(ctx, repo, by, "")
	if err != nil {
		return review.Checked{}, err
	}
	var found []review.Checked
	for _, c := range list {
		if strings.HasPrefix(c.ID.Hex(), digits) {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0:
		return review.Checked{}, inputErr("no review %s in %s: helmproof list --reviews shows which there are", ref, repo.URL())
	case len(found) > 1:
		return review.Checked{}, inputErr("%d reviews begin with %s: give more digits", len(found), ref)
	case found[0].Review == nil && found[0].Status != review.Unverifiable:
		return review.Checked{}, inputErr("%s is a withdrawal, which stays: review again what is good after all", ref)
	case found[0].Status != review.Counts:
		return review.Checked{}, inputErr("there is nothing to withdraw: review %s does not count here (%s): %s", ref, found[0].Status, found[0].Reason)
	}
	return found[0], nil
}

// minReviewID is how many digits name a review at least.
const minReviewID = 8

// StoreSigned stores a review or a withdrawal that was signed elsewhere, with a certificate
// or by a key. What does not count here is refused with an InputError, and nothing stored.
func StoreSigned(ctx context.Context, repo *repository.Repository, by *review.Reader, raw []byte) (review.Checked, error) {
	if len(raw) > repository.MaxReview {
		return review.Checked{}, inputErr("larger than %d bytes: not a signed review", repository.MaxReview)
	}
	st, _, err := attest.PeekSigned(raw)
	if err != nil {
		return review.Checked{}, &InputError{err}
	}
	s := repository.StoredReview{Subject: st.Subjects[0].Digest, ID: evidence.DigestOf(raw), Raw: raw}
	if st.PredicateType == attest.WithdrawalType {
		_, w, err := review.ParseWithdrawal(st)
		if err != nil {
			return review.Checked{}, &InputError{err}
		}
		s.Subject = w.Reviewed
	}
	c := by.Check(s)
	if c.Status != review.Counts {
		return c, inputErr("it is not stored, since it does not count here (%s): %s", c.Status, c.Reason)
	}
	if c.Withdrawal == nil {
		_, err = repo.PutReview(ctx, s.Subject, raw)
		return c, err
	}
	of, err := FindReview(ctx, repo, by, c.Withdraws.Hex())
	switch {
	case err != nil:
		return c, err
	case of.Review.Role != c.Withdrawal.Role || of.Subject.Digest != s.Subject:
		return c, inputErr("it withdraws in role %s a review of %s, and the review is in role %s, of %s", c.Withdrawal.Role, s.Subject.Short(), of.Review.Role, of.Subject.Digest.Short())
	}
	c.Subject.Name = of.Subject.Name
	_, err = repo.PutWithdrawal(ctx, s.Subject, c.Withdraws, raw)
	return c, err
}

// Withdraw signs that a review that counts is withdrawn, and stores that. A key that
// does not speak for the review's role is refused with an InputError, and nothing stored.
func Withdraw(ctx context.Context, repo *repository.Repository, s attest.Signer, by *review.Reader, c review.Checked, w review.Withdrawal) (review.Checked, error) {
	w.Role, w.Reviewed = c.Review.Role, c.Subject.Digest
	raw, err := review.SignWithdrawal(ctx, s, c.ID, w)
	if err != nil {
		return review.Checked{}, &InputError{err}
	}
	out := by.Check(repository.StoredReview{Subject: c.Subject.Digest, ID: evidence.DigestOf(raw), Raw: raw})
	if out.Status != review.Counts {
		return out, inputErr("a withdrawal by this key takes nothing back: %s", out.Reason)
	}
	out.Subject.Name = c.Subject.Name
	_, err = repo.PutWithdrawal(ctx, c.Subject.Digest, c.ID, raw)
	return out, err
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
