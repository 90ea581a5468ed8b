package review

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/canonical"
)

// Withdrawal is the predicate of a signed withdrawal (attest.WithdrawalType). The one
// subject of its statement is the signed review that it takes back. It cannot be taken
// back itself: who has changed their mind reviews again.
type Withdrawal struct {
	Role        string          `json:"role"` // of the review, for which the signer speaks as well
	Reason      string          `json:"reason"`
	WithdrawnAt time.Time       `json:"withdrawnAt"` // by the signer's clock
	Reviewed    evidence.Digest `json:"reviewed"`    // what the review is about
	Repository  string          `json:"repository"`  // the id of the repository that it was signed for
	Signer      string          `json:"signer"`      // the id of the key that signed it, or the identity
	Tool        string          `json:"tool"`
}

func (w *Withdrawal) check() error {
	_, err := evidence.ParseDigest(string(w.Reviewed))
	switch {
	case w.WithdrawnAt.IsZero():
		err = errors.New("withdrawnAt: no time")
	case w.Signer == "":
		err = errors.New("signer: no key is named")
	}
	return errors.Join(err, checkText("signer", w.Signer, maxText), CheckRole(w.Role), checkText("reason", w.Reason, maxText), repository.CheckID(w.Repository))
}

// SignWithdrawal signs that a stored review is withdrawn. Signer is that of s, whatever w
// names. The error says what no withdrawal can say, or is that of signing.
func SignWithdrawal(ctx context.Context, s attest.Signer, withdrawn evidence.Digest, w Withdrawal) ([]byte, error) {
	w.Signer = s.KeyID()
	st, err := w.Statement(withdrawn)
	if err != nil {
		return nil, err
	}
	return s.Sign(ctx, st)
}

// Statement is what Signer is to sign, a key or an identity. The error says what no
// withdrawal can say.
func (w Withdrawal) Statement(withdrawn evidence.Digest) (*attest.Statement, error) {
	w.WithdrawnAt = w.WithdrawnAt.UTC().Truncate(time.Second)
	err := w.check()
	var raw []byte
	if err == nil {
		raw, err = canonical.JSON(w)
	}
	if err != nil {
		return nil, fmt.Errorf("withdrawal of review %s: %w", withdrawn.Short(), err)
	}
	of := attest.Subject{Name: "review", Digest: withdrawn}
	return &attest.Statement{PredicateType: attest.WithdrawalType, Subjects: []attest.Subject{of}, Predicate: raw}, nil
}

// ParseWithdrawal reads the statement of a withdrawal strictly: exactly what SignWithdrawal
// writes. It returns the review that is withdrawn.
func ParseWithdrawal(st *attest.Statement) (evidence.Digest, *Withdrawal, error) {
	if st.PredicateType != attest.WithdrawalType {
		return "", nil, fmt.Errorf("predicate type %q: want %q", st.PredicateType, attest.WithdrawalType)
	}
	if len(st.Subjects) != 1 {
		return "", nil, fmt.Errorf("a withdrawal of %d reviews: want one", len(st.Subjects))
	}
	w := new(Withdrawal)
	if err := errors.Join(parsePredicate(st.Predicate, w), w.check()); err != nil {
		return "", nil, fmt.Errorf("withdrawal: %w", err)
	}
	return st.Subjects[0].Digest, w, nil
}

// withdrawal judges a stored withdrawal by itself.
func (v *Reader) withdrawal(s repository.StoredReview, st *attest.Statement, certified bool, c Checked) Checked {
	withdrawn, w, err := ParseWithdrawal(st)
	if err != nil {
		c.Reason = err.Error()
		return c
	}
	c.Withdraws, c.Withdrawal = withdrawn, w
	if w.Reviewed != s.Subject {
		c.Reason = fmt.Sprintf("it withdraws a review of %s, and lies with those of %s", w.Reviewed.Short(), s.Subject.Short())
		return c
	}
	c.By, c.Status, c.Reason = v.holds(s.Raw, attest.WithdrawalType, withdrawn, claim{w.Role, w.Signer, w.Repository, w.WithdrawnAt, certified})
	return c
}

// Withdraw says of the reviews in a list which ones others in it withdraw, and which ones
// were withdrawn by what is no longer there: of these nobody can know whether they hold.
// list has to have all that lies with a subject; marked are the markers of its withdrawals.
func Withdraw(list []Checked, marked []repository.StoredReview) {
	reviews, withdrawals := map[evidence.Digest]*Checked{}, map[evidence.Digest]*Checked{}
	for i := range list {
		if c := &list[i]; c.Review != nil {
			reviews[c.ID] = c
		} else if c.Withdrawal != nil {
			withdrawals[c.ID] = c
		}
	}
	var back []*Checked
	for i := range list {
		w := &list[i]
		if w.Withdrawal == nil {
			continue
		}
		r := reviews[w.Withdraws]
		if r == nil {
			w.mayCover(list)
			continue
		}
		w.Subject.Name = r.Subject.Name
		switch {
		case w.Status != Counts:
		case r.Review.Role != w.Withdrawal.Role:
			w.Status, w.Reason = Untrusted, fmt.Sprintf("signed in role %s, and the review in role %s", w.Withdrawal.Role, r.Review.Role)
		case r.Status == Counts || r.Status == Expired:
			r.Status, r.Reason = Withdrawn, fmt.Sprintf("withdrawn %s (%s, %s): %s", w.Withdrawal.WithdrawnAt.Format(time.RFC3339), w.By, SignerText(w.Withdrawal.Signer), w.Withdrawal.Reason)
			back = append(back, r)
		}
	}
	for _, m := range marked {
		r, w := reviews[m.Withdraws], withdrawals[m.ID]
		if w != nil && w.Status != Unverifiable && w.Withdraws == m.Withdraws {
			continue // what it is worth was said above
		}
		if r != nil && r.Subject.Digest == m.Subject && (r.Status == Counts || r.Status == Expired || r.Status == Future) {
			r.Status, r.Reason = Unverifiable, fmt.Sprintf("it was withdrawn by %s, which is gone or altered: restore that from a copy", m.ID.Short())
			back = append(back, r)
		}
	}
	withdrawCopies(list, back)
}

// mayCover says of reviews that nobody can know whether they are what a withdrawal takes
// back: that is gone or altered, and a copy in another spelling would be one of them.
func (w *Checked) mayCover(list []Checked) {
	if w.Status != Counts {
		return
	}
	for i := range list {
		r := &list[i]
		if r.Review != nil && r.Subject.Digest == w.Subject.Digest && r.Review.Role == w.Withdrawal.Role && !r.Review.ReviewedAt.After(w.Withdrawal.WithdrawnAt) && (r.Status == Counts || r.Status == Expired) {
			r.Status, r.Reason = Unverifiable, fmt.Sprintf("%s withdraws review %s of this role, which is gone or altered: restore that from a copy, or review again", w.ID.Short(), w.Withdraws.Short())
		}
	}
}

// withdrawCopies takes back what says the same as a review that was taken back: without a
// key anybody can spell a signed file in another way, which gives it another id.
func withdrawCopies(list []Checked, back []*Checked) {
	said := func(c *Checked) string {
		raw, _ := canonical.JSON(c.Review) // it was read from that
		return string(c.Subject.Digest) + string(raw)
	}
	of := make(map[string]*Checked, len(back))
	for _, r := range back {
		of[said(r)] = r
	}
	for i := range list {
		c := &list[i]
		if len(of) == 0 || c.Review == nil || c.Status != Counts && c.Status != Expired && c.Status != Future {
			continue
		}
		if r := of[said(c)]; r != nil {
			c.Status, c.Reason = r.Status, fmt.Sprintf("it is review %s once more, and that is %s: %s", r.ID.Short(), r.Status, r.Reason)
		}
	}
}
