// Package keyref tells references to keys in key management services from names
// of files. It knows no service: who only reads configuration links none of
// their libraries. Package kms reaches the keys.
package keyref

import (
	"slices"
	"strings"
)

// schemes are those of references. The library would take any other for the name
// of a program to run.
var schemes = []string{"awskms", "azurekms", "gcpkms", "hashivault", "openbao"}

// Want lists what references look like, for error messages.
const Want = "awskms://…, azurekms://…, gcpkms://…, hashivault://… or openbao://…"

// Is tells a reference from a file's name.
func Is(reference string) bool {
	scheme, rest, ok := strings.Cut(reference, "://")
	return ok && rest != "" && slices.Contains(schemes, scheme)
}
