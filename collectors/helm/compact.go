package helm

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// swagger is what is read of an OpenAPI v2 document (api/openapi-spec/swagger.json
// of k8s.io/kubernetes, or `kubectl get --raw /openapi/v2`).
type swagger struct {
	Definitions map[string]*swaggerSchema `json:"definitions"`
}

type swaggerSchema struct {
	Ref        string                    `json:"$ref"`
	Type       string                    `json:"type"`
	Format     string                    `json:"format"`
	Properties map[string]*swaggerSchema `json:"properties"`
	Required   []string                  `json:"required"`
	Additional json.RawMessage           `json:"additionalProperties"`
	Items      *swaggerSchema            `json:"items"`
	Enum       []any                     `json:"enum"`
	Kinds      []struct {
		Group, Version, Kind string
	} `json:"x-kubernetes-group-version-kind"`
	PreserveUnknown bool `json:"x-kubernetes-preserve-unknown-fields"`
}

// Compact reduces an OpenAPI v2 document to what validation needs: all kinds,
// or those that keep accepts, with the definitions that they reach.
func Compact(raw []byte, keep func(schema.GroupVersionKind) bool) (*Document, error) {
	var s swagger
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("OpenAPI document: %w", err)
	}
	if len(s.Definitions) == 0 {
		return nil, fmt.Errorf("OpenAPI document: no definitions; want Kubernetes' api/openapi-spec/swagger.json")
	}
	d := &Document{Kinds: map[string]string{}, Definitions: map[string]json.RawMessage{}, compiled: map[string]*Node{}}
	for name, def := range s.Definitions {
		if def == nil || len(def.Kinds) != 1 {
			continue // shared by all groups, such as DeleteOptions
		}
		k := def.Kinds[0]
		gvk := schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
		if keep == nil || keep(gvk) {
			d.Kinds[kindKey(gvk)] = name
			if err := d.reach(&s, name); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

func (d *Document) reach(s *swagger, name string) error {
	if _, ok := d.Definitions[name]; ok {
		return nil
	}
	def, ok := s.Definitions[name]
	if !ok || def == nil {
		return fmt.Errorf("OpenAPI document: definition %q is not there", name)
	}
	d.Definitions[name] = json.RawMessage("{}") // ends recursion
	n, refs, err := compactNode(def, 0)
	if err != nil {
		return fmt.Errorf("OpenAPI document: definition %q: %w", name, err)
	}
	raw, err := json.Marshal(n)
	if err != nil {
		return err
	}
	d.Definitions[name] = raw
	for _, r := range refs {
		if err := d.reach(s, r); err != nil {
			return err
		}
	}
	return nil
}

func compactNode(s *swaggerSchema, depth int) (*Node, []string, error) {
	if depth > 64 {
		return nil, nil, fmt.Errorf("nested too deeply")
	}
	if s.Ref != "" {
		name := strings.TrimPrefix(s.Ref, "#/definitions/")
		return &Node{Ref: name}, []string{name}, nil
	}
	n := &Node{Type: s.Type, Format: s.Format, Required: s.Required, Enum: s.Enum}
	if s.PreserveUnknown {
		return &Node{Type: s.Type}, nil, nil
	}
	var refs []string
	child := func(c *swaggerSchema) (*Node, error) {
		x, more, err := compactNode(c, depth+1)
		refs = append(refs, more...)
		return x, err
	}
	var err error
	if len(s.Properties) > 0 {
		n.Properties = make(map[string]*Node, len(s.Properties))
		n.Type = "object"
	}
	for key, p := range s.Properties {
		if p == nil {
			continue
		}
		if n.Properties[key], err = child(p); err != nil {
			return nil, nil, err
		}
	}
	if s.Items != nil {
		if n.Items, err = child(s.Items); err != nil {
			return nil, nil, err
		}
	}
	if len(s.Additional) > 0 && s.Additional[0] == '{' {
		var a swaggerSchema
		if err := json.Unmarshal(s.Additional, &a); err != nil {
			return nil, nil, err
		}
		if n.Additional, err = child(&a); err != nil {
			return nil, nil, err
		}
	}
	return n, refs, nil
}
