package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/companyos/helmproof/evidence"
)

// Source is where the files of a bundle are read from, each when it is needed: what
// nobody has vouched for yet is not read into memory.
type Source interface {
	// Names lists the files, sorted.
	Names() []string
	// Open opens a file and says how many bytes it has; fs.ErrNotExist when absent.
	Open(name string) (io.ReadCloser, int64, error)
}

// Files is a Source in memory.
type Files map[string][]byte

// Names implements Source.
func (f Files) Names() []string { return slices.Sorted(maps.Keys(f)) }

// Open implements Source.
func (f Files) Open(name string) (io.ReadCloser, int64, error) {
	raw, ok := f[name]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(raw)), int64(len(raw)), nil
}

const (
	// MaxReport bounds one report, in bytes.
	MaxReport = 512 << 20
	// MaxSignature bounds a signature file, in bytes: its statement names the images of
	// one release at most.
	MaxSignature = 4 << 20
)

// ReadFile reads a file of at most limit bytes.
func ReadFile(src Source, name string, limit int64) ([]byte, error) {
	r, size, err := src.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", name, size, limit)
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return raw, nil
}

// digestFile is the digest of a file, which is read as a stream.
func digestFile(src Source, name string) (evidence.Digest, error) {
	r, size, err := src.Open(name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	d, err := evidence.DigestOfReader(io.LimitReader(r, size+1)) // what grows meanwhile has another digest
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return d, nil
}

// reading remembers the first error of a Source: it says nothing about the bundle.
type reading struct {
	Source
	err error
}

func (r *reading) Open(name string) (io.ReadCloser, int64, error) {
	f, size, err := r.Source.Open(name)
	if err != nil {
		return nil, 0, r.keep(err)
	}
	return &readingFile{f, r}, size, nil
}

func (r *reading) keep(err error) error {
	if r.err == nil {
		r.err = err
	}
	return err
}

type readingFile struct {
	io.ReadCloser
	of *reading
}

func (f *readingFile) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.of.keep(err)
	}
	return n, err
}

// checkSizes refuses a file that is larger than a bundle's can be, before any is read.
func (s *verification) checkSizes() error {
	for _, name := range s.names {
		limit := int64(MaxReport)
		switch {
		case name == EvidenceFile:
			limit = s.limits.MaxZip
		case isOwnFile(name):
			limit = MaxSignature
		}
		r, size, err := s.src.Open(name)
		if err != nil {
			return err
		}
		if err := r.Close(); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if size > limit {
			return fmt.Errorf("%s has %d bytes, more than the limit of %d", name, size, limit)
		}
	}
	return nil
}

// has reports whether the bundle has the file.
func (s *verification) has(name string) bool { return slices.Contains(s.names, name) }
