package chart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/downloader"
	"helm.sh/helm/v4/pkg/getter"
	"helm.sh/helm/v4/pkg/registry"
	"helm.sh/helm/v4/pkg/repo/v1"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/canonical"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/internal/worker"
)

// DefaultKubeVersion is the Kubernetes version that charts are rendered for
// unless LoadOptions says another.
const DefaultKubeVersion = "1.37.0"

// Sources of a release, in evidence.Release.Source.
const (
	SourceChart     = "chart"
	SourceManifests = "manifests"
)

// LoadOptions says how to load and render. The zero value renders with the
// chart's defaults.
type LoadOptions struct {
	// Values as Helm takes them, in Helm's order. ValueFiles and SetFile name
	// local files ("-" among ValueFiles is Stdin); URLs are refused, so that the
	// values are always bytes that the user has at hand.
	ValueFiles, Set, SetString, SetFile, SetJSON []string

	ReleaseName string // default: the chart's name
	Namespace   string // default: "default"
	KubeVersion string // default: DefaultKubeVersion
	APIVersions []string

	ChartRepo string // URL of the chart repository that holds the named chart
	Version   string // version, or range, of a fetched chart; default: the newest
	PlainHTTP bool   // talk to OCI registries without TLS (insecure)

	// ImageFields are fields of custom resources that name images, besides those
	// that are known.
	ImageFields []manifest.ImageField

	// FollowSymlinks also reads what symbolic links in a chart directory point to
	// outside of it, as Helm does. Without it such a link is refused.
	FollowSymlinks bool

	Stdin io.Reader `json:"-"` // for "-"; nil means there is none

	// Workers are child processes that read, validate and render the chart: what a
	// hostile one does to memory and time it does to one of them. nil: this process
	// does it, in which a chart can take all that there is.
	Workers *worker.Pool `json:"-"`
}

// Stages of loading, in LoadError.
const (
	StageFetch        = "fetch"
	StageLoad         = "load"
	StageDependencies = "dependencies"
	StageValues       = "values"
	StageSchema       = "schema"
	StageRender       = "render"
)

// ErrLibrary says that a chart is a library: there is nothing to judge.
var ErrLibrary = errors.New("a library chart renders nothing by itself")

// MissingError says which charts are dependencies in Chart.yaml and are not there.
type MissingError struct{ Names []string }

func (e *MissingError) Error() string {
	return "in Chart.yaml but not in charts/: " + strings.Join(e.Names, ", ")
}

// LoadError says why a release could not be loaded. Its text is one line.
type LoadError struct {
	Ref   string // as the user wrote it
	Stage string // one of the Stage constants
	Err   error
	Hint  string // what the user can try next; may be empty
	// Loaded is what was loaded of the release until then, so that secrets can be
	// looked for that Err may show; nil where that is nothing.
	Loaded *Release
}

func (e *LoadError) Error() string {
	s := e.Stage + " " + e.Ref + ": " + oneLine(e.Err.Error())
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *LoadError) Unwrap() error { return e.Err }

// oneLine folds a message of several lines, cut at a length that a terminal
// still shows.
func oneLine(s string) string {
	const limit = 800
	fields := strings.Fields(s)
	s = strings.Join(fields, " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// Load loads the chart at ref, a directory, a .tgz, an oci:// reference or the
// name of a chart in o.ChartRepo or in a repository that Helm is configured
// with ("repo/name"), and renders it: without a cluster, without network
// access, and with the same bytes every time. The caller closes the release.
// Errors are *LoadError, or ctx's cause.
//
// Load returns when ctx ends. What then still runs in a child process is killed.
// Without one it ends by itself: a template at its next output, turn of a loop,
// include or tpl; a schema when it has been validated. A fetch, for which Helm's
// downloader takes neither a context nor a limit of size, ends with its connection.
func Load(ctx context.Context, ref string, o LoadOptions) (*Release, error) {
	l := &load{ref: ref, o: o}
	rel, err := l.run(ctx)
	if err == nil {
		return rel, nil
	}
	var le *LoadError
	if rel != nil {
		if errors.As(err, &le) {
			le.Loaded = rel
		}
		err = errors.Join(err, rel.Close())
	}
	if ctx.Err() != nil && le == nil && !errors.As(err, &le) {
		return nil, fmt.Errorf("load %s: %w", ref, context.Cause(ctx))
	}
	return nil, err
}

// load is one call of Load.
type load struct {
	ref    string
	o      LoadOptions
	stored bool // what Helm installed is judged, not the rendering
	// copied are the temporary files that stand for what the user gave, and its names.
	copied map[string]string
}

func (l *load) fail(stage string, err error, hint string) error {
	return &LoadError{Ref: l.ref, Stage: stage, Err: err, Hint: hint}
}

func (l *load) run(ctx context.Context) (*Release, error) {
	path, err := l.locate(ctx)
	if err != nil {
		return nil, err
	}
	done, err := l.localValues(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	var rel *Release
	if !l.o.Workers.Here() {
		rel, err = l.remotely(ctx, opLoad, &loadRequest{Path: path})
	} else {
		rel, err = worker.Do(ctx, l.o.Workers, func() (*Release, error) { return l.fromPath(ctx, path) })
		var le *LoadError
		if err != nil && !errors.As(err, &le) {
			err = l.fail(StageRender, fmt.Errorf("not finished: %w", err), "")
		}
	}
	if err != nil {
		return rel, l.asGiven(err)
	}
	// Here, not in the child: the objects are needed where they are judged.
	set, err := rel.Objects()
	if err != nil {
		return rel, l.fail(StageRender, err, "")
	}
	rel.Info.Images = manifest.Images(set, l.o.ImageFields)
	if rel.Dir == "" {
		if err := rel.unpack(l.o.Workers); err != nil {
			return rel, l.fail(StageLoad, err, "")
		}
	}
	return rel, nil
}

// fromPath loads the chart from this machine. Dir stays empty where the chart is
// to be unpacked.
func (l *load) fromPath(ctx context.Context, path string) (*Release, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, l.fail(StageLoad, err, "")
	}
	rel := new(Release)
	var files []chartFile
	if fi.IsDir() {
		if _, err := os.Lstat(filepath.Join(path, "Chart.yaml")); errors.Is(err, fs.ErrNotExist) {
			below := chartsBelow(path)
			hint := "give the folder that holds Chart.yaml; for rendered YAML use --manifests"
			if len(below) > 0 {
				hint = "give one of them, or several as a glob"
			}
			return nil, l.fail(StageLoad, &errNoChart{below}, hint)
		}
		files, err = readChartDir(path, l.o.FollowSymlinks)
		rel.Dir = path
	} else {
		var raw []byte
		if raw, err = readLimited(path, maxChartSize); err == nil {
			rel.Info.ArchiveDigest = evidence.DigestOf(raw)
			files, err = readChartArchive(raw)
		}
	}
	if err != nil {
		return nil, l.fail(StageLoad, err, hintFor(err))
	}
	return rel, l.fromFiles(ctx, rel, files)
}

// fromFiles fills rel in from the chart's files.
func (l *load) fromFiles(ctx context.Context, rel *Release, files []chartFile) error {
	rel.addFiles(files)
	c, err := loader.LoadFiles(buffered(files))
	if err != nil {
		return l.fail(StageLoad, err, hintFor(err))
	}
	sortDependencies(c)
	caps, err := l.capabilities()
	if err != nil {
		return err
	}
	if err := l.describe(rel, c, caps); err != nil {
		return err
	}
	if err := l.checkChart(c, caps); err != nil {
		return err
	}
	if rel.UserValues, err = l.userValues(); err != nil {
		return err
	}
	scope, err := l.values(rel, c, caps)
	if err != nil {
		return err
	}
	if rel.Manifests, err = l.render(ctx, rel, c, scope); err != nil {
		return err
	}
	rel.Info.ManifestsDigest = evidence.DigestOf(rel.Manifests)
	return nil
}

// locate returns the path of the chart on this machine, fetching it when it is
// not there.
func (l *load) locate(ctx context.Context) (string, error) {
	remote := registry.IsOCI(l.ref) || l.o.ChartRepo != ""
	if !remote {
		if _, err := os.Stat(l.ref); err == nil {
			return l.ref, nil
		}
		if filepath.IsAbs(l.ref) || strings.HasPrefix(l.ref, ".") || strings.Count(l.ref, "/") != 1 {
			return "", l.fail(StageLoad, errors.New("no such file or directory"),
				"give a chart directory, a .tgz, oci://…, repo/name, or a name with --chart-repo URL")
		}
	}
	type result struct {
		path string
		err  error
	}
	// Helm's downloader takes no context; a fetch that is given up ends with its
	// own connection.
	done := make(chan result, 1)
	go func() {
		p, err := fetchChart(l.ref, l.o)
		done <- result{p, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return "", l.fail(StageFetch, r.err, "check the name, --version and the network, or fetch it with helm pull and give the .tgz")
		}
		return r.path, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// fetchChart downloads into Helm's cache with Helm's settings and credentials.
func fetchChart(ref string, o LoadOptions) (string, error) {
	settings := cli.New()
	opts := []registry.ClientOption{
		registry.ClientOptWriter(io.Discard),
		registry.ClientOptEnableCache(true),
		registry.ClientOptCredentialsFile(settings.RegistryConfig),
	}
	if o.PlainHTTP {
		opts = append(opts, registry.ClientOptPlainHTTP())
	}
	rc, err := registry.NewClient(opts...)
	if err != nil {
		return "", err
	}
	dl := downloader.ChartDownloader{
		Out:              io.Discard,
		Getters:          getter.All(settings),
		Options:          []getter.Option{getter.WithPlainHTTP(o.PlainHTTP), getter.WithRegistryClient(rc)},
		RepositoryConfig: settings.RepositoryConfig,
		RepositoryCache:  settings.RepositoryCache,
		ContentCache:     settings.ContentCache,
		RegistryClient:   rc,
	}
	version := strings.TrimSpace(o.Version)
	if o.ChartRepo != "" {
		if ref, err = repo.FindChartInRepoURL(o.ChartRepo, ref, dl.Getters, repo.WithChartVersion(version)); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(settings.RepositoryCache, 0o750); err != nil {
		return "", err
	}
	name, _, err := dl.DownloadToCache(ref, version)
	if err != nil {
		return "", err
	}
	return filepath.Abs(name)
}

func (l *load) capabilities() (*common.Capabilities, error) {
	v := l.o.KubeVersion
	if v == "" {
		v = DefaultKubeVersion
	}
	kv, err := common.ParseKubeVersion(v)
	if err != nil {
		return nil, l.fail(StageValues, fmt.Errorf("kube version %q: %w", v, err), "write it as 1.37 or 1.37.2")
	}
	caps := &common.Capabilities{KubeVersion: *kv, APIVersions: append(slices.Clone(APIVersions(*kv)), l.o.APIVersions...)}
	setHelmVersion(caps, false)
	return caps, nil
}

// describe fills in what is known before rendering.
func (l *load) describe(rel *Release, c *chartv2.Chart, caps *common.Capabilities) error {
	md := map[string]any{}
	for _, f := range rel.Files {
		if f.Name == "Chart.yaml" {
			if err := yaml.Unmarshal(f.Data, &md); err != nil {
				return l.fail(StageLoad, fmt.Errorf("read Chart.yaml: %w", err), "")
			}
		}
	}
	rel.Record.Metadata = md
	rel.Record.APIVersions = slices.Sorted(slices.Values(l.o.APIVersions))
	rel.Record.Capabilities = map[string]string{"kubeVersion": caps.KubeVersion.Version}
	rel.Info.Scope = evidence.ScopeRelease
	rel.Info.Source = SourceChart
	rel.Info.Chart, rel.Info.Version, rel.Info.AppVersion = c.Name(), c.Metadata.Version, c.Metadata.AppVersion
	rel.Info.ReleaseName = l.o.ReleaseName
	if rel.Info.ReleaseName == "" {
		rel.Info.ReleaseName = defaultReleaseName(c.Name())
	}
	if err := chartutil.ValidateReleaseName(rel.Info.ReleaseName); err != nil {
		return l.fail(StageValues, err, "give another one with --release-name")
	}
	rel.Info.Namespace = l.o.Namespace
	if rel.Info.Namespace == "" {
		rel.Info.Namespace = "default"
	}
	rel.Info.KubeVersion = caps.KubeVersion.Major + "." + caps.KubeVersion.Minor
	return nil
}

// defaultReleaseName is the chart's name, or Helm's placeholder where that is
// no release name.
func defaultReleaseName(chart string) string {
	if chartutil.ValidateReleaseName(chart) == nil {
		return chart
	}
	return "release-name"
}

// checkChart refuses what `helm install` refuses.
func (l *load) checkChart(c *chartv2.Chart, caps *common.Capabilities) error {
	switch c.Metadata.Type {
	case "", "application":
	case "library":
		return l.fail(StageLoad, ErrLibrary, "give a chart that uses it")
	default:
		return l.fail(StageLoad, fmt.Errorf("chart type %q cannot be installed", c.Metadata.Type), "")
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, caps.KubeVersion.String()) {
		return l.fail(StageLoad, fmt.Errorf("the chart wants Kubernetes %s, which %s is not", want, caps.KubeVersion.Version),
			"choose another with --kube-version")
	}
	var missing []string
	for _, d := range c.Metadata.Dependencies {
		if d != nil && !slices.ContainsFunc(c.Dependencies(), func(s *chartv2.Chart) bool { return s.Name() == d.Name }) {
			missing = append(missing, d.Name)
		}
	}
	if len(missing) > 0 {
		return l.fail(StageDependencies, &MissingError{missing},
			"run: helm dependency build "+l.ref)
	}
	return nil
}

// sortDependencies undoes the random order in which Helm's loader adds them.
func sortDependencies(c *chartv2.Chart) {
	deps := slices.Clone(c.Dependencies())
	slices.SortStableFunc(deps, func(a, b *chartv2.Chart) int {
		if n := strings.Compare(a.Name(), b.Name()); n != 0 {
			return n
		}
		return strings.Compare(a.Metadata.Version, b.Metadata.Version)
	})
	for _, d := range deps {
		sortDependencies(d)
	}
	c.SetDependencies(deps...)
}

// canonicalDigest is the digest of v as canonical JSON (RFC 8785).
func canonicalDigest(v any) (evidence.Digest, error) {
	b, err := canonical.JSON(v)
	if err != nil {
		return "", err
	}
	return evidence.DigestOf(b), nil
}
