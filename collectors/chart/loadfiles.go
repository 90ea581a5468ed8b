package chart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/ignore"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/worker"
)

// Limits on a chart: bytes unpacked (its packed subcharts included) and of one
// file, number of files, levels of folders, and charts packed in charts.
const (
	maxChartSize  = 100 << 20
	maxFileSize   = 20 << 20
	maxChartFiles = 20_000
	maxChartDepth = 64
	maxPacked     = 8
)

// errLink is a symbolic link that leads out of the chart, or one in an archive.
var errLink = errors.New("symbolic link")

// chartFile is a file of a chart with its bytes as they are.
type chartFile struct {
	name string // slash-separated, relative to the chart
	data []byte
}

// fileSet gathers a chart's files within the limits.
type fileSet struct {
	files []chartFile
	seen  map[string]bool
	size  int64
}

// add reads a file of the given size. Packed subcharts are unpacked in place.
func (s *fileSet) add(name string, size int64, r io.Reader, packed int) error {
	if err := checkName(name); err != nil {
		return err
	}
	if s.seen[name] {
		return fmt.Errorf("%s: file appears twice", name)
	}
	if len(s.files) >= maxChartFiles {
		return fmt.Errorf("more than %d files", maxChartFiles)
	}
	if size > maxFileSize {
		return fmt.Errorf("%s: %d bytes, at most %d are read", name, size, maxFileSize)
	}
	limit := min(maxFileSize, maxChartSize-s.size)
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case int64(len(data)) > limit && limit < maxFileSize:
		return fmt.Errorf("more than %d bytes unpacked", maxChartSize)
	case int64(len(data)) > limit:
		return fmt.Errorf("%s: more than %d bytes", name, maxFileSize)
	}
	s.size += int64(len(data))
	s.seen[name] = true
	if dir, base := path.Split(name); isPackedSubchart(name) {
		prefix, err := s.packedPrefix(dir, base, data)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := s.addArchive(data, prefix, packed+1); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	s.files = append(s.files, chartFile{name: name, data: data})
	return nil
}

// isPackedSubchart reports whether Helm loads the file as a packed dependency:
// a .tgz directly in a charts folder of the chart or of a subchart.
func isPackedSubchart(name string) bool {
	dir, base := path.Split(name)
	if path.Ext(base) != ".tgz" || strings.IndexAny(base, "_.") == 0 {
		return false
	}
	parts := strings.Split(strings.TrimSuffix(dir, "/"), "/")
	for i, p := range parts { // charts, charts/NAME/charts, …
		if i%2 == 0 && p != "charts" {
			return false
		}
	}
	return len(parts)%2 == 1
}

// packedPrefix names the folder for a packed subchart's files: charts/NAME/, as
// `helm package` writes it, or the archive's own name where that is taken.
func (s *fileSet) packedPrefix(dir, base string, raw []byte) (string, error) {
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	hd, err := tar.NewReader(zr).Next()
	if err != nil {
		return "", fmt.Errorf("read archive: %w", err)
	}
	top, _, _ := strings.Cut(strings.ReplaceAll(hd.Name, `\`, "/"), "/")
	for _, name := range []string{top, strings.TrimSuffix(base, ".tgz")} {
		// Helm leaves folders with such names out, but loads the archive.
		if strings.IndexAny(name, "_.") == 0 {
			continue
		}
		prefix := dir + name + "/"
		taken := slices.ContainsFunc(s.files, func(f chartFile) bool { return strings.HasPrefix(f.name, prefix) })
		if !taken && checkName(prefix+"x") == nil && !strings.HasSuffix(name, ".tgz") {
			return prefix, nil
		}
	}
	return "", errors.New("another subchart has the same name")
}

// addArchive adds the files of a packed chart under prefix.
func (s *fileSet) addArchive(raw []byte, prefix string, packed int) error {
	if packed > maxPacked {
		return fmt.Errorf("charts packed in charts more than %d times", maxPacked)
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return notPacked(raw, err)
	}
	// Headers and padding count as well: an archive of nothing else still ends.
	tr := tar.NewReader(io.LimitReader(zr, 2*maxChartSize))
	n := 0
	for {
		hd, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w after %d bytes", errCut, len(raw))
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if n++; n > 2*maxChartFiles {
			return fmt.Errorf("more than %d entries", 2*maxChartFiles)
		}
		switch hd.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg, '\x00':
		case tar.TypeSymlink, tar.TypeLink:
			return fmt.Errorf("%q is a link: %w in an archive", hd.Name, errLink)
		default:
			return fmt.Errorf("%q is no regular file", hd.Name)
		}
		full := strings.ReplaceAll(hd.Name, `\`, "/")
		top, name, found := strings.Cut(full, "/")
		if !found || top == "" || top == ".." {
			return fmt.Errorf("%q lies outside of the chart's folder", hd.Name)
		}
		name = strings.TrimPrefix(name, "./")
		if err := checkName(name); err != nil {
			return err
		}
		if err := s.add(prefix+name, hd.Size, tr, packed); errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w after %d bytes, in %s", errCut, len(raw), prefix+name)
		} else if err != nil {
			return err
		}
	}
	if n == 0 {
		return errors.New("no files in the archive")
	}
	return nil
}

// errCut is an archive that ends too early, errZip one that is of another kind.
var (
	errCut = errors.New("the archive is cut short: it ends")
	errZip = errors.New("a zip archive, and no packed chart (.tgz)")
)

// notPacked says what a file is that gzip does not read.
func notPacked(raw []byte, err error) error {
	switch {
	case len(raw) == 0:
		return errors.New("not a packed chart: the file is empty")
	case bytes.HasPrefix(raw, []byte("PK\x03\x04")):
		return errZip
	case bytes.HasPrefix(raw, []byte("\x1f\x8b")):
		return fmt.Errorf("%w after %d bytes", errCut, len(raw))
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = gzip.ErrHeader // a short text is no archive either
	}
	return fmt.Errorf("not a packed chart: %w", err)
}

// checkName refuses names that could leave the chart or forge a line.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > 1024:
		return fmt.Errorf("file name of %d bytes", len(name))
	case path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../"):
		return fmt.Errorf("%q lies outside of the chart's folder", name)
	case len(name) > 1 && name[1] == ':', strings.Contains(name, `\`):
		return fmt.Errorf("%q: file name with a drive or backslash", name)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) || strings.ContainsAny(name, "\u2028\u2029"):
		return fmt.Errorf("%q: file name with control characters or line ends", name)
	case strings.Count(name, "/") > maxChartDepth:
		return fmt.Errorf("%q: more than %d folders deep", name, maxChartDepth)
	}
	return nil
}

// readChartArchive reads a packed chart (.tgz).
func readChartArchive(raw []byte) ([]chartFile, error) {
	s := &fileSet{seen: map[string]bool{}}
	if err := s.addArchive(raw, "", 0); err != nil {
		return nil, err
	}
	return s.sorted(), nil
}

// readChartDir reads a chart's folder as Helm does: what .helmignore names is
// left out, symbolic links are followed, but never out of the folder unless
// follow is set.
func readChartDir(dir string, follow bool) ([]chartFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	w := &dirWalk{set: &fileSet{seen: map[string]bool{}}, dir: dir, root: root, follow: follow}
	if w.rules, err = w.ignoreRules(); err != nil {
		return nil, err
	}
	if err := w.walk(".", 0); err != nil {
		return nil, err
	}
	return w.set.sorted(), nil
}

type dirWalk struct {
	set    *fileSet
	dir    string
	root   *os.Root
	rules  *ignore.Rules
	follow bool
}

// open opens a file or folder of the chart.
func (w *dirWalk) open(name string) (*os.File, error) {
	f, err := w.root.Open(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if fi, lerr := w.root.Lstat(name); lerr == nil && fi.Mode()&fs.ModeSymlink == 0 {
		return nil, err
	}
	if w.follow {
		return os.Open(filepath.Join(w.dir, filepath.FromSlash(name)))
	}
	return nil, fmt.Errorf("%s: %w that leads out of the chart or in a circle", name, errLink)
}

func (w *dirWalk) ignoreRules() (*ignore.Rules, error) {
	rules := ignore.Empty()
	f, err := w.open(ignore.HelmIgnore)
	switch {
	case err == nil:
		defer f.Close()
		if rules, err = ignore.Parse(io.LimitReader(f, 1<<20)); err != nil {
			return nil, fmt.Errorf("%s: %w", ignore.HelmIgnore, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	rules.AddDefaults()
	return rules, nil
}

func (w *dirWalk) walk(dir string, depth int) error {
	if depth > maxChartDepth {
		return fmt.Errorf("%s: more than %d folders deep", dir, maxChartDepth)
	}
	d, err := w.open(dir)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if fi, err := e.Info(); err == nil && fi.Mode()&fs.ModeSymlink == 0 && w.rules.Ignore(name, fi) {
			continue
		}
		if err := w.entry(name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *dirWalk) entry(name string, depth int) error {
	// A pipe would block in open: look first.
	if fi, err := w.root.Stat(name); err == nil && !fi.IsDir() && !fi.Mode().IsRegular() {
		return fmt.Errorf("%s: neither a file nor a folder", name)
	}
	f, err := w.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	switch {
	case w.rules.Ignore(name, fi):
		return nil
	case fi.IsDir():
		return w.walk(name, depth+1)
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%s: neither a file nor a folder", name)
	}
	return w.set.add(name, fi.Size(), f, 0)
}

func (s *fileSet) sorted() []chartFile {
	slices.SortFunc(s.files, func(a, b chartFile) int { return strings.Compare(a.name, b.name) })
	return s.files
}

// buffered hands the files to Helm's loader, which wants no byte order mark.
func buffered(files []chartFile) []*archive.BufferedFile {
	out := make([]*archive.BufferedFile, len(files))
	for i, f := range files {
		out[i] = &archive.BufferedFile{Name: f.name, Data: bytes.TrimPrefix(f.data, []byte("\xef\xbb\xbf"))}
	}
	return out
}

// addFiles fills in the files, their records and the chart's digest: SHA-256
// over the sorted lines "<hex>  <name>\n", which sha256sum prints too.
func (r *Release) addFiles(files []chartFile) {
	var lines strings.Builder
	r.Files = make([]File, len(files))
	r.Record.Files = make([]FileRecord, len(files))
	for i, f := range files {
		d := evidence.DigestOf(f.data)
		r.Files[i] = File{Name: f.name, Data: f.data}
		r.Record.Files[i] = FileRecord{Name: f.name, Size: int64(len(f.data)), Digest: d}
		lines.WriteString(d.Hex() + "  " + f.name + "\n")
	}
	r.Info.ChartDigest = evidence.DigestOf([]byte(lines.String()))
}

// unpack writes the files to a temporary folder, which Close removes, and
// workers do where they are guarded.
func (r *Release) unpack(workers *worker.Pool) (err error) {
	tmp, err := os.MkdirTemp("", "helmproof-chart-")
	if err != nil {
		return err
	}
	workers.Removes(tmp)
	r.close = func() error { return os.RemoveAll(tmp) }
	r.Dir = filepath.Join(tmp, r.Info.Chart)
	if err := os.Mkdir(r.Dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(r.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, f := range r.Files {
		name := filepath.FromSlash(f.Name)
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		if err := root.WriteFile(name, f.Data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// errNoChart says that a folder holds no Chart.yaml, with the charts that lie below it.
type errNoChart struct{ below []string }

func (e *errNoChart) Error() string {
	const shown = 5
	switch n := len(e.below); {
	case n == 0:
		return "no Chart.yaml"
	case n > shown:
		return fmt.Sprintf("no Chart.yaml; charts below: %s and others", strings.Join(e.below[:shown], ", "))
	}
	return "no Chart.yaml; charts below: " + strings.Join(e.below, ", ")
}

// chartsBelow lists folders with a Chart.yaml up to three levels below dir, those of
// subcharts and of tests' data not among them. It looks at a bounded number of folders,
// at none whose name begins with a dot, and follows no links.
func chartsBelow(dir string) []string {
	const levels, folders, most = 3, 2000, 50
	var found []string
	seen := 0
	var walk func(at string, level int)
	walk = func(at string, level int) {
		if seen++; seen > folders || len(found) >= most {
			return
		}
		entries, err := os.ReadDir(at)
		if err != nil {
			return // it is a hint only
		}
		if level > 0 && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "Chart.yaml" }) {
			found = append(found, at)
			return
		}
		for _, e := range entries {
			if e.IsDir() && level < levels && !strings.HasPrefix(e.Name(), ".") && e.Name() != "testdata" {
				walk(filepath.Join(at, e.Name()), level+1)
			}
		}
	}
	walk(dir, 0)
	return found
}

// readLimited reads a file of at most limit bytes.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return b, nil
}

// hintFor says what to try after the usual failures of reading a chart.
func hintFor(err error) string {
	s := err.Error()
	switch {
	case errors.Is(err, errLink):
		return "put the file itself there, or package the chart with helm package"
	case errors.Is(err, errCut):
		return "fetch or package it again"
	case errors.Is(err, errZip):
		return "give a chart packed by helm package, or the folder that is in the zip"
	case strings.Contains(s, "Chart.yaml file is missing"):
		return "give the folder that holds Chart.yaml; for rendered YAML use --manifests"
	case errors.Is(err, gzip.ErrHeader) || errors.Is(err, tar.ErrHeader):
		return "give a chart packed by helm package; for rendered YAML use --manifests"
	}
	return ""
}
