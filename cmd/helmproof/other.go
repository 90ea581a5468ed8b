package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/internal/nearest"
	"github.com/companyos/helmproof/internal/pipeline"
)

func newControls(a *app) *cobra.Command {
	var profile string
	cmd := &cobra.Command{
		Use:   "controls [ID...]",
		Short: "List the control catalog, or explain controls",
		Example: `  helmproof controls
  helmproof controls --profile chart
  helmproof controls SEC-1 AVL-2`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			var ids []string
			_, cat := config.Catalog()
			for _, c := range cat.Controls {
				ids = append(ids, cobra.CompletionWithDesc(string(c.ID), c.Title))
			}
			return ids, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.controls(args, profile) },
	}
	cmd.Flags().StringVar(&profile, "profile", "", "only the controls of this profile")
	return cmd
}

func (a *app) controls(ids []string, profile string) error {
	_, cat := config.Catalog()
	list := cat.Controls
	if profile != "" {
		_, p, err := config.Profile(profile)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(slices.Clone(list), func(c evidence.Control) bool {
			return !slices.ContainsFunc(p.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == c.ID })
		})
	}
	if len(ids) > 0 {
		var picked []evidence.Control
		for _, id := range ids {
			c, ok := cat.Control(evidence.ControlID(strings.ToUpper(id)))
			if !ok {
				return unknownControl(id, cat)
			}
			picked = append(picked, c)
		}
		list = picked
	}
	if a.cfg.Output == "json" {
		return writeJSON(a.io.out, map[string]any{"controls": list})
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	if len(ids) > 0 {
		for i, c := range list {
			if i > 0 {
				t.line("")
			}
			explainControl(t, c, cat)
		}
		return nil
	}
	group := ""
	for _, c := range list {
		if c.Group != group {
			if group != "" {
				t.line("")
			}
			group = c.Group
			title := group
			for _, g := range cat.Groups {
				if g.ID == group {
					title = g.ID + "  " + g.Title
				}
			}
			t.line(t.bold(title))
		}
		t.para(fmt.Sprintf("  %-6s %-9s ", c.ID, c.Severity), strings.Repeat(" ", 19), c.Title)
	}
	return nil
}

// unknownControl says which control may have been meant.
func unknownControl(id string, cat *evidence.Catalog) error {
	var known []string
	for _, c := range cat.Controls {
		known = append(known, string(c.ID))
	}
	meant := ""
	if like := nearest.Of(id, known); like != "" {
		meant = " (did you mean " + like + "?)"
	}
	return usageErr("control %q is not in the catalog%s; see helmproof controls", id, meant)
}

func explainControl(t *terminal, c evidence.Control, cat *evidence.Catalog) {
	t.line(t.bold(fmt.Sprintf("%s  %s", c.ID, c.Title)))
	t.para("  ", "  ", c.Statement)
	t.para("  severity     ", strings.Repeat(" ", 15), string(c.Severity))
	t.para("  decided by   ", strings.Repeat(" ", 15), c.Collector+": "+strings.Join(c.Rules, ", "))
	t.para("  fix          ", strings.Repeat(" ", 15), c.Remediation)
	for _, f := range cat.Frameworks {
		if refs := c.Frameworks[f.ID]; len(refs) > 0 {
			t.para("  maps to      ", strings.Repeat(" ", 15), f.Title+": "+strings.Join(refs, "; "))
		}
	}
}

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or show the configuration",
	}
	check := &cobra.Command{
		Use:   "check",
		Short: "Check configuration, profile, waivers and policies without running anything",
		Long: `Check reads everything that collect would be judged by: helmproof.yaml and
HELMPROOF_* variables, the profile, the waivers and your own policies. The first
mistake is reported with its file and key, and the exit code is 2.`,
		Example: "  helmproof config check\n  helmproof config check --profile prod.yaml --waivers waivers.yaml",
		Args:    exact(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			r, err := pipeline.LoadRules(a.rules())
			if err != nil {
				return err
			}
			if r.Profile.Scope != evidence.ScopeCluster {
				if r, err = a.withAsked(r); err != nil {
					return err
				}
			}
			if a.cfg.Output == "json" {
				return writeJSON(a.io.out, map[string]any{"outcome": "pass", "profile": r.Profile.Name, "controls": len(r.Profile.Controls), "waivers": len(r.Waivers)})
			}
			fmt.Fprintf(a.io.out, "configuration holds: profile %s with %s%s, %s\n", r.Profile.Name, plural(len(r.Profile.Controls), "control"), strings.TrimPrefix(r.Profile.Text(), r.Profile.Name), plural(len(r.Waivers), "waiver"))
			return nil
		},
	}
	a.pipelineFlags(check)
	show := &cobra.Command{
		Use:     "show",
		Short:   "Show every key, its value and where it comes from",
		Example: "  helmproof config show\n  HELMPROOF_PROFILE=release helmproof config show -o json",
		Args:    exact(0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			rows, width := a.cfg.Show(), 0
			for _, r := range rows {
				width = max(width, len(r.Key))
			}
			if a.cfg.Output == "json" {
				return writeJSON(a.io.out, map[string]any{"settings": rows})
			}
			t := newTerminal(a.io.out, a.cfg.Color)
			for _, r := range rows {
				t.para(fmt.Sprintf("%-*s  ", width, r.Key), strings.Repeat(" ", width+2), cmp.Or(r.Value, "–")+"  ("+r.Source+")")
			}
			return nil
		},
	}
	a.pipelineFlags(show)
	a.repoFlags(show)
	for _, c := range []*cobra.Command{check, show} {
		c.Flags().StringP("output", "o", "", "output: text or json")
	}
	cmd.AddCommand(check, show)
	return cmd
}

func newKeygen(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keygen PREFIX",
		Short: "Make a signing key pair: PREFIX.key and PREFIX.pub",
		Long: `Keygen makes a key pair in cosign's format (ECDSA P-256, the private half
encrypted with the password in COSIGN_PASSWORD; without that variable, one that
is asked for on a terminal). It never replaces a file.

Sign with --key PREFIX.key, and give reviewers PREFIX.pub for --trust. Keep the
private half where only the signer can read it, never in the repository.`,
		Example: "  COSIGN_PASSWORD=… helmproof keygen team\n  helmproof collect charts/api --key team.key\n  helmproof verify latest --trust team.pub",
		Args:    exact(1, "one file name prefix"),
		RunE: func(cmd *cobra.Command, args []string) error {
			key := strings.TrimSuffix(args[0], ".key") + ".key"
			pass, err := a.newPassword(cmd.Context(), key)
			if err != nil {
				return err
			}
			if err := makeKey(key, "", pass); err != nil {
				return err
			}
			pubName := strings.TrimSuffix(key, ".key") + ".pub"
			pub, err := os.ReadFile(pubName)
			if err != nil {
				return err
			}
			if a.cfg.Output == "json" {
				return writeJSON(a.io.out, map[string]string{"key": key, "publicKey": pubName, "keyID": attest.KeyID(pub)})
			}
			fmt.Fprintf(a.io.out, "private key  %s\npublic key   %s\nkey id       %s\n", key, pubName, attest.KeyID(pub))
			if len(pass) == 0 {
				fmt.Fprintln(a.io.err, "helmproof: the private key has an empty password; set COSIGN_PASSWORD to protect it")
			}
			return nil
		},
	}
	return cmd
}

func dirOf(name string) string { return filepath.Dir(name) }
