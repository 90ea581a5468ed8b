package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
)

// gateFlags pick the subject and the time.
type gateFlags struct {
	chart, image, at string
	maxAge           time.Duration
	seal             bool
}

func newGate(a *app) *cobra.Command {
	var f gateFlags
	cmd := &cobra.Command{
		Use:   "gate",
		Short: "Decide on a release by its newest verified evidence",
		Long: `Gate finds the newest evidence for a chart (or for an image digest), verifies it
first, and decides again: by the profile that you name, at the time that you
name, so that expired waivers and stale evidence count against the release. What
is missing, stale or unverifiable never passes.

--seal signs the composed verdict as a bundle of its own that names its inputs
by digest.

Exit code 3 says FAIL or INCOMPLETE, 4 that evidence could not be verified.`,
		Example: `  helmproof gate --chart service
  helmproof gate --chart payments -n prod --profile prod.yaml --max-age 24h
  helmproof gate --image sha256:9f2c… -o json`,
		Args: exact(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.gate(cmd, f) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.chart, "chart", "", "chart `NAME`")
	fl.StringVar(&f.image, "image", "", "image `DIGEST`: the releases that run it")
	fl.StringVarP(new(string), "namespace", "n", "", "`NAMESPACE` of the release")
	fl.String("profile", "", "control profile: a built-in `NAME` or a YAML file")
	fl.DurationVar(&f.maxAge, "max-age", 0, "oldest evidence to accept; the profile's own limit if 0")
	fl.StringVar(&f.at, "at", "", "decide as of this `TIME` (RFC 3339) instead of now")
	fl.BoolVar(&f.seal, "seal", false, "sign and store the composed verdict")
	fl.String("key", "", "signing key for --seal: a `FILE`, or a key in a KMS")
	a.repoFlags(cmd)
	a.trustFlags(cmd)
	return cmd
}

func (a *app) gate(cmd *cobra.Command, f gateFlags) error {
	ctx := cmd.Context()
	if (f.chart == "") == (f.image == "") {
		return usageErr("gate: say what to decide on: --chart NAME or --image DIGEST")
	}
	at := time.Now().UTC().Truncate(time.Microsecond)
	if f.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, f.at); err != nil {
			return usageErr("--at %q: want a time like 2026-11-23T12:00:00Z", f.at)
		}
	}
	by, err := pipeline.LoadRules(a.rules())
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
	namespace, err := cmd.Flags().GetString("namespace")
	if err != nil {
		return err
	}
	if f.maxAge > 0 {
		if by, err = by.LimitAge(f.maxAge); err != nil {
			return err
		}
	}
	done, err := pipeline.Gate(ctx, repo, v, by, pipeline.GateRequest{Chart: f.chart, Image: f.image, Namespace: namespace, At: at})
	if err != nil {
		return err
	}
	if f.seal {
		p := &pipeline.Pipeline{Rules: by, Tool: tool(), Repo: repo, Formats: a.cfg.Formats}
		if p.Signer, err = a.signer(ctx); err != nil {
			return err
		}
		for _, j := range done {
			if err := p.SealGated(ctx, j); err != nil {
				return err
			}
		}
	}
	return a.printGated(done, by, f, repo)
}

func (a *app) printGated(done []*pipeline.Judged, by pipeline.Rules, f gateFlags, repo *repository.Repository) error {
	worst := evidence.VerdictPass
	list := make([]report.ReleaseJSON, 0, len(done))
	t := newTerminal(a.io.out, a.cfg.Color)
	for _, j := range done {
		if j.Verdict.Outcome != evidence.VerdictPass {
			worst = j.Verdict.Outcome
		}
		list = append(list, report.NewReleaseJSON(j.Report(by)))
		switch {
		case a.cfg.Output == "json":
		case a.quiet:
			fmt.Fprintln(a.io.out, summary(j))
		case len(j.Inputs) == 0:
			t.para("", "", "no evidence for "+strings.TrimSpace(f.chart+" "+f.image)+" in "+repo.URL()+"; make some with helmproof collect")
			t.line(verdictLine(t, j))
		default:
			printJudged(t, j)
			t.line("")
			for _, in := range j.Inputs {
				t.line(fmt.Sprintf("from    bundle %s, judged %s", in.Bundle.Short(), in.EvaluatedAt.UTC().Format(time.RFC3339)))
			}
			t.line(verdictLine(t, j))
		}
	}
	if a.cfg.Output == "json" {
		if err := writeJSON(a.io.out, report.OutputJSON{Releases: list}); err != nil {
			return err
		}
	}
	if worst != evidence.VerdictPass {
		return &exitError{code: exitVerdict}
	}
	return nil
}
