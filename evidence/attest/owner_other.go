//go:build !unix

package attest

import "io/fs"

// ownFile is false where modes do not say who may read a file.
func ownFile(fs.FileInfo) bool { return false }
