// Package dir keeps an evidence repository in a local directory, crash-safe:
// whatever is visible is whole and on disk.
package dir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/evidence/repository"
)

// staging holds what is being written. Its names begin with a dot, which
// repository keys may not, so nothing in it is ever read as evidence.
const staging = ".staging"

// abandoned is the age at which what a killed process left in staging is taken
// away by the next that writes; no write takes as long.
const abandoned = 24 * time.Hour

// Store is a directory.
type Store struct{ root string }

// Open returns the store at root. The directory is made at the first write, so
// that reading never creates anything.
func Open(root string) *Store { return &Store{root: filepath.Clean(root)} }

// URL implements repository.Store.
func (s *Store) URL() string { return s.root }

func (s *Store) file(key string) (string, error) {
	if err := repository.CheckKey(key); err != nil {
		return "", err
	}
	return filepath.Join(s.root, filepath.FromSlash(key)), nil
}

// Create implements repository.Store: a temporary file, fsync, then a hard
// link, which unlike a rename never replaces what is there.
func (s *Store) Create(ctx context.Context, key string, data []byte) error {
	target, err := s.file(key)
	if err != nil {
		return err
	}
	stage, err := s.stage()
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	tmp := filepath.Join(stage, "object")
	if err := writeDurably(tmp, data); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := mkdirDurably(filepath.Dir(target)); err != nil {
		return err
	}
	switch err := os.Link(tmp, target); {
	case errors.Is(err, fs.ErrExist):
		return s.same(key, data)
	case err != nil:
		return err
	}
	return syncDir(filepath.Dir(target))
}

// CreateTree implements repository.TreeCreator: all files are written and synced in a
// staging directory, which is then renamed to its place.
func (s *Store) CreateTree(ctx context.Context, prefix string, files map[string][]byte) error {
	target, err := s.file(strings.TrimSuffix(prefix, "/"))
	if err != nil {
		return err
	}
	stage, err := s.stage()
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	tree := filepath.Join(stage, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		if err := repository.CheckKey(name); err != nil || strings.Contains(name, "/") {
			return fmt.Errorf("file name %q is not allowed in a bundle", name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	// A disk makes several files durable in about the time of one.
	var g errgroup.Group
	for _, name := range names {
		g.Go(func() error { return writeDurably(filepath.Join(tree, name), files[name]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := syncDir(tree); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := mkdirDurably(filepath.Dir(target)); err != nil {
		return err
	}
	// Renaming a directory over a non-empty one fails, so nothing is ever replaced.
	if err := os.Rename(tree, target); err != nil {
		if _, statErr := os.Stat(target); statErr != nil {
			return err
		}
		return s.sameTree(prefix, names, files)
	}
	return syncDir(filepath.Dir(target))
}

func (s *Store) sameTree(prefix string, names []string, files map[string][]byte) error {
	var have []string
	if err := s.List(context.Background(), prefix, func(key string) error {
		have = append(have, strings.TrimPrefix(key, prefix))
		return nil
	}); err != nil {
		return err
	}
	slices.Sort(have)
	if !slices.Equal(have, names) {
		return fmt.Errorf("%s: %w", strings.TrimSuffix(prefix, "/"), repository.ErrExists)
	}
	for _, name := range names {
		if err := s.same(prefix+name, files[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) same(key string, data []byte) error {
	have, err := s.Read(context.Background(), key, int64(len(data)))
	if errors.Is(err, repository.ErrTooLarge) || err == nil && !bytes.Equal(have, data) {
		return fmt.Errorf("%s: %w", key, repository.ErrExists)
	}
	return err
}

// Read implements repository.Store.
func (s *Store) Read(ctx context.Context, key string, limit int64) ([]byte, error) {
	name, err := s.file(key)
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", key)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s: %d bytes: %w", key, st.Size(), repository.ErrTooLarge)
	}
	b := make([]byte, 0, st.Size()+1)
	buf := bytes.NewBuffer(b)
	if _, err := io.Copy(buf, io.LimitReader(f, limit+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if int64(buf.Len()) > limit {
		return nil, fmt.Errorf("%s: %w", key, repository.ErrTooLarge)
	}
	return buf.Bytes(), nil
}

// List implements repository.Store.
func (s *Store) List(ctx context.Context, prefix string, yield func(key string) error) error {
	dir := path.Dir(prefix + "x")
	root := s.root
	if dir != "." {
		var err error
		if root, err = s.file(dir); err != nil {
			return err
		}
	}
	// WalkDir visits a directory before its later siblings, "a/b" before "a-b";
	// keys are listed in byte order, so they are collected and sorted.
	var keys []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == root {
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		rel, err := filepath.Rel(s.root, name)
		if err != nil {
			return err
		}
		key := filepath.ToSlash(rel)
		if name != root && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			// Descend only where the prefix can match.
			if name != root && !strings.HasPrefix(key+"/", prefix) && !strings.HasPrefix(prefix, key+"/") {
				return fs.SkipDir
			}
			return nil
		}
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := yield(k); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) stage() (string, error) {
	base := filepath.Join(s.root, staging)
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("open repository: %w", err)
	}
	sweep(base)
	return os.MkdirTemp(base, "put-")
}

// sweep removes what is abandoned in base. What cannot be removed, another
// user's perhaps, takes room and is never read; it is no reason not to store.
func sweep(base string) {
	entries, err := os.ReadDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if st, err := e.Info(); err == nil && time.Since(st.ModTime()) > abandoned {
			_ = os.RemoveAll(filepath.Join(base, e.Name()))
		}
	}
}

func writeDurably(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// mkdirDurably makes dir and its parents and syncs each parent that got a new entry.
func mkdirDurably(dir string) error {
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := mkdirDurably(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
