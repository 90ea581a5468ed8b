package bundle

import "github.com/companyos/helmproof/internal/canonical"

// CanonicalJSON is how JSON is written inside a bundle (RFC 8785).
func CanonicalJSON(v any) ([]byte, error) { return canonical.JSON(v) }
