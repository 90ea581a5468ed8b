package manifest

import (
	"slices"

	"go.yaml.in/yaml/v2"
	yamlv3 "go.yaml.in/yaml/v3"
)

// ownKeysDiffer reports whether no mapping of text has a key twice itself, whatever
// is merged into it.
func ownKeysDiffer(text []byte) bool {
	var root yamlv3.Node // which keeps merge keys apart
	return yamlv3.Unmarshal(text, &root) == nil && keysDiffer(&root)
}

func keysDiffer(n *yamlv3.Node) bool {
	if n.Kind == yamlv3.MappingNode {
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.ShortTag() == "!!merge" {
				continue
			}
			name, err := nodeKey(k)
			if err != nil || seen[name] {
				return false
			}
			seen[name] = true
		}
	}
	return !slices.ContainsFunc(n.Content, func(c *yamlv3.Node) bool { return !keysDiffer(c) })
}

// nodeKey is the key as YAML 1.1 and Kubernetes' clients read it.
func nodeKey(n *yamlv3.Node) (string, error) {
	if n.Kind == yamlv3.AliasNode {
		return nodeKey(n.Alias)
	}
	if n.Style != 0 { // quoted, or with a tag
		return n.Value, nil
	}
	var v any
	if err := yaml.Unmarshal([]byte(n.Value), &v); err != nil {
		return "", err
	}
	return jsonKey(v)
}
