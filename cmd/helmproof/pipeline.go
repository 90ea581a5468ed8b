package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/collectors/podsecurity"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/collectors/workload"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/pdf"
)

// collectorList is the one list of collectors. policies is what is, or was,
// sealed as policies.yaml; found is nil when only Findings is called.
func collectorList(policies []byte, found *secrets.Report, schemas string) ([]collectors.Collector, error) {
	pol, err := policy.New(policies)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return []collectors.Collector{
		helm.New(helm.Options{SchemasDir: schemas}), podsecurity.New(), workload.New(), pol, secrets.New(found),
	}, nil
}

// replay derives the findings of a bundle again; verify compares them. Sealed
// policies that are not this version's own would judge by other rules under the
// same names: they are refused.
func replay(in evidence.ArtifactReader, runs []evidence.CollectorRun) ([]evidence.Finding, []evidence.CollectorRun, error) {
	policies, err := in.Read(collectors.PoliciesFile)
	if err != nil {
		return nil, nil, err
	}
	changed, err := policy.Changed(policies)
	if err != nil {
		return nil, nil, err
	}
	if len(changed) > 0 {
		return nil, nil, fmt.Errorf("the sealed policies are not those of this version: %s", strings.Join(changed, ", "))
	}
	list, err := collectorList(policies, nil, "")
	if err != nil {
		return nil, nil, err
	}
	found, after := collectors.Derive(collectors.NewSealed(in), list, runs)
	return found, after, nil
}

// pipeline is the main job with all that it needs: config → collectors → gate →
// bundle → repository.
type pipeline struct {
	cfg     *config.Config
	judge   judgement
	signer  attest.Signer          // nil: nothing is sealed
	repo    *repository.Repository // nil: nothing is stored
	now     func() time.Time
	started func(collector string)
	ended   func(evidence.CollectorRun)
}

// judgement is what releases are judged by, raw as sealed and parsed.
type judgement struct {
	profileRaw, catalogRaw, waiversRaw, policies []byte

	profile *evidence.Profile
	catalog *evidence.Catalog
	waivers []evidence.Waiver
}

func loadJudgement(cfg *config.Config) (judgement, error) {
	var j judgement
	var err error
	j.catalogRaw, j.catalog = config.Catalog()
	if j.profileRaw, j.profile, err = config.Profile(cfg.Profile); err != nil {
		return j, err
	}
	if j.waiversRaw, j.waivers, err = config.Waivers(cfg.Waivers); err != nil {
		return j, err
	}
	if j.policies, err = policy.Bundle(cfg.Policies); err != nil {
		return j, &exitError{code: exitUsage, err: err}
	}
	return j, nil
}

// judged is one release with its verdict; Bundle is empty when it was not sealed.
type judged struct {
	Bundle   evidence.Digest
	Release  evidence.Release
	Runs     evidence.Runs
	Findings []evidence.Finding
	Verdict  evidence.Verdict
	PDF      bool // a report.pdf was stored
	inputs   []evidence.BundleRef
}

// run judges one loaded release and, where the pipeline has a signer and a
// repository, seals and stores it.
func (p *pipeline) run(ctx context.Context, rel *collectors.Release) (*judged, error) {
	found, redactor, err := secrets.Scan(ctx, rel)
	if err != nil {
		// Without the scan nothing may be written: it would not be redacted.
		return nil, fmt.Errorf("scan %s for secrets: %w", rel.Info.Chart, err)
	}
	art := collectors.NewArtifacts(redactor)
	info := rel.Info
	if err := p.sealRelease(rel, art, &info); err != nil {
		return nil, err
	}
	list, err := collectorList(p.judge.policies, found, p.cfg.Schemas)
	if err != nil {
		return nil, err
	}
	runs, err := collectors.Run(ctx, collectors.Input{Release: rel}, list, art, collectors.RunOptions{
		Timeout: p.cfg.Timeout, Now: p.now, Started: p.started, Ended: p.ended,
	})
	if err != nil {
		return nil, err
	}
	for i := range runs {
		clean, _ := redactor.Redact([]byte(runs[i].Error))
		runs[i].Error = string(clean)
	}
	sealed := collectors.NewSealedWith(art, rel)
	findings, runs := collectors.Derive(sealed, list, runs)
	verdict := gate.Evaluate(gate.Input{
		Profile: p.judge.profile, ProfileDigest: evidence.DigestOf(p.judge.profileRaw),
		Catalog: p.judge.catalog, CatalogDigest: evidence.DigestOf(p.judge.catalogRaw),
		Findings: findings, Runs: runs, Waivers: p.judge.waivers, At: p.now().UTC().Truncate(time.Microsecond),
	})
	out := &judged{Release: info, Runs: evidence.Runs{Tool: "helmproof " + toolVersion(), Collectors: runs}, Findings: findings, Verdict: verdict}
	contents := &bundle.Contents{
		Release: info, Profile: p.judge.profileRaw, Catalog: p.judge.catalogRaw, Waivers: p.judge.waiversRaw, Policies: p.judge.policies,
		Runs: out.Runs, Findings: findings, Verdict: verdict, Artifacts: artifactsOnly(art),
	}
	if p.signer == nil {
		return out, nil
	}
	pkg, err := bundle.Seal(ctx, contents, p.signer, renderer(p.cfg.Formats))
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", rel.Info.Chart, err)
	}
	out.Bundle = pkg.ID
	_, out.PDF = pkg.Files["report.pdf"]
	if err := p.repo.Put(ctx, repository.NewPointer(pkg.ID, &info, &verdict), pkg.Files); err != nil {
		return nil, err
	}
	return out, nil
}

// sealRelease writes what loading saw, redacted, and completes release.json.
func (p *pipeline) sealRelease(rel *collectors.Release, art *collectors.Artifacts, info *evidence.Release) error {
	record, err := bundle.CanonicalJSON(rel.Record)
	if err != nil {
		return fmt.Errorf("chart record of %s: %w", info.Chart, err)
	}
	values, err := yaml.Marshal(rel.Values)
	if err != nil {
		return fmt.Errorf("values of %s: %w", info.Chart, err)
	}
	sealed, err := art.Put(collectors.ManifestsFile, rel.Manifests)
	if err != nil {
		return err
	}
	info.SealedManifestsDigest = evidence.DigestOf(sealed)
	if _, err := art.Put(collectors.ChartFile, record); err != nil {
		return err
	}
	if _, err := art.Put(collectors.ValuesFile, values); err != nil {
		return err
	}
	info.Redactions = art.Replaced()
	if _, err := art.Put(collectors.PoliciesFile, p.judge.policies); err != nil {
		return err
	}
	raw, err := bundle.CanonicalJSON(info)
	if err != nil {
		return fmt.Errorf("release record of %s: %w", info.Chart, err)
	}
	_, err = art.Put(collectors.ReleaseFile, raw)
	return err
}

func artifactsOnly(art *collectors.Artifacts) map[string][]byte {
	files := art.Files()
	delete(files, collectors.ReleaseFile)
	delete(files, collectors.PoliciesFile)
	return files
}

// renderer renders the named report formats of a bundle: reports are functions of it.
func renderer(formats []string) func(*bundle.Bundle, string) (map[string][]byte, error) {
	return func(b *bundle.Bundle, keyID string) (map[string][]byte, error) {
		in, err := inputOf(b, keyID)
		if err != nil {
			return nil, err
		}
		doc := report.New(in)
		out := map[string][]byte{}
		for _, f := range report.Formats() {
			if !containsFold(formats, f.Name) {
				continue
			}
			raw, err := render(doc, f.Name)
			if err != nil {
				return nil, fmt.Errorf("render %s: %w", f.FileName, err)
			}
			out[f.FileName] = raw
		}
		return out, nil
	}
}

// render is the one switch over the report formats.
func render(doc *report.Document, format string) ([]byte, error) {
	switch format {
	case "pdf":
		return pdf.Render(doc, pdf.Options{})
	case "md":
		return report.Markdown(doc)
	case "html":
		return report.HTML(doc)
	case "json":
		return report.JSON(doc)
	case "sarif":
		return report.SARIF(doc, report.SARIFOptions{})
	case "junit":
		return report.JUnit(doc)
	}
	return nil, usageErr("report format %q: want pdf, md, html, json, sarif or junit", format)
}
