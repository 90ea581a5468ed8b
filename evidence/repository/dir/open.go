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
	"strings"
	"syscall"

	"github.com/companyos/helmproof/evidence/repository"
)

type none struct{}

// await returns what do does, or when ctx ends. No system call on files can be
// interrupted: one that hangs, on a network file system whose server is gone, goes
// on until it returns or the process ends.
func await[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var zero T
	if err := context.Cause(ctx); err != nil {
		return zero, err
	}
	done := make(chan result, 1)
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}

// open opens a regular file below the repository.
func (s *Store) open(key string) (*os.File, fs.FileInfo, error) {
	root, err := os.OpenRoot(s.root)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	dir, err := openDir(root, path.Dir(key))
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	return openRegular(dir, path.Base(key))
}

func (s *Store) read(ctx context.Context, key string, limit int64) (_ []byte, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read %s: %w", key, err)
		}
	}()
	f, st, err := s.open(key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Size() > limit {
		return nil, fmt.Errorf("%d bytes: %w", st.Size(), repository.ErrTooLarge)
	}
	buf := bytes.NewBuffer(make([]byte, 0, st.Size()+bytes.MinRead)) // room to meet the end
	if _, err := io.Copy(buf, io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(buf.Len()) > limit {
		return nil, repository.ErrTooLarge
	}
	return buf.Bytes(), context.Cause(ctx)
}

// openDir opens a directory below at, "." for itself, one part of its path after
// the other. os.Root keeps to the repository and follows links inside it; here none is.
func openDir(at *os.Root, dir string) (*os.Root, error) { return openOrMake(at, dir, nil) }

// makeDir is openDir, and makes what is not there: durably, each new entry synced.
func (s *Store) makeDir(at *os.Root, dir string) (*os.Root, error) {
	return openOrMake(at, dir, func(parent *os.Root, name string) error {
		if err := parent.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return s.syncDir(parent)
	})
}

func openOrMake(at *os.Root, dir string, make func(parent *os.Root, name string) error) (*os.Root, error) {
	at, err := at.OpenRoot(".")
	if err != nil || dir == "." {
		return at, err
	}
	for name := range strings.SplitSeq(dir, "/") {
		next, err := openPart(at, name)
		if make != nil && errors.Is(err, fs.ErrNotExist) {
			if err = make(at, name); err == nil {
				next, err = openPart(at, name)
			}
		}
		if err = errors.Join(err, at.Close()); err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// openPart opens one directory in at. That it is the one that was looked at is held
// by its identity: a link that was put in its place meanwhile leads elsewhere.
func openPart(at *os.Root, name string) (*os.Root, error) {
	want, err := at.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !want.IsDir() {
		return nil, fmt.Errorf("%s: %w: a %s", name, errNotDir, kind(want.Mode()))
	}
	dir, err := at.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	st, err := dir.Stat(".")
	if err == nil && !os.SameFile(want, st) {
		err = fmt.Errorf("%s: %w: it was replaced while it was opened", name, errNotDir)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return dir, nil
}

// openRegular opens a file to read. Opening a pipe waits for a writer, and opening a
// device may do something: what is not regular is not opened, and should it become a
// pipe meanwhile, opening does not wait.
func openRegular(dir *os.Root, name string) (*os.File, fs.FileInfo, error) {
	want, err := dir.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !want.Mode().IsRegular() {
		return nil, nil, notRegular(want.Mode())
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = notRegular(st.Mode())
	} else if err == nil && !os.SameFile(want, st) {
		err = fmt.Errorf("%w: it was replaced while it was opened", errNotRegular)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, st, nil
}

var (
	errNotDir     = fmt.Errorf("%w: not a directory", repository.ErrIrregular)
	errNotRegular = fmt.Errorf("%w: not a regular file", repository.ErrIrregular)
)

func notRegular(mode fs.FileMode) error { return fmt.Errorf("%w: a %s", errNotRegular, kind(mode)) }

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "regular file"
	case fs.ModeDir:
		return "directory"
	case fs.ModeSymlink:
		return "symbolic link, and none is followed in a repository"
	case fs.ModeNamedPipe:
		return "named pipe"
	case fs.ModeSocket:
		return "socket"
	}
	return "device"
}

func readDir(dir *os.Root) ([]fs.DirEntry, error) {
	f, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	return entries, errors.Join(err, f.Close())
}

// makeRoot makes a directory and its parents, and syncs each parent that got a new
// entry: a repository whose own entry is lost has lost all that is in it.
func (s *Store) makeRoot(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := s.makeRoot(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(f), f.Close())
}

func (s *Store) syncDir(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(s.sync(f), f.Close())
}
