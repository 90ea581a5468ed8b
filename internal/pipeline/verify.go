package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/report"
)

// NewVerifier returns a verifier with this program's own collectors and
// renderers. repo holds the bundles that composed ones rest on.
func NewVerifier(trust *attest.Trust, repo *repository.Repository, limits bundle.Limits, tool string) *bundle.Verifier {
	catalog, _ := config.Catalog()
	v := &bundle.Verifier{Catalog: catalog, ParseCatalog: parseCatalog, Trust: trust, Replay: Replay, Render: Renderer(config.Formats()), Limits: limits, Tool: tool, Builtin: builtinProfile}
	v.Compose = recompose(v, repo)
	return v
}

// Found is a bundle as it was found, unverified.
type Found struct {
	ID    evidence.Digest // empty: nothing but the evidence itself names the bundle
	Files bundle.Source
	Copy  bool     // a copy in a folder, of which something may be absent; else a repository's
	Extra []string // names of what lies beside a copy and is no part of it; folders end in a slash
	More  bool     // there is more of that than Extra names

	pointers []string               // of a repository's bundle: the keys of those that name it
	repo     *repository.Repository // which they are of
}

// Verify verifies the bundle, strictly where it is a repository's.
func (f *Found) Verify(ctx context.Context, v *bundle.Verifier) *bundle.Result {
	if f.Copy {
		return v.VerifyCopyFrom(ctx, f.Files, f.ID)
	}
	r := v.VerifyFrom(ctx, f.Files, f.ID)
	if f.repo == nil {
		return r
	}
	c := bundle.Check{Name: "pointer", Outcome: evidence.OutcomeNotChecked, Reason: "an earlier check failed"}
	switch b := r.Verified(); {
	case b == nil:
	case len(f.pointers) == 0:
		c.Outcome, c.Reason = evidence.OutcomeNotApplicable, "none lists the bundle, which counts all the same"
	default:
		c.Outcome, c.Reason = evidence.OutcomePass, "the pointer that lists the bundle says what the bundle says"
		if err := samePointers(ctx, f.repo, f.pointers, b); err != nil {
			c.Outcome, c.Reason = evidence.OutcomeFail, err.Error()
		}
	}
	r.Add(c)
	return r
}

// FindBundle reads the files of a bundle. ref is the folder of a copy, its
// evidence.zip by whatever name, the beginning of an id in the repository, or
// latest: the bundle that was judged last as v finds it signed. signature is the
// file with the signature of a copy's evidence where it is not beside it; empty
// otherwise.
func FindBundle(ctx context.Context, v *bundle.Verifier, repo *repository.Repository, ref, signature string) (*Found, error) {
	st, err := os.Stat(ref)
	switch {
	case err == nil && st.IsDir():
		return findCopy(ref, bundle.EvidenceFile, signature)
	case err == nil:
		return findCopy(filepath.Dir(ref), filepath.Base(ref), signature)
	case strings.ContainsRune(ref, filepath.Separator) || strings.HasSuffix(ref, ".zip"):
		return nil, inputErr("%s: no such file or folder", ref)
	case signature != "":
		return nil, inputErr("--signature goes with a bundle's folder or its evidence.zip; the repository has the signature of bundle %s", ref)
	}
	var id evidence.Digest
	if ref == latest {
		id, err = newest(ctx, repo, v)
	} else {
		id, err = repo.Resolve(ctx, ref)
	}
	if errors.Is(err, repository.ErrBadID) {
		return nil, inputErr("%w; nor is there such a file or folder", err)
	}
	if err != nil {
		return nil, notFound(err)
	}
	pointed, err := repo.Pointed(ctx)
	if err != nil {
		return nil, strayed(err)
	}
	f, err := inRepository(ctx, repo, id, pointed[id])
	if err == nil && len(f.pointers) == 0 && len(f.Files.Names()) == 0 {
		err = fmt.Errorf("bundle %s in %s: %w", id.Short(), repo.URL(), fs.ErrNotExist)
	}
	if err != nil {
		return nil, notFound(err)
	}
	return f, nil
}

// inRepository finds a bundle of the repository; of one that is gone there are no files.
func inRepository(ctx context.Context, repo *repository.Repository, id evidence.Digest, pointers []string) (*Found, error) {
	f := &Found{ID: id, Files: bundle.Files{}, repo: repo, pointers: pointers}
	files, err := repo.Open(ctx, id)
	if err == nil {
		f.Files = files
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return f, nil
}

const latest = "latest"

// EachBundle calls yield for every bundle of the repository, also for those of which
// nothing but a pointer is left.
func EachBundle(ctx context.Context, repo *repository.Repository, yield func(*Found) error) error {
	return EachBundleOf(ctx, repo, func(evidence.Digest) bool { return true }, yield)
}

// EachBundleOf is EachBundle for the bundles that wanted picks. It asks about every id
// before the first bundle is opened: of the others, nothing is read.
func EachBundleOf(ctx context.Context, repo *repository.Repository, wanted func(evidence.Digest) bool, yield func(*Found) error) error {
	pointed, err := repo.Pointed(ctx)
	if err != nil {
		return strayed(err)
	}
	ids, err := repo.Bundles(ctx)
	if err != nil {
		return strayed(err)
	}
	for id := range pointed {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id evidence.Digest) bool { return !wanted(id) })
	for _, id := range ids {
		f, err := inRepository(ctx, repo, id, pointed[id])
		if err != nil {
			return err
		}
		if err := yield(f); err != nil {
			return err
		}
	}
	return nil
}

// notFound makes an id that is not there an input error.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, repository.ErrBadID) {
		return &InputError{err}
	}
	return err
}

const (
	// maxListed bounds how many names of a copy's folder are looked at.
	maxListed = 1000
	// maxReports bounds how many reports of a copy are read; six are known.
	maxReports = 64
	zipMagic   = "PK\x03\x04"
)

// findCopy reads a copy of a bundle: of the folder's files those that a bundle
// has, and no others. The folder's name counts where it is an id.
func findCopy(dir, evidenceName, signature string) (*Found, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	defer root.Close()
	c := &copied{dir: dir, files: map[string]string{}}
	f := &Found{Copy: true, Files: c}
	// read takes a file as one of the bundle; one that is not there is absent.
	read := func(file, as string) error {
		r, _, err := openFile(root, file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return inputErr("%s: %w", dir, err)
		}
		c.files[as] = file
		return r.Close()
	}
	if err := read(evidenceName, bundle.EvidenceFile); err != nil {
		return nil, err
	}
	if _, ok := c.files[bundle.EvidenceFile]; !ok {
		return nil, inputErr("%s: no %s: not a bundle", dir, bundle.EvidenceFile)
	}
	if evidenceName != bundle.EvidenceFile && !c.isZip() {
		return nil, inputErr("%s: not a bundle's evidence: give its %s, or its folder", filepath.Join(dir, evidenceName), bundle.EvidenceFile)
	}
	names := []string{bundle.SignatureFile, bundle.ReportsFile, bundle.VSAFile}
	for _, x := range report.Formats() {
		names = append(names, x.FileName)
	}
	for _, name := range names {
		if err := read(name, name); err != nil {
			return nil, err
		}
	}
	signed, err := c.signedReports()
	if err != nil {
		return nil, inputErr("%s: %w", dir, err)
	}
	if len(signed) > maxReports {
		return nil, inputErr("%s: %s names %d reports: not a bundle's", dir, bundle.ReportsFile, len(signed))
	}
	for _, name := range signed {
		if _, ok := c.files[name]; ok || name == evidenceName {
			continue
		}
		if err := read(name, name); err != nil {
			return nil, err
		}
	}
	if signature != "" {
		if c.signature, err = readSignature(signature); err != nil {
			return nil, err
		}
		c.files[bundle.SignatureFile] = ""
	}
	if f.Extra, f.More, err = extra(root, c.files, evidenceName); err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if id, err := evidence.ParseDigest(filepath.Base(abs)); err == nil {
		f.ID = id
	}
	return f, nil
}

// copied is the files of a copy, read when they are opened.
type copied struct {
	dir       string
	files     map[string]string // name in the bundle → name in the folder
	signature []byte            // given apart from the folder; nil: none
}

// Names implements bundle.Source.
func (c *copied) Names() []string { return slices.Sorted(maps.Keys(c.files)) }

// Open implements bundle.Source.
func (c *copied) Open(name string) (io.ReadCloser, int64, error) {
	if name == bundle.SignatureFile && c.signature != nil {
		return io.NopCloser(bytes.NewReader(c.signature)), int64(len(c.signature)), nil
	}
	file, ok := c.files[name]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return nil, 0, fmt.Errorf("read bundle: %w", err)
	}
	defer root.Close()
	return openFile(root, file)
}

// isZip reports whether the evidence begins as a zip does.
func (c *copied) isZip() bool {
	f, _, err := c.Open(bundle.EvidenceFile)
	if err != nil {
		return false
	}
	defer f.Close()
	begin := make([]byte, len(zipMagic))
	_, err = io.ReadFull(f, begin)
	return err == nil && string(begin) == zipMagic
}

// signedReports are the names that the reports' signature gives, unverified.
func (c *copied) signedReports() ([]string, error) {
	if _, ok := c.files[bundle.ReportsFile]; !ok {
		return nil, nil
	}
	raw, err := bundle.ReadFile(c, bundle.ReportsFile, bundle.MaxSignature)
	return bundle.SignedReports(raw), err
}

// openFile opens a regular file of a folder, within the size that a repository
// reads. A link that leads out of the folder is refused.
func openFile(root *os.Root, name string) (io.ReadCloser, int64, error) {
	if _, err := root.Lstat(name); err != nil {
		return nil, 0, err
	}
	st, err := root.Stat(name) // opening a device may do something
	if err != nil || !st.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file of this folder", name)
	}
	file, st, err := openRegular(root.OpenFile, name)
	if err != nil {
		return nil, 0, err
	}
	if st.Size() > repository.MaxFileSize {
		return nil, 0, errors.Join(fmt.Errorf("%s is larger than %d MiB: not a file of a bundle", name, repository.MaxFileSize>>20), file.Close())
	}
	return file, st.Size(), nil
}

// openRegular opens a file to read, and holds that it is a regular one, which it may
// have ceased to be since it was looked at: opening a pipe would wait for a writer.
func openRegular(open func(name string, flag int, perm fs.FileMode) (*os.File, error), name string) (*os.File, fs.FileInfo, error) {
	file, err := open(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	st, err := file.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, st, nil
}

// readSignature reads the file that --signature names.
func readSignature(name string) ([]byte, error) {
	st, err := os.Stat(name)
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, inputErr("--signature %s: %w", name, err)
	}
	file, _, err := openRegular(os.OpenFile, name)
	if err != nil {
		return nil, inputErr("--signature %s: %w", name, err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, bundle.MaxSignature+1))
	if err == nil && len(raw) > bundle.MaxSignature {
		err = fmt.Errorf("%s is larger than %d MiB: not a file of a bundle", name, bundle.MaxSignature>>20)
	}
	if err != nil {
		return nil, inputErr("--signature: %w", err)
	}
	return raw, nil
}

// extra names, sorted, what lies in the folder and was not read as the bundle's;
// more reports that there was more than is looked at.
func extra(root *os.Root, files map[string]string, evidenceName string) (names []string, more bool, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxListed + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	for _, e := range entries[:min(len(entries), maxListed)] {
		name := e.Name()
		if _, ok := files[name]; ok && name != bundle.EvidenceFile || name == evidenceName {
			continue
		}
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, len(entries) > maxListed, nil
}

// Verified is a bundle that was verified, with its signature files and what
// verification found.
type Verified struct {
	*bundle.Bundle
	Files  bundle.Files
	Result *bundle.Result
}

// OpenVerified reads a bundle (see FindBundle), verifies it, and only then opens
// it. One that does not verify is an IntegrityError.
func OpenVerified(ctx context.Context, v *bundle.Verifier, repo *repository.Repository, ref, signature string) (*Verified, error) {
	f, err := FindBundle(ctx, v, repo, ref, signature)
	if err != nil {
		return nil, err
	}
	return verified(ctx, v, f)
}

// stored verifies and opens a bundle of the repository.
func stored(ctx context.Context, v *bundle.Verifier, repo *repository.Repository, id evidence.Digest) (*Verified, error) {
	files, err := repo.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return verified(ctx, v, &Found{ID: id, Files: files})
}

func verified(ctx context.Context, v *bundle.Verifier, f *Found) (*Verified, error) {
	r := f.Verify(ctx, v)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if !r.OK() {
		return nil, integrityErr("bundle %s is not verified: %s", r.Bundle.Short(), r.Reason())
	}
	return &Verified{Bundle: r.Verified(), Files: r.Signatures(), Result: r}, nil
}
