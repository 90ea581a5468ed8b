package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/internal/attach"
	"github.com/companyos/helmproof/internal/oci"
	"github.com/companyos/helmproof/internal/pipeline"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/templates/admission"
)

type attachFlags struct {
	images    []string
	signature string
	plainHTTP bool
	dryRun    bool
	attTag    bool
}

func newAttach(a *app) *cobra.Command {
	var f attachFlags
	cmd := &cobra.Command{
		Use:   "attach FOLDER|FILE|ID",
		Short: "Attach a verdict to the images that it is about",
		Long: `Attach verifies a bundle, and pushes to the registry, as what refers to each
image of the release: the verification summary (SLSA VSA) with the verdict, the
statement about the evidence, and for each scanner a statement of what it found
(in-toto vulns). Cosign finds and verifies them, and an admission controller can
admit images by the verdict: see helmproof attach policy. For sigstore
policy-controller the verdict has to be attached with --att-tag.

A verdict of FAIL or INCOMPLETE is attached too: the summary says FAILED. A PASS
that rests on waivers which helmproof gate would not count, by the bounds of the
bundle's profile, is not: exit code 3. The same statement is attached once. Only images that are pinned by digest can have
statements; the registry has to have them.

Statements of scans are signed now, with --key; the others were when the bundle
was sealed: a copy in a folder needs its verdict.vsa.sigstore.json. Exit code 4
says that the bundle did not verify: nothing is attached.`,
		Example: `  helmproof attach latest
  helmproof attach 3f2a9c --repo gs://evidence/prod --trust team.pub --key team.key
  helmproof attach latest --image ghcr.io/team/api@sha256:… --dry-run`,
		Args:              exact(1, "one bundle"),
		ValidArgsFunction: a.completeBundles,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.attach(cmd.Context(), args[0], f) },
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.images, "image", nil, "only this `IMAGE` of the release; may be given several times")
	fl.BoolVar(&f.plainHTTP, "plain-http", false, "talk to registries without TLS")
	fl.BoolVar(&f.attTag, "att-tag", false, "attach the verdict under the tag sha256-….att too, where policy-controller looks for it")
	fl.BoolVar(&f.dryRun, "dry-run", false, "say what would be attached, and push nothing")
	fl.String("key", "", "signing key for statements of scans: a `FILE`, as for collect, or a key in a KMS")
	signatureFlag(cmd, &f.signature)
	a.repoFlags(cmd)
	a.trustFlags(cmd)
	cmd.AddCommand(newAttachPolicy(a))
	return cmd
}

// attachJSON is what attach prints as JSON.
type attachJSON struct {
	Bundle  evidence.Digest `json:"bundle"`
	Verdict string          `json:"verdict"` // of the summary: PASSED or FAILED
	Profile string          `json:"profile"` // that the verdict is by, as the summary names it
	Images  []attach.Result `json:"images"`
}

func (a *app) attach(ctx context.Context, ref string, f attachFlags) error {
	repo, err := a.openRepo(ctx)
	if err != nil {
		return err
	}
	v, err := a.verifier(ctx, repo)
	if err != nil {
		return err
	}
	b, err := pipeline.OpenVerified(ctx, v, repo, ref, f.signature)
	var broken *pipeline.IntegrityError
	if errors.As(err, &broken) {
		return &exitError{code: exitIntegrity, err: fmt.Errorf("nothing is attached: %w; see helmproof verify %s", err, ref)}
	}
	if err != nil {
		return err
	}
	if len(b.Result.Worse) > 0 {
		return &exitError{code: exitVerdict, err: fmt.Errorf("nothing is attached: bundle %s says %s, but %s; collect the release again",
			b.ID().Short(), b.Verdict().Outcome, judgedWorse(b.Result))}
	}
	if err := pipeline.Bounded(b, time.Now()); err != nil {
		return &exitError{code: exitVerdict, err: fmt.Errorf("nothing is attached: bundle %s says %s, but %w; collect the release again", b.ID().Short(), b.Verdict().Outcome, err)}
	}
	if _, ok := b.Files[bundle.VSAFile]; !ok {
		return usageErr("nothing is attached: %s, which carries the verdict, is absent: fetch it, or name the bundle in its repository", bundle.VSAFile)
	}
	out := attachJSON{Bundle: b.ID(), Verdict: "FAILED", Profile: b.Runs().ProfileName(b.Verdict().Profile, b.Verdict().ProfileDigest), Images: []attach.Result{}}
	if b.Verdict().Outcome == evidence.VerdictPass {
		out.Verdict = "PASSED"
	}
	list, err := pipeline.AttachTo(b.Bundle, f.images)
	if err != nil {
		return err
	}
	statements, err := pipeline.Attestations(ctx, b, a.signer)
	if err != nil {
		return err
	}
	prog := a.progress(len(list))
	failed := 0
	for _, image := range list {
		prog.start(image)
		about := statements(image)
		for i := range about {
			about[i].Tag = f.attTag && about[i].PredicateType == attest.VSAType
		}
		one := attach.To(ctx, image, about, f.dryRun, oci.Options{PlainHTTP: f.plainHTTP})
		if err := context.Cause(ctx); err != nil {
			prog.done()
			return err
		}
		if one.Error != "" {
			failed++
		}
		out.Images = append(out.Images, one)
		prog.finish()
	}
	prog.done()
	if err := a.printAttached(out, f.dryRun); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %s have no statement", failed, plural(len(list), "image"))
	}
	return nil
}

func (a *app) printAttached(out attachJSON, dryRun bool) error {
	if a.cfg.Output == "json" {
		return writeJSON(a.io.out, out)
	}
	t := newTerminal(a.io.out, a.cfg.Color)
	words := map[string]string{"attached": "attached", "present": "there already", "planned": "would be attached"}
	for _, i := range out.Images {
		t.para("", "  ", shortDigests(i.Image))
		if i.Error != "" {
			t.para("  "+t.mark(report.MarkFail, 0)+" ", "    ", i.Error)
			continue
		}
		for _, s := range i.Attestations {
			t.para("  ", "    ", fmt.Sprintf("%-17s %s", words[s.Status], s.PredicateType))
		}
	}
	t.line("")
	line := fmt.Sprintf("verdict %s by profile %s of bundle %s", out.Verdict, shortDigests(printable(out.Profile)), out.Bundle.Short())
	if dryRun {
		line += ": nothing was pushed"
	}
	t.line(line)
	return nil
}

func newAttachPolicy(a *app) *cobra.Command {
	var engine string
	var p policyInput
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Print a policy that admits images by the attached verdict",
		Long: `Policy prints a policy for the cluster: an image is admitted where a verification
summary refers to it that says PASSED, by the profile, and that is signed with
the key. The profile counts by its digest, not by its name: print the policy again
when the profile changes, and when helmproof is updated. It is to be applied in a cluster with sigstore policy-controller, or
with Kyverno. A statement refers to an image for good: the policy holds the verdict
to an age.

An image may be in several releases, each with a verdict; one that passes admits
it, unless --chart names whose verdict counts.`,
		Example: `  helmproof attach policy --key team.pub --glob 'ghcr.io/team/**' | kubectl apply -f -
  helmproof attach policy --engine kyverno --key team.pub --glob 'ghcr.io/team/*' --verdict-profile ./own-profile.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.attachPolicy(engine, p) },
	}
	fl := cmd.Flags()
	fl.StringVar(&engine, "engine", "sigstore", "`ENGINE` that enforces it: sigstore or kyverno")
	fl.StringVar(&p.Key, "key", "", "public key `FILE` that verdicts are signed with")
	fl.StringVar(&p.Profile, "verdict-profile", "images", "profile that the verdict has to be by: a built-in `NAME` or a YAML file")
	fl.StringArrayVar(&p.digests, "profile-digest", nil, "`DIGEST` of another form of the profile, such as one with a limit of age (verdict.profileDigest in JSON); may be given several times")
	fl.StringVar(&p.Name, "name", "helmproof-verdict", "`NAME` of the policy")
	fl.StringVar(&p.Chart, "chart", "", "only verdicts about releases of this `CHART`")
	fl.DurationVar(&p.MaxAge, "max-age", 7*24*time.Hour, "how old the verdict may be")
	fl.StringArrayVar(&p.Globs, "glob", nil, "images that it is about, such as ghcr.io/team/**; may be given several times")
	_ = cmd.MarkFlagFilename("key", "pub", "pem")
	_ = cmd.RegisterFlagCompletionFunc("engine", cobra.FixedCompletions([]string{"sigstore", "kyverno"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// policyInput is what the templates of policies take; Key is a file's name first.
type policyInput struct {
	Name, Key, Chart string
	Profile          string   // a name or a file first; then what to call it
	URIs             []string // of the profile in verification summaries
	Digests          []string // of the profile, in hexadecimal digits
	Globs            []string
	MaxAge           time.Duration
	digests          []string // that were given besides
}

func (a *app) attachPolicy(engine string, p policyInput) error {
	if engine != "sigstore" && engine != "kyverno" {
		return usageErr("--engine %q: want sigstore or kyverno", engine)
	}
	if p.Key == "" || len(p.Globs) == 0 {
		return usageErr("give the public key that verdicts are signed with (--key FILE), and the images that the policy is about (--glob PATTERN)")
	}
	by, err := pipeline.LoadRules(pipeline.RulesOptions{Profile: p.Profile})
	if err != nil {
		return fmt.Errorf("--verdict-profile: %w", err)
	}
	digests, err := by.Digests()
	if err != nil {
		return err
	}
	for _, d := range p.digests {
		more, err := evidence.ParseDigest(d)
		if err != nil {
			return usageErr("--profile-digest: %w", err)
		}
		digests = append(digests, more)
	}
	for _, d := range digests {
		if uri := "helmproof:profile/" + by.VerdictName(d); !slices.Contains(p.URIs, uri) {
			p.URIs = append(p.URIs, uri)
		}
		p.Digests = append(p.Digests, d.Hex())
	}
	p.Profile = by.VerdictName(digests[0])
	raw, err := os.ReadFile(p.Key) //nolint:gosec // the file that the user names
	if err != nil {
		return usageErr("--key: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" {
		return usageErr("--key %s: want a public key in PEM, such as cosign.pub", p.Key)
	}
	file := engine + ".yaml"
	text, err := admission.FS.ReadFile(file)
	if err != nil {
		return err
	}
	t, err := template.New(file).Option("missingkey=error").Funcs(template.FuncMap{
		"quote": func(s string) string { return fmt.Sprintf("%q", s) },
		"indent": func(n int, s string) string {
			return strings.Repeat(" ", n) + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+strings.Repeat(" ", n))
		},
		"list":  func(s ...string) []string { return s },
		"short": func(d time.Duration) string { return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m") },
	}).Parse(string(text))
	if err != nil {
		return err
	}
	p.Key = string(pem.EncodeToMemory(block))
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	_, err = a.io.out.Write(b.Bytes())
	return err
}
