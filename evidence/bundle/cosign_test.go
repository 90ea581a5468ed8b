package bundle_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
)

// An auditor without helmproof: cosign's own command, two files and the key.
func TestCosignVerifies(t *testing.T) {
	t.Parallel()
	bin := os.Getenv("HELMPROOF_COSIGN")
	if bin == "" {
		t.Skip("HELMPROOF_COSIGN is not set: `make test` builds cosign and sets it")
	}
	s := newSigner(t)
	p := seal(t, contents(t, "api"), s)
	other := seal(t, contents(t, "web"), s)
	for name, tt := range map[string]struct {
		zip, signature, key []byte
		predicate, refusal  string
	}{
		"as sealed":    {p.Files[bundle.EvidenceFile], p.Files[bundle.SignatureFile], s.PublicKeyPEM(), attest.EvidenceType, ""},
		"the summary":  {nil, p.Files[bundle.VSAFile], s.PublicKeyPEM(), attest.VSAType, ""},
		"byte changed": {flip(p.Files[bundle.EvidenceFile]), p.Files[bundle.SignatureFile], s.PublicKeyPEM(), attest.EvidenceType, "provided artifact digests do not match"},
		"signature of another bundle": {p.Files[bundle.EvidenceFile], other.Files[bundle.SignatureFile], s.PublicKeyPEM(), attest.EvidenceType,
			"provided artifact digests do not match"},
		"another key":  {p.Files[bundle.EvidenceFile], p.Files[bundle.SignatureFile], newSigner(t).PublicKeyPEM(), attest.EvidenceType, "could not verify"},
		"another type": {p.Files[bundle.EvidenceFile], p.Files[bundle.SignatureFile], s.PublicKeyPEM(), attest.ReportsType, "redicate type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tt.zip == nil { // the summary is about the rendered manifests
				tt.zip = contents(t, "api").Files["artifacts/release/manifests.yaml"]
			}
			writeFile(t, filepath.Join(dir, "evidence.zip"), tt.zip)
			writeFile(t, filepath.Join(dir, "b.json"), tt.signature)
			writeFile(t, filepath.Join(dir, "cosign.pub"), tt.key)
			cmd := exec.CommandContext(t.Context(), bin, "verify-blob-attestation", "--key", "cosign.pub", "--bundle", "b.json",
				"--insecure-ignore-tlog=true", "--type", tt.predicate, "evidence.zip")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "HOME="+dir, "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1")
			out, err := cmd.CombinedOutput()
			switch {
			case tt.refusal == "" && err != nil:
				t.Errorf("refused: %v\n%s", err, out)
			case tt.refusal != "" && err == nil:
				t.Errorf("accepted:\n%s", out)
			case !strings.Contains(string(out), tt.refusal):
				t.Errorf("output %s, want it to say %q", out, tt.refusal)
			}
		})
	}
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}
