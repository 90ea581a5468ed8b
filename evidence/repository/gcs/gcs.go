//go:build cloud

package gcs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/companyos/helmproof/evidence/repository"
)

// opTimeout bounds one operation with all its retries.
const opTimeout = 2 * time.Minute

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Store is a bucket, or the part of it under a prefix.
type Store struct {
	client *storage.Client
	bucket *storage.BucketHandle
	name   string
	prefix string // "" or ends in "/"
}

// Open returns the store at gs://bucket/prefix. Credentials are the
// application default ones; STORAGE_EMULATOR_HOST is respected.
func Open(ctx context.Context, bucket, prefix string, opts ...option.ClientOption) (*Store, error) {
	if bucket == "" {
		return nil, errors.New("gs:// URL without a bucket: want gs://bucket or gs://bucket/prefix")
	}
	prefix = strings.Trim(prefix, "/")
	if prefix != "" {
		if err := repository.CheckKey(prefix); err != nil {
			return nil, err
		}
		prefix += "/"
	}
	// With JSON reads the checksum comes with the object's own metadata.
	client, err := storage.NewClient(ctx, append([]option.ClientOption{storage.WithJSONReads()}, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to Google Cloud Storage: %w", err)
	}
	// Creating under a precondition and reading are idempotent: all is retried.
	client.SetRetry(
		storage.WithPolicy(storage.RetryAlways),
		storage.WithErrorFunc(worthRetrying),
		storage.WithBackoff(gax.Backoff{Initial: 100 * time.Millisecond, Max: 10 * time.Second, Multiplier: 2}),
	)
	return &Store{client: client, bucket: client.Bucket(bucket), name: bucket, prefix: prefix}, nil
}

// worthRetrying adds to the library's own list a connection that was closed
// before any answer.
func worthRetrying(err error) bool { return storage.ShouldRetry(err) || errors.Is(err, io.EOF) }

// Close releases the connections.
func (s *Store) Close() error { return s.client.Close() }

// URL implements repository.Store.
func (s *Store) URL() string { return strings.TrimSuffix("gs://"+s.name+"/"+s.prefix, "/") }

func (s *Store) object(key string) (*storage.ObjectHandle, error) {
	if err := repository.CheckKey(key); err != nil {
		return nil, err
	}
	return s.bucket.Object(s.prefix + key), nil
}

// Create implements repository.Store. A write whose answer was lost may have
// been stored: the retry then meets the precondition, and what is stored is compared.
func (s *Store) Create(ctx context.Context, key string, data []byte) error {
	obj, err := s.object(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	w := obj.If(storage.Conditions{DoesNotExist: true}).NewWriter(ctx)
	w.ContentType = contentType(key)
	w.CRC32C = crc32.Checksum(data, castagnoli)
	w.SendCRC32C = true
	// A chunk is what the client buffers and sends again: no larger than needed.
	w.ChunkSize = min(len(data)+1, 16<<20)
	_, err = io.Copy(w, bytes.NewReader(data))
	if err != nil {
		cancel() // nothing of a broken upload is finalized
	}
	err = errors.Join(err, w.Close())
	if err == nil {
		if got := w.Attrs().CRC32C; got != crc32.Checksum(data, castagnoli) {
			return fmt.Errorf("%s: the bucket stored other bytes than were sent (CRC32C %08x)", key, got)
		}
		return nil
	}
	var api *googleapi.Error
	if !errors.As(err, &api) || api.Code != http.StatusPreconditionFailed {
		return fmt.Errorf("%s: %w", key, err)
	}
	have, err := s.Read(ctx, key, int64(len(data)))
	if errors.Is(err, repository.ErrTooLarge) || err == nil && !bytes.Equal(have, data) {
		return fmt.Errorf("%s: %w", key, repository.ErrExists)
	}
	return err
}

// Read implements repository.Store.
func (s *Store) Read(ctx context.Context, key string, limit int64) ([]byte, error) {
	obj, err := s.object(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	r, err := obj.NewReader(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		return nil, fmt.Errorf("%s: %w", key, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	defer r.Close()
	if r.Attrs.Size > limit {
		return nil, fmt.Errorf("%s: %d bytes: %w", key, r.Attrs.Size, repository.ErrTooLarge)
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: %w", key, repository.ErrTooLarge)
	}
	if want := r.Attrs.CRC32C; want != crc32.Checksum(b, castagnoli) {
		return nil, fmt.Errorf("read %s: CRC32C does not match what the bucket stored", key)
	}
	return b, nil
}

// List implements repository.Store.
func (s *Store) List(ctx context.Context, prefix string, yield func(key string) error) error {
	q := &storage.Query{Prefix: s.prefix + prefix}
	if err := q.SetAttrSelection([]string{"Name"}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	it := s.bucket.Objects(ctx, q)
	for {
		attrs, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := yield(strings.TrimPrefix(attrs.Name, s.prefix)); err != nil {
			return err
		}
	}
}

func contentType(key string) string {
	for suffix, t := range map[string]string{
		".zip": "application/zip", ".json": "application/json", ".sarif": "application/sarif+json", ".xml": "application/xml",
		".pdf": "application/pdf", ".md": "text/markdown; charset=utf-8", ".html": "text/html; charset=utf-8",
	} {
		if strings.HasSuffix(key, suffix) {
			return t
		}
	}
	return "application/octet-stream"
}
