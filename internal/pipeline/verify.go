package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
)

// NewVerifier returns a verifier with this program's own collectors and
// renderers. repo holds the bundles that composed ones rest on.
func NewVerifier(trust *attest.Trust, repo *repository.Repository, limits bundle.Limits, tool string) *bundle.Verifier {
	v := &bundle.Verifier{Trust: trust, Replay: Replay, Render: Renderer(config.Formats()), Limits: limits, Tool: tool}
	v.Compose = recompose(v, repo)
	return v
}

// ReadBundle reads a bundle's files from a directory or from the repository, as
// stored and unverified. ref is a directory, the beginning of an id, or latest.
// The id of a directory is its name when that is one, else that of its evidence.
func ReadBundle(ctx context.Context, repo *repository.Repository, ref string) (evidence.Digest, map[string][]byte, error) {
	if st, err := os.Stat(ref); err == nil && st.IsDir() {
		files, err := readBundleDir(ref)
		if err != nil {
			return "", nil, err
		}
		abs, err := filepath.Abs(ref)
		if err != nil {
			return "", nil, err
		}
		id, err := evidence.ParseDigest(filepath.Base(abs))
		if err != nil {
			id = evidence.DigestOf(files[bundle.EvidenceFile])
		}
		return id, files, nil
	}
	id, err := repo.Resolve(ctx, ref)
	if err != nil {
		return "", nil, notFound(err)
	}
	files, err := repo.Get(ctx, id)
	return id, files, notFound(err)
}

// notFound makes an id that is not there an input error.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, repository.ErrBadID) {
		return &InputError{err}
	}
	return err
}

func readBundleDir(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	if len(entries) > 64 {
		return nil, inputErr("%s: %d files: not a bundle", dir, len(entries))
	}
	files := map[string][]byte{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("read bundle: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() > repository.MaxFileSize {
			return nil, inputErr("%s: %s is not a file of a bundle", dir, e.Name())
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, fmt.Errorf("read bundle: %w", err)
		}
	}
	if _, ok := files[bundle.EvidenceFile]; !ok {
		return nil, inputErr("%s: no %s: not a bundle", dir, bundle.EvidenceFile)
	}
	return files, nil
}

// Verified is a bundle that was verified, with its files and what verification found.
type Verified struct {
	*bundle.Bundle
	Files  map[string][]byte
	Result *bundle.Result
}

// OpenVerified reads a bundle (see ReadBundle), verifies it, and only then opens
// it. One that does not verify is an IntegrityError.
func OpenVerified(ctx context.Context, v *bundle.Verifier, repo *repository.Repository, ref string) (*Verified, error) {
	id, files, err := ReadBundle(ctx, repo, ref)
	if err != nil {
		return nil, err
	}
	return verified(ctx, v, files, id)
}

// stored verifies and opens a bundle of the repository.
func stored(ctx context.Context, v *bundle.Verifier, repo *repository.Repository, id evidence.Digest) (*Verified, error) {
	files, err := repo.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return verified(ctx, v, files, id)
}

func verified(ctx context.Context, v *bundle.Verifier, files map[string][]byte, id evidence.Digest) (*Verified, error) {
	r := v.Verify(ctx, files, id)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if !r.OK() {
		return nil, integrityErr("bundle %s is not verified: %s", id.Short(), r.Reason())
	}
	return &Verified{Bundle: r.Verified(), Files: files, Result: r}, nil
}
