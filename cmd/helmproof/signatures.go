package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/collectors/signatures"
)

// maxSignatureFile bounds a file of signature policies and a trusted root, in bytes.
const maxSignatureFile = 4 << 20

// registerSignatureFlags registers the flags by which image signatures are verified.
func registerSignatureFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArray("signature-policy", nil, "verify image signatures by the ClusterImagePolicies of `FILE`; may be given several times")
	fl.String("trusted-root", "", "with --signature-policy: Sigstore trusted root `FILE`, for keyless signatures and transparency logs")
	_ = cmd.MarkFlagFilename("signature-policy", "yaml", "yml")
	_ = cmd.MarkFlagFilename("trusted-root", "json")
}

// signatureOptions reads the files, and refuses policies that cannot be enforced before
// anything is collected.
func (a *app) signatureOptions(plainHTTP bool) (signatures.Options, error) {
	o, policies, root := signatures.Options{PlainHTTP: plainHTTP}, a.cfg.SignaturePolicy, a.cfg.TrustedRoot
	if root != "" && len(policies) == 0 {
		return o, usageErr("--trusted-root means something with --signature-policy only")
	}
	for _, name := range policies {
		raw, err := readSignatureFile(name)
		if err != nil {
			return o, usageErr("--signature-policy: %w", err)
		}
		o.Policies = append(o.Policies, signatures.PolicyFile{Name: name, Raw: raw})
	}
	if root != "" {
		raw, err := readSignatureFile(root)
		if err != nil {
			return o, usageErr("--trusted-root: %w", err)
		}
		o.TrustedRoot = raw
	}
	if _, err := signatures.New(o); err != nil {
		return o, usageErr("%w", err)
	}
	return o, nil
}

func readSignatureFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	raw, err := io.ReadAll(io.LimitReader(file, maxSignatureFile+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxSignatureFile {
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxSignatureFile)
	}
	return raw, nil
}
