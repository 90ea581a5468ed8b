package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/harden"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// hardenWrite are the flags of harden that are about values.
type hardenWrite struct{ write, apply bool }

// onlyControls reports whether nothing but controls was asked for.
func onlyControls(o harden.Options) bool {
	return !o.ReadOnlyRoot && !o.RunAsNonRoot && !o.DropCapabilities && o.Probes == "" && len(o.Skip) == 0
}

// writtenJSON is what --write proposes, and what came of it.
type writtenJSON struct {
	File     string     `json:"file"`
	Patch    string     `json:"patch"` // unified diff; empty: nothing is proposed
	Applied  bool       `json:"applied"`
	Values   []string   `json:"values"`  // as Helm's --set takes them
	Skipped  []string   `json:"skipped"` // that would mend something, and cannot be set in the file in place
	Searched bool       `json:"searched"`
	Before   judgedJSON `json:"before"`
	After    judgedJSON `json:"after"`
}

// judgedJSON is a verdict in short.
type judgedJSON struct {
	Outcome evidence.VerdictOutcome `json:"outcome"`
	Reason  string                  `json:"reason"`
}

// hardenValues proposes values of a chart that mend findings, and judges it with them.
func (a *app) hardenValues(cmd *cobra.Command, args []string, f *releaseFlags, asked []evidence.ControlID, w hardenWrite) (err error) {
	if len(args) != 1 {
		return usageErr("harden --write: want one CHART, got %d arguments", len(args))
	}
	for _, id := range asked {
		if known := pipeline.ProposableControls(); !slices.Contains(known, id) {
			return usageErr("harden --write --control %s: no value is known that mends it; want one of %s", id, idList(known))
		}
	}
	opts, err := a.loadOptions(f)
	if err != nil {
		return err
	}
	if slices.Contains(opts.ValueFiles, "-") {
		return usageErr("harden --write renders several times, and standard input is read once: give a file with -f")
	}
	file := filepath.Join(args[0], "values.yaml")
	switch n := len(opts.ValueFiles); {
	case n > 0:
		file = opts.ValueFiles[n-1]
	default:
		if info, err := os.Stat(args[0]); err != nil || !info.IsDir() {
			return usageErr("harden --write: %s is no folder whose values.yaml could be changed: give a values file of your own with -f", args[0])
		}
	}
	was, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("harden --write: %w", err)
	}
	p := &pipeline.Pipeline{Tool: tool(), Schemas: a.cfg.Schemas, Timeout: a.cfg.Timeout, Now: time.Now, Log: a.log, Workers: a.renderers()}
	defer p.Workers.Close()
	if p.Rules, err = pipeline.LoadRules(a.rules()); err != nil {
		return err
	}
	if err := p.Rules.CheckScope(false); err != nil {
		return err
	}
	opts.Workers = p.Workers
	load := func(ctx context.Context, opts chart.LoadOptions) (*chart.Release, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, a.cfg.Timeout, fmt.Errorf("no rendering within %s", a.cfg.Timeout))
		defer cancel()
		return chart.Load(ctx, args[0], opts)
	}
	ctx := cmd.Context()
	rel, err := load(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rel.Close()) }()
	before, list, whole, err := p.Propose(ctx, rel, asked, func(ctx context.Context, set []string) (*chart.Release, error) {
		more := opts
		more.Set = slices.Concat(opts.Set, set)
		return load(ctx, more)
	})
	if err != nil {
		return err
	}
	out := writtenJSON{File: file, Values: []string{}, Skipped: []string{}, Searched: whole, Before: judgedJSON{before.Verdict.Outcome, before.Verdict.Reason}}
	text := was
	for _, x := range list {
		edited, err := harden.EditValues(text, x.Values...)
		if err != nil {
			out.Skipped = append(out.Skipped, fmt.Sprintf("%s: %v", strings.Join(x.Keys, ", "), err))
			continue
		}
		text = edited
		for _, v := range x.Values {
			out.Values = append(out.Values, fmt.Sprintf("%s=%v", strings.Join(v.Path, "."), v.Value))
		}
	}
	after, err := a.judgeWith(ctx, p, load, opts, text)
	if err != nil {
		return err
	}
	out.After = judgedJSON{after.Verdict.Outcome, after.Verdict.Reason}
	if !bytes.Equal(was, text) {
		name := filepath.ToSlash(filepath.Clean(file))
		out.Patch = string(diff.Diff("a/"+name, was, "b/"+name, text))
		if w.apply {
			if err := writeValues(file, text); err != nil {
				return err
			}
			out.Applied = true
		}
	}
	return a.printWritten(&out, rel, p.Rules, before, after)
}

// writeValues writes a values file. One that is there stays what it was to others: a link
// to where it is written, and no more readable, for there may be secrets in it.
func writeValues(file string, text []byte) error {
	perm := fs.FileMode(0o644)
	if to, err := filepath.EvalSymlinks(file); err == nil {
		info, err := os.Stat(to)
		if err != nil {
			return fmt.Errorf("harden --write: %w", err)
		}
		file, perm = to, info.Mode().Perm()
	}
	return writeFileAs(file, perm, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// judgeWith judges the chart with text as its last values file.
func (a *app) judgeWith(ctx context.Context, p *pipeline.Pipeline, load func(context.Context, chart.LoadOptions) (*chart.Release, error), opts chart.LoadOptions, text []byte) (j *pipeline.Judged, err error) {
	dir, err := os.MkdirTemp("", "helmproof-values-")
	if err != nil {
		return nil, fmt.Errorf("harden --write: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	name := filepath.Join(dir, "values.yaml")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return nil, fmt.Errorf("harden --write: %w", err)
	}
	if n := len(opts.ValueFiles); n > 0 {
		opts.ValueFiles = append(slices.Clone(opts.ValueFiles[:n-1]), name)
	} else {
		opts.ValueFiles = []string{name}
	}
	rel, err := load(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rel.Close()) }()
	return p.Release(ctx, rel)
}

// printWritten writes the patch to standard output, and what it comes to on standard error.
func (a *app) printWritten(out *writtenJSON, rel *chart.Release, by pipeline.Rules, before, after *pipeline.Judged) error {
	if a.cfg.Output == "json" {
		return writeJSON(a.io.out, hardenJSON{
			Chart: rel.Info.Chart, Version: rel.Info.Version, Namespace: rel.Info.Namespace, Profile: by.Profile.Name,
			Changes: []harden.Change{}, Kept: []harden.Kept{}, Written: out,
		})
	}
	if _, err := io.WriteString(a.io.out, out.Patch); err != nil {
		return fmt.Errorf("write patch: %w", err)
	}
	if a.quiet {
		return nil
	}
	t := newTerminal(a.io.err, a.cfg.Color)
	for _, s := range out.Skipped {
		t.para("  ", "    ", "not in place: "+s)
	}
	if !out.Searched {
		t.line("not all values that may be proposed were tried: give a longer --timeout")
	}
	what := plural(len(out.Values), "value") + " proposed"
	switch {
	case len(out.Values) == 0:
		what = "nothing is proposed; --control CONTROL asks for more, --report says what is left to whom"
	case out.Applied:
		what = plural(len(out.Values), "value") + " set in " + out.File
	}
	t.para("", "", fmt.Sprintf("%s; profile %s: %s before, %s after", what, by.Profile.Name,
		t.mark(report.VerdictMark(before.Verdict.Outcome), 0), t.mark(report.VerdictMark(after.Verdict.Outcome), 0)))
	if after.Verdict.Outcome != evidence.VerdictPass {
		t.para("", "", after.Verdict.Reason)
	}
	if slices.ContainsFunc(out.Values, func(s string) bool { return strings.Contains(s, "resources.requests.") }) {
		t.para("", "", "The requests are the least that counts: put in what the containers use.")
	}
	return nil
}
