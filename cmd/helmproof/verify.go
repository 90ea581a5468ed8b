package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/garbage"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

func newVerify(a *app) *cobra.Command {
	var signature string
	var reviews bool
	cmd := &cobra.Command{
		Use:   "verify [FOLDER|FILE|ID...]",
		Short: "Check a bundle: signature, signer, reasoning and reports",
		Long: `Verify checks a bundle offline: that its id is the digest of evidence.zip, that
a trusted key signed it, that nothing in it was changed, that the findings follow
from the sealed artifacts and the verdict from the findings, and that the
reports are what this evidence renders to. It prints a line per check, and then
two things: whether the bundle is verified, and, only if it is, its verdict.

ID is the beginning of a bundle's id in the repository, or latest. Without any,
every bundle of the repository is checked. A repository holds bundles whole: a
file that is absent, extra or altered is a failure.

FOLDER is a folder with a bundle's files, of whatever name; FILE is its
evidence.zip, with the other files beside it. evidence.zip and
evidence.sigstore.json are enough. What is absent is said and not checked, what
is extra is said and not vouched for; what is altered, or a report that nobody
signed, is a failure.

A bundle that another version's rules sealed is judged again by this version's:
what they judge worse is listed, and the worse result counts.

--reviews checks the reviews that helmproof attest signed instead. One that is
altered, or by a key that its role does not name, is exit code 4.

Exit code 0 says that all is intact, whatever the verdict: that of a verified
FAIL is 0. To decide on a release is for helmproof gate. Exit code 4 says that a
check failed or could not be made, 3 that the bundle is intact, but this version
judges it worse than the one that sealed it.`,
		Example: `  helmproof verify latest
  helmproof verify 3f2a9c --repo gs://evidence/prod --trust team.pub
  helmproof verify ./download --trust team.pub
  helmproof verify evidence.zip --signature ../evidence.sigstore.json --trust team.pub
  helmproof verify --repo gs://evidence/prod`,
		ValidArgsFunction: a.completeBundles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if reviews {
				return a.verifyReviews(cmd.Context(), args)
			}
			return a.verify(cmd.Context(), args, signature)
		},
	}
	cmd.Flags().BoolVar(&reviews, "reviews", false, "check all reviews instead")
	a.roleFlag(cmd)
	a.repositoryIDFlag(cmd)
	signatureFlag(cmd, &signature)
	a.repoFlags(cmd)
	a.trustFlags(cmd)
	return cmd
}

// signatureFlag registers --signature.
func signatureFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "signature", "", "the evidence.sigstore.json of a FOLDER or FILE: a `PATH`; beside the evidence if empty")
	_ = cmd.MarkFlagFilename("signature", "json")
}

// verifier checks bundles with this program's own collectors and renderers.
func (a *app) verifier(ctx context.Context, repo *repository.Repository) (*bundle.Verifier, error) {
	trust, err := a.trust(ctx)
	if err != nil {
		return nil, err
	}
	limits := bundle.DefaultLimits()
	limits.MaxFiles, limits.MaxTotal = a.cfg.VerifyMaxFiles, int64(a.cfg.VerifyMaxSize)<<20
	return pipeline.NewVerifier(trust, repo, limits, tool()), nil
}

// verifyReviews checks all reviews of the repository.
func (a *app) verifyReviews(ctx context.Context, args []string) error {
	if len(args) > 0 {
		return usageErr("verify: --reviews checks all reviews, and no bundles")
	}
	unverifiable, untrusted, err := a.reviews(ctx)
	if err == nil && unverifiable+untrusted > 0 {
		err = &exitError{code: exitIntegrity, err: fmt.Errorf("reviews that are altered or cannot be read: %d; by a key that their role does not name: %d", unverifiable, untrusted)}
	}
	return err
}

func (a *app) verify(ctx context.Context, args []string, signature string) error {
	one := len(args) == 1
	if signature != "" && !one {
		return usageErr("--signature is about one bundle: give its folder, or its evidence.zip")
	}
	repo, err := a.openRepo(ctx)
	if err != nil {
		return err
	}
	v, err := a.verifier(ctx, repo)
	if err != nil {
		return err
	}
	var found []*pipeline.Found
	if len(args) == 0 {
		unfinished, err := repo.Unfinished(ctx)
		if err != nil {
			return err
		}
		for _, id := range unfinished {
			a.log.Warn(fmt.Sprintf("bundle %s is not evidence: it is still being stored, its storing was cut off, or its evidence.zip was taken away", id.Short()))
		}
		if err := pipeline.EachBundle(ctx, repo, func(f *pipeline.Found) error { found = append(found, f); return nil }); err != nil {
			return err
		}
		if len(found) == 0 {
			if _, err := a.existingRepo(ctx); err != nil {
				return err
			}
			return fmt.Errorf("verify %s: %w: the repository is empty", repo.URL(), fs.ErrNotExist)
		}
	}
	for _, arg := range args {
		f, err := pipeline.FindBundle(ctx, v, repo, arg, signature)
		if err != nil {
			return a.orNoRepo(ctx, err)
		}
		found = append(found, f)
	}
	results, err := verifyAll(ctx, v, found)
	if err != nil {
		return err
	}
	if err := a.printVerified(results, one); err != nil {
		return err
	}
	if slices.ContainsFunc(results, func(r verifiedJSON) bool { return r.Verdict == nil }) {
		return &exitError{code: exitIntegrity}
	}
	if slices.ContainsFunc(results, func(r verifiedJSON) bool { return len(r.Worse) > 0 }) {
		return &exitError{code: exitVerdict}
	}
	return nil
}

// verifyAll verifies bundles, a few at once, and keeps of them what is to be printed.
func verifyAll(ctx context.Context, v *bundle.Verifier, found []*pipeline.Found) ([]verifiedJSON, error) {
	if len(found) > 1 {
		garbage.Within(verifyMemory)
	}
	results := make([]verifiedJSON, len(found))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(min(runtime.GOMAXPROCS(0), maxVerifyAtOnce))
	for i, f := range found {
		g.Go(func() error {
			r := f.Verify(ctx, v)
			if err := cmp.Or(context.Cause(ctx), r.Err()); err != nil {
				return err
			}
			results[i] = newVerified(f, r)
			r.Forget()
			return nil
		})
	}
	return results, g.Wait()
}

const (
	maxVerifyAtOnce = 2         // bundles, each of which may take 800 MiB where somebody means to
	verifyMemory    = 800 << 20 // bytes that it may take to verify many
)

// verifiedJSON is what verify prints about one bundle.
type verifiedJSON struct {
	*bundle.Result
	Verdict *verdictJSON `json:"verdict,omitempty"` // of a verified bundle only: nothing vouches for another's
	Extra   []string     `json:"extra,omitempty"`   // what lies beside a copy and is no part of it

	more    bool   // there is more than Extra
	subject string // what the verdict is about, for people
}

type verdictJSON struct {
	Outcome     evidence.VerdictOutcome `json:"outcome"`       // as sealed
	Now         evidence.VerdictOutcome `json:"now,omitempty"` // what counts by this version's rules, where that is another
	Profile     string                  `json:"profile"`
	Chart       string                  `json:"chart"`
	Version     string                  `json:"version"`
	Namespace   string                  `json:"namespace"`
	EvaluatedAt time.Time               `json:"evaluatedAt"`
}

func newVerified(f *pipeline.Found, r *bundle.Result) verifiedJSON {
	out := verifiedJSON{Result: r, Extra: f.Extra, more: f.More}
	b := r.Verified()
	if b == nil {
		return out
	}
	rel, v := b.Release(), b.Verdict()
	out.Verdict = &verdictJSON{Outcome: v.Outcome, Profile: b.Runs().ProfileName(v.Profile, v.ProfileDigest), Chart: rel.Chart, Version: rel.Version, Namespace: rel.Namespace, EvaluatedAt: v.EvaluatedAt}
	if now := r.Counts().Outcome; now != v.Outcome {
		out.Verdict.Now = now
	}
	what := "chart " + strings.TrimSpace(rel.Chart+" "+rel.Version)
	switch {
	case rel.Scope == evidence.ScopeCluster:
		what = "cluster " + shortDigests(rel.Cluster)
	case rel.Source == chart.SourceManifests:
		what = "manifests"
	}
	out.subject = what + ", profile " + shortDigests(b.Runs().ProfileName(v.Profile, v.ProfileDigest))
	return out
}

// What verify says about a bundle: words of their own, so that none is taken for a verdict.
var (
	markVerified    = report.Mark{Word: "VERIFIED", Shape: report.MarkPass.Shape, ANSI: report.MarkPass.ANSI}
	markNotVerified = report.Mark{Word: "NOT VERIFIED", Shape: report.MarkFail.Shape, ANSI: report.MarkFail.ANSI}
	markAbsent      = report.Mark{Word: "absent", Shape: report.MarkNotApplicable.Shape, ANSI: report.MarkNotApplicable.ANSI}
	markExtra       = report.Mark{Word: "extra", Shape: report.MarkNotApplicable.Shape, ANSI: report.MarkNotApplicable.ANSI}
)

// printVerified prints the results; one says that a single bundle was asked
// for. What was asked for decides the form, not how many bundles there are.
func (a *app) printVerified(results []verifiedJSON, one bool) error {
	if a.cfg.Output == "json" {
		if one {
			return writeJSON(a.io.out, results[0])
		}
		all := evidence.OutcomePass
		for _, r := range results {
			if !r.OK() {
				all = evidence.OutcomeFail
			}
		}
		return writeJSON(a.io.out, map[string]any{"outcome": all, "bundles": results})
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	counts, failed := map[evidence.VerdictOutcome]int{}, 0
	for _, r := range results {
		if r.Verdict != nil {
			counts[cmp.Or(r.Verdict.Now, r.Verdict.Outcome)]++
		} else {
			failed++
		}
		switch {
		case a.quiet:
			t.line(strings.Join(verifiedParts(t, r), "  "))
		case len(results) > 1 && r.Verdict != nil && len(r.Worse) == 0:
			t.line(verifiedRow(t, r))
		default:
			printChecks(t, r)
			printVerifiedLine(t, r)
		}
	}
	if len(results) > 1 {
		line := fmt.Sprintf("%s: %d verified, %d not", plural(len(results), "bundle"), len(results)-failed, failed)
		if failed < len(results) {
			line += fmt.Sprintf("; verdicts: %d PASS, %d FAIL, %d INCOMPLETE", counts[evidence.VerdictPass], counts[evidence.VerdictFail], counts[evidence.VerdictIncomplete])
		}
		t.para("", "  ", line)
	}
	return nil
}

// printChecks writes a line per check, and one for what lies beside the bundle.
func printChecks(t *terminal, r verifiedJSON) {
	width := 0
	for _, c := range r.Checks {
		width = max(width, len(c.Name))
	}
	line := func(m report.Mark, name, text string) {
		t.para(t.mark(m, 13)+"  "+name+pad(name, width+2), strings.Repeat(" ", width+19), text)
	}
	for _, c := range r.Checks {
		m := report.FindingMark(c.Outcome)
		if c.Outcome == evidence.OutcomeNotApplicable {
			m = markAbsent
		}
		line(m, c.Name, c.Reason)
	}
	const shown = 5
	if n := len(r.Extra); n > 0 {
		text := strings.Join(r.Extra[:min(n, shown)], ", ")
		switch {
		case r.more:
			text += fmt.Sprintf(" and more than %d others", n-shown)
		case n > shown:
			text += fmt.Sprintf(" and %d more", n-shown)
		}
		line(markExtra, "files", text+": no part of this bundle, not vouched for")
	}
}

// verifiedParts are what is known of one bundle: verified or not, and the verdict
// only of a verified one.
func verifiedParts(t *terminal, r verifiedJSON) []string {
	if r.Verdict == nil {
		return []string{t.mark(markNotVerified, 0), "bundle " + r.Bundle.Short() + ": " + printable(r.Reason())}
	}
	return []string{t.mark(markVerified, 0), "bundle " + r.Bundle.Short(), verdictWords(t, r.Verdict), printable(r.subject)}
}

// verdictWords are the sealed verdict and, where this version's rules make it
// another, the one that counts by now.
func verdictWords(t *terminal, v *verdictJSON) string {
	s := "verdict " + t.mark(report.VerdictMark(v.Outcome), 0)
	if v.Now != "" {
		s += ", now " + t.mark(report.VerdictMark(v.Now), 0)
	}
	return s
}

// printVerifiedLine ends what is printed of one bundle.
func printVerifiedLine(t *terminal, r verifiedJSON) {
	parts := verifiedParts(t, r)
	if r.Verdict == nil {
		t.para(parts[0]+"  ", strings.Repeat(" ", 16), parts[1])
		return
	}
	t.phrase("  ", parts)
}

// verifiedRow is one verified bundle among many.
func verifiedRow(t *terminal, r verifiedJSON) string {
	row := fmt.Sprintf("%s  %s  %s", t.mark(markVerified, 0), r.Bundle.Short(), verdictWords(t, r.Verdict))
	row += strings.Repeat(" ", max(0, 46-columns(row)))
	if room := t.width - columns(row) - 2; room > 8 {
		row += "  " + clip(printable(strings.TrimPrefix(r.subject, "chart ")), room)
	}
	return row
}

// completeBundles offers the ids of the repository's newest bundles.
func (a *app) completeBundles(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if err := a.configure(cmd); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	repo, err := a.openRepo(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := repo.List(cmd.Context(), repository.Filter{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	out := []string{"latest"}
	for _, p := range list[:min(len(list), 50)] {
		out = append(out, cobra.CompletionWithDesc(p.Bundle.Short(), fmt.Sprintf("%s %s %s", p.Outcome, p.Chart, p.EvaluatedAt.Format("2006-01-02 15:04"))))
	}
	return out, cobra.ShellCompDirectiveDefault // folders and files are bundles, too
}
