package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A values file may hold secrets: harden --apply lets nobody read it who could not before,
// and leaves a link to it a link.
func TestWriteValues(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, link, fresh := filepath.Join(dir, "secret.yaml"), filepath.Join(dir, "values.yaml"), filepath.Join(dir, "new.yaml")
	if err := os.WriteFile(file, []byte("a: b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("secret.yaml", link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{link, fresh} {
		if err := writeValues(name, []byte("a: c\n")); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]fs.FileMode{file: 0o600, link: fs.ModeSymlink, fresh: 0o644} {
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode(); got != want && got.Type() != fs.ModeSymlink || got.Type() != want.Type() {
			t.Errorf("%s: %s, want %s", filepath.Base(name), got, want)
		}
		if raw, err := os.ReadFile(name); err != nil || string(raw) != "a: c\n" {
			t.Errorf("%s: %q, %v", filepath.Base(name), raw, err)
		}
	}
}
