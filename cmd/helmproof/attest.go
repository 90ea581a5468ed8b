package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/review"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

type attestFlags struct {
	role, reason, expires string
	completed             []string
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
counts as none.`,
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
	return cmd
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
	s, err := a.signer(ctx)
	if err != nil {
		return err
	}
	r.Repository = "unknown" // until it is known that the rest can be signed: a repository that has no id gets one
	if err := r.Check(of, s.KeyID()); err != nil {
		return usageErr("attest: %w", err)
	}
	if r.Repository, err = a.sealedFor(ctx, repo); err != nil {
		return err
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
}

func newReviewJSON(c review.Checked) reviewJSON {
	return reviewJSON{ID: c.ID, Status: c.Status, Reason: c.Reason, Digest: c.Subject.Digest, Name: c.Subject.Name, By: c.By, Claimed: c.Review}
}

// reviews prints all reviews of the repository and says in how many nobody can know what
// they were, and how many nobody vouches for.
func (a *app) reviews(ctx context.Context) (unverifiable, untrusted int, err error) {
	repo, err := a.openRepo(ctx)
	if err != nil {
		return 0, 0, err
	}
	roles, err := pipeline.OpenRoles(ctx, a.cfg.Roles)
	if err != nil {
		return 0, 0, err
	}
	id, err := a.repositoryID(ctx, repo)
	if err != nil {
		return 0, 0, err
	}
	by, err := pipeline.ReviewReader(ctx, repo, roles, id, time.Now(), false)
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
			what = fmt.Sprintf("%s by %s: %s, sha256:%s, %s, key %.12s", did, r.Role, c.Subject.Name, c.Subject.Digest.Short(), r.ReviewedAt.Format("2006-01-02 15:04Z"), r.Signer)
			if r.ExpiresAt != nil {
				what += ", until " + r.ExpiresAt.Format("2006-01-02 15:04Z")
			}
		}
		t.para(t.mark(reviewMark(c.Status), 16)+"  ", strings.Repeat(" ", 18), what)
		if c.Review != nil {
			t.para(strings.Repeat(" ", 18), strings.Repeat(" ", 18), "“"+c.Review.Reason+"”")
		}
		if c.Reason != "" {
			t.para(strings.Repeat(" ", 18), strings.Repeat(" ", 18), c.Reason)
		}
	}
}
