package osv

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rpmdb "github.com/erikvarga/go-rpmdb/pkg"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/internal/imagetest"
)

// rpmDatabase returns one of the databases, of real images, that the reader of
// RPM's formats is tested with.
func rpmDatabase(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/erikvarga/go-rpmdb").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "pkg", "testdata", filepath.FromSlash(name))
}

// TestRPM lists the packages of RPM's three formats. The numbers are those that
// osv-scalibr's own extractor finds, with SQLite itself.
func TestRPM(t *testing.T) {
	t.Parallel()
	registerSQLite()
	for _, c := range []struct {
		database string
		packages int
		one      string
	}{
		{"fedora35/rpmdb.sqlite", 138, "bash 5.1.8-2.fc35 bash-5.1.8-2.fc35.src.rpm x86_64"},
		{"fedora35-plus-mongo/rpmdb.sqlite", 142, "bash 5.1.8-2.fc35 bash-5.1.8-2.fc35.src.rpm x86_64"},
		{"cbl-mariner-2.0/rpmdb.sqlite", 129, "bash 5.1.8-1.cm2 bash-5.1.8-1.cm2.src.rpm x86_64"},
		{"sle15-bci/Packages.db", 35, "bash 4.4-19.6.1 bash-4.4-19.6.1.src.rpm x86_64"},
		{"centos7-plain/Packages", 144, "bash 4.2.46-30.el7 bash-4.2.46-30.el7.src.rpm x86_64"},
	} {
		list, err := listRPM(t.Context(), rpmDatabase(t, c.database))
		if err != nil || len(list) != c.packages {
			t.Errorf("%s: %d packages, want %d, %v", c.database, len(list), c.packages, err)
		}
		has := slices.ContainsFunc(list, func(p *rpmdb.PackageInfo) bool {
			return p.Name+" "+p.Version+"-"+p.Release+" "+p.SourceRpm+" "+p.Arch == c.one
		})
		if !has {
			t.Errorf("%s: no %s", c.database, c.one)
		}
	}
}

// TestRPMDamaged holds that a database that is not read to its end is a gap, and
// that nothing of it counts.
func TestRPMDamaged(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(rpmDatabase(t, "fedora35/rpmdb.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	raw = raw[:len(raw)/2]
	cut := filepath.Join(t.TempDir(), "rpmdb.sqlite")
	if err := os.WriteFile(cut, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	img := imagetest.Push(t, imagetest.Registry(t)+"/rpm:1", imagetest.Files(t, map[string]string{"var/lib/rpm/rpmdb.sqlite": string(raw)}))
	got := scanAll(t, scanner(t, database(t, "Debian")), scan.Target{Reference: img, Platform: "linux/amd64"})
	if !slices.ContainsFunc(got[0], func(s string) bool { return strings.HasPrefix(s, "gap: os/rpm: ") }) {
		t.Errorf("%q", got)
	}
	if list, err := listRPM(t.Context(), cut); err == nil || len(list) > 0 || !strings.Contains(err.Error(), "page ") {
		t.Errorf("%d packages, %v", len(list), err)
	}
}
