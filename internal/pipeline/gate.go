package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
)

// GateRequest says what is asked about.
type GateRequest struct {
	Chart     string // a chart's name, or
	Image     string // an image's digest: the releases that run it
	Namespace string // empty: any
	At        time.Time
}

// Gate decides on a release, or on each that runs an image, by its newest
// verified evidence. Without any evidence there is one verdict, on nothing.
func Gate(ctx context.Context, repo *repository.Repository, v *bundle.Verifier, by Rules, req GateRequest) ([]*Judged, error) {
	found, err := evidenceFor(ctx, repo, v, req)
	if err != nil {
		return nil, err
	}
	var done []*Judged
	for _, group := range byRelease(found) {
		j, err := compose(group, by, req.At, v.Tool)
		if err != nil {
			return nil, err
		}
		done = append(done, j)
	}
	if len(done) == 0 {
		// No evidence at all is judged too: everything required is missing.
		j, err := compose(nil, by, req.At, v.Tool)
		if err != nil {
			return nil, err
		}
		j.Release.Chart = req.Chart
		done = append(done, j)
	}
	return done, nil
}

// SealGated signs and stores a composed verdict; it names its inputs by digest.
func (p *Pipeline) SealGated(ctx context.Context, j *Judged) error {
	raw, err := bundle.CanonicalJSON(j.Release)
	if err != nil {
		return fmt.Errorf("release record of %s: %w", j.Release.Chart, err)
	}
	files := p.Rules.files()
	files[bundle.ReleaseFile] = raw
	return p.seal(ctx, files, j)
}

// compose judges one release by its bundles, newest first.
func compose(bundles []*Verified, by Rules, at time.Time, tool string) (*Judged, error) {
	j := &Judged{Release: evidence.Release{Scope: evidence.ScopeComposed, Source: "bundles"}, By: by}
	comp := gate.ComposeInput{
		Profile: by.Profile, ProfileDigest: evidence.DigestOf(by.ProfileRaw),
		Catalog: by.Catalog, CatalogDigest: evidence.DigestOf(by.CatalogRaw), At: at,
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
		e := gate.Evidence{
			Bundle: b.ID(), Scope: b.Release().Scope, Release: *b.Release(), Findings: b.Findings(),
			Runs: b.Runs().Collectors, Verdict: *b.Verdict(), EvaluatedAt: b.Verdict().EvaluatedAt,
		}
		findings = append(findings, b.Findings()...)
		if e.Replayed = b.Result.Replayed(); e.Replayed != nil {
			e.Rules = b.Runs().RulesVersion()
			sealed, err := sealedRules(b.Profile(), b.Catalog())
			if err != nil {
				return nil, err
			}
			e.Catalog = sealed.Catalog
			findings = append(findings, e.Replayed.Findings...)
		}
		comp.Evidence = append(comp.Evidence, e)
		j.Inputs = append(j.Inputs, evidence.BundleRef{Bundle: b.ID(), Scope: b.Release().Scope, EvaluatedAt: b.Verdict().EvaluatedAt})
		j.Runs.Collectors = append(j.Runs.Collectors, b.Runs().Collectors...)
	}
	j.Runs.Tool, j.Runs.Rules, j.Runs.Reports = tool, evidence.RulesVersion, evidence.ReportsVersion
	if j.Runs.Collectors == nil {
		j.Runs.Collectors = []evidence.CollectorRun{}
	}
	j.Findings = evidence.NormalizeFindings(findings)
	j.Verdict = gate.Compose(comp)
	return j, nil
}

// byRelease splits bundles by the release that they are about; cluster evidence
// goes to every release, and Compose picks that of its cluster. What names no
// cluster is about the chart alone: it joins the release on each cluster, and
// stands for itself only where there is no other.
func byRelease(found []*Verified) [][]*Verified {
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
	var out [][]*Verified
	for _, key := range keys {
		var group, clusters []*Verified
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

// recompose is how verify holds a composed bundle to its inputs: each of them is
// verified, and judged again by what the composed bundle was judged by.
func recompose(v *bundle.Verifier, repo *repository.Repository) func(context.Context, *bundle.Bundle) ([]evidence.Finding, evidence.Verdict, error) {
	return func(ctx context.Context, c *bundle.Bundle) ([]evidence.Finding, evidence.Verdict, error) {
		by, err := sealedRules(c.Profile(), c.Catalog())
		if err != nil {
			return nil, evidence.Verdict{}, err
		}
		var inputs []*Verified
		for _, ref := range c.Inputs() {
			if ref.Scope == evidence.ScopeComposed {
				return nil, evidence.Verdict{}, fmt.Errorf("input %s is a composed verdict itself", ref.Bundle.Short())
			}
			b, err := stored(ctx, v, repo, ref.Bundle)
			if err != nil {
				return nil, evidence.Verdict{}, fmt.Errorf("input %s: %w", ref.Bundle.Short(), err)
			}
			inputs = append(inputs, b)
		}
		j, err := compose(inputs, by, c.Verdict().EvaluatedAt, v.Tool)
		if err != nil {
			return nil, evidence.Verdict{}, err
		}
		if err := sameSubject(c, j); err != nil {
			return nil, evidence.Verdict{}, err
		}
		return j.Findings, j.Verdict, nil
	}
}

// evidenceFor returns the verified bundles about the chart or image, newest first:
// the newest of each release (name, namespace, cluster) and scope. Pointers
// only say where to look; a bundle without one is looked at too, so that
// removing a pointer does not bring older evidence back.
func evidenceFor(ctx context.Context, repo *repository.Repository, v *bundle.Verifier, req GateRequest) ([]*Verified, error) {
	all, err := repo.List(ctx, repository.Filter{})
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(slices.Clone(all), func(p repository.Pointer) bool {
		mine := (req.Chart == "" || p.Chart == req.Chart) && (req.Namespace == "" || p.Namespace == req.Namespace)
		// What was judged after the time that is asked about does not count yet.
		return p.Scope == evidence.ScopeComposed || p.EvaluatedAt.After(req.At) || p.Scope != evidence.ScopeCluster && !mine
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
		if req.Image == "" && seen[key] {
			continue
		}
		seen[key] = true
		order = append(order, p.Bundle)
	}
	pointers := map[evidence.Digest]repository.Pointer{}
	for _, p := range list {
		pointers[p.Bundle] = p
	}
	var found []*Verified
	for _, id := range order {
		b, err := stored(ctx, v, repo, id)
		if err != nil {
			if _, listed := pointers[id]; !listed && isCutOff(ctx, repo, id) {
				continue
			}
			return nil, err
		}
		p, listed := pointers[id]
		if listed && p != repository.NewPointer(id, b.Release(), b.Verdict()) {
			return nil, integrityErr("bundle %s: its pointer in the repository does not say what the bundle says", id.Short())
		}
		if matches(b, req) {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(x, y *Verified) int { return y.Verdict().EvaluatedAt.Compare(x.Verdict().EvaluatedAt) })
	return oneRelease(found, req)
}

// isCutOff tells a bundle whose storing was interrupted (no signature yet) from evidence.
func isCutOff(ctx context.Context, repo *repository.Repository, id evidence.Digest) bool {
	_, err := repo.GetFile(ctx, id, bundle.SignatureFile)
	return errors.Is(err, fs.ErrNotExist)
}

func matches(b *Verified, req GateRequest) bool {
	rel := b.Release()
	switch rel.Scope {
	case evidence.ScopeComposed:
		return false
	case evidence.ScopeCluster:
		return true
	}
	if req.Chart != "" && rel.Chart != req.Chart || req.Namespace != "" && rel.Namespace != req.Namespace {
		return false
	}
	if req.Image == "" {
		return true
	}
	return slices.ContainsFunc(rel.Images, func(i string) bool {
		return strings.HasSuffix(i, "@"+req.Image) || strings.HasSuffix(i, "@sha256:"+req.Image)
	})
}

// oneRelease refuses to decide on several releases at once.
func oneRelease(found []*Verified, req GateRequest) ([]*Verified, error) {
	names := map[string]bool{}
	for _, b := range found {
		if b.Release().Scope == evidence.ScopeCluster {
			continue
		}
		names[b.Release().Chart+" in namespace "+b.Release().Namespace] = true
	}
	if req.Chart != "" && len(names) > 1 {
		var list []string
		for n := range names {
			list = append(list, n)
		}
		slices.Sort(list)
		return nil, inputErr("gate: several releases match (%s): say which with -n", strings.Join(list, "; "))
	}
	return found, nil
}

// sameSubject holds that a composed bundle is about the release, and names the
// runs, of its inputs. Without any input it names a chart and nothing else.
func sameSubject(c *bundle.Bundle, j *Judged) error {
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
