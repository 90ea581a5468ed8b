package bundle_test

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
)

// A copy may lack what does not carry the verdict; what is there has to be signed.
func TestVerifyCopy(t *testing.T) {
	t.Parallel()
	s, stranger := newSigner(t), newSigner(t)
	sealed, other := seal(t, contents(t, "api"), s), seal(t, contents(t, "web"), s)
	only := func(names ...string) func(map[string][]byte) {
		return func(f map[string][]byte) {
			maps.DeleteFunc(f, func(name string, _ []byte) bool { return !slices.Contains(names, name) })
		}
	}
	without := func(names ...string) func(map[string][]byte) {
		return func(f map[string][]byte) {
			for _, n := range names {
				delete(f, n)
			}
		}
	}
	const zip, sig, vsa = bundle.EvidenceFile, bundle.SignatureFile, bundle.VSAFile
	for name, tt := range map[string]struct {
		change func(files map[string][]byte)
		absent []string // checks that are not made
		failed string   // the check that fails
		reason string   // what that check, or the first that is not made, or reports says
	}{
		"whole":              {without(), nil, "", "2 are signed and are what this evidence renders to"},
		"two files":          {only(zip, sig), []string{"reports", "summary"}, "", "no reports, and no reports.sigstore.json that names any"},
		"without summary":    {without(vsa), []string{"summary"}, "", "verdict.vsa.sigstore.json is absent"},
		"without one report": {without("report.md"), nil, "", "1 are signed and are what this evidence renders to; absent: report.md"},
		"without reports":    {without("report.md", "report.txt"), []string{"reports"}, "", "signed, and absent: report.md, report.txt"},
		"reports without their signature": {without(bundle.ReportsFile), nil, "reports",
			"not signed: report.md, report.txt; reports.sigstore.json is absent, and nothing else vouches for a report: fetch it, or delete what is not signed"},
		"one report without its signature": {only(zip, sig, "report.txt"), nil, "reports", "not signed: report.txt; reports.sigstore.json is absent"},
		"without signature":                {without(sig), nil, "signature", "evidence.sigstore.json is absent: nothing says who made this evidence"},
		"without evidence":                 {without(zip), nil, "id", "evidence.zip is absent"},
		"report altered":                   {func(f map[string][]byte) { f["report.md"] = []byte("PASS") }, nil, "reports", "report.md is altered"},
		"report altered, other absent": {func(f map[string][]byte) { delete(f, "report.md"); f["report.txt"] = []byte("PASS") }, nil,
			"reports", "report.txt is altered"},
		"report that was not signed":    {func(f map[string][]byte) { f["junit.xml"] = []byte("PASS") }, nil, "reports", "junit.xml is not signed: delete it"},
		"report of another bundle":      {func(f map[string][]byte) { f["report.md"] = other.Files["report.md"] }, nil, "reports", "report.md is altered"},
		"reports' signature of another": {func(f map[string][]byte) { f[bundle.ReportsFile] = other.Files[bundle.ReportsFile] }, nil, "reports", "reports.sigstore.json: the signed statement does not say"},
		"reports' signature, no reports": {func(f map[string][]byte) {
			only(zip, sig, vsa)(f)
			f[bundle.ReportsFile] = other.Files[bundle.ReportsFile]
		}, nil, "reports", "does not say what the evidence says"},
		"reports' signature emptied":      {func(f map[string][]byte) { f[bundle.ReportsFile] = nil }, nil, "reports", "reports.sigstore.json: not signed"},
		"summary emptied":                 {func(f map[string][]byte) { f[vsa] = nil }, nil, "summary", "verdict.vsa.sigstore.json: not signed"},
		"summary of another":              {func(f map[string][]byte) { only(zip, sig)(f); f[vsa] = other.Files[vsa] }, nil, "summary", "the signature is about another file"},
		"evidence of another":             {func(f map[string][]byte) { f[zip] = other.Files[zip] }, nil, "id", "it is altered, or belongs to another bundle"},
		"evidence altered, no reports":    {func(f map[string][]byte) { only(zip, sig)(f); f[zip] = append([]byte("x"), f[zip]...) }, nil, "id", "it is altered, or belongs to another bundle"},
		"signature of another, two files": {func(f map[string][]byte) { only(zip, sig)(f); f[sig] = other.Files[sig] }, nil, "signature", "the signature is about another file"},
		"reports signed by a stranger": {func(f map[string][]byte) {
			f[bundle.ReportsFile] = seal(t, contents(t, "api"), stranger).Files[bundle.ReportsFile]
		}, nil, "reports", "signed by a key that is not trusted: it names key " + stranger.KeyID()[:12] + "; " + attest.AskForKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := maps.Clone(sealed.Files)
			tt.change(files)
			v := verifier(t, s)
			v.Render = func(b *bundle.Bundle, keyID string, emit func(string, func(io.Writer) error) error) error {
				return render(b, keyID, func(name string, write func(io.Writer) error) error {
					return emit(name, func(w io.Writer) error {
						if _, here := files[name]; !here {
							t.Errorf("%s is rendered again, and is not here", name)
						}
						return write(w)
					})
				})
			}
			r := v.VerifyCopy(t.Context(), files, sealed.ID)
			if tt.failed != "" {
				refused(t, r, tt.failed, tt.reason)
				return
			}
			wantAbsent(t, r, tt.absent...)
			check := "reports"
			if len(tt.absent) > 0 {
				check = tt.absent[0]
			}
			if got := r.Checks[slices.Index(checkNames, check)].Reason; got != tt.reason {
				t.Errorf("%s says %q, want %q", check, got, tt.reason)
			}
			// In a repository the same is a failure, unless nothing is missing that was signed.
			if whole := v.Verify(t.Context(), files, sealed.ID); whole.OK() != (name == "whole") {
				t.Errorf("in a repository: %s", whole.Reason())
			}
		})
	}

	t.Run("nothing names the bundle", func(t *testing.T) {
		t.Parallel()
		r := verifier(t, s).VerifyCopy(t.Context(), sealed.Files, "")
		wantOK(t, r)
		if r.Bundle != sealed.ID || !strings.Contains(r.Checks[0].Reason, "compare it with the one that you were given") {
			t.Errorf("bundle %s, %+v", r.Bundle, r.Checks[0])
		}
		files := maps.Clone(sealed.Files)
		files[zip] = other.Files[zip]
		refused(t, verifier(t, s).VerifyCopy(t.Context(), files, ""), "signature", "the signature is about another file")
		delete(files, zip)
		refused(t, verifier(t, s).VerifyCopy(t.Context(), files, ""), "id", "evidence.zip is absent")
	})
}

// refused fails unless that check fails for that reason and no later one is made.
func refused(t *testing.T, r *bundle.Result, check, reason string) {
	t.Helper()
	failing := slices.Index(checkNames, check)
	if r.OK() || r.Verified() != nil || r.Reason() != check+": "+r.Checks[failing].Reason || !strings.Contains(r.Checks[failing].Reason, reason) {
		t.Fatalf("%+v, want %s to fail: %s", r.Checks, check, reason)
	}
	for _, c := range r.Checks[failing+1:] {
		if c.Outcome != evidence.OutcomeNotChecked {
			t.Errorf("check %+v was made", c)
		}
	}
}

// The names are taken before anything is verified: only such that can be reports.
func TestSignedReports(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	p := seal(t, contents(t, "api"), s)
	if got, want := bundle.SignedReports(p.Files[bundle.ReportsFile]), []string{"report.md", "report.txt"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	st := &attest.Statement{PredicateType: attest.ReportsType, Predicate: []byte(`{}`)}
	for _, name := range []string{"../a.md", "a/b.md", "", "evidence.zip", "a.md"} {
		st.Subjects = append(st.Subjects, attest.Subject{Name: name, Digest: p.ID})
	}
	if got := bundle.SignedReports(sign(t, s, st)); !slices.Equal(got, []string{"a.md"}) {
		t.Errorf("%v, want a.md alone", got)
	}
	for _, raw := range [][]byte{nil, []byte("{}"), p.Files[bundle.SignatureFile], p.Files[bundle.EvidenceFile]} {
		if got := bundle.SignedReports(raw); got != nil {
			t.Errorf("%v of what signs no reports", got)
		}
	}
}
