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

// signatureFlags are the flags by which image signatures are verified.
type signatureFlags struct {
	policies []string
	root     string
}

func (f *signatureFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.policies, "signature-policy", nil, "verify image signatures by the ClusterImagePolicies of `FILE`; may be given several times")
	fl.StringVar(&f.root, "trusted-root", "", "with --signature-policy: Sigstore trusted root `FILE`, for keyless signatures and transparency logs")
	_ = cmd.MarkFlagFilename("signature-policy", "yaml", "yml")
	_ = cmd.MarkFlagFilename("trusted-root", "json")
}

// load reads the files, and refuses policies that cannot be enforced before
// anything is collected.
func (f *signatureFlags) load(plainHTTP bool) (signatures.Options, error) {
	o := signatures.Options{PlainHTTP: plainHTTP}
	if f.root != "" && len(f.policies) == 0 {
		return o, usageErr("--trusted-root means something with --signature-policy only")
	}
	for _, name := range f.policies {
		raw, err := readSignatureFile(name)
		if err != nil {
			return o, usageErr("--signature-policy: %w", err)
		}
		o.Policies = append(o.Policies, signatures.PolicyFile{Name: name, Raw: raw})
	}
	if f.root != "" {
		raw, err := readSignatureFile(f.root)
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
