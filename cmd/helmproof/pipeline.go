package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/admission"
	"github.com/companyos/helmproof/collectors/autoscaling"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/externalsecrets"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/collectors/live"
	"github.com/companyos/helmproof/collectors/podsecurity"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/collectors/signatures"
	"github.com/companyos/helmproof/collectors/workload"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/pdf"
)

// listed is a collector and when it runs. Replay knows every collector; a run
// takes those of its scope.
type listed struct {
	collectors.Collector
	scopes []evidence.Scope // of the bundles that it makes evidence for
	live   bool             // looks at a cluster: it runs only where one was named
	stored bool             // compares with what Helm stored: it runs only for live releases
	asked  bool             // makes things in the cluster: it runs only where the profile asks for its controls
}

var (
	ofRelease = []evidence.Scope{evidence.ScopeRelease}
	ofCluster = []evidence.Scope{evidence.ScopeCluster}
	ofBoth    = []evidence.Scope{evidence.ScopeRelease, evidence.ScopeCluster}
)

// listOptions is what collectors are made from. The zero value, with the
// policies that were sealed, is enough to derive findings again.
type listOptions struct {
	policies []byte          // what is, or was, sealed as policies.yaml
	found    *secrets.Report // of the release's scan
	schemas  string
	bench    kubebench.Options
	// signatures is what image signatures are verified by.
	signatures signatures.Options
	unsigned   string // image without a signature, by which signature admission is tried
	images     images.Options
}

// collectorList is the one list of collectors.
func collectorList(o listOptions) ([]listed, error) {
	pol, err := policy.New(o.policies)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	sig, err := signatures.New(o.signatures)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	img, err := images.New(o.images)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return []listed{
		{Collector: helm.New(helm.Options{SchemasDir: o.schemas}), scopes: ofRelease},
		{Collector: podsecurity.New(), scopes: ofRelease},
		{Collector: workload.New(), scopes: ofRelease},
		{Collector: pol, scopes: ofRelease},
		{Collector: secrets.New(o.found), scopes: ofRelease},
		{Collector: img, scopes: imageScopes(o.images)},
		{Collector: sig, scopes: signatureScopes(o.signatures)},
		{Collector: admission.New(admission.Options{Policies: o.policies, UnsignedImage: o.unsigned}), scopes: ofBoth, live: true},
		{Collector: live.New(), scopes: ofRelease, live: true, stored: true},
		{Collector: externalsecrets.New(), scopes: ofRelease, live: true, stored: true},
		{Collector: autoscaling.New(), scopes: ofRelease, live: true, stored: true},
		{Collector: kubebench.New(o.bench), scopes: ofCluster, live: true, asked: true},
	}, nil
}

// pick returns the collectors of the list that run for a bundle of that scope.
func (p *pipeline) pick(list []listed, scope evidence.Scope) []collectors.Collector {
	var out []collectors.Collector
	for _, l := range list {
		if slices.Contains(l.scopes, scope) && (p.cluster != nil || !l.live) && (!l.stored || p.stored) && (!l.asked || p.judge.asksFor(l.Name())) {
			out = append(out, l.Collector)
		}
	}
	return out
}

// asksFor reports whether a control of the profile is that collector's.
func (j *judgement) asksFor(collector string) bool {
	return slices.ContainsFunc(j.profile.Controls, func(pc evidence.ProfileControl) bool {
		c, ok := j.catalog.Control(pc.ID)
		return ok && c.Collector == collector
	})
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
	list, err := collectorList(listOptions{policies: policies})
	if err != nil {
		return nil, nil, err
	}
	var all []collectors.Collector
	for _, l := range list {
		all = append(all, l.Collector)
	}
	found, after := collectors.Derive(collectors.NewSealed(in), all, runs)
	return found, after, nil
}

// pipeline is the main job with all that it needs: config → collectors → gate →
// bundle → repository.
type pipeline struct {
	cfg     *config.Config
	judge   judgement
	cluster *cluster.Cluster // nil: no cluster is looked at
	stored  bool             // the releases are those of Helm's storage in the cluster
	// unsigned is an image without a signature; empty: signature admission is not tried.
	unsigned string
	// signatures without policies: image signatures are not verified.
	signatures signatures.Options
	images     images.Options         // without an allow-list: registries are not judged
	signer     attest.Signer          // nil: nothing is sealed
	repo       *repository.Repository // nil: nothing is stored
	now        func() time.Time
	warn       func(string) // tells the user what is no evidence; may be nil
	started    func(collector string)
	ended      func(evidence.CollectorRun)
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
func (p *pipeline) run(ctx context.Context, rel *chart.Release) (*judged, error) {
	found, redactor, err := secrets.Scan(ctx, rel)
	if err != nil {
		// Without the scan nothing may be written: it would not be redacted.
		return nil, fmt.Errorf("scan %s for secrets: %w", rel.Info.Chart, err)
	}
	art := collectors.NewArtifacts(redactor)
	info := rel.Info
	if p.cluster != nil {
		info.Cluster = p.cluster.Info.Fingerprint
	}
	if err := p.sealRelease(rel, art, &info); err != nil {
		return nil, err
	}
	return p.judgeAndSeal(ctx, subject{info: info, release: rel, art: art, found: found, redactor: redactor})
}

// subject is what one bundle is about, its records being sealed already.
type subject struct {
	info     evidence.Release
	release  *chart.Release // nil for the cluster itself
	art      *collectors.Artifacts
	found    *secrets.Report
	redactor collectors.Redactor // nil where there is nothing to redact
}

// judgeAndSeal runs the collectors of the subject's scope, decides, seals and stores.
func (p *pipeline) judgeAndSeal(ctx context.Context, s subject) (*judged, error) {
	all, err := collectorList(listOptions{policies: p.judge.policies, found: s.found, schemas: p.cfg.Schemas, bench: p.bench(), unsigned: p.unsigned, signatures: p.signatures, images: p.images})
	if err != nil {
		return nil, err
	}
	list := p.pick(all, s.info.Scope)
	runs, err := collectors.Run(ctx, collectors.Input{Release: s.release, Cluster: p.cluster}, list, s.art, collectors.RunOptions{
		Timeout: p.cfg.Timeout, Now: p.now, Started: p.started, Ended: p.ended,
	})
	if err != nil {
		return nil, err
	}
	for i := range runs {
		if s.redactor != nil {
			clean, _ := s.redactor.Redact([]byte(runs[i].Error))
			runs[i].Error = string(clean)
		}
	}
	sealed := collectors.NewSealedWith(s.art, s.release)
	findings, runs := collectors.Derive(sealed, list, runs)
	verdict := gate.Evaluate(gate.Input{
		Profile: p.judge.profile, ProfileDigest: evidence.DigestOf(p.judge.profileRaw),
		Catalog: p.judge.catalog, CatalogDigest: evidence.DigestOf(p.judge.catalogRaw),
		Findings: findings, Runs: runs, Waivers: p.judge.waivers, At: p.now().UTC().Truncate(time.Microsecond),
	})
	out := &judged{Release: s.info, Runs: evidence.Runs{Tool: "helmproof " + toolVersion(), Collectors: runs}, Findings: findings, Verdict: verdict}
	contents := &bundle.Contents{
		Release: s.info, Profile: p.judge.profileRaw, Catalog: p.judge.catalogRaw, Waivers: p.judge.waiversRaw, Policies: p.judge.policies,
		Runs: out.Runs, Findings: findings, Verdict: verdict, Artifacts: artifactsOnly(s.art),
	}
	if p.signer == nil {
		return out, nil
	}
	pkg, err := bundle.Seal(ctx, contents, p.signer, renderer(p.cfg.Formats))
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", s.info.Chart, err)
	}
	out.Bundle = pkg.ID
	_, out.PDF = pkg.Files["report.pdf"]
	if err := p.repo.Put(ctx, repository.NewPointer(pkg.ID, &s.info, &verdict), pkg.Files); err != nil {
		return nil, err
	}
	return out, nil
}

// sealRelease writes what loading saw, redacted, and completes release.json.
func (p *pipeline) sealRelease(rel *chart.Release, art *collectors.Artifacts, info *evidence.Release) error {
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
	return p.sealCommon(art, info)
}

// sealCommon seals what every bundle holds: the policies, the cluster that was
// looked at, and the completed release.json.
func (p *pipeline) sealCommon(art *collectors.Artifacts, info *evidence.Release) error {
	if _, err := art.Put(collectors.PoliciesFile, p.judge.policies); err != nil {
		return err
	}
	if p.cluster != nil {
		raw, err := bundle.CanonicalJSON(p.cluster.Info)
		if err != nil {
			return fmt.Errorf("cluster record: %w", err)
		}
		if _, err := art.Put(collectors.ClusterFile, raw); err != nil {
			return err
		}
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
		var g errgroup.Group
		var mu sync.Mutex
		for _, f := range report.Formats() {
			if !containsFold(formats, f.Name) {
				continue
			}
			g.Go(func() error {
				raw, err := render(doc, f.Name, "")
				if err != nil {
					return fmt.Errorf("render %s: %w", f.FileName, err)
				}
				mu.Lock()
				defer mu.Unlock()
				out[f.FileName] = raw
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		return out, nil
	}
}

// render is the one switch over the report formats. pathPrefix is the chart's
// folder in its repository, for SARIF; it may be empty.
func render(doc *report.Document, format, pathPrefix string) ([]byte, error) {
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
		return report.SARIF(doc, report.SARIFOptions{PathPrefix: pathPrefix})
	case "junit":
		return report.JUnit(doc)
	}
	return nil, usageErr("report format %q: want pdf, md, html, json, sarif or junit", format)
}
