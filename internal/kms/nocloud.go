//go:build !cloud

package kms

// absent are the services that this build leaves out, by scheme.
var absent = map[string]string{"awskms": "AWS KMS", "azurekms": "Azure Key Vault", "gcpkms": "Google Cloud KMS"}
