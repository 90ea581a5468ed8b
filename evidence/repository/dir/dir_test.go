package dir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
	"github.com/companyos/helmproof/evidence/repository/repositorytest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	repositorytest.Run(t, func(t *testing.T) repository.Store { return dir.Open(filepath.Join(t.TempDir(), "repo")) })
}

func TestReadingCreatesNothing(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "repo")
	r := repository.New(dir.Open(root))
	if list, err := r.List(t.Context(), repository.Filter{}); err != nil || len(list) != 0 {
		t.Fatalf("list of a directory that is not there: %v, %v", list, err)
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("listing made %s", root)
	}
}

func TestNothingIsLeftInStaging(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s := dir.Open(root)
	if err := s.Create(t.Context(), "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), "a", []byte("2")); err == nil {
		t.Fatal("overwritten")
	}
	if err := s.CreateTree(t.Context(), "t/", map[string]repository.Content{"bad/name": repository.Bytes(nil)}); err == nil || !strings.Contains(err.Error(), "not allowed") {
		t.Fatalf("a file name with a slash: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(root, ".staging"))
	if err != nil || len(left) != 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
}

func TestAbandonedWritesAreSwept(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	stage := func(name string, age time.Duration) string {
		dir := filepath.Join(root, ".staging", name)
		if err := os.MkdirAll(filepath.Join(dir, "tree"), 0o755); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	abandoned, underWay := stage("put-1", 25*time.Hour), stage("put-2", time.Hour)
	if err := dir.Open(root).Create(t.Context(), "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abandoned); !os.IsNotExist(err) {
		t.Errorf("what a process left a day ago is still there: %v", err)
	}
	if _, err := os.Stat(underWay); err != nil {
		t.Errorf("what may be another process's write is gone: %v", err)
	}
}

func TestSymlinkIsNotEvidence(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Open(root).Read(t.Context(), "link", 10); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("read of a link to a directory: %v", err)
	}
}
