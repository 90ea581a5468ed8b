package signatures

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/signatures/signtest"
	"github.com/companyos/helmproof/evidence"
)

// TestCosignSigned verifies what cosign's own command signed.
func TestCosignSigned(t *testing.T) {
	t.Parallel()
	bin := os.Getenv("HELMPROOF_COSIGN")
	if bin == "" {
		t.Skip("HELMPROOF_COSIGN is not set: `make test` builds cosign and sets it")
	}
	dir := t.TempDir()
	cosign := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "DOCKER_CONFIG="+dir, "COSIGN_PASSWORD=", "HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY=127.0.0.1,localhost")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	cosign("generate-key-pair")
	pub, err := os.ReadFile(filepath.Join(dir, "cosign.pub"))
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, "predicate.json"), []byte(`{"buildDefinition":{"buildType":"https://example.com/b","externalParameters":{},"resolvedDependencies":[]},"runDetails":{"builder":{"id":"https://example.com"}}}`), 0o600))
	offline := []string{"--key", "cosign.key", "--yes", "--use-signing-config=false", "--tlog-upload=false"}
	attested := "      attestations: [{name: built, predicateType: slsaprovenance1}]\n"
	for title, tt := range map[string]struct {
		args, more string
		want       []string
	}{
		"sign, bundle":   {"sign --new-bundle-format=true", "      signatureFormat: bundle\n", []string{"signature signed by the key", "referrer "}},
		"sign, legacy":   {"sign --new-bundle-format=false", "      signatureFormat: legacy\n", []string{"signature signed by the key", "tag sha256-….sig"}},
		"attest, bundle": {"attest --new-bundle-format=true --type slsaprovenance1 --predicate predicate.json", attested, []string{"attestation https://slsa.dev/provenance/v1", "referrer "}},
		"attest, legacy": {"attest --new-bundle-format=false --type slsaprovenance1 --predicate predicate.json", attested, []string{"attestation https://slsa.dev/provenance/v1", "tag sha256-….att"}},
	} {
		t.Run(title, func(t *testing.T) {
			h := newHost(t, nil)
			ref := h.Push(t, "team/api", title)
			cosign(append(append(strings.Fields(tt.args), offline...), ref.String())...)
			o := Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(string(pub))+tt.more)}}
			verdict(t, derive(t, collect(t, o, ref.String())), want{evidence.OutcomePass, tt.want})
			o.Policies[0] = policyYAML("demo", keyAuthority(publicPEM(t, newKey(t)))+tt.more)
			verdict(t, derive(t, collect(t, o, ref.String())), want{evidence.OutcomeFail, []string{"signed with another key"}})
		})
	}
}

// TestCosignTrustedRoot verifies by a trusted root that cosign's own command wrote.
func TestCosignTrustedRoot(t *testing.T) {
	t.Parallel()
	bin := os.Getenv("HELMPROOF_COSIGN")
	if bin == "" {
		t.Skip("HELMPROOF_COSIGN is not set: `make test` builds cosign and sets it")
	}
	s, now, dir := newSigstore(t), time.Now().Truncate(time.Second), t.TempDir()
	write := func(name, content string) {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	write("fulcio.pem", signtest.CertPEM(s.Intermediate)+signtest.CertPEM(s.Root))
	write("ctfe.pub", publicPEM(t, s.CTLog))
	for _, l := range s.RekorLogs() {
		der, err := x509.MarshalPKIXPublicKey(l.PublicKey)
		check(t, err)
		write("rekor.pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	}
	const start = ",start-time=2020-01-01T00:00:00Z"
	cmd := exec.CommandContext(t.Context(), bin, "trusted-root", "create", "--out", "root.json",
		"--fulcio=url=https://fulcio.test,certificate-chain=fulcio.pem"+start,
		"--rekor=url=https://rekor.localhost,public-key=rekor.pub"+start, "--ctfe=url=https://ct.test,public-key=ctfe.pub"+start)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "HTTPS_PROXY=http://127.0.0.1:1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cosign trusted-root create: %v\n%s", err, out)
	}
	root, err := os.ReadFile(filepath.Join(dir, "root.json"))
	check(t, err)
	h := newHost(t, nil)
	ref := h.Push(t, "team/api", "x")
	cert, key := s.Leaf(t, identity, now, true)
	attachBundle(t, ref, signtest.Marshal(t, s.Bundle(t, cert, key, statementOf(signPredicate, ref.DigestStr()), now)))
	o := Options{Policies: []PolicyFile{policyYAML("demo", keylessAuthority)}, TrustedRoot: root}
	verdict(t, derive(t, collect(t, o, ref.String())), want{evidence.OutcomePass, []string{"signed by " + identity}})
}
