// Package admission holds policies that admit images by helmproof's verdict:
// the verification summary that helmproof attach pushes beside an image.
package admission

import "embed"

// FS holds a template for each engine: sigstore.yaml (policy-controller) and
// kyverno.yaml. They take .Name, .Globs, .Key (PEM), .Profile (for people), .URIs and .Digests (of the profile), .Chart
// (empty: any) and .MaxAge (a time.Duration).
//
//go:embed *.yaml
var FS embed.FS
