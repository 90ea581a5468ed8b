// Package repository is the write-once evidence repository: bundles by id, and
// small pointers by release so that they can be listed without being read.
// Storage itself is a Store; each kind has a package of its own, and all of
// them pass the suite in repositorytest.
package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode/utf8"
)

// ErrExists says that a key is taken by other bytes. Evidence is write-once.
var ErrExists = errors.New("already stored with different content")

// ErrIrregular says that there is something in a repository that no Store makes, such
// as a symbolic link or a named pipe.
var ErrIrregular = errors.New("this is not helmproof's")

// ErrTooLarge says that an object is larger than the reader's limit.
var ErrTooLarge = errors.New("object is larger than the limit")

// Store is a place that keeps objects for ever. Keys are slash-separated
// relative paths (see CheckKey). Implementations are safe for concurrent use and
// retry what is worth retrying themselves.
type Store interface {
	// Create stores data durably under a new key. The same bytes under the same
	// key succeed again; different bytes are ErrExists, and the stored ones stay.
	Create(ctx context.Context, key string, data []byte) error
	// Read returns the whole object, its checksum verified where the backend has
	// one: fs.ErrNotExist when absent, ErrTooLarge over limit bytes.
	Read(ctx context.Context, key string, limit int64) ([]byte, error)
	// List calls yield for each key that begins with prefix, in ascending order,
	// until yield returns an error, which List returns.
	List(ctx context.Context, prefix string, yield func(key string) error) error
	// URL names the place for people, without credentials.
	URL() string
}

// TreeCreator is a Store that can create several objects under one prefix at
// once: all of them become visible together, or none.
type TreeCreator interface {
	// CreateTree stores files (names without slashes) under prefix + name. A tree
	// that is there with the same files succeeds; any difference is ErrExists.
	CreateTree(ctx context.Context, prefix string, files map[string]Content) error
}

// Opener is a Store whose objects can be read as streams.
type Opener interface {
	// Open opens an object and says how many bytes it has: fs.ErrNotExist when absent.
	Open(ctx context.Context, key string) (io.ReadCloser, int64, error)
}

// Content opens the bytes of a file that is to be stored, from their beginning, as
// often as it is called.
type Content func() (io.ReadCloser, error)

// Bytes is content in memory.
func Bytes(b []byte) Content {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// CheckKey refuses keys that could leave the store or mean different things to
// different backends.
func CheckKey(key string) error {
	switch {
	case key == "", len(key) > 900, !utf8.ValidString(key), path.IsAbs(key), path.Clean(key) != key,
		key == "..", strings.HasPrefix(key, "../"), strings.ContainsAny(key, "\\\x00\n\r"):
		return fmt.Errorf("key %q: not a clean relative path", key)
	}
	for part := range strings.SplitSeq(key, "/") {
		if strings.HasPrefix(part, ".") || len(part) > 250 {
			return fmt.Errorf("key %q: part %q is not allowed", key, part)
		}
	}
	return nil
}
