package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
)

// repositoryID returns the id of the repository whose bundles count: that of
// --repository-id, or the one that this machine remembers; empty where there is
// neither. A repository that names another one is refused: whoever can write to it
// can swap what it says of itself.
func (a *app) repositoryID(ctx context.Context, repo *repository.Repository) (string, error) {
	id, from := a.cfg.RepositoryId, "--repository-id (or repositoryId in helmproof.yaml) says"
	if id == "" {
		file, err := memoryOf(repo)
		if err != nil {
			return "", err
		}
		if id, err = remembered(file); err != nil || id == "" {
			return "", err
		}
		from = file + " remembers"
	}
	stored, err := repo.ID(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist) || stored == id:
		return id, nil
	case errors.Is(err, repository.ErrStray):
		return "", &exitError{code: exitIntegrity, err: err}
	case err != nil:
		return "", err
	}
	return "", &exitError{code: exitIntegrity, err: fmt.Errorf("%s says that it is repository %s, but %s %s: its evidence is from elsewhere, or somebody swapped its id; "+
		"give the id that you trust with --repository-id", repo.URL(), stored, from, id)}
}

// existingRepo opens the configured repository for who only reads it: one that is not
// there is a mistake, and no empty one.
func (a *app) existingRepo(ctx context.Context) (*repository.Repository, error) {
	repo, err := a.openRepo(ctx)
	if err != nil {
		return nil, err
	}
	there, err := placeOfRepo(repo)
	if err == nil && !there {
		err = usageErr("there is no repository at %s: the first helmproof collect makes it; name another one with --repo", repo.URL())
	}
	return repo, err
}

// orNoRepo is err or, where a bundle was not found since the repository is not there,
// that.
func (a *app) orNoRepo(ctx context.Context, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, missing := a.existingRepo(ctx); missing != nil {
		return missing
	}
	return err
}

// placeOfRepo reports whether a repository's directory is there; one that lies in a
// service answers for itself. What is there and no directory is an error.
func placeOfRepo(repo *repository.Repository) (bool, error) {
	if strings.Contains(repo.URL(), "://") {
		return true, nil
	}
	info, err := os.Stat(repo.URL())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, usageErr("repository %s: %w", repo.URL(), err)
	case !info.IsDir():
		return false, usageErr("%s is no repository, but a file: name a directory or gs://bucket/prefix with --repo", repo.URL())
	}
	return true, nil
}

// sealedFor returns the id that new bundles of a repository name, and remembers it.
// The first bundle gives the repository its id.
func (a *app) sealedFor(ctx context.Context, repo *repository.Repository) (string, error) {
	want, err := a.repositoryID(ctx, repo)
	if err == nil {
		err = repo.Ready(ctx)
	}
	if err != nil {
		return "", err
	}
	id, err := repo.EnsureID(ctx, cmp.Or(want, rand.Text()))
	if errors.Is(err, repository.ErrStray) {
		return "", &exitError{code: exitIntegrity, err: err}
	}
	if err != nil || want != "" {
		return id, err
	}
	file, err := memoryOf(repo)
	if err == nil && file != "" {
		err = remember(file, id, repo)
	}
	if err != nil {
		a.log.Warn(fmt.Sprintf("the id of this repository (%s) is not remembered: %v; give --repository-id %s to gate", id, err, id))
	}
	return id, nil
}

// memoryOf is the file in the user's configuration folder that has the id of a
// repository; empty where there is no such folder, as in many a pipeline.
func memoryOf(repo *repository.Repository) (string, error) {
	base, err := os.UserConfigDir()
	if err != nil {
		return "", nil //nolint:nilerr // nothing is remembered where there is no place for it
	}
	place, err := placeOf(repo)
	if err != nil {
		return "", fmt.Errorf("id of the repository: %w", err)
	}
	return filepath.Join(base, "helmproof", "repositories", evidence.DigestOf([]byte(place)).Hex()), nil
}

// placeOf names a repository from wherever it is asked about: ./evidence-repo is
// another one in each folder.
func placeOf(repo *repository.Repository) (string, error) {
	if url := repo.URL(); strings.Contains(url, "://") {
		return url, nil
	}
	return filepath.Abs(repo.URL())
}

// remembered reads the first line of the file; nothing where there is none.
func remembered(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	raw, err := os.ReadFile(file) //nolint:gosec // in the user's own folder
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("id of the repository: %w", err)
	}
	id, _, _ := strings.Cut(string(raw), "\n")
	if err := repository.CheckID(id); err != nil {
		return "", usageErr("%s: %w; delete the file, or give --repository-id", file, err)
	}
	return id, nil
}

// remember writes the id, with the place that it is of for whoever reads the file.
// What is remembered already stays.
func remember(file, id string, repo *repository.Repository) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // another name of the same file, or of nothing
	place, err := placeOf(repo)
	if err == nil {
		_, err = fmt.Fprintf(tmp, "%s\n%s\n", id, place)
	}
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
