package secrets

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"index/suffixarray"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/manifest"
)

// mask replaces a secret: a plain YAML scalar, and valid base64.
const mask = "REDACTED"

// minEverywhere is the shortest secret, in bytes, that is replaced wherever it
// stands; a shorter one would hit unrelated text.
const minEverywhere = 8

// redactor replaces the secrets of one release.
//
// A secret that is long enough, and that is no name in the rendered set, is
// replaced wherever it stands, in each of its forms. Any other ("postgres") is
// replaced beside keys that name a secret, beside the keys where it was found,
// and in addresses. What parses as YAML or JSON is then checked value by value,
// and written anew where a value is quoted or folded so that text alone misses
// it, or where replacing text would leave other objects.
type redactor struct {
	forms   matcher
	whole   map[string]bool            // values of several lines, trimmed: masked when a scalar is one
	partial map[string]map[string]bool // short values and names → keys where they were found
	short   trie                       // the keys of partial

	manifests, instead []byte // the true manifests, and what is sealed for them
	masks              int
}

func newRedactor(list []found, rel *chart.Release, set *manifest.ObjectSet) *redactor {
	r := &redactor{whole: map[string]bool{}, partial: map[string]map[string]bool{}}
	if len(list) == 0 {
		return r
	}
	names := newNameSet(identifiers(set, rel), len(list))
	forms := map[string]bool{}
	for _, f := range list {
		key := lastKey(f.place.Key)
		for _, v := range append([]string{f.value}, f.also...) {
			r.learn(v, key, names, forms)
		}
	}
	r.forms = newMatcher(forms)
	for v := range r.partial {
		r.short.add(v)
	}
	r.seal(rel.Manifests, set)
	return r
}

// lastKey is the key that a secret stands beside: the last part of a path.
func lastKey(key string) string {
	key, _, _ = strings.Cut(key, " (")
	if i := strings.LastIndexAny(key, " "); i >= 0 {
		key = key[i+1:]
	}
	for _, p := range []string{"data.", "stringData."} {
		if rest, ok := strings.CutPrefix(key, p); ok {
			return rest
		}
	}
	return key[strings.LastIndexByte(key, '.')+1:]
}

// learn sorts a value by how it can be replaced.
func (r *redactor) learn(v, key string, names nameSet, forms map[string]bool) {
	v = strings.TrimSpace(v)
	if v == "" || v == mask {
		return
	}
	if strings.Contains(v, "\n") {
		pem := strings.Contains(v, "PRIVATE KEY")
		for _, text := range []string{v, dedent(v)} {
			r.whole[text] = true
			addForms(forms, text)
		}
		if !pem && looksLikeConfig(v) {
			for _, s := range configSecrets(v) {
				r.learn(s, key, names, forms)
			}
			return
		}
		for line := range strings.Lines(v) {
			if line = strings.TrimSpace(line); len(line) >= minEverywhere && !strings.HasPrefix(line, "-----") && !names.contain(line) {
				addForms(forms, line)
			}
		}
		return
	}
	if everywhere(v, names) {
		addForms(forms, v)
		return
	}
	if r.partial[v] == nil {
		r.partial[v] = map[string]bool{}
	}
	r.partial[v][key] = true
	if e := base64.StdEncoding.EncodeToString([]byte(v)); len(v) >= 4 && !names.contain(e) {
		forms[e] = false // nobody names anything so
		forms[base64.StdEncoding.EncodeToString([]byte(v+"\n"))] = false
	}
}

// dedent is a text of several lines without their indentation, as a block scalar has it.
func dedent(v string) string {
	var lines []string
	for line := range strings.Lines(v) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

// nameSet is the names of a release, joined; with many secrets it has an index.
type nameSet struct {
	text  string
	index *suffixarray.Index
}

func newNameSet(text string, lookups int) nameSet {
	n := nameSet{text: text}
	if lookups > 100 {
		n.index = suffixarray.New([]byte(text))
	}
	return n
}

// contain reports whether s stands in a name.
func (n nameSet) contain(s string) bool {
	if n.index != nil {
		return len(n.index.Lookup([]byte(s), 1)) > 0
	}
	return strings.Contains(n.text, s)
}

// everywhere reports whether a value can be replaced in any text.
func everywhere(v string, names nameSet) bool {
	if len(v) < minEverywhere || names.contain(v) && !looksRandom(v) || strings.Contains(mask, v) {
		return false
	}
	// A short number stands in digests, sizes and dates too.
	return len(v) >= 16 || strings.Trim(v, "0123456789abcdef") != ""
}

// addForms adds the ways in which a value stands in texts: as it is, escaped,
// and encoded.
func addForms(forms map[string]bool, v string) {
	add := func(s string) {
		if len(s) >= minEverywhere && s != mask {
			forms[s] = false
		}
	}
	addEncoded := func(s string) {
		if _, plain := forms[s]; !plain && len(s) >= minEverywhere {
			forms[s] = true
		}
	}
	add(v)
	for _, escapeHTML := range []bool{true, false} {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(escapeHTML)
		if err := enc.Encode(v); err == nil {
			q := strings.TrimSuffix(b.String(), "\n")
			q = q[1 : len(q)-1]
			add(q)
			if strings.Contains(q, `\`) { // JSON within JSON
				if again, err := json.Marshal(q); err == nil {
					add(string(again[1 : len(again)-1]))
				}
			}
		}
	}
	add(strings.ReplaceAll(v, "'", "''"))
	add(url.QueryEscape(v))
	add(url.PathEscape(v))
	for _, s := range []string{v, v + "\n"} {
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			addEncoded(enc.EncodeToString([]byte(s)))
		}
	}
	// Inside a longer base64 text the value starts at one of three offsets; the
	// characters that it shares with its neighbours are left out here, and taken
	// along when it is replaced.
	for skip := range 3 {
		if b := []byte(v); len(b)-skip >= 12 {
			b = b[skip:]
			addEncoded(base64.StdEncoding.EncodeToString(b[:len(b)/3*3]))
			addEncoded(base64.URLEncoding.EncodeToString(b[:len(b)/3*3]))
		}
	}
}

func (r *redactor) isPartial(v string) bool { return r.partial[strings.TrimSpace(v)] != nil }

// occurrences is how often a value stands in what was counted, plain or in base64.
func occurrences(counts map[string]int, v string) int {
	v = strings.TrimSpace(v)
	return counts[v] + counts[base64.StdEncoding.EncodeToString([]byte(v))]
}

// Redact implements collectors.Redactor. It takes any text: what is YAML or JSON
// stays that.
func (r *redactor) Redact(b []byte) ([]byte, int) {
	if len(r.forms.forms) == 0 && len(r.partial) == 0 && len(r.whole) == 0 {
		return b, 0
	}
	if r.manifests != nil && bytes.Equal(b, r.manifests) {
		return r.instead, r.masks
	}
	out, n := r.text(b)
	return r.structured(b, out, n)
}

// text replaces secrets in plain text.
func (r *redactor) text(b []byte) ([]byte, int) {
	out, n := r.forms.replace(b)
	out, m := r.beside(out)
	return out, n + m
}

// matcher finds any of many texts.
type matcher struct {
	forms   map[uint32][]string // by their first 4 bytes, longest first
	first   [1 << 16]bool       // by their first 2 bytes
	encoded map[string]bool     // the forms that are base64
}

// newMatcher takes forms, each with whether it is base64.
func newMatcher(encoded map[string]bool) matcher {
	m := matcher{forms: map[uint32][]string{}, encoded: encoded}
	forms := slices.Collect(maps.Keys(encoded))
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b)) })
	for _, f := range forms {
		k := binary.LittleEndian.Uint32([]byte(f))
		m.forms[k] = append(m.forms[k], f)
		m.first[uint16(k)] = true
	}
	return m
}

// count says how often each form stands in b, the longest at each place.
func (m *matcher) count(b []byte) map[string]int {
	n := map[string]int{}
	for i := 0; i+4 <= len(b) && len(m.forms) > 0; i++ {
		if f := m.at(b, i); f != "" {
			n[f]++
			i += len(f) - 1
		}
	}
	return n
}

// at returns the longest form that b has at i, or "".
func (m *matcher) at(b []byte, i int) string {
	if !m.first[uint16(b[i])|uint16(b[i+1])<<8] {
		return ""
	}
	for _, f := range m.forms[binary.LittleEndian.Uint32(b[i:])] {
		if len(b)-i >= len(f) && string(b[i:i+len(f)]) == f {
			return f
		}
	}
	return ""
}

// replace masks all matches, the longest at each place. With none it returns b.
func (m *matcher) replace(b []byte) ([]byte, int) {
	var out []byte
	n, done := 0, 0
	for i := 0; i+4 <= len(b); i++ {
		f := m.at(b, i)
		if f == "" {
			continue
		}
		from, to := i, i+len(f)
		if m.encoded[f] {
			from, to = base64Around(b, done, from, to)
		}
		out = append(append(out, b[done:from]...), mask...)
		n, done = n+1, to
		i = to - 1
	}
	if n == 0 {
		return b, 0
	}
	return append(out, b[done:]...), n
}

// base64Around widens a match in the middle of a longer base64 text by the
// groups of four that hold the rest of the secret, so that what is left still
// decodes; mask is two such groups.
func base64Around(b []byte, least, from, to int) (int, int) {
	const reach = 1 << 14 // of what is longer, only the secret itself is cut out
	start, end := from, to
	for start > max(least, from-reach) && strings.IndexByte(base64Alphabet, b[start-1]) >= 0 {
		start--
	}
	for end < min(len(b), to+reach) && strings.IndexByte(base64Alphabet, b[end]) >= 0 {
		end++
	}
	if start == from-reach || end == to+reach || start == from && end == to {
		return from, to
	}
	// Groups are counted from the start of the whole text.
	return max(start, from-(from-start)%4-4), min(end, to+(4-(to-start)%4)%4+4)
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"

// beside masks short values, and those that are names, where the text around
// says that they are secrets.
func (r *redactor) beside(b []byte) ([]byte, int) {
	if len(r.short) == 0 {
		return b, 0
	}
	var out []byte
	n, done := 0, 0
	root := r.short[0].next
	for i := 0; i < len(b); i++ {
		if i > 0 && isWord(b[i]) && isWord(b[i-1]) {
			continue // in the middle of a word
		}
		if _, ok := root[b[i]]; !ok {
			continue
		}
		to := 0
		r.short.walk(b[i:], func(length int) {
			if v := string(b[i : i+length]); r.isSecretAt(b, i, i+length, v) {
				to = i + length // the longest counts
			}
		})
		if to > 0 {
			out = append(append(out, b[done:i]...), mask...)
			n, done, i = n+1, to, to-1
		}
	}
	if n == 0 {
		return b, 0
	}
	return append(out, b[done:]...), n
}

// trie finds which of many texts another starts with.
type trie []trieNode

type trieNode struct {
	next map[byte]int
	end  bool
}

func (t *trie) add(s string) {
	if len(*t) == 0 {
		*t = append(*t, trieNode{next: map[byte]int{}})
	}
	at := 0
	for _, c := range []byte(s) {
		next, ok := (*t)[at].next[c]
		if !ok {
			next = len(*t)
			*t = append(*t, trieNode{next: map[byte]int{}})
			(*t)[at].next[c] = next
		}
		at = next
	}
	(*t)[at].end = true
}

// walk calls f with the length of each text that b starts with, shortest first.
func (t trie) walk(b []byte, f func(length int)) {
	at := 0
	for i, c := range b {
		next, ok := t[at].next[c]
		if !ok {
			return
		}
		if at = next; t[at].end {
			f(i + 1)
		}
	}
}

// isSecretAt looks at the text around b[from:to]: "key: v", "key=v", "key":"v",
// name and value of a variable, user:v@host.
func (r *redactor) isSecretAt(b []byte, from, to int, v string) bool {
	if from > 0 && isWord(b[from-1]) && isWord(v[0]) || to < len(b) && isWord(b[to]) && isWord(v[len(v)-1]) {
		return false
	}
	// user:v@host
	if to < len(b) && b[to] == '@' && from > 0 && b[from-1] == ':' {
		return bytes.Contains(b[max(0, from-120):from], []byte("://"))
	}
	key, rest := keyBefore(b[max(0, from-200):from])
	switch key {
	case "":
		return false
	case "value":
		// The name stands before it, or after.
		around := string(b[max(0, from-300):from]) + "\x00" + string(b[to:min(len(b), to+300)])
		return r.besideName(around, len(b[max(0, from-300):from])-rest, v)
	}
	return r.keyHolds(key, v)
}

func (r *redactor) keyHolds(key, v string) bool { return namesSecret(key) || r.partial[v][key] }

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// keyBefore returns the key that b ends with, when only quotes, blanks, one
// separator and a YAML tag follow it, and how many bytes follow its start.
func keyBefore(b []byte) (key string, rest int) {
	t := bytes.TrimRight(b, " \t\"'\\")
	if len(t) == 0 {
		return "", 0
	}
	switch t[len(t)-1] {
	case ':', '=':
		t = bytes.TrimRight(t[:len(t)-1], " \t\"'\\")
	case '\n':
		// "key:\n  - v" is no pair; "key: |\n  v" and "key: >-\n  v" are.
		t = bytes.TrimRight(t, " \t\n")
		block := bytes.TrimRight(t, "|>+-0123456789")
		if len(block) == len(t) {
			return "", 0
		}
		block = bytes.TrimRight(block, " ")
		if len(block) == 0 || block[len(block)-1] != ':' {
			return "", 0
		}
		t = bytes.TrimRight(block[:len(block)-1], "\"'")
	default:
		if len(b) == len(t) {
			return "", 0
		}
		// "--password v"
		i := len(t)
		for i > 0 && (isWord(t[i-1]) || t[i-1] == '.') {
			i--
		}
		if k := string(t[i:]); strings.HasPrefix(k, "-") {
			return strings.TrimLeft(k, "-"), len(b) - i
		}
		return "", 0
	}
	i := len(t)
	for i > 0 && (isWord(t[i-1]) || t[i-1] == '.') {
		i--
	}
	return strings.TrimLeft(string(t[i:]), "-"), len(b) - i
}

// besideName reports whether the variable whose "value" key starts at byte at
// of around has a name that holds the secret.
func (r *redactor) besideName(around string, at int, v string) bool {
	before, after := around[:max(0, at)], around[strings.IndexByte(around, 0)+1:]
	nameOf := func(s string) string {
		s = strings.TrimLeft(s, " \t\n\r\"'\\,{-")
		s, ok := strings.CutPrefix(s, "name")
		if !ok {
			return ""
		}
		s = strings.TrimLeft(s, " \t\"'\\:")
		end := strings.IndexFunc(s, func(c rune) bool { return c > 127 || !isWord(byte(c)) && c != '.' })
		if end < 0 {
			end = len(s)
		}
		return s[:end]
	}
	holds := func(name string) bool { return name != "" && (namesSecret(name) || r.partial[v][name]) }
	if i := strings.LastIndex(before, "name"); i >= 0 {
		name := nameOf(before[i:])
		// Nothing but punctuation may stand between the name and the value.
		if j := strings.Index(before[i:], name); holds(name) && strings.Trim(before[i+j+len(name):], " \t\r\n\"'\\,-") == "" {
			return true
		}
	}
	return holds(nameOf(after))
}
