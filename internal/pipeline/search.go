package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
)

// search looks for the evidence that a request is about.
type search struct {
	repo     *repository.Repository
	verifier *bundle.Verifier
	req      GateRequest
	want     evidence.Release // the subject; empty fields are any

	all     []entry   // of the repository, newest first
	other   []glimpse // evidence for the chart, of something else
	foreign []*entry  // evidence for the subject, sealed for another repository or for none
}

// evidence returns the verified bundles about the subject, newest first: the
// newest of each release (name, namespace, cluster), scope and profile. What a bundle
// is about is what its signed statement says, and then its verified evidence: neither
// pointers nor anything else that is not signed can hide one, or bring an older one back.
func (s *search) evidence(ctx context.Context) ([]*Verified, error) {
	var err error
	if s.all = s.req.index; s.all == nil {
		if s.all, err = index(ctx, s.repo, s.verifier); err != nil {
			return nil, err
		}
	}
	s.meetClocks()
	seen := map[string]bool{}
	var found []*Verified
	for i := range s.all {
		e := &s.all[i]
		if e.about == nil {
			if err := s.unsigned(ctx, e); err != nil {
				return nil, err
			}
			continue
		}
		if !s.mayBe(e.about) {
			continue
		}
		if at := e.about.EvaluatedAt; at.After(s.req.At) {
			if s.req.AsOf {
				continue // what was judged after the time that is asked about does not count yet
			}
			return nil, integrityErr("bundle %s is about this release and dated %s, which is to come: a clock is wrong, here or where it was collected; correct it, or give the time to decide for with --at",
				e.id.Short(), at.UTC().Format(time.RFC3339))
		}
		if !s.ours(e.about) { // an older one, too: which of them is from elsewhere is not for age to say
			s.foreign = append(s.foreign, e)
			continue
		}
		key := ""
		if s.req.Image == "" {
			r := e.about.Release
			key = strings.Join([]string{string(r.Scope), r.Chart, r.ReleaseName, r.Namespace, r.Cluster, e.about.Profile, string(e.about.ProfileDigest)}, "\x00")
		}
		if seen[key] {
			continue // one bundle of each release and profile is enough: the newest
		}
		if skip, err := s.ofOther(ctx, e); err != nil {
			return nil, err
		} else if skip {
			continue
		}
		b, err := stored(ctx, s.verifier, s.repo, e.id)
		if err != nil {
			return nil, err
		}
		if err := samePointers(ctx, s.repo, e.pointers, b.Bundle); err != nil {
			return nil, err
		}
		if r := withObjects(b.Bundle); s.isAbout(&r) {
			seen[key] = key != ""
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(x, y *Verified) int { return y.Verdict().EvaluatedAt.Compare(x.Verdict().EvaluatedAt) })
	if err := s.unnamed(ctx, found); err != nil {
		return nil, err
	}
	return s.oneRelease(found)
}

// clockSkew is how far the clocks of those who collect and gate may lie apart.
const clockSkew = 5 * time.Minute

// meetClocks moves now to the newest evidence of a machine whose clock is a little
// ahead: newer evidence is not to be passed over for an older one.
func (s *search) meetClocks() {
	if s.req.AsOf {
		return
	}
	limit := s.req.At.Add(clockSkew)
	for i := range s.all {
		if a := s.all[i].about; a != nil && a.EvaluatedAt.After(s.req.At) && !a.EvaluatedAt.After(limit) {
			s.req.At = a.EvaluatedAt
		}
	}
}

// unsigned is what becomes of a bundle without a signature by a trusted key: an
// error, unless its evidence, which its id is the digest of, is of something else.
func (s *search) unsigned(ctx context.Context, e *entry) error {
	g, damage, err := look(ctx, s.repo, s.verifier, e.id)
	switch {
	case err != nil:
		return err
	case errors.Is(damage, errNothing) && e.unfinished():
		return nil
	case damage != nil:
		return unreadable(e.id, fmt.Errorf("%w; %w", e.broken, damage))
	case s.req.AsOf && g.at.After(s.req.At) || !s.isAbout(&g.release):
		return nil
	}
	return integrityErr("bundle %s is not verified: %w; it is about this release: restore its signature from a copy, or trust its signer", e.id.Short(), e.broken)
}

// mayBe reports whether a bundle may be about the subject, as far as its signed
// statement says.
func (s *search) mayBe(about *bundle.Summary) bool {
	have, want := about.Release, s.want
	if have.Scope == evidence.ScopeComposed {
		return false
	}
	if have.Scope == evidence.ScopeCluster {
		return true
	}
	want.ValuesDigest, want.KubeVersion = "", "" // no statement names them
	if have.ChartDigest == "" || want.Source == chart.SourceRelease {
		want.ChartDigest = ""
	}
	if have.ManifestsDigest == "" || want.Source == chart.SourceRelease {
		want.ManifestsDigest = "" // evidence of the chart may have the same objects
	}
	return len(differences(want, have)) == 0 && (s.req.Image == "" || runs(&have, s.req.Image))
}

// ours reports whether a bundle was sealed for the repository that is asked about.
func (s *search) ours(about *bundle.Summary) bool {
	return s.req.AnyRepository || about.Repository != "" && about.Repository == s.req.Repository
}

// oneRepository refuses to take the repository's own word for its id, which whoever
// can write to it may swap, where evidence about the subject names another one.
func (s *search) oneRepository(pinned bool) error {
	for _, e := range s.foreign {
		if !pinned && e.about.Repository != "" {
			return integrityErr("bundle %s was sealed for repository %s, and %s says that it is %s: one of them is from elsewhere; say with --repository-id whose evidence counts",
				e.id.Short(), e.about.Repository, s.repo.URL(), cmp.Or(s.req.Repository, "none"))
		}
	}
	return nil
}

// unnamed refuses to decide by evidence that is older than other evidence of the same,
// of which no repository is named, as builds did that knew none, and which does not
// pass: whether it was sealed for this one nobody can say.
func (s *search) unnamed(ctx context.Context, newestFirst []*Verified) error {
	for _, e := range s.foreign {
		about := &e.about.Release
		counts := slices.IndexFunc(newestFirst, func(b *Verified) bool {
			r := b.Release()
			return r.Scope == about.Scope && (about.Scope == evidence.ScopeCluster || r.Chart == about.Chart && r.ReleaseName == about.ReleaseName && r.Namespace == about.Namespace)
		})
		if e.about.Repository != "" || counts < 0 || !e.about.EvaluatedAt.After(newestFirst[counts].Verdict().EvaluatedAt) {
			continue // of another repository, or nothing counts, which is said; or it was collected anew
		}
		if skip, err := s.ofOther(ctx, e); err != nil {
			return err
		} else if skip {
			continue
		}
		b, err := stored(ctx, s.verifier, s.repo, e.id)
		if err != nil {
			return err
		}
		if r := withObjects(b.Bundle); !s.isAbout(&r) || b.Verdict().Outcome == evidence.VerdictPass {
			continue
		}
		return integrityErr("bundle %s is about this release, says %s, and is newer than bundle %s, which counts; it was sealed by an older version, which named no repository: collect again, or take it with --any-repository",
			e.id.Short(), b.Verdict().Outcome, newestFirst[counts].ID().Short())
	}
	return nil
}

// ofOther reports whether a bundle is about something else than what is asked
// about, as its content says. It saves verifying all that was ever collected of a
// chart; what it does not know for sure is left to verification.
func (s *search) ofOther(ctx context.Context, e *entry) (bool, error) {
	want := s.want
	if e.about.Release.Scope == evidence.ScopeCluster || want.Version == "" && want.ManifestsDigest == "" {
		return false, nil // names are enough
	}
	g, damage, err := look(ctx, s.repo, s.verifier, e.id)
	if err != nil || damage != nil || s.isAbout(&g.release) {
		return false, err
	}
	if g.release.Scope == evidence.ScopeRelease && g.release.Chart == want.Chart {
		s.other = append(s.other, g)
	}
	return true, nil
}

// withObjects is what a bundle is about, with the digest of its objects. Where secrets
// were redacted, or something cannot be read, there is none, and nothing is the same.
func withObjects(b *bundle.Bundle) evidence.Release {
	r := *b.Release()
	if r.Redactions > 0 || r.Source != chart.SourceChart && r.Source != chart.SourceRelease {
		return r
	}
	if raw, err := b.Read(collectors.ManifestsFile); err == nil && evidence.DigestOf(raw) == r.ManifestsDigest {
		r.ObjectsDigest, _ = chart.ObjectsDigest(raw)
	}
	return r
}

// isAbout reports whether a bundle of that release may count.
func (s *search) isAbout(r *evidence.Release) bool {
	switch r.Scope {
	case evidence.ScopeComposed:
		return false
	case evidence.ScopeCluster:
		return true
	}
	return len(differences(s.want, *r)) == 0 && (s.req.Image == "" || runs(r, s.req.Image))
}

// oneRelease refuses to decide on several releases at once, and keeps to one
// rendering where manifests were named by their digest alone: what counts with
// the newest evidence has its chart and values.
func (s *search) oneRelease(found []*Verified) ([]*Verified, error) {
	if s.req.Image != "" {
		return found, nil
	}
	var list []string
	var newest *evidence.Release
	for _, b := range found {
		if b.Release().Scope == evidence.ScopeCluster {
			continue
		}
		if b.Release().Scope == evidence.ScopeRelease && newest == nil {
			rel := *b.Release()
			rel.Cluster = "" // the same manifests run on several
			newest = &rel
		}
		if name := b.Release().Chart + " in namespace " + b.Release().Namespace; !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	if len(list) > 1 {
		slices.Sort(list)
		return nil, inputErr("gate: several releases match (%s): say which with -n", strings.Join(list, "; "))
	}
	if s.req.ManifestsDigest != "" && newest != nil {
		found = slices.DeleteFunc(found, func(b *Verified) bool {
			r := b.Release()
			return r.Scope != evidence.ScopeCluster && r.ReleaseName == newest.ReleaseName && len(differences(*newest, *r)) > 0
		})
	}
	return found, nil
}

// difference is one thing in which evidence is not about what is asked about.
type difference struct{ what, have, want string }

func (d difference) text() string {
	verb := "differs"
	if strings.HasSuffix(d.what, "s") {
		verb = "differ"
	}
	return fmt.Sprintf("the %s %s (have %s, want %s)", d.what, verb, cmp.Or(d.have, "none"), cmp.Or(d.want, "none"))
}

// differences are those of evidence from what is wanted, whose empty fields are
// any. A drill does not have to know chart and values: it is about manifests. So is
// evidence of the chart that a live release was installed from: Helm stores charts in
// another form, without subcharts, and sorts the manifests.
func differences(want, have evidence.Release) []difference {
	if want.Source == chart.SourceRelease && have.Source == chart.SourceChart && want.SameManifests(&have) {
		want.ChartDigest, want.ManifestsDigest = "", ""
	}
	var out []difference
	add := func(what, have, want string) {
		if want != "" && have != want {
			out = append(out, difference{what, have, want})
		}
	}
	add("chart's name", have.Chart, want.Chart)
	add("version", have.Version, want.Version)
	add("namespace", have.Namespace, want.Namespace)
	add("release name", have.ReleaseName, want.ReleaseName)
	if have.Cluster != "" { // what names none is about the chart alone
		add("cluster", have.Cluster, want.Cluster)
	}
	if have.Scope != evidence.ScopeDrill || have.ChartDigest != "" {
		add("chart", string(have.ChartDigest), string(want.ChartDigest))
	}
	if have.Scope != evidence.ScopeDrill || have.ValuesDigest != "" {
		add("values", string(have.ValuesDigest), string(want.ValuesDigest))
	}
	if have.Scope != evidence.ScopeDrill {
		add("Kubernetes version", have.KubeVersion, want.KubeVersion) // what is valid depends on it
	}
	add("manifests", string(have.ManifestsDigest), string(want.ManifestsDigest))
	return out
}

// Limits of what is said about evidence that is not there.
const (
	maxNames    = 8  // charts that are named
	maxGlimpses = 20 // bundles that are looked at besides those that had to be
)

// whyNone says why there is no evidence: none of the chart, or some of something
// else, and of what.
func (s *search) whyNone(ctx context.Context) ([]string, error) {
	want := s.want
	if n := len(s.foreign); n > 0 {
		other := "no repository, by an older version"
		if id := s.foreign[0].about.Repository; id != "" {
			other = "repository " + id
		}
		return []string{fmt.Sprintf("the evidence of it (bundles: %d, the newest %s) was sealed for %s, and counts for repository %s only if asked: collect again, or --any-repository takes it",
			n, s.foreign[0].id.Short(), other, cmp.Or(s.req.Repository, "(without an id)"))}, nil
	}
	if s.req.Image != "" {
		return []string{fmt.Sprintf("no evidence for a release that runs image %s", s.req.Image) + s.names()}, nil
	}
	looked := map[evidence.Digest]bool{}
	for _, g := range s.other {
		looked[g.id] = true
	}
	for _, e := range s.all {
		if !e.of(want.Chart) || looked[e.id] || e.about.EvaluatedAt.After(s.req.At) {
			continue
		}
		if len(looked) >= len(s.other)+maxGlimpses {
			break
		}
		looked[e.id] = true
		g, damage, err := look(ctx, s.repo, s.verifier, e.id)
		if err != nil {
			return nil, err
		}
		if damage == nil {
			s.other = append(s.other, g)
		}
	}
	kind := "chart"
	if s.req.Deploy != nil && want.Source == chart.SourceManifests {
		kind = "manifests"
	}
	if len(s.other) == 0 {
		if n := s.later(want.Chart); n > 0 {
			return []string{fmt.Sprintf("no evidence for %s %s at %s: all that there is was judged later", kind, want.Chart, s.req.At.UTC().Format(time.RFC3339))}, nil
		}
		return []string{fmt.Sprintf("no evidence for %s %s", kind, want.Chart) + s.names()}, nil
	}
	// The nearest says most; of several the newest.
	slices.SortStableFunc(s.other, func(a, b glimpse) int {
		return cmp.Or(cmp.Compare(len(differences(want, a.release)), len(differences(want, b.release))), b.at.Compare(a.at))
	})
	nearest := s.other[0]
	what := "what is about to be deployed"
	if s.req.Deploy == nil {
		what = "what is asked about"
	}
	out := []string{fmt.Sprintf("there is evidence for %s (bundle %s), but not of %s", strings.TrimSpace(kind+" "+want.Chart+" "+nearest.release.Version), nearest.id.Short(), what)}
	for _, d := range differences(want, nearest.release) {
		out = append(out, d.text())
	}
	return append(out, s.hints(nearest)...), nil
}

// hints name the flags that may be the reason of a difference.
func (s *search) hints(g glimpse) []string {
	if s.req.Deploy == nil {
		return nil
	}
	want, now := s.want, s.req.Deploy.Record
	var out []string
	hint := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if g.release.Source != want.Source {
		hint("the evidence is from %s, this is from %s", source(g.release.Source), source(want.Source))
		return out
	}
	if g.release.Namespace != want.Namespace {
		hint("the evidence was collected for namespace %s: -n %s, or collect for %s", g.release.Namespace, g.release.Namespace, want.Namespace)
	}
	if g.release.ReleaseName != want.ReleaseName {
		hint("the evidence was collected for release name %s: --release-name %s, or collect for %s", g.release.ReleaseName, g.release.ReleaseName, want.ReleaseName)
	}
	if have, is := version(g.release, g.record), version(want, now); have != is {
		hint("the evidence was collected for Kubernetes %s, this is rendered for %s: --kube-version %s may be the reason", have, is, have)
	}
	if !slices.Equal(g.record.APIVersions, now.APIVersions) {
		hint("the evidence was collected with --api-versions %s, this is rendered with %s", joined(g.record.APIVersions), joined(now.APIVersions))
	}
	if g.release.ChartDigest == want.ChartDigest && g.release.ValuesDigest != want.ValuesDigest {
		hint("the chart is the same: give the -f and --set that the evidence was collected with, or collect with these")
	}
	if g.release.ChartDigest != want.ChartDigest && g.release.Version == want.Version && (g.release.ArchiveDigest == "") != (want.ArchiveDigest == "") {
		hint("one is an archive and the other a folder: helm package rewrites Chart.yaml, so that the same chart differs; collect what is deployed")
	}
	if len(out) == 0 && g.release.ChartDigest == want.ChartDigest && g.release.ValuesDigest == want.ValuesDigest && s.verifier.Tool != g.tool {
		hint("the evidence was collected by %s, this is %s: it may render otherwise", g.tool, s.verifier.Tool)
	}
	return out
}

// source says for people where a release came from.
func source(s string) string {
	switch s {
	case chart.SourceChart:
		return "a chart (gate CHART)"
	case chart.SourceManifests:
		return "plain manifests (gate --manifests)"
	case chart.SourceRelease:
		return "what Helm stored in a cluster (gate --release)"
	}
	return s
}

// version is the Kubernetes version of a rendering, as exactly as it is known.
func version(r evidence.Release, rec chart.Record) string {
	return strings.TrimPrefix(cmp.Or(rec.Capabilities["kubeVersion"], r.KubeVersion), "v")
}

func joined(s []string) string { return cmp.Or(strings.Join(s, ","), "none") }

// of reports whether the bundle is about a release of the chart, as its signed
// statement says.
func (e *entry) of(chart string) bool {
	return e.about != nil && e.about.Release.Scope == evidence.ScopeRelease && e.about.Release.Chart == chart
}

// later counts the bundles of the chart that were judged after the time asked about.
func (s *search) later(name string) int {
	n := 0
	for _, e := range s.all {
		if e.of(name) && e.about.EvaluatedAt.After(s.req.At) {
			n++
		}
	}
	return n
}

// names says what the repository has evidence for.
func (s *search) names() string {
	var names []string
	for _, e := range s.all {
		if e.about != nil && e.of(e.about.Release.Chart) && !slices.Contains(names, e.about.Release.Chart) {
			names = append(names, e.about.Release.Chart)
		}
	}
	slices.Sort(names)
	switch n := len(names); {
	case n == 0:
		return ": the repository has none at all"
	case n > maxNames:
		return fmt.Sprintf("; there is evidence for %s and %d more (helmproof list)", strings.Join(names[:maxNames], ", "), n-maxNames)
	}
	return "; there is evidence for " + strings.Join(names, ", ")
}
