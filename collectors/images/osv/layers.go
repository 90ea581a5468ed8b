package osv

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/osv-scalibr/extractor/filesystem"

	"github.com/companyos/helmproof/internal/oci"
)

// bounded is an image whose layers are read within limits and to their end, so
// that their digests are checked. It notes the files that the engine passes over
// for their size without a word. The engine takes a layer after the other.
type bounded struct {
	v1.Image
	extractors []filesystem.Extractor
	read       int64 // bytes that may still be read
	unpacked   int64 // bytes that may still be unpacked: more than are read where files are sparse
	entries    int64 // files that may still be listed
	passedOver []string

	mu  sync.Mutex
	err error
}

// Layers implements v1.Image.
func (b *bounded) Layers() ([]v1.Layer, error) {
	layers, err := b.Image.Layers()
	for i := range layers {
		layers[i] = boundedLayer{layers[i], b}
	}
	return layers, err
}

type boundedLayer struct {
	v1.Layer
	of *bounded
}

// Uncompressed implements v1.Layer. What is read has been looked through before:
// an entry over the limits is the reader's error and is not handed on.
func (l boundedLayer) Uncompressed() (io.ReadCloser, error) {
	in, err := l.Layer.Uncompressed()
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	out := &boundedReader{PipeReader: r, of: l.of, done: make(chan struct{})}
	go func() {
		defer close(out.done)
		err := l.of.look(in, w)
		w.CloseWithError(err)
		l.of.fail(errors.Join(err, in.Close()))
	}()
	return out, nil
}

// look copies a layer's archive and looks at its entries on the way.
func (b *bounded) look(in io.Reader, w io.Writer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("osv-scalibr panicked: %v", p)
		}
	}()
	raw := &spending{in: in, of: b}
	copied := io.TeeReader(raw, w)
	for entries := tar.NewReader(copied); ; {
		h, err := entries.Next()
		if raw.err != nil {
			return raw.err
		}
		if err != nil { // the end, or what the engine finds to be no archive
			break
		}
		if err := b.entry(h); err != nil {
			return err
		}
	}
	_, err = io.Copy(io.Discard, copied)
	return err
}

// spending counts what is read.
type spending struct {
	in  io.Reader
	of  *bounded
	err error // other than io.EOF
}

func (s *spending) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if over := s.of.spend(&s.of.read, int64(n)); over != nil {
		err = over
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// entry judges an entry by its header.
func (b *bounded) entry(h *tar.Header) error {
	if b.entries--; b.entries < 0 {
		return fmt.Errorf("its layers hold more than the %d files that are read", int64(maxInodes))
	}
	if h.Typeflag != tar.TypeReg {
		return nil
	}
	if len(b.passedOver) < maxPassedOver && b.tooLarge(h) {
		b.passedOver = append(b.passedOver, fmt.Sprintf("%s was not read: its %d bytes are too many", oci.Clip(h.Name), h.Size))
	}
	if h.Size > maxFile { // not unpacked
		return nil
	}
	return b.spend(&b.unpacked, h.Size)
}

// maxPassedOver is how many files are named: one makes the scan incomplete.
const maxPassedOver = 20

// noLimit is a size at which no extractor passes over a file for its size.
const noLimit = 1 << 20

// tooLarge says whether a file is not read that would be if it were smaller.
func (b *bounded) tooLarge(h *tar.Header) bool {
	if h.Size <= noLimit {
		return false
	}
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	return slices.ContainsFunc(b.extractors, func(e filesystem.Extractor) bool {
		return e.FileRequired(file{name, sized{h.FileInfo(), 1}}) && (h.Size > maxFile || !e.FileRequired(file{name, h.FileInfo()}))
	})
}

// file is a filesystem.FileAPI.
type file struct {
	path string
	info fs.FileInfo
}

func (f file) Path() string               { return f.path }
func (f file) Stat() (fs.FileInfo, error) { return f.info, nil }

type sized struct {
	fs.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }

type boundedReader struct {
	*io.PipeReader
	of   *bounded
	done chan struct{} // closed when the layer is read to its end or given up
}

// Close reads what is left: the layer's digest is compared at its end.
func (r *boundedReader) Close() error {
	if r.of.failure() == nil {
		_, err := io.Copy(io.Discard, r.PipeReader)
		r.of.fail(err)
	}
	err := r.PipeReader.Close()
	<-r.done
	return err
}

// spend takes n bytes from one of the limits.
func (b *bounded) spend(limit *int64, n int64) error {
	if *limit -= n; *limit < 0 {
		return fmt.Errorf("its layers unpack to more than the %d bytes that are read", int64(maxUnpacked))
	}
	return nil
}

// fail keeps the first error.
func (b *bounded) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}

func (b *bounded) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}
