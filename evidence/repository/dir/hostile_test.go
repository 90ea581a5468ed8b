package dir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func bundleOf(n int) (repository.Pointer, map[string][]byte) {
	zip := fmt.Appendf(nil, "evidence %d", n)
	p := repository.Pointer{
		Bundle: evidence.DigestOf(zip), Scope: evidence.ScopeRelease, Chart: "payments", Release: "payments", Namespace: "default",
		Profile: "chart", Outcome: evidence.VerdictPass, EvaluatedAt: time.Date(2026, 11, 1, 12, 0, n, 0, time.UTC),
	}
	return p, map[string][]byte{"evidence.zip": zip, "evidence.sigstore.json": fmt.Appendf(nil, "signature %d", n), "report.md": fmt.Appendf(nil, "report %d", n)}
}

// within fails the test where do does not return: a wait that nothing ends.
func within(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it hangs")
	}
}

// replacements put something else in the place of a file or directory of a
// repository, which was moved away.
var replacements = map[string]struct {
	kind string
	put  func(t *testing.T, name, moved string)
}{
	"link out of the repository": {"symbolic link", func(t *testing.T, name, moved string) { must(t, os.Symlink(moved, name)) }},
	"link inside the repository": {"symbolic link", func(t *testing.T, name, moved string) {
		inside := filepath.Join(filepath.Dir(name), ".moved")
		must(t, os.Rename(moved, inside))
		must(t, os.Symlink(".moved", name))
	}},
	"pipe":   {"named pipe", func(t *testing.T, name, _ string) { must(t, syscall.Mkfifo(name, 0o600)) }},
	"socket": {"socket", func(t *testing.T, name, _ string) { must(t, syscall.Mknod(name, syscall.S_IFSOCK|0o600, 0)) }},
}

// Whatever in the repository is neither a directory nor a regular file is an error
// to readers and to writers, never followed, waited for, or left out.
func TestReplaced(t *testing.T) {
	t.Parallel()
	p, files := bundleOf(1)
	folder := "bundles/" + p.Bundle.Hex()
	for _, place := range []string{"bundles", folder, folder + "/evidence.zip", folder + "/report.md", "releases", "releases/payments", "releases/payments/default@-", "pointer"} {
		for name, with := range replacements {
			t.Run(name+" at "+strings.ReplaceAll(place, p.Bundle.Hex(), "ID"), func(t *testing.T) {
				t.Parallel()
				root := filepath.Join(t.TempDir(), "repo")
				r := repository.New(dir.Open(root))
				must(t, r.Put(t.Context(), p, files))
				at := place
				if place == "pointer" {
					at = "releases/payments/default@-/20261101T120001Z-" + p.Bundle.Hex() + ".json"
				}
				at = filepath.Join(root, at)
				moved := filepath.Join(t.TempDir(), "moved")
				must(t, os.Rename(at, moved))
				with.put(t, at, moved)

				var errs []string
				note := func(what string, err error) {
					if err != nil {
						errs = append(errs, what+": "+err.Error())
					}
				}
				within(t, func() {
					_, err := r.List(t.Context(), repository.Filter{})
					note("list", err)
					_, err = r.Bundles(t.Context())
					note("bundles", err)
					_, err = r.Get(t.Context(), p.Bundle)
					note("get", err)
					note("put", r.Put(t.Context(), p, files))
				})
				var want []string
				if strings.HasPrefix(place, "bundles") {
					want = []string{"bundles", "get", "put"}
				} else {
					want = []string{"list", "put"}
				}
				if len(errs) != len(want) {
					t.Fatalf("errors %q, want one of each of %v", errs, want)
				}
				for i, what := range want {
					if !strings.HasPrefix(errs[i], what+": ") || !strings.Contains(errs[i], "not a ") || !strings.Contains(errs[i], with.kind) {
						t.Errorf("%q, want %s to say that there is a %s", errs[i], what, with.kind)
					}
				}
			})
		}
	}
}

// elsewhere is a folder outside a repository with files that are older than what
// a sweep takes away, and a check that nothing in it changed.
func elsewhere(t *testing.T) (string, func()) {
	t.Helper()
	out := t.TempDir()
	old := time.Now().Add(-48 * time.Hour)
	must(t, os.MkdirAll(filepath.Join(out, "documents", "deep"), 0o700))
	for _, name := range []string{"a", "documents/b", "documents/deep/c"} {
		must(t, os.WriteFile(filepath.Join(out, name), []byte(name), 0o600))
	}
	names := []string{"documents/deep/c", "documents/b", "a", "documents/deep", "documents", "."}
	for _, name := range names {
		must(t, os.Chtimes(filepath.Join(out, name), old, old))
	}
	return out, func() {
		t.Helper()
		var have []string
		must(t, filepath.WalkDir(out, func(name string, _ fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(out, name)
			have = append(have, rel)
			return err
		}))
		slices.Sort(names)
		slices.Sort(have)
		if !slices.Equal(have, names) {
			t.Errorf("outside the repository there is %q, want %q", have, names)
		}
	}
}

func TestStagingIsALink(t *testing.T) {
	t.Parallel()
	for _, at := range []string{".staging", ".staging/put-old", ".staging/put-old/tree"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			out, unchanged := elsewhere(t)
			link := filepath.Join(root, at)
			must(t, os.MkdirAll(filepath.Dir(link), 0o700))
			must(t, os.Symlink(out, link))
			old := time.Now().Add(-48 * time.Hour)
			if at != ".staging" {
				must(t, os.Chtimes(filepath.Join(root, ".staging", "put-old"), old, old))
			}
			p, files := bundleOf(1)
			err := repository.New(dir.Open(root)).Put(t.Context(), p, files)
			unchanged()
			if at != ".staging" {
				must(t, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), ".staging: this is not helmproof's: not a directory: a symbolic link") {
				t.Errorf("put: %v, want the link refused", err)
			}
		})
	}
}

// While somebody swaps directories of the repository for links and back, nothing
// outside of it is made, changed or removed.
func TestSwappedForLinks(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	out, unchanged := elsewhere(t)
	r := repository.New(dir.Open(root))
	p, files := bundleOf(0)
	must(t, r.Put(t.Context(), p, files))
	var stop atomic.Bool
	var wg sync.WaitGroup
	for _, name := range []string{"bundles", "releases", ".staging"} {
		wg.Go(func() {
			at, aside := filepath.Join(root, name), filepath.Join(root, ".aside-"+name)
			for !stop.Load() {
				// A writer may have made the directory anew meanwhile, so that one of these fails.
				if os.Rename(at, aside) == nil {
					_ = os.Symlink(out, at)
					_ = os.Remove(at)
					_ = os.Rename(aside, at)
				}
			}
		})
	}
	for n := range 300 {
		p, files := bundleOf(n)
		_ = r.Put(t.Context(), p, files) // it may succeed or not
		_, _ = r.Get(t.Context(), p.Bundle)
	}
	stop.Store(true)
	wg.Wait()
	unchanged()
}

// A file system that hangs holds up nobody whose context ends.
func TestHangingFileSystem(t *testing.T) {
	t.Parallel()
	hangs, over := make(chan struct{}, 16), make(chan struct{})
	ended := make(chan struct{}, 16)
	s := dir.OpenSyncing(filepath.Join(t.TempDir(), "repo"), func(*os.File) error {
		hangs <- struct{}{}
		<-over
		ended <- struct{}{}
		return errors.New("the server of the file system is gone")
	})
	p, files := bundleOf(1)
	writes := map[string]func(context.Context) error{
		"create": func(ctx context.Context) error { return s.Create(ctx, "a/b", []byte("1")) },
		"put":    func(ctx context.Context) error { return repository.New(s).Put(ctx, p, files) },
	}
	for name, write := range writes {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("SIGTERM")
		go func() { <-hangs; cancel(why) }()
		within(t, func() {
			if err := write(ctx); !errors.Is(err, why) {
				t.Errorf("%s: %v, want the end of its context", name, err)
			}
		})
	}
	close(over)
	for range writes {
		<-ended // what was left behind
	}
}

// Whatever was made on the way to what is stored is durable, the repository's own
// entry and its parents' included.
// TestNothingIsReadAfterwards: a read that is left behind writes nothing into the
// buffer of who has gone on.
func TestNothingIsReadAfterwards(t *testing.T) {
	t.Parallel()
	const pipe = 64 << 10 // bytes that it holds
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	buf := make([]byte, pipe)
	in := dir.Reading(ctx, r)
	time.AfterFunc(10*time.Millisecond, cancel)
	for range 2 {
		if n, err := in.Read(buf); n != 0 || !errors.Is(err, context.Canceled) {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	within(t, func() { // the pipe takes all of it only when the first read has ended
		if _, err := w.Write(bytes.Repeat([]byte("x"), pipe+1)); err != nil {
			t.Error(err)
		}
	})
	if bytes.ContainsRune(buf, 'x') {
		t.Error("the buffer was written to")
	}
}

func TestEveryEntryIsSynced(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	var mu sync.Mutex
	synced := map[string]bool{}
	s := dir.OpenSyncing(filepath.Join(top, "new", "deep", "repo"), func(f *os.File) error {
		mu.Lock()
		defer mu.Unlock()
		rel, err := filepath.Rel(top, f.Name())
		synced[rel] = true
		return errors.Join(err, f.Sync())
	})
	p, files := bundleOf(1)
	must(t, repository.New(s).Put(t.Context(), p, files))
	for _, dir := range []string{".", "new", "new/deep", "new/deep/repo", "new/deep/repo/bundles", "new/deep/repo/releases", "new/deep/repo/releases/payments", "new/deep/repo/releases/payments/default@-"} {
		if !synced[dir] {
			t.Errorf("the entries of %s were not synced", dir)
		}
	}
	for name := range files {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(synced)), func(s string) bool { return filepath.Base(s) == name }) {
			t.Errorf("%s was not synced", name)
		}
	}
}
