package osv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/osv-scalibr/artifact/image/layerscanning/image"
	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/enricher/vulnmatch/osvlocal"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/golang/gobinary"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/archive"
	archivemeta "github.com/google/osv-scalibr/extractor/filesystem/language/java/archive/metadata"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagejson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/php/composerlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/wheelegg"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemspec"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargoauditable"
	"github.com/google/osv-scalibr/extractor/filesystem/os/apk"
	apkmeta "github.com/google/osv-scalibr/extractor/filesystem/os/apk/metadata"
	"github.com/google/osv-scalibr/extractor/filesystem/os/dpkg"
	dpkgmeta "github.com/google/osv-scalibr/extractor/filesystem/os/dpkg/metadata"
	scalibrfs "github.com/google/osv-scalibr/fs"
	"github.com/google/osv-scalibr/inventory"
	scalibrlog "github.com/google/osv-scalibr/log"
	"github.com/google/osv-scalibr/plugin"
	"github.com/google/osv-scalibr/plugin/config"
	"github.com/google/osv-scalibr/stats"
	scalibrversion "github.com/google/osv-scalibr/version"
	osvpb "github.com/ossf/osv-schema/bindings/go/osvschema"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// Name is the scanner's name.
const Name = "osv"

// scannerName is what reports say.
const scannerName = "osv-scalibr"

// Limits on an image.
const (
	maxUnpacked = 32 << 30 // of all its layers, in bytes
	maxFile     = 1 << 30  // of one file, in bytes; a larger one is a gap where it may hold packages
	maxInodes   = 5_000_000
)

// Options says what to scan with.
type Options struct {
	// Database is the folder that Update fills.
	Database  string
	PlainHTTP bool              // talk to the registries without TLS
	Keychain  authn.Keychain    // credentials; nil: those of docker login
	Transport http.RoundTripper // nil: that of the registry client
	Workers   int               // images at once; 0: one per processor
	Now       func() time.Time  // the clock of reports
}

// Scanner is a scan.Scanner.
type Scanner struct {
	o          Options
	extractors []filesystem.Extractor
}

// New returns a scanner.
func New(o Options) (*Scanner, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	quiet()
	s := &Scanner{o: o}
	for _, f := range []func(*cpb.PluginConfig) (filesystem.Extractor, error){
		apk.New, dpkg.New, newRPM, gobinary.New, packagejson.New, wheelegg.New, archive.New, gemspec.New, cargoauditable.New, composerlock.New,
	} {
		e, err := f(&cpb.PluginConfig{})
		if err != nil {
			return nil, fmt.Errorf("osv-scalibr: %w", err)
		}
		s.extractors = append(s.extractors, e)
	}
	return s, nil
}

// silent keeps the engine's log lines off our output: what matters in them is in
// the statuses that it returns.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Error(...any)          {}
func (silent) Warnf(string, ...any)  {}
func (silent) Warn(...any)           {}
func (silent) Infof(string, ...any)  {}
func (silent) Info(...any)           {}
func (silent) Debugf(string, ...any) {}
func (silent) Debug(...any)          {}

var quiet = sync.OnceFunc(func() { scalibrlog.SetLogger(silent{}) })

// Name implements scan.Scanner.
func (*Scanner) Name() string { return Name }

// State implements scan.Scanner. It reads the database's archives: one that was
// changed since it was fetched is an error.
func (s *Scanner) State(ctx context.Context) (evidence.Digest, error) {
	db, err := Open(s.o.Database)
	if err != nil {
		return "", err
	}
	if err := db.check(ctx, s.o.Database); err != nil {
		return "", err
	}
	state := []string{scalibrversion.ScannerVersion}
	for _, e := range s.extractors {
		state = append(state, fmt.Sprintf("%s/%d", e.Name(), e.Version()))
	}
	for _, e := range db.Ecosystems {
		state = append(state, e.Name, string(e.Digest))
	}
	raw, err := json.Marshal(state)
	if err != nil {
		return "", err
	}
	return evidence.DigestOf(raw), nil
}

// report is the raw report of an image; osv-scanner's own members are results.
type report struct {
	Scanner   tool           `json:"scanner"`
	ScannedAt time.Time      `json:"scannedAt"`
	Database  databaseReport `json:"database"`
	Image     imageReport    `json:"image"`
	Gaps      []string       `json:"gaps,omitempty"`
	Packages  int            `json:"packages"`
	Results   []result       `json:"results"`
}

type tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type databaseReport struct {
	BuiltAt    time.Time   `json:"builtAt"` // of the oldest part that was needed
	Ecosystems []Ecosystem `json:"ecosystems"`
}

type imageReport struct {
	Reference string   `json:"reference"`
	Digests   []string `json:"digests"` // of the index, if it is one, and of the manifest
	ID        string   `json:"id"`      // of the configuration
	Platform  string   `json:"platform"`
}

type result struct {
	Source   source    `json:"source"`
	Packages []packagE `json:"packages"`
}

type source struct {
	Path string `json:"path"`
	Type string `json:"type"`
}

type packagE struct {
	Package         packageInfo       `json:"package"`
	Groups          []group           `json:"groups"`
	Vulnerabilities []json.RawMessage `json:"vulnerabilities"`
}

type packageInfo struct {
	Name      string `json:"name"`                      // that the database knows: of the source package
	OSName    string `json:"os_package_name,omitempty"` // that is installed
	Version   string `json:"version"`
	Ecosystem string `json:"ecosystem"`
	PURL      string `json:"purl,omitempty"`
}

type group struct {
	IDs     []string `json:"ids"`
	Aliases []string `json:"aliases"`
}

// scanned is an image between extraction and report.
type scanned struct {
	report   report
	packages []*extractor.Package
	err      error
}

// Scan implements scan.Scanner. Packages of all targets are matched at once, so
// that the database is read once.
func (s *Scanner) Scan(ctx context.Context, targets []scan.Target, done func(int, scan.Result)) error {
	db, err := Open(s.o.Database)
	if err != nil {
		return err
	}
	images := make([]*scanned, len(targets))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.o.Workers)
	for i, t := range targets {
		g.Go(func() error {
			images[i] = s.extract(gctx, t)
			return context.Cause(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	found, err := s.match(ctx, db, images)
	if err != nil {
		return err
	}
	for i, img := range images {
		if img.err != nil {
			done(i, scan.Result{Err: img.err})
			continue
		}
		raw, err := s.finish(db, img, found)
		done(i, scan.Result{Raw: raw, Err: err})
	}
	return nil
}

// extract pulls an image and lists its packages.
func (s *Scanner) extract(ctx context.Context, t scan.Target) (out *scanned) {
	out = &scanned{}
	defer func() {
		if p := recover(); p != nil {
			out.err = fmt.Errorf("osv-scalibr panicked: %v", p)
		}
	}()
	img, digests, err := s.pull(ctx, t)
	if err != nil {
		out.err = explain(ctx, err)
		return out
	}
	if out.err = s.describe(out, t, img, digests); out.err != nil {
		return out
	}
	b := &bounded{Image: img, extractors: s.extractors, read: maxUnpacked, unpacked: maxUnpacked, entries: maxInodes}
	cfg := image.DefaultConfig()
	cfg.MaxFileBytes = maxFile
	unpacked, err := image.FromV1Image(b, cfg)
	if err = errors.Join(b.failure(), err); err != nil {
		if p := oci.ProblemOf(ctx, err); p != nil && p.Kind == oci.Altered {
			err = p
		}
		out.err = fmt.Errorf("unpack the image: %w", err)
		return out
	}
	defer func() { out.err = errors.Join(out.err, unpacked.CleanUp()) }()
	inv, status, err := filesystem.Run(ctx, &filesystem.Config{
		Extractors: s.extractors, ScanRoots: []*scalibrfs.ScanRoot{{FS: unpacked.FS()}}, MaxInodes: maxInodes, Stats: stats.NoopCollector{},
	})
	if err != nil {
		out.err = fmt.Errorf("list the packages: %w", err)
		return out
	}
	for _, st := range status {
		if st.Status.Status != plugin.ScanStatusSucceeded {
			out.report.Gaps = append(out.report.Gaps, fmt.Sprintf("%s: %s", st.Name, oci.Clip(strings.Join(strings.Fields(st.Status.FailureReason), " "))))
		}
	}
	out.report.Gaps = append(out.report.Gaps, b.passedOver...)
	out.packages = inv.Packages
	return out
}

// explain says what an error of the registry means.
func explain(ctx context.Context, err error) error {
	var known *oci.Problem
	if errors.As(err, &known) {
		return err
	}
	if p := oci.ProblemOf(ctx, err); p != nil {
		return p
	}
	return err
}

// pull returns the image for the target's platform with all its digests.
func (s *Scanner) pull(ctx context.Context, t scan.Target) (v1.Image, []string, error) {
	how := oci.Options{PlainHTTP: s.o.PlainHTTP, Keychain: s.o.Keychain, Transport: s.o.Transport}
	ref, err := name.NewDigest(t.Reference, how.Names()...)
	if err != nil {
		return nil, nil, err
	}
	platform, err := v1.ParsePlatform(t.Platform)
	if err != nil {
		return nil, nil, err
	}
	desc, err := remote.Get(ref, append(how.Remote(), remote.WithContext(ctx), remote.WithPlatform(*platform))...)
	if err != nil {
		return nil, nil, err
	}
	digests := []string{ref.DigestStr()}
	img, err := desc.Image()                                                   // of an index: the one for the platform
	if err != nil && strings.Contains(err.Error(), "no child with platform") { // the client has no type for it
		return nil, nil, &oci.Problem{Kind: oci.Missing, Text: "the index has no image for " + t.Platform}
	}
	if err != nil {
		return nil, nil, err
	}
	d, err := img.Digest()
	if err != nil {
		return nil, nil, err
	}
	if d.String() != ref.DigestStr() {
		digests = append(digests, d.String())
	}
	return img, digests, nil
}

func (s *Scanner) describe(out *scanned, t scan.Target, img v1.Image, digests []string) error {
	id, err := img.ConfigName()
	if err != nil {
		return err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return err
	}
	platform := strings.TrimSuffix(cfg.OS+"/"+cfg.Architecture+"/"+cfg.Variant, "/")
	if cfg.OS == "" || cfg.Architecture == "" {
		platform = ""
	}
	out.report = report{
		Scanner: tool{scannerName, scalibrversion.ScannerVersion}, ScannedAt: s.o.Now().UTC().Truncate(time.Second),
		Image: imageReport{Reference: t.Reference, Digests: digests, ID: id.String(), Platform: platform},
	}
	return nil
}

// key is the same for packages that the same vulnerabilities affect.
func key(p *extractor.Package) string {
	return strings.Join([]string{p.Name, sourceName(p), p.Version, p.Ecosystem().String(), purlOf(p)}, "\x00")
}

func purlOf(p *extractor.Package) string {
	if u := p.PURL(); u != nil {
		return u.String()
	}
	return ""
}

func sourceName(p *extractor.Package) string {
	switch m := p.Metadata.(type) {
	case *dpkgmeta.Metadata:
		return m.SourceName
	case *apkmeta.Metadata:
		return m.OriginName
	}
	return ""
}

var pythonSeparators = regexp.MustCompile(`[-_.]+`)

// databaseName is the package's name in records, as the engine looks it up.
func databaseName(p *extractor.Package) string {
	if src := sourceName(p); src != "" {
		return src
	}
	switch p.Ecosystem().Ecosystem {
	case "Go":
		if p.Name == "go" {
			return "stdlib"
		}
	case "PyPI":
		return strings.ToLower(pythonSeparators.ReplaceAllLiteralString(p.Name, "-"))
	}
	if m, ok := p.Metadata.(*archivemeta.Metadata); ok && m.ArtifactID != "" && m.GroupID != "" {
		return m.GroupID + ":" + m.ArtifactID
	}
	return p.Name
}

// match returns the records by the packages' keys.
func (s *Scanner) match(ctx context.Context, db *Database, images []*scanned) (found map[string][]*osvpb.Vulnerability, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("osv-scalibr panicked: %v", p)
		}
	}()
	inv := &inventory.Inventory{}
	seen := map[string]bool{}
	for _, img := range images {
		for _, p := range img.packages {
			// The engine fails where it has no archive; finish makes a gap of it.
			if k := key(p); !seen[k] && db.find(string(p.Ecosystem().Ecosystem)) != nil {
				seen[k] = true
				inv.Packages = append(inv.Packages, p)
			}
		}
	}
	found = map[string][]*osvpb.Vulnerability{}
	if len(inv.Packages) == 0 {
		return found, nil
	}
	enricher, err := osvlocal.New(&config.PluginConfig{
		ClientFactories: config.NewDefaultClientFactories("helmproof"),
		ProtoConfig: &cpb.PluginConfig{PluginSpecific: []*cpb.PluginSpecificConfig{{Config: &cpb.PluginSpecificConfig_Osvlocal{
			Osvlocal: &cpb.OSVLocalConfig{LocalPath: s.o.Database, Download: false},
		}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("osv-scalibr: %w", err)
	}
	if err := enricher.Enrich(ctx, nil, inv); err != nil {
		return nil, fmt.Errorf("match packages: %w", err)
	}
	for _, v := range inv.PackageVulns {
		found[key(v.Package)] = append(found[key(v.Package)], v.Vulnerability)
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b *osvpb.Vulnerability) int { return strings.Compare(a.GetId(), b.GetId()) })
	}
	return found, nil
}

// finish writes the report of an image.
func (s *Scanner) finish(db *Database, img *scanned, found map[string][]*osvpb.Vulnerability) ([]byte, error) {
	r := &img.report
	r.Packages = len(img.packages)
	r.Results = []result{}
	needed := map[string]bool{}
	missing := map[string]int{}
	byPath := map[string]*result{}
	slices.SortFunc(img.packages, func(a, b *extractor.Package) int { return strings.Compare(key(a), key(b)) })
	for _, p := range img.packages {
		eco := string(p.Ecosystem().Ecosystem)
		if db.find(eco) == nil {
			if eco == "" {
				eco = "a distribution that is not known"
				if !slices.ContainsFunc(p.Plugins, func(s string) bool { return strings.HasPrefix(s, "os/") }) {
					eco = "an ecosystem that is not known"
				}
			}
			missing[eco]++
			continue
		}
		needed[eco] = true
		list := found[key(p)]
		if len(list) == 0 {
			continue
		}
		at := path.Join("/", p.Location.PathOrEmpty())
		res := byPath[at]
		if res == nil {
			res = &result{Source: source{at, "image"}}
			byPath[at] = res
		}
		pkg, err := packageOf(p, list)
		if err != nil {
			return nil, err
		}
		res.Packages = append(res.Packages, *pkg)
	}
	for _, at := range slices.Sorted(keys(byPath)) {
		r.Results = append(r.Results, *byPath[at])
	}
	for _, eco := range slices.Sorted(keys(missing)) {
		n := missing[eco]
		r.Gaps = append(r.Gaps, fmt.Sprintf("%d packages of %s were not looked at: the database has nothing about it", n, eco))
	}
	for _, e := range db.Ecosystems {
		if !needed[e.Name] {
			continue
		}
		r.Database.Ecosystems = append(r.Database.Ecosystems, e)
		if r.Database.BuiltAt.IsZero() || e.BuiltAt.Before(r.Database.BuiltAt) {
			r.Database.BuiltAt = e.BuiltAt
		}
		if e.Unreadable > 0 {
			r.Gaps = append(r.Gaps, fmt.Sprintf("%d records about %s in the database cannot be read by this version", e.Unreadable, e.Name))
		}
	}
	if len(img.packages) == 0 {
		r.Gaps = append(r.Gaps, "no package was found in the image: what it holds otherwise is not looked at")
	}
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return nil, err
	}
	return append(raw, '\n'), nil
}

func packageOf(p *extractor.Package, list []*osvpb.Vulnerability) (*packagE, error) {
	out := &packagE{Package: packageInfo{Name: databaseName(p), Version: p.Version, Ecosystem: p.Ecosystem().String(), PURL: purlOf(p)}}
	if sourceName(p) != "" {
		out.Package.OSName = p.Name
	}
	for _, v := range list {
		raw, err := protojson.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", v.GetId(), err)
		}
		out.Vulnerabilities = append(out.Vulnerabilities, raw)
	}
	out.Groups = groups(list)
	return out, nil
}

// groups puts records together that are about the same, as osv-scanner does: one
// is an alias of the other, or they share an alias.
func groups(list []*osvpb.Vulnerability) []group {
	var out []group
	taken := make([]bool, len(list))
	for i := range list {
		if taken[i] {
			continue
		}
		g := group{}
		ids := map[string]bool{}
		for grown := true; grown; {
			grown = false
			for j := i; j < len(list); j++ {
				v := list[j]
				all := append([]string{v.GetId()}, v.GetAliases()...)
				if taken[j] || len(g.IDs) > 0 && !slices.ContainsFunc(all, func(s string) bool { return ids[s] }) {
					continue
				}
				taken[j], grown = true, true
				g.IDs = append(g.IDs, v.GetId())
				for _, s := range append(all, v.GetUpstream()...) {
					ids[s] = true
				}
			}
		}
		g.Aliases = slices.Sorted(keys(ids))
		slices.Sort(g.IDs)
		out = append(out, g)
	}
	return out
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
