package signatures

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
			ref := h.push(t, "team/api", title)
			cosign(append(append(strings.Fields(tt.args), offline...), ref.String())...)
			o := Options{Policies: []PolicyFile{policyYAML("demo", keyAuthority(string(pub))+tt.more)}}
			verdict(t, derive(t, collect(t, o, ref.String())), want{evidence.OutcomePass, tt.want})
			o.Policies[0] = policyYAML("demo", keyAuthority(publicPEM(t, newKey(t)))+tt.more)
			verdict(t, derive(t, collect(t, o, ref.String())), want{evidence.OutcomeFail, []string{"signed with another key"}})
		})
	}
}
