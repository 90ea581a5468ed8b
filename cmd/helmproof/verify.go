package main

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

func newVerify(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [BUNDLE|ID...]",
		Short: "Check a bundle: signature, signer, reasoning and reports",
		Long: `Verify checks a bundle offline: that its id is the digest of evidence.zip, that
a trusted key signed it, that nothing in it was changed, that the findings follow
from the sealed artifacts and the verdict from the findings, and that the
reports are what this evidence renders to. It prints a line per check.

BUNDLE is a bundle's directory; ID is the beginning of a bundle's id in the
repository, or latest. Without either, every bundle of the repository is checked.

A bundle that another version's rules sealed is judged again by this version's:
what they judge worse is listed, and the worse result counts.

Exit code 4 says that a check failed or could not be made, 3 that the bundle is
intact, but this version judges it worse than the one that sealed it.`,
		Example: `  helmproof verify latest
  helmproof verify 3f2a9c --repo gs://evidence/prod --trust team.pub
  helmproof verify ./evidence-repo/bundles/3f2a…
  helmproof verify --repo gs://evidence/prod`,
		ValidArgsFunction: a.completeBundles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.verify(cmd.Context(), args)
		},
	}
	a.repoFlags(cmd)
	a.trustFlags(cmd)
	return cmd
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

func (a *app) verify(ctx context.Context, args []string) error {
	repo, err := a.openRepo(ctx)
	if err != nil {
		return err
	}
	v, err := a.verifier(ctx, repo)
	if err != nil {
		return err
	}
	one := len(args) == 1
	if len(args) == 0 {
		ids, err := repo.Bundles(ctx)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return fmt.Errorf("verify %s: %w: the repository is empty", repo.URL(), fs.ErrNotExist)
		}
		for _, id := range ids {
			args = append(args, id.Hex())
		}
	}
	var results []*bundle.Result
	for _, arg := range args {
		id, files, err := pipeline.ReadBundle(ctx, repo, arg)
		if err != nil {
			return err
		}
		results = append(results, v.Verify(ctx, files, id))
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	if err := a.printVerified(results, one); err != nil {
		return err
	}
	for _, r := range results {
		if !r.OK() {
			return &exitError{code: exitIntegrity}
		}
	}
	if slices.ContainsFunc(results, func(r *bundle.Result) bool { return len(r.Worse) > 0 }) {
		return &exitError{code: exitVerdict}
	}
	return nil
}

// printVerified prints the results; one says that a single bundle was asked
// for. What was asked for decides the form, not how many bundles there are.
func (a *app) printVerified(results []*bundle.Result, one bool) error {
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
	failed := 0
	for _, r := range results {
		m := report.MarkPass
		if !r.OK() {
			failed++
			m = report.MarkFail
		}
		if a.quiet || len(results) > 1 && r.OK() {
			t.line(t.mark(m, 6) + "  bundle " + r.Bundle.Short())
			continue
		}
		width := 0
		for _, c := range r.Checks {
			width = max(width, len(c.Name))
		}
		for _, c := range r.Checks {
			t.para(t.mark(report.FindingMark(c.Outcome), 13)+"  "+c.Name+strings.Repeat(" ", width-len(c.Name)+2), strings.Repeat(" ", width+19), c.Reason)
		}
		what := "verified"
		if !r.OK() {
			what = "NOT verified"
		}
		t.line(t.mark(m, 0) + "  bundle " + r.Bundle.Short() + "  " + what)
	}
	if len(results) > 1 {
		t.line(fmt.Sprintf("%s: %d verified, %d not", plural(len(results), "bundle"), len(results)-failed, failed))
	}
	return nil
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
	return out, cobra.ShellCompDirectiveNoFileComp
}
