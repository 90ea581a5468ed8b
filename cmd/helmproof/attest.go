package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/review"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

type attestFlags struct {
	role, reason, expires, identity string
	completed                       []string
}

func newAttest(a *app) *cobra.Command {
	var f attestFlags
	cmd := &cobra.Command{
		Use:   "attest FILE|FOLDER|ID",
		Short: "Sign that a document or a bundle was reviewed, or a training completed",
		Long: `Attest signs who reviewed what, in which role, when and why, and stores the signed
statement beside the bundles, for ever. What was reviewed is named by its digest: a
document that is changed afterwards is not reviewed.

FILE is a document. FOLDER, ID and latest are bundles, as for helmproof verify; a
bundle has to verify.

With --completed the statement says that these people completed the training that
the document describes. It is no review of the document.

Who signed is the key that --key names. Whose keys speak for a role is for the reader
to say, with roles in helmproof.yaml or --role-key: a statement by any other key
counts as none. With --identity nothing is signed: cosign signs what is written, and
helmproof attest store stores that. What was a mistake is withdrawn.`,
		Example: `  helmproof attest docs/runbook.md --role security --reason "threat model of 2.3 checked" --key ada.key
  helmproof attest latest --role sre --reason "drills look right" --expires 2027-06-30
  helmproof attest docs/training.md --role sre --completed alice@example.com --completed bob@example.com`,
		Args: exact(1, "one document or bundle"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.attest(cmd.Context(), args[0], f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.role, "role", "", "`ROLE` in which it is signed, such as security or sre")
	fl.StringVar(&f.reason, "reason", "", "`TEXT` that says what was looked at, and why it is good")
	fl.StringVar(&f.expires, "expires", "", "`DATE` or time (RFC 3339) from which on it counts no more")
	fl.StringArrayVar(&f.completed, "completed", nil, "`PERSON` who completed the training that FILE describes; may be given several times")
	fl.String("key", "", "signing key: a `FILE`, or a key in a KMS")
	fl.String("tsa", "", "RFC 3161 timestamp authority `URL`; without it nothing proves when")
	a.repoFlags(cmd)
	a.repositoryIDFlag(cmd)
	a.trustFlags(cmd)
	a.roleFlag(cmd)
	fl.StringVar(&f.identity, "identity", "", identityUsage)
	cmd.AddCommand(newWithdraw(a), newStoreSigned(a))
	return cmd
}

const identityUsage = "sign elsewhere: write the statement that the identity in this `FILE` is to sign, and store nothing"

func newStoreSigned(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store FILE",
		Short: "Store a review or a withdrawal that was signed elsewhere",
		Long: `Store takes a statement that helmproof attest --identity wrote, and somebody signed
without a key of their own: FILE is the Sigstore bundle that cosign attest-blob wrote.
Nothing is stored that does not count by the roles of helmproof.yaml or --role-key.`,
		Example: `  helmproof attest docs/runbook.md --role security --reason "threat model checked" --identity ada.identity.yaml > review.json
  cosign attest-blob --statement review.json --bundle review.sigstore.json docs/runbook.md
  helmproof attest store review.sigstore.json --role-key security=ada.identity.yaml`,
		Args: exact(1, "one signed file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := readBounded(args[0], repository.MaxReview)
			if err != nil {
				return usageErr("attest store: %w", err)
			}
			by, repo, err := a.reviewReader(cmd.Context())
			if err != nil {
				return err
			}
			c, err := pipeline.StoreSigned(cmd.Context(), repo, by, raw)
			if err != nil {
				return err
			}
			return a.printSigned(repo, c)
		},
	}
	cmd.Flags().StringP("output", "o", "", "output: text or json")
	a.repoFlags(cmd)
	a.repositoryIDFlag(cmd)
	a.roleFlag(cmd)
	return cmd
}

// printSigned prints what was stored.
func (a *app) printSigned(repo *repository.Repository, c review.Checked) error {
	if a.cfg.Output == "json" {
		return writeJSON(a.io.out, attestJSON{repo.URL(), newReviewJSON(c)})
	}
	a.printReviews(newTerminal(a.io.out, a.cfg.Color), []review.Checked{c})
	return nil
}

// writeStatement writes what an identity is to sign: exactly these bytes.
func (a *app) writeStatement(st *attest.Statement) error {
	raw, err := st.Marshal()
	if err == nil {
		_, err = a.io.out.Write(raw)
	}
	return err
}

func newWithdraw(a *app) *cobra.Command {
	var reason, identity string
	cmd := &cobra.Command{
		Use:   "withdraw REVIEW",
		Short: "Sign that a review, or a record of a training, is withdrawn",
		Long: `Withdraw signs that a review counts no more, and why, and stores that beside it, for
ever: the review itself stays. REVIEW is its id, as helmproof list --reviews shows it,
or its first eight digits and more.

A key of the role in which it was reviewed can withdraw it, its own or a colleague's;
any other is refused. Roles are those of helmproof.yaml or --role-key, as for readers.
A withdrawal cannot be withdrawn: what is good after all is reviewed again.

A withdrawal that is taken out of the repository is missed: the review cannot be
verified then. Only where all traces of it are taken away nobody can know of it; keep
the bucket so that nothing can be deleted.`,
		Example: `  helmproof attest withdraw 3f1c9a20 --reason "the drill in it was of another cluster" --key ada.key`,
		Args:    exact(1, "one review"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withdraw(cmd.Context(), args[0], reason, identity)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&reason, "reason", "", "`TEXT` that says why it counts no more")
	fl.StringVar(&identity, "identity", "", identityUsage)
	fl.String("key", "", "signing key: a `FILE`, or a key in a KMS")
	fl.String("tsa", "", "RFC 3161 timestamp authority `URL`; without it nothing proves when")
	fl.StringP("output", "o", "", "output: text or json")
	a.repoFlags(cmd)
	a.repositoryIDFlag(cmd)
	a.roleFlag(cmd)
	return cmd
}

func (a *app) withdraw(ctx context.Context, ref, reason, identity string) error {
	if reason == "" {
		return usageErr("attest withdraw: say why it counts no more: --reason TEXT")
	}
	by, repo, err := a.reviewReader(ctx)
	if err != nil {
		return err
	}
	c, err := pipeline.FindReview(ctx, repo, by, ref)
	if err != nil {
		return err
	}
	w := review.Withdrawal{Role: c.Review.Role, Reviewed: c.Subject.Digest, Reason: reason, WithdrawnAt: time.Now(), Repository: by.Repository, Tool: tool()}
	if identity != "" {
		id, _, err := pipeline.OpenIdentity(identity)
		if err != nil {
			return err
		}
		w.Signer = id.String()
		st, err := w.Statement(c.ID)
		if err != nil {
			return usageErr("attest withdraw: %w", err)
		}
		return a.writeStatement(st)
	}
	s, err := a.signer(ctx)
	if err != nil {
		return err
	}
	out, err := pipeline.Withdraw(ctx, repo, s, by, c, w)
	if err != nil {
		return err
	}
	return a.printSigned(repo, out)
}

// reviewReader opens the repository, and says which of its reviews count.
func (a *app) reviewReader(ctx context.Context) (*review.Reader, *repository.Repository, error) {
	repo, err := a.openRepo(ctx)
	if err != nil {
		return nil, nil, err
	}
	roles, err := pipeline.OpenRoles(ctx, a.cfg.Roles)
	if err != nil {
		return nil, nil, err
	}
	id, err := a.repositoryID(ctx, repo)
	if err != nil {
		return nil, nil, err
	}
	by, err := pipeline.ReviewReader(ctx, repo, roles, id, time.Now(), false)
	return by, repo, err
}

func (a *app) roleFlag(cmd *cobra.Command) {
	cmd.Flags().StringArray("role-key", nil, "`ROLE=KEY`: a public key that speaks for the role: a file, a directory of *.pub, or a key in a KMS; may be given several times")
}

// attestJSON is what attest prints as JSON.
type attestJSON struct {
	Repository string     `json:"repository"`
	Review     reviewJSON `json:"review"`
}

func (a *app) attest(ctx context.Context, ref string, f attestFlags) error {
	now := time.Now().UTC().Truncate(time.Second)
	r := review.Review{Role: f.role, Reason: f.reason, ReviewedAt: now, Completed: f.completed, Tool: tool()}
	switch {
	case f.role == "":
		return usageErr("attest: say in which role: --role security")
	case f.reason == "" && len(f.completed) == 0:
		return usageErr("attest: say what was looked at: --reason TEXT")
	case f.reason == "":
		r.Reason = "training completed"
	}
	if f.expires != "" {
		at, err := parseDate(f.expires)
		if err != nil || !at.After(now) {
			return usageErr("--expires %q: want a date or time to come, like 2027-06-30 or 2027-06-30T12:00:00Z", f.expires)
		}
		r.ExpiresAt = &at
	}
	roles, err := pipeline.OpenRoles(ctx, a.cfg.Roles)
	if err != nil {
		return err
	}
	repo, err := a.openRepo(ctx)
	if err != nil {
		return err
	}
	of, kind, err := pipeline.ReviewSubject(ctx, func() (*bundle.Verifier, error) { return a.verifier(ctx, repo) }, repo, ref)
	if err != nil {
		return err
	}
	r.Kind = kind
	var s attest.Signer
	if f.identity != "" {
		id, _, err := pipeline.OpenIdentity(f.identity)
		if err != nil {
			return err
		}
		r.Signer = id.String()
	} else {
		if s, err = a.signer(ctx); err != nil {
			return err
		}
		r.Signer = s.KeyID()
	}
	r.Repository = "unknown" // until it is known that the rest can be signed: a repository that has no id gets one
	if err := r.Check(of, r.Signer); err != nil {
		return usageErr("attest: %w", err)
	}
	if r.Repository, err = a.sealedFor(ctx, repo); err != nil {
		return err
	}
	if s == nil {
		st, err := r.Statement(of)
		if err != nil {
			return usageErr("attest: %w", err)
		}
		return a.writeStatement(st)
	}
	id, err := pipeline.Attest(ctx, repo, s, of, r)
	if err != nil {
		return err
	}
	by, err := pipeline.ReviewReader(ctx, repo, roles, r.Repository, time.Now(), false)
	if err != nil {
		return err
	}
	list, err := pipeline.Reviews(ctx, repo, by, of.Digest)
	if err != nil {
		return err
	}
	for _, c := range list {
		if c.ID != id {
			continue
		}
		if a.cfg.Output == "json" {
			return writeJSON(a.io.out, attestJSON{repo.URL(), newReviewJSON(c)})
		}
		t := newTerminal(a.io.out, a.cfg.Color)
		a.printReviews(t, []review.Checked{c})
		if c.Status == review.Untrusted && !a.quiet {
			t.para("", "", "Here it does not count: "+c.Reason+". Readers name the key with roles in helmproof.yaml, or --role-key "+r.Role+"=FILE.")
		}
		return nil
	}
	return fmt.Errorf("the review %s is not in %s, where it was stored", id.Short(), repo.URL())
}

// parseDate reads a time, or a date, which means its first moment in UTC.
func parseDate(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err
}

// reviewJSON is a review as commands print it.
type reviewJSON struct {
	ID      evidence.Digest `json:"id"`
	Status  review.Status   `json:"status"`
	Reason  string          `json:"reason,omitempty"` // why it does not count
	Digest  evidence.Digest `json:"digest"`           // of what was reviewed
	Name    string          `json:"name,omitempty"`   // of the document when it was reviewed
	By      string          `json:"by,omitempty"`     // what the configuration calls the key
	Claimed *review.Review  `json:"review,omitempty"` // what it says, which is claimed only where it is untrusted
	// Of a withdrawal, instead of a review.
	Withdraws  evidence.Digest    `json:"withdraws,omitempty"` // the id of the review
	Withdrawal *review.Withdrawal `json:"withdrawal,omitempty"`
}

func newReviewJSON(c review.Checked) reviewJSON {
	return reviewJSON{ID: c.ID, Status: c.Status, Reason: c.Reason, Digest: c.Subject.Digest, Name: c.Subject.Name, By: c.By, Claimed: c.Review, Withdraws: c.Withdraws, Withdrawal: c.Withdrawal}
}

// reviews prints all reviews of the repository and says in how many nobody can know what
// they were, and how many nobody vouches for.
func (a *app) reviews(ctx context.Context) (unverifiable, untrusted int, err error) {
	by, repo, err := a.reviewReader(ctx)
	if err != nil {
		return 0, 0, err
	}
	list, err := pipeline.Reviews(ctx, repo, by, "")
	if err != nil {
		return 0, 0, err
	}
	out := []reviewJSON{}
	for _, c := range list {
		out = append(out, newReviewJSON(c))
		switch c.Status {
		case review.Unverifiable:
			unverifiable++
		case review.Untrusted:
			untrusted++
		}
	}
	if a.cfg.Output == "json" {
		return unverifiable, untrusted, writeJSON(a.io.out, map[string]any{"repository": repo.URL(), "reviews": out})
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	a.printReviews(t, list)
	if len(list) == 0 && !a.quiet {
		t.line("no reviews in " + repo.URL())
	}
	return unverifiable, untrusted, nil
}

func reviewMark(s review.Status) report.Mark {
	switch s {
	case review.Counts:
		return report.Mark{Word: "COUNTS", Shape: report.MarkPass.Shape, ANSI: report.MarkPass.ANSI}
	case review.Unverifiable:
		return markNotVerified
	}
	return report.Mark{Word: "DOES NOT COUNT", Shape: report.MarkIncomplete.Shape, ANSI: report.MarkIncomplete.ANSI}
}

func (a *app) printReviews(t *terminal, list []review.Checked) {
	for _, c := range list {
		if a.quiet {
			t.line(string(c.Status) + "  " + string(c.ID))
			continue
		}
		what := "review of " + c.Subject.Digest.Short()
		if r := c.Review; r != nil {
			did := "review"
			if len(r.Completed) > 0 {
				did = "training of " + strings.Join(r.Completed, ", ")
			}
			what = fmt.Sprintf("%s by %s: %s, sha256:%s, %s, %s", did, r.Role, c.Subject.Name, c.Subject.Digest.Short(), r.ReviewedAt.Format("2006-01-02 15:04Z"), review.SignerText(r.Signer))
			if r.ExpiresAt != nil {
				what += ", until " + r.ExpiresAt.Format("2006-01-02 15:04Z")
			}
			what += ", review " + c.ID.Short()
		}
		said := ""
		if c.Review != nil {
			said = c.Review.Reason
		}
		if w := c.Withdrawal; w != nil {
			what = fmt.Sprintf("withdrawal by %s of review %s: %s, %s, %s", w.Role, c.Withdraws.Short(), cmp.Or(c.Subject.Name, "sha256:"+c.Subject.Digest.Short()), w.WithdrawnAt.Format("2006-01-02 15:04Z"), review.SignerText(w.Signer))
			said = w.Reason
		}
		t.para(t.mark(reviewMark(c.Status), 16)+"  ", strings.Repeat(" ", 18), what)
		if said != "" {
			t.para(strings.Repeat(" ", 18), strings.Repeat(" ", 18), "“"+said+"”")
		}
		if c.Reason != "" {
			t.para(strings.Repeat(" ", 18), strings.Repeat(" ", 18), c.Reason)
		}
	}
}
