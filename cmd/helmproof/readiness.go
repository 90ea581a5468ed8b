package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/internal/readiness"
	"github.com/companyos/helmproof/report"
)

type readinessFlags struct {
	checklist, documents, at, format string
	anyRepository, show              bool
}

func newReadiness(a *app) *cobra.Command {
	var f readinessFlags
	cmd := &cobra.Command{
		Use:   "readiness [RELEASE...]",
		Short: "Answer the operational readiness checklist from evidence",
		Long: `Readiness answers a checklist for each release, item by item: what is there, what is
missing, and the command that gets it. Evidence is found and verified as helmproof
gate does it, and judged by the thresholds of profile release; reviews and trainings
are what helmproof attest signed, by keys that roles in helmproof.yaml or --role-key
name. What could not be checked is not done.

RELEASE is the name of a release; without any, all are asked that the repository has
evidence of. The documents of the checklist are read here, below --documents: what
counts is a review of exactly their bytes.

--checklist is operational, which is built in, or a YAML file of your own
(docs/readiness.md).

Exit code 0 says that all is there, 3 that something is missing, 4 that something is
there that cannot be verified.`,
		Example: `  helmproof readiness payments -n prod --role-key security=ada.pub --role-key sre=sam.pub
  helmproof readiness --repo gs://evidence/prod -o json
  helmproof readiness payments --checklist ops/checklist.yaml --documents ops --format md`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("namespace") {
				return a.readiness(cmd.Context(), args, a.cfg.Namespace, f)
			}
			return a.readiness(cmd.Context(), args, "", f) // what helmproof.yaml says is how to render
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.checklist, "checklist", "operational", "checklist: a built-in `NAME` or a YAML file")
	fl.BoolVar(&f.show, "show-checklist", false, "write the checklist, and answer nothing: to begin one of your own")
	fl.StringVar(&f.documents, "documents", ".", "`FOLDER` that the checklist's files are below")
	fl.StringVar(&f.at, "at", "", "answer as of this `TIME` (RFC 3339) instead of now")
	fl.StringVar(&f.format, "format", "", "md or html: write Markdown, or one page of HTML, instead of text")
	fl.BoolVar(&f.anyRepository, "any-repository", false, "take evidence that was sealed for another repository, or for none; reviews never")
	fl.StringP("namespace", "n", "", "only releases in this `NAMESPACE`")
	_ = cmd.MarkFlagDirname("documents")
	_ = cmd.RegisterFlagCompletionFunc("checklist", cobra.FixedCompletions(readiness.Names(), cobra.ShellCompDirectiveDefault))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"md", "html"}, cobra.ShellCompDirectiveNoFileComp))
	a.repoFlags(cmd)
	a.repositoryIDFlag(cmd)
	a.trustFlags(cmd)
	a.roleFlag(cmd)
	return cmd
}

// readChecklist reads a built-in checklist by name, or one from a file: a name with a
// slash, or ending in .yaml, .yml or .json. raw is as it is written.
func readChecklist(name string) (c *readiness.Checklist, raw []byte, err error) {
	raw, ok := readiness.Builtin(name)
	if strings.ContainsAny(name, `/\`) || slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name)) {
		if raw, err = readBounded(name, readiness.MaxChecklist); err != nil {
			return nil, nil, usageErr("--checklist: %w", err)
		}
	} else if !ok {
		return nil, nil, usageErr("--checklist %q: want %s or a file like ./checklist.yaml", name, strings.Join(readiness.Names(), ", "))
	}
	_, catalog := config.Catalog()
	if c, err = readiness.Parse(raw, catalog); err != nil {
		return nil, nil, usageErr("%s: %w", name, err)
	}
	return c, raw, nil
}

func (a *app) readiness(ctx context.Context, names []string, namespace string, f readinessFlags) error {
	switch {
	case f.format != "" && f.format != "md" && f.format != "html":
		return usageErr("--format %q: want md or html", f.format)
	case f.format != "" && a.cfg.Output == "json":
		return usageErr("readiness: --format %s and -o json do not go together", f.format)
	case slices.Contains(names, ""):
		return usageErr("readiness: an empty name of a release: leave it out, or say which is meant")
	}
	req := pipeline.ReadinessRequest{Names: names, Documents: f.documents}
	req.Gate = pipeline.GateRequest{Namespace: namespace, AnyRepository: f.anyRepository, Timeout: a.cfg.Timeout, At: time.Now().UTC().Truncate(time.Microsecond)}
	var err error
	if f.at != "" {
		if req.Gate.At, err = time.Parse(time.RFC3339, f.at); err != nil {
			return usageErr("--at %q: want a time like 2026-11-23T12:00:00Z", f.at)
		}
		req.Gate.AsOf = true
	}
	list, raw, err := readChecklist(f.checklist)
	switch {
	case err != nil:
		return err
	case f.show && (a.cfg.Output == "json" || f.format != ""):
		return usageErr("readiness: --show-checklist writes YAML: leave -o json and --format out")
	case f.show:
		_, err = a.io.out.Write(raw)
		return err
	}
	req.Checklist = list
	roles, err := pipeline.OpenRoles(ctx, a.cfg.Roles)
	if err != nil {
		return err
	}
	repo, err := a.openRepo(ctx)
	if err != nil {
		return err
	}
	v, err := a.verifier(ctx, repo)
	if err != nil {
		return err
	}
	if err := a.gateLists(ctx, &req.Gate); err != nil {
		return err
	}
	id, err := a.repositoryID(ctx, repo)
	if err != nil {
		return err
	}
	if !f.anyRepository {
		req.Gate.Repository = id
	}
	if req.Reviews, err = pipeline.ReviewReader(ctx, repo, roles, id, req.Gate.At, req.Gate.AsOf); err != nil {
		return err
	}
	doc, err := pipeline.Readiness(ctx, repo, v, req)
	if err != nil {
		return err
	}
	if err := a.printReadiness(doc, f.format, repo); err != nil {
		return err
	}
	switch doc.Outcome {
	case readiness.Done:
		return nil
	case readiness.Missing:
		return &exitError{code: exitVerdict}
	}
	return &exitError{code: exitIntegrity}
}

func (a *app) printReadiness(doc *readiness.Document, format string, repo *repository.Repository) error {
	switch {
	case a.cfg.Output == "json":
		return writeJSON(a.io.out, doc)
	case format == "md":
		return report.ReadinessMarkdown(a.io.out, doc)
	case format == "html":
		return report.ReadinessHTML(a.io.out, doc)
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	for i := range doc.Releases {
		if i > 0 && !a.quiet {
			t.line("")
		}
		printReady(t, doc, &doc.Releases[i], a.quiet, repo.URL())
	}
	return nil
}

// printReady writes the answers for one release, or only how many there are.
func printReady(t *terminal, doc *readiness.Document, r *readiness.Report, quiet bool, repo string) {
	done := 0
	for _, it := range r.Items {
		if it.Outcome == readiness.Done {
			done++
		}
	}
	subject := printable(report.ReadinessSubject(r))
	last := fmt.Sprintf("%s: %d of %s done", subject, done, plural(len(r.Items), "item"))
	if quiet {
		t.line(readyMark(t, r.Outcome) + "  " + last)
		return
	}
	for _, l := range wrap(subject, t.width) {
		t.line(t.bold(l))
	}
	for k := range r.Items {
		printItem(t, &r.Items[k])
	}
	t.line("")
	for _, in := range r.Inputs {
		t.para("from    ", "        ", fmt.Sprintf("bundle %s, judged %s", in.Bundle.Short(), in.EvaluatedAt.UTC().Format(time.RFC3339)))
	}
	t.phrase("  ", []string{readyMark(t, r.Outcome), last + ", checklist " + doc.Checklist + ", in " + repo})
}

// readyMark is READY or NOT READY.
func readyMark(t *terminal, o readiness.Outcome) string {
	m := report.ReadinessMark(o)
	m.Word = "NOT READY"
	if o == readiness.Done {
		m.Word = "READY"
	}
	return t.mark(m, 0)
}

// printItem writes an item, and of its parts all that is not done; of a done item why.
func printItem(t *terminal, it *readiness.Answer) {
	t.line("")
	t.para(t.mark(report.ReadinessMark(it.Outcome), 15)+" ", strings.Repeat(" ", 16), it.ID+": "+it.Title)
	for _, p := range it.Parts {
		text := p.What + ": " + shortDigests(p.Reason)
		if it.Outcome != readiness.Done && p.Outcome == readiness.Done {
			text = p.What + ": done"
		}
		t.para("    ", "      ", text)
		for _, n := range p.Notes {
			t.para("      ", "      ", shortDigests(n))
		}
	}
	for _, get := range report.ReadinessCommands(it) {
		t.command("    get it: ", "        ", get)
	}
}

// command writes a command that a shell takes as it is copied: lines end with a
// backslash where it goes on, between words and nowhere else.
func (t *terminal) command(first, rest, command string) {
	line, begun := first, false
	for _, word := range shellWords(printable(command)) {
		if begun && columns(line)+columns(word)+3 > t.width {
			t.line(line + " \\")
			line, begun = rest, false
		}
		if begun {
			line += " "
		}
		line, begun = line+word, true
	}
	t.line(line)
}

// shellWords splits a command at spaces that stand in no single quotes.
func shellWords(command string) []string {
	quoted := false
	return strings.FieldsFunc(command, func(r rune) bool {
		quoted = quoted != (r == '\'')
		return r == ' ' && !quoted
	})
}

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int64) ([]byte, error) {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", name)
	case st.Size() > limit:
		return nil, fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return os.ReadFile(name) //nolint:gosec // the user's own file
}
