package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/signatures"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
)

// GateRequest says what is asked about: one of Deploy, Chart and Image.
type GateRequest struct {
	// Deploy is what is about to be deployed. Evidence counts that is about the same
	// chart, values and rendered manifests, by digest, under the same names.
	Deploy  *chart.Release
	Timeout time.Duration // of looking for secrets in it; 0 for none
	Chart   string        // a chart's name: the newest evidence, whatever it was rendered from
	Image   string        // an image's digest: the releases that run it

	// What else the evidence has to be of; empty: any. Deploy has all of it.
	Namespace, ReleaseName, Version string
	ManifestsDigest                 evidence.Digest

	// Repository is the id whose bundles count, from a place that a writer of the
	// repository cannot reach; empty: that which the repository itself names, as long
	// as all evidence about the subject does.
	Repository string
	// Registries is the gate's own allow-list (IMG-5). The one that the evidence was
	// collected with does not count: without one of its own the gate cannot tell.
	Registries []string
	// Images and Signatures are likewise what the gate itself judges images by; nil:
	// the default policy, without OpenVEX documents, and no signature policy.
	Images     *images.Lists
	Signatures *signatures.Lists
	// Secrets is likewise what the gate itself judges rotation and readers by.
	Secrets GateSecrets
	// EvidenceLists names what is taken from the evidence instead: some of the list of
	// that name.
	EvidenceLists []string
	AnyRepository bool // evidence counts for whichever repository it was sealed

	index []entry // of the repository, where it is known already

	At   time.Time // the time to decide for
	AsOf bool      // At was asked for: later evidence does not count. Otherwise At is now
}

// subject is what evidence has to be about; empty fields are any. What is about to
// be deployed is named as collect would seal it: secrets are not in its record.
func (r GateRequest) subject(ctx context.Context) (evidence.Release, error) {
	if r.Deploy == nil {
		return evidence.Release{Chart: r.Chart, Version: r.Version, ReleaseName: r.ReleaseName, Namespace: r.Namespace, ManifestsDigest: r.ManifestsDigest}, nil
	}
	_, redactor, err := scanSecrets(ctx, r.Timeout, r.Deploy)
	if err != nil {
		return evidence.Release{}, err
	}
	raw, err := bundle.CanonicalJSON(r.Deploy.Info)
	if err == nil {
		raw, err = collectors.NewArtifacts(redactor).Put(collectors.ReleaseFile, raw)
	}
	var out evidence.Release
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		return out, fmt.Errorf("release record of %s: %w", r.Deploy.Info.Chart, err)
	}
	if out.ObjectsDigest, err = chart.ObjectsDigest(r.Deploy.Manifests); err != nil {
		return out, fmt.Errorf("objects of %s: %w", r.Deploy.Info.Chart, err)
	}
	return out, nil
}

// bound is what ties the verdict to its evidence.
func (r GateRequest) bound() (evidence.Bound, evidence.Digest) {
	switch {
	case r.Image != "":
		return evidence.BoundToImage, evidence.Digest("sha256:" + strings.TrimPrefix(r.Image, "sha256:"))
	case r.Deploy != nil, r.ManifestsDigest != "":
		return evidence.BoundToManifests, ""
	}
	return evidence.BoundToName, ""
}

// Gate decides on a release, or on each that runs an image, by its newest
// verified evidence. Without any evidence there is one verdict, on nothing, that
// says why.
//
// Controls that what was given added to the profile of the evidence count here
// too, where the gate judges by the profile of that name.
func Gate(ctx context.Context, repo *repository.Repository, v *bundle.Verifier, by Rules, req GateRequest) ([]*Judged, error) {
	given, err := req.given()
	if err != nil {
		return nil, err
	}
	want, err := req.subject(ctx)
	if err != nil {
		return nil, err
	}
	pinned := req.Repository != ""
	if !pinned && !req.AnyRepository {
		if req.Repository, err = repo.ID(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, strayed(err)
		}
	}
	s := &search{repo: repo, verifier: v, req: req, want: want}
	found, err := s.evidence(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.oneRepository(pinned); err != nil {
		return nil, err
	}
	var done []*Judged
	for _, group := range byRelease(found) {
		with, err := by.withAdded(group)
		if err != nil {
			return nil, err
		}
		own, err := given.about(group)
		if err != nil {
			return nil, err
		}
		j, err := compose(group, with, s.req.At, v.Tool, own)
		if err != nil {
			return nil, err
		}
		j.Reasons = unmet(j.Verdict)
		done = append(done, j)
	}
	if len(done) == 0 {
		// No evidence at all is judged too: everything required is missing.
		own, err := given.about(nil)
		if err != nil {
			return nil, err
		}
		j, err := compose(nil, by, s.req.At, v.Tool, own)
		if err != nil {
			return nil, err
		}
		j.Release = asked(s.want)
		if j.Reasons, err = s.whyNone(ctx); err != nil {
			return nil, err
		}
		done = append(done, j)
	}
	for _, j := range done {
		j.Release.Bound, j.Release.BoundImage = req.bound()
	}
	return done, nil
}

// asked is the release record of a verdict without inputs: it names what was
// asked about, and nothing that only evidence can show.
func asked(r evidence.Release) evidence.Release {
	r.Scope, r.Source, r.SealedManifestsDigest, r.Redactions = evidence.ScopeComposed, "bundles", "", 0
	return r
}

// unmet says of each required control that does not hold why.
func unmet(v evidence.Verdict) []string {
	var out []string
	for _, r := range v.Results {
		if r.Required && (r.Outcome == evidence.ControlFail || r.Outcome == evidence.ControlIncomplete) {
			out = append(out, fmt.Sprintf("%s %s: %s", r.Control, r.Outcome, r.Reason))
		}
	}
	if len(out) == 0 && v.Outcome != evidence.VerdictPass {
		out = append(out, v.Reason)
	}
	return out
}

// SealGated signs and stores a composed verdict; it names its inputs by digest.
func (p *Pipeline) SealGated(ctx context.Context, j *Judged) error {
	raw, err := bundle.CanonicalJSON(j.Release)
	if err != nil {
		return fmt.Errorf("release record of %s: %w", j.Release.Chart, err)
	}
	files := j.By.files()
	files[bundle.ReleaseFile] = raw
	given, err := j.given.files()
	if err != nil {
		return err
	}
	maps.Copy(files, given)
	return p.seal(ctx, files, j)
}

// RestsOn is the bundle that a composed verdict rests on first of all: the newest
// about the release itself that decided a control, else the newest about it.
func (j *Judged) RestsOn() evidence.Digest {
	decided := map[evidence.Digest]bool{}
	for _, r := range j.Verdict.Results {
		for _, ref := range r.Evidence {
			decided[ref.Bundle] = true
		}
	}
	var newest evidence.Digest
	for _, in := range j.Inputs {
		switch {
		case in.Scope != evidence.ScopeRelease:
		case decided[in.Bundle]:
			return in.Bundle
		case newest == "":
			newest = in.Bundle
		}
	}
	return newest
}

// withAdded returns the rules with the controls that were added to the profile of
// the newest evidence by the profile of the same name.
func (r Rules) withAdded(newestFirst []*Verified) (Rules, error) {
	for _, b := range newestFirst {
		if b.Release().Scope != evidence.ScopeRelease || b.Verdict().Profile != r.Profile.Name {
			continue
		}
		sealed, err := gate.ParseProfile(b.Profile())
		if err != nil {
			return r, fmt.Errorf("profile of bundle %s: %w", b.ID().Short(), err)
		}
		return r.With(sealed.Added()...)
	}
	return r, nil
}

// compose judges one release by its bundles, newest first. Without what the gate was given,
// it judges as versions did that took the waivers and all lists of the evidence.
func compose(bundles []*Verified, by Rules, at time.Time, tool string, given *gateGiven) (*Judged, error) {
	j := &Judged{given: given, found: map[evidence.Digest][]evidence.Finding{}, Release: evidence.Release{Scope: evidence.ScopeComposed, Source: "bundles"}, By: by}
	comp := gate.ComposeInput{
		Profile: by.Profile, ProfileDigest: evidence.DigestOf(by.ProfileRaw),
		Catalog: by.Catalog, CatalogDigest: evidence.DigestOf(by.CatalogRaw), At: at, AnyWaiver: given == nil,
	}
	if len(bundles) > 0 {
		// The newest about the release itself names it; a drill may know less.
		// Evidence of the chart that a live release was installed from does not name it.
		about := slices.IndexFunc(bundles, func(b *Verified) bool { return b.Release().Scope == evidence.ScopeRelease })
		j.Release = withObjects(bundles[max(about, 0)].Bundle)
		for _, b := range bundles {
			live := withObjects(b.Bundle)
			if live.Scope == evidence.ScopeRelease && live.Source == chart.SourceRelease && j.Release.Source == chart.SourceChart && live.SameManifests(&j.Release) {
				j.Release = live
				break
			}
		}
		j.Release.Scope, j.Release.Source = evidence.ScopeComposed, "bundles"
	}
	var findings []evidence.Finding
	for _, b := range bundles {
		if j.Release.Cluster == "" && b.Release().Scope != evidence.ScopeCluster {
			j.Release.Cluster = b.Release().Cluster // the newest evidence may be of the chart alone
		}
		e := gate.Evidence{
			Bundle: b.ID(), Scope: b.Release().Scope, Release: withObjects(b.Bundle), Findings: b.Findings(),
			Runs: b.Runs().Collectors, Verdict: *b.Verdict(), EvaluatedAt: b.Verdict().EvaluatedAt,
		}
		var err error
		if e.Baseline, err = b.Baseline(); err != nil {
			return nil, err
		}
		if e.Replayed = b.Result.Replayed(); e.Replayed != nil {
			e.Rules = b.Runs().RulesVersion()
			sealed, err := sealedRules(b.Profile(), b.Catalog())
			if err != nil {
				return nil, err
			}
			e.Catalog = sealed.Catalog
		}
		if given != nil {
			d, err := given.decide(b.Bundle, e)
			if err != nil {
				return nil, fmt.Errorf("bundle %s: %w", b.ID().Short(), err)
			}
			e = d.Evidence
			j.Lists, j.Ignored = union(j.Lists, d.taken), union(j.Ignored, d.ignored)
		}
		own := e.Findings
		if e.Replayed != nil {
			own = slices.Concat(own, e.Replayed.Findings)
		}
		findings, j.found[b.ID()] = append(findings, own...), own
		comp.Evidence = append(comp.Evidence, e)
		j.Inputs = append(j.Inputs, evidence.BundleRef{Bundle: b.ID(), Scope: b.Release().Scope, EvaluatedAt: b.Verdict().EvaluatedAt})
		j.Runs.Collectors = append(j.Runs.Collectors, b.Runs().Collectors...)
	}
	j.Runs.OwnProfile = by.own()
	j.Runs.Tool, j.Runs.Rules, j.Runs.Reports = tool, evidence.RulesVersion, evidence.ReportsVersion
	if j.Runs.Collectors == nil {
		j.Runs.Collectors = []evidence.CollectorRun{}
	}
	j.Findings = evidence.NormalizeFindings(findings)
	j.Verdict = gate.Compose(comp)
	if by.Counting.Any() {
		j.Counted = by.Counting.CountComposed(comp, j.Verdict)
	}
	return j, nil
}

// union appends what is not there yet.
func union(list, more []string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
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
		if c.Runs().RulesVersion() != evidence.RulesVersion {
			// This version's rules judge, and its catalog says what they count for.
			by.CatalogRaw, by.Catalog = config.Catalog()
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
		given, err := sealedGiven(c)
		if err != nil {
			return nil, evidence.Verdict{}, err
		}
		j, err := compose(inputs, by, c.Verdict().EvaluatedAt, v.Tool, given)
		if err != nil {
			return nil, evidence.Verdict{}, err
		}
		if err := sameSubject(c, j); err != nil {
			return nil, evidence.Verdict{}, err
		}
		if err := holdsBound(c.Release(), c.Runs().RulesVersion(), inputs); err != nil {
			return nil, evidence.Verdict{}, err
		}
		return j.Findings, j.Verdict, nil
	}
}

// sameSubject holds that a composed bundle is about the release, and names the
// runs, of its inputs. Without any input it names what was asked about.
func sameSubject(c *bundle.Bundle, j *Judged) error {
	want := j.Release
	if len(c.Inputs()) == 0 {
		want = asked(*c.Release())
	}
	want.Bound, want.BoundImage = c.Release().Bound, c.Release().BoundImage // see holdsBound
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

// holdsBound holds that the inputs of a composed bundle are bound to its release
// as it says. What the first version of the rules composed says nothing.
func holdsBound(c *evidence.Release, rules int, inputs []*Verified) error {
	if c.Bound == "" && rules != 1 {
		return errors.New("the composed verdict does not say what it is bound to")
	}
	if (c.Bound == evidence.BoundToImage) != (c.BoundImage != "") {
		return fmt.Errorf("the composed verdict is bound to %q, and names image %q", string(c.Bound), string(c.BoundImage))
	}
	want := *c
	for _, b := range inputs {
		if live := withObjects(b.Bundle); live.Source == chart.SourceRelease && live.ManifestsDigest == c.ManifestsDigest {
			want.Source, want.ObjectsDigest = live.Source, live.ObjectsDigest // see compose
		}
	}
	for _, b := range inputs {
		r := withObjects(b.Bundle)
		if r.Scope == evidence.ScopeCluster {
			continue
		}
		switch c.Bound {
		case "", evidence.BoundToName:
		case evidence.BoundToManifests:
			if d := differences(want, r); len(d) > 0 {
				return fmt.Errorf("the composed verdict is bound to manifests, but of input %s %s", b.ID().Short(), d[0].text())
			}
		case evidence.BoundToImage:
			if !runs(&r, c.BoundImage.Hex()) {
				return fmt.Errorf("the composed verdict is bound to image %s, which input %s does not run", c.BoundImage, b.ID().Short())
			}
		default:
			return fmt.Errorf("the composed verdict is bound to %q, which this version does not know", string(c.Bound))
		}
	}
	return nil
}

// runs reports whether the release runs the image, whose digest is given in
// hexadecimal digits, or as "sha256:" and these.
func runs(r *evidence.Release, digest string) bool {
	digest = "@sha256:" + strings.TrimPrefix(digest, "sha256:")
	return slices.ContainsFunc(r.Images, func(i string) bool { return strings.HasSuffix(i, digest) })
}
