// Package dir keeps an evidence repository in a local directory, crash-safe:
// whatever is visible is whole and on disk. Who can write to the directory cannot
// lead it out: everything below it is opened through os.Root, one directory after
// the other, and only directories and regular files are, never a symbolic link.
package dir

import (
	"bytes"
	"context"
	"crypto/rand"
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

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
)

// staging holds what is being written. Its names begin with a dot, which
// repository keys may not, so nothing in it is ever read as evidence.
const staging = ".staging"

// abandoned is the age at which what a killed process left in staging is taken
// away by the next that writes; no write takes as long.
const abandoned = 24 * time.Hour

// Store is a directory. Its methods return when their context ends, whatever the
// file system does: a call that hangs is left behind.
type Store struct {
	root string
	sync func(*os.File) error // makes a file or the entries of a directory durable
}

// Open returns the store at root. The directory is made at the first write, so
// that reading never creates anything.
func Open(root string) *Store { return &Store{root: filepath.Clean(root), sync: (*os.File).Sync} }

// URL implements repository.Store.
func (s *Store) URL() string { return s.root }

// Ready implements repository.Readier: there is a place to write to, and what lies where
// bundles and pointers go is a directory.
func (s *Store) Ready(ctx context.Context) error {
	_, err := await(ctx, func() (none, error) { return none{}, s.ready() })
	return err
}

func (s *Store) ready() error {
	w, err := s.begin()
	if err != nil {
		return err
	}
	defer w.end()
	for _, name := range []string{"bundles", "releases"} {
		d, err := openDir(w.root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := d.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Create implements repository.Store: a temporary file, fsync, then a hard
// link, which unlike a rename never replaces what is there.
func (s *Store) Create(ctx context.Context, key string, data []byte) error {
	if err := repository.CheckKey(key); err != nil {
		return err
	}
	_, err := await(ctx, func() (none, error) { return none{}, s.create(ctx, key, data) })
	return err
}

func (s *Store) create(ctx context.Context, key string, data []byte) error {
	w, err := s.begin()
	if err != nil {
		return err
	}
	defer w.end()
	if err := s.write(w.stage, "object", repository.Bytes(data)); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	parent, err := s.makeDir(w.root, path.Dir(key))
	if err != nil {
		return err
	}
	defer parent.Close()
	switch err := w.root.Link(path.Join(w.name, "object"), key); {
	case errors.Is(err, fs.ErrExist):
		return s.same(ctx, key, data)
	case err != nil:
		return err
	}
	return s.syncDir(parent)
}

// CreateTree implements repository.TreeCreator: all files are written and synced in a
// staging directory, which is then renamed to its place.
func (s *Store) CreateTree(ctx context.Context, prefix string, files map[string]repository.Content) error {
	if err := repository.CheckKey(strings.TrimSuffix(prefix, "/")); err != nil {
		return err
	}
	for name := range files {
		if err := repository.CheckKey(name); err != nil || strings.Contains(name, "/") {
			return fmt.Errorf("file name %q is not allowed in a bundle", name)
		}
	}
	_, err := await(ctx, func() (none, error) { return none{}, s.createTree(ctx, prefix, files) })
	return err
}

func (s *Store) createTree(ctx context.Context, prefix string, files map[string]repository.Content) error {
	w, err := s.begin()
	if err != nil {
		return err
	}
	defer w.end()
	if err := w.stage.Mkdir("tree", 0o755); err != nil {
		return err
	}
	tree, err := openDir(w.stage, "tree")
	if err != nil {
		return err
	}
	defer tree.Close()
	// A disk makes several files durable in about the time of one.
	var g errgroup.Group
	for name, content := range files {
		g.Go(func() error { return s.write(tree, name, content) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.syncDir(tree); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	target := strings.TrimSuffix(prefix, "/")
	parent, err := s.makeDir(w.root, path.Dir(target))
	if err != nil {
		return err
	}
	defer parent.Close()
	// Renaming a directory over a non-empty one fails, so nothing is ever replaced.
	if err := w.root.Rename(path.Join(w.name, "tree"), target); err != nil {
		if _, statErr := parent.Lstat(path.Base(target)); statErr != nil {
			return err
		}
		return s.sameTree(ctx, prefix, files)
	}
	return s.syncDir(parent)
}

func (s *Store) sameTree(ctx context.Context, prefix string, files map[string]repository.Content) error {
	have, err := s.list(ctx, prefix)
	if err != nil {
		return err
	}
	if len(have) != len(files) {
		return fmt.Errorf("%s: %w", strings.TrimSuffix(prefix, "/"), repository.ErrExists)
	}
	for _, key := range have {
		content, ok := files[strings.TrimPrefix(key, prefix)]
		if !ok {
			return fmt.Errorf("%s: %w", key, repository.ErrExists)
		}
		if err := s.sameContent(key, content); err != nil {
			return err
		}
	}
	return nil
}

// sameContent is same for content that need not be in memory.
func (s *Store) sameContent(key string, content repository.Content) error {
	var digests [2]evidence.Digest
	for i, open := range []repository.Content{content, func() (io.ReadCloser, error) {
		f, _, err := s.open(key)
		return f, err
	}} {
		f, err := open()
		if err != nil {
			return err
		}
		digests[i], err = evidence.DigestOfReader(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if digests[0] != digests[1] {
		return fmt.Errorf("%s: %w", key, repository.ErrExists)
	}
	return nil
}

func (s *Store) same(ctx context.Context, key string, data []byte) error {
	have, err := s.read(ctx, key, int64(len(data)))
	if errors.Is(err, repository.ErrTooLarge) || err == nil && !bytes.Equal(have, data) {
		return fmt.Errorf("%s: %w", key, repository.ErrExists)
	}
	return err
}

// Read implements repository.Store.
func (s *Store) Read(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := repository.CheckKey(key); err != nil {
		return nil, err
	}
	return await(ctx, func() ([]byte, error) { return s.read(ctx, key, limit) })
}

// Open implements repository.Opener.
func (s *Store) Open(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	if err := repository.CheckKey(key); err != nil {
		return nil, 0, err
	}
	f, err := await(ctx, func() (*file, error) {
		f, st, err := s.open(key)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		return &file{File: f, ctx: ctx, size: st.Size()}, nil
	})
	if err != nil {
		return nil, 0, err
	}
	return f, f.size, nil
}

// file is read until its context ends.
type file struct {
	*os.File
	ctx  context.Context //nolint:containedctx // a reader has no other place for it
	size int64
	read []byte // into which it is read: a call that is left behind goes on writing there
}

// maxRead is how much of a file is read at once, in bytes.
const maxRead = 256 << 10

// Read implements io.Reader. Once the context has ended nothing is read any more.
func (f *file) Read(b []byte) (int, error) {
	n := min(len(b), maxRead)
	if len(f.read) < n {
		f.read = make([]byte, n)
	}
	into := f.read[:n]
	n, err := await(f.ctx, func() (int, error) { return f.File.Read(into) })
	return copy(b, into[:n]), err
}

// List implements repository.Store. What is neither a directory nor a regular file
// is an error: it might hide evidence.
func (s *Store) List(ctx context.Context, prefix string, yield func(key string) error) error {
	keys, err := await(ctx, func() ([]string, error) { return s.list(ctx, prefix) })
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err := yield(k); err != nil {
			return err
		}
	}
	return nil
}

// list returns the keys that begin with prefix, in byte order.
func (s *Store) list(ctx context.Context, prefix string) ([]string, error) {
	dir := path.Dir(prefix + "x")
	if dir != "." {
		if err := repository.CheckKey(dir); err != nil {
			return nil, err
		}
	}
	at, err := os.OpenRoot(s.root)
	if err == nil {
		root := at
		at, err = openDir(root, dir)
		err = errors.Join(err, root.Close())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []string
	if err := walk(ctx, at, strings.TrimPrefix(dir+"/", "./"), prefix, &keys); err != nil {
		return nil, err
	}
	slices.Sort(keys) // a walk has "a/b" before "a-b"
	return keys, nil
}

// walk adds the keys below a directory, whose own key is at, that begin with prefix.
// It closes the directory.
func walk(ctx context.Context, dir *os.Root, at, prefix string, keys *[]string) error {
	defer dir.Close()
	entries, err := readDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		key := at + e.Name()
		switch {
		case at == "" && strings.HasPrefix(e.Name(), "."): // in a bundle it is extra
		case e.IsDir():
			// Descend only where the prefix can match.
			if !strings.HasPrefix(key+"/", prefix) && !strings.HasPrefix(prefix, key+"/") {
				continue
			}
			sub, err := openDir(dir, e.Name())
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if err := walk(ctx, sub, key+"/", prefix, keys); err != nil {
				return err
			}
		case !strings.HasPrefix(key, prefix):
		case !e.Type().IsRegular():
			return fmt.Errorf("%s: %w", key, notRegular(e.Type()))
		default:
			*keys = append(*keys, key)
		}
	}
	return nil
}

// writing is one write: what it makes is in stage until it is moved to its place.
type writing struct {
	root, base, stage *os.Root // base is the staging directory
	name              string   // of stage, below root
}

// begin makes the repository where there is none, and a staging directory in it.
func (s *Store) begin() (*writing, error) {
	if err := s.makeRoot(s.root); err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	root, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	base, err := s.makeDir(root, staging)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open repository: %w", err), root.Close())
	}
	sweep(base)
	name := "put-" + rand.Text()
	err = base.Mkdir(name, 0o700)
	w := &writing{root: root, base: base, name: path.Join(staging, name)}
	if err == nil {
		w.stage, err = openDir(base, name)
	}
	if err != nil {
		return nil, errors.Join(err, base.Close(), root.Close())
	}
	return w, nil
}

// end takes the stage away. What cannot be removed is never read, and swept later.
func (w *writing) end() {
	_ = w.stage.Close()
	_ = w.base.RemoveAll(path.Base(w.name))
	_ = w.base.Close()
	_ = w.root.Close()
}

// sweep removes what is abandoned in base. What cannot be removed, another
// user's perhaps, takes room and is never read; it is no reason not to store.
func sweep(base *os.Root) {
	entries, err := readDir(base)
	if err != nil {
		return
	}
	for _, e := range entries {
		if st, err := base.Lstat(e.Name()); err == nil && time.Since(st.ModTime()) > abandoned {
			_ = base.RemoveAll(e.Name())
		}
	}
}

func (s *Store) write(dir *os.Root, name string, content repository.Content) error {
	from, err := content()
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, s.sync(f), f.Close())
}
