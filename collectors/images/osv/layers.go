package osv

import (
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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

// Uncompressed implements v1.Layer.
func (l boundedLayer) Uncompressed() (io.ReadCloser, error) {
	r, err := l.Layer.Uncompressed()
	if err != nil {
		return nil, err
	}
	return &boundedReader{r, l.of}, nil
}

type boundedReader struct {
	in io.ReadCloser
	of *bounded
}

func (r *boundedReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if spent := r.of.spend(int64(n)); spent != nil {
		return n, spent
	}
	if err != nil && !errors.Is(err, io.EOF) {
		r.of.fail(err)
	}
	return n, err
}

// Close reads what is left: the layer's digest is compared at its end.
func (r *boundedReader) Close() error {
	if r.of.failure() == nil {
		if _, err := io.Copy(io.Discard, r); err != nil {
			r.of.fail(err)
		}
	}
	return r.in.Close()
}

func (b *bounded) spend(n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left -= n; b.left < 0 && b.err == nil {
		b.err = fmt.Errorf("its layers unpack to more than the %d bytes that are read", int64(maxUnpacked))
	}
	if b.left < 0 {
		return b.err
	}
	return nil
}

func (b *bounded) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
}
