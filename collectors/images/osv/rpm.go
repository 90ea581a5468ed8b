package osv

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	rpmdb "github.com/erikvarga/go-rpmdb/pkg"
	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/os/osrelease"
	rpmmeta "github.com/google/osv-scalibr/extractor/filesystem/os/rpm/metadata"
	"github.com/google/osv-scalibr/inventory"
	"github.com/google/osv-scalibr/plugin"
	"github.com/google/osv-scalibr/purl"

	"github.com/companyos/helmproof/internal/sqlite"
)

// rpmTimeout bounds the reading of one database: of a damaged one there may be no end.
const rpmTimeout = 5 * time.Minute

// rpmExtractor lists what RPM installed. It does what osv-scalibr's own does,
// with the same reader of RPM's formats, but links no SQLite, of which that
// reader asks for one column of one table.
type rpmExtractor struct{}

func newRPM(*cpb.PluginConfig) (filesystem.Extractor, error) {
	registerSQLite()
	return rpmExtractor{}, nil
}

// Name implements plugin.Plugin: it is that of osv-scalibr's.
func (rpmExtractor) Name() string { return "os/rpm" }

// Version implements plugin.Plugin.
func (rpmExtractor) Version() int { return 0 }

// Requirements implements plugin.Plugin.
func (rpmExtractor) Requirements() *plugin.Capabilities { return &plugin.Capabilities{} }

// FileRequired implements filesystem.Extractor.
func (rpmExtractor) FileRequired(api filesystem.FileAPI) bool {
	dir, file := path.Split(filepath.ToSlash(api.Path()))
	if !slices.Contains([]string{"usr/lib/sysimage/rpm/", "var/lib/rpm/", "usr/share/rpm/"}, dir) ||
		!slices.Contains([]string{"Packages", "Packages.db", "rpmdb.sqlite"}, file) {
		return false
	}
	_, err := api.Stat()
	return err == nil
}

// Extract implements filesystem.Extractor.
func (rpmExtractor) Extract(ctx context.Context, input *filesystem.ScanInput) (inventory.Inventory, error) {
	file, err := input.GetRealPath()
	if err != nil {
		return inventory.Inventory{}, fmt.Errorf("copy %s: %w", input.Path, err)
	}
	if input.Root == "" { // a copy was made
		defer func() { _ = os.RemoveAll(filepath.Dir(file)) }()
	}
	installed, err := listRPM(ctx, file)
	if err != nil {
		return inventory.Inventory{}, fmt.Errorf("read %s: %w", input.Path, err)
	}
	release, err := osrelease.GetOSRelease(input.FS)
	if err != nil {
		release = nil // no distribution is known, and no database has the packages
	}
	var inv inventory.Inventory
	for _, p := range installed {
		inv.Packages = append(inv.Packages, &extractor.Package{
			Name:     p.Name,
			Version:  p.Version + "-" + p.Release,
			PURLType: purl.TypeRPM,
			Location: extractor.LocationFromPath(input.Path),
			Licenses: []string{p.License},
			Metadata: &rpmmeta.Metadata{
				PackageName:  p.Name,
				SourceRPM:    p.SourceRpm,
				Epoch:        p.EpochNum(),
				OSName:       release["NAME"],
				OSPrettyName: release["PRETTY_NAME"],
				OSID:         release["ID"],
				OSVersionID:  release["VERSION_ID"],
				OSBuildID:    release["BUILD_ID"],
				Vendor:       p.Vendor,
				Architecture: p.Arch,
			},
		})
	}
	return inv, nil
}

func listRPM(ctx context.Context, file string) ([]*rpmdb.PackageInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, rpmTimeout)
	defer cancel()
	db, err := rpmdb.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	return db.ListPackagesWithContext(ctx)
}

// registerSQLite gives the reader of RPM's databases, which asks database/sql for
// a driver of this name, one that answers its only query.
var registerSQLite = sync.OnceFunc(func() {
	if !slices.Contains(sql.Drivers(), "sqlite") {
		sql.Register("sqlite", rpmDriver{})
	}
})

const rpmQuery = "SELECT blob FROM Packages"

// rpmDriver is a driver.Driver, and the names of files are its connections.
type rpmDriver struct{}

// Open implements driver.Driver.
func (rpmDriver) Open(file string) (driver.Conn, error) { return rpmFile(file), nil }

type rpmFile string

// Prepare implements driver.Conn.
func (f rpmFile) Prepare(query string) (driver.Stmt, error) {
	if query != rpmQuery {
		return nil, fmt.Errorf("query %q: only %q is answered", query, rpmQuery)
	}
	return rpmStatement{f}, nil
}

// Close implements driver.Conn.
func (rpmFile) Close() error { return nil }

var errReadOnly = errors.New("the database is only read")

// Begin implements driver.Conn.
func (rpmFile) Begin() (driver.Tx, error) { return nil, errReadOnly }

type rpmStatement struct{ file rpmFile }

// Close implements driver.Stmt.
func (rpmStatement) Close() error { return nil }

// NumInput implements driver.Stmt.
func (rpmStatement) NumInput() int { return 0 }

// Exec implements driver.Stmt.
func (rpmStatement) Exec([]driver.Value) (driver.Result, error) { return nil, errReadOnly }

// Query implements driver.Stmt. All rows are read here: who asks for them does
// not look at an error that comes later.
func (s rpmStatement) Query([]driver.Value) (driver.Rows, error) {
	f, err := os.Open(string(s.file))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	blobs, err := sqlite.Blobs(f, info.Size(), "Packages")
	if err != nil {
		return nil, err
	}
	return &rpmRows{blobs}, nil
}

type rpmRows struct{ left [][]byte }

// Columns implements driver.Rows.
func (*rpmRows) Columns() []string { return []string{"blob"} }

// Close implements driver.Rows.
func (*rpmRows) Close() error { return nil }

// Next implements driver.Rows.
func (r *rpmRows) Next(to []driver.Value) error {
	if len(r.left) == 0 {
		return io.EOF
	}
	to[0], r.left = r.left[0], r.left[1:]
	return nil
}
