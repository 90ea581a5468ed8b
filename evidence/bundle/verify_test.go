package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	p := seal(t, contents(t, "api"), s)
	r := verifier(t, s).Verify(t.Context(), p.Files, p.ID)
	wantOK(t, r)
	if r.Bundle != p.ID || r.KeyID != s.KeyID() {
		t.Errorf("result about %s by %s, want %s by %s", r.Bundle, r.KeyID, p.ID, s.KeyID())
	}
	b := r.Verified()
	if b.ID() != p.ID || b.Verdict().Outcome != evidence.VerdictFail || len(b.Findings()) != 4 {
		t.Errorf("bundle %s, %s, %d findings", b.ID(), b.Verdict().Outcome, len(b.Findings()))
	}
	want := []string{"evidence.sigstore.json", "evidence.zip", "report.md", "report.txt", "reports.sigstore.json", "verdict.vsa.sigstore.json"}
	if got := slices.Sorted(maps.Keys(p.Files)); !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	again := seal(t, contents(t, "api"), s)
	for _, name := range []string{bundle.EvidenceFile, "report.md", "report.txt"} {
		if !bytes.Equal(again.Files[name], p.Files[name]) {
			t.Errorf("%s differs when the same is sealed again", name)
		}
	}
}

func TestVerifyWithoutReports(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	none := func(*bundle.Bundle, string, func(string, func(io.Writer) error) error) error { return nil }
	p, err := bundle.Seal(t.Context(), contents(t, "api"), s, none)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Files[bundle.ReportsFile]; ok {
		t.Error("no reports, and yet they are signed")
	}
	wantAbsent(t, verifier(t, s).Verify(t.Context(), p.Files, p.ID), "reports")
	// Whoever can delete in the repository can delete all reports with their
	// signature: nothing is lost, since the evidence renders to them, and verify says so.
	full := seal(t, contents(t, "api"), s)
	for _, name := range []string{"report.md", "report.txt", bundle.ReportsFile} {
		delete(full.Files, name)
	}
	r := verifier(t, s).Verify(t.Context(), full.Files, full.ID)
	wantAbsent(t, r, "reports")
	if want := "no reports, and no reports.sigstore.json that names any"; r.Checks[6].Reason != want {
		t.Errorf("check %+v, want it to say %q", r.Checks[6], want)
	}
	p.Files[bundle.ReportsFile] = seal(t, contents(t, "api"), s).Files[bundle.ReportsFile]
	wantRefused(t, verifier(t, s).Verify(t.Context(), p.Files, p.ID), "reports", "report.md is absent, report.txt is absent")
}

func TestSealRefuses(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	broken := errors.New("out of ink")
	rendering := func(files map[string][]byte, err error) bundle.RenderFunc {
		return func(_ *bundle.Bundle, _ string, emit func(string, func(io.Writer) error) error) error {
			for name, raw := range files {
				if err := emit(name, writing(raw)); err != nil {
					return err
				}
			}
			return err
		}
	}
	named := func(name string) bundle.RenderFunc { return rendering(map[string][]byte{name: []byte("x")}, nil) }
	for name, tt := range map[string]struct {
		change func(*bundle.Contents)
		render bundle.RenderFunc
		reason string
	}{
		"render fails":            {nil, rendering(nil, broken), "out of ink"},
		"report named as ours":    {nil, named(bundle.EvidenceFile), `a report cannot be named "evidence.zip"`},
		"report in a folder":      {nil, named("a/b.md"), `a report cannot be named "a/b.md"`},
		"report with unsafe name": {nil, named("../b.md"), `a report cannot be named "../b.md"`},
		"names differ in case only": {func(c *bundle.Contents) { c.Files["artifacts/LINES/seen.txt"] = nil }, render,
			"seal what could not be opened again: duplicate file name"},
		"unsafe name": {func(c *bundle.Contents) { c.Files["artifacts/../x"] = nil }, render, `unsafe file name "artifacts/../x"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := contents(t, "api")
			if tt.change != nil {
				tt.change(c)
			}
			p, err := bundle.Seal(t.Context(), c, s, tt.render)
			if p != nil {
				t.Error("refused, and yet sealed")
			}
			wantError(t, err, tt.reason)
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, err := bundle.Seal(ctx, contents(t, "api"), failing{s}, render); !errors.Is(err, broken) {
		t.Errorf("error %v, want that of the signer", err)
	}
}

// failing is a signer that gives the context's reason not to sign.
type failing struct{ attest.Signer }

func (failing) Sign(ctx context.Context, _ *attest.Statement) ([]byte, error) {
	return nil, context.Cause(ctx)
}

// tampering is what somebody without the key does to one file.
type tampering struct {
	name  string
	apply func(files, other map[string][]byte, file string)
}

func changeAt(at func(n int) int) func(files, _ map[string][]byte, file string) {
	return func(files, _ map[string][]byte, file string) {
		b := bytes.Clone(files[file])
		i := at(len(b))
		b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A'] // still text, still base64
		files[file] = b
	}
}

var tamperings = []tampering{
	{"first byte", changeAt(func(int) int { return 0 })},
	{"middle byte", changeAt(func(n int) int { return n / 2 })},
	{"last byte", changeAt(func(n int) int { return n - 1 })},
	{"truncated", func(files, _ map[string][]byte, file string) { files[file] = files[file][:len(files[file])/2] }},
	{"emptied", func(files, _ map[string][]byte, file string) { files[file] = nil }},
	{"removed", func(files, _ map[string][]byte, file string) { delete(files, file) }},
	{"of another bundle", func(files, other map[string][]byte, file string) { files[file] = other[file] }},
}

// Every file of a stored bundle is tampered with in every way; none may pass.
func TestTampering(t *testing.T) {
	t.Parallel()
	const (
		malformed = "not a Sigstore bundle v0.3"
		bad       = "the signature does not hold"
		unsigned  = "not signed"
		absent    = " is absent"
		another   = "the signature is about another file"
		elsewhere = "the signed statement does not say what the evidence says"
		zip       = "evidence.zip has digest sha256:"
		md, txt   = "report.md is altered", "report.txt is altered"
	)
	// What verify must say, by file and by tampering in the order above.
	want := map[string]struct {
		check   string
		reasons []string
	}{
		"evidence.zip":              {"id", []string{zip, zip, zip, zip, zip, "evidence.zip is absent", zip}},
		"evidence.sigstore.json":    {"signature", []string{malformed, bad, malformed, malformed, unsigned, absent, another}},
		"report.md":                 {"reports", []string{md, md, md, md, md, "report.md is absent", md}},
		"report.txt":                {"reports", []string{txt, txt, txt, txt, txt, "report.txt is absent", txt}},
		"reports.sigstore.json":     {"reports", []string{malformed, bad, malformed, malformed, unsigned, "not signed: report.md, report.txt; reports.sigstore.json is absent", elsewhere}},
		"verdict.vsa.sigstore.json": {"summary", []string{malformed, bad, malformed, malformed, unsigned, absent, another}},
	}
	s := newSigner(t)
	sealed, other := seal(t, contents(t, "api"), s), seal(t, contents(t, "web-longer"), s)
	v := verifier(t, s)
	wantOK(t, v.Verify(t.Context(), other.Files, other.ID))
	for file := range sealed.Files {
		w, ok := want[file]
		if !ok || len(w.reasons) != len(tamperings) {
			t.Fatalf("no expectation for %s", file)
		}
		for i, tamper := range tamperings {
			t.Run(file+"/"+tamper.name, func(t *testing.T) {
				t.Parallel()
				files := maps.Clone(sealed.Files)
				tamper.apply(files, other.Files, file)
				reason := w.reasons[i]
				if reason == absent {
					reason = file + reason
				} else if strings.HasSuffix(file, ".sigstore.json") && tamper.name != "removed" {
					reason = file + ": " + reason
				}
				wantRefused(t, v.Verify(t.Context(), files, sealed.ID), w.check, reason)
			})
		}
	}
}

func TestTamperingWithSeveralFiles(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	sealed, other := seal(t, contents(t, "api"), s), seal(t, contents(t, "web"), s)
	stranger := newSigner(t)
	strange := seal(t, contents(t, "api"), stranger)
	swap := func(a, b string) func(map[string][]byte) {
		return func(f map[string][]byte) { f[a], f[b] = f[b], f[a] }
	}
	put := func(name string, raw []byte) func(map[string][]byte) {
		return func(f map[string][]byte) { f[name] = raw }
	}
	for name, tt := range map[string]struct {
		change        func(files map[string][]byte)
		check, reason string
	}{
		"file added at the end":   {put("zzz.txt", []byte("x")), "reports", "zzz.txt is extra"},
		"file added at the front": {put("a.txt", []byte("x")), "reports", "a.txt is extra"},
		"folder added":            {put("artifacts/x", []byte("x")), "reports", "artifacts/x is extra"},
		"whole bundle of another": {func(f map[string][]byte) { clear(f); maps.Copy(f, other.Files) }, "id", "evidence.zip has digest " + string(other.ID)},
		"whole bundle by another key": {func(f map[string][]byte) { clear(f); maps.Copy(f, strange.Files) }, "signature",
			"evidence.sigstore.json: signed by a key that is not trusted: it names key " + stranger.KeyID()[:12] + "; " + attest.AskForKey},
		"nothing left": {func(f map[string][]byte) { clear(f) }, "id", "evidence.zip is absent"},
		"evidence and signature of another": {func(f map[string][]byte) {
			f[bundle.EvidenceFile], f[bundle.SignatureFile] = other.Files[bundle.EvidenceFile], other.Files[bundle.SignatureFile]
		}, "id", "belongs to another bundle"},
		"all signatures stripped": {func(f map[string][]byte) {
			for _, n := range []string{bundle.SignatureFile, bundle.ReportsFile, bundle.VSAFile} {
				delete(f, n)
			}
		}, "signature", "evidence.sigstore.json is absent: nothing says who made this evidence"},
		"signature of the reports instead":  {func(f map[string][]byte) { f[bundle.SignatureFile] = f[bundle.ReportsFile] }, "signature", "the signature is about another file"},
		"signature of the evidence instead": {func(f map[string][]byte) { f[bundle.ReportsFile] = f[bundle.SignatureFile] }, "reports", "reports.sigstore.json: the signature is about another kind of statement"},
		"signatures swapped":                {swap(bundle.SignatureFile, bundle.ReportsFile), "signature", "the signature is about another file"},
		"summary instead of signature":      {func(f map[string][]byte) { f[bundle.SignatureFile] = f[bundle.VSAFile] }, "signature", "the signature is about another file"},
		"signature instead of summary":      {func(f map[string][]byte) { f[bundle.VSAFile] = f[bundle.SignatureFile] }, "summary", "the signature is about another kind of statement"},
		"reports swapped":                   {swap("report.md", "report.txt"), "reports", "report.md is altered, report.txt is altered"},
		"reports and signature of another": {func(f map[string][]byte) {
			for _, n := range []string{"report.md", "report.txt", bundle.ReportsFile} {
				f[n] = other.Files[n]
			}
		}, "reports", "does not say what the evidence says"},
		"reports gone, their signature stays": {func(f map[string][]byte) { delete(f, "report.md"); delete(f, "report.txt") }, "reports", "report.md is absent, report.txt is absent"},
		"name of the key changed": {func(f map[string][]byte) {
			f[bundle.SignatureFile] = bytes.Replace(f[bundle.SignatureFile], []byte(s.KeyID()), []byte(strings.Repeat("0", 64)), 1)
		}, "signature", "evidence.sigstore.json is altered: it names another key"},
		"white space added": {func(f map[string][]byte) { f[bundle.VSAFile] = append(bytes.Clone(f[bundle.VSAFile]), '\n') }, "summary", "verdict.vsa.sigstore.json is altered: it is not in the canonical form"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := maps.Clone(sealed.Files)
			tt.change(files)
			wantRefused(t, verifier(t, s).Verify(t.Context(), files, sealed.ID), tt.check, tt.reason)
		})
	}
	t.Run("nobody trusted", func(t *testing.T) {
		t.Parallel()
		for _, trust := range []*attest.Trust{nil, {}} {
			v := &bundle.Verifier{Trust: trust, Replay: replay, Render: render}
			wantRefused(t, v.Verify(t.Context(), sealed.Files, sealed.ID), "signature", "no trusted key")
		}
	})
	t.Run("timestamp required", func(t *testing.T) {
		t.Parallel()
		v := verifier(t, s)
		v.Trust.RequireTimestamp = true
		wantRefused(t, v.Verify(t.Context(), sealed.Files, sealed.ID), "signature", "no trusted timestamp")
	})
	t.Run("nothing to verify with", func(t *testing.T) {
		t.Parallel()
		v := verifier(t, s)
		v.Render = nil
		wantRefused(t, v.Verify(t.Context(), sealed.Files, sealed.ID), "reports", "nothing to render the reports with")
		v.Replay = nil
		wantRefused(t, v.Verify(t.Context(), sealed.Files, sealed.ID), "findings", "nothing to derive the findings with")
	})
	t.Run("over the limits", func(t *testing.T) {
		t.Parallel()
		v := verifier(t, s)
		v.Limits = bundle.DefaultLimits()
		v.Limits.MaxFiles = 3
		wantRefused(t, v.Verify(t.Context(), sealed.Files, sealed.ID), "contents", "more than the limit of 3")
	})
	t.Run("signed, but no bundle", func(t *testing.T) {
		t.Parallel()
		raw := []byte("not a zip at all, yet signed")
		sig, err := s.Sign(t.Context(), &attest.Statement{PredicateType: attest.EvidenceType, Predicate: []byte(`{}`),
			Subjects: []attest.Subject{{Name: bundle.EvidenceFile, Digest: evidence.DigestOf(raw)}}})
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{bundle.EvidenceFile: raw, bundle.SignatureFile: sig}
		wantRefused(t, verifier(t, s).Verify(t.Context(), files, evidence.DigestOf(raw)), "contents", "does not end as a zip")
	})
}

// Another version may derive something else; verify then says which made the bundle.
func TestVerifyNamesTheOtherVersion(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	p := seal(t, contents(t, "api"), s)
	const said = "(sealed by helmproof test, this is helmproof 99: verify with that version)"
	v := verifier(t, s)
	v.Tool = "helmproof 99"
	wantOK(t, v.Verify(t.Context(), p.Files, p.ID))

	v.Replay = func(in evidence.ArtifactReader, runs *evidence.Runs) ([]evidence.Finding, []evidence.CollectorRun, error) {
		found, after, err := replay(in, runs)
		return found[1:], after, err
	}
	wantRefused(t, v.Verify(t.Context(), p.Files, p.ID), "findings", said)
	v.Replay = func(evidence.ArtifactReader, *evidence.Runs) ([]evidence.Finding, []evidence.CollectorRun, error) {
		return nil, make([]evidence.CollectorRun, 7), nil
	}
	wantRefused(t, v.Verify(t.Context(), p.Files, p.ID), "findings", "ends in 7 collector runs, the bundle has 2 "+said)
	v.Replay = func(evidence.ArtifactReader, *evidence.Runs) ([]evidence.Finding, []evidence.CollectorRun, error) {
		return nil, nil, errors.New("no such policy")
	}
	wantRefused(t, v.Verify(t.Context(), p.Files, p.ID), "findings", "derive the findings again: no such policy")

	v.Replay = replay
	v.Render = func(b *bundle.Bundle, keyID string, emit func(string, func(io.Writer) error) error) error {
		return render(b, keyID, func(name string, write func(io.Writer) error) error {
			return emit(name, func(w io.Writer) error {
				err := write(w)
				if name == "report.txt" {
					err = errors.Join(err, writing([]byte("one line more\n"))(w))
				}
				return err
			})
		})
	}
	wantRefused(t, v.Verify(t.Context(), p.Files, p.ID), "reports", "report.txt is not what this evidence renders to "+said)
	v.Render = func(*bundle.Bundle, string, func(string, func(io.Writer) error) error) error {
		return errors.New("no font")
	}
	wantRefused(t, v.Verify(t.Context(), p.Files, p.ID), "reports", "render the reports again: no font")
}
