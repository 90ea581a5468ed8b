package harden

import (
	"fmt"

	"github.com/companyos/helmproof/internal/manifest"
)

// Value is one value of a chart that is to be set.
type Value struct {
	Path  []string // of keys
	Value any
}

// EditValues returns a values file with a value set; all that it does not set keeps its
// bytes. An error says why the file cannot be edited in place.
func EditValues(text []byte, values ...Value) ([]byte, error) {
	p := new(patch)
	for _, v := range values {
		path := make([]any, len(v.Path))
		for i, s := range v.Path {
			path[i] = s
		}
		leaf := p.put(path, v.Value)
		leaf.replaces, leaf.sets = true, true
	}
	tree, err := manifest.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("read values: %w", err)
	}
	switch tree := tree.(type) {
	case nil:
		lines, err := block(p.whole().(map[string]any)) //nolint:forcetypeassert // it has fields
		if len(text) > 0 && text[len(text)-1] != '\n' {
			lines = "\n" + lines
		}
		return append(append([]byte{}, text...), lines...), err
	case map[string]any:
		return edit(text, tree, p)
	}
	return nil, errShape
}
