package main

import (
	"path/filepath"
	"testing"

	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
)

// TestMemoryOfRepositories: the same relative path is another repository in another
// folder, and remembered as such; a repository is the same one however it is named.
func TestMemoryOfRepositories(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	memory := func(path string) string {
		t.Helper()
		file, err := memoryOf(repository.New(dir.Open(path)))
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	one, two := t.TempDir(), t.TempDir()
	t.Chdir(one)
	first := memory("evidence-repo")
	if got := memory(filepath.Join(one, "evidence-repo")); got != first {
		t.Errorf("named by its whole path: %s, want %s", got, first)
	}
	t.Chdir(two)
	if memory("evidence-repo") == first {
		t.Error("the repositories of two folders are remembered as one")
	}
}
