package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
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

Exit code 4 says that a check failed or could not be made.`,
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
	v := &bundle.Verifier{Trust: trust, Replay: replay, Render: renderer(config.Formats()), Limits: limits, Tool: "helmproof " + toolVersion()}
	v.Compose = recompose(v, repo)
	return v, nil
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
		id, files, err := loadBundle(ctx, repo, arg)
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
	return nil
}

// loadBundle reads a bundle's files from a directory or from the repository.
// The id of a directory is its name when that is one, else what it must be is unknown.
func loadBundle(ctx context.Context, repo *repository.Repository, arg string) (evidence.Digest, map[string][]byte, error) {
	if st, err := os.Stat(arg); err == nil && st.IsDir() {
		files, err := readBundleDir(arg)
		if err != nil {
			return "", nil, err
		}
		abs, err := filepath.Abs(arg)
		if err != nil {
			return "", nil, err
		}
		id, err := evidence.ParseDigest(filepath.Base(abs))
		if err != nil {
			id = evidence.DigestOf(files[bundle.EvidenceFile])
		}
		return id, files, nil
	}
	id, err := repo.Resolve(ctx, arg)
	if err != nil {
		return "", nil, notFound(err)
	}
	files, err := repo.Get(ctx, id)
	return id, files, notFound(err)
}

// notFound makes an id that is not there an input error.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &exitError{code: exitUsage, err: err}
	}
	return err
}

func readBundleDir(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	if len(entries) > 64 {
		return nil, usageErr("%s: %d files: not a bundle", dir, len(entries))
	}
	files := map[string][]byte{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("read bundle: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() > repository.MaxFileSize {
			return nil, usageErr("%s: %s is not a file of a bundle", dir, printable(e.Name()))
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("read bundle: %w", err)
		}
	}
	if _, ok := files[bundle.EvidenceFile]; !ok {
		return nil, usageErr("%s: no %s: not a bundle", dir, bundle.EvidenceFile)
	}
	return files, nil
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

// openVerified verifies a bundle, and only then opens it.
func openVerified(ctx context.Context, v *bundle.Verifier, repo *repository.Repository, id evidence.Digest) (*bundle.Bundle, error) {
	files, err := repo.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	r := v.Verify(ctx, files, id)
	if !r.OK() {
		return nil, &exitError{code: exitIntegrity, err: fmt.Errorf("bundle %s is not verified: %s", id.Short(), r.Reason())}
	}
	return r.Verified(), nil
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
