package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

func newList(a *app) *cobra.Command {
	var f repository.Filter
	var reviews bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the repository's bundles, newest first",
		Long: `List prints the repository's pointers, newest first. Pointers are derived from
bundles and not signed: verify what you rely on.

--reviews lists the reviews that helmproof attest signed instead, and whether each of
them counts, by the keys that roles in helmproof.yaml and --role-key name.`,
		Example: "  helmproof list\n  helmproof list --chart service --repo gs://evidence/prod -o json\n  helmproof list --reviews --role-key security=ada.pub",
		Args:    exact(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !reviews {
				return a.list(cmd.Context(), f)
			}
			if f != (repository.Filter{}) {
				return usageErr("list: --chart and --namespace are about bundles, and --reviews lists reviews")
			}
			_, _, err := a.reviews(cmd.Context())
			return err
		},
	}
	cmd.Flags().BoolVar(&reviews, "reviews", false, "list reviews instead, and whether they count")
	a.roleFlag(cmd)
	a.repositoryIDFlag(cmd)
	cmd.Flags().StringVar(&f.Chart, "chart", "", "only this chart")
	cmd.Flags().StringVarP(&f.Namespace, "namespace", "n", "", "only this namespace")
	a.repoFlags(cmd)
	return cmd
}

func (a *app) list(ctx context.Context, f repository.Filter) error {
	repo, err := a.existingRepo(ctx)
	if err != nil {
		return err
	}
	list, err := repo.List(ctx, f)
	if err != nil {
		return err
	}
	if a.cfg.Output == "json" {
		return writeJSON(a.io.out, map[string]any{"repository": repo.URL(), "bundles": append([]repository.Pointer{}, list...)})
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	if a.quiet {
		for _, p := range list {
			t.line(string(p.Bundle))
		}
		return nil
	}
	printPointers(t, list)
	if len(list) > 0 {
		t.line("")
		t.line("not verified: helmproof verify says which of them hold")
	}
	if len(list) == 0 {
		of := ""
		if f.Chart != "" {
			of += " of chart " + printable(f.Chart)
		}
		if f.Namespace != "" {
			of += " in namespace " + printable(f.Namespace)
		}
		if of != "" {
			of += ", looked"
		}
		t.line("no bundles" + of + " in " + repo.URL())
	}
	return nil
}

func newShow(a *app) *cobra.Command {
	var signature string
	cmd := &cobra.Command{
		Use:   "show FOLDER|FILE|ID",
		Short: "Show a verified bundle: every control that does not hold, every finding",
		Long: `Show verifies the bundle first, as helmproof verify does, and shows nothing of
one that is not verified.`,
		Example:           "  helmproof show latest\n  helmproof show 3f2a9c -o json\n  helmproof show evidence.zip --trust team.pub",
		Args:              exact(1, "one bundle: an id, a folder or an evidence.zip"),
		ValidArgsFunction: a.completeBundles,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, b, err := a.verified(cmd.Context(), args[0], signature)
			if err != nil {
				return err
			}
			if a.cfg.Output == "json" {
				return report.WriteOutput(report.EscapeJSON(a.io.out), []report.ReleaseJSON{report.NewReleaseJSON(in)})
			}
			j := &pipeline.Judged{Bundle: b.ID(), Release: *b.Release(), Runs: *b.Runs(), Findings: b.Findings(), Verdict: *b.Verdict()}
			if a.quiet {
				fmt.Fprintln(a.io.out, summary(j))
				return nil
			}
			cat := in.Catalog
			t := newTerminal(a.io.out, a.cfg.Color)
			byID := map[string]evidence.Finding{}
			for _, f := range j.Findings {
				byID[f.ID] = f
			}
			t.line(t.bold(printable(strings.TrimSpace(j.Release.Chart + " " + j.Release.Version))))
			t.para("", "", fmt.Sprintf("%s, profile %s, judged %s", about(&j.Release), profileText(&j.Runs, in.Profile, &j.Verdict), j.Verdict.EvaluatedAt.UTC().Format(time.RFC3339)))
			printMeasured(t, in.Drill, in.DrillUnread)
			printFirst(t, &j.Verdict, cat, byID)
			printResults(t, j.Verdict, cat, byID, everyFinding)
			printGroups(t, j.Verdict, cat)
			printWaivers(t, j.Verdict)
			t.line("")
			t.para("bundle  ", "        ", "sha256:"+j.Bundle.Hex())
			t.line(verdictLine(t, j))
			return nil
		},
	}
	signatureFlag(cmd, &signature)
	a.repoFlags(cmd)
	a.trustFlags(cmd)
	return cmd
}

// judgedWorse says what the rules of this version judge worse than those that
// sealed the bundle.
func judgedWorse(r *bundle.Result) string {
	var list []string
	for _, w := range r.Worse {
		list = append(list, string(w.Control))
	}
	return fmt.Sprintf("by this version's rules (%d, it was sealed by %d) it is %s: worse in %s", r.Rules.This, r.Rules.Sealed, r.Counts().Outcome, strings.Join(list, ", "))
}

// verified opens a bundle that verifies, with what its reports are made from.
func (a *app) verified(ctx context.Context, ref, signature string) (report.Input, *pipeline.Verified, error) {
	repo, err := a.openRepo(ctx)
	if err != nil {
		return report.Input{}, nil, err
	}
	v, err := a.verifier(ctx, repo)
	if err != nil {
		return report.Input{}, nil, err
	}
	b, err := pipeline.OpenVerified(ctx, v, repo, ref, signature)
	if err != nil {
		return report.Input{}, nil, a.orNoRepo(ctx, err)
	}
	if len(b.Result.Worse) > 0 {
		a.log.Warn(fmt.Sprintf("bundle %s: %s", b.ID().Short(), judgedWorse(b.Result)))
	}
	in, err := pipeline.ReportInput(b.Bundle, b.Result.KeyID)
	return in, b, err
}

func newReport(a *app) *cobra.Command {
	var out, format, prefix, signature string
	var summary bool
	cmd := &cobra.Command{
		Use:   "report FOLDER|FILE|ID",
		Short: "Write a report of a verified bundle",
		Long: `Report verifies the bundle first and then writes one report of it. A report is a
function of the bundle: the same bundle gives the same bytes.`,
		Example: `  helmproof report latest --format pdf -o review.pdf
  helmproof report 3f2a9c --format sarif --path-prefix charts/payments > results.sarif`,
		Args:              exact(1, "one bundle: an id, a folder or an evidence.zip"),
		ValidArgsFunction: a.completeBundles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(config.PrintedFormats(), format) {
				return usageErr("--format %q: want %s", format, strings.Join(config.PrintedFormats(), ", "))
			}
			if out == "json" && !cmd.Flags().Changed("format") { // as with every other command
				format, out = "json", ""
			}
			if summary && format != "md" {
				return usageErr("--summary is for --format md")
			}
			if slices.Contains(config.Formats(), out) {
				return usageErr("-o names a file, and %s is a format: say --format %s, or -o ./%s for a file of that name", out, out, out)
			}
			if format == "pdf" && out == "" && isTerminal(a.io.out) {
				return usageErr("a PDF is nothing that a terminal shows: name a file with -o FILE, or say -o - to write it here")
			}
			in, _, err := a.verified(cmd.Context(), args[0], signature)
			if err != nil {
				return err
			}
			write := func(w io.Writer) error {
				if summary {
					return report.Summary(w, report.New(in))
				}
				return pipeline.Render(w, report.New(in), format, prefix)
			}
			if out == "" || out == "-" {
				return write(a.io.out)
			}
			return writeFile(out, write)
		},
	}
	cmd.Flags().StringVar(&format, "format", "md", "pdf, md, html, json, sarif, junit or github")
	cmd.Flags().StringVar(&prefix, "path-prefix", "", "with --format sarif or github: the chart's `FOLDER` in its repository, so that code scanning finds the files")
	cmd.Flags().StringVarP(&out, "output-file", "o", "", "write to `FILE` instead of standard output (-); json, as everywhere, is --format json")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(config.PrintedFormats(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&summary, "summary", false, summaryHelp)
	signatureFlag(cmd, &signature)
	a.repoFlags(cmd)
	a.trustFlags(cmd)
	return cmd
}

const summaryHelp = "with --format md: at most 60 lines, for a comment on a pull request"

// writeFile replaces name with what write writes, whole or not at all.
func writeFile(name string, write func(io.Writer) error) error {
	return writeFileAs(name, 0o644, write)
}

// writeFileAs is writeFile of a file with these permissions.
func writeFileAs(name string, perm fs.FileMode, write func(io.Writer) error) error {
	f, err := os.CreateTemp(dirOf(name), ".helmproof-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	err = errors.Join(write(f), f.Chmod(perm), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(f.Name()))
	}
	return nil
}

func newDiff(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two verified bundles: controls and findings that changed",
		Long: `Diff verifies both bundles and prints what changed from A to B: the verdict,
controls whose outcome changed, failing findings that are new and ones that are
gone; of two drills also what each measured, side by side. A and B are bundles as
for helmproof verify: ids, folders or files.

Exit code 3 says that something fails in B that did not in A. What moved to another
line, or has another tag, is not new; one more of the same is.`,
		Example:           "  helmproof diff 3f2a9c latest\n  helmproof diff ./audit-2025 ./audit-2026 --trust team.pub",
		Args:              exact(2, "two bundles: ids, folders or evidence.zip files"),
		ValidArgsFunction: a.completeBundles,
		RunE: func(cmd *cobra.Command, args []string) error {
			var side [2]report.Input
			for i, arg := range args {
				var err error
				if side[i], _, err = a.verified(cmd.Context(), arg, ""); err != nil {
					return err
				}
			}
			d := report.Diff(&side[0], &side[1])
			if a.cfg.Output == "json" {
				if err := writeJSON(a.io.out, d); err != nil {
					return err
				}
			} else {
				printDiff(newTerminal(a.io.out, a.cfg.Color), d)
			}
			if len(d.NewFailures) > 0 {
				return &exitError{code: exitVerdict}
			}
			return nil
		},
	}
	a.repoFlags(cmd)
	a.trustFlags(cmd)
	return cmd
}

func printDiff(t *terminal, d report.DiffJSON) {
	for _, s := range []report.DiffSide{d.A, d.B} {
		t.line(t.mark(report.VerdictMark(s.Outcome), 12) + "  " + s.Bundle.Short() + "  " + printable(strings.TrimSpace(s.Chart+" "+s.Version)))
	}
	for i, c := range d.Controls {
		if i == 0 {
			t.line("")
		}
		from, to := string(c.From), string(c.To)
		if from == "" {
			from = "not judged"
		}
		if to == "" {
			to = "not judged"
		}
		t.line(fmt.Sprintf("%-6s  %s → %s", c.Control, from, to))
	}
	for _, part := range []struct {
		sign string
		list []evidence.Finding
	}{{"+ ", d.New}, {"- ", d.Gone}} {
		for i, f := range part.list {
			if i == 0 {
				t.line("")
			}
			t.para(part.sign, "  ", f.Rule+"  "+f.Target.String())
			t.para("    ", "    ", f.Message)
		}
	}
	if d.Drill != nil {
		printDrillDiff(t, d.Drill)
	}
	t.line("")
	t.line(fmt.Sprintf("%s changed, %s new, %d gone", plural(len(d.Controls), "control"), plural(len(d.New), "finding"), len(d.Gone)))
	if n := len(d.NewFailures); n > 0 {
		t.line(plural(n, "new failure"))
	}
}
