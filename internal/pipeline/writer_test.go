package pipeline

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
)

// worse lets what is collected from now on be INCOMPLETE, by a profile of the same name.
func (b *bench) worse() { b.Rules = rules(b.t, b.strict()) }

// strict is a profile of the same name that asks for a control that was not collected.
func (b *bench) strict() string {
	file := filepath.Join(b.t.TempDir(), "few.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(fewControls, "{id: SCR-1}", "{id: SCR-1}\n  - {id: ADM-1}", 1)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// root is the repository's folder.
func (b *bench) root() string { return b.Repo.URL() }

// pointer is the file of the pointer that names a bundle.
func (b *bench) pointer(id evidence.Digest) string {
	b.t.Helper()
	found, err := filepath.Glob(filepath.Join(b.root(), "releases", "*", "*", "*-"+id.Hex()+".json"))
	if err != nil || len(found) != 1 {
		b.t.Fatalf("pointers of %s: %v, %v", id, found, err)
	}
	return found[0]
}

// move edits a pointer as somebody would who can write to the repository: its name
// goes on saying what it says.
func (b *bench) move(id evidence.Digest, edit func(*repository.Pointer)) {
	b.t.Helper()
	old := b.pointer(id)
	raw, err := os.ReadFile(old)
	if err != nil {
		b.t.Fatal(err)
	}
	var p repository.Pointer
	if err := json.Unmarshal(raw, &p); err != nil {
		b.t.Fatal(err)
	}
	edit(&p)
	b.remove(old)
	other := repository.New(dir.Open(b.root()))
	// The bundle is there already: the pointer alone is new.
	if err := other.Put(b.t.Context(), p, b.files(id)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) files(id evidence.Digest) map[string][]byte {
	b.t.Helper()
	files, err := b.Repo.Get(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return files
}

func (b *bench) remove(paths ...string) {
	b.t.Helper()
	for _, p := range paths {
		if err := os.RemoveAll(p); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) file(id evidence.Digest, name string) string {
	return filepath.Join(b.root(), "bundles", id.Hex(), name)
}

func (b *bench) overwrite(path, text string) {
	b.t.Helper()
	b.remove(path)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// TestWriterCannotHide: whatever somebody who can write to the repository does to the
// newest evidence, short of removing all of it, an older PASS does not count instead.
func TestWriterCannotHide(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do  func(b *bench, newest evidence.Digest)
		why string
	}{
		"pointer of another scope": {func(b *bench, id evidence.Digest) {
			b.move(id, func(p *repository.Pointer) { p.Scope = evidence.ScopeComposed })
		}, "does not say what the bundle says"},
		"pointer of another chart":     {func(b *bench, id evidence.Digest) { b.move(id, func(p *repository.Pointer) { p.Chart = "other" }) }, "does not say what the bundle says"},
		"pointer of another namespace": {func(b *bench, id evidence.Digest) { b.move(id, func(p *repository.Pointer) { p.Namespace = "other" }) }, "does not say what the bundle says"},
		"pointer of another release":   {func(b *bench, id evidence.Digest) { b.move(id, func(p *repository.Pointer) { p.Release = "other" }) }, "does not say what the bundle says"},
		"pointer of another profile":   {func(b *bench, id evidence.Digest) { b.move(id, func(p *repository.Pointer) { p.Profile = "other" }) }, "does not say what the bundle says"},
		"pointer of the past": {func(b *bench, id evidence.Digest) {
			b.move(id, func(p *repository.Pointer) { p.EvaluatedAt = p.EvaluatedAt.AddDate(-1, 0, 0) })
		}, "does not say what the bundle says"},
		"pointer of the future": {func(b *bench, id evidence.Digest) {
			b.move(id, func(p *repository.Pointer) { p.EvaluatedAt = p.EvaluatedAt.AddDate(1, 0, 0) })
		}, "does not say what the bundle says"},
		"pointer that says PASS": {func(b *bench, id evidence.Digest) {
			b.move(id, func(p *repository.Pointer) { p.Outcome = evidence.VerdictPass })
		}, "does not say what the bundle says"},
		"pointer that is no JSON": {func(b *bench, id evidence.Digest) { b.overwrite(b.pointer(id), "{") }, "no part of an evidence repository"},
		"pointer that names nothing": {func(b *bench, id evidence.Digest) {
			b.overwrite(filepath.Join(filepath.Dir(b.pointer(id)), "x.json"), "{}")
		}, "not a pointer"},
		"pointer and signature gone": {func(b *bench, id evidence.Digest) {
			b.remove(b.pointer(id), b.file(id, "evidence.sigstore.json"))
		}, "evidence.sigstore.json is absent: nothing says who made this evidence; it is about this release"},
		"signature gone":         {func(b *bench, id evidence.Digest) { b.remove(b.file(id, "evidence.sigstore.json")) }, "evidence.sigstore.json is absent"},
		"evidence gone":          {func(b *bench, id evidence.Digest) { b.remove(b.file(id, "evidence.zip")) }, "evidence.zip is absent"},
		"evidence, pointer gone": {func(b *bench, id evidence.Digest) { b.remove(b.file(id, "evidence.zip"), b.pointer(id)) }, "evidence.zip is absent"},
		"bundle gone":            {func(b *bench, id evidence.Digest) { b.remove(b.file(id, "")) }, "is gone from"},
		"signature of another bundle": {func(b *bench, id evidence.Digest) {
			older, err := b.Repo.Bundles(b.t.Context())
			if err != nil {
				b.t.Fatal(err)
			}
			other := older[0]
			if other == id {
				other = older[1]
			}
			b.overwrite(b.file(id, "evidence.sigstore.json"), string(b.files(other)["evidence.sigstore.json"]))
		}, "the signature is about another file"},
		"signature and evidence altered": {func(b *bench, id evidence.Digest) {
			b.overwrite(b.file(id, "evidence.sigstore.json"), "{}")
			b.overwrite(b.file(id, "evidence.zip"), "PK")
		}, "nobody can know whether it is about this release"},
		"all reports gone with their signature": {func(b *bench, id evidence.Digest) {
			b.remove(b.file(id, "report.json"), b.file(id, "reports.sigstore.json"))
		}, "the reports that were stored with it (json) and reports.sigstore.json, which signs them, are absent"},
		"a file slipped in":        {func(b *bench, id evidence.Digest) { b.overwrite(b.file(id, "notes.md"), "x") }, "notes.md is extra"},
		"a hidden file slipped in": {func(b *bench, id evidence.Digest) { b.overwrite(b.file(id, ".notes"), "x") }, ".notes is extra"},
		"a file beside bundles":    {func(b *bench, _ evidence.Digest) { b.overwrite(filepath.Join(b.root(), "bundles", "x"), "x") }, "not a bundle id"},
		"an id that is none":       {func(b *bench, _ evidence.Digest) { b.overwrite(filepath.Join(b.root(), "repository.json"), "{") }, "no part of an evidence repository"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			rel := b.load("web", "1.0.0", "blue")
			b.collect(rel)
			b.worse()
			id := b.collect(rel)
			if j := b.gate(GateRequest{Deploy: rel})[0]; j.Verdict.Outcome != evidence.VerdictIncomplete || j.RestsOn() != id {
				t.Fatalf("before: %s by %v", j.Verdict.Outcome, inputs(j))
			}
			tt.do(b, id)
			done, err := Gate(t.Context(), b.Repo, b.verifier, b.Rules, GateRequest{Deploy: rel, At: b.now})
			var broken *IntegrityError
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), tt.why) {
				t.Errorf("gate: %v, error %v, want an integrity failure that says %q", done, err, tt.why)
			}
			// verify of the whole repository says so, too.
			if name == "an id that is none" {
				return // bundles are intact; whose they are is for the gate to ask
			}
			var reasons []string
			err = EachBundle(t.Context(), b.Repo, func(f *Found) error {
				if r := f.Verify(t.Context(), b.verifier); !r.OK() {
					reasons = append(reasons, r.Reason())
				}
				return nil
			})
			if err == nil && len(reasons) == 0 {
				t.Error("verify: nothing is wrong with the repository")
			}
		})
	}
}

// TestWriterOfOther: what is wrong with evidence of something else, as far as that is
// known for sure, is no reason against a release.
func TestWriterOfOther(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(b *bench, other evidence.Digest){
		"pointer edited":   func(b *bench, id evidence.Digest) { b.move(id, func(p *repository.Pointer) { p.Chart = "web" }) },
		"signature gone":   func(b *bench, id evidence.Digest) { b.remove(b.file(id, "evidence.sigstore.json")) },
		"evidence gone":    func(b *bench, id evidence.Digest) { b.remove(b.file(id, "evidence.zip")) },
		"a report altered": func(b *bench, id evidence.Digest) { b.overwrite(b.file(id, "report.json"), "{}") },
		"storing was cut off": func(b *bench, id evidence.Digest) {
			b.remove(b.pointer(id), b.file(id, "evidence.sigstore.json"), b.file(id, "evidence.zip"))
		},
		"without a pointer":  func(b *bench, id evidence.Digest) { b.remove(b.pointer(id)) },
		"removed as a whole": func(b *bench, id evidence.Digest) { b.remove(b.pointer(id), b.file(id, "")) },
		"nothing but the name": func(b *bench, id evidence.Digest) {
			b.remove(b.pointer(id), b.file(id, "evidence.sigstore.json"), b.file(id, "evidence.zip"), b.file(id, "verdict.vsa.sigstore.json"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			rel := b.load("web", "1.0.0", "blue")
			mine := b.collect(rel)
			other := b.collect(b.load("api", "1.0.0", "blue"))
			do(b, other)
			if j := b.gate(GateRequest{Deploy: rel})[0]; j.Verdict.Outcome != evidence.VerdictPass || j.RestsOn() != mine {
				t.Errorf("%s by %v: %q", j.Verdict.Outcome, inputs(j), j.Reasons)
			}
		})
	}
}

// TestSizesFirst: a signature that is larger than any is not read.
func TestSizesFirst(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	id := b.collect(rel)
	b.overwrite(b.file(id, "evidence.sigstore.json"), "")
	if err := os.Truncate(b.file(id, "evidence.sigstore.json"), bundle.MaxSignature+1); err != nil {
		t.Fatal(err)
	}
	_, err := Gate(t.Context(), b.Repo, b.verifier, b.Rules, GateRequest{Deploy: rel, At: b.now})
	if err == nil || !strings.Contains(err.Error(), repository.ErrTooLarge.Error()) {
		t.Errorf("gate: error %v, want one that says %q", err, repository.ErrTooLarge)
	}
}

// TestTooLarge: what is too large to be a repository's id or a pointer is damage.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	id := b.collect(rel)
	for name, do := range map[string]func() error{
		filepath.Join(b.root(), "repository.json"): func() error {
			_, err := Gate(t.Context(), b.Repo, b.verifier, b.Rules, GateRequest{Deploy: rel, At: b.now})
			return err
		},
		b.pointer(id): func() error {
			_, err := OpenVerified(t.Context(), b.verifier, b.Repo, id.Hex(), "")
			return err
		},
	} {
		was, err := os.Stat(name)
		if err == nil {
			err = errors.Join(os.Chmod(name, 0o600), os.Truncate(name, 4<<30))
		}
		if err != nil {
			t.Fatal(err)
		}
		var damaged *IntegrityError
		if err := do(); !errors.As(err, &damaged) || !strings.Contains(err.Error(), repository.ErrTooLarge.Error()) {
			t.Errorf("%s: error %v, want one of integrity that says %q", filepath.Base(name), err, repository.ErrTooLarge)
		}
		if err := os.Truncate(name, was.Size()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPipeInPlace: a file that has become a pipe since it was looked at is not waited for.
func TestPipeInPlace(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "evidence.zip")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	f, _, err := openRegular(os.OpenFile, pipe)
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("%v, %v; want an error that says that it is not a regular file", f, err)
	}
}

// TestLatest: the newest bundle is that which was judged last, whatever pointers say.
func TestLatest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	b.collect(rel)
	last := b.collect(rel)
	b.move(last, func(p *repository.Pointer) { p.EvaluatedAt = p.EvaluatedAt.AddDate(-1, 0, 0) })
	_, err := OpenVerified(t.Context(), b.verifier, b.Repo, "latest", "")
	if err == nil || !strings.Contains(err.Error(), "bundle "+last.Short()+" is not verified: pointer: ") {
		t.Errorf("error %v, want one about %s and its pointer", err, last.Short())
	}
	b.remove(b.pointer(last))
	if v, err := OpenVerified(t.Context(), b.verifier, b.Repo, "latest", ""); err != nil || v.ID() != last {
		t.Errorf("%v, %v", v, err)
	}
	b.remove(b.file(last, "evidence.sigstore.json"))
	if _, err := OpenVerified(t.Context(), b.verifier, b.Repo, "latest", ""); err == nil || !strings.Contains(err.Error(), last.Short()+" is not verified: signature: ") {
		t.Errorf("without its signature: %v", err)
	}
	b.overwrite(b.file(last, "evidence.zip"), "PK")
	if _, err := OpenVerified(t.Context(), b.verifier, b.Repo, "latest", ""); err == nil || !strings.Contains(err.Error(), "cannot be read as evidence") {
		t.Errorf("altered: %v", err)
	}
}

// TestOtherRepository: evidence that was sealed for another repository does not count
// here, however new it is, unless it is asked for.
func TestOtherRepository(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	mild := b.Rules
	b.worse()
	here := b.collect(rel)
	home, strict := b.Repo, b.Rules
	ours, err := home.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.Repo, b.Rules = repository.New(dir.Open(filepath.Join(t.TempDir(), "other"))), mild
	there := b.collect(rel)
	theirs, err := b.Repo.ID(t.Context())
	if err != nil || theirs == ours {
		t.Fatalf("ids %s and %s, %v", ours, theirs, err)
	}
	copied, err := b.Repo.List(t.Context(), repository.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := home.Put(t.Context(), copied[0], b.files(there)); err != nil {
		t.Fatal(err)
	}
	b.Repo = home

	// Whoever is not told which repository it is does not believe what it says of itself.
	_, err = Gate(t.Context(), home, b.verifier, mild, GateRequest{Deploy: rel, At: b.now})
	if err == nil || !strings.Contains(err.Error(), "bundle "+there.Short()+" was sealed for repository "+theirs) {
		t.Errorf("not pinned: error %v", err)
	}
	b.Rules = strict
	for _, tt := range []struct {
		name string
		req  GateRequest
		want evidence.Digest // rests on
	}{
		{"pinned", GateRequest{Repository: ours}, here},
		{"pinned to the other", GateRequest{Repository: theirs}, there},
		{"any", GateRequest{AnyRepository: true}, there},
		{"pinned to neither", GateRequest{Repository: "x"}, ""},
	} {
		tt.req.Deploy = rel
		j := b.gate(tt.req)[0]
		if j.RestsOn() != tt.want {
			t.Errorf("%s: rests on %s, want %s", tt.name, j.RestsOn(), tt.want)
		}
		if tt.want == "" && !slices.ContainsFunc(j.Reasons, func(r string) bool {
			return strings.Contains(r, "sealed for repository "+theirs+", and counts for repository x only if asked")
		}) {
			t.Errorf("%s: reasons %q", tt.name, j.Reasons)
		}
	}
	// Swapping the id does not help where it is pinned, and is refused where it is not.
	b.overwrite(filepath.Join(b.root(), "repository.json"), `{"id":"`+theirs+`"}`)
	if j := b.gate(GateRequest{Deploy: rel, Repository: ours})[0]; j.RestsOn() != here {
		t.Errorf("swapped: rests on %s", j.RestsOn())
	}
	if _, err := Gate(t.Context(), home, b.verifier, strict, GateRequest{Deploy: rel, At: b.now}); err == nil || !strings.Contains(err.Error(), "one of them is from elsewhere") {
		t.Errorf("swapped, not pinned: error %v", err)
	}
}

// collectUnnamed collects as builds did that knew no ids of repositories.
func (b *bench) collectUnnamed(rel *chart.Release) evidence.Digest {
	b.t.Helper()
	ctx := b.t.Context()
	id := b.collect(rel)
	opened, err := OpenVerified(ctx, b.verifier, b.Repo, string(id), "")
	if err != nil {
		b.t.Fatal(err)
	}
	c := &bundle.Contents{Files: map[string][]byte{}, Runs: *opened.Runs(), Findings: opened.Findings(), Verdict: *opened.Verdict()}
	c.Runs.Repository = ""
	for _, name := range opened.Names() {
		if c.Files[name], err = opened.Read(name); err != nil {
			b.t.Fatal(err)
		}
	}
	c.Files[bundle.ProfileFile], c.Files[bundle.CatalogFile], c.Files[bundle.WaiversFile] = opened.Profile(), opened.Catalog(), opened.Waivers()
	if c.Files[bundle.ReleaseFile], err = bundle.CanonicalJSON(opened.Release()); err != nil {
		b.t.Fatal(err)
	}
	s := spool{files: map[string]repository.Content{}}
	defer func() { _ = s.Close() }()
	pkg, err := bundle.SealTo(ctx, c, b.Signer, Renderer(b.Formats), s.create)
	if err != nil {
		b.t.Fatal(err)
	}
	for name, raw := range pkg.Files {
		s.files[name] = repository.Bytes(raw)
	}
	b.remove(b.pointer(id), b.file(id, ""))
	if err := b.Repo.PutContents(ctx, repository.NewPointer(pkg.ID, opened.Release(), opened.Verdict(), &c.Runs), s.files); err != nil {
		b.t.Fatal(err)
	}
	return pkg.ID
}

// TestUnnamedRepository: evidence of which no repository is named, and that does not
// pass, is not passed over for older evidence that counts.
func TestUnnamedRepository(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	mild := b.Rules
	passed := b.collect(rel)
	ours, err := b.Repo.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.collectUnnamed(rel) // PASS: what it would let through counts less
	for _, pinned := range []string{ours, ""} {
		if j := b.gate(GateRequest{Deploy: rel, Repository: pinned})[0]; j.Verdict.Outcome != evidence.VerdictPass || j.RestsOn() != passed {
			t.Errorf("pinned to %q: %s by %s", pinned, j.Verdict.Outcome, j.RestsOn())
		}
	}
	b.worse()
	bad := b.collectUnnamed(rel)
	b.Rules = mild
	b.collectUnnamed(b.load("web", "2.0.0", "blue")) // another one
	for _, pinned := range []string{ours, ""} {
		_, err := Gate(t.Context(), b.Repo, b.verifier, mild, GateRequest{Deploy: rel, At: b.now, Repository: pinned})
		var broken *IntegrityError
		if !errors.As(err, &broken) || !strings.Contains(err.Error(), "bundle "+bad.Short()+" is about this release, says INCOMPLETE, and is newer than bundle "+passed.Short()) {
			t.Errorf("pinned to %q: %v", pinned, err)
		}
	}
	anew := b.collect(rel)
	if j := b.gate(GateRequest{Deploy: rel, Repository: ours})[0]; j.Verdict.Outcome != evidence.VerdictPass || j.RestsOn() != anew {
		t.Errorf("collected again: %s by %s, %q", j.Verdict.Outcome, j.RestsOn(), j.Reasons)
	}
}

// TestSwappedRepository: newer evidence from elsewhere, by the same profile, and the id
// of where it is from do not bring it before that which is here.
func TestSwappedRepository(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	here := b.collect(rel)
	home := b.Repo
	b.Repo = repository.New(dir.Open(filepath.Join(t.TempDir(), "other")))
	there := b.collect(rel)
	theirs, err := b.Repo.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	copied, err := b.Repo.List(t.Context(), repository.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := home.Put(t.Context(), copied[0], b.files(there)); err != nil {
		t.Fatal(err)
	}
	b.Repo = home
	b.overwrite(filepath.Join(b.root(), "repository.json"), `{"id":"`+theirs+`"}`)
	done, err := Gate(t.Context(), home, b.verifier, b.Rules, GateRequest{Deploy: rel, At: b.now})
	if err == nil || !strings.Contains(err.Error(), "bundle "+here.Short()+" was sealed for repository ") {
		t.Errorf("gate: %v, error %v, want one about %s", done, err, here.Short())
	}
}

// TestClocks: evidence of a machine whose clock is ahead is not passed over for an older one.
func TestClocks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	old := b.collect(rel)
	at := b.now
	newest := b.collect(rel)
	if j := b.gate(GateRequest{Deploy: rel, At: at.Add(-clockSkew)})[0]; j.RestsOn() != newest || !j.Verdict.EvaluatedAt.Equal(at) {
		t.Errorf("rests on %s at %s", j.RestsOn(), j.Verdict.EvaluatedAt)
	}
	if j := b.gate(GateRequest{Deploy: rel, At: at.Add(-time.Second), AsOf: true})[0]; j.RestsOn() != old {
		t.Errorf("asked for before: rests on %s", j.RestsOn())
	}
	_, err := Gate(t.Context(), b.Repo, b.verifier, b.Rules, GateRequest{Deploy: rel, At: at.Add(-clockSkew - time.Second)})
	if err == nil || !strings.Contains(err.Error(), "which is to come: a clock is wrong") {
		t.Errorf("far ahead: error %v", err)
	}
}
