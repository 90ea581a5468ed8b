package review_test

import (
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/review"
)

// A review is withdrawn by a key of its role, and by nothing else; a withdrawal that was
// marked and is gone leaves a review that nobody can know to hold.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	ada, adas := key(t)
	sam, sams := key(t)
	eve, _ := key(t)
	roles := review.Roles{"security": {{Name: "ada.pub", Trust: adas}, {Name: "sam.pub", Trust: sams}}, "sre": {{Name: "sam.pub", Trust: sams}}}
	good, err := review.Sign(t.Context(), ada, document, of())
	must(t, err)
	id := evidence.DigestOf(good)
	// withdrawal is one by sam, unless it is changed.
	withdrawal := func(s attest.Signer, of evidence.Digest, change func(*review.Withdrawal)) repository.StoredReview {
		w := review.Withdrawal{Role: "security", Reason: "read too fast", WithdrawnAt: now.Add(-time.Minute), Reviewed: document.Digest, Repository: "here", Tool: "test"}
		if change != nil {
			change(&w)
		}
		raw, err := review.SignWithdrawal(t.Context(), s, of, w)
		must(t, err)
		return stored(raw)
	}
	sams1 := withdrawal(sam, id, nil)
	marker := func(w evidence.Digest) repository.StoredReview {
		return repository.StoredReview{Subject: document.Digest, ID: w, Withdraws: id}
	}
	altered := sams1
	altered.Raw, altered.Damaged = nil, repository.ErrTooLarge
	for _, tt := range []struct {
		name       string
		change     func(*review.Reader)
		stored     []repository.StoredReview // beside the review; those with Withdraws are markers
		want       review.Status             // of the review
		reason     string
		withdrawal review.Status // of the first withdrawal
	}{
		{"nothing", nil, nil, review.Counts, "", ""},
		{"by a colleague", nil, []repository.StoredReview{sams1, marker(sams1.ID)}, review.Withdrawn, "(sam.pub, key " + sam.KeyID()[:12] + "): read too fast", review.Counts},
		{"by who reviewed", nil, []repository.StoredReview{withdrawal(ada, id, nil)}, review.Withdrawn, "(ada.pub, key", review.Counts},
		{"by nobody's key", nil, []repository.StoredReview{withdrawal(eve, id, nil)}, review.Counts, "", review.Untrusted},
		{"in a role of one's own", nil, []repository.StoredReview{withdrawal(sam, id, func(w *review.Withdrawal) { w.Role = "sre" })}, review.Counts, "", review.Untrusted},
		{"in a role of nobody", nil, []repository.StoredReview{withdrawal(sam, id, func(w *review.Withdrawal) { w.Role = "legal" })}, review.Counts, "", review.Untrusted},
		{"for another repository", nil, []repository.StoredReview{withdrawal(sam, id, func(w *review.Withdrawal) { w.Repository = "there" })}, review.Counts, "", review.Foreign},
		{"later than asked about", nil, []repository.StoredReview{withdrawal(sam, id, func(w *review.Withdrawal) { w.WithdrawnAt = now.Add(time.Hour) })}, review.Counts, "", review.Future},
		{"of another review, which is gone", nil, []repository.StoredReview{withdrawal(sam, evidence.DigestOf(nil), nil)}, review.Unverifiable, "of this role, which is gone or altered", review.Counts},
		{"of another review, before this one", nil, []repository.StoredReview{withdrawal(sam, evidence.DigestOf(nil), func(w *review.Withdrawal) { w.WithdrawnAt = now.Add(-1000 * time.Hour) })}, review.Counts, "", review.Counts},
		{"of another review, in another role", nil, []repository.StoredReview{withdrawal(sam, evidence.DigestOf(nil), func(w *review.Withdrawal) { w.Role = "sre" })}, review.Counts, "", review.Counts},
		{"that lies with another document's", nil, []repository.StoredReview{withdrawal(sam, id, func(w *review.Withdrawal) { w.Reviewed = evidence.DigestOf(nil) })}, review.Counts, "", review.Unverifiable},
		{"whose key lost the role", func(v *review.Reader) { v.Roles = review.Roles{"security": roles["security"][:1]} }, []repository.StoredReview{sams1, marker(sams1.ID)}, review.Counts, "", review.Untrusted},
		{"that is gone", nil, []repository.StoredReview{marker(sams1.ID)}, review.Unverifiable, "it was withdrawn by " + sams1.ID.Short() + ", which is gone or altered", ""},
		{"that is altered", nil, []repository.StoredReview{altered, marker(sams1.ID)}, review.Unverifiable, "which is gone or altered", review.Unverifiable},
		{"another in the place of what is marked", nil, []repository.StoredReview{withdrawal(sam, evidence.DigestOf(nil), nil), marker(withdrawal(sam, evidence.DigestOf(nil), nil).ID)}, review.Unverifiable, "which is gone or altered", review.Counts},
		{"one of two is gone", nil, []repository.StoredReview{sams1, marker(sams1.ID), marker(evidence.DigestOf(nil))}, review.Withdrawn, "read too fast", review.Counts},
		{"whose marker is gone", nil, []repository.StoredReview{sams1}, review.Withdrawn, "read too fast", review.Counts},
		{"a marker of another review", nil, []repository.StoredReview{{Subject: document.Digest, ID: sams1.ID, Withdraws: evidence.DigestOf(nil)}}, review.Counts, "", ""},
		{"of a review that does not count", func(v *review.Reader) { v.Repository = "there" }, []repository.StoredReview{sams1, marker(evidence.DigestOf(nil))}, review.Foreign, "signed for repository here", review.Foreign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			reader := &review.Reader{Roles: roles, Repository: "here", At: now}
			if tt.change != nil {
				tt.change(reader)
			}
			list := []review.Checked{reader.Check(stored(good))}
			var marked []repository.StoredReview
			for _, s := range tt.stored {
				if s.Withdraws != "" {
					marked = append(marked, s)
				} else {
					list = append(list, reader.Check(s))
				}
			}
			review.Withdraw(list, marked)
			if c := list[0]; c.Status != tt.want || !strings.Contains(c.Reason, tt.reason) || (c.Status == review.Counts) != (c.Reason == "") {
				t.Errorf("%s, %q; want %s, %q", c.Status, c.Reason, tt.want, tt.reason)
			}
			if tt.withdrawal != "" && list[1].Status != tt.withdrawal {
				t.Errorf("the withdrawal: %s, %q; want %s", list[1].Status, list[1].Reason, tt.withdrawal)
			}
		})
	}
}

// What no withdrawal can say is neither signed nor read, and none is read as a review.
// A writer of the repository has no key, but can spell the signed file otherwise, which
// gives it another id that no withdrawal names.
func TestWithdrawnReviewSpelledOtherwise(t *testing.T) {
	t.Parallel()
	ada, adas := key(t)
	reader := &review.Reader{Roles: review.Roles{"security": {{Name: "ada.pub", Trust: adas}}}, Repository: "here", At: now}
	good, err := review.Sign(t.Context(), ada, document, of())
	must(t, err)
	raw, err := review.SignWithdrawal(t.Context(), ada, evidence.DigestOf(good), review.Withdrawal{
		Role: "security", Reason: "read too fast", WithdrawnAt: now.Add(-time.Minute), Reviewed: document.Digest, Repository: "here", Tool: "test",
	})
	must(t, err)
	later := of()
	later.ReviewedAt = later.ReviewedAt.Add(time.Second)
	again, err := review.Sign(t.Context(), ada, document, later)
	must(t, err)
	for name, beside := range map[string]repository.StoredReview{
		"withdrawn": stored(raw), "its withdrawal gone": {Subject: document.Digest, ID: evidence.DigestOf(raw), Withdraws: evidence.DigestOf(good)},
	} {
		list := []review.Checked{reader.Check(stored(append([]byte(" "), good...))), reader.Check(stored(again)), reader.Check(stored(good))}
		var marked []repository.StoredReview
		if beside.Withdraws != "" {
			marked = append(marked, beside)
		} else {
			list = append(list, reader.Check(beside))
		}
		if list[0].Status != review.Counts || list[0].ID == list[2].ID {
			t.Fatalf("%s: the copy is %s by itself: %s", name, list[0].Status, list[0].Reason)
		}
		review.Withdraw(list, marked)
		if c := list[0]; c.Status != list[2].Status || c.Status == review.Counts || !strings.Contains(c.Reason, list[2].ID.Short()) {
			t.Errorf("%s: the copy is %s, %q; the review %s", name, c.Status, c.Reason, list[2].Status)
		}
		if c := list[1]; c.Status != review.Counts {
			t.Errorf("%s: what was reviewed anew is %s, %q", name, c.Status, c.Reason)
		}
	}
}

func TestWithdrawalRefuses(t *testing.T) {
	t.Parallel()
	ada, adas := key(t)
	for want, change := range map[string]func(*review.Withdrawal){
		"role":            func(w *review.Withdrawal) { w.Role = "Security" },
		"reason: empty":   func(w *review.Withdrawal) { w.Reason = " " },
		"want plain text": func(w *review.Withdrawal) { w.Reason = "a\x1b[2Kb" },
		"repository id":   func(w *review.Withdrawal) { w.Repository = "" },
		"no time":         func(w *review.Withdrawal) { w.WithdrawnAt = time.Time{} },
		"digest":          func(w *review.Withdrawal) { w.Reviewed = "sha256:1" },
	} {
		w := review.Withdrawal{Role: "security", Reason: "x", WithdrawnAt: now, Reviewed: document.Digest, Repository: "here", Tool: "test"}
		change(&w)
		if _, err := review.SignWithdrawal(t.Context(), ada, document.Digest, w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	reader := &review.Reader{Roles: review.Roles{"security": {{Name: "ada.pub", Trust: adas}}}, Repository: "here", At: now}
	for _, predicate := range []string{
		`{"role":"security","withdrawn":true}`, `{}`, `{"reason":"x","repository":"here","reviewed":"` + string(document.Digest) + `","role":"security","signer":"","tool":"test","withdrawnAt":"2026-11-29T12:00:00Z"}`,
	} {
		raw, err := ada.Sign(t.Context(), &attest.Statement{PredicateType: attest.WithdrawalType, Subjects: []attest.Subject{document}, Predicate: []byte(predicate)})
		must(t, err)
		if c := reader.Check(stored(raw)); c.Status != review.Unverifiable || c.Withdrawal != nil {
			t.Errorf("%s is %s", predicate, c.Status)
		}
	}
	w, err := review.SignWithdrawal(t.Context(), ada, document.Digest, review.Withdrawal{Role: "security", Reason: "x", WithdrawnAt: now, Reviewed: document.Digest, Repository: "here", Tool: "test"})
	must(t, err)
	if c := reader.Check(stored(w)); c.Review != nil || c.Withdrawal == nil || c.Status != review.Counts || c.Withdraws != document.Digest {
		t.Errorf("%+v", c)
	}
}
