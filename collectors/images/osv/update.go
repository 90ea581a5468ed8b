package osv

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DefaultSource is where the database is published.
const DefaultSource = "https://osv-vulnerabilities.storage.googleapis.com"

// DefaultEcosystems are those of what is commonly in images.
func DefaultEcosystems() []string {
	return []string{"AlmaLinux", "Alpine", "Debian", "Go", "Maven", "PyPI", "Red Hat", "Rocky Linux", "RubyGems", "Ubuntu", "npm"}
}

// UpdateOptions says what to fetch.
type UpdateOptions struct {
	Dir string // the folder; it is made
	// Ecosystems to fetch; empty: those that are there, else DefaultEcosystems.
	Ecosystems []string
	// Source is the URL (https, http or file) below which ECOSYSTEM/all.zip lies.
	Source string
	Client *http.Client // nil: http.DefaultClient
	Now    func() time.Time
	// Progress is called as bytes arrive; total is 0 where it is not known. May be nil.
	Progress func(ecosystem string, done, total int64)
}

// Updated is what became of one ecosystem.
type Updated struct {
	Ecosystem
	Changed bool `json:"changed"` // a newer archive was fetched
}

// ErrOption says that it was asked for something that cannot be.
var ErrOption = errors.New("cannot update")

// Update fetches the archives that changed. An archive is replaced by a whole and
// readable one only; where one cannot be fetched the old one stays, the others go
// on, and the error says so.
func Update(ctx context.Context, o UpdateOptions) ([]Updated, error) {
	if o.Source == "" {
		o.Source = DefaultSource
	}
	if u, err := url.Parse(o.Source); err != nil || !slices.Contains([]string{"https", "http", "file"}, u.Scheme) {
		return nil, fmt.Errorf("%w: source %q: want an https, http or file URL", ErrOption, o.Source)
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	db, err := Open(o.Dir)
	if errors.Is(err, ErrNoDatabase) {
		db, err = &Database{}, nil
	}
	if err != nil {
		return nil, err
	}
	names := slices.Compact(slices.Sorted(slices.Values(o.Ecosystems)))
	if len(names) == 0 {
		for _, e := range db.Ecosystems {
			names = append(names, e.Name)
		}
	}
	if len(names) == 0 {
		names = DefaultEcosystems()
	}
	for _, n := range names {
		if err := checkName(n); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrOption, err)
		}
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("vulnerability database: %w", err)
	}
	release, err := lock(o.Dir)
	if err != nil {
		return nil, err
	}
	defer release()
	var out []Updated
	var failed []error
	for _, n := range names {
		u, err := o.update(ctx, db, n)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", n, err))
			continue
		}
		out = append(out, *u)
	}
	return out, errors.Join(failed...)
}

// lock keeps a second update out of the folder.
func lock(dir string) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("vulnerability database: %w", err)
	}
	if err := tryLock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("another update of %s is under way: %w", dir, err), f.Close())
	}
	return func() { _ = errors.Join(unlock(f), f.Close()) }, nil // at the latest, the end of the process releases it
}

// update fetches one archive and records it.
func (o *UpdateOptions) update(ctx context.Context, db *Database, n string) (*Updated, error) {
	e := Ecosystem{Name: n, URL: strings.TrimSuffix(o.Source, "/") + "/" + url.PathEscape(n) + "/" + archiveFile}
	old := db.find(n)
	tag := ""
	if old != nil && old.URL == e.URL {
		// What was damaged since is fetched again.
		if d, _, err := digestFile(archivePath(o.Dir, n)); err == nil && d == old.Digest {
			tag = old.ETag
		}
	}
	path := archivePath(o.Dir, n)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it was renamed, or is no use
	same, err := o.download(ctx, &e, tag, tmp)
	if err = errors.Join(err, tmp.Close()); err != nil {
		return nil, err
	}
	if same {
		e = *old
	} else if err := e.inspect(ctx, tmp.Name()); err != nil {
		return nil, err
	}
	e.FetchedAt = o.Now().UTC().Truncate(time.Second)
	changed := old == nil || old.Digest != e.Digest
	if changed {
		if err := os.Rename(tmp.Name(), path); err != nil {
			return nil, err
		}
	}
	db.Ecosystems = append(slices.DeleteFunc(db.Ecosystems, func(x Ecosystem) bool { return x.Name == n }), e)
	if err := db.write(o.Dir); err != nil {
		return nil, err
	}
	return &Updated{e, changed}, nil
}

// download writes the archive to f; same says that it is the one with the tag.
func (o *UpdateOptions) download(ctx context.Context, e *Ecosystem, tag string, f *os.File) (same bool, err error) {
	var body io.ReadCloser
	total := int64(0)
	if u, _ := url.Parse(e.URL); u.Scheme == "file" {
		in, err := os.Open(filepath.FromSlash(u.Path))
		if err != nil {
			return false, err
		}
		body = in
	} else {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.URL, nil)
		if err != nil {
			return false, err
		}
		req.Header.Set("User-Agent", "helmproof")
		if tag != "" {
			req.Header.Set("If-None-Match", tag)
		}
		res, err := o.Client.Do(req)
		if err != nil {
			return false, err
		}
		body, total = res.Body, max(res.ContentLength, 0)
		switch {
		case res.StatusCode == http.StatusNotModified && tag != "":
			return true, body.Close()
		case res.StatusCode != http.StatusOK:
			return false, errors.Join(fmt.Errorf("GET %s: %s", e.URL, res.Status), body.Close())
		}
		e.ETag = res.Header.Get("ETag")
	}
	h := sha256.New()
	counter := &counter{f: func(n int64) {
		if o.Progress != nil {
			o.Progress(e.Name, n, total)
		}
	}}
	n, err := io.Copy(io.MultiWriter(f, h, counter), io.LimitReader(body, maxArchive+1))
	if err = errors.Join(err, body.Close()); err != nil {
		return false, fmt.Errorf("read %s: %w", e.URL, err)
	}
	switch {
	case n > maxArchive:
		return false, fmt.Errorf("%s has more than the %d bytes that are read", e.URL, int64(maxArchive))
	case total > 0 && n != total:
		return false, fmt.Errorf("%s was cut off after %d of %d bytes", e.URL, n, total)
	}
	e.Digest, e.Bytes = sum(h), n
	return false, f.Sync()
}

type counter struct {
	n int64
	f func(int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.f(c.n)
	return len(p), nil
}
