// Package osv scans images by the engine of osv-scanner (osv-scalibr), embedded,
// with a database of vulnerabilities that lies in a folder: no network is needed
// but to the registries of the images.
package osv

import (
	"archive/zip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"crypto/sha256"

	osvpb "github.com/ossf/osv-schema/bindings/go/osvschema"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/companyos/helmproof/evidence"
)

const (
	recordFile = "database.json"
	// archiveFolder is the folder that the engine looks for archives in, by ecosystem.
	archiveFolder = "osv-scalibr"
	archiveFile   = "all.zip"
)

// Limits on a database.
const (
	maxArchive = 2 << 30  // of one ecosystem, in bytes
	maxRecord  = 16 << 20 // of one vulnerability, in bytes
	maxRecords = 2_000_000
)

// Database is what is known of the folder: database.json.
type Database struct {
	Ecosystems []Ecosystem `json:"ecosystems"` // sorted by name
}

// Ecosystem is one archive of vulnerabilities.
type Ecosystem struct {
	Name    string          `json:"name"` // "Debian", "npm"
	URL     string          `json:"url"`
	Digest  evidence.Digest `json:"digest"` // of the archive
	Bytes   int64           `json:"bytes"`
	Records int             `json:"records"`
	// Unreadable counts records that this version of the engine cannot read, and
	// would pass over.
	Unreadable int `json:"unreadable,omitempty"`
	// BuiltAt is when the newest record was changed.
	BuiltAt time.Time `json:"builtAt"`
	// FetchedAt is when the archive was last found to be the newest.
	FetchedAt time.Time `json:"fetchedAt"`
	ETag      string    `json:"etag,omitempty"`
}

// ErrNoDatabase says that there is none in the folder.
var ErrNoDatabase = errors.New("no vulnerability database")

// Open reads what is known of the database in dir.
func Open(dir string) (*Database, error) {
	raw, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s: make one with helmproof db update --db %s", ErrNoDatabase, dir, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("vulnerability database: %w", err)
	}
	db := new(Database)
	if err := json.Unmarshal(raw, db); err != nil {
		return nil, fmt.Errorf("vulnerability database: %s: %w; make it again with helmproof db update", filepath.Join(dir, recordFile), err)
	}
	if len(db.Ecosystems) == 0 {
		return nil, fmt.Errorf("%w in %s: it is empty; fetch one with helmproof db update --db %s", ErrNoDatabase, dir, dir)
	}
	for _, e := range db.Ecosystems {
		if err := checkName(e.Name); err != nil {
			return nil, fmt.Errorf("vulnerability database: %w", err)
		}
	}
	return db, nil
}

// BuiltAt is the age of the oldest part.
func (db *Database) BuiltAt() time.Time {
	var out time.Time
	for _, e := range db.Ecosystems {
		if out.IsZero() || e.BuiltAt.Before(out) {
			out = e.BuiltAt
		}
	}
	return out
}

func (db *Database) find(name string) *Ecosystem {
	for i := range db.Ecosystems {
		if db.Ecosystems[i].Name == name {
			return &db.Ecosystems[i]
		}
	}
	return nil
}

func archivePath(dir, ecosystem string) string {
	return filepath.Join(dir, archiveFolder, ecosystem, archiveFile)
}

var ecosystemPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9 ._-]{0,40}$`)

func checkName(name string) error {
	if !ecosystemPattern.MatchString(name) {
		return fmt.Errorf("ecosystem %q: want a name of https://osv.dev without a release, such as Debian, Alpine, npm or Go", name)
	}
	return nil
}

// check compares the archives with what was recorded of them: an archive that was
// changed or damaged since is not used.
func (db *Database) check(ctx context.Context, dir string) error {
	for _, e := range db.Ecosystems {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		path := archivePath(dir, e.Name)
		d, n, err := digestFile(path)
		if err != nil {
			return fmt.Errorf("vulnerability database of %s: %w; fetch it again with helmproof db update", e.Name, err)
		}
		if d != e.Digest || n != e.Bytes {
			return fmt.Errorf("vulnerability database of %s: %s is not what was fetched: %s, not %s; fetch it again with helmproof db update", e.Name, path, d.Short(), e.Digest.Short())
		}
	}
	return nil
}

func digestFile(path string) (evidence.Digest, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	n, err := io.Copy(h, f)
	return sum(h), n, err
}

func sum(h hash.Hash) evidence.Digest {
	return evidence.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

// inspect reads a whole archive, and counts what the engine can read of it.
func (e *Ecosystem) inspect(ctx context.Context, path string) error {
	r, err := zip.OpenReader(path)
	if err != nil {
		return fmt.Errorf("no zip of vulnerabilities: %w", err)
	}
	defer r.Close() //nolint:errcheck // only read
	if len(r.File) > maxRecords {
		return fmt.Errorf("%d records, at most %d are read", len(r.File), maxRecords)
	}
	for _, f := range r.File {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if !strings.HasSuffix(f.Name, ".json") {
			continue
		}
		raw, err := readRecord(f)
		if err != nil {
			return fmt.Errorf("%.100q: %w", f.Name, err)
		}
		v := &osvpb.Vulnerability{}
		if err := protojson.Unmarshal(raw, v); err != nil {
			if !json.Valid(raw) {
				return fmt.Errorf("%.100q: no JSON", f.Name)
			}
			e.Unreadable++ // a record of a later schema
		}
		e.Records++
		if t := v.GetModified().AsTime(); v.GetModified() != nil && t.After(e.BuiltAt) {
			e.BuiltAt = t
		}
	}
	if e.Records == 0 {
		return errors.New("no records (*.json) in it")
	}
	return nil
}

func readRecord(f *zip.File) ([]byte, error) {
	in, err := f.Open()
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxRecord+1))
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	if len(raw) > maxRecord {
		return nil, fmt.Errorf("more than %d bytes", maxRecord)
	}
	return raw, nil
}

// write stores database.json, whole or not at all.
func (db *Database) write(dir string) error {
	slices.SortFunc(db.Ecosystems, func(a, b Ecosystem) int { return strings.Compare(a.Name, b.Name) })
	raw, err := json.MarshalIndent(db, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(raw, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, recordFile))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
