package helm

import (
	"maps"
	"slices"
)

// EmbeddedKinds are the kinds of an embedded version: "apps/v1 Deployment".
func EmbeddedKinds(version string) ([]string, error) {
	doc, err := embeddedDocument(version)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(doc.Kinds)), nil
}

// MayRepeat is what decides whether the converter of server-side apply is asked.
var MayRepeat = mayRepeat

// WithoutKeys replaces calls of functions that are slow by design.
var WithoutKeys = withoutKeys
