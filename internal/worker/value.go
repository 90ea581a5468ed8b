package worker

import (
	"encoding/gob"
	"encoding/json"
)

// Value carries values as YAML and JSON have them between processes, with their
// types: mappings, lists, strings, numbers of all kinds, booleans and null.
type Value struct{ V any }

// null stands for nil, which gob does not carry inside of other values.
type null struct{ Null bool }

func init() { //nolint:gochecknoinits // gob knows types by registration only
	gob.Register(map[string]any{})
	gob.Register([]any{})
	gob.Register(json.Number(""))
	gob.Register(null{})
}

// Pack prepares v.
func Pack(v map[string]any) Value {
	if v == nil {
		return Value{null{true}}
	}
	return Value{replace(v, func(v any) any {
		if v == nil {
			return null{true}
		}
		return v
	})}
}

// Unpack returns what was packed.
func (v Value) Unpack() map[string]any {
	m, _ := replace(v.V, func(v any) any {
		if _, ok := v.(null); ok {
			return nil
		}
		return v
	}).(map[string]any)
	return m
}

func replace(v any, leaf func(any) any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = replace(e, leaf)
		}
		return m
	case []any:
		s := make([]any, len(v))
		for i, e := range v {
			s[i] = replace(e, leaf)
		}
		return s
	}
	return leaf(v)
}
