package secrets

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors"
)

// mask replaces a secret: a plain YAML scalar, and valid base64.
const mask = "REDACTED"

// minEverywhere is the shortest secret, in bytes, that is replaced wherever it
// stands; a shorter one would hit unrelated text.
const minEverywhere = 8

// redactor replaces secrets. The zero value replaces nothing.
type redactor struct {
	forms    [][]byte // longest first
	keyed    []*regexp.Regexp
	pairs    map[[2]string]bool // key and value, as they stand in an object
	partial  map[string]bool
	replacer *strings.Replacer

	// Where replacing text would break the manifests: those, and what is sealed instead.
	manifests, instead []byte
	masks              int
}

func newRedactor(list []found, names map[string]bool) *redactor {
	r := &redactor{partial: map[string]bool{}, pairs: map[[2]string]bool{}}
	seen := map[string]bool{}
	for _, f := range list {
		if len(f.value) < minEverywhere || isName(f.value, names) {
			r.partial[f.value] = true
			r.addKeyed(f, seen)
			continue
		}
		for _, form := range forms(f.value) {
			if len(form) >= minEverywhere && !names[form] && !seen[form] {
				seen[form] = true
				r.forms = append(r.forms, []byte(form))
			}
		}
		r.addKeyed(f, seen)
	}
	slices.SortFunc(r.forms, func(a, b []byte) int { return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(r.forms))
	for _, f := range r.forms {
		pairs = append(pairs, string(f), mask)
	}
	r.replacer = strings.NewReplacer(pairs...)
	return r
}

// isName reports whether the value is, or stands inside, a name of the release.
func isName(v string, names map[string]bool) bool {
	if names[v] {
		return true
	}
	for n := range names {
		if strings.Contains(n, v) {
			return true
		}
	}
	return false
}

// forms are the ways in which a value can stand in an artifact: as it is,
// escaped, encoded, and line by line where it has several.
func forms(v string) []string {
	out := []string{v}
	if quoted, err := json.Marshal(v); err == nil {
		out = append(out, string(quoted[1:len(quoted)-1]))
	}
	out = append(out, strings.ReplaceAll(v, "'", "''"), url.QueryEscape(v), url.PathEscape(v),
		base64.StdEncoding.EncodeToString([]byte(v)), base64.RawStdEncoding.EncodeToString([]byte(v)),
		base64.URLEncoding.EncodeToString([]byte(v)), base64.StdEncoding.EncodeToString([]byte(v+"\n")))
	if strings.Contains(v, "\n") {
		for line := range strings.Lines(v) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "-----") {
				out = append(out, line)
			}
		}
	}
	if plain, err := base64.StdEncoding.DecodeString(v); err == nil && len(v) >= 2*minEverywhere {
		out = append(out, string(plain))
	}
	return out
}

// addKeyed redacts a value right after its own key, whatever else it may be:
// key: value, "key":"value", and name: KEY with value: on the next line.
func (r *redactor) addKeyed(f found, seen map[string]bool) {
	key := f.place.Key[strings.LastIndexAny(f.place.Key, ". ")+1:]
	if key == "" || seen[key+"\x00"+f.value] {
		return
	}
	seen[key+"\x00"+f.value] = true
	var alternatives []string
	for _, form := range forms(f.value) {
		r.pairs[[2]string{key, form}] = true
		alternatives = append(alternatives, regexp.QuoteMeta(form))
	}
	values := `(?:` + strings.Join(alternatives, "|") + `)`
	k := regexp.QuoteMeta(key)
	for _, pattern := range []string{
		`("?` + k + `"?\s*[:=]\s*["']?)` + values + `(["']?\s*(?:[\n,}]|$))`,
		`(name"?:\s*["']?` + k + `["']?,?\s+"?value"?:\s*["']?)` + values + `(["']?\s*(?:[\n,}]|$))`,
	} {
		if re, err := regexp.Compile(pattern); err == nil { // quoted, so it compiles
			r.keyed = append(r.keyed, re)
		}
	}
}

// Redact implements collectors.Redactor.
func (r *redactor) Redact(b []byte) ([]byte, int) {
	if r.instead != nil && bytes.Equal(b, r.manifests) {
		return r.instead, r.masks
	}
	n := 0
	for _, re := range r.keyed {
		if m := re.FindAllIndex(b, -1); len(m) > 0 {
			n += len(m)
			b = re.ReplaceAll(b, []byte("${1}"+mask+"${2}"))
		}
	}
	for _, f := range r.forms {
		if bytes.Contains(b, f) {
			text := string(b)
			out := r.replacer.Replace(text)
			return []byte(out), n + strings.Count(out, mask) - strings.Count(text, mask)
		}
	}
	return b, n
}

// settle decides how the manifests are redacted. Replacing text is enough where
// the same objects remain; where a value is quoted or folded so that it is not,
// whole scalars are masked and the objects are written anew. If that is not
// possible either, nothing may be sealed.
func (r *redactor) settle(manifests []byte, set *collectors.ObjectSet) error {
	out, n := r.Redact(manifests)
	if n == 0 {
		return nil
	}
	err := sameObjects(out, set)
	if err == nil {
		return nil
	}
	if len(set.Broken) > 0 {
		return fmt.Errorf("secrets cannot be redacted from manifests that do not parse: nothing is sealed: %w", err)
	}
	var b bytes.Buffer
	for i := range set.Objects {
		o := &set.Objects[i]
		raw, err := yaml.Marshal(r.masked(o.Object))
		if err != nil {
			return fmt.Errorf("redact %s: %w", o.Target("").Object(), err)
		}
		fmt.Fprintf(&b, "---\n# Source: %s:%d\n%s", o.File, o.Line, raw)
	}
	if err := sameObjects(b.Bytes(), set); err != nil {
		return err
	}
	r.manifests, r.instead, r.masks = manifests, b.Bytes(), n
	return nil
}

// masked copies a value with every scalar that holds a secret masked whole.
func (r *redactor) masked(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, e := range x {
			out[k] = r.masked(e)
			if s, ok := scalar(e); ok && r.isKeyed(k, s) {
				out[k] = mask
			}
		}
		if name, ok := x["name"].(string); ok {
			if s, ok := scalar(x["value"]); ok && r.isKeyed(name, s) {
				out["value"] = mask
			}
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = r.masked(e)
		}
		return out
	case string:
		for _, f := range r.forms {
			if strings.Contains(x, string(f)) {
				return mask
			}
		}
	}
	return v
}

func (r *redactor) isKeyed(key, value string) bool { return r.pairs[[2]string{key, value}] }

// sameObjects holds that redacted manifests hold the same objects to judge.
func sameObjects(redacted []byte, set *collectors.ObjectSet) error {
	again, err := collectors.ParseManifests(redacted)
	if err != nil {
		return fmt.Errorf("redacted manifests do not parse, nothing is sealed: %w", err)
	}
	if len(again.Objects) != len(set.Objects) || len(again.Broken) != len(set.Broken) {
		return fmt.Errorf("redacting secrets changes the manifests from %d objects to %d, nothing is sealed", len(set.Objects), len(again.Objects))
	}
	for i := range again.Objects {
		a, b := &again.Objects[i], &set.Objects[i]
		if a.GetKind() != b.GetKind() || a.GetName() != b.GetName() || a.GetNamespace() != b.GetNamespace() {
			return fmt.Errorf("redacting secrets changes the name of %s, nothing is sealed", b.Target("").Object())
		}
	}
	return nil
}
