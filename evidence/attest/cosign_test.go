package attest_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

// cosign runs cosign's own command (HELMPROOF_COSIGN) in dir, without a network.
func cosign(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	bin := os.Getenv("HELMPROOF_COSIGN")
	if bin == "" {
		t.Skip("HELMPROOF_COSIGN is not set: `make test` builds cosign and sets it")
	}
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=correct horse", "HOME="+dir, "HTTPS_PROXY=http://127.0.0.1:1", "HTTP_PROXY=http://127.0.0.1:1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestKeyOfCosign(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := cosign(t, dir, "generate-key-pair"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key, pub := filepath.Join(dir, "cosign.key"), filepath.Join(dir, "cosign.pub")
	trust, err := attest.LoadTrust([]string{pub})
	if err != nil {
		t.Fatal(err)
	}

	t.Run("signs and is trusted", func(t *testing.T) {
		s, err := attest.LoadSigner(key, func() ([]byte, error) { return []byte("correct horse"), nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, sig, err := trust.Verify(signed(t, s, statement()), attest.EvidenceType, artifact); err != nil || sig.KeyID != s.KeyID() {
			t.Errorf("signature %+v, error %v", sig, err)
		}
	})

	t.Run("cosign's own statement is refused", func(t *testing.T) {
		writeIn(t, dir, "blob", []byte("the artifact"))
		writeIn(t, dir, "predicate.json", []byte(`{"outcome":"PASS"}`))
		out, err := cosign(t, dir, "attest-blob", "--key", key, "--predicate", "predicate.json", "--type", attest.EvidenceType,
			"--bundle", "b.json", "--use-signing-config=false", "--tlog-upload=false", "--yes", "blob")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "b.json"))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = trust.Verify(raw, attest.EvidenceType, artifact)
		wantRefusal(t, err, attest.ErrMalformed)
		wantError(t, err, `_type "https://in-toto.io/Statement/v0.1", want "https://in-toto.io/Statement/v1"`)
		// The signature itself is understood: it is by the trusted key, about that file.
		_, _, err = trust.Verify(raw, attest.EvidenceType, evidence.DigestOf([]byte("other")))
		if !errors.Is(err, attest.ErrWrongSubject) {
			t.Errorf("about another file: error %v, want ErrWrongSubject", err)
		}
	})
}

func TestCosignAcceptsOurs(t *testing.T) {
	t.Parallel()
	priv, pub, err := attest.GenerateKeyPair([]byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeIn(t, dir, "cosign.key", priv)
	writeIn(t, dir, "cosign.pub", pub)
	writeIn(t, dir, "blob", []byte("the artifact"))
	s, err := attest.LoadSigner(filepath.Join(dir, "cosign.key"), func() ([]byte, error) { return []byte("correct horse"), nil })
	if err != nil {
		t.Fatal(err)
	}
	writeIn(t, dir, "b.json", signed(t, s, statement()))
	if out, err := cosign(t, dir, "verify-blob-attestation", "--key", "cosign.pub", "--bundle", "b.json",
		"--insecure-ignore-tlog=true", "--type", attest.EvidenceType, "blob"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The key file is cosign's, too: cosign signs with it.
	if out, err := cosign(t, dir, "public-key", "--key", "cosign.key"); err != nil || out != string(pub) {
		t.Errorf("cosign reads our key as %q, %v", out, err)
	}
}
