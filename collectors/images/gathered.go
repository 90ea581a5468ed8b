package images

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/bom"
)

// Limits on scan reports.
const (
	maxReports = 10_000
	maxVersion = 1 << 20 // of what a scanner says of itself, in bytes
)

// Sources says where evidence about images comes from.
type Sources struct {
	// Reports are scan reports: files, directories of them, and DIGEST=FILE for
	// reports that do not name the image's digest themselves.
	Reports []string
	// ScannerVersion is a file with the output of `trivy version --format json`, which
	// says how old the database was for Trivy's reports; empty: none.
	ScannerVersion string
	VEX            []string // OpenVEX documents
	KEV, EPSS      string   // lists; empty: none
	// Resolve asks the registry what tags and digests name.
	Resolve   bool
	Platforms []string
	Scanners  []scan.Scanner
	// Cache is the directory that keeps results of scanners; empty: they are scanned again.
	Cache string

	Now func() time.Time // the clock by which results of scanners are swept

	PlainHTTP bool              // talk to the registries without TLS
	Keychain  authn.Keychain    // credentials; nil: those of docker login
	Transport http.RoundTripper // nil: that of the registry client
}

// Gathered is what is known of images in one run of the program, for all of its
// releases: each report is read once, each image asked for and scanned once.
type Gathered struct {
	src     Sources
	reports []*reportFile
	version *file
	vex     []file
	kev     *list[kevEntry]
	epss    *list[float64]
	// Warnings are what a user should know of the files.
	Warnings []string

	images   map[string]*resolved
	failures []failure
	scanned  map[evidence.Digest]bool
	temp     string // directory of results without a cache; empty: none was made
}

type file struct {
	name string
	raw  []byte
}

// reportFile is a scan report on disk with what it is about.
type reportFile struct {
	path     string
	name     string
	scanner  string          // as the report says
	digest   evidence.Digest // of the file
	declared evidence.Digest
	version  *file             // what the scanner said of itself; nil: nothing
	digests  []evidence.Digest // of manifests and indexes that it names
	about    []evidence.Digest // those and others that it may be found by
	ids      []string          // of vulnerabilities; only where there are lists
}

// Gather reads the files. An error names the file that cannot be used.
func Gather(ctx context.Context, src Sources) (*Gathered, error) {
	g := &Gathered{src: src, images: map[string]*resolved{}, scanned: map[evidence.Digest]bool{}}
	var err error
	if g.kev, g.epss, err = readKnown(src); err != nil {
		return nil, err
	}
	if g.vex, err = readVEX(src.VEX); err != nil {
		return nil, err
	}
	if src.ScannerVersion != "" {
		raw, err := readBounded(src.ScannerVersion, maxVersion)
		if err != nil {
			return nil, fmt.Errorf("scanner's version: %w", err)
		}
		if _, _, err := scan.ReadTrivyVersion(raw); err != nil {
			return nil, fmt.Errorf("scanner's version %s: %w", src.ScannerVersion, err)
		}
		g.version = &file{filepath.Base(src.ScannerVersion), raw}
	}
	for _, arg := range src.Reports {
		if err := g.read(ctx, arg); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Close removes what was kept for the run.
func (g *Gathered) Close() error {
	if g == nil || g.temp == "" {
		return nil
	}
	return os.RemoveAll(g.temp)
}

// read reads FILE, DIR or DIGEST=FILE.
func (g *Gathered) read(ctx context.Context, arg string) error {
	path, declared := arg, evidence.Digest("")
	if digest, rest, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(digest, "sha256:") {
		d, err := evidence.ParseDigest(digest)
		if err != nil {
			return fmt.Errorf("scan report %s: %w", arg, err)
		}
		path, declared = rest, d
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("scan report: %w", err)
	}
	if !info.IsDir() {
		return g.add(path, declared, nil)
	}
	if declared != "" {
		return fmt.Errorf("scan report %s: a digest is that of one image, and %s is a directory", arg, path)
	}
	before := len(g.reports)
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if ext := strings.ToLower(filepath.Ext(p)); !d.Type().IsRegular() || ext != ".json" && ext != ".sarif" {
			return nil
		}
		err = g.add(p, "", nil)
		if errors.Is(err, scan.ErrFormat) {
			g.Warnings = append(g.Warnings, err.Error()+": passed over")
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("scan reports in %s: %w", path, err)
	}
	if len(g.reports) == before {
		return fmt.Errorf("scan reports in %s: there are none (*.json, *.sarif)", path)
	}
	return nil
}

// add reads one report from disk, for what it is about.
func (g *Gathered) add(path string, declared evidence.Digest, version *file) error {
	if len(g.reports) == maxReports {
		return fmt.Errorf("more than %d scan reports", maxReports)
	}
	r, sum, err := readReport(path)
	if err != nil {
		return fmt.Errorf("scan report %s: %w", path, err)
	}
	if slices.ContainsFunc(g.reports, func(o *reportFile) bool { return o.digest == sum && o.declared == declared }) {
		return nil
	}
	rf := &reportFile{path: path, name: filepath.Base(path), scanner: r.Scanner, digest: sum, declared: declared, version: version, digests: r.Image.Digests, about: slices.Clone(r.Image.Digests)}
	if r.Image.ID != "" {
		rf.about = append(rf.about, r.Image.ID)
	}
	if declared != "" {
		rf.about = append(rf.about, declared)
	}
	if len(rf.about) == 0 && version == nil {
		g.Warnings = append(g.Warnings, fmt.Sprintf("scan report %s names no digest of an image: it is about none; give it as sha256:…=%s", path, path))
	}
	if rf.version == nil {
		rf.version = g.version
	}
	if g.kev != nil || g.epss != nil {
		seen := map[string]bool{}
		for _, v := range r.Vulnerabilities {
			for _, id := range append([]string{v.ID}, v.Aliases...) {
				seen[id] = true
			}
		}
		rf.ids = sortedKeys(seen)
	}
	g.reports = append(g.reports, rf)
	return nil
}

// readReport streams a file through the reader of reports and a digest, which is that
// of its text: of what is sealed.
func readReport(path string) (*scan.Report, evidence.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	r, err := scan.Read(io.TeeReader(bom.Reader(f), h), scan.DefaultLimits())
	if err != nil {
		return nil, "", err
	}
	return r, evidence.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}

// seal writes what is known about the release's images.
func (g *Gathered) seal(ctx context.Context, images []string, out evidence.ArtifactWriter) (*record, error) {
	rec := &record{Asked: len(g.src.Reports)+len(g.src.Scanners) > 0}
	s := sealer{out: out, done: map[string]bool{}, reports: map[evidence.Digest]string{}}
	about := map[evidence.Digest]bool{}
	for _, image := range images {
		r := g.images[image]
		if r == nil {
			if p, err := parseImage(image); err == nil && p.digest != "" {
				about[p.digest] = true
			}
			continue
		}
		for _, d := range r.digests() {
			about[d] = true
		}
		if g.src.Resolve {
			if err := s.resolved(rec, r); err != nil {
				return nil, err
			}
		}
	}
	ids := map[string]bool{}
	// In which order scans ended does not show.
	reports := slices.SortedFunc(slices.Values(g.reports), func(a, b *reportFile) int {
		return cmp.Or(cmp.Compare(a.scanner, b.scanner), cmp.Compare(a.digest, b.digest), cmp.Compare(a.declared, b.declared))
	})
	for _, r := range reports {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(r.about, func(d evidence.Digest) bool { return about[d] }) {
			rec.Others++
			continue
		}
		if err := s.report(rec, r); err != nil {
			return nil, err
		}
		for _, id := range r.ids {
			ids[id] = true
		}
	}
	for _, f := range g.failures {
		if about[f.Digest] {
			rec.Failures = append(rec.Failures, f)
		}
	}
	for i, v := range g.vex {
		name := fmt.Sprintf("vex/%03d.json", i+1)
		if err := s.write(name, v.raw); err != nil {
			return nil, err
		}
		rec.VEX = append(rec.VEX, fileRecord{v.name, folder + name})
	}
	if g.kev != nil {
		rec.KEV = &g.kev.listRecord
		if err := s.rows(&rec.KEV, "kev.json", g.kev.only(ids)); err != nil {
			return nil, err
		}
	}
	if g.epss != nil {
		rec.EPSS = &g.epss.listRecord
		if err := s.rows(&rec.EPSS, "epss.json", g.epss.only(ids)); err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// sealer writes each artifact once.
type sealer struct {
	out     evidence.ArtifactWriter
	done    map[string]bool
	reports map[evidence.Digest]string // names of sealed reports
}

func (s *sealer) write(name string, raw []byte) error {
	if s.done[name] {
		return nil
	}
	s.done[name] = true
	return s.out.Write(name, raw)
}

// report seals a report; it has to be what was read of it before.
func (s *sealer) report(rec *record, r *reportFile) error {
	raw, err := readBounded(r.path, scan.DefaultLimits().MaxBytes)
	if err != nil {
		return fmt.Errorf("scan report: %w", err)
	}
	if d := evidence.DigestOf(raw); d != r.digest {
		return fmt.Errorf("scan report %s: it was changed while it was used", r.path)
	}
	name := s.reports[r.digest]
	if name == "" {
		name = fmt.Sprintf("reports/%03d-%s.json", len(s.reports)+1, ruleID(r.scanner))
		s.reports[r.digest] = name
		if err := s.write(name, raw); err != nil {
			return err
		}
	}
	rr := reportRecord{fileRecord: fileRecord{r.name, folder + name}, Declared: r.declared}
	if r.version != nil {
		name := "reports/version-" + evidence.DigestOf(r.version.raw).Short() + ".json"
		if err := s.write(name, r.version.raw); err != nil {
			return err
		}
		rr.Version = folder + name
	}
	rec.Reports = append(rec.Reports, rr)
	return nil
}

func (s *sealer) rows(rec **listRecord, name string, rows any) error {
	r := **rec
	r.Artifact = folder + name
	*rec = &r
	if s.done[name] {
		return nil
	}
	s.done[name] = true
	return collectors.WriteJSON(s.out, name, rows)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
