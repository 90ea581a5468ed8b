package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/canonical"
	"github.com/companyos/helmproof/internal/manifest"
)

// maxStructured bounds what is parsed to redact it value by value, in bytes.
const maxStructured = manifest.MaxSize

// structured redacts any text: value by value where it is YAML or JSON.
func (r *Redactor) structured(b []byte) ([]byte, int) {
	if len(b) > maxStructured {
		return r.text(b)
	}
	if t := bytes.TrimSpace(b); len(t) > 0 && (t[0] == '{' || t[0] == '[') && json.Valid(t) {
		return r.json(b)
	}
	docs, err := decodeYAML(b)
	if err != nil {
		return r.text(b)
	}
	masked, n := r.masked(docs, place{values: r.values != nil && bytes.Equal(b, r.values)})
	after, _ := masked.([]any)
	decode := func(b []byte) (any, error) { return decodeYAML(b) }
	if out, m, ok := r.edited(b, docs, after, decode); ok {
		return out, n + m
	}
	out, err := encodeYAML(after)
	if err != nil {
		return []byte(mask + "\n"), n + 1
	}
	// A secret with the signs of YAML in it can stand across keys and values.
	out, _ = r.forms.replace(out)
	return out, max(n, 1)
}

// json redacts JSON value by value. Its keys are mostly those of a program's
// records: nothing but odd secrets is replaced in them.
func (r *Redactor) json(b []byte) ([]byte, int) {
	before, err := decodeJSON(b)
	if err != nil {
		return r.text(b)
	}
	after, n := r.masked(before, place{record: true})
	if n == 0 {
		return b, 0
	}
	// Mostly it is enough to replace text, and all else stays as it is written.
	for _, replace := range []func([]byte) ([]byte, int){r.forms.replace, r.text} {
		out, _ := replace(b)
		if again, err := decodeJSON(out); err == nil && reflect.DeepEqual(again, after) {
			return out, n
		}
	}
	var out []byte
	if out, err = encodeJSON(after); err != nil {
		return []byte(`"` + mask + `"`), n
	}
	if same, err := canonical.Transform(b); err == nil && bytes.Equal(same, b) {
		if again, err := canonical.Transform(out); err == nil {
			out = again
		}
	}
	return out, n
}

// decodeYAML returns the documents of YAML that hold a mapping or a list.
func decodeYAML(b []byte) ([]any, error) {
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

// mustEscape reports whether YAML does not keep a character as it is: control
// characters, of which U+0085 is the end of a line there, and byte order marks.
func mustEscape(c rune) bool {
	return c < ' ' && c != '\t' && c != '\n' || c >= 0x7f && c <= 0x9f || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff
}

// encodeFlow encodes a value as JSON that YAML reads as the same.
func encodeFlow(v any) ([]byte, error) {
	b, err := encodeJSON(v)
	if err != nil || !bytes.ContainsFunc(b, mustEscape) {
		return b, err
	}
	var out bytes.Buffer
	for _, c := range string(b) {
		if mustEscape(c) {
			fmt.Fprintf(&out, `\u%04x`, c)
		} else {
			out.WriteRune(c)
		}
	}
	return out.Bytes(), nil
}

// seal decides what is sealed for the manifests, document by document. Each is
// redacted in place where that can be done, so that comments and line numbers stay.
// An error says that a document cannot be sealed without changing what it is.
func (r *Redactor) seal(manifests []byte, set *manifest.ObjectSet, found map[*manifest.Object]*spots) error {
	type part struct {
		from, to int
		objects  []*manifest.Object
		broken   int
	}
	var parts []part
	for i := range set.Objects {
		o := &set.Objects[i]
		if n := len(parts); n > 0 && parts[n-1].from == o.From {
			parts[n-1].objects = append(parts[n-1].objects, o)
			continue
		}
		parts = append(parts, part{from: o.From, to: o.To, objects: []*manifest.Object{o}})
	}
	for _, d := range set.Broken {
		if i := slices.IndexFunc(parts, func(p part) bool { return p.from == d.From }); i >= 0 {
			parts[i].broken++
		} else {
			parts = append(parts, part{from: d.From, to: d.To, broken: 1})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return a.from - b.from })
	lines := bytes.SplitAfter(manifests, []byte("\n"))
	var out bytes.Buffer
	masks, at := 0, 0
	copyText := func(to int) {
		text, n := r.forms.replace(bytes.Join(lines[at:to], nil))
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
		all := newSpots()
		for _, o := range p.objects {
			all.join(found[o])
		}
		text, n, err := r.document(raw, all, p.broken > 0 && len(p.objects) == 0)
		if err != nil {
			return fmt.Errorf("redact line %d of the manifests: %w", p.from, err)
		}
		out.Write(text)
		masks += n
	}
	copyText(len(lines))
	r.manifests, r.instead, r.masks = manifests, out.Bytes(), masks
	if masks == 0 {
		r.instead = manifests
	}
	return nil
}

// document redacts one document of the manifests.
func (r *Redactor) document(raw []byte, found *spots, broken bool) ([]byte, int, error) {
	content, err := manifest.Decode(raw)
	if err != nil {
		// It is no object, and must not become one.
		text, n := r.text(raw)
		if n == 0 {
			return raw, 0, nil
		}
		if _, err := manifest.Decode(text); err == nil && broken {
			text = []byte("{" + mask + "\n")
		}
		return text, n, nil
	}
	after, n := r.masked(content, place{spots: found, root: true})
	decode := func(b []byte) (any, error) { return manifest.Decode(b) }
	if out, m, ok := r.edited(raw, []any{content}, []any{after}, decode); ok {
		return out, n + m, nil
	}
	same := func(b []byte) bool {
		again, err := manifest.Decode(b)
		return err == nil && reflect.DeepEqual(again, after)
	}
	out, err := yaml.Marshal(after)
	if err != nil {
		return nil, 0, err
	}
	// A secret with the signs of YAML in it stands across keys and values; some
	// characters do not come back as they were.
	if _, left := r.forms.replace(out); left > 0 || !same(out) {
		if out, err = encodeFlow(after); err != nil {
			return nil, 0, err
		}
		out = append(out, '\n')
	}
	if !same(out) {
		return nil, 0, errors.New("it does not stay the same but for its secrets")
	}
	return out, max(n, 1), nil
}

// spots are the places of one object where secrets were found.
type spots struct {
	entries   map[string]bool // paths: "data\x00key", of Secrets and ConfigMaps
	variables map[string]bool // name NUL value
	arguments map[string]bool // option without dashes NUL value
}

// spot is one of them; the zero value is none.
type spot struct {
	entry, variable, argument string
	encoded                   bool // it stands there in base64
	secret                    bool // the entry is one of a Secret: it is replaced whole
}

func newSpots() *spots {
	return &spots{entries: map[string]bool{}, variables: map[string]bool{}, arguments: map[string]bool{}}
}

func (s *spots) add(p spot) {
	switch {
	case p.entry != "":
		s.entries[p.entry] = s.entries[p.entry] || p.secret
	case p.variable != "":
		s.variables[p.variable] = true
	case p.argument != "":
		s.arguments[p.argument] = true
	}
}

func (s *spots) join(o *spots) {
	if o == nil {
		return
	}
	for k, secret := range o.entries {
		s.entries[k] = s.entries[k] || secret
	}
	maps.Copy(s.variables, o.variables)
	maps.Copy(s.arguments, o.arguments)
}

// place is where in a decoded text a value stands.
type place struct {
	spots  *spots // of the object; nil outside of manifests
	root   bool   // it is the object itself, or a list of such
	path   string // the keys to it from the object's root, joined by NUL
	key    string // the nearest key, or the name of the variable whose value it is
	before string // what stands before it in a list
	named  bool   // it is a name, or part of one
	record bool   // of JSON, whose keys are a program's
	values bool   // of the release's values, which nothing is derived from
}

// masked copies v with every secret in it replaced, and says how many there were.
func (r *Redactor) masked(v any, p place) (out any, n int) {
	m := masking{Redactor: r}
	out = m.value(v, p)
	if m.n == 0 {
		return v, 0
	}
	return out, m.n
}

// clean reports whether no value in v holds a secret.
func (r *Redactor) clean(v any) bool {
	_, n := r.masked(v, place{})
	return n == 0
}

type masking struct {
	*Redactor
	n int
}

func (m *masking) value(v any, p place) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for _, k := range slices.Sorted(maps.Keys(x)) {
			e := m.value(x[k], p.below(k, x))
			name := m.name(k, p)
			for _, taken := out[name]; taken; _, taken = out[name] {
				name += "_"
			}
			out[name] = e
		}
		return out
	case map[any]any: // YAML with keys that are no strings
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[fmt.Sprint(k)] = e
		}
		return m.value(out, p)
	case []any:
		out := make([]any, len(x))
		p.key = strings.TrimSuffix(p.key, "s")
		for i, e := range x {
			out[i] = m.value(e, p)
			p.before, _ = e.(string)
		}
		return out
	case nil, bool:
		return v
	case string:
		return m.text(x, p)
	}
	text, ok := scalar(v)
	if !ok {
		text = fmt.Sprint(v)
	}
	if was := m.n; m.text(text, p) != text && m.n > was {
		return number(v)
	}
	return v
}

// name redacts a key.
func (m *masking) name(k string, p place) string {
	forms := &m.forms
	if p.record {
		forms = &m.oddOnly
	}
	b, n := forms.replace([]byte(k))
	if n == 0 {
		return k
	}
	m.n += n
	return string(b)
}

// below is the place of what stands under key k of a mapping.
func (p place) below(k string, of map[string]any) place {
	if _, isList := of[k].([]any); p.root && k == "items" && isList {
		return p
	}
	path := k
	if p.path != "" {
		path = p.path + "\x00" + k
	}
	next := place{spots: p.spots, path: path, key: k, named: p.named || nameFields[k], record: p.record, values: p.values}
	if name, ok := of["name"].(string); ok && k == "value" {
		next.key = name
	}
	return next
}

// holds reports whether a short secret or a word is one at that place.
func (p place) holds(v string) bool {
	if p.spots == nil {
		return false
	}
	_, entry := p.spots.entries[p.path]
	return entry || p.spots.variables[p.key+"\x00"+v] || p.before != "" && p.spots.arguments[strings.TrimLeft(p.before, "-")+"\x00"+v]
}

func (m *masking) text(v string, p place) string {
	t := strings.TrimSpace(v)
	instead := func(s string) string {
		m.n++
		return s
	}
	switch {
	case t == "":
		return v
	case p.spots != nil && p.spots.entries[p.path]:
		if strings.HasPrefix(p.path, "data\x00") || strings.HasPrefix(p.path, "binaryData\x00") {
			return instead(shapedBase64(v))
		}
		return instead(shaped(v))
	case m.whole[t]:
		return instead(shaped(v))
	case m.encoded[t] != "":
		return instead(m.encoded[t])
	case m.partial[t] != nil && !p.named && (p.holds(t) || namesSecret(p.key) || p.values && m.partial[t][p.key]):
		return instead(shaped(v))
	}
	if len(t) >= 12 && len(t)%4 == 0 && strings.Trim(t, base64Alphabet+"=") == "" {
		if again, ok := m.forms.encodedAgain(t); ok {
			return instead(again)
		}
	}
	in, n := v, 0
	if !p.named {
		in, n = m.inside(v, p.key)
	}
	b, more := m.forms.replace([]byte(in))
	n += more
	if !p.named {
		b, more = m.beside(b)
		n += more
	}
	if n == 0 {
		return v
	}
	m.n += n
	return string(b)
}

// sameShape reports whether two values are the same but for texts and numbers.
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
	return reflect.TypeOf(a) == reflect.TypeOf(b)
}

// names are the keys and names of a release, joined by NUL: in them a secret is
// replaced by an alias, and a word is not.
func names(set *manifest.ObjectSet, rel *chart.Release) string {
	seen := map[string]struct{}{rel.Info.Chart: {}, rel.Info.ReleaseName: {}, rel.Info.Namespace: {}, rel.Info.Version: {}, rel.Info.AppVersion: {}}
	for _, image := range rel.Info.Images {
		seen[image] = struct{}{}
	}
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
	"name": true, "namespace": true, "kind": true, "key": true, "images": true, "hosts": true, "hostname": true, "subdomain": true, "resources": true, "verbs": true,
	"accessModes": true, "nodeSelector": true, "runtimeClassName": true, "schedulerName": true, "nodeName": true, "group": true, "names": true, "finalizers": true, "apiVersion": true, "image": true, "labels": true, "matchLabels": true, "selector": true,
	"serviceAccountName": true, "secretName": true, "claimName": true, "containerName": true, "serviceName": true, "storageClassName": true,
	"topologyKey": true, "priorityClassName": true, "ingressClassName": true, "host": true, "mountPath": true, "path": true,
}

// plainValues are all other texts without blanks, and all numbers, of the objects,
// each between NULs: where the API wants one of some words, nothing else may stand.
// Entries, variables, arguments and annotations may hold anything.
func plainValues(set *manifest.ObjectSet) string {
	seen := map[string]struct{}{}
	var walk func(v any, depth int)
	walk = func(v any, depth int) {
		if depth > 200 {
			return
		}
		switch x := v.(type) {
		case map[string]any:
			for k, e := range x {
				switch k {
				case "data", "stringData", "binaryData", "annotations", "value", "args", "command":
				default:
					walk(e, depth+1)
				}
			}
		case []any:
			for _, e := range x {
				walk(e, depth+1)
			}
		default:
			if text, ok := scalar(v); ok && !strings.ContainsAny(text, " \n") {
				seen[text] = struct{}{}
			}
		}
	}
	for i := range set.Objects {
		walk(set.Objects[i].Object, 0)
	}
	return "\x00" + strings.Join(slices.Sorted(maps.Keys(seen)), "\x00") + "\x00"
}
