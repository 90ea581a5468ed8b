// Package review is what people sign beside the evidence: who reviewed which document
// or bundle, by its digest, in which role, when and why, or who has completed which
// training. Whose key speaks for a role is for the reader to say: nothing that is
// stored with a review makes it count.
package review

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/canonical"
)

// Kind is what was reviewed.
type Kind string

// The kinds.
const (
	File   Kind = "file"   // a document, by the digest of its bytes
	Bundle Kind = "bundle" // an evidence bundle, by its id
)

// Review is the predicate of a signed review (attest.ReviewType). The one subject of its
// statement is what was reviewed.
type Review struct {
	Role       string     `json:"role"`
	Kind       Kind       `json:"kind"`
	Reason     string     `json:"reason"`
	ReviewedAt time.Time  `json:"reviewedAt"` // by the signer's clock
	ExpiresAt  *time.Time `json:"expiresAt,omitempty"`
	// Completed are people who have completed the training that the subject describes,
	// sorted. A statement with some of them records a training, and reviews nothing.
	Completed  []string `json:"completed,omitempty"`
	Repository string   `json:"repository"` // the id of the repository that it was signed for
	Signer     string   `json:"signer"`     // the id of the key that signed it, or the identity (attest.Identity)
	Tool       string   `json:"tool"`
}

// Limits of what a review says.
const (
	maxText   = 1000 // characters of a reason
	maxName   = 200  // characters of a person's or a document's name
	maxPeople = 500
)

var rolePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// CheckRole refuses what is no role's name: lower-case letters, digits and -, at most 63.
func CheckRole(s string) error {
	if !rolePattern.MatchString(s) {
		return fmt.Errorf("role %q: want lower-case letters, digits and -, at most 63", s)
	}
	return nil
}

// People returns the names as a statement lists them: in lower case, since names of
// mailboxes are told apart by nobody, each once, sorted. The error says which is none.
func People(names []string) ([]string, error) {
	var out []string
	for _, n := range names {
		n = strings.ToLower(strings.TrimSpace(n))
		if err := checkText("person", n, maxName); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	slices.Sort(out)
	if out = slices.Compact(out); len(out) > maxPeople {
		return nil, fmt.Errorf("%d people: one statement has at most %d", len(out), maxPeople)
	}
	return out, nil
}

func checkText(what, s string, limit int) error {
	switch {
	case strings.TrimSpace(s) == "":
		return fmt.Errorf("%s: empty", what)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s %q: want plain text of one line", what, s)
	case utf8.RuneCountInString(s) > limit:
		return fmt.Errorf("%s: longer than %d characters", what, limit)
	}
	return nil
}

// check holds what every review says.
func (r *Review) check() error {
	people, err := People(r.Completed)
	switch {
	case err != nil:
		return err
	case !slices.Equal(people, r.Completed) && len(people)+len(r.Completed) > 0:
		return errors.New("the people who completed a training are not sorted, in lower case and each named once")
	case r.Kind != File && r.Kind != Bundle:
		return fmt.Errorf("kind %q: want %s or %s", r.Kind, File, Bundle)
	case len(people) > 0 && r.Kind != File:
		return errors.New("a training is described by a document, not by a bundle")
	case r.ReviewedAt.IsZero():
		return errors.New("reviewedAt: no time")
	case r.ExpiresAt != nil && !r.ExpiresAt.After(r.ReviewedAt):
		return errors.New("expiresAt: not after reviewedAt")
	case r.Signer == "":
		return errors.New("signer: no key is named")
	}
	return errors.Join(CheckRole(r.Role), checkText("signer", r.Signer, maxText), checkText("reason", r.Reason, maxText), repository.CheckID(r.Repository))
}

// complete is the review as the key signs it. The error says what no review can say.
func (r Review) complete(of attest.Subject, keyID string) (Review, error) {
	var err error
	if r.Completed, err = People(r.Completed); err != nil {
		return r, err
	}
	r.Signer, r.ReviewedAt = keyID, r.ReviewedAt.UTC().Truncate(time.Second)
	if r.ExpiresAt != nil {
		at := r.ExpiresAt.UTC()
		r.ExpiresAt = &at
	}
	return r, errors.Join(r.check(), checkText("name of the subject", of.Name, maxName))
}

// Check says what of a review of the subject, by the key, no review can say.
func (r Review) Check(of attest.Subject, keyID string) error {
	_, err := r.complete(of, keyID)
	return err
}

// Sign signs a review of the subject as a Sigstore bundle. Signer is that of s, whatever
// r names. The error says what no review can say (see Check), or is that of signing.
func Sign(ctx context.Context, s attest.Signer, of attest.Subject, r Review) ([]byte, error) {
	r.Signer = s.KeyID()
	st, err := r.Statement(of)
	if err != nil {
		return nil, err
	}
	return s.Sign(ctx, st)
}

// Statement is what Signer is to sign, a key or an identity. The error says what no
// review can say.
func (r Review) Statement(of attest.Subject) (*attest.Statement, error) {
	r, err := r.complete(of, r.Signer)
	if err != nil {
		return nil, err
	}
	raw, err := canonical.JSON(r)
	if err != nil {
		return nil, fmt.Errorf("review of %s: %w", of.Name, err)
	}
	return &attest.Statement{PredicateType: attest.ReviewType, Subjects: []attest.Subject{of}, Predicate: raw}, nil
}

// Parse reads the statement of a review strictly: exactly what Sign writes. What a later
// version may add is refused, since it may be what takes the review back.
func Parse(st *attest.Statement) (attest.Subject, *Review, error) {
	if st.PredicateType != attest.ReviewType {
		return attest.Subject{}, nil, fmt.Errorf("predicate type %q: want %q", st.PredicateType, attest.ReviewType)
	}
	if len(st.Subjects) != 1 {
		return attest.Subject{}, nil, fmt.Errorf("a review of %d subjects: want one", len(st.Subjects))
	}
	r := new(Review)
	if err := parsePredicate(st.Predicate, r); err != nil {
		return attest.Subject{}, nil, fmt.Errorf("review: %w", err)
	}
	if err := errors.Join(r.check(), checkText("name of the subject", st.Subjects[0].Name, maxName)); err != nil {
		return attest.Subject{}, nil, fmt.Errorf("review: %w", err)
	}
	return st.Subjects[0], r, nil
}

// parsePredicate reads exactly what canonical.JSON writes of such a value.
func parsePredicate(raw []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after it")
	}
	again, err := canonical.JSON(into)
	if err == nil && !bytes.Equal(again, raw) {
		err = errors.New("not in the form that such statements are signed in")
	}
	return err
}

// Status is what a stored review is worth.
type Status string

// What a review can be worth. Of all but Counts nothing follows; Unverifiable says that
// nobody can know what it was.
const (
	Counts       Status = "counts"
	Expired      Status = "expired"
	Future       Status = "future"           // signed later than the time that is asked about
	Foreign      Status = "other-repository" // signed for another repository
	Withdrawn    Status = "withdrawn"        // by a key of its role, later
	Untrusted    Status = "untrusted"        // by a key that its role does not name
	Unverifiable Status = "unverifiable"
)

// Checked is a stored review and what it is worth. Of an Untrusted one the Review says
// what whoever wrote it claims; of an Unverifiable one there may be none.
type Checked struct {
	ID      evidence.Digest // the digest of the stored file
	Subject attest.Subject  // what was reviewed
	Review  *Review
	// Withdrawal is what a withdrawal says, and Withdraws the review that it takes back;
	// then there is no Review.
	Withdrawal *Withdrawal
	Withdraws  evidence.Digest
	By         string // what the reader's configuration calls the key; empty where none holds
	Status     Status
	Reason     string // why it does not count
}

// Verifier says who signed a statement about an artifact: attest.Trust by keys, and
// attest.Keyless by a certificate. It needs no network. The error wraps
// attest.ErrUnknownSigner where somebody else did.
type Verifier interface {
	Verify(raw []byte, predicateType string, artifact evidence.Digest) (*attest.Statement, *attest.Signature, error)
}

// Holder is a key, a folder of keys, or an identity that speaks for a role.
type Holder struct {
	Name  string // as it was configured
	Trust Verifier
}

// Roles says whose keys speak for a role. A role without any has nobody's word.
type Roles map[string][]Holder

// clockSkew is how far the clocks of those who review and read may lie apart.
const clockSkew = 5 * time.Minute

// Reader says which reviews count.
type Reader struct {
	Roles      Roles
	Repository string    // the id of the repository whose reviews count
	At         time.Time // the time that is asked about
	// Exactly says that the time was asked for. Otherwise it is now, and the clock of
	// who reviewed may be a little ahead.
	Exactly bool
}

// Check judges a stored review, or a withdrawal, by itself: whether a review was withdrawn
// is for Withdraw to say. It needs no network.
func (v *Reader) Check(s repository.StoredReview) Checked {
	c := Checked{ID: s.ID, Subject: attest.Subject{Digest: s.Subject}, Status: Unverifiable}
	not := func(status Status, format string, args ...any) Checked {
		c.Status, c.Reason = status, fmt.Sprintf(format, args...)
		return c
	}
	if s.Damaged != nil {
		return not(Unverifiable, "%v", s.Damaged)
	}
	st, certified, err := attest.PeekSigned(s.Raw)
	if err != nil {
		return not(Unverifiable, "%v", err)
	}
	if st.PredicateType == attest.WithdrawalType {
		return v.withdrawal(s, st, certified, c)
	}
	of, r, err := Parse(st)
	if err != nil {
		return not(Unverifiable, "%v", err)
	}
	c.Subject, c.Review = of, r
	if of.Digest != s.Subject {
		return not(Unverifiable, "it is about %s, and lies with the reviews of %s", of.Digest.Short(), s.Subject.Short())
	}
	said := claim{r.Role, r.Signer, r.Repository, r.ReviewedAt, certified}
	if c.By, c.Status, c.Reason = v.holds(s.Raw, attest.ReviewType, of.Digest, said); c.Status != Counts {
		return c
	}
	if r.ExpiresAt != nil && !v.At.Before(*r.ExpiresAt) {
		return not(Expired, "expired %s", r.ExpiresAt.Format(time.RFC3339))
	}
	return c
}

// claim is what a statement says of who signed it, when, and for which repository.
type claim struct {
	role, signer, repository string
	at                       time.Time
	certified                bool // it was signed with a certificate
}

// holds verifies who signed a statement about an artifact, and judges what it claims.
func (v *Reader) holds(raw []byte, predicateType string, artifact evidence.Digest, said claim) (by string, _ Status, reason string) {
	not := func(status Status, format string, args ...any) (string, Status, string) {
		return by, status, fmt.Sprintf(format, args...)
	}
	holders := v.Roles[said.role]
	if len(holders) == 0 {
		return not(Untrusted, "no key is named for role %s", said.role)
	}
	var sig *attest.Signature
	var bad error
	for _, h := range holders {
		if _, keyless := h.Trust.(*attest.Keyless); keyless != said.certified {
			continue
		}
		_, got, err := h.Trust.Verify(raw, predicateType, artifact)
		if err == nil {
			sig, by = got, h.Name
			break
		}
		if bad == nil && !errors.Is(err, attest.ErrUnknownSigner) {
			bad = fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	switch {
	case sig == nil && bad != nil:
		return not(Unverifiable, "%v", bad)
	case sig == nil:
		return not(Untrusted, "signed by %s, which is not one of role %s", SignerText(said.signer), said.role)
	case sig.HighS:
		return not(Unverifiable, "its signature is written in the form that nothing here signs in: it was altered")
	case cmp.Or(sig.Identity, sig.KeyID) != said.signer:
		return not(Unverifiable, "it names %s, and %s signed it", SignerText(said.signer), SignerText(cmp.Or(sig.Identity, sig.KeyID)))
	case said.repository != v.Repository:
		return not(Foreign, "signed for repository %s", said.repository)
	}
	limit := v.At
	if !v.Exactly {
		limit = limit.Add(clockSkew)
	}
	if said.at.After(limit) {
		return not(Future, "signed %s, which is to come", said.at.Format(time.RFC3339))
	}
	return by, Counts, ""
}

var keyID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// SignerText is a signer for people: a key by the first digits of its id, or an identity.
func SignerText(signer string) string {
	if keyID.MatchString(signer) {
		return "key " + signer[:12]
	}
	return signer
}
