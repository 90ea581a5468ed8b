// Package repositorytest is the one suite that every repository backend passes.
package repositorytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
)

// Run tests a backend; open returns a new, empty store each time.
func Run(t *testing.T, open func(t *testing.T) repository.Store) {
	t.Helper()
	tests := map[string]func(*testing.T, repository.Store){
		"write once":             writeOnce,
		"read limit":             readLimit,
		"unsafe keys":            unsafeKeys,
		"list in order":          listInOrder,
		"concurrent creators":    concurrentCreators,
		"cancelled":              cancelled,
		"put, list, get":         putListGet,
		"put twice":              putTwice,
		"resolve":                resolve,
		"bundle without pointer": withoutPointer,
		"cut off":                cutOff,
		"other files":            otherFiles,
		"forged pointer":         forgedPointer,
		"odd names":              oddNames,
		"reviews":                reviews,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, s repository.Store, prefix string) []string {
	t.Helper()
	got := []string{}
	must(t, s.List(t.Context(), prefix, func(k string) error { got = append(got, k); return nil }))
	return got
}

func writeOnce(t *testing.T, s repository.Store) {
	ctx := t.Context()
	if _, err := s.Read(ctx, "a/b", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("read before create: %v, want fs.ErrNotExist", err)
	}
	for _, content := range [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), 9<<20)} {
		key := fmt.Sprintf("a/%d", len(content))
		must(t, s.Create(ctx, key, content))
		must(t, s.Create(ctx, key, content)) // the same again
		for _, other := range [][]byte{append(slices.Clone(content), 'y'), []byte("tw0")} {
			if err := s.Create(ctx, key, other); !errors.Is(err, repository.ErrExists) {
				t.Errorf("create %s with other bytes: %v, want ErrExists", key, err)
			}
		}
		got, err := s.Read(ctx, key, int64(len(content)))
		must(t, err)
		if !bytes.Equal(got, content) {
			t.Errorf("%s: read %d bytes, want the %d that were stored first", key, len(got), len(content))
		}
	}
}

func readLimit(t *testing.T, s repository.Store) {
	must(t, s.Create(t.Context(), "k", []byte("12345")))
	if _, err := s.Read(t.Context(), "k", 4); !errors.Is(err, repository.ErrTooLarge) {
		t.Errorf("read 5 bytes with limit 4: %v, want ErrTooLarge", err)
	}
}

func unsafeKeys(t *testing.T, s repository.Store) {
	for _, key := range []string{"", "/a", "../a", "a/../b", "a//b", "a/", ".", "..", ".hidden", "a/.b", `a\b`, "a\x00", "a\nb", "\xff", strings.Repeat("a", 2000), strings.Repeat("b", 300)} {
		if err := s.Create(t.Context(), key, nil); err == nil || !strings.Contains(err.Error(), "key ") {
			t.Errorf("create %q: %v, want the key refused", key, err)
		}
		if _, err := s.Read(t.Context(), key, 1); err == nil || !strings.Contains(err.Error(), "key ") {
			t.Errorf("read %q: %v, want the key refused", key, err)
		}
	}
}

func listInOrder(t *testing.T, s repository.Store) {
	if got := keys(t, s, ""); len(got) != 0 {
		t.Fatalf("an empty store lists %q", got)
	}
	for _, k := range []string{"b/2", "a-b", "a/b/c", "b/10", "a/b", "bb/1"} {
		if k == "a/b" {
			k = "a/bb" // a file and a folder of one name cannot both be in a directory
		}
		must(t, s.Create(t.Context(), k, []byte(k)))
	}
	for prefix, want := range map[string][]string{
		"":    {"a-b", "a/b/c", "a/bb", "b/10", "b/2", "bb/1"},
		"a/":  {"a/b/c", "a/bb"},
		"a/b": {"a/b/c", "a/bb"},
		"b":   {"b/10", "b/2", "bb/1"},
		"b/1": {"b/10"},
		"zz/": {},
	} {
		if d := cmp.Diff(want, keys(t, s, prefix)); d != "" {
			t.Errorf("list %q (-want +got):\n%s", prefix, d)
		}
	}
	stop := errors.New("stop")
	if err := s.List(t.Context(), "", func(string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("list: %v, want the error of yield", err)
	}
}

func concurrentCreators(t *testing.T, s repository.Store) {
	const n = 8
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { errs[i] = s.Create(context.Background(), "one", []byte{byte(i)}) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Fatalf("creators %d and %d both succeeded with different bytes", winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, repository.ErrExists):
			t.Errorf("creator %d: %v, want ErrExists", i, err)
		}
	}
	got, err := s.Read(t.Context(), "one", 1)
	must(t, err)
	if winner < 0 || got[0] != byte(winner) {
		t.Errorf("creator %d won, stored is %v", winner, got)
	}
}

func cancelled(t *testing.T, s repository.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Create(ctx, "a", []byte("a")); err == nil {
		t.Error("create succeeded after its context was cancelled")
	}
	if got := keys(t, s, ""); len(got) != 0 {
		t.Errorf("a cancelled create left %q", got)
	}
}

func bundle(n int, at time.Time) (repository.Pointer, map[string][]byte) {
	zip := fmt.Appendf(nil, "evidence %d", n)
	p := repository.Pointer{
		Bundle: evidence.DigestOf(zip), Scope: evidence.ScopeRelease, Chart: "payments", Version: "1.0.0", Release: "payments",
		Namespace: "default", Profile: "chart", Outcome: evidence.VerdictPass, EvaluatedAt: at,
	}
	return p, map[string][]byte{"evidence.zip": zip, "evidence.sigstore.json": []byte("{}"), "report.pdf": fmt.Appendf(nil, "pdf %d", n)}
}

var day = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func putListGet(t *testing.T, s repository.Store) {
	r := repository.New(s)
	var want []repository.Pointer
	for i := range 3 {
		p, files := bundle(i, day.Add(time.Duration(i)*time.Hour))
		must(t, r.Put(t.Context(), p, files))
		want = append([]repository.Pointer{p}, want...)
		got, err := r.Get(t.Context(), p.Bundle)
		must(t, err)
		if d := cmp.Diff(files, got); d != "" {
			t.Errorf("get (-want +got):\n%s", d)
		}
	}
	got, err := r.List(t.Context(), repository.Filter{})
	must(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("list, newest first (-want +got):\n%s", d)
	}
	for f, n := range map[repository.Filter]int{
		{Chart: "payments"}: 3, {Chart: "pay"}: 0, {Namespace: "default"}: 3, {Namespace: "x"}: 0,
		{Scope: evidence.ScopeCluster}: 0, {Cluster: "abc"}: 0,
	} {
		got, err := r.List(t.Context(), f)
		must(t, err)
		if len(got) != n {
			t.Errorf("list %+v: %d, want %d", f, len(got), n)
		}
	}
	b, err := r.GetFile(t.Context(), want[0].Bundle, "report.pdf")
	must(t, err)
	if string(b) != "pdf 2" {
		t.Errorf("report.pdf is %q", b)
	}
	if _, err := r.GetFile(t.Context(), want[0].Bundle, "../x"); err == nil {
		t.Error("a file name that leaves the bundle was read")
	}
	if _, err := r.Get(t.Context(), evidence.DigestOf([]byte("other"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get of an unknown bundle: %v, want fs.ErrNotExist", err)
	}
}

func putTwice(t *testing.T, s repository.Store) {
	r := repository.New(s)
	p, files := bundle(1, day)
	must(t, r.Put(t.Context(), p, files))
	must(t, r.Put(t.Context(), p, files))
	files["report.pdf"] = []byte("another")
	if err := r.Put(t.Context(), p, files); !errors.Is(err, repository.ErrExists) {
		t.Errorf("put with another report: %v, want ErrExists", err)
	}
	got, err := r.GetFile(t.Context(), p.Bundle, "report.pdf")
	must(t, err)
	if string(got) != "pdf 1" {
		t.Errorf("the first report was replaced by %q", got)
	}
}

func resolve(t *testing.T, s repository.Store) {
	r := repository.New(s)
	if _, err := r.Resolve(t.Context(), "latest"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("latest of an empty repository: %v, want fs.ErrNotExist", err)
	}
	var newest repository.Pointer
	for i := range 40 {
		p, files := bundle(i, day.Add(time.Duration(i)*time.Minute))
		must(t, r.Put(t.Context(), p, files))
		newest = p
	}
	for _, in := range []string{"latest", string(newest.Bundle), newest.Bundle.Hex(), newest.Bundle.Hex()[:40], "sha256:" + newest.Bundle.Hex()[:40]} {
		got, err := r.Resolve(t.Context(), in)
		must(t, err)
		if got != newest.Bundle {
			t.Errorf("resolve %s: %s, want %s", in, got, newest.Bundle)
		}
	}
	for in, want := range map[string]error{"abc": repository.ErrBadID, "": repository.ErrBadID, "../../etc": repository.ErrBadID, "ffffffffffffffff": fs.ErrNotExist} {
		if _, err := r.Resolve(t.Context(), in); !errors.Is(err, want) {
			t.Errorf("resolve %q: %v, want %v", in, err, want)
		}
	}
}

func withoutPointer(t *testing.T, s repository.Store) {
	r := repository.New(s)
	p, files := bundle(1, day)
	for name, b := range files {
		must(t, s.Create(t.Context(), "bundles/"+p.Bundle.Hex()+"/"+name, b))
	}
	list, err := r.List(t.Context(), repository.Filter{})
	must(t, err)
	all, err := r.Bundles(t.Context())
	must(t, err)
	if len(list) != 0 || len(all) != 1 || all[0] != p.Bundle {
		t.Errorf("list %v, bundles %v; want none listed and one there", list, all)
	}
	must(t, r.Put(t.Context(), p, files)) // finishing the cut-off put
	if list, err = r.List(t.Context(), repository.Filter{}); err != nil || len(list) != 1 {
		t.Errorf("after finishing: %v, %v", list, err)
	}
}

// objects is a store that stores one object after the other, and breaks after some.
type objects struct {
	repository.Store
	left int
}

var errBroken = errors.New("the process was killed")

func (o *objects) Create(ctx context.Context, key string, data []byte) error {
	if o.left == 0 {
		return errBroken
	}
	o.left--
	return o.Store.Create(ctx, key, data)
}

// cutOff holds for every object that may be the last before a crash: what is not
// whole is not seen, nothing else is in the way, and the next Put finishes it.
func cutOff(t *testing.T, s repository.Store) {
	other, otherFiles := bundle(100, day)
	other.Chart = "other"
	must(t, repository.New(&objects{s, -1}).Put(t.Context(), other, otherFiles))
	want := []evidence.Digest{other.Bundle}
	for n := range 5 {
		p, files := bundle(n, day)
		if err := repository.New(&objects{s, n}).Put(t.Context(), p, files); n < 4 && !errors.Is(err, errBroken) || n == 4 && err != nil {
			t.Fatalf("put that breaks after %d objects: %v", n, err)
		}
		r := repository.New(&objects{s, -1})
		if n >= 3 { // all files, with or without the pointer
			want = append(want, p.Bundle)
		}
		wantBundles(t, r, want)
		unfinished, err := r.Unfinished(t.Context())
		must(t, err)
		if begun := n > 0 && n < 3; slices.Contains(unfinished, p.Bundle) != begun {
			t.Errorf("unfinished after %d objects: %v", n, unfinished)
		}
		if _, err := r.Get(t.Context(), p.Bundle); errors.Is(err, fs.ErrNotExist) != (n < 3) {
			t.Errorf("get after %d objects: %v", n, err)
		}
		if _, err := r.Resolve(t.Context(), p.Bundle.Hex()[:20]); errors.Is(err, fs.ErrNotExist) != (n < 3) {
			t.Errorf("resolve after %d objects: %v", n, err)
		}
		list, err := r.List(t.Context(), repository.Filter{})
		must(t, err)
		if slices.ContainsFunc(list, func(q repository.Pointer) bool { return q.Bundle == p.Bundle }) != (n == 4) {
			t.Errorf("list after %d objects: %v", n, list)
		}
		must(t, r.Put(t.Context(), p, files))
		got, err := r.Get(t.Context(), p.Bundle)
		must(t, err)
		if d := cmp.Diff(files, got); d != "" {
			t.Errorf("finished after %d objects (-want +got):\n%s", n, d)
		}
		if n < 3 {
			want = append(want, p.Bundle)
		}
		wantBundles(t, r, want)
	}
}

func wantBundles(t *testing.T, r *repository.Repository, want []evidence.Digest) {
	t.Helper()
	got, err := r.Bundles(t.Context())
	must(t, err)
	if d := cmp.Diff(slices.Sorted(slices.Values(want)), got); d != "" {
		t.Errorf("bundles (-want +got):\n%s", d)
	}
}

// otherFiles holds that a bundle gets no file that it did not have: what names its
// reports is met first.
func otherFiles(t *testing.T, s repository.Store) {
	for n, r := range []*repository.Repository{repository.New(s), repository.New(&objects{s, -1})} {
		p, files := bundle(n, day)
		files["reports.sigstore.json"] = []byte("report.pdf")
		must(t, r.Put(t.Context(), p, files))
		more := maps.Clone(files)
		more["a-report.md"], more["reports.sigstore.json"] = []byte("md"), []byte("a-report.md, report.pdf")
		if err := r.Put(t.Context(), p, more); !errors.Is(err, repository.ErrExists) {
			t.Errorf("put with one more report: %v, want ErrExists", err)
		}
		got, err := r.Get(t.Context(), p.Bundle)
		must(t, err)
		if d := cmp.Diff(files, got); d != "" {
			t.Errorf("get (-want +got):\n%s", d)
		}
		delete(more, "evidence.zip")
		if err := r.Put(t.Context(), p, more); err == nil || !strings.Contains(err.Error(), "without evidence.zip it is none") {
			t.Errorf("put without evidence: %v", err)
		}
	}
}

func forgedPointer(t *testing.T, s repository.Store) {
	p, _ := bundle(1, day)
	must(t, s.Create(t.Context(), "releases/payments/default@-/20991231T000000Z-"+p.Bundle.Hex()+".json",
		fmt.Appendf(nil, `{"bundle":%q,"chart":"payments","namespace":"default","evaluatedAt":"2026-11-01T12:00:00Z"}`, p.Bundle)))
	_, err := repository.New(s).List(t.Context(), repository.Filter{})
	if err == nil || !strings.Contains(err.Error(), "does not say what its name says") {
		t.Errorf("list: %v, want the pointer refused", err)
	}
}

func oddNames(t *testing.T, s repository.Store) {
	r := repository.New(s)
	for i, name := range []string{"..", ".", "a/b", "ünïcode 字", "../../x", strings.Repeat("long", 80), `a\b`, "a\nb", ""} {
		p, files := bundle(i, day)
		p.Chart, p.Namespace, p.Cluster = name, name, name
		if err := r.Put(t.Context(), p, files); err != nil {
			t.Errorf("put with chart %q: %v", name, err)
			continue
		}
		got, err := r.List(t.Context(), repository.Filter{Chart: name})
		must(t, err)
		if name != "" && (len(got) != 1 || got[0].Chart != name) {
			t.Errorf("list chart %q: %+v", name, got)
		}
	}
}

// reviews are stored once under their digests, listed by what they are about, and what
// is not what was stored is said to be damaged.
func reviews(t *testing.T, s repository.Store) {
	ctx, repo := t.Context(), repository.New(s)
	a, b := evidence.DigestOf([]byte("a")), evidence.DigestOf([]byte("b"))
	list := func(subject evidence.Digest) (found []repository.StoredReview) {
		must(t, repo.EachReview(ctx, subject, func(r repository.StoredReview) error { found = append(found, r); return nil }))
		return found
	}
	if got := list(""); len(got) != 0 {
		t.Fatalf("%d reviews in an empty store", len(got))
	}
	for range 2 { // the same again
		for of, text := range map[evidence.Digest]string{a: "one", b: "two"} {
			id, err := repo.PutReview(ctx, of, []byte(text))
			must(t, err)
			if id != evidence.DigestOf([]byte(text)) {
				t.Errorf("id %s", id)
			}
		}
	}
	if got := list(a); len(got) != 1 || got[0].Subject != a || string(got[0].Raw) != "one" || got[0].Damaged != nil {
		t.Errorf("reviews of a: %+v", got)
	}
	if got := list(""); len(got) != 2 {
		t.Errorf("%d reviews, want 2", len(got))
	}
	if got := list(evidence.DigestOf(nil)); len(got) != 0 {
		t.Errorf("reviews of nothing: %+v", got)
	}
	if _, err := repo.PutReview(ctx, a, make([]byte, repository.MaxReview+1)); !errors.Is(err, repository.ErrTooLarge) {
		t.Errorf("too large to be read again: %v", err)
	}
	name := func(of evidence.Digest, text string) string {
		return "reviews/" + of.Hex() + "/" + evidence.DigestOf([]byte(text)).Hex() + ".sigstore.json"
	}
	must(t, s.Create(ctx, name(a, "three"), []byte("four")))
	must(t, s.Create(ctx, name(a, "five"), make([]byte, repository.MaxReview+1)))
	damaged := 0
	for _, r := range list(a) {
		if r.Damaged != nil {
			damaged++
		}
	}
	if damaged != 2 {
		t.Errorf("%d damaged, want 2", damaged)
	}
	if got := list(b); len(got) != 1 || got[0].Damaged != nil {
		t.Errorf("what lies with a is no part of b: %+v", got)
	}
	// A withdrawal lies with its review, and a marker says so; who takes one of them away leaves the other.
	one := evidence.DigestOf([]byte("one"))
	for range 2 {
		_, err := repo.PutWithdrawal(ctx, b, one, []byte("taken back"))
		must(t, err)
	}
	var marked []repository.StoredReview
	for _, r := range list(b) {
		if r.Withdraws != "" {
			marked = append(marked, r)
		}
	}
	if len(marked) != 1 || marked[0].Subject != b || marked[0].Withdraws != one || marked[0].ID != evidence.DigestOf([]byte("taken back")) || marked[0].Raw != nil {
		t.Errorf("markers: %+v", marked)
	}
	if got := list(b); len(got) != 3 {
		t.Errorf("%d objects with b, want a review, its withdrawal and the marker", len(got))
	}
	must(t, s.Create(ctx, "reviews/"+a.Hex()+"/"+one.Hex()+".0"+one.Hex()[1:]+".withdrawn.sigstore.json", nil))
	if err := repo.EachReview(ctx, a, func(repository.StoredReview) error { return nil }); !errors.Is(err, repository.ErrStray) {
		t.Errorf("a marker in another spelling: %v, want ErrStray", err)
	}
	must(t, s.Create(ctx, "reviews/"+b.Hex()+"/sha256:"+strings.TrimPrefix(name(b, "two"), "reviews/"+b.Hex()+"/"), []byte("two")))
	if err := repo.EachReview(ctx, b, func(repository.StoredReview) error { return nil }); !errors.Is(err, repository.ErrStray) {
		t.Errorf("a name in another spelling: %v, want ErrStray", err)
	}
}
