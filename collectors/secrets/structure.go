package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/manifest"
)

// maxStructured bounds what is parsed to check its redaction, in bytes.
const maxStructured = manifest.MaxSize

// structured checks the redaction out of b value by value, where b is YAML or
// JSON, and writes it anew where text was not enough.
func (r *redactor) structured(b, out []byte, n int) ([]byte, int) {
	if len(b) > maxStructured {
		return out, n
	}
	decode, encode := decodeYAML, encodeYAML
	if t := bytes.TrimSpace(b); len(t) > 0 && (t[0] == '{' || t[0] == '[') && json.Valid(t) {
		decode, encode = decodeJSON, encodeJSON
	}
	before, err := decode(b)
	if err != nil {
		return out, n // plain text
	}
	if n > 0 {
		if after, err := decode(out); err == nil && sameShape(before, after) && r.clean(after) {
			return out, n
		}
	} else if r.clean(before) {
		return b, 0
	}
	again, err := encode(r.masked(before))
	if err != nil {
		return []byte(mask + "\n"), n + 1
	}
	// A secret with the signs of YAML in it can stand across keys and values.
	again, _ = r.text(again)
	return again, max(n, 1)
}

// decodeYAML returns the documents of YAML that hold a mapping or a list.
func decodeYAML(b []byte) (any, error) {
	if !bytes.ContainsAny(b, ":-[{") {
		return nil, errors.New("no structure")
	}
	docs := []any{}
	for dec := yamlv3.NewDecoder(bytes.NewReader(b)); ; {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch v.(type) {
		case map[string]any, []any, nil:
		default:
			return nil, errors.New("no structure")
		}
		docs = append(docs, v)
	}
	return docs, nil
}

func encodeYAML(v any) ([]byte, error) {
	docs, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("encode %T", v)
	}
	var b bytes.Buffer
	for i, d := range docs {
		raw, err := yaml.Marshal(d)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(raw)
	}
	return b.Bytes(), nil
}

func decodeJSON(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	return v, errors.Join(dec.Decode(&v), nil)
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// seal decides what is sealed for the manifests, document by document: comments
// and line numbers stay wherever replacing text is enough.
func (r *redactor) seal(manifests []byte, set *manifest.ObjectSet) {
	type part struct {
		from, to int
		objects  []*manifest.Object
	}
	var parts []part
	for i := range set.Objects {
		o := &set.Objects[i]
		if n := len(parts); n > 0 && parts[n-1].from == o.From {
			parts[n-1].objects = append(parts[n-1].objects, o)
			continue
		}
		parts = append(parts, part{o.From, o.To, []*manifest.Object{o}})
	}
	for _, d := range set.Broken {
		if !slices.ContainsFunc(parts, func(p part) bool { return p.from == d.From }) {
			parts = append(parts, part{d.From, d.To, nil})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return a.from - b.from })
	lines := bytes.SplitAfter(manifests, []byte("\n"))
	var out bytes.Buffer
	masks, at := 0, 0
	copyText := func(to int) {
		raw := bytes.Join(lines[at:to], nil)
		text, n := r.text(raw)
		out.Write(text)
		masks, at = masks+n, to
	}
	for _, p := range parts {
		if p.from-1 < at || p.to > len(lines) {
			continue
		}
		copyText(p.from - 1)
		raw := bytes.Join(lines[at:p.to], nil)
		at = p.to
		text, n := r.text(raw)
		if len(p.objects) == 0 || r.same(text, p.objects) {
			out.Write(text)
			masks += n
			continue
		}
		masks += max(n, 1)
		for i, o := range p.objects {
			if i > 0 {
				fmt.Fprintf(&out, "---\n# Source: %s:%d\n", o.File, o.Line)
			}
			out.Write(r.rewritten(o))
		}
	}
	copyText(len(lines))
	r.manifests, r.instead, r.masks = manifests, out.Bytes(), masks
	if masks == 0 {
		r.instead = manifests
	}
}

// same reports whether text holds the objects, with nothing in clear.
func (r *redactor) same(text []byte, objects []*manifest.Object) bool {
	set, err := manifest.Parse(text)
	if err != nil || len(set.Objects) != len(objects) || len(set.Broken) > 0 {
		return false
	}
	for i, o := range objects {
		if !sameShape(o.Object, set.Objects[i].Object) || !r.clean(set.Objects[i].Object) {
			return false
		}
	}
	return true
}

// rewritten is the object written anew, each secret masked in its value.
func (r *redactor) rewritten(o *manifest.Object) []byte {
	raw, err := yaml.Marshal(r.masked(o.Object))
	if err != nil || !r.same(raw, []*manifest.Object{o}) {
		// Rather too little is said than a secret.
		raw = fmt.Appendf(nil, "apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\n", mask, mask, mask)
	}
	return raw
}

// sameShape reports whether two values are the same but for masked scalars.
func sameShape(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, e := range x {
			f, ok := y[k]
			if !ok || !sameShape(e, f) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		return ok && len(x) == len(y) && slices.EqualFunc(x, y, sameShape)
	}
	if s, ok := b.(string); ok && strings.Contains(s, mask) {
		return a != nil
	}
	return fmt.Sprint(a) == fmt.Sprint(b)
}

// clean reports whether no scalar in v holds a secret.
func (r *redactor) clean(v any) bool {
	_, changed := r.maskValue(v, "")
	return !changed
}

// masked copies v with every secret in its keys and scalars masked.
func (r *redactor) masked(v any) any {
	out, _ := r.maskValue(v, "")
	return out
}

func (r *redactor) maskValue(v any, key string) (out any, changed bool) {
	switch x := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(x))
		for _, k := range slices.Sorted(maps.Keys(x)) {
			of := k
			if name, ok := x["name"].(string); ok && k == "value" {
				of = name
			}
			e, c := r.maskValue(x[k], of)
			name, n := r.text([]byte(k))
			if n > 0 {
				k = string(name)
				for m[k] != nil {
					k += "_"
				}
			}
			m[k] = e
			changed = changed || c || n > 0
		}
		return m, changed
	case map[any]any: // YAML with keys that are no strings
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[fmt.Sprint(k)] = e
		}
		return r.maskValue(m, key)
	case []any:
		list := make([]any, len(x))
		for i, e := range x {
			var c bool
			list[i], c = r.maskValue(e, key)
			changed = changed || c
		}
		return list, changed
	case nil, bool:
		return v, false
	}
	text := fmt.Sprint(v)
	if s, ok := scalar(v); ok {
		text = s
	}
	trimmed := strings.TrimSpace(text)
	if r.whole[trimmed] || r.partial[trimmed] != nil && r.keyHolds(key, trimmed) {
		return mask, true
	}
	if b, n := r.text([]byte(text)); n > 0 {
		return string(b), true
	}
	return v, false
}

// identifiers are the names that findings and reports must be able to write,
// joined by NUL: a secret that stands in one is redacted only beside its keys.
func identifiers(set *manifest.ObjectSet, rel *chart.Release) string {
	seen := map[string]struct{}{rel.Info.Chart: {}, rel.Info.ReleaseName: {}, rel.Info.Namespace: {}}
	var walk func(v any, named bool, depth int)
	walk = func(v any, named bool, depth int) {
		if depth > 200 {
			return
		}
		switch x := v.(type) {
		case map[string]any:
			for k, e := range x {
				seen[k] = struct{}{}
				walk(e, named || nameFields[k], depth+1)
			}
		case []any:
			for _, e := range x {
				walk(e, named, depth+1)
			}
		case string:
			if named {
				seen[x] = struct{}{}
			}
		}
	}
	for i := range set.Objects {
		o := &set.Objects[i]
		seen[o.File] = struct{}{}
		walk(o.Object, false, 0)
	}
	for _, f := range rel.Files {
		seen[f.Name] = struct{}{}
	}
	valueKeys(rel.Values, seen, 0)
	return strings.Join(slices.Sorted(maps.Keys(seen)), "\x00")
}

func valueKeys(v any, seen map[string]struct{}, depth int) {
	if depth > 200 {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			seen[k] = struct{}{}
			valueKeys(e, seen, depth+1)
		}
	case []any:
		for _, e := range x {
			valueKeys(e, seen, depth+1)
		}
	}
}

// nameFields are the fields whose text, or all text below them, is a name.
var nameFields = map[string]bool{
	"name": true, "namespace": true, "kind": true, "apiVersion": true, "image": true, "labels": true, "matchLabels": true, "selector": true,
	"serviceAccountName": true, "secretName": true, "claimName": true, "containerName": true, "serviceName": true, "storageClassName": true,
	"topologyKey": true, "priorityClassName": true, "ingressClassName": true, "host": true, "mountPath": true, "path": true,
}
