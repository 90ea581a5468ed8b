//go:build cloud

package kms

import (
	_ "github.com/sigstore/sigstore/pkg/signature/kms/aws" // each registers its scheme
	_ "github.com/sigstore/sigstore/pkg/signature/kms/azure"
	_ "github.com/sigstore/sigstore/pkg/signature/kms/gcp"
)

// absent are the services that this build leaves out, by scheme.
var absent map[string]string
