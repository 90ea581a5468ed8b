package pipeline

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
	"github.com/companyos/helmproof/evidence/repository/gcs"
	"github.com/companyos/helmproof/internal/keyref"
	"github.com/companyos/helmproof/internal/kms"
)

// OpenRepository opens a repository: the URL picks the backend.
func OpenRepository(ctx context.Context, repo string) (*repository.Repository, error) {
	if !strings.Contains(repo, "://") {
		return repository.New(dir.Open(repo)), nil
	}
	u, err := url.Parse(repo)
	if err != nil {
		return nil, inputErr("repository %q: %w", repo, err)
	}
	switch u.Scheme {
	case "file":
		return repository.New(dir.Open(filepath.FromSlash(u.Path))), nil
	case "gs":
		s, err := gcs.Open(ctx, u.Host, u.Path)
		if err != nil {
			return nil, err
		}
		return repository.New(s), nil
	}
	return nil, inputErr("repository %q: want a directory, file:///path or gs://bucket/prefix", repo)
}

// OpenSigner opens a signing key: a file, or a key in a key management service.
// tsa is the URL of a timestamp authority; empty: nothing proves when.
func OpenSigner(ctx context.Context, key, tsa string, password func() ([]byte, error)) (attest.Signer, error) {
	var s attest.Signer
	if keyref.Is(key) {
		k, err := kms.Open(ctx, key)
		if err != nil {
			return nil, err
		}
		if s, err = attest.ServiceSigner(k); err != nil {
			return nil, inputErr("--key %s: %w", key, err)
		}
	} else {
		var err error
		if s, err = attest.LoadSigner(key, password); err != nil {
			return nil, &InputError{err}
		}
	}
	if tsa != "" {
		return attest.WithTimestampAuthority(s, tsa, nil)
	}
	return s, nil
}

// OpenTrust returns the keys that verification accepts: files, directories of
// *.pub, and keys in key management services.
func OpenTrust(ctx context.Context, keys []string) (*attest.Trust, error) {
	var paths, services []string
	for _, k := range keys {
		if keyref.Is(k) {
			services = append(services, k)
		} else {
			paths = append(paths, k)
		}
	}
	t, err := attest.LoadTrust(paths)
	if err != nil {
		return nil, &InputError{err}
	}
	for _, s := range services {
		key, err := kms.Open(ctx, s)
		if err != nil {
			return nil, err
		}
		raw, err := key.PublicPEM()
		if err == nil {
			err = t.Add(raw)
		}
		if err != nil {
			return nil, inputErr("trusted key %s: %w", s, err)
		}
	}
	return t, nil
}
