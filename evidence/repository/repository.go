package repository

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

const (
	bundlePrefix  = "bundles/"
	pointerPrefix = "releases/"

	// commitFile is the file of a bundle that is stored last. The bundle's id is its
	// digest: without it there is no bundle, whatever else is there of one.
	commitFile = "evidence.zip"

	// MaxFileSize bounds one file of a bundle when it is read, in bytes.
	MaxFileSize = 512 << 20
	// maxPointerSize bounds a pointer, in bytes.
	maxPointerSize = 1 << 20
	// maxBundleFiles bounds how many files of one bundle are read; a bundle has about ten.
	maxBundleFiles = 64
)

// Pointer is the small object that lists a bundle without reading it. It is
// derived from the bundle and not signed: nothing is decided by it.
type Pointer struct {
	Bundle      evidence.Digest         `json:"bundle"`
	Scope       evidence.Scope          `json:"scope"`
	Chart       string                  `json:"chart"`
	Version     string                  `json:"version,omitempty"`
	Release     string                  `json:"release"`
	Namespace   string                  `json:"namespace"`
	Cluster     string                  `json:"cluster,omitempty"`
	Profile     string                  `json:"profile"`
	Outcome     evidence.VerdictOutcome `json:"outcome"`
	EvaluatedAt time.Time               `json:"evaluatedAt"`
	// ValuesDigest is that of the release's values; empty in pointers of older versions.
	ValuesDigest evidence.Digest `json:"valuesDigest,omitempty"`
}

// ErrStray says that a repository holds something that is no part of one.
var ErrStray = errors.New("no part of an evidence repository")

// NewPointer derives the pointer of a bundle from its sealed content.
func NewPointer(id evidence.Digest, rel *evidence.Release, v *evidence.Verdict, runs *evidence.Runs) Pointer {
	return Pointer{
		Bundle: id, Scope: rel.Scope, Chart: rel.Chart, Version: rel.Version, Release: rel.ReleaseName,
		Namespace: rel.Namespace, Cluster: rel.Cluster, Profile: runs.ProfileName(v.Profile, v.ProfileDigest), Outcome: v.Outcome, EvaluatedAt: v.EvaluatedAt,
		ValuesDigest: rel.ValuesDigest,
	}
}

// key is releases/<chart>/<namespace>@<cluster>/<UTC time>-<id>.json; names are
// path-escaped, an unknown cluster is "-".
func (p Pointer) key() string {
	return pointerPrefix + keyPart(p.Chart) + "/" + keyPart(p.Namespace) + "@" + keyPart(cmp.Or(p.Cluster, "-")) + "/" +
		p.EvaluatedAt.UTC().Format("20060102T150405Z") + "-" + p.Bundle.Hex() + ".json"
}

func keyPart(s string) string {
	s = url.PathEscape(s)
	if strings.HasPrefix(s, ".") || s == "" {
		s = "%2E" + strings.TrimPrefix(s, ".")
	}
	if len(s) > 100 {
		s = s[:80] + "-" + evidence.DigestOf([]byte(s)).Short()
	}
	return s
}

// Repository keeps bundles in a Store.
type Repository struct{ store Store }

// New returns the repository that store holds.
func New(store Store) *Repository { return &Repository{store: store} }

// URL names the repository for people.
func (r *Repository) URL() string { return r.store.URL() }

// Ready reports whether bundles can be stored, as far as the store can tell before there
// is one: nothing is left behind.
func (r *Repository) Ready(ctx context.Context) error {
	s, ok := r.store.(Readier)
	if !ok {
		return nil
	}
	if err := s.Ready(ctx); err != nil {
		return fmt.Errorf("repository %s: %w", r.URL(), err)
	}
	return nil
}

// Readier is a Store that can say whether it can be written to.
type Readier interface {
	Ready(ctx context.Context) error
}

// Put stores a bundle: its files first, then the pointer that lists it. What a crash
// leaves in between is either nothing that is read as a bundle, or all of it. Put again
// with the same files finishes it; nothing is ever replaced or deleted.
func (r *Repository) Put(ctx context.Context, p Pointer, files map[string][]byte) error {
	contents := make(map[string]Content, len(files))
	for name, b := range files {
		contents[name] = Bytes(b)
	}
	return r.PutContents(ctx, p, contents)
}

// PutContents is Put of files that need not be in memory; each is read when it is its turn.
func (r *Repository) PutContents(ctx context.Context, p Pointer, files map[string]Content) error {
	if _, ok := files[commitFile]; !ok {
		return fmt.Errorf("store bundle %s: without %s it is none", p.Bundle.Short(), commitFile)
	}
	prefix := bundlePrefix + p.Bundle.Hex() + "/"
	if tc, ok := r.store.(TreeCreator); ok {
		if err := tc.CreateTree(ctx, prefix, files); err != nil {
			return fmt.Errorf("store bundle %s in %s: %w", p.Bundle.Short(), r.URL(), err)
		}
	} else {
		for _, name := range inOrder(files) {
			b, err := readContent(files[name])
			if err == nil {
				err = r.store.Create(ctx, prefix+name, b)
			}
			if err != nil {
				return fmt.Errorf("store bundle %s in %s: %w", p.Bundle.Short(), r.URL(), err)
			}
		}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("pointer of bundle %s: %w", p.Bundle.Short(), err)
	}
	if err := r.store.Create(ctx, p.key(), raw); err != nil {
		return fmt.Errorf("store pointer of bundle %s in %s: %w", p.Bundle.Short(), r.URL(), err)
	}
	return nil
}

// inOrder returns the names of a bundle's files in the order in which a store
// without trees gets them: signatures first, which name the reports, so that other
// files for an id that is taken meet them before anything is added; commitFile last.
func inOrder(files map[string]Content) []string {
	rank := func(name string) int {
		switch {
		case name == commitFile:
			return 2
		case strings.HasSuffix(name, ".sigstore.json"):
			return 0
		}
		return 1
	}
	return slices.SortedFunc(maps.Keys(files), func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b)) })
}

// inTrees reports whether bundles are stored in one step each. In other stores, those
// without commitFile are still being stored, or were cut off, and count as none; here,
// somebody took it away.
func (r *Repository) inTrees() bool {
	_, ok := r.store.(TreeCreator)
	return ok
}

func readContent(c Content) ([]byte, error) {
	f, err := c()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// Stored is a bundle in a repository, unverified; its files are read when they are
// opened, each of at most MaxFileSize bytes. Its context is that of Open.
type Stored struct {
	repo  *Repository
	ctx   context.Context //nolint:containedctx // it is what one command reads, file by file
	id    evidence.Digest
	names []string
}

// Open finds a bundle; fs.ErrNotExist when it is not there, or not whole yet.
func (r *Repository) Open(ctx context.Context, id evidence.Digest) (*Stored, error) {
	prefix := bundlePrefix + id.Hex() + "/"
	s := &Stored{repo: r, ctx: ctx, id: id}
	err := r.store.List(ctx, prefix, func(key string) error {
		if len(s.names) == maxBundleFiles {
			return fmt.Errorf("more than %d files", maxBundleFiles)
		}
		s.names = append(s.names, strings.TrimPrefix(key, prefix))
		return nil
	})
	if err == nil && len(s.names) == 0 {
		err = fs.ErrNotExist
	} else if err == nil && !r.inTrees() && !slices.Contains(s.names, commitFile) {
		err = fmt.Errorf("%w: storing it was not finished", fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle %s in %s: %w", id.Short(), r.URL(), err)
	}
	return s, nil
}

// Names lists the bundle's files, sorted.
func (s *Stored) Names() []string { return s.names }

// Open opens a file and says how many bytes it has; ErrTooLarge over MaxFileSize. A
// store whose objects cannot be read as streams is read whole. What no bundle can hold,
// by its name, is empty: whoever verifies says that it is there.
func (s *Stored) Open(name string) (io.ReadCloser, int64, error) {
	if CheckKey(bundlePrefix+s.id.Hex()+"/"+name) != nil {
		return io.NopCloser(strings.NewReader("")), 0, nil //nolint:nilerr // whoever verifies says so
	}
	o, ok := s.repo.store.(Opener)
	if !ok {
		b, err := s.repo.GetFile(s.ctx, s.id, name)
		return io.NopCloser(bytes.NewReader(b)), int64(len(b)), err
	}
	f, size, err := o.Open(s.ctx, bundlePrefix+s.id.Hex()+"/"+name)
	if err == nil && size > MaxFileSize {
		err = errors.Join(fmt.Errorf("%d bytes: %w", size, ErrTooLarge), f.Close())
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s of bundle %s in %s: %w", name, s.id.Short(), s.repo.URL(), err)
	}
	return f, size, nil
}

// Get returns all files of a bundle by name, as stored and unverified, in memory;
// fs.ErrNotExist when the bundle is not there.
func (r *Repository) Get(ctx context.Context, id evidence.Digest) (map[string][]byte, error) {
	s, err := r.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(s.names))
	for _, name := range s.names {
		if CheckKey(bundlePrefix+id.Hex()+"/"+name) != nil {
			files[name] = nil // no part of any bundle; whoever verifies says so
			continue
		}
		if files[name], err = r.GetFile(ctx, id, name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// GetFile returns one file of a bundle, as stored and unverified.
func (r *Repository) GetFile(ctx context.Context, id evidence.Digest, name string) ([]byte, error) {
	return r.GetFileWithin(ctx, id, name, MaxFileSize)
}

// GetFileWithin is GetFile of at most limit bytes; ErrTooLarge over it.
func (r *Repository) GetFileWithin(ctx context.Context, id evidence.Digest, name string, limit int64) ([]byte, error) {
	b, err := r.store.Read(ctx, bundlePrefix+id.Hex()+"/"+name, limit)
	if err != nil {
		return nil, fmt.Errorf("%s of bundle %s in %s: %w", name, id.Short(), r.URL(), err)
	}
	return b, nil
}

// Filter picks pointers; empty fields match all.
type Filter struct {
	Chart, Namespace, Cluster string
	Scope                     evidence.Scope
}

func (f Filter) match(p Pointer) bool {
	return (f.Chart == "" || f.Chart == p.Chart) && (f.Namespace == "" || f.Namespace == p.Namespace) &&
		(f.Cluster == "" || f.Cluster == p.Cluster) && (f.Scope == "" || f.Scope == p.Scope)
}

// List returns the pointers that match, newest first. A pointer that cannot be
// read is an error: a list with holes would hide evidence.
func (r *Repository) List(ctx context.Context, f Filter) ([]Pointer, error) {
	prefix := pointerPrefix
	if f.Chart != "" {
		prefix += keyPart(f.Chart) + "/"
	}
	var out []Pointer
	err := r.store.List(ctx, prefix, func(key string) error {
		p, err := r.ReadPointer(ctx, key)
		if err != nil {
			return err
		}
		if f.match(p) {
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.URL(), err)
	}
	slices.SortFunc(out, func(a, b Pointer) int {
		return cmp.Or(b.EvaluatedAt.Compare(a.EvaluatedAt), cmp.Compare(a.Bundle, b.Bundle))
	})
	return out, nil
}

// ReadPointer reads the pointer under a key; ErrStray where it does not say what its
// name says.
func (r *Repository) ReadPointer(ctx context.Context, key string) (Pointer, error) {
	var p Pointer
	raw, err := r.store.Read(ctx, key, maxPointerSize)
	if errors.Is(err, ErrTooLarge) {
		err = fmt.Errorf("%w: %w", ErrStray, err)
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("pointer %s: %w: %w", key, ErrStray, err)
	}
	if _, err := evidence.ParseDigest(string(p.Bundle)); err != nil || p.key() != key {
		return p, fmt.Errorf("pointer %s: does not say what its name says: %w", key, ErrStray)
	}
	return p, nil
}

// Pointed returns the keys of all pointers, unread, by the bundle that they name.
// A key that names none is ErrStray.
func (r *Repository) Pointed(ctx context.Context) (map[evidence.Digest][]string, error) {
	out := map[evidence.Digest][]string{}
	err := r.store.List(ctx, pointerPrefix, func(key string) error {
		name := strings.TrimSuffix(path.Base(key), ".json")
		id, err := evidence.ParseDigest(name[strings.LastIndexByte(name, '-')+1:])
		if err != nil {
			return fmt.Errorf("key %s: not a pointer: %w", key, ErrStray)
		}
		out[id] = append(out[id], key)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.URL(), err)
	}
	return out, nil
}

// Bundles returns the ids of all stored bundles, pointed to or not, ascending.
// A bundle without a pointer is one whose Put was cut off, or whose pointer
// somebody removed.
func (r *Repository) Bundles(ctx context.Context) ([]evidence.Digest, error) {
	whole, _, err := r.scan(ctx, "")
	return whole, err
}

// Unfinished returns the ids of which something is stored, and no bundle (yet),
// ascending: no evidence, and nothing that stands in the way of any.
func (r *Repository) Unfinished(ctx context.Context) ([]evidence.Digest, error) {
	_, unfinished, err := r.scan(ctx, "")
	return unfinished, err
}

// scan lists the ids that begin with prefix.
func (r *Repository) scan(ctx context.Context, prefix string) (whole, unfinished []evidence.Digest, err error) {
	var ids []evidence.Digest
	committed := map[evidence.Digest]bool{}
	err = r.store.List(ctx, bundlePrefix+prefix, func(key string) error {
		id, name, _ := strings.Cut(strings.TrimPrefix(key, bundlePrefix), "/")
		d, err := evidence.ParseDigest(id)
		if err != nil {
			return fmt.Errorf("key %s: not a bundle id: %w; take it away if it is none of yours", key, ErrStray)
		}
		if len(ids) == 0 || ids[len(ids)-1] != d {
			ids = append(ids, d)
		}
		if name == commitFile || r.inTrees() {
			committed[d] = true
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list %s: %w", r.URL(), err)
	}
	for _, d := range ids {
		if committed[d] {
			whole = append(whole, d)
		} else {
			unfinished = append(unfinished, d)
		}
	}
	return whole, unfinished, nil
}

// Resolve finds the one bundle whose id begins with prefix (at least 4
// hexadecimal digits, "sha256:" allowed); "latest" is the newest pointer's.
func (r *Repository) Resolve(ctx context.Context, prefix string) (evidence.Digest, error) {
	if d, err := evidence.ParseDigest(prefix); err == nil {
		return d, nil
	}
	if prefix == "latest" {
		all, err := r.List(ctx, Filter{})
		if err != nil {
			return "", err
		}
		if len(all) == 0 {
			return "", fmt.Errorf("bundle latest in %s: %w: the repository is empty", r.URL(), fs.ErrNotExist)
		}
		return all[0].Bundle, nil
	}
	prefix = strings.TrimPrefix(prefix, "sha256:")
	if len(prefix) < 4 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%w: %q: want at least 4 hexadecimal digits, or latest", ErrBadID, prefix)
	}
	found, _, err := r.scan(ctx, prefix)
	switch {
	case err != nil:
		return "", fmt.Errorf("bundle %s: %w", prefix, err)
	case len(found) == 0:
		return "", fmt.Errorf("bundle %s in %s: %w: see helmproof list", prefix, r.URL(), fs.ErrNotExist)
	case len(found) > 1:
		return "", fmt.Errorf("%w: %s is ambiguous in %s: %d bundles begin with it; give more digits", ErrBadID, prefix, r.URL(), len(found))
	}
	return found[0], nil
}

// ErrBadID says that a bundle id cannot mean one bundle.
var ErrBadID = errors.New("bundle id")
