package pipeline

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/accesslog"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/kubebench"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/collectors/signatures"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/worker"
)

// Pipeline is the main job with all that it needs. Its methods may be called
// concurrently; nothing in it may be changed meanwhile.
type Pipeline struct {
	Rules   Rules
	Tool    string           // this program, for runs.json: "helmproof <version>"
	Cluster *cluster.Cluster // nil: no cluster is looked at
	Stored  bool             // the releases are those of Helm's storage in the cluster
	Schemas string           // a directory of OpenAPI schemas of other Kubernetes versions
	// Timeout is that of rendering, of looking for secrets, of collecting, and of deriving
	// findings, each: a release takes four times as long at most, and what writing takes.
	// 0: there is none.
	Timeout time.Duration
	Workers *worker.Pool // child processes that render and lint charts; nil: this process does

	// UnsignedImage is an image without a signature, which admission must refuse;
	// empty: signature admission is not tried.
	UnsignedImage     string
	UnsignedNamespace string             // in which that is tried; empty: default
	Signatures        signatures.Options // without policies image signatures are not verified
	Images            images.Options     // without controls images are not judged
	Bench             kubebench.Options
	Access            accesslog.Options // without logs nobody asks who read secrets
	Rotation          time.Duration     // how old the last change of a Secret may be; 0: externalsecrets.DefaultRotation

	Signer  attest.Signer          // nil: nothing is sealed
	Repo    *repository.Repository // nil: nothing is stored
	Formats []string               // of the reports that are stored
	// Repository is the id that bundles name; empty: the one that is stored in Repo,
	// which gets one where it has none.
	Repository string

	// Snippets asks for lines of the chart's files around the findings, in Judged.
	Snippets bool

	Now     func() time.Time
	Log     *slog.Logger           // what the user should know and what is no evidence
	Started func(collector string) // progress; may be nil
}

// Judged is one release with its verdict; Bundle is empty when it was not sealed.
type Judged struct {
	Bundle   evidence.Digest
	Release  evidence.Release
	Runs     evidence.Runs
	Findings []evidence.Finding
	Verdict  evidence.Verdict
	By       Rules                                  // what it was judged by
	Counted  *gate.Counted                          // what the exit code goes by; nil: by the verdict
	PDF      bool                                   // a report.pdf was stored
	Inputs   []evidence.BundleRef                   // of a composed verdict: about the release, newest first, then its cluster
	Reasons  []string                               // of a composed verdict that is not PASS: all there is to say why
	Figures  *drill.Figures                         // of a drill: what it measured; nil where that could not be read
	Unread   string                                 // why not
	Snippets map[string][]SnippetLine               // by the id of a finding, where the pipeline was asked for them
	given    *gateGiven                             // of a composed verdict
	found    map[evidence.Digest][]evidence.Finding // of a composed verdict: what each input counts by
	Lists    []string                               // of a composed verdict: what images were judged by that was taken from the evidence, as the gate was asked to
	Ignored  []string                               // of a composed verdict: what the evidence was collected with that did not count
}

// scanSecrets looks for secrets, for at most limit. Without it nothing may be written: it
// would not be redacted.
func scanSecrets(ctx context.Context, limit time.Duration, rel *chart.Release) (*secrets.Report, *secrets.Redactor, error) {
	type scanned struct {
		found    *secrets.Report
		redactor *secrets.Redactor
	}
	s, err := collectors.Within(limit, func() (*scanned, error) {
		found, redactor, err := secrets.Scan(ctx, rel)
		return &scanned{found, redactor}, err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("scan %s for secrets: %w", rel.Info.Chart, err)
	}
	return s.found, s.redactor, nil
}

// Release judges one loaded release and, where the pipeline has a signer and a
// repository, seals and stores it.
func (p *Pipeline) Release(ctx context.Context, rel *chart.Release) (*Judged, error) {
	found, redactor, err := scanSecrets(ctx, p.Timeout, rel)
	if err != nil {
		return nil, err
	}
	if p, err = p.withExceptions(rel); err != nil {
		return nil, err
	}
	if err := p.Rules.free(redactor); err != nil {
		return nil, err
	}
	art := collectors.NewArtifacts(redactor)
	info := rel.Info
	if p.Cluster != nil {
		info.Cluster = p.Cluster.Info.Fingerprint
	}
	known, err := p.sealBaseline(rel, art)
	if err == nil {
		err = p.sealRelease(rel, art, &info)
	}
	if err != nil {
		return nil, err
	}
	return p.judgeAndSeal(ctx, subject{info: info, release: rel, art: art, found: found, redactor: redactor, baseline: known})
}

// ClusterItself judges the cluster that the pipeline is connected to.
func (p *Pipeline) ClusterItself(ctx context.Context) (*Judged, error) {
	info := evidence.Release{
		Scope: evidence.ScopeCluster, Source: "cluster", Chart: "cluster", ReleaseName: "cluster",
		KubeVersion: minorVersion(p.Cluster.Info.Version), Cluster: p.Cluster.Info.Fingerprint, Images: []string{},
	}
	art := collectors.NewArtifacts(nil)
	if err := p.sealCommon(art, &info); err != nil {
		return nil, err
	}
	return p.judgeAndSeal(ctx, subject{info: info, art: art})
}

var minorPattern = regexp.MustCompile(`^v?([0-9]+\.[0-9]+)`)

// minorVersion is "1.37" of "v1.37.2-gke.100", or the whole of what is no version.
func minorVersion(v string) string {
	if m := minorPattern.FindStringSubmatch(v); m != nil {
		return m[1]
	}
	return strings.TrimSpace(v)
}

// subject is what one bundle is about, its records being sealed already.
type subject struct {
	info     evidence.Release
	release  *chart.Release // nil for the cluster itself
	art      *collectors.Artifacts
	found    *secrets.Report
	redactor collectors.Redactor // nil where there is nothing to redact
	drill    collectors.Lasting  // of scope drill: what is run
	baseline *evidence.BaselineRelease
}

// judgeAndSeal runs the collectors of the subject's scope, decides, seals and stores.
func (p *Pipeline) judgeAndSeal(ctx context.Context, s subject) (*Judged, error) {
	all, err := collectorList(collectorOptions{
		policies: p.Rules.Policies, found: s.found, schemas: p.Schemas, workers: p.Workers, bench: p.Bench, unsigned: p.UnsignedImage, unsignedIn: p.UnsignedNamespace, signatures: p.Signatures, images: p.Images, rotation: p.Rotation, access: p.Access,
	})
	if err != nil {
		return nil, err
	}
	list := p.pick(all, s.info.Scope)
	if s.drill != nil {
		list = []collectors.Collector{s.drill}
	}
	runs, err := collectors.Run(ctx, collectors.Input{Release: s.release, Cluster: p.Cluster}, list, s.art, collectors.RunOptions{
		Timeout: p.Timeout, Now: p.Now, Started: p.Started,
	})
	if err == nil {
		err = p.Workers.Settle()
	}
	if err != nil {
		return nil, err
	}
	for i := range runs {
		if s.redactor != nil {
			clean, _ := s.redactor.Redact([]byte(runs[i].Error))
			runs[i].Error = string(clean)
		}
	}
	sealed := collectors.NewSealedWith(s.art, config.RuleControls(), s.release)
	var before *collectors.Sealed
	if s.art.Replaced() > 0 {
		before = collectors.NewSealedWith(s.art.True(), config.RuleControls(), s.release)
	}
	findings, runs := collectors.DeriveLike(sealed, before, list, runs, p.Timeout)
	in := gate.Input{
		Profile: p.Rules.Profile, ProfileDigest: evidence.DigestOf(p.Rules.ProfileRaw),
		Catalog: p.Rules.Catalog, CatalogDigest: evidence.DigestOf(p.Rules.CatalogRaw),
		Findings: findings, Runs: runs, Waivers: p.Rules.Waivers, At: p.Now().UTC().Truncate(time.Microsecond),
		Baseline: s.baseline, Namespace: s.info.Namespace,
	}
	verdict := gate.Evaluate(in)
	// The record as sealed: in that of loading, secrets stand in clear.
	info, err := sealed.Release()
	if err != nil {
		return nil, err
	}
	out := &Judged{Release: *info, Runs: evidence.Runs{Tool: p.Tool, Rules: evidence.RulesVersion, Reports: evidence.ReportsVersion, Collectors: runs, OwnProfile: p.Rules.own()}, Findings: findings, Verdict: verdict, By: p.Rules}
	out.Figures, out.Unread = drillFigures(info, s.art, runs)
	if p.Snippets && s.release != nil {
		out.Snippets = snippets(findings, s.release, s.redactor)
	}
	if c := p.Rules.Counting; c.Any() {
		out.Counted, out.Verdict = c.Count(in, verdict), c.Part(verdict)
	}
	if p.Signer == nil {
		return out, nil
	}
	return out, p.seal(ctx, s.art.Files(), out)
}

// seal signs and stores a judged subject with its sealed files, and says in j what
// became of it.
func (p *Pipeline) seal(ctx context.Context, files map[string][]byte, j *Judged) (err error) {
	j.Runs.Repository = p.Repository
	if j.Runs.Repository == "" {
		if j.Runs.Repository, err = p.Repo.EnsureID(ctx, rand.Text()); err != nil {
			return strayed(err)
		}
	}
	j.Runs.Formats, j.Runs.OwnProfile = p.Formats, j.By.own()
	c := &bundle.Contents{Files: files, Runs: j.Runs, Findings: j.Findings, Verdict: j.Verdict, Inputs: j.Inputs}
	s := spool{files: map[string]repository.Content{}}
	defer func() { err = errors.Join(err, s.Close()) }()
	pkg, err := bundle.SealTo(ctx, c, p.Signer, Renderer(p.Formats), s.create)
	if err != nil {
		return fmt.Errorf("seal %s: %w", j.Release.Chart, err)
	}
	j.Bundle = pkg.ID
	_, j.PDF = s.files["report.pdf"]
	for name, raw := range pkg.Files {
		s.files[name] = repository.Bytes(raw)
	}
	return p.Repo.PutContents(ctx, repository.NewPointer(pkg.ID, &j.Release, &j.Verdict, &j.Runs), s.files)
}

// sealBaseline writes what is known of the release, and returns it as it is sealed; nil
// where no baseline was given.
func (p *Pipeline) sealBaseline(rel *chart.Release, art *collectors.Artifacts) (*evidence.BaselineRelease, error) {
	if p.Rules.Baseline == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	raw, err := bundle.CanonicalJSON(p.Rules.Baseline.Release(rel.Info.Chart, rel.Info.ReleaseName))
	if err != nil {
		return nil, fmt.Errorf("baseline of %s: %w", rel.Info.Chart, err)
	}
	if raw, err = art.Put(evidence.BaselineFile, raw); err != nil {
		return nil, err
	}
	known, err := bundle.ReadBaseline(raw)
	if err != nil {
		return nil, inputErr("the baseline holds a secret of chart %s: write it anew", rel.Info.Chart)
	}
	return known, nil
}

// sealRelease writes what loading saw, redacted, and completes release.json.
func (p *Pipeline) sealRelease(rel *chart.Release, art *collectors.Artifacts, info *evidence.Release) error {
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
	if err := sealSources(rel, sealed, art); err != nil {
		return err
	}
	info.Redactions = art.Replaced()
	return p.sealCommon(art, info)
}

// sealSources seals which lines of templates made the lines of the sealed manifests.
func sealSources(rel *chart.Release, sealed []byte, art *collectors.Artifacts) error {
	raw := rel.SourceMap
	if raw == nil {
		return nil
	}
	if !bytes.Equal(sealed, rel.Manifests) {
		m, err := manifest.ParseSourceMap(raw)
		if err != nil {
			return err
		}
		if m = m.Redacted(rel.Manifests, sealed); m == nil {
			return nil
		}
		if raw, err = m.Bytes(); err != nil {
			return err
		}
	}
	_, err := art.Put(collectors.SourcesFile, raw)
	return err
}

// sealCommon seals what every bundle holds: what it is judged by, the cluster that
// was looked at, and the completed release.json.
func (p *Pipeline) sealCommon(art *collectors.Artifacts, info *evidence.Release) error {
	for name, raw := range p.Rules.files() {
		if err := art.PutRule(name, raw); err != nil {
			return err
		}
	}
	if p.Cluster != nil {
		raw, err := bundle.CanonicalJSON(p.Cluster.Info)
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
