package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
)

// store holds bundles by their id.
type store map[evidence.Digest]map[string][]byte

// compose is what a composed verdict is: its inputs verified and judged together.
func compose(v *bundle.Verifier, in store) func(context.Context, *bundle.Bundle) ([]evidence.Finding, evidence.Verdict, error) {
	return func(ctx context.Context, c *bundle.Bundle) ([]evidence.Finding, evidence.Verdict, error) {
		var opened []*bundle.Bundle
		for _, ref := range c.Inputs() {
			files, ok := in[ref.Bundle]
			if !ok {
				return nil, evidence.Verdict{}, fmt.Errorf("input %s is not in the repository", ref.Bundle.Short())
			}
			r := v.Verify(ctx, files, ref.Bundle)
			if !r.OK() {
				return nil, evidence.Verdict{}, fmt.Errorf("input %s: %s", ref.Bundle.Short(), r.Reason())
			}
			opened = append(opened, r.Verified())
		}
		want, err := together(opened, c.Profile(), c.Catalog(), c.Verdict().EvaluatedAt)
		if err != nil {
			return nil, evidence.Verdict{}, err
		}
		is, err := bundle.CanonicalJSON(c.Release())
		if err != nil {
			return nil, evidence.Verdict{}, err
		}
		if !bytes.Equal(is, want.Files[bundle.ReleaseFile]) {
			return nil, evidence.Verdict{}, errors.New("the release is not that of the inputs")
		}
		return want.Findings, want.Verdict, nil
	}
}

func together(in []*bundle.Bundle, profile, catalog []byte, at time.Time) (*bundle.Contents, error) {
	c := &bundle.Contents{Files: map[string][]byte{bundle.ProfileFile: profile, bundle.CatalogFile: catalog, bundle.WaiversFile: nil, bundle.PoliciesFile: nil}, Runs: evidence.Runs{Tool: "helmproof test", Rules: evidence.RulesVersion, Reports: evidence.ReportsVersion, Collectors: []evidence.CollectorRun{}}}
	ci := gate.ComposeInput{ProfileDigest: evidence.DigestOf(profile), CatalogDigest: evidence.DigestOf(catalog), At: at}
	var rel evidence.Release
	var err error
	if ci.Profile, err = gate.ParseProfile(profile); err != nil {
		return nil, err
	}
	if ci.Catalog, err = gate.ParseCatalog(catalog); err != nil {
		return nil, err
	}
	for _, b := range in {
		ci.Evidence = append(ci.Evidence, gate.Evidence{
			Bundle: b.ID(), Scope: b.Release().Scope, Release: *b.Release(), Findings: b.Findings(), Runs: b.Runs().Collectors,
			Verdict: *b.Verdict(), EvaluatedAt: b.Verdict().EvaluatedAt,
		})
		rel = *b.Release()
		c.Findings = append(c.Findings, b.Findings()...)
		c.Inputs = append(c.Inputs, evidence.BundleRef{Bundle: b.ID(), Scope: b.Release().Scope, EvaluatedAt: b.Verdict().EvaluatedAt})
	}
	rel.Scope = evidence.ScopeComposed
	if c.Files[bundle.ReleaseFile], err = bundle.CanonicalJSON(rel); err != nil {
		return nil, err
	}
	c.Findings = evidence.NormalizeFindings(c.Findings)
	c.Verdict = gate.Compose(ci)
	return c, nil
}

func TestComposed(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	older, other := contents(t, "api"), contents(t, "web")
	older.Verdict.EvaluatedAt = evaluatedAt.Add(-time.Hour)
	older.Runs.Collectors = slices.Clone(older.Runs.Collectors)
	for i := range older.Runs.Collectors {
		r := &older.Runs.Collectors[i]
		r.StartedAt, r.FinishedAt = r.StartedAt.Add(-time.Hour), r.FinishedAt.Add(-time.Hour)
	}
	in := store{}
	sealed := func(c *bundle.Contents) *bundle.Bundle {
		p := seal(t, c, s)
		in[p.ID] = p.Files
		r := verifier(t, s).Verify(t.Context(), p.Files, p.ID)
		wantOK(t, r)
		return r.Verified()
	}
	first, second, web := sealed(contents(t, "api")), sealed(older), sealed(other)
	composed := func() *bundle.Contents {
		c, err := together([]*bundle.Bundle{second, first}, []byte(profileYAML), []byte(catalogYAML), evaluatedAt.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	with := func(in store) *bundle.Verifier {
		v := verifier(t, s)
		v.Compose = compose(verifier(t, s), in)
		return v
	}
	without := func(id evidence.Digest) store {
		some := maps.Clone(in)
		delete(some, id)
		return some
	}
	tampered := maps.Clone(in)
	tampered[first.ID()] = maps.Clone(in[first.ID()])
	tampered[first.ID()]["report.md"] = []byte("PASS")

	for name, tt := range map[string]struct {
		edit          func(c *bundle.Contents)
		verifier      *bundle.Verifier
		check, reason string
	}{
		"as it is":          {nil, with(in), "", ""},
		"without Compose":   {nil, verifier(t, s), "findings", "a composed verdict: give the repository that holds its inputs"},
		"input is missing":  {nil, with(without(first.ID())), "findings", "input " + first.ID().Short() + " is not in the repository"},
		"input is tampered": {nil, with(tampered), "findings", "input " + first.ID().Short() + ": reports: report.md is altered"},
		"verdict": {func(c *bundle.Contents) { c.Verdict.Outcome = evidence.VerdictPass }, with(in),
			"findings", "the evidence gives FAIL, the bundle says PASS"},
		"finding removed": {func(c *bundle.Contents) { c.Findings = c.Findings[1:] }, with(in),
			"findings", "a finding that is not in the bundle"},
		"input left out": {func(c *bundle.Contents) { c.Inputs = c.Inputs[:1] }, with(in),
			"findings", "rests on bundle"},
		"all inputs left out": {func(c *bundle.Contents) { c.Inputs = nil }, with(in),
			"findings", "the release is not that of the inputs"},
		"another input": {func(c *bundle.Contents) { c.Inputs[1].Bundle = web.ID() }, with(in),
			"findings", "the release is not that of the inputs"},
		"input named as newer": {func(c *bundle.Contents) { c.Inputs[1].EvaluatedAt = evaluatedAt.Add(time.Minute) }, with(in),
			"findings", "rests on bundle " + first.ID().Short() + ", which inputs.json does not name as it is"},
		"input of another scope": {func(c *bundle.Contents) { c.Inputs[1].Scope = evidence.ScopeDrill }, with(in),
			"findings", "which inputs.json does not name as it is"},
		"another chart": {func(c *bundle.Contents) { editRelease(t, c, func(r *evidence.Release) { r.Chart = "web" }) }, with(in),
			"findings", "the release is not that of the inputs"},
		"judged later": {func(c *bundle.Contents) { c.Verdict.EvaluatedAt = evaluatedAt.AddDate(1, 0, 0) }, with(in),
			"findings", "the evidence gives INCOMPLETE, the bundle says FAIL"},
		"profile loosened": {func(c *bundle.Contents) {
			c.Files[bundle.ProfileFile] = bytes.Replace(c.Files[bundle.ProfileFile], []byte("medium"), []byte("critical"), 1)
		}, with(in),
			"findings", "the bundle says FAIL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := composed()
			if tt.edit != nil {
				c.Inputs = slices.Clone(c.Inputs)
				tt.edit(c)
			}
			p := seal(t, c, s)
			r := tt.verifier.Verify(t.Context(), p.Files, p.ID)
			if tt.check == "" {
				wantOK(t, r)
				return
			}
			wantRefused(t, r, tt.check, tt.reason)
		})
	}

	// Evidence about a cluster or a composition may have no digest but its own:
	// all signatures are then about evidence.zip, and only their type tells them apart.
	t.Run("types told apart", func(t *testing.T) {
		t.Parallel()
		c := contents(t, "api")
		c.Files[bundle.ReleaseFile] = record(t, evidence.Release{Scope: evidence.ScopeCluster, Cluster: "c", Images: []string{}})
		p := seal(t, c, s)
		wantOK(t, verifier(t, s).Verify(t.Context(), p.Files, p.ID))
		files := maps.Clone(p.Files)
		files[bundle.SignatureFile] = p.Files[bundle.VSAFile]
		wantRefused(t, verifier(t, s).Verify(t.Context(), files, p.ID), "signature", attest.ErrWrongType.Error())
		files = maps.Clone(p.Files)
		files[bundle.VSAFile] = p.Files[bundle.SignatureFile]
		wantRefused(t, verifier(t, s).Verify(t.Context(), files, p.ID), "summary", attest.ErrWrongType.Error())
	})
}

func TestPackComposed(t *testing.T) {
	t.Parallel()
	c := contents(t, "api")
	c.Inputs = []evidence.BundleRef{{Bundle: evidence.DigestOf(nil), Scope: evidence.ScopeRelease, EvaluatedAt: evaluatedAt}}
	_, err := bundle.Pack(c)
	wantError(t, err, "inputs of a bundle of scope release")
}
