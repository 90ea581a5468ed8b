package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
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
	by, err := loadJudgement(a.cfg)
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
	found, err := a.subjects(ctx, repo, v, f, namespace, at)
	if err != nil {
		return err
	}
	if f.maxAge > 0 {
		if err := by.limitAge(f.maxAge); err != nil {
			return err
		}
	}
	var done []*judged
	for _, group := range byRelease(found) {
		done = append(done, gateRelease(group, by, at))
	}
	if len(done) == 0 {
		// No evidence at all is judged too: everything required is missing.
		j := gateRelease(nil, by, at)
		j.Release.Chart = f.chart
		done = append(done, j)
	}
	if f.seal {
		for _, j := range done {
			if err := a.sealGated(ctx, repo, by, j); err != nil {
				return err
			}
		}
	}
	return a.printGated(done, by, f, repo)
}

// gateRelease judges one release by its bundles, newest first.
func gateRelease(bundles []*bundle.Bundle, by judgement, at time.Time) *judged {
	j := &judged{Release: evidence.Release{Scope: evidence.ScopeComposed, Source: "bundles"}}
	comp := gate.ComposeInput{
		Profile: by.profile, ProfileDigest: evidence.DigestOf(by.profileRaw),
		Catalog: by.catalog, CatalogDigest: evidence.DigestOf(by.catalogRaw), At: at,
	}
	var findings []evidence.Finding
	for i, b := range bundles {
		if i == 0 {
			j.Release = *b.Release()
			j.Release.Scope, j.Release.Source = evidence.ScopeComposed, "bundles"
		}
		if j.Release.Cluster == "" && b.Release().Scope != evidence.ScopeCluster {
			j.Release.Cluster = b.Release().Cluster // the newest evidence may be of the chart alone
		}
		comp.Evidence = append(comp.Evidence, gate.Evidence{
			Bundle: b.ID(), Scope: b.Release().Scope, Release: *b.Release(), Findings: b.Findings(),
			Runs: b.Runs().Collectors, Verdict: *b.Verdict(), EvaluatedAt: b.Verdict().EvaluatedAt,
		})
		j.inputs = append(j.inputs, evidence.BundleRef{Bundle: b.ID(), Scope: b.Release().Scope, EvaluatedAt: b.Verdict().EvaluatedAt})
		j.Runs.Collectors = append(j.Runs.Collectors, b.Runs().Collectors...)
		findings = append(findings, b.Findings()...)
	}
	j.Runs.Tool = "helmproof " + toolVersion()
	if j.Runs.Collectors == nil {
		j.Runs.Collectors = []evidence.CollectorRun{}
	}
	j.Findings = evidence.NormalizeFindings(findings)
	j.Verdict = gate.Compose(comp)
	return j
}

// byRelease splits bundles by the release that they are about; cluster evidence
// goes to every release, and Compose picks that of its cluster. What names no
// cluster is about the chart alone: it joins the release on each cluster, and
// stands for itself only where there is no other.
func byRelease(found []*bundle.Bundle) [][]*bundle.Bundle {
	var keys []string
	onCluster := map[string]bool{} // releases with evidence from a cluster
	for _, b := range found {
		r := b.Release()
		if r.Scope == evidence.ScopeCluster {
			continue
		}
		if key := releaseKey(r, r.Cluster); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
		if r.Cluster != "" {
			onCluster[releaseKey(r, "")] = true
		}
	}
	keys = slices.DeleteFunc(keys, func(key string) bool { return onCluster[key] })
	var out [][]*bundle.Bundle
	for _, key := range keys {
		var group, clusters []*bundle.Bundle
		for _, b := range found {
			r := b.Release()
			switch {
			case r.Scope == evidence.ScopeCluster:
				clusters = append(clusters, b)
			case releaseKey(r, r.Cluster) == key, r.Cluster == "" && strings.HasPrefix(key, releaseKey(r, "")):
				group = append(group, b)
			}
		}
		out = append(out, append(group, clusters...))
	}
	return out
}

// releaseKey ends in the cluster, so that the key without one begins all others.
func releaseKey(r *evidence.Release, cluster string) string {
	return strings.Join([]string{r.Chart, r.ReleaseName, r.Namespace, cluster}, "\x00")
}

// sealGated signs and stores a composed verdict; it names its inputs by digest.
func (a *app) sealGated(ctx context.Context, repo *repository.Repository, by judgement, j *judged) error {
	signer, err := a.signer(ctx)
	if err != nil {
		return err
	}
	pkg, err := bundle.Seal(ctx, &bundle.Contents{
		Release: j.Release, Profile: by.profileRaw, Catalog: by.catalogRaw, Waivers: by.waiversRaw, Policies: by.policies,
		Runs: j.Runs, Findings: j.Findings, Verdict: j.Verdict, Inputs: j.inputs,
	}, signer, renderer(a.cfg.Formats))
	if err != nil {
		return fmt.Errorf("seal the verdict on %s: %w", j.Release.Chart, err)
	}
	j.Bundle = pkg.ID
	return repo.Put(ctx, repository.NewPointer(pkg.ID, &j.Release, &j.Verdict), pkg.Files)
}

// recompose is how verify holds a composed bundle to its inputs: each of them is
// verified, and judged again by what the composed bundle was judged by.
func recompose(v *bundle.Verifier, repo *repository.Repository) func(context.Context, *bundle.Bundle) ([]evidence.Finding, evidence.Verdict, error) {
	return func(ctx context.Context, c *bundle.Bundle) ([]evidence.Finding, evidence.Verdict, error) {
		by := judgement{profileRaw: c.Profile(), catalogRaw: c.Catalog()}
		var err error
		if by.profile, err = gate.ParseProfile(c.Profile()); err != nil {
			return nil, evidence.Verdict{}, err
		}
		if by.catalog, err = gate.ParseCatalog(c.Catalog()); err != nil {
			return nil, evidence.Verdict{}, err
		}
		var inputs []*bundle.Bundle
		for _, ref := range c.Inputs() {
			if ref.Scope == evidence.ScopeComposed {
				return nil, evidence.Verdict{}, fmt.Errorf("input %s is a composed verdict itself", ref.Bundle.Short())
			}
			b, err := openVerified(ctx, v, repo, ref.Bundle)
			if err != nil {
				return nil, evidence.Verdict{}, fmt.Errorf("input %s: %w", ref.Bundle.Short(), err)
			}
			inputs = append(inputs, b)
		}
		j := gateRelease(inputs, by, c.Verdict().EvaluatedAt)
		if err := sameSubject(c, j); err != nil {
			return nil, evidence.Verdict{}, err
		}
		return j.Findings, j.Verdict, nil
	}
}

// limitAge makes the profile stricter: no control accepts older evidence than max.
func (j *judgement) limitAge(max time.Duration) error {
	p := *j.profile
	p.Controls = slices.Clone(p.Controls)
	limit := func(d *evidence.Duration) {
		if *d == 0 || time.Duration(*d) > max {
			*d = evidence.Duration(max)
		}
	}
	limit(&p.MaxAge)
	for i := range p.Controls {
		if p.Controls[i].MaxAge != 0 {
			limit(&p.Controls[i].MaxAge)
		}
	}
	raw, err := yaml.Marshal(p)
	if err != nil {
		return fmt.Errorf("profile %s: %w", p.Name, err)
	}
	j.profile, j.profileRaw = &p, raw
	return nil
}

// subjects returns the verified bundles about the chart or image, newest first:
// the newest of each release (name, namespace, cluster) and scope. Pointers
// only say where to look; a bundle without one is looked at too, so that
// removing a pointer does not bring older evidence back.
func (a *app) subjects(ctx context.Context, repo *repository.Repository, v *bundle.Verifier, f gateFlags, namespace string, at time.Time) ([]*bundle.Bundle, error) {
	all, err := repo.List(ctx, repository.Filter{})
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(slices.Clone(all), func(p repository.Pointer) bool {
		mine := (f.chart == "" || p.Chart == f.chart) && (namespace == "" || p.Namespace == namespace)
		// What was judged after the time that is asked about does not count yet.
		return p.Scope == evidence.ScopeComposed || p.EvaluatedAt.After(at) || p.Scope != evidence.ScopeCluster && !mine
	})
	ids, err := repo.Bundles(ctx)
	if err != nil {
		return nil, err
	}
	pointed := map[evidence.Digest]bool{}
	for _, p := range all {
		pointed[p.Bundle] = true
	}
	var order []evidence.Digest
	for _, id := range ids {
		if !pointed[id] {
			order = append(order, id)
		}
	}
	seen := map[string]bool{}
	for _, p := range list {
		// One bundle of each release and profile is enough: the newest.
		key := strings.Join([]string{string(p.Scope), p.Chart, p.Release, p.Namespace, p.Cluster, p.Profile}, "\x00")
		if f.image == "" && seen[key] {
			continue
		}
		seen[key] = true
		order = append(order, p.Bundle)
	}
	pointers := map[evidence.Digest]repository.Pointer{}
	for _, p := range list {
		pointers[p.Bundle] = p
	}
	var found []*bundle.Bundle
	for _, id := range order {
		b, err := openVerified(ctx, v, repo, id)
		if err != nil {
			if _, listed := pointers[id]; !listed && isCutOff(ctx, repo, id) {
				continue
			}
			return nil, err
		}
		p, listed := pointers[id]
		if listed && p != repository.NewPointer(id, b.Release(), b.Verdict()) {
			return nil, &exitError{code: exitIntegrity, err: fmt.Errorf("bundle %s: its pointer in the repository does not say what the bundle says", id.Short())}
		}
		if matches(b, f, namespace) {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(x, y *bundle.Bundle) int { return y.Verdict().EvaluatedAt.Compare(x.Verdict().EvaluatedAt) })
	return oneRelease(found, f)
}

// isCutOff tells a bundle whose storing was interrupted (no signature yet) from evidence.
func isCutOff(ctx context.Context, repo *repository.Repository, id evidence.Digest) bool {
	_, err := repo.GetFile(ctx, id, bundle.SignatureFile)
	return errors.Is(err, fs.ErrNotExist)
}

func matches(b *bundle.Bundle, f gateFlags, namespace string) bool {
	rel := b.Release()
	switch rel.Scope {
	case evidence.ScopeComposed:
		return false
	case evidence.ScopeCluster:
		return true
	}
	if f.chart != "" && rel.Chart != f.chart || namespace != "" && rel.Namespace != namespace {
		return false
	}
	if f.image == "" {
		return true
	}
	return slices.ContainsFunc(rel.Images, func(i string) bool {
		return strings.HasSuffix(i, "@"+f.image) || strings.HasSuffix(i, "@sha256:"+f.image)
	})
}

// oneRelease refuses to decide on several releases at once.
func oneRelease(found []*bundle.Bundle, f gateFlags) ([]*bundle.Bundle, error) {
	names := map[string]bool{}
	for _, b := range found {
		if b.Release().Scope == evidence.ScopeCluster {
			continue
		}
		names[b.Release().Chart+" in namespace "+b.Release().Namespace] = true
	}
	if f.chart != "" && len(names) > 1 {
		var list []string
		for n := range names {
			list = append(list, n)
		}
		slices.Sort(list)
		return nil, usageErr("gate: several releases match (%s): say which with -n", strings.Join(list, "; "))
	}
	return found, nil
}

// sameSubject holds that a composed bundle is about the release, and names the
// runs, of its inputs. Without any input it names a chart and nothing else.
func sameSubject(c *bundle.Bundle, j *judged) error {
	want := j.Release
	if len(c.Inputs()) == 0 {
		want.Chart = c.Release().Chart
	}
	type subject struct {
		Release evidence.Release
		Runs    []evidence.CollectorRun
	}
	have, err := bundle.CanonicalJSON(subject{*c.Release(), c.Runs().Collectors})
	if err != nil {
		return err
	}
	from, err := bundle.CanonicalJSON(subject{want, j.Runs.Collectors})
	if err != nil {
		return err
	}
	if !bytes.Equal(have, from) {
		return errors.New("the composed verdict is about another release, or names other runs, than its inputs")
	}
	return nil
}

func (a *app) printGated(done []*judged, by judgement, f gateFlags, repo *repository.Repository) error {
	worst := evidence.VerdictPass
	list := make([]report.ReleaseJSON, 0, len(done))
	t := newTerminal(a.io.out, a.cfg.Color)
	for _, j := range done {
		if j.Verdict.Outcome != evidence.VerdictPass {
			worst = j.Verdict.Outcome
		}
		list = append(list, report.NewReleaseJSON(inputOfJudged(j, by)))
		switch {
		case a.cfg.Output == "json":
		case a.quiet:
			fmt.Fprintln(a.io.out, summary(j))
		case len(j.inputs) == 0:
			t.para("", "", "no evidence for "+strings.TrimSpace(f.chart+" "+f.image)+" in "+repo.URL()+"; make some with helmproof collect")
			t.line(verdictLine(t, j))
		default:
			printJudged(t, j, by.catalog)
			t.line("")
			for _, in := range j.inputs {
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
